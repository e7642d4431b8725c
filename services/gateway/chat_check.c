/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * What field rules cannot say: the order of roles, fields that exclude each other, and features that are not there yet. Nothing is
 * passed over in silence: a field that would change the answer and is not supported is a 400 that names it.
 */
#include "base/limits.h"
#include "base/random.h"
#include "services/gateway/chat.h"

#include <stdio.h>
#include <string.h>

/* Mistral's published text for safe_prompt (docs, "Guardrailing"). */
static const char safe_prompt_text[] =
    "Always assist with care, respect, and truth. Respond with utmost utility yet securely. Avoid harmful, unethical, "
    "prejudiced, or negative content. Ensure replies "
    "promote fairness and positivity.";

/* What the engine is told for top_p = 0: less than the likeliest of any vocabulary has, so it leaves that one. */
static const double TOP_P_LEAST = 1e-9;

#define REQUEST_HAS(field, FIELD) (m->_##field##_case == BORA__V1__CHAT_COMPLETION_REQUEST___##FIELD##_##FIELD)

/** At a place in the conversation: "messages.3.tool_calls". */
static bool refuse_at(struct arena *arena, struct api_error *error, size_t message, const char *field,
                      const char *sentence) {
    const char *param = arena_printf(arena, "messages.%zu%s%s", message, *field != 0 ? "." : "", field);
    return chat_refuse(error, param != NULL ? param : "messages", sentence);
}

/* ---- features ------------------------------------------------------------------------------------------------------ */

/** Settings that are known and not served: anything but the neutral value. */
static bool check_unserved(const Bora__V1__ChatCompletionRequest *m, struct api_error *error) {
    if (REQUEST_HAS(moderation, MODERATION)) return chat_refuse(error, "moderation", "Moderation is not supported.");
    if (REQUEST_HAS(min_tokens, MIN_TOKENS) && m->min_tokens > 0)
        return chat_refuse(error, "min_tokens", "min_tokens is not supported; it must be 0 or absent.");
    if (REQUEST_HAS(prompt_logprobs, PROMPT_LOGPROBS) && m->prompt_logprobs)
        return chat_refuse(error, "prompt_logprobs", "Log-probabilities of the prompt are not supported.");
    if (REQUEST_HAS(top_prompt_logprobs, TOP_PROMPT_LOGPROBS) && m->top_prompt_logprobs > 0)
        return chat_refuse(error, "top_prompt_logprobs", "Log-probabilities of the prompt are not supported.");
    const Bora__V1__PromptCacheOptions *cache = m->prompt_cache_options;
    if (cache != NULL && cache->_mode_case == BORA__V1__PROMPT_CACHE_OPTIONS___MODE_MODE &&
        strcmp(cache->mode, "explicit") == 0)
        return chat_refuse(error, "prompt_cache_options.mode",
                           "What is kept of a prompt is not chosen by breakpoints here; mode must be \"implicit\".");
    return true;
}

static bool check_features(const Bora__V1__ChatCompletionRequest *m, struct api_error *error) {
    if (!check_unserved(m, error)) return false;
    if (m->n_guardrails > 0) return chat_refuse(error, "guardrails", "Guardrails are not supported.");
    for (size_t i = 0; i < m->n_modalities; i++) {
        if (strcmp(m->modalities[i], "text") != 0) return chat_refuse(error, "modalities", "Only text is generated.");
    }
    if (REQUEST_HAS(audio, AUDIO)) return chat_refuse(error, "audio", "Audio is not supported.");
    if (REQUEST_HAS(web_search_options, WEB_SEARCH_OPTIONS))
        return chat_refuse(error, "web_search_options", "Web search is not supported.");
    if (REQUEST_HAS(store, STORE) && m->store)
        return chat_refuse(error, "store", "Answers are never stored here; store must be false.");
    if (REQUEST_HAS(prompt_mode, PROMPT_MODE)) return chat_refuse(error, "prompt_mode", "This model does not reason.");
    if (REQUEST_HAS(reasoning_effort, REASONING_EFFORT) && strcmp(m->reasoning_effort, "none") != 0)
        return chat_refuse(error, "reasoning_effort", "This model does not reason; reasoning_effort must be \"none\".");
    if (REQUEST_HAS(verbosity, VERBOSITY) && strcmp(m->verbosity, "medium") != 0)
        return chat_refuse(error, "verbosity", "This model has no verbosity setting; only \"medium\" is accepted.");
    if (m->prediction != NULL && ((REQUEST_HAS(n, N) && m->n > 1) || (REQUEST_HAS(best_of, BEST_OF) && m->best_of > 1)))
        return chat_refuse(error, "prediction", "prediction cannot be combined with n or best_of above 1.");
    return true;
}

