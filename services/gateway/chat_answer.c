/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Worker events as chunks and answers of the public interface. */
#include "base/text.h"
#include "services/gateway/chat.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/** Text of a worker as a C string of the arena: a NUL character, which a string cannot hold, becomes U+FFFD, and so does invalid UTF-8. */
static char *string_of(ProtobufCBinaryData data, struct arena *arena) {
    if (data.len == 0) return arena_copy(arena, "", 0);
    if (memchr(data.data, 0, data.len) == NULL && text_is_utf8(data.data, data.len))
        return arena_copy(arena, data.data, data.len);
    char *out = arena_alloc(arena, 3 * data.len + 1), *end = out;
    if (out == NULL) return NULL;
    for (size_t at = 0; at < data.len;) {
        uint32_t code_point;
        bool valid;
        size_t used = text_decode(data.data + at, data.len - at, &code_point, &valid);
        if (!valid || code_point == 0)
            end = stpcpy(end, "\xEF\xBF\xBD");
        else
            end = mempcpy(end, data.data + at, used);
        at += used;
    }
    *end = 0;
    return out;
}

/* ---- log-probabilities --------------------------------------------------------------------------------------------- */

static int32_t *bytes_list(ProtobufCBinaryData token, struct arena *arena) {
    int32_t *list = arena_alloc_array(arena, token.len, sizeof *list);
    for (size_t i = 0; list != NULL && i < token.len; i++) list[i] = token.data[i];
    return list;
}

static Bora__V1__TopLogprob *make_top(const Bora__Internal__V1__Alternative *in, struct arena *arena) {
    Bora__V1__TopLogprob *out = arena_alloc(arena, sizeof *out);
    if (out == NULL) return NULL;
    bora__v1__top_logprob__init(out);
    out->token = string_of(in->token, arena);
    out->logprob = in->logprob;
    out->bytes = bytes_list(in->token, arena);
    out->n_bytes = in->token.len;
    return out->token != NULL && out->bytes != NULL ? out : NULL;
}

static Bora__V1__TokenLogprob *make_logprob(const Bora__Internal__V1__TokenLogprob *in, struct arena *arena) {
    Bora__V1__TokenLogprob *out = arena_alloc(arena, sizeof *out);
    Bora__V1__TopLogprob **tops = arena_alloc_array(arena, in->n_alternatives, sizeof *tops);
    if (out == NULL || tops == NULL) return NULL;
    bora__v1__token_logprob__init(out);
    out->token = string_of(in->token, arena);
    out->logprob = in->logprob;
    out->bytes = bytes_list(in->token, arena);
    out->n_bytes = in->token.len;
    out->top_logprobs = tops;
    out->n_top_logprobs = in->n_alternatives;
    for (size_t i = 0; i < in->n_alternatives; i++) {
        tops[i] = make_top(in->alternatives[i], arena);
        if (tops[i] == NULL) return NULL;
    }
    return out->token != NULL && out->bytes != NULL ? out : NULL;
}

/** The event's log-probabilities as a list in `arena`, or NULL when they do not fit. */
static Bora__V1__TokenLogprob **make_logprobs(const Bora__Internal__V1__Delta *delta, struct arena *arena) {
    Bora__V1__TokenLogprob **list = arena_alloc_array(arena, delta->n_logprobs, sizeof *list);
    for (size_t i = 0; list != NULL && i < delta->n_logprobs; i++) {
        list[i] = make_logprob(delta->logprobs[i], arena);
        if (list[i] == NULL) return NULL;
    }
    return list;
}

static void keep_logprobs(struct chat *chat, struct chat_choice *choice, const Bora__Internal__V1__Delta *delta) {
    size_t count = delta->n_logprobs;
    Bora__V1__TokenLogprob **list = make_logprobs(delta, &chat->answer);
    if (list != NULL && choice->logprob_count + count > choice->logprob_capacity) {
        size_t capacity = 2 * (choice->logprob_count + count);
        Bora__V1__TokenLogprob **grown = realloc(choice->logprobs, capacity * sizeof *grown);
        if (grown != NULL) {
            choice->logprobs = grown;
            choice->logprob_capacity = capacity;
        }
    }
    if (list == NULL || choice->logprob_count + count > choice->logprob_capacity) {
        choice->failed = true;
        return;
    }
    if (count > 0) memcpy(choice->logprobs + choice->logprob_count, list, count * sizeof *list);
    choice->logprob_count += count;
}

