/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A text as the tokens that a model would write it with, whose pieces are the text, byte for byte.
 *
 * 1. The model's own tokens. 2. Where they are not the text (SentencePiece puts a blank in front): those that it has behind a line feed, which is how a text goes
 * on behind a prompt. 3. Else the longest piece that fits, again and again; a byte that no piece begins with stands alone, as TEXT_BYTE.
 */
#ifndef CLI_GRAMMAR_TEXT_H
#define CLI_GRAMMAR_TEXT_H

#include "engine/tokenizer/tokenizer.h"

enum { TEXT_BYTE = -256 }; /* TEXT_BYTE + b, which is below 0: the byte b without a token */

struct text_tokens {
    const struct tokenizer *tokenizer;
    int32_t *by_piece; /* [count] ids of ordinary tokens by their pieces; made when first needed */
    size_t count, longest;
};
void text_tokens_init(struct text_tokens *texts, const struct tokenizer *tokenizer);
void text_tokens_deinit(struct text_tokens *texts);
/** `out` is replaced. */
enum status text_tokens_of(struct text_tokens *texts, struct bytes_view text, struct token_list *out,
                           struct error *err);

#endif
