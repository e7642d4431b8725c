/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rpc/grpc_stream_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void hear_message(void *context, struct bytes_view message) {
    struct told *told = context;
    if (told->on_message != NULL) told->on_message(told, message);
    add(&told->bytes, (int)message.length);
    add(&told->messages, 1);
}

static void hear_finished(void *context, enum status status, const char *message) {
    struct told *told = context;
    told->status = status;
    snprintf(told->message, sizeof told->message, "%s", message);
    add(&told->finished, 1);
}

static void hear_lost(void *context, const char *reason) {
    struct told *told = context;
    snprintf(told->reason, sizeof told->reason, "%s", reason);
    add(&told->lost, 1);
}

static void hear_closed(void *context) {
    struct told *told = context;
    add(&told->closed, 1);
}

struct caller *open_caller(const struct grpc_streams_options *options, const char *target, const char *path) {
    static const struct grpc_stream_callbacks callbacks = {hear_message, hear_finished, hear_lost, hear_closed};
    struct grpc_streams_options filled = {.message_bytes_max = 1 << 20, .waiting_bytes_max = 64 << 20};
    struct caller *caller = calloc(1, sizeof *caller);
    struct error err = {0};
    if (options != NULL) filled = *options;
    assert_int_equal(loop_create("test-loop", &caller->loop, &err), STATUS_OK);
    filled.loop = caller->loop;
    if (grpc_streams_create(&filled, &caller->streams, &err) != STATUS_OK ||
        grpc_stream_create(caller->streams, target, path, &callbacks, &caller->told, &caller->stream, &err) !=
            STATUS_OK)
        fail_msg("%s", err.message);
    return caller;
}

void close_caller(struct caller *caller) {
    if (caller->stream != NULL) grpc_stream_close(caller->stream);
    grpc_streams_destroy(caller->streams);
    assert_int_equal(value_of(&caller->told.closed), 1);
    loop_destroy(caller->loop);
    free(caller);
}

struct caller *call_port(const struct grpc_streams_options *options, int port, const char *path) {
    char target[32];
    snprintf(target, sizeof target, "127.0.0.1:%d", port);
    return open_caller(options, target, path);
}

bool becomes_ready(struct caller *caller) {
    int64_t until_ns = clock_monotonic_ns(clock_system()) + PATIENCE_NS;
    while (!grpc_stream_ready(caller->stream)) {
        if (clock_monotonic_ns(clock_system()) > until_ns) return false;
        nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
    }
    return true;
}

enum status write_next(struct caller *caller, struct bytes_view message) {
    int64_t until_ns = clock_monotonic_ns(clock_system()) + PATIENCE_NS;
    enum status status;
    do status = grpc_stream_write(caller->stream, message);
    while (status == STATUS_CANCELLED && clock_monotonic_ns(clock_system()) < until_ns);
    return status;
}

void sequence_message(uint32_t number, uint8_t *out, size_t length) {
    memcpy(out, &number, sizeof number);
    for (size_t i = sizeof number; i < length; i++) out[i] = (uint8_t)(number * 31 + i * 7);
}

void check_sequence(struct told *told, struct bytes_view message) {
    uint32_t number = 0;
    bool right = message.length >= sizeof number;
    if (right) memcpy(&number, message.data, sizeof number);
    right = right && number == told->next_number;
    for (size_t i = sizeof number; right && i < message.length; i++)
        right = message.data[i] == (uint8_t)(number * 31 + i * 7);
    if (!right) add(&told->disorder, 1);
    told->next_number = number + 1;
}
