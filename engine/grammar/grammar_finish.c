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
    SLACK = 8,
    KNOWN_SIZE = 256,
    STEPS_KEPT = 4096,
    REST_FUEL = 200000, /* for the rest that a mask relies on: 50 ms at most */
    LOOKS_FUEL = 50000  /* for the tokens of one mask */
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
    if (about != UINT64_MAX && about + SLACK <= tokens_left) return true;
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
    uint32_t *tokens; /* [words] those that are looked at */
    uint32_t *places; /* [words] scratch */
    bool (*look)(struct token_walk *walk, const struct machine_state *state);
    uint32_t *mask;     /* from which those that do not suffice are cleared */
    size_t tokens_left; /* behind the token */
    uint64_t farthest;  /* of rests, in bytes; UINT64_MAX: one is not known */
    struct bytes scratch;
    struct known *known; /* [KNOWN_SIZE] */
    uint32_t steps;      /* since frames were dropped */
    bool failed;
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

/** What is known of the state. */
static bool look_at(struct token_walk *walk, const struct machine_state *state) {
    struct machine *machine = walk->session->grammar->machine;
    struct machine_state alike = *state;
    if (machine->operations->alike != NULL) machine->operations->alike(machine, state, &alike);
    struct known *known = &walk->known[place_of(&alike)];
    if (!known->used || !same(&known->state, &alike)) *known = (struct known){alike, true, walk->look(walk, state)};
    return known->suffices;
}

/** Go on by the token from its byte `i` on, and look at what it leads to; the states behind its bytes are kept on the stack, `*kept` of them. */
static bool look_along(struct token_walk *walk, const struct machine_state *from, struct bytes_view piece, size_t i,
                       size_t *kept) {
    struct grammar_session *session = walk->session;
    struct machine *machine = session->grammar->machine;
    struct machine_state *stack = session->walk.stack;
    for (; i < piece.length; i++) {
        enum machine_step step = machine->operations->step(machine, &session->frames, i == 0 ? from : &stack[i - 1],
                                                           piece.data[i], &stack[i]);
        walk->steps++;
        walk->failed |= step == MACHINE_FAILED;
        *kept = i;
        if (step != MACHINE_LIVE) return true; /* is not of the mask: nothing to clear */
    }
    *kept = i;
    return look_at(walk, &stack[i - 1]);
}

static void clear_token(struct token_walk *walk, int32_t token) {
    if (walk->mask != NULL) walk->mask[(uint32_t)token / 32] &= ~(1u << (uint32_t)token % 32);
}

/** Tokens that end the string: looked at once for each rest that they have behind the quote. */
static bool settle_ends(struct token_walk *walk, const struct machine_state *state) {
    enum { UNKNOWN, SUFFICES, FAILS };
    const struct grammar_vocabulary *vocabulary = walk->session->grammar->vocabulary;
    const struct string_tokens *strings = &vocabulary->strings[0];
    uint8_t *known = calloc(strings->plain.rests.count + 1, 1);
    if (known == NULL) return false;
    for (uint32_t i = 0; i < strings->whole.first[strings->whole.count]; i++) {
        int32_t token = strings->whole.tokens[i];
        uint32_t *tokens = &walk->tokens[(uint32_t)token / 32], bit = 1u << (uint32_t)token % 32;
        if ((*tokens & bit) == 0) continue;
        uint8_t *rest = &known[strings->rest_of[token]];
        size_t kept;
        if (*rest == UNKNOWN)
            *rest = look_along(walk, state, tokenizer_piece(vocabulary->tokenizer, token), 0, &kept) ? SUFFICES : FAILS;
        if (*rest == FAILS) clear_token(walk, token);
        *tokens &= ~bit;
    }
    free(known);
    return true;
}

