/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Why a generation ended. */
#ifndef ENGINE_SCHEDULER_FINISH_H
#define ENGINE_SCHEDULER_FINISH_H

enum finish_reason {
    FINISH_NONE,         /* goes on */
    FINISH_STOP,         /* end token or stop string */
    FINISH_LENGTH,       /* max_tokens */
    FINISH_MODEL_LENGTH, /* context exhausted */
    FINISH_CANCELLED,
    FINISH_REFUSED, /* it had waited in a full queue, and nothing was done for it yet: another tenant's, which has less there, came */
    FINISH_ERROR, /* `error` says why */
};

#endif
