/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/weights/checkpoint.h"

#include "engine/weights/gguf.h"

#include <stdlib.h>
#include <sys/stat.h>

struct checkpoint {
    enum checkpoint_form form;
    struct gguf *owned;
    const struct gguf *gguf;
    int64_t parameters;
};

static void count_parameters(struct checkpoint *checkpoint) {
    for (int64_t i = 0; i < gguf_tensor_count(checkpoint->gguf); i++) {
        const int64_t *extents = gguf_tensor_at(checkpoint->gguf, i)->dimensions;
        checkpoint->parameters += extents[0] * extents[1] * extents[2] * extents[3];
    }
}

enum status checkpoint_of_gguf(const struct gguf *gguf, struct checkpoint **out, struct error *err) {
    struct checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    if (checkpoint == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    *checkpoint = (struct checkpoint){.form = CHECKPOINT_GGUF, .gguf = gguf};
    count_parameters(checkpoint);
    *out = checkpoint;
    return STATUS_OK;
}

enum status checkpoint_open(const char *path, struct checkpoint **out, struct error *err) {
    struct stat stat_of;
    if (stat(path, &stat_of) == 0 && S_ISDIR(stat_of.st_mode))
        return error_set(err, STATUS_UNIMPLEMENTED, "%s is a folder; model files are read as GGUF only", path);
    struct gguf *gguf;
    TRY(gguf_open(path, &gguf, err));
    enum status status = checkpoint_of_gguf(gguf, out, err);
    if (status != STATUS_OK)
        gguf_close(gguf);
    else
        (*out)->owned = gguf;
    return status;
}

void checkpoint_close(struct checkpoint *checkpoint) {
    if (checkpoint == NULL) return;
    gguf_close(checkpoint->owned);
    free(checkpoint);
}

const char *checkpoint_path(const struct checkpoint *checkpoint) {
    return gguf_path(checkpoint->gguf);
}

enum checkpoint_form checkpoint_form(const struct checkpoint *checkpoint) {
    return checkpoint->form;
}

const struct gguf *checkpoint_gguf(const struct checkpoint *checkpoint) {
    return checkpoint->gguf;
}

const struct json_value *checkpoint_config(const struct checkpoint *checkpoint) {
    return (void)checkpoint, NULL;
}

enum status checkpoint_file(const struct checkpoint *checkpoint, const char *name, struct bytes_view *out,
                            struct error *err) {
    (void)out;
    return error_set(err, STATUS_NOT_FOUND, "%s has no %s", checkpoint_path(checkpoint), name);
}

int64_t checkpoint_tensor_count(const struct checkpoint *checkpoint) {
    return gguf_tensor_count(checkpoint->gguf);
}

int64_t checkpoint_parameters(const struct checkpoint *checkpoint) {
    return checkpoint->parameters;
}

bool checkpoint_has(const struct checkpoint *checkpoint, const char *name) {
    return gguf_tensor(checkpoint->gguf, name) != NULL;
}

enum status checkpoint_matrix(const struct checkpoint *checkpoint, const char *name, int64_t rows, int64_t columns,
                              struct tensor_view *out, struct error *err) {
    return gguf_matrix(checkpoint->gguf, name, rows, columns, out, err);
}

enum status checkpoint_expert(const struct checkpoint *checkpoint, const char *name, int expert, int experts,
                              int64_t rows, int64_t columns, struct tensor_view *out, struct error *err) {
    const struct gguf_tensor *tensor = gguf_tensor(checkpoint->gguf, name);
    if (tensor == NULL)
        return error_set(err, STATUS_NOT_FOUND, "%s: tensor '%s' is missing", checkpoint_path(checkpoint), name);
    const int64_t *extents = tensor->dimensions;
    if (extents[0] != columns || extents[1] != rows || extents[2] != experts || extents[3] != 1)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: tensor '%s' is %lld x %lld x %lld where %d x %lld x %lld is expected",
                         checkpoint_path(checkpoint), name, (long long)extents[2], (long long)extents[1],
                         (long long)extents[0], experts, (long long)rows, (long long)columns);
    size_t row_bytes = tensor_type_row_bytes((enum tensor_type)tensor->type, columns);
    if (row_bytes == 0)
        return error_set(err, STATUS_UNIMPLEMENTED, "%s: tensor '%s' has the unknown type %u",
                         checkpoint_path(checkpoint), name, tensor->type);
    *out = (struct tensor_view){.data = (const char *)tensor->data + (size_t)expert * (size_t)rows * row_bytes,
                                .type = (enum tensor_type)tensor->type,
                                .rows = rows,
                                .columns = columns};
    return STATUS_OK;
}
