/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/weights/checkpoint_internal.h"

#include <stdlib.h>
#include <string.h>

enum status checkpoint_add_piece(struct checkpoint *checkpoint, const struct checkpoint_piece *piece,
                                 struct error *err) {
    if (checkpoint->piece_count == checkpoint->piece_capacity) {
        size_t capacity = checkpoint->piece_capacity == 0 ? 256 : 2 * checkpoint->piece_capacity;
        struct checkpoint_piece *pieces = realloc(checkpoint->pieces, capacity * sizeof *pieces);
        if (pieces == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        checkpoint->pieces = pieces;
        checkpoint->piece_capacity = capacity;
    }
    struct checkpoint_piece *place = &checkpoint->pieces[checkpoint->piece_count];
    *place = *piece;
    place->order = checkpoint->piece_count++;
    for (int i = place->tensor.dimension_count; i < CHECKPOINT_DIMENSIONS_MAX; i++) place->tensor.dimensions[i] = 1;
    return STATUS_OK;
}

/** Those left out behind the others; then by name, expert and place. */
static int compare_pieces(const void *a, const void *b) {
    const struct checkpoint_piece *x = a, *y = b;
    if (x->left_out != y->left_out) return x->left_out ? 1 : -1;
    int order = strcmp(x->tensor.name, y->tensor.name);
    if (order != 0) return order;
    if (x->expert != y->expert) return x->expert < y->expert ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static int compare_orders(const void *a, const void *b) {
    const struct checkpoint_entry *x = a, *y = b;
    return (x->order > y->order) - (x->order < y->order);
}

static int compare_entries(const void *a, const void *b, void *context) {
    const struct checkpoint *checkpoint = context;
    return strcmp(checkpoint->entries[*(const size_t *)a].tensor.name,
                  checkpoint->entries[*(const size_t *)b].tensor.name);
}

static enum status unlike(const struct checkpoint_piece *piece, const char *what, struct error *err) {
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%.64s': expert %d %s", piece->tensor.file, piece->tensor.name,
                     piece->expert, what);
}

/** `count` >= 1 pieces of one name, in the order of their experts. */
static enum status make_entry(struct checkpoint *checkpoint, const struct checkpoint_piece *pieces, size_t count,
                              struct checkpoint_entry *out, struct error *err) {
    const struct checkpoint_piece *first = pieces;
    *out = (struct checkpoint_entry){first->tensor, first->order, first->data, first->expert_stride, NULL};
    if (first->expert < 0) {
        if (count == 1) return STATUS_OK;
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%.64s' stands there twice (also in %s)",
                         first->tensor.file, first->tensor.name, pieces[1].tensor.file);
    }
    out->experts = arena_alloc_array(&checkpoint->arena, count, sizeof *out->experts);
    if (out->experts == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (size_t i = 0; i < count; i++) {
        const struct checkpoint_piece *piece = &pieces[i];
        if (i > 0 && piece->expert == pieces[i - 1].expert) return unlike(piece, "stands there twice", err);
        if (piece->expert != (int)i) return unlike(piece, "is there, but not all before it", err);
        if (strcmp(piece->tensor.type_name, first->tensor.type_name) != 0 ||
            memcmp(piece->tensor.dimensions, first->tensor.dimensions, sizeof first->tensor.dimensions) != 0)
            return unlike(piece, "has another shape or type than the first", err);
        if (piece->tensor.dimension_count != 2) return unlike(piece, "is no matrix", err);
        out->experts[i] = piece->data;
        if (out->order > piece->order) out->order = piece->order;
    }
    out->tensor.dimension_count = 3;
    out->tensor.dimensions[2] = (int64_t)count;
    out->tensor.bytes *= count; /* each is mapped: no overflow */
    out->tensor.experts_apart = (int)count;
    return STATUS_OK;
}

static enum status count_parameters(struct checkpoint *checkpoint, struct error *err) {
    for (size_t i = 0; i < checkpoint->entry_count; i++) {
        const struct checkpoint_tensor *tensor = &checkpoint->entries[i].tensor;
        int64_t weights = 1;
        bool overflow = false;
        for (int j = 0; j < CHECKPOINT_DIMENSIONS_MAX; j++)
            overflow = overflow || __builtin_mul_overflow(weights, tensor->dimensions[j], &weights);
        if (overflow || __builtin_add_overflow(checkpoint->parameters, weights, &checkpoint->parameters))
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%.64s' makes too many weights", tensor->file,
                             tensor->name);
    }
    return STATUS_OK;
}

enum status checkpoint_index(struct checkpoint *checkpoint, struct error *err) {
    size_t count = checkpoint->piece_count, entries = 0;
    struct checkpoint_piece *pieces = checkpoint->pieces;
    if (count > 0) qsort(pieces, count, sizeof *pieces, compare_pieces);
    struct checkpoint_entry *all = checkpoint->entries = calloc(count + 1, sizeof *all);
    checkpoint->by_name = calloc(count + 1, sizeof *checkpoint->by_name);
    if (all == NULL || checkpoint->by_name == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && pieces[end].left_out == pieces[i].left_out &&
                          strcmp(pieces[end].tensor.name, pieces[i].tensor.name) == 0;)
            end++;
        TRY(make_entry(checkpoint, pieces + i, end - i, &all[entries++], err));
        if (!pieces[i].left_out) checkpoint->entry_count++;
    }
    checkpoint->left_out = all + checkpoint->entry_count;
    checkpoint->left_out_count = entries - checkpoint->entry_count;
    qsort(all, checkpoint->entry_count, sizeof *all, compare_orders);
    qsort(checkpoint->left_out, checkpoint->left_out_count, sizeof *all, compare_orders);
    for (size_t i = 0; i < checkpoint->entry_count; i++) checkpoint->by_name[i] = i;
    qsort_r(checkpoint->by_name, checkpoint->entry_count, sizeof *checkpoint->by_name, compare_entries, checkpoint);
    free(checkpoint->pieces);
    checkpoint->pieces = NULL;
    checkpoint->piece_count = checkpoint->piece_capacity = 0;
    return count_parameters(checkpoint, err);
}
