/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A Hugging Face folder from a GGUF: model.safetensors, then config.json, so that the folder is a model only when both are whole. */
#include "engine/convert/convert_internal.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/** Llama 3's scaling, which GGUF has as factors only: one of those that Meta has published, or none. */
static enum status find_llama3_scaling(struct converting *converting) {
    static const struct rope_config published[] = {
        {.factor = 8, .low_frequency_factor = 1, .high_frequency_factor = 4, .original_context = 8192},
        {.factor = 32, .low_frequency_factor = 1, .high_frequency_factor = 4, .original_context = 8192}};
    enum { PAIRS_MAX = 128 };
    struct rope_config *rope = &converting->config.ropes[MODEL_ROPE_GLOBAL];
    int pairs = converting->config.rotary_dim / 2;
    struct tensor_view view;
    float plain[PAIRS_MAX], scaled[PAIRS_MAX], factors[PAIRS_MAX];
    if (!checkpoint_has(converting->checkpoint, "rope_freqs.weight") || pairs > PAIRS_MAX) return STATUS_OK;
    TRY(checkpoint_matrix(converting->checkpoint, "rope_freqs.weight", 0, pairs, &view, converting->err));
    TRY(tensor_dequantise_row(view.type, view.data, pairs, factors));
    model_rope_frequencies(rope, converting->config.rotary_dim, plain);
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        struct rope_config candidate = published[i];
        bool same = true;
        candidate.base = rope->base;
        candidate.scaling = ROPE_SCALING_LLAMA3;
        candidate.magnitude = 1;
        model_rope_frequencies(&candidate, converting->config.rotary_dim, scaled);
        for (int j = 0; j < pairs; j++) same = same && fabsf(plain[j] / scaled[j] - factors[j]) <= 1e-3f * factors[j];
        if (same) return *rope = candidate, STATUS_OK;
    }
    return error_set(
        converting->err, STATUS_UNIMPLEMENTED,
        "%s: rope_freqs.weight is none of the scalings that Llama 3 models have, and config.json has no words for it",
        checkpoint_path(converting->checkpoint));
}

/* ---- safetensors --------------------------------------------------------------------------------------------------- */

