/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What a worker takes from a gateway: the gateway is trusted for policy, not for ranges. */
#include "services/worker/convert.h"

#include "base/limits.h"
#include "base/text.h"
#include "engine/weights/gguf.h"
#include "rpc/grpc_server.h"
#include "rpc/transcode.h"
#include "tests/support/check.h"
#include "tests/support/tiny_model.h"

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
    sample.message._content_case = BORA__INTERNAL__V1__CONVERSATION_MESSAGE___CONTENT_CONTENT;
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

/* ---- events, which the gateway takes apart again in an arena of a megabyte -------------------------------------------- */

static struct tokenizer *tokenizer;

static int open_tokenizer(void **state) {
    (void)state;
    struct gguf *gguf = NULL;
    size_t length;
    uint8_t *file = tiny_model_build(&(struct tiny_model_options){0}, &length);
    check_ok(gguf_open_memory(file, length, "tiny", &gguf, &check_error));
    check_ok(tokenizer_load_gguf(gguf, &tokenizer, &check_error)); /* copies what it needs */
    gguf_close(gguf);
    free(file);
    return 0;
}

static int close_tokenizer(void **state) {
    (void)state;
    tokenizer_destroy(tokenizer);
    return 0;
}

/** The next message of an event, unpacked into the sample's arena. */
static const Bora__Internal__V1__Delta *next_delta(struct generation_event *rest) {
    struct bytes packed;
    struct arena arena;
    ProtobufCMessage *unpacked = NULL;
    Bora__Internal__V1__Delta delta;
    bytes_init(&packed, 1 << 20);
    arena_init(&arena, 1 << 20);
    check_ok(convert_delta(rest, tokenizer, &arena, &delta));
    check_ok(protobuf_pack(&delta.base, &packed));
    assert_true(packed.length < 4 * LIMIT_DELTA_BYTES);
    arena_reset(&sample.arena);
    check_ok(protobuf_unpack(&bora__internal__v1__delta__descriptor, bytes_view(&packed), &sample.arena, &unpacked,
                             &check_error));
    arena_deinit(&arena);
    bytes_deinit(&packed);
    return (const void *)unpacked;
}

/** The answer of a search that fills the longest context: none of its messages is long, and they hold all of it. */
static void test_long_answer_takes_several_messages(void **state) {
    (void)state;
    enum { COUNT = LIMIT_CONTEXT_TOKENS, BYTES = 3 * COUNT + 1 };
    int32_t *ids = malloc(COUNT * sizeof *ids);
    uint8_t *text = malloc(BYTES);
    for (int32_t i = 0; i < COUNT; i++) {
        ids[i] = INT32_MAX - i; /* five bytes each */
        memcpy(text + 1 + 3 * i, "\xE2\x82\xAC", 3);
    }
    text[0] = 'a';
    struct generation_event rest = {
        .text = bytes_view_of(text, BYTES), .ids = ids, .id_count = COUNT, .completion_tokens = COUNT, .answer = 3};
    size_t id_count = 0, length = 0;
    while (rest.text.length > 0 || rest.id_count > 0) {
        const Bora__Internal__V1__Delta *delta = next_delta(&rest);
        assert_true(text_is_utf8(delta->text.data, delta->text.len));
        assert_memory_equal(delta->text.data, text + length, delta->text.len);
        assert_memory_equal(delta->token_ids, ids + id_count, delta->n_token_ids * sizeof *ids);
        assert_int_equal(delta->completion_tokens, COUNT);
        assert_int_equal(delta->answer, 3);
        length += delta->text.len;
        id_count += delta->n_token_ids;
    }
    assert_int_equal(length, BYTES);
    assert_int_equal(id_count, COUNT);
    free(ids);
    free(text);
}

static void test_many_log_probabilities_take_several_messages(void **state) {
    (void)state;
    enum { COUNT = 4000 };
    struct logprob_entry *entries = calloc(COUNT, sizeof *entries);
    for (int i = 0; i < COUNT; i++) {
        entries[i].chosen = (struct token_logprob){.id = i % TINY_VOCABULARY, .logprob = (float)-i};
        entries[i].top_count = LIMIT_TOP_LOGPROBS;
    }
    struct generation_event rest = {.text = bytes_view_string("held"), .logprobs = entries, .logprob_count = COUNT};
    size_t count = 0;
    for (bool first = true; rest.logprob_count > 0; first = false) {
        const Bora__Internal__V1__Delta *delta = next_delta(&rest);
        assert_int_equal(delta->text.len, first ? 4 : 0);
        assert_true(delta->n_logprobs > 0);
        for (size_t i = 0; i < delta->n_logprobs; i++) {
            assert_true(delta->logprobs[i]->logprob == (float)-(int)count++);
            assert_int_equal(delta->logprobs[i]->n_alternatives, LIMIT_TOP_LOGPROBS);
        }
    }
    assert_int_equal(count, COUNT);
    free(entries);
}

