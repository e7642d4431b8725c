/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Does a call get through, both ways, and does everything end when it should? */
#include "tests/unit/rpc/grpc_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- tests --------------------------------------------------------------------------------------------------------- */

static void test_unary_echo_returns_request(void **state) {
    struct bytes reply;
    struct error err = {0};
    bytes_init(&reply, 1 << 20);
    assert_int_equal(ask(*state, "/test.Service/Echo", bytes_view_string("hello"), &reply, &err), STATUS_OK);
    assert_true(bytes_view_equal_string(bytes_view(&reply), "hello"));
    bytes_deinit(&reply);
}

static void test_unary_empty_message_arrives(void **state) {
    struct bytes reply;
    struct error err = {0};
    bytes_init(&reply, 1 << 20);
    assert_int_equal(ask(*state, "/test.Service/Echo", bytes_view_string(""), &reply, &err), STATUS_OK);
    assert_int_equal(reply.length, 0);
    bytes_deinit(&reply);
}

static void test_message_at_limit_passes_and_over_limit_is_resource_exhausted(void **state) {
    struct bytes reply;
    struct error err = {0};
    uint8_t *data = calloc(1, (1 << 20) + 1);
    bytes_init(&reply, 8 << 20);
    assert_int_equal(ask(*state, "/test.Service/Echo", bytes_view_of(data, 64 * 1024), &reply, &err), STATUS_OK);
    assert_int_equal(reply.length, 64 * 1024);
    bytes_reset(&reply);
    assert_int_equal(ask(*state, "/test.Service/Echo", bytes_view_of(data, 1 << 20), &reply, &err), STATUS_OK);
    assert_int_equal(reply.length, 1 << 20);
    bytes_reset(&reply);
    assert_int_equal(ask(*state, "/test.Service/Echo", bytes_view_of(data, (1 << 20) + 1), &reply, &err),
                     STATUS_RESOURCE_EXHAUSTED);
    free(data);
    bytes_deinit(&reply);
}

static void test_unknown_method_is_unimplemented(void **state) {
    struct bytes reply;
    struct error err = {0};
    bytes_init(&reply, 1024);
    assert_int_equal(ask(*state, "/test.Service/Nothing", bytes_view_string("x"), &reply, &err), STATUS_UNIMPLEMENTED);
    assert_non_null(strstr(err.message, "/test.Service/Nothing"));
    bytes_deinit(&reply);
}

static void test_status_details_and_trailers_reach_the_client(void **state) {
    struct listener listener = {.credit_each = true};
    struct rpc_client_call *call = start(*state, "/test.Service/Refuse", &listener, NULL, PATIENCE_NS);
    assert_int_equal(rpc_client_call_write(call, bytes_view_string("why")), STATUS_OK);
    rpc_client_call_half_close(call);
    rpc_client_call_read(call);
    assert_true(reaches(&listener.finished, 1));
    assert_int_equal(listener.status, STATUS_NOT_FOUND);
    assert_string_equal(listener.message, "nothing here, für wahr");
    assert_true(listener.detail_found);
    rpc_client_call_unref(call);

    struct listener second = {.credit_each = true};
    const char *const metadata[] = {"x-question", "what?", NULL};
    call = start(*state, "/test.Service/Echo", &second, metadata, PATIENCE_NS);
    assert_int_equal(rpc_client_call_write(call, bytes_view_string("x")), STATUS_OK);
    rpc_client_call_half_close(call);
    rpc_client_call_read(call);
    assert_true(reaches(&second.finished, 1));
    assert_string_equal(second.trailer, "what?");
    rpc_client_call_unref(call);
}

static void test_illegal_metadata_is_invalid_argument(void **state) {
    struct house *house = *state;
    struct listener listener = {0};
    const char *const metadata[] = {"authorization", "Bearer a\nb", NULL};
    struct rpc_client_call_options options = {.path = "/test.Service/Echo",
                                              .deadline_ns = INT64_MAX,
                                              .metadata = metadata,
                                              .on_message = on_message,
                                              .on_finished = on_finished,
                                              .context = &listener};
    struct rpc_client_call *call = NULL;
    struct error err = {0};
    assert_int_equal(rpc_client_call_start(house->channel, &options, &call, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "authorization"));
}

