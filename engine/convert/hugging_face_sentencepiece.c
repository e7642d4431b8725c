/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.model of a vocabulary with scores: sentencepiece_model.proto, whose field numbers stand in vocabulary_sentencepiece.c. */
#include "engine/convert/hugging_face_files.h"

#include <string.h>

static void append_varint(struct bytes *out, uint64_t value) {
    for (; value >= 128; value >>= 7) (void)bytes_append_byte(out, (uint8_t)(value | 128));
    (void)bytes_append_byte(out, (uint8_t)value);
}
static void append_number(struct bytes *out, uint32_t field, int64_t value) {
    append_varint(out, field << 3);
    append_varint(out, (uint64_t)value);
}
static void append_block(struct bytes *out, uint32_t field, struct bytes_view value) {
    append_varint(out, field << 3 | 2);
    append_varint(out, value.length);
    if (value.length > 0) (void)bytes_append(out, value.data, value.length);
}

/** GGUF has user-defined tokens as they stand in a text, SentencePiece as they stand in a normalised one. */
static void append_marked(struct bytes *out, struct bytes_view text) {
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] == ' ')
            (void)bytes_append_string(out, SENTENCEPIECE_BLANK);
        else
            (void)bytes_append_byte(out, text.data[i]);
    }
}

static void append_piece(struct bytes *out, const struct vocabulary *vocabulary, size_t id, struct bytes *part,
                         struct bytes *marked) {
    struct bytes_view text = vocabulary->tokens[id];
    bytes_reset(part);
    bytes_reset(marked);
    if (vocabulary->types[id] == VOCABULARY_USER_DEFINED) append_marked(marked, text);
    append_block(part, 1, marked->length > 0 ? bytes_view(marked) : text);
    append_varint(part, 2 << 3 | 5);
    (void)bytes_append(part, &vocabulary->scores[id], sizeof vocabulary->scores[id]);
    if (vocabulary->types[id] != VOCABULARY_NORMAL) append_number(part, 3, vocabulary->types[id]);
    append_block(out, 1, bytes_view(part));
    out->failed = out->failed || part->failed || marked->failed;
}

static void append_trainer(struct bytes *out, const struct vocabulary *vocabulary, struct bytes *part) {
    const int64_t ids[] = {vocabulary->unknown, vocabulary->bos, vocabulary->eos, vocabulary->padding};
    bytes_reset(part);
    append_number(part, 3, 2); /* BPE */
    append_number(part, 4, (int64_t)vocabulary->count);
    append_number(part, 35, 1);        /* byte fallback */
    for (uint32_t i = 0; i < 4; i++) { /* by id and by name */
        append_number(part, 40 + i, ids[i]);
        if (ids[i] >= 0) append_block(part, 45 + i, vocabulary->tokens[ids[i]]);
    }
    append_block(out, 2, bytes_view(part));
}

void hugging_face_sentencepiece(const struct vocabulary *vocabulary, struct bytes *out) {
    enum { PIECE_BYTES_MAX = 1 << 20 };
    struct bytes part, marked;
    bytes_init(&part, PIECE_BYTES_MAX);
    bytes_init(&marked, PIECE_BYTES_MAX);
    for (size_t i = 0; i < vocabulary->count; i++) append_piece(out, vocabulary, i, &part, &marked);
    append_trainer(out, vocabulary, &part);
    bytes_reset(&part);
    append_block(&part, 1, bytes_view_string("identity"));
    append_number(&part, 3, vocabulary->space_prefix);
    append_number(&part, 4, 0); /* blanks stay */
    append_number(&part, 5, 1);
    append_block(out, 3, bytes_view(&part));
    out->failed = out->failed || part.failed;
    bytes_deinit(&marked);
    bytes_deinit(&part);
}
