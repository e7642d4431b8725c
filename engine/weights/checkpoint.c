/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/weights/checkpoint.h"

#include "base/limits.h"
#include "engine/weights/checkpoint_internal.h"
#include "engine/weights/file_map.h"
#include "engine/weights/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    ARENA_BYTES = 1 << 30
}; /* names, lists and the config's tree: bounded by the limits of the files they come from */

/* ---- opening ------------------------------------------------------------------------------------------------------- */

static enum status create(const char *path, enum checkpoint_form form, struct checkpoint **out, struct error *err) {
    struct checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    if (checkpoint == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    checkpoint->form = form;
    arena_init(&checkpoint->arena, ARENA_BYTES);
    checkpoint->path = strdup(path);
    checkpoint->side_files = calloc(1, sizeof *checkpoint->side_files);
    if (checkpoint->side_files != NULL) pthread_mutex_init(&checkpoint->side_files->mutex, NULL);
    if (checkpoint->path == NULL || checkpoint->side_files == NULL) {
        checkpoint_close(checkpoint);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    *out = checkpoint;
    return STATUS_OK;
}

static enum status opened(struct checkpoint *checkpoint, enum status status, struct checkpoint **out) {
    if (status == STATUS_OK)
        *out = checkpoint;
    else
        checkpoint_close(checkpoint);
    return status;
}

enum status checkpoint_of_gguf(const struct gguf *gguf, struct checkpoint **out, struct error *err) {
    struct checkpoint *checkpoint;
    TRY(create(gguf_path(gguf), CHECKPOINT_GGUF, &checkpoint, err));
    return opened(checkpoint, checkpoint_take_gguf(checkpoint, gguf, err), out);
}

/** People name what they downloaded. */
static bool is_part_of_folder(const char *path) {
    static const char *const ends[] = {".safetensors", ".json"};
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t end = strlen(ends[i]);
        if (length > end && strcmp(path + length - end, ends[i]) == 0) return true;
    }
    return false;
}

enum status checkpoint_open(const char *path, struct checkpoint **out, struct error *err) {
    struct checkpoint *checkpoint;
    struct stat facts;
    bool there = stat(path, &facts) == 0, folder = there && S_ISDIR(facts.st_mode);
    if (there && !folder && is_part_of_folder(path))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s is one file of a model: name the folder that it is in",
                         path);
    char snapshot[CHECKPOINT_PATH_BYTES];
    if (folder && checkpoint_hub_snapshot(path, snapshot)) path = snapshot;
    TRY(create(path, folder ? CHECKPOINT_HUGGING_FACE : CHECKPOINT_GGUF, &checkpoint, err));
    return opened(checkpoint, folder ? checkpoint_open_folder(checkpoint, err) : checkpoint_open_gguf(checkpoint, err),
                  out);
}

static void close_side_files(struct side_files *files) {
    if (files == NULL) return;
    while (files->first != NULL) {
        struct side_file *file = files->first;
        files->first = file->next;
        file_map_close(file->map);
        free(file->name);
        free(file);
    }
    pthread_mutex_destroy(&files->mutex);
    free(files);
}

void checkpoint_close(struct checkpoint *checkpoint) {
    if (checkpoint == NULL) return;
    for (size_t i = 0; checkpoint->ggufs_owned && i < checkpoint->gguf_count; i++)
        gguf_close((struct gguf *)checkpoint->ggufs[i]);
    for (size_t i = 0; i < checkpoint->file_count; i++) safetensors_close(checkpoint->files[i]);
    file_map_close(checkpoint->config_map);
    close_side_files(checkpoint->side_files);
    free(checkpoint->pieces);
    free(checkpoint->entries);
    free(checkpoint->by_name);
    arena_deinit(&checkpoint->arena);
    free(checkpoint->path);
    free(checkpoint);
}

/* ---- asking -------------------------------------------------------------------------------------------------------- */

