/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/split.h"

#include "tests/unit/engine/check.h"

/** The pieces of `text`, joined with '|'. */
static const char *pieces(const char *text) {
    static char joined[512];
    struct bytes_view rest = bytes_view_string(text);
    size_t at = 0;
    while (rest.length > 0) {
        size_t length = split_next(SPLIT_SMOLLM, rest);
        assert_in_range(length, 1, rest.length);
        if (at > 0) joined[at++] = '|';
        memcpy(joined + at, rest.data, length);
        at += length;
        rest = bytes_view_of(rest.data + length, rest.length - length);
    }
    joined[at] = 0;
    return joined;
}

static void test_words_take_one_blank_along(void **state) {
    (void)state;
    assert_string_equal(pieces("Hello world"), "Hello| world");
    assert_string_equal(pieces("a  b"), "a| | b");
    assert_string_equal(pieces(" !? x"), " !?| x");
    assert_string_equal(pieces("a\tb"), "a|\t|b");
    assert_string_equal(pieces("a\xC2\xA0"
                               "b"),
                        "a|\xC2\xA0|b"); /* only U+0020 leads */
}

static void test_every_number_character_stands_alone(void **state) {
    (void)state;
    assert_string_equal(pieces("12 3"), "1|2| |3");
    assert_string_equal(pieces("a1b"), "a|1|b");
    assert_string_equal(pieces("x\xC2\xB2"), "x|\xC2\xB2");                               /* superscript two: No */
    assert_string_equal(pieces("\xE2\x85\xA7\xE2\x85\xA7"), "\xE2\x85\xA7|\xE2\x85\xA7"); /* roman eight: Nl */
    assert_string_equal(pieces("\xD9\xA1\xD9\xA2"), "\xD9\xA1|\xD9\xA2");                 /* Arabic-Indic digits: Nd */
}

static void test_white_space_leaves_its_last_character_to_what_follows(void **state) {
    (void)state;
    assert_string_equal(pieces("a   b"), "a|  | b");
    assert_string_equal(pieces("a\n\n\nb"), "a|\n\n|\n|b");
    assert_string_equal(pieces("a \n b"), "a| \n| b");
    assert_string_equal(pieces("a  "), "a|  ");
    assert_string_equal(pieces("   "), "   ");
}

static void test_white_space_before_a_number_stays_whole(void **state) {
    (void)state;
    assert_string_equal(pieces("a   5"), "a|   |5");
    assert_string_equal(pieces(" 5"), " |5");
}

static void test_contractions_are_lower_case_and_first(void **state) {
    (void)state;
    assert_string_equal(pieces("don't we'll I'm they've you're he'd it's"),
                        "don|'t| we|'ll| I|'m| they|'ve| you|'re| he|'d| it|'s");
    assert_string_equal(pieces("DON'T"), "DON|'|T");
    assert_string_equal(pieces("'sun"), "'s|un");
    assert_string_equal(pieces("''s"), "''|s");
    assert_string_equal(pieces("'"), "'");
    assert_string_equal(pieces("'r"), "'|r");
    assert_string_equal(pieces("'l"), "'|l");
    assert_string_equal(pieces(" 's"), " '|s");
}

static void test_marks_and_controls_are_symbols(void **state) {
    (void)state;
    assert_string_equal(pieces("e\xCC\x81x"), "e|\xCC\x81|x");        /* combining acute */
    assert_string_equal(pieces("a\xE2\x80\x8B!"), "a|\xE2\x80\x8B!"); /* zero width space is no white space */
    assert_string_equal(pieces("a\xEF\xBB\xBF"), "a|\xEF\xBB\xBF");   /* byte order mark */
    assert_string_equal(pieces("a\xE1\xA0\x8E"), "a|\xE1\xA0\x8E");   /* U+180E */
    assert_string_equal(pieces("\x1c\x1f"), "\x1c\x1f"); /* separators that ASCII isspace does not know either */
}

static void test_unicode_white_space_is_white_space(void **state) {
    (void)state;
    static const char *const spaces[] = {"\t",           "\n",           "\v",           "\f",
                                         "\r",           "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80",
                                         "\xE2\x80\x80", "\xE2\x80\x8A", "\xE2\x80\xA8", "\xE2\x80\xA9",
                                         "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};
    for (size_t i = 0; i < sizeof spaces / sizeof spaces[0]; i++) {
        char text[32], want[32];
        snprintf(text, sizeof text, "a%s%sb", spaces[i], spaces[i]);
        snprintf(want, sizeof want, "a|%s|%s|b", spaces[i], spaces[i]);
        assert_string_equal(pieces(text), want);
    }
}

static void test_letters_of_all_scripts_are_letters(void **state) {
    (void)state;
    assert_string_equal(pieces("gr\xC3\xBC\xC3\x9F \xE6\xBC\xA2\xE5\xAD\x97 \xD8\xB9\xD8\xB1\xD8\xA8!"),
                        "gr\xC3\xBC\xC3\x9F| \xE6\xBC\xA2\xE5\xAD\x97| \xD8\xB9\xD8\xB1\xD8\xA8|!");
}

static void test_bytes_that_are_no_utf8_are_symbols(void **state) {
    (void)state;
    assert_string_equal(pieces("a\xFF\xFE!b"), "a|\xFF\xFE!|b");
    assert_string_equal(pieces("a\xE2\x80"), "a|\xE2\x80"); /* cut at the end */
    assert_string_equal(pieces("\xC3\x28"), "\xC3\x28");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_take_one_blank_along),
        cmocka_unit_test(test_every_number_character_stands_alone),
        cmocka_unit_test(test_white_space_leaves_its_last_character_to_what_follows),
        cmocka_unit_test(test_white_space_before_a_number_stays_whole),
        cmocka_unit_test(test_contractions_are_lower_case_and_first),
        cmocka_unit_test(test_marks_and_controls_are_symbols),
        cmocka_unit_test(test_unicode_white_space_is_white_space),
        cmocka_unit_test(test_letters_of_all_scripts_are_letters),
        cmocka_unit_test(test_bytes_that_are_no_utf8_are_symbols),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
