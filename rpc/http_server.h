/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * HTTP/1.1 server: keep-alive, bounded bodies, streamed answers (server-sent events), TLS.
 *
 * A request is handed to `on_request` on the server's thread once its body is whole (or refused); the handler must not
 * block and answers now or later, from any thread, with one of
 *
 *     http_exchange_respond()                            a whole answer
 *     http_exchange_start(), http_exchange_write()*, http_exchange_end()     a stream
 *
 * `on_closed` comes exactly once per exchange that reached on_request, last: after the answer has been handed to the network or
 * the client has gone, whichever is first (`completed` says which). A client that leaves while the answer is being prepared is
 * noticed at once, also when the connection is idle; one that closes only its sending side counts as gone too, unless
 * the answer was ready already (docs/design/http.md says why). All callbacks run on the server's one thread, one at a time. With TLS another thread shakes hands, so
 * that who connects holds up nobody who is connected.
 *
 * Refused before on_request, with the body that `on_refused` writes, and the connection closed behind it:
 *   what on_headers says, before the body is read
 *   503  bodies of all requests together over bodies_bytes_max, or of one peer over peer_bodies_bytes_max: at once when its Content-Length would
 *        pass it, else as it comes. A body up to HTTP_SMALL_BODY_BYTES is never refused so: they are bounded by connections_max
 *   413  a body over body_bytes_max: at once, by its Content-Length or as it comes
 *   415  a Content-Encoding other than identity
 *   400  what is no HTTP/1 request; both Content-Length and Transfer-Encoding, repeated Content-Length, unknown or repeated Transfer-Encoding, no or several Host headers,
 *        more than one Authorization, malformed field names or values, blanks, control characters or %00 in the request target
 *   431  request line and headers over LIMIT_HEADER_BYTES       501  a method that is none of GET HEAD POST PUT PATCH DELETE OPTIONS
 *   505  another major version
 * Further connections of a peer that has peer_connections_max are closed without an answer.
 */
#ifndef RPC_HTTP_SERVER_H
#define RPC_HTTP_SERVER_H

#include "base/bytes.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    HTTP_SMALL_BODY_BYTES = 64 * 1024,
    HTTP_HEADERS_LATER = -1 /* what on_headers returns when http_exchange_headers_done will say it */
};

struct http_server;
struct http_exchange;
struct loop;
struct http_field; /* rpc/http_framing.h */

struct http_server_options {
    struct loop *loop; /* whose thread is the server's, and which outlives it; NULL: one of its own */
    const char *
        address; /* "127.0.0.1:8080"; port 0 picks a free one; "[::]:8080" (IPv4 too); ":8080"; of a name its IPv4 address if it has one */
    int64_t body_bytes_max;        /* 0..LIMIT_REQUEST_BODY_BYTES_MAX */
    int64_t bodies_bytes_max;      /* of all requests that are being received or answered; 0: 64 times body_bytes_max */
    int64_t peer_bodies_bytes_max; /* those of one address (of IPv6: the first 64 bits); 0: bodies_bytes_max */
    int peer_connections_max;      /* of one address; 0: connections_max */
    int64_t
        header_timeout_ns; /* until the first request's headers are whole, and those of any later one; 0: idle_timeout_ns */
    int connections_max; /* further ones wait to be accepted; 0: 1024 */
    int64_t
        idle_timeout_ns; /* of a connection on which nothing moves (not of one that waits for the handler); a request must be whole within this
                                    time, plus a second per 16 KiB of body. 0: none */
    const char *certificate_file, *key_file,
        *ca_file; /* PEM. TLS, and mutual TLS with ca_file (no handshake without its certificate); NULL: plain */
    int64_t
        heartbeat_ns; /* a text/event-stream that is silent this long gets an SSE comment line; 0 = off. It may come between any two
                                    writes, so each http_exchange_write must hold whole events */
    size_t
        watermark_bytes; /* on_writable comes when waiting bytes, having passed this, fall to half of it; 0: LIMIT_STREAM_PENDING_BYTES */

    /** The headers are there, the body is not: 0 to go on, the status to refuse with and `*out_reason` for on_refused, or HTTP_HEADERS_LATER: then
     *  the connection waits for http_exchange_headers_done, and the user holds a reference until then. On the server's thread: must be
     *  quick. May be NULL. */
    int (*on_headers)(struct http_exchange *exchange, void *context, const char **out_reason);
    void (*on_request)(struct http_exchange *exchange, void *context);
    void (*on_writable)(struct http_exchange *exchange, void *context); /* may be NULL */
    void (*on_closed)(struct http_exchange *exchange, void *context,
                      bool completed); /* free the exchange's state here */
    /* The body of a refusal (above); writes JSON into `out`. May be NULL: then it is the reason as plain text. */
    void (*on_refused)(int http_status, const char *reason, struct bytes *out, void *context);
    void *context;
};

