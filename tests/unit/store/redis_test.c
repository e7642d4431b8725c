/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store/redis_fixture.h"

#include <stdatomic.h>
#include <stdio.h>

static void test_values_with_any_bytes_come_back(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    const char value[] = "a\0b\r\n$3\r\n\xff blank";
    struct bytes_view view = bytes_view_of(value, sizeof value - 1), empty = bytes_view_of("", 0);
    struct error err = {0};
    struct redis_reply *reply = NULL;
    assert_int_equal(redis_callf(client, NULL, &err, "SET key:%s %b", "one two", &view), STATUS_OK);
    struct bytes_view get[] = {bytes_view_string("GET"), bytes_view_string("key:one two")};
    assert_int_equal(redis_call(client, get, 2, &reply, &err), STATUS_OK);
    assert_int_equal(reply->type, REDIS_STRING);
    assert_true(bytes_view_equal(reply->string, view));
    redis_reply_free(reply);

    assert_int_equal(redis_callf(client, NULL, &err, "SET empty %b", &empty), STATUS_OK);
    assert_int_equal(redis_callf(client, &reply, &err, "GET empty"), STATUS_OK);
    assert_int_equal(reply->type, REDIS_STRING);
    assert_int_equal(reply->string.length, 0);
    redis_reply_free(reply);
}

static void test_every_reply_type_is_converted(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    struct error err = {0};
    struct redis_reply *reply = NULL;
    struct bytes_view source =
        bytes_view_string("return {1, 'two', {3, {'four'}, false}, redis.status_reply('FINE'), {}}");
    assert_int_equal(redis_callf(client, &reply, &err, "EVAL %b 0", &source), STATUS_OK);
    assert_int_equal(reply->type, REDIS_ARRAY);
    assert_int_equal(reply->count, 5);
    assert_int_equal(reply->items[0].type, REDIS_INTEGER);
    assert_int_equal(reply->items[0].integer, 1);
    assert_string_equal(reply->items[1].string.data, "two");
    assert_int_equal(reply->items[2].count, 3);
    assert_int_equal(reply->items[2].items[0].integer, 3);
    assert_string_equal(reply->items[2].items[1].items[0].string.data, "four");
    assert_int_equal(reply->items[2].items[2].type, REDIS_NIL);
    assert_int_equal(reply->items[3].type, REDIS_STATUS_REPLY);
    assert_string_equal(reply->items[3].string.data, "FINE");
    assert_int_equal(reply->items[4].type, REDIS_ARRAY);
    assert_int_equal(reply->items[4].count, 0);
    redis_reply_free(reply);
}

static void test_format_writes_integers_and_refuses_unknown_conversions(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    struct error err = {0};
    struct redis_reply *reply = NULL;
    assert_int_equal(redis_callf(client, &reply, &err, "  INCRBY   counter:%lld  %lld ", -7LL, 9007199254740993LL),
                     STATUS_OK);
    assert_int_equal(reply->integer, 9007199254740993LL);
    redis_reply_free(reply);
    assert_int_equal(call_integer(client, "EXISTS %s", "counter:-7"), 1);
    assert_int_equal(redis_callf(client, &reply, &err, "SET a %f", 1.0), STATUS_INTERNAL);
    assert_int_equal(redis_callf(client, &reply, &err, "   "), STATUS_INTERNAL);
}

static void test_error_reply_is_internal_with_redis_words(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    struct error err = {0};
    assert_int_equal(redis_callf(client, NULL, &err, "SET text abc"), STATUS_OK);
    assert_int_equal(redis_callf(client, NULL, &err, "LPUSH text x"), STATUS_INTERNAL);
    assert_non_null(strstr(err.message, "WRONGTYPE"));
}

static void test_passing_error_reply_is_unavailable(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    struct error err = {0};
    struct bytes_view source =
        bytes_view_string("return redis.error_reply('LOADING Redis is loading the dataset in memory')");
    assert_int_equal(redis_callf(client, NULL, &err, "EVAL %b 0", &source), STATUS_UNAVAILABLE);
    struct bytes_view close = bytes_view_string("return redis.error_reply('LOADINGS is another word')");
    struct error other = {0};
    assert_int_equal(redis_callf(client, NULL, &other, "EVAL %b 0", &close), STATUS_INTERNAL);
}

