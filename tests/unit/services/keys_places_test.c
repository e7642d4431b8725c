/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Organisations, workspaces, long lists and the audit trail. argv[1] is the program. */
#include "tests/unit/services/keys_fixture.h"

#include "base/clock.h"
#include "base/json.h"
#include "rpc/transcode.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- organizations ------------------------------------------------------------------------------------------------ */

static struct keys_outcome create_organization(struct keys_fixture *fixture, const char *name) {
    Bora__V1__CreateOrganizationRequest request = BORA__V1__CREATE_ORGANIZATION_REQUEST__INIT;
    request.name = (char *)name;
    return keys_call(fixture, "TenantService/CreateOrganization", ADMIN_KEY, &request.base,
                     &bora__v1__organization__descriptor);
}

static struct keys_outcome rename_organization(struct keys_fixture *fixture, const char *id, const char *name) {
    Bora__V1__UpdateOrganizationRequest request = BORA__V1__UPDATE_ORGANIZATION_REQUEST__INIT;
    request.organization_id = (char *)id;
    GIVE(request, UPDATE_ORGANIZATION_REQUEST, NAME, name, (char *)name);
    return keys_call(fixture, "TenantService/UpdateOrganization", ADMIN_KEY, &request.base,
                     &bora__v1__organization__descriptor);
}

static struct keys_outcome delete_organization(struct keys_fixture *fixture, const char *id) {
    Bora__V1__DeleteOrganizationRequest request = BORA__V1__DELETE_ORGANIZATION_REQUEST__INIT;
    request.organization_id = (char *)id;
    return keys_call(fixture, "TenantService/DeleteOrganization", ADMIN_KEY, &request.base,
                     &bora__v1__delete_organization_response__descriptor);
}

static void test_names_of_organizations_are_one_organizations(void **state) {
    struct keys_fixture *fixture = *state;
    const char *id = keys_create_organization(fixture, "a")->id, *other = keys_create_organization(fixture, "b")->id;
    struct keys_outcome outcome = create_organization(fixture, "a");
    assert_int_equal(outcome.status, STATUS_ALREADY_EXISTS);
    assert_string_equal(outcome.message, "there is an organization of that name");
    assert_int_equal(create_organization(fixture, "default").status, STATUS_ALREADY_EXISTS);
    assert_int_equal(rename_organization(fixture, other, "a").status, STATUS_ALREADY_EXISTS);
    assert_int_equal(rename_organization(fixture, id, "a").status, STATUS_OK);
    assert_int_equal(rename_organization(fixture, id, "c").status, STATUS_OK);
    assert_int_equal(rename_organization(fixture, other, "a").status, STATUS_OK); /* the name was let go */
    assert_int_equal(create_organization(fixture, "c").status, STATUS_ALREADY_EXISTS);
}

/** Who died between claiming a name and giving it to a record keeps it for a minute. */
static void test_a_claim_that_came_to_nothing_ends(void **state) {
    struct keys_fixture *fixture = *state;
    struct redis_client *client = keys_redis_client(&fixture->redis);
    int64_t now_ms = clock_unix_ns(clock_system()) / NS_PER_MS;
    const char *holders[] = {"00000000-0000-4000-8000-000000000001", keys_create_organization(fixture, "other")->id};
    for (int i = 0; i < 2; i++) {
        struct error err = {0};
        char value[80];
        snprintf(value, sizeof value, "%s %lld", holders[i], (long long)now_ms);
        assert_int_equal(redis_callf(client, NULL, &err, "HSET bora:org-names free %s", value), STATUS_OK);
        assert_int_equal(create_organization(fixture, "free").status, STATUS_ALREADY_EXISTS);
        snprintf(value, sizeof value, "%s %lld", holders[i], (long long)now_ms - 61000);
        assert_int_equal(redis_callf(client, NULL, &err, "HSET bora:org-names free %s", value), STATUS_OK);
        struct keys_outcome made = create_organization(fixture, "free");
        assert_int_equal(made.status, STATUS_OK);
        assert_int_equal(create_organization(fixture, "free").status, STATUS_ALREADY_EXISTS);
        assert_int_equal(delete_organization(fixture, ((Bora__V1__Organization *)made.reply)->id).status, STATUS_OK);
    }
    redis_client_destroy(client);
}

static void test_names_from_before_they_were_kept(void **state) {
    struct keys_fixture *fixture = *state;
    struct redis_client *client = keys_redis_client(&fixture->redis);
    struct error err = {0};
    keys_create_organization(fixture, "old");
    assert_int_equal(keys_stop(fixture), 0);
    assert_int_equal(redis_callf(client, NULL, &err, "DEL bora:org-names"), STATUS_OK);
    keys_start(fixture);
    assert_int_equal(create_organization(fixture, "old").status, STATUS_ALREADY_EXISTS);
    assert_int_equal(create_organization(fixture, "new").status, STATUS_OK);
    redis_client_destroy(client);
}

