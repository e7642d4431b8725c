/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** GGUF metadata being written: entries one behind the other. Failures of memory stay in `bytes` (base/bytes.h) and are asked for once, at the end. */
#ifndef ENGINE_CONVERT_GGUF_METADATA_H
#define ENGINE_CONVERT_GGUF_METADATA_H

#include "base/bytes.h"
#include "engine/weights/gguf.h"

struct gguf_metadata {
    struct bytes bytes;
    uint64_t count;
    char architecture[32]; /* keys that begin with '.' are this architecture's */
};

void gguf_metadata_init(struct gguf_metadata *metadata);
void gguf_metadata_deinit(struct gguf_metadata *metadata);

void gguf_metadata_u32(struct gguf_metadata *metadata, const char *key, uint32_t value);
void gguf_metadata_f32(struct gguf_metadata *metadata, const char *key, float value);
void gguf_metadata_bool(struct gguf_metadata *metadata, const char *key, bool value);
void gguf_metadata_string(struct gguf_metadata *metadata, const char *key, struct bytes_view value);
void gguf_metadata_text(struct gguf_metadata *metadata, const char *key, const char *value);
void gguf_metadata_i32s(struct gguf_metadata *metadata, const char *key, const int32_t *values, size_t count);
void gguf_metadata_u32s(struct gguf_metadata *metadata, const char *key, const uint32_t *values, size_t count);
void gguf_metadata_f32s(struct gguf_metadata *metadata, const char *key, const float *values, size_t count);
void gguf_metadata_bools(struct gguf_metadata *metadata, const char *key, const bool *values, size_t count);
void gguf_metadata_strings(struct gguf_metadata *metadata, const char *key, const struct bytes_view *values,
                           size_t count);
/** An array of U8. */
void gguf_metadata_bytes(struct gguf_metadata *metadata, const char *key, struct bytes_view value);
/** As another file has it. */
void gguf_metadata_copy(struct gguf_metadata *metadata, const struct gguf_metadata_entry *entry);

#endif
