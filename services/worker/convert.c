/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/worker/convert.h"

#include "base/limits.h"
#include "base/text.h"
#include "engine/grammar/calls.h"
#include "rpc/grpc_server.h"

#include <math.h>
#include <string.h>

static struct bytes_view view_of(ProtobufCBinaryData data) {
    return bytes_view_of(data.data, data.len);
}
static ProtobufCBinaryData data_of(struct bytes_view view) {
    return (ProtobufCBinaryData){.len = view.length, .data = (uint8_t *)view.data};
}

static enum status convert_calls(const Bora__Internal__V1__ConversationMessage *in, struct arena *arena,
                                 struct chat_message *out, struct error *err) {
    struct chat_tool_call *calls = arena_alloc_array(arena, in->n_tool_calls, sizeof *calls);
    if (calls == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "the conversation is too large");
    for (size_t i = 0; i < in->n_tool_calls; i++)
        calls[i] = (struct chat_tool_call){.id = bytes_view_string(in->tool_calls[i]->id),
                                           .name = bytes_view_string(in->tool_calls[i]->name),
                                           .arguments = view_of(in->tool_calls[i]->arguments)};
    out->tool_calls = calls;
    out->tool_call_count = in->n_tool_calls;
    return STATUS_OK;
}

enum status convert_tools(const Bora__Internal__V1__Start *start, struct arena *arena, struct chat_conversation *out,
                          struct error *err) {
    struct chat_tool *tools = arena_alloc_array(arena, start->n_tools, sizeof *tools);
    if (tools == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "the tools are too large");
    for (size_t i = 0; i < start->n_tools; i++) {
        const Bora__Internal__V1__Tool *tool = start->tools[i];
        tools[i] = (struct chat_tool){.name = bytes_view_string(tool->name), .strict = tool->strict};
        if (tool->_description_case == BORA__INTERNAL__V1__TOOL___DESCRIPTION_DESCRIPTION)
            tools[i].description = bytes_view_string(tool->description);
        if (tool->_parameters_case == BORA__INTERNAL__V1__TOOL___PARAMETERS_PARAMETERS)
            tools[i].parameters = view_of(tool->parameters);
    }
    out->tools = tools;
    out->tool_count = start->n_tools;
    return STATUS_OK;
}

enum status convert_messages(const Bora__Internal__V1__Start *start, struct arena *arena, struct chat_message **out,
                             size_t *out_count, struct error *err) {
    static const enum chat_role roles[] = {CHAT_ROLE_SYSTEM, CHAT_ROLE_USER, CHAT_ROLE_ASSISTANT, CHAT_ROLE_TOOL};
    if (start->n_messages == 0) return error_set(err, STATUS_INVALID_ARGUMENT, "the conversation is empty");
    struct chat_message *messages = arena_alloc_array(arena, start->n_messages, sizeof *messages);
    if (messages == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "the conversation is too large");
    for (size_t i = 0; i < start->n_messages; i++) {
        const Bora__Internal__V1__ConversationMessage *message = start->messages[i];
        if ((unsigned)message->role >= sizeof roles / sizeof roles[0])
            return error_set(err, STATUS_INVALID_ARGUMENT, "message %zu has an unknown role", i);
        bool said =
            message->_content_case == BORA__INTERNAL__V1__CONVERSATION_MESSAGE___CONTENT_CONTENT; /* nothing, perhaps */
        messages[i] = (struct chat_message){
            .role = roles[message->role],
            .content = !said ? (struct bytes_view){0}
                             : bytes_view_of(message->content.len > 0 ? message->content.data : (const uint8_t *)"",
                                             message->content.len),
            .tool_call_id = bytes_view_string(message->tool_call_id),
            .name = bytes_view_string(message->name),
            .prefix = message->prefix};
        TRY(convert_calls(message, arena, &messages[i], err));
    }
    *out = messages;
    *out_count = start->n_messages;
    return STATUS_OK;
}

static enum status convert_logit_bias(const Bora__Internal__V1__Sampling *in, struct arena *arena, struct sampling *out,
                                      struct error *err) {
    if (in->n_logit_bias_ids != in->n_logit_bias_values || in->n_logit_bias_ids > LIMIT_LOGIT_BIAS) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "logit_bias has %zu ids and %zu values (at most %d)",
                         in->n_logit_bias_ids, in->n_logit_bias_values, LIMIT_LOGIT_BIAS);
    }
    struct logit_bias *bias = arena_alloc_array(arena, in->n_logit_bias_ids, sizeof *bias);
    if (bias == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (size_t i = 0; i < in->n_logit_bias_ids; i++)
        bias[i] = (struct logit_bias){.id = in->logit_bias_ids[i], .bias = in->logit_bias_values[i]};
    out->logit_bias = bias;
    out->logit_bias_count = in->n_logit_bias_ids;
    return STATUS_OK;
}

