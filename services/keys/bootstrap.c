/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/bootstrap.h"

#include "base/log.h"
#include "services/keys/handling.h"
#include "services/keys/organization_names.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/prices_trail.h"
#include "services/keys/store_names.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

extern const char key_convert_lua[]; /* in this folder */

enum { MEMORY_BYTES = 16 << 20 };
#define OLD_LIST "bora:keys"
#define OLD_COUNTER "bora:keys:created"
#define FIRST_NAME "default"

static struct redis_script convert_script;
static pthread_once_t scripts_once = PTHREAD_ONCE_INIT;

static void init_scripts(void) {
    redis_script_init(&convert_script, key_convert_lua);
}

/* --- the first organisation --------------------------------------------------------------------------------------- */

/** Its id is agreed on before it is made. */
static enum status make_first_organization(struct handling *handling, struct organization *out, struct error *err) {
    char id[UUID_CHARACTERS + 1];
    struct error missing = {0};
    struct redis_reply *reply = NULL;
    TRY(uuid_random(id, err));
    TRY(store_words(handling->service, NULL, err, WORDS("SETNX", STORE_FIRST_ORGANIZATION, id)));
    enum status status = place_organization(handling->service, NULL, &handling->arena, out, &missing);
    char first[UUID_CHARACTERS + 1] = "";
    if (status == STATUS_OK) status = place_first_workspace(handling->service, out->id, first, &missing);
    if (status == STATUS_OK) return STATUS_OK;
    if (status != STATUS_NOT_FOUND) return error_set(err, status, "%s", missing.message);

    *out = (struct organization){.name = FIRST_NAME, .limits = LIMIT_SET_EMPTY};
    TRY(store_words(handling->service, &reply, err, WORDS("GET", STORE_FIRST_ORGANIZATION)));
    snprintf(out->id, sizeof out->id, "%s", (const char *)reply->string.data);
    redis_reply_free(reply);
    return place_create_organization(handling, out, err);
}

/* --- keys of earlier versions ------------------------------------------------------------------------------------- */

static const char *find_value(const struct redis_reply *fields, const char *name) {
    for (size_t i = 0; i + 1 < fields->count; i += 2) {
        if (bytes_view_equal_string(fields->items[i].string, name))
            return (const char *)fields->items[i + 1].string.data;
    }
    return NULL;
}

/** The workspace of that name, made when it is missing. */
static enum status find_workspace(struct handling *handling, const char *organization, const char *name, char *out_id,
                                  struct error *err) {
    struct workspace workspace = {.name = name, .limits = LIMIT_SET_EMPTY, .key_limits = LIMITS_UNLIMITED};
    char names[STORE_NAME_BYTES];
    struct redis_reply *reply = NULL;
    snprintf(workspace.organization, sizeof workspace.organization, "%s", organization);
    store_name(names, "ws-names", organization, NULL);
    TRY(store_words(handling->service, &reply, err, WORDS("HGET", names, name)));
    bool there = reply->type == REDIS_STRING;
    if (there) snprintf(out_id, UUID_CHARACTERS + 1, "%s", (const char *)reply->string.data);
    redis_reply_free(reply);
    if (there) return STATUS_OK;
    struct error full = {0};
    enum status status = place_create_workspace(handling, &workspace, &full);
    if (status == STATUS_RESOURCE_EXHAUSTED &&
        strcmp(name, FIRST_NAME) != 0) /* too many tenants: rather together than lost */
        return find_workspace(handling, organization, FIRST_NAME, out_id, err);
    if (status != STATUS_OK && status != STATUS_ALREADY_EXISTS) return error_set(err, status, "%s", full.message);
    snprintf(out_id, UUID_CHARACTERS + 1, "%s", workspace.id);
    return STATUS_OK;
}

