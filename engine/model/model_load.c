/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* From a checkpoint to a model that can run: every tensor checked, matrices handed to the kernels, vectors copied, scratch allocated. */
#include "engine/model/model_internal.h"
#include "engine/weights/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 64 };

struct loading {
    struct model *model;
    const struct checkpoint *checkpoint;
    const struct checkpoint_tensor **read; /* those that were, [tensor count] */
    int64_t *read_count;
    bool only_checks; /* nothing is made of the tensors */
    struct error *err;
};

/* ---- tensors ------------------------------------------------------------------------------------------------------- */

static void mark_read(const struct loading *loading, const char *name) {
    const struct checkpoint_tensor *tensor = checkpoint_tensor(loading->checkpoint, name);
    if (tensor != NULL && *loading->read_count < checkpoint_tensor_count(loading->checkpoint))
        loading->read[(*loading->read_count)++] = tensor;
}

static int compare_pointers(const void *a, const void *b) {
    uintptr_t x = (uintptr_t) * (const void *const *)a, y = (uintptr_t) * (const void *const *)b;
    return (x > y) - (x < y);
}

/** What nobody read would be left out of the sum in silence. */
static enum status refuse_unread(const struct loading *loading) {
    int64_t count = checkpoint_tensor_count(loading->checkpoint), read = *loading->read_count;
    if (read == count) return STATUS_OK;
    qsort(loading->read, (size_t)read, sizeof *loading->read, compare_pointers);
    for (int64_t i = 0; i < count; i++) {
        const struct checkpoint_tensor *tensor = checkpoint_tensor_at(loading->checkpoint, i);
        if (bsearch(&tensor, loading->read, (size_t)read, sizeof *loading->read, compare_pointers) != NULL) continue;
        return error_set(loading->err, STATUS_UNIMPLEMENTED, "%s: tensor '%.64s' is not used by a %s of %d layers",
                         checkpoint_path(loading->checkpoint), tensor->name, loading->model->config.architecture,
                         loading->model->config.layers);
    }
    return STATUS_OK;
}

static const char *name_of(char name[NAME_BYTES], int layer, const char *stem, const char *suffix) {
    snprintf(name, NAME_BYTES, "blk.%d.%s.%s", layer, stem, suffix);
    return name;
}

static enum status take_matrix(const struct loading *loading, const char *name, const struct tensor_view *view,
                               struct weights **out) {
    struct kernels *kernels = loading->model->kernels;
    if (!kernels->operations->supports(kernels, view->type)) {
        return error_set(loading->err, STATUS_UNIMPLEMENTED,
                         "%s: tensor '%s' has type %s, which the device %s cannot multiply",
                         checkpoint_path(loading->checkpoint), name, tensor_type_name(view->type), kernels->device);
    }
    return loading->only_checks ? STATUS_OK : kernels->operations->weights_create(kernels, view, out, loading->err);
}

static enum status load_matrix(const struct loading *loading, const char *name, int64_t rows, int64_t columns,
                               struct weights **out) {
    struct tensor_view view;
    TRY(checkpoint_matrix(loading->checkpoint, name, rows, columns, &view, loading->err));
    mark_read(loading, name);
    return take_matrix(loading, name, &view, out);
}

