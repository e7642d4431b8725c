/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/settlements.h"

#include "tests/unit/store/limits_fixture.h"

#include <stdio.h>

enum { LEASES = 400 };

/** A client whose commands give up after 300 ms, beside the patient one of the fixture. */
static struct redis_client *hasty;

static int setup(void **state) {
    if (limits_setup(state) != 0) return -1;
    struct redis_fixture *redis = *state;
    struct redis_options options = {.address = redis->server.address, .timeout_ns = 300 * NS_PER_MS};
    struct error err;
    if (create_client(&options, &hasty, &err) != STATUS_OK || redis_client_wait(hasty, CONNECT_NS, &err) != STATUS_OK)
        return -1;
    return 0;
}

static int teardown(void **state) {
    redis_client_destroy(hasty);
    return limits_teardown(state);
}

static struct settlements *start(void) {
    struct settlements *settlements = NULL;
    struct error err;
    if (settlements_create(hasty, &settlements, &err) != STATUS_OK) fail_msg("%s", err.message);
    return settlements;
}

static void wait_for_connection(struct redis_client *client) {
    struct error err;
    if (redis_client_wait(client, CONNECT_NS, &err) != STATUS_OK) fail_msg("%s", err.message);
}

/** Until the client has noticed that its server is gone. */
static void wait_for_end_of_connection(void) {
    while (redis_client_connected(hasty)) nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
}

static void admit_leases(struct redis_client *client, int count) {
    struct test_request request;
    test_request_init(&request);
    for (int i = 0; i < count; i++) assert_int_equal(admit_as(client, &request, i).outcome, LIMITS_ADMITTED);
}

static void settle_all(struct settlements *settlements, int from, int to) {
    for (int i = from; i < to; i++) {
        struct limits_usage usage = usage_of(10, 0, i % 20);
        settlements_settle(settlements, ORGANIZATION, lease_id(i), &usage);
    }
}

static int64_t sum_of(int count) {
    int64_t sum = 0;
    for (int i = 0; i < count; i++) sum += i % 20;
    return sum;
}

/** Each lease has one entry, with what it was settled with, and nothing is held. */
static void check_settled_once(struct redis_client *client, int count) {
    static struct outbox_entry entries[2 * LEASES];
    assert_int_equal(read_outbox(client, entries, 2 * LEASES), count);
    static bool seen[LEASES];
    memset(seen, 0, sizeof seen);
    int64_t output = 0;
    for (int i = 0; i < count; i++) {
        long lease = strtol(entries[i].lease, NULL, 16);
        assert_true(lease >= 0 && lease < LEASES && !seen[lease]);
        seen[lease] = true;
        assert_string_equal(entries[i].how, "settled");
        assert_int_equal(entries[i].output, lease % 20);
        output += entries[i].output;
    }
    assert_int_equal(output, sum_of(count));
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_OUTPUT_PER_MINUTE), output);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_STREAMS), 0);
}

static void test_what_is_settled_reaches_redis(void **state) {
    struct redis_client *client = client_of(state);
    struct settlements *settlements = start();
    admit_leases(client, LEASES);
    settle_all(settlements, 0, LEASES);
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    check_settled_once(client, LEASES);
}

static void test_redis_is_killed_and_comes_back_in_the_middle(void **state) {
    struct redis_fixture *fixture = *state;
    struct settlements *settlements = start();
    admit_leases(fixture->client, LEASES);
    settle_all(settlements, 0, LEASES / 2); /* some are on their way when it dies */
    redis_server_kill(&fixture->server);
    settle_all(settlements, LEASES / 2, LEASES);
    redis_server_start(&fixture->server);
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    wait_for_connection(fixture->client);
    check_settled_once(fixture->client, LEASES);
}

