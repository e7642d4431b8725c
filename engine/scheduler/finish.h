/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Why a generation ended. */
#ifndef ENGINE_SCHEDULER_FINISH_H
#define ENGINE_SCHEDULER_FINISH_H

#include <stdbool.h>

enum finish_reason {
    FINISH_NONE,         /* goes on */
    FINISH_STOP,         /* end token or stop string */
    FINISH_LENGTH,       /* max_tokens */
    FINISH_MODEL_LENGTH, /* context exhausted */
    FINISH_CANCELLED,
    FINISH_REFUSED, /* it had waited in a full queue, and nothing was done for it yet: another tenant's, which has less there, came */
    FINISH_ERROR,   /* `error` says why */
    FINISH_GRAMMAR, /* what the request asks its text to be costs more than it may: `error` says why. Of owners; the scheduler has FINISH_ERROR */
};

/** Has it ended without an answer? */
static inline bool finish_is_failure(enum finish_reason finish) {
    return finish == FINISH_CANCELLED || finish == FINISH_REFUSED || finish == FINISH_ERROR || finish == FINISH_GRAMMAR;
}

#endif
