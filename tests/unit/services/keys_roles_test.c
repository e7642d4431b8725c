/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Who may do what: every method of KeyService and TenantService, called by everybody. argv[1] is the program. */
#include "tests/unit/services/keys_fixture.h"

#include "rpc/transcode.h"

#include <stdio.h>
#include <string.h>

/** The house in which the calls are made: an organisation with one of each, and another one. */
struct house {
    Bora__V1__Workspace *workspace, *empty; /* of the organisation */
    Bora__V1__CreateKeyResponse *service, *member, *admin, *narrow /* an admin without the endpoint */, *target;
    Bora__V1__CreateKeyResponse *foreign; /* an admin elsewhere */
};

static Bora__V1__CreateKeyResponse *create_narrow(struct keys_fixture *fixture, const char *workspace) {
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    Bora__V1__Scopes scopes = BORA__V1__SCOPES__INIT;
    char *endpoints[] = {(char *)"chat", (char *)"usage"};
    scopes.endpoints = endpoints, scopes.n_endpoints = 2;
    GIVE(request, CREATE_KEY_REQUEST, ROLE, role, (char *)"admin");
    GIVE(request, CREATE_KEY_REQUEST, WORKSPACE_UUID, workspace_uuid, (char *)workspace);
    request.scopes = &scopes;
    return keys_create_ok(fixture, &request);
}

static struct house build(struct keys_fixture *fixture) {
    struct house house;
    Bora__V1__Organization *organization = keys_create_organization(fixture, "ours");
    house.workspace = keys_create_workspace(fixture, "w", organization->id);
    house.empty = keys_create_workspace(fixture, "empty", organization->id);
    house.service = keys_create_role(fixture, "service", house.workspace->id);
    house.member = keys_create_role(fixture, "member", house.workspace->id);
    house.admin = keys_create_role(fixture, "admin", house.workspace->id);
    house.target = keys_create_role(fixture, "service", house.workspace->id);
    house.narrow = create_narrow(fixture, house.workspace->id);
    house.foreign = keys_create_role(fixture, "admin", NULL);
    return house;
}

enum who { NOBODY, GARBAGE, TOKEN, SERVICE, MEMBER, NARROW, FOREIGN, ADMIN, OPERATOR, CALLERS };
static const char *const who_names[] = {"nobody", "garbage", "token", "service", "member",
                                        "narrow", "foreign", "admin", "operator"};
enum { U = STATUS_UNAUTHENTICATED, P = STATUS_PERMISSION_DENIED, N = STATUS_NOT_FOUND };

struct row {
    const char *method;
    const ProtobufCMessage *request;
    const ProtobufCMessageDescriptor *reply;
    int expected[CALLERS];
};

static void call_all(struct keys_fixture *fixture, const struct house *house, const struct row *row) {
    const char *const bearers[CALLERS] = {NULL,
                                          "bora_abcdefghijkl_0123456789012345678901234567890123456789abc",
                                          SERVICE_TOKEN,
                                          house->service->key,
                                          house->member->key,
                                          house->narrow->key,
                                          house->foreign->key,
                                          house->admin->key,
                                          ADMIN_KEY};
    for (int who = 0; who < CALLERS; who++) {
        struct keys_outcome outcome = keys_call(fixture, row->method, bearers[who], row->request, row->reply);
        if ((int)outcome.status != row->expected[who])
            fail_msg("%s by %s: %s (%s) instead of %s", row->method, who_names[who], status_name(outcome.status),
                     outcome.message, status_name((enum status)row->expected[who]));
        if (outcome.status == STATUS_UNAUTHENTICATED)
            assert_string_equal(outcome.detail->error->type, "authentication_error");
        if (outcome.status == STATUS_PERMISSION_DENIED)
            assert_string_equal(outcome.detail->error->type, "permission_error");
    }
}

#define ROW(service, method, message, response, ...)                            \
    {                                                                           \
        service method, &(message).base, &bora__v1__##response##__descriptor, { \
            __VA_ARGS__                                                         \
        }                                                                       \
    }
#define KEYS(...) ROW("KeyService/", __VA_ARGS__)
#define TENANTS(...) ROW("TenantService/", __VA_ARGS__)

