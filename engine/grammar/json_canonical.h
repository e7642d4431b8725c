/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** JSON values that are equal as JSON Schema says (1 and 1.0; members in any order), from their texts. */
#ifndef ENGINE_GRAMMAR_JSON_CANONICAL_H
#define ENGINE_GRAMMAR_JSON_CANONICAL_H

#include "engine/grammar/schema.h"

/** 128 bits that are equal for equal values, and for others with a chance of 2^-64 at most. False without memory. */
bool canonical_hash(struct bytes_view json, uint64_t out[2]);
/** The same of a value that was read. */
bool canonical_hash_of(const struct json_value *value, uint64_t out[2]);
/** The formula that only this value satisfies. FORMULA_NONE when the budget is exhausted. */
formula canonical_formula(struct schema *schema, struct bytes_view json);

#endif
