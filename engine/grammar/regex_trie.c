/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Lists of texts: sorted, then folded from the right into a minimal acyclic automaton whose states are hash-consed trie nodes. */
#include "engine/grammar/regex_internal.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/** The path of the text that was added last: for every depth the edges of its node so far. */
struct trie {
    struct regex_pool *pool;
    struct regex_edge *edges; /* of all open nodes, root first; the last edge of each open node leads to the next one */
    uint32_t edge_count, edge_capacity;
    struct trie_level {
        uint32_t first_edge;
        bool accepts;
    } * levels;
    uint32_t level_count, level_capacity;
};

static int by_text(const void *a, const void *b) {
    return bytes_view_compare(*(const struct bytes_view *)a, *(const struct bytes_view *)b);
}

static bool open_level(struct trie *trie) {
    if (!regex_grow(trie->pool, &trie->levels, &trie->level_capacity, trie->level_count + 1, sizeof *trie->levels))
        return false;
    trie->levels[trie->level_count++] = (struct trie_level){.first_edge = trie->edge_count};
    return true;
}

/** Close all nodes deeper than `depth`. False: the budget. */
static bool close_to(struct trie *trie, uint32_t depth, regex *out_last) {
    while (trie->level_count > depth) {
        struct trie_level level = trie->levels[--trie->level_count];
        uint32_t count = trie->edge_count - level.first_edge;
        regex made = level.accepts ? REGEX_EMPTY : REGEX_NOTHING;
        if (count > 0) made = regex_make_branch(trie->pool, trie->edges + level.first_edge, count, level.accepts);
        if (made == REGEX_FAILED) return false;
        trie->edge_count = level.first_edge;
        if (trie->edge_count > 0) trie->edges[trie->edge_count - 1].target = made;
        *out_last = made;
    }
    return true;
}

/** `text` is not less than the one before; `before` is that one. */
static bool add_text(struct trie *trie, struct bytes_view before, struct bytes_view text) {
    uint32_t depth = 1, code_point, other;
    bool valid;
    regex closed;
    size_t at = 0, length;
    for (; at < text.length && at < before.length; at += length, depth++) {
        length = text_decode(text.data + at, text.length - at, &code_point, &valid);
        text_decode(before.data + at, before.length - at, &other, &valid);
        if (code_point != other) break;
    }
    if (!close_to(trie, depth, &closed)) return false;
    for (; at < text.length; at += length) {
        length = text_decode(text.data + at, text.length - at, &code_point, &valid);
        if (!budget_spend(trie->pool->budget, 1) ||
            !regex_grow(trie->pool, &trie->edges, &trie->edge_capacity, trie->edge_count + 1, sizeof *trie->edges))
            return false;
        trie->edges[trie->edge_count++] = (struct regex_edge){code_point, REGEX_NOTHING};
        if (!open_level(trie)) return false;
    }
    trie->levels[trie->level_count - 1].accepts = true;
    return true;
}

static regex fold(struct regex_pool *pool, const struct bytes_view *sorted, size_t count) {
    struct trie trie = {.pool = pool};
    regex made = REGEX_FAILED;
    bool ok = open_level(&trie);
    for (size_t i = 0; i < count && ok; i++)
        ok = add_text(&trie, i > 0 ? sorted[i - 1] : (struct bytes_view){0}, sorted[i]);
    if (!ok || !close_to(&trie, 0, &made)) made = REGEX_FAILED;
    pool->budget->bytes +=
        (int64_t)(trie.edge_capacity * sizeof *trie.edges + trie.level_capacity * sizeof *trie.levels);
    free(trie.edges);
    free(trie.levels);
    return made;
}

regex regex_literals(struct regex_pool *pool, const struct bytes_view *texts, size_t count) {
    if (count == 0) return REGEX_NOTHING;
    if (!budget_reserve(pool->budget, count * sizeof *texts)) return REGEX_FAILED;
    struct bytes_view *sorted = malloc(count * sizeof *sorted);
    if (sorted == NULL) return REGEX_FAILED;
    memcpy(sorted, texts, count * sizeof *sorted);
    if (count > 1) qsort(sorted, count, sizeof *sorted, by_text);
    regex made = fold(pool, sorted, count);
    free(sorted);
    pool->budget->bytes += (int64_t)(count * sizeof *texts);
    return made;
}

regex regex_literal(struct regex_pool *pool, struct bytes_view text) {
    return regex_literals(pool, &text, 1);
}
