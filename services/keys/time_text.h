/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Times as clients write and read them: RFC 3339, in UTC. */
#ifndef SERVICES_KEYS_TIME_TEXT_H
#define SERVICES_KEYS_TIME_TEXT_H

#include <stdbool.h>
#include <stdint.h>

enum { TIME_TEXT_BYTES = 24, SECONDS_PER_DAY = 86400 };

/** "2026-11-23" (the first second of that day, UTC) or "2026-11-23T12:09:01.5+01:00" (fractions are dropped) to Unix seconds. False for anything else,
 *  years before 1970 included. */
bool time_parse(const char *text, int64_t *out_unix, bool *out_is_date);
/** "2026-11-23T12:09:01Z"; 0 <= `unix_seconds`, years to 9999. */
void time_format(int64_t unix_seconds, char out[TIME_TEXT_BYTES]);

#endif
