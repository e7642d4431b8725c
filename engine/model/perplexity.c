/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/model/perplexity.h"

#include <math.h>
#include <stdlib.h>

/** One predictor at work. */
struct side {
    struct model *model;
    struct kv_cache *cache;
    int32_t *blocks; /* one block id for every KV_BLOCK_TOKENS */
    int64_t taken;   /* of them */
    float *logits;   /* [rows][V] */
};

struct scoring {
    struct side sides[2]; /* the model, the reference */
    int side_count;
    int32_t vocabulary;
    int64_t rows, count;
    const int32_t *ids;
    int32_t *positions, *logit_rows; /* [rows] */
    double *out_scores, *out_divergences;
};

/** ln sum_t e^logits[t] */
static double log_normaliser(const float *logits, int32_t vocabulary) {
    float maximum = logits[0];
    double sum = 0;
    for (int32_t i = 1; i < vocabulary; i++) maximum = fmaxf(maximum, logits[i]);
    for (int32_t i = 0; i < vocabulary; i++) sum += exp((double)logits[i] - maximum);
    return maximum + log(sum);
}

static double divergence(const float *logits, const float *reference, double normaliser, int32_t vocabulary) {
    double others = log_normaliser(reference, vocabulary), sum = 0;
    for (int32_t i = 0; i < vocabulary; i++) {
        double q = reference[i] - others;
        sum += exp(q) * (q - (logits[i] - normaliser));
    }
    return sum;
}

static void compute_chunk(const struct scoring *scoring, const struct side *side, int64_t first, int64_t rows) {
    struct kv_sequence sequence = {.first_row = 0, .row_count = rows, .context = first + rows, .blocks = side->blocks};
    struct model_batch batch = {.rows = rows,
                                .ids = scoring->ids + first,
                                .positions = scoring->positions,
                                .sequences = &sequence,
                                .sequence_count = 1,
                                .logit_rows = scoring->logit_rows,
                                .logit_count = rows,
                                .logits = side->logits};
    model_forward(side->model, side->cache, &batch);
}

static void score_chunk(const struct scoring *scoring, int64_t first, int64_t rows) {
    int32_t vocabulary = scoring->vocabulary;
    for (int64_t i = 0; i < rows; i++) scoring->positions[i] = (int32_t)(first + i);
    for (int side = 0; side < scoring->side_count; side++) compute_chunk(scoring, &scoring->sides[side], first, rows);
    for (int64_t i = 0; i < rows && first + i + 1 < scoring->count; i++) {
        const float *logits = scoring->sides[0].logits + i * vocabulary;
        double normaliser = log_normaliser(logits, vocabulary);
        scoring->out_scores[first + i + 1] = logits[scoring->ids[first + i + 1]] - normaliser;
        if (scoring->side_count == 2)
            scoring->out_divergences[first + i + 1] =
                divergence(logits, scoring->sides[1].logits + i * vocabulary, normaliser, vocabulary);
    }
}

static enum status open_side(const struct scoring *scoring, const struct predictor *predictor, struct side *side,
                             struct error *err) {
    int64_t blocks = kv_cache_blocks_for(scoring->count);
    *side = (struct side){.model = predictor->model, .cache = predictor->cache};
    if (kv_cache_free(side->cache) < blocks)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "the KV cache has no room for %lld tokens",
                         (long long)scoring->count);
    side->blocks = calloc((size_t)blocks, sizeof *side->blocks);
    side->logits = calloc((size_t)scoring->rows * (size_t)scoring->vocabulary, sizeof *side->logits);
    if (side->blocks == NULL || side->logits == NULL)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for the logits of %lld positions",
                         (long long)scoring->rows);
    while (side->taken < blocks) side->blocks[side->taken++] = kv_cache_take(side->cache);
    return STATUS_OK;
}

static void close_side(struct side *side) {
    while (side->taken > 0) kv_cache_unref(side->cache, side->blocks[--side->taken]);
    free(side->blocks);
    free(side->logits);
}

static enum status check(const struct scoring *scoring, const struct predictor *reference, struct error *err) {
    for (int64_t i = 0; i < scoring->count; i++) {
        if (scoring->ids[i] < 0 || scoring->ids[i] >= scoring->vocabulary)
            return error_set(err, STATUS_INVALID_ARGUMENT, "token %lld is %d; the vocabulary has %d", (long long)i,
                             scoring->ids[i], scoring->vocabulary);
    }
    if (reference != NULL && model_config(reference->model)->vocabulary != scoring->vocabulary)
        return error_set(err, STATUS_INVALID_ARGUMENT, "vocabularies of %d and %d tokens cannot be compared",
                         scoring->vocabulary, model_config(reference->model)->vocabulary);
    return STATUS_OK;
}

enum status perplexity_compare(const struct predictor *model, const struct predictor *reference, int64_t rows,
                               const int32_t *ids, size_t count, double *out_scores, double *out_divergences,
                               struct error *err) {
    struct scoring scoring = {.side_count = reference != NULL ? 2 : 1,
                              .vocabulary = model_config(model->model)->vocabulary,
                              .rows = rows,
                              .count = (int64_t)count,
                              .ids = ids,
                              .out_scores = out_scores,
                              .out_divergences = out_divergences};
    enum status status = STATUS_OK;
    TRY(check(&scoring, reference, err));
    scoring.positions = calloc((size_t)rows, sizeof *scoring.positions);
    scoring.logit_rows = calloc((size_t)rows, sizeof *scoring.logit_rows);
    if (scoring.positions == NULL || scoring.logit_rows == NULL)
        TRY_CLEANUP(error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory"));
    TRY_CLEANUP(open_side(&scoring, model, &scoring.sides[0], err));
    if (reference != NULL) TRY_CLEANUP(open_side(&scoring, reference, &scoring.sides[1], err));
    for (int64_t i = 0; i < rows; i++) scoring.logit_rows[i] = (int32_t)i;
    out_scores[0] = 0;
    if (reference != NULL) out_divergences[0] = 0;
    for (int64_t first = 0; first < scoring.count; first += rows)
        score_chunk(&scoring, first, scoring.count - first < rows ? scoring.count - first : rows);
cleanup:
    close_side(&scoring.sides[0]);
    close_side(&scoring.sides[1]);
    free(scoring.positions);
    free(scoring.logit_rows);
    return status;
}

enum status perplexity_score(struct model *model, struct kv_cache *cache, int64_t rows, const int32_t *ids,
                             size_t count, double *out_scores, struct error *err) {
    return perplexity_compare(&(struct predictor){model, cache}, NULL, rows, ids, count, out_scores, NULL, err);
}
