/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * kv_store and attention against the definition in float64, for every variant, storage type, head shape, block size and window. What
 * was never stored is NaN. The definition reads the keys and values from the cache; what storing them costs has a test of its own.
 *
 *   a score     one sum of hd products, and up to two scalings: (hd + 3) half units in the last place of scale sum |q k|
 *   a cap       flattens that, and adds 14 half units of the score and 3 of what it was before (conformance_rows_test.c)
 *   a weight    e^(score - maximum): the errors of both scores, plus |score - maximum| half units from the range reduction, plus 4; when
 *               ranges are merged another e^(maximum of the range - maximum)
 *   the output  the weights' relative error twice (above and below the fraction), plus one half unit for each of a range's additions and
 *               six for each merge; of max |v|
 */
#include "kernels/kv_layout.h"
#include "tests/unit/kernels/attention_fixture.h"

#include <math.h>
#include <string.h>

/** out[k] for one query row in float64; returns the bound of its error. */
static double define_attention(const struct pool *pool, int s, int64_t position, int head, float scale, int64_t window,
                               float softcap, double *out) {
    int hd = pool->shape.head_dim, kv_head = head / (pool->shape.heads / pool->shape.kv_heads);
    const float *q = pool->queries[s] + (position * pool->shape.heads + head) * hd;
    int64_t first = window > 0 && position - window + 1 > 0 ? position - window + 1 : 0;
    double maximum = -INFINITY, minimum = INFINITY, magnitude = 0, sum = 0, largest = 0, capped = 0, scores[4096];
    for (int64_t j = first; j <= position; j++) {
        double dot = 0, size = 0;
        for (int k = 0; k < hd; k++) {
            double product = q[k] * pool_key(pool, s, j, kv_head, k);
            dot += product;
            size += fabs(product);
        }
        double score = softcap > 0 ? softcap * tanh(scale * dot / softcap) : scale * dot;
        scores[j - first] = score;
        maximum = fmax(maximum, score);
        minimum = fmin(minimum, score);
        magnitude = fmax(magnitude, scale * size);
        capped = fmax(capped, softcap > 0 ? 14 * fabs(score) + 3 * fabs(scale * dot) : 0);
    }
    for (int k = 0; k < hd; k++) out[k] = 0;
    for (int64_t j = first; j <= position; j++) {
        double weight = exp(scores[j - first] - maximum);
        sum += weight;
        for (int k = 0; k < hd; k++) {
            double value = pool_value(pool, s, j, kv_head, k);
            out[k] += weight * value;
            largest = fmax(largest, fabs(value));
        }
    }
    for (int k = 0; k < hd; k++) out[k] /= sum;
    double ranges = (double)(position / 256 + 1), spread = fmin(maximum - minimum, 90),
           weight_error = 2 * (hd + 3.0) * magnitude + 2 * capped + 2 * spread + 4;
    return F32_HALF_ULP * largest * (2 * weight_error + fmin((double)(position - first + 1), 256) + 6 * ranges);
}

static void check_out(const struct pool *pool, const char *variant, int s, int64_t from, int64_t to, float scale,
                      int64_t window, float softcap) {
    int hd = pool->shape.head_dim;
    double want[256];
    for (int64_t position = from; position < to; position++) {
        for (int head = 0; head < pool->shape.heads; head++) {
            double bound = define_attention(pool, s, position, head, scale, window, softcap, want);
            const float *out = pool->out[s] + (position * pool->shape.heads + head) * hd;
            for (int k = 0; k < hd; k++) {
                if (!(fabs(out[k] - want[k]) <= bound)) {
                    fail_msg(
                        "%s %s H %d G %d hd %d block %d window %lld: sequence %d position %lld head %d [%d] is %.9g, "
                        "not %.9g (bound %.3g)",
                        variant, kv_type_name(pool->shape.type), pool->shape.heads, pool->shape.kv_heads, hd,
                        pool->shape.block_tokens, (long long)window, s, (long long)position, head, k, (double)out[k],
                        want[k], bound);
                }
            }
        }
    }
}

static const struct pool_shape SHAPES[] = {
    {9, 3, 64, 32, KV_F16},   {9, 3, 64, 64, KV_F32},   {8, 8, 80, 32, KV_F16},  {4, 1, 128, 32, KV_F32},
    {16, 2, 16, 64, KV_F16},  {2, 2, 256, 32, KV_F16},  {1, 1, 64, 32, KV_F32},  {32, 4, 32, 64, KV_F16},
    {9, 3, 64, 32, KV_BF16},  {14, 2, 64, 32, KV_INT8}, {6, 1, 80, 64, KV_INT8}, {5, 1, 48, 32, KV_BF16},
    {8, 8, 256, 32, KV_INT8}, {32, 4, 96, 32, KV_INT8},
};
enum { SHAPE_COUNT = sizeof SHAPES / sizeof SHAPES[0] };
static const enum kv_type TYPES[] = {KV_F32, KV_F16, KV_BF16, KV_INT8};

