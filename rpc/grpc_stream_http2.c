/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 frames in and out, and the call that they carry. */
#include "base/text.h"
#include "rpc/grpc_stream_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    PREFIX_BYTES = 5, /* of a message: compressed or not, and its length */
    STREAM_WINDOW_BYTES = 4 << 20,
    CONNECTION_WINDOW_BYTES = 8 << 20, /* what the server may send before it hears of us */
    WIRE_BYTES = 64 << 10,             /* that are sent together */
    BYTES_KEPT = 256 << 10,            /* of memory that was needed once */
    TURN_BLOCKS = 8,                   /* that are read before others have their turn */
};

/* ---- the call ------------------------------------------------------------------------------------------------------ */

void grpc_stream_end_locked(struct grpc_stream *stream, enum status status, const char *message) {
    if (!stream->calling || stream->ended) return;
    stream->ended = true;
    stream->status = status;
    if (message != stream->message) snprintf(stream->message, sizeof stream->message, "%s", message);
    if (stream->session != NULL && stream->number > 0)
        nghttp2_submit_rst_stream(stream->session, NGHTTP2_FLAG_NONE, stream->number, NGHTTP2_CANCEL);
}

void grpc_stream_break_locked(struct grpc_stream *stream, const char *reason) {
    if (stream->broken) return;
    stream->broken = true;
    snprintf(stream->reason, sizeof stream->reason, "%s", reason);
}

/** What the server has said of its end: in trailers, or by resetting the stream. */
static void take_end_locked(struct grpc_stream *stream, uint32_t error_code) {
    char text[64];
    if (stream->grpc_status >= 0 && stream->grpc_status <= STATUS_UNAUTHENTICATED) {
        grpc_stream_end_locked(stream, (enum status)stream->grpc_status, stream->message);
    } else if (stream->http_status != 200 && stream->http_status > 0) {
        snprintf(text, sizeof text, "it answers with HTTP status %d", stream->http_status);
        grpc_stream_end_locked(stream, STATUS_UNAVAILABLE, text);
    } else if (error_code == NGHTTP2_REFUSED_STREAM) {
        grpc_stream_end_locked(stream, STATUS_UNAVAILABLE, "it refuses the stream");
    } else if (error_code == NGHTTP2_CANCEL) {
        grpc_stream_end_locked(stream, STATUS_CANCELLED, "it cancelled the stream");
    } else if (error_code == NGHTTP2_NO_ERROR) {
        grpc_stream_end_locked(stream, STATUS_UNKNOWN, "it ended the stream without a status");
    } else {
        snprintf(text, sizeof text, "it reset the stream (HTTP/2 error %u)", (unsigned)error_code);
        grpc_stream_end_locked(stream, STATUS_INTERNAL, text);
    }
}

static ssize_t on_send_data(nghttp2_session *session, int32_t number, uint8_t *out, size_t length, uint32_t *flags,
                            nghttp2_data_source *source, void *context) {
    (void)session, (void)flags, (void)source;
    struct grpc_stream *stream = context;
    if (number != stream->number) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* of a call that is over */
    size_t left = stream->out.length - stream->out_taken;
    stream->deferred = left == 0;
    if (left == 0) return NGHTTP2_ERR_DEFERRED;
    if (length > left) length = left;
    memcpy(out, stream->out.data + stream->out_taken, length);
    stream->out_taken += length;
    if (stream->out_taken == stream->out.length) {
        if (stream->out.capacity > BYTES_KEPT)
            bytes_deinit(&stream->out);
        else
            bytes_reset(&stream->out);
        stream->out_taken = 0;
    }
    return (ssize_t)length;
}

#define HEADER(name_text, value_text)                                                           \
    {                                                                                           \
        .name = (uint8_t *)(uintptr_t)(name_text), .value = (uint8_t *)(uintptr_t)(value_text), \
        .namelen = strlen(name_text), .valuelen = strlen(value_text)                            \
    }

static void begin_call_locked(struct grpc_stream *stream) {
    const nghttp2_nv headers[] = {HEADER(":method", "POST"),
                                  HEADER(":scheme", stream->tls != NULL ? "https" : "http"),
                                  HEADER(":path", stream->path),
                                  HEADER(":authority", stream->host != NULL ? stream->target : "localhost"),
                                  HEADER("te", "trailers"),
                                  HEADER("content-type", "application/grpc"),
                                  HEADER("user-agent", "bora/" BORA_VERSION)};
    nghttp2_data_provider provider = {.read_callback = on_send_data};
    stream->http_status = stream->grpc_status = -1;
    stream->message[0] = 0;
    stream->deferred = false;
    int32_t number =
        nghttp2_submit_request(stream->session, NULL, headers, sizeof headers / sizeof headers[0], &provider, NULL);
    if (number > 0)
        stream->number = number;
    else
        grpc_stream_break_locked(stream, nghttp2_strerror(number));
}

