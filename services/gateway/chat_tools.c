/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Tools: what the worker is told of them, the calls and results of a conversation, and what the client is told of a tool that cannot be enforced.
 *
 * Ids of calls are nine letters and digits in the layouts (Mistral's rule); the relaxed dialect takes any other and hands the model nine that stand for it.
 */
#include "base/json.h"
#include "base/limits.h"
#include "base/random.h"
#include "services/gateway/chat.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

typedef Bora__Internal__V1__ToolCall WorkerCall;
typedef Bora__Internal__V1__ConversationMessage WorkerMessage;

enum { CALL_ID_LENGTH = 9 };

static const char too_large[] = "The request is too large.";

/** Is it given, and another than "function"? */
static bool is_other_type(const char *type) {
    return type != NULL && *type != 0 && strcmp(type, "function") != 0;
}

/* ---- errors with a path ---------------------------------------------------------------------------------------------- */

/** 422 at a path of names and, where a name is NULL, indices. */
static bool invalid(struct arena *arena, struct api_error *error, const struct transcode_step *path, size_t length,
                    const char *type, const char *message) {
    struct transcode_errors *errors = arena_alloc(arena, sizeof *errors);
    struct transcode_step *steps = arena_alloc_array(arena, length, sizeof *steps);
    if (errors == NULL || steps == NULL || message == NULL) return chat_refuse(error, NULL, too_large);
    memcpy(steps, path, length * sizeof *steps);
    errors->count = 1;
    errors->items[0] = (struct transcode_error){.type = type, .message = message, .path_length = length, .path = steps};
    *error = api_error_validation(errors);
    return false;
}

static bool missing_function(struct arena *arena, struct api_error *error, size_t tool) {
    const struct transcode_step path[] = {{.name = "tools"}, {.index = (int64_t)tool}, {.name = "function"}};
    return invalid(arena, error, path, 3, "missing", "Field required");
}

/* ---- tools and the choice -------------------------------------------------------------------------------------------- */

static bool convert_tool(const Bora__V1__Tool *in, size_t index, struct arena *arena, Bora__Internal__V1__Tool *out,
                         struct api_error *error) {
    bora__internal__v1__tool__init(out);
    if (is_other_type(in->type))
        return chat_refuse(error, arena_printf(arena, "tools.%zu.type", index),
                           "Only tools of the type \"function\" are supported.");
    if (in->function == NULL) return missing_function(arena, error, index);
    const Bora__V1__FunctionDefinition *function = in->function;
    out->name = function->name;
    out->strict = function->strict;
    if (function->_description_case == BORA__V1__FUNCTION_DEFINITION___DESCRIPTION_DESCRIPTION) {
        out->_description_case = BORA__INTERNAL__V1__TOOL___DESCRIPTION_DESCRIPTION;
        out->description = function->description;
    }
    if (function->_parameters_case == BORA__V1__FUNCTION_DEFINITION___PARAMETERS_PARAMETERS) {
        out->_parameters_case = BORA__INTERNAL__V1__TOOL___PARAMETERS_PARAMETERS;
        out->parameters =
            (ProtobufCBinaryData){.len = strlen(function->parameters), .data = (uint8_t *)function->parameters};
    }
    return true;
}

static bool convert_tool_list(struct request *request, struct chat_plan *plan, struct api_error *error) {
    const Bora__V1__ChatCompletionRequest *m = plan->request;
    struct arena *arena = &request->arena;
    Bora__Internal__V1__Tool **list = arena_alloc_array(arena, m->n_tools, sizeof *list);
    Bora__Internal__V1__Tool *items = arena_alloc_array(arena, m->n_tools, sizeof *items);
    if (list == NULL || items == NULL) return chat_refuse(error, "tools", too_large);
    for (size_t i = 0; i < m->n_tools; i++) {
        if (!convert_tool(m->tools[i], i, arena, &items[i], error)) return false;
        for (size_t j = 0; j < i; j++) {
            if (strcmp(items[i].name, items[j].name) == 0)
                return chat_refuse(error, arena_printf(arena, "tools.%zu.function.name", i),
                                   "Two tools have this name.");
        }
        list[i] = &items[i];
    }
    plan->start->tools = list;
    plan->start->n_tools = m->n_tools;
    return true;
}

/** The tool of that name; -1: there is none. */
static int32_t find_tool(const Bora__Internal__V1__Start *start, struct bytes_view name) {
    for (size_t i = 0; i < start->n_tools; i++)
        if (bytes_view_equal_string(name, start->tools[i]->name)) return (int32_t)i;
    return -1;
}

/** One of OpenAI's allowed tools: {"type": "function", "function": {"name": "f"}}, or the name beside the type. -1: none. */
static int32_t find_allowed(const Bora__Internal__V1__Start *start, const char *text, struct arena *arena) {
    struct json_value *tool = NULL;
    struct json_problem wrong;
    if (json_read(bytes_view_string(text), LIMIT_JSON_DEPTH, LIMIT_PROTO_ELEMENTS, arena, &tool, &wrong) != STATUS_OK)
        return -1;
    const struct json_value *name = json_member(json_member(tool, "function"), "name");
    if (name == NULL) name = json_member(tool, "name");
    return name != NULL && name->kind == JSON_KIND_STRING ? find_tool(start, name->string) : -1;
}

static bool convert_allowed(const Bora__V1__AllowedTools *allowed, struct arena *arena, struct chat_plan *plan,
                            Bora__Internal__V1__ToolChoice *out, struct api_error *error) {
    if (allowed == NULL || allowed->n_tools == 0)
        return chat_refuse(error, "tool_choice.allowed_tools", "allowed_tools needs the tools that are allowed.");
    out->callable = arena_alloc_array(arena, allowed->n_tools, sizeof *out->callable);
    if (out->callable == NULL) return chat_refuse(error, "tool_choice", too_large);
    for (size_t i = 0; i < allowed->n_tools; i++) {
        int32_t tool = find_allowed(plan->start, allowed->tools[i], arena);
        if (tool < 0)
            return chat_refuse(error, arena_printf(arena, "tool_choice.allowed_tools.tools.%zu", i),
                               "This is none of the tools.");
        bool twice = false;
        for (size_t j = 0; j < out->n_callable; j++) twice = twice || out->callable[j] == tool;
        if (!twice) out->callable[out->n_callable++] = tool;
    }
    if (chat_is_word(allowed->mode, "required")) out->mode = BORA__INTERNAL__V1__TOOL_CHOICE__MODE__MODE_REQUIRED;
    return true;
}

static bool convert_named(const Bora__V1__NamedToolChoice *named, struct arena *arena, struct chat_plan *plan,
                          Bora__Internal__V1__ToolChoice *out, struct api_error *error) {
    if (chat_is_word(named->type, "allowed_tools"))
        return convert_allowed(named->allowed_tools, arena, plan, out, error);
    if (is_other_type(named->type)) return chat_refuse(error, "tool_choice.type", "Only functions can be called.");
    if (named->function == NULL)
        return chat_refuse(error, "tool_choice.function", "tool_choice needs a function's name.");
    int32_t tool = find_tool(plan->start, bytes_view_string(named->function->name));
    if (tool < 0) {
        *error = api_error_bad_request("invalid_request_error", NULL, "tool_choice.function.name",
                                       "No tool is named %.64s; the first of %zu is %.64s.", named->function->name,
                                       plan->start->n_tools, plan->start->tools[0]->name);
        return false;
    }
    out->callable = arena_alloc_array(arena, 1, sizeof *out->callable);
    if (out->callable == NULL) return chat_refuse(error, "tool_choice", too_large);
    out->callable[out->n_callable++] = tool;
    out->mode = BORA__INTERNAL__V1__TOOL_CHOICE__MODE__MODE_REQUIRED;
    return true;
}

static bool convert_mode(const char *mode, Bora__Internal__V1__ToolChoice *out) {
    if (chat_is_word(mode, "none")) out->mode = BORA__INTERNAL__V1__TOOL_CHOICE__MODE__MODE_NONE;
    if (chat_is_word(mode, "any") || chat_is_word(mode, "required"))
        out->mode = BORA__INTERNAL__V1__TOOL_CHOICE__MODE__MODE_REQUIRED;
    return true;
}

/** Of a request without tools only what asks for none makes sense. */
static bool check_no_choice(const Bora__V1__ToolChoice *choice, struct api_error *error) {
    bool word = choice == NULL || choice->kind_case == BORA__V1__TOOL_CHOICE__KIND__NOT_SET ||
                (choice->kind_case == BORA__V1__TOOL_CHOICE__KIND_MODE &&
                 (chat_is_word(choice->mode, "none") || chat_is_word(choice->mode, "auto")));
    return word || chat_refuse(error, "tool_choice", "tool_choice asks for a tool, but there are no tools.");
}

bool chat_convert_tools(struct request *request, struct chat_plan *plan, struct api_error *error) {
    const Bora__V1__ChatCompletionRequest *m = plan->request;
    const Bora__V1__ToolChoice *choice = m->tool_choice;
    if (m->n_functions > 0 || m->_function_call_case == BORA__V1__CHAT_COMPLETION_REQUEST___FUNCTION_CALL_FUNCTION_CALL)
        return chat_refuse(error, m->n_functions > 0 ? "functions" : "function_call",
                           "functions are OpenAI's older form of tools and not supported; send tools.");
    if (m->n_tools == 0) return check_no_choice(choice, error);
    if (!convert_tool_list(request, plan, error)) return false;
    Bora__Internal__V1__ToolChoice *out = arena_alloc(&request->arena, sizeof *out);
    if (out == NULL) return chat_refuse(error, "tool_choice", too_large);
    bora__internal__v1__tool_choice__init(out);
    plan->start->tool_choice = out;
    bool said =
        m->_parallel_tool_calls_case == BORA__V1__CHAT_COMPLETION_REQUEST___PARALLEL_TOOL_CALLS_PARALLEL_TOOL_CALLS;
    out->parallel = !said || m->parallel_tool_calls;
    if (plan->start->beam != NULL && plan->start->n_stop > 0)
        return chat_refuse(error, "stop", "A beam search with tools takes no stop strings.");
    if (choice == NULL || choice->kind_case == BORA__V1__TOOL_CHOICE__KIND__NOT_SET) return true;
    return choice->kind_case == BORA__V1__TOOL_CHOICE__KIND_MODE
               ? convert_mode(choice->mode, out)
               : convert_named(choice->named, &request->arena, plan, out, error);
}

bool chat_may_call(const Bora__Internal__V1__Start *start) {
    return start->n_tools > 0 && start->tool_choice->mode != BORA__INTERNAL__V1__TOOL_CHOICE__MODE__MODE_NONE;
}

/* ---- calls and results of the conversation --------------------------------------------------------------------------- */

static bool is_call_id(const char *id) {
    size_t length = strlen(id);
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)id[i])) return false;
    return length == CALL_ID_LENGTH;
}

