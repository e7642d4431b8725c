/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store/limits_fixture.h"

#include "base/random.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

/* --- admission ---------------------------------------------------------------------------------------------------- */

static void test_without_limits_everything_passes_and_is_accounted_for(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    request.admission.scope_count = 0;
    request.admission.output = LIMITS_MAX;
    struct limits_result result = admit_as(client, &request, 1);
    assert_int_equal(result.outcome, LIMITS_ADMITTED);
    assert_int_equal(result.output_held, LIMITS_MAX);
    assert_int_equal(result.room[LIMITS_REQUESTS_PER_MINUTE].limit, LIMITS_ABSENT);
    assert_int_equal(result.room[LIMITS_TOKENS_PER_DAY].remaining, LIMITS_ABSENT);
    limits_set_test_time(START_US + 1500000);
    assert_int_equal(settle(client, 1, usage_of(10, 4, 7)), 1);
    struct outbox_entry entry;
    assert_int_equal(read_outbox(client, &entry, 1), 1);
    assert_string_equal(entry.lease, lease_id(1));
    assert_string_equal(entry.request, "request-1");
    assert_string_equal(entry.key, KEY);
    assert_string_equal(entry.workspace, "main");
    assert_string_equal(entry.model, "small");
    assert_string_equal(entry.endpoint, "chat");
    assert_string_equal(entry.how, "settled");
    assert_int_equal(entry.began_ms, START_US / 1000);
    assert_int_equal(entry.time_ms, START_US / 1000 + 1500);
    assert_int_equal(entry.input, 10);
    assert_int_equal(entry.cached, 4);
    assert_int_equal(entry.output, 7);
    assert_int_equal(entry.requests, 1);
    assert_int_equal(call_integer(client, "DBSIZE", ""), 1); /* the outbox; nothing of the lease is left */
}

/** A limit of each kind that admits a first request of 10 and 20 tokens at 1,000 nanos a token, and no second one. */
static const struct {
    enum limits_kind kind;
    int64_t limit, remaining;
} tight[] = {
    {LIMITS_REQUESTS_PER_SECOND, 1, 0},     {LIMITS_REQUESTS_PER_MINUTE, 1, 0},
    {LIMITS_INPUT_PER_MINUTE, 19, 9},       {LIMITS_OUTPUT_PER_MINUTE, 39, 19},
    {LIMITS_TOKENS_PER_MINUTE, 59, 29},     {LIMITS_TOKENS_PER_DAY, 59, 29},
    {LIMITS_TOKENS_PER_MONTH, 59, 29},      {LIMITS_STREAMS, 1, 0},
    {LIMITS_SPEND_PER_MONTH, 59000, 29000},
};

static void test_each_kind_admits_up_to_its_limit(void **state) {
    struct redis_client *client = client_of(state);
    for (size_t i = 0; i < sizeof tight / sizeof *tight; i++) {
        struct test_request request;
        test_request_init(&request);
        price_at_1000(&request);
        snprintf(request.scopes[0].name, sizeof request.scopes[0].name, "k:%zu", i);
        test_request_limit(&request, tight[i].kind, tight[i].limit);
        struct limits_result result = admit(client, &request);
        assert_int_equal(result.outcome, LIMITS_ADMITTED);
        assert_int_equal(result.output_held, 20);
        assert_int_equal(result.room[tight[i].kind].limit, tight[i].limit);
        assert_int_equal(result.room[tight[i].kind].remaining, tight[i].remaining);
        for (int kind = 0; kind < LIMITS_KINDS; kind++)
            if (kind != (int)tight[i].kind) assert_int_equal(result.room[kind].limit, LIMITS_ABSENT);
        for (int j = 0; j < 3; j++) {
            result = admit(client, &request);
            assert_int_equal(result.outcome, LIMITS_DENIED);
            assert_int_equal(result.denied_by, tight[i].kind);
            assert_int_equal(result.denied_scope, 0);
            assert_int_equal(result.denied_limit, tight[i].limit);
            assert_true(result.retry_after_ms > 0);
            assert_int_equal(result.room[tight[i].kind].remaining, tight[i].remaining);
        }
        test_request_limit(&request, tight[i].kind, tight[i].kind == LIMITS_SPEND_PER_MONTH ? 60000 : 60);
        assert_int_equal(admit(client, &request).outcome, LIMITS_ADMITTED);
    }
}

