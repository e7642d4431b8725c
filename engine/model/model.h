/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Model: a decoder as a straight list of kernel calls, driven by a config.
 *
 *     x = embed(ids)
 *     every layer:   q, k, v = norm(x) W_q, W_k, W_v;  store(rope(k), v);  x += attention(rope(q)) W_o
 *                    gate, up = norm(x) W_gate, W_up;  x += swiglu(gate, up) W_down
 *     logits = norm(x[chosen rows]) W_output
 *
 * First family: Llama (RMSNorm, grouped queries, rotary embedding, SwiGLU; Touvron et al., arXiv:2302.13971). Windows, MoE, q/k norms,
 * biases and RoPE scaling of the other families become fields of the config and branches of the same list.
 * Weights stay in the mapped file or in the kernels' own layout; scratch is allocated once at load.
 * One forward at a time.
 */
#ifndef ENGINE_MODEL_MODEL_H
#define ENGINE_MODEL_MODEL_H

#include "base/status.h"
#include "engine/kv_cache/kv_cache.h"
#include "kernels/kernels.h"

struct checkpoint;

struct model_config {
    char architecture[32]; /* "llama" */
    int layers;
    int64_t width;                 /* D */
    int64_t feed_forward;          /* F */
    int heads, kv_heads, head_dim; /* H, G, hd */
    int32_t vocabulary;            /* V */
    int64_t context_tokens;        /* what the model was trained for */
    float norm_eps;
    double rope_base;
    int rotary_dim;
    enum rope_style rope_style;
    bool tied_embeddings; /* the output matrix is the embedding */
    int64_t parameters;   /* weights in all tensors */
};

/** Read and check the config. STATUS_UNIMPLEMENTED names the architecture or feature that is not supported; STATUS_INVALID_ARGUMENT an impossible value. */
enum status model_config_read(const struct checkpoint *checkpoint, struct model_config *out, struct error *err);

/** The longest row of weights (K) that a model of this config multiplies: for kernels_options. */
int64_t model_config_columns_max(const struct model_config *config);

struct model;

/** Check every tensor's shape and prepare the weights. A file with tensors that this code does not read (STATUS_UNIMPLEMENTED) is a model that it
 *  would run wrong. `kernels` and `checkpoint` are borrowed for the model's life. */
enum status model_load(const struct checkpoint *checkpoint, const struct model_config *config, struct kernels *kernels,
                       int64_t rows_max, int64_t logits_max, struct model **out, struct error *err);
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
