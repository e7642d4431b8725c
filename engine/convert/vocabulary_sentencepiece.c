/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.model: sentencepiece_model.proto, read as protobuf wire format (field numbers in the comments). */
#include "base/limits.h"
#include "base/protobuf_wire.h"
#include "engine/convert/vocabulary.h"

#include <string.h>

/** SentencePiece { piece = 1; score = 2; type = 3 } */
static bool read_piece(struct bytes_view message, struct bytes_view *piece, float *score, int32_t *type) {
    struct wire_field field;
    *piece = (struct bytes_view){0};
    *score = 0;
    *type = VOCABULARY_NORMAL;
    while (wire_next(&message, &field)) {
        if (field.number == 1 && field.type == WIRE_BYTES) *piece = field.bytes;
        if (field.number == 2 && field.type == WIRE_32BIT) memcpy(score, &field.value, sizeof *score);
        if (field.number == 3 && field.type == WIRE_VARINT)
            *type = field.value >= 1 && field.value <= 6 ? (int32_t)field.value : 0;
    }
    return message.length == 0 && *type != 0;
}

/** TrainerSpec { model_type = 3; unk_id = 40; bos_id = 41; eos_id = 42; pad_id = 43 } */
static bool read_trainer(struct bytes_view message, struct vocabulary *out, uint64_t *model_type) {
    struct wire_field field;
    while (wire_next(&message, &field)) {
        if (field.type != WIRE_VARINT) continue;
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
    struct wire_field field;
    while (wire_next(&message, &field)) {
        if (field.number == 2 && field.type == WIRE_BYTES) out->charsmap = field.bytes;
        if (field.number == 3 && field.type == WIRE_VARINT) out->space_prefix = field.value != 0;
        if (field.number == 4 && field.type == WIRE_VARINT) out->removes_blanks = field.value != 0;
    }
    return message.length == 0;
}

enum status vocabulary_of_sentencepiece(struct bytes_view source, const char *file, struct vocabulary *out,
                                        struct error *err) {
    enum { UNIGRAM = 1, BPE = 2 };
    struct bytes_view rest = source;
    struct wire_field field;
    size_t count = 0, at = 0;
    uint64_t model_type = UNIGRAM;
    while (wire_next(&rest, &field)) count += field.number == 1 && field.type == WIRE_BYTES;
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
    for (rest = source; good && wire_next(&rest, &field);) {
        if (field.type != WIRE_BYTES) continue;
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
