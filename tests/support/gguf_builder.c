/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/gguf_builder.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TYPE_I32 = 5,
    TYPE_U32 = 4,
    TYPE_F32 = 6,
    TYPE_BOOL = 7,
    TYPE_STRING = 8,
    TYPE_ARRAY = 9,
    TYPE_U64 = 10,
    CONTROLS_MAX = 64,
    MERGES_MAX = 64
};

static void append(struct bytes *bytes, const void *data, size_t length) {
    if (bytes_append(bytes, data, length) != STATUS_OK) abort();
}

static void append_u32(struct bytes *bytes, uint32_t value) {
    append(bytes, &value, sizeof value);
}
static void append_u64(struct bytes *bytes, uint64_t value) {
    append(bytes, &value, sizeof value);
}

static void append_string(struct bytes *bytes, const char *string) {
    append_u64(bytes, strlen(string));
    append(bytes, string, strlen(string));
}

static void pad(struct bytes *bytes, size_t alignment) {
    while (bytes->length % alignment != 0) append(bytes, "", 1);
}

void gguf_builder_init(struct gguf_builder *builder) {
    *builder = (struct gguf_builder){.magic = 0x46554747, .version = 3, .alignment = 32};
    bytes_init(&builder->metadata, SIZE_MAX / 2);
    bytes_init(&builder->tensors, SIZE_MAX / 2);
    bytes_init(&builder->data, SIZE_MAX / 2);
}

void gguf_builder_raw(struct gguf_builder *builder, const char *key, uint32_t type, const void *value, size_t bytes) {
    append_string(&builder->metadata, key);
    append_u32(&builder->metadata, type);
    append(&builder->metadata, value, bytes);
    builder->metadata_count++;
}

void gguf_builder_u32(struct gguf_builder *builder, const char *key, uint32_t value) {
    gguf_builder_raw(builder, key, TYPE_U32, &value, 4);
}
void gguf_builder_u64(struct gguf_builder *builder, const char *key, uint64_t value) {
    gguf_builder_raw(builder, key, TYPE_U64, &value, 8);
}
void gguf_builder_i32(struct gguf_builder *builder, const char *key, int32_t value) {
    gguf_builder_raw(builder, key, TYPE_I32, &value, 4);
}
void gguf_builder_f32(struct gguf_builder *builder, const char *key, float value) {
    gguf_builder_raw(builder, key, TYPE_F32, &value, 4);
}
void gguf_builder_bool(struct gguf_builder *builder, const char *key, uint8_t value) {
    gguf_builder_raw(builder, key, TYPE_BOOL, &value, 1);
}

void gguf_builder_string(struct gguf_builder *builder, const char *key, const char *value) {
    gguf_builder_raw(builder, key, TYPE_STRING, "", 0);
    append_string(&builder->metadata, value);
}

static void begin_array(struct gguf_builder *builder, const char *key, uint32_t element, size_t count) {
    gguf_builder_raw(builder, key, TYPE_ARRAY, "", 0);
    append_u32(&builder->metadata, element);
    append_u64(&builder->metadata, count);
}

void gguf_builder_strings(struct gguf_builder *builder, const char *key, const char *const *values, size_t count) {
    begin_array(builder, key, TYPE_STRING, count);
    for (size_t i = 0; i < count; i++) append_string(&builder->metadata, values[i]);
}

void gguf_builder_i32s(struct gguf_builder *builder, const char *key, const int32_t *values, size_t count) {
    begin_array(builder, key, TYPE_I32, count);
    append(&builder->metadata, values, count * sizeof *values);
}

void gguf_builder_f32s(struct gguf_builder *builder, const char *key, const float *values, size_t count) {
    begin_array(builder, key, TYPE_F32, count);
    append(&builder->metadata, values, count * sizeof *values);
}

