/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * The client. A call starts with two batches: SEND_INITIAL_METADATA (with the only request and the half-close, when that is known), and
 * one that lives as long as the call, RECV_INITIAL_METADATA with RECV_STATUS_ON_CLIENT. Further messages go and come one batch each.
 * It ends when the status and everything else is back.
 */
#include "rpc/grpc_client.h"

#include "base/clock.h"
#include "base/limits.h"
#include "rpc/grpc_internal.h"

#include <grpc/support/alloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { QUEUES_MAX = 16, METADATA_MAX = 16, PENDING_BYTES_MAX = 64 * 1024 * 1024, CONNECT_ATTEMPT_MS = 2000 };

struct rpc_client {
    int queue_count;
    struct grpc_queue queues[QUEUES_MAX];
    atomic_uint next_queue;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t idle;
    int64_t calls; /* whose on_finished has not returned */
};

/* Channels of equal arguments share a connection, and its back-off; so each gets a number, unlike in the whole process. */
static atomic_int next_channel;

struct rpc_channel {
    struct rpc_client *client;
    grpc_channel *channel; /* gone once closing */
    atomic_int references; /* the opener, the watcher, and every call */
    pthread_mutex_t mutex; /* guards what follows */
    bool closing;
    struct rpc_client_call *calls; /* that have not ended; a list, to be cancelled on close */
    struct grpc_tag watch_tag;
    grpc_completion_queue *watch_queue;
    grpc_connectivity_state watched;
    _Atomic int64_t changes;
};

struct outgoing {
    struct outgoing *next;
    grpc_byte_buffer *buffer;
    size_t bytes;
};

struct rpc_client_call {
    struct grpc_tag start_tag, read_tag, write_tag, half_close_tag, status_tag;
    struct rpc_channel *channel;
    struct rpc_client_call *next, *previous; /* in the channel's list; its mutex guards them */
    grpc_call *call;
    atomic_int references; /* the starter, and one until on_finished has returned */
    void (*on_message)(struct rpc_client_call *call, void *context, struct bytes_view message);
    void (*on_written)(struct rpc_client_call *call, void *context);
    void (*on_finished)(struct rpc_client_call *call, void *context, const struct rpc_result *result);
    void *context;
    grpc_metadata_array headers, trailers;
    grpc_status_code status;
    grpc_slice status_message;

    pthread_mutex_t mutex; /* guards what follows */
    int out;               /* batches that have not come back */
    struct outgoing *first, *last;
    size_t pending_bytes;
    bool writing, half_close_wanted, half_close_sent;
    bool reading, read_ended, status_done, ended;
    int64_t read_credit;
    grpc_byte_buffer *only_request, *sending, *received;
};

#define CALL_OF(tag, member) ((struct rpc_client_call *)((char *)(tag)-offsetof(struct rpc_client_call, member)))

/* ---- client and channels ------------------------------------------------------------------------------------------- */

