/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Folders behind the checkpoint: which files a Hugging Face or native Mistral model consists of, and their tensors as pieces. */
#include "base/json.h"
#include "base/limits.h"
#include "engine/weights/checkpoint_internal.h"
#include "engine/weights/checkpoint_names.h"
#include "engine/weights/file_map.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { JSON_VALUES_MAX = 4 << 20, HUB_COMMIT_BYTES = 64 };

static enum status out_of_memory(struct error *err) {
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
}

static char *path_in(struct checkpoint *checkpoint, const char *name) {
    size_t length = strlen(checkpoint->path);
    bool slash = length > 0 && checkpoint->path[length - 1] == '/';
    return arena_printf(&checkpoint->arena, "%s%s%s", checkpoint->path, slash ? "" : "/", name);
}

static bool is_there(struct checkpoint *checkpoint, const char *name) {
    const char *path = path_in(checkpoint, name);
    struct stat facts; /* a link into nothing is there, for opening it says what is wrong */
    return path != NULL && lstat(path, &facts) == 0;
}

enum status checkpoint_read_json(const char *path, struct arena *arena, struct bytes_view *out_map,
                                 struct json_value **out, struct error *err) {
    struct bytes_view map;
    struct json_problem problem;
    TRY(file_map_open(path, LIMIT_CHECKPOINT_JSON_BYTES, &map, err));
    enum status status = json_read(map, LIMIT_JSON_DEPTH, JSON_VALUES_MAX, arena, out, &problem);
    if (status == STATUS_RESOURCE_EXHAUSTED)
        status = error_set(err, status, "%s takes too much memory", path);
    else if (status != STATUS_OK)
        status = error_set(err, status, "%s is not JSON: %s (byte %zu)", path, problem.reason, problem.offset);
    else if ((*out)->kind != JSON_KIND_OBJECT)
        status = error_set(err, STATUS_INVALID_ARGUMENT, "%s is no JSON object", path);
    if (status != STATUS_OK)
        file_map_close(map);
    else
        *out_map = map;
    return status;
}

/* ---- shards -------------------------------------------------------------------------------------------------------- */

static enum status reserve_files(struct checkpoint *checkpoint, size_t count, struct error *err) {
    checkpoint->files = arena_alloc_array(&checkpoint->arena, count, sizeof *checkpoint->files);
    return checkpoint->files != NULL ? STATUS_OK : out_of_memory(err);
}

static enum status open_file(struct checkpoint *checkpoint, const char *name, struct error *err) {
    const char *path = path_in(checkpoint, name);
    if (path == NULL) return out_of_memory(err);
    TRY(safetensors_open(path, &checkpoint->files[checkpoint->file_count], err));
    checkpoint->file_count++;
    return STATUS_OK;
}

/** A file name of the index: in this folder, and safetensors. */
static bool is_shard_name(struct bytes_view name) {
    static const char suffix[] = ".safetensors";
    size_t length = sizeof suffix - 1;
    return name.length > length && name.length <= 255 && name.data[0] != '.' &&
           memchr(name.data, '/', name.length) == NULL && memchr(name.data, 0, name.length) == NULL &&
           memcmp(name.data + name.length - length, suffix, length) == 0;
}

/** Number of the file in `names`, which gets it when it is new; -1 when there are too many. Indexes list a file's tensors together. */
static int shard_number(struct bytes_view *names, size_t *count, int last, struct bytes_view name) {
    if (last >= 0 && bytes_view_equal(names[last], name)) return last;
    for (size_t i = 0; i < *count; i++) {
        if (bytes_view_equal(names[i], name)) return (int)i;
    }
    if (*count == LIMIT_SHARDS) return -1;
    names[*count] = name;
    return (int)(*count)++;
}

