/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Unigram language model: of all ways to cut a text into pieces of the vocabulary, the one with the greatest sum of scores.
 * Source: Kudo, arXiv:1804.10959; sentencepiece 0.2.3, unigram_model.cc (EncodeOptimized).
 */
#ifndef ENGINE_TOKENIZER_UNIGRAM_H
#define ENGINE_TOKENIZER_UNIGRAM_H

#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/trie.h"

/** Whose arithmetic: the sums are f32 in SentencePiece and f64 in the others. */
enum unigram_flavor { UNIGRAM_SENTENCEPIECE, UNIGRAM_HUGGING_FACE, UNIGRAM_LLAMA };

struct unigram {
    enum unigram_flavor flavor;
    struct trie pieces;
    double *scores;    /* of every id */
    bool *user_scored; /* user-defined: their score is made to win */
    double least;
    int32_t unknown; /* -1: characters without a piece are left out */
    bool byte_fallback;
    int32_t byte_ids[256];
    size_t longest_piece_bytes;
};

void unigram_deinit(struct unigram *unigram);
/** O(n * longest piece) time, 24 bytes of memory per byte of the text. Runs of unknown characters are one `unknown`. */
enum status unigram_encode(const struct unigram *unigram, struct bytes_view text, struct token_list *out);

#endif
