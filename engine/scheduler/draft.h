/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Drafts by prompt lookup: text that is being written often repeats what stands before it - a quotation, code that is edited, a
 * list. The tokens that followed the last place where the text looked as it does now are guessed to follow again. The model
 * checks several guesses in one step; those that it would have sampled itself are kept, so the output is the same as without.
 * Source: Saxena, prompt lookup decoding (2023); Leviathan et al., arXiv:2211.17192, for checking drafts in one step.
 */
#ifndef ENGINE_SCHEDULER_DRAFT_H
#define ENGINE_SCHEDULER_DRAFT_H

#include <stdbool.h>
#include <stdint.h>

enum { DRAFT_MATCH_MIN = 3, DRAFT_MATCH_MAX = 8, DRAFT_TOKENS_MAX = 12 };

/** Guess what follows tokens[0..count): the tokens behind the earlier place that matches the end longest (DRAFT_MATCH_MIN at least, DRAFT_MATCH_MAX
 *  looked at), the latest such place. Returns how many guesses are in `out`, 0..most. */
int draft_lookup(const int32_t *tokens, int64_t count, int most, int32_t *out);

/** How well guesses did for one sequence. */
struct draft_record {
    double accepted; /* share of guesses that were right, lately, 0..1 */
    int silent;      /* steps since the last guess */
    int misses;      /* looks in vain, one after another */
    int64_t pause;   /* steps in which it is not looked again */
};

void draft_record_init(struct draft_record *record);
/** How many tokens to guess, when one more row costs `row_ns` and a token is worth `token_ns`: guess i is right with accepted^i, and pays
 *  while accepted^i * token_ns > row_ns. Tries again now and then when it does not pay. Call once a step. */
int draft_length(struct draft_record *record, double row_ns, double token_ns);
/** draft_lookup has looked through `count` tokens. In vain: the next look waits, longer every time, but no more than so many steps that
 *  DRAFT_SCAN_TOKENS are looked at in each; else every token of a long text would cost a look through all before it. */
void draft_looked(struct draft_record *record, int64_t count, bool found);
enum { DRAFT_SCAN_TOKENS = 1024 };
void draft_learn(struct draft_record *record, int guessed, int right);

#endif
