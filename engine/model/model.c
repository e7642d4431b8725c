/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/model/model.h"

#include "engine/weights/checkpoint.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct layer {
    const float *attention_norm, *feed_forward_norm; /* [D], in the file */
    struct weights *q, *k, *v, *o, *gate, *up, *down;
};

struct model {
    struct model_config config;
    struct kernels *kernels;
    struct weights *embedding, *output; /* the same when tied */
    const float *output_norm;
    struct layer *layers;
    float *inverse_frequency; /* [rotary_dim/2] */
    struct rope rope;
    int64_t rows_max, logits_max;
    /* scratch of a step, [rows_max][...] */
    float *x, *q, *k, *v, *attended, *gate, *chosen, *rope_table;
};

/* ---- loading ------------------------------------------------------------------------------------------------------- */

struct loading {
    struct model *model;
    const struct checkpoint *checkpoint;
    struct error *err;
};

static enum status load_weights(const struct loading *loading, const char *name, int64_t rows, int64_t columns,
                                struct weights **out) {
    struct tensor_view view;
    struct kernels *kernels = loading->model->kernels;
    TRY(checkpoint_matrix(loading->checkpoint, name, rows, columns, &view, loading->err));
    if (!kernels->operations->supports(kernels, view.type)) {
        return error_set(loading->err, STATUS_UNIMPLEMENTED,
                         "%s: tensor '%s' has type %s, which the device %s cannot multiply",
                         checkpoint_path(loading->checkpoint), name, tensor_type_name(view.type), kernels->device);
    }
    return kernels->operations->weights_create(kernels, &view, out, loading->err);
}

/** A vector of f32 that stays in the file. */
static enum status load_vector(const struct loading *loading, const char *name, int64_t length, const float **out) {
    struct tensor_view view;
    TRY(checkpoint_matrix(loading->checkpoint, name, 0, length, &view, loading->err));
    if (view.type != TENSOR_F32)
        return error_set(loading->err, STATUS_UNIMPLEMENTED, "%s: tensor '%s' is %s; norms must be F32",
                         checkpoint_path(loading->checkpoint), name, tensor_type_name(view.type));
    *out = view.data;
    return STATUS_OK;
}

static enum status load_layer(const struct loading *loading, int index) {
    const struct model_config *config = &loading->model->config;
    struct layer *layer = &loading->model->layers[index];
    int64_t D = config->width, F = config->feed_forward, query = (int64_t)config->heads * config->head_dim,
            key = (int64_t)config->kv_heads * config->head_dim;
    const struct {
        const char *name;
        int64_t rows, columns;
        struct weights **out;
    } matrices[] = {{"attn_q", query, D, &layer->q},  {"attn_k", key, D, &layer->k},
                    {"attn_v", key, D, &layer->v},    {"attn_output", D, query, &layer->o},
                    {"ffn_gate", F, D, &layer->gate}, {"ffn_up", F, D, &layer->up},
                    {"ffn_down", D, F, &layer->down}};
    char name[64];
    for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) {
        snprintf(name, sizeof name, "blk.%d.%s.bias", index, matrices[i].name);
        if (checkpoint_has(loading->checkpoint, name))
            return error_set(loading->err, STATUS_UNIMPLEMENTED, "%s: '%s' (biases) is not supported yet",
                             checkpoint_path(loading->checkpoint), name);
        snprintf(name, sizeof name, "blk.%d.%s.weight", index, matrices[i].name);
        TRY(load_weights(loading, name, matrices[i].rows, matrices[i].columns, matrices[i].out));
    }
    snprintf(name, sizeof name, "blk.%d.attn_norm.weight", index);
    TRY(load_vector(loading, name, D, &layer->attention_norm));
    snprintf(name, sizeof name, "blk.%d.ffn_norm.weight", index);
    return load_vector(loading, name, D, &layer->feed_forward_norm);
}

