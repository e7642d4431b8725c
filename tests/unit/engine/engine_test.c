/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The engine as its callers see it, on tiny random models: events, pauses, cancellation, closing, from several threads. */
#include "tests/unit/engine/engine_fixture.h"

#include "base/random.h"
#include "base/text.h"

#include <math.h>
#include <time.h>
#include <unistd.h>

/* ---- tests ------------------------------------------------------------------------------------------------------------ */

static void test_generation_ends_by_length_with_exact_usage(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct client client;
    client_init(&client, engine);
    struct generation_request request = request_of(&client, prompt, 24, 30);
    run(engine, &client, &request);
    assert_int_equal(client.finish, FINISH_LENGTH);
    assert_int_equal(client.prompt_tokens, 24);
    assert_int_equal(client.completion_tokens, 30);
    assert_int_equal(client.id_count, 30);
    assert_int_equal(client.load_at_end.running, 0); /* the slot is free when the last event comes */
    assert_int_equal(client.load_at_end.kv_tokens_used, 0);
    client_deinit(&client);
    engine_close(engine);
}

static void test_text_is_what_the_ids_say(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct client client;
    client_init(&client, engine);
    struct generation_request request = request_of(&client, prompt, 24, 100);
    run(engine, &client, &request);
    struct bytes expected;
    struct detokenizer detokenizer;
    bytes_init(&expected, TEXT_MAX);
    detokenizer_init(&detokenizer, engine_tokenizer(engine));
    for (size_t i = 0; i < client.id_count; i++) check_ok(detokenizer_push(&detokenizer, client.ids[i], &expected));
    check_ok(detokenizer_finish(&detokenizer, &expected));
    assert_int_equal(client.text_length, expected.length);
    assert_memory_equal(client.text, expected.data, expected.length);
    bytes_deinit(&expected);
    client_deinit(&client);
    engine_close(engine);
}

static void test_end_token_stops_counts_and_has_no_text(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct client client;
    client_init(&client, engine);
    struct generation_request request = request_of(&client, prompt, 24, 30);
    const struct logit_bias force[] = {{TINY_END_OF_TURN, 100}};
    request.sampling.logit_bias = force;
    request.sampling.logit_bias_count = 1;
    run(engine, &client, &request);
    assert_int_equal(client.finish, FINISH_STOP);
    assert_int_equal(client.completion_tokens, 1);
    assert_int_equal(client.ids[0], TINY_END_OF_TURN);
    assert_int_equal(client.text_length, 0);
    client_deinit(&client);
    engine_close(engine);
}

static void test_stop_string_never_leaks(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct client whole, stopped;
    client_init(&whole, engine);
    client_init(&stopped, engine);
    struct generation_request request = request_of(&whole, prompt, 24, 120);
    /* ASCII alone, so that some part of the text can be a stop string. */
    static struct logit_bias printable[95];
    for (int i = 0; i < 95; i++) printable[i] = (struct logit_bias){' ' + i, 60};
    request.sampling.logit_bias = printable;
    request.sampling.logit_bias_count = 95;
    run(engine, &whole, &request);
    assert_true(whole.text_length >= 100);
    struct bytes_view stop[] = {bytes_view_of("never in it \x01", 13), bytes_view_of(whole.text + 50, 5)};
    request.stop = stop;
    request.stop_count = 2;
    request.context = &stopped;
    run(engine, &stopped, &request);
    assert_int_equal(stopped.finish, FINISH_STOP);
    size_t first = (size_t)((char *)memmem(whole.text, whole.text_length, stop[1].data, 5) - whole.text);
    assert_int_equal(stopped.text_length, first);
    assert_memory_equal(stopped.text, whole.text, first);
    assert_int_equal(stopped.completion_tokens, first + 5); /* one byte a token; those of the stop string count */
    client_deinit(&whole);
    client_deinit(&stopped);
    engine_close(engine);
}

