/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A simulation of gateways, workers and a reaper over the real functions in a real Redis, with a clock of its own. What happens, and in which order,
 * is drawn from a seed: admissions, charges, settlements, reports, leases that run out, gateways and workers that die, answers that are lost, calls
 * that come late or twice, clocks that are set back. limits_reference.c says what must be so after each step.
 *
 *     test_store_limits_model [SEED [STEPS]]     one seed, for longer
 */
#include "tests/unit/store/limits_reference.h"

#include "base/random.h"
#include "tests/unit/store/limits_fixture.h"

#include <stdio.h>

enum { GATEWAYS = 3, SCOPES = 8, SLOTS = 24, DELAYED_MAX = 12, SEEDS = 4, STEPS = 1000, TOGETHER_MAX = 5 };

enum phase { FREE, READY, RUNNING, LOST_ADMISSION, SETTLING, REPORTING };

/** A request as its gateway and its worker see it. */
struct request {
    enum phase phase;
    int lease, gateway;
    int64_t ready_us; /* READY: admitted ahead, in time that never goes back */
    bool worker_dead;
    int answers, reported; /* reports that were taken */
    int64_t input, held, cached;
    int64_t generated[REFERENCE_ANSWERS], received;
    struct limits_usage last_word; /* SETTLING */
};

enum call_kind { CALL_ADMIT, CALL_CHARGE, CALL_SETTLE, CALL_REPORT };
struct call {
    enum call_kind kind;
    int lease, answer;
    struct limits_usage usage;
    struct limits_admission admission;
    struct limits_scope scopes[LIMITS_SCOPES_MAX];
    int scope_numbers[LIMITS_SCOPES_MAX];
};

struct world {
    struct redis_client *client;
    struct reference *reference;
    bool clock_steps; /* back */
    uint64_t seed, drawn;
    struct limits_scope scopes[SCOPES];
    const char *models[SCOPES]; /* NULL: all */
    struct limits_price price;
    struct request slots[SLOTS];
    int lease_count;
    struct call delayed[DELAYED_MAX];
    int delayed_count;
    int64_t truth[REFERENCE_LEASES]; /* what a lease's workers generated, once that is known to Redis; else -1 */
    int admitted, estimated, ahead, used, scarce, denied, never, corrected, expired, too_late, together;
};

static int64_t draw(struct world *world, int64_t from, int64_t to) {
    return from + (int64_t)(random_philox(world->seed, world->drawn++, 0) % (uint64_t)(to - from + 1));
}

static bool chance(struct world *world, int percent) {
    return draw(world, 1, 100) <= percent;
}

/* --- calls, on both sides ------------------------------------------------------------------------------------------- */

struct admit_answer {
    struct tally tally;
    enum status status;
    struct limits_result result;
};

static void keep_admitted(void *context, enum status status, const struct limits_result *result, const char *message) {
    struct admit_answer *answer = context;
    answer->status = status;
    if (result != NULL) answer->result = *result;
    tally_count(&answer->tally, status, NULL, message);
}

/** DENIED says the earliest time at which it passes if only time passes. */
static void check_retry_after(struct world *world, const struct reference_request *request, int64_t retry_us) {
    const struct limits_admission *admission = request->admission;
    int64_t least = admission->output - admission->output_optional, now_us = world->reference->now_us;
    int64_t a_year_us = INT64_C(366) * 86400 * SECOND_US;
    assert_true(retry_us > 0);
    if (reference_passes(world->reference, request, least, now_us + retry_us))
        assert_false(reference_passes(world->reference, request, least, now_us + retry_us - 1000));
    else /* what is held keeps it out, however long one waits */
        assert_false(reference_passes(world->reference, request, least, now_us + a_year_us));
}

