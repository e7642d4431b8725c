/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Safetensors files made by hand, for tests. Running out of memory aborts.
 *
 *     struct safetensors_builder builder;
 *     safetensors_builder_init(&builder);
 *     safetensors_builder_tensor(&builder, "model.norm.weight", "F32", 1, (int64_t[]){8}, weights, sizeof weights);
 *     safetensors_builder_write(&builder, "/tmp/folder/model.safetensors");   // and the end of the builder
 */
#ifndef TESTS_SUPPORT_SAFETENSORS_BUILDER_H
#define TESTS_SUPPORT_SAFETENSORS_BUILDER_H

#include "base/bytes.h"

struct safetensors_builder {
    struct bytes header, data;
};

void safetensors_builder_init(struct safetensors_builder *builder);
/** A tensor behind those before it; dimensions slowest first. */
void safetensors_builder_tensor(struct safetensors_builder *builder, const char *name, const char *dtype,
                                int dimension_count, const int64_t *dimensions, const void *data, size_t bytes);
/** One f32 tensor filled with `value`. */
void safetensors_builder_filled(struct safetensors_builder *builder, const char *name, int64_t rows, int64_t columns,
                                float value);
/** Any text as a header's entry. */
void safetensors_builder_raw(struct safetensors_builder *builder, const char *entry);
/** The file, and the end of the builder; free() it. */
uint8_t *safetensors_builder_finish(struct safetensors_builder *builder, size_t *out_length);
void safetensors_builder_write(struct safetensors_builder *builder, const char *path);
/** Any text as a file. */
void safetensors_builder_text(const char *path, const char *text);

#endif
