/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Making a bpe of what files hold: lists of merges, pieces with scores, or ranked bytes; for the loaders.
 */
#ifndef ENGINE_TOKENIZER_BPE_BUILD_H
#define ENGINE_TOKENIZER_BPE_BUILD_H

#include "engine/tokenizer/tokenizer_internal.h"

/**
 * All ways to join two parts to a token among those of `types` (bits): every pair of neighbours whose bytes together are a token merges, with
 * the token's rank. `ranks` [count]: lower merges first. Parts are tokens or single symbols.
 * `by_characters` looks at names (which have U+2581 for blanks), else at pieces.
 */
enum status bpe_build_of_tokens(struct tokenizer *tokenizer, bool by_characters, uint32_t types, const int32_t *ranks,
                                struct error *err);
/** The merge of two names, into a bpe that bpe_init has made room in; `index` is by name. False when one of the three is no token. */
bool bpe_build_named_merge(struct bpe *bpe, const struct name_index *index, struct bytes_view left,
                           struct bytes_view right, int32_t rank);
/** "left right" cut at its first blank behind the first byte. */
bool bpe_build_split_merge(struct bytes_view text, struct bytes_view *out_left, struct bytes_view *out_right);
/** Fill byte_ids by the names of bytes in GPT-2's disguise. */
void bpe_build_disguised_bytes(struct bpe *bpe, const struct name_index *index);
/** Dense ranks, best score first, equal ones alike; -1 at other types. */
enum status bpe_ranks_of_scores(const struct tokenizer *tokenizer, uint32_t types, const float *scores,
                                int32_t *out_ranks, struct error *err);
/** Enter the tokens that may be looked up whole: those of which merging makes themselves, or all of `types` when `trusted`. */
enum status bpe_build_wholes(struct tokenizer *tokenizer, bool by_characters, uint32_t types, bool trusted,
                             struct error *err);
/** Set cut_at_marks, and joins_mark from the tokens that have U+2581 behind another character. */
void bpe_build_cuts(struct tokenizer *tokenizer, uint32_t types);

#endif