static void check_admission(struct world *world, const struct reference_request *request,
                            const struct limits_result *result) {
    struct limits_result expected = reference_answer(world->reference, request);
    assert_int_equal(result->outcome, expected.outcome);
    assert_int_equal(result->output_held, expected.output_held);
    for (int kind = 0; kind < LIMITS_KINDS; kind++) {
        if (kind == LIMITS_REQUESTS_PER_SECOND && expected.outcome != LIMITS_ADMITTED) continue;
        if (kind == LIMITS_REQUESTS_PER_SECOND && 2 * result->room[kind].remaining + 2 > result->room[kind].limit) {
            assert_true(result->room[kind].remaining <= expected.room[kind].remaining); /* at least */
            continue;
        }
        assert_int_equal(result->room[kind].remaining, expected.room[kind].remaining);
    }
    if (result->outcome == LIMITS_DENIED) check_retry_after(world, request, result->retry_after_ms * 1000);
}

static struct call take_delayed(struct world *world, int which) {
    struct call call = world->delayed[which];
    world->delayed[which] = world->delayed[--world->delayed_count];
    return call;
}

static struct limits_word word_of(const struct call *call) {
    return (struct limits_word){.said = call->kind == CALL_CHARGE   ? LIMITS_CHARGE
                                        : call->kind == CALL_SETTLE ? LIMITS_SETTLE
                                                                    : LIMITS_REPORT,
                                .lease = lease_id(call->lease),
                                .answer = call->answer,
                                .usage = call->usage};
}

/** Calls on leases other than `lease` that have not come yet come now, together with another call. */
static int draw_together(struct world *world, int lease, struct call out[TOGETHER_MAX]) {
    int count = 0;
    if (!chance(world, 60)) return 0;
    for (int i = world->delayed_count - 1; i >= 0 && count < TOGETHER_MAX; i--) {
        if (world->delayed[i].kind != CALL_ADMIT && world->delayed[i].lease != lease)
            out[count++] = take_delayed(world, i);
    }
    world->together += count;
    return count;
}

static int expect_on_lease(struct world *world, const struct call *call) {
    int expected = 0;
    if (call->kind == CALL_CHARGE)
        expected = reference_charge(world->reference, call->lease, &call->usage);
    else if (call->kind == CALL_SETTLE)
        expected = reference_settle(world->reference, call->lease, &call->usage);
    else
        expected = reference_report(world->reference, call->lease, call->answer, &call->usage);
    world->corrected += expected == 2;
    return expected;
}

static bool run_admit(struct world *world, struct call *call, struct limits_result *out) {
    struct admit_answer answer = {.tally = TALLY_INIT};
    struct call together[TOGETHER_MAX];
    struct limits_word words[TOGETHER_MAX];
    call->admission.word_count = draw_together(world, call->lease, together);
    call->admission.words = words;
    for (int i = 0; i < call->admission.word_count; i++) {
        words[i] = word_of(&together[i]);
        expect_on_lease(world, &together[i]);
    }
    call->admission.lease = lease_id(call->lease);
    call->admission.scopes = call->scopes;
    limits_admit(world->client, &call->admission, keep_admitted, &answer);
    tally_wait(&answer.tally, 1);
    if (world->reference->leases[call->lease].refused) {
        assert_int_equal(answer.status, STATUS_FAILED_PRECONDITION);
        world->too_late++;
        return false;
    }
    if (answer.status != STATUS_OK) fail_msg("%s", answer.tally.message);
    struct reference_request request = {&call->admission, call->scope_numbers};
    world->expired += reference_reap(world->reference, 4);
    if (!world->clock_steps) check_admission(world, &request, &answer.result);
    if (answer.result.outcome == LIMITS_ADMITTED) {
        reference_admit(world->reference, &request, call->lease, answer.result.output_held);
        world->admitted++;
        world->estimated += call->admission.estimate;
        world->ahead += call->admission.ahead;
    } else if (answer.result.outcome == LIMITS_SCARCE) {
        world->scarce++;
    } else if (answer.result.outcome == LIMITS_DENIED) {
        world->denied++;
    } else {
        world->never++;
    }
    *out = answer.result;
    return true;
}

static void run_on_lease(struct world *world, const struct call *call) {
    enum { MOST = TOGETHER_MAX + 2 };
    struct call calls[MOST];
    struct limits_word words[MOST];
    int expected[MOST], outcomes[MOST];
    int count = draw_together(world, -1, calls);
    calls[count++] = *call;
    if (chance(world, 10)) calls[count++] = *call; /* twice in one call */
    for (int i = 0; i < count; i++) {
        words[i] = word_of(&calls[i]);
        expected[i] = expect_on_lease(world, &calls[i]);
    }
    tell(world->client, words, count, outcomes);
    assert_memory_equal(outcomes, expected, (size_t)count * sizeof *outcomes);
    world->expired += reference_reap(world->reference, 4);
}

