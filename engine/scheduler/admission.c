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

/** A search is paused as a whole, by its leader. */
static bool is_paused(struct sequence *sequence) {
    return atomic_load(&sequence_leader(sequence)->paused);
}

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

/** How many of the first tokens of `sequence` (the last excepted) are the first of the leader's prompt. */
static int64_t common_tokens(const struct sequence *sequence, const struct sequence *leader) {
    int64_t most = sequence->token_count - 1, common = 0;
    if (most > leader->prompt_count) most = leader->prompt_count;
    while (common < most && sequence->tokens[common] == leader->tokens[common]) common++;
    return common;
}

/** Must it wait until another has computed the beginning that they share? Remembers whom it waits for. */
static bool is_held(void *context, struct sequence *sequence) {
    const struct scheduler *scheduler = context;
    if (sequence->leader != 0) {
        struct sequence *leader = running_with_order(scheduler, sequence->leader);
        if (leader != NULL && leader->computed < sequence->leader_tokens && !is_paused(leader)) return true;
        sequence->leader = 0;
    }
    int64_t cached = -1;
    for (int i = 0; i < scheduler->running_count; i++) {
        struct sequence *leader = scheduler->running[i];
        if (leader->computed >= leader->prompt_count || is_paused(leader) || !same_root(leader, sequence)) continue;
        int64_t common = common_tokens(sequence, leader);
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
    bool a_paused = is_paused(a), b_paused = is_paused(b);
    if (a_paused != b_paused) return a_paused;
    if (a->tenant->blocks != b->tenant->blocks) return a->tenant->blocks > b->tenant->blocks;
    if (sequence_due(a) != sequence_due(b)) return sequence_due(a) > sequence_due(b);
    return a->order > b->order;
}

static void preempt(struct scheduler *scheduler, struct sequence *victim) {
    victim = sequence_leader(victim);
    scheduler_stop_running(scheduler, victim);
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
        if (!is_paused(candidate)) continue;
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

/** Take a slot (and its memory) from a tenant that has more than its share for one that has less, and will have. */
static bool make_room(struct scheduler *scheduler, const struct sequence *sequence, bool memory) {
    const struct tenant *above = furthest_above_share(scheduler, memory), *tenant = sequence->tenant;
    int64_t wanted = memory ? kv_cache_blocks_for(sequence->token_count + 1) : 1;
    if (above == NULL || above == tenant || holding(tenant, memory) + wanted >= holding(above, memory)) return false;
    return scheduler_preempt(scheduler, above);
}

/* ---- letting in ---------------------------------------------------------------------------------------------------- */

/** Blocks that the sequence is expected to take beyond `tokens`. */
static double expected_growth(const struct scheduler *scheduler, const struct sequence *sequence, int64_t tokens) {
    int64_t left = sequence_limit(sequence) - tokens;
    if (left > GROWTH_TOKENS_MAX) left = GROWTH_TOKENS_MAX;
    return left > 0 ? (double)left * scheduler->growth / KV_BLOCK_TOKENS : 0;
}

/** Is memory likely to last for `sequence` and all that run? */
static bool fits(const struct scheduler *scheduler, const struct sequence *sequence) {
    const struct kv_cache *cache = scheduler->options.cache;
    if (scheduler->running_count == 0) return true; /* the pool holds one whole context */
    int64_t full = (sequence->token_count - 1) / KV_BLOCK_TOKENS;
    double expected = (double)kv_cache_blocks_for(sequence->token_count + 1) +
                      expected_growth(scheduler, sequence, sequence->token_count) * sequence_width(sequence),
           free = (double)kv_cache_free(cache);
    for (int i = 0; i < scheduler->running_count; i++) {
        const struct sequence *other = scheduler->running[i];
        int64_t known = kv_cache_blocks_for(other->token_count + 1) - other->block_count;
        expected += (double)(known > 0 ? known : 0) + expected_growth(scheduler, other, other->token_count);
    }
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
    for (int i = 1; beams != NULL && i < beams->branch_count; i++) { /* it lost its place; its branches go on */
        scheduler_run(scheduler, beams->branches[i], slot, beams->tables[i]);
        beams->branches[i]->order = sequence->order;
        take_cached(scheduler, beams->branches[i]);
    }
}

/** Could a slot be had, if somebody asked for one? Looking for who is next costs more. */
static bool slots_can_be_had(const struct scheduler *scheduler) {
    if (scheduler->free_slot_count > 0) return true;
    if (scheduler->queue.waiting == 0) return false;
    for (int i = 0; i < scheduler->running_count; i++) {
        if (is_paused(scheduler->running[i])) return true;
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
