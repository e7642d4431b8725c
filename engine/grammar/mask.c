/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/grammar_internal.h"
#include "engine/grammar/json_machine.h"

/** Walk a trie from a state; what is accepted is set. */
static bool walk(struct grammar_session *session, const struct token_trie *trie, const struct machine_state *from, uint32_t *mask) {
    struct machine *machine = session->grammar->machine;
    struct frames *frames = &session->frames;
    struct machine_state *stack = session->stack;
    enum machine_step (*step)(struct machine *, struct frames *, const struct machine_state *, uint8_t, struct machine_state *) =
        machine->operations->step;
    struct frames_mark before = frames_mark(frames);
    bool ok = true;
    for (uint32_t i = 0; i < trie->count;) {
        uint32_t depth = trie->depths[i];
        frames_drop(frames, depth == 0 ? before : session->marks[depth - 1]);
        enum machine_step result = step(machine, frames, depth == 0 ? from : &stack[depth - 1], trie->bytes[i], &stack[depth]);
        if (result == MACHINE_DEAD) {
            i += trie->sizes[i];
            continue;
        }
        if (result == MACHINE_FAILED) {
            ok = false;
            break;
        }
        session->marks[depth] = frames_mark(frames);
        for (uint32_t t = trie->first[i]; t < trie->first[i + 1]; t++) mask_set(mask, trie->tokens[t]);
        i++;
    }
    frames_drop(frames, before);
    return ok;
}

bool mask_fill(struct grammar_session *session, const struct machine_state *state, uint32_t *mask) {
    return walk(session, &session->grammar->vocabulary->trie, state, mask);
}