/** Whether its caller hears the answer. Else it ran, or did not, or will run later, when its caller has long given up. */
static bool make_call(struct world *world, struct call *call, struct limits_result *out) {
    bool heard = chance(world, 80);
    if (!heard && chance(world, 30)) return false;
    if (!heard && chance(world, 40) && world->delayed_count < DELAYED_MAX) {
        world->delayed[world->delayed_count++] = *call;
        return false;
    }
    if (call->kind == CALL_ADMIT) return run_admit(world, call, out) && heard;
    run_on_lease(world, call);
    return heard;
}

static void run_delayed(struct world *world) {
    if (world->delayed_count == 0) return;
    int which = (int)draw(world, 0, world->delayed_count - 1);
    struct call call = take_delayed(world, which);
    struct limits_result result;
    if (call.kind == CALL_ADMIT)
        run_admit(world, &call, &result);
    else
        run_on_lease(world, &call);
}

/* --- what gateways and workers do ----------------------------------------------------------------------------------- */

static struct request *random_slot(struct world *world, enum phase phase) {
    int start = (int)draw(world, 0, SLOTS - 1);
    for (int i = 0; i < SLOTS; i++) {
        struct request *request = &world->slots[(start + i) % SLOTS];
        if (request->phase == phase) return request;
    }
    return NULL;
}

static void start_request(struct world *world) {
    struct request *request = random_slot(world, FREE);
    if (request == NULL || world->lease_count == REFERENCE_LEASES) return;
    static const char *const keys[] = {"a", "b", "c"}, *const models[] = {"small", "large"};
    int key = (int)draw(world, 0, 2), model = (int)draw(world, 0, 1);
    struct call call = {
        .kind = CALL_ADMIT, .lease = world->lease_count++, .scope_numbers = {0, 1 + key % 2, 3 + key, 6 + model}};
    int64_t output = chance(world, 97) ? draw(world, 1, 150) : draw(world, 150, 6000);
    call.admission = (struct limits_admission){
        .subject = {ORGANIZATION, "main", keys[key], models[model], "request", "chat"},
        .price = world->price,
        .scope_count = key == 0 ? 4 : 3,
        .input = draw(world, 1, 100),
        .output = output,
        .output_optional = chance(world, 40) ? draw(world, 0, output) : 0,
        .answers = (int)draw(world, 1, REFERENCE_ANSWERS),
    };
    int64_t input = call.admission.input;
    if (chance(world, 40)) { /* small ones, which mostly find enough room */
        input = draw(world, 1, chance(world, 70) ? 8 : 100);
        call.admission.estimate = true;
        call.admission.ahead = chance(world, 50);
        call.admission.input = input + draw(world, 0, input < 10 ? 10 : 50);
        call.admission.output = draw(world, 1, input < 10 ? 6 : 30);
        call.admission.output_optional = 0;
    }
    for (int i = 0; i < 4; i++) call.scopes[i] = world->scopes[call.scope_numbers[i]];
    *request = (struct request){.lease = call.lease,
                                .gateway = (int)draw(world, 0, GATEWAYS - 1),
                                .answers = call.admission.answers,
                                .input = input,
                                .cached = draw(world, 0, input)};
    struct limits_result result;
    bool heard = make_call(world, &call, &result);
    if (heard && result.outcome == LIMITS_SCARCE) { /* then its tokens are counted */
        call.admission.estimate = call.admission.ahead = false;
        call.admission.input = input;
        heard = make_call(world, &call, &result);
    }
    if (!heard) {
        request->phase = LOST_ADMISSION;
        request->last_word = (struct limits_usage){.unused = call.admission.ahead};
    } else if (result.outcome == LIMITS_ADMITTED) {
        request->phase = call.admission.ahead ? READY : RUNNING;
        request->ready_us = world->reference->true_us;
        request->held = result.output_held;
    }
}

