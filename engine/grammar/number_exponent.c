/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The part of a number behind its e: any spelling of an exponent of a finite set. */
#include "engine/grammar/number_internal.h"

#include <stdlib.h>
#include <string.h>

static const int powers[EXPONENT_DIGITS_MAX + 1] = {1, 10, 100, 1000, 10000};

void exponent_set_add(struct exponent_set *set, int first, int last) {
    if (first < -EXPONENT_MAX) first = -EXPONENT_MAX;
    if (last > EXPONENT_MAX) last = EXPONENT_MAX;
    for (int at = first + EXPONENT_MAX; at <= last + EXPONENT_MAX; at++) set->bits[at / 64] |= 1ULL << (at % 64);
}

/** The first of first..last, or last + 1. */
static int first_in(const struct exponent_set *set, int first, int last) {
    if (first < -EXPONENT_MAX) first = -EXPONENT_MAX;
    for (int at = first + EXPONENT_MAX; at <= last + EXPONENT_MAX && at <= 2 * EXPONENT_MAX;) {
        uint64_t word = set->bits[at / 64] >> (at % 64);
        if (word == 0) {
            at = (at / 64 + 1) * 64;
            continue;
        }
        at += __builtin_ctzll(word);
        return at - EXPONENT_MAX <= last ? at - EXPONENT_MAX : last + 1;
    }
    return last + 1;
}

bool exponent_set_any(const struct exponent_set *set, int first, int last) {
    return first <= last && first_in(set, first, last) <= last;
}

/* ---- interning ---- */

static uint32_t set_hash(const struct exponent_set *set) {
    uint64_t hash = 0;
    for (size_t i = 0; i < sizeof set->bits / sizeof *set->bits; i++)
        hash = (hash ^ set->bits[i]) * 0x9E3779B97F4A7C15ULL + (hash >> 29);
    return (uint32_t)(hash >> 32);
}

static uint32_t set_hash_at(const struct number_pool *pool, uint32_t index) {
    return pool->exponents[index].hash;
}

static uint32_t set_intern(struct number_pool *pool, struct exponent_set *set) {
    set->hash = set_hash(set);
    if (!index_reserve(pool, &pool->exponent_index, set_hash_at)) return UINT32_MAX;
    const struct index_table *table = &pool->exponent_index;
    for (uint32_t slot = set->hash & (table->size - 1); table->slots[slot] != 0;
         slot = (slot + 1) & (table->size - 1)) {
        const struct exponent_set *known = &pool->exponents[table->slots[slot] - 1];
        if (memcmp(known->bits, set->bits, sizeof set->bits) == 0) return table->slots[slot] - 1;
    }
    uint32_t index = pool->exponents_count;
    if (!pool_grow(pool, &pool->exponents, &pool->exponents_capacity, index + 1, sizeof *set)) return UINT32_MAX;
    pool->exponents[index] = *set;
    pool->exponents_count++;
    index_put(&pool->exponent_index, set->hash, index);
    return index;
}

number_state exponent_enter(struct number_pool *pool, struct exponent_set *set) {
    if (!exponent_set_any(set, -EXPONENT_MAX, EXPONENT_MAX)) return NUMBER_DEAD;
    struct number_node node = {.kind = NODE_EXPONENT, .phase = PHASE_E, .set = set_intern(pool, set)};
    return node.set == UINT32_MAX ? NUMBER_STATE_FAILED : node_intern(pool, &node);
}

/* ---- walking ---- */

/** An exponent of the set begins with the digits so far and has `more` digits more. */
static bool reachable(const struct exponent_set *set, bool negative, int value, int more) {
    int first = value * powers[more], last = first + powers[more] - 1;
    return negative ? exponent_set_any(set, -last, -first) : exponent_set_any(set, first, last);
}

static bool live(const struct exponent_set *set, const struct number_node *node) {
    int least = node->phase == PHASE_E_DIGITS ? 0 : 1;
    for (int more = least; more + node->count <= EXPONENT_DIGITS_MAX; more++) {
        if (reachable(set, node->flags & NODE_E_NEGATIVE, (int)node->value, more)) return true;
    }
    return false;
}

