/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What handlers do with an exchange; the picture and the rules are in rpc/http_internal.h. */
#include "rpc/http_internal.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

/* A handler that writes faster than the watermark allows is refused at this many watermarks; a message that is above the watermark by
 * itself goes all the same, as over gRPC, up to PENDING_BYTES_MAX of everything that waits. */
enum { PENDING_WATERMARKS_MAX = 4, PENDING_BYTES_MAX = 128 << 20, ANSWER_HEADERS_BYTES_MAX = 64 * 1024 };
/* Of a chunk: its size in hex, and two line ends. */
enum { CHUNK_FRAME_BYTES = 24 };

static const char heartbeat[] = ": keep-alive\n\n";

struct http_exchange *http_exchange_create(struct http_connection *connection) {
    struct http_server *server = connection->server;
    struct http_exchange *exchange = calloc(1, sizeof *exchange);
    if (exchange == NULL) return NULL;
    atomic_init(&exchange->references, 1); /* the connection's, until it is closed */
    pthread_mutex_init(&exchange->mutex, NULL);
    exchange->server = server;
    exchange->connection = connection;
    memcpy(exchange->peer, connection->peer, sizeof exchange->peer);
    bytes_init(&exchange->body, (size_t)server->options.body_bytes_max);
    bytes_init(&exchange->pending, PENDING_BYTES_MAX / 4 * 5); /* what is sent of it included */
    bytes_init(&exchange->answer_headers, ANSWER_HEADERS_BYTES_MAX);
    exchange->head.method = exchange->head.path = "";
    pthread_mutex_lock(&server->mutex);
    server->running++;
    pthread_mutex_unlock(&server->mutex);
    return exchange;
}

void http_exchange_ref(struct http_exchange *exchange) {
    atomic_fetch_add_explicit(&exchange->references, 1, memory_order_relaxed);
}

void http_exchange_unref(struct http_exchange *exchange) {
    if (atomic_fetch_sub_explicit(&exchange->references, 1, memory_order_acq_rel) != 1) return;
    http_head_deinit(&exchange->head);
    bytes_deinit(&exchange->body);
    bytes_deinit(&exchange->pending);
    bytes_deinit(&exchange->answer_headers);
    pthread_mutex_destroy(&exchange->mutex);
    free(exchange);
}

/* --- sending --- */

void http_exchange_list_locked(struct http_exchange *exchange) {
    struct http_server *server = exchange->server;
    if (exchange->listed || exchange->closed) return;
    exchange->listed = true;
    http_exchange_ref(exchange);
    pthread_mutex_lock(&server->mutex);
    exchange->next_ready = NULL;
    *server->ready_tail = exchange;
    server->ready_tail = &exchange->next_ready;
    pthread_mutex_unlock(&server->mutex);
    loop_wake(server->loop);
}

bool http_exchange_sent_locked(const struct http_exchange *exchange) {
    bool whole = exchange->phase == HTTP_ANSWERED || (exchange->phase == HTTP_STREAMING && exchange->ended);
    return whole && exchange->pending.length == exchange->pending_taken;
}

static ssize_t send_some(struct http_exchange *exchange, const void *data, size_t bytes) {
    struct http_connection *connection = exchange->connection;
    if (connection->tls != NULL) return tls_send(connection->tls, data, bytes);
    return send(connection->fd, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void http_exchange_send_locked(struct http_exchange *exchange) {
    struct bytes *pending = &exchange->pending;
    while (!exchange->blocked && !exchange->gone && pending->length > exchange->pending_taken) {
        ssize_t sent =
            send_some(exchange, pending->data + exchange->pending_taken, pending->length - exchange->pending_taken);
        if (sent > 0) {
            exchange->pending_taken += (size_t)sent;
            exchange->last_sent_ns = clock_monotonic_ns(clock_system());
        } else if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            exchange->blocked = true;
        } else if (errno != EINTR) {
            exchange->gone = true;
        }
    }
    if (pending->length == exchange->pending_taken) {
        bytes_deinit(pending); /* a stream that is silent holds nothing */
        exchange->pending_taken = 0;
    } else {
        bytes_drop_taken(pending, &exchange->pending_taken);
    }
}

/** From any thread: send, and tell the loop what is for it to do. */
static void flush_locked(struct http_exchange *exchange) {
    if (exchange->closed) return;
    size_t mark = exchange->server->options.watermark_bytes / 2;
    if (exchange->connection->tls == NULL) http_exchange_send_locked(exchange);
    bool waits = exchange->pending.length - exchange->pending_taken > 0;
    bool writable = exchange->above_mark && exchange->pending.length - exchange->pending_taken <= mark;
    if (http_exchange_sent_locked(exchange) || exchange->gone || exchange->aborted || writable ||
        (waits && exchange->connection->tls != NULL))
        http_exchange_list_locked(exchange);
}

/* --- answers --- */

static const char *reason_of(int status) {
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {{200, "OK"},
                   {201, "Created"},
                   {202, "Accepted"},
                   {204, "No Content"},
                   {303, "See Other"},
                   {304, "Not Modified"},
                   {400, "Bad Request"},
                   {401, "Unauthorized"},
                   {402, "Payment Required"},
                   {403, "Forbidden"},
                   {404, "Not Found"},
                   {405, "Method Not Allowed"},
                   {408, "Request Timeout"},
                   {409, "Conflict"},
                   {413, "Content Too Large"},
                   {415, "Unsupported Media Type"},
                   {422, "Unprocessable Content"},
                   {429, "Too Many Requests"},
                   {431, "Request Header Fields Too Large"},
                   {500, "Internal Server Error"},
                   {501, "Not Implemented"},
                   {502, "Bad Gateway"},
                   {503, "Service Unavailable"},
                   {504, "Gateway Timeout"},
                   {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].status == status) return reasons[i].reason;
    }
    return "Status";
}

