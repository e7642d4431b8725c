/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/usage_names.h"

#include "services/keys/out_of_memory.h"
#include "services/keys/store_names.h"

#include <stdlib.h>
#include <string.h>

enum status usage_name(struct handling *handling, const char *what, const char *organization, const char *id,
                       const char **out, struct error *err) {
    char name[STORE_NAME_BYTES];
    store_name(name, what, organization, id);
    struct redis_reply *reply = NULL;
    TRY(store_words(handling->service, &reply, err, WORDS("HGET", name, "name")));
    *out = NULL;
    bool found = reply->type == REDIS_STRING;
    if (found) *out = arena_copy(&handling->arena, reply->string.data, reply->string.length);
    redis_reply_free(reply);
    return found && *out == NULL ? too_much_memory(err) : STATUS_OK;
}

static int compare_keys(const void *a, const void *b) {
    return strcmp((*(Bora__V1__LedgerEntry *const *)a)->key_prefix, (*(Bora__V1__LedgerEntry *const *)b)->key_prefix);
}
static int compare_workspaces(const void *a, const void *b) {
    return strcmp((*(Bora__V1__LedgerEntry *const *)a)->workspace_id,
                  (*(Bora__V1__LedgerEntry *const *)b)->workspace_id);
}

static void set_key_name(Bora__V1__LedgerEntry *entry, const char *name) {
    entry->_key_name_case = BORA__V1__LEDGER_ENTRY___KEY_NAME_KEY_NAME;
    entry->key_name = (char *)name;
}
static void set_workspace_name(Bora__V1__LedgerEntry *entry, const char *name) {
    entry->_workspace_name_case = BORA__V1__LEDGER_ENTRY___WORKSPACE_NAME_WORKSPACE_NAME;
    entry->workspace_name = (char *)name;
}

enum status usage_name_entries(struct handling *handling, const char *organization, Bora__V1__LedgerEntry **entries,
                               size_t count, struct error *err) {
    Bora__V1__LedgerEntry **sorted = arena_alloc_array(&handling->arena, count, sizeof *sorted);
    const char *name = NULL;
    if (count == 0) return STATUS_OK;
    if (sorted == NULL) return too_much_memory(err);
    memcpy(sorted, entries, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_keys);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || compare_keys(&sorted[i - 1], &sorted[i]) != 0)
            TRY(usage_name(handling, "key", organization, sorted[i]->key_prefix, &name, err));
        if (name != NULL) set_key_name(sorted[i], name);
    }
    qsort(sorted, count, sizeof *sorted, compare_workspaces);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || compare_workspaces(&sorted[i - 1], &sorted[i]) != 0)
            TRY(usage_name(handling, "ws", organization, sorted[i]->workspace_id, &name, err));
        if (name != NULL) set_workspace_name(sorted[i], name);
    }
    return STATUS_OK;
}
