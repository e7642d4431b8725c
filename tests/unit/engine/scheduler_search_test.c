/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Beam searches among others: places, rows, memory and turns. What a search finds is scheduler_beam_test's to ask. */
#include "tests/unit/engine/scheduler_fixture.h"

#include "engine/scheduler/scheduler_internal.h"

enum { MS = NS_PER_MS };

static struct client *submit_search_of(struct fixture *fixture, int64_t prompt, int64_t max_tokens, int width,
                                       uint64_t tenant) {
    struct client *client = client_new(fixture, prompt, max_tokens, tenant);
    make_search(client, &(struct beam_settings){.width = width, .length_penalty = 1});
    submit_client(fixture, client);
    return client;
}

/** Tokens that a search has got beyond its prompt. */
static int64_t length_of(const struct client *client) {
    return client->sequence.token_count - client->sequence.prompt_count;
}

/** Short requests of tenants 2 to 6, `count` of them at any time. */
static void keep_a_crowd(struct fixture *fixture, int count) {
    int alive = 0;
    for (int i = fixture->client_count - 1; i > 0; i--) {
        alive += fixture->clients[i]->finish == FINISH_NONE;
        if (fixture->clients[i]->finish == FINISH_NONE) continue;
        free(fixture->clients[i]);
        fixture->clients[i] = fixture->clients[--fixture->client_count];
    }
    while (alive++ < count) submit(fixture, 30, 20, (uint64_t)(2 + alive % 5));
}

/** The search has lost its place, and the cache all that it held. */
static void throw_out(struct fixture *fixture) {
    assert_true(scheduler_preempt(fixture->scheduler, NULL));
    kv_cache_forget(fixture->cache);
}

/* ---- memory --------------------------------------------------------------------------------------------------------- */

/** What branches share is computed once and held once when a search starts over, as it was before. */
static void test_search_that_starts_over_computes_everything_once(void **state) {
    (void)state;
    static const int64_t steps_before[] = {6, 20, 50};
    for (size_t s = 0; s < sizeof steps_before / sizeof steps_before[0]; s++) {
        struct fixture fixture;
        setup(&fixture, 20, 64, 8, 400);
        fixture.rich = true;
        struct client *search = submit_search_of(&fixture, 200, 55, 16, 1);
        for (int64_t i = 0; i < steps_before[s]; i++) scheduler_step(fixture.scheduler);
        int64_t blocks = kv_cache_used(fixture.cache), steps = fixture.steps;
        struct scheduler_stats before, after;
        scheduler_stats(fixture.scheduler, &before);
        throw_out(&fixture);
        int64_t rows = 0, tokens = search->sequence.token_count;
        while (search->sequence.token_count == tokens) rows += scheduler_step(fixture.scheduler);
        scheduler_stats(fixture.scheduler, &after);
        assert_int_equal(after.prompt_tokens - before.prompt_tokens, 200);
        assert_true(rows <= 200 + 16 * (tokens - 200));
        assert_true(fixture.steps - steps <= 4 + 16);
        assert_true(kv_cache_used(fixture.cache) <= blocks + 16); /* a step's copies */
        run_until_idle(&fixture);
        assert_int_equal(search->finish, FINISH_LENGTH);
        teardown(&fixture);
    }
}

/** Run a search of tenant 1 in a pool of `blocks`, beside `company` others that come when it has begun. Returns how it ends. */
static enum finish_reason run_in_company(int64_t blocks, int64_t prompt, int64_t max_tokens, int width, int company,
                                         int32_t *answer) {
    struct fixture fixture;
    setup(&fixture, 16, 64, 16, blocks);
    fixture.rich = true;
    struct client *search = submit_search_of(&fixture, prompt, max_tokens, width, 1);
    for (int i = 0; i < 6; i++) scheduler_step(fixture.scheduler);
    for (int i = 0; i < company; i++) {
        struct client *other = client_new(&fixture, 60 - 5 * i, 125, (uint64_t)(2 + i));
        if (i == 4) make_search(other, &(struct beam_settings){.width = 2});
        submit_client(&fixture, other);
    }
    run_until_idle(&fixture);
    enum finish_reason finish = search->finish;
    if (finish == FINISH_LENGTH)
        memcpy(answer, search->sequence.beams->finished[0].tokens, (size_t)(prompt + max_tokens) * sizeof *answer);
    for (int i = 1; i < fixture.client_count; i++) assert_int_equal(fixture.clients[i]->finish, FINISH_LENGTH);
    assert_int_equal(kv_cache_used(fixture.cache), 0);
    teardown(&fixture);
    return finish;
}

