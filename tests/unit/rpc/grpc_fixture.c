/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rpc/grpc_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- a place where threads meet ------------------------------------------------------------------------------------ */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
} meeting = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER};

void add(int *counter, int by) {
    pthread_mutex_lock(&meeting.mutex);
    *counter += by;
    pthread_cond_broadcast(&meeting.changed);
    pthread_mutex_unlock(&meeting.mutex);
}

int value_of(const int *counter) {
    pthread_mutex_lock(&meeting.mutex);
    int value = *counter;
    pthread_mutex_unlock(&meeting.mutex);
    return value;
}

bool reaches(const int *counter, int least) {
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

int held_count, cancelled_count, finished_count, writable_count, half_closed_count;
struct rpc_call *held;
_Atomic int64_t seen_deadline_ns;
char seen_peer[128];

static void echo(struct rpc_call *call, struct bytes_view message) {
    atomic_store(&seen_deadline_ns, rpc_call_deadline_ns(call));
    snprintf(seen_peer, sizeof seen_peer, "%s", rpc_call_peer(call));
    const char *header = rpc_call_metadata(call, "x-question");
    if (header != NULL) {
        assert_int_equal(rpc_call_add_trailer(call, "x-answer", header), STATUS_OK);
        assert_int_equal(rpc_call_add_trailer(call, "x-more", "more"), STATUS_OK);
    }
    enum status status = rpc_call_write(call, message);
    rpc_call_finish(call, status, NULL, (struct bytes_view){0});
}

static void refuse(struct rpc_call *call, struct bytes_view message) {
    struct bytes details;
    bytes_init(&details, 64 * 1024);
    assert_int_equal(rpc_status_details(STATUS_NOT_FOUND, "nothing here, für wahr", "test.Detail", message, &details),
                     STATUS_OK);
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

static void reflect(struct rpc_call *call, struct bytes_view message) {
    (void)!rpc_call_write(call, message);
}
static void reflect_end(struct rpc_call *call) {
    rpc_call_finish(call, STATUS_OK, NULL, (struct bytes_view){0});
}

/** Client streaming: the number of messages so far is in the call's state. */
static void sum(struct rpc_call *call, struct bytes_view message) {
    (void)message;
    rpc_call_set_state(call, (void *)((intptr_t)rpc_call_state(call) + 1));
}
static void sum_end(struct rpc_call *call) {
    uint8_t count = (uint8_t)(intptr_t)rpc_call_state(call);
    add(&half_closed_count, 1);
    (void)!rpc_call_write(call, bytes_view_of(&count, 1));
    rpc_call_finish(call, STATUS_OK, NULL, (struct bytes_view){0});
}

static void pause_each(struct rpc_call *call, struct bytes_view message) {
    (void)message;
    held = call;
    rpc_call_pause_reading(call);
    add(&held_count, 1);
}

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
static void hold_writable(struct rpc_call *call) {
    (void)call, add(&writable_count, 1);
}
static void hold_finished(struct rpc_call *call) {
    (void)call, add(&finished_count, 1);
}

static const struct rpc_method methods[] = {
    {.path = "/test.Service/Echo", .message = echo},
    {.path = "/test.Service/Refuse", .message = refuse},
    {.path = "/test.Service/CountUp", .message = count_up},
    {.path = "/test.Service/Reflect", .message = reflect, .half_closed = reflect_end},
    {.path = "/test.Service/Sum", .message = sum, .half_closed = sum_end},
    {.path = "/test.Service/Pause", .message = pause_each, .half_closed = reflect_end},
    {.path = "/test.Service/Hold",
     .message = hold,
     .writable = hold_writable,
     .cancelled = hold_cancelled,
     .finished = hold_finished},
};

struct rpc_server *open_server_with(const struct rpc_server_options *options) {
    struct rpc_server *server = NULL;
    struct error err = {0};
    if (rpc_server_create(options, &server, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(rpc_server_add(server, methods, sizeof methods / sizeof methods[0], NULL, &err), STATUS_OK);
    assert_int_equal(rpc_server_start(server, &err), STATUS_OK);
    return server;
}

struct rpc_server *open_server(const char *address, int64_t message_bytes_max) {
    return open_server_with(&(struct rpc_server_options){.address = address, .message_bytes_max = message_bytes_max});
}

struct rpc_channel *open_channel(struct rpc_client *client, int port) {
    char target[64];
    snprintf(target, sizeof target, "127.0.0.1:%d", port);
    struct rpc_channel_options options = {.target = target, .message_bytes_max = 8 << 20};
    struct rpc_channel *channel = NULL;
    struct error err = {0};
    assert_int_equal(rpc_channel_open(client, &options, &channel, &err), STATUS_OK);
    return channel;
}

int open_house(void **state) {
    struct house *house = calloc(1, sizeof *house);
    struct error err = {0};
    held_count = cancelled_count = finished_count = writable_count = half_closed_count = 0;
    house->server = open_server("127.0.0.1:0", 1 << 20);
    assert_int_equal(rpc_client_create(1, &house->client, &err), STATUS_OK);
    house->channel = open_channel(house->client, rpc_server_port(house->server));
    *state = house;
    return 0;
}

int close_house(void **state) {
    struct house *house = *state;
    rpc_channel_close(house->channel);
    rpc_client_destroy(house->client);
    if (house->server != NULL) rpc_server_stop(house->server, 0);
    rpc_server_destroy(house->server);
    free(house);
    return 0;
}

enum status ask(struct house *house, const char *path, struct bytes_view request, struct bytes *reply,
                struct error *err) {
    enum status status = rpc_client_unary(house->channel, path, NULL, request, PATIENCE_NS, reply, err);
    if (status != STATUS_OK) print_message("%s: %s: %s\n", path, status_name(status), err->message);
    return status;
}

enum status ask_echo(struct rpc_channel *channel, int64_t timeout_ns, struct error *err) {
    struct bytes reply;
    bytes_init(&reply, 1024);
    enum status status =
        rpc_client_unary(channel, "/test.Service/Echo", NULL, bytes_view_string("hello"), timeout_ns, &reply, err);
    if (status == STATUS_OK) assert_true(bytes_view_equal_string(bytes_view(&reply), "hello"));
    bytes_deinit(&reply);
    return status;
}

/* ---- a stream's client side ---------------------------------------------------------------------------------------- */

void on_message(struct rpc_client_call *call, void *context, struct bytes_view message) {
    struct listener *listener = context;
    if (message.length > 0)
        add(&listener->last_byte, message.data[message.length - 1] - value_of(&listener->last_byte));
    add(&listener->bytes, (int)message.length);
    add(&listener->messages, 1);
    if (listener->credit_each) rpc_client_call_read(call);
}

void on_finished(struct rpc_client_call *call, void *context, const struct rpc_result *result) {
    (void)call;
    struct listener *listener = context;
    struct bytes_view detail;
    listener->status = result->status;
    snprintf(listener->message, sizeof listener->message, "%s", result->message);
    const char *trailer = result->trailer(result, "x-answer");
    if (trailer != NULL) snprintf(listener->trailer, sizeof listener->trailer, "%s", trailer);
    listener->detail_found =
        rpc_status_details_find(result->details, "test.Detail", &detail) && bytes_view_equal_string(detail, "why");
    add(&listener->finished, 1);
}

struct rpc_client_call *start(struct house *house, const char *path, struct listener *listener,
                              const char *const *metadata, int64_t timeout_ns) {
    struct rpc_client_call_options options = {.path = path,
                                              .deadline_ns = clock_monotonic_ns(clock_system()) + timeout_ns,
                                              .metadata = metadata,
                                              .on_message = on_message,
                                              .on_finished = on_finished,
                                              .context = listener};
    struct rpc_client_call *call = NULL;
    struct error err = {0};
    assert_int_equal(rpc_client_call_start(house->channel, &options, &call, &err), STATUS_OK);
    return call;
}
