/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"
#include "base/text.h"
#include "tests/support/check.h"

#include <float.h>
#include <locale.h>
#include <math.h>

static void test_every_code_point_there_and_back(void **state) {
    (void)state;
    size_t encoded = 0;
    for (uint32_t code_point = 0; code_point <= 0x110010; code_point++) {
        uint8_t out[4];
        size_t length = text_encode(code_point, out);
        bool is_scalar = code_point <= 0x10FFFF && (code_point < 0xD800 || code_point > 0xDFFF);
        assert_int_equal(length > 0, is_scalar);
        if (!is_scalar) continue;
        uint32_t back;
        bool valid;
        assert_int_equal(text_decode(out, length, &back, &valid), length);
        assert_true(valid && back == code_point);
        assert_true(text_is_utf8(out, length));
        encoded++;
    }
    assert_int_equal(encoded, 1112064);
    assert_int_equal(text_encode(UINT32_MAX, (uint8_t[4]){0}), 0);
}

static void test_lengths_of_encodings(void **state) {
    (void)state;
    uint8_t out[4];
    assert_int_equal(text_encode(0x7F, out), 1);
    assert_int_equal(text_encode(0x80, out), 2);
    assert_int_equal(text_encode(0x7FF, out), 2);
    assert_int_equal(text_encode(0x800, out), 3);
    assert_int_equal(text_encode(0xFFFF, out), 3);
    assert_int_equal(text_encode(0x10000, out), 4);
    assert_memory_equal(out, "\xF0\x90\x80\x80", 4);
}

/** Valid means: what the bits say encodes to the same bytes. Over all lead bytes and the edges of all ranges. */
static void test_decode_agrees_with_encode_on_any_four_bytes(void **state) {
    (void)state;
    static const uint8_t edges[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF};
    enum { EDGES = sizeof edges };
    for (int lead = 0; lead < 256; lead++) {
        for (int i = 0; i < EDGES * EDGES * EDGES; i++) {
            uint8_t data[4] = {(uint8_t)lead, edges[i % EDGES], edges[i / EDGES % EDGES], edges[i / EDGES / EDGES]},
                    again[4];
            int width = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
            uint32_t bits = width == 1 ? data[0] : data[0] & (0x7F >> width);
            for (int j = 1; j < width; j++) bits = bits << 6 | (data[j] & 0x3F);
            bool expected = text_encode(bits, again) == (size_t)width && memcmp(data, again, (size_t)width) == 0;
            uint32_t code_point;
            bool valid;
            size_t used = text_decode(data, 4, &code_point, &valid);
            assert_int_equal(valid, expected);
            assert_true(valid ? code_point == bits && used == (size_t)width
                              : code_point == TEXT_REPLACEMENT && used >= 1 && used <= 3);
        }
    }
}

/** Expects `lengths` (0 ends) as the bytes used by each step through `data`. */
static void check_steps(const char *data, const int *lengths) {
    size_t length = strlen(data), at = 0;
    for (; *lengths != 0; lengths++) {
        assert_true(at < length);
        uint32_t code_point;
        bool valid;
        assert_int_equal(text_decode((const uint8_t *)data + at, length - at, &code_point, &valid), *lengths);
        at += (size_t)*lengths;
    }
    assert_int_equal(at, length);
}

/** The Unicode Standard 15, section 3.9, tables 3-8 to 3-11. */
static void test_decode_invalid_consumes_the_maximal_subpart(void **state) {
    (void)state;
    check_steps("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", (int[]){2, 1, 3, 2, 1, 0});
    check_steps("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", (int[]){1, 1, 1, 1, 1, 1, 1, 1, 1, 0});
    check_steps("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", (int[]){1, 1, 1, 1, 1, 1, 1, 1, 1, 0});
    check_steps("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", (int[]){1, 1, 1, 1, 1, 1, 1, 1, 1, 0});
}

static void check_invalid(const char *data, size_t length) {
    uint32_t code_point = 0;
    bool valid = true;
    assert_true(text_decode((const uint8_t *)data, length, &code_point, &valid) >= 1);
    assert_false(valid);
    assert_int_equal(code_point, TEXT_REPLACEMENT);
    assert_false(text_is_utf8(data, length));
}

static void test_decode_overlong_is_invalid(void **state) {
    (void)state;
    check_invalid("\xC0\x80", 2);
    check_invalid("\xC1\xBF", 2);
    check_invalid("\xE0\x9F\xBF", 3);
    check_invalid("\xF0\x8F\xBF\xBF", 4);
}

