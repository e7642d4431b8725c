/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Where terminals end: Earley's completer and predictor, and the frame that comes of them. */
#include "engine/grammar/earley_internal.h"

#include "engine/grammar/growing.h"

/* ---- items ---- */

static uint32_t item_slot(const struct earley_machine *machine, uint32_t state, const struct earley_row *origin) {
    uint64_t hash = ((uint64_t)(uintptr_t)origin >> 4) * UINT64_C(0x9E3779B97F4A7C15) + state;
    hash *= UINT64_C(0xD6E8FEB86659FD93);
    return (uint32_t)(hash >> 40) & (machine->item_slots - 1);
}

static uint64_t item_stamp(const struct earley_machine *machine, uint32_t item) {
    return (uint64_t)machine->closures << 32 | item;
}

/* The place of the item, or of a free entry for it; entries of earlier closures are free. */
static uint64_t *find_item(const struct earley_machine *machine, uint32_t state, const struct earley_row *origin) {
    uint32_t slot = item_slot(machine, state, origin);
    for (;; slot = (slot + 1) & (machine->item_slots - 1)) {
        uint64_t *entry = &machine->item_table[slot];
        if (*entry >> 32 != machine->closures) return entry;
        const struct earley_item *item = &machine->items[(uint32_t)*entry];
        if (item->state == state && item->origin == origin) return entry;
    }
}

static bool table_grow(struct earley_machine *machine) {
    enum { SLOTS_MIN = 64 };
    uint32_t slots = machine->item_slots == 0 ? SLOTS_MIN : 2 * machine->item_slots;
    size_t more = (size_t)(slots - machine->item_slots) * sizeof *machine->item_table;
    if (slots == 0 || !budget_reserve(machine->budget, more)) return false;
    uint64_t *table = calloc(slots, sizeof *table);
    if (table == NULL) return false;
    free(machine->item_table);
    machine->item_table = table;
    machine->item_slots = slots;
    for (uint32_t i = 0; i < machine->item_count; i++)
        *find_item(machine, machine->items[i].state, machine->items[i].origin) = item_stamp(machine, i);
    return true;
}

static bool add_item(struct earley_machine *machine, uint32_t state, const struct earley_row *origin) {
    if (++machine->visits > EARLEY_VISITS_MAX) return false;
    if (2 * (uint64_t)(machine->item_count + 1) > machine->item_slots && !table_grow(machine)) return false;
    uint64_t *entry = find_item(machine, state, origin);
    if (*entry >> 32 == machine->closures) return true;
    if (!growing_reserve(machine->budget, &machine->items, &machine->item_capacity, (uint64_t)machine->item_count + 1,
                         sizeof *machine->items))
        return false;
    *entry = item_stamp(machine, machine->item_count);
    machine->items[machine->item_count++] = (struct earley_item){state, origin};
    return true;
}

/* The symbol that began at `row` has ended: those who waited for it go on. */
static bool complete_symbol(struct earley_machine *machine, const struct earley_row *row, uint32_t symbol) {
    const struct earley_group *group = earley_group(row, symbol);
    while (group->leo_row != NULL) {
        row = group->leo_row;
        group = earley_group(row, group->leo_symbol);
    }
    for (uint32_t i = group->first; i < group->first + group->count; i++)
        if (!add_item(machine, row->waits[i].state, row->waits[i].origin)) return false;
    return true;
}

static bool predict(struct earley_machine *machine, const struct earley_call *call, const struct earley_row *origin) {
    if (!growing_reserve(machine->budget, &machine->waiting, &machine->waiting_capacity,
                         (uint64_t)machine->waiting_count + 1, sizeof *machine->waiting))
        return false;
    machine->waiting[machine->waiting_count++] = (struct earley_waiting){call->symbol, call->target, origin};
    if (machine->predicted[call->symbol] == machine->closures) return true;
    machine->predicted[call->symbol] = machine->closures;
    return add_item(machine, machine->tables.symbols[call->symbol].start, &earley_self);
}

