/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Beam searches among others: places, rows, memory and turns. What a search finds is scheduler_beam_test's to ask. */
#include "tests/unit/engine/scheduler_fixture.h"

#include "engine/scheduler/scheduler_internal.h"

/** The search has lost its place, and the cache all that it held. */
static void throw_out(struct fixture *fixture) {
    assert_true(scheduler_preempt(fixture->scheduler, NULL));
    kv_cache_forget(fixture->cache);
}

/** Nobody waits for a beginning that a paused search does not go on with. */
static void test_paused_search_holds_nobody_back(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 8, 16, 8, 64);
    fixture.rich = true;
    struct client *search = client_new(&fixture, 100, 20, 1), *other = client_new(&fixture, 100, 5, 1);
    search->salt = other->salt;
    make_search(search, &(struct beam_settings){.width = 3, .length_penalty = 1});
    submit_client(&fixture, search);
    for (int i = 0; i < 12; i++) scheduler_step(fixture.scheduler);
    throw_out(&fixture);
    scheduler_step(fixture.scheduler);
    scheduler_pause(fixture.scheduler, &search->sequence);
    submit_client(&fixture, other);
    for (int i = 0; i < 50; i++) scheduler_step(fixture.scheduler);
    assert_int_equal(other->finish, FINISH_LENGTH);
    scheduler_resume(fixture.scheduler, &search->sequence);
    run_until_idle(&fixture);
    assert_int_equal(search->finish, FINISH_LENGTH);
    teardown(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paused_search_holds_nobody_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
