/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* States of one symbol with the same edges become one: in x ("," x)* what follows the first x is what follows the others. */
#include "engine/grammar/earley_tables.h"

#include "engine/grammar/growing.h"
#include "engine/grammar/scan_sets.h"

enum { ROUNDS_MAX = 8 };

struct merging {
    struct earley_tables *tables;
    const uint32_t *states; /* those in use */
    uint32_t count;
    uint32_t *same;  /* of each state, the one that stands for it */
    uint32_t *table; /* hash table of state + 1 */
    uint32_t slots;
};

static int compare_terminals(const void *left, const void *right) {
    const struct earley_terminal *a = left, *b = right;
    if (a->value != b->value) return a->value < b->value ? -1 : 1;
    return a->target < b->target ? -1 : a->target > b->target;
}

static int compare_calls(const void *left, const void *right) {
    const struct earley_call *a = left, *b = right;
    if (a->symbol != b->symbol) return a->symbol < b->symbol ? -1 : 1;
    return a->target < b->target ? -1 : a->target > b->target;
}

/* Targets as they are now, in one order, one of each. */
static void settle_edges(const struct merging *merging, struct earley_state *state) {
    struct earley_terminal *terminals = merging->tables->terminals + state->terminal_first;
    struct earley_call *calls = merging->tables->calls + state->call_first;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < state->terminal_count; i++) terminals[i].target = merging->same[terminals[i].target];
    for (uint32_t i = 0; i < state->call_count; i++) calls[i].target = merging->same[calls[i].target];
    if (state->terminal_count > 1) qsort(terminals, state->terminal_count, sizeof *terminals, compare_terminals);
    for (uint32_t i = 0; i < state->terminal_count; i++)
        if (kept == 0 || compare_terminals(&terminals[kept - 1], &terminals[i]) != 0) terminals[kept++] = terminals[i];
    state->terminal_count = kept;
    if (state->call_count > 1) qsort(calls, state->call_count, sizeof *calls, compare_calls);
    kept = 0;
    for (uint32_t i = 0; i < state->call_count; i++)
        if (kept == 0 || compare_calls(&calls[kept - 1], &calls[i]) != 0) calls[kept++] = calls[i];
    state->call_count = kept;
}

static bool same_state(const struct earley_tables *tables, const struct earley_state *a, const struct earley_state *b) {
    return a->owner == b->owner && a->final == b->final && a->terminal_count == b->terminal_count &&
           a->call_count == b->call_count &&
           memcmp(tables->terminals + a->terminal_first, tables->terminals + b->terminal_first,
                  a->terminal_count * sizeof *tables->terminals) == 0 &&
           memcmp(tables->calls + a->call_first, tables->calls + b->call_first,
                  a->call_count * sizeof *tables->calls) == 0;
}

static uint64_t state_hash(const struct earley_tables *tables, const struct earley_state *state) {
    uint64_t hash = scan_mix(state->owner, state->final);
    for (uint32_t i = 0; i < state->terminal_count; i++) {
        struct earley_terminal it = tables->terminals[state->terminal_first + i];
        hash = scan_mix(hash, (uint64_t)it.value << 32 | it.target);
    }
    for (uint32_t i = 0; i < state->call_count; i++) {
        struct earley_call it = tables->calls[state->call_first + i];
        hash = scan_mix(hash, (uint64_t)it.symbol << 32 | it.target);
    }
    return hash;
}

/* One round: true when some state got another one that stands for it. */
static bool merge_once(struct merging *merging) {
    struct earley_tables *tables = merging->tables;
    bool merged = false;
    memset(merging->table, 0, merging->slots * sizeof *merging->table);
    for (uint32_t i = 0; i < merging->count; i++) {
        uint32_t state = merging->states[i];
        if (merging->same[state] == state) settle_edges(merging, &tables->states[state]);
    }
    for (uint32_t i = 0; i < merging->count; i++) {
        uint32_t state = merging->states[i];
        if (merging->same[state] != state) continue;
        uint32_t slot = (uint32_t)state_hash(tables, &tables->states[state]) & (merging->slots - 1), there;
        while ((there = merging->table[slot]) != 0 &&
               !same_state(tables, &tables->states[there - 1], &tables->states[state]))
            slot = (slot + 1) & (merging->slots - 1);
        if (there == 0) {
            merging->table[slot] = state + 1;
            continue;
        }
        merging->same[state] = there - 1;
        merged = true;
    }
    /* The one that stands for a state may have got one itself in an earlier round. */
    for (uint32_t i = 0; i < merging->count; i++) {
        uint32_t *same = &merging->same[merging->states[i]];
        while (merging->same[*same] != *same) *same = merging->same[*same];
    }
    return merged;
}

bool earley_tables_merge(struct earley_tables *tables, const uint32_t *states, uint32_t count) {
    struct merging merging = {.tables = tables, .states = states, .count = count, .slots = 16};
    while (merging.slots < 2 * count) merging.slots *= 2;
    size_t bytes = ((size_t)tables->state_count + merging.slots) * sizeof(uint32_t);
    if (!budget_reserve(tables->budget, bytes)) return false;
    merging.same = malloc(tables->state_count * sizeof *merging.same);
    merging.table = malloc(merging.slots * sizeof *merging.table);
    bool ok = merging.same != NULL && merging.table != NULL;
    if (ok) {
        for (uint32_t i = 0; i < tables->state_count; i++) merging.same[i] = i;
        for (int round = 0; round < ROUNDS_MAX && ok && merge_once(&merging); round++)
            ok = budget_spend(tables->budget, count / 4);
        /* The last round may have changed targets. */
        for (uint32_t i = 0; i < count; i++) settle_edges(&merging, &tables->states[states[i]]);
        for (uint32_t i = 0; i < tables->symbol_count; i++)
            tables->symbols[i].start = merging.same[tables->symbols[i].start];
        tables->start = merging.same[tables->start];
    }
    free(merging.same);
    free(merging.table);
    tables->budget->bytes += (int64_t)bytes;
    return ok;
}
