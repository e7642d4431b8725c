/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/bpe.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

static inline uint64_t hash_pair(int32_t left, int32_t right) {
    uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * UINT64_C(0x9E3779B97F4A7C15);
    return key ^ key >> 29;
}

/** The bit of a pair in the filter: other bits of its hash than the table uses. */
static inline uint32_t filter_bit(const struct bpe *bpe, uint64_t hash) {
    return (uint32_t)(hash >> 40) & bpe->filter_mask;
}

static size_t slots_for(size_t count) {
    size_t slots = 16;
    while (slots < 2 * count) slots *= 2;
    return slots;
}

enum status bpe_init(struct bpe *bpe, int32_t count, size_t merge_count, size_t whole_count) {
    size_t merge_slots = slots_for(merge_count), whole_slots = slots_for(whole_count);
    size_t filter_bits = 1024;
    while (filter_bits < 8 * merge_count && filter_bits < 1U << 24) filter_bits *= 2;
    *bpe = (struct bpe){.count = count,
                        .unknown = -1,
                        .merge_mask = (uint32_t)(merge_slots - 1),
                        .whole_mask = (uint32_t)(whole_slots - 1),
                        .filter_mask = (uint32_t)(filter_bits - 1),
                        .longest_token_bytes = 1};
    memset(bpe->byte_ids, -1, sizeof bpe->byte_ids);
    bpe->merges = malloc(merge_slots * sizeof *bpe->merges);
    bpe->filter = calloc(filter_bits / 64, sizeof *bpe->filter);
    bpe->wholes = calloc(whole_slots, sizeof *bpe->wholes);
    bpe->offsets = calloc((size_t)count + 1, sizeof *bpe->offsets);
    if (bpe->merges == NULL || bpe->filter == NULL || bpe->wholes == NULL || bpe->offsets == NULL) {
        bpe_deinit(bpe);
        return STATUS_RESOURCE_EXHAUSTED;
    }
    memset(bpe->merges, -1, merge_slots * sizeof *bpe->merges);
    return STATUS_OK;
}

void bpe_deinit(struct bpe *bpe) {
    free(bpe->merges);
    free(bpe->filter);
    free(bpe->wholes);
    free(bpe->offsets);
    *bpe = (struct bpe){0};
}

void bpe_scratch_deinit(struct bpe_scratch *scratch) {
    free(scratch->memory);
    *scratch = (struct bpe_scratch){0};
}

/** The slot of (left, right), or the free one where it would go. */
static inline struct bpe_merge *find_slot(const struct bpe *bpe, uint64_t hash, int32_t left, int32_t right) {
    for (uint32_t slot = (uint32_t)hash & bpe->merge_mask;; slot = (slot + 1) & bpe->merge_mask) {
        struct bpe_merge *merge = &bpe->merges[slot];
        if (merge->left < 0 || (merge->left == left && merge->right == right)) return merge;
    }
}

/** The merge of (left, right), or NULL. */
static inline const struct bpe_merge *find_merge(const struct bpe *bpe, int32_t left, int32_t right) {
    uint64_t hash = hash_pair(left, right);
    uint32_t bit = filter_bit(bpe, hash);
    if ((bpe->filter[bit / 64] >> bit % 64 & 1) == 0) return NULL;
    const struct bpe_merge *merge = find_slot(bpe, hash, left, right);
    return merge->left < 0 ? NULL : merge;
}

void bpe_add_merge(struct bpe *bpe, int32_t left, int32_t right, int32_t rank, int32_t result) {
    uint64_t hash = hash_pair(left, right);
    uint32_t bit = filter_bit(bpe, hash);
    struct bpe_merge *merge = find_slot(bpe, hash, left, right);
    if (merge->left < 0) *merge = (struct bpe_merge){left, right, rank, result};
    bpe->filter[bit / 64] |= UINT64_C(1) << bit % 64;
}

void bpe_prefetch_merge(const struct bpe *bpe, int32_t left, int32_t right) {
    uint64_t hash = hash_pair(left, right);
    __builtin_prefetch(&bpe->merges[(uint32_t)hash & bpe->merge_mask]);
    __builtin_prefetch(&bpe->filter[filter_bit(bpe, hash) / 64]);
}