enum status rpc_client_create(int threads, struct rpc_client **out, struct error *err) {
    struct rpc_client *client = calloc(1, sizeof *client);
    if (client == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    grpc_library_init();
    pthread_mutex_init(&client->mutex, NULL);
    pthread_cond_init(&client->idle, NULL);
    client->queue_count = threads < 1 ? 1 : threads > QUEUES_MAX ? QUEUES_MAX : threads;
    for (int i = 0; i < client->queue_count; i++) {
        client->queues[i].queue = grpc_completion_queue_create_for_next(NULL);
        enum status status = grpc_queue_start(&client->queues[i], "grpc-client", err);
        if (status != STATUS_OK) {
            rpc_client_destroy(client);
            return status;
        }
    }
    *out = client;
    return STATUS_OK;
}

void rpc_client_destroy(struct rpc_client *client) {
    if (client == NULL) return;
    /* No batch may be started on a queue that was shut down, and a call's callbacks start some up to its end. */
    pthread_mutex_lock(&client->mutex);
    while (client->calls > 0) pthread_cond_wait(&client->idle, &client->mutex);
    pthread_mutex_unlock(&client->mutex);
    for (int i = 0; i < client->queue_count; i++) grpc_queue_stop(&client->queues[i]);
    pthread_cond_destroy(&client->idle);
    pthread_mutex_destroy(&client->mutex);
    free(client);
    grpc_shutdown();
}

int grpc_client_queues(const struct rpc_client *client, grpc_completion_queue **out, int max) {
    int count = client->queue_count < max ? client->queue_count : max;
    for (int i = 0; i < count; i++) out[i] = client->queues[i].queue;
    return count;
}

static void channel_unref(struct rpc_channel *channel) {
    if (atomic_fetch_sub(&channel->references, 1) != 1) return;
    pthread_mutex_destroy(&channel->mutex);
    free(channel);
}

static grpc_arg integer_arg(const char *key, int64_t value) {
    return (grpc_arg){
        .type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = value > INT32_MAX ? INT32_MAX : (int)value};
}

static grpc_channel *make_channel(const struct rpc_channel_options *options, int number,
                                  grpc_channel_credentials *credentials) {
    grpc_arg list[20];
    size_t count = 0;
    int64_t reconnect_min = options->reconnect_min_ns > 0 ? options->reconnect_min_ns : 100 * NS_PER_MS,
            reconnect_max = options->reconnect_max_ns > 0 ? options->reconnect_max_ns : 2 * NS_PER_S;
    list[count++] =
        integer_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
                    options->message_bytes_max > 0 ? options->message_bytes_max : LIMIT_REQUEST_BODY_BYTES_MAX);
    list[count++] = integer_arg(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1);
    list[count++] = integer_arg(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, reconnect_min / NS_PER_MS);
    /* In spite of its name the time that one attempt gets, handshakes included; with less, a busy machine never connects. */
    list[count++] = integer_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, CONNECT_ATTEMPT_MS);
    list[count++] = integer_arg(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, reconnect_max / NS_PER_MS);
    /* A slow reader must stop its sender: without these the window grows to megabytes for each stalled stream. */
    list[count++] = integer_arg("grpc.http2.bdp_probe", 0);
    list[count++] = integer_arg("grpc.http2.lookahead_bytes", 65536);
    list[count++] = integer_arg("bora.channel", number);
    list[count++] = integer_arg(GRPC_ARG_MAX_METADATA_SIZE, LIMIT_HEADER_BYTES);
    list[count++] = integer_arg(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1u << GRPC_COMPRESS_NONE);
    list[count++] = integer_arg(GRPC_ARG_ENABLE_HTTP_PROXY,
                                0); /* http_proxy is for the outside; our services speak to each other */
    list[count++] =
        integer_arg(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, 1000); /* 30 s would keep a moved service lost */
    if (options->keepalive_ns > 0) {
        list[count++] = integer_arg(GRPC_ARG_KEEPALIVE_TIME_MS, options->keepalive_ns / NS_PER_MS);
        list[count++] = integer_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, options->keepalive_timeout_ns / NS_PER_MS);
        list[count++] = integer_arg(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
        list[count++] = integer_arg("grpc.http2.max_pings_without_data", 0);
    }
    if (options->tls.server_name != NULL)
        list[count++] = (grpc_arg){.type = GRPC_ARG_STRING,
                                   .key = GRPC_SSL_TARGET_NAME_OVERRIDE_ARG,
                                   .value.string = (char *)options->tls.server_name};
    grpc_channel_args args = {.num_args = count, .args = list};
    return grpc_channel_create(options->target, credentials, &args);
}

/** Keep asking for the state: that keeps a connecting socket polled, so that a restarted server is found at once and not at gRPC's 5 s back-up poll. */
static void watch_next(struct rpc_channel *channel) {
    channel->watched = grpc_channel_check_connectivity_state(channel->channel, 1);
    TAG_RELEASE(&channel->watch_tag);
    grpc_channel_watch_connectivity_state(channel->channel, channel->watched,
                                          grpc_deadline_from_ns(clock_monotonic_ns(clock_system()) + NS_PER_S),
                                          channel->watch_queue, &channel->watch_tag);
}

