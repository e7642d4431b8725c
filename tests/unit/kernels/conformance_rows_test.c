/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * The row-wise operations - embed, rmsnorm, rope, gate, softcap, what kv_store does to heads - against their definitions in float64, for every
 * variant.
 *
 *   embed     a multiplication by `scale`: to the bit
 *   rmsnorm   the mean of squares is off by (D/64 + 26) half units in the last place, its root by half of that; 6 more operations
 *   rope      angles are double; sine and cosine are rounded once, scaled once, multiplied and added: 4 half units of |x|
 *   gate      e^x within 4 half units, then an addition, a division and a multiplication: 8 in all; e^x has no values below 1e-38. GELU's
 *             exponent is off by 6 half units of itself, which e^x makes 6 times the exponent
 *   softcap   the quotient one, e^2x - 1 within 8 whatever x is, a quotient and a product: 14, with what the exponent loses as above
 */
#include "tests/unit/kernels/attention_fixture.h"

#include <math.h>
#include <string.h>

/* ---- embed ------------------------------------------------------------------------------------------------------------- */

static void test_embed_is_the_dequantised_row(void **state) {
    (void)state;
    enum { V = 50, D = 256, T = 9 };
    static const enum tensor_type types[] = {TENSOR_F32,  TENSOR_F16,  TENSOR_BF16, TENSOR_Q4_0,
                                             TENSOR_Q4_1, TENSOR_Q5_0, TENSOR_Q5_1, TENSOR_Q8_0,
                                             TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K};
    static const int32_t ids[T] = {0, 49, 7, 7, 31, 16, 15, 48, 0};
    static const float scales[] = {1, 24.0f, 0.3f};
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 2);
        struct fixture_random random = {.seed = 10};
        for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
            struct tensor_view view = fixture_tensor(&random, types[i], V, D);
            struct weights *weights = NULL;
            assert_int_equal(kernels->operations->weights_create(kernels, &view, &weights, NULL), STATUS_OK);
            for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++) {
                float y[T * D], want[D];
                kernels->operations->embed(kernels, weights, ids, T, scales[s], y);
                for (int t = 0; t < T; t++) {
                    assert_int_equal(tensor_dequantise_row(types[i],
                                                           (const char *)view.data +
                                                               (size_t)ids[t] * tensor_type_row_bytes(types[i], D),
                                                           D, want),
                                     STATUS_OK);
                    for (int k = 0; k < D; k++) assert_true(y[t * D + k] == want[k] * scales[s]);
                }
            }
            kernels->operations->weights_destroy(kernels, weights);
            test_free((void *)view.data);
        }
        kernels_close(kernels);
    }
}

/* ---- rmsnorm ----------------------------------------------------------------------------------------------------------- */

static void check_rmsnorm(struct kernels *kernels, int64_t rows, int64_t width, float magnitude, bool in_place) {
    const double eps = 1e-5f;
    struct fixture_random random = {.seed = 11};
    float *x = fixture_normals(&random, rows * width), *weight = fixture_normals(&random, width),
          *y = fixture_floats(rows * width, 0);
    for (int64_t i = 0; i < rows * width; i++) x[i] *= magnitude;
    if (in_place) memcpy(y, x, (size_t)(rows * width) * sizeof *y);
    kernels->operations->rmsnorm(kernels, in_place ? y : x, weight, (float)eps, rows, width, false, y);
    for (int64_t t = 0; t < rows; t++) {
        double mean = 0;
        for (int64_t k = 0; k < width; k++) mean += (double)x[t * width + k] * x[t * width + k] / (double)width;
        for (int64_t k = 0; k < width; k++) {
            double want = weight[k] * x[t * width + k] / sqrt(mean + eps),
                   bound = ((double)width / 128 + 13 + 6) * F32_HALF_ULP * fabs(want) + 1e-44;
            assert_true(fabs(y[t * width + k] - want) <= bound);
        }
    }
    test_free(x);
    test_free(weight);
    test_free(y);
}

static void test_rmsnorm_is_the_definition(void **state) {
    (void)state;
    static const int64_t widths[] = {1, 7, 16, 31, 64, 100, 576, 1536, 2048};
    static const float magnitudes[] = {1, 1e15f, 1e-3f, 1e-15f};
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 2);
        for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++) {
            for (size_t m = 0; m < sizeof magnitudes / sizeof magnitudes[0]; m++) {
                check_rmsnorm(kernels, 1, widths[w], magnitudes[m], false);
                check_rmsnorm(kernels, 9, widths[w], magnitudes[m], true);
            }
        }
        kernels_close(kernels);
    }
}

