/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Budgeted finish: with n tokens left, a token is admitted only if a rest of text is known that needs no more than n - 1.
 *
 *     far from the end      no token can make the rest too long: nothing is looked at
 *     near                  for each state that tokens lead to: the machine's short rest, cut into the fewest tokens there are
 *
 * Far is what a machine that knows its `leap` estimates. For others all tokens are tried once from each state (by its signature), and the longest of the rests behind
 * them is remembered.
 *
 * Rests come from heuristics, so the rest of a state may be longer than what is left of its parent's. What was promised is kept all the same: the first token of the
 * plan that a mask relied on is always admitted, and the plan remembered for the masks behind it. To look costs a machine that builds lazily fuel and memory for good:
 * there is a limit to it, and a token that was not looked at by then is not admitted.
 */
#include "engine/grammar/grammar_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    REST_BYTES_MAX = 1 << 16,
    SLACK = 32,
    KNOWN_SIZE = 1024,
    NODES_KEPT = 4096,
    REST_FUEL = 200000, /* for the rest that a mask relies on: 50 ms at most */
    LOOKS_FUEL = 100000 /* for the tokens of one mask */
};
#define SPELLING_NEVER UINT32_MAX

/* ---- texts as tokens ---- */

/** The child of a node (UINT32_MAX: of the root) with this byte; UINT32_MAX: there is none. */
static uint32_t child_of(const struct token_trie *trie, uint32_t node, uint8_t byte) {
    if (node == UINT32_MAX) return trie->roots[byte] < trie->roots[byte + 1] ? trie->roots[byte] : UINT32_MAX;
    uint32_t end = node + trie->sizes[node];
    for (uint32_t i = node + 1; i < end; i += trie->sizes[i])
        if (trie->bytes[i] >= byte) return trie->bytes[i] == byte ? i : UINT32_MAX;
    return UINT32_MAX;
}

/** As many tokens as the longest one each time gives. SPELLING_NEVER: none do. */
static uint32_t spell_greedily(const struct token_trie *trie, struct bytes_view text) {
    uint32_t count = 0;
    for (size_t i = 0, next; i < text.length; i = next, count++) {
        uint32_t node = UINT32_MAX;
        next = i;
        for (size_t end = i; end < text.length; end++) {
            node = child_of(trie, node, text.data[end]);
            if (node == UINT32_MAX) break;
            if (trie->first[node] != trie->first[node + 1]) next = end + 1;
        }
        if (next == i) return SPELLING_NEVER;
    }
    return count;
}

/** The fewest tokens that spell the text; *out_first: the first of them. SPELLING_NEVER: none do, or no memory. */
static uint32_t spell(const struct token_trie *trie, struct bytes_view text, int32_t *out_first) {
    uint32_t *counts = malloc((text.length + 1) * sizeof *counts), out;
    if (counts == NULL) return SPELLING_NEVER;
    counts[text.length] = 0;
    for (size_t i = text.length; i-- > 0;) {
        uint32_t node = UINT32_MAX;
        counts[i] = SPELLING_NEVER;
        for (size_t end = i; end < text.length; end++) {
            node = child_of(trie, node, text.data[end]);
            if (node == UINT32_MAX) break;
            if (trie->first[node] == trie->first[node + 1] || counts[end + 1] == SPELLING_NEVER ||
                counts[end + 1] + 1 >= counts[i])
                continue;
            counts[i] = counts[end + 1] + 1;
            if (i == 0) *out_first = trie->tokens[trie->first[node]];
        }
    }
    out = counts[0];
    free(counts);
    return out;
}

/* ---- rests ---- */

static uint64_t bytes_limit(size_t tokens) {
    return tokens > REST_BYTES_MAX / TRIE_DEPTH_MAX ? REST_BYTES_MAX : (uint64_t)tokens * TRIE_DEPTH_MAX;
}

static uint64_t estimate(struct grammar_session *session, const struct machine_state *state, uint64_t limit) {
    struct machine *machine = session->grammar->machine;
    if (machine->operations->estimate != NULL) return machine->operations->estimate(machine, &session->frames, state);
    uint64_t bytes = machine->operations->shortest(machine, &session->frames, state, limit, NULL);
    return bytes > limit ? UINT64_MAX : bytes;
}

