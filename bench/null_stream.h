/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * As little of a gRPC server as the null worker needs: every connection carries streams of one method, of which the first request is taken. HTTP/2 is
 * nghttp2's, on a loop. So what is measured is what stands in front of it. Plain text; no deadlines, no health; for well-behaved clients only.
 */
#ifndef BENCH_NULL_STREAM_H
#define BENCH_NULL_STREAM_H

#include "base/bytes.h"
#include "base/loop.h"
#include "base/status.h"

struct null_stream;
struct null_stream_callbacks { /* on the loop's thread */
    void (*on_open)(struct null_stream *stream);
    void (*on_message)(struct null_stream *stream, struct bytes_view message);
    void (*on_room)(struct null_stream *stream);   /* all that was written has gone */
    void (*on_closed)(struct null_stream *stream); /* the last one; it stays until it is unreferenced */
};
/** Listens on "host:port" for good; the port that it got is in `*out_port`. */
enum status null_streams_listen(struct loop *loop, const char *address, const struct null_stream_callbacks *callbacks,
                                int *out_port, struct error *err);
/** Copied. Any thread. On the loop's it goes at the end of the turn. */
void null_stream_write(struct null_stream *stream, struct bytes_view message);
size_t null_stream_waiting_bytes(struct null_stream *stream);
void null_stream_set_state(struct null_stream *stream, void *state);
void *null_stream_state(struct null_stream *stream);
void null_stream_ref(struct null_stream *stream);
void null_stream_unref(struct null_stream *stream);

#endif
