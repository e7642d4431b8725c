/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Who gets a slot, who waits for whose prompt, and who gives up what it has. */
#include "engine/scheduler/scheduler_internal.h"

enum {
    HOLD_TOKENS_MIN = KV_BLOCK_TOKENS, /* a common beginning shorter than this is not worth waiting for */
    GROWTH_TOKENS_MAX = 4096,          /* more than this is not expected of anybody */
    FAIR_PREEMPTIONS_MAX = 1,          /* in one step, for another tenant's sake */
    OVERTAKEN_MAX = 8                  /* so many of other tenants get in before one that has no room */
};

/* ---- holding back -------------------------------------------------------------------------------------------------- */

static struct sequence *running_with_order(const struct scheduler *scheduler, uint64_t order) {
    for (int i = 0; i < scheduler->running_count; i++) {
        if (scheduler->running[i]->order == order) return scheduler->running[i];
    }
    return NULL;
}

static bool same_root(const struct sequence *a, const struct sequence *b) {
    return a->root.words[0] == b->root.words[0] && a->root.words[1] == b->root.words[1];
}

/** `sequence` waits for `leader`, which therefore must not wait for anybody that `sequence` comes before. */
static void hold(struct sequence *sequence, struct sequence *leader) {
    sequence->leader = leader->order;
    if (sequence_due(sequence) < leader->lent_due) leader->lent_due = sequence_due(sequence);
}

/** How many of the first tokens of `sequence` (the last excepted) are among the first `most` of `other`. */
static int64_t common_tokens(const struct sequence *sequence, const struct sequence *other, int64_t most) {
    int64_t common = 0;
    if (most > sequence->token_count - 1) most = sequence->token_count - 1;
    while (common < most && sequence->tokens[common] == other->tokens[common]) common++;
    return common;
}

/** Must it wait until another has computed the beginning that they share? Remembers whom it waits for. */
static bool is_held(void *context, struct sequence *sequence) {
    const struct scheduler *scheduler = context;
    if (sequence->leader != 0) {
        struct sequence *leader = running_with_order(scheduler, sequence->leader);
        if (leader != NULL && leader->computed < sequence->leader_tokens && !sequence_is_paused(leader)) return true;
        sequence->leader = 0;
    }
    int64_t cached = -1;
    for (int i = 0; i < scheduler->running_count; i++) {
        struct sequence *leader = scheduler->running[i];
        if (leader->computed >= leader->prompt_count || sequence_is_paused(leader) || !same_root(leader, sequence))
            continue;
        int64_t common = common_tokens(sequence, leader, leader->prompt_count);
        if (common < HOLD_TOKENS_MIN || common <= leader->computed) continue;
        if (cached < 0)
            cached =
                kv_cache_peek(scheduler->options.cache, sequence->root, sequence->tokens, sequence->token_count - 1)
                    .tokens;
        if (common - cached < HOLD_TOKENS_MIN) continue;
        hold(sequence, leader);
        sequence->leader_tokens = common;
        return true;
    }
    return false;
}

/* ---- giving up ----------------------------------------------------------------------------------------------------- */

/** Does `a` weigh less than `b`? */
static bool weighs_less(struct sequence *a, struct sequence *b) {
    bool a_paused = sequence_is_paused(a), b_paused = sequence_is_paused(b);
    if (a_paused != b_paused) return a_paused;
    if (a->tenant->blocks != b->tenant->blocks) return a->tenant->blocks > b->tenant->blocks;
    if (sequence_due(a) != sequence_due(b)) return sequence_due(a) > sequence_due(b);
    return a->order > b->order;
}

/** The branches of a search share their beginnings, and will when it starts over: each waits for that one before it, with which it has most
 *  in common, to compute that. So all is computed once, in as many blocks as before. */
static void find_origins(struct beam_search *beams) {
    for (int i = 1; i < beams->branch_count; i++) {
        struct sequence *branch = beams->branches[i];
        branch->leader_tokens = 0;
        for (int j = 0; j < i; j++) {
            int64_t common = common_tokens(branch, beams->branches[j], branch->token_count);
            if (common <= branch->leader_tokens) continue;
            branch->leader_tokens = common;
            branch->origin = beams->branches[j];
        }
    }
}

static void preempt(struct scheduler *scheduler, struct sequence *victim) {
    victim = sequence_leader(victim);
    scheduler_stop_running(scheduler, victim);
    if (victim->beams != NULL) find_origins(victim->beams);
    victim->leader = 0;
    victim->lent_due = INT64_MAX;
    queue_return(&scheduler->queue, victim);
    scheduler->stats.preemptions++;
}

bool scheduler_preempt(struct scheduler *scheduler, const struct tenant *tenant) {
    struct sequence *victim = NULL;
    for (int i = 0; i < scheduler->running_count; i++) {
        struct sequence *candidate = scheduler->running[i];
        if (tenant != NULL && candidate->tenant != tenant) continue;
        if (victim == NULL || weighs_less(candidate, victim)) victim = candidate;
    }
    if (victim != NULL) preempt(scheduler, victim);
    return victim != NULL;
}