/** Listens and serves from now on. Strings are copied. STATUS_UNAVAILABLE: the address is taken; STATUS_INVALID_ARGUMENT: the address, a file or a number is wrong. */
enum status http_server_create(const struct http_server_options *options, struct http_server **out, struct error *err);
int http_server_port(const struct http_server *server);
/** Read certificate, key and authorities again: connections that come from now on are shown the new ones; open ones go on as they are, and what was
 *  taken up from before is no more. Without TLS nothing. On failure (INVALID_ARGUMENT: a file) all stays as it is. Any thread. */
enum status http_server_reread_tls(struct http_server *server, struct error *err);
/** It will be stopped soon: all is served as before, but each connection ends with its next answer ("Connection: close"), so that a proxy's do not
 *  break while it sends a request. Any thread. */
void http_server_retire(struct http_server *server);
/** Refuse new connections, close idle ones; let running exchanges end for up to `grace_ns` (answers carry "Connection: close"); then drop the rest.
 *  When it returns every on_closed has been called. Not from a callback. */
void http_server_stop(struct http_server *server, int64_t grace_ns);
/** Stops without grace if that was not done. Exchanges that are still referenced stay valid. NULL is allowed. */
void http_server_destroy(struct http_server *server);
int64_t http_server_exchanges(const struct http_server *server); /* live now */
int http_server_connections(const struct http_server *server);   /* open now */

/** Any thread, once, after on_headers returned HTTP_HEADERS_LATER or before it does: 0 to go on, or the status to refuse with; `reason` is a constant. */
void http_exchange_headers_done(struct http_exchange *exchange, int refuse_status, const char *reason);
/** Inside on_headers: this request's body may have so many bytes at most (413). */
void http_exchange_limit_body(struct http_exchange *exchange, int64_t bytes_max);
int64_t http_exchange_announced_bytes(const struct http_exchange *exchange); /* of the body; -1: chunked */

const char *http_exchange_method(const struct http_exchange *exchange); /* "POST" */
const char *http_exchange_path(const struct http_exchange *exchange);   /* decoded, without the query */
/** First value of a header, any case, without blanks around it; NULL when absent. Lent for the exchange's life. */
const char *http_exchange_header(const struct http_exchange *exchange, const char *name);
/** All headers, and all parameters of the query, decoded; in the order of arrival. NULL for none. Lent for the exchange's life. */
const struct http_field *http_exchange_headers(const struct http_exchange *exchange);
const struct http_field *http_exchange_queries(const struct http_exchange *exchange);
struct bytes_view http_exchange_body(const struct http_exchange *exchange); /* lent for the exchange's life */
/** Free the body, which nobody will look at any more: a long answer holds no request. On the server's thread, or of an exchange that no other touches. */
void http_exchange_forget_body(struct http_exchange *exchange);
const char *http_exchange_peer(const struct http_exchange *exchange); /* "127.0.0.1" */
void http_exchange_set_state(struct http_exchange *exchange, void *state);
void *http_exchange_state(const struct http_exchange *exchange);
/** The exchange itself stays valid while referenced, also after on_closed (then everything but these two returns at once). */
void http_exchange_ref(struct http_exchange *exchange);
void http_exchange_unref(struct http_exchange *exchange);

/** Add a response header; before respond or start. Copied. */
void http_exchange_add_header(struct http_exchange *exchange, const char *name, const char *value);
/** `content_type` may be NULL when the body is empty. The body is copied. The first of respond/start wins; later ones are ignored. */
void http_exchange_respond(struct http_exchange *exchange, int http_status, const char *content_type,
                           struct bytes_view body);
void http_exchange_start(struct http_exchange *exchange, int http_status, const char *content_type);
/** Queue bytes (copied): all of them, or none. STATUS_CANCELLED when the client has gone or the exchange is over; STATUS_RESOURCE_EXHAUSTED when
 *  more than 4 watermarks would wait, not counting messages that are larger than a watermark, or 128 MiB in all; STATUS_FAILED_PRECONDITION
 *  before start and after end. */
enum status http_exchange_write(struct http_exchange *exchange, struct bytes_view data);
/** As http_exchange_start and _write, but what is queued may wait for http_exchange_flush or the next write: what comes together goes together. */
void http_exchange_begin(struct http_exchange *exchange, int http_status, const char *content_type);
enum status http_exchange_append(struct http_exchange *exchange, struct bytes_view data);
void http_exchange_flush(struct http_exchange *exchange);
size_t http_exchange_pending_bytes(const struct http_exchange *exchange);
void http_exchange_end(struct http_exchange *exchange);
/** Drop the connection without a proper end, so that the client sees the stream broken. on_closed follows with completed false. */
void http_exchange_abort(struct http_exchange *exchange);

#endif
