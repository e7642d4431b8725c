/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/mask.h"

bool mask_walk(struct mask_walk *walk, const struct token_trie *trie, uint32_t first, uint32_t end,
               const struct machine_state *from, uint32_t *mask) {
    struct machine *machine = walk->machine;
    const struct machine_operations *operations = machine->operations;
    struct frames *frames = walk->frames;
    struct machine_state *stack = walk->stack;
    struct frames_mark before = frames_mark(frames);
    uint32_t top = first < end ? trie->depths[first] : 0;
    bool ok = true;
    for (uint32_t i = first; ok && i < end;) {
        uint32_t depth = trie->depths[i];
        frames_drop(frames, depth == top ? before : walk->marks[depth - 1]);
        enum machine_step step =
            operations->step(machine, frames, depth == top ? from : &stack[depth - 1], trie->bytes[i], &stack[depth]);
        if (step != MACHINE_LIVE) {
            ok = step == MACHINE_DEAD;
            i += trie->sizes[i];
            continue;
        }
        walk->marks[depth] = frames_mark(frames);
        mask_set_node(mask, trie, i);
        i++;
    }
    frames_drop(frames, before);
    return ok;
}
