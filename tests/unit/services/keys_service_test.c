/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What bora-keys answers, over gRPC and with a real Redis. argv[1] is the program. */
#include "tests/unit/services/keys_fixture.h"

#include "base/clock.h"
#include "rpc/transcode.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void test_key_is_shown_once_and_stored_hashed(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    const char *key = created->key, *secret = key + 5 + 12 + 1;
    assert_int_equal(strlen(key), 61);
    assert_memory_equal(key + 5, created->info->prefix, 12);
    /* Lists show the id and four characters. */
    Bora__V1__ListKeysResponse *listed = keys_list_ok(fixture, 0, NULL);
    assert_int_equal(listed->n_keys, 1);
    char hidden[64];
    snprintf(hidden, sizeof hidden, "bora_%s_...%s", created->info->prefix, key + 57);
    assert_string_equal(listed->keys[0]->hidden_key, hidden);
    assert_string_equal(created->info->hidden_key, hidden);
    /* What Mistral's interface has beside the key is the same. */
    assert_string_equal(created->key_id, created->info->key_id);
    assert_string_equal(created->hidden_key, hidden);
    assert_string_equal(created->created_at, created->info->created_at);
    /* Redis' disk holds the record, but neither the key nor its secret. The log names neither. */
    assert_true(redis_server_disk_contains(&fixture->redis, created->info->prefix));
    assert_false(redis_server_disk_contains(&fixture->redis, key));
    assert_false(redis_server_disk_contains(&fixture->redis, secret));
    assert_int_equal(keys_verify(fixture, key).status, STATUS_OK);
    char *log = test_process_output(&fixture->keys);
    assert_non_null(strstr(log, created->info->prefix));
    assert_null(strstr(log, secret));
    assert_null(strstr(log, ADMIN_KEY));
    assert_null(strstr(log, SERVICE_TOKEN));
    free(log);
}

static void assert_sent_info(const Bora__V1__ApiKey *info, const Bora__V1__CreateKeyRequest *request) {
    assert_string_equal(info->name, request->name);
    assert_string_equal(info->tenant, request->tenant);
    assert_string_equal(info->workspace_name, request->tenant);
    assert_string_equal(info->user_id, request->user_id);
    assert_string_equal(info->role, "member");
    assert_string_equal(info->created_by, "operator");
    assert_string_equal(info->status, "active");
    assert_int_equal(strlen(info->created_at), strlen("2026-11-30T14:41:28Z"));
    assert_int_equal(info->expires_at, request->expires_at);
    assert_int_equal(info->_revoked_at_case, BORA__V1__API_KEY___REVOKED_AT__NOT_SET);
    assert_int_equal(info->limits->requests_per_minute, 0);
    assert_int_equal(info->limits->_requests_per_minute_case,
                     BORA__V1__LIMITS___REQUESTS_PER_MINUTE_REQUESTS_PER_MINUTE);
    assert_true(info->limits->spend_per_month == 0.1);
    assert_int_equal(info->limits->_tokens_per_minute_case, BORA__V1__LIMITS___TOKENS_PER_MINUTE__NOT_SET);
    assert_int_equal(info->n_model_limits, 1);
    assert_string_equal(info->model_limits[0]->model, "small:v1");
    assert_int_equal(info->model_limits[0]->limits->tokens_per_minute, 1000000000000);
    assert_int_equal(info->scopes->n_models, 2);
    assert_string_equal(info->scopes->models[1], "small:v1");
    assert_int_equal(info->scopes->n_endpoints, 1);
    assert_string_equal(info->scopes->endpoints[0], "chat");
}

