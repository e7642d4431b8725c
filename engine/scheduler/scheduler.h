/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Scheduler: which rows the next step computes, for whom.
 *
 *     submit -> waiting (a queue per tenant) -> admitted: a slot -> running -> report(finish)
 *                   ^                                       |
 *                   +------------- preempted ---------------+
 *
 * There are no phases. A sequence has `token_count` known tokens of which `computed` are in the cache; a step gives it rows
 * for the next ones, and where the last known token is computed its logits give one more. A prompt's chunk, a decode, a
 * prompt whose beginning was found in the cache and a sequence that starts over after losing its blocks differ only in how
 * many tokens are missing.
 *
 * One step:
 *   1. Cancelled sequences leave, wherever they are.
 *   2. ADMISSION, while a slot is free and memory is likely to last. The least served tenant comes first (queue.h); who cannot have
 *      its place yet is overtaken by a few of other tenants, then what becomes free is kept for it. What the cache holds of a prompt is
 *      taken over. A sequence whose prompt begins like one
 *      that is just being computed is held back until it can take that beginning over. A tenant with less than its share of
 *      slots or memory gets some from the tenant furthest above its share.
 *   3. DECODES: every sequence that misses one token gets a row - and one for each token that was forced behind it (FORCED TEXT) -, and rows
 *      for guesses of what follows (draft.h) where they pay; searches get a row for each branch, in turn.
 *   4. PROMPTS: rows until the step is as long as it may be. Time is what is shared out, not rows: a step that carries decodes may take
 *      `stretch` times what the decodes alone would (or step_ns); the cost model (cost_model.h) says how many rows that is.
 *      The least served tenant comes first, chunk by chunk.
 *   5. One forward pass, then sampling, accept() and report() for every token.
 *
 * MEMORY is taken block by block. Admission counts on sequences ending before max_tokens: each is expected to grow by `growth` of
 * what it may, a share that falls while that goes well and rises when it did not. When it did not - a decode finds no block -
 * the sequence that weighs least (paused ones first, then of the tenant furthest above its share the one that is due last) gives
 * up its blocks, goes back to its queue and is computed again later, from the cache as far as
 * that still has it. A search then computes what its branches share once, and holds it once, as before: what fits alone ends in any company.
 *
 * SEARCHES (beam.h) take one slot each and count as one in every share, so they wait for no others' slots and keep none empty. The rows of their
 * branches come on top: a step carries, beyond one sequence for each slot, as many branches as the widest search has (and one for each slot that
 * is free). Where more want rows, searches take turns, first by tenant, then inside it. So streams are in every step whoever searches (while its
 * rows last: then everybody takes turns), and of n searches each is in one of n steps at least.
 *
 * FORCED TEXT: where the owner knows what must come next (a grammar leaves no choice), it comes without logits, at the price of a row instead of a step.
 *
 * SPECULATION changes no token: a guess is kept when it is the token that was sampled there, and samples depend on (seed, position)
 * alone.
 *
 * The core has no thread and no text; time comes from options.clock and the forward pass is a function it is given. So tests and
 * simulations drive it directly. scheduler_cancel, _pause and _resume may be called from any thread; all else from one thread
 * at a time.
 * After: vLLM's step with one token budget; Sarathi-Serve (Agrawal et al., arXiv:2403.02310) for stall-free batches; VTC for fairness.
 */
#ifndef ENGINE_SCHEDULER_SCHEDULER_H
#define ENGINE_SCHEDULER_SCHEDULER_H

#include "base/clock.h"
#include "base/status.h"
#include "engine/kv_cache/kv_cache.h"
#include "engine/model/model.h"
#include "engine/sampler/sampler.h"
#include "engine/scheduler/draft.h"
#include "engine/scheduler/finish.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct scheduler;
struct sequence;
struct tenant;
struct beam_search;

enum verdict {
    VERDICT_GO_ON,
    VERDICT_STOP,  /* FINISH_STOP: an end token or a stop string */
    VERDICT_ERROR, /* FINISH_ERROR: the owner could not take the token */
};

/** How a sequence's owner hears of it, on the stepping thread. Neither may block or call back into the scheduler, except for
 *  scheduler_cancel, _pause and _resume. */
