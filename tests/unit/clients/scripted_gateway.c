/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/clients/scripted_gateway.h"

#include "base/limits.h"
#include "bora/v1/error.pb-c.h"
#include "rpc/transcode.h"

#include <stdatomic.h>
#include <time.h>

enum { MEMORY_BYTES = 64 << 20 };

void scripted_await(_Atomic int *counter, int least) {
    int64_t end_ns = clock_monotonic_ns(clock_system()) + PATIENCE_NS;
    while (atomic_load(counter) < least) {
        if (clock_monotonic_ns(clock_system()) > end_ns) fail_msg("not within %d s", (int)(PATIENCE_NS / NS_PER_S));
        nanosleep(&(struct timespec){.tv_nsec = 2 * NS_PER_MS}, NULL);
    }
}

/* ---- answering ---- */

static bool is_call(const struct step *step) {
    return step->id != NULL || step->name != NULL || step->arguments != NULL;
}

static void fill_call(const struct step *step, Bora__V1__ToolCall *call, Bora__V1__FunctionCall *function,
                      Bora__V1__FunctionArguments *arguments) {
    arguments->kind_case = BORA__V1__FUNCTION_ARGUMENTS__KIND_TEXT;
    arguments->text = (char *)(step->arguments != NULL ? step->arguments : "");
    function->name = (char *)(step->name != NULL ? step->name : "");
    function->arguments = arguments;
    call->function = function;
    if (step->id != NULL) {
        call->_id_case = BORA__V1__TOOL_CALL___ID_ID;
        call->id = (char *)step->id;
    }
    if (step->index >= 0) {
        call->_index_case = BORA__V1__TOOL_CALL___INDEX_INDEX;
        call->index = step->index;
    }
}

static void write_packed(struct rpc_call *call, const ProtobufCMessage *message) {
    struct bytes packed;
    bytes_init(&packed, MEMORY_BYTES);
    (void)!protobuf_pack(message, &packed);
    (void)!rpc_call_write(call, bytes_view(&packed));
    bytes_deinit(&packed);
}

/** One chunk; calls that follow each other without an index share one. Returns the last step that went into it. */
static const struct step *write_chunk(struct rpc_call *rpc, const struct step *step) {
    Bora__V1__ChatCompletionChunk chunk = BORA__V1__CHAT_COMPLETION_CHUNK__INIT;
    Bora__V1__ChunkChoice choice = BORA__V1__CHUNK_CHOICE__INIT, *choices[] = {&choice};
    Bora__V1__Delta delta = BORA__V1__DELTA__INIT;
    Bora__V1__Usage usage = BORA__V1__USAGE__INIT;
    enum { CALLS_MAX = 48 };
    Bora__V1__ToolCall calls[CALLS_MAX], *pointers[CALLS_MAX];
    Bora__V1__FunctionCall functions[CALLS_MAX];
    Bora__V1__FunctionArguments arguments[CALLS_MAX];
    chunk.model = (char *)"scripted";
    chunk.id = (char *)"0123456789abcdef0123456789abcdef";
    chunk.choices = choices;
    chunk.n_choices = 1;
    choice.delta = &delta;
    if (step->text != NULL) {
        delta._content_case = BORA__V1__DELTA___CONTENT_CONTENT;
        delta.content = (char *)step->text;
    }
    delta.tool_calls = pointers;
    while (is_call(step)) {
        size_t i = delta.n_tool_calls++;
        calls[i] = (Bora__V1__ToolCall)BORA__V1__TOOL_CALL__INIT;
        functions[i] = (Bora__V1__FunctionCall)BORA__V1__FUNCTION_CALL__INIT;
        arguments[i] = (Bora__V1__FunctionArguments)BORA__V1__FUNCTION_ARGUMENTS__INIT;
        fill_call(step, &calls[i], &functions[i], &arguments[i]);
        pointers[i] = &calls[i];
        if (step->index >= 0 || !is_call(step + 1) || step[1].index >= 0) break;
        step++;
    }
    if (step->finish != NULL) {
        choice._finish_reason_case = BORA__V1__CHUNK_CHOICE___FINISH_REASON_FINISH_REASON;
        choice.finish_reason = (char *)step->finish;
        usage.prompt_tokens = 10;
        usage.completion_tokens = 5;
        chunk.usage = &usage;
    }
    write_packed(rpc, &chunk.base);
    return step;
}

