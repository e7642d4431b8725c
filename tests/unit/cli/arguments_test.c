/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/arguments.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static struct {
    const char *text, *shared;
    bool flag;
    struct argument_integer integer, duration;
    struct argument_number number;
    struct argument_list list;
} values;

static const struct argument own[] = {{ARGUMENT_TEXT, "text", "T", "a text", &values.text},
                                      {ARGUMENT_FLAG, "flag", NULL, "a flag", &values.flag},
                                      {ARGUMENT_INTEGER, "integer", "N", "a whole number", &values.integer},
                                      {ARGUMENT_NUMBER, "number", "X", "a number", &values.number},
                                      {ARGUMENT_DURATION, "duration", "D", "a time", &values.duration},
                                      {ARGUMENT_LIST, "item", "I", "several", &values.list},
                                      {ARGUMENT_END, NULL, NULL, NULL, NULL}};
static const struct argument common[] = {{ARGUMENT_TEXT, "shared", "S", "of all commands", &values.shared},
                                         {ARGUMENT_END, NULL, NULL, NULL, NULL}};
static const struct command_usage usage = {"test", "WORD", "A test.", 1, 2};

static const char *positionals[2];
static int count;

static int parse(const char *const *words) {
    memset(&values, 0, sizeof values);
    count = -1;
    int length = 0;
    while (words[length] != NULL) length++;
    return arguments_parse(&usage, own, common, length, (char **)words, positionals, &count);
}
#define PARSE(...) parse((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static void test_values_come_from_both_tables_in_both_forms(void **state) {
    (void)state;
    assert_int_equal(PARSE("one", "--text", "a b", "--shared=x=y", "--flag", "--integer=-5", "--number", "0.25",
                           "--duration", "30d", "two"),
                     GO_ON);
    assert_string_equal(values.text, "a b");
    assert_string_equal(values.shared, "x=y");
    assert_true(values.flag);
    assert_true(values.integer.given);
    assert_int_equal(values.integer.value, -5);
    assert_true(values.number.given);
    assert_true(values.number.value == 0.25);
    assert_int_equal(values.duration.value, INT64_C(30) * 86400 * 1000000000);
    assert_int_equal(count, 2);
    assert_string_equal(positionals[0], "one");
    assert_string_equal(positionals[1], "two");
}

static void test_what_is_not_given_is_known_as_such(void **state) {
    (void)state;
    assert_int_equal(PARSE("one"), GO_ON);
    assert_null(values.text);
    assert_false(values.flag || values.integer.given || values.number.given || values.duration.given);
    assert_int_equal(values.list.count, 0);
}

static void test_lists_keep_their_order(void **state) {
    (void)state;
    assert_int_equal(PARSE("--item", "a", "one", "--item=b"), GO_ON);
    assert_int_equal(values.list.count, 2);
    assert_string_equal(values.list.items[0], "a");
    assert_string_equal(values.list.items[1], "b");
}

static void test_two_dashes_end_the_options(void **state) {
    (void)state;
    assert_int_equal(PARSE("--", "--text", "-"), GO_ON);
    assert_int_equal(count, 2);
    assert_string_equal(positionals[0], "--text");
    assert_int_equal(PARSE("-"), GO_ON); /* a lone dash is a word */
}

static void test_wrong_words_are_usage_errors(void **state) {
    (void)state;
    assert_int_equal(PARSE("one", "two", "three"), EXIT_USAGE);
    assert_int_equal(PARSE(), EXIT_USAGE);
    assert_int_equal(PARSE("one", "--unknown"), EXIT_USAGE);
    assert_int_equal(PARSE("one", "--tex", "x"), EXIT_USAGE);
    assert_int_equal(PARSE("one", "-x"), EXIT_USAGE);
    assert_int_equal(PARSE("one", "--text"), EXIT_USAGE);
    assert_int_equal(PARSE("one", "--flag=yes"), EXIT_USAGE);
    assert_int_equal(PARSE("one", "--integer", "1.5"), EXIT_USAGE);
    assert_int_equal(PARSE("one", "--integer", ""), EXIT_USAGE);
    assert_int_equal(PARSE("one", "--integer", "9223372036854775808"), EXIT_USAGE);
    assert_int_equal(PARSE("one", "--number", "nan"), EXIT_USAGE);
    assert_int_equal(PARSE("one", "--duration", "soon"), EXIT_USAGE);
}

static void test_too_many_of_a_list_is_refused(void **state) {
    (void)state;
    const char *words[2 * ARGUMENT_LIST_MAX + 4] = {"one"};
    for (int i = 0; i <= ARGUMENT_LIST_MAX; i++) {
        words[1 + 2 * i] = "--item";
        words[2 + 2 * i] = "x";
    }
    assert_int_equal(parse(words), EXIT_USAGE);
}

static void test_help_is_no_error(void **state) {
    (void)state;
    assert_int_equal(PARSE("--help"), EXIT_OK);
    assert_int_equal(PARSE("one", "-h"), EXIT_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_come_from_both_tables_in_both_forms),
        cmocka_unit_test(test_what_is_not_given_is_known_as_such),
        cmocka_unit_test(test_lists_keep_their_order),
        cmocka_unit_test(test_two_dashes_end_the_options),
        cmocka_unit_test(test_wrong_words_are_usage_errors),
        cmocka_unit_test(test_too_many_of_a_list_is_refused),
        cmocka_unit_test(test_help_is_no_error),
    };
    return cmocka_run_group_tests_name("cli/arguments", tests, NULL, NULL);
}
