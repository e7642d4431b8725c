/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What small vocabularies in files do not show: how sums are counted, and who wins among equal ones. */
#include "engine/tokenizer/unigram.h"

#include "tests/unit/engine/check.h"

enum { PIECES = 4, UNKNOWN = 9 };

struct piece {
    const char *text;
    double score;
    bool user_defined;
};

static const char *encode(enum unigram_flavor flavor, const struct piece pieces[PIECES], const char *text) {
    static char joined[128];
    double scores[PIECES];
    bool user_scored[PIECES];
    struct unigram unigram = {
        .flavor = flavor, .scores = scores, .user_scored = user_scored, .least = -20, .unknown = UNKNOWN};
    struct token_list ids = {.max_count = 100};
    size_t used = 0;
    check_ok(trie_init(&unigram.pieces, 100));
    for (int i = 0; i < PIECES; i++) {
        scores[i] = pieces[i].score;
        user_scored[i] = pieces[i].user_defined;
        if (pieces[i].text != NULL) trie_add(&unigram.pieces, bytes_view_string(pieces[i].text), i);
    }
    check_ok(unigram_encode(&unigram, bytes_view_string(text), &ids));
    for (size_t i = 0; i < ids.count; i++)
        used += (size_t)snprintf(joined + used, sizeof joined - used, "%d ", ids.ids[i]);
    token_list_deinit(&ids);
    trie_deinit(&unigram.pieces);
    return joined;
}

static void test_greatest_sum_wins(void **state) {
    (void)state;
    static const struct piece pieces[PIECES] = {{"a", -1, false}, {"b", -1, false}, {"ab", -1.5, false}};
    assert_string_equal(encode(UNIGRAM_SENTENCEPIECE, pieces, "abba"), "2 1 0 ");
    assert_string_equal(encode(UNIGRAM_HUGGING_FACE, pieces, "acb"), "0 9 1 ");
}

/** An f32 of 150,000 has no thousandths. */
static void test_sums_of_a_long_text_keep_small_differences(void **state) {
    (void)state;
    static const struct piece pieces[PIECES] = {
        {"a", -0.001, false}, {"b", -0.001, false}, {"ab", -0.005, false}, {"x", -150000, false}};
    assert_string_equal(encode(UNIGRAM_SENTENCEPIECE, pieces, "xab"), "3 0 1 ");
    assert_string_equal(encode(UNIGRAM_SENTENCEPIECE, pieces, "xxxab"), "3 3 3 0 1 ");
    assert_string_equal(encode(UNIGRAM_HUGGING_FACE, pieces, "xab"), "3 0 1 ");
}

static void test_long_user_defined_pieces_win_and_the_first_of_equals(void **state) {
    (void)state;
    static const struct piece pieces[PIECES] = {
        {"/", 0, true}, {"//", 0, true}, {"///", 0, true}, {"a//", -0.5, false}};
    assert_string_equal(encode(UNIGRAM_SENTENCEPIECE, pieces, "///"), "2 ");
    assert_string_equal(encode(UNIGRAM_SENTENCEPIECE, pieces, "////"), "0 2 ");
    assert_string_equal(encode(UNIGRAM_SENTENCEPIECE, pieces, "a//"), "3 ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greatest_sum_wins),
        cmocka_unit_test(test_sums_of_a_long_text_keep_small_differences),
        cmocka_unit_test(test_long_user_defined_pieces_win_and_the_first_of_equals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
