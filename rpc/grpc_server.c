/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * The server. Calls are taken with the generic request function and looked up by path in a table of our own: one code path
 * for unary and streams, health and reflection, and unknown methods.
 *
 * A call has four batches at most in the air, each with its tag: CLOSE (from start to end; tells cancellation), READ (one
 * message), WRITE (one message, with the initial metadata the first time, with the status when it is the last), FINISH (the
 * status alone). It ends when the status and CLOSE are back and neither READ nor WRITE is out. All tags of a call come from
 * one completion queue, so its callbacks follow one another.
 *
 * What a handler writes inside `message` is sent when it returns: a unary answer and its status then go in one batch.
 */
#include "base/clock.h"
#include "base/limits.h"
#include "base/threads.h"
#include "rpc/grpc_internal.h"

#include <grpc/support/alloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
    SLOTS_PER_QUEUE = 64, /* calls asked for ahead */
    METHODS_MAX = 64,
    METADATA_MAX = 16,                    /* headers, and trailers, that a handler may add */
    PENDING_BYTES_MAX = 16 * 1024 * 1024, /* hard maximum of one call's waiting messages */
    DETAILS_BYTES_MAX =
        5 * 1024, /* in base64 and with the message it must fit the 8 KiB that clients accept of metadata */
    PEER_BYTES = 80,
    QUEUES_MAX = 64,
};

struct method {
    const struct rpc_method *method;
    void *service;
};

struct rpc_server {
    struct rpc_server_options options;
    grpc_server *server;
    struct grpc_acceptor *acceptor; /* plain text only */
    int port;
    int queue_count;
    struct grpc_queue queues[QUEUES_MAX];
    struct method methods[METHODS_MAX];
    int method_count;
    struct grpc_health *health;
    struct grpc_reflection *reflection;
    bool started, stopped;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t idle;
    int64_t calls, slots; /* live calls; slots that wait for one */
    bool stopping, shutdown_done;
    struct grpc_tag shutdown_tag;
    pthread_mutex_t certificate_mutex; /* not the other: the C core asks with locks of its own held; guards: */
    grpc_ssl_server_certificate_config *certificate; /* what the C core has not fetched yet; NULL: it has the newest */
};

struct pending {
    struct pending *next;
    grpc_byte_buffer *buffer;
    size_t bytes;
};

struct metadata_list {
    size_t count;
    grpc_metadata items[METADATA_MAX];
};

struct rpc_call {
    struct grpc_tag new_tag, close_tag, read_tag, write_tag, finish_tag;
    struct rpc_server *server;
    int queue;
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
    const struct method *method;
    void *state;
    char peer[PEER_BYTES];
    char **strings; /* request metadata values made into strings on demand */
    size_t string_count;
    atomic_int references;

    pthread_mutex_t mutex; /* guards what follows */
    struct pending *first, *last;
    size_t pending_bytes, watermark;
    bool above; /* passed the watermark since the last `writable` */
    struct metadata_list headers, trailers;
    bool headers_sent;
    bool reading, read_paused, read_ended;
    bool message_came;  /* to a method that takes exactly one */
    bool writing, held; /* held: `message` is running, and what it writes waits for its end */
    bool finish_wanted, finish_sent, finish_done, closed, ended;
    enum status finish_status;
    grpc_slice finish_message;
    int close_cancelled;
    atomic_bool cancelled;
    grpc_byte_buffer *received;
    grpc_byte_buffer *sending;
};

#define CALL_OF(tag, member) ((struct rpc_call *)((char *)(tag)-offsetof(struct rpc_call, member)))

static void post_slot(struct rpc_server *server, int queue);

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static void metadata_list_free(struct metadata_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        grpc_slice_unref(list->items[i].key);
        grpc_slice_unref(list->items[i].value);
    }
}

static void call_free(struct rpc_call *call) {
    while (call->first != NULL) {
        struct pending *next = call->first->next;
        grpc_byte_buffer_destroy(call->first->buffer);
        free(call->first);
        call->first = next;
    }
    metadata_list_free(&call->headers);
    metadata_list_free(&call->trailers);
    for (size_t i = 0; i < call->string_count; i++) free(call->strings[i]);
    free(call->strings);
    if (call->finish_wanted) grpc_slice_unref(call->finish_message);
    grpc_metadata_array_destroy(&call->metadata);
    grpc_call_details_destroy(&call->details);
    if (call->call != NULL) grpc_call_unref(call->call);
    pthread_mutex_destroy(&call->mutex);
    free(call);
}