static void test_zero_and_too_small_limits_never_fit(void **state) {
    struct redis_client *client = client_of(state);
    static const int64_t too_small[LIMITS_KINDS] = {0, 0, 9, 19, 29, 29, 29, 0, 29999};
    for (int kind = 0; kind < LIMITS_KINDS; kind++) {
        struct test_request request;
        test_request_init(&request);
        price_at_1000(&request);
        for (int zero = 0; zero < 2; zero++) {
            test_request_limit(&request, kind, zero ? 0 : too_small[kind]);
            struct limits_result result = admit(client, &request);
            assert_int_equal(result.outcome, LIMITS_NEVER_FITS);
            assert_int_equal(result.denied_by, kind);
            assert_int_equal(result.denied_limit, zero ? 0 : too_small[kind]);
        }
        request.admission.input = request.admission.output = 0; /* 0: nothing passes, nothing at all included */
        assert_int_equal(admit(client, &request).outcome, LIMITS_NEVER_FITS);
    }
    assert_int_equal(call_integer(client, "DBSIZE", ""), 0);
}

static void test_scopes_are_all_or_nothing(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    request.admission.scope_count = 3;
    request.scopes[0].bounds.of[LIMITS_REQUESTS_PER_MINUTE] = 100;
    request.scopes[1] = (struct limits_scope){.name = "o", .bounds = LIMITS_UNLIMITED};
    request.scopes[1].bounds.of[LIMITS_TOKENS_PER_DAY] = 1000;
    request.scopes[2] = (struct limits_scope){.name = "k:" KEY, .of_model = true, .bounds = LIMITS_UNLIMITED};
    request.scopes[2].bounds.of[LIMITS_REQUESTS_PER_SECOND] = 50;
    request.scopes[2].bounds.of[LIMITS_REQUESTS_PER_MINUTE] = 2;
    for (int i = 0; i < 2; i++) {
        struct limits_result result = admit(client, &request);
        assert_int_equal(result.outcome, LIMITS_ADMITTED);
        assert_int_equal(result.room[LIMITS_REQUESTS_PER_MINUTE].limit, 2); /* the tighter of 100 and 2 */
        assert_int_equal(result.room[LIMITS_REQUESTS_PER_MINUTE].remaining, 1 - i);
    }
    for (int i = 0; i < 20; i++) {
        struct limits_result result = admit(client, &request);
        assert_int_equal(result.outcome, LIMITS_DENIED);
        assert_int_equal(result.denied_scope, 2);
    }
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_MINUTE), 2);
    assert_int_equal(used(client, "o", NULL, LIMITS_TOKENS_PER_DAY), 60);
    assert_int_equal(used(client, "o", NULL, LIMITS_STREAMS), 2);
    assert_int_equal(used(client, "k:" KEY, "small", LIMITS_REQUESTS_PER_SECOND), 2);
    assert_int_equal(used(client, "k:" KEY, "large", LIMITS_REQUESTS_PER_SECOND), 0);
    request.admission.subject.model = "large";
    assert_int_equal(admit(client, &request).outcome, LIMITS_ADMITTED);
}

static void test_peek_takes_nothing(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    test_request_limit(&request, LIMITS_REQUESTS_PER_SECOND, 1);
    test_request_limit(&request, LIMITS_TOKENS_PER_DAY, 30);
    request.admission.peek = true;
    for (int i = 0; i < 3; i++) assert_int_equal(admit(client, &request).outcome, LIMITS_ADMITTED);
    assert_int_equal(call_integer(client, "DBSIZE", ""), 0);
    request.admission.peek = false;
    assert_int_equal(admit(client, &request).outcome, LIMITS_ADMITTED);
    request.admission.peek = true;
    assert_int_equal(admit(client, &request).outcome, LIMITS_DENIED);
}

static void test_optional_output_is_held_as_far_as_there_is_room(void **state) {
    struct redis_client *client = client_of(state);
    static const struct {
        enum limits_kind kind;
        int64_t limit;
    } cases[] = {{LIMITS_OUTPUT_PER_MINUTE, 15},
                 {LIMITS_TOKENS_PER_MINUTE, 25},
                 {LIMITS_TOKENS_PER_DAY, 25},
                 {LIMITS_TOKENS_PER_MONTH, 25},
                 {LIMITS_SPEND_PER_MONTH, 25999}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct test_request request;
        test_request_init(&request);
        price_at_1000(&request);
        snprintf(request.scopes[0].name, sizeof request.scopes[0].name, "k:%zu", i);
        test_request_limit(&request, cases[i].kind, cases[i].limit);
        request.admission.output_optional = 4;
        assert_int_equal(admit(client, &request).outcome, LIMITS_NEVER_FITS); /* 16 at least */
        request.admission.output_optional = 5;
        struct limits_result result = admit(client, &request);
        assert_int_equal(result.outcome, LIMITS_ADMITTED);
        assert_int_equal(result.output_held, 15);
        assert_int_equal(result.room[cases[i].kind].remaining, cases[i].kind == LIMITS_SPEND_PER_MONTH ? 999 : 0);
        request.admission.output_optional = 19;
        assert_int_equal(admit(client, &request).outcome,
                         LIMITS_DENIED); /* no room for its input, or not for a token */
    }
}