/** A vector of whatever type as f32, plus `offset`. */
static enum status load_vector(const struct loading *loading, const char *name, int64_t length, float offset,
                               float **out) {
    struct tensor_view view;
    TRY(checkpoint_matrix(loading->checkpoint, name, 0, length, &view, loading->err));
    mark_read(loading, name);
    if (loading->only_checks) return STATUS_OK;
    *out = aligned_alloc(64, ((size_t)length * sizeof **out + 63) / 64 * 64);
    if (*out == NULL) return error_set(loading->err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    if (tensor_dequantise_row(view.type, view.data, length, *out) != STATUS_OK)
        return error_set(loading->err, STATUS_INVALID_ARGUMENT, "%s: tensor '%s' of %lld is not whole blocks of %s",
                         checkpoint_path(loading->checkpoint), name, (long long)length, tensor_type_name(view.type));
    for (int64_t i = 0; i < length; i++) (*out)[i] += offset;
    return STATUS_OK;
}

/* ---- networks ------------------------------------------------------------------------------------------------------ */

/** One matrix for each expert of "blk.N.STEM_exps.weight". */
static enum status load_experts(const struct loading *loading, int index, const char *stem, int experts, int64_t rows,
                                int64_t columns, struct weights **out) {
    char name[NAME_BYTES];
    name_of(name, index, stem, "weight");
    for (int e = 0; e < experts; e++) {
        struct tensor_view view;
        TRY(checkpoint_expert(loading->checkpoint, name, e, experts, rows, columns, &view, loading->err));
        TRY(take_matrix(loading, name, &view, &out[e]));
    }
    mark_read(loading, name);
    return STATUS_OK;
}

static enum status allocate_network(struct network *network, struct error *err) {
    size_t experts = (size_t)network->experts;
    network->gate = calloc(experts, sizeof(struct weights *));
    network->up = calloc(experts, sizeof(struct weights *));
    network->down = calloc(experts, sizeof(struct weights *));
    return network->gate != NULL && network->up != NULL && network->down != NULL
               ? STATUS_OK
               : error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
}

/** `suffix`: "" or "_shexp". */
static enum status load_network(const struct loading *loading, int index, const char *suffix, struct network *network) {
    int64_t D = loading->model->config.width, F = network->feed_forward;
    char stem[32], name[NAME_BYTES];
    const struct {
        const char *stem;
        int64_t rows, columns;
        struct weights ***out;
    } matrices[] = {
        {"ffn_gate", F, D, &network->gate}, {"ffn_up", F, D, &network->up}, {"ffn_down", D, F, &network->down}};
    TRY(allocate_network(network, loading->err));
    for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) {
        snprintf(stem, sizeof stem, "%s%s", matrices[i].stem, suffix);
        TRY(load_matrix(loading, name_of(name, index, stem, "weight"), matrices[i].rows, matrices[i].columns,
                        *matrices[i].out));
    }
    if (network->used == 0 || !loading->model->config.shared_gate) return STATUS_OK;
    snprintf(stem, sizeof stem, "ffn_gate_inp%s", suffix);
    return load_matrix(loading, name_of(name, index, stem, "weight"), 1, D, &network->router);
}

static enum status load_mixture(const struct loading *loading, int index, struct network *network) {
    int64_t D = loading->model->config.width, F = network->feed_forward;
    char name[NAME_BYTES];
    TRY(allocate_network(network, loading->err));
    TRY(load_experts(loading, index, "ffn_gate_exps", network->experts, F, D, network->gate));
    TRY(load_experts(loading, index, "ffn_up_exps", network->experts, F, D, network->up));
    TRY(load_experts(loading, index, "ffn_down_exps", network->experts, D, F, network->down));
    return load_matrix(loading, name_of(name, index, "ffn_gate_inp", "weight"), network->experts, D, &network->router);
}

static enum status load_networks(const struct loading *loading, int index, struct layer *layer) {
    const struct model_config *config = &loading->model->config;
    if (!layer->config->experts) {
        layer->network = (struct network){.experts = 1, .feed_forward = config->feed_forward};
        return load_network(loading, index, "", &layer->network);
    }
    layer->network = (struct network){.experts = config->experts,
                                      .used = config->experts_used,
                                      .score = ROUTING_SOFTMAX,
                                      .normalise = config->normalise_experts,
                                      .scale = config->expert_scale,
                                      .feed_forward = config->expert_feed_forward};
    TRY(load_mixture(loading, index, &layer->network));
    if (config->shared_feed_forward == 0) return STATUS_OK;
    /* A mixture of one expert, whose weight is the sigmoid of its router. */
    layer->shared = (struct network){
        .experts = 1, .used = 1, .score = ROUTING_SIGMOID, .scale = 1, .feed_forward = config->shared_feed_forward};
    return load_network(loading, index, "_shexp", &layer->shared);
}

/* ---- layers -------------------------------------------------------------------------------------------------------- */

