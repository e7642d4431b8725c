/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Which rows the step computes: decodes with their guesses, then prompts for as long as the step may take. */
#include "engine/scheduler/scheduler_internal.h"

enum {
    CHUNK_MIN = 4,      /* rows that a prompt gets however long the step is: it must go on */
    CHUNK_QUANTUM = 64, /* rows of one tenant's turn, when several wait */
    STEP_ROWS_ANY = 1 << 30
};
/* A step without decodes keeps nobody waiting, but those that arrive meanwhile and those who cancel. Weights that take long to read are to be
 * read for many rows: it may take so many decodes' time, if that is more. */
static const int64_t STEP_ALONE_NS = 50 * (int64_t)NS_PER_MS;
enum { STEP_ALONE_DECODES = 6 };

static bool is_ready(const struct scheduler *scheduler, struct sequence *sequence) {
    return sequence->planned != scheduler->step && sequence->origin == NULL && !sequence_is_paused(sequence);
}

/** Does it miss no more than what one draw gave, and may have it? A branch only together with all others of its search. */
static bool is_decode(const struct scheduler *scheduler, struct sequence *sequence) {
    if (!sequence_decodes(sequence) || !is_ready(scheduler, sequence)) return false;
    return !sequence_is_branch(sequence) || beams_are_ready(sequence->beams);
}

/** Blocks for positions [0, tokens), as far as there are any. */
static bool grow(struct scheduler *scheduler, struct sequence *sequence, int64_t tokens) {
    while (sequence->block_count < kv_cache_blocks_for(tokens)) {
        int32_t block = kv_cache_take(scheduler->options.cache);
        if (block < 0) return false;
        sequence->blocks[sequence->block_count++] = block;
        sequence->tenant->blocks++;
    }
    return true;
}

/** Sum of the contexts that `count` rows from position `first` on look back on. */
static int64_t positions_of(int64_t first, int64_t count) {
    return count * first + count * (count + 1) / 2;
}

/** The step will look at `count` more decodes or guesses from position `first` on. */
static void count_rows(struct scheduler *scheduler, int64_t first, int64_t count) {
    scheduler->shape.rows += count;
    scheduler->shape.positions += positions_of(first, count);
}

static void count_prompt_rows(struct scheduler *scheduler, int64_t first, int64_t count) {
    scheduler->shape.prompt_rows += count;
    scheduler->shape.prompt_positions += positions_of(first, count);
}

/** Give `sequence` rows for its next `count` tokens and for `drafts` guesses behind them; its blocks are there, the rows are counted. */
static void plan_rows(struct scheduler *scheduler, struct sequence *sequence, int64_t count, const int32_t *guesses,
                      int drafts) {
    struct model_batch *batch = &scheduler->batch;
    int64_t first = sequence->computed, context = first + count;
    scheduler->kv_sequences[batch->sequence_count] = (struct kv_sequence){
        .first_row = batch->rows, .row_count = count + drafts, .context = context + drafts, .blocks = sequence->blocks};
    scheduler->planned[batch->sequence_count++] = sequence;
    for (int64_t i = 0; i < count + drafts; i++) {
        scheduler->ids[batch->rows] = i < count ? sequence->tokens[first + i] : guesses[i - count];
        scheduler->positions[batch->rows++] = (int32_t)(first + i);
    }
    if (context == sequence->token_count) {
        for (int64_t i = drafts; i >= 0; i--)
            scheduler->logit_rows[batch->logit_count++] = (int32_t)(batch->rows - 1 - i);
    }
    sequence->planned = scheduler->step;
    sequence->draft_count = drafts;
    scheduler->draft_count += drafts;
}

/* ---- decodes ------------------------------------------------------------------------------------------------------- */

/** The search whose branches are all that run; NULL. */
static struct sequence *lonely_search(const struct scheduler *scheduler) {
    const struct beam_search *beams = scheduler->running_count > 0 ? scheduler->running[0]->beams : NULL;
    for (int i = 1; i < scheduler->running_count; i++) {
        if (scheduler->running[i]->beams != beams) return NULL;
    }
    return beams != NULL ? beams->leader : NULL;
}

