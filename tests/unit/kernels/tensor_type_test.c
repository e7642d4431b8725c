/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Storage types: sizes, what their bits mean (blocks written by hand), and the 16-bit floats over all of their values. */
#include "kernels/float16.h"
#include "tests/unit/kernels/fixture.h"

#include <math.h>
#include <string.h>

static const uint16_t ONE = 0x3C00, TWO = 0x4000, HALF = 0x3800, MINUS_ONE = 0xBC00; /* f16 */

static void put(uint8_t *at, uint16_t half) {
    memcpy(at, &half, 2);
}

static void test_sizes_are_ggufs(void **state) {
    (void)state;
    static const struct {
        enum tensor_type type;
        const char *name;
        int block;
        size_t bytes;
    } facts[] = {{TENSOR_F32, "F32", 1, 4},       {TENSOR_F16, "F16", 1, 2},      {TENSOR_BF16, "BF16", 1, 2},
                 {TENSOR_Q4_0, "Q4_0", 32, 18},   {TENSOR_Q4_1, "Q4_1", 32, 20},  {TENSOR_Q5_0, "Q5_0", 32, 22},
                 {TENSOR_Q5_1, "Q5_1", 32, 24},   {TENSOR_Q8_0, "Q8_0", 32, 34},  {TENSOR_Q4_K, "Q4_K", 256, 144},
                 {TENSOR_Q5_K, "Q5_K", 256, 176}, {TENSOR_Q6_K, "Q6_K", 256, 210}};
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        assert_string_equal(tensor_type_name(facts[i].type), facts[i].name);
        assert_int_equal(tensor_type_block(facts[i].type), facts[i].block);
        assert_int_equal(tensor_type_block_bytes(facts[i].type), facts[i].bytes);
        assert_int_equal(tensor_type_row_bytes(facts[i].type, 3 * facts[i].block), 3 * facts[i].bytes);
        assert_int_equal(tensor_type_row_bytes(facts[i].type, 0), 0);
        if (facts[i].block > 1) assert_int_equal(tensor_type_row_bytes(facts[i].type, facts[i].block + 1), 0);
    }
}

static void test_unknown_types_have_no_size(void **state) {
    (void)state;
    static const int unknown[] = {-1, 4, 5, 9, 10, 11, 15, 29, 31, 1000, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        enum tensor_type type = (enum tensor_type)unknown[i];
        float out;
        assert_null(tensor_type_name(type));
        assert_int_equal(tensor_type_block(type), 0);
        assert_int_equal(tensor_type_block_bytes(type), 0);
        assert_int_equal(tensor_type_row_bytes(type, 32), 0);
        assert_int_equal(tensor_dequantise_row(type, &out, 1, &out), STATUS_INVALID_ARGUMENT);
    }
}

static void test_hostile_column_counts_are_refused(void **state) {
    (void)state;
    float out[1];
    char row[1] = {0};
    assert_int_equal(tensor_type_row_bytes(TENSOR_F32, -1), 0);
    assert_int_equal(tensor_type_row_bytes(TENSOR_F32, INT64_MIN), 0);
    assert_int_equal(tensor_type_row_bytes(TENSOR_F32, INT64_MAX), 0); /* its bytes pass 64 bits */
    assert_int_equal(tensor_dequantise_row(TENSOR_Q8_0, row, 31, out), STATUS_INVALID_ARGUMENT);
    assert_int_equal(tensor_dequantise_row(TENSOR_F32, row, -4, out), STATUS_INVALID_ARGUMENT);
    assert_int_equal(tensor_dequantise_row(TENSOR_Q8_0, row, 0, out), STATUS_OK);
}

/** Dequantise one block of `columns` weights. */
static void dequantise(enum tensor_type type, const uint8_t *block, int columns, float *out) {
    assert_int_equal(tensor_dequantise_row(type, block, columns, out), STATUS_OK);
}

static void test_q4_blocks(void **state) {
    (void)state;
    uint8_t block[20];
    float out[32];
    for (int i = 0; i < 16; i++) block[2 + i] = (uint8_t)(i | (15 - i) << 4);
    put(block, TWO);
    dequantise(TENSOR_Q4_0, block, 32, out);
    for (int i = 0; i < 16; i++) assert_true(out[i] == 2.0f * (float)(i - 8) && out[16 + i] == 2.0f * (float)(7 - i));
    for (int i = 0; i < 16; i++) block[4 + i] = (uint8_t)(i | (15 - i) << 4);
    put(block, HALF);
    put(block + 2, MINUS_ONE);
    dequantise(TENSOR_Q4_1, block, 32, out);
    for (int i = 0; i < 16; i++)
        assert_true(out[i] == 0.5f * (float)i - 1 && out[16 + i] == 0.5f * (float)(15 - i) - 1);
}

