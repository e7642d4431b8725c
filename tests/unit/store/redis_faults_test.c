/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What a client does when its server is killed, hangs, or is not there. */
#include "tests/unit/store/redis_fixture.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static int64_t now_ns(void) {
    return clock_monotonic_ns(clock_system());
}

static void wait_until_disconnected(const struct redis_client *client) {
    int64_t until = now_ns() + CONNECT_NS;
    while (redis_client_connected(client)) {
        assert_true(now_ns() < until);
        nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
    }
}

static struct redis_client *connect_client(const struct redis_options *options) {
    struct redis_client *client = NULL;
    struct error err = {0};
    if (create_client(options, &client, &err) != STATUS_OK || redis_client_wait(client, CONNECT_NS, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return client;
}

static void test_killed_server_fails_pending_and_comes_back(void **state) {
    struct redis_fixture *fixture = *state;
    struct tally tally = TALLY_INIT;
    redis_server_freeze(&fixture->server); /* so that the commands are pending for sure */
    for (int i = 0; i < 50; i++) redis_commandf(fixture->client, tally_count, &tally, "INCR counter");
    redis_server_kill(&fixture->server);
    tally_wait(&tally, 50);
    assert_int_equal(tally.by_status[STATUS_UNAVAILABLE], 50);
    assert_non_null(strstr(tally.message, "Redis cannot be reached: "));

    redis_server_start(&fixture->server);
    int64_t started_ns = now_ns();
    assert_int_equal(redis_client_wait(fixture->client, CONNECT_NS, NULL), STATUS_OK);
    assert_true(now_ns() - started_ns < 5 * NS_PER_S); /* the wait is at most 1 s; the rest is a crowded machine */
    /* Nothing was sent again: what the dead server had not run never happened. */
    assert_int_equal(call_integer(fixture->client, "EXISTS %s", "counter"), 0);
}

static void test_without_a_connection_commands_fail_at_once(void **state) {
    struct redis_fixture *fixture = *state;
    redis_server_kill(&fixture->server);
    wait_until_disconnected(fixture->client);
    struct tally tally = TALLY_INIT;
    int64_t before = now_ns();
    for (int i = 0; i < 1000; i++) redis_commandf(fixture->client, tally_count, &tally, "INCR counter");
    assert_int_equal(tally.total, 1000); /* called back already */
    assert_int_equal(tally.by_status[STATUS_UNAVAILABLE], 1000);
    assert_true(now_ns() - before < PATIENT_NS / 2);
    redis_server_start(&fixture->server);
    assert_int_equal(redis_client_wait(fixture->client, CONNECT_NS, NULL), STATUS_OK);
    assert_int_equal(call_integer(fixture->client, "EXISTS %s", "counter"), 0); /* nothing was kept for later */
}

static void test_acknowledged_writes_survive_kill_9(void **state) {
    struct redis_fixture *fixture = *state;
    for (int i = 0; i < 100; i++)
        assert_int_equal(redis_callf(fixture->client, NULL, NULL, "RPUSH list %lld", (long long)i), STATUS_OK);
    redis_server_kill(&fixture->server);
    wait_until_disconnected(fixture->client);
    redis_server_start(&fixture->server);
    assert_int_equal(redis_client_wait(fixture->client, CONNECT_NS, NULL), STATUS_OK);
    assert_int_equal(call_integer(fixture->client, "LLEN %s", "list"), 100);
}

static void test_scripts_work_after_a_restart(void **state) {
    struct redis_fixture *fixture = *state;
    struct redis_script script;
    redis_script_init(&script, "return redis.call('INCR', KEYS[1])");
    struct bytes_view key = bytes_view_string("runs");
    assert_int_equal(redis_script_call(fixture->client, &script, &key, 1, NULL, 0, NULL, NULL), STATUS_OK);
    redis_server_kill(&fixture->server);
    wait_until_disconnected(fixture->client);
    redis_server_start(&fixture->server);
    assert_int_equal(redis_client_wait(fixture->client, CONNECT_NS, NULL), STATUS_OK);
    struct redis_reply *reply = NULL;
    assert_int_equal(redis_script_call(fixture->client, &script, &key, 1, NULL, 0, &reply, NULL), STATUS_OK);
    assert_int_equal(reply->integer, 2);
    redis_reply_free(reply);
}

static void test_hung_server_is_a_timeout_then_dropped_then_found_again(void **state) {
    struct redis_fixture *fixture = *state;
    struct redis_options options = {.address = fixture->server.address, .timeout_ns = 300 * NS_PER_MS};
    struct redis_client *client = connect_client(&options);
    struct tally tally = TALLY_INIT;
    redis_server_freeze(&fixture->server);
    int64_t before = now_ns();
    redis_commandf(client, tally_count, &tally, "INCR late");
    tally_wait(&tally, 1);
    assert_int_equal(tally.by_status[STATUS_DEADLINE_EXCEEDED], 1);
    assert_true(now_ns() - before >= 300 * NS_PER_MS);
    wait_until_disconnected(client);
    /* A frozen server still accepts connections; only an answer counts. */
    struct error err = {0};
    assert_int_equal(redis_client_wait(client, 200 * NS_PER_MS, &err), STATUS_UNAVAILABLE);
    redis_server_thaw(&fixture->server);
    assert_int_equal(redis_client_wait(client, CONNECT_NS, NULL), STATUS_OK);
    assert_int_equal(tally.total, 1);
    redis_client_destroy(client);
}

static void test_slow_server_that_answers_is_kept(void **state) {
    struct redis_fixture *fixture = *state;
    struct redis_options options = {.address = fixture->server.address, .timeout_ns = NS_PER_S};
    struct redis_client *client = connect_client(&options);
    /* The first command takes most of the time-out, the second the rest and more: it is late though the server is alive. (Sent together they would
     * be answered together.) */
    struct bytes_view busy =
        bytes_view_string("local t = redis.call('TIME') local s = t[1] * 1000000 + t[2] "
                          "repeat t = redis.call('TIME') until t[1] * 1000000 + t[2] - s > 700000 return 1");
    struct tally tally = TALLY_INIT;
    redis_commandf(client, tally_count, &tally, "EVAL %b 0", &busy);
    nanosleep(&(struct timespec){.tv_nsec = 100 * NS_PER_MS}, NULL);
    redis_commandf(client, tally_count, &tally, "EVAL %b 0", &busy);
    tally_wait(&tally, 2);
    assert_int_equal(tally.by_status[STATUS_OK], 1);
    assert_int_equal(tally.by_status[STATUS_DEADLINE_EXCEEDED], 1);
    assert_true(redis_client_connected(client));
    assert_int_equal(redis_callf(client, NULL, NULL, "PING"), STATUS_OK); /* the late reply went to nobody */
    redis_client_destroy(client);
}

static void test_server_that_accepts_and_says_nothing_is_not_connected(void **state) {
    (void)state;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;
    assert_int_equal(bind(listener, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&name, &length), 0);
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(name.sin_port));
    struct redis_options options = {.address = address, .timeout_ns = 100 * NS_PER_MS};
    struct redis_client *client = NULL;
    struct error err = {0};
    assert_int_equal(create_client(&options, &client, NULL), STATUS_OK);
    assert_int_equal(redis_client_wait(client, 1500 * NS_PER_MS, &err), STATUS_UNAVAILABLE);
    assert_non_null(strstr(err.message, "no answer to PING"));
    redis_client_destroy(client);
    close(listener);
}

static void nap_in_callback(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    nanosleep(&(struct timespec){.tv_nsec = 200 * NS_PER_MS}, NULL);
    tally_count(context, status, reply, message);
}

/** Reads until `word` came. */
static void expect_word(int fd, const char *word) {
    char text[512] = "";
    size_t length = 0;
    while (strstr(text, word) == NULL) {
        ssize_t got = read(fd, text + length, sizeof text - 1 - length);
        assert_true(got > 0);
        length += (size_t)got;
        text[length] = 0;
    }
}

/** While the client's thread is in a callback a reply comes, and the end right behind it: one event tells of both. */
static void test_end_that_comes_with_a_reply_is_seen(void **state) {
    (void)state;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;
    assert_int_equal(bind(listener, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&name, &length), 0);
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(name.sin_port));
    struct redis_options options = {.address = address, .timeout_ns = PATIENT_NS};
    struct redis_client *client = NULL;
    assert_int_equal(create_client(&options, &client, NULL), STATUS_OK);
    int fd = accept(listener, NULL, NULL);
    expect_word(fd, "PING");
    static const char welcome[] = "-NOPERM this user may not ask\r\n+PONG\r\n"; /* INFO's and PING's answers */
    assert_int_equal(write(fd, welcome, sizeof welcome - 1), sizeof welcome - 1);
    assert_int_equal(redis_client_wait(client, CONNECT_NS, NULL), STATUS_OK);
    struct tally tally = TALLY_INIT;
    redis_commandf(client, nap_in_callback, &tally, "GET first");
    redis_commandf(client, tally_count, &tally, "GET second");
    expect_word(fd, "second");
    assert_int_equal(write(fd, ":1\r\n", 4), 4);
    nanosleep(&(struct timespec){.tv_nsec = 100 * NS_PER_MS}, NULL);
    assert_int_equal(write(fd, ":2\r\n", 4), 4);
    close(listener); /* it does not come again */
    close(fd);
    tally_wait(&tally, 2);
    wait_until_disconnected(client);
    redis_client_destroy(client);
}

