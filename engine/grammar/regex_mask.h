/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Masks of the states of one regular expression. */
#ifndef ENGINE_GRAMMAR_REGEX_MASK_H
#define ENGINE_GRAMMAR_REGEX_MASK_H

#include "engine/grammar/state_masks.h"

/** What is remembered of them. All zero at first. */
struct regex_masks {
    struct state_masks known;
    struct free_texts free;
};
void regex_masks_deinit(struct regex_masks *masks);

/** Set the tokens that may come behind `state` and the bytes of a character `unfinished` (utf8_steps.h) in `mask`, which is all zero. False: the budget. */
bool regex_mask(struct regex_masks *masks, struct regex_pool *pool, const struct grammar_vocabulary *vocabulary,
                regex state, uint32_t unfinished, uint32_t *mask);

#endif
