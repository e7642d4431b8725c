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
    pthread_mutex_t lock;
    _Atomic int references;
};

struct grammar_session {
    struct grammar *grammar;
    struct frames frames;
    struct mask_walk walk;
};

/** A grammar of a machine; takes the machine over, also when it fails. */
enum status grammar_wrap(const struct grammar_vocabulary *vocabulary, struct machine *machine, struct grammar **out,
                         struct grammar_problem *problem);
/** The machine of a schema, as grammar_compile_schema makes it. */
enum status grammar_json_machine(const struct json_value *text, const struct grammar_options *options,
                                 struct machine **out, struct grammar_problem *problem);

#endif
