/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/convert.h"
#include "services/keys/key_store.h"
#include "services/keys/methods.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/record_store.h"
#include "services/keys/store_names.h"

#include <string.h>

enum { LIST_LIMIT_DEFAULT = 100 };

static enum status too_many_tries(struct error *err) {
    return error_set(err, STATUS_ABORTED, "others are changing it at the same time; try again");
}

/* --- organisations ------------------------------------------------------------------------------------------------ */

static enum status answer_organization(struct handling *handling, const struct organization *organization,
                                       ProtobufCMessage **out_reply, struct error *err) {
    Bora__V1__Organization *out = convert_organization(organization, &handling->arena);
    if (out == NULL) return out_of_memory(err);
    *out_reply = &out->base;
    return STATUS_OK;
}

static enum status list_organizations(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                                      struct error *err) {
    const Bora__V1__ListOrganizationsRequest *request = message;
    size_t limit = PRESENT(request, limit) ? (size_t)request->limit : LIST_LIMIT_DEFAULT, count = 0;
    char(*ids)[UUID_CHARACTERS + 1] = NULL;
    struct arena *arena = &handling->arena;
    TRY(place_organization_ids(handling->service, PRESENT(request, offset) ? request->offset : 0, (int64_t)limit, arena,
                               &ids, &count, err));
    Bora__V1__ListOrganizationsResponse *out = arena_alloc(arena, sizeof *out);
    Bora__V1__Organization **items = arena_alloc_array(arena, count, sizeof *items);
    if (out == NULL || items == NULL) return out_of_memory(err);
    bora__v1__list_organizations_response__init(out);
    out->organizations = items;
    out->has_more = count > limit;
    for (size_t i = 0; i < count && i < limit; i++) {
        struct organization organization;
        struct error missing = {0};
        enum status status = place_organization(handling->service, ids[i], arena, &organization, &missing);
        if (status == STATUS_NOT_FOUND) continue; /* listed, but never made: whoever made it died */
        if (status != STATUS_OK) return error_set(err, status, "%s", missing.message);
        items[out->n_organizations] = convert_organization(&organization, arena);
        if (items[out->n_organizations++] == NULL) return out_of_memory(err);
    }
    *out_reply = &out->base;
    return STATUS_OK;
}

static enum status create_organization(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                                       struct error *err) {
    const Bora__V1__CreateOrganizationRequest *request = message;
    struct organization organization = {.name = request->name};
    convert_read_bounds(request->limits, &organization.limits.all);
    TRY(convert_read_model_limits(handling, request->model_limits, request->n_model_limits, &organization.limits, err));
    TRY(place_create_organization(handling, &organization, err));
    return answer_organization(handling, &organization, out_reply, err);
}

static enum status get_organization(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                                    struct error *err) {
    const Bora__V1__GetOrganizationRequest *request = message;
    struct organization organization;
    TRY(handling_organization(handling, request->organization_id, &organization, err));
    return answer_organization(handling, &organization, out_reply, err);
}

static enum status update_organization(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                                       struct error *err) {
    const Bora__V1__UpdateOrganizationRequest *request = message;
    struct organization before, after;
    enum status status = STATUS_ABORTED;
    for (int i = 0; i < RECORD_CHANGE_TRIES && status == STATUS_ABORTED; i++) {
        TRY(handling_organization(handling, request->organization_id, &before, err));
        after = before;
        if (PRESENT(request, name)) after.name = request->name;
        if (PRESENT(request, disabled)) after.disabled = request->disabled;
        if (request->limits != NULL) convert_read_bounds(request->limits, &after.limits.all);
        if (request->model_limits != NULL)
            TRY(convert_read_model_limits(handling, request->model_limits->items, request->model_limits->n_items,
                                          &after.limits, err));
        status = place_change_organization(handling, &before, &after, err);
    }
    if (status == STATUS_ABORTED) return too_many_tries(err);
    TRY(status);
    return answer_organization(handling, &after, out_reply, err);
}

