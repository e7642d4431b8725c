/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What other commands that name keys need. */
#ifndef CLI_KEYS_H
#define CLI_KEYS_H

#include "cli/arguments.h"

/** Refuse a whole key where its id is asked for, without repeating its secret. GO_ON or EXIT_USAGE. */
int keys_check_id(const struct command_usage *usage, const char *key_id);
/** Behind a call about a key that was not found: how keys are named. `result` as it is. */
int keys_explain(int result);

#endif