static void test_full_context_is_model_length(void **state) {
    (void)state;
    struct engine_options options = default_options();
    options.context_tokens = 64;
    struct engine *engine = open_engine(&options);
    struct client client;
    client_init(&client, engine);
    struct generation_request request = request_of(&client, prompt, 24, 40);
    run(engine, &client, &request);
    assert_int_equal(client.finish, FINISH_MODEL_LENGTH);
    assert_int_equal(client.completion_tokens, 40);
    client_deinit(&client);
    engine_close(engine);
}

static void test_max_tokens_zero_finishes_at_once(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct client client;
    client_init(&client, engine);
    struct generation_request request = request_of(&client, prompt, 24, 0);
    run(engine, &client, &request);
    assert_int_equal(client.finish, FINISH_LENGTH);
    assert_int_equal(client.completion_tokens, 0);
    assert_int_equal(client.events, 1);
    client_deinit(&client);
    engine_close(engine);
}

static void test_logprobs_come_with_every_token(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct client client;
    client_init(&client, engine);
    struct generation_request request = request_of(&client, prompt, 24, 20);
    request.sampling.top_logprobs = 3;
    run(engine, &client, &request);
    for (size_t i = 0; i < client.id_count; i++) {
        assert_int_equal(client.logprobs[i].chosen.id, client.ids[i]);
        assert_int_equal(client.logprobs[i].top_count, 3);
        assert_true(client.logprobs[i].top[0].logprob >= client.logprobs[i].top[1].logprob &&
                    client.logprobs[i].top[0].logprob <= 0);
    }
    client_deinit(&client);
    engine_close(engine);
}

/** Log-probabilities keep the promise of the text: no token of a stop string, and none whose text is held back. */
static void test_logprobs_end_where_the_text_ends(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct client whole, cut;
    client_init(&whole, engine);
    struct generation_request request = request_of(&whole, prompt, 24, 40);
    request.sampling.top_logprobs = 0;
    run(engine, &whole, &request);
    assert_int_equal(whole.logprob_count, 40);
    /* A stop string of three bytes from the middle of the text. */
    size_t at = whole.text_length / 2;
    while (at + 3 < whole.text_length && !text_is_utf8((const uint8_t *)whole.text + at, 3)) at++;
    struct bytes_view stop = bytes_view_of(whole.text + at, 3);
    size_t first = (size_t)((const char *)memmem(whole.text, whole.text_length, stop.data, 3) - whole.text);
    client_init(&cut, engine);
    request = request_of(&cut, prompt, 24, 40);
    request.sampling.top_logprobs = 0;
    request.stop = &stop;
    request.stop_count = 1;
    run(engine, &cut, &request);
    assert_int_equal(cut.finish, FINISH_STOP);
    assert_int_equal(cut.text_length, first);
    assert_true(cut.logprob_count < cut.id_count);
    struct bytes text;
    struct detokenizer detokenizer;
    bytes_init(&text, TEXT_MAX);
    detokenizer_init(&detokenizer, engine_tokenizer(engine));
    for (size_t i = 0; i < cut.logprob_count; i++) {
        assert_int_equal(cut.logprobs[i].chosen.id, whole.ids[i]);
        check_ok(detokenizer_push(&detokenizer, cut.logprobs[i].chosen.id, &text));
    }
    assert_true(text.length <= first);
    bytes_deinit(&text);
    client_deinit(&whole);
    client_deinit(&cut);
    engine_close(engine);
}

/** A stop string of one character that comes as two tokens: the first has no text yet, and its log-probability is not given out either. */
static void test_logprobs_do_not_leak_half_a_character(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    /* Greedy: C3, then - as C3 is penalised now - A9. */
    static const struct logit_bias bias[] = {{0xC3, 100}, {0xA9, 80}};
    struct bytes_view stop = bytes_view_string("\xC3\xA9");
    for (int stops = 0; stops < 2; stops++) {
        struct client client;
        client_init(&client, engine);
        struct generation_request request = request_of(&client, prompt, 24, 2);
        request.sampling.temperature = 0;
        request.sampling.top_logprobs = 0;
        request.sampling.repetition_penalty = 2;
        request.sampling.logit_bias = bias;
        request.sampling.logit_bias_count = 2;
        request.stop = &stop;
        request.stop_count = (size_t)stops;
        run(engine, &client, &request);
        assert_int_equal(client.finish, stops ? FINISH_STOP : FINISH_LENGTH);
        assert_int_equal(client.ids[0], 0xC3);
        assert_int_equal(client.ids[1], 0xA9);
        assert_int_equal(client.text_length, stops ? 0 : 2);
        assert_int_equal(client.logprob_count, stops ? 0 : 2);
        client_deinit(&client);
    }
    engine_close(engine);
}