/** Mistral's client writes "null" for an id that there is not. */
static bool is_id_given(const char *id) {
    return id != NULL && *id != 0 && strcmp(id, "null") != 0;
}

/** The id that the model sees for one of another form: the same for the same. */
static char *stand_in(const char *id, uint64_t salt, struct arena *arena) {
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint64_t hash = 0xcbf29ce484222325 ^ salt; /* FNV-1a, mixed */
    for (const char *at = id; *at != 0; at++) hash = (hash ^ (uint8_t)*at) * 0x100000001b3;
    hash = random_philox(hash, salt, 0);
    char *out = arena_alloc(arena, CALL_ID_LENGTH + 1);
    for (int i = 0; out != NULL && i < CALL_ID_LENGTH; i++, hash /= 62) out[i] = digits[hash % 62];
    return out;
}

/** JSON of an object, whether it came as text or as one. NULL: it is none. Empty text is what some clients send for {}. */
static const char *arguments_text(const Bora__V1__FunctionArguments *arguments) {
    enum json_kind kind;
    if (arguments->kind_case == BORA__V1__FUNCTION_ARGUMENTS__KIND_OBJECT) return arguments->object->json;
    const char *text = arguments->text;
    if (text == NULL || *text == 0) return "{}";
    bool object = json_is_valid(bytes_view_string(text), LIMIT_JSON_DEPTH, &kind) && kind == JSON_KIND_OBJECT;
    return object ? text : NULL;
}

