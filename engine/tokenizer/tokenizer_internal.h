/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What a tokenizer holds; for the files of this folder.
 *
 *     text -> added tokens cut it -> normaliser -> (added tokens that are looked for in normalised text) -> prefix
 *          -> split steps -> model (bpe or unigram) -> ids                                              encode.c
 *
 * A loader fills the vocabulary first (tokenizer_reserve, tokenizer_set_token), then the model, then calls tokenizer_finish.
 */
#ifndef ENGINE_TOKENIZER_TOKENIZER_INTERNAL_H
#define ENGINE_TOKENIZER_TOKENIZER_INTERNAL_H

#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/split.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/trie.h"
#include "engine/tokenizer/unigram.h"

/** tokenizer.ggml.token_type, as GGUF numbers it; SentencePiece's protobuf uses the same numbers from 1 on. */
enum token_type {
    TOKEN_UNDEFINED = 0,
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 3,
    TOKEN_USER_DEFINED = 4, /* plain text that is always one token, whatever the merges say */
    TOKEN_UNUSED = 5,
    TOKEN_BYTE = 6,
};

struct token {
    uint32_t name_offset, name_length;   /* as the vocabulary writes it, in `text` */
    uint32_t piece_offset, piece_length; /* the bytes it stands for, in `text` */
    uint8_t type;
    bool end;
    bool left_strip, right_strip; /* takes the white space beside it along */
    bool single_word;             /* only where no letter stands beside it */
    bool normalized;              /* looked for in normalised text */
};

enum tokenizer_model { MODEL_BPE, MODEL_UNIGRAM };

/** What a text that begins gets in front. */
enum prefix_rule {
    PREFIX_NONE,
    PREFIX_SPACE_EACH,  /* every text between added tokens (llama.cpp; Metaspace "always") */
    PREFIX_SPACE_FIRST, /* only at the very beginning (Metaspace "first") */
};

enum { SPLIT_STEPS_MAX = 8 };

struct tokenizer {
    enum tokenizer_model model;
    struct bpe bpe;
    struct unigram unigram;
    struct normalizer normalizer;
    struct split_step splits[SPLIT_STEPS_MAX];
    int split_count;
    enum prefix_rule prefix;
    bool prefix_only_if_missing; /* not in front of a text that begins with one */
    bool spaces_to_marks;        /* " " becomes U+2581 after normalising (Metaspace) */

    int32_t count, capacity;
    struct token *tokens;
    uint8_t *text; /* all names and pieces */
    uint32_t text_used, text_capacity;
    int32_t bos, eos;
    bool adds_bos;

    /* Added tokens by their names: of user-defined ones alone, and of control tokens too; in raw and in normalised text. */
    struct trie user, all, normalized_user, normalized_all;
    bool keeps_added; /* SentencePiece: the normaliser leaves added tokens alone, and they are looked for behind it */
    bool prefix_first_only; /* the normaliser's blank in front stands at the very beginning only */
    bool strip_first_space; /* detokenising: text begins without the blank of its first piece */
};

static inline struct bytes_view token_piece(const struct tokenizer *tokenizer, int32_t id) {
    return (struct bytes_view){tokenizer->text + tokenizer->tokens[id].piece_offset,
                               tokenizer->tokens[id].piece_length};
}

static inline struct bytes_view token_name(const struct tokenizer *tokenizer, int32_t id) {
    return (struct bytes_view){tokenizer->text + tokenizer->tokens[id].name_offset, tokenizer->tokens[id].name_length};
}

/* ---- for loaders (vocabulary.c) ------------------------------------------------------------------------------------ */

/** An empty tokenizer with room for `capacity` tokens (further ids grow it) and about `text_bytes` of names and pieces. */
enum status tokenizer_create(int32_t capacity, size_t text_bytes, struct tokenizer **out, struct error *err);
/** Give `id` its name; its piece is empty until one is set. Ids that no call names are unused. */
enum status tokenizer_set_token(struct tokenizer *tokenizer, int32_t id, struct bytes_view name, enum token_type type,
                                struct error *err);
enum status tokenizer_set_piece(struct tokenizer *tokenizer, int32_t id, struct bytes_view piece, struct error *err);
/** Pieces of a vocabulary that writes blanks as U+2581 and bytes as <0x0A>; sets byte_ids where `byte_ids` is given. */
enum status tokenizer_set_marked_pieces(struct tokenizer *tokenizer, int32_t byte_ids[256], struct error *err);
/** The scores of a unigram's pieces, of every id, and the pieces of these types (bits by token type) into its trie. */
enum status tokenizer_enter_pieces(struct tokenizer *tokenizer, const float *scores, uint32_t types, struct error *err);
/** Pieces of a vocabulary in GPT-2's disguise of bytes; a name that is no disguise stands for itself. */
enum status tokenizer_set_disguised_pieces(struct tokenizer *tokenizer, struct error *err);
/** The byte behind a character of the disguise, or -1. */
int tokenizer_disguised_byte(uint32_t code_point);
/** Build the tries of added tokens; mark ends by their well-known names. The last thing a loader does. */
enum status tokenizer_finish(struct tokenizer *tokenizer, struct error *err);

/**
 * Ids by name (or by piece) while loading: a hash table. Loaders ask for millions of strings, most of which are no names, and a large vocabulary is
 * larger than caches: so a filter has a bit for each hash of a name, a slot says without a look at its token that it is another's, and who
 * has many questions prefetches.
 */
struct name_index_slot {
    uint32_t tag;
    int32_t id; /* -1: free */
    uint32_t offset, length;
};
struct name_index {
    const struct tokenizer *tokenizer;
    struct name_index_slot *slots;
    uint64_t *filter;
    uint32_t mask, filter_mask;
};
/** Of the tokens with one of `types` (bits 1 << type). Of two equal names the first is used. Names stay where they are while it lives. */
enum status name_index_init(struct name_index *index, const struct tokenizer *tokenizer, bool by_piece, uint32_t types,
                            struct error *err);
void name_index_deinit(struct name_index *index);
/** The id of `a` followed by `b`, or -1. */
int32_t name_index_find(const struct name_index *index, struct bytes_view a, struct bytes_view b);

/** The same in steps, for many names at once. */
uint64_t name_index_hash(struct bytes_view name);
int32_t name_index_find_hashed(const struct name_index *index, uint64_t hash, struct bytes_view name);
static inline void name_index_prefetch(const struct name_index *index, uint64_t hash) {
    __builtin_prefetch(&index->slots[(uint32_t)hash & index->mask]);
}

#endif
