/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine.h"

#include "base/random.h"
#include "base/settings.h"
#include "base/text.h"
#include "engine/engine_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DRAFTS_MAX = 48 /* guesses in one step, over all sequences */ };

/* ---- the size of the KV pool --------------------------------------------------------------------------------------- */

/** Bytes of memory that this process may use: the machine's, or less when its control group says so. */
static int64_t memory_bytes(void) {
    int64_t bytes = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGE_SIZE), limit;
    static const char *const files[] = {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *text = NULL;
        size_t length = 0;
        if (settings_read_file(files[i], 64, &text, &length, NULL) != STATUS_OK) continue;
        text[strcspn(text, "\n")] = 0;
        if (text_to_i64(text, &limit) && limit > 0 && limit < bytes) bytes = limit;
        free(text);
    }
    return bytes;
}

static enum status open_cache(struct engine *engine, const struct engine_options *options, int64_t context,
                              struct error *err) {
    const struct model_config *config = &engine->config;
    struct kv_cache_options cache = {
        .layers = config->layers, .kv_heads = config->kv_heads, .head_dim = config->head_dim};
    if (!kv_type_parse(options->kv_type, &cache.type))
        return error_set(err, STATUS_INVALID_ARGUMENT, "no KV cache type '%.16s' (there are f32, f16, bf16, int8)",
                         options->kv_type);
    int64_t block = (int64_t)kv_cache_block_bytes(&cache), one_context = kv_cache_blocks_for(context);
    int64_t wanted = one_context * options->sequences_max, allowed = options->kv_pool_bytes / block;
    int64_t memory = memory_bytes();
    if (options->kv_pool_bytes > memory)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "a KV pool of %lld MiB does not fit the memory of %lld MiB",
                         (long long)(options->kv_pool_bytes >> 20), (long long)(memory >> 20));
    if (options->kv_pool_bytes == 0) {
        allowed = memory / 4 / block;
        if (allowed > wanted) allowed = wanted;
    }
    if (allowed < one_context) {
        return error_set(
            err, STATUS_RESOURCE_EXHAUSTED,
            "the KV cache of one context of %lld tokens needs %lld MiB; %s is %lld MiB. Choose a smaller context%s.",
            (long long)context, (long long)((one_context * block + (1 << 20) - 1) >> 20),
            options->kv_pool_bytes == 0 ? "a quarter of the memory" : "the pool", (long long)(allowed * block >> 20),
            options->kv_pool_bytes == 0 ? ", or say how large the pool may be" : " or a larger pool");
    }
    cache.block_count = allowed < INT32_MAX ? allowed : INT32_MAX;
    return kv_cache_create(&cache, &engine->cache, err);
}

/* ---- opening ------------------------------------------------------------------------------------------------------- */

static enum status open_model(struct engine *engine, const struct engine_options *options, struct error *err) {
    TRY(checkpoint_open(options->model_path, &engine->checkpoint, err));
    TRY(model_config_read(engine->checkpoint, &engine->config, err));
    TRY(tokenizer_load(engine->checkpoint, &engine->tokenizer, err));
    if (tokenizer_vocabulary(engine->tokenizer) > engine->config.vocabulary) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %d tokens but an embedding of %d", options->model_path,
                         tokenizer_vocabulary(engine->tokenizer), engine->config.vocabulary);
    }
    TRY(chat_layout_load_as(options->layout, engine->checkpoint, engine->tokenizer, &engine->layout, err));
    int64_t logits = scheduler_logits_max(options->sequences_max, options->speculation ? DRAFTS_MAX : 0),
            rows = options->step_tokens_max > logits ? options->step_tokens_max : logits;
    struct kernels_options kernels = {.variant = options->variant,
                                      .threads = options->threads,
                                      .spin_ns = -1,
                                      .rows_max = rows,
                                      .columns_max = model_config_columns_max(&engine->config),
                                      .context_max = engine->config.context_tokens,
                                      .heads_max = engine->config.heads,
                                      .experts_used_max = engine->config.experts_used};
    TRY(kernels_open(options->device, &kernels, &engine->kernels, err));
    return model_load(engine->checkpoint, &engine->config, engine->kernels, options->step_tokens_max, logits,
                      &engine->model, err);
}

static enum status forward(void *context, const struct model_batch *batch, struct error *err) {
    (void)err; /* a CPU cannot fail; a device that can lose its memory will */
    struct engine *engine = context;
    bool whole = model_forward(engine->model, engine->cache, batch);
    mask_ahead_join(engine->ahead);
    return whole ? STATUS_OK : STATUS_CANCELLED;
}

