/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Ten thousand random arrivals - searches among them -, aborts in and between steps, pauses and preemptions, in fake time. Everybody ends
 * once and with the right tokens, nobody starves or stands still, tenants that all wait are served alike, the queue's bound, budgets of
 * rows and of time are kept, no block is lost; and the same seed gives the same run, to the nanosecond. BORA_SIMULATION_SEED replays one.
 */
#include "tests/unit/engine/scheduler_fixture.h"

#include "base/random.h"
#include "engine/scheduler/queue.h"

#include <inttypes.h>
#include <math.h>

enum {
    ARRIVALS = 10000,
    MS = NS_PER_MS,
    TENANTS = 5,
    STEP_ROWS = 64,
    BLOCKS = 40,
    SLOTS = 12,
    QUEUE = 40,
    /* A head start, a turn of one tenant and a step of decodes are 392; who waits for memory also falls behind the streams of others
     * meanwhile: 150 to 450 in a hundred seeds. */
    SPREAD_MAX = 1000,
    DRAIN_STEPS_MAX =
        20000 /* 52 requests of at most 256 tokens take 13,312 steps when each is computed alone, token by token */
};

struct simulation {
    struct fixture fixture;
    uint64_t seed, draws;
    int arrivals, crowds, refused, searches, finished[FINISH_ERROR + 1];
    int64_t longest_wait_ns, longest_stall_ns, long_steps, decode_steps;
    double spread_before; /* of the tenants' service when all began to wait; NAN: not all do */
    double spread_most;   /* ... grew by at most so much */
    int64_t windows;
    uint64_t trace; /* a hash of all that happened */
};

/** What it has got so far, to see whether it stands still. */
struct progress {
    int64_t done, since_ns;
};
static struct progress progress[LIVE_MAX];
static struct simulation *running;

static uint64_t draw(struct simulation *simulation, uint64_t below) {
    return random_philox(simulation->seed, simulation->draws++, 0) % below;
}

/** A prompt that may begin like others of its tenant (a system prompt of 0, 45 or 100 tokens). In every other epoch models repeat themselves, so
 *  that guesses are right. */
static struct client *draw_client(struct simulation *simulation) {
    static const int64_t commons[] = {0, 45, 100};
    int64_t common = commons[draw(simulation, 3)], own = 1 + (int64_t)draw(simulation, 100),
            max_tokens = 1 + (int64_t)draw(simulation, draw(simulation, 4) == 0 ? 56 : 20);
    uint64_t tenant = draw(simulation, TENANTS);
    simulation->fixture.echo = simulation->arrivals / 500 % 2 == 1 ? 3 + (int)draw(simulation, 4) : 0;
    struct client *client = client_new(&simulation->fixture, common + own, max_tokens, tenant);
    for (int64_t i = 0; i < common; i++) client->tokens[i] = (int32_t)(random_philox(tenant, (uint64_t)i, 1) % V);
    for (int64_t i = common; i < common + own; i++) client->tokens[i] = (int32_t)draw(simulation, V);
    client->salt = tenant;
    client->sequence.priority = (int)draw(simulation, 3) - 1;
    client->stop_after = draw(simulation, 3) == 0 ? 1 + (int)draw(simulation, 20) : 0;
    client->submitted_ns = simulation->fixture.clock.now_ns;
    if (draw(simulation, 20) == 0) {
        make_search(client, &(struct beam_settings){.width = 2 + (int)draw(simulation, 3), .length_penalty = 1});
        simulation->searches++;
    }
    return client;
}