static enum status delete_organization(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                                       struct error *err) {
    const Bora__V1__DeleteOrganizationRequest *request = message;
    struct organization organization;
    struct error missing = {0}, later = {0};
    bool was_there = false; /* a call before has removed it, and may not have been answered */
    enum status status = handling_organization(handling, request->organization_id, &organization, &missing);
    if (status == STATUS_NOT_FOUND)
        (void)!place_forget_organization(handling->service, request->organization_id, &was_there, &later);
    if (status != STATUS_OK && !was_there) return error_set(err, status, "%s", missing.message);
    if (status == STATUS_OK) TRY(place_delete_organization(handling, &organization, err));
    Bora__V1__DeleteOrganizationResponse *out = arena_alloc(&handling->arena, sizeof *out);
    if (out == NULL) return out_of_memory(err);
    bora__v1__delete_organization_response__init(out);
    out->id = request->organization_id;
    out->deleted = true;
    *out_reply = &out->base;
    return STATUS_OK;
}

/* --- workspaces --------------------------------------------------------------------------------------------------- */

static enum status answer_workspace(struct handling *handling, const struct workspace *workspace,
                                    ProtobufCMessage **out_reply, struct error *err) {
    Bora__V1__Workspace *out = convert_workspace(workspace, &handling->arena);
    if (out == NULL) return out_of_memory(err);
    *out_reply = &out->base;
    return STATUS_OK;
}

/** A page of workspaces over one organisation or all. */
struct workspace_page {
    Bora__V1__Workspace **items; /* room for `limit` */
    size_t count, limit;
    int64_t skip;
    bool more;
};

static enum status add_workspaces(struct handling *handling, const char *organization, struct workspace_page *page,
                                  struct error *err) {
    char name[STORE_NAME_BYTES];
    char(*ids)[UUID_CHARACTERS + 1] = NULL;
    size_t count = 0;
    struct redis_reply *reply = NULL;
    store_name(name, "wss", organization, NULL);
    TRY(store_words(handling->service, &reply, err, WORDS("ZCARD", name)));
    int64_t there = reply->integer, skipped = page->skip < there ? page->skip : there;
    redis_reply_free(reply);
    page->skip -= skipped;
    if (skipped == there) return STATUS_OK;
    TRY(place_workspace_ids(handling->service, organization, skipped, (int64_t)(page->limit - page->count),
                            &handling->arena, &ids, &count, err));
    for (size_t i = 0; i < count; i++) {
        struct workspace workspace;
        struct error gone = {0};
        if (page->count == page->limit) {
            page->more = true;
            break;
        }
        enum status status =
            place_workspace(handling->service, organization, ids[i], &handling->arena, &workspace, &gone);
        if (status == STATUS_NOT_FOUND) continue; /* deleted in between */
        if (status != STATUS_OK) return error_set(err, status, "%s", gone.message);
        page->items[page->count] = convert_workspace(&workspace, &handling->arena);
        if (page->items[page->count++] == NULL) return out_of_memory(err);
    }
    return STATUS_OK;
}

static enum status list_workspaces(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                                   struct error *err) {
    const Bora__V1__ListWorkspacesRequest *request = message;
    struct workspace_page page = {.limit = PRESENT(request, limit) ? (size_t)request->limit : LIST_LIMIT_DEFAULT,
                                  .skip = PRESENT(request, offset) ? request->offset : 0};
    struct arena *arena = &handling->arena;
    page.items = arena_alloc_array(arena, page.limit, sizeof(void *));
    Bora__V1__ListWorkspacesResponse *out = arena_alloc(arena, sizeof *out);
    if (page.items == NULL || out == NULL) return out_of_memory(err);
    if (PRESENT(request, organization_id) || handling->caller.role != KEY_ROLE_OPERATOR) {
        struct organization organization;
        TRY(handling_organization(handling, PRESENT(request, organization_id) ? request->organization_id : NULL,
                                  &organization, err));
        TRY(add_workspaces(handling, organization.id, &page, err));
    } else {
        char(*ids)[UUID_CHARACTERS + 1] = NULL;
        size_t count = 0;
        TRY(place_organization_ids(handling->service, 0, LIMIT_ORGANIZATIONS, arena, &ids, &count, err));
        for (size_t i = 0; i < count && !page.more; i++) TRY(add_workspaces(handling, ids[i], &page, err));
    }
    bora__v1__list_workspaces_response__init(out);
    out->workspaces = page.items;
    out->n_workspaces = page.count;
    out->has_more = page.more;
    *out_reply = &out->base;
    return STATUS_OK;
}

