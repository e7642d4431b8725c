/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/limits.h"
#include "engine/weights/gguf_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    GGUF_MAGIC = 0x46554747,
    ALIGNMENT_DEFAULT = 32,
    ALIGNMENT_MAX = 1 << 16,
    KEY_BYTES_MAX = 65535,
    TENSOR_NAME_BYTES_MAX = 1024,
    METADATA_BYTES_MIN = 8 + 1 + 4 + 1, /* key, type, value: bounds a count by the file before anything is allocated */
    TENSOR_BYTES_MIN = 8 + 1 + 4 + 8 + 4 + 8, /* name, dimension count, one dimension, type, offset */
};

/** A place in the file. Reading past the end fails once and for all. */
struct cursor {
    struct gguf *gguf;
    size_t at;
};

/* ---- reading with bounds ------------------------------------------------------------------------------------------- */

static enum status cut(const struct gguf *gguf, const char *what, struct error *err) {
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s: the file ends inside %s (%zu bytes); is the download complete?",
                     gguf->path, what, gguf->length);
}

static enum status take(struct cursor *cursor, size_t bytes, const uint8_t **out, const char *what, struct error *err) {
    if (bytes > cursor->gguf->length - cursor->at) return cut(cursor->gguf, what, err);
    *out = cursor->gguf->data + cursor->at;
    cursor->at += bytes;
    return STATUS_OK;
}

static enum status read_u32(struct cursor *cursor, uint32_t *out, const char *what, struct error *err) {
    const uint8_t *bytes = NULL;
    TRY(take(cursor, 4, &bytes, what, err));
    memcpy(out, bytes, 4);
    return STATUS_OK;
}

static enum status read_u64(struct cursor *cursor, uint64_t *out, const char *what, struct error *err) {
    const uint8_t *bytes = NULL;
    TRY(take(cursor, 8, &bytes, what, err));
    memcpy(out, bytes, 8);
    return STATUS_OK;
}

static enum status read_string(struct cursor *cursor, struct bytes_view *out, const char *what, struct error *err) {
    uint64_t length = 0;
    const uint8_t *bytes = NULL;
    TRY(read_u64(cursor, &length, what, err));
    if (length > LIMIT_GGUF_STRING_BYTES)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: a string of %llu bytes in %s", cursor->gguf->path,
                         (unsigned long long)length, what);
    TRY(take(cursor, length, &bytes, what, err));
    *out = bytes_view_of(bytes, length);
    return STATUS_OK;
}

/* ---- metadata ------------------------------------------------------------------------------------------------------ */

size_t gguf_scalar_bytes(enum gguf_type type) {
    switch (type) {
    case GGUF_U8:
    case GGUF_I8:
    case GGUF_BOOL:
        return 1;
    case GGUF_U16:
    case GGUF_I16:
        return 2;
    case GGUF_U32:
    case GGUF_I32:
    case GGUF_F32:
        return 4;
    case GGUF_U64:
    case GGUF_I64:
    case GGUF_F64:
        return 8;
    default:
        return 0;
    }
}

/** A view as a short, printable piece of a message: names are ASCII in honest files. */
static const char *printable(struct bytes_view view, char out[65]) {
    size_t length = view.length < 64 ? view.length : 64;
    for (size_t i = 0; i < length; i++) out[i] = view.data[i] < 0x20 || view.data[i] >= 0x7f ? '?' : (char)view.data[i];
    out[length] = 0;
    return out;
}

