/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "services/keys/convert.h"
#include "services/keys/key_store.h"
#include "services/keys/limit_seed.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/record_store.h"
#include "services/keys/store_names.h"
#include "services/keys/time_text.h"

#include <string.h>

enum {
    CREATE_ATTEMPTS = 4, /* two prefixes of 36^12 are never the same; if they are, once is enough */
    LIST_LIMIT_DEFAULT = 100,
    OVERLAP_SECONDS_DEFAULT = 86400,
};

static int64_t unix_now(void) {
    return clock_unix_ns(clock_system()) / NS_PER_S;
}

/** The key as a message, with the name of its workspace. */
static enum status answer_key(struct handling *handling, const struct key_record *record, Bora__V1__ApiKey **out,
                              struct error *err) {
    struct workspace workspace = {.name = ""};
    struct error gone = {0};
    enum status status = place_workspace(handling->service, record->organization, record->workspace, &handling->arena,
                                         &workspace, &gone);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) return error_set(err, status, "%s", gone.message);
    *out = convert_key(record, status == STATUS_OK ? workspace.name : "", unix_now(), &handling->arena);
    return *out != NULL ? STATUS_OK : out_of_memory(err);
}

/** A key hands on no more than it has: what it makes, changes or renews is bound to its own scopes. */
static enum status require_within_caller(const struct handling *handling, const struct key_record *record,
                                         struct error *err) {
    const struct key_record *own = &handling->caller.authority.key;
    if (handling->caller.role == KEY_ROLE_OPERATOR ||
        (name_list_within(&record->models, &own->models) && name_list_within(&record->endpoints, &own->endpoints)))
        return STATUS_OK;
    return error_set(err, STATUS_PERMISSION_DENIED, "a key cannot grant more than its own scopes");
}

static int64_t end_of(const struct key_record *record) {
    return record->expires_at != 0 ? record->expires_at : INT64_MAX;
}

/** An admin's authority, for longer than the caller has any. Keys of other roles may last longer than the key of the person who made them. */
static bool outlasts_caller(const struct handling *handling, const struct key_record *record) {
    return handling->caller.role != KEY_ROLE_OPERATOR && record->role >= KEY_ROLE_ADMIN &&
           end_of(record) > end_of(&handling->caller.authority.key);
}

static enum status refuse_longer_life(const struct handling *handling, struct error *err) {
    char until[TIME_TEXT_BYTES];
    time_format(handling->caller.authority.key.expires_at, until);
    return error_set(
        err, STATUS_PERMISSION_DENIED,
        "a key that expires cannot make or renew an admin key that lasts longer, nor change its role or its "
        "expiry; this one expires at %s",
        until);
}

/** Who makes a key, or a new secret of one, has it: nobody gets an admin's authority that lasts longer than his own. */
static enum status require_no_longer_life(const struct handling *handling, const struct key_record *record,
                                          struct error *err) {
    return outlasts_caller(handling, record) ? refuse_longer_life(handling, err) : STATUS_OK;
}

/** Nor by making a key less than it is, so that it can be renewed, for somebody else to give it back what it was. */
static enum status require_change_within_life(const struct handling *handling, const struct key_record *before,
                                              const struct key_record *after, struct error *err) {
    bool same = before->role == after->role && before->expires_at == after->expires_at;
    if (same || (!outlasts_caller(handling, before) && !outlasts_caller(handling, after))) return STATUS_OK;
    return refuse_longer_life(handling, err);
}

/* --- the audit trail ---------------------------------------------------------------------------------------------- */

static const char *json_of_time(struct arena *arena, int64_t unix_seconds) {
    return unix_seconds != 0 ? audit_json_number(arena, unix_seconds) : "null";
}

