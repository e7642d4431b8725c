/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * A tokenizer out of GGUF metadata ("gpt2"). The vocabulary's names are bytes in GPT-2's disguise, where every byte is a
 * printable character ("Ġhello" is " hello"); merges join names ("h e"), so they are looked up as they stand, and only
 * the pieces are turned back into bytes.
 */
#include "base/limits.h"
#include "base/text.h"
#include "engine/tokenizer/tokenizer_internal.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/gguf.h"

#include <stdlib.h>
#include <string.h>

enum { DISGUISE_END = 256 + 68, VOCABULARY_MIN = 128 };

struct loader {
    struct tokenizer *tokenizer;
    const struct gguf *gguf;
    struct gguf_array names, types, merges; /* types.count 0: absent, all normal */
    int32_t *by_name;                       /* hash table of the ids of normal tokens; -1: free */
    uint32_t by_name_mask;
    int16_t byte_of[DISGUISE_END]; /* the byte behind a character of the disguise; -1: none */
};

/* ---- the disguise -------------------------------------------------------------------------------------------------- */

/** Printable Latin-1 characters stand for themselves, the other 68 bytes for U+0100 and following. */
static void make_disguise(int16_t byte_of[DISGUISE_END]) {
    memset(byte_of, -1, DISGUISE_END * sizeof *byte_of);
    int next = 256;
    for (int byte = 0; byte < 256; byte++) {
        bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
        byte_of[printable ? byte : next++] = (int16_t)byte;
    }
}

/** The bytes behind `name` into `out` (never longer); false when a character is none of the disguise. */
static bool undisguise(const struct loader *loader, struct bytes_view name, uint8_t *out, size_t *out_length) {
    size_t length = 0;
    for (size_t at = 0; at < name.length;) {
        uint32_t code_point;
        bool valid;
        at += text_decode(name.data + at, name.length - at, &code_point, &valid);
        if (!valid || code_point >= DISGUISE_END || loader->byte_of[code_point] < 0) return false;
        out[length++] = (uint8_t)loader->byte_of[code_point];
    }
    *out_length = length;
    return true;
}

/* ---- names --------------------------------------------------------------------------------------------------------- */