/** Its request comes, in time, or nobody comes. */
static void use_ahead(struct world *world) {
    struct request *request = random_slot(world, READY);
    if (request == NULL) return;
    struct reference *reference = world->reference;
    if (reference->true_us - request->ready_us > LIMITS_AHEAD_MS * 1000 || chance(world, 20)) {
        request->phase = SETTLING;
        request->last_word = (struct limits_usage){.unused = true};
        request->worker_dead = true;
        return;
    }
    request->phase = RUNNING;
    world->used++;
    const struct reference_lease *lease = &reference->leases[request->lease];
    for (int i = 0; lease->running && i < lease->scope_count; i++)
        reference->events[lease->events[i]].true_us = reference->true_us;
}

static int64_t generated_by(const struct request *request) {
    int64_t sum = 0;
    for (int i = 0; i < request->answers; i++) sum += request->generated[i];
    return sum;
}

static void generate(struct world *world) {
    struct request *request = random_slot(world, RUNNING);
    if (request == NULL || request->worker_dead) return;
    int64_t room = request->held - generated_by(request);
    request->generated[draw(world, 0, request->answers - 1)] += draw(world, 0, room);
    request->received = draw(world, request->received, generated_by(request));
}

static void charge_request(struct world *world) {
    struct request *request = random_slot(world, RUNNING);
    if (request == NULL) return;
    struct call call = {
        .kind = CALL_CHARGE, .lease = request->lease, .usage = {.input = request->input, .output = request->received}};
    if (call.usage.output == 0 && chance(world, 50)) call.usage.input = 0; /* only that it lives */
    make_call(world, &call, NULL);
    if (chance(world, 20)) make_call(world, &call, NULL); /* again, as if the answer had been lost */
}

/** The end of a request: finished, refused before it began, or cut off from its worker. */
static void finish_request(struct world *world) {
    struct request *request = random_slot(world, RUNNING);
    if (request == NULL) return;
    request->phase = SETTLING;
    if (generated_by(request) == 0 && request->received == 0 && chance(world, 50)) {
        request->last_word = (struct limits_usage){0};
        bool unused = chance(world, 50);
        if (unused &&
            chance(world, 30)) /* its worker is lost before it has said anything, and may have made something of it */
            request->last_word.provisional = true;
        else
            request->worker_dead = true; /* it has nothing to report */
        request->last_word.unused = unused;
    } else if (request->worker_dead || chance(world, 25)) {
        request->last_word = usage_of(request->input, 0, request->received);
        request->last_word.provisional = true;
    } else {
        request->last_word = usage_of(request->input, request->cached, generated_by(request));
    }
}

static void free_slot(struct request *request) {
    request->phase = FREE;
}

static void settle_request(struct world *world) {
    struct request *request = random_slot(world, chance(world, 50) ? SETTLING : LOST_ADMISSION);
    if (request == NULL) return;
    struct call call = {.kind = CALL_SETTLE, .lease = request->lease, .usage = request->last_word};
    if (!make_call(world, &call, NULL)) return;
    bool worker_will_report = request->last_word.provisional && !request->worker_dead;
    if (request->phase == SETTLING && !request->last_word.provisional)
        world->truth[request->lease] = request->last_word.output;
    if (worker_will_report)
        request->phase = REPORTING;
    else
        free_slot(request);
}

static void report_request(struct world *world) {
    struct request *request = random_slot(world, REPORTING);
    if (request == NULL) return;
    int answer = request->reported;
    struct call call = {.kind = CALL_REPORT,
                        .lease = request->lease,
                        .answer = answer,
                        .usage = usage_of(request->input, request->cached, request->generated[answer])};
    if (!make_call(world, &call, NULL)) return;
    if (++request->reported < request->answers) return;
    world->truth[request->lease] = generated_by(request);
    free_slot(request);
}

/** A gateway is killed: its workers report what they know; nobody settles what it had not heard of. */
static void kill_gateway(struct world *world) {
    int gateway = (int)draw(world, 0, GATEWAYS - 1);
    for (int i = 0; i < SLOTS; i++) {
        struct request *request = &world->slots[i];
        if (request->gateway != gateway) continue;
        if (request->phase == LOST_ADMISSION || request->phase == READY || request->worker_dead)
            free_slot(request);
        else if (request->phase == RUNNING || request->phase == SETTLING)
            request->phase = REPORTING;
    }
}

