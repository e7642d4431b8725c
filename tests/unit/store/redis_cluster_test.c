/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A client of a cluster of several servers: who is asked for what, while slots move and servers die. */
#include "store/redis_internal.h"
#include "tests/support/redis_cluster_server.h"
#include "tests/unit/store/redis_fixture.h"

#include <stdatomic.h>
#include <stdio.h>

#define PASSWORD "quite secret"

/* --- which slot --------------------------------------------------------------------------------------------------- */

static void expect_tag(const char *key, const char *tag) {
    assert_true(bytes_view_equal_string(redis_slot_tag(bytes_view_string(key)), tag));
}

static void test_slots_are_those_of_the_specification(void **state) {
    (void)state;
    assert_int_equal(redis_slot_of(bytes_view_string("123456789")), 0x31c3);
    assert_int_equal(redis_slot_of(bytes_view_string("foo")), 12182); /* as CLUSTER KEYSLOT says */
    assert_int_equal(redis_slot_of(bytes_view_string("bora:use:{foo}:o")), 12182);
    assert_int_equal(redis_slot_of(bytes_view_string("")), 0);
    expect_tag("{user1000}.following", "user1000");
    expect_tag("foo{}{bar}", "foo{}{bar}");
    expect_tag("foo{{bar}}zap", "{bar");
    expect_tag("foo{bar}{zap}", "bar");
    expect_tag("foo{bar", "foo{bar");
    expect_tag("foo{", "foo{");
}

static void expect_key(const char *wire, const char *key) {
    struct bytes_view found;
    bool has = redis_slot_key(wire, strlen(wire), &found);
    assert_int_equal(has, key != NULL);
    if (has) assert_true(bytes_view_equal_string(found, key));
}

static void test_the_first_key_of_a_command_is_found(void **state) {
    (void)state;
    expect_key("*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n", "foo");
    expect_key("*4\r\n$7\r\nEVALSHA\r\n$2\r\nab\r\n$1\r\n1\r\n$3\r\nfoo\r\n", "foo");
    expect_key("*3\r\n$5\r\nFCALL\r\n$2\r\nab\r\n$1\r\n0\r\n", NULL);
    expect_key("*3\r\n$5\r\nxinfo\r\n$6\r\nSTREAM\r\n$3\r\nfoo\r\n", "foo");
    expect_key("*1\r\n$4\r\nPING\r\n", NULL);
    expect_key("*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n", NULL);
    expect_key("*1\r\n$3\r\nGET\r\n", NULL);
    expect_key("*2\r\n$3\r\nGET\r\n$9\r\nfoo\r\n", NULL);
    expect_key("", NULL);
}

/* --- a cluster ---------------------------------------------------------------------------------------------------- */

struct fixture {
    struct redis_cluster_server cluster;
    struct redis_client *client;
    atomic_int ups, downs;
};

static void on_connection(void *context, bool connected) {
    struct fixture *fixture = context;
    atomic_fetch_add(connected ? &fixture->ups : &fixture->downs, 1);
}

static void connect_to(struct fixture *fixture, int64_t timeout_ns) {
    struct error err = {0};
    struct redis_options options = {.address = fixture->cluster.address,
                                    .password = PASSWORD,
                                    .timeout_ns = timeout_ns,
                                    .on_connection = on_connection,
                                    .context = fixture};
    if (create_client(&options, &fixture->client, &err) != STATUS_OK ||
        redis_client_wait(fixture->client, CONNECT_NS, &err) != STATUS_OK)
        fail_msg("%s", err.message);
}

static int setup(void **state) {
    struct fixture *fixture = calloc(1, sizeof *fixture);
    redis_cluster_server_create(&fixture->cluster, false, PASSWORD);
    *state = fixture;
    return 0;
}

static int setup_with_replicas(void **state) {
    struct fixture *fixture = calloc(1, sizeof *fixture);
    redis_cluster_server_create(&fixture->cluster, true, PASSWORD);
    *state = fixture;
    return 0;
}

