/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The life of an exchange; the picture and the rules are in rpc/http_internal.h. */
#include "rpc/http_internal.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A request's line and headers live in here, copied: MHD's own memory goes with the connection. Also the answer's headers. */
enum { EXCHANGE_ARENA_BYTES = 256 * 1024 };
/* A handler that writes faster than the watermark allows is refused at this many watermarks; a message that is above the watermark by
 * itself goes all the same, as over gRPC, up to PENDING_BYTES_MAX of everything that waits. */
enum { PENDING_WATERMARKS_MAX = 4, PENDING_BYTES_MAX = 128 << 20 };

static const char heartbeat[] = ": keep-alive\n\n";

struct http_exchange *http_exchange_create(struct http_server *server, struct http_connection *connection,
                                           struct MHD_Connection *mhd) {
    struct http_exchange *exchange = calloc(1, sizeof *exchange);
    if (exchange == NULL) return NULL;
    atomic_init(&exchange->references, 1); /* MHD's, until http_exchange_finish */
    pthread_mutex_init(&exchange->mutex, NULL);
    exchange->server = server;
    exchange->connection = connection;
    exchange->mhd = mhd;
    memcpy(exchange->peer, connection->peer, sizeof exchange->peer);
    arena_init(&exchange->arena, EXCHANGE_ARENA_BYTES);
    bytes_init(&exchange->body, (size_t)server->options.body_bytes_max);
    bytes_init(&exchange->pending, PENDING_BYTES_MAX);
    exchange->method = exchange->path = "";
    atomic_store_explicit(&connection->received_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&connection->headers_whole, false, memory_order_relaxed);
    pthread_mutex_lock(&server->mutex);
    connection->exchange = exchange;
    connection->served = true;
    connection->since_ns = clock_monotonic_ns(clock_system());
    server->running++;
    exchange->gone = connection->hung_up || server->killing;
    pthread_mutex_unlock(&server->mutex);
    return exchange;
}

void http_exchange_ref(struct http_exchange *exchange) {
    atomic_fetch_add_explicit(&exchange->references, 1, memory_order_relaxed);
}

void http_exchange_unref(struct http_exchange *exchange) {
    if (atomic_fetch_sub_explicit(&exchange->references, 1, memory_order_acq_rel) != 1) return;
    bytes_deinit(&exchange->body);
    bytes_deinit(&exchange->pending);
    arena_deinit(&exchange->arena);
    pthread_mutex_destroy(&exchange->mutex);
    free(exchange);
}

static void uncount_body(struct http_exchange *exchange) {
    atomic_fetch_sub(&exchange->server->bodies_bytes, exchange->body_bytes);
    exchange->connection->from->body_bytes -= exchange->body_bytes;
    exchange->body_bytes = 0;
}

void http_exchange_drop_body(struct http_exchange *exchange) {
    bytes_deinit(&exchange->body);
    uncount_body(exchange);
}

void http_exchange_finish(struct http_exchange *exchange, bool completed) {
    struct http_server *server = exchange->server;
    /* Whoever still refers to the exchange may read the body; it is no longer the server's to count. */
    uncount_body(exchange);
    pthread_mutex_lock(&server->mutex);
    exchange->connection->exchange = NULL;
    exchange->connection->since_ns = clock_monotonic_ns(clock_system());
    server->running--;
    server->live -= exchange->requested;
    if (server->stopping) pthread_cond_broadcast(&server->drained);
    pthread_mutex_unlock(&server->mutex);

    pthread_mutex_lock(&exchange->mutex);
    exchange->closed = true;
    struct MHD_Response *unused = exchange->response;
    exchange->response = NULL;
    bytes_deinit(&exchange->pending);
    exchange->pending_taken = 0;
    pthread_mutex_unlock(&exchange->mutex);
    if (unused != NULL) MHD_destroy_response(unused);
    if (exchange->requested && server->options.on_closed != NULL)
        server->options.on_closed(exchange, server->options.context, completed);
    http_exchange_unref(exchange);
}

/* --- all that suspends or resumes goes through these two, with the mutex held --- */

static void suspend(struct http_exchange *exchange) {
    exchange->suspended = true;
    MHD_suspend_connection(exchange->mhd);
}

static void resume(struct http_exchange *exchange) {
    if (!exchange->suspended) return;
    exchange->suspended = false;
    MHD_resume_connection(exchange->mhd);
}

bool http_exchange_headers_settled(struct http_exchange *exchange) {
    pthread_mutex_lock(&exchange->mutex);
    bool settled = exchange->headers_decided || exchange->gone;
    if (!settled) suspend(exchange);
    pthread_mutex_unlock(&exchange->mutex);
    return settled;
}

void http_exchange_headers_done(struct http_exchange *exchange, int refuse_status, const char *reason) {
    pthread_mutex_lock(&exchange->mutex);
    if (!exchange->headers_decided && !exchange->closed) {
        exchange->headers_decided = true;
        exchange->headers_status = refuse_status;
        exchange->headers_reason = reason;
        resume(exchange);
    }
    pthread_mutex_unlock(&exchange->mutex);
}

