/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Answers under a grammar: they fit, and depend on nothing but the request, whatever else an engine does to be quick. */
#include "tests/unit/engine/engine_fixture.h"

#include "base/arena.h"
#include "base/json.h"
#include "engine/grammar/grammar.h"
#include "engine/kv_cache/kv_cache.h"

#include <ctype.h>
#include <sys/stat.h>
#include <unistd.h>

static struct engine *reader; /* whose tokenizer the vocabulary has */
static struct grammar_vocabulary *vocabulary;

/** All engines of this file have the same model, so one vocabulary does. */
static int make_vocabulary(void **state) {
    if (write_model(state) != 0) return -1;
    struct engine_options options = default_options();
    reader = open_engine(&options);
    check_ok(grammar_vocabulary_create(engine_tokenizer(reader), &vocabulary, &check_error));
    return 0;
}

static int drop_vocabulary(void **state) {
    grammar_vocabulary_destroy(vocabulary);
    engine_close(reader);
    return remove_model(state);
}

static struct grammar *compile_regex(const char *pattern) {
    struct grammar *grammar = NULL;
    struct grammar_problem problem = {0};
    enum status status = grammar_compile_regex(vocabulary, bytes_view_string(pattern), NULL, &grammar, &problem);
    if (status != STATUS_OK) fail_msg("%s: %s", pattern, problem.reason);
    return grammar;
}

static struct arena schemas; /* texts of compiled schemas live as long as they do */
static struct grammar_problem schema_problem;

static struct grammar *compile_schema(const char *text) {
    struct grammar *grammar = NULL;
    struct json_value *value = NULL;
    struct json_problem wrong = {0};
    check_ok(json_read(bytes_view_string(text), 64, 10000, &schemas, &value, &wrong));
    enum status status = grammar_compile_schema(vocabulary, value, NULL, &grammar, &schema_problem);
    if (status != STATUS_OK) fail_msg("%s: %s", text, schema_problem.reason);
    return grammar;
}

/** End tokens are welcome, unlike in the fixture's own requests. */
static struct generation_request ask(struct client *client, struct grammar *grammar, int64_t max_tokens) {
    struct generation_request request = request_of(client, prompt, 24, max_tokens);
    request.sampling.logit_bias_count = 0;
    request.grammar = grammar;
    return request;
}

static bool is_text(const struct client *client, const char *text) {
    return client->text_length == strlen(text) && memcmp(client->text, text, client->text_length) == 0;
}

static const char PHONE[] = "[0-9]{3}-[0-9]{4}";
static bool is_phone(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (i == 3 ? text[i] != '-' : !isdigit((unsigned char)text[i])) return false;
    return length == 8;
}

static void test_answers_fit(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct grammar *phone = compile_regex(PHONE);
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct client client;
        client_init(&client, engine);
        struct generation_request request = ask(&client, phone, 40);
        request.sampling.seed = seed;
        request.sampling.temperature = seed == 0 ? 0 : 3;
        run(engine, &client, &request);
        assert_int_equal(client.finish, FINISH_STOP);
        assert_true(is_phone(client.text, client.text_length));
        assert_int_equal(client.id_count, 9); /* no pair of digits is a token; and the end */
        client_deinit(&client);
    }
    grammar_unref(phone);
    engine_close(engine);
}

static void test_penalties_and_bias_do_not_open_the_mask(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct grammar *word = compile_regex("a{8}b");
    const struct logit_bias bias[] = {{'z', 100}, {'a', -100}, {TINY_END_OF_TURN, 100}};
    struct client client;
    client_init(&client, engine);
    struct generation_request request = ask(&client, word, 40);
    request.sampling.logit_bias = bias;
    request.sampling.logit_bias_count = 3;
    request.sampling.repetition_penalty = 5;
    request.sampling.frequency_penalty = 2;
    run(engine, &client, &request);
    assert_true(is_text(&client, "aaaaaaaab"));
    client_deinit(&client);
    grammar_unref(word);
    engine_close(engine);
}