/* ---- whole tokens -------------------------------------------------------------------------------------------------- */

enum { SHORT_BYTES = 8 };

static inline uint64_t load_u64(const uint8_t *data) {
    uint64_t value;
    memcpy(&value, data, sizeof value);
    return value;
}

static inline uint32_t load_u32(const uint8_t *data) {
    uint32_t value;
    memcpy(&value, data, sizeof value);
    return value;
}

/** The bytes themselves in a number when there are at most eight, else a hash of them. length > 0. */
static inline uint64_t whole_key(const uint8_t *data, size_t length) {
    if (length > SHORT_BYTES) {
        uint64_t hash = length * UINT64_C(0x9E3779B97F4A7C15);
        for (; length > SHORT_BYTES; data += SHORT_BYTES, length -= SHORT_BYTES) {
            hash = (hash ^ load_u64(data)) * UINT64_C(0xD6E8FEB86659FD93);
            hash ^= hash >> 32;
        }
        hash = (hash ^ load_u64(data + length - SHORT_BYTES)) * UINT64_C(0xD6E8FEB86659FD93);
        return hash ^ hash >> 32;
    }
    if (length == SHORT_BYTES) return load_u64(data);
    if (length >= 4) return load_u32(data) | (uint64_t)load_u32(data + length - 4) << 8 * (length - 4);
    uint64_t key = data[0];
    if (length > 1) key |= (uint64_t)data[1] << 8;
    if (length > 2) key |= (uint64_t)data[2] << 16;
    return key;
}

static inline struct bpe_whole *find_whole_slot(const struct bpe *bpe, const uint8_t *data, size_t length,
                                                uint64_t key) {
    uint64_t hash = (key + length) * UINT64_C(0x9E3779B97F4A7C15);
    for (uint32_t slot = (uint32_t)(hash >> 32) & bpe->whole_mask;; slot = (slot + 1) & bpe->whole_mask) {
        struct bpe_whole *whole = &bpe->wholes[slot];
        if (whole->length == 0) return whole;
        if (whole->key == key && whole->length == length &&
            (length <= SHORT_BYTES || memcmp(bpe->text + bpe->offsets[whole->id], data, length) == 0))
            return whole;
    }
}

void bpe_add_whole(struct bpe *bpe, uint32_t offset, uint32_t length, int32_t id) {
    if (length == 0) return;
    uint64_t key = whole_key(bpe->text + offset, length);
    struct bpe_whole *whole = find_whole_slot(bpe, bpe->text + offset, length, key);
    if (whole->length != 0) return;
    bpe->offsets[id] = offset;
    *whole = (struct bpe_whole){key, length, id};
}

int32_t bpe_find_whole(const struct bpe *bpe, struct bytes_view piece) {
    if (piece.length == 0 || piece.length > bpe->longest_token_bytes) return -1;
    struct bpe_whole *whole = find_whole_slot(bpe, piece.data, piece.length, whole_key(piece.data, piece.length));
    return whole->length != 0 ? whole->id : -1;
}

/* ---- symbols ------------------------------------------------------------------------------------------------------- */

enum { NO_RANK = INT32_MAX, PIECE_SYMBOLS_SMALL = 64, PIECE_BYTES_MAX = INT32_MAX / 4 };

int32_t bpe_symbol_at(const struct bpe *bpe, struct bytes_view text, size_t *out_bytes) {
    *out_bytes = 1;
    if (!bpe->by_characters) {
        int32_t id = bpe->byte_ids[text.data[0]];
        return id >= 0 ? id : bpe->count + BPE_INVALID + text.data[0];
    }
    if (text.data[0] < 0x80) return bpe->ascii_ids[text.data[0]];
    uint32_t code_point;
    bool valid;
    *out_bytes = text_decode(text.data, text.length, &code_point, &valid);
    if (!valid) {
        *out_bytes = 1;
        return bpe->count + BPE_INVALID + text.data[0];
    }
    int32_t id = bpe_find_whole(bpe, (struct bytes_view){text.data, *out_bytes});
    return id >= 0 ? id : bpe->count + (int32_t)code_point;
}

