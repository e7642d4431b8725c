/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What the gateway remembers of keys: when the keys service is asked, and when it is not. The service is the stub below. */
#include "services/gateway/gateway.h"

#include "bora/v1/keys.pb-c.h"
#include "services/gateway/authenticate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct {
    enum status answer;
    int asked;
    char key[300], authorization[300];
} service;

/** Knows every key that is 20 characters long, as the key whose id is the key's last 12. */
enum status rpc_client_unary_async(struct rpc_channel *channel, const char *path, const char *const *metadata,
                                   struct bytes_view request, int64_t timeout_ns, rpc_unary_fn *on_done, void *context,
                                   struct error *err) {
    (void)channel, (void)timeout_ns, (void)err;
    assert_string_equal(path, "/bora.v1.KeyService/VerifyKey");
    struct arena arena;
    struct error ignored = {0};
    ProtobufCMessage *message = NULL;
    arena_init(&arena, 1 << 16);
    assert_int_equal(protobuf_unpack(&bora__v1__verify_key_request__descriptor, request, &arena, &message, &ignored),
                     STATUS_OK);
    snprintf(service.key, sizeof service.key, "%s", ((const Bora__V1__VerifyKeyRequest *)(const void *)message)->key);
    snprintf(service.authorization, sizeof service.authorization, "%s", metadata != NULL ? metadata[1] : "");
    arena_deinit(&arena);
    service.asked++;
    Bora__V1__VerifyKeyResponse response = BORA__V1__VERIFY_KEY_RESPONSE__INIT;
    Bora__V1__ApiKey info = BORA__V1__API_KEY__INIT;
    info.key_id = service.key + strlen(service.key) - 12;
    info.tenant = (char *)"tenant";
    response.info = &info;
    struct bytes packed;
    bytes_init(&packed, 1000);
    struct rpc_result result = {.status = service.answer, .message = "no"};
    if (service.answer == STATUS_OK) assert_int_equal(protobuf_pack(&response.base, &packed), STATUS_OK);
    on_done(context, &result, bytes_view(&packed));
    bytes_deinit(&packed);
    return STATUS_OK;
}

struct heard {
    int count;
    enum status status;
    char key_id[LIMITS_KEY_ID_BYTES + 1];
};

static void on_heard(void *context, enum status status, struct key_info *info) {
    struct heard *heard = context;
    heard->count++;
    heard->status = status;
    snprintf(heard->key_id, sizeof heard->key_id, "%s", info != NULL ? info->key_id : "");
}

static struct gateway gateway;

static int open_gateway(void **state) {
    (void)state;
    struct error err = {0};
    memset(&service, 0, sizeof service);
    gateway = (struct gateway){.settings = {.key_cache_ns = INT64_C(3600) * 1000000000},
                               .service_authorization = (char *)"Bearer token"};
    return key_cache_create(&gateway.key_cache, &err) == STATUS_OK ? 0 : -1;
}
static int close_gateway(void **state) {
    (void)state;
    key_cache_destroy(gateway.key_cache);
    return 0;
}

/** What is heard of `key`, at once. */
static struct heard ask(const char *key) {
    struct heard heard = {0};
    authenticate(&gateway, key, on_heard, &heard);
    assert_int_equal(heard.count, 1);
    return heard;
}

static void expect_good(const char *key) {
    struct heard heard = ask(key);
    assert_int_equal(heard.status, STATUS_OK);
    assert_string_equal(heard.key_id, key + strlen(key) - 12);
}

static void test_a_good_key_is_asked_for_once(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        expect_good("bora_aaaabbbbccccdddd");
        expect_good("bora_eeeeffffgggghhhh");
    }
    assert_int_equal(service.asked, 2);
    assert_string_equal(service.key, "bora_eeeeffffgggghhhh");
    assert_string_equal(service.authorization, "Bearer token");
}

static void test_what_cannot_be_a_key_is_refused_without_asking(void **state) {
    (void)state;
    char longest[300];
    memset(longest, 'x', sizeof longest);
    longest[257] = 0;
    const char *const keys[] = {
        NULL, "", "short", "bora_with a blank", "bora_with\ttab_____", "bora_caf\xC3\xA9______", longest};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_int_equal(ask(keys[i]).status, STATUS_UNAUTHENTICATED);
    assert_int_equal(service.asked, 0);
    longest[256] = 0;
    expect_good(longest);
}

