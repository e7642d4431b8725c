/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The forward pass: a straight list. */
#include "engine/model/model_internal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/** x += [norm](y W), where y has `columns` columns. */
static void add_product(struct model *model, const float *y, int64_t columns, const struct weights *weights,
                        const float *bias, const float *norm, int64_t rows) {
    const struct kernels_operations *op = model->kernels->operations;
    int64_t D = model->config.width;
    float *out = norm != NULL ? model->added : model->x;
    struct matmul matmul = {.x = y,
                            .x_stride = columns,
                            .rows = rows,
                            .output_count = 1,
                            .outputs = {{weights, out, D, bias, norm == NULL}}};
    op->matmul(model->kernels, &matmul);
    if (norm != NULL) op->rmsnorm(model->kernels, out, norm, model->config.norm_eps, rows, D, true, model->x);
}

/** q, k, v = norm(x) W_q, W_k, W_v [+ biases] */
static void project(struct model *model, const struct layer *layer, int64_t rows) {
    const struct model_config *config = &model->config;
    int64_t query = (int64_t)config->heads * config->head_dim, key = (int64_t)config->kv_heads * config->head_dim;
    struct matmul project = {.x = model->x,
                             .x_stride = config->width,
                             .rows = rows,
                             .norm_weight = layer->attention_norm,
                             .norm_eps = config->norm_eps,
                             .output_count = 3,
                             .outputs = {{layer->q, model->q, query, layer->query_bias, false},
                                         {layer->k, model->k, key, layer->key_bias, false},
                                         {layer->v, model->v, key, layer->value_bias, false}}};
    model->kernels->operations->matmul(model->kernels, &project);
}

/** One matrix behind a latent vector's norm. */
static void expand_latent(struct model *model, const float *latent, int64_t stride, const float *norm,
                          const struct weights *weights, float *y, int64_t columns, int64_t rows) {
    struct matmul matmul = {.x = latent,
                            .x_stride = stride,
                            .rows = rows,
                            .norm_weight = norm,
                            .norm_eps = model->config.latent_eps,
                            .output_count = 1,
                            .outputs = {{weights, y, columns, NULL, false}}};
    model->kernels->operations->matmul(model->kernels, &matmul);
}

/** q, k, v of latent attention (model.h), written out for all heads. */
static void project_latent(struct model *model, const struct layer *layer, int64_t rows) {
    const struct model_config *config = &model->config;
    const struct kernels_operations *op = model->kernels->operations;
    int64_t H = config->heads, hd = config->head_dim, rotary = config->rotary_dim, nope = hd - rotary,
            V = config->value_dim, latent = config->key_rank + rotary, expanded = H * (nope + V);
    struct matmul compress = {.x = model->x,
                              .x_stride = config->width,
                              .rows = rows,
                              .norm_weight = layer->attention_norm,
                              .norm_eps = config->norm_eps,
                              .output_count = 2,
                              .outputs = {{layer->q_latent, model->q_latent, config->query_rank, NULL, false},
                                          {layer->kv_latent, model->kv_latent, latent, NULL, false}}};
    op->matmul(model->kernels, &compress);
    expand_latent(model, model->q_latent, config->query_rank, layer->q_latent_norm, layer->q, model->q, H * hd, rows);
    expand_latent(model, model->kv_latent, latent, layer->kv_latent_norm, layer->kv, model->kv, expanded, rows);
    const struct head_copy copies[] = {
        {model->kv, expanded, nope + V, model->k, H * hd, hd, rows, nope, config->heads},
        {model->kv_latent + config->key_rank, latent, 0, model->k + nope, H * hd, hd, rows, rotary, config->heads},
        {model->kv + nope, expanded, nope + V, model->v, H * hd, hd, rows, V, config->heads}};
    for (size_t i = 0; i < sizeof copies / sizeof copies[0]; i++) op->copy_heads(model->kernels, &copies[i]);
}