/** The state's rest and the tokens it takes; SPELLING_NEVER: none is known. */
static uint32_t rest_of(struct grammar_session *session, const struct machine_state *state, uint64_t limit,
                        struct bytes *out, int32_t *out_first) {
    struct machine *machine = session->grammar->machine;
    bytes_reset(out);
    uint64_t bytes = machine->operations->shortest(machine, &session->frames, state, limit, out);
    if (bytes > limit || out->failed) return SPELLING_NEVER;
    uint32_t count = spell(&session->grammar->vocabulary->trie, bytes_view(out), out_first);
    /* Control tokens are counted, but not written. */
    return count == SPELLING_NEVER ? count : count + (uint32_t)(bytes - out->length);
}

/** The tokens left suffice behind `state`. */
static bool suffices(struct grammar_session *session, const struct machine_state *state, size_t tokens_left,
                     struct bytes *scratch) {
    struct machine *machine = session->grammar->machine;
    uint64_t limit = bytes_limit(tokens_left), about = estimate(session, state, limit);
    if (about != UINT64_MAX && 2 * about + SLACK <= tokens_left) return true;
    if (tokens_left == 0) return machine->operations->complete(machine, state);
    bytes_reset(scratch);
    uint64_t bytes = machine->operations->shortest(machine, &session->frames, state, limit, scratch);
    uint64_t controls = bytes - scratch->length; /* are counted, but not written */
    if (bytes > limit || scratch->failed || controls > tokens_left) return false;
    const struct token_trie *trie = &session->grammar->vocabulary->trie;
    struct bytes_view text = bytes_view(scratch);
    int32_t first;
    return spell_greedily(trie, text) <= tokens_left - controls || spell(trie, text, &first) <= tokens_left - controls;
}

/* ---- plans ---- */

static void keep_plan(struct grammar_session *session, const struct grammar_state *state, struct bytes_view text) {
    struct finish_plan *plan = &session->plans[session->next_plan++ % PLANS_KEPT];
    if (plan->text.max_bytes == 0) bytes_init(&plan->text, REST_BYTES_MAX);
    bytes_reset(&plan->text);
    plan->from = state->length;
    if (bytes_append(&plan->text, text.data, text.length) != STATUS_OK) bytes_reset(&plan->text); /* is then none */
}

static bool completes(struct grammar_session *session, const struct machine_state *state, struct bytes_view text) {
    struct machine *machine = session->grammar->machine;
    struct frames_mark before = frames_mark(&session->frames);
    struct machine_state at = *state;
    enum machine_step step = MACHINE_LIVE;
    for (size_t i = 0; i < text.length && step == MACHINE_LIVE; i++)
        step = machine->operations->step(machine, &session->frames, &at, text.data[i], &at);
    bool out = step == MACHINE_LIVE && machine->operations->complete(machine, &at);
    frames_drop(&session->frames, before);
    return out;
}

/** A rest that an earlier mask relied on, if it takes at most `tokens`; its tokens, or SPELLING_NEVER. */
static uint32_t kept_rest(struct grammar_session *session, const struct grammar_state *state, size_t tokens,
                          struct bytes *out, int32_t *out_first) {
    for (int i = 0; i < PLANS_KEPT; i++) {
        const struct finish_plan *plan = &session->plans[i];
        if (plan->text.length == 0 || state->length < plan->from || state->length - plan->from > plan->text.length)
            continue;
        size_t done = (size_t)(state->length - plan->from);
        struct bytes_view rest = {plan->text.data + done, plan->text.length - done};
        uint32_t count = spell(&session->grammar->vocabulary->trie, rest, out_first);
        if (count > tokens || !completes(session, &state->machine, rest)) continue;
        bytes_reset(out);
        return bytes_append(out, rest.data, rest.length) == STATUS_OK ? count : SPELLING_NEVER;
    }
    return SPELLING_NEVER;
}

void finish_deinit(struct grammar_session *session) {
    for (int i = 0; i < PLANS_KEPT; i++) bytes_deinit(&session->plans[i].text);
}

/* ---- walks over the tokens of a mask ---- */

