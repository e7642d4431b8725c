/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Ten thousand random arrivals - searches as wide as there are slots among them -, aborts in and between steps, pauses and preemptions, in
 * fake time. Everybody ends once and with the right tokens, nobody starves or stands still, tenants that all wait are served alike by what
 * the model computed for them, a full house is shared alike, budgets of rows and of time are kept, no block is lost; and the same seed
 * gives the same run, to the nanosecond. BORA_SIMULATION_SEED replays one.
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
    /* A head start, a turn of one tenant and a step of decodes are 414; who waits for memory also falls behind the streams of others
     * meanwhile: 170 to 530 in a hundred runs. */
    SPREAD_MAX = 800,
    IDLE_STEPS_MAX = 60, /* 25 were seen; 110 to 270 where searches took slots for all branches */
    DRAIN_STEPS_MAX =
        20000 /* 52 requests of at most 256 tokens take 13,312 steps when each is computed alone, token by token */
};

/** For its first token; without going on while it runs; between two tokens, preemptions and all; from arrival to end. */
struct times {
    int64_t wait_ns, stall_ns, gap_ns, life_ns;
};

struct simulation {
    struct fixture fixture;
    uint64_t seed, draws;
    int arrivals, crowds, refused, searches, finished[FINISH_ERROR + 1];
    struct times longest[2]; /* of plain ones; of searches */
    int64_t long_steps, decode_steps;
    int64_t idle_steps, idle_longest; /* in a row, with slots and memory for who waits */
    double given
        [TENANTS]; /* what each tenant was given, as the fixture counts it; since a window began, beyond what the scheduler had counted then */
    bool all_wait; /* of every tenant somebody: a window of time in which they must be served alike */
    double spread_before; /* between the tenants when it began */
    double spread_most;   /* ... grew by at most so much in any */
    double charge_error;  /* the most that a tenant was charged in a window beyond what it was given, or less */
    int64_t windows;
    uint64_t trace; /* a hash of all that happened */
};

/** What it has got so far, to see whether it stands still. */
struct progress {
    int64_t done, since_ns, tokens, tokens_since_ns, given;
};
static struct progress progress[LIVE_MAX];
static struct simulation *running;

static uint64_t draw(struct simulation *simulation, uint64_t below) {
    return random_philox(simulation->seed, simulation->draws++, 0) % below;
}

/** A prompt that may begin like others of its tenant (a system prompt of 0, 45 or 100 tokens). What some tenants' models say repeats itself, so that
 *  guesses are right. */
