/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/model/perplexity.h"

#include <math.h>
#include <stdlib.h>

/** ln softmax(logits)[id] */
static double log_softmax(const float *logits, int32_t vocabulary, int32_t id) {
    float maximum = logits[0];
    double sum = 0;
    for (int32_t i = 1; i < vocabulary; i++) maximum = fmaxf(maximum, logits[i]);
    for (int32_t i = 0; i < vocabulary; i++) sum += exp((double)logits[i] - maximum);
    return (double)logits[id] - maximum - log(sum);
}

struct scoring {
    struct model *model;
    struct kv_cache *cache;
    int64_t rows;
    const int32_t *ids;
    int64_t count;
    int32_t *blocks, *positions; /* one block id for every KV_BLOCK_TOKENS; [rows] */
    int32_t *logit_rows;         /* [rows] */
    float *logits;               /* [rows][V] */
};

static void score_chunk(const struct scoring *scoring, int64_t first, int64_t rows, double *out_scores) {
    int32_t vocabulary = model_config(scoring->model)->vocabulary;
    struct kv_sequence sequence = {
        .first_row = 0, .row_count = rows, .context = first + rows, .blocks = scoring->blocks};
    for (int64_t i = 0; i < rows; i++) scoring->positions[i] = (int32_t)(first + i);
    struct model_batch batch = {.rows = rows,
                                .ids = scoring->ids + first,
                                .positions = scoring->positions,
                                .sequences = &sequence,
                                .sequence_count = 1,
                                .logit_rows = scoring->logit_rows,
                                .logit_count = rows,
                                .logits = scoring->logits};
    model_forward(scoring->model, scoring->cache, &batch);
    for (int64_t i = 0; i < rows && first + i + 1 < scoring->count; i++) {
        out_scores[first + i + 1] =
            log_softmax(scoring->logits + i * vocabulary, vocabulary, scoring->ids[first + i + 1]);
    }
}

enum status perplexity_score(struct model *model, struct kv_cache *cache, int64_t rows, const int32_t *ids,
                             size_t count, double *out_scores, struct error *err) {
    int32_t vocabulary = model_config(model)->vocabulary;
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= vocabulary)
            return error_set(err, STATUS_INVALID_ARGUMENT, "token %zu is %d; the vocabulary has %d", i, ids[i],
                             vocabulary);
    }
    int64_t blocks = kv_cache_blocks_for((int64_t)count), taken = 0;
    if (kv_cache_free(cache) < blocks)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "the KV cache has no room for %zu tokens", count);
    struct scoring scoring = {.model = model,
                              .cache = cache,
                              .rows = rows,
                              .ids = ids,
                              .count = (int64_t)count,
                              .blocks = calloc((size_t)blocks, sizeof(int32_t)),
                              .positions = calloc((size_t)rows, sizeof(int32_t)),
                              .logit_rows = calloc((size_t)rows, sizeof(int32_t)),
                              .logits = calloc((size_t)rows * (size_t)vocabulary, sizeof(float))};
    enum status status = STATUS_OK;
    if (scoring.blocks == NULL || scoring.positions == NULL || scoring.logit_rows == NULL || scoring.logits == NULL) {
        TRY_CLEANUP(
            error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for the logits of %lld positions", (long long)rows));
    }
    while (taken < blocks) scoring.blocks[taken++] = kv_cache_take(cache);
    for (int64_t i = 0; i < rows; i++) scoring.logit_rows[i] = (int32_t)i;
    out_scores[0] = 0;
    for (int64_t first = 0; first < (int64_t)count; first += rows) {
        score_chunk(&scoring, first, first + rows < (int64_t)count ? rows : (int64_t)count - first, out_scores);
    }
cleanup:
    while (taken > 0) kv_cache_unref(cache, scoring.blocks[--taken]);
    free(scoring.blocks);
    free(scoring.positions);
    free(scoring.logit_rows);
    free(scoring.logits);
    return status;
}
