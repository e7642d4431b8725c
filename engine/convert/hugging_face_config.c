/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* config.json from what a model computes, in the words of transformers 4, which 5 reads as well. */
#include "base/json.h"
#include "base/text.h"
#include "engine/convert/convert_internal.h"
#include "engine/weights/gguf.h"

#include <math.h>
#include <string.h>

static void put_name(struct bytes *out, const char *name) {
    (void)bytes_printf(out, "%s\n  \"%s\": ", out->length > 1 ? "," : "", name);
}
static void put_integer(struct bytes *out, const char *name, int64_t value) {
    put_name(out, name);
    (void)bytes_printf(out, "%lld", (long long)value);
}
static void put_flag(struct bytes *out, const char *name, bool value) {
    put_name(out, name);
    (void)bytes_append_string(out, value ? "true" : "false");
}
static void put_word(struct bytes *out, const char *name, const char *value) {
    put_name(out, name);
    (void)json_append_string(out, bytes_view_string(value));
}
/** What came from a float is written as short as that float needs. */
static void append_number(struct bytes *out, double value) {
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        double read = 0;
        if (text_to_double(text, &read) && ((float)value == value ? (float)read == (float)value : read == value)) break;
    }
    (void)bytes_append_string(out, text);
    if (strpbrk(text, ".e") == NULL) (void)bytes_append_string(out, ".0");
}
static void put_number(struct bytes *out, const char *name, double value) {
    put_name(out, name);
    append_number(out, value);
}

/* ---- families ------------------------------------------------------------------------------------------------------ */

struct class {
    const char *architecture, *model_type, *class;
};

static const struct class *class_of(const struct model_config *config) {
    static const struct class classes[] = {{"mistral3", "ministral3", "Ministral3ForCausalLM"},
                                           {"smollm3", "smollm3", "SmolLM3ForCausalLM"},
                                           {"qwen2", "qwen2", "Qwen2ForCausalLM"},
                                           {"qwen2moe", "qwen2_moe", "Qwen2MoeForCausalLM"},
                                           {"qwen3", "qwen3", "Qwen3ForCausalLM"},
                                           {"qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM"},
                                           {"gemma2", "gemma2", "Gemma2ForCausalLM"},
                                           {"gemma3", "gemma3_text", "Gemma3ForCausalLM"}},
                              mixtral = {"llama", "mixtral", "MixtralForCausalLM"},
                              ministral = {"llama", "ministral", "MinistralForCausalLM"},
                              mistral = {"llama", "mistral", "MistralForCausalLM"},
                              llama = {"llama", "llama", "LlamaForCausalLM"};
    bool some = false, all = true;
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        if (strcmp(config->architecture, classes[i].architecture) == 0) return &classes[i];
    }
    if (strcmp(config->architecture, "llama") != 0) return NULL;
    for (int i = 0; i < config->layers; i++) {
        some = some || config->layer[i].window > 0;
        all = all && config->layer[i].window > 0;
    }
    return config->experts > 0 ? &mixtral : some && !all ? &ministral : some ? &mistral : &llama;
}

/* ---- parts --------------------------------------------------------------------------------------------------------- */

static void put_windows(const struct model_config *config, const char *type, struct bytes *out) {
    int64_t window = 0;
    for (int i = 0; i < config->layers; i++) window = config->layer[i].window > 0 ? config->layer[i].window : window;
    bool qwen = strncmp(type, "qwen", 4) == 0;
    if (qwen) put_flag(out, "use_sliding_window", window > 0);
    if (window > 0)
        put_integer(out, "sliding_window", window);
    else if (strcmp(type, "mistral") == 0 || strcmp(type, "mixtral") == 0)
        put_name(out, "sliding_window"), (void)bytes_append_string(out, "null");
    if (window == 0 || strcmp(type, "mistral") == 0 || strcmp(type, "mixtral") == 0) return;
    if (strcmp(type, "qwen2_moe") == 0 || strcmp(type, "qwen3_moe") == 0) {
        put_integer(out, "max_window_layers", 0);
        return;
    }
    put_name(out, "layer_types");
    for (int i = 0; i < config->layers; i++)
        (void)bytes_printf(out, "%s\"%s_attention\"", i == 0 ? "[" : ", ",
                           config->layer[i].window > 0 ? "sliding" : "full");
    (void)bytes_append_string(out, "]");
}

