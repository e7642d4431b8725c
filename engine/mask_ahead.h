/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Masks ahead: what a grammar admits next is known before the logits are, so a thread of its own finds it out while the forward pass runs.
 *
 *     step thread   plan, add ... add | forward pass            | join: helps with what is left | draw
 *     this thread              masks of those that were added
 *
 * Between add and join a generation's grammar is this module's; nobody else touches it. add and join: the step thread.
 */
#ifndef ENGINE_MASK_AHEAD_H
#define ENGINE_MASK_AHEAD_H

#include "base/status.h"

struct generation;
struct mask_ahead;
typedef void mask_ahead_fn(struct generation *generation);

/** `compute` is called on either thread. STATUS_RESOURCE_EXHAUSTED without memory or threads. */
enum status mask_ahead_create(mask_ahead_fn *compute, struct mask_ahead **out, struct error *err);
/** Nothing may be added and not joined. NULL is nothing. */
void mask_ahead_destroy(struct mask_ahead *ahead);
/** Linked by generation->ahead_next. */
void mask_ahead_add(struct mask_ahead *ahead, struct generation *generation);
/** All that were added are done. */
void mask_ahead_join(struct mask_ahead *ahead);

#endif
