/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Tokens and their names as loaders collect them, and what is derived of them once all are there. */
#include "base/limits.h"
#include "engine/tokenizer/tokenizer_internal.h"
#include "engine/tokenizer/unicode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DISGUISE_END = 256 + 68 };

static enum status out_of_memory(struct error *err) {
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
}

static enum status reserve_tokens(struct tokenizer *tokenizer, int32_t count) {
    if (count <= tokenizer->capacity) return STATUS_OK;
    int32_t capacity = tokenizer->capacity < 256 ? 256 : tokenizer->capacity;
    while (capacity < count) capacity *= 2;
    struct token *tokens = realloc(tokenizer->tokens, (size_t)capacity * sizeof *tokens);
    if (tokens == NULL) return STATUS_RESOURCE_EXHAUSTED;
    memset(tokens + tokenizer->capacity, 0, (size_t)(capacity - tokenizer->capacity) * sizeof *tokens);
    tokenizer->tokens = tokens;
    tokenizer->capacity = capacity;
    return STATUS_OK;
}

/** Room for `length` more bytes of text; false when there is none. */
static bool reserve_text(struct tokenizer *tokenizer, size_t length) {
    size_t need = (size_t)tokenizer->text_used + length;
    if (need <= tokenizer->text_capacity) return true;
    size_t capacity = need + need / 2 + 1024;
    if (capacity > UINT32_MAX) capacity = UINT32_MAX;
    if (need > capacity) return false;
    uint8_t *text = realloc(tokenizer->text, capacity);
    if (text == NULL) return false;
    tokenizer->text = text;
    tokenizer->text_capacity = (uint32_t)capacity;
    return true;
}

enum status tokenizer_create(int32_t capacity, size_t text_bytes, struct tokenizer **out, struct error *err) {
    struct tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    unicode_prepare();
    if (tokenizer == NULL) return out_of_memory(err);
    tokenizer->bos = tokenizer->eos = -1;
    if (reserve_tokens(tokenizer, capacity) != STATUS_OK || !reserve_text(tokenizer, text_bytes)) {
        tokenizer_destroy(tokenizer);
        return out_of_memory(err);
    }
    *out = tokenizer;
    return STATUS_OK;
}

enum status tokenizer_set_token(struct tokenizer *tokenizer, int32_t id, struct bytes_view name, enum token_type type,
                                struct error *err) {
    if (id < 0 || id >= LIMIT_VOCABULARY)
        return error_set(err, STATUS_INVALID_ARGUMENT, "token id %d is not below %d", id, LIMIT_VOCABULARY);
    if (reserve_tokens(tokenizer, id + 1) != STATUS_OK || !reserve_text(tokenizer, name.length))
        return out_of_memory(err);
    while (tokenizer->count <= id) tokenizer->tokens[tokenizer->count++] = (struct token){.type = TOKEN_UNUSED};
    tokenizer->tokens[id] = (struct token){.name_offset = tokenizer->text_used,
                                           .name_length = (uint32_t)name.length,
                                           .piece_offset = tokenizer->text_used,
                                           .type = (uint8_t)type};
    if (name.length > 0) memcpy(tokenizer->text + tokenizer->text_used, name.data, name.length);
    tokenizer->text_used += (uint32_t)name.length;
    return STATUS_OK;
}

enum status tokenizer_set_piece(struct tokenizer *tokenizer, int32_t id, struct bytes_view piece, struct error *err) {
    struct token *token = &tokenizer->tokens[id];
    if (bytes_view_equal(piece, token_name(tokenizer, id))) {
        token->piece_offset = token->name_offset;
        token->piece_length = token->name_length;
        return STATUS_OK;
    }
    if (!reserve_text(tokenizer, piece.length)) return out_of_memory(err);
    if (piece.length > 0) memcpy(tokenizer->text + tokenizer->text_used, piece.data, piece.length);
    token->piece_offset = tokenizer->text_used;
    token->piece_length = (uint32_t)piece.length;
    tokenizer->text_used += (uint32_t)piece.length;
    return STATUS_OK;
}

