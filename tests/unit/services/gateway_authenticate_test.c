/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What the gateway remembers of keys, and for how long: the test is the keys service and the clock. */
#include "base/clock.h"
#include "bora/v1/keys.pb-c.h"
#include "rpc/transcode.h"
#include "services/gateway/authenticate.h"
#include "services/gateway/gateway.h"
#include "tests/support/check.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

static struct clock_fake fake_clock;
const struct clock *__wrap_clock_system(void);
const struct clock *__wrap_clock_system(void) {
    return &fake_clock.clock;
}

/* ---- the keys service ---------------------------------------------------------------------------------------------- */

enum { KEY_CHANGE_NONE = -1 };
static struct gateway gateway;
static int asked, noted, while_asking;
static enum status verdict;
static int64_t expires_at;

/** The organisation is noted for those who look after its leases. */
void redis_commandf(struct redis_client *client, redis_fn *fn, void *context, const char *format, ...) {
    (void)client, (void)fn, (void)context;
    assert_string_equal(format, "SADD bora:orgs-active %s");
    noted++;
}

static bool connected;
static int64_t changes;
int64_t rpc_channel_changes(const struct rpc_channel *channel) {
    (void)channel;
    return changes;
}
bool rpc_channel_ready(struct rpc_channel *channel) {
    (void)channel;
    return connected;
}

/** A key's id is its last 12 characters. */
enum status rpc_client_unary_async(struct rpc_channel *channel, const char *path, const char *const *metadata,
                                   struct bytes_view request, int64_t timeout_ns, rpc_unary_fn *on_done, void *context,
                                   struct error *err) {
    (void)channel, (void)metadata, (void)timeout_ns, (void)err;
    assert_string_equal(path, "/bora.v1.KeyService/VerifyKey");
    Bora__V1__VerifyKeyRequest *asking = bora__v1__verify_key_request__unpack(NULL, request.length, request.data);
    assert_non_null(asking);
    asked++;
    if (asking->key[0] == 0) { /* the gateway asks for itself */
        bora__v1__verify_key_request__free_unpacked(asking, NULL);
        on_done(context, &(struct rpc_result){.status = verdict, .message = ""}, (struct bytes_view){0});
        return STATUS_OK;
    }
    Bora__V1__ApiKey key = BORA__V1__API_KEY__INIT;
    Bora__V1__VerifyKeyResponse response = BORA__V1__VERIFY_KEY_RESPONSE__INIT;
    struct bytes packed;
    key.prefix = asking->key + strlen(asking->key) - 12;
    key.key_id = key.prefix;
    key.workspace_id = "workspace";
    key.organization_id = "organization";
    key.role = "service";
    if (expires_at != 0) {
        key._expires_at_case = BORA__V1__API_KEY___EXPIRES_AT_EXPIRES_AT;
        key.expires_at = expires_at;
    }
    if (while_asking != KEY_CHANGE_NONE) key_cache_forget(gateway.key_cache, (enum key_change)while_asking, key.prefix);
    response.info = &key;
    bytes_init(&packed, 4096);
    check_ok(protobuf_pack(&response.base, &packed));
    struct rpc_result result = {.status = verdict, .message = ""};
    on_done(context, &result, verdict == STATUS_OK ? bytes_view(&packed) : (struct bytes_view){0});
    bytes_deinit(&packed);
    bora__v1__verify_key_request__free_unpacked(asking, NULL);
    return STATUS_OK;
}

/* ---- asking -------------------------------------------------------------------------------------------------------- */

static int setup(void **state) {
    (void)state;
    clock_fake_init(&fake_clock, NS_PER_S);
    asked = noted = 0;
    expires_at = 0;
    while_asking = KEY_CHANGE_NONE;
    verdict = STATUS_OK;
    connected = false;
    changes = 0;
    gateway.service_token = (struct service_token){0};
    gateway.settings.key_cache_ns = 30 * NS_PER_S;
    if (key_cache_create(&gateway.key_cache, NULL) != STATUS_OK) return -1;
    key_cache_trust(gateway.key_cache, true);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    key_cache_destroy(gateway.key_cache);
    return 0;
}