/* ---- how many ------------------------------------------------------------------------------------------------------ */

static bool wants_beams(const Bora__V1__ChatCompletionRequest *m) {
    return REQUEST_HAS(use_beam_search, USE_BEAM_SEARCH) && m->use_beam_search;
}

/** n answers out of best_of candidates. */
static bool plan_choices(const Bora__V1__ChatCompletionRequest *m, struct chat_plan *plan, struct api_error *error) {
    int candidates = REQUEST_HAS(best_of, BEST_OF) ? m->best_of : plan->answers;
    bool beams = wants_beams(m);
    if (candidates < plan->answers && REQUEST_HAS(best_of, BEST_OF))
        return chat_refuse(error, "best_of", "best_of must not be below n.");
    if (beams && plan->answers > LIMIT_BEAMS) return chat_refuse(error, "n", "A beam search gives 16 answers at most.");
    if (plan->stream && candidates > plan->answers)
        return chat_refuse(error, "best_of", "What is best is known at the end: best_of above n cannot be streamed.");
    if (plan->stream && beams)
        return chat_refuse(error, "use_beam_search",
                           "What is best is known at the end: a beam search cannot be streamed.");
    plan->choices = beams ? plan->answers : candidates;
    plan->streams = beams ? 1 : candidates;
    return true;
}

/* ---- roles --------------------------------------------------------------------------------------------------------- */

static const char *role_name(const Bora__V1__ChatMessage *message) {
    switch (message->role_case) {
    case BORA__V1__CHAT_MESSAGE__ROLE_SYSTEM:
        return "system";
    case BORA__V1__CHAT_MESSAGE__ROLE_USER:
        return "user";
    case BORA__V1__CHAT_MESSAGE__ROLE_ASSISTANT:
        return "assistant";
    case BORA__V1__CHAT_MESSAGE__ROLE_TOOL:
        return "tool";
    case BORA__V1__CHAT_MESSAGE__ROLE_DEVELOPER:
        return "developer";
    case BORA__V1__CHAT_MESSAGE__ROLE_FUNCTION:
        return "function";
    default:
        return "none";
    }
}

/** May `role` come after `before` (NULL: first)? The strict table is the contract's (2.2, rule 5, and the hosted API's tool rule). */
static bool may_follow(const char *before, const char *role, bool strict) {
    bool tool = strcmp(role, "tool") == 0 || strcmp(role, "function") == 0;
    if (before == NULL) return !tool;
    if (tool) return strcmp(before, "assistant") == 0 || strcmp(before, role) == 0;
    if (!strict) return true;
    if (strcmp(before, "tool") == 0) return strcmp(role, "assistant") == 0;
    if (strcmp(before, "assistant") == 0) return strcmp(role, "user") == 0 || strcmp(role, "assistant") == 0;
    return true;
}

static bool is_prefix(const Bora__V1__ChatMessage *message) {
    return message->role_case == BORA__V1__CHAT_MESSAGE__ROLE_ASSISTANT &&
           message->assistant->_prefix_case == BORA__V1__ASSISTANT_MESSAGE___PREFIX_PREFIX &&
           message->assistant->prefix;
}

