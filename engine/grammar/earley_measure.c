/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/earley_tables.h"

#include "engine/grammar/growing.h"
#include "engine/grammar/regex_machine.h"

/* ---- the shortest text from every place ---- */

struct entry {
    uint64_t cost;
    uint32_t place, path;
};
struct measure {
    struct earley_tables *tables;
    struct entry *heap; /* the smallest first */
    uint32_t count, capacity;
    uint64_t *costs; /* of each terminal path */
    uint32_t *calls; /* first of the paths that call a symbol */
    bool failed;
};

static bool before(const struct entry *a, const struct entry *b) {
    return a->cost != b->cost ? a->cost < b->cost : a->path < b->path;
}

static void push(struct measure *measure, struct entry entry) {
    struct grammar_budget *budget = measure->tables->budget;
    if (!budget_spend(budget, 1) || !growing_reserve(budget, &measure->heap, &measure->capacity,
                                                     (uint64_t)measure->count + 1, sizeof *measure->heap)) {
        measure->failed = true;
        return;
    }
    uint32_t at = measure->count++;
    for (; at > 0 && before(&entry, &measure->heap[(at - 1) / 2]); at = (at - 1) / 2)
        measure->heap[at] = measure->heap[(at - 1) / 2];
    measure->heap[at] = entry;
}

static struct entry pop(struct measure *measure) {
    struct entry first = measure->heap[0], last = measure->heap[--measure->count];
    uint32_t at = 0;
    for (uint32_t child; (child = 2 * at + 1) < measure->count; at = child) {
        if (child + 1 < measure->count && before(&measure->heap[child + 1], &measure->heap[child])) child++;
        if (!before(&measure->heap[child], &last)) break;
        measure->heap[at] = measure->heap[child];
    }
    measure->heap[at] = last;
    return first;
}

/* A path whose end, and what it calls, are measured. */
static void offer(struct measure *measure, uint32_t index) {
    const struct earley_tables *tables = measure->tables;
    const struct earley_path *path = &tables->paths[index];
    uint64_t rest = tables->places[path->to].rest, cost = 0;
    if (rest == EARLEY_NEVER || tables->places[path->from].rest != EARLEY_NEVER) return;
    if (path->kind == EARLEY_TERMINAL) cost = measure->costs[index];
    if (path->kind == EARLEY_CALL) cost = tables->symbols[path->value].shortest;
    if (cost == EARLEY_NEVER) return;
    /* Rules that double each other have shortest texts of any size: longer ones than this are all the same. */
    uint64_t sum = rest + cost < EARLEY_NEVER / 2 ? rest + cost : EARLEY_NEVER / 2;
    push(measure, (struct entry){.cost = sum, .place = path->from, .path = index});
}

static void settle(struct measure *measure, struct entry entry) {
    struct earley_tables *tables = measure->tables;
    struct earley_place *place = &tables->places[entry.place];
    if (place->rest != EARLEY_NEVER) return;
    place->rest = entry.cost;
    place->best = entry.path;
    for (uint32_t i = place->in; i != RULES_NONE; i = tables->paths[i].next_in) offer(measure, i);
    struct earley_symbol *symbol = place->owner != RULES_NONE ? &tables->symbols[place->owner] : NULL;
    if (symbol == NULL || symbol->start != entry.place) return;
    symbol->shortest = entry.cost;
    for (uint32_t i = measure->calls[place->owner]; i != RULES_NONE; i = tables->paths[i].next_call) offer(measure, i);
}

/* Every place learns whose it is: paths lead from a symbol's start to all of its places. */
static bool find_owners(struct earley_tables *tables) {
    uint32_t *stack = NULL, capacity = 0, count = 0;
    bool ok = true;
    for (uint32_t symbol = 0; symbol < tables->symbol_count && ok; symbol++) {
        uint32_t place = tables->symbols[symbol].start;
        tables->places[place].owner = symbol;
        for (;;) {
            for (uint32_t i = tables->places[place].out; i != RULES_NONE && ok; i = tables->paths[i].next_out) {
                uint32_t to = tables->paths[i].to;
                if (tables->places[to].owner != RULES_NONE) continue;
                tables->places[to].owner = symbol;
                ok = growing_reserve(tables->budget, &stack, &capacity, (uint64_t)count + 1, sizeof *stack);
                if (ok) stack[count++] = to;
            }
            if (count == 0 || !ok) break;
            place = stack[--count];
        }
    }
    growing_free(tables->budget, stack, capacity, sizeof *stack);
    return ok;
}

static bool measure_terminals(struct measure *measure) {
    struct earley_tables *tables = measure->tables;
    for (uint32_t i = 0; i < tables->path_count; i++) {
        struct earley_path *path = &tables->paths[i];
        if (path->kind == EARLEY_CALL) {
            path->next_call = measure->calls[path->value];
            measure->calls[path->value] = i;
        }
        if (path->kind != EARLEY_TERMINAL) continue;
        measure->costs[i] = regex_shortest_bytes(tables->pool, path->value, NULL);
        if (measure->costs[i] == EARLEY_NEVER) return false;
    }
    return true;
}