/** What is added is what would be written, to the bit. */
static void test_rmsnorm_adds_what_it_would_write(void **state) {
    (void)state;
    enum { ROWS = 9 };
    static const int64_t widths[] = {7, 16, 100, 576};
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 2);
        for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++) {
            struct fixture_random random = {.seed = 17};
            int64_t width = widths[w], count = ROWS * width;
            float *x = fixture_normals(&random, count), *weight = fixture_normals(&random, width),
                  *y = fixture_normals(&random, count), *before = fixture_floats(count, 0),
                  *alone = fixture_floats(count, 0);
            memcpy(before, y, (size_t)count * sizeof *y);
            kernels->operations->rmsnorm(kernels, x, weight, 1e-5f, ROWS, width, false, alone);
            kernels->operations->rmsnorm(kernels, x, weight, 1e-5f, ROWS, width, true, y);
            for (int64_t i = 0; i < count; i++) assert_true(y[i] == before[i] + alone[i]);
            test_free(x);
            test_free(weight);
            test_free(y);
            test_free(before);
            test_free(alone);
        }
        kernels_close(kernels);
    }
}

static void test_rmsnorm_of_zeros_is_zeros(void **state) {
    (void)state;
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 1);
        float x[100] = {0}, weight[100], y[100];
        for (int k = 0; k < 100; k++) weight[k] = (float)(k - 50);
        kernels->operations->rmsnorm(kernels, x, weight, 1e-6f, 1, 100, false, y);
        for (int k = 0; k < 100; k++) assert_true(y[k] == 0);
        kernels_close(kernels);
    }
}

/* ---- rope -------------------------------------------------------------------------------------------------------------- */

struct rope_case {
    int heads, head_dim, rotary_dim;
    enum rope_style style;
    float magnitude;
};

static void check_rope(struct kernels *kernels, const struct rope_case *c) {
    enum { T = 7 };
    static const int32_t positions[T] = {0, 1, 2, 63, 8191, 131071, 1000000};
    struct fixture_random random = {.seed = 12};
    int64_t stride = c->heads * c->head_dim + 3;
    float *x = fixture_normals(&random, T * stride), *before = fixture_floats(T * stride, 0), frequencies[128];
    memcpy(before, x, (size_t)(T * stride) * sizeof *x);
    int pairs = c->rotary_dim / 2;
    for (int i = 0; i < pairs; i++) frequencies[i] = (float)pow(10000, -2.0 * i / c->rotary_dim);
    struct rope rope = {
        .rotary_dim = c->rotary_dim, .style = c->style, .inverse_frequency = frequencies, .magnitude = c->magnitude};
    float *keys = fixture_floats(T * c->head_dim, 0);
    fixture_rope(kernels, &rope, positions, T, x, stride, c->heads, c->head_dim, keys);
    for (int t = 0; t < T; t++) /* keys turn as queries do, to the bit */
        assert_memory_equal(keys + t * c->head_dim, x + t * stride, (size_t)c->head_dim * sizeof *x);
    test_free(keys);
    for (int64_t at = 0; at < T * stride; at++) {
        int64_t t = at / stride, column = at % stride, k = column % c->head_dim;
        if (column >= c->heads * c->head_dim || k >= c->rotary_dim) {
            assert_true(x[at] == before[at]); /* the rest of a head, and what lies between rows, passes unchanged */
            continue;
        }
        bool halves = c->style == ROPE_HALVES, first = halves ? k < pairs : k % 2 == 0;
        int64_t pair = halves ? k % pairs : k / 2,
                partner = halves ? (first ? at + pairs : at - pairs) : (first ? at + 1 : at - 1);
        double angle = (double)positions[t] * frequencies[pair], cosine = cos(angle) * c->magnitude,
               sine = sin(angle) * c->magnitude;
        double want =
            first ? before[at] * cosine - before[partner] * sine : before[partner] * sine + before[at] * cosine;
        double bound = 4 * F32_HALF_ULP * c->magnitude * (fabs((double)before[at]) + fabs((double)before[partner]));
        assert_true(fabs(x[at] - want) <= bound);
    }
    test_free(x);
    test_free(before);
}