static int teardown(void **state) {
    struct fixture *fixture = *state;
    redis_client_destroy(fixture->client);
    redis_cluster_server_destroy(&fixture->cluster);
    free(fixture);
    return 0;
}

static int64_t increment(struct fixture *fixture, const char *key) {
    return call_integer(fixture->client, "INCR %s", key);
}

/** A primary that has not the slot. */
static int other_than(int owner) {
    return owner == 0 ? 1 : 0;
}

static void test_each_primary_gets_what_is_its_own(void **state) {
    enum { KEYS = 300 };
    struct fixture *fixture = *state;
    connect_to(fixture, PATIENT_NS);
    assert_true(redis_client_connected(fixture->client) && redis_client_in_cluster(fixture->client));
    struct redis_script script;
    redis_script_init(&script, "return redis.call('INCR', KEYS[1])");
    for (int i = 0; i < KEYS; i++) {
        char name[32];
        snprintf(name, sizeof name, "key:%d", i);
        assert_int_equal(increment(fixture, name), 1);
        struct bytes_view key = bytes_view_string(name);
        struct redis_reply *reply = NULL;
        struct error err = {0};
        if (redis_script_call(fixture->client, &script, &key, 1, NULL, 0, &reply, &err) != STATUS_OK)
            fail_msg("%s", err.message);
        assert_int_equal(reply->integer, 2);
        redis_reply_free(reply);
    }
    int all = 0;
    for (int i = 0; i < REDIS_CLUSTER_PRIMARIES; i++) {
        int there = atoi(redis_cluster_server_ask(&fixture->cluster, i, "DBSIZE"));
        assert_in_range(there, KEYS / 6, KEYS / 2);
        const char *errors = redis_cluster_server_ask(&fixture->cluster, i, "INFO errorstats");
        assert_null(strstr(errors, "MOVED")); /* nobody was asked for what is another's */
        all += there;
    }
    assert_int_equal(all, KEYS);
    assert_int_equal(fixture->ups, 1);
    assert_int_equal(redis_callf(fixture->client, NULL, NULL, "PING"), STATUS_OK);
    assert_int_equal(redis_callf(fixture->client, NULL, NULL, "MGET a b"), STATUS_INTERNAL); /* two slots */
}

static void count_call(struct redis_client *client, struct tally *tally) {
    static const struct redis_library library = {"#!lua name=counting\nredis.register_function('count_keys', "
                                                 "function(KEYS) redis.call('INCR', KEYS[1]) return #KEYS end)"};
    const struct bytes_view keys[] = {bytes_view_string("counter:{foo}"), bytes_view_string("other:{foo}")};
    redis_function_run(client, &library, "count_keys", keys, 2, NULL, 0, tally_count, tally);
}

static void test_a_function_is_loaded_where_it_is_missing_and_sees_its_own_keys(void **state) {
    struct fixture *fixture = *state;
    connect_to(fixture, PATIENT_NS);
    struct tally tally = TALLY_INIT;
    count_call(fixture->client, &tally);
    count_call(fixture->client, &tally);
    tally_wait(&tally, 2);
    if (tally.by_status[STATUS_OK] != 2) fail_msg("%s", tally.message);
    struct redis_reply *reply = NULL;
    struct error err = {0};
    if (redis_callf(fixture->client, &reply, &err, "FCALL count_keys_cluster 3 {foo}a {foo}b {foo}:never") != STATUS_OK)
        fail_msg("%s", err.message);
    assert_int_equal(reply->integer, 2);
    redis_reply_free(reply);
    assert_int_equal(call_integer(fixture->client, "INCR %s", "counter:{foo}"), 3);
}