static enum status convert_beam(const Bora__Internal__V1__BeamSearch *in, struct generation_request *out,
                                struct error *err) {
    if (in == NULL) return STATUS_OK;
    if (in->width < 1 || in->width > LIMIT_BEAMS || in->answers < 1 || in->answers > in->width ||
        !(fabs(in->length_penalty) <= 10)) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "a beam search of width %d (1..%d) for %d answers", in->width,
                         LIMIT_BEAMS, in->answers);
    }
    out->beam = (struct beam_options){.width = in->width,
                                      .answers = in->answers,
                                      .length_penalty = (float)in->length_penalty,
                                      .early_stopping = in->early_stopping};
    return STATUS_OK;
}

enum status convert_sampling(const Bora__Internal__V1__Start *start, struct arena *arena,
                             struct generation_request *out, struct error *err) {
    const Bora__Internal__V1__Sampling *in = start->sampling;
    if (in == NULL) return error_set(err, STATUS_INVALID_ARGUMENT, "sampling is missing");
    bool in_range = in->temperature >= 0 && in->temperature <= 100 && in->top_p > 0 && in->top_p <= 1 &&
                    in->top_k >= 0 && in->min_p >= 0 && in->min_p <= 1 && in->typical_p >= 0 && in->typical_p <= 1 &&
                    in->repetition_penalty >= 0 && in->repetition_penalty <= SAMPLER_REPETITION_PENALTY_MAX &&
                    fabs(in->presence_penalty) <= 2 && fabs(in->frequency_penalty) <= 2 && in->top_logprobs >= -1 &&
                    in->top_logprobs <= LIMIT_TOP_LOGPROBS;
    if (!in_range) return error_set(err, STATUS_INVALID_ARGUMENT, "a sampling setting is out of range");
    out->sampling = (struct sampling){.temperature = in->temperature,
                                      .top_p = in->top_p,
                                      .top_k = in->top_k,
                                      .min_p = in->min_p,
                                      .typical_p = in->typical_p,
                                      .repetition_penalty = in->repetition_penalty,
                                      .presence_penalty = in->presence_penalty,
                                      .frequency_penalty = in->frequency_penalty,
                                      .seed = in->seed,
                                      .top_logprobs = in->top_logprobs};
    TRY(convert_logit_bias(in, arena, &out->sampling, err));

    if (start->n_stop > LIMIT_STOP_STRINGS)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%zu stop strings (at most %d)", start->n_stop,
                         LIMIT_STOP_STRINGS);
    struct bytes_view *stop = arena_alloc_array(arena, start->n_stop, sizeof *stop);
    if (stop == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (size_t i = 0; i < start->n_stop; i++) {
        stop[i] = view_of(start->stop[i]);
        if (stop[i].length == 0 || stop[i].length > LIMIT_STOP_STRING_BYTES)
            return error_set(err, STATUS_INVALID_ARGUMENT, "stop string %zu has %zu bytes (1..%d)", i, stop[i].length,
                             LIMIT_STOP_STRING_BYTES);
    }
    out->stop = stop;
    out->stop_count = start->n_stop;
    out->tenant = start->tenant;
    out->priority = start->priority;
    return convert_beam(start->beam, out, err);
}

static enum status convert_alternatives(const struct logprob_entry *entry, const struct tokenizer *tokenizer,
                                        struct arena *arena, Bora__Internal__V1__TokenLogprob *out) {
    Bora__Internal__V1__Alternative **list = arena_alloc_array(arena, (size_t)entry->top_count, sizeof *list);
    Bora__Internal__V1__Alternative *items = arena_alloc_array(arena, (size_t)entry->top_count, sizeof *items);
    if (list == NULL || items == NULL) return STATUS_RESOURCE_EXHAUSTED;
    for (int i = 0; i < entry->top_count; i++) {
        bora__internal__v1__alternative__init(&items[i]);
        items[i].token = data_of(tokenizer_piece(tokenizer, entry->top[i].id));
        items[i].logprob = entry->top[i].logprob;
        list[i] = &items[i];
    }
    out->alternatives = list;
    out->n_alternatives = (size_t)entry->top_count;
    return STATUS_OK;
}

