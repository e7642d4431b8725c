/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The scheduler's steps, one behaviour at a time. */
#include "tests/unit/engine/scheduler_fixture.h"

#include "base/random.h"

static void test_sequence_runs_to_max_tokens(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 4, 64, 4, 32);
    struct client *client = submit(&fixture, 10, 5, 0);
    run_until_idle(&fixture);
    assert_int_equal(client->finish, FINISH_LENGTH);
    assert_int_equal(client->accepted, 5);
    assert_int_equal(client->reports, 5);
    assert_int_equal(fixture.steps, 5);
    check_tokens(client);
    assert_int_equal(kv_cache_used(fixture.cache), 0);
    struct scheduler_stats stats;
    scheduler_stats(fixture.scheduler, &stats);
    assert_int_equal(stats.prompt_tokens, 10);
    assert_int_equal(stats.completion_tokens, 5);
    teardown(&fixture);
}

static void test_chunks_and_batches_give_the_same_tokens(void **state) {
    (void)state;
    static const int steps[] = {1, 3, 16, 64, 256};
    for (size_t s = 0; s < sizeof steps / sizeof steps[0]; s++) {
        struct fixture fixture;
        setup(&fixture, 8, steps[s], 64, 100);
        struct client *clients[12];
        for (int i = 0; i < 12; i++) clients[i] = submit(&fixture, 1 + i * 9, 1 + i, (uint64_t)(i % 3));
        run_until_idle(&fixture);
        for (int i = 0; i < 12; i++) {
            assert_int_equal(clients[i]->finish, FINISH_LENGTH);
            assert_int_equal(clients[i]->accepted, 1 + i);
            check_tokens(clients[i]);
        }
        teardown(&fixture);
    }
}

static void test_step_never_passes_its_rows(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 16, 8, 16, 200);
    for (int i = 0; i < 16; i++) submit(&fixture, 20 + i, 10, (uint64_t)i);
    int64_t rows, steps = 0;
    while ((rows = scheduler_step(fixture.scheduler)) > 0) {
        assert_true(rows <= 8);
        assert_int_equal(rows, fixture.rows_of_step);
        steps++;
    }
    for (int i = 0; i < 16; i++) assert_int_equal(fixture.clients[i]->finish, FINISH_LENGTH);
    teardown(&fixture);
}

static void test_max_tokens_zero_finishes_at_once(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 1, 8, 0, 8);
    struct client *client = submit(&fixture, 3, 0, 0);
    assert_int_equal(client->finish, FINISH_LENGTH);
    assert_int_equal(client->accepted, 0);
    assert_int_equal(scheduler_step(fixture.scheduler), 0);
    teardown(&fixture);
}

static void test_full_context_is_model_length(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 1, 64, 0, 8);
    struct client *client = submit(&fixture, CONTEXT - 3, 3, 0);
    run_until_idle(&fixture);
    assert_int_equal(client->finish, FINISH_MODEL_LENGTH);
    assert_int_equal(client->accepted, 3);
    teardown(&fixture);
}

static void test_beyond_the_context_is_out_of_range(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 1, 64, 0, 8);
    static const int64_t bad[][2] = {{CONTEXT - 3, 4}, {CONTEXT + 1, 0}, {0, 4}, {1, -1}, {1, INT64_MAX}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct client *client = client_new(&fixture, bad[i][0], bad[i][1], 0);
        check_fails(scheduler_submit(fixture.scheduler, &client->sequence, &check_error), STATUS_OUT_OF_RANGE,
                    "context");
        assert_int_equal(client->reports, 0);
    }
    teardown(&fixture);
}

static void test_accept_can_stop(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 2, 64, 0, 16);
    struct client *client = client_new(&fixture, 4, 50, 0);
    client->stop_after = 3;
    check_ok(scheduler_submit(fixture.scheduler, &client->sequence, &check_error));
    run_until_idle(&fixture);
    assert_int_equal(client->finish, FINISH_STOP);
    assert_int_equal(client->accepted, 3);
    teardown(&fixture);
}

