/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** The calls of store/limits.h one after the other, as tests want them: each waits for its answer and fails the test when there is none. */
#ifndef TESTS_UNIT_STORE_LIMITS_FIXTURE_H
#define TESTS_UNIT_STORE_LIMITS_FIXTURE_H

#include "store/limits.h"
#include "tests/unit/store/redis_fixture.h"

/* Tests that look at time bring their own: 2027-01-15 08:00:00 UTC. */
#define START_US INT64_C(1800000000000000)
#define SECOND_US INT64_C(1000000)
#define ORGANIZATION "0b0e9c5a-55a6-4cb4-a3a5-1f8f3a7a7f10"
#define KEY "abcdefghijkl"

/** "00000000000000000000000000000007"; a static buffer for each of the last eight. */
const char *lease_id(int number);

/** One scope, the key's, without limits; 10 tokens in, 20 out; lease 1; at START_US. */
struct test_request {
    struct limits_admission admission;
    struct limits_scope scopes[LIMITS_SCOPES_MAX];
};
void test_request_init(struct test_request *request);
/** Set a limit of the key's scope. */
void test_request_limit(struct test_request *request, enum limits_kind kind, int64_t limit);

/** A test's server and client; the clock of all calls stands at START_US until limits_set_test_time moves it. */
int limits_setup(void **state);
int limits_teardown(void **state);
struct redis_client *client_of(void **state);

struct limits_usage usage_of(int64_t input, int64_t cached, int64_t output);
/** 1,000 nanos a token; cached input costs nothing. */
void price_at_1000(struct test_request *request);
/** A limits_fn: counts the status, and a CANCELLED for KEY_CLOSED; the context is a struct tally. */
void keep_outcome(void *context, enum status status, const struct limits_result *result, const char *message);
/** Seconds since 1970 of midnight, by the C library. */
int64_t midnight_of(int year, int month, int day);

struct limits_result admit(struct redis_client *client, struct test_request *request);
/** As a new lease with this number. */
struct limits_result admit_as(struct redis_client *client, struct test_request *request, int lease);

/** Charge, settle, report, reap: the script's integer. */
int64_t charge(struct redis_client *client, int lease, struct limits_usage usage);
int64_t settle(struct redis_client *client, int lease, struct limits_usage usage);
int64_t report(struct redis_client *client, int lease, int answer, struct limits_usage usage);
int64_t reap(struct redis_client *client);
/** Several words in one call; what became of each. */
void tell(struct redis_client *client, const struct limits_word *words, int count, int *outcomes);
struct limits_bounds used_all(struct redis_client *client, const char *scope, const char *model);
int64_t used(struct redis_client *client, const char *scope, const char *model, enum limits_kind kind);

struct outbox_entry {
    char lease[40], request[80], key[16], workspace[40], model[136], endpoint[16], how[16];
    int64_t time_ms, began_ms, input, cached, output, nanos, requests;
};
/** All entries, oldest first; at most `most`. Returns how many there are. */
int read_outbox(struct redis_client *client, struct outbox_entry *out, int most);

#endif