static void test_an_organization_that_has_used_nothing_can_go(void **state) {
    struct keys_fixture *fixture = *state;
    struct redis_client *client = keys_redis_client(&fixture->redis), *limits = keys_redis_client(&fixture->limits);
    struct error err = {0};
    struct redis_reply *reply = NULL;
    Bora__V1__Organization *organization = keys_create_organization(fixture, "mistake");
    const char *id = organization->id;
    Bora__V1__Workspace *workspace = keys_create_workspace(fixture, "w", id);
    Bora__V1__CreateKeyResponse *key = keys_create_role(fixture, "admin", workspace->id);
    assert_string_equal(delete_organization(fixture, id).message, "the organization has keys that are not revoked");
    assert_int_equal(keys_revoke(fixture, key->key_id).status, STATUS_OK);
    assert_int_equal(redis_callf(limits, NULL, &err, "HSET bora:leases:{%s} a b", id), STATUS_OK);
    assert_string_equal(delete_organization(fixture, id).message, "answers of the organization are under way");
    assert_int_equal(redis_callf(limits, NULL, &err, "DEL bora:leases:{%s}", id), STATUS_OK);
    assert_int_equal(redis_callf(client, NULL, &err, "HSET bora:ledger-seen:{%s} top 1", id), STATUS_OK);
    assert_int_equal(delete_organization(fixture, id).status, STATUS_FAILED_PRECONDITION);
    assert_int_equal(redis_callf(client, NULL, &err, "DEL bora:ledger-seen:{%s}", id), STATUS_OK);
    struct keys_outcome outcome = delete_organization(fixture, id);
    assert_int_equal(outcome.status, STATUS_OK);
    assert_string_equal(((Bora__V1__DeleteOrganizationResponse *)outcome.reply)->id, id);
    /* Nothing of it is left but its trail, and an entry in the operator's. */
    assert_int_equal(delete_organization(fixture, id).status, STATUS_NOT_FOUND);
    assert_int_equal(keys_verify(fixture, key->key).status, STATUS_UNAUTHENTICATED);
    assert_int_equal(redis_callf(client, &reply, &err, "KEYS *{%s}*", id), STATUS_OK);
    assert_int_equal(reply->count, 1);
    assert_non_null(strstr((const char *)reply->items[0].string.data, "bora:audit:"));
    redis_reply_free(reply);
    static const char *const actions[] = {"organization.delete", "key.revoke",       "key.create",
                                          "workspace.create",    "workspace.create", "organization.create"};
    Bora__V1__ListAuditResponse *trail = keys_audit(fixture, id);
    assert_int_equal(trail->n_entries, sizeof actions / sizeof *actions);
    for (size_t i = 0; i < trail->n_entries; i++) assert_string_equal(trail->entries[i]->action, actions[i]);
    assert_string_equal(trail->entries[0]->actor, "operator");
    assert_string_equal(trail->entries[0]->target_name, "mistake");
    Bora__V1__AuditEntry *entry = keys_audit(fixture, NULL)->entries[0];
    assert_string_equal(entry->action, "organization.delete");
    assert_string_equal(entry->target, id);
    assert_string_equal(entry->target_name, "mistake");
    assert_int_equal(create_organization(fixture, "mistake").status, STATUS_OK);
    redis_client_destroy(limits);
    redis_client_destroy(client);
}

static bool is_indexed(struct redis_client *client, const char *index, const char *field) {
    struct error err = {0};
    struct redis_reply *reply = NULL;
    assert_int_equal(redis_callf(client, &reply, &err, "HEXISTS %s %s", index, field), STATUS_OK);
    bool there = reply->integer == 1;
    redis_reply_free(reply);
    return there;
}

static int64_t number_of(struct redis_client *client, const char *format, const char *word) {
    struct error err = {0};
    struct redis_reply *reply = NULL;
    assert_int_equal(redis_callf(client, &reply, &err, format, word), STATUS_OK);
    int64_t number = reply->type == REDIS_ARRAY ? (int64_t)reply->count : reply->integer;
    redis_reply_free(reply);
    return number;
}

