/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The JSON reader by itself: grammar, kinds, source texts, limits; and the writer of strings. */
#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct arena arena;

static enum status read_text(const char *text, struct json_value **out, struct json_problem *problem) {
    arena_reset(&arena);
    /* An exact copy on the heap, so that ASan sees a read past the end. */
    size_t length = strlen(text);
    static uint8_t *exact;
    free(exact);
    exact = malloc(length + (length == 0));
    if (length > 0) memcpy(exact, text, length);
    return json_read(bytes_view_of(exact, length), 8, 1000, &arena, out, problem);
}

static void expect_text(struct bytes_view view, const char *expected) {
    if (!bytes_view_equal_string(view, expected))
        fail_msg("'%.*s' instead of '%s'", (int)view.length, (const char *)view.data, expected);
}

static void test_well_formed(void **state) {
    (void)state;
    static const char *const texts[] = {"0",
                                        "-0",
                                        "-12.5e+3",
                                        "1E9",
                                        "0.0",
                                        "true",
                                        "false",
                                        "null",
                                        "\"\"",
                                        "[]",
                                        "{}",
                                        " [ 1 , { \"a\" : [ ] } ]\r\n\t",
                                        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uD83D\\uDE00\"",
                                        "\"\x7F\xC2\x80\xED\x9F\xBF\xEF\xBF\xBD\xF4\x8F\xBF\xBF\"",
                                        "[[[[[[[[1]]]]]]]]"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct json_value *value = NULL;
        struct json_problem problem;
        enum json_kind kind;
        if (read_text(texts[i], &value, &problem) != STATUS_OK)
            fail_msg("%s: %s at %zu", texts[i], problem.reason, problem.offset);
        assert_true(json_is_valid(bytes_view_string(texts[i]), 8, &kind));
        assert_int_equal(kind, value->kind);
    }
}

static void test_malformed(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t offset;
        const char *reason;
    } cases[] = {
        {"", 0, "expecting a value"},
        {"tru", 0, "expecting a value"},
        {"+1", 0, "expecting a value"},
        {"01", 1, "something behind the value"},
        {"-", 1, "expecting a digit"},
        {"1.", 2, "expecting a digit"},
        {".5", 0, "expecting a value"},
        {"1e", 2, "expecting a digit"},
        {"1e+", 3, "expecting a digit"},
        {"-Infinity", 1, "expecting a digit"},
        {"[1,]", 3, "expecting a value"},
        {"[1 2]", 3, "expecting ',' or ']'"},
        {"[", 1, "expecting a value"},
        {"{\"a\":1,}", 7, "expecting a name in double quotes"},
        {"{\"a\" 1}", 5, "expecting ':'"},
        {"{\"a\":1", 6, "expecting ',' or '}'"},
        {"{'a':1}", 1, "expecting a name in double quotes"},
        {"\"", 1, "unterminated string"},
        {"\"\\", 2, "unterminated string"},
        {"\"\\\"", 3, "unterminated string"},
        {"\"\\x\"", 2, "unknown escape in a string"},
        {"\"\\u12g4\"", 3, "expecting four hexadecimal digits"},
        {"\"\\u12\"", 3, "expecting four hexadecimal digits"},
        {"\"\n\"", 1, "control character in a string"},
        {"\"\\ud800\\u0041\"", 13, "lone surrogate in a string"},
        {"\"\\udc00\"", 7, "lone surrogate in a string"},
        {"\"\xC0\x80\"", 1, "invalid UTF-8 in a string"},
        {"\"\xED\xA0\x80\"", 1, "invalid UTF-8 in a string"},
        {"[[[[[[[[[1]]]]]]]]]", 9, "nested too deeply"},
        {"\xEF\xBB\xBF{}", 0, "expecting a value"},
        {"// x\n1", 0, "expecting a value"},
        {"{\"a\":{\"b\":1,\"b\":2}}", 16, "duplicate name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json_value *value = NULL;
        struct json_problem problem = {0};
        enum json_kind kind;
        assert_int_equal(read_text(cases[i].text, &value, &problem), STATUS_INVALID_ARGUMENT);
        if (strcmp(problem.reason, cases[i].reason) != 0 || problem.offset != cases[i].offset)
            fail_msg("%s: %s at %zu", cases[i].text, problem.reason, problem.offset);
        if (problem.duplicate == NULL) assert_false(json_is_valid(bytes_view_string(cases[i].text), 8, &kind));
    }
}

static void test_values_keep_their_source_text(void **state) {
    (void)state;
    struct json_value *root = NULL;
    struct json_problem problem;
    assert_int_equal(read_text(" {\"n\": 1.50e0, \"l\":[1, {}] ,\"s\":\"a\\u00e9\"} ", &root, &problem), STATUS_OK);
    assert_int_equal(root->count, 3);
    const struct json_value *number = root->first, *list = number->next, *string = list->next;
    expect_text(number->name, "n");
    expect_text(number->text, "1.50e0");
    expect_text(list->text, "[1, {}]");
    assert_int_equal(list->count, 2);
    expect_text(string->string, "aé");
    expect_text(string->text, "\"a\\u00e9\"");
    assert_true(string->terminated && string->string.data[string->string.length] == 0);
    assert_null(string->next);
}

