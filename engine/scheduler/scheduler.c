/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The step: who leaves, who enters, which rows, and what their logits give. The queues are in queue.c. */
#include "engine/scheduler/scheduler.h"

#include "base/limits.h"
#include "engine/scheduler/queue.h"

#include <stdlib.h>
#include <string.h>

enum {
    STEP_TOKENS_MAX = 65536,
    SEQUENCES_MAX = 4096,
    QUEUE_MAX = 1 << 20,
    PROMPT_SHARE = 4 /* a quarter of the step */
};

struct scheduler {
    struct scheduler_options options;
    struct sampler *sampler;
    struct queue queue;
    struct sequence **running; /* [sequences_max] in order of admission */
    int running_count;
    int *free_slots; /* a stack */
    int free_slot_count;
    int32_t *block_tables; /* [sequences_max][table_blocks] */
    int64_t table_blocks;
    int turn;           /* where in `running` the next step's decodes begin, when not all fit */
    atomic_int cancels; /* cancellations since the last sweep */
    uint64_t step, ticket;
    struct scheduler_stats stats;
    /* the step's batch */
    struct model_batch batch;
    int32_t *ids, *positions, *logit_rows;
    struct kv_sequence *kv_sequences;
    struct sequence **planned; /* whose rows they are, as kv_sequences */
    float *logits;             /* [sequences_max][V] */
};

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static enum status check_options(const struct scheduler_options *options, struct error *err) {
    if (options->sequences_max < 1 || options->sequences_max > SEQUENCES_MAX || options->step_tokens_max < 1 ||
        options->step_tokens_max > STEP_TOKENS_MAX || options->queue_max < 0 || options->queue_max > QUEUE_MAX ||
        options->context_tokens < 1 || options->context_tokens > LIMIT_CONTEXT_TOKENS) {
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "a scheduler of %d sequences, %d rows a step, %d waiting and %lld tokens of context",
                         options->sequences_max, options->step_tokens_max, options->queue_max,
                         (long long)options->context_tokens);
    }
    if (kv_cache_blocks_for(options->context_tokens) > kv_cache_block_count(options->cache)) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "the KV cache holds %lld tokens, less than one context of %lld",
                         (long long)kv_cache_block_count(options->cache) * KV_BLOCK_TOKENS,
                         (long long)options->context_tokens);
    }
    return STATUS_OK;
}

static enum status allocate(struct scheduler *scheduler, struct error *err) {
    size_t sequences = (size_t)scheduler->options.sequences_max, rows = (size_t)scheduler->options.step_tokens_max;
    scheduler->table_blocks = kv_cache_blocks_for(scheduler->options.context_tokens);
    scheduler->running = calloc(sequences, sizeof *scheduler->running);
    scheduler->free_slots = calloc(sequences, sizeof *scheduler->free_slots);
    scheduler->block_tables = calloc(sequences * (size_t)scheduler->table_blocks, sizeof *scheduler->block_tables);
    scheduler->ids = calloc(rows, sizeof *scheduler->ids);
    scheduler->positions = calloc(rows, sizeof *scheduler->positions);
    scheduler->logit_rows = calloc(sequences, sizeof *scheduler->logit_rows);
    scheduler->kv_sequences = calloc(sequences, sizeof *scheduler->kv_sequences);
    scheduler->planned = calloc(sequences, sizeof *scheduler->planned);
    scheduler->logits = calloc(sequences * (size_t)scheduler->options.vocabulary, sizeof *scheduler->logits);
    if (scheduler->running == NULL || scheduler->free_slots == NULL || scheduler->block_tables == NULL ||
        scheduler->ids == NULL || scheduler->positions == NULL || scheduler->logit_rows == NULL ||
        scheduler->kv_sequences == NULL || scheduler->planned == NULL || scheduler->logits == NULL) {
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a scheduler of %zu sequences", sequences);
    }
    for (int i = 0; i < scheduler->options.sequences_max; i++)
        scheduler->free_slots[i] = scheduler->options.sequences_max - 1 - i;
    scheduler->free_slot_count = scheduler->options.sequences_max;
    TRY(queue_init(&scheduler->queue, (size_t)scheduler->options.sequences_max + (size_t)scheduler->options.queue_max,
                   err));
    return sampler_create(scheduler->options.vocabulary, &scheduler->sampler, err);
}

