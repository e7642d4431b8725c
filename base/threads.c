/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/threads.h"

#include "base/clock.h"
#include "base/limits.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- waiting: spin, then sleep ------------------------------------------------------------------------------------ */

static void futex_wait(atomic_uint *word, unsigned expected) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0); }
static void futex_wake_all(atomic_uint *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0); }

static void cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/** Return when `*word` is no longer `old`. `sleepers` counts those for whom a wake-up is needed. */
static void wait_change(atomic_uint *word, unsigned old, int64_t spin_ns, atomic_int *sleepers) {
    enum { SPINS_PER_CLOCK = 64 };
    if (spin_ns > 0) {
        int64_t until = clock_monotonic_ns(clock_system()) + spin_ns;
        do {
            for (int i = 0; i < SPINS_PER_CLOCK; i++) {
                if (atomic_load_explicit(word, memory_order_acquire) != old) return;
                cpu_relax();
            }
        } while (clock_monotonic_ns(clock_system()) < until);
    }
    atomic_fetch_add(sleepers, 1);
    while (atomic_load(word) == old) futex_wait(word, old);
    atomic_fetch_sub(sleepers, 1);
}

static void change(atomic_uint *word, atomic_int *sleepers) {
    atomic_fetch_add(word, 1);
    if (atomic_load(sleepers) > 0) futex_wake_all(word);
}

/* ---- team ---------------------------------------------------------------------------------------------------------- */

struct team_member {
    struct thread_team *team;
    pthread_t thread;
    int index;
};

struct thread_team {
    int size;
    int64_t spin_ns;
    /* What to run. Written before `next` is set to 0, read only by those who then took a part: a run with a part taken cannot end. */
    thread_team_fn *fn;
    void *context;
    atomic_bool stop;
    atomic_int next;        /* part to take; >= size: none is left */
    atomic_int left;        /* parts not done */
    atomic_uint generation; /* moves when a run begins */
    atomic_int generation_sleepers;
    atomic_uint done; /* moves when the last part is done */
    atomic_int done_sleepers;
    struct team_member members[];
};

static void run_parts(struct thread_team *team) {
    for (int part; (part = atomic_fetch_add(&team->next, 1)) < team->size;) {
        team->fn(team->context, part, team->size);
        if (atomic_fetch_sub(&team->left, 1) == 1) change(&team->done, &team->done_sleepers);
    }
}

static void *team_member_main(void *argument) {
    struct team_member *member = argument;
    struct thread_team *team = member->team;
    for (unsigned seen = 0;;) {
        wait_change(&team->generation, seen, team->spin_ns, &team->generation_sleepers);
        seen = atomic_load(&team->generation); /* runs that went by meanwhile were done by others */
        if (atomic_load(&team->stop)) return NULL;
        run_parts(team);
    }
}

static void stop_members(struct thread_team *team, int started) {
    atomic_store(&team->stop, true);
    change(&team->generation, &team->generation_sleepers);
    for (int i = 1; i < started; i++) pthread_join(team->members[i].thread, NULL);
}

enum status thread_team_create(int size, int64_t spin_ns, struct thread_team **out, struct error *err) {
    if (size < 1 || size > LIMIT_THREADS) return error_set(err, STATUS_INVALID_ARGUMENT, "a team of %d threads (1..%d)", size, LIMIT_THREADS);
    struct thread_team *team = calloc(1, sizeof *team + (size_t)size * sizeof team->members[0]);
    if (team == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    team->size = size;
    team->spin_ns = spin_ns;
    atomic_init(&team->next, size);
    for (int i = 1; i < size; i++) {
        team->members[i] = (struct team_member){.team = team, .index = i};
        int failed = pthread_create(&team->members[i].thread, NULL, team_member_main, &team->members[i]);
        if (failed != 0) {
            stop_members(team, i);
            free(team);
            return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, failed, "cannot start thread %d of %d", i + 1, size);
        }
        pthread_setname_np(team->members[i].thread, "compute");
    }
    *out = team;
    return STATUS_OK;
}