static void test_decode_surrogate_is_invalid(void **state) {
    (void)state;
    check_invalid("\xED\xA0\x80", 3);
    check_invalid("\xED\xBF\xBF", 3);
}

static void test_decode_above_10ffff_is_invalid(void **state) {
    (void)state;
    check_invalid("\xF4\x90\x80\x80", 4);
    check_invalid("\xF5\x80\x80\x80", 4);
}

static void test_decode_cut_sequence_is_invalid(void **state) {
    (void)state;
    check_invalid("\xC3", 1);
    check_invalid("\xE2\x82", 2);
    check_invalid("\xF0\x9F\x98", 3);
}

static void test_nul_is_valid(void **state) {
    (void)state;
    assert_true(text_is_utf8("a\0b", 3));
    assert_true(text_is_utf8(NULL, 0));
}

/** The eight-bytes-at-a-time path must see a bad byte at any place. */
static void test_is_utf8_finds_a_bad_byte_anywhere(void **state) {
    (void)state;
    for (size_t length = 1; length <= 40; length++) {
        char *text = malloc(length); /* exactly: the sanitizer sees a read behind the end */
        memset(text, 'a', length);
        assert_true(text_is_utf8(text, length));
        for (size_t at = 0; at < length; at++) {
            text[at] = '\x80';
            assert_false(text_is_utf8(text, length));
            text[at] = 'a';
        }
        free(text);
    }
}

static void check_prefix(const char *text, size_t expected) {
    assert_int_equal(text_complete_prefix((const uint8_t *)text, strlen(text)), expected);
}

static void test_complete_prefix_keeps_back_only_what_can_be_completed(void **state) {
    (void)state;
    check_prefix("", 0);
    check_prefix("abc", 3);
    check_prefix("a\xC3", 1);
    check_prefix("a\xC3\xA9", 3);
    check_prefix("\xE2\x82", 0);
    check_prefix("x\xF0\x9F\x98", 1);
    check_prefix("x\xF0\x9F\x98\x80", 5);
    check_prefix("\xE0\x80", 2);     /* overlong: no byte can mend it */
    check_prefix("\xED\xA0", 2);     /* a surrogate */
    check_prefix("\xF4\x90\x80", 3); /* above U+10FFFF */
    check_prefix("\x80\x80\x80", 3);
    check_prefix("\xC3\xA9\x80\x80", 4);
    check_prefix("\xFF", 1);
}

static size_t replace(const uint8_t *data, size_t length, uint32_t *out) {
    size_t count = 0;
    for (size_t at = 0; at < length;) {
        bool valid;
        at += text_decode(data + at, length - at, &out[count++], &valid);
    }
    return count;
}

/** Text that comes in pieces, each shown up to its complete prefix, reads as the whole does. */
static void test_pieces_read_as_the_whole(void **state) {
    (void)state;
    static const uint8_t bytes[] = {'a',  0x80, 0xBF, 0xC3, 0xA9, 0xE2, 0x82, 0xAC,
                                    0xED, 0xA0, 0xF0, 0x9F, 0x98, 0xF4, 0x90, 0xFF};
    enum { LENGTH = 64, ROUNDS = 3000, SEED = 99 };
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint8_t data[LENGTH];
        for (uint32_t i = 0; i < LENGTH; i++) data[i] = bytes[random_philox(SEED, round, i) % sizeof bytes];
        uint32_t whole[LENGTH], pieces[LENGTH];
        size_t whole_count = replace(data, LENGTH, whole), piece_count = 0, shown = 0;
        for (size_t received = 1 + round % 5; received < LENGTH;
             received += 1 + random_philox(SEED, round, (uint32_t)(100 + received)) % 7) {
            size_t complete = text_complete_prefix(data + shown, received - shown);
            piece_count += replace(data + shown, complete, pieces + piece_count);
            shown += complete;
            assert_true(received - shown <= 3);
        }
        piece_count += replace(data + shown, LENGTH - shown, pieces + piece_count);
        assert_int_equal(piece_count, whole_count);
        assert_memory_equal(pieces, whole, whole_count * sizeof whole[0]);
    }
}

static void test_truncate_cuts_between_code_points(void **state) {
    (void)state;
    const char *text = "a\xE2\x82\xAC"
                       "b"; /* a, euro sign, b */
    static const size_t expected[] = {0, 1, 1, 1, 4, 5, 5};
    for (size_t max = 0; max < 7; max++) assert_int_equal(text_truncate(text, 5, max), expected[max]);
}

