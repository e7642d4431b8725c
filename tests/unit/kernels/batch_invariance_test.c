/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Batch invariance, to the bit: what is computed for a row or a sequence depends on nothing but it - not on the rows beside it, its place, the number
 * of threads, or how its prompt was cut into steps. And avx2 and avx512 give the same bits.
 */
#include "tests/unit/kernels/attention_fixture.h"

#include <math.h>
#include <string.h>

static const enum tensor_type TYPES[] = {TENSOR_F32,  TENSOR_F16,  TENSOR_BF16, TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0,
                                         TENSOR_Q5_1, TENSOR_Q8_0, TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K};
enum { TYPE_COUNT = sizeof TYPES / sizeof TYPES[0], T = 33, K = 768, N = 53 };

static void expect_same(const float *a, const float *b, int64_t count, const char *what, const char *variant) {
    for (int64_t i = 0; i < count; i++) {
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("%s, %s: element %lld is %.9g and %.9g", variant, what, (long long)i, (double)a[i], (double)b[i]);
    }
}

/* ---- matmul ------------------------------------------------------------------------------------------------------------ */

struct product {
    struct kernels *kernels;
    struct tensor_view view;
    struct weights *weights;
    float *x, *norm, *y; /* y [T][N] */
};

static void product_init(struct product *product, const char *variant, int threads, enum tensor_type type) {
    struct fixture_random random = {.seed = 31};
    product->kernels = fixture_open(variant, threads);
    product->view = fixture_tensor(&random, type, N, K);
    assert_int_equal(
        product->kernels->operations->weights_create(product->kernels, &product->view, &product->weights, NULL),
        STATUS_OK);
    product->x = fixture_normals(&random, T * K);
    product->norm = fixture_normals(&random, K);
    product->y = fixture_floats(T * N, 0);
}

static void product_deinit(struct product *product) {
    product->kernels->operations->weights_destroy(product->kernels, product->weights);
    kernels_close(product->kernels);
    test_free((void *)product->view.data);
    test_free(product->x);
    test_free(product->norm);
    test_free(product->y);
}

/** Rows [first, last) of x as one matmul. */
static void multiply(struct product *product, bool norm, int64_t first, int64_t last) {
    struct matmul matmul = {.x = product->x + first * K,
                            .x_stride = K,
                            .rows = last - first,
                            .norm_weight = norm ? product->norm : NULL,
                            .norm_eps = 1e-5f,
                            .output_count = 1,
                            .outputs = {{.weights = product->weights, .y = product->y + first * N, .y_stride = N}}};
    product->kernels->operations->matmul(product->kernels, &matmul);
}

/** x cut into matmuls of `size` rows. */
static void multiply_cut(struct product *product, bool norm, int64_t size) {
    for (int64_t first = 0; first < T; first += size)
        multiply(product, norm, first, first + size < T ? first + size : T);
}

static void test_matmul_rows_do_not_know_their_batch(void **state) {
    (void)state;
    static const int64_t sizes[] = {T, 2, 3, 4, 5, 7, 8, 9, 16, 31};
    for_each_variant(variant) {
        for (int type = 0; type < TYPE_COUNT; type++) {
            for (int norm = 0; norm < 2; norm++) {
                struct product product;
                product_init(&product, variant, 2, TYPES[type]);
                multiply_cut(&product, norm, 1);
                float *alone = fixture_floats(T * N, 0);
                memcpy(alone, product.y, (size_t)(T * N) * sizeof *alone);
                for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
                    memset(product.y, 0, (size_t)(T * N) * sizeof *product.y);
                    multiply_cut(&product, norm, sizes[s]);
                    expect_same(product.y, alone, T * N, tensor_type_name(TYPES[type]), variant);
                }
                test_free(alone);
                product_deinit(&product);
            }
        }
    }
}