void rpc_call_ref(struct rpc_call *call) {
    atomic_fetch_add(&call->references, 1);
}

void rpc_call_unref(struct rpc_call *call) {
    if (atomic_fetch_sub(&call->references, 1) != 1) return;
    struct rpc_server *server = call->server;
    call_free(call);
    pthread_mutex_lock(&server->mutex);
    server->calls--;
    pthread_cond_broadcast(&server->idle);
    pthread_mutex_unlock(&server->mutex);
}

/** Starting a batch on a live call fails only through misuse; then nothing will come back, and a hang would be worse than an abort. */
static void start_batch(struct rpc_call *call, const grpc_op *ops, size_t count, struct grpc_tag *tag) {
    TAG_RELEASE(tag);
    grpc_call_error failed = grpc_call_start_batch(call->call, ops, count, tag, NULL);
    if (failed != GRPC_CALL_OK) {
        fprintf(stderr, "rpc: a batch was refused: %s\n", grpc_call_error_to_string(failed));
        abort();
    }
}

/** After any tag came back: when nothing is out any more, tell the handler once and let go. Called without the mutex, on the queue's thread. */
static void end_if_done(struct rpc_call *call) {
    pthread_mutex_lock(&call->mutex);
    bool done = call->finish_done && call->closed && !call->reading && !call->writing && !call->ended;
    if (done) call->ended = true;
    pthread_mutex_unlock(&call->mutex);
    if (!done) return;
    if (call->method != NULL && call->method->method->finished != NULL) call->method->method->finished(call);
    rpc_call_unref(call);
}

/* ---- writing ------------------------------------------------------------------------------------------------------- */

static grpc_op initial_metadata_op(struct rpc_call *call) {
    call->headers_sent = true;
    return (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA,
                     .data.send_initial_metadata = {.count = call->headers.count, .metadata = call->headers.items}};
}

static grpc_op status_op(struct rpc_call *call) {
    call->finish_sent = true;
    return (grpc_op){.op = GRPC_OP_SEND_STATUS_FROM_SERVER,
                     .data.send_status_from_server = {.trailing_metadata_count = call->trailers.count,
                                                      .trailing_metadata = call->trailers.items,
                                                      .status = (grpc_status_code)call->finish_status,
                                                      .status_details = &call->finish_message}};
}

static struct pending *take_first_locked(struct rpc_call *call) {
    struct pending *message = call->first;
    call->first = message->next;
    if (call->first == NULL) call->last = NULL;
    call->pending_bytes -= message->bytes;
    return message;
}

/** Start the next batch, if nothing is out: the first waiting message (and the status behind the last one), or the status. */
static void send_next_locked(struct rpc_call *call) {
    if (call->writing || call->finish_sent || call->held || (call->first == NULL && !call->finish_wanted)) return;
    grpc_op ops[3];
    size_t count = 0;
    bool headers_were_sent = call->headers_sent;
    if (!call->headers_sent) ops[count++] = initial_metadata_op(call);
    if (call->first == NULL) {
        ops[count++] = status_op(call);
        start_batch(call, ops, count, &call->finish_tag);
        return;
    }
    struct pending *message = take_first_locked(call);
    call->sending = message->buffer;
    free(message);
    ops[count++] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = call->sending};
    /* More is waiting: let gRPC gather (six times the messages per second). Never with the headers, where it would wait for ever, nor on the last one. */
    if (call->first != NULL && headers_were_sent) ops[count - 1].flags = GRPC_WRITE_BUFFER_HINT;
    if (call->first == NULL && call->finish_wanted) ops[count++] = status_op(call);
    call->writing = true;
    start_batch(call, ops, count, &call->write_tag);
}

static void drop_pending_locked(struct rpc_call *call) {
    while (call->first != NULL) {
        struct pending *next = call->first->next;
        grpc_byte_buffer_destroy(call->first->buffer);
        free(call->first);
        call->first = next;
    }
    call->last = NULL;
    call->pending_bytes = 0;
}