static bool refuse_call(struct arena *arena, struct api_error *error, size_t message, size_t call, const char *field,
                        const char *sentence) {
    return chat_refuse(error, arena_printf(arena, "messages.%zu.tool_calls.%zu%s", message, call, field), sentence);
}

static bool convert_call(const Bora__V1__ToolCall *in, size_t message, size_t index, bool strict, struct arena *arena,
                         WorkerCall *out, struct api_error *error) {
    bora__internal__v1__tool_call__init(out);
    if (is_other_type(in->type) || in->custom != NULL)
        return refuse_call(arena, error, message, index, ".type", "Only calls of functions are known here.");
    if (in->function == NULL)
        return refuse_call(arena, error, message, index, ".function", "A call needs its function.");
    const char *arguments = in->function->arguments != NULL ? arguments_text(in->function->arguments) : "{}";
    if (arguments == NULL)
        return refuse_call(arena, error, message, index, ".function.arguments",
                           "Arguments must be a JSON object, or the text of one.");
    bool given = is_id_given(in->id);
    if (strict && given && !is_call_id(in->id)) {
        *error = api_error_bad_request("invalid_function_call", "3280", NULL,
                                       "Tool call id was %.64s but must be a-z, A-Z, 0-9, with a length of 9.", in->id);
        return false;
    }
    out->id = given && is_call_id(in->id) ? in->id
              : given                     ? stand_in(in->id, 0, arena)
                                          : stand_in("", 1 + message * LIMIT_TOOLS + index, arena);
    if (out->id == NULL) return chat_refuse(error, "messages", too_large);
    out->name = in->function->name;
    out->arguments = (ProtobufCBinaryData){.len = strlen(arguments), .data = (uint8_t *)arguments};
    return true;
}