static void test_everything_given_comes_back(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    GIVE(request, CREATE_KEY_REQUEST, NAME, name,
         (char *)"it's \"quoted\"; {braces} \xc3\xa9\xe2\x82\xac \xf0\x9f\x94\x91");
    GIVE(request, CREATE_KEY_REQUEST, TENANT, tenant, (char *)"acme \"1\"");
    GIVE(request, CREATE_KEY_REQUEST, USER_ID, user_id, (char *)"somebody");
    GIVE(request, CREATE_KEY_REQUEST, ROLE, role, (char *)"member");
    GIVE(request, CREATE_KEY_REQUEST, EXPIRES_AT, expires_at, clock_unix_ns(clock_system()) / NS_PER_S + 3600);
    Bora__V1__Limits all = BORA__V1__LIMITS__INIT, one = BORA__V1__LIMITS__INIT;
    GIVE(all, LIMITS, REQUESTS_PER_MINUTE, requests_per_minute, 0);
    GIVE(all, LIMITS, SPEND_PER_MONTH, spend_per_month, 0.1);
    GIVE(one, LIMITS, TOKENS_PER_MINUTE, tokens_per_minute, 1000000000000);
    Bora__V1__ModelLimits model = BORA__V1__MODEL_LIMITS__INIT, *models[] = {&model};
    model.model = (char *)"small:v1";
    model.limits = &one;
    request.limits = &all;
    request.model_limits = models;
    request.n_model_limits = 1;
    char *scope_models[] = {(char *)"large", (char *)"small:v1"}, *scope_endpoints[] = {(char *)"chat"};
    Bora__V1__Scopes scopes = BORA__V1__SCOPES__INIT;
    scopes.models = scope_models, scopes.n_models = 2;
    scopes.endpoints = scope_endpoints, scopes.n_endpoints = 1;
    request.scopes = &scopes;
    Bora__V1__CreateKeyResponse *created = keys_create_ok(fixture, &request);
    Bora__V1__GetKeyRequest get = BORA__V1__GET_KEY_REQUEST__INIT;
    get.key_id = created->info->prefix;
    struct keys_outcome got = keys_call(fixture, "GetKey", ADMIN_KEY, &get.base, &bora__v1__api_key__descriptor);
    assert_int_equal(got.status, STATUS_OK);
    const Bora__V1__ApiKey *const infos[] = {created->info, keys_list_ok(fixture, 0, NULL)->keys[0],
                                             keys_verify_ok(fixture, created->key)->info,
                                             (Bora__V1__ApiKey *)got.reply};
    for (int i = 0; i < 4; i++) {
        assert_string_equal(infos[i]->key_id, created->info->key_id);
        assert_sent_info(infos[i], &request);
    }
}

static void test_a_plain_key_is_the_first_workspaces(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__ApiKey *info = keys_create_plain(fixture)->info;
    assert_string_equal(info->name, "");
    assert_string_equal(info->tenant, "default");
    assert_string_equal(info->role, "service");
    assert_int_equal(info->_expires_at_case, BORA__V1__API_KEY___EXPIRES_AT__NOT_SET);
    assert_int_equal(info->scopes->n_models + info->scopes->n_endpoints, 0);
    assert_true(info->can_delete);
    assert_string_equal(info->actions->rotate->status, "available");
}

static const Bora__V1__LevelLimits *level_of(const Bora__V1__VerifyKeyResponse *verified, char kind) {
    for (size_t i = 0; i < verified->n_levels; i++) {
        if (verified->levels[i]->scope[0] == kind) return verified->levels[i];
    }
    return NULL;
}