enum MHD_Result http_exchange_proceed(struct http_exchange *exchange) {
    bool stopping = atomic_load(&exchange->server->stopping);
    pthread_mutex_lock(&exchange->mutex);
    struct MHD_Response *response = exchange->response;
    bool drop = exchange->aborted || (response == NULL && (exchange->gone || exchange->phase != HTTP_WAITING));
    if (!drop && response == NULL) suspend(exchange);
    if (!drop) exchange->response = NULL;
    int status = exchange->status;
    pthread_mutex_unlock(&exchange->mutex);
    if (drop) return MHD_NO;
    if (response == NULL) return MHD_YES;
    if (stopping) (void)MHD_add_response_header(response, "Connection", "close");
    enum MHD_Result queued = MHD_queue_response(exchange->mhd, (unsigned)status, response);
    MHD_destroy_response(response);
    return queued;
}

/** MHD's thread: fill a chunk with as much as waits; with nothing to send, sleep until there is. */
static ssize_t read_pending(void *context, uint64_t position, char *out, size_t max) {
    (void)position;
    struct http_exchange *exchange = context;
    size_t watermark = exchange->server->options.watermark_bytes;
    pthread_mutex_lock(&exchange->mutex);
    struct bytes *pending = &exchange->pending;
    size_t waiting = pending->length - exchange->pending_taken, taken = waiting < max ? waiting : max;
    ssize_t result = (ssize_t)taken;
    if (exchange->gone || exchange->aborted)
        result = MHD_CONTENT_READER_END_WITH_ERROR;
    else if (waiting == 0 && exchange->ended)
        result = MHD_CONTENT_READER_END_OF_STREAM;
    else if (waiting == 0)
        suspend(exchange);
    bool writable = false;
    if (result > 0) {
        memcpy(out, pending->data + exchange->pending_taken, taken);
        exchange->pending_taken += taken;
        waiting -= taken;
        if (waiting == 0 || exchange->pending_taken >= watermark) {
            bytes_consume(pending, exchange->pending_taken);
            exchange->pending_taken = 0;
        }
        writable = exchange->above_mark && waiting <= watermark / 2;
        if (writable) exchange->above_mark = false;
    }
    pthread_mutex_unlock(&exchange->mutex);
    if (writable && exchange->server->options.on_writable != NULL)
        exchange->server->options.on_writable(exchange, exchange->server->options.context);
    return result;
}

static void release_reader(void *context) {
    http_exchange_unref(context);
}

/** With the mutex held: make `response` the answer. NULL (no memory) drops the connection. */
static void answer(struct http_exchange *exchange, enum http_phase phase, int status, const char *content_type,
                   struct MHD_Response *response) {
    exchange->phase = phase;
    exchange->status = status;
    exchange->response = response;
    exchange->aborted |= response == NULL;
    exchange->last_write_ns = clock_monotonic_ns(clock_system());
    if (response != NULL) {
        if (content_type != NULL) (void)MHD_add_response_header(response, "Content-Type", content_type);
        for (const struct http_field *field = exchange->answer_headers; field != NULL; field = field->next) {
            (void)MHD_add_response_header(response, field->name, field->value);
        }
    }
    resume(exchange);
}

void http_exchange_respond(struct http_exchange *exchange, int http_status, const char *content_type,
                           struct bytes_view body) {
    pthread_mutex_lock(&exchange->mutex);
    if (exchange->phase == HTTP_WAITING && !exchange->closed) {
        struct MHD_Response *response =
            MHD_create_response_from_buffer(body.length, (void *)(uintptr_t)body.data, MHD_RESPMEM_MUST_COPY);
        answer(exchange, HTTP_ANSWERED, http_status, content_type, response);
    }
    pthread_mutex_unlock(&exchange->mutex);
}

void http_exchange_start(struct http_exchange *exchange, int http_status, const char *content_type) {
    /* MHD takes chunks straight from the connection's pool; this block serves HTTP/1.0 only. */
    enum { BLOCK_BYTES = 4096 };
    pthread_mutex_lock(&exchange->mutex);
    if (exchange->phase == HTTP_WAITING && !exchange->closed) {
        struct MHD_Response *response = NULL;
        if (strcmp(exchange->method, "HEAD") ==
            0) { /* MHD would send the last chunk of a body that HEAD does not have */
            response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
        } else {
            http_exchange_ref(exchange); /* the response's, until release_reader */
            response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_pending, exchange,
                                                         release_reader);
            if (response == NULL) atomic_fetch_sub(&exchange->references, 1); /* never the last: the caller has one */
        }
        exchange->events = content_type != NULL && strncasecmp(content_type, "text/event-stream", 17) == 0;
        answer(exchange, HTTP_STREAMING, http_status, content_type, response);
    }
    pthread_mutex_unlock(&exchange->mutex);
}