bool earley_tables_measure(struct earley_tables *tables) {
    struct measure measure = {.tables = tables};
    size_t bytes = tables->path_count * sizeof *measure.costs + tables->symbol_count * sizeof *measure.calls;
    if (!find_owners(tables) || !budget_reserve(tables->budget, bytes)) return false;
    measure.costs = malloc((tables->path_count + 1) * sizeof *measure.costs);
    measure.calls = malloc((tables->symbol_count + 1) * sizeof *measure.calls);
    bool ok = measure.costs != NULL && measure.calls != NULL;
    if (ok) {
        memset(measure.calls, 0xFF, tables->symbol_count * sizeof *measure.calls);
        ok = measure_terminals(&measure);
    }
    if (ok) {
        for (uint32_t i = 0; i < tables->state_count; i++)
            if (tables->places[i].accepts) push(&measure, (struct entry){.place = i, .path = RULES_NONE});
        while (measure.count > 0 && !measure.failed) settle(&measure, pop(&measure));
        ok = !measure.failed;
    }
    free(measure.costs);
    free(measure.calls);
    growing_free(tables->budget, measure.heap, measure.capacity, sizeof *measure.heap);
    tables->budget->bytes += (int64_t)bytes;
    return ok;
}

/* ---- without empty edges ---- */

struct closing {
    struct earley_tables *tables;
    uint32_t *seen;  /* the state for which the place was last looked at, + 1 */
    uint32_t *stack; /* places reached by empty edges only; a stack */
    uint32_t count;
    uint32_t *queue; /* states that are needed */
    uint32_t queued;
    bool *needed;
    uint32_t *covered; /* the search in which the place was last found behind a call */
    uint32_t searches;
};

/* Where nothing stands at a place but one empty edge, the place behind it is meant. */
static uint32_t behind_empty(const struct earley_tables *tables, uint32_t place) {
    for (uint32_t steps = 0; steps < 64; steps++) {
        uint32_t out = tables->places[place].out;
        if (out == RULES_NONE || tables->places[place].accepts || tables->paths[out].next_out != RULES_NONE ||
            tables->paths[out].kind != EARLEY_EMPTY)
            break;
        place = tables->paths[out].to;
    }
    return place;
}

static void need(struct closing *closing, uint32_t state) {
    if (closing->needed[state]) return;
    closing->needed[state] = true;
    closing->queue[closing->queued++] = state;
}

static void look_at(struct closing *closing, uint32_t state, uint32_t place) {
    if (closing->seen[place] == state + 1) return;
    closing->seen[place] = state + 1;
    closing->stack[closing->count++] = place;
}

/* Terminals to the same target are one. */
static bool add_edge(struct earley_tables *tables, struct earley_state *state, const struct earley_path *path) {
    enum { LOOKED_BACK = 16 };
    uint32_t target = behind_empty(tables, path->to);
    if (path->kind == EARLEY_CALL) {
        if (!growing_reserve(tables->budget, &tables->calls, &tables->call_capacity, (uint64_t)tables->call_count + 1,
                             sizeof *tables->calls))
            return false;
        tables->calls[tables->call_count++] = (struct earley_call){path->value, target};
        state->call_count++;
        return true;
    }
    for (uint32_t i = 0; i < state->terminal_count && i < LOOKED_BACK; i++) {
        struct earley_terminal *earlier = &tables->terminals[tables->terminal_count - 1 - i];
        if (earlier->target != target) continue;
        earlier->value = regex_or(tables->pool, earlier->value, path->value);
        return earlier->value != REGEX_FAILED;
    }
    if (!growing_reserve(tables->budget, &tables->terminals, &tables->terminal_capacity,
                         (uint64_t)tables->terminal_count + 1, sizeof *tables->terminals))
        return false;
    tables->terminals[tables->terminal_count++] = (struct earley_terminal){path->value, target};
    state->terminal_count++;
    return true;
}

/* The place behind this edge is reached without a byte. */
static bool is_empty(const struct earley_tables *tables, const struct earley_path *path) {
    if (path->kind == EARLEY_CALL && tables->symbols[path->value].shortest != 0) return false;
    return path->kind != EARLEY_TERMINAL && tables->places[path->to].rest != EARLEY_NEVER;
}

/* Stamp what is reached from the place without a byte. False: the budget. */
static bool cover_from(struct closing *closing, uint32_t place) {
    const struct earley_tables *tables = closing->tables;
    closing->searches++;
    closing->covered[place] = closing->searches;
    closing->stack[closing->count++] = place;
    while (closing->count > 0) {
        uint32_t at = closing->stack[--closing->count];
        if (!budget_spend(tables->budget, 1)) return false;
        for (uint32_t i = tables->places[at].out; i != RULES_NONE; i = tables->paths[i].next_out) {
            uint32_t to = tables->paths[i].to;
            if (closing->covered[to] == closing->searches || !is_empty(tables, &tables->paths[i])) continue;
            closing->covered[to] = closing->searches;
            closing->stack[closing->count++] = to;
        }
    }
    return true;
}

