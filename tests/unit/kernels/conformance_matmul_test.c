/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * matmul against its definition in float64, for every variant, type and shape. Every tolerance is a bound that is derived, not measured:
 *
 *   plain          a sum of K products in 64 interleaved parts loses at most (K/64 + 26) half units in the last place of sum |w x|
 *                  (K/64 in a lane, 3 whole vectors behind, 6 for the tree, 15 for the tail, 2 for the product and the store).
 *   float tiles    runs of 32 k, then a sum of K/32 of them: (K/32 + 34) half units of sum |w x|
 *   quantised      two fused additions per block of 32: at most (2 K/32 + 8) half units of sum span |x|  (span: fixture.h)
 *   8-bit x        |x - s q| <= s/2, s the scale of 16 neighbours (scale_of): at most sum of s/2 |w|; nothing when x lies on the grid
 *   norm           the mean of squares is off by (K/64 + 26) half units, its root by half of that; 6 more operations
 */
#include "tests/unit/kernels/fixture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const enum tensor_type TYPES[] = {TENSOR_F32,  TENSOR_F16,  TENSOR_BF16, TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0,
                                         TENSOR_Q5_1, TENSOR_Q8_0, TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K};
enum { TYPE_COUNT = sizeof TYPES / sizeof TYPES[0] };

static const struct shape {
    int64_t N, K;
} SHAPES[] = {{1, 32},  {7, 32},   {16, 64},  {17, 96}, {100, 96}, {33, 576}, {5, 1536},
              {9, 256}, {20, 768}, {37, 512}, {3, 1},   {15, 31},  {6, 100},  {4, 579}};
enum { SHAPE_COUNT = sizeof SHAPES / sizeof SHAPES[0] };

static const int64_t BATCHES[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 23, 24, 25, 33};
enum { BATCH_COUNT = sizeof BATCHES / sizeof BATCHES[0] };
static const float SENTINEL = -12345.5f;

static bool is_plain(const char *variant) {
    return strcmp(variant, "plain") == 0;
}

/** Whether a variant multiplies this type in 8-bit integers. */
static bool is_quantised(const char *variant, enum tensor_type type) {
    return !is_plain(variant) && tensor_type_block(type) > 1;
}

enum input { ON_GRID, FREE };

/** On the grid every half block has a largest magnitude of 127 * 2^e and whole multiples of 2^e elsewhere, so that 8 bits hold it exactly. */
static float *make_input(struct fixture_random *random, enum input input, int64_t rows, int64_t stride) {
    float *x = fixture_normals(random, rows * stride);
    if (input == FREE) return x;
    for (int64_t t = 0; t < rows; t++) {
        float unit = 0;
        for (int64_t k = 0; k < stride; k++) {
            if (k % 32 == 0) unit = ldexpf(1, fixture_integer(random, -12, 3));
            int value = k % 16 == 7 ? 127 - 254 * fixture_integer(random, 0, 1) : fixture_integer(random, -127, 127);
            x[t * stride + k] = unit * (float)value;
        }
    }
    return x;
}

/** 127 times the scale that tile.h gives to one half of a block: a whole number of sixteenths of the block's largest magnitude. */
static double scale_of(const double *block, int half) {
    double largest = 0, own = 0;
    for (int k = 0; k < 32; k++) {
        if (fabs(block[k]) > largest) largest = fabs(block[k]);
        if (k / 16 == half && fabs(block[k]) > own) own = fabs(block[k]);
    }
    return largest == 0 ? 0 : fmax(ceil(16 * own / largest), 1) / 16 * largest;
}

/** The bound of |y - definition| without the norm's part; `error_square` takes the variance that rounding x to 8 bits gives. */
static double bound_of(const char *variant, enum tensor_type type, enum input input, int64_t K, const double *w,
                       const double *span, const double *x, double *error_square) {
    double products = 0, spans = 0, rounding = 0;
    *error_square = 0;
    for (int64_t k = 0; k < K; k++) {
        products += fabs(w[k] * x[k]);
        spans += span[k] * fabs(x[k]);
    }
    if (is_plain(variant)) return ((double)K / 64 + 26) * F32_HALF_ULP * products;
    if (!is_quantised(variant, type)) return ((double)K / 32 + 34) * F32_HALF_ULP * products;
    for (int64_t half = 0; input == FREE && half < K / 16; half++) {
        double weights = 0, squares = 0;
        for (int64_t k = half * 16; k < half * 16 + 16; k++) {
            weights += fabs(w[k]);
            squares += w[k] * w[k];
        }
        double step = scale_of(x + half / 2 * 32, half % 2) / 127;
        rounding += step / 2 * weights * 1.0001;
        *error_square += step * step / 12 * squares;
    }
    return rounding + (2 * (double)K / 32 + 8) * F32_HALF_ULP * spans;
}

