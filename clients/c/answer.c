/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* An answer put together. Calls come whole, or as a head with the name and then pieces of the arguments with the same index. */
#include "base/limits.h"
#include "base/text.h"
#include "clients/c/client_internal.h"
#include "rpc/transcode.h"

#include <stdlib.h>
#include <string.h>

enum {
    MESSAGE_MEMORY_BYTES = 256 << 20,
    ANSWER_MEMORY_BYTES = 1 << 30,
    ANSWER_CALLS_MAX = 1024,
    NAME_BYTES = 256, /* ids and names; what is longer is no call of ours and is cut */
};

struct call_pieces {
    int64_t index;
    char id[NAME_BYTES], name[NAME_BYTES];
    struct bytes arguments;
};

struct accumulator {
    struct arena message; /* the last one, unpacked */
    struct bytes text, reasoning;
    size_t call_count;
    struct call_pieces *calls[ANSWER_CALLS_MAX];
    bool started, finished;
    char finish_reason[32], model[NAME_BYTES], id[64];
    int64_t prompt_tokens, completion_tokens;
};

enum status accumulator_create(struct accumulator **out, struct bora_error *err) {
    struct accumulator *accumulator = calloc(1, sizeof *accumulator);
    if (accumulator == NULL) return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    arena_init(&accumulator->message, MESSAGE_MEMORY_BYTES);
    bytes_init(&accumulator->text, LIMIT_ANSWER_BYTES);
    bytes_init(&accumulator->reasoning, LIMIT_ANSWER_BYTES);
    *out = accumulator;
    return STATUS_OK;
}

void accumulator_destroy(struct accumulator *accumulator) {
    if (accumulator == NULL) return;
    for (size_t i = 0; i < accumulator->call_count; i++) {
        bytes_deinit(&accumulator->calls[i]->arguments);
        free(accumulator->calls[i]);
    }
    arena_deinit(&accumulator->message);
    bytes_deinit(&accumulator->text);
    bytes_deinit(&accumulator->reasoning);
    free(accumulator);
}

bool accumulator_started(const struct accumulator *accumulator) {
    return accumulator->started;
}

bool accumulator_finished(const struct accumulator *accumulator) {
    return accumulator->finished;
}

/** A short text, cut between characters when it is not. */
static void keep(char *out, size_t bytes, const char *text) {
    size_t length = text_truncate(text, strlen(text), bytes - 1);
    memcpy(out, text, length);
    out[length] = 0;
}

/* ---- calls ---- */

static enum status new_pieces(struct accumulator *accumulator, int64_t index, struct call_pieces **out,
                              struct bora_error *err) {
    if (accumulator->call_count == ANSWER_CALLS_MAX)
        return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "more than %d calls in one answer", ANSWER_CALLS_MAX);
    struct call_pieces *pieces = calloc(1, sizeof *pieces);
    if (pieces == NULL) return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    pieces->index = index;
    bytes_init(&pieces->arguments, LIMIT_ANSWER_BYTES);
    accumulator->calls[accumulator->call_count++] = pieces;
    *out = pieces;
    return STATUS_OK;
}

static const char *arguments_of(const Bora__V1__FunctionCall *function) {
    const Bora__V1__FunctionArguments *arguments = function->arguments;
    if (arguments == NULL) return "";
    if (arguments->kind_case == BORA__V1__FUNCTION_ARGUMENTS__KIND_TEXT) return arguments->text;
    bool object = arguments->kind_case == BORA__V1__FUNCTION_ARGUMENTS__KIND_OBJECT &&
                  arguments->object->kind_case == BORA__V1__JSON_OBJECT__KIND_JSON;
    return object ? arguments->object->json : "";
}

