/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/tokenizer.h"

#include "engine/tokenizer/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

void token_list_deinit(struct token_list *list) {
    free(list->ids);
    *list = (struct token_list){.max_count = list->max_count};
}

enum status token_list_append(struct token_list *list, int32_t id) {
    if (list->count >= list->max_count) return STATUS_OUT_OF_RANGE;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity < 64 ? 64 : list->capacity * 2;
        int32_t *ids = realloc(list->ids, capacity * sizeof *ids);
        if (ids == NULL) return STATUS_RESOURCE_EXHAUSTED;
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->count++] = id;
    return STATUS_OK;
}

/* ---- asking -------------------------------------------------------------------------------------------------------- */

static bool in_vocabulary(const struct tokenizer *tokenizer, int32_t id) {
    return id >= 0 && id < tokenizer->count;
}

int32_t tokenizer_vocabulary(const struct tokenizer *tokenizer) {
    return tokenizer->count;
}
int32_t tokenizer_bos(const struct tokenizer *tokenizer) {
    return tokenizer->bos;
}
int32_t tokenizer_eos(const struct tokenizer *tokenizer) {
    return tokenizer->eos;
}

bool tokenizer_adds_bos(const struct tokenizer *tokenizer) {
    return tokenizer->adds_bos && tokenizer->bos >= 0;
}

bool tokenizer_is_end(const struct tokenizer *tokenizer, int32_t id) {
    return in_vocabulary(tokenizer, id) && tokenizer->tokens[id].end;
}

bool tokenizer_is_control(const struct tokenizer *tokenizer, int32_t id) {
    return in_vocabulary(tokenizer, id) && tokenizer->tokens[id].type == TOKEN_CONTROL;
}

struct bytes_view tokenizer_piece(const struct tokenizer *tokenizer, int32_t id) {
    return in_vocabulary(tokenizer, id) ? token_piece(tokenizer, id) : (struct bytes_view){0};
}

struct bytes_view tokenizer_name(const struct tokenizer *tokenizer, int32_t id) {
    return in_vocabulary(tokenizer, id) ? token_name(tokenizer, id) : (struct bytes_view){0};
}

int32_t tokenizer_special(const struct tokenizer *tokenizer, const char *name) {
    for (int32_t id = 0; id < tokenizer->count; id++) {
        if ((tokenizer->tokens[id].type == TOKEN_CONTROL || tokenizer->tokens[id].type == TOKEN_UNKNOWN) &&
            bytes_view_equal_string(token_name(tokenizer, id), name))
            return id;
    }
    return -1;
}

void tokenizer_destroy(struct tokenizer *tokenizer) {
    if (tokenizer == NULL) return;
    bpe_deinit(&tokenizer->bpe);
    unigram_deinit(&tokenizer->unigram);
    normalizer_deinit(&tokenizer->normalizer);
    for (int i = 0; i < tokenizer->split_count; i++) split_step_deinit(&tokenizer->splits[i]);
    trie_deinit(&tokenizer->user);
    trie_deinit(&tokenizer->all);
    trie_deinit(&tokenizer->normalized_user);
    trie_deinit(&tokenizer->normalized_all);
    free(tokenizer->tokens);
    free(tokenizer->text);
    free(tokenizer);
}
