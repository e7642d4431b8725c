/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/tokenizer.h"

#include "engine/tokenizer/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

void token_list_deinit(struct token_list *list) {
    free(list->ids);
    *list = (struct token_list){.max_count = list->max_count};
}

enum status token_list_append(struct token_list *list, int32_t id) {
    if (list->count >= list->max_count) return STATUS_OUT_OF_RANGE;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity < 64 ? 64 : list->capacity * 2;
        int32_t *ids = realloc(list->ids, capacity * sizeof *ids);
        if (ids == NULL) return STATUS_RESOURCE_EXHAUSTED;
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->count++] = id;
    return STATUS_OK;
}

/* ---- encoding ------------------------------------------------------------------------------------------------------ */

/** The longest user-defined token at the start of `text`, or -1. */
static int32_t user_token_at(const struct tokenizer *tokenizer, struct bytes_view text) {
    uint8_t first = text.data[0];
    for (int32_t i = tokenizer->user_first[first]; i < tokenizer->user_first[first + 1]; i++) {
        struct bytes_view piece = token_piece(tokenizer, tokenizer->user[i]);
        if (piece.length <= text.length && memcmp(piece.data, text.data, piece.length) == 0) return tokenizer->user[i];
    }
    return -1;
}

/** The bytes of `text` before its first user-defined token, which is `*out_id` (-1: there is none). */
static size_t plain_length(const struct tokenizer *tokenizer, struct bytes_view text, int32_t *out_id) {
    *out_id = -1;
    if (tokenizer->user_count == 0) return text.length;
    for (size_t at = 0; at < text.length; at++) {
        *out_id = user_token_at(tokenizer, bytes_view_of(text.data + at, text.length - at));
        if (*out_id >= 0) return at;
    }
    return text.length;
}

static enum status encode_plain(const struct tokenizer *tokenizer, struct bytes_view text, struct token_list *out) {
    while (text.length > 0) {
        size_t length = split_next(tokenizer->split, text);
        TRY(bpe_encode(&tokenizer->bpe, bytes_view_of(text.data, length), out));
        text.data += length;
        text.length -= length;
    }
    return STATUS_OK;
}

static enum status encode(const struct tokenizer *tokenizer, struct bytes_view text, struct token_list *out) {
    while (text.length > 0) {
        int32_t id;
        size_t length = plain_length(tokenizer, text, &id);
        TRY(encode_plain(tokenizer, bytes_view_of(text.data, length), out));
        if (id >= 0) {
            TRY(token_list_append(out, id));
            length += token_piece(tokenizer, id).length;
        }
        text.data += length;
        text.length -= length;
    }
    return STATUS_OK;
}

enum status tokenizer_encode(const struct tokenizer *tokenizer, struct bytes_view text, struct token_list *out,
                             struct error *err) {
    size_t before = out->count;
    enum status status = encode(tokenizer, text, out);
    if (status == STATUS_OK) return STATUS_OK;
    out->count = before;
    if (status != STATUS_OUT_OF_RANGE) return error_set(err, status, "out of memory for the tokens of a text");
    return error_set(err, status, "the text does not fit into %zu tokens", out->max_count);
}

static bool is_untrusted(const uint8_t *untrusted, size_t begin, size_t end) {
    for (size_t i = begin; untrusted != NULL && i < end; i++) {
        if (untrusted[i / 8] >> i % 8 & 1) return true;
    }
    return false;
}

/** The longest control token whose name stands at `at`, all of it trusted, or -1. */
static int32_t control_token_at(const struct tokenizer *tokenizer, struct bytes_view text, size_t at,
                                const uint8_t *untrusted) {
    int32_t best = -1;
    for (int32_t id = 0; id < tokenizer->count; id++) {
        struct bytes_view name = token_name(tokenizer, id);
        if (tokenizer->tokens[id].type != TOKEN_CONTROL || name.length == 0 || name.length > text.length - at ||
            memcmp(name.data, text.data + at, name.length) != 0 || is_untrusted(untrusted, at, at + name.length))
            continue;
        if (best < 0 || name.length > token_name(tokenizer, best).length) best = id;
    }
    return best;
}

enum status tokenizer_encode_template(const struct tokenizer *tokenizer, struct bytes_view text,
                                      const uint8_t *untrusted, struct token_list *out, struct error *err) {
    size_t before = out->count, done = 0;
    for (size_t at = 0; at < text.length;) {
        int32_t id =
            text.data[at] == '<' || text.data[at] == '[' ? control_token_at(tokenizer, text, at, untrusted) : -1;
        if (id < 0) {
            at++;
            continue;
        }
        enum status status = tokenizer_encode(tokenizer, bytes_view_of(text.data + done, at - done), out, err);
        if (status == STATUS_OK && (status = token_list_append(out, id)) != STATUS_OK)
            (void)error_set(err, status, "the text does not fit into %zu tokens", out->max_count);
        if (status != STATUS_OK) {
            out->count = before;
            return status;
        }
        at = done = at + token_name(tokenizer, id).length;
    }
    return tokenizer_encode(tokenizer, bytes_view_of(text.data + done, text.length - done), out, err);
}

bool tokenizer_adds_bos(const struct tokenizer *tokenizer) {
    (void)tokenizer;
    return false;
}

/* ---- asking -------------------------------------------------------------------------------------------------------- */

static bool in_vocabulary(const struct tokenizer *tokenizer, int32_t id) {
    return id >= 0 && id < tokenizer->count;
}

int32_t tokenizer_vocabulary(const struct tokenizer *tokenizer) {
    return tokenizer->count;
}
int32_t tokenizer_bos(const struct tokenizer *tokenizer) {
    return tokenizer->bos;
}
int32_t tokenizer_eos(const struct tokenizer *tokenizer) {
    return tokenizer->eos;
}

bool tokenizer_is_end(const struct tokenizer *tokenizer, int32_t id) {
    return in_vocabulary(tokenizer, id) && tokenizer->tokens[id].end;
}

bool tokenizer_is_control(const struct tokenizer *tokenizer, int32_t id) {
    return in_vocabulary(tokenizer, id) && tokenizer->tokens[id].type == TOKEN_CONTROL;
}

struct bytes_view tokenizer_piece(const struct tokenizer *tokenizer, int32_t id) {
    return in_vocabulary(tokenizer, id) ? token_piece(tokenizer, id) : (struct bytes_view){0};
}

struct bytes_view tokenizer_name(const struct tokenizer *tokenizer, int32_t id) {
    return in_vocabulary(tokenizer, id) ? token_name(tokenizer, id) : (struct bytes_view){0};
}

int32_t tokenizer_special(const struct tokenizer *tokenizer, const char *name) {
    for (int32_t id = 0; id < tokenizer->count; id++) {
        if (tokenizer->tokens[id].type == TOKEN_CONTROL && bytes_view_equal_string(token_name(tokenizer, id), name))
            return id;
    }
    return -1;
}