static void test_bad_requests_are_named(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct client client;
    client_init(&client, engine);
    struct generation_request good = request_of(&client, prompt, 24, 10), bad;
    bad = good, bad.max_tokens = 256 - 23;
    check_fails(submit(&client, &bad), STATUS_OUT_OF_RANGE, "context");
    bad = good, bad.max_tokens = INT64_MAX;
    check_fails(submit(&client, &bad), STATUS_OUT_OF_RANGE, "context");
    bad = good, bad.prompt_count = 0;
    check_fails(submit(&client, &bad), STATUS_INVALID_ARGUMENT, "prompt");
    bad = good, bad.max_tokens = -1;
    check_fails(submit(&client, &bad), STATUS_INVALID_ARGUMENT, "max_tokens");
    bad = good, bad.prompt = (const int32_t[]){5, TINY_VOCABULARY}, bad.prompt_count = 2;
    check_fails(submit(&client, &bad), STATUS_INVALID_ARGUMENT, "prompt token 1");
    bad = good, bad.prompt = (const int32_t[]){-1}, bad.prompt_count = 1;
    check_fails(submit(&client, &bad), STATUS_INVALID_ARGUMENT, "prompt token 0");
    bad = good, bad.sampling.top_p = 0;
    check_fails(submit(&client, &bad), STATUS_INVALID_ARGUMENT, "top_p");
    struct bytes_view stop[LIMIT_STOP_STRINGS + 1] = {bytes_view_of("\xC3", 1)};
    bad = good, bad.stop = stop, bad.stop_count = 1;
    check_fails(submit(&client, &bad), STATUS_INVALID_ARGUMENT, "stop string 0");
    stop[0] = bytes_view_of("", 0);
    check_fails(submit(&client, &bad), STATUS_INVALID_ARGUMENT, "stop string 0");
    bad.stop_count = LIMIT_STOP_STRINGS + 1;
    check_fails(submit(&client, &bad), STATUS_INVALID_ARGUMENT, "stop strings");
    assert_int_equal(client.events, 0);
    assert_null(client.generation);
    client_deinit(&client);
    engine_close(engine);
}

static void test_queue_is_bounded(void **state) {
    (void)state;
    struct engine_options options = default_options();
    options.sequences_max = 1;
    options.queue_max = 2;
    struct engine *engine = open_engine(&options);
    struct client clients[4];
    for (int i = 0; i < 4; i++) client_init(&clients[i], engine);
    for (int i = 0; i < 3; i++) {
        clients[i].pause_at = 1;
        struct generation_request request = request_of(&clients[i], prompt, 24, 10);
        check_ok(submit(&clients[i], &request));
    }
    struct generation_request request = request_of(&clients[3], prompt, 24, 10);
    check_fails(submit(&clients[3], &request), STATUS_RESOURCE_EXHAUSTED, "queue");
    struct engine_load load;
    int64_t hints[2];
    for (int i = 0; i < 2; i++) {
        engine_load(engine, &load);
        hints[i] = load.retry_after_ms;
        assert_in_range(hints[i], 750, 1250); /* about a second, for nothing has ended yet */
    }
    assert_true(hints[0] != hints[1]); /* who is refused together does not come back together */
    for (int i = 0; i < 3; i++) engine_cancel(engine, clients[i].generation);
    for (int i = 0; i < 3; i++) wait_done(&clients[i]);
    run(engine, &clients[3], &request);
    assert_int_equal(clients[3].finish, FINISH_LENGTH);
    for (int i = 0; i < 4; i++) client_deinit(&clients[i]);
    engine_close(engine);
}

