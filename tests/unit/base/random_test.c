/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"
#include "tests/support/check.h"

/** The known answers that Random123 publishes for philox4x32-10 (its kat_vectors file). */
static void test_philox_known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX},
         {UINT32_MAX, UINT32_MAX},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint32_t out[4];
        random_philox_block(vectors[i].counter, vectors[i].key, out);
        assert_memory_equal(out, vectors[i].out, sizeof out);
    }
}

static void test_philox_output_may_be_the_counter(void **state) {
    (void)state;
    uint32_t counter[4] = {1, 2, 3, 4}, key[2] = {5, 6}, out[4];
    random_philox_block(counter, key, out);
    random_philox_block(counter, key, counter);
    assert_memory_equal(counter, out, sizeof out);
}

static void test_philox_maps_seed_position_and_lane(void **state) {
    (void)state;
    uint32_t counter[4] = {0x05060708, 0x01020304, 0x0a0b0c0d, 0}, key[2] = {0x55667788, 0x11223344}, out[4];
    random_philox_block(counter, key, out);
    uint64_t expected = (uint64_t)out[1] << 32 | out[0];
    assert_true(random_philox(UINT64_C(0x1122334455667788), UINT64_C(0x0102030405060708), 0x0a0b0c0d) == expected);
    assert_true(random_philox(0, 0, 0) == UINT64_C(0xe169c58d6627e8d5));
}

static void test_uniform_is_the_top_53_bits(void **state) {
    (void)state;
    assert_true(random_uniform(0, 0, 0) == (double)(UINT64_C(0xe169c58d6627e8d5) >> 11) / 9007199254740992.0);
}

/** 100 buckets of 100000 draws: chi-square with 99 degrees of freedom is below 149 in 99.9 % of cases; the seed is fixed. */
static void test_uniform_fills_its_range_evenly(void **state) {
    (void)state;
    enum { BUCKETS = 100, DRAWS = 100000 };
    int counts[BUCKETS] = {0};
    for (uint64_t i = 0; i < DRAWS; i++) {
        double value = random_uniform(12345, i, 7);
        assert_true(value >= 0 && value < 1);
        counts[(int)(value * BUCKETS)]++;
    }
    double chi_square = 0, expected = (double)DRAWS / BUCKETS;
    for (int i = 0; i < BUCKETS; i++) chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
    assert_true(chi_square < 149);
}

static void test_secret_fills_all_of_a_large_buffer(void **state) {
    (void)state;
    enum { BYTES = 100000 }; /* more than getrandom gives at once when interrupted */
    uint8_t *data = calloc(1, BYTES + 1);
    struct error err = {0};
    check_ok(random_secret(data, BYTES, &err));
    int counts[256] = {0};
    for (int i = 0; i < BYTES; i++) counts[data[i]]++;
    for (int i = 0; i < 256; i++)
        assert_true(counts[i] > 200 && counts[i] < 600); /* 390 expected; 9 standard deviations */
    assert_int_equal(data[BYTES], 0);
    check_ok(random_secret(data, 0, &err));
    free(data);
}

static void test_hex_id_has_the_digits_asked_for(void **state) {
    (void)state;
    for (size_t digits = 0; digits <= 64; digits++) {
        char id[66];
        memset(id, '#', sizeof id);
        random_hex_id(id, digits);
        assert_int_equal(strlen(id), digits);
        assert_int_equal(strspn(id, "0123456789abcdef"), digits);
        assert_int_equal(id[digits + 1], '#');
    }
}

static void test_hex_ids_differ(void **state) {
    (void)state;
    char ids[100][33];
    for (int i = 0; i < 100; i++) {
        random_hex_id(ids[i], 32);
        for (int j = 0; j < i; j++) assert_string_not_equal(ids[i], ids[j]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_philox_output_may_be_the_counter),
        cmocka_unit_test(test_philox_maps_seed_position_and_lane),
        cmocka_unit_test(test_uniform_is_the_top_53_bits),
        cmocka_unit_test(test_uniform_fills_its_range_evenly),
        cmocka_unit_test(test_secret_fills_all_of_a_large_buffer),
        cmocka_unit_test(test_hex_id_has_the_digits_asked_for),
        cmocka_unit_test(test_hex_ids_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