static void on_written(struct grpc_tag *tag, bool ok) {
    struct rpc_call *call = CALL_OF(tag, write_tag);
    pthread_mutex_lock(&call->mutex);
    grpc_byte_buffer_destroy(call->sending);
    call->sending = NULL;
    call->writing = false;
    if (call->finish_sent) call->finish_done = true;
    if (!ok) drop_pending_locked(call); /* the stream is broken; CLOSE tells the handler */
    send_next_locked(call);
    bool writable = call->above && call->pending_bytes <= call->watermark / 2 && !call->finish_wanted;
    if (writable) call->above = false;
    bool written = !call->writing && call->first == NULL && !call->finish_wanted;
    pthread_mutex_unlock(&call->mutex);
    if (writable && call->method != NULL && call->method->method->writable != NULL)
        call->method->method->writable(call);
    if (written && call->method != NULL && call->method->method->written != NULL) call->method->method->written(call);
    end_if_done(call);
}

static void on_finish_sent(struct grpc_tag *tag, bool ok) {
    (void)ok;
    struct rpc_call *call = CALL_OF(tag, finish_tag);
    pthread_mutex_lock(&call->mutex);
    call->finish_done = true;
    pthread_mutex_unlock(&call->mutex);
    end_if_done(call);
}

enum status rpc_call_write(struct rpc_call *call, struct bytes_view message) {
    struct pending *pending = malloc(sizeof *pending);
    if (pending == NULL) return STATUS_RESOURCE_EXHAUSTED;
    *pending = (struct pending){.buffer = grpc_buffer_of(message), .bytes = message.length + 1};
    pthread_mutex_lock(&call->mutex);
    bool fits = call->pending_bytes == 0 ||
                call->pending_bytes + pending->bytes <= PENDING_BYTES_MAX; /* one message always does */
    enum status status = call->finish_wanted || call->closed ? STATUS_CANCELLED
                         : fits                              ? STATUS_OK
                                                             : STATUS_RESOURCE_EXHAUSTED;
    if (status == STATUS_OK) {
        if (call->last != NULL)
            call->last->next = pending;
        else
            call->first = pending;
        call->last = pending;
        call->pending_bytes += pending->bytes;
        if (call->watermark > 0 && call->pending_bytes > call->watermark) call->above = true;
        send_next_locked(call);
    }
    pthread_mutex_unlock(&call->mutex);
    if (status != STATUS_OK) {
        grpc_byte_buffer_destroy(pending->buffer);
        free(pending);
    }
    return status;
}

static enum status add_metadata(struct metadata_list *list, const char *key, struct bytes_view value) {
    if (list->count == METADATA_MAX) return STATUS_RESOURCE_EXHAUSTED;
    grpc_metadata entry = {.key = grpc_slice_from_copied_string(key),
                           .value = grpc_slice_from_copied_buffer((const char *)value.data, value.length)};
    if (!grpc_metadata_is_legal(&entry)) {
        grpc_slice_unref(entry.key);
        grpc_slice_unref(entry.value);
        return STATUS_INVALID_ARGUMENT;
    }
    list->items[list->count++] = entry;
    return STATUS_OK;
}

void rpc_call_finish(struct rpc_call *call, enum status status, const char *message, struct bytes_view details) {
    pthread_mutex_lock(&call->mutex);
    if (!call->finish_wanted) {
        call->finish_wanted = true;
        call->finish_status = status;
        call->finish_message = grpc_slice_from_copied_string(message != NULL ? message : "");
        if (details.length > 0 && details.length <= DETAILS_BYTES_MAX)
            (void)!add_metadata(&call->trailers, "grpc-status-details-bin", details);
        send_next_locked(call);
    }
    pthread_mutex_unlock(&call->mutex);
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

static void read_next_locked(struct rpc_call *call) {
    if (call->reading || call->read_ended || call->read_paused || call->finish_wanted) return;
    call->reading = true;
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->received};
    start_batch(call, &op, 1, &call->read_tag);
}

static void hold_writes(struct rpc_call *call, bool hold) {
    pthread_mutex_lock(&call->mutex);
    call->held = hold;
    if (!hold) send_next_locked(call);
    pthread_mutex_unlock(&call->mutex);
}

