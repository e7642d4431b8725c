/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The life of a lease: charged, settled, reported, run out, corrected; and what a clock that is set back does to it and to windows. */
#include "tests/unit/store/limits_fixture.h"

#include <stdio.h>

static const struct limits_usage NOTHING = {0};

/* --- charge and settle -------------------------------------------------------------------------------------------- */

static void test_charged_tokens_move_from_what_is_held_to_the_window_of_now(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    price_at_1000(&request);
    admit_as(client, &request, 1);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_OUTPUT_PER_MINUTE), 20);
    limits_set_test_time(START_US + 15 * SECOND_US);
    assert_int_equal(charge(client, 1, usage_of(10, 0, 8)), 1);
    assert_int_equal(charge(client, 1, usage_of(10, 0, 8)), 1); /* so far, not in addition */
    assert_int_equal(charge(client, 1, usage_of(10, 0, 5)), 1); /* an older one that came late */
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_OUTPUT_PER_MINUTE), 20);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_SPEND_PER_MONTH), 30000);
    limits_set_test_time(START_US + 30 * SECOND_US); /* the charge has kept the lease alive */
    assert_int_equal(settle(client, 1, usage_of(10, 4, 11)), 1);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_OUTPUT_PER_MINUTE), 11);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_STREAMS), 0);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_SPEND_PER_MONTH), 17000); /* cached input costs nothing */
    limits_set_test_time(START_US + 76 * SECOND_US); /* eight have left, three not yet, and the input is gone */
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_OUTPUT_PER_MINUTE), 3);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_TOKENS_PER_MINUTE), 3);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_TOKENS_PER_DAY), 21);
    struct outbox_entry entry;
    assert_int_equal(read_outbox(client, &entry, 1), 1);
    assert_int_equal(entry.output, 11);
    assert_int_equal(entry.nanos, 17000);
}

static void test_repeated_calls_change_nothing(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    admit_as(client, &request, 1);
    assert_int_equal(settle(client, 1, usage_of(10, 0, 5)), 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(settle(client, 1, usage_of(10, 0, 9)), 0);
        assert_int_equal(charge(client, 1, usage_of(10, 0, 9)), 0);
        assert_int_equal(report(client, 1, 0, usage_of(10, 0, 9)), 0);
    }
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_TOKENS_PER_DAY), 15);
    assert_int_equal(read_outbox(client, NULL, 0), 1);
}

static void test_a_refused_request_gives_its_input_back(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    price_at_1000(&request);
    for (int seconds = 0; seconds < 2; seconds++) { /* in the slice that is being filled, and in one before it */
        limits_set_test_time(START_US + seconds * 100 * SECOND_US);
        admit_as(client, &request, 1);
        admit_as(client, &request, 2);
        limits_set_test_time(START_US + seconds * 101 * SECOND_US);
        assert_int_equal(settle(client, 1, NOTHING), 1);
        assert_int_equal(settle(client, 2, usage_of(10, 0, 1)), 1);
        assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_INPUT_PER_MINUTE), 10);
        assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_MINUTE), 2);
        assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_TOKENS_PER_DAY), 11 * (seconds + 1));
        assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_SPEND_PER_MONTH), 11000 * (seconds + 1));
    }
}

static void test_what_is_given_back_after_midnight_is_not_tomorrows(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    price_at_1000(&request);
    int64_t midnight_us = midnight_of(2027, 3, 1) * SECOND_US;
    limits_set_test_time(midnight_us - SECOND_US);
    admit_as(client, &request, 1);
    limits_set_test_time(midnight_us + SECOND_US);
    admit_as(client, &request, 2);
    settle(client, 1, NOTHING);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_INPUT_PER_MINUTE), 10); /* the minute knows no midnight */
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_TOKENS_PER_DAY), 30);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_TOKENS_PER_MONTH), 30);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_SPEND_PER_MONTH), 30000);
}

static void test_output_above_what_was_held_is_charged(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    admit_as(client, &request, 1);
    assert_int_equal(charge(client, 1, usage_of(10, 0, 25)), 1);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_OUTPUT_PER_MINUTE), 25);
    assert_int_equal(settle(client, 1, usage_of(10, 0, 26)), 1);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_OUTPUT_PER_MINUTE), 26);
}

