/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/limits.h"

#include "bora/v1/tenants.pb-c.h"
#include "cli/fields.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

static const struct command_usage usage = {"test", "", "A test.", 0, 0};

static int number_of(const char *option) {
    for (int i = 0; i < LIMIT_KINDS; i++) {
        if (strcmp(limit_kinds[i].option, option) == 0) return i;
    }
    fail_msg("no limit %s", option);
    return -1;
}

/** The options' rows, the kinds, and the message's fields are in one order; every field of the message has its kind. */
static void test_options_kinds_and_fields_agree(void **state) {
    (void)state;
    struct limit_options options = {{0}};
    const struct argument table[] = {LIMIT_ARGUMENTS(&options), {ARGUMENT_END, NULL, NULL, NULL, NULL}};
    assert_int_equal(bora__v1__limits__descriptor.n_fields, LIMIT_KINDS);
    for (int i = 0; i < LIMIT_KINDS; i++) {
        Bora__V1__Limits limits = BORA__V1__LIMITS__INIT;
        assert_string_equal(table[i].name, limit_kinds[i].option);
        assert_ptr_equal(table[i].target, &options.text[i]);
        options = (struct limit_options){{0}};
        options.text[i] = "7";
        assert_int_equal(limits_given(&options), 1);
        assert_int_equal(limits_apply(&usage, &options, &limits), GO_ON);
        const struct field_value value = field_get(&limits.base, limit_kinds[i].field);
        assert_int_equal(value.kind, limit_kinds[i].money ? FIELD_NUMBER : FIELD_INTEGER);
        assert_true(limit_kinds[i].money ? value.number == 7 : value.integer == 7);
    }
}

static void test_none_takes_away_and_the_rest_stays(void **state) {
    (void)state;
    Bora__V1__Limits limits = BORA__V1__LIMITS__INIT;
    struct limit_options options = {{0}};
    char text[LIMITS_TEXT_BYTES];
    field_set_integer(&limits.base, "requests_per_minute", 60);
    field_set_integer(&limits.base, "tokens_per_day", 5000);
    options.text[number_of("requests-per-minute")] = "none";
    options.text[number_of("tokens-per-minute")] = "20k";
    options.text[number_of("spend-per-month")] = "12.5";
    assert_int_equal(limits_apply(&usage, &options, &limits), GO_ON);
    limits_describe(&limits, text);
    assert_string_equal(text, "20,000 tok/min, 5,000 tok/day, 12.50 spend/month");
}

static void test_values_that_are_no_limits_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"", "-1", "many", "1.5", "nothing", "10kk"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Bora__V1__Limits limits = BORA__V1__LIMITS__INIT;
        struct limit_options options = {{0}};
        options.text[number_of("tokens-per-minute")] = bad[i];
        assert_int_equal(limits_apply(&usage, &options, &limits), EXIT_USAGE);
        options = (struct limit_options){{0}};
        if (strcmp(bad[i], "1.5") == 0) continue; /* an amount */
        options.text[number_of("spend-per-month")] = bad[i];
        assert_int_equal(limits_apply(&usage, &options, &limits), EXIT_USAGE);
    }
}

static void assert_model(const char *text, const char *model, const char *described) {
    Bora__V1__ModelLimits *out = NULL;
    char words[LIMITS_TEXT_BYTES];
    struct arena arena;
    arena_init(&arena, 1 << 16);
    if (limits_parse_model(&usage, text, &arena, &out) != GO_ON) fail_msg("%s is refused", text);
    assert_string_equal(out->model, model);
    limits_describe(out->limits, words);
    assert_string_equal(words, described);
    arena_deinit(&arena);
}

static void test_limits_of_a_model_have_two_forms(void **state) {
    (void)state;
    assert_model("small:5:", "small", "5 req/min");
    assert_model("small:v1:5:20k", "small:v1", "5 req/min, 20,000 tok/min");
    assert_model("large::1000", "large", "1,000 tok/min");
    assert_model("small:v1:tokens-per-day=1M,concurrent-streams=4", "small:v1", "1,000,000 tok/day, 4 streams");
}

