/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Answers that hold calls of tools: whole, the same whatever an engine does to be quick, and apart from the text. */
#include "tests/unit/engine/engine_fixture.h"

#include "base/arena.h"
#include "base/json.h"
#include "engine/engine_internal.h"
#include "engine/grammar/calls.h"
#include "engine/kv_cache/kv_cache.h"

#include <ctype.h>
#include <math.h>

static struct engine *reader; /* whose tokenizer the vocabulary has */
static struct grammar_vocabulary *vocabulary;
static struct call_format *format;

static int make_format(void **state) {
    if (write_model(state) != 0) return -1;
    struct engine_options options = default_options();
    reader = open_engine(&options);
    check_ok(grammar_vocabulary_create(engine_tokenizer(reader), &vocabulary, &check_error));
    check_ok(call_format_create(vocabulary, engine_calls(reader), &format, &check_error));
    return 0;
}

static int drop_format(void **state) {
    call_format_destroy(format);
    grammar_vocabulary_destroy(vocabulary);
    engine_close(reader);
    return remove_model(state);
}

/** Two tools, "add" of two digits and "say" of a short text; the schemas are gone when this returns. */
static struct grammar *compile(enum call_choice choice, bool parallel) {
    static const char *const schemas[] = {
        "{\"properties\":{\"a\":{\"enum\":[1,2,3]},\"b\":{\"enum\":[1,2,3]}},\"required\":[\"a\",\"b\"],"
        "\"additionalProperties\":false}",
        "{\"properties\":{\"text\":{\"type\":\"string\",\"pattern\":\"^[a-z]{1,6}$\"}},\"required\":[\"text\"],"
        "\"additionalProperties\":false}"};
    struct arena arena;
    struct call_tool tools[] = {{.name = bytes_view_string("add")}, {.name = bytes_view_string("say")}};
    struct grammar *grammar = NULL;
    struct call_problem problem = {0};
    arena_init(&arena, 1 << 20);
    for (int i = 0; i < 2; i++) {
        struct json_value *value = NULL;
        struct json_problem wrong = {0};
        check_ok(json_read(bytes_view_string(schemas[i]), 64, 1000, &arena, &value, &wrong));
        tools[i].parameters = value;
    }
    struct call_request request = {.tools = tools, .tool_count = 2, .choice = choice, .parallel = parallel};
    if (calls_compile(format, &request, &grammar, &problem) != STATUS_OK) fail_msg("%s", problem.problem.reason);
    arena_deinit(&arena);
    return grammar;
}

static struct generation_request ask(struct client *client, struct grammar *grammar, int64_t max_tokens) {
    struct generation_request request = request_of(client, prompt, 24, max_tokens);
    request.sampling.logit_bias_count = 0;
    request.grammar = grammar;
    request.calls = true;
    return request;
}

/** One call at the front of `text`; how long it is, 0: it is none. */
static size_t call_length(const char *text) {
    int length = 0;
    char word[8] = "";
    if (sscanf(text, "add({\"a\": %*1[123], \"b\": %*1[123]})%n", &length) == 0 && length > 0) return (size_t)length;
    if (sscanf(text, "say({\"text\": \"%6[a-z]\"})%n", word, &length) == 1 && length > 0) return (size_t)length;
    return 0;
}

static int count_calls(const struct client *client) {
    int count = 0;
    for (const char *at = client->calls; *at != 0; count++) {
        size_t length = call_length(at);
        if (length == 0) fail_msg("no calls: %s", client->calls);
        at += length;
    }
    return count;
}

static void test_calls_are_whole_whatever_is_drawn(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    for (int parallel = 0; parallel < 2; parallel++) {
        struct grammar *grammar = compile(CALL_CHOICE_REQUIRED, parallel);
        for (uint64_t seed = 0; seed < 12; seed++) {
            struct client client;
            client_init(&client, engine);
            struct generation_request request = ask(&client, grammar, 200);
            request.sampling.seed = seed;
            request.sampling.temperature = seed == 0 ? 0 : 3;
            run(engine, &client, &request);
            int calls = count_calls(&client);
            assert_int_equal(client.finish, FINISH_STOP); /* also where there was no room for another one */
            assert_int_equal(client.text_length, 0);
            assert_true(parallel ? calls >= 1 : calls == 1);
            assert_int_equal(strlen(client.call_ids), 10 * calls);
            client_deinit(&client);
        }
        grammar_unref(grammar);
    }
    engine_close(engine);
}

