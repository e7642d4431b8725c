/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/weights/safetensors.h"

#include "base/json.h"
#include "base/limits.h"
#include "engine/weights/file_map.h"

#include <stdlib.h>
#include <string.h>

enum {
    HEADER_DEPTH = 3,           /* the header's object, a tensor's, its arrays */
    VALUES_PER_TENSOR = 16,     /* its object, dtype, two arrays and what is in them */
    HEADER_BYTES_START = 8,     /* the length */
    ARENA_PER_HEADER_BYTE = 80, /* a value takes at least two bytes of text */
    TENSOR_NAME_BYTES_MAX = 1024,
};

struct safetensors {
    char *path;
    struct bytes_view file;
    bool mapped;
    struct arena arena; /* names that had escapes */
    struct safetensors_tensor *tensors;
    size_t tensor_count;
    size_t *by_name;
};

/** The format's types, with bits per element. */
static const struct dtype {
    const char *name;
    int bits;
    bool known;
    enum tensor_type type;
} dtypes[] = {
    {"F32", 32, true, TENSOR_F32}, {"F16", 16, true, TENSOR_F16}, {"BF16", 16, true, TENSOR_BF16},
    {"F64", 64, false, 0},         {"I64", 64, false, 0},         {"I32", 32, false, 0},
    {"I16", 16, false, 0},         {"I8", 8, false, 0},           {"U64", 64, false, 0},
    {"U32", 32, false, 0},         {"U16", 16, false, 0},         {"U8", 8, false, 0},
    {"BOOL", 8, false, 0},         {"F8_E4M3", 8, false, 0},      {"F8_E5M2", 8, false, 0},
    {"F8_E8M0", 8, false, 0},      {"F8_E4M3FNUZ", 8, false, 0},  {"F8_E5M2FNUZ", 8, false, 0},
    {"F6_E2M3", 6, false, 0},      {"F6_E3M2", 6, false, 0},      {"F4", 4, false, 0},
    {"C64", 64, false, 0},
};

/** A view as a short, printable piece of a message. */
static const char *printable(struct bytes_view view, char out[97]) {
    size_t length = view.length < 96 ? view.length : 96;
    for (size_t i = 0; i < length; i++) out[i] = view.data[i] < 0x20 || view.data[i] >= 0x7f ? '?' : (char)view.data[i];
    out[length] = 0;
    return out;
}

static enum status bad(const struct safetensors *file, const struct safetensors_tensor *tensor, const char *what,
                       struct error *err) {
    char name[97];
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s: tensor '%s' %s", file->path, printable(tensor->name, name),
                     what);
}

/* ---- one tensor ---------------------------------------------------------------------------------------------------- */

static const struct dtype *dtype_of(const struct json_value *value) {
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        if (json_is_string(value, dtypes[i].name)) return &dtypes[i];
    }
    return NULL;
}

/** An array's next number as a count of something. */
static bool read_count(const struct json_value *value, int64_t *out) {
    return value != NULL && json_i64(value, out) && *out >= 0;
}

static enum status read_shape(const struct safetensors *file, const struct json_value *shape,
                              struct safetensors_tensor *tensor, int64_t *out_elements, struct error *err) {
    if (shape == NULL || shape->kind != JSON_KIND_ARRAY) return bad(file, tensor, "has no shape", err);
    if (shape->count > SAFETENSORS_DIMENSIONS_MAX) return bad(file, tensor, "has more than 8 dimensions", err);
    *out_elements = 1;
    for (const struct json_value *size = shape->first; size != NULL; size = size->next) {
        int64_t *dimension = &tensor->dimensions[tensor->dimension_count++];
        if (!read_count(size, dimension) || __builtin_mul_overflow(*out_elements, *dimension, out_elements))
            return bad(file, tensor, "has an impossible shape", err);
    }
    return STATUS_OK;
}

