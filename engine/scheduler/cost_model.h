/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Cost model: how long will a step take?
 *
 *     time = base + row * rows + logit * logits + position * positions
 *
 * rows       rows of the batch
 * logits     rows whose logits are wanted (the output matrix is a good part of a small model)
 * positions  sum over the rows of the context that each looks back on
 *
 * The four prices are learnt from the steps that were made: recursive least squares with forgetting, so that they follow the
 * machine as it gets busy or free. A step that took many times what was expected (the machine slept, not the model) teaches
 * little. Prices are never negative.
 * Source: recursive least squares as in Haykin, Adaptive Filter Theory, 4th edition, chapter 9.
 */
#ifndef ENGINE_SCHEDULER_COST_MODEL_H
#define ENGINE_SCHEDULER_COST_MODEL_H

#include <stdint.h>

enum { COST_PRICES = 4 };

struct step_shape {
    int64_t rows, logits, positions;
};

struct cost_model {
    double price[COST_PRICES]; /* ns: base, row, logit, 1,024 positions */
    double covariance[COST_PRICES][COST_PRICES];
    int64_t steps; /* learnt from */
};

void cost_model_init(struct cost_model *model);
/** Expected time of a step in ns, >= 0; 0 for as long as nothing was learnt. */
double cost_model_predict(const struct cost_model *model, const struct step_shape *shape);
/** What one more row costs that looks back on `context` positions, without logits. */
double cost_model_row(const struct cost_model *model, int64_t context);
/** What one more row costs whose logits are wanted. */
double cost_model_logit_row(const struct cost_model *model, int64_t context);
void cost_model_learn(struct cost_model *model, const struct step_shape *shape, int64_t took_ns);

#endif
