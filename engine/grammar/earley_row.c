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

static int64_t find_row(const struct earley_row *const *rows, uint32_t count, const struct earley_row *row) {
    const struct earley_row *const *found = bsearch(&row, rows, count, sizeof *rows, compare_rows);
    return found == NULL ? -1 : found - rows;
}

/* Mark the first of the sorted rows that is found upwards from `above`: that one looks further by itself. */
static void cover_upwards(struct earley_machine *machine, const struct earley_row *const *rows, uint32_t count,
                          uint32_t symbol, const struct earley_row *above) {
    enum { LOOKED_UP = 64 };
    for (int steps = 0; above != NULL && steps < LOOKED_UP; steps++) {
        int64_t found = find_row(rows, count, above);
        machine->visits++;
        if (found >= 0) {
            machine->covered[found] = true;
            return;
        }
        above = earley_group(above, symbol)->above;
    }
}

/* Leave out those of the sorted rows that another one, or one whose `above` is given, covers. UINT32_MAX: the budget. */
static uint32_t drop_covered(struct earley_machine *machine, const struct earley_row **rows, uint32_t count,
                             uint32_t symbol, const struct earley_row *above) {
    uint32_t kept = 0;
    if (!growing_reserve(machine->budget, &machine->covered, &machine->covered_capacity, count,
                         sizeof *machine->covered))
        return UINT32_MAX;
    memset(machine->covered, 0, count * sizeof *machine->covered);
    cover_upwards(machine, rows, count, symbol, above);
    for (uint32_t i = 0; i < count; i++)
        if (rows[i] != NULL) cover_upwards(machine, rows, count, symbol, earley_group(rows[i], symbol)->above);
    for (uint32_t i = 0; i < count; i++)
        if (!machine->covered[i]) rows[kept++] = rows[i];
    return kept;
}

const struct earley_origins *earley_make_origins(struct earley_machine *machine, struct frames *frames,
                                                 const struct earley_row **rows, uint32_t count, uint32_t symbol) {
    if (count == 1) return single(rows[0]);
    qsort(rows, count, sizeof *rows, compare_rows);
    uint32_t kept = 0;
    uint64_t hash = 0;
    for (uint32_t i = 0; i < count; i++)
        if (i == 0 || rows[i] != rows[i - 1]) rows[kept++] = rows[i];
    if (kept > 1) kept = drop_covered(machine, rows, kept, symbol, NULL);
    if (kept == UINT32_MAX) return NULL;
    if (kept == 1) return single(rows[0]);
    for (uint32_t i = 0; i < kept; i++) hash += scan_mix(1, single(rows[i])->hash); /* whatever the order */
    struct earley_origins *origins = frames_alloc(frames, sizeof *origins + kept * sizeof *rows);
    if (origins == NULL) return NULL;
    const struct earley_row **copy = (const struct earley_row **)(origins + 1);
    memcpy(copy, rows, kept * sizeof *rows);
    *origins = (struct earley_origins){.hash = hash, .count = kept, .rows = copy};
    return origins;
}

const struct earley_origins *earley_join_origins(struct earley_machine *machine, struct frames *frames,
                                                 const struct earley_origins *a, const struct earley_origins *b,
                                                 uint32_t symbol) {
    if (earley_origins_equal(a, b)) return a;
    uint32_t count = a->count + b->count;
    machine->visits += count;
    if (!growing_reserve(machine->budget, &machine->rows, &machine->row_capacity, count, sizeof *machine->rows))
        return NULL;
    memcpy(machine->rows, a->rows, a->count * sizeof *a->rows);
    memcpy(machine->rows + a->count, b->rows, b->count * sizeof *b->rows);
    return earley_make_origins(machine, frames, machine->rows, count, symbol);
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

/* Where the symbol began, too, that begins at the row that is being made: NULL, or not known yet. */
static const struct earley_row *self_above(const struct earley_machine *machine, uint32_t symbol) {
    uint32_t low = 0, high = machine->above_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (machine->aboves[middle].symbol < symbol)
            low = middle + 1;
        else
            high = middle;
    }
    return low < machine->above_count && machine->aboves[low].symbol == symbol ? machine->aboves[low].row : NULL;
}

/* Of waits [first, end), alike but for their origins, those that no other one covers, to `kept`. Returns the new `kept`; UINT32_MAX: the budget. */
static uint32_t keep_uncovered(struct earley_machine *machine, uint32_t first, uint32_t end, uint32_t kept) {
    struct earley_waiting *waiting = machine->waiting, it = waiting[first];
    if (end - first == 1) {
        waiting[kept] = it;
        return kept + 1;
    }
    if (!growing_reserve(machine->budget, &machine->rows, &machine->row_capacity, end - first, sizeof *machine->rows))
        return UINT32_MAX;
    uint32_t count = 0;
    bool self = false;
    for (uint32_t i = first; i < end; i++) {
        if (waiting[i].origin == &earley_self)
            self = true;
        else if (count == 0 || machine->rows[count - 1] != waiting[i].origin)
            machine->rows[count++] = waiting[i].origin;
    }
    /* What the row that is being made covers, it covers by its own waits: for a state that may end at once this would be to hand on to oneself. */
    const struct earley_state *state = &machine->tables.states[it.state];
    const struct earley_row *above = self && !state->final ? self_above(machine, state->owner) : NULL;
    count = drop_covered(machine, machine->rows, count, state->owner, above);
    if (count == UINT32_MAX) return UINT32_MAX;
    for (uint32_t i = 0; i < count; i++)
        waiting[kept++] = (struct earley_waiting){it.symbol, it.state, machine->rows[i]};
    if (self) waiting[kept++] = (struct earley_waiting){it.symbol, it.state, &earley_self};
    return kept;
}

