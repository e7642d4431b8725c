/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/scheduler/beam.h"

#include "engine/scheduler/scheduler_internal.h"

#include <math.h>
#include <string.h>

/** A continuation of one branch by one token. */
struct candidate {
    double logprob; /* of the whole continuation */
    int branch;
    int32_t id;
    bool ends; /* the token adds no text */
    uint64_t text_key;
};

enum { CANDIDATES_MAX = 2 * BEAM_WIDTH_MAX };

/* ---- memory -------------------------------------------------------------------------------------------------------- */

static size_t aligned(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

size_t beam_search_bytes(const struct beam_settings *options, int64_t limit, int64_t context_tokens) {
    size_t tokens = aligned((size_t)limit * sizeof(int32_t)), count = (size_t)options->width;
    size_t table = aligned((size_t)kv_cache_blocks_for(context_tokens) * sizeof(int32_t));
    /* The search; all branches but the leader, their tokens and tables; every branch's next tokens and table; the finished ones' tokens; states. */
    return 64 + aligned(sizeof(struct beam_search)) +
           (count - 1) * (aligned(sizeof(struct sequence)) + tokens + table) + count * (tokens + table) +
           count * tokens + 2 * count * aligned(options->state_bytes);
}

static void *take_memory(char **at, size_t bytes) {
    void *taken = *at;
    *at += aligned(bytes);
    return taken;
}

struct beam_search *beam_search_init(void *memory, const struct beam_settings *options, struct sequence *leader,
                                     int64_t context_tokens) {
    char *at = (char *)(((uintptr_t)memory + 63) / 64 * 64);
    size_t tokens = (size_t)(leader->prompt_count + leader->max_tokens) * sizeof(int32_t),
           table = (size_t)kv_cache_blocks_for(context_tokens) * sizeof(int32_t);
    struct beam_search *beams = take_memory(&at, sizeof *beams);
    *beams = (struct beam_search){.options = *options, .leader = leader, .branches = {leader}};
    for (int i = 1; i < options->width; i++) {
        beams->branches[i] = take_memory(&at, sizeof(struct sequence));
        sequence_init(beams->branches[i]);
        beams->branches[i]->tokens = take_memory(&at, tokens);
        beams->branches[i]->beams = beams;
        beams->tables[i] = take_memory(&at, table);
    }
    for (int i = 0; i < options->width; i++) {
        beams->next_tokens[i] = take_memory(&at, tokens);
        beams->next_tables[i] = take_memory(&at, table);
        beams->finished[i].tokens = take_memory(&at, tokens);
        beams->states[i] = take_memory(&at, options->state_bytes);
        beams->next_states[i] = take_memory(&at, options->state_bytes);
    }
    memset(beams->states[0], 0, options->state_bytes);
    leader->beams = beams;
    return beams;
}

/* ---- finished ------------------------------------------------------------------------------------------------------ */

static double score_of(const struct beam_search *beams, double logprob, int64_t count) {
    double length = (double)(count - beams->leader->prompt_count);
    return length == 0 ? logprob : logprob / pow(length, beams->options.length_penalty);
}

/** 0: the owner tells branches apart by their tokens. */
static uint64_t text_key(const struct beam_search *beams, int branch, int32_t id) {
    const struct sequence_owner *owner = beams->leader->owner;
    return owner->text_key != NULL ? owner->text_key(beams->leader, beams->states[branch], id) : 0;
}

/** The place of the hypothesis that another one replaces: the one with its text, else a new one, else the worst. -1: it is no better than what it would replace. */
static int place_for(struct beam_search *beams, double score, uint64_t key) {
    int count = beams->finished_count, width = beams->options.width;
    for (int i = 0; i < count && key != 0; i++)
        if (beams->finished[i].text_key == key) return score > beams->finished[i].score ? i : -1;
    if (count < width) return beams->finished_count++;
    return score > beams->finished[width - 1].score ? width - 1 : -1;
}

/** Keep tokens[0..count) among the `width` best, if it is one of them. Earlier ones win a tie. */
static void keep_finished(struct beam_search *beams, const int32_t *tokens, int64_t count, double logprob, uint64_t key,
                          enum finish_reason reason) {
    double score = score_of(beams, logprob, count);
    int at = place_for(beams, score, key);
    if (at < 0) return;
    struct hypothesis free_one = beams->finished[at];
    for (; at > 0 && beams->finished[at - 1].score < score; at--) beams->finished[at] = beams->finished[at - 1];
    memcpy(free_one.tokens, tokens, (size_t)count * sizeof *tokens);
    beams->finished[at] = (struct hypothesis){
        .tokens = free_one.tokens, .count = count, .score = score, .text_key = key, .finish = reason};
}

/** Can no branch pass the worst of the finished ones? */
static bool is_over(const struct beam_search *beams) {
    if (beams->branch_count == 0) return true;
    if (beams->finished_count < beams->options.width) return false;
    if (beams->options.early_stopping) return true;
    double best = beams->logprobs[0]; /* branches are in order */
    return score_of(beams, best, beams->branches[0]->token_count) <= beams->finished[beams->options.width - 1].score;
}

/* ---- candidates ---------------------------------------------------------------------------------------------------- */

/** A branch had that text in an earlier step, when it took fewer tokens. */
static bool had_text(const struct beam_search *beams, uint64_t key) {
    uint32_t count = beams->text_count < BEAM_TEXTS ? beams->text_count : BEAM_TEXTS;
    for (uint32_t i = 0; i < count; i++)
        if (beams->texts[i] == key) return true;
    return false;
}

/** Take out the candidate with the same text. False: it is there, and no less likely. */
static bool take_same(struct candidate *list, int *count, const struct candidate *candidate) {
    int at = 0;
    while (at < *count && (list[at].text_key != candidate->text_key || list[at].ends != candidate->ends)) at++;
    if (at == *count) return true;
    if (list[at].logprob >= candidate->logprob) return false;
    memmove(list + at, list + at + 1, (size_t)(--*count - at) * sizeof *list);
    return true;
}

/** Put `candidate` into the list of the `most` best, best first, each text once. Earlier ones win a tie. */
static void keep_best(struct candidate *list, int *count, int most, const struct candidate *candidate) {
    if (*count == most && candidate->logprob <= list[most - 1].logprob) return;
    if (candidate->text_key != 0 && !take_same(list, count, candidate)) return;
    int at = *count < most ? (*count)++ : most - 1;
    for (; at > 0 && candidate->logprob > list[at - 1].logprob; at--) list[at] = list[at - 1];
    list[at] = *candidate;
}

/** What may follow a branch. A branch that nothing may follow is a hypothesis as it stands. */
static enum verdict constrain(struct beam_search *beams, int b, struct token_mask *out_mask, const char **out_error) {
    struct sequence *leader = beams->leader;
    const struct sequence *branch = beams->branches[b];
    if (leader->owner->constrain == NULL) return VERDICT_GO_ON;
    int64_t left = sequence_limit(leader) - branch->token_count;
    enum verdict verdict = leader->owner->constrain(leader, beams->states[b], left, out_mask, out_error);
    if (verdict == VERDICT_STOP)
        keep_finished(beams, branch->tokens, branch->token_count, beams->logprobs[b], text_key(beams, b, -1),
                      FINISH_STOP);
    return verdict;
}

/** The best continuations of all parents; -1 when the owner fails (*out_error). They come in the order in which ties are decided: the likelier parent's first, and of one parent by their
 *  logits, which may differ where log-probabilities do not. */
static int find_candidates(struct scheduler *scheduler, struct beam_search *beams, int parents, struct candidate *list,
                           const char **out_error) {
    struct token_logprob likeliest[CANDIDATES_MAX];
    int count = 0, most = 2 * beams->options.width,
        of_one = most < scheduler->options.vocabulary ? most : scheduler->options.vocabulary;
    for (int b = 0; b < parents; b++) {
        const struct sequence *branch = beams->branches[b];
        struct token_history history = {.tokens = branch->tokens,
                                        .prompt_count = (size_t)branch->prompt_count,
                                        .count = (size_t)branch->token_count};
        enum verdict verdict = constrain(beams, b, &history.mask, out_error);
        if (verdict == VERDICT_ERROR) return -1;
        if (verdict == VERDICT_STOP) continue;
        uint64_t own_key = text_key(beams, b, -1);
        int found = sampler_likeliest(scheduler->sampler, &beams->leader->sampling, beams->logits[b], &history,
                                      likeliest, of_one);
        for (int i = 0; i < found; i++) {
            struct candidate candidate = {
                .logprob = beams->logprobs[b] + likeliest[i].logprob, .branch = b, .id = likeliest[i].id};
            candidate.text_key = text_key(beams, b, candidate.id);
            candidate.ends = candidate.text_key == own_key;
            if (candidate.text_key != 0 && !candidate.ends && had_text(beams, candidate.text_key)) continue;
            keep_best(list, &count, most, &candidate);
        }
    }
    return count;
}

/* ---- branches ------------------------------------------------------------------------------------------------------ */

/** Put branch i, which was not there, among those that run. */
static void revive(struct scheduler *scheduler, struct beam_search *beams, int i) {
    const struct sequence *leader = beams->leader;
    struct sequence *branch = beams->branches[i];
    branch->prompt_count = leader->prompt_count;
    branch->max_tokens = leader->max_tokens;
    branch->sampling = leader->sampling;
    branch->priority = leader->priority;
    branch->arrived_ns = leader->arrived_ns;
    branch->lent_due = INT64_MAX;
    branch->tenant = leader->tenant;
    branch->tenant_key = leader->tenant_key;
    branch->root = leader->root;
    branch->was_admitted = true;
    branch->order = leader->order;
    branch->block_count = 0;
    scheduler_run(scheduler, branch, leader->slot, beams->tables[i]);
}

/** What a continuation takes over. */
struct parent {
    const int32_t *tokens;
    int64_t token_count, block_count, computed, recorded;
    struct kv_prefix prefix;
};

static struct parent parent_of(const struct sequence *branch) {
    return (struct parent){.tokens = branch->tokens,
                           .token_count = branch->token_count,
                           .block_count = branch->block_count,
                           .computed = branch->computed,
                           .recorded = branch->recorded,
                           .prefix = branch->prefix};
}

/** Branch i of the next step is `next[i]`, a continuation of today's branches. */
static void continue_with(struct scheduler *scheduler, struct beam_search *beams, int parents,
                          const struct candidate *next, int count) {
    struct kv_cache *cache = scheduler->options.cache;
    struct parent before[BEAM_WIDTH_MAX];
    for (int b = 0; b < parents; b++) before[b] = parent_of(beams->branches[b]);
    for (int i = 0; i < count; i++) {
        const struct parent *parent = &before[next[i].branch];
        memcpy(beams->next_tokens[i], parent->tokens, (size_t)parent->token_count * sizeof *parent->tokens);
        beams->next_tokens[i][parent->token_count] = next[i].id;
        const int32_t *table = beams->branches[next[i].branch]->blocks;
        memcpy(beams->next_tables[i], table, (size_t)parent->block_count * sizeof *table);
        for (int64_t k = 0; k < parent->block_count; k++) kv_cache_ref(cache, table[k]);
    }
    for (int b = parents - 1; b >= 0; b--) scheduler_release_blocks(scheduler, beams->branches[b]);
    for (int b = parents - 1; b >= count; b--) scheduler_stop(scheduler, beams->branches[b]);
    for (int i = 0; i < count; i++) {
        const struct parent *parent = &before[next[i].branch];
        struct sequence *branch = beams->branches[i];
        if (i >= parents) revive(scheduler, beams, i);
        int32_t *mine = branch->tokens;
        branch->tokens = beams->next_tokens[i];
        beams->next_tokens[i] = mine;
        void *state = beams->states[i];
        beams->states[i] = beams->next_states[i];
        beams->next_states[i] = state;
        memcpy(branch->blocks, beams->next_tables[i], (size_t)parent->block_count * sizeof *branch->blocks);
        branch->block_count = parent->block_count;
        branch->tenant->blocks += parent->block_count;
        branch->token_count = parent->token_count + 1;
        branch->computed = parent->computed;
        branch->recorded = parent->recorded;
        branch->prefix = parent->prefix;
        branch->planned = scheduler->step;
        beams->logprobs[i] = next[i].logprob;
        if (next[i].text_key != 0) beams->texts[beams->text_count++ % BEAM_TEXTS] = next[i].text_key;
    }
    beams->branch_count = count;
}

/** The search is over: branches that live are hypotheses too when they could not go on. */
static void finish_search(struct scheduler *scheduler, struct beam_search *beams) {
    struct sequence *leader = beams->leader;
    const char *error = beams->finished_count == 0 ? "the model gave no usable logits" : NULL;
    scheduler_finish(scheduler, leader, error != NULL ? FINISH_ERROR : beams->finished[0].finish, error);
}

/** What the owner says of a continuation; the state of one that goes on is in `after`. */
static enum verdict extend(const struct beam_search *beams, const struct candidate *candidate, void *after) {
    const struct sequence_owner *owner = beams->leader->owner;
    if (owner->extend == NULL) return VERDICT_GO_ON;
    return owner->extend(beams->leader, beams->states[candidate->branch], candidate->id, after);
}

void beam_advance(struct scheduler *scheduler, struct beam_search *beams) {
    struct candidate list[CANDIDATES_MAX], next[BEAM_WIDTH_MAX];
    const char *error = NULL;
    int parents = beams->branch_count > 0 ? beams->branch_count : 1,
        found = find_candidates(scheduler, beams, parents, list, &error), count = 0;
    struct sequence *leader = beams->leader;
    if (found < 0) {
        scheduler_finish(scheduler, leader, FINISH_ERROR, error);
        return;
    }
    int64_t length = beams->branches[0]->token_count + 1;
    bool full = length == scheduler->options.context_tokens, last = length == sequence_limit(leader) || full;
    for (int i = 0; i < found && count < beams->options.width; i++) {
        const struct sequence *parent = beams->branches[list[i].branch];
        enum verdict verdict = extend(beams, &list[i], beams->next_states[count]);
        if (verdict == VERDICT_ERROR) {
            scheduler_finish(scheduler, leader, FINISH_ERROR, "the text of a token could not be kept");
            return;
        }
        if (verdict == VERDICT_GO_ON && !last) {
            next[count++] = list[i];
            continue;
        }
        int32_t *tokens = beams->next_tokens[0];
        memcpy(tokens, parent->tokens, (size_t)parent->token_count * sizeof *tokens);
        tokens[parent->token_count] = list[i].id;
        keep_finished(beams, tokens, length, list[i].logprob, list[i].text_key,
                      verdict == VERDICT_STOP ? FINISH_STOP
                      : full                  ? FINISH_MODEL_LENGTH
                                              : FINISH_LENGTH);
    }
    scheduler->stats.completion_tokens += (uint64_t)(last ? parents : count);
    if (count > 0) continue_with(scheduler, beams, parents, next, count);
    if (count == 0 || is_over(beams)) finish_search(scheduler, beams);
}

bool beams_are_ready(const struct beam_search *beams) {
    for (int i = 0; i < beams->branch_count; i++) {
        if (beams->branches[i]->slot < 0 || sequence_missing(beams->branches[i]) != 1) return false;
    }
    return beams->branch_count > 0;
}
