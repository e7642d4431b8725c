/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/values.h"

#include "base/clock.h"
#include "base/settings.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MINUTE = 60, HOUR = 60 * MINUTE, DAY = 24 * HOUR };

/* --- counts ------------------------------------------------------------------------------------------------------ */

bool value_parse_count(const char *text, int64_t *out) {
    int64_t whole = 0, unit = 1;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0) return false;
    const char *at = text + digits, *fraction = NULL;
    size_t fraction_digits = 0;
    if (*at == '.') {
        fraction = at + 1;
        fraction_digits = strspn(fraction, "0123456789");
        at = fraction + fraction_digits;
        if (fraction_digits == 0) return false;
    }
    if (*at == 'k' || *at == 'K') unit = 1000;
    if (*at == 'm' || *at == 'M') unit = 1000 * 1000;
    if (*at == 'g' || *at == 'G') unit = 1000 * 1000 * 1000;
    if (at[unit != 1] != 0) return false;
    for (size_t i = 0; i < digits; i++) {
        if (__builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, text[i] - '0', &whole))
            return false;
    }
    if (__builtin_mul_overflow(whole, unit, &whole)) return false;
    for (size_t i = 0; i < fraction_digits; i++) {
        if (fraction[i] == '0') continue;
        int64_t place = unit;
        for (size_t j = 0; j <= i; j++) {
            if (place % 10 != 0) return false; /* less than one */
            place /= 10;
        }
        if (__builtin_add_overflow(whole, place * (fraction[i] - '0'), &whole)) return false;
    }
    *out = whole;
    return true;
}

bool value_is_choice(const char *choices, const char *text) {
    size_t length = strlen(text);
    for (const char *at = choices; length > 0; at++) {
        size_t word = strcspn(at, "|");
        if (word == length && memcmp(at, text, length) == 0) return true;
        at += word;
        if (*at == 0) break;
    }
    return false;
}

/* --- moments ----------------------------------------------------------------------------------------------------- */

/** `digits` of them, as a number; -1 when there are others. */
static int number_at(const char *text, int digits) {
    int value = 0;
    for (int i = 0; i < digits; i++) {
        if (text[i] < '0' || text[i] > '9') return -1;
        value = 10 * value + (text[i] - '0');
    }
    return value;
}

static int days_of_month(int year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

/** "2026-11-30" or "2026-11": the moment it begins; `*rest` is what stands behind. */
static bool parse_day(const char *text, int64_t *out, const char **rest) {
    int year = number_at(text, 4);
    if (year < 1970 || text[4] != '-') return false;
    int month = number_at(text + 5, 2), day = 1;
    if (month < 1 || month > 12) return false;
    *rest = text + 7;
    if (text[7] == '-') {
        day = number_at(text + 8, 2);
        if (day < 1 || day > days_of_month(year, month)) return false;
        *rest = text + 10;
    }
    struct tm parts = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};
    *out = timegm(&parts);
    return true;
}

/** "08:00", "08:00:59", "08:00:59.123": seconds of the day. */
static bool parse_clock(const char *text, int64_t *out, const char **rest) {
    int hour = number_at(text, 2), minute = hour < 0 || text[2] != ':' ? -1 : number_at(text + 3, 2), second = 0;
    if (minute < 0 || hour > 23 || minute > 59) return false;
    text += 5;
    if (*text == ':') {
        second = number_at(text + 1, 2);
        if (second < 0 || second > 59) return false;
        text += 3;
        if (*text == '.') text += 1 + strspn(text + 1, "0123456789");
    }
    *out = hour * HOUR + minute * MINUTE + second;
    *rest = text;
    return true;
}

/** "", "Z" or "+01:00": seconds east of UTC. */
static bool parse_offset(const char *text, int64_t *out) {
    *out = 0;
    if (text[0] == 0 || strcmp(text, "Z") == 0) return true;
    if (text[0] != '+' && text[0] != '-') return false;
    int hour = number_at(text + 1, 2), minute = hour < 0 || text[3] != ':' ? -1 : number_at(text + 4, 2);
    if (minute < 0 || hour > 23 || minute > 59 || text[6] != 0) return false;
    *out = (text[0] == '-' ? -1 : 1) * (hour * HOUR + minute * MINUTE);
    return true;
}

bool value_parse_time(const char *text, int64_t *out_seconds) {
    int64_t day, clock = 0, offset = 0;
    const char *rest;
    if (!parse_day(text, &day, &rest)) return false;
    if (*rest != 0) {
        if (rest - text != 10 || (*rest != 'T' && *rest != ' ')) return false;
        if (!parse_clock(rest + 1, &clock, &rest) || !parse_offset(rest, &offset)) return false;
    }
    *out_seconds = day + clock - offset;
    return true;
}