static void test_refusals_and_failures_are_not_remembered(void **state) {
    (void)state;
    service.answer = STATUS_UNAUTHENTICATED;
    for (int i = 0; i < 2; i++) assert_int_equal(ask("bora_aaaabbbbccccdddd").status, STATUS_UNAUTHENTICATED);
    service.answer = STATUS_DEADLINE_EXCEEDED;
    assert_int_equal(ask("bora_aaaabbbbccccdddd").status, STATUS_UNAVAILABLE);
    service.answer = STATUS_OK;
    expect_good("bora_aaaabbbbccccdddd");
    assert_int_equal(service.asked, 4);
}

static void test_a_remembered_key_outlives_the_service(void **state) {
    (void)state;
    expect_good("bora_aaaabbbbccccdddd");
    service.answer = STATUS_UNAVAILABLE;
    expect_good("bora_aaaabbbbccccdddd");
    assert_int_equal(ask("bora_eeeeffffgggghhhh").status, STATUS_UNAVAILABLE);
}

static void test_time_runs_out(void **state) {
    (void)state;
    gateway.settings.key_cache_ns = 1; /* over by the next question */
    for (int i = 0; i < 3; i++) expect_good("bora_aaaabbbbccccdddd");
    assert_int_equal(service.asked, 3);
    gateway.settings.key_cache_ns = 0; /* remember nothing */
    for (int i = 0; i < 3; i++) expect_good("bora_aaaabbbbccccdddd");
    assert_int_equal(service.asked, 6);
    gateway.settings.key_cache_ns = INT64_C(3600) * 1000000000;
    for (int i = 0; i < 3; i++) expect_good("bora_aaaabbbbccccdddd"); /* the old entry makes no trouble */
    assert_int_equal(service.asked, 7);
}

static void test_a_forgotten_key_is_asked_for_again_and_others_are_not(void **state) {
    (void)state;
    expect_good("bora_aaaabbbbccccdddd");
    expect_good("bora_eeeeffffgggghhhh");
    authenticate_forget(&gateway, "bbbbccccdddd");
    expect_good("bora_eeeeffffgggghhhh");
    assert_int_equal(service.asked, 2);
    expect_good("bora_aaaabbbbccccdddd");
    assert_int_equal(service.asked, 3);
}

static void test_many_keys_push_each_other_out_and_none_is_mistaken(void **state) {
    (void)state;
    enum { KEYS = 40000 }; /* the table holds 8,192 */
    char key[64];
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "bora_key_%012d", i);
        expect_good(key);
        expect_good(key); /* who has just come is there */
    }
    assert_int_equal(service.asked, KEYS);
    int before = service.asked;
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "bora_key_%012d", i);
        expect_good(key);
    }
    assert_true(service.asked - before >= KEYS - 8192 && service.asked - before <= KEYS);
}

static void test_the_tightest_of_a_models_names_binds(void **state) {
    (void)state;
    struct key_info *info = calloc(1, sizeof *info + 4 * sizeof info->models[0]);
    static const struct {
        const char *model;
        struct limits_bounds bounds;
    } given[] = {
        {"name", {100, LIMITS_ABSENT}}, {"alias", {7, 500}}, {"small", {LIMITS_ABSENT, 400}}, {"other", {1, 1}}};
    for (int i = 0; i < 4; i++) {
        snprintf(info->models[i].model, sizeof info->models[i].model, "%s", given[i].model);
        info->models[i].bounds = given[i].bounds;
    }
    info->model_count = 4;
    Bora__Internal__V1__ModelDescription model = BORA__INTERNAL__V1__MODEL_DESCRIPTION__INIT;
    char *aliases[] = {(char *)"alias"};
    model.name = (char *)"name", model.tier = (char *)"small", model.aliases = aliases, model.n_aliases = 1;
    struct limits_bounds bounds = key_info_model_bounds(info, &model);
    assert_int_equal(bounds.requests_per_minute, 7);
    assert_int_equal(bounds.tokens_per_minute, 400);
    model.n_aliases = 0, model.tier = (char *)"large", model.name = (char *)"unknown";
    bounds = key_info_model_bounds(info, &model);
    assert_int_equal(bounds.requests_per_minute, LIMITS_ABSENT);
    assert_int_equal(bounds.tokens_per_minute, LIMITS_ABSENT);
    free(info);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_gateway, close_gateway)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_good_key_is_asked_for_once),
        TEST(test_what_cannot_be_a_key_is_refused_without_asking),
        TEST(test_refusals_and_failures_are_not_remembered),
        TEST(test_a_remembered_key_outlives_the_service),
        TEST(test_time_runs_out),
        TEST(test_a_forgotten_key_is_asked_for_again_and_others_are_not),
        TEST(test_many_keys_push_each_other_out_and_none_is_mistaken),
        TEST(test_the_tightest_of_a_models_names_binds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
