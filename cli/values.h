/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Values as people type and read them: counts with units, dates, times. */
#ifndef CLI_VALUES_H
#define CLI_VALUES_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VALUE_TIME_BYTES = 32, VALUE_COUNT_BYTES = 32 };

/** "2500", "20k", "1.5M", "2G": 0 or more, powers of 1000, exact (1.5 alone and 1.0005k are no whole numbers). */
bool value_parse_count(const char *text, int64_t *out);
/** `text` is one of the words of "a|b|c". */
bool value_is_choice(const char *choices, const char *text);
/**
 * A moment: 2026-11-30, 2026-11 (its first day), 2026-11-30T08:00 with or without seconds and Z or +01:00 (without either: UTC), "now", "today",
 * "yesterday" (UTC), or a duration (7d, 12h): so long before `now_ns`. As RFC 3339, UTC, to the second.
 */
enum status value_parse_date(const char *text, int64_t now_ns, char out[VALUE_TIME_BYTES], struct error *err);
/** RFC 3339 as services write it -> Unix seconds. */
bool value_parse_time(const char *text, int64_t *out_seconds);
/** "2026-11-23 12:09" in local time. */
void value_format_time(int64_t unix_seconds, char out[VALUE_TIME_BYTES]);
/** "just now", "5 min ago", "3 h ago", "2 d ago"; a date from 30 days on. */
void value_format_ago(int64_t unix_seconds, int64_t now_seconds, char out[VALUE_TIME_BYTES]);
/** The same with seconds. */
void value_format_second(int64_t unix_seconds, char out[VALUE_TIME_BYTES]);
/** How long to wait, rounded up: "2.5 s", from two minutes on "3 min", "1 h 40 min", "2 d 3 h". */
void value_format_wait(int64_t milliseconds, char out[VALUE_TIME_BYTES]);
/** 1,234,567. */
void value_format_count(int64_t value, char out[VALUE_COUNT_BYTES]);
/** The same, short where that says no less: 20k, 1.5M; 1,234. */
void value_format_short(int64_t value, char out[VALUE_COUNT_BYTES]);
/** Exact to billionths, at least two digits behind the point: 0.50, 0.000012. */
void value_format_money(double value, char out[VALUE_COUNT_BYTES]);

#endif
