/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/grammar_text.h"

#include <stdlib.h>
#include <string.h>

void text_tokens_init(struct text_tokens *texts, const struct tokenizer *tokenizer) {
    *texts = (struct text_tokens){.tokenizer = tokenizer};
}

void text_tokens_deinit(struct text_tokens *texts) {
    free(texts->by_piece);
}

/** Drop tokens from the front until their pieces are `skipped` bytes; false when a piece goes past that, or the rest is not `text`. */
static bool keep_text(const struct tokenizer *tokenizer, struct bytes_view text, size_t skipped,
                      struct token_list *tokens) {
    size_t first = 0, passed = 0, at = 0;
    while (first < tokens->count && passed < skipped) passed += tokenizer_piece(tokenizer, tokens->ids[first++]).length;
    if (passed != skipped) return false;
    for (size_t i = first; i < tokens->count; i++) {
        struct bytes_view piece = tokenizer_piece(tokenizer, tokens->ids[i]);
        bool control = tokenizer_is_control(tokenizer, tokens->ids[i]);
        if (control || piece.length > text.length - at || memcmp(piece.data, text.data + at, piece.length) != 0)
            return false;
        at += piece.length;
    }
    memmove(tokens->ids, tokens->ids + first, (tokens->count - first) * sizeof *tokens->ids);
    tokens->count -= first;
    return at == text.length;
}

/* ---- the longest piece --------------------------------------------------------------------------------------------- */

static int by_piece(const void *a, const void *b, void *tokenizer) {
    return bytes_view_compare(tokenizer_piece(tokenizer, *(const int32_t *)a),
                              tokenizer_piece(tokenizer, *(const int32_t *)b));
}

static bool sort_pieces(struct text_tokens *texts) {
    int32_t vocabulary = tokenizer_vocabulary(texts->tokenizer);
    texts->by_piece = malloc((size_t)vocabulary * sizeof *texts->by_piece);
    if (texts->by_piece == NULL) return false;
    for (int32_t id = 0; id < vocabulary; id++) {
        size_t length = tokenizer_piece(texts->tokenizer, id).length;
        if (length == 0 || tokenizer_is_control(texts->tokenizer, id) || tokenizer_is_end(texts->tokenizer, id))
            continue;
        texts->by_piece[texts->count++] = id;
        if (length > texts->longest) texts->longest = length;
    }
    qsort_r(texts->by_piece, texts->count, sizeof *texts->by_piece, by_piece, (void *)texts->tokenizer);
    return true;
}

/** The token of that piece, or -1. */
static int32_t find_piece(const struct text_tokens *texts, struct bytes_view piece) {
    size_t low = 0, high = texts->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = bytes_view_compare(tokenizer_piece(texts->tokenizer, texts->by_piece[middle]), piece);
        if (order == 0) return texts->by_piece[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

static enum status longest_pieces(struct text_tokens *texts, struct bytes_view text, struct token_list *out,
                                  struct error *err) {
    if (texts->by_piece == NULL && !sort_pieces(texts))
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    out->count = 0;
    for (size_t at = 0; at < text.length;) {
        size_t length = text.length - at < texts->longest ? text.length - at : texts->longest;
        int32_t token = -1;
        while (length > 0 && (token = find_piece(texts, bytes_view_of(text.data + at, length))) < 0) length--;
        if (token < 0) token = TEXT_BYTE + text.data[at];
        if (token_list_append(out, token) != STATUS_OK)
            return error_set(err, STATUS_RESOURCE_EXHAUSTED, "an instance has too many tokens");
        at += length > 0 ? length : 1;
    }
    return STATUS_OK;
}

static enum status encode_behind(const struct text_tokens *texts, const char *before, struct bytes_view text,
                                 struct token_list *out, struct error *err) {
    struct bytes joined;
    bytes_init(&joined, SIZE_MAX / 2);
    enum status status = bytes_append_string(&joined, before);
    if (status == STATUS_OK) status = bytes_append(&joined, text.data, text.length);
    if (status != STATUS_OK) (void)error_set(err, status, "out of memory");
    if (status == STATUS_OK) status = tokenizer_encode(texts->tokenizer, bytes_view(&joined), out, err);
    bytes_deinit(&joined);
    return status;
}

enum status text_tokens_of(struct text_tokens *texts, struct bytes_view text, struct token_list *out,
                           struct error *err) {
    static const struct {
        const char *before;
        size_t skipped; /* bytes of pieces in front of the text's: of `before`, and of a blank before that */
    } tries[] = {{"", 0}, {"\n", 1}, {"\n", 2}};
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        out->count = 0;
        TRY(encode_behind(texts, tries[i].before, text, out, err));
        if (keep_text(texts->tokenizer, text, tries[i].skipped, out)) return STATUS_OK;
    }
    return longest_pieces(texts, text, out, err);
}
