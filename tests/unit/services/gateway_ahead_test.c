/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Leases that are made ahead of their requests, with a real Redis behind: which are there, for how long, and that none is left. */
#include "services/gateway/ahead.h"

#include "tests/unit/store/redis_fixture.h"

#include <stdio.h>

#define ORGANIZATION "0b0e9c5a-55a6-4cb4-a3a5-1f8f3a7a7f10"
enum { INPUT = 100, OUTPUT = 20, PATIENCE_MS = 30000 };

struct fixture {
    struct redis_server server;
    struct loop *loop;
    struct redis_client *client;
    struct settlements *settlements;
    struct metrics *metrics;
    struct ahead *ahead;
};

static int setup(void **state) {
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct error err = {0};
    redis_server_create(&fixture->server, NULL);
    assert_int_equal(loop_create("ahead", &fixture->loop, &err), STATUS_OK);
    struct redis_options redis = {.address = fixture->server.address, .timeout_ns = PATIENT_NS, .loop = fixture->loop};
    assert_int_equal(redis_client_create(&redis, &fixture->client, &err), STATUS_OK);
    assert_int_equal(redis_client_wait(fixture->client, CONNECT_NS, &err), STATUS_OK);
    assert_int_equal(settlements_create(fixture->client, &fixture->settlements, &err), STATUS_OK);
    fixture->metrics = metrics_create();
    struct ahead_options options = {.enabled = true,
                                    .loop = fixture->loop,
                                    .limits = fixture->client,
                                    .settlements = fixture->settlements,
                                    .metrics = fixture->metrics};
    assert_int_equal(ahead_create(&options, &fixture->ahead, &err), STATUS_OK);
    *state = fixture;
    return 0;
}

static int teardown(void **state) {
    struct fixture *fixture = *state;
    ahead_stop(fixture->ahead);
    assert_int_equal(settlements_destroy(fixture->settlements, PATIENT_NS), 0);
    redis_client_destroy(fixture->client);
    ahead_destroy(fixture->ahead);
    loop_destroy(fixture->loop);
    metrics_destroy(fixture->metrics);
    redis_server_destroy(&fixture->server);
    free(fixture);
    return 0;
}

static void sleep_ms(int ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * NS_PER_MS}, NULL);
}

/** `requests_per_minute` 0: none. */
static struct key_info *make_key(const char *prefix, int64_t requests_per_minute) {
    Bora__V1__ApiKey key = BORA__V1__API_KEY__INIT;
    Bora__V1__Limits limits = BORA__V1__LIMITS__INIT;
    Bora__V1__LevelLimits level = BORA__V1__LEVEL_LIMITS__INIT, *levels[] = {&level};
    Bora__V1__VerifyKeyResponse verified = BORA__V1__VERIFY_KEY_RESPONSE__INIT;
    char scope[32];
    snprintf(scope, sizeof scope, "k:%s", prefix);
    key.prefix = key.key_id = (char *)prefix;
    key.organization_id = ORGANIZATION;
    key.workspace_id = "workspace";
    key.role = "service";
    limits._requests_per_minute_case = BORA__V1__LIMITS___REQUESTS_PER_MINUTE_REQUESTS_PER_MINUTE;
    limits.requests_per_minute = requests_per_minute != 0 ? requests_per_minute : 1000000;
    level.scope = scope;
    level.limits = &limits;
    verified.info = &key;
    verified.n_levels = 1;
    verified.levels = levels;
    struct key_info *info = key_info_create(&verified);
    assert_non_null(info);
    atomic_store(&info->remembered, true);
    return info;
}

static model_description small = BORA__INTERNAL__V1__MODEL_DESCRIPTION__INIT;

static void note(struct fixture *fixture, struct key_info *key) {
    ahead_note(fixture->ahead, key, &small, INPUT, OUTPUT);
}

static bool take(struct fixture *fixture, const struct key_info *key, int64_t input, struct ahead_lease *out) {
    return ahead_take(fixture->ahead, key, "small", input, OUTPUT, out);
}

static int64_t leases(struct fixture *fixture) {
    return call_integer(fixture->client, "HLEN bora:leases:{%s}", ORGANIZATION);
}

static int64_t requests_used(struct fixture *fixture, const char *prefix) {
    int64_t used = call_integer(fixture->client, "EXISTS bora:use:{" ORGANIZATION "}:k:%s", prefix);
    struct redis_reply *reply = NULL;
    struct error err = {0};
    if (used == 0) return 0;
    assert_int_equal(
        redis_callf(fixture->client, &reply, &err, "GETRANGE bora:use:{%s}:k:%s 40 47", ORGANIZATION, prefix),
        STATUS_OK);
    double requests; /* the sixth number: store/limits_scopes.lua */
    memcpy(&requests, reply->string.data, sizeof requests);
    redis_reply_free(reply);
    return (int64_t)requests;
}

