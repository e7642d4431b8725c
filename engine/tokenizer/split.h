/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Pre-tokeniser rules: how text is cut into pieces before merging. Pieces are found one after the other, without copying.
 *
 * SPLIT_SMOLLM, as SmolLM's tokenizer has it: every number character (\p{N}) is a piece of its own; the text between two
 * of them is cut by GPT-2's pattern as if nothing stood around it:
 *   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * Character classes are Unicode's, from utf8proc. A byte that is not valid UTF-8 counts as a symbol.
 * Source: Radford et al., GPT-2 (encoder.py); Hugging Face tokenizers, ByteLevel and Digits.
 */
#ifndef ENGINE_TOKENIZER_SPLIT_H
#define ENGINE_TOKENIZER_SPLIT_H

#include "base/bytes.h"

enum split_rule { SPLIT_SMOLLM };

/** The length of the first piece of `text`, > 0 unless the text is empty. */
size_t split_next(enum split_rule rule, struct bytes_view text);

#endif