static enum status read_tensor(const struct safetensors *file, const struct json_value *info, struct bytes_view data,
                               struct safetensors_tensor *tensor, struct error *err) {
    int64_t elements = 0, begin, end, bits;
    tensor->name = info->name;
    if (tensor->name.length == 0 || tensor->name.length > TENSOR_NAME_BYTES_MAX ||
        memchr(tensor->name.data, 0, tensor->name.length) != NULL) {
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: a tensor's name of %zu bytes is empty, too long or holds a NUL", file->path,
                         tensor->name.length);
    }
    if (info->kind != JSON_KIND_OBJECT) return bad(file, tensor, "is not described by an object", err);
    const struct dtype *dtype = dtype_of(json_member(info, "dtype"));
    if (dtype == NULL) return bad(file, tensor, "has no dtype, or one that the format does not know", err);
    TRY(read_shape(file, json_member(info, "shape"), tensor, &elements, err));
    const struct json_value *offsets = json_member(info, "data_offsets");
    if (offsets == NULL || offsets->kind != JSON_KIND_ARRAY || offsets->count != 2 ||
        !read_count(offsets->first, &begin) || !read_count(offsets->first->next, &end) || end < begin)
        return bad(file, tensor, "has no data_offsets of two ascending numbers", err);
    if ((uint64_t)end > data.length) {
        char name[97];
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: tensor '%s' ends %llu bytes after the file; is the download complete?", file->path,
                         printable(tensor->name, name), (unsigned long long)((uint64_t)end - data.length));
    }
    if (__builtin_mul_overflow(elements, (int64_t)dtype->bits, &bits) || bits % 8 != 0 || bits / 8 != end - begin)
        return bad(file, tensor, "has a size that is not its shape times its type's", err);
    tensor->dtype = dtype->name;
    tensor->known = dtype->known;
    tensor->type = dtype->type;
    tensor->data = data.data + begin;
    tensor->bytes = (size_t)(end - begin);
    return STATUS_OK;
}

/* ---- all of them --------------------------------------------------------------------------------------------------- */

static int compare_places(const void *a, const void *b) {
    const struct safetensors_tensor *x = a, *y = b;
    if (x->data != y->data) return (const char *)x->data < (const char *)y->data ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return x->name.data < y->name.data ? -1 : 1;
}

static int compare_names(const void *a, const void *b, void *context) {
    const struct safetensors *file = context;
    return bytes_view_compare(file->tensors[*(const size_t *)a].name, file->tensors[*(const size_t *)b].name);
}

/** The format's rule: one behind the other, from the first byte of the data to the last of the file. */
static enum status check_cover(const struct safetensors *file, struct bytes_view data, struct error *err) {
    const uint8_t *at = data.data;
    for (size_t i = 0; i < file->tensor_count; i++) {
        const struct safetensors_tensor *tensor = &file->tensors[i];
        if ((const uint8_t *)tensor->data < at) return bad(file, tensor, "overlaps the one before it", err);
        if ((const uint8_t *)tensor->data > at) return bad(file, tensor, "leaves a hole before it", err);
        at += tensor->bytes;
    }
    if (at == data.data + data.length) return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %zu bytes behind the last tensor belong to none", file->path,
                     (size_t)(data.data + data.length - at));
}

static enum status read_tensors(struct safetensors *file, const struct json_value *header, struct bytes_view data,
                                struct error *err) {
    size_t count = header->count;
    if (count > LIMIT_SAFETENSORS_TENSORS)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s has %zu tensors, more than %d", file->path, count,
                         LIMIT_SAFETENSORS_TENSORS);
    file->tensors = calloc(count + 1, sizeof *file->tensors);
    file->by_name = calloc(count + 1, sizeof *file->by_name);
    if (file->tensors == NULL || file->by_name == NULL)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (const struct json_value *info = header->first; info != NULL; info = info->next) {
        if (bytes_view_equal_string(info->name, "__metadata__")) continue;
        TRY(read_tensor(file, info, data, &file->tensors[file->tensor_count], err));
        file->tensor_count++;
    }
    qsort(file->tensors, file->tensor_count, sizeof *file->tensors, compare_places);
    for (size_t i = 0; i < file->tensor_count; i++) file->by_name[i] = i;
    qsort_r(file->by_name, file->tensor_count, sizeof *file->by_name, compare_names, file);
    return check_cover(file, data, err);
}