static enum status open_named(struct checkpoint *checkpoint, const char *path, const struct json_value *map,
                              struct bytes_view *names, struct error *err) {
    size_t count = 0;
    int number = -1;
    for (const struct json_value *entry = map->first; entry != NULL; entry = entry->next) {
        if (entry->kind != JSON_KIND_STRING || !is_shard_name(entry->string))
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%.*s' is in no .safetensors file of this folder", path,
                             (int)(entry->name.length < 64 ? entry->name.length : 64), (const char *)entry->name.data);
        number = shard_number(names, &count, number, entry->string);
        if (number < 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s names more than %d files", path, LIMIT_SHARDS);
    }
    TRY(reserve_files(checkpoint, count + 1, err));
    for (size_t i = 0; i < count; i++) {
        const char *name = arena_copy(&checkpoint->arena, names[i].data, names[i].length);
        if (name == NULL) return out_of_memory(err);
        TRY(open_file(checkpoint, name, err));
    }
    for (const struct json_value *entry = map->first; entry != NULL; entry = entry->next) {
        number = shard_number(names, &count, number, entry->string);
        const struct safetensors *file = checkpoint->files[number];
        if (safetensors_tensor(file, entry->name) == NULL)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: tensor '%.*s' is not there, where the index puts it",
                             safetensors_path(file), (int)(entry->name.length < 96 ? entry->name.length : 96),
                             (const char *)entry->name.data);
    }
    return STATUS_OK;
}

static enum status open_by_index(struct checkpoint *checkpoint, const char *index, struct error *err) {
    struct arena arena;
    struct bytes_view map = {0};
    struct json_value *root = NULL;
    const char *path = path_in(checkpoint, index);
    struct bytes_view *names = calloc(LIMIT_SHARDS, sizeof *names);
    arena_init(&arena, (size_t)LIMIT_CHECKPOINT_JSON_BYTES * 8);
    enum status status = path != NULL && names != NULL ? STATUS_OK : out_of_memory(err);
    if (status == STATUS_OK) status = checkpoint_read_json(path, &arena, &map, &root, err);
    if (status == STATUS_OK) {
        const struct json_value *weights = json_member(root, "weight_map");
        status = weights != NULL && weights->kind == JSON_KIND_OBJECT && weights->count > 0
                     ? open_named(checkpoint, path, weights, names, err)
                     : error_set(err, STATUS_INVALID_ARGUMENT, "%s has no weight_map", path);
    }
    file_map_close(map);
    arena_deinit(&arena);
    free(names);
    return status;
}

/** consolidated-00001-of-0000n.safetensors; `out_count` gets n of the first found, 0 when there is none. */
static enum status count_consolidated(struct checkpoint *checkpoint, int *out_count, struct error *err) {
    DIR *folder = opendir(checkpoint->path);
    *out_count = 0;
    if (folder == NULL) return error_set(err, STATUS_INVALID_ARGUMENT, "%s cannot be listed", checkpoint->path);
    for (const struct dirent *entry; *out_count == 0 && (entry = readdir(folder)) != NULL;) {
        int number, count, end = 0;
        if (sscanf(entry->d_name, "consolidated-%5d-of-%5d.safetensors%n", &number, &count, &end) == 2 && end > 0 &&
            entry->d_name[end] == 0 && count >= 1 && count <= LIMIT_SHARDS)
            *out_count = count;
    }
    closedir(folder);
    return STATUS_OK;
}

static enum status open_consolidated(struct checkpoint *checkpoint, int count, struct error *err) {
    TRY(reserve_files(checkpoint, (size_t)count, err));
    for (int i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof name, "consolidated-%05d-of-%05d.safetensors", i + 1, count);
        TRY(open_file(checkpoint, name, err));
    }
    return STATUS_OK;
}

static enum status open_single(struct checkpoint *checkpoint, const char *name, struct error *err) {
    TRY(reserve_files(checkpoint, 1, err));
    return open_file(checkpoint, name, err);
}

/* ---- where Hugging Face's hub keeps it ------------------------------------------------------------------------------ */

/** The commit that refs/main names: a word. */
static bool read_main(const char *folder, char out[HUB_COMMIT_BYTES + 1]) {
    char path[CHECKPOINT_PATH_BYTES];
    if (snprintf(path, sizeof path, "%s/refs/main", folder) >= (int)sizeof path) return false;
    FILE *file = fopen(path, "re");
    if (file == NULL) return false;
    size_t length = fread(out, 1, HUB_COMMIT_BYTES, file);
    fclose(file);
    out[length] = 0;
    out[strspn(out, "0123456789abcdef")] = 0;
    return out[0] != 0;
}