static bool check_roles(const Bora__V1__ChatCompletionRequest *m, bool strict, struct api_error *error) {
    const char *before = NULL;
    for (size_t i = 0; i < m->n_messages; i++) {
        const char *role = role_name(m->messages[i]);
        if (!may_follow(before, role, strict)) {
            if (before == NULL)
                *error = api_error_bad_request("invalid_request_message_order", "3230", NULL,
                                               "Unexpected role '%s' at the start of the conversation", role);
            else
                *error = api_error_bad_request("invalid_request_message_order", "3230", NULL,
                                               "Unexpected role '%s' after role '%s'", role, before);
            return false;
        }
        if (is_prefix(m->messages[i]) && i + 1 < m->n_messages) {
            *error = api_error_bad_request("invalid_request_message_order", "3230", NULL,
                                           "Only the last message may have prefix true");
            return false;
        }
        before = role;
    }
    bool answerable = strcmp(before, "user") == 0 || strcmp(before, "tool") == 0 || strcmp(before, "function") == 0 ||
                      is_prefix(m->messages[m->n_messages - 1]);
    if (!answerable)
        *error = api_error_bad_request(
            "invalid_request_message_order", "3230", NULL,
            "Expected last role User or Tool (or Assistant with prefix True) for serving but got %s", before);
    return answerable;
}

/* ---- content ------------------------------------------------------------------------------------------------------- */

/** Is the part a text? `out` is it; else false and the error. */
static bool part_text(const Bora__V1__ContentPart *part, size_t message, size_t index, struct arena *arena,
                      const char **out, struct api_error *error) {
    const char *field = arena_printf(arena, "content.%zu", index);
    if (field == NULL) field = "content";
    const Bora__V1__PromptCacheBreakpoint *mark = NULL;
    switch (part->type_case) {
    case BORA__V1__CONTENT_PART__TYPE_TEXT:
        *out = part->text->text;
        mark = part->text->prompt_cache_breakpoint;
        break;
    case BORA__V1__CONTENT_PART__TYPE_REFUSAL:
        *out = part->refusal->refusal;
        break;
    case BORA__V1__CONTENT_PART__TYPE_IMAGE_URL:
        return refuse_at(arena, error, message, field, "This model cannot see images.");
    default:
        return refuse_at(arena, error, message, field, "This model reads text only; this part is of another type.");
    }
    if (mark == NULL || mark->_ttl_case != BORA__V1__PROMPT_CACHE_BREAKPOINT___TTL_TTL || strcmp(mark->ttl, "30m") == 0)
        return true;
    return refuse_at(arena, error, message, field,
                     "No such lifetime of a cached prompt is promised; ttl must be \"30m\".");
}

/** Texts joined by blank lines (contract 3.4). NULL when memory is out. */
static const char *join_texts(const char *const *texts, size_t count, struct arena *arena) {
    size_t length = 0;
    for (size_t i = 0; i < count; i++) length += strlen(texts[i]) + 2;
    char *text = arena_alloc(arena, length + 1), *end = text;
    for (size_t i = 0; text != NULL && i < count; i++) {
        if (*texts[i] == 0) continue;
        if (end != text) end = stpcpy(end, "\n\n");
        end = stpcpy(end, texts[i]);
    }
    return text;
}

/** The text of a content. False when a part is no text. */
static bool content_text(const Bora__V1__Content *content, size_t message, struct arena *arena, const char **out,
                         struct api_error *error) {
    *out = "";
    if (content == NULL) return true;
    if (content->kind_case == BORA__V1__CONTENT__KIND_TEXT) *out = content->text;
    if (content->kind_case != BORA__V1__CONTENT__KIND_PARTS) return true;
    const Bora__V1__ContentParts *parts = content->parts;
    const char **texts = arena_alloc_array(arena, parts->n_parts, sizeof *texts);
    if (texts == NULL) return chat_refuse(error, "messages", "The request is too large.");
    for (size_t i = 0; i < parts->n_parts; i++) {
        if (!part_text(parts->parts[i], message, i, arena, &texts[i], error)) return false;
    }
    *out = join_texts(texts, parts->n_parts, arena);
    return *out != NULL || chat_refuse(error, "messages", "The request is too large.");
}

