/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * The real model against llama.cpp: tests/golden/smollm2 holds what it wrote, greedily, for eight conversations, and how well it
 * predicts a text. One program per kernel variant: golden_test plain|avx2|avx512.
 *
 * Limits, and why:
 *   plain   works in f32 like the reference "f32" (the file's weights expanded to f32), so it may differ first only where the
 *           reference's two best logits lie within 0.02: rounding in another order.
 *   others  round activations to 8 bits, as the reference "file" does in its own way: its error on such a gap has standard
 *           deviation 0.12 and 99th percentile 0.35; so 0.4.
 */
#include "engine/engine.h"
#include "engine/model/perplexity.h"
#include "engine/weights/checkpoint.h"
#include "tests/support/test_model.h"
#include "tests/unit/engine/check.h"

#include <jansson.h>
#include <math.h>
#include <pthread.h>

enum { CONVERSATIONS = 8, CONTINUATION = 96, SCORE_ROWS = 64 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif
#ifdef __SANITIZE_THREAD__
enum { THREADS_WATCHED = 1 };
#else
enum { THREADS_WATCHED = 0 };
#endif

/** How much of it is run. plain is slow by design, and sanitizers make everything five to ten times slower. */
struct extent {
    size_t prompt_max, alone_prompt_max; /* conversations with longer prompts are left out */
    size_t continued, alone;             /* tokens */
    size_t scored;                       /* 0: all */
    const char *scored_part;             /* what the reference calls it */
};
static struct extent extent;

static const char *variant;

static bool is_plain(void) {
    return strcmp(variant, "plain") == 0;
}
static struct extent choose_extent(void) {
    if (SANITIZED) return (struct extent){200, 200, 8, 4, 512, "first_512"};
    if (is_plain()) return (struct extent){2000, 1000, CONTINUATION, 24, 512, "first_512"};
    return (struct extent){2000, 2000, CONTINUATION, 24, 0, "all"};
}

static const char *reference(void) {
    return is_plain() ? "f32" : "file";
}
static double gap_limit(void) {
    return is_plain() ? 0.02 : 0.4;
}

static json_t *load_golden(const char *name) {
    char path[512];
    json_error_t error;
    snprintf(path, sizeof path, "%s/tests/golden/smollm2/%s", BORA_SOURCE_DIR, name);
    json_t *json = json_load_file(path, 0, &error);
    if (json == NULL) fail_msg("%s: %s", path, error.text);
    return json;
}

static int32_t id_of(const json_t *ids, size_t index) {
    return (int32_t)json_integer_value(json_array_get(ids, index));
}

/* ---- conversations ---------------------------------------------------------------------------------------------------- */

struct answer {
    pthread_mutex_t mutex;
    pthread_cond_t done_changed;
    bool done;
    struct generation *generation;
    struct token_list prompt;
    int32_t ids[CONTINUATION];
    size_t id_count;
    char text[CONTINUATION * 64];
    size_t text_length;
    enum finish_reason finish;
};

static void on_event(void *context, const struct generation_event *event) {
    struct answer *answer = context;
    pthread_mutex_lock(&answer->mutex);
    assert_true(answer->text_length + event->text.length < sizeof answer->text);
    memcpy(answer->text + answer->text_length, event->text.data, event->text.length);
    answer->text_length += event->text.length;
    for (size_t i = 0; i < event->id_count; i++) answer->ids[answer->id_count++] = event->ids[i];
    answer->finish = event->finish;
    answer->done = event->finish != FINISH_NONE;
    pthread_cond_signal(&answer->done_changed);
    pthread_mutex_unlock(&answer->mutex);
}

static void ask(struct engine *engine, struct answer *answer, int64_t max_tokens) {
    struct generation_request request = {.prompt = answer->prompt.ids,
                                         .prompt_count = answer->prompt.count,
                                         .max_tokens = max_tokens,
                                         .tenant = "",
                                         .on_event = on_event,
                                         .context = answer,
                                         .sampling = {.top_p = 1, .top_logprobs = -1}};
    answer->done = false;
    answer->id_count = answer->text_length = 0;
    pthread_mutex_lock(&answer->mutex);
    check_ok(engine_submit(engine, &request, &answer->generation, &check_error));
    pthread_mutex_unlock(&answer->mutex);
}

static void wait_for(struct engine *engine, struct answer *answer) {
    pthread_mutex_lock(&answer->mutex);
    while (!answer->done) pthread_cond_wait(&answer->done_changed, &answer->mutex);
    pthread_mutex_unlock(&answer->mutex);
    engine_release(engine, answer->generation);
}

static enum chat_role role_of(const char *name) {
    for (enum chat_role role = CHAT_ROLE_SYSTEM; role <= CHAT_ROLE_TOOL; role++) {
        if (strcmp(chat_role_name(role), name) == 0) return role;
    }
    fail_msg("unknown role %s", name);
    return CHAT_ROLE_USER;
}

/** The conversation's prompt, laid out by the engine; it must be the reference's, id by id. */
static void lay_out(const struct engine *engine, const json_t *conversation, struct answer *answer) {
    struct chat_message messages[16];
    const json_t *list = json_object_get(conversation, "messages"),
                 *expected = json_object_get(conversation, "prompt_ids");
    size_t count = json_array_size(list);
    assert_in_range(count, 1, 16);
    for (size_t i = 0; i < count; i++) {
        const json_t *content = json_object_get(json_array_get(list, i), "content");
        messages[i] =
            (struct chat_message){.role = role_of(json_string_value(json_object_get(json_array_get(list, i), "role"))),
                                  .content = bytes_view_of(json_string_value(content), json_string_length(content))};
    }
    pthread_mutex_init(&answer->mutex, NULL);
    pthread_cond_init(&answer->done_changed, NULL);
    answer->prompt = (struct token_list){.max_count = 8192};
    struct chat_conversation whole = {.messages = messages, .message_count = count};
    check_ok(engine_tokenize(engine, &whole, NULL, &answer->prompt, &check_error));
    assert_int_equal(answer->prompt.count, json_array_size(expected));
    for (size_t i = 0; i < answer->prompt.count; i++) assert_int_equal(answer->prompt.ids[i], id_of(expected, i));
}

/** Token for token, or a first difference where the reference itself was undecided; returns whether all was equal. */
static bool compare(const json_t *conversation, const struct answer *answer) {
    const char *name = json_string_value(json_object_get(conversation, "name"));
    const json_t *golden = json_object_get(conversation, reference()), *ids = json_object_get(golden, "ids"),
                 *text = json_object_get(golden, "text");
    size_t count = json_array_size(ids) < extent.continued ? json_array_size(ids) : extent.continued, same = 0;
    while (same < count && same < answer->id_count && answer->ids[same] == id_of(ids, same)) same++;
    if (same == count && same == answer->id_count) {
        print_message("  %-16s %3zu tokens, all equal\n", name, count);
        if (extent.continued < CONTINUATION) return true;
        assert_int_equal(answer->text_length, json_string_length(text));
        assert_memory_equal(answer->text, json_string_value(text), answer->text_length);
        assert_int_equal(answer->finish, answer->id_count == CONTINUATION ? FINISH_LENGTH : FINISH_STOP);
        return true;
    }
    double gap = same < count ? json_number_value(json_array_get(json_object_get(golden, "gaps"), same)) : INFINITY;
    print_message("  %-16s %3zu tokens equal, then %d for %d, gap %.4f\n", name, same,
                  same < answer->id_count ? answer->ids[same] : -1, id_of(ids, same), gap);
    if (!(gap < gap_limit()))
        fail_msg("%s: token %zu differs where the reference's gap is %.4f (limit %.2f)", name, same, gap, gap_limit());
    return false;
}

static void test_conversations_agree_with_llama_cpp(void **state) {
    (void)state;
    static struct answer answers[CONVERSATIONS];
    json_t *golden = load_golden("conversations.json"), *list = json_object_get(golden, "conversations");
    assert_int_equal(json_array_size(list), CONVERSATIONS);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(golden, "settings"), "continuation_tokens")),
                     CONTINUATION);
    struct engine_options options = {.model_path = test_model_path(),
                                     .device = "cpu",
                                     .variant = variant,
                                     .kv_type = is_plain() ? "f32" : "f16",
                                     .context_tokens = 2048,
                                     .sequences_max = CONVERSATIONS,
                                     .step_tokens_max = 256};
    struct engine *engine = NULL;
    check_ok(engine_open(&options, &engine, &check_error));
    for (int i = 0; i < CONVERSATIONS; i++) lay_out(engine, json_array_get(list, (size_t)i), &answers[i]);
    int equal = 0, asked = 0;
    for (int i = 0; i < CONVERSATIONS; i++) { /* all at once */
        if (answers[i].prompt.count <= extent.prompt_max) ask(engine, &answers[i], (int64_t)extent.continued);
    }
    for (int i = 0; i < CONVERSATIONS; i++) {
        if (answers[i].prompt.count <= extent.prompt_max) wait_for(engine, &answers[i]);
    }
    for (int i = 0; i < CONVERSATIONS; i++) {
        if (answers[i].prompt.count > extent.prompt_max) continue;
        equal += compare(json_array_get(list, (size_t)i), &answers[i]);
        asked++;
    }
    assert_true(asked >= 2 && equal >= asked / 4); /* not all of them may have met an undecided place */

    /* One by one: the same bits, so the same beginnings. The long prompt is read in chunks above and below alike. */
    for (int i = 0; i < CONVERSATIONS; i++) {
        if (answers[i].prompt.count > extent.alone_prompt_max) continue;
        int32_t together[CONTINUATION];
        size_t count = answers[i].id_count < extent.alone ? answers[i].id_count : extent.alone;
        memcpy(together, answers[i].ids, sizeof together);
        ask(engine, &answers[i], (int64_t)extent.alone);
        wait_for(engine, &answers[i]);
        assert_int_equal(answers[i].id_count, count);
        assert_memory_equal(answers[i].ids, together, count * sizeof *together);
    }
    for (int i = 0; i < CONVERSATIONS; i++) token_list_deinit(&answers[i].prompt);
    engine_close(engine);
    json_decref(golden);
}