static void test_redis_is_killed_again_and_again(void **state) {
    struct redis_fixture *fixture = *state;
    struct settlements *settlements = start();
    admit_leases(fixture->client, LEASES);
    for (int round = 0; round < 4; round++) {
        settle_all(settlements, round * LEASES / 4, (round + 1) * LEASES / 4);
        redis_server_kill(&fixture->server);
        redis_server_start(&fixture->server);
        wait_for_connection(hasty);
    }
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    wait_for_connection(fixture->client);
    check_settled_once(fixture->client, LEASES);
}

static void test_answers_that_come_too_late_are_asked_for_again(void **state) {
    struct redis_fixture *fixture = *state;
    struct settlements *settlements = start();
    admit_leases(fixture->client, LEASES);
    redis_server_freeze(&fixture->server); /* it will run what it was sent, and whoever sent it will not hear of it */
    settle_all(settlements, 0, LEASES);
    struct timespec beyond_the_deadline = {.tv_nsec = 600 * NS_PER_MS};
    nanosleep(&beyond_the_deadline, NULL);
    redis_server_thaw(&fixture->server);
    wait_for_connection(hasty);
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    check_settled_once(fixture->client, LEASES);
}

static void test_while_redis_is_away_a_lease_waits_once(void **state) {
    struct redis_fixture *fixture = *state;
    struct settlements *settlements = start();
    admit_leases(fixture->client, 2);
    redis_server_kill(&fixture->server);
    wait_for_end_of_connection();
    for (int i = 1; i <= 50; i++) {
        struct limits_usage usage = usage_of(10, 0, i % 19 + 1);
        settlements_charge(settlements, ORGANIZATION, lease_id(0), &usage);
        settlements_charge(settlements, ORGANIZATION, lease_id(1), &usage);
    }
    settle_all(settlements, 1, 2);
    assert_in_range(settlements_count(settlements).waiting, 2,
                    4); /* the first two may have come back from an attempt */
    redis_server_start(&fixture->server);
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    wait_for_connection(fixture->client);
    struct outbox_entry entry;
    assert_int_equal(read_outbox(fixture->client, &entry, 1), 1);
    assert_int_equal(entry.output, 19); /* never less than was said before */
    assert_int_equal(used(fixture->client, "k:" KEY, NULL, LIMITS_STREAMS), 1);
    assert_int_equal(settle(fixture->client, 0, usage_of(10, 0, 0)), 1);
    struct outbox_entry entries[2];
    assert_int_equal(read_outbox(fixture->client, entries, 2), 2);
    assert_int_equal(entries[1].output, 19);
}

static void test_what_has_no_room_is_counted(void **state) {
    struct redis_fixture *fixture = *state;
    struct settlements *settlements = start();
    redis_server_kill(&fixture->server);
    wait_for_end_of_connection();
    struct limits_usage usage = usage_of(10, 0, 1);
    for (int i = 0; i < SETTLEMENTS_CHARGES_MAX + 7; i++)
        settlements_charge(settlements, ORGANIZATION, lease_id(i), &usage);
    assert_int_equal(settlements_count(settlements).dropped, 7);
    for (int i = 0; i < SETTLEMENTS_MAX - SETTLEMENTS_CHARGES_MAX + 5; i++)
        settlements_settle(settlements, ORGANIZATION, lease_id(1000000 + i), &usage);
    struct settlements_counts counts = settlements_count(settlements);
    assert_int_equal(counts.dropped, 12);
    assert_int_equal(counts.waiting, SETTLEMENTS_MAX);
    settlements_settle(settlements, ORGANIZATION, lease_id(SETTLEMENTS_CHARGES_MAX - 1),
                       &usage); /* takes its charge's place */
    assert_int_equal(settlements_count(settlements).dropped, 12);
    assert_int_equal(settlements_destroy(settlements, 10 * NS_PER_MS), SETTLEMENTS_MAX);
}

static void record_all(struct settlements *settlements, int from, int to) {
    for (int i = from; i < to; i++) {
        struct test_request request;
        test_request_init(&request);
        request.admission.lease = lease_id(i);
        request.admission.scopes = request.scopes;
        struct limits_usage usage = usage_of(10, 0, i % 20);
        settlements_record(settlements, &request.admission, &usage);
    }
}

