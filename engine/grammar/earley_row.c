/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Rows, and sets of them. */
#include "engine/grammar/earley_internal.h"

#include "engine/grammar/growing.h"

enum { HASH_SELF = 3, HASH_OUTSIDE = 5 };

const struct earley_row earley_self;
static const struct earley_row *const OUTSIDE[1] = {NULL};
const struct earley_origins earley_outside = {.hash = HASH_OUTSIDE, .count = 1, .rows = OUTSIDE};

/* ---- sets of rows ---- */

bool earley_origins_equal(const struct earley_origins *a, const struct earley_origins *b) {
    return a == b ||
           (a->hash == b->hash && a->count == b->count && memcmp(a->rows, b->rows, a->count * sizeof *a->rows) == 0);
}

static int compare_rows(const void *a, const void *b) {
    uintptr_t left = (uintptr_t) * (const struct earley_row *const *)a;
    uintptr_t right = (uintptr_t) * (const struct earley_row *const *)b;
    return left < right ? -1 : left > right;
}

static const struct earley_origins *single(const struct earley_row *row) {
    return row == NULL ? &earley_outside : &row->single;
}

const struct earley_origins *earley_make_origins(struct frames *frames, const struct earley_row **rows,
                                                 uint32_t count) {
    if (count == 1) return single(rows[0]);
    qsort(rows, count, sizeof *rows, compare_rows);
    uint32_t kept = 0;
    uint64_t hash = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0 && rows[i] == rows[i - 1]) continue;
        rows[kept++] = rows[i];
        hash += scan_mix(1, single(rows[i])->hash); /* whatever the order */
    }
    if (kept == 1) return single(rows[0]);
    struct earley_origins *origins = frames_alloc(frames, sizeof *origins + kept * sizeof *rows);
    if (origins == NULL) return NULL;
    const struct earley_row **copy = (const struct earley_row **)(origins + 1);
    memcpy(copy, rows, kept * sizeof *rows);
    *origins = (struct earley_origins){.hash = hash, .count = kept, .rows = copy};
    return origins;
}

const struct earley_origins *earley_join_origins(struct earley_machine *machine, struct frames *frames,
                                                 const struct earley_origins *a, const struct earley_origins *b) {
    if (earley_origins_equal(a, b)) return a;
    uint32_t count = a->count + b->count;
    machine->visits += count;
    if (!growing_reserve(machine->budget, &machine->rows, &machine->row_capacity, count, sizeof *machine->rows))
        return NULL;
    memcpy(machine->rows, a->rows, a->count * sizeof *a->rows);
    memcpy(machine->rows + a->count, b->rows, b->count * sizeof *b->rows);
    return earley_make_origins(frames, machine->rows, count);
}

/* ---- rows ---- */

const struct earley_group *earley_group(const struct earley_row *row, uint32_t symbol) {
    uint32_t low = 0, high = row->group_count - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (row->groups[middle].symbol < symbol)
            low = middle + 1;
        else
            high = middle;
    }
    return &row->groups[low];
}

static int compare_waiting(const void *left, const void *right) {
    const struct earley_waiting *a = left, *b = right;
    if (a->symbol != b->symbol) return a->symbol < b->symbol ? -1 : 1;
    if (a->state != b->state) return a->state < b->state ? -1 : 1;
    return compare_rows(&a->origin, &b->origin);
}

