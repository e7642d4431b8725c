/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * GGUF files made by hand, for tests: good ones in one line per entry, and bad ones by asking for what no writer would.
 * Running out of memory aborts.
 *
 *     struct gguf_builder builder;
 *     gguf_builder_init(&builder);
 *     gguf_builder_u32(&builder, "llama.block_count", 2);
 *     gguf_builder_tensor(&builder, "output_norm.weight", 0, 1, (int64_t[]){8}, weights, sizeof weights);
 *     uint8_t *file = gguf_builder_finish(&builder, &length);   // 64-aligned, exactly `length` long; free() it
 */
#ifndef TESTS_SUPPORT_GGUF_BUILDER_H
#define TESTS_SUPPORT_GGUF_BUILDER_H

#include "base/bytes.h"

#include <stdint.h>

struct gguf_builder {
    struct bytes metadata, tensors, data;
    uint64_t metadata_count, tensor_count; /* written to the header: set them for a lie */
    uint32_t magic, version;
    size_t alignment; /* of the data; writing "general.alignment" is the caller's */
};

void gguf_builder_init(struct gguf_builder *builder);

void gguf_builder_u32(struct gguf_builder *builder, const char *key, uint32_t value);
void gguf_builder_u64(struct gguf_builder *builder, const char *key, uint64_t value);
void gguf_builder_i32(struct gguf_builder *builder, const char *key, int32_t value);
void gguf_builder_f32(struct gguf_builder *builder, const char *key, float value);
void gguf_builder_bool(struct gguf_builder *builder, const char *key, uint8_t value);
void gguf_builder_string(struct gguf_builder *builder, const char *key, const char *value);
void gguf_builder_strings(struct gguf_builder *builder, const char *key, const char *const *values, size_t count);
void gguf_builder_i32s(struct gguf_builder *builder, const char *key, const int32_t *values, size_t count);
void gguf_builder_f32s(struct gguf_builder *builder, const char *key, const float *values, size_t count);
/** A key with any type number and any bytes behind it. */
void gguf_builder_raw(struct gguf_builder *builder, const char *key, uint32_t type, const void *value, size_t bytes);

/** A tensor with its data, at the next aligned place. */
void gguf_builder_tensor(struct gguf_builder *builder, const char *name, uint32_t type, uint32_t dimension_count,
                         const int64_t *dimensions, const void *data, size_t bytes);
/** The description of a tensor alone, at any place. */
void gguf_builder_tensor_at(struct gguf_builder *builder, const char *name, uint32_t type, uint32_t dimension_count,
                            const int64_t *dimensions, uint64_t offset);
/** `bytes` zeroed bytes more in the data part. */
void gguf_builder_data(struct gguf_builder *builder, size_t bytes);

/** The file, and the end of the builder. */
uint8_t *gguf_builder_finish(struct gguf_builder *builder, size_t *out_length);

/**
 * A whole "gpt2"/"smollm" tokenizer: 256 byte tokens at ids [0, 256), then what the space-separated merges make
 * ("h e", "l l", "he ll" make "he", "ll", "hell"; "Ġ" is a blank), then "<|endoftext|>", "<|im_start|>", "<|im_end|>" as control tokens.
 */
void gguf_builder_tokenizer(struct gguf_builder *builder, const char *const *merges, size_t merge_count);

/** The same without merges, and with these control tokens, of which the second begins and the third ends texts ("<unk>", "<s>", "</s>"…). */
void gguf_builder_byte_tokenizer(struct gguf_builder *builder, const char *const *controls, size_t control_count);

#endif