/** Three sequences in one step: one whole, one further on, one that decodes a single token; contexts around the edges of blocks. */
static void test_mixed_batches_are_the_definition(void **state) {
    (void)state;
    static const int64_t windows[] = {0, 1, 7, 16, 40, 1000};
    static const int64_t contexts[][3] = {{1, 33, 32}, {31, 64, 17}, {65, 63, 130}};
    static const uint64_t seeds[] = {21, 22, 23};
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 2);
        for (int i = 0; i < SHAPE_COUNT * 3; i++) {
            const int64_t *context = contexts[i % 3];
            int64_t window = windows[(i + i / 6) % 6];
            struct pool pool;
            pool_init(&pool, &SHAPES[i / 3], 3, context, seeds);
            float scale = 1.0f / sqrtf((float)SHAPES[i / 3].head_dim), softcap = i % 2 == 0 ? 0 : 0.5f + (float)(i % 5);
            int64_t nothing[3] = {0, 0, 0}, begun[3] = {0, context[1] / 2, context[2] - 1};
            pool_step(&pool, kernels, nothing, begun, scale, window, softcap);
            pool_step(&pool, kernels, begun, context, scale, window, softcap);
            for (int s = 0; s < 3; s++) check_out(&pool, variant, s, 0, context[s], scale, window, softcap);
            pool_deinit(&pool);
        }
        kernels_close(kernels);
    }
}

/** Contexts of several ranges, steps that end before, at and behind their edges, and windows that begin in the middle of blocks. */
static void test_long_contexts_are_the_definition(void **state) {
    (void)state;
    static const int64_t windows[] = {0, 100, 256, 513},
                         steps[] = {200, 255, 256, 257, 300, 512, 513, 700, 767, 769, 800};
    static const uint64_t seed = 24;
    int64_t context = 800;
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 2);
        for (int i = 0; i < 16; i++) {
            const struct pool_shape shape = {3, 1, 64, 32, TYPES[i % 4]};
            struct pool pool;
            pool_init(&pool, &shape, 1, &context, &seed);
            int64_t at = 0;
            for (size_t j = 0; j < sizeof steps / sizeof steps[0]; at = steps[j++]) {
                pool_step(&pool, kernels, &at, &steps[j], 0.125f, windows[i / 4], i % 8 < 4 ? 0 : 2);
                check_out(&pool, variant, 0, steps[j] - 3 > at ? steps[j] - 3 : at, steps[j], 0.125f, windows[i / 4],
                          i % 8 < 4 ? 0 : 2);
            }
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
    const struct pool_shape shape = {3, 1, 64, 32, KV_F32};
    int64_t context = 70, zero = 0;
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 2);
        for (size_t f = 0; f < sizeof factors / sizeof factors[0]; f++) {
            struct pool pool;
            pool_init(&pool, &shape, 1, &context, &seed);
            for (int64_t i = 0; i < context * 3 * 64; i++) pool.queries[0][i] *= factors[f];
            pool_step(&pool, kernels, &zero, &context, 0.125f, 0, 0);
            check_out(&pool, variant, 0, 0, context, 0.125f, 0, 0);
            pool_deinit(&pool);
        }
        kernels_close(kernels);
    }
}

/** With one position in the window the output is its value, to the bit. */
static void test_one_position_gives_its_value(void **state) {
    (void)state;
    static const uint64_t seed = 26;
    const struct pool_shape shape = {4, 2, 64, 32, KV_F16};
    int64_t context = 40, zero = 0;
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 1);
        struct pool pool;
        pool_init(&pool, &shape, 1, &context, &seed);
        pool_step(&pool, kernels, &zero, &context, 0.125f, 1, 0);
        for (int64_t i = 0; i < context * 4 * 64; i++) {
            int64_t position = i / 256, head = i / 64 % 4, k = i % 64;
            assert_true(pool.out[0][i] == pool_value(&pool, 0, position, (int)head / 2, (int)k));
        }
        pool_deinit(&pool);
        kernels_close(kernels);
    }
}

/* ---- storing ----------------------------------------------------------------------------------------------------------- */

/** How far a stored element may lie from `value`, an element of a head whose largest is `largest`; kv_layout.h says why. */
static double store_error(enum kv_type type, double value, double largest) {
    switch (type) {
    case KV_F32:
        return 0;
    case KV_F16:
        return fmax(fabs(value) * 0x1p-11, 0x1p-25);
    case KV_BF16:
        return fabs(value) * 0x1p-8;
    default:
        return largest / 127 *
               (0.5 + 1e-4); /* half a step; f32's own roundings move the border between two steps a little */
    }
}

