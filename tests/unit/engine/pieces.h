/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A small vocabulary for tests of masks: every byte, and every piece up to PIECE_MAX bytes long that occurs in some texts.
 */
#ifndef TESTS_UNIT_ENGINE_PIECES_H
#define TESTS_UNIT_ENGINE_PIECES_H

#include "engine/tokenizer/tokenizer.h"

#include "tests/unit/engine/check.h"

#include <stdio.h>
#include <string.h>

enum { PIECE_MAX = 9, PIECE_LONGEST = 64, PIECES_MAX = 4096 };

struct pieces {
    struct bytes_view list[PIECES_MAX];
    size_t count;
};

static inline void add_piece(struct pieces *pieces, struct bytes_view piece) {
    for (size_t i = 0; i < pieces->count; i++)
        if (bytes_view_equal(pieces->list[i], piece)) return;
    assert_true(pieces->count < PIECES_MAX);
    pieces->list[pieces->count++] = piece;
}

static inline void append(struct bytes *out, const char *text) {
    check_ok(bytes_append(out, text, strlen(text)));
}

static inline void append_token(struct bytes *out, size_t rank, struct bytes_view piece) {
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char entry[PIECE_LONGEST * 2 + 64], base64[4 * (PIECE_LONGEST / 3 + 2)] = {0};
    for (size_t i = 0, at = 0; i < piece.length; i += 3, at += 4) {
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++) bits = bits << 8 | (i + k < piece.length ? piece.data[i + k] : 0);
        for (size_t k = 0; k < 4; k++) base64[at + k] = i + k > piece.length ? '=' : DIGITS[bits >> (18 - 6 * k) & 63];
    }
    snprintf(entry, sizeof entry, "%s{\"rank\":%zu,\"token_bytes\":\"%s\"}", rank == 0 ? "" : ",", rank, base64);
    append(out, entry);
}

/** `whole` are pieces as they are, up to PIECE_LONGEST bytes each. All texts live as long as the program. */
static inline struct tokenizer *make_tokenizer(const char *const *texts, size_t text_count, const char *const *whole,
                                               size_t whole_count) {
    static struct pieces pieces;
    static uint8_t bytes[256];
    struct tokenizer *tokenizer;
    struct bytes json;
    char config[160];
    pieces.count = 0;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)i;
        add_piece(&pieces, bytes_view_of(&bytes[i], 1));
    }
    for (size_t t = 0; t < text_count; t++)
        for (size_t from = 0; texts[t][from] != '\0'; from++)
            for (size_t length = 2; length <= PIECE_MAX && from + length <= strlen(texts[t]); length++)
                add_piece(&pieces, bytes_view_of(texts[t] + from, length));
    for (size_t i = 0; i < whole_count; i++) add_piece(&pieces, bytes_view_string(whole[i]));
    bytes_init(&json, 1 << 22);
    snprintf(config, sizeof config,
             "{\"config\":{\"pattern\":\".+\",\"default_vocab_size\":%zu,\"default_num_special_tokens\":3},\"vocab\":[",
             pieces.count + 3);
    append(&json, config);
    for (size_t i = 0; i < pieces.count; i++) append_token(&json, i, pieces.list[i]);
    append(&json, "]}");
    check_ok(tokenizer_load_tekken(bytes_view(&json), "pieces", &tokenizer, &check_error));
    bytes_deinit(&json);
    return tokenizer;
}

#endif
