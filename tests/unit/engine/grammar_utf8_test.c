/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Bytes that are no UTF-8 are in no text of any grammar, however free it is; all that are UTF-8 are. */
#include "base/json.h"
#include "engine/grammar/grammar.h"

#include "tests/unit/engine/check.h"

enum kind { SCHEMA, REGEX, GBNF, LARK };
static const struct place {
    enum kind kind;
    const char *grammar, *before, *behind;
    bool json; /* control characters may not come */
} places[] = {
    {SCHEMA, "true", "\"", "\"", true},
    {SCHEMA, "{\"type\":\"string\"}", "\"a", "b\"", true},
    {SCHEMA, "{\"minLength\":1,\"maxLength\":9,\"type\":\"string\"}", "\"a", "b\"", true},
    {SCHEMA, "{\"type\":\"string\",\"pattern\":\"^a[^]*b$\"}", "\"a", "b\"", true},
    {SCHEMA, "{\"type\":\"string\",\"pattern\":\"^[^x]+$\"}", "\"", "\"", true},
    {SCHEMA, "{\"type\":\"string\",\"not\":{\"enum\":[\"abc\"]}}", "\"", "\"", true},
    {SCHEMA, "{\"type\":\"object\"}", "{\"", "\": 1}", true},
    {SCHEMA, "{\"type\":\"object\",\"properties\":{\"a\":{}},\"additionalProperties\":{\"type\":\"null\"}}", "{\"a",
     "\": null}", true},
    {SCHEMA, "{\"type\":\"object\",\"patternProperties\":{\"^a\":{\"type\":\"null\"}}}", "{\"a", "\": null}", true},
    {SCHEMA, "{\"type\":\"object\",\"propertyNames\":{\"minLength\":2}}", "{\"ab", "\": 1}", true},
    {SCHEMA, "{\"type\":\"array\",\"uniqueItems\":true}", "[\"", "\"]", true},
    {REGEX, "[^]*", "", "", false},
    {REGEX, "a[^x]*b", "a", "b", false},
    {REGEX, "(?:\\w|\\W)+", "a", "", false},
    {GBNF, "root ::= [^x]*", "", "", false},
    {GBNF, "root ::= \"a\" . \"b\"", "a", "b", false},
    {GBNF, "root ::= \"(\" root \")\" | [^()]+", "((", "))", false},
    {LARK, "start: \"a\" /[^x]+/ \"b\"", "a", "b", false},
};

static const char *const good[] = {
    "\x7f",         "\xc2\x80",     "\xc3\xa9",     "\xdf\xbf",         "\xe0\xa0\x80",     "\xed\x9f\xbf",
    "\xee\x80\x80", "\xef\xbf\xbd", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf",
    "\xe4\xb8\xad", "\xef\xbb\xbf",
};
static const char *const bad[] = {
    "\x80",
    "\xbf",
    "\xc0\x80",
    "\xc1\xbf", /* a byte that none begins with; too long for what they say */
    "\xe0\x80\x80",
    "\xe0\x9f\xbf",
    "\xf0\x80\x80\x80",
    "\xf0\x8f\xbf\xbf",
    "\xed\xa0\x80",
    "\xed\xbf\xbf",
    "\xed\xa0\xbd\xed\xb8\x80", /* surrogates, alone and as a pair */
    "\xf4\x90\x80\x80",
    "\xf5\x80\x80\x80",
    "\xf8\x88\x80\x80\x80",
    "\xfe",
    "\xff", /* beyond U+10FFFF */
    "\xc3",
    "\xe4\xb8",
    "\xf0\x9f\x98",
    "\xc3\xc3\xa9", /* cut */
};

static struct grammar *compile(const struct place *place, struct arena *arena) {
    struct grammar *grammar = NULL;
    struct grammar_problem problem;
    struct bytes_view text = bytes_view_string(place->grammar);
    enum status status = STATUS_INTERNAL;
    if (place->kind == SCHEMA) {
        struct json_value *schema;
        struct json_problem wrong;
        check_ok(json_read(text, 100, 1000, arena, &schema, &wrong));
        status = grammar_compile_schema(NULL, schema, NULL, &grammar, &problem);
    } else if (place->kind == REGEX) {
        status = grammar_compile_regex(NULL, text, NULL, &grammar, &problem);
    } else {
        status = grammar_compile_rules(NULL, text, place->kind == GBNF ? GRAMMAR_GBNF : GRAMMAR_LARK, NULL, &grammar,
                                       &problem);
    }
    if (status != STATUS_OK) fail_msg("%s: %s", place->grammar, problem.reason);
    return grammar;
}

/** True: each byte may come, and the text may end behind them. */
static bool admits(struct grammar *grammar, const struct place *place, const char *inside) {
    struct grammar_session *session;
    struct grammar_state state;
    const char *parts[] = {place->before, inside, place->behind};
    bool accepted = true;
    check_ok(grammar_session_create(grammar, &session, &check_error));
    check_ok(grammar_start(session, &state, &check_error));
    for (size_t i = 0; i < 3 && accepted; i++)
        for (size_t k = 0; parts[i][k] != 0 && accepted; k++)
            check_ok(grammar_accept_bytes(session, &state, bytes_view_of(parts[i] + k, 1), &accepted, &check_error));
    accepted = accepted && grammar_complete(session, &state);
    grammar_session_destroy(session);
    return accepted;
}

static void check_all(const char *const *texts, size_t count, bool wanted) {
    for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct grammar *grammar = compile(&places[p], &arena);
        for (size_t i = 0; i < count; i++)
            if (admits(grammar, &places[p], texts[i]) != wanted)
                fail_msg("text %zu is %s inside %s", i, wanted ? "refused" : "admitted", places[p].grammar);
        grammar_unref(grammar);
        arena_deinit(&arena);
    }
}

static void test_characters_are_admitted(void **state) {
    (void)state;
    check_all(good, sizeof good / sizeof *good, true);
}

static void test_what_is_no_utf8_is_refused(void **state) {
    (void)state;
    check_all(bad, sizeof bad / sizeof *bad, false);
}

static void test_control_characters_are_not_in_strings_of_json(void **state) {
    (void)state;
    for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct grammar *grammar = compile(&places[p], &arena);
        for (char c = 1; c < 32; c++)
            if (admits(grammar, &places[p], (const char[]){c, 0}) == places[p].json)
                fail_msg("control character %d inside %s", c, places[p].grammar);
        grammar_unref(grammar);
        arena_deinit(&arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_characters_are_admitted),
                                       cmocka_unit_test(test_what_is_no_utf8_is_refused),
                                       cmocka_unit_test(test_control_characters_are_not_in_strings_of_json)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