static void deliver(struct rpc_call *call, grpc_byte_buffer *buffer) {
    grpc_slice slice;
    if (grpc_buffer_read(buffer, &slice)) {
        hold_writes(call, true);
        call->method->method->message(call, grpc_slice_view(&slice));
        hold_writes(call, false);
        grpc_slice_unref(slice);
    } else {
        rpc_call_finish(call, STATUS_INTERNAL, "the message could not be read", (struct bytes_view){0});
    }
    grpc_byte_buffer_destroy(buffer);
}

/** The client sends no more, or its call is broken. */
static void reading_ended(struct rpc_call *call) {
    if (atomic_load(&call->cancelled)) return;
    if (call->method->method->half_closed != NULL)
        call->method->method->half_closed(call);
    else if (!call->message_came)
        rpc_call_finish(call, STATUS_UNIMPLEMENTED, "the method takes exactly one message", (struct bytes_view){0});
}

static void on_read(struct grpc_tag *tag, bool ok) {
    struct rpc_call *call = CALL_OF(tag, read_tag);
    grpc_byte_buffer *buffer = call->received;
    call->received = NULL;
    bool came = ok && buffer != NULL;
    if (came)
        deliver(call, buffer);
    else
        reading_ended(call);
    pthread_mutex_lock(&call->mutex);
    call->reading = false;
    call->message_came |= came;
    if (!came || call->method->method->half_closed == NULL) call->read_ended = true;
    read_next_locked(call);
    pthread_mutex_unlock(&call->mutex);
    end_if_done(call);
}

void rpc_call_pause_reading(struct rpc_call *call) {
    pthread_mutex_lock(&call->mutex);
    call->read_paused = true;
    pthread_mutex_unlock(&call->mutex);
}

void rpc_call_resume_reading(struct rpc_call *call) {
    pthread_mutex_lock(&call->mutex);
    call->read_paused = false;
    if (!call->ended) read_next_locked(call);
    pthread_mutex_unlock(&call->mutex);
}

/* ---- beginning and end of a call ----------------------------------------------------------------------------------- */

static void on_closed(struct grpc_tag *tag, bool ok) {
    struct rpc_call *call = CALL_OF(tag, close_tag);
    pthread_mutex_lock(&call->mutex);
    call->closed = true;
    bool cancelled = (!ok || call->close_cancelled != 0) && !call->finish_done;
    if (cancelled) atomic_store(&call->cancelled, true);
    pthread_mutex_unlock(&call->mutex);
    if (cancelled && call->method != NULL && call->method->method->cancelled != NULL)
        call->method->method->cancelled(call);
    /* A handler without the callback has nothing to stop: end the call for it. */
    if (cancelled && (call->method == NULL || call->method->method->cancelled == NULL))
        rpc_call_finish(call, STATUS_CANCELLED, "cancelled", (struct bytes_view){0});
    end_if_done(call);
}

static const struct method *find_method(const struct rpc_server *server, grpc_slice path) {
    struct bytes_view wanted = grpc_slice_view(&path);
    for (int i = 0; i < server->method_count; i++) {
        if (bytes_view_equal_string(wanted, server->methods[i].method->path)) return &server->methods[i];
    }
    return NULL;
}

static void begin(struct rpc_call *call) {
    call->method = find_method(call->server, call->details.method);
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER, .data.recv_close_on_server.cancelled = &call->close_cancelled};
    start_batch(call, &op, 1, &call->close_tag);
    if (call->method == NULL) {
        char message[160];
        struct bytes_view path = grpc_slice_view(&call->details.method);
        snprintf(message, sizeof message, "unknown method %.*s", (int)(path.length < 100 ? path.length : 100),
                 (const char *)path.data);
        rpc_call_finish(call, STATUS_UNIMPLEMENTED, message, (struct bytes_view){0});
        return;
    }
    if (call->method->method->start != NULL) call->method->method->start(call, call->method->service);
    pthread_mutex_lock(&call->mutex);
    read_next_locked(call);
    pthread_mutex_unlock(&call->mutex);
}