bool checkpoint_hub_snapshot(const char *folder, char out[CHECKPOINT_PATH_BYTES]) {
    char commit[HUB_COMMIT_BYTES + 1];
    struct stat facts;
    return read_main(folder, commit) &&
           snprintf(out, CHECKPOINT_PATH_BYTES, "%s/snapshots/%s", folder, commit) < CHECKPOINT_PATH_BYTES &&
           stat(out, &facts) == 0 && S_ISDIR(facts.st_mode);
}

/* ---- which form ---------------------------------------------------------------------------------------------------- */

static bool has_pickle(struct checkpoint *checkpoint) {
    bool found = false;
    DIR *folder = opendir(checkpoint->path);
    if (folder == NULL) return false;
    for (const struct dirent *entry; !found && (entry = readdir(folder)) != NULL;) {
        const char *dot = strrchr(entry->d_name, '.');
        found = dot != NULL && (strcmp(dot, ".bin") == 0 || strcmp(dot, ".pth") == 0 || strcmp(dot, ".pt") == 0);
    }
    closedir(folder);
    return found;
}

static enum status open_files(struct checkpoint *checkpoint, struct error *err) {
    bool config = is_there(checkpoint, "config.json"), params = is_there(checkpoint, "params.json");
    int consolidated = 0;
    checkpoint->form = CHECKPOINT_HUGGING_FACE;
    if (config && is_there(checkpoint, "model.safetensors")) return open_single(checkpoint, "model.safetensors", err);
    if (config && is_there(checkpoint, "model.safetensors.index.json"))
        return open_by_index(checkpoint, "model.safetensors.index.json", err);
    checkpoint->form = CHECKPOINT_MISTRAL;
    if (params && is_there(checkpoint, "consolidated.safetensors"))
        return open_single(checkpoint, "consolidated.safetensors", err);
    if (params && is_there(checkpoint, "consolidated.safetensors.index.json"))
        return open_by_index(checkpoint, "consolidated.safetensors.index.json", err);
    if (params) TRY(count_consolidated(checkpoint, &consolidated, err));
    if (consolidated > 0) return open_consolidated(checkpoint, consolidated, err);
    if (is_there(checkpoint, "adapter_config.json"))
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "%s is an adapter (LoRA, adapter_config.json): these are not supported yet; merge it into its "
                         "base model",
                         checkpoint->path);
    if (is_there(checkpoint, "snapshots"))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s holds no model itself, and its refs/main names none of its snapshots: name one of the "
                         "folders in snapshots/",
                         checkpoint->path);
    if (has_pickle(checkpoint))
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "%s has its weights only as pickle (.bin, .pth), which can run code and is not read: convert "
                         "them to safetensors",
                         checkpoint->path);
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "%s holds no model: neither config.json with model.safetensors (or model.safetensors.index.json) "
                     "nor params.json with consolidated.safetensors",
                     checkpoint->path);
}

/* ---- pieces -------------------------------------------------------------------------------------------------------- */

/** Gemma ties its embeddings unless it says otherwise, the others only when they say so. */
static bool is_tied(const struct json_value *config) {
    const struct json_value *text = json_member(config, "text_config");
    const struct json_value *said = json_member(text, "tie_word_embeddings");
    if (said == NULL) said = json_member(config, "tie_word_embeddings");
    if (said != NULL) return said->kind == JSON_KIND_BOOLEAN && said->boolean;
    const struct json_value *type = json_member(text != NULL ? text : config, "model_type");
    return type != NULL && type->kind == JSON_KIND_STRING && type->string.length >= 5 &&
           memcmp(type->string.data, "gemma", 5) == 0;
}

