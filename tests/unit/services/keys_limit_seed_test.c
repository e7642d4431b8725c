/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A limit that was set late: is it looked after until nothing can be missing, wherever that is at the time, and no longer? */
#include "tests/unit/services/keys_ledger_fixture.h"

#include "base/clock.h"
#include "services/keys/keys.h"
#include "services/keys/limit_seed.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define WORKSPACE "5b0c2f57-3f0c-4a4e-8a61-0d9a4f0f2c11"
#define KEY "abcdefghijkl"
#define PLACE "bora:ws:{" LEDGER_ORGANIZATION "}:" WORKSPACE
#define SEED(kind) kind " " LEDGER_ORGANIZATION " " WORKSPACE
enum { LONG_AGO_MS = 10000, PATIENT_MS = 30000 };

struct seeds {
    struct ledger_fixture *ledger;
    struct keys_service service;
};

static int64_t now_ms(void) {
    return clock_unix_ns(clock_system()) / NS_PER_MS;
}

static void ask(struct redis_client *client, const char *format, const char *word) {
    redis_reply_free(ledger_ask(client, format, word));
}

static struct seeds seeds_of(void **state) {
    struct ledger_fixture *fixture = *state;
    struct seeds seeds = {.ledger = fixture,
                          .service = {.redis = fixture->stores.redis, .limits_redis = fixture->stores.limits}};
    atomic_store(&seeds.service.readiness, KEYS_READY);
    ask(fixture->stores.redis, "HSET " PLACE " version 1 name w created_at %s", "1700000000");
    return seeds;
}

/** It was set then, and it is its turn. */
static void make_due_since(struct seeds *seeds, const char *member, int64_t since_ms) {
    char since[24];
    snprintf(since, sizeof since, "%" PRId64, since_ms);
    const struct bytes_view set[] = {bytes_view_string("HSET"), bytes_view_string("bora:{seeds}:since"),
                                     bytes_view_string(member), bytes_view_string(since)};
    struct error err = {0};
    assert_int_equal(redis_call(seeds->service.redis, set, 4, NULL, &err), STATUS_OK);
    ask(seeds->service.redis, "ZADD bora:{seeds}:due 0 %s", member);
}

/** Long enough ago that every gateway has heard of it. */
static void make_due(struct seeds *seeds, const char *member) {
    make_due_since(seeds, member, now_ms() - LONG_AGO_MS);
}

static bool is_due(struct seeds *seeds) {
    struct redis_reply *reply = ledger_ask(seeds->service.redis, "ZCARD %s", "bora:{seeds}:due");
    bool due = reply->integer > 0;
    redis_reply_free(reply);
    return due;
}

/** Its turn, now. */
static void take_turn(struct seeds *seeds, const char *member) {
    ask(seeds->service.redis, "ZADD bora:{seeds}:due XX 0 %s", member);
    limit_seeds_keep(&seeds->service);
}

/** 100 tokens, of an answer that began before the limit was set. */
static void settle(struct seeds *seeds) {
    const struct ledger_input input = {
        NULL, now_ms() - LONG_AGO_MS, "r", KEY, WORKSPACE, "small", {.requests = 1, .input = 60, .output = 40}};
    ledger_put(seeds->ledger, &input);
}

static void keep_used(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    int64_t *used = context;
    struct limits_bounds bounds;
    (void)message;
    if (status == STATUS_OK && limits_read_used(reply, &bounds)) *used = bounds.of[LIMITS_TOKENS_PER_MONTH];
}

/** Tokens of the month that a scope counts. */
static int64_t used_of(struct seeds *seeds, const char *scope, const char *model_or_null) {
    int64_t used = -1;
    limits_used(seeds->service.limits_redis, LEDGER_ORGANIZATION, scope, model_or_null, keep_used, &used);
    ask(seeds->service.limits_redis, "PING %s", "x"); /* answers come in order */
    return used;
}

/* --- where the ledger has nothing ---------------------------------------------------------------------------------- */

/** Limits for each key of a workspace that has no row in the ledger, while an answer of one of them is on its way there. */
static void test_keys_without_a_row_in_the_ledger_are_waited_for(void **state) {
    struct seeds seeds = seeds_of(state);
    ask(seeds.service.redis, "HSET " PLACE " key.tokens_per_month %s", "1000");
    make_due(&seeds, SEED("y"));
    settle(&seeds);
    take_turn(&seeds, SEED("y"));
    assert_true(is_due(&seeds));
    assert_int_equal(ledger_move_all(seeds.ledger), 1);
    take_turn(&seeds, SEED("y"));
    assert_int_equal(used_of(&seeds, "k:" KEY, NULL), 100);
    assert_false(is_due(&seeds));
}

