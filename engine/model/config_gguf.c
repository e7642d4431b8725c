/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Configs of GGUF files. Names and meanings of the keys are llama.cpp's; what a converter leaves out of a file (Mistral 7B v0.1's window, say)
 * is not there for anybody.
 */
#include "base/limits.h"
#include "engine/model/config_internal.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/gguf.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct reading {
    const struct gguf *gguf;
    const struct checkpoint *checkpoint;
    const char *architecture;
    struct error *err;
};

enum { KEY_BYTES = 128 };

static const char *key_of(const struct reading *reading, const char *name, char key[KEY_BYTES]) {
    snprintf(key, KEY_BYTES, "%s.%s", reading->architecture, name);
    return key;
}

static bool has(const struct reading *reading, const char *name) {
    char key[KEY_BYTES];
    return gguf_has(reading->gguf, key_of(reading, name, key));
}

/** "<architecture>.<name>" as a whole number in [minimum, maximum]; `fallback` < 0: it must be there. */
static enum status read_number(const struct reading *reading, const char *name, int64_t minimum, int64_t maximum,
                               int64_t fallback, int64_t *out) {
    char key[KEY_BYTES];
    uint64_t value;
    key_of(reading, name, key);
    if (!gguf_has(reading->gguf, key) && fallback >= 0) {
        *out = fallback;
        return STATUS_OK;
    }
    if (!gguf_u64(reading->gguf, key, &value))
        return error_set(reading->err, STATUS_INVALID_ARGUMENT, "%s: %s is missing or not a whole number",
                         gguf_path(reading->gguf), key);
    if (value < (uint64_t)minimum || value > (uint64_t)maximum) {
        return error_set(reading->err, STATUS_INVALID_ARGUMENT, "%s: %s is %llu, not in %lld..%lld",
                         gguf_path(reading->gguf), key, (unsigned long long)value, (long long)minimum,
                         (long long)maximum);
    }
    *out = (int64_t)value;
    return STATUS_OK;
}

/** `fallback` NaN: it must be there. */
static enum status read_double(const struct reading *reading, const char *name, double minimum, double maximum,
                               double fallback, double *out) {
    char key[KEY_BYTES];
    key_of(reading, name, key);
    *out = fallback;
    if (!gguf_has(reading->gguf, key) && !isnan(fallback)) return STATUS_OK;
    if (!gguf_f64(reading->gguf, key, out) || !(*out >= minimum && *out <= maximum))
        return error_set(reading->err, STATUS_INVALID_ARGUMENT, "%s: %s is missing or not in %g..%g",
                         gguf_path(reading->gguf), key, minimum, maximum);
    return STATUS_OK;
}

/* ---- families ------------------------------------------------------------------------------------------------------ */

struct family {
    const char *name;
    enum rope_style style;
    bool biases; /* of q, k and v: always; the others have them where the file has */
    bool query_key_norms;
    bool gemma;             /* scaled embeddings, GELU, norms behind as well */
    bool experts;           /* always */
    bool normalise_experts; /* unless the file says otherwise */
    int64_t window;         /* when the file does not say; 0: none */
    int pattern;            /* every so manieth layer sees all, the rest a window */
    double attention_softcap, output_softcap;
};

static const struct family families[] = {
    {.name = "llama", .style = ROPE_INTERLEAVED, .normalise_experts = true},
    {.name = "mistral3", .style = ROPE_INTERLEAVED, .normalise_experts = true},
    {.name = "smollm3", .style = ROPE_INTERLEAVED},
    {.name = "qwen2", .style = ROPE_HALVES, .biases = true},
    {.name = "qwen2moe", .style = ROPE_HALVES, .biases = true, .experts = true},
    {.name = "qwen3", .style = ROPE_HALVES, .query_key_norms = true},
    {.name = "qwen3moe", .style = ROPE_HALVES, .query_key_norms = true, .experts = true, .normalise_experts = true},
    {.name = "gemma2",
     .style = ROPE_HALVES,
     .gemma = true,
     .window = 4096,
     .pattern = 2,
     .attention_softcap = 50,
     .output_softcap = 30},
    {.name = "gemma3", .style = ROPE_HALVES, .gemma = true, .query_key_norms = true, .pattern = 6},
};

