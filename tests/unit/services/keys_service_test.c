/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The program bora-keys with a real Redis, over gRPC. argv[1] is the program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "bora/v1/error.pb-c.h"
#include "bora/v1/keys.pb-c.h"
#include "rpc/grpc_client.h"
#include "rpc/transcode.h"
#include "store/redis.h"
#include "tests/support/process.h"
#include "tests/support/redis_server.h"

#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ADMIN_KEY "test-admin-key-0123456789"
#define SERVICE_TOKEN "test-service-token-0123456789"
enum { SECONDS = 60, ARENA_BYTES = 64 << 20 };

static const char *program;

struct fixture {
    struct redis_server redis;
    struct test_process keys;
    char folder[64];
    int metrics_port;
    struct rpc_client *client;
    struct rpc_channel *channel;
    struct arena arena; /* replies */
};

/* --- calls ------------------------------------------------------------------------------------------------------- */

/** How a call ended. */
struct outcome {
    enum status status;
    char message[256];
    ProtobufCMessage *reply;       /* when OK */
    Bora__V1__ErrorDetail *detail; /* when there was one */
};

struct waiting {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool done;
    struct fixture *fixture;
    const ProtobufCMessageDescriptor *descriptor;
    struct outcome outcome;
};

static void on_done(void *context, const struct rpc_result *result, struct bytes_view reply) {
    struct waiting *waiting = context;
    pthread_mutex_lock(&waiting->mutex);
    struct outcome *outcome = &waiting->outcome;
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

static struct outcome call_bytes(struct fixture *fixture, const char *method, const char *bearer,
                                 struct bytes_view request, const ProtobufCMessageDescriptor *reply) {
    char path[64], authorization[128];
    snprintf(path, sizeof path, "/bora.v1.KeyService/%s", method);
    snprintf(authorization, sizeof authorization, "Bearer %s", bearer != NULL ? bearer : "");
    const char *const metadata[] = {bearer != NULL ? "authorization" : NULL, authorization, NULL};
    struct waiting waiting = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                              .changed = PTHREAD_COND_INITIALIZER,
                              .fixture = fixture,
                              .descriptor = reply};
    struct error err = {0};
    if (rpc_client_unary_async(fixture->channel, path, metadata, request, SECONDS * NS_PER_S, on_done, &waiting,
                               &err) != STATUS_OK)
        fail_msg("%s", err.message);
    pthread_mutex_lock(&waiting.mutex);
    while (!waiting.done) pthread_cond_wait(&waiting.changed, &waiting.mutex);
    pthread_mutex_unlock(&waiting.mutex);
    return waiting.outcome;
}

static struct outcome call(struct fixture *fixture, const char *method, const char *bearer,
                           const ProtobufCMessage *request, const ProtobufCMessageDescriptor *reply) {
    struct bytes packed;
    bytes_init(&packed, 1 << 20);
    assert_int_equal(protobuf_pack(request, &packed), STATUS_OK);
    struct outcome outcome = call_bytes(fixture, method, bearer, bytes_view(&packed), reply);
    bytes_deinit(&packed);
    return outcome;
}

static struct outcome create(struct fixture *fixture, const char *bearer, const Bora__V1__CreateKeyRequest *request) {
    return call(fixture, "CreateKey", bearer, &request->base, &bora__v1__create_key_response__descriptor);
}

static Bora__V1__CreateKeyResponse *create_ok(struct fixture *fixture, const Bora__V1__CreateKeyRequest *request) {
    struct outcome outcome = create(fixture, ADMIN_KEY, request);
    if (outcome.status != STATUS_OK) fail_msg("CreateKey: %s", outcome.message);
    return (Bora__V1__CreateKeyResponse *)outcome.reply;
}

static Bora__V1__CreateKeyResponse *create_plain(struct fixture *fixture) {
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    return create_ok(fixture, &request);
}

static struct outcome verify(struct fixture *fixture, const char *key) {
    Bora__V1__VerifyKeyRequest request = BORA__V1__VERIFY_KEY_REQUEST__INIT;
    request.key = (char *)key;
    return call(fixture, "VerifyKey", SERVICE_TOKEN, &request.base, &bora__v1__verify_key_response__descriptor);
}

static struct outcome revoke_id(struct fixture *fixture, const char *key_id) {
    Bora__V1__RevokeKeyRequest request = BORA__V1__REVOKE_KEY_REQUEST__INIT;
    request.key_id = (char *)key_id;
    return call(fixture, "RevokeKey", ADMIN_KEY, &request.base, &bora__v1__revoke_key_response__descriptor);
}

