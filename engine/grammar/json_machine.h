/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The JSON stack machine: walks a JSON text byte by byte through the shapes of a schema (shape.h).
 *
 *     frame     one array or object that is open: which of its forms are still possible, how many items or properties it has, which names were seen
 *     joint     what one value is looked at for: a list of conjunctions, of which some must hold for anything to go on ("must"), and others
 *               are only watched (does this item satisfy `contains`? does this value discharge a "not"?). All are evaluated side by side
 *     verdict   of a value that has ended: the set of the joint's conjunctions that it satisfies. The frame below drops the forms whose must is not in it
 *
 * A byte is refused when no form would be left, so the byte that ends a value exists only for values that fit. Forms themselves are
 * satisfiable, and a property or item begins only where its form can still be completed afterwards: no dead ends.
 *
 * Names of one object never repeat, whatever the schema says.
 */
#ifndef ENGINE_GRAMMAR_JSON_MACHINE_H
#define ENGINE_GRAMMAR_JSON_MACHINE_H

#include "engine/grammar/grammar.h"
#include "engine/grammar/shape.h"

/** Takes `shapes` (and their schema) over, also when it fails. `unspelled`: as for json_spelling_make. */
enum status json_machine_create(struct shapes *shapes, const struct grammar_options *options, uint32_t unspelled,
                                struct machine **out, struct grammar_problem *problem);

/** Arrays and objects that are open, at most `limit`. */
uint32_t json_machine_depth(const struct machine_state *state, uint32_t limit);

#endif