/* Sorted, none that is not needed; returns the number of symbols. UINT32_MAX: the budget. */
static uint32_t sort_waiting(struct earley_machine *machine) {
    enum { FEW = 32 };
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
    for (uint32_t i = 0, end; i < count && kept != UINT32_MAX; i = end) {
        if (i == 0 || waiting[i - 1].symbol != waiting[i].symbol) groups++;
        for (end = i + 1;
             end < count && waiting[end].symbol == waiting[i].symbol && waiting[end].state == waiting[i].state;)
            end++;
        kept = keep_uncovered(machine, i, end, kept);
    }
    if (kept == UINT32_MAX) return UINT32_MAX;
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

/* The waits whose end is their symbol's end, by symbol. False: the budget. */
static bool find_aboves(struct earley_machine *machine) {
    for (uint32_t i = 0; i < machine->waiting_count; i++) {
        const struct earley_waiting *it = &machine->waiting[i];
        const struct earley_state *state = &machine->tables.states[it->state];
        if (!state->final || state->owner != it->symbol || it->origin == NULL || it->origin == &earley_self) continue;
        if (machine->above_count > 0 && machine->aboves[machine->above_count - 1].symbol == it->symbol) continue;
        if (!growing_reserve(machine->budget, &machine->aboves, &machine->above_capacity,
                             (uint64_t)machine->above_count + 1, sizeof *machine->aboves))
            return false;
        machine->aboves[machine->above_count++] = (struct earley_above){it->symbol, it->origin};
    }
    return true;
}

/* Whose wait only hands on the end to those who wait for its own symbol at an older row: that row's group; NULL: not so, or they are many. */
static const struct earley_group *handed_on(const struct earley_machine *machine, const struct earley_waiting *it,
                                            const struct earley_row **out_row) {
    enum { MANY = 32 };
    const struct earley_state *state = &machine->tables.states[it->state];
    if (!state->pure || it->origin == NULL || it->origin == &earley_self) return NULL;
    const struct earley_group *group = earley_group(it->origin, state->owner);
    for (*out_row = it->origin; group->leo_row != NULL; group = earley_group(*out_row, group->leo_symbol))
        *out_row = group->leo_row;
    return group->count <= MANY ? group : NULL;
}

/* Where several wait for a symbol, those who only hand on its end are replaced by who gets it, so that no chain of ends grows with the text. False: the budget. */
static bool flatten(struct earley_machine *machine, bool *out_changed) {
    uint32_t count = machine->waiting_count, flat = 0;
    *out_changed = false;
    for (uint32_t i = 0; i < count; i++) {
        const struct earley_waiting *it = &machine->waiting[i];
        const struct earley_row *row = NULL;
        bool alone = (i == 0 || it[-1].symbol != it->symbol) && (i + 1 == count || it[1].symbol != it->symbol);
        const struct earley_group *group = alone ? NULL : handed_on(machine, it, &row);
        uint32_t more = group == NULL ? 1 : group->count;
        machine->visits += more;
        if (!growing_reserve(machine->budget, &machine->flat, &machine->flat_capacity, (uint64_t)flat + more,
                             sizeof *machine->flat))
            return false;
        if (group == NULL) machine->flat[flat++] = *it;
        for (uint32_t k = 0; group != NULL && k < more; k++) {
            const struct earley_wait *wait = &row->waits[group->first + k];
            machine->flat[flat++] = (struct earley_waiting){it->symbol, wait->state, wait->origin};
        }
        if (group != NULL) *out_changed = true;
    }
    if (!*out_changed) return true;
    struct earley_waiting *list = machine->waiting;
    uint32_t capacity = machine->waiting_capacity;
    machine->waiting = machine->flat;
    machine->waiting_capacity = machine->flat_capacity;
    machine->waiting_count = flat;
    machine->flat = list;
    machine->flat_capacity = capacity;
    return true;
}

/* Who waits, in order, and no more than are needed; returns the number of symbols. UINT32_MAX: the budget. */
static uint32_t settle_waiting(struct earley_machine *machine) {
    bool changed;
    machine->above_count = 0;
    uint32_t groups = sort_waiting(machine);
    if (groups == UINT32_MAX || !find_aboves(machine) || !flatten(machine, &changed)) return UINT32_MAX;
    return changed ? sort_waiting(machine) : groups;
}

const struct earley_row *earley_make_row(struct earley_machine *machine, struct frames *frames) {
    uint32_t groups = settle_waiting(machine), count = machine->waiting_count;
    if (groups == UINT32_MAX) return NULL;
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
    for (uint32_t i = 0; i < row->group_count; i++) {
        row->groups[i].above = self_above(machine, row->groups[i].symbol);
        find_leo(machine, row, &row->groups[i]);
    }
    return row;
}
