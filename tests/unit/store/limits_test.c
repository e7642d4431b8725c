/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"
#include "store/limits.h"
#include "tests/unit/store/redis_fixture.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

static const struct limits_bounds UNLIMITED = {LIMITS_ABSENT, LIMITS_ABSENT};
/* Tests that look at time bring their own: 2027, at a whole second. */
#define START_MS INT64_C(1800000000000)
#define KEY "abcdefghijkl"

struct answer {
    struct tally tally;
    enum status status;
    struct limits_result result;
};

static void keep_answer(void *context, enum status status, const struct limits_result *result, const char *message) {
    struct answer *answer = context;
    answer->status = status;
    if (result != NULL) answer->result = *result;
    tally_count(&answer->tally, status, NULL, message);
}

static struct limits_result reserve(struct redis_client *client, const struct limits_request *request) {
    struct answer answer = {.tally = TALLY_INIT};
    limits_reserve(client, request, keep_answer, &answer);
    tally_wait(&answer.tally, 1);
    if (answer.status != STATUS_OK) fail_msg("%s", answer.tally.message);
    return answer.result;
}

static int64_t settled;
static void keep_settled(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    settled = status == STATUS_OK ? reply->integer : -1;
    tally_count(context, status, reply, message);
}
static int64_t settle(struct redis_client *client, const struct limits_reservation *reservation, int64_t actual) {
    struct tally tally = TALLY_INIT;
    limits_settle(client, reservation, actual, keep_settled, &tally);
    tally_wait(&tally, 1);
    return settled;
}

static void make_key(struct redis_client *client, const char *key_id, const char *more) {
    char format[256];
    snprintf(format, sizeof format, "HSET " LIMITS_KEY_RECORD_FORMAT " created_at 1700000000 %s", key_id, more);
    struct error err = {0};
    if (redis_callf(client, NULL, &err, format) != STATUS_OK) fail_msg("%s", err.message);
}

static struct limits_request request_of(int64_t key_requests, int64_t key_tokens, int64_t tokens) {
    return (struct limits_request){.key_id = KEY,
                                   .model = "small",
                                   .key = {key_requests, key_tokens},
                                   .key_and_model = UNLIMITED,
                                   .tokens = tokens};
}

static void test_without_limits_everything_passes_and_nothing_is_kept(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    struct limits_request request = request_of(LIMITS_ABSENT, LIMITS_ABSENT, LIMITS_MAX);
    for (int i = 0; i < 3; i++) {
        struct limits_result result = reserve(client, &request);
        assert_int_equal(result.outcome, LIMITS_ADMITTED);
        assert_int_equal(result.requests.limit, LIMITS_ABSENT);
        assert_int_equal(result.tokens.remaining, LIMITS_ABSENT);
        assert_string_equal(result.reservation.id, "");
        assert_int_equal(settle(client, &result.reservation, 5), 0);
    }
    assert_int_equal(call_integer(client, "DBSIZE", ""), 1);
}

static void test_key_must_stand(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, "revoked", "revoked_at 1700000001");
    make_key(client, "expired", "expires_at 1700000001");
    make_key(client, "lasting", "expires_at 1800000001");
    static const struct {
        const char *key_id;
        enum limits_outcome outcome;
    } cases[] = {{"nosuchkey", LIMITS_KEY_UNKNOWN},
                 {"revoked", LIMITS_KEY_REVOKED},
                 {"expired", LIMITS_KEY_EXPIRED},
                 {"lasting", LIMITS_ADMITTED}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct limits_request request = request_of(10, 10, 1);
        request.key_id = cases[i].key_id;
        assert_int_equal(reserve(client, &request).outcome, cases[i].outcome);
        struct answer answer = {.tally = TALLY_INIT};
        limits_check_key(client, cases[i].key_id, keep_answer, &answer);
        tally_wait(&answer.tally, 1);
        assert_int_equal(answer.status, STATUS_OK);
        assert_int_equal(answer.result.outcome, cases[i].outcome);
    }
}