static const char *detail_of_keys(struct arena *arena, const struct key_record *before,
                                  const struct key_record *after) {
    const struct key_record *b = before;
    struct audit_detail detail;
    audit_detail_begin(&detail, arena);
    if (b != NULL) {
        audit_detail_add(&detail, "name", audit_json_text(arena, b->name), audit_json_text(arena, after->name));
        audit_detail_add(&detail, "disabled", audit_json_flag(b->disabled), audit_json_flag(after->disabled));
    } else {
        audit_detail_add(&detail, "workspace", AUDIT_NONE, audit_json_text(arena, after->workspace));
    }
    audit_detail_add(&detail, "role", b != NULL ? audit_json_text(arena, key_role_name(b->role)) : AUDIT_NONE,
                     audit_json_text(arena, key_role_name(after->role)));
    audit_detail_add(&detail, "expires_at", b != NULL ? json_of_time(arena, b->expires_at) : AUDIT_NONE,
                     json_of_time(arena, after->expires_at));
    audit_detail_add(&detail, "models", b != NULL ? audit_json_names(arena, &b->models) : AUDIT_NONE,
                     audit_json_names(arena, &after->models));
    audit_detail_add(&detail, "endpoints", b != NULL ? audit_json_names(arena, &b->endpoints) : AUDIT_NONE,
                     audit_json_names(arena, &after->endpoints));
    audit_detail_add(&detail, "limits", b != NULL ? audit_json_bounds(arena, &b->limits.all) : AUDIT_NONE,
                     audit_json_bounds(arena, &after->limits.all));
    audit_detail_add(&detail, "model_limits", b != NULL ? audit_json_models(arena, &b->limits) : AUDIT_NONE,
                     audit_json_models(arena, &after->limits));
    return audit_detail_end(&detail);
}

/* --- CreateKey ---------------------------------------------------------------------------------------------------- */

/** By name, made when it is missing. */
static enum status find_tenant(struct handling *handling, const char *organization, const char *name, char *out_id,
                               struct error *err) {
    char names[STORE_NAME_BYTES];
    struct redis_reply *reply = NULL;
    store_name(names, "ws-names", organization, NULL);
    TRY(store_words(handling->service, &reply, err, WORDS("HGET", names, name)));
    bool there = reply->type == REDIS_STRING;
    if (there) snprintf(out_id, UUID_CHARACTERS + 1, "%s", (const char *)reply->string.data);
    redis_reply_free(reply);
    if (there) return STATUS_OK;
    struct workspace workspace = {.name = name, .limits = LIMIT_SET_EMPTY, .key_limits = LIMITS_UNLIMITED};
    snprintf(workspace.organization, sizeof workspace.organization, "%s", organization);
    enum status status = place_create_workspace(handling, &workspace, err);
    if (status != STATUS_OK && status != STATUS_ALREADY_EXISTS) return status;
    snprintf(out_id, UUID_CHARACTERS + 1, "%s", workspace.id);
    return STATUS_OK;
}

static enum status choose_workspace(struct handling *handling, const Bora__V1__CreateKeyRequest *request,
                                    struct key_record *record, struct error *err) {
    const struct caller *caller = &handling->caller;
    if (PRESENT(request, workspace_uuid)) {
        struct workspace workspace;
        if (PRESENT(request, tenant))
            return handling_refuse_field(handling, "workspace_uuid", -1,
                                         "Value error, not together with tenant, which names a workspace too");
        TRY(handling_workspace(handling, request->workspace_uuid, &workspace, err));
        memcpy(record->organization, workspace.organization, sizeof record->organization);
        memcpy(record->workspace, workspace.id, sizeof record->workspace);
        return STATUS_OK;
    }
    struct organization organization;
    TRY(handling_organization(handling, NULL, &organization, err));
    memcpy(record->organization, organization.id, sizeof record->organization);
    if (PRESENT(request, tenant))
        return find_tenant(handling, organization.id, request->tenant, record->workspace, err);
    if (caller->role == KEY_ROLE_OPERATOR)
        return place_first_workspace(handling->service, organization.id, record->workspace, err);
    memcpy(record->workspace, caller->authority.workspace.id, sizeof record->workspace);
    return STATUS_OK;
}

static enum status read_expiry(struct handling *handling, const Bora__V1__CreateKeyRequest *request,
                               struct key_record *record) {
    if (PRESENT(request, expiration)) {
        if (PRESENT(request, expires_at))
            return handling_refuse_field(handling, "expiration", -1, "Value error, not together with expires_at");
        return convert_read_expiration(handling, "expiration", request->expiration, record->created_at,
                                       &record->expires_at);
    }
    if (!PRESENT(request, expires_at)) return STATUS_OK;
    record->expires_at = request->expires_at;
    return request->expires_at > record->created_at
               ? STATUS_OK
               : handling_refuse_field(handling, "expires_at", -1, "Value error, the time has passed already");
}

