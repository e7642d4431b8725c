/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * What a formula says about strings, as one regular language.
 *
 * A format that is tighter than its standard has a complement that is tighter, too: between the two are texts of which nobody knows. So a negation is not
 * the complement of a language but is pushed down to the single formulas, and neither it nor what it negates ever lets an invalid text pass.
 */
#include "engine/grammar/schema_internal.h"

/** Strings that none, and exactly one, and more of some formulas have. */
struct how_many {
    regex none, one, more;
};

static regex strings_of(struct schema *schema, formula f, bool negated, int depth);

/** Halves are put together, so that long lists of words cost little more than their letters. */
static struct how_many how_many_of(struct schema *schema, const formula *list, uint32_t count, int depth) {
    struct regex_pool *pool = schema->regexes;
    struct how_many out = {.more = REGEX_NOTHING};
    if (count == 1) {
        out.one = strings_of(schema, list[0], false, depth);
        out.none = strings_of(schema, list[0], true, depth);
        return out;
    }
    struct how_many a = how_many_of(schema, list, count / 2, depth);
    struct how_many b = how_many_of(schema, list + count / 2, count - count / 2, depth);
    out.none = regex_and(pool, a.none, b.none);
    out.one = regex_or(pool, regex_and(pool, a.one, b.none), regex_and(pool, a.none, b.one));
    out.more = regex_or(pool, regex_or(pool, a.more, b.more), regex_and(pool, a.one, b.one));
    return out;
}

/** Of all, or of any. */
static regex strings_of_list(struct schema *schema, const formula *list, uint32_t count, bool all, bool negated,
                             int depth) {
    if (count == 0) return all ? REGEX_EVERYTHING : REGEX_NOTHING;
    if (count == 1) return strings_of(schema, list[0], negated, depth);
    regex a = strings_of_list(schema, list, count / 2, all, negated, depth);
    if (a == (all ? REGEX_NOTHING : REGEX_EVERYTHING)) return a;
    regex b = strings_of_list(schema, list + count / 2, count - count / 2, all, negated, depth);
    return all ? regex_and(schema->regexes, a, b) : regex_or(schema->regexes, a, b);
}

enum { LIST_LONG = 8 };

/** The same, of a node; long lists are remembered: other branches of a choice ask for them again. */
static regex strings_of_node(struct schema *schema, formula f, const struct formula_node *node, bool negated,
                             int depth) {
    uint64_t key = (uint64_t)f << 1 | negated;
    bool all = (node->kind == F_AND) != negated, is_long = node->count >= LIST_LONG;
    uint32_t out;
    if (is_long && memo_get(&schema->strings, key, &out)) return out;
    out = strings_of_list(schema, node->list, node->count, all, negated, depth);
    if (is_long && out != REGEX_FAILED && !memo_put(&schema->strings, key, out)) return REGEX_FAILED;
    return out;
}

static regex strings_of(struct schema *schema, formula f, bool negated, int depth) {
    f = schema_follow(schema, f);
    if (f == FORMULA_NONE || depth > 2 * SCHEMA_DEPTH_MAX || !budget_spend(&schema->budget, 1)) return REGEX_FAILED;
    struct formula_node node = *schema_node(schema, f);
    switch (node.kind) {
    case F_FALSE:
        return negated ? REGEX_EVERYTHING : REGEX_NOTHING;
    case F_TYPE:
        return (node.a >> VALUE_STRING & 1) != negated ? REGEX_EVERYTHING : REGEX_NOTHING;
    case F_STRING:
        if (negated && node.b == REGEX_NOT_KNOWN) return regex_not(schema->regexes, node.a);
        return negated ? node.b : node.a;
    case F_NOT:
        return strings_of(schema, node.a, !negated, depth + 1);
    case F_AND:
    case F_OR:
        return strings_of_node(schema, f, &node, negated, depth + 1);
    case F_ONE_OF: {
        struct how_many count = how_many_of(schema, node.list, node.count, depth + 1);
        return negated ? regex_or(schema->regexes, count.none, count.more) : count.one;
    }
    default:
        return negated ? REGEX_NOTHING : REGEX_EVERYTHING;
    }
}

regex schema_strings(struct schema *schema, formula f, bool negated) {
    return strings_of(schema, f, negated, 0);
}