static struct outcome list(struct fixture *fixture, int limit, const char *after) {
    Bora__V1__ListKeysRequest request = BORA__V1__LIST_KEYS_REQUEST__INIT;
    if (limit != 0) request._limit_case = BORA__V1__LIST_KEYS_REQUEST___LIMIT_LIMIT, request.limit = limit;
    if (after != NULL) request._after_case = BORA__V1__LIST_KEYS_REQUEST___AFTER_AFTER, request.after = (char *)after;
    return call(fixture, "ListKeys", ADMIN_KEY, &request.base, &bora__v1__list_keys_response__descriptor);
}

static Bora__V1__ListKeysResponse *list_ok(struct fixture *fixture, int limit, const char *after) {
    struct outcome outcome = list(fixture, limit, after);
    if (outcome.status != STATUS_OK) fail_msg("ListKeys: %s", outcome.message);
    return (Bora__V1__ListKeysResponse *)outcome.reply;
}

/* --- the fixture ------------------------------------------------------------------------------------------------- */

static void write_file(const struct fixture *fixture, const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", fixture->folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "%s\n", text);
    fclose(file);
}

static void start_keys(struct fixture *fixture) {
    char hash_secret[128], admin[128], token[128], redis[160], line[512], target[64];
    snprintf(hash_secret, sizeof hash_secret, "--hash-secret-file=%s/hash-secret", fixture->folder);
    snprintf(admin, sizeof admin, "--admin-key-file=%s/admin-key", fixture->folder);
    snprintf(token, sizeof token, "--service-token-file=%s/service-token", fixture->folder);
    snprintf(redis, sizeof redis, "--redis=%s", fixture->redis.address);
    const char *const arguments[] = {program,
                                     "--listen=127.0.0.1:0",
                                     redis,
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
}

static int stop_keys(struct fixture *fixture) {
    rpc_channel_close(fixture->channel);
    return test_process_stop(&fixture->keys, SIGTERM, SECONDS);
}

static int setup(void **state) {
    struct fixture *fixture = calloc(1, sizeof *fixture);
    redis_server_create(&fixture->redis, NULL);
    snprintf(fixture->folder, sizeof fixture->folder, "/tmp/bora-test-keys-XXXXXX");
    if (mkdtemp(fixture->folder) == NULL) return -1;
    write_file(fixture, "admin-key", ADMIN_KEY);
    write_file(fixture, "service-token", SERVICE_TOKEN);
    arena_init(&fixture->arena, ARENA_BYTES);
    if (rpc_client_create(1, &fixture->client, NULL) != STATUS_OK) return -1;
    start_keys(fixture);
    *state = fixture;
    return 0;
}

static int teardown(void **state) {
    struct fixture *fixture = *state;
    int status = stop_keys(fixture);
    rpc_client_destroy(fixture->client);
    redis_server_destroy(&fixture->redis);
    arena_deinit(&fixture->arena);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", fixture->folder);
    int removed = system(command);
    free(fixture);
    if (status != 0) print_error("bora-keys ended with %d\n", status);
    return status != 0 || removed != 0;
}

static void restart_redis(struct fixture *fixture) {
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

/* --- what the issue asks of keys --------------------------------------------------------------------------------- */

static void test_key_is_shown_once_and_stored_hashed(void **state) {
    struct fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = create_plain(fixture);
    const char *key = created->key, *secret = key + 5 + 12 + 1;
    assert_int_equal(strlen(key), 61);
    assert_memory_equal(key + 5, created->info->key_id, 12);
    /* Lists show the id and four characters. */
    Bora__V1__ListKeysResponse *listed = list_ok(fixture, 0, NULL);
    assert_int_equal(listed->n_keys, 1);
    char hidden[64];
    snprintf(hidden, sizeof hidden, "bora_%s_...%s", created->info->key_id, key + 57);
    assert_string_equal(listed->keys[0]->hidden_key, hidden);
    assert_string_equal(created->info->hidden_key, hidden);
    /* Redis' disk holds the record, but neither the key nor its secret. The log names neither. */
    assert_true(redis_server_disk_contains(&fixture->redis, created->info->key_id));
    assert_false(redis_server_disk_contains(&fixture->redis, key));
    assert_false(redis_server_disk_contains(&fixture->redis, secret));
    assert_int_equal(verify(fixture, key).status, STATUS_OK);
    char *log = test_process_output(&fixture->keys);
    assert_non_null(strstr(log, created->info->key_id));
    assert_null(strstr(log, secret));
    assert_null(strstr(log, ADMIN_KEY));
    assert_null(strstr(log, SERVICE_TOKEN));
    free(log);
}

static void test_everything_given_comes_back(void **state) {
    struct fixture *fixture = *state;
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    request._name_case = BORA__V1__CREATE_KEY_REQUEST___NAME_NAME;
    request.name = (char *)"it's \"quoted\"; {braces} \xc3\xa9\xe2\x82\xac \xf0\x9f\x94\x91\r\n\t\x01\x7f";
    request._tenant_case = BORA__V1__CREATE_KEY_REQUEST___TENANT_TENANT;
    request.tenant = (char *)"acme \"1\"";
    int64_t now = clock_unix_ns(clock_system()) / NS_PER_S;
    request._expires_at_case = BORA__V1__CREATE_KEY_REQUEST___EXPIRES_AT_EXPIRES_AT;
    request.expires_at = now + 3600;
    Bora__V1__Limits all = BORA__V1__LIMITS__INIT, one = BORA__V1__LIMITS__INIT;
    all._requests_per_minute_case = BORA__V1__LIMITS___REQUESTS_PER_MINUTE_REQUESTS_PER_MINUTE;
    all.requests_per_minute = 0;
    one._tokens_per_minute_case = BORA__V1__LIMITS___TOKENS_PER_MINUTE_TOKENS_PER_MINUTE;
    one.tokens_per_minute = 1000000000000;
    Bora__V1__ModelLimits model = BORA__V1__MODEL_LIMITS__INIT, *models[] = {&model};
    model.model = (char *)"small:v1";
    model.limits = &one;
    request.limits = &all;
    request.model_limits = models;
    request.n_model_limits = 1;
    Bora__V1__CreateKeyResponse *created = create_ok(fixture, &request);
    Bora__V1__VerifyKeyResponse *verified = (Bora__V1__VerifyKeyResponse *)verify(fixture, created->key).reply;
    assert_non_null(verified);
    const Bora__V1__ApiKey *const infos[] = {created->info, list_ok(fixture, 0, NULL)->keys[0], verified->info};
    for (int i = 0; i < 3; i++) {
        const Bora__V1__ApiKey *info = infos[i];
        assert_string_equal(info->key_id, created->info->key_id);
        assert_string_equal(info->name, request.name);
        assert_string_equal(info->tenant, request.tenant);
        assert_in_range(info->created_at, now, now + SECONDS);
        assert_int_equal(info->expires_at, now + 3600);
        assert_int_equal(info->_revoked_at_case, BORA__V1__API_KEY___REVOKED_AT__NOT_SET);
        assert_int_equal(info->limits->_requests_per_minute_case,
                         BORA__V1__LIMITS___REQUESTS_PER_MINUTE_REQUESTS_PER_MINUTE);
        assert_int_equal(info->limits->requests_per_minute, 0);
        assert_int_equal(info->limits->_tokens_per_minute_case, BORA__V1__LIMITS___TOKENS_PER_MINUTE__NOT_SET);
        assert_int_equal(info->n_model_limits, 1);
        assert_string_equal(info->model_limits[0]->model, "small:v1");
        assert_int_equal(info->model_limits[0]->limits->tokens_per_minute, 1000000000000);
    }
}

static void test_defaults_are_the_id_and_the_services_limits(void **state) {
    struct fixture *fixture = *state;
    Bora__V1__ApiKey *info = create_plain(fixture)->info;
    assert_string_equal(info->name, "");
    assert_string_equal(info->tenant, info->key_id);
    assert_int_equal(info->_expires_at_case, BORA__V1__API_KEY___EXPIRES_AT__NOT_SET);
    assert_int_equal(info->limits->tokens_per_minute, 5000); /* --default-tokens-per-minute */
    assert_int_equal(info->limits->_requests_per_minute_case, BORA__V1__LIMITS___REQUESTS_PER_MINUTE__NOT_SET);
    /* Limits that are given, though empty, replace the defaults: unlimited. */
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    Bora__V1__Limits none = BORA__V1__LIMITS__INIT;
    request.limits = &none;
    info = create_ok(fixture, &request)->info;
    assert_int_equal(info->limits->_tokens_per_minute_case, BORA__V1__LIMITS___TOKENS_PER_MINUTE__NOT_SET);
}

static void test_only_the_admin_key_administers_and_only_the_token_verifies(void **state) {
    struct fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = create_plain(fixture);
    const char *const wrong[] = {NULL, "", SERVICE_TOKEN, created->key, ADMIN_KEY "x"};
    Bora__V1__CreateKeyRequest create_request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    Bora__V1__ListKeysRequest list_request = BORA__V1__LIST_KEYS_REQUEST__INIT;
    Bora__V1__RevokeKeyRequest revoke_request = BORA__V1__REVOKE_KEY_REQUEST__INIT;
    revoke_request.key_id = created->info->key_id;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct outcome outcome = create(fixture, wrong[i], &create_request);
        assert_int_equal(outcome.status, STATUS_UNAUTHENTICATED);
        assert_string_equal(outcome.detail->error->type, "authentication_error");
        assert_int_equal(
            call(fixture, "ListKeys", wrong[i], &list_request.base, &bora__v1__list_keys_response__descriptor).status,
            STATUS_UNAUTHENTICATED);
        assert_int_equal(
            call(fixture, "RevokeKey", wrong[i], &revoke_request.base, &bora__v1__revoke_key_response__descriptor)
                .status,
            STATUS_UNAUTHENTICATED);
    }
    Bora__V1__VerifyKeyRequest verify_request = BORA__V1__VERIFY_KEY_REQUEST__INIT;
    verify_request.key = created->key;
    const char *const wrong_tokens[] = {NULL, ADMIN_KEY, created->key};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(call(fixture, "VerifyKey", wrong_tokens[i], &verify_request.base,
                              &bora__v1__verify_key_response__descriptor)
                             .status,
                         STATUS_UNAUTHENTICATED);
    assert_int_equal(verify(fixture, created->key).status, STATUS_OK);
    assert_int_equal(list_ok(fixture, 0, NULL)->n_keys, 1);
}

static void test_revoked_key_is_refused_at_once_and_twice_is_once(void **state) {
    struct fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = create_plain(fixture), *other = create_plain(fixture);
    struct outcome first = revoke_id(fixture, created->info->key_id);
    assert_int_equal(first.status, STATUS_OK);
    struct outcome refused = verify(fixture, created->key);
    assert_int_equal(refused.status, STATUS_UNAUTHENTICATED);
    assert_string_equal(refused.message, "the key is revoked");
    int64_t revoked_at = ((Bora__V1__RevokeKeyResponse *)first.reply)->info->revoked_at;
    assert_true(revoked_at > 0);
    struct outcome second = revoke_id(fixture, created->info->key_id);
    assert_int_equal(second.status, STATUS_OK);
    assert_int_equal(((Bora__V1__RevokeKeyResponse *)second.reply)->info->revoked_at, revoked_at);
    assert_int_equal(list_ok(fixture, 0, NULL)->keys[0]->revoked_at, revoked_at);
    assert_int_equal(verify(fixture, other->key).status, STATUS_OK);
}

static void test_revoking_what_never_was_is_not_found(void **state) {
    struct fixture *fixture = *state;
    static const char *const ids[] = {"abcdefghijkl", "ABCDEFGHIJKL", "x", "} bora:keys {", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        assert_int_equal(revoke_id(fixture, ids[i]).status, STATUS_NOT_FOUND);
    assert_int_equal(list_ok(fixture, 0, NULL)->n_keys, 0);
    assert_int_equal(revoke_id(fixture, "").status, STATUS_INVALID_ARGUMENT);
}

static void test_changed_and_foreign_keys_do_not_verify(void **state) {
    struct fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = create_plain(fixture), *other = create_plain(fixture);
    char text[64];
    snprintf(text, sizeof text, "%s", created->key);
    text[60] = text[60] == 'a' ? 'b' : 'a';
    assert_int_equal(verify(fixture, text).status, STATUS_UNAUTHENTICATED);
    memcpy(text, created->key, 18); /* this id, the other's secret */
    memcpy(text + 18, other->key + 18, 44);
    struct outcome mixed = verify(fixture, text);
    assert_int_equal(mixed.status, STATUS_UNAUTHENTICATED);
    assert_string_equal(mixed.detail->error->message, "the key is not valid");
    assert_int_equal(verify(fixture, "bora_abcdefghijkl_0123456789012345678901234567890123456789abc").status,
                     STATUS_UNAUTHENTICATED);
    assert_int_equal(verify(fixture, "sk-something").status, STATUS_UNAUTHENTICATED);
    assert_int_equal(verify(fixture, created->info->key_id).status, STATUS_UNAUTHENTICATED);
}

static void test_expired_key_is_refused(void **state) {
    struct fixture *fixture = *state;
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    request._expires_at_case = BORA__V1__CREATE_KEY_REQUEST___EXPIRES_AT_EXPIRES_AT;
    request.expires_at = clock_unix_ns(clock_system()) / NS_PER_S + 2;
    Bora__V1__CreateKeyResponse *created = create_ok(fixture, &request);
    struct outcome outcome = verify(fixture, created->key);
    if (outcome.status == STATUS_OK) { /* or this machine was very slow */
        while (clock_unix_ns(clock_system()) / NS_PER_S < request.expires_at)
            nanosleep(&(struct timespec){.tv_nsec = 20 * NS_PER_MS}, NULL);
        outcome = verify(fixture, created->key);
    }
    assert_int_equal(outcome.status, STATUS_UNAUTHENTICATED);
    assert_string_equal(outcome.message, "the key has expired");
}

static void test_pages_go_from_the_oldest_to_the_newest(void **state) {
    struct fixture *fixture = *state;
    enum { KEYS = 7 };
    const char *ids[KEYS];
    for (int i = 0; i < KEYS; i++) ids[i] = create_plain(fixture)->info->key_id;
    const char *after = NULL;
    int seen = 0;
    for (int page = 0; page < 3; page++) {
        Bora__V1__ListKeysResponse *listed = list_ok(fixture, 3, after);
        assert_int_equal(listed->n_keys, page < 2 ? 3 : 1);
        assert_int_equal(listed->has_more, page < 2);
        for (size_t i = 0; i < listed->n_keys; i++) assert_string_equal(listed->keys[i]->key_id, ids[seen++]);
        after = listed->keys[listed->n_keys - 1]->key_id;
    }
    Bora__V1__ListKeysResponse *end = list_ok(fixture, 3, after);
    assert_int_equal(end->n_keys, 0);
    assert_false(end->has_more);
    assert_int_equal(list_ok(fixture, 7, NULL)->has_more, 0);
    struct outcome unknown = list(fixture, 3, "nosuchkey000");
    assert_int_equal(unknown.status, STATUS_INVALID_ARGUMENT);
    assert_string_equal(unknown.detail->validation->detail[0]->loc[1]->name, "after");
}

/* --- wrong requests ---------------------------------------------------------------------------------------------- */

static void assert_refused_at(const struct outcome *outcome, const char *type, const char *field, int64_t index,
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
    struct fixture *fixture = *state;
    static char long_name[300], long_tenant[70];
    memset(long_name, 'n', 256);
    memset(long_tenant, 't', 65);
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    request._name_case = BORA__V1__CREATE_KEY_REQUEST___NAME_NAME;
    request.name = long_name;
    struct outcome outcome = create(fixture, ADMIN_KEY, &request);
    assert_refused_at(&outcome, "string_too_long", "name", -1, NULL);

    bora__v1__create_key_request__init(&request);
    request._tenant_case = BORA__V1__CREATE_KEY_REQUEST___TENANT_TENANT;
    request.tenant = long_tenant;
    outcome = create(fixture, ADMIN_KEY, &request);
    assert_refused_at(&outcome, "string_too_long", "tenant", -1, NULL);

    bora__v1__create_key_request__init(&request);
    request._expires_at_case = BORA__V1__CREATE_KEY_REQUEST___EXPIRES_AT_EXPIRES_AT;
    request.expires_at = 1000;
    outcome = create(fixture, ADMIN_KEY, &request);
    assert_refused_at(&outcome, "value_error", "expires_at", -1, NULL);

    bora__v1__create_key_request__init(&request);
    Bora__V1__Limits limits = BORA__V1__LIMITS__INIT, empty = BORA__V1__LIMITS__INIT;
    limits._requests_per_minute_case = BORA__V1__LIMITS___REQUESTS_PER_MINUTE_REQUESTS_PER_MINUTE;
    limits.requests_per_minute = -1;
    request.limits = &limits;
    outcome = create(fixture, ADMIN_KEY, &request);
    assert_refused_at(&outcome, "greater_than_equal", "limits", -1, "requests_per_minute");

    bora__v1__create_key_request__init(&request);
    limits.requests_per_minute = 5;
    Bora__V1__ModelLimits a = BORA__V1__MODEL_LIMITS__INIT, b = BORA__V1__MODEL_LIMITS__INIT, *models[] = {&a, &b};
    a.model = b.model = (char *)"small";
    a.limits = b.limits = &limits;
    request.model_limits = models;
    request.n_model_limits = 2;
    outcome = create(fixture, ADMIN_KEY, &request);
    assert_refused_at(&outcome, "value_error", "model_limits", 1, NULL);
    b.model = (char *)"large";
    b.limits = &empty;
    outcome = create(fixture, ADMIN_KEY, &request);
    assert_refused_at(&outcome, "value_error", "model_limits", 1, NULL);
    b.limits = NULL;
    outcome = create(fixture, ADMIN_KEY, &request);
    assert_refused_at(&outcome, "missing", "model_limits", 1, "limits");

    Bora__V1__ListKeysResponse *listed = list_ok(fixture, 0, NULL);
    assert_int_equal(listed->n_keys, 0); /* none of these made a key */
    assert_int_equal(list(fixture, 1001, NULL).status, STATUS_INVALID_ARGUMENT);
    assert_int_equal(list(fixture, -1, NULL).status, STATUS_INVALID_ARGUMENT);
}

static void test_malformed_messages_are_invalid_argument(void **state) {
    struct fixture *fixture = *state;
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
            call_bytes(fixture, "CreateKey", ADMIN_KEY, view, &bora__v1__create_key_response__descriptor).status,
            STATUS_INVALID_ARGUMENT);
    }
    static uint8_t large[300 * 1024];
    struct outcome outcome = call_bytes(fixture, "CreateKey", ADMIN_KEY, bytes_view_of(large, sizeof large),
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
    struct fixture *fixture = *state;
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

/* --- faults ------------------------------------------------------------------------------------------------------ */

static bool health_is_serving(struct fixture *fixture) {
    struct bytes reply;
    bytes_init(&reply, 64);
    struct error err = {0};
    assert_int_equal(rpc_client_unary(fixture->channel, "/grpc.health.v1.Health/Check", NULL, (struct bytes_view){0},
                                      SECONDS * NS_PER_S, &reply, &err),
                     STATUS_OK);
    bool serving = reply.length == 2 && reply.data[0] == 8 && reply.data[1] == 1;
    bytes_deinit(&reply);
    return serving;
}

static void wait_for_health(struct fixture *fixture, bool serving) {
    int64_t until = clock_monotonic_ns(clock_system()) + SECONDS * NS_PER_S;
    while (health_is_serving(fixture) != serving) assert_true(clock_monotonic_ns(clock_system()) < until);
}

static void test_without_redis_calls_fail_quickly_and_it_recovers_by_itself(void **state) {
    struct fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = create_plain(fixture);
    wait_for_health(fixture, true);
    redis_server_kill(&fixture->redis);
    wait_for_health(fixture, false);
    int64_t before = clock_monotonic_ns(clock_system());
    struct outcome outcome = verify(fixture, created->key);
    assert_int_equal(outcome.status, STATUS_UNAVAILABLE);
    assert_string_equal(outcome.detail->error->type, "server_error");
    assert_int_equal(list(fixture, 0, NULL).status, STATUS_UNAVAILABLE);
    assert_true(clock_monotonic_ns(clock_system()) - before < 5 * NS_PER_S);
    redis_server_start(&fixture->redis);
    wait_for_health(fixture, true);
    assert_int_equal(verify(fixture, created->key).status, STATUS_OK);
}

static void test_hung_redis_is_unavailable_not_a_hang(void **state) {
    struct fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = create_plain(fixture);
    redis_server_freeze(&fixture->redis);
    assert_int_equal(verify(fixture, created->key).status, STATUS_UNAVAILABLE); /* after --redis-timeout, 1 s */
    wait_for_health(fixture, false);
    redis_server_thaw(&fixture->redis);
    wait_for_health(fixture, true);
    assert_int_equal(verify(fixture, created->key).status, STATUS_OK);
}

/** The whole answer to GET `path` on the status page; lent until the next call. */
static const char *get(const struct fixture *fixture, const char *path) {
    static char answer[65536];
    char request[128];
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)fixture->metrics_port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0),
        length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(write(fd, request, (size_t)length), length);
    size_t received = 0;
    for (ssize_t got;
         received < sizeof answer - 1 && (got = read(fd, answer + received, sizeof answer - 1 - received)) > 0;)
        received += (size_t)got;
    answer[received] = 0;
    close(fd);
    return answer;
}