/** They are the model's own: the same with and without a grammar that forces what would have come. */
static void test_logprobs_are_of_the_model_itself(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct client free_one, forced;
    struct grammar *word = compile_regex("q{6}");
    client_init(&forced, engine);
    struct generation_request request = ask(&forced, word, 6);
    request.sampling.top_logprobs = 3;
    run(engine, &forced, &request);
    assert_int_equal(forced.logprob_count, 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(forced.logprobs[i].chosen.id, 'q');
        assert_true(forced.logprobs[i].chosen.logprob < -1); /* a random model has no such habit */
        assert_int_equal(forced.logprobs[i].top_count, 3);
    }
    client_init(&free_one, engine);
    request = ask(&free_one, NULL, 1);
    request.sampling.top_logprobs = 3;
    run(engine, &free_one, &request);
    assert_memory_equal(free_one.logprobs[0].top, forced.logprobs[0].top, sizeof forced.logprobs[0].top);
    client_deinit(&forced);
    client_deinit(&free_one);
    grammar_unref(word);
    engine_close(engine);
}

static void test_stop_strings_cut_under_a_grammar(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct grammar *word = compile_regex("abcdefgh");
    struct bytes_view stop = bytes_view_string("def");
    struct client client;
    client_init(&client, engine);
    struct generation_request request = ask(&client, word, 40);
    request.stop = &stop;
    request.stop_count = 1;
    run(engine, &client, &request);
    assert_int_equal(client.finish, FINISH_STOP);
    assert_true(is_text(&client, "abc"));
    client_deinit(&client);
    grammar_unref(word);
    engine_close(engine);
}

static void test_the_grammar_counts_what_is_continued(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct grammar *word = compile_regex("abcdefgh");
    struct client client;
    client_init(&client, engine);
    struct generation_request request = ask(&client, word, 40);
    request.begun = bytes_view_string("abcde");
    run(engine, &client, &request);
    assert_true(is_text(&client, "fgh"));
    client_deinit(&client);
    client_init(&client, engine);
    request = ask(&client, word, 40);
    request.begun = bytes_view_string("abd");
    assert_int_equal(submit(&client, &request), STATUS_FAILED_PRECONDITION);
    client_deinit(&client);
    grammar_unref(word);
    engine_close(engine);
}

/** 16 shapes of request on one grammar each, or on one that all share. */
enum { COUNT = 16 };
static struct client alone[COUNT], together[COUNT];
static const char SCHEMA[] = "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":12},"
                             "\"ages\":{\"type\":\"array\",\"items\":"
                             "{\"type\":\"integer\",\"minimum\":0,\"maximum\":120},\"maxItems\":4},\"ok\":{\"type\":"
                             "\"boolean\"}},\"required\":[\"name\",\"ages\",\"ok\"],"
                             "\"additionalProperties\":false}";

static void start(struct engine *engine, struct client *client, struct grammar *grammar, int i) {
    client_init(client, engine);
    struct generation_request request = ask(client, grammar, 100);
    request.sampling.seed = (uint64_t)i;
    request.sampling.temperature = i % 4 == 0 ? 0 : 1 + i % 3;
    request.sampling.frequency_penalty = i % 5 == 0 ? 1 : 0;
    request.prompt_count = (size_t)(24 - i % 3);
    check_ok(submit(client, &request));
}

static void assert_same(const char *what) {
    for (int i = 0; i < COUNT; i++) {
        bool same = together[i].id_count == alone[i].id_count && together[i].finish == alone[i].finish &&
                    memcmp(together[i].ids, alone[i].ids, alone[i].id_count * sizeof *alone[i].ids) == 0;
        if (!same) fail_msg("request %d is answered differently %s", i, what);
    }
}