enum status http_exchange_write(struct http_exchange *exchange, struct bytes_view data) {
    pthread_mutex_lock(&exchange->mutex);
    enum status status = STATUS_OK;
    size_t waiting = exchange->pending.length - exchange->pending_taken;
    if (exchange->closed || exchange->gone || exchange->aborted) {
        status = STATUS_CANCELLED;
    } else if (exchange->phase != HTTP_STREAMING || exchange->ended) {
        status = STATUS_FAILED_PRECONDITION;
    } else {
        size_t watermark = exchange->server->options.watermark_bytes;
        bool large = data.length > watermark;
        if (waiting == 0) exchange->large_bytes = 0;
        size_t counted = waiting > exchange->large_bytes ? waiting - exchange->large_bytes : 0;
        bool full = !large && counted + data.length > PENDING_WATERMARKS_MAX * watermark;
        if (large) exchange->large_bytes += data.length;
        status = full ? STATUS_RESOURCE_EXHAUSTED : bytes_append(&exchange->pending, data.data, data.length);
        if (status == STATUS_OK) {
            exchange->above_mark |= waiting + data.length > watermark;
            exchange->last_write_ns = clock_monotonic_ns(clock_system());
            if (data.length > 0) resume(exchange);
        }
    }
    pthread_mutex_unlock(&exchange->mutex);
    return status;
}

void http_exchange_end(struct http_exchange *exchange) {
    pthread_mutex_lock(&exchange->mutex);
    if (exchange->phase == HTTP_STREAMING && !exchange->closed && !exchange->ended) {
        exchange->ended = true;
        resume(exchange);
    }
    pthread_mutex_unlock(&exchange->mutex);
}

void http_exchange_abort(struct http_exchange *exchange) {
    pthread_mutex_lock(&exchange->mutex);
    if (!exchange->closed) {
        exchange->aborted = true;
        resume(exchange);
    }
    pthread_mutex_unlock(&exchange->mutex);
}

bool http_exchange_hang_up(struct http_exchange *exchange) {
    pthread_mutex_lock(&exchange->mutex);
    bool blocked = !exchange->closed && exchange->phase == HTTP_STREAMING && !exchange->suspended;
    exchange->gone = true;
    if (!exchange->closed) resume(exchange);
    pthread_mutex_unlock(&exchange->mutex);
    return blocked;
}

bool http_exchange_receiving(struct http_exchange *exchange) {
    pthread_mutex_lock(&exchange->mutex);
    bool receiving = exchange->phase == HTTP_RECEIVING;
    pthread_mutex_unlock(&exchange->mutex);
    return receiving;
}

void http_exchange_heartbeat(struct http_exchange *exchange, int64_t now_ns, int64_t silence_ns) {
    pthread_mutex_lock(&exchange->mutex);
    /* Suspended means that all of the last write is sent: the comment can only stand between two writes. */
    bool due = exchange->phase == HTTP_STREAMING && exchange->events && exchange->suspended && !exchange->ended &&
               now_ns - exchange->last_write_ns >= silence_ns;
    if (due && bytes_append_string(&exchange->pending, heartbeat) == STATUS_OK) {
        exchange->last_write_ns = now_ns;
        resume(exchange);
    }
    pthread_mutex_unlock(&exchange->mutex);
}

/* --- what the handler reads --- */

const char *http_exchange_method(const struct http_exchange *exchange) {
    return exchange->method;
}
const char *http_exchange_path(const struct http_exchange *exchange) {
    return exchange->path;
}
const char *http_exchange_peer(const struct http_exchange *exchange) {
    return exchange->peer;
}
struct bytes_view http_exchange_body(const struct http_exchange *exchange) {
    return bytes_view(&exchange->body);
}

int64_t http_exchange_announced_bytes(const struct http_exchange *exchange) {
    return exchange->announced_bytes;
}

void http_exchange_limit_body(struct http_exchange *exchange, int64_t bytes_max) {
    exchange->body.max_bytes = (size_t)bytes_max;
}

const char *http_exchange_header(const struct http_exchange *exchange, const char *name) {
    const struct http_field *field = exchange->headers;
    while (field != NULL && strcasecmp(field->name, name) != 0) field = field->next;
    return field != NULL ? field->value : NULL;
}

const struct http_field *http_exchange_headers(const struct http_exchange *exchange) {
    return exchange->headers;
}
const struct http_field *http_exchange_queries(const struct http_exchange *exchange) {
    return exchange->queries;
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

void http_exchange_add_header(struct http_exchange *exchange, const char *name, const char *value) {
    pthread_mutex_lock(&exchange->mutex);
    struct http_field *field =
        exchange->phase == HTTP_WAITING && !exchange->closed ? arena_alloc(&exchange->arena, sizeof *field) : NULL;
    if (field != NULL) {
        field->name = arena_copy(&exchange->arena, name, strlen(name));
        field->value = arena_copy(&exchange->arena, value, strlen(value));
        if (field->name != NULL && field->value != NULL) {
            struct http_field **tail = &exchange->answer_headers;
            while (*tail != NULL) tail = &(*tail)->next;
            *tail = field;
        }
    }
    pthread_mutex_unlock(&exchange->mutex);
}
