/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "services/keys/handling.h"
#include "services/keys/limit_seed.h"
#include "services/keys/organization_names.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/record_store.h"
#include "services/keys/store_names.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

extern const char organization_create_lua[], workspace_create_lua[], workspace_delete_lua[]; /* in this folder */

enum { NUMBER_BYTES = 24 };
#define FIRST_WORKSPACE_NAME "default"

static struct redis_script organization_script, list_script, workspace_script, delete_script;
static pthread_once_t scripts_once = PTHREAD_ONCE_INIT;

static void init_scripts(void) {
    redis_script_init(&organization_script, organization_create_lua);
    redis_script_init(&workspace_script, workspace_create_lua);
    redis_script_init(&delete_script, workspace_delete_lua);
    redis_script_init(&list_script, "if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end "
                                    "local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] "
                                    "redis.call('ZADD', KEYS[1], 'NX', (tonumber(last) or 0) + 1, ARGV[1]) return 1");
}

/* --- words of records --------------------------------------------------------------------------------------------- */

static void put_place(struct word_list *words, const char *name, int64_t version, int64_t created_at, bool disabled,
                      const struct limit_set *limits) {
    word_list_put_number(words, "version", version);
    word_list_put(words, "name", name);
    word_list_put_number(words, "created_at", created_at);
    if (disabled) word_list_put(words, "disabled", "1");
    word_list_put_limits(words, limits);
}

static void put_organization(struct word_list *words, const struct organization *place) {
    put_place(words, place->name, place->version, place->created_at, place->disabled, &place->limits);
}

static void put_workspace(struct word_list *words, const struct workspace *place) {
    put_place(words, place->name, place->version, place->created_at, place->disabled, &place->limits);
    word_list_put_bounds(words, "key.", &place->key_limits, NULL);
}

/** Words ahead, an entry of the audit trail, the record's. */
static enum status add_entry(struct handling *handling, const struct audit_entry *entry, struct word_list *words) {
    struct bytes_view audit[AUDIT_WORDS];
    handling_audit_words(handling, entry, audit);
    for (int i = 0; i < AUDIT_WORDS; i++) word_list_add(words, (const char *)audit[i].data);
    return words->failed ? STATUS_RESOURCE_EXHAUSTED : STATUS_OK;
}

/* --- details for the audit trail ---------------------------------------------------------------------------------- */

static void add_limits(struct audit_detail *detail, const struct limit_set *before, const struct limit_set *after) {
    struct arena *arena = detail->arena;
    if (before == NULL || !limit_bounds_equal(&before->all, &after->all))
        audit_detail_add(detail, "limits", before != NULL ? audit_json_bounds(arena, &before->all) : AUDIT_NONE,
                         audit_json_bounds(arena, &after->all));
    if (before != NULL || after->model_count > 0)
        audit_detail_add(detail, "model_limits", before != NULL ? audit_json_models(arena, before) : AUDIT_NONE,
                         audit_json_models(arena, after));
}

static const char *detail_of_organizations(struct arena *arena, const struct organization *before,
                                           const struct organization *after) {
    struct audit_detail detail;
    audit_detail_begin(&detail, arena);
    if (before != NULL) {
        audit_detail_add(&detail, "name", audit_json_text(arena, before->name), audit_json_text(arena, after->name));
        audit_detail_add(&detail, "disabled", audit_json_flag(before->disabled), audit_json_flag(after->disabled));
    }
    add_limits(&detail, before != NULL ? &before->limits : NULL, &after->limits);
    return audit_detail_end(&detail);
}

static const char *detail_of_workspaces(struct arena *arena, const struct workspace *before,
                                        const struct workspace *after) {
    struct audit_detail detail;
    audit_detail_begin(&detail, arena);
    if (before != NULL) {
        audit_detail_add(&detail, "name", audit_json_text(arena, before->name), audit_json_text(arena, after->name));
        audit_detail_add(&detail, "disabled", audit_json_flag(before->disabled), audit_json_flag(after->disabled));
    }
    add_limits(&detail, before != NULL ? &before->limits : NULL, &after->limits);
    audit_detail_add(&detail, "key_limits", before != NULL ? audit_json_bounds(arena, &before->key_limits) : AUDIT_NONE,
                     audit_json_bounds(arena, &after->key_limits));
    return audit_detail_end(&detail);
}

