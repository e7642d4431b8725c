/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What a config says, as GGUF metadata: llama.cpp's keys, for every field in which a model differs from what they mean when absent. */
#include "base/text.h"
#include "engine/convert/convert_internal.h"
#include "engine/weights/gguf.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/** Architectures whose rows of q and k stand in llama.cpp's order of neighbours. */
static bool rotates_neighbours(const char *architecture) {
    static const char *const names[] = {"llama", "mistral3", "smollm3"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(architecture, names[i]) == 0) return true;
    }
    return false;
}

/** A GGUF of any architecture can be written with other types; only the number of layers matters for that. */
static void read_gguf_facts(const struct gguf *gguf, struct convert_facts *facts) {
    struct bytes_view architecture = {0};
    char key[96];
    uint64_t layers = 0;
    (void)gguf_string(gguf, "general.architecture", &architecture);
    snprintf(facts->architecture, sizeof facts->architecture, "%.*s",
             (int)(architecture.length < 31 ? architecture.length : 31), (const char *)architecture.data);
    snprintf(key, sizeof key, "%s.block_count", facts->architecture);
    (void)gguf_u64(gguf, key, &layers);
    facts->layers = (int64_t)layers;
}

enum status convert_read_facts(struct converting *converting) {
    const struct gguf *gguf = checkpoint_gguf(converting->checkpoint);
    struct convert_facts *facts = &converting->facts;
    if (gguf != NULL && converting->options->to == CONVERT_TO_GGUF && converting->options->upcycle == NULL) {
        read_gguf_facts(gguf, facts);
        return STATUS_OK;
    }
    const struct model_config *config = &converting->config;
    TRY(model_config_read(converting->checkpoint, &converting->config, converting->err));
    snprintf(facts->architecture, sizeof facts->architecture, "%s", config->architecture);
    facts->layers = config->layers;
    facts->heads = config->heads;
    facts->kv_heads = config->kv_heads;
    facts->rotary_by_neighbours = rotates_neighbours(config->architecture);
    facts->norms_less_one = strncmp(config->architecture, "gemma", 5) == 0;
    return converting->options->upcycle != NULL ? convert_upcycle_config(converting) : STATUS_OK;
}

/* ---- metadata ------------------------------------------------------------------------------------------------------ */

/** The folder's name, or the file's without its end. */
static struct bytes_view name_of(const char *path) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    size_t start = length;
    while (start > 0 && path[start - 1] != '/') start--;
    return bytes_view_of(path + start, length - start);
}

static void put_sizes(const struct converting *converting, struct gguf_metadata *metadata) {
    const struct model_config *config = &converting->config;
    struct bytes_view name = name_of(checkpoint_path(converting->checkpoint));
    gguf_metadata_text(metadata, "general.architecture", config->architecture);
    gguf_metadata_text(metadata, "general.type", "model");
    if (text_is_utf8(name.data, name.length)) gguf_metadata_string(metadata, "general.name", name);
    gguf_metadata_u32(metadata, ".block_count", (uint32_t)config->layers);
    gguf_metadata_u32(metadata, ".context_length", (uint32_t)config->context_tokens);
    gguf_metadata_u32(metadata, ".embedding_length", (uint32_t)config->width);
    gguf_metadata_u32(metadata, ".feed_forward_length",
                      (uint32_t)(config->feed_forward > 0 ? config->feed_forward : config->expert_feed_forward));
    gguf_metadata_u32(metadata, ".vocab_size", (uint32_t)config->vocabulary);
    gguf_metadata_u32(metadata, ".attention.head_count", (uint32_t)config->heads);
    gguf_metadata_u32(metadata, ".attention.head_count_kv", (uint32_t)config->kv_heads);
    gguf_metadata_u32(metadata, ".attention.key_length", (uint32_t)config->head_dim);
    gguf_metadata_u32(metadata, ".attention.value_length", (uint32_t)config->head_dim);
    gguf_metadata_f32(metadata, ".attention.layer_norm_rms_epsilon", config->norm_eps);
}

static void put_experts(const struct model_config *config, struct gguf_metadata *metadata) {
    bool llama = strcmp(config->architecture, "llama") == 0, two = strcmp(config->architecture, "qwen2moe") == 0;
    if (config->experts == 0) return;
    gguf_metadata_u32(metadata, ".expert_count", (uint32_t)config->experts);
    gguf_metadata_u32(metadata, ".expert_used_count", (uint32_t)config->experts_used);
    if (!llama || config->expert_feed_forward != config->feed_forward)
        gguf_metadata_u32(metadata, ".expert_feed_forward_length", (uint32_t)config->expert_feed_forward);
    if (config->shared_feed_forward > 0)
        gguf_metadata_u32(metadata, ".expert_shared_feed_forward_length", (uint32_t)config->shared_feed_forward);
    if (config->normalise_experts == two)
        gguf_metadata_bool(metadata, ".expert_weights_norm", config->normalise_experts);
    if (config->expert_scale != 1) gguf_metadata_f32(metadata, ".expert_weights_scale", config->expert_scale);
}