static const struct family *family_of(struct bytes_view name) {
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        if (bytes_view_equal_string(name, families[i].name)) return &families[i];
    }
    return NULL;
}

/* ---- parts of a config --------------------------------------------------------------------------------------------- */

static enum status read_heads(const struct reading *reading, struct model_config *config) {
    int64_t heads, kv_heads, head_dim, value_dim, rotary;
    TRY(read_number(reading, "attention.head_count", 1, CONFIG_HEADS_MAX, -1, &heads));
    TRY(read_number(reading, "attention.head_count_kv", 1, heads, heads, &kv_heads));
    TRY(read_number(reading, "attention.key_length", 16, 256, config->width / heads, &head_dim));
    TRY(read_number(reading, "attention.value_length", 1, 1 << 16, head_dim, &value_dim));
    TRY(read_number(reading, "rope.dimension_count", 2, head_dim, head_dim, &rotary));
    if (value_dim != head_dim)
        return error_set(reading->err, STATUS_UNIMPLEMENTED, "%s: keys of %lld and values of %lld are not supported",
                         gguf_path(reading->gguf), (long long)head_dim, (long long)value_dim);
    config->heads = (int)heads;
    config->kv_heads = (int)kv_heads;
    config->head_dim = (int)head_dim;
    config->rotary_dim = (int)rotary;
    return STATUS_OK;
}

static enum status read_yarn(const struct reading *reading, struct rope_config *rope) {
    double attention, logarithm;
    rope->scaling = ROPE_SCALING_YARN;
    TRY(read_double(reading, "rope.scaling.yarn_beta_fast", CONFIG_FACTOR_MIN, CONFIG_FACTOR_MAX, 32,
                    &rope->beta_fast));
    TRY(read_double(reading, "rope.scaling.yarn_beta_slow", CONFIG_FACTOR_MIN, CONFIG_FACTOR_MAX, 1, &rope->beta_slow));
    TRY(read_double(reading, "rope.scaling.attn_factor", CONFIG_FACTOR_MIN, CONFIG_FACTOR_MAX, 1, &attention));
    TRY(read_double(reading, "rope.scaling.yarn_log_multiplier", 0, CONFIG_FACTOR_MAX, 0, &logarithm));
    rope->magnitude = attention * model_config_yarn_scale(rope->factor, 1);
    if (logarithm != 0) rope->magnitude /= model_config_yarn_scale(rope->factor, logarithm);
    return STATUS_OK;
}

