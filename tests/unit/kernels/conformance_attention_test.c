/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * kv_store and attention against the definition in float64, for every variant, head shape, block size and window. What was never stored is NaN.
 *
 *   a score     two sums of hd/2 products, an addition, a scaling: (hd/2 + 3) half units in the last place of scale sum |q k|
 *   a weight    e^(score - maximum): the errors of both scores, plus |score - maximum| half units from the range reduction, plus 4
 *   the output  the weights' relative error twice (above and below the fraction), plus (blocks * 3 + block_tokens) half units; of max |v|
 */
#include "kernels/float16.h"
#include "kernels/kv_layout.h"
#include "tests/unit/kernels/attention_fixture.h"

#include <math.h>
#include <string.h>

/** out[k] for one query row in float64; returns the bound of its error. */
static double define_attention(const struct pool *pool, int s, int64_t position, int head, float scale, int64_t window,
                               double *out) {
    int hd = pool->shape.head_dim, G = pool->shape.kv_heads, kv_head = head / (pool->shape.heads / G);
    const float *q = pool->queries[s] + (position * pool->shape.heads + head) * hd;
    int64_t first = window > 0 && position - window + 1 > 0 ? position - window + 1 : 0;
    double maximum = -INFINITY, minimum = INFINITY, magnitude = 0, sum = 0, largest = 0, scores[4096];
    for (int64_t j = first; j <= position; j++) {
        double dot = 0, size = 0;
        for (int k = 0; k < hd; k++) {
            double product = q[k] * pool_stored(pool, pool->keys[s][(j * G + kv_head) * hd + k]);
            dot += product;
            size += fabs(product);
        }
        scores[j - first] = scale * dot;
        maximum = fmax(maximum, scale * dot);
        minimum = fmin(minimum, scale * dot);
        magnitude = fmax(magnitude, scale * size);
    }
    for (int k = 0; k < hd; k++) out[k] = 0;
    for (int64_t j = first; j <= position; j++) {
        double weight = exp(scores[j - first] - maximum);
        sum += weight;
        for (int k = 0; k < hd; k++) {
            double value = pool_stored(pool, pool->values[s][(j * G + kv_head) * hd + k]);
            out[k] += weight * value;
            largest = fmax(largest, fabs(value));
        }
    }
    for (int k = 0; k < hd; k++) out[k] /= sum;
    double blocks = (double)(position / pool->shape.block_tokens + 1),
           weight_error = 2 * (hd / 2.0 + 3) * magnitude + fmin(maximum - minimum, 90) + 4;
    return F32_HALF_ULP * largest * (2 * weight_error + 3 * blocks + pool->shape.block_tokens);
}

static void check_out(const struct pool *pool, const char *variant, int s, int64_t from, int64_t to, float scale,
                      int64_t window) {
    int hd = pool->shape.head_dim;
    double want[256];
    for (int64_t position = from; position < to; position++) {
        for (int head = 0; head < pool->shape.heads; head++) {
            double bound = define_attention(pool, s, position, head, scale, window, want);
            const float *out = pool->out[s] + (position * pool->shape.heads + head) * hd;
            for (int k = 0; k < hd; k++) {
                if (!(fabs(out[k] - want[k]) <= bound)) {
                    fail_msg("%s H %d G %d hd %d block %d window %lld: sequence %d position %lld head %d [%d] is %.9g, "
                             "not %.9g (bound %.3g)",
                             variant, pool->shape.heads, pool->shape.kv_heads, hd, pool->shape.block_tokens,
                             (long long)window, s, (long long)position, head, k, (double)out[k], want[k], bound);
                }
            }
        }
    }
}

static const struct pool_shape SHAPES[] = {
    {9, 3, 64, 16, KV_F16},  {9, 3, 64, 64, KV_F32},  {8, 8, 80, 32, KV_F16}, {4, 1, 128, 16, KV_F32},
    {16, 2, 16, 48, KV_F16}, {2, 2, 256, 16, KV_F16}, {1, 1, 64, 16, KV_F32}, {32, 4, 32, 64, KV_F16},
};
enum { SHAPE_COUNT = sizeof SHAPES / sizeof SHAPES[0] };

/** Three sequences in one step: one whole, one further on, one that decodes a single token; contexts around the edges of blocks. */
static void test_mixed_batches_are_the_definition(void **state) {
    (void)state;
    static const int64_t windows[] = {0, 1, 7, 16, 40, 1000};
    static const int64_t contexts[][3] = {{1, 17, 16}, {15, 64, 33}, {33, 31, 65}};
    static const uint64_t seeds[] = {21, 22, 23};
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 2);
        for (int i = 0; i < SHAPE_COUNT * 3; i++) {
            const int64_t *context = contexts[i % 3];
            int64_t window = windows[(i + i / 6) % 6];
            struct pool pool;
            pool_init(&pool, &SHAPES[i / 3], 3, context, seeds);
            float scale = 1.0f / sqrtf((float)SHAPES[i / 3].head_dim);
            int64_t nothing[3] = {0, 0, 0}, begun[3] = {0, context[1] / 2, context[2] - 1};
            pool_step(&pool, kernels, nothing, begun, scale, window);
            pool_step(&pool, kernels, begun, context, scale, window);
            for (int s = 0; s < 3; s++) check_out(&pool, variant, s, 0, context[s], scale, window);
            pool_deinit(&pool);
        }
        kernels_close(kernels);
    }
}