/** Compressed messages are checked against the limit before they grow, so none is taken. */
static void test_compressed_call_is_unimplemented(void **state) {
    struct listener listener = {.credit_each = true};
    const char *const metadata[] = {"grpc-encoding", "gzip", NULL};
    struct rpc_client_call *call = start(*state, "/test.Service/Echo", &listener, metadata, PATIENCE_NS);
    (void)!rpc_client_call_write(call,
                                 bytes_view_string("x")); /* the refusal, of the metadata, may have been quicker */
    rpc_client_call_half_close(call);
    rpc_client_call_read(call);
    assert_true(reaches(&listener.finished, 1));
    assert_int_equal(listener.status, STATUS_UNIMPLEMENTED);
    assert_non_null(strstr(listener.message, "gzip"));
    rpc_client_call_unref(call);
}

static void test_details_too_large_for_clients_are_left_out(void **state) {
    struct listener listener = {.credit_each = true};
    uint8_t *large = calloc(1, 8000);
    struct rpc_client_call *call = start(*state, "/test.Service/Refuse", &listener, NULL, PATIENCE_NS);
    assert_int_equal(rpc_client_call_write(call, bytes_view_of(large, 8000)), STATUS_OK);
    rpc_client_call_half_close(call);
    assert_true(reaches(&listener.finished, 1));
    assert_int_equal(listener.status, STATUS_NOT_FOUND);
    assert_string_equal(listener.message, "nothing here, für wahr");
    free(large);
    rpc_client_call_unref(call);
}

static void test_closing_a_channel_ends_its_calls(void **state) {
    struct house *house = *state;
    struct listener listener = {.credit_each = true};
    struct rpc_client_call *call = start(house, "/test.Service/Hold", &listener, NULL, PATIENCE_NS);
    assert_int_equal(rpc_client_call_write(call, bytes_view_string("x")), STATUS_OK);
    assert_true(reaches(&held_count, 1));
    rpc_channel_close(house->channel);
    house->channel = NULL;
    assert_true(reaches(&listener.finished, 1));
    assert_int_equal(listener.status, STATUS_CANCELLED);
    assert_true(reaches(&cancelled_count, 1));
    rpc_client_call_unref(call);
}

static void on_finished_with_two(struct rpc_client_call *call, void *context, const struct rpc_result *result) {
    (void)call;
    struct listener *listener = context;
    const char *answer = result->trailer(result, "x-answer"), *details = result->trailer(result, "x-more"),
               *absent = result->trailer(result, "x-none");
    listener->detail_found = answer != NULL && details != NULL && absent == NULL && strcmp(answer, "one") == 0 &&
                             strcmp(details, "more") == 0;
    add(&listener->finished, 1);
}

static void test_two_trailers_can_be_held_at_once(void **state) {
    struct house *house = *state;
    struct listener listener = {0};
    const char *const metadata[] = {"x-question", "one", NULL};
    struct rpc_client_call_options options = {.path = "/test.Service/Echo",
                                              .deadline_ns = INT64_MAX,
                                              .metadata = metadata,
                                              .on_message = on_message,
                                              .on_finished = on_finished_with_two,
                                              .context = &listener};
    struct rpc_client_call *call = NULL;
    assert_int_equal(rpc_client_call_start(house->channel, &options, &call, NULL), STATUS_OK);
    assert_int_equal(rpc_client_call_write(call, bytes_view_string("x")), STATUS_OK);
    rpc_client_call_half_close(call);
    rpc_client_call_read(call);
    assert_true(reaches(&listener.finished, 1));
    assert_true(listener.detail_found);
    rpc_client_call_unref(call);
}

static void test_server_stream_delivers_all_in_order(void **state) {
    struct listener listener = {.credit_each = true};
    struct rpc_client_call *call = start(*state, "/test.Service/CountUp", &listener, NULL, PATIENCE_NS);
    uint8_t count = 200;
    assert_int_equal(rpc_client_call_write(call, bytes_view_of(&count, 1)), STATUS_OK);
    rpc_client_call_half_close(call);
    rpc_client_call_read(call);
    assert_true(reaches(&listener.finished, 1));
    assert_int_equal(listener.messages, 200);
    assert_int_equal(listener.status, STATUS_OK);
    rpc_client_call_unref(call);
}

