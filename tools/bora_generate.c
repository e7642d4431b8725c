/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * bora-generate: the engine without the services, for developers and benches.
 *
 *     bora-generate --model-file M.gguf --prompt "Why is the sky blue?"     streams the answer
 *     bora-generate --model-file M.gguf --stats --streams 8                 and says how fast, eight at a time
 *     bora-generate --model-file M.gguf --perplexity text.txt               how well the model predicts a text
 *     bora-generate --model-file M.gguf --perplexity text.txt --against F32.gguf     and how far it is from another
 */
#include "base/limits.h"
#include "base/settings.h"
#include "engine/engine.h"
#include "engine/model/perplexity.h"
#include "engine/weights/checkpoint.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STREAMS_MAX = 256, TEXT_FILE_BYTES_MAX = 64 << 20, SCORE_ROWS = 64 };

struct generate_settings {
    char *model_file, *prompt, *variant, *kv_type, *perplexity_file, *against;
    int64_t max_tokens, threads, seed, streams, step_tokens, context, window, scored_from;
    double temperature, top_p;
    bool stats, completes, speculation;
};

#define S struct generate_settings
static const struct setting settings_table[] = {
    SETTING_STRING(S, model_file, "model-file", NULL, "FILE", "GGUF model"),
    SETTING_STRING(S, prompt, "prompt", "What is gravity?", "TEXT", "what the user says"),
    SETTING_INTEGER(S, max_tokens, "max-tokens", "128", 0, LIMIT_CONTEXT_TOKENS, "N", "tokens to generate at most"),
    SETTING_DOUBLE(S, temperature, "temperature", "0", 0, 100, "T", "0 takes the likeliest token"),
    SETTING_DOUBLE(S, top_p, "top-p", "1", 1e-9, 1, "P", "share of probability to draw from"),
    SETTING_INTEGER(S, seed, "seed", "0", 0, 9e15, "N", "of the random stream"),
    SETTING_INTEGER(S, threads, "threads", "0", 0, LIMIT_THREADS, "N", "0: all processors"),
    SETTING_CHOICE(S, variant, "kernel-variant", "auto", "auto|plain|avx2|avx512",
                   "instruction set of the CPU kernels"),
    SETTING_CHOICE(S, kv_type, "kv-type", "f16", "f32|f16|bf16|int8", "storage of the KV cache"),
    SETTING_INTEGER(S, context, "context", "0", 0, LIMIT_CONTEXT_TOKENS, "N", "tokens; 0: the model's own"),
    SETTING_INTEGER(S, step_tokens, "step-tokens-max", "256", 16, 8192, "N", "rows of one step"),
    SETTING_INTEGER(S, streams, "streams", "1", 1, STREAMS_MAX, "N",
                    "run the prompt this many times at once; the first is printed"),
    SETTING_BOOL(S, completes, "completion", "false",
                 "go on with the text of the prompt, as base models do, instead of answering it"),
    SETTING_BOOL(S, speculation, "speculation", "false", "guess tokens by prompt lookup; changes no output"),
    SETTING_BOOL(S, stats, "stats", "false", "say how fast it was"),
    SETTING_STRING(S, perplexity_file, "perplexity", NULL, "FILE", "score this text instead of generating"),
    SETTING_STRING(S, against, "against", NULL, "FILE",
                   "with --perplexity: mean divergence from this model's predictions, too"),
    SETTING_INTEGER(S, window, "window", "512", 2, LIMIT_CONTEXT_TOKENS, "N",
                    "tokens that --perplexity scores in one piece"),
    SETTING_INTEGER(
        S, scored_from, "scored-from", "1", 1, LIMIT_CONTEXT_TOKENS, "N",
        "first token of a window that --perplexity scores; above 1, a last window that is not whole is left out"),
    {0}};
#undef S

/* ---- generating ---------------------------------------------------------------------------------------------------- */

