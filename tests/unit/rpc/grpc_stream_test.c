/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Does a stream carry every message, in order, whatever its size and whoever writes, and does it end as the server says? */
#include "tests/unit/rpc/grpc_stream_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char REFLECT[] = "/test.Service/Reflect";

static void nap(int64_t ns) {
    nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
}

static struct caller *call_house(void **state, const char *path) {
    struct house *house = *state;
    return call_port(NULL, rpc_server_port(house->server), path);
}

static void write_sequence(struct caller *caller, uint32_t number, size_t length) {
    static uint8_t message[1 << 20];
    sequence_message(number, message, length);
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_of(message, length)), STATUS_OK);
}

static void assert_all_came(struct caller *caller, int count) {
    if (!reaches(&caller->told.messages, count))
        fail_msg("%d of %d messages; finished %d (%s), lost %d (%s)", value_of(&caller->told.messages), count,
                 value_of(&caller->told.finished), caller->told.message, value_of(&caller->told.lost),
                 caller->told.reason);
    assert_int_equal(value_of(&caller->told.messages), count);
    assert_int_equal(value_of(&caller->told.disorder), 0);
    assert_int_equal(value_of(&caller->told.finished), 0);
    assert_int_equal(value_of(&caller->told.lost), 0);
}

/* ---- messages ------------------------------------------------------------------------------------------------------ */

static void test_ten_thousand_messages_in_bursts_come_back_in_order(void **state) {
    struct caller *caller = call_house(state, REFLECT);
    caller->told.on_message = check_sequence;
    for (uint32_t i = 0; i < 10000; i++) {
        write_sequence(caller, i, 4 + i % 300);
        if (i % 1000 == 999) assert_true(reaches(&caller->told.messages, (int)i - 500)); /* then another burst */
    }
    assert_all_came(caller, 10000);
    assert_int_equal(grpc_stream_waiting_bytes(caller->stream), 0);
    close_caller(caller);
}

static void test_messages_of_any_size_come_back(void **state) {
    struct caller *caller = call_house(state, REFLECT);
    const size_t sizes[] = {4, 5, 100, 16379, 16384, 16385, 65535, 65536, 1 << 20, 7, 1 << 20};
    const uint32_t count = sizeof sizes / sizeof sizes[0];
    caller->told.on_message = check_sequence;
    size_t sum = 0;
    for (uint32_t i = 0; i < count; i++) write_sequence(caller, i, sizes[i]), sum += sizes[i];
    assert_all_came(caller, (int)count);
    assert_int_equal(value_of(&caller->told.bytes), (int)sum);
    close_caller(caller);
}

static void test_empty_messages_are_messages(void **state) {
    struct caller *caller = call_house(state, REFLECT);
    for (int i = 0; i < 100; i++)
        assert_int_equal(grpc_stream_write(caller->stream, (struct bytes_view){0}), STATUS_OK);
    assert_all_came(caller, 100);
    assert_int_equal(value_of(&caller->told.bytes), 0);
    close_caller(caller);
}

enum { WRITERS = 4, WRITTEN = 2500 };

struct writer {
    struct caller *caller;
    uint32_t number;
    pthread_t thread;
    atomic_int refused;
};

static uint32_t next_of_writer[WRITERS];

/** Each writer's messages come in its order; those of several are mixed. */
static void check_writers(struct told *told, struct bytes_view message) {
    uint32_t pair[2] = {WRITERS, 0};
    if (message.length >= sizeof pair) memcpy(pair, message.data, sizeof pair);
    if (pair[0] >= WRITERS || pair[1] != next_of_writer[pair[0]]) {
        add(&told->disorder, 1);
        return;
    }
    next_of_writer[pair[0]]++;
}

static void *write_many(void *context) {
    struct writer *writer = context;
    uint8_t message[512] = {0};
    for (uint32_t i = 0; i < WRITTEN; i++) {
        uint32_t pair[2] = {writer->number, i};
        memcpy(message, pair, sizeof pair);
        if (grpc_stream_write(writer->caller->stream, bytes_view_of(message, sizeof pair + i % 400)) != STATUS_OK)
            atomic_fetch_add(&writer->refused, 1);
    }
    return NULL;
}

static void test_many_threads_write_at_once(void **state) {
    struct caller *caller = call_house(state, REFLECT);
    struct writer writers[WRITERS];
    memset(next_of_writer, 0, sizeof next_of_writer);
    caller->told.on_message = check_writers;
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.caller = caller, .number = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_many, &writers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) pthread_join(writers[i].thread, NULL);
    for (int i = 0; i < WRITERS; i++) assert_int_equal(writers[i].refused, 0);
    assert_all_came(caller, WRITERS * WRITTEN);
    close_caller(caller);
}