static void test_u64_is_whole_decimal_digits(void **state) {
    (void)state;
    uint64_t value = 7;
    assert_true(text_to_u64("0", &value) && value == 0);
    assert_true(text_to_u64("007", &value) && value == 7);
    assert_true(text_to_u64("18446744073709551615", &value) && value == UINT64_MAX);
    value = 7;
    static const char *const bad[] = {
        "", " 1", "1 ", "+1", "-1", "0x10", "1.0", "1e3", "18446744073709551616", "99999999999999999999999", "x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) assert_false(text_to_u64(bad[i], &value));
    assert_true(value == 7); /* set only on success */
}

static void test_i64_reaches_both_ends(void **state) {
    (void)state;
    int64_t value = 7;
    assert_true(text_to_i64("-9223372036854775808", &value) && value == INT64_MIN);
    assert_true(text_to_i64("9223372036854775807", &value) && value == INT64_MAX);
    assert_true(text_to_i64("-0", &value) && value == 0);
    value = 7;
    static const char *const bad[] = {"", "-", "--1", "+1", "-9223372036854775809", "9223372036854775808", "- 1", "1-"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) assert_false(text_to_i64(bad[i], &value));
    assert_true(value == 7);
}

static void test_double_reads_plain_numbers(void **state) {
    (void)state;
    double value = 7;
    assert_true(text_to_double("0.1", &value) && value == 0.1);
    assert_true(text_to_double("-1.5e-3", &value) && value == -0.0015);
    assert_true(text_to_double("1e308", &value) && value == 1e308);
    assert_true(text_to_double(".5", &value) && value == 0.5);
    assert_true(text_to_double("4.9e-324", &value) && value == 4.9e-324);
    value = 7;
    static const char *const bad[] = {"",    " 1",    "1 ", "inf", "nan", "0x1p3", "1e309", "-1e309",
                                      "1,5", "1.5.2", ".",  "-",   "e5",  "1e",    "--1",   "1-1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) assert_false(text_to_double(bad[i], &value));
    assert_true(value == 7);
}

static void check_double(double value, const char *expected) {
    char out[32];
    assert_int_equal(text_from_double(value, out), strlen(expected));
    assert_string_equal(out, expected);
}

static void test_double_is_written_short(void **state) {
    (void)state;
    check_double(0, "0");
    check_double(1, "1");
    check_double(-2.5, "-2.5");
    check_double(0.1, "0.1");
    check_double(0.1 + 0.2, "0.30000000000000004");
    check_double(1.0 / 3, "0.3333333333333333");
    check_double(100000, "100000");
    check_double(1e20, "1e+20");
    check_double(123456789012345678.0, "1.2345678901234568e+17");
    check_double(DBL_MAX, "1.7976931348623157e+308");
    check_double(-0.0, "-0");
}

static void test_double_that_is_no_number_is_null(void **state) {
    (void)state;
    check_double(NAN, "null");
    check_double(INFINITY, "null");
    check_double(-INFINITY, "null");
}

static void test_double_there_and_back(void **state) {
    (void)state;
    enum { ROUNDS = 100000, SEED = 4 };
    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t bits = random_philox(SEED, i, 0);
        double value, back;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value)) continue;
        char out[32];
        size_t length = text_from_double(value, out);
        assert_true(length == strlen(out) && length < sizeof out);
        assert_true(text_to_double(out, &back));
        assert_memory_equal(&value, &back, sizeof value);
    }
}

static void check_plain(double value, const char *expected) {
    char out[TEXT_PLAIN_DOUBLE_BYTES];
    assert_int_equal(text_from_double_plain(value, out), strlen(expected));
    assert_string_equal(out, expected);
}

static void test_plain_doubles_have_no_exponent(void **state) {
    (void)state;
    check_plain(0, "0");
    check_plain(1.25, "1.25");
    check_plain(1.2e-8, "0.000000012");
    check_plain(-1.5e-5, "-0.000015");
    check_plain(1e-9, "0.000000001");
    check_plain(1e20, "100000000000000000000");
    check_plain(123456789012345678.0, "123456789012345680");
    check_plain(NAN, "null");
}

