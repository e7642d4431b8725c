/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The worker's side of proto/bora/internal/v1/worker.proto, for well-behaved gateways only. */
#include "base/limits.h"
#include "bench/null_worker.h"
#include "bora/internal/v1/worker.pb-c.h"
#include "rpc/transcode.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { PACKED_BYTES_MAX = 1 << 16, ALIVE_MAX = 1000000 };

struct null_call {
    struct null_answer answer; /* first: found from it */
    struct rpc_call *rpc;
    atomic_int references;
    struct arena arena;
    struct bytes packed; /* under the answer's mutex */
    int64_t max_tokens;
};

static void call_ref(struct null_answer *answer) {
    atomic_fetch_add(&((struct null_call *)answer)->references, 1);
}

static void call_unref(struct null_answer *answer) {
    struct null_call *call = (struct null_call *)answer;
    if (atomic_fetch_sub(&call->references, 1) != 1) return;
    null_answer_deinit(answer);
    arena_deinit(&call->arena);
    bytes_deinit(&call->packed);
    rpc_call_unref(call->rpc);
    free(call);
}

static void write_event(struct null_call *call, const Bora__Internal__V1__GenerateEvent *event) {
    bytes_reset(&call->packed);
    if (protobuf_pack(&event->base, &call->packed) == STATUS_OK)
        (void)!rpc_call_write(call->rpc, bytes_view(&call->packed)); /* `cancelled` tells of a call that is over */
}

static bool send_tokens(struct null_answer *answer, int64_t tokens, bool last) {
    static int32_t ids[NULL_EVENT_TOKENS_MAX];
    struct null_call *call = (struct null_call *)answer;
    struct bytes_view text = null_answer_text(tokens);
    Bora__Internal__V1__GenerateEvent event = BORA__INTERNAL__V1__GENERATE_EVENT__INIT;
    Bora__Internal__V1__Delta delta = BORA__INTERNAL__V1__DELTA__INIT;
    delta.text = (ProtobufCBinaryData){text.length, (uint8_t *)text.data};
    delta.token_ids = ids;
    delta.n_token_ids = (size_t)tokens;
    delta.completion_tokens = answer->sent;
    event.kind_case = BORA__INTERNAL__V1__GENERATE_EVENT__KIND_DELTA;
    event.delta = &delta;
    write_event(call, &event);
    if (!last) return rpc_call_pending_bytes(call->rpc) <= LIMIT_STREAM_PENDING_BYTES;
    Bora__Internal__V1__Finished finished = BORA__INTERNAL__V1__FINISHED__INIT;
    finished.reason = BORA__INTERNAL__V1__FINISHED__REASON__REASON_LENGTH;
    finished.prompt_tokens = NULL_PROMPT_TOKENS;
    finished.completion_tokens = answer->sent;
    event.kind_case = BORA__INTERNAL__V1__GENERATE_EVENT__KIND_FINISHED;
    event.finished = &finished;
    write_event(call, &event);
    rpc_call_finish(call->rpc, STATUS_OK, NULL, (struct bytes_view){0});
    return true;
}

static void on_start(struct rpc_call *rpc, void *service) {
    (void)service;
    struct null_call *call = calloc(1, sizeof *call);
    if (call == NULL) {
        rpc_call_finish(rpc, STATUS_RESOURCE_EXHAUSTED, "out of memory", (struct bytes_view){0});
        return;
    }
    call->rpc = rpc;
    rpc_call_ref(rpc);
    atomic_init(&call->references, 1);
    arena_init(&call->arena, LIMIT_REQUEST_BODY_BYTES_MAX);
    bytes_init(&call->packed, PACKED_BYTES_MAX);
    null_answer_init(&call->answer, 0);
    call->answer.send = send_tokens;
    call->answer.ref = call_ref;
    call->answer.unref = call_unref;
    rpc_call_set_state(rpc, call);
    rpc_call_set_watermark(rpc, LIMIT_STREAM_PENDING_BYTES);
}

