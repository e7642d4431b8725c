/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* | and &: operands are flat, ascending and different, units and zeros gone, classes and counts with the same body merged. That keeps states few. */
#include "engine/grammar/regex_internal.h"

#include <stdlib.h>
#include <string.h>

enum { FEW = 24 };

/* ---- operands on the scratch stack ---- */

static bool push_flat(struct regex_pool *pool, regex a, enum regex_kind kind, regex unit) {
    if (a == REGEX_FAILED) return false;
    if (a == unit) return true;
    const struct regex_node *node = regex_node(pool, a);
    if (node->kind != kind) return regex_push(pool, a);
    const regex *children = node->children;
    uint32_t count = node->count;
    if (!budget_spend(pool->budget, count / 8)) return false;
    for (uint32_t i = 0; i < count; i++)
        if (!regex_push(pool, children[i])) return false;
    return true;
}

bool regex_push_or(struct regex_pool *pool, regex a) {
    if (a != REGEX_FAILED && regex_has(pool, a, REGEX_DEAD)) return true;
    return push_flat(pool, a, REGEX_KIND_OR, REGEX_NOTHING);
}
bool regex_push_and(struct regex_pool *pool, regex a) {
    return push_flat(pool, a, REGEX_KIND_AND, REGEX_EVERYTHING);
}

static int by_id(const void *a, const void *b) {
    regex x = *(const regex *)a, y = *(const regex *)b;
    return x < y ? -1 : x > y;
}

/** Operands from `base` ascending, each once. */
static void sort_operands(struct regex_pool *pool, uint32_t base) {
    regex *list = pool->scratch + base;
    uint32_t count = pool->scratch_count - base, kept = 0;
    if (count > FEW) {
        qsort(list, count, sizeof *list, by_id);
    } else {
        for (uint32_t i = 1; i < count; i++) {
            regex r = list[i];
            uint32_t at = i;
            for (; at > 0 && list[at - 1] > r; at--) list[at] = list[at - 1];
            list[at] = r;
        }
    }
    for (uint32_t i = 0; i < count; i++)
        if (kept == 0 || list[kept - 1] != list[i]) list[kept++] = list[i];
    pool->scratch_count = base + kept;
}

static bool listed(const struct regex_pool *pool, uint32_t base, uint32_t end, regex r) {
    const regex *list = pool->scratch + base;
    uint32_t count = end - base;
    if (count > FEW) return bsearch(&r, list, count, sizeof *list, by_id) != NULL;
    for (uint32_t i = 0; i < count; i++)
        if (list[i] == r) return true;
    return false;
}

/** X with ~X, ~(X|Y) or (for |) ~(X&Y): the zero of the operation. */
static bool contradiction(const struct regex_pool *pool, uint32_t base, enum regex_kind inner) {
    uint32_t end = pool->scratch_count;
    for (uint32_t i = base; i < end; i++) {
        const struct regex_node *node = regex_node(pool, pool->scratch[i]);
        if (node->kind != REGEX_KIND_NOT) continue;
        if (listed(pool, base, end, node->of)) return true;
        const struct regex_node *of = regex_node(pool, node->of);
        if (of->kind != inner || of->count > FEW) continue;
        for (uint32_t k = 0; k < of->count; k++)
            if (listed(pool, base, end, of->children[k])) return true;
    }
    return false;
}

/** A | (A & B) = A, A & (A | B) = A: drop operands of kind `inner` that share one of theirs with the list. False: the budget. */
static bool absorb(struct regex_pool *pool, uint32_t base, enum regex_kind inner) {
    uint32_t end = pool->scratch_count, candidates = 0;
    for (uint32_t i = base; i < end; i++) candidates += regex_node(pool, pool->scratch[i])->kind == inner;
    if (candidates == 0 || candidates == end - base) return true;
    if (!budget_spend(pool->budget, candidates)) return false;
    for (uint32_t i = base; i < end; i++) {
        regex r = pool->scratch[i];
        const struct regex_node *node = regex_node(pool, r);
        bool drop = false;
        if (node->kind == inner && node->count <= FEW)
            for (uint32_t k = 0; k < node->count && !drop; k++) drop = listed(pool, base, end, node->children[k]);
        if (!drop && !regex_push(pool, r)) return false;
    }
    memmove(pool->scratch + base, pool->scratch + end, (pool->scratch_count - end) * sizeof *pool->scratch);
    pool->scratch_count -= end - base;
    return true;
}