static void test_what_has_passed_already_is_taken_whatever_the_limits_say(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    test_request_limit(&request, LIMITS_REQUESTS_PER_MINUTE, 1);
    test_request_limit(&request, LIMITS_TOKENS_PER_DAY, 5);
    request.admission.late = true;
    struct tally tally = TALLY_INIT;
    limits_shut_gate(client, ORGANIZATION, KEY, tally_count, &tally);
    tally_wait(&tally, 1);
    for (int i = 0; i < 3; i++) { /* the second time it is one that was asked for before */
        struct limits_result result = admit_as(client, &request, i / 2);
        assert_int_equal(result.outcome, LIMITS_ADMITTED);
        assert_int_equal(result.output_held, 20);
    }
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_MINUTE), 2);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_TOKENS_PER_DAY), 60);
}

static void test_gate_keeps_a_key_out_at_once(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    struct tally tally = TALLY_INIT;
    limits_shut_gate(client, ORGANIZATION, KEY, tally_count, &tally);
    tally_wait(&tally, 1);
    assert_int_equal(admit(client, &request).outcome, LIMITS_KEY_CLOSED);
    request.admission.peek = true;
    assert_int_equal(admit(client, &request).outcome, LIMITS_KEY_CLOSED);
    int64_t ttl_ms = call_integer(client, "PTTL bora:gate:{" ORGANIZATION "}:%s", KEY);
    assert_true(ttl_ms > 3500000 && ttl_ms <= 3600000);
    request.admission.gate = KEY ".1"; /* of another secret of the key */
    assert_int_equal(admit(client, &request).outcome, LIMITS_ADMITTED);
    limits_open_gate(client, ORGANIZATION, KEY, tally_count, &tally);
    limits_shut_gate(client, ORGANIZATION, KEY ".1", tally_count, &tally);
    tally_wait(&tally, 3);
    assert_int_equal(tally.by_status[STATUS_OK], 3);
    assert_int_equal(admit(client, &request).outcome, LIMITS_KEY_CLOSED);
    request.admission.gate = NULL;
    assert_int_equal(admit(client, &request).outcome, LIMITS_ADMITTED);
}

static void test_gate_can_be_asked_for_alone(void **state) {
    struct redis_client *client = client_of(state);
    struct tally tally = TALLY_INIT;
    limits_check_gate(client, ORGANIZATION, KEY, keep_outcome, &tally);
    tally_wait(&tally, 1);
    limits_shut_gate(client, ORGANIZATION, KEY, tally_count, &tally);
    tally_wait(&tally, 2);
    assert_int_equal(tally.by_status[STATUS_OK], 2);
    limits_check_gate(client, ORGANIZATION, KEY, keep_outcome, &tally);
    tally_wait(&tally, 4);
    assert_int_equal(tally.by_status[STATUS_CANCELLED], 1);
}

struct looked_at {
    struct tally tally;
    struct limits_result result;
};
static void keep_result(void *context, enum status status, const struct limits_result *result, const char *message) {
    struct looked_at *at = context;
    if (result != NULL) at->result = *result;
    tally_count(&at->tally, status, NULL, message);
}

static void test_a_look_at_the_gate_tells_what_was_said_of_the_end(void **state) {
    struct redis_client *client = client_of(state);
    const int64_t ends[] = {4102444800, 0};
    struct looked_at at = {.tally = TALLY_INIT};
    limits_check_gate(client, ORGANIZATION, KEY, keep_result, &at);
    tally_wait(&at.tally, 1);
    assert_int_equal(at.result.expires_at, LIMITS_ABSENT);
    for (int i = 0; i < 2; i++) {
        limits_set_expiry(client, ORGANIZATION, KEY, ends[i], NULL, NULL);
        limits_check_gate(client, ORGANIZATION, KEY, keep_result, &at);
        tally_wait(&at.tally, 2 + i);
        assert_int_equal(at.result.expires_at, ends[i]);
        assert_int_equal(at.result.outcome, LIMITS_ADMITTED);
    }
    limits_shut_gate(client, ORGANIZATION, KEY, NULL, NULL);
    limits_check_gate(client, ORGANIZATION, KEY, keep_result, &at);
    tally_wait(&at.tally, 4);
    assert_int_equal(at.result.outcome, LIMITS_KEY_CLOSED);
    int64_t ttl_ms = call_integer(client, "PTTL bora:until:{" ORGANIZATION "}:%s", KEY);
    assert_true(ttl_ms > 3500000 && ttl_ms <= 3600000);
    assert_int_equal(at.tally.by_status[STATUS_OK], 4);
}