/** One tenant fills the queue; another's generation takes the place of its newest, which is told as if it had been refused when it came. */
static void test_full_queue_has_room_for_a_tenant_with_less(void **state) {
    (void)state;
    struct engine_options options = default_options();
    options.sequences_max = 1;
    options.queue_max = 3;
    struct engine *engine = open_engine(&options);
    struct client clients[5], more;
    for (int i = 0; i < 5; i++) client_init(&clients[i], engine);
    client_init(&more, engine);
    for (int i = 0; i < 5; i++) {
        if (i == 0) clients[i].pause_at = 1;
        struct generation_request request = request_of(&clients[i], prompt, 24, 10);
        request.tenant = i < 4 ? "many" : "few";
        if (i == 0) { /* its first event, and with it the engine, waits until all have been submitted */
            pthread_mutex_lock(&clients[0].mutex);
            check_ok(engine_submit(engine, &request, &clients[0].generation, &check_error));
        } else {
            check_ok(submit(&clients[i], &request));
        }
    }
    struct generation_request request = request_of(&more, prompt, 24, 10);
    request.tenant = "many";
    check_fails(submit(&more, &request), STATUS_RESOURCE_EXHAUSTED, "queue");
    pthread_mutex_unlock(&clients[0].mutex);
    wait_done(&clients[3]);
    assert_int_equal(clients[3].finish, FINISH_REFUSED);
    assert_int_equal(clients[3].events, 1);
    assert_int_equal(clients[3].completion_tokens, 0);
    wait_done(&clients[4]);
    assert_int_equal(clients[4].finish, FINISH_LENGTH);
    engine_cancel(engine, clients[0].generation);
    for (int i = 0; i < 3; i++) wait_done(&clients[i]);
    assert_int_equal(clients[2].finish, FINISH_LENGTH);
    for (int i = 0; i < 5; i++) client_deinit(&clients[i]);
    client_deinit(&more);
    engine_close(engine);
}

static void test_cancel_frees_the_slot_within_one_step(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct client client;
    client_init(&client, engine);
    client.cancel_at = 5;
    struct generation_request request = request_of(&client, prompt, 24, 200);
    run(engine, &client, &request);
    assert_int_equal(client.finish, FINISH_CANCELLED);
    assert_int_equal(client.completion_tokens, 5);
    assert_int_equal(client.events, 6);
    assert_int_equal(client.load_at_end.running, 0);
    assert_int_equal(client.load_at_end.kv_tokens_used, 0);
    assert_int_equal(client.load_at_end.steps, 5);
    client_deinit(&client);
    engine_close(engine);
}

static void test_paused_takes_no_part_and_goes_on_unchanged(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct client plain, paused, other;
    client_init(&plain, engine);
    client_init(&paused, engine);
    client_init(&other, engine);
    struct generation_request request = request_of(&plain, prompt, 24, 60);
    run(engine, &plain, &request);
    request.context = &paused;
    paused.pause_at = 7;
    check_ok(submit(&paused, &request));
    wait_for_events(&paused, 7);
    request.context = &other;
    run(engine, &other, &request); /* others go on meanwhile */
    pthread_mutex_lock(&paused.mutex);
    assert_int_equal(paused.events, 7);
    pthread_mutex_unlock(&paused.mutex);
    engine_resume(engine, paused.generation);
    wait_done(&paused);
    assert_int_equal(paused.id_count, plain.id_count);
    assert_memory_equal(paused.ids, plain.ids, plain.id_count * sizeof *plain.ids);
    client_deinit(&plain);
    client_deinit(&paused);
    client_deinit(&other);
    engine_close(engine);
}

