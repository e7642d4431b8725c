/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/values.h"

#include "base/clock.h"
#include "cli/suggest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NOW (INT64_C(1793620800) * NS_PER_S) /* 2026-11-02T12:00:00Z */

static void test_counts_with_units_are_exact(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {{"0", 0},           {"2500", 2500},
                {"20k", 20000},     {"20K", 20000},
                {"1.5M", 1500000},  {"1.234567m", 1234567},
                {"2G", 2000000000}, {"0.001k", 1},
                {"2.0k", 2000},     {"9223372036854775807", INT64_MAX}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t value = -1;
        assert_true(value_parse_count(good[i].text, &value));
        assert_int_equal(value, good[i].value);
    }
}

static void test_what_is_no_count_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "-1",
                                      "+1",
                                      "k",
                                      "1.5",
                                      "1.2000",
                                      "1.0005k",
                                      "1.k",
                                      ".5k",
                                      "1kk",
                                      "1 k",
                                      "0x10",
                                      "1e6",
                                      "1,000",
                                      "none",
                                      "20T",
                                      " 20",
                                      "20 ",
                                      "nan",
                                      "9223372036854775808",
                                      "9223372036854775807k",
                                      "10000000000G",
                                      "1.9999999999G"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t value;
        if (value_parse_count(bad[i], &value)) fail_msg("'%s' became %lld", bad[i], (long long)value);
    }
}

static void test_choices_are_whole_words(void **state) {
    (void)state;
    assert_true(value_is_choice("admin|member|service", "admin"));
    assert_true(value_is_choice("admin|member|service", "service"));
    assert_false(value_is_choice("admin|member|service", "serv"));
    assert_false(value_is_choice("admin|member|service", "member|service"));
    assert_false(value_is_choice("admin|member|service", ""));
}

static void test_dates_become_moments(void **state) {
    (void)state;
    static const struct {
        const char *text, *moment;
    } good[] = {{"2026-11-30", "2026-11-30T00:00:00Z"},
                {"2026-11", "2026-11-01T00:00:00Z"},
                {"2028-02-29", "2028-02-29T00:00:00Z"},
                {"2026-11-30T08:15", "2026-11-30T08:15:00Z"},
                {"2026-11-30 08:15:59", "2026-11-30T08:15:59Z"},
                {"2026-11-30T08:15:59.25Z", "2026-11-30T08:15:59Z"},
                {"2026-12-01T00:30:00+01:00", "2026-11-30T23:30:00Z"},
                {"2026-11-30T23:30:00-01:00", "2026-12-01T00:30:00Z"},
                {"now", "2026-11-02T12:00:00Z"},
                {"today", "2026-11-02T00:00:00Z"},
                {"yesterday", "2026-11-01T00:00:00Z"},
                {"7d", "2026-10-26T12:00:00Z"},
                {"90m", "2026-11-02T10:30:00Z"}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char moment[VALUE_TIME_BYTES];
        struct error err = {0};
        if (value_parse_date(good[i].text, NOW, moment, &err) != STATUS_OK) fail_msg("%s", err.message);
        assert_string_equal(moment, good[i].moment);
    }
}

static void test_what_is_no_date_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "2026",
                                      "2026-13",
                                      "2026-00",
                                      "2026-02-29",
                                      "2026-11-31",
                                      "2026-11-00",
                                      "2026-1-1",
                                      "20261130",
                                      "30.11.2026",
                                      "2026-11T08:00",
                                      "2026-11-30T",
                                      "2026-11-30T24:00",
                                      "2026-11-30T08:60",
                                      "2026-11-30T08:00X",
                                      "2026-11-30T08:00+25:00",
                                      "2026-11-30T08:00+01",
                                      "tomorrow",
                                      "-7d",
                                      "7",
                                      "99999999d"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char moment[VALUE_TIME_BYTES];
        struct error err = {0};
        if (value_parse_date(bad[i], NOW, moment, &err) == STATUS_OK) fail_msg("'%s' became %s", bad[i], moment);
        assert_non_null(strstr(err.message, bad[i]));
    }
}

static void test_waits_are_told_in_two_units_at_most(void **state) {
    (void)state;
    static const struct {
        int64_t milliseconds;
        const char *text;
    } waits[] = {{1, "0.1 s"},
                 {2500, "2.5 s"},
                 {61000, "61.0 s"},
                 {119999, "120.0 s"},
                 {120000, "2 min"},
                 {120001, "3 min"},
                 {59 * 60000, "59 min"},
                 {59 * 60000 + 1, "1 h 0 min"},
                 {6000000, "1 h 40 min"},
                 {INT64_C(24) * 3600000 - 60000, "23 h 59 min"},
                 {INT64_C(24) * 3600000, "1 d 0 h"},
                 {INT64_C(30) * 24 * 3600000 + 1, "30 d 1 h"}};
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        char text[VALUE_TIME_BYTES];
        value_format_wait(waits[i].milliseconds, text);
        assert_string_equal(text, waits[i].text);
    }
}