static void test_key_expires_at_its_second(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "expires_at 1800000060");
    struct limits_request request = request_of(LIMITS_ABSENT, LIMITS_ABSENT, 1);
    request.test_time_ms = START_MS + 59999;
    assert_int_equal(reserve(client, &request).outcome, LIMITS_ADMITTED);
    request.test_time_ms = START_MS + 60000;
    assert_int_equal(reserve(client, &request).outcome, LIMITS_KEY_EXPIRED);
}

static void test_requests_are_admitted_up_to_the_limit(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    struct limits_request request = request_of(3, LIMITS_ABSENT, 100);
    request.test_time_ms = START_MS;
    for (int i = 0; i < 3; i++) {
        struct limits_result result = reserve(client, &request);
        assert_int_equal(result.outcome, LIMITS_ADMITTED);
        assert_int_equal(result.requests.limit, 3);
        assert_int_equal(result.requests.remaining, 2 - i);
    }
    struct limits_result result = reserve(client, &request);
    assert_int_equal(result.outcome, LIMITS_DENIED);
    assert_int_equal(result.denied_by, LIMITS_KEY_REQUESTS);
    assert_int_equal(result.requests.remaining, 0);
    assert_int_equal(result.retry_after_ms, 61000);
}

static void test_denied_request_passes_after_retry_after_and_not_before(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    struct limits_request request = request_of(LIMITS_ABSENT, 1000, 300);
    static const int64_t at_ms[] = {0, 1500, 20999};
    for (int i = 0; i < 3; i++) {
        request.test_time_ms = START_MS + at_ms[i];
        assert_int_equal(reserve(client, &request).outcome, LIMITS_ADMITTED);
    }
    request.tokens = 700; /* needs the first two seconds to leave */
    request.test_time_ms = START_MS + 30123;
    struct limits_result result = reserve(client, &request);
    assert_int_equal(result.outcome, LIMITS_DENIED);
    assert_int_equal(result.denied_by, LIMITS_KEY_TOKENS);
    assert_int_equal(result.retry_after_ms, 62000 - 30123);
    request.test_time_ms += result.retry_after_ms - 1;
    assert_int_equal(reserve(client, &request).outcome, LIMITS_DENIED);
    request.test_time_ms += 1;
    assert_int_equal(reserve(client, &request).outcome, LIMITS_ADMITTED);
}

static void test_zero_and_too_small_limits_never_fit(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    struct limits_request no_requests = request_of(0, LIMITS_ABSENT, 0), no_tokens = request_of(5, 0, 0),
                          too_large = request_of(5, 99, 100);
    struct limits_result result = reserve(client, &no_requests);
    assert_int_equal(result.outcome, LIMITS_NEVER_FITS);
    assert_int_equal(result.denied_by, LIMITS_KEY_REQUESTS);
    result = reserve(client, &no_tokens);
    assert_int_equal(result.outcome, LIMITS_NEVER_FITS);
    assert_int_equal(result.denied_by, LIMITS_KEY_TOKENS);
    result = reserve(client, &too_large);
    assert_int_equal(result.outcome, LIMITS_NEVER_FITS);
    assert_int_equal(result.tokens.limit, 99);
    assert_int_equal(result.tokens.remaining, 99);
    assert_int_equal(call_integer(client, "DBSIZE", ""), 1);
}

static void test_buckets_are_all_or_nothing(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    struct limits_request request = request_of(10, 1000, 100);
    request.key_and_model = (struct limits_bounds){2, 150};
    request.test_time_ms = START_MS;
    struct limits_result result = reserve(client, &request);
    assert_int_equal(result.outcome, LIMITS_ADMITTED);
    assert_int_equal(result.requests.limit, 2); /* the tighter of 10 and 2 */
    assert_int_equal(result.requests.remaining, 1);
    assert_int_equal(result.tokens.limit, 150);
    assert_int_equal(result.tokens.remaining, 50);
    for (int i = 0; i < 20; i++) { /* denied by the model's tokens: takes nothing of the key's */
        result = reserve(client, &request);
        assert_int_equal(result.outcome, LIMITS_DENIED);
        assert_int_equal(result.denied_by, LIMITS_MODEL_TOKENS);
    }
    request.model = "large";
    request.key_and_model = UNLIMITED;
    request.tokens = 900; /* exactly what the key has left */
    result = reserve(client, &request);
    assert_int_equal(result.outcome, LIMITS_ADMITTED);
    assert_int_equal(result.tokens.remaining, 0);
    assert_int_equal(result.requests.remaining, 8);
}

