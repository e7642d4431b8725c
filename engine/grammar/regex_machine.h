/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The machine of one regular expression: its states are the expression's derivatives, no frames are needed.
 */
#ifndef ENGINE_GRAMMAR_REGEX_MACHINE_H
#define ENGINE_GRAMMAR_REGEX_MACHINE_H

#include "engine/grammar/machine.h"
#include "engine/grammar/regex.h"

/** Texts of `language`, which is not REGEX_NOTHING. Takes the pool, on success only. STATUS_RESOURCE_EXHAUSTED without memory. */
enum status regex_machine_create(struct regex_pool *pool, regex language, struct machine **out, struct error *err);

/**
 * The smallest code point that finishes the UTF-8 sequence `unfinished` (utf8_steps.h) and that `state` goes on with: its bytes that are to come, and the state
 * behind it; REGEX_NOTHING: there is none.
 */
regex regex_finish_code_point(struct regex_pool *pool, regex state, uint32_t unfinished, uint8_t out_bytes[4],
                              uint32_t *out_count);

/** Bytes of shortest texts, remembered: to ask for one costs fuel. All zero at first. */
enum { REGEX_LENGTHS = 256 };
struct regex_lengths {
    struct regex_length {
        regex value;
        uint64_t bytes;
    } entries[REGEX_LENGTHS];
};
#define REGEX_NEVER UINT64_MAX
/** Bytes of a shortest text of `value`; of one of more than 16,384 characters, no fewer than its bytes. REGEX_NEVER: it is REGEX_NOTHING, or the budget is exhausted. */
uint64_t regex_lengths_of(struct regex_lengths *lengths, struct regex_pool *pool, regex value);
/** The same, not remembered, and with that text behind `out` unless NULL (a failure to append shows in `out`). */
uint64_t regex_shortest_bytes(struct regex_pool *pool, regex value, struct bytes *out);

#endif