static enum status load_vectors(const struct loading *loading, int index, struct layer *layer) {
    const struct model_config *config = &loading->model->config;
    int64_t D = config->width, hd = config->head_dim, query = config->heads * hd, key = config->kv_heads * hd;
    float offset = config->norm_offset;
    const struct {
        const char *stem, *suffix;
        bool there;
        int64_t length;
        float offset, **out;
    } vectors[] = {{"attn_norm", "weight", true, D, offset, &layer->attention_norm},
                   {"ffn_norm", "weight", true, D, offset, &layer->feed_forward_norm},
                   {"post_attention_norm", "weight", config->post_norms, D, offset, &layer->post_attention_norm},
                   {"post_ffw_norm", "weight", config->post_norms, D, offset, &layer->post_feed_forward_norm},
                   {"attn_q_norm", "weight", config->query_key_norms, hd, offset, &layer->query_norm},
                   {"attn_k_norm", "weight", config->query_key_norms, hd, offset, &layer->key_norm},
                   {"attn_q", "bias", config->biases, query, 0, &layer->query_bias},
                   {"attn_k", "bias", config->biases, key, 0, &layer->key_bias},
                   {"attn_v", "bias", config->biases, key, 0, &layer->value_bias},
                   {"attn_output", "bias", config->output_bias, D, 0, &layer->output_bias}};
    char name[NAME_BYTES];
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        if (!vectors[i].there) continue;
        TRY(load_vector(loading, name_of(name, index, vectors[i].stem, vectors[i].suffix), vectors[i].length,
                        vectors[i].offset, vectors[i].out));
    }
    return STATUS_OK;
}

static enum status load_latent(const struct loading *loading, int index, struct layer *layer) {
    const struct model_config *config = &loading->model->config;
    int64_t D = config->width, H = config->heads, hd = config->head_dim, rotary = config->rotary_dim;
    char name[NAME_BYTES];
    TRY(load_matrix(loading, name_of(name, index, "attn_q_a", "weight"), config->query_rank, D, &layer->q_latent));
    TRY(load_matrix(loading, name_of(name, index, "attn_q_b", "weight"), H * hd, config->query_rank, &layer->q));
    TRY(load_matrix(loading, name_of(name, index, "attn_kv_a_mqa", "weight"), config->key_rank + rotary, D,
                    &layer->kv_latent));
    TRY(load_matrix(loading, name_of(name, index, "attn_kv_b", "weight"), H * (hd - rotary + config->value_dim),
                    config->key_rank, &layer->kv));
    TRY(load_vector(loading, name_of(name, index, "attn_q_a_norm", "weight"), config->query_rank, 0,
                    &layer->q_latent_norm));
    return load_vector(loading, name_of(name, index, "attn_kv_a_norm", "weight"), config->key_rank, 0,
                       &layer->kv_latent_norm);
}

static enum status load_layer(const struct loading *loading, int index) {
    const struct model_config *config = &loading->model->config;
    struct layer *layer = &loading->model->layers[index];
    int64_t D = config->width, query = (int64_t)config->heads * config->head_dim,
            key = (int64_t)config->kv_heads * config->head_dim;
    char name[NAME_BYTES];
    layer->config = &config->layer[index];
    TRY(load_vectors(loading, index, layer));
    TRY(load_networks(loading, index, layer));
    TRY(load_matrix(loading, name_of(name, index, "attn_output", "weight"), D, config->heads * config->value_dim,
                    &layer->o));
    if (config->key_rank > 0) return load_latent(loading, index, layer);
    TRY(load_matrix(loading, name_of(name, index, "attn_q", "weight"), query, D, &layer->q));
    TRY(load_matrix(loading, name_of(name, index, "attn_k", "weight"), key, D, &layer->k));
    return load_matrix(loading, name_of(name, index, "attn_v", "weight"), key, D, &layer->v);
}

