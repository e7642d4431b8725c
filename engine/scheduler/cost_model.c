/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/scheduler/cost_model.h"

#include <math.h>

/* A lesson's weight falls to a half after about 70 more. */
static const double FORGETTING = 0.99;
/* Nanoseconds squared: prices may be anything to begin with. What is not asked about for long is not forgotten beyond this. */
static const double COVARIANCE_START = 1e14;
/* Once this many steps are known, one that errs by more than a share of what was expected counts as one that errs by that. */
enum { WARM_LESSONS = 16, PROMPT_ROWS_MIN = 4 /* fewer tell nothing of a row's price */ };
static const double ERROR_SHARE_MAX = 0.3, PROMPT_ROW_GUESS = 0.25;

/* ---- least squares ------------------------------------------------------------------------------------------------- */

static void least_squares_init(struct least_squares *fit, int count) {
    *fit = (struct least_squares){.count = count};
    for (int i = 0; i < count; i++) fit->covariance[i][i] = COVARIANCE_START;
}

static double price(const struct least_squares *fit, int which) {
    return fit->price[which] > 0 ? fit->price[which] : 0;
}

/** `wrong` is what the features' time was more than expected. */
static void least_squares_learn(struct least_squares *fit, const double *features, double wrong) {
    double gain[COST_PRICES_MAX], trace = 0, keep = FORGETTING;
    for (int i = 0; i < fit->count; i++) trace += fit->covariance[i][i];
    if (trace > COVARIANCE_START * fit->count) keep = 1;
    double scale = keep;
    for (int i = 0; i < fit->count; i++) {
        gain[i] = 0;
        for (int j = 0; j < fit->count; j++) gain[i] += fit->covariance[i][j] * features[j];
        scale += features[i] * gain[i];
    }
    for (int i = 0; i < fit->count; i++) {
        fit->price[i] += gain[i] / scale * wrong;
        for (int j = 0; j < fit->count; j++)
            fit->covariance[i][j] = (fit->covariance[i][j] - gain[i] * gain[j] / scale) / keep;
    }
    fit->lessons++;
}

/* ---- the model ----------------------------------------------------------------------------------------------------- */

void cost_model_init(struct cost_model *model) {
    least_squares_init(&model->decodes, 2);
    least_squares_init(&model->prompts, 2);
}

double cost_model_row(const struct cost_model *model, int64_t context) {
    return price(&model->decodes, 1) + price(&model->prompts, 1) * (double)context / 1024;
}

double cost_model_prompt_row(const struct cost_model *model, int64_t context) {
    if (model->prompts.lessons == 0) return PROMPT_ROW_GUESS * (price(&model->decodes, 0) + price(&model->decodes, 1));
    return price(&model->prompts, 0) + price(&model->prompts, 1) * (double)context / 1024;
}

static double expected_decodes(const struct cost_model *model, const struct step_shape *shape) {
    return price(&model->decodes, 0) + price(&model->decodes, 1) * (double)shape->rows +
           price(&model->prompts, 1) * (double)shape->positions / 1024;
}

double cost_model_predict(const struct cost_model *model, const struct step_shape *shape) {
    double expected = expected_decodes(model, shape);
    if (shape->prompt_rows > 0) {
        int64_t context = shape->prompt_positions / shape->prompt_rows;
        expected += (double)shape->prompt_rows * cost_model_prompt_row(model, context);
    }
    return expected;
}

/** What the fit itself expects, negative prices and all: learning must see its own errors. */
static double raw_expectation(const struct least_squares *fit, const double *features) {
    double sum = 0;
    for (int i = 0; i < fit->count; i++) sum += fit->price[i] * features[i];
    return sum;
}

void cost_model_learn(struct cost_model *model, const struct step_shape *shape, int64_t took_ns) {
    bool prompts = shape->prompt_rows > 0;
    if (prompts && shape->prompt_rows < PROMPT_ROWS_MIN) return;
    struct least_squares *fit = prompts ? &model->prompts : &model->decodes;
    double seen = price(&model->prompts, 1) * (double)shape->positions / 1024, decodes[] = {1, (double)shape->rows},
           rows[] = {(double)shape->prompt_rows, (double)shape->prompt_positions / 1024};
    const double *features = prompts ? rows : decodes;
    double rest = prompts ? expected_decodes(model, shape) : seen, expected = rest + raw_expectation(fit, features),
           wrong = (double)took_ns - expected, most = ERROR_SHARE_MAX * expected;
    if (fit->lessons >= WARM_LESSONS && most > 0) wrong = fmin(fmax(wrong, -most), most);
    least_squares_learn(fit, features, wrong);
}
