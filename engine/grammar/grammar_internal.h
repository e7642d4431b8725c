/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Shared by grammar.c, grammar_finish.c, grammar_forced.c and calls_*.c. */
#ifndef ENGINE_GRAMMAR_GRAMMAR_INTERNAL_H
#define ENGINE_GRAMMAR_GRAMMAR_INTERNAL_H

#include "engine/grammar/mask.h"

#include <pthread.h>

/** The longest rest, in bytes, behind any token that may come in the states of one signature. */
struct finish_farthest {
    uint64_t signature, bytes;
};
enum { FARTHEST_KEPT = 512 };

struct grammar {
    const struct grammar_vocabulary *vocabulary;
    struct machine *machine;
    struct grammar_budget own;        /* of a regex's or rules' machine */
    struct grammar_budget *budget;    /* that the machine spends; its fuel is filled up before every mask and token */
    struct finish_farthest *farthest; /* [FARTHEST_KEPT] or NULL */
    int64_t finish_bytes;         /* of the budget, that finishing leaves for the masks themselves; 0: not known yet */
    struct grammar_problem later; /* where a schema's machine writes what it meets after compiling */
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
    bool branches;   /* of a search */
    bool fell_short; /* the last mask that looked found no way to the end in what was left */
    uint32_t rests_in_vain,
        rest_pause; /* rests that were looked for in vain one after the other; masks that look for none */
};

/** A grammar of a machine that spends `budget`; takes the machine over, also when it fails. */
enum status grammar_wrap(const struct grammar_vocabulary *vocabulary, struct machine *machine,
                         struct grammar_budget *budget, struct grammar **out, struct grammar_problem *problem);
/**
 * The machine of a schema, as grammar_compile_schema makes it (the vocabulary only says what bytes it can write, and may be NULL); fuel and bytes of the options are set. `later`: where it writes what it meets after compiling, as long
 * as it lives.
 */
enum status grammar_json_machine(const struct grammar_vocabulary *vocabulary, const struct json_value *text,
                                 const struct grammar_options *options, struct grammar_problem *later,
                                 struct machine **out, struct grammar_budget **out_budget,
                                 struct grammar_problem *problem);
/** Go on by the tokens, until one is refused or behind an end of text. Returns how many were accepted. */
size_t grammar_accept_each(struct grammar_session *session, struct grammar_state *state, const int32_t *tokens,
                           size_t count);
/** A token's or mask's fuel is there again. */
void grammar_refuel(struct grammar *grammar);
enum status grammar_failed(const struct grammar *grammar, struct error *err);

/** Clear the tokens of a whole mask after which the text could not become complete in tokens_left - 1 tokens. Fails as grammar_mask. */
enum status finish_filter(struct grammar_session *session, const struct grammar_state *state, size_t tokens_left,
                          uint32_t *mask, struct error *err);
void finish_deinit(struct grammar_session *session);

#endif