/** What is known of states that are alike (machine.h): all frames of a walk are kept until this is forgotten. */
struct known {
    struct machine_state state;
    bool used, suffices;
};
/** Called with each state that tokens lead to, and whose they are. */
struct token_walk {
    struct grammar_session *session;
    uint32_t *tokens; /* those that are looked at */
    bool (*look)(struct token_walk *walk, const struct machine_state *state);
    uint32_t *mask;     /* from which those that do not suffice are cleared */
    size_t tokens_left; /* behind the token */
    uint64_t farthest;  /* of rests, in bytes; UINT64_MAX: one is not known */
    struct bytes scratch;
    struct known *known; /* [KNOWN_SIZE] */
};

static size_t place_of(const struct machine_state *state) {
    uint64_t hash = (uint64_t)(uintptr_t)state->frame * 0x9e3779b97f4a7c15u;
    for (int i = 0; i < 5; i++) hash = (hash ^ state->word[i] ^ hash >> 29) * 0xbf58476d1ce4e5b9u;
    hash = (hash ^ state->outer ^ hash >> 29) * 0xbf58476d1ce4e5b9u;
    return (hash >> 32) % KNOWN_SIZE;
}

static bool same(const struct machine_state *a, const struct machine_state *b) {
    return a->frame == b->frame && a->outer == b->outer && memcmp(a->word, b->word, sizeof a->word) == 0;
}

/** Tokens that are looked at, among those first..end - 1. */
static bool any_of(const struct token_walk *walk, const struct token_trie *trie, uint32_t first, uint32_t end) {
    for (uint32_t t = first; t < end; t++)
        if (walk->tokens[(uint32_t)trie->tokens[t] / 32] >> (uint32_t)trie->tokens[t] % 32 & 1) return true;
    return false;
}

/** What is known of the state. */
static bool look_at(struct token_walk *walk, const struct machine_state *state) {
    struct machine *machine = walk->session->grammar->machine;
    struct machine_state alike = *state;
    if (machine->operations->alike != NULL) machine->operations->alike(machine, state, &alike);
    struct known *known = &walk->known[place_of(&alike)];
    if (!known->used || !same(&known->state, &alike)) *known = (struct known){alike, true, walk->look(walk, state)};
    return known->suffices;
}

static void forget(struct token_walk *walk, struct frames_mark before) {
    frames_drop(&walk->session->frames, before);
    memset(walk->known, 0, KNOWN_SIZE * sizeof *walk->known);
}

static void clear_tokens(struct token_walk *walk, const struct token_trie *trie, uint32_t first, uint32_t end) {
    for (uint32_t t = first; t < end && walk->mask != NULL; t++)
        walk->mask[(uint32_t)trie->tokens[t] / 32] &= ~(1u << (uint32_t)trie->tokens[t] % 32);
}

/** Tokens first..end - 1 lead through this state; most of them may leave it as it is, and are looked at with it. */
static void settle(struct token_walk *walk, const struct token_trie *trie, uint32_t first, uint32_t end,
                   const struct machine_state *state) {
    const struct grammar_vocabulary *vocabulary = walk->session->grammar->vocabulary;
    struct machine *machine = walk->session->grammar->machine;
    const uint32_t *unchanged =
        machine->operations->unchanged == NULL ? NULL : machine->operations->unchanged(machine, vocabulary, state);
    if (unchanged == NULL) return;
    bool suffices = look_at(walk, state);
    for (uint32_t t = first; t < end; t++) {
        uint32_t word = (uint32_t)trie->tokens[t] / 32, bit = 1u << (uint32_t)trie->tokens[t] % 32;
        if (!(walk->tokens[word] & unchanged[word] & bit)) continue;
        walk->tokens[word] &= ~bit;
        if (!suffices && walk->mask != NULL) walk->mask[word] &= ~bit;
    }
}

/** There is nothing left to look at the tokens from first on with: they are not admitted. */
static void give_up_from(struct token_walk *walk, const struct token_trie *trie, uint32_t first) {
    for (uint32_t t = first; t < trie->first[trie->count]; t++)
        if (any_of(walk, trie, t, t + 1)) clear_tokens(walk, trie, t, t + 1);
    walk->farthest = UINT64_MAX;
}

