/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Expressions of the chat template language, by Jinja's precedence: if, or, and, not, comparisons, + -, ~, * / // %, **, signs, postfixes, filters. */
#include "engine/chat/template_parser.h"

#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/** A node over two others. */
static enum status make(struct parser *parser, enum node_kind kind, const char *name, struct template_node *a,
                        struct template_node *b, struct template_node **out) {
    struct template_node *node = NULL;
    TRY(parser_node(parser, kind, &node));
    node->name = name;
    node->a = a;
    node->b = b;
    node->line = a->line;
    *out = node;
    return STATUS_OK;
}

/* ---- calls, filters, tests ------------------------------------------------------------------------------------------ */

/** Behind "(", up to and with ")". */
static enum status parse_arguments(struct parser *parser, struct template_node **out) {
    struct template_node **tail = out;
    size_t count = 0;
    *out = NULL;
    while (!parser_at_operator(parser, ")")) {
        struct template_node *argument = NULL;
        if (*out != NULL) TRY(parser_expect_operator(parser, ","));
        if (parser_at_operator(parser, ")")) break;
        if (parser_at_operator(parser, "*") || parser_at_operator(parser, "**"))
            return parser_unsupported(parser, parser_token(parser)->line, "an argument", "*");
        if (++count > TEMPLATE_ARGUMENTS_MAX)
            return parser_unsupported(parser, parser_token(parser)->line, "a call with more than", "16 arguments");
        TRY(parser_node(parser, NODE_ARGUMENT, &argument));
        const struct template_token *next = &parser->tokens[parser->at];
        bool named =
            next->kind == TOKEN_NAME && next[1].kind == TOKEN_OPERATOR && bytes_view_equal_string(next[1].text, "=");
        if (named) {
            TRY(parser_name(parser, &argument->name));
            parser_next(parser);
        }
        TRY(parser_expression(parser, &argument->a));
        *tail = argument;
        tail = &argument->next;
    }
    parser_next(parser);
    return STATUS_OK;
}

static enum status parse_call(struct parser *parser, struct template_node **node) {
    struct template_node *call = NULL, *called = *node;
    if (called->kind == NODE_NAME) TRY(parser_calls(parser, called->name, called->line));
    if (called->kind == NODE_ATTRIBUTE && !template_method_exists(called->name) &&
        !template_method_changes(called->name))
        return parser_unsupported(parser, called->line, "method", called->name);
    TRY(make(parser, NODE_CALL, NULL, called, NULL, &call));
    parser_next(parser);
    TRY(parse_arguments(parser, &call->list));
    *node = call;
    return STATUS_OK;
}

/** From its name on. */
static enum status parse_filter(struct parser *parser, struct template_node **node) {
    struct template_node *filter = NULL;
    TRY(make(parser, NODE_FILTER, NULL, *node, NULL, &filter));
    filter->line = parser_token(parser)->line;
    TRY(parser_name(parser, &filter->name));
    if (!template_filter_exists(filter->name)) return parser_unsupported(parser, filter->line, "filter", filter->name);
    if (parser_skip_operator(parser, "(")) TRY(parse_arguments(parser, &filter->list));
    /* The filters and tests that these apply to each item are named in a text. */
    bool by_name =
        strcmp(filter->name, "map") == 0 || strcmp(filter->name, "select") == 0 || strcmp(filter->name, "reject") == 0;
    const struct template_node *first = filter->list;
    if (by_name && first != NULL && first->name == NULL && first->a->kind == NODE_CONSTANT &&
        first->a->value.kind == TEMPLATE_STRING) {
        const char *name = (const char *)first->a->value.string.data;
        bool known = *filter->name == 'm' ? template_filter_exists(name) : template_test_exists(name);
        if (!known) return parser_unsupported(parser, filter->line, *filter->name == 'm' ? "filter" : "test", name);
    }
    *node = filter;
    return STATUS_OK;
}

static enum status parse_postfixes(struct parser *parser, struct template_node **node);
static enum status parse_primary(struct parser *parser, struct template_node **out);

static bool begins_test_argument(const struct parser *parser) {
    const struct template_token *token = parser_token(parser);
    if (token->kind == TOKEN_NAME)
        return !parser_at_name(parser, "else") && !parser_at_name(parser, "or") && !parser_at_name(parser, "and");
    return token->kind == TOKEN_STRING || token->kind == TOKEN_INTEGER || token->kind == TOKEN_REAL ||
           parser_at_operator(parser, "[") || parser_at_operator(parser, "{");
}

