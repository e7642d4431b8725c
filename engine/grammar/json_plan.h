/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* How a JSON text that has begun could end soon. Shared by json_plan.c (what is wanted, and about how long it is) and json_finish.c (which writes it). */
#ifndef ENGINE_GRAMMAR_JSON_PLAN_H
#define ENGINE_GRAMMAR_JSON_PLAN_H

#include "engine/grammar/json_internal.h"

enum { PLAN_WANTED_MAX = 16 };

/** Of the innermost frame: the forms to be completed, and what the value that is written (or comes next) should satisfy for it. */
struct plan {
    uint32_t total; /* bytes to the end, about; LENGTH_NEVER: no way was found */
    uint32_t
        targets[PLAN_WANTED_MAX]; /* items of the frame; the first is what matters, the others are wanted besides */
    uint32_t target_count;
    uint32_t wanted[PLAN_WANTED_MAX]; /* components of the frame's child, likewise */
    uint32_t wanted_count;
};

/** True when a value of `frame` has begun, or must begin, whatever else. */
bool plan_within_value(const struct json_state *state);
/** False: budget or memory. */
bool plan_make(struct json_machine *m, struct frames *frames, const struct json_state *state, struct plan *out);
/** The estimate alone. */
uint64_t plan_estimate(struct json_machine *m, struct frames *frames, const struct json_state *state);
/** Bytes of the properties of `object` by the joint's names, with quotes, colon and comma; LENGTH_NEVER where there may be none. NULL: the budget. */
const uint32_t *plan_lengths(struct json_machine *m, struct joint *joint, struct joint_object *object);
/** Names that must still come for the form: bits of the joint's names, of frames. NULL: budget or memory. */
const uint64_t *plan_missing(struct json_machine *m, struct frames *frames, const struct frame *frame,
                             const struct joint_object *object);
/** By how many bytes one token may make the estimate longer, about, as far as it is known by now. */
uint64_t plan_leap(struct json_machine *m);

#endif
