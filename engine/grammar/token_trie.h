/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Pieces of tokens as one array in depth-first order. A node that is refused skips its subtree by one addition:
 *
 *     i = 0: while i < count:  accepted(byte[i]) ? i + 1 : i + size[i]
 */
#ifndef ENGINE_GRAMMAR_TOKEN_TRIE_H
#define ENGINE_GRAMMAR_TOKEN_TRIE_H

#include "base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

struct token_trie {
    uint8_t *bytes;      /* [count] */
    uint8_t *depths;     /* [count] of the node's byte in its piece, from 0; pieces are cut at TRIE_DEPTH_MAX */
    uint32_t roots[257]; /* roots[b]: the node of depth 0 with byte b, or where it would be; roots[256] = count */
    uint32_t *sizes;     /* [count] nodes of the subtree, itself included */
    uint32_t *first;     /* [count + 1] into tokens: those that end here */
    int32_t *tokens;
    uint32_t count;
    uint16_t *classes; /* [count] or NULL: of all characters from the node's own down to the leaves */
    uint8_t *heights;  /* [count] bytes of the longest way down, the node's own included */
};
enum { TRIE_DEPTH_MAX = 255 }; /* longer pieces are never admitted */

/** A piece, or a part of one, and its token. */
struct trie_entry {
    struct bytes_view text; /* of 1 to TRIE_DEPTH_MAX bytes */
    int32_t token;
    uint64_t key; /* its first eight bytes, most significant first: what sorting looks at first */
    /* Only carried along. vocabulary.c finds these out of a piece while it reads pieces in the order of memory: */
    uint8_t kind; /* enum entry_kind */
    uint8_t content
        [2]; /* enum content by enum grammar_spelling, where the piece begins inside a string, and where its quote stands */
    uint8_t end;
};

/** Sorts the entries and sets their keys; classes and heights stay NULL. False without memory. Deinit in both cases. */
bool token_trie_init(struct token_trie *trie, struct trie_entry *entries, size_t count);
void token_trie_deinit(struct token_trie *trie);

#endif
