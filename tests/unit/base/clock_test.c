/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "tests/support/check.h"

#include <time.h>

static void check_date(int64_t unix_ns, const char *expected) {
    char out[32];
    clock_format_rfc3339(unix_ns, out);
    assert_string_equal(out, expected);
}

static void test_dates_are_written_as_rfc3339(void **state) {
    (void)state;
    check_date(0, "1970-01-01T00:00:00.000000Z");
    check_date(INT64_C(1795435741123456789), "2026-11-23T12:09:01.123456Z");
    check_date(INT64_C(951782399999999999), "2000-02-28T23:59:59.999999Z");
    check_date(INT64_C(951782400000001000), "2000-02-29T00:00:00.000001Z");
}

static void test_dates_before_1970_count_back(void **state) {
    (void)state;
    check_date(-1000, "1969-12-31T23:59:59.999999Z");
    check_date(-NS_PER_S, "1969-12-31T23:59:59.000000Z");
}

static void test_first_and_last_date_fit(void **state) {
    (void)state;
    check_date(INT64_MAX, "2262-04-11T23:47:16.854775Z");
    check_date(INT64_MIN, "1677-09-21T00:12:43.145224Z");
}

static void test_system_clock_never_goes_back(void **state) {
    (void)state;
    int64_t before = clock_monotonic_ns(clock_system());
    for (int i = 0; i < 10000; i++) {
        int64_t now = clock_monotonic_ns(clock_system());
        assert_true(now >= before);
        before = now;
    }
}

static void test_system_clock_knows_the_date(void **state) {
    (void)state;
    time_t before = time(NULL);
    int64_t now = clock_unix_ns(clock_system());
    time_t after = time(NULL);
    assert_true(now / NS_PER_S >= before - 1 && now / NS_PER_S <= after); /* time() reads a coarser clock */
}

static void test_fake_clock_moves_when_told(void **state) {
    (void)state;
    struct clock_fake fake;
    clock_fake_init(&fake, 5);
    assert_int_equal(clock_monotonic_ns(&fake.clock), 5);
    fake.now_ns += NS_PER_MS;
    assert_int_equal(clock_monotonic_ns(&fake.clock), 1000005);
    assert_int_equal(clock_unix_ns(&fake.clock), 1000005);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dates_are_written_as_rfc3339), cmocka_unit_test(test_dates_before_1970_count_back),
        cmocka_unit_test(test_first_and_last_date_fit),      cmocka_unit_test(test_system_clock_never_goes_back),
        cmocka_unit_test(test_system_clock_knows_the_date),  cmocka_unit_test(test_fake_clock_moves_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
