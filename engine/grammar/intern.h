/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Arrays of 32-bit words, each kept once: equal arrays have equal ids, from 0 on in the order of their first coming.
 * And a memo: 64-bit keys to 32-bit values. Both count their memory in a budget and never forget.
 */
#ifndef ENGINE_GRAMMAR_INTERN_H
#define ENGINE_GRAMMAR_INTERN_H

#include "base/arena.h"
#include "engine/grammar/budget.h"

/** splitmix64's finisher. */
static inline uint64_t hash_mix(uint64_t x) {
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

#define INTERN_FAILED UINT32_MAX /* the budget is exhausted */

struct intern_item {
    const uint32_t *words; /* stable */
    uint32_t count;
    uint32_t hash;
};
struct intern {
    struct arena *arena;
    struct grammar_budget *budget;
    struct intern_item *items; /* [count] */
    uint32_t *slots;           /* [slot_count] id + 1, 0 = free; a power of two */
    uint32_t count, capacity, slot_count;
};

/** Borrows both until deinit. */
void intern_init(struct intern *intern, struct arena *arena, struct grammar_budget *budget);
void intern_deinit(struct intern *intern);
/** The id of these words; INTERN_FAILED. */
uint32_t intern_put(struct intern *intern, const uint32_t *words, uint32_t count);
static inline struct intern_item intern_get(const struct intern *intern, uint32_t id) {
    return intern->items[id];
}

struct memo {
    struct grammar_budget *budget;
    uint64_t *keys;   /* [slot_count] key + 1, 0 = free */
    uint32_t *values; /* [slot_count] */
    uint32_t count, slot_count;
};
void memo_init(struct memo *memo, struct grammar_budget *budget);
void memo_deinit(struct memo *memo);
/** `key` < UINT64_MAX. */
bool memo_get(const struct memo *memo, uint64_t key, uint32_t *out);
/** Replaces what was there. False when the budget is exhausted. */
bool memo_put(struct memo *memo, uint64_t key, uint32_t value);

#endif