/* ---- perplexity -------------------------------------------------------------------------------------------------------- */

struct scorer {
    struct checkpoint *checkpoint;
    struct kernels *kernels;
    struct model *model;
    struct kv_cache *cache;
};

static void open_scorer(struct scorer *scorer, int64_t tokens, enum kv_type type) {
    struct model_config config;
    check_ok(checkpoint_open(test_model_path(), &scorer->checkpoint, &check_error));
    check_ok(model_config_read(scorer->checkpoint, &config, &check_error));
    struct kernels_options kernels = {.variant = variant,
                                      .spin_ns = -1,
                                      .rows_max = SCORE_ROWS,
                                      .columns_max = config.feed_forward,
                                      .context_max = tokens,
                                      .heads_max = config.heads};
    check_ok(kernels_open("cpu", &kernels, &scorer->kernels, &check_error));
    check_ok(
        model_load(scorer->checkpoint, &config, scorer->kernels, SCORE_ROWS, SCORE_ROWS, &scorer->model, &check_error));
    struct kv_cache_options cache = {.layers = config.layers,
                                     .kv_heads = config.kv_heads,
                                     .head_dim = config.head_dim,
                                     .type = type,
                                     .block_count = kv_cache_blocks_for(tokens)};
    check_ok(kv_cache_create(&cache, &scorer->cache, &check_error));
}

