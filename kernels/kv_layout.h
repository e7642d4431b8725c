/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What lies inside one layer's part of a key/value block (struct kv_layer in kernels.h): the heads one after another, each
 *
 *     keys    [hd][block_tokens]     transposed, so that the scores of neighbouring positions come from one vector
 *     values  [block_tokens][hd]     without sums across lanes
 *
 * A head's keys and values lie side by side: attention walks a block's head as one stream.
 */
#ifndef KERNELS_KV_LAYOUT_H
#define KERNELS_KV_LAYOUT_H

#include "kernels/kernels.h"

/** One head of one block. */
struct kv_head {
    void *keys, *values;
};

/** Bytes of one head of one block: 256 elements or more, so a multiple of 64. */
static inline size_t kv_head_bytes(const struct kv_layer *layer) {
    return 2 * (size_t)layer->head_dim * (size_t)layer->block_tokens * kv_type_bytes(layer->type);
}

static inline struct kv_head kv_head_at(const struct kv_layer *layer, int32_t block, int head) {
    size_t bytes = kv_head_bytes(layer);
    char *at = (char *)layer->base + (size_t)block * layer->block_stride + (size_t)head * bytes;
    return (struct kv_head){.keys = at, .values = at + bytes / 2};
}

#endif