static void test_content_before_calls_is_text(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct grammar *grammar = compile(CALL_CHOICE_AUTO, true);
    const struct logit_bias bias[] = {{'<', 100}, {'t', 80}, {'o', 60}}; /* "<t" is as far as they lead by themselves */
    struct client client;
    client_init(&client, engine);
    struct generation_request request = ask(&client, grammar, 60);
    request.sampling.logit_bias = bias;
    request.sampling.logit_bias_count = 3;
    run(engine, &client, &request);
    assert_int_equal(client.text_length, 60); /* nothing that was held back is lost */
    assert_true(memchr(client.text, '<', client.text_length) != NULL);
    assert_int_equal(client.finish, FINISH_LENGTH);
    client_deinit(&client);
    grammar_unref(grammar);
    engine_close(engine);
}

static void test_a_stop_string_looks_at_content_only(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct grammar *grammar = compile(CALL_CHOICE_REQUIRED, false);
    struct bytes_view stop[] = {bytes_view_string("\""), bytes_view_string("tool")};
    struct client client;
    client_init(&client, engine);
    struct generation_request request = ask(&client, grammar, 200);
    request.stop = stop;
    request.stop_count = 2;
    run(engine, &client, &request);
    assert_int_equal(count_calls(&client), 1);
    client_deinit(&client);
    client_init(&client, engine);
    request = ask(&client, grammar, 200);
    request.stop = stop;
    request.stop_count = 2;
    request.beam.width = 2;
    assert_int_equal(submit(&client, &request), STATUS_INVALID_ARGUMENT);
    client_deinit(&client);
    grammar_unref(grammar);
    engine_close(engine);
}

/** Of calls no entry is told, but their sum is: best_of needs it. */
static void test_log_probabilities_of_calls_are_summed(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct grammar *grammar = compile(CALL_CHOICE_REQUIRED, false);
    struct client client;
    client_init(&client, engine);
    struct generation_request request = ask(&client, grammar, 200);
    request.sampling.top_logprobs = 0;
    run(engine, &client, &request);
    assert_int_equal(client.logprob_count, 0);
    assert_int_equal(client.other_logprob_count, client.id_count - 1); /* not of the end */
    assert_true(client.other_logprob_sum < 0 && isfinite(client.other_logprob_sum));
    client_deinit(&client);
    grammar_unref(grammar);
    engine_close(engine);
}

/* ---- the same, however it is made ----------------------------------------------------------------------------------- */

enum { COUNT = 12 };
static struct client alone[COUNT], together[COUNT];

static void start(struct engine *engine, struct client *client, struct grammar *grammar, int i) {
    client_init(client, engine);
    struct generation_request request = ask(client, grammar, 120);
    request.sampling.seed = (uint64_t)i;
    request.sampling.temperature = i % 4 == 0 ? 0 : 1 + i % 3;
    request.prompt_count = (size_t)(24 - i % 3);
    check_ok(submit(client, &request));
}

static void ask_together(struct engine_options *options, const char *what) {
    struct engine *engine = open_engine(options);
    struct grammar *grammar = compile(CALL_CHOICE_REQUIRED, true);
    for (int i = 0; i < COUNT; i++) start(engine, &together[i], grammar, i);
    grammar_unref(grammar); /* generations have theirs */
    for (int i = 0; i < COUNT; i++) {
        wait_done(&together[i]);
        client_deinit(&together[i]);
        if (strcmp(alone[i].calls, together[i].calls) != 0 || strcmp(alone[i].call_ids, together[i].call_ids) != 0 ||
            alone[i].finish != together[i].finish)
            fail_msg("request %d is answered differently %s: %s, %s", i, what, alone[i].calls, together[i].calls);
    }
    engine_close(engine);
}

static void test_calls_depend_on_the_request_alone(void **state) {
    (void)state;
    struct engine_options options = default_options();
    options.sequences_max = 1;
    for (int i = 0; i < COUNT; i++) {
        struct engine *engine = open_engine(&options);
        struct grammar *grammar = compile(CALL_CHOICE_REQUIRED, true);
        start(engine, &alone[i], grammar, i);
        wait_done(&alone[i]);
        client_deinit(&alone[i]);
        assert_true(count_calls(&alone[i]) > 0);
        grammar_unref(grammar);
        engine_close(engine);
    }
    options.metrics = metrics_create();
    options.sequences_max = COUNT;
    ask_together(&options, "together");
    options.speculation = true;
    ask_together(&options, "with guesses");
    struct kv_cache_options cache = {.type = KV_F16, .layers = 2, .kv_heads = 2, .head_dim = 16}; /* the tiny model's */
    options.kv_pool_bytes = 12 * (int64_t)kv_cache_block_bytes(&cache);
    struct metric *preemptions = metrics_counter(options.metrics, "bora_engine_preemptions_total", "");
    for (int round = 0; round < 50 && metric_value(preemptions) == 0; round++)
        ask_together(&options, "in little memory");
    assert_true(metric_value(preemptions) > 0);
    metrics_destroy(options.metrics);
}

