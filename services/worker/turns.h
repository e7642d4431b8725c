/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Turns: a job pool whose waiting jobs belong to tenants. The oldest job of each tenant comes up in turn, so that whoever has hundreds
 * waiting holds the others up by one job each.
 *
 *     submitted   a1 a2 a3 a4   b1   c1 c2
 *     run         a1 b1 c1 a2 c2 a3 a4
 *
 * Any thread. Jobs must not submit to a pool that is being destroyed.
 */
#ifndef SERVICES_WORKER_TURNS_H
#define SERVICES_WORKER_TURNS_H

#include "base/threads.h"

struct turns;

/** `queue_max` >= 1 jobs may wait, of one tenant at most `tenant_max` >= 1. `name` is the threads' name (15 characters). */
enum status turns_create(int threads, size_t queue_max, size_t tenant_max, const char *name, struct turns **out,
                         struct error *err);
/** Runs what is queued, then joins. NULL is nothing. */
void turns_destroy(struct turns *turns);
/** STATUS_RESOURCE_EXHAUSTED when the queue or the tenant's part of it is full, or without memory. `tenant` is copied. */
enum status turns_submit(struct turns *turns, const char *tenant, job_fn *fn, void *context);

#endif