static void append_member(struct bytes *out, const char *name, double value) {
    (void)bytes_printf(out, ", \"%s\": ", name);
    append_number(out, value);
}

/** The members of rope_scaling, or of rope_parameters. */
static void append_scaling(struct bytes *out, const struct rope_config *rope) {
    static const char *const types[] = {"default", "linear", "llama3", "yarn"};
    (void)bytes_printf(out, "{\"rope_type\": \"%s\"", types[rope->scaling]);
    if (rope->scaling != ROPE_SCALING_NONE) append_member(out, "factor", rope->factor);
    if (rope->scaling == ROPE_SCALING_LLAMA3 || rope->scaling == ROPE_SCALING_YARN)
        (void)bytes_printf(out, ", \"original_max_position_embeddings\": %lld", (long long)rope->original_context);
    if (rope->scaling == ROPE_SCALING_LLAMA3) {
        append_member(out, "low_freq_factor", rope->low_frequency_factor);
        append_member(out, "high_freq_factor", rope->high_frequency_factor);
    }
    if (rope->scaling == ROPE_SCALING_YARN) {
        append_member(out, "beta_fast", rope->beta_fast);
        append_member(out, "beta_slow", rope->beta_slow);
        append_member(out, "attention_factor", rope->magnitude);
    }
}

static void put_rope(const struct model_config *config, const char *type, struct bytes *out) {
    const struct rope_config *rope = &config->ropes[MODEL_ROPE_GLOBAL];
    if (strcmp(type, "ministral3") == 0) { /* transformers 5 only */
        put_name(out, "rope_parameters");
        append_scaling(out, rope);
        append_member(out, "rope_theta", rope->base);
        append_member(out, "llama_4_scaling_beta", config->temperature_beta);
        (void)bytes_append_string(out, "}");
        return;
    }
    put_number(out, "rope_theta", rope->base);
    if (strcmp(type, "gemma3_text") == 0) put_number(out, "rope_local_base_freq", config->ropes[MODEL_ROPE_LOCAL].base);
    if (rope->scaling == ROPE_SCALING_NONE) return;
    put_name(out, "rope_scaling");
    append_scaling(out, rope);
    (void)bytes_append_string(out, "}");
}

static void put_experts(const struct model_config *config, const char *type, struct bytes *out) {
    if (config->experts == 0) return;
    bool mixtral = strcmp(type, "mixtral") == 0;
    put_integer(out, mixtral ? "num_local_experts" : "num_experts", config->experts);
    put_integer(out, "num_experts_per_tok", config->experts_used);
    if (mixtral) return;
    put_integer(out, "moe_intermediate_size", config->expert_feed_forward);
    put_flag(out, "norm_topk_prob", config->normalise_experts);
    put_integer(out, "decoder_sparse_step", 1);
    put_name(out, "mlp_only_layers");
    (void)bytes_append_string(out, "[");
    bool first = true;
    for (int i = 0; i < config->layers; i++) {
        if (config->layer[i].experts) continue;
        (void)bytes_printf(out, "%s%d", first ? "" : ", ", i);
        first = false;
    }
    (void)bytes_append_string(out, "]");
    if (config->shared_feed_forward > 0)
        put_integer(out, "shared_expert_intermediate_size", config->shared_feed_forward);
}

