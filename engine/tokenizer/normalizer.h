/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Normaliser: what happens to text before it is cut into pieces. Steps, one after the other; none at all is common.
 *
 * The SentencePiece step is the whole of that library's normaliser: its table of replacements (longest match), blanks removed where they
 * repeat, a blank in front, blanks written as U+2581.
 * Source: Unicode Standard Annex 15; sentencepiece, normalizer.cc; Hugging Face tokenizers, normalizers.
 */
#ifndef ENGINE_TOKENIZER_NORMALIZER_H
#define ENGINE_TOKENIZER_NORMALIZER_H

#include "base/bytes.h"
#include "engine/tokenizer/trie.h"

enum normalizer_kind {
    NORMALIZE_NFC,
    NORMALIZE_NFD,
    NORMALIZE_NFKC,
    NORMALIZE_NFKD,
    NORMALIZE_LOWERCASE,
    NORMALIZE_STRIP_LEFT,
    NORMALIZE_STRIP_RIGHT,
    NORMALIZE_PREPEND, /* `to` in front of what is not empty */
    NORMALIZE_REPLACE, /* every `from` by `to` */
    NORMALIZE_SENTENCEPIECE,
};

struct normalizer_step {
    enum normalizer_kind kind;
    uint8_t *from, *to;
    size_t from_length, to_length;
};

enum { NORMALIZER_STEPS_MAX = 16 };

struct normalizer {
    struct normalizer_step steps[NORMALIZER_STEPS_MAX];
    int step_count;
    /* NORMALIZE_SENTENCEPIECE */
    uint32_t *charsmap; /* double array of the table; NULL: none */
    size_t charsmap_units;
    uint8_t *replacements; /* NUL-terminated strings */
    size_t replacement_bytes;
    bool add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces, whitespace_as_suffix;
    bool merge_spaces_like_llama; /* llama.cpp's own reading of the flags, for GGUF's "t5" */
    const struct trie *keep;      /* strings that no replacement touches; borrowed, may be NULL */
    bool inert[256];              /* characters that begin with this byte are never changed: normalizer_prepare */
};

void normalizer_deinit(struct normalizer *normalizer);
/** Add a step; copies the strings. STATUS_RESOURCE_EXHAUSTED: no memory, or too many steps. */
enum status normalizer_add(struct normalizer *normalizer, enum normalizer_kind kind, struct bytes_view from,
                           struct bytes_view to);
/** The table as SentencePiece stores it. STATUS_INVALID_ARGUMENT when it is damaged. */
enum status normalizer_set_charsmap(struct normalizer *normalizer, struct bytes_view blob, struct error *err);
/** After the last change to the SentencePiece settings: find out which characters nothing touches. */
void normalizer_prepare(struct normalizer *normalizer);
/** `text` normalised: `text` itself, or the content of one of the two buffers, until they change. STATUS_RESOURCE_EXHAUSTED. */
enum status normalizer_run(const struct normalizer *normalizer, struct bytes_view text, struct bytes buffers[2],
                           struct bytes_view *out);
/** True when no byte of any text would change. */
static inline bool normalizer_is_empty(const struct normalizer *normalizer) {
    return normalizer->step_count == 0;
}

#endif