static double counted(struct fixture *fixture, const char *outcome) {
    struct bytes text;
    char line[96];
    bytes_init(&text, 1 << 20);
    assert_int_equal(metrics_write(fixture->metrics, &text), STATUS_OK);
    assert_int_equal(bytes_append_byte(&text, 0), STATUS_OK);
    snprintf(line, sizeof line, "bora_gateway_admissions_ahead_total{outcome=\"%s\"} ", outcome);
    const char *at = strstr((const char *)text.data, line);
    double value = at != NULL ? strtod(at + strlen(line), NULL) : 0;
    bytes_deinit(&text);
    return value;
}

/** As a key that asks often does: until there is one for it. */
static struct ahead_lease warm_up(struct fixture *fixture, struct key_info *key) {
    struct ahead_lease lease;
    for (int ms = 0; ms < PATIENCE_MS; ms += 3) {
        note(fixture, key);
        sleep_ms(3);
        if (take(fixture, key, INPUT, &lease)) return lease;
    }
    fail_msg("nothing was made ahead");
    return lease;
}

static void wait_for_leases(struct fixture *fixture, int64_t count) {
    for (int ms = 0; leases(fixture) != count; ms += 5) {
        if (ms > PATIENCE_MS) fail_msg("%d leases", (int)leases(fixture));
        sleep_ms(5);
    }
}

static void settle(struct fixture *fixture, const struct ahead_lease *lease) {
    const struct limits_usage usage = {.input = 10, .output = 2};
    settlements_settle(fixture->settlements, ORGANIZATION, lease->lease, &usage);
}

static void test_who_asks_often_finds_one(void **state) {
    struct fixture *fixture = *state;
    struct key_info *key = make_key("abcdefghijkl", 0);
    struct ahead_lease lease = warm_up(fixture, key);
    assert_true(lease.input >= INPUT && lease.output >= OUTPUT && lease.plenty);
    assert_int_equal(lease.requests.limit, 1000000);
    assert_int_equal(strlen(lease.request_id), LIMITS_LEASE_ID_BYTES);
    assert_string_not_equal(lease.request_id, lease.lease);
    wait_for_leases(fixture, 1); /* the others went back */
    settle(fixture, &lease);
    wait_for_leases(fixture, 0);
    assert_int_equal(requests_used(fixture, "abcdefghijkl"), 1);
    key_info_unref(key);
}

/** While nobody tells of changes each request has its key verified anew. */
static void test_a_key_that_is_not_remembered_has_none(void **state) {
    struct fixture *fixture = *state;
    struct ahead_lease lease;
    struct key_info *key = make_key("abcdefghijkl", 0);
    atomic_store(&key->remembered, false);
    for (int i = 0; i < 50; i++) {
        note(fixture, key);
        sleep_ms(2);
        assert_false(take(fixture, key, INPUT, &lease));
    }
    assert_int_equal(leases(fixture), 0);
    key_info_unref(key);
}

static void test_who_asks_seldom_does_not(void **state) {
    struct fixture *fixture = *state;
    struct key_info *key = make_key("abcdefghijkl", 0);
    for (int i = 0; i < 12; i++) {
        note(fixture, key);
        sleep_ms(120);
        assert_int_equal(leases(fixture), 0);
    }
    assert_int_equal(call_integer(fixture->client, "EXISTS bora:use:{" ORGANIZATION "}:k:%s", "abcdefghijkl"), 0);
    key_info_unref(key);
}

/** And Redis keeps nothing of it, however many there were. */
static void test_what_nobody_comes_for_goes_back(void **state) {
    struct fixture *fixture = *state;
    struct key_info *key = make_key("abcdefghijkl", 0);
    struct ahead_lease lease = warm_up(fixture, key);
    ahead_return(fixture->ahead, key, &lease);
    for (int i = 0; i < 20; i++) {
        note(fixture, key);
        sleep_ms(2);
    }
    sleep_ms(LIMITS_AHEAD_MS);
    assert_false(take(fixture, key, INPUT, &lease)); /* also before it went back */
    wait_for_leases(fixture, 0);
    assert_int_equal(requests_used(fixture, "abcdefghijkl"), 0);
    assert_true(counted(fixture, "unused") >= 2);
    struct redis_reply *reply = NULL;
    struct error err = {0};
    assert_int_equal(redis_callf(fixture->client, &reply, &err, "KEYS bora:settled:*"), STATUS_OK);
    assert_int_equal(reply->count, 0);
    redis_reply_free(reply);
    assert_int_equal(call_integer(fixture->client, "EXISTS bora:outbox:{%s}", ORGANIZATION), 0);
    key_info_unref(key);
}