static void put_gemma(const struct model_config *config, const char *type, struct bytes *out) {
    bool two = strcmp(type, "gemma2") == 0;
    /* transformers 5 wants a whole number, and there it is one in all models. */
    double scalar = 1 / ((double)config->attention_scale * (double)config->attention_scale);
    if (fabs(scalar - round(scalar)) < 1e-4 * scalar)
        put_integer(out, "query_pre_attn_scalar", (int64_t)round(scalar));
    else
        put_number(out, "query_pre_attn_scalar", scalar);
    if (config->attention_softcap != 0) {
        put_number(out, "attn_logit_softcapping", config->attention_softcap);
    } else if (two) {
        put_name(out, "attn_logit_softcapping");
        (void)bytes_append_string(out, "null");
    }
    if (config->output_softcap != 0) {
        put_number(out, "final_logit_softcapping", config->output_softcap);
    } else if (two) {
        put_name(out, "final_logit_softcapping");
        (void)bytes_append_string(out, "null");
    }
}

static void put_unrotated(const struct model_config *config, struct bytes *out) {
    put_name(out, "no_rope_layers");
    for (int i = 0; i < config->layers; i++)
        (void)bytes_printf(out, "%s%d", i == 0 ? "[" : ", ", config->layer[i].rope != MODEL_ROPE_NONE);
    (void)bytes_append_string(out, "]");
}

static void put_token(const struct gguf *gguf, const char *key, const char *name, struct bytes *out) {
    uint64_t id;
    if (gguf != NULL && gguf_u64(gguf, key, &id)) put_integer(out, name, (int64_t)id);
}

static void put_sizes(const struct model_config *config, const char *type, struct bytes *out) {
    bool gemma = strncmp(type, "gemma", 5) == 0;
    put_integer(out, "hidden_size", config->width);
    put_integer(out, "intermediate_size",
                config->feed_forward > 0 ? config->feed_forward : config->expert_feed_forward);
    put_integer(out, "num_hidden_layers", config->layers);
    put_integer(out, "num_attention_heads", config->heads);
    put_integer(out, "num_key_value_heads", config->kv_heads);
    put_integer(out, "head_dim", config->head_dim);
    put_integer(out, "vocab_size", config->vocabulary);
    put_integer(out, "max_position_embeddings", config->context_tokens);
    put_number(out, "rms_norm_eps", config->norm_eps);
    put_word(out, gemma ? "hidden_activation" : "hidden_act",
             config->activation == ACTIVATION_GELU_TANH ? "gelu_pytorch_tanh" : "silu");
    put_flag(out, "tie_word_embeddings", config->tied_embeddings);
}

enum status convert_write_config(const struct converting *converting, enum tensor_type type, struct bytes *out) {
    const struct model_config *config = &converting->config;
    const struct gguf *gguf = checkpoint_gguf(converting->checkpoint);
    const struct class *class = class_of(config);
    if (class == NULL)
        return error_set(converting->err, STATUS_UNIMPLEMENTED,
                         "%s: the architecture %s has no Hugging Face class here",
                         checkpoint_path(converting->checkpoint), config->architecture);
    (void)bytes_append_string(out, "{");
    put_name(out, "architectures");
    (void)bytes_printf(out, "[\"%s\"]", class->class);
    put_word(out, "model_type", class->model_type);
    put_word(out, "torch_dtype", type == TENSOR_F32 ? "float32" : type == TENSOR_F16 ? "float16" : "bfloat16");
    put_sizes(config, class->model_type, out);
    if (config->output_bias || (config->biases && strcmp(config->architecture, "llama") == 0))
        put_flag(out, "attention_bias", true);
    put_windows(config, class->model_type, out);
    put_rope(config, class->model_type, out);
    put_experts(config, class->model_type, out);
    if (strncmp(config->architecture, "gemma", 5) == 0) put_gemma(config, class->model_type, out);
    if (strcmp(config->architecture, "smollm3") == 0) put_unrotated(config, out);
    put_token(gguf, "tokenizer.ggml.bos_token_id", "bos_token_id", out);
    put_token(gguf, "tokenizer.ggml.eos_token_id", "eos_token_id", out);
    put_token(gguf, "tokenizer.ggml.padding_token_id", "pad_token_id", out);
    (void)bytes_append_string(out, "\n}\n");
    return out->failed ? error_set(converting->err, STATUS_RESOURCE_EXHAUSTED, "out of memory") : STATUS_OK;
}