/** Commands without a pause, from a thread of its own. */
struct stream {
    struct fixture *fixture;
    pthread_t thread;
    atomic_bool stop;
    int64_t count;
    struct error err;
};
static void *run_stream(void *argument) {
    struct stream *stream = argument;
    struct redis_script script;
    redis_script_init(&script, "return redis.call('INCR', KEYS[1])");
    const struct bytes_view keys[] = {bytes_view_string("script:{foo}"), bytes_view_string("plain:{foo}")};
    while (!atomic_load(&stream->stop)) {
        struct redis_client *client = stream->fixture->client;
        if (redis_callf(client, NULL, &stream->err, "INCR plain:{foo}") != STATUS_OK) return stream;
        if (redis_script_call(client, &script, keys, 2, NULL, 0, NULL, &stream->err) != STATUS_OK) return stream;
        stream->count++;
    }
    return NULL;
}

static void test_a_slot_that_moves_under_load_loses_and_repeats_nothing(void **state) {
    struct fixture *fixture = *state;
    struct stream stream = {.fixture = fixture};
    connect_to(fixture, PATIENT_NS);
    int slot = redis_slot_of(bytes_view_string("foo"));
    assert_int_equal(increment(fixture, "plain:{foo}"), 1);
    pthread_create(&stream.thread, NULL, run_stream, &stream);
    for (int i = 0; i < 6; i++) {
        int from = redis_cluster_server_owner(&fixture->cluster, slot), to = (from + 1) % REDIS_CLUSTER_PRIMARIES;
        assert_true(from >= 0);
        int64_t before = redis_client_generation(fixture->client);
        redis_cluster_server_begin_move(&fixture->cluster, slot, from, to);
        redis_cluster_server_move_keys(&fixture->cluster, slot, from, to);
        redis_cluster_server_end_move(&fixture->cluster, slot, from, to);
        while (redis_client_generation(fixture->client) == before)
            nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
    }
    void *failed = NULL;
    atomic_store(&stream.stop, true);
    pthread_join(stream.thread, &failed);
    if (failed != NULL) fail_msg("%s", stream.err.message);
    assert_true(stream.count > 6);
    assert_int_equal(increment(fixture, "plain:{foo}"), stream.count + 2);
    assert_int_equal(increment(fixture, "script:{foo}"), stream.count + 1);
}

static void test_while_a_slot_is_moving_keys_are_found_on_both_sides_and_scripts_wait(void **state) {
    struct fixture *fixture = *state;
    struct redis_script script;
    struct error err = {0};
    connect_to(fixture, 300 * NS_PER_MS);
    int slot = redis_slot_of(bytes_view_string("foo"));
    int from = redis_cluster_server_owner(&fixture->cluster, slot), to = other_than(from);
    for (int i = 1; i <= 5; i++) assert_int_equal(increment(fixture, "stays:{foo}"), i);
    redis_cluster_server_begin_move(&fixture->cluster, slot, from, to);
    assert_int_equal(increment(fixture, "stays:{foo}"), 6);
    assert_int_equal(increment(fixture, "new:{foo}"), 1); /* ASK: it is made over there */
    assert_int_equal(increment(fixture, "new:{foo}"), 2);
    assert_int_equal(atoi(redis_cluster_server_ask(&fixture->cluster, from, "CLUSTER COUNTKEYSINSLOT 12182")), 1);
    assert_int_equal(atoi(redis_cluster_server_ask(&fixture->cluster, to, "CLUSTER COUNTKEYSINSLOT 12182")), 1);
    /* The script's one key is here and the other one there: it would be stopped behind its first write. */
    redis_script_init(&script, "redis.call('INCR', KEYS[1]) return redis.call('INCR', 'new:{foo}')");
    const struct bytes_view key = bytes_view_string("stays:{foo}");
    assert_int_equal(redis_script_call(fixture->client, &script, &key, 1, NULL, 0, NULL, &err), STATUS_UNAVAILABLE);
    assert_int_equal(increment(fixture, "stays:{foo}"), 7);
    struct tally tally = TALLY_INIT;
    redis_script_run(fixture->client, &script, &key, 1, NULL, 0, tally_count, &tally);
    redis_cluster_server_move_keys(&fixture->cluster, slot, from, to);
    redis_cluster_server_end_move(&fixture->cluster, slot, from, to);
    tally_wait(&tally, 1);
    int64_t more = tally.by_status[STATUS_OK]; /* unless the steps took longer than it waits */
    assert_int_equal(redis_script_call(fixture->client, &script, &key, 1, NULL, 0, NULL, &err), STATUS_OK);
    assert_int_equal(increment(fixture, "stays:{foo}"), 9 + more);
    assert_int_equal(increment(fixture, "new:{foo}"), 4 + more);
}