struct matmul_case {
    const char *variant;
    struct kernels *kernels;
    enum tensor_type type;
    enum input input;
    struct shape shape;
    const double *w, *span; /* [N][K] */
    const struct weights *weights;
};

/** Multiply `rows` rows and compare every value; gaps behind the rows of y must stay as they were. */
static void check_product(const struct matmul_case *c, struct fixture_random *random, int64_t rows) {
    int64_t N = c->shape.N, K = c->shape.K, x_stride = K + 3, y_stride = N + 5;
    float *x = make_input(random, c->input, rows, x_stride), *y = fixture_floats(rows * y_stride, SENTINEL);
    double *wide = test_malloc((size_t)K * sizeof *wide), squares = 0, expected_squares = 0;
    struct matmul matmul = {.x = x,
                            .x_stride = x_stride,
                            .rows = rows,
                            .output_count = 1,
                            .outputs = {{.weights = c->weights, .y = y, .y_stride = y_stride}}};
    c->kernels->operations->matmul(c->kernels, &matmul);
    for (int64_t t = 0; t < rows; t++) {
        for (int64_t k = 0; k < K; k++) wide[k] = x[t * x_stride + k];
        for (int64_t n = 0; n < N; n++) {
            double want = 0, variance,
                   bound = bound_of(c->variant, c->type, c->input, K, c->w + n * K, c->span + n * K, wide, &variance);
            for (int64_t k = 0; k < K; k++) want += c->w[n * K + k] * wide[k];
            double off = y[t * y_stride + n] - want;
            if (!(fabs(off) <= bound)) {
                fail_msg("%s %s N %lld K %lld T %lld: y[%lld][%lld] is %.9g, not %.9g (bound %.3g)", c->variant,
                         tensor_type_name(c->type), (long long)N, (long long)K, (long long)rows, (long long)t,
                         (long long)n, (double)y[t * y_stride + n], want, bound);
            }
            squares += off * off;
            expected_squares += variance;
        }
        for (int64_t n = N; n < y_stride; n++) assert_true(y[t * y_stride + n] == SENTINEL);
    }
    /* Rounding errors are independent, so that over 200 values their mean square is near its expectation: a lost block or a wrong lane is far above. */
    if (expected_squares > 0 && rows * N >= 200) assert_true(squares < 2 * expected_squares);
    test_free(wide);
    test_free(x);
    test_free(y);
}

static void check_shape(const char *variant, struct kernels *kernels, enum tensor_type type, struct shape shape,
                        struct fixture_random *random) {
    if (tensor_type_row_bytes(type, shape.K) == 0) return; /* not whole blocks: open_test.c */
    struct tensor_view view = fixture_tensor(random, type, shape.N, shape.K);
    size_t bytes = (size_t)(shape.N * shape.K) * sizeof(double);
    double *w = test_malloc(bytes), *span = test_malloc(bytes);
    fixture_dequantise(&view, w, span);
    struct weights *weights = NULL;
    assert_int_equal(kernels->operations->weights_create(kernels, &view, &weights, NULL), STATUS_OK);
    for (int i = 0; i < BATCH_COUNT; i++) {
        for (int input = ON_GRID; input <= FREE; input++) {
            struct matmul_case c = {variant, kernels, type, (enum input)input, shape, w, span, weights};
            check_product(&c, random, BATCHES[i]);
        }
    }
    kernels->operations->weights_destroy(kernels, weights);
    test_free(w);
    test_free(span);
    test_free((void *)view.data);
}

static void test_every_type_and_shape_is_the_definition(void **state) {
    (void)state;
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 2);
        struct fixture_random random = {.seed = 1};
        for (int type = 0; type < TYPE_COUNT; type++) {
            for (int shape = 0; shape < SHAPE_COUNT; shape++)
                check_shape(variant, kernels, TYPES[type], SHAPES[shape], &random);
        }
        kernels_close(kernels);
    }
}