static void test_rope_is_the_definition(void **state) {
    (void)state;
    static const struct rope_case cases[] = {{9, 64, 64, ROPE_INTERLEAVED, 1},     {3, 64, 64, ROPE_HALVES, 1},
                                             {2, 80, 32, ROPE_INTERLEAVED, 1},     {5, 80, 20, ROPE_HALVES, 1},
                                             {1, 128, 128, ROPE_HALVES, 1.3f},     {1, 16, 2, ROPE_INTERLEAVED, 1},
                                             {4, 256, 256, ROPE_INTERLEAVED, 0.7f}};
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 2);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) check_rope(kernels, &cases[i]);
        kernels_close(kernels);
    }
}

static void test_rope_at_position_zero_changes_nothing(void **state) {
    (void)state;
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 1);
        struct fixture_random random = {.seed = 13};
        float *x = fixture_normals(&random, 128), before[128], frequencies[32];
        memcpy(before, x, sizeof before);
        for (int i = 0; i < 32; i++) frequencies[i] = 1;
        struct rope rope = {.rotary_dim = 64, .inverse_frequency = frequencies, .magnitude = 1};
        fixture_rope(kernels, &rope, &(int32_t){0}, 1, x, 128, 2, 64, NULL);
        assert_memory_equal(x, before, sizeof before);
        test_free(x);
        kernels_close(kernels);
    }
}

/* ---- gate -------------------------------------------------------------------------------------------------------------- */

/** The activation, and how many half units in the last place it may be off. */
static double activate(enum activation activation, double z, double *out_units) {
    *out_units = 8;
    if (activation == ACTIVATION_SILU) return z / (1 + exp(-z));
    double twice = 2 * sqrt(2 / M_PI) * (z + 0.044715 * z * z * z);
    *out_units = 8 + 6 * fmin(fabs(twice), 90);
    return z / (1 + exp(-twice));
}

/** 1e-35 |up|: what e^x leaves where it ends, near 1e-38 and 1e38, times a gate of about 90. */
static void check_gate(struct kernels *kernels, enum activation activation, const float *gate, const float *up,
                       int64_t rows, int64_t width, bool in_place) {
    float *y = fixture_floats(rows * width, 0);
    if (in_place) memcpy(y, gate, (size_t)(rows * width) * sizeof *y);
    kernels->operations->gate(kernels, activation, in_place ? y : gate, up, rows, width, y);
    for (int64_t i = 0; i < rows * width; i++) {
        double units, want = activate(activation, gate[i], &units) * up[i];
        if (!(fabs(y[i] - want) <= units * F32_HALF_ULP * fabs(want) + 1e-35 * fabs((double)up[i])))
            fail_msg("%s(%.9g) * %.9g is %.9g, not %.9g", activation == ACTIVATION_SILU ? "silu" : "gelu",
                     (double)gate[i], (double)up[i], (double)y[i], want);
    }
    test_free(y);
}

static void test_gate_is_the_definition(void **state) {
    (void)state;
    static const int64_t widths[] = {1, 7, 16, 31, 100, 1536};
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 2);
        for (size_t w = 0; w < 2 * (sizeof widths / sizeof widths[0]); w++) {
            struct fixture_random random = {.seed = 14};
            int64_t rows = 5, width = widths[w / 2];
            float *gate = fixture_normals(&random, rows * width), *up = fixture_normals(&random, rows * width);
            for (int64_t i = 0; i < rows * width; i++) gate[i] *= i % 3 == 0 ? 30 : 3;
            check_gate(kernels, w % 2 == 0 ? ACTIVATION_SILU : ACTIVATION_GELU_TANH, gate, up, rows, width, w % 4 < 2);
            test_free(gate);
            test_free(up);
        }
        kernels_close(kernels);
    }
}

/** A walk over the whole range of e^x, its edges included; GELU is over in a tenth of it. */
static void test_gate_over_the_range_of_the_exponential(void **state) {
    (void)state;
    enum { COUNT = 40000 };
    float *gate = fixture_floats(COUNT, 0), *up = fixture_floats(COUNT, 1);
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 1);
        for (int i = 0; i < COUNT; i++) gate[i] = -100.0f + 0.005f * (float)i;
        check_gate(kernels, ACTIVATION_SILU, gate, up, 1, COUNT, false);
        for (int i = 0; i < COUNT; i++) gate[i] *= 0.1f;
        check_gate(kernels, ACTIVATION_GELU_TANH, gate, up, 1, COUNT, false);
        kernels_close(kernels);
    }
    test_free(gate);
    test_free(up);
}

