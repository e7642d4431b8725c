/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Operators against sets written out: every text of up to five characters out of three is asked for. */
#include "engine/grammar/regex.h"

#include "base/text.h"
#include "tests/unit/engine/check.h"

enum { SYMBOLS = 3, LENGTH_MAX = 5, TEXTS = 1 + 3 + 9 + 27 + 81 + 243, ROUNDS = 3000 };

static struct grammar_budget budget;
static struct regex_pool *pool;

static int setup(void **state) {
    (void)state;
    budget = (struct grammar_budget){.fuel = 50000000, .bytes = 256 << 20};
    return regex_pool_create(&budget, &pool, &check_error) != STATUS_OK;
}
static int teardown(void **state) {
    (void)state;
    regex_pool_destroy(pool);
    return 0;
}

static regex literal(const char *text) {
    return regex_literal(pool, bytes_view_string(text));
}
static bool matches(regex r, const char *text) {
    return regex_matches(pool, r, bytes_view_string(text));
}
static regex parse(const char *pattern) {
    regex r = REGEX_FAILED;
    check_ok(regex_parse(pool, bytes_view_string(pattern), REGEX_SEARCH, &r, &check_error));
    return r;
}

/* ---- texts by number: shorter ones first, then as numbers to the base of three ---- */

static const uint32_t symbols[SYMBOLS] = {'a', 'b', 0xE9};
static int text_length[TEXTS], text_number[TEXTS];
static int first_of[LENGTH_MAX + 2];
static char text_bytes[TEXTS][2 * LENGTH_MAX + 1];

static void number_texts(void) {
    int at = 0, power = 1;
    for (int length = 0; length <= LENGTH_MAX; length++, power *= SYMBOLS) {
        first_of[length] = at;
        for (int number = 0; number < power; number++, at++) {
            text_length[at] = length;
            text_number[at] = number;
            size_t bytes = 0;
            for (int i = 0, digit = power / SYMBOLS; i < length; i++, digit /= SYMBOLS)
                bytes += text_encode(symbols[number / digit % SYMBOLS], (uint8_t *)text_bytes[at] + bytes);
        }
    }
    first_of[LENGTH_MAX + 1] = at;
}

struct language {
    bool has[TEXTS];
};

static void concat_languages(const struct language *a, const struct language *b, struct language *out) {
    struct language made = {0};
    for (int t = 0; t < TEXTS; t++) {
        int power = 1;
        for (int right = 0; right <= text_length[t] && !made.has[t]; right++, power *= SYMBOLS) {
            int left = text_length[t] - right;
            made.has[t] =
                a->has[first_of[left] + text_number[t] / power] && b->has[first_of[right] + text_number[t] % power];
        }
    }
    *out = made;
}

/* ---- random expressions ---- */

static uint64_t seed;
static uint32_t below(uint32_t limit) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % limit;
}

static regex random_expression(int depth, struct language *out);

static regex random_class(struct language *out) {
    struct regex_range ranges[SYMBOLS];
    uint32_t chosen = below(8), count = 0;
    bool inverted = below(4) == 0;
    *out = (struct language){0};
    for (uint32_t i = 0; i < SYMBOLS; i++) {
        bool in = (chosen >> i & 1) != 0;
        if (in) ranges[count++] = (struct regex_range){symbols[i], symbols[i]};
        out->has[first_of[1] + (int)i] = in != inverted;
    }
    return regex_class(pool, ranges, count, inverted);
}

static regex random_literals(struct language *out) {
    struct bytes_view texts[6];
    uint32_t count = below(7);
    *out = (struct language){0};
    for (uint32_t i = 0; i < count; i++) {
        uint32_t t = below(TEXTS);
        if (below(2) == 0) t = below(40);
        out->has[t] = true;
        texts[i] = bytes_view_string(text_bytes[t]);
    }
    return regex_literals(pool, texts, count);
}