static void append_date(struct bytes *out) {
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    static _Thread_local time_t when;
    static _Thread_local char text[64];
    time_t now = (time_t)(clock_unix_ns(clock_system()) / NS_PER_S);
    struct tm parts;
    if (now != when && gmtime_r(&now, &parts) != NULL) {
        when = now;
        snprintf(text, sizeof text, "Date: %s, %02d %s %d %02d:%02d:%02d GMT\r\n", days[parts.tm_wday], parts.tm_mday,
                 months[parts.tm_mon], parts.tm_year + 1900, parts.tm_hour, parts.tm_min, parts.tm_sec);
    }
    (void)bytes_append_string(out, text);
}

/** The answer's head; its body follows. `length` below 0: a stream. The mutex is held. */
static void begin_answer_locked(struct http_exchange *exchange, enum http_phase phase, int status,
                                const char *content_type, int64_t length) {
    struct bytes *out = &exchange->pending;
    const struct http_server *server = exchange->server;
    bool closes = !exchange->keeps_alive || exchange->says_close || atomic_load(&server->stopping) ||
                  atomic_load(&server->retiring);
    exchange->phase = phase;
    exchange->bodiless = strcmp(exchange->head.method, "HEAD") == 0 || status == 204 || status == 304;
    exchange->chunked = length < 0 && exchange->head.minor_version > 0 && !exchange->bodiless;
    exchange->says_close = closes || (length < 0 && !exchange->chunked && !exchange->bodiless);
    exchange->last_write_ns = exchange->last_sent_ns = clock_monotonic_ns(clock_system());
    (void)bytes_append_string(out, "HTTP/1.1 ");
    (void)bytes_append_decimal(out, status);
    (void)bytes_append_byte(out, ' ');
    (void)bytes_append_string(out, reason_of(status));
    (void)bytes_append(out, "\r\n", 2);
    append_date(out);
    if (content_type != NULL) {
        (void)bytes_append_string(out, "Content-Type: ");
        (void)bytes_append_string(out, content_type);
        (void)bytes_append(out, "\r\n", 2);
    }
    if (length >= 0 && status != 204 && status != 304) {
        (void)bytes_append_string(out, "Content-Length: ");
        (void)bytes_append_decimal(out, length);
        (void)bytes_append(out, "\r\n", 2);
    }
    if (exchange->chunked) (void)bytes_append_string(out, "Transfer-Encoding: chunked\r\n");
    if (exchange->says_close) (void)bytes_append_string(out, "Connection: close\r\n");
    (void)bytes_append(out, exchange->answer_headers.data, exchange->answer_headers.length);
    (void)bytes_append_string(out, "\r\n");
    bytes_deinit(&exchange->answer_headers);
}

static void respond_locked(struct http_exchange *exchange, int status, const char *content_type,
                           struct bytes_view body) {
    begin_answer_locked(exchange, HTTP_ANSWERED, status, content_type, (int64_t)body.length);
    if (!exchange->bodiless) (void)bytes_append(&exchange->pending, body.data, body.length);
    exchange->aborted = exchange->aborted || exchange->pending.failed;
    flush_locked(exchange);
}

void http_exchange_respond(struct http_exchange *exchange, int http_status, const char *content_type,
                           struct bytes_view body) {
    pthread_mutex_lock(&exchange->mutex);
    if (exchange->phase == HTTP_WAITING && !exchange->closed) respond_locked(exchange, http_status, content_type, body);
    pthread_mutex_unlock(&exchange->mutex);
}

