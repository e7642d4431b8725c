/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Configs of Hugging Face folders, as transformers 4 and 5 write them. Defaults are those of the configuration classes there, for configs leave
 * out what equals them. Every member is either read, or listed as harmless, or refused by its name.
 */
#include "base/json.h"
#include "engine/model/config_internal.h"
#include "engine/weights/checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/** What says nothing about numbers: how a model was trained, is saved, or is served. */
static const char *const harmless[] = {
    "architectures", "torch_dtype", "dtype", "transformers_version", "use_cache", "bos_token_id", "eos_token_id",
    "pad_token_id", "unk_token_id", "sep_token_id", "initializer_range", "attention_dropout", "output_router_logits",
    "router_aux_loss_coef", "router_jitter_noise", "neftune_noise_alpha", "pretraining_tp", "cache_implementation",
    "auto_map", "id2label", "label2id", "name_or_path", "task_specific_params", "tokenizer_class", "is_llama_config",
    "transformers.js_config", "unsloth_version", "unsloth_fixed", "max_sequence_length", "model_max_length",
    "tokenizer_model_max_length", "tokenizer_padding_side", "model_name", "base_model_name_or_path",
    /* how training went, or which program computes attention */
    "embd_pdrop", "resid_pdrop", "hidden_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob",
    "gradient_checkpointing", "attn_implementation", "use_flash_attn", "use_flash_attention",
    /* of every class, and written out where a config stands in another one's text_config */
    "return_dict", "output_hidden_states", "output_attentions", "torchscript", "use_bfloat16",
    "chunk_size_feed_forward", "tf_legacy_loss", "is_decoder", "tie_encoder_decoder", "prefix",
    "decoder_start_token_id", "finetuning_task", "num_labels", "problem_type", "classifier_dropout",
    /* settings of generation, which stood here before there was a generation_config.json */
    "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty",
    "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "output_scores", "return_dict_in_generate",
    "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens",
    "forced_bos_token_id", "forced_eos_token_id", "renormalize_logits", "penalty_alpha", "max_new_tokens", "max_time",
    NULL};

/** When the class has a window of 4,096 that configs need not mention. */
enum windows { WINDOWS_NONE, WINDOWS_IF_SAID, WINDOWS_BY_DEFAULT };

struct family {
    const char *name;         /* model_type */
    const char *architecture; /* GGUF's name */
    enum windows windows;
    bool windows_listed; /* layer_types say which layers have the window; the others have it everywhere */
    bool biases;         /* of q, k and v, always */
    bool query_key_norms, gemma, tied, experts, latent;
    double rope_base, norm_eps;
    /* what configs need not mention; 0: they must */
    int heads, kv_heads, head_dim, vocabulary, context; /* heads -1: as many as queries */
    double attention_softcap, output_softcap;
};

