/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A tokenizer's pieces, arranged for masks.
 *
 * Trie: all pieces as one array in depth-first order. A node that is refused skips its subtree by one addition:
 *
 *     i = 0: while i < count:  accepted(byte[i]) ? i + 1 : i + size[i]
 *
 * Strings: where any text may come, a token is decided by what it has behind the quote that ends the string, and that by the machine alone. So all tokens that
 * stay inside are one ready bitset, and the others are grouped by the rest behind their quote:
 *
 *     abc      stays inside                        -> inside
 *     abc",    ends the string, rest ","           -> rests["," ] = {abc",   xy",   ",   ...}
 *
 * Control tokens are in none of this; ends of text are listed.
 * Read-only after creation: any thread.
 */
#ifndef ENGINE_GRAMMAR_VOCABULARY_H
#define ENGINE_GRAMMAR_VOCABULARY_H

#include "engine/grammar/grammar.h"
#include "engine/tokenizer/tokenizer.h"

struct token_trie {
    uint8_t *bytes;      /* [count] */
    uint8_t *depths;     /* [count] of the node's byte in its piece, from 0; pieces are cut at TRIE_DEPTH_MAX */
    uint32_t roots[257]; /* roots[b]: the node of depth 0 with byte b, or where it would be; roots[256] = count */
    uint32_t *sizes;     /* [count] nodes of the subtree, itself included */
    uint32_t *first;     /* [count + 1] into tokens: those that end here */
    int32_t *tokens;
    uint32_t count;
};
enum { TRIE_DEPTH_MAX = 255 }; /* longer pieces are never admitted */

/** Tokens by what they have behind the quote that ends the string. */
struct string_ends {
    struct token_trie rests; /* a rest of no bytes: `whole` */
    int32_t *whole;          /* [whole_count] tokens whose last byte is that quote */
    uint32_t whole_count;
};

/** Tokens that begin inside a string where any text may come (from: 0), or with the quote that begins it (from: 1). */
struct string_tokens {
    uint32_t *inside; /* [words] bitset: valid, and the string goes on */
    struct string_ends
        plain; /* that end it, without an escape before: what they add to the text is what they look like */
    struct string_ends escaped; /* with one */
    struct token_trie escapes;  /* the same tokens, whole */
    struct token_trie whole;    /* those of `plain`, whole */
    struct token_trie
        rest_nodes;    /* plain.rests again, with each node's own number instead of its tokens; lends its arrays */
    uint32_t *quoted;  /* bitset over the nodes of the rests + 1: another quote is in it */
    uint32_t *rest_of; /* [V] of the tokens of `plain`: node of plain.rests + 1; 0: nothing behind the quote */
};

enum { PLAIN_LENGTHS = 32 };
struct grammar_vocabulary {
    const struct tokenizer *tokenizer;
    uint32_t size;  /* V */
    uint32_t words; /* of a mask */
    struct token_trie trie;
    struct string_tokens strings[2];
    struct token_trie not_plain; /* the trie without plain tokens */
    uint32_t *plain
        [PLAIN_LENGTHS +
         1]; /* [words] whole characters, no quote, backslash or control character: at most i of them; the last: any number */
    uint32_t plain_longest; /* characters of the longest plain token */
    int32_t *end_tokens;
    uint32_t end_count;
};

static inline void mask_set(uint32_t *mask, int32_t token) {
    mask[(uint32_t)token / 32] |= 1u << (uint32_t)token % 32;
}

#endif
