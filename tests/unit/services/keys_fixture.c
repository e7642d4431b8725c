/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/services/keys_fixture.h"

#include "base/clock.h"
#include "rpc/transcode.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ARENA_BYTES = 64 << 20 };

const char *keys_program, *keys_redis_timeout = "30s";

/* --- calls ------------------------------------------------------------------------------------------------------- */

void keys_waiting_done(void *context, const struct rpc_result *result, struct bytes_view reply) {
    struct keys_waiting *waiting = context;
    pthread_mutex_lock(&waiting->mutex);
    struct keys_outcome *outcome = &waiting->outcome;
    outcome->status = result->status;
    snprintf(outcome->message, sizeof outcome->message, "%s", result->message);
    struct bytes_view value;
    ProtobufCMessage *detail = NULL;
    if (result->status == STATUS_OK) {
        if (protobuf_unpack(waiting->descriptor, reply, &waiting->fixture->arena, &outcome->reply, NULL) != STATUS_OK)
            outcome->status = STATUS_DATA_LOSS;
    } else if (rpc_status_details_find(result->details, "bora.v1.ErrorDetail", &value) &&
               protobuf_unpack(&bora__v1__error_detail__descriptor, value, &waiting->fixture->arena, &detail, NULL) ==
                   STATUS_OK) {
        outcome->detail = (Bora__V1__ErrorDetail *)detail;
    }
    waiting->done = true;
    pthread_cond_signal(&waiting->changed);
    pthread_mutex_unlock(&waiting->mutex);
}

