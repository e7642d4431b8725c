/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/usage_scope.h"

#include "services/keys/out_of_memory.h"

#include <string.h>

static enum status no_workspace(struct error *err) {
    return error_set(err, STATUS_NOT_FOUND, "no such workspace");
}

static enum status no_key(struct error *err) {
    return error_set(err, STATUS_NOT_FOUND, "no such key");
}

/** The workspace that the filter is for; of members and service keys always their own. `organization`: where it has to be; "": anywhere, and it is set. */
static enum status find_workspace(struct handling *handling, const char *wanted, struct usage_scope *out,
                                  struct error *err) {
    const struct caller *caller = &handling->caller;
    if (caller->role < KEY_ROLE_ADMIN) {
        const char *own = caller->authority.workspace.id;
        if (wanted != NULL && strcmp(wanted, own) != 0) return no_workspace(err);
        out->filter.workspace = own;
        return STATUS_OK;
    }
    if (wanted == NULL) return STATUS_OK;
    struct workspace *workspace = arena_alloc(&handling->arena, sizeof *workspace);
    if (workspace == NULL) return out_of_memory(err);
    TRY(handling_workspace(handling, wanted, workspace, err));
    if (out->organization[0] != 0 && strcmp(out->organization, workspace->organization) != 0) return no_workspace(err);
    memcpy(out->organization, workspace->organization, sizeof out->organization);
    out->filter.workspace = workspace->id;
    return STATUS_OK;
}

static enum status find_key(struct handling *handling, const char *wanted, struct usage_scope *out, struct error *err) {
    const struct caller *caller = &handling->caller;
    if (wanted == NULL && caller->role == KEY_ROLE_SERVICE) out->filter.key = caller->authority.key.prefix;
    if (wanted == NULL) return STATUS_OK;
    struct key_record *key = arena_alloc(&handling->arena, sizeof *key);
    if (key == NULL) return out_of_memory(err);
    TRY(handling_key(handling, wanted, key, err));
    bool seen = caller->role >= KEY_ROLE_ADMIN ||
                (caller->role == KEY_ROLE_MEMBER && strcmp(key->workspace, caller->authority.workspace.id) == 0) ||
                strcmp(key->prefix, caller->authority.key.prefix) == 0;
    if (!seen || (out->organization[0] != 0 && strcmp(out->organization, key->organization) != 0)) return no_key(err);
    memcpy(out->organization, key->organization, sizeof out->organization);
    out->filter.key = key->prefix;
    return STATUS_OK;
}

enum status usage_scope_find(struct handling *handling, const struct usage_wanted *wanted, struct usage_scope *out,
                             struct error *err) {
    *out = (struct usage_scope){.filter.model = wanted->model};
    struct organization organization;
    bool any = handling->caller.role == KEY_ROLE_OPERATOR && wanted->organization == NULL;
    if (!any) {
        TRY(handling_organization(handling, wanted->organization, &organization, err));
        memcpy(out->organization, organization.id, sizeof out->organization);
    }
    TRY(find_workspace(handling, wanted->workspace, out, err));
    TRY(find_key(handling, wanted->key, out, err));
    if (out->organization[0] == 0) {
        TRY(handling_organization(handling, NULL, &organization, err));
        memcpy(out->organization, organization.id, sizeof out->organization);
    }
    return STATUS_OK;
}