static void test_a_larger_request_finds_none(void **state) {
    struct fixture *fixture = *state;
    struct key_info *key = make_key("abcdefghijkl", 0), *other = make_key("abcdefghijkl", 0);
    struct ahead_lease lease = warm_up(fixture, key);
    ahead_return(fixture->ahead, key, &lease);
    note(fixture, key);
    wait_for_leases(fixture, 1);
    assert_false(take(fixture, key, INPUT + 1, &lease));
    assert_false(take(fixture, other, 1, &lease)); /* verified anew: its limits may be others by now */
    assert_false(ahead_take(fixture->ahead, key, "large", 1, 1, &lease));
    key_info_unref(key);
    key_info_unref(other);
}

/** Also what is on its way when the key changes. */
static void test_a_changed_key_finds_none(void **state) {
    struct fixture *fixture = *state;
    static const struct {
        enum key_change change;
        const char *id;
    } changes[] = {{KEY_CHANGE_KEY, "abcdefghijkl"},
                   {KEY_CHANGE_WORKSPACE, "workspace"},
                   {KEY_CHANGE_ORGANIZATION, ORGANIZATION},
                   {KEY_CHANGE_ALL, ""}};
    struct key_info *key = make_key("abcdefghijkl", 0);
    struct ahead_lease lease;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        lease = warm_up(fixture, key);
        ahead_return(fixture->ahead, key, &lease);
        redis_server_freeze(&fixture->server);
        note(fixture, key);
        ahead_drop(fixture->ahead, changes[i].change, changes[i].id);
        assert_false(take(fixture, key, INPUT, &lease));
        redis_server_thaw(&fixture->server);
        sleep_ms(20);
        assert_false(take(fixture, key, INPUT, &lease));
        wait_for_leases(fixture, 0);
    }
    assert_int_equal(requests_used(fixture, "abcdefghijkl"), 0);
    key_info_unref(key);
}

static void test_a_change_of_another_key_leaves_it(void **state) {
    struct fixture *fixture = *state;
    struct key_info *key = make_key("abcdefghijkl", 0);
    struct ahead_lease lease;
    bool found = false;
    for (int i = 0; i < 50 && !found; i++) { /* a slow machine may take 100 ms for this */
        lease = warm_up(fixture, key);
        ahead_return(fixture->ahead, key, &lease);
        note(fixture, key);
        wait_for_leases(fixture, 1);
        ahead_drop(fixture->ahead, KEY_CHANGE_KEY, "bbbbbbbbbbbb");
        ahead_drop(fixture->ahead, KEY_CHANGE_WORKSPACE, "another");
        found = take(fixture, key, INPUT, &lease);
    }
    assert_true(found);
    ahead_return(fixture->ahead, key, &lease);
    key_info_unref(key);
}

/** Whoever was denied there is not denied by others to come. */
static void test_after_a_yield_nothing_is_made_for_a_while(void **state) {
    struct fixture *fixture = *state;
    struct key_info *key = make_key("abcdefghijkl", 0);
    struct ahead_lease lease = warm_up(fixture, key);
    int asked = -1;
    ahead_return(fixture->ahead, key, &lease);
    redis_server_freeze(&fixture->server);
    note(fixture, key);
    (void)ahead_yield(fixture->ahead, KEY_CHANGE_ORGANIZATION, ORGANIZATION, &asked);
    assert_int_equal(asked, 1);
    redis_server_thaw(&fixture->server);
    wait_for_leases(fixture, 0);
    for (int i = 0; i < 100; i++) {
        note(fixture, key);
        sleep_ms(2);
        assert_false(take(fixture, key, INPUT, &lease));
    }
    assert_int_equal(leases(fixture), 0);
    (void)ahead_yield(fixture->ahead, KEY_CHANGE_KEY, "abcdefghijkl", &asked);
    assert_int_equal(asked, 0);
    lease = warm_up(fixture, key); /* a second later */
    ahead_return(fixture->ahead, key, &lease);
    key_info_unref(key);
}

/** Three quarters of four requests have to be left: one passes, once. Then Redis is asked once a second. */
static void test_where_there_is_little_room_redis_is_left_alone(void **state) {
    struct fixture *fixture = *state;
    struct key_info *key = make_key("abcdefghijkl", 4);
    struct ahead_lease lease = warm_up(fixture, key);
    int64_t begin_ns = clock_monotonic_ns(clock_system());
    for (int i = 0; i < 300; i++) {
        note(fixture, key);
        sleep_ms(2);
        assert_false(take(fixture, key, INPUT, &lease));
    }
    double seconds = (double)(clock_monotonic_ns(clock_system()) - begin_ns) / NS_PER_S,
           scarce = counted(fixture, "scarce");
    if (scarce < 1 || scarce > 2 + seconds) fail_msg("%g times in %g s", scarce, seconds);
    key_info_unref(key);
}