/* Calls that derive the empty text were followed when the tables were built, so no rule that began here needs to end here. */
static bool process_item(struct earley_machine *machine, struct earley_item item, bool *complete) {
    const struct earley_tables *tables = &machine->tables;
    const struct earley_state *state = &tables->states[item.state];
    if (state->final && item.origin == NULL) *complete = true;
    if (state->final && item.origin != NULL && item.origin != &earley_self &&
        !complete_symbol(machine, item.origin, state->owner))
        return false;
    for (uint32_t i = 0; i < state->call_count; i++)
        if (!predict(machine, &tables->calls[state->call_first + i], item.origin)) return false;
    if (!growing_reserve(machine->budget, &machine->threads, &machine->thread_capacity,
                         (uint64_t)machine->thread_count + state->terminal_count, sizeof *machine->threads))
        return false;
    for (uint32_t i = 0; i < state->terminal_count; i++) {
        const struct earley_terminal *terminal = &tables->terminals[state->terminal_first + i];
        machine->threads[machine->thread_count++] =
            (struct earley_thread){terminal->value, terminal->target, item.origin};
    }
    machine->visits += state->call_count + state->terminal_count;
    return true;
}

/* ---- what begins ---- */

static int compare_threads(const void *left, const void *right) {
    const struct earley_thread *a = left, *b = right;
    if (a->terminal != b->terminal) return a->terminal < b->terminal ? -1 : 1;
    if (a->state != b->state) return a->state < b->state ? -1 : 1;
    return 0;
}

static void sort_threads(struct earley_thread *threads, uint32_t count) {
    enum { FEW = 32 };
    if (count > FEW) {
        qsort(threads, count, sizeof *threads, compare_threads);
        return;
    }
    for (uint32_t i = 1; i < count; i++) {
        struct earley_thread it = threads[i];
        uint32_t at = i;
        for (; at > 0 && compare_threads(&threads[at - 1], &it) > 0; at--) threads[at] = threads[at - 1];
        threads[at] = it;
    }
}

/* The origins of threads [first, end), which are alike but for them. */
static const struct earley_origins *origins_of(struct earley_machine *machine, struct frames *frames, uint32_t first,
                                               uint32_t end, const struct earley_closure *closure) {
    uint32_t count = end - first;
    if (!growing_reserve(machine->budget, &machine->rows, &machine->row_capacity, count, sizeof *machine->rows))
        return NULL;
    for (uint32_t i = 0; i < count; i++) machine->rows[i] = machine->threads[first + i].origin;
    struct frames_mark mark = frames_mark(frames);
    const struct earley_origins *origins = earley_make_origins(
        machine, frames, machine->rows, count, machine->tables.states[machine->threads[first].state].owner);
    /* Terminals of one state have the same. */
    if (origins == NULL || count == 1 || closure->begun_count == 0) return origins;
    const struct earley_origins *last = closure->begun[closure->begun_count - 1].origins;
    if (last == origins || !earley_origins_equal(last, origins)) return origins;
    frames_drop(frames, mark);
    return last;
}

static bool find_begun(struct earley_machine *machine, struct frames *frames, const struct earley_row *row,
                       struct earley_closure *closure) {
    struct earley_thread *threads = machine->threads;
    uint32_t count = machine->thread_count;
    closure->begun = frames_alloc(frames, (count > 0 ? count : 1) * sizeof *closure->begun);
    if (closure->begun == NULL) return false;
    for (uint32_t i = 0; i < count; i++)
        if (threads[i].origin == &earley_self) threads[i].origin = row;
    sort_threads(threads, count);
    for (uint32_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && compare_threads(&threads[i], &threads[end]) == 0;) end++;
        const struct earley_origins *origins = origins_of(machine, frames, i, end, closure);
        if (origins == NULL) return false;
        closure->begun[closure->begun_count++] = (struct earley_begun){threads[i].terminal, threads[i].state, origins};
    }
    return true;
}

const struct earley_closure *earley_close(struct earley_machine *machine, struct frames *frames,
                                          const struct earley_ended *ended, uint32_t count) {
    struct earley_closure *closure = frames_alloc(frames, sizeof *closure + count * sizeof *ended);
    if (closure == NULL || ++machine->closures == 0) return NULL;
    struct earley_ended *copy = (struct earley_ended *)(closure + 1);
    memcpy(copy, ended, count * sizeof *ended);
    *closure = (struct earley_closure){.ended_count = count, .ended = copy};
    machine->item_count = machine->waiting_count = machine->thread_count = 0;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < ended[i].origins->count; k++)
            if (!add_item(machine, ended[i].state, ended[i].origins->rows[k])) return NULL;
    for (uint32_t i = 0; i < machine->item_count; i++)
        if (!process_item(machine, machine->items[i], &closure->complete)) return NULL;
    const struct earley_row *row = NULL;
    if (machine->waiting_count > 0 && (row = earley_make_row(machine, frames)) == NULL) return NULL;
    if (machine->visits > EARLEY_VISITS_MAX || !find_begun(machine, frames, row, closure)) return NULL;
    return closure;
}

