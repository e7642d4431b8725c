/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/regex_internal.h"

#include <stdlib.h>
#include <string.h>

enum { ON_STACK = 64 };

/** Ranges that are being made: on the stack while they are few. */
struct builder {
    struct regex_pool *pool;
    struct regex_range *ranges, few[ON_STACK];
    size_t count, capacity;
    bool failed;
};

static void builder_init(struct builder *builder, struct regex_pool *pool) {
    builder->pool = pool;
    builder->ranges = builder->few;
    builder->count = 0;
    builder->capacity = ON_STACK;
    builder->failed = false;
}

static void append(struct builder *builder, uint32_t first, uint32_t last) {
    if (builder->count == builder->capacity) {
        struct regex_range *larger = malloc(2 * builder->capacity * sizeof *larger);
        if (larger == NULL) {
            builder->failed = true;
            return;
        }
        memcpy(larger, builder->ranges, builder->count * sizeof *larger);
        if (builder->ranges != builder->few) free(builder->ranges);
        builder->ranges = larger;
        builder->capacity *= 2;
    }
    builder->ranges[builder->count++] = (struct regex_range){first, last};
}

/** `first` is not below any before it. */
static void add(struct builder *builder, uint32_t first, uint32_t last) {
    if (first > last) return;
    struct regex_range *end = builder->count > 0 ? &builder->ranges[builder->count - 1] : NULL;
    if (end != NULL && first <= end->last + 1) {
        if (last > end->last) end->last = last;
    } else {
        append(builder, first, last);
    }
}

/** Without the surrogates, which no text has. */
static void add_scalars(struct builder *builder, uint32_t first, uint32_t last) {
    if (last > REGEX_CODE_POINT_LAST) last = REGEX_CODE_POINT_LAST;
    if (first < REGEX_SURROGATE_FIRST)
        add(builder, first, last < REGEX_SURROGATE_FIRST ? last : REGEX_SURROGATE_FIRST - 1);
    if (last > REGEX_SURROGATE_LAST)
        add(builder, first > REGEX_SURROGATE_LAST ? first : REGEX_SURROGATE_LAST + 1, last);
}

static void fill_ascii(struct regex_set *set) {
    for (uint32_t i = 0; i < set->count && set->ranges[i].first < 128; i++)
        for (uint32_t c = set->ranges[i].first; c <= set->ranges[i].last && c < 128; c++)
            set->ascii[c / 64] |= 1ull << (c % 64);
}

static uint8_t beyond_of(const struct regex_set *set) {
    if (set->count == 0 || set->ranges[set->count - 1].last < 128) return REGEX_BEYOND_NONE;
    if (set->count < 2) return REGEX_BEYOND_SOME;
    const struct regex_range *low = &set->ranges[set->count - 2], *high = &set->ranges[set->count - 1];
    bool all = low->first <= 128 && low->last == REGEX_SURROGATE_FIRST - 1 && high->first == REGEX_SURROGATE_LAST + 1 &&
               high->last == REGEX_CODE_POINT_LAST;
    return all ? REGEX_BEYOND_ALL : REGEX_BEYOND_SOME;
}

static bool set_table_rehash(struct regex_pool *pool) {
    uint32_t size = pool->set_table_size == 0 ? 32 : pool->set_table_size * 2;
    if (!budget_reserve(pool->budget, (size - pool->set_table_size) * sizeof *pool->set_table)) return false;
    uint32_t *table = calloc(size, sizeof *table);
    if (table == NULL) return false;
    for (uint32_t i = 0; i < pool->set_count; i++) {
        uint32_t at = pool->sets[i].hash & (size - 1);
        while (table[at] != 0) at = (at + 1) & (size - 1);
        table[at] = i + 1;
    }
    free(pool->set_table);
    pool->set_table = table;
    pool->set_table_size = size;
    return true;
}

static uint32_t intern(struct regex_pool *pool, const struct regex_range *ranges, uint32_t count) {
    if (pool->set_count * 2 >= pool->set_table_size && !set_table_rehash(pool)) return REGEX_SET_FAILED;
    uint32_t hash = regex_hash(0x811C9DC5u, count), mask = pool->set_table_size - 1;
    for (uint32_t i = 0; i < count; i++) hash = regex_hash(regex_hash(hash, ranges[i].first), ranges[i].last);
    uint32_t at = hash & mask;
    for (; pool->set_table[at] != 0; at = (at + 1) & mask) {
        const struct regex_set *set = &pool->sets[pool->set_table[at] - 1];
        if (set->hash == hash && set->count == count && memcmp(set->ranges, ranges, count * sizeof *ranges) == 0)
            return pool->set_table[at] - 1;
    }
    if (!budget_spend(pool->budget, 1 + count / 16)) return REGEX_SET_FAILED;
    struct regex_range *own = regex_alloc(pool, count * sizeof *own);
    if (own == NULL || !regex_grow(pool, &pool->sets, &pool->set_capacity, pool->set_count + 1, sizeof *pool->sets))
        return REGEX_SET_FAILED;
    memcpy(own, ranges, count * sizeof *own);
    struct regex_set *set = &pool->sets[pool->set_count];
    *set = (struct regex_set){.ranges = own, .count = count, .hash = hash};
    fill_ascii(set);
    set->beyond = beyond_of(set);
    pool->set_table[at] = ++pool->set_count;
    return pool->set_count - 1;
}

