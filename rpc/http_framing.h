/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Where does a request end, and whose is it? Refuses every request whose headers answer that twice, or in a way that another server
 * on the path could read differently (request smuggling), and bodies that are coded. See docs/design/http.md.
 *
 * Source: RFC 9112, sections 3.2 (Host), 6.1 (Transfer-Encoding), 6.3 (message body length); RFC 9110, 5.5 and 5.6.2 (names and values).
 */
#ifndef RPC_HTTP_FRAMING_H
#define RPC_HTTP_FRAMING_H

#include <stdbool.h>
#include <stdint.h>

/** A header field or a query parameter, in a list in the order of arrival. */
struct http_field {
    const char *name, *value; /* NUL-terminated; value never NULL */
    struct http_field *next;
};

struct http_framing {
    int refuse_status;  /* 0: fine; else 400, 413, 415 or 501 */
    const char *reason; /* a constant sentence, when refused */
    bool chunked;
    int64_t body_bytes; /* announced; -1: chunked, 0: no body */
};

/** `minor_version`: HTTP/1.x. Any thread; allocates nothing. */
struct http_framing http_framing_check(const char *method, int minor_version, const struct http_field *headers,
                                       int64_t body_bytes_max);

/** The target of the request line as it came: no blanks, no control characters, and no encoded NUL (a decoded path would end there, and be
 *  another one than servers in front of us saw). */
bool http_framing_target_valid(const char *target);

#endif