void gguf_builder_tensor_at(struct gguf_builder *builder, const char *name, uint32_t type, uint32_t dimension_count,
                            const int64_t *dimensions, uint64_t offset) {
    append_string(&builder->tensors, name);
    append_u32(&builder->tensors, dimension_count);
    for (uint32_t i = 0; i < dimension_count; i++) append_u64(&builder->tensors, (uint64_t)dimensions[i]);
    append_u32(&builder->tensors, type);
    append_u64(&builder->tensors, offset);
    builder->tensor_count++;
}

void gguf_builder_tensor(struct gguf_builder *builder, const char *name, uint32_t type, uint32_t dimension_count,
                         const int64_t *dimensions, const void *data, size_t bytes) {
    pad(&builder->data, builder->alignment);
    gguf_builder_tensor_at(builder, name, type, dimension_count, dimensions, builder->data.length);
    append(&builder->data, data, bytes);
}

void gguf_builder_data(struct gguf_builder *builder, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) append(&builder->data, "", 1);
}

uint8_t *gguf_builder_finish(struct gguf_builder *builder, size_t *out_length) {
    struct bytes file;
    bytes_init(&file, SIZE_MAX / 2);
    append_u32(&file, builder->magic);
    append_u32(&file, builder->version);
    append_u64(&file, builder->tensor_count);
    append_u64(&file, builder->metadata_count);
    append(&file, builder->metadata.data, builder->metadata.length);
    append(&file, builder->tensors.data, builder->tensors.length);
    if (builder->data.length > 0) pad(&file, builder->alignment);
    append(&file, builder->data.data, builder->data.length);
    void *exact = NULL;
    if (posix_memalign(&exact, 64, file.length) != 0) abort();
    memcpy(exact, file.data, file.length);
    *out_length = file.length;
    bytes_deinit(&file);
    bytes_deinit(&builder->metadata);
    bytes_deinit(&builder->tensors);
    bytes_deinit(&builder->data);
    return exact;
}

static void add_tokenizer(struct gguf_builder *builder, const char *const *merges, size_t merge_count,
                          const char *const *controls, size_t control_count, size_t bos) {
    char bytes[256][5], made[MERGES_MAX][128];
    const char *names[256 + MERGES_MAX + CONTROLS_MAX];
    int32_t types[256 + MERGES_MAX + CONTROLS_MAX];
    size_t count = 0;
    uint32_t disguised = 256;
    if (merge_count > MERGES_MAX || control_count > CONTROLS_MAX) abort();
    for (uint32_t byte = 0; byte < 256; byte++) {
        bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
        bytes[byte][text_encode(printable ? byte : disguised++, (uint8_t *)bytes[byte])] = 0;
        names[count++] = bytes[byte];
    }
    for (size_t i = 0; i < merge_count; i++) {
        int left = (int)strcspn(merges[i], " ");
        snprintf(made[i], sizeof made[i], "%.*s%s", left, merges[i], merges[i] + left + 1);
        names[count++] = made[i];
    }
    for (size_t i = 0; i < count; i++) types[i] = 1;
    for (size_t i = 0; i < control_count; i++, count++) {
        names[count] = controls[i];
        types[count] = 3;
    }
    gguf_builder_string(builder, "tokenizer.ggml.model", "gpt2");
    gguf_builder_string(builder, "tokenizer.ggml.pre", "smollm");
    gguf_builder_strings(builder, "tokenizer.ggml.tokens", names, count);
    gguf_builder_i32s(builder, "tokenizer.ggml.token_type", types, count);
    gguf_builder_strings(builder, "tokenizer.ggml.merges", merges, merge_count);
    gguf_builder_u32(builder, "tokenizer.ggml.bos_token_id", (uint32_t)(count - control_count + bos));
    gguf_builder_u32(builder, "tokenizer.ggml.eos_token_id", (uint32_t)(count - control_count + bos + 1));
}

void gguf_builder_tokenizer(struct gguf_builder *builder, const char *const *merges, size_t merge_count) {
    static const char *const controls[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    add_tokenizer(builder, merges, merge_count, controls, 3, 1);
}

void gguf_builder_byte_tokenizer(struct gguf_builder *builder, const char *const *controls, size_t control_count) {
    add_tokenizer(builder, NULL, 0, controls, control_count, 1);
}
