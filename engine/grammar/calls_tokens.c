/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/calls_internal.h"

#include <stdlib.h>

struct selected {
    struct bytes_view text;
    int32_t token;
};

static int compare(const void *a, const void *b) {
    const struct selected *x = a, *y = b;
    int order = bytes_view_compare(x->text, y->text);
    return order != 0 ? order : (x->token > y->token) - (x->token < y->token);
}

static size_t shared_by(struct bytes_view a, struct bytes_view b) {
    size_t length = 0;
    while (length < a.length && length < b.length && a.data[length] == b.data[length]) length++;
    return length;
}

/** The nodes of what is sorted; there is room. */
static void add_nodes(struct token_trie *trie, const struct selected *entries, size_t count) {
    uint32_t open[TRIE_DEPTH_MAX + 1], n = 0, token_count = 0;
    size_t depth = 0;
    for (size_t i = 0; i < count; i++) {
        size_t shared = i == 0 ? 0 : shared_by(entries[i - 1].text, entries[i].text);
        for (; depth > shared; depth--) trie->sizes[open[depth - 1]] = n - open[depth - 1];
        for (; depth < entries[i].text.length; depth++, n++) {
            trie->bytes[n] = entries[i].text.data[depth];
            trie->depths[n] = (uint8_t)depth;
            trie->first[n] = token_count;
            open[depth] = n;
        }
        trie->tokens[token_count++] = entries[i].token; /* equal pieces stand next to each other */
    }
    for (; depth > 0; depth--) trie->sizes[open[depth - 1]] = n - open[depth - 1];
    trie->first[n] = token_count;
    trie->count = n;
    uint32_t byte = 0;
    for (uint32_t i = 0; i < n; i += trie->sizes[i])
        while (byte <= trie->bytes[i]) trie->roots[byte++] = i;
    while (byte <= 256) trie->roots[byte++] = n;
}

static bool build(struct token_trie *trie, struct selected *entries, size_t count) {
    size_t nodes = 0;
    qsort(entries, count, sizeof *entries, compare);
    for (size_t i = 0; i < count; i++)
        nodes += entries[i].text.length - (i == 0 ? 0 : shared_by(entries[i - 1].text, entries[i].text));
    *trie = (struct token_trie){
        .bytes = malloc(nodes + 1),
        .depths = malloc(nodes + 1),
        .sizes = malloc((nodes + 1) * sizeof *trie->sizes),
        .first = malloc((nodes + 1) * sizeof *trie->first),
        .tokens = malloc((count + 1) * sizeof *trie->tokens),
    };
    bool ok = trie->bytes != NULL && trie->depths != NULL && trie->sizes != NULL && trie->first != NULL &&
              trie->tokens != NULL;
    if (ok)
        add_nodes(trie, entries, count);
    else
        trie_release(trie);
    return ok;
}

bool trie_select(const struct grammar_vocabulary *vocabulary, const uint32_t *tokens, struct token_trie *out) {
    size_t count = 0;
    *out = (struct token_trie){0};
    for (uint32_t i = 0; i < vocabulary->words; i++) count += (size_t)__builtin_popcount(tokens[i]);
    struct selected *entries = malloc((count + 1) * sizeof *entries);
    if (entries == NULL) return false;
    count = 0;
    for (uint32_t i = 0; i < vocabulary->words; i++)
        for (uint32_t rest = tokens[i]; rest != 0; rest &= rest - 1) {
            int32_t token = (int32_t)(i * 32 + (uint32_t)__builtin_ctz(rest));
            entries[count++] = (struct selected){tokenizer_piece(vocabulary->tokenizer, token), token};
        }
    bool ok = build(out, entries, count);
    free(entries);
    return ok;
}

void trie_release(struct token_trie *trie) {
    free(trie->bytes);
    free(trie->depths);
    free(trie->sizes);
    free(trie->first);
    free(trie->tokens);
    *trie = (struct token_trie){0};
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
        trie_release(&closing->tries[k]);
    }
}
