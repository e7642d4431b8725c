/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Which tensor of the output is what tensor of the input, and of which type. */
#include "engine/convert/convert_internal.h"
#include "engine/weights/checkpoint_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum status convert_plan_add(struct converting *converting, const struct convert_tensor *tensor) {
    struct convert_plan *plan = &converting->plan;
    if (plan->count == plan->capacity) {
        int64_t capacity = plan->capacity == 0 ? 256 : 2 * plan->capacity;
        struct convert_tensor *tensors = realloc(plan->tensors, (size_t)capacity * sizeof *tensors);
        if (tensors == NULL) return error_set(converting->err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        plan->tensors = tensors;
        plan->capacity = capacity;
    }
    struct convert_tensor *place = &plan->tensors[plan->count];
    *place = *tensor;
    size_t bytes = tensor_type_row_bytes(place->type, place->dimensions[0]);
    bool overflow = bytes == 0;
    for (int i = 1; i < 4; i++)
        overflow = overflow || __builtin_mul_overflow(bytes, (size_t)place->dimensions[i], &bytes);
    if (overflow)
        return error_set(converting->err, STATUS_INVALID_ARGUMENT, "tensor '%s' has a size of no %s", place->name,
                         tensor_type_name(place->type));
    place->bytes = bytes;
    plan->bytes += bytes;
    plan->count++;
    return STATUS_OK;
}

/* ---- types --------------------------------------------------------------------------------------------------------- */

static bool ends_with(const char *name, const char *suffix) {
    size_t length = strlen(name), end = strlen(suffix);
    return length >= end && strcmp(name + length - end, suffix) == 0;
}

static int layer_of(const char *name) {
    int layer;
    return sscanf(name, "blk.%5d.", &layer) == 1 ? layer : -1;
}

/** Bits per weight decide which of two types is the finer. */
static bool is_coarser(enum tensor_type type, enum tensor_type than) {
    return tensor_type_block_bytes(type) * (size_t)tensor_type_block(than) <
           tensor_type_block_bytes(than) * (size_t)tensor_type_block(type);
}

