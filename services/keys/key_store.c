/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/key_store.h"

#include "base/clock.h"
#include "services/keys/handling.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/store_names.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

extern const char key_create_lua[], authority_lua[]; /* *.lua in this folder */

const char key_no_organization[] = "00000000-0000-0000-0000-000000000000";

static struct redis_script create_script, authority_script, mark_script;
static pthread_once_t scripts_once = PTHREAD_ONCE_INIT;

static void init_scripts(void) {
    redis_script_init(&create_script, key_create_lua);
    redis_script_init(&authority_script, authority_lua);
    redis_script_init(&mark_script, "redis.call('SETNX', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])");
}

/* --- finding ------------------------------------------------------------------------------------------------------ */

static enum status no_such_key(struct error *err) {
    return error_set(err, STATUS_NOT_FOUND, "no such key");
}

/** `out` holds a UUID; empty when the prefix is nobody's. */
static enum status find_organization(struct keys_service *service, const char *prefix, char *out, struct error *err) {
    struct redis_reply *reply = NULL;
    TRY(store_words(service, &reply, err, WORDS("HGET", STORE_KEY_INDEX, prefix)));
    bool proper = reply->type == REDIS_STRING && reply->string.length == UUID_CHARACTERS;
    snprintf(out, UUID_CHARACTERS + 1, "%s", proper ? (const char *)reply->string.data : "");
    redis_reply_free(reply);
    return STATUS_OK;
}

enum status key_find(struct keys_service *service, const char *organization_or_null, const char *id,
                     struct arena *arena, struct key_record *out, struct error *err) {
    char prefix[KEY_PREFIX_CHARACTERS + 1], organization[UUID_CHARACTERS + 1], name[STORE_NAME_BYTES];
    if (key_prefix_is_valid(id))
        memcpy(prefix, id, sizeof prefix);
    else if (!uuid_to_prefix(id, prefix))
        return no_such_key(err);
    TRY(find_organization(service, prefix, organization, err));
    if (organization[0] == 0 || (organization_or_null != NULL && strcmp(organization, organization_or_null) != 0))
        return no_such_key(err);
    struct redis_reply *reply = NULL;
    struct bytes_view words[] = {bytes_view_string("HGETALL"), store_name(name, "key", organization, prefix)};
    TRY(store_call(service, words, 2, &reply, err));
    enum status status =
        reply->count == 0 ? no_such_key(err) : key_record_read(organization, prefix, reply, arena, out, err);
    redis_reply_free(reply);
    return status;
}

/* --- making ------------------------------------------------------------------------------------------------------- */

static enum status outcome_of_creation(int64_t answer, struct error *err) {
    switch (answer) {
    case 1:
        return STATUS_OK;
    case 0:
        return STATUS_ALREADY_EXISTS;
    case -1:
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "the organization has %d keys, revoked ones included: no more",
                         LIMIT_KEYS);
    default:
        return error_set(err, STATUS_NOT_FOUND, "no such workspace");
    }
}

enum status key_create(struct handling *handling, const struct key_record *record, const struct audit_entry *entry,
                       struct error *err) {
    pthread_once(&scripts_once, init_scripts);
    struct keys_service *service = handling->service;
    struct redis_reply *reply = NULL;
    TRY(store_words(service, &reply, err, WORDS("HSETNX", STORE_KEY_INDEX, record->prefix, record->organization)));
    bool reserved = reply->integer == 1;
    redis_reply_free(reply);
    if (!reserved) return STATUS_ALREADY_EXISTS;

    char names[5][STORE_NAME_BYTES];
    const char *organization = record->organization;
    struct bytes_view keys[] = {
        store_name(names[0], "key", organization, record->prefix), store_name(names[1], "keys", organization, NULL),
        store_name(names[2], "ws-keys", organization, record->workspace),
        store_name(names[3], "ws", organization, record->workspace), store_name(names[4], "audit", organization, NULL)};
    struct bytes_view *words = NULL;
    size_t count = 0;
    TRY(key_record_write(record, &handling->arena, &words, &count, err));
    enum { AHEAD = 2 + AUDIT_WORDS };
    struct bytes_view *arguments = arena_alloc_array(&handling->arena, AHEAD + count, sizeof *arguments);
    if (arguments == NULL) return out_of_memory(err);
    char most[24];
    snprintf(most, sizeof most, "%d", LIMIT_KEYS);
    arguments[0] = bytes_view_string(record->prefix);
    arguments[1] = bytes_view_string(most);
    handling_audit_words(handling, entry, arguments + 2);
    memcpy(arguments + AHEAD, words, count * sizeof *words);
    TRY(store_script(service, &create_script, keys, 5, arguments, AHEAD + count, &reply, err));
    int64_t answer = reply->integer;
    redis_reply_free(reply);
    if (answer < 0) /* an entry without a record does no harm; but why keep it */
        redis_commandf(service->redis, NULL, NULL, "HDEL " STORE_KEY_INDEX " %s", record->prefix);
    return outcome_of_creation(answer, err);
}

/* --- who shows a key ---------------------------------------------------------------------------------------------- */

