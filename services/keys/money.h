/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Money is counted in nanos, 10^-9 of the currency's unit; messages show units. */
#ifndef SERVICES_KEYS_MONEY_H
#define SERVICES_KEYS_MONEY_H

#include <math.h>
#include <stdint.h>

#define NANOS_PER_UNIT INT64_C(1000000000)

/** Exact up to 9 million units, and what is nearest beyond. */
static inline double money_units(int64_t nanos) {
    return (double)nanos / (double)NANOS_PER_UNIT;
}
/** To the nearest nano; 0 <= `units` <= a million or so. */
static inline int64_t money_nanos(double units) {
    return (int64_t)llround(units * (double)NANOS_PER_UNIT);
}

#endif