static enum status allocate_scratch(struct model *model, struct error *err) {
    const struct model_config *c = &model->config;
    size_t T = (size_t)model->rows_max, query = (size_t)c->heads * (size_t)c->head_dim,
           key = (size_t)c->kv_heads * (size_t)c->head_dim;
    const struct {
        float **out;
        size_t floats;
    } arrays[] = {{&model->x, T * (size_t)c->width},
                  {&model->q, T * query},
                  {&model->k, T * key},
                  {&model->v, T * key},
                  {&model->attended, T * query},
                  {&model->gate, T * (size_t)c->feed_forward},
                  {&model->chosen, (size_t)model->logits_max * (size_t)c->width},
                  {&model->rope_table, 2 * T * (size_t)c->rotary_dim}};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        *arrays[i].out = aligned_alloc(64, (arrays[i].floats * sizeof(float) + 63) / 64 * 64);
        if (*arrays[i].out == NULL)
            return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for %zu activations", arrays[i].floats);
    }
    return STATUS_OK;
}

/** The tensors of a llama: nine a layer, the embedding, the last norm, and the output matrix when it is not tied. Anything more would be
 *  left out of the sum in silence. */
static enum status refuse_extra(const struct loading *loading) {
    const struct model_config *config = &loading->model->config;
    int64_t known = 9 * (int64_t)config->layers + (config->tied_embeddings ? 2 : 3),
            there = checkpoint_tensor_count(loading->checkpoint);
    if (there == known) return STATUS_OK;
    return error_set(loading->err, STATUS_UNIMPLEMENTED,
                     "%s has %lld tensors; a %s of %d layers has %lld, and more cannot be used yet",
                     checkpoint_path(loading->checkpoint), (long long)there, config->architecture, config->layers,
                     (long long)known);
}