static void test_limits_come_from_the_workspace_then_from_the_service(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__Workspace *workspace = keys_create_workspace(fixture, "w", NULL);
    Bora__V1__CreateKeyResponse *plain = keys_create_role(fixture, "service", workspace->id);
    const Bora__V1__LevelLimits *key = level_of(keys_verify_ok(fixture, plain->key), 'k');
    assert_int_equal(key->limits->tokens_per_minute, 5000); /* --default-tokens-per-minute */
    assert_int_equal(key->limits->_requests_per_minute_case, BORA__V1__LIMITS___REQUESTS_PER_MINUTE__NOT_SET);
    assert_int_equal(plain->info->limits->_tokens_per_minute_case, BORA__V1__LIMITS___TOKENS_PER_MINUTE__NOT_SET);

    /* The workspace's limits for keys change what its keys have, at once; its own limits are a level of their own. */
    Bora__V1__UpdateWorkspaceRequest update = BORA__V1__UPDATE_WORKSPACE_REQUEST__INIT;
    Bora__V1__Limits for_keys = BORA__V1__LIMITS__INIT, own = BORA__V1__LIMITS__INIT;
    GIVE(for_keys, LIMITS, TOKENS_PER_MINUTE, tokens_per_minute, 70);
    GIVE(for_keys, LIMITS, REQUESTS_PER_SECOND, requests_per_second, 3);
    GIVE(own, LIMITS, CONCURRENT_STREAMS, concurrent_streams, 9);
    update.workspace_id = workspace->id;
    update.limits = &own;
    update.key_limits = &for_keys;
    assert_int_equal(
        keys_call(fixture, "TenantService/UpdateWorkspace", ADMIN_KEY, &update.base, &bora__v1__workspace__descriptor)
            .status,
        STATUS_OK);
    Bora__V1__VerifyKeyResponse *verified = keys_verify_ok(fixture, plain->key);
    assert_int_equal(verified->n_levels, 2);
    assert_int_equal(level_of(verified, 'k')->limits->tokens_per_minute, 70);
    assert_int_equal(level_of(verified, 'k')->limits->requests_per_second, 3);
    assert_int_equal(level_of(verified, 'w')->limits->concurrent_streams, 9);
    assert_string_equal(level_of(verified, 'w')->scope + 2, workspace->id);
    assert_string_equal(level_of(verified, 'k')->scope + 2, plain->info->prefix);

    /* A key that has limits of its own takes only the others, and nothing from the service. */
    Bora__V1__UpdateKeyRequest change = BORA__V1__UPDATE_KEY_REQUEST__INIT;
    Bora__V1__Limits mine = BORA__V1__LIMITS__INIT;
    GIVE(mine, LIMITS, REQUESTS_PER_SECOND, requests_per_second, 8);
    change.key_id = plain->info->key_id;
    change.limits = &mine;
    assert_int_equal(keys_update(fixture, ADMIN_KEY, &change).status, STATUS_OK);
    verified = keys_verify_ok(fixture, plain->key);
    assert_int_equal(level_of(verified, 'k')->limits->requests_per_second, 8);
    assert_int_equal(level_of(verified, 'k')->limits->tokens_per_minute, 70);
    assert_int_equal(verified->info->limits->_tokens_per_minute_case, BORA__V1__LIMITS___TOKENS_PER_MINUTE__NOT_SET);
    /* Limits that are given, though empty, replace the service's: unlimited. */
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    Bora__V1__Limits none = BORA__V1__LIMITS__INIT;
    request.limits = &none;
    assert_int_equal(keys_verify_ok(fixture, keys_create_ok(fixture, &request)->key)->n_levels, 0);
}

static void test_organization_limits_are_a_level_for_all_its_keys(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__Organization *other = keys_create_organization(fixture, "other");
    Bora__V1__CreateKeyResponse *there =
        keys_create_role(fixture, "service", keys_create_workspace(fixture, "w", other->id)->id);
    Bora__V1__CreateKeyResponse *here = keys_create_plain(fixture);
    Bora__V1__UpdateOrganizationRequest update = BORA__V1__UPDATE_ORGANIZATION_REQUEST__INIT;
    Bora__V1__Limits limits = BORA__V1__LIMITS__INIT, small = BORA__V1__LIMITS__INIT;
    Bora__V1__ModelLimitsList list = BORA__V1__MODEL_LIMITS_LIST__INIT;
    Bora__V1__ModelLimits model = BORA__V1__MODEL_LIMITS__INIT, *models[] = {&model};
    GIVE(limits, LIMITS, TOKENS_PER_MONTH, tokens_per_month, 1000);
    GIVE(small, LIMITS, INPUT_TOKENS_PER_MINUTE, input_tokens_per_minute, 0);
    model.model = (char *)"small";
    model.limits = &small;
    list.items = models, list.n_items = 1;
    update.organization_id = other->id;
    update.limits = &limits;
    update.model_limits = &list;
    assert_int_equal(keys_call(fixture, "TenantService/UpdateOrganization", ADMIN_KEY, &update.base,
                               &bora__v1__organization__descriptor)
                         .status,
                     STATUS_OK);
    Bora__V1__VerifyKeyResponse *verified = keys_verify_ok(fixture, there->key);
    assert_string_equal(verified->organization_name, "other");
    const Bora__V1__LevelLimits *level = level_of(verified, 'o');
    assert_string_equal(level->scope, "o");
    assert_int_equal(level->limits->tokens_per_month, 1000);
    assert_string_equal(level->model_limits[0]->model, "small");
    assert_null(level_of(keys_verify_ok(fixture, here->key), 'o'));
}

