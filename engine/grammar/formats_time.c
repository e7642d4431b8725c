/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Times with leap seconds. A minute has 61 seconds only where it is 23:59 in UTC, so the hour in front and the offset behind must fit:
 *
 *     local = 23:59 + offset (mod 24 hours)        -g:00  (23-g):59:60      +g:00  (g-1):59:60
 *
 * East of Greenwich, where the offset is above zero, the day is the next already. Every pair is an alternative of its own, so only the whole hours
 * that zones have are here. */
#include "engine/grammar/formats_internal.h"

#include "base/bytes.h"

#include <stdio.h>

#define HOUR "(?:[01]\\d|2[0-3])"
#define FRACTION "(?:\\.\\d+)?"
#define PLAIN HOUR ":[0-5]\\d:[0-5]\\d" FRACTION "(?:[Zz]|[+-]" HOUR ":[0-5]\\d)"
#define PLAIN_UTC "23:59:60" FRACTION "(?:[Zz]|\\+00:00)"

enum { WEST_MOST = 12, EAST_MOST = 14 };

/** "hh" or "+hh". */
static regex number(struct regex_pool *pool, const char *sign, int hours) {
    char text[8];
    int length = snprintf(text, sizeof text, "%s%02d", sign, hours);
    return regex_literal(pool, bytes_view_of(text, (size_t)length));
}

/** 23:59:60 in UTC where the offset is `sign` `first`..`last` hours; at the offset `first` it is local `hour`, and `step` hours later at each next. */
static regex leap(struct regex_pool *pool, const char *sign, int first, int last, int hour, int step) {
    regex minute = format_pattern(pool, ":59:60" FRACTION), end = format_pattern(pool, ":00"), made = REGEX_NOTHING;
    for (int offset = first; offset <= last; offset++, hour += step) {
        const regex parts[] = {number(pool, "", hour), minute, number(pool, sign, offset), end};
        made = regex_or(pool, made, format_sequence(pool, parts, 4));
    }
    return made;
}

static regex leap_same_day(struct regex_pool *pool) {
    return regex_or(pool, format_pattern(pool, PLAIN_UTC), leap(pool, "-", 0, WEST_MOST, 23, -1));
}
static regex leap_next_day(struct regex_pool *pool) {
    return leap(pool, "+", 1, EAST_MOST, 0, 1);
}

regex format_time(struct regex_pool *pool) {
    regex leaps = regex_or(pool, leap_same_day(pool), leap_next_day(pool));
    return regex_or(pool, format_pattern(pool, PLAIN), leaps);
}

regex format_date_time(struct regex_pool *pool) {
    const regex plain[] = {format_pattern(pool, "(?:" FORMAT_DATE ")[Tt]"), format_pattern(pool, PLAIN)};
    const regex same_day[] = {format_pattern(pool, "(?:06-30|12-31)[Tt]"), leap_same_day(pool)};
    const regex next_day[] = {format_pattern(pool, "(?:01|07)-01[Tt]"), leap_next_day(pool)};
    regex days = regex_or(pool, format_sequence(pool, same_day, 2), format_sequence(pool, next_day, 2));
    return regex_or(pool, format_sequence(pool, plain, 2), regex_concat(pool, format_pattern(pool, "\\d{4}-"), days));
}