static void test_what_passed_while_redis_was_away_is_recorded_once(void **state) {
    struct redis_fixture *fixture = *state;
    struct settlements *settlements = start();
    redis_server_kill(&fixture->server);
    record_all(settlements, 0, LEASES / 4);
    for (int round = 1; round < 4; round++) {
        redis_server_start(&fixture->server);
        wait_for_connection(hasty);
        record_all(settlements, round * LEASES / 4, (round + 1) * LEASES / 4);
        if (round == 3) break;
        redis_server_kill(&fixture->server);
    }
    redis_server_freeze(&fixture->server); /* what is under way runs, and nobody hears of it */
    struct timespec beyond_the_deadline = {.tv_nsec = 600 * NS_PER_MS};
    nanosleep(&beyond_the_deadline, NULL);
    redis_server_thaw(&fixture->server);
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    wait_for_connection(fixture->client);
    check_settled_once(fixture->client, LEASES);
}

struct kept {
    struct tally *tally;
    struct limits_result *result;
};

static void keep_result(void *context, enum status status, const struct limits_result *result, const char *message) {
    struct kept *kept = context;
    if (result != NULL) *kept->result = *result;
    tally_count(kept->tally, status, NULL, message);
}

/** FCALLs that the server has run. */
static int64_t calls_of_functions(struct redis_client *client) {
    struct redis_reply *reply = NULL;
    struct error err;
    if (redis_callf(client, &reply, &err, "INFO commandstats") != STATUS_OK) fail_msg("%s", err.message);
    const char *found = strstr((const char *)reply->string.data, "cmdstat_fcall:calls=");
    int64_t calls = found != NULL ? strtoll(found + strlen("cmdstat_fcall:calls="), NULL, 10) : 0;
    redis_reply_free(reply);
    return calls;
}

static void keep_status(void *context, enum status status, const struct limits_result *result, const char *message) {
    (void)result;
    tally_count(context, status, NULL, message);
}

static void test_what_was_recorded_is_not_admitted_again(void **state) {
    struct redis_client *client = client_of(state);
    struct settlements *settlements = start();
    record_all(settlements, 1, 2);
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    struct test_request request;
    test_request_init(&request);
    request.admission.lease = lease_id(1);
    request.admission.scopes = request.scopes;
    request.admission.late = true;
    struct tally tally = TALLY_INIT;
    limits_admit(client, &request.admission, keep_status, &tally); /* as if its settlement's answer had been lost */
    tally_wait(&tally, 1);
    assert_int_equal(tally.by_status[STATUS_FAILED_PRECONDITION], 1);
    struct limits_usage usage = usage_of(10, 0, 1);
    usage.provisional = true;
    assert_int_equal(settle(client, 1, usage), 2);
    assert_int_equal(read_outbox(client, NULL, 0), 1);
}