enum status scheduler_create(const struct scheduler_options *options, struct scheduler **out, struct error *err) {
    TRY(check_options(options, err));
    struct scheduler *scheduler = calloc(1, sizeof *scheduler);
    if (scheduler == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    scheduler->options = *options;
    enum status status = allocate(scheduler, err);
    if (status != STATUS_OK)
        scheduler_destroy(scheduler);
    else
        *out = scheduler;
    return status;
}

void scheduler_destroy(struct scheduler *scheduler) {
    if (scheduler == NULL) return;
    queue_deinit(&scheduler->queue);
    sampler_destroy(scheduler->sampler);
    free(scheduler->running);
    free(scheduler->free_slots);
    free(scheduler->block_tables);
    free(scheduler->ids);
    free(scheduler->positions);
    free(scheduler->logit_rows);
    free(scheduler->kv_sequences);
    free(scheduler->planned);
    free(scheduler->logits);
    free(scheduler);
}

/* ---- entering and leaving ------------------------------------------------------------------------------------------ */

void sequence_init(struct sequence *sequence) {
    *sequence = (struct sequence){.slot = -1};
    atomic_init(&sequence->cancelled, false);
    atomic_init(&sequence->paused, false);
}

enum status scheduler_submit(struct scheduler *scheduler, struct sequence *sequence, struct error *err) {
    if (sequence->prompt_count < 1 || sequence->max_tokens < 0 ||
        sequence->prompt_count > scheduler->options.context_tokens ||
        sequence->max_tokens > scheduler->options.context_tokens - sequence->prompt_count) {
        return error_set(err, STATUS_OUT_OF_RANGE,
                         "a prompt of %lld tokens and max_tokens %lld do not fit a context of %lld",
                         (long long)sequence->prompt_count, (long long)sequence->max_tokens,
                         (long long)scheduler->options.context_tokens);
    }
    if (scheduler->running_count + scheduler->queue.waiting >=
        scheduler->options.sequences_max + scheduler->options.queue_max) {
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "the queue is full: %d run and %d wait",
                         scheduler->running_count, scheduler->queue.waiting);
    }
    sequence->token_count = sequence->prompt_count;
    sequence->computed = 0;
    sequence->slot = -1;
    if (sequence->max_tokens == 0) {
        sequence->owner->report(sequence, FINISH_LENGTH, NULL);
        return STATUS_OK;
    }
    queue_add(&scheduler->queue, sequence);
    if (atomic_load(&sequence->cancelled))
        atomic_fetch_add(&scheduler->cancels, 1); /* it was cancelled before it was ours */
    return STATUS_OK;
}

void scheduler_cancel(struct scheduler *scheduler, struct sequence *sequence) {
    if (!atomic_exchange(&sequence->cancelled, true)) atomic_fetch_add(&scheduler->cancels, 1);
}

void scheduler_pause(struct scheduler *scheduler, struct sequence *sequence) {
    (void)scheduler;
    atomic_store(&sequence->paused, true);
}

void scheduler_resume(struct scheduler *scheduler, struct sequence *sequence) {
    (void)scheduler;
    atomic_store(&sequence->paused, false);
}

static void release_blocks(struct scheduler *scheduler, struct sequence *sequence) {
    /* From the end, so that the first blocks, whose pages are surely there, are handed out first. */
    while (sequence->block_count > 0)
        kv_cache_unref(scheduler->options.cache, sequence->blocks[--sequence->block_count]);
    kv_cache_unreserve(scheduler->options.cache, sequence->reserved);
    sequence->reserved = 0;
    sequence->blocks = NULL;
}