static void on_new(struct grpc_tag *tag, bool ok) {
    struct rpc_call *call = CALL_OF(tag, new_tag);
    struct rpc_server *server = call->server;
    pthread_mutex_lock(&server->mutex);
    bool another = ok && !server->stopping;
    server->slots += another ? 0 : -1;
    server->calls += ok;
    if (!another) pthread_cond_broadcast(&server->idle);
    pthread_mutex_unlock(&server->mutex);
    if (another) post_slot(server, call->queue);
    if (ok)
        begin(call);
    else
        call_free(call); /* the server is shutting down */
}

static void slot_lost(struct rpc_server *server) {
    pthread_mutex_lock(&server->mutex);
    server->slots--;
    pthread_mutex_unlock(&server->mutex);
}

/** Ask for a call. The slot is already counted. */
static void post_slot(struct rpc_server *server, int queue) {
    struct rpc_call *call = calloc(1, sizeof *call);
    if (call == NULL) return slot_lost(server); /* fewer calls are taken at a time */
    call->new_tag.done = on_new;
    call->close_tag.done = on_closed;
    call->read_tag.done = on_read;
    call->write_tag.done = on_written;
    call->finish_tag.done = on_finish_sent;
    call->server = server;
    call->queue = queue;
    atomic_init(&call->references, 1);
    pthread_mutex_init(&call->mutex, NULL);
    grpc_call_details_init(&call->details);
    grpc_metadata_array_init(&call->metadata);
    grpc_completion_queue *cq = server->queues[queue].queue;
    TAG_RELEASE(&call->new_tag);
    if (grpc_server_request_call(server->server, &call->call, &call->details, &call->metadata, cq, cq,
                                 &call->new_tag) == GRPC_CALL_OK)
        return;
    call_free(call);
    slot_lost(server);
}

/* ---- what handlers ask --------------------------------------------------------------------------------------------- */

void rpc_call_set_state(struct rpc_call *call, void *state) {
    call->state = state;
}
void *rpc_call_state(struct rpc_call *call) {
    return call->state;
}
void *rpc_call_service(struct rpc_call *call) {
    return call->method->service;
}

const void *rpc_call_method_data(struct rpc_call *call) {
    return call->method->method->data;
}
bool rpc_call_cancelled(struct rpc_call *call) {
    return atomic_load(&call->cancelled);
}
int64_t rpc_call_deadline_ns(struct rpc_call *call) {
    return grpc_deadline_to_ns(call->details.deadline);
}

const char *rpc_call_metadata(struct rpc_call *call, const char *key) {
    for (size_t i = 0; i < call->metadata.count; i++) {
        const grpc_metadata *entry = &call->metadata.metadata[i];
        if (grpc_slice_str_cmp(entry->key, key) != 0) continue;
        struct bytes_view value = grpc_slice_view(&entry->value);
        char *copy = strndup((const char *)value.data, value.length), **strings;
        if (copy == NULL || memchr(value.data, 0, value.length) != NULL) return free(copy), NULL;
        pthread_mutex_lock(&call->mutex);
        strings = realloc(call->strings, (call->string_count + 1) * sizeof *strings);
        if (strings != NULL) {
            call->strings = strings;
            call->strings[call->string_count++] = copy;
        }
        pthread_mutex_unlock(&call->mutex);
        if (strings == NULL) return free(copy), NULL;
        return copy;
    }
    return NULL;
}

const char *rpc_call_peer(struct rpc_call *call) {
    pthread_mutex_lock(&call->mutex);
    if (call->peer[0] == 0 && call->closed)
        snprintf(call->peer, sizeof call->peer, "unknown"); /* its socket may be another's by now */
    if (call->peer[0] == 0) {
        char *name = grpc_call_get_peer(call->call);
        int fd;
        if (sscanf(name, "fd:%d", &fd) == 1)
            grpc_acceptor_peer(fd, call->peer,
                               sizeof call->peer); /* all that gRPC knows of a socket that we accepted */
        else
            snprintf(call->peer, sizeof call->peer, "%s", name);
        gpr_free(name);
    }
    pthread_mutex_unlock(&call->mutex);
    return call->peer;
}

enum status rpc_call_add_header(struct rpc_call *call, const char *key, const char *value) {
    pthread_mutex_lock(&call->mutex);
    enum status status =
        call->headers_sent ? STATUS_FAILED_PRECONDITION : add_metadata(&call->headers, key, bytes_view_string(value));
    pthread_mutex_unlock(&call->mutex);
    return status;
}