/** Indexes lie in other slots than the organisation, so they follow; whatever fails on the way, in the end nothing is left in them. */
static void test_indexes_follow_an_organization_that_went(void **state) {
    struct keys_fixture *fixture = *state;
    struct redis_client *client = keys_redis_client(&fixture->redis);
    const char *id = keys_create_organization(fixture, "mistake")->id;
    const char *workspace = keys_create_workspace(fixture, "w", id)->id;
    Bora__V1__CreateKeyResponse *key = keys_create_role(fixture, "admin", workspace);
    assert_int_equal(keys_revoke(fixture, key->key_id).status, STATUS_OK);
    int64_t organizations = number_of(client, "ZCARD %s", "bora:orgs");
    number_of(client, "ACL SETUSER default %s", "-hdel");
    assert_int_equal(delete_organization(fixture, id).status, STATUS_OK);
    assert_true(is_indexed(client, "bora:key-index", key->info->prefix));
    assert_int_equal(delete_organization(fixture, id).status, STATUS_OK); /* who has not heard asks again */
    number_of(client, "ACL SETUSER default %s", "+hdel");
    int64_t until = clock_monotonic_ns(clock_system()) + SECONDS * NS_PER_S;
    while (number_of(client, "KEYS *{%s}*", id) != 1) assert_true(clock_monotonic_ns(clock_system()) < until);
    assert_false(is_indexed(client, "bora:key-index", key->info->prefix));
    assert_false(is_indexed(client, "bora:ws-index", workspace));
    assert_false(is_indexed(client, "bora:org-names", "mistake"));
    assert_int_equal(number_of(client, "ZCARD %s", "bora:orgs"), organizations - 1);
    assert_int_equal(delete_organization(fixture, id).status, STATUS_NOT_FOUND);
    redis_client_destroy(client);
}

/** Nothing leads to what is left when it was taken from the list of all and no more came of it. */
static void test_what_a_removal_may_leave_behind_ends_by_itself(void **state) {
    struct keys_fixture *fixture = *state;
    struct redis_client *client = keys_redis_client(&fixture->redis);
    static const char *const names[] = {"bora:deleted:{%s}", "bora:pending:{%s}"};
    const char *id = keys_create_organization(fixture, "mistake")->id;
    int64_t organizations = number_of(client, "ZCARD %s", "bora:orgs");
    number_of(client, "ACL SETUSER default %s", "-zrem");
    assert_int_equal(delete_organization(fixture, id).status, STATUS_OK);
    assert_int_equal(number_of(client, "ZCARD %s", "bora:orgs"), organizations);
    number_of(client, "ACL SETUSER default %s", "-del");
    number_of(client, "ACL SETUSER default %s", "+zrem");
    int64_t until = clock_monotonic_ns(clock_system()) + SECONDS * NS_PER_S;
    while (number_of(client, "ZCARD %s", "bora:orgs") == organizations)
        assert_true(clock_monotonic_ns(clock_system()) < until);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char command[64];
        snprintf(command, sizeof command, "TTL %s", names[i]);
        assert_in_range(number_of(client, command, id), 86400, 100 * 86400);
    }
    number_of(client, "ACL SETUSER default %s", "+del");
    assert_int_equal(delete_organization(fixture, id).status, STATUS_OK); /* or sooner, by who asks again */
    assert_int_equal(number_of(client, "KEYS *{%s}*", id), 1);            /* its trail */
    redis_client_destroy(client);
}

/* --- workspaces --------------------------------------------------------------------------------------------------- */

static struct keys_outcome list_workspaces(struct keys_fixture *fixture, const char *organization_or_null, int limit,
                                           int offset) {
    Bora__V1__ListWorkspacesRequest request = BORA__V1__LIST_WORKSPACES_REQUEST__INIT;
    GIVE(request, LIST_WORKSPACES_REQUEST, LIMIT, limit, limit);
    GIVE(request, LIST_WORKSPACES_REQUEST, OFFSET, offset, offset);
    if (organization_or_null != NULL)
        GIVE(request, LIST_WORKSPACES_REQUEST, ORGANIZATION_ID, organization_id, (char *)organization_or_null);
    return keys_call(fixture, "TenantService/ListWorkspaces", ADMIN_KEY, &request.base,
                     &bora__v1__list_workspaces_response__descriptor);
}

static void test_workspaces_come_in_pages_over_all_organizations(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__Organization *organization = keys_create_organization(fixture, "o");
    static const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) keys_create_workspace(fixture, names[i], organization->id);
    /* default/default, o/default, o/a, o/b, o/c */
    static const char *const all[] = {"default", "default", "a", "b", "c"};
    int seen = 0;
    bool more = true;
    while (more) {
        struct keys_outcome outcome = list_workspaces(fixture, NULL, 2, seen);
        assert_int_equal(outcome.status, STATUS_OK);
        Bora__V1__ListWorkspacesResponse *page = (Bora__V1__ListWorkspacesResponse *)outcome.reply;
        for (size_t i = 0; i < page->n_workspaces; i++) assert_string_equal(page->workspaces[i]->name, all[seen++]);
        more = page->has_more;
    }
    assert_int_equal(seen, 5);
    Bora__V1__ListWorkspacesResponse *own =
        (Bora__V1__ListWorkspacesResponse *)list_workspaces(fixture, organization->id, 4, 0).reply;
    assert_int_equal(own->n_workspaces, 4);
    assert_false(own->has_more);
    assert_int_equal(list_workspaces(fixture, "nobody", 4, 0).status, STATUS_NOT_FOUND);
    assert_int_equal(list_workspaces(fixture, organization->id, 1001, 0).status, STATUS_INVALID_ARGUMENT);
}

