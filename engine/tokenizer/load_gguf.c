/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * A tokenizer out of GGUF metadata, as llama.cpp reads it:
 *     "gpt2"   byte-level BPE: names are bytes in GPT-2's disguise ("Ġhello" is " hello"), merges join names, tokenizer.ggml.pre names the split
 *     "llama"  SentencePiece BPE: names with U+2581 for blanks, merged by score
 *     "t5"     SentencePiece unigram
 */
#include "base/limits.h"
#include "base/text.h"
#include "engine/tokenizer/bpe_build.h"
#include "engine/weights/gguf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    VOCABULARY_MIN = 128,
    NORMAL = 1U << TOKEN_NORMAL,
    MERGEABLE = 1U << TOKEN_NORMAL | 1U << TOKEN_USER_DEFINED | 1U << TOKEN_UNUSED,
};

struct loader {
    struct tokenizer *tokenizer;
    const struct gguf *gguf;
    struct gguf_array names, types, merges, scores; /* count 0: absent */
    bool ignore_merges;                             /* a piece that is a token is it, whatever the merges say */
};

/* ---- which kind ---------------------------------------------------------------------------------------------------- */

/** tokenizer.ggml.pre: several names may mean one split. */
static const struct {
    const char *name;
    enum split_rule rule;
    bool ignore_merges, adds_bos;
} pre_tokenizers[] = {
    {"smollm", SPLIT_SMOLLM, false, false},    {"starcoder", SPLIT_SMOLLM, false, false},
    {"refact", SPLIT_SMOLLM, false, false},    {"command-r", SPLIT_SMOLLM, false, false},
    {"codeshell", SPLIT_SMOLLM, false, false}, {"exaone", SPLIT_SMOLLM, false, false},
    {"gpt-2", SPLIT_GPT2, false, false},       {"phi-2", SPLIT_GPT2, false, false},
    {"mpt", SPLIT_GPT2, false, false},         {"olmo", SPLIT_GPT2, false, false},
    {"llama-bpe", SPLIT_LLAMA3, true, true},   {"llama3", SPLIT_LLAMA3, true, true},
    {"llama-v3", SPLIT_LLAMA3, true, true},    {"falcon3", SPLIT_LLAMA3, true, true},
    {"pixtral", SPLIT_LLAMA3, true, true},     {"lfm2", SPLIT_LLAMA3, true, true},
    {"dbrx", SPLIT_LLAMA3, false, false},      {"smaug-bpe", SPLIT_LLAMA3, false, false},
    {"qwen2", SPLIT_QWEN2, false, false},      {"deepseek-r1-qwen", SPLIT_QWEN2, false, false},
    {"megrez", SPLIT_QWEN2, false, false},     {"stablelm2", SPLIT_QWEN2, false, false},
    {"tekken", SPLIT_TEKKEN, true, true},
};

/** What llama.cpp does with files that name no pre-tokeniser, one within the pieces of the other. */
static const char *const default_patterns[] = {
    "[\\p{P}\\$\\+<=>\\^~\\|]+",
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    "\\p{N}+",
    "[0-9][0-9][0-9]",
};

static enum status choose_split(struct loader *loader, struct error *err) {
    struct tokenizer *tokenizer = loader->tokenizer;
    struct bytes_view pre = {0};
    (void)!gguf_string(loader->gguf, "tokenizer.ggml.pre", &pre);
    for (size_t i = 0; i < sizeof pre_tokenizers / sizeof pre_tokenizers[0]; i++) {
        if (!bytes_view_equal_string(pre, pre_tokenizers[i].name)) continue;
        tokenizer->splits[tokenizer->split_count++].rule = pre_tokenizers[i].rule;
        tokenizer->adds_bos = pre_tokenizers[i].adds_bos;
        loader->ignore_merges = pre_tokenizers[i].ignore_merges;
        return STATUS_OK;
    }
    if (pre.length == 0 || bytes_view_equal_string(pre, "default")) {
        for (size_t i = 0; i < sizeof default_patterns / sizeof default_patterns[0]; i++) {
            TRY(split_step_of_pattern(bytes_view_string(default_patterns[i]),
                                      &tokenizer->splits[tokenizer->split_count++], err));
        }
        return STATUS_OK;
    }
    int shown = (int)text_truncate((const char *)pre.data, pre.length, 32);
    return error_set(err, STATUS_UNIMPLEMENTED, "%s: the pre-tokeniser '%.*s' is not known", gguf_path(loader->gguf),
                     shown, (const char *)pre.data);
}