static void test_accept_can_fail(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 2, 64, 0, 16);
    struct client *client = client_new(&fixture, 4, 50, 0);
    client->fail = true;
    check_ok(scheduler_submit(fixture.scheduler, &client->sequence, &check_error));
    run_until_idle(&fixture);
    assert_int_equal(client->finish, FINISH_ERROR);
    teardown(&fixture);
}

static void test_unusable_logits_are_an_error(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 2, 64, 0, 16);
    struct client *client = submit(&fixture, 4, 50, 0);
    fixture.nan_logits = true;
    run_until_idle(&fixture);
    assert_int_equal(client->finish, FINISH_ERROR);
    assert_non_null(strstr(client->error, "logits"));
    teardown(&fixture);
}

static void test_failed_step_ends_its_sequences_alone(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 4, 64, 0, 32);
    struct client *one = submit(&fixture, 4, 50, 0), *two = submit(&fixture, 4, 50, 0),
                  *paused = submit(&fixture, 4, 5, 0);
    scheduler_pause(fixture.scheduler, &paused->sequence);
    fixture.forward_fails = true;
    assert_true(scheduler_step(fixture.scheduler) > 0);
    assert_int_equal(one->finish, FINISH_ERROR);
    assert_string_equal(two->error, "the device is gone");
    fixture.forward_fails = false;
    scheduler_resume(fixture.scheduler, &paused->sequence);
    run_until_idle(&fixture);
    assert_int_equal(paused->finish, FINISH_LENGTH);
    teardown(&fixture);
}

static void test_queue_is_bounded(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 2, 64, 3, 16);
    for (int i = 0; i < 5; i++) submit(&fixture, 4, 2, 0);
    struct client *client = client_new(&fixture, 4, 2, 0);
    check_fails(scheduler_submit(fixture.scheduler, &client->sequence, &check_error), STATUS_RESOURCE_EXHAUSTED,
                "queue");
    run_until_idle(&fixture);
    check_ok(scheduler_submit(fixture.scheduler, &client->sequence, &check_error));
    run_until_idle(&fixture);
    assert_int_equal(client->finish, FINISH_LENGTH);
    teardown(&fixture);
}

static int alive_of(const struct fixture *fixture, uint64_t tenant) {
    int alive = 0;
    for (int i = 0; i < fixture->client_count; i++)
        alive += fixture->clients[i]->finish == FINISH_NONE && fixture->clients[i]->sequence.tenant_key == tenant;
    return alive;
}

/** Tenant 1 keeps the house full: whoever is answered or refused asks again at once. Tenant 2's short questions get in all the same. */
static void test_tenant_that_fills_the_queue_keeps_nobody_out(void **state) {
    (void)state;
    struct fixture fixture = {.base_ns = 10 * NS_PER_MS, .row_ns = NS_PER_MS / 2};
    setup_with(&fixture, &(struct scheduler_options){.sequences_max = 8, .step_tokens_max = 64, .queue_max = 32}, 400);
    int answered = 0;
    for (int step = 0; step < 600; step++) {
        for (int i = fixture.client_count - 1; i >= 0; i--) {
            struct client *client = fixture.clients[i];
            if (client->finish == FINISH_NONE) continue;
            if (client->finish == FINISH_REFUSED) assert_int_equal(client->sequence.tenant_key, 1);
            answered += client->sequence.tenant_key == 2;
            free(client);
            fixture.clients[i] = fixture.clients[--fixture.client_count];
        }
        while (fixture.client_count < 40) submit(&fixture, 100, 30, 1);
        if (step % 10 == 5) submit(&fixture, 8, 2, 2);
        scheduler_step(fixture.scheduler);
        check_ok(scheduler_check(fixture.scheduler, &check_error));
    }
    assert_int_equal(answered, 60);
    scheduler_cancel_all(fixture.scheduler);
    teardown(&fixture);
}

