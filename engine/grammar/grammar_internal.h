/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Shared by grammar.c, grammar_finish.c and grammar_forced.c. */
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

/** Rests of texts that masks relied on: what was promised can be kept, whatever is found later. */
enum { PLANS_KEPT = 16 };
struct finish_plan {
    uint64_t from; /* bytes before it */
    struct bytes text;
};

struct grammar_session {
    struct grammar *grammar;
    struct frames frames;
    struct mask_walk walk;
    struct finish_plan plans[PLANS_KEPT];
    uint32_t next_plan;
};

/** A token's or mask's fuel is there again. */
void grammar_refuel(struct grammar *grammar);
enum status grammar_failed(struct error *err);

/** Clear the tokens of a whole mask after which the text could not become complete in tokens_left - 1 tokens. Fails as grammar_mask. */
enum status finish_filter(struct grammar_session *session, const struct grammar_state *state, size_t tokens_left,
                          uint32_t *mask, struct error *err);
void finish_deinit(struct grammar_session *session);

#endif