static void test_every_method_by_everybody(void **state) {
    struct keys_fixture *fixture = *state;
    struct house house = build(fixture);
    char *key_id = house.target->key_id, *workspace = house.workspace->id,
         *organization = house.workspace->organization_id;
    Bora__V1__CreateKeyRequest create_key = BORA__V1__CREATE_KEY_REQUEST__INIT;
    GIVE(create_key, CREATE_KEY_REQUEST, WORKSPACE_UUID, workspace_uuid, workspace);
    Bora__V1__GetKeyRequest get_key = BORA__V1__GET_KEY_REQUEST__INIT;
    get_key.key_id = key_id;
    Bora__V1__ListKeysRequest list_keys = BORA__V1__LIST_KEYS_REQUEST__INIT;
    GIVE(list_keys, LIST_KEYS_REQUEST, ORGANIZATION_ID, organization_id, organization);
    Bora__V1__UpdateKeyRequest update_key = BORA__V1__UPDATE_KEY_REQUEST__INIT;
    update_key.key_id = key_id;
    Bora__V1__RotateKeyRequest rotate_key = BORA__V1__ROTATE_KEY_REQUEST__INIT;
    rotate_key.key_id = key_id;
    Bora__V1__RevokeKeyRequest revoke_key = BORA__V1__REVOKE_KEY_REQUEST__INIT;
    revoke_key.key_id = key_id;
    Bora__V1__ListOrganizationsRequest list_organizations = BORA__V1__LIST_ORGANIZATIONS_REQUEST__INIT;
    Bora__V1__CreateOrganizationRequest create_organization = BORA__V1__CREATE_ORGANIZATION_REQUEST__INIT;
    create_organization.name = (char *)"new";
    Bora__V1__GetOrganizationRequest get_organization = BORA__V1__GET_ORGANIZATION_REQUEST__INIT;
    get_organization.organization_id = organization;
    Bora__V1__UpdateOrganizationRequest update_organization = BORA__V1__UPDATE_ORGANIZATION_REQUEST__INIT;
    update_organization.organization_id = organization;
    Bora__V1__DeleteOrganizationRequest delete_organization = BORA__V1__DELETE_ORGANIZATION_REQUEST__INIT;
    delete_organization.organization_id = organization;
    Bora__V1__ListWorkspacesRequest list_workspaces = BORA__V1__LIST_WORKSPACES_REQUEST__INIT;
    GIVE(list_workspaces, LIST_WORKSPACES_REQUEST, ORGANIZATION_ID, organization_id, organization);
    Bora__V1__CreateWorkspaceRequest create_workspace = BORA__V1__CREATE_WORKSPACE_REQUEST__INIT;
    create_workspace.name = (char *)"another";
    GIVE(create_workspace, CREATE_WORKSPACE_REQUEST, ORGANIZATION_ID, organization_id, organization);
    Bora__V1__GetWorkspaceRequest get_workspace = BORA__V1__GET_WORKSPACE_REQUEST__INIT;
    get_workspace.workspace_id = workspace;
    Bora__V1__UpdateWorkspaceRequest update_workspace = BORA__V1__UPDATE_WORKSPACE_REQUEST__INIT;
    update_workspace.workspace_id = workspace;
    Bora__V1__DeleteWorkspaceRequest delete_workspace = BORA__V1__DELETE_WORKSPACE_REQUEST__INIT;
    delete_workspace.workspace_id = house.empty->id;
    Bora__V1__ListAuditRequest list_audit = BORA__V1__LIST_AUDIT_REQUEST__INIT;
    GIVE(list_audit, LIST_AUDIT_REQUEST, ORGANIZATION_ID, organization_id, organization);
    Bora__V1__GetMeRequest get_me = BORA__V1__GET_ME_REQUEST__INIT;
    const int ok = STATUS_OK, taken = STATUS_ALREADY_EXISTS, used = STATUS_FAILED_PRECONDITION;
    const struct row rows[] = {
        /*                                                nobody garbage token service member narrow foreign admin operator */
        KEYS("CreateKey", create_key, create_key_response, U, U, U, P, P, P, N, ok, ok),
        KEYS("GetKey", get_key, api_key, U, U, U, P, P, P, N, ok, ok),
        KEYS("ListKeys", list_keys, list_keys_response, U, U, U, P, P, P, N, ok, ok),
        KEYS("UpdateKey", update_key, api_key, U, U, U, P, P, P, N, ok, ok),
        KEYS("RotateKey", rotate_key, create_key_response, U, U, U, P, P, P, N, ok, ok),
        KEYS("RevokeKey", revoke_key, revoke_key_response, U, U, U, P, P, P, N, ok, ok),
        TENANTS("ListOrganizations", list_organizations, list_organizations_response, U, U, U, P, P, P, P, P, ok),
        TENANTS("CreateOrganization", create_organization, organization, U, U, U, P, P, P, P, P, ok),
        TENANTS("GetOrganization", get_organization, organization, U, U, U, P, P, P, P, P, ok),
        TENANTS("UpdateOrganization", update_organization, organization, U, U, U, P, P, P, P, P, ok),
        TENANTS("DeleteOrganization", delete_organization, delete_organization_response, U, U, U, P, P, P, P, P, used),
        TENANTS("ListWorkspaces", list_workspaces, list_workspaces_response, U, U, U, P, P, P, N, ok, ok),
        TENANTS("CreateWorkspace", create_workspace, workspace, U, U, U, P, P, P, N, ok, taken),
        TENANTS("GetWorkspace", get_workspace, workspace, U, U, U, P, P, P, N, ok, ok),
        TENANTS("UpdateWorkspace", update_workspace, workspace, U, U, U, P, P, P, N, ok, ok),
        TENANTS("DeleteWorkspace", delete_workspace, delete_workspace_response, U, U, U, P, P, P, N, ok, N),
        TENANTS("ListAudit", list_audit, list_audit_response, U, U, U, P, P, P, N, ok, ok),
        TENANTS("GetMe", get_me, me, U, U, U, ok, ok, ok, ok, ok, ok),
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) call_all(fixture, &house, &rows[i]);
}