static enum status create_workspace(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                                    struct error *err) {
    const Bora__V1__CreateWorkspaceRequest *request = message;
    struct organization organization;
    struct workspace workspace = {.name = request->name};
    TRY(handling_organization(handling, PRESENT(request, organization_id) ? request->organization_id : NULL,
                              &organization, err));
    memcpy(workspace.organization, organization.id, sizeof workspace.organization);
    convert_read_bounds(request->limits, &workspace.limits.all);
    convert_read_bounds(request->key_limits, &workspace.key_limits);
    TRY(convert_read_model_limits(handling, request->model_limits, request->n_model_limits, &workspace.limits, err));
    enum status status = place_create_workspace(handling, &workspace, err);
    if (status == STATUS_ALREADY_EXISTS) return error_set(err, status, "the organization has a workspace of that name");
    TRY(status);
    return answer_workspace(handling, &workspace, out_reply, err);
}

static enum status get_workspace(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                                 struct error *err) {
    const Bora__V1__GetWorkspaceRequest *request = message;
    struct workspace workspace;
    TRY(handling_workspace(handling, request->workspace_id, &workspace, err));
    return answer_workspace(handling, &workspace, out_reply, err);
}

static enum status update_workspace(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                                    struct error *err) {
    const Bora__V1__UpdateWorkspaceRequest *request = message;
    struct workspace before, after;
    enum status status = STATUS_ABORTED;
    for (int i = 0; i < RECORD_CHANGE_TRIES && status == STATUS_ABORTED; i++) {
        TRY(handling_workspace(handling, request->workspace_id, &before, err));
        after = before;
        if (PRESENT(request, name)) after.name = request->name;
        if (PRESENT(request, disabled)) after.disabled = request->disabled;
        if (request->limits != NULL) convert_read_bounds(request->limits, &after.limits.all);
        if (request->key_limits != NULL) convert_read_bounds(request->key_limits, &after.key_limits);
        if (request->model_limits != NULL)
            TRY(convert_read_model_limits(handling, request->model_limits->items, request->model_limits->n_items,
                                          &after.limits, err));
        status = place_change_workspace(handling, &before, &after, err);
    }
    if (status == STATUS_ABORTED) return too_many_tries(err);
    TRY(status);
    return answer_workspace(handling, &after, out_reply, err);
}

static enum status delete_workspace(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                                    struct error *err) {
    const Bora__V1__DeleteWorkspaceRequest *request = message;
    struct workspace workspace;
    TRY(handling_workspace(handling, request->workspace_id, &workspace, err));
    TRY(place_delete_workspace(handling, &workspace, err));
    Bora__V1__DeleteWorkspaceResponse *out = arena_alloc(&handling->arena, sizeof *out);
    if (out == NULL) return out_of_memory(err);
    bora__v1__delete_workspace_response__init(out);
    out->id = request->workspace_id;
    out->deleted = true;
    *out_reply = &out->base;
    return STATUS_OK;
}

/* --- GetMe -------------------------------------------------------------------------------------------------------- */

static Bora__V1__MePlace *convert_me_place(const char *id, const char *name, struct arena *arena) {
    Bora__V1__MePlace *out = arena_alloc(arena, sizeof *out);
    if (out == NULL) return NULL;
    bora__v1__me_place__init(out);
    out->id = (char *)id;
    out->name = (char *)name;
    return out;
}

