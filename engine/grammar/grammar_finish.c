/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Budgeted finish: with n tokens left, a token is admitted only if a rest of text is known that needs no more than n - 1.
 *
 *     far from the end      an estimate says that no token can make the rest too long: nothing is looked at
 *     near                  for each state that tokens lead to: the machine's short rest, cut into the fewest tokens there are
 *
 * Rests come from heuristics, so the rest of a state may be longer than what is left of its parent's. What was promised is kept all the same: the first token of the
 * plan that a mask relied on is always admitted, and the plan remembered for the masks behind it.
 */
#include "engine/grammar/grammar_internal.h"

#include <stdlib.h>
#include <string.h>

enum { REST_BYTES_MAX = 1 << 16, SLACK = 32, KNOWN_SIZE = 1024, NODES_KEPT = 4096 };
#define SPELLING_NEVER UINT32_MAX

/* ---- texts as tokens ---- */

/** The child of a node (UINT32_MAX: of the root) with this byte; UINT32_MAX: there is none. */
static uint32_t child_of(const struct token_trie *trie, uint32_t node, uint8_t byte) {
    if (node == UINT32_MAX) return trie->roots[byte] < trie->roots[byte + 1] ? trie->roots[byte] : UINT32_MAX;
    uint32_t end = node + trie->sizes[node];
    for (uint32_t i = node + 1; i < end; i += trie->sizes[i])
        if (trie->bytes[i] == byte) return i;
    return UINT32_MAX;
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

/** Every byte of the text is a token. */
static bool spelt_by_bytes(const struct token_trie *trie, struct bytes_view text) {
    for (size_t i = 0; i < text.length; i++) {
        uint32_t node = trie->roots[text.data[i]];
        if (node == trie->roots[text.data[i] + 1] || trie->first[node] == trie->first[node + 1]) return false;
    }
    return true;
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
    return spell(&session->grammar->vocabulary->trie, bytes_view(out), out_first);
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
    if (bytes > limit || scratch->failed) return false;
    const struct token_trie *trie = &session->grammar->vocabulary->trie;
    struct bytes_view text = bytes_view(scratch);
    if (bytes <= tokens_left && spelt_by_bytes(trie, text)) return true;
    int32_t first;
    return spell(trie, text, &first) <= tokens_left;
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

/* ---- masks ---- */

/** What is known of states that differ in no byte: all frames of a walk are kept until this is forgotten. */
struct known {
    struct machine_state state;
    bool used, suffices;
};
struct filter {
    struct grammar_session *session;
    size_t tokens_left;     /* behind the token */
    const uint32_t *others; /* the tokens that are looked at */
    uint32_t *mask;
    struct bytes scratch;
    struct known *known; /* [KNOWN_SIZE] */
};

static size_t place_of(const struct machine_state *state) {
    uint64_t hash = (uint64_t)(uintptr_t)state->frame * 0x9e3779b97f4a7c15u;
    for (int i = 0; i < 5; i++) hash = (hash ^ state->word[i] ^ hash >> 29) * 0xbf58476d1ce4e5b9u;
    return (hash >> 32) % KNOWN_SIZE;
}

static bool same(const struct machine_state *a, const struct machine_state *b) {
    return a->frame == b->frame && memcmp(a->word, b->word, sizeof a->word) == 0;
}

static void look_at_node(struct filter *filter, const struct token_trie *trie, uint32_t node,
                         const struct machine_state *state) {
    bool any = false;
    for (uint32_t t = trie->first[node]; t < trie->first[node + 1]; t++) {
        uint32_t token = (uint32_t)trie->tokens[t];
        any |= filter->others[token / 32] >> token % 32 & 1;
    }
    if (!any) return;
    struct known *known = &filter->known[place_of(state)];
    if (!known->used || !same(&known->state, state))
        *known = (struct known){*state, true, suffices(filter->session, state, filter->tokens_left, &filter->scratch)};
    for (uint32_t t = trie->first[node]; t < trie->first[node + 1] && !known->suffices; t++)
        filter->mask[(uint32_t)trie->tokens[t] / 32] &= ~(1u << (uint32_t)trie->tokens[t] % 32);
}

static bool filter_walk(struct filter *filter, const struct token_trie *trie, const struct machine_state *from) {
    struct grammar_session *session = filter->session;
    struct machine *machine = session->grammar->machine;
    struct machine_state *stack = session->walk.stack;
    struct frames_mark before = frames_mark(&session->frames);
    uint32_t nodes = 0;
    bool ok = true;
    for (uint32_t i = 0; ok && i < trie->count;) {
        uint32_t depth = trie->depths[i];
        if (depth == 0 && nodes > NODES_KEPT) {
            frames_drop(&session->frames, before);
            memset(filter->known, 0, KNOWN_SIZE * sizeof *filter->known);
            nodes = 0;
        }
        enum machine_step step = machine->operations->step(
            machine, &session->frames, depth == 0 ? from : &stack[depth - 1], trie->bytes[i], &stack[depth]);
        ok = step != MACHINE_FAILED;
        if (step == MACHINE_LIVE) look_at_node(filter, trie, i, &stack[depth]);
        i += step == MACHINE_LIVE ? 1 : trie->sizes[i];
        nodes++;
    }
    frames_drop(&session->frames, before);
    return ok && !budget_exhausted(session->grammar->budget);
}

/** Clear what does not suffice; `count`: tokens of the state's own rest. */
static bool filter_mask(struct filter *filter, const struct machine_state *state, uint32_t count) {
    const struct grammar_vocabulary *vocabulary = filter->session->grammar->vocabulary;
    struct machine *machine = filter->session->grammar->machine;
    const uint32_t *unchanged =
        machine->operations->unchanged == NULL ? NULL : machine->operations->unchanged(machine, vocabulary, state);
    uint32_t *others = malloc(vocabulary->words * sizeof *others);
    if (others == NULL) return false;
    memcpy(others, filter->mask, vocabulary->words * sizeof *others);
    for (uint32_t i = 0; i < vocabulary->end_count; i++) {
        uint32_t token = (uint32_t)vocabulary->end_tokens[i];
        others[token / 32] &= ~(1u << token % 32);
    }
    for (uint32_t w = 0; unchanged != NULL && w < vocabulary->words; w++) {
        others[w] &= ~unchanged[w];
        if (count > filter->tokens_left) filter->mask[w] &= ~unchanged[w];
    }
    filter->others = others;
    filter->known = calloc(KNOWN_SIZE, sizeof *filter->known);
    bool ok = filter->known != NULL && filter_walk(filter, &vocabulary->trie, state);
    free(filter->known);
    free(others);
    return ok;
}

static void only_ends(const struct grammar_vocabulary *vocabulary, uint32_t *mask) {
    memset(mask, 0, vocabulary->words * sizeof *mask);
    for (uint32_t i = 0; i < vocabulary->end_count; i++) mask_set(mask, vocabulary->end_tokens[i]);
}

/** No token can make the rest too long. */
static bool is_far(struct grammar_session *session, const struct machine_state *state, size_t tokens_left) {
    struct machine *machine = session->grammar->machine;
    uint64_t about = estimate(session, state, bytes_limit(tokens_left));
    if (about > REST_BYTES_MAX) return false;
    uint64_t leap = machine->operations->leap == NULL ? 0 : machine->operations->leap(machine);
    return tokens_left > 2 * (about + leap) + 2 * SLACK;
}

static enum status too_few(size_t tokens_left, struct error *err) {
    return error_set(err, STATUS_OUT_OF_RANGE, "the text cannot become complete in %zu tokens", tokens_left);
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
    if (is_far(session, &state->machine, tokens_left)) return STATUS_OK;
    struct filter filter = {.session = session, .tokens_left = tokens_left - 1, .mask = mask};
    bytes_init(&filter.scratch, REST_BYTES_MAX);
    int32_t first = -1;
    uint32_t count =
        complete ? 0 : rest_of(session, &state->machine, bytes_limit(tokens_left), &filter.scratch, &first);
    if (count > tokens_left) count = kept_rest(session, state, tokens_left, &filter.scratch, &first);
    enum status status = STATUS_OK;
    if (count > tokens_left) {
        status = budget_exhausted(session->grammar->budget) ? grammar_failed(err) : too_few(tokens_left, err);
    } else {
        if (first >= 0) keep_plan(session, state, bytes_view(&filter.scratch));
        if (!filter_mask(&filter, &state->machine, count)) status = grammar_failed(err);
        if (first >= 0) mask_set(mask, first);
    }
    bytes_deinit(&filter.scratch);
    return status;
}