/* --- not more than one has ---------------------------------------------------------------------------------------- */

static struct keys_outcome create_scoped(struct keys_fixture *fixture, const char *bearer, const char *model_or_null,
                                         const char *role) {
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    Bora__V1__Scopes scopes = BORA__V1__SCOPES__INIT;
    char *models[] = {(char *)model_or_null};
    scopes.models = models, scopes.n_models = model_or_null != NULL ? 1 : 0;
    GIVE(request, CREATE_KEY_REQUEST, ROLE, role, (char *)role);
    request.scopes = &scopes;
    return keys_create(fixture, bearer, &request);
}

static void test_a_key_grants_no_more_than_it_has(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *wide = keys_create_role(fixture, "service", NULL);
    struct keys_outcome made = create_scoped(fixture, ADMIN_KEY, "small", "admin");
    assert_int_equal(made.status, STATUS_OK);
    const char *bearer = ((Bora__V1__CreateKeyResponse *)made.reply)->key;
    assert_int_equal(create_scoped(fixture, bearer, "large", "service").status, STATUS_PERMISSION_DENIED);
    assert_int_equal(create_scoped(fixture, bearer, NULL, "service").status, STATUS_PERMISSION_DENIED);
    assert_int_equal(create_scoped(fixture, bearer, "small", "admin").status, STATUS_OK);
    /* Who says nothing hands its own scopes on. */
    Bora__V1__CreateKeyRequest plain = BORA__V1__CREATE_KEY_REQUEST__INIT;
    made = keys_create(fixture, bearer, &plain);
    assert_int_equal(made.status, STATUS_OK);
    Bora__V1__ApiKey *child = ((Bora__V1__CreateKeyResponse *)made.reply)->info;
    assert_string_equal(child->scopes->models[0], "small");
    /* Nor does it get at the secret of a wider key, or widen one that it may change. */
    assert_int_equal(keys_rotate(fixture, bearer, wide->key_id, -1).status, STATUS_PERMISSION_DENIED);
    Bora__V1__UpdateKeyRequest update = BORA__V1__UPDATE_KEY_REQUEST__INIT;
    Bora__V1__Scopes all = BORA__V1__SCOPES__INIT;
    update.key_id = child->key_id;
    update.scopes = &all;
    assert_int_equal(keys_update(fixture, bearer, &update).status, STATUS_PERMISSION_DENIED);
    bora__v1__update_key_request__init(&update);
    update.key_id = wide->key_id;
    GIVE(update, UPDATE_KEY_REQUEST, ROLE, role, (char *)"admin");
    assert_int_equal(keys_update(fixture, bearer, &update).status, STATUS_PERMISSION_DENIED);
    assert_int_equal(keys_verify(fixture, wide->key).status, STATUS_OK);
    assert_int_equal(keys_update(fixture, ADMIN_KEY, &update).status, STATUS_OK);
}