static enum status read_string_array(struct cursor *cursor, struct gguf_array *array, struct error *err) {
    const uint8_t *start = cursor->gguf->data + cursor->at;
    uint64_t *offsets = malloc(((size_t)array->count + 1) * sizeof *offsets);
    if (offsets == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    array->offsets = offsets; /* freed with the metadata, also on failure */
    for (int64_t i = 0; i < array->count; i++) {
        struct bytes_view string;
        offsets[i] = (uint64_t)(cursor->gguf->data + cursor->at - start);
        TRY(read_string(cursor, &string, "an array of strings", err));
    }
    array->data = start;
    return STATUS_OK;
}

static enum status read_array(struct cursor *cursor, struct gguf_entry *entry, struct error *err) {
    char key[65];
    uint32_t element = 0;
    uint64_t count = 0;
    TRY(read_u32(cursor, &element, "an array's type", err));
    TRY(read_u64(cursor, &count, "an array's length", err));
    size_t each = gguf_scalar_bytes((enum gguf_type)element);
    if (each == 0 && element != GGUF_STRING)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%s' is an array of type %u (nested or unknown)",
                         cursor->gguf->path, printable(entry->key, key), element);
    /* Every element takes at least `least` bytes, so the count is bounded by the file before anything is allocated. */
    size_t least = element == GGUF_STRING ? 8 : each;
    if (count > LIMIT_GGUF_ARRAY_ELEMENTS || count > (cursor->gguf->length - cursor->at) / least) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%s' claims %llu elements, more than the file holds",
                         cursor->gguf->path, printable(entry->key, key), (unsigned long long)count);
    }
    entry->array = (struct gguf_array){.element = (enum gguf_type)element, .count = (int64_t)count};
    if (element == GGUF_STRING) return read_string_array(cursor, &entry->array, err);
    const uint8_t *bytes = NULL;
    TRY(take(cursor, count * each, &bytes, "an array", err));
    entry->array.data = bytes;
    for (uint64_t i = 0; element == GGUF_BOOL && i < count; i++) {
        if (bytes[i] > 1)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%s' holds a boolean of %d", cursor->gguf->path,
                             printable(entry->key, key), bytes[i]);
    }
    return STATUS_OK;
}

static enum status read_metadata_entry(struct cursor *cursor, struct gguf_entry *entry, struct error *err) {
    char key[65];
    uint32_t type = 0;
    TRY(read_string(cursor, &entry->key, "a metadata key", err));
    if (entry->key.length == 0 || entry->key.length > KEY_BYTES_MAX ||
        memchr(entry->key.data, 0, entry->key.length) != NULL) {
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: a metadata key of %zu bytes is empty, too long or holds a NUL", cursor->gguf->path,
                         entry->key.length);
    }
    TRY(read_u32(cursor, &type, "a metadata type", err));
    entry->type = (enum gguf_type)type;
    entry->value = cursor->gguf->data + cursor->at;
    if (type == GGUF_ARRAY) return read_array(cursor, entry, err);
    struct bytes_view string;
    if (type == GGUF_STRING) return read_string(cursor, &string, "a metadata string", err);
    size_t bytes = gguf_scalar_bytes(entry->type);
    if (bytes == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%s' has the unknown type %u", cursor->gguf->path,
                         printable(entry->key, key), type);
    const uint8_t *value = NULL;
    TRY(take(cursor, bytes, &value, "a metadata value", err));
    if (type == GGUF_BOOL && *value > 1)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%s' is a boolean of %d", cursor->gguf->path,
                         printable(entry->key, key), *value);
    return STATUS_OK;
}

static int compare_metadata(const void *a, const void *b) {
    return bytes_view_compare(((const struct gguf_entry *)a)->key, ((const struct gguf_entry *)b)->key);
}

static enum status read_metadata(struct cursor *cursor, size_t count, struct error *err) {
    struct gguf *gguf = cursor->gguf;
    gguf->metadata = calloc(count + 1, sizeof *gguf->metadata);
    if (gguf->metadata == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (; gguf->metadata_count < count; gguf->metadata_count++) {
        struct gguf_entry *entry = &gguf->metadata[gguf->metadata_count];
        enum status status = read_metadata_entry(cursor, entry, err);
        if (status == STATUS_OK) entry->value_bytes = (size_t)(gguf->data + cursor->at - entry->value);
        if (status != STATUS_OK) {
            gguf->metadata_count++; /* so that its array's index is freed */
            return status;
        }
    }
    qsort(gguf->metadata, count, sizeof *gguf->metadata, compare_metadata);
    for (size_t i = 1; i < count; i++) {
        char key[65];
        if (bytes_view_equal(gguf->metadata[i].key, gguf->metadata[i - 1].key))
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: the key '%s' stands there twice", gguf->path,
                             printable(gguf->metadata[i].key, key));
    }
    return STATUS_OK;
}

/* ---- tensors ------------------------------------------------------------------------------------------------------- */