/** An answer depends on its request alone: in as little memory as a search ends in alone, it ends with the same answer beside others. */
static void test_search_that_fits_alone_ends_in_any_company(void **state) {
    (void)state;
    static const struct {
        int64_t prompt, max_tokens;
        int width;
    } searches[] = {{200, 20, 4}, {60, 100, 4}, {150, 60, 8}, {100, 56, 16}};
    for (size_t s = 0; s < sizeof searches / sizeof searches[0]; s++) {
        int64_t prompt = searches[s].prompt, max_tokens = searches[s].max_tokens, least = 8;
        int32_t alone[TOKENS_MAX], beside[TOKENS_MAX];
        while (run_in_company(least, prompt, max_tokens, searches[s].width, 0, alone) != FINISH_LENGTH) least++;
        for (int64_t blocks = least; blocks < least + 4; blocks++) {
            for (int company = 1; company <= 7; company++) {
                assert_int_equal(run_in_company(blocks, prompt, max_tokens, searches[s].width, company, beside),
                                 FINISH_LENGTH);
                assert_memory_equal(alone, beside, (size_t)(prompt + max_tokens) * sizeof *alone);
            }
        }
    }
}

/* ---- pauses ---------------------------------------------------------------------------------------------------------- */

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

/* ---- places and rows ------------------------------------------------------------------------------------------------ */

/** A search takes one slot, so it needs no more steps than alone, however wide it is and whoever comes meanwhile. */
static void test_search_as_wide_as_all_slots_ends_beside_others(void **state) {
    (void)state;
    static const struct {
        int slots, crowd;
        int64_t prompt, blocks;
    } houses[] = {{16, 3, 20, 400}, {16, 3, 200, 400}, {16, 3, 200, 60}, {16, 40, 200, 400}, {32, 24, 100, 400}};
    for (size_t h = 0; h < sizeof houses / sizeof houses[0]; h++) {
        struct fixture fixture = {.base_ns = 3 * MS, .row_ns = MS / 4};
        setup_with(
            &fixture,
            &(struct scheduler_options){.sequences_max = houses[h].slots, .step_tokens_max = 64, .queue_max = 90},
            houses[h].blocks);
        fixture.rich = true;
        struct client *search = submit_search_of(&fixture, houses[h].prompt, 20, 16, 1);
        int steps = 0;
        for (; search->finish == FINISH_NONE && steps < 1000; steps++) {
            keep_a_crowd(&fixture, houses[h].crowd);
            scheduler_step(fixture.scheduler);
            check_ok(scheduler_check(fixture.scheduler, &check_error));
        }
        assert_int_equal(search->finish, FINISH_LENGTH);
        assert_true(steps <= 2 * (20 + houses[h].prompt / 64));
        scheduler_cancel_all(fixture.scheduler);
        teardown(&fixture);
    }
}

