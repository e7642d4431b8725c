/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A request's bytes: its head, and a chunked body. Lines end with CR LF; a bare one of the two is part of its line, where http_framing_check
 * refuses it.
 *
 * Source: RFC 9112, sections 2 to 5 and 7.1.
 */
#ifndef RPC_HTTP_PARSE_H
#define RPC_HTTP_PARSE_H

#include "base/bytes.h"
#include "rpc/http_framing.h"

enum { HTTP_FIELDS_MAX = 256 }; /* header fields, and query parameters */

/** All in one piece of memory. */
struct http_head {
    const char *method, *path; /* path: decoded, without the query */
    int minor_version;         /* of HTTP/1 */
    struct http_field *headers, *queries;
    void *memory; /* to be freed */
};

/** How long the head is, with its blank line; 0: its end is not there yet. `seen`: bytes that were looked at before. */
size_t http_head_length(struct bytes_view text, size_t seen);
/** `text` is the whole head. 0, or the status to refuse with and the reason; then nothing has to be freed. */
int http_head_parse(struct bytes_view text, struct http_head *out, const char **out_reason);
void http_head_deinit(struct http_head *head);

/** A chunked body on its way. Zeroed at its beginning. */
struct http_chunks {
    int phase;
    int digits;
    uint64_t left;     /* of the running chunk */
    size_t line_bytes; /* of extensions and trailers */
};
enum http_chunks_state { HTTP_CHUNKS_MORE, HTTP_CHUNKS_END, HTTP_CHUNKS_MALFORMED, HTTP_CHUNKS_TOO_LARGE };
/** Take from the front of `*data` up to the next piece of the body, which is lent, or as far as it goes (then the piece is empty). */
enum http_chunks_state http_chunks_next(struct http_chunks *chunks, struct bytes_view *data,
                                        struct bytes_view *out_piece);

#endif