static enum status read_tensor_info(struct cursor *cursor, struct gguf_tensor *tensor, uint64_t *out_offset,
                                    struct error *err) {
    char name[65];
    uint32_t dimensions = 0;
    TRY(read_string(cursor, &tensor->name, "a tensor's name", err));
    if (tensor->name.length == 0 || tensor->name.length > TENSOR_NAME_BYTES_MAX ||
        memchr(tensor->name.data, 0, tensor->name.length) != NULL) {
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: a tensor's name of %zu bytes is empty, too long or holds a NUL", cursor->gguf->path,
                         tensor->name.length);
    }
    printable(tensor->name, name);
    TRY(read_u32(cursor, &dimensions, "a tensor's dimensions", err));
    if (dimensions < 1 || dimensions > 4)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: tensor '%s' has %u dimensions", cursor->gguf->path, name,
                         dimensions);
    tensor->dimension_count = (int)dimensions;
    int64_t elements = 1;
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t size = 1;
        if (i < dimensions) TRY(read_u64(cursor, &size, "a tensor's dimensions", err));
        tensor->dimensions[i] = (int64_t)size;
        if (size == 0 || size > INT64_MAX || __builtin_mul_overflow(elements, (int64_t)size, &elements)) {
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: tensor '%s' has an impossible dimension of %llu",
                             cursor->gguf->path, name, (unsigned long long)size);
        }
    }
    TRY(read_u32(cursor, &tensor->type, "a tensor's type", err));
    TRY(read_u64(cursor, out_offset, "a tensor's offset", err));
    return STATUS_OK;
}

/** Size and place of the data. Of a type we do not know only the start is checked: its size is unknown. */
static enum status place_tensor(const struct gguf *gguf, struct gguf_tensor *tensor, uint64_t offset, size_t data_start,
                                size_t alignment, struct error *err) {
    char name[65];
    printable(tensor->name, name);
    if (offset % alignment != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: tensor '%s' starts at %llu, not aligned to %zu", gguf->path,
                         name, (unsigned long long)offset, alignment);
    if (offset > gguf->length - data_start) {
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: tensor '%s' starts %llu bytes after the file's end; is the download complete?",
                         gguf->path, name, (unsigned long long)(offset - (gguf->length - data_start)));
    }
    tensor->data = gguf->data + data_start + offset;
    enum tensor_type type = (enum tensor_type)tensor->type;
    if (tensor_type_block(type) == 0) return STATUS_OK;
    size_t row = tensor_type_row_bytes(type, tensor->dimensions[0]), bytes = row;
    bool overflow = row == 0;
    if (overflow)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: tensor '%s' has rows of %lld, not a multiple of %d (%s)",
                         gguf->path, name, (long long)tensor->dimensions[0], tensor_type_block(type),
                         tensor_type_name(type));
    for (int i = 1; i < 4; i++)
        overflow = overflow || __builtin_mul_overflow(bytes, (size_t)tensor->dimensions[i], &bytes);
    size_t room = gguf->length - data_start - offset;
    if (overflow || bytes > room) {
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: tensor '%s' ends %zu bytes after the file; is the download complete?", gguf->path, name,
                         overflow ? SIZE_MAX : bytes - room);
    }
    tensor->bytes = bytes;
    return STATUS_OK;
}

static int compare_names(const void *a, const void *b, void *context) {
    const struct gguf *gguf = context;
    return bytes_view_compare(gguf->tensors[*(const size_t *)a].name, gguf->tensors[*(const size_t *)b].name);
}

static int compare_places(const void *a, const void *b, void *context) {
    const struct gguf *gguf = context;
    const char *x = gguf->tensors[*(const size_t *)a].data, *y = gguf->tensors[*(const size_t *)b].data;
    if (x != y) return x > y ? 1 : -1;
    /* Of an unknown type the size is unknown and taken for 0: it goes before a tensor at the same place. */
    size_t x_bytes = gguf->tensors[*(const size_t *)a].bytes, y_bytes = gguf->tensors[*(const size_t *)b].bytes;
    return (x_bytes > y_bytes) - (x_bytes < y_bytes);
}

