/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Limits on the Redis servers that they are made for: one that is killed with an append-only file that is not flushed, and a cluster. */
#include "tests/support/redis_cluster_server.h"
#include "tests/unit/store/limits_fixture.h"

#include <stdio.h>

static struct redis_fixture *start_fixture(struct redis_server server) {
    limits_set_test_time(START_US);
    struct redis_fixture *fixture = calloc(1, sizeof *fixture);
    fixture->server = server;
    redis_server_create_as(&fixture->server);
    struct error err;
    struct redis_options options = {.address = fixture->server.address, .timeout_ns = PATIENT_NS};
    if (create_client(&options, &fixture->client, &err) != STATUS_OK ||
        redis_client_wait(fixture->client, CONNECT_NS, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return fixture;
}

static int setup_written_only(void **state) {
    *state = start_fixture((struct redis_server){.written_only = true});
    return 0;
}

struct cluster_fixture {
    struct redis_fixture fixture; /* without a server of its own */
    struct redis_cluster_server cluster;
};

static int setup_cluster(void **state) {
    struct cluster_fixture *fixture = calloc(1, sizeof *fixture);
    struct error err;
    limits_set_test_time(START_US);
    redis_cluster_server_create(&fixture->cluster, false, NULL);
    struct redis_options options = {.address = fixture->cluster.address, .timeout_ns = PATIENT_NS};
    if (create_client(&options, &fixture->fixture.client, &err) != STATUS_OK ||
        redis_client_wait(fixture->fixture.client, CONNECT_NS, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    *state = fixture;
    return 0;
}

static int teardown_cluster(void **state) {
    struct cluster_fixture *fixture = *state;
    limits_set_test_time(0);
    redis_client_destroy(fixture->fixture.client);
    redis_cluster_server_destroy(&fixture->cluster);
    free(fixture);
    return 0;
}

/** Every kind of limit, in the organisation, the workspace and the key, for all models and for one. */
static void test_request_init_with_all_scopes(struct test_request *request) {
    static const char *const names[] = {"o", "w:main", "k:" KEY};
    test_request_init(request);
    price_at_1000(request);
    request->admission.scope_count = 6;
    for (int i = 0; i < 6; i++) {
        request->scopes[i].of_model = i >= 3;
        snprintf(request->scopes[i].name, sizeof request->scopes[i].name, "%s", names[i % 3]);
        for (int kind = 0; kind < LIMITS_KINDS; kind++) request->scopes[i].bounds.of[kind] = 1000000 + i;
    }
}

/** Leases 1 to 6: charged, settled, reported in part, provisional, expired, corrected. */
static void walk_through_a_life(struct redis_client *client) {
    struct test_request request;
    test_request_init_with_all_scopes(&request);
    request.admission.answers = 2;
    limits_set_test_time(START_US);
    for (int lease = 5; lease <= 6; lease++) admit_as(client, &request, lease);
    limits_set_test_time(START_US + 21 * SECOND_US);
    assert_int_equal(reap(client), 2);
    assert_int_equal(settle(client, 6, usage_of(10, 0, 3)), 2);
    for (int lease = 1; lease <= 4; lease++)
        assert_int_equal(admit_as(client, &request, lease).outcome, LIMITS_ADMITTED);
    assert_int_equal(charge(client, 1, usage_of(10, 0, 5)), 1);
    assert_int_equal(settle(client, 2, usage_of(10, 0, 5)), 1);
    assert_int_equal(report(client, 3, 1, usage_of(10, 0, 7)), 0);
    assert_int_equal(settle(client, 4, (struct limits_usage){.input = 10, .output = 2, .provisional = true}), 1);
}

static void read_all_used(struct redis_client *client, int64_t out[6][LIMITS_KINDS]) {
    static const char *const names[] = {"o", "w:main", "k:" KEY};
    for (int i = 0; i < 6; i++)
        for (int kind = 0; kind < LIMITS_KINDS; kind++)
            out[i][kind] = used(client, names[i % 3], i >= 3 ? "small" : NULL, kind);
}

static void test_nothing_that_was_answered_is_lost_when_redis_is_killed(void **state) {
    struct redis_fixture *fixture = *state;
    walk_through_a_life(fixture->client);
    int64_t before[6][LIMITS_KINDS], after[6][LIMITS_KINDS];
    struct outbox_entry entries_before[8], entries_after[8];
    read_all_used(fixture->client, before);
    int count = read_outbox(fixture->client, entries_before, 8);
    assert_int_equal(count, 5);
    assert_int_equal(before[0][LIMITS_STREAMS], 2);
    assert_int_equal(before[5][LIMITS_REQUESTS_PER_SECOND], 4);

    redis_server_kill(&fixture->server);
    redis_server_start(&fixture->server);
    struct error err;
    if (redis_client_wait(fixture->client, CONNECT_NS, &err) != STATUS_OK) fail_msg("%s", err.message);

    read_all_used(fixture->client, after);
    assert_memory_equal(before, after, sizeof before);
    assert_int_equal(read_outbox(fixture->client, entries_after, 8), count);
    for (int i = 0; i < count; i++) {
        assert_string_equal(entries_after[i].lease, entries_before[i].lease);
        assert_int_equal(entries_after[i].output, entries_before[i].output);
        assert_int_equal(entries_after[i].nanos, entries_before[i].nanos);
    }
    assert_int_equal(settle(fixture->client, 1, usage_of(10, 0, 6)), 1);
    assert_int_equal(settle(fixture->client, 2, usage_of(10, 0, 6)), 0);
    assert_int_equal(report(fixture->client, 3, 0, usage_of(10, 0, 1)), 1);
    assert_int_equal(report(fixture->client, 4, 0, usage_of(10, 0, 2)), 0);
    assert_int_equal(report(fixture->client, 4, 1, usage_of(10, 0, 2)), 2);
    assert_int_equal(settle(fixture->client, 5, usage_of(10, 0, 6)), 2);
    assert_int_equal(settle(fixture->client, 6, usage_of(10, 0, 6)), 0);
    assert_int_equal(used(fixture->client, "o", NULL, LIMITS_STREAMS), 0);
    assert_int_equal(used(fixture->client, "o", NULL, LIMITS_TOKENS_PER_DAY), 6 * 10 + 6 + 5 + 8 + 4 + 6 + 3);
}

static void test_every_call_keeps_to_one_slot_of_a_cluster(void **state) {
    struct redis_client *client = client_of(state);
    walk_through_a_life(client);
    assert_int_equal(used(client, "w:main", "small", LIMITS_STREAMS), 2);
    limits_set_test_time(START_US + 60 * SECOND_US);
    assert_int_equal(reap(client), 2);
    assert_int_equal(settle(client, 1, usage_of(10, 0, 9)), 2);
    assert_int_equal(used(client, "k:" KEY, "small", LIMITS_STREAMS), 0);
    struct tally tally = TALLY_INIT;
    limits_shut_gate(client, ORGANIZATION, KEY, tally_count, &tally);
    limits_open_gate(client, ORGANIZATION, KEY, tally_count, &tally);
    const struct limits_ledger ledger = {ORGANIZATION, "", "0-0", START_US / SECOND_US / 86400};
    const struct limits_past past[] = {{.scope = "k:" KEY, .model_or_null = "small"}};
    limits_catch_up(client, &ledger, past, 1, tally_count, &tally);
    limits_catch_up(client, &ledger, NULL, 0, tally_count, &tally);
    limits_oldest_lease(client, ORGANIZATION, "0", tally_count, &tally);
    tally_wait(&tally, 5);
    assert_int_equal(tally.by_status[STATUS_OK], 5);
    struct test_request request;
    test_request_init_with_all_scopes(&request);
    limits_set_test_time(START_US - 3600 * SECOND_US); /* the way of a clock that is set back, too */
    assert_int_equal(admit_as(client, &request, 9).outcome, LIMITS_ADMITTED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_that_was_answered_is_lost_when_redis_is_killed, setup_written_only,
                                        limits_teardown),
        cmocka_unit_test_setup_teardown(test_every_call_keeps_to_one_slot_of_a_cluster, setup_cluster,
                                        teardown_cluster),
    };
    return cmocka_run_group_tests_name("store/limits_redis", tests, NULL, NULL);
}