void grpc_stream_push_locked(struct grpc_stream *stream) {
    if (stream->state != STREAM_READY || !stream->calling || stream->ended || stream->broken) return;
    if (stream->number == 0 && stream->retiring)
        grpc_stream_break_locked(stream, "it takes no more calls");
    else if (stream->number == 0)
        begin_call_locked(stream);
    else if (stream->deferred)
        nghttp2_session_resume_data(stream->session, stream->number);
    stream->deferred = false;
}

/* ---- what HTTP/2 tells; the mutex is held -------------------------------------------------------------------------- */

/** A number of at most three digits; -1: none. */
static int number_of(struct bytes_view text) {
    int number = 0;
    if (text.length == 0 || text.length > 3) return -1;
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return -1;
        number = number * 10 + (text.data[i] - '0');
    }
    return number;
}

static int hex_value(uint8_t digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/** A percent-encoded text, as much of it as there is room for; of UTF-8 no half characters. */
static void take_message_locked(struct grpc_stream *stream, struct bytes_view value) {
    char *out = stream->message;
    size_t length = 0;
    for (size_t i = 0; i < value.length && length < sizeof stream->message - 1; i++) {
        int high = value.data[i] == '%' && i + 2 < value.length ? hex_value(value.data[i + 1]) : -1;
        int low = high >= 0 ? hex_value(value.data[i + 2]) : -1;
        uint8_t byte = low >= 0 ? (uint8_t)(high << 4 | low) : value.data[i];
        if (low >= 0) i += 2;
        out[length++] = byte >= ' ' && byte != 0x7f ? (char)byte : ' '; /* it goes into lines and C strings */
    }
    while (length > 0 && !text_is_utf8(out, length)) length--;
    out[length] = 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length,
                     const uint8_t *value, size_t value_length, uint8_t flags, void *context) {
    (void)session, (void)flags;
    struct grpc_stream *stream = context;
    if (frame->hd.stream_id != stream->number) return 0;
    struct bytes_view header = bytes_view_of(name, name_length), text = bytes_view_of(value, value_length);
    if (bytes_view_equal_string(header, ":status")) {
        stream->http_status = number_of(text);
    } else if (bytes_view_equal_string(header, "grpc-status")) {
        int status = number_of(text);
        stream->grpc_status = status >= 0 && status <= STATUS_UNAUTHENTICATED ? status : STATUS_UNKNOWN;
    } else if (bytes_view_equal_string(header, "grpc-message")) {
        take_message_locked(stream, text);
    }
    return 0;
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t number, const uint8_t *data, size_t length,
                    void *context) {
    (void)session, (void)flags;
    struct grpc_stream *stream = context;
    if (number != stream->number || stream->ended) return 0;
    if (bytes_append(&stream->in, data, length) != STATUS_OK)
        grpc_stream_end_locked(stream, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context) {
    (void)session;
    struct grpc_stream *stream = context;
    switch (frame->hd.type) {
    case NGHTTP2_SETTINGS:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 || stream->state != STREAM_GREETING) break;
        stream->state = STREAM_READY;
        stream->failed = false;
        stream->stands_ns = loop_now_ns(stream->pool->options.loop);
        break;
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        if (frame->hd.stream_id != stream->number) break;
        /* What is not gRPC has no trailers, and its body is no messages. */
        if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 || stream->http_status / 100 > 2)
            take_end_locked(stream, NGHTTP2_NO_ERROR);
        break;
    case NGHTTP2_GOAWAY:
        stream->retiring = true;
        break;
    default:
        break;
    }
    return 0;
}

static int on_stream_closed(nghttp2_session *session, int32_t number, uint32_t error_code, void *context) {
    (void)session;
    struct grpc_stream *stream = context;
    if (number != stream->number) return 0;
    stream->number = -1; /* nothing can be said on it any more */
    take_end_locked(stream, error_code);
    return 0;
}

bool grpc_stream_greet_locked(struct grpc_stream *stream) {
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                               {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES}};
    nghttp2_session_callbacks *callbacks = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) return false;
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_closed);
    bool made = nghttp2_session_client_new(&stream->session, callbacks, stream) == 0;
    nghttp2_session_callbacks_del(callbacks);
    return made && nghttp2_submit_settings(stream->session, NGHTTP2_FLAG_NONE, settings, 2) == 0 &&
           nghttp2_session_set_local_window_size(stream->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW_BYTES) == 0;
}

void grpc_stream_ping_locked(struct grpc_stream *stream) {
    if (nghttp2_submit_ping(stream->session, NGHTTP2_FLAG_NONE, NULL) != 0)
        grpc_stream_break_locked(stream, "out of memory");
}

