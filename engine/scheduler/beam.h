/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Beam search: not one continuation that is drawn, but the `width` likeliest ones side by side.
 *
 *     prompt -> its logits -> `width` branches        each a sequence of its own in the step: rows, block table, tokens
 *     every step:  all branches' likeliest next tokens, 2 * width of each
 *                  -> the 2 * width likeliest continuations over all branches, in order
 *                       ends with an end token or a stop string, as the owner says: a hypothesis is finished
 *                       else: a branch of the next step, until there are `width`
 *
 * Branches that come from one share its blocks; the last, partly filled one is copied before somebody writes into it. All of them run in
 * the one slot of the search.
 *
 * SCORE of a hypothesis = sum of its tokens' log-probabilities / (its tokens)^length_penalty; the prompt counts in neither.
 * The search ends at max_tokens (branches that live then are hypotheses too), when early_stopping is set and `width` are
 * finished, or when no branch could pass the worst of the `width` best as it stands now. Ties go to the likelier parent, then to the
 * larger logit, then to the lower id: the same request always gives the same answer. Width 1 is greedy.
 *
 * The scheduler's own part; the owner provides the memory (beam_search_bytes) and reads the results when the finish is reported.
 * Source: transformers' generate() and its BeamSearchScorer, vLLM's use_beam_search.
 */
#ifndef ENGINE_SCHEDULER_BEAM_H
#define ENGINE_SCHEDULER_BEAM_H

#include "engine/scheduler/scheduler.h"

enum { BEAM_WIDTH_MAX = 16, BEAM_TEXTS = 32 * BEAM_WIDTH_MAX };

struct beam_settings {
    int width;             /* 1..BEAM_WIDTH_MAX; at most the scheduler's sequences_max */
    double length_penalty; /* 0: the likeliest as a whole; 1: by token; -10..10 */
    bool early_stopping;
    size_t state_bytes; /* that the owner keeps of each branch: sequence_owner.extend */
};

struct hypothesis {
    int32_t *tokens; /* [count]: prompt and answer, to the end token or the last one of a stop string */
    int64_t count;
    double score;
    uint64_t text_key; /* sequence_owner.text_key; 0: not known */
    enum finish_reason finish;
};

struct beam_search {
    struct beam_settings options;
    struct sequence *leader;
    struct sequence *branches[BEAM_WIDTH_MAX]; /* [0] is the leader itself */
    int branch_count;                          /* 0 until the prompt is computed */
    double logprobs[BEAM_WIDTH_MAX];           /* of the branches, summed */
    void *states[BEAM_WIDTH_MAX]; /* what the owner keeps of them; [0] of the prompt, before there are any */
    struct hypothesis finished[BEAM_WIDTH_MAX]; /* the best so far, best first */
    int finished_count;
    /* memory of the next step's branches */
    int32_t *next_tokens[BEAM_WIDTH_MAX], *next_tables[BEAM_WIDTH_MAX];
    void *next_states[BEAM_WIDTH_MAX];
    int32_t *tables[BEAM_WIDTH_MAX]; /* block tables of all branches but the leader, which has its slot's */
    float *logits[BEAM_WIDTH_MAX];   /* of the branches, in the step that is being taken in */
    uint64_t texts
        [BEAM_TEXTS]; /* text keys of the last branches there were: the same text, cut into more tokens, comes later */
    uint32_t text_count;
    uint64_t turn; /* the last step in which it could have rows for all its branches */
};

/** Bytes of a beam search over sequences of up to `limit` tokens, in a context of `context_tokens`. */
size_t beam_search_bytes(const struct beam_settings *options, int64_t limit, int64_t context_tokens);
/** Lay a search out in `memory` (aligned as malloc aligns; lent until the leader's finish is reported) and give it to `leader`, whose tokens
 *  and limits are set. */
struct beam_search *beam_search_init(void *memory, const struct beam_settings *options, struct sequence *leader,
                                     int64_t context_tokens);

#endif
