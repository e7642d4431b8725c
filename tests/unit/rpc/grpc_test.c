/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Does a call get through, both ways, and does everything end when it should? Server and client in one process, real sockets. */
#include "base/clock.h"
#include "rpc/grpc_client.h"
#include "rpc/grpc_server.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static const int64_t PATIENCE_NS = 20 * NS_PER_S;

/* ---- a place where threads meet ------------------------------------------------------------------------------------ */

struct meeting {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};
static struct meeting meeting = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER};

static void add(int *counter, int by) {
    pthread_mutex_lock(&meeting.mutex);
    *counter += by;
    pthread_cond_broadcast(&meeting.changed);
    pthread_mutex_unlock(&meeting.mutex);
}

static int value_of(const int *counter) {
    pthread_mutex_lock(&meeting.mutex);
    int value = *counter;
    pthread_mutex_unlock(&meeting.mutex);
    return value;
}

/** Wait until the counter reaches `least`; false when patience ends. */
static bool reaches(const int *counter, int least) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_NS / NS_PER_S;
    bool reached = true;
    pthread_mutex_lock(&meeting.mutex);
    while (*counter < least && reached) reached = pthread_cond_timedwait(&meeting.changed, &meeting.mutex, &until) == 0;
    reached = *counter >= least;
    pthread_mutex_unlock(&meeting.mutex);
    return reached;
}

/* ---- the service under test ---------------------------------------------------------------------------------------- */

static int held_count, cancelled_count, finished_count, writable_count;
static struct rpc_call *held;
static _Atomic int64_t seen_deadline_ns;

static void echo(struct rpc_call *call, struct bytes_view message) {
    atomic_store(&seen_deadline_ns, rpc_call_deadline_ns(call));
    const char *header = rpc_call_metadata(call, "x-question");
    if (header != NULL) assert_int_equal(rpc_call_add_trailer(call, "x-answer", header), STATUS_OK);
    enum status status = rpc_call_write(call, message);
    rpc_call_finish(call, status, NULL, (struct bytes_view){0});
}

static void refuse(struct rpc_call *call, struct bytes_view message) {
    struct bytes details;
    bytes_init(&details, 4096);
    assert_int_equal(rpc_status_details(STATUS_NOT_FOUND, "nothing here, für wahr", "test.Detail", message, &details), STATUS_OK);
    rpc_call_finish(call, STATUS_NOT_FOUND, "nothing here, für wahr", bytes_view(&details));
    bytes_deinit(&details);
}

/** Sends the number of messages that the request says, one byte each. */
static void count_up(struct rpc_call *call, struct bytes_view message) {
    for (int i = 0; i < message.data[0]; i++) {
        uint8_t byte = (uint8_t)i;
        assert_int_equal(rpc_call_write(call, bytes_view_of(&byte, 1)), STATUS_OK);
    }
    rpc_call_finish(call, STATUS_OK, NULL, (struct bytes_view){0});
}

static void reflect(struct rpc_call *call, struct bytes_view message) { (void)!rpc_call_write(call, message); }
static void reflect_end(struct rpc_call *call) { rpc_call_finish(call, STATUS_OK, NULL, (struct bytes_view){0}); }

static void hold(struct rpc_call *call, struct bytes_view message) {
    (void)message;
    held = call;
    rpc_call_set_watermark(call, 64 * 1024);
    add(&held_count, 1);
}
static void hold_cancelled(struct rpc_call *call) {
    rpc_call_finish(call, STATUS_CANCELLED, "cancelled", (struct bytes_view){0});
    add(&cancelled_count, 1);
}
static void hold_writable(struct rpc_call *call) { (void)call, add(&writable_count, 1); }
static void hold_finished(struct rpc_call *call) { (void)call, add(&finished_count, 1); }