/** `position` in its message stands in for an index that is not there. */
static enum status add_call(struct accumulator *accumulator, const Bora__V1__ToolCall *call, size_t position,
                            struct bora_error *err) {
    if (call->function == NULL) return STATUS_OK; /* a custom tool's, which this client offers none of */
    bool has_id = call->_id_case == BORA__V1__TOOL_CALL___ID_ID && strcmp(call->id, "null") != 0;
    const char *id = has_id ? call->id : "", *name = call->function->name;
    int64_t index = call->_index_case == BORA__V1__TOOL_CALL___INDEX_INDEX ? call->index : (int64_t)position;
    struct call_pieces *pieces = NULL;
    for (size_t i = accumulator->call_count; i-- > 0 && pieces == NULL;) {
        if (accumulator->calls[i]->index == index) pieces = accumulator->calls[i];
    }
    /* A server that leaves the index at 0 numbers by id alone. */
    bool another = pieces != NULL && name[0] != 0 && id[0] != 0 && pieces->id[0] != 0 && strcmp(pieces->id, id) != 0;
    if (pieces == NULL || another) TRY(new_pieces(accumulator, index, &pieces, err));
    if (pieces->id[0] == 0) keep(pieces->id, sizeof pieces->id, id);
    if (pieces->name[0] == 0) keep(pieces->name, sizeof pieces->name, name);
    if (bytes_append_string(&pieces->arguments, arguments_of(call->function)) != STATUS_OK)
        return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "the answer is too long");
    return STATUS_OK;
}

/* ---- messages ---- */

static enum status add_reasoning(struct accumulator *accumulator, const char *text, struct bora_error *err) {
    if (bytes_append_string(&accumulator->reasoning, text) == STATUS_OK) return STATUS_OK;
    return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "the answer is too long");
}

static enum status add_choice(struct accumulator *accumulator, const char *text, Bora__V1__ToolCall *const *calls,
                              size_t count, const char *finish_reason, struct bora_error *err) {
    if (bytes_append_string(&accumulator->text, text) != STATUS_OK)
        return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "the answer is too long");
    for (size_t i = 0; i < count; i++) TRY(add_call(accumulator, calls[i], i, err));
    if (finish_reason != NULL) {
        accumulator->finished = true;
        keep(accumulator->finish_reason, sizeof accumulator->finish_reason, finish_reason);
    }
    return STATUS_OK;
}

static void add_facts(struct accumulator *accumulator, const char *model, const char *id,
                      const Bora__V1__Usage *usage) {
    keep(accumulator->model, sizeof accumulator->model, model);
    keep(accumulator->id, sizeof accumulator->id, id);
    if (usage == NULL) return;
    accumulator->prompt_tokens = usage->prompt_tokens;
    accumulator->completion_tokens = usage->completion_tokens;
}

static enum status add_chunk(struct accumulator *accumulator, const Bora__V1__ChatCompletionChunk *chunk,
                             const char **out_text, struct bora_error *err) {
    add_facts(accumulator, chunk->model, chunk->id, chunk->usage);
    for (size_t i = 0; i < chunk->n_choices; i++) {
        const Bora__V1__ChunkChoice *choice = chunk->choices[i];
        if (choice->index != 0) continue;
        const Bora__V1__Delta *delta = choice->delta;
        bool has_text = delta != NULL && delta->_content_case == BORA__V1__DELTA___CONTENT_CONTENT,
             ends = choice->_finish_reason_case == BORA__V1__CHUNK_CHOICE___FINISH_REASON_FINISH_REASON;
        *out_text = has_text ? delta->content : "";
        if (delta != NULL && delta->_reasoning_content_case == BORA__V1__DELTA___REASONING_CONTENT_REASONING_CONTENT)
            TRY(add_reasoning(accumulator, delta->reasoning_content, err));
        TRY(add_choice(accumulator, *out_text, delta != NULL ? delta->tool_calls : NULL,
                       delta != NULL ? delta->n_tool_calls : 0, ends ? choice->finish_reason : NULL, err));
    }
    return STATUS_OK;
}

static enum status add_response(struct accumulator *accumulator, const Bora__V1__ChatCompletionResponse *response,
                                const char **out_text, struct bora_error *err) {
    add_facts(accumulator, response->model, response->id, response->usage);
    accumulator->finished = true;
    if (response->n_choices == 0) return STATUS_OK;
    const Bora__V1__Choice *choice = response->choices[0];
    const Bora__V1__ResponseMessage *message = choice->message;
    bool has_text =
             message != NULL && message->content != NULL && message->content->kind_case == BORA__V1__CONTENT__KIND_TEXT,
         ends = choice->_finish_reason_case == BORA__V1__CHOICE___FINISH_REASON_FINISH_REASON;
    *out_text = has_text ? message->content->text : "";
    if (message != NULL &&
        message->_reasoning_content_case == BORA__V1__RESPONSE_MESSAGE___REASONING_CONTENT_REASONING_CONTENT)
        TRY(add_reasoning(accumulator, message->reasoning_content, err));
    return add_choice(accumulator, *out_text, message != NULL ? message->tool_calls : NULL,
                      message != NULL ? message->n_tool_calls : 0, ends ? choice->finish_reason : NULL, err);
}