/* ---- bytes --------------------------------------------------------------------------------------------------------- */

/** As many frames as go together. False: the connection is broken. */
static bool gather_locked(struct grpc_stream *stream) {
    while (stream->wire.length < WIRE_BYTES) {
        const uint8_t *frames;
        ssize_t length = nghttp2_session_mem_send(stream->session, &frames);
        if (length < 0 || bytes_append(&stream->wire, frames, (size_t)length) != STATUS_OK) {
            grpc_stream_break_locked(stream, length < 0 ? nghttp2_strerror((int)length) : "out of memory");
            return false;
        }
        if (length == 0) break;
    }
    return true;
}

void grpc_stream_flush_locked(struct grpc_stream *stream) {
    if (stream->session == NULL) return;
    while (!stream->broken && !stream->blocked && gather_locked(stream) && stream->wire.length > 0) {
        const uint8_t *data = stream->wire.data + stream->wire_taken;
        size_t length = stream->wire.length - stream->wire_taken;
        ssize_t sent = stream->tls != NULL ? tls_send(stream->tls, data, length)
                                           : send(stream->fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0)
            stream->wire_taken += (size_t)sent;
        else if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            stream->blocked = true;
        else if (errno != EINTR)
            grpc_stream_break_locked(stream, stream->tls != NULL ? tls_reason(stream->tls) : strerror(errno));
        if (stream->wire_taken == stream->wire.length) {
            bytes_reset(&stream->wire);
            stream->wire_taken = 0;
        }
    }
    if (!stream->broken && nghttp2_session_want_read(stream->session) == 0 &&
        nghttp2_session_want_write(stream->session) == 0)
        grpc_stream_break_locked(stream, "it ended the connection");
}

void grpc_stream_read_locked(struct grpc_stream *stream, bool to_end) {
    uint8_t *block = stream->pool->block;
    const size_t size = sizeof stream->pool->block;
    for (int blocks = 0; !stream->broken; blocks++) {
        if (blocks == TURN_BLOCKS) { /* others first: it is told again of what there is */
            if (loop_change(stream->pool->options.loop, stream->fd, GRPC_STREAM_WATCHED, &stream->source) != 0)
                grpc_stream_break_locked(stream, strerror(errno));
            return;
        }
        ssize_t got =
            stream->tls != NULL ? tls_receive(stream->tls, block, size) : recv(stream->fd, block, size, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (got <= 0) {
            grpc_stream_break_locked(stream, got == 0              ? "it closed the connection"
                                             : stream->tls != NULL ? tls_reason(stream->tls)
                                                                   : strerror(errno));
            return;
        }
        stream->heard_ns = loop_now_ns(stream->pool->options.loop);
        stream->pinged_ns = 0;
        ssize_t used = nghttp2_session_mem_recv(stream->session, block, (size_t)got);
        if (used < 0) grpc_stream_break_locked(stream, nghttp2_strerror((int)used));
        /* A plain socket that gave less than it was asked for has no more bytes; the next ones are an event of their own. */
        if (stream->tls == NULL && (size_t)got < size && !to_end) return;
    }
}

/* ---- messages: the loop's, without the mutex ----------------------------------------------------------------------- */

static void cancel(struct grpc_stream *stream, enum status status, const char *message) {
    pthread_mutex_lock(&stream->mutex);
    grpc_stream_end_locked(stream, status, message);
    pthread_mutex_unlock(&stream->mutex);
}

void grpc_stream_deliver(struct grpc_stream *stream) {
    size_t at = 0;
    while (!stream->dropped && stream->in.length - at >= PREFIX_BYTES) {
        const uint8_t *prefix = stream->in.data + at;
        size_t length = (size_t)prefix[1] << 24 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 8 | prefix[4];
        if (prefix[0] != 0 || length > (size_t)stream->pool->options.message_bytes_max) {
            cancel(stream, prefix[0] != 0 ? STATUS_UNIMPLEMENTED : STATUS_RESOURCE_EXHAUSTED,
                   prefix[0] != 0 ? "its message is compressed" : "its message is too large");
            stream->dropped = true;
            break;
        }
        if (stream->in.length - at - PREFIX_BYTES < length) break;
        stream->callbacks->on_message(stream->context, bytes_view_of(prefix + PREFIX_BYTES, length));
        at += PREFIX_BYTES + length;
    }
    bool used = stream->dropped || at == stream->in.length;
    if (used && stream->in.capacity > BYTES_KEPT)
        bytes_deinit(&stream->in);
    else if (used)
        bytes_reset(&stream->in);
    else
        bytes_consume(&stream->in, at);
}