static void test_a_full_outbox_lets_nobody_in(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    struct error err = {0};
    for (int i = 0; i < 100; i++) { /* in pieces, as no call may take long */
        if (redis_callf(client, NULL, &err, "EVAL %s 1 bora:outbox:{%s}",
                        "for i = 1, 10000 do redis.call('XADD', KEYS[1], '*', 'q', '1') end",
                        ORGANIZATION) != STATUS_OK)
            fail_msg("%s", err.message);
    }
    struct tally tally = TALLY_INIT;
    request.admission.lease = lease_id(1);
    request.admission.scopes = request.scopes;
    limits_admit(client, &request.admission, keep_outcome, &tally);
    tally_wait(&tally, 1);
    assert_int_equal(tally.by_status[STATUS_UNAVAILABLE], 1);
}

/* --- windows ------------------------------------------------------------------------------------------------------ */

/** Asked for at retry_after less a millisecond it is denied, at retry_after admitted. */
static void check_retry_after(struct redis_client *client, struct test_request *request, int64_t expected_ms) {
    struct limits_result result = admit(client, request);
    assert_int_equal(result.outcome, LIMITS_DENIED);
    assert_int_equal(result.retry_after_ms, expected_ms);
    request->admission.test_time_us += (expected_ms - 1) * 1000;
    assert_int_equal(admit(client, request).outcome, LIMITS_DENIED);
    request->admission.test_time_us += 1000;
    assert_int_equal(admit(client, request).outcome, LIMITS_ADMITTED);
}

static void test_a_second_is_a_second_to_the_microsecond(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    test_request_limit(&request, LIMITS_REQUESTS_PER_SECOND, 3);
    static const int64_t at_us[] = {0, 300000, 999999};
    for (int i = 0; i < 3; i++) {
        request.admission.test_time_us = START_US + at_us[i];
        struct limits_result result = admit(client, &request);
        assert_int_equal(result.outcome, LIMITS_ADMITTED);
        assert_int_equal(result.room[LIMITS_REQUESTS_PER_SECOND].remaining, 2 - i);
    }
    assert_int_equal(admit(client, &request).retry_after_ms, 1); /* in one microsecond */
    request.admission.test_time_us = START_US + SECOND_US;
    assert_int_equal(admit(client, &request).outcome, LIMITS_ADMITTED);
    struct limits_result result = admit(client, &request);
    assert_int_equal(result.outcome, LIMITS_DENIED);
    assert_int_equal(result.retry_after_ms, 300);
    request.admission.test_time_us = START_US + SECOND_US + 299999;
    assert_int_equal(admit(client, &request).outcome, LIMITS_DENIED);
    request.admission.test_time_us = START_US + SECOND_US + 300000;
    assert_int_equal(admit(client, &request).outcome, LIMITS_ADMITTED);
}

static void test_what_left_the_second_makes_room(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    test_request_limit(&request, LIMITS_REQUESTS_PER_SECOND, 5);
    for (int i = 0; i < 2; i++) admit(client, &request);
    request.admission.test_time_us = START_US + SECOND_US;
    assert_int_equal(admit(client, &request).room[LIMITS_REQUESTS_PER_SECOND].remaining, 4);
}

static void test_a_lowered_limit_of_a_second_is_not_kept_out_by_what_has_passed(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    test_request_limit(&request, LIMITS_REQUESTS_PER_SECOND, 60);
    for (int i = 0; i < 60; i++) assert_int_equal(admit(client, &request).outcome, LIMITS_ADMITTED);
    test_request_limit(&request, LIMITS_REQUESTS_PER_SECOND, 10);
    assert_int_equal(admit(client, &request).retry_after_ms, 1000);
    request.admission.test_time_us = START_US + SECOND_US;
    for (int i = 0; i < 10; i++) {
        struct limits_result result = admit(client, &request);
        assert_int_equal(result.outcome, LIMITS_ADMITTED);
        assert_in_range(result.room[LIMITS_REQUESTS_PER_SECOND].remaining, 0, 9 - i);
    }
    assert_int_equal(admit(client, &request).outcome, LIMITS_DENIED);
}