static void test_models_without_a_row_in_the_ledger_are_waited_for(void **state) {
    struct seeds seeds = seeds_of(state);
    ask(seeds.service.redis, "HSET " PLACE " tokens_per_month:small %s", "1000");
    make_due(&seeds, SEED("w"));
    settle(&seeds);
    take_turn(&seeds, SEED("w"));
    assert_true(is_due(&seeds));
    assert_int_equal(ledger_move_all(seeds.ledger), 1);
    take_turn(&seeds, SEED("w"));
    assert_int_equal(used_of(&seeds, "w:" WORKSPACE, "small"), 100);
    assert_false(is_due(&seeds));
}

static void test_where_nothing_was_ever_used_one_look_is_enough(void **state) {
    struct seeds seeds = seeds_of(state);
    ask(seeds.service.redis, "HSET " PLACE " key.tokens_per_month %s", "1000");
    make_due(&seeds, SEED("y"));
    take_turn(&seeds, SEED("y"));
    assert_false(is_due(&seeds));
}

/* --- between two looks ---------------------------------------------------------------------------------------------- */

static void *keep(void *context) {
    struct seeds *seeds = context;
    limit_seeds_keep(&seeds->service);
    return NULL;
}

/** Until the server holds back that command of somebody's. */
static void wait_until_held(struct redis_client *client, const char *command) {
    const int64_t until = now_ms() + PATIENT_MS;
    for (bool held = false; !held;) {
        struct redis_reply *reply = ledger_ask(client, "CLIENT LIST TYPE %s", "normal");
        for (char *line = strtok((char *)reply->string.data, "\n"); line != NULL; line = strtok(NULL, "\n"))
            held = held || (strstr(line, " flags=b") != NULL && strstr(line, command) != NULL);
        redis_reply_free(reply);
        if (now_ms() > until) fail_msg("nobody waits with %s", command);
    }
}

/** What ledger_bring.lua would do with the only entry there is. */
static void bring_by_hand(struct seeds *seeds, struct redis_client *limits) {
    struct redis_reply *epoch = ledger_ask(limits, "GET bora:outbox-epoch:{%s}", LEDGER_ORGANIZATION);
    struct redis_reply *entries = ledger_ask(limits, "XRANGE bora:outbox:{%s} - +", LEDGER_ORGANIZATION);
    char sums[LEDGER_NAME_BYTES];
    struct error err = {0};
    assert_int_equal(entries->count, 1);
    ledger_sums_name(LEDGER_ORGANIZATION, 'd', now_ms() - LONG_AGO_MS, sums);
    const struct bytes_view add[] = {bytes_view_string("HSET"), bytes_view_string(sums),
                                     bytes_view_string(KEY " " WORKSPACE " small"), bytes_view_string("1 60 0 40 0")};
    const struct bytes_view move[] = {bytes_view_string("HSET"),
                                      bytes_view_string("bora:ledger-seen:{" LEDGER_ORGANIZATION "}"), epoch->string,
                                      entries->items[0].items[0].string};
    assert_int_equal(redis_call(seeds->service.redis, add, 4, NULL, &err), STATUS_OK);
    assert_int_equal(redis_call(seeds->service.redis, move, 4, NULL, &err), STATUS_OK);
    redis_reply_free(epoch);
    redis_reply_free(entries);
}