/** These tokens lead to rests that are at most `more` bytes longer than the state's: they are looked at together. False: that would not do. */
static bool settle_inside(struct token_walk *walk, const struct machine_state *state, const uint32_t *tokens,
                          uint64_t more) {
    uint32_t words = walk->session->grammar->vocabulary->words;
    size_t left = walk->tokens_left;
    walk->tokens_left = left > more ? left - more : 0;
    bool suffices = walk->look(walk, state);
    walk->tokens_left = left;
    if (!suffices && more > 0) return false;
    for (uint32_t w = 0; w < words; w++) {
        if (!suffices && walk->mask != NULL) walk->mask[w] &= ~(walk->tokens[w] & tokens[w]);
        walk->tokens[w] &= ~tokens[w];
    }
    return true;
}

/** Move the tokens that begin with these bytes from `tokens` to `places`. */
static void set_apart(struct token_walk *walk, const uint64_t bytes[4]) {
    const struct grammar_vocabulary *vocabulary = walk->session->grammar->vocabulary;
    const struct token_trie *trie = &vocabulary->trie;
    memset(walk->places, 0, vocabulary->words * sizeof *walk->places);
    for (uint32_t byte = 0; byte < 256; byte++) {
        if (!(bytes[byte / 64] >> byte % 64 & 1)) continue;
        for (uint32_t t = trie->first[trie->roots[byte]]; t < trie->first[trie->roots[byte + 1]]; t++) {
            uint32_t word = (uint32_t)trie->tokens[t] / 32, bit = 1u << (uint32_t)trie->tokens[t] % 32;
            walk->places[word] |= walk->tokens[word] & bit;
            walk->tokens[word] &= ~bit;
        }
    }
}

/** Inside a string most tokens are looked at together. */
static bool settle(struct token_walk *walk, const struct machine_state *state) {
    struct machine *machine = walk->session->grammar->machine;
    struct string_inside inside;
    if (machine->operations->inside == NULL ||
        !machine->operations->inside(machine, walk->session->grammar->vocabulary, state, &inside))
        return true;
    struct machine_state at = *state;
    if (inside.stands_for >= 0 && machine->operations->step(machine, &walk->session->frames, state,
                                                            (uint8_t)inside.stands_for, &at) != MACHINE_LIVE)
        return true;
    set_apart(walk, inside.but);
    if (inside.any == NULL || !settle_inside(walk, &at, inside.any, inside.more_any))
        (void)settle_inside(walk, &at, inside.whole, inside.more);
    bool ok = !inside.ends_alike || settle_ends(walk, state);
    mask_or(walk->tokens, walk->places, walk->session->grammar->vocabulary->words);
    return ok;
}

static size_t common_prefix(struct bytes_view a, struct bytes_view b) {
    size_t i = 0;
    while (i < a.length && i < b.length && a.data[i] == b.data[i]) i++;
    return i;
}

/** Through the tokens in the trie's order, so that what they begin with in common is stepped once. */
static void walk_in_order(struct token_walk *walk, const struct machine_state *from) {
    struct grammar_session *session = walk->session;
    const struct grammar_vocabulary *vocabulary = session->grammar->vocabulary;
    struct frames_mark before = frames_mark(&session->frames);
    struct bytes_view last = {0};
    size_t kept = 0;
    for (uint32_t w = 0; w < vocabulary->words; w++)
        for (uint32_t left = walk->places[w]; left != 0 && !walk->failed; left &= left - 1) {
            int32_t token = vocabulary->trie.tokens[w * 32 + (uint32_t)__builtin_ctz(left)];
            struct bytes_view piece = tokenizer_piece(vocabulary->tokenizer, token);
            if (!budget_may_look(session->grammar->budget)) { /* what is not looked at is not admitted */
                clear_token(walk, token);
                walk->farthest = UINT64_MAX;
                continue;
            }
            size_t shared = common_prefix(piece, last);
            if (shared > kept) shared = kept;
            if (shared == 0 && walk->steps > STEPS_KEPT) {
                frames_drop(&session->frames, before);
                memset(walk->known, 0, KNOWN_SIZE * sizeof *walk->known);
                walk->steps = 0;
            }
            bool suffices = look_along(walk, from, piece, shared, &kept);
            if (!suffices) clear_token(walk, token);
            last = piece;
        }
}

