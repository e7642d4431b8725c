/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Scheduler: which rows the next step computes, for whom.
 *
 *     submit -> waiting (a queue per tenant) -> admitted: a slot and its memory -> running -> report(finish)
 *
 * There are no phases. A sequence has `token_count` known tokens of which `computed` are in the cache; a step gives it rows
 * for the next ones, and where the last known token is computed its logits give one more. A prompt's chunk, a decode and
 * a sequence that starts over after losing its blocks differ only in how many tokens are missing.
 *
 * One step:
 *   1. cancelled sequences leave, wherever they are
 *   2. waiting ones are admitted while a slot is free and the cache can promise blocks for prompt + max_tokens. The tenant
 *      admitted longest ago comes first; inside a tenant the higher priority, then the older. Who cannot be promised its
 *      memory is not overtaken.
 *   3. rows: sequences that miss one token first, in turn; then prompt chunks, the tenant served longest ago first. When a
 *      prompt waits, a quarter of the step is kept for prompts, so that neither side starves.
 *   4. one forward pass, then sampling, accept() for every token, report() for every sequence that got one
 *
 * Memory is promised in full at admission, so nothing can run out midway. (The next step in this room's life is to promise
 * less - an estimate of growth - and to take blocks back from the youngest, which then starts over: `computed` = 0.)
 *
 * The core has no thread, no clock and no text: whoever owns it calls scheduler_step, and the forward pass is a function it is
 * given. So tests and simulations drive it directly. scheduler_cancel, _pause and _resume may be called from any thread; all
 * else from one thread at a time.
 */
#ifndef ENGINE_SCHEDULER_SCHEDULER_H
#define ENGINE_SCHEDULER_SCHEDULER_H

#include "base/status.h"
#include "engine/kv_cache/kv_cache.h"
#include "engine/model/model.h"
#include "engine/sampler/sampler.h"
#include "engine/scheduler/finish.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct scheduler;
struct sequence;
struct tenant;

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
     *  the scheduler has forgotten it (the owner may free it). `error` belongs to FINISH_ERROR. */
    void (*report)(struct sequence *sequence, enum finish_reason finish, const char *error);
};

struct sequence {
    /* Set by the owner before scheduler_submit; lent until the finish is reported. */
    const struct sequence_owner *owner;
    int32_t *tokens;          /* the prompt, then what is sampled: room for prompt_count + max_tokens */
    int64_t prompt_count;     /* >= 1 */
    int64_t max_tokens;       /* >= 0; prompt_count + max_tokens <= the context */
    struct sampling sampling; /* checked */
    uint64_t tenant_key;      /* equal keys share turns */
    int priority;             /* higher first inside a tenant */

    /* For the owner to read. */
    int64_t token_count; /* prompt and sampled */

    /* The scheduler's own. */
    atomic_bool cancelled, paused;
    int64_t computed;              /* tokens whose keys and values are in the cache */
    int slot;                      /* while running, else -1 */
    int32_t *blocks;               /* its block table, while running */
    int64_t block_count, reserved; /* blocks held; blocks set aside and not taken yet */
    uint64_t planned;              /* the step that has rows for it */
    struct tenant *tenant;
    struct sequence *previous, *next; /* in its tenant's queue */
};

/** Compute one batch into batch->logits; as model_forward. A failure ends the batch's sequences with FINISH_ERROR and its message. */
typedef enum status scheduler_forward_fn(void *context, const struct model_batch *batch, struct error *err);

struct scheduler_options {
    struct kv_cache *cache; /* borrowed; nobody else takes from it */
    scheduler_forward_fn *forward;
    void *forward_context;
    int32_t vocabulary;
    int64_t context_tokens;
    int sequences_max;   /* that run at a time */
    int step_tokens_max; /* rows of a step */
    int queue_max;       /* sequences beyond sequences_max that may be alive */
};

struct scheduler_stats {
    int running, waiting;
    uint64_t steps;             /* that computed something */
    uint64_t prompt_tokens;     /* computed, since start */
    uint64_t completion_tokens; /* sampled, since start */
};

/** STATUS_INVALID_ARGUMENT for options that make no sense - a cache that cannot hold one whole context among them, for then a long
 *  request would wait for ever - and STATUS_RESOURCE_EXHAUSTED without memory. */
enum status scheduler_create(const struct scheduler_options *options, struct scheduler **out, struct error *err);
/** Nobody may be waiting or running (scheduler_cancel_all). */
void scheduler_destroy(struct scheduler *scheduler);

/** Make `sequence` ready for use before its owner shares it with other threads. */
void sequence_init(struct sequence *sequence);

/** Queue a sequence. With max_tokens 0 it is finished before this returns. STATUS_OUT_OF_RANGE when prompt_count + max_tokens passes the
 *  context or prompt_count < 1, STATUS_RESOURCE_EXHAUSTED when sequences_max + queue_max are alive. */
enum status scheduler_submit(struct scheduler *scheduler, struct sequence *sequence, struct error *err);

/** Any thread, from sequence_init until the finish is reported. Idempotent; done at the start of the next step. */
void scheduler_cancel(struct scheduler *scheduler, struct sequence *sequence);
/** A paused sequence keeps its slot and its cache and takes no part in steps. */
void scheduler_pause(struct scheduler *scheduler, struct sequence *sequence);
void scheduler_resume(struct scheduler *scheduler, struct sequence *sequence);

/** One step. Returns the rows that were computed; 0 means that nothing can advance before a submit, cancel or resume. */
int64_t scheduler_step(struct scheduler *scheduler);

/** Report FINISH_CANCELLED to everybody. */
void scheduler_cancel_all(struct scheduler *scheduler);

void scheduler_stats(const struct scheduler *scheduler, struct scheduler_stats *out);

/** The scheduler's books agree with themselves and with the cache's. STATUS_INTERNAL names what does not. For tests and idle moments. */
enum status scheduler_check(const struct scheduler *scheduler, struct error *err);

#endif
