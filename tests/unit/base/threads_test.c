/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/limits.h"
#include "base/threads.h"
#include "tests/support/check.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

static struct thread_team *open_team(int size, int64_t spin_ns) {
    struct thread_team *team = NULL;
    check_ok(thread_team_create(size, spin_ns, &team, &check_error));
    assert_int_equal(thread_team_size(team), size);
    return team;
}

struct parts {
    int done[LIMIT_THREADS]; /* plain: each part writes its own, the caller reads all after the run */
    atomic_int wrong;
};

static void do_part(void *context, int index, int size) {
    struct parts *parts = context;
    if (index < 0 || index >= size)
        atomic_fetch_add(&parts->wrong, 1);
    else
        parts->done[index]++;
}

static void check_every_part(int size, int64_t spin_ns, int runs) {
    struct thread_team *team = open_team(size, spin_ns);
    struct parts parts = {0};
    for (int run = 1; run <= runs; run++) {
        thread_team_run(team, do_part, &parts);
        for (int i = 0; i < size; i++) assert_int_equal(parts.done[i], run);
        for (int i = size; i < LIMIT_THREADS; i++) assert_int_equal(parts.done[i], 0);
    }
    assert_int_equal(parts.wrong, 0);
    thread_team_destroy(team);
}

static void test_every_part_runs_once(void **state) {
    (void)state;
    check_every_part(1, 0, 10);
    check_every_part(2, 20 * NS_PER_US, 2000);
    check_every_part(7, 20 * NS_PER_US, 500);
}

static void test_every_part_runs_once_without_spinning(void **state) {
    (void)state;
    check_every_part(2, 0, 1000);
    check_every_part(5, 0, 500);
}

static void test_largest_team(void **state) {
    (void)state;
    check_every_part(LIMIT_THREADS, 0, 10);
}

static void test_team_of_no_or_too_many_threads_is_invalid(void **state) {
    (void)state;
    struct thread_team *team = NULL;
    check_fails(thread_team_create(0, 0, &team, &check_error), STATUS_INVALID_ARGUMENT, "0");
    check_fails(thread_team_create(-1, 0, &team, &check_error), STATUS_INVALID_ARGUMENT, "-1");
    check_fails(thread_team_create(LIMIT_THREADS + 1, 0, &team, &check_error), STATUS_INVALID_ARGUMENT, "257");
    assert_null(team);
    thread_team_destroy(NULL);
}

static void test_team_that_never_ran_ends(void **state) {
    (void)state;
    for (int i = 0; i < 50; i++) thread_team_destroy(open_team(4, i % 2 == 0 ? 0 : NS_PER_MS));
}

struct sum {
    const int *values;
    int count;
    int64_t partial[8];
};

static void add_part(void *context, int index, int size) {
    struct sum *sum = context;
    sum->partial[index] = 0;
    for (int i = index; i < sum->count; i += size) sum->partial[index] += sum->values[i];
}

/** What the caller wrote before a run is seen in it, and what the parts wrote is seen after: new memory in every run. */
static void test_writes_before_and_in_a_run_are_seen(void **state) {
    (void)state;
    enum { COUNT = 1000, RUNS = 300 };
    struct thread_team *team = open_team(4, 5 * NS_PER_US);
    for (int run = 0; run < RUNS; run++) {
        int *values = malloc(COUNT * sizeof *values);
        for (int i = 0; i < COUNT; i++) values[i] = i + run;
        struct sum sum = {.values = values, .count = COUNT};
        thread_team_run(team, add_part, &sum);
        free(values);
        int64_t total = 0;
        for (int i = 0; i < 4; i++) total += sum.partial[i];
        assert_int_equal(total, (int64_t)COUNT * (COUNT - 1) / 2 + (int64_t)COUNT * run);
    }
    thread_team_destroy(team);
}

struct meeting {
    pthread_barrier_t barrier;
    atomic_int met;
};

static void meet_once(void *context, int index, int size) {
    (void)index, (void)size;
    struct meeting *meeting = context;
    pthread_barrier_wait(&meeting->barrier);
    atomic_fetch_add(&meeting->met, 1);
}

/** Parts may not rely on it, but helpers that sleep do wake: a caller that did everything itself would never pass the barrier. */
static void test_helpers_wake_and_take_parts(void **state) {
    (void)state;
    struct thread_team *team = open_team(3, 0);
    struct meeting meeting = {0};
    pthread_barrier_init(&meeting.barrier, NULL, 3);
    for (int run = 1; run <= 50; run++) {
        thread_team_run(team, meet_once, &meeting);
        assert_int_equal(meeting.met, 3 * run);
    }
    pthread_barrier_destroy(&meeting.barrier);
    thread_team_destroy(team);
}

static void run_inner(void *context, int index, int size) {
    (void)index, (void)size;
    struct parts parts = {0};
    struct error err = {0};
    struct thread_team *inner = NULL;
    if (thread_team_create(2, 0, &inner, &err) != STATUS_OK) return;
    thread_team_run(inner, do_part, &parts);
    thread_team_destroy(inner);
    if (parts.done[0] == 1 && parts.done[1] == 1) atomic_fetch_add((atomic_int *)context, 1);
}

static void test_teams_do_not_mix(void **state) {
    (void)state;
    struct thread_team *team = open_team(4, 0);
    atomic_int good = 0;
    thread_team_run(team, run_inner, &good);
    assert_int_equal(good, 4);
    thread_team_destroy(team);
}

static struct job_pool *open_pool(int threads, size_t queue_max) {
    struct job_pool *pool = NULL;
    check_ok(job_pool_create(threads, queue_max, "a name of more than 15 characters", &pool, &check_error));
    return pool;
}