/* --- making ------------------------------------------------------------------------------------------------------- */

static int64_t unix_now(void) {
    return clock_unix_ns(clock_system()) / NS_PER_S;
}

/** Into the list of all; twice is once. */
static enum status list_organization(struct keys_service *service, const char *id, struct error *err) {
    char most[NUMBER_BYTES];
    snprintf(most, sizeof most, "%d", LIMIT_ORGANIZATIONS);
    struct bytes_view key = bytes_view_string(STORE_ORGANIZATIONS),
                      arguments[] = {bytes_view_string(id), bytes_view_string(most)};
    struct redis_reply *reply = NULL;
    TRY(store_script(service, &list_script, &key, 1, arguments, 2, &reply, err));
    bool listed = reply->integer == 1;
    redis_reply_free(reply);
    if (listed) return STATUS_OK;
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "there are %d organizations: no more", LIMIT_ORGANIZATIONS);
}

enum status place_create_organization(struct handling *handling, struct organization *organization, struct error *err) {
    pthread_once(&scripts_once, init_scripts);
    struct keys_service *service = handling->service;
    if (organization->id[0] == 0) TRY(uuid_random(organization->id, err));
    organization->version = 1;
    organization->created_at = unix_now();
    TRY(organization_name_claim(service, organization->name, organization->id, &handling->arena, err));
    TRY(list_organization(service, organization->id, err));
    char names[2][STORE_NAME_BYTES];
    struct bytes_view keys[] = {store_name(names[0], "org", organization->id, NULL),
                                store_name(names[1], "audit", organization->id, NULL)};
    struct audit_entry entry = {"organization.create", organization->id, organization->name,
                                detail_of_organizations(&handling->arena, NULL, organization)};
    struct word_list words = {.arena = &handling->arena};
    (void)!add_entry(handling, &entry, &words);
    put_organization(&words, organization);
    if (words.failed) return out_of_memory(err);
    TRY(store_script(service, &organization_script, keys, 2, words.words, words.count, NULL, err));
    struct workspace first = {.name = FIRST_WORKSPACE_NAME, .limits = LIMIT_SET_EMPTY, .key_limits = LIMITS_UNLIMITED};
    snprintf(first.organization, sizeof first.organization, "%s", organization->id);
    enum status status = place_create_workspace(handling, &first, err);
    return status == STATUS_ALREADY_EXISTS ? STATUS_OK : status;
}

/** The script's answer: whose name it is now. */
static enum status read_creation(const struct redis_reply *reply, struct workspace *workspace, struct error *err) {
    if (reply->type != REDIS_STRING) return error_set(err, STATUS_NOT_FOUND, "no such organization");
    if (reply->string.length == 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "the organization has %d workspaces: no more",
                         LIMIT_WORKSPACES);
    if (bytes_view_equal_string(reply->string, workspace->id)) return STATUS_OK;
    snprintf(workspace->id, sizeof workspace->id, "%s", (const char *)reply->string.data);
    return STATUS_ALREADY_EXISTS;
}

