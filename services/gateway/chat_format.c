/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* response_format: what the worker is told of it, and what the client is told where it cannot be enforced. */
#include "services/gateway/chat.h"

#include <string.h>

typedef Bora__Internal__V1__Grammar Grammar;

static ProtobufCBinaryData text_of(const char *text) {
    return (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)text};
}

static bool convert_schema(const Bora__V1__JsonSchemaFormat *format, Grammar *out, struct api_error *error) {
    if (format == NULL)
        return chat_refuse(error, "response_format.json_schema", "The type json_schema needs a json_schema.");
    if (format->_schema_case != BORA__V1__JSON_SCHEMA_FORMAT___SCHEMA_SCHEMA)
        return chat_refuse(error, "response_format.json_schema.schema", "json_schema needs a schema.");
    out->kind = BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_JSON_SCHEMA;
    out->text = text_of(format->schema);
    if (chat_is_word(format->whitespace, "compact")) out->space = BORA__INTERNAL__V1__GRAMMAR__SPACE__SPACE_COMPACT;
    if (chat_is_word(format->whitespace, "free")) out->space = BORA__INTERNAL__V1__GRAMMAR__SPACE__SPACE_FREE;
    out->any_order = chat_is_word(format->order, "any");
    return true;
}

static bool convert_regex(const Bora__V1__ResponseFormat *format, Grammar *out, struct api_error *error) {
    if (format->_regex_case != BORA__V1__RESPONSE_FORMAT___REGEX_REGEX)
        return chat_refuse(error, "response_format.regex", "The type regex needs a regex.");
    out->kind = BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_REGEX;
    out->text = text_of(format->regex);
    return true;
}

static bool convert_rules(const Bora__V1__ResponseFormat *format, Grammar *out, struct api_error *error) {
    if (format->_grammar_case != BORA__V1__RESPONSE_FORMAT___GRAMMAR_GRAMMAR)
        return chat_refuse(error, "response_format.grammar", "The type grammar needs a grammar.");
    out->kind = chat_is_word(format->dialect, "lark") ? BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_LARK
                                                      : BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_GBNF;
    out->text = text_of(format->grammar);
    return true;
}

/** One of some texts is a pattern of theirs, in which what a pattern gives a meaning is escaped. */
static bool convert_choice(const Bora__V1__ResponseFormat *format, struct arena *arena, Grammar *out,
                           struct api_error *error) {
    if (format->n_choice == 0) return chat_refuse(error, "response_format.choice", "The type choice needs a choice.");
    size_t bytes = format->n_choice;
    for (size_t i = 0; i < format->n_choice; i++) bytes += 2 * strlen(format->choice[i]);
    char *pattern = arena_alloc(arena, bytes), *at = pattern;
    if (pattern == NULL) return chat_refuse(error, "response_format.choice", "The choice is too large.");
    for (size_t i = 0; i < format->n_choice; i++) {
        if (i > 0) *at++ = '|';
        for (const char *text = format->choice[i]; *text != 0; text++) {
            if (strchr("^$\\.*+?()[]{}|/", *text) != NULL) *at++ = '\\';
            *at++ = *text;
        }
    }
    out->kind = BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_REGEX;
    out->text = (ProtobufCBinaryData){.len = (size_t)(at - pattern), .data = (uint8_t *)pattern};
    return true;
}

/** What is given must be what the type asks for: it would be passed over otherwise. */
static bool check_fields(const Bora__V1__ResponseFormat *format, struct api_error *error) {
    const char *type = format->_type_case == BORA__V1__RESPONSE_FORMAT___TYPE_TYPE ? format->type : "";
    const struct {
        bool given;
        const char *type, *param;
    } fields[] = {
        {format->json_schema != NULL, "json_schema", "response_format.json_schema"},
        {format->_regex_case == BORA__V1__RESPONSE_FORMAT___REGEX_REGEX, "regex", "response_format.regex"},
        {format->_grammar_case == BORA__V1__RESPONSE_FORMAT___GRAMMAR_GRAMMAR, "grammar", "response_format.grammar"},
        {format->n_choice > 0, "choice", "response_format.choice"},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (!fields[i].given || strcmp(type, fields[i].type) == 0) continue;
        *error = api_error_bad_request("invalid_request_error", NULL, fields[i].param,
                                       "response_format has this, but its type is not \"%s\".", fields[i].type);
        return false;
    }
    return true;
}