/** F32 first, so that every tensor begins at a multiple of its element. */
static int compare_types(const void *a, const void *b) {
    const struct convert_tensor *x = a, *y = b;
    size_t x_bytes = tensor_type_block_bytes(x->type), y_bytes = tensor_type_block_bytes(y->type);
    if (x_bytes != y_bytes) return x_bytes > y_bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static enum status write_header(const struct convert_plan *plan, struct output_file *file, struct error *err) {
    enum { HEADER_BYTES_MAX = 100 * 1000 * 1000 };
    struct bytes header;
    uint64_t offset = 0;
    bytes_init(&header, HEADER_BYTES_MAX);
    (void)bytes_append_string(&header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int64_t i = 0; i < plan->count; i++) {
        const struct convert_tensor *tensor = &plan->tensors[i];
        (void)bytes_printf(&header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", tensor->name,
                           tensor_type_name(tensor->type));
        for (int j = tensor->dimension_count - 1; j >= 0; j--)
            (void)bytes_printf(&header, "%lld%s", (long long)tensor->dimensions[j], j > 0 ? "," : "");
        (void)bytes_printf(&header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
                           (unsigned long long)(offset + tensor->bytes));
        offset += tensor->bytes;
    }
    (void)bytes_append_byte(&header, '}');
    while (header.length % 8 != 0 && !header.failed) (void)bytes_append_byte(&header, ' ');
    uint64_t length = header.length;
    enum status status = header.failed ? error_set(err, STATUS_RESOURCE_EXHAUSTED, "the header is too long")
                                       : output_file_write(file, &length, sizeof length, err);
    if (status == STATUS_OK) status = output_file_write(file, header.data, header.length, err);
    bytes_deinit(&header);
    return status;
}

/** All but the weights. What is left of a model that was there would be taken for the new one's. The config first, without which the folder is no model. */
static void remove_model_files(struct converting *converting, const char *folder) {
    static const char *const names[] = {"config.json",
                                        "model.safetensors.index.json",
                                        "generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer.model",
                                        "tekken.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "chat_template.jinja",
                                        "chat_template.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *path = arena_printf(&converting->plan.arena, "%s/%s", folder, names[i]);
        if (path != NULL) unlink(path);
    }
}

static enum status write_weights(struct converting *converting, const char *folder, const char *path) {
    struct output_file file = {0};
    struct convert_plan *plan = &converting->plan;
    enum status status = STATUS_OK;
    TRY_CLEANUP(output_file_open(path, converting->options->force, &file, converting->err));
    qsort(plan->tensors, (size_t)plan->count, sizeof *plan->tensors, compare_types);
    TRY_CLEANUP(write_header(plan, &file, converting->err));
    TRY_CLEANUP(output_file_reserve(&file, file.written + plan->bytes, converting->err));
    for (int64_t i = 0; i < plan->count; i++) TRY_CLEANUP(convert_write_tensor(converting, &plan->tensors[i], &file));
    remove_model_files(converting, folder);
    status = output_file_finish(&file, converting->err);
cleanup:
    output_file_abandon(&file);
    return status;
}

enum status convert_write_text(const struct converting *converting, const char *path, struct bytes_view text) {
    struct output_file file = {0};
    TRY(output_file_open(path, converting->options->force, &file, converting->err));
    enum status status = output_file_write(&file, text.data, text.length, converting->err);
    if (status == STATUS_OK) return output_file_finish(&file, converting->err);
    output_file_abandon(&file);
    return status;
}

/* ---- the folder ---------------------------------------------------------------------------------------------------- */

static bool is_empty(const char *path) {
    DIR *folder = opendir(path);
    if (folder == NULL) return false;
    int count = 0;
    while (count <= 2 && readdir(folder) != NULL) count++; /* "." and ".." */
    closedir(folder);
    return count <= 2;
}

static enum status make_folder(const struct converting *converting, const char *path, bool *out_made) {
    if (mkdir(path, 0777) == 0) return *out_made = true, STATUS_OK;
    struct stat facts;
    if (errno != EEXIST)
        return error_set_errno(converting->err, STATUS_PERMISSION_DENIED, errno, "cannot make %s", path);
    if (stat(path, &facts) != 0 || !S_ISDIR(facts.st_mode))
        return error_set(converting->err, STATUS_ALREADY_EXISTS, "%s is there and no folder", path);
    if (!converting->options->force && !is_empty(path))
        return error_set(converting->err, STATUS_ALREADY_EXISTS,
                         "%s is there already (--force replaces its weights, config and tokenizer)", path);
    return STATUS_OK;
}

/** Of the first matrix: what torch_dtype says. */
static enum tensor_type main_type(const struct convert_plan *plan) {
    for (int64_t i = 0; i < plan->count; i++) {
        if (plan->tensors[i].dimension_count > 1) return plan->tensors[i].type;
    }
    return TENSOR_F32;
}

/** config.json must say what the GGUF does. */
static enum status read_back(const struct converting *converting, const char *path) {
    struct checkpoint *written = NULL;
    struct model_config *config = malloc(sizeof *config);
    const char *difference = NULL;
    enum status status =
        config != NULL ? STATUS_OK : error_set(converting->err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    if (status == STATUS_OK) status = checkpoint_open(path, &written, converting->err);
    if (status == STATUS_OK) status = model_config_read(written, config, converting->err);
    if (status == STATUS_OK && (difference = convert_difference(&converting->config, config)) != NULL)
        status = error_set(converting->err, STATUS_UNIMPLEMENTED, "%s: config.json has no way to say %s of this model",
                           checkpoint_path(converting->checkpoint), difference);
    checkpoint_close(written);
    free(config);
    return status;
}

enum status convert_to_folder(struct converting *converting, const char *path) {
    bool made = false, written = false;
    struct bytes config;
    enum { CONFIG_BYTES_MAX = 1 << 20 };
    enum status status = STATUS_OK;
    char *weights = arena_printf(&converting->plan.arena, "%s/model.safetensors", path),
         *json = arena_printf(&converting->plan.arena, "%s/config.json", path);
    bytes_init(&config, CONFIG_BYTES_MAX);
    if (weights == NULL || json == NULL)
        TRY_CLEANUP(error_set(converting->err, STATUS_RESOURCE_EXHAUSTED, "out of memory"));
    if (checkpoint_form(converting->checkpoint) != CHECKPOINT_GGUF)
        TRY_CLEANUP(error_set(converting->err, STATUS_UNIMPLEMENTED,
                              "%s is safetensors already; a folder is made from a GGUF only",
                              checkpoint_path(converting->checkpoint)));
    if (!converting->options->keep && tensor_type_block(converting->options->type) != 1)
        TRY_CLEANUP(error_set(converting->err, STATUS_UNIMPLEMENTED, "safetensors has no %s (f32, f16 or bf16)",
                              tensor_type_name(converting->options->type)));
    TRY_CLEANUP(find_llama3_scaling(converting));
    TRY_CLEANUP(convert_plan_folder(converting));
    if (converting->plan.count == 0)
        TRY_CLEANUP(error_set(converting->err, STATUS_INVALID_ARGUMENT, "%s holds no tensors",
                              checkpoint_path(converting->checkpoint)));
    TRY_CLEANUP(convert_write_config(converting, main_type(&converting->plan), &config));
    TRY_CLEANUP(make_folder(converting, path, &made));
    TRY_CLEANUP(write_weights(converting, path, weights));
    written = true;
    TRY_CLEANUP(convert_write_text(converting, json, bytes_view(&config)));
    TRY_CLEANUP(convert_write_tokenizer(converting, path));
    status = read_back(converting, path);
cleanup:
    if (status != STATUS_OK && written) { /* half a model is none */
        remove_model_files(converting, path);
        unlink(weights);
    }
    if (status != STATUS_OK && made) rmdir(path);
    bytes_deinit(&config);
    return status;
}
