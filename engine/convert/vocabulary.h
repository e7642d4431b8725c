/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A tokenizer's vocabulary on its way into GGUF, from whatever file a publisher ships, or out of one:
 *
 *     tokenizer.json    Hugging Face: byte-level BPE ("gpt2"), BPE with byte fallback ("llama"), unigram ("t5")
 *     tokenizer.model   SentencePiece: BPE ("llama") or unigram ("t5")
 *     tekken.json       Mistral's ranked bytes ("gpt2", merges made from the ranks)
 *     tokenizer.ggml.*  GGUF's own
 *
 * The files are untrusted: counts are bounded (base/limits.h), ids have to be dense, and what has no counterpart in GGUF is refused in a sentence.
 */
#ifndef ENGINE_CONVERT_VOCABULARY_H
#define ENGINE_CONVERT_VOCABULARY_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/json.h"
#include "base/status.h"

struct gguf;

/** tokenizer.ggml.token_type */
enum vocabulary_type {
    VOCABULARY_NORMAL = 1,
    VOCABULARY_UNKNOWN,
    VOCABULARY_CONTROL,
    VOCABULARY_USER_DEFINED,
    VOCABULARY_UNUSED,
    VOCABULARY_BYTE
};

struct vocabulary {
    struct arena *arena; /* of all below */
    const char *model;   /* tokenizer.ggml.model */
    const char *pre;     /* tokenizer.ggml.pre, or NULL */
    size_t count;
    struct bytes_view *tokens;
    int32_t *types;
    float *scores;             /* NULL: none */
    struct bytes_view *merges; /* "left right" */
    size_t merge_count;
    int64_t bos, eos, unknown, padding; /* -1: none */
    const char
        *normalizer; /* "NFC", "NFD", "NFKC", "NFKD", as TOKENIZER_GGUF_NORMALIZER has it; NULL: text stays as it is */
    bool adds_bos, adds_bos_said;
    bool space_prefix, space_prefix_said;
    bool removes_blanks, removes_blanks_said;
    struct bytes_view charsmap;
};

/** The id of a token by its text, or -1. */
int64_t vocabulary_find(const struct vocabulary *vocabulary, struct bytes_view token);
/** Many such questions: an index of the tokens whose type is one of `types` (bits by vocabulary_type), sorted by text. It lives in the vocabulary's arena. */
struct vocabulary_index {
    const struct vocabulary *vocabulary;
    int32_t *sorted;
    size_t count;
};
enum { VOCABULARY_ANY = ~0 };
enum status vocabulary_index_init(struct vocabulary_index *index, const struct vocabulary *vocabulary, int types,
                                  struct error *err);
int64_t vocabulary_index_find(const struct vocabulary_index *index, struct bytes_view token);

/** Tokens and types for `count` ids. STATUS_RESOURCE_EXHAUSTED. */
enum status vocabulary_reserve(struct vocabulary *vocabulary, size_t count, struct error *err);

enum { VOCABULARY_PATTERN_BYTES = 512 };
/** The regular expression by which the split that GGUF calls `pre` cuts text; false when it is none that is one expression. */
bool vocabulary_pattern(const char *pre, char out[VOCABULARY_PATTERN_BYTES]);

/** `file`: a name for errors. `source` outlives the vocabulary. */
enum status vocabulary_of_tokenizer_json(const struct json_value *root, const char *file, struct vocabulary *out,
                                         struct error *err);
enum status vocabulary_of_sentencepiece(struct bytes_view source, const char *file, struct vocabulary *out,
                                        struct error *err);
enum status vocabulary_of_tekken(const struct json_value *root, const char *file, struct vocabulary *out,
                                 struct error *err);
/** The token that stands for unknown text has that type, also where the file calls it a control token. STATUS_UNIMPLEMENTED: a model of another name. */
enum status vocabulary_of_gguf(const struct gguf *gguf, struct vocabulary *out, struct error *err);
/** "llama" has scores and no merges: every way to cut a token in two tokens, those of the best score first. */
enum status vocabulary_merges_of_scores(struct vocabulary *vocabulary, struct error *err);

#endif