const char *checkpoint_path(const struct checkpoint *checkpoint) {
    return checkpoint->path;
}
enum checkpoint_form checkpoint_form(const struct checkpoint *checkpoint) {
    return checkpoint->form;
}
const struct gguf *checkpoint_gguf(const struct checkpoint *checkpoint) {
    return checkpoint->gguf_count > 0 ? checkpoint->ggufs[0] : NULL;
}
const struct json_value *checkpoint_config(const struct checkpoint *checkpoint) {
    return checkpoint->config;
}

size_t checkpoint_file_bytes(const struct checkpoint *checkpoint) {
    size_t bytes = 0;
    for (size_t i = 0; i < checkpoint->gguf_count; i++) bytes += gguf_file_bytes(checkpoint->ggufs[i]);
    for (size_t i = 0; i < checkpoint->file_count; i++) bytes += safetensors_file_bytes(checkpoint->files[i]);
    return bytes;
}

/** With the mutex held. */
static enum status side_file(const struct checkpoint *checkpoint, const char *name, struct bytes_view *out,
                             struct error *err) {
    struct side_files *files = checkpoint->side_files;
    for (const struct side_file *file = files->first; file != NULL; file = file->next) {
        if (strcmp(file->name, name) == 0) return *out = file->map, STATUS_OK;
    }
    struct bytes_view map;
    struct bytes path;
    bytes_init(&path, 1 << 16);
    enum status status = bytes_printf(&path, "%s/%s", checkpoint->path, name);
    if (status != STATUS_OK)
        status = error_set(err, status, "the path of %s is too long", name);
    else
        status = file_map_open((const char *)path.data, LIMIT_CHECKPOINT_FILE_BYTES, &map, err);
    bytes_deinit(&path);
    if (status != STATUS_OK) return status;
    struct side_file *file = calloc(1, sizeof *file);
    char *copy = strdup(name);
    if (file == NULL || copy == NULL) {
        file_map_close(map);
        free(file);
        free(copy);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    *file = (struct side_file){files->first, copy, map};
    files->first = file;
    *out = map;
    return STATUS_OK;
}

enum status checkpoint_file(const struct checkpoint *checkpoint, const char *name, struct bytes_view *out,
                            struct error *err) {
    if (checkpoint->form == CHECKPOINT_GGUF || strchr(name, '/') != NULL)
        return error_set(err, STATUS_NOT_FOUND, "%s has no %s", checkpoint_path(checkpoint), name);
    pthread_mutex_lock(&checkpoint->side_files->mutex);
    enum status status = side_file(checkpoint, name, out, err);
    pthread_mutex_unlock(&checkpoint->side_files->mutex);
    return status;
}

int64_t checkpoint_tensor_count(const struct checkpoint *checkpoint) {
    return (int64_t)checkpoint->entry_count;
}
const struct checkpoint_tensor *checkpoint_tensor_at(const struct checkpoint *checkpoint, int64_t index) {
    return &checkpoint->entries[index].tensor;
}
int64_t checkpoint_left_out_count(const struct checkpoint *checkpoint) {
    return (int64_t)checkpoint->left_out_count;
}
const struct checkpoint_tensor *checkpoint_left_out_at(const struct checkpoint *checkpoint, int64_t index) {
    return &checkpoint->left_out[index].tensor;
}
int64_t checkpoint_parameters(const struct checkpoint *checkpoint) {
    return checkpoint->parameters;
}

static const struct checkpoint_entry *find(const struct checkpoint *checkpoint, const char *name) {
    size_t low = 0, high = checkpoint->entry_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct checkpoint_entry *entry = &checkpoint->entries[checkpoint->by_name[middle]];
        int order = strcmp(entry->tensor.name, name);
        if (order == 0) return entry;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const struct checkpoint_tensor *checkpoint_tensor(const struct checkpoint *checkpoint, const char *name) {
    const struct checkpoint_entry *entry = find(checkpoint, name);
    return entry != NULL ? &entry->tensor : NULL;
}
bool checkpoint_has(const struct checkpoint *checkpoint, const char *name) {
    return find(checkpoint, name) != NULL;
}

/* ---- matrices ------------------------------------------------------------------------------------------------------ */

/** "8 x 4096 x 14336", slowest first; a vector is "1 x 4096". */
static const char *shape_text(const struct checkpoint_tensor *tensor, char out[128]) {
    size_t length = 0;
    int count = tensor->dimension_count < 2 ? 2 : tensor->dimension_count;
    for (int i = count - 1; i >= 0 && length < 100; i--)
        length += (size_t)snprintf(out + length, 128 - length, "%lld%s", (long long)tensor->dimensions[i],
                                   i > 0 ? " x " : "");
    return out;
}

static enum status find_shaped(const struct checkpoint *checkpoint, const char *name, int64_t experts, int64_t rows,
                               int64_t columns, const struct checkpoint_entry **out, struct error *err) {
    const struct checkpoint_entry *entry = find(checkpoint, name);
    char actual[128], wanted[128];
    if (entry == NULL) return error_set(err, STATUS_NOT_FOUND, "%s: tensor '%s' is missing", checkpoint->path, name);
    const struct checkpoint_tensor *tensor = &entry->tensor;
    struct checkpoint_tensor shape = {.dimension_count = experts > 0 ? 3 : 2, .dimensions = {columns, rows, experts}};
    bool same = tensor->dimensions[0] == columns && tensor->dimensions[1] == rows &&
                tensor->dimensions[2] == (experts > 0 ? experts : 1);
    for (int i = 3; i < CHECKPOINT_DIMENSIONS_MAX; i++) same = same && tensor->dimensions[i] == 1;
    if (!same)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: tensor '%s' is %s where %s is expected", tensor->file, name,
                         shape_text(tensor, actual), shape_text(&shape, wanted));
    if (!tensor->known_type && checkpoint->form == CHECKPOINT_GGUF)
        return error_set(err, STATUS_UNIMPLEMENTED, "%s: tensor '%s' has the unknown type %u (%s)", tensor->file, name,
                         (unsigned)tensor->type, tensor->type_name);
    if (!tensor->known_type)
        return error_set(err, STATUS_UNIMPLEMENTED, "%s: tensor '%s' is %s, which is not supported", tensor->file, name,
                         tensor->type_name);
    *out = entry;
    return STATUS_OK;
}

/** Kernels read whole elements. GGUF aligns its data, and so do all writers of safetensors that we know; the format does not ask for it. */
static enum status view_of(const struct checkpoint_entry *entry, const void *data, int64_t rows, int64_t columns,
                           struct tensor_view *out, struct error *err) {
    enum tensor_type type = entry->tensor.type;
    size_t alignment = type == TENSOR_F32 ? 4 : 2;
    if ((uintptr_t)data % alignment != 0)
        return error_set(err, STATUS_UNIMPLEMENTED, "%s: tensor '%s' does not start at a multiple of %zu bytes",
                         entry->tensor.file, entry->tensor.name, alignment);
    *out = (struct tensor_view){.data = data, .type = type, .rows = rows, .columns = columns};
    return STATUS_OK;
}

enum status checkpoint_matrix(const struct checkpoint *checkpoint, const char *name, int64_t rows, int64_t columns,
                              struct tensor_view *out, struct error *err) {
    const struct checkpoint_entry *entry = NULL;
    if (rows == 0) rows = 1;
    TRY(find_shaped(checkpoint, name, 0, rows, columns, &entry, err));
    return view_of(entry, entry->experts != NULL ? entry->experts[0] : entry->data, rows, columns, out, err);
}

enum status checkpoint_expert(const struct checkpoint *checkpoint, const char *name, int expert, int experts,
                              int64_t rows, int64_t columns, struct tensor_view *out, struct error *err) {
    const struct checkpoint_entry *entry = NULL;
    TRY(find_shaped(checkpoint, name, experts, rows, columns, &entry, err));
    if (expert < 0 || expert >= experts)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: tensor '%s' has no expert %d", entry->tensor.file, name,
                         expert);
    const void *data = entry->experts != NULL ? entry->experts[expert]
                                              : (const char *)entry->data + (size_t)expert * entry->expert_stride;
    return view_of(entry, data, rows, columns, out, err);
}
