/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What ends something is asked once more, where somebody sits at a terminal. */
#ifndef CLI_CONFIRM_H
#define CLI_CONFIRM_H

#include <stdbool.h>

extern bool confirm_given; /* --yes */
#define CONFIRM_ARGUMENT \
    { ARGUMENT_FLAG, "yes", NULL, "do it without asking (on a terminal it is asked)", &confirm_given }

/** Whether confirm() will ask: standard input and standard error are terminals, and --yes was not given. */
bool confirm_asks(void);
/** Ask a question that "y" or "yes" answers with GO_ON, and whatever else with EXIT_FAILED after a sentence; GO_ON where confirm_asks() is false. */
int confirm(const char *question, ...) __attribute__((format(printf, 1, 2)));

#endif