/* --- deaths ------------------------------------------------------------------------------------------------------- */

struct ear {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int messages;
    bool subscribed;
};
static void hear(void *context, struct bytes_view message) {
    struct ear *ear = context;
    (void)message;
    pthread_mutex_lock(&ear->mutex);
    ear->messages++;
    pthread_cond_signal(&ear->changed);
    pthread_mutex_unlock(&ear->mutex);
}
static void note_state(void *context, bool subscribed) {
    struct ear *ear = context;
    pthread_mutex_lock(&ear->mutex);
    ear->subscribed = subscribed;
    pthread_cond_signal(&ear->changed);
    pthread_mutex_unlock(&ear->mutex);
}
/** Publishes until something is heard. */
static void expect_to_hear(struct fixture *fixture, struct ear *ear) {
    int64_t until = clock_monotonic_ns(clock_system()) + CONNECT_NS;
    for (bool heard = false; !heard;) {
        (void)!redis_callf(fixture->client, NULL, NULL, "PUBLISH news x");
        nanosleep(&(struct timespec){.tv_nsec = 20 * NS_PER_MS}, NULL);
        pthread_mutex_lock(&ear->mutex);
        heard = ear->messages > 0 && ear->subscribed;
        pthread_mutex_unlock(&ear->mutex);
        assert_true(clock_monotonic_ns(clock_system()) < until);
    }
}

