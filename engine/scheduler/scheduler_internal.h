/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Shared by scheduler.c (life, entering and leaving, the step), admission.c, plan.c, results.c and check.c. */
#ifndef ENGINE_SCHEDULER_SCHEDULER_INTERNAL_H
#define ENGINE_SCHEDULER_SCHEDULER_INTERNAL_H

#include "engine/scheduler/beam.h"
#include "engine/scheduler/cost_model.h"
#include "engine/scheduler/queue.h"
#include "engine/scheduler/scheduler.h"

/* A generated token is charged as so many prompt tokens: about what it costs in time when few are generated at once. */
#define SCHEDULER_DECODE_CHARGE 2.0

struct scheduler {
    struct scheduler_options options;
    struct sampler *sampler;
    struct queue queue;
    struct sequence **running; /* in order of admission, branches of searches among them */
    int running_count;
    int alive;       /* sequences between submit and finish; a search is one */
    int *free_slots; /* a stack */
    int free_slot_count;
    int32_t *block_tables; /* [sequences_max][table_blocks] */
    int64_t table_blocks;
    int turn;                           /* where in `running` the next step's decodes begin, when not all fit */
    bool search_left_out, search_first; /* a search did not fit into this step's rows; one has them before others */
    int branches_beside;                /* in this step, beyond one for every search: so many may still have rows */
    atomic_int cancels;                 /* cancellations since the last sweep */
    uint64_t step, order;
    double growth;       /* expected share of what running sequences may still generate */
    bool memory_ran_out; /* in this step */
    bool gave_up;        /* the last step */
    struct cost_model cost;
    double decode_ns;  /* expected time of this step's decodes alone */
    int64_t busy_ns;   /* since when somebody has been there */
    int64_t ended_ns;  /* when a sequence last ended that ran */
    double end_gap_ns; /* time between two ends, smoothed */
    struct scheduler_stats stats;
    /* the step's batch */
    struct model_batch batch;
    struct step_shape shape;
    int draft_count;
    int32_t *ids, *positions, *logit_rows;
    struct kv_sequence *kv_sequences;
    struct sequence *
        *planned;  /* whose rows they are, as kv_sequences: at most sequences_max and scheduler_branches_beside() */
    float *logits; /* [scheduler_logits_max()][V] */
    int32_t *check_references; /* [blocks of the cache] for scheduler_check and _repair */
    bool *check_slots;         /* [sequences_max], for them too */
};

/** Tokens known but not computed. */
static inline int64_t sequence_missing(const struct sequence *sequence) {
    return sequence->token_count - sequence->computed;
}
/** Is what it misses the token that was drawn last, and those that came with it? */
static inline bool sequence_decodes(const struct sequence *sequence) {
    int64_t missing = sequence_missing(sequence);
    return missing >= 1 && missing <= 1 + sequence->forced;
}
/** What a decode is charged for its rows but those of guesses, which are charged when they were right. */
static inline double sequence_decode_charge(int64_t rows) {
    return SCHEDULER_DECODE_CHARGE + (double)(rows - 1);
}
/** Tokens it may hold in the end. */
static inline int64_t sequence_limit(const struct sequence *sequence) {
    return sequence->prompt_count + sequence->max_tokens;
}
/** Whom the owner knows: the sequence itself, or the one whose branch it is. */
static inline struct sequence *sequence_leader(struct sequence *sequence) {
    return sequence->beams != NULL ? sequence->beams->leader : sequence;
}
/** A search is paused as a whole, by its leader. */
static inline bool sequence_is_paused(struct sequence *sequence) {
    return atomic_load(&sequence_leader(sequence)->paused);
}
/** The most sequences that it is in a step. */
static inline int sequence_width(const struct sequence *sequence) {
    return sequence->beams != NULL ? sequence->beams->options.width : 1;
}
/** Does it, or will it, go on as several that advance together? Not while it is a prompt. */
static inline bool sequence_is_branch(const struct sequence *sequence) {
    return sequence->beams != NULL && sequence->beams->branch_count > 0;
}
/** Is it what the owner knows, which has the slot? */
static inline bool sequence_leads(const struct sequence *sequence) {
    return sequence->beams == NULL || sequence->beams->leader == sequence;
}
static inline int64_t scheduler_now(const struct scheduler *scheduler) {
    return clock_monotonic_ns(scheduler->options.clock);
}

/* scheduler.c */
/** Take a sequence out, wherever it is, and tell its owner. It may be gone afterwards. */
void scheduler_finish(struct scheduler *scheduler, struct sequence *sequence, enum finish_reason reason,
                      const char *error);
/** Take a running sequence's slot and blocks; those of all branches when it is one of a beam search. */
void scheduler_stop_running(struct scheduler *scheduler, struct sequence *sequence);
/** Put a sequence among those that run, in a slot (a branch: in its leader's) and with the block table `blocks`. */
void scheduler_run(struct scheduler *scheduler, struct sequence *sequence, int slot, int32_t *blocks);
/** Take it out again; its blocks are released already. */
void scheduler_stop(struct scheduler *scheduler, struct sequence *sequence);
void scheduler_release_blocks(struct scheduler *scheduler, struct sequence *sequence);

/* beam.c */
/** Take in the logits of all branches (or of the prompt): the search goes on or ends. */
void beam_advance(struct scheduler *scheduler, struct beam_search *beams);
/** Do all branches run and miss one token each? */
bool beams_are_ready(const struct beam_search *beams);

/* admission.c */
/** Let waiting sequences in, while slots and memory last. */
void scheduler_admit(struct scheduler *scheduler);
/** Send the running sequence that weighs least back to its queue, of `tenant` only unless that is NULL. False when nobody runs. */
bool scheduler_preempt(struct scheduler *scheduler, const struct tenant *tenant);

/* plan.c */
/** Fill the step's batch. */
void scheduler_plan(struct scheduler *scheduler);

/* results.c */
/** Sample, tell the owners, record what blocks hold. */
void scheduler_take_results(struct scheduler *scheduler);
/** Tell the cache what the sequence's blocks hold up to `computed`. */
void scheduler_record(struct scheduler *scheduler, struct sequence *sequence);

#endif
