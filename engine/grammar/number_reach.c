/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What a prefix can become, asked of the form that can tell. */
#include "engine/grammar/number_internal.h"

#include <string.h>

enum {
    FORM_WRITTEN_MAX =
        300 /* from here on it matters that only 400 digits may be written, which only the big form minds */
};

static const struct number_form *form_for(struct number_pool *pool, struct number_entry *entry, struct mantissa m) {
    if (m.large || pool->force_big || mantissa_written(m) > FORM_WRITTEN_MAX) return NULL;
    return entry_form(pool, entry);
}

void mantissa_to_mpz(const struct number_pool *pool, struct mantissa m, mpz_t out) {
    if (m.large) {
        char text[NUMBER_DIGITS_MAX + 2];
        memcpy(text, pool->digits + (uint32_t)m.value, m.count);
        text[m.count] = 0;
        mpz_set_str(out, text, 10);
        return;
    }
    uint64_t words[2] = {(uint64_t)m.value, (uint64_t)(m.value >> 64)};
    mpz_import(out, 2, -1, sizeof *words, 0, 0, words);
}

bool reach_within(struct number_pool *pool, struct number_entry *entry, bool negative, const mpz_t value, int e,
                  int more) {
    const struct number_big *big = entry_big(pool, entry);
    return big != NULL && more >= 0 && big_exists(pool, big, negative, value, e, more);
}

/* ---- without exponent ---- */

static bool form_plain(const struct number_form *form, bool negative, struct mantissa m, bool in_integer) {
    const struct number_side *side = &form->sides[negative];
    if (side->empty) return false;
    if (!in_integer) return form_exists(form, side, m.value, m.count, -m.fraction);
    if (!side->bounded && !form->listed) return true;
    for (int digits = 0; (unsigned)(m.count + digits + form->scale) <= form->digits; digits++) {
        if (form_exists(form, side, m.value, m.count, digits)) return true;
    }
    return false;
}

static bool big_plain(struct number_pool *pool, const struct number_big *big, bool negative, struct mantissa m,
                      bool in_integer) {
    mpz_t *value = &pool_temporaries(pool)[10];
    int more = NUMBER_DIGITS_MAX - mantissa_written(m), lowest, highest;
    mantissa_to_mpz(pool, m, *value);
    if (!in_integer) return big_exists(pool, big, negative, *value, -m.fraction, more);
    if (!big_positions(big, negative, &lowest, &highest)) lowest = highest = 0;
    for (int digits = 0; digits <= more && m.count + digits <= highest + 1; digits++) {
        if (big_exists(pool, big, negative, *value, digits, more)) return true;
    }
    /* Above all bounds more digits only help, but where they leave no room for others. */
    return big_exists(pool, big, negative, *value, more, more) ||
           big_exists(pool, big, negative, *value, more / 2, more);
}

bool reach_plain(struct number_pool *pool, struct number_entry *entry, bool negative, struct mantissa m,
                 bool in_integer) {
    const struct number_form *form = form_for(pool, entry, m);
    if (form != NULL) return form_plain(form, negative, m, in_integer);
    const struct number_big *big = entry_big(pool, entry);
    return big != NULL && big_plain(pool, big, negative, m, in_integer);
}

/* ---- with exponent ---- */

/** Below all bounds but zero, between two multiples of 10^-scale: every number or none. */
static bool form_dense_at_zero(const struct number_form *form, const struct number_side *side) {
    return form->dense && side->lower == 0 && (!side->bounded || side->upper != 0);
}

static bool form_scientific(const struct number_form *form, bool negative, struct mantissa m) {
    const struct number_side *side = &form->sides[negative];
    if (side->empty) return false;
    if ((!side->bounded && !form->listed) || form_dense_at_zero(form, side)) return true;
    for (int digits = 1; digits <= (int)form->digits; digits++) { /* of the scaled integer */
        if (form_exists(form, side, m.value, m.count, digits - m.count - form->scale)) return true;
    }
    return false;
}