/** The loop's own thread answers each message with the next one: 2,000 times there and back. */
static void answer_with_next(struct told *told, struct bytes_view message) {
    struct caller *caller = told->context;
    uint32_t number = told->next_number + 1;
    uint8_t next[64];
    check_sequence(told, message);
    if (number >= 2000) return;
    sequence_message(number, next, sizeof next);
    if (grpc_stream_write(caller->stream, bytes_view_of(next, sizeof next)) != STATUS_OK) add(&told->disorder, 1);
}

static void test_messages_written_in_on_message_go_out(void **state) {
    struct caller *caller = call_house(state, REFLECT);
    caller->told.context = caller;
    caller->told.on_message = answer_with_next;
    write_sequence(caller, 0, 64);
    assert_all_came(caller, 2000);
    close_caller(caller);
}

/* ---- ends ---------------------------------------------------------------------------------------------------------- */

static void test_call_ends_with_the_servers_status_and_message(void **state) {
    struct caller *caller = call_house(state, "/test.Service/Refuse");
    for (int i = 1; i <= 3; i++) { /* the next message begins another call, on the same connection */
        assert_int_equal(write_next(caller, bytes_view_string("why")), STATUS_OK);
        assert_true(reaches(&caller->told.finished, i));
        assert_int_equal(caller->told.status, STATUS_NOT_FOUND);
        assert_string_equal(caller->told.message, "nothing here, für wahr");
        caller->told.message[0] = 0;
    }
    assert_int_equal(value_of(&caller->told.messages), 0);
    assert_int_equal(value_of(&caller->told.lost), 0);
    close_caller(caller);
}

static void test_messages_before_the_end_come_before_it(void **state) {
    struct caller *caller = call_house(state, "/test.Service/CountUp");
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(write_next(caller, bytes_view_of(&(uint8_t){200}, 1)), STATUS_OK);
        assert_true(reaches(&caller->told.finished, i));
        assert_int_equal(value_of(&caller->told.messages), 200 * i);
        assert_int_equal(caller->told.status, STATUS_OK);
    }
    close_caller(caller);
}

static void test_method_that_is_not_there_is_unimplemented(void **state) {
    struct caller *caller = call_house(state, "/test.Service/Nothing");
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_string("x")), STATUS_OK);
    assert_true(reaches(&caller->told.finished, 1));
    assert_int_equal(caller->told.status, STATUS_UNIMPLEMENTED);
    assert_int_equal(value_of(&caller->told.lost), 0);
    close_caller(caller);
}

static void test_message_that_is_too_large_for_us_ends_the_call(void **state) {
    struct house *house = *state;
    struct grpc_streams_options options = {.message_bytes_max = 1000, .waiting_bytes_max = 1 << 20};
    struct caller *caller = call_port(&options, rpc_server_port(house->server), REFLECT);
    caller->told.on_message = check_sequence;
    write_sequence(caller, 0, 1000);
    assert_all_came(caller, 1);
    write_sequence(caller, 1, 1001);
    assert_true(reaches(&caller->told.finished, 1));
    assert_int_equal(caller->told.status, STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(value_of(&caller->told.messages), 1);
    caller->told.next_number = 0;
    assert_int_equal(write_next(caller, bytes_view_of("\0\0\0", 4)), STATUS_OK); /* the next call is not harmed */
    assert_true(reaches(&caller->told.messages, 2));
    assert_int_equal(value_of(&caller->told.lost), 0);
    close_caller(caller);
}

static void test_message_that_is_too_large_for_the_server_ends_the_call(void **state) {
    static uint8_t message[(1 << 20) + 1];
    struct caller *caller = call_house(state, REFLECT);
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_of(message, sizeof message)), STATUS_OK);
    assert_true(reaches(&caller->told.finished, 1));
    assert_int_equal(caller->told.status, STATUS_RESOURCE_EXHAUSTED);
    close_caller(caller);
}

static void test_cancel_ends_the_call_on_both_sides(void **state) {
    struct caller *caller = call_house(state, "/test.Service/Hold");
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_string("x")), STATUS_OK);
    assert_true(reaches(&held_count, 1));
    grpc_stream_cancel(caller->stream);
    assert_true(reaches(&caller->told.finished, 1));
    assert_int_equal(caller->told.status, STATUS_CANCELLED);
    assert_true(reaches(&cancelled_count, 1));
    assert_int_equal(write_next(caller, bytes_view_string("y")), STATUS_OK); /* another call */
    assert_true(reaches(&held_count, 2));
    assert_int_equal(value_of(&caller->told.lost), 0);
    close_caller(caller);
    assert_true(reaches(&cancelled_count, 2)); /* closing cancels, too */
}

