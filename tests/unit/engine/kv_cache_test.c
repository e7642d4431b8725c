/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"
#include "engine/kv_cache/kv_cache.h"
#include "tests/unit/engine/check.h"

static struct kv_cache *open_cache(int64_t blocks) {
    struct kv_cache_options options = {
        .layers = 3, .kv_heads = 2, .head_dim = 16, .type = KV_F16, .block_count = blocks};
    struct kv_cache *cache = NULL;
    check_ok(kv_cache_create(&options, &cache, &check_error));
    return cache;
}

static void test_block_bytes_cover_keys_and_values_of_all_layers(void **state) {
    (void)state;
    struct kv_cache_options options = {.layers = 3, .kv_heads = 2, .head_dim = 16, .type = KV_F16};
    assert_int_equal(kv_cache_block_bytes(&options), 3 * 2 * 2 * 16 * KV_BLOCK_TOKENS * 2);
    options.type = KV_F32;
    assert_int_equal(kv_cache_block_bytes(&options), 3 * 2 * 2 * 16 * KV_BLOCK_TOKENS * 4);
}

static void test_blocks_for_rounds_up(void **state) {
    (void)state;
    assert_int_equal(kv_cache_blocks_for(0), 0);
    assert_int_equal(kv_cache_blocks_for(1), 1);
    assert_int_equal(kv_cache_blocks_for(KV_BLOCK_TOKENS), 1);
    assert_int_equal(kv_cache_blocks_for(KV_BLOCK_TOKENS + 1), 2);
}

static void test_no_blocks_is_invalid_argument(void **state) {
    (void)state;
    struct kv_cache_options options = {.layers = 1, .kv_heads = 1, .head_dim = 16, .block_count = 0};
    struct kv_cache *cache = NULL;
    assert_int_equal(kv_cache_create(&options, &cache, &check_error), STATUS_INVALID_ARGUMENT);
    assert_null(cache);
    check_error = (struct error){0};
}

static void test_impossible_pool_is_resource_exhausted(void **state) {
    (void)state;
    struct kv_cache_options options = {
        .layers = 1024, .kv_heads = 1024, .head_dim = 256, .type = KV_F32, .block_count = INT32_MAX};
    struct kv_cache *cache = NULL;
    enum status status = kv_cache_create(&options, &cache, &check_error);
    assert_true(status == STATUS_RESOURCE_EXHAUSTED ||
                status == STATUS_INVALID_ARGUMENT); /* by the machine, or past 64 bits */
    assert_null(cache);
    check_error = (struct error){0};
}

/** [block][layer]: every layer's part of every block is memory of its own, and a block's parts are one piece. */
static void test_parts_lie_side_by_side(void **state) {
    (void)state;
    enum { BLOCKS = 5, PART = 2 * 2 * 16 * KV_BLOCK_TOKENS * 2 };
    struct kv_cache *cache = open_cache(BLOCKS);
    char *expected = kv_cache_layer(cache, 0).base;
    for (int block = 0; block < BLOCKS; block++) {
        for (int i = 0; i < 3; i++, expected += PART) {
            struct kv_layer layer = kv_cache_layer(cache, i);
            assert_int_equal(kv_layer_bytes(&layer), PART);
            assert_ptr_equal((char *)layer.base + (size_t)block * layer.block_stride, expected);
            memset(expected, 3 * block + i, PART);
        }
    }
    kv_cache_destroy(cache);
}

static void test_copied_block_equals_its_source_in_every_layer(void **state) {
    (void)state;
    struct kv_cache *cache = open_cache(4);
    for (int block = 0; block < 4; block++) {
        for (int i = 0; i < 3; i++) {
            struct kv_layer layer = kv_cache_layer(cache, i);
            memset((char *)layer.base + (size_t)block * layer.block_stride, 16 * block + i, kv_layer_bytes(&layer));
        }
    }
    kv_cache_copy_block(cache, 2, 1);
    for (int block = 0; block < 4; block++) {
        for (int i = 0; i < 3; i++) {
            struct kv_layer layer = kv_cache_layer(cache, i);
            const char *part = (char *)layer.base + (size_t)block * layer.block_stride;
            int expected = 16 * (block == 1 ? 2 : block) + i;
            for (size_t at = 0; at < kv_layer_bytes(&layer); at++) assert_int_equal(part[at], expected);
        }
    }
    kv_cache_destroy(cache);
}

