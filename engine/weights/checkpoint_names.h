/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Names of tensors: what Hugging Face and native Mistral checkpoints call them, and what they are called here (GGUF's names; checkpoint.h).
 *
 * Families: Llama, Mistral, Ministral, Mixtral, Qwen 2, 2.5 and 3 with their MoE, Gemma 2 and 3, SmolLM; also DeepSeek-style latent attention.
 * A name that is in no table keeps its own, so that nothing is dropped in silence. Vision towers, projectors and buffers are known and left out.
 */
#ifndef ENGINE_WEIGHTS_CHECKPOINT_NAMES_H
#define ENGINE_WEIGHTS_CHECKPOINT_NAMES_H

#include "base/bytes.h"

enum name_kind {
    NAME_KNOWN,
    NAME_LEFT_OUT, /* not of the language model, or computed from the config */
    NAME_UNKNOWN,
};

enum { CANONICAL_NAME_BYTES = 96 };

/** Which part of the stored tensor a canonical one is. */
enum name_part {
    NAME_WHOLE,
    NAME_GATE_AND_UP /* `text` is the gate, the first half of the rows of each expert; up is the second */
};

struct canonical_name {
    char text[CANONICAL_NAME_BYTES];
    int expert; /* -1, or the expert whose part of `text` this is */
    enum name_part part;
};

/** `sandwich_norms`: the checkpoint has pre_feedforward_layernorm (Gemma 2, 3), so that post_attention_layernorm means another norm
 *  than in all others. `tied`: an lm_head is a copy of the embedding. `out` is filled when NAME_KNOWN. */
enum name_kind name_from_hugging_face(struct bytes_view stored, bool sandwich_norms, bool tied,
                                      struct canonical_name *out);
enum name_kind name_from_mistral(struct bytes_view stored, struct canonical_name *out);
/** "model.layers.0.pre_feedforward_layernorm.weight" is one. */
bool name_is_sandwich_norm(struct bytes_view stored);

/** How the Hugging Face checkpoints of a family call their tensors. */
struct name_style {
    bool sandwich_norms; /* Gemma 2 and 3 */
    bool mixtral;        /* experts are block_sparse_moe.experts.E.w1, else mlp.experts.E.gate_proj */
};
/** The other direction: the Hugging Face name of a canonical one, of its expert `expert` (-1: no expert). False when there is none. */
bool name_to_hugging_face(const char *canonical, int expert, struct name_style style, char out[CANONICAL_NAME_BYTES]);

#endif