bool chat_convert_format(struct request *request, struct chat_plan *plan, struct api_error *error) {
    const Bora__V1__ResponseFormat *format = plan->request->response_format;
    if (format == NULL) return true;
    if (!check_fields(format, error)) return false;
    if (format->_type_case != BORA__V1__RESPONSE_FORMAT___TYPE_TYPE || chat_is_word(format->type, "text")) return true;
    Grammar *grammar = arena_alloc(&request->arena, sizeof *grammar);
    if (grammar == NULL) return chat_refuse(error, NULL, "The request is too large.");
    bora__internal__v1__grammar__init(grammar);
    plan->start->grammar = grammar;
    bool schema = chat_is_word(format->type, "json_schema") || chat_is_word(format->type, "json_object");
    if (chat_may_call(plan->start) && !schema)
        return chat_refuse(
            error, "response_format",
            "Of the formats only json_object and json_schema go with tools; tool_choice \"none\" goes with all.");
    if (chat_is_word(format->type, "json_schema")) return convert_schema(format->json_schema, grammar, error);
    if (chat_is_word(format->type, "regex")) return convert_regex(format, grammar, error);
    if (chat_is_word(format->type, "grammar")) return convert_rules(format, grammar, error);
    if (chat_is_word(format->type, "choice")) return convert_choice(format, &request->arena, grammar, error);
    return true; /* json_object is what the message says by default */
}

/** The end of a long pointer says more than its beginning. */
static const char *tail_of(const char *pointer, size_t most) {
    size_t length = strlen(pointer);
    if (length <= most) return pointer;
    const char *tail = pointer + length - most, *step = strchr(tail, '/');
    return step != NULL ? step : tail;
}

static Bora__Internal__V1__Grammar__Kind kind_of(const struct chat_plan *plan) {
    return plan->start->grammar != NULL ? plan->start->grammar->kind
                                        : BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_JSON_OBJECT;
}

struct api_error chat_format_error(const struct chat_plan *plan, const Bora__Internal__V1__GrammarProblem *problem) {
    enum { POINTER_MOST = 90 };
    static const char type[] = "invalid_request_error";
    const char *pointer = tail_of(problem->pointer, POINTER_MOST), *cut = pointer != problem->pointer ? "..." : "";
    if (chat_is_word(problem->keyword, "prefix"))
        return api_error_bad_request(type, NULL, "messages",
                                     "No answer that fits response_format begins with the prefix message.");
    if (chat_is_word(problem->keyword, "max_tokens"))
        return api_error_bad_request(type, NULL, "max_tokens", "No answer that fits %s is so short: %.100s.",
                                     plan->start->n_tools > 0 ? "tools and tool_choice" : "response_format",
                                     problem->reason);
    switch (kind_of(plan)) {
    case BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_REGEX:
        if (chat_is_word(plan->request->response_format->type, "choice"))
            return api_error_bad_request(type, NULL, "response_format.choice", "The choice cannot be enforced: %.200s",
                                         problem->reason);
        return api_error_bad_request(type, NULL, "response_format.regex", "The pattern cannot be enforced: %.200s",
                                     problem->reason);
    case BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_GBNF:
    case BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_LARK:
        return api_error_bad_request(type, NULL, "response_format.grammar",
                                     "The grammar cannot be enforced: %.24s: %.190s", problem->pointer,
                                     problem->reason);
    default:
        return api_error_bad_request(type, NULL, "response_format.json_schema.schema",
                                     "The schema cannot be enforced: \"%.31s\" at %s%s: %.120s", problem->keyword, cut,
                                     *pointer != 0 ? pointer : "the root", problem->reason);
    }
}

const char *chat_format_costly_param(const struct chat_plan *plan) {
    const char *param = "response_format.json_schema.schema";
    if (plan->start->n_tools > 0) param = "tools";
    if (kind_of(plan) == BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_REGEX)
        param = chat_is_word(plan->request->response_format->type, "choice") ? "response_format.choice"
                                                                             : "response_format.regex";
    if (kind_of(plan) == BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_GBNF ||
        kind_of(plan) == BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_LARK)
        param = "response_format.grammar";
    return param;
}

struct api_error chat_format_costly(const struct chat_plan *plan, const char *reason) {
    const char *param = plan->start != NULL ? chat_format_costly_param(plan) : plan->costly_param;
    return api_error_bad_request("invalid_request_error", NULL, param, "The answer was given up: %.200s.", reason);
}
