/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/bpe_build.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

static struct bytes_view key_of(const struct tokenizer *tokenizer, bool by_characters, int32_t id) {
    return by_characters ? token_name(tokenizer, id) : token_piece(tokenizer, id);
}

static bool has_type(const struct tokenizer *tokenizer, uint32_t types, int32_t id) {
    return types >> tokenizer->tokens[id].type & 1;
}

/** Bytes of the first symbol of `text`. */
static size_t symbol_bytes(bool by_characters, struct bytes_view text) {
    uint32_t code_point;
    bool valid;
    if (!by_characters || text.length == 0) return 1;
    size_t used = text_decode(text.data, text.length, &code_point, &valid);
    return valid ? used : 1;
}

/** The id of a part that is no token: of a symbol; -1: it is none either. */
static int32_t symbol_id(const struct tokenizer *tokenizer, bool by_characters, struct bytes_view part) {
    uint32_t code_point;
    bool valid;
    if (symbol_bytes(by_characters, part) != part.length) return -1;
    if (!by_characters) return tokenizer->count + BPE_INVALID + part.data[0];
    (void)text_decode(part.data, part.length, &code_point, &valid);
    return tokenizer->count + (valid ? (int32_t)code_point : BPE_INVALID + part.data[0]);
}

/** Merges found so far. */
struct found {
    struct bpe_merge *merges;
    size_t count, capacity;
};

static enum status note(struct found *found, struct bpe_merge merge) {
    if (found->count == found->capacity) {
        size_t capacity = found->capacity < 1024 ? 1024 : 2 * found->capacity;
        struct bpe_merge *merges = realloc(found->merges, capacity * sizeof *merges);
        if (merges == NULL) return STATUS_RESOURCE_EXHAUSTED;
        found->merges = merges;
        found->capacity = capacity;
    }
    found->merges[found->count++] = merge;
    return STATUS_OK;
}

/** A place where a token may be cut in two. */
struct cut {
    struct bytes_view parts[2];
    uint64_t hashes[2];
};

static int32_t part_id(const struct tokenizer *tokenizer, const struct name_index *index, bool by_characters,
                       const struct cut *cut, int part) {
    int32_t id = name_index_find_hashed(index, cut->hashes[part], cut->parts[part]);
    return id >= 0 ? id : symbol_id(tokenizer, by_characters, cut->parts[part]);
}

/** Note the merges that give `id`. All of a token's parts are on their way into the cache before the first is looked up. */
static enum status join_parts(struct tokenizer *tokenizer, const struct name_index *index, bool by_characters,
                              int32_t id, int32_t rank, struct found *found) {
    enum { CUTS = 16 };
    struct cut cuts[CUTS];
    struct bytes_view key = key_of(tokenizer, by_characters, id);
    size_t at = symbol_bytes(by_characters, key);
    while (at < key.length) {
        int count = 0;
        for (; at < key.length && count < CUTS; count++) {
            struct cut *cut = &cuts[count];
            cut->parts[0] = bytes_view_of(key.data, at);
            cut->parts[1] = bytes_view_of(key.data + at, key.length - at);
            for (int part = 0; part < 2; part++) {
                cut->hashes[part] = name_index_hash(cut->parts[part]);
                name_index_prefetch(index, cut->hashes[part]);
            }
            at += symbol_bytes(by_characters, cut->parts[1]);
        }
        for (int i = 0; i < count; i++) {
            int32_t left = part_id(tokenizer, index, by_characters, &cuts[i], 0);
            int32_t right = left < 0 ? -1 : part_id(tokenizer, index, by_characters, &cuts[i], 1);
            if (right >= 0) TRY(note(found, (struct bpe_merge){left, right, rank, id}));
        }
    }
    return STATUS_OK;
}

/** Tokens longer than this many bytes are no result of merging: the work for them would be quadratic in their length. */
enum { JOINED_BYTES_MAX = 4096 };

enum status bpe_build_of_tokens(struct tokenizer *tokenizer, bool by_characters, uint32_t types, const int32_t *ranks,
                                struct error *err) {
    enum { AHEAD = 16 };
    struct name_index index;
    struct found found = {0};
    size_t longest = 1;
    enum status status = STATUS_OK;
    TRY(name_index_init(&index, tokenizer, !by_characters, types, err));
    for (int32_t id = 0; id < tokenizer->count; id++) {
        struct bytes_view key = key_of(tokenizer, by_characters, id);
        if (!has_type(tokenizer, types, id) || key.length == 0 || key.length > JOINED_BYTES_MAX ||
            name_index_find(&index, key, (struct bytes_view){0}) != id)
            continue;
        TRY_CLEANUP(join_parts(tokenizer, &index, by_characters, id, ranks[id], &found));
        if (key.length > longest) longest = key.length;
    }
    TRY_CLEANUP(bpe_init(&tokenizer->bpe, tokenizer->count, found.count, (size_t)tokenizer->count));
    tokenizer->bpe.text = tokenizer->text;
    tokenizer->bpe.by_characters = by_characters;
    tokenizer->bpe.longest_token_bytes = longest;
    for (size_t i = 0; i < found.count; i++) {
        const struct bpe_merge *merge = &found.merges[i];
        if (i + AHEAD < found.count) bpe_prefetch_merge(&tokenizer->bpe, merge[AHEAD].left, merge[AHEAD].right);
        bpe_add_merge(&tokenizer->bpe, merge->left, merge->right, merge->rank, merge->result);
    }
cleanup:
    free(found.merges);
    name_index_deinit(&index);
    return status == STATUS_OK ? status : error_set(err, status, "out of memory");
}

