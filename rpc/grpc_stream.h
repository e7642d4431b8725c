/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A connection to a gRPC server that carries one call with a stream of messages each way: of all calls of this house the busiest one, so it lives on a
 * loop (base/loop.h) with whatever else is on a request's way, where the C core has threads and queues of its own. HTTP/2 is nghttp2's.
 *
 * It connects at once, and again whenever the connection is lost. The call begins with the first message that is written and ends when the server
 * ends it, or with the connection; the next message begins another.
 *
 *     any thread: grpc_stream_write ─> framed ─> sent (on the loop's thread: at the end of its turn, with all that was written in it)
 *     the loop's: bytes ─> on_message* ─> on_finished          both without a lock
 *
 * Source: "gRPC over HTTP/2" (PROTOCOL-HTTP2), RFC 9113. Not compressed, no metadata, no deadline.
 */
#ifndef RPC_GRPC_STREAM_H
#define RPC_GRPC_STREAM_H

#include "base/bytes.h"
#include "base/status.h"
#include "rpc/grpc_server.h"

struct loop;
struct grpc_streams; /* what all connections of a process share */
struct grpc_stream;

struct grpc_streams_options {
    struct loop *loop; /* outlives it */
    bool use_tls;
    struct rpc_tls tls;
    int64_t keepalive_ns,
        keepalive_timeout_ns;  /* ping a silent server this often; give it up when it does not answer; 0: never */
    int64_t message_bytes_max; /* that is received */
    size_t waiting_bytes_max;  /* written and not yet sent, of one connection */
};
enum status grpc_streams_create(const struct grpc_streams_options *options, struct grpc_streams **out,
                                struct error *err);
/** After every connection was closed: waits for their on_closed. Not from the loop's thread. NULL is nothing. */
void grpc_streams_destroy(struct grpc_streams *streams);

struct grpc_stream_callbacks { /* on the loop's thread, one at a time */
    void (*on_message)(void *context, struct bytes_view message);
    void (*on_finished)(void *context, enum status status, const char *message); /* the call has ended; never NULL */
    void (*on_lost)(void *context, const char *reason); /* the connection, or the first attempt to make it again */
    void (*on_closed)(void *context);                   /* the last one */
};
/** `target`: "host:port", "[v6]:port", "unix:/path"; `path`: of the method. Both are copied, `callbacks` are borrowed. */
enum status grpc_stream_create(struct grpc_streams *streams, const char *target, const char *path,
                               const struct grpc_stream_callbacks *callbacks, void *context, struct grpc_stream **out,
                               struct error *err);
/** Any thread. A call that runs is cancelled: on_finished, then on_closed, still come; then the stream is gone, so that nobody may use it any more. */
void grpc_stream_close(struct grpc_stream *stream);
bool grpc_stream_ready(struct grpc_stream *stream); /* connected now */
/** Copied. Any thread. UNAVAILABLE: there is no connection, and the last attempt has failed; CANCELLED: the call is ending, on_finished comes or runs (inside it the loop's thread may write: the next call); RESOURCE_EXHAUSTED: too
 *  much waits. Then nothing was written. */
enum status grpc_stream_write(struct grpc_stream *stream, struct bytes_view message);
size_t grpc_stream_waiting_bytes(struct grpc_stream *stream); /* written and not yet sent */
/** End the call from here. Any thread; on_finished follows with CANCELLED. */
void grpc_stream_cancel(struct grpc_stream *stream);

#endif