/* ---- shared by chunks and answers ---------------------------------------------------------------------------------- */

/** A call of the answer, in `arena`; number `index` of it. NULL: it does not fit. */
static Bora__V1__ToolCall *make_call(const Bora__Internal__V1__ToolCall *in, size_t index, struct arena *arena) {
    Bora__V1__ToolCall *out = arena_alloc(arena, sizeof *out);
    Bora__V1__FunctionCall *function = arena_alloc(arena, sizeof *function);
    Bora__V1__FunctionArguments *arguments = arena_alloc(arena, sizeof *arguments);
    if (out == NULL || function == NULL || arguments == NULL) return NULL;
    bora__v1__tool_call__init(out);
    bora__v1__function_call__init(function);
    bora__v1__function_arguments__init(arguments);
    out->_id_case = BORA__V1__TOOL_CALL___ID_ID;
    out->id = arena_copy(arena, in->id, strlen(in->id));
    out->_type_case = BORA__V1__TOOL_CALL___TYPE_TYPE;
    out->type = "function";
    out->_index_case = BORA__V1__TOOL_CALL___INDEX_INDEX;
    out->index = (int32_t)index;
    out->function = function;
    function->name = arena_copy(arena, in->name, strlen(in->name));
    function->arguments = arguments;
    arguments->kind_case = BORA__V1__FUNCTION_ARGUMENTS__KIND_TEXT;
    arguments->text = string_of(in->arguments, arena);
    return out->id != NULL && function->name != NULL && arguments->text != NULL ? out : NULL;
}

static char *finish_reason_of(const struct chat *chat, const struct chat_choice *choice) {
    switch (choice->reason) {
    case BORA__INTERNAL__V1__FINISHED__REASON__REASON_LENGTH:
        return "length";
    /* OpenAI knows no model_length, and Mistral's chunks do not either. */
    case BORA__INTERNAL__V1__FINISHED__REASON__REASON_MODEL_LENGTH:
        return chat->plan.strict && !chat->plan.stream ? "model_length" : "length";
    case BORA__INTERNAL__V1__FINISHED__REASON__REASON_ERROR:
        return "error";
    default:
        return choice->call_count > 0 ? "tool_calls" : "stop";
    }
}

/** Usage with its parts, which must live as long. */
struct usage_parts {
    Bora__V1__Usage usage;
    Bora__V1__PromptTokensDetails details;
    Bora__V1__DroppedTurns dropped;
};

static void fill_usage(const struct chat *chat, struct usage_parts *parts) {
    Bora__V1__Usage *out = &parts->usage;
    Bora__V1__PromptTokensDetails *details = &parts->details;
    const struct chat_choice *first = &chat->choices[0];
    bora__v1__usage__init(out);
    bora__v1__prompt_tokens_details__init(details);
    out->prompt_tokens = first->prompt_tokens;
    for (int i = 0; i < chat->choice_count; i++) out->completion_tokens += chat->choices[i].completion_tokens;
    out->total_tokens = out->prompt_tokens + out->completion_tokens;
    details->cached_tokens = first->cached_tokens;
    if (details->cached_tokens > 0) out->prompt_tokens_details = details;
    bora__v1__dropped_turns__init(&parts->dropped);
    parts->dropped.dropped_messages = first->dropped_messages;
    parts->dropped.dropped_tokens = first->dropped_tokens;
    if (first->dropped_messages > 0) out->truncation = &parts->dropped;
}

/* ---- chunks -------------------------------------------------------------------------------------------------------- */

/** A chunk with one choice, as parts that lend from each other. */
struct chunk_parts {
    Bora__V1__ChatCompletionChunk chunk;
    Bora__V1__ChunkChoice choice;
    Bora__V1__ChunkChoice *choices[1];
    Bora__V1__Delta delta;
    Bora__V1__Logprobs logprobs;
};

