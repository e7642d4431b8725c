/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The time that a question about usage is about, and its division into intervals. All of it is UTC; times are Unix seconds.
 */
#ifndef SERVICES_KEYS_USAGE_RANGE_H
#define SERVICES_KEYS_USAGE_RANGE_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum usage_interval { USAGE_HOUR, USAGE_DAY, USAGE_MONTH, USAGE_ALL };
const char *usage_interval_name(enum usage_interval interval);

enum { USAGE_HOURS_MAX = 100 * 24, USAGE_DAYS_MAX = 5 * 366 }; /* of one question; longer, the sums are not kept */

struct usage_range {
    enum usage_interval interval;
    int64_t from, to; /* whole hours (USAGE_HOUR) or days; to excluded; from < to */
};

/** What was asked; NULL and 0: not. */
struct usage_asked {
    const char *from, *to, *interval;
    int year, month;
};
/** False: `*out_field` is what is wrong, and `*out_message` says why. */
bool usage_range_read(const struct usage_asked *asked, int64_t now, struct usage_range *out, const char **out_field,
                      const char **out_message);

/** Begin of the interval that `time` is in; of USAGE_ALL `range->from`. */
int64_t usage_range_begin(const struct usage_range *range, int64_t time);
/** "h" or "d": the sums that the range is read from, and how long one is. */
char usage_range_kind(const struct usage_range *range);
int64_t usage_range_step(const struct usage_range *range);

#endif
