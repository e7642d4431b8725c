/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What the step's logits give: samples, guesses that were right, and what blocks hold now. */
#include "engine/scheduler/scheduler_internal.h"

void scheduler_record(struct scheduler *scheduler, struct sequence *sequence) {
    while (sequence->recorded < sequence->computed) {
        int64_t block = sequence->recorded / KV_BLOCK_TOKENS, first = block * KV_BLOCK_TOKENS,
                count = sequence->computed - first;
        if (count > KV_BLOCK_TOKENS) count = KV_BLOCK_TOKENS;
        sequence->prefix = kv_cache_record(scheduler->options.cache, sequence->blocks[block], sequence->prefix,
                                           sequence->tokens + first, count);
        sequence->recorded = first + count;
    }
}

/** Take in the token that follows the last known one. Returns why the sequence ends, or FINISH_NONE. */
static enum finish_reason take_token(struct scheduler *scheduler, struct sequence *sequence, int32_t id,
                                     const struct logprob_entry *logprobs, const char **error) {
    sequence->tokens[sequence->token_count++] = id;
    scheduler->stats.completion_tokens++;
    switch (sequence->owner->accept(sequence, id, logprobs)) {
    case VERDICT_STOP:
        return FINISH_STOP;
    case VERDICT_ERROR:
        *error = "the text of a token could not be kept";
        return FINISH_ERROR;
    case VERDICT_GO_ON:
        break;
    }
    if (sequence->token_count == scheduler->options.context_tokens) return FINISH_MODEL_LENGTH;
    return sequence->token_count == sequence_limit(sequence) ? FINISH_LENGTH : FINISH_NONE;
}

/** What must come behind the token that was drawn. */
static enum finish_reason take_forced(struct scheduler *scheduler, struct sequence *sequence, const char **error) {
    int32_t ids[SCHEDULER_FORCED_MAX];
    int64_t left = sequence_limit(sequence) - sequence->token_count;
    int most = left < SCHEDULER_FORCED_MAX ? (int)left : SCHEDULER_FORCED_MAX;
    if (sequence->owner->force == NULL) return FINISH_NONE;
    int count = sequence->owner->force(sequence, most, ids);
    enum finish_reason reason = FINISH_NONE;
    for (int i = 0; i < count && reason == FINISH_NONE; i++) {
        reason = take_token(scheduler, sequence, ids[i], NULL, error);
        scheduler->stats.forced_tokens++;
    }
    return reason;
}

/** Sample the token that follows the last known one, and take what must come behind it. Returns why the sequence ends, or FINISH_NONE. */
static enum finish_reason sample(struct scheduler *scheduler, struct sequence *sequence, float *logits,
                                 const char **error) {
    struct logprob_entry logprobs;
    const struct sampling *sampling = &sequence->sampling;
    struct token_history history = {.tokens = sequence->tokens,
                                    .prompt_count = (size_t)sequence->prompt_count,
                                    .count = (size_t)sequence->token_count};
    if (sequence->owner->constrain != NULL) {
        int64_t left = sequence_limit(sequence) - sequence->token_count;
        enum verdict verdict = sequence->owner->constrain(sequence, NULL, left, &history.mask, error);
        if (verdict != VERDICT_GO_ON) return verdict == VERDICT_STOP ? FINISH_STOP : FINISH_ERROR;
    }
    int32_t id = sampler_draw(scheduler->sampler, sampling, logits, &history, &logprobs);
    if (id == SAMPLER_NO_TOKEN) {
        *error = "the model gave no usable logits";
        return FINISH_ERROR;
    }
    enum finish_reason reason =
        take_token(scheduler, sequence, id, sampling->top_logprobs >= 0 ? &logprobs : NULL, error);
    return reason == FINISH_NONE ? take_forced(scheduler, sequence, error) : reason;
}

/** Of the tokens that are known and not computed, those that were guessed are. Returns how many of `guesses` were right by now. */
static int match_guesses(struct sequence *sequence, const int32_t *guesses, int guessed, int right) {
    while (right < guessed && sequence->computed < sequence->token_count &&
           guesses[right] == sequence->tokens[sequence->computed]) {
        right++;
        sequence->computed++;
    }
    return right;
}

/** Blocks that were taken for guesses that were wrong are others' again. */
static void give_back_blocks(struct scheduler *scheduler, struct sequence *sequence) {
    while (sequence->block_count > kv_cache_blocks_for(sequence->token_count)) {
        kv_cache_unref(scheduler->options.cache, sequence->blocks[--sequence->block_count]);
        sequence->tenant->blocks--;
    }
}

/** Samples of one sequence: one, and one more behind all that was guessed right. `guesses` are the ids of its rows behind the first sample. */
static void take_samples(struct scheduler *scheduler, struct sequence *sequence, float *logits,
                         const int32_t *guesses) {
    int guessed = sequence->draft_count, right = 0;
    const char *error = NULL;
    enum finish_reason reason = FINISH_NONE;
    do {
        reason = sample(scheduler, sequence, logits + (int64_t)right * scheduler->options.vocabulary, &error);
        if (reason != FINISH_NONE) break;
        right = match_guesses(sequence, guesses, guessed, right);
    } while (sequence->computed == sequence->token_count);
    sequence->forced = (int)sequence_missing(sequence) - 1;
    scheduler->stats.draft_tokens += (uint64_t)guessed;
    scheduler->stats.draft_accepted += (uint64_t)right;
    sequence->tenant->served += SCHEDULER_DECODE_CHARGE * right; /* the first token was charged with its row */
    scheduler_record(scheduler, sequence);
    if (reason != FINISH_NONE) {
        scheduler_finish(scheduler, sequence, reason, error);
        return;
    }
    if (guessed > 0) draft_learn(&sequence->drafts, guessed, right);
    give_back_blocks(scheduler, sequence);
    sequence->owner->report(sequence, FINISH_NONE, NULL);
}

/** A branch's logits wait for those of the others, which come right behind it. */
static void take_branch(struct scheduler *scheduler, struct sequence *branch, float *logits) {
    struct beam_search *beams = branch->beams;
    int last = beams->branch_count > 0 ? beams->branch_count - 1 : 0, at = 0;
    scheduler_record(scheduler, branch);
    while (beams->branches[at] != branch) at++;
    beams->logits[at] = logits;
    if (at == last) beam_advance(scheduler, beams);
}

void scheduler_take_results(struct scheduler *scheduler) {
    const struct model_batch *batch = &scheduler->batch;
    float *logits = scheduler->logits;
    for (int64_t i = 0; i < batch->sequence_count; i++) {
        struct sequence *sequence = scheduler->planned[i];
        const struct kv_sequence *part = &batch->sequences[i];
        int drafts = sequence->draft_count;
        int64_t rows = part->row_count - drafts, prompt_left = sequence->prompt_count - sequence->computed;
        if (prompt_left > 0) scheduler->stats.prompt_tokens += (uint64_t)(rows < prompt_left ? rows : prompt_left);
        sequence->computed += rows;
        if (sequence->computed < sequence->token_count) {
            scheduler_record(scheduler, sequence);
            continue;
        }
        float *mine = logits;
        logits += (int64_t)(drafts + 1) * scheduler->options.vocabulary;
        if (sequence->beams != NULL) {
            take_branch(scheduler, sequence, mine);
            continue;
        }
        take_samples(scheduler, sequence, mine, scheduler->ids + part->first_row + rows);
    }
}
