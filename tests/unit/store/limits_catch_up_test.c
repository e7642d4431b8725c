/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A scope that is limited late: does it count everything that was used before, wherever that is now, and nothing twice? */
#include "tests/unit/store/limits_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_US (86400 * SECOND_US)
#define OTHER_KEY "bcdefghijklm"
#define EPOCH "0123456789abcdef"

struct caught_up {
    struct tally tally;
    bool complete;
    int64_t oldest_ms;
};

static void keep_caught_up(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct caught_up *caught_up = context;
    if (status == STATUS_OK && !limits_read_caught_up(reply, &caught_up->complete, &caught_up->oldest_ms))
        status = STATUS_DATA_LOSS;
    tally_count(&caught_up->tally, status, reply, message);
}

/** The ledger stands at `position` and has that much of today. */
static struct caught_up catch_up_at(struct redis_client *client, const char *epoch, const char *position, int64_t day,
                                    const struct limits_past *scopes, int count) {
    struct caught_up caught_up = {.tally = TALLY_INIT};
    const struct limits_ledger ledger = {ORGANIZATION, epoch, position, day};
    limits_catch_up(client, &ledger, scopes, count, keep_caught_up, &caught_up);
    tally_wait(&caught_up.tally, 1);
    if (caught_up.tally.by_status[STATUS_OK] != 1) fail_msg("%s", caught_up.tally.message);
    return caught_up;
}

static struct caught_up catch_up(struct redis_client *client, const char *position, int64_t tokens) {
    struct limits_past scopes[] = {
        {"k:" KEY, NULL, tokens, tokens, tokens}, {"k:" KEY, "small", tokens, tokens, tokens}, {.scope = "o"}};
    return catch_up_at(client, EPOCH, position, START_US / DAY_US, scopes, 3);
}

static void set_epoch(struct redis_client *client) {
    struct error err = {0};
    assert_int_equal(redis_callf(client, NULL, &err, "SET bora:outbox-epoch:{" ORGANIZATION "} " EPOCH), STATUS_OK);
}

/** The id of the outbox' last entry. */
static void last_id(struct redis_client *client, char out[48]) {
    struct redis_reply *reply = NULL;
    struct error err = {0};
    assert_int_equal(redis_callf(client, &reply, &err, "XREVRANGE bora:outbox:{" ORGANIZATION "} + - COUNT 1"),
                     STATUS_OK);
    snprintf(out, 48, "%s", (const char *)reply->items[0].items[0].string.data);
    redis_reply_free(reply);
}

static int64_t month(struct redis_client *client, const char *scope, const char *model) {
    int64_t tokens = used(client, scope, model, LIMITS_TOKENS_PER_MONTH);
    assert_int_equal(used(client, scope, model, LIMITS_TOKENS_PER_DAY), tokens);
    return tokens;
}

/** Two answers without a limit: one is settled, 10 and 5, one runs and has 10 and 7. At 1,000 nanos a token. */
static void use_some(struct redis_client *client) {
    struct test_request request;
    test_request_init(&request);
    price_at_1000(&request);
    request.admission.scope_count = 0;
    admit_as(client, &request, 1);
    admit_as(client, &request, 2);
    settle(client, 1, usage_of(10, 0, 5));
    charge(client, 2, usage_of(10, 0, 7));
}

static void test_what_is_on_its_way_to_the_ledger_counts(void **state) {
    struct redis_client *client = client_of(state);
    struct error err;
    set_epoch(client);
    use_some(client);
    if (redis_callf(client, NULL, &err, "HSET bora:leases:{" ORGANIZATION "} unreadable nonsense") != STATUS_OK)
        fail_msg("%s", err.message);
    struct caught_up caught_up = catch_up(client, "0-0", 100);
    assert_true(caught_up.complete);
    assert_int_equal(caught_up.oldest_ms, START_US / 1000);
    assert_int_equal(month(client, "k:" KEY, NULL), 100 + 15 + 17);
    assert_int_equal(month(client, "k:" KEY, "small"), 100 + 15 + 17);
    assert_int_equal(month(client, "o", NULL), 15 + 17);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_SPEND_PER_MONTH), 100 + 32 * 1000);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_STREAMS), 0);
}

