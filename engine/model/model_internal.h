/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What a loaded model holds; for the files of this folder. model_load.c fills it, model.c computes with it.
 */
#ifndef ENGINE_MODEL_MODEL_INTERNAL_H
#define ENGINE_MODEL_MODEL_INTERNAL_H

#include "engine/model/model.h"

/** A gated network: (activation(gate) * up) down. A mixture has `experts` of each. */
struct network {
    struct weights **gate, **up, **down; /* [experts] */
    struct weights *router;              /* [experts] x D; NULL: a plain network */
    int experts, used;
    enum routing_score score;
    bool normalise;
    float scale;
    int64_t feed_forward; /* F */
};

struct layer {
    const struct model_layer_config *config;
    float *attention_norm, *feed_forward_norm;               /* [D] */
    float *post_attention_norm, *post_feed_forward_norm;     /* [D] or NULL */
    float *query_norm, *key_norm;                            /* [hd] or NULL */
    float *query_bias, *key_bias, *value_bias, *output_bias; /* or NULL */
    struct weights *q, *k, *v, *o;
    struct weights *q_latent, *kv_latent,
        *kv; /* latent attention: W_qa, W_kva, W_kvb; then q is W_qb, and k and v are NULL */
    float *q_latent_norm, *kv_latent_norm;
    struct network network, shared; /* shared: nothing in it unless the layer has a shared expert */
};

struct model {
    struct model_config config;
    struct kernels *kernels;
    struct weights *embedding, *output; /* the same when tied */
    float *output_norm;
    struct layer *layers;
    struct rope ropes[MODEL_ROPE_COUNT];
    bool has_rope[MODEL_ROPE_COUNT]; /* some layer uses it */
    int64_t rows_max, logits_max;
    /* scratch of a step, [rows_max][...] */
    float *x, *q, *k, *v, *attended, *gate, *chosen;
    float *q_latent, *kv_latent, *kv, *compact; /* latent attention */
    float *added; /* what a norm or a mixture still has to pass; [T], or [slots + T] with a shared expert, [D] */
    float *rope_tables[MODEL_ROPE_COUNT];
    float *query_scales; /* or NULL */
    float *router_logits;
    struct routed routed, shared_routed;
};

#endif
