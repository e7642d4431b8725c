/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/calls_internal.h"

#include <stdlib.h>

bool trie_select(const struct grammar_vocabulary *vocabulary, const uint32_t *tokens, struct token_trie *out) {
    size_t count = 0;
    *out = (struct token_trie){0};
    for (uint32_t i = 0; i < vocabulary->words; i++) count += (size_t)__builtin_popcount(tokens[i]);
    struct trie_entry *entries = malloc((count + 1) * sizeof *entries);
    if (entries == NULL) return false;
    count = 0;
    for (uint32_t i = 0; i < vocabulary->words; i++)
        for (uint32_t rest = tokens[i]; rest != 0; rest &= rest - 1) {
            int32_t token = (int32_t)(i * 32 + (uint32_t)__builtin_ctz(rest));
            entries[count++] =
                (struct trie_entry){.text = tokenizer_piece(vocabulary->tokenizer, token), .token = token};
        }
    bool ok = token_trie_init(out, entries, count);
    free(entries);
    return ok;
}

bool closing_tokens_init(struct closing_tokens *closing, const struct grammar_vocabulary *vocabulary) {
    const struct token_trie *trie = &vocabulary->trie;
    uint8_t closers[TRIE_DEPTH_MAX + 2] = {0}; /* by depth: before the node's byte */
    *closing = (struct closing_tokens){0};
    for (int k = 0; k < CLOSERS_MAX; k++) {
        closing->tokens[k] = calloc(vocabulary->words, sizeof **closing->tokens);
        if (closing->tokens[k] == NULL) return false;
    }
    for (uint32_t n = 0; n < trie->count; n++) {
        uint32_t depth = trie->depths[n];
        bool closes = trie->bytes[n] == '}' || trie->bytes[n] == ']';
        closers[depth + 1] = (uint8_t)(closers[depth] + (closes && closers[depth] < CLOSERS_MAX));
        for (int k = 0; k < closers[depth]; k++)
            for (uint32_t t = trie->first[n]; t < trie->first[n + 1]; t++)
                mask_set(closing->tokens[k], trie->tokens[t]);
    }
    for (int k = 0; k < CLOSERS_MAX; k++)
        if (!trie_select(vocabulary, closing->tokens[k], &closing->tries[k])) return false;
    return true;
}

void closing_tokens_deinit(struct closing_tokens *closing) {
    for (int k = 0; k < CLOSERS_MAX; k++) {
        free(closing->tokens[k]);
        token_trie_deinit(&closing->tries[k]);
    }
}