/** Take a sequence out, wherever it is, and tell its owner. It may be gone afterwards. */
static void finish(struct scheduler *scheduler, struct sequence *sequence, enum finish_reason reason,
                   const char *error) {
    if (sequence->slot < 0) {
        queue_remove(&scheduler->queue, sequence);
    } else {
        int at = 0;
        while (scheduler->running[at] != sequence) at++;
        memmove(scheduler->running + at, scheduler->running + at + 1,
                (size_t)(scheduler->running_count - at - 1) * sizeof *scheduler->running);
        scheduler->running_count--;
        if (scheduler->turn > at) scheduler->turn--;
        release_blocks(scheduler, sequence);
        scheduler->free_slots[scheduler->free_slot_count++] = sequence->slot;
        sequence->slot = -1;
    }
    queue_forget(&scheduler->queue, sequence);
    sequence->owner->report(sequence, reason, error);
}

static void sweep_cancelled(struct scheduler *scheduler) {
    if (atomic_exchange(&scheduler->cancels, 0) == 0) return;
    for (int i = scheduler->running_count - 1; i >= 0; i--) {
        if (atomic_load(&scheduler->running[i]->cancelled))
            finish(scheduler, scheduler->running[i], FINISH_CANCELLED, NULL);
    }
    for (struct sequence *sequence = queue_first(&scheduler->queue), *next; sequence != NULL; sequence = next) {
        next = queue_next(&scheduler->queue, sequence);
        if (atomic_load(&sequence->cancelled)) finish(scheduler, sequence, FINISH_CANCELLED, NULL);
    }
}

void scheduler_cancel_all(struct scheduler *scheduler) {
    while (scheduler->running_count > 0)
        finish(scheduler, scheduler->running[scheduler->running_count - 1], FINISH_CANCELLED, NULL);
    for (struct sequence *sequence; (sequence = queue_first(&scheduler->queue)) != NULL;)
        finish(scheduler, sequence, FINISH_CANCELLED, NULL);
}

/** Let waiting sequences in, while slots and memory last. */
static void admit(struct scheduler *scheduler) {
    while (scheduler->free_slot_count > 0) {
        struct sequence *sequence = queue_head(&scheduler->queue);
        if (sequence == NULL) return;
        int64_t blocks = kv_cache_blocks_for(sequence->prompt_count + sequence->max_tokens);
        if (!kv_cache_reserve(scheduler->options.cache, blocks)) return;
        queue_remove(&scheduler->queue, sequence);
        sequence->tenant->admitted = ++scheduler->ticket;
        sequence->reserved = blocks;
        sequence->slot = scheduler->free_slots[--scheduler->free_slot_count];
        sequence->blocks = scheduler->block_tables + (size_t)sequence->slot * (size_t)scheduler->table_blocks;
        scheduler->running[scheduler->running_count++] = sequence;
    }
}

/* ---- rows ---------------------------------------------------------------------------------------------------------- */

static int64_t missing(const struct sequence *sequence) {
    return sequence->token_count - sequence->computed;
}

static bool is_ready(const struct scheduler *scheduler, const struct sequence *sequence) {
    return sequence->planned != scheduler->step && !atomic_load(&sequence->paused);
}

/** Give `sequence` rows for its next `count` tokens. */
static void plan_rows(struct scheduler *scheduler, struct sequence *sequence, int64_t count) {
    struct model_batch *batch = &scheduler->batch;
    int64_t context = sequence->computed + count;
    while (sequence->block_count < kv_cache_blocks_for(context)) {
        sequence->blocks[sequence->block_count++] = kv_cache_take_reserved(scheduler->options.cache);
        sequence->reserved--;
    }
    scheduler->kv_sequences[batch->sequence_count] = (struct kv_sequence){
        .first_row = batch->rows, .row_count = count, .context = context, .blocks = sequence->blocks};
    scheduler->planned[batch->sequence_count++] = sequence;
    for (int64_t i = 0; i < count; i++) {
        scheduler->ids[batch->rows] = sequence->tokens[sequence->computed + i];
        scheduler->positions[batch->rows++] = (int32_t)(sequence->computed + i);
    }
    if (context == sequence->token_count) scheduler->logit_rows[batch->logit_count++] = (int32_t)(batch->rows - 1);
    sequence->planned = scheduler->step;
}