/** Memory did not last: whoever weighs least gives up its own. The pool holds one whole context, but maybe not a whole search. */
static bool take_back(struct scheduler *scheduler) {
    scheduler->memory_ran_out = true;
    struct sequence *search = lonely_search(scheduler);
    if (search != NULL) {
        scheduler_finish(scheduler, search, FINISH_ERROR,
                         "the branches of the beam search need more memory than there is");
        return true;
    }
    return scheduler_preempt(scheduler, NULL);
}

/** The block that its next position lies in is nobody else's: branches that part copy it. */
static bool own_last_block(struct scheduler *scheduler, struct sequence *sequence) {
    struct kv_cache *cache = scheduler->options.cache;
    int64_t at = sequence->computed / KV_BLOCK_TOKENS;
    if (at >= sequence->block_count || kv_cache_references(cache, sequence->blocks[at]) == 1) return true;
    int32_t own = kv_cache_take(cache);
    if (own < 0) return false;
    kv_cache_copy_block(cache, sequence->blocks[at], own);
    kv_cache_unref(cache, sequence->blocks[at]);
    sequence->blocks[at] = own;
    if (sequence->recorded > at * KV_BLOCK_TOKENS) sequence->recorded = at * KV_BLOCK_TOKENS;
    return true;
}

/** Every decode gets the block that it needs, at the cost of who weighs least. */
static void secure_decodes(struct scheduler *scheduler) {
    for (int i = 0; i < scheduler->running_count;) {
        struct sequence *sequence = scheduler->running[i];
        if (!is_decode(scheduler, sequence) ||
            (own_last_block(scheduler, sequence) && grow(scheduler, sequence, sequence->token_count))) {
            i++;
            continue;
        }
        take_back(scheduler);
        i = 0; /* whoever went, all are looked at again; those that have their blocks cost nothing */
    }
}

/** Guesses for a decode: as many as pay, as its limit, its blocks and the step allow, in which `to_come` more decodes need rows. */
static int draft(struct scheduler *scheduler, struct sequence *sequence, double token_ns, int to_come,
                 int32_t *guesses) {
    int64_t left = sequence_limit(sequence) - sequence->token_count - 1,
            rows = scheduler->options.step_tokens_max - scheduler->batch.rows - sequence_missing(sequence) - to_come;
    int most = scheduler->options.drafts_max - scheduler->draft_count,
        length = draft_length(&sequence->drafts, cost_model_row(&scheduler->cost, sequence->computed), token_ns);
    if (most > length) most = length;
    if (most > left) most = (int)left;
    if (most > rows) most = (int)rows;
    if (most < 1) return 0;
    most = draft_lookup(sequence->tokens, sequence->token_count, most, guesses);
    draft_looked(&sequence->drafts, sequence->token_count, most > 0);
    if (most > 0 && sequence->owner->admit != NULL) most = sequence->owner->admit(sequence, guesses, most);
    while (most > 0 && !grow(scheduler, sequence, sequence->token_count + most)) most--;
    return most;
}

/** Count the decodes that are ready and those of searches that have their rows, and expect what they will take alone. *out_rows: theirs. */
static int expect_decodes(struct scheduler *scheduler, int *out_rows) {
    struct step_shape shape = scheduler->shape;
    int decodes = (int)shape.rows;
    for (int i = 0; i < scheduler->running_count; i++) {
        struct sequence *sequence = scheduler->running[i];
        if (sequence_is_branch(sequence) || !is_decode(scheduler, sequence)) continue;
        int64_t rows = sequence_missing(sequence);
        decodes++;
        shape.rows += rows;
        shape.positions += positions_of(sequence->computed, rows);
    }
    scheduler->decode_ns = shape.rows > 0 ? cost_model_predict(&scheduler->cost, &shape) : 0;
    *out_rows = (int)shape.rows;
    return decodes;
}