static void test_an_admins_keys_go_to_its_own_workspace_and_organization(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__Organization *organization = keys_create_organization(fixture, "o");
    Bora__V1__Workspace *workspace = keys_create_workspace(fixture, "w", organization->id);
    Bora__V1__CreateKeyResponse *admin = keys_create_role(fixture, "admin", workspace->id);
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    Bora__V1__ApiKey *key = ((Bora__V1__CreateKeyResponse *)keys_create(fixture, admin->key, &request).reply)->info;
    assert_string_equal(key->workspace_id, workspace->id);
    assert_string_equal(key->created_by, admin->info->prefix);
    /* A workspace by name is made in its own organisation, whatever others have of that name. */
    GIVE(request, CREATE_KEY_REQUEST, TENANT, tenant, (char *)"default");
    key = ((Bora__V1__CreateKeyResponse *)keys_create(fixture, admin->key, &request).reply)->info;
    assert_string_equal(key->organization_id, organization->id);
    assert_string_equal(key->tenant, "default");
    GIVE(request, CREATE_KEY_REQUEST, TENANT, tenant, (char *)"brand new");
    key = ((Bora__V1__CreateKeyResponse *)keys_create(fixture, admin->key, &request).reply)->info;
    assert_string_equal(key->organization_id, organization->id);
    Bora__V1__ApiKey *twin = ((Bora__V1__CreateKeyResponse *)keys_create(fixture, admin->key, &request).reply)->info;
    assert_string_equal(twin->workspace_id, key->workspace_id);
    /* Its lists have nothing of others. */
    keys_create_plain(fixture);
    Bora__V1__ListKeysRequest list = BORA__V1__LIST_KEYS_REQUEST__INIT;
    struct keys_outcome listed =
        keys_call(fixture, "ListKeys", admin->key, &list.base, &bora__v1__list_keys_response__descriptor);
    assert_int_equal(((Bora__V1__ListKeysResponse *)listed.reply)->n_keys, 5);
    assert_int_equal(keys_list_ok(fixture, 0, NULL)->n_keys, 6);
}

static void test_keys_that_may_not_be_used_administer_nothing(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *admin = keys_create_role(fixture, "admin", NULL);
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    assert_int_equal(keys_create(fixture, admin->key, &request).status, STATUS_OK);
    assert_int_equal(keys_revoke(fixture, admin->key_id).status, STATUS_OK);
    struct keys_outcome refused = keys_create(fixture, admin->key, &request);
    assert_int_equal(refused.status, STATUS_UNAUTHENTICATED);
    assert_string_equal(refused.message, "the key is revoked");
}

static void test_me_is_who_shows_the_key(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    GIVE(request, CREATE_KEY_REQUEST, NAME, name, (char *)"laptop");
    GIVE(request, CREATE_KEY_REQUEST, USER_ID, user_id, (char *)"u-1");
    Bora__V1__CreateKeyResponse *created = keys_create_ok(fixture, &request);
    Bora__V1__GetMeRequest get_me = BORA__V1__GET_ME_REQUEST__INIT;
    Bora__V1__Me *me =
        (Bora__V1__Me *)keys_call(fixture, "TenantService/GetMe", created->key, &get_me.base, &bora__v1__me__descriptor)
            .reply;
    assert_string_equal(me->id, "u-1");
    assert_string_equal(me->user_id, "u-1");
    assert_string_equal(me->role, "service");
    assert_string_equal(me->organization->name, "default");
    assert_string_equal(me->workspace->name, "default");
    assert_string_equal(me->api_key->id, created->key_id);
    assert_string_equal(me->api_key->name, "laptop");
    me = (Bora__V1__Me *)keys_call(fixture, "TenantService/GetMe", ADMIN_KEY, &get_me.base, &bora__v1__me__descriptor)
             .reply;
    assert_string_equal(me->role, "operator");
    assert_string_equal(me->id, "operator");
    assert_null(me->user_id);
    assert_null(me->organization);
    assert_null(me->api_key);
    /* A key of nobody is its own. */
    Bora__V1__CreateKeyRequest nobodys = BORA__V1__CREATE_KEY_REQUEST__INIT;
    created = keys_create_ok(fixture, &nobodys);
    me =
        (Bora__V1__Me *)keys_call(fixture, "TenantService/GetMe", created->key, &get_me.base, &bora__v1__me__descriptor)
            .reply;
    assert_string_equal(me->id, created->key_id);
    assert_null(me->user_id);
    /* Gateways learn the same of the operator's key. */
    Bora__V1__VerifyKeyResponse *verified = keys_verify_ok(fixture, ADMIN_KEY);
    assert_string_equal(verified->info->role, "operator");
    assert_string_equal(verified->info->organization_id, "");
}

