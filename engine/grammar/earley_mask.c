/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Masks of user grammars. Inside terminals a byte is one look at the set's table, and tokens of characters that some terminal takes whole are set by slices. Rows are made
 * where terminals end, and each once a walk: what ends at the same place in the same way leads to the same.
 */
#include "engine/grammar/earley_internal.h"
#include "engine/grammar/utf8_steps.h"

#include <stdlib.h>

/** Behind a node. */
struct place {
    const struct earley_frame *frame;
    uint32_t set, unfinished;
    struct free_place free;
};

struct earley_walk {
    struct earley_machine *machine;
    struct mask_walk *walk;
    uint32_t *mask;
    const slice_classes *ascii;
    struct place places[TRIE_DEPTH_MAX + 2]; /* by depth: before the node */
    uint64_t visits;
    uint64_t taken; /* bytes of frames that had been asked for before */
    uint32_t kept;  /* frames of this walk that are remembered */
    /* Frames are kept while they are few, and remembered; then those behind `floor` are dropped as the walk leaves them. */
    bool full;
    struct frames_mark floor;
};
enum { KEPT_MAX = 1 << 11, KEPT_BYTES_MAX = 8 << 20 };

static bool free_of(struct earley_walk *w, uint32_t set, struct free_text *out) {
    struct earley_machine *machine = w->machine;
    struct free_text_known *known = free_texts_at(&machine->masks.of_sets, machine->budget, set);
    if (known == NULL) return false;
    if (!known->known) {
        uint32_t count;
        struct free_text best = {0};
        const struct scan_thread *threads = scan_set_threads(&machine->sets, set, &count);
        for (uint32_t i = 0; i < count; i++) {
            struct free_text text;
            if (!free_text_of(&machine->masks.of_expressions, &w->walk->vocabulary->slices, machine->pool,
                              threads[i].left, &text))
                return false;
            best = free_text_better(best, text);
        }
        known->text = best;
        known->known = true;
    }
    *out = known->text;
    return true;
}

/** Terminals end. */
static enum machine_step pass(struct earley_walk *w, const struct earley_frame *frame, uint32_t transition,
                              struct place *to) {
    struct earley_machine *machine = w->machine;
    uint64_t hash = scan_mix((uintptr_t)frame, transition);
    struct earley_passed *known = &machine->masks.passed[hash & (EARLEY_PASSED - 1)];
    if (known->walk != machine->masks.walk || known->frame != frame || known->transition != transition) {
        struct machine_state next;
        enum machine_step step = earley_go_on(machine, w->walk->frames, frame, transition, &next);
        if (step != MACHINE_LIVE) return step;
        w->visits += machine->visits;
        if (w->visits > EARLEY_MASK_VISITS_MAX) {
            machine->budget->ambiguous = true;
            return MACHINE_FAILED;
        }
        *to = (struct place){.frame = next.frame, .set = (uint32_t)next.word[EARLEY_WORD_THREADS]};
        if (w->full) return MACHINE_LIVE;
        *known = (struct earley_passed){machine->masks.walk, frame, next.frame, transition, to->set};
        w->floor = frames_mark(w->walk->frames);
        w->full = ++w->kept > KEPT_MAX || w->walk->frames->taken - w->taken > KEPT_BYTES_MAX;
    }
    *to = (struct place){.frame = known->to, .set = known->to_threads};
    return MACHINE_LIVE;
}

/** `to` is the place behind the node's byte. */
static enum machine_step go_on(struct earley_walk *w, const struct place *from, const struct slice_node *node,
                               struct place *to) {
    struct earley_machine *machine = w->machine;
    uint32_t unfinished = from->unfinished, code_point, transition = SCAN_UNKNOWN;
    enum machine_step step = earley_scan(machine, from->set, node->byte, &unfinished, &code_point, &transition);
    /* Every transition that is there leads to a live state. */
    if (step != MACHINE_LIVE || node->child_count == 0) return step;
    slice_classes own = 0;
    if (unfinished != 0) {
        *to = (struct place){.frame = from->frame, .set = from->set, .unfinished = unfinished};
    } else {
        struct scan_transition it = machine->sets.transitions[transition];
        own = code_point < 0x80                         ? w->ascii[code_point]
              : token_class_odd(code_point, code_point) ? SLICE_ODD
                                                        : SLICE_OTHERS;
        if (it.ends == 0)
            *to = (struct place){.frame = from->frame, .set = it.threads};
        else if ((step = pass(w, from->frame, transition, to)) != MACHINE_LIVE)
            return step;
    }
    to->free = free_place_behind(&from->free, own);
    if (free_place_suffices(&to->free) || unfinished != 0 || node->end - node->first < FREE_TEXT_TOKENS_MIN)
        return MACHINE_LIVE;
    struct free_text text;
    if (!free_of(w, to->set, &text)) return MACHINE_FAILED;
    bool blank = node->byte == ' ' && from == w->places;
    free_place_improve(&to->free, w->walk->vocabulary, blank, text, w->mask);
    return MACHINE_LIVE;
}