static void test_garbage_from_the_server_drops_the_connection(void **state) {
    (void)state;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;
    assert_int_equal(bind(listener, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&name, &length), 0);
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(name.sin_port));
    struct redis_options options = {.address = address};
    struct redis_client *client = NULL;
    struct error err = {0};
    assert_int_equal(create_client(&options, &client, NULL), STATUS_OK);
    for (int i = 0; i < 3; i++) { /* it comes again each time */
        int fd = accept(listener, NULL, NULL);
        assert_int_equal(write(fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28), 28);
        close(fd);
    }
    assert_int_equal(redis_client_wait(client, 50 * NS_PER_MS, &err), STATUS_UNAVAILABLE);
    redis_client_destroy(client);
    close(listener);
}

struct states {
    atomic_int ups, downs;
};
static void count_states(void *context, bool connected) {
    struct states *states = context;
    atomic_fetch_add(connected ? &states->ups : &states->downs, 1);
}

static void test_each_change_of_the_connection_is_told(void **state) {
    struct redis_fixture *fixture = *state;
    struct states states = {0};
    struct redis_options options = {.address = fixture->server.address,
                                    .timeout_ns = PATIENT_NS,
                                    .on_connection = count_states,
                                    .context = &states};
    struct redis_client *client = connect_client(&options);
    redis_server_kill(&fixture->server);
    wait_until_disconnected(client);
    redis_server_start(&fixture->server);
    assert_int_equal(redis_client_wait(client, CONNECT_NS, NULL), STATUS_OK);
    assert_int_equal(redis_callf(client, NULL, NULL, "PING"), STATUS_OK); /* the callback of "up" has returned */
    assert_int_equal(atomic_load(&states.ups), 2);
    assert_int_equal(atomic_load(&states.downs), 1);
    redis_client_destroy(client);
    assert_int_equal(atomic_load(&states.downs), 2);
}