/** A Redis that has lost its functions and has no room for them, as one that failed over to a read-only replica, is one that is away. */
static void test_a_redis_that_takes_no_functions_is_waited_for(void **state) {
    struct redis_client *client = client_of(state);
    struct error err;
    admit_leases(client, LEASES / 4);
    if (redis_callf(client, NULL, &err, "FUNCTION FLUSH SYNC") != STATUS_OK ||
        redis_callf(client, NULL, &err, "CONFIG SET maxmemory 1") != STATUS_OK)
        fail_msg("%s", err.message);
    struct settlements *settlements = start();
    settle_all(settlements, 0, LEASES / 4);
    struct settlements_counts counts = settlements_count(settlements);
    while (counts.repeated == 0 && counts.refused == 0) {
        nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
        counts = settlements_count(settlements);
    }
    assert_int_equal(counts.refused, 0);
    if (redis_callf(client, NULL, &err, "CONFIG SET maxmemory 0") != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    check_settled_once(client, LEASES / 4);
}

/** A worker whose link broke may be heard before the gateway: the request counts all the same, with what the worker knows better. */
static void test_what_is_recorded_behind_its_reports_counts(void **state) {
    struct redis_client *client = client_of(state);
    struct settlements *settlements = start();
    struct limits_usage reported = usage_of(10, 0, 7), seen = usage_of(10, 0, 5);
    struct test_request request;
    struct outbox_entry entry;
    for (int answer = 1; answer >= 0; answer--)
        settlements_report(settlements, ORGANIZATION, lease_id(1), answer, &reported);
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    assert_int_equal(read_outbox(client, NULL, 0), 0);
    test_request_init(&request);
    request.admission.lease = lease_id(1);
    request.admission.scopes = request.scopes;
    request.admission.answers = 2;
    settlements = start();
    settlements_record(settlements, &request.admission, &seen);
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    assert_int_equal(read_outbox(client, &entry, 1), 1);
    assert_int_equal(entry.output, 14);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_OUTPUT_PER_MINUTE), 14);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_MINUTE), 1);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_STREAMS), 0);
    settlements = start(); /* both of them once more change nothing */
    settlements_report(settlements, ORGANIZATION, lease_id(1), 0, &reported);
    settlements_record(settlements, &request.admission, &seen);
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    assert_int_equal(read_outbox(client, NULL, 0), 1);
    /* An admission that is only late on its way must not take them. */
    settlements = start();
    settlements_report(settlements, ORGANIZATION, lease_id(2), 0, &reported);
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    request.admission.lease = lease_id(2);
    struct tally tally = TALLY_INIT;
    limits_admit(client, &request.admission, keep_status, &tally);
    tally_wait(&tally, 1);
    assert_int_equal(tally.by_status[STATUS_FAILED_PRECONDITION], 1);
    assert_int_equal(read_outbox(client, NULL, 0), 1);
}

static struct limits_result admit_through(struct settlements *settlements, struct test_request *request, int lease) {
    struct tally tally = TALLY_INIT;
    struct limits_result result = {0};
    struct kept kept = {&tally, &result};
    request->admission.lease = lease_id(lease);
    request->admission.scopes = request->scopes;
    settlements_admit(settlements, &request->admission, keep_result, &kept);
    tally_wait(&tally, 1);
    assert_int_equal(tally.by_status[STATUS_OK], 1);
    return result;
}

/** Whoever comes next, here, finds the room that a settlement makes, though that has not been sent yet. */
static void test_an_admission_takes_settlements_along(void **state) {
    struct redis_client *client = client_of(state);
    struct settlements *settlements = start();
    struct test_request request;
    struct limits_usage usage = usage_of(10, 0, 1);
    test_request_init(&request);
    test_request_limit(&request, LIMITS_STREAMS, 1);
    request.admission.scopes = request.scopes;
    for (int i = 1; i <= 200; i++) {
        assert_int_equal(admit_through(settlements, &request, i).outcome, LIMITS_ADMITTED);
        settlements_settle(settlements, ORGANIZATION, lease_id(i), &usage);
    }
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    assert_int_equal(read_outbox(client, NULL, 0), 200);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_STREAMS), 0);
}

/** Nobody waits for an admission ahead, so it does as well. */
static void test_an_admission_ahead_takes_settlements_along(void **state) {
    struct redis_client *client = client_of(state);
    struct settlements *settlements = start();
    struct test_request request;
    struct limits_usage usage = usage_of(10, 0, 1);
    test_request_init(&request);
    request.admission.estimate = request.admission.ahead = true;
    for (int i = 1; i <= 200; i++) {
        assert_int_equal(admit_through(settlements, &request, i).outcome, LIMITS_ADMITTED);
        assert_int_equal(read_outbox(client, NULL, 0), i - 1);
        settlements_settle(settlements, ORGANIZATION, lease_id(i), &usage);
    }
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    assert_int_equal(read_outbox(client, NULL, 0), 200);
}

/** Also whoever comes next at another process, to whom nothing is carried: what is settled now does not wait, though others have just been gathered; and
 *  where Redis takes the admission first, it is asked again. */
