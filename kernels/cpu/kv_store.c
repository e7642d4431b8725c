/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Storing a step's keys and values into their blocks; a row's norms and rotation happen on the way. */
#include "kernels/cpu/cpu.h"
#include "kernels/kv_layout.h"

#include <assert.h>
#include <string.h>

struct store_run {
    struct cpu *cpu;
    const struct kv_store *store;
};

/** A key goes down a column, one element in each of the block's rows. */
static void put_column(const struct kv_layer *layer, const void *column, void *keys, int slot) {
    int tokens = layer->block_tokens, head_dim = layer->head_dim;
    switch (kv_type_bytes(layer->type)) {
    case 1:
        for (int k = 0; k < head_dim; k++) ((int8_t *)keys)[slot + k * tokens] = ((const int8_t *)column)[k];
        break;
    case 2:
        for (int k = 0; k < head_dim; k++) ((uint16_t *)keys)[slot + k * tokens] = ((const uint16_t *)column)[k];
        break;
    default:
        for (int k = 0; k < head_dim; k++) ((float *)keys)[slot + k * tokens] = ((const float *)column)[k];
    }
}

/** Key `key` of one head, normalised and rotated if that is asked for; in place or in `scratch`. */
static const float *ready_key(const struct store_run *run, const float *table, const float *key, float *scratch) {
    const struct kv_store *store = run->store;
    const struct cpu_leaves *leaves = run->cpu->leaves;
    int head_dim = store->layer->head_dim;
    if (store->key_norm != NULL) {
        leaves->rmsnorm_row(key, store->key_norm, store->norm_eps, head_dim, scratch);
        key = scratch;
    }
    if (store->rope != NULL) {
        int from = store->rope->offset;
        if (from > 0 && key != scratch) memcpy(scratch, key, (size_t)from * sizeof *key);
        leaves->rope_head(key + from, table, store->rope->rotary_dim, head_dim - from, store->rope->style,
                          scratch + from);
        key = scratch;
    }
    return key;
}

/** One position of one head; keys and values of a row are at `key` and `value`. */
static void store_head(const struct store_run *run, const float *table, const float *key, const float *value, int head,
                       int32_t block, int slot) {
    const struct kv_layer *layer = run->store->layer;
    const struct cpu_leaves *leaves = run->cpu->leaves;
    int head_dim = layer->head_dim;
    struct kv_head at = kv_head_at(layer, block, head);
    float scratch[HEAD_DIM_MAX], column[HEAD_DIM_MAX];
    key = ready_key(run, table, key + head * head_dim, scratch);
    leaves->kv_round(key, head_dim, layer->type, column, at.key_scales + slot);
    put_column(layer, column, at.keys, slot);
    char *row = (char *)at.values + (size_t)(slot * head_dim) * kv_type_bytes(layer->type);
    leaves->kv_round(value + head * head_dim, head_dim, layer->type, row, at.value_scales + slot);
}

static void ready_queries(const struct store_run *run, const float *table, int64_t t) {
    const struct kv_store *store = run->store;
    const struct cpu_leaves *leaves = run->cpu->leaves;
    const struct rope *rope = store->rope;
    int head_dim = store->layer->head_dim;
    if (rope == NULL && store->query_norm == NULL && store->query_scales == NULL) return;
    float *query = store->queries + t * store->query_stride;
    for (int head = 0; head < store->heads; head++, query += head_dim) {
        if (store->query_norm != NULL) leaves->rmsnorm_row(query, store->query_norm, store->norm_eps, head_dim, query);
        if (rope != NULL)
            leaves->rope_head(query + rope->offset, table, rope->rotary_dim, head_dim - rope->offset, rope->style,
                              query + rope->offset);
        if (store->query_scales != NULL) leaves->scale_row(query, store->query_scales[t], head_dim, query);
    }
}

static void store_row(const struct store_run *run, int64_t t, int32_t block, int slot) {
    const struct kv_store *store = run->store;
    const struct rope *rope = store->rope;
    const float *table = rope != NULL ? store->rope_table + 2 * t * rope->rotary_dim : NULL;
    for (int head = 0; head < store->layer->kv_heads; head++) {
        store_head(run, table, store->keys + t * store->key_stride, store->values + t * store->value_stride, head,
                   block, slot);
    }
    ready_queries(run, table, t);
}

static int64_t count_rows(const struct kv_store *store) {
    int64_t rows = 0;
    for (int64_t s = 0; s < store->sequence_count; s++) rows += store->sequences[s].row_count;
    return rows;
}

/** The rows of all sequences are shared out together. */
static void store_thread(void *context, int index, int size) {
    const struct store_run *run = context;
    const struct kv_store *store = run->store;
    int64_t first, last, number = 0, tokens = store->layer->block_tokens; /* number of the sequence's first row */
    cpu_share(count_rows(store), index, size, &first, &last);
    for (int64_t s = 0; s < store->sequence_count && number < last; number += store->sequences[s++].row_count) {
        const struct kv_sequence *sequence = &store->sequences[s];
        int64_t begin = first > number ? first - number : 0,
                end = last - number < sequence->row_count ? last - number : sequence->row_count;
        for (int64_t i = begin; i < end; i++) {
            int64_t position = sequence->context - sequence->row_count + i;
            store_row(run, sequence->first_row + i, sequence->blocks[position / tokens], (int)(position % tokens));
        }
    }
}

void cpu_kv_store(struct kernels *kernels, const struct kv_store *store) {
    [[maybe_unused]] const struct kv_layer *layer = store->layer;
    assert(layer->block_tokens % 32 == 0 && layer->head_dim % 16 == 0 && layer->head_dim <= HEAD_DIM_MAX);
    assert(store->rope == NULL ||
           (store->rope->rotary_dim % 2 == 0 && store->rope->offset + store->rope->rotary_dim <= layer->head_dim));
    struct store_run run = {.cpu = (struct cpu *)kernels, .store = store};
    if (count_rows(store) < 4) /* shorter than a meeting of threads */
        store_thread(&run, 0, 1);
    else
        thread_team_run(run.cpu->team, store_thread, &run);
}
