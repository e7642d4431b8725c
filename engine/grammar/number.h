/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Sets of decimal numbers, exact at any size, and the machine that writes a member of one digit by digit.
 *
 *     set    = all x with   lower <(=) x <(=) upper,   x a multiple of m,   x no multiple of m1, m2, ...,   x none of v1, v2, ...,   or x one of a list
 *     state  = what a prefix of a JSON number's text leaves possible
 *
 * A text that the machine accepts is always a member. It accepts a member's spellings so far:
 *
 *   - without exponent, all: 1, 1.0, 1.00, -0 for 0, of at most NUMBER_DIGITS_MAX digits (more where digits do not matter any more);
 *   - with one, if the mantissa is written d.ddd with d from 1 to 9, as programs print it, or if every prefix of the mantissa could become a member
 *     without exponent too: 1.5e2 and 10e1 for 0 <= x <= 200, but not 1500e-1 there, for a model that has begun with 1500 should have been stopped.
 *     e, E, +, leading zeros, up to four digits; exponents from -400 to 400.
 *   - of the set of all numbers, and of a sign of which a set has every number (or every one but 0): all, without limits.
 *
 * Every state is live: some text that goes on from it is accepted. A set whose members have no such spelling (x >= 1e5000) counts as empty.
 *
 * Sets and states are interned: equal states are the same future, and prefixes that are clear of all bounds lead to the same few states in all sets
 * of one pool. A pool belongs to one compiled grammar; one thread at a time.
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

/*
 * `text` is a JSON number. NUMBER_FAILED: the budget is exhausted (budget_exhausted says so), or this is beyond what is supported: no JSON number, a bound or
 * multiple of more than 1,000 digits, an exponent beyond 100,000 (of multiples 1,000), more than 16 multiples to avoid. What is given NUMBER_FAILED returns it.
 */
number_set number_at_least(struct number_pool *pool, struct bytes_view text, bool exclusive);
number_set number_at_most(struct number_pool *pool, struct bytes_view text, bool exclusive);
/** `text` > 0. number_multiple_of(1) is JSON Schema's "integer". */
number_set number_multiple_of(struct number_pool *pool, struct bytes_view text);
number_set number_not_multiple_of(struct number_pool *pool, struct bytes_view text);
number_set number_one_of(struct number_pool *pool, const struct bytes_view *texts, size_t count);
number_set number_none_of(struct number_pool *pool, const struct bytes_view *texts, size_t count);
/** Both. NUMBER_NONE when that leaves nothing: decided exactly. (Bounds, multiples and exclusions alone are not decided: number_start tells.) */
number_set number_and(struct number_pool *pool, number_set a, number_set b);

bool number_contains(struct number_pool *pool, number_set set, struct bytes_view text);
/** How many numbers are in it if below `limit`, else `limit` (also when the budget does not suffice to know). */
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
/**
 * The same for texts as programs print them. Whole numbers - of sets that have no others - are their digits: no point, no exponent, no -0, and of 64 bits where the set has
 * such. Others are within what a double holds, where the set has such: 1e999 is read as infinity by most. Remembered.
 */
number_state number_start_printed(struct number_pool *pool, number_set set);
/** From there every number has one text: its digits. */
bool number_prints_digits(const struct number_pool *pool, number_state start);
/** `byte` is one of 0-9 - + . e E; anything else is NUMBER_DEAD. Remembered. Sets of at most 36 digits touch no big integers. */
number_state number_step(struct number_pool *pool, number_state state, uint8_t byte);
/** True when the text so far is a whole member. */
bool number_accepts(const struct number_pool *pool, number_state state);
/** Bytes of a short rest of text that makes it one (nearly always the shortest); appended to `out` unless NULL. Remembered. UINT32_MAX for
 *  NUMBER_DEAD and without budget. */
uint32_t number_shortest(struct number_pool *pool, number_state state, struct bytes *out);

#endif
