/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/worker/turns.h"
#include "tests/support/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/** Holds the one thread until it is opened. */
struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool reached, open;
};
#define GATE_INIT \
    { .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER }

static void wait_at_gate(void *context) {
    struct gate *gate = context;
    pthread_mutex_lock(&gate->mutex);
    gate->reached = true;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open) pthread_cond_wait(&gate->changed, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
}

static void open_gate(struct gate *gate) {
    pthread_mutex_lock(&gate->mutex);
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->mutex);
}

/** A pool of one thread, which stands at the gate. */
static struct turns *open_held(struct gate *gate, size_t queue_max, size_t tenant_max) {
    struct turns *turns = NULL;
    check_ok(turns_create(1, queue_max, tenant_max, "turns", &turns, &check_error));
    check_ok(turns_submit(turns, "gate", wait_at_gate, gate));
    pthread_mutex_lock(&gate->mutex);
    while (!gate->reached) pthread_cond_wait(&gate->changed, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
    return turns;
}

static char order[256];
static void note(void *context) {
    strcat(order, context);
}

/** Submit each word of "a1 a2 b1": its first letter is the tenant. */
static void submit_all(struct turns *turns, char *const *words, int count) {
    for (int i = 0; i < count; i++) {
        const char tenant[] = {words[i][0], 0};
        check_ok(turns_submit(turns, tenant, note, words[i]));
    }
}

static void test_tenants_take_turns_and_keep_their_own_order(void **state) {
    (void)state;
    struct gate gate = GATE_INIT;
    struct turns *turns = open_held(&gate, 100, 100);
    char *words[] = {"a1", "a2", "a3", "a4", "b1", "c1", "c2"};
    order[0] = 0;
    submit_all(turns, words, 7);
    open_gate(&gate);
    turns_destroy(turns); /* runs what is queued */
    assert_string_equal(order, "a1b1c1a2c2a3a4");
}

struct latecomer {
    struct turns *turns;
    const char *tenant;
    char *word;
};
static void submit_late(void *context) {
    struct latecomer *late = context;
    strcat(order, "!");
    check_ok(turns_submit(late->turns, late->tenant, note, late->word));
}

static void test_a_latecomer_waits_for_one_job_of_each(void **state) {
    (void)state;
    struct gate gate = GATE_INIT, end = GATE_INIT;
    struct turns *turns = open_held(&gate, 100, 100);
    struct latecomer late = {turns, "c", "c1"};
    char *words[] = {"a1", "a2", "a3", "b1", "b2", "b3"};
    order[0] = 0;
    check_ok(turns_submit(turns, "c", submit_late, &late));
    submit_all(turns, words, 6);
    check_ok(turns_submit(turns, "b", wait_at_gate, &end));
    open_gate(&gate);
    pthread_mutex_lock(&end.mutex); /* no job submits to a pool that is being destroyed */
    while (!end.reached) pthread_cond_wait(&end.changed, &end.mutex);
    pthread_mutex_unlock(&end.mutex);
    open_gate(&end);
    turns_destroy(turns);
    assert_string_equal(order, "!a1b1c1a2b2a3b3");
}

static void test_a_full_tenant_and_a_full_queue_are_refused(void **state) {
    (void)state;
    struct gate gate = GATE_INIT;
    struct turns *turns = open_held(&gate, 5, 3);
    char *words[] = {"a1", "a2", "a3", "b1"};
    order[0] = 0;
    submit_all(turns, words, 4);
    assert_int_equal(turns_submit(turns, "a", note, "a4"), STATUS_RESOURCE_EXHAUSTED);
    check_ok(turns_submit(turns, "c", note, "c1")); /* others have room */
    assert_int_equal(turns_submit(turns, "d", note, "d1"), STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(turns_submit(turns, "b", note, "b2"), STATUS_RESOURCE_EXHAUSTED);
    open_gate(&gate);
    turns_destroy(turns);
    assert_string_equal(order, "a1b1c1a2a3");
}

enum { SUBMITTERS = 8, JOBS = 2000 };
static atomic_int ran;
static void count_job(void *context) {
    (void)context;
    atomic_fetch_add(&ran, 1);
}
struct submitter {
    struct turns *turns;
    char tenant[2];
    int taken;
};
static void *submit_many(void *context) {
    struct submitter *submitter = context;
    for (int i = 0; i < JOBS; i++)
        submitter->taken += turns_submit(submitter->turns, submitter->tenant, count_job, NULL) == STATUS_OK;
    return NULL;
}

static void test_every_job_that_was_taken_runs_once(void **state) {
    (void)state;
    struct turns *turns = NULL;
    struct submitter submitters[SUBMITTERS];
    pthread_t threads[SUBMITTERS];
    int taken = 0;
    ran = 0;
    check_ok(turns_create(3, 64, 20, "turns", &turns, &check_error));
    for (int i = 0; i < SUBMITTERS; i++) {
        submitters[i] = (struct submitter){.turns = turns, .tenant = {(char)('a' + i / 2), 0}};
        assert_int_equal(pthread_create(&threads[i], NULL, submit_many, &submitters[i]), 0);
    }
    for (int i = 0; i < SUBMITTERS; i++) {
        pthread_join(threads[i], NULL);
        taken += submitters[i].taken;
    }
    turns_destroy(turns);
    assert_int_equal(ran, taken);
    assert_true(taken > 0);
}

static void test_wrong_sizes_are_refused(void **state) {
    (void)state;
    struct turns *turns = NULL;
    check_fails(turns_create(0, 1, 1, "x", &turns, &check_error), STATUS_INVALID_ARGUMENT, "0 threads");
    check_fails(turns_create(1, 0, 1, "x", &turns, &check_error), STATUS_INVALID_ARGUMENT, "0 jobs");
    turns_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tenants_take_turns_and_keep_their_own_order),
        cmocka_unit_test(test_a_latecomer_waits_for_one_job_of_each),
        cmocka_unit_test(test_a_full_tenant_and_a_full_queue_are_refused),
        cmocka_unit_test(test_every_job_that_was_taken_runs_once),
        cmocka_unit_test(test_wrong_sizes_are_refused),
    };
    return cmocka_run_group_tests_name("services/worker_turns", tests, NULL, NULL);
}