static void test_status_page_tells_readiness_and_metrics(void **state) {
    struct fixture *fixture = *state;
    create_plain(fixture);
    assert_non_null(strstr(get(fixture, "/healthz"), "200 OK"));
    assert_non_null(strstr(get(fixture, "/readyz"), "200 OK"));
    const char *metrics = get(fixture, "/metrics");
    assert_non_null(strstr(metrics, "bora_keys_requests_total{method=\"CreateKey\",status=\"OK\"} 1\n"));
    assert_non_null(strstr(metrics, "bora_keys_ready 1\n"));
    assert_non_null(strstr(get(fixture, "/keys"), "404 Not Found"));
    redis_server_kill(&fixture->redis);
    wait_for_health(fixture, false);
    assert_non_null(strstr(get(fixture, "/healthz"), "200 OK"));
    const char *readiness = get(fixture, "/readyz");
    assert_non_null(strstr(readiness, "503"));
    assert_non_null(strstr(readiness, "the key store cannot be reached"));
    redis_server_start(&fixture->redis);
    wait_for_health(fixture, true);
}

struct creating {
    struct fixture *fixture;
    atomic_bool stop;
    pthread_mutex_t mutex;
    int count;
    char keys[4000][64];
};

static void *create_many(void *context) {
    struct creating *creating = context;
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    struct bytes packed, reply;
    bytes_init(&packed, 64);
    bytes_init(&reply, 1 << 16);
    const char *const metadata[] = {"authorization", "Bearer " ADMIN_KEY, NULL};
    (void)!protobuf_pack(&request.base, &packed);
    while (!atomic_load(&creating->stop)) {
        bytes_reset(&reply);
        struct error err = {0};
        if (rpc_client_unary(creating->fixture->channel, "/bora.v1.KeyService/CreateKey", metadata, bytes_view(&packed),
                             SECONDS * NS_PER_S, &reply, &err) != STATUS_OK)
            continue;
        struct arena arena;
        arena_init(&arena, 1 << 16);
        ProtobufCMessage *message = NULL;
        if (protobuf_unpack(&bora__v1__create_key_response__descriptor, bytes_view(&reply), &arena, &message, NULL) ==
            STATUS_OK) {
            pthread_mutex_lock(&creating->mutex);
            if (creating->count < 4000)
                snprintf(creating->keys[creating->count++], 64, "%s", ((Bora__V1__CreateKeyResponse *)message)->key);
            pthread_mutex_unlock(&creating->mutex);
        }
        arena_deinit(&arena);
    }
    bytes_deinit(&packed);
    bytes_deinit(&reply);
    return NULL;
}