void http_exchange_refuse(struct http_exchange *exchange, int status, const char *reason) {
    const struct http_server_options *options = &exchange->server->options;
    struct bytes body;
    bytes_init(&body, 4096);
    if (options->on_refused != NULL)
        options->on_refused(status, reason, &body, options->context);
    else
        (void)bytes_printf(&body, "%s\n", reason);
    pthread_mutex_lock(&exchange->mutex);
    exchange->keeps_alive = false;
    if (status == 401) (void)bytes_append_string(&exchange->answer_headers, "WWW-Authenticate: Bearer\r\n");
    if (status == 503) (void)bytes_append_string(&exchange->answer_headers, "Retry-After: 1\r\n");
    respond_locked(exchange, status, options->on_refused != NULL ? "application/json" : "text/plain; charset=utf-8",
                   bytes_view(&body));
    pthread_mutex_unlock(&exchange->mutex);
    bytes_deinit(&body);
}

void http_exchange_flush(struct http_exchange *exchange) {
    pthread_mutex_lock(&exchange->mutex);
    flush_locked(exchange);
    pthread_mutex_unlock(&exchange->mutex);
}

void http_exchange_begin(struct http_exchange *exchange, int http_status, const char *content_type) {
    pthread_mutex_lock(&exchange->mutex);
    if (exchange->phase == HTTP_WAITING && !exchange->closed) {
        begin_answer_locked(exchange, HTTP_STREAMING, http_status, content_type, -1);
        exchange->events = content_type != NULL && strncasecmp(content_type, "text/event-stream", 17) == 0;
        exchange->ended = exchange->bodiless;
        exchange->aborted = exchange->aborted || exchange->pending.failed;
    }
    pthread_mutex_unlock(&exchange->mutex);
}

void http_exchange_start(struct http_exchange *exchange, int http_status, const char *content_type) {
    http_exchange_begin(exchange, http_status, content_type);
    http_exchange_flush(exchange);
}

/** All of it or nothing. */
static enum status append_framed(struct http_exchange *exchange, struct bytes_view data) {
    struct bytes *out = &exchange->pending;
    if (bytes_reserve(out, data.length + CHUNK_FRAME_BYTES) != STATUS_OK) {
        out->failed = false; /* what it has stands */
        return STATUS_RESOURCE_EXHAUSTED;
    }
    if (exchange->chunked) (void)bytes_printf(out, "%zx\r\n", data.length);
    (void)bytes_append(out, data.data, data.length);
    if (exchange->chunked) (void)bytes_append(out, "\r\n", 2);
    return STATUS_OK;
}

static enum status append_locked(struct http_exchange *exchange, struct bytes_view data) {
    if (exchange->closed || exchange->gone || exchange->aborted) return STATUS_CANCELLED;
    if (exchange->phase != HTTP_STREAMING || exchange->ended) return STATUS_FAILED_PRECONDITION;
    size_t watermark = exchange->server->options.watermark_bytes,
           waiting = exchange->pending.length - exchange->pending_taken;
    bool large = data.length > watermark;
    if (waiting == 0) exchange->large_bytes = 0;
    size_t counted = waiting > exchange->large_bytes ? waiting - exchange->large_bytes : 0;
    if (!large && counted + data.length + CHUNK_FRAME_BYTES > PENDING_WATERMARKS_MAX * watermark)
        return STATUS_RESOURCE_EXHAUSTED;
    if (data.length + CHUNK_FRAME_BYTES > PENDING_BYTES_MAX - waiting) return STATUS_RESOURCE_EXHAUSTED;
    if (data.length == 0) return STATUS_OK;
    TRY(append_framed(exchange, data));
    if (large) exchange->large_bytes += data.length;
    exchange->above_mark |= exchange->pending.length - exchange->pending_taken > watermark; /* as writers count it */
    exchange->last_write_ns = clock_monotonic_ns(clock_system());
    return STATUS_OK;
}

enum status http_exchange_append(struct http_exchange *exchange, struct bytes_view data) {
    pthread_mutex_lock(&exchange->mutex);
    enum status status = append_locked(exchange, data);
    pthread_mutex_unlock(&exchange->mutex);
    return status;
}

enum status http_exchange_write(struct http_exchange *exchange, struct bytes_view data) {
    pthread_mutex_lock(&exchange->mutex);
    enum status status = append_locked(exchange, data);
    if (status == STATUS_OK) flush_locked(exchange);
    pthread_mutex_unlock(&exchange->mutex);
    return status;
}

void http_exchange_end(struct http_exchange *exchange) {
    pthread_mutex_lock(&exchange->mutex);
    if (exchange->phase == HTTP_STREAMING && !exchange->closed && !exchange->ended) {
        exchange->ended = true;
        if (exchange->chunked && bytes_append_string(&exchange->pending, "0\r\n\r\n") != STATUS_OK)
            exchange->aborted = true;
        flush_locked(exchange);
    }
    pthread_mutex_unlock(&exchange->mutex);
}