static void forget(struct fixture *fixture, int at) {
    free(fixture->clients[at]->beam_memory);
    free(fixture->clients[at]);
    fixture->clients[at] = fixture->clients[--fixture->client_count];
    progress[at] = progress[fixture->client_count];
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

/** In two of a hundred steps somebody leaves while it is computed. */
static void cancel_in_step(struct fixture *fixture) {
    if (draw(running, 50) != 0) return;
    scheduler_cancel(fixture->scheduler, &fixture->clients[draw(running, (uint64_t)fixture->client_count)]->sequence);
}

/** Those that run and are not paused get a token, or rows of their prompt, every now and then. */
static void watch_progress(struct simulation *simulation) {
    const struct fixture *fixture = &simulation->fixture;
    for (int i = 0; i < fixture->client_count; i++) {
        struct sequence *sequence = &fixture->clients[i]->sequence;
        bool goes_on = sequence->slot >= 0 && !atomic_load(&sequence->paused);
        int64_t done = goes_on ? sequence->token_count + sequence->computed : -1;
        if (done != progress[i].done || !goes_on)
            progress[i] = (struct progress){.done = done, .since_ns = fixture->clock.now_ns};
        int64_t stall = fixture->clock.now_ns - progress[i].since_ns;
        if (stall > simulation->longest_stall_ns) simulation->longest_stall_ns = stall;
    }
}

/** The difference between the most and the least served tenant, when all of them have somebody who waits; else NAN. */
static double spread(const struct fixture *fixture) {
    double least = INFINITY, most = -INFINITY;
    bool waits[TENANTS] = {0};
    for (int i = 0; i < fixture->client_count; i++) {
        const struct sequence *sequence = &fixture->clients[i]->sequence;
        if (fixture->clients[i]->finish != FINISH_NONE || sequence->slot >= 0 || atomic_load(&sequence->paused))
            continue;
        waits[sequence->tenant_key] = true;
        least = fmin(least, sequence->tenant->served);
        most = fmax(most, sequence->tenant->served);
    }
    for (int t = 0; t < TENANTS; t++) {
        if (!waits[t]) return NAN;
    }
    return most - least;
}

/** While all tenants wait, whoever was served less catches up and nobody gets ahead. */
static void watch_fairness(struct simulation *simulation) {
    double now = spread(&simulation->fixture);
    if (isnan(now) || isnan(simulation->spread_before)) {
        simulation->windows += !isnan(now);
        simulation->spread_before = now;
        return;
    }
    simulation->spread_most = fmax(simulation->spread_most, now - simulation->spread_before);
}

static void step(struct simulation *simulation) {
    struct fixture *fixture = &simulation->fixture;
    int64_t before = fixture->clock.now_ns, rows = scheduler_step(fixture->scheduler),
            took = fixture->clock.now_ns - before;
    assert_in_range(rows, 0, STEP_ROWS);
    check_ok(scheduler_check(fixture->scheduler, &check_error));
    if (rows == 0) fixture->clock.now_ns += MS;
    if (fixture->decodes_of_step > 0 && took > 0) {
        int64_t alone = fixture->base_ns + fixture->row_ns * fixture->decodes_of_step +
                        fixture->position_ns * fixture->decode_positions_of_step;
        simulation->decode_steps++;
        simulation->long_steps += (double)took > 1.1 * SCHEDULER_STRETCH_NEWCOMER * (double)alone;
    }
    watch_progress(simulation);
    watch_fairness(simulation);
    simulation->trace = random_philox(simulation->trace, (uint64_t)fixture->clock.now_ns, (uint32_t)rows);
}

/** The likeliest text of the fake model is what it says token by token. */
static void check_search(const struct client *client) {
    const struct hypothesis *best = &client->sequence.beams->finished[0];
    assert_int_equal(client->accepted, 0);
    if (client->finish != FINISH_LENGTH && client->finish != FINISH_MODEL_LENGTH) return;
    assert_int_equal(client->reports, 1);
    assert_int_equal(best->count, client->sequence.prompt_count + client->sequence.max_tokens);
    for (int64_t i = client->sequence.prompt_count; i < best->count; i++)
        assert_int_equal(best->tokens[i], next_token(client, best->tokens, i));
}

static void collect(struct simulation *simulation) {
    struct fixture *fixture = &simulation->fixture;
    for (int i = fixture->client_count - 1; i >= 0; i--) {
        struct client *client = fixture->clients[i];
        if (client->finish == FINISH_NONE) continue;
        if (client->sequence.beams != NULL) {
            check_search(client);
        } else {
            check_tokens(client);
            if (client->finish == FINISH_LENGTH) assert_int_equal(client->accepted, client->sequence.max_tokens);
            if (client->finish == FINISH_STOP) assert_int_equal(client->accepted, client->stop_after);
        }
        int64_t waited = client->first_ns - client->submitted_ns;
        if (client->accepted > 0 && client->submitted_ns > 0 && waited > simulation->longest_wait_ns)
            simulation->longest_wait_ns = waited;
        simulation->finished[client->finish]++;
        forget(fixture, i);
    }
}

/** Whom a full house may do without: of each tenant, how many are there and when the last is due that waits and has not begun. */
struct house {
    int alive[TENANTS], most; /* of those that have such a one */
    int64_t due[TENANTS];
};

static struct house survey(const struct fixture *fixture) {
    struct house house = {0};
    for (int t = 0; t < TENANTS; t++) house.due[t] = INT64_MIN;
    for (int i = 0; i < fixture->client_count; i++) {
        const struct sequence *sequence = &fixture->clients[i]->sequence;
        house.alive[sequence->tenant_key]++;
        bool fresh = sequence->slot < 0 && !sequence->was_admitted;
        if (fresh && sequence_due(sequence) > house.due[sequence->tenant_key])
            house.due[sequence->tenant_key] = sequence_due(sequence);
    }
    for (int t = 0; t < TENANTS; t++) {
        if (house.due[t] > INT64_MIN && house.alive[t] > house.most) house.most = house.alive[t];
    }
    return house;
}

/** In a full house the newcomer is refused, or the last of a tenant that has at least two more; else nobody is. */
static void arrive(struct simulation *simulation) {
    struct fixture *fixture = &simulation->fixture;
    struct house house = survey(fixture);
    bool full = fixture->client_count == SLOTS + QUEUE;
    struct client *client = draw_client(simulation);
    progress[fixture->client_count - 1] = (struct progress){.done = -1};
    simulation->arrivals++;
    if (full && house.most < house.alive[client->sequence.tenant_key] + 2) {
        check_fails(scheduler_submit(fixture->scheduler, &client->sequence, &check_error), STATUS_RESOURCE_EXHAUSTED,
                    "queue");
        simulation->refused++;
        forget(fixture, fixture->client_count - 1);
        return;
    }
    submit_client(fixture, client);
    int gone = 0;
    for (int i = 0; i < fixture->client_count; i++) {
        const struct sequence *other = &fixture->clients[i]->sequence;
        if (fixture->clients[i]->finish != FINISH_REFUSED) continue;
        gone++;
        assert_int_equal(house.alive[other->tenant_key], house.most);
        assert_true(sequence_due(other) == house.due[other->tenant_key]);
        assert_int_equal(fixture->clients[i]->accepted, 0);
    }
    assert_int_equal(gone, full);
    collect(simulation);
}

static void drain(struct simulation *simulation) {
    struct fixture *fixture = &simulation->fixture;
    for (int i = 0; i < fixture->client_count; i++)
        scheduler_resume(fixture->scheduler, &fixture->clients[i]->sequence);
    for (int steps = 0; fixture->client_count > 0; steps++) {
        assert_true(steps < DRAIN_STEPS_MAX);
        step(simulation);
        collect(simulation);
    }
}

static void judge(const struct simulation *simulation, bool long_enough) {
    struct scheduler_stats stats;
    scheduler_stats(simulation->fixture.scheduler, &stats);
    print_message("%" PRIu64 " steps, %d refused at once and %d while they waited, %d searches, %" PRIu64
                  " preemptions, %" PRIu64 " prompt tokens computed and %" PRIu64 " cached, %" PRIu64 " of %" PRIu64
                  " guesses right, %" PRId64 " steps given up; longest wait %.2f s, stall %.2f s of %.0f s; %" PRId64
                  " of %" PRId64 " steps too long; service apart by %.0f more in %" PRId64 " windows\n",
                  stats.steps, simulation->refused, simulation->finished[FINISH_REFUSED], simulation->searches,
                  stats.preemptions, stats.prompt_tokens, stats.cached_tokens, stats.draft_accepted, stats.draft_tokens,
                  simulation->fixture.abandoned_steps, (double)simulation->longest_wait_ns / 1e9,
                  (double)simulation->longest_stall_ns / 1e9, (double)simulation->fixture.clock.now_ns / 1e9,
                  simulation->long_steps, simulation->decode_steps, simulation->spread_most, simulation->windows);
    if (long_enough) {
        assert_true(stats.preemptions > 0 && stats.cached_tokens > 0 && stats.draft_accepted > 1000);
        assert_true(simulation->finished[FINISH_LENGTH] > 100 && simulation->finished[FINISH_CANCELLED] > 100);
        assert_true(simulation->finished[FINISH_STOP] > 100 && simulation->searches > 100);
        assert_true(simulation->refused > 10 && simulation->finished[FINISH_REFUSED] > 10);
        assert_true(simulation->fixture.abandoned_steps > 0 && simulation->windows > 10);
    }
    assert_int_equal(simulation->finished[FINISH_ERROR], 0);
    assert_int_equal(kv_cache_used(simulation->fixture.cache), 0);
    /* 52 requests of at most 200 prompt and 56 output tokens: all of them take 8 s when nothing is done twice. */
    assert_true(simulation->longest_wait_ns < 20 * NS_PER_S);
    assert_true(simulation->longest_stall_ns < 3 * NS_PER_S);
    assert_true(simulation->spread_most <= SPREAD_MAX);
    assert_true(simulation->long_steps * 1000 <= simulation->decode_steps);
}

static uint64_t run(uint64_t seed, int arrivals) {
    struct simulation simulation = {
        .seed = seed, .spread_before = NAN, .fixture = {.base_ns = 3 * MS, .row_ns = MS / 4, .position_ns = 200}};
    struct scheduler_options options = {
        .sequences_max = SLOTS, .step_tokens_max = STEP_ROWS, .queue_max = QUEUE, .drafts_max = 16};
    struct fixture *fixture = &simulation.fixture;
    print_message("seed %" PRIu64 ": ", seed);
    setup_with(fixture, &options, BLOCKS);
    running = &simulation;
    fixture->in_step = cancel_in_step;
    while (simulation.arrivals < arrivals) {
        /* Bursts and lulls: the house is full at times and empty at others. */
        bool burst = simulation.arrivals / 100 % 3 != 0;
        if (draw(&simulation, burst ? 3 : 40) == 0) arrive(&simulation);
        bool crowd = simulation.arrivals / 1000 > simulation.crowds;
        simulation.crowds += crowd;
        for (int i = 0; crowd && i < 60; i++) arrive(&simulation); /* more than the queue holds */
        disturb(&simulation);
        step(&simulation);
        collect(&simulation);
    }
    drain(&simulation);
    judge(&simulation, arrivals == ARRIVALS);
    teardown(fixture);
    return simulation.trace;
}

static void test_ten_thousand_arrivals(void **state) {
    (void)state;
    const char *given = getenv("BORA_SIMULATION_SEED");
    run(given != NULL ? strtoull(given, NULL, 10) : 1, ARRIVALS);
}

static void test_ten_thousand_arrivals_of_a_new_seed(void **state) {
    (void)state;
    uint64_t seed = 0;
    check_ok(random_secret(&seed, sizeof seed, &check_error));
    run(seed, ARRIVALS);
}

static void test_same_seed_is_the_same_run(void **state) {
    (void)state;
    assert_true(run(7, 1500) == run(7, 1500));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ten_thousand_arrivals),
        cmocka_unit_test(test_ten_thousand_arrivals_of_a_new_seed),
        cmocka_unit_test(test_same_seed_is_the_same_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