static enum status read_rope(const struct reading *reading, const struct family *family, struct model_config *config) {
    struct rope_config *rope = &config->ropes[MODEL_ROPE_GLOBAL], *local = &config->ropes[MODEL_ROPE_LOCAL];
    char key[KEY_BYTES];
    struct bytes_view type = bytes_view_string("linear");
    TRY(read_double(reading, "rope.freq_base", CONFIG_ROPE_BASE_MIN, CONFIG_ROPE_BASE_MAX, 10000, &rope->base));
    TRY(read_double(reading, "rope.scaling.factor", 0, CONFIG_FACTOR_MAX, 0, &rope->factor));
    if (!has(reading, "rope.scaling.factor"))
        TRY(read_double(reading, "rope.scale_linear", 0, CONFIG_FACTOR_MAX, 0, &rope->factor));
    TRY(read_double(reading, "rope.scaling.original_context_length", 1, LIMIT_CONTEXT_TOKENS,
                    (double)config->context_tokens, &rope->original_context));
    (void)gguf_string(reading->gguf, key_of(reading, "rope.scaling.type", key), &type);
    if (rope->factor == 0 || bytes_view_equal_string(type, "none")) rope->factor = 1;
    if (rope->factor < CONFIG_FACTOR_MIN)
        return error_set(reading->err, STATUS_INVALID_ARGUMENT, "%s: a RoPE scaling factor of %g",
                         gguf_path(reading->gguf), rope->factor);
    if (bytes_view_equal_string(type, "yarn"))
        TRY(read_yarn(reading, rope));
    else if (bytes_view_equal_string(type, "linear"))
        rope->scaling = rope->factor != 1 ? ROPE_SCALING_LINEAR : ROPE_SCALING_NONE;
    else if (!bytes_view_equal_string(type, "none"))
        return error_set(reading->err, STATUS_UNIMPLEMENTED,
                         "%s: %s '%.*s' is not supported (there are linear and yarn)", gguf_path(reading->gguf), key,
                         type.length < 32 ? (int)type.length : 32, (const char *)type.data);
    if (strcmp(family->name, "gemma3") != 0) /* gemma3's windows have a base of their own and no scaling */
        *local = *rope;
    double base = strcmp(family->name, "gemma3") == 0 ? 10000 : rope->base;
    TRY(read_double(reading, "rope.freq_base_swa", CONFIG_ROPE_BASE_MIN, CONFIG_ROPE_BASE_MAX, base, &local->base));
    TRY(read_double(reading, "attention.temperature_scale", 0, 100, 0, &base));
    config->temperature_beta = (float)base;
    config->temperature_length = (int64_t)rope->original_context;
    return STATUS_OK;
}

/** Windows by a pattern: an array says of each layer whether it has one; a number n, that all have but every n-th. Without one the family's;
 *  a family without one (Mistral) has its window everywhere. */
static enum status read_windows(const struct reading *reading, const struct family *family,
                                struct model_config *config) {
    char key[KEY_BYTES];
    struct gguf_array array;
    int64_t window, pattern;
    TRY(read_number(reading, "attention.sliding_window", 0, CONFIG_WINDOW_MAX, family->window, &window));
    if (window == 0) return STATUS_OK;
    key_of(reading, "attention.sliding_window_pattern", key);
    bool listed = gguf_array(reading->gguf, key, &array);
    if (listed && (array.count < config->layers || array.element == GGUF_STRING))
        return error_set(reading->err, STATUS_INVALID_ARGUMENT, "%s: %s does not speak of %d layers",
                         gguf_path(reading->gguf), key, config->layers);
    if (!listed)
        TRY(read_number(reading, "attention.sliding_window_pattern", 1, LIMIT_LAYERS, family->pattern, &pattern));
    for (int i = 0; i < config->layers; i++) {
        bool local = listed ? gguf_array_i64(&array, i) != 0 : pattern == 0 || (i + 1) % pattern != 0;
        if (local) config->layer[i] = (struct model_layer_config){.window = window, .rope = MODEL_ROPE_LOCAL};
    }
    return STATUS_OK;
}

static enum status read_experts(const struct reading *reading, const struct family *family,
                                struct model_config *config) {
    char key[KEY_BYTES];
    int64_t experts, used, gating;
    double scale;
    TRY(read_number(reading, "expert_count", family->experts, LIMIT_EXPERTS, family->experts ? -1 : 0, &experts));
    if (experts == 0) return STATUS_OK;
    TRY(read_number(reading, "expert_used_count", 1, experts, -1, &used));
    TRY(read_number(reading, "expert_feed_forward_length", CONFIG_WIDTH_MIN, CONFIG_FEED_FORWARD_MAX,
                    config->feed_forward, &config->expert_feed_forward));
    TRY(read_number(reading, "expert_gating_func", 0, 64, 1, &gating));
    TRY(read_double(reading, "expert_weights_scale", 0, CONFIG_FACTOR_MAX, 1, &scale));
    if (gating > 1)
        return error_set(reading->err, STATUS_UNIMPLEMENTED,
                         "%s: %s.expert_gating_func %lld is not supported (there is 1, softmax)",
                         gguf_path(reading->gguf), reading->architecture, (long long)gating);
    config->experts = (int)experts;
    config->experts_used = (int)used;
    config->normalise_experts = family->normalise_experts;
    config->expert_scale = scale == 0 ? 1 : (float)scale;
    (void)gguf_bool(reading->gguf, key_of(reading, "expert_weights_norm", key), &config->normalise_experts);
    for (int i = 0; i < config->layers; i++) {
        snprintf(key, sizeof key, "blk.%d.ffn_gate_inp.weight", i);
        config->layer[i].experts = family->experts ? checkpoint_has(reading->checkpoint, key) : true;
    }
    if (strcmp(family->name, "qwen2moe") != 0) return STATUS_OK;
    config->shared_gate = true;
    return read_number(reading, "expert_shared_feed_forward_length", CONFIG_WIDTH_MIN, CONFIG_FEED_FORWARD_MAX,
                       config->feed_forward, &config->shared_feed_forward);
}