/** What attention gave, without what stands behind values that are narrower than keys. */
static const float *compact(struct model *model, int64_t rows) {
    const struct model_config *config = &model->config;
    int64_t H = config->heads, hd = config->head_dim, V = config->value_dim;
    if (V == hd) return model->attended;
    struct head_copy copy = {model->attended, H * hd, hd, model->compact, H * V, V, rows, V, config->heads};
    model->kernels->operations->copy_heads(model->kernels, &copy);
    return model->compact;
}

/** x += attention(rope(q, k), v) W_o */
static void attend(struct model *model, const struct layer *layer, const struct kv_layer *kv,
                   const struct model_batch *batch) {
    const struct model_config *config = &model->config;
    const struct kernels_operations *op = model->kernels->operations;
    int64_t query = (int64_t)config->heads * config->head_dim, key = (int64_t)config->kv_heads * config->head_dim;
    enum model_rope rope = layer->config->rope;
    if (config->key_rank > 0)
        project_latent(model, layer, batch->rows);
    else
        project(model, layer, batch->rows);
    struct kv_store store = {.layer = kv,
                             .sequences = batch->sequences,
                             .sequence_count = batch->sequence_count,
                             .keys = model->k,
                             .values = model->v,
                             .key_stride = key,
                             .value_stride = key,
                             .rope = rope != MODEL_ROPE_NONE ? &model->ropes[rope] : NULL,
                             .rope_table = rope != MODEL_ROPE_NONE ? model->rope_tables[rope] : NULL,
                             .query_norm = layer->query_norm,
                             .key_norm = layer->key_norm,
                             .norm_eps = config->norm_eps,
                             .query_scales = model->query_scales,
                             .queries = model->q,
                             .query_stride = query,
                             .heads = config->heads};
    op->kv_store(model->kernels, &store);
    struct attention attention = {.layer = kv,
                                  .sequences = batch->sequences,
                                  .sequence_count = batch->sequence_count,
                                  .q = model->q,
                                  .q_stride = query,
                                  .out = model->attended,
                                  .out_stride = query,
                                  .heads = config->heads,
                                  .scale = config->attention_scale,
                                  .window = layer->config->window,
                                  .softcap = config->attention_softcap};
    op->attention(model->kernels, &attention);
    add_product(model, compact(model, batch->rows), (int64_t)config->heads * config->value_dim, layer->o,
                layer->output_bias, layer->post_attention_norm, batch->rows);
}

/** x += (activation(norm(x) W_gate) * norm(x) W_up) W_down */
static void feed_forward(struct model *model, const struct layer *layer, const struct model_batch *batch) {
    const struct model_config *config = &model->config;
    const struct network *network = &layer->network;
    int64_t F = network->feed_forward;
    struct matmul expand = {
        .x = model->x,
        .x_stride = config->width,
        .rows = batch->rows,
        .norm_weight = layer->feed_forward_norm,
        .norm_eps = config->norm_eps,
        .gated = true,
        .activation = config->activation,
        .output_count = 2,
        .outputs = {{network->gate[0], model->gate, F, NULL, false}, {network->up[0], NULL, F, NULL, false}}};
    model->kernels->operations->matmul(model->kernels, &expand);
    add_product(model, model->gate, F, network->down[0], NULL, layer->post_feed_forward_norm, batch->rows);
}

/** The router's choice for every row, and what the chosen experts say: out [slots][D]. */
static void ask_experts(struct model *model, const struct layer *layer, const struct network *network, int64_t rows,
                        struct routed *routed, float *out) {
    const struct model_config *config = &model->config;
    const struct kernels_operations *op = model->kernels->operations;
    int64_t D = config->width;
    struct matmul router = {.x = model->x,
                            .x_stride = D,
                            .rows = rows,
                            .norm_weight = layer->feed_forward_norm,
                            .norm_eps = config->norm_eps,
                            .output_count = 1,
                            .outputs = {{network->router, model->router_logits, network->experts, NULL, false}}};
    if (network->router != NULL)
        op->matmul(model->kernels, &router);
    else /* a shared expert that counts whole: the sigmoid of infinity */
        for (int64_t t = 0; t < rows; t++) model->router_logits[t] = INFINITY;
    struct routing routing = {.logits = model->router_logits,
                              .rows = rows,
                              .experts = network->experts,
                              .used = network->used,
                              .score = network->score,
                              .normalise = network->normalise,
                              .scale = network->scale};
    op->route(model->kernels, &routing, routed);
    struct expert_matmul expand = {.routed = routed,
                                   .x = model->x,
                                   .x_stride = D,
                                   .norm_weight = layer->feed_forward_norm,
                                   .norm_eps = config->norm_eps,
                                   .weights = (const struct weights *const *)network->gate,
                                   .up = (const struct weights *const *)network->up,
                                   .activation = config->activation,
                                   .y = model->gate};
    op->expert_matmul(model->kernels, &expand);
    struct expert_matmul contract = {.routed = routed,
                                     .x = model->gate,
                                     .x_stride = network->feed_forward,
                                     .by_slot = true,
                                     .weights = (const struct weights *const *)network->down,
                                     .y = out};
    op->expert_matmul(model->kernels, &contract);
}

