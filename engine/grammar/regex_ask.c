/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The public constructors, which settle what they return, and questions about whole languages. */
#include "engine/grammar/regex_internal.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/* ---- building ---- */

regex regex_class(struct regex_pool *pool, const struct regex_range *ranges, size_t count, bool inverted) {
    return regex_make_class(pool, regex_set_make(pool, ranges, count, inverted));
}
regex regex_concat(struct regex_pool *pool, regex a, regex b) {
    return regex_settle(pool, regex_make_concat(pool, a, b));
}
regex regex_repeat(struct regex_pool *pool, regex a, uint32_t min, uint32_t max) {
    return regex_settle(pool, regex_make_repeat(pool, a, min, max));
}
regex regex_or(struct regex_pool *pool, regex a, regex b) {
    if (a == REGEX_FAILED || b == REGEX_FAILED) return REGEX_FAILED;
    return regex_settle(pool, regex_make_or(pool, a, b));
}

/** The first code point of `*r`, if all its texts begin with it, and what is behind it. False: they do not, or it may be empty. */
static bool next_of_word(const struct regex_pool *pool, regex *r, uint32_t *out) {
    const struct regex_node *node = regex_node(pool, *r);
    if (node->kind == REGEX_KIND_BRANCH) {
        if (node->edge_count != 1 || (node->flags & REGEX_NULLABLE) != 0) return false;
        *out = node->edges[0].code_point;
        *r = node->edges[0].target;
        return true;
    }
    const struct regex_node *head = node->kind == REGEX_KIND_CONCAT ? regex_node(pool, node->head) : node;
    if (head->kind != REGEX_KIND_CLASS) return false;
    const struct regex_set *set = &pool->sets[head->set];
    if (set->count != 1 || set->ranges[0].first != set->ranges[0].last) return false;
    *out = set->ranges[0].first;
    *r = node->kind == REGEX_KIND_CONCAT ? node->tail : REGEX_EMPTY;
    return true;
}

/** It has one text, which its form shows. */
static bool is_word(const struct regex_pool *pool, regex r) {
    enum { WORD_MAX = 256 };
    uint32_t ignored, length = 0;
    if (r == REGEX_FAILED || r == REGEX_NOTHING || regex_node(pool, r)->length_max > WORD_MAX) return false;
    while (length < WORD_MAX && next_of_word(pool, &r, &ignored)) length++;
    return length > 0 && r == REGEX_EMPTY;
}

/** `word`, if the other has it. */
static regex word_and(struct regex_pool *pool, regex word, regex other) {
    uint32_t code_point;
    for (regex rest = word; next_of_word(pool, &rest, &code_point);) {
        other = regex_step(pool, other, code_point);
        if (other == REGEX_NOTHING || other == REGEX_FAILED) return other;
    }
    return regex_has(pool, other, REGEX_NULLABLE) ? word : REGEX_NOTHING;
}

regex regex_and(struct regex_pool *pool, regex a, regex b) {
    if (a == REGEX_FAILED || b == REGEX_FAILED) return REGEX_FAILED;
    if (is_word(pool, a)) return word_and(pool, a, b); /* many alternatives ask for one word of many */
    if (is_word(pool, b)) return word_and(pool, b, a);
    return regex_settle(pool, regex_make_and(pool, a, b));
}
regex regex_not(struct regex_pool *pool, regex a) {
    return regex_settle(pool, regex_make_not(pool, a));
}
regex regex_length(struct regex_pool *pool, uint32_t min, uint32_t max) {
    return regex_make_repeat(pool, REGEX_ANY, min, max);
}

/* ---- how many ---- */

/** Prefixes of one length, by the state that they lead to. */
struct level {
    struct level_entry {
        regex state;
        uint64_t prefixes;
    } * entries;
    uint32_t count, capacity;
};

static uint64_t add_up(uint64_t a, uint64_t b, uint64_t limit) {
    return a >= limit || b >= limit - a ? limit : a + b;
}
static uint64_t times_up(uint64_t a, uint64_t b, uint64_t limit) {
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) || product > limit ? limit : product;
}