/** No thread goes on with a character beyond ASCII. */
static bool ascii_only(const struct earley_walk *w, uint32_t set) {
    uint32_t count;
    struct regex_pool *pool = w->machine->pool;
    struct free_text_known *known = free_texts_at(&w->machine->masks.of_sets, w->machine->budget, set);
    if (known == NULL) return false;
    const struct scan_thread *threads = scan_set_threads(&w->machine->sets, set, &count);
    if (known->beyond == BEYOND_NOT_KNOWN) {
        known->beyond = BEYOND_NONE;
        for (uint32_t i = 0; i < count; i++)
            if (!regex_same_beyond(pool, threads[i].left) || regex_step(pool, threads[i].left, 0x100) != REGEX_NOTHING)
                known->beyond = BEYOND_SOME;
    }
    return known->beyond == BEYOND_NONE;
}

/** A node at `depth`. */
static enum machine_step look(struct earley_walk *w, const struct slice_node *node, uint32_t depth) {
    struct frames_mark *marks = w->walk->marks;
    struct place *from = &w->places[depth];
    bool was_full = w->full;
    if (was_full) frames_drop(w->walk->frames, depth == 0 ? w->floor : marks[depth - 1]);
    enum machine_step step = go_on(w, from, node, from + 1);
    if (step != MACHINE_LIVE) return step;
    if (was_full)
        marks[depth] = frames_mark(w->walk->frames);
    else if (w->full)
        for (uint32_t i = 0; i <= depth; i++) marks[i] = w->floor;
    return step;
}

static bool walk_nodes(struct earley_walk *w) {
    const struct token_trie *trie = &w->walk->vocabulary->trie;
    const struct token_slices *slices = &w->walk->vocabulary->slices;
    struct slice_cursor cursors[TRIE_DEPTH_MAX + 1] = {{slices->nodes, slices->nodes + slices->root_count}};
    for (uint32_t depth = 0;;) {
        struct slice_cursor *cursor = &cursors[depth];
        if (cursor->next == cursor->end) {
            if (depth == 0) return true;
            depth--;
            continue;
        }
        const struct slice_node *node = cursor->next++;
        const struct place *from = &w->places[depth];
        if (node->byte >= 0x80 && from->unfinished == 0 && ascii_only(w, from->set)) {
            cursor->next = cursor->end; /* so are the bytes of those behind it */
            continue;
        }
        if (free_place_takes(&from->free, trie, node, w->mask)) continue;
        enum machine_step step = look(w, node, depth);
        if (step == MACHINE_FAILED) return false;
        if (step == MACHINE_DEAD) continue;
        slice_node_set(slices, trie, node, w->mask);
        const struct slice_node *children = slices->nodes + node->children;
        if (node->child_count > 0) cursors[++depth] = (struct slice_cursor){children, children + node->child_count};
    }
}

static bool walk_from(struct earley_walk *w, struct place *start) {
    const struct grammar_vocabulary *vocabulary = w->walk->vocabulary;
    struct free_text text = {0};
    if (start->unfinished == 0 && !free_of(w, start->set, &text)) return false;
    start->free = free_place_begin(vocabulary, SLICES_WHOLE, text, w->mask);
    return walk_nodes(w);
}

bool earley_mask(struct machine *base, struct mask_walk *walk, const struct machine_state *state, uint32_t *mask) {
    struct earley_machine *machine = (struct earley_machine *)base;
    const struct state_key key = {{earley_signature(base, state)}};
    if (state_masks_get(&machine->masks.known, walk->vocabulary, key, mask)) return true;
    if (machine->masks.passed == NULL) {
        machine->masks.passed = calloc(EARLEY_PASSED, sizeof *machine->masks.passed);
        if (machine->masks.passed == NULL) return false;
    }
    struct earley_walk w;
    w.machine = machine;
    w.walk = walk;
    w.mask = mask;
    w.visits = w.kept = 0;
    w.taken = walk->frames->taken;
    w.full = false;
    w.ascii = walk->vocabulary->slices.ascii;
    w.places[0] = (struct place){.frame = state->frame,
                                 .set = (uint32_t)state->word[EARLEY_WORD_THREADS],
                                 .unfinished = (uint32_t)state->word[EARLEY_WORD_UNFINISHED]};
    machine->masks.walk++;
    struct frames_mark before = frames_mark(walk->frames);
    bool ok = walk_from(&w, &w.places[0]);
    frames_drop(walk->frames, before);
    if (ok) state_masks_put(&machine->masks.known, walk->vocabulary, key, mask);
    return ok;
}

void earley_masks_deinit(struct earley_masks *masks) {
    state_masks_deinit(&masks->known);
    free(masks->of_sets.of);
    free(masks->of_expressions.of);
    free(masks->passed);
}