static void test_client_stream_takes_all_and_answers_once(void **state) {
    struct listener listener = {.credit_each = true};
    struct rpc_client_call *call = start(*state, "/test.Service/Sum", &listener, NULL, PATIENCE_NS);
    for (int i = 0; i < 50; i++) assert_int_equal(rpc_client_call_write(call, bytes_view_string("part")), STATUS_OK);
    rpc_client_call_half_close(call);
    rpc_client_call_read(call);
    assert_true(reaches(&listener.finished, 1));
    assert_int_equal(listener.status, STATUS_OK);
    assert_int_equal(listener.messages, 1);
    assert_int_equal(value_of(&listener.last_byte), 50);
    assert_int_equal(value_of(&half_closed_count), 1);
    rpc_client_call_unref(call);
}

static void test_unary_without_a_message_is_unimplemented(void **state) {
    struct listener listener = {.credit_each = true};
    struct rpc_client_call *call = start(*state, "/test.Service/Echo", &listener, NULL, PATIENCE_NS);
    rpc_client_call_half_close(call);
    rpc_client_call_read(call);
    assert_true(reaches(&listener.finished, 1));
    assert_int_equal(listener.status, STATUS_UNIMPLEMENTED);
    rpc_client_call_unref(call);
}

/** Hold does not finish by itself, so a second message would come if it were read. */
static void test_unary_handler_gets_only_the_first_message(void **state) {
    struct listener listener = {.credit_each = true};
    struct rpc_client_call *call = start(*state, "/test.Service/Hold", &listener, NULL, PATIENCE_NS);
    for (int i = 0; i < 3; i++) assert_int_equal(rpc_client_call_write(call, bytes_view_string("x")), STATUS_OK);
    rpc_client_call_half_close(call);
    rpc_client_call_read(call);
    assert_true(reaches(&held_count, 1));
    assert_int_equal(rpc_call_write(held, bytes_view_string("answer")), STATUS_OK);
    assert_true(reaches(&listener.messages, 1)); /* a round trip, in which the others would have been read */
    assert_int_equal(value_of(&held_count), 1);
    rpc_call_finish(held, STATUS_OK, NULL, (struct bytes_view){0});
    assert_true(reaches(&listener.finished, 1));
    assert_int_equal(listener.status, STATUS_OK);
    rpc_client_call_unref(call);
}

static void test_paused_reading_stops_the_client_and_resuming_goes_on(void **state) {
    struct listener listener = {.credit_each = true};
    struct rpc_client_call *call = start(*state, "/test.Service/Pause", &listener, NULL, PATIENCE_NS);
    rpc_client_call_read(call);
    for (int i = 0; i < 10; i++) assert_int_equal(rpc_client_call_write(call, bytes_view_string("x")), STATUS_OK);
    rpc_client_call_half_close(call);
    for (int i = 1; i <= 10; i++) {
        assert_true(reaches(&held_count, i));
        assert_true(ask_echo(((struct house *)*state)->channel, PATIENCE_NS, NULL) == STATUS_OK);
        assert_int_equal(value_of(&held_count), i); /* it paused in each message */
        rpc_call_resume_reading(held);
    }
    assert_true(reaches(&listener.finished, 1));
    assert_int_equal(listener.status, STATUS_OK);
    rpc_client_call_unref(call);
}

/** What the server does not read waits at the client, whose own maximum ends it; little is in between. */
static void test_client_of_a_server_that_does_not_read_is_bounded(void **state) {
    enum { MESSAGE_BYTES = 16 * 1024, CLIENT_MAX = 64 << 20 };
    struct listener listener = {.credit_each = true};
    struct rpc_client_call *call = start(*state, "/test.Service/Pause", &listener, NULL, PATIENCE_NS);
    uint8_t *message = calloc(1, MESSAGE_BYTES);
    enum status status = STATUS_OK;
    int64_t written = 0;
    while (written < 2 * (int64_t)CLIENT_MAX &&
           (status = rpc_client_call_write(call, bytes_view_of(message, MESSAGE_BYTES))) == STATUS_OK)
        written += MESSAGE_BYTES;
    assert_int_equal(status, STATUS_RESOURCE_EXHAUSTED);
    assert_true(written < CLIENT_MAX + (1 << 20));
    assert_int_equal(value_of(&held_count) <= 1, 1); /* one message was read, at most */
    rpc_client_call_cancel(call);
    assert_true(reaches(&listener.finished, 1));
    free(message);
    rpc_client_call_unref(call);
}