static void test_again_adds_nothing_twice(void **state) {
    struct redis_client *client = client_of(state);
    char id[48];
    set_epoch(client);
    use_some(client);
    catch_up(client, "0-0", 100);
    catch_up(client, "0-0", 100);
    assert_int_equal(month(client, "k:" KEY, NULL), 132);
    last_id(client, id); /* the first answer has come into the ledger */
    catch_up(client, id, 115);
    assert_int_equal(month(client, "k:" KEY, NULL), 132);
    charge(client, 2, usage_of(10, 0, 11));
    catch_up(client, id, 115);
    assert_int_equal(month(client, "k:" KEY, NULL), 136);
    settle(client, 2, usage_of(10, 0, 12));
    last_id(client, id);
    assert_int_equal(catch_up(client, id, 137).oldest_ms, 0);
    assert_int_equal(month(client, "k:" KEY, NULL), 137);
}

/** Beside answers that began without the limit there are those that charge the scope themselves. */
static void test_what_the_scope_counts_itself_is_not_added(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    set_epoch(client);
    use_some(client);
    test_request_init(&request);
    test_request_limit(&request, LIMITS_TOKENS_PER_MONTH, 1000000);
    price_at_1000(&request);
    admit_as(client, &request, 3);
    admit_as(client, &request, 4);
    settle(client, 3, usage_of(10, 0, 20));
    charge(client, 4, usage_of(10, 0, 20));
    assert_int_equal(month(client, "k:" KEY, NULL), 60);
    catch_up(client, "0-0", 0);
    assert_int_equal(month(client, "k:" KEY, NULL), 60 + 32);
    settle(client, 4, usage_of(10, 0, 20));
    catch_up(client, "0-0", 0);
    assert_int_equal(month(client, "k:" KEY, NULL), 60 + 32);
}

static void test_only_what_is_the_scopes(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    set_epoch(client);
    use_some(client);
    test_request_init(&request);
    request.admission.scope_count = 0;
    request.admission.subject.key = OTHER_KEY;
    request.admission.subject.model = "large";
    admit_as(client, &request, 5);
    settle(client, 5, usage_of(10, 0, 1));
    request.admission.subject.workspace = "other";
    admit_as(client, &request, 6);
    struct limits_past scopes[] = {{.scope = "k:" OTHER_KEY},
                                   {.scope = "w:main"},
                                   {.scope = "w:main", .model_or_null = "small"},
                                   {.scope = "w:main", .model_or_null = "large"},
                                   {.scope = "w:other"},
                                   {.scope = "o"}};
    catch_up_at(client, EPOCH, "0-0", START_US / DAY_US, scopes, 6);
    assert_int_equal(month(client, "k:" OTHER_KEY, NULL), 21);
    assert_int_equal(month(client, "w:main", NULL), 43);
    assert_int_equal(month(client, "w:main", "small"), 32);
    assert_int_equal(month(client, "w:main", "large"), 11);
    assert_int_equal(month(client, "w:other", NULL), 10);
    assert_int_equal(month(client, "o", NULL), 53);
}

/** The ledger's sums of yesterday are none of today's, but may be of this month. */
/** An estimate that runs counts where it was charged, from which the rest is taken back; elsewhere what it came to counts when that is known. */
static void test_estimates_count_where_they_were_charged(void **state) {
    struct redis_client *client = client_of(state);
    struct test_request request;
    set_epoch(client);
    test_request_init(&request);
    price_at_1000(&request);
    request.admission.estimate = true;
    request.admission.input = 100;
    admit_as(client, &request, 1);
    catch_up(client, "0-0", 50);
    settle(client, 1, usage_of(7, 0, 5));
    assert_int_equal(month(client, "k:" KEY, NULL), 50 + 12);
    assert_int_equal(used(client, "k:" KEY, NULL, LIMITS_SPEND_PER_MONTH), 50 + 12000);
    assert_int_equal(month(client, "o", NULL), 0);
    catch_up(client, "0-0", 50);
    assert_int_equal(month(client, "k:" KEY, NULL), 50 + 12);
    assert_int_equal(month(client, "o", NULL), 12);
}

static void test_sums_of_another_day(void **state) {
    struct redis_client *client = client_of(state);
    struct limits_past scopes[] = {{"o", NULL, 5, 70, 9}};
    set_epoch(client);
    assert_false(catch_up_at(client, EPOCH, "0-0", START_US / DAY_US - 1, scopes, 1).complete);
    assert_int_equal(used(client, "o", NULL, LIMITS_TOKENS_PER_DAY), 0);
    assert_int_equal(used(client, "o", NULL, LIMITS_TOKENS_PER_MONTH), 70);
    scopes[0].month_tokens = 1000;
    assert_false(catch_up_at(client, EPOCH, "0-0", START_US / DAY_US - 40, scopes, 1).complete);
    assert_int_equal(used(client, "o", NULL, LIMITS_TOKENS_PER_MONTH), 70);
}