static const struct rpc_method methods[] = {
    {.path = "/test.Service/Echo", .message = echo},
    {.path = "/test.Service/Refuse", .message = refuse},
    {.path = "/test.Service/CountUp", .message = count_up},
    {.path = "/test.Service/Reflect", .message = reflect, .half_closed = reflect_end},
    {.path = "/test.Service/Hold", .message = hold, .writable = hold_writable, .cancelled = hold_cancelled, .finished = hold_finished},
};

struct house {
    struct rpc_server *server;
    struct rpc_client *client;
    struct rpc_channel *channel;
};

static struct rpc_server *open_server(const char *address, int64_t message_bytes_max) {
    struct rpc_server_options options = {.address = address, .message_bytes_max = message_bytes_max};
    struct rpc_server *server = NULL;
    struct error err = {0};
    if (rpc_server_create(&options, &server, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(rpc_server_add(server, methods, sizeof methods / sizeof methods[0], NULL, &err), STATUS_OK);
    assert_int_equal(rpc_server_start(server, &err), STATUS_OK);
    return server;
}

static struct rpc_channel *open_channel(struct rpc_client *client, int port) {
    char target[64];
    snprintf(target, sizeof target, "127.0.0.1:%d", port);
    struct rpc_channel_options options = {.target = target, .message_bytes_max = 8 << 20};
    struct rpc_channel *channel = NULL;
    struct error err = {0};
    assert_int_equal(rpc_channel_open(client, &options, &channel, &err), STATUS_OK);
    return channel;
}

static int open_house(void **state) {
    struct house *house = calloc(1, sizeof *house);
    struct error err = {0};
    house->server = open_server("127.0.0.1:0", 1 << 20);
    assert_int_equal(rpc_client_create(1, &house->client, &err), STATUS_OK);
    house->channel = open_channel(house->client, rpc_server_port(house->server));
    held_count = cancelled_count = finished_count = writable_count = 0;
    *state = house;
    return 0;
}

static int close_house(void **state) {
    struct house *house = *state;
    rpc_channel_close(house->channel);
    rpc_client_destroy(house->client);
    if (house->server != NULL) rpc_server_stop(house->server, 0);
    rpc_server_destroy(house->server);
    free(house);
    return 0;
}

static enum status ask(struct house *house, const char *path, struct bytes_view request, struct bytes *reply, struct error *err) {
    return rpc_client_unary(house->channel, path, NULL, request, PATIENCE_NS, reply, err);
}

/* ---- a stream's client side ---------------------------------------------------------------------------------------- */

struct listener {
    int messages, finished, bytes;
    enum status status;
    char message[128], trailer[64];
    bool credit_each; /* ask for the next message when one arrives */
    bool detail_found;
};

static void on_message(struct rpc_client_call *call, void *context, struct bytes_view message) {
    struct listener *listener = context;
    add(&listener->bytes, (int)message.length);
    add(&listener->messages, 1);
    if (listener->credit_each) rpc_client_call_read(call);
}

static void on_finished(struct rpc_client_call *call, void *context, const struct rpc_result *result) {
    (void)call;
    struct listener *listener = context;
    struct bytes_view detail;
    listener->status = result->status;
    snprintf(listener->message, sizeof listener->message, "%s", result->message);
    const char *trailer = result->trailer(result, "x-answer");
    if (trailer != NULL) snprintf(listener->trailer, sizeof listener->trailer, "%s", trailer);
    listener->detail_found = rpc_status_details_find(result->details, "test.Detail", &detail) && bytes_view_equal_string(detail, "why");
    add(&listener->finished, 1);
}

static struct rpc_client_call *start(struct house *house, const char *path, struct listener *listener, const char *const *metadata, int64_t timeout_ns) {
    struct rpc_client_call_options options = {.path = path, .deadline_ns = clock_monotonic_ns(clock_system()) + timeout_ns, .metadata = metadata, .on_message = on_message,
                                              .on_finished = on_finished, .context = listener};
    struct rpc_client_call *call = NULL;
    struct error err = {0};
    assert_int_equal(rpc_client_call_start(house->channel, &options, &call, &err), STATUS_OK);
    return call;
}

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
    assert_int_equal(ask(*state, "/test.Service/Echo", bytes_view_of(data, 1 << 20), &reply, &err), STATUS_OK);
    assert_int_equal(reply.length, 1 << 20);
    bytes_reset(&reply);
    assert_int_equal(ask(*state, "/test.Service/Echo", bytes_view_of(data, (1 << 20) + 1), &reply, &err), STATUS_RESOURCE_EXHAUSTED);
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
    struct rpc_client_call_options options = {.path = "/test.Service/Echo", .deadline_ns = INT64_MAX, .metadata = metadata, .on_message = on_message, .on_finished = on_finished, .context = &listener};
    struct rpc_client_call *call = NULL;
    struct error err = {0};
    assert_int_equal(rpc_client_call_start(house->channel, &options, &call, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "authorization"));
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

    assert_int_equal(value_of(&writable_count), 0);
    listener.credit_each = true;
    rpc_client_call_read(call);
    assert_true(reaches(&writable_count, 1));
    assert_true(reaches(&listener.messages, written));
    rpc_call_finish(held, STATUS_OK, NULL, (struct bytes_view){0});
    assert_true(reaches(&listener.finished, 1));
    assert_int_equal(listener.bytes, written * 1024);
    free(kilobyte);
    rpc_client_call_unref(call);
}

static void test_many_calls_at_once_all_finish(void **state) {
    enum { CALLS = 500 };
    static struct listener listeners[CALLS];
    memset(listeners, 0, sizeof listeners);
    for (int i = 0; i < CALLS; i++) {
        listeners[i].credit_each = true;
        struct rpc_client_call *call = start(*state, "/test.Service/Echo", &listeners[i], NULL, PATIENCE_NS);
        assert_int_equal(rpc_client_call_write(call, bytes_view_string("many")), STATUS_OK);
        rpc_client_call_half_close(call);
        rpc_client_call_read(call);
        rpc_client_call_unref(call);
    }
    for (int i = 0; i < CALLS; i++) {
        assert_true(reaches(&listeners[i].finished, 1));
        assert_int_equal(listeners[i].status, STATUS_OK);
        assert_int_equal(listeners[i].bytes, 4);
    }
}

static void test_stop_cancels_after_grace_and_new_calls_fail(void **state) {
    struct house *house = *state;
    struct listener listener = {.credit_each = true};
    struct rpc_client_call *call = start(house, "/test.Service/Hold", &listener, NULL, PATIENCE_NS);
    assert_int_equal(rpc_client_call_write(call, bytes_view_string("x")), STATUS_OK);
    rpc_client_call_read(call);
    assert_true(reaches(&held_count, 1));
    rpc_server_stop(house->server, 50 * NS_PER_MS);
    assert_int_equal(value_of(&cancelled_count), 1);
    assert_int_equal(rpc_server_calls(house->server), 0);
    assert_true(reaches(&listener.finished, 1));
    assert_int_not_equal(listener.status, STATUS_OK);
    rpc_client_call_unref(call);
    struct bytes reply;
    struct error err = {0};
    bytes_init(&reply, 1024);
    assert_int_equal(ask(house, "/test.Service/Echo", bytes_view_string("x"), &reply, &err), STATUS_UNAVAILABLE);
    bytes_deinit(&reply);
}

static void test_channel_finds_restarted_server_by_itself(void **state) {
    struct house *house = *state;
    int port = rpc_server_port(house->server);
    test_unary_echo_returns_request(state);
    rpc_server_stop(house->server, 0);
    rpc_server_destroy(house->server);
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    house->server = open_server(address, 1 << 20);
    int64_t began = clock_monotonic_ns(clock_system());
    struct bytes reply;
    bytes_init(&reply, 1024);
    enum status status = STATUS_UNAVAILABLE;
    while (status != STATUS_OK && clock_monotonic_ns(clock_system()) - began < PATIENCE_NS) {
        struct error err = {0};
        status = ask(house, "/test.Service/Echo", bytes_view_string("back"), &reply, &err);
    }
    assert_int_equal(status, STATUS_OK);
    print_message("reconnected after %lld ms\n", (long long)((clock_monotonic_ns(clock_system()) - began) / NS_PER_MS));
    bytes_deinit(&reply);
}

static void test_taken_port_is_unavailable_and_named(void **state) {
    struct house *house = *state;
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%d", rpc_server_port(house->server));
    struct rpc_server_options options = {.address = address, .message_bytes_max = 1 << 20};
    struct rpc_server *second = NULL;
    struct error err = {0};
    assert_int_equal(rpc_server_create(&options, &second, &err), STATUS_UNAVAILABLE);
    assert_non_null(strstr(err.message, address));
}

static void test_health_check_and_watch_follow_the_state(void **state) {
    struct house *house = *state;
    struct bytes reply;
    struct error err = {0};
    bytes_init(&reply, 1024);
    rpc_server_set_health(house->server, "test.Service", true);
    assert_int_equal(ask(house, "/grpc.health.v1.Health/Check", bytes_view_string("\n\x0ctest.Service"), &reply, &err), STATUS_OK);
    assert_int_equal(reply.length, 2);
    assert_memory_equal(reply.data, "\x08\x01", 2);
    assert_int_equal(ask(house, "/grpc.health.v1.Health/Check", bytes_view_string("\n\x04none"), &reply, &err), STATUS_NOT_FOUND);
    assert_int_equal(ask(house, "/grpc.health.v1.Health/Check", bytes_view_string("\xff\xff"), &reply, &err), STATUS_INVALID_ARGUMENT);
    bytes_deinit(&reply);

    struct listener listener = {.credit_each = true};
    struct rpc_client_call *call = start(house, "/grpc.health.v1.Health/Watch", &listener, NULL, PATIENCE_NS);
    assert_int_equal(rpc_client_call_write(call, bytes_view_string("\n\x0ctest.Service")), STATUS_OK);
    rpc_client_call_half_close(call);
    rpc_client_call_read(call);
    assert_true(reaches(&listener.messages, 1));
    rpc_server_set_health(house->server, "test.Service", false);
    assert_true(reaches(&listener.messages, 2));
    rpc_client_call_cancel(call);
    assert_true(reaches(&listener.finished, 1));
    rpc_client_call_unref(call);
}

#define HOUSE_TEST(name) cmocka_unit_test_setup_teardown(name, open_house, close_house)

int main(void) {
    const struct CMUnitTest tests[] = {
        HOUSE_TEST(test_unary_echo_returns_request),
        HOUSE_TEST(test_unary_empty_message_arrives),
        HOUSE_TEST(test_message_at_limit_passes_and_over_limit_is_resource_exhausted),
        HOUSE_TEST(test_unknown_method_is_unimplemented),
        HOUSE_TEST(test_status_details_and_trailers_reach_the_client),
        HOUSE_TEST(test_illegal_metadata_is_invalid_argument),
        HOUSE_TEST(test_server_stream_delivers_all_in_order),
        HOUSE_TEST(test_bidirectional_stream_answers_while_open),
        HOUSE_TEST(test_deadline_reaches_handler_and_ends_call),
        HOUSE_TEST(test_cancel_reaches_handler),
        HOUSE_TEST(test_slow_reader_is_bounded_and_does_not_stop_others),
        HOUSE_TEST(test_many_calls_at_once_all_finish),
        HOUSE_TEST(test_stop_cancels_after_grace_and_new_calls_fail),
        HOUSE_TEST(test_channel_finds_restarted_server_by_itself),
        HOUSE_TEST(test_taken_port_is_unavailable_and_named),
        HOUSE_TEST(test_health_check_and_watch_follow_the_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