/** What an assistant message may have besides content. */
static bool assistant_text(const Bora__V1__AssistantMessage *message, size_t index, struct arena *arena,
                           const char **out, struct api_error *error) {
    if (message->_function_call_case == BORA__V1__ASSISTANT_MESSAGE___FUNCTION_CALL_FUNCTION_CALL)
        return refuse_at(arena, error, index, "function_call",
                         "function_call is OpenAI's older form of tool_calls and not supported.");
    if (message->_audio_case == BORA__V1__ASSISTANT_MESSAGE___AUDIO_AUDIO)
        return refuse_at(arena, error, index, "audio", "Audio is not supported.");
    if (!content_text(message->content, index, arena, out, error)) return false;
    if (message->_refusal_case != BORA__V1__ASSISTANT_MESSAGE___REFUSAL_REFUSAL) return true;
    *out = join_texts((const char *const[]){*out, message->refusal}, 2, arena);
    return *out != NULL || chat_refuse(error, "messages", "The request is too large.");
}

static bool convert_message(const Bora__V1__ChatMessage *message, size_t index, bool strict, struct arena *arena,
                            Bora__Internal__V1__ConversationMessage *out, struct api_error *error) {
    const char *text = "";
    bool converted = false, wordless = false;
    bora__internal__v1__conversation_message__init(out);
    switch (message->role_case) {
    case BORA__V1__CHAT_MESSAGE__ROLE_SYSTEM:
        converted = content_text(message->system->content, index, arena, &text, error);
        break;
    case BORA__V1__CHAT_MESSAGE__ROLE_DEVELOPER:
        converted = content_text(message->developer->content, index, arena, &text, error);
        break;
    case BORA__V1__CHAT_MESSAGE__ROLE_USER:
        out->role = BORA__INTERNAL__V1__CONVERSATION_MESSAGE__ROLE__ROLE_USER;
        converted = content_text(message->user->content, index, arena, &text, error);
        break;
    case BORA__V1__CHAT_MESSAGE__ROLE_TOOL:
        out->role = BORA__INTERNAL__V1__CONVERSATION_MESSAGE__ROLE__ROLE_TOOL;
        converted = content_text(message->tool->content, index, arena, &text, error);
        break;
    case BORA__V1__CHAT_MESSAGE__ROLE_FUNCTION:
        return refuse_at(arena, error, index, "",
                         "The role \"function\" is OpenAI's older form of \"tool\" and not supported.");
    default:
        out->role = BORA__INTERNAL__V1__CONVERSATION_MESSAGE__ROLE__ROLE_ASSISTANT;
        out->prefix = is_prefix(message);
        converted = assistant_text(message->assistant, index, arena, &text, error) &&
                    chat_convert_calls(message->assistant, index, strict, arena, out, error);
        wordless = out->n_tool_calls > 0 && *text == 0;
        break;
    }
    if (wordless) return converted;
    out->_content_case = BORA__INTERNAL__V1__CONVERSATION_MESSAGE___CONTENT_CONTENT;
    out->content = (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)text};
    return converted;
}

static bool convert_conversation(struct request *request, struct chat_plan *plan, struct api_error *error) {
    const Bora__V1__ChatCompletionRequest *m = plan->request;
    bool safe = REQUEST_HAS(safe_prompt, SAFE_PROMPT) && m->safe_prompt;
    size_t count = m->n_messages + safe;
    Bora__Internal__V1__ConversationMessage **list = arena_alloc_array(&request->arena, count, sizeof *list);
    Bora__Internal__V1__ConversationMessage *items = arena_alloc_array(&request->arena, count, sizeof *items);
    if (list == NULL || items == NULL) return chat_refuse(error, "messages", "The request is too large.");
    if (safe) {
        bora__internal__v1__conversation_message__init(&items[0]);
        items[0]._content_case = BORA__INTERNAL__V1__CONVERSATION_MESSAGE___CONTENT_CONTENT;
        items[0].content =
            (ProtobufCBinaryData){.len = sizeof safe_prompt_text - 1, .data = (uint8_t *)safe_prompt_text};
    }
    for (size_t i = 0; i < m->n_messages; i++) {
        if (!convert_message(m->messages[i], i, plan->strict, &request->arena, &items[i + safe], error)) return false;
    }
    if (!chat_pair_results(m, items + safe, &request->arena, error)) return false;
    for (size_t i = 0; i < count; i++) list[i] = &items[i];
    plan->start->messages = list;
    plan->start->n_messages = count;
    if (items[count - 1].prefix) plan->prefix = (const char *)items[count - 1].content.data;
    return true;
}

