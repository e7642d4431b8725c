/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Inside ledger_keeper.h: the organisations there are, and which of them have something to do: an outbox that is not empty, or a lease that may run out.
 * Thousands are asked in one flight, so that idle ones cost two small commands a round. One thread.
 */
#ifndef SERVICES_KEYS_LEDGER_ORGANIZATIONS_H
#define SERVICES_KEYS_LEDGER_ORGANIZATIONS_H

#include "services/keys/ledger.h"
#include "store/limits.h"

#include <pthread.h>

struct ledger_organization {
    char id[LIMITS_ID_BYTES + 1];
    bool active; /* in bora:orgs-active */
    bool busy;   /* has something to do, by the last probe */
    struct ledger_position position;
    int64_t leases_unreadable; /* that were ever set aside, as limits_reap said last */
    int64_t trim_due_ns;
    struct ledger_organizations *list;
};

struct ledger_organizations {
    struct ledger_organization *items; /* by id */
    size_t count, capacity;
    char run_id[LEDGER_ID_BYTES +
                1]; /* of redis-limits, when it was asked last; of a cluster its generation (store/redis.h) */

    /* a probe's: under the mutex */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t in_flight;
    enum status status; /* the first failure */
    struct error cause;
};

void ledger_organizations_init(struct ledger_organizations *list);
void ledger_organizations_deinit(struct ledger_organizations *list);
/** Add those that gateways were active for, and with `all` every one there is. At most LIMIT_ORGANIZATIONS. */
enum status ledger_organizations_scan(struct ledger_organizations *list, const struct ledger_stores *stores, bool all,
                                      struct error *err);
/** Find out who is busy, among the active ones or `all`. After a restart of redis-limits everybody is, once: it may have lost something (ledger.h). */
enum status ledger_organizations_probe(struct ledger_organizations *list, const struct ledger_stores *stores, bool all,
                                       struct error *err);

#endif