static void test_of_an_outbox_that_is_another_one_nothing_is_added(void **state) {
    struct redis_client *client = client_of(state);
    struct limits_past scopes[] = {{"o", NULL, 5, 5, 5}};
    use_some(client);
    set_epoch(client);
    assert_false(catch_up_at(client, "fedcba9876543210", "0-0", START_US / DAY_US, scopes, 1).complete);
    assert_int_equal(month(client, "o", NULL), 5);
}

static void test_an_outbox_that_nobody_has_looked_at(void **state) {
    struct redis_client *client = client_of(state);
    struct limits_past scopes[] = {{"o", NULL, 0, 0, 0}};
    use_some(client);
    assert_true(catch_up_at(client, "", "0-0", START_US / DAY_US, scopes, 1).complete);
    assert_int_equal(month(client, "o", NULL), 32);
}

struct oldest {
    struct tally tally;
    char cursor[LIMITS_CURSOR_BYTES + 1];
    int64_t ms;
    int pieces;
};

static void keep_oldest(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct oldest *oldest = context;
    int64_t ms = 0;
    if (status == STATUS_OK && !limits_read_oldest_lease(reply, oldest->cursor, &ms)) status = STATUS_DATA_LOSS;
    if (ms != 0 && (oldest->ms == 0 || ms < oldest->ms)) oldest->ms = ms;
    oldest->pieces++;
    tally_count(&oldest->tally, status, reply, message);
}

static struct oldest look_at_leases(struct redis_client *client) {
    struct oldest oldest = {.tally = TALLY_INIT, .cursor = "0"};
    do {
        char cursor[sizeof oldest.cursor];
        int wanted = oldest.pieces + 1;
        memcpy(cursor, oldest.cursor, sizeof cursor);
        limits_oldest_lease(client, ORGANIZATION, cursor, keep_oldest, &oldest);
        tally_wait(&oldest.tally, wanted);
        if (oldest.tally.by_status[STATUS_OK] != oldest.pieces) fail_msg("%s", oldest.tally.message);
    } while (strcmp(oldest.cursor, "0") != 0);
    return oldest;
}

/** Thousands run always: that one of them began before is seen, wherever it is, and that none did any more. */
static void test_thousands_of_running_answers(void **state) {
    enum { ANSWERS = 6000, OLD = 4321 };
    struct redis_client *client = client_of(state);
    struct limits_past scopes[] = {{"o", NULL, 0, 0, 0}};
    struct test_request request;
    set_epoch(client);
    assert_int_equal(look_at_leases(client).ms, 0);
    test_request_init(&request);
    request.admission.scope_count = 0;
    admit_as(client, &request, OLD);
    limits_set_test_time(START_US + 2 * SECOND_US);
    for (int i = 1; i <= ANSWERS; i++) {
        if (i != OLD) admit_as(client, &request, i);
    }
    struct oldest oldest = look_at_leases(client);
    assert_int_equal(oldest.ms, START_US / 1000);
    assert_true(oldest.pieces > 1);
    settle(client, OLD, usage_of(10, 0, 0));
    assert_int_equal(look_at_leases(client).ms, START_US / 1000 + 2000);
    struct caught_up caught_up = catch_up_at(client, EPOCH, "0-0", START_US / DAY_US, scopes, 1);
    assert_true(caught_up.complete);
    assert_int_equal(caught_up.oldest_ms, START_US / 1000); /* in the outbox now */
    int64_t tokens = month(client, "o", NULL);
    assert_true(tokens > 10 * 4000 && tokens <= 10 * ANSWERS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, limits_setup, limits_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_what_is_on_its_way_to_the_ledger_counts),
                                       TEST(test_again_adds_nothing_twice),
                                       TEST(test_what_the_scope_counts_itself_is_not_added),
                                       TEST(test_only_what_is_the_scopes),
                                       TEST(test_estimates_count_where_they_were_charged),
                                       TEST(test_sums_of_another_day),
                                       TEST(test_of_an_outbox_that_is_another_one_nothing_is_added),
                                       TEST(test_an_outbox_that_nobody_has_looked_at),
                                       TEST(test_thousands_of_running_answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