static int by_state(const void *a, const void *b) {
    const struct level_entry *x = a, *y = b;
    return x->state < y->state ? -1 : x->state > y->state;
}

static void join_equal(struct level *level, uint64_t limit) {
    uint32_t kept = 0;
    if (level->count > 1) qsort(level->entries, level->count, sizeof *level->entries, by_state);
    for (uint32_t i = 0; i < level->count; i++) {
        if (kept > 0 && level->entries[kept - 1].state == level->entries[i].state)
            level->entries[kept - 1].prefixes =
                add_up(level->entries[kept - 1].prefixes, level->entries[i].prefixes, limit);
        else
            level->entries[kept++] = level->entries[i];
    }
    level->count = kept;
}

/** The live ways out of every state of `from`. */
static bool next_level(struct regex_pool *pool, const struct level *from, struct level *to, uint64_t limit) {
    to->count = 0;
    for (uint32_t i = 0; i < from->count; i++) {
        const struct regex_fan *fan = regex_fan(pool, from->entries[i].state, true);
        if (fan == NULL) return false;
        for (uint32_t k = 0; k < fan->count; k++) {
            regex target = regex_settle(pool, fan->ways[k].target);
            if (target == REGEX_NOTHING) continue;
            if (target == REGEX_FAILED || !budget_spend(pool->budget, 1) ||
                !regex_grow(pool, &to->entries, &to->capacity, to->count + 1, sizeof *to->entries))
                return false;
            to->entries[to->count++] =
                (struct level_entry){target, times_up(from->entries[i].prefixes, fan->ways[k].characters, limit)};
        }
    }
    join_equal(to, limit);
    return true;
}

/** Texts by length, until there are `limit`, or none is left, or the states must have gone round in a circle. */
static uint64_t count_levels(struct regex_pool *pool, struct level *now, struct level *next, uint64_t limit) {
    uint64_t whole = 0, states = 0, since = 0; /* states seen from the texts of that length on */
    uint32_t search = ++pool->search;
    for (uint64_t length = 0; now->count > 0; length++) {
        uint64_t open = 0;
        for (uint32_t i = 0; i < now->count; i++) {
            struct level_entry *entry = &now->entries[i];
            struct regex_node *node = regex_node(pool, entry->state);
            if ((node->flags & REGEX_NULLABLE) != 0)
                whole = add_up(whole, entry->prefixes, limit);
            else
                open = add_up(open, entry->prefixes, limit); /* each begins another text at least */
            if (node->search != search) states++;
            node->search = search;
        }
        if (add_up(whole, open, limit) == limit || length - since >= states) return limit;
        uint32_t searches = pool->search;
        if (!next_level(pool, now, next, limit)) return limit;
        if (pool->search != searches) { /* another search has taken the marks */
            search = ++pool->search;
            states = 0;
            since = length + 1;
        }
        struct level swap = *now;
        *now = *next;
        *next = swap;
    }
    return whole;
}

uint64_t regex_count(struct regex_pool *pool, regex a, uint64_t limit) {
    if (a == REGEX_NOTHING || limit == 0) return 0;
    if (a == REGEX_FAILED) return limit;
    const struct regex_node *node = regex_node(pool, a);
    if ((node->flags & REGEX_EXACT) != 0 && node->length_max == REGEX_UNBOUNDED) return limit;
    struct level now = {0}, next = {0};
    uint64_t count = limit;
    if (regex_grow(pool, &now.entries, &now.capacity, 1, sizeof *now.entries)) {
        now.entries[now.count++] = (struct level_entry){a, 1};
        count = count_levels(pool, &now, &next, limit);
    }
    pool->budget->bytes += (int64_t)((now.capacity + (uint64_t)next.capacity) * sizeof *now.entries);
    free(now.entries);
    free(next.entries);
    return count;
}