static void test_an_admission_that_comes_after_its_settlement_is_too_late(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    assert_int_equal(settle(client, 1, NOTHING), 0);
    struct tally tally = TALLY_INIT;
    request.admission.lease = lease_id(1);
    request.admission.scopes = request.scopes;
    limits_admit(client, &request.admission, keep_outcome, &tally);
    tally_wait(&tally, 1);
    assert_int_equal(tally.by_status[STATUS_OK], 0);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_MINUTE), 0);
    assert_int_equal(call_integer(client, "EXISTS bora:leases:{%s}", ORGANIZATION), 0);
}

/* --- several in one call -------------------------------------------------------------------------------------------- */

static struct limits_word word_on(int lease, enum limits_said said, int answer, struct limits_usage usage) {
    return (struct limits_word){.said = said, .lease = lease_id(lease), .answer = answer, .usage = usage};
}

static void test_words_of_one_call_count_in_their_order(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    for (int lease = 1; lease <= 3; lease++) {
        request.admission.answers = lease == 3 ? 2 : 1;
        snprintf(request.scopes[0].name, sizeof request.scopes[0].name, "k:%d", lease % 2);
        admit_as(client, &request, lease);
    }
    const struct limits_word words[] = {
        word_on(1, LIMITS_CHARGE, 0, usage_of(10, 0, 5)), word_on(1, LIMITS_SETTLE, 0, usage_of(10, 4, 7)),
        word_on(1, LIMITS_SETTLE, 0, usage_of(10, 4, 9)), word_on(2, LIMITS_SETTLE, 0, NOTHING),
        word_on(4, LIMITS_CHARGE, 0, usage_of(1, 0, 1)),  word_on(3, LIMITS_REPORT, 1, usage_of(10, 0, 3)),
        word_on(3, LIMITS_REPORT, 0, usage_of(10, 2, 4)),
    };
    int outcomes[7];
    tell(client, words, 7, outcomes);
    static const int expected[7] = {1, 1, 0, 1, 0, 0, 1};
    assert_memory_equal(outcomes, expected, sizeof expected);
    struct outbox_entry entries[3];
    assert_int_equal(read_outbox(client, entries, 3), 3);
    static const int leases[] = {1, 2, 3}, outputs[] = {7, 0, 7};
    for (int i = 0; i < 3; i++) {
        assert_string_equal(entries[i].lease, lease_id(leases[i]));
        assert_int_equal(entries[i].output, outputs[i]);
        assert_string_equal(entries[i].model, "small");
    }
    assert_int_equal(call_integer(client, "EXISTS bora:leases:{%s}", ORGANIZATION), 0);
    assert_int_equal(call_integer(client, "EXISTS bora:due:{%s}", ORGANIZATION), 0);
    assert_int_equal(used(client, "k:1", NULL, LIMITS_OUTPUT_PER_MINUTE), 14);
    assert_int_equal(used(client, "k:1", NULL, LIMITS_STREAMS), 0);
    assert_int_equal(used(client, "k:0", NULL, LIMITS_INPUT_PER_MINUTE), 0);
}

static void test_an_admission_finds_the_room_that_its_words_make(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    test_request_limit(&request, LIMITS_STREAMS, 1);
    test_request_limit(&request, LIMITS_TOKENS_PER_DAY, 60);
    assert_int_equal(admit_as(client, &request, 1).outcome, LIMITS_ADMITTED);
    assert_int_equal(admit_as(client, &request, 2).outcome, LIMITS_DENIED);
    const struct limits_word word = word_on(1, LIMITS_SETTLE, 0, usage_of(10, 0, 20));
    request.admission.words = &word;
    request.admission.word_count = 1;
    struct limits_result result = admit_as(client, &request, 2);
    assert_int_equal(result.outcome, LIMITS_ADMITTED);
    assert_int_equal(result.room[LIMITS_TOKENS_PER_DAY].remaining, 0);
    assert_int_equal(result.room[LIMITS_STREAMS].remaining, 0);
    assert_int_equal(read_outbox(client, NULL, 0), 1);
    /* Denied, or too late: the words count all the same. */
    const struct limits_word next = word_on(2, LIMITS_CHARGE, 0, usage_of(10, 0, 4));
    request.admission.words = &next;
    assert_int_equal(admit_as(client, &request, 3).outcome, LIMITS_DENIED);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_OUTPUT_PER_MINUTE), 40);
    struct tally tally = TALLY_INIT, told = TALLY_INIT;
    const struct limits_word last = word_on(2, LIMITS_SETTLE, 0, usage_of(10, 0, 6));
    assert_int_equal(settle(client, 4, NOTHING), 0);
    request.admission.lease = lease_id(4);
    request.admission.words = &last;
    request.admission.told = tally_count;
    request.admission.told_context = &told;
    limits_admit(client, &request.admission, keep_outcome, &tally);
    tally_wait(&tally, 1);
    assert_int_equal(tally.by_status[STATUS_FAILED_PRECONDITION], 1);
    assert_int_equal(told.by_status[STATUS_OK], 1);
    assert_int_equal(read_outbox(client, NULL, 0), 2);
}

