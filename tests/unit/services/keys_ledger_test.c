/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The ledger against two real Redis servers: each entry once, sums to the nano, whatever is repeated, lost or malformed. */
#include "tests/unit/services/keys_ledger_fixture.h"

#include "base/metrics.h"
#include "services/keys/ledger_keeper.h"
#include "store/limits.h"

#include <string.h>
#include <time.h>

#define KEY "k7f3m9q2x1ab"
#define WORKSPACE "5d1f0c9e-0000-4000-8000-000000000001"
#define HOUR_NAME "bora:sums:{" LEDGER_ORGANIZATION "}:h:2100030114"
#define DAY_NAME "bora:sums:{" LEDGER_ORGANIZATION "}:d:21000301"
#define GROUP KEY " " WORKSPACE " small"

static struct ledger_input input_of(const char *request, struct ledger_amounts amounts) {
    return (struct ledger_input){NULL, LEDGER_TIME_MS, request, KEY, WORKSPACE, "small", amounts};
}

static void test_entries_and_sums_are_what_the_outbox_had(void **state) {
    struct ledger_fixture *fixture = *state;
    struct ledger_input first = input_of("one", (struct ledger_amounts){1, 100, 64, 20, 123456789}),
                        second = input_of("two", (struct ledger_amounts){1, 1, 0, 2, 3});
    ledger_put(fixture, &first);
    ledger_put(fixture, &second);
    assert_int_equal(ledger_move_all(fixture), 2);
    struct redis_reply *entries = ledger_ask(fixture->stores.redis, "XRANGE bora:ledger:{%s} - +", LEDGER_ORGANIZATION);
    assert_int_equal(entries->count, 2);
    assert_string_equal(entries->items[0].items[0].string.data, "4107593945678-0");
    assert_string_equal(entries->items[1].items[0].string.data, "4107593945678-1");
    assert_string_equal(ledger_field(&entries->items[0], "r"), "one");
    assert_string_equal(ledger_field(&entries->items[0], "k"), KEY);
    assert_string_equal(ledger_field(&entries->items[0], "m"), "small");
    assert_string_equal(ledger_field(&entries->items[0], "s"), "settled");
    redis_reply_free(entries);
    struct ledger_amounts both = {2, 101, 64, 22, 123456792};
    assert_amounts(ledger_sum(fixture, HOUR_NAME, GROUP), both);
    assert_amounts(ledger_sum(fixture, DAY_NAME, GROUP), both);
    assert_int_equal(ledger_length(fixture, fixture->stores.limits, "outbox"), 0);
}

static void test_an_hour_is_kept_100_days_and_a_day_five_years(void **state) {
    struct ledger_fixture *fixture = *state;

    struct ledger_input input = input_of("one", (struct ledger_amounts){1, 1, 0, 1, 1});
    input.time_ms = INT64_C(4102444800000); /* 2100-01-01 */
    ledger_put(fixture, &input);
    assert_int_equal(ledger_move_all(fixture), 1);
    struct redis_reply *hour =
        ledger_ask(fixture->stores.redis, "EXPIRETIME bora:sums:{%s}:h:2100010100", LEDGER_ORGANIZATION);
    struct redis_reply *day =
        ledger_ask(fixture->stores.redis, "EXPIRETIME bora:sums:{%s}:d:21000101", LEDGER_ORGANIZATION);
    assert_int_equal(hour->integer, 4102444800 + 101 * 86400);
    assert_int_equal(day->integer, 4102444800 + (5 * 366 + 1) * 86400);
    redis_reply_free(hour);
    redis_reply_free(day);
}