static void on_watched(struct grpc_tag *tag, bool ok) {
    struct rpc_channel *channel = (struct rpc_channel *)((char *)tag - offsetof(struct rpc_channel, watch_tag));
    if (ok) atomic_fetch_add(&channel->changes, 1); /* else its time ran out */
    pthread_mutex_lock(&channel->mutex);
    bool closing = channel->closing;
    if (!closing) watch_next(channel);
    pthread_mutex_unlock(&channel->mutex);
    if (closing) channel_unref(channel);
}

enum status rpc_channel_open(struct rpc_client *client, const struct rpc_channel_options *options,
                             struct rpc_channel **out, struct error *err) {
    grpc_channel_credentials *credentials = NULL;
    TRY(grpc_channel_credentials_of(&options->tls, options->use_tls, &credentials, err));
    struct rpc_channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL) {
        grpc_channel_credentials_release(credentials);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    unsigned number = (unsigned)atomic_fetch_add(&next_channel, 1);
    channel->client = client;
    channel->channel = make_channel(options, (int)(number & INT32_MAX), credentials);
    grpc_channel_credentials_release(credentials);
    atomic_init(&channel->references, 2);
    pthread_mutex_init(&channel->mutex, NULL);
    channel->watch_tag.done = on_watched;
    channel->watch_queue = client->queues[number % (unsigned)client->queue_count].queue;
    pthread_mutex_lock(&channel->mutex);
    watch_next(channel);
    pthread_mutex_unlock(&channel->mutex);
    *out = channel;
    return STATUS_OK;
}

void rpc_channel_close(struct rpc_channel *channel) {
    if (channel == NULL) return;
    pthread_mutex_lock(&channel->mutex);
    channel->closing = true;
    for (struct rpc_client_call *call = channel->calls; call != NULL; call = call->next)
        grpc_call_cancel(call->call, NULL);
    grpc_channel_destroy(
        channel->channel); /* the watch comes back with the last state; calls keep what they need of it */
    pthread_mutex_unlock(&channel->mutex);
    channel_unref(channel);
}

bool rpc_channel_ready(struct rpc_channel *channel) {
    return grpc_channel_check_connectivity_state(channel->channel, 1) == GRPC_CHANNEL_READY;
}

int64_t rpc_channel_changes(const struct rpc_channel *channel) {
    return atomic_load(&channel->changes);
}

/* ---- calls: life --------------------------------------------------------------------------------------------------- */

void rpc_client_call_unref(struct rpc_client_call *call) {
    if (atomic_fetch_sub(&call->references, 1) != 1) return;
    while (call->first != NULL) {
        struct outgoing *next = call->first->next;
        grpc_byte_buffer_destroy(call->first->buffer);
        free(call->first);
        call->first = next;
    }
    grpc_metadata_array_destroy(&call->headers);
    grpc_metadata_array_destroy(&call->trailers);
    grpc_slice_unref(call->status_message);
    grpc_call_unref(call->call);
    channel_unref(call->channel);
    pthread_mutex_destroy(&call->mutex);
    free(call);
}

static void start_batch_locked(struct rpc_client_call *call, const grpc_op *ops, size_t count, struct grpc_tag *tag) {
    TAG_RELEASE(tag);
    grpc_call_error failed = grpc_call_start_batch(call->call, ops, count, tag, NULL);
    if (failed != GRPC_CALL_OK) { /* misuse only */
        fprintf(stderr, "rpc: a batch was refused: %s\n", grpc_call_error_to_string(failed));
        abort();
    }
    call->out++;
}

static const grpc_metadata *find_trailer(const struct rpc_client_call *call, const char *key) {
    for (size_t i = 0; i < call->trailers.count; i++) {
        if (grpc_slice_str_cmp(call->trailers.metadata[i].key, key) == 0) return &call->trailers.metadata[i];
    }
    return NULL;
}

/** What `struct rpc_result` lends while on_finished runs. */
struct finishing {
    const struct rpc_client_call *call;
    char **values; /* of the trailers asked for, as strings */
};