/* ---- sampling ------------------------------------------------------------------------------------------------------ */

static bool convert_stop(struct request *request, const Bora__V1__StopSequences *stop, Bora__Internal__V1__Start *start,
                         struct api_error *error) {
    if (stop == NULL || stop->kind_case == BORA__V1__STOP_SEQUENCES__KIND__NOT_SET) return true;
    bool one = stop->kind_case == BORA__V1__STOP_SEQUENCES__KIND_ONE;
    size_t count = one ? 1 : stop->many->n_values;
    ProtobufCBinaryData *list = arena_alloc_array(&request->arena, count, sizeof *list);
    if (list == NULL) return chat_refuse(error, "stop", "The request is too large.");
    for (size_t i = 0; i < count; i++) {
        const char *text = one ? stop->one : stop->many->values[i];
        list[i] = (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)text};
    }
    start->stop = list;
    start->n_stop = count;
    return true;
}

/** 422 at the id, as the field rules would say it if maps had rules for their keys. */
static bool invalid_bias(struct arena *arena, int32_t id, struct api_error *error) {
    struct transcode_errors *errors = arena_alloc(arena, sizeof *errors);
    struct transcode_step *path = arena_alloc_array(arena, 3, sizeof *path);
    const char *name = arena_printf(arena, "%d", id);
    if (errors == NULL || path == NULL || name == NULL)
        return chat_refuse(error, "logit_bias", "The request is too large.");
    path[0].name = "logit_bias", path[1].name = name, path[2].name = "[key]";
    errors->count = 1;
    errors->items[0] = (struct transcode_error){.type = "greater_than_equal",
                                                .message = "Input should be greater than or equal to 0",
                                                .path_length = 3,
                                                .path = path,
                                                .input = name,
                                                .context = "{\"ge\":0}"};
    *error = api_error_validation(errors);
    return false;
}

static bool convert_logit_bias(struct request *request, const Bora__V1__ChatCompletionRequest *m,
                               Bora__Internal__V1__Sampling *out, struct api_error *error) {
    size_t count = m->n_logit_bias;
    int32_t *ids = arena_alloc_array(&request->arena, count, sizeof *ids);
    float *values = arena_alloc_array(&request->arena, count, sizeof *values);
    if (ids == NULL || values == NULL) return chat_refuse(error, "logit_bias", "The request is too large.");
    for (size_t i = 0; i < count; i++) {
        if (m->logit_bias[i]->key < 0) return invalid_bias(&request->arena, m->logit_bias[i]->key, error);
        ids[i] = m->logit_bias[i]->key;
        values[i] = (float)m->logit_bias[i]->value;
    }
    out->logit_bias_ids = ids;
    out->logit_bias_values = values;
    out->n_logit_bias_ids = out->n_logit_bias_values = count;
    return true;
}

static bool convert_logprobs(const Bora__V1__ChatCompletionRequest *m, struct chat_plan *plan,
                             Bora__Internal__V1__Sampling *out, struct api_error *error) {
    plan->logprobs = REQUEST_HAS(logprobs, LOGPROBS) && m->logprobs;
    bool top = REQUEST_HAS(top_logprobs, TOP_LOGPROBS) && m->top_logprobs > 0;
    if (top && !plan->logprobs) return chat_refuse(error, "top_logprobs", "top_logprobs needs logprobs to be true.");
    bool needed = plan->logprobs || plan->choices > plan->answers; /* to find the best of them */
    out->top_logprobs = !needed ? -1 : top ? m->top_logprobs : 0;
    return true;
}