/** In a full house the newest that waits of the tenant with the most goes, and nothing that has begun; shares become equal and stay. */
static void test_full_house_is_shared_alike(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 4, 64, 20, 64);
    for (int i = 0; i < 24; i++) submit(&fixture, 10, 100, 1);
    for (int i = 0; i < 3; i++) scheduler_step(fixture.scheduler);
    for (int i = 0; i < 12; i++) {
        submit(&fixture, 10, 100, 2);
        assert_int_equal(fixture.clients[23 - i]->finish, FINISH_REFUSED);
        assert_int_equal(fixture.clients[23 - i]->reports, 1);
        check_ok(scheduler_check(fixture.scheduler, &check_error));
    }
    for (uint64_t tenant = 1; tenant <= 2; tenant++) {
        struct client *more = client_new(&fixture, 10, 100, tenant);
        check_fails(scheduler_submit(fixture.scheduler, &more->sequence, &check_error), STATUS_RESOURCE_EXHAUSTED,
                    "queue");
        assert_int_equal(more->reports, 0);
        free(fixture.clients[--fixture.client_count]);
    }
    for (int i = 0; i < 8; i++) submit(&fixture, 10, 100, 3);
    for (uint64_t tenant = 1; tenant <= 3; tenant++) assert_int_equal(alive_of(&fixture, tenant), 8);
    run_until_idle(&fixture);
    for (int i = 0; i < fixture.client_count; i++) {
        if (fixture.clients[i]->finish == FINISH_REFUSED) assert_int_equal(fixture.clients[i]->accepted, 0);
        if (fixture.clients[i]->finish == FINISH_LENGTH) check_tokens(fixture.clients[i]);
    }
    teardown(&fixture);
}

/** Who has begun keeps its place, even when it lost its slot and waits again. */
static void test_who_has_begun_is_not_refused(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 2, 64, 2, 64);
    for (int i = 0; i < 2; i++) submit(&fixture, 10, 100, 1);
    for (int i = 0; i < 3; i++) scheduler_step(fixture.scheduler);
    for (int i = 0; i < 2; i++) submit(&fixture, 10, 5, (uint64_t)(2 + i));
    scheduler_step(fixture.scheduler); /* one of tenant 1 gives up its slot */
    struct client *more = client_new(&fixture, 10, 5, 4);
    check_fails(scheduler_submit(fixture.scheduler, &more->sequence, &check_error), STATUS_RESOURCE_EXHAUSTED, "queue");
    run_until_idle(&fixture);
    for (int i = 0; i < 4; i++) assert_int_equal(fixture.clients[i]->finish, FINISH_LENGTH);
    teardown(&fixture);
}

static void test_cancel_frees_within_one_step(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 2, 32, 8, 16);
    struct client *decoding = submit(&fixture, 4, 100, 0), *prefilling = submit(&fixture, 150, 50, 0),
                  *waiting = submit(&fixture, 4, 4, 0);
    scheduler_step(fixture.scheduler);
    assert_int_equal(decoding->accepted, 1);
    assert_true(prefilling->sequence.computed > 0 && prefilling->sequence.computed < 150);
    assert_int_equal(waiting->sequence.slot, -1);
    scheduler_cancel(fixture.scheduler, &decoding->sequence);
    scheduler_cancel(fixture.scheduler, &decoding->sequence);
    scheduler_cancel(fixture.scheduler, &prefilling->sequence);
    scheduler_cancel(fixture.scheduler, &waiting->sequence);
    assert_int_equal(scheduler_step(fixture.scheduler), 0);
    assert_int_equal(decoding->finish, FINISH_CANCELLED);
    assert_int_equal(prefilling->finish, FINISH_CANCELLED);
    assert_int_equal(waiting->finish, FINISH_CANCELLED);
    assert_int_equal(kv_cache_used(fixture.cache), 0);
    teardown(&fixture);
}