static const char *result_trailer(const struct rpc_result *result, const char *key) {
    struct finishing *finishing = result->internal;
    const grpc_metadata *entry = find_trailer(finishing->call, key);
    if (entry == NULL) return NULL;
    if (finishing->values == NULL)
        finishing->values = calloc(finishing->call->trailers.count, sizeof *finishing->values);
    if (finishing->values == NULL) return NULL;
    char **value = &finishing->values[entry - finishing->call->trailers.metadata];
    if (*value == NULL) *value = grpc_slice_to_c_string(entry->value);
    return *value;
}

static void count_call(struct rpc_client *client, int change) {
    pthread_mutex_lock(&client->mutex);
    client->calls += change;
    if (client->calls == 0) pthread_cond_broadcast(&client->idle);
    pthread_mutex_unlock(&client->mutex);
}

static void enlist(struct rpc_client_call *call) {
    count_call(call->channel->client, 1);
    pthread_mutex_lock(&call->channel->mutex);
    call->next = call->channel->calls;
    if (call->next != NULL) call->next->previous = call;
    call->channel->calls = call;
    pthread_mutex_unlock(&call->channel->mutex);
}

static void delist(struct rpc_client_call *call) {
    pthread_mutex_lock(&call->channel->mutex);
    if (call->next != NULL) call->next->previous = call->previous;
    if (call->previous != NULL)
        call->previous->next = call->next;
    else
        call->channel->calls = call->next;
    pthread_mutex_unlock(&call->channel->mutex);
}

static void finish(struct rpc_client_call *call) {
    struct finishing finishing = {.call = call};
    struct rpc_client *client = call->channel->client;
    delist(call);
    char *message = grpc_slice_to_c_string(call->status_message);
    struct rpc_result result = {
        .status = (enum status)call->status, .message = message, .trailer = result_trailer, .internal = &finishing};
    const grpc_metadata *details = find_trailer(call, "grpc-status-details-bin");
    if (details != NULL) result.details = grpc_slice_view(&details->value);
    call->on_finished(call, call->context, &result);
    gpr_free(message);
    for (size_t i = 0; finishing.values != NULL && i < call->trailers.count; i++) gpr_free(finishing.values[i]);
    free(finishing.values);
    rpc_client_call_unref(call);
    count_call(client, -1);
}

/** A batch came back. The last one ends the call. */
static void batch_done(struct rpc_client_call *call) {
    pthread_mutex_lock(&call->mutex);
    call->out--;
    bool done = call->status_done && call->out == 0 && !call->ended;
    if (done) call->ended = true;
    pthread_mutex_unlock(&call->mutex);
    if (done) finish(call);
}

static void on_start_done(struct grpc_tag *tag, bool ok) {
    (void)ok; /* the status says why */
    struct rpc_client_call *call = CALL_OF(tag, start_tag);
    if (call->only_request != NULL) grpc_byte_buffer_destroy(call->only_request);
    batch_done(call);
}
static void on_half_close_done(struct grpc_tag *tag, bool ok) {
    (void)ok, batch_done(CALL_OF(tag, half_close_tag));
}

static void on_status_done(struct grpc_tag *tag, bool ok) {
    (void)ok;
    struct rpc_client_call *call = CALL_OF(tag, status_tag);
    pthread_mutex_lock(&call->mutex);
    call->status_done = true;
    pthread_mutex_unlock(&call->mutex);
    batch_done(call);
}

/* ---- calls: messages ----------------------------------------------------------------------------------------------- */

static void read_next_locked(struct rpc_client_call *call) {
    if (call->reading || call->read_ended || call->ended || call->read_credit == 0) return;
    call->reading = true;
    call->read_credit--;
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->received};
    start_batch_locked(call, &op, 1, &call->read_tag);
}