/** As it is for a moment while one is made, and for ever when whoever makes it dies then. */
static void test_an_organization_that_is_listed_before_it_is_made_is_in_nobodys_way(void **state) {
    struct keys_fixture *fixture = *state;
    struct redis_client *client = keys_redis_client(&fixture->redis);
    struct error err = {0};
    const char *nobody = "00000000-0000-4000-8000-000000000002";
    keys_create_plain(fixture);
    assert_int_equal(redis_callf(client, NULL, &err, "ZADD bora:orgs 2 %s", nobody), STATUS_OK);
    const char *made = keys_create_organization(fixture, "o")->id;
    Bora__V1__ListOrganizationsRequest request = BORA__V1__LIST_ORGANIZATIONS_REQUEST__INIT;
    Bora__V1__ListOrganizationsResponse *all = (Bora__V1__ListOrganizationsResponse *)keys_call(
                                                   fixture, "TenantService/ListOrganizations", ADMIN_KEY, &request.base,
                                                   &bora__v1__list_organizations_response__descriptor)
                                                   .reply;
    assert_non_null(all);
    assert_int_equal(all->n_organizations, 2);
    assert_string_equal(all->organizations[1]->id, made);
    Bora__V1__ListWorkspacesResponse *workspaces =
        (Bora__V1__ListWorkspacesResponse *)list_workspaces(fixture, NULL, 10, 0).reply;
    assert_int_equal(workspaces->n_workspaces, 2);
    assert_int_equal(keys_list_ok(fixture, 0, NULL)->n_keys, 1);
    assert_int_equal(rename_organization(fixture, nobody, "n").status, STATUS_NOT_FOUND);
    assert_int_equal(delete_organization(fixture, nobody).status, STATUS_NOT_FOUND);
    redis_client_destroy(client);
}

static struct keys_outcome rename_workspace(struct keys_fixture *fixture, const char *id, const char *name) {
    Bora__V1__UpdateWorkspaceRequest request = BORA__V1__UPDATE_WORKSPACE_REQUEST__INIT;
    request.workspace_id = (char *)id;
    GIVE(request, UPDATE_WORKSPACE_REQUEST, NAME, name, (char *)name);
    return keys_call(fixture, "TenantService/UpdateWorkspace", ADMIN_KEY, &request.base,
                     &bora__v1__workspace__descriptor);
}

static void test_names_are_an_organizations_own_and_taken_once(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__Organization *organization = keys_create_organization(fixture, "o");
    Bora__V1__Workspace *here = keys_create_workspace(fixture, "x", NULL),
                        *there = keys_create_workspace(fixture, "x", organization->id);
    assert_string_not_equal(here->id, there->id);
    Bora__V1__CreateWorkspaceRequest request = BORA__V1__CREATE_WORKSPACE_REQUEST__INIT;
    request.name = (char *)"x";
    struct keys_outcome taken =
        keys_call(fixture, "TenantService/CreateWorkspace", ADMIN_KEY, &request.base, &bora__v1__workspace__descriptor);
    assert_int_equal(taken.status, STATUS_ALREADY_EXISTS);
    assert_int_equal(rename_workspace(fixture, here->id, "default").status, STATUS_ALREADY_EXISTS);
    assert_int_equal(rename_workspace(fixture, here->id, "y").status, STATUS_OK);
    assert_int_equal(rename_workspace(fixture, here->id, "y").status, STATUS_OK); /* its own */
    keys_create_workspace(fixture, "x", NULL);                                    /* free again */
    Bora__V1__CreateKeyResponse *key = keys_create_role(fixture, "service", here->id);
    assert_string_equal(key->info->tenant, "y");
    assert_string_equal(keys_verify_ok(fixture, key->key)->info->workspace_name, "y");
}

static struct keys_outcome delete_workspace(struct keys_fixture *fixture, const char *id) {
    Bora__V1__DeleteWorkspaceRequest request = BORA__V1__DELETE_WORKSPACE_REQUEST__INIT;
    request.workspace_id = (char *)id;
    return keys_call(fixture, "TenantService/DeleteWorkspace", ADMIN_KEY, &request.base,
                     &bora__v1__delete_workspace_response__descriptor);
}