static void test_q5_blocks(void **state) {
    (void)state;
    uint8_t block[24];
    float out[32];
    uint32_t high = 0x80000001u; /* the fifth bit of weights 0 and 31 */
    put(block, ONE);
    memcpy(block + 2, &high, 4);
    for (int i = 0; i < 16; i++) block[6 + i] = (uint8_t)(i | (15 - i) << 4);
    dequantise(TENSOR_Q5_0, block, 32, out);
    for (int i = 0; i < 16; i++)
        assert_true(out[i] == (float)(i + (i == 0 ? 16 : 0) - 16) &&
                    out[16 + i] == (float)(15 - i + (i == 15 ? 16 : 0) - 16));
    put(block + 2, TWO);
    memcpy(block + 4, &high, 4);
    for (int i = 0; i < 16; i++) block[8 + i] = (uint8_t)(i | (15 - i) << 4);
    dequantise(TENSOR_Q5_1, block, 32, out);
    for (int i = 0; i < 16; i++)
        assert_true(out[i] == (float)(i + (i == 0 ? 16 : 0) + 2) &&
                    out[16 + i] == (float)(15 - i + (i == 15 ? 16 : 0) + 2));
}

static void test_q8_0_block(void **state) {
    (void)state;
    uint8_t block[34];
    float out[32];
    put(block, HALF);
    for (int i = 0; i < 32; i++) block[2 + i] = (uint8_t)(i * 8 - 128);
    dequantise(TENSOR_Q8_0, block, 32, out);
    for (int i = 0; i < 32; i++) assert_true(out[i] == 0.5f * (float)(i * 8 - 128));
}

/** Group g of Q4_K and Q5_K has scale 1 + 8 g and minimum 63 - 8 g: 6 bits, packed as ggml's get_scale_min_k4 takes them apart. */
static void put_k_scales(uint8_t *at) {
    memset(at, 0, 12);
    for (int g = 0; g < 8; g++) {
        int scale = 1 + 8 * g, minimum = 63 - 8 * g;
        if (g < 4) {
            at[g] |= (uint8_t)scale;
            at[g + 4] |= (uint8_t)minimum;
        } else {
            at[g + 4] = (uint8_t)((scale & 15) | (minimum & 15) << 4);
            at[g - 4] |= (uint8_t)(scale >> 4 << 6);
            at[g] |= (uint8_t)(minimum >> 4 << 6);
        }
    }
}

static void test_q4_k_and_q5_k_blocks(void **state) {
    (void)state;
    uint8_t block[176];
    float out[256];
    put(block, TWO);
    put(block + 2, HALF);
    put_k_scales(block + 4);
    /* weight i of group g is (i + g) mod 16, plus 16 in Q5_K where i + g is odd */
    for (int five = 0; five < 2; five++) {
        memset(block + 16, 0, sizeof block - 16);
        for (int g = 0; g < 8; g++) {
            for (int i = 0; i < 32; i++) {
                block[(five ? 48 : 16) + g / 2 * 32 + i] |= (uint8_t)(((i + g) & 15) << (g % 2 * 4));
                if (five) block[16 + i] |= (uint8_t)(((i + g) & 1) << g);
            }
        }
        dequantise(five ? TENSOR_Q5_K : TENSOR_Q4_K, block, 256, out);
        for (int g = 0; g < 8; g++) {
            for (int i = 0; i < 32; i++) {
                int q = ((i + g) & 15) + (five ? ((i + g) & 1) * 16 : 0);
                assert_true(out[g * 32 + i] == 2.0f * (float)((1 + 8 * g) * q) - 0.5f * (float)(63 - 8 * g));
            }
        }
    }
}

static void test_q6_k_block(void **state) {
    (void)state;
    uint8_t block[210] = {0};
    float out[256];
    put(block + 208, HALF);
    for (int s = 0; s < 16; s++) block[192 + s] = (uint8_t)(int8_t)(s * 7 - 50);
    /* weight i is i * 5 mod 64; of each half of 128, weight 32 part + l has its low bits in byte 32 (part mod 2) + l, its high two in byte l */
    for (int i = 0; i < 256; i++) {
        int q = i * 5 % 64, half = i / 128, part = i / 32 % 4, l = i % 32;
        block[half * 64 + part % 2 * 32 + l] |= (uint8_t)((q & 15) << (part / 2 * 4));
        block[128 + half * 32 + l] |= (uint8_t)((q >> 4) << (2 * part));
    }
    dequantise(TENSOR_Q6_K, block, 256, out);
    for (int i = 0; i < 256; i++) assert_true(out[i] == 0.5f * (float)((i / 16 * 7 - 50) * (i * 5 % 64 - 32)));
}

