/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Beam searches as the engine's callers see them: answers, texts, stop strings and what is counted. */
#include "tests/unit/engine/engine_fixture.h"

#include "base/text.h"
#include "engine/text_stream/text_stream.h"

#include <math.h>

/** Collects the answers of a search. */
struct answers {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int count, expected;
    char text[8][256];
    int32_t ids[8][64];
    size_t id_count[8];
    enum finish_reason finish[8];
};

static void on_answer(void *context, const struct generation_event *event) {
    struct answers *answers = context;
    pthread_mutex_lock(&answers->mutex);
    assert_int_equal(event->answer, answers->count);
    assert_int_equal(event->completion_tokens, event->id_count);
    snprintf(answers->text[answers->count], 256, "%.*s", (int)event->text.length, (const char *)event->text.data);
    memcpy(answers->ids[answers->count], event->ids, event->id_count * sizeof *event->ids);
    answers->id_count[answers->count] = event->id_count;
    answers->finish[answers->count++] = event->finish;
    pthread_cond_signal(&answers->changed);
    pthread_mutex_unlock(&answers->mutex);
}

/** Run a request as a search; its prompt, length and sampling stay. */
static void search(struct engine *engine, struct generation_request request, const struct beam_options *beam,
                   struct answers *answers) {
    *answers = (struct answers){.mutex = PTHREAD_MUTEX_INITIALIZER,
                                .changed = PTHREAD_COND_INITIALIZER,
                                .expected = beam->answers > 0 ? beam->answers : 1};
    struct generation *generation = NULL;
    request.beam = *beam;
    request.on_event = on_answer;
    request.context = answers;
    check_ok(engine_submit(engine, &request, &generation, &check_error));
    pthread_mutex_lock(&answers->mutex);
    while (answers->count < answers->expected) pthread_cond_wait(&answers->changed, &answers->mutex);
    pthread_mutex_unlock(&answers->mutex);
    engine_release(engine, generation);
}

static void test_beam_search_answers_the_best_first(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct generation_request request = request_of(NULL, prompt, 24, 20);
    struct answers five, two;
    search(engine, request, &(struct beam_options){.width = 5, .answers = 5, .length_penalty = 1}, &five);
    search(engine, request, &(struct beam_options){.width = 5, .answers = 2, .length_penalty = 1}, &two);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(five.finish[i], FINISH_LENGTH); /* end tokens are banned */
        assert_int_equal(five.id_count[i], 20);
        for (int j = 0; j < i; j++) assert_memory_not_equal(five.ids[i], five.ids[j], 20 * sizeof(int32_t));
    }
    for (int i = 0; i < 2; i++) assert_memory_equal(two.ids[i], five.ids[i], 20 * sizeof(int32_t));
    engine_close(engine);
}

static void test_beam_search_of_width_one_is_greedy(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct client greedy;
    client_init(&greedy, engine);
    struct generation_request request = request_of(&greedy, prompt, 24, 20);
    request.sampling.temperature = 0;
    run(engine, &greedy, &request);
    struct answers one;
    search(engine, request, &(struct beam_options){.width = 1, .length_penalty = 1}, &one);
    assert_memory_equal(one.ids[0], greedy.ids, 20 * sizeof(int32_t));
    assert_string_equal(one.text[0], greedy.text);
    client_deinit(&greedy);
    engine_close(engine);
}

/* ---- stop strings -------------------------------------------------------------------------------------------------- */

enum { LETTERS = 26, PAIRS = TINY_END_OF_TEXT - 256, BIASES = LETTERS + PAIRS };
static struct logit_bias letters[BIASES];

/** A greedy request for letters, tokens of one and of two, that do not repeat themselves too much; or for any bytes, of which many are no text. */
static struct generation_request ask(bool for_letters) {
    for (int i = 0; i < BIASES; i++) letters[i] = (struct logit_bias){i < LETTERS ? 'a' + i : 256 + i - LETTERS, 60};
    struct generation_request request = request_of(NULL, prompt, 24, 20);
    request.sampling.temperature = 0;
    request.sampling.frequency_penalty = 2;
    if (for_letters) {
        request.sampling.logit_bias = letters;
        request.sampling.logit_bias_count = BIASES;
    }
    return request;
}

static void run_greedy(struct engine *engine, const struct generation_request *request, struct client *client) {
    client_init(client, engine);
    struct generation_request mine = request_of(client, request->prompt, request->prompt_count, request->max_tokens);
    mine.sampling = request->sampling;
    mine.stop = request->stop;
    mine.stop_count = request->stop_count;
    run(engine, client, &mine);
    client_deinit(client);
}

/** Every part of the greedy text is a stop string once: text, tokens and their number are those of the generation that draws. */
static void test_width_one_stops_where_greedy_stops(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    int spanning = 0, inside = 0;
    for (int kind = 0; kind < 2; kind++) {
        struct generation_request request = ask(kind == 0);
        struct client whole, greedy;
        run_greedy(engine, &request, &whole);
        for (size_t at = 0; at < whole.text_length; at++) {
            for (size_t length = 1; length <= 6 && at + length <= whole.text_length; length++) {
                struct bytes_view stop = bytes_view_of(whole.text + at, length);
                if (!text_is_utf8(stop.data, length)) continue;
                request.stop = &stop;
                request.stop_count = 1;
                run_greedy(engine, &request, &greedy);
                struct answers found;
                search(engine, request, &(struct beam_options){.width = 1, .length_penalty = 1}, &found);
                assert_int_equal(found.finish[0], greedy.finish);
                assert_int_equal(found.id_count[0], greedy.completion_tokens);
                assert_memory_equal(found.ids[0], greedy.ids, greedy.id_count * sizeof *greedy.ids);
                assert_int_equal(strlen(found.text[0]), greedy.text_length);
                assert_memory_equal(found.text[0], greedy.text, greedy.text_length);
                struct bytes_view last = tokenizer_piece(engine_tokenizer(engine), greedy.ids[greedy.id_count - 1]);
                spanning += greedy.finish == FINISH_STOP && last.length < length;
                inside += greedy.finish == FINISH_STOP && last.data[last.length - 1] != stop.data[length - 1];
            }
        }
    }
    print_message("%d stop strings of several tokens, %d that end inside one\n", spanning, inside);
    assert_true(spanning > 20 && inside > 0);
    engine_close(engine);
}