/** A long context, with the last rows only: many blocks, and with windows that end in the middle of blocks. */
static void test_long_contexts_are_the_definition(void **state) {
    (void)state;
    static const int64_t windows[] = {0, 100, 513};
    static const uint64_t seed = 24;
    const struct pool_shape shape = {3, 1, 64, 32, KV_F16};
    int64_t context = 1000;
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 2);
        for (int w = 0; w < 3; w++) {
            struct pool pool;
            pool_init(&pool, &shape, 1, &context, &seed);
            for (int64_t at = 0; at < context; at += 100)
                pool_step(&pool, kernels, &at, &(int64_t){at + 100}, 0.125f, windows[w]);
            check_out(&pool, variant, 0, 990, 1000, 0.125f, windows[w]);
            pool_deinit(&pool);
        }
        kernels_close(kernels);
    }
}

/* ---- extreme inputs ---------------------------------------------------------------------------------------------------- */

/** Scores spread over thousands, rising and falling: the running maximum moves over many powers of e, and nothing overflows. */
static void test_scores_of_any_size(void **state) {
    (void)state;
    static const float factors[] = {0, 1e-20f, 30, 3000, -3000};
    static const uint64_t seed = 25;
    const struct pool_shape shape = {3, 1, 64, 16, KV_F32};
    int64_t context = 70, zero = 0;
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 2);
        for (size_t f = 0; f < sizeof factors / sizeof factors[0]; f++) {
            struct pool pool;
            pool_init(&pool, &shape, 1, &context, &seed);
            for (int64_t i = 0; i < context * 3 * 64; i++) pool.queries[0][i] *= factors[f];
            pool_step(&pool, kernels, &zero, &context, 0.125f, 0);
            check_out(&pool, variant, 0, 0, context, 0.125f, 0);
            pool_deinit(&pool);
        }
        kernels_close(kernels);
    }
}

/** With one position in the window the output is its value, to the bit. */
static void test_one_position_gives_its_value(void **state) {
    (void)state;
    static const uint64_t seed = 26;
    const struct pool_shape shape = {4, 2, 64, 16, KV_F16};
    int64_t context = 40, zero = 0;
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 1);
        struct pool pool;
        pool_init(&pool, &shape, 1, &context, &seed);
        pool_step(&pool, kernels, &zero, &context, 0.125f, 1);
        for (int64_t i = 0; i < context * 4 * 64; i++) {
            int64_t position = i / 256, head = i / 64 % 4, k = i % 64;
            assert_true(pool.out[0][i] == pool_stored(&pool, pool.values[0][(position * 2 + head / 2) * 64 + k]));
        }
        pool_deinit(&pool);
        kernels_close(kernels);
    }
}

/* ---- storing ----------------------------------------------------------------------------------------------------------- */

static float stored_at(const struct pool *pool, const void *array, int64_t index) {
    if (pool->shape.type == KV_F32) return ((const float *)array)[index];
    return float_from_f16(((const uint16_t *)array)[index]);
}

/** Every element lies where kv_layout.h says, rounded as f16 rounds, and nothing else was written. */
static void test_store_puts_every_element_in_its_place(void **state) {
    (void)state;
    static const uint64_t seeds[] = {27, 28};
    static const int64_t contexts[] = {37, 20}, zeros[] = {0, 0};
    for_each_variant(variant) {
        for (int type = KV_F32; type <= KV_F16; type++) {
            const struct pool_shape shape = {4, 2, 48, 16, (enum kv_type)type};
            struct kernels *kernels = fixture_open(variant, 2);
            struct pool pool;
            pool_init(&pool, &shape, 2, contexts, seeds);
            pool.keys[0][5] = 1e-7f; /* subnormal in f16 */
            pool.values[0][6] = 65504;
            pool.values[0][7] = 1e6f; /* beyond f16: infinite there */
            pool.keys[1][0] = -0.0f;
            pool_step(&pool, kernels, zeros, contexts, 0.125f, 0);
            for (int s = 0; s < 2; s++) {
                for (int64_t i = 0; i < contexts[s] * 2 * 48; i++) {
                    int64_t position = i / 96, head = i / 48 % 2, k = i % 48, slot = position % 16;
                    struct kv_head at = kv_head_at(&pool.layer, pool.blocks[s][position / 16], (int)head);
                    float key = stored_at(&pool, at.keys, k * 16 + slot),
                          value = stored_at(&pool, at.values, slot * 48 + k);
                    assert_true(key == pool_stored(&pool, pool.keys[s][i]));
                    assert_true(value == pool_stored(&pool, pool.values[s][i]));
                }
            }
            uint8_t *unused = kv_head_at(&pool.layer, pool.blocks[1][1], 0).keys; /* position 21 of 20 is not there */
            assert_int_equal(unused[5 * kv_type_bytes(shape.type)], 0xFF);
            pool_deinit(&pool);
            kernels_close(kernels);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixed_batches_are_the_definition),
        cmocka_unit_test(test_long_contexts_are_the_definition),
        cmocka_unit_test(test_scores_of_any_size),
        cmocka_unit_test(test_one_position_gives_its_value),
        cmocka_unit_test(test_store_puts_every_element_in_its_place),
    };
    return cmocka_run_group_tests(tests, fixture_announce, NULL);
}