static double largest_of(const float *head, int head_dim) {
    double largest = 0;
    for (int k = 0; k < head_dim; k++) largest = fmax(largest, fabs((double)head[k]));
    return largest;
}

/** Every element lies where kv_layout.h says, as near to what was given as its type allows, and nothing else was written. */
static void test_store_puts_every_element_in_its_place(void **state) {
    (void)state;
    static const uint64_t seeds[] = {27, 28};
    static const int64_t contexts[] = {77, 45}, zeros[] = {0, 0};
    for_each_variant(variant) {
        for (int type = 0; type < 4; type++) {
            const struct pool_shape shape = {4, 2, 48, 32, TYPES[type]};
            struct kernels *kernels = fixture_open(variant, 2);
            struct pool pool;
            pool_init(&pool, &shape, 2, contexts, seeds);
            pool.keys[0][5] = 1e-7f; /* subnormal in f16 */
            pool.values[0][6] = 65504;
            pool.keys[1][0] = -0.0f;
            for (int k = 0; k < 48; k++) pool.values[1][k] = k == 3 ? 1e-45f : 0; /* no scale has an inverse */
            pool_step(&pool, kernels, zeros, contexts, 0.125f, 0, 0);
            for (int s = 0; s < 2; s++) {
                for (int64_t i = 0; i < contexts[s] * 2 * 48; i++) {
                    const float *key = pool.keys[s] + i / 48 * 48, *value = pool.values[s] + i / 48 * 48;
                    int64_t position = i / 96;
                    int head = (int)(i / 48 % 2), k = (int)(i % 48);
                    double key_error = pool_key(&pool, s, position, head, k) - key[k],
                           value_error = pool_value(&pool, s, position, head, k) - value[k];
                    assert_true(fabs(key_error) <= store_error(shape.type, key[k], largest_of(key, 48)));
                    assert_true(fabs(value_error) <=
                                fmax(store_error(shape.type, value[k], largest_of(value, 48)), 2e-45));
                }
            }
            struct kv_head after = kv_head_at(&pool.layer, pool.blocks[1][1], 0); /* position 45 of 45 is not there */
            assert_int_equal(((uint8_t *)after.keys)[13 * kv_type_bytes(shape.type)], 0xFF);
            assert_int_equal(((uint8_t *)after.values)[13 * 48 * kv_type_bytes(shape.type)], 0xFF);
            if (shape.type == KV_INT8) assert_true(isnan(after.key_scales[13]) && isnan(after.value_scales[13]));
            pool_deinit(&pool);
            kernels_close(kernels);
        }
    }
}

/** What cannot be stored is seen in the output, and only by those who see the position. */
static void test_what_is_not_finite_shows(void **state) {
    (void)state;
    static const float poisons[] = {INFINITY, -INFINITY, NAN};
    static const uint64_t seed = 29;
    int64_t context = 40, zero = 0;
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 1);
        for (int i = 0; i < 12; i++) {
            const struct pool_shape shape = {3, 1, 64, 32, TYPES[i / 3]};
            struct pool pool;
            pool_init(&pool, &shape, 1, &context, &seed);
            pool.values[0][35 * 64 + 7] = poisons[i % 3];
            pool_step(&pool, kernels, &zero, &context, 0.125f, 0, 0);
            for (int64_t position = 0; position < context; position++) {
                for (int head = 0; head < 3; head++)
                    assert_int_equal(isfinite(pool.out[0][(position * 3 + head) * 64 + 7]), position < 35);
            }
            pool_deinit(&pool);
        }
        kernels_close(kernels);
    }
}

/** A key that is not a number makes a NaN of all that see it: its score may not pass for a small one. */
static void test_a_broken_key_shows(void **state) {
    (void)state;
    static const uint64_t seed = 31;
    int64_t context = 300, zero = 0, at = 270;
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 1);
        for (int i = 0; i < 4; i++) {
            const struct pool_shape shape = {3, 1, 64, 32, TYPES[i]};
            struct pool pool;
            pool_init(&pool, &shape, 1, &context, &seed);
            pool.keys[0][at * 64 + 7] = NAN;
            pool_step(&pool, kernels, &zero, &context, 0.125f, 0, 0);
            for (int64_t j = 0; j < context * 3 * 64; j++)
                assert_int_equal(isfinite(pool.out[0][j]), j / (3 * 64) < at);
            pool_deinit(&pool);
        }
        kernels_close(kernels);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixed_batches_are_the_definition),
        cmocka_unit_test(test_long_contexts_are_the_definition),
        cmocka_unit_test(test_scores_of_any_size),
        cmocka_unit_test(test_one_position_gives_its_value),
        cmocka_unit_test(test_store_puts_every_element_in_its_place),
        cmocka_unit_test(test_what_is_not_finite_shows),
        cmocka_unit_test(test_a_broken_key_shows),
    };
    return cmocka_run_group_tests(tests, fixture_announce, NULL);
}