/** Through the trie, from one state to the next. */
static bool walk_trie(struct token_walk *walk, const struct machine_state *from) {
    struct grammar_session *session = walk->session;
    const struct token_trie *trie = &session->grammar->vocabulary->trie;
    struct machine *machine = session->grammar->machine;
    struct machine_state *stack = session->walk.stack;
    struct frames_mark before = frames_mark(&session->frames);
    uint32_t nodes = 0;
    for (uint32_t i = 0; i < trie->count;) {
        uint32_t depth = trie->depths[i], end = i + trie->sizes[i];
        if (!budget_may_look(session->grammar->budget)) {
            give_up_from(walk, trie, trie->first[i]);
            return true;
        }
        if (depth == 0 && nodes > NODES_KEPT) {
            forget(walk, before);
            nodes = 0;
        }
        enum machine_step step = machine->operations->step(
            machine, &session->frames, depth == 0 ? from : &stack[depth - 1], trie->bytes[i], &stack[depth]);
        if (step == MACHINE_FAILED) return false;
        bool live = step == MACHINE_LIVE && any_of(walk, trie, trie->first[i], trie->first[end]);
        if (live) settle(walk, trie, trie->first[i], trie->first[end], &stack[depth]);
        if (live && any_of(walk, trie, trie->first[i], trie->first[i + 1]) && !look_at(walk, &stack[depth]))
            clear_tokens(walk, trie, trie->first[i], trie->first[i + 1]);
        i = live ? i + 1 : end;
        nodes++;
    }
    return true;
}

/** One token after the other, where they are few. */
static bool walk_each(struct token_walk *walk, const struct machine_state *from) {
    const struct grammar_vocabulary *vocabulary = walk->session->grammar->vocabulary;
    struct machine *machine = walk->session->grammar->machine;
    for (uint32_t w = 0; w < vocabulary->words; w++)
        for (uint32_t left = walk->tokens[w]; left != 0; left &= left - 1) {
            int32_t token = (int32_t)(w * 32 + (uint32_t)__builtin_ctz(left));
            struct bytes_view piece = tokenizer_piece(vocabulary->tokenizer, token);
            if (piece.length == 0) continue; /* control tokens: filter_controls */
            struct machine_state at = *from;
            enum machine_step step = MACHINE_LIVE;
            for (size_t i = 0; i < piece.length && step == MACHINE_LIVE; i++)
                step = machine->operations->step(machine, &walk->session->frames, &at, piece.data[i], &at);
            if (step == MACHINE_FAILED) return false;
            if (step == MACHINE_LIVE && !look_at(walk, &at) && walk->mask != NULL) walk->mask[w] &= ~(left & -left);
        }
    return true;
}

/** False: budget or memory. */
static bool walk_tokens(struct token_walk *walk, const struct machine_state *from) {
    enum { FEW = 24 };
    struct grammar_session *session = walk->session;
    struct frames_mark before = frames_mark(&session->frames);
    uint32_t count = 0;
    walk->known = calloc(KNOWN_SIZE, sizeof *walk->known);
    if (walk->known == NULL) return false;
    const struct token_trie *trie = &session->grammar->vocabulary->trie;
    settle(walk, trie, 0, trie->first[trie->count], from);
    for (uint32_t w = 0; w < session->grammar->vocabulary->words && count <= FEW; w++)
        count += (uint32_t)__builtin_popcount(walk->tokens[w]);
    bool ok = count <= FEW ? walk_each(walk, from) : walk_trie(walk, from);
    frames_drop(&session->frames, before);
    free(walk->known);
    return ok && !budget_exhausted(session->grammar->budget);
}

/** Those of the mask that are no ends of text. */
static bool copy_tokens(struct token_walk *walk, const uint32_t *mask) {
    const struct grammar_vocabulary *vocabulary = walk->session->grammar->vocabulary;
    walk->tokens = malloc(vocabulary->words * sizeof *walk->tokens);
    if (walk->tokens == NULL) return false;
    memcpy(walk->tokens, mask, vocabulary->words * sizeof *walk->tokens);
    for (uint32_t i = 0; i < vocabulary->end_count; i++) {
        uint32_t token = (uint32_t)vocabulary->end_tokens[i];
        walk->tokens[token / 32] &= ~(1u << token % 32);
    }
    return true;
}

/* ---- far from the end ---- */