static void test_cancel_before_submit_counts(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 2, 32, 8, 16);
    struct client *client = client_new(&fixture, 4, 4, 0);
    scheduler_cancel(fixture.scheduler, &client->sequence);
    assert_int_equal(scheduler_step(fixture.scheduler), 0); /* consumes the note that something was cancelled */
    check_ok(scheduler_submit(fixture.scheduler, &client->sequence, &check_error));
    scheduler_step(fixture.scheduler);
    assert_int_equal(client->finish, FINISH_CANCELLED);
    assert_int_equal(client->accepted, 0);
    teardown(&fixture);
}

static void test_paused_keeps_its_cache_and_takes_no_part(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 2, 32, 8, 16);
    struct client *client = submit(&fixture, 40, 10, 0);
    scheduler_step(fixture.scheduler);
    int64_t computed = client->sequence.computed;
    scheduler_pause(fixture.scheduler, &client->sequence);
    assert_int_equal(scheduler_step(fixture.scheduler), 0);
    assert_int_equal(client->sequence.computed, computed);
    assert_true(kv_cache_used(fixture.cache) > 0);
    scheduler_resume(fixture.scheduler, &client->sequence);
    run_until_idle(&fixture);
    assert_int_equal(client->finish, FINISH_LENGTH);
    check_tokens(client);
    teardown(&fixture);
}

/** A small one does not slip past a large one for ever. */
static void test_who_waits_for_memory_is_not_overtaken(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 4, 64, 8, 8);
    submit(&fixture, 30, 60, 0); /* 3 blocks */
    scheduler_step(fixture.scheduler);
    struct client *large = submit(&fixture, 100, 100, 0), *small = submit(&fixture, 3, 3, 0);
    run_until_idle(&fixture);
    assert_true(small->order > large->order);
    teardown(&fixture);
}

static void test_tenants_take_turns_at_admission(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 1, 64, 16, 16);
    for (int i = 0; i < 6; i++) submit(&fixture, 4, 2, 1);
    struct client *late = submit(&fixture, 4, 2, 2), *later = submit(&fixture, 4, 2, 2);
    run_until_idle(&fixture);
    assert_true(late->order <= 2);
    assert_true(later->order <= 4);
    for (int i = 1; i < 6; i++)
        assert_true(fixture.clients[i]->order > fixture.clients[i - 1]->order); /* first come, first served inside */
    teardown(&fixture);
}

static void test_priority_counts_inside_a_tenant(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 1, 64, 16, 16);
    struct client *low = submit(&fixture, 4, 2, 1), *high = client_new(&fixture, 4, 2, 1),
                  *other = client_new(&fixture, 4, 2, 1);
    high->sequence.priority = 5;
    other->sequence.priority = 5;
    check_ok(scheduler_submit(fixture.scheduler, &high->sequence, &check_error));
    check_ok(scheduler_submit(fixture.scheduler, &other->sequence, &check_error));
    run_until_idle(&fixture);
    assert_true(high->order < other->order && other->order < low->order);
    teardown(&fixture);
}

static void test_prompts_of_tenants_take_turns(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 8, 16, 16, 64);
    struct client *flood[4];
    for (int i = 0; i < 4; i++) flood[i] = submit(&fixture, 200, 2, 1);
    scheduler_step(fixture.scheduler);
    struct client *small = submit(&fixture, 20, 2, 2);
    run_until_idle(&fixture);
    assert_int_equal(small->order, 1); /* before any of 800 prompt tokens that came earlier */
    for (int i = 0; i < 4; i++) assert_int_equal(flood[i]->finish, FINISH_LENGTH);
    teardown(&fixture);
}