static regex random_repeat(int depth, struct language *out) {
    struct language body, power = {0}, sum = {0};
    regex r = random_expression(depth - 1, &body);
    uint32_t min = below(4), max = below(3) == 0 ? REGEX_UNBOUNDED : min + below(4);
    power.has[0] = true;
    for (uint32_t i = 0; i <= max && i <= min + LENGTH_MAX + 1; i++) {
        for (int t = 0; t < TEXTS && i >= min; t++) sum.has[t] |= power.has[t];
        concat_languages(&power, &body, &power);
    }
    *out = sum;
    return regex_repeat(pool, r, min, max);
}

static regex random_pair(int depth, uint32_t kind, struct language *out) {
    struct language a, b;
    regex x = random_expression(depth - 1, &a), y = random_expression(depth - 1, &b);
    if (kind == 0) {
        concat_languages(&a, &b, out);
        return regex_concat(pool, x, y);
    }
    for (int t = 0; t < TEXTS; t++) out->has[t] = kind == 1 ? a.has[t] || b.has[t] : a.has[t] && b.has[t];
    return kind == 1 ? regex_or(pool, x, y) : regex_and(pool, x, y);
}

static regex random_expression(int depth, struct language *out) {
    uint32_t kind = below(10);
    if (depth == 0 || kind == 0) return below(3) == 0 ? random_literals(out) : random_class(out);
    if (kind < 4) return random_pair(depth, 0, out);
    if (kind < 8) return kind < 6 ? random_pair(depth, kind - 3, out) : random_repeat(depth, out);
    if (kind == 8) {
        uint32_t min = below(4), max = below(3) == 0 ? REGEX_UNBOUNDED : min + below(3);
        for (int t = 0; t < TEXTS; t++)
            out->has[t] = (uint32_t)text_length[t] >= min && (uint32_t)text_length[t] <= max;
        return regex_length(pool, min, max);
    }
    regex r = random_expression(depth - 1, out);
    for (int t = 0; t < TEXTS; t++) out->has[t] = !out->has[t];
    return regex_not(pool, r);
}

/* ---- what holds for every expression ---- */

static void check_members(regex r, const struct language *expected, int round) {
    for (int t = 0; t < TEXTS; t++)
        if (matches(r, text_bytes[t]) != expected->has[t])
            fail_msg("round %d: '%s' is %s", round, text_bytes[t], expected->has[t] ? "refused" : "accepted");
}

/** Every state that is not nothing goes on to a text that is in the language. */
static void check_live(regex r, int round) {
    struct bytes text;
    bytes_init(&text, 1 << 16);
    for (int t = 0; t < TEXTS; t += 7) {
        regex state = regex_walk(pool, r, bytes_view_string(text_bytes[t]));
        assert_int_not_equal(state, REGEX_FAILED);
        if (state == REGEX_NOTHING) continue;
        bytes_reset(&text);
        (void)bytes_append_string(&text, text_bytes[t]);
        uint32_t rest = regex_shortest(pool, state, &text);
        assert_int_equal(rest, regex_shortest(pool, state, NULL));
        if (!regex_matches(pool, r, bytes_view(&text))) fail_msg("round %d: '%s' ends nowhere", round, text_bytes[t]);
        size_t characters = 0;
        for (size_t i = 0; i < text.length; i++) characters += (text.data[i] & 0xC0) != 0x80;
        assert_int_equal(characters, (size_t)text_length[t] + rest);
    }
    bytes_deinit(&text);
}

static void check_shortest(regex r, const struct language *expected, int round) {
    uint32_t least = regex_shortest(pool, r, NULL);
    for (int t = 0; t < TEXTS; t++)
        if (expected->has[t] && least > (uint32_t)text_length[t])
            fail_msg("round %d: '%s' is shorter than %u", round, text_bytes[t], least);
}

static void check_count(regex r, const struct language *expected) {
    struct regex_range ranges[SYMBOLS];
    for (int i = 0; i < SYMBOLS; i++) ranges[i] = (struct regex_range){symbols[i], symbols[i]};
    regex small = regex_repeat(pool, regex_class(pool, ranges, SYMBOLS, false), 0, LENGTH_MAX);
    uint64_t count = 0;
    for (int t = 0; t < TEXTS; t++) count += expected->has[t];
    regex both = regex_and(pool, r, small);
    assert_int_equal(regex_count(pool, both, 1000), count);
    assert_int_equal(both == REGEX_NOTHING, count == 0);
    if (count > 3) assert_int_equal(regex_count(pool, both, 3), 3);
}