static void test_no_acknowledged_key_is_lost_when_redis_is_killed(void **state) {
    struct fixture *fixture = *state;
    static struct creating creating;
    creating.fixture = fixture;
    pthread_mutex_init(&creating.mutex, NULL);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, create_many, &creating), 0);
    for (int i = 0; i < 3; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 200 * NS_PER_MS}, NULL);
        restart_redis(fixture); /* kill -9 in the middle of it all */
    }
    atomic_store(&creating.stop, true);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    print_message("%d keys acknowledged over three kills\n", creating.count);
    assert_true(creating.count > 0);
    for (int i = 0; i < creating.count; i++) assert_int_equal(verify(fixture, creating.keys[i]).status, STATUS_OK);
    /* And each is listed once. */
    int listed = 0;
    bool more = true;
    for (const char *after = NULL; more;) {
        Bora__V1__ListKeysResponse *page = list_ok(fixture, 1000, after);
        listed += (int)page->n_keys;
        more = page->has_more;
        if (more) after = page->keys[page->n_keys - 1]->key_id;
    }
    assert_true(listed >= creating.count); /* more, if an acknowledgement was lost on its way */
}

static void test_keys_and_revocations_survive_a_restart_of_everything(void **state) {
    struct fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *kept = create_plain(fixture), *revoked = create_plain(fixture);
    assert_int_equal(revoke_id(fixture, revoked->info->key_id).status, STATUS_OK);
    rpc_channel_close(fixture->channel);
    test_process_stop(&fixture->keys, SIGKILL, SECONDS);
    redis_server_kill(&fixture->redis);
    redis_server_start(&fixture->redis);
    start_keys(fixture);
    assert_int_equal(verify(fixture, kept->key).status, STATUS_OK);
    assert_int_equal(verify(fixture, revoked->key).status, STATUS_UNAUTHENTICATED);
}