static void test_unused_tokens_come_back_once(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    struct limits_request request = request_of(LIMITS_ABSENT, 1000, 1000);
    request.key_and_model = (struct limits_bounds){LIMITS_ABSENT, 2000};
    request.test_time_ms = START_MS;
    struct limits_result first = reserve(client, &request);
    assert_int_equal(first.outcome, LIMITS_ADMITTED);
    assert_int_equal(strlen(first.reservation.id), LIMITS_RESERVATION_ID_BYTES);
    assert_int_equal(settle(client, &first.reservation, 400), 1);
    assert_int_equal(settle(client, &first.reservation, 400), 0);
    assert_int_equal(settle(client, &first.reservation, 0), 0);
    request.test_time_ms = START_MS + 5000;
    request.tokens = 600;
    struct limits_result second = reserve(client, &request);
    assert_int_equal(second.outcome, LIMITS_ADMITTED);
    assert_int_equal(second.tokens.remaining, 0);
    assert_int_equal(settle(client, &second.reservation, 600), 1); /* all used */
    request.tokens = 1;
    assert_int_equal(reserve(client, &request).outcome, LIMITS_DENIED);
    /* What was used in the first second leaves with the first second. */
    request.test_time_ms = START_MS + 61000;
    request.tokens = 400;
    assert_int_equal(reserve(client, &request).outcome, LIMITS_ADMITTED);
}

/* --- in two steps ------------------------------------------------------------------------------------------------ */

static void test_second_step_takes_tokens_and_no_second_request(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    struct limits_request request = request_of(1, 1000, 0);
    request.key_and_model = (struct limits_bounds){1, 800};
    request.tokens_ahead = 2;
    request.test_time_ms = START_MS;
    struct limits_result first = reserve(client, &request);
    assert_int_equal(first.outcome, LIMITS_ADMITTED);
    assert_int_equal(first.requests.remaining, 0);
    assert_int_equal(first.tokens.remaining, 800); /* looked at, not taken */
    assert_int_equal(reserve(client, &request).denied_by, LIMITS_KEY_REQUESTS);
    request.taken = &first.reservation;
    request.tokens = 700;
    request.tokens_ahead = 0;
    request.test_time_ms = START_MS + 2000;
    struct limits_result second = reserve(client, &request);
    assert_int_equal(second.outcome, LIMITS_ADMITTED);
    assert_string_equal(second.reservation.id, first.reservation.id);
    assert_int_equal(second.tokens_taken, 700);
    assert_int_equal(second.requests.remaining, 0);
    assert_int_equal(second.tokens.remaining, 100);
    assert_int_equal(settle(client, &second.reservation, 300), 1);
    /* The request leaves a minute after its own second, the tokens after theirs. */
    request.taken = NULL;
    request.tokens = 501;
    request.test_time_ms = START_MS + 61000;
    struct limits_result later = reserve(client, &request);
    assert_int_equal(later.outcome, LIMITS_DENIED);
    assert_int_equal(later.denied_by, LIMITS_MODEL_TOKENS);
    request.tokens = 500;
    assert_int_equal(reserve(client, &request).outcome, LIMITS_ADMITTED);
}