static const struct family families[] = {
    {"llama", "llama", .rope_base = 10000, .norm_eps = 1e-6, .kv_heads = -1},
    {"mistral", "llama", WINDOWS_BY_DEFAULT, .rope_base = 10000, .norm_eps = 1e-6},
    {"ministral", "llama", WINDOWS_BY_DEFAULT, true, .rope_base = 10000, .norm_eps = 1e-6},
    {"ministral3", "mistral3", WINDOWS_IF_SAID, .rope_base = 1e6, .norm_eps = 1e-5, .head_dim = 128},
    {"mixtral", "llama", WINDOWS_IF_SAID, .experts = true, .rope_base = 1e6, .norm_eps = 1e-5},
    {"smollm3", "smollm3", WINDOWS_IF_SAID, true, .tied = true, .rope_base = 2e6, .norm_eps = 1e-6},
    {"qwen2", "qwen2", WINDOWS_BY_DEFAULT, true, .biases = true, .rope_base = 10000, .norm_eps = 1e-6},
    {"qwen3", "qwen3", WINDOWS_BY_DEFAULT, true, .query_key_norms = true, .rope_base = 10000, .norm_eps = 1e-6,
     .head_dim = 128},
    {"qwen2_moe", "qwen2moe", WINDOWS_BY_DEFAULT, true, .experts = true, .rope_base = 10000, .norm_eps = 1e-6},
    {"qwen3_moe", "qwen3moe", WINDOWS_BY_DEFAULT, .query_key_norms = true, .experts = true, .rope_base = 10000,
     .norm_eps = 1e-6},
    {"mistral4", "mistral4", .experts = true, .latent = true, .rope_base = 10000, .norm_eps = 1e-6},
    {"gemma2", "gemma2", WINDOWS_BY_DEFAULT, true, .gemma = true, .tied = true, .rope_base = 10000, .norm_eps = 1e-6,
     .heads = 8, .kv_heads = 4, .head_dim = 256, .vocabulary = 256000, .context = 8192, .attention_softcap = 50,
     .output_softcap = 30},
    {"gemma3_text", "gemma3", WINDOWS_BY_DEFAULT, true, .gemma = true, .query_key_norms = true, .tied = true,
     .rope_base = 1e6, .norm_eps = 1e-6, .heads = 8, .kv_heads = 4, .head_dim = 256, .vocabulary = 262208,
     .context = 131072},
};

struct reading {
    const struct checkpoint *checkpoint;
    const struct family *family;
    struct config_object object; /* the text model's */
    struct error *err;
};

static bool is(const struct reading *reading, const char *name) {
    return strcmp(reading->family->name, name) == 0;
}

/* ---- RoPE ---------------------------------------------------------------------------------------------------------- */

static enum status read_yarn(struct config_object *object, struct rope_config *rope, struct model_config *config,
                             struct error *err) {
    double attention, scale, scale_all;
    bool truncate;
    TRY(config_take_number(object, "beta_fast", 0, CONFIG_FACTOR_MAX, false, 32, &rope->beta_fast, err));
    TRY(config_take_number(object, "beta_slow", 0, CONFIG_FACTOR_MAX, false, 1, &rope->beta_slow, err));
    TRY(config_take_number(object, "attention_factor", CONFIG_FACTOR_MIN, CONFIG_FACTOR_MAX, false, 0, &attention,
                           err));
    TRY(config_take_number(object, "mscale", 0, CONFIG_FACTOR_MAX, false, 0, &scale, err));
    TRY(config_take_number(object, "mscale_all_dim", 0, CONFIG_FACTOR_MAX, false, 0, &scale_all, err));
    TRY(config_take_flag(object, "truncate", true, &truncate, err));
    if (rope->beta_fast == 0) rope->beta_fast = 32;
    if (rope->beta_slow == 0) rope->beta_slow = 1;
    rope->scaling = ROPE_SCALING_YARN;
    rope->untruncated = !truncate;
    if (config->key_rank > 0 && scale_all != 0) { /* latent attention sharpens its scores as well */
        double sharper = model_config_yarn_scale(rope->factor, scale_all);
        config->attention_scale = (float)(sharper * sharper / sqrt(config->head_dim));
    }
    rope->magnitude = attention != 0                 ? attention
                      : scale != 0 && scale_all != 0 ? model_config_yarn_scale(rope->factor, scale) /
                                                           model_config_yarn_scale(rope->factor, scale_all)
                                                     : model_config_yarn_scale(rope->factor, 1);
    return STATUS_OK;
}

/** One set of parameters: {"rope_type": "yarn", "factor": 4, …}, with rope_theta inside in the newer form. `config` gets Llama 4's scaling of
 *  attention, which stands here too. */