static double counter(struct metrics *metrics, const char *name) {
    return metric_value(metrics_counter(metrics, name, "")); /* the one that is there */
}

static const char PREEMPTED[] = "bora_engine_preemptions_total", FORCED[] = "bora_engine_forced_tokens_total",
                  ACCEPTED[] = "bora_engine_draft_accepted_tokens_total";

static void ask_together(struct engine_options *options, const char *what) {
    struct engine *engine = open_engine(options);
    struct grammar *schema = compile_schema(SCHEMA);
    for (int i = 0; i < COUNT; i++) start(engine, &together[i], schema, i);
    grammar_unref(schema); /* generations have theirs */
    for (int i = 0; i < COUNT; i++) {
        wait_done(&together[i]);
        client_deinit(&together[i]);
    }
    assert_same(what);
    engine_close(engine);
}

static void check_answers_depend_on_the_request_alone(bool jump_forward) {
    struct engine_options options = default_options();
    options.jump_forward = jump_forward;
    options.sequences_max = 1;
    for (int i = 0; i < COUNT; i++) {
        struct engine *engine = open_engine(&options);
        struct grammar *schema = compile_schema(SCHEMA);
        start(engine, &alone[i], schema, i);
        wait_done(&alone[i]);
        client_deinit(&alone[i]);
        grammar_unref(schema);
        engine_close(engine);
    }
    options.metrics = metrics_create();
    options.sequences_max = COUNT;
    ask_together(&options, "together");
    options.speculation = true;
    /* Whether guesses pay is a matter of the machine's times: as often as it takes. */
    for (int round = 0; round < (jump_forward ? 3 : 50) && counter(options.metrics, ACCEPTED) == 0; round++)
        ask_together(&options, "with guesses");
    struct kv_cache_options cache = {.type = KV_F16, .layers = 2, .kv_heads = 2, .head_dim = 16}; /* the tiny model's */
    options.kv_pool_bytes = 12 * (int64_t)kv_cache_block_bytes(&cache);
    for (int round = 0; round < 50 && counter(options.metrics, PREEMPTED) == 0; round++)
        ask_together(&options, "in little memory");
    assert_true(counter(options.metrics, PREEMPTED) > 0);
    /* What repeats itself is what is forced, and need not be guessed. */
    if (!jump_forward) assert_true(counter(options.metrics, ACCEPTED) > 0);
    assert_int_equal(counter(options.metrics, FORCED) > 0, jump_forward);
    metrics_destroy(options.metrics);
}

static void test_answers_depend_on_the_request_alone(void **state) {
    (void)state;
    check_answers_depend_on_the_request_alone(false);
    check_answers_depend_on_the_request_alone(true);
}

/** One answer; returns how many of its tokens were forced. */
static int answer_forced(const struct engine_options *options, struct grammar *grammar, int64_t max_tokens,
                         const struct sampling *sampling, struct client *client) {
    struct engine *engine = open_engine(options);
    double before = counter(options->metrics, FORCED);
    client_init(client, engine);
    struct generation_request request = ask(client, grammar, max_tokens);
    if (sampling != NULL) request.sampling = *sampling;
    run(engine, client, &request);
    client_deinit(client);
    engine_close(engine);
    return (int)(counter(options->metrics, FORCED) - before);
}

