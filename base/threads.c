/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/threads.h"

#include "base/clock.h"
#include "base/limits.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void futex_wait(atomic_uint *word, unsigned expected) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}
static void futex_wake_all(atomic_uint *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static void cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

enum { CACHE_LINE_BYTES = 64 };

/** A number that moves, and the count of those who sleep until it does. On its own cache line: others spin on it. */
struct turn {
    _Alignas(CACHE_LINE_BYTES) atomic_uint number;
    atomic_int sleepers;
};

/** Return when the turn is no longer `old`: spin for `spin_ns`, then sleep. */
static void turn_wait(struct turn *turn, unsigned old, int64_t spin_ns) {
    enum { SPINS_PER_CLOCK = 64 };
    if (spin_ns > 0) {
        int64_t until = clock_monotonic_ns(clock_system()) + spin_ns;
        do {
            for (int i = 0; i < SPINS_PER_CLOCK; i++) {
                if (atomic_load_explicit(&turn->number, memory_order_acquire) != old) return;
                cpu_relax();
            }
        } while (clock_monotonic_ns(clock_system()) < until);
    }
    /* Sequentially consistent: either the mover sees this sleeper, or the sleeper sees the new number. */
    atomic_fetch_add(&turn->sleepers, 1);
    while (atomic_load(&turn->number) == old) futex_wait(&turn->number, old);
    atomic_fetch_sub(&turn->sleepers, 1);
}

static void turn_move(struct turn *turn) {
    atomic_fetch_add(&turn->number, 1);
    if (atomic_load(&turn->sleepers) > 0) futex_wake_all(&turn->number);
}

struct thread_team {
    int size;
    int64_t spin_ns;
    atomic_bool stop;
    /* What to run. Written before `next` is set to 0, read only by those who then took a part: a run with a part taken cannot end. */
    thread_team_fn *fn;
    void *context;
    struct turn begin;                          /* moves when a run begins */
    struct turn done;                           /* moves when the last part is done */
    _Alignas(CACHE_LINE_BYTES) atomic_int next; /* part to take; >= size: none is left */
    _Alignas(CACHE_LINE_BYTES) atomic_int left; /* parts not done */
    pthread_t helpers[LIMIT_THREADS - 1];
};

static void run_parts(struct thread_team *team) {
    for (int part; (part = atomic_fetch_add(&team->next, 1)) < team->size;) {
        team->fn(team->context, part, team->size);
        if (atomic_fetch_sub(&team->left, 1) == 1) turn_move(&team->done);
    }
}

static void *helper_main(void *argument) {
    struct thread_team *team = argument;
    for (unsigned seen = 0;;) {
        turn_wait(&team->begin, seen, team->spin_ns);
        seen = atomic_load(&team->begin.number); /* runs that went by meanwhile were done by others */
        if (atomic_load(&team->stop)) return NULL;
        run_parts(team);
    }
}

static void stop_helpers(struct thread_team *team, int started) {
    atomic_store(&team->stop, true);
    turn_move(&team->begin);
    for (int i = 0; i < started; i++) pthread_join(team->helpers[i], NULL);
}

enum status thread_team_create(int size, int64_t spin_ns, struct thread_team **out, struct error *err) {
    if (size < 1 || size > LIMIT_THREADS)
        return error_set(err, STATUS_INVALID_ARGUMENT, "a team of %d threads (1..%d)", size, LIMIT_THREADS);
    struct thread_team *team = aligned_alloc(CACHE_LINE_BYTES, sizeof *team);
    if (team == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    memset(team, 0, sizeof *team);
    team->size = size;
    team->spin_ns = spin_ns;
    atomic_init(&team->next, size);
    for (int i = 0; i < size - 1; i++) {
        int failed = pthread_create(&team->helpers[i], NULL, helper_main, team);
        if (failed != 0) {
            stop_helpers(team, i);
            free(team);
            return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, failed, "cannot start thread %d of %d", i + 2, size);
        }
        pthread_setname_np(team->helpers[i], "compute");
    }
    *out = team;
    return STATUS_OK;
}

void thread_team_destroy(struct thread_team *team) {
    if (team == NULL) return;
    stop_helpers(team, team->size - 1);
    free(team);
}

int thread_team_size(const struct thread_team *team) {
    return team->size;
}

void thread_team_run(struct thread_team *team, thread_team_fn *fn, void *context) {
    if (team->size == 1) {
        fn(context, 0, 1);
        return;
    }
    team->fn = fn;
    team->context = context;
    unsigned done = atomic_load(&team->done.number);
    atomic_store(&team->left, team->size);
    atomic_store(&team->next, 0);
    turn_move(&team->begin);
    run_parts(team);
    turn_wait(&team->done, done, team->spin_ns);
}

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
    if (threads < 1 || threads > LIMIT_THREADS || queue_max < 1)
        return error_set(err, STATUS_INVALID_ARGUMENT, "a pool of %d threads and %zu jobs", threads, queue_max);
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
    char short_name[16];
    snprintf(short_name, sizeof short_name, "%s", name);
    for (; pool->thread_count < threads; pool->thread_count++) {
        int failed = pthread_create(&pool->threads[pool->thread_count], NULL, job_pool_main, pool);
        if (failed != 0) {
            job_pool_destroy(pool);
            return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, failed, "cannot start a thread of the pool %s",
                                   name);
        }
        pthread_setname_np(pool->threads[pool->thread_count], short_name);
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
