/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * A set in big integers: the same questions as number_form.c answers, and one more, how many digits a completion takes. Used where 36 digits
 * do not suffice, for completions near the limit of 400 digits, and for the shortest completion.
 */
#include "engine/grammar/number_internal.h"

#include <stdlib.h>

enum { FUEL_OF_QUESTION = 5 }; /* some microseconds */

struct big_side {
    bool empty, bounded, lower_open, upper_open;
    mpz_t lower, upper;
    mpz_t *excluded, *members;
    uint32_t excluded_count, members_count;
    int lowest, highest; /* positions of all that is written down, if `marked` */
    bool marked;
};
struct number_big {
    struct grammar_budget *budget;
    int scale;
    bool dense, listed;
    mpz_t multiple, *non_multiples;
    uint32_t non_multiples_count;
    struct big_side sides[2];
};

/* ---- making ---- */

static void widen(struct decimal a, int *scale) {
    if (a.count != 0 && -a.exponent > *scale) *scale = -a.exponent;
}

static void mark(struct big_side *side, struct decimal at) {
    if (at.count == 0) return;
    int position = (int)decimal_position(at);
    if (!side->marked || position < side->lowest) side->lowest = position;
    if (!side->marked || position > side->highest) side->highest = position;
    side->marked = true;
}

/** As many as have this sign, which `convert_items` then makes; counted against the budget by their size. */
static bool reserve_items(struct number_pool *pool, const struct decimal_list *list, int scale, mpz_t **out) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < list->count; i++)
        bytes += sizeof(mpz_t) + 16 + ((size_t)decimal_position(list->items[i]) + (size_t)scale) / 2;
    if (!budget_reserve(pool->budget, bytes) || !budget_spend(pool->budget, list->count)) return false;
    *out = list->count != 0 ? malloc(list->count * sizeof **out) : NULL;
    return list->count == 0 || *out != NULL;
}

static bool convert_items(struct number_pool *pool, struct number_big *big, struct big_side *side, bool negative,
                          const struct decimal_list *list, mpz_t **out, uint32_t *out_count) {
    if (!reserve_items(pool, list, big->scale, out)) return false;
    for (uint32_t i = 0; i < list->count; i++) {
        struct decimal at = list->items[negative ? list->count - 1 - i : i];
        if ((at.count != 0 && at.negative != negative) || !decimal_writable(at)) continue;
        mpz_init((*out)[*out_count]);
        decimal_to_mpz(at, big->scale, (*out)[(*out_count)++]);
        mark(side, at);
    }
    return true;
}

static bool make_side(struct number_pool *pool, const struct number_entry *entry, struct number_big *big,
                      bool negative) {
    struct side_bounds bounds = entry_side(entry, negative);
    struct big_side *side = &big->sides[negative];
    side->empty = bounds.empty;
    side->bounded = bounds.upper.present;
    side->lower_open = bounds.lower.open;
    side->upper_open = bounds.upper.open;
    if (side->empty) return true;
    decimal_to_mpz(bounds.lower.at, big->scale, side->lower);
    decimal_to_mpz(bounds.upper.at, big->scale, side->upper);
    mark(side, bounds.lower.at);
    mark(side, bounds.upper.at);
    mark(side, entry->multiple);
    return convert_items(pool, big, side, negative, &entry->excluded, &side->excluded, &side->excluded_count) &&
           convert_items(pool, big, side, negative, &entry->members, &side->members, &side->members_count);
}

static int scale_of(const struct number_entry *entry) {
    const struct decimal_list *lists[] = {&entry->non_multiples, &entry->excluded, &entry->members};
    int scale = 0;
    for (int negative = 0; negative < 2; negative++) {
        struct side_bounds side = entry_side(entry, negative);
        if (side.empty) continue;
        widen(side.lower.at, &scale);
        widen(side.upper.at, &scale);
    }
    widen(entry->multiple, &scale);
    for (int i = 0; i < 3; i++) {
        for (uint32_t j = 0; j < lists[i]->count; j++) {
            if (i == 0 || decimal_writable(lists[i]->items[j])) widen(lists[i]->items[j], &scale);
        }
    }
    return scale;
}