static bool big_scientific(struct number_pool *pool, const struct number_big *big, bool negative, struct mantissa m) {
    mpz_t *value = &pool_temporaries(pool)[10];
    int more = NUMBER_DIGITS_MAX - mantissa_written(m), lowest, highest;
    static const int far[] = {-EXPONENT_MAX, -EXPONENT_MAX / 2, EXPONENT_MAX / 2, EXPONENT_MAX};
    mantissa_to_mpz(pool, m, *value);
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        if (big_exists(pool, big, negative, *value, far[i] - m.fraction, more)) return true;
    }
    if (!big_positions(big, negative, &lowest, &highest)) lowest = highest = 0;
    int first = lowest - 1 - (m.count - m.fraction), last = highest + 1 - (m.count - m.fraction);
    if (first < -EXPONENT_MAX) first = -EXPONENT_MAX;
    for (int exponent = first; exponent <= last && exponent <= EXPONENT_MAX; exponent++) {
        if (big_exists(pool, big, negative, *value, exponent - m.fraction, more)) return true;
    }
    return false;
}

bool reach_scientific(struct number_pool *pool, struct number_entry *entry, bool negative, struct mantissa m) {
    const struct number_form *form = form_for(pool, entry, m);
    if (form != NULL) return form_scientific(form, negative, m);
    const struct number_big *big = entry_big(pool, entry);
    return big != NULL && big_scientific(pool, big, negative, m);
}

bool reach_holds(struct number_pool *pool, struct number_entry *entry, bool negative, struct mantissa m, int exponent) {
    const struct number_form *form = form_for(pool, entry, m);
    if (form != NULL) return form_holds(form, &form->sides[negative], m.value, m.count, exponent - m.fraction);
    const struct number_big *big = entry_big(pool, entry);
    mpz_t *value = &pool_temporaries(pool)[10];
    mantissa_to_mpz(pool, m, *value);
    return big != NULL && big_holds(pool, big, negative, *value, exponent - m.fraction);
}

bool reach_is_tail(struct number_pool *pool, struct number_entry *entry, bool negative, struct mantissa m,
                   bool scientific) {
    const struct number_form *form = form_for(pool, entry, m);
    if (form == NULL) {
        const struct number_big *big = entry_big(pool, entry);
        return big != NULL && !scientific && big_is_grid(big, m.fraction);
    }
    if (form->dense || m.fraction < form->scale) return false;
    /* A member has no more digits than the largest: one digit more, and not 0, is one too many. */
    return !scientific || ((form->sides[negative].bounded || form->listed) && m.count >= form->digits);
}

static void form_exponents(const struct number_form *form, bool negative, struct mantissa m, struct exponent_set *out) {
    const struct number_side *side = &form->sides[negative];
    int position = m.count - m.fraction + form->scale; /* of the scaled integer, without exponent */
    int first = 1 - position, last = WIDE_DIGITS + 1 - position;
    if (side->empty) return;
    if (form_dense_at_zero(form, side)) exponent_set_add(out, -EXPONENT_MAX, first - 1);
    for (int exponent = first < -EXPONENT_MAX ? -EXPONENT_MAX : first; exponent <= last && exponent <= EXPONENT_MAX;
         exponent++) {
        if (form_holds(form, side, m.value, m.count, exponent - m.fraction)) exponent_set_add(out, exponent, exponent);
    }
    if (side->bounded || form->listed) return;
    int from, until, shift = m.fraction - form->scale; /* power = exponent - shift */
    form_powers_beyond(form, m.value, &from, &until);
    if (from > 2 * EXPONENT_MAX) return;
    from = from + shift > last + 1 ? from + shift : last + 1;
    exponent_set_add(out, from, until > 2 * EXPONENT_MAX ? EXPONENT_MAX : until - 1 + shift);
}

static void big_exponents(struct number_pool *pool, const struct number_big *big, bool negative, struct mantissa m,
                          struct exponent_set *out) {
    mpz_t *value = &pool_temporaries(pool)[10];
    mantissa_to_mpz(pool, m, *value);
    for (int exponent = -EXPONENT_MAX; exponent <= EXPONENT_MAX; exponent++) {
        if (big_holds(pool, big, negative, *value, exponent - m.fraction)) exponent_set_add(out, exponent, exponent);
    }
}

void reach_exponents(struct number_pool *pool, struct number_entry *entry, bool negative, struct mantissa m,
                     struct exponent_set *out) {
    if (m.count == 0) { /* 0 times anything */
        if (reach_holds(pool, entry, negative, m, 0)) exponent_set_add(out, -EXPONENT_MAX, EXPONENT_MAX);
        return;
    }
    const struct number_form *form = form_for(pool, entry, m);
    if (form != NULL) {
        form_exponents(form, negative, m, out);
        return;
    }
    const struct number_big *big = entry_big(pool, entry);
    if (big != NULL) big_exponents(pool, big, negative, m, out);
}
