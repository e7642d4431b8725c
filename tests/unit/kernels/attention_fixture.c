/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/kernels/attention_fixture.h"

#include "kernels/float16.h"
#include "kernels/kv_layout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POOL_GAP = 192 }; /* bytes between a layer's parts of two blocks: other layers' */

/** Blocks are dealt from a shuffled pack, one pool for all sequences; there are a few more than needed. */
static int deal_blocks(struct pool *pool) {
    int total = 3, order[POOL_SEQUENCES_MAX * POOL_BLOCKS_MAX];
    for (int s = 0; s < pool->sequence_count; s++)
        total += (int)((pool->contexts[s] + pool->shape.block_tokens - 1) / pool->shape.block_tokens);
    struct fixture_random random = {.seed = 77};
    for (int i = 0; i < total; i++) {
        int other = fixture_integer(&random, 0, i);
        order[i] = order[other];
        order[other] = i;
    }
    int next = 0;
    for (int s = 0; s < pool->sequence_count; s++) {
        for (int b = 0; b < POOL_BLOCKS_MAX; b++)
            pool->blocks[s][b] = b * pool->shape.block_tokens < pool->contexts[s] ? order[next++] : -1;
    }
    return total;
}

void pool_init(struct pool *pool, const struct pool_shape *shape, int sequence_count, const int64_t *contexts,
               const uint64_t *seeds) {
    *pool = (struct pool){.shape = *shape, .sequence_count = sequence_count};
    for (int s = 0; s < sequence_count; s++) {
        assert_true(contexts[s] <= (int64_t)POOL_BLOCKS_MAX * shape->block_tokens);
        struct fixture_random random = {.seed = seeds[s]};
        pool->contexts[s] = contexts[s];
        pool->keys[s] = fixture_normals(&random, contexts[s] * shape->kv_heads * shape->head_dim);
        pool->values[s] = fixture_normals(&random, contexts[s] * shape->kv_heads * shape->head_dim);
        pool->queries[s] = fixture_normals(&random, contexts[s] * shape->heads * shape->head_dim);
        pool->out[s] = fixture_floats(contexts[s] * shape->heads * shape->head_dim, 0);
    }
    pool->layer = (struct kv_layer){.type = shape->type,
                                    .block_tokens = shape->block_tokens,
                                    .kv_heads = shape->kv_heads,
                                    .head_dim = shape->head_dim};
    pool->layer.block_stride = kv_layer_bytes(&pool->layer) + POOL_GAP;
    size_t bytes = (size_t)deal_blocks(pool) * pool->layer.block_stride;
    pool->layer.base = aligned_alloc(64, bytes);
    assert_non_null(pool->layer.base);
    memset(pool->layer.base, 0xFF, bytes); /* NaN in f32, f16 and bf16, and as int8's scale */
}

void pool_deinit(struct pool *pool) {
    for (int s = 0; s < pool->sequence_count; s++) {
        test_free(pool->keys[s]);
        test_free(pool->values[s]);
        test_free(pool->queries[s]);
        test_free(pool->out[s]);
    }
    free(pool->layer.base);
}

/** Copy rows of `width` floats between a sequence's array and the step's, whose rows are `stride` apart. */
static void gather(float *step, int64_t stride, const float *sequence, int64_t width, int64_t rows) {
    for (int64_t i = 0; i < rows; i++) memcpy(step + i * stride, sequence + i * width, (size_t)width * sizeof *step);
}

void pool_step(struct pool *pool, struct kernels *kernels, const int64_t *from, const int64_t *to, float scale,
               int64_t window, float softcap) {
    int64_t key = pool->shape.kv_heads * pool->shape.head_dim, query = pool->shape.heads * pool->shape.head_dim,
            rows = 0;
    for (int s = 0; s < pool->sequence_count; s++) rows += to[s] - from[s];
    int64_t key_stride = key + 1, value_stride = key + 2, q_stride = query + 3, out_stride = query + 4;
    float *keys = fixture_floats(rows * key_stride, NAN), *values = fixture_floats(rows * value_stride, NAN),
          *q = fixture_floats(rows * q_stride, NAN), *out = fixture_floats(rows * out_stride, -7);
    struct kv_sequence sequences[POOL_SEQUENCES_MAX];
    int64_t count = 0, row = 0;
    for (int s = 0; s < pool->sequence_count; s++) {
        int64_t taken = to[s] - from[s];
        if (taken == 0) continue;
        sequences[count++] =
            (struct kv_sequence){.first_row = row, .row_count = taken, .context = to[s], .blocks = pool->blocks[s]};
        gather(keys + row * key_stride, key_stride, pool->keys[s] + from[s] * key, key, taken);
        gather(values + row * value_stride, value_stride, pool->values[s] + from[s] * key, key, taken);
        gather(q + row * q_stride, q_stride, pool->queries[s] + from[s] * query, query, taken);
        row += taken;
    }
    struct kv_store store = {.layer = &pool->layer,
                             .sequences = sequences,
                             .sequence_count = count,
                             .keys = keys,
                             .values = values,
                             .key_stride = key_stride,
                             .value_stride = value_stride};
    kernels->operations->kv_store(kernels, &store);
    struct attention attention = {.layer = &pool->layer,
                                  .sequences = sequences,
                                  .sequence_count = count,
                                  .q = q,
                                  .q_stride = q_stride,
                                  .out = out,
                                  .out_stride = out_stride,
                                  .heads = pool->shape.heads,
                                  .scale = scale,
                                  .window = window,
                                  .softcap = softcap};
    kernels->operations->attention(kernels, &attention);
    row = 0;
    for (int s = 0; s < pool->sequence_count; s++) {
        for (int64_t p = from[s]; p < to[s]; p++, row++) {
            memcpy(pool->out[s] + p * query, out + row * out_stride, (size_t)query * sizeof *out);
            for (int64_t k = query; k < out_stride; k++) assert_true(out[row * out_stride + k] == -7);
        }
    }
    test_free(keys);
    test_free(values);
    test_free(q);
    test_free(out);
}

