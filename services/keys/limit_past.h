/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Inside limit_seed.h: what the ledger has of today and of this month, and up to which entry of the outbox. */
#ifndef SERVICES_KEYS_LIMIT_PAST_H
#define SERVICES_KEYS_LIMIT_PAST_H

#include "services/keys/usage_table.h"
#include "store/limits.h"

struct keys_service;

struct limit_past {
    struct usage_table day, month; /* rows for what they are grouped by, in order, and totals */
    /* The sums are those of the position, else they are what the ledger had at least, and the position is nobody's. */
    bool steady;
    char organization[LIMITS_ID_BYTES + 1];
    struct ledger_position position;
    uint64_t
        positions; /* digest of all that the ledger notes of its positions, by which limit_past_stands tells them apart */
    struct limits_ledger ledger; /* the above, as limits_catch_up takes it */
};

/** `*out_of_limits`: a failure was that of the limits' Redis. UNAVAILABLE: a Redis cannot be reached. */
enum status limit_past_read(struct keys_service *service, const char *organization, const struct usage_filter *filter,
                            const struct usage_grouping *grouping, struct arena *arena, struct limit_past *out,
                            bool *out_of_limits, struct error *err);

/** Nothing has come into the ledger since. Else entries may have left the outbox that the sums do not have. */
enum status limit_past_stands(struct keys_service *service, const struct limit_past *past, bool *out,
                              struct error *err);

/** Today's amounts of a row of the month, or nothing. `*at`, from 0, goes on through the day's rows: the month's come in their order. */
struct ledger_amounts limit_past_of_day(const struct limit_past *past, const struct usage_row *row, size_t *at);

#endif