static void test_script_runs_before_and_after_the_server_forgot_it(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    struct redis_script script;
    redis_script_init(&script, "redis.call('INCRBY', KEYS[1], ARGV[1]) return {KEYS[1], ARGV[2]}\n");
    assert_int_equal(strlen(script.sha1), 40);
    struct bytes_view keys[] = {bytes_view_string("sum")},
                      arguments[] = {bytes_view_string("5"), bytes_view_of("x\0y", 3)};
    struct error err = {0};
    for (int i = 1; i <= 4; i++) {
        if (i == 3) assert_int_equal(redis_callf(client, NULL, &err, "SCRIPT FLUSH"), STATUS_OK);
        struct redis_reply *reply = NULL;
        assert_int_equal(redis_script_call(client, &script, keys, 1, arguments, 2, &reply, &err), STATUS_OK);
        assert_string_equal(reply->items[0].string.data, "sum");
        assert_true(bytes_view_equal(reply->items[1].string, arguments[1]));
        redis_reply_free(reply);
        assert_int_equal(call_integer(client, "INCRBY %s 0", "sum"), 5 * i); /* each ran once */
    }
}

/** Run a function of one key and wait; its status. */
static enum status run_function(struct redis_client *client, const struct redis_library *library,
                                const char *function) {
    struct tally tally = TALLY_INIT;
    struct bytes_view key = bytes_view_string("counter");
    redis_function_run(client, library, function, &key, 1, NULL, 0, tally_count, &tally);
    tally_wait(&tally, 1);
    for (int status = 0; status < 17; status++)
        if (tally.by_status[status] > 0) return (enum status)status;
    return STATUS_UNKNOWN;
}

static void test_function_runs_before_and_after_the_server_forgot_it(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    static const struct redis_library library = {
        "#!lua name=counting\n"
        "redis.register_function('count_one', function(keys) return redis.call('INCR', keys[1]) end)\n"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(run_function(client, &library, "count_one"), STATUS_OK);
        assert_int_equal(run_function(client, &library, "count_one"), STATUS_OK);
        struct error err;
        assert_int_equal(redis_callf(client, NULL, &err, "FUNCTION FLUSH"), STATUS_OK);
    }
    assert_int_equal(call_integer(client, "INCR %s", "counter"), 7);
}

static void test_many_at_once_find_the_function_that_the_first_loads(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    static const struct redis_library library = {
        "#!lua name=counting\n"
        "redis.register_function('count_one', function(keys) return redis.call('INCR', keys[1]) end)\n"};
    struct tally tally = TALLY_INIT;
    struct bytes_view key = bytes_view_string("counter");
    for (int i = 0; i < 100; i++)
        redis_function_run(client, &library, "count_one", &key, 1, NULL, 0, tally_count, &tally);
    tally_wait(&tally, 100);
    assert_int_equal(tally.by_status[STATUS_OK], 100);
    assert_int_equal(call_integer(client, "INCR %s", "counter"), 101);
}

static void test_a_library_that_does_not_load_is_our_own_mistake(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    static const struct redis_library broken = {"#!lua name=broken\nthis is no Lua\n"};
    assert_int_equal(run_function(client, &broken, "nothing"), STATUS_INTERNAL);
    assert_int_equal(run_function(client, &broken, "nothing"), STATUS_INTERNAL);
}

static void test_ten_thousand_pipelined_commands_are_all_answered_in_order(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    enum { COMMANDS = 10000 };
    struct tally tally = TALLY_INIT;
    for (int i = 0; i < COMMANDS; i++) redis_commandf(client, tally_count, &tally, "RPUSH list %lld", (long long)i);
    tally_wait(&tally, COMMANDS);
    assert_int_equal(tally.by_status[STATUS_OK], COMMANDS);
    struct error err = {0};
    struct redis_reply *reply = NULL;
    assert_int_equal(redis_callf(client, &reply, &err, "LRANGE list 0 -1"), STATUS_OK);
    assert_int_equal(reply->count, COMMANDS);
    for (int i = 0; i < COMMANDS; i++) assert_int_equal(atoi((const char *)reply->items[i].string.data), i);
    redis_reply_free(reply);
}

static void *count_up(void *argument) {
    struct redis_client *client = argument;
    for (int i = 0; i < 200; i++) {
        if (redis_callf(client, NULL, NULL, "INCR shared") != STATUS_OK) return client;
    }
    return NULL;
}

static void test_many_threads_share_one_client(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    enum { THREADS = 16 };
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, count_up, client), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(call_integer(client, "INCRBY %s 0", "shared"), THREADS * 200);
}

static void call_in_callback(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    (void)status, (void)reply, (void)message;
    struct {
        struct redis_client *client;
        atomic_int result;
    } *call = context;
    atomic_store(&call->result, redis_callf(call->client, NULL, NULL, "PING"));
}

static void test_blocking_call_on_the_clients_thread_is_refused(void **state) {
    struct {
        struct redis_client *client;
        atomic_int result;
    } call = {((struct redis_fixture *)*state)->client, -1};
    redis_commandf(call.client, call_in_callback, &call, "PING");
    assert_int_equal(redis_callf(call.client, NULL, NULL, "PING"), STATUS_OK); /* answered after the first */
    assert_int_equal(atomic_load(&call.result), STATUS_INTERNAL);
}

