/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * SentencePiece's tokenizer.model: a protobuf (sentencepiece_model.proto) of pieces with scores and types, a trainer's and a normaliser's
 * settings. Only the fields that say how text is encoded are read:
 *     ModelProto       1 pieces  2 trainer_spec  3 normalizer_spec
 *     SentencePiece    1 piece (string)  2 score (float)  3 type (1 normal, as GGUF numbers them)
 *     TrainerSpec      3 model_type (1 unigram, 2 bpe)  24 treat_whitespace_as_suffix  35 byte_fallback  40..43 ids of unk, bos, eos, pad
 *     NormalizerSpec   2 precompiled_charsmap  3 add_dummy_prefix  4 remove_extra_whitespaces  5 escape_whitespaces
 */
#include "base/limits.h"
#include "base/protobuf_wire.h"
#include "engine/tokenizer/bpe_build.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    UNIGRAM = 1,
    BPE = 2,
    PIECES = 1U << TOKEN_NORMAL,
    ENTERED = 1U << TOKEN_NORMAL | 1U << TOKEN_USER_DEFINED,
};

/* ---- the settings -------------------------------------------------------------------------------------------------- */

struct loader {
    struct tokenizer *tokenizer;
    const char *file;
    float *scores;
    int32_t piece_count;
    uint64_t model_type;
    int64_t unknown, bos, eos;
    bool byte_fallback;
};

static enum status damaged(const struct loader *loader, const char *what, struct error *err) {
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s: no SentencePiece model: %s", loader->file, what);
}

static enum status read_trainer(struct loader *loader, struct bytes_view message, struct error *err) {
    struct wire_field field;
    while (message.length > 0) {
        if (!wire_next(&message, &field)) return damaged(loader, "trainer_spec is cut", err);
        if (field.type != WIRE_VARINT) continue;
        switch (field.number) {
        case 3:
            loader->model_type = field.value;
            break;
        case 24:
            loader->tokenizer->normalizer.whitespace_as_suffix = field.value != 0;
            break;
        case 35:
            loader->byte_fallback = field.value != 0;
            break;
        case 40:
            loader->unknown = (int32_t)field.value;
            break;
        case 41:
            loader->bos = (int32_t)field.value;
            break;
        case 42:
            loader->eos = (int32_t)field.value;
            break;
        default:
            break;
        }
    }
    return STATUS_OK;
}

static enum status read_normalizer(struct loader *loader, struct bytes_view message, struct error *err) {
    struct normalizer *normalizer = &loader->tokenizer->normalizer;
    struct wire_field field;
    while (message.length > 0) {
        if (!wire_next(&message, &field)) return damaged(loader, "normalizer_spec is cut", err);
        if (field.number == 2 && field.type == WIRE_BYTES) {
            if (normalizer->charsmap != NULL) return damaged(loader, "there are two tables of replacements", err);
            struct error cause = {0};
            enum status status = normalizer_set_charsmap(normalizer, field.bytes, &cause);
            if (status != STATUS_OK) return error_set(err, status, "%s: %s", loader->file, cause.message);
        }
        if (field.type != WIRE_VARINT) continue;
        if (field.number == 3) normalizer->add_dummy_prefix = field.value != 0;
        if (field.number == 4) normalizer->remove_extra_whitespaces = field.value != 0;
        if (field.number == 5) normalizer->escape_whitespaces = field.value != 0;
    }
    return STATUS_OK;
}

/* ---- the pieces ---------------------------------------------------------------------------------------------------- */

static enum status read_piece(struct loader *loader, int32_t id, struct bytes_view message, struct error *err) {
    struct bytes_view name = {0};
    struct wire_field field;
    uint64_t type = TOKEN_NORMAL;
    while (message.length > 0) {
        if (!wire_next(&message, &field)) return damaged(loader, "a piece is cut", err);
        if (field.number == 1 && field.type == WIRE_BYTES) name = field.bytes;
        if (field.number == 2 && field.type == WIRE_32BIT) memcpy(&loader->scores[id], &field.value, 4);
        if (field.number == 3 && field.type == WIRE_VARINT) type = field.value;
    }
    if (name.length == 0 || type < TOKEN_NORMAL || type > TOKEN_BYTE || !isfinite(loader->scores[id]))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: piece %d has no text, no finite score or an unknown type",
                         loader->file, id);
    return tokenizer_set_token(loader->tokenizer, id, name, (enum token_type)type, err);
}

