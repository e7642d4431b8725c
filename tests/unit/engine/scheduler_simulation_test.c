/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Ten thousand random arrivals, aborts, pauses and preemptions, in fake time. Everybody ends once and with the right tokens, nobody
 * starves, budgets of rows and of time are kept, no block is lost; and the same seed gives the same run, to the nanosecond.
 * BORA_SIMULATION_SEED replays one.
 */
#include "tests/unit/engine/scheduler_fixture.h"

#include "base/random.h"

enum { ARRIVALS = 10000, MS = NS_PER_MS, TENANTS = 5, STEP_ROWS = 64, BLOCKS = 40, SLOTS = 12, QUEUE = 40 };

struct simulation {
    struct fixture fixture;
    uint64_t seed, draws;
    int arrivals, finished[FINISH_ERROR + 1];
    int64_t longest_wait_ns, long_steps, decode_steps;
    uint64_t trace; /* a hash of all that happened */
};

static uint64_t draw(struct simulation *simulation, uint64_t below) {
    return random_philox(simulation->seed, simulation->draws++, 0) % below;
}

/** A prompt that may begin like others of its tenant (a system prompt of 0, 45 or 100 tokens). */
static void arrive(struct simulation *simulation) {
    static const int64_t commons[] = {0, 45, 100};
    int64_t common = commons[draw(simulation, 3)], own = 1 + (int64_t)draw(simulation, 100),
            max_tokens = 1 + (int64_t)draw(simulation, draw(simulation, 4) == 0 ? 56 : 20);
    uint64_t tenant = draw(simulation, TENANTS);
    struct client *client = client_new(&simulation->fixture, common + own, max_tokens, tenant);
    for (int64_t i = 0; i < common; i++) client->tokens[i] = (int32_t)(random_philox(tenant, (uint64_t)i, 1) % V);
    for (int64_t i = common; i < common + own; i++) client->tokens[i] = (int32_t)draw(simulation, V);
    client->salt = tenant;
    client->sequence.priority = (int)draw(simulation, 3);
    client->stop_after = draw(simulation, 3) == 0 ? 1 + (int)draw(simulation, 20) : 0;
    client->submitted_ns = simulation->fixture.clock.now_ns;
    submit_client(&simulation->fixture, client);
    simulation->arrivals++;
}

static void disturb(struct simulation *simulation) {
    struct fixture *fixture = &simulation->fixture;
    uint64_t kind = draw(simulation, 100);
    if (fixture->client_count == 0 || kind >= 8) return;
    struct client *some = fixture->clients[draw(simulation, (uint64_t)fixture->client_count)];
    if (kind < 3) {
        scheduler_cancel(fixture->scheduler, &some->sequence);
    } else if (kind < 5) {
        scheduler_pause(fixture->scheduler, &some->sequence);
        some->submitted_ns = 0; /* who was paused is not asked how long it waited */
    } else {
        for (int i = 0; i < fixture->client_count; i++)
            scheduler_resume(fixture->scheduler, &fixture->clients[i]->sequence);
    }
}

static void step(struct simulation *simulation) {
    struct fixture *fixture = &simulation->fixture;
    int64_t before = fixture->clock.now_ns, rows = scheduler_step(fixture->scheduler),
            took = fixture->clock.now_ns - before;
    assert_in_range(rows, 0, STEP_ROWS);
    check_ok(scheduler_check(fixture->scheduler, &check_error));
    if (rows == 0) fixture->clock.now_ns += MS;
    if (fixture->decodes_of_step > 0 && rows > 0) {
        int64_t alone = fixture->base_ns + fixture->row_ns * fixture->decodes_of_step;
        simulation->decode_steps++;
        simulation->long_steps += took > 3 * alone;
    }
    simulation->trace = random_philox(simulation->trace, (uint64_t)fixture->clock.now_ns, (uint32_t)rows);
}

