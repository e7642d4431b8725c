/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Patterns beside what V8 judges (regex_golden_test.c): flags, refusals with their words, and patterns written to hurt, each within a bound of fuel. */
#include "engine/grammar/regex.h"

#include "tests/unit/engine/check.h"

enum { FUEL = 3000000, BYTES = 256 << 20 };

static struct grammar_budget budget;
static struct regex_pool *pool;

static int setup(void **state) {
    (void)state;
    budget = (struct grammar_budget){.fuel = FUEL, .bytes = BYTES};
    return regex_pool_create(&budget, &pool, &check_error) != STATUS_OK;
}
static int teardown(void **state) {
    (void)state;
    regex_pool_destroy(pool);
    return 0;
}

static enum status parse(const char *pattern, enum regex_flags flags, regex *out) {
    return regex_parse(pool, bytes_view_string(pattern), flags, out, &check_error);
}
static bool matches(const char *pattern, enum regex_flags flags, const char *text) {
    regex r = REGEX_FAILED;
    check_ok(parse(pattern, flags, &r));
    return regex_matches(pool, r, bytes_view_string(text));
}

static void test_without_search_the_pattern_is_all_of_the_text(void **state) {
    (void)state;
    assert_true(matches("ab", 0, "ab"));
    assert_false(matches("ab", 0, "xab"));
    assert_false(matches("ab", 0, "abx"));
    assert_true(matches("^ab$", 0, "ab"));
    assert_true(matches("a|bc", 0, "bc"));
    assert_true(matches("\\bab\\b", 0, "ab"));
    assert_false(matches("(?<=x)ab", 0, "ab"));
    assert_true(matches("(?!b)[ab]", 0, "a"));
    assert_false(matches("(?!b)[ab]", 0, "b"));
}

static void test_dot_all(void **state) {
    (void)state;
    assert_false(matches("a.b", REGEX_SEARCH, "a\nb"));
    assert_true(matches("a.b", REGEX_SEARCH | REGEX_DOT_ALL, "a\nb"));
    assert_true(matches("a(?s:.)b", REGEX_SEARCH, "a\nb"));
    assert_false(matches("a(?s:x).b", REGEX_SEARCH, "ax\nb"));
}

static void test_case_may_be_set_inside(void **state) {
    (void)state;
    assert_true(matches("^(?i:ab)c$", REGEX_SEARCH, "ABc"));
    assert_false(matches("^(?i:ab)c$", REGEX_SEARCH, "ABC"));
    assert_true(matches("^(?-i:a)b$", REGEX_SEARCH | REGEX_IGNORE_CASE, "aB"));
    assert_false(matches("^(?-i:a)b$", REGEX_SEARCH | REGEX_IGNORE_CASE, "AB"));
}

static void test_other_dialects_only_when_asked_for(void **state) {
    (void)state;
    const enum regex_flags lenient = REGEX_SEARCH | REGEX_LENIENT;
    assert_true(matches("\\Aab\\Z", lenient, "ab"));
    assert_false(matches("\\Aab\\z", lenient, "abz"));
    assert_true(matches("\\Aab\\z", REGEX_SEARCH, "Aabz"));
    assert_true(matches("^(?i)ab$", lenient, "AB"));
    assert_true(matches("^(?:(?i)a)b$", lenient, "Ab"));
    assert_false(matches("^(?:(?i)a)b$", lenient, "AB"));
    assert_true(matches("^(?P<n>a)(?>b)c++$", lenient, "abcc"));
    assert_true(matches("^[[:alpha:]_]+$", lenient, "aB_"));
    assert_false(matches("^[[:alpha:]_]+$", lenient, "a1"));
    assert_true(matches("^\\p{Greek}\\pL$", lenient,
                        "\xCE\xB1"
                        "a"));
    assert_true(matches("^\\h$", lenient, "\t"));
    regex r;
    check_fails(parse("(?i)ab", REGEX_SEARCH, &r), STATUS_INVALID_ARGUMENT, "byte 2");
    check_fails(parse("(?P<n>a)", REGEX_SEARCH, &r), STATUS_INVALID_ARGUMENT, "no group");
    check_fails(parse("a++", REGEX_SEARCH, &r), STATUS_INVALID_ARGUMENT, "nothing to repeat");
    check_fails(parse("\\p{Greek}", REGEX_SEARCH, &r), STATUS_INVALID_ARGUMENT, "no property");
}