static void test_cancelled_inside_a_call(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct grammar *grammar = compile(CALL_CHOICE_REQUIRED, true);
    for (int event = 1; event < 40; event += 6) {
        struct client client;
        client_init(&client, engine);
        client.cancel_at = event;
        struct generation_request request = ask(&client, grammar, 200);
        run(engine, &client, &request);
        assert_true(client.finish == FINISH_CANCELLED || client.finish == FINISH_STOP);
        (void)count_calls(&client); /* what was told is whole */
        client_deinit(&client);
    }
    grammar_unref(grammar);
    engine_close(engine);
}

/** An answer that is read when it has ended, as those of a search are, may hold more calls than a message. */
static void test_no_more_calls_are_told_than_a_message_may_hold(void **state) {
    (void)state;
    struct grammar *grammar = compile(CALL_CHOICE_REQUIRED, true);
    struct generation_request request = ask(NULL, grammar, 200);
    struct call_reading *reading = NULL;
    struct text_stream text;
    struct token_list ids = {.max_count = 1 << 20};
    struct generation_event event = {0};
    struct bytes answer;
    bytes_init(&answer, 1 << 20);
    for (int i = 0; i < 2 * LIMIT_TOOLS; i++)
        check_ok(bytes_append_string(
            &answer, "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1, \"b\": 2}}\n</tool_call>\n"));
    answer.length--; /* nothing stands behind the last */
    check_ok(tokenizer_encode(engine_tokenizer(reader), bytes_view(&answer), &ids, &check_error));
    check_ok(text_stream_init(&text, engine_tokenizer(reader), NULL, 0, &check_error));
    check_ok(call_reading_create(&request, &reading, &check_error));
    for (size_t i = 0; i < ids.count; i++) check_ok(call_reading_push(reading, &text, ids.ids[i]));
    check_ok(call_reading_finish(reading, &text));
    assert_int_equal(call_reading_count(reading), 2 * LIMIT_TOOLS);
    call_reading_tell(reading, &event);
    assert_int_equal(event.call_count, LIMIT_TOOLS);
    call_reading_told(reading);
    call_reading_tell(reading, &event);
    assert_int_equal(event.call_count, 0);
    call_reading_destroy(reading);
    text_stream_deinit(&text);
    token_list_deinit(&ids);
    bytes_deinit(&answer);
    grammar_unref(grammar);
}

/* ---- beam searches ------------------------------------------------------------------------------------------------- */

struct answers {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int count, whole;
    char ids[4][16];
};

static void on_answer(void *context, const struct generation_event *event) {
    struct answers *answers = context;
    pthread_mutex_lock(&answers->mutex);
    answers->whole += event->finish == FINISH_STOP && event->call_count == 1 && event->text.length == 0;
    if (event->call_count > 0) snprintf(answers->ids[answers->count], 16, "%s", event->calls[0].id);
    answers->count++;
    pthread_cond_signal(&answers->changed);
    pthread_mutex_unlock(&answers->mutex);
}

static void test_every_beam_is_a_call(void **state) {
    (void)state;
    enum { WIDTH = 4 };
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct grammar *grammar = compile(CALL_CHOICE_REQUIRED, false);
    struct answers answers = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct generation *generation = NULL;
    struct generation_request request = ask(NULL, grammar, 200);
    request.sampling.temperature = 0;
    request.beam = (struct beam_options){.width = WIDTH, .answers = WIDTH, .length_penalty = 1};
    request.on_event = on_answer;
    request.context = &answers;
    check_ok(engine_submit(engine, &request, &generation, &check_error));
    pthread_mutex_lock(&answers.mutex);
    while (answers.count < WIDTH) pthread_cond_wait(&answers.changed, &answers.mutex);
    pthread_mutex_unlock(&answers.mutex);
    engine_release(engine, generation);
    assert_int_equal(answers.whole, WIDTH);
    for (int i = 1; i < WIDTH; i++) assert_string_not_equal(answers.ids[i - 1], answers.ids[i]);
    grammar_unref(grammar);
    engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_are_whole_whatever_is_drawn),
        cmocka_unit_test(test_content_before_calls_is_text),
        cmocka_unit_test(test_a_stop_string_looks_at_content_only),
        cmocka_unit_test(test_log_probabilities_of_calls_are_summed),
        cmocka_unit_test(test_calls_depend_on_the_request_alone),
        cmocka_unit_test(test_cancelled_inside_a_call),
        cmocka_unit_test(test_no_more_calls_are_told_than_a_message_may_hold),
        cmocka_unit_test(test_every_beam_is_a_call),
    };
    return cmocka_run_group_tests(tests, make_format, drop_format);
}
