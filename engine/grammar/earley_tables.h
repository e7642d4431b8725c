/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What the Earley machine runs on: an automaton per rule, whose edges are regular expressions and calls of other rules.
 *
 *     object:   o0 --"{" ws--> o1 --string ":"--> o2 ==value==> o3 --"," string ":"--> o2          --x--> terminal
 *                              o1 --"}"--> o4 (final)           o3 --"}"--> o4                     ==x==> call
 *
 * There are no empty edges, and none for a call that derives the empty text: those are followed when the tables are built. All states and calls are productive.
 */
#ifndef ENGINE_GRAMMAR_EARLEY_TABLES_H
#define ENGINE_GRAMMAR_EARLEY_TABLES_H

#include "engine/grammar/rules.h"
#include "engine/grammar/rules_regular.h"

#define EARLEY_NEVER UINT64_MAX /* no text leads there */

struct earley_terminal {
    regex value;
    uint32_t target;
};
struct earley_call {
    uint32_t symbol, target;
};
struct earley_state {
    uint32_t terminal_first, terminal_count;
    uint32_t call_first, call_count;
    uint32_t owner; /* the symbol whose automaton it belongs to */
    bool final;     /* its symbol may end here */
    bool pure;      /* and nothing else may happen */
};
struct earley_symbol {
    uint32_t start;
    uint64_t shortest; /* bytes of its shortest text */
};

/* An edge before empty ones were followed, as the parser's text has it: what the shortest text is written from. */
enum earley_path_kind { EARLEY_EMPTY, EARLEY_TERMINAL, EARLEY_CALL };
struct earley_path {
    enum earley_path_kind kind;
    uint32_t value; /* a regex, a symbol */
    uint32_t from, to;
    uint32_t next_out, next_in, next_call; /* of the same from, the same to, the same symbol; RULES_NONE: the last */
};
struct earley_place {
    uint32_t out, in; /* first of its edges from and to it */
    uint32_t owner;   /* RULES_NONE until it was reached */
    bool accepts;     /* its symbol may end here */
    uint64_t rest;    /* bytes of the shortest text from here to the end of its symbol */
    uint32_t best;    /* the edge that this text begins with; RULES_NONE: it is empty, the symbol ends */
};

struct earley_tables {
    struct grammar_budget *budget;
    struct regex_pool *pool; /* borrowed */
    struct earley_state *states;
    struct earley_terminal *terminals;
    struct earley_call *calls;
    struct earley_symbol *symbols;
    struct earley_path *paths;
    struct earley_place *places; /* as many as states, the same numbers */
    uint32_t state_count, terminal_count, call_count, symbol_count, path_count;
    uint32_t state_capacity, terminal_capacity, call_capacity, symbol_capacity, path_capacity, place_capacity;
    uint32_t start; /* the state before the first byte: it calls the start rule, and its symbol is called by nobody */
};

/** The automata of what rules->start reaches. STATUS_FAILED_PRECONDITION: the start rule derives no text. */
enum status earley_tables_build(struct rules *rules, struct rules_regular *regular, struct earley_tables *out);
void earley_tables_deinit(struct earley_tables *tables);

/* ---- between the files that build them ---- */

/** Sets rest and best of every place, and shortest of every symbol; Knuth's generalisation of Dijkstra's algorithm (1977). False: the budget. */
bool earley_tables_measure(struct earley_tables *tables);
/** Makes states, terminals and calls of places and paths. False: the budget. */
bool earley_tables_close(struct earley_tables *tables);
/** Makes one of states that mean the same, out of those `states` that are in use. False: the budget. */
bool earley_tables_merge(struct earley_tables *tables, const uint32_t *states, uint32_t count);

#endif