/** What must come is not drawn - unless somebody wants its log-probabilities, or a bias may have a say in how it is cut. */
static void test_what_must_come_is_not_drawn(void **state) {
    (void)state;
    enum { LENGTH = 40 };
    struct engine_options options = default_options();
    struct grammar *word = compile_regex("[ab]q{38}[ab]");
    struct client client;
    const struct logit_bias bias = {'z', 1};
    struct sampling with_bias = {.top_p = 1, .top_logprobs = -1, .logit_bias = &bias, .logit_bias_count = 1},
                    with_logprobs = {.top_p = 1, .top_logprobs = 0};
    options.metrics = metrics_create();
    /* 16 behind the first letter, one is drawn, 16, one is drawn, 4 */
    assert_int_equal(answer_forced(&options, word, 100, NULL, &client), 36);
    assert_int_equal(client.id_count, LENGTH + 1); /* and the end */
    assert_int_equal(client.text_length, LENGTH);
    for (int i = 1; i < LENGTH - 1; i++) assert_int_equal(client.text[i], 'q');
    assert_int_equal(answer_forced(&options, word, 100, &with_bias, &client), 0);
    assert_int_equal(client.text_length, LENGTH);
    assert_int_equal(answer_forced(&options, word, 100, &with_logprobs, &client), 0);
    assert_int_equal(client.logprob_count, LENGTH);
    options.jump_forward = false;
    assert_int_equal(answer_forced(&options, word, 100, NULL, &client), 0);
    assert_int_equal(client.text_length, LENGTH);
    grammar_unref(word);
    metrics_destroy(options.metrics);
}

/** ... and counts like what is drawn: an answer of max_tokens has no more, and one that had to end within them does. */
static void test_what_must_come_keeps_to_the_limit(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct grammar *word = compile_regex("[ab]q{6}([ab]q{5})*");
    options.metrics = metrics_create();
    for (int64_t max_tokens = 1; max_tokens < 30; max_tokens++) {
        struct client client;
        answer_forced(&options, word, max_tokens, NULL, &client);
        assert_int_equal(client.finish, max_tokens < 7 ? FINISH_LENGTH : FINISH_STOP);
        assert_true(client.id_count <= (size_t)max_tokens);
        if (max_tokens >= 7)
            assert_int_equal((client.text_length - 7) % 6, 0);
        else
            assert_int_equal(client.text_length, max_tokens);
    }
    assert_true(counter(options.metrics, FORCED) > 100);
    grammar_unref(word);
    metrics_destroy(options.metrics);
}

static void test_cancelled_under_a_grammar(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct grammar *endless_word = compile_regex("a+b");
    const struct logit_bias bias = {'b', -100};
    struct client client;
    client_init(&client, engine);
    struct generation_request request = ask(&client, endless_word, 200);
    request.sampling.logit_bias = &bias;
    request.sampling.logit_bias_count = 1;
    client.cancel_at = 3;
    run(engine, &client, &request);
    assert_int_equal(client.finish, FINISH_CANCELLED);
    client_deinit(&client);
    grammar_unref(endless_word);
    engine_close(engine);
}

/* ---- a vocabulary that puts a blank in front of texts ----------------------------------------------------------------- */

enum { BLANK_YES = 98, BLANK_NO = 99 };