struct sequence_owner {
    /** `id` was sampled and is already in `tokens`. `logprobs` is NULL unless wanted. */
    enum verdict (*accept)(struct sequence *sequence, int32_t id, const struct logprob_entry *logprobs);
    /** Once after every step that gave the sequence tokens, and once with a finish: by then its slot and its blocks are free, and
     *  the scheduler has forgotten it (the owner may free it). `error` belongs to FINISH_ERROR and FINISH_REFUSED. */
    void (*report)(struct sequence *sequence, enum finish_reason finish, const char *error);
    /** Asked in beam searches, which call accept never and report once: then the hypotheses are in sequence->beams. What becomes of a branch that
     *  `id` continues? `before` is what the owner keeps of the branch (beam_settings.state_bytes; zeros: nothing behind the prompt). What it
     *  keeps of the longer one goes into `after` - elsewhere, as others may continue the same branch -, unless that has ended. NULL: nothing
     *  ends but by length. */
    enum verdict (*extend)(struct sequence *leader, const void *before, int32_t id, void *after);
    /**
     * Asked before every draw: what may come next? Of a branch of a search `state` is what the owner keeps of it (as `before` of extend), else NULL.
     * `left`: tokens that may still come, this one included. Leave *out_mask as it is (zeros) where anything may; its words are lent until the next question.
     * VERDICT_STOP: nothing may, the text ends here, with no token. NULL: anything goes.
     */
    enum verdict (*constrain)(struct sequence *leader, const void *state, int64_t left, struct token_mask *out_mask,
                              const char **out_error);
    /**
     * Of a branch of a search continued by `id` (-1: as it stands): a number that is the same for the same text, however that is cut into tokens. Of branches and hypotheses with
     * one text the likeliest stays. NULL: they are told apart by their tokens.
     */
    uint64_t (*text_key)(struct sequence *leader, const void *state, int32_t id);
    /**
     * Asked behind every token of a sequence that is no search: what must come next, whatever the logits say? Up to `most` tokens into `out`; they are taken as if
     * they had been drawn (accept is called with each), and computed with the next step's row. Has to say the same whenever the tokens before are the same. NULL: nothing.
     */
    int (*force)(struct sequence *sequence, int most, int32_t *out);
    /** How many of these guesses of what comes next, from the first on, `constrain` would let through. NULL: all. */
    int (*admit)(struct sequence *sequence, const int32_t *guesses, int count);
    /** Before the forward pass whose logits a sequence that is no search will be drawn from: `constrain` is going to be asked this. NULL: no matter. */
    void (*foresee)(struct sequence *sequence, int64_t left);
};

struct sequence {
    /* Set by the owner before scheduler_submit; lent until the finish is reported. */
    const struct sequence_owner *owner;
    int32_t *tokens;          /* the prompt, then what is sampled: room for prompt_count + max_tokens */
    int64_t prompt_count;     /* >= 1 */
    int64_t max_tokens;       /* >= 0; prompt_count + max_tokens <= the context */
    struct sampling sampling; /* checked */
    uint64_t tenant_key;      /* equal keys share turns */
    int priority;             /* inside a tenant: one more is worth ten seconds of waiting */

    const void *
        salt; /* who may share this sequence's keys and values: those with the same bytes here; lent until submit returns */
    size_t salt_bytes;
    uint64_t adapter;          /* ... and the same number here; 0: the model's weights alone */
    struct beam_search *beams; /* NULL, or a search (beam.h) */

    /* For the owner to read. */
    int64_t token_count;   /* prompt and sampled */
    int64_t cached_tokens; /* of the prompt, that were in the cache when it was first admitted */

    /* The scheduler's own. */
    atomic_bool cancelled, paused;
    int64_t computed;              /* tokens whose keys and values are in the cache */
    int slot;                      /* while running, else -1; a branch has its leader's */
    int32_t *blocks;               /* its block table, while running */
    int64_t block_count;           /* blocks held */
    struct kv_prefix root, prefix; /* of its salt; behind its full recorded blocks */
    int64_t recorded;              /* positions that the cache knows the contents of */
    uint64_t order;                /* of its last admission: 1, 2, ... */
    uint64_t planned;              /* the step that has rows for it */
    int64_t arrived_ns;
    uint64_t leader;         /* `order` of the sequence whose prompt it waits for, 0: nobody's */
    int64_t leader_tokens;   /* until that one has computed so many; of a branch that starts over, until `origin` has */
    struct sequence *origin; /* the branch whose beginning it will take over; NULL: it has begun */
    int64_t lent_due;        /* when the first of those is due that wait for this one's prompt */
    bool was_admitted;
    int overtaken; /* by others, while it was first and had no room */
    struct draft_record drafts;
    int64_t chunk;   /* rows of its prompt in this step */
    int draft_count; /* guesses among its rows of this step */
    int forced;      /* of the tokens that it misses, so many came with the one that was drawn */
    struct tenant *tenant;
    struct sequence *previous, *next; /* in its tenant's queue */
};

/** Compute one batch into batch->logits; as model_forward. STATUS_CANCELLED when it was given up (batch->abandoned); another failure ends
 *  the batch's sequences with FINISH_ERROR and its message. */
typedef enum status scheduler_forward_fn(void *context, const struct model_batch *batch, struct error *err);