static enum status read_header(struct safetensors *file, struct bytes_view text, struct json_value **out,
                               struct error *err) {
    struct json_problem problem;
    char name[97];
    enum status status = json_read(text, HEADER_DEPTH, (int64_t)LIMIT_SAFETENSORS_TENSORS * VALUES_PER_TENSOR,
                                   &file->arena, out, &problem);
    if (status == STATUS_RESOURCE_EXHAUSTED)
        return error_set(err, status, "%s: its header takes too much memory", file->path);
    if (status != STATUS_OK && problem.duplicate != NULL)
        return error_set(err, status, "%s: '%s' stands twice in the header", file->path,
                         printable(problem.duplicate->name, name));
    if (status != STATUS_OK)
        return error_set(err, status, "%s: the header is not JSON: %s (byte %zu)", file->path, problem.reason,
                         problem.offset);
    if ((*out)->kind != JSON_KIND_OBJECT)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: the header is no JSON object", file->path);
    return STATUS_OK;
}

static enum status parse(struct safetensors *file, struct error *err) {
    uint64_t header_bytes;
    struct json_value *header = NULL;
    if (file->file.length < HEADER_BYTES_START)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s is not a safetensors file (%zu bytes)", file->path,
                         file->file.length);
    memcpy(&header_bytes, file->file.data, sizeof header_bytes);
    if (header_bytes > LIMIT_SAFETENSORS_HEADER_BYTES)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s is not a safetensors file, or claims a header of %llu bytes (at most %d)", file->path,
                         (unsigned long long)header_bytes, LIMIT_SAFETENSORS_HEADER_BYTES);
    if (header_bytes > file->file.length - HEADER_BYTES_START)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: the file ends inside its header (%llu of %zu bytes); is the download complete?",
                         file->path, (unsigned long long)header_bytes, file->file.length);
    struct bytes_view text = bytes_view_of(file->file.data + HEADER_BYTES_START, header_bytes);
    if (text.length == 0 || text.data[0] != '{')
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s is not a safetensors file: its header is no JSON object",
                         file->path);
    arena_init(&file->arena, 65536 + header_bytes * ARENA_PER_HEADER_BYTE);
    TRY(read_header(file, text, &header, err));
    struct bytes_view data =
        bytes_view_of(text.data + text.length, file->file.length - HEADER_BYTES_START - header_bytes);
    return read_tensors(file, header, data, err);
}

/* ---- opening and asking -------------------------------------------------------------------------------------------- */

enum status safetensors_open_memory(const void *data, size_t length, const char *name, struct safetensors **out,
                                    struct error *err) {
    struct safetensors *file = calloc(1, sizeof *file);
    if (file == NULL || (file->path = strdup(name)) == NULL) {
        free(file);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    file->file = bytes_view_of(data, length);
    enum status status = parse(file, err);
    if (status != STATUS_OK)
        safetensors_close(file);
    else
        *out = file;
    return status;
}

enum status safetensors_open(const char *path, struct safetensors **out, struct error *err) {
    struct bytes_view map;
    struct safetensors *file = NULL;
    TRY(file_map_open(path, SIZE_MAX, &map, err));
    enum status status = safetensors_open_memory(map.data, map.length, path, &file, err);
    if (status != STATUS_OK) {
        file_map_close(map);
        return status;
    }
    file->mapped = true;
    *out = file;
    return STATUS_OK;
}

void safetensors_close(struct safetensors *file) {
    if (file == NULL) return;
    arena_deinit(&file->arena);
    free(file->tensors);
    free(file->by_name);
    if (file->mapped) file_map_close(file->file);
    free(file->path);
    free(file);
}

const char *safetensors_path(const struct safetensors *file) {
    return file->path;
}
size_t safetensors_file_bytes(const struct safetensors *file) {
    return file->file.length;
}
int64_t safetensors_tensor_count(const struct safetensors *file) {
    return (int64_t)file->tensor_count;
}
const struct safetensors_tensor *safetensors_tensor_at(const struct safetensors *file, int64_t index) {
    return &file->tensors[index];
}

const struct safetensors_tensor *safetensors_tensor(const struct safetensors *file, struct bytes_view name) {
    size_t low = 0, high = file->tensor_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct safetensors_tensor *tensor = &file->tensors[file->by_name[middle]];
        int order = bytes_view_compare(tensor->name, name);
        if (order == 0) return tensor;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