static void test_denied_second_step_gives_the_request_back(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    static const int64_t tokens[] = {900, 1001}; /* not now, and never */
    static const enum limits_outcome outcomes[] = {LIMITS_DENIED, LIMITS_NEVER_FITS};
    struct limits_request request = request_of(3, 1000, 200);
    request.key_and_model = (struct limits_bounds){2, LIMITS_ABSENT};
    request.test_time_ms = START_MS;
    assert_int_equal(reserve(client, &request).outcome, LIMITS_ADMITTED);
    for (int i = 0; i < 2; i++) {
        request.taken = NULL;
        request.tokens = 0;
        request.test_time_ms = START_MS + 1000 + 1000 * i;
        struct limits_result first = reserve(client, &request);
        assert_int_equal(first.outcome, LIMITS_ADMITTED);
        assert_int_equal(first.requests.remaining, 0);
        request.taken = &first.reservation;
        request.tokens = tokens[i];
        request.test_time_ms += 5000;
        struct limits_result second = reserve(client, &request);
        assert_int_equal(second.outcome, outcomes[i]);
        assert_int_equal(second.requests.remaining, 1);
        assert_int_equal(second.tokens.remaining, 800);
        assert_int_equal(settle(client, &first.reservation, 0), 0); /* nothing is left to settle */
    }
    request.taken = NULL;
    request.tokens = 800;
    assert_int_equal(reserve(client, &request).outcome, LIMITS_ADMITTED);
    request.tokens = 0;
    assert_int_equal(reserve(client, &request).denied_by, LIMITS_MODEL_REQUESTS);
}

static void test_request_given_back_after_it_left_the_window_counts_once(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    struct limits_request request = request_of(1, 1000, 0);
    request.test_time_ms = START_MS;
    struct limits_result first = reserve(client, &request), other;
    request.test_time_ms = START_MS + 61000;
    other = reserve(client, &request);
    assert_int_equal(other.outcome, LIMITS_ADMITTED);
    request.taken = &first.reservation;
    request.tokens = 1001;
    assert_int_equal(reserve(client, &request).outcome, LIMITS_NEVER_FITS);
    request.taken = NULL;
    request.tokens = 0;
    assert_int_equal(reserve(client, &request).outcome, LIMITS_DENIED); /* the other's is still there */
}

static void test_optional_tokens_are_what_remains(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    struct limits_request request = request_of(LIMITS_ABSENT, 1000, 5000);
    request.key_and_model = (struct limits_bounds){LIMITS_ABSENT, 900};
    request.tokens_optional = 4900;
    struct limits_result first = reserve(client, &request);
    assert_int_equal(first.outcome, LIMITS_ADMITTED);
    assert_int_equal(first.tokens_taken, 900);
    assert_int_equal(first.tokens.remaining, 0);
    assert_int_equal(settle(client, &first.reservation, 750), 1);
    struct limits_result second = reserve(client, &request);
    assert_int_equal(second.outcome, LIMITS_ADMITTED);
    assert_int_equal(second.tokens_taken, 150);
    assert_int_equal(settle(client, &second.reservation, 51), 1);
    struct limits_result third = reserve(client, &request); /* 99 remain of the 100 that must be there */
    assert_int_equal(third.outcome, LIMITS_DENIED);
    assert_int_equal(third.tokens.remaining, 99);
    assert_int_equal(third.tokens_taken, 0);
    request.model = "other";
    request.key = request.key_and_model = UNLIMITED;
    assert_int_equal(reserve(client, &request).tokens_taken, 5000);
}

static void test_exhausted_tokens_deny_the_first_step(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    struct limits_request request = request_of(5, 100, 99);
    assert_int_equal(reserve(client, &request).outcome, LIMITS_ADMITTED);
    request.tokens = 0;
    request.tokens_ahead = 2;
    struct limits_result result = reserve(client, &request);
    assert_int_equal(result.outcome, LIMITS_DENIED);
    assert_int_equal(result.denied_by, LIMITS_KEY_TOKENS);
    assert_int_equal(result.requests.remaining, 4);
    request.tokens_ahead = 101;
    assert_int_equal(reserve(client, &request).outcome, LIMITS_NEVER_FITS);
}

static void test_use_above_the_reservation_is_charged(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    struct limits_request request = request_of(LIMITS_ABSENT, 1000, 100);
    request.test_time_ms = START_MS;
    struct limits_result result = reserve(client, &request);
    assert_int_equal(settle(client, &result.reservation, 1500), 1);
    result = reserve(client, &request);
    assert_int_equal(result.outcome, LIMITS_DENIED);
    assert_int_equal(result.tokens.remaining, 0); /* never negative */
}