regex regex_without(struct regex_pool *pool, regex a, struct bytes_view text, uint64_t few) {
    if (a == REGEX_NOTHING || a == REGEX_EVERYTHING || a == REGEX_FAILED) return a;
    regex rest = regex_walk(pool, a, text);
    if (rest == REGEX_FAILED) return rest;
    if (!regex_accepts(pool, rest) || regex_count(pool, rest, few) >= few) return a;
    return regex_and(pool, a, regex_not(pool, regex_literal(pool, text)));
}

/* ---- the shortest ---- */

/** The character that leads from `from` to `to`. */
static bool append_way(struct regex_pool *pool, regex from, regex to, struct bytes *out) {
    const struct regex_fan *fan = regex_fan(pool, from, true);
    uint8_t encoded[4];
    for (uint32_t i = 0; fan != NULL && i < fan->count; i++)
        if (fan->ways[i].target == to)
            return bytes_append(out, encoded, text_encode(fan->ways[i].code_point, encoded)) == STATUS_OK;
    return false;
}

/** Where lengths are exact, every step that makes the least length shorter is right. */
static bool append_exact(struct regex_pool *pool, regex r, struct bytes *out) {
    for (uint32_t left = regex_node(pool, r)->length_min; left > 0; left--) {
        const struct regex_fan *fan = regex_fan(pool, r, true);
        if (fan == NULL || !budget_spend(pool->budget, 1)) return false;
        regex next = REGEX_NOTHING;
        for (uint32_t i = 0; i < fan->count && next == REGEX_NOTHING; i++)
            if (regex_node(pool, fan->ways[i].target)->length_min == left - 1) next = fan->ways[i].target;
        if (next == REGEX_NOTHING || !append_way(pool, r, next, out)) return false;
        r = next;
    }
    return true;
}

/** The characters on the way that the search took to `r`. */
static bool append_path(struct regex_pool *pool, regex r, struct bytes *out) {
    uint32_t base = pool->scratch_count;
    bool ok = true;
    for (; ok && r != REGEX_NOTHING; r = regex_node(pool, r)->parent) ok = regex_push(pool, r);
    for (uint32_t i = pool->scratch_count; ok && i > base + 1; i--)
        ok = append_way(pool, pool->scratch[i - 1], pool->scratch[i - 2], out);
    pool->scratch_count = base;
    return ok;
}

/** What is left at least, so small that a key holds it. */
static uint64_t left_at_least(const struct regex_pool *pool, regex r) {
    uint32_t length = regex_node(pool, r)->length_min;
    return length < 1u << 30 ? length : 1u << 30;
}

static bool reach(struct regex_pool *pool, regex r, regex parent, uint64_t steps) {
    struct regex_node *node = regex_node(pool, r);
    node->search = pool->search;
    node->parent = parent;
    pool->visited_count++;
    return regex_heap_push(pool, (steps + left_at_least(pool, r)) << 32 | (UINT32_MAX - pool->visited_count), r);
}

/** A* with the least length as what is left: the nearest state from where the length is exact. REGEX_NOTHING: the budget. */
static regex nearest_exact(struct regex_pool *pool, regex a, uint64_t *out_steps) {
    pool->search++;
    pool->heap_count = pool->visited_count = 0;
    if (!reach(pool, a, REGEX_NOTHING, 0)) return REGEX_NOTHING;
    while (pool->heap_count > 0) {
        struct regex_candidate best = regex_heap_pop(pool);
        const struct regex_node *node = regex_node(pool, best.state);
        uint64_t steps = (best.key >> 32) - left_at_least(pool, best.state);
        if ((node->flags & (REGEX_EXACT | REGEX_NULLABLE)) != 0) {
            *out_steps = steps;
            return best.state;
        }
        const struct regex_fan *fan = regex_fan(pool, best.state, true);
        if (fan == NULL || !budget_spend(pool->budget, 1)) return REGEX_NOTHING;
        for (uint32_t i = 0; i < fan->count; i++) {
            regex target = fan->ways[i].target;
            const struct regex_node *next = regex_node(pool, target);
            if ((next->flags & REGEX_DEAD) == 0 && next->search != pool->search &&
                !reach(pool, target, best.state, steps + 1))
                return REGEX_NOTHING;
        }
    }
    return REGEX_NOTHING;
}