static enum status parse_test(struct parser *parser, struct template_node **node) {
    struct template_node *test = NULL;
    parser_next(parser);
    bool negated = parser_skip_name(parser, "not");
    TRY(make(parser, NODE_TEST, NULL, *node, NULL, &test));
    test->line = parser_token(parser)->line;
    if (parser_at_operator(parser, "==") || parser_at_operator(parser, "!=")) {
        test->name = parser_at_operator(parser, "==") ? "eq" : "ne";
        parser_next(parser);
    } else {
        TRY(parser_name(parser, &test->name));
    }
    if (!template_test_exists(test->name)) return parser_unsupported(parser, test->line, "test", test->name);
    if (parser_skip_operator(parser, "(")) {
        TRY(parse_arguments(parser, &test->list));
    } else if (begins_test_argument(parser)) {
        if (parser_at_name(parser, "is")) return parser_unexpected(parser, "no second test");
        TRY(parser_node(parser, NODE_ARGUMENT, &test->list));
        TRY(parse_primary(parser, &test->list->a));
        TRY(parse_postfixes(parser, &test->list->a));
    }
    *node = test;
    return negated ? make(parser, NODE_NOT, NULL, test, NULL, node) : STATUS_OK;
}

enum status parser_filter_chain(struct parser *parser, struct template_node **node) {
    TRY(parse_filter(parser, node));
    return parser_filters(parser, node);
}

enum status parser_filters(struct parser *parser, struct template_node **node) {
    for (;;) {
        if (parser_skip_operator(parser, "|"))
            TRY(parse_filter(parser, node));
        else if (parser_at_name(parser, "is"))
            TRY(parse_test(parser, node));
        else if (parser_at_operator(parser, "("))
            TRY(parse_call(parser, node));
        else
            return STATUS_OK;
    }
}

/* ---- primaries ------------------------------------------------------------------------------------------------------ */

/** Items up to the closing bracket; a dict's are pairs. */
static enum status parse_items(struct parser *parser, const char *close, bool pairs, struct template_node **out) {
    struct template_node **tail = out;
    *out = NULL;
    while (!parser_at_operator(parser, close)) {
        struct template_node *item = NULL, *key = NULL;
        if (*out != NULL) TRY(parser_expect_operator(parser, ","));
        if (parser_at_operator(parser, close)) break;
        TRY(parser_expression(parser, pairs ? &key : &item));
        if (pairs) {
            TRY(parser_expect_operator(parser, ":"));
            TRY(make(parser, NODE_PAIR, NULL, key, NULL, &item));
            TRY(parser_expression(parser, &item->b));
        }
        *tail = item;
        tail = &item->next;
    }
    parser_next(parser);
    return STATUS_OK;
}

static enum status parse_strings(struct parser *parser, struct template_node *node) {
    const struct template_token *first = parser_token(parser);
    size_t length = 0;
    for (const struct template_token *token = first; token->kind == TOKEN_STRING; token++) length += token->text.length;
    uint8_t *text = arena_alloc(parser->arena, length + 1), *end = text;
    if (text == NULL) return error_set(parser->err, STATUS_INVALID_ARGUMENT, "the chat template is too large");
    for (; parser_token(parser)->kind == TOKEN_STRING; parser_next(parser)) {
        struct bytes_view part = parser_token(parser)->text;
        if (part.length > 0) end = mempcpy(end, part.data, part.length);
    }
    node->value = template_text(bytes_view_of(text, length), 0);
    return STATUS_OK;
}

static enum status parse_number(struct parser *parser, struct template_node *node) {
    const struct template_token *token = parser_token(parser);
    const char *text = (const char *)token->text.data; /* ended by a zero byte */
    errno = 0;
    if (token->kind == TOKEN_REAL) {
        node->value = (struct template_value){.kind = TEMPLATE_REAL, .real = strtod(text, NULL)};
    } else {
        node->value = template_integer(strtoll(text, NULL, 10));
        if (errno == ERANGE)
            return error_set(parser->err, STATUS_UNIMPLEMENTED, "template line %d: an integer beyond 64 bits",
                             token->line);
    }
    parser_next(parser);
    return STATUS_OK;
}

static bool constant_of(const struct parser *parser, struct template_value *out) {
    if (parser_at_name(parser, "true") || parser_at_name(parser, "True")) {
        *out = template_boolean(true);
    } else if (parser_at_name(parser, "false") || parser_at_name(parser, "False")) {
        *out = template_boolean(false);
    } else if (parser_at_name(parser, "none") || parser_at_name(parser, "None")) {
        *out = (struct template_value){.kind = TEMPLATE_NONE};
    } else {
        return false;
    }
    return true;
}