/** Four outputs of four types and widths, with biases and residuals, behind one norm. */
static void test_outputs_share_a_normalised_input(void **state) {
    (void)state;
    enum { K = 576, T = 5 };
    static const enum tensor_type types[MATMUL_OUTPUTS_MAX] = {TENSOR_Q4_1, TENSOR_Q8_0, TENSOR_F32, TENSOR_F16};
    static const int64_t widths[MATMUL_OUTPUTS_MAX] = {40, 7, 21, 16};
    const double eps = 1e-5f;
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 2);
        struct fixture_random random = {.seed = 2};
        float *x = fixture_normals(&random, T * K), *norm = fixture_normals(&random, K);
        struct matmul matmul = {.x = x,
                                .x_stride = K,
                                .rows = T,
                                .norm_weight = norm,
                                .norm_eps = (float)eps,
                                .output_count = MATMUL_OUTPUTS_MAX};
        struct tensor_view views[MATMUL_OUTPUTS_MAX];
        struct weights *weights[MATMUL_OUTPUTS_MAX];
        float *ys[MATMUL_OUTPUTS_MAX], *before[MATMUL_OUTPUTS_MAX], *biases[MATMUL_OUTPUTS_MAX];
        for (int i = 0; i < MATMUL_OUTPUTS_MAX; i++) {
            views[i] = fixture_tensor(&random, types[i], widths[i], K);
            assert_int_equal(kernels->operations->weights_create(kernels, &views[i], &weights[i], NULL), STATUS_OK);
            ys[i] = fixture_normals(&random, T * widths[i]);
            before[i] = fixture_floats(T * widths[i], 0);
            memcpy(before[i], ys[i], (size_t)(T * widths[i]) * sizeof(float));
            biases[i] = fixture_normals(&random, widths[i]);
            matmul.outputs[i] =
                (struct matmul_output){weights[i], ys[i], widths[i], i % 2 == 0 ? biases[i] : NULL, i >= 1};
        }
        kernels->operations->matmul(kernels, &matmul);
        for (int i = 0; i < MATMUL_OUTPUTS_MAX; i++) {
            size_t bytes = (size_t)(widths[i] * K) * sizeof(double);
            double *w = test_malloc(bytes), *span = test_malloc(bytes), normalised[K];
            fixture_dequantise(&views[i], w, span);
            for (int t = 0; t < T; t++) {
                double mean = 0;
                for (int k = 0; k < K; k++) mean += (double)x[t * K + k] * x[t * K + k] / K;
                for (int k = 0; k < K; k++) normalised[k] = norm[k] * x[t * K + k] / sqrt(mean + eps);
                for (int64_t n = 0; n < widths[i]; n++) {
                    double want = 0, magnitude = 0, variance,
                           bound = bound_of(variant, types[i], FREE, K, w + n * K, span + n * K, normalised, &variance);
                    for (int k = 0; k < K; k++) want += w[n * K + k] * normalised[k];
                    for (int k = 0; k < K; k++) magnitude += fabs(w[n * K + k] * normalised[k]);
                    bound += (K / 128.0 + 13 + 6) * F32_HALF_ULP * magnitude;
                    if (i % 2 == 0) want += biases[i][n];
                    if (i >= 1) want += before[i][t * widths[i] + n];
                    bound += 2 * F32_HALF_ULP * (fabs(want) + magnitude + 8);
                    assert_true(fabs(ys[i][t * widths[i] + n] - want) <= bound);
                }
            }
            test_free(w);
            test_free(span);
            kernels->operations->weights_destroy(kernels, weights[i]);
            test_free(ys[i]);
            test_free(before[i]);
            test_free(biases[i]);
            test_free((void *)views[i].data);
        }
        test_free(x);
        test_free(norm);
        kernels_close(kernels);
    }
}

/* ---- extreme inputs ---------------------------------------------------------------------------------------------------- */

/** y [T][N] of random weights of `type`, K = 96, N = 21; the caller frees it. */
enum { EXTREME_T = 3, EXTREME_N = 21, EXTREME_K = 96 };
static float *extreme_product(const char *variant, enum tensor_type type, const float *x) {
    struct kernels *kernels = fixture_open(variant, 1);
    struct fixture_random random = {.seed = 3};
    struct tensor_view view = fixture_tensor(&random, type, EXTREME_N, EXTREME_K);
    struct weights *weights = NULL;
    assert_int_equal(kernels->operations->weights_create(kernels, &view, &weights, NULL), STATUS_OK);
    float *y = fixture_floats(EXTREME_T * EXTREME_N, SENTINEL);
    struct matmul matmul = {.x = x,
                            .x_stride = EXTREME_K,
                            .rows = EXTREME_T,
                            .output_count = 1,
                            .outputs = {{.weights = weights, .y = y, .y_stride = EXTREME_N}}};
    kernels->operations->matmul(kernels, &matmul);
    kernels->operations->weights_destroy(kernels, weights);
    kernels_close(kernels);
    test_free((void *)view.data);
    return y;
}

static const enum tensor_type EXTREME_TYPES[] = {TENSOR_F32,  TENSOR_F16,  TENSOR_BF16, TENSOR_Q4_0,
                                                 TENSOR_Q4_1, TENSOR_Q8_0, TENSOR_Q5_0, TENSOR_Q5_1};
