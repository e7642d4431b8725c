/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/calls_internal.h"

#include <stdlib.h>

static bool in_set(const uint32_t *tokens, int32_t token) {
    return tokens[(uint32_t)token / 32] >> (uint32_t)token % 32 & 1;
}

/** keep[n]: the node has a token of the set, or one below it has. */
static uint32_t mark_kept(const struct token_trie *trie, const uint32_t *tokens, uint8_t *keep, uint32_t *out_tokens) {
    uint32_t path[TRIE_DEPTH_MAX + 1], marked_to = 0, count = 0;
    for (uint32_t n = 0; n < trie->count; n++) {
        uint32_t depth = trie->depths[n];
        path[depth] = n;
        keep[n] = 0;
        if (marked_to > depth) marked_to = depth; /* path[0..marked_to - 1] is marked */
        bool has = false;
        for (uint32_t t = trie->first[n]; t < trie->first[n + 1]; t++) {
            has |= in_set(tokens, trie->tokens[t]);
            *out_tokens += in_set(tokens, trie->tokens[t]);
        }
        for (; has && marked_to <= depth; marked_to++, count++) keep[path[marked_to]] = 1;
    }
    return count;
}

static void copy_kept(const struct token_trie *trie, const uint32_t *tokens, const uint8_t *keep,
                      struct token_trie *out) {
    uint32_t open[TRIE_DEPTH_MAX + 1], depth_now = 0, token_count = 0, n = 0;
    for (uint32_t i = 0; i < trie->count; i++) {
        if (!keep[i]) continue;
        uint32_t depth = trie->depths[i];
        while (depth_now > depth) {
            depth_now--;
            out->sizes[open[depth_now]] = n - open[depth_now];
        }
        out->bytes[n] = trie->bytes[i];
        out->depths[n] = (uint8_t)depth;
        out->first[n] = token_count;
        for (uint32_t t = trie->first[i]; t < trie->first[i + 1]; t++)
            if (in_set(tokens, trie->tokens[t])) out->tokens[token_count++] = trie->tokens[t];
        open[depth_now++] = n++;
    }
    while (depth_now > 0) {
        depth_now--;
        out->sizes[open[depth_now]] = n - open[depth_now];
    }
    out->first[n] = token_count;
    out->count = n;
    uint32_t byte = 0;
    for (uint32_t i = 0; i < n; i += out->sizes[i])
        while (byte <= out->bytes[i]) out->roots[byte++] = i;
    while (byte <= 256) out->roots[byte++] = n;
}

bool trie_select(const struct token_trie *trie, const uint32_t *tokens, struct token_trie *out) {
    uint8_t *keep = malloc((size_t)trie->count + 1);
    uint32_t token_count = 0;
    *out = (struct token_trie){0};
    if (keep == NULL) return false;
    size_t nodes = mark_kept(trie, tokens, keep, &token_count);
    *out = (struct token_trie){
        .bytes = malloc(nodes + 1),
        .depths = malloc(nodes + 1),
        .sizes = malloc((nodes + 1) * sizeof *out->sizes),
        .first = malloc((nodes + 1) * sizeof *out->first),
        .tokens = malloc(((size_t)token_count + 1) * sizeof *out->tokens),
    };
    bool ok =
        out->bytes != NULL && out->depths != NULL && out->sizes != NULL && out->first != NULL && out->tokens != NULL;
    if (ok)
        copy_kept(trie, tokens, keep, out);
    else
        trie_release(out);
    free(keep);
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
        if (!trie_select(trie, closing->tokens[k], &closing->tries[k])) return false;
    return true;
}

void closing_tokens_deinit(struct closing_tokens *closing) {
    for (int k = 0; k < CLOSERS_MAX; k++) {
        free(closing->tokens[k]);
        trie_release(&closing->tries[k]);
    }
}
