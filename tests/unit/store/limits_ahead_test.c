/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Leases that are made before their requests come: what passes in any second and minute is what begins in it, not what was admitted in it. */
#include "base/random.h"
#include "tests/unit/store/limits_fixture.h"

enum { AHEAD_US = LIMITS_AHEAD_MS * 1000 };
static const struct limits_usage UNUSED = {.unused = true};

static void ahead_init(struct test_request *request) {
    test_request_init(request);
    request->admission.estimate = request->admission.ahead = true;
}

static void test_three_quarters_of_every_limit_have_to_be_left(void **state) {
    struct redis_client *client = client_of(state);
    static const int64_t needs[LIMITS_KINDS] = {1, 1, 10, 20, 30, 30, 30, 1, 30000};
    for (int kind = 0; kind < LIMITS_KINDS; kind++) {
        struct test_request request;
        ahead_init(&request);
        price_at_1000(&request);
        test_request_limit(&request, (enum limits_kind)kind, 4 * needs[kind]);
        assert_int_equal(admit_as(client, &request, kind + 1).outcome, LIMITS_ADMITTED);
        assert_int_equal(admit_as(client, &request, 100).outcome, LIMITS_SCARCE);
        assert_int_equal(settle(client, kind + 1, UNUSED), 1);
        test_request_limit(&request, (enum limits_kind)kind,
                           4 * needs[kind] - (kind == LIMITS_SPEND_PER_MONTH ? 1000 : 1));
        assert_int_equal(admit_as(client, &request, 100).outcome, LIMITS_SCARCE);
    }
}

static void test_it_counts_as_late_as_it_may_come(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    ahead_init(&request);
    test_request_limit(&request, LIMITS_REQUESTS_PER_SECOND, 4);
    admit_as(client, &request, 1);
    limits_set_test_time(START_US + SECOND_US + AHEAD_US - 1);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_SECOND), 1);
    limits_set_test_time(START_US + SECOND_US + AHEAD_US);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_SECOND), 0);
    /* The minute's slices: it is in the second of them, which leaves 60.25 s after its beginning. */
    limits_set_test_time(START_US + 60 * SECOND_US + 499999);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_MINUTE), 1);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_INPUT_PER_MINUTE), 10);
    limits_set_test_time(START_US + 60 * SECOND_US + 500000);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_MINUTE), 0);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_INPUT_PER_MINUTE), 0);
}

/** Nobody knows of which day, and month, its request will be. */
static void test_nothing_is_admitted_ahead_into_another_day(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    ahead_init(&request);
    int64_t midnight_us = midnight_of(2027, 2, 1) * SECOND_US;
    limits_set_test_time(midnight_us - AHEAD_US);
    assert_int_equal(admit_as(client, &request, 1).outcome, LIMITS_SCARCE);
    limits_set_test_time(midnight_us - AHEAD_US - 1);
    assert_int_equal(admit_as(client, &request, 1).outcome, LIMITS_ADMITTED);
}

static void test_what_is_not_used_was_nothing(void **state) {
    struct redis_client *client = client_of(state);
    for (int i = 0; i < 4; i++) { /* alone, behind another one, before a request, and when its slice is in the list */
        struct test_request request;
        ahead_init(&request);
        test_request_limit(&request, LIMITS_REQUESTS_PER_SECOND, 100);
        int64_t now_us = START_US + i * 100 * SECOND_US;
        limits_set_test_time(now_us);
        int others = 0;
        if (i == 1) others += admit_as(client, &request, 100 + i).outcome == LIMITS_ADMITTED;
        limits_set_test_time(now_us + 10);
        admit_as(client, &request, i + 1);
        request.admission.ahead = false;
        if (i == 2) others += admit_as(client, &request, 100 + i).outcome == LIMITS_ADMITTED;
        if (i == 3) {
            limits_set_test_time(now_us + 900000);
            others += admit_as(client, &request, 100 + i).outcome == LIMITS_ADMITTED;
        }
        assert_int_equal(settle(client, i + 1, UNUSED), 1);
        struct limits_bounds left = used_all(client, "k:" KEY, NULL);
        assert_int_equal(left.of[LIMITS_REQUESTS_PER_SECOND], others);
        assert_int_equal(left.of[LIMITS_REQUESTS_PER_MINUTE], others);
        assert_int_equal(left.of[LIMITS_INPUT_PER_MINUTE], 10 * others);
        assert_int_equal(left.of[LIMITS_STREAMS], others);
        if (others > 0) settle(client, 100 + i, UNUSED);
    }
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_TOKENS_PER_DAY), 0);
    assert_int_equal(call_integer(client, "EXISTS bora:outbox:{%s}", ORGANIZATION), 0);
}

/** Its gateway was killed: there was no such request, unless somebody says something else. */
static void test_one_that_runs_out_was_not_used(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    ahead_init(&request);
    for (int lease = 1; lease <= 3; lease++) admit_as(client, &request, lease);
    assert_int_equal(charge(client, 2, usage_of(0, 0, 0)), 1); /* it runs: that is no word on its input */
    assert_int_equal(report(client, 3, 0, usage_of(9, 0, 4)), 1);
    limits_set_test_time(START_US + 21 * SECOND_US);
    assert_int_equal(reap(client), 2);
    struct outbox_entry entries[2];
    assert_int_equal(read_outbox(client, entries, 2), 2);
    assert_string_equal(entries[0].lease, lease_id(3));
    assert_int_equal(entries[0].input, 9);
    assert_string_equal(entries[1].lease, lease_id(2));
    assert_int_equal(entries[1].requests, 1);
    assert_int_equal(entries[1].input, 0);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_MINUTE), 2);
    assert_int_equal(report(client, 1, 0, usage_of(5, 0, 1)), 2); /* a worker had it all the same */
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_INPUT_PER_MINUTE), 14);
}