static void kill_worker_of_one(struct world *world) {
    struct request *request = random_slot(world, RUNNING);
    if (request != NULL) request->worker_dead = true;
}

/* --- time ----------------------------------------------------------------------------------------------------------- */

static void move_clock(struct world *world, int64_t us) {
    world->reference->now_us += us;
    if (us > 0) world->reference->true_us += us;
    limits_set_test_time(world->reference->now_us);
}

static void let_time_pass(struct world *world) {
    int64_t kind = draw(world, 0, 99);
    if (world->clock_steps && kind < 6) {
        move_clock(world, -draw(world, 1, kind < 3 ? 3600 * SECOND_US : SECOND_US));
        return;
    }
    int64_t most = kind < 30   ? 1000
                   : kind < 60 ? 300000
                   : kind < 90 ? 3 * SECOND_US
                   : kind < 98 ? 12 * SECOND_US
                               : 70 * SECOND_US;
    move_clock(world, draw(world, 0, most));
}

/* --- what must be so ------------------------------------------------------------------------------------------------ */

/** In time that never goes back, whatever Redis' clock says: charged in any minute, and in any second, and held, is within the limit. */
static void check_true_windows(struct world *world) {
    const struct reference *reference = world->reference;
    for (int scope = 0; scope < SCOPES; scope++) {
        struct limits_bounds sum = reference_used(reference, scope, INT64_MAX / 2); /* what is held */
        for (int i = 0; i < reference->event_count; i++) {
            const struct reference_event *event = &reference->events[i];
            if (event->scope != scope || event->late) continue;
            if (event->true_us > reference->true_us - SECOND_US) sum.of[LIMITS_REQUESTS_PER_SECOND] += event->in_second;
            if (event->true_us <= reference->true_us - 60 * SECOND_US) continue;
            sum.of[LIMITS_REQUESTS_PER_MINUTE] += event->requests;
            sum.of[LIMITS_INPUT_PER_MINUTE] += event->input;
            sum.of[LIMITS_OUTPUT_PER_MINUTE] += event->output;
            sum.of[LIMITS_TOKENS_PER_MINUTE] += event->input + event->output;
        }
        for (int kind = 0; kind < LIMITS_KINDS; kind++) {
            int64_t limit = world->scopes[scope].bounds.of[kind];
            if (limit >= 0 && sum.of[kind] > limit)
                fail_msg("seed %d: scope %d kind %d: %lld of %lld", (int)world->seed, scope, kind,
                         (long long)sum.of[kind], (long long)limit);
        }
    }
}

/** Redis' sums are those of all events. */
static void check_sums(struct world *world) {
    for (int scope = 0; scope < SCOPES; scope++) {
        struct limits_bounds expected = reference_used(world->reference, scope, world->reference->now_us);
        struct limits_bounds actual = used_all(world->client, world->scopes[scope].name, world->models[scope]);
        for (int kind = 0; kind < LIMITS_KINDS; kind++) {
            if (kind == LIMITS_REQUESTS_PER_SECOND && world->scopes[scope].bounds.of[kind] < 0)
                continue; /* not counted */
            if (actual.of[kind] != expected.of[kind])
                fail_msg("seed %d: scope %d kind %d: %lld, and should be %lld", (int)world->seed, scope, kind,
                         (long long)actual.of[kind], (long long)expected.of[kind]);
        }
    }
}

static void check_ledger(struct world *world) {
    static struct outbox_entry entries[4 * REFERENCE_LEASES];
    static struct reference_ledger sums[REFERENCE_LEASES];
    memset(sums, 0, sizeof sums);
    int count = read_outbox(world->client, entries, 4 * REFERENCE_LEASES);
    assert_true(count < 4 * REFERENCE_LEASES);
    for (int i = 0; i < count; i++) {
        struct reference_ledger *sum = &sums[strtol(entries[i].lease, NULL, 16)];
        sum->requests += entries[i].requests;
        sum->input += entries[i].input;
        sum->cached += entries[i].cached;
        sum->output += entries[i].output;
        sum->nanos += entries[i].nanos;
    }
    for (int i = 0; i < world->lease_count; i++) {
        assert_memory_equal(&sums[i], &world->reference->leases[i].ledger, sizeof sums[i]);
        if (world->truth[i] >= 0) assert_int_equal(sums[i].output, world->truth[i]);
    }
}