static void test_a_grammar_arrives(void **state) {
    (void)state;
    Bora__Internal__V1__Grammar grammar;
    struct grammar_source source;
    bora__internal__v1__grammar__init(&grammar);
    sample.start.grammar = &grammar;
    assert_int_equal(convert_grammar(&sample.start, &source, &sample.err), STATUS_OK);
    assert_true(source.kind == GRAMMAR_KIND_SCHEMA && bytes_view_equal_string(source.text, "{\"type\":\"object\"}"));
    grammar.text = (ProtobufCBinaryData){.len = 2, .data = (uint8_t *)"{}"};
    static const enum grammar_kind kinds[] = {GRAMMAR_KIND_SCHEMA, GRAMMAR_KIND_REGEX, GRAMMAR_KIND_GBNF,
                                              GRAMMAR_KIND_LARK};
    grammar.space = BORA__INTERNAL__V1__GRAMMAR__SPACE__SPACE_FREE;
    grammar.any_order = true;
    for (int i = 0; i < 4; i++) {
        grammar.kind = (Bora__Internal__V1__Grammar__Kind)(i + 1);
        assert_int_equal(convert_grammar(&sample.start, &source, &sample.err), STATUS_OK);
        assert_int_equal(source.kind, kinds[i]);
        assert_true(bytes_view_equal_string(source.text, "{}"));
        assert_true(source.space == GRAMMAR_SPACE_FREE && source.order == GRAMMAR_ORDER_ANY);
    }
    grammar.kind = (Bora__Internal__V1__Grammar__Kind)5;
    assert_int_equal(convert_grammar(&sample.start, &source, &sample.err), STATUS_INVALID_ARGUMENT);
    grammar.kind = BORA__INTERNAL__V1__GRAMMAR__KIND__KIND_REGEX;
    grammar.space = (Bora__Internal__V1__Grammar__Space)9;
    assert_int_equal(convert_grammar(&sample.start, &source, &sample.err), STATUS_INVALID_ARGUMENT);
}

/** A reason or a pointer that was cut inside a character is still a string of protobuf. */
static void test_why_a_grammar_is_declined(void **state) {
    (void)state;
    struct tools_problem problem = {.tool = -1,
                                    .problem = {.keyword = "pattern", .pointer = "/a/\xc3", .reason = "no \xe2\x82"}};
    Bora__Internal__V1__GrammarProblem grammar = BORA__INTERNAL__V1__GRAMMAR_PROBLEM__INIT;
    Bora__Internal__V1__WorkerError error = BORA__INTERNAL__V1__WORKER_ERROR__INIT;
    struct bytes packed;
    ProtobufCMessage *unpacked = NULL;
    bytes_init(&packed, 4096);
    convert_declined(&problem, &grammar, &error);
    assert_int_equal(protobuf_pack(&error.base, &packed), STATUS_OK);
    assert_int_equal(protobuf_unpack(&bora__internal__v1__worker_error__descriptor, bytes_view(&packed), &sample.arena,
                                     &unpacked, &sample.err),
                     STATUS_OK);
    const Bora__Internal__V1__WorkerError *read = (const void *)unpacked;
    assert_string_equal(read->grammar->keyword, "pattern");
    assert_string_equal(read->grammar->pointer, "/a/");
    assert_string_equal(read->grammar->reason, "no ");
    assert_int_equal(read->_tool_case, BORA__INTERNAL__V1__WORKER_ERROR___TOOL__NOT_SET);
    bytes_deinit(&packed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_sample, close_sample)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_grammar_arrives),
        TEST(test_why_a_grammar_is_declined),
        TEST(test_settings_arrive),
        TEST(test_what_is_out_of_range_is_refused),
        TEST(test_lists_are_bounded_and_of_one_length),
        TEST(test_beams_are_bounded),
        TEST(test_conversations),
        TEST(test_long_answer_takes_several_messages),
        TEST(test_many_log_probabilities_take_several_messages),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