static double cpu_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/** Idle, and with nothing but a paused generation, the step thread sleeps. */
static void test_idle_engine_uses_no_processor(void **state) {
    (void)state;
    struct engine_options options = default_options();
    options.threads = 2;
    struct engine *engine = open_engine(&options);
    struct client client;
    client_init(&client, engine);
    client.pause_at = 3;
    struct generation_request request = request_of(&client, prompt, 24, 50);
    check_ok(submit(&client, &request));
    wait_for_events(&client, 3);
    struct engine_load before, after;
    do engine_load(engine, &before); /* until the step that gave the third event is over */
    while (before.steps < 3);
    double began = cpu_seconds();
    usleep(200000); /* doing nothing takes time to see */
    assert_true(cpu_seconds() - began < 0.05);
    engine_load(engine, &after);
    assert_int_equal(after.steps, 3);
    assert_int_equal(after.running, 1);
    engine_cancel(engine, client.generation);
    wait_done(&client);
    client_deinit(&client);
    engine_close(engine);
}

static void test_close_cancels_what_runs_and_waits(void **state) {
    (void)state;
    struct engine_options options = default_options();
    options.sequences_max = 2;
    struct engine *engine = open_engine(&options);
    struct client clients[6];
    for (int i = 0; i < 6; i++) {
        client_init(&clients[i], engine);
        clients[i].release_in_event = i % 2 == 0;
        clients[i].pause_at = 1 + i * 3; /* so that none has ended, however late we come */
        struct generation_request request = request_of(&clients[i], prompt, 24, 200);
        check_ok(submit(&clients[i], &request));
    }
    wait_for_events(&clients[0], 1);
    engine_close(engine); /* frees the handles that were not released */
    for (int i = 0; i < 6; i++) {
        assert_true(clients[i].done);
        assert_int_equal(clients[i].finish, FINISH_CANCELLED);
        clients[i].generation = NULL;
        client_deinit(&clients[i]);
    }
}

/** `count` prompts of different lengths, seeds and settings, all at once or one after another. */
static void run_many(const struct engine_options *options, struct client *clients, int count, bool at_once) {
    struct engine *engine = open_engine(options);
    for (int i = 0; i < count; i++) {
        client_init(&clients[i], engine);
        struct generation_request request =
            request_of(&clients[i], prompt, 3 + (size_t)(i * 5) % 37, 20 + (i * 13) % 80);
        request.sampling.seed = (uint64_t)i;
        request.sampling.temperature = i % 3;
        request.sampling.top_p = i % 2 == 0 ? 1 : 0.9;
        request.sampling.frequency_penalty = i % 4 == 0 ? 0.5 : 0;
        check_ok(submit(&clients[i], &request));
        if (!at_once) wait_done(&clients[i]);
    }
    for (int i = 0; i < count; i++) {
        wait_done(&clients[i]);
        client_deinit(&clients[i]);
    }
    engine_close(engine);
}

static void test_many_at_once_equal_one_by_one(void **state) {
    (void)state;
    enum { COUNT = 20 };
    static struct client alone[COUNT], together[COUNT];
    for (const char *const *variant = kernels_cpu_variants(); *variant != NULL; variant++) {
        struct engine_options options = default_options();
        options.variant = *variant;
        run_many(&options, alone, COUNT, false);
        options.threads = 2;
        options.step_tokens_max = 17;
        run_many(&options, together, COUNT, true);
        for (int i = 0; i < COUNT; i++) {
            assert_int_equal(together[i].id_count, alone[i].id_count);
            assert_memory_equal(together[i].ids, alone[i].ids, alone[i].id_count * sizeof *alone[i].ids);
            assert_int_equal(together[i].text_length, alone[i].text_length);
            assert_memory_equal(together[i].text, alone[i].text, alone[i].text_length);
            assert_int_equal(together[i].finish, alone[i].finish);
        }
    }
}

/* ---- races, for the thread sanitizer ---------------------------------------------------------------------------------- */

struct storm {
    struct engine *engine;
    uint64_t seed;
    int finished[FINISH_ERROR + 1];
};