static void test_peer_is_the_clients_address(void **state) {
    struct house *house = *state;
    assert_int_equal(ask_echo(house->channel, PATIENCE_NS, NULL), STATUS_OK);
    assert_true(strncmp(seen_peer, "ipv4:127.0.0.1:", 15) == 0);
}

static void test_bidirectional_stream_answers_while_open(void **state) {
    struct listener listener = {.credit_each = true};
    struct rpc_client_call *call = start(*state, "/test.Service/Reflect", &listener, NULL, PATIENCE_NS);
    rpc_client_call_read(call);
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(rpc_client_call_write(call, bytes_view_string("ping")), STATUS_OK);
        assert_true(reaches(&listener.messages, i)); /* before the next is sent */
    }
    rpc_client_call_half_close(call);
    assert_true(reaches(&listener.finished, 1));
    assert_int_equal(listener.status, STATUS_OK);
    rpc_client_call_unref(call);
}

static void test_deadline_reaches_handler_and_ends_call(void **state) {
    struct listener listener = {.credit_each = true};
    int64_t now = clock_monotonic_ns(clock_system());
    struct rpc_client_call *call = start(*state, "/test.Service/Hold", &listener, NULL, 200 * NS_PER_MS);
    assert_int_equal(rpc_client_call_write(call, bytes_view_string("x")), STATUS_OK);
    rpc_client_call_read(call);
    assert_true(reaches(&listener.finished, 1));
    assert_int_equal(listener.status, STATUS_DEADLINE_EXCEEDED);
    assert_true(reaches(&cancelled_count, 1));
    assert_true(reaches(&finished_count, 1));
    assert_true(clock_monotonic_ns(clock_system()) - now >= 190 * NS_PER_MS);
    rpc_client_call_unref(call);

    struct bytes reply;
    struct error err = {0};
    bytes_init(&reply, 1024);
    now = clock_monotonic_ns(clock_system());
    assert_int_equal(ask(*state, "/test.Service/Echo", bytes_view_string("x"), &reply, &err), STATUS_OK);
    int64_t left = atomic_load(&seen_deadline_ns) - now;
    assert_true(left > PATIENCE_NS / 2 && left < PATIENCE_NS + NS_PER_S);
    bytes_deinit(&reply);
}

static void test_cancel_reaches_handler(void **state) {
    struct listener listener = {.credit_each = true};
    struct rpc_client_call *call = start(*state, "/test.Service/Hold", &listener, NULL, PATIENCE_NS);
    assert_int_equal(rpc_client_call_write(call, bytes_view_string("x")), STATUS_OK);
    rpc_client_call_read(call);
    assert_true(reaches(&held_count, 1));
    rpc_client_call_cancel(call);
    assert_true(reaches(&cancelled_count, 1));
    assert_true(reaches(&finished_count, 1));
    assert_true(reaches(&listener.finished, 1));
    assert_int_equal(listener.status, STATUS_CANCELLED);
    assert_int_equal(rpc_client_call_write(call, bytes_view_string("late")), STATUS_CANCELLED);
    rpc_client_call_unref(call);
}