struct answer {
    int count;
    enum status status;
    char key_id[LIMITS_KEY_ID_BYTES + 1];
};

static void keep_answer(void *context, enum status status, struct key_info *info) {
    struct answer *answer = context;
    answer->count++;
    answer->status = status;
    snprintf(answer->key_id, sizeof answer->key_id, "%s", info != NULL ? info->prefix : "");
}

static enum status try_key(const char *key) {
    struct answer answer = {0};
    authenticate(&gateway, key, keep_answer, &answer);
    assert_int_equal(answer.count, 1);
    if (answer.status == STATUS_OK) assert_string_equal(answer.key_id, key + strlen(key) - 12);
    return answer.status;
}

static void test_known_key_is_asked_for_once_until_its_time_is_over(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_OK);
    assert_int_equal(asked, 1);
    fake_clock.now_ns += 30 * NS_PER_S - 1;
    assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_OK);
    assert_int_equal(asked, 1);
    fake_clock.now_ns += 1;
    assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_OK); /* and is not kept alive by being used */
    assert_int_equal(asked, 2);
}

static void test_known_key_outlives_the_keys_service_for_its_time(void **state) {
    (void)state;
    assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_OK);
    verdict = STATUS_DEADLINE_EXCEEDED;
    assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_OK);
    assert_int_equal(try_key("bora_key-bbbbbbbbbbbb"), STATUS_UNAVAILABLE);
    fake_clock.now_ns += 30 * NS_PER_S;
    assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_UNAVAILABLE);
}

static void test_refusals_are_not_remembered(void **state) {
    (void)state;
    verdict = STATUS_UNAUTHENTICATED;
    for (int i = 0; i < 2; i++) assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_UNAUTHENTICATED);
    assert_int_equal(asked, 2);
    verdict = STATUS_OK;
    assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_OK);
}

static void test_without_a_cache_time_every_request_asks(void **state) {
    (void)state;
    gateway.settings.key_cache_ns = 0;
    for (int i = 0; i < 3; i++) assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_OK);
    assert_int_equal(asked, 3);
}

static void test_what_cannot_be_a_key_asks_nobody(void **state) {
    (void)state;
    char long_key[258];
    memset(long_key, 'a', sizeof long_key - 1);
    long_key[sizeof long_key - 1] = 0;
    const char *const keys[] = {NULL, "", "seven77", "with a blank", "caf\xc3\xa9-key", "tab\tin-it", long_key};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_int_equal(try_key(keys[i]), STATUS_UNAUTHENTICATED);
    assert_int_equal(asked, 0);
}

static void test_forgotten_key_is_asked_for_again_and_no_other(void **state) {
    (void)state;
    assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_OK);
    assert_int_equal(try_key("bora_key-bbbbbbbbbbbb"), STATUS_OK);
    authenticate_forget(&gateway, "aaaaaaaaaaaa");
    verdict = STATUS_UNAUTHENTICATED;
    assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_UNAUTHENTICATED);
    assert_int_equal(try_key("bora_key-bbbbbbbbbbbb"), STATUS_OK);
}

static void test_changes_of_a_workspace_or_organization_are_about_all_their_keys(void **state) {
    (void)state;
    const struct {
        enum key_change change;
        const char *id;
        bool about;
    } cases[] = {{KEY_CHANGE_WORKSPACE, "workspace", true},
                 {KEY_CHANGE_WORKSPACE, "organization", false},
                 {KEY_CHANGE_ORGANIZATION, "organization", true},
                 {KEY_CHANGE_ORGANIZATION, "workspace", false},
                 {KEY_CHANGE_KEY, "workspace", false},
                 {KEY_CHANGE_ALL, "", true}};
    int expected = 1;
    assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        key_cache_forget(gateway.key_cache, cases[i].change, cases[i].id);
        assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_OK);
        expected += cases[i].about;
        assert_int_equal(asked, expected);
    }
}