static void on_read_done(struct grpc_tag *tag, bool ok) {
    struct rpc_client_call *call = CALL_OF(tag, read_tag);
    grpc_byte_buffer *buffer = call->received;
    call->received = NULL;
    grpc_slice slice;
    if (ok && buffer != NULL && grpc_buffer_read(buffer, &slice)) {
        call->on_message(call, call->context, grpc_slice_view(&slice));
        grpc_slice_unref(slice);
    } else if (ok && buffer != NULL) {
        grpc_call_cancel_with_status(call->call, GRPC_STATUS_INTERNAL, "a message could not be read", NULL);
    }
    if (buffer != NULL) grpc_byte_buffer_destroy(buffer);
    pthread_mutex_lock(&call->mutex);
    call->reading = false;
    if (!ok || buffer == NULL) call->read_ended = true;
    read_next_locked(call);
    pthread_mutex_unlock(&call->mutex);
    batch_done(call);
}

void rpc_client_call_read(struct rpc_client_call *call) {
    pthread_mutex_lock(&call->mutex);
    call->read_credit++;
    read_next_locked(call);
    pthread_mutex_unlock(&call->mutex);
}

static void write_next_locked(struct rpc_client_call *call) {
    if (call->writing || call->half_close_sent || call->ended) return;
    if (call->first != NULL) {
        struct outgoing *message = call->first;
        call->first = message->next;
        if (call->first == NULL) call->last = NULL;
        call->pending_bytes -= message->bytes;
        call->sending = message->buffer;
        call->writing = true;
        free(message);
        /* More is waiting: let gRPC gather. The headers went before, in a batch of their own. */
        grpc_op op = {.op = GRPC_OP_SEND_MESSAGE,
                      .flags = call->first != NULL ? GRPC_WRITE_BUFFER_HINT : 0,
                      .data.send_message.send_message = call->sending};
        start_batch_locked(call, &op, 1, &call->write_tag);
    } else if (call->half_close_wanted) {
        call->half_close_sent = true;
        grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
        start_batch_locked(call, &op, 1, &call->half_close_tag);
    }
}

static void on_write_done(struct grpc_tag *tag, bool ok) {
    struct rpc_client_call *call = CALL_OF(tag, write_tag);
    pthread_mutex_lock(&call->mutex);
    grpc_byte_buffer_destroy(call->sending);
    call->sending = NULL;
    call->writing = false;
    if (ok)
        write_next_locked(call);
    else
        call->half_close_sent = true; /* the call is over: send nothing more */
    bool written = ok && !call->writing;
    pthread_mutex_unlock(&call->mutex);
    if (written && call->on_written != NULL) call->on_written(call, call->context);
    batch_done(call);
}

enum status rpc_client_call_write(struct rpc_client_call *call, struct bytes_view message) {
    struct outgoing *outgoing = malloc(sizeof *outgoing);
    if (outgoing == NULL) return STATUS_RESOURCE_EXHAUSTED;
    *outgoing = (struct outgoing){.buffer = grpc_buffer_of(message), .bytes = message.length};
    pthread_mutex_lock(&call->mutex);
    enum status status = call->ended || call->half_close_wanted || call->status_done ? STATUS_CANCELLED
                         : call->pending_bytes + message.length > PENDING_BYTES_MAX  ? STATUS_RESOURCE_EXHAUSTED
                                                                                     : STATUS_OK;
    if (status == STATUS_OK) {
        if (call->last != NULL)
            call->last->next = outgoing;
        else
            call->first = outgoing;
        call->last = outgoing;
        call->pending_bytes += message.length;
        write_next_locked(call);
    }
    pthread_mutex_unlock(&call->mutex);
    if (status != STATUS_OK) {
        grpc_byte_buffer_destroy(outgoing->buffer);
        free(outgoing);
    }
    return status;
}

void rpc_client_call_half_close(struct rpc_client_call *call) {
    pthread_mutex_lock(&call->mutex);
    call->half_close_wanted = true;
    if (!call->status_done) write_next_locked(call);
    pthread_mutex_unlock(&call->mutex);
}

void rpc_client_call_cancel(struct rpc_client_call *call) {
    grpc_call_cancel(call->call, NULL);
}