static void cancel_here(struct told *told, struct bytes_view message) {
    (void)message;
    grpc_stream_cancel(((struct caller *)told->context)->stream);
}

/** What lies behind the message in whose callback the call is cancelled is not told. */
static void test_cancel_in_on_message_is_the_last_message(void **state) {
    struct caller *caller = call_house(state, "/test.Service/CountUp");
    caller->told.context = caller;
    caller->told.on_message = cancel_here;
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_of(&(uint8_t){200}, 1)), STATUS_OK);
    assert_true(reaches(&caller->told.finished, 1));
    /* OK: the server's end came together with the message */
    assert_true(caller->told.status == STATUS_CANCELLED || caller->told.status == STATUS_OK);
    assert_int_equal(value_of(&caller->told.messages), 1);
    close_caller(caller);
}

struct canceller {
    struct loop_member member;
    struct grpc_stream *stream;
    int turns;
};

static int64_t cancel_in_turn(void *context) {
    struct canceller *canceller = context;
    if (value_of(&canceller->turns) == 0) grpc_stream_cancel(canceller->stream);
    add(&canceller->turns, 1);
    return INT64_MAX;
}

/** Also on the loop's thread, where a cancelled call's messages are dropped: there is none, so the next one's are not. */
static void test_cancel_without_a_call_is_nothing(void **state) {
    struct caller *caller = call_house(state, REFLECT);
    struct canceller canceller = {.stream = caller->stream};
    canceller.member = (struct loop_member){.context = &canceller, .turn = cancel_in_turn};
    assert_true(becomes_ready(caller));
    loop_join(caller->loop, &canceller.member);
    assert_true(reaches(&canceller.turns, 1));
    grpc_stream_cancel(caller->stream);
    caller->told.on_message = check_sequence;
    for (uint32_t i = 0; i < 10; i++) write_sequence(caller, i, 10);
    assert_all_came(caller, 10);
    loop_leave(caller->loop, &canceller.member);
    close_caller(caller);
}

/** A message that is written while the call's end is on its way is refused, or of the ending call, or begins another: no call is left without an
 *  end. */
static void test_write_at_the_end_of_a_call_is_never_forgotten(void **state) {
    struct caller *caller = call_house(state, "/test.Service/Refuse");
    for (int i = 0; i < 300; i++) {
        int ended = value_of(&caller->told.finished);
        enum status status;
        do status = grpc_stream_write(caller->stream, bytes_view_string("x"));
        while (status == STATUS_CANCELLED);
        assert_int_equal(status, STATUS_OK);
        if (i % 3 == 0) nap((int64_t)(i % 7) * 50 * NS_PER_US);
        status = grpc_stream_write(caller->stream, bytes_view_string("y"));
        assert_true(status == STATUS_OK || status == STATUS_CANCELLED);
        assert_true(reaches(&caller->told.finished, ended + 1));
    }
    assert_int_equal(value_of(&caller->told.lost), 0);
    close_caller(caller);
}

/* ---- flow control -------------------------------------------------------------------------------------------------- */

static void test_server_that_does_not_read_is_full_some_time_and_then_goes_on(void **state) {
    static uint8_t block[64 * 1024];
    struct house *house = *state;
    struct grpc_streams_options options = {.message_bytes_max = 1 << 20, .waiting_bytes_max = 1 << 20};
    struct caller *caller = call_port(&options, rpc_server_port(house->server), "/test.Service/Pause");
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_of(block, sizeof block)), STATUS_OK);
    assert_true(reaches(&held_count, 1));
    enum status status = STATUS_OK;
    int written = 1;
    while (written < 100 + 16 * 64 &&
           (status = grpc_stream_write(caller->stream, bytes_view_of(block, sizeof block))) == STATUS_OK)
        written++;
    assert_int_equal(status, STATUS_RESOURCE_EXHAUSTED);
    assert_true(grpc_stream_waiting_bytes(caller->stream) <= (1 << 20) + 2 * 65536);
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_of(block, sizeof block)), STATUS_RESOURCE_EXHAUSTED);
    for (int i = 1; i < written; i++) { /* what was taken comes */
        rpc_call_resume_reading(held);
        assert_true(reaches(&held_count, i + 1));
    }
    rpc_call_resume_reading(held);
    int64_t until_ns = clock_monotonic_ns(clock_system()) + PATIENCE_NS;
    while (grpc_stream_waiting_bytes(caller->stream) > 0 && clock_monotonic_ns(clock_system()) < until_ns)
        nap(NS_PER_MS);
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_of(block, sizeof block)), STATUS_OK);
    assert_true(reaches(&held_count, written + 1));
    assert_int_equal(value_of(&held_count), written + 1); /* and what was refused does not */
    close_caller(caller);
}

