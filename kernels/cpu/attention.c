/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention driver. A task is (sequence, key/value head, a few rows): its query rows - the group's heads times the rows -
 * share every key block that is loaded. Blocks are walked from the window's first position to the row's own, the same
 * way however the prompt was cut into steps and whatever else is in the batch.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/kv_layout.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum { TASK_ROWS = 8 };

struct attention_run {
    struct cpu *cpu;
    const struct attention *attention;
    atomic_llong next; /* task to take */
    int64_t tasks;
};

/** Pointers to one block's keys and values of one head as f32: in place, or converted into scratch. */
static void load_block(const struct cpu *cpu, const struct kv_layer *layer, int32_t block, int head,
                       const struct cpu_scratch *scratch, const float **keys, const float **values) {
    struct kv_head at = kv_head_at(layer, block, head);
    if (layer->type == KV_F32) {
        *keys = at.keys;
        *values = at.values;
        return;
    }
    int64_t count = (int64_t)layer->head_dim * layer->block_tokens;
    cpu->leaves->load_f16(at.keys, count, scratch->keys);
    cpu->leaves->load_f16(at.values, count, scratch->values);
    *keys = scratch->keys;
    *values = scratch->values;
}

/** Rows [first, last) of a sequence (counted in its part of the step) for one key/value head. */
static void attend(const struct attention_run *run, const struct kv_sequence *sequence, int head, int64_t first,
                   int64_t last, const struct cpu_scratch *scratch) {
    const struct attention *attention = run->attention;
    const struct kv_layer *layer = attention->layer;
    int group = attention->heads / layer->kv_heads, head_dim = layer->head_dim, tokens = layer->block_tokens;
    int64_t start = sequence->context - sequence->row_count; /* position of the sequence's first row in this step */
    int row_count = (int)(last - first) * group;
    for (int r = 0; r < row_count; r++) {
        int64_t t = sequence->first_row + first + r / group;
        float *accumulator = scratch->accumulators + (size_t)r * (size_t)head_dim;
        memset(accumulator, 0, (size_t)head_dim * sizeof *accumulator);
        scratch->rows[r] =
            (struct attention_row){.q = attention->q + t * attention->q_stride + (head * group + r % group) * head_dim,
                                   .accumulator = accumulator,
                                   .maximum = -INFINITY};
    }
    int64_t lowest = attention->window > 0 ? start + first - attention->window + 1 : 0;
    for (int64_t block = (lowest > 0 ? lowest : 0) / tokens; block * tokens < start + last; block++) {
        const float *keys, *values;
        load_block(run->cpu, layer, sequence->blocks[block], head, scratch, &keys, &values);
        for (int r = 0; r < row_count; r++) {
            int64_t position = start + first + r / group,
                    from = attention->window > 0 ? position - attention->window + 1 : 0;
            int64_t begin = from - block * tokens, end = position + 1 - block * tokens;
            if (begin < 0) begin = 0;
            if (end > tokens) end = tokens;
            if (begin < end)
                run->cpu->leaves->attention_block(&scratch->rows[r], keys, values, tokens, head_dim, (int)begin,
                                                  (int)end, attention->scale);
        }
    }
    for (int r = 0; r < row_count; r++) {
        int64_t t = sequence->first_row + first + r / group;
        run->cpu->leaves->attention_finish(&scratch->rows[r], head_dim,
                                           attention->out + t * attention->out_stride +
                                               (head * group + r % group) * head_dim);
    }
}

static int64_t chunks_of(const struct kv_sequence *sequence) {
    return (sequence->row_count + TASK_ROWS - 1) / TASK_ROWS;
}

/** Task number `task`: sequences in order, in each the heads, in each the chunks. */
static void run_task(const struct attention_run *run, int64_t task, const struct cpu_scratch *scratch) {
    const struct kv_sequence *sequence = run->attention->sequences;
    int heads = run->attention->layer->kv_heads;
    while (task >= chunks_of(sequence) * heads) task -= chunks_of(sequence++) * heads;
    int64_t chunk = task % chunks_of(sequence), first = chunk * TASK_ROWS, last = first + TASK_ROWS;
    attend(run, sequence, (int)(task / chunks_of(sequence)), first,
           last < sequence->row_count ? last : sequence->row_count, scratch);
}

static void attention_thread(void *context, int index, int size) {
    (void)size;
    struct attention_run *run = context;
    for (int64_t task; (task = atomic_fetch_add(&run->next, 1)) < run->tasks;)
        run_task(run, task, &run->cpu->scratch[index]);
}

void cpu_attention(struct kernels *kernels, const struct attention *attention) {
    struct cpu *cpu = (struct cpu *)kernels;
    [[maybe_unused]] const struct kv_layer *layer = attention->layer;
    assert(layer->block_tokens % 16 == 0 && layer->block_tokens <= KV_BLOCK_TOKENS_MAX && layer->head_dim % 16 == 0 &&
           layer->head_dim <= HEAD_DIM_MAX);
    assert(attention->heads <= cpu->options.heads_max && attention->heads % layer->kv_heads == 0);
    struct attention_run run = {.cpu = cpu, .attention = attention};
    for (int64_t s = 0; s < attention->sequence_count; s++)
        run.tasks += chunks_of(&attention->sequences[s]) * layer->kv_heads;
    thread_team_run(cpu->team, attention_thread, &run);
}

/* ---- storing ------------------------------------------------------------------------------------------------------- */

struct store_run {
    struct cpu *cpu;
    const struct kv_store *store;
};

/** A key goes down a column, one element in each of the block's rows. */
static void store_key(const struct cpu *cpu, const struct kv_layer *layer, void *keys, int slot, const float *key) {
    int tokens = layer->block_tokens;
    if (layer->type == KV_F32) {
        for (int k = 0; k < layer->head_dim; k++) ((float *)keys)[slot + k * tokens] = key[k];
        return;
    }
    uint16_t halves[HEAD_DIM_MAX];
    cpu->leaves->store_f16(key, layer->head_dim, halves);
    for (int k = 0; k < layer->head_dim; k++) ((uint16_t *)keys)[slot + k * tokens] = halves[k];
}

/** One position of one head. */
static void store_head(const struct store_run *run, int64_t t, int head, int32_t block, int slot) {
    const struct kv_store *store = run->store;
    const struct kv_layer *layer = store->layer;
    int head_dim = layer->head_dim;
    struct kv_head at = kv_head_at(layer, block, head);
    const float *key = store->keys + t * store->key_stride + (int64_t)head * head_dim;
    const float *value = store->values + t * store->value_stride + (int64_t)head * head_dim;
    store_key(run->cpu, layer, at.keys, slot, key);
    if (layer->type == KV_F32)
        memcpy((float *)at.values + slot * head_dim, value, (size_t)head_dim * sizeof *value);
    else
        run->cpu->leaves->store_f16(value, head_dim, (uint16_t *)at.values + slot * head_dim);
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
    assert(store->layer->block_tokens % 16 == 0 && store->layer->head_dim % 16 == 0 &&
           store->layer->head_dim <= HEAD_DIM_MAX);
    struct store_run run = {.cpu = (struct cpu *)kernels, .store = store};
    thread_team_run(run.cpu->team, store_thread, &run);
}
