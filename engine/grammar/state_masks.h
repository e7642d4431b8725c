/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What the masks of regexes and user grammars share: masks remembered by state, and what a state takes whole.
 *
 * A grammar's masks are remembered in its machine, so all requests under it share them. They are few (STATE_MASKS_BYTES_MAX) and a newer one takes an older one's
 * place, which costs time and changes no mask.
 */
#ifndef ENGINE_GRAMMAR_STATE_MASKS_H
#define ENGINE_GRAMMAR_STATE_MASKS_H

#include "engine/grammar/mask.h"
#include "engine/grammar/regex.h"

/* ---- masks by state ---- */

enum { STATE_MASKS_MAX = 512, STATE_MASKS_BYTES_MAX = 4 << 20 };
struct state_key {
    uint64_t words[2]; /* not both 0; equal only for states with the same mask */
};
struct state_masks {
    const struct grammar_vocabulary *vocabulary; /* whose tokens they are of; NULL: there are none */
    uint32_t slot_count;                         /* a power of two */
    struct state_mask {
        struct state_key key;
        uint32_t *words;
    } * slots; /* by hash, one for each */
};
/** Copy the mask of that key to `mask`; false: it is not there. */
bool state_masks_get(const struct state_masks *masks, const struct grammar_vocabulary *vocabulary, struct state_key key,
                     uint32_t *mask);
/** Remember it, if there is memory. */
void state_masks_put(struct state_masks *masks, const struct grammar_vocabulary *vocabulary, struct state_key key,
                     const uint32_t *mask);
void state_masks_deinit(struct state_masks *masks);

/* ---- free text ---- */

/** Every text of at most `length` characters of these classes may come, whatever comes behind it. With SLICE_LONG where every token is short enough. */
struct free_text {
    slice_classes classes;
    uint32_t length;
};
/** The one that takes more. */
struct free_text free_text_better(struct free_text a, struct free_text b);

/** Characters beyond ASCII that a state goes on with. */
enum state_beyond { BEYOND_NOT_KNOWN, BEYOND_NONE, BEYOND_SOME };

/** By number of a state, remembered. All zero at first. */
struct free_texts {
    struct free_text_known {
        struct free_text text;
        bool known;
        uint8_t beyond; /* enum state_beyond */
    } * of;
    uint32_t capacity;
};
/** Where the state's is, or belongs; NULL: the budget. */
struct free_text_known *free_texts_at(struct free_texts *texts, struct grammar_budget *budget, uint32_t state);
/** Of an expression: from its form, and from the characters that lead to itself. False: the budget. */
bool free_text_of(struct free_texts *known, const struct token_slices *slices, struct regex_pool *pool, regex state,
                  struct free_text *out);

/** Where fewer tokens go on it is quicker to walk than to ask what is free. */
enum { FREE_TEXT_TOKENS_MIN = 16 };

/* ---- walks ---- */

/** What is free behind a node. */
struct free_place {
    struct free_text text;
    slice_classes
        inside; /* of a slice: tokens that go on from here with these classes only are set already. 0: of none */
};
/** Free text that begins where a token does, or behind its blank. */
struct free_place free_place_begin(const struct grammar_vocabulary *vocabulary, enum token_slice_kind kind,
                                   struct free_text text, uint32_t *mask);
/** Behind one byte more, of a character of the class `own` (0: it does not end here). */
static inline struct free_place free_place_behind(const struct free_place *from, slice_classes own) {
    struct free_place to = {0};
    if ((own & ~from->inside) == 0) to.inside = from->inside;
    if (from->text.length > 0 && (own & ~from->text.classes) == 0)
        to.text = (struct free_text){from->text.classes, from->text.length - 1};
    return to;
}
/** Nothing that most tokens are made of is missing in the slice: it is not worth asking what else is free here. */
static inline bool free_place_suffices(const struct free_place *place) {
    return (place->inside & SLICE_LETTERS) == SLICE_LETTERS;
}
/** The state takes `text`, too. `blank`: it is behind the blank that a token begins with, which has slices of its own. */
void free_place_improve(struct free_place *place, const struct grammar_vocabulary *vocabulary, bool blank,
                        struct free_text text, uint32_t *mask);
/** All tokens of the node and below it are set: it need not be looked at. */
static inline bool free_place_takes(const struct free_place *from, const struct token_trie *trie,
                                    const struct slice_node *node, uint32_t *mask) {
    if (from->inside != 0 && (node->classes & ~from->inside) == 0) return true;
    if ((node->classes & ~from->text.classes & ~SLICE_LONG) != 0 || node->height > from->text.length) return false;
    for (uint32_t t = node->first; t < node->end; t++) mask_set(mask, trie->tokens[t]);
    return true;
}
/** The tokens that end at the node. */
static inline void slice_node_set(const struct token_slices *slices, const struct token_trie *trie,
                                  const struct slice_node *node, uint32_t *mask) {
    uint32_t end = slice_node_own_end(slices, node);
    for (uint32_t t = node->first; t < end; t++) mask_set(mask, trie->tokens[t]);
}
/** Siblings that are still to come, by depth. */
struct slice_cursor {
    const struct slice_node *next, *end;
};

#endif