/** The place of `r` in the ascending list, or `end`. */
static uint32_t place_of(const struct regex_pool *pool, uint32_t base, uint32_t end, regex r) {
    const regex *found = bsearch(&r, pool->scratch + base, end - base, sizeof r, by_id);
    return found != NULL ? (uint32_t)(found - pool->scratch) : end;
}

/** X T | T = X T where X may be empty, and so on along T: else a?b?c?... would have as many alternatives as it is long. A tail is older than what it is
 *  the tail of, so that going down the list meets the longest first. False: the budget. */
static bool absorb_tails(struct regex_pool *pool, uint32_t base) {
    uint32_t end = pool->scratch_count, count = end - base, kept = base;
    bool any = false;
    for (uint32_t i = base; i < end && !any; i++) {
        const struct regex_node *node = regex_node(pool, pool->scratch[i]);
        any = node->kind == REGEX_KIND_CONCAT && regex_has(pool, node->head, REGEX_NULLABLE);
    }
    if (!any || count < 2) return true;
    for (uint32_t i = 0; i < count; i++)
        if (!regex_push(pool, false)) return false; /* whether operand i is dropped */
    for (uint32_t i = end; i-- > base;) {
        const struct regex_node *node = regex_node(pool, pool->scratch[i]);
        uint32_t walked = 0, dropped;
        while (pool->scratch[i + count] == false && node->kind == REGEX_KIND_CONCAT &&
               regex_has(pool, node->head, REGEX_NULLABLE)) {
            dropped = place_of(pool, base, end, node->tail);
            if (dropped < end && pool->scratch[dropped + count] != false) break; /* and so are those behind it */
            if (dropped < end) pool->scratch[dropped + count] = true;
            node = regex_node(pool, node->tail);
            walked++;
        }
        if (!budget_spend(pool->budget, walked / 8)) return false;
    }
    for (uint32_t i = base; i < end; i++)
        if (pool->scratch[i + count] == false) pool->scratch[kept++] = pool->scratch[i];
    pool->scratch_count = kept;
    return true;
}

/* ---- counts with one body and one tail ---- */

struct counted {
    regex tail, body;
    uint32_t min, max;
    bool repeat;
};

static struct counted counted(const struct regex_pool *pool, regex r) {
    const struct regex_node *node = regex_node(pool, r);
    struct counted out = {.tail = REGEX_EMPTY, .body = r, .min = 1, .max = 1};
    if (node->kind == REGEX_KIND_CONCAT) {
        out.tail = node->tail;
        out.body = node->head;
        node = regex_node(pool, node->head);
    }
    if (node->kind != REGEX_KIND_REPEAT) return out;
    return (struct counted){.tail = out.tail, .body = node->body, .min = node->min, .max = node->max, .repeat = true};
}

static int by_count(const void *a, const void *b, void *context) {
    const struct regex_pool *pool = context;
    struct counted x = counted(pool, *(const regex *)a), y = counted(pool, *(const regex *)b);
    if (x.tail != y.tail) return x.tail < y.tail ? -1 : 1;
    if (x.body != y.body) return x.body < y.body ? -1 : 1;
    if (x.min != y.min) return x.min < y.min ? -1 : 1;
    return x.max < y.max ? -1 : x.max > y.max;
}

/** R{a,b}T | R{c,d}T = R{a,d}T where the counts meet. False: the budget. */
static bool merge_counts(struct regex_pool *pool, uint32_t base) {
    uint32_t count = pool->scratch_count - base, repeats = 0;
    for (uint32_t i = base; i < pool->scratch_count; i++) repeats += counted(pool, pool->scratch[i]).repeat;
    if (repeats == 0 || count < 2) return true;
    if (!budget_spend(pool->budget, count / 2)) return false;
    qsort_r(pool->scratch + base, count, sizeof *pool->scratch, by_count, pool);
    uint32_t kept = base;
    for (uint32_t i = base; i < base + count;) {
        regex r = pool->scratch[i++];
        struct counted run = counted(pool, r);
        bool grown = false;
        for (; i < base + count; i++) {
            struct counted next = counted(pool, pool->scratch[i]);
            if (next.tail != run.tail || next.body != run.body || next.min > regex_add(run.max, 1)) break;
            if (next.max > run.max) run.max = next.max;
            grown = true;
        }
        if (grown) r = regex_make_concat(pool, regex_make_repeat(pool, run.body, run.min, run.max), run.tail);
        if (r == REGEX_FAILED) return false;
        pool->scratch[kept++] = r;
    }
    pool->scratch_count = kept;
    return true;
}