struct stream {
    struct run *run;
    struct generation *generation;
    bool printed;
    int64_t began_ns, first_ns, last_ns;
    int64_t prompt_tokens, completion_tokens;
    enum finish_reason finish;
};

struct run {
    struct engine *engine;
    pthread_mutex_t mutex;
    pthread_cond_t done;
    int left;
    struct stream streams[STREAMS_MAX];
};

static void on_event(void *context, const struct generation_event *event) {
    struct stream *stream = context;
    stream->last_ns = clock_monotonic_ns(clock_system());
    if (stream->first_ns == 0 && event->id_count > 0) stream->first_ns = stream->last_ns;
    if (stream->printed && event->text.length > 0) {
        fwrite(event->text.data, 1, event->text.length, stdout);
        fflush(stdout);
    }
    if (event->finish == FINISH_NONE) return;
    if (event->error != NULL) fprintf(stderr, "bora-generate: %s\n", event->error);
    pthread_mutex_lock(&stream->run->mutex);
    stream->prompt_tokens = event->prompt_tokens;
    stream->completion_tokens = event->completion_tokens;
    stream->finish = event->finish;
    stream->run->left--;
    pthread_cond_signal(&stream->run->done);
    pthread_mutex_unlock(&stream->run->mutex);
}

static void print_stats(const struct run *run, int64_t streams) {
    const struct stream *one = &run->streams[0];
    int64_t began = one->began_ns, first = one->first_ns, last = one->last_ns, prompt = 0, completion = 0;
    for (int64_t i = 0; i < streams; i++) {
        if (run->streams[i].first_ns > first) first = run->streams[i].first_ns;
        if (run->streams[i].last_ns > last) last = run->streams[i].last_ns;
        prompt += run->streams[i].prompt_tokens;
        completion += run->streams[i].completion_tokens;
    }
    struct engine_description description;
    engine_describe(run->engine, &description);
    double prefill_s = (double)(first - began) / 1e9, decode_s = (double)(last - first) / 1e9;
    fprintf(stderr,
            "variant %s: prefill %lld tokens in %.3f s = %.1f tok/s; decode %lld tokens in %.3f s = %.1f tok/s (%lld "
            "streams)\n",
            description.variant, (long long)prompt, prefill_s, (double)prompt / prefill_s,
            (long long)(completion - streams), decode_s, decode_s > 0 ? (double)(completion - streams) / decode_s : 0,
            (long long)streams);
}

static enum status submit_all(struct run *run, const struct generate_settings *settings,
                              const struct token_list *prompt, struct error *err) {
    struct generation_request request = {.prompt = prompt->ids,
                                         .prompt_count = prompt->count,
                                         .max_tokens = settings->max_tokens,
                                         .tenant = "",
                                         .on_event = on_event,
                                         .sampling = {.temperature = settings->temperature,
                                                      .top_p = settings->top_p,
                                                      .seed = (uint64_t)settings->seed,
                                                      .top_logprobs = -1}};
    for (int64_t i = 0; i < settings->streams; i++) {
        struct stream *stream = &run->streams[i];
        *stream = (struct stream){.run = run, .printed = i == 0, .began_ns = clock_monotonic_ns(clock_system())};
        request.context = stream;
        pthread_mutex_lock(&run->mutex);
        run->left++;
        pthread_mutex_unlock(&run->mutex);
        enum status status = engine_submit(run->engine, &request, &stream->generation, err);
        if (status != STATUS_OK) return status;
        request.sampling.seed++;
    }
    return STATUS_OK;
}