/** The mean loss of text[1..count), in nats. */
static double mean_loss(const int32_t *text, size_t count, enum kv_type type, double *scores) {
    struct scorer scorer = {0};
    double sum = 0;
    open_scorer(&scorer, (int64_t)count, type);
    check_ok(perplexity_score(scorer.model, scorer.cache, SCORE_ROWS, text, count, scores, &check_error));
    for (size_t i = 1; i < count; i++) sum -= scores[i];
    kv_cache_destroy(scorer.cache);
    model_destroy(scorer.model);
    kernels_close(scorer.kernels);
    checkpoint_close(scorer.checkpoint);
    return sum / (double)(count - 1);
}

static void test_perplexity_is_no_worse_than_llama_cpp(void **state) {
    (void)state;
    json_t *golden = load_golden("perplexity.json"), *ids = json_object_get(golden, "ids"),
           *losses = json_object_get(golden, "nll_f32");
    size_t count = extent.scored != 0 ? extent.scored : json_array_size(ids);
    json_t *peer = json_object_get(json_object_get(json_object_get(golden, "results"), "file"), extent.scored_part);
    double limit = json_number_value(json_object_get(peer, "mean_nll"));
    int32_t *text = calloc(count, sizeof *text);
    double *scores = calloc(count, sizeof *scores), worst = 0;
    for (size_t i = 0; i < count; i++) text[i] = id_of(ids, i);
    double mean = mean_loss(text, count, is_plain() ? KV_F32 : KV_F16, scores);
    for (size_t i = 1; i < count; i++)
        worst = fmax(worst, fabs(-scores[i] - json_number_value(json_array_get(losses, i - 1))));
    print_message(
        "  perplexity %.4f, llama.cpp on the same file %.4f; largest distance of a token's loss to f32: %.5f\n",
        exp(mean), exp(limit), worst);
    assert_true(mean <= limit);
    if (is_plain()) assert_true(worst < 0.001); /* both are f32, summed in another order: 0.00007 was seen */
    free(text);
    free(scores);
    json_decref(golden);
}

