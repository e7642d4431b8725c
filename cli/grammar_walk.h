/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** `bora grammar walk`: random texts out of the masks (its --help has the form of the lines). */
#ifndef CLI_GRAMMAR_WALK_H
#define CLI_GRAMMAR_WALK_H

#include "cli/grammar_lines.h"

struct grammar_walk_options {
    uint64_t seed;
    size_t count;      /* walks of a line */
    size_t tokens_max; /* a walk has from 1 to this many tokens left at its beginning */
    size_t probes;     /* tokens of each state of which mask and acceptance are compared */
};
int grammar_walk_lines(struct grammar_run *run, const struct grammar_walk_options *options);

#endif
