/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Admission by upper bounds of tokens: only where there is plenty of room, and what is said later of the input counts instead. */
#include "tests/unit/store/limits_fixture.h"

static const struct limits_usage NOTHING = {0};

/** 100 tokens of input at most. */
static void estimate_init(struct test_request *request) {
    test_request_init(request);
    price_at_1000(request);
    request->admission.estimate = true;
    request->admission.input = 100;
}

static int64_t used_input(struct redis_client *client) {
    return used(client, "k:" KEY, NULL, LIMITS_INPUT_PER_MINUTE);
}

static void test_three_quarters_of_each_limit_of_tokens_have_to_be_left(void **state) {
    struct redis_client *client = client_of(state);
    static const struct {
        enum limits_kind kind;
        int64_t need, unit;
    } kinds[] = {{LIMITS_INPUT_PER_MINUTE, 100, 1},  {LIMITS_OUTPUT_PER_MINUTE, 20, 1},
                 {LIMITS_TOKENS_PER_MINUTE, 120, 1}, {LIMITS_TOKENS_PER_DAY, 120, 1},
                 {LIMITS_TOKENS_PER_MONTH, 120, 1},  {LIMITS_SPEND_PER_MONTH, 120000, 1000}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct test_request request;
        estimate_init(&request);
        test_request_limit(&request, kinds[i].kind, 4 * kinds[i].need);
        struct limits_result result = admit_as(client, &request, (int)i + 1);
        assert_int_equal(result.outcome, LIMITS_ADMITTED);
        assert_int_equal(result.room[kinds[i].kind].remaining, 3 * kinds[i].need);
        settle(client, (int)i + 1, NOTHING);
        test_request_limit(&request, kinds[i].kind, 4 * kinds[i].need - kinds[i].unit);
        result = admit_as(client, &request, 100);
        assert_int_equal(result.outcome, LIMITS_SCARCE);
        assert_int_equal(result.room[kinds[i].kind].remaining, 4 * kinds[i].need - kinds[i].unit);
        assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_STREAMS), 0);
    }
}

static void test_limits_of_requests_may_be_used_up(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    estimate_init(&request);
    test_request_limit(&request, LIMITS_REQUESTS_PER_MINUTE, 3);
    test_request_limit(&request, LIMITS_REQUESTS_PER_SECOND, 3);
    test_request_limit(&request, LIMITS_STREAMS, 3);
    for (int i = 1; i <= 3; i++) assert_int_equal(admit_as(client, &request, i).outcome, LIMITS_ADMITTED);
    /* Which limit keeps it out, and for how long, is said by the admission with exact numbers. */
    assert_int_equal(admit_as(client, &request, 4).outcome, LIMITS_SCARCE);
    request.admission.estimate = false;
    assert_int_equal(admit_as(client, &request, 4).outcome, LIMITS_DENIED);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_MINUTE), 3);
}

static void test_what_never_fits_is_scarce(void **state) {
    struct test_request request;
    estimate_init(&request);
    test_request_limit(&request, LIMITS_TOKENS_PER_DAY, 50);
    assert_int_equal(admit_as(client_of(state), &request, 1).outcome, LIMITS_SCARCE);
}

static void test_the_first_charge_says_the_input(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    estimate_init(&request);
    admit_as(client, &request, 1);
    assert_int_equal(used_input(client), 100);
    limits_set_test_time(START_US + 3 * SECOND_US);  /* the slice it was charged in is in the list */
    assert_int_equal(charge(client, 1, NOTHING), 1); /* that it lives, and nothing more */
    assert_int_equal(used_input(client), 100);
    assert_int_equal(charge(client, 1, usage_of(7, 0, 2)), 1);
    assert_int_equal(used_input(client), 7);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_TOKENS_PER_DAY), 27);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_SPEND_PER_MONTH), 27000);
    assert_int_equal(charge(client, 1, usage_of(5, 0, 3)), 1); /* it is said once */
    assert_int_equal(used_input(client), 7);
    assert_int_equal(settle(client, 1, usage_of(7, 3, 4)), 1);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_SPEND_PER_MONTH), 8000);
    struct outbox_entry entry;
    assert_int_equal(read_outbox(client, &entry, 1), 1);
    assert_int_equal(entry.input, 7);
    assert_int_equal(entry.cached, 3);
    assert_int_equal(entry.output, 4);
    assert_int_equal(entry.nanos, 8000);
}