/** llama.cpp's _M mixes: layers where attn_v and ffn_down get more bits. */
static bool more_bits(int layer, int64_t layers) {
    return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

static enum tensor_type that_fits(enum tensor_type type, int64_t columns) {
    if (columns % tensor_type_block(type) == 0) return type;
    enum tensor_type next = type == TENSOR_Q4_K   ? TENSOR_Q5_0
                            : type == TENSOR_Q5_K ? TENSOR_Q5_1
                            : type == TENSOR_Q6_K ? TENSOR_Q8_0
                                                  : TENSOR_F16;
    return columns % tensor_type_block(next) == 0 ? next : TENSOR_F16;
}

/** The type of a matrix in the output; `name` is canonical. */
static enum tensor_type type_of(const struct converting *converting, const char *name, int dimension_count,
                                int64_t columns, enum tensor_type stored) {
    const struct convert_options *options = converting->options;
    if (dimension_count < 2 || ends_with(name, "_norm.weight") || ends_with(name, "ffn_gate_inp.weight") ||
        ends_with(name, "ffn_gate_inp_shexp.weight") || ends_with(name, ".bias"))
        return TENSOR_F32;
    if (options->keep) return stored;
    enum tensor_type type = options->type;
    bool output = strcmp(name, "output.weight") == 0 ||
                  (strcmp(name, "token_embd.weight") == 0 && !checkpoint_has(converting->checkpoint, "output.weight"));
    int layer = layer_of(name);
    if (output && is_coarser(type, TENSOR_Q6_K)) return that_fits(TENSOR_Q6_K, columns);
    if ((type == TENSOR_Q4_K || type == TENSOR_Q5_K) && layer >= 0 &&
        (ends_with(name, "attn_v.weight") || strstr(name, ".ffn_down") != NULL) &&
        more_bits(layer, converting->facts.layers))
        type = TENSOR_Q6_K;
    return that_fits(type, columns);
}

/* ---- names and transforms ------------------------------------------------------------------------------------------ */

static bool is_canonical(const char *name) {
    return strncmp(name, "blk.", 4) == 0 || strcmp(name, "token_embd.weight") == 0 ||
           strcmp(name, "output.weight") == 0 || strcmp(name, "output_norm.weight") == 0 ||
           strcmp(name, "rope_freqs.weight") == 0;
}

static enum status plan_tensor(struct converting *converting, const struct checkpoint_tensor *from) {
    const struct convert_facts *facts = &converting->facts;
    enum checkpoint_form form = checkpoint_form(converting->checkpoint);
    if (form != CHECKPOINT_GGUF && !is_canonical(from->name))
        return error_set(converting->err, STATUS_UNIMPLEMENTED, "%s: tensor '%.96s' has no name in GGUF", from->file,
                         from->name);
    if (!from->known_type)
        return error_set(converting->err, STATUS_UNIMPLEMENTED, "%s: tensor '%.96s' is %s, which is not read",
                         from->file, from->name, from->type_name);
    if (from->dimension_count > 4)
        return error_set(converting->err, STATUS_UNIMPLEMENTED, "%s: tensor '%.96s' has %d dimensions", from->file,
                         from->name, from->dimension_count);
    struct convert_tensor tensor = {.from = from, .expert = -1, .dimension_count = from->dimension_count};
    memcpy(tensor.dimensions, from->dimensions, sizeof tensor.dimensions);
    if (tensor.dimension_count == 0) tensor.dimension_count = 1;
    if (ends_with(from->name, "ffn_gate_inp_shexp.weight") && tensor.dimensions[1] == 1) tensor.dimension_count = 1;
    if ((tensor.name = arena_printf(&converting->plan.arena, "%s", from->name)) == NULL)
        return error_set(converting->err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    /* GGUF to GGUF keeps what is there, whatever it is. */
    bool same = form == CHECKPOINT_GGUF && converting->options->keep;
    tensor.type =
        same ? from->type : type_of(converting, from->name, tensor.dimension_count, tensor.dimensions[0], from->type);
    bool halves = form == CHECKPOINT_HUGGING_FACE && facts->rotary_by_neighbours;
    bool query = strstr(from->name, ".attn_q.") != NULL, key = strstr(from->name, ".attn_k.") != NULL;
    if (halves && (query || key)) {
        tensor.rotary = ROTARY_TO_NEIGHBOURS;
        tensor.heads = query ? facts->heads : facts->kv_heads;
    }
    if (form == CHECKPOINT_HUGGING_FACE && facts->norms_less_one && ends_with(from->name, "_norm.weight"))
        tensor.plus = 1;
    if (converting->options->upcycle != NULL) TRY(convert_upcycle_tensor(converting, &tensor));
    return convert_plan_add(converting, &tensor);
}

/** Who asks for one type and gets another is told. */
static void note_other_types(const struct converting *converting) {
    enum tensor_type type = converting->options->type, other = type;
    int64_t matrices = 0, others = 0;
    if (converting->options->keep) return;
    for (int64_t i = 0; i < converting->plan.count; i++) {
        const struct convert_tensor *tensor = &converting->plan.tensors[i];
        if (tensor->dimension_count < 2 || tensor->type == TENSOR_F32) continue;
        matrices++;
        if (tensor->dimensions[0] % tensor_type_block(type) == 0) continue;
        if (others++ == 0) other = tensor->type;
    }
    if (others > 0)
        (void)bytes_printf(converting->notes,
                           "%lld of %lld matrices have rows that are no multiple of the %d that %s needs; they have "
                           "another type (%s).\n",
                           (long long)others, (long long)matrices, (int)tensor_type_block(type), tensor_type_name(type),
                           tensor_type_name(other));
}

enum status convert_plan_gguf(struct converting *converting) {
    for (int64_t i = 0; i < checkpoint_tensor_count(converting->checkpoint); i++)
        TRY(plan_tensor(converting, checkpoint_tensor_at(converting->checkpoint, i)));
    note_other_types(converting);
    return STATUS_OK;
}

/* ---- to Hugging Face ------------------------------------------------------------------------------------------------- */

/** What there is in safetensors: the three types of one weight each. */
static enum tensor_type folder_type(const struct converting *converting, enum tensor_type stored) {
    if (!converting->options->keep) return converting->options->type;
    return tensor_type_block(stored) == 1 ? stored : TENSOR_F32;
}

static enum status plan_folder_tensor(struct converting *converting, const struct checkpoint_tensor *from, int expert) {
    const struct convert_facts *facts = &converting->facts;
    struct name_style style = {.sandwich_norms = strncmp(facts->architecture, "gemma", 5) == 0,
                               .mixtral = strcmp(facts->architecture, "llama") == 0};
    char name[CANONICAL_NAME_BYTES];
    if (!name_to_hugging_face(from->name, expert, style, name) || from->dimension_count > 3)
        return error_set(converting->err, STATUS_UNIMPLEMENTED, "%s: tensor '%.96s' has no Hugging Face name",
                         from->file, from->name);
    if (!from->known_type)
        return error_set(converting->err, STATUS_UNIMPLEMENTED, "%s: tensor '%.96s' is %s, which is not read",
                         from->file, from->name, from->type_name);
    struct convert_tensor tensor = {.from = from,
                                    .expert = expert,
                                    .dimension_count = from->dimension_count < 2 ? 1 : 2,
                                    .dimensions = {from->dimensions[0], from->dimensions[1], 1, 1},
                                    .type = folder_type(converting, from->type)};
    if (ends_with(name, "shared_expert_gate.weight")) tensor.dimension_count = 2; /* 1 x width there */
    bool query = strstr(from->name, ".attn_q.") != NULL, key = strstr(from->name, ".attn_k.") != NULL;
    if (facts->rotary_by_neighbours && (query || key)) {
        tensor.rotary = ROTARY_TO_HALVES;
        tensor.heads = query ? facts->heads : facts->kv_heads;
    }
    if (facts->norms_less_one && ends_with(from->name, "_norm.weight")) tensor.plus = -1;
    if ((tensor.name = arena_printf(&converting->plan.arena, "%s", name)) == NULL)
        return error_set(converting->err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    return convert_plan_add(converting, &tensor);
}

enum status convert_plan_folder(struct converting *converting) {
    for (int64_t i = 0; i < checkpoint_tensor_count(converting->checkpoint); i++) {
        const struct checkpoint_tensor *from = checkpoint_tensor_at(converting->checkpoint, i);
        if (strcmp(from->name, "rope_freqs.weight") == 0) continue; /* the config says it */
        if (from->dimension_count < 3) {
            TRY(plan_folder_tensor(converting, from, -1));
        } else {
            for (int64_t expert = 0; expert < from->dimensions[2]; expert++)
                TRY(plan_folder_tensor(converting, from, (int)expert));
        }
    }
    return STATUS_OK;
}
