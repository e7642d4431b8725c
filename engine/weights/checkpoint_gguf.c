/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* GGUF behind the checkpoint: one file, or the parts of one ("-00001-of-00003.gguf", llama.cpp's split.* keys). */
#include "base/limits.h"
#include "engine/weights/checkpoint_internal.h"
#include "engine/weights/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *type_name(struct checkpoint *checkpoint, uint32_t type) {
    static const char *const others[] = {
        [9] = "Q8_1",     [10] = "Q2_K",  [11] = "Q3_K",   [15] = "Q8_K",  [16] = "IQ2_XXS", [17] = "IQ2_XS",
        [18] = "IQ3_XXS", [19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S", [22] = "IQ2_S",   [23] = "IQ4_XS",
        [24] = "I8",      [25] = "I16",   [26] = "I32",    [27] = "I64",   [28] = "F64",     [29] = "IQ1_M",
        [34] = "TQ1_0",   [35] = "TQ2_0", [39] = "MXFP4"};
    const char *known = tensor_type_name((enum tensor_type)type);
    if (known != NULL) return known;
    if (type < sizeof others / sizeof others[0] && others[type] != NULL) return others[type];
    return arena_printf(&checkpoint->arena, "type %u", type);
}

static enum status add_tensors(struct checkpoint *checkpoint, const struct gguf *gguf, struct error *err) {
    for (int64_t i = 0; i < gguf_tensor_count(gguf); i++) {
        const struct gguf_tensor *tensor = gguf_tensor_at(gguf, i);
        struct checkpoint_piece piece = {.expert = -1, .data = tensor->data};
        const char *name = arena_copy(&checkpoint->arena, tensor->name.data, tensor->name.length);
        const char *type = type_name(checkpoint, tensor->type);
        if (name == NULL || type == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        piece.tensor = (struct checkpoint_tensor){.name = name,
                                                  .stored_name = tensor->name,
                                                  .file = gguf_path(gguf),
                                                  .type_name = type,
                                                  .known_type = tensor_type_block((enum tensor_type)tensor->type) != 0,
                                                  .type = (enum tensor_type)tensor->type,
                                                  .dimension_count = tensor->dimension_count,
                                                  .bytes = tensor->bytes};
        memcpy(piece.tensor.dimensions, tensor->dimensions, sizeof tensor->dimensions);
        piece.expert_stride =
            tensor_type_row_bytes(piece.tensor.type, tensor->dimensions[0]) * (size_t)tensor->dimensions[1];
        TRY(checkpoint_add_piece(checkpoint, &piece, err));
    }
    return STATUS_OK;
}

static enum status reserve(struct checkpoint *checkpoint, size_t count, struct error *err) {
    checkpoint->ggufs = arena_alloc_array(&checkpoint->arena, count, sizeof *checkpoint->ggufs);
    return checkpoint->ggufs != NULL ? STATUS_OK : error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
}

enum status checkpoint_take_gguf(struct checkpoint *checkpoint, const struct gguf *gguf, struct error *err) {
    uint64_t count;
    if (gguf_u64(gguf, "split.count", &count) && count > 1)
        return error_set(err, STATUS_UNIMPLEMENTED, "%s is one of %llu parts", gguf_path(gguf),
                         (unsigned long long)count);
    TRY(reserve(checkpoint, 1, err));
    checkpoint->ggufs[checkpoint->gguf_count++] = gguf;
    TRY(add_tensors(checkpoint, gguf, err));
    return checkpoint_index(checkpoint, err);
}

/** `number` of `count` must be what the part itself says. */
static enum status check_part(const struct gguf *gguf, uint64_t number, uint64_t count, struct error *err) {
    uint64_t its_number, its_count;
    if (!gguf_u64(gguf, "split.no", &its_number) || !gguf_u64(gguf, "split.count", &its_count))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s does not say which part it is", gguf_path(gguf));
    if (number == 0 && its_number != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s is part %llu of %llu: name the first (…-00001-of-%05llu.gguf)", gguf_path(gguf),
                         (unsigned long long)its_number + 1, (unsigned long long)its_count,
                         (unsigned long long)its_count);
    if (its_number != number || its_count != count)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s says that it is part %llu of %llu, not %llu of %llu",
                         gguf_path(gguf), (unsigned long long)its_number + 1, (unsigned long long)its_count,
                         (unsigned long long)number + 1, (unsigned long long)count);
    return STATUS_OK;
}

static enum status open_parts(struct checkpoint *checkpoint, uint64_t count, struct error *err) {
    const struct gguf *first = checkpoint->ggufs[0];
    char suffix[32];
    if (count > LIMIT_SHARDS)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s claims %llu parts (at most %d)", gguf_path(first),
                         (unsigned long long)count, LIMIT_SHARDS);
    TRY(check_part(first, 0, count, err));
    snprintf(suffix, sizeof suffix, "-00001-of-%05u.gguf", (unsigned)count);
    size_t length = strlen(checkpoint->path), cut = strlen(suffix);
    if (length <= cut || strcmp(checkpoint->path + length - cut, suffix) != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s is the first of %u parts, but is not named …%s",
                         gguf_path(first), (unsigned)count, suffix);
    TRY(reserve(checkpoint, count, err));
    checkpoint->ggufs[0] = first;
    for (unsigned i = 1; i < count; i++) {
        struct gguf *part;
        const char *path = arena_printf(&checkpoint->arena, "%.*s-%05u-of-%05u.gguf", (int)(length - cut),
                                        checkpoint->path, i + 1, (unsigned)count);
        if (path == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        TRY(gguf_open(path, &part, err));
        checkpoint->ggufs[checkpoint->gguf_count++] = part;
        TRY(check_part(part, i, count, err));
    }
    uint64_t claimed;
    size_t there = 0;
    for (size_t i = 0; i < checkpoint->gguf_count; i++) there += (size_t)gguf_tensor_count(checkpoint->ggufs[i]);
    if (gguf_u64(first, "split.tensors.count", &claimed) && claimed != there)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: its parts hold %zu tensors where %llu are due",
                         gguf_path(first), there, (unsigned long long)claimed);
    return STATUS_OK;
}

enum status checkpoint_open_gguf(struct checkpoint *checkpoint, struct error *err) {
    struct gguf *gguf;
    uint64_t count = 1;
    TRY(reserve(checkpoint, 1, err));
    TRY(gguf_open(checkpoint->path, &gguf, err));
    checkpoint->ggufs_owned = true;
    checkpoint->ggufs[checkpoint->gguf_count++] = gguf;
    if (gguf_u64(gguf, "split.count", &count) && count > 1) TRY(open_parts(checkpoint, count, err));
    for (size_t i = 0; i < checkpoint->gguf_count; i++) TRY(add_tensors(checkpoint, checkpoint->ggufs[i], err));
    return checkpoint_index(checkpoint, err);
}