/** Sequences that decode and are not searched with, in turn, up to `budget` rows; when a token's time is given, with guesses, which
 *  leave all decodes the `wanted` rows. The next step begins behind the last of them. */
static void plan_decodes(struct scheduler *scheduler, int64_t budget, int wanted, double token_ns) {
    int count = scheduler->running_count, first = scheduler->turn < count ? scheduler->turn : 0;
    for (int i = 0; i < count && scheduler->batch.rows < budget; i++) {
        int at = (first + i) % count;
        struct sequence *sequence = scheduler->running[at];
        if (sequence_is_branch(sequence) || !is_decode(scheduler, sequence)) continue;
        scheduler->turn = at + 1;
        int32_t guesses[DRAFT_TOKENS_MAX];
        int64_t rows = sequence_missing(sequence), left = budget - scheduler->batch.rows;
        bool whole = rows <= left, guess = token_ns > 0 && sequence->beams == NULL && whole;
        if (!whole) rows = left;
        int to_come = wanted - (int)(scheduler->batch.rows - scheduler->draft_count + rows),
            drafts = guess ? draft(scheduler, sequence, token_ns, to_come, guesses) : 0;
        count_rows(scheduler, sequence->computed, rows + drafts);
        plan_rows(scheduler, sequence, rows, guesses, drafts);
        sequence->tenant->served += sequence_decode_charge(rows);
    }
}

/* ---- searches ------------------------------------------------------------------------------------------------------ */

/** The search whose turn it is: of the tenant whose searches had theirs longest ago, the one that had. NULL when all had it in this step. */
static struct beam_search *next_search(const struct scheduler *scheduler) {
    struct sequence *best = NULL;
    for (int i = 0; i < scheduler->running_count; i++) {
        struct sequence *sequence = scheduler->running[i];
        if (!sequence_is_branch(sequence) || !sequence_leads(sequence) || sequence->beams->turn == scheduler->step ||
            sequence_is_paused(sequence))
            continue;
        uint64_t turn = sequence->tenant->search_turn;
        if (best == NULL || turn < best->tenant->search_turn ||
            (turn == best->tenant->search_turn && sequence->beams->turn < best->beams->turn))
            best = sequence;
    }
    return best != NULL ? best->beams : NULL;
}

/** A row for every branch. */
static void plan_branches(struct scheduler *scheduler, struct beam_search *beams) {
    for (int i = 0; i < beams->branch_count; i++) {
        struct sequence *branch = beams->branches[i];
        count_rows(scheduler, branch->computed, 1);
        plan_rows(scheduler, branch, 1, NULL, 0);
        branch->tenant->served += SCHEDULER_DECODE_CHARGE;
    }
}

/** Searches in turn, each with all its branches or not at all, up to `budget` rows and as many branches as may be beside others: those of one
 *  search always may. One that starts over has its rows as a prompt. */
static void plan_searches(struct scheduler *scheduler, int64_t budget) {
    for (struct beam_search *beams; (beams = next_search(scheduler)) != NULL;) {
        bool advances = beams_are_ready(beams);
        if (beams->branch_count - 1 > scheduler->branches_beside) return;
        if (advances && scheduler->batch.rows + beams->branch_count > budget) {
            scheduler->search_left_out = true;
            return;
        }
        scheduler->branches_beside -= beams->branch_count - 1;
        beams->turn = beams->leader->tenant->search_turn = scheduler->step;
        if (advances) plan_branches(scheduler, beams);
    }
}

/* ---- prompts ------------------------------------------------------------------------------------------------------- */

/** Tokens that it may be granted rows for, beyond those it was. A branch that starts over waits for the others before its last. */
static int64_t wanted_rows(const struct sequence *sequence) {
    bool branch = sequence_is_branch(sequence);
    return sequence_missing(sequence) < 2 || sequence_decodes(sequence)
               ? 0
               : sequence_missing(sequence) - sequence->chunk - (branch ? 1 : 0);
}

