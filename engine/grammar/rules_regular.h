/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Which parts of a grammar are regular, and as what expressions.
 *
 * A rule is regular when it is made of terminals and regular rules, or calls only itself and only at the end (or only in front) of its alternatives: R = A R | B
 * is A* B (Arden). Expressions of more than REGULAR_SIZE_MAX leaves stay rules, so that rules which double each other do not become exponential.
 */
#ifndef ENGINE_GRAMMAR_RULES_REGULAR_H
#define ENGINE_GRAMMAR_RULES_REGULAR_H

#include "engine/grammar/rules.h"

enum { REGULAR_SIZE_MAX = 1 << 16 };

struct rules_regular {
    regex *
        nodes; /* each node's expression; REGULAR_NOT: it has none; REGULAR_LATER: a literal that nobody asked for yet */
    uint32_t *sizes; /* leaves of it */
    regex *rules;    /* each rule's, REGULAR_NOT where it has none or the start does not reach it */
    uint32_t *rule_sizes;
    regex *scratch;
};
#define REGULAR_NOT REGEX_NOT_KNOWN
#define REGULAR_LATER (REGEX_NOT_KNOWN - 1)

/** Everything that rules->start reaches. Call _deinit in any case. */
enum status rules_regular_find(struct rules *rules, struct rules_regular *out);
void rules_regular_deinit(struct rules *rules, struct rules_regular *regular);

/** The expression of a regular node. REGEX_FAILED: the budget. */
regex rules_regular_value(struct rules *rules, struct rules_regular *regular, uint32_t node);
/** One after the other of `count` regular nodes. */
regex rules_regular_concat(struct rules *rules, struct rules_regular *regular, const uint32_t *nodes, uint32_t count);
/** Any of those of `count` nodes that are regular; REGEX_NOTHING: none is. */
regex rules_regular_or(struct rules *rules, struct rules_regular *regular, const uint32_t *nodes, uint32_t count);

#endif
