/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * bora-bench-model: how fast the model itself is, measured as llama.cpp's llama-bench does it, so that the two can be compared.
 *
 *   prefill   `--prefill` random tokens in steps of `--step-rows`, logits of the last one of each
 *   decode    `--decode` random tokens one by one, logits of each
 *
 * Both begin with `--depth` tokens in the cache (llama-bench -d), which is empty by default. Their keys and values are random, because
 * only their number matters.
 *
 * No sampling, no text, no speculation. Each test is warmed up and then run once. One line, numbers only:
 *
 *   variant=avx512 threads=2 weight_bytes=98000000 prefill_tok_s=1013.2 decode_tok_s=184.5 read_bytes_s=3.59e+10
 *
 * weight_bytes are what one decode has to read; read_bytes_s is the memory's own speed with the same threads, measured last.
 */
#include "base/clock.h"
#include "base/limits.h"
#include "base/settings.h"
#include "bench/read_bandwidth.h"
#include "engine/model/model.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 4096, TOKENS_MAX = 1 << 17, WARM_DECODES = 4 };

struct bench_settings {
    char *model_file, *variant, *kv_type;
    int64_t threads, prefill, decode, depth, step_rows;
};

#define S struct bench_settings
static const struct setting settings_table[] = {
    SETTING_STRING(S, model_file, "model-file", NULL, "FILE", "GGUF model"),
    SETTING_CHOICE(S, variant, "kernel-variant", "auto", "auto|plain|avx2|avx512",
                   "instruction set of the CPU kernels"),
    SETTING_INTEGER(S, threads, "threads", "0", 0, LIMIT_THREADS, "N", "0: all processors"),
    SETTING_CHOICE(S, kv_type, "kv-type", "f16", "f32|f16|bf16|int8", "storage of the KV cache"),
    SETTING_INTEGER(S, depth, "depth", "0", 0, TOKENS_MAX, "N", "tokens in the cache before each test"),
    SETTING_INTEGER(S, step_rows, "step-rows", "4096", 1, ROWS_MAX, "N", "rows of one step at most"),
    SETTING_INTEGER(S, prefill, "prefill", "512", 0, TOKENS_MAX, "N", "tokens of the prompt; 0 leaves the test out"),
    SETTING_INTEGER(S, decode, "decode", "128", 0, TOKENS_MAX, "N", "tokens one by one; 0 leaves the test out"),
    {0}};
#undef S

struct bench {
    struct checkpoint *checkpoint;
    struct model_config config;
    struct kernels *kernels;
    struct model *model;
    struct kv_cache *cache;
    int64_t step_rows;
    int32_t *ids, *positions, *blocks; /* [tokens], [tokens], [blocks of tokens] */
    float *logits;                     /* [V] */
};

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static enum status open_bench(struct bench *bench, const struct bench_settings *settings, struct error *err) {
    TRY(checkpoint_open(settings->model_file, &bench->checkpoint, err));
    TRY(model_config_read(bench->checkpoint, &bench->config, err));
    const struct model_config *config = &bench->config;
    int64_t tokens = settings->depth + larger(larger(settings->prefill, settings->decode), WARM_DECODES);
    int64_t rows = tokens < settings->step_rows ? tokens : settings->step_rows;
    bench->step_rows = rows;
    struct kernels_options kernels = {.variant = settings->variant,
                                      .threads = (int)settings->threads,
                                      .spin_ns = -1,
                                      .rows_max = rows,
                                      .columns_max = model_config_columns_max(config),
                                      .context_max = tokens,
                                      .heads_max = config->heads,
                                      .experts_used_max = config->experts_used};
    TRY(kernels_open("cpu", &kernels, &bench->kernels, err));
    TRY(model_load(bench->checkpoint, config, bench->kernels, rows, 1, &bench->model, err));
    int64_t blocks = kv_cache_blocks_for(tokens);
    struct kv_cache_options cache = {
        .layers = config->layers, .kv_heads = config->kv_heads, .head_dim = config->head_dim, .block_count = blocks};
    (void)!kv_type_parse(settings->kv_type, &cache.type); /* the settings' table lets only these through */
    TRY(kv_cache_create(&cache, &bench->cache, err));
    bench->ids = calloc((size_t)tokens, sizeof *bench->ids);
    bench->positions = calloc((size_t)tokens, sizeof *bench->positions);
    bench->blocks = calloc((size_t)blocks, sizeof *bench->blocks);
    bench->logits = calloc((size_t)config->vocabulary, sizeof *bench->logits);
    if (bench->ids == NULL || bench->positions == NULL || bench->blocks == NULL || bench->logits == NULL)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    /* The cache is this program's alone: its blocks are used in order and its books are left as they are. */
    for (int64_t i = 0; i < blocks; i++) bench->blocks[i] = (int32_t)i;
    uint32_t random = 1;
    for (int64_t i = 0; i < tokens; i++) {
        random = random * 1664525u + 1013904223u;
        bench->ids[i] = (int32_t)((random >> 8) % (uint32_t)config->vocabulary);
        bench->positions[i] = (int32_t)i;
    }
    return STATUS_OK;
}