/** All that the request decides but the place. */
static enum status read_request(struct handling *handling, const Bora__V1__CreateKeyRequest *request,
                                struct key_record *record, struct error *err) {
    const struct key_record *own = &handling->caller.authority.key;
    *record = (struct key_record){.version = 1,
                                  .created_at = unix_now(),
                                  .name = PRESENT(request, name) ? request->name : "",
                                  .created_by = handling->caller.name,
                                  .user_id = PRESENT(request, user_id) ? request->user_id : NULL,
                                  .role = KEY_ROLE_SERVICE,
                                  .limits_given = request->limits != NULL,
                                  .models = own->models,
                                  .endpoints = own->endpoints};
    if (PRESENT(request, role)) (void)!key_role_parse(bytes_view_string(request->role), &record->role);
    convert_read_bounds(request->limits, &record->limits.all);
    TRY(read_expiry(handling, request, record));
    bool has_end = PRESENT(request, expiration) || PRESENT(request, expires_at);
    if (!has_end && record->role == KEY_ROLE_ADMIN) record->expires_at = own->expires_at;
    TRY(require_no_longer_life(handling, record, err));
    TRY(convert_read_model_limits(handling, request->model_limits, request->n_model_limits, &record->limits, err));
    if (request->scopes != NULL) TRY(convert_read_scopes(handling, request->scopes, record, err));
    return require_within_caller(handling, record, err);
}

/** A fresh text under a fresh prefix, until one is free. */
static enum status create_record(struct handling *handling, struct key_record *record, struct key_text *text,
                                 struct error *err) {
    enum status status = STATUS_ALREADY_EXISTS;
    for (int i = 0; i < CREATE_ATTEMPTS && status == STATUS_ALREADY_EXISTS; i++) {
        TRY(key_text_create(text, err));
        memcpy(record->prefix, text->prefix, sizeof record->prefix);
        memcpy(record->last, text->whole + KEY_TEXT_CHARACTERS - KEY_LAST_CHARACTERS, sizeof record->last);
        key_text_hash(handling->service->secrets.hash_secret, text->whole, record->hash);
        struct audit_entry entry = {"key.create", record->prefix, record->name,
                                    detail_of_keys(&handling->arena, NULL, record)};
        if (entry.detail == NULL) return out_of_memory(err);
        status = key_create(handling, record, &entry, err);
    }
    return status == STATUS_ALREADY_EXISTS ? error_set(err, STATUS_INTERNAL, "no free prefix was found") : status;
}

/** The answer with the whole key in it, the only one: `text` is wiped. */
static enum status answer_secret(struct handling *handling, const struct key_record *record, struct key_text *text,
                                 ProtobufCMessage **out_reply, struct error *err) {
    Bora__V1__CreateKeyResponse *out = arena_alloc(&handling->arena, sizeof *out);
    if (out == NULL) return out_of_memory(err);
    bora__v1__create_key_response__init(out);
    TRY(answer_key(handling, record, &out->info, err));
    memcpy(handling->secret, text->whole, sizeof handling->secret);
    out->key = handling->secret;
    out->key_id = out->info->key_id;
    out->name = out->info->name;
    out->hidden_key = out->info->hidden_key;
    out->created_at = out->info->created_at;
    out->actions = out->info->actions;
    if (PRESENT(out->info, expiration_date)) {
        out->_expiration_date_case = BORA__V1__CREATE_KEY_RESPONSE___EXPIRATION_DATE_EXPIRATION_DATE;
        out->expiration_date = out->info->expiration_date;
    }
    *out_reply = &out->base;
    return STATUS_OK;
}

static enum status create_key(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                              struct error *err) {
    const Bora__V1__CreateKeyRequest *request = message;
    struct key_record record;
    struct key_text text = {.whole = ""};
    TRY(read_request(handling, request, &record, err));
    TRY(choose_workspace(handling, request, &record, err));
    enum status status = create_record(handling, &record, &text, err);
    if (status == STATUS_OK) status = answer_secret(handling, &record, &text, out_reply, err);
    explicit_bzero(&text, sizeof text);
    if (status == STATUS_OK)
        log_info("key created", LOG_S("key", record.prefix), LOG_S("workspace", record.workspace),
                 LOG_S("by", handling->caller.name));
    return status;
}

