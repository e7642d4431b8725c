/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * How well a model predicts a given text: the log-probability of every token after those before it.
 *
 *     perplexity = exp(-mean of the scores)
 *
 * A tool's and a test's function: it allocates, and takes the cache's blocks for the time of the call.
 */
#ifndef ENGINE_MODEL_PERPLEXITY_H
#define ENGINE_MODEL_PERPLEXITY_H

#include "engine/model/model.h"

#include <stddef.h>

/** out_scores[i] = ln p(ids[i] | ids[0..i)) for 1 <= i < count, computed in one sequence, `rows` positions a step (at most the model's
 *  rows_max and logits_max); out_scores[0] = 0. STATUS_INVALID_ARGUMENT for an id outside the vocabulary; STATUS_RESOURCE_EXHAUSTED when the
 *  cache has no room for `count` tokens. */
enum status perplexity_score(struct model *model, struct kv_cache *cache, int64_t rows, const int32_t *ids,
                             size_t count, double *out_scores, struct error *err);

#endif
