/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A pattern as a tree, between its text (regex_parse.c, regex_escape.c) and its expression (regex_compile.c, regex_context.c).
 */
#ifndef ENGINE_GRAMMAR_REGEX_PATTERN_H
#define ENGINE_GRAMMAR_REGEX_PATTERN_H

#include "engine/grammar/regex_internal.h"

enum pattern_kind {
    PATTERN_SET,
    PATTERN_SEQUENCE, /* of none: the empty text */
    PATTERN_ALTERNATIVES,
    PATTERN_REPEAT,
    PATTERN_AHEAD,
    PATTERN_BEHIND,
    PATTERN_START,
    PATTERN_END,
    PATTERN_WORD_EDGE,
};

struct pattern_node {
    uint8_t kind;
    bool negative;  /* of AHEAD, BEHIND, WORD_EDGE */
    bool asserts;   /* some assertion inside: what it matches depends on what is around it */
    uint32_t set;   /* of SET */
    uint32_t child; /* of REPEAT, AHEAD, BEHIND: a node; of SEQUENCE, ALTERNATIVES: the first of `count` in links */
    uint32_t count;
    uint32_t min, max;
    size_t position; /* byte of the pattern, for messages */
};

enum {
    PATTERN_GROUPS_MAX = 200,   /* nesting */
    PATTERN_UNROLLED_MAX = 300, /* copies of a counted body that looks around */
    CONTEXTS_MAX = 9,
};

struct pattern {
    struct regex_pool *pool;
    struct bytes_view text;
    size_t at;
    unsigned flags; /* enum regex_flags, as they are at `at` */
    struct error *err;
    enum status status; /* the first failure */

    struct pattern_node *nodes;
    uint32_t node_count, node_capacity;
    uint32_t *links; /* children of sequences and alternatives */
    uint32_t link_count, link_capacity;
    uint32_t *stack; /* nodes that wait for their parent */
    uint32_t stack_count, stack_capacity;
    struct regex_range *ranges; /* of the class that is being read */
    uint32_t range_count, range_capacity;
    uint32_t group_depth;
    int capture_count; /* -1: not counted yet */
    bool has_names;

    /* What the character before a place may be, as far as assertions tell: context 0 is none (the start of the text), context i one of blocks[i].
     * One context only, for everything, where no assertion looks back. */
    uint32_t contexts;
    uint32_t blocks[CONTEXTS_MAX];
    uint32_t word_set; /* of \b; REGEX_SET_FAILED: not made yet */
    uint32_t loops;
};

/** Writes the sentence, with the byte, and returns false. Only the first is kept. */
bool pattern_fail(struct pattern *pattern, enum status status, size_t position, const char *what);
/** The budget, or nesting. Returns false. */
bool pattern_exhausted(struct pattern *pattern);

/* ---- regex_escape.c: what stands behind a backslash, and classes ---- */

enum escape_kind { ESCAPE_FAILED, ESCAPE_CHARACTER, ESCAPE_SET /* in pattern->ranges */, ESCAPE_NODE };
struct escape {
    enum escape_kind kind;
    uint32_t code_point;
    struct pattern_node node;
};
/** At the byte behind the backslash. Appends to pattern->ranges for a set. */
struct escape pattern_escape(struct pattern *pattern, bool in_class);
/** At the byte behind '['. REGEX_SET_FAILED on failure. */
uint32_t pattern_class(struct pattern *pattern);
/** One code point of the pattern; false with a message when it is no UTF-8. */
bool pattern_next(struct pattern *pattern, uint32_t *out_code_point);
bool pattern_looking_at(const struct pattern *pattern, const char *text);
/** What the dot matches. */
uint32_t pattern_dot(struct pattern *pattern);
/** The set of the ranges that were gathered, with the other cases of its letters where case does not count. */
uint32_t pattern_take_set(struct pattern *pattern, bool inverted);
bool pattern_add_range(struct pattern *pattern, uint32_t first, uint32_t last);
/** \w, as ECMA widens it where case does not count. */
bool pattern_add_word(struct pattern *pattern);

/* ---- regex_parse.c, regex_compile.c ---- */

/** The root, or UINT32_MAX with pattern->status set. */
uint32_t pattern_parse(struct pattern *pattern);
/** REGEX_FAILED with pattern->status set. */
regex pattern_compile(struct pattern *pattern, uint32_t root);
/** A node without assertions. */
regex pattern_direct(struct pattern *pattern, uint32_t node);

/* ---- regex_context.c ---- */

/** For every context the expression of the rest of the text. */
struct family {
    regex by[CONTEXTS_MAX];
};
/** Finds the contexts that the pattern's assertions tell apart. */
bool contexts_find(struct pattern *pattern);
/** A look-behind, or part of one, that asks for no more than the character before. */
bool behind_is_single(const struct pattern *pattern, uint32_t node);
/** Whether such a look-behind's body holds in `context`. */
bool behind_holds(const struct pattern *pattern, uint32_t node, uint32_t context);
/** `first`, and then what the context calls for that its last character makes. */
regex context_join(struct pattern *pattern, regex first, const struct family *rest, uint32_t before);

/* ---- regex_property.c, regex_fold.c ---- */

/** Calls pattern_add_range for the characters with the property; `value` is empty where there is no '='. */
enum property_result { PROPERTY_KNOWN, PROPERTY_UNKNOWN, PROPERTY_FAILED };
enum property_result pattern_add_property(struct pattern *pattern, struct bytes_view name, struct bytes_view value);
/** The set with all characters that equal one of its own when case does not count (simple folding). */
uint32_t regex_set_fold(struct regex_pool *pool, uint32_t set);

#endif
