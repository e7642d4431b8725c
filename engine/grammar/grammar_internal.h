/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Shared by grammar.c and mask.c. */
#ifndef ENGINE_GRAMMAR_GRAMMAR_INTERNAL_H
#define ENGINE_GRAMMAR_GRAMMAR_INTERNAL_H

#include "engine/grammar/vocabulary.h"

#include <pthread.h>

struct grammar {
    const struct grammar_vocabulary *vocabulary;
    struct machine *machine;
    pthread_mutex_t lock;
    _Atomic int references;
};

struct grammar_session {
    struct grammar *grammar;
    struct frames frames;
    struct machine_state stack[TRIE_DEPTH_MAX + 1]; /* of the walk through a trie, by depth */
    struct frames_mark marks[TRIE_DEPTH_MAX + 1];
};

/** The tokens that may come next, ends of text left out. Adds to `mask`. False: budget or memory. */
bool mask_fill(struct grammar_session *session, const struct machine_state *state, uint32_t *mask);

#endif