static void test_matmul_does_not_know_its_threads(void **state) {
    (void)state;
    for_each_variant(variant) {
        for (int type = 0; type < TYPE_COUNT; type++) {
            struct product one, other;
            product_init(&one, variant, 1, TYPES[type]);
            multiply(&one, true, 0, T);
            for (int threads = 2; threads <= 5; threads++) {
                product_init(&other, variant, threads, TYPES[type]);
                multiply(&other, true, 0, T);
                expect_same(other.y, one.y, T * N, tensor_type_name(TYPES[type]), variant);
                product_deinit(&other);
            }
            product_deinit(&one);
        }
    }
}

/** One product among four gives what it gives alone. */
static void test_matmul_outputs_do_not_know_each_other(void **state) {
    (void)state;
    static const enum tensor_type types[] = {TENSOR_Q4_1, TENSOR_Q8_0, TENSOR_F32, TENSOR_F16};
    for_each_variant(variant) {
        struct product alone[4];
        float *together[4];
        for (int i = 0; i < 4; i++) {
            product_init(&alone[i], variant, 2, types[i]);
            multiply(&alone[i], true, 0, T);
            together[i] = fixture_floats(T * N, 0);
        }
        struct matmul matmul = {.x_stride = K, .rows = T, .norm_eps = 1e-5f, .output_count = 4};
        for (int i = 0; i < 4; i++)
            matmul.outputs[i] = (struct matmul_output){.weights = alone[i].weights, .y = together[i], .y_stride = N};
        for (int i = 0; i < 4;
             i++) { /* each type's fixture drew its own x: four runs, of which each decides one output */
            matmul.x = alone[i].x;
            matmul.norm_weight = alone[i].norm;
            alone[0].kernels->operations->matmul(alone[0].kernels, &matmul);
            expect_same(together[i], alone[i].y, T * N, tensor_type_name(types[i]), variant);
        }
        for (int i = 0; i < 4; i++) {
            product_deinit(&alone[i]);
            test_free(together[i]);
        }
    }
}

/* ---- row-wise operations ----------------------------------------------------------------------------------------------- */

/** rmsnorm, gates, softcap and rope of T rows at once with `threads` threads, or one by one; y [ROW_WISE][T][K]. */
enum { ROW_WISE = 5 };

static float *row_wise(const char *variant, int threads, bool together) {
    struct kernels *kernels = fixture_open(variant, threads);
    const struct kernels_operations *op = kernels->operations;
    struct fixture_random random = {.seed = 32};
    float *x = fixture_normals(&random, T * K), *up = fixture_normals(&random, T * K),
          *weight = fixture_normals(&random, K), *y = fixture_floats(ROW_WISE * T * K, 0), frequencies[32];
    int32_t positions[T];
    for (int t = 0; t < T; t++) positions[t] = 17 * t;
    for (int i = 0; i < 32; i++) frequencies[i] = (float)pow(10000, -i / 32.0);
    memcpy(y + 2 * T * K, x, (size_t)(T * K) * sizeof *y);
    for (int64_t t = 0, rows = together ? T : 1; t < T; t += rows) {
        op->rmsnorm(kernels, x + t * K, weight, 1e-5f, rows, K, false, y + t * K);
        op->rmsnorm(kernels, up + t * K, weight, 1e-5f, rows, K, true, y + t * K);
        op->gate(kernels, ACTIVATION_SILU, x + t * K, up + t * K, rows, K, y + (T + t) * K);
        op->gate(kernels, ACTIVATION_GELU_TANH, x + t * K, up + t * K, rows, K, y + (3 * T + t) * K);
        memcpy(y + (4 * T + t) * K, x + t * K, (size_t)(rows * K) * sizeof *y);
        op->softcap(kernels, 1.5f, rows, K, y + (4 * T + t) * K);
        struct rope rope = {.rotary_dim = 64, .inverse_frequency = frequencies, .magnitude = 1};
        fixture_rope(kernels, &rope, positions + t, rows, y + (2 * T + t) * K, K, K / 64, 64, NULL);
    }
    test_free(x);
    test_free(up);
    test_free(weight);
    kernels_close(kernels);
    return y;
}

