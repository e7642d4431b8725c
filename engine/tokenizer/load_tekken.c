/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Mistral's tekken.json: byte strings in the order of their ranks, of which the file's config says how many count, behind special tokens.
 * Merging is by rank: two neighbours whose bytes together are a token become it (tiktoken's rule), and a piece that is a token is it.
 */
#include "base/limits.h"
#include "engine/tokenizer/bpe_build.h"
#include "engine/tokenizer/loader_json.h"
#include "engine/tokenizer/tekken_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 256, NORMAL = 1U << TOKEN_NORMAL };

struct loader {
    struct tokenizer *tokenizer;
    const char *file;
    int64_t special_count, vocabulary; /* vocabulary: all ids */
};

static enum status load_ranks(struct loader *loader, const struct json_value *vocab, struct error *err) {
    uint8_t bytes[TEKKEN_TOKEN_BYTES_MAX];
    int64_t rank = 0, want = loader->vocabulary - loader->special_count;
    for (const struct json_value *entry = vocab->first; entry != NULL && rank < want; entry = entry->next, rank++) {
        size_t length = 0;
        int64_t said;
        int32_t id = (int32_t)(rank + loader->special_count);
        if (!loader_integer(loader_member(entry, "rank"), LIMIT_VOCABULARY, &said) || said != rank ||
            !tekken_decode(loader_string(entry, "token_bytes"), bytes, &length) ||
            (rank < BYTES && (length != 1 || bytes[0] != rank)))
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: vocab[%lld] is not the token of rank %lld",
                             loader->file, (long long)rank, (long long)rank);
        TRY(tokenizer_set_token(loader->tokenizer, id, bytes_view_of(bytes, length), TOKEN_NORMAL, err));
        TRY(tokenizer_set_piece(loader->tokenizer, id, bytes_view_of(bytes, length), err));
    }
    if (rank < want)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: vocab has %lld tokens of %lld", loader->file,
                         (long long)rank, (long long)want);
    return STATUS_OK;
}

static enum status load_specials(struct loader *loader, const struct json_value *root, struct error *err) {
    const struct json_value *list = loader_member_of(root, "special_tokens", JSON_KIND_ARRAY);
    struct tokenizer *tokenizer = loader->tokenizer;
    for (int32_t id = 0; id < loader->special_count; id++) {
        char name[32];
        int length = snprintf(name, sizeof name, "<SPECIAL_%d>", id);
        struct bytes_view view = list == NULL ? tekken_unlisted_special((size_t)id) : (struct bytes_view){0};
        if (view.length == 0) view = bytes_view_of(name, (size_t)length);
        TRY(tokenizer_set_token(tokenizer, id, view, TOKEN_CONTROL, err));
    }
    if (list == NULL) return STATUS_OK;
    for (const struct json_value *entry = list->first; entry != NULL; entry = entry->next) {
        int64_t rank;
        struct bytes_view name = loader_string(entry, "token_str");
        if (!loader_integer(loader_member(entry, "rank"), loader->special_count - 1, &rank) || name.length == 0)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "%s: a special token has no name, or its rank is not below %lld", loader->file,
                             (long long)loader->special_count);
        TRY(tokenizer_set_token(tokenizer, (int32_t)rank, name, TOKEN_CONTROL, err));
    }
    return STATUS_OK;
}

static enum status read_config(struct loader *loader, const struct json_value *root, struct error *err) {
    const struct json_value *config = loader_member(root, "config");
    struct bytes_view pattern = loader_string(config, "pattern");
    if (!loader_integer(loader_member(config, "default_vocab_size"), LIMIT_VOCABULARY, &loader->vocabulary) ||
        !loader_integer(loader_member(config, "default_num_special_tokens"), loader->vocabulary,
                        &loader->special_count) ||
        pattern.length == 0 || loader->vocabulary - loader->special_count < BYTES)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: config does not give a pattern, default_vocab_size and default_num_special_tokens",
                         loader->file);
    TRY(tokenizer_create((int32_t)loader->vocabulary, (size_t)loader->vocabulary * 10, &loader->tokenizer, err));
    struct error cause = {0};
    enum status status = split_step_of_pattern(pattern, &loader->tokenizer->splits[0], &cause);
    loader->tokenizer->split_count = 1;
    return status == STATUS_OK ? status : error_set(err, status, "%s: %s", loader->file, cause.message);
}

static enum status build(struct loader *loader, struct error *err) {
    struct tokenizer *tokenizer = loader->tokenizer;
    int32_t *ranks = malloc((size_t)tokenizer->count * sizeof *ranks);
    if (ranks == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (int32_t id = 0; id < tokenizer->count; id++) ranks[id] = id;
    enum status status = bpe_build_of_tokens(tokenizer, false, NORMAL, ranks, err);
    free(ranks);
    if (status != STATUS_OK) return status;
    for (int32_t byte = 0; byte < BYTES; byte++) tokenizer->bpe.byte_ids[byte] = (int32_t)loader->special_count + byte;
    TRY(bpe_build_wholes(tokenizer, false, NORMAL, true, err));
    tokenizer->bos = tokenizer_special(tokenizer, "<s>");
    tokenizer->eos = tokenizer_special(tokenizer, "</s>");
    tokenizer->adds_bos = true;
    return tokenizer_finish(tokenizer, err);
}

enum status tokenizer_load_tekken(struct bytes_view json, const char *file, struct tokenizer **out, struct error *err) {
    struct loader loader = {.file = file};
    struct json_value *root = NULL;
    struct arena arena;
    const struct json_value *vocab;
    enum status status = loader_json_read(json, file, &arena, &root, err);
    if (status != STATUS_OK) goto cleanup;
    vocab = loader_member_of(root, "vocab", JSON_KIND_ARRAY);
    if (vocab == NULL) {
        status = error_set(err, STATUS_INVALID_ARGUMENT, "%s: there is no list 'vocab'", file);
        goto cleanup;
    }
    TRY_CLEANUP(read_config(&loader, root, err));
    TRY_CLEANUP(load_specials(&loader, root, err));
    TRY_CLEANUP(load_ranks(&loader, vocab, err));
    TRY_CLEANUP(build(&loader, err));
    *out = loader.tokenizer;
    loader.tokenizer = NULL;
cleanup:
    arena_deinit(&arena);
    tokenizer_destroy(loader.tokenizer);
    return status;
}
