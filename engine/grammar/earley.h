/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Machines of user grammars: any context-free grammar over Unicode text, in the dialects of llama.cpp (GBNF) and Lark.
 *
 *     text --parser--> rules --regular parts are one expression each--> an automaton per rule --> Earley's algorithm over bytes
 *
 * The language is the grammar's, scannerless: every way to split a text into terminals counts, no longest match. Ambiguity, left, right and hidden recursion,
 * empty rules and cycles are all right; rules that derive nothing are left out, so there are no dead ends.
 *
 * Bytes inside terminals are steps in a table (scan_sets.h). Where a terminal may end, Earley's completer and predictor run over the automata and leave
 * an immutable row: for each symbol that was predicted there, who waits for it. Right recursion costs no more than other rules (Leo's shortcuts), nor do ambiguous
 * ones of the forms e ::= e "+" e and s ::= s s (of origins of which one covers another only the one is kept).
 *
 * Sources: Earley 1970; Aycock and Horspool, "Practical Earley parsing", 2002 (empty rules); Leo, "A general context-free parsing algorithm running in
 * linear time on every LR(k) grammar without using lookahead", 1991 (right recursion).
 */
#ifndef ENGINE_GRAMMAR_EARLEY_H
#define ENGINE_GRAMMAR_EARLEY_H

#include "engine/grammar/budget.h"
#include "engine/grammar/grammar.h"

/**
 * The machine of the grammar in `text` (docs/design/grammar-rules.md). Borrows `budget` until it is destroyed; `text` only during the call.
 *
 * Fails, `problem` being "grammar", "line:column" and a sentence: STATUS_INVALID_ARGUMENT malformed; STATUS_UNIMPLEMENTED well-formed, but with something that we
 * refuse by name; STATUS_FAILED_PRECONDITION nothing fits; STATUS_RESOURCE_EXHAUSTED the budget.
 */
enum status earley_machine_create(struct grammar_budget *budget, struct bytes_view text, enum grammar_dialect dialect,
                                  struct machine **out, struct grammar_problem *problem);

#endif