static void test_settling_after_the_window_gives_nothing_back(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    struct limits_request request = request_of(LIMITS_ABSENT, 1000, 1000);
    request.test_time_ms = START_MS;
    struct limits_result early = reserve(client, &request);
    request.test_time_ms = START_MS + 61000;
    assert_int_equal(reserve(client, &request).outcome, LIMITS_ADMITTED); /* the first has left */
    settle(client, &early.reservation, 0);
    request.tokens = 1;
    assert_int_equal(reserve(client, &request).outcome, LIMITS_DENIED);
}

static void test_unsettled_reservation_leaves_by_itself(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    struct limits_request request = request_of(1, 1000, 1000);
    request.test_time_ms = START_MS + 999;
    assert_int_equal(reserve(client, &request).outcome, LIMITS_ADMITTED);
    request.test_time_ms = START_MS + 60999;
    assert_int_equal(reserve(client, &request).outcome, LIMITS_DENIED); /* second 0 is still inside */
    request.test_time_ms = START_MS + 61000;
    assert_int_equal(reserve(client, &request).outcome, LIMITS_ADMITTED);
    /* And Redis forgets by itself: everything but the key's record has a time to live. */
    struct redis_reply *reply = NULL;
    assert_int_equal(redis_callf(client, &reply, NULL, "KEYS *"), STATUS_OK);
    assert_int_equal(reply->count, 4);
    for (size_t i = 0; i < reply->count; i++) {
        const char *name = (const char *)reply->items[i].string.data;
        int64_t left_ms = call_integer(client, "PTTL %s", name);
        if (strncmp(name, "bora:key:", 9) == 0)
            assert_int_equal(left_ms, -1);
        else
            assert_in_range(left_ms, 1, 124000);
    }
    redis_reply_free(reply);
}

static void test_clock_set_back_neither_leaks_nor_overshoots(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    struct limits_request request = request_of(4, LIMITS_ABSENT, 0);
    static const int64_t at_ms[] = {0, 200000, 100000, 190000};
    for (int i = 0; i < 4; i++) {
        request.test_time_ms = START_MS + at_ms[i];
        assert_int_equal(reserve(client, &request).outcome, LIMITS_ADMITTED);
    }
    request.test_time_ms = START_MS + 100000;
    assert_int_equal(reserve(client, &request).outcome, LIMITS_ADMITTED); /* second 0 has left: three are inside */
    assert_int_equal(reserve(client, &request).outcome, LIMITS_DENIED);
    request.test_time_ms = START_MS + 261000; /* all have left again */
    for (int i = 0; i < 4; i++) assert_int_equal(reserve(client, &request).outcome, LIMITS_ADMITTED);
    assert_int_equal(reserve(client, &request).outcome, LIMITS_DENIED);
}

static void test_largest_numbers_stay_exact(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    struct limits_request request = request_of(LIMITS_MAX, LIMITS_MAX, LIMITS_MAX - 1);
    struct limits_result result = reserve(client, &request);
    assert_int_equal(result.outcome, LIMITS_ADMITTED);
    assert_int_equal(result.tokens.limit, LIMITS_MAX);
    assert_int_equal(result.tokens.remaining, 1);
    request.tokens = 1;
    result = reserve(client, &request);
    assert_int_equal(result.outcome, LIMITS_ADMITTED);
    assert_int_equal(result.tokens.remaining, 0);
    assert_int_equal(reserve(client, &request).outcome, LIMITS_DENIED);
    assert_int_equal(settle(client, &result.reservation, 0), 1);
    assert_int_equal(reserve(client, &request).tokens.remaining, 0);
}

