/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A tokenizer's pieces, arranged for masks.
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
#include "engine/grammar/token_slices.h"
#include "engine/grammar/token_trie.h"
#include "engine/tokenizer/tokenizer.h"

/** Classes of characters, told apart because patterns tell them apart. */
enum token_class {
    CLASS_NONE = 0,
    CLASS_DIGIT = 1 << 0,
    CLASS_HEX_LOWER = 1 << 1, /* a to f */
    CLASS_LOWER = 1 << 2,     /* g to z */
    CLASS_HEX_UPPER = 1 << 3,
    CLASS_UPPER = 1 << 4,
    CLASS_HYPHEN = 1 << 5,
    CLASS_UNDERSCORE = 1 << 6,
    CLASS_DOT = 1 << 7,
    CLASS_BLANK = 1 << 8,
    CLASS_SLASH = 1 << 9,
    CLASS_COLON = 1 << 10,
    CLASS_PUNCTUATION = 1 << 11, /* what else ASCII has that stands for itself in a string */
    CLASS_OTHERS = 1 << 12,      /* beyond ASCII, without the odd ones */
    CLASS_ODD = 1 << 13,         /* DEL; white space, ends of lines and U+FEFF beyond ASCII */
    CLASS_NEVER = 1 << 14,       /* quote, backslash, control characters, bytes that are no UTF-8 */
    CLASS_ESCAPED = 1 << 15,     /* of states, not of tokens: what only an escape spells */
    CLASSES_ALL = CLASS_NEVER - 1,
    CLASSES_COMMON = CLASSES_ALL & ~CLASS_ODD
};
uint32_t token_class_of(uint32_t code_point);
/** The class of the character that ends with `byte`; of one that does not end yet only if a token ends here. *unfinished: 0 before the first byte. */
uint32_t token_class_step(uint32_t *unfinished, uint8_t byte, bool token_ends);
/** All of first..last are odd (beyond ASCII). */
bool token_class_odd(uint32_t first, uint32_t last);
bool token_trie_classify(struct token_trie *trie);

/** Tokens by what they have behind the quote that ends the string. */
struct string_ends {
    struct token_trie rests; /* a rest of no bytes: `whole` */
    int32_t *whole;          /* [whole_count] tokens whose last byte is that quote */
    uint32_t whole_count;
};

/** Of a spelling: what depends on which escapes there may be. */
struct spelled_tokens {
    uint32_t *inside;           /* [words] bitset: valid, and the string goes on */
    struct string_ends escaped; /* that end it, with an escape before */
    bool escaped_hex;           /* some of them have \u, which spells any character */
    struct token_trie escapes;  /* the same tokens, whole */
};
enum { SPELLINGS = 2 };

/** Tokens that begin inside a string where any text may come (from: 0), or with the quote that begins it (from: 1). */
struct string_tokens {
    struct spelled_tokens spelled[SPELLINGS]; /* by enum grammar_spelling */
    struct string_ends
        plain; /* that end it, without an escape before: what they add to the text is what they look like */
    struct token_trie whole; /* the same tokens, whole */
    struct token_trie
        rest_nodes;    /* plain.rests again, with each node's own number instead of its tokens; lends its arrays */
    uint32_t *quoted;  /* bitset over the nodes of the rests + 1: another quote is in it */
    uint32_t *rest_of; /* [V] of the tokens of `plain`: node of plain.rests + 1; 0: nothing behind the quote */
};

struct blank_token {
    int32_t token;
    uint32_t length;
    bool space; /* the first byte is one */
};

enum { COMMON_LENGTH = 16 };
struct grammar_vocabulary {
    const struct tokenizer *tokenizer;
    uint32_t size;  /* V */
    uint32_t words; /* of a mask */
    uint32_t
        unspelled; /* the first code point with a byte that is no token: perhaps only an escape writes it; 0: in ASCII; CODE_POINTS_COUNT: none */
    struct token_trie trie;
    uint32_t *places;             /* [V] of each token among trie.tokens; UINT32_MAX: it is not there */
    struct token_trie structure;  /* tokens that may begin before a value, in a number or behind a value */
    struct token_trie blank_trie; /* but those of nothing but blanks, which are here */
    struct blank_token *blanks;   /* [blank_count] and here, by their length */
    uint32_t blank_count;
    struct string_tokens strings[2];
    uint32_t *common;           /* [words] bitset: at most COMMON_LENGTH bytes of common classes */
    uint32_t *common_whole;     /* [words] of these, those that end with a whole character */
    struct token_trie uncommon; /* the trie without those tokens */
    struct token_slices slices; /* of the trie, for machines of text that is no JSON */
    uint32_t inside_longest;    /* bytes of the longest token that may stay inside a string */
    int32_t *end_tokens;
    uint32_t end_count;
};

static inline void mask_set(uint32_t *mask, int32_t token) {
    mask[(uint32_t)token / 32] |= 1u << (uint32_t)token % 32;
}

#endif
