/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/time_text.h"

#include <string.h>
#include <time.h>

static const int64_t LAST_SECOND = INT64_C(253402300799); /* of the year 9999 */

/** `digits` decimal digits, then on behind them. */
static bool take_number(const char **at, int digits, int *out) {
    *out = 0;
    for (int i = 0; i < digits; i++, (*at)++) {
        if (**at < '0' || **at > '9') return false;
        *out = *out * 10 + (**at - '0');
    }
    return true;
}

static bool take(const char **at, char character) {
    if (**at != character) return false;
    (*at)++;
    return true;
}

static int days_of_month(int year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap ? 1 : 0);
}

/** "Z", "+01:00", "-01:00" as seconds that UTC is behind. */
static bool take_offset(const char **at, int64_t *out) {
    *out = 0;
    if (take(at, 'Z') || take(at, 'z')) return true;
    int sign = **at == '-' ? -1 : 1, hours = 0, minutes = 0;
    if (!take(at, '+') && !take(at, '-')) return false;
    if (!take_number(at, 2, &hours) || !take(at, ':') || !take_number(at, 2, &minutes)) return false;
    *out = sign * (hours * 3600 + minutes * 60);
    return hours <= 23 && minutes <= 59;
}

bool time_parse(const char *text, int64_t *out_unix, bool *out_is_date) {
    struct tm parts = {0};
    int year = 0, month = 0;
    int64_t offset = 0;
    const char *at = text;
    if (!take_number(&at, 4, &year) || !take(&at, '-') || !take_number(&at, 2, &month) || !take(&at, '-') ||
        !take_number(&at, 2, &parts.tm_mday) || year < 1970 || month < 1 || month > 12 || parts.tm_mday < 1 ||
        parts.tm_mday > days_of_month(year, month))
        return false;
    *out_is_date = *at == 0;
    if (!*out_is_date) {
        if (!take(&at, 'T') && !take(&at, 't') && !take(&at, ' ')) return false;
        if (!take_number(&at, 2, &parts.tm_hour) || !take(&at, ':') || !take_number(&at, 2, &parts.tm_min) ||
            !take(&at, ':') || !take_number(&at, 2, &parts.tm_sec) || parts.tm_hour > 23 || parts.tm_min > 59 ||
            parts.tm_sec > 60) /* a leap second counts as the one behind it */
            return false;
        if (take(&at, '.')) {
            size_t digits = strspn(at, "0123456789");
            if (digits == 0) return false;
            at += digits;
        }
        if (!take_offset(&at, &offset) || *at != 0) return false;
    }
    parts.tm_year = year - 1900;
    parts.tm_mon = month - 1;
    *out_unix = (int64_t)timegm(&parts) - offset;
    return *out_unix >= 0 && *out_unix <= LAST_SECOND;
}

void time_format(int64_t unix_seconds, char out[TIME_TEXT_BYTES]) {
    time_t seconds = (time_t)(unix_seconds < LAST_SECOND ? unix_seconds : LAST_SECOND);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    strftime(out, TIME_TEXT_BYTES, "%Y-%m-%dT%H:%M:%SZ", &parts);
}