static enum status convert_logprobs(const struct generation_event *event, const struct tokenizer *tokenizer,
                                    struct arena *arena, Bora__Internal__V1__Delta *delta) {
    Bora__Internal__V1__TokenLogprob **list = arena_alloc_array(arena, event->logprob_count, sizeof *list);
    Bora__Internal__V1__TokenLogprob *items = arena_alloc_array(arena, event->logprob_count, sizeof *items);
    if (list == NULL || items == NULL) return STATUS_RESOURCE_EXHAUSTED;
    for (size_t i = 0; i < event->logprob_count; i++) {
        bora__internal__v1__token_logprob__init(&items[i]);
        items[i].token = data_of(tokenizer_piece(tokenizer, event->logprobs[i].chosen.id));
        items[i].logprob = event->logprobs[i].chosen.logprob;
        TRY(convert_alternatives(&event->logprobs[i], tokenizer, arena, &items[i]));
        list[i] = &items[i];
    }
    delta->logprobs = list;
    delta->n_logprobs = event->logprob_count;
    return STATUS_OK;
}

/** About what a token's log-probabilities take in a message. */
static size_t logprob_bytes(const struct logprob_entry *entry, const struct tokenizer *tokenizer) {
    enum { MORE = 32 /* than its name, each */ };
    size_t bytes = MORE + tokenizer_piece(tokenizer, entry->chosen.id).length;
    for (int i = 0; i < entry->top_count; i++) bytes += MORE + tokenizer_piece(tokenizer, entry->top[i].id).length;
    return bytes;
}

/** Of the event's log-probabilities, how many go into one message: one at least, if there are any. */
static size_t logprobs_of_message(const struct generation_event *event, const struct tokenizer *tokenizer) {
    size_t count = 0, bytes = 0;
    while (count < event->logprob_count) {
        bytes += logprob_bytes(&event->logprobs[count], tokenizer);
        if (count > 0 && bytes > LIMIT_DELTA_BYTES) break;
        count++;
    }
    return count;
}

/** Take what goes into one message from the front of `rest`. */
static struct generation_event take_message(struct generation_event *rest, const struct tokenizer *tokenizer) {
    enum { IDS_MAX = LIMIT_DELTA_BYTES / sizeof(int32_t) };
    struct generation_event taken = *rest;
    taken.thought.length = text_truncate((const char *)rest->thought.data, rest->thought.length, LIMIT_DELTA_BYTES);
    size_t room = LIMIT_DELTA_BYTES - taken.thought.length;
    taken.text.length = text_truncate((const char *)rest->text.data, rest->text.length, room);
    taken.id_count = rest->id_count < IDS_MAX ? rest->id_count : IDS_MAX;
    bool text_is_whole = taken.text.length == rest->text.length && taken.thought.length == rest->thought.length;
    taken.logprob_count = text_is_whole ? logprobs_of_message(rest, tokenizer) : 0;
    /* Calls come behind the text, each in a message of its own. */
    taken.call_count = text_is_whole && rest->call_count > 0 ? 1 : 0;
    rest->calls += taken.call_count;
    rest->call_count -= taken.call_count;
    if (taken.thought.length > 0) rest->thought.data += taken.thought.length;
    rest->thought.length -= taken.thought.length;
    if (taken.text.length > 0) rest->text.data += taken.text.length;
    if (taken.id_count > 0) rest->ids += taken.id_count;
    if (taken.logprob_count > 0) rest->logprobs += taken.logprob_count;
    rest->text.length -= taken.text.length;
    rest->id_count -= taken.id_count;
    rest->logprob_count -= taken.logprob_count;
    return taken;
}

static enum status convert_call(const struct call_made *in, struct arena *arena, Bora__Internal__V1__Delta *delta) {
    Bora__Internal__V1__ToolCall *call = arena_alloc(arena, sizeof *call), **calls = arena_alloc(arena, sizeof *calls);
    if (call == NULL || calls == NULL) return STATUS_RESOURCE_EXHAUSTED;
    bora__internal__v1__tool_call__init(call);
    call->id = arena_copy(arena, in->id, CALL_ID_BYTES);
    call->name = arena_copy(arena, in->name.data, in->name.length);
    call->arguments = data_of(in->arguments);
    *calls = call;
    delta->tool_calls = calls;
    delta->n_tool_calls = 1;
    return call->id != NULL && call->name != NULL ? STATUS_OK : STATUS_RESOURCE_EXHAUSTED;
}

