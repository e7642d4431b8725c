/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/convert/vocabulary.h"

int64_t vocabulary_find(const struct vocabulary *vocabulary, struct bytes_view token) {
    for (size_t i = 0; i < vocabulary->count; i++) {
        if (bytes_view_equal(vocabulary->tokens[i], token)) return (int64_t)i;
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