static void close_bench(struct bench *bench) {
    kv_cache_destroy(bench->cache);
    model_destroy(bench->model);
    if (bench->kernels != NULL) kernels_close(bench->kernels);
    checkpoint_close(bench->checkpoint);
    free(bench->ids);
    free(bench->positions);
    free(bench->blocks);
    free(bench->logits);
}

/** Tokens [first, first + rows) after those before them, in one step; logits of the last. */
static void forward(struct bench *bench, int64_t first, int64_t rows) {
    struct kv_sequence sequence = {.first_row = 0, .row_count = rows, .context = first + rows, .blocks = bench->blocks};
    int32_t last = (int32_t)(rows - 1);
    struct model_batch batch = {.rows = rows,
                                .ids = bench->ids + first,
                                .positions = bench->positions + first,
                                .sequences = &sequence,
                                .sequence_count = 1,
                                .logit_rows = &last,
                                .logit_count = 1,
                                .logits = bench->logits};
    model_forward(bench->model, bench->cache, &batch);
}

/** Random keys and values for the positions before `depth` of all layers. */
static enum status fill_cache(struct bench *bench, int64_t depth, struct error *err) {
    int64_t width = (int64_t)bench->config.kv_heads * bench->config.head_dim, rows = bench->step_rows;
    float *random = calloc((size_t)((rows + 1) * width), sizeof *random);
    if (random == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (int64_t i = 0; i < (rows + 1) * width; i++) random[i] = (float)(i * 40503 % 1009) / 500 - 1;
    for (int64_t at = 0; at < depth; at += rows) {
        int64_t count = depth - at < rows ? depth - at : rows;
        struct kv_sequence sequence = {.row_count = count, .context = at + count, .blocks = bench->blocks};
        for (int i = 0; i < bench->config.layers; i++) {
            struct kv_layer layer = kv_cache_layer(bench->cache, i);
            struct kv_store store = {.layer = &layer,
                                     .sequences = &sequence,
                                     .sequence_count = 1,
                                     .keys = random,
                                     .values = random + width,
                                     .key_stride = width,
                                     .value_stride = width};
            bench->kernels->operations->kv_store(bench->kernels, &store);
        }
    }
    free(random);
    return STATUS_OK;
}

/** Seconds of the tokens [first, first + count) in steps of `rows` at most. */
static double time_steps(struct bench *bench, int64_t first, int64_t count, int64_t rows) {
    int64_t began = clock_monotonic_ns(clock_system());
    for (int64_t at = 0; at < count; at += rows) forward(bench, first + at, count - at < rows ? count - at : rows);
    return (double)(clock_monotonic_ns(clock_system()) - began) * 1e-9;
}

/** Bytes of weights that a decode reads: every matrix, but of an embedding that is not the output matrix too only one row. */
static double weight_bytes(const struct gguf *gguf) {
    double bytes = 0;
    bool tied = gguf_tensor(gguf, "output.weight") == NULL;
    for (int64_t i = 0; i < gguf_tensor_count(gguf); i++) bytes += (double)gguf_tensor_at(gguf, i)->bytes;
    const struct gguf_tensor *embedding = gguf_tensor(gguf, "token_embd.weight");
    return tied || embedding == NULL ? bytes : bytes - (double)embedding->bytes;
}

static enum status run(const struct bench_settings *settings, struct error *err) {
    struct bench bench = {0};
    enum status status = STATUS_OK;
    TRY_CLEANUP(open_bench(&bench, settings, err));
    printf("variant=%s threads=%d weight_bytes=%.0f", bench.kernels->variant, bench.kernels->threads,
           weight_bytes(checkpoint_gguf(bench.checkpoint)));
    int64_t depth = settings->depth, rows = bench.step_rows;
    TRY_CLEANUP(fill_cache(&bench, depth, err));
    if (settings->prefill > 0) {
        time_steps(&bench, depth, settings->prefill < rows ? settings->prefill : rows, rows); /* warm */
        printf(" prefill_tok_s=%.2f", (double)settings->prefill / time_steps(&bench, depth, settings->prefill, rows));
    }
    if (settings->decode > 0) {
        time_steps(&bench, depth, WARM_DECODES, 1);
        printf(" decode_tok_s=%.2f", (double)settings->decode / time_steps(&bench, depth, settings->decode, 1));
    }
    printf(" read_bytes_s=%.4g\n", read_bandwidth(bench.kernels->threads, 0.2));
cleanup:
    close_bench(&bench);
    return status;
}

int main(int argc, char **argv) {
    struct bench_settings settings = {0};
    enum settings_outcome outcome;
    struct error err = {0};
    enum status status = settings_load(settings_table, "bora-bench-model", "Measures a model file without the engine.",
                                       argc, argv, &settings, &outcome, &err);
    if (status == STATUS_OK && outcome == SETTINGS_RUN) {
        status = settings.model_file != NULL ? run(&settings, &err)
                                             : error_set(&err, STATUS_INVALID_ARGUMENT, "--model-file is needed");
        settings_free(settings_table, &settings);
    }
    if (status == STATUS_OK) return 0;
    fprintf(stderr, "bora-bench-model: %s\n", err.message);
    return status == STATUS_INVALID_ARGUMENT ? 2 : 1;
}