static void test_plain_doubles_there_and_back(void **state) {
    (void)state;
    enum { ROUNDS = 20000, SEED = 5 };
    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t bits = random_philox(SEED, i, 0);
        double value, back;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value)) continue;
        char out[TEXT_PLAIN_DOUBLE_BYTES];
        size_t length = text_from_double_plain(value, out);
        assert_true(length == strlen(out) && length < sizeof out);
        assert_null(strchr(out, 'e'));
        assert_true(text_to_double(out, &back));
        assert_memory_equal(&value, &back, sizeof value);
    }
}

/** In the language of a machine that writes 1,5. */
static void test_numbers_do_not_follow_the_locale(void **state) {
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR", "de_DE.utf8"};
    bool found = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !found; i++) {
        found = setlocale(LC_ALL, names[i]) != NULL && localeconv()->decimal_point[0] == ',';
    }
    if (!found) {
        setlocale(LC_ALL, "C");
        skip();
    }
    double value = 0;
    bool read = text_to_double("1.5", &value), comma = text_to_double("1,5", &(double){0});
    char out[32];
    text_from_double(2.5, out);
    setlocale(LC_ALL, "C");
    assert_true(read && value == 1.5 && !comma);
    assert_string_equal(out, "2.5");
}

static void test_keys_lose_their_secret_part_in_place(void **state) {
    (void)state;
    static const struct {
        const char *text, *masked;
    } cases[] = {
        {"bora_0123456789ab_abcdefghijklmnopQRSTUV-_9, and", "bora_0123456789ab_*************************, and"},
        {"x bora_admin_ABCDEFGHIJKLMNOP\"", "x bora_admin_****************\""},
        {"bora_bora_0123456789ab_abcdefghijklmnop", "bora_bora_0123456789ab_****************"},
        {"bora_0123456789ab_short", "bora_0123456789ab_short"},
        {"bora_gateway_settlements_waiting_now", "bora_gateway_settlements_waiting_now"},
        {"bora_0123456789ab", "bora_0123456789ab"},
        {"bora_", "bora_"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[128];
        snprintf(text, sizeof text, "%s", cases[i].text);
        text_mask_keys(text, strlen(text));
        assert_string_equal(text, cases[i].masked);
    }
}

static void test_what_breaks_a_line(void **state) {
    (void)state;
    static const uint32_t breaks[] = {0,    '\t', '\n',   '\r',   0x1B,   0x1F,   0x7F,   0x80,  0x85,
                                      0x9B, 0x9F, 0x2028, 0x2029, 0x202A, 0x202E, 0x2066, 0x2069};
    static const uint32_t fine[] = {' ',    '~',    0xA0,   0xAD,   0x200D, 0x200F,
                                    0x2027, 0x202F, 0x2065, 0x206A, 0xFE0F, 0x1F600};
    for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++) assert_true(text_breaks_line(breaks[i]));
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) assert_false(text_breaks_line(fine[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_breaks_a_line),
        cmocka_unit_test(test_keys_lose_their_secret_part_in_place),
        cmocka_unit_test(test_every_code_point_there_and_back),
        cmocka_unit_test(test_lengths_of_encodings),
        cmocka_unit_test(test_decode_agrees_with_encode_on_any_four_bytes),
        cmocka_unit_test(test_decode_invalid_consumes_the_maximal_subpart),
        cmocka_unit_test(test_decode_overlong_is_invalid),
        cmocka_unit_test(test_decode_surrogate_is_invalid),
        cmocka_unit_test(test_decode_above_10ffff_is_invalid),
        cmocka_unit_test(test_decode_cut_sequence_is_invalid),
        cmocka_unit_test(test_nul_is_valid),
        cmocka_unit_test(test_is_utf8_finds_a_bad_byte_anywhere),
        cmocka_unit_test(test_complete_prefix_keeps_back_only_what_can_be_completed),
        cmocka_unit_test(test_pieces_read_as_the_whole),
        cmocka_unit_test(test_truncate_cuts_between_code_points),
        cmocka_unit_test(test_u64_is_whole_decimal_digits),
        cmocka_unit_test(test_i64_reaches_both_ends),
        cmocka_unit_test(test_double_reads_plain_numbers),
        cmocka_unit_test(test_double_is_written_short),
        cmocka_unit_test(test_double_that_is_no_number_is_null),
        cmocka_unit_test(test_double_there_and_back),
        cmocka_unit_test(test_plain_doubles_have_no_exponent),
        cmocka_unit_test(test_plain_doubles_there_and_back),
        cmocka_unit_test(test_numbers_do_not_follow_the_locale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
