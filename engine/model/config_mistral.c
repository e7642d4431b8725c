/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Configs of native Mistral folders: params.json. It does not say the context in older releases, nor rope_theta in the oldest; the readings here
 * are those of mistral-inference and, for YaRN, of vLLM. Members of the vision encoder are passed over: the text model runs alone.
 */
#include "base/json.h"
#include "engine/model/config_internal.h"
#include "engine/weights/checkpoint.h"

#include <math.h>
#include <stdio.h>

enum { CONTEXT_UNSAID = 32768 };

static const char *const harmless[] = {"model_type", "vision_encoder", "multimodal",  "max_batch_size",
                                       "dtype",      "causal",         "multiple_of", "ffn_dim_multiplier",
                                       NULL};

struct reading {
    struct config_object object;
    struct error *err;
};

static enum status read_sizes(struct reading *reading, struct model_config *config) {
    struct config_object *object = &reading->object;
    struct error *err = reading->err;
    int64_t layers, heads, kv_heads, head_dim, vocabulary;
    double eps;
    TRY(config_take_integer(object, "n_layers", 1, LIMIT_LAYERS, true, 0, &layers, err));
    TRY(config_take_integer(object, "dim", CONFIG_WIDTH_MIN, CONFIG_WIDTH_MAX, true, 0, &config->width, err));
    TRY(config_take_integer(object, "hidden_dim", CONFIG_WIDTH_MIN, CONFIG_FEED_FORWARD_MAX, true, 0,
                            &config->feed_forward, err));
    TRY(config_take_integer(object, "n_heads", 1, CONFIG_HEADS_MAX, true, 0, &heads, err));
    TRY(config_take_integer(object, "n_kv_heads", 1, heads, true, 0, &kv_heads, err));
    TRY(config_take_integer(object, "head_dim", 1, 1 << 16, false, config->width / heads, &head_dim, err));
    TRY(config_take_integer(object, "vocab_size", 1, LIMIT_VOCABULARY, true, 0, &vocabulary, err));
    TRY(config_take_number(object, "norm_eps", CONFIG_EPS_MIN, CONFIG_EPS_MAX, true, 0, &eps, err));
    config->layers = (int)layers;
    config->heads = (int)heads;
    config->kv_heads = (int)kv_heads;
    config->head_dim = config->rotary_dim = (int)head_dim;
    config->vocabulary = (int32_t)vocabulary;
    config->norm_eps = (float)eps;
    return STATUS_OK;
}

/** One window for all layers, or a list that repeats over them, whose null is a layer without. */
static enum status read_windows(struct reading *reading, struct model_config *config) {
    struct config_object *object = &reading->object;
    const struct json_value *value = config_take(object, "sliding_window");
    int64_t windows[LIMIT_LAYERS] = {0}, count = 1;
    if (value == NULL) return STATUS_OK;
    if (value->kind == JSON_KIND_ARRAY) {
        count = value->count;
        if (count < 1 || count > config->layers || config->layers % count != 0)
            return error_set(reading->err, STATUS_INVALID_ARGUMENT,
                             "%s: sliding_window has %lld elements for %d layers", object->file, (long long)count,
                             config->layers);
        TRY(config_read_integers(object, "sliding_window", value, count, 1, CONFIG_WINDOW_MAX, windows, reading->err));
    } else {
        TRY(config_take_integer(object, "sliding_window", 1, CONFIG_WINDOW_MAX, true, 0, &windows[0], reading->err));
    }
    for (int i = 0; i < config->layers; i++) config->layer[i].window = windows[i % count];
    return STATUS_OK;
}

static enum status read_yarn(struct reading *reading, const struct json_value *value, struct rope_config *rope) {
    struct config_object yarn;
    struct error *err = reading->err;
    bool scale;
    TRY(config_object_init(&yarn, value, reading->object.file, "yarn.", err));
    rope->scaling = ROPE_SCALING_YARN;
    TRY(config_take_number(&yarn, "factor", CONFIG_FACTOR_MIN, CONFIG_FACTOR_MAX, true, 1, &rope->factor, err));
    TRY(config_take_number(&yarn, "original_max_position_embeddings", 1, LIMIT_CONTEXT_TOKENS, true, 0,
                           &rope->original_context, err));
    TRY(config_take_number(&yarn, "beta", CONFIG_FACTOR_MIN, CONFIG_FACTOR_MAX, false, 32, &rope->beta_fast, err));
    TRY(config_take_number(&yarn, "alpha", CONFIG_FACTOR_MIN, CONFIG_FACTOR_MAX, false, 1, &rope->beta_slow, err));
    TRY(config_take_flag(&yarn, "apply_scale", true, &scale, err));
    rope->magnitude = scale ? model_config_yarn_scale(rope->factor, 1) : 1;
    return config_refuse_rest(&yarn, (const char *const[]){NULL}, err);
}