static void test_row_wise_operations_do_not_know_their_batch(void **state) {
    (void)state;
    for_each_variant(variant) {
        float *alone = row_wise(variant, 1, false);
        for (int threads = 1; threads <= 3; threads++) {
            float *together = row_wise(variant, threads, true);
            expect_same(together, alone, ROW_WISE * T * K, "rmsnorm, gates, softcap, rope", variant);
            test_free(together);
        }
        test_free(alone);
    }
}

/* ---- attention --------------------------------------------------------------------------------------------------------- */

static const struct attention_case {
    struct pool_shape shape;
    int64_t window;
    float softcap;
} CASES[] = {{{9, 3, 64, 32, KV_F16}, 0, 0},  {{4, 2, 80, 32, KV_F32}, 20, 2},  {{7, 1, 64, 64, KV_INT8}, 280, 0},
             {{8, 8, 48, 32, KV_BF16}, 0, 2}, {{9, 3, 64, 32, KV_F16}, 280, 2}, {{7, 1, 64, 64, KV_INT8}, 0, 0}};
enum { CASE_COUNT = sizeof CASES / sizeof CASES[0] };
static const float SCALE = 0.125f;

/** One sequence of `context` tokens alone, its prompt cut into steps of `chunk`; returns out [context][H][hd]. */
static float *attend_alone(const char *variant, int threads, const struct attention_case *c, int64_t context,
                           uint64_t seed, int64_t chunk) {
    const struct pool_shape *shape = &c->shape;
    struct kernels *kernels = fixture_open(variant, threads);
    struct pool pool;
    pool_init(&pool, shape, 1, &context, &seed);
    for (int64_t at = 0; at < context; at += chunk)
        pool_step(&pool, kernels, &at, &(int64_t){at + chunk < context ? at + chunk : context}, SCALE, c->window,
                  c->softcap);
    int64_t count = context * shape->heads * shape->head_dim;
    float *out = fixture_floats(count, 0);
    memcpy(out, pool.out[0], (size_t)count * sizeof *out);
    pool_deinit(&pool);
    kernels_close(kernels);
    return out;
}

static void test_attention_does_not_know_how_the_prompt_was_cut(void **state) {
    (void)state;
    static const int64_t chunks[] = {1, 17, 255, 300};
    int64_t context = 530; /* three ranges */
    for_each_variant(variant) {
        for (int c = 0; c < CASE_COUNT; c++) {
            const struct pool_shape *shape = &CASES[c].shape;
            float *whole = attend_alone(variant, 1, &CASES[c], context, 41, context);
            for (size_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++) {
                float *cut = attend_alone(variant, 2, &CASES[c], context, 41, chunks[i]);
                expect_same(cut, whole, context * shape->heads * shape->head_dim, "cut prompt", variant);
                test_free(cut);
            }
            test_free(whole);
        }
    }
}

static void test_attention_does_not_know_its_threads(void **state) {
    (void)state;
    int64_t context = 530;
    for_each_variant(variant) {
        for (int c = 0; c < CASE_COUNT; c++) { /* steps of 5 rows: few enough that their ranges are shared out */
            const struct pool_shape *shape = &CASES[c].shape;
            float *one = attend_alone(variant, 1, &CASES[c], context, 42, 5);
            for (int threads = 2; threads <= 5; threads += 3) {
                float *more = attend_alone(variant, threads, &CASES[c], context, 42, 5);
                expect_same(more, one, context * shape->heads * shape->head_dim, "threads", variant);
                test_free(more);
            }
            test_free(one);
        }
    }
}

