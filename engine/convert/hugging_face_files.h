/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** The files of a vocabulary that a Hugging Face folder has, as text. Failures of memory stay in `out` (base/bytes.h). */
#ifndef ENGINE_CONVERT_HUGGING_FACE_FILES_H
#define ENGINE_CONVERT_HUGGING_FACE_FILES_H

#include "engine/convert/vocabulary.h"

/** What SentencePiece writes for a blank: U+2581. */
#define SENTENCEPIECE_BLANK "\xE2\x96\x81"

/** tokenizer.json, with the vocabulary's merges; false when its split has no pattern here. */
bool hugging_face_tokenizer_json(const struct vocabulary *vocabulary, struct bytes *out);
/** tokenizer.model of a vocabulary with scores. */
void hugging_face_sentencepiece(const struct vocabulary *vocabulary, struct bytes *out);

#endif