/** A low one comes before what arrived ten seconds later with one more priority, however many of those wait. */
static void test_low_priority_is_not_passed_over_for_ever(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 1, 64, 100, 16);
    struct client *low = client_new(&fixture, 4, 2, 1);
    low->sequence.priority = -1;
    submit(&fixture, 4, 100, 1);
    scheduler_step(fixture.scheduler);
    submit_client(&fixture, low);
    fixture.clock.now_ns += 11 * NS_PER_S;
    for (int i = 0; i < 80; i++) submit(&fixture, 4, 2, 1);
    run_until_idle(&fixture);
    assert_int_equal(low->order, 2);
    teardown(&fixture);
}

/** ... nor are its prompt's rows, when it is in. */
static void test_low_priority_prompt_is_read_in_the_end(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 8, 16, 100, 64);
    struct client *low = client_new(&fixture, 200, 2, 1);
    low->sequence.priority = -1;
    submit_client(&fixture, low);
    scheduler_step(fixture.scheduler);
    for (int i = 0; i < 60 && low->accepted == 0; i++) {
        submit(&fixture, 60, 1, 1);
        scheduler_step(fixture.scheduler);
        fixture.clock.now_ns += NS_PER_S;
    }
    assert_true(low->accepted > 0);
    scheduler_cancel_all(fixture.scheduler);
    teardown(&fixture);
}

/** A high one waits for a beginning that a low one computes: meanwhile the low one is as urgent. */
static void test_leader_has_the_rank_of_who_waits_for_it(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 8, 16, 100, 64);
    struct client *low = client_new(&fixture, 200, 2, 1), *middle = client_new(&fixture, 200, 2, 1),
                  *high = client_new(&fixture, 200, 2, 1);
    low->salt = high->salt;
    low->sequence.priority = -1;
    high->sequence.priority = 1;
    submit_client(&fixture, low);
    scheduler_step(fixture.scheduler);
    submit_client(&fixture, middle);
    submit_client(&fixture, high);
    run_until_idle(&fixture);
    assert_true(high->order < middle->order);
    assert_int_equal(high->sequence.cached_tokens, 199);
    teardown(&fixture);
}

static void test_priority_counts_among_prompts_too(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 8, 16, 16, 64);
    struct client *low = submit(&fixture, 100, 2, 1), *high = client_new(&fixture, 100, 2, 1);
    high->sequence.priority = 1;
    scheduler_step(fixture.scheduler); /* low is at it already */
    check_ok(scheduler_submit(fixture.scheduler, &high->sequence, &check_error));
    run_until_idle(&fixture);
    assert_true(high->order < low->order);
    teardown(&fixture);
}

/** What is kept for prompts and not needed goes to streams. */
static void test_no_row_is_left_empty(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 20, 16, 16, 200);
    for (int i = 0; i < 16; i++) submit(&fixture, 1, 50, 1);
    for (int i = 0; i < 4; i++) scheduler_step(fixture.scheduler);
    submit(&fixture, 2, 2, 2); /* needs two of the four rows */
    assert_int_equal(scheduler_step(fixture.scheduler), 16);
    scheduler_cancel_all(fixture.scheduler);
    teardown(&fixture);
}

static void test_decodes_go_on_while_a_long_prompt_is_read(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 8, 16, 16, 64);
    struct client *streams[4];
    for (int i = 0; i < 4; i++) streams[i] = submit(&fixture, 3, 100, 1);
    scheduler_step(fixture.scheduler);
    struct client *longest = submit(&fixture, 200, 2, 2);
    while (longest->accepted == 0) {
        int before[4];
        for (int i = 0; i < 4; i++) before[i] = streams[i]->accepted;
        assert_true(scheduler_step(fixture.scheduler) > 0);
        for (int i = 0; i < 4; i++) assert_int_equal(streams[i]->accepted, before[i] + 1);
    }
    assert_true(fixture.steps < 25); /* 200 tokens by 12 a step */
    scheduler_cancel_all(fixture.scheduler);
    teardown(&fixture);
}