static void test_times_are_read_as_services_write_them(void **state) {
    (void)state;
    int64_t seconds;
    assert_true(value_parse_time("2026-11-02T12:00:00Z", &seconds));
    assert_int_equal(seconds, NOW / NS_PER_S);
    assert_true(value_parse_time("2026-11-02T12:00:00.999999Z", &seconds));
    assert_int_equal(seconds, NOW / NS_PER_S);
    assert_false(value_parse_time("", &seconds));
}

static void test_numbers_are_written_to_be_read(void **state) {
    (void)state;
    char text[VALUE_COUNT_BYTES];
    static const struct {
        int64_t value;
        const char *text;
    } counts[] = {
        {0, "0"}, {999, "999"}, {1000, "1,000"}, {-1234567, "-1,234,567"}, {INT64_MIN, "-9,223,372,036,854,775,808"}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        value_format_count(counts[i].value, text);
        assert_string_equal(text, counts[i].text);
    }
    static const struct {
        int64_t value;
        const char *text;
    } shorts[] = {{0, "0"},
                  {999, "999"},
                  {1000, "1k"},
                  {1500, "1.5k"},
                  {1550, "1,550"},
                  {20000, "20k"},
                  {1234567, "1,234,567"},
                  {1500000, "1.5M"},
                  {1050000, "1,050k"},
                  {2000000000, "2G"},
                  {-1000, "-1,000"},
                  {INT64_MAX, "9,223,372,036,854,775,807"}};
    for (size_t i = 0; i < sizeof shorts / sizeof *shorts; i++) {
        value_format_short(shorts[i].value, text);
        assert_string_equal(text, shorts[i].text);
    }
    static const struct {
        double value;
        const char *text;
    } amounts[] = {{0, "0.00"}, {1.5, "1.50"}, {12, "12.00"}, {0.000000012, "0.000000012"}, {-0.25, "-0.25"}};
    for (size_t i = 0; i < sizeof amounts / sizeof *amounts; i++) {
        value_format_money(amounts[i].value, text);
        assert_string_equal(text, amounts[i].text);
    }
}

static void test_ages_are_told_in_one_unit(void **state) {
    (void)state;
    char text[VALUE_TIME_BYTES];
    static const struct {
        int64_t age;
        const char *text;
    } ages[] = {{0, "just now"},   {59, "just now"},    {60, "1 min ago"},
                {3600, "1 h ago"}, {86399, "23 h ago"}, {3 * 86400, "3 d ago"}};
    for (size_t i = 0; i < sizeof ages / sizeof *ages; i++) {
        value_format_ago(NOW / NS_PER_S - ages[i].age, NOW / NS_PER_S, text);
        assert_string_equal(text, ages[i].text);
    }
    setenv("TZ", "UTC", 1);
    tzset();
    value_format_ago(NOW / NS_PER_S - 40 * 86400, NOW / NS_PER_S, text);
    assert_string_equal(text, "2026-09-23 12:00");
}

static const char *meant(const char *word) {
    static const char *const known[] = {"create", "list", "revoke", "rotate", "temperature"};
    const char *nearest = NULL;
    size_t distance = suggest_distance(word);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) suggest_word(word, known[i], &nearest, &distance);
    return nearest;
}

static void test_typing_errors_have_a_nearest_word(void **state) {
    (void)state;
    assert_string_equal(meant("lits"), "list");
    assert_string_equal(meant("craete"), "create");
    assert_string_equal(meant("revok"), "revoke");
    assert_string_equal(meant("temp"), "temperature");
    assert_null(meant("xyzzy"));
    assert_null(meant("q"));
    assert_null(meant("a-word-that-is-longer-than-any-that-this-program-could-ever-know-about-itself"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_with_units_are_exact),
        cmocka_unit_test(test_what_is_no_count_is_refused),
        cmocka_unit_test(test_choices_are_whole_words),
        cmocka_unit_test(test_dates_become_moments),
        cmocka_unit_test(test_what_is_no_date_is_refused),
        cmocka_unit_test(test_waits_are_told_in_two_units_at_most),
        cmocka_unit_test(test_times_are_read_as_services_write_them),
        cmocka_unit_test(test_numbers_are_written_to_be_read),
        cmocka_unit_test(test_ages_are_told_in_one_unit),
        cmocka_unit_test(test_typing_errors_have_a_nearest_word),
    };
    return cmocka_run_group_tests_name("cli/values", tests, NULL, NULL);
}
