/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Tokens by the characters they are made of, for the masks of regexes and user grammars.
 *
 *     state: [a-z_]* goes on     ->  slices {a-f g-z}, {_ a-f g-z}, ... are set whole, without a look at their tokens
 *                                    and the trie is walked only where a token has another character in it
 *
 * Characters fall into at most 64 classes, ASCII's punctuation and controls one each, so that whatever character a grammar stops at ("," in CSV, "<" in
 * markup, the end of a line) does not spoil the others. (The classes of vocabulary.h are those that strings of JSON tell apart.)
 * Read-only after creation: any thread.
 */
#ifndef ENGINE_GRAMMAR_TOKEN_SLICES_H
#define ENGINE_GRAMMAR_TOKEN_SLICES_H

#include <stdbool.h>
#include <stdint.h>

struct token_trie;

/** A set of classes. */
typedef uint64_t slice_classes;
#define SLICE_LETTERS UINT64_C(0x1E)      /* of ASCII: what most tokens are made of */
#define SLICE_OTHERS (UINT64_C(1) << 60)  /* beyond ASCII, without the odd ones */
#define SLICE_ODD (UINT64_C(1) << 61)     /* white space, ends of lines and U+FEFF beyond ASCII */
#define SLICE_LONG (UINT64_C(1) << 62)    /* no character: the token has more than SLICE_BYTES bytes */
#define SLICE_INVALID (UINT64_C(1) << 63) /* what begins with the rest of a character, or is no UTF-8 */
enum { SLICE_BYTES = 24 };

/** A node of the vocabulary's trie. Siblings lie side by side, so that those that need not be looked at cost little; their tokens are in the trie's order. */
struct slice_node {
    slice_classes classes; /* of all characters from the node's own down to the leaves */
    uint32_t first, end;   /* into the trie's tokens: of the node and all below it */
    uint32_t children;     /* the first of child_count */
    uint16_t child_count;
    uint8_t byte;
    uint8_t height; /* bytes of the longest way down, its own included */
};

/** All tokens of exactly these classes. */
struct token_slice {
    slice_classes classes;
    uint32_t first, count; /* in `tokens` */
    uint32_t *bits;        /* the same as a bitset, where they are many; else NULL */
};

/** Which tokens, and from where on they are looked at. */
enum token_slice_kind {
    SLICES_WHOLE,       /* all, whole */
    SLICES_BEHIND_BLANK /* those that begin with a blank, behind it; but for the blank itself */
};
enum { SLICE_KINDS = 2 };
struct token_slice_list {
    struct token_slice *slices;
    uint32_t count;
    int32_t *tokens;
};

struct token_slices {
    struct slice_node *nodes; /* [count of the trie]; the first are those of the tokens' first bytes, rising */
    uint32_t root_count;      /* of these */
    struct token_slice_list lists[SLICE_KINDS];
    slice_classes ascii[128]; /* the class of each character */
};

/** Where the tokens that end at the node itself end. */
static inline uint32_t slice_node_own_end(const struct token_slices *slices, const struct slice_node *node) {
    return node->child_count > 0 ? slices->nodes[node->children].first : node->end;
}

/** All zero before; of the tokens in the trie, with `words` 32-bit words a bitset. False without memory. */
bool token_slices_init(struct token_slices *slices, const struct token_trie *trie, uint32_t words);
void token_slices_deinit(struct token_slices *slices);

/** The classes of which all ASCII characters are in the set `ascii` (bit c % 64 of word c / 64). */
slice_classes slice_classes_within(const struct token_slices *slices, const uint64_t ascii[2]);
/** Set the tokens that are made of these classes only (with SLICE_LONG: however long). */
void token_slices_set(const struct token_slices *slices, enum token_slice_kind kind, slice_classes classes,
                      uint32_t words, uint32_t *mask);

#endif