void key_ask_organization(struct redis_client *redis, const char *prefix, redis_fn *fn, void *context) {
    redis_commandf(redis, fn, context, "HGET " STORE_KEY_INDEX " %s", prefix);
}

void key_ask_authority(struct redis_client *redis, const char *organization, const char *prefix, redis_fn *fn,
                       void *context) {
    pthread_once(&scripts_once, init_scripts);
    char names[3][STORE_NAME_BYTES];
    struct bytes_view keys[] = {store_name(names[0], "key", organization, prefix),
                                store_name(names[1], "org", organization, NULL)};
    struct bytes_view argument = store_name(names[2], "ws", organization, "");
    redis_script_run(redis, &authority_script, keys, 2, &argument, 1, fn, context);
}

enum status authority_read(const char *organization, const char *prefix, const struct redis_reply *reply,
                           struct arena *arena, struct authority *out, bool *out_found, struct error *err) {
    *out = (struct authority){.key.limits = LIMIT_SET_EMPTY};
    *out_found = false;
    if (reply->count != 3) return error_set(err, STATUS_DATA_LOSS, "the record of a key cannot be read");
    if (reply->items[0].count == 0) return STATUS_OK;
    TRY(key_record_read(organization, prefix, &reply->items[0], arena, &out->key, err));
    *out_found = true;
    if (out->key.revoked_at != 0) { /* its workspace may be gone */
        memcpy(out->organization.id, organization, sizeof out->organization.id);
        return STATUS_OK;
    }
    TRY(workspace_read(organization, out->key.workspace, &reply->items[1], arena, &out->workspace, err));
    return organization_read(organization, &reply->items[2], arena, &out->organization, err);
}

const char *authority_refusal(const struct authority *authority, int64_t now) {
    const char *refusal = key_record_refusal(&authority->key, now);
    if (refusal != NULL) return refusal;
    if (authority->organization.disabled) return "the key's organization is disabled";
    return authority->workspace.disabled ? "the key's workspace is disabled" : NULL;
}

enum status authority_judge(const struct keys_service *service, const struct key_text *key, struct authority *authority,
                            bool found, int64_t now, struct error *err) {
    struct key_record *record = &authority->key;
    uint8_t hash[KEY_HASH_BYTES];
    key_text_hash(service->secrets.hash_secret, key->whole, hash);
    bool current = bytes_equal_constant_time(hash, record->hash, KEY_HASH_BYTES),
         previous = bytes_equal_constant_time(hash, record->previous_hash, KEY_HASH_BYTES);
    previous = previous && record->previous_expires_at > now;
    /* One sentence for everything that does not match, so that nobody learns which prefixes exist. */
    if (!found || !(current || previous)) return error_set(err, STATUS_UNAUTHENTICATED, "the key is not valid");
    if (!current && record->rotations > 0) record->rotations--; /* of the secret that was shown */
    if (!current && (record->expires_at == 0 || record->expires_at > record->previous_expires_at))
        record->expires_at = record->previous_expires_at;
    const char *refusal = authority_refusal(authority, now);
    return refusal == NULL ? STATUS_OK : error_set(err, STATUS_UNAUTHENTICATED, "%s", refusal);
}

enum status key_authenticate(struct keys_service *service, const struct key_text *key, struct arena *arena,
                             struct authority *out, struct error *err) {
    pthread_once(&scripts_once, init_scripts);
    char organization[UUID_CHARACTERS + 1], names[3][STORE_NAME_BYTES];
    TRY(find_organization(service, key->prefix, organization, err));
    if (organization[0] == 0) snprintf(organization, sizeof organization, "%s", key_no_organization);
    struct bytes_view keys[] = {store_name(names[0], "key", organization, key->prefix),
                                store_name(names[1], "org", organization, NULL)};
    struct bytes_view argument = store_name(names[2], "ws", organization, "");
    struct redis_reply *reply = NULL;
    TRY(store_script(service, &authority_script, keys, 2, &argument, 1, &reply, err));
    bool found = false;
    int64_t now = clock_unix_ns(clock_system()) / NS_PER_S;
    enum status status = authority_read(organization, key->prefix, reply, arena, out, &found, err);
    redis_reply_free(reply);
    TRY(status);
    TRY(authority_judge(service, key, out, found, now, err));
    key_touch(service, &out->key, now);
    return STATUS_OK;
}

void key_touch(struct keys_service *service, const struct key_record *key, int64_t now) {
    enum { MINUTE = 60 };
    if (now / MINUTE <= key->last_used / MINUTE) return;
    redis_commandf(service->redis, NULL, NULL, "HSET bora:key:{%s}:%s last_used %lld", key->organization, key->prefix,
                   (long long)(now / MINUTE * MINUTE));
}

void key_store_mark_secret(struct redis_client *redis, const char *mark, redis_fn *fn, void *context) {
    pthread_once(&scripts_once, init_scripts);
    struct bytes_view key = bytes_view_string("bora:keys:secret_mark"), argument = bytes_view_string(mark);
    redis_script_run(redis, &mark_script, &key, 1, &argument, 1, fn, context);
}
