/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Trie: which of many strings begin a text. One hash table of (node, byte) -> node; node 0 is the root.
 */
#ifndef ENGINE_TOKENIZER_TRIE_H
#define ENGINE_TOKENIZER_TRIE_H

#include "base/bytes.h"

struct trie_edge {
    uint32_t key; /* node << 8 | byte, plus one; 0: a free slot */
    int32_t child;
};

struct trie {
    struct trie_edge *edges; /* at most half full */
    uint32_t edge_mask;
    int32_t *values; /* of every node; -1: no string ends here */
    int32_t node_count, node_capacity;
    int32_t root[256]; /* children of the root; -1: none */
    size_t count;      /* strings */
};

/** `bytes`: all strings together, below 2^24. STATUS_RESOURCE_EXHAUSTED. */
enum status trie_init(struct trie *trie, size_t bytes);
void trie_deinit(struct trie *trie);
/** Of two equal strings the first keeps its value, which is >= 0. At most `bytes` bytes in all. Empty strings are left out. */
void trie_add(struct trie *trie, struct bytes_view string, int32_t value);
/** The child of `node` by `byte`, or -1. */
static inline int32_t trie_child(const struct trie *trie, int32_t node, uint8_t byte) {
    if (node == 0) return trie->root[byte];
    uint32_t key = ((uint32_t)node << 8 | byte) + 1;
    for (uint32_t slot = (key * UINT32_C(0x9E3779B1)) >> 7 & trie->edge_mask;; slot = (slot + 1) & trie->edge_mask) {
        if (trie->edges[slot].key == key) return trie->edges[slot].child;
        if (trie->edges[slot].key == 0) return -1;
    }
}
/** The value of the longest string at the start of `text` and its length; -1 when there is none. */
int32_t trie_longest(const struct trie *trie, struct bytes_view text, size_t *out_length);

#endif