static void test_an_answer_that_a_change_overtook_is_not_remembered(void **state) {
    (void)state;
    while_asking = KEY_CHANGE_KEY;
    assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_OK);
    while_asking = KEY_CHANGE_NONE;
    assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_OK);
    assert_int_equal(asked, 2);
    assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_OK);
    assert_int_equal(asked, 2);
}

static void test_nothing_is_remembered_while_nobody_tells_of_changes(void **state) {
    (void)state;
    assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_OK);
    key_cache_trust(gateway.key_cache, false);
    for (int i = 0; i < 2; i++) assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_OK);
    assert_int_equal(asked, 3);
    key_cache_trust(gateway.key_cache, true);
    for (int i = 0; i < 2; i++) assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_OK);
    assert_int_equal(asked, 4);
    assert_int_equal(noted, 4);
}

static void test_a_remembered_key_expires_at_its_second(void **state) {
    (void)state;
    expires_at = clock_unix_ns(&fake_clock.clock) / NS_PER_S + 5;
    assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_OK);
    fake_clock.now_ns += 5 * NS_PER_S;
    verdict = STATUS_UNAUTHENTICATED;
    assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_UNAUTHENTICATED);
}

/* ---- places -------------------------------------------------------------------------------------------------------- */

enum { PLACES = 8, SLOTS = 8192 }; /* as in authenticate.c */

/** The next key after number `*at` whose places begin at slot 0. */
static void next_neighbour(int *at, char key[32]) {
    for (;;) {
        uint8_t digest[SHA256_DIGEST_LENGTH];
        uint32_t word;
        snprintf(key, 32, "bora_key-%012d", ++*at);
        SHA256((const uint8_t *)key, strlen(key), digest);
        memcpy(&word, digest, sizeof word);
        if (word % SLOTS == 0) return;
    }
}

static void test_full_places_give_up_the_one_that_runs_out_first(void **state) {
    (void)state;
    char keys[PLACES + 2][32];
    int at = 0;
    for (int i = 0; i < PLACES + 2; i++) next_neighbour(&at, keys[i]);
    for (int i = 0; i < PLACES; i++) { /* the fourth comes first, so that it is not a matter of the order of places */
        assert_int_equal(try_key(keys[(i + 3) % PLACES]), STATUS_OK);
        fake_clock.now_ns += NS_PER_S;
    }
    for (int i = 0; i < PLACES; i++) assert_int_equal(try_key(keys[i]), STATUS_OK);
    assert_int_equal(asked, PLACES); /* all fit */
    assert_int_equal(try_key(keys[PLACES]), STATUS_OK);
    verdict = STATUS_UNAUTHENTICATED;
    for (int i = 0; i <= PLACES; i++) assert_int_equal(try_key(keys[i]), i == 3 ? STATUS_UNAUTHENTICATED : STATUS_OK);
    verdict = STATUS_OK;
    assert_int_equal(try_key(keys[PLACES + 1]), STATUS_OK);
    verdict = STATUS_UNAUTHENTICATED;
    assert_int_equal(try_key(keys[4]), STATUS_UNAUTHENTICATED);
    assert_int_equal(try_key(keys[5]), STATUS_OK);
}

static void test_thousands_of_keys_do_not_disturb_each_other(void **state) {
    (void)state;
    enum { KEYS = 2000 };
    char key[32];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < KEYS; i++) {
            snprintf(key, sizeof key, "bora_key-%012d", i);
            assert_int_equal(try_key(key), STATUS_OK);
        }
    }
    assert_int_equal(asked, KEYS);
}

static void test_flood_of_keys_asks_and_never_grows(void **state) {
    (void)state;
    char key[32];
    for (int i = 0; i < 3 * SLOTS; i++) {
        snprintf(key, sizeof key, "bora_key-%012d", i);
        assert_int_equal(try_key(key), STATUS_OK); /* a wrong id would show: each gets its own */
    }
    assert_int_equal(asked, 3 * SLOTS);
    assert_int_equal(try_key(key), STATUS_OK); /* the last is still known */
    assert_int_equal(asked, 3 * SLOTS);
}

