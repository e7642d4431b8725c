/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.model: sentencepiece_model.proto, read as protobuf wire format (field numbers in the comments). */
#include "base/limits.h"
#include "engine/convert/vocabulary.h"

#include <string.h>

struct field {
    uint32_t number, wire;
    uint64_t value;          /* varints */
    struct bytes_view bytes; /* length-delimited, and the four or eight of fixed ones */
};

static bool read_varint(struct bytes_view *rest, uint64_t *out) {
    *out = 0;
    for (int shift = 0; shift < 64 && rest->length > 0; shift += 7) {
        uint8_t byte = *rest->data++;
        rest->length--;
        *out |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return true;
    }
    return false;
}

/** False at the end, and at what is no protobuf: then `rest` is not empty. */
static bool next_field(struct bytes_view *rest, struct field *out) {
    struct bytes_view at = *rest;
    uint64_t tag, length = 0;
    if (at.length == 0 || !read_varint(&at, &tag)) return false;
    *out = (struct field){.number = (uint32_t)(tag >> 3), .wire = (uint32_t)(tag & 7)};
    if (out->wire == 0) {
        if (!read_varint(&at, &out->value)) return false;
    } else {
        if (out->wire == 2 && !read_varint(&at, &length)) return false;
        if (out->wire == 5) length = 4;
        if (out->wire == 1) length = 8;
        if (out->wire == 3 || out->wire == 4 || out->wire > 5 || length > at.length) return false;
        out->bytes = bytes_view_of(at.data, length);
        at.data += length;
        at.length -= length;
    }
    *rest = at;
    return true;
}

/** SentencePiece { piece = 1; score = 2; type = 3 } */
static bool read_piece(struct bytes_view message, struct bytes_view *piece, float *score, int32_t *type) {
    struct field field;
    *piece = (struct bytes_view){0};
    *score = 0;
    *type = VOCABULARY_NORMAL;
    while (next_field(&message, &field)) {
        if (field.number == 1 && field.wire == 2) *piece = field.bytes;
        if (field.number == 2 && field.wire == 5) memcpy(score, field.bytes.data, sizeof *score);
        if (field.number == 3 && field.wire == 0)
            *type = field.value >= 1 && field.value <= 6 ? (int32_t)field.value : 0;
    }
    return message.length == 0 && *type != 0;
}

/** TrainerSpec { model_type = 3; unk_id = 40; bos_id = 41; eos_id = 42; pad_id = 43 } */
static bool read_trainer(struct bytes_view message, struct vocabulary *out, uint64_t *model_type) {
    struct field field;
    while (next_field(&message, &field)) {
        if (field.wire != 0) continue;
        int64_t id = (int32_t)field.value;
        if (field.number == 3) *model_type = field.value;
        if (field.number == 40) out->unknown = id;
        if (field.number == 41) out->bos = id;
        if (field.number == 42) out->eos = id;
        if (field.number == 43) out->padding = id;
    }
    return message.length == 0;
}

/** NormalizerSpec { precompiled_charsmap = 2; add_dummy_prefix = 3; remove_extra_whitespaces = 4 } */
static bool read_normalizer(struct bytes_view message, struct vocabulary *out) {
    struct field field;
    while (next_field(&message, &field)) {
        if (field.number == 2 && field.wire == 2) out->charsmap = field.bytes;
        if (field.number == 3 && field.wire == 0) out->space_prefix = field.value != 0;
        if (field.number == 4 && field.wire == 0) out->removes_blanks = field.value != 0;
    }
    return message.length == 0;
}

enum status vocabulary_of_sentencepiece(struct bytes_view source, const char *file, struct vocabulary *out,
                                        struct error *err) {
    enum { UNIGRAM = 1, BPE = 2 };
    struct bytes_view rest = source;
    struct field field;
    size_t count = 0, at = 0;
    uint64_t model_type = UNIGRAM;
    while (next_field(&rest, &field)) count += field.number == 1 && field.wire == 2;
    if (rest.length != 0 || count == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s is no SentencePiece model", file);
    if (count > LIMIT_VOCABULARY)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s has %zu pieces, more than %d", file, count,
                         LIMIT_VOCABULARY);
    TRY(vocabulary_reserve(out, count, err));
    out->scores = arena_alloc_array(out->arena, count, sizeof *out->scores);
    if (out->scores == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    out->unknown = 0;
    out->bos = 1;
    out->eos = 2;
    out->space_prefix = out->removes_blanks = true; /* the format's defaults */
    bool good = true;
    for (rest = source; good && next_field(&rest, &field);) {
        if (field.wire != 2) continue;
        if (field.number == 1) {
            good = read_piece(field.bytes, &out->tokens[at], &out->scores[at], &out->types[at]);
            at++;
        }
        if (field.number == 2) good = read_trainer(field.bytes, out, &model_type);
        if (field.number == 3) good = read_normalizer(field.bytes, out);
    }
    if (!good) return error_set(err, STATUS_INVALID_ARGUMENT, "%s is no SentencePiece model", file);
    if (model_type != UNIGRAM && model_type != BPE)
        return error_set(err, STATUS_UNIMPLEMENTED, "%s is neither BPE nor unigram", file);
    out->model = model_type == BPE ? "llama" : "t5";
    out->pre = "default";
    out->space_prefix_said = true;
    out->removes_blanks_said = model_type == UNIGRAM;
    if (model_type == BPE) out->charsmap = (struct bytes_view){0};
    return STATUS_OK;
}