/* --- keys that end ------------------------------------------------------------------------------------------------ */

static struct keys_outcome create_until(struct keys_fixture *fixture, const char *bearer, const char *role,
                                        int64_t expires_at) {
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    GIVE(request, CREATE_KEY_REQUEST, ROLE, role, (char *)role);
    if (expires_at != 0) GIVE(request, CREATE_KEY_REQUEST, EXPIRES_AT, expires_at, expires_at);
    return keys_create(fixture, bearer, &request);
}

static Bora__V1__CreateKeyResponse *create_until_ok(struct keys_fixture *fixture, const char *bearer, const char *role,
                                                    int64_t expires_at) {
    struct keys_outcome outcome = create_until(fixture, bearer, role, expires_at);
    if (outcome.status != STATUS_OK) fail_msg("%s", outcome.message);
    return (Bora__V1__CreateKeyResponse *)outcome.reply;
}

static enum status prolong(struct keys_fixture *fixture, const char *bearer, const char *key_id, const char *role,
                           const char *expiration) {
    Bora__V1__UpdateKeyRequest request = BORA__V1__UPDATE_KEY_REQUEST__INIT;
    request.key_id = (char *)key_id;
    if (role != NULL) GIVE(request, UPDATE_KEY_REQUEST, ROLE, role, (char *)role);
    if (expiration != NULL) GIVE(request, UPDATE_KEY_REQUEST, EXPIRATION, expiration, (char *)expiration);
    return keys_update(fixture, bearer, &request).status;
}

static void test_an_admin_key_that_ends_makes_none_that_goes_on(void **state) {
    struct keys_fixture *fixture = *state;
    const int64_t far = INT64_C(4102444800), farther = far + 86400; /* 2100-01-01, and the day after */
    const char *admin = create_until_ok(fixture, ADMIN_KEY, "admin", far)->key;
    Bora__V1__CreateKeyResponse *made = create_until_ok(fixture, admin, "admin", 0);
    assert_int_equal(made->info->expires_at, far); /* said nothing: as long as its maker */
    assert_int_equal(create_until(fixture, admin, "admin", farther).status, STATUS_PERMISSION_DENIED);
    assert_int_equal(create_until_ok(fixture, admin, "admin", far - 1)->info->expires_at, far - 1);
    Bora__V1__CreateKeyResponse *service = create_until_ok(fixture, admin, "service", 0);
    assert_int_equal(service->info->expires_at, 0);
    create_until_ok(fixture, admin, "member", farther);
    /* Nor does it make one of what is there: its own, one that it made, one of another role, one that goes on. */
    Bora__V1__CreateKeyResponse *eternal = create_until_ok(fixture, ADMIN_KEY, "admin", 0);
    assert_int_equal(prolong(fixture, made->key, made->key_id, NULL, ""), STATUS_PERMISSION_DENIED);
    assert_int_equal(prolong(fixture, admin, made->key_id, NULL, "2100-02-01"), STATUS_PERMISSION_DENIED);
    assert_int_equal(prolong(fixture, admin, service->key_id, "admin", NULL), STATUS_PERMISSION_DENIED);
    assert_int_equal(prolong(fixture, admin, service->key_id, "admin", "2099-01-01"), STATUS_OK);
    assert_int_equal(keys_rotate(fixture, admin, eternal->key_id, 0).status, STATUS_PERMISSION_DENIED);
    assert_int_equal(keys_rotate(fixture, admin, made->key_id, 0).status, STATUS_OK);
}