/* ---- lists --------------------------------------------------------------------------------------------------------- */

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
    return STATUS_OK;
}

static enum status find_merges(struct loader *loader, struct error *err) {
    if (gguf_array(loader->gguf, "tokenizer.ggml.merges", &loader->merges) && loader->merges.element == GGUF_STRING &&
        loader->merges.count <= LIMIT_MERGES)
        return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s: tokenizer.ggml.merges is not a list of at most %d strings",
                     gguf_path(loader->gguf), LIMIT_MERGES);
}

static enum status read_scores(struct loader *loader, float **out, struct error *err) {
    if (!gguf_array(loader->gguf, "tokenizer.ggml.scores", &loader->scores) ||
        loader->scores.count != loader->names.count || loader->scores.element == GGUF_STRING)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: tokenizer.ggml.scores does not give %lld tokens a score each", gguf_path(loader->gguf),
                         (long long)loader->names.count);
    float *scores = malloc((size_t)loader->scores.count * sizeof *scores);
    if (scores == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (int64_t i = 0; i < loader->scores.count; i++) {
        scores[i] = (float)gguf_array_f64(&loader->scores, i);
        if (isfinite(scores[i])) continue;
        free(scores);
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: the score of token %lld is not finite",
                         gguf_path(loader->gguf), (long long)i);
    }
    *out = scores;
    return STATUS_OK;
}

static enum status load_tokens(struct loader *loader, struct error *err) {
    size_t total = 0;
    for (int64_t i = 0; i < loader->names.count; i++) total += 2 * gguf_array_string(&loader->names, i).length;
    if (total > UINT32_MAX) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: the vocabulary's names have %zu bytes",
                         gguf_path(loader->gguf), total / 2);
    }
    TRY(tokenizer_create((int32_t)loader->names.count, total + 1, &loader->tokenizer, err));
    for (int32_t id = 0; id < loader->names.count; id++) {
        int64_t type = loader->types.count > 0 ? gguf_array_i64(&loader->types, id) : TOKEN_NORMAL;
        if (type < TOKEN_UNDEFINED || type > TOKEN_BYTE) {
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: token %d has the unknown type %lld",
                             gguf_path(loader->gguf), id, (long long)type);
        }
        if (type == TOKEN_UNDEFINED) type = TOKEN_NORMAL;
        TRY(tokenizer_set_token(loader->tokenizer, id, gguf_array_string(&loader->names, id), (enum token_type)type,
                                err));
    }
    return STATUS_OK;
}

/* ---- "gpt2" -------------------------------------------------------------------------------------------------------- */

/** Vocabularies may lack bytes that their training text had not (SmolLM2: 21 of them), but not those of plain English. */
static enum status check_bytes(const struct loader *loader, struct error *err) {
    const int32_t *ids = loader->tokenizer->bpe.byte_ids;
    for (int byte = 0; byte < 256; byte++) {
        if (ids[byte] < 0 && (byte == '\n' || (byte >= ' ' && byte <= '~'))) {
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: the vocabulary has no token for the byte 0x%02x",
                             gguf_path(loader->gguf), byte);
        }
    }
    return STATUS_OK;
}

static enum status load_merges(struct loader *loader, const struct name_index *index, struct error *err) {
    for (int32_t rank = 0; rank < loader->merges.count; rank++) {
        struct bytes_view left, right;
        if (!bpe_build_split_merge(gguf_array_string(&loader->merges, rank), &left, &right) ||
            !bpe_build_named_merge(&loader->tokenizer->bpe, index, left, right, rank)) {
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "%s: merge %d joins pieces that the vocabulary does not have", gguf_path(loader->gguf),
                             rank);
        }
    }
    return STATUS_OK;
}