void thread_team_destroy(struct thread_team *team) {
    if (team == NULL) return;
    stop_members(team, team->size);
    free(team);
}

int thread_team_size(const struct thread_team *team) { return team->size; }

void thread_team_run(struct thread_team *team, thread_team_fn *fn, void *context) {
    if (team->size == 1) {
        fn(context, 0, 1);
        return;
    }
    team->fn = fn;
    team->context = context;
    unsigned done = atomic_load(&team->done);
    atomic_store(&team->left, team->size);
    atomic_store(&team->next, 0);
    change(&team->generation, &team->generation_sleepers);
    run_parts(team);
    wait_change(&team->done, done, team->spin_ns, &team->done_sleepers);
}

/* ---- jobs ---------------------------------------------------------------------------------------------------------- */

struct job {
    job_fn *fn;
    void *context;
};

struct job_pool {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stop;
    size_t first, count, max; /* a ring of `max` jobs */
    struct job *queue;
    int thread_count;
    pthread_t threads[];
};

static void *job_pool_main(void *argument) {
    struct job_pool *pool = argument;
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (pool->count == 0 && !pool->stop) pthread_cond_wait(&pool->wake, &pool->mutex);
        if (pool->count == 0) break;
        struct job job = pool->queue[pool->first];
        pool->first = (pool->first + 1) % pool->max;
        pool->count--;
        pthread_mutex_unlock(&pool->mutex);
        job.fn(job.context);
        pthread_mutex_lock(&pool->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

enum status job_pool_create(int threads, size_t queue_max, const char *name, struct job_pool **out, struct error *err) {
    if (threads < 1 || threads > LIMIT_THREADS || queue_max < 1) return error_set(err, STATUS_INVALID_ARGUMENT, "a pool of %d threads and %zu jobs", threads, queue_max);
    struct job_pool *pool = calloc(1, sizeof *pool + (size_t)threads * sizeof pool->threads[0]);
    struct job *queue = calloc(queue_max, sizeof *queue);
    if (pool == NULL || queue == NULL) {
        free(pool);
        free(queue);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->queue = queue;
    pool->max = queue_max;
    for (; pool->thread_count < threads; pool->thread_count++) {
        int failed = pthread_create(&pool->threads[pool->thread_count], NULL, job_pool_main, pool);
        if (failed != 0) {
            job_pool_destroy(pool);
            return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, failed, "cannot start a thread of the pool %s", name);
        }
        pthread_setname_np(pool->threads[pool->thread_count], name);
    }
    *out = pool;
    return STATUS_OK;
}

void job_pool_destroy(struct job_pool *pool) {
    if (pool == NULL) return;
    pthread_mutex_lock(&pool->mutex);
    pool->stop = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 0; i < pool->thread_count; i++) pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->queue);
    free(pool);
}

enum status job_pool_submit(struct job_pool *pool, job_fn *fn, void *context) {
    enum status status = STATUS_OK;
    pthread_mutex_lock(&pool->mutex);
    if (pool->count == pool->max || pool->stop) {
        status = STATUS_RESOURCE_EXHAUSTED;
    } else {
        pool->queue[(pool->first + pool->count) % pool->max] = (struct job){fn, context};
        pool->count++;
        pthread_cond_signal(&pool->wake);
    }
    pthread_mutex_unlock(&pool->mutex);
    return status;
}

/* ---- processors ---------------------------------------------------------------------------------------------------- */

/** CPUs that a cgroup's quota allows (rounded up), or 0 when there is no quota. */
static int cgroup_cpus(void) {
    long long quota = 0, period = 0;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re"); /* version 2: "max 100000" or "150000 100000" */
    if (file != NULL) {
        if (fscanf(file, "%lld %lld", &quota, &period) != 2) quota = 0;
        fclose(file);
    }
    return quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

int threads_available(void) {
    cpu_set_t set;
    int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    int quota = cgroup_cpus();
    if (quota > 0 && quota < cpus) cpus = quota;
    return cpus < 1 ? 1 : cpus > LIMIT_THREADS ? LIMIT_THREADS : cpus;
}