/** The old fields, without the tenant, and what is new since. */
static enum status store_converted(struct handling *handling, const char *organization, const char *workspace,
                                   const char *prefix, const struct redis_reply *fields, struct error *err) {
    pthread_once(&scripts_once, init_scripts);
    char names[3][STORE_NAME_BYTES];
    struct bytes_view keys[] = {store_name(names[0], "key", organization, prefix),
                                store_name(names[1], "keys", organization, NULL),
                                store_name(names[2], "ws-keys", organization, workspace)};
    struct word_list words = {.arena = &handling->arena};
    word_list_add(&words, prefix);
    word_list_add(&words, find_value(fields, "revoked_at") != NULL ? "1" : "");
    word_list_put(&words, "version", "1");
    word_list_put(&words, "workspace", workspace);
    word_list_put(&words, "role", key_role_name(KEY_ROLE_SERVICE));
    word_list_put(&words, "created_by", "operator");
    word_list_put(&words, "limits_given", "1");
    for (size_t i = 0; i + 1 < fields->count; i += 2) {
        const char *field = (const char *)fields->items[i].string.data;
        if (strcmp(field, "tenant") != 0) word_list_put(&words, field, (const char *)fields->items[i + 1].string.data);
    }
    if (words.failed) return out_of_memory(err);
    return store_script(handling->service, &convert_script, keys, 3, words.words, words.count, NULL, err);
}

static enum status convert_key_record(struct handling *handling, const char *organization, const char *prefix,
                                      struct error *err) {
    struct keys_service *service = handling->service;
    char old[STORE_NAME_BYTES], workspace[UUID_CHARACTERS + 1] = "";
    struct redis_reply *fields = NULL;
    snprintf(old, sizeof old, "bora:key:{%s}", prefix);
    TRY(store_words(service, &fields, err, WORDS("HGETALL", old)));
    enum status status = STATUS_OK;
    if (fields->count > 0) {
        const char *tenant = find_value(fields, "tenant");
        TRY_CLEANUP(find_workspace(handling, organization, tenant != NULL && tenant[0] != 0 ? tenant : FIRST_NAME,
                                   workspace, err));
        TRY_CLEANUP(store_words(service, NULL, err, WORDS("HSETNX", STORE_KEY_INDEX, prefix, organization)));
        TRY_CLEANUP(store_converted(handling, organization, workspace, prefix, fields, err));
        TRY_CLEANUP(store_words(service, NULL, err, WORDS("DEL", old)));
    }
    status = store_words(service, NULL, err, WORDS("ZREM", OLD_LIST, prefix));
cleanup:
    redis_reply_free(fields);
    return status;
}

static enum status convert_keys(struct handling *handling, const char *organization, struct error *err) {
    struct keys_service *service = handling->service;
    size_t converted = 0, count = 1;
    while (count > 0) {
        struct redis_reply *reply = NULL;
        TRY(store_words(service, &reply, err, WORDS("ZRANGE", OLD_LIST, "0", "99")));
        enum status status = STATUS_OK;
        count = reply->count;
        for (size_t i = 0; i < count && status == STATUS_OK; i++) {
            const char *prefix = (const char *)reply->items[i].string.data;
            status = key_prefix_is_valid(prefix) ? convert_key_record(handling, organization, prefix, err)
                                                 : store_words(service, NULL, err, WORDS("ZREM", OLD_LIST, prefix));
            arena_reset(&handling->arena);
        }
        converted += count;
        redis_reply_free(reply);
        TRY(status);
    }
    if (converted > 0) log_info("keys of an earlier version were taken over", LOG_I("keys", converted));
    return store_words(service, NULL, err, WORDS("DEL", OLD_COUNTER));
}

enum status bootstrap(struct keys_service *service, struct error *err) {
    struct handling handling = {.service = service, .origin = {.actor = "system", .request_id = "", .address = ""}};
    struct organization first;
    arena_init(&handling.arena, MEMORY_BYTES);
    enum status status = make_first_organization(&handling, &first, err);
    if (status == STATUS_OK) status = organization_names_complete(service, &handling.arena, err);
    if (status == STATUS_OK) status = prices_take_over(service, err);
    if (status == STATUS_OK) status = convert_keys(&handling, first.id, err);
    arena_deinit(&handling.arena);
    return status;
}
