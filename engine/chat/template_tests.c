/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The tests of the chat template language: what stands behind "is". */
#include "engine/chat/template_internal.h"

#include <string.h>

/* Sorted, so that a test is told apart by its place. */
enum test {
    TEST_BOOLEAN,
    TEST_CALLABLE,
    TEST_DEFINED,
    TEST_DIVISIBLEBY,
    TEST_EQ,
    TEST_EQUALTO,
    TEST_EVEN,
    TEST_FALSE,
    TEST_FLOAT,
    TEST_GE,
    TEST_GT,
    TEST_IN,
    TEST_INTEGER,
    TEST_ITERABLE,
    TEST_LE,
    TEST_LOWER,
    TEST_LT,
    TEST_MAPPING,
    TEST_NE,
    TEST_NONE,
    TEST_NUMBER,
    TEST_ODD,
    TEST_SEQUENCE,
    TEST_STRING,
    TEST_TRUE,
    TEST_UNDEFINED,
    TEST_UPPER,
    TESTS,
};
static const char *const names[TESTS] = {
    "boolean", "callable", "defined", "divisibleby", "eq",       "equalto", "even",  "false",     "float",
    "ge",      "gt",       "in",      "integer",     "iterable", "le",      "lower", "lt",        "mapping",
    "ne",      "none",     "number",  "odd",         "sequence", "string",  "true",  "undefined", "upper"};

static int find(const char *name) {
    static const struct {
        const char *name;
        enum test test;
    } others[] = {{"==", TEST_EQ}, {"!=", TEST_NE}, {"<", TEST_LT},        {"<=", TEST_LE},
                  {">", TEST_GT},  {">=", TEST_GE}, {"lessthan", TEST_LT}, {"greaterthan", TEST_GT}};
    for (int i = 0; i < TESTS; i++) {
        if (strcmp(names[i], name) == 0) return i;
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strcmp(others[i].name, name) == 0) return (int)others[i].test;
    }
    return -1;
}

bool template_test_exists(const char *name) {
    return find(name) >= 0;
}

static enum status test_kind(struct template_run *run, enum test test, const struct template_value *input, bool *out) {
    enum template_kind kind = input->kind;
    bool whole = kind == TEMPLATE_INTEGER || kind == TEMPLATE_BIG;
    bool container =
        kind == TEMPLATE_STRING || kind == TEMPLATE_LIST || kind == TEMPLATE_DICT || kind == TEMPLATE_UNDEFINED;
    switch (test) {
    case TEST_BOOLEAN:
        *out = kind == TEMPLATE_BOOLEAN;
        return STATUS_OK;
    case TEST_CALLABLE:
        *out = kind == TEMPLATE_MACRO || kind == TEMPLATE_METHOD || kind == TEMPLATE_FUNCTION ||
               kind == TEMPLATE_UNDEFINED;
        return STATUS_OK;
    case TEST_DEFINED:
        *out = kind != TEMPLATE_UNDEFINED;
        return STATUS_OK;
    case TEST_UNDEFINED:
        *out = kind == TEMPLATE_UNDEFINED;
        return STATUS_OK;
    case TEST_TRUE:
        *out = kind == TEMPLATE_BOOLEAN && input->boolean;
        return STATUS_OK;
    case TEST_FALSE:
        *out = kind == TEMPLATE_BOOLEAN && !input->boolean;
        return STATUS_OK;
    case TEST_FLOAT:
        *out = kind == TEMPLATE_REAL;
        return STATUS_OK;
    case TEST_INTEGER:
        *out = whole;
        return STATUS_OK;
    case TEST_NUMBER:
        *out = whole || kind == TEMPLATE_REAL || kind == TEMPLATE_BOOLEAN;
        return STATUS_OK;
    case TEST_NONE:
        *out = kind == TEMPLATE_NONE;
        return STATUS_OK;
    case TEST_STRING:
        *out = kind == TEMPLATE_STRING;
        return STATUS_OK;
    case TEST_MAPPING:
        *out = kind == TEMPLATE_DICT;
        return STATUS_OK;
    case TEST_ITERABLE:
        *out = container || kind == TEMPLATE_LOOP;
        return STATUS_OK;
    case TEST_SEQUENCE:
        *out = container;
        return STATUS_OK;
    default:
        return template_fail(run, "test '%s' needs an argument", names[test]);
    }
}

/** lower, upper: has letters, and all are of that case. ASCII's, as everywhere here. */
static enum status test_case(struct template_run *run, bool upper, const struct template_value *input, bool *out) {
    struct template_string text;
    bool letters = false;
    TRY(template_str(run, input, &text));
    *out = true;
    for (size_t i = 0; i < text.length; i++) {
        bool low = text.data[i] >= 'a' && text.data[i] <= 'z', high = text.data[i] >= 'A' && text.data[i] <= 'Z';
        letters = letters || low || high;
        if (upper ? low : high) *out = false;
    }
    *out = *out && letters;
    return STATUS_OK;
}

static enum status test_integer(struct template_run *run, enum test test, const struct template_value *input,
                                const struct template_value *by, bool *out) {
    int64_t divisor = 2;
    if (test == TEST_DIVISIBLEBY) {
        if (by == NULL || by->kind != TEMPLATE_INTEGER || by->integer == 0)
            return template_fail(run, "divisibleby needs an integer other than 0");
        divisor = by->integer;
    }
    if (input->kind != TEMPLATE_INTEGER && input->kind != TEMPLATE_BOOLEAN)
        return template_fail(run, "test '%s' needs an integer, not %s", names[test], template_kind_name(input));
    int64_t value = input->kind == TEMPLATE_BOOLEAN ? input->boolean : input->integer;
    bool divisible = divisor == -1 || value % divisor == 0;
    *out = test == TEST_ODD ? !divisible : divisible;
    return STATUS_OK;
}

static enum status test_order(struct template_run *run, enum test test, const struct template_value *input,
                              const struct template_value *other, bool *out) {
    int order = 0;
    TRY(template_compare(run, input, other, &order));
    *out = test == TEST_LT ? order < 0 : test == TEST_LE ? order <= 0 : test == TEST_GT ? order > 0 : order >= 0;
    return STATUS_OK;
}

enum status template_test(struct template_run *run, const char *name, const struct template_value *input,
                          const struct template_arguments *arguments, bool *out) {
    int test = find(name);
    const struct template_value *other = template_argument(arguments, 0, NULL);
    TRY(template_spend(run, 1));
    if (test == TEST_EVEN || test == TEST_ODD || test == TEST_DIVISIBLEBY)
        return test_integer(run, (enum test)test, input, other, out);
    if (test == TEST_LOWER || test == TEST_UPPER) return test_case(run, test == TEST_UPPER, input, out);
    if (other == NULL) return test_kind(run, (enum test)test, input, out);
    switch (test) {
    case TEST_EQ:
    case TEST_EQUALTO:
        return template_equal(run, input, other, out);
    case TEST_NE:
        TRY(template_equal(run, input, other, out));
        *out = !*out;
        return STATUS_OK;
    case TEST_IN:
        return template_contains(run, other, input, out);
    case TEST_LT:
    case TEST_LE:
    case TEST_GT:
    case TEST_GE:
        return test_order(run, (enum test)test, input, other, out);
    default:
        return template_fail(run, "test '%s' takes no argument", name);
    }
}
