/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Byte-level byte-pair encoding: the bytes of a piece become ids, then neighbours are joined, lowest rank first and
 * leftmost among equals, until no pair of neighbours has a merge.
 *
 *     h  e  l  l  o   ->  h  e  ll  o  ->  he  ll  o  ->  hell  o  ->  hello
 *
 * It knows ids and ranks only; names and files are tokenizer_load.c's business.
 * Source: Sennrich, Haddow and Birch, arXiv:1508.07909; bytes as in Radford et al., GPT-2 (encoder.py).
 */
#ifndef ENGINE_TOKENIZER_BPE_H
#define ENGINE_TOKENIZER_BPE_H

#include "engine/tokenizer/tokenizer.h"

struct bpe_merge {
    int32_t left, right; /* left < 0: a free slot */
    int32_t rank, result;
};

struct bpe {
    int32_t byte_ids[256];    /* -1: the vocabulary lacks this byte, which is then left out, as the reference does */
    struct bpe_merge *merges; /* hash table by (left, right), at most half full */
    uint32_t merge_mask;
    size_t longest_token_bytes; /* bounds the bytes that the free places of a list can stand for */
};

/** Room for `merge_count` merges; every byte id -1. STATUS_RESOURCE_EXHAUSTED. */
enum status bpe_init(struct bpe *bpe, size_t merge_count);
void bpe_deinit(struct bpe *bpe);
/** Ids >= 0. Of two merges of the same pair the first stands. At most `merge_count` calls. */
void bpe_add_merge(struct bpe *bpe, int32_t left, int32_t right, int32_t rank, int32_t result);

/**
 * Append the ids of one piece. O(n log n) time and 44 bytes of memory per byte of the piece, on the stack up to 256 bytes.
 * STATUS_OUT_OF_RANGE when `out` cannot hold them; a piece far too long for `out` is refused before any work.
 */
enum status bpe_encode(const struct bpe *bpe, struct bytes_view piece, struct token_list *out);

#endif