static void test_while_redis_is_away_there_is_none(void **state) {
    struct fixture *fixture = *state;
    struct key_info *key = make_key("abcdefghijkl", 0);
    struct ahead_lease lease = warm_up(fixture, key);
    note(fixture, key);
    wait_for_leases(fixture, 2);
    redis_server_kill(&fixture->server);
    while (redis_client_connected(fixture->client)) sleep_ms(1);
    assert_false(take(fixture, key, INPUT, &lease));
    note(fixture, key);
    assert_false(take(fixture, key, INPUT, &lease));
    struct error err = {0};
    redis_server_start(&fixture->server);
    assert_int_equal(redis_client_wait(fixture->client, CONNECT_NS, &err), STATUS_OK);
    settle(fixture, &lease);
    wait_for_leases(fixture, 0); /* what went back meanwhile arrives */
    key_info_unref(key);
}

static void test_stopping_leaves_nothing(void **state) {
    struct fixture *fixture = *state;
    struct key_info *key = make_key("abcdefghijkl", 0);
    struct ahead_lease lease = warm_up(fixture, key);
    ahead_return(fixture->ahead, key, &lease);
    note(fixture, key);
    ahead_stop(fixture->ahead);
    assert_false(take(fixture, key, INPUT, &lease));
    note(fixture, key);
    wait_for_leases(fixture, 0);
    key_info_unref(key);
}

/* ---- all at once --------------------------------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 1500, KEYS = 3 };
static struct key_info *shared_keys[KEYS];
static atomic_int used_of[KEYS];

static void *ask_often(void *context) {
    struct fixture *fixture = context;
    struct ahead_lease lease;
    int asked;
    for (int i = 0; i < ROUNDS; i++) {
        struct key_info *key = shared_keys[i % KEYS];
        if (take(fixture, key, INPUT, &lease)) {
            if (i % 5 == 0) {
                ahead_return(fixture->ahead, key, &lease);
            } else {
                ahead_use(fixture->ahead);
                atomic_fetch_add(&used_of[i % KEYS], 1);
                settle(fixture, &lease);
            }
        }
        note(fixture, key);
        if (i % 300 == 299) ahead_drop(fixture->ahead, KEY_CHANGE_ALL, "");
        if (i == ROUNDS / 2) (void)ahead_yield(fixture->ahead, KEY_CHANGE_KEY, key->prefix, &asked);
        if (i % 3 == 0) nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    return NULL;
}

static void test_many_threads(void **state) {
    struct fixture *fixture = *state;
    static const char *const prefixes[KEYS] = {"aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"};
    pthread_t threads[THREADS];
    for (int i = 0; i < KEYS; i++) shared_keys[i] = make_key(prefixes[i], 0);
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, ask_often, fixture), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    ahead_stop(fixture->ahead);
    wait_for_leases(fixture, 0);
    int used = 0;
    for (int i = 0; i < KEYS; i++) {
        used += used_of[i];
        assert_int_equal(requests_used(fixture, prefixes[i]), used_of[i]);
        key_info_unref(shared_keys[i]);
    }
    assert_true(used > 100);
    assert_int_equal(counted(fixture, "used"), used);
    assert_int_equal(call_integer(fixture->client, "XLEN bora:outbox:{%s}", ORGANIZATION), used);
}

#define AHEAD_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    small.name = small.tier = "small";
    const struct CMUnitTest tests[] = {
        AHEAD_TEST(test_who_asks_often_finds_one),
        AHEAD_TEST(test_a_key_that_is_not_remembered_has_none),
        AHEAD_TEST(test_who_asks_seldom_does_not),
        AHEAD_TEST(test_what_nobody_comes_for_goes_back),
        AHEAD_TEST(test_a_larger_request_finds_none),
        AHEAD_TEST(test_a_changed_key_finds_none),
        AHEAD_TEST(test_a_change_of_another_key_leaves_it),
        AHEAD_TEST(test_after_a_yield_nothing_is_made_for_a_while),
        AHEAD_TEST(test_where_there_is_little_room_redis_is_left_alone),
        AHEAD_TEST(test_while_redis_is_away_there_is_none),
        AHEAD_TEST(test_stopping_leaves_nothing),
        AHEAD_TEST(test_many_threads),
    };
    return cmocka_run_group_tests_name("services/gateway_ahead", tests, NULL, NULL);
}