static void test_destroy_cancels_what_is_pending(void **state) {
    struct redis_fixture *fixture = *state;
    struct redis_options options = {.address = fixture->server.address, .timeout_ns = PATIENT_NS};
    struct redis_client *client = NULL;
    assert_int_equal(create_client(&options, &client, NULL), STATUS_OK);
    assert_int_equal(redis_client_wait(client, CONNECT_NS, NULL), STATUS_OK);
    struct tally tally = TALLY_INIT;
    redis_server_freeze(&fixture->server);
    for (int i = 0; i < 100; i++) redis_commandf(client, tally_count, &tally, "INCR never");
    redis_client_destroy(client);
    redis_server_thaw(&fixture->server);
    assert_int_equal(tally.total, 100);
    assert_int_equal(tally.by_status[STATUS_CANCELLED], 100);
}

static void test_address_must_be_host_and_port_or_a_socket(void **state) {
    (void)state;
    static const char *const bad[] = {"",           "localhost", ":6379", "host:",  "host:0",
                                      "host:65536", "host:port", "unix:", "host:1x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct redis_client *client = NULL;
        struct error err = {0};
        struct redis_options options = {.address = bad[i]};
        assert_int_equal(create_client(&options, &client, &err), STATUS_INVALID_ARGUMENT);
        assert_true(err.message[0] != 0);
    }
}

static void test_password_and_database_are_used(void **state) {
    (void)state;
    struct redis_server server;
    redis_server_create(&server, "sesame");
    struct redis_options options = {
        .address = server.address, .password = "sesame", .database = 3, .timeout_ns = PATIENT_NS};
    struct redis_client *client = NULL;
    struct error err = {0};
    assert_int_equal(create_client(&options, &client, &err), STATUS_OK);
    assert_int_equal(redis_client_wait(client, CONNECT_NS, &err), STATUS_OK);
    struct redis_reply *reply = NULL;
    assert_int_equal(redis_callf(client, &reply, &err, "CLIENT INFO"), STATUS_OK);
    assert_non_null(strstr((const char *)reply->string.data, " db=3 "));
    redis_reply_free(reply);
    redis_client_destroy(client);
    redis_server_destroy(&server);
}

static void test_wrong_password_is_named_and_never_connects(void **state) {
    (void)state;
    struct redis_server server;
    redis_server_create(&server, "sesame");
    struct redis_options options = {.address = server.address, .password = "wrong", .timeout_ns = PATIENT_NS};
    struct redis_client *client = NULL;
    struct error err = {0};
    assert_int_equal(create_client(&options, &client, NULL), STATUS_OK);
    assert_int_equal(redis_client_wait(client, 200 * NS_PER_MS, &err), STATUS_UNAVAILABLE);
    assert_non_null(strstr(err.message, "WRONGPASS"));
    assert_null(strstr(err.message, "wrong"));
    redis_client_destroy(client);
    redis_server_destroy(&server);
}

int main(void) {
#define REDIS_TEST(name) cmocka_unit_test_setup_teardown(name, redis_fixture_setup, redis_fixture_teardown)
    const struct CMUnitTest tests[] = {
        REDIS_TEST(test_values_with_any_bytes_come_back),
        REDIS_TEST(test_every_reply_type_is_converted),
        REDIS_TEST(test_format_writes_integers_and_refuses_unknown_conversions),
        REDIS_TEST(test_error_reply_is_internal_with_redis_words),
        REDIS_TEST(test_passing_error_reply_is_unavailable),
        REDIS_TEST(test_script_runs_before_and_after_the_server_forgot_it),
        REDIS_TEST(test_function_runs_before_and_after_the_server_forgot_it),
        REDIS_TEST(test_many_at_once_find_the_function_that_the_first_loads),
        REDIS_TEST(test_a_library_that_does_not_load_is_our_own_mistake),
        REDIS_TEST(test_ten_thousand_pipelined_commands_are_all_answered_in_order),
        REDIS_TEST(test_many_threads_share_one_client),
        REDIS_TEST(test_blocking_call_on_the_clients_thread_is_refused),
        REDIS_TEST(test_destroy_cancels_what_is_pending),
        cmocka_unit_test(test_address_must_be_host_and_port_or_a_socket),
        cmocka_unit_test(test_password_and_database_are_used),
        cmocka_unit_test(test_wrong_password_is_named_and_never_connects),
    };
    return cmocka_run_group_tests_name("store/redis", tests, NULL, NULL);
}
