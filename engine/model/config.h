/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Model configuration: the numbers that turn the one forward pass (model.c) into a particular decoder.
 *
 * First architecture: "llama" as GGUF names it (Llama 1 to 3 without frequency scaling, SmolLM2, dense Mistral). A file that
 * asks for anything this code would compute differently - experts, rope scaling, sliding windows - is refused by name
 * rather than run wrong. Later families add fields here and the line in model_forward that reads them.
 *
 * Letters: D width, H heads, G kv_heads, hd head_dim, F feed_forward, V vocabulary.
 */
#ifndef ENGINE_MODEL_CONFIG_H
#define ENGINE_MODEL_CONFIG_H

#include "base/status.h"
#include "engine/weights/gguf.h"
#include "kernels/kernels.h"

#include <stdint.h>

struct model_config {
    char architecture[32];
    int layers;
    int width, heads, kv_heads, head_dim, feed_forward; /* D H G hd F */
    int32_t vocabulary;                                 /* V: rows of the embedding */
    int64_t context_tokens;                             /* that the model was trained for */
    float norm_eps;
    float attention_scale; /* 1 / sqrt(hd) */
    enum rope_style rope_style;
    float rope_base;
    int rotary_dim;
};

/** Read and check the metadata. STATUS_UNIMPLEMENTED: another architecture, or a feature that is not there yet. STATUS_INVALID_ARGUMENT:
 *  a key that is missing or out of range. The message names the file, the key and the value. */
enum status model_config_read(const struct gguf *gguf, struct model_config *out, struct error *err);

/** The longest input of any matmul: what kernels_options.columns_max must cover. */
int64_t model_config_columns_max(const struct model_config *config);

#endif
