/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/bpe.h"

#include "base/random.h"
#include "tests/unit/engine/check.h"

enum { SEED = 20261123, ALPHABET = 4, MERGES = 40, RESULT_FIRST = 256, TEXT_MAX = 700 };

/** Random merges over the letters a..d and what earlier merges made. */
struct rules {
    struct bpe bpe;
    struct bpe_merge list[MERGES];
    int count;
};

static enum status encode(const struct bpe *bpe, struct bytes_view piece, struct token_list *list) {
    struct bpe_scratch scratch = {0};
    enum status status = bpe_encode(bpe, piece, &scratch, list);
    bpe_scratch_deinit(&scratch);
    return status;
}

static uint32_t draw(uint64_t position, uint32_t lane, uint32_t below) {
    return (uint32_t)(random_philox(SEED, position, lane) % below);
}

static void rules_init(struct rules *rules, uint64_t position) {
    check_ok(bpe_init(&rules->bpe, RESULT_FIRST + MERGES, MERGES, 0));
    rules->bpe.longest_token_bytes = 1 << 20;
    for (int i = 0; i < ALPHABET; i++) rules->bpe.byte_ids['a' + i] = 'a' + i;
    rules->count = MERGES;
    for (int i = 0; i < MERGES; i++) {
        int32_t sides[2];
        for (uint32_t side = 0; side < 2; side++) {
            uint32_t which = draw(position, (uint32_t)i * 2 + side, ALPHABET + (uint32_t)i);
            sides[side] = which < ALPHABET ? (int32_t)('a' + which) : (int32_t)(RESULT_FIRST + which - ALPHABET);
        }
        rules->list[i] = (struct bpe_merge){sides[0], sides[1], i, RESULT_FIRST + i};
        bpe_add_merge(&rules->bpe, sides[0], sides[1], i, RESULT_FIRST + i);
    }
}

/** The definition: again and again the pair of lowest rank, leftmost among equals. */
static size_t merge_naively(const struct rules *rules, int32_t *ids, size_t count) {
    for (;;) {
        size_t best = count;
        const struct bpe_merge *best_merge = NULL;
        for (size_t i = 0; i + 1 < count; i++) {
            for (int m = 0; m < rules->count; m++) { /* the first of two merges of one pair stands */
                const struct bpe_merge *merge = &rules->list[m];
                if (merge->left != ids[i] || merge->right != ids[i + 1]) continue;
                if (best_merge == NULL || merge->rank < best_merge->rank) best = i, best_merge = merge;
                break;
            }
        }
        if (best_merge == NULL) return count;
        ids[best] = best_merge->result;
        memmove(ids + best + 1, ids + best + 2, (count - best - 2) * sizeof *ids);
        count--;
    }
}

static void test_merging_equals_the_definition(void **state) {
    (void)state;
    for (uint64_t round = 0; round < 200; round++) {
        struct rules rules;
        rules_init(&rules, 2 * round);
        uint8_t text[TEXT_MAX];
        int32_t want[TEXT_MAX];
        size_t length = round % 10 == 0 ? TEXT_MAX : draw(2 * round + 1, 0, 60); /* on the stack and above */
        for (size_t i = 0; i < length; i++)
            want[i] = text[i] = (uint8_t)('a' + draw(2 * round + 1, 1 + (uint32_t)i, ALPHABET));
        size_t want_count = merge_naively(&rules, want, length);
        struct token_list list = {.max_count = TEXT_MAX};
        check_ok(encode(&rules.bpe, bytes_view_of(text, length), &list));
        if (list.count != want_count || (want_count > 0 && memcmp(list.ids, want, want_count * sizeof *want) != 0))
            fail_msg("seed %d, round %d", SEED, (int)round);
        token_list_deinit(&list);
        bpe_deinit(&rules.bpe);
    }
}

static struct bpe doubling; /* a a -> 256, 256 256 -> 257, ... */
static int set_up_doubling(void **state) {
    (void)state;
    check_ok(bpe_init(&doubling, 266, 10, 0));
    doubling.byte_ids['a'] = 'a';
    doubling.byte_ids['b'] = 'b';
    doubling.longest_token_bytes = 1024;
    for (int i = 0; i < 10; i++) bpe_add_merge(&doubling, i == 0 ? 'a' : 255 + i, i == 0 ? 'a' : 255 + i, i, 256 + i);
    return 0;
}
static int tear_down_doubling(void **state) {
    (void)state;
    bpe_deinit(&doubling);
    return 0;
}

