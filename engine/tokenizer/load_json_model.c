/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json: model and added_tokens. */
#include "base/limits.h"
#include "engine/tokenizer/bpe_build.h"
#include "engine/tokenizer/load_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MERGEABLE = 1U << TOKEN_NORMAL | 1U << TOKEN_USER_DEFINED,
    ANY = ~0U,
};

static enum status bad(const struct json_loader *loader, const char *what, struct error *err) {
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s", loader->file, what);
}

/* ---- the vocabulary ------------------------------------------------------------------------------------------------ */

static size_t text_bytes_of(const struct json_value *vocab) {
    return vocab->text.length < UINT32_MAX / 4 ? vocab->text.length : UINT32_MAX / 4;
}

/** {"name": id, ...} */
static enum status read_vocab(struct json_loader *loader, const struct json_value *vocab, struct error *err) {
    if (vocab == NULL || vocab->count < 1 || vocab->count > LIMIT_VOCABULARY)
        return bad(loader, "model.vocab is no object of 1 to 1048576 tokens", err);
    TRY(tokenizer_create((int32_t)vocab->count, text_bytes_of(vocab), &loader->tokenizer, err));
    for (const struct json_value *entry = vocab->first; entry != NULL; entry = entry->next) {
        int64_t id;
        if (!loader_integer(entry, LIMIT_VOCABULARY - 1, &id) || entry->name.length == 0)
            return bad(loader, "a token of model.vocab has no id below 1048576", err);
        if (id < loader->tokenizer->count && loader->tokenizer->tokens[id].type != TOKEN_UNUSED)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: two tokens of model.vocab have the id %lld",
                             loader->file, (long long)id);
        TRY(tokenizer_set_token(loader->tokenizer, (int32_t)id, entry->name, TOKEN_NORMAL, err));
    }
    return STATUS_OK;
}

/** The added tokens: control tokens where they are special, else user-defined text. */
static enum status read_added(struct json_loader *loader, struct error *err) {
    const struct json_value *list = loader_member_of(loader->root, "added_tokens", JSON_KIND_ARRAY);
    const struct json_value *model = loader_member(loader->root, "model");
    struct tokenizer *tokenizer = loader->tokenizer;
    for (const struct json_value *entry = list != NULL ? list->first : NULL; entry != NULL; entry = entry->next) {
        int64_t id;
        struct bytes_view content = loader_string(entry, "content");
        if (!loader_integer(loader_member(entry, "id"), LIMIT_VOCABULARY - 1, &id) || content.length == 0)
            return bad(loader, "an added token has no content, or no id below 1048576", err);
        bool special = loader_bool(entry, "special", false);
        bool unknown = special && bytes_view_equal(content, loader_string(model, "unk_token"));
        enum token_type type = unknown ? TOKEN_UNKNOWN : special ? TOKEN_CONTROL : TOKEN_USER_DEFINED;
        TRY(tokenizer_set_token(tokenizer, (int32_t)id, content, type, err));
        if (!special) TRY(tokenizer_set_piece(tokenizer, (int32_t)id, content, err));
        struct token *token = &tokenizer->tokens[id];
        token->left_strip = loader_bool(entry, "lstrip", false);
        token->right_strip = loader_bool(entry, "rstrip", false);
        token->single_word = loader_bool(entry, "single_word", false);
        token->normalized = loader_bool(entry, "normalized", !special);
    }
    return STATUS_OK;
}

/* ---- BPE ----------------------------------------------------------------------------------------------------------- */

/** "left right" or ["left", "right"]. */
static bool merge_parts(const struct json_value *entry, struct bytes_view *left, struct bytes_view *right) {
    if (entry->kind == JSON_KIND_STRING) return bpe_build_split_merge(entry->string, left, right);
    if (entry->kind != JSON_KIND_ARRAY || entry->count != 2 || entry->first->kind != JSON_KIND_STRING ||
        entry->first->next->kind != JSON_KIND_STRING)
        return false;
    *left = entry->first->string;
    *right = entry->first->next->string;
    return true;
}

