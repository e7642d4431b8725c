/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Sparse upcycling: a dense llama as a mixture of its own copies. */
#include "base/random.h"
#include "engine/convert/convert_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/** Routers begin small, so that a mixture's training starts from weights that are nearly alike. */
static const float ROUTER_DEVIATION = 0.02f;

enum { EXPERTS_MIN = 2, EXPERTS_MAX = 256 };
enum { ROUTER, NOISE }; /* lanes of the random stream */

/** Nearly Gaussian, variance 1: four uniform numbers of 16 bits. */
static float gaussian(uint64_t bits) {
    float sum = 0;
    for (int i = 0; i < 4; i++) sum += ((float)(bits >> 16 * i & 0xFFFF) + 0.5f) * 0x1p-16f;
    return (sum - 2.0f) * 1.7320508f;
}

enum status convert_upcycle_config(struct converting *converting) {
    const struct convert_upcycle *upcycle = converting->options->upcycle;
    struct model_config *config = &converting->config;
    const char *path = checkpoint_path(converting->checkpoint);
    if (strcmp(config->architecture, "llama") != 0 || config->experts > 0)
        return error_set(converting->err, STATUS_UNIMPLEMENTED,
                         "%s: only dense models of the architecture llama become mixtures", path);
    if (upcycle->experts < EXPERTS_MIN || upcycle->experts > EXPERTS_MAX || upcycle->experts_used < 1 ||
        upcycle->experts_used > upcycle->experts || !(upcycle->noise >= 0 && upcycle->noise <= 1))
        return error_set(converting->err, STATUS_INVALID_ARGUMENT,
                         "%d of %d experts with a noise of %g (from %d to %d experts, noise from 0 to 1)",
                         upcycle->experts_used, upcycle->experts, upcycle->noise, EXPERTS_MIN, EXPERTS_MAX);
    config->experts = upcycle->experts;
    config->experts_used = upcycle->experts_used;
    config->expert_feed_forward = config->feed_forward;
    config->normalise_experts = true;
    for (int i = 0; i < config->layers; i++) config->layer[i].experts = true;
    return STATUS_OK;
}

static enum status add_router(struct converting *converting, int layer) {
    const struct convert_upcycle *upcycle = converting->options->upcycle;
    int64_t width = converting->config.width, count = width * upcycle->experts;
    float *values = arena_alloc_array(&converting->plan.arena, (size_t)count, sizeof *values);
    char *name = arena_printf(&converting->plan.arena, "blk.%d.ffn_gate_inp.weight", layer);
    if (values == NULL || name == NULL) return error_set(converting->err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    uint64_t seed = random_philox(upcycle->seed, (uint64_t)layer, ROUTER);
    for (int64_t i = 0; i < count; i++)
        values[i] = ROUTER_DEVIATION * gaussian(random_philox(seed, (uint64_t)i, ROUTER));
    return convert_plan_add(converting, &(struct convert_tensor){.name = name,
                                                                 .values = values,
                                                                 .expert = -1,
                                                                 .dimension_count = 2,
                                                                 .dimensions = {width, upcycle->experts, 1, 1},
                                                                 .type = TENSOR_F32});
}

enum status convert_upcycle_tensor(struct converting *converting, struct convert_tensor *tensor) {
    static const char *const stems[] = {"ffn_gate", "ffn_up", "ffn_down"};
    const struct convert_upcycle *upcycle = converting->options->upcycle;
    char expected[64];
    int layer;
    if (sscanf(tensor->name, "blk.%5d.", &layer) != 1) return STATUS_OK;
    for (uint64_t i = 0; i < sizeof stems / sizeof stems[0]; i++) {
        snprintf(expected, sizeof expected, "blk.%d.%s.weight", layer, stems[i]);
        if (strcmp(tensor->name, expected) != 0) continue;
        if (i == 0) TRY(add_router(converting, layer));
        tensor->name = arena_printf(&converting->plan.arena, "blk.%d.%s_exps.weight", layer, stems[i]);
        if (tensor->name == NULL) return error_set(converting->err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        tensor->copies = upcycle->experts;
        tensor->dimension_count = 3;
        tensor->dimensions[2] = upcycle->experts;
        tensor->noise = (float)upcycle->noise;
        tensor->seed = random_philox(upcycle->seed, 3 * (uint64_t)layer + i, NOISE);
    }
    return STATUS_OK;
}

void convert_upcycle_noise(const struct convert_tensor *tensor, int64_t row, int64_t columns, float *weights) {
    double squares = 0;
    for (int64_t i = 0; i < columns; i++) squares += (double)weights[i] * (double)weights[i];
    float scale = tensor->noise * (float)sqrt(squares / (double)columns);
    for (int64_t i = 0; i < columns; i++)
        weights[i] += scale * gaussian(random_philox(tensor->seed, (uint64_t)(row * columns + i), NOISE));
}