static void test_compact_text_keeps_what_is_in_strings(void **state) {
    (void)state;
    struct bytes out;
    bytes_init(&out, 1000);
    assert_true(json_append_compact(&out, bytes_view_string(" { \"a b\\\" \" : [ 1 ,\n\t2 ] } "), 1000));
    assert_string_equal((const char *)out.data, "{\"a b\\\" \":[1,2]}");
    bytes_reset(&out);
    assert_false(json_append_compact(&out, bytes_view_string("[1, 2]"), 4));
    assert_string_equal((const char *)out.data, "[1,2");
    bytes_deinit(&out);
}

static void expect_written(const char *text, size_t length, const char *expected) {
    struct bytes out;
    bytes_init(&out, 1000);
    assert_int_equal(json_append_string(&out, bytes_view_of(text, length)), STATUS_OK);
    assert_string_equal((const char *)out.data, expected);
    bytes_deinit(&out);
}

static void test_strings_are_escaped(void **state) {
    (void)state;
    expect_written("", 0, "\"\"");
    expect_written("a\"\\/\b\f\n\r\t\0\x1f\x7f", 12, "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\x7f\"");
    expect_written("eight..\"eight...\\", 17, "\"eight..\\\"eight...\\\\\""); /* at the edges of the word-wise search */
    expect_written("\xE2\x82\xAC\xF0\x9F\x98\x80", 7, "\"€😀\"");
    expect_written("a\x80z\xE2\x82", 5, "\"a\xEF\xBF\xBDz\xEF\xBF\xBD\"");
}

static void test_every_byte_is_read_back_as_written(void **state) {
    (void)state;
    for (int offset = 0; offset < 9; offset++) {
        for (int byte = 0; byte < 128; byte++) {
            char text[17];
            memset(text, 'x', sizeof text);
            text[offset] = (char)byte;
            struct bytes out;
            bytes_init(&out, 1000);
            assert_int_equal(json_append_string(&out, bytes_view_of(text, sizeof text)), STATUS_OK);
            struct json_value *value = NULL;
            struct json_problem problem;
            assert_int_equal(read_text((const char *)out.data, &value, &problem), STATUS_OK);
            assert_true(bytes_view_equal(value->string, bytes_view_of(text, sizeof text)));
            bytes_deinit(&out);
        }
    }
}

static int open_arena(void **state) {
    (void)state;
    arena_init(&arena, 1 << 20);
    return 0;
}
static int close_arena(void **state) {
    (void)state;
    arena_deinit(&arena);
    return 0;
}

static void test_members_and_numbers(void **state) {
    (void)state;
    struct json_value *root = NULL;
    struct json_problem problem;
    int64_t integer = 0;
    double real = 0;
    assert_int_equal(read_text("{\"a\":-7,\"b\":8.0,\"c\":1e6,\"d\":0.5,\"e\":\"x\",\"f\":9223372036854775807,\"g\":"
                               "1e300,\"h\":{\"a\":1}}",
                               &root, &problem),
                     STATUS_OK);
    assert_true(json_i64(json_member(root, "a"), &integer) && integer == -7);
    assert_true(json_i64(json_member(root, "b"), &integer) && integer == 8);
    assert_true(json_i64(json_member(root, "c"), &integer) && integer == 1000000);
    assert_true(json_i64(json_member(root, "f"), &integer) && integer == INT64_MAX);
    assert_false(json_i64(json_member(root, "d"), &integer) || json_i64(json_member(root, "e"), &integer) ||
                 json_i64(json_member(root, "g"), &integer) || json_i64(NULL, &integer));
    assert_true(json_double(json_member(root, "d"), &real) && real == 0.5);
    assert_false(json_double(json_member(root, "e"), &real) || json_double(NULL, &real));
    assert_true(json_is_string(json_member(root, "e"), "x"));
    assert_false(json_is_string(json_member(root, "a"), "-7") || json_is_string(NULL, ""));
    assert_true(json_i64(json_member(json_member(root, "h"), "a"), &integer) && integer == 1);
    assert_null(json_member(root, "z"));
    assert_null(json_member(json_member(root, "a"), "a"));
    assert_null(json_member(NULL, "a"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_well_formed),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_values_keep_their_source_text),
        cmocka_unit_test(test_compact_text_keeps_what_is_in_strings),
        cmocka_unit_test(test_strings_are_escaped),
        cmocka_unit_test(test_every_byte_is_read_back_as_written),
        cmocka_unit_test(test_members_and_numbers),
    };
    return cmocka_run_group_tests(tests, open_arena, close_arena);
}
