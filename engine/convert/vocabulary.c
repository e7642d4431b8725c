/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/convert/vocabulary.h"

#include <stdlib.h>

int64_t vocabulary_find(const struct vocabulary *vocabulary, struct bytes_view token) {
    for (size_t i = 0; i < vocabulary->count; i++) {
        if (bytes_view_equal(vocabulary->tokens[i], token)) return (int64_t)i;
    }
    return -1;
}

static int compare_texts(const void *a, const void *b, void *context) {
    const struct vocabulary *vocabulary = context;
    return bytes_view_compare(vocabulary->tokens[*(const int32_t *)a], vocabulary->tokens[*(const int32_t *)b]);
}

enum status vocabulary_index_init(struct vocabulary_index *index, const struct vocabulary *vocabulary, int types,
                                  struct error *err) {
    *index = (struct vocabulary_index){.vocabulary = vocabulary};
    index->sorted = arena_alloc_array(vocabulary->arena, vocabulary->count + 1, sizeof *index->sorted);
    if (index->sorted == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (size_t i = 0; i < vocabulary->count; i++) {
        if (types >> vocabulary->types[i] & 1) index->sorted[index->count++] = (int32_t)i;
    }
    qsort_r(index->sorted, index->count, sizeof *index->sorted, compare_texts, (void *)vocabulary);
    return STATUS_OK;
}

int64_t vocabulary_index_find(const struct vocabulary_index *index, struct bytes_view token) {
    size_t low = 0, high = index->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = bytes_view_compare(index->vocabulary->tokens[index->sorted[middle]], token);
        if (order == 0) return index->sorted[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

enum status vocabulary_reserve(struct vocabulary *vocabulary, size_t count, struct error *err) {
    vocabulary->tokens = arena_alloc_array(vocabulary->arena, count + 1, sizeof *vocabulary->tokens);
    vocabulary->types = arena_alloc_array(vocabulary->arena, count + 1, sizeof *vocabulary->types);
    vocabulary->count = count;
    if (vocabulary->tokens != NULL && vocabulary->types != NULL) return STATUS_OK;
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
}
