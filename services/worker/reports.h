/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What generations have cost whose gateway is gone, or has given them up: it may not have settled them, so the worker says it itself, exactly (store/limits.h, limits_report).
 * A gateway that did settle makes that nothing.
 */
#ifndef SERVICES_WORKER_REPORTS_H
#define SERVICES_WORKER_REPORTS_H

#include "bora/internal/v1/worker.pb-c.h"
#include "services/worker/settings.h"
#include "store/limits.h"

/** Whose lease a generation is counted for, and what it has cost. */
struct report {
    uint64_t generation; /* its number on its link */
    int64_t ended_ns;    /* monotonic */
    char organization[LIMITS_ID_BYTES + 1];
    char lease[LIMITS_LEASE_ID_BYTES + 1]; /* "": of nobody who settles */
    int answer;
    struct limits_usage usage;
};
/** Start.lease is "<organisation>/<lease>"; anything else is nobody's. */
void report_begin(struct report *report, const Bora__Internal__V1__Start *start);

struct reports;
enum status reports_create(const struct worker_settings *settings, struct reports **out, struct error *err);
/** Waits a little for what is not sent yet. NULL is nothing. */
void reports_destroy(struct reports *reports);
/** Any thread; does not block. */
void reports_send(struct reports *reports, const struct report *report);

#endif