/** More streams than rows: all advance, and a prompt is read all the same. */
static void test_nobody_starves_when_streams_outnumber_rows(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 20, 8, 20, 200);
    for (int i = 0; i < 19; i++) submit(&fixture, 1, 200, (uint64_t)i);
    for (int i = 0; i < 60; i++) scheduler_step(fixture.scheduler);
    int least = 1000, most = 0;
    for (int i = 0; i < 19; i++) {
        if (fixture.clients[i]->accepted < least) least = fixture.clients[i]->accepted;
        if (fixture.clients[i]->accepted > most) most = fixture.clients[i]->accepted;
    }
    assert_true(most - least <= 2);
    struct client *prompt = submit(&fixture, 100, 2, 99);
    for (int i = 0; i < 55; i++) scheduler_step(fixture.scheduler);
    assert_true(prompt->accepted > 0);
    scheduler_cancel_all(fixture.scheduler);
    teardown(&fixture);
}

static void test_cancel_all_tells_everybody(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 2, 16, 16, 64);
    for (int i = 0; i < 7; i++) submit(&fixture, 30, 20, (uint64_t)(i % 2));
    scheduler_step(fixture.scheduler);
    scheduler_cancel_all(fixture.scheduler);
    for (int i = 0; i < 7; i++) assert_int_equal(fixture.clients[i]->finish, FINISH_CANCELLED);
    assert_int_equal(scheduler_step(fixture.scheduler), 0);
    teardown(&fixture);
}

static void test_pool_smaller_than_a_context_is_refused(void **state) {
    (void)state;
    struct kv_cache *cache = NULL;
    struct kv_cache_options options = {
        .layers = 1, .kv_heads = 1, .head_dim = 16, .type = KV_F16, .block_count = CONTEXT / KV_BLOCK_TOKENS - 1};
    check_ok(kv_cache_create(&options, &cache, &check_error));
    struct scheduler_options scheduler = {
        .cache = cache, .vocabulary = V, .context_tokens = CONTEXT, .sequences_max = 1, .step_tokens_max = 1};
    struct scheduler *out = NULL;
    check_fails(scheduler_create(&scheduler, &out, &check_error), STATUS_INVALID_ARGUMENT, "context");
    assert_null(out);
    kv_cache_destroy(cache);
}

/** Thousands of random arrivals, cancellations, pauses and steps: everybody ends exactly once, with the right tokens, and the books
 *  agree after every step. */