static void test_a_minute_is_never_too_short(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    test_request_limit(&request, LIMITS_TOKENS_PER_MINUTE, 100);
    request.admission.output = 0;
    request.admission.input = 30;
    static const int64_t at_ms[] = {0, 1500, 20999};
    for (int i = 0; i < 3; i++) {
        request.admission.test_time_us = START_US + 1000 * at_ms[i];
        assert_int_equal(admit_as(client, &request, i).outcome, LIMITS_ADMITTED);
        limits_set_test_time(request.admission.test_time_us);
        settle(client, i, usage_of(30, 0, 0));
    }
    request.admission.input = 70; /* needs the first two to leave; the second one's slice ends at 1,750 */
    request.admission.test_time_us = START_US + 30123000;
    check_retry_after(client, &request, 61750 - 30123);
}

static void test_idle_for_less_and_for_more_than_a_minute(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    test_request_limit(&request, LIMITS_REQUESTS_PER_MINUTE, 1000000);
    request.admission.test_time_us = START_US;
    for (int i = 0; i < 200; i++) { /* a request in every other slice */
        request.admission.test_time_us += 500000;
        admit(client, &request);
    }
    limits_set_test_time(request.admission.test_time_us);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_MINUTE), 121);
    assert_int_equal(call_integer(client, "LLEN bora:win:{" ORGANIZATION "}:k:%s", KEY), 120);
    limits_set_test_time(request.admission.test_time_us + 59 * SECOND_US);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_MINUTE), 3);
    limits_set_test_time(request.admission.test_time_us + 61 * SECOND_US);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_MINUTE), 0);
    assert_int_equal(call_integer(client, "EXISTS bora:win:{" ORGANIZATION "}:k:%s", KEY), 0);
}

static void test_day_and_month_are_the_calendars(void **state) {
    struct redis_client *client = client_of(state);
    static const struct {
        int year, month, day, days_to_next_month;
    } dates[] = {{2027, 1, 1, 31},  {2027, 2, 28, 1},  {2028, 2, 28, 2},  {2028, 2, 29, 1}, {2028, 12, 31, 1},
                 {2100, 2, 28, 1},  {2096, 2, 29, 1},  {2400, 2, 29, 1},  {2027, 4, 30, 1}, {2027, 11, 11, 20},
                 {2026, 12, 31, 1}, {2026, 11, 30, 1}, {2030, 10, 15, 17}};
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        int64_t midnight_us = midnight_of(dates[i].year, dates[i].month, dates[i].day) * SECOND_US;
        for (int monthly = 0; monthly < 2; monthly++) {
            struct test_request request;
            test_request_init(&request);
            snprintf(request.scopes[0].name, sizeof request.scopes[0].name, "k:%zu-%d", i, monthly);
            test_request_limit(&request, monthly ? LIMITS_TOKENS_PER_MONTH : LIMITS_TOKENS_PER_DAY, 30);
            request.admission.test_time_us = midnight_us;
            assert_int_equal(admit_as(client, &request, 1).outcome, LIMITS_ADMITTED);
            limits_set_test_time(midnight_us);
            settle(client, 1, usage_of(10, 0, 20));
            request.admission.test_time_us = midnight_us + 12345 * 1000;
            check_retry_after(client, &request,
                              (monthly ? dates[i].days_to_next_month : 1) * INT64_C(86400000) - 12345);
        }
    }
}

static void test_months_of_two_centuries(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    request.scopes[0].bounds.of[LIMITS_TOKENS_PER_MONTH] = 30;
    request.admission.output = 0;
    request.admission.input = 30;
    for (int year = 2026; year < 2205; year++) { /* microseconds are exact in a double until 2255 */
        if (year > 2032 && year % 100 > 4 && year % 100 < 96) continue; /* centuries are what is special */
        for (int month = 1; month <= 12; month++) {
            int64_t begins_us = midnight_of(year, month, 1) * SECOND_US,
                    ends_us = midnight_of(year, month + 1, 1) * SECOND_US;
            request.admission.test_time_us = begins_us;
            if (admit(client, &request).outcome != LIMITS_ADMITTED) fail_msg("%d-%d does not begin", year, month);
            assert_int_equal(admit(client, &request).retry_after_ms, (ends_us - begins_us) / 1000);
            request.admission.test_time_us = ends_us - 1;
            if (admit(client, &request).outcome != LIMITS_DENIED) fail_msg("%d-%d ends early", year, month);
        }
    }
}