/** Everybody who is alive says his last word, what has nobody runs out, and windows pass: then nothing is left anywhere. */
static void check_end(struct world *world) {
    while (world->delayed_count > 0) run_delayed(world);
    while (random_slot(world, READY) != NULL) use_ahead(world);
    while (random_slot(world, RUNNING) != NULL) finish_request(world);
    while (random_slot(world, SETTLING) != NULL || random_slot(world, LOST_ADMISSION) != NULL) settle_request(world);
    while (random_slot(world, REPORTING) != NULL) report_request(world);
    while (world->delayed_count > 0) run_delayed(world);
    for (int i = 0; i < 2; i++) { /* the first pulls in what a clock that was set back has left */
        reference_pull_leases(world->reference);
        int expected = reference_reap(world->reference, 256);
        assert_int_equal(reap(world->client), expected);
        move_clock(world, 21 * SECOND_US);
    }
    check_ledger(world);
    assert_int_equal(call_integer(world->client, "EXISTS bora:leases:{%s}", ORGANIZATION), 0);
    assert_int_equal(call_integer(world->client, "EXISTS bora:due:{%s}", ORGANIZATION), 0);
    for (int scope = 0; scope < SCOPES;
         scope++) /* what a clock that was set back has left counts from when it is seen */
        used_all(world->client, world->scopes[scope].name, world->models[scope]);
    move_clock(world, 61 * SECOND_US);
    for (int scope = 0; scope < SCOPES; scope++) {
        struct limits_bounds left = used_all(world->client, world->scopes[scope].name, world->models[scope]);
        /* Times of requests that lie ahead of a clock that was set back go with their list, after ten seconds that are Redis' own. */
        for (int kind = LIMITS_REQUESTS_PER_MINUTE; kind <= LIMITS_TOKENS_PER_MINUTE; kind++)
            if (left.of[kind] != 0)
                fail_msg("seed %d: scope %d kind %d: %lld are left", (int)world->seed, scope, kind,
                         (long long)left.of[kind]);
        assert_int_equal(left.of[LIMITS_STREAMS], 0);
    }
}

/* --- a run ---------------------------------------------------------------------------------------------------------- */

static void draw_scopes(struct world *world) {
    static const char *const names[SCOPES] = {"o", "w:a", "w:b", "k:a", "k:b", "k:c", "k:a", "k:a"};
    static const char *const models[SCOPES] = {[6] = "small", [7] = "large"};
    static const int64_t least[LIMITS_KINDS] = {2, 12, 90, 140, 200, 6000, 12000, 3, 1000000},
                         most[LIMITS_KINDS] = {8, 60, 2500, 3500, 4500, 60000, 90000, 12, 300000000};
    const bool roomy = world->seed % 2 == 0; /* where more may be admitted ahead */
    for (int i = 0; i < SCOPES; i++) {
        world->scopes[i] = (struct limits_scope){.of_model = models[i] != NULL, .bounds = LIMITS_UNLIMITED};
        world->models[i] = models[i];
        snprintf(world->scopes[i].name, sizeof world->scopes[i].name, "%s", names[i]);
        for (int kind = 0; kind < LIMITS_KINDS; kind++)
            if (chance(world, 25))
                world->scopes[i].bounds.of[kind] =
                    draw(world, least[kind] * (roomy ? 4 : 1), most[kind] * (roomy ? 2 : 1));
    }
    world->price =
        (struct limits_price){draw(world, 0, 5000000000), draw(world, 0, 999999999), draw(world, 0, 9999999999)};
}