/** TOKENIZER_GGUF_NORMALIZER: a form of Unicode's. */
static enum status load_normalizer(struct loader *loader, struct error *err) {
    static const struct {
        const char *name;
        enum normalizer_kind kind;
    } forms[] = {{"NFC", NORMALIZE_NFC}, {"NFD", NORMALIZE_NFD}, {"NFKC", NORMALIZE_NFKC}, {"NFKD", NORMALIZE_NFKD}};
    struct bytes_view name, none = {0};
    if (!gguf_string(loader->gguf, TOKENIZER_GGUF_NORMALIZER, &name)) return STATUS_OK;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (!bytes_view_equal_string(name, forms[i].name)) continue;
        if (normalizer_add(&loader->tokenizer->normalizer, forms[i].kind, none, none) == STATUS_OK) return STATUS_OK;
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    int shown = (int)text_truncate((const char *)name.data, name.length, 32);
    return error_set(err, STATUS_UNIMPLEMENTED, "%s: the normaliser '%.*s' is not known", gguf_path(loader->gguf),
                     shown, (const char *)name.data);
}

static enum status load_gpt2(struct loader *loader, struct error *err) {
    struct tokenizer *tokenizer = loader->tokenizer;
    struct name_index index = {0};
    TRY(choose_split(loader, err));
    TRY(load_normalizer(loader, err));
    TRY(find_merges(loader, err));
    TRY(tokenizer_set_disguised_pieces(tokenizer, err));
    enum status status =
        bpe_init(&tokenizer->bpe, tokenizer->count, (size_t)loader->merges.count, (size_t)tokenizer->count);
    if (status != STATUS_OK) return error_set(err, status, "out of memory");
    TRY(name_index_init(&index, tokenizer, false, NORMAL, err));
    bpe_build_disguised_bytes(&tokenizer->bpe, &index);
    TRY_CLEANUP(check_bytes(loader, err));
    TRY_CLEANUP(load_merges(loader, &index, err));
    for (int32_t id = 0; id < tokenizer->count; id++) {
        size_t length = tokenizer->tokens[id].piece_length;
        if (length > tokenizer->bpe.longest_token_bytes) tokenizer->bpe.longest_token_bytes = length;
    }
    status = bpe_build_wholes(tokenizer, false, NORMAL, loader->ignore_merges, err);
cleanup:
    name_index_deinit(&index);
    return status;
}

/* ---- "llama" and "t5" ---------------------------------------------------------------------------------------------- */