static void test_what_is_settled_now_makes_room_everywhere(void **state) {
    struct redis_client *client = client_of(state);
    struct settlements *settlements = start(), *of_another = NULL;
    struct limits_usage usage = usage_of(10, 0, 1);
    struct test_request request;
    struct error err;
    if (settlements_create(client, &of_another, &err) != STATUS_OK) fail_msg("%s", err.message);
    test_request_init(&request);
    test_request_limit(&request, LIMITS_STREAMS, 2);
    assert_int_equal(admit_as(client, &request, LEASES).outcome, LIMITS_ADMITTED);
    for (int i = 0; i < LEASES; i++) {
        assert_int_equal(admit_through(of_another, &request, i).outcome, LIMITS_ADMITTED);
        settlements_charge(settlements, ORGANIZATION, lease_id(LEASES), &usage);
        if (i % 2 == 1) settlements_charge(settlements, ORGANIZATION, lease_id(i), &usage); /* which it then replaces */
        settlements_settle_now(settlements, ORGANIZATION, lease_id(i), &usage);
    }
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    assert_int_equal(settlements_destroy(of_another, PATIENT_NS), 0);
    assert_int_equal(read_outbox(client, NULL, 0), LEASES);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_STREAMS), 1);
}

/** Who is denied by what nobody can give back is denied by the first look. */
static void test_a_denial_is_looked_at_again_only_where_that_may_help(void **state) {
    struct redis_client *client = client_of(state);
    for (enum limits_kind kind = 0; kind < LIMITS_KINDS; kind++) {
        bool gets_back = kind != LIMITS_REQUESTS_PER_SECOND && kind != LIMITS_REQUESTS_PER_MINUTE;
        struct settlements *settlements = start();
        struct test_request request;
        test_request_init(&request);
        price_at_1000(&request);
        snprintf(request.scopes[0].name, sizeof request.scopes[0].name, "k:kind%d", (int)kind);
        test_request_limit(&request, kind, kind == LIMITS_SPEND_PER_MONTH ? 30000 : 30);
        for (int i = 0; i < 30 && admit_as(client, &request, 100 * (kind + 1) + i).outcome == LIMITS_ADMITTED; i++) {
        }
        int64_t before = calls_of_functions(client);
        struct limits_result result = admit_through(settlements, &request, 99);
        assert_int_equal(result.outcome, LIMITS_DENIED);
        assert_int_equal(result.denied_by, kind);
        assert_int_equal(calls_of_functions(client) - before, gets_back ? 2 : 1);
        assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    }
}

/** Redis is killed under admissions that have taken settlements along. */
static void test_what_was_taken_along_is_not_lost(void **state) {
    struct redis_fixture *fixture = *state;
    struct settlements *settlements = start();
    struct test_request request;
    struct tally tally = TALLY_INIT;
    int admissions = 0;
    test_request_init(&request);
    request.admission.scopes = request.scopes;
    admit_leases(fixture->client, LEASES);
    for (int i = 0; i < LEASES; i++) {
        settle_all(settlements, i, i + 1);
        request.admission.lease = lease_id(LEASES + i);
        request.admission.peek = true;
        if (i % 3 == 0) settlements_admit(settlements, &request.admission, keep_status, &tally), admissions++;
        if (i % (LEASES / 3) == LEASES / 4) {
            redis_server_kill(&fixture->server);
            redis_server_start(&fixture->server);
            wait_for_connection(hasty);
        }
    }
    tally_wait(&tally, admissions);
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    wait_for_connection(fixture->client);
    check_settled_once(fixture->client, LEASES);
}

/** What makes no sense takes nothing with it that does. */
static void test_one_that_is_refused_takes_no_others_with_it(void **state) {
    struct redis_client *client = client_of(state);
    struct error err;
    admit_leases(client, LEASES / 4);
    if (redis_callf(client, NULL, &err, "HSET bora:leases:{%s} %s nonsense", ORGANIZATION, lease_id(LEASES / 4)) !=
        STATUS_OK)
        fail_msg("%s", err.message);
    struct settlements *settlements = start();
    settle_all(settlements, 0, LEASES / 4 + 1);
    while (settlements_count(settlements).waiting > 0) nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
    assert_int_equal(settlements_count(settlements).refused, 1);
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    check_settled_once(client, LEASES / 4);
}

