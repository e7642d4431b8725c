/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kv_layout.h"

#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
} types[] = {[KV_F32] = {"f32", 4}, [KV_F16] = {"f16", 2}, [KV_BF16] = {"bf16", 2}, [KV_INT8] = {"int8", 1}};

size_t kv_type_bytes(enum kv_type type) {
    return types[type].bytes;
}

const char *kv_type_name(enum kv_type type) {
    return types[type].name;
}

bool kv_type_parse(const char *name, enum kv_type *out) {
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(name, types[i].name) != 0) continue;
        *out = (enum kv_type)i;
        return true;
    }
    return false;
}

size_t kv_layer_bytes(const struct kv_layer *layer) {
    return (size_t)layer->kv_heads * kv_head_bytes(layer);
}