static struct client *draw_client(struct simulation *simulation) {
    static const int64_t commons[] = {0, 45, 100};
    int64_t common = commons[draw(simulation, 3)], own = 1 + (int64_t)draw(simulation, 100),
            max_tokens = 1 + (int64_t)draw(simulation, draw(simulation, 4) == 0 ? 56 : 20);
    uint64_t tenant = draw(simulation, TENANTS);
    simulation->fixture.forces = tenant % 2 == 0;
    simulation->fixture.echo = tenant < TENANTS / 2 ? 3 + (int)draw(simulation, 4) : 0;
    struct client *client = client_new(&simulation->fixture, common + own, max_tokens, tenant);
    for (int64_t i = 0; i < common; i++) client->tokens[i] = (int32_t)(random_philox(tenant, (uint64_t)i, 1) % V);
    for (int64_t i = common; i < common + own; i++) client->tokens[i] = (int32_t)draw(simulation, V);
    client->salt = tenant;
    client->sequence.priority = (int)draw(simulation, 3) - 1;
    client->stop_after = draw(simulation, 3) == 0 ? 1 + (int)draw(simulation, 20) : 0;
    client->submitted_ns = simulation->fixture.clock.now_ns;
    if (draw(simulation, 15) == 0) {
        /* The widest that is longest fits alone: 6 blocks of its prompt, and 2 of each branch. */
        if (max_tokens > 20) client->sequence.max_tokens = 20;
        make_search(client, &(struct beam_settings){
                                .width = draw(simulation, 2) == 0 ? SLOTS : 2 + (int)draw(simulation, SLOTS - 1),
                                .length_penalty = 1});
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

static void note(int64_t *longest, int64_t since_ns) {
    int64_t took = running->fixture.clock.now_ns - since_ns;
    if (took > *longest) *longest = took;
}

/** Tokens known and computed, in all branches of a search. */
static int64_t done_of(const struct sequence *sequence) {
    int64_t done = sequence->token_count + sequence->computed;
    for (int i = 1; sequence->beams != NULL && i < sequence->beams->branch_count; i++)
        done += sequence->beams->branches[i]->token_count + sequence->beams->branches[i]->computed;
    return done;
}

/** Who was never paused gets its first token in time. Those that run get a token, or rows of their prompt, every now and then; and who has begun
 *  gets tokens, whatever happens to its place. */
static void watch_progress(struct simulation *simulation) {
    const struct fixture *fixture = &simulation->fixture;
    int64_t now = fixture->clock.now_ns;
    for (int i = 0; i < fixture->client_count; i++) {
        const struct client *client = fixture->clients[i];
        const struct sequence *sequence = &client->sequence;
        struct times *longest = &simulation->longest[sequence->beams != NULL];
        struct progress *mine = &progress[i];
        bool paused = atomic_load(&sequence->paused), runs = sequence->slot >= 0 && !paused,
             begun = sequence->token_count > sequence->prompt_count && !paused;
        int64_t done = runs ? done_of(sequence) : -1, tokens = begun ? sequence->token_count : -1;
        if (done != mine->done || !runs) mine->since_ns = now;
        if (tokens != mine->tokens || !begun) mine->tokens_since_ns = now;
        mine->done = done;
        mine->tokens = tokens;
        note(&longest->stall_ns, mine->since_ns);
        note(&longest->gap_ns, mine->tokens_since_ns);
        if (client->submitted_ns > 0 && sequence->token_count == sequence->prompt_count)
            note(&longest->wait_ns, client->submitted_ns);
        if (client->submitted_ns > 0) note(&longest->life_ns, client->submitted_ns);
        simulation->given[sequence->tenant_key] += (double)(client->given - mine->given);
        mine->given = client->given;
    }
}

/** Who waits gets one of the slots that are free, when there is memory: now and then it waits for the beginning of another's prompt. */
static void watch_slots(struct simulation *simulation) {
    const struct fixture *fixture = &simulation->fixture;
    int runs = 0, waits = 0;
    for (int i = 0; i < fixture->client_count; i++) {
        const struct sequence *sequence = &fixture->clients[i]->sequence;
        runs += sequence->slot >= 0;
        waits += sequence->slot < 0 && fixture->clients[i]->finish == FINISH_NONE && !atomic_load(&sequence->paused);
    }
    bool idle = waits > 0 && 2 * runs <= SLOTS && 3 * kv_cache_free(fixture->cache) >= 2 * BLOCKS;
    simulation->idle_steps = idle ? simulation->idle_steps + 1 : 0;
    if (simulation->idle_steps > simulation->idle_longest) simulation->idle_longest = simulation->idle_steps;
}

/** Does somebody of each tenant wait? Then what the scheduler has charged them. */
static bool all_wait(const struct fixture *fixture, double served[TENANTS]) {
    bool waits[TENANTS] = {0};
    for (int i = 0; i < fixture->client_count; i++) {
        const struct sequence *sequence = &fixture->clients[i]->sequence;
        if (fixture->clients[i]->finish != FINISH_NONE || sequence->slot >= 0 || atomic_load(&sequence->paused))
            continue;
        waits[sequence->tenant_key] = true;
        served[sequence->tenant_key] = sequence->tenant->served;
    }
    for (int t = 0; t < TENANTS; t++) {
        if (!waits[t]) return false;
    }
    return true;
}

static double spread(const double given[TENANTS]) {
    double least = INFINITY, most = -INFINITY;
    for (int t = 0; t < TENANTS; t++) {
        least = fmin(least, given[t]);
        most = fmax(most, given[t]);
    }
    return most - least;
}

/** While all tenants wait, whoever was served less catches up and nobody gets ahead. */
static void watch_fairness(struct simulation *simulation) {
    double served[TENANTS];
    bool before = simulation->all_wait;
    simulation->all_wait = all_wait(&simulation->fixture, served);
    if (simulation->all_wait && before) {
        simulation->spread_most = fmax(simulation->spread_most, spread(simulation->given) - simulation->spread_before);
        for (int t = 0; t < TENANTS; t++)
            simulation->charge_error = fmax(simulation->charge_error, fabs(served[t] - simulation->given[t]));
    } else if (simulation->all_wait) {
        simulation->windows++;
        memcpy(simulation->given, served, sizeof served);
        simulation->spread_before = spread(served);
    }
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
    watch_slots(simulation);
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

/** What the tenant was charged; 0 when nobody of it is there. */
static double served_of(const struct fixture *fixture, uint64_t tenant) {
    for (int i = 0; i < fixture->client_count; i++) {
        const struct sequence *sequence = &fixture->clients[i]->sequence;
        if (sequence->tenant_key == tenant && sequence->tenant != NULL) return sequence->tenant->served;
    }
    return 0;
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
    /* Who fell behind the virtual time while it was paused, say, is brought up to it: no charge for anything. */
    double served = served_of(fixture, client->sequence.tenant_key);
    submit_client(fixture, client);
    simulation->given[client->sequence.tenant_key] += client->sequence.tenant->served - served;
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
                  " guesses right, %" PRIu64 " tokens forced, %" PRId64 " steps given up; %" PRId64 " of %" PRId64
                  " steps too long; service apart by %.0f more in %" PRId64
                  " windows, charges wrong by %.0f; slots empty in vain for %" PRId64 " steps; in %.0f s the longest",
                  stats.steps, simulation->refused, simulation->finished[FINISH_REFUSED], simulation->searches,
                  stats.preemptions, stats.prompt_tokens, stats.cached_tokens, stats.draft_accepted, stats.draft_tokens,
                  stats.forced_tokens, simulation->fixture.abandoned_steps, simulation->long_steps,
                  simulation->decode_steps, simulation->spread_most, simulation->windows, simulation->charge_error,
                  simulation->idle_longest, (double)simulation->fixture.clock.now_ns / 1e9);
    for (int search = 0; search < 2; search++) {
        const struct times *longest = &simulation->longest[search];
        print_message("%s wait %.2f s, stall %.2f s, gap %.2f s, life %.2f s", search ? "; of searches" : "",
                      (double)longest->wait_ns / 1e9, (double)longest->stall_ns / 1e9, (double)longest->gap_ns / 1e9,
                      (double)longest->life_ns / 1e9);
    }
    print_message("\n");
    if (long_enough) {
        assert_true(stats.preemptions > 0 && stats.cached_tokens > 0 && stats.draft_accepted > 1000);
        assert_true(stats.forced_tokens > 1000);
        assert_true(simulation->finished[FINISH_LENGTH] > 100 && simulation->finished[FINISH_CANCELLED] > 100);
        assert_true(simulation->finished[FINISH_STOP] > 100 && simulation->searches > 100);
        assert_true(simulation->refused > 10 && simulation->finished[FINISH_REFUSED] > 10);
        assert_true(simulation->fixture.abandoned_steps > 0 && simulation->windows > 10);
    }
    assert_int_equal(simulation->finished[FINISH_ERROR], 0);
    assert_int_equal(kv_cache_used(simulation->fixture.cache), 0);
    /* 52 requests of at most 200 prompt and 56 output tokens: all of them take 8 s when nothing is done twice. In a hundred runs nobody waited
     * for 6.1 s, or for a token for 5.5 s, or was there for 6.4 s; where searches took slots for all branches it was up to 7.6 s. */
    for (int search = 0; search < 2; search++) {
        assert_true(simulation->longest[search].wait_ns < 10 * NS_PER_S);
        assert_true(simulation->longest[search].stall_ns < 3 * NS_PER_S);
        assert_true(simulation->longest[search].gap_ns < 8 * NS_PER_S);
        assert_true(simulation->longest[search].life_ns < 12 * NS_PER_S);
    }
    assert_true(simulation->spread_most <= SPREAD_MAX);
    assert_true(simulation->charge_error == 0);
    assert_true(simulation->idle_longest <= IDLE_STEPS_MAX);
    assert_true(simulation->long_steps * 1000 <= simulation->decode_steps);
}

static uint64_t run(uint64_t seed, int arrivals) {
    struct simulation simulation = {.seed = seed, .fixture = {.base_ns = 3 * MS, .row_ns = MS / 4, .position_ns = 200}};
    struct scheduler_options options = {
        .sequences_max = SLOTS, .step_tokens_max = STEP_ROWS, .queue_max = QUEUE, .drafts_max = 16};
    struct fixture *fixture = &simulation.fixture;
    print_message("seed %" PRIu64 ": ", seed);
    setup_with(fixture, &options, BLOCKS);
    fixture->calibrating = true; /* as an engine does when it opens */
    scheduler_calibrate(fixture->scheduler);
    fixture->calibrating = false;
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
