/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/unigram.h"

#include "base/text.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

enum { UNKNOWN_PENALTY = 10 };

void unigram_deinit(struct unigram *unigram) {
    trie_deinit(&unigram->pieces);
    free(unigram->scores);
    free(unigram->user_scored);
    *unigram = (struct unigram){0};
}

/** The best way to cut what ends here. */
struct best {
    double score;
    uint32_t begin; /* where its last piece begins */
    int32_t id;     /* of its last piece; -1: a character without one */
    bool reached;
};

static double score_of(const struct unigram *unigram, int32_t id, size_t length) {
    if (!unigram->user_scored[id]) return unigram->scores[id];
    if (unigram->flavor == UNIGRAM_LLAMA) return 0;
    if (unigram->flavor == UNIGRAM_SENTENCEPIECE) return (float)(0.1 * (double)(length - 1)); /* the longest wins */
    return unigram->scores[id];
}

static void offer(const struct unigram *unigram, struct best *best, double before, double score, size_t begin,
                  int32_t id) {
    double sum = unigram->flavor == UNIGRAM_SENTENCEPIECE ? (double)((float)before + (float)score) : before + score;
    if (!best->reached || sum > best->score) *best = (struct best){sum, (uint32_t)begin, id, true};
}

/** SentencePiece begins to count anew where a sum has grown so large that an f32 would lose the differences. */
static void reset_sums(struct best *best, size_t at, size_t frontier) {
    static const float far = 100000;
    float offset = (float)best[at].score;
    if (offset >= -far && offset <= far) return;
    for (size_t i = at; i <= frontier; i++) {
        if (best[i].reached) best[i].score = (float)best[i].score - offset;
    }
}

static void find_best(const struct unigram *unigram, struct bytes_view text, struct best *best) {
    double unknown_score = unigram->flavor == UNIGRAM_SENTENCEPIECE ? (double)((float)unigram->least - UNKNOWN_PENALTY)
                                                                    : unigram->least - UNKNOWN_PENALTY;
    best[0].reached = true;
    size_t frontier = 0; /* the farthest end that was reached */
    for (size_t at = 0, bytes; at < text.length; at += bytes) {
        uint32_t code_point;
        bool valid, whole_character = false;
        int32_t node = 0;
        if (unigram->flavor == UNIGRAM_SENTENCEPIECE) reset_sums(best, at, frontier);
        bytes = text_decode(text.data + at, text.length - at, &code_point, &valid);
        for (size_t end = at; end < text.length;) {
            node = trie_child(&unigram->pieces, node, text.data[end++]);
            if (node < 0) break;
            int32_t id = unigram->pieces.values[node];
            if (id < 0) continue;
            offer(unigram, &best[end], best[at].score, score_of(unigram, id, end - at), at, id);
            if (end - at == bytes) whole_character = true;
            if (end > frontier) frontier = end;
        }
        if (!whole_character) offer(unigram, &best[at + bytes], best[at].score, unknown_score, at, -1);
        if (!whole_character && at + bytes > frontier) frontier = at + bytes;
    }
}

/** Append a run of characters that no piece stands for. */
static enum status append_unknown(const struct unigram *unigram, struct bytes_view run, struct token_list *out) {
    bool all = unigram->byte_fallback;
    for (size_t i = 0; all && i < run.length; i++) all = unigram->byte_ids[run.data[i]] >= 0;
    if (!all) return unigram->unknown >= 0 ? token_list_append(out, unigram->unknown) : STATUS_OK;
    for (size_t i = 0; i < run.length; i++) TRY(token_list_append(out, unigram->byte_ids[run.data[i]]));
    return STATUS_OK;
}

static enum status append_best(const struct unigram *unigram, struct bytes_view text, struct best *best,
                               struct token_list *out) {
    /* Turn the chain around, in place: best[begin of a piece].begin becomes its end, and best[...].id the piece. */
    uint32_t next = (uint32_t)text.length;
    int32_t id = best[next].id;
    for (uint32_t at = best[next].begin;;) {
        uint32_t previous = best[at].begin;
        int32_t previous_id = best[at].id;
        best[at].begin = next;
        best[at].id = id;
        if (at == 0) break;
        next = at;
        id = previous_id;
        at = previous;
    }
    for (size_t at = 0; at < text.length;) {
        size_t end = best[at].begin;
        if (best[at].id >= 0) {
            TRY(token_list_append(out, best[at].id));
        } else {
            while (end < text.length && best[end].id < 0) end = best[end].begin;
            TRY(append_unknown(unigram, bytes_view_of(text.data + at, end - at), out));
        }
        at = end;
    }
    return STATUS_OK;
}

enum status unigram_encode(const struct unigram *unigram, struct bytes_view text, struct token_list *out) {
    struct best small[128];
    if (text.length == 0) return STATUS_OK;
    if (text.length >= UINT32_MAX) return STATUS_OUT_OF_RANGE;
    bool is_small = text.length < sizeof small / sizeof small[0];
    struct best *best = is_small ? small : calloc(text.length + 1, sizeof *best);
    if (best == NULL) return STATUS_RESOURCE_EXHAUSTED;
    if (is_small) memset(small, 0, (text.length + 1) * sizeof *small);
    find_best(unigram, text, best);
    enum status status = append_best(unigram, text, best, out);
    if (!is_small) free(best);
    return status;
}