static bool look_for_farthest(struct token_walk *walk, const struct machine_state *state) {
    struct machine *machine = walk->session->grammar->machine;
    uint64_t bytes = UINT64_MAX;
    if (walk->farthest != UINT64_MAX && budget_may_look(walk->session->grammar->budget))
        bytes = machine->operations->shortest(machine, &walk->session->frames, state, REST_BYTES_MAX, NULL);
    if (bytes > REST_BYTES_MAX) bytes = UINT64_MAX;
    if (bytes > walk->farthest) walk->farthest = bytes;
    return true;
}

/** Bytes of the longest rest behind any token of the mask; UINT64_MAX: not known. */
static uint64_t farthest(struct grammar_session *session, const struct machine_state *state, const uint32_t *mask) {
    struct grammar *grammar = session->grammar;
    uint64_t signature = grammar->machine->operations->signature(grammar->machine, state);
    if (grammar->farthest == NULL) grammar->farthest = calloc(FARTHEST_KEPT, sizeof *grammar->farthest);
    if (grammar->farthest == NULL || signature == 0) return UINT64_MAX;
    struct finish_farthest *kept = &grammar->farthest[(signature * 0x9e3779b97f4a7c15u >> 32) % FARTHEST_KEPT];
    if (kept->signature == signature) return kept->bytes;
    struct token_walk walk = {.session = session, .look = look_for_farthest};
    if (!copy_tokens(&walk, mask)) return UINT64_MAX;
    bool ok = walk_tokens(&walk, state);
    free(walk.tokens);
    if (!ok) return UINT64_MAX;
    *kept = (struct finish_farthest){signature, walk.farthest};
    return walk.farthest;
}

/** No token can make the rest too long. */
static bool is_far(struct grammar_session *session, const struct machine_state *state, size_t tokens_left,
                   const uint32_t *mask) {
    struct machine *machine = session->grammar->machine;
    uint64_t about = estimate(session, state, bytes_limit(tokens_left));
    if (about > REST_BYTES_MAX) return false;
    if (machine->operations->leap != NULL)
        return tokens_left > 2 * (about + machine->operations->leap(machine)) + 2 * SLACK;
    return about < tokens_left && farthest(session, state, mask) < tokens_left; /* each byte is a token at most */
}

/* ---- near ---- */

static bool look_whether_it_suffices(struct token_walk *walk, const struct machine_state *state) {
    return budget_may_look(walk->session->grammar->budget) &&
           suffices(walk->session, state, walk->tokens_left, &walk->scratch);
}

/** The same of control tokens, which no walk over bytes meets. `needed`: the rest that was found begins with one, so one of them stays. */
static void filter_controls(struct token_walk *walk, const struct machine_state *state, bool needed) {
    struct grammar_session *session = walk->session;
    struct machine *machine = session->grammar->machine;
    uint32_t words = session->grammar->vocabulary->words, admitted = 0;
    memset(walk->tokens, 0, words * sizeof *walk->tokens);
    machine->operations->controls(machine, state, walk->tokens);
    for (uint32_t w = 0; w < words; w++)
        for (uint32_t left = walk->tokens[w]; left != 0; left &= left - 1) {
            int32_t token = (int32_t)(w * 32 + (uint32_t)__builtin_ctz(left));
            struct frames_mark before = frames_mark(&session->frames);
            struct machine_state next;
            bool live = machine->operations->control(machine, &session->frames, state, token, &next) == MACHINE_LIVE &&
                        suffices(session, &next, walk->tokens_left, &walk->scratch);
            frames_drop(&session->frames, before);
            admitted += live;
            if (!live) walk->mask[w] &= ~(left & -left);
        }
    if (needed && admitted == 0) mask_or(walk->mask, walk->tokens, words);
}

/** Clear what does not suffice. */
static bool filter_mask(struct token_walk *walk, const struct machine_state *state, bool needs_control) {
    if (!copy_tokens(walk, walk->mask)) return false;
    bool ok = walk_tokens(walk, state);
    if (ok && walk->session->grammar->machine->operations->controls != NULL)
        filter_controls(walk, state, needs_control);
    free(walk->tokens);
    return ok;
}

static void only_ends(const struct grammar_vocabulary *vocabulary, uint32_t *mask) {
    memset(mask, 0, vocabulary->words * sizeof *mask);
    for (uint32_t i = 0; i < vocabulary->end_count; i++) mask_set(mask, vocabulary->end_tokens[i]);
}