/* --- GetKey, ListKeys --------------------------------------------------------------------------------------------- */

static enum status get_key(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                           struct error *err) {
    const Bora__V1__GetKeyRequest *request = message;
    struct key_record record;
    Bora__V1__ApiKey *out = NULL;
    TRY(handling_key(handling, request->key_id, &record, err));
    TRY(answer_key(handling, &record, &out, err));
    *out_reply = &out->base;
    return STATUS_OK;
}

/** Where a list looks: one organisation, or (empty) all from the one at `first_rank` on. */
struct scope {
    char organization[UUID_CHARACTERS + 1];
    int64_t first_rank;
    char after[KEY_PREFIX_CHARACTERS + 1]; /* of the first one; empty: from its beginning */
    struct key_filter filter;
};

static enum status read_after(struct handling *handling, const char *after, struct scope *scope, struct error *err) {
    struct key_record record;
    struct error unknown = {0};
    enum status status = handling_key(handling, after, &record, &unknown);
    if (status == STATUS_NOT_FOUND ||
        (status == STATUS_OK && scope->organization[0] != 0 && strcmp(scope->organization, record.organization) != 0))
        return handling_refuse_field(handling, "after", -1, "Value error, no such key");
    if (status != STATUS_OK) return error_set(err, status, "%s", unknown.message);
    memcpy(scope->after, record.prefix, sizeof scope->after);
    if (scope->organization[0] != 0) return STATUS_OK;
    struct redis_reply *reply = NULL;
    TRY(store_words(handling->service, &reply, err, WORDS("ZRANK", STORE_ORGANIZATIONS, record.organization)));
    scope->first_rank = reply->integer;
    redis_reply_free(reply);
    return STATUS_OK;
}

static enum status read_scope(struct handling *handling, const Bora__V1__ListKeysRequest *request, struct scope *scope,
                              struct error *err) {
    struct organization organization;
    struct workspace workspace;
    *scope = (struct scope){.first_rank = 0};
    if (PRESENT(request, organization_id) || handling->caller.role != KEY_ROLE_OPERATOR) {
        TRY(handling_organization(handling, PRESENT(request, organization_id) ? request->organization_id : NULL,
                                  &organization, err));
        memcpy(scope->organization, organization.id, sizeof scope->organization);
    }
    if (PRESENT(request, workspace_id)) {
        TRY(handling_workspace(handling, request->workspace_id, &workspace, err));
        if (scope->organization[0] != 0 && strcmp(scope->organization, workspace.organization) != 0)
            return error_set(err, STATUS_NOT_FOUND, "no such workspace");
        memcpy(scope->organization, workspace.organization, sizeof scope->organization);
        scope->filter.workspace = request->workspace_id;
    }
    if (PRESENT(request, name) && request->name[0] != 0) scope->filter.name = request->name;
    if (!PRESENT(request, after)) return STATUS_OK;
    if (PRESENT(request, offset))
        return handling_refuse_field(handling, "offset", -1, "Value error, not together with after");
    return read_after(handling, request->after, scope, err);
}

static enum status list_all(struct handling *handling, const struct scope *scope, struct key_page *page,
                            struct error *err) {
    const char *after = scope->after[0] != 0 ? scope->after : NULL;
    struct keys_service *service = handling->service;
    struct arena *arena = &handling->arena;
    if (scope->organization[0] != 0)
        return key_list(service, scope->organization, after, &scope->filter, arena, page, err);
    char(*ids)[UUID_CHARACTERS + 1] = NULL;
    size_t count = 0;
    TRY(place_organization_ids(service, scope->first_rank, LIMIT_ORGANIZATIONS, arena, &ids, &count, err));
    for (size_t i = 0; i < count && page->count <= page->limit; i++)
        TRY(key_list(service, ids[i], i == 0 ? after : NULL, &scope->filter, arena, page, err));
    return STATUS_OK;
}