void http_exchange_abort(struct http_exchange *exchange) {
    pthread_mutex_lock(&exchange->mutex);
    if (!exchange->closed) {
        exchange->aborted = true;
        http_exchange_list_locked(exchange);
    }
    pthread_mutex_unlock(&exchange->mutex);
}

void http_exchange_heartbeat(struct http_exchange *exchange, int64_t now_ns, int64_t silence_ns) {
    pthread_mutex_lock(&exchange->mutex);
    /* Nothing waits: the comment can only stand between two writes. */
    bool due = exchange->phase == HTTP_STREAMING && exchange->events && !exchange->ended &&
               exchange->pending.length == exchange->pending_taken && now_ns - exchange->last_write_ns >= silence_ns;
    if (due && append_locked(exchange, bytes_view_string(heartbeat)) == STATUS_OK) flush_locked(exchange);
    pthread_mutex_unlock(&exchange->mutex);
}

void http_exchange_headers_done(struct http_exchange *exchange, int refuse_status, const char *reason) {
    pthread_mutex_lock(&exchange->mutex);
    if (!exchange->headers_decided && !exchange->closed) {
        exchange->headers_decided = true;
        exchange->headers_status = refuse_status;
        exchange->headers_reason = reason;
        http_exchange_list_locked(exchange);
    }
    pthread_mutex_unlock(&exchange->mutex);
}

/* --- what the handler reads --- */

const char *http_exchange_method(const struct http_exchange *exchange) {
    return exchange->head.method;
}
const char *http_exchange_path(const struct http_exchange *exchange) {
    return exchange->head.path;
}
const char *http_exchange_peer(const struct http_exchange *exchange) {
    return exchange->peer;
}
struct bytes_view http_exchange_body(const struct http_exchange *exchange) {
    return bytes_view(&exchange->body);
}

void http_exchange_forget_body(struct http_exchange *exchange) {
    bytes_deinit(&exchange->body);
}

int64_t http_exchange_announced_bytes(const struct http_exchange *exchange) {
    return exchange->announced_bytes;
}

void http_exchange_limit_body(struct http_exchange *exchange, int64_t bytes_max) {
    exchange->body.max_bytes = (size_t)bytes_max;
}

const char *http_exchange_header(const struct http_exchange *exchange, const char *name) {
    const struct http_field *field = exchange->head.headers;
    while (field != NULL && strcasecmp(field->name, name) != 0) field = field->next;
    return field != NULL ? field->value : NULL;
}

const struct http_field *http_exchange_headers(const struct http_exchange *exchange) {
    return exchange->head.headers;
}
const struct http_field *http_exchange_queries(const struct http_exchange *exchange) {
    return exchange->head.queries;
}

void http_exchange_set_state(struct http_exchange *exchange, void *state) {
    pthread_mutex_lock(&exchange->mutex);
    exchange->state = state;
    pthread_mutex_unlock(&exchange->mutex);
}

void *http_exchange_state(const struct http_exchange *exchange) {
    pthread_mutex_t *mutex = (pthread_mutex_t *)(uintptr_t)&exchange->mutex;
    pthread_mutex_lock(mutex);
    void *state = exchange->state;
    pthread_mutex_unlock(mutex);
    return state;
}

size_t http_exchange_pending_bytes(const struct http_exchange *exchange) {
    pthread_mutex_t *mutex = (pthread_mutex_t *)(uintptr_t)&exchange->mutex;
    pthread_mutex_lock(mutex);
    size_t waiting = exchange->pending.length - exchange->pending_taken;
    pthread_mutex_unlock(mutex);
    return waiting;
}

/** Nothing that could end the line and begin another. */
static bool is_line(const char *text) {
    return strpbrk(text, "\r\n") == NULL;
}

void http_exchange_add_header(struct http_exchange *exchange, const char *name, const char *value) {
    pthread_mutex_lock(&exchange->mutex);
    if (exchange->phase != HTTP_WAITING || exchange->closed || !is_line(name) || !is_line(value)) {
        /* too late, or no header */
    } else if (strcasecmp(name, "Connection") == 0) {
        exchange->says_close = exchange->says_close || strcasecmp(value, "close") == 0;
    } else {
        size_t before = exchange->answer_headers.length;
        (void)bytes_append_string(&exchange->answer_headers, name);
        (void)bytes_append(&exchange->answer_headers, ": ", 2);
        (void)bytes_append_string(&exchange->answer_headers, value);
        (void)bytes_append(&exchange->answer_headers, "\r\n", 2);
        exchange->answer_headers.length = exchange->answer_headers.failed ? before : exchange->answer_headers.length;
    }
    pthread_mutex_unlock(&exchange->mutex);
}
