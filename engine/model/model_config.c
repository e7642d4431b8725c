/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What all forms of a config have in common. */
#include "engine/model/config_internal.h"
#include "engine/weights/checkpoint.h"

#include <math.h>

double model_config_yarn_scale(double factor, double scale) {
    return factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1;
}

void model_config_defaults(struct model_config *config) {
    *config = (struct model_config){.rope_style = ROPE_INTERLEAVED, .embedding_scale = 1, .expert_scale = 1};
    for (int i = 0; i < MODEL_ROPE_COUNT; i++)
        config->ropes[i] =
            (struct rope_config){.base = 10000, .factor = 1, .beta_fast = 32, .beta_slow = 1, .magnitude = 1};
    for (int i = 0; i < LIMIT_LAYERS; i++) config->layer[i] = (struct model_layer_config){.rope = MODEL_ROPE_GLOBAL};
}

int64_t model_config_columns_max(const struct model_config *config) {
    const int64_t all[] = {config->width,
                           (int64_t)config->heads * config->head_dim,
                           config->feed_forward,
                           config->query_rank,
                           config->key_rank,
                           config->expert_feed_forward,
                           config->shared_feed_forward};
    int64_t columns = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) columns = columns < all[i] ? all[i] : columns;
    return columns;
}

static enum status check_heads(const struct model_config *config, const char *path, struct error *err) {
    if (config->heads % config->kv_heads != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %d query heads are no multiple of %d key heads", path,
                         config->heads, config->kv_heads);
    if (config->head_dim % 16 != 0 || config->head_dim < 16 || config->head_dim > 256 || config->rotary_dim % 2 != 0)
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "%s: heads of %d (rotary %d) are not supported (multiples of 16 up to 256)", path,
                         config->head_dim, config->rotary_dim);
    return STATUS_OK;
}

static enum status check_feed_forward(const struct model_config *config, const char *path, struct error *err) {
    bool dense = false, experts = false;
    for (int i = 0; i < config->layers; i++) {
        dense = dense || !config->layer[i].experts;
        experts = experts || config->layer[i].experts;
    }
    if (dense && config->feed_forward < CONFIG_WIDTH_MIN)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: a feed-forward network of %lld", path,
                         (long long)config->feed_forward);
    if (experts && (config->experts < 1 || config->experts_used < 1 || config->experts_used > config->experts ||
                    config->expert_feed_forward < CONFIG_WIDTH_MIN))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %d of %d experts of %lld", path, config->experts_used,
                         config->experts, (long long)config->expert_feed_forward);
    return STATUS_OK;
}

static enum status check_ropes(const struct model_config *config, const char *path, struct error *err) {
    for (int i = 0; i < MODEL_ROPE_COUNT; i++) {
        const struct rope_config *rope = &config->ropes[i];
        if (rope->scaling == ROPE_SCALING_LLAMA3 && !(rope->high_frequency_factor > rope->low_frequency_factor))
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: RoPE scaling between %g and %g turns", path,
                             rope->low_frequency_factor, rope->high_frequency_factor);
    }
    if (config->temperature_beta != 0 && config->temperature_length < 1)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: attention scaling by position without the original context",
                         path);
    return STATUS_OK;
}

enum status model_config_read(const struct checkpoint *checkpoint, struct model_config *out, struct error *err) {
    const char *path = checkpoint_path(checkpoint);
    model_config_defaults(out);
    switch (checkpoint_form(checkpoint)) {
    case CHECKPOINT_GGUF:
        TRY(model_config_read_gguf(checkpoint, out, err));
        break;
    case CHECKPOINT_HUGGING_FACE:
        TRY(model_config_read_hugging_face(checkpoint, out, err));
        break;
    case CHECKPOINT_MISTRAL:
        TRY(model_config_read_mistral(checkpoint, out, err));
        break;
    }
    if (out->experts_used == 0) out->experts = 0;
    if (out->value_dim == 0) out->value_dim = out->head_dim;
    if (out->attention_scale == 0) out->attention_scale = 1.0f / sqrtf((float)out->head_dim);
    out->parameters = checkpoint_parameters(checkpoint);
    TRY(check_heads(out, path, err));
    TRY(check_ropes(out, path, err));
    return check_feed_forward(out, path, err);
}