static enum status read_rope_object(struct config_object *object, struct rope_config *rope, struct model_config *config,
                                    struct error *err) {
    static const char *const harmless_here[] = {"max_position_embeddings", NULL};
    struct bytes_view type = bytes_view_string("default"), old;
    double partial, beta;
    bool typed = config_take_string(object, "rope_type", &type);
    if (config_take_string(object, "type", &old) && !typed) type = old;
    TRY(config_take_number(object, "rope_theta", CONFIG_ROPE_BASE_MIN, CONFIG_ROPE_BASE_MAX, false, rope->base,
                           &rope->base, err));
    TRY(config_take_number(object, "partial_rotary_factor", 0, 1, false, (double)config->rotary_dim / config->head_dim,
                           &partial, err));
    TRY(config_take_number(object, "llama_4_scaling_beta", 0, 100, false, 0, &beta, err));
    if (fabs(partial * config->head_dim - config->rotary_dim) > 1e-6)
        return error_set(err, STATUS_UNIMPLEMENTED, "%s: %spartial_rotary_factor %g is not supported", object->file,
                         object->inside, partial);
    if (bytes_view_equal_string(type, "default") || bytes_view_equal_string(type, "none")) {
        rope->scaling = ROPE_SCALING_NONE;
        return config_refuse_rest(object, harmless_here, err);
    }
    TRY(config_take_number(object, "factor", CONFIG_FACTOR_MIN, CONFIG_FACTOR_MAX, true, 1, &rope->factor, err));
    bool linear = bytes_view_equal_string(type, "linear"), llama3 = bytes_view_equal_string(type, "llama3");
    if (!linear)
        TRY(config_take_number(object, "original_max_position_embeddings", 1, LIMIT_CONTEXT_TOKENS, llama3,
                               (double)config->context_tokens, &rope->original_context, err));
    if (linear) {
        rope->scaling = ROPE_SCALING_LINEAR;
    } else if (llama3) {
        rope->scaling = ROPE_SCALING_LLAMA3;
        TRY(config_take_number(object, "low_freq_factor", CONFIG_FACTOR_MIN, CONFIG_FACTOR_MAX, true, 1,
                               &rope->low_frequency_factor, err));
        TRY(config_take_number(object, "high_freq_factor", CONFIG_FACTOR_MIN, CONFIG_FACTOR_MAX, true, 4,
                               &rope->high_frequency_factor, err));
    } else if (bytes_view_equal_string(type, "yarn")) {
        TRY(read_yarn(object, rope, config, err));
    } else {
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "%s: RoPE scaling '%.*s' is not supported (there are linear, llama3 and yarn)", object->file,
                         type.length < 32 ? (int)type.length : 32, (const char *)type.data);
    }
    config->temperature_beta = (float)beta;
    config->temperature_length = (int64_t)rope->original_context;
    return config_refuse_rest(object, harmless_here, err);
}

static enum status read_rope_value(struct reading *reading, const struct json_value *value, const char *inside,
                                   struct rope_config *rope, struct model_config *config) {
    struct config_object object;
    if (value == NULL) return STATUS_OK;
    TRY(config_object_init(&object, value, reading->object.file, inside, reading->err));
    return read_rope_object(&object, rope, config, reading->err);
}

/** transformers 5 has rope_parameters, one set or one for each kind of layer; 4 has rope_theta, rope_scaling, and Gemma 3's
 *  rope_local_base_freq, whose layers are not scaled. */
static enum status read_rope(struct reading *reading, struct model_config *config) {
    struct config_object *object = &reading->object, nested;
    struct rope_config *global = &config->ropes[MODEL_ROPE_GLOBAL], *local = &config->ropes[MODEL_ROPE_LOCAL];
    bool gemma3 = is(reading, "gemma3_text");
    double local_base;
    global->base = reading->family->rope_base;
    TRY(config_take_number(object, "rope_theta", CONFIG_ROPE_BASE_MIN, CONFIG_ROPE_BASE_MAX, false, global->base,
                           &global->base, reading->err));
    TRY(config_take_number(object, "rope_local_base_freq", CONFIG_ROPE_BASE_MIN, CONFIG_ROPE_BASE_MAX, false, 10000,
                           &local_base, reading->err));
    if (gemma3) local->base = local_base;
    const struct json_value *parameters = config_take(object, "rope_parameters"),
                            *old = config_take(object, "rope_scaling");
    if (parameters == NULL) parameters = old;
    bool kinds = false;
    if (parameters != NULL) {
        TRY(config_object_init(&nested, parameters, object->file, "rope_parameters.", reading->err));
        kinds = config_has(&nested, "full_attention") || config_has(&nested, "sliding_attention");
    }
    if (kinds) {
        TRY(read_rope_value(reading, config_take(&nested, "full_attention"), "rope_parameters.full_attention.", global,
                            config));
        if (!gemma3) local->base = global->base;
        TRY(read_rope_value(reading, config_take(&nested, "sliding_attention"), "rope_parameters.sliding_attention.",
                            local, config));
        return config_refuse_rest(&nested, (const char *const[]){NULL}, reading->err);
    }
    TRY(read_rope_value(reading, parameters, "rope_parameters.", global, config));
    if (!gemma3) *local = *global;
    return STATUS_OK;
}