/* Sorted, one of each; returns the number of symbols. */
static uint32_t sort_waiting(struct earley_machine *machine) {
    enum { FEW = 12 };
    struct earley_waiting *waiting = machine->waiting;
    uint32_t count = machine->waiting_count, kept = 0, groups = 0;
    if (count > FEW) {
        qsort(waiting, count, sizeof *waiting, compare_waiting);
    } else {
        for (uint32_t i = 1; i < count; i++) {
            struct earley_waiting it = waiting[i];
            uint32_t at = i;
            for (; at > 0 && compare_waiting(&waiting[at - 1], &it) > 0; at--) waiting[at] = waiting[at - 1];
            waiting[at] = it;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (kept > 0 && compare_waiting(&waiting[kept - 1], &waiting[i]) == 0) continue;
        if (kept == 0 || waiting[kept - 1].symbol != waiting[i].symbol) groups++;
        waiting[kept++] = waiting[i];
    }
    machine->waiting_count = kept;
    return groups;
}

/* Bytes behind the wait until the text is complete. */
static uint64_t wait_finish(const struct earley_machine *machine, const struct earley_wait *wait) {
    uint64_t rest = machine->tables.places[wait->state].rest;
    uint64_t above =
        wait->origin == NULL ? 0 : earley_group(wait->origin, machine->tables.states[wait->state].owner)->finish;
    return above == EARLEY_NEVER ? EARLEY_NEVER : rest + above < EARLEY_NEVER / 2 ? rest + above : EARLEY_NEVER / 2;
}

/* Waits whose origin is the row itself depend on others of it: until nothing becomes shorter. Only strictly shorter ones are taken, so `best` has no cycle. */
static void find_finish(struct earley_machine *machine, struct earley_row *row) {
    for (bool shorter = true; shorter;) {
        shorter = false;
        for (uint32_t i = 0; i < row->group_count; i++) {
            struct earley_group *group = &row->groups[i];
            for (uint32_t k = group->first; k < group->first + group->count; k++) {
                uint64_t finish = wait_finish(machine, &row->waits[k]);
                if (finish >= group->finish) continue;
                group->finish = finish;
                group->best = k;
                shorter = true;
            }
            machine->visits += group->count;
        }
        if (machine->visits > EARLEY_VISITS_MAX) return;
    }
}

/* Where only one waits for the symbol, and its rule ends behind it, the symbol's end is that rule's end. */
static void find_leo(struct earley_machine *machine, struct earley_row *row, struct earley_group *group) {
    const struct earley_wait *wait = &row->waits[group->first];
    const struct earley_state *state = &machine->tables.states[wait->state];
    if (group->count != 1 || !state->pure || wait->origin == NULL) return;
    const struct earley_group *above = earley_group(wait->origin, state->owner);
    /* In the row itself, what is above has its own shortcut only if it came first; whoever takes this one goes on from there. */
    if (above->leo_row != NULL) {
        group->leo_row = above->leo_row;
        group->leo_symbol = above->leo_symbol;
    } else {
        group->leo_row = wait->origin;
        group->leo_symbol = state->owner;
    }
}

const struct earley_row *earley_make_row(struct earley_machine *machine, struct frames *frames) {
    uint32_t groups = sort_waiting(machine), count = machine->waiting_count;
    size_t head = sizeof(struct earley_row) + groups * sizeof(struct earley_group);
    struct earley_row *row = frames_alloc(frames, head + count * sizeof(struct earley_wait));
    if (row == NULL) return NULL;
    *row = (struct earley_row){.itself = row, .waits = (struct earley_wait *)((char *)row + head)};
    row->single = (struct earley_origins){.hash = count, .count = 1, .rows = &row->itself};
    for (uint32_t i = 0; i < count; i++) {
        struct earley_waiting it = machine->waiting[i];
        uint64_t origin = it.origin == &earley_self ? HASH_SELF : single(it.origin)->hash;
        row->waits[i] = (struct earley_wait){it.state, it.origin == &earley_self ? row : it.origin};
        row->single.hash += scan_mix(scan_mix(origin, it.state), it.symbol);
        if (row->group_count == 0 || row->groups[row->group_count - 1].symbol != it.symbol)
            row->groups[row->group_count++] =
                (struct earley_group){.symbol = it.symbol, .first = i, .finish = EARLEY_NEVER};
        row->groups[row->group_count - 1].count++;
    }
    row->single.hash = scan_mix(7, row->single.hash);
    find_finish(machine, row);
    for (uint32_t i = 0; i < row->group_count; i++) find_leo(machine, row, &row->groups[i]);
    return row;
}