/** Of the version before leases were packed: an array in MessagePack. */
static void test_leases_of_an_earlier_version_are_settled(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    price_at_1000(&request);
    for (int lease = 1; lease <= 3; lease++) admit_as(client, &request, lease);
    static const char rewrite[] =
        "for i = 1, 3 do "
        "local old = {'" KEY
        "', 'main', 'small', 'chat', 'request-1', 1e9, 0, 1e9, 7200000000, 20833, 10, 0, 0, 10000, "
        "20, i == 3 and 2 or 1, false, false, 1800000000000, 'k:" KEY "', 0} "
        "redis.call('HSET', KEYS[1], string.format('%032x', i), cmsgpack.pack(old)) end";
    struct error err = {0};
    if (redis_callf(client, NULL, &err, "EVAL %s 1 bora:leases:{%s}", rewrite, ORGANIZATION) != STATUS_OK)
        fail_msg("%s", err.message);
    assert_int_equal(charge(client, 1, usage_of(10, 0, 5)), 1);
    assert_int_equal(settle(client, 1, usage_of(10, 0, 6)), 1);
    assert_int_equal(settle(client, 2, NOTHING), 1);
    assert_int_equal(report(client, 3, 0, usage_of(10, 0, 3)), 0);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_SPEND_PER_MONTH), 16000 + 10000 + 20000);
    limits_set_test_time(START_US + 21 * SECOND_US);
    assert_int_equal(reap(client), 1);
    struct outbox_entry entries[3];
    assert_int_equal(read_outbox(client, entries, 3), 3);
    static const int outputs[] = {6, 0, 3};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(entries[i].output, outputs[i]);
        assert_int_equal(entries[i].began_ms, START_US / 1000);
        assert_string_equal(entries[i].key, KEY);
        assert_string_equal(entries[i].workspace, "main");
        assert_string_equal(entries[i].model, "small");
        assert_string_equal(entries[i].endpoint, "chat");
        assert_string_equal(entries[i].request, "request-1");
    }
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_STREAMS), 0);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_INPUT_PER_MINUTE), 20);
}

/* --- leases that run out ------------------------------------------------------------------------------------------ */

static void test_a_lease_runs_out_and_is_settled_by_what_was_charged(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    test_request_limit(&request, LIMITS_STREAMS, 1);
    admit_as(client, &request, 1);
    charge(client, 1, usage_of(10, 3, 6));
    request.admission.test_time_us = START_US + LIMITS_LEASE_MS * INT64_C(1000) - 1;
    assert_int_equal(admit(client, &request).outcome, LIMITS_DENIED);
    request.admission.test_time_us++;
    assert_int_equal(admit(client, &request).outcome, LIMITS_ADMITTED);
    struct outbox_entry entry;
    assert_int_equal(read_outbox(client, &entry, 1), 1);
    assert_string_equal(entry.how, "expired");
    assert_int_equal(entry.input, 10);
    assert_int_equal(entry.cached, 3);
    assert_int_equal(entry.output, 6);
}