/** Few calls for many settlements; none of them waits for long. */
static void test_settlements_are_gathered(void **state) {
    struct redis_client *client = client_of(state);
    struct settlements *settlements = start();
    admit_leases(client, LEASES);
    int64_t before = calls_of_functions(client), start_ns = clock_monotonic_ns(clock_system());
    settle_all(settlements, 0, LEASES);
    while (settlements_count(settlements).waiting > 0) nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
    int64_t took_ns = clock_monotonic_ns(clock_system()) - start_ns;
    int64_t calls = calls_of_functions(client) - before;
    /* As many as are full, and one for each rest that was left for 5 ms. */
    assert_in_range(calls, LEASES / LIMITS_WORDS_MAX, LEASES / LIMITS_WORDS_MAX + 2 + took_ns / (5 * NS_PER_MS));
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    check_settled_once(client, LEASES);
}

/** What Redis refuses to admit is lost, which is said: only what was settled before is settled again. */
static void test_a_record_that_is_refused_is_counted(void **state) {
    struct redis_client *client = client_of(state);
    struct settlements *settlements = start();
    struct limits_usage usage = usage_of(10, 0, 1);
    struct test_request request;
    struct error err;
    test_request_init(&request);
    test_request_limit(&request, LIMITS_REQUESTS_PER_SECOND, 100);
    request.admission.lease = lease_id(1);
    request.admission.scopes = request.scopes;
    if (redis_callf(client, NULL, &err, "SET bora:rps:{%s}:k:%s of-another-type", ORGANIZATION, KEY) != STATUS_OK)
        fail_msg("%s", err.message);
    settlements_record(settlements, &request.admission, &usage);
    while (settlements_count(settlements).waiting > 0) nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
    assert_int_equal(settlements_count(settlements).refused, 1);
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    assert_int_equal(call_integer(client, "EXISTS bora:settled:{" ORGANIZATION "}:%s", lease_id(1)), 0);
}

static void test_mistakes_are_not_repeated_for_ever(void **state) {
    (void)state;
    struct settlements *settlements = start();
    struct limits_usage usage = usage_of(10, 0, 1);
    settlements_settle(settlements, ORGANIZATION, "short", &usage);
    settlements_report(settlements, ORGANIZATION, lease_id(1), LIMITS_ANSWERS_MAX, &usage);
    assert_int_equal(settlements_count(settlements).refused, 2);
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
}

struct member {
    struct settlements *settlements;
    int from, to;
};

static void *settle_some(void *argument) {
    struct member *member = argument;
    for (int i = member->from; i < member->to; i++) {
        struct limits_usage half = usage_of(10, 0, i % 20 / 2), all = usage_of(10, 0, i % 20);
        settlements_charge(member->settlements, ORGANIZATION, lease_id(i), &half);
        if (i % 2)
            settlements_settle(member->settlements, ORGANIZATION, lease_id(i), &all);
        else
            settlements_report(member->settlements, ORGANIZATION, lease_id(i), 0, &all);
    }
    return NULL;
}

