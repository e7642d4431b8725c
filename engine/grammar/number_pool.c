/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/number_internal.h"

#include <stdlib.h>
#include <string.h>

enum { INDEX_SIZE_MIN = 64, ARRAY_ITEMS_MIN = 16, ARRAY_ITEMS_LARGE = 1024, TEMPORARIES_BYTES = 4096 };

enum status number_pool_create(struct grammar_budget *budget, struct number_pool **out, struct error *err) {
    struct number_pool *pool = NULL;
    if (budget_reserve(budget, sizeof *pool)) pool = calloc(1, sizeof *pool);
    if (pool == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a grammar's numbers");
    pool->budget = budget;
    arena_init(&pool->arena, SIZE_MAX);
    /* NUMBER_NONE and NUMBER_ANY; NUMBER_DEAD; row 0, which stands for none. */
    bool made = pool_grow(pool, &pool->entries, &pool->entries_capacity, 2, sizeof *pool->entries) &&
                pool_grow(pool, &pool->nodes, &pool->nodes_capacity, 1, sizeof *pool->nodes) &&
                pool_grow(pool, &pool->rows, &pool->rows_capacity, 1, NUMBER_SYMBOLS * sizeof *pool->rows);
    if (!made) {
        number_pool_destroy(pool);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a grammar's numbers");
    }
    memset(pool->entries, 0, 2 * sizeof *pool->entries);
    memset(pool->nodes, 0, sizeof *pool->nodes);
    for (int side = 0; side < 2; side++)
        pool->entries[NUMBER_ANY].rulers[side] = (struct number_ruler){.usable = true, .all = true};
    pool->entries_count = 2;
    pool->nodes_count = 1;
    pool->rows_count = 1;
    *out = pool;
    return STATUS_OK;
}

void number_pool_destroy(struct number_pool *pool) {
    if (pool == NULL) return;
    for (uint32_t i = 0; i < pool->entries_count; i++) big_destroy(pool->entries[i].big);
    if (pool->temporaries_made) {
        for (size_t i = 0; i < sizeof pool->temporaries / sizeof *pool->temporaries; i++)
            mpz_clear(pool->temporaries[i]);
    }
    arena_deinit(&pool->arena);
    free(pool->entries);
    free(pool->nodes);
    free(pool->rows);
    free(pool->exponents);
    free(pool->lengths);
    free(pool->printed);
    free(pool->digits);
    free(pool->entry_index.slots);
    free(pool->node_index.slots);
    free(pool->exponent_index.slots);
    free(pool);
}

void *pool_alloc(struct number_pool *pool, size_t count, size_t bytes) {
    if (bytes != 0 && count > (SIZE_MAX / 2) / bytes) return NULL;
    if (!budget_reserve(pool->budget, count * bytes)) return NULL;
    return arena_alloc(&pool->arena, count * bytes);
}

bool pool_grow(struct number_pool *pool, void *array, uint32_t *capacity, uint32_t needed, size_t item_bytes) {
    if (needed <= *capacity) return true;
    uint64_t wanted = *capacity != 0 ? *capacity : ARRAY_ITEMS_MIN;
    while (wanted < needed) wanted *= wanted < ARRAY_ITEMS_LARGE ? 4 : 2;
    if (wanted > UINT32_MAX / 2 || !budget_reserve(pool->budget, (size_t)(wanted - *capacity) * item_bytes))
        return false;
    void *old;
    memcpy(&old, array, sizeof old);
    void *grown = realloc(old, (size_t)wanted * item_bytes);
    if (grown == NULL) return false;
    memcpy(array, &grown, sizeof grown);
    *capacity = (uint32_t)wanted;
    return true;
}

void index_put(struct index_table *table, uint32_t hash, uint32_t index) {
    uint32_t slot = hash & (table->size - 1);
    while (table->slots[slot] != 0) slot = (slot + 1) & (table->size - 1);
    table->slots[slot] = index + 1;
    table->used++;
}

bool index_reserve(struct number_pool *pool, struct index_table *table,
                   uint32_t (*hash_of)(const struct number_pool *pool, uint32_t index)) {
    if (2 * (table->used + 1) <= table->size) return true;
    struct index_table grown = {.size = table->size == 0                      ? INDEX_SIZE_MIN
                                        : table->size < 2 * ARRAY_ITEMS_LARGE ? 4 * table->size
                                                                              : 2 * table->size};
    if (grown.size > UINT32_MAX / 8) return false;
    if (!budget_reserve(pool->budget, (grown.size - table->size) * sizeof *grown.slots)) return false;
    grown.slots = calloc(grown.size, sizeof *grown.slots);
    if (grown.slots == NULL) return false;
    for (uint32_t i = 0; i < table->size; i++) {
        if (table->slots[i] != 0) index_put(&grown, hash_of(pool, table->slots[i] - 1), table->slots[i] - 1);
    }
    free(table->slots);
    *table = grown;
    return true;
}

/** Made when the first big number is: most grammars never need them. */
mpz_t *pool_temporaries(struct number_pool *pool) {
    if (!pool->temporaries_made) {
        for (size_t i = 0; i < sizeof pool->temporaries / sizeof *pool->temporaries; i++)
            mpz_init(pool->temporaries[i]);
        pool->temporaries_made = true;
        pool->budget->bytes -= TEMPORARIES_BYTES;
    }
    return pool->temporaries;
}
