/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * One generation on a worker, as the gateway sees it; how it gets there and back is worker_link.c's alone.
 *
 *     generation_start ─> prepared ─ generation_proceed ─> delta* ─> finished (last)      or, at any time instead: failed
 *
 * Exactly one of `finished` with `last` and `failed` comes, and nothing after it: also after generation_stop. Callbacks come one at a
 * time for a generation, on a thread of the worker's link or inside generation_continue, and must not block. No lock is held while they
 * run, so they may take the one that their user holds while it calls any of the functions here but generation_continue.
 */
#ifndef SERVICES_GATEWAY_GENERATION_H
#define SERVICES_GATEWAY_GENERATION_H

#include "base/status.h"
#include "bora/internal/v1/worker.pb-c.h"

#include <stdbool.h>
#include <stdint.h>

struct worker;
struct generation;

struct generation_failure {
    enum status status;
    const char *message;                           /* never NULL */
    const Bora__Internal__V1__WorkerError *detail; /* NULL: the worker says no more */
};

/** What is handed over is lent until the callback returns. */
struct generation_callbacks {
    void (*prepared)(void *context, const Bora__Internal__V1__Prepared *prepared);
    void (*delta)(void *context, const Bora__Internal__V1__Delta *delta);
    void (*finished)(void *context, const Bora__Internal__V1__Finished *finished, bool last);
    void (*failed)(void *context, const struct generation_failure *failure);
};

/** `callbacks` must live as long as the generation. The caller holds a reference, which it gives back with generation_unref in or after
 *  the last callback. The first callback may come before this returns. STATUS_UNAVAILABLE, or RESOURCE_EXHAUSTED: nothing was started. */
enum status generation_start(struct worker *worker, const Bora__Internal__V1__Start *start, int64_t deadline_ns,
                             const struct generation_callbacks *callbacks, void *context, struct generation **out);
/** After `prepared`, once. `max_tokens` as in Proceed. */
void generation_proceed(struct generation *generation, int64_t max_tokens);
/** Idempotent. The worker ends it within one step and says what it has cost: `finished` with REASON_CANCELLED; a worker that says nothing
 *  for two seconds gives `failed`. */
void generation_stop(struct generation *generation);
/** The reader is slow: no more deltas until generation_continue, but for one that is on its way to its callback. */
void generation_hold(struct generation *generation);
/** Callbacks may run inside. */
void generation_continue(struct generation *generation);
void generation_ref(struct generation *generation);
void generation_unref(struct generation *generation);

#endif
