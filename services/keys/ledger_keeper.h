/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The thread that keeps the ledger: for every organisation that gateways have admitted anything for (bora:orgs-active), it settles leases that ran out
 * (limits_reap), moves what is in the outbox into the ledger (ledger.h), and now and then removes what is too old from the ledger. All other organisations
 * (bora:orgs) have their turn once a minute, in case the note was lost.
 *
 * Every 250 ms while there is something to move, less often when there is nothing, but at least once a second. Any number of keys services may keep one
 * ledger. Memory: some hundred bytes for each organisation, at most LIMIT_ORGANIZATIONS of them, and one batch.
 *
 * Metrics: bora_keys_ledger_entries_total, bora_keys_ledger_unreadable_total, bora_keys_ledger_expired_leases_total, bora_keys_ledger_unreadable_leases_total; bora_keys_ledger_lag_seconds: the age
 * of the oldest entry of the last round when it was moved; bora_keys_ledger_failing: 1 while a round cannot be finished.
 */
#ifndef SERVICES_KEYS_LEDGER_KEEPER_H
#define SERVICES_KEYS_LEDGER_KEEPER_H

#include "base/metrics.h"
#include "services/keys/ledger.h"

struct ledger_keeper;

struct ledger_keeper_options {
    struct ledger_stores stores; /* borrowed until destroy */
    int64_t retention_ns;        /* of the ledger's entries; 0: for ever */
    struct metrics *metrics;     /* borrowed */
};

enum status ledger_keeper_create(const struct ledger_keeper_options *options, struct ledger_keeper **out,
                                 struct error *err);
/** Before the stores' clients are destroyed. Returns after the call that is under way. NULL is ignored. */
void ledger_keeper_destroy(struct ledger_keeper *keeper);

#endif