static enum status parse_parenthesis(struct parser *parser, struct template_node **out) {
    parser_next(parser);
    if (parser_skip_operator(parser, ")")) return parser_node(parser, NODE_TUPLE, out);
    TRY(parser_tuple(parser, true, out));
    return parser_expect_operator(parser, ")");
}

static enum status parse_primary(struct parser *parser, struct template_node **out) {
    const struct template_token *token = parser_token(parser);
    if (parser_at_operator(parser, "(")) return parse_parenthesis(parser, out);
    TRY(parser_node(parser, NODE_CONSTANT, out));
    struct template_node *node = *out;
    if (token->kind == TOKEN_STRING) return parse_strings(parser, node);
    if (token->kind == TOKEN_INTEGER || token->kind == TOKEN_REAL) return parse_number(parser, node);
    if (token->kind == TOKEN_NAME) {
        if (constant_of(parser, &node->value)) {
            parser_next(parser);
            return STATUS_OK;
        }
        node->kind = NODE_NAME;
        return parser_name(parser, &node->name);
    }
    if (parser_skip_operator(parser, "[")) {
        node->kind = NODE_LIST;
        return parse_items(parser, "]", false, &node->list);
    }
    if (parser_skip_operator(parser, "{")) {
        node->kind = NODE_DICT;
        return parse_items(parser, "}", true, &node->list);
    }
    return parser_unexpected(parser, "an expression");
}

/* ---- subscripts ----------------------------------------------------------------------------------------------------- */

/** Behind "[": an index, or from:to:step. */
static enum status parse_subscript(struct parser *parser, struct template_node **out) {
    struct template_node *parts[3] = {NULL};
    int colons = 0;
    bool slice = false;
    while (!parser_at_operator(parser, "]")) {
        if (parser_skip_operator(parser, ":")) {
            slice = true;
            if (++colons > 2) return parser_unexpected(parser, "']'");
            continue;
        }
        if (parts[colons] != NULL) return parser_unexpected(parser, "']'");
        TRY(parser_expression(parser, &parts[colons]));
    }
    parser_next(parser);
    if (!slice) {
        if (parts[0] == NULL) return parser_unexpected(parser, "an index");
        *out = parts[0];
        return STATUS_OK;
    }
    TRY(parser_node(parser, NODE_SLICE, out));
    (*out)->a = parts[0];
    (*out)->b = parts[1];
    (*out)->c = parts[2];
    return STATUS_OK;
}

static enum status parse_postfixes(struct parser *parser, struct template_node **node) {
    for (;;) {
        struct template_node *made = NULL, *base = *node;
        if (parser_skip_operator(parser, ".")) {
            if (parser_token(parser)->kind == TOKEN_INTEGER) {
                TRY(make(parser, NODE_SUBSCRIPT, NULL, base, NULL, &made));
                TRY(parse_primary(parser, &made->b));
            } else {
                TRY(make(parser, NODE_ATTRIBUTE, NULL, base, NULL, &made));
                TRY(parser_name(parser, &made->name));
            }
        } else if (parser_skip_operator(parser, "[")) {
            TRY(make(parser, NODE_SUBSCRIPT, NULL, base, NULL, &made));
            TRY(parse_subscript(parser, &made->b));
        } else if (parser_at_operator(parser, "(")) {
            made = base;
            TRY(parse_call(parser, &made));
        } else {
            return STATUS_OK;
        }
        *node = made;
    }
}

/* ---- operators ------------------------------------------------------------------------------------------------------ */

static enum status parse_unary(struct parser *parser, bool filters, struct template_node **out) {
    TRY(parser_enter(parser));
    if (parser_skip_operator(parser, "-")) {
        struct template_node *operand = NULL;
        TRY(parse_unary(parser, false, &operand));
        TRY(make(parser, NODE_NEGATE, NULL, operand, NULL, out));
    } else if (parser_skip_operator(parser, "+")) {
        TRY(parse_unary(parser, false, out));
    } else {
        TRY(parse_primary(parser, out));
    }
    TRY(parse_postfixes(parser, out));
    if (filters) TRY(parser_filters(parser, out));
    parser->depth--;
    return STATUS_OK;
}