uint32_t regex_shortest(struct regex_pool *pool, regex a, struct bytes *out) {
    if (a == REGEX_NOTHING || a == REGEX_FAILED) return REGEX_UNBOUNDED;
    uint64_t steps = 0;
    regex exact = a;
    if (!regex_has(pool, a, REGEX_EXACT | REGEX_NULLABLE)) {
        exact = nearest_exact(pool, a, &steps);
        if (exact == REGEX_NOTHING) return REGEX_UNBOUNDED;
    } else {
        regex_node(pool, a)->parent = REGEX_NOTHING;
    }
    if (out != NULL && !(append_path(pool, exact, out) && append_exact(pool, exact, out))) return REGEX_UNBOUNDED;
    return regex_minimum(regex_add((uint32_t)steps, regex_node(pool, exact)->length_min));
}

/* ---- freedom ---- */

struct freedom {
    uint64_t ascii[2];
    enum regex_others others;
    uint32_t length;
    uint32_t
        rest; /* after every such text one of at most so many characters makes it complete; REGEX_UNBOUNDED: not known */
    bool padded;   /* and, with any number of free characters between, also longer ones */
    bool monotone; /* and the language only grows on such texts */
};

/** Characters beyond ASCII that are white space, line ends, or U+FEFF. */
static const struct regex_range ODD[] = {{0x85, 0x85},     {0xa0, 0xa0},     {0x1680, 0x1680},
                                         {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f},
                                         {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};

/** What the set leaves out beyond ASCII is odd. */
static bool leaves_out_odd(const struct regex_set *set) {
    uint32_t odd = 0, from = 0x80;
    for (uint32_t i = 0; i <= set->count; i++) {
        uint32_t first = i < set->count ? set->ranges[i].first : REGEX_CODE_POINT_LAST + 1;
        if (from == REGEX_SURROGATE_FIRST) from = REGEX_SURROGATE_LAST + 1;
        while (from < first) { /* a gap */
            while (odd < sizeof ODD / sizeof *ODD && ODD[odd].last < from) odd++;
            if (odd == sizeof ODD / sizeof *ODD || from < ODD[odd].first) return false;
            from = ODD[odd].last + 1;
        }
        if (i < set->count && set->ranges[i].last >= from) from = set->ranges[i].last + 1;
    }
    return true;
}

static struct freedom class_freedom(const struct regex_pool *pool, uint32_t set_id, uint32_t min, uint32_t max) {
    const struct regex_set *set = &pool->sets[set_id];
    enum regex_others others = set->beyond == REGEX_BEYOND_ALL                           ? REGEX_OTHERS_ALL
                               : set->beyond == REGEX_BEYOND_SOME && leaves_out_odd(set) ? REGEX_OTHERS_MOST
                                                                                         : REGEX_OTHERS_NONE;
    return (struct freedom){.ascii = {set->ascii[0], set->ascii[1]},
                            .others = others,
                            .length = max,
                            .rest = min,
                            .padded = max == REGEX_UNBOUNDED,
                            .monotone = max == REGEX_UNBOUNDED && min <= max};
}

static struct freedom freedom_of(const struct regex_pool *pool, regex r);

/** Operands whose languages only grow meet in what they met in before: still live. */
static struct freedom meet_growing(const struct regex_pool *pool, const struct regex_node *node) {
    struct freedom met = {.ascii = {~0ull, ~0ull},
                          .others = REGEX_OTHERS_ALL,
                          .length = REGEX_UNBOUNDED,
                          .rest = REGEX_UNBOUNDED,
                          .monotone = true};
    for (uint32_t i = 0; i < node->count; i++) {
        struct freedom own = freedom_of(pool, node->children[i]);
        if (!own.monotone) return (struct freedom){0};
        met.ascii[0] &= own.ascii[0];
        met.ascii[1] &= own.ascii[1];
        if (own.others < met.others) met.others = own.others;
    }
    return met;
}

/** C{m,n} & ~E, all texts of E shorter than n: whatever was taken can go on to a text of n characters, which E has not. */
static struct freedom except_short(const struct regex_pool *pool, const struct regex_node *node) {
    for (uint32_t i = 0; i < 2 && node->count == 2; i++) {
        const struct regex_node *other = regex_node(pool, node->children[1 - i]);
        if (other->kind != REGEX_KIND_NOT) continue;
        struct freedom own = freedom_of(pool, node->children[i]);
        if (own.length > regex_node(pool, other->of)->length_max) {
            own.monotone = false;
            own.rest = REGEX_UNBOUNDED;
            return own;
        }
    }
    return (struct freedom){0};
}

static struct freedom concat_freedom(const struct regex_pool *pool, const struct regex_node *node) {
    const struct regex_node *tail = regex_node(pool, node->tail);
    if ((tail->flags & REGEX_LIVE) == 0) return (struct freedom){0};
    struct freedom own = freedom_of(pool, node->head);
    bool exact = (tail->flags & REGEX_EXACT) != 0 && own.rest != REGEX_UNBOUNDED;
    own.rest = exact ? regex_add(own.rest, tail->length_min) : REGEX_UNBOUNDED;
    return own;
}

/** R & .{m,n}: as far as what R still needs has room. */
static struct freedom in_room(const struct regex_pool *pool, const struct regex_node *node) {
    for (uint32_t i = 0; i < 2 && node->count == 2; i++) {
        const struct regex_node *room = regex_node(pool, node->children[i]);
        if (room->kind != REGEX_KIND_REPEAT || room->body != REGEX_ANY) continue;
        struct freedom own = freedom_of(pool, node->children[1 - i]);
        if (own.length == 0 || own.rest == REGEX_UNBOUNDED || own.rest >= room->max) continue;
        if (room->min > 0 && (!own.padded || room->max < room->min)) continue;
        if (room->max != REGEX_UNBOUNDED && own.length > room->max - own.rest) own.length = room->max - own.rest;
        own.monotone = own.padded = false;
        own.rest = REGEX_UNBOUNDED;
        return own;
    }
    return (struct freedom){0};
}

static struct freedom freedom_of(const struct regex_pool *pool, regex r) {
    const struct regex_node *node = regex_node(pool, r);
    switch (node->kind) {
    case REGEX_KIND_CLASS:
        return class_freedom(pool, node->set, 1, 1);
    case REGEX_KIND_CONCAT:
        return concat_freedom(pool, node);
    case REGEX_KIND_REPEAT: {
        const struct regex_node *body = regex_node(pool, node->body);
        if (body->kind != REGEX_KIND_CLASS) return (struct freedom){0};
        return class_freedom(pool, body->set, node->min, node->max);
    }
    case REGEX_KIND_OR: {
        struct freedom best = {0};
        for (uint32_t i = 0; i < node->count; i++) {
            struct freedom own = freedom_of(pool, node->children[i]);
            if (own.length > best.length || (own.length == best.length && own.rest < best.rest)) best = own;
        }
        best.monotone = false; /* the alternatives that are not looked at may shrink */
        return best;
    }
    case REGEX_KIND_AND: {
        struct freedom met = meet_growing(pool, node);
        if (met.monotone) return met;
        met = in_room(pool, node);
        return met.length > 0 ? met : except_short(pool, node);
    }
    default:
        return (struct freedom){0};
    }
}

void regex_freedom(struct regex_pool *pool, regex state, uint64_t out_ascii[2], enum regex_others *out_others,
                   uint32_t *out_length) {
    struct freedom freedom = {0};
    if (state != REGEX_FAILED) freedom = freedom_of(pool, state);
    out_ascii[0] = freedom.ascii[0];
    out_ascii[1] = freedom.ascii[1];
    *out_others = freedom.others;
    *out_length = freedom.length;
}
