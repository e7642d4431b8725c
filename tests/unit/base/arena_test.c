/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/random.h"
#include "tests/support/check.h"

#if __has_include(<sanitizer/asan_interface.h>) && defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define is_poisoned(address) (__asan_address_is_poisoned(address) != 0)
#endif

static bool is_zero(const unsigned char *data, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (data[i] != 0) return false;
    }
    return true;
}

static void test_init_allocates_nothing(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    assert_null(arena.head);
    assert_int_equal(arena.reserved_bytes, 0);
    arena_reset(&arena);
    arena_deinit(&arena);
}

static void test_memory_is_aligned_zeroed_and_apart(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    unsigned char *blocks[200];
    size_t sizes[200];
    for (size_t i = 0; i < 200; i++) {
        sizes[i] = random_philox(1, i, 0) % 700;
        blocks[i] = arena_alloc(&arena, sizes[i]);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        assert_true(is_zero(blocks[i], sizes[i]));
        memset(blocks[i], (int)i, sizes[i]);
    }
    for (size_t i = 0; i < 200; i++) {
        for (size_t j = 0; j < sizes[i]; j++) assert_int_equal(blocks[i][j], (unsigned char)i);
    }
    arena_deinit(&arena);
}

static void test_memory_is_zeroed_again_after_reset(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    for (int round = 0; round < 3; round++) {
        unsigned char *data = arena_alloc(&arena, 3000);
        assert_true(is_zero(data, 3000));
        memset(data, 0xEE, 3000);
        arena_reset(&arena);
        assert_int_equal(arena.used_bytes, 0);
    }
    arena_deinit(&arena);
}

static void test_zero_bytes_give_distinct_pointers(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 4096);
    void *a = arena_alloc(&arena, 0), *b = arena_alloc(&arena, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_not_equal(a, b);
    arena_deinit(&arena);
}

static void test_cap_is_never_passed(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 10000);
    size_t given = 0;
    while (arena_alloc(&arena, 16) != NULL) given += 16;
    assert_true(given >= 9000 && given <= 10000);
    assert_true(arena.reserved_bytes <= 10000);
    arena_deinit(&arena);
}

static void test_small_allocation_succeeds_after_a_refused_one(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 8192);
    assert_null(arena_alloc(&arena, 8193));
    assert_non_null(arena_alloc(&arena, 8192));
    assert_null(arena_alloc(&arena, 1));
    arena_deinit(&arena);
    arena_init(&arena, 8192);
    assert_non_null(arena_alloc(&arena, 100));
    assert_null(arena_alloc(&arena, 8000));
    assert_non_null(arena_alloc(&arena, 3000));
    arena_deinit(&arena);
}

static void test_reset_frees_the_kept_block_when_it_is_too_small(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 100000);
    assert_non_null(arena_alloc(&arena, 60000));
    arena_reset(&arena);
    assert_int_equal(arena.reserved_bytes, 60000);
    assert_non_null(arena_alloc(&arena, 90000)); /* does not fit beside the kept 60000 */
    assert_int_equal(arena.reserved_bytes, 90000);
    arena_deinit(&arena);
}

static void test_reset_keeps_the_largest_block(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 20000);
    assert_non_null(arena_alloc(&arena, 16000));
    assert_non_null(arena_alloc(&arena, 4000)); /* the cap makes the last block the smaller one */
    assert_int_equal(arena.reserved_bytes, 20000);
    arena_reset(&arena);
    assert_int_equal(arena.reserved_bytes, 16000);
    arena_deinit(&arena);
}

static void test_warm_step_allocates_nothing(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    void *head = NULL;
    size_t reserved = 0;
    for (int step = 0; step < 6; step++) {
        for (int i = 0; i < 100; i++) assert_non_null(arena_alloc(&arena, 500));
        if (step >= 3) { /* by then one block holds a whole step */
            assert_ptr_equal(arena.head, head);
            assert_int_equal(arena.reserved_bytes, reserved);
        }
        head = arena.head;
        reserved = arena.reserved_bytes;
        arena_reset(&arena);
    }
    arena_deinit(&arena);
}

static void test_array_overflow_is_refused(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    assert_null(arena_alloc_array(&arena, SIZE_MAX / 2, 3));
    assert_null(arena_alloc_array(&arena, SIZE_MAX / 16 + 2, 16)); /* wraps to 16 */
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_alloc(&arena, SIZE_MAX - 15));
    assert_null(arena_copy(&arena, "x", SIZE_MAX));
    assert_non_null(arena_alloc_array(&arena, 10, 10));
    arena_deinit(&arena);
}

static void test_copy_ends_with_nul(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 4096);
    char *copy = arena_copy(&arena, "ab\0cd#", 5);
    assert_memory_equal(copy, "ab\0cd\0", 6);
    assert_string_equal(arena_copy(&arena, NULL, 0), "");
    arena_deinit(&arena);
}

static void test_printf_fits_exactly_or_fails(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 4096);
    assert_string_equal(arena_printf(&arena, "%d-%s", 42, "x"), "42-x");
    assert_null(arena_printf(&arena, "%5000d", 1));
    assert_string_equal(arena_printf(&arena, "%s", "still usable"), "still usable");
    arena_deinit(&arena);
}

static void test_deinit_can_be_used_again(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 4096);
    assert_non_null(arena_alloc(&arena, 4000));
    arena_deinit(&arena);
    assert_int_equal(arena.reserved_bytes, 0);
    assert_non_null(arena_alloc(&arena, 4000));
    arena_deinit(&arena);
}

#ifdef is_poisoned
static void test_what_is_not_handed_out_is_poisoned(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 4096);
    char *data = arena_alloc(&arena, 20);
    assert_false(is_poisoned(data + 19));
    assert_true(is_poisoned(data + 20));
    assert_true(is_poisoned(data + 100));
    arena_reset(&arena);
    assert_true(is_poisoned(data));
    arena_deinit(&arena);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init_allocates_nothing),
        cmocka_unit_test(test_memory_is_aligned_zeroed_and_apart),
        cmocka_unit_test(test_memory_is_zeroed_again_after_reset),
        cmocka_unit_test(test_zero_bytes_give_distinct_pointers),
        cmocka_unit_test(test_cap_is_never_passed),
        cmocka_unit_test(test_small_allocation_succeeds_after_a_refused_one),
        cmocka_unit_test(test_reset_frees_the_kept_block_when_it_is_too_small),
        cmocka_unit_test(test_reset_keeps_the_largest_block),
        cmocka_unit_test(test_warm_step_allocates_nothing),
        cmocka_unit_test(test_array_overflow_is_refused),
        cmocka_unit_test(test_copy_ends_with_nul),
        cmocka_unit_test(test_printf_fits_exactly_or_fails),
        cmocka_unit_test(test_deinit_can_be_used_again),
#ifdef is_poisoned
        cmocka_unit_test(test_what_is_not_handed_out_is_poisoned),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