static void test_gate_of_extremes(void **state) {
    (void)state;
    static const float gate[] = {0.0f,   -0.0f,   1e30f,  -1e30f, -3e38f, 3e38f,
                                 1e-42f, -1e-42f, -87.4f, -88.3f, -88.8f, -89};
    enum { COUNT = sizeof gate / sizeof gate[0] };
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 1);
        float up[COUNT], y[COUNT];
        for (int i = 0; i < COUNT; i++) up[i] = 1;
        check_gate(kernels, ACTIVATION_SILU, gate, up, 1, COUNT, false);
        for (int activation = 0; activation < 2; activation++) {
            kernels->operations->gate(kernels, (enum activation)activation, &(float){NAN}, up, 1, 1, y);
            assert_true(isnan(y[0]));
        }
        kernels_close(kernels);
    }
}

/* ---- softcap ----------------------------------------------------------------------------------------------------------- */

static void test_softcap_is_the_definition(void **state) {
    (void)state;
    enum { COUNT = 20011 };
    static const float caps[] = {30, 50, 1, 0.25f};
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 2);
        for (size_t c = 0; c < sizeof caps / sizeof caps[0]; c++) {
            float *x = fixture_floats(COUNT, 0), *y = fixture_floats(COUNT, 0);
            for (int i = 0; i < COUNT; i++) {
                float unit = (float)(i - COUNT / 2) / (COUNT / 2);
                x[i] = y[i] =
                    caps[c] * (i % 2 == 0 ? 12 * unit : unit * unit * unit * unit * unit); /* small ones too */
            }
            y[3] = x[3] = 1e30f, y[4] = x[4] = -1e30f, y[5] = x[5] = 0, y[6] = x[6] = INFINITY, y[7] = x[7] = -INFINITY;
            kernels->operations->softcap(kernels, caps[c], 1, COUNT, y);
            for (int i = 0; i < COUNT; i++) {
                double want = caps[c] * tanh((double)x[i] / caps[c]),
                       units = 14 + 3 * fmin(fabs((double)x[i] / caps[c]), 20);
                if (!(fabs(y[i] - want) <= units * F32_HALF_ULP * fabs(want)))
                    fail_msg("%s: softcap %g of %.9g is %.9g, not %.9g", variant, (double)caps[c], (double)x[i],
                             (double)y[i], want);
            }
            test_free(x);
            test_free(y);
        }
        float broken = NAN;
        kernels->operations->softcap(kernels, 30, 1, 1, &broken);
        assert_true(isnan(broken));
        kernels_close(kernels);
    }
}

/* ---- heads on their way into the cache --------------------------------------------------------------------------------- */

/** Norms, then rotation, then (queries) scales: to the bit what rmsnorm and rope give one after the other, and a product. */
static void test_heads_are_normalised_then_rotated_then_scaled(void **state) {
    (void)state;
    enum { T = 7, H = 3, HD = 48 };
    static const int32_t positions[T] = {0, 1, 2, 3, 4, 5, 6};
    for_each_variant(variant) {
        for (int rotated = 0; rotated < 2; rotated++) {
            struct kernels *kernels = fixture_open(variant, 2);
            struct fixture_random random = {.seed = 19};
            float *x = fixture_normals(&random, T * H * HD), *norm = fixture_normals(&random, HD), scales[T],
                  frequencies[HD / 2], *want = fixture_floats(T * H * HD, 0), *keys = fixture_floats(T * HD, 0),
                  *got_keys = fixture_floats(T * HD, 0);
            for (int i = 0; i < HD / 2; i++) frequencies[i] = (float)pow(10000, -2.0 * i / HD);
            for (int t = 0; t < T; t++) scales[t] = 1 + 0.25f * (float)t;
            struct rope rope = {
                .rotary_dim = HD, .style = ROPE_HALVES, .inverse_frequency = frequencies, .magnitude = 1};
            kernels->operations->rmsnorm(kernels, x, norm, 1e-6f, T * H, HD, false, want);
            if (rotated)
                fixture_rope(kernels, &rope, positions, T, want, H * HD, H, HD, keys);
            else
                for (int t = 0; t < T; t++) memcpy(keys + t * HD, want + t * H * HD, HD * sizeof *keys);
            for (int i = 0; i < T * H * HD; i++) want[i] *= scales[i / (H * HD)];
            fixture_heads(kernels, rotated ? &rope : NULL, norm, 1e-6f, scales, positions, T, x, H * HD, H, HD,
                          got_keys);
            assert_memory_equal(x, want, sizeof *x * T * H * HD);
            assert_memory_equal(got_keys, keys, sizeof *keys * T * HD);
            test_free(x);
            test_free(norm);
            test_free(want);
            test_free(keys);
            test_free(got_keys);
            kernels_close(kernels);
        }
    }
}