static enum status load(const struct loading *loading) {
    struct model *model = loading->model;
    const struct model_config *config = &model->config;
    model->layers = calloc((size_t)config->layers, sizeof *model->layers);
    model->inverse_frequency = calloc((size_t)config->rotary_dim / 2, sizeof *model->inverse_frequency);
    if (model->layers == NULL || model->inverse_frequency == NULL)
        return error_set(loading->err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (int i = 0; i < config->rotary_dim / 2; i++)
        model->inverse_frequency[i] = (float)pow(config->rope_base, -2.0 * i / config->rotary_dim);
    model->rope = (struct rope){.rotary_dim = config->rotary_dim,
                                .style = config->rope_style,
                                .inverse_frequency = model->inverse_frequency,
                                .magnitude = 1};
    TRY(load_weights(loading, "token_embd.weight", config->vocabulary, config->width, &model->embedding));
    if (config->tied_embeddings)
        model->output = model->embedding;
    else
        TRY(load_weights(loading, "output.weight", config->vocabulary, config->width, &model->output));
    TRY(load_vector(loading, "output_norm.weight", config->width, &model->output_norm));
    for (int i = 0; i < config->layers; i++) TRY(load_layer(loading, i));
    TRY(refuse_extra(loading));
    return allocate_scratch(model, loading->err);
}

enum status model_load(const struct checkpoint *checkpoint, const struct model_config *config, struct kernels *kernels,
                       int64_t rows_max, int64_t logits_max, struct model **out, struct error *err) {
    struct model *model = calloc(1, sizeof *model);
    if (model == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    *model = (struct model){.config = *config, .kernels = kernels, .rows_max = rows_max, .logits_max = logits_max};
    enum status status = load(&(struct loading){.model = model, .checkpoint = checkpoint, .err = err});
    if (status != STATUS_OK)
        model_destroy(model);
    else
        *out = model;
    return status;
}

void model_destroy(struct model *model) {
    if (model == NULL) return;
    struct kernels *kernels = model->kernels;
    void (*destroy)(struct kernels *, struct weights *) = kernels->operations->weights_destroy;
    for (int i = 0; model->layers != NULL && i < model->config.layers; i++) {
        struct layer *layer = &model->layers[i];
        struct weights *all[] = {layer->q, layer->k, layer->v, layer->o, layer->gate, layer->up, layer->down};
        for (size_t j = 0; j < sizeof all / sizeof all[0]; j++) destroy(kernels, all[j]);
    }
    if (model->output != model->embedding) destroy(kernels, model->output);
    destroy(kernels, model->embedding);
    float *scratch[] = {model->x,      model->q,          model->k,
                        model->v,      model->attended,   model->gate,
                        model->chosen, model->rope_table, model->inverse_frequency};
    for (size_t i = 0; i < sizeof scratch / sizeof scratch[0]; i++) free(scratch[i]);
    free(model->layers);
    free(model);
}

const struct model_config *model_config(const struct model *model) {
    return &model->config;
}

/* ---- forward ------------------------------------------------------------------------------------------------------- */

/** x += attention(rope(norm(x) W_q, W_k), norm(x) W_v) W_o */
static void attend(struct model *model, const struct layer *layer, const struct kv_layer *kv,
                   const struct model_batch *batch) {
    const struct model_config *config = &model->config;
    const struct kernels_operations *op = model->kernels->operations;
    int64_t D = config->width, query = (int64_t)config->heads * config->head_dim,
            key = (int64_t)config->kv_heads * config->head_dim;
    struct matmul project = {.x = model->x,
                             .x_stride = D,
                             .rows = batch->rows,
                             .norm_weight = layer->attention_norm,
                             .norm_eps = config->norm_eps,
                             .output_count = 3,
                             .outputs = {{layer->q, model->q, query, NULL, false},
                                         {layer->k, model->k, key, NULL, false},
                                         {layer->v, model->v, key, NULL, false}}};
    op->matmul(model->kernels, &project);
    struct kv_store store = {.layer = kv,
                             .sequences = batch->sequences,
                             .sequence_count = batch->sequence_count,
                             .keys = model->k,
                             .values = model->v,
                             .key_stride = key,
                             .value_stride = key,
                             .rope = &model->rope,
                             .rope_table = model->rope_table,
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
                                  .scale = 1.0f / sqrtf((float)config->head_dim)};
    op->attention(model->kernels, &attention);
    struct matmul output = {.x = model->attended,
                            .x_stride = query,
                            .rows = batch->rows,
                            .output_count = 1,
                            .outputs = {{layer->o, model->x, D, NULL, true}}};
    op->matmul(model->kernels, &output);
}

/** x += swiglu(norm(x) W_gate, norm(x) W_up) W_down */
static void feed_forward(struct model *model, const struct layer *layer, const struct model_batch *batch) {
    const struct model_config *config = &model->config;
    const struct kernels_operations *op = model->kernels->operations;
    int64_t D = config->width, F = config->feed_forward;
    struct matmul expand = {.x = model->x,
                            .x_stride = D,
                            .rows = batch->rows,
                            .norm_weight = layer->feed_forward_norm,
                            .norm_eps = config->norm_eps,
                            .gated = true,
                            .output_count = 2,
                            .outputs = {{layer->gate, model->gate, F, NULL, false}, {layer->up, NULL, F, NULL, false}}};
    op->matmul(model->kernels, &expand);
    struct matmul contract = {.x = model->gate,
                              .x_stride = F,
                              .rows = batch->rows,
                              .output_count = 1,
                              .outputs = {{layer->down, model->x, D, NULL, true}}};
    op->matmul(model->kernels, &contract);
}

bool model_forward(struct model *model, struct kv_cache *cache, const struct model_batch *batch) {
    const struct model_config *config = &model->config;
    const struct kernels_operations *op = model->kernels->operations;
    int64_t D = config->width;
    assert(batch->rows >= 1 && batch->rows <= model->rows_max && batch->logit_count <= model->logits_max);
    op->embed(model->kernels, model->embedding, batch->ids, batch->rows, 1.0f, model->x);
    op->rope_table(model->kernels, &model->rope, batch->positions, batch->rows, model->rope_table);
    for (int i = 0; i < config->layers; i++) {
        if (batch->abandoned != NULL && batch->abandoned(batch->abandoned_context)) return false;
        struct kv_layer kv = kv_cache_layer(cache, i);
        attend(model, &model->layers[i], &kv, batch);
        feed_forward(model, &model->layers[i], batch);
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
    return true;
}