/** Eight sequences in one pool, in steps that mix prefill and decode, against each of them alone. */
static void test_attention_sequences_do_not_know_each_other(void **state) {
    (void)state;
    static const int64_t contexts[8] = {1, 5, 300, 17, 40, 33, 270, 70};
    static const uint64_t seeds[8] = {51, 52, 53, 54, 55, 56, 57, 58};
    for_each_variant(variant) {
        for (int c = 0; c < CASE_COUNT; c++) {
            const struct pool_shape *shape = &CASES[c].shape;
            struct kernels *kernels = fixture_open(variant, 2);
            struct pool pool;
            pool_init(&pool, shape, 8, contexts, seeds);
            int64_t from[8] = {0}, to[8];
            for (bool more = true; more;) { /* sequence s advances by a prompt chunk of 5 + 7 s, then token by token */
                more = false;
                for (int s = 0; s < 8; s++) {
                    int64_t step = from[s] == 0 ? 5 + 7 * s : 1;
                    to[s] = from[s] + step < contexts[s] ? from[s] + step : contexts[s];
                    more = more || to[s] < contexts[s];
                }
                pool_step(&pool, kernels, from, to, SCALE, CASES[c].window, CASES[c].softcap);
                memcpy(from, to, sizeof from);
            }
            for (int s = 0; s < 8; s++) {
                float *alone = attend_alone(variant, 1, &CASES[c], contexts[s], seeds[s], contexts[s]);
                expect_same(pool.out[s], alone, contexts[s] * shape->heads * shape->head_dim, "batch", variant);
                test_free(alone);
            }
            pool_deinit(&pool);
            kernels_close(kernels);
        }
    }
}

/* ---- avx2 and avx512 --------------------------------------------------------------------------------------------------- */

static void test_avx2_and_avx512_give_the_same_bits(void **state) {
    (void)state;
    int there = 0;
    for_each_variant(variant) there += strcmp(variant, "plain") != 0;
    if (there < 2) {
        print_message("skipped: this machine does not have both\n");
        skip();
    }
    for (int type = 0; type < TYPE_COUNT; type++) {
        struct product narrow, wide;
        product_init(&narrow, "avx2", 1, TYPES[type]);
        product_init(&wide, "avx512", 1, TYPES[type]);
        multiply(&narrow, true, 0, T);
        multiply(&wide, true, 0, T);
        expect_same(wide.y, narrow.y, T * N, tensor_type_name(TYPES[type]), "avx512 and avx2");
        product_deinit(&narrow);
        product_deinit(&wide);
    }
    float *rows[2] = {row_wise("avx2", 1, true), row_wise("avx512", 1, true)};
    expect_same(rows[1], rows[0], ROW_WISE * T * K, "rmsnorm, gates, softcap, rope", "avx512 and avx2");
    for (int c = 0; c < CASE_COUNT; c++) {
        const struct pool_shape *shape = &CASES[c].shape;
        float *outs[2] = {attend_alone("avx2", 1, &CASES[c], 530, 43, 530),
                          attend_alone("avx512", 1, &CASES[c], 530, 43, 530)};
        expect_same(outs[1], outs[0], 530 * shape->heads * shape->head_dim, "attention", "avx512 and avx2");
        test_free(outs[0]);
        test_free(outs[1]);
    }
    test_free(rows[0]);
    test_free(rows[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matmul_rows_do_not_know_their_batch),
        cmocka_unit_test(test_matmul_does_not_know_its_threads),
        cmocka_unit_test(test_matmul_outputs_do_not_know_each_other),
        cmocka_unit_test(test_row_wise_operations_do_not_know_their_batch),
        cmocka_unit_test(test_attention_does_not_know_how_the_prompt_was_cut),
        cmocka_unit_test(test_attention_does_not_know_its_threads),
        cmocka_unit_test(test_attention_sequences_do_not_know_each_other),
        cmocka_unit_test(test_avx2_and_avx512_give_the_same_bits),
    };
    return cmocka_run_group_tests(tests, fixture_announce, NULL);
}
