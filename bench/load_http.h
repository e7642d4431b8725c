/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The client's half of HTTP/1.1, as little of it as a load generator needs: one request for all connections, and a reader of answers that
 * only finds out where they end.
 */
#ifndef BENCH_LOAD_HTTP_H
#define BENCH_LOAD_HTTP_H

#include "base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

enum { LOAD_HEAD_BYTES_MAX = 16384, LOAD_BODY_BYTES_MAX = 1 << 20 };

/** "POST path" with what is in `body_file`, appended to `out`; `key` (may be NULL) is a bearer token. */
enum status load_request(const char *path, const char *key, const char *body_file, struct bytes *out,
                         struct error *err);
/** A connected, non-blocking socket to 127.0.0.1, or -1; `receive_bytes` > 0 makes its buffer small. */
int load_connect(int port, int receive_bytes);

enum load_state {
    LOAD_HEAD,       /* status line and headers, kept until they are whole */
    LOAD_BODY,       /* `rest` bytes of a body of known length */
    LOAD_CHUNK_SIZE, /* hex digits */
    LOAD_CHUNK_LINE, /* ... the rest of their line */
    LOAD_CHUNK,      /* `rest` bytes of it, and of the line's end behind it */
    LOAD_TRAILER,    /* lines behind the last chunk; `rest` bytes of this one so far */
    LOAD_DONE,
    LOAD_BROKEN /* no HTTP/1.1, no length, or more headers than LOAD_HEAD_BYTES_MAX */
};

struct load_reader {
    enum load_state state;
    int status;
    bool closes; /* the server closes the connection behind it */
    int64_t rest, body_bytes;
    size_t head_length;
    char head[LOAD_HEAD_BYTES_MAX];
};

void load_reader_reset(struct load_reader *reader);
/** Takes what was received. Anything behind the end of an answer is LOAD_BROKEN: nobody has asked for it. */
enum load_state load_reader_feed(struct load_reader *reader, struct bytes_view received);

#endif