/* ---- | ---- */

/** All classes as one. */
static bool merge_classes(struct regex_pool *pool, uint32_t base) {
    uint32_t kept = base, classes = 0, set = 0;
    for (uint32_t i = base; i < pool->scratch_count; i++) {
        const struct regex_node *node = regex_node(pool, pool->scratch[i]);
        if (node->kind != REGEX_KIND_CLASS)
            pool->scratch[kept++] = pool->scratch[i];
        else
            set = classes++ == 0 ? node->set : regex_set_or(pool, set, node->set);
    }
    if (classes == 0) return true;
    pool->scratch_count = kept;
    regex all = regex_make_class(pool, set);
    return all != REGEX_FAILED && regex_push(pool, all);
}

/** ~A | ~B = ~(A & B), ~A & ~B = ~(A | B). */
static bool merge_nots(struct regex_pool *pool, uint32_t base, bool is_or) {
    uint32_t kept = base, nots = 0;
    regex all = REGEX_NOTHING;
    for (uint32_t i = base; i < pool->scratch_count; i++) {
        const struct regex_node *node = regex_node(pool, pool->scratch[i]);
        if (node->kind != REGEX_KIND_NOT) {
            pool->scratch[kept++] = pool->scratch[i];
            continue;
        }
        if (nots++ == 0)
            all = node->of;
        else
            all = is_or ? regex_make_and(pool, all, node->of) : regex_make_or(pool, all, node->of);
        if (all == REGEX_FAILED) return false;
    }
    if (nots == 0) return true;
    pool->scratch_count = kept;
    if (nots == 1) return regex_push(pool, regex_make_not(pool, all));
    return is_or ? regex_push_or(pool, regex_make_not(pool, all)) : regex_push_and(pool, regex_make_not(pool, all));
}

/** The empty text need not be told where another operand has it. */
static void drop_empty(struct regex_pool *pool, uint32_t base) {
    if (pool->scratch_count - base < 2 || pool->scratch[base] != REGEX_EMPTY) return;
    for (uint32_t i = base + 1; i < pool->scratch_count; i++) {
        if (!regex_has(pool, pool->scratch[i], REGEX_NULLABLE)) continue;
        memmove(pool->scratch + base, pool->scratch + base + 1,
                (pool->scratch_count - base - 1) * sizeof *pool->scratch);
        pool->scratch_count--;
        return;
    }
}

static regex intern_or(struct regex_pool *pool, uint32_t base) {
    struct regex_node like = {.kind = REGEX_KIND_OR, .flags = REGEX_EXACT, .length_min = REGEX_UNBOUNDED};
    like.children = pool->scratch + base;
    like.count = pool->scratch_count - base;
    bool contiguous = true;
    for (uint32_t i = 0; i < like.count; i++) {
        const struct regex_node *node = regex_node(pool, like.children[i]);
        like.flags |= node->flags & (REGEX_NULLABLE | REGEX_LIVE | REGEX_RECURSIVE);
        if ((node->flags & REGEX_EXACT) == 0) like.flags &= ~REGEX_EXACT;
        if ((node->flags & REGEX_CONTIGUOUS) == 0) contiguous = false;
        if (i > 0 &&
            (node->length_min > regex_add(like.length_max, 1) || regex_add(node->length_max, 1) < like.length_min))
            contiguous = false;
        if (node->length_min < like.length_min) like.length_min = node->length_min;
        if (node->length_max > like.length_max) like.length_max = node->length_max;
        if (node->depth >= like.depth) like.depth = (uint16_t)(node->depth + 1);
    }
    if (contiguous) like.flags |= REGEX_CONTIGUOUS;
    return regex_intern(pool, &like);
}