static void write_text(const char *folder, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void link_file(const char *folder, const char *name) {
    char path[256], target[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(target, sizeof target, BORA_SOURCE_DIR "/tests/golden/tiny/mistral/%s", name);
    assert_int_equal(symlink(target, path), 0);
}

/** Ids 0..2 are special, 3..97 the printable characters, and then "_yes" and "_no", where _ is a blank as SentencePiece writes it. */
static void write_blank_model(const char *folder) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    fputs("{\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true},{\"id\":1,\"content\":\"<s>\","
          "\"special\":true},"
          "{\"id\":2,\"content\":\"</s>\",\"special\":true}],\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":["
          "{\"type\":\"Prepend\",\"prepend\":\"\u2581\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" "
          "\"},\"content\":\"\u2581\"}]},"
          "\"pre_tokenizer\":null,\"post_processor\":null,\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":"
          "\"Replace\","
          "\"pattern\":{\"String\":\"\u2581\"},\"content\":\" "
          "\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,"
          "\"stop\":0}]},\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":false,"
          "\"merges\":["
          "\"\u2581 yes\",\"\u2581 no\",\"y es\",\"e s\",\"n "
          "o\"],\"vocab\":{\"<unk>\":0,\"<s>\":1,\"</s>\":2,\"\u2581\":3",
          out);
    for (int c = 33; c < 127; c++) fprintf(out, ",\"%s%c\":%d", c == '"' || c == '\\' ? "\\" : "", c, c - 32 + 3);
    fprintf(out, ",\"\u2581yes\":%d,\"\u2581no\":%d,\"yes\":100,\"es\":101,\"no\":102}}}", BLANK_YES, BLANK_NO);
    fclose(out);
    write_text(folder, "tokenizer.json", text);
    write_text(folder, "tokenizer_config.json", "{\"eos_token\":\"</s>\",\"bos_token\":\"<s>\"}");
    free(text);
    link_file(folder, "config.json");
    link_file(folder, "model.safetensors");
}

static void remove_blank_model(const char *folder) {
    static const char *const files[] = {"tokenizer.json", "tokenizer_config.json", "config.json", "model.safetensors"};
    char path[256];
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
}

/** Behind a control token the detokenizer takes the blank of " yes" away, so " yes" is a way to begin with "yes"; elsewhere it is not. */
static void test_a_blank_that_goes_does_not_count(void **state) {
    (void)state;
    char folder[] = "/tmp/bora-blank-XXXXXX";
    assert_non_null(mkdtemp(folder));
    write_blank_model(folder);
    struct engine_options options = default_options();
    options.model_path = folder;
    options.layout = "completion";
    struct engine *engine = open_engine(&options);
    struct grammar_vocabulary *mine = NULL, *usual = vocabulary;
    check_ok(grammar_vocabulary_create(engine_tokenizer(engine), &mine, &check_error));
    vocabulary = mine;
    struct grammar *answer = compile_regex("(yes|no)( (yes|no)){2}");
    static const int32_t behind_control[] = {5, 6, 1}, behind_text[] = {1, 5, 6};
    int with_blank = 0;
    for (int i = 0; i < 40; i++) {
        struct client client;
        client_init(&client, engine);
        struct generation_request request = ask(&client, answer, 20);
        request.prompt = i % 2 == 0 ? behind_control : behind_text;
        request.prompt_count = 3;
        request.sampling.seed = (uint64_t)i;
        request.sampling.temperature = 2;
        run(engine, &client, &request);
        bool accepted = false;
        struct grammar_session *session = NULL;
        struct grammar_state at;
        check_ok(grammar_session_create(answer, &session, &check_error));
        check_ok(grammar_start(session, &at, &check_error));
        check_ok(grammar_accept_bytes(session, &at, bytes_view_of(client.text, client.text_length), &accepted,
                                      &check_error));
        assert_true(accepted && grammar_complete(session, &at));
        grammar_session_destroy(session);
        bool blank = client.ids[0] == BLANK_YES || client.ids[0] == BLANK_NO;
        assert_true(!blank || i % 2 == 0);
        with_blank += blank;
        client_deinit(&client);
    }
    assert_true(with_blank > 0);
    grammar_unref(answer);
    engine_close(engine);
    vocabulary = usual;
    grammar_vocabulary_destroy(mine);
    remove_blank_model(folder);
}

/* ---- beam searches ------------------------------------------------------------------------------------------------- */

struct answers {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int count, expected;
    char text[8][256];
    enum finish_reason finish[8];
};

static void on_answer(void *context, const struct generation_event *event) {
    struct answers *answers = context;
    pthread_mutex_lock(&answers->mutex);
    snprintf(answers->text[answers->count], 256, "%.*s", (int)event->text.length, (const char *)event->text.data);
    answers->finish[answers->count++] = event->finish;
    pthread_cond_signal(&answers->changed);
    pthread_mutex_unlock(&answers->mutex);
}

static void search(struct engine *engine, struct grammar *grammar, int width, int64_t max_tokens,
                   struct answers *answers) {
    *answers =
        (struct answers){.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .expected = width};
    struct generation *generation = NULL;
    struct generation_request request = ask(NULL, grammar, max_tokens);
    request.sampling.temperature = 0;
    request.beam = (struct beam_options){.width = width, .answers = width, .length_penalty = 1};
    request.on_event = on_answer;
    request.context = answers;
    check_ok(engine_submit(engine, &request, &generation, &check_error));
    pthread_mutex_lock(&answers->mutex);
    while (answers->count < answers->expected) pthread_cond_wait(&answers->changed, &answers->mutex);
    pthread_mutex_unlock(&answers->mutex);
    engine_release(engine, generation);
}

static void test_every_beam_fits(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct grammar *phone = compile_regex(PHONE);
    struct answers five;
    search(engine, phone, 5, 40, &five);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(five.finish[i], FINISH_STOP);
        assert_true(is_phone(five.text[i], strlen(five.text[i])));
        for (int j = 0; j < i; j++) assert_string_not_equal(five.text[i], five.text[j]);
    }
    grammar_unref(phone);
    engine_close(engine);
}

/** Fewer texts than beams: all there are, each twice. */
static void test_beams_of_a_small_language(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct grammar *words = compile_regex("cat|dog|do|dogma");
    struct answers all;
    search(engine, words, 8, 40, &all);
    int found[4] = {0};
    for (int i = 0; i < 8; i++) {
        static const char *const texts[] = {"cat", "dog", "do", "dogma"};
        for (int j = 0; j < 4; j++) found[j] += strcmp(all.text[i], texts[j]) == 0;
    }
    for (int j = 0; j < 4; j++) assert_int_equal(found[j], 2);
    grammar_unref(words);
    engine_close(engine);
}

/** The vocabulary has pairs of letters, so words can be cut in many ways. */
static void test_beams_differ_in_their_text(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct grammar *words = compile_regex("(the|in|er|an|re|on){2,3}");
    struct answers four;
    search(engine, words, 4, 40, &four);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(four.finish[i], FINISH_STOP);
        for (int j = 0; j < i; j++) assert_string_not_equal(four.text[i], four.text[j]);
    }
    grammar_unref(words);
    engine_close(engine);
}

