/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Life, entering and leaving, and the step. */
#include "base/limits.h"
#include "engine/scheduler/scheduler_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    STEP_TOKENS_MAX = 65536,
    SEQUENCES_MAX = 4096,
    QUEUE_MAX = 1 << 20,
    DRAFTS_MAX = 4096,
    ABANDON_SHARE = 2 /* a step is given up when one row in so many is of no use any more */
};
static const double END_GAP_LEARNING = 0.1;
/* The share of what they may generate that sequences are expected to generate. */
static const double GROWTH_START = 0.3, GROWTH_MIN = 0.05, GROWTH_FALL = 0.99, GROWTH_RISE = 0.2;

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static enum status check_options(const struct scheduler_options *options, struct error *err) {
    if (options->sequences_max < 1 || options->sequences_max > SEQUENCES_MAX || options->step_tokens_max < 1 ||
        options->step_tokens_max > STEP_TOKENS_MAX || options->queue_max < 0 || options->queue_max > QUEUE_MAX ||
        options->drafts_max < 0 || options->drafts_max > DRAFTS_MAX || options->context_tokens < 1 ||
        options->context_tokens > LIMIT_CONTEXT_TOKENS) {
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
    size_t sequences = (size_t)scheduler->options.sequences_max, rows = (size_t)scheduler->options.step_tokens_max,
           in_step = sequences + (size_t)scheduler_branches_beside(scheduler->options.sequences_max),
           logits = (size_t)scheduler_logits_max(scheduler->options.sequences_max, scheduler->options.drafts_max);
    scheduler->table_blocks = kv_cache_blocks_for(scheduler->options.context_tokens);
    scheduler->running = calloc(sequences * BEAM_WIDTH_MAX, sizeof *scheduler->running);
    scheduler->free_slots = calloc(sequences, sizeof *scheduler->free_slots);
    scheduler->block_tables = calloc(sequences * (size_t)scheduler->table_blocks, sizeof *scheduler->block_tables);
    scheduler->ids = calloc(rows, sizeof *scheduler->ids);
    scheduler->positions = calloc(rows, sizeof *scheduler->positions);
    scheduler->logit_rows = calloc(logits, sizeof *scheduler->logit_rows);
    scheduler->kv_sequences = calloc(in_step, sizeof *scheduler->kv_sequences);
    scheduler->planned = calloc(in_step, sizeof *scheduler->planned);
    scheduler->check_references = calloc((size_t)kv_cache_block_count(scheduler->options.cache), sizeof(int32_t));
    scheduler->check_slots = calloc(sequences, sizeof *scheduler->check_slots);
    scheduler->logits = calloc(logits * (size_t)scheduler->options.vocabulary, sizeof *scheduler->logits);
    if (scheduler->running == NULL || scheduler->free_slots == NULL || scheduler->block_tables == NULL ||
        scheduler->ids == NULL || scheduler->positions == NULL || scheduler->logit_rows == NULL ||
        scheduler->kv_sequences == NULL || scheduler->planned == NULL || scheduler->logits == NULL ||
        scheduler->check_references == NULL || scheduler->check_slots == NULL) {
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a scheduler of %zu sequences", sequences);
    }
    for (int i = 0; i < scheduler->options.sequences_max; i++)
        scheduler->free_slots[i] = scheduler->options.sequences_max - 1 - i;
    scheduler->free_slot_count = scheduler->options.sequences_max;
    TRY(queue_init(&scheduler->queue, (size_t)scheduler->options.sequences_max + (size_t)scheduler->options.queue_max,
                   err));
    return sampler_create(scheduler->options.vocabulary, &scheduler->sampler, err);
}

int scheduler_branches_beside(int sequences_max) {
    return (sequences_max < BEAM_WIDTH_MAX ? sequences_max : BEAM_WIDTH_MAX) - 1;
}

int scheduler_logits_max(int sequences_max, int drafts_max) {
    return sequences_max + scheduler_branches_beside(sequences_max) + drafts_max;
}

enum status scheduler_create(const struct scheduler_options *options, struct scheduler **out, struct error *err) {
    TRY(check_options(options, err));
    struct scheduler *scheduler = calloc(1, sizeof *scheduler);
    if (scheduler == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    scheduler->options = *options;
    scheduler->growth = GROWTH_START;
    cost_model_init(&scheduler->cost);
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
    free(scheduler->check_references);
    free(scheduler->check_slots);
    free(scheduler);
}

/* ---- entering and leaving ------------------------------------------------------------------------------------------ */

void sequence_init(struct sequence *sequence) {
    *sequence = (struct sequence){.slot = -1};
    atomic_init(&sequence->cancelled, false);
    atomic_init(&sequence->paused, false);
}

/** A full house has room for who has less in it than somebody else. */
static enum status make_room(struct scheduler *scheduler, const struct sequence *newcomer, struct error *err) {
    if (scheduler->alive < scheduler->options.sequences_max + scheduler->options.queue_max) return STATUS_OK;
    struct sequence *last = queue_yielding(&scheduler->queue, newcomer->tenant_key);
    if (last == NULL) {
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "the queue is full: %d run and %d wait",
                         scheduler->alive - scheduler->queue.waiting, scheduler->queue.waiting);
    }
    scheduler_finish(scheduler, last, FINISH_REFUSED, "the queue is full, and a tenant that has less in it came");
    return STATUS_OK;
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
    if (sequence_width(sequence) > scheduler->options.sequences_max ||
        sequence_width(sequence) > scheduler->options.step_tokens_max) {
        return error_set(err, STATUS_OUT_OF_RANGE, "a beam search of width %d; %d sequences run at a time, in %d rows",
                         sequence_width(sequence), scheduler->options.sequences_max,
                         scheduler->options.step_tokens_max);
    }
    if (sequence->max_tokens > 0) TRY(make_room(scheduler, sequence, err));
    sequence->token_count = sequence->prompt_count;
    sequence->cached_tokens = 0;
    sequence->computed = sequence->recorded = sequence->block_count = 0;
    sequence->slot = -1;
    sequence->was_admitted = false;
    sequence->forced = 0;
    sequence->leader = 0;
    sequence->overtaken = 0;
    sequence->lent_due = INT64_MAX;
    sequence->arrived_ns = scheduler_now(scheduler);
    struct kv_owner owner = {.salt = sequence->salt, .salt_bytes = sequence->salt_bytes, .adapter = sequence->adapter};
    sequence->root = kv_prefix_root(scheduler->options.cache, &owner);
    draft_record_init(&sequence->drafts);
    if (sequence->max_tokens == 0) {
        sequence->owner->report(sequence, FINISH_LENGTH, NULL);
        return STATUS_OK;
    }
    if (scheduler->alive++ == 0) scheduler->busy_ns = sequence->arrived_ns;
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

void scheduler_run(struct scheduler *scheduler, struct sequence *sequence, int slot, int32_t *blocks) {
    sequence->slot = slot;
    sequence->blocks = blocks;
    scheduler->running[scheduler->running_count++] = sequence;
}

void scheduler_stop(struct scheduler *scheduler, struct sequence *sequence) {
    int at = 0;
    while (scheduler->running[at] != sequence) at++;
    memmove(scheduler->running + at, scheduler->running + at + 1,
            (size_t)(scheduler->running_count - at - 1) * sizeof *scheduler->running);
    scheduler->running_count--;
    if (scheduler->turn > at) scheduler->turn--;
    sequence->blocks = NULL;
    sequence->slot = -1;
}

void scheduler_release_blocks(struct scheduler *scheduler, struct sequence *sequence) {
    sequence->tenant->blocks -= sequence->block_count;
    /* From the end, so that the ends of prefixes are forgotten before their beginnings. */
    while (sequence->block_count > 0)
        kv_cache_unref(scheduler->options.cache, sequence->blocks[--sequence->block_count]);
    sequence->recorded = 0;
}

static void stop_one(struct scheduler *scheduler, struct sequence *sequence) {
    scheduler_release_blocks(scheduler, sequence);
    sequence->computed = 0;
    sequence->forced = 0;
    scheduler_stop(scheduler, sequence);
}

void scheduler_stop_running(struct scheduler *scheduler, struct sequence *sequence) {
    const struct beam_search *beams = sequence->beams;
    struct sequence *leader = sequence_leader(sequence);
    for (int i = beams != NULL ? beams->branch_count - 1 : 0; i > 0; i--) stop_one(scheduler, beams->branches[i]);
    scheduler->free_slots[scheduler->free_slot_count++] = leader->slot;
    leader->tenant->running--;
    stop_one(scheduler, leader);
}

/** Ends tell how fast others get their turn - time in which nobody was there tells nothing -, and how much of what they may take sequences
 *  really take. */
static void learn_from_end(struct scheduler *scheduler) {
    int64_t now = scheduler_now(scheduler), since = scheduler->ended_ns;
    if (since < scheduler->busy_ns) since = scheduler->busy_ns;
    double gap = (double)(now - since);
    scheduler->end_gap_ns += scheduler->end_gap_ns > 0 ? END_GAP_LEARNING * (gap - scheduler->end_gap_ns) : gap;
    scheduler->ended_ns = now;
    scheduler->growth *= GROWTH_FALL;
    if (scheduler->growth < GROWTH_MIN) scheduler->growth = GROWTH_MIN;
}

void scheduler_finish(struct scheduler *scheduler, struct sequence *sequence, enum finish_reason reason,
                      const char *error) {
    if (sequence->slot < 0) {
        queue_remove(&scheduler->queue, sequence);
    } else {
        scheduler_stop_running(scheduler, sequence);
        learn_from_end(scheduler);
    }
    queue_forget(&scheduler->queue, sequence);
    scheduler->alive--;
    sequence->owner->report(sequence, reason, error);
}

static void sweep_cancelled(struct scheduler *scheduler) {
    if (atomic_exchange(&scheduler->cancels, 0) == 0) return;
    for (int i = scheduler->running_count - 1; i >= 0; i--) { /* a search takes several out at once */
        if (i < scheduler->running_count && atomic_load(&scheduler->running[i]->cancelled))
            scheduler_finish(scheduler, scheduler->running[i], FINISH_CANCELLED, NULL);
    }
    for (struct sequence *sequence = queue_first(&scheduler->queue), *next; sequence != NULL; sequence = next) {
        next = queue_next(&scheduler->queue, sequence);
        if (atomic_load(&sequence->cancelled)) scheduler_finish(scheduler, sequence, FINISH_CANCELLED, NULL);
    }
}

void scheduler_cancel_all(struct scheduler *scheduler) {
    while (scheduler->running_count > 0)
        scheduler_finish(scheduler, sequence_leader(scheduler->running[scheduler->running_count - 1]), FINISH_CANCELLED,
                         NULL);
    for (struct sequence *sequence; (sequence = queue_first(&scheduler->queue)) != NULL;)
        scheduler_finish(scheduler, sequence, FINISH_CANCELLED, NULL);
}

/* ---- the step ------------------------------------------------------------------------------------------------------ */

/** Is so much of the running step of no use any more that it had better begin anew? Not when a decode among it goes on - such a step is short -
 *  and never twice in a row: others who cancel must not keep anybody from its tokens. Called inside the forward pass. */
static bool abandoned(void *context) {
    const struct scheduler *scheduler = context;
    if (scheduler->gave_up || atomic_load_explicit(&scheduler->cancels, memory_order_relaxed) == 0) return false;
    int64_t useless = 0;
    for (int64_t i = 0; i < scheduler->batch.sequence_count; i++) {
        struct sequence *sequence = scheduler->planned[i];
        if (atomic_load(&sequence_leader(sequence)->cancelled))
            useless += scheduler->kv_sequences[i].row_count;
        else if (sequence_decodes(sequence))
            return false;
    }
    return useless * ABANDON_SHARE >= scheduler->batch.rows;
}

/** Tell the owners whose sequences will be drawn for, so that they can use the time of the forward pass. */
static void foresee_draws(const struct scheduler *scheduler) {
    for (int64_t i = 0; i < scheduler->batch.sequence_count; i++) {
        struct sequence *sequence = scheduler->planned[i];
        if (sequence->beams != NULL || sequence->owner->foresee == NULL) continue;
        int64_t rows = scheduler->kv_sequences[i].row_count - sequence->draft_count;
        if (sequence->computed + rows == sequence->token_count)
            sequence->owner->foresee(sequence, sequence_limit(sequence) - sequence->token_count);
    }
}

static enum status run_batch(struct scheduler *scheduler, struct error *err) {
    int64_t began = scheduler_now(scheduler);
    foresee_draws(scheduler);
    scheduler->batch.abandoned = abandoned;
    scheduler->batch.abandoned_context = scheduler;
    enum status status = scheduler->options.forward(scheduler->options.forward_context, &scheduler->batch, err);
    scheduler->gave_up = status == STATUS_CANCELLED;
    if (status == STATUS_OK) {
        cost_model_learn(&scheduler->cost, &scheduler->shape, scheduler_now(scheduler) - began);
        scheduler->stats.steps++;
    }
    return status;
}

/** The step was given up: its rows will be computed again, and are charged then. */
static void refund(struct scheduler *scheduler) {
    for (int64_t i = 0; i < scheduler->batch.sequence_count; i++) {
        const struct sequence *sequence = scheduler->planned[i];
        int64_t rows = scheduler->kv_sequences[i].row_count - sequence->draft_count;
        sequence->tenant->served -= sequence->chunk > 0 ? (double)sequence->chunk : sequence_decode_charge(rows);
    }
}

static void fail_batch(struct scheduler *scheduler, const char *message) {
    for (int64_t i = 0; i < scheduler->batch.sequence_count; i++) {
        /* The branches of a search stand side by side, and end with the first. */
        struct sequence *leader = sequence_leader(scheduler->planned[i]);
        for (const struct beam_search *beams = leader->beams;
             i + 1 < scheduler->batch.sequence_count && beams != NULL && scheduler->planned[i + 1]->beams == beams;)
            i++;
        scheduler_finish(scheduler, leader, FINISH_ERROR, message);
    }
}

int64_t scheduler_step(struct scheduler *scheduler) {
    sweep_cancelled(scheduler);
    scheduler->memory_ran_out = false;
    for (bool changed = true; changed;) {
        uint64_t preemptions = scheduler->stats.preemptions;
        int alive = scheduler->alive;
        scheduler_admit(scheduler);
        scheduler_plan(scheduler);
        /* Who lost its place may have left nobody who can go on: then others get theirs in the same step. */
        changed =
            scheduler->batch.rows == 0 && (scheduler->stats.preemptions != preemptions || scheduler->alive != alive);
    }
    if (scheduler->memory_ran_out) {
        scheduler->growth += GROWTH_RISE;
        if (scheduler->growth > 1) scheduler->growth = 1;
    }
    if (scheduler->batch.rows == 0) return 0;
    struct error err = {0};
    enum status status = run_batch(scheduler, &err);
    if (status == STATUS_OK)
        scheduler_take_results(scheduler);
    else if (status == STATUS_CANCELLED) /* who cancelled leaves at the next step, the others go on */
        refund(scheduler);
    else
        fail_batch(scheduler, err.message);
    return scheduler->batch.rows;
}

/* ---- calibration --------------------------------------------------------------------------------------------------- */

/** A step of `sequences` sequences with `rows` rows each from position `first` on, in blocks of its own. Their tokens mean nothing. */
static void calibrate_step(struct scheduler *scheduler, int sequences, int64_t first, int64_t rows) {
    struct model_batch batch = {.ids = scheduler->ids,
                                .positions = scheduler->positions,
                                .sequences = scheduler->kv_sequences,
                                .logit_rows = scheduler->logit_rows,
                                .logits = scheduler->logits};
    struct kv_cache *cache = scheduler->options.cache;
    struct step_shape shape = {0};
    int64_t blocks = kv_cache_blocks_for(first + rows), taken = 0;
    for (int s = 0; s < sequences; s++) {
        int32_t *table = scheduler->block_tables + (size_t)s * (size_t)scheduler->table_blocks;
        for (int64_t b = 0; b < blocks; b++, taken++) table[b] = kv_cache_take(cache);
        scheduler->kv_sequences[s] =
            (struct kv_sequence){.first_row = batch.rows, .row_count = rows, .context = first + rows, .blocks = table};
        for (int64_t i = 0; i < rows; i++) {
            scheduler->ids[batch.rows] = 0;
            scheduler->positions[batch.rows++] = (int32_t)(first + i);
        }
        if (rows == 1) scheduler->logit_rows[batch.logit_count++] = (int32_t)(batch.rows - 1);
    }
    batch.sequence_count = sequences;
    *(rows == 1 ? &shape.rows : &shape.prompt_rows) = batch.rows;
    *(rows == 1 ? &shape.positions : &shape.prompt_positions) = batch.rows * (first + rows);
    struct error err = {0};
    int64_t began = scheduler_now(scheduler);
    if (scheduler->options.forward(scheduler->options.forward_context, &batch, &err) == STATUS_OK)
        cost_model_learn(&scheduler->cost, &shape, scheduler_now(scheduler) - began);
    for (int s = 0; s < sequences; s++) {
        for (int64_t b = 0; b < blocks; b++)
            kv_cache_unref(cache, scheduler->block_tables[(size_t)s * (size_t)scheduler->table_blocks + (size_t)b]);
    }
}

void scheduler_calibrate(struct scheduler *scheduler) {
    /* The first touches memory that no later step touches first: its time is not taken to heart for long. */
    static const struct {
        int sequences;
        int64_t first, rows;
    } steps[] = {{1, 0, 1}, {1, 0, 1}, {1, 0, 16}, {4, 0, 1}, {1, 0, 1}, {1, 16, 32}, {2, 200, 1}};
    int64_t began = scheduler_now(scheduler);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        bool fits = steps[i].sequences <= scheduler->options.sequences_max &&
                    steps[i].rows * steps[i].sequences <= scheduler->options.step_tokens_max &&
                    steps[i].first + steps[i].rows <= scheduler->options.context_tokens &&
                    steps[i].sequences * kv_cache_blocks_for(steps[i].first + steps[i].rows) <=
                        kv_cache_free(scheduler->options.cache);
        if (fits) calibrate_step(scheduler, steps[i].sequences, steps[i].first, steps[i].rows);
        if (scheduler_now(scheduler) - began > SCHEDULER_CALIBRATION_NS) break;
    }
}

void scheduler_stats(const struct scheduler *scheduler, struct scheduler_stats *out) {
    *out = scheduler->stats;
    out->running = scheduler->alive - scheduler->queue.waiting;
    out->waiting = scheduler->queue.waiting;
    out->end_gap_ns = (int64_t)scheduler->end_gap_ns;
}