static void init_chunk(struct chat *chat, const struct chat_choice *choice, struct chunk_parts *parts) {
    bora__v1__chat_completion_chunk__init(&parts->chunk);
    bora__v1__chunk_choice__init(&parts->choice);
    bora__v1__delta__init(&parts->delta);
    bora__v1__logprobs__init(&parts->logprobs);
    parts->chunk.id = chat->request->id;
    parts->chunk.object = "chat.completion.chunk";
    parts->chunk.created = chat->created;
    parts->chunk.model = chat->request->model;
    parts->choices[0] = &parts->choice;
    parts->chunk.choices = parts->choices;
    parts->chunk.n_choices = 1;
    parts->choice.index = choice->index;
    parts->choice.delta = &parts->delta;
}

static void set_content(Bora__V1__Delta *delta, char *content) {
    delta->_content_case = BORA__V1__DELTA___CONTENT_CONTENT;
    delta->content = content;
}

static void send_chunk(struct chat *chat, const Bora__V1__ChatCompletionChunk *chunk) {
    chat->sent = true;
    chat->request->front->chunk(chat->request, &chunk->base);
}

/** The first chunk of a choice: its role, and the text it continues. */
static void send_role(struct chat *chat, struct chat_choice *choice) {
    if (choice->role_sent) return;
    choice->role_sent = true;
    struct chunk_parts parts;
    init_chunk(chat, choice, &parts);
    parts.delta._role_case = BORA__V1__DELTA___ROLE_ROLE;
    parts.delta.role = "assistant";
    set_content(&parts.delta, "");
    send_chunk(chat, &parts.chunk);
    if (chat->plan.prefix == NULL || *chat->plan.prefix == 0) return;
    init_chunk(chat, choice, &parts);
    set_content(&parts.delta, (char *)chat->plan.prefix);
    send_chunk(chat, &parts.chunk);
}

static void stream_thought(struct chat *chat, struct chat_choice *choice, ProtobufCBinaryData thought) {
    struct chunk_parts parts;
    init_chunk(chat, choice, &parts);
    parts.delta._reasoning_content_case = BORA__V1__DELTA___REASONING_CONTENT_REASONING_CONTENT;
    parts.delta.reasoning_content = string_of(thought, &chat->scratch);
    if (parts.delta.reasoning_content == NULL)
        choice->failed = true;
    else
        send_chunk(chat, &parts.chunk);
}

/** Each call, whole, in a chunk of its own. */
static void stream_calls(struct chat *chat, struct chat_choice *choice, const Bora__Internal__V1__Delta *delta) {
    for (size_t i = 0; i < delta->n_tool_calls; i++) {
        struct chunk_parts parts;
        Bora__V1__ToolCall *call = make_call(delta->tool_calls[i], choice->call_count, &chat->scratch);
        if (call == NULL) {
            choice->failed = true;
            return;
        }
        choice->call_count++;
        init_chunk(chat, choice, &parts);
        parts.delta.tool_calls = &call;
        parts.delta.n_tool_calls = 1;
        send_chunk(chat, &parts.chunk);
    }
}

static void stream_text(struct chat *chat, struct chat_choice *choice, const Bora__Internal__V1__Delta *delta) {
    struct chunk_parts parts;
    init_chunk(chat, choice, &parts);
    char *text = string_of(delta->text, &chat->scratch);
    set_content(&parts.delta, text);
    if (chat->plan.logprobs) {
        parts.logprobs.content = make_logprobs(delta, &chat->scratch);
        parts.logprobs.n_content = delta->n_logprobs;
        parts.choice.logprobs = &parts.logprobs;
    }
    if (text == NULL || (chat->plan.logprobs && parts.logprobs.content == NULL)) {
        choice->failed = true;
        return;
    }
    send_chunk(chat, &parts.chunk);
}