/** Gemma: what its files do not say. The largest models of both kinds scale queries by their width (gemma_pytorch, config.py). */
static enum status read_gemma(const struct reading *reading, const struct family *family, struct model_config *config) {
    double softcap;
    bool largest = (strcmp(family->name, "gemma2") == 0 && config->layers == 46) ||
                   (strcmp(family->name, "gemma3") == 0 && config->layers == 62);
    config->post_norms = true;
    config->activation = ACTIVATION_GELU_TANH;
    config->embedding_scale = sqrtf((float)config->width);
    if (largest) config->attention_scale = 1.0f / sqrtf((float)(config->width / config->heads));
    TRY(read_double(reading, "attn_logit_softcapping", 0, CONFIG_FACTOR_MAX, family->attention_softcap, &softcap));
    config->attention_softcap = (float)softcap;
    TRY(read_double(reading, "final_logit_softcapping", 0, CONFIG_FACTOR_MAX, family->output_softcap, &softcap));
    config->output_softcap = (float)softcap;
    return STATUS_OK;
}

/** What would change the numbers and is not built must not be passed over in silence. */
static enum status refuse_unknown(const struct reading *reading, const struct family *family) {
    static const char *const refused[] = {"logit_scale",
                                          "residual_scale",
                                          "embedding_scale",
                                          "attention.scale",
                                          "attention.output_scale",
                                          "attention.clamp_kqv",
                                          "attention.max_alibi_bias",
                                          "attention.q_lora_rank",
                                          "attention.kv_lora_rank",
                                          "attention.key_length_mla",
                                          "attention.value_length_mla",
                                          "attention.key_length_swa",
                                          "attention.value_length_swa",
                                          "attention.temperature_length",
                                          "rope.dimension_count_swa",
                                          "rope.scaling.alpha",
                                          "rope.scaling.yarn_ext_factor",
                                          "rope.scaling.yarn_attn_factor",
                                          "router_logit_softcapping",
                                          "expert_group_count",
                                          "expert_group_used_count",
                                          "leading_dense_block_count",
                                          "interleave_moe_layer_step",
                                          "moe_every_n_layers",
                                          "nextn_predict_layers",
                                          "use_parallel_residual",
                                          "pooling_type"},
                             *const gemma_only[] = {"attn_logit_softcapping", "final_logit_softcapping"};
    char key[KEY_BYTES];
    bool flag;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0] + 2; i++) {
        size_t count = sizeof refused / sizeof refused[0];
        if (i >= count && family->gemma) break;
        struct bytes_view word;
        double number;
        key_of(reading, i < count ? refused[i] : gemma_only[i - count], key);
        bool neutral = (gguf_string(reading->gguf, key, &word) && bytes_view_equal_string(word, "none")) ||
                       (gguf_f64(reading->gguf, key, &number) && number == 0) ||
                       (gguf_bool(reading->gguf, key, &flag) && !flag);
        if (gguf_has(reading->gguf, key) && !neutral)
            return error_set(reading->err, STATUS_UNIMPLEMENTED, "%s: %s is not supported", gguf_path(reading->gguf),
                             key);
    }
    if (gguf_bool(reading->gguf, key_of(reading, "attention.causal", key), &flag) && !flag)
        return error_set(reading->err, STATUS_UNIMPLEMENTED, "%s: %s is false: not a text generator",
                         gguf_path(reading->gguf), key);
    return STATUS_OK;
}