static void test_reserve_beyond_the_pool_changes_nothing(void **state) {
    (void)state;
    struct kv_cache *cache = open_cache(4);
    assert_true(kv_cache_reserve(cache, 3));
    assert_false(kv_cache_reserve(cache, 2));
    assert_int_equal(kv_cache_available(cache), 1);
    assert_true(kv_cache_reserve(cache, 1));
    assert_int_equal(kv_cache_available(cache), 0);
    kv_cache_unreserve(cache, 4);
    assert_int_equal(kv_cache_available(cache), 4);
    kv_cache_destroy(cache);
}

static void test_block_is_free_after_its_last_reference(void **state) {
    (void)state;
    struct kv_cache *cache = open_cache(2);
    assert_true(kv_cache_reserve(cache, 1));
    int32_t block = kv_cache_take_reserved(cache);
    kv_cache_ref(cache, block);
    kv_cache_unref(cache, block);
    assert_int_equal(kv_cache_used(cache), 1);
    kv_cache_unref(cache, block);
    assert_int_equal(kv_cache_used(cache), 0);
    check_ok(kv_cache_check(cache, &check_error));
    kv_cache_destroy(cache);
}

/** The one used last is used next, so that an idle pool's pages stay untouched. */
static void test_freed_block_is_taken_first(void **state) {
    (void)state;
    struct kv_cache *cache = open_cache(8);
    assert_true(kv_cache_reserve(cache, 3));
    int32_t first = kv_cache_take_reserved(cache), second = kv_cache_take_reserved(cache);
    assert_int_not_equal(first, second);
    kv_cache_unref(cache, first);
    assert_int_equal(kv_cache_take_reserved(cache), first);
    kv_cache_destroy(cache);
}

static void test_reserved_and_used_are_counted_apart(void **state) {
    (void)state;
    struct kv_cache *cache = open_cache(4);
    assert_true(kv_cache_reserve(cache, 2));
    (void)kv_cache_take_reserved(cache);
    assert_int_equal(kv_cache_used(cache), 1);
    assert_int_equal(kv_cache_reserved(cache), 1);
    assert_int_equal(kv_cache_available(cache), 2);
    check_ok(kv_cache_check(cache, &check_error));
    kv_cache_destroy(cache);
}

/** Random takes, shares and drops against a simple model of who holds what. */
static void test_books_agree_with_a_model(void **state) {
    (void)state;
    enum { BLOCKS = 37, STEPS = 20000 };
    struct kv_cache *cache = open_cache(BLOCKS);
    int32_t held[BLOCKS * 4];
    int count = 0, reserved = 0, references[BLOCKS] = {0};
    for (uint64_t i = 0; i < STEPS; i++) {
        uint64_t draw = random_philox(11, i, 0);
        int distinct = 0;
        for (int b = 0; b < BLOCKS; b++) distinct += references[b] > 0;
        switch (draw % 4) {
        case 0:
            if (kv_cache_reserve(cache, 1))
                reserved++;
            else
                assert_int_equal(distinct + reserved, BLOCKS);
            break;
        case 1:
            if (reserved > 0 && count < BLOCKS * 4) {
                held[count] = kv_cache_take_reserved(cache);
                assert_int_equal(references[held[count]]++, 0);
                count++, reserved--;
            }
            break;
        case 2:
            if (count > 0 && count < BLOCKS * 4) {
                held[count] = held[draw / 8 % (uint64_t)count];
                kv_cache_ref(cache, held[count]);
                references[held[count++]]++;
            }
            break;
        default:
            if (count > 0) {
                int at = (int)(draw / 8 % (uint64_t)count);
                kv_cache_unref(cache, held[at]);
                references[held[at]]--;
                held[at] = held[--count];
            }
        }
        if (i % 64 == 0) check_ok(kv_cache_check(cache, &check_error));
    }
    for (int b = 0; b < BLOCKS; b++) assert_int_equal(kv_cache_references(cache, b), references[b]);
    kv_cache_destroy(cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_block_bytes_cover_keys_and_values_of_all_layers),
        cmocka_unit_test(test_blocks_for_rounds_up),
        cmocka_unit_test(test_no_blocks_is_invalid_argument),
        cmocka_unit_test(test_impossible_pool_is_resource_exhausted),
        cmocka_unit_test(test_parts_lie_side_by_side),
        cmocka_unit_test(test_copied_block_equals_its_source_in_every_layer),
        cmocka_unit_test(test_reserve_beyond_the_pool_changes_nothing),
        cmocka_unit_test(test_block_is_free_after_its_last_reference),
        cmocka_unit_test(test_freed_block_is_taken_first),
        cmocka_unit_test(test_reserved_and_used_are_counted_apart),
        cmocka_unit_test(test_books_agree_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
