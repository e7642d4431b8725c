/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Sets of decimal numbers, exact at any size, and the machine that writes a member of one digit by digit.
 *
 *     set    = all x with   lower <(=) x <(=) upper,   x a multiple of m,   x no multiple of m1, m2, ...,   x none of v1, v2, ...,   or x one of a list
 *     state  = what a prefix of a JSON number's text leaves possible
 *
 * The machine accepts every JSON spelling of a member: 1, 1.0, 10e-1, 1E0, -0 for 0. A state is live: some text that goes on from it is a member (a bound
 * behind which only finitely many digits help is looked through exactly, with big integers). Exponents of sets that bound anything are those from
 * -400 to 400; a mantissa may have at most NUMBER_DIGITS_MAX digits. Outside of this a spelling is refused (too tight by policy, never too wide); the set of all
 * numbers takes every spelling of any length.
 *
 * Sets and states are interned: equal sets have equal handles. A pool belongs to one compiled grammar; one thread at a time.
 */
#ifndef ENGINE_GRAMMAR_NUMBER_H
#define ENGINE_GRAMMAR_NUMBER_H

#include "base/bytes.h"
#include "base/status.h"
#include "engine/grammar/budget.h"

enum { NUMBER_DIGITS_MAX = 400 };

struct number_pool;
typedef uint32_t number_set;
enum { NUMBER_NONE, NUMBER_ANY };
#define NUMBER_FAILED UINT32_MAX /* the budget is exhausted */

enum status number_pool_create(struct grammar_budget *budget, struct number_pool **out, struct error *err);
void number_pool_destroy(struct number_pool *pool);

/* `text` is a JSON number, however long and whatever its exponent; STATUS_RESOURCE_EXHAUSTED is told as NUMBER_FAILED, as is an exponent beyond 100,000. */
number_set number_at_least(struct number_pool *pool, struct bytes_view text, bool exclusive);
number_set number_at_most(struct number_pool *pool, struct bytes_view text, bool exclusive);
/** `text` > 0. number_multiple_of(1) is JSON Schema's "integer". */
number_set number_multiple_of(struct number_pool *pool, struct bytes_view text);
number_set number_not_multiple_of(struct number_pool *pool, struct bytes_view text);
number_set number_one_of(struct number_pool *pool, const struct bytes_view *texts, size_t count);
number_set number_none_of(struct number_pool *pool, const struct bytes_view *texts, size_t count);
/** Both. NUMBER_NONE when that leaves nothing: decided exactly. */
number_set number_and(struct number_pool *pool, number_set a, number_set b);

bool number_contains(struct number_pool *pool, number_set set, struct bytes_view text);
/** How many numbers are in it if below `limit`, else `limit`. */
uint64_t number_count(struct number_pool *pool, number_set set, uint64_t limit);
/** -1, 0, 1 as `a` is less than, equal to or more than `b`, both JSON numbers. 2 when an exponent is beyond 100,000. */
int number_compare(struct bytes_view a, struct bytes_view b);
/** The one canonical text of a number: "0", "-12.5", "1e400" for what has more than 40 digits; equal numbers have equal texts. False without memory. */
bool number_canonical(struct bytes_view text, struct bytes *out);

/* ---- the machine ---- */

typedef uint32_t number_state;
enum { NUMBER_DEAD };
#define NUMBER_STATE_FAILED UINT32_MAX

/** Before the first byte. NUMBER_DEAD for NUMBER_NONE. */
number_state number_start(struct number_pool *pool, number_set set);
/** `byte` is one of 0-9 - + . e E; anything else is NUMBER_DEAD. Remembered. Small sets (bounds of at most 18 digits) never touch big integers. */
number_state number_step(struct number_pool *pool, number_state state, uint8_t byte);
/** True when the text so far is a whole member. */
bool number_accepts(const struct number_pool *pool, number_state state);
/** Bytes of a shortest rest of text that makes it one; appends them to `out` unless NULL. */
uint32_t number_shortest(struct number_pool *pool, number_state state, struct bytes *out);

#endif