/** Texts within the freedom lead to live states. */
static void check_freedom(regex r, int round) {
    uint64_t ascii[2];
    enum regex_others others;
    uint32_t length;
    regex_freedom(pool, r, ascii, &others, &length);
    for (int t = 0; t < TEXTS && length > 0; t++) {
        bool inside = (uint32_t)text_length[t] <= length;
        for (const char *c = text_bytes[t]; *c != 0; c++)
            inside = inside && ((uint8_t)*c < 128 ? (ascii[*c / 64] >> (*c % 64) & 1) != 0 : others);
        if (inside && regex_walk(pool, r, bytes_view_string(text_bytes[t])) == REGEX_NOTHING)
            fail_msg("round %d: '%s' is within the freedom and dead", round, text_bytes[t]);
    }
}

static void check_live_in(regex r) {
    bool a = regex_step(pool, r, 'a') != REGEX_NOTHING, e = regex_step(pool, r, 0xE9) != REGEX_NOTHING;
    assert_int_equal(regex_live_in(pool, r, 'a', 'a'), a);
    assert_int_equal(regex_live_in(pool, r, 0xE9, 0xE9), e);
    bool any = false;
    for (uint32_t c = 0x60; c < 0x100; c++) any = any || regex_step(pool, r, c) != REGEX_NOTHING;
    assert_int_equal(regex_live_in(pool, r, 0x60, 0xFF), any);
}

static void test_random_expressions_have_the_texts_that_they_should(void **state) {
    seed = 20260301;
    struct language expected;
    for (int round = 0; round < ROUNDS; round++) {
        if (round % 100 == 0) { /* a pool of its own, so that not everything is remembered */
            teardown(state);
            assert_int_equal(setup(state), 0);
        }
        regex r = random_expression(4, &expected);
        if (r == REGEX_FAILED) fail_msg("round %d: the budget", round);
        check_members(r, &expected, round);
        if (r == REGEX_NOTHING) continue;
        check_live(r, round);
        check_shortest(r, &expected, round);
        check_count(r, &expected);
        check_freedom(r, round);
        check_live_in(r);
    }
}

/* ---- forms ---- */

static void test_equal_forms_have_equal_handles(void **state) {
    (void)state;
    regex a = literal("a"), b = literal("b"), ab = regex_or(pool, a, b);
    assert_int_equal(ab, parse("^[ab]$"));
    assert_int_equal(regex_concat(pool, literal("ab"), literal("cd")), literal("abcd"));
    assert_int_equal(regex_not(pool, regex_not(pool, literal("abc"))), literal("abc"));
    assert_int_equal(regex_or(pool, a, REGEX_EVERYTHING), REGEX_EVERYTHING);
    assert_int_equal(regex_and(pool, ab, REGEX_EVERYTHING), ab);
    assert_int_equal(regex_or(pool, ab, regex_not(pool, ab)), REGEX_EVERYTHING);
    assert_int_equal(regex_and(pool, ab, regex_not(pool, ab)), REGEX_NOTHING);
    assert_int_equal(regex_length(pool, 0, REGEX_UNBOUNDED), REGEX_EVERYTHING);
    assert_int_equal(parse(""), REGEX_EVERYTHING);
    assert_int_equal(parse("^$"), REGEX_EMPTY);
    assert_int_equal(parse("a^"), REGEX_NOTHING);
    assert_int_equal(parse("^(((a+)+)+)+$"), parse("^a+$"));
    assert_int_equal(parse("^(a{1,1000}){1,1000}$"), parse("^a{1,1000000}$"));
    assert_int_equal(parse("^a{2}a{3}$"), parse("^a{5}$"));
    assert_int_equal(parse("^a{1,3}$|^a{2,7}$"), parse("^a{1,7}$"));
    assert_int_equal(regex_and(pool, parse("^[a-z]*$"), regex_length(pool, 3, 9)), parse("^[a-z]{3,9}$"));
    struct bytes_view words[] = {bytes_view_string("bar"), bytes_view_string("foo"), bytes_view_string("bar")};
    assert_int_equal(regex_literals(pool, words, 3), parse("^(foo|bar)$"));
}

