/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Tokenizer: text to token ids and back, exactly as the model's own.
 *
 *     text -> (normaliser) -> (split: pre-tokeniser rules) -> pieces -> (merges by rank, or the best sum of scores) -> ids
 *     ids  -> bytes of each -> text
 *
 * Kinds: byte-level BPE (GGUF "gpt2", Hugging Face tokenizer.json, Mistral's tekken.json); SentencePiece BPE and unigram (tokenizer.model, GGUF
 * "llama" and "t5", tokenizer.json with marked blanks). Ordinary text never yields control tokens: text that looks like "<|im_end|>" is
 * encoded as plain bytes; control tokens enter only through tokenizer_special and the trusted parts of a template.
 *
 * Any bytes are accepted, NUL included. Invalid UTF-8 is encoded byte for byte where the kind has bytes (SentencePiece files: U+FFFD, as that
 * library does). What the vocabulary has no token for is left out, or becomes its unknown token, as the reference implementations do (SmolLM2
 * lacks 21 bytes: six control characters, bytes that never occur in UTF-8, and the lead bytes of the unassigned planes 4 to 11). With a
 * complete byte-level vocabulary decoding gives the text back.
 * Read-only after load: any thread.
 */
#ifndef ENGINE_TOKENIZER_TOKENIZER_H
#define ENGINE_TOKENIZER_TOKENIZER_H

#include "base/bytes.h"
#include "base/status.h"

#include <stdint.h>

struct gguf;
struct checkpoint;
struct tokenizer;

/** Ids collected by tokenizer_encode. Grows by itself up to `max_count`; init with zeros and a max_count. */
struct token_list {
    int32_t *ids;
    size_t count, capacity, max_count;
};
void token_list_deinit(struct token_list *list);
/** STATUS_OUT_OF_RANGE at max_count, STATUS_RESOURCE_EXHAUSTED without memory. */
enum status token_list_append(struct token_list *list, int32_t id);

/** GGUF has no key for the normaliser of byte-level BPE: this one, of our own, holds "NFC", "NFD", "NFKC" or "NFKD". */
#define TOKENIZER_GGUF_NORMALIZER "bora.tokenizer.normalizer"

/**
 * Of a GGUF its own metadata; of a folder the first there is of tekken.json, tokenizer.json, tokenizer.model (or Mistral's tokenizer.model.v…),
 * with tokenizer_config.json and generation_config.json for what ends a text. Copies what it needs: the model file may be closed.
 * STATUS_UNIMPLEMENTED names a kind or a setting that is not known; STATUS_INVALID_ARGUMENT a damaged vocabulary (printable bytes without a
 * token, merges of unknown pieces, ids out of range); STATUS_NOT_FOUND: the folder has no tokenizer.
 */
enum status tokenizer_load(const struct checkpoint *checkpoint, struct tokenizer **out, struct error *err);
/** The same of a path, whatever it is: a .gguf, a tokenizer.json, a tekken….json, a SentencePiece model, or a model's folder. */
enum status tokenizer_load_path(const char *path, struct tokenizer **out, struct error *err);
/** The same of each form alone; `file` is its name, for errors. */
enum status tokenizer_load_gguf(const struct gguf *gguf, struct tokenizer **out, struct error *err);
enum status tokenizer_load_json(struct bytes_view json, const char *file, struct tokenizer **out, struct error *err);
enum status tokenizer_load_tekken(struct bytes_view json, const char *file, struct tokenizer **out, struct error *err);
enum status tokenizer_load_sentencepiece(struct bytes_view model, const char *file, struct tokenizer **out,
                                         struct error *err);
/** What tokenizer_config.json and generation_config.json add (either may be empty): bos and eos, more ends, whether bos is added, "legacy". */
enum status tokenizer_read_configs(struct tokenizer *tokenizer, struct bytes_view tokenizer_config,
                                   struct bytes_view generation_config, struct error *err);
void tokenizer_destroy(struct tokenizer *tokenizer);

int32_t tokenizer_vocabulary(const struct tokenizer *tokenizer); /* V */
/** Append the ids of `text`. O(n log n) in the length of the longest piece, whatever the text. STATUS_OUT_OF_RANGE when they
 *  do not fit into `out`, which is then as it was; text that is far too long is refused early. */
enum status tokenizer_encode(const struct tokenizer *tokenizer, struct bytes_view text, struct token_list *out,
                             struct error *err);
/**
 * The same for a whole prompt that a chat template has written: the name of a control token in `text` becomes that token where none of its
 * bytes came from a user. Bit i % 8 of untrusted[i / 8] set: byte i came from a user; NULL: all of it is trusted. A name that a user wrote,
 * wholly or in part, is text as in tokenizer_encode.
 */
enum status tokenizer_encode_template(const struct tokenizer *tokenizer, struct bytes_view text,
                                      const uint8_t *untrusted, struct token_list *out, struct error *err);
/** An upper bound of a text's tokens: at most text + byte * (its bytes), of valid UTF-8, encoded as plain text or as a template. */
struct tokenizer_bound {
    int64_t text; /* of what a text gets in front or behind: none for an empty one */
    int64_t byte;
};
/** It follows from the tokenizer's settings (bound.c), not from measuring. False: nothing is known, as with a table of replacements. */
bool tokenizer_bound(const struct tokenizer *tokenizer, struct tokenizer_bound *out);
/** True when a prompt of plain text begins with the token tokenizer_bos (a template writes it itself). */
bool tokenizer_adds_bos(const struct tokenizer *tokenizer);
/** The bytes that `id` stands for; empty for control tokens and ids outside the vocabulary. Lent. */
struct bytes_view tokenizer_piece(const struct tokenizer *tokenizer, int32_t id);
/** The name of a token as the vocabulary writes it ("<|im_end|>"), for control tokens too. */
struct bytes_view tokenizer_name(const struct tokenizer *tokenizer, int32_t id);
bool tokenizer_is_control(const struct tokenizer *tokenizer, int32_t id);
/** The id of a control (special) token by name, or -1. */
int32_t tokenizer_special(const struct tokenizer *tokenizer, const char *name);
int32_t tokenizer_bos(const struct tokenizer *tokenizer); /* -1 when none */
int32_t tokenizer_eos(const struct tokenizer *tokenizer);
/** True for every token that ends a generation (eos, end of turn, end of message). */
bool tokenizer_is_end(const struct tokenizer *tokenizer, int32_t id);

/**
 * Incremental detokenisation: feed ids, take text that is final. A UTF-8 sequence that more tokens could still complete
 * is held back; bytes that can never become valid turn into U+FFFD, so what comes out is always valid UTF-8.
 */
struct detokenizer {
    const struct tokenizer *tokenizer;
    uint8_t pending[4];
    size_t pending_length;
    bool at_start; /* the blank that a SentencePiece vocabulary has in front of a text is yet to come, and goes */
};
/** At the beginning of a text. */
void detokenizer_init(struct detokenizer *detokenizer, const struct tokenizer *tokenizer);
/** Behind the token `previous` of a prompt: a text begins after a control token, and goes on after any other. */
void detokenizer_continue(struct detokenizer *detokenizer, const struct tokenizer *tokenizer, int32_t previous);
enum status detokenizer_push(struct detokenizer *detokenizer, int32_t id, struct bytes *out);
/** End of text: an unfinished sequence becomes U+FFFD. */
enum status detokenizer_finish(struct detokenizer *detokenizer, struct bytes *out);

#endif
