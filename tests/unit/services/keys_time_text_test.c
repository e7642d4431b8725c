/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/time_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_dates_and_times_are_read(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t unix_seconds;
        bool is_date;
    } cases[] = {
        {"1970-01-01", 0, true},
        {"2024-02-29", 1709164800, true},
        {"2026-11-30", 1796000000 - 3200, true},
        {"9999-12-31", 253402214400, true},
        {"2026-11-30T00:00:00Z", 1795996800, false},
        {"2026-11-30t12:09:01z", 1795996800 + 43741, false},
        {"2026-11-30 12:09:01Z", 1795996800 + 43741, false},
        {"2026-11-30T12:09:01.999999Z", 1795996800 + 43741, false},
        {"2026-11-30T00:00:00+01:30", 1795996800 - 5400, false},
        {"2026-11-30T00:00:00-08:00", 1795996800 + 28800, false},
        {"2016-12-31T23:59:60Z", 1483228800, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t out = -1;
        bool is_date = !cases[i].is_date;
        if (!time_parse(cases[i].text, &out, &is_date)) fail_msg("%s", cases[i].text);
        assert_int_equal(out, cases[i].unix_seconds);
        assert_int_equal(is_date, cases[i].is_date);
    }
}

static void test_anything_else_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "2026",
                                      "2026-11",
                                      "2026-11-3",
                                      "2026-11-31",
                                      "2025-02-29",
                                      "2100-02-29",
                                      "2026-00-10",
                                      "2026-13-10",
                                      "2026-11-00",
                                      "1969-12-31",
                                      "2026-11-30T",
                                      "2026-11-30T12:00Z",
                                      "2026-11-30T24:00:00Z",
                                      "2026-11-30T12:60:00Z",
                                      "2026-11-30T12:00:61Z",
                                      "2026-11-30T12:00:00",
                                      "2026-11-30T12:00:00.Z",
                                      "2026-11-30T12:00:00+24:00",
                                      "2026-11-30T12:00:00+0100",
                                      "2026-11-30T12:00:00Zx",
                                      "2026-11-30x",
                                      " 2026-11-30",
                                      "1970-01-01T00:00:00+01:00",
                                      "9999-12-31T23:59:59-01:00",
                                      "20261130",
                                      "+026-11-30",
                                      "1796000000"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t out;
        bool is_date;
        if (time_parse(bad[i], &out, &is_date)) fail_msg("%s", bad[i]);
    }
}

static void test_times_are_written_in_utc(void **state) {
    (void)state;
    char text[TIME_TEXT_BYTES];
    time_format(1795996800 + 43741, text);
    assert_string_equal(text, "2026-11-30T12:09:01Z");
    time_format(INT64_MAX, text); /* what is too far away is the end of the calendar */
    assert_string_equal(text, "9999-12-31T23:59:59Z");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dates_and_times_are_read),
        cmocka_unit_test(test_anything_else_is_refused),
        cmocka_unit_test(test_times_are_written_in_utc),
    };
    return cmocka_run_group_tests_name("services/keys_time_text", tests, NULL, NULL);
}