/** False: budget or memory. */
static bool walk_tokens(struct token_walk *walk, const struct machine_state *from) {
    struct grammar_session *session = walk->session;
    const struct grammar_vocabulary *vocabulary = session->grammar->vocabulary;
    struct frames_mark before = frames_mark(&session->frames);
    walk->known = calloc(KNOWN_SIZE, sizeof *walk->known);
    if (walk->known == NULL) return false;
    if (!settle(walk, from)) walk->failed = true;
    memset(walk->places, 0, vocabulary->words * sizeof *walk->places);
    for (uint32_t w = 0; w < vocabulary->words; w++)
        for (uint32_t left = walk->tokens[w]; left != 0; left &= left - 1) {
            uint32_t place = vocabulary->places[w * 32 + (uint32_t)__builtin_ctz(left)];
            if (place != UINT32_MAX) walk->places[place / 32] |= 1u << place % 32; /* else a control token */
        }
    walk_in_order(walk, from);
    frames_drop(&session->frames, before);
    free(walk->known);
    return !walk->failed && !budget_exhausted(session->grammar->budget);
}

/** Those of the mask that are no ends of text. */
static bool copy_tokens(struct token_walk *walk, const uint32_t *mask) {
    const struct grammar_vocabulary *vocabulary = walk->session->grammar->vocabulary;
    walk->tokens = malloc(2 * vocabulary->words * sizeof *walk->tokens);
    if (walk->tokens == NULL) return false;
    walk->places = walk->tokens + vocabulary->words;
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
    if (machine->operations->leap != NULL) return tokens_left > about + machine->operations->leap(machine) + SLACK;
    return about < tokens_left && farthest(session, state, mask) < tokens_left; /* each byte is a token at most */
}

/* ---- near ---- */

static bool look_whether_it_suffices(struct token_walk *walk, const struct machine_state *state) {
    return budget_may_look(walk->session->grammar->budget) &&
           suffices(walk->session, state, walk->tokens_left, &walk->scratch);
}

/** The same of control tokens, which no walk over bytes meets. */
static void filter_controls(struct token_walk *walk, const struct machine_state *state) {
    struct grammar_session *session = walk->session;
    struct machine *machine = session->grammar->machine;
    uint32_t words = session->grammar->vocabulary->words;
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
            if (!live) clear_token(walk, token);
        }
}