/** A rotation that begins inside a head is that of the head's rest, and what stands before it passes unchanged. */
static void test_rope_from_an_offset_rotates_the_rest(void **state) {
    (void)state;
    enum { T = 7, H = 3, HD = 80, OFFSET = 48 };
    static const int32_t positions[T] = {0, 1, 2, 3, 4, 5, 6};
    for_each_variant(variant) {
        for (int style = 0; style < 2; style++) {
            struct kernels *kernels = fixture_open(variant, 2);
            struct fixture_random random = {.seed = 20};
            float *x = fixture_normals(&random, T * H * HD), *keys = fixture_floats(T * HD, 0),
                  *before = fixture_floats(T * H * HD, 0), rest[T * H * (HD - OFFSET)], frequencies[(HD - OFFSET) / 2];
            memcpy(before, x, sizeof *x * T * H * HD);
            for (int i = 0; i < (HD - OFFSET) / 2; i++) frequencies[i] = (float)pow(10000, -2.0 * i / (HD - OFFSET));
            for (int h = 0; h < T * H; h++)
                memcpy(rest + h * (HD - OFFSET), x + h * HD + OFFSET, (HD - OFFSET) * sizeof *rest);
            struct rope rope = {.rotary_dim = HD - OFFSET,
                                .style = (enum rope_style)style,
                                .inverse_frequency = frequencies,
                                .magnitude = 1};
            fixture_rope(kernels, &rope, positions, T, rest, H * (HD - OFFSET), H, HD - OFFSET, NULL);
            rope.offset = OFFSET;
            fixture_rope(kernels, &rope, positions, T, x, H * HD, H, HD, keys);
            for (int h = 0; h < T * H; h++) {
                assert_memory_equal(x + h * HD, before + h * HD, OFFSET * sizeof *x);
                assert_memory_equal(x + h * HD + OFFSET, rest + h * (HD - OFFSET), (HD - OFFSET) * sizeof *x);
            }
            for (int t = 0; t < T; t++) assert_memory_equal(keys + t * HD, x + t * H * HD, HD * sizeof *keys);
            test_free(x);
            test_free(keys);
            test_free(before);
            kernels_close(kernels);
        }
    }
}

static void test_copied_heads_lie_where_they_should(void **state) {
    (void)state;
    enum { T = 9, H = 3, FROM = 7, TO = 11, WIDTH = 5 };
    for_each_variant(variant) {
        struct kernels *kernels = fixture_open(variant, 2);
        for (int shared = 0; shared < 2; shared++) {
            struct fixture_random random = {.seed = 21};
            int64_t from_stride = H * FROM + 2, to_stride = H * TO + 3;
            float *from = fixture_normals(&random, T * from_stride), *to = fixture_floats(T * to_stride, -7);
            struct head_copy copy = {.from = from,
                                     .from_stride = from_stride,
                                     .from_head = shared ? 0 : FROM,
                                     .to = to,
                                     .to_stride = to_stride,
                                     .to_head = TO,
                                     .rows = T,
                                     .width = WIDTH,
                                     .heads = H};
            kernels->operations->copy_heads(kernels, &copy);
            for (int64_t i = 0; i < T * to_stride; i++) {
                int64_t t = i / to_stride, h = i % to_stride / TO, k = i % to_stride % TO;
                bool written = h < H && k < WIDTH;
                assert_true(to[i] == (written ? from[t * from_stride + (shared ? 0 : h * FROM) + k] : -7));
            }
            test_free(from);
            test_free(to);
        }
        kernels_close(kernels);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embed_is_the_dequantised_row),
        cmocka_unit_test(test_rmsnorm_is_the_definition),
        cmocka_unit_test(test_rmsnorm_adds_what_it_would_write),
        cmocka_unit_test(test_rmsnorm_of_zeros_is_zeros),
        cmocka_unit_test(test_rope_is_the_definition),
        cmocka_unit_test(test_rope_at_position_zero_changes_nothing),
        cmocka_unit_test(test_gate_is_the_definition),
        cmocka_unit_test(test_gate_over_the_range_of_the_exponential),
        cmocka_unit_test(test_gate_of_extremes),
        cmocka_unit_test(test_softcap_is_the_definition),
        cmocka_unit_test(test_heads_are_normalised_then_rotated_then_scaled),
        cmocka_unit_test(test_rope_from_an_offset_rotates_the_rest),
        cmocka_unit_test(test_copied_heads_lie_where_they_should),
    };
    return cmocka_run_group_tests(tests, fixture_announce, NULL);
}