static void test_another_hash_secret_is_refused_loudly(void **state) {
    struct fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = create_plain(fixture);
    assert_int_equal(stop_keys(fixture), 0);
    char command[200], line[64];
    snprintf(command, sizeof command, "mv %s/hash-secret %s/right-secret", fixture->folder, fixture->folder);
    assert_int_equal(system(command), 0);
    write_file(fixture, "hash-secret", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    /* start_keys waits for "ready", which must not come: start it by hand. */
    char hash_secret[128], admin[128], token[128], redis[160];
    snprintf(hash_secret, sizeof hash_secret, "--hash-secret-file=%s/hash-secret", fixture->folder);
    snprintf(admin, sizeof admin, "--admin-key-file=%s/admin-key", fixture->folder);
    snprintf(token, sizeof token, "--service-token-file=%s/service-token", fixture->folder);
    snprintf(redis, sizeof redis, "--redis=%s", fixture->redis.address);
    const char *const arguments[] = {program, "--listen=127.0.0.1:0", redis, hash_secret, admin, token, NULL};
    struct test_process wrong;
    test_process_start(&wrong, arguments);
    assert_true(test_process_wait_for(&wrong, "another hash secret", SECONDS, line, sizeof line));
    char *output = test_process_output(&wrong);
    assert_null(strstr(output, "\"event\":\"ready\""));
    free(output);
    assert_int_equal(test_process_stop(&wrong, SIGTERM, SECONDS), 0);
    snprintf(command, sizeof command, "mv %s/right-secret %s/hash-secret", fixture->folder, fixture->folder);
    assert_int_equal(system(command), 0);
    start_keys(fixture);
    assert_int_equal(verify(fixture, created->key).status, STATUS_OK);
}

static void test_sigterm_lets_running_calls_end(void **state) {
    struct fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = create_plain(fixture);
    struct waiting waiting = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                              .changed = PTHREAD_COND_INITIALIZER,
                              .fixture = fixture,
                              .descriptor = &bora__v1__verify_key_response__descriptor};
    Bora__V1__VerifyKeyRequest request = BORA__V1__VERIFY_KEY_REQUEST__INIT;
    request.key = created->key;
    struct bytes packed;
    bytes_init(&packed, 1024);
    assert_int_equal(protobuf_pack(&request.base, &packed), STATUS_OK);
    const char *const metadata[] = {"authorization", "Bearer " SERVICE_TOKEN, NULL};
    redis_server_freeze(&fixture->redis);
    assert_int_equal(rpc_client_unary_async(fixture->channel, "/bora.v1.KeyService/VerifyKey", metadata,
                                            bytes_view(&packed), SECONDS * NS_PER_S, on_done, &waiting, NULL),
                     STATUS_OK);
    bytes_deinit(&packed);
    nanosleep(&(struct timespec){.tv_nsec = 100 * NS_PER_MS}, NULL); /* the call is on its way to Redis */
    kill(fixture->keys.pid, SIGTERM);
    assert_true(test_process_wait_for(&fixture->keys, "\"event\":\"stopping\"", SECONDS, NULL, 0));
    redis_server_thaw(&fixture->redis);
    pthread_mutex_lock(&waiting.mutex);
    while (!waiting.done) pthread_cond_wait(&waiting.changed, &waiting.mutex);
    pthread_mutex_unlock(&waiting.mutex);
    assert_int_equal(waiting.outcome.status, STATUS_OK);
    assert_int_equal(test_process_wait(&fixture->keys, SECONDS), 0);
    unlink(fixture->keys.output);
    rpc_channel_close(fixture->channel);
    start_keys(fixture);
}

