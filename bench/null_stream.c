/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench/null_stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PREFIX_BYTES = 5, WIRE_BYTES = 64 << 10, WINDOW_BYTES = 8 << 20, OUT_BYTES_MAX = 512 << 20 };

struct null_stream {
    struct loop_source source; /* first */
    atomic_int references;
    void *state;
    struct bytes in;          /* the loop's */
    struct null_stream *next; /* of those that want a turn; the loop's */
    bool listed, closed;      /* likewise */
    pthread_mutex_t mutex;    /* guards what follows */
    int fd;                   /* -1: closed */
    nghttp2_session *session;
    int32_t number;
    bool opened, deferred, blocked, broken;
    struct bytes out, wire;
    size_t out_taken, wire_taken;
};

static struct {
    struct loop *loop;
    struct loop_source source;
    struct loop_member member;
    int fd;
    const struct null_stream_callbacks *callbacks;
    struct null_stream *work;
    uint8_t block[64 << 10];
} server;

void null_stream_ref(struct null_stream *stream) {
    atomic_fetch_add(&stream->references, 1);
}

void null_stream_unref(struct null_stream *stream) {
    if (atomic_fetch_sub(&stream->references, 1) != 1) return;
    bytes_deinit(&stream->in);
    bytes_deinit(&stream->out);
    bytes_deinit(&stream->wire);
    pthread_mutex_destroy(&stream->mutex);
    free(stream);
}

void null_stream_set_state(struct null_stream *stream, void *state) {
    stream->state = state;
}

void *null_stream_state(struct null_stream *stream) {
    return stream->state;
}

/* ---- HTTP/2; the mutex is held ------------------------------------------------------------------------------------- */

static ssize_t on_send_data(nghttp2_session *session, int32_t number, uint8_t *out, size_t length, uint32_t *flags,
                            nghttp2_data_source *source, void *context) {
    (void)session, (void)number, (void)flags, (void)source;
    struct null_stream *stream = context;
    size_t left = stream->out.length - stream->out_taken;
    stream->deferred = left == 0;
    if (left == 0) return NGHTTP2_ERR_DEFERRED;
    if (length > left) length = left;
    memcpy(out, stream->out.data + stream->out_taken, length);
    stream->out_taken += length;
    if (stream->out_taken == stream->out.length) {
        bytes_reset(&stream->out);
        stream->out_taken = 0;
    }
    return (ssize_t)length;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context) {
    static const nghttp2_nv headers[] = {
        {(uint8_t *)":status", (uint8_t *)"200", 7, 3, 0},
        {(uint8_t *)"content-type", (uint8_t *)"application/grpc", 12, 16, 0},
    };
    struct null_stream *stream = context;
    nghttp2_data_provider provider = {.read_callback = on_send_data};
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST || stream->opened) return 0;
    stream->number = frame->hd.stream_id;
    stream->opened = true;
    return nghttp2_submit_response(session, stream->number, headers, 2, &provider);
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t number, const uint8_t *data, size_t length,
                    void *context) {
    (void)session, (void)flags, (void)number;
    struct null_stream *stream = context;
    (void)!bytes_append(&stream->in, data, length);
    return 0;
}

/** The client is done with it: so are we, with the whole connection. */
static int on_stream_closed(nghttp2_session *session, int32_t number, uint32_t error, void *context) {
    (void)session, (void)number, (void)error;
    struct null_stream *stream = context;
    stream->broken = true;
    return 0;
}

static bool greet(struct null_stream *stream) {
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES}};
    nghttp2_session_callbacks *callbacks = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) return false;
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_closed);
    bool made = nghttp2_session_server_new(&stream->session, callbacks, stream) == 0;
    nghttp2_session_callbacks_del(callbacks);
    return made && nghttp2_submit_settings(stream->session, NGHTTP2_FLAG_NONE, settings, 1) == 0 &&
           nghttp2_session_set_local_window_size(stream->session, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES) == 0;
}

static void flush_locked(struct null_stream *stream) {
    while (stream->session != NULL && !stream->broken && !stream->blocked) {
        const uint8_t *frames;
        ssize_t length = 1;
        while (stream->wire.length < WIRE_BYTES && (length = nghttp2_session_mem_send(stream->session, &frames)) > 0)
            (void)!bytes_append(&stream->wire, frames, (size_t)length);
        if (stream->wire.length == 0) return;
        ssize_t sent = send(stream->fd, stream->wire.data + stream->wire_taken,
                            stream->wire.length - stream->wire_taken, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0)
            stream->wire_taken += (size_t)sent;
        else if (errno == EAGAIN)
            stream->blocked = true;
        else if (errno != EINTR)
            stream->broken = true;
        if (stream->wire_taken < stream->wire.length) continue;
        bytes_reset(&stream->wire);
        stream->wire_taken = 0;
    }
}

void null_stream_write(struct null_stream *stream, struct bytes_view message) {
    const uint8_t prefix[PREFIX_BYTES] = {0, (uint8_t)(message.length >> 24), (uint8_t)(message.length >> 16),
                                          (uint8_t)(message.length >> 8), (uint8_t)message.length};
    pthread_mutex_lock(&stream->mutex);
    if (stream->session != NULL) {
        (void)!bytes_append(&stream->out, prefix, sizeof prefix);
        (void)!bytes_append(&stream->out, message.data, message.length);
        if (stream->deferred) nghttp2_session_resume_data(stream->session, stream->number);
        stream->deferred = false;
        if (!loop_is_current(server.loop)) flush_locked(stream);
    }
    pthread_mutex_unlock(&stream->mutex);
}