static void step(struct world *world) {
    int64_t what = draw(world, 0, 99);
    if (what < 21)
        start_request(world);
    else if (what < 25)
        use_ahead(world);
    else if (what < 40)
        generate(world);
    else if (what < 50)
        charge_request(world);
    else if (what < 60)
        finish_request(world);
    else if (what < 75)
        settle_request(world);
    else if (what < 83)
        report_request(world);
    else if (what < 84)
        kill_gateway(world);
    else if (what < 85)
        kill_worker_of_one(world);
    else if (what < 88)
        run_delayed(world);
    else if (what < 90) {
        reference_pull_leases(world->reference);
        int expected = reference_reap(world->reference, 256);
        world->expired += expected;
        assert_int_equal(reap(world->client), expected);
    } else
        let_time_pass(world);
}

/** How often each thing happened. */
struct seen {
    int admitted, estimated, used, scarce, denied, never, expired, corrected, too_late, together;
};

static struct seen run_world(struct redis_client *client, uint64_t seed, int steps, bool clock_steps) {
    struct error err;
    assert_int_equal(redis_callf(client, NULL, &err, "FLUSHALL"), STATUS_OK);
    struct world *world = calloc(1, sizeof *world);
    world->client = client;
    world->reference = calloc(1, sizeof *world->reference);
    world->seed = seed;
    world->clock_steps = clock_steps;
    for (int i = 0; i < REFERENCE_LEASES; i++) world->truth[i] = -1;
    /* The end of a leap year's February is near. */
    world->reference->now_us = world->reference->true_us = midnight_of(2028, 3, 1) * SECOND_US - 200 * SECOND_US;
    limits_set_test_time(world->reference->now_us);
    draw_scopes(world);
    for (int i = 0; i < steps; i++) {
        step(world);
        if (i % 2 == 0) check_true_windows(world);
        if (i % 8 == 0 && !clock_steps) check_sums(world);
    }
    check_end(world);
    print_message("seed %d: %d admitted, %d of them by estimates and %d ahead, of which %d were used, %d scarce, %d "
                  "denied, %d never fit, %d ran out, %d "
                  "corrected, %d too "
                  "late, %d together\n",
                  (int)seed, world->admitted, world->estimated, world->ahead, world->used, world->scarce, world->denied,
                  world->never, world->expired, world->corrected, world->too_late, world->together);
    struct seen seen = {world->admitted, world->estimated, world->used,      world->scarce,   world->denied,
                        world->never,    world->expired,   world->corrected, world->too_late, world->together};
    free(world->reference);
    free(world);
    return seen;
}

static uint64_t only_seed;
static int only_steps = STEPS;

static void run_seeds(struct redis_client *client, bool clock_steps) {
    struct seen all = {0};
    for (uint64_t i = 1; i <= (only_seed != 0 ? 1 : SEEDS); i++) {
        struct seen seen = run_world(client, only_seed != 0 ? only_seed : i, only_steps, clock_steps);
        all.admitted += seen.admitted;
        all.estimated += seen.estimated;
        all.used += seen.used;
        all.scarce += seen.scarce;
        all.denied += seen.denied;
        all.never += seen.never;
        all.expired += seen.expired;
        all.corrected += seen.corrected;
        all.too_late += seen.too_late;
        all.together += seen.together;
    }
    /* A simulation in which something never happens says nothing about it. */
    if (only_seed == 0)
        assert_true(all.admitted > 100 && all.denied > 100 && all.never > 0 && all.expired > 10 && all.corrected > 10 &&
                    all.too_late > 3 && all.together > 30 && all.estimated > 20 && all.used > 2 && all.scarce > 20);
}

static void test_redis_agrees_with_the_definition(void **state) {
    run_seeds(client_of(state), false);
}

static void test_a_clock_that_is_set_back_lets_no_more_pass(void **state) {
    run_seeds(client_of(state), true);
}

int main(int argc, char **argv) {
    if (argc > 1) only_seed = strtoull(argv[1], NULL, 10);
    if (argc > 2) only_steps = atoi(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_redis_agrees_with_the_definition, limits_setup, limits_teardown),
        cmocka_unit_test_setup_teardown(test_a_clock_that_is_set_back_lets_no_more_pass, limits_setup, limits_teardown),
    };
    return cmocka_run_group_tests_name("store/limits_model", tests, NULL, NULL);
}