void bpe_enter_ascii(struct bpe *bpe) {
    for (uint8_t c = 0; c < 0x80; c++) {
        int32_t id = bpe_find_whole(bpe, bytes_view_of(&c, 1));
        bpe->ascii_ids[c] = id >= 0 ? id : bpe->count + c;
    }
}

/** The ids of the bytes that a symbol without a token has; false when one of them has none. */
static bool fall_back(const struct bpe *bpe, int32_t symbol, int32_t ids[4], size_t *out_count) {
    uint8_t bytes[4];
    uint32_t code_point = (uint32_t)(symbol - bpe->count);
    *out_count = 1;
    if (code_point >= BPE_INVALID) {
        bytes[0] = (uint8_t)(code_point - BPE_INVALID);
    } else {
        *out_count = text_encode(code_point, bytes);
    }
    for (size_t i = 0; i < *out_count; i++) {
        if ((ids[i] = bpe->byte_ids[bytes[i]]) < 0) return false;
    }
    return true;
}

/** True when the symbol leaves nothing behind. */
static bool stands_for_nothing(const struct bpe *bpe, int32_t symbol) {
    int32_t ids[4];
    size_t count;
    if (symbol < bpe->count || bpe->unknown >= 0) return false;
    return !bpe->byte_fallback || !fall_back(bpe, symbol, ids, &count);
}

/** token_list_append, with its common way written out. */
static inline enum status append_id(struct token_list *list, int32_t id) {
    if (list->count >= list->capacity || list->count >= list->max_count) return token_list_append(list, id);
    list->ids[list->count++] = id;
    return STATUS_OK;
}

/** Append what a symbol stands for. `*unknown`: the one before was unknown. */
static inline enum status append_symbol(const struct bpe *bpe, int32_t symbol, bool *unknown, struct token_list *out) {
    int32_t ids[4];
    size_t count;
    if (symbol < bpe->count) {
        *unknown = false;
        return append_id(out, symbol);
    }
    if (bpe->byte_fallback && fall_back(bpe, symbol, ids, &count)) {
        *unknown = false;
        for (size_t i = 0; i < count; i++) TRY(token_list_append(out, ids[i]));
        return STATUS_OK;
    }
    if (bpe->unknown < 0 || (*unknown && bpe->fuse_unknown)) return STATUS_OK;
    *unknown = true;
    return token_list_append(out, bpe->unknown);
}

/* ---- merging a short piece ----------------------------------------------------------------------------------------- */

/** What the pair at i gives, in ranks[i] and results[i]. */
static inline void rank_pair(const struct bpe *bpe, const int32_t *ids, int32_t *ranks, int32_t *results, int i) {
    const struct bpe_merge *merge = find_merge(bpe, ids[i], ids[i + 1]);
    ranks[i] = merge == NULL ? NO_RANK : merge->rank;
    if (merge != NULL) results[i] = merge->result;
}

/** Merge `count` <= PIECE_SYMBOLS_SMALL ids in place; returns how many are left. The best pair is found by looking at all. */
static int merge_small(const struct bpe *bpe, int32_t *ids, int count) {
    int32_t ranks[PIECE_SYMBOLS_SMALL], results[PIECE_SYMBOLS_SMALL];
    for (int i = 0; i + 1 < count; i++) rank_pair(bpe, ids, ranks, results, i);
    while (count > 1) {
        int best = 0;
        for (int i = 1; i + 1 < count; i++) {
            if (ranks[i] < ranks[best]) best = i;
        }
        if (ranks[best] == NO_RANK) break;
        ids[best] = results[best];
        size_t behind = (size_t)(count - best - 2);
        memmove(ids + best + 1, ids + best + 2, behind * sizeof *ids);
        if (behind > 0) {
            memmove(ranks + best, ranks + best + 1, behind * sizeof *ranks);
            memmove(results + best, results + best + 1, behind * sizeof *results);
        }
        count--;
        if (best + 1 < count) rank_pair(bpe, ids, ranks, results, best);
        if (best > 0) rank_pair(bpe, ids, ranks, results, best - 1);
    }
    return count;
}