/** Sequences that miss one token, in turn, up to `budget` rows. */
static void plan_decodes(struct scheduler *scheduler, int64_t budget) {
    int count = scheduler->running_count, first = scheduler->turn < count ? scheduler->turn : 0;
    for (int i = 0; i < count && scheduler->batch.rows < budget; i++) {
        int at = (first + i) % count;
        struct sequence *sequence = scheduler->running[at];
        if (missing(sequence) != 1 || !is_ready(scheduler, sequence)) continue;
        plan_rows(scheduler, sequence, 1);
        scheduler->turn = at + 1;
    }
}

/** The prompt that goes on: of the tenant served longest ago, the highest priority, then the oldest. NULL when none waits. */
static struct sequence *next_prompt(const struct scheduler *scheduler) {
    struct sequence *best = NULL;
    for (int i = 0; i < scheduler->running_count; i++) {
        struct sequence *sequence = scheduler->running[i];
        if (missing(sequence) < 2 || !is_ready(scheduler, sequence)) continue;
        bool better = best == NULL || sequence->tenant->served < best->tenant->served ||
                      (sequence->tenant->served == best->tenant->served && sequence->priority > best->priority);
        if (better) best = sequence;
    }
    return best;
}

static void plan(struct scheduler *scheduler) {
    int64_t budget = scheduler->options.step_tokens_max;
    scheduler->batch = (struct model_batch){.ids = scheduler->ids,
                                            .positions = scheduler->positions,
                                            .sequences = scheduler->kv_sequences,
                                            .logit_rows = scheduler->logit_rows,
                                            .logits = scheduler->logits};
    scheduler->step++;
    struct sequence *prompt = next_prompt(scheduler);
    plan_decodes(scheduler, prompt != NULL ? budget - (budget + PROMPT_SHARE - 1) / PROMPT_SHARE : budget);
    for (; prompt != NULL && scheduler->batch.rows < budget; prompt = next_prompt(scheduler)) {
        int64_t left = budget - scheduler->batch.rows;
        plan_rows(scheduler, prompt, missing(prompt) < left ? missing(prompt) : left);
        prompt->tenant->served = ++scheduler->ticket;
    }
    plan_decodes(scheduler, budget); /* what prompts left over */
}

/* ---- tokens -------------------------------------------------------------------------------------------------------- */

/** Sample the token that follows the last known one. Returns why the sequence ends, or FINISH_NONE. */
static enum finish_reason sample(struct scheduler *scheduler, struct sequence *sequence, float *logits,
                                 const char **error) {
    struct logprob_entry logprobs;
    const struct sampling *sampling = &sequence->sampling;
    const int32_t *generated = sequence->tokens + sequence->prompt_count;
    int32_t id = sampler_draw(scheduler->sampler, sampling, logits, generated,
                              (size_t)(sequence->token_count - sequence->prompt_count), (uint64_t)sequence->token_count,
                              &logprobs);
    if (id == SAMPLER_NO_TOKEN) {
        *error = "the model gave no usable logits";
        return FINISH_ERROR;
    }
    sequence->tokens[sequence->token_count++] = id;
    scheduler->stats.completion_tokens++;
    switch (sequence->owner->accept(sequence, id, sampling->top_logprobs >= 0 ? &logprobs : NULL)) {
    case VERDICT_STOP:
        return FINISH_STOP;
    case VERDICT_ERROR:
        *error = "the text of a token could not be kept";
        return FINISH_ERROR;
    case VERDICT_GO_ON:
        break;
    }
    if (sequence->token_count == scheduler->options.context_tokens) return FINISH_MODEL_LENGTH;
    return sequence->token_count == sequence->prompt_count + sequence->max_tokens ? FINISH_LENGTH : FINISH_NONE;
}

