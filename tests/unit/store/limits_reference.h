/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What limits mean, in plain C: every single event is kept, and whatever is asked is added up from all of them. Slow, and so short that it can be
 * read. The simulation (limits_model_test.c) holds Redis' functions against it.
 */
#ifndef TESTS_UNIT_STORE_LIMITS_REFERENCE_H
#define TESTS_UNIT_STORE_LIMITS_REFERENCE_H

#include "store/limits.h"

enum { REFERENCE_SCOPES = 12, REFERENCE_EVENTS = 20000, REFERENCE_LEASES = 4000, REFERENCE_ANSWERS = 3 };

struct reference_event {
    int scope;
    int64_t time_us; /* Redis' clock */
    int64_t second_us,
        slice;       /* when it counts as made, and in which slice: where something was admitted ahead, later */
    int64_t true_us; /* time that never goes back */
    int64_t requests, input, output, spend;
    int64_t in_second; /* requests that count in their second */
    bool late;         /* what a lease that had run out turned out to have used: nobody held it */
};

/** Sums of the ledger for one lease. */
struct reference_ledger {
    int64_t requests, input, cached, output, nanos;
};

struct reference_lease {
    bool running, ended;
    bool open_end;  /* ended, and a better word may come */
    bool refused;   /* settled before it was admitted */
    bool forgotten; /* ended unused: not a request */
    bool estimate;  /* its input, of which nobody has said more yet */
    bool ahead;     /* nor whether there is such a request */
    int scope_count, scopes[LIMITS_SCOPES_MAX], events[LIMITS_SCOPES_MAX];
    struct limits_price price;
    int64_t due_us, granted, input_cost;
    struct limits_usage charged;
    int answers;
    bool has_report[REFERENCE_ANSWERS];
    struct limits_usage reports[REFERENCE_ANSWERS];
    struct reference_ledger ledger;
};

struct reference {
    int64_t now_us, true_us;                                             /* set by the simulation */
    int64_t latest_us[REFERENCE_SCOPES], latest_slice[REFERENCE_SCOPES]; /* of requests; ahead of now at times */
    int event_count;
    struct reference_event events[REFERENCE_EVENTS];
    struct reference_lease leases[REFERENCE_LEASES]; /* by number */
};

/** Scopes are numbers here; `scopes` names those of the admission, in its order. */
struct reference_request {
    const struct limits_admission *admission;
    const int *scopes;
};

/** All that counts in a scope at `time_us` if only time passes until then: charged and held. */
struct limits_bounds reference_used(const struct reference *reference, int scope, int64_t time_us);
/** Whether a request that needs `output` passes at `time_us` if only time passes until then. */
bool reference_passes(const struct reference *reference, const struct reference_request *request, int64_t output,
                      int64_t time_us);
/** What admission gives now, without retry_after; changes nothing. */
struct limits_result reference_answer(const struct reference *reference, const struct reference_request *request);
/** Record an admission with `granted` output. */
void reference_admit(struct reference *reference, const struct reference_request *request, int lease, int64_t granted);

/* As the functions of store/limits.h, with their replies. */
int reference_charge(struct reference *reference, int lease, const struct limits_usage *usage);
int reference_settle(struct reference *reference, int lease, const struct limits_usage *usage);
int reference_report(struct reference *reference, int lease, int answer, const struct limits_usage *usage);
/** Leases that have run out, the oldest first; ids are the numbers as lease_id() writes them. */
int reference_reap(struct reference *reference, int most);
/** What only the reaper does: nobody holds longer than a lease from now. */
void reference_pull_leases(struct reference *reference);

#endif