static void test_width_one_is_greedy(void **state) {
    (void)state;
    struct engine_options options = default_options();
    struct engine *engine = open_engine(&options);
    struct grammar *schema = compile_schema(SCHEMA);
    struct answers one;
    struct client greedy;
    search(engine, schema, 1, 120, &one);
    client_init(&greedy, engine);
    struct generation_request request = ask(&greedy, schema, 120);
    request.sampling.temperature = 0;
    run(engine, &greedy, &request);
    assert_true(is_text(&greedy, one.text[0]));
    client_deinit(&greedy);
    grammar_unref(schema);
    engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_fit),
        cmocka_unit_test(test_penalties_and_bias_do_not_open_the_mask),
        cmocka_unit_test(test_logprobs_are_of_the_model_itself),
        cmocka_unit_test(test_stop_strings_cut_under_a_grammar),
        cmocka_unit_test(test_the_grammar_counts_what_is_continued),
        cmocka_unit_test(test_answers_depend_on_the_request_alone),
        cmocka_unit_test(test_what_must_come_is_not_drawn),
        cmocka_unit_test(test_what_must_come_keeps_to_the_limit),
        cmocka_unit_test(test_cancelled_under_a_grammar),
        cmocka_unit_test(test_a_blank_that_goes_does_not_count),
        cmocka_unit_test(test_every_beam_fits),
        cmocka_unit_test(test_beams_of_a_small_language),
        cmocka_unit_test(test_beams_differ_in_their_text),
        cmocka_unit_test(test_width_one_is_greedy),
    };
    arena_init(&schemas, 1 << 20);
    int failed = cmocka_run_group_tests(tests, make_vocabulary, drop_vocabulary);
    arena_deinit(&schemas);
    return failed;
}