static void test_a_megabyte_of_one_letter_is_merged_in_time(void **state) {
    (void)state;
    enum { LENGTH = 1 << 20 };
    uint8_t *text = malloc(LENGTH);
    memset(text, 'a', LENGTH);
    struct token_list list = {.max_count = LENGTH};
    check_ok(encode(&doubling, bytes_view_of(text, LENGTH), &list)); /* quadratic would take hours */
    assert_int_equal(list.count, LENGTH / 1024);
    for (size_t i = 0; i < list.count; i++) assert_int_equal(list.ids[i], 265);
    token_list_deinit(&list);
    free(text);
}

static void test_equal_ranks_merge_leftmost_first(void **state) {
    (void)state;
    struct token_list list = {.max_count = 8};
    check_ok(encode(&doubling, bytes_view_string("aaa"), &list));
    assert_int_equal(list.count, 2);
    assert_int_equal(list.ids[0], 256);
    assert_int_equal(list.ids[1], 'a');
    token_list_deinit(&list);
}

static void test_byte_without_token_vanishes_and_parts_its_neighbours(void **state) {
    (void)state;
    struct token_list list = {.max_count = 8};
    check_ok(encode(&doubling, bytes_view_string("xaxax"), &list));
    assert_int_equal(list.count, 2);
    assert_int_equal(list.ids[0], 'a');
    assert_int_equal(list.ids[1], 'a');
    list.count = 0;
    check_ok(encode(&doubling, bytes_view_string("x"), &list));
    check_ok(encode(&doubling, bytes_view_string(""), &list));
    assert_int_equal(list.count, 0);
    token_list_deinit(&list);
}

static void test_first_of_two_merges_of_a_pair_stands(void **state) {
    (void)state;
    struct bpe bpe;
    struct token_list list = {.max_count = 8};
    check_ok(bpe_init(&bpe, 302, 2, 0));
    bpe.byte_ids['a'] = 'a';
    bpe.longest_token_bytes = 2;
    bpe_add_merge(&bpe, 'a', 'a', 0, 300);
    bpe_add_merge(&bpe, 'a', 'a', 1, 301);
    check_ok(encode(&bpe, bytes_view_string("aa"), &list));
    assert_int_equal(list.ids[0], 300);
    token_list_deinit(&list);
    bpe_deinit(&bpe);
}

static void test_list_fills_to_its_maximum_and_not_beyond(void **state) {
    (void)state;
    struct token_list list = {.max_count = 3};
    check_ok(encode(&doubling, bytes_view_string("bbb"), &list));
    assert_int_equal(list.count, 3);
    assert_int_equal(encode(&doubling, bytes_view_string("b"), &list), STATUS_OUT_OF_RANGE);
    assert_int_equal(list.count, 3);
    token_list_deinit(&list);
}

static void test_piece_far_too_long_for_the_list_is_refused_unread(void **state) {
    (void)state;
    /* The view is a lie: reading any of it would crash. */
    struct token_list list = {.max_count = 1000};
    assert_int_equal(encode(&doubling, bytes_view_of((void *)16, 1001 * 1024), &list), STATUS_OUT_OF_RANGE);
    assert_int_equal(encode(&doubling, bytes_view_of((void *)16, SIZE_MAX / 2), &list), STATUS_OUT_OF_RANGE);
    token_list_deinit(&list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merging_equals_the_definition),
        cmocka_unit_test(test_a_megabyte_of_one_letter_is_merged_in_time),
        cmocka_unit_test(test_equal_ranks_merge_leftmost_first),
        cmocka_unit_test(test_byte_without_token_vanishes_and_parts_its_neighbours),
        cmocka_unit_test(test_first_of_two_merges_of_a_pair_stands),
        cmocka_unit_test(test_list_fills_to_its_maximum_and_not_beyond),
        cmocka_unit_test(test_piece_far_too_long_for_the_list_is_refused_unread),
    };
    return cmocka_run_group_tests(tests, set_up_doubling, tear_down_doubling);
}