static uint32_t finish(struct builder *builder) {
    uint32_t set =
        builder->failed ? REGEX_SET_FAILED : intern(builder->pool, builder->ranges, (uint32_t)builder->count);
    if (builder->ranges != builder->few) free(builder->ranges);
    return set;
}

/** What lies between `from` and the next range that begins at `first`. */
static void add_gap(struct builder *builder, uint32_t from, uint32_t first) {
    if (first > from) add_scalars(builder, from, first - 1);
}

static int by_first(const void *a, const void *b) {
    const struct regex_range *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

uint32_t regex_set_make(struct regex_pool *pool, const struct regex_range *ranges, size_t count, bool inverted) {
    struct builder sorted, builder;
    builder_init(&sorted, pool);
    builder_init(&builder, pool);
    bool ascending = true;
    for (size_t i = 0; i < count && !sorted.failed; i++) {
        ascending = ascending && (i == 0 || ranges[i - 1].first <= ranges[i].first);
        if (ranges[i].first <= ranges[i].last) append(&sorted, ranges[i].first, ranges[i].last);
    }
    if (!ascending) qsort(sorted.ranges, sorted.count, sizeof *sorted.ranges, by_first);
    uint32_t next = 0;
    for (size_t i = 0; i < sorted.count; i++) {
        if (!inverted)
            add_scalars(&builder, sorted.ranges[i].first, sorted.ranges[i].last);
        else
            add_gap(&builder, next, sorted.ranges[i].first);
        if (sorted.ranges[i].last >= next) next = sorted.ranges[i].last + 1;
    }
    if (inverted) add_gap(&builder, next, REGEX_CODE_POINT_LAST + 1);
    builder.failed |= sorted.failed;
    if (sorted.ranges != sorted.few) free(sorted.ranges);
    return finish(&builder);
}

uint32_t regex_set_or(struct regex_pool *pool, uint32_t a, uint32_t b) {
    if (a == REGEX_SET_FAILED || b == REGEX_SET_FAILED) return REGEX_SET_FAILED;
    if (a == b) return a;
    const struct regex_set *x = &pool->sets[a], *y = &pool->sets[b];
    struct builder builder;
    builder_init(&builder, pool);
    for (uint32_t i = 0, j = 0; i < x->count || j < y->count;) {
        const struct regex_range *next = j == y->count || (i < x->count && x->ranges[i].first < y->ranges[j].first)
                                             ? &x->ranges[i++]
                                             : &y->ranges[j++];
        add(&builder, next->first, next->last);
    }
    return finish(&builder);
}

uint32_t regex_set_and(struct regex_pool *pool, uint32_t a, uint32_t b) {
    if (a == REGEX_SET_FAILED || b == REGEX_SET_FAILED) return REGEX_SET_FAILED;
    if (a == b) return a;
    const struct regex_set *x = &pool->sets[a], *y = &pool->sets[b];
    struct builder builder;
    builder_init(&builder, pool);
    for (uint32_t i = 0, j = 0; i < x->count && j < y->count;) {
        const struct regex_range *p = &x->ranges[i], *q = &y->ranges[j];
        add(&builder, p->first > q->first ? p->first : q->first, p->last < q->last ? p->last : q->last);
        if (p->last < q->last)
            i++;
        else
            j++;
    }
    return finish(&builder);
}

uint32_t regex_set_not(struct regex_pool *pool, uint32_t a) {
    if (a == REGEX_SET_FAILED) return REGEX_SET_FAILED;
    return regex_set_make(pool, pool->sets[a].ranges, pool->sets[a].count, true);
}

/** The first range that ends at or behind `code_point`. */
static uint32_t range_at(const struct regex_set *set, uint32_t code_point) {
    uint32_t low = 0, high = set->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (set->ranges[middle].last < code_point)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool regex_set_has(const struct regex_set *set, uint32_t code_point) {
    if (code_point < 128) return (set->ascii[code_point / 64] >> (code_point % 64) & 1) != 0;
    if (set->beyond != REGEX_BEYOND_SOME) return set->beyond == REGEX_BEYOND_ALL;
    uint32_t at = range_at(set, code_point);
    return at < set->count && set->ranges[at].first <= code_point;
}

uint32_t regex_set_border(const struct regex_set *set, uint32_t code_point) {
    uint32_t at = range_at(set, code_point);
    if (at == set->count) return REGEX_CODE_POINT_LAST + 1;
    return set->ranges[at].first > code_point ? set->ranges[at].first : set->ranges[at].last + 1;
}