struct storm {
    struct redis_client *client;
    atomic_bool stop;
    atomic_long sent, answered, succeeded;
};
static void storm_answered(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    (void)reply, (void)message;
    struct storm *storm = context;
    atomic_fetch_add(&storm->answered, 1);
    if (status == STATUS_OK) atomic_fetch_add(&storm->succeeded, 1);
}
static void *storm_main(void *context) {
    struct storm *storm = context;
    while (!atomic_load(&storm->stop)) {
        atomic_fetch_add(&storm->sent, 1);
        redis_commandf(storm->client, storm_answered, storm, "INCR storm");
        nanosleep(&(struct timespec){.tv_nsec = 50 * NS_PER_US}, NULL);
    }
    return NULL;
}

static void test_under_fire_and_kills_every_command_is_answered_once(void **state) {
    struct redis_fixture *fixture = *state;
    struct storm storm = {.client = fixture->client};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, storm_main, &storm), 0);
    for (int i = 0; i < 3; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 100 * NS_PER_MS}, NULL);
        redis_server_kill(&fixture->server);
        wait_until_disconnected(fixture->client);
        redis_server_start(&fixture->server);
        assert_int_equal(redis_client_wait(fixture->client, CONNECT_NS, NULL), STATUS_OK);
    }
    atomic_store(&storm.stop, true);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    int64_t counted =
        call_integer(fixture->client, "INCRBY %s 0", "storm"); /* also: everything before has been answered */
    assert_int_equal(atomic_load(&storm.answered), atomic_load(&storm.sent));
    /* Every success was counted, and nothing was counted twice. */
    assert_true(counted >= atomic_load(&storm.succeeded));
    assert_true(counted <= atomic_load(&storm.sent));
    assert_true(atomic_load(&storm.succeeded) > 0);
}

int main(void) {
#define REDIS_TEST(name) cmocka_unit_test_setup_teardown(name, redis_fixture_setup, redis_fixture_teardown)
    const struct CMUnitTest tests[] = {
        REDIS_TEST(test_killed_server_fails_pending_and_comes_back),
        REDIS_TEST(test_without_a_connection_commands_fail_at_once),
        REDIS_TEST(test_acknowledged_writes_survive_kill_9),
        REDIS_TEST(test_scripts_work_after_a_restart),
        REDIS_TEST(test_hung_server_is_a_timeout_then_dropped_then_found_again),
        REDIS_TEST(test_slow_server_that_answers_is_kept),
        cmocka_unit_test(test_server_that_accepts_and_says_nothing_is_not_connected),
        cmocka_unit_test(test_end_that_comes_with_a_reply_is_seen),
        cmocka_unit_test(test_garbage_from_the_server_drops_the_connection),
        REDIS_TEST(test_each_change_of_the_connection_is_told),
        REDIS_TEST(test_under_fire_and_kills_every_command_is_answered_once),
    };
    return cmocka_run_group_tests_name("store/redis_faults", tests, NULL, NULL);
}
