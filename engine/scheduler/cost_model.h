/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Cost model: how long will a step take?
 *
 *     time = base + row * rows                       rows whose logits are wanted: decodes and guesses
 *          + prompt_row * prompt_rows
 *          + position * (positions + prompt_positions)
 *
 * positions: sum over the rows of the context that each looks back on; attention costs the same for both kinds of rows. Base and row are
 * learnt from steps without prompts, prompt_row and position from what prompts add to that, each by recursive least squares with
 * forgetting, so that they follow the machine as it gets busy or free. They are apart because the two kinds of steps come in long runs:
 * hours of decodes must not wash out what a prompt's row costs. And decodes cannot tell what a position costs: their contexts grow step by
 * step, so that whatever else changes with time would look like it. A step that took much longer than expected (the machine slept, not the model) teaches
 * little. Prices are never negative, and while nothing is known of prompts, a row is taken to cost a quarter of a decode.
 * Source: recursive least squares as in Haykin, Adaptive Filter Theory, 4th edition, chapter 9.
 */
#ifndef ENGINE_SCHEDULER_COST_MODEL_H
#define ENGINE_SCHEDULER_COST_MODEL_H

#include <stdbool.h>
#include <stdint.h>

struct step_shape {
    int64_t rows, positions;               /* decodes and guesses */
    int64_t prompt_rows, prompt_positions; /* chunks */
};

enum { COST_PRICES_MAX = 2 };

struct least_squares {
    int count;
    double price[COST_PRICES_MAX];
    double covariance[COST_PRICES_MAX][COST_PRICES_MAX];
    int64_t lessons;
};

struct cost_model {
    struct least_squares decodes; /* base, row; ns */
    struct least_squares prompts; /* row, 1,024 positions of any row; ns */
};

void cost_model_init(struct cost_model *model);
/** Expected time of a step in ns, >= 0; 0 for as long as nothing was learnt. */
double cost_model_predict(const struct cost_model *model, const struct step_shape *shape);
/** What one more row of a prompt costs that looks back on `context` positions. */
double cost_model_prompt_row(const struct cost_model *model, int64_t context);
/** What one more row costs whose logits are wanted. */
double cost_model_row(const struct cost_model *model, int64_t context);
void cost_model_learn(struct cost_model *model, const struct step_shape *shape, int64_t took_ns);

#endif
