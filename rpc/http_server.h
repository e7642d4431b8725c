/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * HTTP/1.1 server on libmicrohttpd: keep-alive, bounded bodies, streamed answers (server-sent events).
 *
 * A request is handed to `on_request` on the server's thread once its body is whole (or refused); the handler must not
 * block and answers now or later, from any thread, with one of
 *
 *     http_exchange_respond()                            a whole answer
 *     http_exchange_start(), http_exchange_write()*, http_exchange_end()     a stream
 *
 * `on_closed` comes exactly once per exchange that reached on_request, last: after the answer has been sent or the client
 * has gone, whichever is first (`completed` says which); a client that leaves while the answer is being prepared is
 * noticed at once, also when the connection is idle. Refused before on_request: bodies over the limit (413), both Content-Length and
 * Transfer-Encoding, repeated or malformed Content-Length, unknown Transfer-Encoding (400), headers over LIMIT_HEADER_BYTES (431).
 */
#ifndef RPC_HTTP_SERVER_H
#define RPC_HTTP_SERVER_H

#include "base/bytes.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct http_server;
struct http_exchange;

struct http_server_options {
    const char *address; /* "127.0.0.1:8080"; port 0 picks a free one; "[::]:8080" */
    int64_t body_bytes_max;
    int connections_max;         /* further ones wait to be accepted */
    int64_t idle_timeout_ns;     /* of a keep-alive connection, and of a request that arrives too slowly */
    const char *certificate_file, *key_file, *ca_file; /* TLS, and mutual TLS with ca_file; NULL: plain */
    int64_t heartbeat_ns;        /* a stream that is silent this long gets an SSE comment line; 0 = off */
    size_t watermark_bytes;      /* on_writable comes when waiting bytes fall to half of this */

    void (*on_request)(struct http_exchange *exchange, void *context);
    void (*on_writable)(struct http_exchange *exchange, void *context);              /* may be NULL */
    void (*on_closed)(struct http_exchange *exchange, void *context, bool completed); /* free the exchange's state here */
    /* The body of an error that the server itself answers (413, 400, 431, 404 of a bad method); writes JSON into `out`. May be NULL. */
    void (*on_refused)(int http_status, const char *reason, struct bytes *out, void *context);
    void *context;
};

enum status http_server_create(const struct http_server_options *options, struct http_server **out, struct error *err);
int http_server_port(const struct http_server *server);
/** Stop accepting; finish running exchanges for up to `grace_ns`; then close. Keep-alive connections get "Connection: close". */
void http_server_stop(struct http_server *server, int64_t grace_ns);
void http_server_destroy(struct http_server *server);
int64_t http_server_exchanges(const struct http_server *server); /* live now */

const char *http_exchange_method(const struct http_exchange *exchange); /* "POST" */
const char *http_exchange_path(const struct http_exchange *exchange);   /* decoded, without the query */
/** First value of a header, any case; NULL when absent. Lent for the exchange's life. */
const char *http_exchange_header(const struct http_exchange *exchange, const char *name);
/** First value of a query parameter, decoded; NULL when absent. */
const char *http_exchange_query(const struct http_exchange *exchange, const char *name);
struct bytes_view http_exchange_body(const struct http_exchange *exchange); /* lent for the exchange's life */
const char *http_exchange_peer(const struct http_exchange *exchange);       /* "127.0.0.1" */
void http_exchange_set_state(struct http_exchange *exchange, void *state);
void *http_exchange_state(const struct http_exchange *exchange);
/** The exchange itself stays valid while referenced, also after on_closed (then everything but these two returns at once). */
void http_exchange_ref(struct http_exchange *exchange);
void http_exchange_unref(struct http_exchange *exchange);

/** Add a response header; before respond or start. Copied. */
void http_exchange_add_header(struct http_exchange *exchange, const char *name, const char *value);
/** `content_type` may be NULL when the body is empty. The body is copied. The first of respond/start wins; later ones are ignored. */
void http_exchange_respond(struct http_exchange *exchange, int http_status, const char *content_type, struct bytes_view body);
void http_exchange_start(struct http_exchange *exchange, int http_status, const char *content_type);
/** Queue bytes (copied). STATUS_CANCELLED when the client has gone; STATUS_RESOURCE_EXHAUSTED past 4 watermarks. */
enum status http_exchange_write(struct http_exchange *exchange, struct bytes_view data);
size_t http_exchange_pending_bytes(const struct http_exchange *exchange);
void http_exchange_end(struct http_exchange *exchange);
/** Drop the connection without a proper end (the stream broke after it began). */
void http_exchange_abort(struct http_exchange *exchange);

#endif
