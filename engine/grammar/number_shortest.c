/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A short way from a state to a member. Asked rarely, and remembered: so big integers may do it. */
#include "engine/grammar/number_internal.h"

#include <string.h>

/** Digits behind the mantissa, a point among them, an exponent. */
struct rest {
    uint32_t bytes;
    int power; /* the mantissa's last digit is worth 10^power in the end */
    int digits;
    int point_at; /* digits before the point; -1: there is none to write */
    int exponent; /* 0: none */
};

struct search {
    struct number_pool *pool;
    struct number_entry *entry;
    const struct number_node *node;
    bool negative;
    int room; /* digits that may still be written */
    struct rest best;
};

static bool within(const struct search *search, int power, int digits) {
    return reach_within(search->pool, search->entry, search->negative, search->pool->temporaries[11], power, digits);
}

/** The fewest digits from least..most with which a member can be written; most + 1: none. More never hurt. */
static int fewest_digits(const struct search *search, int power, int least, int most) {
    if (most > search->room) most = search->room;
    if (least > most || !within(search, power, most)) return most + 1;
    while (least < most) {
        int middle = least + (most - least) / 2;
        if (within(search, power, middle))
            most = middle;
        else
            least = middle + 1;
    }
    return least;
}

/** Digits that fit in what is left of the best so far, when `others` bytes are needed beside them. */
static int digits_left(const struct search *search, uint32_t others) {
    if (search->best.bytes <= others) return -1;
    uint32_t left = search->best.bytes - others - 1;
    return left < NUMBER_DIGITS_MAX ? (int)left : NUMBER_DIGITS_MAX;
}

static void offer(struct search *search, struct rest rest) {
    if (rest.bytes < search->best.bytes) search->best = rest;
}

/** More digits before the point, and perhaps behind it. */
static void search_integers(struct search *search) {
    for (int before = 0; before <= search->room && (uint32_t)before < search->best.bytes; before++) {
        if (before > 0 && within(search, before, before))
            offer(search, (struct rest){(uint32_t)before, before, before, -1, 0});
        int most = digits_left(search, 1), digits = fewest_digits(search, before, before + 1, most);
        if (digits <= most && digits <= search->room)
            offer(search, (struct rest){(uint32_t)digits + 1, before, digits, before, 0});
    }
}

static void search_fractions(struct search *search, int fraction) {
    uint32_t point = search->node->phase == PHASE_ZERO;
    int most = digits_left(search, point), digits = fewest_digits(search, -fraction, 1, most);
    if (digits <= most && digits <= search->room)
        offer(search, (struct rest){(uint32_t)digits + point, -fraction, digits, point ? 0 : -1, 0});
}

static void try_exponent(struct search *search, int exponent, int fraction, bool more) {
    uint32_t spelled = exponent_spell(exponent, exponent, NULL);
    int least = search->node->phase == PHASE_POINT;
    if (within(search, exponent - fraction, 0))
        offer(search, (struct rest){spelled + (uint32_t)least, exponent - fraction, least, -1, exponent});
    if (!more) return;
    uint32_t point = search->node->phase == PHASE_INTEGER;
    int most = digits_left(search, spelled + point), digits = fewest_digits(search, exponent - fraction, 1, most);
    if (digits <= most && digits <= search->room)
        offer(search,
              (struct rest){spelled + point + (uint32_t)digits, exponent - fraction, digits, point ? 0 : -1, exponent});
}

static void search_exponents(struct search *search, int fraction) {
    bool more = search->node->flags & NODE_SCIENTIFIC;
    if (!more && search->node->phase == PHASE_POINT) return;
    for (int exponent = 1; exponent <= EXPONENT_MAX; exponent++) {
        if (exponent_spell(exponent, exponent, NULL) >= search->best.bytes) return;
        try_exponent(search, exponent, fraction, more);
        try_exponent(search, -exponent, fraction, more);
    }
}

/** The least digits with which the rest found leads to a member. */
static void write_rest(struct search *search, const struct rest *rest, struct bytes *out) {
    mpz_t *value = &search->pool->temporaries[11];
    for (int i = 0; i < rest->digits; i++) {
        if (i == rest->point_at) (void)bytes_append_byte(out, '.');
        mpz_mul_ui(*value, *value, 10);
        uint8_t digit = '0';
        for (; digit < '9' && !within(search, rest->power - i - 1, rest->digits - i - 1); digit++)
            mpz_add_ui(*value, *value, 1);
        (void)bytes_append_byte(out, digit);
    }
    if (rest->exponent != 0) (void)exponent_spell(rest->exponent, rest->exponent, out);
}