/** Frequencies of the config, divided by the file's factors where it has some: that is how GGUF says Llama 3's scaling. */
static enum status load_ropes(const struct loading *loading) {
    struct model *model = loading->model;
    const struct model_config *config = &model->config;
    int pairs = config->rotary_dim / 2;
    float *factors = NULL;
    enum status status = STATUS_OK;
    if (checkpoint_has(loading->checkpoint, "rope_freqs.weight"))
        TRY_CLEANUP(load_vector(loading, "rope_freqs.weight", pairs, 0, &factors));
    for (int r = 0; r < MODEL_ROPE_COUNT; r++) {
        float *frequencies = calloc((size_t)pairs, sizeof *frequencies);
        model->ropes[r] = (struct rope){.rotary_dim = config->rotary_dim,
                                        .offset = config->key_rank > 0 ? config->head_dim - config->rotary_dim : 0,
                                        .style = config->rope_style,
                                        .inverse_frequency = frequencies,
                                        .magnitude = (float)config->ropes[r].magnitude};
        if (frequencies == NULL) {
            status = error_set(loading->err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
            goto cleanup;
        }
        model_rope_frequencies(&config->ropes[r], config->rotary_dim, frequencies);
        for (int i = 0; factors != NULL && i < pairs; i++) frequencies[i] /= factors[i];
    }
cleanup:
    free(factors);
    return status;
}

static enum status load(const struct loading *loading) {
    struct model *model = loading->model;
    const struct model_config *config = &model->config;
    model->layers = calloc((size_t)config->layers, sizeof *model->layers);
    if (model->layers == NULL) return error_set(loading->err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    TRY(load_matrix(loading, "token_embd.weight", config->vocabulary, config->width, &model->embedding));
    if (config->tied_embeddings)
        model->output = model->embedding;
    else
        TRY(load_matrix(loading, "output.weight", config->vocabulary, config->width, &model->output));
    TRY(load_vector(loading, "output_norm.weight", config->width, config->norm_offset, &model->output_norm));
    TRY(load_ropes(loading));
    for (int i = 0; i < config->layers; i++) TRY(load_layer(loading, i));
    return refuse_unread(loading);
}

/* ---- scratch ------------------------------------------------------------------------------------------------------- */

static size_t largest(size_t a, size_t b) {
    return a > b ? a : b;
}

static enum status allocate_scratch(struct model *model, struct error *err) {
    const struct model_config *c = &model->config;
    size_t T = (size_t)model->rows_max, D = (size_t)c->width, query = (size_t)c->heads * (size_t)c->head_dim,
           key = (size_t)c->kv_heads * (size_t)c->head_dim, used = (size_t)c->experts_used, slots = T * used,
           shared = c->shared_feed_forward > 0 ? T : 0, latent = c->key_rank > 0 ? T : 0, H = (size_t)c->heads,
           nope = (size_t)(c->head_dim - c->rotary_dim), V = (size_t)c->value_dim,
           network = largest(largest(T * (size_t)c->feed_forward, slots * (size_t)c->expert_feed_forward),
                             T * (size_t)c->shared_feed_forward);
    const struct {
        void **out;
        size_t words; /* of four bytes */
    } arrays[] = {{(void **)&model->x, T * D},
                  {(void **)&model->q, T * query},
                  {(void **)&model->k, T * key},
                  {(void **)&model->v, T * key},
                  {(void **)&model->attended, T * query},
                  {(void **)&model->gate, network},
                  {(void **)&model->added, largest(c->post_norms ? T : 0, slots + shared) * D},
                  {(void **)&model->q_latent, latent * (size_t)c->query_rank},
                  {(void **)&model->kv_latent, latent * ((size_t)c->key_rank + (size_t)c->rotary_dim)},
                  {(void **)&model->kv, latent * H * (nope + V)},
                  {(void **)&model->compact, latent * H * V},
                  {(void **)&model->chosen, (size_t)model->logits_max * D},
                  {(void **)&model->rope_tables[MODEL_ROPE_GLOBAL], 2 * T * (size_t)c->rotary_dim},
                  {(void **)&model->rope_tables[MODEL_ROPE_LOCAL], 2 * T * (size_t)c->rotary_dim},
                  {(void **)&model->query_scales, c->temperature_beta != 0 ? T : 0},
                  {(void **)&model->router_logits, T * (size_t)c->experts},
                  {(void **)&model->routed.weights, slots},
                  {(void **)&model->routed.slots, slots},
                  {(void **)&model->routed.slot_rows, slots},
                  {(void **)&model->routed.first_slot, used > 0 ? (size_t)c->experts + 1 : 0},
                  {(void **)&model->shared_routed.weights, shared},
                  {(void **)&model->shared_routed.slots, shared},
                  {(void **)&model->shared_routed.slot_rows, shared},
                  {(void **)&model->shared_routed.first_slot, shared > 0 ? 2 : 0}};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        if (arrays[i].words == 0) continue;
        *arrays[i].out = aligned_alloc(64, (arrays[i].words * sizeof(float) + 63) / 64 * 64);
        if (*arrays[i].out == NULL)
            return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for %zu activations", arrays[i].words);
    }
    memset(model->v, 0, T * key * sizeof(float)); /* what is behind values that are narrower than keys stays 0 */
    return STATUS_OK;
}

static enum status open_model(const struct checkpoint *checkpoint, const struct model_config *config,
                              struct kernels *kernels, bool only_checks, struct model **out, struct error *err) {
    size_t count = (size_t)checkpoint_tensor_count(checkpoint);
    int64_t read_count = 0;
    struct model *model = calloc(1, sizeof *model);
    const struct checkpoint_tensor **read = calloc(count + 1, sizeof *read);
    enum status status = STATUS_OK;
    if (model == NULL || read == NULL) {
        free(model);
        free(read);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    *model = (struct model){.config = *config, .kernels = kernels};
    status = load(&(struct loading){.model = model,
                                    .checkpoint = checkpoint,
                                    .read = read,
                                    .read_count = &read_count,
                                    .only_checks = only_checks,
                                    .err = err});
    free(read);
    if (status == STATUS_OK)
        *out = model;
    else
        model_destroy(model);
    return status;
}

enum status model_load(const struct checkpoint *checkpoint, const struct model_config *config, struct kernels *kernels,
                       int64_t rows_max, int64_t logits_max, struct model **out, struct error *err) {
    struct model *model = NULL;
    TRY(open_model(checkpoint, config, kernels, false, &model, err));
    model->rows_max = rows_max;
    model->logits_max = logits_max;
    for (int i = 0; i < config->layers; i++) {
        if (config->layer[i].rope != MODEL_ROPE_NONE) model->has_rope[config->layer[i].rope] = true;
    }
    enum status status = allocate_scratch(model, err);
    if (status == STATUS_OK)
        *out = model;
    else
        model_destroy(model);
    return status;
}

enum status model_check(const struct checkpoint *checkpoint, const struct model_config *config, struct kernels *kernels,
                        struct error *err) {
    struct model *model = NULL;
    enum status status = open_model(checkpoint, config, kernels, true, &model, err);
    model_destroy(model);
    return status;
}

/* ---- the end ------------------------------------------------------------------------------------------------------- */

static void destroy_network(struct kernels *kernels, struct network *network) {
    struct weights **lists[] = {network->gate, network->up, network->down};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        for (int e = 0; lists[i] != NULL && e < network->experts; e++)
            kernels->operations->weights_destroy(kernels, lists[i][e]);
        free(lists[i]);
    }
    kernels->operations->weights_destroy(kernels, network->router);
}

static void destroy_layer(struct kernels *kernels, struct layer *layer) {
    struct weights *matrices[] = {layer->q, layer->k, layer->v, layer->o, layer->kv, layer->q_latent, layer->kv_latent};
    for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++)
        kernels->operations->weights_destroy(kernels, matrices[i]);
    destroy_network(kernels, &layer->network);
    destroy_network(kernels, &layer->shared);
    float *vectors[] = {layer->q_latent_norm,       layer->kv_latent_norm,
                        layer->attention_norm,      layer->feed_forward_norm,
                        layer->post_attention_norm, layer->post_feed_forward_norm,
                        layer->query_norm,          layer->key_norm,
                        layer->query_bias,          layer->key_bias,
                        layer->value_bias,          layer->output_bias};
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) free(vectors[i]);
}

