/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/regex_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_FIRST = 1024,
    CHUNK_LARGEST = 256 << 10,
    TABLE_FIRST = 128,
    NODES_FIRST = 48,
    SETS_FIRST = 8,
    SCRATCH_FIRST = 16
};

struct regex_chunk {
    struct regex_chunk *next;
    size_t size;
    uint64_t data[];
};

static bool add_chunk(struct regex_pool *pool, size_t bytes) {
    size_t size = pool->chunk == NULL ? CHUNK_FIRST : pool->chunk->size * 2;
    if (size > CHUNK_LARGEST) size = CHUNK_LARGEST;
    if (size < bytes) size = bytes;
    if (!budget_reserve(pool->budget, size)) return false;
    struct regex_chunk *chunk = malloc(sizeof *chunk + size);
    if (chunk == NULL) return false;
    *chunk = (struct regex_chunk){.next = pool->chunk, .size = size};
    pool->chunk = chunk;
    pool->chunk_used = 0;
    return true;
}

void *regex_alloc(struct regex_pool *pool, size_t bytes) {
    bytes = (bytes + 7) & ~(size_t)7;
    if (pool->chunk == NULL || pool->chunk->size - pool->chunk_used < bytes)
        if (!add_chunk(pool, bytes)) return NULL;
    void *memory = (uint8_t *)pool->chunk->data + pool->chunk_used;
    pool->chunk_used += bytes;
    return memory;
}

bool regex_grow(struct regex_pool *pool, void *array, uint32_t *capacity, uint32_t needed, size_t element) {
    if (needed <= *capacity) return true;
    uint32_t larger = *capacity < 8 ? 16 : *capacity * 2;
    if (larger < needed) larger = needed;
    if (!budget_reserve(pool->budget, (larger - *capacity) * element)) return false;
    void *old;
    memcpy(&old, array, sizeof old);
    void *memory = realloc(old, larger * element);
    if (memory == NULL) return false;
    memcpy(array, &memory, sizeof memory);
    *capacity = larger;
    return true;
}

bool regex_push(struct regex_pool *pool, regex r) {
    if (!regex_grow(pool, &pool->scratch, &pool->scratch_capacity, pool->scratch_count + 1, sizeof *pool->scratch))
        return false;
    pool->scratch[pool->scratch_count++] = r;
    return true;
}

static uint32_t hash_of(const struct regex_node *node) {
    uint32_t hash = regex_hash(0x811C9DC5u, node->kind);
    switch (node->kind) {
    case REGEX_KIND_CLASS:
        return regex_hash(hash, node->set);
    case REGEX_KIND_CONCAT:
        return regex_hash(regex_hash(hash, node->head), node->tail);
    case REGEX_KIND_REPEAT:
        return regex_hash(regex_hash(regex_hash(hash, node->body), node->min), node->max);
    case REGEX_KIND_OR:
    case REGEX_KIND_AND:
        for (uint32_t i = 0; i < node->count; i++) hash = regex_hash(hash, node->children[i]);
        return hash;
    case REGEX_KIND_BRANCH:
        hash = regex_hash(hash, node->flags & REGEX_NULLABLE);
        for (uint32_t i = 0; i < node->edge_count; i++)
            hash = regex_hash(regex_hash(hash, node->edges[i].code_point), node->edges[i].target);
        return hash;
    default:
        return regex_hash(hash, node->of);
    }
}

static bool equal(const struct regex_node *a, const struct regex_node *b) {
    if (a->hash != b->hash || a->kind != b->kind) return false;
    switch (a->kind) {
    case REGEX_KIND_CLASS:
        return a->set == b->set;
    case REGEX_KIND_CONCAT:
        return a->head == b->head && a->tail == b->tail;
    case REGEX_KIND_REPEAT:
        return a->body == b->body && a->min == b->min && a->max == b->max;
    case REGEX_KIND_OR:
    case REGEX_KIND_AND:
        return a->count == b->count && memcmp(a->children, b->children, a->count * sizeof *a->children) == 0;
    case REGEX_KIND_BRANCH:
        return ((a->flags ^ b->flags) & REGEX_NULLABLE) == 0 && a->edge_count == b->edge_count &&
               memcmp(a->edges, b->edges, a->edge_count * sizeof *a->edges) == 0;
    case REGEX_KIND_LOOP:
        return false;
    default:
        return a->of == b->of;
    }
}

static bool table_rehash(struct regex_pool *pool) {
    uint32_t size = pool->table_size == 0 ? TABLE_FIRST : pool->table_size * 2;
    if (!budget_reserve(pool->budget, (size - pool->table_size) * sizeof *pool->table)) return false;
    uint32_t *table = calloc(size, sizeof *table);
    if (table == NULL) return false;
    for (uint32_t i = 1; i < pool->node_count; i++) {
        if (pool->nodes[i].kind == REGEX_KIND_LOOP) continue;
        uint32_t at = pool->nodes[i].hash & (size - 1);
        while (table[at] != 0) at = (at + 1) & (size - 1);
        table[at] = i;
    }
    free(pool->table);
    pool->table = table;
    pool->table_size = size;
    return true;
}