static bool make_big(struct number_pool *pool, const struct number_entry *entry, struct number_big *big) {
    big->budget = pool->budget;
    big->scale = scale_of(entry);
    big->listed = entry->listed;
    big->dense = !entry->listed && entry->multiple.count == 0;
    decimal_to_mpz(entry->multiple, big->scale, big->multiple);
    const struct decimal_list *list = &entry->non_multiples;
    if (!reserve_items(pool, list, big->scale, &big->non_multiples)) return false;
    for (uint32_t i = 0; i < list->count; i++) {
        mpz_init(big->non_multiples[i]);
        decimal_to_mpz(list->items[i], big->scale, big->non_multiples[i]);
        big->non_multiples_count++;
    }
    if (!make_side(pool, entry, big, false) || !make_side(pool, entry, big, true)) return false;
    for (uint32_t i = 0; i < big->non_multiples_count && !big->dense && !big->listed; i++) {
        if (mpz_divisible_p(big->multiple, big->non_multiples[i])) big->sides[0].empty = big->sides[1].empty = true;
    }
    return true;
}

const struct number_big *entry_big(struct number_pool *pool, struct number_entry *entry) {
    if (entry->big_made) return entry->big;
    entry->big_made = true;
    struct number_big *big = NULL;
    if (budget_reserve(pool->budget, sizeof *big + 4096)) big = calloc(1, sizeof *big);
    if (big == NULL) return NULL;
    mpz_init(big->multiple);
    for (int i = 0; i < 2; i++) mpz_inits(big->sides[i].lower, big->sides[i].upper, NULL);
    entry->big = big;
    if (make_big(pool, entry, big)) return big;
    big_destroy(big);
    entry->big = NULL;
    pool->budget->fuel = -1; /* without it nothing about the set can be said */
    return NULL;
}

static void clear_items(mpz_t *items, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) mpz_clear(items[i]);
    free(items);
}

void big_destroy(struct number_big *big) {
    if (big == NULL) return;
    clear_items(big->non_multiples, big->non_multiples_count);
    for (int i = 0; i < 2; i++) {
        clear_items(big->sides[i].excluded, big->sides[i].excluded_count);
        clear_items(big->sides[i].members, big->sides[i].members_count);
        mpz_clears(big->sides[i].lower, big->sides[i].upper, NULL);
    }
    mpz_clear(big->multiple);
    free(big);
}

bool big_is_grid(const struct number_big *big, int fraction) {
    return !big->dense && fraction >= big->scale;
}

bool big_positions(const struct number_big *big, bool negative, int *out_lowest, int *out_highest) {
    const struct big_side *side = &big->sides[negative];
    *out_lowest = side->lowest;
    *out_highest = side->highest;
    return side->marked;
}

/* ---- asking ---- */