/* ---- windows and layers -------------------------------------------------------------------------------------------- */

static bool windowed_by_default(const struct reading *reading, int64_t layer, int64_t whole_layers, int64_t pattern) {
    if (is(reading, "gemma2")) return (layer + 1) % 2 != 0;
    if (is(reading, "gemma3_text")) return (layer + 1) % pattern != 0;
    if (is(reading, "qwen2") || is(reading, "qwen3")) return layer >= whole_layers;
    if (is(reading, "qwen2_moe")) return (layer + 1) % 2 != 0 && layer < whole_layers;
    return true;
}

static enum status read_layer_types(struct reading *reading, const struct json_value *types, int64_t window,
                                    struct model_config *config) {
    const struct json_value *type = types->first;
    if (types->kind != JSON_KIND_ARRAY || types->count != (uint32_t)config->layers)
        return error_set(reading->err, STATUS_INVALID_ARGUMENT, "%s: layer_types does not speak of %d layers",
                         reading->object.file, config->layers);
    for (int i = 0; i < config->layers; i++, type = type->next) {
        bool sliding = type->kind == JSON_KIND_STRING && bytes_view_equal_string(type->string, "sliding_attention");
        if (!sliding && !(type->kind == JSON_KIND_STRING && bytes_view_equal_string(type->string, "full_attention")))
            return error_set(reading->err, STATUS_UNIMPLEMENTED,
                             "%s: layer_types has %.*s (there are full_attention and sliding_attention)",
                             reading->object.file, type->text.length < 32 ? (int)type->text.length : 32,
                             (const char *)type->text.data);
        if (!sliding) continue;
        config->layer[i].window = window;
        config->layer[i].rope = MODEL_ROPE_LOCAL;
    }
    return STATUS_OK;
}

static enum status read_windows(struct reading *reading, struct model_config *config) {
    struct config_object *object = &reading->object;
    enum windows kind = reading->family->windows;
    int64_t window, whole_layers, pattern;
    bool used, optional = strncmp(reading->family->name, "qwen", 4) == 0 || is(reading, "smollm3");
    const struct json_value *types = config_take(object, "layer_types");
    if (kind == WINDOWS_NONE) return STATUS_OK; /* a sliding_window is refused, being read by nobody */
    TRY(config_take_flag(object, "use_sliding_window", !optional, &used, reading->err));
    TRY(config_take_integer(object, "max_window_layers", 0, LIMIT_LAYERS, false, 28, &whole_layers, reading->err));
    TRY(config_take_integer(object, "sliding_window_pattern", 1, LIMIT_LAYERS, false, 6, &pattern, reading->err));
    int64_t unsaid = kind == WINDOWS_BY_DEFAULT && !config_says(object, "sliding_window") ? 4096 : 0; /* null: none */
    TRY(config_take_integer(object, "sliding_window", 0, CONFIG_WINDOW_MAX, false, unsaid, &window, reading->err));
    if (!used) window = 0;
    if (types != NULL && reading->family->windows_listed) return read_layer_types(reading, types, window, config);
    if (window == 0) return STATUS_OK;
    for (int i = 0; i < config->layers; i++) {
        if (!windowed_by_default(reading, i, whole_layers, pattern)) continue;
        config->layer[i].window = window;
        config->layer[i].rope = MODEL_ROPE_LOCAL;
    }
    return STATUS_OK;
}

