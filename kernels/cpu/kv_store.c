/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Storing a step's keys and values into their blocks. */
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

/** One position of one head. */
static void store_head(const struct store_run *run, int64_t t, int head, int32_t block, int slot) {
    const struct kv_store *store = run->store;
    const struct kv_layer *layer = store->layer;
    int head_dim = layer->head_dim;
    struct kv_head at = kv_head_at(layer, block, head);
    const float *key = store->keys + t * store->key_stride + (int64_t)head * head_dim;
    const float *value = store->values + t * store->value_stride + (int64_t)head * head_dim;
    float column[HEAD_DIM_MAX];
    run->cpu->leaves->kv_round(key, head_dim, layer->type, column, at.key_scales + slot);
    put_column(layer, column, at.keys, slot);
    char *row = (char *)at.values + (size_t)(slot * head_dim) * kv_type_bytes(layer->type);
    run->cpu->leaves->kv_round(value, head_dim, layer->type, row, at.value_scales + slot);
}

static void store_thread(void *context, int index, int size) {
    const struct store_run *run = context;
    const struct kv_layer *layer = run->store->layer;
    for (int64_t s = 0; s < run->store->sequence_count; s++) {
        const struct kv_sequence *sequence = &run->store->sequences[s];
        int64_t first, last;
        cpu_share(sequence->row_count, index, size, &first, &last);
        for (int64_t i = first; i < last; i++) {
            int64_t position = sequence->context - sequence->row_count + i;
            for (int head = 0; head < layer->kv_heads; head++) {
                store_head(run, sequence->first_row + i, head, sequence->blocks[position / layer->block_tokens],
                           (int)(position % layer->block_tokens));
            }
        }
    }
}

void cpu_kv_store(struct kernels *kernels, const struct kv_store *store) {
    assert(store->layer->block_tokens % 32 == 0 && store->layer->head_dim % 16 == 0 &&
           store->layer->head_dim <= HEAD_DIM_MAX);
    struct store_run run = {.cpu = (struct cpu *)kernels, .store = store};
    thread_team_run(run.cpu->team, store_thread, &run);
}
