/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/bpe.h"

#include <stdlib.h>
#include <string.h>

static uint32_t hash_pair(int32_t left, int32_t right) {
    uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(key >> 32);
}

enum status bpe_init(struct bpe *bpe, size_t merge_count) {
    size_t slots = 16;
    while (slots < 2 * merge_count) slots *= 2;
    *bpe = (struct bpe){.merge_mask = (uint32_t)(slots - 1)};
    memset(bpe->byte_ids, -1, sizeof bpe->byte_ids);
    bpe->merges = malloc(slots * sizeof *bpe->merges);
    if (bpe->merges == NULL) return STATUS_RESOURCE_EXHAUSTED;
    memset(bpe->merges, -1, slots * sizeof *bpe->merges);
    return STATUS_OK;
}

void bpe_deinit(struct bpe *bpe) {
    free(bpe->merges);
    bpe->merges = NULL;
}

/** The slot of (left, right), or the free one where it would go. */
static struct bpe_merge *find_slot(const struct bpe *bpe, int32_t left, int32_t right) {
    for (uint32_t slot = hash_pair(left, right) & bpe->merge_mask;; slot = (slot + 1) & bpe->merge_mask) {
        struct bpe_merge *merge = &bpe->merges[slot];
        if (merge->left < 0 || (merge->left == left && merge->right == right)) return merge;
    }
}

void bpe_add_merge(struct bpe *bpe, int32_t left, int32_t right, int32_t rank, int32_t result) {
    struct bpe_merge *merge = find_slot(bpe, left, right);
    if (merge->left < 0) *merge = (struct bpe_merge){left, right, rank, result};
}

/* ---- merging one piece --------------------------------------------------------------------------------------------- */

enum { NO_RANK = -1, PIECE_BYTES_SMALL = 256, PIECE_BYTES_MAX = INT32_MAX / 4 };

/** A symbol of the piece, in a list linked by index, and what it would become together with the next one. */
struct symbol {
    int32_t id; /* -1: a byte without a token */
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
    if (left->next < 0 || left->id < 0 || merging->symbols[left->next].id < 0) return;
    const struct bpe_merge *merge = find_slot(merging->bpe, left->id, merging->symbols[left->next].id);
    if (merge->left < 0) return;
    left->rank = merge->rank;
    left->result = merge->result;
    heap_push(merging, (struct candidate){merge->rank, position});
}

/** n - 1 candidates at first, and each of at most n - 1 merges adds two at most: the heap holds fewer than 3n. */
static void merge_piece(struct merging *merging, struct bytes_view piece) {
    int32_t count = (int32_t)piece.length;
    struct symbol *symbols = merging->symbols;
    for (int32_t i = 0; i < count; i++) {
        symbols[i] =
            (struct symbol){merging->bpe->byte_ids[piece.data[i]], i - 1, i + 1 < count ? i + 1 : -1, NO_RANK, 0};
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

static enum status append_symbols(const struct symbol *symbols, struct token_list *out) {
    for (int32_t i = 0; i >= 0; i = symbols[i].next) {
        if (symbols[i].id >= 0) TRY(token_list_append(out, symbols[i].id));
    }
    return STATUS_OK;
}

enum status bpe_encode(const struct bpe *bpe, struct bytes_view piece, struct token_list *out) {
    struct symbol small_symbols[PIECE_BYTES_SMALL];
    struct candidate small_heap[3 * PIECE_BYTES_SMALL];
    if (piece.length == 0) return STATUS_OK;
    if (piece.length <= PIECE_BYTES_SMALL) {
        struct merging merging = {.bpe = bpe, .symbols = small_symbols, .heap = small_heap};
        merge_piece(&merging, piece);
        return append_symbols(small_symbols, out);
    }
    size_t free_places = out->max_count - out->count;
    if (piece.length > PIECE_BYTES_MAX || piece.length / bpe->longest_token_bytes > free_places)
        return STATUS_OUT_OF_RANGE;
    struct merging merging = {.bpe = bpe,
                              .symbols = malloc(piece.length * sizeof *merging.symbols),
                              .heap = malloc(3 * piece.length * sizeof *merging.heap)};
    enum status status = STATUS_RESOURCE_EXHAUSTED;
    if (merging.symbols != NULL && merging.heap != NULL) {
        merge_piece(&merging, piece);
        status = append_symbols(merging.symbols, out);
    }
    free(merging.symbols);
    free(merging.heap);
    return status;
}