/** x += sum over the chosen experts of weight * expert(norm(x)) [+ sigmoid(norm(x) w) * shared(norm(x))] */
static void mix(struct model *model, const struct layer *layer, const struct model_batch *batch) {
    const struct kernels_operations *op = model->kernels->operations;
    int64_t D = model->config.width;
    float *shared = model->added + batch->rows * layer->network.used * D;
    bool has_shared = layer->shared.experts > 0;
    ask_experts(model, layer, &layer->network, batch->rows, &model->routed, model->added);
    if (has_shared) ask_experts(model, layer, &layer->shared, batch->rows, &model->shared_routed, shared);
    op->combine(model->kernels, &model->routed, model->added, D, model->x);
    if (has_shared) op->combine(model->kernels, &model->shared_routed, shared, D, model->x);
}

/** What all layers share: the angles of this step's positions, and how much its queries are sharpened. */
static void prepare_positions(struct model *model, const struct model_batch *batch) {
    const struct model_config *config = &model->config;
    for (int r = 0; r < MODEL_ROPE_COUNT; r++) {
        if (model->has_rope[r])
            model->kernels->operations->rope_table(model->kernels, &model->ropes[r], batch->positions, batch->rows,
                                                   model->rope_tables[r]);
    }
    for (int64_t t = 0; model->query_scales != NULL && t < batch->rows; t++) {
        int64_t turns = batch->positions[t] / config->temperature_length;
        model->query_scales[t] = 1 + config->temperature_beta * (float)log(1 + (double)turns);
    }
}

bool model_forward(struct model *model, struct kv_cache *cache, const struct model_batch *batch) {
    const struct model_config *config = &model->config;
    const struct kernels_operations *op = model->kernels->operations;
    int64_t D = config->width;
    assert(batch->rows >= 1 && batch->rows <= model->rows_max && batch->logit_count <= model->logits_max);
    op->embed(model->kernels, model->embedding, batch->ids, batch->rows, config->embedding_scale, model->x);
    prepare_positions(model, batch);
    for (int i = 0; i < config->layers; i++) {
        if (batch->abandoned != NULL && batch->abandoned(batch->abandoned_context)) return false;
        const struct layer *layer = &model->layers[i];
        struct kv_layer kv = kv_cache_layer(cache, i);
        attend(model, layer, &kv, batch);
        if (layer->config->experts)
            mix(model, layer, batch);
        else
            feed_forward(model, layer, batch);
    }
    if (batch->logit_count == 0) return true;
    for (int64_t i = 0; i < batch->logit_count; i++)
        memcpy(model->chosen + i * D, model->x + batch->logit_rows[i] * D, (size_t)D * sizeof *model->x);
    struct matmul output = {.x = model->chosen,
                            .x_stride = D,
                            .rows = batch->logit_count,
                            .norm_weight = model->output_norm,
                            .norm_eps = config->norm_eps,
                            .output_count = 1,
                            .outputs = {{model->output, batch->logits, config->vocabulary, NULL, false}}};
    op->matmul(model->kernels, &output);
    if (config->output_softcap > 0)
        op->softcap(model->kernels, config->output_softcap, batch->logit_count, config->vocabulary, batch->logits);
    return true;
}
