/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Threads: a pool for data-parallel loops (kernels) and a queue of jobs (services).
 *
 * thread_team: the caller and `size` - 1 helpers share the `size` parts of a loop. Whoever is free takes the next part, so a
 * helper that the system has not woken yet, or has put aside for another process, holds nobody up: the caller does its part too.
 * Between runs helpers spin for a bounded time and then sleep on a futex, so that an idle or crowded machine is not burnt.
 * job_pool: threads that take jobs from a bounded queue.
 */
#ifndef BASE_THREADS_H
#define BASE_THREADS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct thread_team;

/** Part `index` in [0, size) of a run. Parts may run at once or one after the other, on any thread: they must not wait for each other. */
typedef void thread_team_fn(void *context, int index, int size);

/** 1 <= size <= LIMIT_THREADS. `spin_ns` >= 0: how long a waiting thread spins before it sleeps. */
enum status thread_team_create(int size, int64_t spin_ns, struct thread_team **out, struct error *err);
void thread_team_destroy(struct thread_team *team);
int thread_team_size(const struct thread_team *team);
/** Run every part once and return when all are done. One caller at a time. Size 1 calls it directly. */
void thread_team_run(struct thread_team *team, thread_team_fn *fn, void *context);

struct job_pool;
typedef void job_fn(void *context);
/** `queue_max` >= 1 jobs may wait. `name` is the threads' name (15 characters). */
enum status job_pool_create(int threads, size_t queue_max, const char *name, struct job_pool **out, struct error *err);
/** Runs what is queued, then joins. */
void job_pool_destroy(struct job_pool *pool);
/** STATUS_RESOURCE_EXHAUSTED when the queue is full, or the pool is being destroyed. Any thread. */
enum status job_pool_submit(struct job_pool *pool, job_fn *fn, void *context);

/** CPUs this process may use (affinity and cgroup quota considered), 1 to LIMIT_THREADS. */
int threads_available(void);
/** The tightest CPU quota (rounded up) of the cgroups of either version, mounted at `root`, that `process_file` (as
 *  /proc/self/cgroup) names, and of those above them; 0 when there is none. */
int threads_cgroup_quota(const char *root, const char *process_file);

#endif