static void stream_delta(struct chat *chat, struct chat_choice *choice, const Bora__Internal__V1__Delta *delta) {
    send_role(chat, choice);
    if (delta->thought.len > 0) stream_thought(chat, choice, delta->thought);
    /* Without either, the token's text is held back. */
    if (delta->text.len > 0 || delta->n_logprobs > 0) stream_text(chat, choice, delta);
    if (delta->n_tool_calls > 0) stream_calls(chat, choice, delta);
}

static void keep_calls(struct chat *chat, struct chat_choice *choice, const Bora__Internal__V1__Delta *delta) {
    size_t count = choice->call_count + delta->n_tool_calls;
    if (count > choice->call_capacity) {
        Bora__V1__ToolCall **grown = realloc(choice->calls, 2 * count * sizeof(Bora__V1__ToolCall *));
        if (grown == NULL) {
            choice->failed = true;
            return;
        }
        choice->calls = grown;
        choice->call_capacity = 2 * count;
    }
    for (size_t i = 0; i < delta->n_tool_calls; i++) {
        Bora__V1__ToolCall *call = make_call(delta->tool_calls[i], choice->call_count, &chat->answer);
        if (call == NULL)
            choice->failed = true;
        else
            choice->calls[choice->call_count++] = call;
    }
}

static void keep_text(struct chat *chat, struct chat_choice *choice, ProtobufCBinaryData data, struct bytes *out) {
    char *text = string_of(data, &chat->scratch);
    if (text == NULL || bytes_append_string(out, text) != STATUS_OK)
        choice->failed = true; /* at which the caller looks */
}

void chat_send_delta(struct chat *chat, struct chat_choice *choice, const Bora__Internal__V1__Delta *delta) {
    if (chat->plan.stream) {
        stream_delta(chat, choice, delta);
        return;
    }
    keep_text(chat, choice, delta->text, &choice->text);
    if (delta->thought.len > 0) keep_text(chat, choice, delta->thought, &choice->thought);
    if (delta->n_tool_calls > 0) keep_calls(chat, choice, delta);
    if (chat->plan.logprobs) keep_logprobs(chat, choice, delta);
    for (size_t i = 0; i < delta->n_logprobs; i++) choice->logprob_sum += delta->logprobs[i]->logprob;
    choice->logprob_tokens += (int64_t)delta->n_logprobs;
}

void chat_send_finish(struct chat *chat, struct chat_choice *choice, bool last) {
    struct chunk_parts parts;
    struct usage_parts usage;
    send_role(chat, choice);
    init_chunk(chat, choice, &parts);
    set_content(&parts.delta, "");
    parts.choice._finish_reason_case = BORA__V1__CHUNK_CHOICE___FINISH_REASON_FINISH_REASON;
    parts.choice.finish_reason = finish_reason_of(chat, choice);
    fill_usage(chat, &usage);
    if (last && !chat->plan.usage_chunk) parts.chunk.usage = &usage.usage;
    send_chunk(chat, &parts.chunk);
    if (!last) return;
    if (chat->plan.usage_chunk) {
        parts.chunk.n_choices = 0;
        parts.chunk.usage = &usage.usage;
        send_chunk(chat, &parts.chunk);
    }
    chat->request->front->end(chat->request);
}

static bool is_broken(const struct chat_choice *choice) {
    return !choice->finished || choice->reason == BORA__INTERNAL__V1__FINISHED__REASON__REASON_ERROR;
}

void chat_send_broken(struct chat *chat, const struct api_error *error) {
    Bora__V1__ApiError why;
    int last = chat->choice_count - 1;
    while (last > 0 && !is_broken(&chat->choices[last])) last--;
    api_error_fill(error, chat->request->id, &why);
    for (int i = 0; i < chat->choice_count; i++) {
        struct chunk_parts parts;
        if (!is_broken(&chat->choices[i])) continue;
        init_chunk(chat, &chat->choices[i], &parts);
        set_content(&parts.delta, "");
        parts.choice._finish_reason_case = BORA__V1__CHUNK_CHOICE___FINISH_REASON_FINISH_REASON;
        parts.choice.finish_reason = "error";
        if (i == last && !chat->plan.strict) parts.chunk.error = &why;
        send_chunk(chat, &parts.chunk);
    }
    chat->request->front->end(chat->request);
}