/* ---- merging a long piece ------------------------------------------------------------------------------------------ */

/** A symbol of the piece, in a list linked by index, and what it would become together with the next one. */
struct symbol {
    int32_t id;
    int32_t previous, next;
    int32_t rank, result; /* of the pair (this, next); NO_RANK: none, or merged away */
};

struct candidate {
    int32_t rank, position; /* stale when the symbol at `position` has another rank by now */
};

struct merging {
    const struct bpe *bpe;
    struct symbol *symbols;
    struct candidate *heap; /* the least (rank, position) first */
    size_t heap_count;
};

static bool comes_before(struct candidate a, struct candidate b) {
    return a.rank != b.rank ? a.rank < b.rank : a.position < b.position;
}

static void heap_push(struct merging *merging, struct candidate candidate) {
    size_t at = merging->heap_count++;
    while (at > 0 && comes_before(candidate, merging->heap[(at - 1) / 2])) {
        merging->heap[at] = merging->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    merging->heap[at] = candidate;
}

static struct candidate heap_pop(struct merging *merging) {
    struct candidate top = merging->heap[0], last = merging->heap[--merging->heap_count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < merging->heap_count; at = child) {
        if (child + 1 < merging->heap_count && comes_before(merging->heap[child + 1], merging->heap[child])) child++;
        if (!comes_before(merging->heap[child], last)) break;
        merging->heap[at] = merging->heap[child];
    }
    merging->heap[at] = last;
    return top;
}

/** The pair that begins at `position` is new: look up what it gives. */
static void consider(struct merging *merging, int32_t position) {
    struct symbol *left = &merging->symbols[position];
    left->rank = NO_RANK;
    if (left->next < 0) return;
    const struct bpe_merge *merge = find_merge(merging->bpe, left->id, merging->symbols[left->next].id);
    if (merge == NULL) return;
    left->rank = merge->rank;
    left->result = merge->result;
    heap_push(merging, (struct candidate){merge->rank, position});
}

/** count - 1 candidates at first, and each of at most count - 1 merges adds two at most: the heap holds fewer than 3 count. */
static void merge_large(struct merging *merging, int32_t count) {
    struct symbol *symbols = merging->symbols;
    for (int32_t i = 0; i < count; i++) {
        symbols[i].previous = i - 1;
        symbols[i].next = i + 1 < count ? i + 1 : -1;
    }
    for (int32_t i = 0; i < count; i++) consider(merging, i);
    while (merging->heap_count > 0) {
        struct candidate candidate = heap_pop(merging);
        struct symbol *left = &symbols[candidate.position];
        if (left->rank != candidate.rank) continue;
        struct symbol *right = &symbols[left->next];
        left->id = left->result;
        left->next = right->next;
        right->rank = NO_RANK;
        if (right->next >= 0) symbols[right->next].previous = candidate.position;
        consider(merging, candidate.position);
        if (left->previous >= 0) consider(merging, left->previous);
    }
}

static enum status encode_large(const struct bpe *bpe, struct bytes_view piece, struct bpe_scratch *scratch,
                                bool *unknown, struct token_list *out) {
    size_t need = piece.length * (sizeof(struct symbol) + 3 * sizeof(struct candidate));
    if (need > scratch->bytes) {
        bpe_scratch_deinit(scratch);
        scratch->memory = malloc(need);
        if (scratch->memory == NULL) return STATUS_RESOURCE_EXHAUSTED;
        scratch->bytes = need;
    }
    struct merging merging = {.bpe = bpe, .symbols = scratch->memory};
    merging.heap = (struct candidate *)(void *)(merging.symbols + piece.length);
    int32_t count = 0;
    for (size_t at = 0, bytes; at < piece.length; at += bytes) {
        int32_t symbol = bpe_symbol_at(bpe, (struct bytes_view){piece.data + at, piece.length - at}, &bytes);
        if (!bpe->drop_missing || !stands_for_nothing(bpe, symbol)) merging.symbols[count++].id = symbol;
    }
    if (count == 0) return STATUS_OK;
    merge_large(&merging, count);
    for (int32_t i = 0; i >= 0; i = merging.symbols[i].next)
        TRY(append_symbol(bpe, merging.symbols[i].id, unknown, out));
    return STATUS_OK;
}

/* ---- a piece ------------------------------------------------------------------------------------------------------- */

static int collect_small(const struct bpe *bpe, struct bytes_view piece, int32_t ids[PIECE_SYMBOLS_SMALL]) {
    int count = 0;
    if (!bpe->by_characters && !bpe->drop_missing) {
        for (; (size_t)count < piece.length; count++) {
            int32_t id = bpe->byte_ids[piece.data[count]];
            ids[count] = id >= 0 ? id : bpe->count + BPE_INVALID + piece.data[count];
        }
        return count;
    }
    for (size_t at = 0, bytes; at < piece.length; at += bytes) {
        int32_t symbol = bpe_symbol_at(bpe, (struct bytes_view){piece.data + at, piece.length - at}, &bytes);
        if (!bpe->drop_missing || !stands_for_nothing(bpe, symbol)) ids[count++] = symbol;
    }
    return count;
}

static enum status encode_merged(const struct bpe *bpe, struct bytes_view piece, struct bpe_scratch *scratch,
                                 bool *unknown, struct token_list *out) {
    if (piece.length > PIECE_SYMBOLS_SMALL) return encode_large(bpe, piece, scratch, unknown, out);
    int32_t ids[PIECE_SYMBOLS_SMALL];
    int count = merge_small(bpe, ids, collect_small(bpe, piece, ids));
    for (int i = 0; i < count; i++) TRY(append_symbol(bpe, ids[i], unknown, out));
    return STATUS_OK;
}

static inline size_t marks_end(struct bytes_view text, size_t at) {
    while (text.length - at >= 3 && memcmp(text.data + at, "\xE2\x96\x81", 3) == 0) at += 3;
    return at;
}

/** The length of the first word of `text`: marks (U+2581), then what is none. */
static inline size_t word_length(const struct bpe *bpe, struct bytes_view text) {
    size_t at = marks_end(text, 0);
    for (;;) {
        const uint8_t *lead = memchr(text.data + at, 0xE2, text.length - at);
        if (lead == NULL) return text.length;
        at = (size_t)(lead - text.data);
        size_t end = marks_end(text, at);
        if (end > at && at > 0 && !bpe->joins_mark[text.data[at - 1]]) return at;
        at = end > at ? end : at + 1;
    }
}

enum status bpe_merge_alone(const struct bpe *bpe, struct bytes_view piece, struct bpe_scratch *scratch, int32_t *out) {
    if (piece.length <= PIECE_SYMBOLS_SMALL) {
        int32_t ids[PIECE_SYMBOLS_SMALL];
        int count = merge_small(bpe, ids, collect_small(bpe, piece, ids));
        *out = count == 1 && ids[0] < bpe->count ? ids[0] : -1;
        return STATUS_OK;
    }
    struct token_list list = {.max_count = piece.length + 1};
    bool unknown = false;
    enum status status = encode_large(bpe, piece, scratch, &unknown, &list);
    *out = status == STATUS_OK && list.count == 1 ? list.ids[0] : -1;
    token_list_deinit(&list);
    return status;
}

enum status bpe_encode(const struct bpe *bpe, struct bytes_view piece, struct bpe_scratch *scratch,
                       struct token_list *out) {
    size_t free_places = out->max_count - out->count;
    bool may_shrink = bpe->fuse_unknown && !bpe->byte_fallback;
    if (piece.length > PIECE_BYTES_MAX || (!may_shrink && piece.length / bpe->longest_token_bytes > free_places))
        return STATUS_OUT_OF_RANGE;
    bool unknown = false;
    while (piece.length > 0) {
        size_t length = bpe->cut_at_marks ? word_length(bpe, piece) : piece.length;
        struct bytes_view word = {piece.data, length};
        int32_t id = bpe_find_whole(bpe, word);
        if (id >= 0) {
            unknown = false;
            TRY(append_id(out, id));
        } else {
            TRY(encode_merged(bpe, word, scratch, &unknown, out));
        }
        piece.data += length;
        piece.length -= length;
    }
    return STATUS_OK;
}