bool chat_convert_calls(const Bora__V1__AssistantMessage *message, size_t index, bool strict, struct arena *arena,
                        Bora__Internal__V1__ConversationMessage *out, struct api_error *error) {
    size_t count = message->n_tool_calls;
    if (count == 0) return true;
    WorkerCall **list = arena_alloc_array(arena, count, sizeof *list);
    WorkerCall *items = arena_alloc_array(arena, count, sizeof *items);
    if (list == NULL || items == NULL) return chat_refuse(error, "messages", too_large);
    for (size_t i = 0; i < count; i++) {
        if (!convert_call(message->tool_calls[i], index, i, strict, arena, &items[i], error)) return false;
        for (size_t j = 0; j < i; j++) {
            if (strcmp(items[i].id, items[j].id) == 0)
                return refuse_call(arena, error, index, i, ".id", "Two calls of this message have the same id.");
        }
        list[i] = &items[i];
    }
    out->tool_calls = list;
    out->n_tool_calls = count;
    return true;
}

/** The calls of the last assistant message, and which of them have been answered. */
struct pairing {
    WorkerMessage *caller;
    size_t answered;
    bool seen[LIMIT_TOOLS];
};

static bool unequal(struct api_error *error) {
    *error = api_error_bad_request("invalid_request_message_order", "3230", NULL,
                                   "Not the same number of function calls and responses");
    return false;
}