static regex or_operands(struct regex_pool *pool, uint32_t base) {
    if (!budget_spend(pool->budget, (pool->scratch_count - base) / 4)) return REGEX_FAILED;
    sort_operands(pool, base);
    if (pool->scratch_count - base < 2) return pool->scratch_count == base ? REGEX_NOTHING : pool->scratch[base];
    if (listed(pool, base, pool->scratch_count, REGEX_EVERYTHING)) return REGEX_EVERYTHING;
    if (!merge_classes(pool, base) || !merge_counts(pool, base) || !merge_nots(pool, base, true)) return REGEX_FAILED;
    sort_operands(pool, base);
    drop_empty(pool, base);
    if (!absorb(pool, base, REGEX_KIND_AND) || !absorb_tails(pool, base)) return REGEX_FAILED;
    if (contradiction(pool, base, REGEX_KIND_AND)) return REGEX_EVERYTHING;
    if (listed(pool, base, pool->scratch_count, REGEX_EVERYTHING)) return REGEX_EVERYTHING;
    uint32_t count = pool->scratch_count - base;
    if (count == 1) return pool->scratch[base];
    regex second = pool->scratch[base + 1];
    if (count == 2 && pool->scratch[base] == REGEX_EMPTY && regex_node(pool, second)->kind != REGEX_KIND_BRANCH)
        return regex_make_repeat(pool, second, 0, 1);
    return intern_or(pool, base);
}

regex regex_or_from(struct regex_pool *pool, uint32_t base) {
    regex made = or_operands(pool, base);
    pool->scratch_count = base;
    return made;
}

regex regex_make_or(struct regex_pool *pool, regex a, regex b) {
    if (a == b || b == REGEX_NOTHING) return a;
    if (a == REGEX_NOTHING) return b;
    uint32_t base = pool->scratch_count;
    if (!regex_push_or(pool, a) || !regex_push_or(pool, b)) {
        pool->scratch_count = base;
        return REGEX_FAILED;
    }
    return regex_or_from(pool, base);
}

/* ---- & ---- */

static bool is_counted_class(const struct regex_pool *pool, regex r) {
    const struct regex_node *node = regex_node(pool, r);
    if (node->kind == REGEX_KIND_REPEAT) node = regex_node(pool, node->body);
    return node->kind == REGEX_KIND_CLASS;
}

/** C{a,b} & D{c,d} = (C and D){max(a,c), min(b,d)}. */
static bool meet_counts(struct regex_pool *pool, uint32_t base) {
    uint32_t kept = base, met = 0, set = 0, min = 0, max = REGEX_UNBOUNDED;
    for (uint32_t i = base; i < pool->scratch_count; i++) {
        regex r = pool->scratch[i];
        if (!is_counted_class(pool, r)) {
            pool->scratch[kept++] = r;
            continue;
        }
        struct counted c = counted(pool, r);
        uint32_t own = regex_node(pool, c.body)->set;
        set = met++ == 0 ? own : regex_set_and(pool, set, own);
        if (c.min > min) min = c.min;
        if (c.max < max) max = c.max;
    }
    if (met == 0) return true;
    pool->scratch_count = kept;
    return regex_push_and(pool, regex_make_repeat(pool, regex_make_class(pool, set), min, max));
}

/** P & .{m,n} is live when P has a text of such a length: seen without a search for most P. */
static bool has_length(const struct regex_pool *pool, regex r, uint32_t min, uint32_t max) {
    const struct regex_node *node = regex_node(pool, r);
    if ((node->flags & REGEX_EXACT) == 0) return false;
    if ((node->flags & REGEX_CONTIGUOUS) != 0) return node->length_min <= max && min <= node->length_max;
    if ((node->length_min >= min && node->length_min <= max) || (node->length_max >= min && node->length_max <= max))
        return true;
    if (node->kind != REGEX_KIND_OR) return false;
    for (uint32_t i = 0; i < node->count; i++)
        if (has_length(pool, node->children[i], min, max)) return true;
    return false;
}

static bool live_by_length(const struct regex_pool *pool, const regex *pair) {
    for (int i = 0; i < 2; i++) {
        const struct regex_node *node = regex_node(pool, pair[i]);
        bool length = pair[i] == REGEX_ANY || (node->kind == REGEX_KIND_REPEAT && node->body == REGEX_ANY);
        if (length && has_length(pool, pair[1 - i], node->length_min, node->length_max)) return true;
    }
    return false;
}