static enum status check_names_and_overlap(struct gguf *gguf, struct error *err) {
    char name[65], other[65];
    for (size_t i = 0; i < gguf->tensor_count; i++) gguf->by_name[i] = i;
    qsort_r(gguf->by_name, gguf->tensor_count, sizeof *gguf->by_name, compare_places, gguf);
    for (size_t i = 1; i < gguf->tensor_count; i++) {
        const struct gguf_tensor *before = &gguf->tensors[gguf->by_name[i - 1]],
                                 *tensor = &gguf->tensors[gguf->by_name[i]];
        if ((const char *)before->data + before->bytes > (const char *)tensor->data) {
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: tensors '%s' and '%s' overlap", gguf->path,
                             printable(before->name, name), printable(tensor->name, other));
        }
    }
    qsort_r(gguf->by_name, gguf->tensor_count, sizeof *gguf->by_name, compare_names, gguf);
    for (size_t i = 1; i < gguf->tensor_count; i++) {
        struct bytes_view this = gguf->tensors[gguf->by_name[i]].name;
        if (bytes_view_equal(this, gguf->tensors[gguf->by_name[i - 1]].name))
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: tensor '%s' stands there twice", gguf->path,
                             printable(this, name));
    }
    return STATUS_OK;
}

static enum status read_tensors(struct cursor *cursor, size_t count, struct error *err) {
    struct gguf *gguf = cursor->gguf;
    enum status status = STATUS_OK;
    uint64_t alignment = ALIGNMENT_DEFAULT;
    if (gguf_has(gguf, "general.alignment") && !gguf_u64(gguf, "general.alignment", &alignment)) alignment = 0;
    if (alignment < 8 || alignment > ALIGNMENT_MAX || (alignment & (alignment - 1)) != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: general.alignment is not a power of two from 8 to %d",
                         gguf->path, ALIGNMENT_MAX);
    gguf->tensors = calloc(count + 1, sizeof *gguf->tensors);
    gguf->by_name = calloc(count + 1, sizeof *gguf->by_name);
    uint64_t *offsets = calloc(count + 1, sizeof *offsets);
    if (gguf->tensors == NULL || gguf->by_name == NULL || offsets == NULL)
        status = error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (; status == STATUS_OK && gguf->tensor_count < count; gguf->tensor_count++) {
        status = read_tensor_info(cursor, &gguf->tensors[gguf->tensor_count], &offsets[gguf->tensor_count], err);
    }
    size_t data_start = (cursor->at + alignment - 1) / alignment * alignment;
    if (status == STATUS_OK && count > 0 && data_start > gguf->length) status = cut(gguf, "the tensor list", err);
    for (size_t i = 0; status == STATUS_OK && i < count; i++)
        status = place_tensor(gguf, &gguf->tensors[i], offsets[i], data_start, alignment, err);
    free(offsets);
    if (status != STATUS_OK) return status;
    return check_names_and_overlap(gguf, err);
}

/* ---- the whole file ------------------------------------------------------------------------------------------------- */

enum status gguf_parse(struct gguf *gguf, struct error *err) {
    struct cursor cursor = {.gguf = gguf};
    uint32_t magic = 0, version = 0;
    uint64_t tensors = 0, metadata = 0;
    if (gguf->length < 4 || (memcpy(&magic, gguf->data, 4), magic != GGUF_MAGIC))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s is not a GGUF file", gguf->path);
    cursor.at = 4;
    TRY(read_u32(&cursor, &version, "the header", err));
    if (version != 2 && version != 3) {
        bool swapped = version == 0x02000000 || version == 0x03000000;
        return error_set(err, STATUS_UNIMPLEMENTED,
                         swapped ? "%s: big-endian GGUF is not supported"
                                 : "%s: GGUF version %u is not supported (2 and 3 are)",
                         gguf->path, version);
    }
    TRY(read_u64(&cursor, &tensors, "the header", err));
    TRY(read_u64(&cursor, &metadata, "the header", err));
    if (tensors > LIMIT_GGUF_TENSORS || metadata > LIMIT_GGUF_METADATA) {
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s claims %llu tensors and %llu metadata entries (at most %d and %d)", gguf->path,
                         (unsigned long long)tensors, (unsigned long long)metadata, LIMIT_GGUF_TENSORS,
                         LIMIT_GGUF_METADATA);
    }
    size_t room = gguf->length - cursor.at;
    if (metadata > room / METADATA_BYTES_MIN || tensors > (room - metadata * METADATA_BYTES_MIN) / TENSOR_BYTES_MIN)
        return cut(gguf, "the header's lists", err);
    TRY(read_metadata(&cursor, metadata, err));
    gguf->metadata_whole = true;
    return read_tensors(&cursor, tensors, err);
}
