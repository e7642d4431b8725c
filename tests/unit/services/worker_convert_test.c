/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What a worker takes from a gateway: the gateway is trusted for policy, not for ranges. */
#include "services/worker/convert.h"

#include "base/limits.h"
#include "tests/support/check.h"

#include <math.h>
#include <string.h>

struct sample {
    Bora__Internal__V1__Start start;
    Bora__Internal__V1__Sampling sampling;
    Bora__Internal__V1__ConversationMessage message, *messages[1];
    Bora__Internal__V1__BeamSearch beam;
    struct arena arena;
    struct generation_request request;
    struct error err;
};

static struct sample sample;

static int open_sample(void **state) {
    (void)state;
    sample = (struct sample){0};
    bora__internal__v1__start__init(&sample.start);
    bora__internal__v1__sampling__init(&sample.sampling);
    bora__internal__v1__conversation_message__init(&sample.message);
    bora__internal__v1__beam_search__init(&sample.beam);
    sample.sampling.top_p = 1;
    sample.sampling.top_logprobs = -1;
    sample.start.sampling = &sample.sampling;
    sample.messages[0] = &sample.message;
    sample.start.messages = sample.messages;
    sample.start.n_messages = 1;
    arena_init(&sample.arena, 1 << 20);
    return 0;
}
static int close_sample(void **state) {
    (void)state;
    arena_deinit(&sample.arena);
    return 0;
}

static enum status convert(void) {
    return convert_sampling(&sample.start, &sample.arena, &sample.request, &sample.err);
}

static void test_settings_arrive(void **state) {
    (void)state;
    sample.sampling.temperature = 0.5, sample.sampling.top_k = 3, sample.sampling.seed = 9;
    sample.sampling.min_p = 0.1, sample.sampling.typical_p = 0.9, sample.sampling.repetition_penalty = 1.5;
    int32_t ids[] = {5, 7};
    float values[] = {-1, 2};
    sample.sampling.n_logit_bias_ids = sample.sampling.n_logit_bias_values = 2;
    sample.sampling.logit_bias_ids = ids, sample.sampling.logit_bias_values = values;
    ProtobufCBinaryData stop[] = {{.len = 3, .data = (uint8_t *)"end"}};
    sample.start.stop = stop, sample.start.n_stop = 1;
    sample.start.tenant = (char *)"acme";
    assert_int_equal(convert(), STATUS_OK);
    assert_true(sample.request.sampling.temperature == 0.5 && sample.request.sampling.top_p == 1);
    assert_int_equal(sample.request.sampling.top_k, 3);
    assert_int_equal(sample.request.sampling.seed, 9);
    assert_int_equal(sample.request.sampling.logit_bias_count, 2);
    assert_int_equal(sample.request.sampling.logit_bias[1].id, 7);
    assert_true(sample.request.sampling.logit_bias[1].bias == 2);
    assert_int_equal(sample.request.stop_count, 1);
    assert_true(bytes_view_equal_string(sample.request.stop[0], "end"));
    assert_string_equal(sample.request.tenant, "acme");
}

static void test_what_is_out_of_range_is_refused(void **state) {
    (void)state;
    struct {
        double *field;
        double values[4];
    } numbers[] = {
        {&sample.sampling.temperature, {-0.1, 101, NAN, INFINITY}},
        {&sample.sampling.top_p, {0, 1.1, NAN, -1}},
        {&sample.sampling.min_p, {-0.1, 1.1, NAN, INFINITY}},
        {&sample.sampling.typical_p, {-0.1, 1.1, NAN, INFINITY}},
        {&sample.sampling.repetition_penalty, {-1, 1e9, NAN, INFINITY}},
        {&sample.sampling.presence_penalty, {-2.1, 2.1, NAN, INFINITY}},
        {&sample.sampling.frequency_penalty, {-2.1, 2.1, NAN, INFINITY}},
    };
    assert_int_equal(convert(), STATUS_OK);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        double before = *numbers[i].field;
        for (int j = 0; j < 4; j++) {
            *numbers[i].field = numbers[i].values[j];
            if (convert() != STATUS_INVALID_ARGUMENT) fail_msg("setting %zu takes %g", i, numbers[i].values[j]);
        }
        *numbers[i].field = before;
    }
    sample.sampling.top_k = -1;
    assert_int_equal(convert(), STATUS_INVALID_ARGUMENT);
    sample.sampling.top_k = 0, sample.sampling.top_logprobs = LIMIT_TOP_LOGPROBS + 1;
    assert_int_equal(convert(), STATUS_INVALID_ARGUMENT);
    sample.sampling.top_logprobs = -2;
    assert_int_equal(convert(), STATUS_INVALID_ARGUMENT);
    sample.start.sampling = NULL;
    assert_int_equal(convert(), STATUS_INVALID_ARGUMENT);
}