/** The lists that `like` lends become the pool's own. */
static bool own_lists(struct regex_pool *pool, struct regex_node *node) {
    bool list = node->kind == REGEX_KIND_OR || node->kind == REGEX_KIND_AND;
    if (!list && node->kind != REGEX_KIND_BRANCH) return true;
    size_t bytes = list ? node->count * sizeof *node->children : node->edge_count * sizeof *node->edges;
    void *copy = regex_alloc(pool, bytes);
    if (copy == NULL) return false;
    memcpy(copy, list ? (const void *)node->children : (const void *)node->edges, bytes);
    if (list)
        node->children = copy;
    else
        node->edges = copy;
    return true;
}

regex regex_append(struct regex_pool *pool, const struct regex_node *node) {
    if (node->depth > REGEX_DEPTH_MAX) return REGEX_FAILED;
    if (!budget_spend(pool->budget, 1)) return REGEX_FAILED;
    if (!regex_grow(pool, &pool->nodes, &pool->node_capacity, pool->node_count + 1, sizeof *pool->nodes))
        return REGEX_FAILED;
    pool->nodes[pool->node_count] = *node;
    return pool->node_count++;
}

regex regex_intern(struct regex_pool *pool, const struct regex_node *like) {
    struct regex_node node = *like;
    node.hash = hash_of(&node);
    uint32_t mask = pool->table_size - 1, at = node.hash & mask;
    for (; pool->table[at] != 0; at = (at + 1) & mask) {
        regex found = pool->table[at];
        if (equal(&pool->nodes[found], &node)) return regex_has(pool, found, REGEX_DEAD) ? REGEX_NOTHING : found;
    }
    if (!own_lists(pool, &node)) return REGEX_FAILED;
    if ((node.flags & (REGEX_NULLABLE | REGEX_EXACT)) != 0) node.flags |= REGEX_LIVE;
    regex made = regex_append(pool, &node);
    if (made == REGEX_FAILED) return REGEX_FAILED;
    pool->table[at] = made;
    if (pool->node_count * 4ull > pool->table_size * 3ull && !table_rehash(pool)) return REGEX_FAILED;
    return made;
}

/** Nodes 0 to 3, and the set of all characters. */
static bool add_constants(struct regex_pool *pool) {
    const struct regex_node nothing = {.kind = REGEX_KIND_NOTHING, .flags = REGEX_DEAD};
    const struct regex_node empty = {.kind = REGEX_KIND_EMPTY,
                                     .flags = REGEX_NULLABLE | REGEX_EXACT | REGEX_CONTIGUOUS};
    const struct regex_node everything = {.kind = REGEX_KIND_REPEAT,
                                          .flags = REGEX_NULLABLE | REGEX_EXACT | REGEX_CONTIGUOUS,
                                          .depth = 1,
                                          .body = REGEX_ANY,
                                          .max = REGEX_UNBOUNDED,
                                          .length_max = REGEX_UNBOUNDED};
    if (regex_set_make(pool, NULL, 0, true) != REGEX_SET_ANY) return false;
    return regex_append(pool, &nothing) == REGEX_NOTHING && table_rehash(pool) &&
           regex_intern(pool, &empty) == REGEX_EMPTY && regex_intern(pool, &everything) == REGEX_EVERYTHING &&
           regex_make_class(pool, REGEX_SET_ANY) == REGEX_ANY;
}

enum status regex_pool_create(struct grammar_budget *budget, struct regex_pool **out, struct error *err) {
    struct regex_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a pool of expressions");
    pool->budget = budget;
    if (!regex_grow(pool, &pool->nodes, &pool->node_capacity, NODES_FIRST, sizeof *pool->nodes) ||
        !regex_grow(pool, &pool->sets, &pool->set_capacity, SETS_FIRST, sizeof *pool->sets) ||
        !regex_grow(pool, &pool->scratch, &pool->scratch_capacity, SCRATCH_FIRST, sizeof *pool->scratch) ||
        !add_constants(pool)) {
        regex_pool_destroy(pool);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory, or no budget, for a pool of expressions");
    }
    *out = pool;
    return STATUS_OK;
}

void regex_pool_destroy(struct regex_pool *pool) {
    if (pool == NULL) return;
    while (pool->chunk != NULL) {
        struct regex_chunk *next = pool->chunk->next;
        free(pool->chunk);
        pool->chunk = next;
    }
    free(pool->nodes);
    free(pool->table);
    free(pool->sets);
    free(pool->set_table);
    free(pool->scratch);
    free(pool->transitions);
    free(pool->heap);
    free(pool->visited);
    free(pool);
}

struct grammar_budget *regex_pool_budget(const struct regex_pool *pool) {
    return pool->budget;
}
