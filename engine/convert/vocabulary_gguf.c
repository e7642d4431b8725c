/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.ggml.* of a GGUF, with llama.cpp's meanings of what is not said. */
#include "engine/convert/vocabulary.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/weights/gguf.h"

#include <math.h>
#include <string.h>

static bool is_array(const struct gguf *gguf, const char *key, bool strings, struct gguf_array *out) {
    return gguf_array(gguf, key, out) && (out->element == GGUF_STRING) == strings;
}

static enum status read_tokens(const struct gguf *gguf, struct vocabulary *out, struct error *err) {
    struct gguf_array tokens, types;
    if (!is_array(gguf, "tokenizer.ggml.tokens", true, &tokens) || tokens.count == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "there are no tokens");
    TRY(vocabulary_reserve(out, (size_t)tokens.count, err));
    bool typed = is_array(gguf, "tokenizer.ggml.token_type", false, &types) && types.count == tokens.count;
    for (int64_t i = 0; i < tokens.count; i++) {
        int64_t type = typed ? gguf_array_i64(&types, i) : VOCABULARY_NORMAL;
        out->tokens[i] = gguf_array_string(&tokens, i);
        out->types[i] = type > VOCABULARY_NORMAL && type <= VOCABULARY_BYTE ? (int32_t)type : VOCABULARY_NORMAL;
    }
    return STATUS_OK;
}

static enum status read_merges(const struct gguf *gguf, struct vocabulary *out, struct error *err) {
    struct gguf_array merges;
    if (!is_array(gguf, "tokenizer.ggml.merges", true, &merges)) return STATUS_OK;
    out->merges = arena_alloc_array(out->arena, (size_t)merges.count + 1, sizeof *out->merges);
    if (out->merges == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (int64_t i = 0; i < merges.count; i++) out->merges[i] = gguf_array_string(&merges, i);
    out->merge_count = (size_t)merges.count;
    return STATUS_OK;
}

static enum status read_scores(const struct gguf *gguf, struct vocabulary *out, struct error *err) {
    struct gguf_array scores;
    if (!is_array(gguf, "tokenizer.ggml.scores", false, &scores) || (size_t)scores.count != out->count)
        return error_set(err, STATUS_INVALID_ARGUMENT, "its tokens have no scores");
    out->scores = arena_alloc_array(out->arena, out->count, sizeof *out->scores);
    if (out->scores == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (int64_t i = 0; i < scores.count; i++) {
        out->scores[i] = (float)gguf_array_f64(&scores, i);
        if (!isfinite(out->scores[i])) return error_set(err, STATUS_INVALID_ARGUMENT, "a score is not finite");
    }
    return STATUS_OK;
}

static void read_id(const struct gguf *gguf, const char *key, const struct vocabulary *vocabulary, int64_t *id) {
    uint64_t said;
    if (gguf_u64(gguf, key, &said)) *id = said < vocabulary->count ? (int64_t)said : -1;
    if (*id >= (int64_t)vocabulary->count) *id = -1;
}

/** SentencePiece wants a piece of this type; converters call it a control token as well. */
static void mark_unknown(struct vocabulary *vocabulary) {
    for (size_t i = 0; i < vocabulary->count; i++) {
        if (vocabulary->types[i] == VOCABULARY_UNKNOWN) return;
    }
    if (vocabulary->unknown >= 0) vocabulary->types[vocabulary->unknown] = VOCABULARY_UNKNOWN;
}

enum status vocabulary_of_gguf(const struct gguf *gguf, struct vocabulary *out, struct error *err) {
    struct bytes_view model = {0}, pre = {0}, normalizer;
    (void)gguf_string(gguf, "tokenizer.ggml.model", &model);
    bool llama = bytes_view_equal_string(model, "llama");
    if (!llama && !bytes_view_equal_string(model, "gpt2"))
        return error_set(err, STATUS_UNIMPLEMENTED, "there is no file for a '%.*s'",
                         model.length < 32 ? (int)model.length : 32, (const char *)model.data);
    out->model = llama ? "llama" : "gpt2";
    out->pre = gguf_string(gguf, "tokenizer.ggml.pre", &pre) ? arena_copy(out->arena, pre.data, pre.length) : "gpt-2";
    if (!llama && gguf_string(gguf, TOKENIZER_GGUF_NORMALIZER, &normalizer)) {
        out->normalizer = arena_copy(out->arena, normalizer.data, normalizer.length);
        if (out->normalizer == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    if (out->pre == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    TRY(read_tokens(gguf, out, err));
    if (llama) {
        TRY(read_scores(gguf, out, err));
        out->unknown = 0;
        out->bos = 1;
        out->eos = 2;
    } else {
        TRY(read_merges(gguf, out, err));
    }
    read_id(gguf, "tokenizer.ggml.bos_token_id", out, &out->bos);
    read_id(gguf, "tokenizer.ggml.eos_token_id", out, &out->eos);
    read_id(gguf, "tokenizer.ggml.unknown_token_id", out, &out->unknown);
    read_id(gguf, "tokenizer.ggml.padding_token_id", out, &out->padding);
    if (llama) mark_unknown(out);
    out->adds_bos = llama || strcmp(out->pre, "llama-bpe") == 0 || strcmp(out->pre, "tekken") == 0;
    out->adds_bos_said = gguf_bool(gguf, "tokenizer.ggml.add_bos_token", &out->adds_bos);
    out->space_prefix = llama;
    out->space_prefix_said = gguf_bool(gguf, "tokenizer.ggml.add_space_prefix", &out->space_prefix);
    return STATUS_OK;
}
