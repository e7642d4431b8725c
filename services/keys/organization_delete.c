/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* An organisation that was made by mistake goes. One that has used anything stays, because its ledger does: it can be disabled. One script removes it and
 * leaves a list of what indexes, in other slots, still name, and a mark that they have to follow; whoever sees the mark takes the names out of them. Its audit
 * trail stays. */
#include "services/keys/batch.h"
#include "services/keys/changes.h"
#include "services/keys/handling.h"
#include "services/keys/organization_names.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/store_names.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

extern const char organization_delete_lua[], organization_forget_lua[]; /* in this folder */

enum { KEYS_MAX = 1000 }; /* revoked ones, that a script removes at once */
#define DELETED "deleted"
#define LEFTOVERS_KEPT_S "2592000" /* 30 days */

static struct redis_script script, entry_script;
static pthread_once_t script_once = PTHREAD_ONCE_INIT;

static void init_script(void) {
    redis_script_init(&script, organization_delete_lua);
    redis_script_init(&entry_script, organization_forget_lua);
}

/* --- the organisation --------------------------------------------------------------------------------------------- */

static enum status refuse_answer(int64_t answer, struct error *err) {
    switch (answer) {
    case 1:
        return STATUS_OK;
    case -1:
        return error_set(err, STATUS_FAILED_PRECONDITION, "the organization has keys that are not revoked");
    case -2:
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "the organization is in the ledger, which keeps it; disable it instead");
    case -3:
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "the organization has more than %d revoked keys; disable it instead", KEYS_MAX);
    default:
        return error_set(err, STATUS_NOT_FOUND, "no such organization");
    }
}

static enum status run_script(struct handling *handling, const struct organization *organization, bool removes,
                              struct error *err) {
    static const char *const whats[] = {"org",    "wss",         "ws-names", "keys", "pending",
                                        "ledger", "ledger-seen", "audit",    DELETED};
    enum { KEYS = sizeof whats / sizeof *whats, WORDS_AHEAD = 6 };
    const char *id = organization->id;
    const struct audit_entry entry = {"organization.delete", id, organization->name, "{}"};
    char names[KEYS][STORE_NAME_BYTES], beginnings[3][STORE_NAME_BYTES], most[24];
    struct bytes_view keys[KEYS], arguments[WORDS_AHEAD + AUDIT_WORDS];
    struct redis_reply *reply = NULL;
    pthread_once(&script_once, init_script);
    for (int i = 0; i < KEYS; i++) keys[i] = store_name(names[i], whats[i], id, NULL);
    snprintf(most, sizeof most, "%d", KEYS_MAX);
    arguments[0] = bytes_view_string(removes ? "1" : "");
    arguments[1] = store_name(beginnings[0], "ws", id, "");
    arguments[2] = store_name(beginnings[1], "ws-keys", id, "");
    arguments[3] = store_name(beginnings[2], "key", id, "");
    arguments[4] = bytes_view_string(most);
    arguments[5] = bytes_view_string(CHANGES_DELETED_MARK);
    handling_audit_words(handling, &entry, arguments + WORDS_AHEAD);
    TRY(store_script(handling->service, &script, keys, KEYS, arguments, WORDS_AHEAD + AUDIT_WORDS, &reply, err));
    int64_t answer = reply->integer;
    redis_reply_free(reply);
    return refuse_answer(answer, err);
}

/** What it has held at the limits' Redis would come into the ledger later. */
static enum status require_quiet(struct keys_service *service, const char *id, struct error *err) {
    static const char *const formats[] = {"XLEN bora:outbox:{%s}", "HLEN bora:leases:{%s}"};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        struct redis_reply *reply = NULL;
        struct error cause = {0};
        enum status status = redis_callf(service->limits_redis, &reply, &cause, formats[i], id);
        if (status != STATUS_OK) return store_failure(status, cause.message, err);
        bool quiet = reply->integer == 0;
        redis_reply_free(reply);
        if (!quiet) return error_set(err, STATUS_FAILED_PRECONDITION, "answers of the organization are under way");
    }
    return STATUS_OK;
}

enum status place_delete_organization(struct handling *handling, const struct organization *organization,
                                      struct error *err) {
    struct organization first;
    struct error later = {0};
    bool was_there = false;
    TRY(place_organization(handling->service, NULL, &handling->arena, &first, err));
    if (strcmp(first.id, organization->id) == 0)
        return error_set(err, STATUS_FAILED_PRECONDITION, "it is the first organization, which always is there");
    TRY(require_quiet(handling->service, organization->id, err));
    TRY(run_script(handling, organization, false, err));
    enum status status = run_script(handling, organization, true, err);
    /* Without an answer it may have been done as well. */
    if (status != STATUS_OK ||
        place_forget_organization(handling->service, organization->id, &was_there, &later) != STATUS_OK)
        keeper_wake(handling->service->changes);
    return status;
}

