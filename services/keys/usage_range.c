/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/usage_range.h"

#include "services/keys/time_text.h"

#include <string.h>
#include <time.h>

enum { SECONDS_PER_HOUR = 3600 };

static const char *const interval_names[] = {
    [USAGE_HOUR] = "hour", [USAGE_DAY] = "day", [USAGE_MONTH] = "month", [USAGE_ALL] = "all"};

const char *usage_interval_name(enum usage_interval interval) {
    return interval_names[interval];
}

/** The first second of a month; 13 is the next year's first. */
static int64_t begin_of_month(int year, int month) {
    struct tm parts = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = 1};
    return (int64_t)timegm(&parts);
}

static int64_t month_of(int64_t time, int months_later) {
    time_t seconds = (time_t)time;
    struct tm parts;
    gmtime_r(&seconds, &parts);
    return begin_of_month(parts.tm_year + 1900, parts.tm_mon + 1 + months_later);
}

static bool wrong(const char *field, const char *message, const char **out_field, const char **out_message) {
    *out_field = field;
    *out_message = message;
    return false;
}

char usage_range_kind(const struct usage_range *range) {
    return range->interval == USAGE_HOUR ? 'h' : 'd';
}

int64_t usage_range_step(const struct usage_range *range) {
    return range->interval == USAGE_HOUR ? SECONDS_PER_HOUR : SECONDS_PER_DAY;
}

int64_t usage_range_begin(const struct usage_range *range, int64_t time) {
    switch (range->interval) {
    case USAGE_MONTH:
        return month_of(time, 0);
    case USAGE_ALL:
        return range->from;
    default:
        return time - time % usage_range_step(range);
    }
}

/** from and to, as far as they are given: the current month is what is left. */
static bool read_times(const struct usage_asked *asked, int64_t now, struct usage_range *out, const char **out_field,
                       const char **out_message) {
    static const char no_time[] = "Value error, no RFC 3339 date or date-time";
    bool is_date = false;
    if (asked->to == NULL)
        out->to = month_of(now, 1);
    else if (!time_parse(asked->to, &out->to, &is_date))
        return wrong("to", no_time, out_field, out_message);
    if (asked->from == NULL)
        out->from = month_of(asked->to == NULL ? now : out->to > 0 ? out->to - 1 : 0, 0);
    else if (!time_parse(asked->from, &out->from, &is_date))
        return wrong("from", no_time, out_field, out_message);
    return true;
}

bool usage_range_read(const struct usage_asked *asked, int64_t now, struct usage_range *out, const char **out_field,
                      const char **out_message) {
    *out = (struct usage_range){.interval = USAGE_DAY};
    for (int i = 0; asked->interval != NULL && i <= USAGE_ALL; i++) {
        if (strcmp(asked->interval, interval_names[i]) == 0) out->interval = (enum usage_interval)i;
    }
    if (asked->year != 0) {
        if (asked->from != NULL || asked->to != NULL)
            return wrong("year", "Value error, year stands instead of from and to", out_field, out_message);
        out->from = begin_of_month(asked->year, asked->month != 0 ? asked->month : 1);
        out->to =
            asked->month != 0 ? begin_of_month(asked->year, asked->month + 1) : begin_of_month(asked->year + 1, 1);
    } else if (asked->month != 0) {
        return wrong("month", "Value error, month needs a year", out_field, out_message);
    } else if (!read_times(asked, now, out, out_field, out_message)) {
        return false;
    }
    int64_t step = usage_range_step(out);
    out->from -= out->from % step;
    out->to += (step - out->to % step) % step;
    if (out->from >= out->to) return wrong("to", "Value error, to is not after from", out_field, out_message);
    if ((out->to - out->from) / step > (out->interval == USAGE_HOUR ? USAGE_HOURS_MAX : USAGE_DAYS_MAX)) {
        const char *field = asked->year != 0 ? "year" : asked->from != NULL ? "from" : "to";
        return wrong(field,
                     out->interval == USAGE_HOUR ? "Value error, by the hour at most 100 days can be asked for"
                                                 : "Value error, at most 1830 days can be asked for",
                     out_field, out_message);
    }
    return true;
}
