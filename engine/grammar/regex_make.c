/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Constructors of all but | and &. Each keeps the forms in which equal languages most often meet: concatenations lean to the right, a repeat of a
 * repeat is one repeat, neighbours with the same body are counted together. */
#include "engine/grammar/regex_internal.h"

static uint16_t deeper(const struct regex_pool *pool, regex a) {
    return (uint16_t)(regex_node(pool, a)->depth + 1);
}

/** Flags that a node has when all its parts have them. */
static uint8_t common_flags(const struct regex_pool *pool, regex a, regex b) {
    uint8_t x = regex_node(pool, a)->flags, y = regex_node(pool, b)->flags;
    return (x & y & (REGEX_NULLABLE | REGEX_LIVE | REGEX_EXACT | REGEX_CONTIGUOUS)) | ((x | y) & REGEX_RECURSIVE);
}

regex regex_make_class(struct regex_pool *pool, uint32_t set) {
    if (set == REGEX_SET_FAILED) return REGEX_FAILED;
    if (pool->sets[set].count == 0) return REGEX_NOTHING;
    return regex_intern(pool, &(struct regex_node){.kind = REGEX_KIND_CLASS,
                                                   .flags = REGEX_EXACT | REGEX_CONTIGUOUS,
                                                   .set = set,
                                                   .length_min = 1,
                                                   .length_max = 1});
}

static regex intern_concat(struct regex_pool *pool, regex head, regex tail) {
    const struct regex_node *h = regex_node(pool, head), *t = regex_node(pool, tail);
    uint16_t depth = (uint16_t)(h->depth + 1);
    return regex_intern(pool, &(struct regex_node){.kind = REGEX_KIND_CONCAT,
                                                   .flags = common_flags(pool, head, tail),
                                                   .depth = depth > t->depth ? depth : t->depth,
                                                   .head = head,
                                                   .tail = tail,
                                                   .length_min = regex_minimum(regex_add(h->length_min, t->length_min)),
                                                   .length_max = regex_add(h->length_max, t->length_max)});
}

/** R{a,b} as its parts, R being R{1,1}. */
static struct regex_node counted(const struct regex_pool *pool, regex r) {
    const struct regex_node *node = regex_node(pool, r);
    if (node->kind == REGEX_KIND_REPEAT) return *node;
    return (struct regex_node){.body = r, .min = 1, .max = 1};
}

/** `a` is no concatenation, neither is nothing nor empty. */
static regex concat_one(struct regex_pool *pool, regex a, regex b) {
    if (b == REGEX_EMPTY) return a;
    if (b == REGEX_EVERYTHING && regex_has(pool, a, REGEX_NULLABLE)) return b;
    if (a == REGEX_EVERYTHING && regex_has(pool, b, REGEX_NULLABLE)) return a;
    const struct regex_node *next = regex_node(pool, b);
    bool chain = next->kind == REGEX_KIND_CONCAT;
    regex neighbour = chain ? next->head : b, rest = chain ? next->tail : REGEX_EMPTY;
    if (regex_node(pool, a)->kind == REGEX_KIND_REPEAT || regex_node(pool, neighbour)->kind == REGEX_KIND_REPEAT) {
        struct regex_node x = counted(pool, a), y = counted(pool, neighbour);
        if (x.body == y.body) {
            regex both =
                regex_make_repeat(pool, x.body, regex_minimum(regex_add(x.min, y.min)), regex_add(x.max, y.max));
            if (both == REGEX_FAILED || rest == REGEX_EMPTY) return both;
            return concat_one(pool, both, rest);
        }
    }
    return intern_concat(pool, a, b);
}

regex regex_make_concat(struct regex_pool *pool, regex a, regex b) {
    if (a == REGEX_FAILED || b == REGEX_FAILED) return REGEX_FAILED;
    if (a == REGEX_NOTHING || b == REGEX_NOTHING) return REGEX_NOTHING;
    if (a == REGEX_EMPTY) return b;
    if (b == REGEX_EMPTY) return a;
    if (regex_node(pool, a)->kind != REGEX_KIND_CONCAT) return concat_one(pool, a, b);
    uint32_t base = pool->scratch_count;
    for (; regex_node(pool, a)->kind == REGEX_KIND_CONCAT; a = regex_node(pool, a)->tail)
        if (!regex_push(pool, regex_node(pool, a)->head)) return REGEX_FAILED;
    for (;;) {
        b = concat_one(pool, a, b);
        if (b == REGEX_FAILED || pool->scratch_count == base) break;
        a = pool->scratch[--pool->scratch_count];
    }
    pool->scratch_count = base;
    return b;
}

/** Whether the counts m..n of a..b are all that lie between m*a and n*b. They are from some k on, so the smallest k decides. */
static bool counts_join(uint32_t a, uint32_t b, uint32_t m, uint32_t n) {
    if (m == n || b == REGEX_UNBOUNDED) return m == n || m > 0 || a <= 1;
    return (uint64_t)a * (m + 1ull) <= (uint64_t)b * m + 1;
}

static regex intern_repeat(struct regex_pool *pool, regex body, uint32_t min, uint32_t max) {
    const struct regex_node *b = regex_node(pool, body);
    uint8_t flags = b->flags & (REGEX_EXACT | REGEX_RECURSIVE | REGEX_LIVE | REGEX_NULLABLE);
    if (min == 0) flags |= REGEX_NULLABLE | REGEX_LIVE;
    if ((b->flags & REGEX_CONTIGUOUS) != 0 && counts_join(b->length_min, b->length_max, min, max))
        flags |= REGEX_CONTIGUOUS;
    return regex_intern(pool, &(struct regex_node){.kind = REGEX_KIND_REPEAT,
                                                   .flags = flags,
                                                   .depth = deeper(pool, body),
                                                   .body = body,
                                                   .min = min,
                                                   .max = max,
                                                   .length_min = regex_minimum(regex_times(b->length_min, min)),
                                                   .length_max = regex_times(b->length_max, max)});
}