/** SmolLM3: every fourth layer does not rotate, or as no_rope_layers says (1: rotates). */
static enum status read_unrotated(struct reading *reading, struct model_config *config) {
    struct config_object *object = &reading->object;
    int64_t interval, rotates[LIMIT_LAYERS];
    TRY(config_take_integer(object, "no_rope_layer_interval", 1, LIMIT_LAYERS, false, 4, &interval, reading->err));
    const struct json_value *list = config_take(object, "no_rope_layers");
    if (list != NULL)
        TRY(config_read_integers(object, "no_rope_layers", list, config->layers, 0, 1, rotates, reading->err));
    for (int i = 0; i < config->layers; i++) {
        if (list != NULL ? rotates[i] == 0 : (i + 1) % interval == 0) config->layer[i].rope = MODEL_ROPE_NONE;
    }
    return STATUS_OK;
}

/* ---- experts ------------------------------------------------------------------------------------------------------- */

/** mlp_only_layers: numbers of layers without experts. */
static enum status read_dense_layers(struct reading *reading, struct model_config *config) {
    const struct json_value *list = config_take(&reading->object, "mlp_only_layers");
    int64_t dense[LIMIT_LAYERS];
    if (list == NULL) return STATUS_OK;
    if (list->kind != JSON_KIND_ARRAY || list->count > (uint32_t)config->layers)
        return error_set(reading->err, STATUS_INVALID_ARGUMENT, "%s: mlp_only_layers is no list of layers",
                         reading->object.file);
    TRY(config_read_integers(&reading->object, "mlp_only_layers", list, list->count, 0, config->layers - 1, dense,
                             reading->err));
    for (uint32_t i = 0; i < list->count; i++) config->layer[dense[i]].experts = false;
    return STATUS_OK;
}

/** Small 4's mixtures: experts that all rows ask count whole, the first layers may have none. */
static enum status read_latent_experts(struct reading *reading, struct model_config *config) {
    struct config_object *object = &reading->object;
    int64_t shared, groups, used_groups, dense;
    double scale;
    TRY(config_take_integer(object, "n_shared_experts", 0, 64, false, 1, &shared, reading->err));
    TRY(config_take_integer(object, "n_group", 1, LIMIT_EXPERTS, false, 1, &groups, reading->err));
    TRY(config_take_integer(object, "topk_group", 1, LIMIT_EXPERTS, false, 1, &used_groups, reading->err));
    TRY(config_take_integer(object, "first_k_dense_replace", 0, LIMIT_LAYERS, false, 0, &dense, reading->err));
    TRY(config_take_number(object, "routed_scaling_factor", CONFIG_FACTOR_MIN, CONFIG_FACTOR_MAX, false, 1, &scale,
                           reading->err));
    if (groups != 1 || used_groups != 1)
        return error_set(reading->err, STATUS_UNIMPLEMENTED, "%s: n_group %lld is not supported (there is 1)",
                         object->file, (long long)groups);
    config->shared_feed_forward = shared * config->expert_feed_forward;
    config->expert_scale = (float)scale;
    for (int i = 0; i < config->layers && i < dense; i++) config->layer[i].experts = false;
    return STATUS_OK;
}

