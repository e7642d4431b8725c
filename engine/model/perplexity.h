/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * How well a model predicts a given text: the log-probability of every token after those before it, and how far its predictions are from
 * another model's.
 *
 *     perplexity = exp(-mean of the scores)
 *
 * Tools' and tests' functions: they allocate, and take the cache's blocks for the time of the call.
 */
#ifndef ENGINE_MODEL_PERPLEXITY_H
#define ENGINE_MODEL_PERPLEXITY_H

#include "engine/model/model.h"

#include <stddef.h>

/** A model and a cache of its shape. */
struct predictor {
    struct model *model;
    struct kv_cache *cache;
};

/** out_scores[i] = ln p(ids[i] | ids[0..i)) for 1 <= i < count, computed in one sequence, `rows` positions a step (at most the model's
 *  rows_max and logits_max); out_scores[0] = 0. STATUS_INVALID_ARGUMENT for an id outside the vocabulary; STATUS_RESOURCE_EXHAUSTED when the
 *  cache has no room for `count` tokens. */
enum status perplexity_score(struct model *model, struct kv_cache *cache, int64_t rows, const int32_t *ids,
                             size_t count, double *out_scores, struct error *err);

/** The same, and out_divergences[i] = sum over all tokens t of q(t) ln(q(t) / p(t)), q as `reference` predicts position i: the
 *  Kullback-Leibler divergence, in nats. It is 0 for equal predictions, positive for others, and unlike a difference of perplexities it does not
 *  depend on what the text says. Both models have one vocabulary: STATUS_INVALID_ARGUMENT otherwise. */
enum status perplexity_compare(const struct predictor *model, const struct predictor *reference, int64_t rows,
                               const int32_t *ids, size_t count, double *out_scores, double *out_divergences,
                               struct error *err);

#endif