enum status rpc_call_add_trailer(struct rpc_call *call, const char *key, const char *value) {
    pthread_mutex_lock(&call->mutex);
    enum status status =
        call->finish_wanted ? STATUS_FAILED_PRECONDITION : add_metadata(&call->trailers, key, bytes_view_string(value));
    pthread_mutex_unlock(&call->mutex);
    return status;
}

size_t rpc_call_pending_bytes(struct rpc_call *call) {
    pthread_mutex_lock(&call->mutex);
    size_t pending = call->pending_bytes;
    pthread_mutex_unlock(&call->mutex);
    return pending;
}

void rpc_call_set_watermark(struct rpc_call *call, size_t bytes) {
    pthread_mutex_lock(&call->mutex);
    call->watermark = bytes;
    pthread_mutex_unlock(&call->mutex);
}

/* ---- the server ---------------------------------------------------------------------------------------------------- */

static int queue_count_of(int wanted) {
    if (wanted > 0) return wanted < QUEUES_MAX ? wanted : QUEUES_MAX;
    int quarter = threads_available() / 4; /* one connection is served by one queue: more help only with many of both */
    return quarter < 1 ? 1 : quarter > 4 ? 4 : quarter;
}

static grpc_arg integer_arg(const char *key, int64_t value) {
    return (grpc_arg){
        .type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = value > INT32_MAX ? INT32_MAX : (int)value};
}

static grpc_server *make_server(const struct rpc_server_options *options) {
    grpc_arg list[14];
    size_t count = 0;
    list[count++] = integer_arg("grpc.so_reuseport", 0); /* else two processes share a port without a word */
    list[count++] = integer_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, options->message_bytes_max);
    list[count++] = integer_arg(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1);
    list[count++] = integer_arg(GRPC_ARG_MAX_METADATA_SIZE, LIMIT_HEADER_BYTES);
    list[count++] = integer_arg(GRPC_ARG_MAX_CONCURRENT_STREAMS, LIMIT_STREAMS_PER_CONNECTION);
    /* What a client may send ahead of being read, for each of its streams; probing would let it grow to megabytes. */
    list[count++] = integer_arg("grpc.http2.bdp_probe", 0);
    list[count++] = integer_arg("grpc.http2.lookahead_bytes", 65536);
    /* A compressed message is checked against the maximum before it grows, and may grow a thousandfold: refuse all but plain ones. */
    list[count++] = integer_arg(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1u << GRPC_COMPRESS_NONE);
    list[count++] = integer_arg("grpc.http2.min_ping_interval_without_data_ms", 1000);
    list[count++] = integer_arg(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    if (options->keepalive_ns > 0) {
        list[count++] = integer_arg(GRPC_ARG_KEEPALIVE_TIME_MS, options->keepalive_ns / NS_PER_MS);
        list[count++] = integer_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, options->keepalive_timeout_ns / NS_PER_MS);
    }
    grpc_channel_args args = {.num_args = count, .args = list};
    return grpc_server_create(&args, NULL);
}

/** Asked before every handshake. */
static grpc_ssl_certificate_config_reload_status fetch_certificate(void *context,
                                                                   grpc_ssl_server_certificate_config **out) {
    struct rpc_server *server = context;
    pthread_mutex_lock(&server->certificate_mutex);
    grpc_ssl_server_certificate_config *certificate = server->certificate;
    server->certificate = NULL;
    pthread_mutex_unlock(&server->certificate_mutex);
    if (certificate == NULL) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    *out = certificate;
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
}

static enum status read_certificate(struct rpc_server *server, struct error *err) {
    grpc_ssl_server_certificate_config *certificate = NULL, *unused;
    TRY(grpc_certificate_config_of(&server->options.tls, &certificate, err));
    pthread_mutex_lock(&server->certificate_mutex);
    unused = server->certificate;
    server->certificate = certificate;
    pthread_mutex_unlock(&server->certificate_mutex);
    if (unused != NULL) grpc_ssl_server_certificate_config_destroy(unused);
    return STATUS_OK;
}

