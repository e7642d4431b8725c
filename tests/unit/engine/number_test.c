/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Number sets and their machine, question by question; number_golden_test.c asks thousands more. */
#include "engine/grammar/number_internal.h"

#include "tests/unit/engine/check.h"
#include "tests/unit/engine/number_fixture.h"

static struct grammar_budget budget;
static struct number_pool *pool;

static int setup(void **state) {
    (void)state;
    budget = (struct grammar_budget){1 << 30, 1 << 30};
    return number_pool_create(&budget, &pool, &check_error) != STATUS_OK;
}

static int teardown(void **state) {
    (void)state;
    number_pool_destroy(pool);
    return 0;
}

static void expect_text(const char *rules, const char *text, bool accepted) {
    number_state at = number_walk(pool, number_start(pool, number_rules(pool, rules)), text);
    if (number_accepts(pool, at) != accepted) fail_msg("'%s' %s %.60s", rules, accepted ? "refuses" : "accepts", text);
}

static void expect_live(const char *rules, const char *text, bool live) {
    number_state at = number_walk(pool, number_start(pool, number_rules(pool, rules)), text);
    if ((at != NUMBER_DEAD) != live) fail_msg("'%s' after %.60s is %s", rules, text, live ? "dead" : "live");
}

static void expect_canonical(const char *text, const char *due) {
    struct bytes out;
    bytes_init(&out, 1 << 16);
    assert_true(number_canonical(bytes_view_string(text), &out));
    if (!bytes_view_equal_string(bytes_view(&out), due))
        fail_msg("%s is %s where %s is due", text, (char *)out.data, due);
    bytes_deinit(&out);
}

static void test_canonical_texts(void **state) {
    (void)state;
    expect_canonical("-0", "0");
    expect_canonical("0.000e99", "0");
    expect_canonical("10e-1", "1");
    expect_canonical("-12.50", "-12.5");
    expect_canonical("1.25e-3", "0.00125");
    expect_canonical("1e39", "1000000000000000000000000000000000000000");
    expect_canonical("1e40", "1e40");
    expect_canonical("-12e400", "-1.2e401");
    expect_canonical("0.5e-40", "5e-41");
    struct bytes out;
    bytes_init(&out, 100);
    assert_false(number_canonical(bytes_view_string("01"), &out));
    bytes_deinit(&out);
}

static int compare(const char *a, const char *b) {
    return number_compare(bytes_view_string(a), bytes_view_string(b));
}

static void test_comparing(void **state) {
    (void)state;
    assert_int_equal(compare("1", "1.0"), 0);
    assert_int_equal(compare("-0", "0e5"), 0);
    assert_int_equal(compare("1e400", "9.9e399"), 1);
    assert_int_equal(compare("-1e400", "-9.9e399"), -1);
    assert_int_equal(compare("0.1", "0.09999999999999999999999999999999999999"), 1);
    assert_int_equal(compare("9007199254740993", "9007199254740992"), 1);
    assert_int_equal(compare("1e100001", "1"), 2);
    assert_int_equal(compare("x", "1"), 2);
}

static void test_equal_sets_are_one(void **state) {
    (void)state;
    assert_int_equal(number_rules(pool, ">=1.0 <=1e1"), number_rules(pool, "<=10 >=1 >=0 <100"));
    assert_int_equal(number_rules(pool, "*2 *3"), number_rules(pool, "*6"));
    assert_int_equal(number_rules(pool, "*0.5 *0.3"), number_rules(pool, "*1.5"));
    assert_int_equal(number_rules(pool, "=3,1,2,1.0"), number_rules(pool, "=1,2,3"));
    assert_int_equal(number_rules(pool, "=1,2,3,4.5 *1 >1"), number_rules(pool, "=2,3"));
    assert_int_equal(number_rules(pool, "!1,100 <=10"), number_rules(pool, "<=10 !1"));
}

static void test_emptiness_is_decided(void **state) {
    (void)state;
    const char *empty[] = {
        ">5 <5",
        ">5 <=5",
        ">=5 <5",
        "*1 >5 <6",
        "*1 ~1",
        "*2 ~1",
        "*4 ~2",
        "*7 >700 <707",
        "=1,2 >2",
        "=1.5 *1",
        "!5 >=5 <=5",
        "*1 >=1 <=3 !1,2,3",
        "*1 >=2 <=4 ~2 !3",
        ">=1e5000 <1e6000",
        "=1e5000",
        "*123456789012345678901234567890123456789012 >0 <123456789012345678901234567890123456789012"};
    const char *more[] = {">=5 <=5",       ">5 <5.00000000000000000000000000000000000000001",
                          "*1 >=5 <6",     "*4 ~8",
                          "*7 >700 <=707", "*1 >=1 <=4 !1,2,3",
                          "<=-1e399",      "=1e400",
                          ">0 <1e-390"};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        if (number_rules(pool, empty[i]) != NUMBER_NONE) fail_msg("%s is not empty", empty[i]);
    }
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        if (number_rules(pool, more[i]) == NUMBER_NONE) fail_msg("%s is empty", more[i]);
    }
}

