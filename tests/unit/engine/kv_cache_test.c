/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"
#include "engine/kv_cache/kv_cache.h"
#include "engine/kv_cache/prefix_index.h"
#include "tests/unit/engine/check.h"

#include <openssl/evp.h>

static bool hash_fails;
int __real_EVP_DigestFinal_ex(EVP_MD_CTX *context, unsigned char *out, unsigned int *length);
int __wrap_EVP_DigestFinal_ex(EVP_MD_CTX *context, unsigned char *out, unsigned int *length);
int __wrap_EVP_DigestFinal_ex(EVP_MD_CTX *context, unsigned char *out, unsigned int *length) {
    return hash_fails ? 0 : __real_EVP_DigestFinal_ex(context, out, length);
}

static struct kv_cache *open_cache(int64_t blocks) {
    struct kv_cache_options options = {
        .layers = 3, .kv_heads = 2, .head_dim = 16, .type = KV_F16, .block_count = blocks};
    struct kv_cache *cache = NULL;
    check_ok(kv_cache_create(&options, &cache, &check_error));
    return cache;
}

static struct kv_prefix root_of(const struct kv_cache *cache, const char *salt, uint64_t adapter) {
    return kv_prefix_root(cache, &(struct kv_owner){.salt = salt, .salt_bytes = strlen(salt), .adapter = adapter});
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

static void test_block_is_free_after_its_last_reference(void **state) {
    (void)state;
    struct kv_cache *cache = open_cache(2);
    int32_t block = kv_cache_take(cache);
    kv_cache_ref(cache, block);
    kv_cache_unref(cache, block);
    assert_int_equal(kv_cache_used(cache), 1);
    kv_cache_unref(cache, block);
    assert_int_equal(kv_cache_used(cache), 0);
    check_ok(kv_cache_check(cache, &check_error));
    kv_cache_destroy(cache);
}

static void test_take_from_an_empty_pool_is_none(void **state) {
    (void)state;
    struct kv_cache *cache = open_cache(2);
    assert_true(kv_cache_take(cache) >= 0 && kv_cache_take(cache) >= 0);
    assert_int_equal(kv_cache_take(cache), -1);
    assert_int_equal(kv_cache_free(cache), 0);
    check_ok(kv_cache_check(cache, &check_error));
    kv_cache_destroy(cache);
}

/* ---- what blocks hold ---------------------------------------------------------------------------------------------- */

static const int32_t *tokens_of(uint64_t seed) {
    static int32_t tokens[4][256];
    for (int i = 0; i < 256; i++) tokens[seed % 4][i] = (int32_t)(random_philox(seed, (uint64_t)i, 0) % 1000);
    return tokens[seed % 4];
}

/** Blocks that hold tokens[0..count) after `root`, as a sequence would have them. */
static struct kv_prefix fill(struct kv_cache *cache, struct kv_prefix root, const int32_t *tokens, int64_t count,
                             int32_t *blocks) {
    for (int64_t i = 0; i * KV_BLOCK_TOKENS < count; i++) {
        int64_t left = count - i * KV_BLOCK_TOKENS;
        blocks[i] = kv_cache_take(cache);
        root = kv_cache_record(cache, blocks[i], root, tokens + i * KV_BLOCK_TOKENS,
                               left < KV_BLOCK_TOKENS ? left : KV_BLOCK_TOKENS);
    }
    return root;
}

static void drop(struct kv_cache *cache, const int32_t *blocks, int64_t count) {
    while (count > 0) kv_cache_unref(cache, blocks[--count]);
}

static void test_match_finds_full_blocks_and_the_start_of_the_next(void **state) {
    (void)state;
    struct kv_cache *cache = open_cache(16);
    struct kv_prefix root = root_of(cache, "a", 0);
    int32_t blocks[8], found[8];
    fill(cache, root, tokens_of(1), 100, blocks);
    struct kv_match match;
    kv_cache_match(cache, root, tokens_of(1), 99, found, &match);
    assert_int_equal(match.tokens, 99);
    assert_int_equal(match.block_count, 3);
    assert_memory_equal(found, blocks, 3 * sizeof *blocks);
    assert_int_equal(match.partial_block, blocks[3]);
    assert_int_equal(match.partial_tokens, 3);
    assert_int_equal(kv_cache_references(cache, blocks[0]), 2);
    assert_int_equal(kv_cache_references(cache, blocks[3]), 2);
    assert_int_equal(kv_cache_peek(cache, root, tokens_of(1), 40).tokens, 40);
    assert_int_equal(kv_cache_references(cache, blocks[0]), 2);
    kv_cache_destroy(cache);
}

static void test_match_ends_where_the_tokens_differ(void **state) {
    (void)state;
    struct kv_cache *cache = open_cache(16);
    struct kv_prefix root = root_of(cache, "a", 0);
    int32_t blocks[8], other[100];
    fill(cache, root, tokens_of(1), 100, blocks);
    for (int differs = 0; differs < 100; differs++) {
        memcpy(other, tokens_of(1), sizeof other);
        other[differs] = 5000;
        assert_int_equal(kv_cache_peek(cache, root, other, 100).tokens, differs);
    }
    kv_cache_destroy(cache);
}

static void test_other_salt_or_adapter_finds_nothing(void **state) {
    (void)state;
    struct kv_cache *cache = open_cache(16);
    int32_t blocks[8];
    fill(cache, root_of(cache, "a", 0), tokens_of(1), 100, blocks);
    assert_int_equal(kv_cache_peek(cache, root_of(cache, "b", 0), tokens_of(1), 100).tokens, 0);
    assert_int_equal(kv_cache_peek(cache, root_of(cache, "", 0), tokens_of(1), 100).tokens, 0);
    assert_int_equal(kv_cache_peek(cache, root_of(cache, "a", 1), tokens_of(1), 100).tokens, 0); /* another adapter */
    assert_int_equal(kv_cache_peek(cache, root_of(cache, "a", 0), tokens_of(1), 100).tokens, 100);
    kv_cache_destroy(cache);
}

/** The same tokens behind something else are something else. */
static void test_position_is_part_of_the_name(void **state) {
    (void)state;
    struct kv_cache *cache = open_cache(16);
    struct kv_prefix root = root_of(cache, "a", 0);
    int32_t blocks[8];
    fill(cache, root, tokens_of(1), 64, blocks);
    assert_int_equal(kv_cache_peek(cache, root, tokens_of(1) + KV_BLOCK_TOKENS, 32).tokens, 0);
    kv_cache_destroy(cache);
}

static void test_free_block_is_found_until_it_is_taken(void **state) {
    (void)state;
    struct kv_cache *cache = open_cache(4);
    struct kv_prefix root = root_of(cache, "a", 0);
    int32_t blocks[4], found[4];
    fill(cache, root, tokens_of(1), 96, blocks);
    drop(cache, blocks, 3);
    assert_int_equal(kv_cache_used(cache), 0);
    struct kv_match match;
    kv_cache_match(cache, root, tokens_of(1), 64, found, &match);
    assert_int_equal(match.block_count, 2);
    assert_int_equal(kv_cache_used(cache), 2);
    check_ok(kv_cache_check(cache, &check_error));
    drop(cache, found, 2);
    /* The one that never held anything goes first, then the end of the prefix, its beginning last. */
    assert_int_equal(kv_cache_peek(cache, root, tokens_of(1), 96).tokens, 96);
    static const int64_t left[] = {96, 64, 32, 0};
    for (int i = 0; i < 4; i++) {
        assert_true(kv_cache_take(cache) >= 0);
        assert_int_equal(kv_cache_peek(cache, root, tokens_of(1), 96).tokens, left[i]);
    }
    kv_cache_destroy(cache);
}

static void test_record_grows_with_its_block(void **state) {
    (void)state;
    struct kv_cache *cache = open_cache(4);
    struct kv_prefix root = root_of(cache, "a", 0), behind = root;
    int32_t block = kv_cache_take(cache);
    for (int64_t count = 1; count <= KV_BLOCK_TOKENS; count++) {
        behind = kv_cache_record(cache, block, root, tokens_of(1), count);
        assert_int_equal(kv_cache_peek(cache, root, tokens_of(1), 64).tokens, count);
        assert_int_equal(memcmp(&behind, &root, sizeof root) == 0, count < KV_BLOCK_TOKENS);
    }
    kv_cache_destroy(cache);
}

static void test_forget_spares_what_is_used(void **state) {
    (void)state;
    struct kv_cache *cache = open_cache(8);
    struct kv_prefix root = root_of(cache, "a", 0);
    int32_t used[4], unused[4];
    fill(cache, root, tokens_of(1), 64, used);
    fill(cache, root, tokens_of(2), 64, unused);
    drop(cache, unused, 2);
    kv_cache_forget(cache);
    assert_int_equal(kv_cache_peek(cache, root, tokens_of(1), 64).tokens, 64);
    assert_int_equal(kv_cache_peek(cache, root, tokens_of(2), 64).tokens, 0);
    check_ok(kv_cache_check(cache, &check_error));
    kv_cache_destroy(cache);
}

static void test_repair_follows_the_owners(void **state) {
    (void)state;
    struct kv_cache *cache = open_cache(8);
    int32_t kept = kv_cache_take(cache), lost = kv_cache_take(cache), references[8] = {0};
    kv_cache_ref(cache, kept);
    references[kept] = 1;
    kv_cache_repair(cache, references);
    assert_int_equal(kv_cache_references(cache, kept), 1);
    assert_int_equal(kv_cache_references(cache, lost), 0);
    assert_int_equal(kv_cache_used(cache), 1);
    check_ok(kv_cache_check(cache, &check_error));
    kv_cache_destroy(cache);
}

/** Random prompts of a small alphabet, taken, matched, grown and dropped, against what each block is known to hold. */
static void test_matches_agree_with_a_model(void **state) {
    (void)state;
    enum { BLOCKS = 24, HELD = 6, STEPS = 6000, LENGTH = 128 };
    struct kv_cache *cache = open_cache(BLOCKS);
    struct {
        int32_t tokens[LENGTH], blocks[4];
        int64_t count;
    } held[HELD] = {0};
    int32_t holds[BLOCKS][KV_BLOCK_TOKENS] = {0};
    struct kv_prefix root = root_of(cache, "x", 0);
    for (uint64_t i = 0; i < STEPS; i++) {
        int at = (int)(random_philox(3, i, 0) % HELD);
        if (held[at].count > 0) {
            drop(cache, held[at].blocks, kv_cache_blocks_for(held[at].count));
            held[at].count = 0;
            continue;
        }
        int64_t length = 1 + (int64_t)(random_philox(3, i, 1) % LENGTH);
        uint64_t kind = random_philox(3, i, 2) % 3; /* prompts of a kind begin alike */
        for (int64_t t = 0; t < length; t++)
            held[at].tokens[t] = (int32_t)(kind + (t > 50 ? random_philox(3, i, 3) % 3 : 0));
        if (kv_cache_free(cache) < 5) continue;
        struct kv_match match;
        kv_cache_match(cache, root, held[at].tokens, length, held[at].blocks, &match);
        for (int64_t b = 0; b < match.block_count; b++)
            assert_memory_equal(holds[held[at].blocks[b]], held[at].tokens + b * KV_BLOCK_TOKENS, sizeof holds[0]);
        if (match.partial_block >= 0) {
            assert_memory_equal(holds[match.partial_block], held[at].tokens + match.block_count * KV_BLOCK_TOKENS,
                                (size_t)match.partial_tokens * sizeof(int32_t));
            kv_cache_unref(cache, match.partial_block);
        }
        struct kv_prefix prefix = match.prefix;
        for (int64_t b = match.block_count; b * KV_BLOCK_TOKENS < length; b++) {
            int64_t left = length - b * KV_BLOCK_TOKENS, count = left < KV_BLOCK_TOKENS ? left : KV_BLOCK_TOKENS;
            int32_t block = held[at].blocks[b] = kv_cache_take(cache);
            memcpy(holds[block], held[at].tokens + b * KV_BLOCK_TOKENS, (size_t)count * sizeof(int32_t));
            prefix = kv_cache_record(cache, block, prefix, holds[block], count);
        }
        held[at].count = length;
        check_ok(kv_cache_check(cache, &check_error));
    }
    kv_cache_destroy(cache);
}

/** Random takes, shares and drops against a simple model of who holds what. */
static void test_books_agree_with_a_model(void **state) {
    (void)state;
    enum { BLOCKS = 37, STEPS = 20000 };
    struct kv_cache *cache = open_cache(BLOCKS);
    int32_t held[BLOCKS * 4];
    int count = 0, references[BLOCKS] = {0};
    for (uint64_t i = 0; i < STEPS; i++) {
        uint64_t draw = random_philox(11, i, 0);
        int distinct = 0;
        for (int b = 0; b < BLOCKS; b++) distinct += references[b] > 0;
        assert_int_equal(kv_cache_used(cache), distinct);
        if (draw % 3 == 0 && count < BLOCKS * 4) {
            int32_t block = kv_cache_take(cache);
            assert_int_equal(block < 0, distinct == BLOCKS);
            if (block >= 0) {
                assert_int_equal(references[block]++, 0);
                held[count++] = block;
            }
        } else if (draw % 3 == 1 && count > 0 && count < BLOCKS * 4) {
            held[count] = held[draw / 8 % (uint64_t)count];
            kv_cache_ref(cache, held[count]);
            references[held[count++]]++;
        } else if (count > 0) {
            int at = (int)(draw / 8 % (uint64_t)count);
            kv_cache_unref(cache, held[at]);
            references[held[at]]--;
            held[at] = held[--count];
        }
        if (i % 64 == 0) check_ok(kv_cache_check(cache, &check_error));
    }
    for (int b = 0; b < BLOCKS; b++) assert_int_equal(kv_cache_references(cache, b), references[b]);
    kv_cache_destroy(cache);
}

/** When libcrypto fails, two tenants must not get one name. */
static void test_failed_hash_shares_nothing(void **state) {
    (void)state;
    struct kv_cache *cache = open_cache(8);
    hash_fails = true;
    struct kv_prefix a = root_of(cache, "a", 0), b = root_of(cache, "b", 0);
    hash_fails = false;
    assert_memory_not_equal(&a, &b, sizeof a);
    kv_cache_destroy(cache);
}

/** Links that name the wrong neighbour, chains that miss a block: the check says so. */
static void test_broken_index_is_found(void **state) {
    (void)state;
    struct prefix_index index;
    check_ok(prefix_index_init(&index, 4, &check_error));
    struct kv_prefix root = prefix_index_root(&index, &(struct kv_owner){.salt = "a", .salt_bytes = 1});
    for (int32_t i = 0; i < 3; i++) prefix_index_set(&index, i, root, tokens_of((uint64_t)i), i == 2 ? 32 : 10);
    check_ok(prefix_index_check(&index, &check_error));
    int32_t *next = &index.entries[2].by_prefix.next, kept = *next;
    *next = -1;
    check_fails(prefix_index_check(&index, &check_error), STATUS_INTERNAL, "chains");
    *next = kept;
    index.entries[1].by_prefix.previous = 3;
    check_fails(prefix_index_check(&index, &check_error), STATUS_INTERNAL, "chains");
    prefix_index_forget(&index);
    check_ok(prefix_index_check(&index, &check_error));
    prefix_index_deinit(&index);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failed_hash_shares_nothing),
        cmocka_unit_test(test_broken_index_is_found),
        cmocka_unit_test(test_block_bytes_cover_keys_and_values_of_all_layers),
        cmocka_unit_test(test_blocks_for_rounds_up),
        cmocka_unit_test(test_no_blocks_is_invalid_argument),
        cmocka_unit_test(test_impossible_pool_is_resource_exhausted),
        cmocka_unit_test(test_parts_lie_side_by_side),
        cmocka_unit_test(test_copied_block_equals_its_source_in_every_layer),
        cmocka_unit_test(test_block_is_free_after_its_last_reference),
        cmocka_unit_test(test_take_from_an_empty_pool_is_none),
        cmocka_unit_test(test_match_finds_full_blocks_and_the_start_of_the_next),
        cmocka_unit_test(test_match_ends_where_the_tokens_differ),
        cmocka_unit_test(test_other_salt_or_adapter_finds_nothing),
        cmocka_unit_test(test_position_is_part_of_the_name),
        cmocka_unit_test(test_free_block_is_found_until_it_is_taken),
        cmocka_unit_test(test_record_grows_with_its_block),
        cmocka_unit_test(test_forget_spares_what_is_used),
        cmocka_unit_test(test_repair_follows_the_owners),
        cmocka_unit_test(test_matches_agree_with_a_model),
        cmocka_unit_test(test_books_agree_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