/** What goes on is not made less first, rotated, and then given back by somebody who knows of no rotation. */
static void test_an_admin_key_that_goes_on_is_out_of_reach_of_one_that_ends(void **state) {
    struct keys_fixture *fixture = *state;
    const int64_t far = INT64_C(4102444800);
    const char *admin = create_until_ok(fixture, ADMIN_KEY, "admin", far)->key;
    Bora__V1__CreateKeyResponse *eternal = create_until_ok(fixture, ADMIN_KEY, "admin", 0);
    assert_int_equal(prolong(fixture, admin, eternal->key_id, "service", NULL), STATUS_PERMISSION_DENIED);
    assert_int_equal(prolong(fixture, admin, eternal->key_id, "member", "2099-01-01"), STATUS_PERMISSION_DENIED);
    assert_int_equal(prolong(fixture, admin, eternal->key_id, NULL, "2099-01-01"), STATUS_PERMISSION_DENIED);
    assert_int_equal(prolong(fixture, admin, eternal->key_id, NULL, "2100-02-01"), STATUS_PERMISSION_DENIED);
    assert_int_equal(keys_rotate(fixture, admin, eternal->key_id, 0).status, STATUS_PERMISSION_DENIED);
    assert_int_equal(keys_verify(fixture, eternal->key).status, STATUS_OK);
    /* Whatever gives it no more than it has may be done: another name, and an end to it. */
    assert_int_equal(prolong(fixture, admin, eternal->key_id, "admin", NULL), STATUS_OK);
    Bora__V1__UpdateKeyRequest request = BORA__V1__UPDATE_KEY_REQUEST__INIT;
    request.key_id = eternal->key_id;
    GIVE(request, UPDATE_KEY_REQUEST, NAME, name, (char *)"found on a bus");
    GIVE(request, UPDATE_KEY_REQUEST, DISABLED, disabled, true);
    assert_int_equal(keys_update(fixture, admin, &request).status, STATUS_OK);
    Bora__V1__RevokeKeyRequest revoke = BORA__V1__REVOKE_KEY_REQUEST__INIT;
    revoke.key_id = eternal->key_id;
    assert_int_equal(
        keys_call(fixture, "RevokeKey", admin, &revoke.base, &bora__v1__revoke_key_response__descriptor).status,
        STATUS_OK);
    /* An admin that goes on may do all of it. */
    Bora__V1__CreateKeyResponse *first = create_until_ok(fixture, ADMIN_KEY, "admin", 0),
                                *second = create_until_ok(fixture, first->key, "admin", 0);
    assert_int_equal(prolong(fixture, first->key, second->key_id, NULL, "2100-02-01"), STATUS_OK);
    assert_int_equal(prolong(fixture, first->key, second->key_id, "service", ""), STATUS_OK);
    assert_int_equal(keys_rotate(fixture, first->key, second->key_id, 0).status, STATUS_OK);
    assert_int_equal(prolong(fixture, first->key, second->key_id, "admin", NULL), STATUS_OK);
}

/** A secret that was rotated away, and goes on for the overlap, renews nothing. */
static void test_an_old_secret_does_not_become_a_new_one(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *old = create_until_ok(fixture, ADMIN_KEY, "admin", 0);
    assert_int_equal(keys_rotate(fixture, ADMIN_KEY, old->key_id, 3600).status, STATUS_OK);
    assert_int_equal(keys_rotate(fixture, old->key, old->key_id, 3600).status, STATUS_PERMISSION_DENIED);
    assert_true(create_until_ok(fixture, old->key, "admin", 0)->info->expires_at != 0);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s BORA_KEYS_PROGRAM\n", argv[0]);
        return 2;
    }
    keys_program = argv[1];
    const struct CMUnitTest tests[] = {
        KEYS_TEST(test_every_method_by_everybody),
        KEYS_TEST(test_a_key_grants_no_more_than_it_has),
        KEYS_TEST(test_an_admins_keys_go_to_its_own_workspace_and_organization),
        KEYS_TEST(test_keys_that_may_not_be_used_administer_nothing),
        KEYS_TEST(test_me_is_who_shows_the_key),
        KEYS_TEST(test_an_admin_key_that_ends_makes_none_that_goes_on),
        KEYS_TEST(test_an_admin_key_that_goes_on_is_out_of_reach_of_one_that_ends),
        KEYS_TEST(test_an_old_secret_does_not_become_a_new_one),
    };
    return cmocka_run_group_tests_name("services/keys_roles", tests, NULL, NULL);
}