/* ---- pieces out of names ------------------------------------------------------------------------------------------- */

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/** The byte of "<0x0A>", or -1. */
static int byte_of_name(struct bytes_view name) {
    if (name.length != 6 || memcmp(name.data, "<0x", 3) != 0 || name.data[5] != '>') return -1;
    int high = hex_digit(name.data[3]), low = hex_digit(name.data[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/** `name` with every U+2581 as a blank, into `out`, which has room for all of it. */
static size_t unmark(struct bytes_view name, uint8_t *out) {
    size_t length = 0;
    for (size_t at = 0; at < name.length;) {
        if (name.length - at >= 3 && memcmp(name.data + at, "\xE2\x96\x81", 3) == 0) {
            out[length++] = ' ';
            at += 3;
        } else {
            out[length++] = name.data[at++];
        }
    }
    return length;
}

enum status tokenizer_set_marked_pieces(struct tokenizer *tokenizer, int32_t byte_ids[256], struct error *err) {
    for (int i = 0; byte_ids != NULL && i < 256; i++) byte_ids[i] = -1;
    for (int32_t id = 0; id < tokenizer->count; id++) {
        struct token *token = &tokenizer->tokens[id];
        if (token->type == TOKEN_CONTROL || token->type == TOKEN_UNKNOWN) continue;
        int byte =
            token->type == TOKEN_BYTE || token->type == TOKEN_NORMAL ? byte_of_name(token_name(tokenizer, id)) : -1;
        if (byte >= 0 && byte_ids != NULL && (token->type == TOKEN_BYTE || byte_ids[byte] < 0)) byte_ids[byte] = id;
        if (!reserve_text(tokenizer, (size_t)token->name_length + 1)) return out_of_memory(err);
        uint8_t *out = tokenizer->text + tokenizer->text_used;
        size_t length = 1;
        if (byte >= 0)
            out[0] = (uint8_t)byte;
        else
            length = unmark(token_name(tokenizer, id), out);
        token->piece_length = (uint32_t)length;
        if (byte < 0 && length == token->name_length) { /* nothing changed */
            token->piece_offset = token->name_offset;
            continue;
        }
        token->piece_offset = tokenizer->text_used;
        tokenizer->text_used += (uint32_t)length;
    }
    return STATUS_OK;
}

enum status tokenizer_enter_pieces(struct tokenizer *tokenizer, const float *scores, uint32_t types,
                                   struct error *err) {
    struct unigram *unigram = &tokenizer->unigram;
    size_t bytes = 0;
    for (int32_t id = 0; id < tokenizer->count; id++) bytes += tokenizer->tokens[id].name_length;
    unigram->scores = calloc((size_t)tokenizer->count, sizeof *unigram->scores);
    unigram->user_scored = calloc((size_t)tokenizer->count, sizeof *unigram->user_scored);
    if (unigram->scores == NULL || unigram->user_scored == NULL || trie_init(&unigram->pieces, bytes) != STATUS_OK)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory for %zu bytes of pieces", bytes);
    unigram->least = INFINITY;
    for (int32_t id = 0; id < tokenizer->count; id++) {
        unsigned type = tokenizer->tokens[id].type;
        unigram->scores[id] = scores[id];
        unigram->user_scored[id] = type == TOKEN_USER_DEFINED;
        if (types >> type & 1) trie_add(&unigram->pieces, token_name(tokenizer, id), id);
        if (type != TOKEN_NORMAL) continue;
        if (scores[id] < unigram->least) unigram->least = scores[id];
    }
    return STATUS_OK;
}

/** Printable Latin-1 characters stand for themselves, the other 68 bytes for U+0100 and following. */
int tokenizer_disguised_byte(uint32_t code_point) {
    if (code_point >= DISGUISE_END) return -1;
    if (code_point < 256) {
        bool printable = (code_point >= 0x21 && code_point <= 0x7E) || (code_point >= 0xA1 && code_point != 0xAD);
        return printable ? (int)code_point : -1;
    }
    int rank = (int)code_point - 256;
    if (rank < 0x21) return rank;
    rank -= 0x21;
    if (rank < 0xA1 - 0x7F) return 0x7F + rank;
    return 0xAD;
}

/** The bytes behind `name` into `out` (never longer); false when a character is none of the disguise. */
static bool undisguise(struct bytes_view name, uint8_t *out, size_t *out_length) {
    size_t length = 0;
    for (size_t at = 0; at < name.length;) {
        uint32_t code_point;
        bool valid;
        at += text_decode(name.data + at, name.length - at, &code_point, &valid);
        int byte = valid ? tokenizer_disguised_byte(code_point) : -1;
        if (byte < 0) return false;
        out[length++] = (uint8_t)byte;
    }
    *out_length = length;
    return true;
}

enum status tokenizer_set_disguised_pieces(struct tokenizer *tokenizer, struct error *err) {
    for (int32_t id = 0; id < tokenizer->count; id++) {
        struct token *token = &tokenizer->tokens[id];
        token->piece_offset = token->name_offset;
        /* User-defined names, and names that are no disguise, are text as they stand; control tokens stand for no text. */
        if (token->type == TOKEN_USER_DEFINED) token->piece_length = token->name_length;
        if (token->type != TOKEN_NORMAL && token->type != TOKEN_BYTE) continue;
        size_t length = 0;
        if (!reserve_text(tokenizer, token->name_length)) return out_of_memory(err);
        if (undisguise(token_name(tokenizer, id), tokenizer->text + tokenizer->text_used, &length)) {
            token->piece_offset = tokenizer->text_used;
            token->piece_length = (uint32_t)length;
            tokenizer->text_used += token->piece_length;
        } else { /* merging never makes it */
            token->piece_length = token->name_length;
            token->type = TOKEN_UNUSED;
        }
    }
    return STATUS_OK;
}

/* ---- an index of names --------------------------------------------------------------------------------------------- */

enum { JOINED_MAX = 256 };

/** Of `a` followed by `b`: eight bytes at a time where they fit into a buffer, else one by one. */
static uint64_t hash_joined(struct bytes_view a, struct bytes_view b) {
    uint8_t joined[JOINED_MAX + 8];
    size_t length = a.length + b.length;
    uint64_t hash = length, word;
    if (length > JOINED_MAX) return bytes_hash(bytes_hash(BYTES_HASH_START, a), b);
    if (a.length > 0) memcpy(joined, a.data, a.length);
    if (b.length > 0) memcpy(joined + a.length, b.data, b.length);
    memset(joined + length, 0, 8);
    for (size_t at = 0; at < length; at += 8) {
        memcpy(&word, joined + at, 8);
        hash = (hash ^ word) * UINT64_C(0xD6E8FEB86659FD93);
        hash ^= hash >> 32;
    }
    return hash;
}

static inline uint32_t filter_bit(const struct name_index *index, uint64_t hash) {
    return (uint32_t)(hash >> 24) & index->filter_mask;
}

/** The slot of the name `a` followed by `b`, or the free one where it would go. */
static struct name_index_slot *name_slot(const struct name_index *index, uint64_t hash, struct bytes_view a,
                                         struct bytes_view b) {
    for (uint32_t at = (uint32_t)hash;; at++) {
        struct name_index_slot *slot = &index->slots[at & index->mask];
        if (slot->id < 0) return slot;
        if (slot->tag != (uint32_t)(hash >> 32) || slot->length != a.length + b.length) continue;
        const uint8_t *name = index->tokenizer->text + slot->offset;
        if (memcmp(name, a.data, a.length) == 0 && (b.length == 0 || memcmp(name + a.length, b.data, b.length) == 0))
            return slot;
    }
}

static int32_t find_hashed(const struct name_index *index, uint64_t hash, struct bytes_view a, struct bytes_view b) {
    uint32_t bit = filter_bit(index, hash);
    if (a.length + b.length == 0 || (index->filter[bit / 64] >> bit % 64 & 1) == 0) return -1;
    return name_slot(index, hash, a, b)->id;
}

int32_t name_index_find(const struct name_index *index, struct bytes_view a, struct bytes_view b) {
    return find_hashed(index, hash_joined(a, b), a, b);
}

uint64_t name_index_hash(struct bytes_view name) {
    return hash_joined(name, (struct bytes_view){0});
}

int32_t name_index_find_hashed(const struct name_index *index, uint64_t hash, struct bytes_view name) {
    return find_hashed(index, hash, name, (struct bytes_view){0});
}

static void name_index_add(struct name_index *index, struct bytes_view name, int32_t id) {
    uint64_t hash = name_index_hash(name);
    uint32_t bit = filter_bit(index, hash);
    struct name_index_slot *slot = name_slot(index, hash, name, (struct bytes_view){0});
    if (slot->id < 0) {
        uint32_t offset = (uint32_t)(name.data - index->tokenizer->text);
        *slot = (struct name_index_slot){(uint32_t)(hash >> 32), id, offset, (uint32_t)name.length};
    }
    index->filter[bit / 64] |= UINT64_C(1) << bit % 64;
}

enum status name_index_init(struct name_index *index, const struct tokenizer *tokenizer, bool by_piece, uint32_t types,
                            struct error *err) {
    size_t slots = 64;
    while (slots < 2 * (size_t)tokenizer->count) slots *= 2;
    size_t filter_bits = 4 * slots;
    *index = (struct name_index){
        .tokenizer = tokenizer, .mask = (uint32_t)(slots - 1), .filter_mask = (uint32_t)(filter_bits - 1)};
    index->slots = malloc(slots * sizeof *index->slots);
    index->filter = calloc(filter_bits / 64, sizeof *index->filter);
    if (index->slots == NULL || index->filter == NULL) {
        name_index_deinit(index);
        return out_of_memory(err);
    }
    memset(index->slots, -1, slots * sizeof *index->slots);
    for (int32_t id = 0; id < tokenizer->count; id++) {
        struct bytes_view name = by_piece ? token_piece(tokenizer, id) : token_name(tokenizer, id);
        if ((types >> tokenizer->tokens[id].type & 1) != 0 && name.length > 0) name_index_add(index, name, id);
    }
    return STATUS_OK;
}

void name_index_deinit(struct name_index *index) {
    free(index->slots);
    free(index->filter);
    *index = (struct name_index){0};
}

/* ---- what all kinds end with --------------------------------------------------------------------------------------- */

/** Files name one end token, but models were trained with several; those that only ever end a text count too. */
static void mark_ends(struct tokenizer *tokenizer) {
    static const char *const names[] = {"<|im_end|>", "<|endoftext|>", "<|eot_id|>",      "<|eom_id|>",
                                        "<|end|>",    "<end_of_turn>", "<|end_of_text|>", "<turn|>"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int32_t id = tokenizer_special(tokenizer, names[i]);
        if (id >= 0) tokenizer->tokens[id].end = true;
    }
    if (tokenizer->eos >= 0) tokenizer->tokens[tokenizer->eos].end = true;
}

/** A trie of the added tokens of one kind: with control tokens or without, looked for in normalised text or not. Names are normalised where
 *  the text is. */
static enum status index_added(const struct tokenizer *tokenizer, bool control, bool normalized, struct trie *out) {
    struct bytes buffers[2];
    size_t bytes = 0;
    enum status status = STATUS_OK;
    for (int i = 0; i < 2; i++) bytes_init(&buffers[i], UINT32_MAX);
    for (int pass = 0; pass < 2 && status == STATUS_OK; pass++) {
        if (pass == 1) TRY_CLEANUP(trie_init(out, bytes));
        for (int32_t id = 0; id < tokenizer->count; id++) {
            const struct token *token = &tokenizer->tokens[id];
            bool wanted = token->type == TOKEN_USER_DEFINED ||
                          (control && (token->type == TOKEN_CONTROL || token->type == TOKEN_UNKNOWN));
            if (!wanted || token->normalized != normalized || token->name_length == 0) continue;
            struct bytes_view name = token_name(tokenizer, id);
            if (normalized && !tokenizer->keeps_added)
                TRY_CLEANUP(normalizer_run(&tokenizer->normalizer, name, buffers, &name));
            bytes += name.length;
            if (pass == 1) trie_add(out, name, id);
        }
        if (pass == 0 && bytes == 0) break;
    }
cleanup:
    for (int i = 0; i < 2; i++) bytes_deinit(&buffers[i]);
    return status;
}

enum status tokenizer_finish(struct tokenizer *tokenizer, struct error *err) {
    enum status status;
    tokenizer->bpe.text = tokenizer->text;
    tokenizer->normalizer.keep = tokenizer->keeps_added ? &tokenizer->normalized_user : NULL;
    mark_ends(tokenizer);
    if ((status = index_added(tokenizer, false, false, &tokenizer->user)) != STATUS_OK ||
        (status = index_added(tokenizer, true, false, &tokenizer->all)) != STATUS_OK ||
        (status = index_added(tokenizer, false, true, &tokenizer->normalized_user)) != STATUS_OK ||
        (status = index_added(tokenizer, true, true, &tokenizer->normalized_all)) != STATUS_OK)
        return error_set(err, status, "the added tokens do not fit into memory");
    normalizer_prepare(&tokenizer->normalizer);
    return STATUS_OK;
}