/* ---- whatever comes when ------------------------------------------------------------------------------------------- */

enum { STEPS = 4000, READY = 3, PER_SECOND = 12, PER_MINUTE = 60, INPUT_PER_MINUTE = 500 };

struct simulation {
    uint64_t seed, drawn;
    int64_t now_us;
    int next, ready_count, used, begun_count;
    struct {
        int lease;
        int64_t since_us, input;
    } ready[READY];
    struct {
        int64_t us, input;
    } begun[STEPS];
};

static int64_t draw(struct simulation *simulation, int64_t from, int64_t to) {
    return from + (int64_t)(random_philox(simulation->seed, simulation->drawn++, 0) % (uint64_t)(to - from + 1));
}

static void begin(struct simulation *simulation, struct redis_client *client, int lease, int64_t input) {
    simulation->begun[simulation->begun_count].us = simulation->now_us;
    simulation->begun[simulation->begun_count++].input = input;
    settle(client, lease, usage_of(input, 0, 1));
}

static void make_ready(struct simulation *simulation, struct redis_client *client, struct test_request *request) {
    request->admission.estimate = request->admission.ahead = true;
    request->admission.input = draw(simulation, 1, 20);
    int lease = ++simulation->next, at = simulation->ready_count;
    if (admit_as(client, request, lease).outcome != LIMITS_ADMITTED) return;
    simulation->ready[at].lease = lease;
    simulation->ready[at].since_us = simulation->now_us;
    simulation->ready[at].input = request->admission.input;
    simulation->ready_count++;
}

static void come(struct simulation *simulation, struct redis_client *client, struct test_request *request) {
    while (simulation->ready_count > 0) {
        int at = --simulation->ready_count;
        int lease = simulation->ready[at].lease;
        if (simulation->now_us - simulation->ready[at].since_us > AHEAD_US) {
            settle(client, lease, UNUSED);
            continue;
        }
        begin(simulation, client, lease, draw(simulation, 1, simulation->ready[at].input));
        simulation->used++;
        return;
    }
    request->admission.estimate = request->admission.ahead = false;
    request->admission.input = draw(simulation, 1, 20);
    int lease = ++simulation->next;
    if (admit_as(client, request, lease).outcome == LIMITS_ADMITTED)
        begin(simulation, client, lease, request->admission.input);
}

static void check_windows(const struct simulation *simulation) {
    for (int first = 0; first < simulation->begun_count; first++) {
        int64_t second = 0, minute = 0, input = 0;
        for (int i = first; i < simulation->begun_count; i++) {
            int64_t since_us = simulation->begun[i].us - simulation->begun[first].us;
            if (since_us >= 60 * SECOND_US) break;
            second += since_us < SECOND_US;
            minute++;
            input += simulation->begun[i].input;
        }
        if (second > PER_SECOND || minute > PER_MINUTE || input > INPUT_PER_MINUTE)
            fail_msg("seed %d: %d in a second, %d in a minute with %d tokens", (int)simulation->seed, (int)second,
                     (int)minute, (int)input);
    }
}

/** Few come, so that leases are made ahead; then so many that each limit is used up, before and when old ones leave it. */
static int simulate(struct redis_client *client, uint64_t seed) {
    static struct simulation simulation;
    struct test_request request;
    simulation = (struct simulation){
        .seed = seed, .next = (int)seed * 100000, .now_us = START_US + (int64_t)seed * 86400 * SECOND_US};
    test_request_init(&request);
    test_request_limit(&request, LIMITS_REQUESTS_PER_SECOND, PER_SECOND);
    test_request_limit(&request, LIMITS_REQUESTS_PER_MINUTE, PER_MINUTE);
    test_request_limit(&request, LIMITS_INPUT_PER_MINUTE, INPUT_PER_MINUTE);
    bool few = true;
    for (int i = 0; i < STEPS; i++) {
        if (draw(&simulation, 0, 99) < 3) few = !few;
        if (few && draw(&simulation, 0, 99) < 5)
            simulation.now_us += draw(&simulation, 0, 70 * SECOND_US);
        else
            simulation.now_us += draw(&simulation, 0, few ? 150000 : draw(&simulation, 0, 1) ? 5000 : 80000);
        limits_set_test_time(simulation.now_us);
        if (simulation.ready_count < READY && draw(&simulation, 0, 1)) make_ready(&simulation, client, &request);
        if (!few || draw(&simulation, 0, 3) == 0) come(&simulation, client, &request);
    }
    check_windows(&simulation);
    return simulation.used;
}

static void test_no_more_begins_in_any_window_than_its_limit(void **state) {
    int used = 0;
    for (uint64_t seed = 1; seed <= 6; seed++) used += simulate(client_of(state), seed);
    assert_true(used > 100); /* else nothing was tried */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_three_quarters_of_every_limit_have_to_be_left, limits_setup,
                                        limits_teardown),
        cmocka_unit_test_setup_teardown(test_it_counts_as_late_as_it_may_come, limits_setup, limits_teardown),
        cmocka_unit_test_setup_teardown(test_nothing_is_admitted_ahead_into_another_day, limits_setup, limits_teardown),
        cmocka_unit_test_setup_teardown(test_what_is_not_used_was_nothing, limits_setup, limits_teardown),
        cmocka_unit_test_setup_teardown(test_one_that_runs_out_was_not_used, limits_setup, limits_teardown),
        cmocka_unit_test_setup_teardown(test_no_more_begins_in_any_window_than_its_limit, limits_setup,
                                        limits_teardown),
    };
    return cmocka_run_group_tests_name("store/limits_ahead", tests, NULL, NULL);
}
