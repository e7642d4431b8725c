/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Byte-pair encoding: the bytes (or the characters) of a piece become ids, then neighbours are joined, lowest rank first and
 * leftmost among equals, until no pair of neighbours has a merge.
 *
 *     h  e  l  l  o   ->  h  e  ll  o  ->  he  ll  o  ->  hell  o  ->  hello
 *
 * A piece that is a token as it stands is looked up at once, where that gives the same: bpe_build.h finds out.
 * It knows ids and ranks only; names and files are the loaders' business. Symbols without a token have ids from `count` on: a
 * character c is count + c, a byte that is no UTF-8 count + BPE_INVALID + byte. They may be halves of merges like any other.
 * Source: Sennrich, Haddow and Birch, arXiv:1508.07909; Radford et al., GPT-2 (encoder.py); Kudo and Richardson, arXiv:1808.06226.
 */
#ifndef ENGINE_TOKENIZER_BPE_H
#define ENGINE_TOKENIZER_BPE_H

#include "engine/tokenizer/tokenizer.h"

enum { BPE_INVALID = 0x110000 };

struct bpe_merge {
    int32_t left, right; /* left < 0: a free slot */
    int32_t rank, result;
};

/** A token that may be taken whole: its bytes where they are at most eight, else their hash. */
struct bpe_whole {
    uint64_t key;
    uint32_t length; /* 0: a free slot */
    int32_t id;
};

struct bpe {
    int32_t count;        /* tokens */
    bool by_characters;   /* symbols are characters at first, not bytes */
    bool cut_at_marks;    /* words are merged one by one: a U+2581 begins one, unless ... */
    bool joins_mark[256]; /* ... the byte before it is the last of a character that a token has in front of U+2581 */
    bool
        drop_missing; /* symbols that nothing stands for leave before merging (Hugging Face), not after it (llama.cpp) */
    bool byte_fallback;    /* a character without a token becomes the tokens of its bytes, if there are all of them */
    bool fuse_unknown;     /* neighbours without a token become one `unknown` */
    int32_t unknown;       /* -1: nothing */
    int32_t byte_ids[256]; /* -1: the vocabulary lacks this byte */
    int32_t ascii_ids
        [128]; /* by_characters: the symbols of the first characters, once bpe_enter_ascii has looked them up */
    struct bpe_merge *merges; /* hash table by (left, right), at most half full */
    uint32_t merge_mask;
    uint64_t *
        filter; /* a bit for each hash of a pair that merges: most pairs do not, and are told so without a look at the table */
    uint32_t filter_mask;
    struct bpe_whole *wholes; /* hash table, at most half full */
    uint32_t whole_mask;
    const uint8_t *text; /* of the vocabulary, borrowed; the bytes of token id begin at offsets[id] */
    uint32_t *offsets;
    size_t longest_token_bytes; /* bounds the bytes that the free places of a list can stand for */
};

/** Memory that a call keeps from piece to piece; begin with zeros. */
struct bpe_scratch {
    void *memory;
    size_t bytes;
};
void bpe_scratch_deinit(struct bpe_scratch *scratch);

/** Room for `merge_count` merges and `whole_count` whole tokens; every byte id -1. STATUS_RESOURCE_EXHAUSTED. */
enum status bpe_init(struct bpe *bpe, int32_t count, size_t merge_count, size_t whole_count);
void bpe_deinit(struct bpe *bpe);
/** Ids >= 0. Of two merges of the same pair the first stands. At most `merge_count` calls. */
void bpe_add_merge(struct bpe *bpe, int32_t left, int32_t right, int32_t rank, int32_t result);
/** It will be added soon: fetch its place, as the table is larger than caches. */
void bpe_prefetch_merge(const struct bpe *bpe, int32_t left, int32_t right);
/** The bytes of `id`, at `offset` of bpe->text. Of two equal ones the first stands. At most `whole_count` calls. */
void bpe_add_whole(struct bpe *bpe, uint32_t offset, uint32_t length, int32_t id);
/** After the last whole token: what ASCII characters are as symbols. */
void bpe_enter_ascii(struct bpe *bpe);
/** The id of a whole token, or -1. */
int32_t bpe_find_whole(const struct bpe *bpe, struct bytes_view piece);
/** The symbol at the start of `text`, length > 0, and its bytes. */
int32_t bpe_symbol_at(const struct bpe *bpe, struct bytes_view text, size_t *out_bytes);
/** What merging alone makes of `piece`, if that is one token; else -1. STATUS_RESOURCE_EXHAUSTED. */
enum status bpe_merge_alone(const struct bpe *bpe, struct bytes_view piece, struct bpe_scratch *scratch, int32_t *out);

/**
 * Append the ids of one piece. O(n log n) time and 44 bytes of memory per byte of the piece, of the stack for short ones.
 * STATUS_OUT_OF_RANGE when `out` cannot hold them; a piece far too long for `out` is refused before any work.
 */
enum status bpe_encode(const struct bpe *bpe, struct bytes_view piece, struct bpe_scratch *scratch,
                       struct token_list *out);

#endif