/** Whose reader is slow keeps its place only while nobody else wants it. */
static bool preempt_paused(struct scheduler *scheduler) {
    struct sequence *victim = NULL;
    for (int i = 0; i < scheduler->running_count; i++) {
        struct sequence *candidate = scheduler->running[i];
        if (!sequence_is_paused(candidate)) continue;
        if (victim == NULL || weighs_less(candidate, victim)) victim = candidate;
    }
    if (victim != NULL) preempt(scheduler, victim);
    return victim != NULL;
}

/** What of the slots, or of the blocks, a tenant has. */
static int64_t holding(const struct tenant *tenant, bool memory) {
    return memory ? tenant->blocks : tenant->running;
}

/** The tenant with most slots (or blocks) above an equal share, and with more than one sequence. NULL when nobody is above. */
static const struct tenant *furthest_above_share(const struct scheduler *scheduler, bool memory) {
    const struct tenant *most = NULL;
    int64_t all = memory ? kv_cache_block_count(scheduler->options.cache) : scheduler->options.sequences_max,
            share = all / scheduler->queue.tenants;
    for (const struct tenant *tenant = scheduler->queue.active.first; tenant != NULL; tenant = tenant->next) {
        bool above = tenant->running > 1 && holding(tenant, memory) > share;
        if (above && (most == NULL || holding(tenant, memory) > holding(most, memory))) most = tenant;
    }
    return most;
}

/** Blocks for its known tokens and the next one, beyond those that it shares `shared` tokens in. */
static int64_t own_blocks(const struct sequence *sequence, int64_t shared) {
    return kv_cache_blocks_for(sequence->token_count + 1) - shared / KV_BLOCK_TOKENS;
}

/** Blocks that it needs when it gets its place, with those of all branches that it has or will have. */
static int64_t needed_blocks(const struct sequence *sequence) {
    int64_t blocks = own_blocks(sequence, 0);
    const struct beam_search *beams = sequence->beams;
    for (int i = 1; i < sequence_width(sequence); i++)
        blocks +=
            own_blocks(sequence, i < beams->branch_count ? beams->branches[i]->leader_tokens : sequence->token_count);
    return blocks;
}

/** Take a slot (and its memory) from a tenant that has more than its share for one that has less, and will have. */
static bool make_room(struct scheduler *scheduler, const struct sequence *sequence, bool memory) {
    const struct tenant *above = furthest_above_share(scheduler, memory), *tenant = sequence->tenant;
    int64_t wanted = memory ? needed_blocks(sequence) : 1;
    if (above == NULL || above == tenant || holding(tenant, memory) + wanted >= holding(above, memory)) return false;
    return scheduler_preempt(scheduler, above);
}

/* ---- letting in ---------------------------------------------------------------------------------------------------- */

/** Blocks that the sequence, or all branches that it will be, are expected to take beyond what is known. */
static double expected_growth(const struct scheduler *scheduler, const struct sequence *sequence, int branches) {
    int64_t left = sequence_limit(sequence) - sequence->token_count;
    if (left > GROWTH_TOKENS_MAX) left = GROWTH_TOKENS_MAX;
    return left > 0 ? (double)left * scheduler->growth / KV_BLOCK_TOKENS * branches : 0;
}

/** Blocks that one that runs is expected to take beyond those it has. */
static double expected_more(const struct scheduler *scheduler, const struct sequence *sequence) {
    bool branch = sequence_is_branch(sequence);
    int64_t known = sequence->origin != NULL ? own_blocks(sequence, sequence->leader_tokens)
                    : branch                 ? own_blocks(sequence, 0) - sequence->block_count
                                             : needed_blocks(sequence) - sequence->block_count;
    return (double)(known > 0 ? known : 0) +
           expected_growth(scheduler, sequence, branch ? 1 : sequence_width(sequence));
}

/** Is memory likely to last for `sequence` and all that run? */
static bool fits(const struct scheduler *scheduler, const struct sequence *sequence) {
    const struct kv_cache *cache = scheduler->options.cache;
    if (scheduler->running_count == 0) return true; /* the pool holds one whole context */
    int64_t full = (sequence->token_count - 1) / KV_BLOCK_TOKENS;
    double expected = (double)needed_blocks(sequence) + expected_growth(scheduler, sequence, sequence_width(sequence)),
           free = (double)kv_cache_free(cache);
    for (int i = 0; i < scheduler->running_count; i++) expected += expected_more(scheduler, scheduler->running[i]);
    if (expected <= free) return true;
    if (expected - (double)full > free) return false; /* whatever it shares */
    struct kv_match match = kv_cache_peek(cache, sequence->root, sequence->tokens, sequence->token_count - 1);
    return expected - (double)match.held_blocks <= free;
}