static void take_results(struct scheduler *scheduler) {
    const struct model_batch *batch = &scheduler->batch;
    int64_t logit = 0;
    for (int64_t i = 0; i < batch->sequence_count; i++) {
        struct sequence *sequence = scheduler->planned[i];
        int64_t rows = batch->sequences[i].row_count, prompt_left = sequence->prompt_count - sequence->computed;
        if (prompt_left > 0) scheduler->stats.prompt_tokens += (uint64_t)(rows < prompt_left ? rows : prompt_left);
        sequence->computed += rows;
        if (sequence->computed < sequence->token_count) continue;
        const char *error = NULL;
        enum finish_reason reason =
            sample(scheduler, sequence, scheduler->logits + logit++ * scheduler->options.vocabulary, &error);
        if (reason == FINISH_NONE)
            sequence->owner->report(sequence, FINISH_NONE, NULL);
        else
            finish(scheduler, sequence, reason, error);
    }
}

int64_t scheduler_step(struct scheduler *scheduler) {
    sweep_cancelled(scheduler);
    admit(scheduler);
    plan(scheduler);
    if (scheduler->batch.rows == 0) return 0;
    struct error err = {0};
    enum status status = scheduler->options.forward(scheduler->options.forward_context, &scheduler->batch, &err);
    scheduler->stats.steps++;
    if (status == STATUS_OK) {
        take_results(scheduler);
    } else {
        for (int64_t i = 0; i < scheduler->batch.sequence_count; i++)
            finish(scheduler, scheduler->planned[i], FINISH_ERROR, err.message);
    }
    return scheduler->batch.rows;
}

void scheduler_stats(const struct scheduler *scheduler, struct scheduler_stats *out) {
    *out = scheduler->stats;
    out->running = scheduler->running_count;
    out->waiting = scheduler->queue.waiting;
}

enum status scheduler_check(const struct scheduler *scheduler, struct error *err) {
    int64_t reserved = 0, held = 0;
    TRY(kv_cache_check(scheduler->options.cache, err));
    TRY(queue_check(&scheduler->queue, err));
    if (scheduler->running_count + scheduler->free_slot_count != scheduler->options.sequences_max) {
        return error_set(err, STATUS_INTERNAL, "%d sequences run but %d slots are free of %d", scheduler->running_count,
                         scheduler->free_slot_count, scheduler->options.sequences_max);
    }
    for (int i = 0; i < scheduler->running_count; i++) {
        const struct sequence *sequence = scheduler->running[i];
        int64_t blocks = sequence->block_count;
        if (blocks < kv_cache_blocks_for(sequence->computed) ||
            blocks + sequence->reserved != kv_cache_blocks_for(sequence->prompt_count + sequence->max_tokens)) {
            return error_set(err, STATUS_INTERNAL,
                             "a sequence of %lld computed tokens holds %lld blocks and reserves %lld",
                             (long long)sequence->computed, (long long)blocks, (long long)sequence->reserved);
        }
        for (int64_t b = 0; b < blocks; b++) {
            if (kv_cache_references(scheduler->options.cache, sequence->blocks[b]) != 1) {
                return error_set(err, STATUS_INTERNAL, "KV block %d of one sequence has %d references",
                                 sequence->blocks[b],
                                 kv_cache_references(scheduler->options.cache, sequence->blocks[b]));
            }
        }
        reserved += sequence->reserved;
        held += blocks;
    }
    if (reserved != kv_cache_reserved(scheduler->options.cache) || held != kv_cache_used(scheduler->options.cache)) {
        return error_set(err, STATUS_INTERNAL,
                         "sequences hold %lld KV blocks and reserve %lld; the cache says %lld and %lld",
                         (long long)held, (long long)reserved, (long long)kv_cache_used(scheduler->options.cache),
                         (long long)kv_cache_reserved(scheduler->options.cache));
    }
    return STATUS_OK;
}
