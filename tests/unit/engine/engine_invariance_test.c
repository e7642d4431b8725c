/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request is answered depends on the request alone: 64 prompts, many of which begin alike, are answered byte for byte as when
 * each had an engine to itself - whatever the threads, the chunks, the prefix cache, the guesses, the neighbours and the memory.
 */
#include "tests/unit/engine/engine_fixture.h"

#include "base/random.h"
#include "engine/kv_cache/kv_cache.h"

#include <stdlib.h>
#include <unistd.h>

/* A combination of variant and storage type takes 2 s; under AddressSanitizer 8, where int8, whose kernels are its own, follows f16; under
 * ThreadSanitizer 45. */
#if defined(__SANITIZE_THREAD__)
enum { COMBINATIONS_MAX = 1 };
#elif defined(__SANITIZE_ADDRESS__)
enum { COMBINATIONS_MAX = 2 };
#else
enum { COMBINATIONS_MAX = 64 };
#endif

enum {
    COUNT = 64,
    PROMPT_MAX = 400,
    LENGTH = 150,
    LONG = 230 /* more for one in eight: contexts over 256, an attention range */
};

struct question {
    int32_t prompt[PROMPT_MAX];
    size_t count;
    struct sampling sampling;
    int64_t max_tokens;
};

static struct question questions[COUNT];
static struct client alone[COUNT], together[COUNT];

/** Prompts of 1 to 150 tokens, some of 231 to 380; three in four begin like others of their kind. Greedy and sampled, with penalties and
 *  without. */
static void write_questions(void) {
    for (uint64_t i = 0; i < COUNT; i++) {
        struct question *question = &questions[i];
        uint64_t kind = i % 4, common = kind == 3 ? 0 : 20 + 45 * kind;
        question->count = common + 1 + random_philox(5, i, 0) % (LENGTH - common - 1) + (i % 8 == 7 ? LONG : 0);
        for (uint64_t t = 0; t < question->count; t++)
            question->prompt[t] = (int32_t)(random_philox(t < common ? kind : 100 + i, t, 1) % 256);
        /* Some repeat themselves, so that there is something to guess. */
        for (uint64_t t = common + 12; i % 5 == 0 && t < question->count; t++)
            question->prompt[t] = question->prompt[t - 12];
        question->max_tokens =
            5 + (int64_t)(random_philox(5, i, 2) % 60) + (i % 4 == 0 ? 100 : 0); /* more than admission expects */
        question->sampling = (struct sampling){.temperature = i % 3 == 0 ? 0 : 1,
                                               .top_p = i % 2 == 0 ? 1 : 0.9f,
                                               .seed = i,
                                               .presence_penalty = i % 7 == 0 ? 0.5f : 0,
                                               .top_logprobs = -1,
                                               .logit_bias = endless,
                                               .logit_bias_count = 2};
    }
}

static void ask(struct engine *engine, struct client *client, const struct question *question) {
    client_init(client, engine);
    struct generation_request request = request_of(client, question->prompt, question->count, question->max_tokens);
    request.sampling = question->sampling;
    check_ok(submit(client, &request));
}

/** Each with an engine to itself: nothing in the cache, nobody beside it. */
static void ask_alone(const char *variant, const char *kv_type) {
    for (int i = 0; i < COUNT; i++) {
        struct engine_options options = default_options();
        options.variant = variant;
        options.kv_type = kv_type;
        options.sequences_max = 1;
        options.step_tokens_max = 256;
        struct engine *engine = open_engine(&options);
        ask(engine, &alone[i], &questions[i]);
        wait_done(&alone[i]);
        client_deinit(&alone[i]);
        engine_close(engine);
    }
}

static void assert_same(int threads, int step, const char *what) {
    for (int i = 0; i < COUNT; i++) {
        bool same = together[i].id_count == alone[i].id_count && together[i].finish == alone[i].finish &&
                    memcmp(together[i].ids, alone[i].ids, alone[i].id_count * sizeof *alone[i].ids) == 0 &&
                    together[i].text_length == alone[i].text_length &&
                    memcmp(together[i].text, alone[i].text, alone[i].text_length) == 0;
        if (!same)
            fail_msg("question %d is answered differently (%d threads, steps of %d, %s)", i, threads, step, what);
    }
}

/** What engines have done while they answered `together`. */
struct counts {
    double preemptions, accepted, cached;
};

static double counter(struct metrics *metrics, const char *name) {
    return metric_value(metrics_counter(metrics, name, "")); /* the one that is there */
}

static void ask_together(struct engine_options *options, const char *what, struct counts *counts) {
    options->metrics = metrics_create();
    struct engine *engine = open_engine(options);
    for (int round = 0; round < 2; round++) { /* the second finds all prompts in the cache, if there is room for them */
        for (int i = 0; i < COUNT; i++) ask(engine, &together[i], &questions[i]);
        for (int i = 0; i < COUNT; i++) {
            wait_done(&together[i]);
            client_deinit(&together[i]);
        }
        assert_same(options->threads, options->step_tokens_max, what);
    }
    engine_close(engine);
    counts->preemptions += counter(options->metrics, "bora_engine_preemptions_total");
    counts->accepted += counter(options->metrics, "bora_engine_draft_accepted_tokens_total");
    counts->cached += counter(options->metrics, "bora_engine_cached_tokens_total");
    metrics_destroy(options->metrics);
}

static int64_t block_bytes(const char *kv_type) {
    struct kv_cache_options cache = {.layers = 2, .kv_heads = 2, .head_dim = 16}; /* the tiny model's */
    assert_true(kv_type_parse(kv_type, &cache.type));
    return (int64_t)kv_cache_block_bytes(&cache);
}

static struct counts easy, guessing, need;

static void answers_depend_on_the_request_alone(const char *variant, const char *kv_type) {
    ask_alone(variant, kv_type);
    struct engine_options options = default_options();
    options.variant = variant;
    options.kv_type = kv_type;
    options.queue_max = COUNT;
    options.sequences_max = 32;
    options.step_tokens_max = 256;
    ask_together(&options, "32 together", &easy);
    options.threads = 2;
    options.step_tokens_max = 40;
    options.speculation = true;
    ask_together(&options, "32 together with guesses", &guessing);
    options.kv_pool_bytes = 20 * block_bytes(kv_type); /* one context and a little: sequences lose theirs */
    ask_together(&options, "in little memory", &need);
}

static void test_answers_depend_on_the_request_alone(void **state) {
    (void)state;
    static const char *const kv_types[] = {"f16", "int8", "f32", "bf16"};
    int left = COMBINATIONS_MAX;
    write_questions();
    for (const char *const *variant = kernels_cpu_variants(); *variant != NULL; variant++) {
        for (size_t k = 0; k < sizeof kv_types / sizeof kv_types[0] && left > 0; k++, left--)
            answers_depend_on_the_request_alone(*variant, kv_types[k]);
    }
    print_message("%.0f tokens from the cache, %.0f guesses right, %.0f preemptions\n", easy.cached, guessing.accepted,
                  need.preemptions);
    assert_true(easy.cached > 0 && guessing.accepted > 0 &&
                need.preemptions > 0); /* else the test says nothing of them */
}

static int write_long_model(void **state) {
    (void)state;
    model_path = tiny_model_write(&(struct tiny_model_options){.type = TENSOR_Q8_0, .seed = 21, .context = 512});
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_answers_depend_on_the_request_alone)};
    return cmocka_run_group_tests(tests, write_long_model, remove_model);
}