/** Has it a prompt to go on with? A search that starts over needs its turn, too. */
static bool is_prompt(const struct scheduler *scheduler, struct sequence *sequence) {
    return wanted_rows(sequence) > 0 && is_ready(scheduler, sequence);
}

static bool has_prompts(const struct scheduler *scheduler) {
    for (int i = 0; i < scheduler->running_count; i++) {
        if (is_prompt(scheduler, scheduler->running[i])) return true;
    }
    return false;
}

static bool wants_rows(const struct scheduler *scheduler, struct sequence *sequence) {
    bool has_turn = !sequence_is_branch(sequence) || sequence->beams->turn == scheduler->step;
    return has_turn && is_prompt(scheduler, sequence);
}

/** The prompt that goes on: of the least served tenant, who is due first. NULL when none waits. */
static struct sequence *next_prompt(const struct scheduler *scheduler) {
    struct sequence *best = NULL;
    for (int i = 0; i < scheduler->running_count; i++) {
        struct sequence *sequence = scheduler->running[i];
        if (!wants_rows(scheduler, sequence)) continue;
        bool better = best == NULL || sequence->tenant->served < best->tenant->served ||
                      (sequence->tenant->served == best->tenant->served && sequence_due(sequence) < sequence_due(best));
        if (better) best = sequence;
    }
    return best;
}

static bool several_tenants(const struct scheduler *scheduler) {
    const struct tenant *first = NULL;
    for (int i = 0; i < scheduler->running_count; i++) {
        struct sequence *sequence = scheduler->running[i];
        if (!wants_rows(scheduler, sequence)) continue;
        if (first != NULL && sequence->tenant != first) return true;
        first = sequence->tenant;
    }
    return false;
}

static bool has_decodes(const struct scheduler *scheduler, const struct tenant *tenant) {
    for (int64_t i = 0; i < scheduler->batch.sequence_count; i++) {
        if (scheduler->planned[i]->tenant == tenant) return true;
    }
    return false;
}

/** Time that this step may still take for the sake of `prompt`. */
static double time_left(const struct scheduler *scheduler, const struct sequence *prompt) {
    double allowed = (double)STEP_ALONE_NS,
           decode_ns = cost_model_predict(&scheduler->cost, &(struct step_shape){.rows = 1});
    if (allowed < STEP_ALONE_DECODES * decode_ns) allowed = STEP_ALONE_DECODES * decode_ns;
    if (scheduler->options.step_ns > 0)
        allowed = (double)scheduler->options.step_ns;
    else if (scheduler->decode_ns > 0)
        allowed = scheduler->decode_ns *
                  (has_decodes(scheduler, prompt->tenant) ? SCHEDULER_STRETCH : SCHEDULER_STRETCH_NEWCOMER);
    return allowed - cost_model_predict(&scheduler->cost, &scheduler->shape);
}

/** How many of its `missing` rows from position `first` on fit into `left_ns`. */
static int64_t affordable_rows(const struct scheduler *scheduler, int64_t first, int64_t missing, double left_ns) {
    int64_t rows = missing;
    for (int round = 0; round < 3; round++) { /* the price of a row grows with the context: settle on it */
        double row_ns = cost_model_prompt_row(&scheduler->cost, first + rows / 2);
        if (row_ns <= 0) return missing;
        double fit = left_ns / row_ns;
        rows = fit < 0 ? 0 : fit < (double)missing ? (int64_t)fit : missing;
    }
    return rows;
}

/** Grant `prompt` rows in `left` rows; at least a few when nobody else has any. Returns how many; 0: no time, or no memory. */
static int64_t grant(struct scheduler *scheduler, struct sequence *prompt, int64_t left, int64_t quantum, bool first) {
    int64_t position = prompt->computed + prompt->chunk, missing = wanted_rows(prompt),
            rows = affordable_rows(scheduler, position, missing, time_left(scheduler, prompt));
    if (first && rows < CHUNK_MIN) rows = missing < CHUNK_MIN ? missing : CHUNK_MIN;
    if (rows > left) rows = left;
    if (rows > quantum) rows = quantum;
    if (!grow(scheduler, prompt, position + rows)) rows = prompt->block_count * KV_BLOCK_TOKENS - position;
    if (rows < 1) return 0;
    if (first) queue_serve(&scheduler->queue, prompt->tenant);
    prompt->chunk += rows;
    prompt->tenant->served += (double)rows;
    count_prompt_rows(scheduler, position, rows);
    return rows;
}