static void test_wrong_settings_end_with_one_clear_line(void **state) {
    struct fixture *fixture = *state;
    char taken[64], redis[160], secret[128];
    snprintf(redis, sizeof redis, "--redis=%s", fixture->redis.address);
    snprintf(secret, sizeof secret, "--hash-secret-file=%s/hash-secret", fixture->folder);
    snprintf(taken, sizeof taken, "--listen=nowhere");
    const struct {
        const char *arguments[8];
        const char *says;
        int exit;
    } cases[] = {
        {{program, redis, NULL}, "hash-secret-file", 1},
        {{program, redis, secret, NULL}, "admin-key", 1},
        {{program, redis, secret, "--admin-key=short", NULL}, "admin-key is shorter", 1},
        {{program, "--redis=nothing", secret, "--admin-key=" ADMIN_KEY, "--service-token=" SERVICE_TOKEN,
          "--listen=127.0.0.1:0", NULL},
         "nothing",
         1},
        {{program, "--liste=1", NULL}, "listen", 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct test_process process;
        test_process_start(&process, cases[i].arguments);
        assert_true(test_process_wait_for(&process, cases[i].says, SECONDS, NULL, 0));
        assert_int_equal(test_process_wait(&process, SECONDS), cases[i].exit);
        test_process_stop(&process, SIGTERM, 1);
    }
}

static void test_redis_that_never_was_is_named(void **state) {
    struct fixture *fixture = *state;
    char secret[128];
    snprintf(secret, sizeof secret, "--hash-secret-file=%s/hash-secret", fixture->folder);
    const char *const arguments[] = {program, "--listen=127.0.0.1:0",   "--redis=unix:/tmp/bora-no-such-socket",
                                     secret,  "--admin-key=" ADMIN_KEY, "--service-token=" SERVICE_TOKEN,
                                     NULL};
    struct test_process process;
    char line[512];
    test_process_start(&process, arguments);
    assert_true(test_process_wait_for(&process, "not ready yet", SECONDS, line, sizeof line));
    assert_non_null(strstr(line, "unix:/tmp/bora-no-such-socket"));
    assert_non_null(strstr(line, "No such file or directory"));
    assert_int_equal(test_process_stop(&process, SIGTERM, SECONDS), 0);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s BORA_KEYS_PROGRAM\n", argv[0]);
        return 2;
    }
    program = argv[1];
#define KEYS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        KEYS_TEST(test_key_is_shown_once_and_stored_hashed),
        KEYS_TEST(test_everything_given_comes_back),
        KEYS_TEST(test_defaults_are_the_id_and_the_services_limits),
        KEYS_TEST(test_only_the_admin_key_administers_and_only_the_token_verifies),
        KEYS_TEST(test_revoked_key_is_refused_at_once_and_twice_is_once),
        KEYS_TEST(test_revoking_what_never_was_is_not_found),
        KEYS_TEST(test_changed_and_foreign_keys_do_not_verify),
        KEYS_TEST(test_expired_key_is_refused),
        KEYS_TEST(test_pages_go_from_the_oldest_to_the_newest),
        KEYS_TEST(test_fields_out_of_range_are_named_with_their_path),
        KEYS_TEST(test_malformed_messages_are_invalid_argument),
        KEYS_TEST(test_call_without_a_message_is_answered),
        KEYS_TEST(test_without_redis_calls_fail_quickly_and_it_recovers_by_itself),
        KEYS_TEST(test_hung_redis_is_unavailable_not_a_hang),
        KEYS_TEST(test_status_page_tells_readiness_and_metrics),
        KEYS_TEST(test_no_acknowledged_key_is_lost_when_redis_is_killed),
        KEYS_TEST(test_keys_and_revocations_survive_a_restart_of_everything),
        KEYS_TEST(test_another_hash_secret_is_refused_loudly),
        KEYS_TEST(test_sigterm_lets_running_calls_end),
        KEYS_TEST(test_wrong_settings_end_with_one_clear_line),
        KEYS_TEST(test_redis_that_never_was_is_named),
    };
    return cmocka_run_group_tests_name("services/keys_service", tests, NULL, NULL);
}