enum { EXTREME_TYPE_COUNT = sizeof EXTREME_TYPES / sizeof EXTREME_TYPES[0] };

#define for_each_extreme(variant, type) for_each_variant(variant) for (int type = 0; type < EXTREME_TYPE_COUNT; type++)

static void test_zeros_give_zeros(void **state) {
    (void)state;
    float *x = fixture_floats(EXTREME_T * EXTREME_K, 0);
    for_each_extreme(variant, type) {
        float *y = extreme_product(variant, EXTREME_TYPES[type], x);
        for (int i = 0; i < EXTREME_T * EXTREME_N; i++) assert_true(y[i] == 0);
        test_free(y);
    }
    test_free(x);
}

/** Scaling x by a power of two scales y by it, to the bit: up to where f32 ends, and down to where its normal numbers end. */
static void test_magnitudes_scale_exactly(void **state) {
    (void)state;
    static const float scales[] = {0x1p100f, 0x1p60f, 0x1p-60f, 0x1p-90f};
    struct fixture_random random = {.seed = 4};
    float *x = fixture_normals(&random, EXTREME_T * EXTREME_K), *scaled = fixture_floats(EXTREME_T * EXTREME_K, 0);
    for_each_extreme(variant, type) {
        float *y = extreme_product(variant, EXTREME_TYPES[type], x);
        for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++) {
            for (int i = 0; i < EXTREME_T * EXTREME_K; i++) scaled[i] = x[i] * scales[s];
            float *z = extreme_product(variant, EXTREME_TYPES[type], scaled);
            for (int i = 0; i < EXTREME_T * EXTREME_N; i++) assert_true(z[i] == y[i] * scales[s]);
            test_free(z);
        }
        test_free(y);
    }
    test_free(x);
    test_free(scaled);
}

/** Numbers below f32's normal ones may count as zero, and must not become anything else. */
static void test_subnormals_stay_small(void **state) {
    (void)state;
    float *x = fixture_floats(EXTREME_T * EXTREME_K, 1e-41f);
    for_each_extreme(variant, type) {
        float *y = extreme_product(variant, EXTREME_TYPES[type], x);
        for (int i = 0; i < EXTREME_T * EXTREME_N; i++) assert_true(fabsf(y[i]) <= 1e-37f);
        test_free(y);
    }
    test_free(x);
}

/** A NaN or an infinity shows in its own row - all of it - and in no other. */
static void test_not_a_number_stays_in_its_row(void **state) {
    (void)state;
    static const float poisons[] = {NAN, INFINITY, -INFINITY};
    static const int places[] = {0, 15, 16, 40, 95};
    struct fixture_random random = {.seed = 5};
    float *x = fixture_normals(&random, EXTREME_T * EXTREME_K);
    for_each_extreme(variant, type) {
        float *clean = extreme_product(variant, EXTREME_TYPES[type], x);
        for (size_t p = 0; p < sizeof poisons / sizeof poisons[0]; p++) {
            int at = EXTREME_K + places[((int)p + type) % 5];
            float kept = x[at];
            x[at] = poisons[p];
            float *y = extreme_product(variant, EXTREME_TYPES[type], x);
            for (int n = 0; n < EXTREME_N; n++) {
                assert_false(isfinite(y[EXTREME_N + n]));
                assert_memory_equal(&y[n], &clean[n], sizeof *y);
                assert_memory_equal(&y[2 * EXTREME_N + n], &clean[2 * EXTREME_N + n], sizeof *y);
            }
            x[at] = kept;
            test_free(y);
        }
        test_free(clean);
    }
    test_free(x);
}

/** The extremes of the quantised weights (-128, 15, 31, 63; scales of 63 and -128) with the extremes of 8-bit activations: no integer sum may
 *  overflow. */