static void test_who_shows_no_key_is_unauthenticated_and_only_the_token_verifies(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    char forged[64];
    snprintf(forged, sizeof forged, "%s", created->key);
    forged[60] = forged[60] == 'a' ? 'b' : 'a';
    const char *const wrong[] = {NULL, "", SERVICE_TOKEN, forged, ADMIN_KEY "x"};
    Bora__V1__CreateKeyRequest create_request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    Bora__V1__ListKeysRequest list_request = BORA__V1__LIST_KEYS_REQUEST__INIT;
    Bora__V1__RevokeKeyRequest revoke_request = BORA__V1__REVOKE_KEY_REQUEST__INIT;
    revoke_request.key_id = created->info->key_id;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct keys_outcome outcome = keys_create(fixture, wrong[i], &create_request);
        assert_int_equal(outcome.status, STATUS_UNAUTHENTICATED);
        assert_string_equal(outcome.detail->error->type, "authentication_error");
        assert_int_equal(
            keys_call(fixture, "ListKeys", wrong[i], &list_request.base, &bora__v1__list_keys_response__descriptor)
                .status,
            STATUS_UNAUTHENTICATED);
        assert_int_equal(
            keys_call(fixture, "RevokeKey", wrong[i], &revoke_request.base, &bora__v1__revoke_key_response__descriptor)
                .status,
            STATUS_UNAUTHENTICATED);
    }
    Bora__V1__VerifyKeyRequest verify_request = BORA__V1__VERIFY_KEY_REQUEST__INIT;
    verify_request.key = created->key;
    const char *const wrong_tokens[] = {NULL, ADMIN_KEY, created->key};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(keys_call(fixture, "VerifyKey", wrong_tokens[i], &verify_request.base,
                                   &bora__v1__verify_key_response__descriptor)
                             .status,
                         STATUS_PERMISSION_DENIED); /* which no key is refused with */
    assert_int_equal(keys_verify(fixture, created->key).status, STATUS_OK);
    assert_int_equal(keys_list_ok(fixture, 0, NULL)->n_keys, 1);
}

static void test_revoked_key_is_refused_at_once_and_twice_is_once(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture), *other = keys_create_plain(fixture);
    struct keys_outcome first = keys_revoke(fixture, created->info->key_id);
    assert_int_equal(first.status, STATUS_OK);
    struct keys_outcome refused = keys_verify(fixture, created->key);
    assert_int_equal(refused.status, STATUS_UNAUTHENTICATED);
    assert_string_equal(refused.message, "the key is revoked");
    int64_t revoked_at = ((Bora__V1__RevokeKeyResponse *)first.reply)->info->revoked_at;
    assert_true(revoked_at > 0);
    struct keys_outcome second = keys_revoke(fixture, created->info->key_id);
    assert_int_equal(second.status, STATUS_OK);
    assert_int_equal(((Bora__V1__RevokeKeyResponse *)second.reply)->info->revoked_at, revoked_at);
    assert_int_equal(keys_list_ok(fixture, 0, NULL)->keys[0]->revoked_at, revoked_at);
    assert_int_equal(keys_verify(fixture, other->key).status, STATUS_OK);
}

