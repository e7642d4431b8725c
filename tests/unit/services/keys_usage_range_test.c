/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The time that a question about usage is about. */
#include "services/keys/usage_range.h"

#include "services/keys/time_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NOW INT64_C(1709251199) /* 2024-02-29T23:59:59Z */

struct question {
    struct usage_asked asked;
    const char *expected; /* "from to", or the field that is wrong */
};

static void check(const struct question *questions, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct usage_range range;
        const char *field = NULL, *message = NULL;
        char text[64], from[TIME_TEXT_BYTES], to[TIME_TEXT_BYTES];
        if (usage_range_read(&questions[i].asked, NOW, &range, &field, &message)) {
            time_format(range.from, from);
            time_format(range.to, to);
            snprintf(text, sizeof text, "%s %s", from, to);
            assert_string_equal(text, questions[i].expected);
        } else {
            assert_string_equal(field, questions[i].expected);
            assert_non_null(message);
        }
    }
}

static void test_ranges(void **state) {
    (void)state;
    static const struct question questions[] = {
        {{0}, "2024-02-01T00:00:00Z 2024-03-01T00:00:00Z"},
        {{.from = "2024-02-10"}, "2024-02-10T00:00:00Z 2024-03-01T00:00:00Z"},
        {{.to = "2023-06-15"}, "2023-06-01T00:00:00Z 2023-06-15T00:00:00Z"},
        {{.to = "2023-06-01"}, "2023-05-01T00:00:00Z 2023-06-01T00:00:00Z"},
        {{.from = "2024-02-10T10:30:00Z", .to = "2024-02-10T10:30:01Z"}, "2024-02-10T00:00:00Z 2024-02-11T00:00:00Z"},
        {{.from = "2024-02-10T10:30:00Z", .to = "2024-02-10T10:30:01Z", .interval = "hour"},
         "2024-02-10T10:00:00Z 2024-02-10T11:00:00Z"},
        {{.from = "2024-02-10T23:30:00-01:00", .to = "2024-02-12", .interval = "hour"},
         "2024-02-11T00:00:00Z 2024-02-12T00:00:00Z"},
        {{.year = 2023}, "2023-01-01T00:00:00Z 2024-01-01T00:00:00Z"},
        {{.year = 2023, .month = 12}, "2023-12-01T00:00:00Z 2024-01-01T00:00:00Z"},
        {{.year = 2100, .month = 2, .interval = "month"}, "2100-02-01T00:00:00Z 2100-03-01T00:00:00Z"},
        {{.from = "2024-01-01", .to = "2024-04-10", .interval = "hour"}, "2024-01-01T00:00:00Z 2024-04-10T00:00:00Z"},
        {{.from = "2020-01-01", .to = "2025-01-04"}, "2020-01-01T00:00:00Z 2025-01-04T00:00:00Z"},
    };
    check(questions, sizeof questions / sizeof *questions);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct question questions[] = {
        {{.from = "yesterday"}, "from"},
        {{.to = "2024-13-01"}, "to"},
        {{.from = "2024-02-10", .to = "2024-02-10"}, "to"},
        {{.from = "2024-02-11", .to = "2024-02-10"}, "to"},
        {{.from = "2024-01-01", .to = "2024-04-10T00:00:01Z", .interval = "hour"}, "from"},
        {{.from = "2020-01-01", .to = "2025-01-05"}, "from"},
        {{.from = "2020-01-01", .to = "2025-01-05", .interval = "all"}, "from"},
        {{.year = 2023, .interval = "hour"}, "year"},
        {{.year = 2023, .from = "2023-01-01"}, "year"},
        {{.month = 3}, "month"},
    };
    check(questions, sizeof questions / sizeof *questions);
}

static void test_intervals_begin_where_they_should(void **state) {
    (void)state;
    struct usage_range range = {.interval = USAGE_MONTH, .from = 12345};
    assert_int_equal(usage_range_begin(&range, NOW), 1706745600); /* 2024-02-01 */
    range.interval = USAGE_DAY;
    assert_int_equal(usage_range_begin(&range, NOW), 1709164800); /* 2024-02-29 */
    range.interval = USAGE_HOUR;
    assert_int_equal(usage_range_begin(&range, NOW), 1709247600);
    range.interval = USAGE_ALL;
    assert_int_equal(usage_range_begin(&range, NOW), 12345);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_intervals_begin_where_they_should),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
