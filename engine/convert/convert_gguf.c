/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A GGUF file: header, metadata, tensor infos, and the tensors. */
#include "engine/convert/convert_internal.h"
#include "engine/weights/gguf.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 32, GGUF_VERSION = 3, QUANTIZATION_VERSION = 2 };

/** llama.cpp's number for a file that is mostly of this type. */
static uint32_t file_type(enum tensor_type type) {
    switch (type) {
    case TENSOR_F32:
        return 0;
    case TENSOR_Q4_0:
        return 2;
    case TENSOR_Q4_1:
        return 3;
    case TENSOR_Q8_0:
        return 7;
    case TENSOR_Q5_0:
        return 8;
    case TENSOR_Q5_1:
        return 9;
    case TENSOR_Q4_K:
        return 15;
    case TENSOR_Q5_K:
        return 17;
    case TENSOR_Q6_K:
        return 18;
    case TENSOR_BF16:
        return 32;
    default:
        return 1;
    }
}

static enum tensor_type main_type(const struct converting *converting) {
    if (!converting->options->keep) return converting->options->type;
    for (int64_t i = 0; i < converting->plan.count; i++) {
        const struct convert_tensor *tensor = &converting->plan.tensors[i];
        if (tensor->dimension_count >= 2 && strncmp(tensor->name, "blk.", 4) == 0) return tensor->type;
    }
    return TENSOR_F32;
}

static void copy_metadata(const struct converting *converting, const struct gguf *gguf,
                          struct gguf_metadata *metadata) {
    static const char *const own[] = {"general.alignment",   "split.no",          "split.count",
                                      "split.tensors.count", "general.file_type", "general.quantization_version"};
    bool keep = converting->options->keep;
    for (int64_t i = 0; i < gguf_metadata_count(gguf); i++) {
        struct gguf_metadata_entry entry = gguf_metadata_at(gguf, i);
        bool skipped = false;
        for (size_t j = 0; j < (keep ? 4 : sizeof own / sizeof own[0]); j++)
            skipped = skipped || bytes_view_equal_string(entry.key, own[j]);
        if (!skipped) gguf_metadata_copy(metadata, &entry);
    }
}

/** The size of all tensors goes to `out_bytes`. */
static void write_infos(const struct convert_plan *plan, struct bytes *out, uint64_t *out_bytes) {
    uint64_t offset = 0;
    for (int64_t i = 0; i < plan->count; i++) {
        const struct convert_tensor *tensor = &plan->tensors[i];
        uint64_t length = strlen(tensor->name);
        uint32_t dimensions = (uint32_t)tensor->dimension_count, type = tensor->type;
        (void)bytes_append(out, &length, sizeof length);
        (void)bytes_append(out, tensor->name, length);
        (void)bytes_append(out, &dimensions, sizeof dimensions);
        (void)bytes_append(out, tensor->dimensions, dimensions * sizeof tensor->dimensions[0]);
        (void)bytes_append(out, &type, sizeof type);
        (void)bytes_append(out, &offset, sizeof offset);
        offset += (tensor->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    *out_bytes = offset;
}

/** All before the tensors. The file has its final size then. */
static enum status write_head(const struct converting *converting, struct gguf_metadata *metadata,
                              struct output_file *file) {
    struct error *err = converting->err;
    const struct convert_plan *plan = &converting->plan;
    const struct {
        uint32_t magic, version;
        uint64_t tensors, metadata;
    } header = {0x46554747, GGUF_VERSION, (uint64_t)plan->count, metadata->count};
    uint64_t tensor_bytes = 0;
    write_infos(plan, &metadata->bytes, &tensor_bytes);
    if (metadata->bytes.failed) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory for the metadata");
    TRY(output_file_write(file, &header, sizeof header, err));
    TRY(output_file_write(file, metadata->bytes.data, metadata->bytes.length, err));
    TRY(output_file_align(file, ALIGNMENT, err));
    return output_file_reserve(file, file->written + tensor_bytes, err);
}

static enum status write_tensors(struct converting *converting, struct output_file *file) {
    const struct convert_plan *plan = &converting->plan;
    for (int64_t i = 0; i < plan->count; i++) {
        TRY(convert_write_tensor(converting, &plan->tensors[i], file));
        TRY(output_file_align(file, ALIGNMENT, converting->err));
    }
    return STATUS_OK;
}

/** A config that GGUF cannot say in full must not become a model that computes something else. Before the tensors, for they can take hours. */
static enum status read_back(const struct converting *converting, const struct output_file *file) {
    struct checkpoint *written = NULL;
    struct model_config *config = malloc(sizeof *config);
    const char *difference = NULL;
    enum status status =
        config != NULL ? STATUS_OK : error_set(converting->err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    if (status == STATUS_OK) status = checkpoint_open(file->part, &written, converting->err);
    if (status == STATUS_OK) status = model_config_read(written, config, converting->err);
    if (status == STATUS_OK && (difference = convert_difference(&converting->config, config)) != NULL)
        status = error_set(converting->err, STATUS_UNIMPLEMENTED,
                           "%s: GGUF of the architecture %s has no way to say %s of this model",
                           checkpoint_path(converting->checkpoint), config->architecture, difference);
    checkpoint_close(written);
    free(config);
    return status;
}

enum status convert_to_gguf(struct converting *converting, const char *path) {
    struct output_file file = {0};
    struct gguf_metadata metadata;
    const struct gguf *gguf = checkpoint_gguf(converting->checkpoint);
    enum status status = STATUS_OK;
    gguf_metadata_init(&metadata);
    if (converting->config.key_rank > 0)
        TRY_CLEANUP(error_set(converting->err, STATUS_UNIMPLEMENTED,
                              "%s: multi-head latent attention (%s) is neither written as GGUF nor read from it",
                              checkpoint_path(converting->checkpoint), converting->config.architecture));
    TRY_CLEANUP(output_file_open(path, converting->options->force, &file, converting->err));
    TRY_CLEANUP(convert_plan_gguf(converting));
    if (gguf == NULL) TRY_CLEANUP(convert_plan_rope_factors(converting));
    if (gguf != NULL) {
        copy_metadata(converting, gguf, &metadata);
        if (converting->options->upcycle != NULL) {
            gguf_metadata_u32(&metadata, "llama.expert_count", (uint32_t)converting->config.experts);
            gguf_metadata_u32(&metadata, "llama.expert_used_count", (uint32_t)converting->config.experts_used);
        }
    } else {
        TRY_CLEANUP(convert_metadata_of_config(converting, &metadata));
        TRY_CLEANUP(convert_metadata_of_tokenizer(converting, &metadata));
    }
    if (gguf == NULL || !converting->options->keep) {
        gguf_metadata_u32(&metadata, "general.file_type", file_type(main_type(converting)));
        gguf_metadata_u32(&metadata, "general.quantization_version", QUANTIZATION_VERSION);
    }
    TRY_CLEANUP(write_head(converting, &metadata, &file));
    if (gguf == NULL || converting->options->upcycle != NULL) TRY_CLEANUP(read_back(converting, &file));
    TRY_CLEANUP(write_tensors(converting, &file));
    status = output_file_finish(&file, converting->err);
cleanup:
    output_file_abandon(&file);
    gguf_metadata_deinit(&metadata);
    return status;
}
