/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"
#include "tests/support/check.h"

static void test_views_compare_by_content(void **state) {
    (void)state;
    assert_true(bytes_view_equal(bytes_view_of("abc", 2), bytes_view_of("abd", 2)));
    assert_false(bytes_view_equal(bytes_view_of("abc", 3), bytes_view_of("abd", 3)));
    assert_false(bytes_view_equal(bytes_view_of("abc", 3), bytes_view_of("abc", 2)));
    assert_true(bytes_view_equal_string(bytes_view_of("abc", 2), "ab"));
    assert_false(bytes_view_equal_string(bytes_view_of("abc", 3), "ab"));
    assert_true(bytes_view_equal(bytes_view_string(NULL), bytes_view_string("")));
    assert_false(bytes_view_equal_string(bytes_view_of("a\0b", 3), "a"));
}

static void test_content_is_nul_terminated(void **state) {
    (void)state;
    struct bytes bytes;
    bytes_init(&bytes, 1000);
    for (int i = 0; i < 300; i++) {
        check_ok(bytes_append_byte(&bytes, (uint8_t)('a' + i % 26)));
        assert_int_equal(bytes.data[bytes.length], 0);
    }
    assert_int_equal(bytes.length, 300);
    for (int i = 0; i < 300; i++) assert_int_equal(bytes.data[i], 'a' + i % 26);
    bytes_deinit(&bytes);
}

static void test_empty_append_ends_with_nul(void **state) {
    (void)state;
    struct bytes bytes;
    bytes_init(&bytes, 0);
    check_ok(bytes_append(&bytes, NULL, 0));
    assert_string_equal((char *)bytes.data, "");
    assert_int_equal(bytes_append_byte(&bytes, 'x'), STATUS_RESOURCE_EXHAUSTED);
    bytes_deinit(&bytes);
}

static void test_maximum_is_reached_exactly(void **state) {
    (void)state;
    struct bytes bytes;
    bytes_init(&bytes, 10);
    check_ok(bytes_append_string(&bytes, "0123456789"));
    assert_true(bytes.capacity <= 11);
    assert_int_equal(bytes_append_byte(&bytes, 'x'), STATUS_RESOURCE_EXHAUSTED);
    assert_string_equal((char *)bytes.data, "0123456789");
    bytes_deinit(&bytes);
}

static void test_capacity_never_passes_the_maximum(void **state) {
    (void)state;
    struct bytes bytes;
    bytes_init(&bytes, 1000);
    for (int i = 0; i < 1000; i++) {
        check_ok(bytes_append_byte(&bytes, 'x'));
        assert_true(bytes.capacity <= 1001);
    }
    assert_int_equal(bytes_append_byte(&bytes, 'x'), STATUS_RESOURCE_EXHAUSTED);
    bytes_deinit(&bytes);
}

static void test_failure_stays_until_reset(void **state) {
    (void)state;
    struct bytes bytes;
    bytes_init(&bytes, 10);
    check_ok(bytes_append_string(&bytes, "abc"));
    assert_int_equal(bytes_append_string(&bytes, "0123456789"), STATUS_RESOURCE_EXHAUSTED);
    assert_true(bytes.failed);
    assert_int_equal(bytes_append_byte(&bytes, 'd'), STATUS_RESOURCE_EXHAUSTED); /* though it would fit */
    assert_int_equal(bytes_printf(&bytes, "%d", 1), STATUS_RESOURCE_EXHAUSTED);
    assert_string_equal((char *)bytes.data, "abc");
    bytes_reset(&bytes);
    assert_false(bytes.failed);
    check_ok(bytes_append_byte(&bytes, 'd'));
    assert_string_equal((char *)bytes.data, "d");
    bytes_deinit(&bytes);
}

static void test_lengths_that_wrap_round_are_refused(void **state) {
    (void)state;
    struct bytes bytes;
    bytes_init(&bytes, SIZE_MAX);
    check_ok(bytes_append_string(&bytes, "abc"));
    assert_int_equal(bytes_reserve(&bytes, SIZE_MAX - 3), STATUS_RESOURCE_EXHAUSTED);
    bytes_reset(&bytes);
    check_ok(bytes_append_string(&bytes, "abc"));
    assert_int_equal(bytes_reserve(&bytes, SIZE_MAX), STATUS_RESOURCE_EXHAUSTED);
    bytes_deinit(&bytes);
}