static void test_wrong_limits_of_a_model_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"small",
                                      "small:",
                                      "small::",
                                      ":1:2",
                                      "small:-1:",
                                      "small:a:b",
                                      "small:tokens=5",
                                      "small:tokens-per-day=",
                                      "small:tokens-per-day=x",
                                      "small:tokens-per-day=1,rest",
                                      ":tokens-per-day=1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Bora__V1__ModelLimits *out = NULL;
        struct arena arena;
        arena_init(&arena, 1 << 16);
        if (limits_parse_model(&usage, bad[i], &arena, &out) != EXIT_USAGE) fail_msg("%s is taken", bad[i]);
        arena_deinit(&arena);
    }
}

static void test_all_that_bounds_a_key_fits_a_line(void **state) {
    (void)state;
    Bora__V1__ApiKey key = BORA__V1__API_KEY__INIT;
    Bora__V1__Limits limits = BORA__V1__LIMITS__INIT, of_model = BORA__V1__LIMITS__INIT;
    Bora__V1__ModelLimits model = BORA__V1__MODEL_LIMITS__INIT, *models[] = {&model};
    Bora__V1__Scopes scopes = BORA__V1__SCOPES__INIT;
    char *names[] = {(char *)"small", (char *)"large"}, *endpoints[] = {(char *)"chat"};
    char text[LIMITS_TEXT_BYTES];
    limits_summarise(&key.base, text);
    assert_string_equal(text, "");
    key.limits = &limits; /* a message without any limit says nothing */
    key.scopes = &scopes;
    limits_summarise(&key.base, text);
    assert_string_equal(text, "");
    model.model = (char *)"small";
    model.limits = &of_model;
    field_set_integer(&of_model.base, "concurrent_streams", 4);
    key.model_limits = models;
    key.n_model_limits = 1;
    limits_summarise(&key.base, text);
    assert_string_equal(text, "small: 4 streams");
    field_set_integer(&limits.base, "requests_per_minute", 60);
    field_set_integer(&limits.base, "tokens_per_day", 1500000);
    scopes.models = names;
    scopes.n_models = 2;
    scopes.endpoints = endpoints;
    scopes.n_endpoints = 1;
    limits_summarise(&key.base, text);
    assert_string_equal(text, "60 req/min, 1.5M tok/day; small: 4 streams; only models small, large; only for chat");
}

static void test_what_is_too_long_for_the_line_is_cut(void **state) {
    (void)state;
    enum { MANY = 64 };
    Bora__V1__Organization place = BORA__V1__ORGANIZATION__INIT;
    Bora__V1__Limits limits = BORA__V1__LIMITS__INIT;
    Bora__V1__ModelLimits model = BORA__V1__MODEL_LIMITS__INIT, *models[MANY];
    char text[LIMITS_TEXT_BYTES];
    model.model = (char *)"a-model-with-a-long-name";
    model.limits = &limits;
    field_set_integer(&limits.base, "tokens_per_day", 1);
    for (int i = 0; i < MANY; i++) models[i] = &model;
    place.model_limits = models;
    place.n_model_limits = MANY;
    limits_summarise(&place.base, text);
    assert_in_range(strlen(text), LIMITS_TEXT_BYTES / 2, LIMITS_TEXT_BYTES - 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_kinds_and_fields_agree),
        cmocka_unit_test(test_none_takes_away_and_the_rest_stays),
        cmocka_unit_test(test_values_that_are_no_limits_are_refused),
        cmocka_unit_test(test_limits_of_a_model_have_two_forms),
        cmocka_unit_test(test_wrong_limits_of_a_model_are_refused),
        cmocka_unit_test(test_all_that_bounds_a_key_fits_a_line),
        cmocka_unit_test(test_what_is_too_long_for_the_line_is_cut),
    };
    return cmocka_run_group_tests_name("cli/limits", tests, NULL, NULL);
}