/** Binary operators by level, from the loosest. */
static enum status parse_binary(struct parser *parser, int level, struct template_node **out) {
    static const char *const levels[][5] = {{"+", "-", NULL}, {"~", NULL}, {"*", "/", "//", "%", NULL}, {"**", NULL}};
    if (level == sizeof levels / sizeof levels[0]) return parse_unary(parser, true, out);
    TRY(parse_binary(parser, level + 1, out));
    for (;;) {
        const char *operator= NULL;
        for (int i = 0; levels[level][i] != NULL; i++) {
            if (parser_at_operator(parser, levels[level][i])) operator= levels[level][i];
        }
        if (operator== NULL) return STATUS_OK;
        struct template_node *right = NULL;
        parser_next(parser);
        TRY(parse_binary(parser, level + 1, &right));
        TRY(make(parser, NODE_BINARY, operator, * out, right, out));
    }
}

/** The comparison that stands here, or NULL; skipped. */
static const char *skip_comparison(struct parser *parser) {
    static const char *const operators[] = {"==", "!=", "<=", ">=", "<", ">"};
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        if (parser_skip_operator(parser, operators[i])) return operators[i];
    }
    if (parser_skip_name(parser, "in")) return "in";
    const struct template_token *next = parser_token(parser);
    if (!parser_at_name(parser, "not") || next[1].kind != TOKEN_NAME || !bytes_view_equal_string(next[1].text, "in"))
        return NULL;
    parser_next(parser);
    parser_next(parser);
    return "notin";
}

static enum status parse_compare(struct parser *parser, struct template_node **out) {
    struct template_node *compare = NULL, **tail = NULL;
    TRY(parse_binary(parser, 0, out));
    for (;;) {
        struct template_node *operand = NULL;
        const char *operator= skip_comparison(parser);
        if (operator== NULL) return STATUS_OK;
        if (compare == NULL) {
            TRY(make(parser, NODE_COMPARE, NULL, *out, NULL, &compare));
            tail = &compare->list;
            *out = compare;
        }
        TRY(parser_node(parser, NODE_OPERAND, &operand));
        operand->name = operator;
        TRY(parse_binary(parser, 0, &operand->a));
        *tail = operand;
        tail = &operand->next;
    }
}

static enum status parse_not(struct parser *parser, struct template_node **out) {
    if (!parser_at_name(parser, "not")) return parse_compare(parser, out);
    struct template_node *operand = NULL;
    TRY(parser_enter(parser));
    parser_next(parser);
    TRY(parse_not(parser, &operand));
    parser->depth--;
    return make(parser, NODE_NOT, NULL, operand, NULL, out);
}

static enum status parse_and(struct parser *parser, struct template_node **out) {
    TRY(parse_not(parser, out));
    while (parser_skip_name(parser, "and")) {
        struct template_node *right = NULL;
        TRY(parse_not(parser, &right));
        TRY(make(parser, NODE_AND, NULL, *out, right, out));
    }
    return STATUS_OK;
}

static enum status parse_or(struct parser *parser, struct template_node **out) {
    TRY(parse_and(parser, out));
    while (parser_skip_name(parser, "or")) {
        struct template_node *right = NULL;
        TRY(parse_and(parser, &right));
        TRY(make(parser, NODE_OR, NULL, *out, right, out));
    }
    return STATUS_OK;
}

enum status parser_expression(struct parser *parser, struct template_node **out) {
    TRY(parser_enter(parser));
    TRY(parse_or(parser, out));
    while (parser_skip_name(parser, "if")) {
        struct template_node *condition = NULL, *test = NULL;
        TRY(parse_or(parser, &test));
        TRY(make(parser, NODE_CONDITION, NULL, test, *out, &condition));
        if (parser_skip_name(parser, "else")) TRY(parser_expression(parser, &condition->c));
        *out = condition;
    }
    parser->depth--;
    return STATUS_OK;
}

/** Does a tuple end here, behind a comma? */
static bool at_tuple_end(const struct parser *parser) {
    enum token_kind kind = parser_token(parser)->kind;
    return kind == TOKEN_PRINT_END || kind == TOKEN_BLOCK_END || parser_at_operator(parser, ")");
}

enum status parser_tuple(struct parser *parser, bool condition, struct template_node **out) {
    struct template_node *tuple = NULL, **tail = NULL, *item = NULL;
    TRY(condition ? parser_expression(parser, &item) : parse_or(parser, &item));
    *out = item;
    while (parser_skip_operator(parser, ",")) {
        if (tuple == NULL) {
            TRY(parser_node(parser, NODE_TUPLE, &tuple));
            tuple->list = item;
            tail = &item->next;
            *out = tuple;
        }
        if (at_tuple_end(parser)) break;
        TRY(condition ? parser_expression(parser, &item) : parse_or(parser, &item));
        *tail = item;
        tail = &item->next;
    }
    return STATUS_OK;
}
