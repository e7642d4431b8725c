/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Masks of one regular expression. Tokens of characters that the state takes whole are set by slices; the trie is walked for the others, a byte being one look at
 * the state's row.
 */
#include "engine/grammar/regex_mask.h"

#include "engine/grammar/utf8_steps.h"

#include <stdlib.h>

/** Behind a node. */
struct place {
    regex state;
    uint32_t unfinished;
    const regex *row;
    struct free_place free;
};

struct regex_walk {
    struct regex_pool *pool;
    struct regex_masks *masks;
    const struct grammar_vocabulary *vocabulary;
    uint32_t *mask;
    const slice_classes *ascii;
    struct place places[TRIE_DEPTH_MAX + 2]; /* by depth: before the node */
};

/** `to` is the place behind `byte`. */
static enum machine_step go_on(struct regex_walk *w, const struct place *from, const struct slice_node *node,
                               struct place *to) {
    uint32_t unfinished = from->unfinished, code_point = node->byte, first, last;
    slice_classes own = SLICE_OTHERS;
    regex next = REGEX_NOT_KNOWN;
    if (unfinished == 0 && node->byte < 0x80) {
        next = from->row[node->byte];
        if (next == REGEX_NOT_KNOWN) next = regex_step(w->pool, from->state, code_point);
        own = w->ascii[node->byte];
    } else {
        switch (utf8_step(&unfinished, node->byte, &code_point)) {
        case UTF8_INVALID:
            return MACHINE_DEAD;
        case UTF8_UNFINISHED:
            if (!utf8_range(unfinished, &first, &last) || !regex_live_in(w->pool, from->state, first, last))
                return budget_exhausted(regex_pool_budget(w->pool)) ? MACHINE_FAILED : MACHINE_DEAD;
            own = 0; /* its class shows where it ends */
            next = from->state;
            break;
        case UTF8_CODE_POINT:
            next = regex_step(w->pool, from->state, code_point);
            if (token_class_odd(code_point, code_point)) own = SLICE_ODD;
            break;
        }
    }
    if (next == REGEX_FAILED) return MACHINE_FAILED;
    if (next == REGEX_NOTHING) return MACHINE_DEAD;
    if (node->child_count == 0) return MACHINE_LIVE;
    *to = (struct place){next, unfinished, from->row, free_place_behind(&from->free, own)};
    if (next != from->state) to->row = regex_row(w->pool, next);
    if (to->row == NULL) return MACHINE_FAILED;
    if (free_place_suffices(&to->free) || unfinished != 0 || node->end - node->first < FREE_TEXT_TOKENS_MIN)
        return MACHINE_LIVE;
    struct free_text text;
    if (!free_text_of(&w->masks->free, &w->vocabulary->slices, w->pool, next, &text)) return MACHINE_FAILED;
    bool blank = node->byte == ' ' && from == w->places;
    free_place_improve(&to->free, w->vocabulary, blank, text, w->mask);
    return MACHINE_LIVE;
}

/** No character beyond ASCII may come. */
static bool ascii_only(const struct regex_walk *w, regex state) {
    return regex_same_beyond(w->pool, state) && regex_step(w->pool, state, 0x100) == REGEX_NOTHING;
}

static bool walk_nodes(struct regex_walk *w) {
    const struct token_trie *trie = &w->vocabulary->trie;
    const struct token_slices *slices = &w->vocabulary->slices;
    struct slice_cursor cursors[TRIE_DEPTH_MAX + 1] = {{slices->nodes, slices->nodes + slices->root_count}};
    for (uint32_t depth = 0;;) {
        struct slice_cursor *cursor = &cursors[depth];
        if (cursor->next == cursor->end) {
            if (depth == 0) return true;
            depth--;
            continue;
        }
        const struct slice_node *node = cursor->next++;
        struct place *from = &w->places[depth];
        if (node->byte >= 0x80 && from->unfinished == 0 && ascii_only(w, from->state)) {
            cursor->next = cursor->end; /* so are the bytes of those behind it */
            continue;
        }
        if (free_place_takes(&from->free, trie, node, w->mask)) continue;
        enum machine_step step = go_on(w, from, node, from + 1);
        if (step == MACHINE_FAILED) return false;
        if (step == MACHINE_DEAD) continue;
        slice_node_set(slices, trie, node, w->mask);
        const struct slice_node *children = slices->nodes + node->children;
        if (node->child_count > 0) cursors[++depth] = (struct slice_cursor){children, children + node->child_count};
    }
}

bool regex_mask(struct regex_masks *masks, struct regex_pool *pool, const struct grammar_vocabulary *vocabulary,
                regex state, uint32_t unfinished, uint32_t *mask) {
    const struct state_key key = {{state, unfinished}};
    if (state_masks_get(&masks->known, vocabulary, key, mask)) return true;
    struct regex_walk w;
    w.pool = pool;
    w.masks = masks;
    w.vocabulary = vocabulary;
    w.mask = mask;
    w.ascii = vocabulary->slices.ascii;
    struct free_text text = {0};
    const regex *row = regex_row(pool, state);
    if (row == NULL || (unfinished == 0 && !free_text_of(&masks->free, &vocabulary->slices, pool, state, &text)))
        return false;
    w.places[0] = (struct place){state, unfinished, row, free_place_begin(vocabulary, SLICES_WHOLE, text, mask)};
    if (!walk_nodes(&w)) return false;
    state_masks_put(&masks->known, vocabulary, key, mask);
    return true;
}

void regex_masks_deinit(struct regex_masks *masks) {
    state_masks_deinit(&masks->known);
    free(masks->free.of);
}