static void test_a_late_settlement_adds_the_difference_once(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    price_at_1000(&request);
    admit_as(client, &request, 1);
    charge(client, 1, usage_of(10, 0, 6));
    limits_set_test_time(START_US + 21 * SECOND_US);
    assert_int_equal(reap(client), 1);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_OUTPUT_PER_MINUTE), 6);
    assert_int_equal(charge(client, 1, usage_of(10, 0, 8)), 0);
    assert_int_equal(settle(client, 1, usage_of(10, 4, 9)), 2);
    assert_int_equal(settle(client, 1, usage_of(10, 4, 9)), 0);
    assert_int_equal(report(client, 1, 0, usage_of(10, 4, 12)), 0);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_OUTPUT_PER_MINUTE), 9);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_STREAMS), 0);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_SPEND_PER_MONTH), 15000);
    struct outbox_entry entries[3];
    assert_int_equal(read_outbox(client, entries, 3), 2);
    assert_int_equal(entries[0].nanos, 16000);
    assert_string_equal(entries[1].how, "correction");
    assert_int_equal(entries[1].requests, 0);
    assert_int_equal(entries[1].input, 0);
    assert_int_equal(entries[1].cached, 4);
    assert_int_equal(entries[1].output, 3);
    assert_int_equal(entries[1].nanos, -1000);
}

static void test_reports_settle_a_lease_when_all_are_there(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    request.admission.answers = 3;
    admit_as(client, &request, 1);
    assert_int_equal(report(client, 1, 2, usage_of(10, 10, 4)), 0);
    assert_int_equal(report(client, 1, 2, usage_of(10, 10, 4)), 0); /* again */
    assert_int_equal(report(client, 1, 3, usage_of(10, 10, 4)), 0); /* there is no such answer */
    assert_int_equal(report(client, 1, 0, usage_of(10, 0, 5)), 0);
    assert_int_equal(report(client, 1, 1, usage_of(10, 10, 6)), 1);
    struct outbox_entry entry;
    assert_int_equal(read_outbox(client, &entry, 1), 1);
    assert_string_equal(entry.how, "settled");
    assert_int_equal(entry.input, 10); /* one prompt, however many answers */
    assert_int_equal(entry.cached, 0);
    assert_int_equal(entry.output, 15);
    assert_int_equal(report(client, 1, 1, usage_of(10, 10, 6)), 0);
    assert_int_equal(settle(client, 1, usage_of(10, 0, 2)), 0); /* the gateway was not dead, but knows less */
}

static void test_some_reports_count_when_the_lease_runs_out(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    request.admission.answers = 2;
    for (int lease = 1; lease <= 2; lease++) {
        admit_as(client, &request, lease);
        charge(client, lease, usage_of(10, 0, lease == 1 ? 3 : 9));
        report(client, lease, 1, usage_of(10, 0, 7));
    }
    limits_set_test_time(START_US + 21 * SECOND_US);
    assert_int_equal(reap(client), 2);
    struct outbox_entry entries[2];
    assert_int_equal(read_outbox(client, entries, 2), 2);
    assert_int_equal(entries[0].output, 7);
    assert_int_equal(entries[1].output, 9); /* more was charged than reported */
    assert_int_equal(report(client, 1, 0, usage_of(10, 0, 5)), 2);
    struct outbox_entry all[3];
    assert_int_equal(read_outbox(client, all, 3), 3);
    assert_int_equal(all[2].output, 5);
}

static void test_a_settlement_is_not_less_than_what_was_reported_before(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    request.admission.answers = 2;
    admit_as(client, &request, 1);
    report(client, 1, 1, usage_of(10, 0, 7));
    assert_int_equal(settle(client, 1, usage_of(10, 0, 5)), 1);
    struct outbox_entry entry;
    assert_int_equal(read_outbox(client, &entry, 1), 1);
    assert_int_equal(entry.output, 7);
}

static void test_reports_correct_a_provisional_settlement(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    admit_as(client, &request, 1);
    struct limits_usage received = {.input = 10, .output = 5, .provisional = true};
    assert_int_equal(settle(client, 1, received), 1);
    assert_int_equal(settle(client, 1, received), 2); /* again: no difference */
    assert_int_equal(read_outbox(client, NULL, 0), 1);
    assert_int_equal(report(client, 1, 0, usage_of(10, 0, 7)), 2);
    assert_int_equal(report(client, 1, 0, usage_of(10, 0, 7)), 0);
    struct outbox_entry entries[2];
    assert_int_equal(read_outbox(client, entries, 2), 2);
    assert_int_equal(entries[1].output, 2);
    assert_int_equal(entries[1].requests, 0);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_OUTPUT_PER_MINUTE), 7);
}