static uint64_t hash_more(uint64_t hash, struct bytes_view bytes) { /* FNV-1a */
    for (size_t i = 0; i < bytes.length; i++) hash = (hash ^ bytes.data[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/** The slot of the name `a` followed by `b`, or the free one where it would go. */
static int32_t *name_slot(const struct loader *loader, struct bytes_view a, struct bytes_view b) {
    uint64_t hash = hash_more(hash_more(UINT64_C(0xcbf29ce484222325), a), b);
    for (uint32_t slot = (uint32_t)(hash ^ hash >> 32);; slot++) {
        int32_t *id = &loader->by_name[slot & loader->by_name_mask];
        if (*id < 0) return id;
        struct bytes_view name = token_name(loader->tokenizer, *id);
        if (name.length == a.length + b.length && memcmp(name.data, a.data, a.length) == 0 &&
            (b.length == 0 || memcmp(name.data + a.length, b.data, b.length) == 0)) {
            return id;
        }
    }
}

static int32_t find_name(const struct loader *loader, struct bytes_view a, struct bytes_view b) {
    return *name_slot(loader, a, b);
}

static enum status index_names(struct loader *loader, struct error *err) {
    struct tokenizer *tokenizer = loader->tokenizer;
    size_t slots = 16;
    while (slots < 2 * (size_t)tokenizer->count) slots *= 2;
    loader->by_name_mask = (uint32_t)(slots - 1);
    loader->by_name = malloc(slots * sizeof *loader->by_name);
    if (loader->by_name == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    memset(loader->by_name, -1, slots * sizeof *loader->by_name);
    for (int32_t id = 0; id < tokenizer->count; id++) {
        if (tokenizer->tokens[id].type != TOKEN_NORMAL || tokenizer->tokens[id].name_length == 0) continue;
        int32_t *slot = name_slot(loader, token_name(tokenizer, id), (struct bytes_view){0});
        if (*slot < 0) *slot = id; /* of two equal names the first is used */
    }
    return STATUS_OK;
}

/* ---- tokens -------------------------------------------------------------------------------------------------------- */

static enum status load_token(struct loader *loader, int32_t id, uint32_t *used, struct error *err) {
    struct tokenizer *tokenizer = loader->tokenizer;
    struct token *token = &tokenizer->tokens[id];
    struct bytes_view name = gguf_array_string(&loader->names, id);
    int64_t type = loader->types.count > 0 ? gguf_array_i64(&loader->types, id) : TOKEN_NORMAL;
    if (type < TOKEN_UNDEFINED || type > TOKEN_BYTE) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: token %d has the unknown type %lld",
                         gguf_path(loader->gguf), id, (long long)type);
    }
    token->type = type == TOKEN_UNDEFINED ? TOKEN_NORMAL : (uint8_t)type;
    token->name_offset = *used;
    token->name_length = (uint32_t)name.length;
    memcpy(tokenizer->text + *used, name.data, name.length);
    *used += token->name_length;
    /* User-defined names, and names that are no disguise, are text as they stand; control tokens stand for no text. */
    token->piece_offset = token->name_offset;
    if (token->type == TOKEN_USER_DEFINED) token->piece_length = token->name_length;
    if (token->type != TOKEN_NORMAL && token->type != TOKEN_BYTE) return STATUS_OK;
    size_t length = 0;
    if (undisguise(loader, name, tokenizer->text + *used, &length)) {
        token->piece_offset = *used;
        token->piece_length = (uint32_t)length;
        *used += token->piece_length;
    } else {
        token->piece_length = token->name_length;
    }
    return STATUS_OK;
}

static enum status load_tokens(struct loader *loader, struct error *err) {
    struct tokenizer *tokenizer = loader->tokenizer;
    size_t total = 0;
    for (int64_t i = 0; i < loader->names.count; i++) total += 2 * gguf_array_string(&loader->names, i).length;
    if (total > UINT32_MAX) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: the vocabulary's names have %zu bytes",
                         gguf_path(loader->gguf), total / 2);
    }
    tokenizer->count = (int32_t)loader->names.count;
    tokenizer->tokens = calloc((size_t)tokenizer->count, sizeof *tokenizer->tokens);
    tokenizer->text = malloc(total + 1);
    if (tokenizer->tokens == NULL || tokenizer->text == NULL)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    uint32_t used = 0;
    tokenizer->bpe.longest_token_bytes = 1;
    for (int32_t id = 0; id < tokenizer->count; id++) {
        TRY(load_token(loader, id, &used, err));
        size_t length = tokenizer->tokens[id].piece_length;
        if (length > tokenizer->bpe.longest_token_bytes) tokenizer->bpe.longest_token_bytes = length;
    }
    return STATUS_OK;
}

/** The order in which user-defined tokens are tried: by first byte, the longest first. */
static int compare_user(const void *a, const void *b, void *context) {
    const struct tokenizer *tokenizer = context;
    struct bytes_view x = token_piece(tokenizer, *(const int32_t *)a), y = token_piece(tokenizer, *(const int32_t *)b);
    if (x.data[0] != y.data[0]) return x.data[0] < y.data[0] ? -1 : 1;
    if (x.length != y.length) return x.length > y.length ? -1 : 1;
    return *(const int32_t *)a < *(const int32_t *)b ? -1 : 1;
}