static enum status read_experts(struct reading *reading, struct model_config *config) {
    struct config_object *object = &reading->object;
    bool mixtral = is(reading, "mixtral"), normalise = true;
    const char *count = config_has(object, "num_local_experts")  ? "num_local_experts"
                        : config_has(object, "n_routed_experts") ? "n_routed_experts"
                                                                 : "num_experts";
    int64_t experts, used, step = 1;
    TRY(config_take_integer(object, count, 1, LIMIT_EXPERTS, true, 0, &experts, reading->err));
    TRY(config_take_integer(object, "num_experts_per_tok", 1, experts, true, 0, &used, reading->err));
    if (mixtral) {
        config->expert_feed_forward = config->feed_forward;
    } else {
        TRY(config_take_integer(object, "moe_intermediate_size", CONFIG_WIDTH_MIN, CONFIG_FEED_FORWARD_MAX, true, 0,
                                &config->expert_feed_forward, reading->err));
        TRY(config_take_flag(object, "norm_topk_prob", reading->family->latent, &normalise, reading->err));
        TRY(config_take_integer(object, "decoder_sparse_step", 1, LIMIT_LAYERS, false, 1, &step, reading->err));
    }
    config->shared_gate = is(reading, "qwen2_moe");
    if (config->shared_gate)
        TRY(config_take_integer(object, "shared_expert_intermediate_size", CONFIG_WIDTH_MIN, CONFIG_FEED_FORWARD_MAX,
                                true, 0, &config->shared_feed_forward, reading->err));
    for (int i = 0; i < config->layers; i++) config->layer[i].experts = (i + 1) % step == 0;
    config->experts = (int)experts;
    config->experts_used = (int)used;
    config->normalise_experts = normalise;
    if (reading->family->latent) TRY(read_latent_experts(reading, config));
    return read_dense_layers(reading, config);
}

/* ---- the rest ------------------------------------------------------------------------------------------------------ */

static enum status read_heads(struct reading *reading, struct model_config *config) {
    struct config_object *object = &reading->object;
    const struct family *family = reading->family;
    int64_t heads, kv_heads, head_dim, kv_unsaid = family->kv_heads > 0 ? family->kv_heads : 0;
    TRY(config_take_integer(object, "num_attention_heads", 1, CONFIG_HEADS_MAX, family->heads == 0, family->heads,
                            &heads, reading->err));
    if (family->kv_heads < 0 || config_says(object, "num_key_value_heads")) kv_unsaid = heads; /* null: as many */
    TRY(config_take_integer(object, "num_key_value_heads", 1, heads, kv_unsaid == 0, kv_unsaid, &kv_heads,
                            reading->err));
    TRY(config_take_integer(object, "head_dim", 1, 1 << 16, false,
                            family->head_dim > 0 ? family->head_dim : config->width / heads, &head_dim, reading->err));
    config->heads = (int)heads;
    config->kv_heads = (int)kv_heads;
    config->head_dim = config->rotary_dim = (int)head_dim;
    return STATUS_OK;
}

/** Multi-head latent attention; a head is its part without rotation and behind that the one with. The inner norms have the class's eps. */
static enum status read_latent(struct reading *reading, struct model_config *config) {
    struct config_object *object = &reading->object;
    int64_t nope, rotary, value;
    bool interleaved;
    TRY(config_take_integer(object, "q_lora_rank", 16, CONFIG_WIDTH_MAX, true, 0, &config->query_rank, reading->err));
    TRY(config_take_integer(object, "kv_lora_rank", 16, CONFIG_WIDTH_MAX, true, 0, &config->key_rank, reading->err));
    TRY(config_take_integer(object, "qk_nope_head_dim", 1, 256, true, 0, &nope, reading->err));
    TRY(config_take_integer(object, "qk_rope_head_dim", 2, 256, true, 0, &rotary, reading->err));
    TRY(config_take_integer(object, "v_head_dim", 1, nope + rotary, true, 0, &value, reading->err));
    TRY(config_take_flag(object, "rope_interleave", true, &interleaved, reading->err));
    (void)config_take(object, "qk_head_dim"); /* the sum, where it is said */
    (void)config_take(object, "head_dim");
    if (config->kv_heads != config->heads)
        return error_set(reading->err, STATUS_UNIMPLEMENTED, "%s: latent attention with %d key heads for %d queries",
                         object->file, config->kv_heads, config->heads);
    config->head_dim = (int)(nope + rotary);
    config->rotary_dim = (int)rotary;
    config->value_dim = (int)value;
    config->latent_eps = 1e-6f;
    config->rope_style = interleaved ? ROPE_INTERLEAVED : ROPE_HALVES;
    return STATUS_OK;
}