/** Keys come organisation by organisation, so the names of each one's workspaces are asked for once. */
static enum status convert_page(struct handling *handling, const struct key_page *page, Bora__V1__ListKeysResponse *out,
                                struct error *err) {
    struct workspace_names names = {.count = 0};
    int64_t now = unix_now();
    out->has_more = page->count > page->limit;
    out->keys = arena_alloc_array(&handling->arena, page->count, sizeof *out->keys);
    if (out->keys == NULL) return out_of_memory(err);
    for (size_t i = 0; i < page->count && i < page->limit; i++) {
        const struct key_record *record = &page->records[i];
        if (strcmp(names.organization, record->organization) != 0)
            TRY(place_workspace_names(handling->service, record->organization, &handling->arena, &names, err));
        Bora__V1__ApiKey *key =
            convert_key(record, workspace_names_find(&names, record->workspace), now, &handling->arena);
        if (key == NULL) return out_of_memory(err);
        out->keys[out->n_keys++] = key;
    }
    return STATUS_OK;
}

static enum status list_keys(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                             struct error *err) {
    const Bora__V1__ListKeysRequest *request = message;
    struct scope scope;
    TRY(read_scope(handling, request, &scope, err));
    struct key_page page = {.limit = PRESENT(request, limit) ? (size_t)request->limit : LIST_LIMIT_DEFAULT,
                            .skip = PRESENT(request, offset) ? request->offset : 0};
    page.records = arena_alloc_array(&handling->arena, page.limit + 1, sizeof *page.records);
    Bora__V1__ListKeysResponse *out = arena_alloc(&handling->arena, sizeof *out);
    if (page.records == NULL || out == NULL) return out_of_memory(err);
    bora__v1__list_keys_response__init(out);
    TRY(list_all(handling, &scope, &page, err));
    TRY(convert_page(handling, &page, out, err));
    *out_reply = &out->base;
    return STATUS_OK;
}

/* --- changes ------------------------------------------------------------------------------------------------------ */

/** Write `after` over `before`; then gateways are told, as `finish` does it. ABORTED: somebody else was faster. */
typedef enum status finish_fn(struct keys_service *service, const struct change *change, struct error *err);
static enum status change_key(struct handling *handling, const struct key_record *before, struct key_record *after,
                              const struct audit_entry *entry, finish_fn *finish, struct error *err) {
    struct word_list old = {.arena = &handling->arena}, new = {.arena = &handling->arena};
    struct change told;
    after->version = before->version + 1;
    TRY(key_record_write(before, &handling->arena, &old.words, &old.count, err));
    TRY(key_record_write(after, &handling->arena, &new.words, &new.count, err));
    if (entry->detail == NULL) return out_of_memory(err);
    if (!limit_sets_equal(&before->limits, &after->limits))
        TRY(limit_seed_scope(handling, before->organization, NULL, before->prefix, &after->limits, err));
    change_begin(CHANGE_KEY, before->organization, before->prefix, &told);
    bool leaves = before->revoked_at == 0 && after->revoked_at != 0;
    struct record_change change = {.what = "key",
                                   .organization = before->organization,
                                   .id_or_null = before->prefix,
                                   .version = before->version,
                                   .before = &old,
                                   .after = &new,
                                   .workspace = before->workspace,
                                   .leaving_prefix = leaves ? before->prefix : NULL,
                                   .entry = entry,
                                   .change = &told};
    TRY(record_change(handling, &change, err));
    log_info("key changed", LOG_S("action", entry->action), LOG_S("key", before->prefix),
             LOG_S("by", handling->caller.name));
    return finish(handling->service, &told, err);
}

static enum status too_many_tries(struct error *err) {
    return error_set(err, STATUS_ABORTED, "others are changing the key at the same time; try again");
}

static enum status require_alive(const struct key_record *record, struct error *err) {
    return record->revoked_at == 0 ? STATUS_OK : error_set(err, STATUS_FAILED_PRECONDITION, "the key is revoked");
}