static void write_response(struct rpc_call *rpc, const struct step *step) {
    Bora__V1__ChatCompletionResponse response = BORA__V1__CHAT_COMPLETION_RESPONSE__INIT;
    Bora__V1__Choice choice = BORA__V1__CHOICE__INIT, *choices[] = {&choice};
    Bora__V1__ResponseMessage message = BORA__V1__RESPONSE_MESSAGE__INIT;
    Bora__V1__Content content = BORA__V1__CONTENT__INIT;
    content.kind_case = BORA__V1__CONTENT__KIND_TEXT;
    content.text = (char *)(step->text != NULL ? step->text : "");
    message.content = &content;
    choice.message = &message;
    choice._finish_reason_case = BORA__V1__CHOICE___FINISH_REASON_FINISH_REASON;
    choice.finish_reason = (char *)"stop";
    response.choices = choices;
    response.n_choices = 1;
    write_packed(rpc, &response.base);
    rpc_call_finish(rpc, STATUS_OK, NULL, (struct bytes_view){0});
}

static void refuse(struct rpc_call *call, const struct step *step) {
    Bora__V1__ErrorDetail detail = BORA__V1__ERROR_DETAIL__INIT;
    Bora__V1__ApiError error = BORA__V1__API_ERROR__INIT;
    Bora__V1__ValidationErrors errors = BORA__V1__VALIDATION_ERRORS__INIT;
    Bora__V1__ValidationError one = BORA__V1__VALIDATION_ERROR__INIT, *list[] = {&one};
    Bora__V1__PathStep path[4] = {BORA__V1__PATH_STEP__INIT, BORA__V1__PATH_STEP__INIT, BORA__V1__PATH_STEP__INIT,
                                  BORA__V1__PATH_STEP__INIT},
                       *steps[4];
    const char *const names[4] = {"body", "messages", NULL, "content"};
    for (int i = 0; i < 4; i++) {
        path[i].kind_case = names[i] != NULL ? BORA__V1__PATH_STEP__KIND_NAME : BORA__V1__PATH_STEP__KIND_INDEX;
        if (names[i] != NULL) path[i].name = (char *)names[i];
        steps[i] = &path[i];
    }
    one.loc = steps;
    one.n_loc = 4;
    errors.detail = list;
    errors.n_detail = 1;
    error.type = (char *)"a_type";
    error._code_case = step->code != NULL ? BORA__V1__API_ERROR___CODE_CODE : BORA__V1__API_ERROR___CODE__NOT_SET;
    error.code = (char *)step->code;
    error._param_case = step->param != NULL ? BORA__V1__API_ERROR___PARAM_PARAM : BORA__V1__API_ERROR___PARAM__NOT_SET;
    error.param = (char *)step->param;
    detail.kind_case =
        step->invalid_field ? BORA__V1__ERROR_DETAIL__KIND_VALIDATION : BORA__V1__ERROR_DETAIL__KIND_ERROR;
    if (step->invalid_field)
        detail.validation = &errors;
    else
        detail.error = &error;
    detail.retry_after_ms = step->retry_after_ms;
    struct bytes packed, details;
    bytes_init(&packed, 8192);
    bytes_init(&details, 8192);
    (void)!protobuf_pack(&detail.base, &packed);
    (void)!rpc_status_details(step->fail, step->text, "bora.v1.ErrorDetail", bytes_view(&packed), &details);
    rpc_call_finish(call, step->fail, step->text, bytes_view(&details));
    bytes_deinit(&packed);
    bytes_deinit(&details);
}