static enum status open_scheduler(struct engine *engine, const struct engine_options *options, struct error *err) {
    int64_t context = options->context_tokens != 0 ? options->context_tokens : engine->config.context_tokens;
    if (context < 1 || context > engine->config.context_tokens) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "a context of %lld tokens was asked for; %s has 1..%lld",
                         (long long)context, options->model_path, (long long)engine->config.context_tokens);
    }
    engine->jump_forward = options->jump_forward;
    TRY(open_cache(engine, options, context, err));
    struct scheduler_options scheduler = {.cache = engine->cache,
                                          .forward = forward,
                                          .forward_context = engine,
                                          .vocabulary = engine->config.vocabulary,
                                          .context_tokens = context,
                                          .sequences_max = options->sequences_max,
                                          .step_tokens_max = options->step_tokens_max,
                                          .queue_max = options->queue_max,
                                          .clock = clock_system(),
                                          .step_ns = options->step_ns,
                                          .drafts_max = options->speculation ? DRAFTS_MAX : 0};
    TRY(scheduler_create(&scheduler, &engine->scheduler, err));
    engine->width_max =
        options->sequences_max < options->step_tokens_max ? options->sequences_max : options->step_tokens_max;
    engine->alive_max = options->sequences_max + options->queue_max;
    engine->description =
        (struct engine_description){.architecture = engine->config.architecture,
                                    .device = engine->kernels->device,
                                    .variant = engine->kernels->variant,
                                    .layout = chat_layout_name(engine->layout),
                                    .context_tokens = context,
                                    .parameters = engine->config.parameters,
                                    .vocabulary = engine->config.vocabulary,
                                    .kv_pool_tokens = kv_cache_block_count(engine->cache) * KV_BLOCK_TOKENS,
                                    .sequences_max = options->sequences_max};
    engine->load.kv_tokens_total = engine->description.kv_pool_tokens;
    return constrain_open(engine, err);
}

static void open_metrics(struct engine *engine, struct metrics *metrics) {
    static const double mask_seconds[] = {1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4,
                                          5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 1e-1, 1,    NAN};
    static const double rows[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, NAN};
    engine->has_metrics = true;
    engine->metrics = (struct engine_metrics){
        .running = metrics_gauge(metrics, "bora_engine_running", "Generations that take part in steps."),
        .running_max = metrics_gauge(metrics, "bora_engine_running_max", "How many can take part at a time."),
        .waiting_max = metrics_gauge(metrics, "bora_engine_waiting_max", "How many can wait; one more is refused."),
        .waiting = metrics_gauge(metrics, "bora_engine_waiting", "Generations in the queue."),
        .kv_tokens_used =
            metrics_gauge(metrics, "bora_engine_kv_tokens_used", "Positions in the KV blocks that are held."),
        .kv_tokens_total = metrics_gauge(metrics, "bora_engine_kv_tokens_total", "Positions in the KV pool."),
        .prompt_tokens = metrics_counter(metrics, "bora_engine_prompt_tokens_total", "Prompt tokens computed."),
        .completion_tokens = metrics_counter(metrics, "bora_engine_completion_tokens_total", "Tokens of answers."),
        .cached_tokens = metrics_counter(metrics, "bora_engine_cached_tokens_total",
                                         "Prompt tokens taken over from the prefix cache."),
        .forced_tokens = metrics_counter(metrics, "bora_engine_forced_tokens_total",
                                         "Completion tokens that a grammar left no choice about: not sampled."),
        .draft_tokens = metrics_counter(metrics, "bora_engine_draft_tokens_total", "Tokens guessed by prompt lookup."),
        .draft_accepted =
            metrics_counter(metrics, "bora_engine_draft_accepted_tokens_total", "Guessed tokens that were right."),
        .preemptions = metrics_counter(metrics, "bora_engine_preemptions_total",
                                       "Generations that gave up their memory or slot and started over."),
        .repairs = metrics_counter(metrics, "bora_engine_repairs_total",
                                   "Times that the idle check found KV blocks unaccounted for, and mended it."),
        .step_seconds = metrics_histogram(metrics, "bora_engine_step_seconds", "Time of one step, sampling included.",
                                          METRICS_SECONDS),
        .mask_seconds = metrics_histogram(metrics, "bora_engine_mask_seconds",
                                          "Time to find what a grammar admits next: one mask.", mask_seconds),
        .step_rows = metrics_histogram(metrics, "bora_engine_step_tokens", "Tokens computed in one step.", rows)};
    metric_set(engine->metrics.kv_tokens_total, (double)engine->description.kv_pool_tokens);
    metric_set(engine->metrics.running_max, (double)engine->description.sequences_max);
    metric_set(engine->metrics.waiting_max, (double)(engine->alive_max - engine->description.sequences_max));
}