/** The client asks for nothing: what is written waits in the call, up to a hard maximum; other calls go on; reading sets it free. */
static void test_slow_reader_is_bounded_and_does_not_stop_others(void **state) {
    struct listener listener = {0};
    struct rpc_client_call *call = start(*state, "/test.Service/Hold", &listener, NULL, PATIENCE_NS);
    assert_int_equal(rpc_client_call_write(call, bytes_view_string("x")), STATUS_OK);
    assert_true(reaches(&held_count, 1));
    uint8_t *kilobyte = calloc(1, 1024);
    int written = 0;
    enum status status = STATUS_OK;
    while (written < 100000 && (status = rpc_call_write(held, bytes_view_of(kilobyte, 1024))) == STATUS_OK) written++;
    assert_int_equal(status, STATUS_RESOURCE_EXHAUSTED);
    size_t pending = rpc_call_pending_bytes(held);
    assert_true(pending <= 16u << 20);
    assert_true((size_t)written * 1025 - pending < 1u << 20); /* little left in the transport's own buffers */

    test_unary_echo_returns_request(state);

    int writable_before =
        value_of(&writable_count); /* not always 0: the writer may pause before the windows are full */
    listener.credit_each = true;
    rpc_client_call_read(call);
    assert_true(reaches(&writable_count, writable_before + 1));
    assert_true(reaches(&listener.messages, written));
    rpc_call_finish(held, STATUS_OK, NULL, (struct bytes_view){0});
    assert_true(reaches(&listener.finished, 1));
    assert_int_equal(listener.bytes, written * 1024);
    free(kilobyte);
    rpc_client_call_unref(call);
}

enum { CALLS = 250, CALLERS = 4 };
static struct listener listeners[CALLERS * CALLS];
struct caller {
    struct house *house;
    int first;
};

static void *call_many(void *context) {
    const struct caller *caller = context;
    for (int i = caller->first; i < caller->first + CALLS; i++) {
        listeners[i].credit_each = true;
        struct rpc_client_call *call = start(caller->house, "/test.Service/Echo", &listeners[i], NULL, PATIENCE_NS);
        assert_int_equal(rpc_client_call_write(call, bytes_view_string("many")), STATUS_OK);
        rpc_client_call_half_close(call);
        rpc_client_call_read(call);
        rpc_client_call_unref(call);
    }
    return NULL;
}

static void test_a_thousand_calls_from_four_threads_all_finish(void **state) {
    pthread_t threads[CALLERS];
    struct caller callers[CALLERS];
    memset(listeners, 0, sizeof listeners);
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.house = *state, .first = i * CALLS};
        assert_int_equal(pthread_create(&threads[i], NULL, call_many, &callers[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < CALLERS * CALLS; i++) {
        assert_true(reaches(&listeners[i].finished, 1));
        assert_int_equal(listeners[i].status, STATUS_OK);
        assert_int_equal(listeners[i].bytes, 4);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        HOUSE_TEST(test_unary_echo_returns_request),
        HOUSE_TEST(test_unary_empty_message_arrives),
        HOUSE_TEST(test_message_at_limit_passes_and_over_limit_is_resource_exhausted),
        HOUSE_TEST(test_unknown_method_is_unimplemented),
        HOUSE_TEST(test_status_details_and_trailers_reach_the_client),
        HOUSE_TEST(test_illegal_metadata_is_invalid_argument),
        HOUSE_TEST(test_server_stream_delivers_all_in_order),
        HOUSE_TEST(test_client_stream_takes_all_and_answers_once),
        HOUSE_TEST(test_unary_without_a_message_is_unimplemented),
        HOUSE_TEST(test_unary_handler_gets_only_the_first_message),
        HOUSE_TEST(test_paused_reading_stops_the_client_and_resuming_goes_on),
        HOUSE_TEST(test_client_of_a_server_that_does_not_read_is_bounded),
        HOUSE_TEST(test_peer_is_the_clients_address),
        HOUSE_TEST(test_compressed_call_is_unimplemented),
        HOUSE_TEST(test_details_too_large_for_clients_are_left_out),
        HOUSE_TEST(test_closing_a_channel_ends_its_calls),
        HOUSE_TEST(test_two_trailers_can_be_held_at_once),
        HOUSE_TEST(test_bidirectional_stream_answers_while_open),
        HOUSE_TEST(test_deadline_reaches_handler_and_ends_call),
        HOUSE_TEST(test_cancel_reaches_handler),
        HOUSE_TEST(test_slow_reader_is_bounded_and_does_not_stop_others),
        HOUSE_TEST(test_a_thousand_calls_from_four_threads_all_finish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