static void test_revoking_what_never_was_is_not_found(void **state) {
    struct keys_fixture *fixture = *state;
    static const char *const ids[] = {"abcdefghijkl",
                                      "ABCDEFGHIJKL",
                                      "x",
                                      "} bora:keys {",
                                      "\xc3\xa9",
                                      "78c055c2-5f1b-4fab-8573-584a4936ac1b",
                                      "00000000-0000-8000-8000-000000000000"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        assert_int_equal(keys_revoke(fixture, ids[i]).status, STATUS_NOT_FOUND);
    assert_int_equal(keys_list_ok(fixture, 0, NULL)->n_keys, 0);
    assert_int_equal(keys_revoke(fixture, "").status, STATUS_INVALID_ARGUMENT);
}

static void test_changed_and_foreign_keys_do_not_verify(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture), *other = keys_create_plain(fixture);
    char text[64];
    snprintf(text, sizeof text, "%s", created->key);
    text[60] = text[60] == 'a' ? 'b' : 'a';
    assert_int_equal(keys_verify(fixture, text).status, STATUS_UNAUTHENTICATED);
    memcpy(text, created->key, 18); /* this id, the other's secret */
    memcpy(text + 18, other->key + 18, 44);
    struct keys_outcome mixed = keys_verify(fixture, text);
    assert_int_equal(mixed.status, STATUS_UNAUTHENTICATED);
    assert_string_equal(mixed.detail->error->message, "the key is not valid");
    assert_int_equal(keys_verify(fixture, "bora_abcdefghijkl_0123456789012345678901234567890123456789abc").status,
                     STATUS_UNAUTHENTICATED);
    assert_int_equal(keys_verify(fixture, "sk-something").status, STATUS_UNAUTHENTICATED);
    assert_int_equal(keys_verify(fixture, created->info->key_id).status, STATUS_UNAUTHENTICATED);
}

static void test_expired_key_is_refused(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    request._expires_at_case = BORA__V1__CREATE_KEY_REQUEST___EXPIRES_AT_EXPIRES_AT;
    request.expires_at = clock_unix_ns(clock_system()) / NS_PER_S + 2;
    Bora__V1__CreateKeyResponse *created = keys_create_ok(fixture, &request);
    struct keys_outcome outcome = keys_verify(fixture, created->key);
    if (outcome.status == STATUS_OK) { /* or this machine was very slow */
        while (clock_unix_ns(clock_system()) / NS_PER_S < request.expires_at)
            nanosleep(&(struct timespec){.tv_nsec = 20 * NS_PER_MS}, NULL);
        outcome = keys_verify(fixture, created->key);
    }
    assert_int_equal(outcome.status, STATUS_UNAUTHENTICATED);
    assert_string_equal(outcome.message, "the key has expired");
}

static void test_pages_go_from_the_oldest_to_the_newest(void **state) {
    struct keys_fixture *fixture = *state;
    enum { KEYS = 7 };
    const char *ids[KEYS];
    for (int i = 0; i < KEYS; i++) ids[i] = keys_create_plain(fixture)->info->key_id;
    const char *after = NULL;
    int seen = 0;
    for (int page = 0; page < 3; page++) {
        Bora__V1__ListKeysResponse *listed = keys_list_ok(fixture, 3, after);
        assert_int_equal(listed->n_keys, page < 2 ? 3 : 1);
        assert_int_equal(listed->has_more, page < 2);
        for (size_t i = 0; i < listed->n_keys; i++) assert_string_equal(listed->keys[i]->key_id, ids[seen++]);
        after = listed->keys[listed->n_keys - 1]->key_id;
    }
    Bora__V1__ListKeysResponse *end = keys_list_ok(fixture, 3, after);
    assert_int_equal(end->n_keys, 0);
    assert_false(end->has_more);
    assert_int_equal(keys_list_ok(fixture, 7, NULL)->has_more, 0);
    struct keys_outcome unknown = keys_list(fixture, 3, "nosuchkey000");
    assert_int_equal(unknown.status, STATUS_INVALID_ARGUMENT);
    assert_string_equal(unknown.detail->validation->detail[0]->loc[1]->name, "after");
}