static uint64_t count(const char *rules, uint64_t limit) {
    return number_count(pool, number_rules(pool, rules), limit);
}

static void test_counting(void **state) {
    (void)state;
    assert_int_equal(count("*1 >=-3 <=3", 100), 7);
    assert_int_equal(count("*1 >=-3 <=3", 5), 5);
    assert_int_equal(count("*1 >=-3 <=3 !0,2,9", 100), 5);
    assert_int_equal(count("*1 >=0 <=100 ~2 ~3", 100), 33);
    assert_int_equal(count("*0.5 >-1 <1", 100), 3);
    assert_int_equal(count(">=1 <=1", 100), 1);
    assert_int_equal(count(">=1 <=2", 100), 100);
    assert_int_equal(count("=5,6,7", 100), 3);
    assert_int_equal(count("*1", 100), 100);
    assert_int_equal(count("*1e39 >=-3e39 <=3e39 !1e39", 100), 6);
    assert_int_equal(number_count(pool, NUMBER_ANY, 9), 9);
    assert_int_equal(number_count(pool, NUMBER_NONE, 9), 0);
}

static void test_any_number_has_no_limits(void **state) {
    (void)state;
    char text[1200];
    memset(text, '7', sizeof text);
    text[600] = '.';
    text[1199] = 0;
    expect_text("", text, true);
    memcpy(text + 1100, "e-99", 4);
    expect_text("", text, true);
    expect_text("", "-0.00E+000123456789", true);
    const char *wrong[] = {"01", "-", "1.", ".1", "+1", "1e", "1e+", "1.e1", "1e1.0", "--1", "1-", "00", "1e1e1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) expect_text("", wrong[i], false);
    assert_true(pool->nodes_count <= 12);
}

static void test_boundaries(void **state) {
    (void)state;
    expect_text("<3", "2.99999999999999999999999999999999999999999999999999", true);
    expect_text("<3", "3", false);
    expect_text("<3", "3.0", false);
    expect_text("<=3", "3.000000000000000000000000000000000000000000000000000", true);
    expect_live("<3", "3.0", true); /* 3.0e-1 */
    expect_live("<3 >2", "3.0", false);
    expect_text("*0.0001", "0.0075", true);
    expect_text("*0.0001", "0.00751", false);
    expect_text("*1 *1e-8", "12391239123", true);
    expect_text("*1", "12345678910111213141511", true);
    expect_text("*1 *0.5", "1e308", true);
    expect_text("*1 *0.123456789", "1e308", false);
    expect_text("<=18446744073709551615", "18446744073709551615", true);
    expect_text("<=18446744073709551615", "18446744073709551616", false);
    expect_text("<=972783798187987123879878123.18878137", "972783798187987123879878123.188781371", false);
    expect_text(">=0 <=0.5", "1e-07", true);
    expect_text(">=0", "-0", true);
    expect_text(">=0", "-0.0", true);
    expect_text(">0", "-0", false);
    expect_live(">0", "-", false);
    expect_text("*1", "1.50e1", true);
    expect_text("*1", "1.5e0", false);
    expect_text("*1", "100e-2", true);
    expect_text("*1", "100e-3", false);
    expect_text("*1 >=0 <=255", "255.00", true);
    expect_live("*1 >=0 <=255", "256", false);
    expect_live("*1 >=0 <=255", "25.5", false);
    expect_text("*0.01 >=0 <=100", "99.99000", true);
    expect_live("*0.01 >=0 <=100", "99.999", false);
    expect_text("*0.01 >=0 <=100", "9.999e1", true);
    expect_text("*100 >=100", "12e2", true);
    expect_live("*100 >=100 <=1000", "12", false);
    expect_live("*0.25 >1e-36", "69.1", false);
    expect_live("*0.25 >1e-36", "69.2", true);
    expect_live("*0.25 ~0.5 >1e-36", "123456789.5", false);
    expect_text("=1.5", "15e-1", false); /* no prefix of a member without exponent */
    expect_text("=1.5", "1.50", true);
    expect_text("=0.1,1e300,-7", "1E+0300", true);
    expect_text("=0.1,1e300,-7", "1E+00300", false);
}

static void test_limits_of_digits_leave_no_dead_end(void **state) {
    (void)state;
    char text[500] = "0.";
    memset(text + 2, '0', 398);
    expect_live(">0 <1", text, true); /* one digit is left, not 0 */
    text[400] = '0';
    expect_live(">0 <1", text, false);
    text[400] = '1';
    expect_text(">0 <1", text, true);
    text[401] = '1';
    expect_live(">1 <1.5 !1.25", "1.00000000000000000000000000000000000000000000000000000000000000000000000000", true);
    expect_text("*1 >=1e300", "1e300", true);
    expect_text("*1 <=1e300", "1e401", false);
    expect_text(">=1e300", "1e401", false);
    expect_text(">=0", "1e401", true);
    assert_true(number_contains(pool, number_rules(pool, ">0"), bytes_view_string("1e99999999999")));
    assert_true(number_contains(pool, number_rules(pool, ">0 <1"), bytes_view_string("1e-99999999999")));
    assert_false(number_contains(pool, number_rules(pool, "*1"), bytes_view_string("1e-99999999999")));
}

static bool prints(number_state start, const char *text) {
    return number_accepts(pool, number_walk(pool, start, text));
}

static void test_as_programs_print_them(void **state) {
    (void)state;
    number_state start = number_start_printed(pool, number_rules(pool, "*1"));
    assert_true(prints(start, "0") && prints(start, "-15") && prints(start, "9223372036854775807"));
    static const char *const others[] = {"15.", "1e", "0e", "0.", "-0", "9223372036854775808", "-9223372036854775809"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(number_walk(pool, start, others[i]), NUMBER_DEAD);
    assert_int_equal(number_start_printed(pool, number_rules(pool, "*1")), start);
    /* Where the set has no such, others. */
    assert_true(prints(number_start_printed(pool, number_rules(pool, "*1 >=1e20")), "100000000000000000000"));
    assert_true(prints(number_start_printed(pool, number_rules(pool, ">=1e309")), "1e310"));
    assert_true(prints(number_start_printed(pool, number_rules(pool, "*0.01")), "2.50"));
    start = number_start_printed(pool, NUMBER_ANY);
    assert_true(prints(start, "-1.5") && prints(start, "1.5e300") && prints(start, "1e-7"));
    assert_false(prints(start, "1e309") || prints(start, "-2e308"));
    const struct bytes_view whole[] = {bytes_view_string("7"), bytes_view_string("1e1")},
                            half[] = {bytes_view_string("7"), bytes_view_string("0.5")};
    start = number_start_printed(pool, number_one_of(pool, whole, 2));
    assert_true(prints(start, "7") && prints(start, "10"));
    assert_int_equal(number_walk(pool, start, "7."), NUMBER_DEAD);
    assert_true(prints(number_start_printed(pool, number_one_of(pool, half, 2)), "0.5"));
    assert_int_equal(number_start_printed(pool, NUMBER_NONE), NUMBER_DEAD);
}

static number_state after(const char *rules, const char *text) {
    return number_walk(pool, number_start(pool, number_rules(pool, rules)), text);
}

static void test_equal_futures_are_one_state(void **state) {
    (void)state;
    assert_int_equal(after("", "12"), after("", "1234567"));
    assert_int_equal(after(">=0", "12"), after("", "99"));
    assert_int_equal(after("*1", "12"), after("*1", "1234567"));
    assert_int_equal(after("*1 >=1", "12"), after("*1", "7654321"));
    assert_int_equal(after("*1 >=0 <=1000000000", "123"), after("*1 >=0 <=1000000000", "987"));
    assert_int_equal(after("*1 >=0 <=1000000000", "123"), after("*1 >=-5 <=999999999999", "123456"));
    assert_int_equal(after(">=0 <=1", "0.5"), after(">=0 <=1", "0.73921"));
    assert_int_equal(after("*0.01 >=0 <=100", "12.3"), after("*0.01 >=0 <=99", "45.6"));
    assert_int_equal(after("*10 >=0", "123"), after("*10", "98765"));
    number_state start = number_start(pool, number_rules(pool, "*1 >=-9223372036854775808 <=9223372036854775807"));
    uint32_t before = pool->nodes_count;
    for (int i = 0; i < 1000; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        (void)number_walk(pool, start, text);
    }
    assert_true(pool->nodes_count - before < 16);
}

static void expect_shortest(const char *rules, const char *text, const char *due) {
    struct bytes out;
    bytes_init(&out, 1 << 12);
    uint32_t length = number_shortest(pool, after(rules, text), &out);
    if (length != strlen(due) || !bytes_view_equal_string(bytes_view(&out), due))
        fail_msg("'%s' after %s: %u bytes, %.*s where %s is due", rules, text, length, (int)out.length,
                 (char *)out.data, due);
    bytes_deinit(&out);
}

static void test_shortest_rests(void **state) {
    (void)state;
    expect_shortest("", "", "0");
    expect_shortest("", "1.", "0");
    expect_shortest("", "1e-", "0");
    expect_shortest("*1 >=1000", "1", "e3");
    expect_shortest("*1 >=1000 <2000", "12", "00");
    expect_shortest("<=-5", "", "-5");
    expect_shortest("*0.01 >0 <0.05", "0", ".01");
    expect_shortest("*7 >=100 <=1000", "", "105");
    expect_shortest("=12345,99", "123", "45");
    expect_shortest(">=1e300", "1", "e300");
    expect_shortest("=1e-300", "1.0", "e-300");
    assert_int_equal(number_shortest(pool, NUMBER_DEAD, NULL), UINT32_MAX);
}

/** A hundred thousand listed values: made, met and walked in less fuel than 10 for each. */
static void test_long_lists_are_not_quadratic(void **state) {
    (void)state;
    enum { COUNT = 100000 };
    char(*texts)[16] = calloc(COUNT, sizeof *texts);
    struct bytes_view *views = calloc(COUNT, sizeof *views);
    for (int i = 0; i < COUNT; i++) {
        snprintf(texts[i], sizeof *texts, "%d.5", (int)((uint32_t)i * 2654435761u % 1000003u));
        views[i] = bytes_view_string(texts[i]);
    }
    int64_t fuel = budget.fuel;
    number_set listed = number_one_of(pool, views, COUNT), excluded = number_none_of(pool, views, COUNT);
    assert_true(number_count(pool, listed, UINT64_MAX) > COUNT / 2);
    assert_int_equal(number_and(pool, listed, excluded), NUMBER_NONE);
    number_set rest = number_and(pool, excluded, number_rules(pool, "*0.5 >=0 <=1000"));
    number_state start = number_start(pool, listed);
    for (int i = 0; i < COUNT; i += 97) assert_true(number_accepts(pool, number_walk(pool, start, texts[i])));
    for (int i = 0; i < COUNT; i += 97)
        assert_false(number_accepts(pool, number_walk(pool, number_start(pool, rest), texts[i])));
    assert_true(fuel - budget.fuel < 10 * COUNT);
    free(texts);
    free(views);
}

static void test_an_empty_budget_fails(void **state) {
    (void)state;
    const char *rules = "*0.01 >=0 <=12345678901234567890123456789012345678901.5 !3";
    for (int64_t fuel = 0; fuel < 60; fuel++) {
        struct grammar_budget small = {fuel, fuel % 2 == 0 ? 1 << 20 : 400 * fuel};
        struct number_pool *other = NULL;
        if (number_pool_create(&small, &other, NULL) != STATUS_OK) continue;
        number_set set = number_rules(other, rules);
        number_state at = number_walk(other, number_start(other, set), "12.340");
        if (budget_exhausted(&small))
            assert_true(set == NUMBER_FAILED || at == NUMBER_STATE_FAILED || !number_accepts(other, at));
        else
            assert_true(number_accepts(other, at));
        number_pool_destroy(other);
    }
}

static void test_what_is_not_supported_fails(void **state) {
    (void)state;
    assert_int_equal(number_rules(pool, ">=1e100001"), NUMBER_FAILED);
    assert_int_equal(number_rules(pool, "*1e1001"), NUMBER_FAILED);
    assert_int_equal(number_rules(pool, "*0"), NUMBER_FAILED);
    assert_int_equal(number_rules(pool, "*-1"), NUMBER_FAILED);
    assert_int_equal(number_rules(pool, ">=x"), NUMBER_FAILED);
    assert_int_equal(number_rules(pool, "~2 ~3 ~5 ~7 ~11 ~13 ~17 ~19 ~23 ~29 ~31 ~37 ~41 ~43 ~47 ~53 ~59"),
                     NUMBER_FAILED);
    assert_false(budget_exhausted(&budget));
    assert_int_equal(number_start(pool, NUMBER_FAILED), NUMBER_STATE_FAILED);
    assert_int_equal(number_step(pool, NUMBER_STATE_FAILED, '1'), NUMBER_STATE_FAILED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_canonical_texts),
        TEST(test_comparing),
        TEST(test_equal_sets_are_one),
        TEST(test_emptiness_is_decided),
        TEST(test_counting),
        TEST(test_any_number_has_no_limits),
        TEST(test_boundaries),
        TEST(test_limits_of_digits_leave_no_dead_end),
        TEST(test_as_programs_print_them),
        TEST(test_equal_futures_are_one_state),
        TEST(test_shortest_rests),
        TEST(test_long_lists_are_not_quadratic),
        TEST(test_an_empty_budget_fails),
        TEST(test_what_is_not_supported_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