static size_t waiting_locked(const struct null_stream *stream) {
    return stream->out.length - stream->out_taken + stream->wire.length - stream->wire_taken;
}

size_t null_stream_waiting_bytes(struct null_stream *stream) {
    pthread_mutex_lock(&stream->mutex);
    size_t waiting = waiting_locked(stream);
    pthread_mutex_unlock(&stream->mutex);
    return waiting;
}

/* ---- the loop's thread --------------------------------------------------------------------------------------------- */

static void want_turn(struct null_stream *stream) {
    if (stream->listed) return;
    stream->listed = true;
    stream->next = server.work;
    server.work = stream;
}

static void deliver(struct null_stream *stream) {
    size_t at = 0;
    while (stream->in.length - at >= PREFIX_BYTES) {
        const uint8_t *prefix = stream->in.data + at;
        size_t length = (size_t)prefix[1] << 24 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 8 | prefix[4];
        if (stream->in.length - at - PREFIX_BYTES < length) break;
        server.callbacks->on_message(stream, bytes_view_of(prefix + PREFIX_BYTES, length));
        at += PREFIX_BYTES + length;
    }
    bytes_consume(&stream->in, at);
}

static void read_locked(struct null_stream *stream) {
    for (ssize_t got = sizeof server.block; got == (ssize_t)sizeof server.block && !stream->broken;) {
        got = recv(stream->fd, server.block, sizeof server.block, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (got <= 0 || nghttp2_session_mem_recv(stream->session, server.block, (size_t)got) < 0) stream->broken = true;
    }
}

static void on_event(struct loop_source *source, uint32_t events) {
    struct null_stream *stream = (struct null_stream *)source;
    if (stream->closed) return;
    pthread_mutex_lock(&stream->mutex);
    if ((events & EPOLLOUT) != 0) stream->blocked = false;
    read_locked(stream);
    pthread_mutex_unlock(&stream->mutex);
    deliver(stream);
    want_turn(stream);
}

static void serve(struct null_stream *stream) {
    pthread_mutex_lock(&stream->mutex);
    flush_locked(stream);
    bool broken = stream->broken, empty = waiting_locked(stream) == 0;
    if (broken) {
        nghttp2_session_del(stream->session);
        stream->session = NULL;
        close(stream->fd);
        stream->closed = true;
    }
    pthread_mutex_unlock(&stream->mutex);
    if (broken) {
        server.callbacks->on_closed(stream);
        null_stream_unref(stream);
    } else if (empty) {
        server.callbacks->on_room(stream);
        pthread_mutex_lock(&stream->mutex);
        flush_locked(stream);
        pthread_mutex_unlock(&stream->mutex);
    }
}

static int64_t turn(void *context) {
    (void)context;
    while (server.work != NULL) {
        struct null_stream *stream = server.work;
        server.work = stream->next;
        stream->listed = false;
        serve(stream);
    }
    return INT64_MAX;
}

static void on_connection(struct loop_source *source, uint32_t events) {
    (void)source, (void)events;
    const int on = 1;
    int fd = accept4(server.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct null_stream *stream = fd >= 0 ? calloc(1, sizeof *stream) : NULL;
    if (stream == NULL) {
        if (fd >= 0) close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    stream->source.on_event = on_event;
    stream->fd = fd;
    atomic_init(&stream->references, 1);
    pthread_mutex_init(&stream->mutex, NULL);
    bytes_init(&stream->in, SIZE_MAX);
    bytes_init(&stream->out, OUT_BYTES_MAX);
    bytes_init(&stream->wire, SIZE_MAX);
    if (!greet(stream) || loop_add(server.loop, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, &stream->source) != 0)
        abort(); /* no memory: nothing is measured on such a machine */
    server.callbacks->on_open(stream);
    want_turn(stream);
}

enum status null_streams_listen(struct loop *loop, const char *address, const struct null_stream_callbacks *callbacks,
                                int *out_port, struct error *err) {
    const char *colon = strrchr(address, ':');
    struct sockaddr_in name = {.sin_family = AF_INET};
    socklen_t length = sizeof name;
    const int on = 1;
    char host[64];
    snprintf(host, sizeof host, "%.*s", colon != NULL ? (int)(colon - address) : 0, address);
    if (colon == NULL || inet_pton(AF_INET, host, &name.sin_addr) != 1)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%.64s is no IPv4 address and port", address);
    name.sin_port = htons((uint16_t)atoi(colon + 1));
    server.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (server.fd < 0 || setsockopt(server.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(server.fd, (struct sockaddr *)&name, sizeof name) != 0 || listen(server.fd, 64) != 0 ||
        getsockname(server.fd, (struct sockaddr *)&name, &length) != 0)
        return error_set_errno(err, STATUS_UNAVAILABLE, errno, "cannot listen on %.64s", address);
    server.loop = loop;
    server.callbacks = callbacks;
    server.source.on_event = on_connection;
    server.member = (struct loop_member){.turn = turn};
    *out_port = ntohs(name.sin_port);
    loop_join(loop, &server.member);
    int failure = loop_add(loop, server.fd, EPOLLIN, &server.source);
    return failure == 0 ? STATUS_OK : error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, failure, "cannot watch a socket");
}
