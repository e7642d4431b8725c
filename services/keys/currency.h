/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Whether the one currency may get another name. Amounts in the ledger, in sums and in counters do not say what they are of: another name would make other
 * money of them.
 *
 * That something has cost anything is noted in the ledger's position ("priced", ledger_bring.lua). Versions before that note left none, so where it is
 * missing the sums of days are looked through, as far back as they are kept.
 */
#ifndef SERVICES_KEYS_CURRENCY_H
#define SERVICES_KEYS_CURRENCY_H

#include "services/keys/handling.h"

enum currency_use {
    CURRENCY_UNUSED,
    CURRENCY_UNDER_WAY, /* answers run, or are on their way to the ledger, that may cost something */
    CURRENCY_CHARGED,
};

/** Of all organisations. `priced`: there are prices, or have been, so what is under way may have been admitted with them. Blocks. */
enum status currency_find_use(struct handling *handling, bool priced, enum currency_use *out, struct error *err);

#endif