enum status convert_delta(struct generation_event *rest, const struct tokenizer *tokenizer, struct arena *arena,
                          Bora__Internal__V1__Delta *out) {
    struct generation_event event = take_message(rest, tokenizer);
    bora__internal__v1__delta__init(out);
    out->text = data_of(event.text);
    out->token_ids = (int32_t *)event.ids;
    out->n_token_ids = event.id_count;
    out->completion_tokens = event.completion_tokens;
    out->answer = event.answer;
    if (event.logprob_count > 0) TRY(convert_logprobs(&event, tokenizer, arena, out));
    out->thought = data_of(event.thought);
    return event.call_count > 0 ? convert_call(&event.calls[0], arena, out) : STATUS_OK;
}

static Bora__Internal__V1__Finished__Reason reason_of(enum finish_reason finish) {
    switch (finish) {
    case FINISH_LENGTH:
        return BORA__INTERNAL__V1__FINISHED__REASON__REASON_LENGTH;
    case FINISH_MODEL_LENGTH:
        return BORA__INTERNAL__V1__FINISHED__REASON__REASON_MODEL_LENGTH;
    case FINISH_CANCELLED:
        return BORA__INTERNAL__V1__FINISHED__REASON__REASON_CANCELLED;
    case FINISH_GRAMMAR:
    case FINISH_ERROR:
        return BORA__INTERNAL__V1__FINISHED__REASON__REASON_ERROR;
    default:
        return BORA__INTERNAL__V1__FINISHED__REASON__REASON_STOP;
    }
}

void convert_finished(const struct generation_event *event, Bora__Internal__V1__Finished *out) {
    bora__internal__v1__finished__init(out);
    out->reason = reason_of(event->finish);
    out->grammar_too_costly = event->finish == FINISH_GRAMMAR;
    out->prompt_tokens = event->prompt_tokens;
    out->completion_tokens = event->completion_tokens;
    out->cached_tokens = event->cached_tokens;
    out->answer = event->answer;
    out->other_logprob_sum = event->other_logprob_sum;
    out->other_logprob_tokens = (int64_t)event->other_logprob_count;
    if (event->error != NULL) out->error = (char *)event->error;
}

enum status convert_grammar(const Bora__Internal__V1__Start *start, struct grammar_source *out, struct error *err) {
    static const enum grammar_space spaces[] = {GRAMMAR_SPACE_MODEL, GRAMMAR_SPACE_COMPACT, GRAMMAR_SPACE_FREE};
    const Bora__Internal__V1__Grammar *in = start->grammar;
    if ((unsigned)in->space >= sizeof spaces / sizeof spaces[0])
        return error_set(err, STATUS_INVALID_ARGUMENT, "a grammar with unknown blanks");
    *out = (struct grammar_source){.text = view_of(in->text),
                                   .space = spaces[in->space],
                                   .order = in->any_order ? GRAMMAR_ORDER_ANY : GRAMMAR_ORDER_SCHEMA};
    switch (in->kind) {
    case BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_JSON_OBJECT:
        out->text = bytes_view_string("{\"type\":\"object\"}");
        return STATUS_OK;
    case BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_JSON_SCHEMA:
        return STATUS_OK;
    case BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_REGEX:
        out->kind = GRAMMAR_KIND_REGEX;
        return STATUS_OK;
    case BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_GBNF:
        out->kind = GRAMMAR_KIND_GBNF;
        return STATUS_OK;
    case BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_LARK:
        out->kind = GRAMMAR_KIND_LARK;
        return STATUS_OK;
    default:
        return error_set(err, STATUS_INVALID_ARGUMENT, "a grammar of an unknown kind");
    }
}

/** What goes into a protobuf string is UTF-8, also where it was cut. */
static char *cut_to_utf8(char *text) {
    text[text_complete_prefix((const uint8_t *)text, strlen(text))] = 0;
    return text;
}

void convert_declined(struct tools_problem *problem, Bora__Internal__V1__GrammarProblem *out_grammar,
                      Bora__Internal__V1__WorkerError *out) {
    out_grammar->keyword = cut_to_utf8(problem->problem.keyword);
    out_grammar->pointer = cut_to_utf8(problem->problem.pointer);
    out_grammar->reason = cut_to_utf8(problem->problem.reason);
    out->grammar = out_grammar;
    if (problem->tool >= 0) {
        out->_tool_case = BORA__INTERNAL__V1__WORKER_ERROR___TOOL_TOOL;
        out->tool = problem->tool;
    }
}