static void test_random_life(void **state) {
    (void)state;
    enum { ROUNDS = 4000, SLOTS = 24 };
    static const uint64_t seeds[] = {1, 2, 3};
    for (size_t s = 0; s < sizeof seeds / sizeof seeds[0]; s++) {
        struct fixture fixture;
        setup(&fixture, 6, 24, SLOTS, 24);
        int finished[FINISH_ERROR + 1] = {0};
        for (uint64_t round = 0; round < ROUNDS; round++) {
            uint64_t draw = random_philox(seeds[s], round, 0), detail = random_philox(seeds[s], round, 1);
            struct client *some =
                fixture.client_count > 0 ? fixture.clients[detail % (uint64_t)fixture.client_count] : NULL;
            if (draw % 8 < 2 && fixture.client_count < SLOTS) {
                struct client *client = client_new(&fixture, 1 + (int64_t)(detail % 120),
                                                   1 + (int64_t)(detail / 128 % 100), detail / 65536 % 4);
                client->sequence.priority = (int)(detail / (1 << 20) % 3);
                client->stop_after = detail / (1 << 24) % 2 == 0 ? 0 : 1 + (int)(detail / (1 << 25) % 40);
                check_ok(scheduler_submit(fixture.scheduler, &client->sequence, &check_error));
            } else if (draw % 8 == 2 && some != NULL && draw / 8 % 4 == 0) {
                scheduler_cancel(fixture.scheduler, &some->sequence);
            } else if (draw % 8 == 3 && some != NULL) {
                scheduler_pause(fixture.scheduler, &some->sequence);
            } else if (draw % 8 == 4 && some != NULL) {
                for (int i = 0; i < fixture.client_count; i++)
                    scheduler_resume(fixture.scheduler, &fixture.clients[i]->sequence);
            } else {
                assert_in_range(scheduler_step(fixture.scheduler), 0, 24);
                check_ok(scheduler_check(fixture.scheduler, &check_error));
            }
            for (int i = fixture.client_count - 1; i >= 0; i--) {
                struct client *client = fixture.clients[i];
                if (client->finish == FINISH_NONE) continue;
                check_tokens(client);
                if (client->finish == FINISH_LENGTH) assert_int_equal(client->accepted, client->sequence.max_tokens);
                if (client->finish == FINISH_STOP) assert_int_equal(client->accepted, client->stop_after);
                finished[client->finish]++;
                free(client);
                fixture.clients[i] = fixture.clients[--fixture.client_count];
            }
        }
        for (int i = 0; i < fixture.client_count; i++)
            scheduler_resume(fixture.scheduler, &fixture.clients[i]->sequence);
        run_until_idle(&fixture);
        for (int i = 0; i < fixture.client_count; i++) assert_true(fixture.clients[i]->finish != FINISH_NONE);
        assert_true(finished[FINISH_LENGTH] > 5 && finished[FINISH_STOP] > 5 && finished[FINISH_CANCELLED] > 5);
        assert_int_equal(finished[FINISH_ERROR], 0);
        assert_int_equal(kv_cache_used(fixture.cache), 0);
        teardown(&fixture);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequence_runs_to_max_tokens),
        cmocka_unit_test(test_chunks_and_batches_give_the_same_tokens),
        cmocka_unit_test(test_step_never_passes_its_rows),
        cmocka_unit_test(test_max_tokens_zero_finishes_at_once),
        cmocka_unit_test(test_full_context_is_model_length),
        cmocka_unit_test(test_beyond_the_context_is_out_of_range),
        cmocka_unit_test(test_accept_can_stop),
        cmocka_unit_test(test_accept_can_fail),
        cmocka_unit_test(test_unusable_logits_are_an_error),
        cmocka_unit_test(test_failed_step_ends_its_sequences_alone),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_tenant_that_fills_the_queue_keeps_nobody_out),
        cmocka_unit_test(test_full_house_is_shared_alike),
        cmocka_unit_test(test_who_has_begun_is_not_refused),
        cmocka_unit_test(test_cancel_frees_within_one_step),
        cmocka_unit_test(test_cancel_before_submit_counts),
        cmocka_unit_test(test_paused_keeps_its_cache_and_takes_no_part),
        cmocka_unit_test(test_who_waits_for_memory_is_not_overtaken),
        cmocka_unit_test(test_tenants_take_turns_at_admission),
        cmocka_unit_test(test_priority_counts_inside_a_tenant),
        cmocka_unit_test(test_prompts_of_tenants_take_turns),
        cmocka_unit_test(test_priority_counts_among_prompts_too),
        cmocka_unit_test(test_low_priority_is_not_passed_over_for_ever),
        cmocka_unit_test(test_low_priority_prompt_is_read_in_the_end),
        cmocka_unit_test(test_leader_has_the_rank_of_who_waits_for_it),
        cmocka_unit_test(test_no_row_is_left_empty),
        cmocka_unit_test(test_decodes_go_on_while_a_long_prompt_is_read),
        cmocka_unit_test(test_nobody_starves_when_streams_outnumber_rows),
        cmocka_unit_test(test_cancel_all_tells_everybody),
        cmocka_unit_test(test_pool_smaller_than_a_context_is_refused),
        cmocka_unit_test(test_random_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