static void test_a_settlement_says_the_input(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    estimate_init(&request);
    admit_as(client, &request, 1);
    assert_int_equal(settle(client, 1, usage_of(9, 0, 4)), 1);
    assert_int_equal(used_input(client), 9);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_SPEND_PER_MONTH), 13000);
}

/** Its gateway died. A worker that had it has reported; else it never got to one. */
static void test_an_estimate_that_runs_out_costs_what_workers_say(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    estimate_init(&request);
    request.admission.answers = 2;
    for (int lease = 1; lease <= 3; lease++) admit_as(client, &request, lease);
    assert_int_equal(report(client, 2, 0, usage_of(9, 0, 4)), 0); /* the other answer's worker is dead */
    assert_int_equal(charge(client, 3, usage_of(8, 0, 1)), 1);
    limits_set_test_time(START_US + 21 * SECOND_US);
    assert_int_equal(reap(client), 3);
    struct outbox_entry entries[3];
    assert_int_equal(read_outbox(client, entries, 3), 3);
    int64_t input = 0, output = 0;
    for (int i = 0; i < 3; i++) {
        static const int64_t by_lease[] = {0, 9, 8};
        int number = entries[i].lease[LIMITS_LEASE_ID_BYTES - 1] - '0';
        assert_int_equal(entries[i].input, by_lease[number - 1]);
        assert_int_equal(entries[i].cached, 0);
        input += entries[i].input;
        output += entries[i].output;
    }
    assert_int_equal(used_input(client), input);
    assert_int_equal(output, 5);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_STREAMS), 0);
    assert_int_equal(report(client, 1, 0, usage_of(9, 0, 4)), 0);
    assert_int_equal(report(client, 1, 1, usage_of(9, 2, 4)), 2); /* it had got to one after all */
    assert_int_equal(used_input(client), 26);
}

static void test_what_was_not_used_was_no_request(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    const struct limits_usage unused = {.unused = true};
    estimate_init(&request);
    test_request_limit(&request, LIMITS_REQUESTS_PER_MINUTE, 2);
    test_request_limit(&request, LIMITS_REQUESTS_PER_SECOND, 2);
    for (int seconds = 0; seconds < 2; seconds++) { /* in the slice that is being filled, and in one before it */
        limits_set_test_time(START_US + seconds * 10 * SECOND_US);
        admit_as(client, &request, 2 * seconds + 1);
        admit_as(client, &request, 2 * seconds + 2);
        limits_set_test_time(START_US + seconds * 11 * SECOND_US);
        assert_int_equal(settle(client, 2 * seconds + 1, unused), 1);
        assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_MINUTE), 1);
        assert_int_equal(used_input(client), 100);
        assert_int_equal(settle(client, 2 * seconds + 2, unused), 1);
        assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_MINUTE), 0);
        assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_SECOND), 0);
    }
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_TOKENS_PER_DAY), 0);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_SPEND_PER_MONTH), 0);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_STREAMS), 0);
    assert_int_equal(read_outbox(client, NULL, 0), 0);
    /* The worker had not been lost after all. */
    assert_int_equal(report(client, 1, 0, usage_of(9, 0, 4)), 2);
    struct outbox_entry entry;
    assert_int_equal(read_outbox(client, &entry, 1), 1);
    assert_int_equal(entry.requests, 0);
    assert_int_equal(entry.input, 9);
    assert_int_equal(entry.output, 4);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_TOKENS_PER_DAY), 13);
    /* What a worker has reported before counts. */
    admit_as(client, &request, 5);
    assert_int_equal(report(client, 5, 0, usage_of(9, 0, 4)), 1);
    assert_int_equal(settle(client, 5, unused), 0);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_MINUTE), 1);
}

int main(void) {
#define REDIS_TEST(name) cmocka_unit_test_setup_teardown(name, limits_setup, limits_teardown)
    const struct CMUnitTest tests[] = {
        REDIS_TEST(test_three_quarters_of_each_limit_of_tokens_have_to_be_left),
        REDIS_TEST(test_limits_of_requests_may_be_used_up),
        REDIS_TEST(test_what_never_fits_is_scarce),
        REDIS_TEST(test_the_first_charge_says_the_input),
        REDIS_TEST(test_a_settlement_says_the_input),
        REDIS_TEST(test_an_estimate_that_runs_out_costs_what_workers_say),
        REDIS_TEST(test_what_was_not_used_was_no_request),
    };
    return cmocka_run_group_tests_name("store/limits_estimate", tests, NULL, NULL);
}