static void test_a_refused_service_token_is_no_clients_fault(void **state) {
    (void)state;
    verdict = STATUS_PERMISSION_DENIED;
    assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_UNAVAILABLE);
    assert_int_equal(gateway.service_token.verdict, SERVICE_TOKEN_REFUSED);
    verdict = STATUS_UNAUTHENTICATED; /* the token is right, the key is not */
    assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_UNAUTHENTICATED);
    assert_int_equal(gateway.service_token.verdict, SERVICE_TOKEN_ACCEPTED);
    verdict = STATUS_UNAVAILABLE; /* says nothing of it */
    assert_int_equal(try_key("bora_key-aaaaaaaaaaaa"), STATUS_UNAVAILABLE);
    assert_int_equal(gateway.service_token.verdict, SERVICE_TOKEN_ACCEPTED);
}

static void look_after(enum status answer, bool there) {
    verdict = answer;
    connected = there;
    service_token_look_after(&gateway);
}

static void test_the_service_token_is_tried_when_the_channel_comes_and_while_it_is_refused(void **state) {
    (void)state;
    look_after(STATUS_UNAUTHENTICATED, false);
    assert_int_equal(asked, 0);
    look_after(STATUS_PERMISSION_DENIED, true);
    look_after(STATUS_PERMISSION_DENIED, true);
    assert_int_equal(asked, 1); /* not at each look */
    assert_int_equal(gateway.service_token.verdict, SERVICE_TOKEN_REFUSED);
    fake_clock.now_ns += 60 * NS_PER_S;
    look_after(STATUS_UNAUTHENTICATED, true);
    assert_int_equal(asked, 2);
    assert_int_equal(gateway.service_token.verdict, SERVICE_TOKEN_ACCEPTED);
    fake_clock.now_ns += 60 * NS_PER_S;
    look_after(STATUS_PERMISSION_DENIED, true);
    assert_int_equal(asked, 2); /* good as long as the channel lasts, unless an answer says otherwise */
    changes = 2;                /* it was away between two looks */
    look_after(STATUS_PERMISSION_DENIED, true);
    assert_int_equal(asked, 3);
    assert_int_equal(gateway.service_token.verdict, SERVICE_TOKEN_REFUSED);
    look_after(STATUS_PERMISSION_DENIED, false);
    assert_int_equal(gateway.service_token.verdict, SERVICE_TOKEN_UNKNOWN);
    look_after(STATUS_PERMISSION_DENIED, true);
    assert_int_equal(gateway.service_token.verdict, SERVICE_TOKEN_REFUSED);
}

int main(void) {
#define CACHE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CACHE_TEST(test_known_key_is_asked_for_once_until_its_time_is_over),
        CACHE_TEST(test_known_key_outlives_the_keys_service_for_its_time),
        CACHE_TEST(test_refusals_are_not_remembered),
        CACHE_TEST(test_a_refused_service_token_is_no_clients_fault),
        CACHE_TEST(test_the_service_token_is_tried_when_the_channel_comes_and_while_it_is_refused),
        CACHE_TEST(test_without_a_cache_time_every_request_asks),
        CACHE_TEST(test_what_cannot_be_a_key_asks_nobody),
        CACHE_TEST(test_forgotten_key_is_asked_for_again_and_no_other),
        CACHE_TEST(test_changes_of_a_workspace_or_organization_are_about_all_their_keys),
        CACHE_TEST(test_an_answer_that_a_change_overtook_is_not_remembered),
        CACHE_TEST(test_nothing_is_remembered_while_nobody_tells_of_changes),
        CACHE_TEST(test_a_remembered_key_expires_at_its_second),
        CACHE_TEST(test_full_places_give_up_the_one_that_runs_out_first),
        CACHE_TEST(test_thousands_of_keys_do_not_disturb_each_other),
        CACHE_TEST(test_flood_of_keys_asks_and_never_grows),
    };
    return cmocka_run_group_tests_name("services/gateway_authenticate", tests, NULL, NULL);
}