enum status place_create_workspace(struct handling *handling, struct workspace *workspace, struct error *err) {
    pthread_once(&scripts_once, init_scripts);
    struct keys_service *service = handling->service;
    const char *organization = workspace->organization;
    char names[5][STORE_NAME_BYTES], most[NUMBER_BYTES], id[UUID_CHARACTERS + 1];
    TRY(uuid_random(workspace->id, err));
    memcpy(id, workspace->id, sizeof id);
    workspace->version = 1;
    workspace->created_at = unix_now();
    snprintf(most, sizeof most, "%d", LIMIT_WORKSPACES);
    struct bytes_view keys[] = {
        store_name(names[0], "ws", organization, id), store_name(names[1], "wss", organization, NULL),
        store_name(names[2], "ws-names", organization, NULL), store_name(names[3], "org", organization, NULL),
        store_name(names[4], "audit", organization, NULL)};
    struct audit_entry entry = {"workspace.create", id, workspace->name,
                                detail_of_workspaces(&handling->arena, NULL, workspace)};
    struct word_list words = {.arena = &handling->arena};
    word_list_add(&words, id);
    word_list_add(&words, workspace->name);
    word_list_add(&words, most);
    (void)!add_entry(handling, &entry, &words);
    put_workspace(&words, workspace);
    if (words.failed) return out_of_memory(err);
    TRY(store_words(service, NULL, err, WORDS("HSET", STORE_WORKSPACE_INDEX, id, organization)));
    struct redis_reply *reply = NULL;
    TRY(store_script(service, &workspace_script, keys, 5, words.words, words.count, &reply, err));
    enum status status = read_creation(reply, workspace, err);
    redis_reply_free(reply);
    if (status != STATUS_OK) redis_commandf(service->redis, NULL, NULL, "HDEL " STORE_WORKSPACE_INDEX " %s", id);
    return status;
}

/* --- changing ----------------------------------------------------------------------------------------------------- */

/** What is only about limits is called so. */
static const char *action_of(bool only_limits, const char *otherwise) {
    return only_limits ? "limits.update" : otherwise;
}

/** What the record says already: there is nothing to write, and nothing to remember of it. In case gateways could not be told of it, or its gates not be set. */
static enum status tell_again(struct handling *handling, enum change_kind kind, const char *organization,
                              const char *id, struct error *err) {
    struct change told;
    change_begin(kind, organization, id, &told);
    return change_finish(handling->service, &told, err);
}

enum status place_change_organization(struct handling *handling, const struct organization *before,
                                      struct organization *after, struct error *err) {
    struct word_list old = {.arena = &handling->arena}, new = {.arena = &handling->arena};
    bool toggled = before->disabled != after->disabled, renamed = strcmp(before->name, after->name) != 0;
    if (!toggled && !renamed && limit_sets_equal(&before->limits, &after->limits))
        return tell_again(handling, CHANGE_ORGANIZATION_GATES, after->id, after->id, err);
    after->version = before->version + 1;
    put_organization(&old, before);
    put_organization(&new, after);
    struct change told;
    change_begin(toggled ? CHANGE_ORGANIZATION_GATES : CHANGE_ORGANIZATION, after->id, after->id, &told);
    struct audit_entry entry = {action_of(!toggled && !renamed, "organization.update"), after->id, after->name,
                                detail_of_organizations(&handling->arena, before, after)};
    struct record_change change = {.what = "org",
                                   .organization = after->id,
                                   .version = before->version,
                                   .before = &old,
                                   .after = &new,
                                   .entry = &entry,
                                   .change = &told};
    char holder[ORGANIZATION_NAME_HOLDER_BYTES] = "";
    if (renamed) {
        TRY(organization_name_claim(handling->service, after->name, after->id, &handling->arena, err));
        TRY(organization_name_holder(handling->service, before->name, before->id, holder, err));
    }
    if (!limit_sets_equal(&before->limits, &after->limits))
        TRY(limit_seed_scope(handling, after->id, NULL, NULL, &after->limits, err));
    TRY(record_change(handling, &change, err));
    if (holder[0] != 0) organization_name_release(handling->service, before->name, holder);
    return change_finish(handling->service, &told, err);
}