static void test_held_tokens_are_given_back_at_an_unknown_time(void **state) {
    struct redis_client *client = client_of(state);
    static const enum limits_kind kinds[] = {LIMITS_OUTPUT_PER_MINUTE, LIMITS_TOKENS_PER_DAY, LIMITS_STREAMS};
    for (int i = 0; i < 3; i++) {
        struct test_request request;
        test_request_init(&request);
        snprintf(request.scopes[0].name, sizeof request.scopes[0].name, "k:%d", i);
        test_request_limit(&request, kinds[i], kinds[i] == LIMITS_STREAMS ? 1 : 40);
        admit(client, &request);
        request.admission.output = 30;
        assert_int_equal(admit(client, &request).retry_after_ms, 1000);
    }
}

static void test_the_limit_that_keeps_out_longest_is_named(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    request.admission.scope_count = 2;
    test_request_limit(&request, LIMITS_REQUESTS_PER_SECOND, 1);
    test_request_limit(&request, LIMITS_STREAMS, 1);
    request.scopes[1] = (struct limits_scope){.name = "o", .bounds = LIMITS_UNLIMITED};
    request.scopes[1].bounds.of[LIMITS_REQUESTS_PER_MINUTE] = 1;
    admit(client, &request);
    struct limits_result result = admit(client, &request);
    assert_int_equal(result.denied_by, LIMITS_REQUESTS_PER_MINUTE);
    assert_int_equal(result.denied_scope, 1);
    assert_int_equal(result.retry_after_ms, 60250);
}

/* --- numbers, threads --------------------------------------------------------------------------------------------- */

static void test_largest_numbers_stay_exact(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    test_request_init(&request);
    test_request_limit(&request, LIMITS_TOKENS_PER_MONTH, LIMITS_MAX);
    test_request_limit(&request, LIMITS_SPEND_PER_MONTH, LIMITS_SPEND_MAX);
    request.admission.price = (struct limits_price){999999937, 0, 999999937};
    request.admission.input = 499999999999;
    request.admission.output = LIMITS_MAX - 499999999999 - 1;
    struct limits_result result = admit_as(client, &request, 1);
    assert_int_equal(result.outcome, LIMITS_ADMITTED);
    assert_int_equal(result.room[LIMITS_TOKENS_PER_MONTH].remaining, 1);
    /* ceil(499999999999 x 999.999937), and of one token more */
    assert_int_equal(result.room[LIMITS_SPEND_PER_MONTH].remaining,
                     LIMITS_SPEND_MAX - INT64_C(499999968499001) - INT64_C(499999968500000));
    assert_int_equal(settle(client, 1, usage_of(499999999999, 0, 1)), 1);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_TOKENS_PER_MONTH), 500000000000);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_SPEND_PER_MONTH), INT64_C(499999968499001) + 1000);
}

static uint64_t random_upto(int *counter, uint64_t most) {
    return random_philox(7, (uint64_t)(*counter)++, 0) % (most + 1);
}

/** Of all magnitudes alike, and often at an edge. */
static int64_t random_magnitude(int *counter, int64_t most) {
    static const int64_t edges[] = {0, 1, 999999, 1000000, 1000001};
    if (random_upto(counter, 7) == 0) {
        int64_t edge = edges[random_upto(counter, 4)];
        return edge < most ? edge : most;
    }
    if (random_upto(counter, 15) == 0) return most - (int64_t)random_upto(counter, 1);
    int64_t top = 1;
    for (uint64_t digits = random_upto(counter, 12); digits > 0 && top < most; digits--) top *= 10;
    return (int64_t)random_upto(counter, (uint64_t)(top < most ? top : most));
}