static bool wants_tls(const struct rpc_tls *tls) {
    return tls->certificate_file != NULL || tls->key_file != NULL || tls->ca_file != NULL;
}

enum status rpc_server_reread_tls(struct rpc_server *server, struct error *err) {
    return wants_tls(&server->options.tls) ? read_certificate(server, err) : STATUS_OK;
}

static enum status listen_tls(struct rpc_server *server, struct error *err) {
    TRY(read_certificate(server, err));
    grpc_server_credentials *credentials =
        grpc_ssl_server_credentials_create_with_options(grpc_ssl_server_credentials_create_options_using_config_fetcher(
            server->options.tls.ca_file != NULL ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                                : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            fetch_certificate, server));
    server->port = grpc_server_add_http2_port(server->server, server->options.address, credentials);
    grpc_server_credentials_release(credentials);
    if (server->port == 0)
        return error_set(err, STATUS_UNAVAILABLE, "cannot listen on %.64s: the port is taken", server->options.address);
    return STATUS_OK;
}

static void on_shutdown(struct grpc_tag *tag, bool ok) {
    (void)ok;
    struct rpc_server *server = (struct rpc_server *)((char *)tag - offsetof(struct rpc_server, shutdown_tag));
    pthread_mutex_lock(&server->mutex);
    server->shutdown_done = true;
    pthread_cond_broadcast(&server->idle);
    pthread_mutex_unlock(&server->mutex);
}

static void init_monotonic_condition(pthread_cond_t *condition) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

/** Its own, or those of its client. */
static void make_queues(struct rpc_server *server) {
    grpc_completion_queue *lent[QUEUES_MAX];
    const struct rpc_client *client = server->options.client;
    server->queue_count =
        client != NULL ? grpc_client_queues(client, lent, QUEUES_MAX) : queue_count_of(server->options.threads);
    for (int i = 0; i < server->queue_count; i++) {
        server->queues[i].queue = client != NULL ? lent[i] : grpc_completion_queue_create_for_next(NULL);
        grpc_server_register_completion_queue(server->server, server->queues[i].queue, NULL);
    }
}