static void test_refusals_say_what_and_where(void **state) {
    (void)state;
    static const struct {
        const char *pattern;
        enum status status;
        const char *word;
    } cases[] = {
        {"ab(c", STATUS_INVALID_ARGUMENT, "byte 2: a group is not closed"},
        {"abc)", STATUS_INVALID_ARGUMENT, "byte 3: a parenthesis closes nothing"},
        {"a[b", STATUS_INVALID_ARGUMENT, "byte 1: a class is not closed"},
        {"a[z-b]", STATUS_INVALID_ARGUMENT, "byte 3: a range of characters runs backwards"},
        {"a{3,2}", STATUS_INVALID_ARGUMENT, "byte 1: a repeat's least is above its most"},
        {"a**", STATUS_INVALID_ARGUMENT, "byte 2: there is nothing to repeat"},
        {"a\\", STATUS_INVALID_ARGUMENT, "byte 2: it ends too early"},
        {"\\p{Nonsense}", STATUS_INVALID_ARGUMENT, "no property"},
        {"\\p{Script=Nonsense}", STATUS_INVALID_ARGUMENT, "no property"},
        {"\\p{lu}", STATUS_INVALID_ARGUMENT, "no property"},
        {"\\p{Lu", STATUS_INVALID_ARGUMENT, "no property"},
        {"\\p{gc=}", STATUS_INVALID_ARGUMENT, "no property"},
        {"\xff", STATUS_INVALID_ARGUMENT, "byte 0: it is not UTF-8"},
        {"a\xC3", STATUS_INVALID_ARGUMENT, "byte 1: it is not UTF-8"},
        {"(a)\\1", STATUS_UNIMPLEMENTED, "byte 3: a reference to a group's text"},
        {"(?<n>a)\\k<n>", STATUS_UNIMPLEMENTED, "a reference to a group's text"},
        {"(?:(?<=ab)c)+", STATUS_UNIMPLEMENTED, "byte 3: a look-behind of more than a character"},
        {"(?=a)(?<=bc)d", STATUS_UNIMPLEMENTED, "an assertion before a look-behind"},
        {"(?<=a\\b)c", STATUS_UNIMPLEMENTED, "an assertion inside a look-behind"},
        {"(?:\\ba){1000}", STATUS_UNIMPLEMENTED, "so high a count"},
        {"(?m:^a$)", STATUS_UNIMPLEMENTED, "the modifier m"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        regex r = 77;
        check_fails(parse(cases[i].pattern, REGEX_SEARCH, &r), cases[i].status, cases[i].word);
        assert_int_equal(r, 77);
    }
}

static void test_what_cannot_be_is_nothing(void **state) {
    (void)state;
    static const char *const impossible[] = {
        "a^b",
        "$a",
        "[]",
        "(?!)",
        "a(?=b)c",
        "^(?=.*\\d)[a-z]{1,1000}$",
        "^(?=[a-z]*$)(?=\\d)",
        "^(?!a*$)a{5}$",
        "a\\bb",
        "^(?:(?!a).)*$(?<=a)",
        "\\ud800",
        "(?<!x)(?<=x)y",
    };
    for (size_t i = 0; i < sizeof impossible / sizeof impossible[0]; i++) {
        regex r = REGEX_FAILED;
        check_ok(parse(impossible[i], REGEX_SEARCH, &r));
        if (r != REGEX_NOTHING) fail_msg("%s", impossible[i]);
    }
}

/* ---- patterns written to hurt ---- */

/** `head`, then `unit` so often, then `tail`; malloc'd. */
static char *repeated(const char *head, const char *unit, int count, const char *tail) {
    size_t bytes = strlen(head) + strlen(unit) * (size_t)count + strlen(tail) + 1;
    char *text = malloc(bytes), *at = stpcpy(text, head);
    for (int i = 0; i < count; i++) at = stpcpy(at, unit);
    stpcpy(at, tail);
    return text;
}

/** Walks at random; every step within the fuel, every state live or the end. */
static void walk(regex r) {
    uint64_t seed = 5;
    for (int round = 0; round < 10; round++) {
        regex state = r;
        for (int i = 0; i < 60 && state != REGEX_NOTHING && state != REGEX_FAILED; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            uint32_t c = 32 + (uint32_t)(seed >> 33) % 95, first = c;
            regex next = regex_step(pool, state, c);
            for (; next == REGEX_NOTHING; next = regex_step(pool, state, c)) {
                c = c == 126 ? 32 : c + 1;
                if (c == first) break;
            }
            if (next == REGEX_NOTHING)
                assert_true(regex_accepts(pool, state) || regex_live_in(pool, state, 0, 0x10FFFF));
            state = next;
        }
    }
}

/** It is taken, or refused with RESOURCE_EXHAUSTED when `may_fail`; and then walked, all with at most `fuel`. */
static void check_hostile(const char *pattern, int64_t fuel, bool may_fail) {
    void *state = NULL;
    teardown(&state);
    assert_int_equal(setup(&state), 0);
    regex r = REGEX_FAILED;
    check_error = (struct error){0};
    enum status status = parse(pattern, REGEX_SEARCH, &r);
    if (status == STATUS_OK)
        walk(r);
    else if (!may_fail || status != STATUS_RESOURCE_EXHAUSTED)
        fail_msg("%.60s: %s: %s", pattern, status_name(status), check_error.message);
    if (!may_fail && FUEL - budget.fuel > fuel) fail_msg("%.60s: %lld fuel", pattern, (long long)(FUEL - budget.fuel));
    check_error = (struct error){0};
}

static void test_hostile_patterns_cost_little(void **state) {
    (void)state;
    static const struct {
        const char *pattern;
        int64_t fuel;
    } cases[] = {
        {"^(a{1,1000}){1,1000}$", 1000},
        {"^((ab?){1,1000}){1,1000}$", 3000},
        {"^(a|b)*a(a|b){13}$", 3000},
        {"(a|b)*a(a|b){13}c", 100000},
        {"^[ab]*a[ab]{1000}$", 20000},
        {"^[abc]*a[bc]{1000}x$", 100000},
        {"^(ab|ba)*a(ab|ba){1000}$", 100000},
        {"^((((a+)+)+)+)+b$", 1000},
        {"^x{0,4294967295}$", 1000},
        {"^(xy|z){4294967295,99999999999}$", 3000},
        {"^(((a{99999}){99999}){99999}){99999}b$", 3000},
        {"^(a?b?){1000}$", 10000},
        {"^(a|aa){500}$", 50000},
        {"^((a|aa)(b|bb)){50}((b|bb)(a|aa)){50}$", 10000},
        {"^(.*a){20}$", 3000},
        {"^.*a.*b.*c.*d.*e.*f.*g.*h$", 3000},
        {"^(?=.*a)(?=.*b)(?=.*c)(?=.*d)(?=.*e)(?=.*f)(?=.*g)(?=.*h).{20,}$", 300000},
        {"^(?=[ab]*a[ab]{9}$)(?=[ab]*b[ab]{9}$)", 300000},
        {"^(?:(?!a.{5}b).)*x(?:(?!c.{5}d).)*y$", 300000},
        {"^(?:(?:(?:(?!a)\\w)*(?:(?!b)\\w)*)*(?!c)\\w)*$", 100000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) check_hostile(cases[i].pattern, cases[i].fuel, false);
}

static void test_hostile_sizes_end_within_the_budget(void **state) {
    (void)state;
    static const struct {
        const char *head, *unit, *tail;
        int count;
    } cases[] = {
        {"", "(", "", 100000},
        {"^", "(?:(?:(?:a|b)c)|d)?", "$", 5000},
        {"^", "a?", "$", 20000},
        {"^", "a?b?c?", "$", 5000},
        {"^(", "ab|", "c)$", 50000},
        {"^(", "a[bc]|", "c)$", 20000},
        {"^[", "\\u{4e00}-\\u{4e01}x\xC3\xA9", "]$", 20000},
        {"^", "abcdefghij", "$", 50000},
        {"^", "(?=.*a.*b)", "$", 200},
        {"^", "(?!a.{9}b)", "[ab]*$", 100},
        {"^", "\\b\\B", "$", 5000},
        {"^", "(?:\\ba)*", "$", 12},
        {"^", "(?:(?:\\ba){9}", "){9}){9}){9}){9}){9}){9}){9}){9}$", 8},
        {"^", "(?:a|", "b)))))))))))))))))))))))))))))))))))))))))$", 41},
        {"", "[\\w\\s\\d]{3}", "", 20000},
        {"^(?=.*a.{18}$)(?=.*b.{18}$)", "", "", 0},
        {"^(?=(.{97})+$)(?=(.{89})+$)(?=(.{83})+$)", "", "", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *pattern = repeated(cases[i].head, cases[i].unit, cases[i].count, cases[i].tail);
        check_hostile(pattern, FUEL, true);
        free(pattern);
    }
}

static void test_groups_nest_to_a_limit(void **state) {
    (void)state;
    char *deep = repeated("", "(", 100000, ""), *well = repeated("", "(?:a|", 150, "");
    char *closed = repeated(well, ")", 150, "$");
    regex r;
    check_fails(parse(deep, REGEX_SEARCH, &r), STATUS_RESOURCE_EXHAUSTED, "200 deep");
    check_ok(parse(closed, REGEX_SEARCH, &r));
    free(deep);
    free(well);
    free(closed);
}

static void test_typical_patterns_cost_little_fuel(void **state) {
    (void)state;
    static const char *const typical[] = {
        "^\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])$",
        "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        "^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\\.[a-zA-Z]{2,}$",
        "^(https?|ftp)://[^\\s/$.?#].[^\\s]*$",
        "^\\S+$",
    };
    for (size_t i = 0; i < sizeof typical / sizeof typical[0]; i++) {
        int64_t fuel = budget.fuel;
        regex r;
        check_ok(parse(typical[i], REGEX_SEARCH, &r));
        assert_true(fuel - budget.fuel < 150);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_without_search_the_pattern_is_all_of_the_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dot_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_case_may_be_set_inside, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_dialects_only_when_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals_say_what_and_where, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_is_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_patterns_cost_little, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_sizes_end_within_the_budget, setup, teardown),
        cmocka_unit_test_setup_teardown(test_groups_nest_to_a_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_typical_patterns_cost_little_fuel, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
