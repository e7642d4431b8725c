/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Unicode's normalisation forms as Hugging Face tokenizers makes them: its tables are those of Unicode 9, to which characters added later are letters
 * that nothing is done to. Source: Unicode Standard Annex 15; tests/reference compares every character.
 */
#ifndef ENGINE_TOKENIZER_UNICODE_FORM_H
#define ENGINE_TOKENIZER_UNICODE_FORM_H

#include "base/bytes.h"
#include "base/status.h"

enum unicode_form { UNICODE_NFC, UNICODE_NFD, UNICODE_NFKC, UNICODE_NFKD };

/** Append `text`, valid UTF-8, in a form. Time is linear, however many marks stand on one letter. STATUS_RESOURCE_EXHAUSTED. */
enum status unicode_form_append(enum unicode_form form, struct bytes_view text, struct bytes *out);

#endif