/** It leaves the outbox for the ledger after the ledger was read and before the outbox is. */
static void test_what_moves_between_two_looks_is_not_missed(void **state) {
    struct seeds seeds = seeds_of(state);
    struct ledger_fixture *fixture = *state;
    struct redis_client *trimmer = ledger_client(&fixture->limits_server),
                        *other = ledger_client(&fixture->limits_server);
    pthread_t keeper;
    ask(seeds.service.redis, "HSET " PLACE " tokens_per_month %s", "1000");
    ledger_move_all(fixture); /* makes the epoch */
    make_due(&seeds, SEED("w"));
    take_turn(&seeds, SEED("w")); /* functions are loaded */
    make_due(&seeds, SEED("w"));
    settle(&seeds);
    /* Redis goes on with what it holds back in the order in which it came. */
    ask(other, "CLIENT PAUSE 60000 %s", "WRITE");
    redis_commandf(trimmer, NULL, NULL, "XTRIM bora:outbox:{" LEDGER_ORGANIZATION "} MAXLEN 0");
    wait_until_held(other, " cmd=xtrim ");
    assert_int_equal(pthread_create(&keeper, NULL, keep, &seeds), 0);
    wait_until_held(other, " cmd=fcall ");
    bring_by_hand(&seeds, other);
    ask(other, "CLIENT %s", "UNPAUSE");
    pthread_join(keeper, NULL);
    assert_true(is_due(&seeds));
    take_turn(&seeds, SEED("w"));
    assert_int_equal(used_of(&seeds, "w:" WORKSPACE, NULL), 100);
    assert_false(is_due(&seeds));
    redis_client_destroy(trimmer);
    redis_client_destroy(other);
}

/* --- answers that run ----------------------------------------------------------------------------------------------- */

static void count_admitted(void *context, enum status status, const struct limits_result *result, const char *message) {
    atomic_int *count = context;
    if (status == STATUS_OK && result->outcome == LIMITS_ADMITTED)
        atomic_fetch_add(count, 1);
    else
        print_error("not admitted: %s\n", message);
}

static void lease_id(int number, char out[LIMITS_LEASE_ID_BYTES + 1]) {
    snprintf(out, LIMITS_LEASE_ID_BYTES + 1, "%032x", number);
}

/** Answers of 60 tokens, without a limit, that began so long ago. */
static void admit(struct seeds *seeds, int first, int count, int64_t ago_ms) {
    atomic_int admitted = 0;
    const int64_t until = now_ms() + PATIENT_MS;
    for (int i = first; i < first + count; i++) {
        char lease[LIMITS_LEASE_ID_BYTES + 1];
        lease_id(i, lease);
        const struct limits_admission admission = {
            .subject = {LEDGER_ORGANIZATION, WORKSPACE, KEY, "small", "r", "chat"},
            .lease = lease,
            .input = 60,
            .output = 40,
            .answers = 1,
            .test_time_us = (now_ms() - ago_ms) * 1000};
        limits_admit(seeds->service.limits_redis, &admission, count_admitted, &admitted);
    }
    while (atomic_load(&admitted) < count) assert_true(now_ms() < until);
}

/** One of thousands began before the limit was set. While it runs the limit is looked after, and not because of the others. */
static void test_one_old_answer_among_thousands_is_waited_for_and_no_other(void **state) {
    enum { ANSWERS = 12000, OLD = 7000 };
    struct seeds seeds = seeds_of(state);
    char lease[LIMITS_LEASE_ID_BYTES + 1];
    ask(seeds.service.redis, "HSET " PLACE " key.tokens_per_month %s", "1000");
    const int64_t began_ms = now_ms();
    admit(&seeds, OLD, 1, LONG_AGO_MS);
    admit(&seeds, 1, OLD - 1, 0);
    admit(&seeds, OLD + 1, ANSWERS - OLD, 0);
    make_due_since(&seeds, SEED("y"),
                   began_ms - 7000); /* after the old one began, and all others began when it had been heard of */
    take_turn(&seeds, SEED("y"));
    assert_true(is_due(&seeds));
    lease_id(OLD, lease);
    const struct limits_usage usage = {.input = 60, .output = 40};
    limits_settle(seeds.service.limits_redis, LEDGER_ORGANIZATION, lease, &usage, NULL, NULL);
    ask(seeds.service.limits_redis, "PING %s", "x");
    take_turn(&seeds, SEED("y"));
    assert_true(is_due(&seeds)); /* it is on its way */
    assert_int_equal(ledger_move_all(seeds.ledger), 1);
    take_turn(&seeds, SEED("y"));
    assert_false(is_due(&seeds));
    assert_true(used_of(&seeds, "k:" KEY, NULL) >= 100);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, ledger_fixture_setup, ledger_fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_keys_without_a_row_in_the_ledger_are_waited_for),
        TEST(test_models_without_a_row_in_the_ledger_are_waited_for),
        TEST(test_where_nothing_was_ever_used_one_look_is_enough),
        TEST(test_what_moves_between_two_looks_is_not_missed),
        TEST(test_one_old_answer_among_thousands_is_waited_for_and_no_other),
    };
    return cmocka_run_group_tests_name("services/keys_limit_seed", tests, NULL, NULL);
}