/* ---- whole answers ------------------------------------------------------------------------------------------------- */

static Bora__V1__Choice *make_choice(struct chat *chat, struct chat_choice *choice, int index) {
    struct arena *arena = &chat->answer;
    Bora__V1__Choice *out = arena_alloc(arena, sizeof *out);
    Bora__V1__ResponseMessage *message = arena_alloc(arena, sizeof *message);
    Bora__V1__Content *content = arena_alloc(arena, sizeof *content);
    Bora__V1__Logprobs *logprobs = arena_alloc(arena, sizeof *logprobs);
    if (out == NULL || message == NULL || content == NULL || logprobs == NULL) return NULL;
    bora__v1__choice__init(out);
    bora__v1__response_message__init(message);
    bora__v1__content__init(content);
    bora__v1__logprobs__init(logprobs);
    content->kind_case = BORA__V1__CONTENT__KIND_TEXT;
    content->text = arena_printf(arena, "%s%s", chat->plan.prefix != NULL ? chat->plan.prefix : "",
                                 choice->text.data != NULL ? (const char *)choice->text.data : "");
    if (content->text == NULL) return NULL;
    message->role = "assistant";
    /* With calls and nothing else, Mistral has an empty text and OpenAI none. */
    bool wordless = choice->call_count > 0 && *content->text == 0 && !chat->plan.strict;
    message->content = wordless ? NULL : content;
    message->tool_calls = choice->calls;
    message->n_tool_calls = choice->call_count;
    if (choice->thought.length > 0) {
        message->_reasoning_content_case = BORA__V1__RESPONSE_MESSAGE___REASONING_CONTENT_REASONING_CONTENT;
        message->reasoning_content = (char *)choice->thought.data;
    }
    out->index = index;
    out->message = message;
    out->_finish_reason_case = BORA__V1__CHOICE___FINISH_REASON_FINISH_REASON;
    out->finish_reason = finish_reason_of(chat, choice);
    if (chat->plan.logprobs) {
        logprobs->content = choice->logprobs;
        logprobs->n_content = choice->logprob_count;
        out->logprobs = logprobs;
    }
    return out;
}

/** Mean log-probability of a token; without tokens, below every other. */
static double score(const struct chat_choice *choice) {
    return choice->logprob_tokens > 0 ? choice->logprob_sum / (double)choice->logprob_tokens : -INFINITY;
}

/** All choices: in their order, or with best_of the likeliest first, the earlier first among equals. */
static void rank_choices(struct chat *chat, struct chat_choice *out[LIMIT_CHOICES]) {
    for (int i = 0; i < chat->choice_count; i++) {
        int place = i;
        if (chat->choice_count > chat->plan.answers) {
            for (; place > 0 && score(&chat->choices[i]) > score(out[place - 1]); place--) out[place] = out[place - 1];
        }
        out[place] = &chat->choices[i];
    }
}

void chat_send_answer(struct chat *chat) {
    Bora__V1__ChatCompletionResponse response = BORA__V1__CHAT_COMPLETION_RESPONSE__INIT;
    struct usage_parts usage;
    Bora__V1__Choice *choices[LIMIT_CHOICES];
    struct chat_choice *best[LIMIT_CHOICES];
    rank_choices(chat, best);
    for (int i = 0; i < chat->plan.answers; i++) {
        choices[i] = make_choice(chat, best[i], i);
        if (choices[i] != NULL) continue;
        struct api_error error = api_error_make(500, STATUS_RESOURCE_EXHAUSTED, "server_error", NULL,
                                                "The answer is too large to be sent whole; stream it.");
        request_fail(chat->request, &error);
        return;
    }
    fill_usage(chat, &usage);
    response.id = chat->request->id;
    response.object = "chat.completion";
    response.created = chat->created;
    response.model = chat->request->model;
    response.choices = choices;
    response.n_choices = (size_t)chat->plan.answers;
    response.usage = &usage.usage;
    chat->sent = true;
    request_answer(chat->request, &response.base);
}