static void test_failure_is_handed_on(void **state) {
    (void)state;
    assert_int_equal(regex_or(pool, REGEX_FAILED, REGEX_EMPTY), REGEX_FAILED);
    assert_int_equal(regex_and(pool, REGEX_EMPTY, REGEX_FAILED), REGEX_FAILED);
    assert_int_equal(regex_concat(pool, REGEX_FAILED, REGEX_EMPTY), REGEX_FAILED);
    assert_int_equal(regex_not(pool, REGEX_FAILED), REGEX_FAILED);
    assert_int_equal(regex_repeat(pool, REGEX_FAILED, 0, 1), REGEX_FAILED);
    assert_int_equal(regex_step(pool, REGEX_FAILED, 'a'), REGEX_FAILED);
    assert_int_equal(regex_shortest(pool, REGEX_FAILED, NULL), REGEX_UNBOUNDED);
    assert_false(regex_accepts(pool, REGEX_FAILED));
    assert_false(regex_live_in(pool, REGEX_FAILED, 0, 100));
}

static void test_two_failures_are_a_failure(void **state) {
    (void)state;
    assert_int_equal(regex_or(pool, REGEX_FAILED, REGEX_FAILED), REGEX_FAILED);
    assert_int_equal(regex_and(pool, REGEX_FAILED, REGEX_FAILED), REGEX_FAILED);
}

static void test_a_row_is_what_step_says(void **state) {
    (void)state;
    regex r = parse("^[a-f]+x$");
    assert_int_equal(regex_row(pool, r)['a'], REGEX_NOT_KNOWN);
    regex next = regex_step(pool, r, 'a');
    const regex *row = regex_row(pool, r);
    for (int c = 'a'; c <= 'f'; c++) assert_int_equal(row[c], next); /* one derivative for all that are alike */
    assert_int_equal(row['x'], REGEX_NOT_KNOWN);
    int64_t fuel = budget.fuel;
    assert_int_equal(regex_step(pool, r, 'c'), next);
    assert_int_equal(budget.fuel, fuel);
}

static void test_remembered_steps_beyond_ascii_are_free(void **state) {
    (void)state;
    regex r = parse("^\\p{L}+x$");
    regex next = regex_step(pool, r, 0x4E2D);
    assert_int_not_equal(next, REGEX_NOTHING);
    int64_t fuel = budget.fuel;
    for (uint32_t c = 0x4E00; c < 0x9000; c++) assert_int_equal(regex_step(pool, r, c), next);
    assert_int_equal(budget.fuel, fuel);
    assert_int_equal(regex_step(pool, r, 0x2028), REGEX_NOTHING);
    assert_int_equal(regex_step(pool, r, 0xD800), REGEX_NOTHING);
    assert_int_equal(regex_step(pool, r, 0x110000), REGEX_NOTHING);
    assert_true(regex_live_in(pool, r, 0x4000, 0x4FFF));
    assert_false(regex_live_in(pool, r, 0x2028, 0x2029));
    assert_false(regex_live_in(pool, REGEX_EVERYTHING, 0xD800, 0xDFFF));
}

/* ---- large things ---- */

