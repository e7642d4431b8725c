/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Text that must come next, and its tokens. */
#include "engine/grammar/grammar_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    FORCED_BYTES_MAX = 1 << 12,
    TOKEN_BYTES_USUAL = 12, /* more text than that for each token that is asked for is not looked at */
    FORCED_FUEL = 10000,    /* 25 ms at most; what is not found by then is drawn, or found behind the next token */
    RECENT_MAX = 16
};

/* ---- bytes ---- */

static enum machine_step probe(struct grammar_session *session, const struct machine_state *state, uint8_t byte) {
    struct machine *machine = session->grammar->machine;
    struct frames_mark before = frames_mark(&session->frames);
    struct machine_state next;
    enum machine_step step = machine->operations->step(machine, &session->frames, state, byte, &next);
    frames_drop(&session->frames, before);
    return step;
}

/** The byte only begins other spellings of what other bytes begin. */
static bool respells(struct grammar_session *session, const struct machine_state *state, uint8_t byte) {
    struct machine *machine = session->grammar->machine;
    if (machine->operations->respells == NULL) return false;
    struct frames_mark before = frames_mark(&session->frames);
    bool out = machine->operations->respells(machine, &session->frames, state, byte);
    frames_drop(&session->frames, before);
    return out;
}

/** The one byte that can follow; a backslash that only spells the same otherwise is left out. -1: there are several. -2: the budget. */
static int only_byte(struct grammar_session *session, const struct machine_state *state) {
    int found = -1;
    for (int i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)(i + ' '); /* letters first: most texts have two that can follow there */
        enum machine_step step = byte == '\\' ? MACHINE_DEAD : probe(session, state, byte);
        if (step == MACHINE_FAILED) return -2;
        if (step == MACHINE_DEAD) continue;
        if (found >= 0) return -1;
        found = byte;
    }
    enum machine_step step = probe(session, state, '\\');
    if (step == MACHINE_FAILED) return -2;
    if (step == MACHINE_DEAD) return found;
    if (found < 0) return '\\';
    return respells(session, state, '\\') ? found : -1;
}

/** A control token may come, so no byte must. */
static bool awaits_control(const struct grammar_session *session, const struct machine_state *state) {
    struct machine *machine = session->grammar->machine;
    return machine->operations->awaits_control != NULL && machine->operations->awaits_control(machine, state);
}

/** Go on as long as one byte can follow; `state` ends behind what was appended. */
static enum status force(struct grammar_session *session, struct machine_state *state, size_t bytes_max,
                         struct bytes *out, struct error *err) {
    struct machine *machine = session->grammar->machine;
    struct grammar_budget *budget = session->grammar->budget;
    grammar_refuel(session->grammar);
    budget->looks = budget->fuel - FORCED_FUEL;
    for (size_t i = 0; i < bytes_max && budget_may_look(budget); i++) {
        if (machine->operations->complete(machine, state) || awaits_control(session, state)) break;
        int byte = only_byte(session, state);
        if (byte == -1) break;
        if (byte < 0 ||
            machine->operations->step(machine, &session->frames, state, (uint8_t)byte, state) == MACHINE_FAILED)
            return grammar_failed(session->grammar, err);
        TRY(bytes_append_byte(out, (uint8_t)byte));
    }
    return STATUS_OK;
}

enum status grammar_forced(struct grammar_session *session, const struct grammar_state *state, size_t bytes_max,
                           struct bytes *out, struct error *err) {
    pthread_mutex_lock(&session->grammar->lock);
    struct frames_mark before = frames_mark(&session->frames);
    struct machine_state at = state->machine;
    enum status status = force(session, &at, bytes_max, out, err);
    frames_drop(&session->frames, before);
    pthread_mutex_unlock(&session->grammar->lock);
    return status;
}

/* ---- tokens ---- */

/** The tokens of recent text and what is forced, as the tokenizer cuts them. */
struct cut {
    struct token_list list;
    size_t first; /* of the tokens that spell what is forced */
};

/** The pieces from `from` on are `text`. */
static bool spells(const struct tokenizer *tokenizer, const struct token_list *list, size_t from,
                   struct bytes_view text) {
    for (size_t i = from; i < list->count; i++) {
        struct bytes_view piece = tokenizer_piece(tokenizer, list->ids[i]);
        if (piece.length == 0 || piece.length > text.length || memcmp(piece.data, text.data, piece.length) != 0)
            return false;
        text = (struct bytes_view){text.data + piece.length, text.length - piece.length};
    }
    return text.length == 0;
}

/**
 * Encode `before` (a few tokens, or a line's end that stands for none) and `forced`. *out_ok: the encoding begins with the tokens before, and spells the text.
 * Some tokenizers put a blank in front of a text: that one is left out.
 */
static enum status encode(const struct tokenizer *tokenizer, const int32_t *before, size_t before_count,
                          struct bytes_view forced, struct cut *cut, bool *out_ok, struct error *err) {
    struct bytes text;
    bytes_init(&text, SIZE_MAX / 2);
    for (size_t i = 0; i < before_count; i++) {
        struct bytes_view piece = tokenizer_piece(tokenizer, before[i]);
        (void)bytes_append(&text, piece.data, piece.length);
    }
    if (before_count == 0) (void)bytes_append_byte(&text, '\n');
    size_t begun = text.length;
    enum status status = bytes_append(&text, forced.data, forced.length);
    cut->list.count = 0;
    if (status == STATUS_OK) status = tokenizer_encode(tokenizer, bytes_view(&text), &cut->list, err);
    *out_ok = false;
    for (size_t first = 0, length = 0; status == STATUS_OK && first < cut->list.count && length <= begun + 1; first++) {
        if ((length == begun || length == begun + 1) && spells(tokenizer, &cut->list, first, forced)) {
            *out_ok = first >= before_count &&
                      (before_count == 0 ||
                       memcmp(cut->list.ids + first - before_count, before, before_count * sizeof *before) == 0);
            cut->first = first;
            break;
        }
        length += tokenizer_piece(tokenizer, cut->list.ids[first]).length;
    }
    bytes_deinit(&text);
    return status;
}