static void put_rope(const struct model_config *config, struct gguf_metadata *metadata) {
    const struct rope_config *rope = &config->ropes[MODEL_ROPE_GLOBAL], *local = &config->ropes[MODEL_ROPE_LOCAL];
    gguf_metadata_u32(metadata, ".rope.dimension_count", (uint32_t)config->rotary_dim);
    gguf_metadata_f32(metadata, ".rope.freq_base", (float)rope->base);
    bool windows = false;
    for (int i = 0; i < config->layers; i++) windows = windows || config->layer[i].rope == MODEL_ROPE_LOCAL;
    if (windows && (local->base != rope->base || strcmp(config->architecture, "gemma3") == 0))
        gguf_metadata_f32(metadata, ".rope.freq_base_swa", (float)local->base);
    if (rope->scaling == ROPE_SCALING_LINEAR) {
        gguf_metadata_text(metadata, ".rope.scaling.type", "linear");
        gguf_metadata_f32(metadata, ".rope.scaling.factor", (float)rope->factor);
    } else if (rope->scaling == ROPE_SCALING_YARN) {
        double implied = rope->factor <= 1 ? 1 : 0.1 * log(rope->factor) + 1;
        gguf_metadata_text(metadata, ".rope.scaling.type", "yarn");
        gguf_metadata_f32(metadata, ".rope.scaling.factor", (float)rope->factor);
        gguf_metadata_u32(metadata, ".rope.scaling.original_context_length", (uint32_t)rope->original_context);
        gguf_metadata_f32(metadata, ".rope.scaling.yarn_beta_fast", (float)rope->beta_fast);
        gguf_metadata_f32(metadata, ".rope.scaling.yarn_beta_slow", (float)rope->beta_slow);
        if (fabs(rope->magnitude - implied) > 1e-9 * implied)
            gguf_metadata_f32(metadata, ".rope.scaling.attn_factor", (float)(rope->magnitude / implied));
    }
}

/** Windows: one number, and where not all layers have it and the architecture does not say which, the list of those that do. */
static void put_windows(const struct model_config *config, struct gguf_metadata *metadata) {
    int64_t window = 0;
    bool mixed = false, local[LIMIT_LAYERS];
    for (int i = 0; i < config->layers; i++) window = config->layer[i].window > 0 ? config->layer[i].window : window;
    for (int i = 0; i < config->layers; i++) {
        local[i] = config->layer[i].window > 0;
        mixed = mixed || !local[i];
    }
    if (window == 0) return;
    bool gemma = strncmp(config->architecture, "gemma", 5) == 0, usual = true;
    int pattern = strcmp(config->architecture, "gemma2") == 0 ? 2 : 6;
    for (int i = 0; i < config->layers; i++) usual = usual && local[i] == ((i + 1) % pattern != 0);
    gguf_metadata_u32(metadata, ".attention.sliding_window", (uint32_t)window);
    if (gemma ? !usual : mixed)
        gguf_metadata_bools(metadata, ".attention.sliding_window_pattern", local, (size_t)config->layers);
}

static void put_attention(const struct model_config *config, struct gguf_metadata *metadata) {
    if (config->attention_softcap != 0)
        gguf_metadata_f32(metadata, ".attn_logit_softcapping", config->attention_softcap);
    if (config->output_softcap != 0) gguf_metadata_f32(metadata, ".final_logit_softcapping", config->output_softcap);
    if (config->temperature_beta != 0)
        gguf_metadata_f32(metadata, ".attention.temperature_scale", config->temperature_beta);
    put_windows(config, metadata);
}

/** Where llama.cpp reads less than is written. Bora reads it all. */
static void note_limits_of_llama_cpp(const struct converting *converting) {
    const struct model_config *config = &converting->config;
    int64_t window = 0;
    bool dense = false;
    for (int i = 0; i < config->layers; i++) {
        if (config->layer[i].window > 0) window = config->layer[i].window;
        dense = dense || !config->layer[i].experts;
    }
    if (window > 0 && strncmp(config->architecture, "gemma", 5) != 0)
        (void)bytes_printf(
            converting->notes,
            "llama.cpp does not read the sliding window of %s: beyond %lld tokens it computes something else.\n",
            config->architecture, (long long)window);
    if (config->experts > 0 && dense)
        (void)bytes_printf(converting->notes, "llama.cpp does not read %s with layers that have no experts.\n",
                           config->architecture);
}

enum status convert_metadata_of_config(struct converting *converting, struct gguf_metadata *metadata) {
    const struct model_config *config = &converting->config;
    snprintf(metadata->architecture, sizeof metadata->architecture, "%s", config->architecture);
    put_sizes(converting, metadata);
    put_experts(config, metadata);
    put_rope(config, metadata);
    put_attention(config, metadata);
    note_limits_of_llama_cpp(converting);
    return STATUS_OK;
}