static void test_lengths_cost_nothing(void **state) {
    (void)state;
    int64_t fuel = budget.fuel;
    regex r = regex_length(pool, 1000000000, 2000000000);
    assert_true(fuel - budget.fuel < 10);
    assert_int_equal(regex_shortest(pool, r, NULL), 1000000000);
    fuel = budget.fuel;
    regex email = regex_and(pool, parse("^[a-z0-9.]+@[a-z.]+\\.[a-z]{2,}$"), regex_length(pool, 5000, 100000));
    for (int i = 0; i < 100; i++) email = regex_step(pool, email, 'a');
    assert_int_not_equal(email, REGEX_NOTHING);
    assert_true(fuel - budget.fuel < 5000); /* no walk of thousands of characters */
    fuel = budget.fuel;
    assert_int_not_equal(regex_and(pool, parse("^(?!.*foo).*$"), regex_length(pool, 3000, 4000)), REGEX_NOTHING);
    assert_true(fuel - budget.fuel < 300000);
    assert_int_equal(regex_and(pool, parse("^[a-z]{5,10}$"), regex_length(pool, 11, 4000)), REGEX_NOTHING);
    assert_int_equal(regex_and(pool, parse("^(aa)*$"), regex_length(pool, 101, 101)), REGEX_NOTHING);
    assert_int_not_equal(regex_and(pool, parse("^(aa)*$"), regex_length(pool, 101, 102)), REGEX_NOTHING);
}

static void test_many_literals(void **state) {
    (void)state;
    enum { WORDS = 100000 };
    static char text[WORDS][12];
    static struct bytes_view views[WORDS];
    for (int i = 0; i < WORDS; i++) {
        snprintf(text[i], sizeof text[i], "w%d\xC3\xA9", (int)((i * 7919ll) % WORDS));
        views[i] = bytes_view_string(text[i]);
    }
    int64_t fuel = budget.fuel;
    regex all = regex_literals(pool, views, WORDS);
    assert_int_not_equal(all, REGEX_FAILED);
    assert_true(fuel - budget.fuel < WORDS * 12);
    for (int i = 0; i < WORDS; i += 997) assert_true(matches(all, text[i]));
    assert_false(matches(all, "w"));
    assert_false(matches(all, "w100000\xC3\xA9"));
    assert_int_equal(regex_and(pool, all, parse("^w57\xC3\xA9$")), literal("w57\xC3\xA9"));
    assert_int_equal(regex_and(pool, parse("^w5x$"), all), REGEX_NOTHING);
    assert_int_equal(regex_and(pool, literal("w5"), all), REGEX_NOTHING);
    assert_int_equal(regex_and(pool, literal(""), all), REGEX_NOTHING);
    assert_int_equal(regex_count(pool, all, 1u << 20), WORDS);
    regex others = regex_and(pool, parse("^w\\d+\xC3\xA9$"), regex_not(pool, all));
    assert_false(matches(others, "w5\xC3\xA9"));
    assert_true(matches(others, "w100000\xC3\xA9"));
    assert_true(matches(others, "w05\xC3\xA9"));
}

static void test_counts(void **state) {
    (void)state;
    assert_int_equal(regex_count(pool, parse("^[a-z]$"), 100), 26);
    assert_int_equal(regex_count(pool, parse("^[a-z]{2}$"), 1000), 676);
    assert_int_equal(regex_count(pool, parse("^[a-z]{20}$"), 1000000), 1000000);
    assert_int_equal(regex_count(pool, parse("^a*$"), 1ull << 40), 1ull << 40);
    assert_int_equal(regex_count(pool, parse("^(?!b)[ab]*$"), 1ull << 40), 1ull << 40);
    assert_int_equal(regex_count(pool, parse("^(?!.*b)[ab]{0,9}$"), 1000), 10);
    assert_int_equal(regex_count(pool, parse("^(?=.*a)(?=.*b)[ab]{3}$"), 1000), 6);
    assert_int_equal(regex_count(pool, REGEX_EVERYTHING, 5), 5);
    assert_int_equal(regex_count(pool, regex_length(pool, 1, 1), 1ull << 30), 0x110000 - 0x800);
    assert_int_equal(regex_count(pool, REGEX_NOTHING, 5), 0);
    assert_int_equal(regex_count(pool, REGEX_EMPTY, 5), 1);
}