static void test_reserve_keeps_the_place(void **state) {
    (void)state;
    struct bytes bytes;
    bytes_init(&bytes, 5000);
    check_ok(bytes_reserve(&bytes, 5000));
    const uint8_t *before = bytes.data;
    for (int i = 0; i < 5000; i++) check_ok(bytes_append_byte(&bytes, 'x'));
    assert_ptr_equal(bytes.data, before);
    bytes_deinit(&bytes);
}

static void test_printf_appends(void **state) {
    (void)state;
    struct bytes bytes;
    bytes_init(&bytes, 200);
    check_ok(bytes_printf(&bytes, "%d,", 7));
    check_ok(bytes_printf(&bytes, "%0100d", 7));
    assert_int_equal(bytes.length, 102);
    assert_memory_equal(bytes.data, "7,000", 5);
    assert_int_equal(bytes_printf(&bytes, "%0100d", 7), STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(bytes.length, 102);
    bytes_deinit(&bytes);
}

/** A reader that takes little of much that waits, while as much comes: what is moved is in proportion to what leaves. */
static void test_drop_taken_moves_little_and_loses_nothing(void **state) {
    (void)state;
    enum { WAITING = 1 << 20, STEP = 1000, ROUNDS = 20000 };
    struct bytes bytes;
    size_t taken = 0, moved = 0, left = 0, longest = 0;
    uint32_t next_in = 0, next_out = 0;
    bytes_init(&bytes, SIZE_MAX);
    for (; bytes.length < WAITING; next_in++) check_ok(bytes_append(&bytes, &next_in, sizeof next_in));
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < STEP / 4; i++, taken += sizeof next_out, next_out++)
            assert_memory_equal(bytes.data + taken, &next_out, sizeof next_out);
        size_t before = taken, rest = bytes.length - taken;
        bytes_drop_taken(&bytes, &taken);
        assert_int_equal(bytes.length - taken, rest);
        if (taken != before) moved += rest;
        for (int i = 0; i < STEP / 4; i++, next_in++) check_ok(bytes_append(&bytes, &next_in, sizeof next_in));
        left += STEP;
        if (bytes.length > longest) longest = bytes.length;
    }
    assert_true(moved <= 4 * left);
    assert_true(longest <= WAITING / 4 * 5 + 2 * STEP);
    bytes_deinit(&bytes);
}

static void test_drop_taken_of_all_leaves_nothing(void **state) {
    (void)state;
    struct bytes bytes;
    size_t taken = 5;
    bytes_init(&bytes, 64);
    check_ok(bytes_append_string(&bytes, "hello"));
    bytes_drop_taken(&bytes, &taken);
    assert_int_equal(bytes.length, 0);
    assert_int_equal(taken, 0);
    bytes_drop_taken(&bytes, &taken); /* nor of nothing */
    assert_int_equal(bytes.length, 0);
    bytes_deinit(&bytes);
}

static void test_consume_takes_from_the_front(void **state) {
    (void)state;
    struct bytes bytes;
    bytes_init(&bytes, 100);
    bytes_consume(&bytes, 5);
    check_ok(bytes_append_string(&bytes, "abcdef"));
    bytes_consume(&bytes, 0);
    bytes_consume(&bytes, 2);
    assert_string_equal((char *)bytes.data, "cdef");
    assert_int_equal(bytes_view(&bytes).length, 4);
    bytes_consume(&bytes, 100);
    assert_int_equal(bytes.length, 0);
    assert_string_equal((char *)bytes.data, "");
    bytes_deinit(&bytes);
}

static void test_take_gives_the_memory_away(void **state) {
    (void)state;
    struct bytes bytes;
    bytes_init(&bytes, 100);
    check_ok(bytes_append_string(&bytes, "abc"));
    size_t length = 0;
    uint8_t *data = bytes_take(&bytes, &length);
    assert_int_equal(length, 3);
    assert_string_equal((char *)data, "abc");
    assert_int_equal(bytes.length, 0);
    check_ok(bytes_append_string(&bytes, "new")); /* the maximum is kept */
    assert_int_equal(bytes.max_bytes, 100);
    assert_string_equal((char *)data, "abc");
    free(data);
    bytes_deinit(&bytes);
}