static void test_numbers_out_of_range_are_refused_before_redis(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    struct limits_request bad[] = {request_of(-2, 1, 1), request_of(1, LIMITS_MAX + 1, 1), request_of(1, 1, -1),
                                   request_of(1, 1, LIMITS_MAX + 1), request_of(1, 1, 1)};
    bad[4].key_id = "";
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct answer answer = {.tally = TALLY_INIT};
        limits_reserve(client, &bad[i], keep_answer, &answer);
        tally_wait(&answer.tally, 1);
        assert_int_equal(answer.status, STATUS_INVALID_ARGUMENT);
    }
}

/* --- many at once ----------------------------------------------------------------------------------------------- */

struct crowd {
    struct redis_client *client;
    struct limits_request request;
    int per_thread;
    atomic_int admitted, denied, other;
    pthread_barrier_t start;
};

static void *crowd_main(void *context) {
    struct crowd *crowd = context;
    pthread_barrier_wait(&crowd->start);
    for (int i = 0; i < crowd->per_thread; i++) {
        struct limits_result result = reserve(crowd->client, &crowd->request);
        atomic_fetch_add(result.outcome == LIMITS_ADMITTED ? &crowd->admitted
                         : result.outcome == LIMITS_DENIED ? &crowd->denied
                                                           : &crowd->other,
                         1);
    }
    return NULL;
}

static void run_crowd(struct crowd *crowd) {
    enum { THREADS = 64 };
    pthread_t threads[THREADS];
    pthread_barrier_init(&crowd->start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, crowd_main, crowd), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&crowd->start);
    assert_int_equal(crowd->admitted + crowd->denied, THREADS * crowd->per_thread);
}

static void test_sixty_four_threads_get_exactly_the_request_limit(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    struct crowd crowd = {.client = client, .request = request_of(100, LIMITS_ABSENT, 10), .per_thread = 10};
    run_crowd(&crowd); /* Redis' own clock: far quicker than a minute */
    assert_int_equal(crowd.admitted, 100);
}

static void test_sixty_four_threads_get_exactly_the_token_limit(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    struct crowd crowd = {.client = client, .request = request_of(1000, 5000, 37), .per_thread = 10};
    crowd.request.key_and_model = (struct limits_bounds){LIMITS_ABSENT, 10000};
    run_crowd(&crowd);
    assert_int_equal(crowd.admitted, 5000 / 37);
}

/* --- against the definition ------------------------------------------------------------------------------------- */

enum { HISTORY = 4000 };
struct past {
    int64_t at_ms, tokens;
    struct limits_reservation reservation;
    bool settled;
};

/** Tokens (or requests) in the seconds from `first` to `last`, both included. */
static int64_t sum(const struct past *past, int count, int64_t first, int64_t last, bool requests) {
    int64_t total = 0;
    for (int i = 0; i < count; i++) {
        int64_t second = past[i].at_ms / 1000;
        if (second >= first && second <= last) total += requests ? 1 : past[i].tokens;
    }
    return total;
}