struct scheduler_options {
    struct kv_cache *cache; /* borrowed; nobody else takes from it */
    scheduler_forward_fn *forward;
    void *forward_context;
    int32_t vocabulary;
    int64_t context_tokens;
    int sequences_max;   /* that run at a time; a search is one */
    int step_tokens_max; /* rows of a step */
    int queue_max;       /* sequences beyond sequences_max that may be alive */
    const struct clock *clock;
    int64_t step_ns; /* how long a step with decodes may take; 0: SCHEDULER_STRETCH times the decodes alone */
    int drafts_max;  /* guesses in a step, over all sequences; 0: no speculation */
};

/** Branches of searches that a step may carry beyond one sequence in each slot: those of one search, as wide as may be. */
int scheduler_branches_beside(int sequences_max);
/** batch->logit_count never passes this: a token for each slot, those branches, and guesses. */
int scheduler_logits_max(int sequences_max, int drafts_max);

/** Tokens that may be forced behind one that was drawn: so many rows more a sequence has in the next step. */
enum { SCHEDULER_FORCED_MAX = 16 };

#define SCHEDULER_STRETCH 1.75
/* ... and so many times for the prompt of a tenant that has no decode among them: it waits for its first word. */
#define SCHEDULER_STRETCH_NEWCOMER 3.0

struct scheduler_stats {
    int running, waiting;                  /* a search is one */
    uint64_t steps;                        /* that computed something */
    uint64_t prompt_tokens;                /* computed, since start; those of preempted sequences again */
    uint64_t cached_tokens;                /* of prompts, taken over from the cache */
    uint64_t completion_tokens;            /* sampled and forced, since start */
    uint64_t forced_tokens;                /* of them, that were not sampled */
    uint64_t draft_tokens, draft_accepted; /* guessed; right */
    uint64_t preemptions;
    int64_t
        end_gap_ns; /* between two ends of sequences that run, lately, while somebody was there; 0: none has ended yet */
};

/** When somebody who finds the queue full with `waiting` in it may come again: until it is half empty, for others come back too. */
static inline int64_t scheduler_retry_ns(int64_t end_gap_ns, int waiting) {
    return end_gap_ns * (2 + waiting / 2);
}

/** STATUS_INVALID_ARGUMENT for options that make no sense - a cache that cannot hold one whole context among them, for then a long
 *  request would wait for ever - and STATUS_RESOURCE_EXHAUSTED without memory. */
enum status scheduler_create(const struct scheduler_options *options, struct scheduler **out, struct error *err);
/** Nobody may be waiting or running (scheduler_cancel_all). */
void scheduler_destroy(struct scheduler *scheduler);

/** Make a few short steps that serve nobody, so that the first that does is planned with some idea of what it will take. Takes about as long
 *  as a prompt of 50 tokens, and at most little more than SCHEDULER_CALIBRATION_NS. Before the first submit. */
void scheduler_calibrate(struct scheduler *scheduler);
#define SCHEDULER_CALIBRATION_NS (150 * (int64_t)NS_PER_MS)

/** Make `sequence` ready for use before its owner shares it with other threads. */
void sequence_init(struct sequence *sequence);

/** Queue a sequence. With max_tokens 0 it is finished before this returns. STATUS_OUT_OF_RANGE when prompt_count + max_tokens passes the
 *  context or prompt_count < 1 or a beam search is wider than sequences_max or step_tokens_max, STATUS_RESOURCE_EXHAUSTED when sequences_max + queue_max are alive
 *  (a search counts as one) - unless another tenant has at least two more there than this one's: then the last that waits of the tenant with the most
 *  ends with FINISH_REFUSED (queue.h, ROOM). */
enum status scheduler_submit(struct scheduler *scheduler, struct sequence *sequence, struct error *err);

/** Any thread, from sequence_init until the finish is reported. Idempotent; done at the start of the next step. */
void scheduler_cancel(struct scheduler *scheduler, struct sequence *sequence);
/** A paused sequence takes no part in steps. It keeps its slot and its cache until somebody else has no room; then it waits, and is let in again
 *  once it was resumed. */
void scheduler_pause(struct scheduler *scheduler, struct sequence *sequence);
void scheduler_resume(struct scheduler *scheduler, struct sequence *sequence);

/** One step. Returns the rows that were computed; 0 means that nothing can advance before a submit, cancel, pause or resume. */
int64_t scheduler_step(struct scheduler *scheduler);

/** Report FINISH_CANCELLED to everybody. */
void scheduler_cancel_all(struct scheduler *scheduler);

void scheduler_stats(const struct scheduler *scheduler, struct scheduler_stats *out);

/** The scheduler's books agree with themselves and with the cache's. STATUS_INTERNAL names what does not. For tests and idle moments. */
enum status scheduler_check(const struct scheduler *scheduler, struct error *err);
/** Make the books agree with what runs and waits. Where they still do not, all that runs ends with FINISH_ERROR and its slots and blocks are free. */
void scheduler_repair(struct scheduler *scheduler);

#endif