static void test_take_of_nothing_is_an_empty_string(void **state) {
    (void)state;
    struct bytes bytes;
    bytes_init(&bytes, 100);
    uint8_t *data = bytes_take(&bytes, NULL);
    assert_string_equal((char *)data, "");
    free(data);
}

static void test_constant_time_sees_every_byte(void **state) {
    (void)state;
    uint8_t a[40], b[40];
    for (int i = 0; i < 40; i++) a[i] = b[i] = (uint8_t)(i * 7);
    assert_true(bytes_equal_constant_time(a, b, 40));
    for (int i = 0; i < 40; i++) {
        for (int bit = 0; bit < 8; bit++) {
            b[i] ^= (uint8_t)(1 << bit);
            assert_false(bytes_equal_constant_time(a, b, 40));
            b[i] ^= (uint8_t)(1 << bit);
        }
    }
    assert_true(bytes_equal_constant_time(a, b, 0));
}

static void test_hex_there_and_back(void **state) {
    (void)state;
    uint8_t all[256], back[256];
    char hex[513];
    for (int i = 0; i < 256; i++) all[i] = (uint8_t)i;
    bytes_to_hex(all, 256, hex);
    assert_int_equal(strlen(hex), 512);
    assert_memory_equal(hex, "000102", 6);
    assert_string_equal(hex + 508, "feff");
    assert_true(bytes_from_hex(hex, 512, back));
    assert_memory_equal(all, back, 256);
    assert_true(bytes_from_hex("DEADFeef", 8, back));
    assert_memory_equal(back, "\xDE\xAD\xFE\xEF", 4);
}

static void test_hex_of_other_characters_is_refused(void **state) {
    (void)state;
    uint8_t out[4];
    assert_false(bytes_from_hex("abc", 3, out));
    assert_false(bytes_from_hex("0g", 2, out));
    assert_false(bytes_from_hex("g0", 2, out));
    assert_false(bytes_from_hex(" 1", 2, out));
    assert_false(bytes_from_hex("0x", 2, out));
    assert_true(bytes_from_hex("", 0, out));
}

static void test_begins_and_hash(void **state) {
    (void)state;
    struct bytes_view text = bytes_view_string("foobar"), part = bytes_view_string("foo"), none = {0};
    assert_true(bytes_view_begins(text, part));
    assert_true(bytes_view_begins(text, text));
    assert_true(bytes_view_begins(text, none));
    assert_true(bytes_view_begins(none, none));
    assert_false(bytes_view_begins(part, text));
    assert_false(bytes_view_begins(text, bytes_view_string("oo")));
    /* The vectors of FNV's authors. */
    assert_true(bytes_hash(BYTES_HASH_START, none) == UINT64_C(0xcbf29ce484222325));
    assert_true(bytes_hash(BYTES_HASH_START, text) == UINT64_C(0x85944171f73967e8));
    assert_true(bytes_hash(bytes_hash(BYTES_HASH_START, part), bytes_view_string("bar")) ==
                UINT64_C(0x85944171f73967e8));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_views_compare_by_content),
        cmocka_unit_test(test_content_is_nul_terminated),
        cmocka_unit_test(test_empty_append_ends_with_nul),
        cmocka_unit_test(test_maximum_is_reached_exactly),
        cmocka_unit_test(test_capacity_never_passes_the_maximum),
        cmocka_unit_test(test_failure_stays_until_reset),
        cmocka_unit_test(test_lengths_that_wrap_round_are_refused),
        cmocka_unit_test(test_reserve_keeps_the_place),
        cmocka_unit_test(test_printf_appends),
        cmocka_unit_test(test_consume_takes_from_the_front),
        cmocka_unit_test(test_drop_taken_moves_little_and_loses_nothing),
        cmocka_unit_test(test_drop_taken_of_all_leaves_nothing),
        cmocka_unit_test(test_take_gives_the_memory_away),
        cmocka_unit_test(test_take_of_nothing_is_an_empty_string),
        cmocka_unit_test(test_constant_time_sees_every_byte),
        cmocka_unit_test(test_hex_there_and_back),
        cmocka_unit_test(test_hex_of_other_characters_is_refused),
        cmocka_unit_test(test_begins_and_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
