/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Prefixes that are clear of all bounds.
 *
 * A prefix D stands for [D, D+1) times any power of ten. When no bound has digits inside of that, all of it times 10^k is in the set, or none of it is,
 * for every k; the k with which it is are an interval low..high, and nothing else of the set or of D matters any more:
 *
 *     0 <= x < 500:   "12" fits times 10^k for k <= 1;   "123" for k <= 0;   "1234" for k <= -1, that is with an exponent only
 *
 * A digit more before the point moves the interval by one; a digit behind it changes nothing. So these states are few, and shared by all sets.
 * Of multiples of a power of ten 10^-grid (whole numbers, cents) one count is needed beside it: the least exponent with which the digits so far are one.
 * It is -2 after 1500 and 1 after 1.5 for whole numbers.
 */
#include "engine/grammar/number_internal.h"

#include <string.h>

static struct clear unpack(const struct number_node *node) {
    uint64_t packed = (uint64_t)node->value;
    struct clear clear;
    memcpy(&clear, &packed, sizeof clear);
    return clear;
}

static void pack(struct number_node *node, struct clear clear) {
    uint64_t packed;
    memcpy(&packed, &clear, sizeof packed);
    node->value = packed;
}

static bool fits_now(struct clear clear) {
    return clear.low <= 0 && clear.high >= 0 && clear.least <= 0;
}

/** The exponents that may follow; first > last: none. */
static void exponent_range(struct clear clear, int *first, int *last) {
    *first = clear.low > clear.least ? clear.low : clear.least;
    *last = clear.high < EXPONENT_MAX ? clear.high : EXPONENT_MAX;
    if (*first < -EXPONENT_MAX) *first = -EXPONENT_MAX;
}

static bool has_exponent(struct clear clear) {
    int first, last;
    exponent_range(clear, &first, &last);
    return first <= last;
}

/** Behind the point of a multiple: digits other than 0 may end. Then how many there were does not matter any more. */
static void close_fraction(struct number_node *node, const struct clear *clear) {
    int next = node->fraction + 1 - clear->grid; /* what `least` would be after one more */
    bool scientific = (node->flags & NODE_SCIENTIFIC) && next <= EXPONENT_MAX && next <= clear->high;
    if (scientific) return;
    if (node->flags & NODE_SCIENTIFIC || next > 0) node->fraction = (uint16_t)(clear->grid > 0 ? clear->grid : 0);
    node->flags &= (uint8_t)~NODE_SCIENTIFIC;
}

/** What cannot matter any more is set to one value, so that equal futures are equal states. */
static void normalise(struct number_node *node, struct clear *clear) {
    bool behind_point = node->phase == PHASE_POINT || node->phase == PHASE_FRACTION;
    if (clear->low < -EXPONENT_MAX && clear->low != -CLEAR_FREE) clear->low = -EXPONENT_MAX - 1;
    if (clear->least < -EXPONENT_MAX && node->kind == NODE_MULTIPLE) clear->least = -EXPONENT_MAX;
    if (node->flags & NODE_NO_EXPONENT) {
        if (clear->low <= 0) clear->low = -CLEAR_FREE;
        if (clear->least < 0 && node->kind == NODE_MULTIPLE) clear->least = 0;
        if (behind_point && clear->high >= 0) clear->high = CLEAR_FREE;
    }
    if (node->kind == NODE_DENSE) {
        node->fraction = 0;
        if (behind_point || (clear->low == -CLEAR_FREE && clear->high == CLEAR_FREE))
            node->flags &= (uint8_t)~NODE_SCIENTIFIC;
        return;
    }
    if (clear->low <= clear->least) clear->low = -CLEAR_FREE;
    if (behind_point) close_fraction(node, clear);
}

static number_state settle(struct number_pool *pool, struct number_node *node, struct clear clear) {
    normalise(node, &clear);
    node->flags &= (uint8_t)~NODE_ACCEPTS;
    if (node->phase != PHASE_POINT && fits_now(clear)) node->flags |= NODE_ACCEPTS;
    pack(node, clear);
    return node_intern(pool, node);
}

/* ---- entering ---- */

/** False when a digit of the special is inside of what the prefix can become. */
static bool measure(const struct number_special *special, wide first, wide end, int position, struct clear *clear) {
    bool begins_there = special->leading == first && !special->more;
    if (special->leading >= first && special->leading < end) {
        bool all_above =
            (special->kind == SPECIAL_LOWER && !special->open) || (special->kind == SPECIAL_UPPER && special->open);
        if (!begins_there || !all_above) return false;
    }
    bool above = special->leading < first || begins_there;
    int shift = special->position - position;
    if (special->kind == SPECIAL_LOWER) clear->low = (int16_t)(above ? shift : shift + 1);
    if (special->kind == SPECIAL_UPPER) clear->high = (int16_t)(above ? shift - 1 : shift);
    return true;
}

static int16_t least_of(struct mantissa m, int grid) {
    int least = m.fraction - grid;
    for (wide value = m.value; value % 10 == 0; value /= 10) least--;
    return (int16_t)least;
}

/** A prefix is live: as it is, with more digits before the point, or, written with one such digit, by an exponent. */
static bool live(const struct number_node *node, struct clear clear) {
    if ((node->flags & NODE_SCIENTIFIC) && has_exponent(clear)) return true;
    if (node->phase == PHASE_INTEGER) return clear.high >= 0 && clear.high >= clear.least;
    return fits_now(clear);
}

