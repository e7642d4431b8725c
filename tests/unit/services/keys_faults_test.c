/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Keeps bora-keys its promises when Redis dies or hangs, when it is killed or wrongly set up? argv[1] is the program. */
#include "tests/unit/services/keys_fixture.h"

#include "base/clock.h"
#include "rpc/transcode.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static bool health_is_serving(struct keys_fixture *fixture) {
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

static void wait_for_health(struct keys_fixture *fixture, bool serving) {
    int64_t until = clock_monotonic_ns(clock_system()) + SECONDS * NS_PER_S;
    while (health_is_serving(fixture) != serving) assert_true(clock_monotonic_ns(clock_system()) < until);
}

static void test_without_redis_calls_fail_quickly_and_it_recovers_by_itself(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    wait_for_health(fixture, true);
    redis_server_kill(&fixture->redis);
    wait_for_health(fixture, false);
    int64_t before = clock_monotonic_ns(clock_system());
    struct keys_outcome outcome = keys_verify(fixture, created->key);
    assert_int_equal(outcome.status, STATUS_UNAVAILABLE);
    assert_string_equal(outcome.detail->error->type, "server_error");
    assert_int_equal(keys_list(fixture, 0, NULL).status, STATUS_UNAVAILABLE);
    assert_true(clock_monotonic_ns(clock_system()) - before < 5 * NS_PER_S);
    redis_server_start(&fixture->redis);
    wait_for_health(fixture, true);
    assert_int_equal(keys_verify(fixture, created->key).status, STATUS_OK);
}

static void test_hung_redis_is_unavailable_not_a_hang(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    redis_server_freeze(&fixture->redis);
    assert_int_equal(keys_verify(fixture, created->key).status, STATUS_UNAVAILABLE); /* after --redis-timeout, 1 s */
    wait_for_health(fixture, false);
    redis_server_thaw(&fixture->redis);
    wait_for_health(fixture, true);
    assert_int_equal(keys_verify(fixture, created->key).status, STATUS_OK);
}

/** The whole answer to GET `path` on the status page; lent until the next call. */
static const char *get(const struct keys_fixture *fixture, const char *path) {
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
    struct keys_fixture *fixture = *state;
    keys_create_plain(fixture);
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
    struct keys_fixture *fixture;
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
    struct keys_fixture *fixture = *state;
    static struct creating creating;
    creating.fixture = fixture;
    pthread_mutex_init(&creating.mutex, NULL);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, create_many, &creating), 0);
    for (int i = 0; i < 3; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 200 * NS_PER_MS}, NULL);
        keys_restart_redis(fixture); /* kill -9 in the middle of it all */
    }
    atomic_store(&creating.stop, true);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    print_message("%d keys acknowledged over three kills\n", creating.count);
    assert_true(creating.count > 0);
    for (int i = 0; i < creating.count; i++) assert_int_equal(keys_verify(fixture, creating.keys[i]).status, STATUS_OK);
    /* And each is listed once. */
    int listed = 0;
    bool more = true;
    for (const char *after = NULL; more;) {
        Bora__V1__ListKeysResponse *page = keys_list_ok(fixture, 1000, after);
        listed += (int)page->n_keys;
        more = page->has_more;
        if (more) after = page->keys[page->n_keys - 1]->key_id;
    }
    assert_true(listed >= creating.count); /* more, if an acknowledgement was lost on its way */
}

static void test_keys_and_revocations_survive_a_restart_of_everything(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *kept = keys_create_plain(fixture), *revoked = keys_create_plain(fixture);
    assert_int_equal(keys_revoke(fixture, revoked->info->key_id).status, STATUS_OK);
    rpc_channel_close(fixture->channel);
    test_process_stop(&fixture->keys, SIGKILL, SECONDS);
    redis_server_kill(&fixture->redis);
    redis_server_start(&fixture->redis);
    keys_start(fixture);
    assert_int_equal(keys_verify(fixture, kept->key).status, STATUS_OK);
    assert_int_equal(keys_verify(fixture, revoked->key).status, STATUS_UNAUTHENTICATED);
}

