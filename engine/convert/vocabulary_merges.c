/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Merges of a vocabulary that has scores: SentencePiece joins the two neighbours whose token has the best score, BPE those whose merge stands first. */
#include "base/limits.h"
#include "engine/convert/vocabulary.h"

#include <stdlib.h>
#include <string.h>

/** Best score first; among equals as they are numbered. */
static int compare_scores(const void *a, const void *b, void *context) {
    const struct vocabulary *vocabulary = context;
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    float left = vocabulary->scores[x], right = vocabulary->scores[y];
    return left != right ? (left > right ? -1 : 1) : (x > y) - (x < y);
}

static bool begins_character(uint8_t byte) {
    return (byte & 0xC0) != 0x80;
}

static enum status add_merge(struct vocabulary *vocabulary, struct bytes_view left, struct bytes_view right,
                             struct error *err) {
    if (vocabulary->merge_count == LIMIT_MERGES)
        return error_set(err, STATUS_INVALID_ARGUMENT, "the vocabulary has more than %d merges", LIMIT_MERGES);
    char *text = arena_alloc(vocabulary->arena, left.length + right.length + 2);
    if (text == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    memcpy(text, left.data, left.length);
    text[left.length] = ' ';
    memcpy(text + left.length + 1, right.data, right.length);
    vocabulary->merges[vocabulary->merge_count++] = bytes_view_of(text, left.length + right.length + 1);
    return STATUS_OK;
}

/** The longest left part first. */
static enum status cut_token(struct vocabulary *vocabulary, const struct vocabulary_index *index,
                             struct bytes_view token, struct error *err) {
    if (memchr(token.data, ' ', token.length) != NULL) return STATUS_OK; /* a merge is written with a blank between */
    for (size_t at = token.length - 1; at > 0; at--) {
        struct bytes_view left = bytes_view_of(token.data, at),
                          right = bytes_view_of(token.data + at, token.length - at);
        if (!begins_character(token.data[at]) || vocabulary_index_find(index, left) < 0 ||
            vocabulary_index_find(index, right) < 0)
            continue;
        TRY(add_merge(vocabulary, left, right, err));
    }
    return STATUS_OK;
}

enum status vocabulary_merges_of_scores(struct vocabulary *vocabulary, struct error *err) {
    struct vocabulary_index index;
    size_t most = 0;
    /* Only these arise by merging: text is cut at user-defined ones before, and control tokens never come of text. */
    TRY(vocabulary_index_init(&index, vocabulary, 1 << VOCABULARY_NORMAL, err));
    int32_t *order = arena_alloc_array(vocabulary->arena, index.count + 1, sizeof *order);
    for (size_t i = 0; i < index.count; i++) most += vocabulary->tokens[index.sorted[i]].length;
    if (most > LIMIT_MERGES) most = LIMIT_MERGES;
    vocabulary->merges = arena_alloc_array(vocabulary->arena, most + 1, sizeof *vocabulary->merges);
    vocabulary->merge_count = 0;
    if (order == NULL || vocabulary->merges == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    memcpy(order, index.sorted, index.count * sizeof *order);
    qsort_r(order, index.count, sizeof *order, compare_scores, vocabulary);
    for (size_t i = 0; i < index.count; i++) {
        struct bytes_view token = vocabulary->tokens[order[i]];
        if (token.length > 1) TRY(cut_token(vocabulary, &index, token, err));
    }
    return STATUS_OK;
}