/** With as much of what came before as still stands as it was cut; without any, as in the middle of a text. */
static enum status cut_forced(const struct tokenizer *tokenizer, const int32_t *recent, size_t recent_count,
                              struct bytes_view forced, struct cut *cut, bool *out_ok, struct error *err) {
    size_t known = recent_count;
    *out_ok = false;
    while (known > 0 && tokenizer_piece(tokenizer, recent[recent_count - known]).length == 0) known--;
    for (size_t count = known; !*out_ok; count--) {
        TRY(encode(tokenizer, recent + recent_count - count, count, forced, cut, out_ok, err));
        if (count == 0) break;
    }
    return STATUS_OK;
}

static uint32_t node_of(const struct token_trie *trie, struct bytes_view text) {
    uint32_t first = 0, end = trie->count, node = UINT32_MAX;
    for (size_t i = 0; i < text.length; i++) {
        node = i == 0 ? trie->roots[text.data[0]] : first;
        if (i == 0) end = trie->roots[text.data[0] + 1];
        while (node < end && trie->bytes[node] != text.data[i]) node += trie->sizes[node];
        if (node >= end) return UINT32_MAX;
        end = node + trie->sizes[node];
        first = node + 1;
    }
    return node;
}

/** Some token that begins with `text`, and is longer, may stand where `text` stands (but for odd spellings); `behind`: the state after it. */
static bool goes_on(struct grammar_session *session, struct bytes_view text, const struct machine_state *behind) {
    struct machine *machine = session->grammar->machine;
    const struct token_trie *trie = &session->grammar->vocabulary->trie;
    struct machine_state *stack = session->walk.stack;
    uint32_t node = text.length == 0 || text.length > TRIE_DEPTH_MAX ? UINT32_MAX : node_of(trie, text);
    if (node == UINT32_MAX) return false;
    bool found = false;
    uint32_t top = trie->depths[node] + 1u;
    struct frames_mark before = frames_mark(&session->frames);
    for (uint32_t i = node + 1; i < node + trie->sizes[node] && !found;) {
        uint32_t depth = trie->depths[i];
        const struct machine_state *from = depth == top ? behind : &stack[depth - 1];
        enum machine_step step = MACHINE_DEAD;
        if (!respells(session, from, trie->bytes[i]))
            step = machine->operations->step(machine, &session->frames, from, trie->bytes[i], &stack[depth]);
        found = step == MACHINE_FAILED || (step == MACHINE_LIVE && trie->first[i] < trie->first[i + 1]);
        i += step == MACHINE_LIVE ? 1 : trie->sizes[i];
    }
    frames_drop(&session->frames, before);
    return found;
}

/** How many of the tokens stand, whatever comes behind what is forced. */
static size_t certain_tokens(struct grammar_session *session, const struct cut *cut, struct bytes_view forced,
                             const struct machine_state *behind) {
    const struct tokenizer *tokenizer = session->grammar->vocabulary->tokenizer;
    size_t count = cut->list.count - cut->first;
    for (size_t i = 0; i < count; i++) {
        if (goes_on(session, forced, behind)) return i;
        size_t length = tokenizer_piece(tokenizer, cut->list.ids[cut->first + i]).length;
        forced = (struct bytes_view){forced.data + length, forced.length - length};
    }
    return count;
}

static enum status forced_tokens(struct grammar_session *session, const struct grammar_state *state,
                                 const int32_t *recent, size_t recent_count, int32_t *out, size_t count_max,
                                 size_t *out_count, struct error *err) {
    struct bytes text;
    struct machine_state behind = state->machine;
    struct cut cut = {.list = {.max_count = 2 * FORCED_BYTES_MAX + RECENT_MAX}};
    bool ok = false;
    bytes_init(&text, FORCED_BYTES_MAX);
    size_t bytes_max =
        count_max < FORCED_BYTES_MAX / TOKEN_BYTES_USUAL ? count_max * TOKEN_BYTES_USUAL : FORCED_BYTES_MAX;
    enum status status = force(session, &behind, bytes_max, &text, err);
    if (recent_count > RECENT_MAX) {
        recent += recent_count - RECENT_MAX;
        recent_count = RECENT_MAX;
    }
    if (status == STATUS_OK && text.length > 0)
        status = cut_forced(session->grammar->vocabulary->tokenizer, recent, recent_count, bytes_view(&text), &cut, &ok,
                            err);
    if (status == STATUS_OK && ok) {
        size_t count = certain_tokens(session, &cut, bytes_view(&text), &behind);
        *out_count = count < count_max ? count : count_max;
        if (*out_count > 0) memcpy(out, cut.list.ids + cut.first, *out_count * sizeof *out);
    }
    token_list_deinit(&cut.list);
    bytes_deinit(&text);
    return status;
}

enum status grammar_forced_tokens(struct grammar_session *session, const struct grammar_state *state,
                                  const int32_t *recent, size_t recent_count, int32_t *out, size_t count_max,
                                  size_t *out_count, struct error *err) {
    *out_count = 0;
    pthread_mutex_lock(&session->grammar->lock);
    struct frames_mark before = frames_mark(&session->frames);
    enum status status = forced_tokens(session, state, recent, recent_count, out, count_max, out_count, err);
    frames_drop(&session->frames, before);
    pthread_mutex_unlock(&session->grammar->lock);
    return status;
}