static void test_a_workspace_goes_without_keys_and_not_as_the_last(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__Workspace *workspace = keys_create_workspace(fixture, "w", NULL);
    Bora__V1__CreateKeyResponse *key = keys_create_role(fixture, "service", workspace->id);
    assert_int_equal(delete_workspace(fixture, workspace->id).status, STATUS_FAILED_PRECONDITION);
    assert_int_equal(keys_revoke(fixture, key->key_id).status, STATUS_OK);
    assert_int_equal(delete_workspace(fixture, workspace->id).status, STATUS_OK);
    assert_int_equal(delete_workspace(fixture, workspace->id).status, STATUS_NOT_FOUND);
    /* What was in it is still listed, and still refused. */
    Bora__V1__ApiKey *listed = keys_list_ok(fixture, 0, NULL)->keys[0];
    assert_string_equal(listed->workspace_id, workspace->id);
    assert_string_equal(listed->workspace_name, "");
    assert_int_equal(keys_verify(fixture, key->key).status, STATUS_UNAUTHENTICATED);
    assert_int_equal(keys_revoke(fixture, key->key_id).status, STATUS_OK);
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    GIVE(request, CREATE_KEY_REQUEST, WORKSPACE_UUID, workspace_uuid, workspace->id);
    assert_int_equal(keys_create(fixture, ADMIN_KEY, &request).status, STATUS_NOT_FOUND);
    Bora__V1__ListWorkspacesResponse *left =
        (Bora__V1__ListWorkspacesResponse *)list_workspaces(fixture, NULL, 10, 0).reply;
    assert_int_equal(left->n_workspaces, 1);
    struct keys_outcome last = delete_workspace(fixture, left->workspaces[0]->id);
    assert_int_equal(last.status, STATUS_FAILED_PRECONDITION);
    assert_string_equal(last.message, "it is the organization's last workspace");
}

static void test_limits_of_places_are_checked_like_those_of_keys(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateWorkspaceRequest request = BORA__V1__CREATE_WORKSPACE_REQUEST__INIT;
    Bora__V1__Limits limits = BORA__V1__LIMITS__INIT;
    GIVE(limits, LIMITS, SPEND_PER_MONTH, spend_per_month, -1);
    request.name = (char *)"w";
    request.key_limits = &limits;
    struct keys_outcome outcome =
        keys_call(fixture, "TenantService/CreateWorkspace", ADMIN_KEY, &request.base, &bora__v1__workspace__descriptor);
    assert_int_equal(outcome.status, STATUS_INVALID_ARGUMENT);
    assert_string_equal(outcome.detail->validation->detail[0]->loc[1]->name, "key_limits");
    assert_string_equal(outcome.detail->validation->detail[0]->loc[2]->name, "spend_per_month");
}

/* --- lists of keys ------------------------------------------------------------------------------------------------ */

static Bora__V1__ListKeysResponse *list(struct keys_fixture *fixture, const Bora__V1__ListKeysRequest *request) {
    struct keys_outcome outcome =
        keys_call(fixture, "ListKeys", ADMIN_KEY, &request->base, &bora__v1__list_keys_response__descriptor);
    if (outcome.status != STATUS_OK) fail_msg("%s", outcome.message);
    return (Bora__V1__ListKeysResponse *)outcome.reply;
}

static Bora__V1__CreateKeyResponse *create_named(struct keys_fixture *fixture, const char *name,
                                                 const char *workspace) {
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    GIVE(request, CREATE_KEY_REQUEST, NAME, name, (char *)name);
    GIVE(request, CREATE_KEY_REQUEST, WORKSPACE_UUID, workspace_uuid, (char *)workspace);
    return keys_create_ok(fixture, &request);
}

static void test_keys_are_found_by_name_last_characters_and_place(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__Organization *organization = keys_create_organization(fixture, "o");
    Bora__V1__Workspace *a = keys_create_workspace(fixture, "a", NULL),
                        *b = keys_create_workspace(fixture, "b", organization->id);
    Bora__V1__CreateKeyResponse *keys[6];
    static const char *const names[] = {"web one", "batch", "web two", "web three", "web four", "x"};
    for (int i = 0; i < 6; i++) keys[i] = create_named(fixture, names[i], i < 3 ? a->id : b->id);

    Bora__V1__ListKeysRequest request = BORA__V1__LIST_KEYS_REQUEST__INIT;
    GIVE(request, LIST_KEYS_REQUEST, NAME, name, (char *)"web");
    GIVE(request, LIST_KEYS_REQUEST, LIMIT, limit, 3);
    Bora__V1__ListKeysResponse *page = list(fixture, &request);
    assert_int_equal(page->n_keys, 3); /* over both organisations, oldest organisation first */
    assert_true(page->has_more);
    assert_string_equal(page->keys[0]->name, "web one");
    assert_string_equal(page->keys[1]->name, "web two");
    assert_string_equal(page->keys[2]->workspace_name, "b");
    GIVE(request, LIST_KEYS_REQUEST, AFTER, after, page->keys[2]->key_id);
    page = list(fixture, &request);
    assert_int_equal(page->n_keys, 1);
    assert_false(page->has_more);
    assert_string_equal(page->keys[0]->name, "web four");

    bora__v1__list_keys_request__init(&request);
    GIVE(request, LIST_KEYS_REQUEST, NAME, name, keys[1]->key + 57); /* the last four */
    page = list(fixture, &request);
    assert_int_equal(page->n_keys, 1);
    assert_string_equal(page->keys[0]->name, "batch");

    bora__v1__list_keys_request__init(&request);
    GIVE(request, LIST_KEYS_REQUEST, WORKSPACE_ID, workspace_id, b->id);
    GIVE(request, LIST_KEYS_REQUEST, OFFSET, offset, 1);
    page = list(fixture, &request);
    assert_int_equal(page->n_keys, 2);
    assert_string_equal(page->keys[0]->name, "web four");

    bora__v1__list_keys_request__init(&request);
    GIVE(request, LIST_KEYS_REQUEST, OFFSET, offset, 4); /* over organisations, unseen ones skipped */
    page = list(fixture, &request);
    assert_int_equal(page->n_keys, 2);
    assert_string_equal(page->keys[0]->name, "web four");
    GIVE(request, LIST_KEYS_REQUEST, AFTER, after, keys[0]->key_id);
    struct keys_outcome both =
        keys_call(fixture, "ListKeys", ADMIN_KEY, &request.base, &bora__v1__list_keys_response__descriptor);
    assert_int_equal(both.status, STATUS_INVALID_ARGUMENT);
}