enum status place_change_workspace(struct handling *handling, const struct workspace *before, struct workspace *after,
                                   struct error *err) {
    struct word_list old = {.arena = &handling->arena}, new = {.arena = &handling->arena};
    bool toggled = before->disabled != after->disabled, renamed = strcmp(before->name, after->name) != 0;
    if (!toggled && !renamed && limit_sets_equal(&before->limits, &after->limits) &&
        limit_bounds_equal(&before->key_limits, &after->key_limits))
        return tell_again(handling, CHANGE_WORKSPACE_GATES, after->organization, after->id, err);
    after->version = before->version + 1;
    put_workspace(&old, before);
    put_workspace(&new, after);
    struct change told;
    change_begin(toggled ? CHANGE_WORKSPACE_GATES : CHANGE_WORKSPACE, after->organization, after->id, &told);
    struct audit_entry entry = {action_of(!toggled && !renamed, "workspace.update"), after->id, after->name,
                                detail_of_workspaces(&handling->arena, before, after)};
    struct record_change change = {.what = "ws",
                                   .organization = after->organization,
                                   .id_or_null = after->id,
                                   .version = before->version,
                                   .before = &old,
                                   .after = &new,
                                   .name_before = renamed ? before->name : NULL,
                                   .name_after = renamed ? after->name : NULL,
                                   .entry = &entry,
                                   .change = &told};
    if (!limit_sets_equal(&before->limits, &after->limits))
        TRY(limit_seed_scope(handling, after->organization, after->id, NULL, &after->limits, err));
    if (!limit_bounds_equal(&before->key_limits, &after->key_limits))
        TRY(limit_seed_keys(handling, after->organization, after->id, &after->key_limits, err));
    TRY(record_change(handling, &change, err));
    return change_finish(handling->service, &told, err);
}

enum status place_set_spend(struct handling *handling, const struct organization *organization,
                            const struct workspace *workspace, int64_t nanos, struct error *err) {
    enum status status = STATUS_ABORTED;
    for (int i = 0; i < RECORD_CHANGE_TRIES && status == STATUS_ABORTED; i++) {
        struct organization organization_now, organization_then;
        struct workspace workspace_now, workspace_then;
        if (workspace != NULL) {
            TRY(place_workspace(handling->service, workspace->organization, workspace->id, &handling->arena,
                                &workspace_now, err));
            workspace_then = workspace_now;
            workspace_then.limits.all.of[LIMITS_SPEND_PER_MONTH] = nanos;
            status = place_change_workspace(handling, &workspace_now, &workspace_then, err);
        } else {
            TRY(place_organization(handling->service, organization->id, &handling->arena, &organization_now, err));
            organization_then = organization_now;
            organization_then.limits.all.of[LIMITS_SPEND_PER_MONTH] = nanos;
            status = place_change_organization(handling, &organization_now, &organization_then, err);
        }
    }
    return status == STATUS_ABORTED ? error_set(err, status, "others are changing it at the same time; try again")
                                    : status;
}

enum status place_delete_workspace(struct handling *handling, const struct workspace *workspace, struct error *err) {
    pthread_once(&scripts_once, init_scripts);
    const char *organization = workspace->organization, *id = workspace->id;
    char names[5][STORE_NAME_BYTES];
    struct bytes_view keys[] = {
        store_name(names[0], "ws", organization, id), store_name(names[1], "wss", organization, NULL),
        store_name(names[2], "ws-names", organization, NULL), store_name(names[3], "ws-keys", organization, id),
        store_name(names[4], "audit", organization, NULL)};
    struct audit_entry entry = {"workspace.delete", id, workspace->name, "{}"};
    struct word_list words = {.arena = &handling->arena};
    word_list_add(&words, id);
    if (add_entry(handling, &entry, &words) != STATUS_OK) return out_of_memory(err);
    struct redis_reply *reply = NULL;
    TRY(store_script(handling->service, &delete_script, keys, 5, words.words, words.count, &reply, err));
    int64_t answer = reply->integer;
    redis_reply_free(reply);
    if (answer == -1) return error_set(err, STATUS_FAILED_PRECONDITION, "the workspace has keys that are not revoked");
    if (answer == -2) return error_set(err, STATUS_FAILED_PRECONDITION, "it is the organization's last workspace");
    if (answer == 0) return error_set(err, STATUS_NOT_FOUND, "no such workspace");
    redis_commandf(handling->service->redis, NULL, NULL, "HDEL " STORE_WORKSPACE_INDEX " %s", id);
    return STATUS_OK;
}
