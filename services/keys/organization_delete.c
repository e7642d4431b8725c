/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* An organisation that was made by mistake goes. One that has used anything stays, because its ledger does: it can be disabled. */
#include "services/keys/handling.h"
#include "services/keys/organization_names.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/store_names.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

extern const char organization_delete_lua[]; /* in this folder */

enum { KEYS_MAX = 1000 }; /* revoked ones, that a script removes at once */

static struct redis_script script;
static pthread_once_t script_once = PTHREAD_ONCE_INIT;

static void init_script(void) {
    redis_script_init(&script, organization_delete_lua);
}

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

/** `out` may be NULL: only whether it would be removed. */
static enum status run_script(struct handling *handling, const char *id, struct redis_reply **out, struct error *err) {
    static const char *const whats[] = {"org", "wss", "ws-names", "keys", "pending", "ledger", "ledger-seen", "audit"};
    enum { KEYS = sizeof whats / sizeof *whats };
    char names[KEYS][STORE_NAME_BYTES], beginnings[3][STORE_NAME_BYTES], most[24];
    struct bytes_view keys[KEYS];
    struct redis_reply *reply = NULL;
    pthread_once(&script_once, init_script);
    for (int i = 0; i < KEYS; i++) keys[i] = store_name(names[i], whats[i], id, NULL);
    snprintf(most, sizeof most, "%d", KEYS_MAX);
    const struct bytes_view arguments[] = {bytes_view_string(out != NULL ? "1" : ""),
                                           store_name(beginnings[0], "ws", id, ""),
                                           store_name(beginnings[1], "ws-keys", id, ""),
                                           store_name(beginnings[2], "key", id, ""), bytes_view_string(most)};
    TRY(store_script(handling->service, &script, keys, KEYS, arguments, 5, &reply, err));
    enum status status = refuse_answer(reply->count > 0 ? reply->items[0].integer : 0, err);
    if (status == STATUS_OK && out != NULL)
        *out = reply;
    else
        redis_reply_free(reply);
    return status;
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

/** In the trail that the operator sees unless another is named: its own goes with it. Before it goes, so that nothing goes without an entry. */
static enum status write_trail(struct handling *handling, const struct organization *organization,
                               const struct organization *first, struct error *err) {
    static const char *const fields[] = {"actor", "action", "target", "name", "detail", "request", "address"};
    const struct audit_entry entry = {"organization.delete", organization->id, organization->name, "{}"};
    struct bytes_view audit[AUDIT_WORDS], words[6 + 2 * (AUDIT_WORDS - 1)];
    char trail[STORE_NAME_BYTES];
    size_t count = 0;
    handling_audit_words(handling, &entry, audit);
    words[count++] = bytes_view_string("XADD");
    words[count++] = store_name(trail, "audit", first->id, NULL);
    words[count++] = bytes_view_string("MAXLEN");
    words[count++] = bytes_view_string("~");
    words[count++] = audit[0];
    words[count++] = bytes_view_string("*");
    for (int i = 1; i < AUDIT_WORDS; i++) {
        words[count++] = bytes_view_string(fields[i - 1]);
        words[count++] = audit[i];
    }
    return store_call(handling->service, words, count, NULL, err);
}

/** What names it elsewhere. Nobody waits for it: an entry without a record does no harm. */
static void forget(struct keys_service *service, const struct organization *organization,
                   const struct redis_reply *removed) {
    const struct redis_reply *prefixes = &removed->items[1], *workspaces = &removed->items[2];
    for (size_t i = 0; i < prefixes->count; i++)
        redis_commandf(service->redis, NULL, NULL, "HDEL " STORE_KEY_INDEX " %b", &prefixes->items[i].string);
    for (size_t i = 0; i < workspaces->count; i++)
        redis_commandf(service->redis, NULL, NULL, "HDEL " STORE_WORKSPACE_INDEX " %b", &workspaces->items[i].string);
    redis_commandf(service->redis, NULL, NULL, "ZREM " STORE_ORGANIZATIONS " %s", organization->id);
    redis_commandf(service->limits_redis, NULL, NULL, "SREM bora:orgs-active %s", organization->id);
    organization_name_release(service, organization->name, organization->id);
}

enum status place_delete_organization(struct handling *handling, const struct organization *organization,
                                      struct error *err) {
    struct organization first;
    struct redis_reply *removed = NULL;
    TRY(place_organization(handling->service, NULL, &handling->arena, &first, err));
    if (strcmp(first.id, organization->id) == 0)
        return error_set(err, STATUS_FAILED_PRECONDITION, "it is the first organization, which always is there");
    TRY(require_quiet(handling->service, organization->id, err));
    TRY(run_script(handling, organization->id, NULL, err));
    TRY(write_trail(handling, organization, &first, err));
    TRY(run_script(handling, organization->id, &removed, err));
    forget(handling->service, organization, removed);
    redis_reply_free(removed);
    return STATUS_OK;
}