/* --- what names it elsewhere -------------------------------------------------------------------------------------- */

/** Each of them: "k <prefix>", "w <workspace>", "n <name>". */
static enum status clear_indexes(struct keys_service *service, const char *id, const struct redis_reply *members,
                                 struct batch *batch, struct error *err) {
    struct error cause = {0};
    enum status status = STATUS_OK;
    for (size_t i = 0; i < members->count && status == STATUS_OK;) {
        for (int sent = 0; i < members->count && sent < BATCH_MAX; i++, sent++) {
            const char *member = (const char *)members->items[i].string.data;
            const char *index = member[0] == 'k' ? STORE_KEY_INDEX : STORE_WORKSPACE_INDEX;
            if (member[0] == 'n')
                organization_name_release(service, member + 2, id);
            else
                redis_commandf(service->redis, batch_answer, batch_expect(batch, NULL, NULL), "HDEL %s %s", index,
                               member + 2);
        }
        status = batch_wait(batch, NULL, &cause);
    }
    return status == STATUS_OK ? STATUS_OK : store_failure(status, cause.message, err);
}

/** `entry`: {{id, {field, value...}}}, of its own trail. */
static enum status put_entry(struct keys_service *service, const char *id, const char *first,
                             const struct redis_reply *entry, struct error *err) {
    enum { WORDS_AHEAD = 2, WORDS_MAX = WORDS_AHEAD + 2 * (AUDIT_WORDS - 1) };
    struct bytes_view words[WORDS_MAX] = {bytes_view_string(service->audit_kept), bytes_view_string(id)};
    char name[STORE_NAME_BYTES];
    size_t count = WORDS_AHEAD;
    if (entry->count != 1) return STATUS_OK;
    const struct redis_reply *fields = &entry->items[0].items[1];
    for (size_t i = 0; i < fields->count && count < WORDS_MAX; i++) words[count++] = fields->items[i].string;
    const struct bytes_view key = store_name(name, "audit", first, NULL);
    return store_script(service, &entry_script, &key, 1, words, count, NULL, err);
}

static enum status copy_entry(struct keys_service *service, const char *id, struct error *err) {
    char name[STORE_NAME_BYTES];
    struct redis_reply *first = NULL, *entry = NULL;
    store_name(name, "audit", id, NULL);
    TRY(store_words(service, &first, err, WORDS("GET", STORE_FIRST_ORGANIZATION)));
    enum status status = store_words(service, &entry, err, WORDS("XREVRANGE", name, "+", "-", "COUNT", "1"));
    if (status == STATUS_OK && first->type == REDIS_STRING)
        status = put_entry(service, id, (const char *)first->string.data, entry, err);
    redis_reply_free(entry);
    redis_reply_free(first);
    return status;
}

/** The list of all organisations leads whoever looks for marks here, so an organisation leaves it when all else is done. Who dies right behind that leaves
 *  what nothing leads to; so it ends by itself, late enough for whoever takes this up before. */
static enum status forget(struct keys_service *service, const char *id, const struct redis_reply *members,
                          struct error *err) {
    char deleted[STORE_NAME_BYTES], pending[STORE_NAME_BYTES];
    struct batch batch;
    batch_init(&batch);
    enum status status = clear_indexes(service, id, members, &batch, err);
    batch_deinit(&batch);
    TRY(status);
    TRY(copy_entry(service, id, err));
    redis_commandf(service->limits_redis, NULL, NULL, "SREM bora:orgs-active %s", id);
    store_name(deleted, DELETED, id, NULL);
    store_name(pending, "pending", id, NULL);
    TRY(store_words(service, NULL, err, WORDS("EXPIRE", deleted, LEFTOVERS_KEPT_S)));
    TRY(store_words(service, NULL, err, WORDS("EXPIRE", pending, LEFTOVERS_KEPT_S)));
    TRY(store_words(service, NULL, err, WORDS("ZREM", STORE_ORGANIZATIONS, id)));
    return store_words(service, NULL, err, WORDS("DEL", deleted, pending));
}

enum status place_forget_organization(struct keys_service *service, const char *id, bool *out_was_there,
                                      struct error *err) {
    char name[STORE_NAME_BYTES];
    struct redis_reply *members = NULL;
    *out_was_there = false;
    if (!uuid_is_valid(id)) return STATUS_OK;
    pthread_once(&script_once, init_script);
    store_name(name, DELETED, id, NULL);
    TRY(store_words(service, &members, err, WORDS("SMEMBERS", name)));
    *out_was_there = members->count > 0;
    enum status status = *out_was_there ? forget(service, id, members, err) : STATUS_OK;
    redis_reply_free(members);
    return status;
}