/** Which call the result answers: by its id, else the first that has no answer. */
static bool pair_result(struct pairing *pairing, const Bora__V1__ToolMessage *in, size_t index, struct arena *arena,
                        WorkerMessage *out, struct api_error *error) {
    size_t count = pairing->caller != NULL ? pairing->caller->n_tool_calls : 0, at = 0;
    const char *id = in->tool_call_id;
    bool given = is_id_given(id);
    if (given && !is_call_id(id)) id = stand_in(id, 0, arena);
    if (given && id == NULL) return chat_refuse(error, "messages", too_large);
    if (count == 0 || pairing->answered == count) return unequal(error);
    while (at < count && (given ? strcmp(pairing->caller->tool_calls[at]->id, id) != 0 : pairing->seen[at])) at++;
    const char *param = arena_printf(arena, "messages.%zu.tool_call_id", index);
    if (at == count) return chat_refuse(error, param, "The assistant message before made no such call.");
    if (pairing->seen[at]) return chat_refuse(error, param, "This call has been answered already.");
    pairing->seen[at] = true;
    pairing->answered++;
    out->tool_call_id = pairing->caller->tool_calls[at]->id;
    bool named = in->_name_case == BORA__V1__TOOL_MESSAGE___NAME_NAME && *in->name != 0;
    out->name = named ? in->name : pairing->caller->tool_calls[at]->name;
    return true;
}

/** Results in the order of their calls: layouts without ids have nothing else to tell them apart. `count` of them, all paired. */
static void sort_results(const WorkerMessage *caller, WorkerMessage *results, size_t count) {
    for (size_t place = 0; place < count; place++) {
        size_t at = place;
        while (at < count && strcmp(results[at].tool_call_id, caller->tool_calls[place]->id) != 0) at++;
        if (at == count) return;
        WorkerMessage moved = results[at];
        memmove(results + place + 1, results + place, (at - place) * sizeof *results);
        results[place] = moved;
    }
}

/** The results of an assistant message are all there; they stand right behind it. */
static bool end_pairing(struct pairing *pairing, struct api_error *error) {
    if (pairing->caller == NULL) return true;
    if (pairing->answered != pairing->caller->n_tool_calls) return unequal(error);
    sort_results(pairing->caller, pairing->caller + 1, pairing->answered);
    return true;
}

bool chat_pair_results(const Bora__V1__ChatCompletionRequest *m, WorkerMessage *messages, struct arena *arena,
                       struct api_error *error) {
    struct pairing pairing = {0};
    for (size_t i = 0; i < m->n_messages; i++) {
        if (m->messages[i]->role_case == BORA__V1__CHAT_MESSAGE__ROLE_TOOL) {
            if (!pair_result(&pairing, m->messages[i]->tool, i, arena, &messages[i], error)) return false;
            continue;
        }
        if (!end_pairing(&pairing, error)) return false;
        bool calls = messages[i].n_tool_calls > 0;
        pairing = (struct pairing){.caller = calls ? &messages[i] : NULL};
    }
    return end_pairing(&pairing, error);
}

/* ---- what the worker declined ---------------------------------------------------------------------------------------- */

struct api_error chat_tool_error(const struct chat_plan *plan, int32_t tool,
                                 const Bora__Internal__V1__GrammarProblem *problem, struct arena *arena) {
    struct api_error error;
    const struct transcode_step path[] = {
        {.name = "tools"}, {.index = tool}, {.name = "function"}, {.name = "parameters"}};
    const char *name = tool >= 0 && (size_t)tool < plan->start->n_tools ? plan->start->tools[tool]->name : "?";
    const char *message =
        *problem->keyword != 0
            ? arena_printf(arena, "The tool %s cannot be enforced: \"%s\" at %s: %s", name, problem->keyword,
                           *problem->pointer != 0 ? problem->pointer : "the root", problem->reason)
            : arena_printf(arena, "The tool %s cannot be enforced: %s", name, problem->reason);
    (void)invalid(arena, &error, path, 4, "value_error", message);
    return error;
}
