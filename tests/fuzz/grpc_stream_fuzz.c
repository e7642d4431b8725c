/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What a gRPC server sends, as rpc/grpc_stream_http2.c reads it: HTTP/2 frames, headers, trailers, messages. The first byte says in what pieces it
 * comes. Nothing may be read outside it; messages keep to their maximum, texts are UTF-8, and each call that ends has a status
 * of gRPC. The connection is a socket pair; the loop has a thread, but the test is the loop here. */
#include "base/text.h"
#include "rpc/grpc_stream_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGE_BYTES_MAX = 1000, INPUT_BYTES_MAX = 64 << 10 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

static void on_message(void *context, struct bytes_view message) {
    static uint8_t taken[MESSAGE_BYTES_MAX];
    (void)context;
    if (message.length > sizeof taken) abort();
    if (message.length > 0) memcpy(taken, message.data, message.length);
}

static const struct grpc_stream_callbacks callbacks = {.on_message = on_message};
static struct grpc_streams pool = {.options = {.message_bytes_max = MESSAGE_BYTES_MAX}};

static void open_stream(struct grpc_stream *stream, int fd) {
    if (pool.options.loop == NULL && loop_create("fuzz", &pool.options.loop, NULL) != STATUS_OK) abort();
    *stream = (struct grpc_stream){.pool = &pool, .callbacks = &callbacks, .fd = fd, .state = STREAM_GREETING};
    stream->path = (char *)(uintptr_t) "/test.Service/Reflect";
    pthread_mutex_init(&stream->mutex, NULL);
    bytes_init(&stream->in, SIZE_MAX);
    bytes_init(&stream->out, 1 << 20);
    bytes_init(&stream->wire, SIZE_MAX);
    if (!grpc_stream_greet_locked(stream)) abort();
}

static void close_stream(struct grpc_stream *stream) {
    nghttp2_session_del(stream->session);
    bytes_deinit(&stream->in);
    bytes_deinit(&stream->out);
    bytes_deinit(&stream->wire);
    pthread_mutex_destroy(&stream->mutex);
}

/** A call, whenever there is none. */
static void begin_call(struct grpc_stream *stream) {
    if (stream->calling) return;
    stream->calling = true;
    if (bytes_append(&stream->out, "\0\0\0\0\1x", 6) != STATUS_OK) abort();
}

/** What grpc_stream.c does in a turn. */
static void turn(struct grpc_stream *stream) {
    grpc_stream_deliver(stream);
    grpc_stream_push_locked(stream);
    grpc_stream_flush_locked(stream);
    if (!stream->ended) return;
    if (stream->status > STATUS_UNAUTHENTICATED || !text_is_utf8(stream->message, strlen(stream->message))) abort();
    stream->calling = stream->ended = stream->dropped = false;
    stream->number = 0;
    bytes_reset(&stream->out);
    stream->out_taken = 0;
    bytes_deinit(&stream->in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    int pair[2];
    uint8_t ignored[4096];
    struct grpc_stream stream;
    if (length == 0 || length > INPUT_BYTES_MAX) return 0;
    size_t step = data[0] == 0 ? length : data[0];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0) abort();
    open_stream(&stream, pair[0]);
    for (size_t at = 1; at < length && !stream.broken; at += step) {
        begin_call(&stream);
        turn(&stream);
        size_t piece = length - at < step ? length - at : step;
        if (send(pair[1], data + at, piece, MSG_NOSIGNAL) != (ssize_t)piece) abort();
        grpc_stream_read_locked(&stream, false);
        stream.blocked = false;
        while (recv(pair[1], ignored, sizeof ignored, MSG_DONTWAIT) > 0) continue;
    }
    turn(&stream);
    close(pair[1]);
    if (!stream.broken) grpc_stream_read_locked(&stream, true);
    if (!stream.broken) abort(); /* it has ended */
    close_stream(&stream);
    close(pair[0]);
    return 0;
}