enum status rpc_server_create(const struct rpc_server_options *options, struct rpc_server **out, struct error *err) {
    struct rpc_server *server = calloc(1, sizeof *server);
    if (server == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    grpc_library_init();
    enum status status = STATUS_OK;
    server->options = *options;
    server->shutdown_tag.done = on_shutdown;
    pthread_mutex_init(&server->mutex, NULL);
    pthread_mutex_init(&server->certificate_mutex, NULL);
    init_monotonic_condition(&server->idle);
    server->health = grpc_health_create();
    if (server->health == NULL) TRY_CLEANUP(error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory"));
    TRY_CLEANUP(grpc_reflection_create(options->descriptors, &server->reflection, err));
    server->server = make_server(options);
    make_queues(server);
    if (wants_tls(&options->tls))
        TRY_CLEANUP(listen_tls(server, err));
    else
        TRY_CLEANUP(grpc_acceptor_create(options->address, server->server, &server->acceptor, &server->port, err));
    TRY_CLEANUP(rpc_server_add(server, grpc_health_methods, 2, server->health, err));
    TRY_CLEANUP(rpc_server_add(server, grpc_reflection_methods, 2, server->reflection, err));
    *out = server;
    return STATUS_OK;
cleanup:
    rpc_server_destroy(server);
    return status;
}

enum status rpc_server_add(struct rpc_server *server, const struct rpc_method *methods, size_t count, void *service,
                           struct error *err) {
    for (size_t i = 0; i < count; i++) {
        if (server->method_count == METHODS_MAX)
            return error_set(err, STATUS_RESOURCE_EXHAUSTED, "more than %d gRPC methods", METHODS_MAX);
        server->methods[server->method_count++] = (struct method){.method = &methods[i], .service = service};
        grpc_reflection_add_path(server->reflection, methods[i].path);
    }
    return STATUS_OK;
}

enum status rpc_server_start(struct rpc_server *server, struct error *err) {
    for (int i = 0; i < server->queue_count && server->options.client == NULL; i++)
        TRY(grpc_queue_start(&server->queues[i], "grpc-server", err));
    grpc_server_start(server->server);
    server->started = true;
    server->slots = SLOTS_PER_QUEUE * server->queue_count;
    for (int i = 0; i < SLOTS_PER_QUEUE * server->queue_count; i++) post_slot(server, i % server->queue_count);
    return server->acceptor != NULL ? grpc_acceptor_start(server->acceptor, err) : STATUS_OK;
}

int rpc_server_port(const struct rpc_server *server) {
    return server->port;
}
void rpc_server_set_health(struct rpc_server *server, const char *service, bool serving) {
    grpc_health_set(server->health, service, serving);
}

int64_t rpc_server_calls(const struct rpc_server *server) {
    pthread_mutex_t *mutex = (pthread_mutex_t *)&server->mutex;
    pthread_mutex_lock(mutex);
    int64_t calls = server->calls;
    pthread_mutex_unlock(mutex);
    return calls;
}

/** Wait until no call is left, or until `grace_ns` from now. The mutex is held. */
static void wait_idle_locked(struct rpc_server *server, int64_t grace_ns) {
    int64_t now_ns = clock_monotonic_ns(clock_system()),
            deadline_ns = grace_ns > INT64_MAX - now_ns ? INT64_MAX : now_ns + grace_ns;
    struct timespec until = {.tv_sec = deadline_ns / NS_PER_S, .tv_nsec = deadline_ns % NS_PER_S};
    while (server->calls > 0) {
        if (pthread_cond_timedwait(&server->idle, &server->mutex, &until) != 0) return;
    }
}

void rpc_server_stop(struct rpc_server *server, int64_t grace_ns) {
    if (server->stopped) return;
    server->stopped = true;
    if (server->health != NULL)
        grpc_health_shut(server->health); /* ends the watchers too, which would otherwise use up the grace */
    grpc_acceptor_destroy(server->acceptor);
    server->acceptor = NULL;
    if (!server->started) return;
    pthread_mutex_lock(&server->mutex);
    server->stopping = true;
    pthread_mutex_unlock(&server->mutex);
    TAG_RELEASE(&server->shutdown_tag);
    grpc_server_shutdown_and_notify(server->server, server->queues[0].queue, &server->shutdown_tag);
    pthread_mutex_lock(&server->mutex);
    wait_idle_locked(server, grace_ns);
    pthread_mutex_unlock(&server->mutex);
    grpc_server_cancel_all_calls(server->server);
    pthread_mutex_lock(&server->mutex);
    /* The slots too: one filled at the last moment may still stand in another queue, and no handler may run after this. */
    while (!server->shutdown_done || server->calls > 0 || server->slots > 0)
        pthread_cond_wait(&server->idle, &server->mutex);
    pthread_mutex_unlock(&server->mutex);
}

/** gRPC wants a shutdown even of a server that never ran, or it aborts. The queue's thread may not run either. */
static void shut_unstarted(struct rpc_server *server) {
    grpc_completion_queue *queue = server->queues[0].queue;
    grpc_server_start(server->server);
    TAG_RELEASE(&server->shutdown_tag);
    grpc_server_shutdown_and_notify(server->server, queue, &server->shutdown_tag);
    bool served = server->queues[0].started || server->options.client != NULL; /* by a thread */
    if (!served) (void)grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    pthread_mutex_lock(&server->mutex);
    while (served && !server->shutdown_done) pthread_cond_wait(&server->idle, &server->mutex);
    pthread_mutex_unlock(&server->mutex);
}

void rpc_server_destroy(struct rpc_server *server) {
    if (server == NULL) return;
    rpc_server_stop(server, 0);
    if (server->server != NULL && !server->started) shut_unstarted(server);
    if (server->server != NULL) grpc_server_destroy(server->server);
    for (int i = 0; i < server->queue_count && server->options.client == NULL; i++) grpc_queue_stop(&server->queues[i]);
    grpc_health_destroy(server->health);
    grpc_reflection_destroy(server->reflection);
    if (server->certificate != NULL) grpc_ssl_server_certificate_config_destroy(server->certificate);
    pthread_mutex_destroy(&server->certificate_mutex);
    pthread_cond_destroy(&server->idle);
    pthread_mutex_destroy(&server->mutex);
    free(server);
    grpc_shutdown();
}