/* ---- calls: start -------------------------------------------------------------------------------------------------- */

static void free_metadata(grpc_metadata *metadata, size_t count) {
    for (size_t i = 0; i < count; i++) {
        grpc_slice_unref(metadata[i].key);
        grpc_slice_unref(metadata[i].value);
    }
}

static enum status fill_metadata(const char *const *list, grpc_metadata out[METADATA_MAX], size_t *out_count,
                                 struct error *err) {
    *out_count = 0;
    for (; list != NULL && list[0] != NULL; list += 2) {
        if (*out_count == METADATA_MAX)
            return error_set(err, STATUS_RESOURCE_EXHAUSTED, "more than %d metadata entries", METADATA_MAX);
        grpc_metadata *entry = &out[(*out_count)++];
        *entry = (grpc_metadata){.key = grpc_slice_from_copied_string(list[0]),
                                 .value = grpc_slice_from_copied_string(list[1])};
        if (!grpc_metadata_is_legal(entry))
            return error_set(err, STATUS_INVALID_ARGUMENT, "the metadata '%.64s' has a value that HTTP does not allow",
                             list[0]);
    }
    return STATUS_OK;
}

static void start_locked(struct rpc_client_call *call, const struct rpc_client_call_options *options,
                         grpc_metadata *metadata, size_t count) {
    grpc_op send[3] = {{.op = GRPC_OP_SEND_INITIAL_METADATA,
                        .flags = options->wait_for_ready ? GRPC_INITIAL_METADATA_WAIT_FOR_READY |
                                                               GRPC_INITIAL_METADATA_WAIT_FOR_READY_EXPLICITLY_SET
                                                         : 0,
                        .data.send_initial_metadata = {.count = count, .metadata = metadata}}};
    size_t sends = 1;
    if (options->only_request != NULL) {
        call->only_request = grpc_buffer_of(*options->only_request);
        call->half_close_wanted = call->half_close_sent = true;
        send[sends++] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = call->only_request};
        send[sends++] = (grpc_op){.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
    }
    const grpc_op receive[2] = {
        {.op = GRPC_OP_RECV_INITIAL_METADATA, .data.recv_initial_metadata.recv_initial_metadata = &call->headers},
        {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
         .data.recv_status_on_client = {.trailing_metadata = &call->trailers,
                                        .status = &call->status,
                                        .status_details = &call->status_message}},
    };
    start_batch_locked(call, send, sends, &call->start_tag);
    start_batch_locked(call, receive, 2, &call->status_tag);
}