static enum status read_model(struct loader *loader, struct bytes_view model, struct error *err) {
    struct bytes_view rest = model;
    struct wire_field field;
    while (rest.length > 0) {
        if (!wire_next(&rest, &field)) return damaged(loader, "a field is cut", err);
        if (field.number == 1 && field.type == WIRE_BYTES && ++loader->piece_count > LIMIT_VOCABULARY)
            return damaged(loader, "it has too many pieces", err);
    }
    if (loader->piece_count < 1) return damaged(loader, "it has no pieces", err);
    TRY(tokenizer_create(loader->piece_count, model.length, &loader->tokenizer, err));
    loader->tokenizer->normalizer.add_dummy_prefix = true;
    loader->tokenizer->normalizer.remove_extra_whitespaces = true;
    loader->tokenizer->normalizer.escape_whitespaces = true;
    loader->scores = calloc((size_t)loader->piece_count, sizeof *loader->scores);
    if (loader->scores == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (int32_t id = 0; model.length > 0;) {
        if (!wire_next(&model, &field)) return damaged(loader, "a field is cut", err);
        if (field.type != WIRE_BYTES) continue;
        if (field.number == 1) TRY(read_piece(loader, id++, field.bytes, err));
        if (field.number == 2) TRY(read_trainer(loader, field.bytes, err));
        if (field.number == 3) TRY(read_normalizer(loader, field.bytes, err));
    }
    return STATUS_OK;
}

/* ---- the model ----------------------------------------------------------------------------------------------------- */

static enum status build_bpe(struct loader *loader, struct error *err) {
    struct tokenizer *tokenizer = loader->tokenizer;
    int32_t *ranks = malloc((size_t)tokenizer->count * sizeof *ranks);
    if (ranks == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    enum status status = bpe_ranks_of_scores(tokenizer, PIECES, loader->scores, ranks, err);
    if (status == STATUS_OK) status = bpe_build_of_tokens(tokenizer, true, PIECES, ranks, err);
    free(ranks);
    if (status != STATUS_OK) return status;
    struct bpe *bpe = &tokenizer->bpe;
    TRY(tokenizer_set_marked_pieces(tokenizer, bpe->byte_ids, err));
    bpe->byte_fallback = loader->byte_fallback;
    bpe->unknown = (int32_t)loader->unknown;
    bpe->fuse_unknown = true;
    TRY(bpe_build_wholes(tokenizer, true, PIECES, false, err));
    bpe_build_cuts(tokenizer, PIECES);
    return STATUS_OK;
}

static enum status build_unigram(struct loader *loader, struct error *err) {
    struct tokenizer *tokenizer = loader->tokenizer;
    struct unigram *unigram = &tokenizer->unigram;
    tokenizer->model = MODEL_UNIGRAM;
    TRY(tokenizer_set_marked_pieces(tokenizer, unigram->byte_ids, err));
    TRY(tokenizer_enter_pieces(tokenizer, loader->scores, ENTERED, err));
    unigram->unknown = (int32_t)loader->unknown;
    unigram->byte_fallback = loader->byte_fallback;
    return STATUS_OK;
}

/** An id that the trainer's settings name; -1 when the vocabulary has none, as a setting of -1 says. */
static int32_t id_of(const struct loader *loader, int64_t id) {
    return id >= 0 && id < loader->piece_count ? (int32_t)id : -1;
}

static enum status build(struct loader *loader, struct error *err) {
    struct tokenizer *tokenizer = loader->tokenizer;
    loader->unknown =
        -1; /* a piece's type says which it is, as in the reference: the trainer's id could be a control token */
    for (int32_t id = 0; id < tokenizer->count; id++) {
        if (tokenizer->tokens[id].type == TOKEN_UNKNOWN) loader->unknown = id;
        tokenizer->tokens[id].normalized = tokenizer->tokens[id].type == TOKEN_USER_DEFINED;
    }
    if (loader->unknown < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: none of its pieces stands for unknown text", loader->file);
    tokenizer->bos = id_of(loader, loader->bos);
    tokenizer->eos = id_of(loader, loader->eos);
    tokenizer->adds_bos = tokenizer->bos >= 0;
    if (loader->model_type == BPE)
        TRY(build_bpe(loader, err));
    else if (loader->model_type == UNIGRAM)
        TRY(build_unigram(loader, err));
    else
        return error_set(err, STATUS_UNIMPLEMENTED, "%s: its model type %llu is neither unigram (1) nor BPE (2)",
                         loader->file, (unsigned long long)loader->model_type);
    if (normalizer_add(&tokenizer->normalizer, NORMALIZE_SENTENCEPIECE, (struct bytes_view){0},
                       (struct bytes_view){0}) != STATUS_OK)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    tokenizer->strip_first_space =
        tokenizer->normalizer.add_dummy_prefix || tokenizer->normalizer.remove_extra_whitespaces;
    tokenizer->keeps_added = true;
    return tokenizer_finish(tokenizer, err);
}

enum status tokenizer_load_sentencepiece(struct bytes_view model, const char *file, struct tokenizer **out,
                                         struct error *err) {
    struct loader loader = {.file = file, .model_type = UNIGRAM, .bos = 1, .eos = 2};
    enum status status = read_model(&loader, model, err);
    if (status == STATUS_OK) status = build(&loader, err);
    free(loader.scores);
    if (status == STATUS_OK)
        *out = loader.tokenizer;
    else
        tokenizer_destroy(loader.tokenizer);
    return status;
}
