/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* json.dumps(json.loads(text), ensure_ascii=False) and repr(float), with what Python 3.11 answers. */
#include "engine/chat/python_json.h"

#include "tests/unit/engine/check.h"

static void expect(const char *text, const char *want) {
    struct arena arena;
    struct bytes out;
    arena_init(&arena, 16 << 20);
    bytes_init(&out, 1 << 20);
    check_ok(python_json_append_text(&out, bytes_view_string(text), true, &arena, &check_error));
    if (!bytes_view_equal_string(bytes_view(&out), want))
        fail_msg("%s gives %.*s where %s is due", text, (int)out.length, (const char *)out.data, want);
    bytes_deinit(&out);
    arena_deinit(&arena);
}

static void test_separators_order_and_duplicates(void **state) {
    (void)state;
    expect("{\"b\":1,\"a\":[1,2,{}],\n\"c\":[ ]}", "{\"b\": 1, \"a\": [1, 2, {}], \"c\": []}");
    expect("{\"a\":1,\"b\":2,\"a\":{\"x\":3,\"x\":4}}", "{\"a\": {\"x\": 4}, \"b\": 2}");
    expect("{\"a\":1,\"a\":2,\"a\":3}", "{\"a\": 3}");
    expect("{\"z\":0,\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":9,\"j\":1,\"k\":1,\"l\":1,"
           "\"a\":5,\"z\":6}",
           "{\"z\": 6, \"a\": 5, \"b\": 2, \"c\": 3, \"d\": 4, \"e\": 5, \"f\": 6, \"g\": 7, \"h\": 8, \"i\": 9, "
           "\"j\": 1, \"k\": 1, \"l\": 1}");
}

static void test_numbers(void **state) {
    (void)state;
    expect("[0,-0,12345678901234567890123, 1.0, 1e2, 1E-7, -0.0, 1e16, 1e15, 123456.0e-9, 0.0001, 0.00001]",
           "[0, 0, 12345678901234567890123, 1.0, 100.0, 1e-07, -0.0, 1e+16, 1000000000000000.0, 0.000123456, 0.0001, "
           "1e-05]");
    expect("[1e400, -1e400, NaN, Infinity, -Infinity]", "[Infinity, -Infinity, NaN, Infinity, -Infinity]");
    expect(
        "[5e-324, 1.7976931348623157e308, 0.1, 0.30000000000000004, 2.2250738585072014e-308, 1e22, 9007199254740993.0]",
        "[5e-324, 1.7976931348623157e+308, 0.1, 0.30000000000000004, 2.2250738585072014e-308, 1e+22, "
        "9007199254740992.0]");
    expect("[1.5e300, 123456789012345.678, 1e-323, 3.14]", "[1.5e+300, 123456789012345.67, 1e-323, 3.14]");
}

static void test_strings(void **state) {
    (void)state;
    expect("\"\\u00e9\\/\\u0001\\b\\f\\n\\r\\t\\\"\\\\\\u007f\\ud83c\\udf89\"",
           "\"\xC3\xA9/\\u0001\\b\\f\\n\\r\\t\\\"\\\\\x7F\xF0\x9F\x8E\x89\"");
    expect(" \"a\" ", "\"a\"");
}

static void test_what_is_not_json_becomes_a_string(void **state) {
    (void)state;
    expect("", "{}");
    expect("{'a': 1}", "\"{'a': 1}\"");
    expect("{\"a\": 1} x", "\"{\\\"a\\\": 1} x\"");
    expect("nan", "\"nan\"");
    expect("01", "\"01\"");
    expect("-I", "\"-I\"");
    expect("N", "\"N\"");
}

static void test_what_python_fails_on_is_refused(void **state) {
    (void)state;
    struct arena arena;
    struct json_value *value;
    char deep[1000], digits[4400];
    arena_init(&arena, 16 << 20);
    memset(deep, '[', sizeof deep);
    check_fails(python_json_read(bytes_view_of(deep, sizeof deep), &arena, &value, &check_error),
                STATUS_INVALID_ARGUMENT, "deep");
    memset(digits, '7', sizeof digits);
    check_fails(python_json_read(bytes_view_of(digits, sizeof digits), &arena, &value, &check_error),
                STATUS_INVALID_ARGUMENT, "digits");
    arena_deinit(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_separators_order_and_duplicates),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_what_is_not_json_becomes_a_string),
        cmocka_unit_test(test_what_python_fails_on_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