enum status value_parse_date(const char *text, int64_t now_ns, char out[VALUE_TIME_BYTES], struct error *err) {
    int64_t now = now_ns / NS_PER_S, seconds, duration_ns;
    if (strcmp(text, "now") == 0) {
        seconds = now;
    } else if (strcmp(text, "today") == 0) {
        seconds = now - now % DAY;
    } else if (strcmp(text, "yesterday") == 0) {
        seconds = now - now % DAY - DAY;
    } else if (!value_parse_time(text, &seconds)) {
        if (settings_parse_duration(text, &duration_ns, NULL) != STATUS_OK || duration_ns > now_ns || duration_ns < 0)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "'%.64s' is no date: 2026-11-30, 2026-11, 2026-11-30T08:00Z, today, yesterday, or 7d for "
                             "a week ago",
                             text);
        seconds = now - duration_ns / NS_PER_S;
    }
    time_t unix_time = (time_t)seconds;
    struct tm utc;
    if (gmtime_r(&unix_time, &utc) == NULL || strftime(out, VALUE_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "'%.64s' is out of range", text);
    return STATUS_OK;
}

void value_format_second(int64_t unix_seconds, char out[VALUE_TIME_BYTES]) {
    time_t seconds = (time_t)unix_seconds;
    struct tm local;
    if (localtime_r(&seconds, &local) == NULL || strftime(out, VALUE_TIME_BYTES, "%Y-%m-%d %H:%M:%S", &local) == 0)
        snprintf(out, VALUE_TIME_BYTES, "-");
}

void value_format_time(int64_t unix_seconds, char out[VALUE_TIME_BYTES]) {
    enum { SECOND_BYTES = 3 }; /* ":59" */
    value_format_second(unix_seconds, out);
    if (strlen(out) > SECOND_BYTES) out[strlen(out) - SECOND_BYTES] = 0;
}

void value_format_wait(int64_t milliseconds, char out[VALUE_TIME_BYTES]) {
    int64_t tenths = milliseconds / 100 + (milliseconds % 100 != 0);
    int64_t minutes = milliseconds / (MINUTE * 1000) + (milliseconds % (MINUTE * 1000) != 0);
    int64_t hours = minutes / 60 + (minutes % 60 != 0);
    if (milliseconds < 2 * MINUTE * 1000)
        snprintf(out, VALUE_TIME_BYTES, "%" PRId64 ".%d s", tenths / 10, (int)(tenths % 10));
    else if (minutes < 60)
        snprintf(out, VALUE_TIME_BYTES, "%" PRId64 " min", minutes);
    else if (minutes < 24 * 60)
        snprintf(out, VALUE_TIME_BYTES, "%" PRId64 " h %d min", minutes / 60, (int)(minutes % 60));
    else
        snprintf(out, VALUE_TIME_BYTES, "%" PRId64 " d %d h", hours / 24, (int)(hours % 24));
}

void value_format_ago(int64_t unix_seconds, int64_t now_seconds, char out[VALUE_TIME_BYTES]) {
    int64_t age = now_seconds - unix_seconds;
    if (age < -MINUTE || age >= 30 * DAY)
        value_format_time(unix_seconds, out);
    else if (age < MINUTE)
        snprintf(out, VALUE_TIME_BYTES, "just now");
    else if (age < HOUR)
        snprintf(out, VALUE_TIME_BYTES, "%" PRId64 " min ago", age / MINUTE);
    else if (age < DAY)
        snprintf(out, VALUE_TIME_BYTES, "%" PRId64 " h ago", age / HOUR);
    else
        snprintf(out, VALUE_TIME_BYTES, "%" PRId64 " d ago", age / DAY);
}

/* --- numbers to read --------------------------------------------------------------------------------------------- */

void value_format_count(int64_t value, char out[VALUE_COUNT_BYTES]) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, value < 0 ? -(uint64_t)value : (uint64_t)value), at = 0;
    if (value < 0) out[at++] = '-';
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = 0;
}

void value_format_short(int64_t value, char out[VALUE_COUNT_BYTES]) {
    static const struct {
        int64_t size;
        char letter;
    } units[] = {{1000000000, 'G'}, {1000000, 'M'}, {1000, 'k'}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        int64_t tenths = value / (units[i].size / 10);
        if (value < units[i].size || value % (units[i].size / 10) != 0) continue;
        char whole[VALUE_COUNT_BYTES], tenth[4] = "";
        value_format_count(tenths / 10, whole);
        if (tenths % 10 != 0) snprintf(tenth, sizeof tenth, ".%d", (int)(tenths % 10));
        snprintf(out, VALUE_COUNT_BYTES, "%.24s%s%c", whole, tenth, units[i].letter);
        return;
    }
    value_format_count(value, out);
}

void value_format_money(double value, char out[VALUE_COUNT_BYTES]) {
    enum { DIGITS = 9, DIGITS_MIN = 2 };
    snprintf(out, VALUE_COUNT_BYTES, "%.*f", DIGITS, value);
    for (size_t end = strlen(out), kept = 0; kept < DIGITS - DIGITS_MIN && out[end - 1] == '0'; kept++) out[--end] = 0;
}