static void prepare(struct null_call *call, const Bora__Internal__V1__Start *start) {
    if (start->_max_tokens_case == BORA__INTERNAL__V1__START___MAX_TOKENS_MAX_TOKENS)
        call->answer.tokens = start->max_tokens;
    Bora__Internal__V1__GenerateEvent event = BORA__INTERNAL__V1__GENERATE_EVENT__INIT;
    Bora__Internal__V1__Prepared prepared = BORA__INTERNAL__V1__PREPARED__INIT;
    prepared.prompt_tokens = NULL_PROMPT_TOKENS;
    prepared.max_tokens = call->answer.tokens;
    prepared.context_tokens = NULL_CONTEXT_TOKENS;
    event.kind_case = BORA__INTERNAL__V1__GENERATE_EVENT__KIND_PREPARED;
    event.prepared = &prepared;
    write_event(call, &event);
}

static void on_message(struct rpc_call *rpc, struct bytes_view message) {
    struct null_call *call = rpc_call_state(rpc);
    ProtobufCMessage *unpacked = NULL;
    struct error err = {0};
    if (call == NULL) return;
    arena_reset(&call->arena);
    enum status status =
        protobuf_unpack(&bora__internal__v1__generate_command__descriptor, message, &call->arena, &unpacked, &err);
    if (status != STATUS_OK) {
        rpc_call_finish(rpc, status, err.message, (struct bytes_view){0});
        return;
    }
    const Bora__Internal__V1__GenerateCommand *command = (const void *)unpacked;
    if (command->kind_case == BORA__INTERNAL__V1__GENERATE_COMMAND__KIND_START)
        prepare(call, command->start);
    else
        null_answer_go(&call->answer);
}

static void on_half_closed(struct rpc_call *rpc) {
    (void)rpc;
}

static void on_writable(struct rpc_call *rpc) {
    struct null_call *call = rpc_call_state(rpc);
    if (call != NULL) null_answer_go(&call->answer);
}

static void on_cancelled(struct rpc_call *rpc) {
    struct null_call *call = rpc_call_state(rpc);
    if (call == NULL) return;
    null_answer_end(&call->answer);
    rpc_call_finish(rpc, STATUS_CANCELLED, "cancelled", (struct bytes_view){0});
}

static void on_finished(struct rpc_call *rpc) {
    struct null_call *call = rpc_call_state(rpc);
    if (call != NULL) call_unref(&call->answer);
}

enum status null_protocol_announcement(const struct null_settings *settings, const char *id, const char *address,
                                       struct bytes *out) {
    char *capabilities[] = {"completion_chat"};
    Bora__Internal__V1__ModelDescription model = BORA__INTERNAL__V1__MODEL_DESCRIPTION__INIT;
    model.name = settings->model;
    model.context_tokens = NULL_CONTEXT_TOKENS;
    model.capabilities = capabilities;
    model.n_capabilities = 1;
    Bora__Internal__V1__Load load = BORA__INTERNAL__V1__LOAD__INIT;
    load.sequences_max = load.alive_max = ALIVE_MAX;
    Bora__Internal__V1__WorkerAnnouncement message = BORA__INTERNAL__V1__WORKER_ANNOUNCEMENT__INIT;
    message.worker_id = (char *)id;
    message.address = (char *)address;
    message.model = &model;
    message.load = &load;
    message.device = "none";
    message.process_id = (int32_t)getpid();
    message.version = BORA_VERSION;
    message.rank_count = 1;
    return protobuf_pack(&message.base, out);
}

const struct rpc_method null_protocol_methods[] = {{.path = "/bora.internal.v1.WorkerService/Generate",
                                                    .start = on_start,
                                                    .message = on_message,
                                                    .half_closed = on_half_closed,
                                                    .writable = on_writable,
                                                    .cancelled = on_cancelled,
                                                    .finished = on_finished}};
const size_t null_protocol_method_count = sizeof null_protocol_methods / sizeof null_protocol_methods[0];
