/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/convert/gguf_metadata.h"

#include <string.h>

enum { METADATA_BYTES_MAX = 1 << 30 };

void gguf_metadata_init(struct gguf_metadata *metadata) {
    *metadata = (struct gguf_metadata){0};
    bytes_init(&metadata->bytes, METADATA_BYTES_MAX);
}

void gguf_metadata_deinit(struct gguf_metadata *metadata) {
    bytes_deinit(&metadata->bytes);
}

static void put_string(struct bytes *bytes, struct bytes_view value) {
    uint64_t length = value.length;
    (void)bytes_append(bytes, &length, sizeof length);
    if (length > 0) (void)bytes_append(bytes, value.data, value.length);
}

static void put_key(struct gguf_metadata *metadata, const char *key, enum gguf_type type) {
    uint32_t number = type;
    uint64_t length = strlen(key) + (key[0] == '.' ? strlen(metadata->architecture) : 0);
    (void)bytes_append(&metadata->bytes, &length, sizeof length);
    if (key[0] == '.') (void)bytes_append_string(&metadata->bytes, metadata->architecture);
    (void)bytes_append_string(&metadata->bytes, key);
    (void)bytes_append(&metadata->bytes, &number, sizeof number);
    metadata->count++;
}

static void put_array(struct gguf_metadata *metadata, const char *key, enum gguf_type element, uint64_t count) {
    uint32_t type = element;
    put_key(metadata, key, GGUF_ARRAY);
    (void)bytes_append(&metadata->bytes, &type, sizeof type);
    (void)bytes_append(&metadata->bytes, &count, sizeof count);
}

void gguf_metadata_u32(struct gguf_metadata *metadata, const char *key, uint32_t value) {
    put_key(metadata, key, GGUF_U32);
    (void)bytes_append(&metadata->bytes, &value, sizeof value);
}

void gguf_metadata_f32(struct gguf_metadata *metadata, const char *key, float value) {
    put_key(metadata, key, GGUF_F32);
    (void)bytes_append(&metadata->bytes, &value, sizeof value);
}

void gguf_metadata_bool(struct gguf_metadata *metadata, const char *key, bool value) {
    put_key(metadata, key, GGUF_BOOL);
    (void)bytes_append_byte(&metadata->bytes, value);
}

void gguf_metadata_string(struct gguf_metadata *metadata, const char *key, struct bytes_view value) {
    put_key(metadata, key, GGUF_STRING);
    put_string(&metadata->bytes, value);
}

void gguf_metadata_text(struct gguf_metadata *metadata, const char *key, const char *value) {
    gguf_metadata_string(metadata, key, bytes_view_string(value));
}

void gguf_metadata_i32s(struct gguf_metadata *metadata, const char *key, const int32_t *values, size_t count) {
    put_array(metadata, key, GGUF_I32, count);
    if (count > 0) (void)bytes_append(&metadata->bytes, values, count * sizeof *values);
}

void gguf_metadata_u32s(struct gguf_metadata *metadata, const char *key, const uint32_t *values, size_t count) {
    put_array(metadata, key, GGUF_U32, count);
    if (count > 0) (void)bytes_append(&metadata->bytes, values, count * sizeof *values);
}

void gguf_metadata_f32s(struct gguf_metadata *metadata, const char *key, const float *values, size_t count) {
    put_array(metadata, key, GGUF_F32, count);
    if (count > 0) (void)bytes_append(&metadata->bytes, values, count * sizeof *values);
}

void gguf_metadata_bools(struct gguf_metadata *metadata, const char *key, const bool *values, size_t count) {
    put_array(metadata, key, GGUF_BOOL, count);
    for (size_t i = 0; i < count; i++) (void)bytes_append_byte(&metadata->bytes, values[i]);
}

void gguf_metadata_strings(struct gguf_metadata *metadata, const char *key, const struct bytes_view *values,
                           size_t count) {
    put_array(metadata, key, GGUF_STRING, count);
    for (size_t i = 0; i < count; i++) put_string(&metadata->bytes, values[i]);
}

void gguf_metadata_bytes(struct gguf_metadata *metadata, const char *key, struct bytes_view value) {
    put_array(metadata, key, GGUF_U8, value.length);
    (void)bytes_append(&metadata->bytes, value.data, value.length);
}

void gguf_metadata_copy(struct gguf_metadata *metadata, const struct gguf_metadata_entry *entry) {
    uint32_t type = entry->type;
    put_string(&metadata->bytes, entry->key);
    (void)bytes_append(&metadata->bytes, &type, sizeof type);
    (void)bytes_append(&metadata->bytes, entry->value.data, entry->value.length);
    metadata->count++;
}
