/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What a compiled grammar has cost so far, for those who keep many. */
#ifndef ENGINE_GRAMMAR_COST_H
#define ENGINE_GRAMMAR_COST_H

#include <stdint.h>

struct grammar;

/** Of grammar_options.bytes: what it may still build. It builds as it is used. Any thread. */
int64_t grammar_bytes_left(struct grammar *grammar);

#endif