static enum status apply_update(struct handling *handling, const Bora__V1__UpdateKeyRequest *request,
                                struct key_record *record, struct error *err) {
    if (PRESENT(request, name)) record->name = request->name;
    if (PRESENT(request, disabled)) record->disabled = request->disabled;
    if (PRESENT(request, role)) (void)!key_role_parse(bytes_view_string(request->role), &record->role);
    if (PRESENT(request, expiration)) {
        record->expires_at = 0;
        if (request->expiration[0] != 0)
            TRY(convert_read_expiration(handling, "expiration", request->expiration, unix_now(), &record->expires_at));
    }
    if (request->limits != NULL) {
        record->limits_given = true;
        convert_read_bounds(request->limits, &record->limits.all);
    }
    if (request->model_limits != NULL)
        TRY(convert_read_model_limits(handling, request->model_limits->items, request->model_limits->n_items,
                                      &record->limits, err));
    return request->scopes != NULL ? convert_read_scopes(handling, request->scopes, record, err) : STATUS_OK;
}

/** Whether the records say the same: then there is nothing to write, and nothing to remember of it. */
static enum status compare_records(struct handling *handling, const struct key_record *a, const struct key_record *b,
                                   bool *out_same, struct error *err) {
    struct bytes_view *words_a, *words_b;
    size_t count_a, count_b;
    TRY(key_record_write(a, &handling->arena, &words_a, &count_a, err));
    TRY(key_record_write(b, &handling->arena, &words_b, &count_b, err));
    *out_same = count_a == count_b;
    for (size_t i = 0; *out_same && i < count_a; i++) *out_same = bytes_view_equal(words_a[i], words_b[i]);
    return STATUS_OK;
}

/** In case gateways could not be told of what the record says already. */
static enum status tell_again(struct handling *handling, const struct key_record *record, struct error *err) {
    struct change told;
    change_begin(CHANGE_KEY, record->organization, record->prefix, &told);
    return change_finish(handling->service, &told, err);
}

static enum status update_once(struct handling *handling, const Bora__V1__UpdateKeyRequest *request,
                               struct key_record *after, struct error *err) {
    struct key_record before;
    bool same;
    TRY(handling_key(handling, request->key_id, &before, err));
    TRY(require_alive(&before, err));
    TRY(require_within_caller(handling, &before, err));
    *after = before;
    TRY(apply_update(handling, request, after, err));
    TRY(require_within_caller(handling, after, err));
    TRY(require_change_within_life(handling, &before, after, err));
    TRY(compare_records(handling, &before, after, &same, err));
    if (same) return tell_again(handling, &before, err);
    struct audit_entry entry = {"key.update", before.prefix, after->name,
                                detail_of_keys(&handling->arena, &before, after)};
    return change_key(handling, &before, after, &entry, change_finish, err);
}

static enum status update_key(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                              struct error *err) {
    const Bora__V1__UpdateKeyRequest *request = message;
    enum status status = STATUS_ABORTED;
    struct key_record after;
    for (int i = 0; i < RECORD_CHANGE_TRIES && status == STATUS_ABORTED; i++)
        status = update_once(handling, request, &after, err);
    if (status == STATUS_ABORTED) return too_many_tries(err);
    TRY(status);
    Bora__V1__ApiKey *out = NULL;
    TRY(answer_key(handling, &after, &out, err));
    *out_reply = &out->base;
    return STATUS_OK;
}

/* --- RotateKey ---------------------------------------------------------------------------------------------------- */

static void renew(const struct handling *handling, const struct key_record *before, const struct key_text *text,
                  int64_t overlap_seconds, struct key_record *after) {
    *after = *before;
    memcpy(after->last, text->whole + KEY_TEXT_CHARACTERS - KEY_LAST_CHARACTERS, sizeof after->last);
    key_text_hash(handling->service->secrets.hash_secret, text->whole, after->hash);
    memcpy(after->previous_hash, before->hash, sizeof after->previous_hash);
    after->previous_expires_at = overlap_seconds > 0 ? unix_now() + overlap_seconds : 0;
    after->rotations = before->rotations + 1;
}

/** With an overlap nothing has become invalid, so the answer, which has the only copy of the secret, does not depend on who can be told. */
static enum status finish_overlap(struct keys_service *service, const struct change *change, struct error *err) {
    struct error later = {0};
    (void)err;
    (void)!change_finish(service, change, &later);
    return STATUS_OK;
}