/** Clear what does not suffice. */
static bool filter_mask(struct token_walk *walk, const struct machine_state *state) {
    if (!copy_tokens(walk, walk->mask)) return false;
    bool ok = walk_tokens(walk, state);
    if (ok && walk->session->grammar->machine->operations->controls != NULL) filter_controls(walk, state);
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

/** For a promise there is half of what looks leave: they are many, and would have taken all when it has to be kept. */
static void limit_rest(struct grammar *grammar) {
    limit_looks(grammar, REST_FUEL);
    grammar->budget->looks_bytes = grammar->finish_bytes / 2;
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
    if (in_vain && !session->branches)
        session->rest_pause = session->rests_in_vain < PAUSE_MAX ? session->rests_in_vain : PAUSE_MAX;
    return count;
}

/** Tokens of the state's own rest, or of one that was promised before; more than tokens_left: neither is known to do. */
static uint32_t rest_in_reach(struct token_walk *walk, const struct grammar_state *state, int32_t *out_first) {
    struct grammar_session *session = walk->session;
    size_t tokens_left = walk->tokens_left + 1;
    grammar_refuel(session->grammar);
    limit_rest(session->grammar);
    uint32_t count = patient_rest(session, &state->machine, tokens_left, &walk->scratch, out_first);
    return count > tokens_left ? kept_rest(session, state, tokens_left, &walk->scratch, out_first) : count;
}

/** No token of the mask is known to suffice: what the rest begins with does. */
static enum status keep_promise(struct token_walk *walk, const struct grammar_state *state, uint32_t *mask,
                                struct error *err) {
    struct grammar_session *session = walk->session;
    struct machine *machine = session->grammar->machine;
    size_t tokens_left = walk->tokens_left + 1;
    int32_t first = -1;
    session->fell_short = rest_in_reach(walk, state, &first) > tokens_left;
    if (session->fell_short)
        return budget_exhausted(session->grammar->budget) ? grammar_failed(session->grammar, err)
                                                          : too_few(tokens_left, err);
    bool is_next = first >= 0 && mask[first / 32] >> first % 32 & 1; /* else a control token comes before it */
    memset(mask, 0, session->grammar->vocabulary->words * sizeof *mask);
    if (is_next) {
        keep_plan(session, state, bytes_view(&walk->scratch));
        mask_set(mask, first);
    } else if (machine->operations->controls != NULL) {
        machine->operations->controls(machine, &state->machine, mask);
    }
    return STATUS_OK;
}

enum status finish_filter(struct grammar_session *session, const struct grammar_state *state, size_t tokens_left,
                          uint32_t *mask, struct error *err) {
    struct machine *machine = session->grammar->machine;
    uint32_t words = session->grammar->vocabulary->words;
    if (tokens_left == 0) {
        if (!machine->operations->complete(machine, &state->machine)) return too_few(tokens_left, err);
        only_ends(session->grammar->vocabulary, mask);
        return STATUS_OK;
    }
    grammar_refuel(session->grammar);
    limit_looks(session->grammar, LOOKS_FUEL);
    if (is_far(session, &state->machine, tokens_left, mask)) return STATUS_OK;
    uint32_t *filtered = malloc(words * sizeof *filtered);
    if (filtered == NULL) return grammar_failed(session->grammar, err);
    memcpy(filtered, mask, words * sizeof *filtered);
    struct token_walk walk = {
        .session = session, .look = look_whether_it_suffices, .tokens_left = tokens_left - 1, .mask = filtered};
    int32_t first;
    enum status status = STATUS_OK;
    bytes_init(&walk.scratch, REST_BYTES_MAX);
    bool complete = machine->operations->complete(machine, &state->machine);
    /* What fell short before does so again, most often: then that is all that is asked. */
    if (session->fell_short && !session->branches && !complete && rest_in_reach(&walk, state, &first) > tokens_left)
        status = too_few(tokens_left, err);
    limit_looks(session->grammar, LOOKS_FUEL);
    if (status == STATUS_OK && !filter_mask(&walk, &state->machine)) status = grammar_failed(session->grammar, err);
    if (status == STATUS_OK && grammar_mask_is_empty(filtered, words))
        status = keep_promise(&walk, state, mask, err);
    else if (status == STATUS_OK)
        memcpy(mask, filtered, words * sizeof *mask);
    bytes_deinit(&walk.scratch);
    free(filtered);
    return status;
}

bool grammar_may_take(struct grammar_session *session, const struct grammar_state *state, const int32_t *tokens,
                      size_t count, size_t tokens_left) {
    struct frames_mark before = frames_mark(&session->frames);
    struct grammar_state at = *state;
    struct bytes scratch;
    bool out = count <= tokens_left && grammar_accept_each(session, &at, tokens, count) == count;
    pthread_mutex_lock(&session->grammar->lock);
    bytes_init(&scratch, REST_BYTES_MAX);
    grammar_refuel(session->grammar);
    limit_looks(session->grammar, REST_FUEL);
    out = out && suffices(session, &at.machine, tokens_left - count, &scratch);
    bytes_deinit(&scratch);
    pthread_mutex_unlock(&session->grammar->lock);
    frames_drop(&session->frames, before);
    return out;
}

size_t grammar_tokens_needed(struct grammar_session *session, const struct grammar_state *state) {
    struct grammar *grammar = session->grammar;
    struct bytes rest;
    int32_t first;
    uint32_t count = 0;
    pthread_mutex_lock(&grammar->lock);
    bytes_init(&rest, REST_BYTES_MAX);
    grammar_refuel(grammar);
    limit_rest(grammar);
    if (!grammar->machine->operations->complete(grammar->machine, &state->machine))
        count = rest_of(session, &state->machine, REST_BYTES_MAX, &rest, &first);
    bytes_deinit(&rest);
    pthread_mutex_unlock(&grammar->lock);
    return count == SPELLING_NEVER ? SIZE_MAX : count;
}