static enum status read_sizes(struct reading *reading, struct model_config *config) {
    struct config_object *object = &reading->object;
    struct error *err = reading->err;
    const struct family *family = reading->family;
    int64_t layers, vocabulary;
    double eps;
    TRY(config_take_integer(object, "num_hidden_layers", 1, LIMIT_LAYERS, true, 0, &layers, err));
    TRY(config_take_integer(object, "hidden_size", CONFIG_WIDTH_MIN, CONFIG_WIDTH_MAX, true, 0, &config->width, err));
    TRY(config_take_integer(object, "intermediate_size", family->experts ? 0 : CONFIG_WIDTH_MIN,
                            CONFIG_FEED_FORWARD_MAX, true, 0, &config->feed_forward, err));
    TRY(config_take_integer(object, "max_position_embeddings", CONFIG_CONTEXT_MIN, LIMIT_CONTEXT_TOKENS,
                            family->context == 0, family->context, &config->context_tokens, err));
    TRY(config_take_integer(object, "vocab_size", 1, LIMIT_VOCABULARY, family->vocabulary == 0, family->vocabulary,
                            &vocabulary, err));
    TRY(config_take_number(object, "rms_norm_eps", CONFIG_EPS_MIN, CONFIG_EPS_MAX, false, family->norm_eps, &eps, err));
    config->layers = (int)layers;
    config->vocabulary = (int32_t)vocabulary;
    config->norm_eps = (float)eps;
    return read_heads(reading, config);
}

static enum status read_activation(struct reading *reading, struct model_config *config) {
    bool gemma =
        reading->family->gemma; /* it reads hidden_activation; hidden_act is what old configs of it say wrongly */
    struct bytes_view name = bytes_view_string(gemma ? "gelu_pytorch_tanh" : "silu"), ignored;
    if (gemma) (void)config_take_string(&reading->object, "hidden_act", &ignored);
    (void)config_take_string(&reading->object, gemma ? "hidden_activation" : "hidden_act", &name);
    if (bytes_view_equal_string(name, "gelu_pytorch_tanh"))
        config->activation = ACTIVATION_GELU_TANH;
    else if (!bytes_view_equal_string(name, "silu"))
        return error_set(reading->err, STATUS_UNIMPLEMENTED,
                         "%s: the activation '%.*s' is not supported (there are silu and gelu_pytorch_tanh)",
                         reading->object.file, name.length < 32 ? (int)name.length : 32, (const char *)name.data);
    return STATUS_OK;
}

static enum status read_softcap(struct reading *reading, const char *name, double unsaid, float *out) {
    double softcap;
    if (config_says(&reading->object, name)) unsaid = 0; /* null: none */
    TRY(config_take_number(&reading->object, name, 0, CONFIG_FACTOR_MAX, false, unsaid, &softcap, reading->err));
    *out = (float)softcap;
    return STATUS_OK;
}

static enum status read_gemma(struct reading *reading, struct model_config *config) {
    double scalar;
    config->post_norms = true;
    config->norm_offset = 1;
    config->embedding_scale = sqrtf((float)config->width);
    TRY(config_take_number(&reading->object, "query_pre_attn_scalar", 1e-3, 1e6, false, 256, &scalar, reading->err));
    config->attention_scale = (float)(1 / sqrt(scalar));
    (void)config_take(&reading->object,
                      "sliding_window_size"); /* Gemma 2's say sliding_window twice; nobody reads it */
    TRY(read_softcap(reading, "attn_logit_softcapping", reading->family->attention_softcap,
                     &config->attention_softcap));
    return read_softcap(reading, "final_logit_softcapping", reading->family->output_softcap, &config->output_softcap);
}