/** Records as CreateKey would write them, without its round trips. */
static void fill_with_keys(struct keys_fixture *fixture, const Bora__V1__ApiKey *like, int count) {
    static const char source[] =
        "for i = 1, tonumber(ARGV[1]) do "
        "  local prefix = string.format('k%011d', i) "
        "  redis.call('HSET', ARGV[2] .. prefix, 'version', '1', 'created_at', '1796000000', 'name', 'bulk ' .. i, "
        "    'workspace', ARGV[3], 'role', 'service', 'created_by', 'operator', 'hash', string.rep('ab', 32), "
        "    'last', 'wxyz', 'tokens_per_minute', '5') "
        "  redis.call('ZADD', KEYS[1], i + 1000, prefix) "
        "end return 1";
    char list_name[96], record[96], number[16];
    struct redis_client *client = keys_redis_client(&fixture->redis);
    struct redis_script script;
    snprintf(list_name, sizeof list_name, "bora:keys:{%s}", like->organization_id);
    snprintf(record, sizeof record, "bora:key:{%s}:", like->organization_id);
    snprintf(number, sizeof number, "%d", count);
    redis_script_init(&script, source);
    struct bytes_view key = bytes_view_string(list_name);
    struct bytes_view arguments[] = {bytes_view_string(number), bytes_view_string(record),
                                     bytes_view_string(like->workspace_id)};
    assert_int_equal(redis_script_call(client, &script, &key, 1, arguments, 3, NULL, NULL), STATUS_OK);
    redis_client_destroy(client);
}

/** Scripts that the server has run. */
static int64_t scripts_run(struct redis_client *client) {
    struct redis_reply *reply = NULL;
    assert_int_equal(redis_callf(client, &reply, NULL, "INFO commandstats"), STATUS_OK);
    const char *found = strstr((const char *)reply->string.data, "cmdstat_evalsha:calls=");
    int64_t calls = found != NULL ? atoll(found + strlen("cmdstat_evalsha:calls=")) : 0;
    redis_reply_free(reply);
    return calls;
}

static void test_a_name_among_ten_thousand_keys_is_looked_for_in_small_pieces(void **state) {
    struct keys_fixture *fixture = *state;
    enum { KEYS = 10000, PIECE_MAX = 250 };
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    fill_with_keys(fixture, created->info, KEYS);
    struct redis_client *client = keys_redis_client(&fixture->redis);
    Bora__V1__ListKeysRequest request = BORA__V1__LIST_KEYS_REQUEST__INIT;
    GIVE(request, LIST_KEYS_REQUEST, NAME, name, (char *)"bulk 9999");
    int64_t before = scripts_run(client), start = clock_monotonic_ns(clock_system());
    Bora__V1__ListKeysResponse *page = list(fixture, &request);
    int64_t took = clock_monotonic_ns(clock_system()) - start;
    assert_int_equal(page->n_keys, 1);
    assert_true(scripts_run(client) - before >= KEYS / PIECE_MAX); /* none blocks Redis for long */
    redis_client_destroy(client);
    bora__v1__list_keys_request__init(&request);
    GIVE(request, LIST_KEYS_REQUEST, OFFSET, offset, KEYS - 10);
    page = list(fixture, &request);
    assert_int_equal(page->n_keys, 11);
    print_message("a name among %d keys: %.1f ms\n", KEYS, (double)took / NS_PER_MS);
}

/** A sorted set of that many more members, in pieces, so that Redis goes on answering. */
static void fill_list(struct redis_client *client, const char *name, int count) {
    static const char source[] =
        "for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do redis.call('ZADD', KEYS[1], i + 100, 'x' .. i) end return 1";
    enum { PIECE = 1000 };
    struct redis_script script;
    redis_script_init(&script, source);
    for (int first = 1; first <= count; first += PIECE) {
        char from[16], to[16];
        snprintf(from, sizeof from, "%d", first);
        snprintf(to, sizeof to, "%d", first + PIECE - 1);
        struct bytes_view key = bytes_view_string(name), arguments[] = {bytes_view_string(from), bytes_view_string(to)};
        assert_int_equal(redis_script_call(client, &script, &key, 1, arguments, 2, NULL, NULL), STATUS_OK);
    }
}