static void test_another_hash_secret_is_refused_loudly(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    assert_int_equal(keys_stop(fixture), 0);
    char command[200], line[64];
    snprintf(command, sizeof command, "mv %s/hash-secret %s/right-secret", fixture->folder, fixture->folder);
    assert_int_equal(system(command), 0);
    keys_write_file(fixture, "hash-secret", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    /* start_keys waits for "ready", which must not come: start it by hand. */
    char hash_secret[128], admin[128], token[128], redis[160];
    snprintf(hash_secret, sizeof hash_secret, "--hash-secret-file=%s/hash-secret", fixture->folder);
    snprintf(admin, sizeof admin, "--admin-key-file=%s/admin-key", fixture->folder);
    snprintf(token, sizeof token, "--service-token-file=%s/service-token", fixture->folder);
    snprintf(redis, sizeof redis, "--redis=%s", fixture->redis.address);
    const char *const arguments[] = {keys_program, "--listen=127.0.0.1:0", redis, hash_secret, admin, token, NULL};
    struct test_process wrong;
    test_process_start(&wrong, arguments);
    assert_true(test_process_wait_for(&wrong, "another hash secret", SECONDS, line, sizeof line));
    char *output = test_process_output(&wrong);
    assert_null(strstr(output, "\"event\":\"ready\""));
    free(output);
    assert_int_equal(test_process_stop(&wrong, SIGTERM, SECONDS), 0);
    snprintf(command, sizeof command, "mv %s/right-secret %s/hash-secret", fixture->folder, fixture->folder);
    assert_int_equal(system(command), 0);
    keys_start(fixture);
    assert_int_equal(keys_verify(fixture, created->key).status, STATUS_OK);
}

static void test_sigterm_lets_running_calls_end(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    struct keys_waiting waiting = {.mutex = PTHREAD_MUTEX_INITIALIZER,
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
                                            bytes_view(&packed), SECONDS * NS_PER_S, keys_waiting_done, &waiting, NULL),
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
    keys_start(fixture);
}

static void test_wrong_settings_end_with_one_clear_line(void **state) {
    struct keys_fixture *fixture = *state;
    char taken[64], redis[160], secret[128];
    snprintf(redis, sizeof redis, "--redis=%s", fixture->redis.address);
    snprintf(secret, sizeof secret, "--hash-secret-file=%s/hash-secret", fixture->folder);
    snprintf(taken, sizeof taken, "--listen=nowhere");
    const struct {
        const char *arguments[8];
        const char *says;
        int exit;
    } cases[] = {
        {{keys_program, redis, NULL}, "hash-secret-file", 1},
        {{keys_program, redis, secret, NULL}, "admin-key", 1},
        {{keys_program, redis, secret, "--admin-key=short", NULL}, "admin-key is shorter", 1},
        {{keys_program, "--redis=nothing", secret, "--admin-key=" ADMIN_KEY, "--service-token=" SERVICE_TOKEN,
          "--listen=127.0.0.1:0", NULL},
         "nothing",
         1},
        {{keys_program, "--liste=1", NULL}, "listen", 2},
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
    struct keys_fixture *fixture = *state;
    char secret[128];
    snprintf(secret, sizeof secret, "--hash-secret-file=%s/hash-secret", fixture->folder);
    const char *const arguments[] = {keys_program, "--listen=127.0.0.1:0",   "--redis=unix:/tmp/bora-no-such-socket",
                                     secret,       "--admin-key=" ADMIN_KEY, "--service-token=" SERVICE_TOKEN,
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
    keys_program = argv[1];
    keys_redis_timeout = "1s";
    const struct CMUnitTest tests[] = {
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
    return cmocka_run_group_tests_name("services/keys_faults", tests, NULL, NULL);
}
