/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kv_layout.h"

size_t kv_type_bytes(enum kv_type type) {
    return type == KV_F32 ? 4 : 2;
}

size_t kv_layer_bytes(const struct kv_layer *layer) {
    return (size_t)layer->kv_heads * kv_head_bytes(layer);
}