enum status engine_open(const struct engine_options *options, struct engine **out, struct error *err) {
    if (options->sequences_max < 1 || options->step_tokens_max < 1 ||
        options->queue_max < 0) { /* their upper ends are the scheduler's to check */
        return error_set(err, STATUS_INVALID_ARGUMENT, "an engine of %d sequences, %d rows a step and %d waiting",
                         options->sequences_max, options->step_tokens_max, options->queue_max);
    }
    struct engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    pthread_mutex_init(&engine->mutex, NULL);
    pthread_cond_init(&engine->wake, NULL);
    engine->on_fault = options->on_fault;
    engine->on_fault_context = options->on_fault_context;
    enum status status = STATUS_OK;
    TRY_CLEANUP(open_model(engine, options, err));
    TRY_CLEANUP(open_scheduler(engine, options, err));
    scheduler_calibrate(engine->scheduler);
    if (options->metrics != NULL) open_metrics(engine, options->metrics);
    engine_publish_load(engine);
    int failure = pthread_create(&engine->thread, NULL, engine_step_thread, engine);
    if (failure != 0)
        status = error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, failure, "the engine's thread cannot be started");
    engine->thread_started = failure == 0;
cleanup:
    if (status != STATUS_OK)
        engine_close(engine);
    else
        *out = engine;
    return status;
}

void engine_close(struct engine *engine) {
    if (engine == NULL) return;
    if (engine->thread_started) {
        pthread_mutex_lock(&engine->mutex);
        engine->closing = true;
        pthread_cond_signal(&engine->wake);
        pthread_mutex_unlock(&engine->mutex);
        pthread_join(engine->thread, NULL);
    }
    while (engine->all != NULL) generation_unref(engine->all);
    scheduler_destroy(engine->scheduler);
    constrain_close(engine);
    kv_cache_destroy(engine->cache);
    model_destroy(engine->model);
    kernels_close(engine->kernels);
    chat_layout_destroy(engine->layout);
    tokenizer_destroy(engine->tokenizer);
    checkpoint_close(engine->checkpoint);
    pthread_cond_destroy(&engine->wake);
    pthread_mutex_destroy(&engine->mutex);
    free(engine);
}

/* ---- describing ---------------------------------------------------------------------------------------------------- */

void engine_describe(const struct engine *engine, struct engine_description *out) {
    *out = engine->description;
}

/** A second where nothing has ended yet; up to a quarter more or less, so that those who are refused together do not all come back together;
 *  never at once, never so long that a client gives up. */
static int64_t retry_after_ms(int64_t end_gap_ns, int waiting, uint64_t hint) {
    enum { UNKNOWN_MS = 1000, LEAST_MS = 100, MOST_MS = 60000 };
    double ms = end_gap_ns > 0 ? (double)scheduler_retry_ns(end_gap_ns, waiting) / NS_PER_MS : UNKNOWN_MS;
    ms *= 0.75 + 0.5 * random_uniform(0, hint, 0);
    return ms < LEAST_MS ? LEAST_MS : ms > MOST_MS ? MOST_MS : (int64_t)ms;
}

void engine_load(struct engine *engine, struct engine_load *out) {
    pthread_mutex_lock(&engine->mutex);
    *out = engine->load;
    out->waiting += engine->inbox_count;
    out->retry_after_ms = retry_after_ms(engine->end_gap_ns, out->waiting, engine->hints++);
    pthread_mutex_unlock(&engine->mutex);
}

enum status engine_tokenize(const struct engine *engine, const struct chat_conversation *conversation,
                            struct chat_window *window, struct token_list *out, struct error *err) {
    struct chat_conversation told = *conversation;
    told.tools_in_words = chat_layout_calls(engine->layout) == CHAT_CALLS_NONE;
    if (window != NULL) return chat_layout_render_window(engine->layout, &told, window, out, err);
    return chat_layout_render(engine->layout, &told, out, err);
}

bool engine_prompt_bound(const struct engine *engine, struct chat_prompt_bound *out) {
    return chat_layout_bound(engine->layout, out);
}

const struct tokenizer *engine_tokenizer(const struct engine *engine) {
    return engine->tokenizer;
}

enum chat_calls engine_calls(const struct engine *engine) {
    enum chat_calls own = chat_layout_calls(engine->layout);
    return own != CHAT_CALLS_NONE ? own : CHAT_CALLS_TAGS; /* as engine_tokenize tells it */
}