enum status accumulator_add(struct accumulator *accumulator, struct bytes_view message, bool streamed,
                            const char **out_text, struct bora_error *err) {
    ProtobufCMessage *unpacked = NULL;
    struct error why = {0};
    *out_text = "";
    accumulator->started = true;
    arena_reset(&accumulator->message);
    const ProtobufCMessageDescriptor *descriptor =
        streamed ? &bora__v1__chat_completion_chunk__descriptor : &bora__v1__chat_completion_response__descriptor;
    enum status status = protobuf_unpack(descriptor, message, &accumulator->message, &unpacked, &why);
    if (status != STATUS_OK) return bora_error_set(err, status, "the answer cannot be read: %s", why.message);
    if (streamed) return add_chunk(accumulator, (const Bora__V1__ChatCompletionChunk *)unpacked, out_text, err);
    return add_response(accumulator, (const Bora__V1__ChatCompletionResponse *)unpacked, out_text, err);
}

/* ---- the answer ---- */

static bool copy_calls(const struct accumulator *accumulator, struct bora_answer *answer) {
    if (accumulator->call_count == 0) return true;
    struct bora_tool_call *calls = arena_alloc_array(&answer->memory, accumulator->call_count, sizeof *calls);
    if (calls == NULL) return false;
    for (size_t i = 0; i < accumulator->call_count; i++) {
        const struct call_pieces *pieces = accumulator->calls[i];
        /* Nine letters and digits, as the contract has it; a result needs an id to refer to, so one that is missing is made up. */
        calls[i].id = pieces->id[0] != 0 ? arena_copy(&answer->memory, pieces->id, strlen(pieces->id))
                                         : arena_printf(&answer->memory, "call%05zu", i);
        calls[i].name = arena_copy(&answer->memory, pieces->name, strlen(pieces->name));
        calls[i].arguments = arena_copy(&answer->memory, pieces->arguments.data, pieces->arguments.length);
        if (calls[i].id == NULL || calls[i].name == NULL || calls[i].arguments == NULL) return false;
    }
    answer->calls = calls;
    answer->call_count = accumulator->call_count;
    return true;
}

enum status accumulator_answer(const struct accumulator *accumulator, struct bora_answer *out, struct bora_error *err) {
    struct bora_answer answer = {.prompt_tokens = accumulator->prompt_tokens,
                                 .completion_tokens = accumulator->completion_tokens};
    arena_init(&answer.memory, ANSWER_MEMORY_BYTES);
    answer.text = arena_copy(&answer.memory, accumulator->text.data, accumulator->text.length);
    answer.reasoning = arena_copy(&answer.memory, accumulator->reasoning.data, accumulator->reasoning.length);
    answer.model = arena_copy(&answer.memory, accumulator->model, strlen(accumulator->model));
    answer.id = arena_copy(&answer.memory, accumulator->id, strlen(accumulator->id));
    if (accumulator->finish_reason[0] != 0)
        answer.finish_reason =
            arena_copy(&answer.memory, accumulator->finish_reason, strlen(accumulator->finish_reason));
    if (answer.text == NULL || answer.reasoning == NULL || answer.model == NULL || answer.id == NULL ||
        !copy_calls(accumulator, &answer)) {
        arena_deinit(&answer.memory);
        return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    *out = answer;
    return STATUS_OK;
}

void bora_answer_deinit(struct bora_answer *answer) {
    arena_deinit(&answer->memory);
    *answer = (struct bora_answer){.text = "", .reasoning = "", .model = "", .id = ""};
}

struct bora_message bora_answer_message(const struct bora_answer *answer) {
    return (struct bora_message){
        .role = BORA_ROLE_ASSISTANT, .text = answer->text, .calls = answer->calls, .call_count = answer->call_count};
}