static void test_lua_and_c_agree_on_every_cost(void **state) {
    struct redis_client *client = client_of(state);
    int counter = 0;
    enum { ROUNDS = 1500 };
    static struct outbox_entry entries[ROUNDS];
    static int64_t expected[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        struct test_request request;
        test_request_init(&request);
        request.admission.price = (struct limits_price){random_magnitude(&counter, LIMITS_PRICE_MAX),
                                                        random_magnitude(&counter, LIMITS_PRICE_MAX),
                                                        random_magnitude(&counter, LIMITS_PRICE_MAX)};
        request.admission.input = random_magnitude(&counter, LIMITS_MAX);
        request.admission.output = random_magnitude(&counter, LIMITS_MAX);
        struct limits_usage usage = {.input = request.admission.input,
                                     .cached_input = (int64_t)random_upto(&counter, (uint64_t)request.admission.input),
                                     .output = (int64_t)random_upto(&counter, (uint64_t)request.admission.output)};
        request.admission.scope_count = i % 2;
        admit_as(client, &request, i);
        int64_t held = used(client, "k:" KEY, NULL, LIMITS_SPEND_PER_MONTH);
        charge(client, i, usage_of(0, 0, usage.output / 2));
        if (i % 2) assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_SPEND_PER_MONTH), held);
        assert_int_equal(settle(client, i, usage), 1);
        expected[i] = limits_cost(&request.admission.price, &usage);
        if (i % 2) { /* what was held at the worst case was enough, and what is charged is what it cost */
            int64_t now = used(client, "k:" KEY, NULL, LIMITS_SPEND_PER_MONTH);
            assert_int_equal(now, expected[i]);
            assert_true(now <= held);
            call_integer(client, "DEL bora:use:{" ORGANIZATION "}:k:%s", KEY);
        }
    }
    assert_int_equal(read_outbox(client, entries, ROUNDS), ROUNDS);
    for (int i = 0; i < ROUNDS; i++) assert_int_equal(entries[i].nanos, expected[i]);
}

static void test_cost_is_rounded_up_for_each_kind(void **state) {
    (void)state;
    struct limits_price price = {.input = 500000, .cached_input = 1, .output = 2000001};
    struct limits_usage usage = usage_of(3, 2, 1);
    assert_int_equal(limits_cost(&price, &usage), 1 + 1 + 3);
    usage = usage_of(0, 0, 0);
    assert_int_equal(limits_cost(&price, &usage), 0);
    price.output = LIMITS_PRICE_MAX;
    usage.output = LIMITS_MAX;
    assert_int_equal(limits_cost(&price, &usage), LIMITS_SPEND_MAX);
}

static void test_bad_arguments_are_refused_before_redis(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request good;
    test_request_init(&good);
    struct test_request bad[12];
    for (int i = 0; i < 12; i++) bad[i] = good;
    bad[0].admission.input = LIMITS_MAX + 1;
    bad[1].admission.output = -1;
    bad[2].admission.output_optional = 21;
    bad[3].admission.answers = 0;
    bad[4].admission.answers = LIMITS_ANSWERS_MAX + 1;
    bad[5].scopes[0].bounds.of[LIMITS_STREAMS] = -2;
    bad[6].scopes[0].bounds.of[LIMITS_TOKENS_PER_DAY] = LIMITS_MAX + 1;
    bad[7].admission.price.output = LIMITS_PRICE_MAX + 1;
    bad[8].admission.subject.organization = "a}b";
    bad[9].admission.subject.key = "";
    bad[10].admission.scope_count = 2;
    bad[10].scopes[1] = bad[10].scopes[0];
    bad[11].admission.scope_count = LIMITS_SCOPES_MAX + 1;
    for (int i = 0; i < 12; i++) {
        struct tally tally = TALLY_INIT;
        bad[i].admission.lease = lease_id(1);
        bad[i].admission.scopes = bad[i].scopes;
        limits_admit(client, &bad[i].admission, keep_outcome, &tally);
        tally_wait(&tally, 1);
        assert_int_equal(tally.by_status[STATUS_INVALID_ARGUMENT], 1);
    }
    struct tally tally = TALLY_INIT;
    struct limits_usage usage = {0};
    limits_settle(client, ORGANIZATION, "short", &usage, tally_count, &tally);
    limits_report(client, ORGANIZATION, lease_id(1), LIMITS_ANSWERS_MAX, &usage, tally_count, &tally);
    limits_charge(client, "", lease_id(1), &usage, tally_count, &tally);
    limits_reap(client, NULL, tally_count, &tally);
    tally_wait(&tally, 4);
    assert_int_equal(tally.by_status[STATUS_INVALID_ARGUMENT], 4);
    assert_int_equal(call_integer(client, "DBSIZE", ""), 0);
}

struct crowd {
    struct tally tally;
    atomic_int admitted, denied;
};

static void count_outcome(void *context, enum status status, const struct limits_result *result, const char *message) {
    struct crowd *crowd = context;
    if (status == STATUS_OK)
        atomic_fetch_add(result->outcome == LIMITS_ADMITTED ? &crowd->admitted : &crowd->denied, 1);
    tally_count(&crowd->tally, status, NULL, message);
}

struct crowd_member {
    struct redis_client *client;
    struct crowd *crowd;
    int number;
};

enum { CROWD_THREADS = 16, CROWD_REQUESTS = 40 };