static enum status index_user_defined(struct tokenizer *tokenizer, struct error *err) {
    for (int32_t pass = 0; pass < 2; pass++) {
        tokenizer->user_count = 0;
        for (int32_t id = 0; id < tokenizer->count; id++) {
            const struct token *token = &tokenizer->tokens[id];
            if (token->type != TOKEN_USER_DEFINED || token->piece_length == 0) continue;
            if (pass == 1) tokenizer->user[tokenizer->user_count] = id;
            tokenizer->user_count++;
        }
        if (tokenizer->user_count == 0) return STATUS_OK;
        if (pass == 0) tokenizer->user = malloc((size_t)tokenizer->user_count * sizeof *tokenizer->user);
        if (tokenizer->user == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    qsort_r(tokenizer->user, (size_t)tokenizer->user_count, sizeof *tokenizer->user, compare_user, tokenizer);
    for (int32_t byte = 0, at = 0; byte <= 256; byte++) {
        while (at < tokenizer->user_count && token_piece(tokenizer, tokenizer->user[at]).data[0] < byte) at++;
        tokenizer->user_first[byte] = at;
    }
    return STATUS_OK;
}

/* ---- bytes and merges ---------------------------------------------------------------------------------------------- */

/** Vocabularies may lack bytes that their training text had not (SmolLM2: 21 of them), but not those of plain English. */
static enum status load_bytes(struct loader *loader, struct error *err) {
    for (uint32_t character = 0; character < DISGUISE_END; character++) {
        int byte = loader->byte_of[character];
        uint8_t name[4];
        if (byte < 0) continue;
        int32_t id = find_name(loader, bytes_view_of(name, text_encode(character, name)), (struct bytes_view){0});
        loader->tokenizer->bpe.byte_ids[byte] = id;
        if (id < 0 && (byte == '\n' || (byte >= ' ' && byte <= '~'))) {
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: the vocabulary has no token for the byte 0x%02x",
                             gguf_path(loader->gguf), byte);
        }
    }
    return STATUS_OK;
}

static enum status load_merges(struct loader *loader, struct error *err) {
    for (int32_t rank = 0; rank < loader->merges.count; rank++) {
        struct bytes_view text = gguf_array_string(&loader->merges, rank), left = {0}, right = {0};
        const uint8_t *blank = text.length > 1 ? memchr(text.data + 1, ' ', text.length - 1) : NULL;
        int32_t left_id = -1, right_id = -1, result = -1;
        if (blank != NULL) {
            left = bytes_view_of(text.data, (size_t)(blank - text.data));
            right = bytes_view_of(blank + 1, text.length - left.length - 1);
            left_id = find_name(loader, left, (struct bytes_view){0});
            right_id = find_name(loader, right, (struct bytes_view){0});
            result = find_name(loader, left, right);
        }
        if (left_id < 0 || right_id < 0 || result < 0) {
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "%s: merge %d joins pieces that the vocabulary does not have", gguf_path(loader->gguf),
                             rank);
        }
        bpe_add_merge(&loader->tokenizer->bpe, left_id, right_id, rank, result);
    }
    return STATUS_OK;
}

/* ---- special tokens ------------------------------------------------------------------------------------------------ */

/** A token id from the metadata; -1 when absent. */
static enum status load_id(const struct loader *loader, const char *key, int32_t *out, struct error *err) {
    uint64_t id;
    *out = -1;
    if (!gguf_has(loader->gguf, key)) return STATUS_OK;
    if (!gguf_u64(loader->gguf, key, &id) || id >= (uint64_t)loader->tokenizer->count) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s is not a token of the vocabulary",
                         gguf_path(loader->gguf), key);
    }
    *out = (int32_t)id;
    return STATUS_OK;
}

static enum status load_specials(struct loader *loader, struct error *err) {
    static const char *const end_keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                           "tokenizer.ggml.eom_token_id"};
    /* Files name one end token, but models were trained with several; those that only ever end a text count too. */
    static const char *const end_names[] = {"<|im_end|>", "<|endoftext|>", "<|eot_id|>",
                                            "<|eom_id|>", "<|end|>",       "<end_of_turn>"};
    struct tokenizer *tokenizer = loader->tokenizer;
    int32_t id;
    TRY(load_id(loader, "tokenizer.ggml.bos_token_id", &tokenizer->bos, err));
    TRY(load_id(loader, "tokenizer.ggml.eos_token_id", &tokenizer->eos, err));
    for (size_t i = 0; i < sizeof end_keys / sizeof end_keys[0]; i++) {
        TRY(load_id(loader, end_keys[i], &id, err));
        if (id >= 0) tokenizer->tokens[id].end = true;
    }
    for (size_t i = 0; i < sizeof end_names / sizeof end_names[0]; i++) {
        id = tokenizer_special(tokenizer, end_names[i]);
        if (id >= 0) tokenizer->tokens[id].end = true;
    }
    return STATUS_OK;
}

/* ---- all of it ----------------------------------------------------------------------------------------------------- */