static void count_job(void *context) {
    atomic_fetch_add((atomic_int *)context, 1);
}

static void test_pool_runs_every_job_before_it_ends(void **state) {
    (void)state;
    enum { JOBS = 1000 };
    struct job_pool *pool = open_pool(4, JOBS);
    atomic_int count = 0;
    for (int i = 0; i < JOBS; i++) check_ok(job_pool_submit(pool, count_job, &count));
    job_pool_destroy(pool);
    assert_int_equal(count, JOBS);
}

struct gate {
    sem_t entered, open;
};

static void wait_at_gate(void *context) {
    struct gate *gate = context;
    sem_post(&gate->entered);
    sem_wait(&gate->open);
}

static void test_full_queue_is_resource_exhausted(void **state) {
    (void)state;
    struct job_pool *pool = open_pool(1, 3);
    struct gate gate;
    sem_init(&gate.entered, 0, 0);
    sem_init(&gate.open, 0, 0);
    atomic_int count = 0;
    check_ok(job_pool_submit(pool, wait_at_gate, &gate));
    sem_wait(&gate.entered); /* the only thread is busy, the queue is empty */
    for (int i = 0; i < 3; i++) check_ok(job_pool_submit(pool, count_job, &count));
    assert_int_equal(job_pool_submit(pool, count_job, &count), STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(count, 0);
    sem_post(&gate.open);
    job_pool_destroy(pool);
    assert_int_equal(count, 3);
    sem_destroy(&gate.entered);
    sem_destroy(&gate.open);
}

struct order {
    int seen[100];
    int count;
};

struct ordered_job {
    struct order *order;
    int number;
};

static void note_order(void *context) {
    struct ordered_job *job = context;
    job->order->seen[job->order->count++] = job->number;
}

static void test_one_thread_takes_jobs_in_order(void **state) {
    (void)state;
    struct job_pool *pool = open_pool(1, 100);
    struct order order = {0};
    struct ordered_job jobs[100];
    for (int i = 0; i < 100; i++) {
        jobs[i] = (struct ordered_job){&order, i};
        check_ok(job_pool_submit(pool, note_order, &jobs[i]));
    }
    job_pool_destroy(pool);
    assert_int_equal(order.count, 100);
    for (int i = 0; i < 100; i++) assert_int_equal(order.seen[i], i);
}

struct submitter {
    struct job_pool *pool;
    atomic_int *count;
    int refused;
};

static void *submit_many(void *context) {
    struct submitter *submitter = context;
    for (int i = 0; i < 2000; i++)
        submitter->refused += job_pool_submit(submitter->pool, count_job, submitter->count) != STATUS_OK;
    return NULL;
}

static void test_jobs_of_many_threads_are_run_or_refused(void **state) {
    (void)state;
    enum { SUBMITTERS = 6 };
    struct job_pool *pool = open_pool(3, 16);
    atomic_int count = 0;
    struct submitter submitters[SUBMITTERS];
    pthread_t threads[SUBMITTERS];
    for (int i = 0; i < SUBMITTERS; i++) {
        submitters[i] = (struct submitter){.pool = pool, .count = &count};
        assert_int_equal(pthread_create(&threads[i], NULL, submit_many, &submitters[i]), 0);
    }
    int refused = 0;
    for (int i = 0; i < SUBMITTERS; i++) {
        pthread_join(threads[i], NULL);
        refused += submitters[i].refused;
    }
    job_pool_destroy(pool);
    assert_int_equal(count + refused, SUBMITTERS * 2000);
}

static void submit_another(void *context) {
    struct submitter *submitter = context;
    submitter->refused = job_pool_submit(submitter->pool, count_job, submitter->count) != STATUS_OK;
}

static void test_job_may_submit_a_job(void **state) {
    (void)state;
    struct job_pool *pool = open_pool(2, 4);
    atomic_int count = 0;
    struct submitter submitter = {.pool = pool, .count = &count, .refused = -1};
    check_ok(job_pool_submit(pool, submit_another, &submitter));
    job_pool_destroy(pool);
    assert_true(submitter.refused >= 0);
    assert_int_equal(count, 1 - submitter.refused); /* refused when the pool was already ending */
}

static void test_pool_of_nothing_is_invalid(void **state) {
    (void)state;
    struct job_pool *pool = NULL;
    check_fails(job_pool_create(0, 1, "x", &pool, &check_error), STATUS_INVALID_ARGUMENT, "0 threads");
    check_fails(job_pool_create(1, 0, "x", &pool, &check_error), STATUS_INVALID_ARGUMENT, "0 jobs");
    check_fails(job_pool_create(LIMIT_THREADS + 1, 1, "x", &pool, &check_error), STATUS_INVALID_ARGUMENT, "257");
    assert_null(pool);
    job_pool_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_part_runs_once),
        cmocka_unit_test(test_every_part_runs_once_without_spinning),
        cmocka_unit_test(test_largest_team),
        cmocka_unit_test(test_team_of_no_or_too_many_threads_is_invalid),
        cmocka_unit_test(test_team_that_never_ran_ends),
        cmocka_unit_test(test_writes_before_and_in_a_run_are_seen),
        cmocka_unit_test(test_helpers_wake_and_take_parts),
        cmocka_unit_test(test_teams_do_not_mix),
        cmocka_unit_test(test_pool_runs_every_job_before_it_ends),
        cmocka_unit_test(test_full_queue_is_resource_exhausted),
        cmocka_unit_test(test_one_thread_takes_jobs_in_order),
        cmocka_unit_test(test_jobs_of_many_threads_are_run_or_refused),
        cmocka_unit_test(test_job_may_submit_a_job),
        cmocka_unit_test(test_pool_of_nothing_is_invalid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