/** What storing keys and values in fewer bits may add to the mean loss, in nats. 0.003 was seen either way, for all types: 8-bit activations
 *  magnify what changes a last bit. A scale that is lost or a neighbour's costs whole nats. */
static const double KV_TYPE_LIMIT = 0.02;

static void test_kv_types_cost_next_to_nothing(void **state) {
    (void)state;
    enum { TOKENS = 512 };
    json_t *golden = load_golden("perplexity.json"), *ids = json_object_get(golden, "ids");
    static int32_t text[TOKENS];
    static double scores[TOKENS];
    for (size_t i = 0; i < TOKENS; i++) text[i] = id_of(ids, i);
    double exact = mean_loss(text, TOKENS, KV_F32, scores);
    for (int type = KV_F16; type <= KV_INT8; type++) {
        double mean = mean_loss(text, TOKENS, (enum kv_type)type, scores);
        print_message("  perplexity with keys and values in %s %.4f, in f32 %.4f\n", kv_type_name((enum kv_type)type),
                      exp(mean), exp(exact));
        assert_true(mean <= exact + KV_TYPE_LIMIT);
    }
    json_decref(golden);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conversations_agree_with_llama_cpp),
        cmocka_unit_test(test_perplexity_is_no_worse_than_llama_cpp),
        cmocka_unit_test(test_kv_types_cost_next_to_nothing),
    };
    variant = argc > 1 ? argv[1] : "plain";
    extent = choose_extent();
    if (THREADS_WATCHED || (SANITIZED && is_plain())) {
        fprintf(stderr,
                "skipped: takes many minutes here; the engine's tests run all its code and threads on tiny models\n");
        return 77;
    }
    for (const char *const *known = kernels_cpu_variants(); *known != NULL; known++) {
        if (strcmp(*known, variant) == 0) return cmocka_run_group_tests(tests, NULL, NULL);
    }
    fprintf(stderr, "skipped: this processor cannot run %s\n", variant);
    return 77;
}
