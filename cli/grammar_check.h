/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** `bora grammar check`: instances through the masks (its --help has the form of the lines). */
#ifndef CLI_GRAMMAR_CHECK_H
#define CLI_GRAMMAR_CHECK_H

#include "cli/grammar_lines.h"

struct grammar_check_options {
    bool tokens; /* write the tokens of the instances, of declined lines too */
};
int grammar_check_lines(struct grammar_run *run, const struct grammar_check_options *options);

#endif