static enum status read_flags(struct reading *reading, struct model_config *config) {
    struct config_object *object = &reading->object;
    bool attention_bias, query_bias, tied, mlp_bias, said = config_has(object, "tie_word_embeddings");
    TRY(config_take_flag(object, "attention_bias", false, &attention_bias, reading->err));
    TRY(config_take_flag(object, "qkv_bias", is(reading, "qwen2_moe"), &query_bias, reading->err));
    TRY(config_take_flag(object, "mlp_bias", false, &mlp_bias, reading->err));
    TRY(config_take_flag(object, "tie_word_embeddings", reading->family->tied, &tied, reading->err));
    if (mlp_bias) return error_set(reading->err, STATUS_UNIMPLEMENTED, "%s: mlp_bias is not supported", object->file);
    if (attention_bias && reading->family->latent)
        return error_set(reading->err, STATUS_UNIMPLEMENTED, "%s: attention_bias is not supported here", object->file);
    config->biases = reading->family->biases || query_bias || attention_bias;
    config->output_bias = attention_bias;
    /* Old configs leave out what was true by default. */
    config->tied_embeddings = said ? tied : !checkpoint_has(reading->checkpoint, "output.weight");
    return STATUS_OK;
}

/** The member that holds the text model of a model with images; NULL: all of it is. */
static const struct json_value *text_model(const struct json_value *config, const struct bytes_view *type) {
    static const char *const outer[] = {"gemma3", "mistral3", "llava"};
    for (size_t i = 0; i < sizeof outer / sizeof outer[0]; i++) {
        if (!bytes_view_equal_string(*type, outer[i])) continue;
        for (const struct json_value *member = config->first; member != NULL; member = member->next) {
            if (bytes_view_equal_string(member->name, "text_config")) return member;
        }
    }
    return NULL;
}

static enum status find_family(struct reading *reading, const struct json_value *config, const char *path) {
    struct bytes_view type;
    TRY(config_object_init(&reading->object, config, path, "", reading->err));
    if (!config_take_string(&reading->object, "model_type", &type))
        return error_set(reading->err, STATUS_INVALID_ARGUMENT, "%s: model_type is missing", path);
    TRY(config_refuse_quantised(&reading->object, reading->err));
    const struct json_value *text = text_model(config, &type);
    if (text != NULL) {
        TRY(config_object_init(&reading->object, text, path, "text_config.", reading->err));
        TRY(config_refuse_quantised(&reading->object, reading->err));
        struct bytes_view fallback =
            bytes_view_equal_string(type, "gemma3") ? bytes_view_string("gemma3_text") : bytes_view_string("mistral");
        if (!config_take_string(&reading->object, "model_type", &type)) type = fallback;
    }
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        if (bytes_view_equal_string(type, families[i].name)) reading->family = &families[i];
    }
    if (reading->family == NULL)
        return error_set(reading->err, STATUS_UNIMPLEMENTED,
                         "%s: models of type '%.*s' are not supported (docs/models.md)", path,
                         type.length < 32 ? (int)type.length : 32, (const char *)type.data);
    return STATUS_OK;
}

enum status model_config_read_hugging_face(const struct checkpoint *checkpoint, struct model_config *config,
                                           struct error *err) {
    struct reading reading = {.checkpoint = checkpoint, .err = err};
    TRY(find_family(&reading, checkpoint_config(checkpoint), checkpoint_path(checkpoint)));
    snprintf(config->architecture, sizeof config->architecture, "%s", reading.family->architecture);
    config->rope_style = ROPE_HALVES;
    config->query_key_norms = reading.family->query_key_norms;
    TRY(read_sizes(&reading, config));
    if (reading.family->latent) TRY(read_latent(&reading, config));
    TRY(read_rope(&reading, config));
    TRY(read_windows(&reading, config));
    TRY(read_activation(&reading, config));
    TRY(read_flags(&reading, config));
    if (is(&reading, "smollm3")) TRY(read_unrotated(&reading, config));
    if (reading.family->experts) TRY(read_experts(&reading, config));
    if (reading.family->gemma) TRY(read_gemma(&reading, config));
    return config_refuse_rest(&reading.object, harmless, err);
}