/** Llama 3's scaling is a tensor in GGUF: by what each frequency is divided. */
enum status convert_plan_rope_factors(struct converting *converting) {
    const struct model_config *config = &converting->config;
    struct rope_config plain = config->ropes[MODEL_ROPE_GLOBAL];
    if (plain.scaling != ROPE_SCALING_LLAMA3 || checkpoint_has(converting->checkpoint, "rope_freqs.weight"))
        return STATUS_OK;
    int64_t count = config->rotary_dim / 2;
    float *values = arena_alloc_array(&converting->plan.arena, (size_t)(2 * count), sizeof *values);
    char *name = arena_printf(&converting->plan.arena, "rope_freqs.weight");
    if (values == NULL || name == NULL) return error_set(converting->err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    model_rope_frequencies(&config->ropes[MODEL_ROPE_GLOBAL], config->rotary_dim, values + count);
    plain.scaling = ROPE_SCALING_NONE;
    model_rope_frequencies(&plain, config->rotary_dim, values);
    for (int64_t i = 0; i < count; i++) values[i] /= values[count + i];
    return convert_plan_add(converting, &(struct convert_tensor){.name = name,
                                                                 .values = values,
                                                                 .expert = -1,
                                                                 .dimension_count = 1,
                                                                 .dimensions = {count, 1, 1, 1},
                                                                 .type = TENSOR_F32});
}

/* ---- what was written, read back ------------------------------------------------------------------------------------ */

static bool near(double a, double b) {
    return fabs(a - b) <= 1e-6 * (fabs(a) + fabs(b)) + 1e-12;
}

/** Frequencies as they come out, whatever the way they are written. */
static bool same_frequencies(const struct model_config *a, const struct model_config *b, enum model_rope which) {
    enum { PAIRS_MAX = 128 };
    float x[PAIRS_MAX], y[PAIRS_MAX];
    if (a->rotary_dim != b->rotary_dim || a->rotary_dim > 2 * PAIRS_MAX) return false;
    /* Llama 3's factors are in a tensor, which is not in the config. */
    if (a->ropes[which].scaling == ROPE_SCALING_LLAMA3 || b->ropes[which].scaling == ROPE_SCALING_LLAMA3) return true;
    model_rope_frequencies(&a->ropes[which], a->rotary_dim, x);
    model_rope_frequencies(&b->ropes[which], b->rotary_dim, y);
    for (int i = 0; i < a->rotary_dim / 2; i++) {
        if (!near(x[i], y[i])) return false;
    }
    return near(a->ropes[which].magnitude, b->ropes[which].magnitude);
}

const char *convert_difference(const struct model_config *a, const struct model_config *b) {
    if (strcmp(a->architecture, b->architecture) != 0) return "the architecture";
    if (a->layers != b->layers || a->width != b->width || a->vocabulary != b->vocabulary || a->heads != b->heads ||
        a->kv_heads != b->kv_heads || a->head_dim != b->head_dim)
        return "a size";
    if (a->experts != b->experts || a->experts_used != b->experts_used ||
        (a->experts > 0 && (a->normalise_experts != b->normalise_experts || !near(a->expert_scale, b->expert_scale) ||
                            a->expert_feed_forward != b->expert_feed_forward)) ||
        a->shared_feed_forward != b->shared_feed_forward)
        return "the experts";
    if (!near(a->norm_eps, b->norm_eps)) return "the norms' epsilon";
    if (!near(a->attention_scale, b->attention_scale)) return "the attention's scale";
    if (!near(a->attention_softcap, b->attention_softcap) || !near(a->output_softcap, b->output_softcap))
        return "a soft cap";
    if (!near(a->embedding_scale, b->embedding_scale)) return "the embedding's scale";
    if (!near(a->temperature_beta, b->temperature_beta) ||
        (a->temperature_beta != 0 && a->temperature_length != b->temperature_length))
        return "the attention's scaling by position";
    if (a->activation != b->activation || a->post_norms != b->post_norms || a->query_key_norms != b->query_key_norms)
        return "the form of a layer";
    bool local = false;
    for (int i = 0; i < a->layers; i++) {
        const struct model_layer_config *x = &a->layer[i], *y = &b->layer[i];
        if (x->window != y->window || x->experts != y->experts) return "the windows or the mixture of a layer";
        if ((x->rope == MODEL_ROPE_NONE) != (y->rope == MODEL_ROPE_NONE)) return "which layers rotate";
        local = local || x->rope == MODEL_ROPE_LOCAL;
    }
    if (!same_frequencies(a, b, MODEL_ROPE_GLOBAL) || (local && !same_frequencies(a, b, MODEL_ROPE_LOCAL)))
        return "the rotary embedding";
    return NULL;
}
