/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A grammar as its text says it: rules, each one expression. What the parsers of GBNF and Lark make, and what earley_build.c reads.
 *
 *     nodes:   [ ...rule 0's, children before parents... | ...rule 1's... | ... ]
 *
 * A rule's nodes stand in one piece and a child before its parent, so that every pass over an expression is a loop and none recurses.
 */
#ifndef ENGINE_GRAMMAR_RULES_H
#define ENGINE_GRAMMAR_RULES_H

#include "engine/grammar/grammar.h"
#include "engine/grammar/regex.h"

enum rules_kind {
    RULES_TERMINAL,  /* value: a regex */
    RULES_LITERAL,   /* texts[first .. first + count) */
    RULES_REFERENCE, /* value: a rule */
    RULES_CONCAT,    /* children[first .. first + count); none of them: the empty text */
    RULES_OR,        /* the same, at least one */
    RULES_REPEAT     /* value: a node; min .. max times, max may be REGEX_UNBOUNDED */
};

struct rules_node {
    enum rules_kind kind;
    uint32_t at; /* byte of the grammar's text, for messages */
    uint32_t value;
    uint32_t first, count;
    uint32_t min, max;
};

#define RULES_NONE UINT32_MAX

struct rules_rule {
    struct bytes_view name;
    uint32_t at;         /* where it is defined, or first used */
    uint32_t node;       /* its expression; RULES_NONE: not defined */
    uint32_t first_node; /* its nodes are first_node .. node */
};

struct rules {
    struct bytes_view text;
    struct grammar_budget *budget;
    struct regex_pool *pool;         /* borrowed */
    struct grammar_problem *problem; /* borrowed */
    struct rules_node *nodes;
    uint32_t *children;
    uint8_t *texts;
    struct rules_rule *rules;
    uint32_t *names; /* hash table of rule + 1; 0: free */
    uint32_t node_count, child_count, text_count, rule_count;
    uint32_t node_capacity, child_capacity, text_capacity, rule_capacity, name_capacity;
    uint32_t *pending; /* children of what is being parsed: a stack */
    uint32_t pending_count, pending_capacity;
    uint32_t start; /* a rule */
};

void rules_init(struct rules *rules, struct regex_pool *pool, struct grammar_budget *budget, struct bytes_view text,
                struct grammar_problem *problem);
void rules_deinit(struct rules *rules);

/** Fill in the problem, "line:column" (both from 1, columns in code points) of byte `at`, and return `status`. */
enum status rules_fail(struct rules *rules, enum status status, uint32_t at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/** The budget is at its end: STATUS_RESOURCE_EXHAUSTED. */
enum status rules_exhausted(struct rules *rules, uint32_t at);

/* Nodes. Each costs fuel; STATUS_RESOURCE_EXHAUSTED otherwise nothing fails. */
enum status rules_terminal(struct rules *rules, uint32_t at, regex value, uint32_t *out_node);
/** Valid UTF-8. */
enum status rules_literal(struct rules *rules, uint32_t at, struct bytes_view text, uint32_t *out_node);
enum status rules_reference(struct rules *rules, uint32_t at, uint32_t rule, uint32_t *out_node);
enum status rules_repeat(struct rules *rules, uint32_t at, uint32_t node, uint32_t min, uint32_t max,
                         uint32_t *out_node);
/** Children: pushed one by one; rules_gather makes a node of all that were pushed since pending_count was `mark` (one child: that child itself). */
enum status rules_push(struct rules *rules, uint32_t at, uint32_t node);
enum status rules_gather(struct rules *rules, uint32_t at, enum rules_kind kind, uint32_t mark, uint32_t *out_node);

/** The rule of that name, made undefined where it is new. */
enum status rules_named(struct rules *rules, uint32_t at, struct bytes_view name, uint32_t *out_rule);
/** A rule that no text can refer to. */
enum status rules_unnamed(struct rules *rules, uint32_t at, uint32_t *out_rule);
/** The rule of that name: RULES_NONE where there is none. */
uint32_t rules_find(const struct rules *rules, struct bytes_view name);
/** `first_node` is what node_count was before the rule's first node. */
void rules_define(struct rules *rules, uint32_t rule, uint32_t at, uint32_t first_node, uint32_t node);

/* ---- the parsers: fill in `rules`, resolve every name, set `start` ---- */

enum { RULES_DEPTH_MAX = 256 }; /* brackets inside each other */

/** llama.cpp's dialect. */
enum status gbnf_parse(struct rules *rules);
/** lark-parser's and llguidance's. */
enum status lark_parse(struct rules *rules);
/** lark's common terminals as ECMA patterns; NULL: there is none of that name. */
const char *lark_common_terminal(struct bytes_view name);

/* ---- shared by the parsers: a place in the text ---- */

struct rules_cursor {
    struct rules *rules;
    uint32_t at;
    uint32_t depth;
};

/** The byte there, or `ahead` bytes behind; 0 at the end (a NUL in the text is refused at once). */
uint8_t cursor_peek(const struct rules_cursor *cursor, uint32_t ahead);
bool cursor_skip(struct rules_cursor *cursor, const char *text);
/** One code point of the text. The text is valid UTF-8. */
uint32_t cursor_code_point(struct rules_cursor *cursor);
/** `digits` hex digits, a Unicode scalar value. */
enum status cursor_hex(struct rules_cursor *cursor, uint32_t digits, uint32_t *out);
/** Behind a backslash: \x41, \u0041, \U00000041, \n, \r, \t, or one of `themselves`, which stands for itself. */
enum status cursor_escape(struct rules_cursor *cursor, const char *themselves, uint32_t *out);
/** Decimal digits, at most UINT32_MAX - 1. */
enum status cursor_number(struct rules_cursor *cursor, uint32_t *out);
enum status cursor_expected(struct rules_cursor *cursor, const char *what);
enum status cursor_enter(struct rules_cursor *cursor);
/** STATUS_INVALID_ARGUMENT with the place, unless the whole text is UTF-8 without NUL and below 2^31 bytes. */
enum status rules_check_text(struct rules *rules);

#endif