static enum status load_llama(struct loader *loader, struct error *err) {
    struct tokenizer *tokenizer = loader->tokenizer;
    bool prefix = true;
    float *scores = NULL;
    int32_t *ranks = malloc((size_t)tokenizer->count * sizeof *ranks);
    if (ranks == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    enum status status = read_scores(loader, &scores, err);
    if (status == STATUS_OK) status = bpe_ranks_of_scores(tokenizer, MERGEABLE, scores, ranks, err);
    if (status == STATUS_OK) status = bpe_build_of_tokens(tokenizer, true, MERGEABLE, ranks, err);
    free(scores);
    free(ranks);
    if (status != STATUS_OK) return status;
    TRY(tokenizer_set_marked_pieces(tokenizer, tokenizer->bpe.byte_ids, err));
    tokenizer->bpe.byte_fallback = true;
    TRY(bpe_build_wholes(tokenizer, true, MERGEABLE, false, err));
    bpe_build_cuts(tokenizer, MERGEABLE);
    (void)!gguf_bool(loader->gguf, "tokenizer.ggml.add_space_prefix", &prefix);
    tokenizer->prefix = prefix ? PREFIX_SPACE_EACH : PREFIX_NONE;
    tokenizer->spaces_to_marks = true;
    tokenizer->strip_first_space = prefix;
    tokenizer->adds_bos = true;
    tokenizer->bos = 1; /* unless the file says otherwise */
    tokenizer->eos = 2;
    return STATUS_OK;
}

static enum status load_t5(struct loader *loader, struct error *err) {
    struct tokenizer *tokenizer = loader->tokenizer;
    struct normalizer *normalizer = &tokenizer->normalizer;
    struct gguf_array charsmap;
    float *scores = NULL;
    tokenizer->model = MODEL_UNIGRAM;
    tokenizer->unigram.flavor = UNIGRAM_LLAMA;
    TRY(read_scores(loader, &scores, err));
    enum status status = tokenizer_enter_pieces(tokenizer, scores, MERGEABLE, err);
    free(scores);
    if (status != STATUS_OK) return status;
    TRY(tokenizer_set_marked_pieces(tokenizer, tokenizer->unigram.byte_ids, err));
    if (gguf_array(loader->gguf, "tokenizer.ggml.precompiled_charsmap", &charsmap) &&
        (charsmap.element == GGUF_U8 || charsmap.element == GGUF_I8))
        TRY(normalizer_set_charsmap(normalizer, bytes_view_of(charsmap.data, (size_t)charsmap.count), err));
    normalizer->merge_spaces_like_llama = normalizer->escape_whitespaces = true;
    (void)!gguf_bool(loader->gguf, "tokenizer.ggml.add_space_prefix", &normalizer->add_dummy_prefix);
    (void)!gguf_bool(loader->gguf, "tokenizer.ggml.remove_extra_whitespaces", &normalizer->remove_extra_whitespaces);
    if (normalizer_add(normalizer, NORMALIZE_SENTENCEPIECE, (struct bytes_view){0}, (struct bytes_view){0}) !=
        STATUS_OK)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    tokenizer->unigram.unknown = 2; /* unless the file says otherwise */
    tokenizer->strip_first_space = normalizer->add_dummy_prefix || normalizer->remove_extra_whitespaces;
    return STATUS_OK;
}

/* ---- special tokens ------------------------------------------------------------------------------------------------ */

/** A token id from the metadata; `*out` stays when it is absent. */
static enum status load_id(const struct loader *loader, const char *key, int32_t *out, struct error *err) {
    uint64_t id;
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
    struct tokenizer *tokenizer = loader->tokenizer;
    TRY(load_id(loader, "tokenizer.ggml.bos_token_id", &tokenizer->bos, err));
    TRY(load_id(loader, "tokenizer.ggml.eos_token_id", &tokenizer->eos, err));
    for (size_t i = 0; i < sizeof end_keys / sizeof end_keys[0]; i++) {
        int32_t id = -1;
        TRY(load_id(loader, end_keys[i], &id, err));
        if (id >= 0) tokenizer->tokens[id].end = true;
    }
    TRY(load_id(loader, "tokenizer.ggml.unknown_token_id", &tokenizer->unigram.unknown, err));
    int32_t unknown = tokenizer->model == MODEL_UNIGRAM ? tokenizer->unigram.unknown : -1; /* only it yields one */
    if (unknown >= tokenizer->count) tokenizer->unigram.unknown = unknown = -1;
    if (unknown >= 0 && (unknown == tokenizer->bos || unknown == tokenizer->eos || tokenizer->tokens[unknown].end))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: token %d stands for unknown text and begins or ends texts",
                         gguf_path(loader->gguf), unknown);
    if (unknown >= 0 && tokenizer->tokens[unknown].type == TOKEN_CONTROL) /* text may yield it: it controls nothing */
        tokenizer->tokens[unknown].type = TOKEN_UNKNOWN;
    (void)!gguf_bool(loader->gguf, "tokenizer.ggml.add_bos_token", &tokenizer->adds_bos);
    return STATUS_OK;
}

/* ---- all of it ----------------------------------------------------------------------------------------------------- */

static enum status load(struct loader *loader, struct error *err) {
    struct bytes_view model = {0};
    const char *path = gguf_path(loader->gguf);
    if (!gguf_string(loader->gguf, "tokenizer.ggml.model", &model))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s holds no tokenizer", path);
    static const struct {
        const char *name;
        enum status (*load)(struct loader *loader, struct error *err);
    } kinds[] = {{"gpt2", load_gpt2}, {"llama", load_llama}, {"t5", load_t5}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (!bytes_view_equal_string(model, kinds[i].name)) continue;
        TRY(find_arrays(loader, err));
        TRY(load_tokens(loader, err));
        TRY(kinds[i].load(loader, err));
        TRY(load_specials(loader, err));
        return tokenizer_finish(loader->tokenizer, err);
    }
    int shown = (int)text_truncate((const char *)model.data, model.length, 32);
    return error_set(err, STATUS_UNIMPLEMENTED, "%s: its tokenizer is '%.*s'; known are gpt2, llama and t5", path,
                     shown, (const char *)model.data);
}

enum status tokenizer_load_gguf(const struct gguf *gguf, struct tokenizer **out, struct error *err) {
    struct loader loader = {.gguf = gguf};
    enum status status = load(&loader, err);
    if (status != STATUS_OK)
        tokenizer_destroy(loader.tokenizer);
    else
        *out = loader.tokenizer;
    return status;
}