static double stored(enum kv_type type, const void *array, int64_t at, const float *scale) {
    switch (type) {
    case KV_F32:
        return ((const float *)array)[at];
    case KV_F16:
        return float_from_f16(((const uint16_t *)array)[at]);
    case KV_BF16:
        return float_from_bf16(((const uint16_t *)array)[at]);
    default:
        return (double)*scale * ((const int8_t *)array)[at];
    }
}

double pool_key(const struct pool *pool, int s, int64_t position, int kv_head, int k) {
    int64_t tokens = pool->shape.block_tokens, slot = position % tokens;
    struct kv_head head = kv_head_at(&pool->layer, pool->blocks[s][position / tokens], kv_head);
    return stored(pool->shape.type, head.keys, k * tokens + slot, &head.key_scales[slot]);
}

double pool_value(const struct pool *pool, int s, int64_t position, int kv_head, int k) {
    int64_t tokens = pool->shape.block_tokens, slot = position % tokens;
    struct kv_head head = kv_head_at(&pool->layer, pool->blocks[s][position / tokens], kv_head);
    return stored(pool->shape.type, head.values, slot * pool->shape.head_dim + k, &head.value_scales[slot]);
}

void fixture_rope(struct kernels *kernels, const struct rope *rope, const int32_t *positions, int64_t rows, float *x,
                  int64_t stride, int heads, int head_dim, float *keys) {
    fixture_heads(kernels, rope, NULL, 0, NULL, positions, rows, x, stride, heads, head_dim, keys);
}

void fixture_heads(struct kernels *kernels, const struct rope *rope, const float *norm, float eps, const float *scales,
                   const int32_t *positions, int64_t rows, float *x, int64_t stride, int heads, int head_dim,
                   float *keys) {
    static const int32_t blocks[] = {0, 1};
    struct kv_layer layer = {.type = KV_F32, .block_tokens = 32, .kv_heads = 1, .head_dim = head_dim};
    layer.block_stride = kv_layer_bytes(&layer);
    layer.base = aligned_alloc(64, 2 * layer.block_stride);
    assert_non_null(layer.base);
    assert_true(rows <= 64);
    float *table = fixture_floats(rows * 2 * head_dim, NAN), *before = fixture_floats(rows * stride, 0);
    memcpy(before, x, (size_t)(rows * stride) * sizeof *x);
    struct kv_sequence sequence = {.row_count = rows, .context = rows, .blocks = blocks};
    struct kv_store store = {.layer = &layer,
                             .sequences = &sequence,
                             .sequence_count = 1,
                             .keys = before,
                             .values = before,
                             .key_stride = stride,
                             .value_stride = stride,
                             .rope = rope,
                             .rope_table = table,
                             .query_norm = norm,
                             .key_norm = norm,
                             .norm_eps = eps,
                             .query_scales = scales,
                             .queries = x,
                             .query_stride = stride,
                             .heads = heads};
    if (rope != NULL) kernels->operations->rope_table(kernels, rope, positions, rows, table);
    kernels->operations->kv_store(kernels, &store);
    for (int64_t i = 0; keys != NULL && i < rows * head_dim; i++) {
        int64_t t = i / head_dim, k = i % head_dim;
        const float *stored_keys = kv_head_at(&layer, blocks[t / 32], 0).keys;
        keys[i] = stored_keys[k * 32 + t % 32];
    }
    free(layer.base);
    test_free(table);
    test_free(before);
}