static void test_lists_are_bounded_and_of_one_length(void **state) {
    (void)state;
    static int32_t ids[LIMIT_LOGIT_BIAS + 1];
    static float values[LIMIT_LOGIT_BIAS + 1];
    static ProtobufCBinaryData stop[LIMIT_STOP_STRINGS + 1];
    sample.sampling.logit_bias_ids = ids, sample.sampling.logit_bias_values = values;
    sample.sampling.n_logit_bias_ids = 2, sample.sampling.n_logit_bias_values = 1;
    assert_int_equal(convert(), STATUS_INVALID_ARGUMENT);
    sample.sampling.n_logit_bias_ids = sample.sampling.n_logit_bias_values = LIMIT_LOGIT_BIAS + 1;
    assert_int_equal(convert(), STATUS_INVALID_ARGUMENT);
    sample.sampling.n_logit_bias_ids = sample.sampling.n_logit_bias_values = LIMIT_LOGIT_BIAS;
    assert_int_equal(convert(), STATUS_OK);
    static uint8_t text[LIMIT_STOP_STRING_BYTES + 1];
    for (int i = 0; i <= LIMIT_STOP_STRINGS; i++)
        stop[i] = (ProtobufCBinaryData){.len = LIMIT_STOP_STRING_BYTES, .data = text};
    sample.start.stop = stop;
    sample.start.n_stop = LIMIT_STOP_STRINGS;
    assert_int_equal(convert(), STATUS_OK);
    sample.start.n_stop++;
    assert_int_equal(convert(), STATUS_INVALID_ARGUMENT);
    sample.start.n_stop = 1;
    stop[0].len = 0;
    assert_int_equal(convert(), STATUS_INVALID_ARGUMENT);
    stop[0].len = LIMIT_STOP_STRING_BYTES + 1;
    assert_int_equal(convert(), STATUS_INVALID_ARGUMENT);
}

static void test_beams_are_bounded(void **state) {
    (void)state;
    static const struct {
        int width, answers;
        double penalty;
        enum status status;
    } cases[] = {{4, 2, 1, STATUS_OK},
                 {LIMIT_BEAMS, LIMIT_BEAMS, -10, STATUS_OK},
                 {0, 0, 1, STATUS_INVALID_ARGUMENT},
                 {LIMIT_BEAMS + 1, 1, 1, STATUS_INVALID_ARGUMENT},
                 {2, 3, 1, STATUS_INVALID_ARGUMENT},
                 {2, 0, 1, STATUS_INVALID_ARGUMENT},
                 {2, 2, 10.5, STATUS_INVALID_ARGUMENT},
                 {2, 2, NAN, STATUS_INVALID_ARGUMENT}};
    sample.start.beam = &sample.beam;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sample.beam.width = cases[i].width, sample.beam.answers = cases[i].answers;
        sample.beam.length_penalty = cases[i].penalty;
        if (convert() != cases[i].status) fail_msg("case %zu", i);
    }
}

static void test_conversations(void **state) {
    (void)state;
    struct chat_message *messages = NULL;
    size_t count = 0;
    sample.message.role = BORA__INTERNAL__V1__CONVERSATION_MESSAGE__ROLE__ROLE_ASSISTANT;
    sample.message.content = (ProtobufCBinaryData){.len = 2, .data = (uint8_t *)"a\0"};
    sample.message.prefix = true;
    assert_int_equal(convert_messages(&sample.start, &sample.arena, &messages, &count, &sample.err), STATUS_OK);
    assert_int_equal(count, 1);
    assert_int_equal(messages[0].role, CHAT_ROLE_ASSISTANT);
    assert_int_equal(messages[0].content.length, 2);
    assert_true(messages[0].prefix);
    for (int role = -1; role <= 99; role += 100) {
        sample.message.role = (Bora__Internal__V1__ConversationMessage__Role)role;
        assert_int_equal(convert_messages(&sample.start, &sample.arena, &messages, &count, &sample.err),
                         STATUS_INVALID_ARGUMENT);
    }
    sample.start.n_messages = 0;
    assert_int_equal(convert_messages(&sample.start, &sample.arena, &messages, &count, &sample.err),
                     STATUS_INVALID_ARGUMENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_sample, close_sample)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_settings_arrive),
        TEST(test_what_is_out_of_range_is_refused),
        TEST(test_lists_are_bounded_and_of_one_length),
        TEST(test_beams_are_bounded),
        TEST(test_conversations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