static void check_extreme_integers(struct kernels *kernels, enum tensor_type type, uint8_t fill, float element) {
    enum { K = 512, N = 17, T = 2 };
    struct fixture_random random = {.seed = 6};
    struct tensor_view view = fixture_tensor(&random, type, N, K);
    size_t block = tensor_type_block_bytes(type), d = type == TENSOR_Q6_K ? 208 : 0;
    bool minimum = type == TENSOR_Q4_1 || type == TENSOR_Q5_1 || type == TENSOR_Q4_K || type == TENSOR_Q5_K;
    for (size_t at = 0; at < N * tensor_type_row_bytes(type, K); at++) {
        size_t place = at % block;
        bool scale = place == d || place == d + 1 || (minimum && (place == 2 || place == 3));
        if (!scale) ((uint8_t *)view.data)[at] = fill;
    }
    double *w = test_malloc(sizeof *w * N * K), *span = test_malloc(sizeof *span * N * K);
    fixture_dequantise(&view, w, span);
    float x[T * K], y[T * N];
    for (int k = 0; k < T * K; k++) x[k] = element;
    struct weights *weights = NULL;
    assert_int_equal(kernels->operations->weights_create(kernels, &view, &weights, NULL), STATUS_OK);
    struct matmul matmul = {
        .x = x, .x_stride = K, .rows = T, .output_count = 1, .outputs = {{.weights = weights, .y = y, .y_stride = N}}};
    kernels->operations->matmul(kernels, &matmul);
    for (int n = 0; n < N; n++) {
        double want = 0, spans = 0;
        for (int k = 0; k < K; k++) want += w[n * K + k] * x[k];
        for (int k = 0; k < K; k++) spans += span[n * K + k] * fabsf(x[k]);
        for (int t = 0; t < T; t++) assert_true(fabs(y[t * N + n] - want) <= (2 * K / 32.0 + 8) * F32_HALF_ULP * spans);
    }
    kernels->operations->weights_destroy(kernels, weights);
    test_free((void *)view.data);
    test_free(w);
    test_free(span);
}

static void test_extreme_integers_do_not_overflow(void **state) {
    (void)state;
    static const uint8_t fills[] = {0x00, 0xFF, 0x80, 0x7F};
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 1);
        for (int c = 0; c < TYPE_COUNT * 8; c++) {
            if (tensor_type_block(TYPES[c / 8]) > 1)
                check_extreme_integers(kernels, TYPES[c / 8], fills[c % 4], c % 8 < 4 ? 127 : -127);
        }
        kernels_close(kernels);
    }
}

/** activation(gate) * up from the product itself is, to the bit, what the two products and the gate give. */
static void test_gate_of_a_product_is_the_product_and_the_gate(void **state) {
    (void)state;
    enum { K = 256, N = 37, T = 27 };
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 2);
        for (int type = 0; type < TYPE_COUNT; type++) {
            struct fixture_random random = {.seed = 8};
            struct tensor_view views[2] = {fixture_tensor(&random, TYPES[type], N, K),
                                           fixture_tensor(&random, TYPES[(type + 1) % TYPE_COUNT], N, K)};
            struct weights *weights[2];
            float *x = fixture_normals(&random, T * K), *norm = fixture_normals(&random, K), *y[3];
            for (int i = 0; i < 3; i++) y[i] = fixture_floats(T * N, SENTINEL);
            for (int i = 0; i < 2; i++)
                assert_int_equal(kernels->operations->weights_create(kernels, &views[i], &weights[i], NULL), STATUS_OK);
            struct matmul apart = {.x = x,
                                   .x_stride = K,
                                   .rows = T,
                                   .norm_weight = norm,
                                   .norm_eps = 1e-5f,
                                   .output_count = 2,
                                   .outputs = {{.weights = weights[0], .y = y[0], .y_stride = N},
                                               {.weights = weights[1], .y = y[1], .y_stride = N}}},
                          fused = apart;
            kernels->operations->matmul(kernels, &apart);
            enum activation activation = type % 2 == 0 ? ACTIVATION_SILU : ACTIVATION_GELU_TANH;
            kernels->operations->gate(kernels, activation, y[0], y[1], T, N, y[0]);
            fused.gated = true;
            fused.activation = activation;
            fused.outputs[0].y = y[2];
            fused.outputs[1].y = NULL;
            kernels->operations->matmul(kernels, &fused);
            assert_memory_equal(y[2], y[0], sizeof(float) * T * N);
            for (int i = 0; i < 3; i++) test_free(y[i]);
            for (int i = 0; i < 2; i++) {
                kernels->operations->weights_destroy(kernels, weights[i]);
                test_free((void *)views[i].data);
            }
            test_free(x);
            test_free(norm);
        }
        kernels_close(kernels);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type_and_shape_is_the_definition),
        cmocka_unit_test(test_outputs_share_a_normalised_input),
        cmocka_unit_test(test_zeros_give_zeros),
        cmocka_unit_test(test_magnitudes_scale_exactly),
        cmocka_unit_test(test_subnormals_stay_small),
        cmocka_unit_test(test_not_a_number_stays_in_its_row),
        cmocka_unit_test(test_extreme_integers_do_not_overflow),
        cmocka_unit_test(test_gate_of_a_product_is_the_product_and_the_gate),
    };
    return cmocka_run_group_tests(tests, fixture_announce, NULL);
}