/** `body` without the empty text, where that is one of its alternatives. */
static regex without_empty(struct regex_pool *pool, regex body) {
    const struct regex_node *node = regex_node(pool, body);
    if (node->kind != REGEX_KIND_OR || node->children[0] != REGEX_EMPTY) return body;
    const regex *children = node->children;
    uint32_t base = pool->scratch_count, count = node->count;
    for (uint32_t i = 1; i < count; i++)
        if (!regex_push_or(pool, children[i])) return REGEX_FAILED;
    return regex_or_from(pool, base);
}

regex regex_make_repeat(struct regex_pool *pool, regex body, uint32_t min, uint32_t max) {
    if (body == REGEX_FAILED) return REGEX_FAILED;
    if (min > max) return REGEX_NOTHING;
    if (max == 0 || body == REGEX_EMPTY) return REGEX_EMPTY;
    if (body == REGEX_NOTHING) return min == 0 ? REGEX_EMPTY : REGEX_NOTHING;
    if (body == REGEX_EVERYTHING) return body;
    if (regex_has(pool, body, REGEX_NULLABLE)) {
        min = 0;
        body = without_empty(pool, body);
        if (body == REGEX_FAILED) return REGEX_FAILED;
    }
    if (max == 1 && (min == 1 || regex_has(pool, body, REGEX_NULLABLE))) return body;
    if (min == 0 && max == 1 && regex_node(pool, body)->kind == REGEX_KIND_OR)
        return regex_make_or(pool, REGEX_EMPTY, body);
    struct regex_node inner = *regex_node(pool, body);
    if (inner.kind == REGEX_KIND_REPEAT && counts_join(inner.min, inner.max, min, max))
        return regex_make_repeat(pool, inner.body, regex_minimum(regex_times(inner.min, min)),
                                 regex_times(inner.max, max));
    return intern_repeat(pool, body, min, max);
}

regex regex_make_not(struct regex_pool *pool, regex a) {
    if (a == REGEX_FAILED) return REGEX_FAILED;
    if (a == REGEX_NOTHING) return REGEX_EVERYTHING;
    if (a == REGEX_EVERYTHING) return REGEX_NOTHING;
    const struct regex_node *node = regex_node(pool, a);
    if (node->kind == REGEX_KIND_NOT) return node->of;
    bool nullable = (node->flags & REGEX_NULLABLE) != 0;
    return regex_intern(pool,
                        &(struct regex_node){.kind = REGEX_KIND_NOT,
                                             .flags = (nullable ? 0 : REGEX_NULLABLE) | (node->flags & REGEX_RECURSIVE),
                                             .depth = deeper(pool, a),
                                             .of = a,
                                             .length_min = nullable ? 1 : 0,
                                             .length_max = REGEX_UNBOUNDED});
}

/** The texts of a trie's node may have every length between the bounds only if its children's lengths touch. */
static bool lengths_touch(const struct regex_pool *pool, const struct regex_edge *edges, uint32_t count, bool accepts) {
    uint32_t low = REGEX_UNBOUNDED, high = 0;
    if (accepts) low = high = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct regex_node *node = regex_node(pool, edges[i].target);
        uint32_t first = regex_add(node->length_min, 1), last = regex_add(node->length_max, 1);
        if ((node->flags & REGEX_CONTIGUOUS) == 0) return false;
        if (low != REGEX_UNBOUNDED && (first > regex_add(high, 1) || regex_add(last, 1) < low)) return false;
        if (first < low) low = first;
        if (last > high) high = last;
    }
    return true;
}

/** Edges to one place are one class; an unbranched node is a class before its child. */
static regex branch_as_class(struct regex_pool *pool, const struct regex_edge *edges, uint32_t count) {
    uint32_t set = REGEX_SET_FAILED;
    if (count == 1) {
        set = regex_set_make(pool, &(struct regex_range){edges[0].code_point, edges[0].code_point}, 1, false);
    } else {
        struct regex_range *ranges = regex_alloc(pool, count * sizeof *ranges);
        if (ranges == NULL) return REGEX_FAILED;
        for (uint32_t i = 0; i < count; i++) ranges[i] = (struct regex_range){edges[i].code_point, edges[i].code_point};
        set = regex_set_make(pool, ranges, count, false);
    }
    return regex_make_concat(pool, regex_make_class(pool, set), edges[0].target);
}

regex regex_make_branch(struct regex_pool *pool, const struct regex_edge *edges, uint32_t count, bool accepts) {
    if (count == 0) return accepts ? REGEX_EMPTY : REGEX_NOTHING;
    struct regex_node like = {.kind = REGEX_KIND_BRANCH, .edges = edges, .edge_count = count};
    like.length_min = accepts ? 0 : REGEX_UNBOUNDED;
    like.flags = REGEX_EXACT | (accepts ? REGEX_NULLABLE : 0);
    bool same = !accepts;
    for (uint32_t i = 0; i < count; i++) {
        if (edges[i].target == REGEX_FAILED) return REGEX_FAILED;
        const struct regex_node *node = regex_node(pool, edges[i].target);
        if (node->depth > like.depth) like.depth = node->depth;
        if (node->length_min + 1 < like.length_min) like.length_min = node->length_min + 1;
        if (node->length_max + 1 > like.length_max) like.length_max = node->length_max + 1;
        same = same && edges[i].target == edges[0].target;
    }
    if (same) return branch_as_class(pool, edges, count);
    if (lengths_touch(pool, edges, count, accepts)) like.flags |= REGEX_CONTIGUOUS;
    return regex_intern(pool, &like);
}