static enum status read_sizes(const struct reading *reading, const struct family *family, struct model_config *config) {
    int64_t layers, vocabulary;
    double eps;
    struct gguf_array tokens = {0};
    TRY(read_number(reading, "block_count", 1, LIMIT_LAYERS, -1, &layers));
    TRY(read_number(reading, "embedding_length", CONFIG_WIDTH_MIN, CONFIG_WIDTH_MAX, -1, &config->width));
    TRY(read_number(reading, "feed_forward_length", family->experts ? 0 : CONFIG_WIDTH_MIN, CONFIG_FEED_FORWARD_MAX,
                    family->experts ? 0 : -1, &config->feed_forward));
    TRY(read_number(reading, "context_length", CONFIG_CONTEXT_MIN, LIMIT_CONTEXT_TOKENS, -1, &config->context_tokens));
    TRY(read_double(reading, "attention.layer_norm_rms_epsilon", CONFIG_EPS_MIN, CONFIG_EPS_MAX, NAN, &eps));
    gguf_array(reading->gguf, "tokenizer.ggml.tokens", &tokens);
    TRY(read_number(reading, "vocab_size", 1, LIMIT_VOCABULARY, tokens.count, &vocabulary));
    if (vocabulary < 1 || vocabulary > LIMIT_VOCABULARY)
        return error_set(reading->err, STATUS_INVALID_ARGUMENT, "%s: a vocabulary of %lld tokens",
                         gguf_path(reading->gguf), (long long)vocabulary);
    config->layers = (int)layers;
    config->vocabulary = (int32_t)vocabulary;
    config->norm_eps = (float)eps;
    return STATUS_OK;
}

enum status model_config_read_gguf(const struct checkpoint *checkpoint, struct model_config *config,
                                   struct error *err) {
    const struct gguf *gguf = checkpoint_gguf(checkpoint);
    struct bytes_view architecture;
    if (!gguf_string(gguf, "general.architecture", &architecture))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s does not say its architecture", gguf_path(gguf));
    const struct family *family = family_of(architecture);
    if (family == NULL)
        return error_set(err, STATUS_UNIMPLEMENTED, "%s: the architecture '%.*s' is not supported (docs/models.md)",
                         gguf_path(gguf), (int)(architecture.length < 32 ? architecture.length : 32),
                         (const char *)architecture.data);
    snprintf(config->architecture, sizeof config->architecture, "%s", family->name);
    const struct reading reading = {.gguf = gguf, .checkpoint = checkpoint, .architecture = family->name, .err = err};
    TRY(read_sizes(&reading, family, config));
    TRY(read_heads(&reading, config));
    TRY(read_rope(&reading, family, config));
    TRY(read_windows(&reading, family, config));
    TRY(read_experts(&reading, family, config));
    if (family->gemma) TRY(read_gemma(&reading, family, config));
    TRY(refuse_unknown(&reading, family));
    for (int i = 3; i < config->layers && strcmp(family->name, "smollm3") == 0; i += 4)
        config->layer[i].rope = MODEL_ROPE_NONE;
    config->rope_style = family->style;
    config->query_key_norms = family->query_key_norms;
    config->biases = family->biases || checkpoint_has(checkpoint, "blk.0.attn_q.bias");
    config->output_bias = checkpoint_has(checkpoint, "blk.0.attn_output.bias");
    config->tied_embeddings = !checkpoint_has(checkpoint, "output.weight");
    return STATUS_OK;
}