static regex intern_and(struct regex_pool *pool, uint32_t base) {
    struct regex_node like = {.kind = REGEX_KIND_AND, .flags = REGEX_NULLABLE, .length_max = REGEX_UNBOUNDED};
    like.children = pool->scratch + base;
    like.count = pool->scratch_count - base;
    for (uint32_t i = 0; i < like.count; i++) {
        const struct regex_node *node = regex_node(pool, like.children[i]);
        if ((node->flags & REGEX_NULLABLE) == 0) like.flags &= ~REGEX_NULLABLE;
        if ((node->flags & REGEX_DEAD) != 0) return REGEX_NOTHING;
        like.flags |= node->flags & REGEX_RECURSIVE;
        if (node->length_min > like.length_min) like.length_min = node->length_min;
        if (node->length_max < like.length_max) like.length_max = node->length_max;
        if (node->depth >= like.depth) like.depth = (uint16_t)(node->depth + 1);
    }
    if (like.length_min > like.length_max) return REGEX_NOTHING;
    if (like.count == 2 && live_by_length(pool, like.children)) like.flags |= REGEX_LIVE;
    return regex_intern(pool, &like);
}

/** Loops need the disjunctive form, else their states would grow at every turn: (A | B) & C = (A & C) | (B & C). */
static regex distribute(struct regex_pool *pool, uint32_t base, uint32_t which) {
    struct regex_node alternatives = *regex_node(pool, pool->scratch[which]);
    pool->scratch[which] = REGEX_EVERYTHING;
    uint32_t count = pool->scratch_count - base;
    regex all = REGEX_NOTHING;
    for (uint32_t i = 0; i < alternatives.count; i++) {
        uint32_t inner = pool->scratch_count;
        bool pushed = budget_spend(pool->budget, 1);
        for (uint32_t k = 0; k < count && pushed; k++) pushed = regex_push_and(pool, pool->scratch[base + k]);
        if (!pushed || !regex_push_and(pool, alternatives.children[i])) return REGEX_FAILED;
        all = regex_make_or(pool, all, regex_and_from(pool, inner));
        if (all == REGEX_FAILED) return REGEX_FAILED;
    }
    return all;
}

static regex and_operands(struct regex_pool *pool, uint32_t base) {
    if (!budget_spend(pool->budget, (pool->scratch_count - base) / 4)) return REGEX_FAILED;
    sort_operands(pool, base);
    if (pool->scratch_count - base < 2) return pool->scratch_count == base ? REGEX_EVERYTHING : pool->scratch[base];
    if (!meet_counts(pool, base) || !merge_nots(pool, base, false)) return REGEX_FAILED;
    sort_operands(pool, base);
    if (listed(pool, base, pool->scratch_count, REGEX_NOTHING)) return REGEX_NOTHING;
    if (listed(pool, base, pool->scratch_count, REGEX_EMPTY)) {
        for (uint32_t i = base; i < pool->scratch_count; i++)
            if (!regex_has(pool, pool->scratch[i], REGEX_NULLABLE)) return REGEX_NOTHING;
        return REGEX_EMPTY;
    }
    if (!absorb(pool, base, REGEX_KIND_OR)) return REGEX_FAILED;
    if (contradiction(pool, base, REGEX_KIND_OR)) return REGEX_NOTHING;
    uint32_t count = pool->scratch_count - base;
    if (count < 2) return count == 0 ? REGEX_EVERYTHING : pool->scratch[base];
    for (uint32_t i = base; i < pool->scratch_count; i++) {
        const struct regex_node *node = regex_node(pool, pool->scratch[i]);
        if (node->kind == REGEX_KIND_OR && (node->flags & REGEX_RECURSIVE) != 0) return distribute(pool, base, i);
    }
    return intern_and(pool, base);
}

regex regex_and_from(struct regex_pool *pool, uint32_t base) {
    regex made = and_operands(pool, base);
    pool->scratch_count = base;
    return made;
}

regex regex_make_and(struct regex_pool *pool, regex a, regex b) {
    if (a == REGEX_FAILED || b == REGEX_FAILED) return REGEX_FAILED;
    if (a == b || b == REGEX_EVERYTHING) return a;
    if (a == REGEX_EVERYTHING) return b;
    if (a == REGEX_NOTHING || b == REGEX_NOTHING) return REGEX_NOTHING;
    uint32_t base = pool->scratch_count;
    if (!regex_push_and(pool, a) || !regex_push_and(pool, b)) {
        pool->scratch_count = base;
        return REGEX_FAILED;
    }
    return regex_and_from(pool, base);
}