static void test_a_call_reaps_four_and_the_reaper_all(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    for (int i = 0; i < 300; i++) admit_as(client, &request, i);
    limits_set_test_time(START_US + 21 * SECOND_US);
    admit_as(client, &request, 1000);
    assert_int_equal(read_outbox(client, NULL, 0), 4);
    assert_int_equal(reap(client), 256);
    assert_int_equal(reap(client), 40);
    assert_int_equal(reap(client), 0);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_STREAMS), 1);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_OUTPUT_PER_MINUTE), 20);
}

/* --- a clock that is set back ------------------------------------------------------------------------------------- */

/** `stored` as a lease that runs out before all others. */
static void store_nonsense(struct redis_client *client, const char *id, const struct bytes_view *stored) {
    struct error err;
    if (redis_callf(client, NULL, &err, "HSET bora:leases:{" ORGANIZATION "} %s %b", id, stored) != STATUS_OK ||
        redis_callf(client, NULL, &err, "ZADD bora:due:{" ORGANIZATION "} 1 %s", id) != STATUS_OK)
        fail_msg("%s", err.message);
}

/** One that cannot be read is set aside as it is, and what is behind it runs out as ever: by the reaper, and in passing. */
static void test_a_lease_that_makes_no_sense_keeps_no_other_from_being_settled(void **state) {
    struct redis_client *client = client_of(state);
    const struct bytes_view nonsense[] = {bytes_view_string("nonsense"), bytes_view_string("L"), bytes_view_string(""),
                                          bytes_view_of("\x91\x01", 2), bytes_view_of("\xc1", 1)};
    enum { COUNT = sizeof nonsense / sizeof *nonsense };
    struct test_request request;
    test_request_init(&request);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(admit_as(client, &request, 100 + round).outcome, LIMITS_ADMITTED);
        for (int i = 0; i < COUNT; i++) store_nonsense(client, lease_id(COUNT * round + i), &nonsense[i]);
        limits_set_test_time(START_US + (round + 1) * 30 * SECOND_US);
        if (round == 0) assert_int_equal(reap(client), COUNT + 1);
        for (int calls = 0; round == 1 && calls < 2; calls++) settle(client, 999, usage_of(0, 0, 0));
        assert_int_equal(read_outbox(client, NULL, 0), round + 1);
        assert_int_equal(call_integer(client, "HLEN bora:leases-unreadable:{%s}", ORGANIZATION), COUNT * (round + 1));
        assert_int_equal(call_integer(client, "EXISTS bora:leases:{%s}", ORGANIZATION), 0);
        assert_int_equal(call_integer(client, "EXISTS bora:due:{%s}", ORGANIZATION), 0);
        assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_STREAMS), 0);
    }
    struct redis_reply *reply = NULL;
    struct error err;
    if (redis_callf(client, &reply, &err, "HGET bora:leases-unreadable:{" ORGANIZATION "} %s", lease_id(0)) !=
        STATUS_OK)
        fail_msg("%s", err.message);
    assert_string_equal(reply->string.data, "nonsense");
    redis_reply_free(reply);
}

static void test_clock_set_back_neither_leaks_nor_overshoots(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    test_request_limit(&request, LIMITS_REQUESTS_PER_SECOND, 3);
    test_request_limit(&request, LIMITS_REQUESTS_PER_MINUTE, 5);
    request.admission.test_time_us = START_US;
    for (int i = 0; i < 3; i++) assert_int_equal(admit(client, &request).outcome, LIMITS_ADMITTED);
    request.admission.test_time_us -= 3600 * SECOND_US;
    struct limits_result result = admit(client, &request);
    assert_int_equal(result.outcome, LIMITS_DENIED);
    assert_int_equal(result.denied_by, LIMITS_REQUESTS_PER_SECOND);
    assert_int_equal(result.retry_after_ms, 1000 + LIMITS_AHEAD_MS);
    request.admission.test_time_us += SECOND_US + LIMITS_AHEAD_MS * 1000;
    for (int i = 0; i < 2; i++) assert_int_equal(admit(client, &request).outcome, LIMITS_ADMITTED);
    result = admit(client, &request);
    assert_int_equal(result.denied_by, LIMITS_REQUESTS_PER_MINUTE);
    assert_int_equal(result.retry_after_ms, 59400);
    request.admission.test_time_us += 59400 * 1000;
    for (int i = 0; i < 3; i++) assert_int_equal(admit(client, &request).outcome, LIMITS_ADMITTED);
    assert_int_equal(admit(client, &request).outcome, LIMITS_DENIED);
}