static void plan_prompts(struct scheduler *scheduler, int64_t budget) {
    int64_t left = budget - scheduler->batch.rows, granted = 0;
    const struct tenant *complete =
        NULL; /* whose prompt ends in this step: its first word does not wait for others' prompts */
    for (struct sequence *prompt; granted < left && (prompt = next_prompt(scheduler)) != NULL;) {
        if (complete != NULL && prompt->tenant != complete) break;
        int64_t rows = grant(scheduler, prompt, left - granted,
                             several_tenants(scheduler) ? CHUNK_QUANTUM : STEP_ROWS_ANY, granted == 0);
        granted += rows;
        if (rows > 0 && wanted_rows(prompt) == 0) complete = prompt->tenant;
        if (rows > 0) continue;
        if (granted > 0) break;
        prompt->planned = scheduler->step; /* no memory: not looked at again in this step */
        prompt->draft_count = 0;
    }
    for (int i = 0; i < scheduler->running_count; i++) {
        struct sequence *sequence = scheduler->running[i];
        if (sequence->chunk > 0) plan_rows(scheduler, sequence, sequence->chunk, NULL, 0);
    }
}

static void begin_batch(struct scheduler *scheduler) {
    scheduler->batch = (struct model_batch){.ids = scheduler->ids,
                                            .positions = scheduler->positions,
                                            .sequences = scheduler->kv_sequences,
                                            .logit_rows = scheduler->logit_rows,
                                            .logits = scheduler->logits};
    scheduler->shape = (struct step_shape){0};
    scheduler->draft_count = 0;
    scheduler->search_left_out = false;
    scheduler->step++;
    for (int i = 0; i < scheduler->running_count; i++) scheduler->running[i]->chunk = 0;
    scheduler->branches_beside =
        scheduler_branches_beside(scheduler->options.sequences_max) + scheduler->free_slot_count;
}

static bool somebody_waits_for_memory(const struct scheduler *scheduler) {
    for (int i = 0; i < scheduler->running_count; i++) {
        struct sequence *sequence = scheduler->running[i];
        if (sequence_missing(sequence) > 0 && !sequence_is_paused(sequence)) return true;
    }
    return false;
}

void scheduler_plan(struct scheduler *scheduler) {
    int64_t budget = scheduler->options.step_tokens_max;
    scheduler->search_first =
        scheduler->search_left_out && !scheduler->search_first; /* every other step is for others */
    for (;;) {
        begin_batch(scheduler);
        secure_decodes(scheduler);
        bool prompts = has_prompts(scheduler);
        /* When decodes alone could fill the step, a quarter of it is kept for prompts. A search that was left out by the last step comes first,
         * and may have those too. Guesses are for when nobody's prompt needs the time. */
        int64_t kept = prompts ? (budget + 3) / 4 : 0;
        int rows;
        expect_decodes(scheduler, &rows);
        plan_searches(scheduler, scheduler->search_first ? budget : budget - kept - rows);
        int decodes = expect_decodes(scheduler, &rows);
        plan_decodes(scheduler, budget - kept, rows, prompts || decodes == 0 ? 0 : scheduler->decode_ns / decodes);
        plan_prompts(scheduler, budget);
        plan_decodes(scheduler, budget, 0, 0); /* what prompts left over */
        plan_searches(scheduler, budget);
        /* Prompts alone, and each waits for blocks that another holds: one must go. */
        if (scheduler->batch.rows > 0 || !somebody_waits_for_memory(scheduler)) return;
        if (!take_back(scheduler)) return;
    }
}