static Bora__V1__MeKey *convert_me_key(const struct key_record *key, struct arena *arena) {
    char id[UUID_CHARACTERS + 1];
    Bora__V1__MeKey *out = arena_alloc(arena, sizeof *out);
    if (out == NULL) return NULL;
    bora__v1__me_key__init(out);
    uuid_of_prefix(key->prefix, id);
    out->id = arena_copy(arena, id, strlen(id));
    out->name = (char *)key->name;
    out->_prefix_case = BORA__V1__ME_KEY___PREFIX_PREFIX;
    out->prefix = arena_copy(arena, key->prefix, strlen(key->prefix));
    return out->id != NULL && out->prefix != NULL ? out : NULL;
}

static enum status get_me(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                          struct error *err) {
    (void)message;
    const struct caller *caller = &handling->caller;
    const struct authority *authority = &caller->authority;
    struct arena *arena = &handling->arena;
    Bora__V1__Me *out = arena_alloc(arena, sizeof *out);
    if (out == NULL) return out_of_memory(err);
    bora__v1__me__init(out);
    out->role = (char *)key_role_name(caller->role);
    out->scopes = convert_scopes(&authority->key, arena);
    if (out->scopes == NULL) return out_of_memory(err);
    out->_id_case = BORA__V1__ME___ID_ID;
    out->id = out->role;
    *out_reply = &out->base;
    if (caller->role == KEY_ROLE_OPERATOR) return STATUS_OK;
    out->organization = convert_me_place(authority->organization.id, authority->organization.name, arena);
    out->workspace = convert_me_place(authority->workspace.id, authority->workspace.name, arena);
    out->api_key = convert_me_key(&authority->key, arena);
    if (out->organization == NULL || out->workspace == NULL || out->api_key == NULL) return out_of_memory(err);
    out->id = out->api_key->id;
    if (authority->key.user_id == NULL) return STATUS_OK;
    out->_user_id_case = BORA__V1__ME___USER_ID_USER_ID;
    out->id = out->user_id = (char *)authority->key.user_id;
    return STATUS_OK;
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

#define PATH "/bora.v1.TenantService/"
const struct rpc_method place_methods[] = {
    METHOD(PATH, "ListOrganizations", list_organizations, list_organizations_request, KEY_ROLE_OPERATOR, "admin"),
    METHOD(PATH, "CreateOrganization", create_organization, create_organization_request, KEY_ROLE_OPERATOR, "admin"),
    METHOD(PATH, "GetOrganization", get_organization, get_organization_request, KEY_ROLE_OPERATOR, "admin"),
    METHOD(PATH, "UpdateOrganization", update_organization, update_organization_request, KEY_ROLE_OPERATOR, "admin"),
    METHOD(PATH, "DeleteOrganization", delete_organization, delete_organization_request, KEY_ROLE_OPERATOR, "admin"),
    METHOD(PATH, "ListWorkspaces", list_workspaces, list_workspaces_request, KEY_ROLE_ADMIN, "admin"),
    METHOD(PATH, "CreateWorkspace", create_workspace, create_workspace_request, KEY_ROLE_ADMIN, "admin"),
    METHOD(PATH, "GetWorkspace", get_workspace, get_workspace_request, KEY_ROLE_ADMIN, "admin"),
    METHOD(PATH, "UpdateWorkspace", update_workspace, update_workspace_request, KEY_ROLE_ADMIN, "admin"),
    METHOD(PATH, "DeleteWorkspace", delete_workspace, delete_workspace_request, KEY_ROLE_ADMIN, "admin"),
    METHOD(PATH, "ListAudit", list_audit, list_audit_request, KEY_ROLE_ADMIN, "admin"),
    METHOD(PATH, "GetMe", get_me, get_me_request, KEY_ROLE_SERVICE, NULL),
};
const size_t place_method_count = sizeof place_methods / sizeof *place_methods;