static void test_a_batch_that_another_service_brought_is_not_brought_again(void **state) {
    struct ledger_fixture *fixture = *state;
    struct ledger_position slow = {0}, fast = {0};
    struct ledger_moved moved;
    struct error err = {0};
    struct ledger_input input = input_of("one", (struct ledger_amounts){1, 5, 0, 5, 5});
    ledger_put(fixture, &input);
    for (int i = 0; i < 2; i++) /* both know where they stand */
        assert_int_equal(
            ledger_move(&fixture->stores, LEDGER_ORGANIZATION, i == 0 ? &slow : &fast, &fixture->arena, &moved, &err),
            STATUS_OK);
    struct ledger_position before = slow;
    ledger_put(fixture, &input);
    assert_int_equal(ledger_move(&fixture->stores, LEDGER_ORGANIZATION, &fast, &fixture->arena, &moved, &err),
                     STATUS_OK);
    assert_int_equal(moved.entries, 1);
    /* The slow one still believes in the old position, and the entry is still in the outbox. */
    assert_string_equal(slow.id, before.id);
    assert_int_equal(ledger_length(fixture, fixture->stores.limits, "outbox"), 1);
    assert_int_equal(ledger_move(&fixture->stores, LEDGER_ORGANIZATION, &slow, &fixture->arena, &moved, &err),
                     STATUS_OK);
    assert_int_equal(moved.entries, 0);
    assert_string_equal(slow.id, fast.id);
    assert_amounts(ledger_total(fixture), (struct ledger_amounts){2, 10, 0, 10, 10});
    assert_amounts(ledger_sum(fixture, DAY_NAME, GROUP), (struct ledger_amounts){2, 10, 0, 10, 10});
}

static void test_an_outbox_that_begins_anew_with_lower_ids_is_brought(void **state) {
    struct ledger_fixture *fixture = *state;
    struct ledger_input input = input_of("before", (struct ledger_amounts){1, 1, 0, 1, 1});
    input.id = "2000-5";
    ledger_put(fixture, &input);
    assert_int_equal(ledger_move_all(fixture), 1);
    redis_reply_free(ledger_ask(fixture->stores.limits, "FLUSHALL%s", ""));
    input.id = "1000-0"; /* the clock was set back */
    ledger_put(fixture, &input);
    assert_int_equal(ledger_move_all(fixture), 1);
    assert_int_equal(ledger_length(fixture, fixture->stores.redis, "ledger"), 2);
}

static void test_a_position_of_another_epoch_is_not_used(void **state) {
    struct ledger_fixture *fixture = *state;
    struct ledger_position position = {0};
    struct ledger_moved moved;
    struct error err = {0};
    struct ledger_input input = input_of("before", (struct ledger_amounts){1, 1, 0, 1, 1});
    input.id = "2000-5";
    ledger_put(fixture, &input);
    assert_int_equal(ledger_move(&fixture->stores, LEDGER_ORGANIZATION, &position, &fixture->arena, &moved, &err),
                     STATUS_OK);
    redis_reply_free(ledger_ask(fixture->stores.limits, "FLUSHALL%s", ""));
    input.id = "1000-0";
    ledger_put(fixture, &input);
    assert_int_equal(ledger_move(&fixture->stores, LEDGER_ORGANIZATION, &position, &fixture->arena, &moved, &err),
                     STATUS_OK);
    assert_int_equal(moved.entries, 1);
    assert_string_equal(position.id, "1000-0");
}

static void test_an_outbox_that_lost_its_end_goes_on_above_the_position(void **state) {
    struct ledger_fixture *fixture = *state;
    struct ledger_input input = input_of("before", (struct ledger_amounts){1, 1, 0, 1, 1});
    input.id = "99999999999999-7"; /* far ahead: as if the clock had been set back since */
    ledger_put(fixture, &input);
    assert_int_equal(ledger_move_all(fixture), 1);
    /* As after a power cut: the epoch is there, the stream is not. */
    redis_reply_free(ledger_ask(fixture->stores.limits, "DEL bora:outbox:{%s}", LEDGER_ORGANIZATION));
    struct ledger_position position = {0};
    struct ledger_moved moved;
    struct error err = {0};
    assert_int_equal(ledger_move(&fixture->stores, LEDGER_ORGANIZATION, &position, &fixture->arena, &moved, &err),
                     STATUS_OK);
    assert_true(moved.end_lost);
    input.id = NULL;
    ledger_put(fixture, &input);
    assert_int_equal(ledger_move_all(fixture), 1);
    assert_int_equal(ledger_length(fixture, fixture->stores.redis, "ledger"), 2);
}

static void test_ids_of_the_ledger_never_go_back(void **state) {
    struct ledger_fixture *fixture = *state;
    struct ledger_input input = input_of("late", (struct ledger_amounts){1, 1, 0, 1, 1});
    ledger_put(fixture, &input);
    input.time_ms -= 3600 * 1000;
    input.request = "early";
    ledger_put(fixture, &input);
    assert_int_equal(ledger_move_all(fixture), 2);
    struct redis_reply *entries = ledger_ask(fixture->stores.redis, "XRANGE bora:ledger:{%s} - +", LEDGER_ORGANIZATION);
    assert_string_equal(entries->items[1].items[0].string.data, "4107593945678-1");
    assert_string_equal(ledger_field(&entries->items[1], "r"), "early");
    redis_reply_free(entries);
    assert_amounts(ledger_sum(fixture, "bora:sums:{" LEDGER_ORGANIZATION "}:h:2100030113", GROUP),
                   (struct ledger_amounts){1, 1, 0, 1, 1});
}

