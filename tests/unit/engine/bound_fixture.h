/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Tokenizers of every kind and hostile texts, for tests of what bounds the tokens of a text. */
#ifndef TESTS_UNIT_ENGINE_BOUND_FIXTURE_H
#define TESTS_UNIT_ENGINE_BOUND_FIXTURE_H

#include "engine/tokenizer/tokenizer.h"

enum { BOUND_TOKENIZERS_MAX = 80 };

struct bound_tokenizer {
    char name[64]; /* of its file, or of what it was made by hand for */
    struct tokenizer *tokenizer;
};
/** The files of tests/golden/tokenizers, those of SentencePiece without their tables too, the test model, and vocabularies of bytes behind every
 *  stage there is, where each byte is a token. */
size_t bound_tokenizers_load(struct bound_tokenizer out[BOUND_TOKENIZERS_MAX]);
void bound_tokenizers_destroy(struct bound_tokenizer *tokenizers, size_t count);

struct bound_random {
    uint64_t seed, position;
};
/** 0..below - 1 */
uint32_t bound_draw(struct bound_random *random, uint32_t below);
/** Append valid UTF-8: nothing, words, blanks, runs, characters of all planes, such as grow when they are normalised, marks, names of tokens. */
void bound_text_append(struct bound_random *random, const struct tokenizer *tokenizer, struct bytes *out);

#endif