/*
 * Of calls of one symbol, leave out those behind which nothing comes that does not come behind another one, too: of x{0,200} where x may be empty, the first x
 * leads to where all others lead. Only what is found by few searches. False: the budget.
 */
static bool drop_covered_calls(struct closing *closing, struct earley_state *state) {
    enum { SEARCHES = 2 };
    struct earley_tables *tables = closing->tables;
    struct earley_call *calls = tables->calls + state->call_first;
    uint32_t searches = 0;
    for (uint32_t i = 0; i < state->call_count && searches < SEARCHES; i++) {
        uint32_t kept = i + 1, alike = 0;
        for (uint32_t k = i + 1; k < state->call_count; k++) alike += calls[k].symbol == calls[i].symbol;
        if (alike == 0) continue;
        if (!cover_from(closing, calls[i].target)) return false;
        searches++;
        for (uint32_t k = i + 1; k < state->call_count; k++)
            if (calls[k].symbol != calls[i].symbol || closing->covered[calls[k].target] != closing->searches)
                calls[kept++] = calls[k];
        state->call_count = kept;
    }
    tables->call_count = state->call_first + state->call_count;
    return true;
}

static bool close_state(struct closing *closing, uint32_t index) {
    struct earley_tables *tables = closing->tables;
    struct earley_state *state = &tables->states[index];
    *state = (struct earley_state){.terminal_first = tables->terminal_count,
                                   .call_first = tables->call_count,
                                   .owner = tables->places[index].owner};
    look_at(closing, index, index);
    while (closing->count > 0) {
        uint32_t place = closing->stack[--closing->count];
        if (tables->places[place].accepts) state->final = true;
        for (uint32_t i = tables->places[place].out; i != RULES_NONE; i = tables->paths[i].next_out) {
            const struct earley_path *path = &tables->paths[i];
            uint64_t called = path->kind == EARLEY_CALL ? tables->symbols[path->value].shortest : EARLEY_NEVER;
            if (!budget_spend(tables->budget, 1)) return false;
            if (tables->places[path->to].rest == EARLEY_NEVER) continue;
            if (path->kind == EARLEY_CALL && called == EARLEY_NEVER) continue;
            if (is_empty(tables, path)) look_at(closing, index, path->to);
            if (path->kind != EARLEY_EMPTY && !add_edge(tables, state, path)) return false;
        }
    }
    if (state->call_count > 1 && !drop_covered_calls(closing, state)) return false;
    state->pure = state->final && state->terminal_count == 0 && state->call_count == 0;
    for (uint32_t i = 0; i < state->terminal_count; i++)
        need(closing, tables->terminals[state->terminal_first + i].target);
    for (uint32_t i = 0; i < state->call_count; i++) {
        need(closing, tables->calls[state->call_first + i].target);
        need(closing, tables->symbols[tables->calls[state->call_first + i].symbol].start);
    }
    return true;
}

bool earley_tables_close(struct earley_tables *tables) {
    size_t count = tables->state_count, bytes = count * (4 * sizeof(uint32_t) + sizeof(bool));
    struct closing closing = {.tables = tables};
    /* At least one of each, so that empty lists have an address. */
    if (!growing_reserve(tables->budget, &tables->terminals, &tables->terminal_capacity, 1,
                         sizeof *tables->terminals) ||
        !growing_reserve(tables->budget, &tables->calls, &tables->call_capacity, 1, sizeof *tables->calls) ||
        !growing_reserve(tables->budget, &tables->states, &tables->state_capacity, count, sizeof *tables->states) ||
        !budget_reserve(tables->budget, bytes))
        return false;
    memset(tables->states, 0, count * sizeof *tables->states);
    closing.seen = calloc(count, sizeof *closing.seen);
    closing.stack = malloc(count * sizeof *closing.stack);
    closing.queue = malloc(count * sizeof *closing.queue);
    closing.needed = calloc(count, sizeof *closing.needed);
    closing.covered = calloc(count, sizeof *closing.covered);
    bool ok = closing.seen != NULL && closing.stack != NULL && closing.queue != NULL && closing.needed != NULL &&
              closing.covered != NULL;
    if (ok) need(&closing, tables->start);
    for (uint32_t i = 0; i < closing.queued && ok; i++) ok = close_state(&closing, closing.queue[i]);
    if (ok) ok = earley_tables_merge(tables, closing.queue, closing.queued);
    free(closing.seen);
    free(closing.stack);
    free(closing.queue);
    free(closing.needed);
    free(closing.covered);
    tables->budget->bytes += (int64_t)bytes;
    return ok;
}