enum status rpc_client_call_start(struct rpc_channel *channel, const struct rpc_client_call_options *options,
                                  struct rpc_client_call **out, struct error *err) {
    grpc_metadata metadata[METADATA_MAX];
    size_t count;
    enum status status = fill_metadata(options->metadata, metadata, &count, err);
    struct rpc_client_call *call = status == STATUS_OK ? calloc(1, sizeof *call) : NULL;
    if (call == NULL) {
        free_metadata(metadata, count);
        return error_set(err, status != STATUS_OK ? status : STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    struct rpc_client *client = channel->client;
    grpc_completion_queue *queue =
        client->queues[atomic_fetch_add(&client->next_queue, 1) % (unsigned)client->queue_count].queue;
    grpc_slice path = grpc_slice_from_copied_string(options->path);
    call->call = grpc_channel_create_call(channel->channel, NULL, GRPC_PROPAGATE_DEFAULTS, queue, path, NULL,
                                          grpc_deadline_from_ns(options->deadline_ns), NULL);
    grpc_slice_unref(path);
    call->start_tag.done = on_start_done;
    call->read_tag.done = on_read_done;
    call->write_tag.done = on_write_done;
    call->half_close_tag.done = on_half_close_done;
    call->status_tag.done = on_status_done;
    call->channel = channel;
    atomic_fetch_add(&channel->references, 1);
    atomic_init(&call->references, 2);
    call->on_message = options->on_message;
    call->on_written = options->on_written;
    call->on_finished = options->on_finished;
    call->context = options->context;
    call->status_message = grpc_empty_slice();
    grpc_metadata_array_init(&call->headers);
    grpc_metadata_array_init(&call->trailers);
    pthread_mutex_init(&call->mutex, NULL);
    enlist(call);
    *out = call; /* before the first callback can come */

    pthread_mutex_lock(&call->mutex);
    start_locked(call, options, metadata, count);
    pthread_mutex_unlock(&call->mutex);
    free_metadata(metadata, count);
    return STATUS_OK;
}

/* ---- unary --------------------------------------------------------------------------------------------------------- */

struct unary {
    rpc_unary_fn *on_done;
    void *context;
    struct bytes reply;
    bool replied;
};

static void on_unary_message(struct rpc_client_call *call, void *context, struct bytes_view message) {
    (void)call;
    struct unary *unary = context;
    unary->replied = true;
    (void)!bytes_append(&unary->reply, message.data, message.length);
}

static void on_unary_finished(struct rpc_client_call *call, void *context, const struct rpc_result *result) {
    (void)call;
    struct unary *unary = context;
    struct rpc_result broken = *result;
    if (result->status == STATUS_OK && (!unary->replied || unary->reply.failed)) {
        broken.status = unary->replied ? STATUS_RESOURCE_EXHAUSTED : STATUS_INTERNAL;
        broken.message = unary->replied ? "no memory for the reply" : "the server sent no reply";
    }
    unary->on_done(unary->context, &broken, bytes_view(&unary->reply));
    bytes_deinit(&unary->reply);
    free(unary);
}

enum status rpc_client_unary_async(struct rpc_channel *channel, const char *path, const char *const *metadata,
                                   struct bytes_view request, int64_t timeout_ns, rpc_unary_fn *on_done, void *context,
                                   struct error *err) {
    struct unary *unary = calloc(1, sizeof *unary);
    if (unary == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    unary->on_done = on_done;
    unary->context = context;
    bytes_init(&unary->reply, SIZE_MAX); /* the channel has the limit */
    int64_t now_ns = clock_monotonic_ns(clock_system());
    struct rpc_client_call_options options = {.path = path,
                                              .deadline_ns =
                                                  timeout_ns > INT64_MAX - now_ns ? INT64_MAX : now_ns + timeout_ns,
                                              .metadata = metadata,
                                              .on_message = on_unary_message,
                                              .on_finished = on_unary_finished,
                                              .context = unary,
                                              .only_request = &request};
    struct rpc_client_call *call = NULL;
    enum status status = rpc_client_call_start(channel, &options, &call, err);
    if (status != STATUS_OK) {
        free(unary);
        return status;
    }
    rpc_client_call_read(call);
    rpc_client_call_unref(call);
    return STATUS_OK;
}

struct waiting {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool done;
    enum status status;
    struct bytes *reply;
    struct error *err;
};

static void on_waited(void *context, const struct rpc_result *result, struct bytes_view reply) {
    struct waiting *waiting = context;
    pthread_mutex_lock(&waiting->mutex);
    waiting->status = result->status;
    if (result->status == STATUS_OK)
        waiting->status = bytes_append(waiting->reply, reply.data, reply.length);
    else
        (void)!error_set(waiting->err, result->status, "%s", result->message);
    waiting->done = true;
    pthread_cond_signal(&waiting->wake);
    pthread_mutex_unlock(&waiting->mutex);
}

enum status rpc_client_unary(struct rpc_channel *channel, const char *path, const char *const *metadata,
                             struct bytes_view request, int64_t timeout_ns, struct bytes *out_reply,
                             struct error *err) {
    struct waiting waiting = {
        .mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .reply = out_reply, .err = err};
    TRY(rpc_client_unary_async(channel, path, metadata, request, timeout_ns, on_waited, &waiting, err));
    pthread_mutex_lock(&waiting.mutex);
    while (!waiting.done) pthread_cond_wait(&waiting.wake, &waiting.mutex);
    pthread_mutex_unlock(&waiting.mutex);
    return waiting.status;
}