/* ---- frames ---- */

/* The slot of `origins`, made where it is new; UINT32_MAX: the budget. */
static uint32_t slot_of(struct earley_machine *machine, const struct earley_origins *origins, uint32_t *slot_count) {
    for (uint32_t i = *slot_count; i-- > 0;)
        if (earley_origins_equal(machine->slots[i], origins)) return i;
    machine->visits += *slot_count;
    if (machine->visits > EARLEY_VISITS_MAX ||
        !growing_reserve(machine->budget, &machine->slots, &machine->slot_capacity, (uint64_t)*slot_count + 1,
                         sizeof *machine->slots))
        return UINT32_MAX;
    machine->slots[*slot_count] = origins;
    return (*slot_count)++;
}

/* The threads that were scanned and those that begin, in one order, same ones joined. Both lists are sorted by terminal and state. Returns how many; UINT32_MAX: the budget. */
static uint32_t join_threads(struct earley_machine *machine, struct frames *frames,
                             const struct earley_closure *closure, const struct earley_frame *previous,
                             uint32_t scanned, uint32_t *slot_count) {
    uint32_t scanned_count, count = 0;
    scan_set_threads(&machine->sets, scanned, &scanned_count);
    if (!growing_reserve(machine->budget, &machine->slotted, &machine->slotted_capacity,
                         (uint64_t)scanned_count + closure->begun_count, sizeof *machine->slotted))
        return UINT32_MAX;
    const struct scan_thread *threads = scan_set_threads(&machine->sets, scanned, &scanned_count);
    machine->visits += scanned_count + closure->begun_count;
    for (uint32_t i = 0, k = 0; i < scanned_count || k < closure->begun_count;) {
        const struct earley_begun *begun = &closure->begun[k];
        struct scan_thread thread = {0};
        const struct earley_origins *origins = NULL;
        bool from_begun =
            k < closure->begun_count && (i == scanned_count || begun->terminal < threads[i].left ||
                                         (begun->terminal == threads[i].left && begun->state <= threads[i].state));
        if (from_begun) {
            thread = (struct scan_thread){begun->terminal, begun->state, 0};
            origins = begun->origins;
            k++;
        } else {
            thread = threads[i];
        }
        for (; i < scanned_count && threads[i].left == thread.left && threads[i].state == thread.state; i++) {
            const struct earley_origins *more = previous->slots[threads[i].slot];
            origins = origins == NULL ? more
                                      : earley_join_origins(machine, frames, origins, more,
                                                            machine->tables.states[thread.state].owner);
            if (origins == NULL) return UINT32_MAX;
        }
        thread.slot = slot_of(machine, origins, slot_count);
        if (thread.slot == UINT32_MAX) return UINT32_MAX;
        machine->slotted[count++] = thread;
    }
    return count;
}

const struct earley_frame *earley_make_frame(struct earley_machine *machine, struct frames *frames,
                                             const struct earley_closure *closure, const struct earley_frame *previous,
                                             uint32_t scanned) {
    uint32_t slot_count = 0, threads;
    uint32_t count = join_threads(machine, frames, closure, previous, scanned, &slot_count);
    if (count == UINT32_MAX || !scan_sets_threads(&machine->sets, machine->slotted, count, &threads)) return NULL;
    struct earley_frame *frame = frames_alloc(frames, sizeof *frame + slot_count * sizeof *frame->slots);
    if (frame == NULL) return NULL;
    *frame = (struct earley_frame){.closure = closure,
                                   .previous = previous,
                                   .scanned = scanned,
                                   .threads = threads,
                                   .again_threads = UINT32_MAX,
                                   .again_ends = UINT32_MAX,
                                   .slot_count = slot_count};
    for (uint32_t i = 0; i < slot_count; i++) {
        frame->slots[i] = machine->slots[i];
        frame->hash = scan_mix(frame->hash, machine->slots[i]->hash);
    }
    return frame;
}