/** A row of several blocks takes its blocks one after another. */
static void test_rows_are_their_blocks(void **state) {
    (void)state;
    static const enum tensor_type types[] = {TENSOR_F32,  TENSOR_F16,  TENSOR_BF16, TENSOR_Q4_0,
                                             TENSOR_Q4_1, TENSOR_Q5_0, TENSOR_Q5_1, TENSOR_Q8_0,
                                             TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K};
    struct fixture_random random = {.seed = 61};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        int block = tensor_type_block(types[i]);
        struct tensor_view view = fixture_tensor(&random, types[i], 1, 3 * block);
        float whole[768], part[256];
        assert_int_equal(tensor_dequantise_row(types[i], view.data, 3 * block, whole), STATUS_OK);
        for (int b = 0; b < 3; b++) {
            dequantise(types[i], (const uint8_t *)view.data + (size_t)b * tensor_type_block_bytes(types[i]), block,
                       part);
            assert_memory_equal(part, whole + b * block, (size_t)block * sizeof *part);
        }
        test_free((void *)view.data);
    }
}

/* ---- 16-bit floats ------------------------------------------------------------------------------------------------------- */

static double half_value(uint16_t half) {
    int exponent = half >> 10 & 31, fraction = half & 1023;
    double magnitude = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    return half & 0x8000 ? -magnitude : magnitude;
}

static void test_every_f16_is_its_value_and_comes_back(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float value = float_from_f16((uint16_t)bits);
        if ((bits & 0x7FFF) > 0x7C00) {
            assert_true(isnan(value) && isnan(float_from_f16(float_to_f16(value))));
            continue;
        }
        if ((bits & 0x7FFF) == 0x7C00)
            assert_true(isinf(value) && (signbit(value) != 0) == (bits > 0x8000));
        else
            assert_true(value == half_value((uint16_t)bits) && (signbit(value) != 0) == (bits >= 0x8000));
        assert_int_equal(float_to_f16(value), bits);
    }
}

/** Between two neighbours: below the middle down, above it up, in the middle to the even one. */
static void test_f16_rounds_to_nearest_even(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 0x7C00; bits++) {
        double low = half_value((uint16_t)bits), high = bits == 0x7BFF ? 65536 : half_value((uint16_t)(bits + 1));
        float middle = (float)((low + high) / 2); /* exact: one bit more than f16 has */
        assert_int_equal(float_to_f16(nextafterf(middle, 0)), bits);
        assert_int_equal(float_to_f16(nextafterf(middle, INFINITY)), bits + 1);
        assert_int_equal(float_to_f16(middle), bits + (bits & 1));
        assert_int_equal(float_to_f16(-middle), 0x8000 | (bits + (bits & 1)));
    }
    assert_int_equal(float_to_f16(INFINITY), 0x7C00);
    assert_int_equal(float_to_f16(3e38f), 0x7C00);
    assert_int_equal(float_to_f16(1e-45f), 0);
}

static void test_bf16_is_the_upper_half_of_f32(void **state) {
    (void)state;
    assert_true(float_from_bf16(0x3F80) == 1.0f);
    assert_true(float_from_bf16(0xC049) == -3.140625f);
    assert_true(isinf(float_from_bf16(0x7F80)));
    assert_true(isnan(float_from_bf16(0x7FC0)));
    assert_true(float_from_bf16(0x0001) == ldexpf(1, -133));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_are_ggufs),
        cmocka_unit_test(test_unknown_types_have_no_size),
        cmocka_unit_test(test_hostile_column_counts_are_refused),
        cmocka_unit_test(test_q4_blocks),
        cmocka_unit_test(test_q5_blocks),
        cmocka_unit_test(test_q8_0_block),
        cmocka_unit_test(test_q4_k_and_q5_k_blocks),
        cmocka_unit_test(test_q6_k_block),
        cmocka_unit_test(test_rows_are_their_blocks),
        cmocka_unit_test(test_every_f16_is_its_value_and_comes_back),
        cmocka_unit_test(test_f16_rounds_to_nearest_even),
        cmocka_unit_test(test_bf16_is_the_upper_half_of_f32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