static enum status too_few(size_t tokens_left, struct error *err) {
    return error_set(err, STATUS_OUT_OF_RANGE, "the text cannot become complete in %zu tokens", tokens_left);
}

/** What is looked for ahead has its own limit, and stops well before the grammar has used up what it may build. */
static void limit_looks(struct grammar *grammar, int64_t fuel) {
    enum { SHARE = 4 };
    struct grammar_budget *budget = grammar->budget;
    if (grammar->finish_bytes == 0) grammar->finish_bytes = budget->bytes / SHARE + 1;
    budget->looks = budget->fuel - fuel;
    budget->looks_bytes = grammar->finish_bytes;
}

/** As rest_of. Where that cost all that it may, and found none, the next masks do without: as many as there were such before, and one, at most PAUSE_MAX. */
static uint32_t patient_rest(struct grammar_session *session, const struct machine_state *state, size_t tokens_left,
                             struct bytes *out, int32_t *out_first) {
    enum { PAUSE_MAX = 15 };
    if (session->rest_pause > 0) {
        session->rest_pause--;
        return SPELLING_NEVER;
    }
    uint32_t count = rest_of(session, state, bytes_limit(tokens_left), out, out_first);
    bool in_vain = count == SPELLING_NEVER && !budget_may_look(session->grammar->budget);
    session->rests_in_vain = in_vain ? session->rests_in_vain + 1 : 0;
    if (in_vain) session->rest_pause = session->rests_in_vain < PAUSE_MAX ? session->rests_in_vain : PAUSE_MAX;
    return count;
}

enum status finish_filter(struct grammar_session *session, const struct grammar_state *state, size_t tokens_left,
                          uint32_t *mask, struct error *err) {
    struct machine *machine = session->grammar->machine;
    bool complete = machine->operations->complete(machine, &state->machine);
    if (tokens_left == 0 && !complete) return too_few(tokens_left, err);
    if (tokens_left == 0) {
        only_ends(session->grammar->vocabulary, mask);
        return STATUS_OK;
    }
    grammar_refuel(session->grammar);
    limit_looks(session->grammar, LOOKS_FUEL);
    if (is_far(session, &state->machine, tokens_left, mask)) return STATUS_OK;
    limit_looks(session->grammar, REST_FUEL);
    struct token_walk walk = {
        .session = session, .look = look_whether_it_suffices, .tokens_left = tokens_left - 1, .mask = mask};
    bytes_init(&walk.scratch, REST_BYTES_MAX);
    int32_t first = -1;
    uint32_t count = complete ? 0 : patient_rest(session, &state->machine, tokens_left, &walk.scratch, &first);
    if (count > tokens_left) count = kept_rest(session, state, tokens_left, &walk.scratch, &first);
    enum status status = STATUS_OK;
    if (count > tokens_left) {
        status = budget_exhausted(session->grammar->budget) ? grammar_failed(session->grammar, err)
                                                            : too_few(tokens_left, err);
    } else {
        bool is_next = first >= 0 && mask[first / 32] >> first % 32 & 1; /* else a control token comes before it */
        if (is_next) keep_plan(session, state, bytes_view(&walk.scratch));
        limit_looks(session->grammar, LOOKS_FUEL);
        if (!filter_mask(&walk, &state->machine, !complete && !is_next)) status = grammar_failed(session->grammar, err);
        if (is_next) mask_set(mask, first);
    }
    bytes_deinit(&walk.scratch);
    return status;
}

size_t grammar_tokens_needed(struct grammar_session *session, const struct grammar_state *state) {
    struct grammar *grammar = session->grammar;
    struct bytes rest;
    int32_t first;
    uint32_t count = 0;
    pthread_mutex_lock(&grammar->lock);
    bytes_init(&rest, REST_BYTES_MAX);
    grammar_refuel(grammar);
    limit_looks(grammar, REST_FUEL);
    if (!grammar->machine->operations->complete(grammar->machine, &state->machine))
        count = rest_of(session, &state->machine, REST_BYTES_MAX, &rest, &first);
    bytes_deinit(&rest);
    pthread_mutex_unlock(&grammar->lock);
    return count == SPELLING_NEVER ? SIZE_MAX : count;
}
