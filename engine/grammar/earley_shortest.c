/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The shortest rest of a text: what is left of a terminal, of its rule, and of all rules around it. */
#include "engine/grammar/earley_internal.h"

#include "engine/grammar/growing.h"

/* How the text goes on: bytes that finish a code point, a terminal's text, then from `state` in a rule that began at `origin`. */
struct way {
    uint64_t bytes;
    uint8_t finish[4];
    uint32_t finish_count;
    regex terminal;
    uint32_t state;
    const struct earley_row *origin;
};

static uint64_t sum(uint64_t a, uint64_t b) {
    return a == EARLEY_NEVER || b == EARLEY_NEVER ? EARLEY_NEVER : a + b < a ? EARLEY_NEVER - 1 : a + b;
}

static void look_at_thread(struct earley_machine *machine, const struct earley_frame *frame, struct scan_thread thread,
                           uint32_t unfinished, struct way *best) {
    struct way way = {.terminal = thread.left, .state = thread.state};
    if (unfinished != 0)
        way.terminal = regex_finish_code_point(machine->pool, thread.left, unfinished, way.finish, &way.finish_count);
    uint64_t bytes = sum(way.finish_count, regex_lengths_of(&machine->lengths, machine->pool, way.terminal));
    bytes = sum(bytes, machine->tables.places[thread.state].rest);
    const struct earley_origins *origins = frame->slots[thread.slot];
    uint32_t owner = machine->tables.states[thread.state].owner;
    for (uint32_t i = 0; i < origins->count; i++) {
        const struct earley_row *origin = origins->rows[i];
        way.bytes = sum(bytes, origin == NULL ? 0 : earley_group(origin, owner)->finish);
        way.origin = origin;
        if (way.bytes < best->bytes) *best = way;
    }
}

/* The shortest text from `place` to the end of its symbol. */
static void write_rest(struct earley_machine *machine, uint32_t place, struct bytes *out) {
    const struct earley_tables *tables = &machine->tables;
    uint32_t *stack = NULL, capacity = 0, count = 0;
    for (;;) {
        uint32_t best = tables->places[place].best;
        if (best == RULES_NONE) { /* the symbol ends */
            if (count == 0) break;
            place = stack[--count];
            continue;
        }
        const struct earley_path *path = &tables->paths[best];
        if (path->kind == EARLEY_TERMINAL) (void)regex_shortest_bytes(machine->pool, path->value, out);
        place = path->to;
        if (path->kind != EARLEY_CALL || tables->symbols[path->value].shortest == 0) continue;
        if (!growing_reserve(machine->budget, &stack, &capacity, (uint64_t)count + 1, sizeof *stack)) {
            out->failed = true;
            break;
        }
        stack[count++] = place;
        place = tables->symbols[path->value].start;
    }
    growing_free(machine->budget, stack, capacity, sizeof *stack);
}

static void write_way(struct earley_machine *machine, const struct way *way, struct bytes *out) {
    /* Failures show in the buffer's own flag. */
    (void)bytes_append(out, way->finish, way->finish_count);
    (void)regex_shortest_bytes(machine->pool, way->terminal, out);
    uint32_t state = way->state;
    const struct earley_row *origin = way->origin;
    for (;;) {
        write_rest(machine, state, out);
        if (origin == NULL) return;
        const struct earley_group *group = earley_group(origin, machine->tables.states[state].owner);
        const struct earley_wait *wait = &origin->waits[group->best];
        state = wait->state;
        origin = wait->origin;
    }
}

uint64_t earley_shortest(struct machine *base, struct frames *frames, const struct machine_state *state, uint64_t limit,
                         struct bytes *out) {
    (void)frames;
    struct earley_machine *machine = (struct earley_machine *)base;
    if (state->word[EARLEY_WORD_COMPLETE] != 0) return 0;
    struct way best = {.bytes = EARLEY_NEVER};
    uint32_t count;
    (void)scan_set_threads(&machine->sets, (uint32_t)state->word[EARLEY_WORD_THREADS], &count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t again;
        struct scan_thread thread =
            scan_set_threads(&machine->sets, (uint32_t)state->word[EARLEY_WORD_THREADS], &again)[i];
        look_at_thread(machine, state->frame, thread, (uint32_t)state->word[EARLEY_WORD_UNFINISHED], &best);
    }
    if (best.bytes > limit) return limit + 1;
    if (out != NULL) write_way(machine, &best, out);
    return best.bytes;
}
