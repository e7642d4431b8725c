/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Arrays that grow, paid for by the grammar's budget.
 */
#ifndef ENGINE_GRAMMAR_GROWING_H
#define ENGINE_GRAMMAR_GROWING_H

#include "engine/grammar/budget.h"

#include <stdlib.h>
#include <string.h>

/**
 * Make room for `needed` elements in *(T **)array. False (and the array as it was) when the budget or the machine's memory is reached, or 2^32 elements.
 * `capacity` is in elements.
 */
static inline bool growing_reserve(struct grammar_budget *budget, void *array, uint32_t *capacity, uint64_t needed,
                                   size_t element_bytes) {
    if (needed <= *capacity) return true;
    uint64_t wanted = (uint64_t)*capacity * 2;
    if (wanted < 16) wanted = 16;
    if (wanted < needed) wanted = needed;
    if (wanted > UINT32_MAX - 1 || !budget_reserve(budget, (size_t)(wanted - *capacity) * element_bytes)) return false;
    void *memory;
    memcpy(&memory, array, sizeof memory);
    memory = realloc(memory, (size_t)wanted * element_bytes);
    if (memory == NULL) return false;
    memcpy(array, &memory, sizeof memory);
    *capacity = (uint32_t)wanted;
    return true;
}

/** Give back what growing_reserve took for an array that is only needed while compiling. */
static inline void growing_free(struct grammar_budget *budget, void *memory, uint32_t capacity, size_t element_bytes) {
    free(memory);
    budget->bytes += (int64_t)capacity * (int64_t)element_bytes;
}

#endif
