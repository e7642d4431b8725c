/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Any text as a grammar, in the dialect that the first byte says: it is refused with a place and a sentence, or every state of walks through it is live. */
#include "base/random.h"
#include "engine/grammar/earley.h"

#include <stdlib.h>
#include <string.h>

enum { WALKS = 3, STEPS = 24, TRIES = 40, REST_MAX = 200 };

static const char LIKELY[] = "ab01xyz .,;:()[]{}<>\"'\\+-*/=_\n\tAZ";

/* The shortest rest makes the text complete. */
static void check_rest(struct machine *machine, struct frames *frames, struct machine_state state) {
    struct bytes rest;
    bytes_init(&rest, 1 << 16);
    uint64_t length = machine->operations->shortest(machine, frames, &state, REST_MAX, &rest);
    if (length <= REST_MAX) {
        if (rest.length != length) abort();
        enum machine_step step = MACHINE_LIVE;
        for (size_t i = 0; i < rest.length && step == MACHINE_LIVE; i++)
            step = machine->operations->step(machine, frames, &state, rest.data[i], &state);
        if (step == MACHINE_DEAD || (step == MACHINE_LIVE && !machine->operations->complete(machine, &state))) abort();
    }
    bytes_deinit(&rest);
}

static void walk(struct machine *machine, const struct grammar_budget *budget, uint64_t seed) {
    struct frames frames;
    struct machine_state state, next;
    uint64_t position = 0;
    frames_init(&frames, 16 << 20);
    enum machine_step step = machine->operations->start(machine, &frames, &state);
    for (int i = 0; i < STEPS && step == MACHINE_LIVE; i++) {
        for (int k = 0; k < TRIES; k++) {
            uint64_t draw = random_philox(seed, position++, 0);
            uint8_t byte = draw & 1 ? (uint8_t)LIKELY[(draw >> 8) % (sizeof LIKELY - 1)] : (uint8_t)(draw >> 16);
            step = machine->operations->step(machine, &frames, &state, byte, &next);
            if (step != MACHINE_DEAD) break;
        }
        if (step == MACHINE_DEAD) break;
        state = next;
    }
    if (step != MACHINE_FAILED && !budget_exhausted(budget)) check_rest(machine, &frames, state);
    frames_deinit(&frames);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    struct grammar_budget budget = {.fuel = 50000, .bytes = 64 << 20};
    struct grammar_problem problem = {0};
    struct machine *machine = NULL;
    enum grammar_dialect dialect = data[0] == 'g' ? GRAMMAR_GBNF : GRAMMAR_LARK;
    enum status status = earley_machine_create(&budget, bytes_view_of(data + 1, size - 1), dialect, &machine, &problem);
    if (status != STATUS_OK) {
        if (problem.reason[0] == 0 || strchr(problem.pointer, ':') == NULL) abort();
        return 0;
    }
    for (uint64_t i = 0; i < WALKS; i++) walk(machine, &budget, i);
    machine->operations->destroy(machine);
    return 0;
}
