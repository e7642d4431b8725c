/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Model: a decoder as a straight list of kernel calls, driven by a config.
 *
 *     x = embed(ids) * embedding_scale
 *     every layer:   q, k, v = norm(x) W_q, W_k, W_v [+ biases];  q, k = norm of each head [query_key_norms];
 *                    store(rope(k), v);  y = attention(rope(q) * temperature) W_o;   x += [norm](y)
 *                    gate, up = norm(x) W_gate, W_up;  y = (activation(gate) * up) W_down;   x += [norm](y)
 *           or       x += sum over the experts that a router chose for the row [+ the shared expert's]
 *     logits = cap(norm(x[chosen rows]) W_output)
 *
 * What differs between families is data: fields of the config, and of each layer (window, which rotary embedding or none, experts or not). Each
 * family's form of a file has a reader (config_gguf.c, config_hugging_face.c, config_mistral.c) that refuses by name what
 * would change numbers and is not built. docs/models.md lists the families and what each was checked against.
 *
 * Llama: Touvron et al., arXiv:2302.13971. Mistral: Jiang et al., arXiv:2310.06825. Mixtral: Jiang et al., arXiv:2401.04088. Gemma 3: arXiv:2503.19786.
 * Weights stay in the mapped file or in the kernels' own layout; scratch is allocated once at load.
 * One forward at a time.
 */
#ifndef ENGINE_MODEL_MODEL_H
#define ENGINE_MODEL_MODEL_H

#include "base/limits.h"
#include "base/status.h"
#include "engine/kv_cache/kv_cache.h"
#include "kernels/kernels.h"

struct checkpoint;

/** How inverse frequencies are stretched for contexts longer than those of the first training. */
enum rope_scaling {
    ROPE_SCALING_NONE,
    ROPE_SCALING_LINEAR, /* all by `factor` */
    ROPE_SCALING_LLAMA3, /* long wavelengths by `factor`, short ones not, between them smoothly (Llama 3.1's model card) */
    ROPE_SCALING_YARN, /* likewise, by rotations over the original context (Peng et al., arXiv:2309.00071) */
};

struct rope_config {
    double base;
    enum rope_scaling scaling;
    double factor;
    double original_context;                            /* LLAMA3, YARN */
    double low_frequency_factor, high_frequency_factor; /* LLAMA3 */
    double beta_fast, beta_slow;                        /* YARN: rotations where the ramp begins and ends */
    bool untruncated;                                   /* YARN: the ramp's ends are not rounded to whole pairs */
    double magnitude;                                   /* multiplies sines and cosines; 1 otherwise */
};

/** Which of the config's rotary embeddings a layer has. */
enum model_rope { MODEL_ROPE_GLOBAL, MODEL_ROPE_LOCAL, MODEL_ROPE_COUNT, MODEL_ROPE_NONE = MODEL_ROPE_COUNT };

/** What differs from layer to layer. */
struct model_layer_config {
    int64_t window;       /* positions seen, this one included; 0: all */
    enum model_rope rope; /* NONE: positions are not told apart (NoPE, arXiv:2501.18795) */
    bool experts;         /* a mixture instead of one feed-forward network */
};

struct model_config {
    char architecture[32]; /* GGUF's name of the family, whatever the form: "llama", "gemma3" */
    int layers;
    int64_t width;                 /* D */
    int64_t feed_forward;          /* F; 0 when all layers have experts */
    int heads, kv_heads, head_dim; /* H, G, hd */
    int32_t vocabulary;            /* V */
    int64_t context_tokens;        /* what the model was trained for */
    float norm_eps;
    float norm_offset; /* added to the stored weights of all norms: 1 for Gemma's Hugging Face form */
    struct rope_config ropes[MODEL_ROPE_COUNT];
    int rotary_dim; /* the last elements of a head rotate when they are fewer */
    enum rope_style rope_style;
    bool tied_embeddings;     /* the output matrix is the embedding */
    bool biases, output_bias; /* of q, k and v; of the attention's output */
    bool query_key_norms;     /* RMSNorm over each head */
    bool post_norms;          /* what attention and feed-forward add is normalised first (Gemma) */
    enum activation activation;
    float embedding_scale;                   /* 1 */
    float attention_scale;                   /* 1 / sqrt(hd) unless a config says otherwise */
    float attention_softcap, output_softcap; /* 0: none */
    /** Queries at position p are multiplied by 1 + temperature_beta * log(1 + floor(p / temperature_length)) (Llama 4, Ministral 3). */
    float temperature_beta; /* 0: none */
    int64_t temperature_length;
    int experts, experts_used;   /* E, chosen for each row; 0: none */
    int64_t expert_feed_forward; /* F of one expert */
    bool normalise_experts;      /* the chosen weights sum to 1 */
    float expert_scale;          /* multiplies them */
    bool shared_gate;            /* a sigmoid gate weighs the shared expert; otherwise it counts whole */
    int64_t shared_feed_forward; /* F of the shared expert, which a sigmoid gate weighs; 0: none */
    /** Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434), its keys and values written out in the cache:
     *      q = norm(norm(x) W_qa) W_qb;   c, r = norm(x) W_kva;   k_nope, v = norm(c) W_kvb;   k = [k_nope | r], r the same in all heads */
    int64_t query_rank, key_rank; /* columns of W_qb and W_kvb; 0: not this */
    int value_dim;                /* of a head's values; <= hd, and hd but in latent attention */
    float latent_eps;             /* of the two inner norms */
    int64_t parameters;           /* weights in all tensors */
    struct model_layer_config layer[LIMIT_LAYERS];
};

/** Read and check the config. STATUS_UNIMPLEMENTED names the architecture or feature that is not supported; STATUS_INVALID_ARGUMENT an impossible value. */
enum status model_config_read(const struct checkpoint *checkpoint, struct model_config *out, struct error *err);

/** The longest row of weights (K) that a model of this config multiplies: for kernels_options. */
int64_t model_config_columns_max(const struct model_config *config);

struct model;

/** Inverse frequencies [rotary_dim/2] of `rope`. */
void model_rope_frequencies(const struct rope_config *rope, int rotary_dim, float *out);

/** Check every tensor's shape and prepare the weights. A file with tensors that this code does not read (STATUS_UNIMPLEMENTED) is a model that it
 *  would run wrong. `kernels` and `checkpoint` are borrowed for the model's life. */
enum status model_load(const struct checkpoint *checkpoint, const struct model_config *config, struct kernels *kernels,
                       int64_t rows_max, int64_t logits_max, struct model **out, struct error *err);
/** What model_load would refuse, without its work: only names, shapes and types are looked at. */
enum status model_check(const struct checkpoint *checkpoint, const struct model_config *config, struct kernels *kernels,
                        struct error *err);
void model_destroy(struct model *model);
const struct model_config *model_config(const struct model *model);

/** One step: rows of several sequences, each sequence's rows consecutive. */
struct model_batch {
    int64_t rows;             /* T >= 1 */
    const int32_t *ids;       /* [T] */
    const int32_t *positions; /* [T] */
    const struct kv_sequence *sequences;
    int64_t sequence_count;
    const int32_t *logit_rows; /* [logit_count] rows whose logits are wanted, ascending */
    int64_t logit_count;
    float *logits;                    /* out [logit_count][V] */
    bool (*abandoned)(void *context); /* asked between layers; true: the step is given up. NULL: never */
    void *abandoned_context;
};

/** Store the batch's keys and values in `cache`, whose blocks the sequences name, and fill batch->logits. Limits (rows_max, logits_max, ids in
 *  [0, V)) are the caller's to keep; debug builds abort. False when the batch was abandoned: then the logits and its rows' keys and values
 *  are undefined. */
bool model_forward(struct model *model, struct kv_cache *cache, const struct model_batch *batch);

#endif