static void collect(struct simulation *simulation) {
    struct fixture *fixture = &simulation->fixture;
    for (int i = fixture->client_count - 1; i >= 0; i--) {
        struct client *client = fixture->clients[i];
        if (client->finish == FINISH_NONE) continue;
        check_tokens(client);
        if (client->finish == FINISH_LENGTH) assert_int_equal(client->accepted, client->sequence.max_tokens);
        if (client->finish == FINISH_STOP) assert_int_equal(client->accepted, client->stop_after);
        int64_t waited = client->first_ns - client->submitted_ns;
        if (client->accepted > 0 && client->submitted_ns > 0 && waited > simulation->longest_wait_ns)
            simulation->longest_wait_ns = waited;
        simulation->finished[client->finish]++;
        free(client);
        fixture->clients[i] = fixture->clients[--fixture->client_count];
    }
}

static uint64_t run(uint64_t seed, int arrivals, bool tell) {
    struct simulation simulation = {.seed = seed, .fixture = {.base_ns = 3 * MS, .row_ns = MS / 4, .position_ns = 200}};
    struct scheduler_options options = {
        .sequences_max = SLOTS, .step_tokens_max = STEP_ROWS, .queue_max = QUEUE, .drafts_max = 16};
    struct fixture *fixture = &simulation.fixture;
    setup_with(fixture, &options, BLOCKS);
    while (simulation.arrivals < arrivals) {
        /* Bursts and lulls: the house is full at times and empty at others. */
        bool burst = simulation.arrivals / 100 % 3 != 0;
        if (fixture->client_count < SLOTS + QUEUE && draw(&simulation, burst ? 3 : 40) == 0) arrive(&simulation);
        disturb(&simulation);
        step(&simulation);
        collect(&simulation);
    }
    for (int i = 0; i < fixture->client_count; i++)
        scheduler_resume(fixture->scheduler, &fixture->clients[i]->sequence);
    while (fixture->client_count > 0) {
        step(&simulation);
        collect(&simulation);
    }
    struct scheduler_stats stats;
    scheduler_stats(fixture->scheduler, &stats);
    if (tell) {
        print_message("seed %llu: %llu steps, %llu preemptions, %llu prompt tokens computed and %llu cached, %llu of "
                      "%llu guesses "
                      "right; longest wait %.2f s of %.0f s; %lld of %lld steps over 3x\n",
                      (unsigned long long)seed, (unsigned long long)stats.steps, (unsigned long long)stats.preemptions,
                      (unsigned long long)stats.prompt_tokens, (unsigned long long)stats.cached_tokens,
                      (unsigned long long)stats.draft_accepted, (unsigned long long)stats.draft_tokens,
                      (double)simulation.longest_wait_ns / 1e9, (double)fixture->clock.now_ns / 1e9,
                      (long long)simulation.long_steps, (long long)simulation.decode_steps);
        assert_true(stats.preemptions > 0 && stats.cached_tokens > 0);
        assert_true(simulation.finished[FINISH_LENGTH] > 100 && simulation.finished[FINISH_CANCELLED] > 100);
        assert_true(simulation.finished[FINISH_STOP] > 100);
    }
    assert_int_equal(simulation.finished[FINISH_ERROR], 0);
    assert_int_equal(kv_cache_used(fixture->cache), 0);
    /* 52 requests of at most 200 prompt and 56 output tokens: all of them take 8 s when nothing is done twice. */
    assert_true(simulation.longest_wait_ns < 20 * NS_PER_S);
    assert_true(simulation.long_steps * 100 <= simulation.decode_steps);
    teardown(fixture);
    return simulation.trace;
}

static void test_ten_thousand_arrivals(void **state) {
    (void)state;
    const char *given = getenv("BORA_SIMULATION_SEED");
    run(given != NULL ? strtoull(given, NULL, 10) : 1, ARRIVALS, true);
}

static void test_same_seed_is_the_same_run(void **state) {
    (void)state;
    assert_true(run(7, 1500, false) == run(7, 1500, false));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ten_thousand_arrivals),
        cmocka_unit_test(test_same_seed_is_the_same_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
