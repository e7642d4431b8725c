/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Shared by grammar.c and grammar_forced.c. */
#ifndef ENGINE_GRAMMAR_GRAMMAR_INTERNAL_H
#define ENGINE_GRAMMAR_GRAMMAR_INTERNAL_H

#include "engine/grammar/mask.h"

#include <pthread.h>

struct grammar {
    const struct grammar_vocabulary *vocabulary;
    struct machine *machine;
    struct grammar_budget own;     /* of a regex's or rules' machine */
    struct grammar_budget *budget; /* that the machine spends; its fuel is filled up before every mask and token */
    struct grammar_problem later;  /* where a schema's machine writes what it meets after compiling */
    pthread_mutex_t lock;
    _Atomic int references;
};

struct grammar_session {
    struct grammar *grammar;
    struct frames frames;
    struct mask_walk walk;
};

#endif
