/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Generations on workers: a Generate call for each. */
#include "base/clock.h"
#include "base/limits.h"
#include "rpc/transcode.h"
#include "services/gateway/generation.h"
#include "services/gateway/workers.h"

#include <pthread.h>
#include <stdlib.h>

enum { EVENT_ARENA_BYTES = 16 << 20 }; /* some ten times LIMIT_DELTA_BYTES, but for a call of a tool, which is whole */

struct generation {
    atomic_int references; /* the starter, and the call until it has ended */
    struct rpc_client_call *call;
    const struct generation_callbacks *callbacks;
    void *context;
    int answers_left;      /* callbacks only */
    bool over;             /* likewise: the last callback has been called */
    pthread_mutex_t mutex; /* guards what follows */
    bool held, read_owed;
};

void generation_ref(struct generation *generation) {
    atomic_fetch_add(&generation->references, 1);
}

void generation_unref(struct generation *generation) {
    if (atomic_fetch_sub(&generation->references, 1) != 1) return;
    if (generation->call != NULL) rpc_client_call_unref(generation->call);
    pthread_mutex_destroy(&generation->mutex);
    free(generation);
}

static void read_more(struct generation *generation) {
    pthread_mutex_lock(&generation->mutex);
    if (generation->held)
        generation->read_owed = true;
    else
        rpc_client_call_read(generation->call);
    pthread_mutex_unlock(&generation->mutex);
}

static void fail(struct generation *generation, enum status status, const char *message,
                 const Bora__Internal__V1__WorkerError *detail) {
    if (generation->over) return;
    generation->over = true;
    struct generation_failure failure = {.status = status, .message = message, .detail = detail};
    generation->callbacks->failed(generation->context, &failure);
}

static void take_event(struct generation *generation, const Bora__Internal__V1__GenerateEvent *event) {
    const struct generation_callbacks *callbacks = generation->callbacks;
    if (event->kind_case == BORA__INTERNAL__V1__GENERATE_EVENT__KIND_PREPARED) {
        callbacks->prepared(generation->context, event->prepared);
    } else if (event->kind_case == BORA__INTERNAL__V1__GENERATE_EVENT__KIND_DELTA) {
        callbacks->delta(generation->context, event->delta);
    } else if (event->kind_case == BORA__INTERNAL__V1__GENERATE_EVENT__KIND_FINISHED) {
        bool failed = event->finished->reason == BORA__INTERNAL__V1__FINISHED__REASON__REASON_ERROR;
        generation->over = --generation->answers_left == 0 || failed;
        callbacks->finished(generation->context, event->finished, generation->over);
    }
}

static void on_message(struct rpc_client_call *call, void *context, struct bytes_view message) {
    struct generation *generation = context;
    ProtobufCMessage *unpacked = NULL;
    struct arena arena;
    if (generation->over) return;
    arena_init(&arena, EVENT_ARENA_BYTES);
    if (protobuf_unpack(&bora__internal__v1__generate_event__descriptor, message, &arena, &unpacked, NULL) ==
        STATUS_OK) {
        take_event(generation, (const void *)unpacked);
    } else {
        rpc_client_call_cancel(call);
        fail(generation, STATUS_INTERNAL, "the worker's answer cannot be read", NULL);
    }
    arena_deinit(&arena);
    read_more(generation);
}

static void on_finished(struct rpc_client_call *call, void *context, const struct rpc_result *result) {
    (void)call;
    struct generation *generation = context;
    struct bytes_view packed;
    ProtobufCMessage *detail = NULL;
    struct arena arena;
    arena_init(&arena, EVENT_ARENA_BYTES);
    if (rpc_status_details_find(result->details, bora__internal__v1__worker_error__descriptor.name, &packed))
        (void)!protobuf_unpack(&bora__internal__v1__worker_error__descriptor, packed, &arena, &detail, NULL);
    enum status status = result->status == STATUS_OK ? STATUS_UNAVAILABLE : result->status; /* it ended too early */
    fail(generation, status, result->message, (const void *)detail);
    arena_deinit(&arena);
    generation_unref(generation);
}

static void write_command(struct generation *generation, const Bora__Internal__V1__GenerateCommand *command) {
    struct bytes packed;
    bytes_init(&packed, LIMIT_REQUEST_BODY_BYTES_MAX);
    if (protobuf_pack(&command->base, &packed) == STATUS_OK)
        (void)!rpc_client_call_write(generation->call, bytes_view(&packed)); /* a refusal shows in the call's status */
    else
        rpc_client_call_cancel(generation->call);
    bytes_deinit(&packed);
}

enum status generation_start(struct worker *worker, const Bora__Internal__V1__Start *start, int64_t deadline_ns,
                             const struct generation_callbacks *callbacks, void *context, struct generation **out) {
    struct generation *generation = calloc(1, sizeof *generation);
    if (generation == NULL) return STATUS_RESOURCE_EXHAUSTED;
    const char *const metadata[] = {"x-request-id", start->request_id, NULL};
    struct rpc_client_call_options options = {.path = "/bora.internal.v1.WorkerService/Generate",
                                              .deadline_ns = deadline_ns,
                                              .metadata = metadata,
                                              .on_message = on_message,
                                              .on_finished = on_finished,
                                              .context = generation};
    atomic_init(&generation->references, 2);
    pthread_mutex_init(&generation->mutex, NULL);
    generation->callbacks = callbacks;
    generation->context = context;
    generation->answers_left = start->beam != NULL ? start->beam->answers : 1;
    *out = generation;
    enum status status = rpc_client_call_start(worker->channel, &options, &generation->call, NULL);
    if (status != STATUS_OK) {
        atomic_store(&generation->references, 1);
        generation_unref(generation);
        *out = NULL;
        return status;
    }
    Bora__Internal__V1__GenerateCommand command = BORA__INTERNAL__V1__GENERATE_COMMAND__INIT;
    command.kind_case = BORA__INTERNAL__V1__GENERATE_COMMAND__KIND_START;
    command.start = (Bora__Internal__V1__Start *)start;
    write_command(generation, &command);
    rpc_client_call_read(generation->call);
    return STATUS_OK;
}

void generation_proceed(struct generation *generation, int64_t max_tokens) {
    Bora__Internal__V1__Proceed proceed = BORA__INTERNAL__V1__PROCEED__INIT;
    Bora__Internal__V1__GenerateCommand command = BORA__INTERNAL__V1__GENERATE_COMMAND__INIT;
    command.kind_case = BORA__INTERNAL__V1__GENERATE_COMMAND__KIND_PROCEED;
    command.proceed = &proceed;
    proceed.max_tokens = max_tokens;
    write_command(generation, &command);
}

void generation_stop(struct generation *generation) {
    rpc_client_call_cancel(generation->call);
}

void generation_hold(struct generation *generation) {
    pthread_mutex_lock(&generation->mutex);
    generation->held = true;
    pthread_mutex_unlock(&generation->mutex);
}

void generation_continue(struct generation *generation) {
    pthread_mutex_lock(&generation->mutex);
    generation->held = false;
    bool owed = generation->read_owed;
    generation->read_owed = false;
    if (owed) rpc_client_call_read(generation->call);
    pthread_mutex_unlock(&generation->mutex);
}