static uint32_t count_below(const mpz_t *values, uint32_t count, const mpz_t x) {
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (mpz_cmp(values[middle], x) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool listed_in(const mpz_t *values, uint32_t count, const mpz_t x) {
    uint32_t at = count_below(values, count, x);
    return at < count && mpz_cmp(values[at], x) == 0;
}

/**
 * Numbers of one question are multiples of 10^-scale / finer. `finer` is a power of ten that makes the least digit asked about an integer;
 * first and last enclose what is asked about, `step` is what every member is a multiple of.
 */
struct question {
    const struct number_big *big;
    const struct big_side *side;
    mpz_ptr finer, first, last, step, scratch, quotient;
};

/** x, which is inside of the bounds and a multiple, is not excluded. */
static bool is_admitted(const struct question *q, const mpz_t x) {
    const struct number_big *big = q->big;
    if (mpz_divisible_p(x, q->finer) == 0) return true; /* what is excluded is a multiple of 10^-scale */
    mpz_divexact(q->quotient, x, q->finer);
    for (uint32_t i = 0; i < big->non_multiples_count; i++) {
        if (mpz_divisible_p(q->quotient, big->non_multiples[i])) return false;
    }
    return !listed_in(q->side->excluded, q->side->excluded_count, q->quotient);
}

/** first and last moved into the bounds; false when nothing is left. */
static bool clip(const struct question *q) {
    const struct big_side *side = q->side;
    mpz_mul(q->scratch, side->lower, q->finer);
    if (side->lower_open) mpz_add_ui(q->scratch, q->scratch, 1);
    if (mpz_cmp(q->first, q->scratch) < 0) mpz_set(q->first, q->scratch);
    if (side->bounded) {
        mpz_mul(q->scratch, side->upper, q->finer);
        if (side->upper_open) mpz_sub_ui(q->scratch, q->scratch, 1);
        if (mpz_cmp(q->last, q->scratch) > 0) mpz_set(q->last, q->scratch);
    }
    return mpz_cmp(q->first, q->last) <= 0;
}

/** All that is asked about is a multiple of one that is to be avoided. */
static bool is_hopeless(const struct question *q) {
    for (uint32_t i = 0; i < q->big->non_multiples_count; i++) {
        mpz_mul(q->scratch, q->big->non_multiples[i], q->finer);
        if (mpz_divisible_p(q->step, q->scratch)) return true;
    }
    return false;
}

/** Candidates one by one: between multiples to be avoided there is soon one, and every excluded value costs one step. */
static bool search(const struct question *q) {
    if (is_hopeless(q)) return false;
    mpz_cdiv_q(q->first, q->first, q->step);
    mpz_mul(q->first, q->first, q->step);
    while (mpz_cmp(q->first, q->last) <= 0) {
        if (is_admitted(q, q->first)) return true;
        if (!budget_spend(q->big->budget, 1 + q->big->non_multiples_count / 4)) return false;
        mpz_add(q->first, q->first, q->step);
    }
    return false;
}

static bool search_list(const struct question *q) {
    mpz_cdiv_q(q->scratch, q->first, q->finer);
    for (uint32_t i = count_below(q->side->members, q->side->members_count, q->scratch); i < q->side->members_count;
         i++) {
        mpz_mul(q->scratch, q->side->members[i], q->finer);
        if (mpz_cmp(q->scratch, q->last) > 0) return false;
        if (mpz_divisible_p(q->scratch, q->step)) return true;
        if (!budget_spend(q->big->budget, 1)) return false;
    }
    return false;
}

bool big_exists(struct number_pool *pool, const struct number_big *big, bool negative, const mpz_t value, int e,
                int more) {
    mpz_t *t = pool_temporaries(pool);
    const struct big_side *side = &big->sides[negative];
    if (side->empty || !budget_spend(pool->budget, FUEL_OF_QUESTION)) return false;
    struct question q = {big, side, t[0], t[1], t[2], t[3], t[4], t[5]};
    int power = e + big->scale, least = power - more; /* the last digit's worth */
    int finer = least < 0 ? -least : 0;
    mpz_ui_pow_ui(q.finer, 10, (unsigned long)finer);
    mpz_ui_pow_ui(q.step, 10, (unsigned long)(least > 0 ? least : 0));
    mpz_ui_pow_ui(q.scratch, 10, (unsigned long)(power + finer));
    mpz_mul(q.first, value, q.scratch);
    mpz_add(q.last, q.first, q.scratch);
    mpz_sub(q.last, q.last, q.step);
    if (big->listed) return search_list(&q);
    if (!clip(&q)) return false;
    if (!big->dense) {
        mpz_mul(q.scratch, big->multiple, q.finer);
        if (least > 0 && !budget_spend(pool->budget, FUEL_OF_QUESTION)) return false;
        mpz_lcm(q.step, q.step, q.scratch);
    }
    return search(&q);
}

bool big_holds(struct number_pool *pool, const struct number_big *big, bool negative, const mpz_t value, int e) {
    return big_exists(pool, big, negative, value, e, 0);
}

/* ---- counting ---- */

static uint64_t count_side(struct number_pool *pool, const struct number_big *big, bool negative, uint64_t limit) {
    mpz_t *t = pool_temporaries(pool);
    const struct big_side *side = &big->sides[negative];
    struct question q = {big, side, t[0], t[1], t[2], t[3], t[4], t[5]};
    if (side->empty) return 0;
    if (!side->bounded || (big->dense && mpz_cmp(side->lower, side->upper) != 0)) return limit;
    mpz_set_ui(q.finer, 1);
    mpz_set_ui(q.step, 1);
    if (!big->dense) mpz_set(q.step, big->multiple);
    mpz_set_ui(q.first, negative); /* 0 is counted on the other side */
    mpz_set(q.last, side->upper);
    if (!clip(&q)) return 0;
    mpz_cdiv_q(t[6], q.first, q.step);
    mpz_fdiv_q(t[7], q.last, q.step);
    mpz_sub(t[7], t[7], t[6]);
    mpz_add_ui(t[7], t[7], 1);
    if (mpz_sgn(t[7]) <= 0) return 0;
    if (big->non_multiples_count == 0) {
        uint32_t before = count_below(side->excluded, side->excluded_count, q.first);
        mpz_sub_ui(t[7], t[7], side->excluded_count - before);
        return mpz_cmp_ui(t[7], limit) < 0 ? mpz_get_ui(t[7]) : limit;
    }
    uint64_t found = 0;
    mpz_mul(q.first, t[6], q.step);
    for (; mpz_cmp(q.first, q.last) <= 0 && found < limit; mpz_add(q.first, q.first, q.step)) {
        found += is_admitted(&q, q.first);
        if (!budget_spend(pool->budget, 1)) return limit;
    }
    return found;
}

uint64_t big_count(struct number_pool *pool, const struct number_big *big, uint64_t limit) {
    uint64_t above = count_side(pool, big, false, limit), below = count_side(pool, big, true, limit);
    return above < limit && below < limit - above ? above + below : limit;
}