static void test_too_many_are_refused_with_a_number(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    struct redis_client *client = keys_redis_client(&fixture->redis);
    char name[96];
    snprintf(name, sizeof name, "bora:keys:{%s}", created->info->organization_id);
    fill_list(client, name, 100000);
    snprintf(name, sizeof name, "bora:wss:{%s}", created->info->organization_id);
    fill_list(client, name, 1000);
    fill_list(client, "bora:orgs", 10000);
    redis_client_destroy(client);
    Bora__V1__CreateKeyRequest key = BORA__V1__CREATE_KEY_REQUEST__INIT;
    struct keys_outcome outcome = keys_create(fixture, ADMIN_KEY, &key);
    assert_int_equal(outcome.status, STATUS_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(outcome.message, "100000 keys"));
    Bora__V1__CreateWorkspaceRequest workspace = BORA__V1__CREATE_WORKSPACE_REQUEST__INIT;
    workspace.name = (char *)"one more";
    outcome = keys_call(fixture, "TenantService/CreateWorkspace", ADMIN_KEY, &workspace.base,
                        &bora__v1__workspace__descriptor);
    assert_int_equal(outcome.status, STATUS_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(outcome.message, "1000 workspaces"));
    Bora__V1__CreateOrganizationRequest organization = BORA__V1__CREATE_ORGANIZATION_REQUEST__INIT;
    organization.name = (char *)"one more";
    outcome = keys_call(fixture, "TenantService/CreateOrganization", ADMIN_KEY, &organization.base,
                        &bora__v1__organization__descriptor);
    assert_int_equal(outcome.status, STATUS_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(outcome.message, "10000 organizations"));
}

/* --- the audit trail ---------------------------------------------------------------------------------------------- */

static void test_every_change_leaves_an_entry_that_says_what_it_was(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *admin = keys_create_role(fixture, "admin", NULL);
    Bora__V1__UpdateKeyRequest update = BORA__V1__UPDATE_KEY_REQUEST__INIT;
    Bora__V1__Limits limits = BORA__V1__LIMITS__INIT;
    GIVE(limits, LIMITS, TOKENS_PER_MINUTE, tokens_per_minute, 10);
    update.key_id = admin->key_id;
    update.limits = &limits;
    struct bytes packed;
    bytes_init(&packed, 1024);
    assert_int_equal(protobuf_pack(&update.base, &packed), STATUS_OK);
    char authorization[128];
    snprintf(authorization, sizeof authorization, "Bearer %s", admin->key);
    const char *const metadata[] = {"authorization", authorization, "x-request-id", "r-17", "x-client-address",
                                    "192.0.2.7",     NULL};
    struct bytes reply;
    struct error err = {0};
    bytes_init(&reply, 1 << 16);
    assert_int_equal(rpc_client_unary(fixture->channel, "/bora.v1.KeyService/UpdateKey", metadata, bytes_view(&packed),
                                      SECONDS * NS_PER_S, &reply, &err),
                     STATUS_OK);
    bytes_deinit(&packed);
    bytes_deinit(&reply);
    assert_int_equal(keys_revoke(fixture, admin->key_id).status, STATUS_OK);
    assert_int_equal(keys_revoke(fixture, admin->key_id).status, STATUS_OK); /* nothing new */

    Bora__V1__ListAuditResponse *audit = keys_audit(fixture, NULL);
    static const char *const actions[] = {"key.revoke", "key.update", "key.create", "workspace.create",
                                          "organization.create"};
    assert_int_equal(audit->n_entries, 5);
    for (int i = 0; i < 5; i++) assert_string_equal(audit->entries[i]->action, actions[i]);
    const Bora__V1__AuditEntry *entry = audit->entries[1];
    assert_string_equal(entry->actor, admin->info->prefix);
    assert_string_equal(entry->target, admin->info->prefix);
    assert_string_equal(entry->request_id, "r-17");
    assert_string_equal(entry->address, "192.0.2.7");
    assert_string_equal(entry->detail, "{\"limits\":{\"before\":{},\"after\":{\"tokens_per_minute\":10}}}");
    assert_string_equal(audit->entries[0]->actor, "operator");
    assert_non_null(strstr(audit->entries[0]->address, "127.0.0.1")); /* nobody said, so what we see */
    assert_string_equal(audit->entries[4]->actor, "system");
    char *texts[] = {audit->entries[2]->detail, audit->entries[1]->detail};
    enum json_kind kind;
    for (int i = 0; i < 2; i++) {
        assert_true(json_is_valid(bytes_view_string(texts[i]), 8, &kind));
        assert_null(strstr(texts[i], admin->key + 18));
    }
}