static enum status rotate_once(struct handling *handling, const char *key_id, int64_t overlap, struct key_text *text,
                               struct key_record *after, struct error *err) {
    struct key_record before;
    TRY(handling_key(handling, key_id, &before, err));
    TRY(require_alive(&before, err));
    TRY(require_within_caller(handling, &before, err));
    TRY(require_no_longer_life(handling, &before, err));
    TRY(key_text_renew(before.prefix, text, err));
    renew(handling, &before, text, overlap, after);
    struct audit_detail detail;
    audit_detail_begin(&detail, &handling->arena);
    audit_detail_add(&detail, "previous_expires_at", AUDIT_NONE,
                     json_of_time(&handling->arena, after->previous_expires_at));
    struct audit_entry entry = {"key.rotate", before.prefix, before.name, audit_detail_end(&detail)};
    return change_key(handling, &before, after, &entry, overlap > 0 ? finish_overlap : change_finish, err);
}

static enum status rotate_key(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                              struct error *err) {
    const Bora__V1__RotateKeyRequest *request = message;
    int64_t overlap = PRESENT(request, overlap_seconds) ? request->overlap_seconds : OVERLAP_SECONDS_DEFAULT;
    if (overlap == 0 && !redis_client_connected(handling->service->limits_redis))
        return error_set(err, STATUS_UNAVAILABLE,
                         "the limits' Redis cannot be reached, so gateways could not be told: nothing was changed");
    enum status status = STATUS_ABORTED;
    struct key_record after;
    struct key_text text = {.whole = ""};
    for (int i = 0; i < RECORD_CHANGE_TRIES && status == STATUS_ABORTED; i++)
        status = rotate_once(handling, request->key_id, overlap, &text, &after, err);
    if (status == STATUS_OK) status = answer_secret(handling, &after, &text, out_reply, err);
    explicit_bzero(&text, sizeof text);
    return status == STATUS_ABORTED ? too_many_tries(err) : status;
}

/* --- RevokeKey ---------------------------------------------------------------------------------------------------- */

static enum status revoke_record(struct handling *handling, const struct key_record *before, struct key_record *after,
                                 struct error *err) {
    *after = *before;
    if (before->revoked_at != 0) return tell_again(handling, before, err);
    after->revoked_at = unix_now();
    struct audit_entry entry = {"key.revoke", before->prefix, before->name, "{}"};
    return change_key(handling, before, after, &entry, change_finish, err);
}

static enum status revoke_key(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                              struct error *err) {
    const Bora__V1__RevokeKeyRequest *request = message;
    enum status status = STATUS_ABORTED;
    struct key_record before, after;
    for (int i = 0; i < RECORD_CHANGE_TRIES && status == STATUS_ABORTED; i++) {
        TRY(handling_key(handling, request->key_id, &before, err));
        status = revoke_record(handling, &before, &after, err);
    }
    if (status == STATUS_ABORTED) return too_many_tries(err);
    TRY(status);
    Bora__V1__RevokeKeyResponse *out = arena_alloc(&handling->arena, sizeof *out);
    if (out == NULL) return out_of_memory(err);
    bora__v1__revoke_key_response__init(out);
    TRY(answer_key(handling, &after, &out->info, err));
    out->key_id = out->info->key_id;
    out->deleted = true;
    *out_reply = &out->base;
    return STATUS_OK;
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

#define PATH "/bora.v1.KeyService/"
const struct rpc_method keys_methods[] = {
    METHOD(PATH, "CreateKey", create_key, create_key_request, KEY_ROLE_ADMIN, "admin"),
    METHOD(PATH, "GetKey", get_key, get_key_request, KEY_ROLE_ADMIN, "admin"),
    METHOD(PATH, "ListKeys", list_keys, list_keys_request, KEY_ROLE_ADMIN, "admin"),
    METHOD(PATH, "UpdateKey", update_key, update_key_request, KEY_ROLE_ADMIN, "admin"),
    METHOD(PATH, "RotateKey", rotate_key, rotate_key_request, KEY_ROLE_ADMIN, "admin"),
    METHOD(PATH, "RevokeKey", revoke_key, revoke_key_request, KEY_ROLE_ADMIN, "admin"),
    {.path = PATH "VerifyKey", .message = keys_verify},
};
const size_t keys_method_count = sizeof keys_methods / sizeof *keys_methods;