static void test_clock_set_back_over_midnight_fills_the_day_that_began(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    test_request_limit(&request, LIMITS_TOKENS_PER_DAY, 60);
    request.admission.output = 0;
    int64_t midnight_us = midnight_of(2027, 3, 1) * SECOND_US;
    static const int64_t at_s[] = {-2, 1, -1, 2}; /* 20 before, then the 60 of the new day */
    for (int i = 0; i < 4; i++) {
        request.admission.input = 20;
        request.admission.test_time_us = midnight_us + at_s[i] * SECOND_US;
        assert_int_equal(admit(client, &request).outcome, LIMITS_ADMITTED);
    }
    assert_int_equal(admit(client, &request).outcome, LIMITS_DENIED);
    request.admission.test_time_us = midnight_us - SECOND_US;
    assert_int_equal(admit(client, &request).retry_after_ms, 86401000);
    request.admission.test_time_us = midnight_us - 40 * 86400 * SECOND_US; /* it had been weeks ahead */
    assert_int_equal(admit(client, &request).retry_after_ms, 86400000);
}

static void test_after_a_clock_was_set_back_nothing_is_taken_from_what_others_charged(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    admit_as(client, &request, 1);
    limits_set_test_time(START_US - 10 * SECOND_US);
    admit_as(client, &request, 2);
    limits_set_test_time(START_US); /* the slice in which the first one was charged, again */
    admit_as(client, &request, 3);
    assert_int_equal(settle(client, 1, NOTHING), 1);
    limits_set_test_time(START_US + 51 * SECOND_US); /* the first two have left, the third has not */
    reap(client);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_INPUT_PER_MINUTE), 10);
}

static void test_leases_of_a_clock_that_was_set_back_run_out(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    admit_as(client, &request, 1);
    limits_set_test_time(START_US - 3600 * SECOND_US);
    assert_int_equal(reap(client), 0);
    limits_set_test_time(START_US - 3580 * SECOND_US);
    assert_int_equal(reap(client), 1);
}

int main(void) {
#define REDIS_TEST(name) cmocka_unit_test_setup_teardown(name, limits_setup, limits_teardown)
    const struct CMUnitTest tests[] = {
        REDIS_TEST(test_charged_tokens_move_from_what_is_held_to_the_window_of_now),
        REDIS_TEST(test_repeated_calls_change_nothing),
        REDIS_TEST(test_a_refused_request_gives_its_input_back),
        REDIS_TEST(test_what_is_given_back_after_midnight_is_not_tomorrows),
        REDIS_TEST(test_output_above_what_was_held_is_charged),
        REDIS_TEST(test_an_admission_that_comes_after_its_settlement_is_too_late),
        REDIS_TEST(test_words_of_one_call_count_in_their_order),
        REDIS_TEST(test_an_admission_finds_the_room_that_its_words_make),
        REDIS_TEST(test_leases_of_an_earlier_version_are_settled),
        REDIS_TEST(test_a_lease_runs_out_and_is_settled_by_what_was_charged),
        REDIS_TEST(test_a_late_settlement_adds_the_difference_once),
        REDIS_TEST(test_reports_settle_a_lease_when_all_are_there),
        REDIS_TEST(test_some_reports_count_when_the_lease_runs_out),
        REDIS_TEST(test_a_settlement_is_not_less_than_what_was_reported_before),
        REDIS_TEST(test_reports_correct_a_provisional_settlement),
        REDIS_TEST(test_a_call_reaps_four_and_the_reaper_all),
        REDIS_TEST(test_a_lease_that_makes_no_sense_keeps_no_other_from_being_settled),
        REDIS_TEST(test_clock_set_back_neither_leaks_nor_overshoots),
        REDIS_TEST(test_clock_set_back_over_midnight_fills_the_day_that_began),
        REDIS_TEST(test_after_a_clock_was_set_back_nothing_is_taken_from_what_others_charged),
        REDIS_TEST(test_leases_of_a_clock_that_was_set_back_run_out),
    };
    return cmocka_run_group_tests_name("store/limits_lease", tests, NULL, NULL);
}