/** `index` has what may arise of text, `all` control tokens too: a merge that makes one of these is left out. */
static enum status read_merges(struct json_loader *loader, const struct json_value *merges,
                               const struct name_index *index, const struct name_index *all, struct error *err) {
    struct bytes_view none = {0};
    int32_t rank = 0;
    for (const struct json_value *entry = merges->first; entry != NULL; entry = entry->next, rank++) {
        struct bytes_view left, right;
        if (!merge_parts(entry, &left, &right) || name_index_find(all, left, none) < 0 ||
            name_index_find(all, right, none) < 0 || name_index_find(all, left, right) < 0)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "%s: merge %d joins pieces that the vocabulary does not have", loader->file, rank);
        (void)bpe_build_named_merge(&loader->tokenizer->bpe, index, left, right, rank);
    }
    return STATUS_OK;
}

static enum status read_bpe_settings(struct json_loader *loader, const struct json_value *model,
                                     const struct name_index *all, struct error *err) {
    struct bpe *bpe = &loader->tokenizer->bpe;
    double dropout;
    if (loader_string(model, "continuing_subword_prefix").length > 0)
        return json_unsupported(loader, "model setting", bytes_view_string("continuing_subword_prefix"), err);
    if (loader_string(model, "end_of_word_suffix").length > 0)
        return json_unsupported(loader, "model setting", bytes_view_string("end_of_word_suffix"), err);
    if (json_double(loader_member(model, "dropout"), &dropout) && dropout > 0)
        return json_unsupported(loader, "model setting", bytes_view_string("dropout"), err);
    struct bytes_view unknown = loader_string(model, "unk_token");
    bpe->unknown = unknown.length > 0 ? name_index_find(all, unknown, (struct bytes_view){0}) : -1;
    if (unknown.length > 0 && bpe->unknown < 0)
        return bad(loader, "model.unk_token is no token of the vocabulary", err);
    bpe->fuse_unknown = loader_bool(model, "fuse_unk", false);
    bpe->by_characters = !loader->byte_level;
    bpe->drop_missing = true;
    return STATUS_OK;
}

static enum status finish_bpe(struct json_loader *loader, bool byte_fallback, bool ignore_merges, struct error *err) {
    struct tokenizer *tokenizer = loader->tokenizer;
    struct bpe *bpe = &tokenizer->bpe;
    int32_t bytes[256];
    if (!loader->byte_level) {
        TRY(tokenizer_set_marked_pieces(tokenizer, bytes, err));
        bpe->byte_fallback = byte_fallback;
        if (byte_fallback) memcpy(bpe->byte_ids, bytes, sizeof bytes);
    }
    for (int32_t id = 0; id < tokenizer->count; id++) {
        size_t length = loader->byte_level ? tokenizer->tokens[id].piece_length : tokenizer->tokens[id].name_length;
        if ((MERGEABLE >> tokenizer->tokens[id].type & 1) && length > bpe->longest_token_bytes)
            bpe->longest_token_bytes = length;
    }
    TRY(bpe_build_wholes(tokenizer, !loader->byte_level, MERGEABLE, ignore_merges, err));
    if (!loader->byte_level && !ignore_merges) bpe_build_cuts(tokenizer, MERGEABLE);
    return STATUS_OK;
}

static enum status read_bpe(struct json_loader *loader, const struct json_value *model, struct error *err) {
    const struct json_value *merges = loader_member_of(model, "merges", JSON_KIND_ARRAY);
    struct name_index index = {0}, all = {0};
    TRY(read_vocab(loader, loader_member_of(model, "vocab", JSON_KIND_OBJECT), err));
    struct tokenizer *tokenizer = loader->tokenizer;
    if (merges == NULL || merges->count > LIMIT_MERGES) return bad(loader, "model.merges is no list", err);
    TRY(json_read_pre_tokenizer(loader, loader_member(loader->root, "pre_tokenizer"), 0, err));
    if (loader->byte_level && loader->has_metaspace)
        return json_unsupported(loader, "pre_tokenizer", bytes_view_string("ByteLevel beside Metaspace"), err);
    if (loader->byte_level) TRY(tokenizer_set_disguised_pieces(tokenizer, err));
    TRY(read_added(loader, err));
    enum status status = bpe_init(&tokenizer->bpe, tokenizer->count, merges->count, (size_t)tokenizer->count);
    if (status != STATUS_OK) return error_set(err, status, "out of memory");
    TRY_CLEANUP(name_index_init(&index, tokenizer, false, MERGEABLE, err));
    TRY_CLEANUP(name_index_init(&all, tokenizer, false, ANY, err));
    TRY_CLEANUP(read_bpe_settings(loader, model, &all, err));
    if (loader->byte_level) bpe_build_disguised_bytes(&tokenizer->bpe, &index);
    TRY_CLEANUP(read_merges(loader, merges, &index, &all, err));
    status =
        finish_bpe(loader, loader_bool(model, "byte_fallback", false), loader_bool(model, "ignore_merges", false), err);
cleanup:
    name_index_deinit(&index);
    name_index_deinit(&all);
    return status;
}