static const struct step *begin(struct rpc_call *call, struct bytes_view message) {
    struct scripted *scripted = rpc_call_service(call);
    const char *key = rpc_call_metadata(call, "authorization");
    if (key == NULL || strcmp(key, "Bearer " KEY) != 0) {
        rpc_call_finish(call, STATUS_UNAUTHENTICATED, "Unauthorized", (struct bytes_view){0});
        return NULL;
    }
    ProtobufCMessage *request = NULL;
    (void)!protobuf_unpack(&bora__v1__chat_completion_request__descriptor, message, &scripted->memory, &request, NULL);
    int number = atomic_load(&scripted->requests);
    scripted->seen[number] = (const Bora__V1__ChatCompletionRequest *)request;
    atomic_fetch_add(&scripted->requests, 1);
    return scripted->answers[number < scripted->answer_count ? number : scripted->answer_count - 1];
}

static void stream(struct rpc_call *call, struct bytes_view message) {
    struct scripted *scripted = rpc_call_service(call);
    for (const struct step *step = begin(call, message); step != NULL; step++) {
        if (step->fail != STATUS_OK) {
            refuse(call, step);
            return;
        }
        if (step->hang) {
            atomic_fetch_add(&scripted->hanging, 1);
            return;
        }
        if (!step->cut) step = write_chunk(call, step);
        if (step->cut || step->finish != NULL) {
            rpc_call_finish(call, STATUS_OK, NULL, (struct bytes_view){0});
            return;
        }
    }
}

static void complete(struct rpc_call *call, struct bytes_view message) {
    struct scripted *scripted = rpc_call_service(call);
    const struct step *step = begin(call, message);
    if (step == NULL) return;
    if (step->fail != STATUS_OK)
        refuse(call, step);
    else if (step->hang)
        atomic_fetch_add(&scripted->hanging, 1);
    else
        write_response(call, step);
}

static void cancelled(struct rpc_call *call) {
    rpc_call_finish(call, STATUS_CANCELLED, NULL, (struct bytes_view){0});
}

static void finished(struct rpc_call *call) {
    struct scripted *scripted = rpc_call_service(call);
    atomic_fetch_add(&scripted->finished, 1);
}

/* ---- life ---- */

static const struct rpc_method methods[] = {
    {.path = "/bora.v1.ChatService/StreamChat", .message = stream, .cancelled = cancelled, .finished = finished},
    {.path = "/bora.v1.ChatService/CompleteChat", .message = complete, .cancelled = cancelled, .finished = finished},
};

struct scripted *scripted_open(const struct step *const *answers, int count,
                               const struct bora_client_options *options) {
    struct scripted *scripted = calloc(1, sizeof *scripted);
    assert_non_null(scripted);
    scripted->answers = answers;
    scripted->answer_count = count;
    arena_init(&scripted->memory, MEMORY_BYTES);
    struct rpc_server_options server = {
        .address = "127.0.0.1:0", .threads = 1, .message_bytes_max = LIMIT_REQUEST_BODY_BYTES_MAX};
    check_ok(rpc_server_create(&server, &scripted->server, &check_error));
    check_ok(rpc_server_add(scripted->server, methods, sizeof methods / sizeof methods[0], scripted, &check_error));
    check_ok(rpc_server_start(scripted->server, &check_error));
    char target[64];
    snprintf(target, sizeof target, "127.0.0.1:%d", rpc_server_port(scripted->server));
    struct bora_client_options own = {.model = "scripted"};
    if (options != NULL) own = *options;
    own.target = target;
    if (own.api_key == NULL) own.api_key = KEY;
    check_ok(bora_client_open(&own, &scripted->client, NULL));
    check_ok(bora_conversation_create(&scripted->talk, NULL));
    check_ok(bora_conversation_add_text(scripted->talk, BORA_ROLE_USER, "1+2?", NULL));
    return scripted;
}

const Bora__V1__ChatCompletionRequest *scripted_request(struct scripted *scripted, int index) {
    assert_true(
        index <
        atomic_load(&scripted->requests)); /* counted after it was written: for us, and for the thread sanitizer */
    return scripted->seen[index];
}

void scripted_close(struct scripted *scripted) {
    bora_conversation_destroy(scripted->talk);
    bora_client_close(scripted->client);
    rpc_server_stop(scripted->server, 0);
    rpc_server_destroy(scripted->server);
    arena_deinit(&scripted->memory);
    free(scripted);
}