/** The default sizes: 17 tenants have a stream each, one searches 16 wide, another asks short questions. */
static void test_wide_search_keeps_nobody_waiting(void **state) {
    (void)state;
    int64_t worst[2] = {0};
    for (int with = 0; with < 2; with++) {
        struct fixture fixture = {.base_ns = 10 * MS, .row_ns = MS / 2};
        setup_with(&fixture, &(struct scheduler_options){.sequences_max = 32, .step_tokens_max = 256, .queue_max = 96},
                   400);
        fixture.rich = true;
        for (int i = 0; i < 17; i++) submit(&fixture, 5, 250, (uint64_t)(100 + i));
        for (int i = 0; i < 3; i++) scheduler_step(fixture.scheduler);
        struct client *search = with ? submit_search_of(&fixture, 10, 20, 16, 1) : NULL, *question = NULL;
        for (int step = 0; step < 240 && fixture.client_count < 100; step++) {
            if (question == NULL || question->finish != FINISH_NONE) {
                question = submit(&fixture, 8, 2, 3);
                question->submitted_ns = fixture.clock.now_ns;
            }
            scheduler_step(fixture.scheduler);
            int64_t waited = fixture.clock.now_ns - question->submitted_ns;
            if (waited > worst[with]) worst[with] = waited;
        }
        if (with) assert_int_equal(search->finish, FINISH_LENGTH);
        scheduler_cancel_all(fixture.scheduler);
        teardown(&fixture);
    }
    print_message("a short question takes at most %.0f ms without the search, %.0f ms with it\n", (double)worst[0] / MS,
                  (double)worst[1] / MS);
    assert_true(2 * worst[1] <= 3 * worst[0]);
}

/** One stream, and a search as wide as there are slots: the other slots are not kept for it. */
static void test_wide_search_leaves_no_slot_empty(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 16, 64, 64, 400);
    fixture.rich = true;
    struct client *stream = submit(&fixture, 10, 240, 2);
    for (int i = 0; i < 3; i++) scheduler_step(fixture.scheduler);
    submit_search_of(&fixture, 10, 200, 16, 1);
    for (int i = 0; i < 40; i++) {
        struct client *question = submit(&fixture, 8, 2, 3);
        int before = stream->accepted;
        for (int s = 0; s < 4; s++) scheduler_step(fixture.scheduler);
        assert_int_equal(question->finish, FINISH_LENGTH);
        assert_int_equal(stream->accepted, before + 4);
    }
    scheduler_cancel_all(fixture.scheduler);
    teardown(&fixture);
}

/** More searches than a step has rows for: streams are in every step, tenants' searches take turns, and so do a tenant's own. */
static void test_searches_take_turns_and_streams_do_not(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 12, 64, 8, 400);
    fixture.rich = true;
    struct client *many[5], *single, *streams[6];
    for (int i = 0; i < 5; i++) many[i] = submit_search_of(&fixture, 10, 100, 12, 1);
    single = submit_search_of(&fixture, 10, 100, 12, 2);
    for (int i = 0; i < 6; i++) streams[i] = submit(&fixture, 10, 200, 3);
    for (int i = 0; i < 10; i++) scheduler_step(fixture.scheduler);
    int64_t before[6];
    int streamed[6];
    for (int i = 0; i < 6; i++) {
        before[i] = length_of(i < 5 ? many[i] : single);
        streamed[i] = streams[i]->accepted;
    }
    for (int i = 0; i < 100; i++) scheduler_step(fixture.scheduler);
    for (int i = 0; i < 6; i++) assert_int_equal(streams[i]->accepted, streamed[i] + 100);
    assert_int_equal(length_of(single) - before[5], 50); /* one search fits, and every second one is tenant 2's */
    for (int i = 0; i < 5; i++) assert_int_equal(length_of(many[i]) - before[i], 10);
    scheduler_cancel_all(fixture.scheduler);
    teardown(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paused_search_holds_nobody_back),
        cmocka_unit_test(test_search_as_wide_as_all_slots_ends_beside_others),
        cmocka_unit_test(test_wide_search_keeps_nobody_waiting),
        cmocka_unit_test(test_wide_search_leaves_no_slot_empty),
        cmocka_unit_test(test_searches_take_turns_and_streams_do_not),
        cmocka_unit_test(test_search_that_starts_over_computes_everything_once),
        cmocka_unit_test(test_search_that_fits_alone_ends_in_any_company),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