static void test_corrections_take_away(void **state) {
    struct ledger_fixture *fixture = *state;
    struct ledger_input input = input_of("one", (struct ledger_amounts){1, 10, 0, 500, INT64_C(3000000007)}),
                        correction = input_of("one", (struct ledger_amounts){0, 0, 4, -480, INT64_C(-2999999999)});
    ledger_put(fixture, &input);
    ledger_put(fixture, &correction);
    assert_int_equal(ledger_move_all(fixture), 2);
    assert_amounts(ledger_sum(fixture, DAY_NAME, GROUP), (struct ledger_amounts){1, 10, 4, 20, 8});
}

static void test_sums_are_exact_beyond_the_53_bits_of_lua(void **state) {
    struct ledger_fixture *fixture = *state;
    int64_t expected = 0;
    const int64_t costs[] = {INT64_C(999999999999999), INT64_C(999999999999999),  INT64_C(-1),
                             INT64_C(1000000000),      INT64_C(-999999999999999), INT64_C(7)};
    for (int i = 0; i < 60; i++) {
        int64_t cost = costs[i % 6];
        struct ledger_input input = input_of("large", (struct ledger_amounts){1, 0, 0, 0, cost});
        ledger_put(fixture, &input);
        assert_int_equal(ledger_move_all(fixture), 1); /* one by one: the script adds, not the batch */
        expected += cost;
    }
    assert_true(expected > INT64_C(9007199254740992)); /* 2^53 */
    assert_int_equal(ledger_sum(fixture, DAY_NAME, GROUP).cost, expected);
    for (int i = 0; i < 12; i++) { /* and back through zero */
        struct ledger_input input = input_of("large", (struct ledger_amounts){0, 0, 0, 0, INT64_C(-999999999999998)});
        ledger_put(fixture, &input);
        assert_int_equal(ledger_move_all(fixture), 1);
        expected -= INT64_C(999999999999998);
        assert_int_equal(ledger_sum(fixture, DAY_NAME, GROUP).cost, expected);
    }
    assert_true(expected < 0);
}

static void ignore_result(void *context, enum status status, const struct limits_result *result, const char *message) {
    (void)context, (void)status, (void)result, (void)message;
}