static void test_shortest_reads_well(void **state) {
    (void)state;
    struct bytes text;
    bytes_init(&text, 4096);
    assert_int_equal(regex_shortest(pool, parse("^(?=.*\\d)(?=.*[A-Z])\\w{4,}$"), &text), 4);
    assert_int_equal(text.length, 4);
    for (size_t i = 0; i < text.length; i++) assert_true(text.data[i] >= '0' && text.data[i] <= 'z');
    bytes_reset(&text);
    assert_int_equal(regex_shortest(pool, parse("^.{3}$"), &text), 3);
    assert_string_equal(text.data, "aaa");
    bytes_deinit(&text);
}

static void test_freedom_by_form(void **state) {
    (void)state;
    uint64_t ascii[2];
    enum regex_others others;
    uint32_t length;
    regex_freedom(pool, REGEX_EVERYTHING, ascii, &others, &length);
    assert_true(ascii[0] == ~0ull && ascii[1] == ~0ull && others && length == REGEX_UNBOUNDED);
    regex_freedom(pool, regex_length(pool, 2, 9), ascii, &others, &length);
    assert_true(ascii[0] == ~0ull && others && length == 9);
    regex_freedom(pool, parse("^[a-c]{1,5}x$"), ascii, &others, &length);
    assert_true(ascii[0] == 0 && ascii[1] == 7ull << ('a' - 64) && !others && length == 5);
    regex_freedom(pool, parse("^(?=.*\\d)(?=.*[a-z]).{8,}$"), ascii, &others, &length);
    assert_true(length == REGEX_UNBOUNDED);
    regex_freedom(pool, regex_and(pool, parse("^[a-z]{1,64}$"), regex_not(pool, parse("^(foo|bar)$"))), ascii, &others,
                  &length);
    assert_true(length == 64 && ascii[1] != 0);
    regex_freedom(pool, parse("^a.+b$"), ascii, &others, &length);
    assert_int_equal(length, 1);
    regex_freedom(pool, parse("^[^a]+:b$"), ascii, &others, &length);
    assert_true(length == REGEX_UNBOUNDED && others == REGEX_OTHERS_ALL);
    regex_freedom(pool, parse("^.+:b$"), ascii, &others, &length);
    assert_true(length == REGEX_UNBOUNDED && others == REGEX_OTHERS_MOST); /* not the ends of lines */
    regex_freedom(pool, parse("^\\S*$"), ascii, &others, &length);
    assert_true(length == REGEX_UNBOUNDED && others == REGEX_OTHERS_MOST);
    regex_freedom(pool, parse("^[a-z\u0100-\u0200]*$"), ascii, &others, &length);
    assert_true(length == REGEX_UNBOUNDED && others == REGEX_OTHERS_NONE);
    /* within a length: ":b" and one character before it must have room */
    regex_freedom(pool, regex_and(pool, parse("^.+:b$"), regex_length(pool, 5, 20)), ascii, &others, &length);
    assert_int_equal(length, 17);
    regex_freedom(pool, regex_and(pool, parse("^.{1,3}:b$"), regex_length(pool, 5, 20)), ascii, &others, &length);
    assert_int_equal(length, 0); /* nothing fills it up to the least length */
    regex_freedom(pool, literal("abc"), ascii, &others, &length);
    assert_true(length <= 1);
}

static void test_a_pool_needs_a_budget(void **state) {
    (void)state;
    struct grammar_budget small = {.fuel = 1000, .bytes = 100};
    struct regex_pool *other;
    check_fails(regex_pool_create(&small, &other, &check_error), STATUS_RESOURCE_EXHAUSTED, "budget");
    small = (struct grammar_budget){.fuel = 1000, .bytes = 1 << 20};
    check_ok(regex_pool_create(&small, &other, &check_error));
    assert_true((1 << 20) - small.bytes < 8192);
    regex_pool_destroy(other);
}

int main(void) {
    number_texts();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random_expressions_have_the_texts_that_they_should, setup, teardown),
        cmocka_unit_test_setup_teardown(test_equal_forms_have_equal_handles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failure_is_handed_on, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_failures_are_a_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_row_is_what_step_says, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remembered_steps_beyond_ascii_are_free, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lengths_cost_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_literals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shortest_reads_well, setup, teardown),
        cmocka_unit_test_setup_teardown(test_freedom_by_form, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_pool_needs_a_budget, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