static enum status generate(const struct generate_settings *settings, struct error *err) {
    static struct run run = {.mutex = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};
    struct token_list prompt = {.max_count = LIMIT_CONTEXT_TOKENS};
    struct chat_message message = {.role = CHAT_ROLE_USER, .content = bytes_view_string(settings->prompt)};
    struct chat_conversation conversation = {.messages = &message, .message_count = 1};
    struct engine_options options = {.model_path = settings->model_file,
                                     .layout = settings->completes ? "completion" : NULL,
                                     .device = "cpu",
                                     .variant = settings->variant,
                                     .threads = (int)settings->threads,
                                     .context_tokens = settings->context,
                                     .kv_type = settings->kv_type,
                                     .sequences_max = (int)settings->streams,
                                     .step_tokens_max = (int)settings->step_tokens,
                                     .speculation = settings->speculation};
    enum status status = STATUS_OK;
    int64_t began = clock_monotonic_ns(clock_system());
    TRY_CLEANUP(engine_open(&options, &run.engine, err));
    if (settings->stats)
        fprintf(stderr, "ready after %.3f s\n", (double)(clock_monotonic_ns(clock_system()) - began) / 1e9);
    TRY_CLEANUP(engine_tokenize(run.engine, &conversation, NULL, &prompt, err));
    TRY_CLEANUP(submit_all(&run, settings, &prompt, err));
    pthread_mutex_lock(&run.mutex);
    while (run.left > 0) pthread_cond_wait(&run.done, &run.mutex);
    pthread_mutex_unlock(&run.mutex);
    printf("\n");
    if (settings->stats) print_stats(&run, settings->streams);
cleanup:
    engine_close(run.engine);
    token_list_deinit(&prompt);
    return status;
}

/* ---- scoring ------------------------------------------------------------------------------------------------------- */

struct scorer {
    struct checkpoint *checkpoint;
    struct model_config config;
    struct kernels *kernels;
    struct model *model;
    struct tokenizer *tokenizer;
    struct kv_cache *cache;
};

static enum status open_scorer(struct scorer *scorer, const char *model_file, const struct generate_settings *settings,
                               struct error *err) {
    TRY(checkpoint_open(model_file, &scorer->checkpoint, err));
    TRY(model_config_read(scorer->checkpoint, &scorer->config, err));
    TRY(tokenizer_load(scorer->checkpoint, &scorer->tokenizer, err));
    const struct model_config *config = &scorer->config;
    struct kernels_options kernels = {.variant = settings->variant,
                                      .threads = (int)settings->threads,
                                      .spin_ns = -1,
                                      .rows_max = SCORE_ROWS,
                                      .columns_max = model_config_columns_max(config),
                                      .context_max = config->context_tokens,
                                      .heads_max = config->heads,
                                      .experts_used_max = config->experts_used};
    TRY(kernels_open("cpu", &kernels, &scorer->kernels, err));
    TRY(model_load(scorer->checkpoint, config, scorer->kernels, SCORE_ROWS, SCORE_ROWS, &scorer->model, err));
    struct kv_cache_options cache = {.layers = config->layers,
                                     .kv_heads = config->kv_heads,
                                     .head_dim = config->head_dim,
                                     .block_count = kv_cache_blocks_for(settings->window)};
    (void)!kv_type_parse(settings->kv_type, &cache.type); /* settings let only these through */
    return kv_cache_create(&cache, &scorer->cache, err);
}

static void close_scorer(struct scorer *scorer) {
    kv_cache_destroy(scorer->cache);
    model_destroy(scorer->model);
    if (scorer->kernels != NULL) kernels_close(scorer->kernels);
    tokenizer_destroy(scorer->tokenizer);
    checkpoint_close(scorer->checkpoint);
}

/** What has been scored of a text. */
struct tally {
    double scores, divergences;
    size_t tokens;
};

static void print_tally(const struct tally *tally, const struct generate_settings *settings, const char *variant) {
    double tokens = (double)tally->tokens;
    printf("perplexity %.4f over %zu tokens in windows of %lld (%s)", exp(-tally->scores / tokens), tally->tokens,
           (long long)settings->window, variant);
    if (settings->against != NULL) printf(", divergence %.6f from %s", tally->divergences / tokens, settings->against);
    printf("\n");
}