/** Requests that passed without Redis are taken when it is back, beyond the limit too, and once, also where the admission had run after all. */
static void test_what_passed_without_redis_is_recorded_once(void **state) {
    struct redis_fixture *fixture = *state;
    struct settlements *settlements = start();
    struct test_request request;
    test_request_init(&request);
    test_request_limit(&request, LIMITS_REQUESTS_PER_MINUTE, 3);
    assert_int_equal(admit_as(fixture->client, &request, 0).outcome, LIMITS_ADMITTED); /* whose answer was lost */
    redis_server_kill(&fixture->server);
    wait_for_end_of_connection();
    for (int i = 0; i < LEASES / 4; i++) {
        struct limits_usage usage = usage_of(10, 0, i % 20);
        request.admission.lease = lease_id(i);
        settlements_record(settlements, &request.admission, &usage);
    }
    redis_server_start(&fixture->server);
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    wait_for_connection(fixture->client);
    check_settled_once(fixture->client, LEASES / 4);
    assert_int_equal(used(fixture->client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_MINUTE), LEASES / 4);
    assert_int_equal(admit_as(fixture->client, &request, LEASES).outcome, LIMITS_DENIED);

    /* Told again it changes nothing, by whomever; a better word adds its difference, and no request. */
    request.admission.lease = lease_id(0);
    for (int more = 0; more < 2; more++) {
        struct settlements *later = start();
        struct limits_usage usage = usage_of(10, 0, more);
        settlements_record(later, &request.admission, &usage);
        assert_int_equal(settlements_destroy(later, PATIENT_NS), 0);
        if (more == 0) check_settled_once(fixture->client, LEASES / 4);
    }
    static struct outbox_entry entries[LEASES];
    assert_int_equal(read_outbox(fixture->client, entries, LEASES), LEASES / 4 + 1);
    const struct outbox_entry *last = &entries[LEASES / 4];
    assert_string_equal(last->how, "correction");
    assert_int_equal(last->requests, 0);
    assert_int_equal(last->output, 1);
    assert_int_equal(used(fixture->client, "k:" KEY, NULL, LIMITS_REQUESTS_PER_MINUTE), LEASES / 4);
}

static void test_many_threads_while_redis_restarts(void **state) {
    struct redis_fixture *fixture = *state;
    struct settlements *settlements = start();
    admit_leases(fixture->client, LEASES);
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    struct member members[THREADS];
    for (int i = 0; i < THREADS; i++) {
        members[i] = (struct member){settlements, i * LEASES / THREADS, (i + 1) * LEASES / THREADS};
        pthread_create(&threads[i], NULL, settle_some, &members[i]);
    }
    redis_server_kill(&fixture->server);
    redis_server_start(&fixture->server);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    assert_int_equal(settlements_destroy(settlements, PATIENT_NS), 0);
    wait_for_connection(fixture->client);
    check_settled_once(fixture->client, LEASES);
}

int main(void) {
#define REDIS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        REDIS_TEST(test_what_is_settled_reaches_redis),
        REDIS_TEST(test_redis_is_killed_and_comes_back_in_the_middle),
        REDIS_TEST(test_redis_is_killed_again_and_again),
        REDIS_TEST(test_answers_that_come_too_late_are_asked_for_again),
        REDIS_TEST(test_while_redis_is_away_a_lease_waits_once),
        REDIS_TEST(test_what_has_no_room_is_counted),
        REDIS_TEST(test_what_passed_while_redis_was_away_is_recorded_once),
        REDIS_TEST(test_what_was_recorded_is_not_admitted_again),
        REDIS_TEST(test_a_redis_that_takes_no_functions_is_waited_for),
        REDIS_TEST(test_what_is_recorded_behind_its_reports_counts),
        REDIS_TEST(test_an_admission_takes_settlements_along),
        REDIS_TEST(test_an_admission_ahead_takes_settlements_along),
        REDIS_TEST(test_what_is_settled_now_makes_room_everywhere),
        REDIS_TEST(test_a_denial_is_looked_at_again_only_where_that_may_help),
        REDIS_TEST(test_what_was_taken_along_is_not_lost),
        REDIS_TEST(test_one_that_is_refused_takes_no_others_with_it),
        REDIS_TEST(test_settlements_are_gathered),
        REDIS_TEST(test_a_record_that_is_refused_is_counted),
        REDIS_TEST(test_mistakes_are_not_repeated_for_ever),
        REDIS_TEST(test_what_passed_without_redis_is_recorded_once),
        REDIS_TEST(test_many_threads_while_redis_restarts),
    };
    return cmocka_run_group_tests_name("store/settlements", tests, NULL, NULL);
}