/** Of the functions' own form, behind two of the form of earlier versions. */
static void test_what_the_limits_functions_write_is_brought(void **state) {
    struct ledger_fixture *fixture = *state;
    struct ledger_input input = input_of("old", (struct ledger_amounts){1, 1, 0, 1, 1});
    static const char lease[] = "0123456789abcdef0123456789abcdef";
    const struct limits_admission admission = {
        .subject = {LEDGER_ORGANIZATION, WORKSPACE, KEY, "small", "new", "chat"},
        .lease = lease,
        .price = {1000000000, 0, 1000000000},
        .input = 10,
        .output = 20,
        .answers = 1,
    };
    const struct limits_usage usage = {.input = 10, .cached_input = 4, .output = 7, .provisional = true},
                              better = {.input = 10, .cached_input = 4, .output = 6};
    ledger_put(fixture, &input);
    ledger_put(fixture, &input);
    limits_set_test_time(LEDGER_TIME_MS * 1000);
    limits_admit(fixture->stores.limits, &admission, ignore_result, NULL);
    limits_settle(fixture->stores.limits, LEDGER_ORGANIZATION, lease, &usage, NULL, NULL);
    limits_settle(fixture->stores.limits, LEDGER_ORGANIZATION, lease, &better, NULL, NULL);
    limits_report(fixture->stores.limits, LEDGER_ORGANIZATION, lease, 0, &usage, NULL, NULL);
    redis_reply_free(
        ledger_ask(fixture->stores.limits, "PING %s", "")); /* until all have been sent with their library */
    limits_set_test_time(0);
    assert_int_equal(ledger_move_all(fixture), 3);
    struct redis_reply *entries = ledger_ask(fixture->stores.redis, "XRANGE bora:ledger:{%s} - +", LEDGER_ORGANIZATION);
    const struct redis_reply *entry = &entries->items[2];
    static const char *const fields[][2] = {
        {"t", "4107593945678"},
        {"b", "4107593945678"},
        {"r", "new"},
        {"l", lease},
        {"k", KEY},
        {"w", WORKSPACE},
        {"m", "small"},
        {"e", "chat"},
        {"i", "10"},
        {"c", "4"},
        {"o", "7"},
        {"n", "13000"},
        {"s", "settled"},
        {"q", "1"},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        assert_string_equal(ledger_field(entry, fields[i][0]), fields[i][1]);
    redis_reply_free(entries);
    assert_amounts(ledger_sum(fixture, DAY_NAME, GROUP), (struct ledger_amounts){3, 12, 4, 9, 13002});
}

static void test_a_packed_entry_that_is_cut_off_is_unreadable(void **state) {
    struct ledger_fixture *fixture = *state;
    redis_reply_free(ledger_ask(fixture->stores.limits, "XADD bora:outbox:{%s} * p short", LEDGER_ORGANIZATION));
    assert_int_equal(ledger_move_all(fixture), 0);
    assert_int_equal(ledger_length(fixture, fixture->stores.redis, "ledger-unreadable"), 1);
}

static void test_an_unreadable_entry_is_set_aside_and_holds_nobody_up(void **state) {
    struct ledger_fixture *fixture = *state;
    redis_reply_free(ledger_ask(fixture->stores.limits, "XADD bora:outbox:{%s} * t 12 i many", LEDGER_ORGANIZATION));
    struct ledger_input input = input_of("one", (struct ledger_amounts){1, 1, 1, 1, 1});
    input.key = "with blank";
    ledger_put(fixture, &input);
    input.key = KEY;
    ledger_put(fixture, &input);
    assert_int_equal(ledger_move_all(fixture), 1);
    assert_int_equal(ledger_length(fixture, fixture->stores.redis, "ledger"), 1);
    struct redis_reply *entries =
        ledger_ask(fixture->stores.redis, "XRANGE bora:ledger-unreadable:{%s} - +", LEDGER_ORGANIZATION);
    assert_int_equal(entries->count, 2);
    assert_string_equal(ledger_field(&entries->items[0], "entry"), "t=12 i=many ");
    redis_reply_free(entries);
}

static bool metrics_have(struct metrics *metrics, const char *line) {
    struct bytes text;
    bytes_init(&text, 1 << 20);
    bool written = metrics_write(metrics, &text) == STATUS_OK && bytes_append_byte(&text, 0) == STATUS_OK;
    bool found = written && strstr((const char *)text.data, line) != NULL;
    bytes_deinit(&text);
    return found;
}

/** The keeper reaps; what it cannot read is counted, once, and is no lease that ran out again and again. */
static void test_a_lease_that_cannot_be_read_is_counted(void **state) {
    struct ledger_fixture *fixture = *state;
    struct redis_client *limits = fixture->stores.limits;
    struct metrics *metrics = metrics_create();
    struct ledger_keeper_options options = {.stores = fixture->stores, .metrics = metrics};
    struct ledger_keeper *keeper = NULL;
    struct error err;
    for (int i = 1; i <= 2; i++) {
        redis_reply_free(ledger_ask(limits,
                                    i == 1 ? "HSET bora:leases:{%s} one nonsense" : "HSET bora:leases:{%s} two L",
                                    LEDGER_ORGANIZATION));
        redis_reply_free(
            ledger_ask(limits, i == 1 ? "ZADD bora:due:{%s} 1 one" : "ZADD bora:due:{%s} 1 two", LEDGER_ORGANIZATION));
        redis_reply_free(ledger_ask(limits, "SADD bora:orgs-active %s", LEDGER_ORGANIZATION));
        if (keeper == NULL && ledger_keeper_create(&options, &keeper, &err) != STATUS_OK) fail_msg("%s", err.message);
        const char *counted = i == 1 ? "\nbora_keys_ledger_unreadable_leases_total 1\n"
                                     : "\nbora_keys_ledger_unreadable_leases_total 2\n";
        for (int waits = 0; !metrics_have(metrics, counted); waits++) {
            assert_true(waits < 6000);
            nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        }
    }
    ledger_keeper_destroy(keeper);
    metrics_destroy(metrics);
}

static void test_a_batch_that_cannot_be_added_changes_nothing(void **state) {
    struct ledger_fixture *fixture = *state;
    redis_reply_free(ledger_ask(fixture->stores.redis, "SET %s wrong", DAY_NAME));
    struct ledger_input input = input_of("one", (struct ledger_amounts){1, 1, 1, 1, 1});
    ledger_put(fixture, &input);
    struct ledger_position position = {0};
    struct ledger_moved moved;
    struct error err = {0};
    assert_int_equal(ledger_move(&fixture->stores, LEDGER_ORGANIZATION, &position, &fixture->arena, &moved, &err),
                     STATUS_INTERNAL);
    assert_int_equal(ledger_length(fixture, fixture->stores.redis, "ledger"), 0);
    assert_amounts(ledger_sum(fixture, HOUR_NAME, GROUP), (struct ledger_amounts){0});
    redis_reply_free(ledger_ask(fixture->stores.redis, "DEL %s", DAY_NAME));
    assert_int_equal(ledger_move_all(fixture), 1);
}

static void test_trimming_removes_what_is_older(void **state) {
    struct ledger_fixture *fixture = *state;
    struct ledger_input input = input_of("one", (struct ledger_amounts){1, 1, 1, 1, 1});
    enum { ENTRIES = 1000 };
    for (int i = 0; i < ENTRIES; i++) {
        input.time_ms++;
        ledger_put(fixture, &input);
    }
    assert_int_equal(ledger_move_all(fixture), ENTRIES);
    int64_t removed = -1, all = 0;
    struct error err = {0};
    while (removed != 0) {
        assert_int_equal(ledger_trim(fixture->stores.redis, LEDGER_ORGANIZATION, input.time_ms, &removed, &err),
                         STATUS_OK);
        all += removed;
    }
    /* Redis removes whole nodes of its tree, of a hundred entries each. */
    assert_true(all >= ENTRIES - 100 && all < ENTRIES);
    assert_amounts(ledger_sum(fixture, DAY_NAME, GROUP),
                   (struct ledger_amounts){ENTRIES, ENTRIES, ENTRIES, ENTRIES, ENTRIES});
}

static void test_amounts_are_read_strictly(void **state) {
    (void)state;
    struct ledger_amounts amounts;
    assert_true(ledger_amounts_read("1 2 3 4 -5", &amounts));
    assert_amounts(amounts, (struct ledger_amounts){1, 2, 3, 4, -5});
    static const char *const wrong[] = {
        "", "1 2 3 4", "1 2 3 4 5 6", "1 2 3 4 5 ", "1 2  3 4", "1 2 3 4 x", "1 2 3 4 99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_false(ledger_amounts_read(wrong[i], &amounts));
    struct ledger_amounts most = {.cost = INT64_MAX}, one = {.requests = 1, .cost = 1};
    assert_false(ledger_amounts_add(&most, &one));
    assert_int_equal(most.requests, 0);
}

#define WITH_SERVERS(test) cmocka_unit_test_setup_teardown(test, ledger_fixture_setup, ledger_fixture_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_SERVERS(test_entries_and_sums_are_what_the_outbox_had),
        WITH_SERVERS(test_what_the_limits_functions_write_is_brought),
        WITH_SERVERS(test_a_packed_entry_that_is_cut_off_is_unreadable),
        WITH_SERVERS(test_an_hour_is_kept_100_days_and_a_day_five_years),
        WITH_SERVERS(test_a_batch_that_another_service_brought_is_not_brought_again),
        WITH_SERVERS(test_an_outbox_that_begins_anew_with_lower_ids_is_brought),
        WITH_SERVERS(test_a_position_of_another_epoch_is_not_used),
        WITH_SERVERS(test_an_outbox_that_lost_its_end_goes_on_above_the_position),
        WITH_SERVERS(test_ids_of_the_ledger_never_go_back),
        WITH_SERVERS(test_corrections_take_away),
        WITH_SERVERS(test_sums_are_exact_beyond_the_53_bits_of_lua),
        WITH_SERVERS(test_an_unreadable_entry_is_set_aside_and_holds_nobody_up),
        WITH_SERVERS(test_a_lease_that_cannot_be_read_is_counted),
        WITH_SERVERS(test_a_batch_that_cannot_be_added_changes_nothing),
        WITH_SERVERS(test_trimming_removes_what_is_older),
        cmocka_unit_test(test_amounts_are_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