bool bpe_build_named_merge(struct bpe *bpe, const struct name_index *index, struct bytes_view left,
                           struct bytes_view right, int32_t rank) {
    int32_t left_id = name_index_find(index, left, (struct bytes_view){0});
    int32_t right_id = name_index_find(index, right, (struct bytes_view){0});
    int32_t result = name_index_find(index, left, right);
    if (left_id < 0 || right_id < 0 || result < 0) return false;
    bpe_add_merge(bpe, left_id, right_id, rank, result);
    return true;
}

bool bpe_build_split_merge(struct bytes_view text, struct bytes_view *out_left, struct bytes_view *out_right) {
    const uint8_t *blank = text.length > 1 ? memchr(text.data + 1, ' ', text.length - 1) : NULL;
    if (blank == NULL) return false;
    *out_left = bytes_view_of(text.data, (size_t)(blank - text.data));
    *out_right = bytes_view_of(blank + 1, text.length - out_left->length - 1);
    return true;
}

void bpe_build_disguised_bytes(struct bpe *bpe, const struct name_index *index) {
    for (uint32_t character = 0; character < 512; character++) {
        int byte = tokenizer_disguised_byte(character);
        uint8_t name[4];
        if (byte < 0) continue;
        bpe->byte_ids[byte] =
            name_index_find(index, bytes_view_of(name, text_encode(character, name)), (struct bytes_view){0});
    }
}

/* ---- ranks --------------------------------------------------------------------------------------------------------- */

static int compare_scores(const void *a, const void *b, void *context) {
    const float *scores = context;
    float x = scores[*(const int32_t *)a], y = scores[*(const int32_t *)b];
    if (x != y) return x > y ? -1 : 1;
    return *(const int32_t *)a < *(const int32_t *)b ? -1 : 1;
}

enum status bpe_ranks_of_scores(const struct tokenizer *tokenizer, uint32_t types, const float *scores,
                                int32_t *out_ranks, struct error *err) {
    int32_t *order = malloc(((size_t)tokenizer->count + 1) * sizeof *order), used = 0;
    if (order == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (int32_t id = 0; id < tokenizer->count; id++) {
        out_ranks[id] = -1;
        if (has_type(tokenizer, types, id)) order[used++] = id;
    }
    qsort_r(order, (size_t)used, sizeof *order, compare_scores, (void *)(uintptr_t)scores);
    for (int32_t i = 0; i < used; i++) {
        bool same = i > 0 && scores[order[i]] == scores[order[i - 1]];
        out_ranks[order[i]] = same ? out_ranks[order[i - 1]] : i;
    }
    free(order);
    return STATUS_OK;
}

/* ---- whole tokens -------------------------------------------------------------------------------------------------- */

enum status bpe_build_wholes(struct tokenizer *tokenizer, bool by_characters, uint32_t types, bool trusted,
                             struct error *err) {
    struct bpe *bpe = &tokenizer->bpe;
    struct bpe_scratch scratch = {0};
    enum status status = STATUS_OK;
    bpe->text = tokenizer->text;
    bpe_enter_ascii(bpe);
    for (int pass = 0; pass < 2 && status == STATUS_OK; pass++) { /* symbols first: merging begins with them */
        for (int32_t id = 0; id < tokenizer->count && status == STATUS_OK; id++) {
            struct bytes_view key = key_of(tokenizer, by_characters, id);
            if (!has_type(tokenizer, types, id) || key.length == 0) continue;
            bool is_symbol = symbol_bytes(by_characters, key) == key.length;
            if (is_symbol != (pass == 0)) continue;
            int32_t merged = id;
            if (!is_symbol && !trusted) status = bpe_merge_alone(bpe, key, &scratch, &merged);
            if (is_symbol && by_characters && key.length == 1) bpe->ascii_ids[key.data[0] & 0x7F] = id;
            if (status == STATUS_OK && merged == id)
                bpe_add_whole(bpe, (uint32_t)(key.data - tokenizer->text), (uint32_t)key.length, id);
        }
    }
    bpe_scratch_deinit(&scratch);
    return status == STATUS_OK ? status : error_set(err, status, "out of memory");
}

void bpe_build_cuts(struct tokenizer *tokenizer, uint32_t types) {
    static const char mark[] = "\xE2\x96\x81";
    struct bpe *bpe = &tokenizer->bpe;
    bpe->cut_at_marks = true;
    memset(bpe->joins_mark, 0, sizeof bpe->joins_mark);
    for (int32_t id = 0; id < tokenizer->count; id++) {
        struct bytes_view name = token_name(tokenizer, id);
        if (!has_type(tokenizer, types, id)) continue;
        for (size_t at = 0; at < name.length;) {
            const uint8_t *found = memmem(name.data + at, name.length - at, mark, 3);
            if (found == NULL) break;
            at = (size_t)(found - name.data);
            bool behind_mark = at >= 3 && memcmp(found - 3, mark, 3) == 0;
            if (at > 0 && !behind_mark) bpe->joins_mark[found[-1]] = true;
            at += 3;
        }
    }
}