/* --- wrong requests ---------------------------------------------------------------------------------------------- */

static void assert_refused_at(const struct keys_outcome *outcome, const char *type, const char *field, int64_t index,
                              const char *inner) {
    assert_int_equal(outcome->status, STATUS_INVALID_ARGUMENT);
    assert_non_null(outcome->detail);
    assert_int_equal(outcome->detail->kind_case, BORA__V1__ERROR_DETAIL__KIND_VALIDATION);
    const Bora__V1__ValidationError *error = outcome->detail->validation->detail[0];
    assert_string_equal(error->type, type);
    assert_string_equal(error->loc[0]->name, "body");
    assert_string_equal(error->loc[1]->name, field);
    if (index >= 0) assert_int_equal(error->loc[2]->index, index);
    if (inner != NULL) assert_string_equal(error->loc[error->n_loc - 1]->name, inner);
}

static void test_fields_out_of_range_are_named_with_their_path(void **state) {
    struct keys_fixture *fixture = *state;
    static char long_name[300], long_tenant[70];
    memset(long_name, 'n', 256);
    memset(long_tenant, 't', 65);
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    request._name_case = BORA__V1__CREATE_KEY_REQUEST___NAME_NAME;
    request.name = long_name;
    struct keys_outcome outcome = keys_create(fixture, ADMIN_KEY, &request);
    assert_refused_at(&outcome, "string_too_long", "name", -1, NULL);

    request.name = (char *)"two\nlines";
    outcome = keys_create(fixture, ADMIN_KEY, &request);
    assert_refused_at(&outcome, "value_error", "name", -1, NULL);

    bora__v1__create_key_request__init(&request);
    request._tenant_case = BORA__V1__CREATE_KEY_REQUEST___TENANT_TENANT;
    request.tenant = long_tenant;
    outcome = keys_create(fixture, ADMIN_KEY, &request);
    assert_refused_at(&outcome, "string_too_long", "tenant", -1, NULL);

    bora__v1__create_key_request__init(&request);
    request._expires_at_case = BORA__V1__CREATE_KEY_REQUEST___EXPIRES_AT_EXPIRES_AT;
    request.expires_at = 1000;
    outcome = keys_create(fixture, ADMIN_KEY, &request);
    assert_refused_at(&outcome, "value_error", "expires_at", -1, NULL);

    bora__v1__create_key_request__init(&request);
    Bora__V1__Limits limits = BORA__V1__LIMITS__INIT, empty = BORA__V1__LIMITS__INIT;
    limits._requests_per_minute_case = BORA__V1__LIMITS___REQUESTS_PER_MINUTE_REQUESTS_PER_MINUTE;
    limits.requests_per_minute = -1;
    request.limits = &limits;
    outcome = keys_create(fixture, ADMIN_KEY, &request);
    assert_refused_at(&outcome, "greater_than_equal", "limits", -1, "requests_per_minute");

    bora__v1__create_key_request__init(&request);
    limits.requests_per_minute = 5;
    Bora__V1__ModelLimits a = BORA__V1__MODEL_LIMITS__INIT, b = BORA__V1__MODEL_LIMITS__INIT, *models[] = {&a, &b};
    a.model = b.model = (char *)"small";
    a.limits = b.limits = &limits;
    request.model_limits = models;
    request.n_model_limits = 2;
    outcome = keys_create(fixture, ADMIN_KEY, &request);
    assert_refused_at(&outcome, "value_error", "model_limits", 1, NULL);
    b.model = (char *)"large";
    b.limits = &empty;
    outcome = keys_create(fixture, ADMIN_KEY, &request);
    assert_refused_at(&outcome, "value_error", "model_limits", 1, NULL);
    b.limits = NULL;
    outcome = keys_create(fixture, ADMIN_KEY, &request);
    assert_refused_at(&outcome, "missing", "model_limits", 1, "limits");

    Bora__V1__ListKeysResponse *listed = keys_list_ok(fixture, 0, NULL);
    assert_int_equal(listed->n_keys, 0); /* none of these made a key */
    assert_int_equal(keys_list(fixture, 1001, NULL).status, STATUS_INVALID_ARGUMENT);
    assert_int_equal(keys_list(fixture, -1, NULL).status, STATUS_INVALID_ARGUMENT);
}