/** An answer's tokens are those up to the end of its first stop string, and its text is what comes before that. */
static bool check_answer(const struct engine *engine, const struct generation_request *request,
                         const struct answers *answers, int i) {
    struct text_stream stream;
    size_t pushed = 0;
    check_ok(text_stream_init(&stream, engine_tokenizer(engine), request->stop, request->stop_count, &check_error));
    while (pushed < answers->id_count[i] && !stream.stopped)
        check_ok(text_stream_push(&stream, answers->ids[i][pushed++]));
    bool stopped = stream.stopped;
    assert_int_equal(pushed, answers->id_count[i]);
    assert_int_equal(answers->finish[i], stopped ? FINISH_STOP : FINISH_LENGTH);
    assert_true(stopped || (int64_t)pushed == request->max_tokens);
    check_ok(text_stream_finish(&stream));
    struct bytes_view text = text_stream_final(&stream);
    assert_int_equal(strlen(answers->text[i]), text.length);
    assert_memory_equal(answers->text[i], text.data, text.length);
    text_stream_deinit(&stream);
    return stopped;
}

static void test_answers_end_with_their_stop_strings(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct generation_request request = ask(true);
    struct client greedy;
    run_greedy(engine, &request, &greedy);
    for (int width = 1; width <= 5; width++) {
        int stopped = 0;
        for (size_t at = 0; at + 3 <= greedy.text_length; at += 2) {
            struct bytes_view stops[] = {bytes_view_of(greedy.text + at, 3), bytes_view_of(greedy.text + at, 1)};
            for (size_t first = 0; first < 2; first++) { /* three letters or one; three alone */
                struct answers found;
                request.stop = stops;
                request.stop_count = 2 - first;
                search(engine, request, &(struct beam_options){.width = width, .answers = width, .length_penalty = 1},
                       &found);
                for (int i = 0; i < width; i++) stopped += check_answer(engine, &request, &found, i);
            }
        }
        assert_true(stopped > 0);
    }
    engine_close(engine);
}

/** A search whose answers have stopped does not run on to max_tokens. */
static void test_search_ends_when_its_answers_have_stopped(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct generation_request request = ask(true);
    struct bytes_view stops[LIMIT_STOP_STRINGS];
    for (int i = 0; i < LIMIT_STOP_STRINGS; i++) stops[i] = bytes_view_of("aeioubcdfghjklmn" + i, 1);
    request.stop = stops;
    request.stop_count = LIMIT_STOP_STRINGS;
    request.max_tokens = 60;
    for (int early = 0; early < 2; early++) {
        struct engine_load before, after;
        struct answers found;
        engine_load(engine, &before);
        search(engine, request,
               &(struct beam_options){.width = 4, .answers = 4, .length_penalty = 1, .early_stopping = early == 1},
               &found);
        engine_load(engine, &after);
        for (int i = 0; i < 4; i++) assert_true(check_answer(engine, &request, &found, i));
        assert_true(after.steps - before.steps < 40);
    }
    engine_close(engine);
}

/* ---- ends ---------------------------------------------------------------------------------------------------------- */

static void test_beam_search_cancelled_or_closed_ends_once(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    for (int i = 0; i < 2; i++) {
        struct client client;
        client_init(&client, engine);
        struct generation_request request = request_of(&client, prompt, 24, 200);
        request.beam = (struct beam_options){.width = 6, .answers = 6};
        check_ok(submit(&client, &request));
        if (i == 0) engine_cancel(engine, client.generation);
        if (i == 0) wait_done(&client);
        if (i == 1) engine_release(engine, client.generation);
        if (i == 1) engine_close(engine);
        assert_true(client.done);
        assert_int_equal(client.events, 1);
        assert_int_equal(client.finish, FINISH_CANCELLED);
        if (i == 0) client_deinit(&client);
    }
}

static void test_bad_beam_search_is_refused(void **state) {
    (void)state;
    struct engine_options options = default_options();
    options.sequences_max = 4;
    struct engine *engine = open_engine(&options);
    struct client client;
    client_init(&client, engine);
    struct generation_request request = request_of(&client, prompt, 24, 10);
    const struct beam_options bad[] = {{.width = -1},
                                       {.width = LIMIT_BEAMS + 1},
                                       {.width = 2, .answers = 3},
                                       {.width = 2, .length_penalty = NAN},
                                       {.width = 5}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        request.beam = bad[i];
        check_fails(submit(&client, &request), STATUS_INVALID_ARGUMENT, "beam");
    }
    client_deinit(&client);
    engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_beam_search_answers_the_best_first),
        cmocka_unit_test(test_beam_search_of_width_one_is_greedy),
        cmocka_unit_test(test_width_one_stops_where_greedy_stops),
        cmocka_unit_test(test_answers_end_with_their_stop_strings),
        cmocka_unit_test(test_search_ends_when_its_answers_have_stopped),
        cmocka_unit_test(test_beam_search_cancelled_or_closed_ends_once),
        cmocka_unit_test(test_bad_beam_search_is_refused),
    };
    return cmocka_run_group_tests(tests, write_model, remove_model);
}