/* ---- unigram ------------------------------------------------------------------------------------------------------- */

/** [["piece", score], ...] */
static enum status read_pieces(struct json_loader *loader, const struct json_value *vocab, struct error *err) {
    if (vocab == NULL || vocab->count < 1 || vocab->count > LIMIT_VOCABULARY)
        return bad(loader, "model.vocab is no list of 1 to 1048576 pieces", err);
    TRY(tokenizer_create((int32_t)vocab->count, text_bytes_of(vocab), &loader->tokenizer, err));
    struct unigram *unigram = &loader->tokenizer->unigram;
    unigram->flavor = UNIGRAM_HUGGING_FACE;
    unigram->least = INFINITY;
    unigram->scores = calloc((size_t)vocab->count, sizeof *unigram->scores);
    if (unigram->scores == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    int32_t id = 0;
    for (const struct json_value *entry = vocab->first; entry != NULL; entry = entry->next, id++) {
        const struct json_value *name = entry->kind == JSON_KIND_ARRAY && entry->count == 2 ? entry->first : NULL;
        if (name == NULL || name->kind != JSON_KIND_STRING || !loader_score(name->next, &unigram->scores[id]))
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: model.vocab[%d] is no piece with a score", loader->file,
                             id);
        TRY(tokenizer_set_token(loader->tokenizer, id, name->string, TOKEN_NORMAL, err));
        if (unigram->scores[id] < unigram->least) unigram->least = unigram->scores[id];
    }
    return STATUS_OK;
}

static enum status read_unigram(struct json_loader *loader, const struct json_value *model, struct error *err) {
    const struct json_value *vocab = loader_member_of(model, "vocab", JSON_KIND_ARRAY);
    TRY(read_pieces(loader, vocab, err));
    struct tokenizer *tokenizer = loader->tokenizer;
    struct unigram *unigram = &tokenizer->unigram;
    int32_t pieces = tokenizer->count;
    int64_t unknown;
    size_t bytes = 0;
    tokenizer->model = MODEL_UNIGRAM;
    unigram->unknown = loader_integer(loader_member(model, "unk_id"), pieces - 1, &unknown) ? (int32_t)unknown : -1;
    unigram->byte_fallback = loader_bool(model, "byte_fallback", false);
    TRY(json_read_pre_tokenizer(loader, loader_member(loader->root, "pre_tokenizer"), 0, err));
    if (loader->byte_level)
        return json_unsupported(loader, "pre_tokenizer", bytes_view_string("ByteLevel for Unigram"), err);
    TRY(read_added(loader, err));
    if (unigram->unknown >= 0) tokenizer->tokens[unigram->unknown].type = TOKEN_UNKNOWN;
    TRY(tokenizer_set_marked_pieces(tokenizer, unigram->byte_ids, err));
    for (int32_t id = 0; id < pieces; id++) bytes += tokenizer->tokens[id].name_length;
    unigram->user_scored = calloc((size_t)tokenizer->count, sizeof *unigram->user_scored);
    if (unigram->user_scored == NULL || trie_init(&unigram->pieces, bytes) != STATUS_OK)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory for %zu bytes of pieces", bytes);
    for (int32_t id = 0; id < pieces; id++) {
        if (MERGEABLE >> tokenizer->tokens[id].type & 1) trie_add(&unigram->pieces, token_name(tokenizer, id), id);
    }
    return STATUS_OK;
}

enum status json_read_model(struct json_loader *loader, struct error *err) {
    const struct json_value *model = loader_member_of(loader->root, "model", JSON_KIND_OBJECT);
    struct bytes_view type = loader_string(model, "type");
    if (model == NULL) return bad(loader, "there is no object 'model'", err);
    bool older_bpe = type.length == 0 && loader_member(model, "merges") != NULL;
    if (older_bpe || bytes_view_equal_string(type, "BPE")) return read_bpe(loader, model, err);
    if (bytes_view_equal_string(type, "Unigram")) return read_unigram(loader, model, err);
    return json_unsupported(loader, "model", type, err);
}
