/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The JSON Schema test suite's texts (tests/golden/formats): nothing that is invalid is taken, and what is valid and refused is known here. */
#include "engine/grammar/formats.h"

#include "tests/unit/engine/check.h"

#include <jansson.h>

static struct grammar_budget budget = {.fuel = 50000000, .bytes = 256 << 20};
static struct regex_pool *pool;

/** Valid texts that are refused, why, and how many of them there are. */
static const struct {
    const char *format, *why;
    int count;
} tighter[] = {
    {"hostname", "A-labels", 15},
    {"idn-email", "a domain that is no U-label: not in NFC", 1},
    {"idn-hostname", "an A-label, and four times a label of 52 letters", 5},
    {"regex", "a back-reference", 1},
    {"time", "leap seconds at offsets of half hours", 3},
};

static int refused_count(const char *name) {
    for (size_t i = 0; i < sizeof tighter / sizeof tighter[0]; i++)
        if (strcmp(tighter[i].format, name) == 0) return tighter[i].count;
    return 0;
}

/** How many of the texts are in the language. */
static int matches_of(regex language, const json_t *texts, const char *name, bool expected) {
    int matches = 0;
    size_t i;
    json_t *text;
    json_array_foreach(texts, i, text) {
        bool match = regex_matches(pool, language, bytes_view_of(json_string_value(text), json_string_length(text)));
        matches += match;
        if (match != expected)
            print_message("%s %s '%s'\n", name, match ? "takes" : "refuses", json_string_value(text));
    }
    return matches;
}

static void test_suite(void **state) {
    const char *name;
    json_t *texts;
    size_t count = 0;
    json_object_foreach(*state, name, texts) {
        bool known, encoding = strcmp(name, "base64") == 0;
        regex language;
        check_ok((encoding ? content_encoding_regex : format_regex)(pool, bytes_view_string(name), &language, &known,
                                                                    &check_error));
        assert_true(known);
        const json_t *valid = json_object_get(texts, "valid"), *invalid = json_object_get(texts, "invalid");
        assert_int_equal(matches_of(language, invalid, name, false), 0);
        assert_int_equal(matches_of(language, valid, name, true), (int)json_array_size(valid) - refused_count(name));
        count += json_array_size(valid) + json_array_size(invalid);
    }
    assert_true(count > 500);
}

int main(void) {
    json_t *goldens = json_load_file("tests/golden/formats/texts.json", JSON_ALLOW_NUL, NULL);
    assert_non_null(goldens);
    check_ok(regex_pool_create(&budget, &pool, &check_error));
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(test_suite, goldens)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    regex_pool_destroy(pool);
    json_decref(goldens);
    return failed;
}