static void test_a_replica_that_takes_over_is_found(void **state) {
    struct fixture *fixture = *state;
    struct ear ear = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    connect_to(fixture, 500 * NS_PER_MS);
    assert_int_equal(redis_subscribe(fixture->client, "news", hear, note_state, &ear, NULL), STATUS_OK);
    expect_to_hear(fixture, &ear);
    int owner = redis_cluster_server_owner(&fixture->cluster, redis_slot_of(bytes_view_string("news")));
    assert_int_equal(increment(fixture, "{news}"), 1);
    assert_string_equal(redis_cluster_server_ask(&fixture->cluster, owner, "WAIT 1 5000"), "1");
    /* Kept by the replica as well: WAIT of another connection says nothing of ours, so it is read there. */
    int64_t before = redis_client_generation(fixture->client);
    redis_server_kill(&fixture->cluster.servers[owner]);
    int64_t until = clock_monotonic_ns(clock_system()) + 2 * CONNECT_NS;
    struct redis_reply *reply = NULL;
    while (redis_callf(fixture->client, &reply, NULL, "INCR {news}") != STATUS_OK) {
        assert_true(clock_monotonic_ns(clock_system()) < until);
        nanosleep(&(struct timespec){.tv_nsec = 10 * NS_PER_MS}, NULL);
    }
    assert_in_range(reply->integer, 1,
                    2); /* what was written in the last moment may be lost, as always with replicas */
    redis_reply_free(reply);
    assert_true(redis_client_generation(fixture->client) > before);
    struct error err = {0};
    if (redis_client_wait(fixture->client, CONNECT_NS, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(fixture->downs, 1);
    assert_int_equal(fixture->ups, 2);
    pthread_mutex_lock(&ear.mutex);
    ear.messages = 0;
    pthread_mutex_unlock(&ear.mutex);
    expect_to_hear(fixture, &ear);
    redis_client_destroy(fixture->client);
    fixture->client = NULL;
}

static void test_a_cluster_that_was_down_is_found_again(void **state) {
    struct fixture *fixture = *state;
    struct error err = {0};
    connect_to(fixture, 500 * NS_PER_MS);
    int owner = redis_cluster_server_owner(&fixture->cluster, redis_slot_of(bytes_view_string("foo")));
    assert_int_equal(increment(fixture, "foo"), 1);
    for (int i = 0; i < REDIS_CLUSTER_PRIMARIES; i++) {
        if (i != owner) redis_server_kill(&fixture->cluster.servers[i]);
    }
    /* The one that is left notices, and then answers CLUSTERDOWN. */
    int64_t until = clock_monotonic_ns(clock_system()) + CONNECT_NS, count = 1;
    while (redis_callf(fixture->client, NULL, &err, "INCR foo") == STATUS_OK) {
        assert_true(clock_monotonic_ns(clock_system()) < until);
        count++;
    }
    assert_non_null(strstr(err.message, "CLUSTERDOWN"));
    assert_int_equal(redis_callf(fixture->client, NULL, &err, "INCR foo"), STATUS_UNAVAILABLE);
    while (redis_client_connected(fixture->client)) { /* though one of its servers is */
        assert_true(clock_monotonic_ns(clock_system()) < until);
        nanosleep(&(struct timespec){.tv_nsec = 10 * NS_PER_MS}, NULL);
    }
    for (int i = 0; i < REDIS_CLUSTER_PRIMARIES; i++) {
        if (i != owner) redis_server_start(&fixture->cluster.servers[i]);
    }
    until = clock_monotonic_ns(clock_system()) + CONNECT_NS;
    while (redis_callf(fixture->client, NULL, &err, "INCR foo") != STATUS_OK)
        assert_true(clock_monotonic_ns(clock_system()) < until);
    if (redis_client_wait(fixture->client, CONNECT_NS, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(increment(fixture, "foo"), count + 2);
}

static void test_a_client_finds_the_cluster_though_the_first_address_is_away(void **state) {
    struct fixture *fixture = *state;
    char address[sizeof fixture->cluster.address + 32];
    snprintf(address, sizeof address, "127.0.0.1:1,%s", fixture->cluster.address);
    struct redis_options options = {.address = address, .password = PASSWORD};
    struct error err = {0};
    if (create_client(&options, &fixture->client, &err) != STATUS_OK ||
        redis_client_wait(fixture->client, CONNECT_NS, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    assert_int_equal(increment(fixture, "a"), 1);
    redis_client_destroy(fixture->client);
    options.password = "wrong";
    assert_int_equal(create_client(&options, &fixture->client, &err), STATUS_OK);
    assert_int_equal(redis_client_wait(fixture->client, 300 * NS_PER_MS, &err), STATUS_UNAVAILABLE);
}

static void test_several_servers_that_are_no_cluster_are_refused(void **state) {
    (void)state;
    struct redis_server server;
    struct redis_client *client = NULL;
    struct error err = {0};
    char address[256];
    redis_server_create(&server, NULL);
    snprintf(address, sizeof address, "%s,%s", server.address, server.address);
    struct redis_options options = {.address = address};
    assert_int_equal(create_client(&options, &client, NULL), STATUS_OK);
    assert_int_equal(redis_client_wait(client, 500 * NS_PER_MS, &err), STATUS_UNAVAILABLE);
    assert_non_null(strstr(err.message, "several addresses"));
    redis_client_destroy(client);
    options.address = "unix:/a,";
    assert_int_equal(create_client(&options, &client, &err), STATUS_INVALID_ARGUMENT);
    redis_server_destroy(&server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_are_those_of_the_specification),
        cmocka_unit_test(test_the_first_key_of_a_command_is_found),
        cmocka_unit_test_setup_teardown(test_each_primary_gets_what_is_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_function_is_loaded_where_it_is_missing_and_sees_its_own_keys, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_slot_that_moves_under_load_loses_and_repeats_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_while_a_slot_is_moving_keys_are_found_on_both_sides_and_scripts_wait,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_cluster_that_was_down_is_found_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_client_finds_the_cluster_though_the_first_address_is_away, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_replica_that_takes_over_is_found, setup_with_replicas, teardown),
        cmocka_unit_test(test_several_servers_that_are_no_cluster_are_refused),
    };
    return cmocka_run_group_tests_name("store/redis_cluster", tests, NULL, NULL);
}