struct keys_outcome keys_call_bytes(struct keys_fixture *fixture, const char *method, const char *bearer,
                                    struct bytes_view request, const ProtobufCMessageDescriptor *reply) {
    char path[96], authorization[128];
    snprintf(path, sizeof path, "/bora.v1.%s%s", strchr(method, '/') != NULL ? "" : "KeyService/", method);
    snprintf(authorization, sizeof authorization, "Bearer %s", bearer != NULL ? bearer : "");
    const char *const metadata[] = {bearer != NULL ? "authorization" : NULL, authorization, NULL};
    struct keys_waiting waiting = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                                   .changed = PTHREAD_COND_INITIALIZER,
                                   .fixture = fixture,
                                   .descriptor = reply};
    struct error err = {0};
    if (rpc_client_unary_async(fixture->channel, path, metadata, request, SECONDS * NS_PER_S, keys_waiting_done,
                               &waiting, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    pthread_mutex_lock(&waiting.mutex);
    while (!waiting.done) pthread_cond_wait(&waiting.changed, &waiting.mutex);
    pthread_mutex_unlock(&waiting.mutex);
    return waiting.outcome;
}

struct keys_outcome keys_call(struct keys_fixture *fixture, const char *method, const char *bearer,
                              const ProtobufCMessage *request, const ProtobufCMessageDescriptor *reply) {
    struct bytes packed;
    bytes_init(&packed, 1 << 20);
    assert_int_equal(protobuf_pack(request, &packed), STATUS_OK);
    struct keys_outcome outcome = keys_call_bytes(fixture, method, bearer, bytes_view(&packed), reply);
    bytes_deinit(&packed);
    return outcome;
}

struct keys_outcome keys_create(struct keys_fixture *fixture, const char *bearer,
                                const Bora__V1__CreateKeyRequest *request) {
    return keys_call(fixture, "CreateKey", bearer, &request->base, &bora__v1__create_key_response__descriptor);
}

Bora__V1__CreateKeyResponse *keys_create_ok(struct keys_fixture *fixture, const Bora__V1__CreateKeyRequest *request) {
    struct keys_outcome outcome = keys_create(fixture, ADMIN_KEY, request);
    if (outcome.status != STATUS_OK) fail_msg("CreateKey: %s", outcome.message);
    return (Bora__V1__CreateKeyResponse *)outcome.reply;
}

Bora__V1__CreateKeyResponse *keys_create_plain(struct keys_fixture *fixture) {
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    return keys_create_ok(fixture, &request);
}

struct keys_outcome keys_verify(struct keys_fixture *fixture, const char *key) {
    Bora__V1__VerifyKeyRequest request = BORA__V1__VERIFY_KEY_REQUEST__INIT;
    request.key = (char *)key;
    return keys_call(fixture, "VerifyKey", SERVICE_TOKEN, &request.base, &bora__v1__verify_key_response__descriptor);
}

Bora__V1__VerifyKeyResponse *keys_verify_ok(struct keys_fixture *fixture, const char *key) {
    struct keys_outcome outcome = keys_verify(fixture, key);
    if (outcome.status != STATUS_OK) fail_msg("VerifyKey: %s", outcome.message);
    return (Bora__V1__VerifyKeyResponse *)outcome.reply;
}

Bora__V1__CreateKeyResponse *keys_create_role(struct keys_fixture *fixture, const char *role,
                                              const char *workspace_or_null) {
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    GIVE(request, CREATE_KEY_REQUEST, ROLE, role, (char *)role);
    if (workspace_or_null != NULL)
        GIVE(request, CREATE_KEY_REQUEST, WORKSPACE_UUID, workspace_uuid, (char *)workspace_or_null);
    return keys_create_ok(fixture, &request);
}

struct keys_outcome keys_update(struct keys_fixture *fixture, const char *bearer,
                                const Bora__V1__UpdateKeyRequest *request) {
    return keys_call(fixture, "UpdateKey", bearer, &request->base, &bora__v1__api_key__descriptor);
}

struct keys_outcome keys_rotate(struct keys_fixture *fixture, const char *bearer, const char *key_id,
                                int64_t overlap_or_minus_1) {
    Bora__V1__RotateKeyRequest request = BORA__V1__ROTATE_KEY_REQUEST__INIT;
    request.key_id = (char *)key_id;
    if (overlap_or_minus_1 >= 0)
        GIVE(request, ROTATE_KEY_REQUEST, OVERLAP_SECONDS, overlap_seconds, overlap_or_minus_1);
    return keys_call(fixture, "RotateKey", bearer, &request.base, &bora__v1__create_key_response__descriptor);
}

Bora__V1__Organization *keys_create_organization(struct keys_fixture *fixture, const char *name) {
    Bora__V1__CreateOrganizationRequest request = BORA__V1__CREATE_ORGANIZATION_REQUEST__INIT;
    request.name = (char *)name;
    struct keys_outcome outcome = keys_call(fixture, "TenantService/CreateOrganization", ADMIN_KEY, &request.base,
                                            &bora__v1__organization__descriptor);
    if (outcome.status != STATUS_OK) fail_msg("CreateOrganization: %s", outcome.message);
    return (Bora__V1__Organization *)outcome.reply;
}

Bora__V1__Workspace *keys_create_workspace(struct keys_fixture *fixture, const char *name,
                                           const char *organization_or_null) {
    Bora__V1__CreateWorkspaceRequest request = BORA__V1__CREATE_WORKSPACE_REQUEST__INIT;
    request.name = (char *)name;
    if (organization_or_null != NULL)
        GIVE(request, CREATE_WORKSPACE_REQUEST, ORGANIZATION_ID, organization_id, (char *)organization_or_null);
    struct keys_outcome outcome =
        keys_call(fixture, "TenantService/CreateWorkspace", ADMIN_KEY, &request.base, &bora__v1__workspace__descriptor);
    if (outcome.status != STATUS_OK) fail_msg("CreateWorkspace: %s", outcome.message);
    return (Bora__V1__Workspace *)outcome.reply;
}

Bora__V1__ListAuditResponse *keys_audit(struct keys_fixture *fixture, const char *organization_or_null) {
    Bora__V1__ListAuditRequest request = BORA__V1__LIST_AUDIT_REQUEST__INIT;
    if (organization_or_null != NULL)
        GIVE(request, LIST_AUDIT_REQUEST, ORGANIZATION_ID, organization_id, (char *)organization_or_null);
    struct keys_outcome outcome = keys_call(fixture, "TenantService/ListAudit", ADMIN_KEY, &request.base,
                                            &bora__v1__list_audit_response__descriptor);
    if (outcome.status != STATUS_OK) fail_msg("ListAudit: %s", outcome.message);
    return (Bora__V1__ListAuditResponse *)outcome.reply;
}

struct redis_client *keys_redis_client(const struct redis_server *server) {
    struct redis_client *client = NULL;
    struct redis_options options = {.address = server->address, .timeout_ns = SECONDS * NS_PER_S};
    assert_int_equal(redis_client_create(&options, &client, NULL), STATUS_OK);
    assert_int_equal(redis_client_wait(client, SECONDS * NS_PER_S, NULL), STATUS_OK);
    return client;
}

bool keys_gate_is_shut(struct keys_fixture *fixture, const Bora__V1__ApiKey *key) {
    return keys_gate_of_secret_is_shut(fixture, key, key->prefix);
}

bool keys_gate_of_secret_is_shut(struct keys_fixture *fixture, const Bora__V1__ApiKey *key, const char *gate) {
    struct redis_client *client = keys_redis_client(&fixture->limits);
    struct redis_reply *reply = NULL;
    assert_int_equal(redis_callf(client, &reply, NULL, "EXISTS bora:gate:{%s}:%s", key->organization_id, gate),
                     STATUS_OK);
    bool shut = reply->integer == 1;
    redis_reply_free(reply);
    redis_client_destroy(client);
    return shut;
}

struct keys_outcome keys_revoke(struct keys_fixture *fixture, const char *key_id) {
    Bora__V1__RevokeKeyRequest request = BORA__V1__REVOKE_KEY_REQUEST__INIT;
    request.key_id = (char *)key_id;
    return keys_call(fixture, "RevokeKey", ADMIN_KEY, &request.base, &bora__v1__revoke_key_response__descriptor);
}

struct keys_outcome keys_list(struct keys_fixture *fixture, int limit, const char *after) {
    Bora__V1__ListKeysRequest request = BORA__V1__LIST_KEYS_REQUEST__INIT;
    if (limit != 0) request._limit_case = BORA__V1__LIST_KEYS_REQUEST___LIMIT_LIMIT, request.limit = limit;
    if (after != NULL) request._after_case = BORA__V1__LIST_KEYS_REQUEST___AFTER_AFTER, request.after = (char *)after;
    return keys_call(fixture, "ListKeys", ADMIN_KEY, &request.base, &bora__v1__list_keys_response__descriptor);
}

Bora__V1__ListKeysResponse *keys_list_ok(struct keys_fixture *fixture, int limit, const char *after) {
    struct keys_outcome outcome = keys_list(fixture, limit, after);
    if (outcome.status != STATUS_OK) fail_msg("ListKeys: %s", outcome.message);
    return (Bora__V1__ListKeysResponse *)outcome.reply;
}

/* --- the fixture ------------------------------------------------------------------------------------------------- */

void keys_write_file(const struct keys_fixture *fixture, const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", fixture->folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "%s\n", text);
    fclose(file);
}

void keys_start(struct keys_fixture *fixture) {
    char hash_secret[128], admin[128], token[128], redis[160], limits[160], timeout[64], line[512], target[64];
    snprintf(hash_secret, sizeof hash_secret, "--hash-secret-file=%s/hash-secret", fixture->folder);
    snprintf(admin, sizeof admin, "--admin-key-file=%s/admin-key", fixture->folder);
    snprintf(token, sizeof token, "--service-token-file=%s/service-token", fixture->folder);
    snprintf(redis, sizeof redis, "--redis=%s", fixture->redis.address);
    snprintf(timeout, sizeof timeout, "--redis-timeout=%s", keys_redis_timeout);
    snprintf(limits, sizeof limits, "--redis-limits=%s", fixture->limits.address);
    const char *const arguments[] = {keys_program,
                                     "--listen=127.0.0.1:0",
                                     redis,
                                     limits,
                                     timeout,
                                     hash_secret,
                                     admin,
                                     token,
                                     "--default-tokens-per-minute=5000",
                                     "--log-level=debug",
                                     "--metrics-listen=127.0.0.1:0",
                                     NULL};
    test_process_start(&fixture->keys, arguments);
    if (!test_process_wait_for(&fixture->keys, "\"event\":\"serving\"", SECONDS, line, sizeof line))
        fail_msg("bora-keys does not serve");
    const char *address = strstr(line, "\"address\":\"");
    assert_non_null(address);
    address += strlen("\"address\":\"");
    snprintf(target, sizeof target, "%.*s", (int)strcspn(address, "\""), address);
    const char *metrics_port = strstr(line, "\"metrics_port\":");
    assert_non_null(metrics_port);
    fixture->metrics_port = atoi(metrics_port + strlen("\"metrics_port\":"));
    struct rpc_channel_options options = {.target = target, .message_bytes_max = 16 << 20};
    struct error err = {0};
    if (rpc_channel_open(fixture->client, &options, &fixture->channel, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_true(test_process_wait_for(&fixture->keys, "\"event\":\"ready\"", SECONDS, NULL, 0));
    /* Which it does not wait for to be ready; until then a change is answered with UNAVAILABLE. */
    assert_true(test_process_wait_for(&fixture->keys, "the limits' Redis can be reached", SECONDS, NULL, 0));
}

int keys_stop(struct keys_fixture *fixture) {
    rpc_channel_close(fixture->channel);
    return test_process_stop(&fixture->keys, SIGTERM, SECONDS);
}

int keys_setup(void **state) {
    struct keys_fixture *fixture = calloc(1, sizeof *fixture);
    redis_server_create(&fixture->redis, NULL);
    redis_server_create(&fixture->limits, NULL);
    snprintf(fixture->folder, sizeof fixture->folder, "/tmp/bora-test-keys-XXXXXX");
    if (mkdtemp(fixture->folder) == NULL) return -1;
    keys_write_file(fixture, "admin-key", ADMIN_KEY);
    keys_write_file(fixture, "service-token", SERVICE_TOKEN);
    arena_init(&fixture->arena, ARENA_BYTES);
    if (rpc_client_create(1, &fixture->client, NULL) != STATUS_OK) return -1;
    keys_start(fixture);
    *state = fixture;
    return 0;
}

int keys_teardown(void **state) {
    struct keys_fixture *fixture = *state;
    int status = keys_stop(fixture);
    rpc_client_destroy(fixture->client);
    redis_server_destroy(&fixture->redis);
    redis_server_destroy(&fixture->limits);
    arena_deinit(&fixture->arena);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", fixture->folder);
    int removed = system(command);
    free(fixture);
    if (status != 0) print_error("bora-keys ended with %d\n", status);
    return status != 0 || removed != 0;
}

void keys_restart_redis(struct keys_fixture *fixture) {
    char *before = test_process_output(&fixture->keys);
    size_t length = strlen(before);
    free(before);
    redis_server_kill(&fixture->redis);
    redis_server_start(&fixture->redis);
    /* Ready again: a line behind what had been written. */
    int64_t until = clock_monotonic_ns(clock_system()) + SECONDS * NS_PER_S;
    for (bool ready = false; !ready;) {
        assert_true(clock_monotonic_ns(clock_system()) < until);
        char *output = test_process_output(&fixture->keys);
        ready = strstr(output + length, "\"event\":\"ready\"") != NULL;
        free(output);
    }
}
