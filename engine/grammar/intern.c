/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/intern.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ITEMS = 64 };

static uint32_t hash_words(const uint32_t *words, uint32_t count) {
    uint64_t h = count;
    for (uint32_t i = 0; i < count; i++) h = hash_mix(h * 0x9e3779b97f4a7c15u + words[i]);
    return (uint32_t)hash_mix(h);
}

void intern_init(struct intern *intern, struct arena *arena, struct grammar_budget *budget) {
    *intern = (struct intern){.arena = arena, .budget = budget};
}

void intern_deinit(struct intern *intern) {
    free(intern->items);
    free(intern->slots);
    *intern = (struct intern){0};
}

static bool grow(struct intern *intern) {
    uint32_t capacity = intern->capacity == 0 ? FIRST_ITEMS : intern->capacity * 2, slot_count = capacity * 2;
    if (capacity > UINT32_MAX / 4) return false;
    if (!budget_reserve(intern->budget, (capacity - intern->capacity) * (sizeof *intern->items + 2 * sizeof(uint32_t))))
        return false;
    struct intern_item *items = realloc(intern->items, capacity * sizeof *items);
    if (items == NULL) return false;
    intern->items = items;
    uint32_t *slots = calloc(slot_count, sizeof *slots);
    if (slots == NULL) return false;
    free(intern->slots);
    intern->slots = slots;
    intern->slot_count = slot_count;
    intern->capacity = capacity;
    for (uint32_t id = 0; id < intern->count; id++) {
        uint32_t at = items[id].hash & (slot_count - 1);
        while (slots[at] != 0) at = (at + 1) & (slot_count - 1);
        slots[at] = id + 1;
    }
    return true;
}

uint32_t intern_put(struct intern *intern, const uint32_t *words, uint32_t count) {
    if (intern->count == intern->capacity && !grow(intern)) return INTERN_FAILED;
    uint32_t hash = hash_words(words, count), at = hash & (intern->slot_count - 1);
    for (; intern->slots[at] != 0; at = (at + 1) & (intern->slot_count - 1)) {
        const struct intern_item *item = &intern->items[intern->slots[at] - 1];
        if (item->hash == hash && item->count == count &&
            (count == 0 || memcmp(item->words, words, count * sizeof *words) == 0))
            return intern->slots[at] - 1;
    }
    if (!budget_spend(intern->budget, 1) || !budget_reserve(intern->budget, count * sizeof *words))
        return INTERN_FAILED;
    uint32_t *copy = arena_alloc_array(intern->arena, count, sizeof *copy);
    if (copy == NULL) return INTERN_FAILED;
    if (count > 0) memcpy(copy, words, count * sizeof *words);
    intern->items[intern->count] = (struct intern_item){copy, count, hash};
    intern->slots[at] = ++intern->count;
    return intern->count - 1;
}

void memo_init(struct memo *memo, struct grammar_budget *budget) {
    *memo = (struct memo){.budget = budget};
}

void memo_deinit(struct memo *memo) {
    free(memo->keys);
    free(memo->values);
    *memo = (struct memo){0};
}

static uint32_t slot_of(const struct memo *memo, uint64_t key) {
    uint32_t at = (uint32_t)hash_mix(key) & (memo->slot_count - 1);
    while (memo->keys[at] != 0 && memo->keys[at] != key + 1) at = (at + 1) & (memo->slot_count - 1);
    return at;
}

bool memo_get(const struct memo *memo, uint64_t key, uint32_t *out) {
    if (memo->count == 0) return false;
    uint32_t at = slot_of(memo, key);
    if (memo->keys[at] == 0) return false;
    *out = memo->values[at];
    return true;
}

static bool memo_grow(struct memo *memo) {
    uint32_t slot_count = memo->slot_count == 0 ? FIRST_ITEMS : memo->slot_count * 2;
    if (slot_count > UINT32_MAX / 4 || !budget_reserve(memo->budget, (slot_count - memo->slot_count) * 12))
        return false;
    struct memo bigger = {.budget = memo->budget, .slot_count = slot_count, .count = memo->count};
    bigger.keys = calloc(slot_count, sizeof *bigger.keys);
    bigger.values = calloc(slot_count, sizeof *bigger.values);
    if (bigger.keys == NULL || bigger.values == NULL) {
        free(bigger.keys);
        free(bigger.values);
        return false;
    }
    for (uint32_t i = 0; i < memo->slot_count; i++) {
        if (memo->keys[i] == 0) continue;
        uint32_t at = slot_of(&bigger, memo->keys[i] - 1);
        bigger.keys[at] = memo->keys[i];
        bigger.values[at] = memo->values[i];
    }
    free(memo->keys);
    free(memo->values);
    *memo = bigger;
    return true;
}

bool memo_put(struct memo *memo, uint64_t key, uint32_t value) {
    if (memo->count * 2 >= memo->slot_count && !memo_grow(memo)) return false;
    uint32_t at = slot_of(memo, key);
    memo->count += memo->keys[at] == 0;
    memo->keys[at] = key + 1;
    memo->values[at] = value;
    return true;
}