static void free_routed(struct routed *routed) {
    free(routed->weights);
    free(routed->slots);
    free(routed->slot_rows);
    free(routed->first_slot);
}

void model_destroy(struct model *model) {
    if (model == NULL) return;
    struct kernels *kernels = model->kernels;
    for (int i = 0; model->layers != NULL && i < model->config.layers; i++) destroy_layer(kernels, &model->layers[i]);
    if (model->output != model->embedding) kernels->operations->weights_destroy(kernels, model->output);
    kernels->operations->weights_destroy(kernels, model->embedding);
    float *arrays[] = {model->output_norm,  model->x,    model->q,     model->k,      model->v,
                       model->attended,     model->gate, model->added, model->chosen, model->query_scales,
                       model->router_logits};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) free(arrays[i]);
    for (int r = 0; r < MODEL_ROPE_COUNT; r++) {
        free(model->rope_tables[r]);
        free((float *)model->ropes[r].inverse_frequency);
    }
    float *latent[] = {model->q_latent, model->kv_latent, model->kv, model->compact};
    for (size_t i = 0; i < sizeof latent / sizeof latent[0]; i++) free(latent[i]);
    free_routed(&model->routed);
    free_routed(&model->shared_routed);
    free(model->layers);
    free(model);
}

const struct model_config *model_config(const struct model *model) {
    return &model->config;
}
