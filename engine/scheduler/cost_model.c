/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/scheduler/cost_model.h"

#include <math.h>

/* A step's weight falls to a half after about 70 more. */
static const double FORGETTING = 0.99;
/* Nanoseconds squared: prices may be anything to begin with. */
static const double COVARIANCE_START = 1e16, COVARIANCE_MAX = 1e18;
/* Once this many steps are known, one that errs by more than a share of what was expected counts as one that errs by that. */
enum { WARM_STEPS = 16 };
static const double ERROR_SHARE_MAX = 0.3;

void cost_model_init(struct cost_model *model) {
    *model = (struct cost_model){0};
    for (int i = 0; i < COST_PRICES; i++) model->covariance[i][i] = COVARIANCE_START;
}

static void features_of(const struct step_shape *shape, double features[COST_PRICES]) {
    features[0] = 1;
    features[1] = (double)shape->rows;
    features[2] = (double)shape->logits;
    features[3] = (double)shape->positions / 1024;
}

static double price(const struct cost_model *model, int which) {
    return model->price[which] > 0 ? model->price[which] : 0;
}

double cost_model_predict(const struct cost_model *model, const struct step_shape *shape) {
    double features[COST_PRICES], sum = 0;
    features_of(shape, features);
    for (int i = 0; i < COST_PRICES; i++) sum += price(model, i) * features[i];
    return sum;
}

double cost_model_row(const struct cost_model *model, int64_t context) {
    return price(model, 1) + price(model, 3) * (double)context / 1024;
}

double cost_model_logit_row(const struct cost_model *model, int64_t context) {
    return cost_model_row(model, context) + price(model, 2);
}

void cost_model_learn(struct cost_model *model, const struct step_shape *shape, int64_t took_ns) {
    double features[COST_PRICES], gain[COST_PRICES], expected = 0, scale = FORGETTING;
    features_of(shape, features);
    for (int i = 0; i < COST_PRICES; i++) {
        gain[i] = 0;
        for (int j = 0; j < COST_PRICES; j++) gain[i] += model->covariance[i][j] * features[j];
        scale += features[i] * gain[i];
        expected += model->price[i] * features[i];
    }
    double wrong = (double)took_ns - expected;
    double most = ERROR_SHARE_MAX * expected;
    if (model->steps++ >= WARM_STEPS && most > 0) wrong = fmin(fmax(wrong, -most), most);
    for (int i = 0; i < COST_PRICES; i++) {
        model->price[i] += gain[i] / scale * wrong;
        for (int j = 0; j < COST_PRICES; j++) {
            double next = (model->covariance[i][j] - gain[i] * gain[j] / scale) / FORGETTING;
            model->covariance[i][j] = fmin(fmax(next, -COVARIANCE_MAX), COVARIANCE_MAX);
        }
    }
}