static bool convert_seed(const Bora__V1__ChatCompletionRequest *m, struct chat_plan *plan, struct api_error *error) {
    bool ours = REQUEST_HAS(random_seed, RANDOM_SEED), theirs = REQUEST_HAS(seed, SEED);
    if (ours && theirs && m->random_seed != m->seed)
        return chat_refuse(error, "seed", "random_seed and seed are both given and differ.");
    plan->seed = ours || theirs ? (uint64_t)(ours ? m->random_seed : m->seed) : random_number();
    return true;
}

static bool convert_max_tokens(const Bora__V1__ChatCompletionRequest *m, struct chat_plan *plan,
                               struct api_error *error) {
    bool old = REQUEST_HAS(max_tokens, MAX_TOKENS), fresh = REQUEST_HAS(max_completion_tokens, MAX_COMPLETION_TOKENS);
    if (old && fresh && m->max_tokens != m->max_completion_tokens)
        return chat_refuse(error, "max_completion_tokens",
                           "max_tokens and max_completion_tokens are both given and differ.");
    plan->max_tokens_given = old || fresh;
    if (!plan->max_tokens_given) return true;
    plan->start->_max_tokens_case = BORA__INTERNAL__V1__START___MAX_TOKENS_MAX_TOKENS;
    plan->start->max_tokens = old ? m->max_tokens : m->max_completion_tokens;
    return true;
}

/** Settings of drawing, which a search does not do: one that would change the answer must not be passed over. */
static const char *drawing_setting(const Bora__V1__ChatCompletionRequest *m) {
    if (REQUEST_HAS(temperature, TEMPERATURE) && m->temperature > 0) return "temperature";
    if (REQUEST_HAS(top_p, TOP_P) && m->top_p < 1) return "top_p";
    if (REQUEST_HAS(top_k, TOP_K) && m->top_k > 0) return "top_k";
    if (REQUEST_HAS(min_p, MIN_P) && m->min_p > 0) return "min_p";
    if (REQUEST_HAS(typical_p, TYPICAL_P) && m->typical_p < 1) return "typical_p";
    return NULL;
}

static bool convert_beam(struct request *request, struct chat_plan *plan, struct api_error *error) {
    const Bora__V1__ChatCompletionRequest *m = plan->request;
    bool penalty = REQUEST_HAS(length_penalty, LENGTH_PENALTY), search = wants_beams(m);
    if (!search && penalty && m->length_penalty != 1)
        return chat_refuse(error, "length_penalty", "length_penalty needs use_beam_search to be true.");
    if (!search && REQUEST_HAS(early_stopping, EARLY_STOPPING) && m->early_stopping)
        return chat_refuse(error, "early_stopping", "early_stopping needs use_beam_search to be true.");
    if (!search) return true;
    if (REQUEST_HAS(logprobs, LOGPROBS) && m->logprobs)
        return chat_refuse(error, "logprobs", "A beam search gives no log-probabilities.");
    const char *drawing = drawing_setting(m);
    if (drawing != NULL)
        return chat_refuse(error, drawing,
                           "A beam search draws nothing: temperature must be 0, and filters off, or absent.");
    Bora__Internal__V1__BeamSearch *beam = arena_alloc(&request->arena, sizeof *beam);
    if (beam == NULL) return chat_refuse(error, NULL, "The request is too large.");
    bora__internal__v1__beam_search__init(beam);
    beam->width = REQUEST_HAS(best_of, BEST_OF) ? m->best_of : plan->answers;
    beam->answers = plan->answers;
    beam->length_penalty = penalty ? m->length_penalty : 1;
    beam->early_stopping = m->early_stopping;
    plan->start->beam = beam;
    plan->start->sampling->temperature = 0;
    return true;
}

