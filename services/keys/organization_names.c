/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/organization_names.h"

#include "base/log.h"
#include "services/keys/store_names.h"

#include <pthread.h>
#include <string.h>

/* claim: ARGV name, id, value that may be replaced or ''. Gives 1, or {value that is there, its age in ms}. What it writes has not been there before. */
static const char claim_source[] =
    "local time = redis.call('TIME') local now = time[1] * 1000 + math.floor(time[2] / 1000) "
    "local there = redis.call('HGET', KEYS[1], ARGV[1]) "
    "if there then "
    "  local id, since = string.match(there, '^(%S+) (%d+)$') "
    "  since = tonumber(since) or 0 "
    "  if id ~= ARGV[2] and there ~= ARGV[3] then return {there, now - since} end "
    "  now = math.max(now, since + 1) "
    "end "
    "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. string.format(' %.0f', now)) return 1";
/* release: ARGV name, value that is taken away, or the id of whoever's it is. */
static const char release_source[] = "local there = redis.call('HGET', KEYS[1], ARGV[1]) "
                                     "if there and (there == ARGV[2] or string.match(there, '^%S+') == ARGV[2]) then "
                                     "redis.call('HDEL', KEYS[1], ARGV[1]) end return 1";

enum { CLAIM_MS = 60 * 1000, VALUE_BYTES = ORGANIZATION_NAME_HOLDER_BYTES, TRIES = 4 };
#define NAMES "bora:org-names"

static struct redis_script claim_script, release_script;
static pthread_once_t scripts_once = PTHREAD_ONCE_INIT;

static void init_scripts(void) {
    redis_script_init(&claim_script, claim_source);
    redis_script_init(&release_script, release_source);
}

/** `holder`: whose value may be replaced, or ""; then whose it is, "" when it is `id`'s now. */
static enum status try_to_claim(struct keys_service *service, const char *name, const char *id,
                                char holder[VALUE_BYTES], int64_t *out_age_ms, struct error *err) {
    pthread_once(&scripts_once, init_scripts);
    const struct bytes_view key = bytes_view_string(NAMES),
                            arguments[] = {bytes_view_string(name), bytes_view_string(id), bytes_view_string(holder)};
    struct redis_reply *reply = NULL;
    TRY(store_script(service, &claim_script, &key, 1, arguments, 3, &reply, err));
    bool others = reply->type == REDIS_ARRAY && reply->count == 2;
    snprintf(holder, VALUE_BYTES, "%s", others ? (const char *)reply->items[0].string.data : "");
    *out_age_ms = others ? reply->items[1].integer : 0;
    redis_reply_free(reply);
    return STATUS_OK;
}

/** Does the record of who holds the name have it? */
static enum status is_in_use(struct keys_service *service, const char *name, const char *holder, struct arena *arena,
                             bool *out, struct error *err) {
    char id[UUID_CHARACTERS + 1];
    struct organization organization;
    struct error cause = {0};
    snprintf(id, sizeof id, "%.*s", UUID_CHARACTERS, holder);
    enum status status = place_organization(service, id, arena, &organization, &cause);
    *out = status == STATUS_OK && strcmp(organization.name, name) == 0;
    return status == STATUS_OK || status == STATUS_NOT_FOUND ? STATUS_OK : error_set(err, status, "%s", cause.message);
}

enum status organization_name_claim(struct keys_service *service, const char *name, const char *id, struct arena *arena,
                                    struct error *err) {
    char holder[VALUE_BYTES] = "";
    for (int i = 0; i < TRIES; i++) {
        int64_t age_ms = 0;
        bool in_use = true;
        TRY(try_to_claim(service, name, id, holder, &age_ms, err));
        if (holder[0] == 0) return STATUS_OK;
        if (age_ms >= CLAIM_MS) TRY(is_in_use(service, name, holder, arena, &in_use, err));
        if (in_use) break;
    }
    return error_set(err, STATUS_ALREADY_EXISTS, "there is an organization of that name");
}

enum status organization_name_holder(struct keys_service *service, const char *name, const char *id,
                                     char out[ORGANIZATION_NAME_HOLDER_BYTES], struct error *err) {
    struct redis_reply *reply = NULL;
    TRY(store_words(service, &reply, err, WORDS("HGET", NAMES, name)));
    bool own = reply->type == REDIS_STRING && strncmp((const char *)reply->string.data, id, strlen(id)) == 0;
    snprintf(out, ORGANIZATION_NAME_HOLDER_BYTES, "%s", own ? (const char *)reply->string.data : "");
    redis_reply_free(reply);
    return STATUS_OK;
}

void organization_name_release(struct keys_service *service, const char *name, const char *holder) {
    pthread_once(&scripts_once, init_scripts);
    const struct bytes_view key = bytes_view_string(NAMES),
                            arguments[] = {bytes_view_string(name), bytes_view_string(holder)};
    redis_script_run(service->redis, &release_script, &key, 1, arguments, 2, NULL, NULL);
}

/* --- a start ------------------------------------------------------------------------------------------------------ */

static enum status count_of(struct keys_service *service, const char *command, const char *name, int64_t *out,
                            struct error *err) {
    struct redis_reply *reply = NULL;
    TRY(store_words(service, &reply, err, WORDS(command, name)));
    *out = reply->integer;
    redis_reply_free(reply);
    return STATUS_OK;
}

static enum status complete_one(struct keys_service *service, const char *id, struct error *err) {
    char record[STORE_NAME_BYTES], holder[VALUE_BYTES] = "";
    int64_t age_ms = 0;
    struct redis_reply *reply = NULL;
    store_name(record, "org", id, NULL);
    TRY(store_words(service, &reply, err, WORDS("HGET", record, "name")));
    enum status status = STATUS_OK;
    if (reply->type == REDIS_STRING)
        status = try_to_claim(service, (const char *)reply->string.data, id, holder, &age_ms, err);
    if (holder[0] != 0) log_warn("two organizations have one name; rename one", LOG_S("organization", id));
    redis_reply_free(reply);
    return status;
}

enum status organization_names_complete(struct keys_service *service, struct arena *arena, struct error *err) {
    int64_t organizations = 0, names = 0;
    char(*ids)[UUID_CHARACTERS + 1] = NULL;
    size_t count = 0;
    TRY(count_of(service, "ZCARD", STORE_ORGANIZATIONS, &organizations, err));
    TRY(count_of(service, "HLEN", NAMES, &names, err));
    if (names >= organizations) return STATUS_OK;
    TRY(place_organization_ids(service, 0, LIMIT_ORGANIZATIONS, arena, &ids, &count, err));
    for (size_t i = 0; i < count; i++) TRY(complete_one(service, ids[i], err));
    return STATUS_OK;
}
