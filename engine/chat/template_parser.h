/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What the two halves of the parser share: statements (template_parser.c) and expressions (template_expression.c). */
#ifndef ENGINE_CHAT_TEMPLATE_PARSER_H
#define ENGINE_CHAT_TEMPLATE_PARSER_H

#include "engine/chat/template_internal.h"

struct parser_word {
    const char *text;
    int line;
    struct parser_word *next;
};

struct parser {
    struct template_token *tokens;
    size_t at;
    int depth, loops; /* nested so deep; loops around this place */
    struct parser_word *defined, *called;
    struct arena *arena;
    struct error *err;
};

const struct template_token *parser_token(const struct parser *parser);
void parser_next(struct parser *parser);
bool parser_at_operator(const struct parser *parser, const char *text);
bool parser_at_name(const struct parser *parser, const char *text);
bool parser_skip_operator(struct parser *parser, const char *text);
bool parser_skip_name(struct parser *parser, const char *text);
enum status parser_expect_operator(struct parser *parser, const char *text);
enum status parser_unexpected(const struct parser *parser, const char *wanted);
enum status parser_unsupported(const struct parser *parser, int line, const char *what, const char *name);
enum status parser_node(struct parser *parser, enum node_kind kind, struct template_node **out);
enum status parser_name(struct parser *parser, const char **out);
enum status parser_enter(struct parser *parser); /* and depth-- when it is left */
enum status parser_defines(struct parser *parser, const char *name);
enum status parser_calls(struct parser *parser, const char *name, int line);

enum status parser_expression(struct parser *parser, struct template_node **out);
/** Expressions with commas between are a tuple. `condition`: may they be "x if y"? */
enum status parser_tuple(struct parser *parser, bool condition, struct template_node **out);
/** "| filter…" over `*node`. */
enum status parser_filters(struct parser *parser, struct template_node **node);
/** The same where the first has no "|" in front. */
enum status parser_filter_chain(struct parser *parser, struct template_node **node);

#endif