static uint32_t exact_shortest(struct number_pool *pool, const struct number_node *node, struct bytes *out) {
    struct mantissa m = {node->value, node->count, node->fraction, (node->flags & NODE_LARGE) != 0};
    struct search search = {.pool = pool,
                            .entry = entry_of(pool, node->set),
                            .node = node,
                            .negative = (node->flags & NODE_NEGATIVE) != 0,
                            .room = NUMBER_DIGITS_MAX - mantissa_written(m),
                            .best = {.bytes = UINT32_MAX}};
    mantissa_to_mpz(pool, m, pool_temporaries(pool)[11]);
    if (node->phase == PHASE_INTEGER)
        search_integers(&search);
    else if (!(node->flags & NODE_TAIL))
        search_fractions(&search, m.fraction);
    if (!(node->flags & NODE_NO_EXPONENT)) search_exponents(&search, m.fraction);
    if (out != NULL && search.best.bytes != UINT32_MAX) write_rest(&search, &search.best, out);
    return search.best.bytes;
}

static uint32_t shortest_of(struct number_pool *pool, number_state state, struct bytes *out) {
    struct number_node node = pool->nodes[state];
    if (node.flags & NODE_ACCEPTS) return 0;
    if (node.kind == NODE_EXACT) return exact_shortest(pool, &node, out);
    if (node.kind == NODE_DENSE || node.kind == NODE_MULTIPLE) return clear_shortest(&node, out);
    return exponent_shortest(pool, &node, out);
}

static uint32_t *length_of(struct number_pool *pool, number_state state) {
    uint32_t before = pool->lengths_capacity;
    if (!pool_grow(pool, &pool->lengths, &pool->lengths_capacity, state + 1, sizeof *pool->lengths)) return NULL;
    memset(pool->lengths + before, 0, (pool->lengths_capacity - before) * sizeof *pool->lengths);
    return &pool->lengths[state];
}

static uint32_t remembered(struct number_pool *pool, number_state state) {
    uint32_t *length = length_of(pool, state);
    if (length != NULL && *length != 0) return *length - 1;
    uint32_t bytes = shortest_of(pool, state, NULL);
    if (length != NULL && bytes != UINT32_MAX) *length = bytes + 1;
    return bytes;
}

/** Before the first digit: the best of what one byte leads to. */
static uint32_t best_byte(struct number_pool *pool, number_state state, uint8_t *out_byte, number_state *out_next) {
    uint32_t best = UINT32_MAX;
    for (uint8_t byte = '0'; byte <= '9' && best > 1; byte++) {
        number_state next = number_step(pool, state, byte);
        if (next == NUMBER_DEAD || next == NUMBER_STATE_FAILED) continue;
        uint32_t bytes = remembered(pool, next);
        if (bytes >= best - 1) continue;
        best = bytes + 1;
        *out_byte = byte;
        *out_next = next;
    }
    return best;
}

uint32_t number_shortest(struct number_pool *pool, number_state state, struct bytes *out) {
    if (state == NUMBER_DEAD || state == NUMBER_STATE_FAILED) return UINT32_MAX;
    uint8_t phase = pool->nodes[state].phase, byte = 0;
    number_state next = state;
    uint32_t sign = 0, bytes;
    if (phase != PHASE_START && phase != PHASE_MINUS) {
        bytes = remembered(pool, state);
        if (out != NULL && bytes != UINT32_MAX) (void)shortest_of(pool, state, out);
        return bytes;
    }
    bytes = best_byte(pool, state, &byte, &next);
    if (phase == PHASE_START && bytes > 2) {
        number_state minus = number_step(pool, state, '-'), behind = NUMBER_DEAD;
        uint8_t digit = 0;
        uint32_t with_sign =
            minus == NUMBER_DEAD || minus == NUMBER_STATE_FAILED ? UINT32_MAX : best_byte(pool, minus, &digit, &behind);
        if (with_sign < bytes - 1) {
            sign = 1;
            bytes = with_sign;
            byte = digit;
            next = behind;
        }
    }
    if (bytes == UINT32_MAX || out == NULL) return bytes == UINT32_MAX ? bytes : sign + bytes;
    if (sign != 0) (void)bytes_append_byte(out, '-');
    (void)bytes_append_byte(out, byte);
    (void)shortest_of(pool, next, out);
    return sign + bytes;
}