static enum status choose_split(struct loader *loader, struct error *err) {
    struct bytes_view model = {0}, pre = {0};
    const char *path = gguf_path(loader->gguf);
    if (!gguf_string(loader->gguf, "tokenizer.ggml.model", &model))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s holds no tokenizer", path);
    (void)!gguf_string(loader->gguf, "tokenizer.ggml.pre", &pre);
    if (!bytes_view_equal_string(model, "gpt2") || !bytes_view_equal_string(pre, "smollm")) {
        int model_shown = (int)text_truncate((const char *)model.data, model.length, 32);
        int pre_shown = (int)text_truncate((const char *)pre.data, pre.length, 32);
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "%s: its tokenizer is '%.*s' with pre-tokeniser '%.*s'; known is gpt2 with smollm", path,
                         model_shown, (const char *)model.data, pre_shown, (const char *)pre.data);
    }
    loader->tokenizer->split = SPLIT_SMOLLM;
    return STATUS_OK;
}

static bool is_integers(const struct gguf_array *array) {
    return array->element != GGUF_STRING && array->element != GGUF_F32 && array->element != GGUF_F64 &&
           array->element != GGUF_BOOL;
}

static enum status find_arrays(struct loader *loader, struct error *err) {
    const char *path = gguf_path(loader->gguf);
    if (!gguf_array(loader->gguf, "tokenizer.ggml.tokens", &loader->names) || loader->names.element != GGUF_STRING ||
        loader->names.count < VOCABULARY_MIN || loader->names.count > LIMIT_VOCABULARY) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: tokenizer.ggml.tokens is not a list of %d to %d strings",
                         path, VOCABULARY_MIN, LIMIT_VOCABULARY);
    }
    if (gguf_has(loader->gguf, "tokenizer.ggml.token_type") &&
        (!gguf_array(loader->gguf, "tokenizer.ggml.token_type", &loader->types) ||
         loader->types.count != loader->names.count || !is_integers(&loader->types))) {
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: tokenizer.ggml.token_type does not give %lld tokens a type each", path,
                         (long long)loader->names.count);
    }
    if (!gguf_array(loader->gguf, "tokenizer.ggml.merges", &loader->merges) || loader->merges.element != GGUF_STRING ||
        loader->merges.count > LIMIT_MERGES) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: tokenizer.ggml.merges is not a list of at most %d strings",
                         path, LIMIT_MERGES);
    }
    return STATUS_OK;
}

static enum status load(struct loader *loader, struct error *err) {
    TRY(choose_split(loader, err));
    TRY(find_arrays(loader, err));
    enum status status = bpe_init(&loader->tokenizer->bpe, (size_t)loader->merges.count);
    if (status != STATUS_OK) return error_set(err, status, "out of memory");
    make_disguise(loader->byte_of);
    TRY(load_tokens(loader, err));
    TRY(index_names(loader, err));
    TRY(load_bytes(loader, err));
    TRY(load_merges(loader, err));
    TRY(index_user_defined(loader->tokenizer, err));
    return load_specials(loader, err);
}

enum status tokenizer_load_gguf(const struct gguf *gguf, struct tokenizer **out, struct error *err) {
    struct loader loader = {.gguf = gguf, .tokenizer = calloc(1, sizeof(struct tokenizer))};
    if (loader.tokenizer == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    enum status status = load(&loader, err);
    free(loader.by_name);
    if (status != STATUS_OK)
        tokenizer_destroy(loader.tokenizer);
    else
        *out = loader.tokenizer;
    return status;
}

enum status tokenizer_load(const struct checkpoint *checkpoint, struct tokenizer **out, struct error *err) {
    const struct gguf *gguf = checkpoint_gguf(checkpoint);
    if (gguf != NULL) return tokenizer_load_gguf(gguf, out, err);
    return error_set(err, STATUS_UNIMPLEMENTED, "%s: tokenizers are read from GGUF only", checkpoint_path(checkpoint));
}

void tokenizer_destroy(struct tokenizer *tokenizer) {
    if (tokenizer == NULL) return;
    bpe_deinit(&tokenizer->bpe);
    free(tokenizer->tokens);
    free(tokenizer->text);
    free(tokenizer->user);
    free(tokenizer);
}