static void *ask_often(void *argument) {
    struct crowd_member *member = argument;
    struct test_request request;
    test_request_init(&request);
    test_request_limit(&request, LIMITS_TOKENS_PER_MINUTE, 100 * 30 + 29);
    for (int i = 0; i < CROWD_REQUESTS; i++) {
        request.admission.lease = lease_id(member->number * CROWD_REQUESTS + i);
        request.admission.scopes = request.scopes;
        limits_admit(member->client, &request.admission, count_outcome, member->crowd);
    }
    return NULL;
}

static void test_threads_of_two_gateways_get_exactly_the_limit(void **state) {
    struct redis_fixture *fixture = *state;
    struct redis_options options = {.address = fixture->server.address, .timeout_ns = PATIENT_NS};
    struct redis_client *other;
    struct error err = {0};
    if (create_client(&options, &other, &err) != STATUS_OK || redis_client_wait(other, CONNECT_NS, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    struct crowd crowd = {.tally = TALLY_INIT};
    pthread_t threads[CROWD_THREADS];
    struct crowd_member members[CROWD_THREADS];
    for (int i = 0; i < CROWD_THREADS; i++) {
        members[i] = (struct crowd_member){i % 2 ? other : fixture->client, &crowd, i};
        pthread_create(&threads[i], NULL, ask_often, &members[i]);
    }
    for (int i = 0; i < CROWD_THREADS; i++) pthread_join(threads[i], NULL);
    tally_wait(&crowd.tally, CROWD_THREADS * CROWD_REQUESTS);
    assert_int_equal(crowd.admitted, 100);
    assert_int_equal(crowd.denied, CROWD_THREADS * CROWD_REQUESTS - 100);
    redis_client_destroy(other);
}

static void test_without_redis_nothing_passes(void **state) {
    struct redis_fixture *fixture = *state;
    redis_server_kill(&fixture->server);
    struct test_request request;
    test_request_init(&request);
    struct tally tally = TALLY_INIT;
    request.admission.lease = lease_id(1);
    request.admission.scopes = request.scopes;
    limits_admit(fixture->client, &request.admission, keep_outcome, &tally);
    limits_check_gate(fixture->client, ORGANIZATION, KEY, keep_outcome, &tally);
    tally_wait(&tally, 2);
    assert_int_equal(tally.by_status[STATUS_UNAVAILABLE], 2);
}

int main(void) {
#define REDIS_TEST(name) cmocka_unit_test_setup_teardown(name, limits_setup, limits_teardown)
    const struct CMUnitTest tests[] = {
        REDIS_TEST(test_without_limits_everything_passes_and_is_accounted_for),
        REDIS_TEST(test_each_kind_admits_up_to_its_limit),
        REDIS_TEST(test_zero_and_too_small_limits_never_fit),
        REDIS_TEST(test_scopes_are_all_or_nothing),
        REDIS_TEST(test_peek_takes_nothing),
        REDIS_TEST(test_optional_output_is_held_as_far_as_there_is_room),
        REDIS_TEST(test_what_has_passed_already_is_taken_whatever_the_limits_say),
        REDIS_TEST(test_gate_keeps_a_key_out_at_once),
        REDIS_TEST(test_gate_can_be_asked_for_alone),
        REDIS_TEST(test_a_look_at_the_gate_tells_what_was_said_of_the_end),
        REDIS_TEST(test_a_full_outbox_lets_nobody_in),
        REDIS_TEST(test_a_second_is_a_second_to_the_microsecond),
        REDIS_TEST(test_what_left_the_second_makes_room),
        REDIS_TEST(test_a_lowered_limit_of_a_second_is_not_kept_out_by_what_has_passed),
        REDIS_TEST(test_a_minute_is_never_too_short),
        REDIS_TEST(test_idle_for_less_and_for_more_than_a_minute),
        REDIS_TEST(test_day_and_month_are_the_calendars),
        REDIS_TEST(test_months_of_two_centuries),
        REDIS_TEST(test_held_tokens_are_given_back_at_an_unknown_time),
        REDIS_TEST(test_the_limit_that_keeps_out_longest_is_named),
        REDIS_TEST(test_largest_numbers_stay_exact),
        REDIS_TEST(test_lua_and_c_agree_on_every_cost),
        cmocka_unit_test(test_cost_is_rounded_up_for_each_kind),
        REDIS_TEST(test_bad_arguments_are_refused_before_redis),
        REDIS_TEST(test_threads_of_two_gateways_get_exactly_the_limit),
        REDIS_TEST(test_without_redis_nothing_passes),
    };
    return cmocka_run_group_tests_name("store/limits", tests, NULL, NULL);
}