static void test_the_trail_comes_in_pages_and_one_organization_at_a_time(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__Organization *organization = keys_create_organization(fixture, "o");
    for (int i = 0; i < 5; i++) keys_create_plain(fixture);
    assert_int_equal(keys_audit(fixture, organization->id)->n_entries, 2);
    Bora__V1__ListAuditRequest request = BORA__V1__LIST_AUDIT_REQUEST__INIT;
    GIVE(request, LIST_AUDIT_REQUEST, LIMIT, limit, 3);
    int seen = 0;
    char last[64] = "~";
    for (bool more = true; more;) {
        struct keys_outcome outcome = keys_call(fixture, "TenantService/ListAudit", ADMIN_KEY, &request.base,
                                                &bora__v1__list_audit_response__descriptor);
        Bora__V1__ListAuditResponse *page = (Bora__V1__ListAuditResponse *)outcome.reply;
        assert_non_null(page);
        for (size_t i = 0; i < page->n_entries; i++, seen++) {
            assert_true(strcmp(page->entries[i]->id, last) < 0);
            snprintf(last, sizeof last, "%s", page->entries[i]->id);
        }
        more = page->has_more;
        GIVE(request, LIST_AUDIT_REQUEST, BEFORE, before, last);
    }
    assert_int_equal(seen, 7);
    GIVE(request, LIST_AUDIT_REQUEST, BEFORE, before, (char *)"x; FLUSHALL");
    assert_int_equal(keys_call(fixture, "TenantService/ListAudit", ADMIN_KEY, &request.base,
                               &bora__v1__list_audit_response__descriptor)
                         .status,
                     STATUS_INVALID_ARGUMENT);
}

/* --- last used ---------------------------------------------------------------------------------------------------- */

static void test_last_use_is_told_to_the_minute_and_survives(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    assert_int_equal(keys_list_ok(fixture, 0, NULL)->keys[0]->_last_used_case, BORA__V1__API_KEY___LAST_USED__NOT_SET);
    assert_int_equal(keys_verify(fixture, "bora_abcdefghijkl_0123456789012345678901234567890123456789abc").status,
                     STATUS_UNAUTHENTICATED);
    for (int i = 0; i < 3; i++) keys_verify_ok(fixture, created->key);
    const Bora__V1__ApiKey *key = NULL;
    int64_t until = clock_monotonic_ns(clock_system()) + SECONDS * NS_PER_S;
    do { /* nobody waits for it to be written */
        key = keys_list_ok(fixture, 0, NULL)->keys[0];
        assert_true(clock_monotonic_ns(clock_system()) < until);
    } while (key->_last_used_case == BORA__V1__API_KEY___LAST_USED__NOT_SET);
    assert_string_equal(key->last_used + 16, ":00Z");
    rpc_channel_close(fixture->channel);
    test_process_stop(&fixture->keys, SIGKILL, SECONDS);
    redis_server_kill(&fixture->redis);
    redis_server_start(&fixture->redis);
    keys_start(fixture);
    assert_string_equal(keys_list_ok(fixture, 0, NULL)->keys[0]->last_used, key->last_used);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s BORA_KEYS_PROGRAM\n", argv[0]);
        return 2;
    }
    keys_program = argv[1];
    const struct CMUnitTest tests[] = {
        KEYS_TEST(test_names_of_organizations_are_one_organizations),
        KEYS_TEST(test_a_claim_that_came_to_nothing_ends),
        KEYS_TEST(test_names_from_before_they_were_kept),
        KEYS_TEST(test_an_organization_that_has_used_nothing_can_go),
        KEYS_TEST(test_indexes_follow_an_organization_that_went),
        KEYS_TEST(test_what_a_removal_may_leave_behind_ends_by_itself),
        KEYS_TEST(test_workspaces_come_in_pages_over_all_organizations),
        KEYS_TEST(test_an_organization_that_is_listed_before_it_is_made_is_in_nobodys_way),
        KEYS_TEST(test_names_are_an_organizations_own_and_taken_once),
        KEYS_TEST(test_a_workspace_goes_without_keys_and_not_as_the_last),
        KEYS_TEST(test_limits_of_places_are_checked_like_those_of_keys),
        KEYS_TEST(test_keys_are_found_by_name_last_characters_and_place),
        KEYS_TEST(test_a_name_among_ten_thousand_keys_is_looked_for_in_small_pieces),
        KEYS_TEST(test_too_many_are_refused_with_a_number),
        KEYS_TEST(test_every_change_leaves_an_entry_that_says_what_it_was),
        KEYS_TEST(test_the_trail_comes_in_pages_and_one_organization_at_a_time),
        KEYS_TEST(test_last_use_is_told_to_the_minute_and_survives),
    };
    return cmocka_run_group_tests_name("services/keys_places", tests, NULL, NULL);
}