static void *submit_and_disturb(void *context) {
    struct storm *storm = context;
    for (uint64_t round = 0; round < 40; round++) {
        struct client client;
        client_init(&client, storm->engine);
        uint64_t draw = random_philox(storm->seed, round, 0);
        client.release_in_event = draw % 2 == 0;
        struct generation_request request =
            request_of(&client, prompt, 1 + draw / 2 % 39, (int64_t)(1 + draw / 128 % 40));
        request.tenant = (const char *[]){"a", "b", "c"}[draw % 3];
        request.priority = (int)(draw / 8192 % 3);
        check_ok(submit(&client, &request));
        wait_for_events(&client, 1 + (int)(draw / 32768 % 5));
        pthread_mutex_lock(
            &client.mutex); /* a handle that is released in its last event may only be touched before it */
        if (!client.done && draw / 262144 % 3 == 0) engine_cancel(storm->engine, client.generation);
        if (!client.done && draw / 262144 % 3 == 1) engine_pause(storm->engine, client.generation);
        pthread_mutex_unlock(&client.mutex);
        struct engine_load load;
        engine_load(storm->engine, &load);
        pthread_mutex_lock(&client.mutex);
        if (!client.done) engine_resume(storm->engine, client.generation);
        pthread_mutex_unlock(&client.mutex);
        wait_done(&client);
        storm->finished[client.finish]++;
        client_deinit(&client);
    }
    return NULL;
}

static void test_many_threads_submit_pause_and_cancel(void **state) {
    (void)state;
    enum { THREADS = 6 };
    struct engine_options options = default_options();
    options.sequences_max = 3;
    options.threads = 2;
    struct engine *engine = open_engine(&options);
    struct storm storms[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        storms[i] = (struct storm){.engine = engine, .seed = (uint64_t)i};
        assert_int_equal(pthread_create(&threads[i], NULL, submit_and_disturb, &storms[i]), 0);
    }
    int total = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        for (int f = FINISH_STOP; f <= FINISH_CANCELLED; f++) total += storms[i].finished[f];
    }
    assert_int_equal(total, THREADS * 40);
    struct engine_load load;
    engine_load(engine, &load);
    assert_int_equal(load.running + load.waiting, 0);
    assert_int_equal(load.kv_tokens_used, 0);
    engine_close(engine);
}

/* ---- opening ----------------------------------------------------------------------------------------------------------- */

static void refused(struct engine_options options, enum status status, const char *word) {
    struct engine *engine = NULL;
    check_fails(engine_open(&options, &engine, &check_error), status, word);
    assert_null(engine);
}

/** From the options' name to the kernels. */
static void test_every_kv_type_generates(void **state) {
    (void)state;
    static const char *const types[] = {"f32", "f16", "bf16", "int8"};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct engine_options options = default_options();
        options.kv_type = types[i];
        struct engine *engine = open_engine(&options);
        struct client client;
        client_init(&client, engine);
        struct generation_request request = request_of(&client, prompt, 40, 20);
        run(engine, &client, &request);
        assert_int_equal(client.finish, FINISH_LENGTH);
        assert_int_equal(client.id_count, 20);
        client_deinit(&client);
        engine_close(engine);
    }
}

static void test_opening_says_what_is_wrong(void **state) {
    (void)state;
    struct engine_options good = default_options(), bad;
    bad = good, bad.model_path = "/nonexistent/model.gguf";
    refused(bad, STATUS_NOT_FOUND, "/nonexistent/model.gguf");
    bad = good, bad.context_tokens = 257;
    refused(bad, STATUS_INVALID_ARGUMENT, "257");
    bad = good, bad.kv_type = "q8";
    refused(bad, STATUS_INVALID_ARGUMENT, "q8");
    bad = good, bad.variant = "avx1024";
    refused(bad, STATUS_NOT_FOUND, "avx1024");
    bad = good, bad.device = "cuda:0";
    refused(bad, STATUS_NOT_FOUND, "cuda:0");
    bad = good, bad.kv_pool_bytes = 4096;
    refused(bad, STATUS_RESOURCE_EXHAUSTED, "256 tokens");
    bad = good, bad.step_tokens_max = 0;
    refused(bad, STATUS_INVALID_ARGUMENT, "0 rows");
    bad = good, bad.sequences_max = 0;
    refused(bad, STATUS_INVALID_ARGUMENT, "0 sequences");
    bad = good, bad.queue_max = -1;
    refused(bad, STATUS_INVALID_ARGUMENT, "-1 waiting");
}

