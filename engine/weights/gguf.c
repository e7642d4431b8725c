/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/weights/gguf.h"

#include "engine/weights/file_map.h"
#include "engine/weights/gguf_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- opening ------------------------------------------------------------------------------------------------------- */

/** `damaged`: keep what was read when the metadata is whole. */
static enum status open_bytes(const void *data, size_t length, const char *name, bool damaged, struct gguf **out,
                              struct error *err) {
    struct gguf *gguf = calloc(1, sizeof *gguf);
    if (gguf == NULL || (gguf->path = strdup(name)) == NULL) {
        free(gguf);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    gguf->data = data;
    gguf->length = length;
    enum status status = gguf_parse(gguf, err);
    if (status != STATUS_OK && damaged && gguf->metadata_whole) {
        free(gguf->by_name);
        gguf->by_name = NULL;
        status = STATUS_OK;
    }
    if (status != STATUS_OK)
        gguf_close(gguf);
    else
        *out = gguf;
    return status;
}

enum status gguf_open_memory(const void *data, size_t length, const char *name, struct gguf **out, struct error *err) {
    return open_bytes(data, length, name, false, out, err);
}

static enum status open_file(const char *path, bool damaged, struct gguf **out, struct error *err) {
    struct bytes_view map;
    struct gguf *gguf = NULL;
    TRY(file_map_open(path, SIZE_MAX, &map, err));
    enum status status = open_bytes(map.data, map.length, path, damaged, &gguf, err);
    if (status != STATUS_OK) {
        file_map_close(map);
        return status;
    }
    gguf->mapped = true;
    *out = gguf;
    return STATUS_OK;
}

enum status gguf_open(const char *path, struct gguf **out, struct error *err) {
    return open_file(path, false, out, err);
}

enum status gguf_open_damaged(const char *path, struct gguf **out) {
    return open_file(path, true, out, NULL);
}

void gguf_close(struct gguf *gguf) {
    if (gguf == NULL) return;
    for (size_t i = 0; gguf->metadata != NULL && i < gguf->metadata_count; i++)
        free((void *)gguf->metadata[i].array.offsets);
    free(gguf->metadata);
    free(gguf->tensors);
    free(gguf->by_name);
    if (gguf->mapped) file_map_close(bytes_view_of(gguf->data, gguf->length));
    free(gguf->path);
    free(gguf);
}

/* ---- asking -------------------------------------------------------------------------------------------------------- */

const char *gguf_path(const struct gguf *gguf) {
    return gguf->path;
}
size_t gguf_file_bytes(const struct gguf *gguf) {
    return gguf->length;
}
int64_t gguf_tensor_count(const struct gguf *gguf) {
    return (int64_t)gguf->tensor_count;
}
const struct gguf_tensor *gguf_tensor_at(const struct gguf *gguf, int64_t index) {
    return &gguf->tensors[index];
}

int64_t gguf_metadata_count(const struct gguf *gguf) {
    return (int64_t)gguf->metadata_count;
}
struct gguf_metadata_entry gguf_metadata_at(const struct gguf *gguf, int64_t index) {
    const struct gguf_entry *entry = &gguf->metadata[index];
    return (struct gguf_metadata_entry){entry->key, entry->type, bytes_view_of(entry->value, entry->value_bytes)};
}

const struct gguf_tensor *gguf_tensor(const struct gguf *gguf, const char *name) {
    struct bytes_view wanted = bytes_view_string(name);
    size_t low = 0, high = gguf->by_name != NULL ? gguf->tensor_count : 0;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct gguf_tensor *tensor = &gguf->tensors[gguf->by_name[middle]];
        int order = bytes_view_compare(tensor->name, wanted);
        if (order == 0) return tensor;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static int compare_key(const void *wanted, const void *entry) {
    return bytes_view_compare(*(const struct bytes_view *)wanted, ((const struct gguf_entry *)entry)->key);
}

static const struct gguf_entry *find(const struct gguf *gguf, const char *key) {
    struct bytes_view wanted = bytes_view_string(key);
    return bsearch(&wanted, gguf->metadata, gguf->metadata_count, sizeof *gguf->metadata, compare_key);
}

/** An integer or boolean at `at` as i64; unsigned 64-bit values above INT64_MAX do not fit. */
static bool integer_at(enum gguf_type type, const uint8_t *at, int64_t *out) {
    union {
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
    } value;
    memcpy(&value, at, gguf_scalar_bytes(type));
    switch (type) {
    case GGUF_BOOL:
    case GGUF_U8:
        *out = *at;
        return true;
    case GGUF_I8:
        *out = (int8_t)*at;
        return true;
    case GGUF_U16:
        *out = value.u16;
        return true;
    case GGUF_I16:
        *out = value.i16;
        return true;
    case GGUF_U32:
        *out = value.u32;
        return true;
    case GGUF_I32:
        *out = value.i32;
        return true;
    case GGUF_I64:
        *out = value.i64;
        return true;
    case GGUF_U64:
        *out = value.i64;
        return value.u64 <= INT64_MAX;
    default:
        return false;
    }
}

static bool double_at(enum gguf_type type, const uint8_t *at, double *out) {
    float single;
    int64_t integer;
    if (type == GGUF_F64)
        memcpy(out, at, sizeof *out);
    else if (type == GGUF_F32)
        *out = (memcpy(&single, at, sizeof single), single);
    else if (integer_at(type, at, &integer))
        *out = (double)integer;
    else
        return false;
    return true;
}

bool gguf_has(const struct gguf *gguf, const char *key) {
    return find(gguf, key) != NULL;
}

static bool is_scalar(const struct gguf_entry *entry) {
    return entry != NULL && gguf_scalar_bytes(entry->type) != 0;
}

bool gguf_u64(const struct gguf *gguf, const char *key, uint64_t *out) {
    const struct gguf_entry *entry = find(gguf, key);
    int64_t value;
    if (entry != NULL && entry->type == GGUF_U64) return memcpy(out, entry->value, sizeof *out), true;
    if (!is_scalar(entry) || entry->type == GGUF_BOOL || !integer_at(entry->type, entry->value, &value) || value < 0)
        return false;
    *out = (uint64_t)value;
    return true;
}

bool gguf_f64(const struct gguf *gguf, const char *key, double *out) {
    const struct gguf_entry *entry = find(gguf, key);
    return is_scalar(entry) && entry->type != GGUF_BOOL && double_at(entry->type, entry->value, out);
}

bool gguf_bool(const struct gguf *gguf, const char *key, bool *out) {
    const struct gguf_entry *entry = find(gguf, key);
    if (entry == NULL || entry->type != GGUF_BOOL) return false;
    *out = *entry->value != 0;
    return true;
}

bool gguf_string(const struct gguf *gguf, const char *key, struct bytes_view *out) {
    const struct gguf_entry *entry = find(gguf, key);
    if (entry == NULL || entry->type != GGUF_STRING) return false;
    uint64_t length;
    memcpy(&length, entry->value, sizeof length);
    *out = bytes_view_of(entry->value + sizeof length, length);
    return true;
}

bool gguf_array(const struct gguf *gguf, const char *key, struct gguf_array *out) {
    const struct gguf_entry *entry = find(gguf, key);
    if (entry == NULL || entry->type != GGUF_ARRAY) return false;
    *out = entry->array;
    return true;
}

struct bytes_view gguf_array_string(const struct gguf_array *array, int64_t index) {
    const uint8_t *at = (const uint8_t *)array->data + array->offsets[index];
    uint64_t length;
    memcpy(&length, at, sizeof length);
    return bytes_view_of(at + sizeof length, length);
}

int64_t gguf_array_i64(const struct gguf_array *array, int64_t index) {
    int64_t value = 0;
    return integer_at(array->element, (const uint8_t *)array->data + (size_t)index * gguf_scalar_bytes(array->element),
                      &value)
               ? value
               : 0;
}

double gguf_array_f64(const struct gguf_array *array, int64_t index) {
    double value = 0;
    return double_at(array->element, (const uint8_t *)array->data + (size_t)index * gguf_scalar_bytes(array->element),
                     &value)
               ? value
               : 0;
}

enum status gguf_matrix(const struct gguf *gguf, const char *name, int64_t rows, int64_t columns,
                        struct tensor_view *out, struct error *err) {
    const struct gguf_tensor *tensor = gguf_tensor(gguf, name);
    if (tensor == NULL) return error_set(err, STATUS_NOT_FOUND, "%s: tensor '%s' is missing", gguf->path, name);
    int64_t actual_rows = tensor->dimensions[1], wanted = rows == 0 ? 1 : rows;
    if (tensor->dimensions[0] != columns || actual_rows != wanted || tensor->dimensions[2] != 1 ||
        tensor->dimensions[3] != 1) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: tensor '%s' is %lld x %lld where %lld x %lld is expected",
                         gguf->path, name, (long long)actual_rows, (long long)tensor->dimensions[0], (long long)wanted,
                         (long long)columns);
    }
    if (tensor_type_block((enum tensor_type)tensor->type) == 0)
        return error_set(err, STATUS_UNIMPLEMENTED, "%s: tensor '%s' has the unknown type %u", gguf->path, name,
                         tensor->type);
    *out = (struct tensor_view){
        .data = tensor->data, .type = (enum tensor_type)tensor->type, .rows = wanted, .columns = columns};
    return STATUS_OK;
}