/** Score `ids` window by window, each from an empty cache; where texts begin with a token of their own, so does each window, in the place of its first. */
static enum status score_windows(const struct scorer *scorer, const struct scorer *against,
                                 const struct generate_settings *settings, const struct token_list *ids,
                                 struct error *err) {
    size_t window = (size_t)settings->window;
    double *scores = calloc(2 * window, sizeof *scores), *divergences = scores + window;
    struct predictor model = {scorer->model, scorer->cache}, reference = {against->model, against->cache};
    struct tally tally = {0};
    enum status status = scores != NULL ? STATUS_OK : error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (size_t first = 0; status == STATUS_OK && first + 1 < ids->count; first += window) {
        size_t count = ids->count - first < window ? ids->count - first : window;
        if (settings->scored_from > 1 && count < window) break;
        if (tokenizer_adds_bos(scorer->tokenizer)) ids->ids[first] = tokenizer_bos(scorer->tokenizer);
        status = perplexity_compare(&model, reference.model != NULL ? &reference : NULL, SCORE_ROWS, ids->ids + first,
                                    count, scores, divergences, err);
        for (size_t i = (size_t)settings->scored_from; status == STATUS_OK && i < count; i++, tally.tokens++) {
            tally.scores += scores[i];
            tally.divergences += divergences[i];
        }
    }
    if (status == STATUS_OK && tally.tokens == 0)
        status = error_set(err, STATUS_INVALID_ARGUMENT, "--scored-from %lld leaves nothing of %zu tokens",
                           (long long)settings->scored_from, ids->count);
    if (status == STATUS_OK) print_tally(&tally, settings, scorer->kernels->variant);
    free(scores);
    return status;
}

static enum status perplexity(const struct generate_settings *settings, struct error *err) {
    struct scorer scorer = {0}, against = {0};
    struct token_list ids = {.max_count = SIZE_MAX};
    char *text = NULL;
    size_t length = 0;
    enum status status = STATUS_OK;
    TRY_CLEANUP(settings_read_file(settings->perplexity_file, TEXT_FILE_BYTES_MAX, &text, &length, err));
    TRY_CLEANUP(open_scorer(&scorer, settings->model_file, settings, err));
    if (settings->against != NULL) TRY_CLEANUP(open_scorer(&against, settings->against, settings, err));
    if (tokenizer_adds_bos(scorer.tokenizer)) TRY_CLEANUP(token_list_append(&ids, tokenizer_bos(scorer.tokenizer)));
    TRY_CLEANUP(tokenizer_encode(scorer.tokenizer, bytes_view_of(text, length), &ids, err));
    if (ids.count < 2)
        TRY_CLEANUP(error_set(err, STATUS_INVALID_ARGUMENT, "%s has %zu tokens; two are the least",
                              settings->perplexity_file, ids.count));
    TRY_CLEANUP(score_windows(&scorer, &against, settings, &ids, err));
cleanup:
    token_list_deinit(&ids);
    close_scorer(&scorer);
    close_scorer(&against);
    free(text);
    return status;
}

int main(int argc, char **argv) {
    struct generate_settings settings = {0};
    enum settings_outcome outcome;
    struct error err = {0};
    enum status status = settings_load(settings_table, "bora-generate", "Runs a model file without the services.", argc,
                                       argv, &settings, &outcome, &err);
    if (status == STATUS_OK && outcome == SETTINGS_RUN) {
        if (settings.model_file == NULL)
            status = error_set(&err, STATUS_INVALID_ARGUMENT, "--model-file is needed");
        else
            status = settings.perplexity_file != NULL ? perplexity(&settings, &err) : generate(&settings, &err);
        settings_free(settings_table, &settings);
    }
    if (status == STATUS_OK) return 0;
    fprintf(stderr, "bora-generate: %s\n", err.message);
    return status == STATUS_INVALID_ARGUMENT ? 2 : 1;
}