static enum status read_rope(struct reading *reading, struct model_config *config) {
    struct config_object *object = &reading->object, scaling;
    struct rope_config *rope = &config->ropes[MODEL_ROPE_GLOBAL];
    bool windows = config_has(object, "sliding_window");
    TRY(config_take_number(object, "rope_theta", CONFIG_ROPE_BASE_MIN, CONFIG_ROPE_BASE_MAX, false,
                           windows ? 10000 : 1000000, &rope->base, reading->err));
    const struct json_value *yarn = config_take(object, "yarn"), *llama4 = config_take(object, "llama_4_scaling");
    if (yarn != NULL) TRY(read_yarn(reading, yarn, rope));
    config->ropes[MODEL_ROPE_LOCAL] = *rope;
    if (llama4 != NULL) {
        double beta;
        TRY(config_object_init(&scaling, llama4, object->file, "llama_4_scaling.", reading->err));
        TRY(config_take_number(&scaling, "beta", 0, 100, true, 0, &beta, reading->err));
        TRY(config_take_integer(&scaling, "original_max_position_embeddings", 1, LIMIT_CONTEXT_TOKENS, true, 0,
                                &config->temperature_length, reading->err));
        TRY(config_refuse_rest(&scaling, (const char *const[]){NULL}, reading->err));
        config->temperature_beta = (float)beta;
    }
    int64_t unsaid = yarn == NULL ? CONTEXT_UNSAID : (int64_t)(rope->factor * rope->original_context);
    if (unsaid > LIMIT_CONTEXT_TOKENS) unsaid = LIMIT_CONTEXT_TOKENS;
    TRY(config_take_integer(object, "max_seq_len", CONFIG_CONTEXT_MIN, LIMIT_CONTEXT_TOKENS, false, unsaid, &unsaid,
                            reading->err));
    return config_take_integer(object, "max_position_embeddings", CONFIG_CONTEXT_MIN, LIMIT_CONTEXT_TOKENS, false,
                               unsaid, &config->context_tokens, reading->err);
}

static enum status read_experts(struct reading *reading, struct model_config *config) {
    const struct json_value *value = config_take(&reading->object, "moe");
    struct config_object moe;
    int64_t experts, used;
    if (value == NULL) return STATUS_OK;
    TRY(config_object_init(&moe, value, reading->object.file, "moe.", reading->err));
    TRY(config_take_integer(&moe, "num_experts", 1, LIMIT_EXPERTS, true, 0, &experts, reading->err));
    TRY(config_take_integer(&moe, "num_experts_per_tok", 1, experts, true, 0, &used, reading->err));
    TRY(config_refuse_rest(&moe, (const char *const[]){NULL}, reading->err));
    config->experts = (int)experts;
    config->experts_used = (int)used;
    config->expert_feed_forward = config->feed_forward;
    config->normalise_experts = true;
    for (int i = 0; i < config->layers; i++) config->layer[i].experts = true;
    return STATUS_OK;
}

enum status model_config_read_mistral(const struct checkpoint *checkpoint, struct model_config *config,
                                      struct error *err) {
    static const char *const latent[] = {"q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim",
                                         "v_head_dim"};
    struct reading reading = {.err = err};
    struct bytes_view type = bytes_view_string("transformer"), activation = bytes_view_string("silu");
    const char *path = checkpoint_path(checkpoint);
    TRY(config_object_init(&reading.object, checkpoint_config(checkpoint), path, "", err));
    TRY(config_refuse_quantised(&reading.object, err));
    (void)config_take_string(&reading.object, "model_type", &type);
    if (!bytes_view_equal_string(type, "transformer"))
        return error_set(err, STATUS_UNIMPLEMENTED, "%s: models of type '%.*s' are not supported", path,
                         type.length < 32 ? (int)type.length : 32, (const char *)type.data);
    for (size_t i = 0; i < sizeof latent / sizeof latent[0]; i++) {
        if (config_has(&reading.object, latent[i]))
            return error_set(err, STATUS_UNIMPLEMENTED, "%s: %s: multi-head latent attention is not supported", path,
                             latent[i]);
    }
    if (config_take_string(&reading.object, "activation", &activation) && !bytes_view_equal_string(activation, "silu"))
        return error_set(err, STATUS_UNIMPLEMENTED, "%s: the activation '%.*s' is not supported (there is silu)", path,
                         activation.length < 32 ? (int)activation.length : 32, (const char *)activation.data);
    TRY(read_sizes(&reading, config));
    TRY(read_rope(&reading, config));
    TRY(read_windows(&reading, config));
    TRY(read_experts(&reading, config));
    TRY(config_take_flag(&reading.object, "tied_embeddings", false, &config->tied_embeddings, err));
    snprintf(config->architecture, sizeof config->architecture, "%s",
             config->temperature_beta != 0 ? "mistral3" : "llama");
    config->rope_style = ROPE_INTERLEAVED;
    return config_refuse_rest(&reading.object, harmless, err);
}
