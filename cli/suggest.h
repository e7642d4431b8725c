/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** "Did you mean": the known word that a mistyped one is nearest to. */
#ifndef CLI_SUGGEST_H
#define CLI_SUGGEST_H

#include <stddef.h>

/** How far a known word may be from `word` to be offered: half its letters, rounded up, at most 3; one is added, to be compared with <. */
size_t suggest_distance(const char *word);
/** Take `known` as `*nearest` when it is nearer than `*distance` (letters to insert, leave out, change, or swap with the next), or begins with `word`. */
void suggest_word(const char *word, const char *known, const char **nearest, size_t *distance);

#endif