static void test_call_that_is_over_leaves_nothing_waiting(void **state) {
    static uint8_t block[256 * 1024];
    struct caller *caller = call_house(state, "/test.Service/Pause");
    for (int i = 0; i < 20; i++)
        assert_int_equal(grpc_stream_write(caller->stream, bytes_view_of(block, sizeof block)), STATUS_OK);
    assert_true(reaches(&held_count, 1));
    grpc_stream_cancel(caller->stream);
    assert_true(reaches(&caller->told.finished, 1));
    assert_int_equal(write_next(caller, bytes_view_string("the next call's")), STATUS_OK);
    assert_true(reaches(&held_count, 2));
    assert_int_equal(grpc_stream_waiting_bytes(caller->stream), 0);
    close_caller(caller);
}

/* ---- addresses ----------------------------------------------------------------------------------------------------- */

static void assert_target_serves(const char *target) {
    struct caller *caller = open_caller(NULL, target, REFLECT);
    caller->told.on_message = check_sequence;
    write_sequence(caller, 0, 100);
    assert_all_came(caller, 1);
    close_caller(caller);
}

static void test_names_addresses_and_unix_sockets_are_targets(void **state) {
    struct house *house = *state;
    char target[128];
    snprintf(target, sizeof target, "127.0.0.1:%d", rpc_server_port(house->server));
    assert_target_serves(target);
    struct rpc_server *server = open_server("[::1]:0", 1 << 20);
    snprintf(target, sizeof target, "[::1]:%d", rpc_server_port(server));
    assert_target_serves(target);
    rpc_server_stop(server, 0);
    rpc_server_destroy(server);
    snprintf(target, sizeof target, "unix:/tmp/bora-stream-test-%d.sock", getpid());
    server = open_server(target, 1 << 20);
    assert_target_serves(target);
    rpc_server_stop(server, 0);
    rpc_server_destroy(server);
}

static void test_name_with_several_addresses_finds_the_one_that_serves(void **state) {
    struct house *house = *state;
    char target[64];
    snprintf(target, sizeof target, "localhost:%d",
             rpc_server_port(house->server)); /* ::1 may come first; nobody listens there */
    assert_target_serves(target);
}

static void test_what_is_no_target_is_an_error(void **state) {
    (void)state;
    char path[300] = "unix:/";
    memset(path + 6, 'x', sizeof path - 7);
    const char *const targets[] = {"", "host", "host:", ":", ":80", "unix:", path};
    struct loop *loop = NULL;
    struct grpc_streams *streams = NULL;
    assert_int_equal(loop_create("test-loop", &loop, NULL), STATUS_OK);
    struct grpc_streams_options options = {.loop = loop, .message_bytes_max = 1 << 20, .waiting_bytes_max = 1 << 20};
    assert_int_equal(grpc_streams_create(&options, &streams, NULL), STATUS_OK);
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        struct grpc_stream *stream = NULL;
        struct error err = {0};
        assert_int_equal(grpc_stream_create(streams, targets[i], REFLECT, NULL, NULL, &stream, &err),
                         STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(err.message, "no address"));
    }
    grpc_streams_destroy(streams);
    loop_destroy(loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        HOUSE_TEST(test_ten_thousand_messages_in_bursts_come_back_in_order),
        HOUSE_TEST(test_messages_of_any_size_come_back),
        HOUSE_TEST(test_empty_messages_are_messages),
        HOUSE_TEST(test_many_threads_write_at_once),
        HOUSE_TEST(test_messages_written_in_on_message_go_out),
        HOUSE_TEST(test_call_ends_with_the_servers_status_and_message),
        HOUSE_TEST(test_messages_before_the_end_come_before_it),
        HOUSE_TEST(test_method_that_is_not_there_is_unimplemented),
        HOUSE_TEST(test_message_that_is_too_large_for_us_ends_the_call),
        HOUSE_TEST(test_message_that_is_too_large_for_the_server_ends_the_call),
        HOUSE_TEST(test_cancel_ends_the_call_on_both_sides),
        HOUSE_TEST(test_cancel_in_on_message_is_the_last_message),
        HOUSE_TEST(test_cancel_without_a_call_is_nothing),
        HOUSE_TEST(test_write_at_the_end_of_a_call_is_never_forgotten),
        HOUSE_TEST(test_server_that_does_not_read_is_full_some_time_and_then_goes_on),
        HOUSE_TEST(test_call_that_is_over_leaves_nothing_waiting),
        HOUSE_TEST(test_names_addresses_and_unix_sockets_are_targets),
        HOUSE_TEST(test_name_with_several_addresses_finds_the_one_that_serves),
        cmocka_unit_test(test_what_is_no_target_is_an_error),
    };
    return cmocka_run_group_tests_name("rpc/grpc_stream", tests, NULL, NULL);
}
