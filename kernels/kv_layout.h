/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What lies inside one layer's part of a key/value block (struct kv_layer in kernels.h): the heads one after another, each
 *
 *     keys          [hd][block_tokens]     transposed, so that the scores of neighbouring positions come from one vector
 *     values        [block_tokens][hd]     without sums across lanes
 *     key_scales    [block_tokens] f32     KV_INT8 only: key = scale * q,  scale = max |key| / 127, q = key / scale rounded to even
 *     value_scales  [block_tokens] f32     the same for values
 *
 * All of a head lies side by side: attention walks a block's head as one stream.
 */
#ifndef KERNELS_KV_LAYOUT_H
#define KERNELS_KV_LAYOUT_H

#include "kernels/kernels.h"

/** One head of one block. */
struct kv_head {
    void *keys, *values;
    float *key_scales, *value_scales; /* KV_INT8 only */
};

static inline size_t kv_scales_bytes(const struct kv_layer *layer) {
    return layer->type == KV_INT8 ? (size_t)layer->block_tokens * sizeof(float) : 0;
}

/** Bytes of one head of one block; a multiple of 64, for there are 512 elements or more, and 32 scales or more. */
static inline size_t kv_head_bytes(const struct kv_layer *layer) {
    size_t elements = (size_t)layer->head_dim * (size_t)layer->block_tokens;
    return 2 * (elements * kv_type_bytes(layer->type) + kv_scales_bytes(layer));
}

static inline struct kv_head kv_head_at(const struct kv_layer *layer, int32_t block, int head) {
    size_t bytes = kv_head_bytes(layer), scales = kv_scales_bytes(layer), half = bytes / 2 - scales;
    char *at = (char *)layer->base + (size_t)block * layer->block_stride + (size_t)head * bytes;
    return (struct kv_head){.keys = at,
                            .values = at + half,
                            .key_scales = (float *)(void *)(at + 2 * half),
                            .value_scales = (float *)(void *)(at + 2 * half + scales)};
}

#endif
