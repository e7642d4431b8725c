/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What a tokenizer holds; for the files of this folder.
 */
#ifndef ENGINE_TOKENIZER_TOKENIZER_INTERNAL_H
#define ENGINE_TOKENIZER_TOKENIZER_INTERNAL_H

#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/split.h"
#include "engine/tokenizer/tokenizer.h"

/** tokenizer.ggml.token_type, as GGUF numbers it. */
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
};

struct tokenizer {
    enum split_rule split;
    struct bpe bpe;
    int32_t count;
    struct token *tokens;
    uint8_t *text; /* all names and pieces */
    int32_t bos, eos;
    /* Ids of user-defined tokens by first byte, longest first: those of byte b are [user_first[b], user_first[b + 1]). */
    int32_t *user;
    int32_t user_count, user_first[257];
};

static inline struct bytes_view token_piece(const struct tokenizer *tokenizer, int32_t id) {
    return (struct bytes_view){tokenizer->text + tokenizer->tokens[id].piece_offset,
                               tokenizer->tokens[id].piece_length};
}

static inline struct bytes_view token_name(const struct tokenizer *tokenizer, int32_t id) {
    return (struct bytes_view){tokenizer->text + tokenizer->tokens[id].name_offset, tokenizer->tokens[id].name_length};
}

#endif