/** Take over what the cache holds of its tokens; the last one must be computed, for its logits. */
static void take_cached(struct scheduler *scheduler, struct sequence *sequence) {
    struct kv_cache *cache = scheduler->options.cache;
    struct kv_match match;
    kv_cache_match(cache, sequence->root, sequence->tokens, sequence->token_count - 1, sequence->blocks, &match);
    sequence->block_count = match.block_count;
    sequence->computed = sequence->recorded = match.block_count * KV_BLOCK_TOKENS;
    sequence->prefix = match.prefix;
    if (match.partial_block >= 0) {
        int32_t block = kv_cache_take(cache);
        if (block >= 0) {
            kv_cache_copy_block(cache, match.partial_block, block);
            sequence->blocks[sequence->block_count++] = block;
            sequence->computed += match.partial_tokens;
            scheduler_record(scheduler, sequence);
        }
        kv_cache_unref(cache, match.partial_block);
    }
    sequence->tenant->blocks += sequence->block_count;
    int64_t of_prompt = sequence->computed < sequence->prompt_count ? sequence->computed : sequence->prompt_count;
    if (!sequence->was_admitted) sequence->cached_tokens = of_prompt;
    if (!sequence->was_admitted) scheduler->stats.cached_tokens += (uint64_t)of_prompt;
    sequence->was_admitted = true;
}

/** Branches that start over begin with what others of their search have computed by now. */
static void begin_branches(struct scheduler *scheduler, struct beam_search *beams) {
    for (int i = 1; i < beams->branch_count; i++) {
        struct sequence *branch = beams->branches[i];
        if (branch->origin == NULL || branch->origin->computed < branch->leader_tokens) continue;
        branch->origin = NULL;
        take_cached(scheduler, branch);
    }
}

static void enter(struct scheduler *scheduler, struct sequence *sequence) {
    struct beam_search *beams = sequence->beams;
    queue_serve(&scheduler->queue, sequence->tenant);
    queue_remove(&scheduler->queue, sequence);
    sequence->order = ++scheduler->order;
    sequence->overtaken = 0;
    int slot = scheduler->free_slots[--scheduler->free_slot_count];
    scheduler_run(scheduler, sequence, slot, scheduler->block_tables + (size_t)slot * (size_t)scheduler->table_blocks);
    sequence->tenant->running++;
    take_cached(scheduler, sequence);
    if (beams == NULL) return;
    for (int i = 1; i < beams->branch_count; i++) { /* it lost its place; its branches go on */
        scheduler_run(scheduler, beams->branches[i], slot, beams->tables[i]);
        beams->branches[i]->order = sequence->order;
    }
    begin_branches(scheduler, beams);
}

/** Could a slot be had, if somebody asked for one? Looking for who is next costs more. */
static bool slots_can_be_had(const struct scheduler *scheduler) {
    if (scheduler->free_slot_count > 0) return true;
    if (scheduler->queue.waiting == 0) return false;
    for (int i = 0; i < scheduler->running_count; i++) {
        if (sequence_is_paused(scheduler->running[i])) return true;
    }
    return furthest_above_share(scheduler, false) != NULL;
}

/** Somebody got in before those who have no room. */
static void overtake(struct scheduler *scheduler) {
    for (struct tenant *tenant = scheduler->queue.active.first; tenant != NULL; tenant = tenant->next) {
        if (tenant->blocked != NULL) tenant->blocked->overtaken++;
    }
}

void scheduler_admit(struct scheduler *scheduler) {
    int taken_back = 0;
    for (int i = 0; i < scheduler->running_count; i++) {
        struct beam_search *beams = scheduler->running[i]->beams;
        if (beams != NULL && sequence_leads(scheduler->running[i])) begin_branches(scheduler, beams);
    }
    for (struct tenant *tenant = scheduler->queue.active.first; tenant != NULL; tenant = tenant->next)
        tenant->blocked = NULL;
    while (slots_can_be_had(scheduler)) {
        struct sequence *sequence = queue_head(&scheduler->queue, is_held, scheduler);
        if (sequence == NULL) return;
        bool no_slot = scheduler->free_slot_count == 0;
        if (!no_slot && fits(scheduler, sequence)) {
            enter(scheduler, sequence);
            overtake(scheduler);
            continue;
        }
        if (preempt_paused(scheduler)) continue;
        if (taken_back < FAIR_PREEMPTIONS_MAX && make_room(scheduler, sequence, !no_slot)) {
            taken_back++;
            if (!no_slot) sequence->overtaken = OVERTAKEN_MAX; /* memory that was given up for it is for nobody else */
            continue;
        }
        if (sequence->overtaken >= OVERTAKEN_MAX) return;
        sequence->tenant->blocked = sequence;
    }
}
