/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/safetensors_builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(enum status status) {
    if (status != STATUS_OK) abort();
}

void safetensors_builder_init(struct safetensors_builder *builder) {
    bytes_init(&builder->header, 1 << 24);
    bytes_init(&builder->data, 1 << 28);
    must(bytes_append_string(&builder->header, "{\"__metadata__\":{\"format\":\"pt\"}"));
}

void safetensors_builder_raw(struct safetensors_builder *builder, const char *entry) {
    must(bytes_printf(&builder->header, ",%s", entry));
}

void safetensors_builder_tensor(struct safetensors_builder *builder, const char *name, const char *dtype,
                                int dimension_count, const int64_t *dimensions, const void *data, size_t bytes) {
    must(bytes_printf(&builder->header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", name, dtype));
    for (int i = 0; i < dimension_count; i++)
        must(bytes_printf(&builder->header, "%s%lld", i > 0 ? "," : "", (long long)dimensions[i]));
    must(bytes_printf(&builder->header, "],\"data_offsets\":[%zu,%zu]}", builder->data.length,
                      builder->data.length + bytes));
    must(bytes_append(&builder->data, data, bytes));
}

void safetensors_builder_filled(struct safetensors_builder *builder, const char *name, int64_t rows, int64_t columns,
                                float value) {
    size_t count = (size_t)((rows == 0 ? 1 : rows) * columns);
    float *values = malloc(count * sizeof *values);
    if (values == NULL) abort();
    for (size_t i = 0; i < count; i++) values[i] = value;
    const int64_t both[] = {rows, columns};
    safetensors_builder_tensor(builder, name, "F32", rows == 0 ? 1 : 2, rows == 0 ? both + 1 : both, values,
                               count * sizeof *values);
    free(values);
}

uint8_t *safetensors_builder_finish(struct safetensors_builder *builder, size_t *out_length) {
    must(bytes_append_byte(&builder->header, '}'));
    while (builder->header.length % 8 != 0) must(bytes_append_byte(&builder->header, ' '));
    uint64_t header = builder->header.length;
    size_t length = 8 + header + builder->data.length;
    uint8_t *file = malloc(length);
    if (file == NULL) abort();
    memcpy(file, &header, 8);
    memcpy(file + 8, builder->header.data, header);
    if (builder->data.length > 0) memcpy(file + 8 + header, builder->data.data, builder->data.length);
    bytes_deinit(&builder->header);
    bytes_deinit(&builder->data);
    *out_length = length;
    return file;
}

static void write_file(const char *path, const void *data, size_t length) {
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(data, 1, length, file) != length || fclose(file) != 0) abort();
}

void safetensors_builder_write(struct safetensors_builder *builder, const char *path) {
    size_t length;
    uint8_t *file = safetensors_builder_finish(builder, &length);
    write_file(path, file, length);
    free(file);
}

void safetensors_builder_text(const char *path, const char *text) {
    write_file(path, text, strlen(text));
}