static void test_malformed_messages_are_invalid_argument(void **state) {
    struct keys_fixture *fixture = *state;
    static const struct {
        const char *bytes;
        size_t length;
    } messages[] = {
        {"\x0a\xff", 2},         /* a string that ends before it begins */
        {"\x0a\x02\xff\xfe", 4}, /* no UTF-8 */
        {"\x0a\x03"
         "a\0b",
         5}, /* NUL inside */
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11},
    };
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        struct bytes_view view = bytes_view_of(messages[i].bytes, messages[i].length);
        assert_int_equal(
            keys_call_bytes(fixture, "CreateKey", ADMIN_KEY, view, &bora__v1__create_key_response__descriptor).status,
            STATUS_INVALID_ARGUMENT);
    }
    static uint8_t large[300 * 1024];
    struct keys_outcome outcome = keys_call_bytes(fixture, "CreateKey", ADMIN_KEY, bytes_view_of(large, sizeof large),
                                                  &bora__v1__create_key_response__descriptor);
    assert_int_equal(outcome.status, STATUS_RESOURCE_EXHAUSTED);
}

static void no_message(struct rpc_client_call *started, void *context, struct bytes_view message) {
    (void)started, (void)context, (void)message;
}
static void keep_status(struct rpc_client_call *started, void *context, const struct rpc_result *result) {
    (void)started;
    atomic_store((atomic_int *)context, (int)result->status);
}

static void test_call_without_a_message_is_answered(void **state) {
    struct keys_fixture *fixture = *state;
    atomic_int status = -1;
    const char *const metadata[] = {"authorization", "Bearer " ADMIN_KEY, NULL};
    struct rpc_client_call_options options = {.path = "/bora.v1.KeyService/ListKeys",
                                              .deadline_ns = clock_monotonic_ns(clock_system()) + SECONDS * NS_PER_S,
                                              .metadata = metadata,
                                              .on_message = no_message,
                                              .on_finished = keep_status,
                                              .context = &status};
    struct rpc_client_call *started = NULL;
    assert_int_equal(rpc_client_call_start(fixture->channel, &options, &started, NULL), STATUS_OK);
    rpc_client_call_half_close(started);
    rpc_client_call_read(started);
    while (atomic_load(&status) == -1) nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
    rpc_client_call_unref(started);
    assert_int_equal(atomic_load(&status), STATUS_UNIMPLEMENTED); /* gRPC's word for it */
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s BORA_KEYS_PROGRAM\n", argv[0]);
        return 2;
    }
    keys_program = argv[1];
    const struct CMUnitTest tests[] = {
        KEYS_TEST(test_key_is_shown_once_and_stored_hashed),
        KEYS_TEST(test_everything_given_comes_back),
        KEYS_TEST(test_a_plain_key_is_the_first_workspaces),
        KEYS_TEST(test_limits_come_from_the_workspace_then_from_the_service),
        KEYS_TEST(test_organization_limits_are_a_level_for_all_its_keys),
        KEYS_TEST(test_who_shows_no_key_is_unauthenticated_and_only_the_token_verifies),
        KEYS_TEST(test_revoked_key_is_refused_at_once_and_twice_is_once),
        KEYS_TEST(test_revoking_what_never_was_is_not_found),
        KEYS_TEST(test_changed_and_foreign_keys_do_not_verify),
        KEYS_TEST(test_expired_key_is_refused),
        KEYS_TEST(test_pages_go_from_the_oldest_to_the_newest),
        KEYS_TEST(test_fields_out_of_range_are_named_with_their_path),
        KEYS_TEST(test_malformed_messages_are_invalid_argument),
        KEYS_TEST(test_call_without_a_message_is_answered),
    };
    return cmocka_run_group_tests_name("services/keys_service", tests, NULL, NULL);
}
