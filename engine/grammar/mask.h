/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Walks of a machine through tries of tokens.
 *
 * mask_walk is right for every machine. An engine that knows more (machine_operations.fill) sets most of a mask from ready bitsets and walks the rest.
 */
#ifndef ENGINE_GRAMMAR_MASK_H
#define ENGINE_GRAMMAR_MASK_H

#include "engine/grammar/vocabulary.h"

enum { MASK_KEPT_STRING, MASK_KEPT_NAME, MASK_KEPT };
struct mask_kept {
    uint32_t *mask;                /* NULL: none yet */
    const struct machine *machine; /* whose frames these serials are: a session may walk several */
    uint64_t serial;
    uint32_t tuple;
};

/** Scratch of walks, and where their frames come from. One walk at a time; a walk may start another below the node it is at. */
struct mask_walk {
    const struct grammar_vocabulary *vocabulary;
    struct machine *machine;
    struct frames *frames;
    struct machine_state stack[TRIE_DEPTH_MAX + 1]; /* by depth: the state behind the node's byte */
    struct frames_mark marks[TRIE_DEPTH_MAX + 1];
    struct mask_kept kept[MASK_KEPT]; /* by an engine that knows when they come again */
};

/**
 * Set the tokens of the nodes first..end - 1 that the machine accepts; `from` is the state before the first node's byte, and all nodes lie below one parent.
 * False: budget or memory.
 */
bool mask_walk(struct mask_walk *walk, const struct token_trie *trie, uint32_t first, uint32_t end,
               const struct machine_state *from, uint32_t *mask);

static inline void mask_set_node(uint32_t *mask, const struct token_trie *trie, uint32_t node) {
    for (uint32_t t = trie->first[node]; t < trie->first[node + 1]; t++) mask_set(mask, trie->tokens[t]);
}
/** The tokens of a node and of all below it. */
static inline void mask_set_subtree(uint32_t *mask, const struct token_trie *trie, uint32_t node) {
    for (uint32_t t = trie->first[node]; t < trie->first[node + trie->sizes[node]]; t++)
        mask_set(mask, trie->tokens[t]);
}
/** Clear the tokens of a node and of all below it. */
static inline void mask_clear_subtree(uint32_t *mask, const struct token_trie *trie, uint32_t node) {
    for (uint32_t t = trie->first[node]; t < trie->first[node + trie->sizes[node]]; t++)
        mask[(uint32_t)trie->tokens[t] / 32] &= ~(1u << (uint32_t)trie->tokens[t] % 32);
}
static inline void mask_or(uint32_t *mask, const uint32_t *other, uint32_t words) {
    for (uint32_t i = 0; i < words; i++) mask[i] |= other[i];
}

#endif