static void test_description_and_smaller_context(void **state) {
    (void)state;
    struct engine_options options = default_options();
    options.context_tokens = 100;
    options.kv_pool_bytes = 1 << 20;
    struct engine *engine = open_engine(&options);
    struct engine_description description;
    engine_describe(engine, &description);
    assert_string_equal(description.architecture, "llama");
    assert_string_equal(description.layout, "chatml");
    assert_int_equal(description.context_tokens, 100);
    assert_int_equal(description.vocabulary, TINY_VOCABULARY);
    /* 2 layers of keys and values, 2 heads of 16 in f16, blocks of 32 tokens: 8 KiB a block */
    assert_int_equal(description.kv_pool_tokens, (1 << 20) / 8192 * 32);
    assert_int_equal(description.parameters, 300 * 64 + 64 + 2 * (2 * 64 + 2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64));
    engine_close(engine);
}

static void test_tokenize_lays_out_the_conversation(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct chat_message message = {.role = CHAT_ROLE_USER, .content = bytes_view_string("hxy<|im_end|>")};
    struct chat_conversation conversation = {.messages = &message, .message_count = 1};
    struct token_list ids = {.max_count = 100}, few = {.max_count = 5};
    check_ok(engine_tokenize(engine, &conversation, NULL, &ids, &check_error));
    assert_int_equal(ids.ids[0], 298);
    int ends = 0;
    for (size_t i = 0; i < ids.count; i++) ends += ids.ids[i] == TINY_END_OF_TURN;
    assert_int_equal(ends, 1); /* the layout's own; text never becomes a control token */
    assert_int_equal(engine_tokenize(engine, &conversation, NULL, &few, NULL), STATUS_OUT_OF_RANGE);
    struct chat_prompt_bound bound;
    assert_true(engine_prompt_bound(engine, &bound));
    assert_in_range(ids.count, 1, bound.fixed + bound.message + bound.byte * (int64_t)message.content.length);
    token_list_deinit(&ids);
    token_list_deinit(&few);
    engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generation_ends_by_length_with_exact_usage),
        cmocka_unit_test(test_text_is_what_the_ids_say),
        cmocka_unit_test(test_end_token_stops_counts_and_has_no_text),
        cmocka_unit_test(test_stop_string_never_leaks),
        cmocka_unit_test(test_full_context_is_model_length),
        cmocka_unit_test(test_max_tokens_zero_finishes_at_once),
        cmocka_unit_test(test_logprobs_come_with_every_token),
        cmocka_unit_test(test_logprobs_end_where_the_text_ends),
        cmocka_unit_test(test_logprobs_do_not_leak_half_a_character),
        cmocka_unit_test(test_bad_requests_are_named),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_full_queue_has_room_for_a_tenant_with_less),
        cmocka_unit_test(test_cancel_frees_the_slot_within_one_step),
        cmocka_unit_test(test_paused_takes_no_part_and_goes_on_unchanged),
        cmocka_unit_test(test_idle_engine_uses_no_processor),
        cmocka_unit_test(test_close_cancels_what_runs_and_waits),
        cmocka_unit_test(test_many_at_once_equal_one_by_one),
        cmocka_unit_test(test_many_threads_submit_pause_and_cancel),
        cmocka_unit_test(test_every_kv_type_generates),
        cmocka_unit_test(test_opening_says_what_is_wrong),
        cmocka_unit_test(test_description_and_smaller_context),
        cmocka_unit_test(test_tokenize_lays_out_the_conversation),
    };
    return cmocka_run_group_tests(tests, write_model, remove_model);
}