bool clear_enter(struct number_pool *pool, const struct number_node *node, struct mantissa m, number_state *out) {
    const struct number_ruler *ruler = &entry_of(pool, node->set)->rulers[(node->flags & NODE_NEGATIVE) != 0];
    if (!ruler->usable || m.value == 0 || m.large || pool->force_big) return false;
    *out = NUMBER_DEAD;
    if (ruler->zero_only) return true;
    wide unit = ten_to[WIDE_DIGITS - m.count], first = m.value * unit, end = first + unit;
    struct clear clear = {.low = -CLEAR_FREE, .high = CLEAR_FREE, .least = -CLEAR_FREE};
    for (int i = 0; i < ruler->count; i++) {
        if (!measure(&ruler->specials[i], first, end, m.count - m.fraction, &clear)) return false;
    }
    struct number_node next = {.kind = ruler->multiples ? NODE_MULTIPLE : NODE_DENSE,
                               .phase = node->phase,
                               .fraction = m.fraction,
                               .flags = node->flags & (NODE_SCIENTIFIC | NODE_NO_EXPONENT | NODE_NO_POINT)};
    if (ruler->multiples) {
        clear.grid = ruler->grid;
        clear.least = least_of(m, ruler->grid);
    }
    if (clear.low <= clear.high && live(&next, clear)) *out = settle(pool, &next, clear);
    return true;
}

number_state clear_enter_all(struct number_pool *pool, unsigned digit, uint8_t flags) {
    struct number_node next = {.kind = NODE_DENSE, .phase = digit == 0 ? PHASE_ZERO : PHASE_INTEGER};
    next.flags = flags & (NODE_NO_EXPONENT | NODE_NO_POINT);
    return settle(pool, &next, (struct clear){.low = -CLEAR_FREE, .high = CLEAR_FREE, .least = -CLEAR_FREE});
}

/* ---- walking ---- */

static number_state integer_digit(struct number_pool *pool, struct number_node *next, struct clear clear,
                                  unsigned digit) {
    if (next->phase == PHASE_ZERO) return NUMBER_DEAD;
    if (clear.low != -CLEAR_FREE) clear.low--;
    if (clear.high != CLEAR_FREE) clear.high--;
    if (next->kind == NODE_MULTIPLE) clear.least = digit == 0 ? (int16_t)(clear.least - 1) : (int16_t)-clear.grid;
    next->flags &= (uint8_t)~NODE_SCIENTIFIC;
    return live(next, clear) ? settle(pool, next, clear) : NUMBER_DEAD;
}

static number_state fraction_digit(struct number_pool *pool, struct number_node *next, struct clear clear,
                                   unsigned digit) {
    next->phase = PHASE_FRACTION;
    if (next->kind == NODE_DENSE) return settle(pool, next, clear);
    next->fraction++;
    if (digit != 0) {
        clear.least = (int16_t)(next->fraction - clear.grid);
        if (!live(next, clear)) return NUMBER_DEAD;
    }
    return settle(pool, next, clear);
}

static number_state exponent(struct number_pool *pool, const struct number_node *node, struct clear clear) {
    int first, last;
    if (node->phase == PHASE_POINT || (node->flags & NODE_NO_EXPONENT)) return NUMBER_DEAD;
    if (node->kind == NODE_DENSE && clear.low == -CLEAR_FREE && clear.high == CLEAR_FREE)
        return node_intern(pool, &(struct number_node){.kind = NODE_ANY_EXPONENT, .phase = PHASE_E});
    exponent_range(clear, &first, &last);
    if (first > last) return NUMBER_DEAD;
    struct exponent_set set = {0};
    exponent_set_add(&set, first, last);
    return exponent_enter(pool, &set);
}

number_state clear_step(struct number_pool *pool, const struct number_node *node, unsigned symbol) {
    struct number_node next = *node;
    struct clear clear = unpack(node);
    bool behind_point = node->phase == PHASE_POINT || node->phase == PHASE_FRACTION;
    next.row = 0;
    if (symbol < 10)
        return behind_point ? fraction_digit(pool, &next, clear, symbol) : integer_digit(pool, &next, clear, symbol);
    if (symbol == SYMBOL_E) return exponent(pool, node, clear);
    if (symbol != SYMBOL_POINT || behind_point || (node->flags & NODE_NO_POINT)) return NUMBER_DEAD;
    next.phase = PHASE_POINT;
    return live(&next, clear) ? settle(pool, &next, clear) : NUMBER_DEAD;
}

/* ---- the shortest rest ---- */

static uint32_t append_zeros(struct bytes *out, uint32_t count) {
    for (uint32_t i = 0; out != NULL && i < count; i++) (void)bytes_append_byte(out, '0');
    return count;
}

uint32_t clear_shortest(const struct number_node *node, struct bytes *out) {
    struct clear clear = unpack(node);
    int first, last;
    uint32_t before = node->phase == PHASE_POINT ? append_zeros(out, 1) : 0;
    if (fits_now(clear)) return before;
    exponent_range(clear, &first, &last);
    bool by_exponent = first <= last && !(node->flags & NODE_NO_EXPONENT);
    int zeros = clear.low > clear.least ? clear.low : clear.least;
    bool by_zeros = node->phase == PHASE_INTEGER && zeros > 0 && zeros <= clear.high;
    if (by_zeros && (!by_exponent || (uint32_t)zeros <= exponent_spell(first, last, NULL)))
        return append_zeros(out, (uint32_t)zeros);
    return before + exponent_spell(first, last, out);
}