/** Every exponent there is: digits without end. */
static number_state any_step(struct number_pool *pool, struct number_node next, unsigned symbol) {
    if (symbol == SYMBOL_PLUS || symbol == SYMBOL_MINUS) {
        if (next.phase != PHASE_E) return NUMBER_DEAD;
        next.phase = PHASE_E_SIGN;
    } else {
        next.phase = PHASE_E_DIGITS;
        next.flags |= NODE_ACCEPTS;
    }
    return node_intern(pool, &next);
}

number_state exponent_step(struct number_pool *pool, const struct number_node *node, unsigned symbol) {
    struct number_node next = *node;
    if (symbol == SYMBOL_E || symbol == SYMBOL_POINT) return NUMBER_DEAD;
    if (node->kind == NODE_ANY_EXPONENT) return any_step(pool, next, symbol);
    const struct exponent_set *set = &pool->exponents[node->set];
    if (symbol == SYMBOL_PLUS || symbol == SYMBOL_MINUS) {
        if (node->phase != PHASE_E) return NUMBER_DEAD;
        next.phase = PHASE_E_SIGN;
        if (symbol == SYMBOL_MINUS) next.flags |= NODE_E_NEGATIVE;
    } else {
        if (node->count == EXPONENT_DIGITS_MAX) return NUMBER_DEAD;
        next.phase = PHASE_E_DIGITS;
        next.value = node->value * 10 + symbol;
        next.count++;
        next.flags &= (uint8_t)~NODE_ACCEPTS;
        if (reachable(set, next.flags & NODE_E_NEGATIVE, (int)next.value, 0)) next.flags |= NODE_ACCEPTS;
    }
    return live(set, &next) ? node_intern(pool, &next) : NUMBER_DEAD;
}

/* ---- the shortest rest ---- */

static uint32_t append_digits(struct bytes *out, int value, int digits) {
    if (out != NULL && digits > 0) (void)bytes_printf(out, "%0*d", digits, value);
    return (uint32_t)digits;
}

/** The first exponent of the set with this sign, these first digits, and `more` digits more; its last digits, or -1. */
static int completion(const struct exponent_set *set, bool negative, int value, int more) {
    int first = value * powers[more], last = first + powers[more] - 1;
    int found = negative ? first_in(set, -last, -first) : first_in(set, first, last);
    if (found > (negative ? -first : last)) return -1;
    return abs(found) - first;
}

uint32_t exponent_shortest(const struct number_pool *pool, const struct number_node *node, struct bytes *out) {
    if (node->flags & NODE_ACCEPTS) return 0;
    if (node->kind == NODE_ANY_EXPONENT) return append_digits(out, 0, 1);
    const struct exponent_set *set = &pool->exponents[node->set];
    for (int bytes = 1; bytes <= EXPONENT_DIGITS_MAX + 1; bytes++) {
        if (bytes + node->count <= EXPONENT_DIGITS_MAX) {
            int rest = completion(set, node->flags & NODE_E_NEGATIVE, (int)node->value, bytes);
            if (rest >= 0) return append_digits(out, rest, bytes);
        }
        if (node->phase != PHASE_E || bytes == 1) continue;
        int rest = completion(set, true, 0, bytes - 1);
        if (rest < 0) continue;
        if (out != NULL) (void)bytes_append_byte(out, '-');
        return 1 + append_digits(out, rest, bytes - 1);
    }
    return UINT32_MAX; /* not reached: the state is live */
}

static int digits_of(int value) {
    return 1 + (value > 9) + (value > 99) + (value > 999) + (value > 9999);
}

uint32_t exponent_spell(int first, int last, struct bytes *out) {
    int nearest = first > 0 ? first : last < 0 ? last : 0;
    if (out != NULL) (void)bytes_printf(out, "e%d", nearest);
    return 1 + (uint32_t)(nearest < 0) + (uint32_t)digits_of(abs(nearest));
}