static bool convert_sampling(struct request *request, struct chat_plan *plan, struct api_error *error) {
    const Bora__V1__ChatCompletionRequest *m = plan->request;
    Bora__Internal__V1__Sampling *sampling = arena_alloc(&request->arena, sizeof *sampling);
    if (sampling == NULL) return chat_refuse(error, NULL, "The request is too large.");
    bora__internal__v1__sampling__init(sampling);
    plan->start->sampling = sampling;
    sampling->temperature = REQUEST_HAS(temperature, TEMPERATURE)
                                ? m->temperature
                                : -1; /* -1: the model's default, filled in when the model is known */
    sampling->top_p = !REQUEST_HAS(top_p, TOP_P) ? 1 : m->top_p > 0 ? m->top_p : TOP_P_LEAST;
    sampling->presence_penalty = REQUEST_HAS(presence_penalty, PRESENCE_PENALTY) ? m->presence_penalty : 0;
    sampling->frequency_penalty = REQUEST_HAS(frequency_penalty, FREQUENCY_PENALTY) ? m->frequency_penalty : 0;
    sampling->top_k = REQUEST_HAS(top_k, TOP_K) && m->top_k > 0 ? m->top_k : 0; /* -1 is vLLM's word for off */
    sampling->min_p = m->min_p; /* absent: 0, which is off, as in the next two */
    sampling->typical_p = m->typical_p;
    sampling->repetition_penalty = m->repetition_penalty;
    return convert_beam(request, plan, error) && convert_logprobs(m, plan, sampling, error) &&
           convert_logit_bias(request, m, sampling, error) && convert_stop(request, m->stop, plan->start, error) &&
           convert_seed(m, plan, error) && convert_max_tokens(m, plan, error);
}

/** Among the requests of one tenant; tiers mean nothing else here. */
static int32_t priority_of(const char *service_tier) {
    if (service_tier == NULL) return 0;
    return strcmp(service_tier, "priority") == 0 ? 1 : strcmp(service_tier, "flex") == 0 ? -1 : 0;
}

static Bora__Internal__V1__Start__Truncation truncation_of(const char *truncation) {
    if (truncation == NULL || *truncation == 0) return BORA__INTERNAL__V1__START__TRUNCATION__TRUNCATION_MODEL;
    return strcmp(truncation, "auto") == 0 ? BORA__INTERNAL__V1__START__TRUNCATION__TRUNCATION_AUTO
                                           : BORA__INTERNAL__V1__START__TRUNCATION__TRUNCATION_DISABLED;
}

bool chat_check(struct request *request, const Bora__V1__ChatCompletionRequest *message, bool stream,
                struct chat_plan *plan, struct api_error *error) {
    const Bora__V1__ChatCompletionRequest *m = message;
    *plan = (struct chat_plan){.request = m,
                               .stream = stream,
                               .answers = REQUEST_HAS(n, N) ? m->n : 1,
                               .strict = request->gateway->dialect.strict};
    plan->usage_chunk =
        m->stream_options != NULL &&
        m->stream_options->_include_usage_case == BORA__V1__STREAM_OPTIONS___INCLUDE_USAGE_INCLUDE_USAGE &&
        m->stream_options->include_usage;
    if (m->stream_options != NULL && !stream)
        return chat_refuse(error, "stream_options", "stream_options needs stream to be true.");
    if (m->n_messages == 0) return chat_refuse(error, "messages", "The conversation is empty.");
    plan->start = arena_alloc(&request->arena, sizeof *plan->start);
    if (plan->start == NULL) return chat_refuse(error, NULL, "The request is too large.");
    bora__internal__v1__start__init(plan->start);
    plan->start->priority = priority_of(m->service_tier);
    plan->start->truncation = truncation_of(m->truncation);
    return check_roles(m, plan->strict, error) && check_features(m, error) && plan_choices(m, plan, error) &&
           convert_conversation(request, plan, error) && convert_sampling(request, plan, error) &&
           chat_convert_tools(request, plan, error) && chat_convert_format(request, plan, error);
}