static void test_random_traffic_matches_the_definition(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    make_key(client, KEY, "");
    static struct past past[HISTORY];
    int count = 0, denied = 0;
    const int64_t requests_limit = 40, tokens_limit = 10000;
    const uint64_t seed = 20261123;
    print_message("seed %" PRIu64 "\n", seed);
    int64_t now = START_MS;
    for (uint64_t step = 0; step < 3000; step++) {
        uint64_t draw = random_philox(seed, step, 0);
        /* Mostly close together, sometimes after a pause, rarely after a long one. */
        now += draw % 100 < 90   ? (int64_t)(random_philox(seed, step, 1) % 2500)
               : draw % 100 < 98 ? (int64_t)(random_philox(seed, step, 1) % 30000)
                                 : 200000;
        struct limits_request request =
            request_of(requests_limit, tokens_limit, (int64_t)(random_philox(seed, step, 2) % 1200));
        request.test_time_ms = now;
        int64_t first = now / 1000 - 60, used_requests = sum(past, count, first, now / 1000, true),
                used_tokens = sum(past, count, first, now / 1000, false);
        bool fits = used_requests + 1 <= requests_limit && used_tokens + request.tokens <= tokens_limit;
        struct limits_result result = reserve(client, &request);
        assert_int_equal(result.outcome, fits ? LIMITS_ADMITTED : LIMITS_DENIED);
        assert_int_equal(result.requests.remaining, requests_limit - used_requests - (fits ? 1 : 0));
        assert_int_equal(result.tokens.remaining, tokens_limit - used_tokens - (fits ? request.tokens : 0));
        if (fits)
            past[count++] = (struct past){now, request.tokens, result.reservation, false};
        else {
            denied++;
            assert_in_range(result.retry_after_ms, 1, 61000);
        }
        /* Now and then somebody finishes: a few seconds or a few minutes after it began. */
        if (count > 0 && random_philox(seed, step, 3) % 2 == 0) {
            struct past *done =
                &past[(uint64_t)count - 1 - random_philox(seed, step, 4) % (count < 60 ? (uint64_t)count : 60)];
            int64_t actual =
                done->tokens > 0 ? (int64_t)(random_philox(seed, step, 5) % (uint64_t)(done->tokens + 1)) : 0;
            settle(client, &done->reservation, actual);
            if (!done->settled) done->tokens = actual; /* past the window it makes no difference */
            done->settled = true;
        }
    }
    /* The promise itself, over every window of 60 s that ends with an admission. */
    for (int i = 0; i < count; i++) {
        int64_t requests = 0, tokens = 0;
        for (int j = 0; j <= i; j++) {
            if (past[j].at_ms <= past[i].at_ms - 60000) continue;
            requests++;
            tokens += past[j].tokens;
        }
        assert_true(requests <= requests_limit && tokens <= tokens_limit);
    }
    assert_true(count > 500 && denied > 500); /* both ways were walked */
}

static void test_without_redis_nothing_passes(void **state) {
    struct redis_fixture *fixture = *state;
    redis_server_kill(&fixture->server);
    struct limits_request request = request_of(10, 10, 1);
    struct answer answer = {.tally = TALLY_INIT};
    limits_reserve(fixture->client, &request, keep_answer, &answer);
    tally_wait(&answer.tally, 1);
    assert_int_equal(answer.status, STATUS_UNAVAILABLE);
}

int main(void) {
#define REDIS_TEST(name) cmocka_unit_test_setup_teardown(name, redis_fixture_setup, redis_fixture_teardown)
    const struct CMUnitTest tests[] = {
        REDIS_TEST(test_without_limits_everything_passes_and_nothing_is_kept),
        REDIS_TEST(test_key_must_stand),
        REDIS_TEST(test_key_expires_at_its_second),
        REDIS_TEST(test_requests_are_admitted_up_to_the_limit),
        REDIS_TEST(test_denied_request_passes_after_retry_after_and_not_before),
        REDIS_TEST(test_zero_and_too_small_limits_never_fit),
        REDIS_TEST(test_buckets_are_all_or_nothing),
        REDIS_TEST(test_unused_tokens_come_back_once),
        REDIS_TEST(test_second_step_takes_tokens_and_no_second_request),
        REDIS_TEST(test_denied_second_step_gives_the_request_back),
        REDIS_TEST(test_request_given_back_after_it_left_the_window_counts_once),
        REDIS_TEST(test_optional_tokens_are_what_remains),
        REDIS_TEST(test_exhausted_tokens_deny_the_first_step),
        REDIS_TEST(test_use_above_the_reservation_is_charged),
        REDIS_TEST(test_settling_after_the_window_gives_nothing_back),
        REDIS_TEST(test_unsettled_reservation_leaves_by_itself),
        REDIS_TEST(test_clock_set_back_neither_leaks_nor_overshoots),
        REDIS_TEST(test_largest_numbers_stay_exact),
        REDIS_TEST(test_numbers_out_of_range_are_refused_before_redis),
        REDIS_TEST(test_sixty_four_threads_get_exactly_the_request_limit),
        REDIS_TEST(test_sixty_four_threads_get_exactly_the_token_limit),
        REDIS_TEST(test_random_traffic_matches_the_definition),
        REDIS_TEST(test_without_redis_nothing_passes),
    };
    return cmocka_run_group_tests_name("store/limits", tests, NULL, NULL);
}
