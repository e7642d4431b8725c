/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What every reader of Mistral's tekken.json needs: the tokenizer, and the converter that writes its vocabulary into a GGUF. */
#ifndef ENGINE_TOKENIZER_TEKKEN_FILE_H
#define ENGINE_TOKENIZER_TEKKEN_FILE_H

#include "base/bytes.h"

enum { TEKKEN_TOKEN_BYTES_MAX = 4096 };

/** Base64 with its padding (RFC 4648) into `out`, which has room for three bytes of each four; false when it is none, or more than
 *  TEKKEN_TOKEN_BYTES_MAX bytes. */
bool tekken_decode(struct bytes_view text, uint8_t *out, size_t *out_length);

/** The special token of this rank in files of versions up to 7, which do not list theirs; an empty view for a rank without a name. */
struct bytes_view tekken_unlisted_special(size_t rank);

#endif