/** All experts' gates and ups in one: [experts][gate rows, up rows][columns] becomes two pieces. */
static enum status add_gate_and_up(struct checkpoint *checkpoint, struct checkpoint_piece *piece, struct error *err) {
    struct checkpoint_tensor *tensor = &piece->tensor;
    const char *stem = strstr(tensor->name, "ffn_gate_exps");
    if (tensor->dimension_count != 3 || tensor->dimensions[1] % 2 != 0 || stem == NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%.*s' is not experts x 2 rows x columns", tensor->file,
                         (int)(tensor->stored_name.length < 96 ? tensor->stored_name.length : 96),
                         (const char *)tensor->stored_name.data);
    tensor->dimensions[1] /= 2;
    tensor->bytes /= 2;
    TRY(checkpoint_add_piece(checkpoint, piece, err));
    tensor->name = arena_printf(&checkpoint->arena, "%.*sffn_up_exps.weight", (int)(stem - tensor->name), tensor->name);
    if (tensor->name == NULL) return out_of_memory(err);
    piece->data = (const char *)piece->data + piece->expert_stride / 2;
    return checkpoint_add_piece(checkpoint, piece, err);
}

static enum status add_tensor(struct checkpoint *checkpoint, const char *path, const struct safetensors_tensor *from,
                              bool sandwich_norms, bool tied, struct error *err) {
    struct canonical_name canonical;
    enum name_kind kind = checkpoint->form == CHECKPOINT_MISTRAL
                              ? name_from_mistral(from->name, &canonical)
                              : name_from_hugging_face(from->name, sandwich_norms, tied, &canonical);
    struct checkpoint_piece piece = {
        .expert = kind == NAME_KNOWN ? canonical.expert : -1, .left_out = kind == NAME_LEFT_OUT, .data = from->data};
    const char *name = kind == NAME_KNOWN ? arena_copy(&checkpoint->arena, canonical.text, strlen(canonical.text))
                                          : arena_copy(&checkpoint->arena, from->name.data, from->name.length);
    if (name == NULL) return out_of_memory(err);
    piece.tensor = (struct checkpoint_tensor){.name = name,
                                              .stored_name = from->name,
                                              .file = path,
                                              .type_name = from->dtype,
                                              .known_type = from->known,
                                              .type = from->type,
                                              .dimension_count = from->dimension_count,
                                              .bytes = from->bytes};
    for (int i = 0; i < from->dimension_count; i++)
        piece.tensor.dimensions[i] = from->dimensions[from->dimension_count - 1 - i];
    if (from->dimension_count == 3 && piece.tensor.dimensions[2] > 0)
        piece.expert_stride = from->bytes / (size_t)piece.tensor.dimensions[2];
    if (kind == NAME_KNOWN && canonical.part == NAME_GATE_AND_UP) return add_gate_and_up(checkpoint, &piece, err);
    return checkpoint_add_piece(checkpoint, &piece, err);
}

static enum status add_tensors(struct checkpoint *checkpoint, struct error *err) {
    bool sandwich_norms = false, tied = is_tied(checkpoint->config);
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        for (int64_t j = 0; j < safetensors_tensor_count(checkpoint->files[i]); j++)
            sandwich_norms =
                sandwich_norms || name_is_sandwich_norm(safetensors_tensor_at(checkpoint->files[i], j)->name);
    }
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        const struct safetensors *file = checkpoint->files[i];
        for (int64_t j = 0; j < safetensors_tensor_count(file); j++)
            TRY(add_tensor(checkpoint, safetensors_path(file), safetensors_tensor_at(file, j), sandwich_norms, tied,
                           err));
    }
    return STATUS_OK;
}

enum status checkpoint_open_folder(struct checkpoint *checkpoint, struct error *err) {
    TRY(open_files(checkpoint, err));
    const char *config = path_in(checkpoint, checkpoint->form == CHECKPOINT_MISTRAL ? "params.json" : "config.json");
    if (config == NULL) return out_of_memory(err);
    TRY(checkpoint_read_json(config, &checkpoint->arena, &checkpoint->config_map, &checkpoint->config, err));
    TRY(add_tensors(checkpoint, err));
    return checkpoint_index(checkpoint, err);
}
