/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/split.h"

#include "engine/tokenizer/unicode.h"
#include "tests/unit/engine/check.h"

/** The pieces of `text`, joined with '|'; those that are dropped in brackets. */
static const char *pieces_of(const struct split_step *step, const char *text) {
    static char joined[512];
    struct bytes_view whole = bytes_view_string(text);
    size_t at = 0;
    for (size_t from = 0, length; from < whole.length; from += length) {
        bool dropped;
        check_ok(split_next(step, whole, from, &length, &dropped));
        assert_in_range(length, 1, whole.length - from);
        if (at > 0) joined[at++] = '|';
        at += (size_t)snprintf(joined + at, sizeof joined - at, dropped ? "[%.*s]" : "%.*s", (int)length,
                               (const char *)whole.data + from);
    }
    joined[at] = 0;
    return joined;
}

static const char *pieces(const char *text) {
    return pieces_of(&(struct split_step){.rule = SPLIT_SMOLLM}, text);
}

static const char *pieces_by(enum split_rule rule, const char *text) {
    return pieces_of(&(struct split_step){.rule = rule, .unicode_contractions = true}, text);
}

static const char *pieces_by_regex(const char *pattern, enum split_behavior behavior, bool invert, const char *text) {
    struct split_step step = {.rule = SPLIT_REGEX, .behavior = behavior, .invert = invert};
    check_ok(split_regex_compile(bytes_view_string(pattern), &step.regex, &check_error));
    const char *joined = pieces_of(&step, text);
    split_step_deinit(&step);
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

static void test_llama3_and_qwen2_differ_in_digits(void **state) {
    (void)state;
    assert_string_equal(pieces_by(SPLIT_LLAMA3, "x 12345"), "x| |123|45");
    assert_string_equal(pieces_by(SPLIT_QWEN2, "x 123"), "x| |1|2|3");
    assert_string_equal(pieces_by(SPLIT_GPT2, "x 12345"), "x| 12345");
}

static void test_any_symbol_may_lead_a_word_of_llama3(void **state) {
    (void)state;
    assert_string_equal(pieces_by(SPLIT_LLAMA3, "a.b(c\td-\ne"), "a|.b|(c|\td|-\n|e");
    assert_string_equal(pieces_by(SPLIT_LLAMA3, "WE'RE it'\xC5\xBFx"), "WE|'RE| it|'\xC5\xBF|x");
    assert_string_equal(pieces_by(SPLIT_LLAMA3, "a!?\r\n\n  b"), "a|!?\r\n\n| | b");
    assert_string_equal(pieces_by(SPLIT_LLAMA3, "a \n \n  b"), "a| \n \n| | b");
}

static void test_tekken_cuts_at_capitals_and_keeps_slashes(void **state) {
    (void)state;
    assert_string_equal(pieces_by(SPLIT_TEKKEN, "helloWorld HTTPServer ABC"), "hello|World| HTTPServer| ABC");
    assert_string_equal(pieces_by(SPLIT_TEKKEN, "a://b 12"), "a|://|b| |1|2");
    assert_string_equal(pieces_by(SPLIT_TEKKEN, "\xCE\xA9\xCF\x89\xCE\xA9"), "\xCE\xA9\xCF\x89|\xCE\xA9");
}

static void test_known_patterns_need_no_regex(void **state) {
    (void)state;
    struct split_step step;
    check_ok(
        split_step_of_pattern(bytes_view_string("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
                                                "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"),
                              &step, &check_error));
    assert_int_equal(step.rule, SPLIT_QWEN2);
    split_step_deinit(&step);
}

static void test_other_patterns_cut_as_they_are_told(void **state) {
    (void)state;
    assert_string_equal(pieces_by_regex("[.,]", SPLIT_ISOLATED, false, "a,.b"), "a|,|.|b");
    assert_string_equal(pieces_by_regex("[.,]", SPLIT_REMOVED, false, "a,.b"), "a|[,]|[.]|b");
    assert_string_equal(pieces_by_regex("[.,]", SPLIT_MERGED_WITH_PREVIOUS, false, "a,.b"), "a,|.|b");
    assert_string_equal(pieces_by_regex("[.,]", SPLIT_MERGED_WITH_NEXT, false, "a,.b"), "a|,|.b");
    assert_string_equal(pieces_by_regex("[.,]", SPLIT_CONTIGUOUS, false, "a,.b"), "a|,.|b");
    assert_string_equal(pieces_by_regex("\\w+", SPLIT_REMOVED, true, "ab, cd"), "ab|[, ]|cd");
    assert_string_equal(pieces_by_regex("(?<=a)b", SPLIT_ISOLATED, false, "abab"),
                        "a|b|a|b");                                                      /* looks back over pieces */
    assert_string_equal(pieces_by_regex("x*", SPLIT_ISOLATED, false, "axxb"), "a|xx|b"); /* never an empty piece */
    assert_string_equal(pieces_by_regex("\\p{Lu}", SPLIT_ISOLATED, false, "a\xFF\xC3\x84"), "a\xFF|\xC3\x84");
}

static void test_pattern_that_does_not_compile_is_refused(void **state) {
    (void)state;
    struct split_regex *regex = NULL;
    check_fails(split_regex_compile(bytes_view_string("(a"), &regex, &check_error), STATUS_INVALID_ARGUMENT,
                "does not compile");
    assert_null(regex);
}

static void test_pattern_that_never_ends_is_stopped(void **state) {
    (void)state;
    char text[200];
    struct split_step step = {.rule = SPLIT_REGEX};
    size_t length;
    bool dropped;
    memset(text, 'a', sizeof text);
    check_ok(split_regex_compile(bytes_view_string("((a+)+)+(?:x\\1|y\\2)"), &step.regex, &check_error));
    assert_int_equal(split_next(&step, bytes_view_of(text, sizeof text), 0, &length, &dropped),
                     STATUS_RESOURCE_EXHAUSTED);
    split_step_deinit(&step);
}

int main(void) {
    unicode_prepare();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama3_and_qwen2_differ_in_digits),
        cmocka_unit_test(test_any_symbol_may_lead_a_word_of_llama3),
        cmocka_unit_test(test_tekken_cuts_at_capitals_and_keeps_slashes),
        cmocka_unit_test(test_known_patterns_need_no_regex),
        cmocka_unit_test(test_other_patterns_cut_as_they_are_told),
        cmocka_unit_test(test_pattern_that_does_not_compile_is_refused),
        cmocka_unit_test(test_pattern_that_never_ends_is_stopped),
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
