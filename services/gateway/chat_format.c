/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* response_format: what the worker is told of it, and what the client is told where it cannot be enforced. */
#include "services/gateway/chat.h"

#include <string.h>

typedef Bora__Internal__V1__Grammar Grammar;

static ProtobufCBinaryData text_of(const char *text) {
    return (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)text};
}

static bool is_word(const char *word, const char *wanted) {
    return word != NULL && strcmp(word, wanted) == 0; /* absent: protobuf-c's empty string */
}

static void convert_schema(const Bora__V1__JsonSchemaFormat *format, Grammar *out) {
    out->kind = BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_JSON_SCHEMA;
    out->text = text_of(format->schema);
    if (is_word(format->whitespace, "compact")) out->space = BORA__INTERNAL__V1__GRAMMAR__SPACE__SPACE_COMPACT;
    if (is_word(format->whitespace, "free")) out->space = BORA__INTERNAL__V1__GRAMMAR__SPACE__SPACE_FREE;
    out->any_order = is_word(format->order, "any");
}

bool chat_convert_format(struct request *request, struct chat_plan *plan, struct api_error *error) {
    const Bora__V1__ResponseFormat *format = plan->request->response_format;
    if (format == NULL || format->_type_case != BORA__V1__RESPONSE_FORMAT___TYPE_TYPE || is_word(format->type, "text"))
        return true;
    Grammar *grammar = arena_alloc(&request->arena, sizeof *grammar);
    if (grammar == NULL) {
        *error = api_error_bad_request("invalid_request_error", NULL, NULL, "The request is too large.");
        return false;
    }
    bora__internal__v1__grammar__init(grammar);
    if (is_word(format->type, "json_schema")) {
        convert_schema(format->json_schema, grammar);
    } else if (is_word(format->type, "regex")) {
        grammar->kind = BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_REGEX;
        grammar->text = text_of(format->regex);
    } else if (is_word(format->type, "grammar")) {
        grammar->kind = is_word(format->dialect, "lark") ? BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_LARK
                                                         : BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_GBNF;
        grammar->text = text_of(format->grammar);
    }
    plan->start->grammar = grammar;
    return true;
}

/** The end of a long pointer says more than its beginning. */
static const char *tail_of(const char *pointer, size_t most) {
    size_t length = strlen(pointer);
    if (length <= most) return pointer;
    const char *tail = pointer + length - most, *step = strchr(tail, '/');
    return step != NULL ? step : tail;
}

struct api_error chat_format_error(const struct chat_plan *plan, const Bora__Internal__V1__GrammarProblem *problem) {
    enum { POINTER_MOST = 90 };
    static const char type[] = "invalid_request_error";
    const char *pointer = tail_of(problem->pointer, POINTER_MOST), *cut = pointer != problem->pointer ? "..." : "";
    if (is_word(problem->keyword, "prefix"))
        return api_error_bad_request(type, NULL, "messages",
                                     "No answer that fits response_format begins with the prefix message.");
    switch (plan->start->grammar != NULL ? plan->start->grammar->kind
                                         : BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_JSON_OBJECT) {
    case BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_REGEX:
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
