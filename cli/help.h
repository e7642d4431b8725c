/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What help, manual and completion have in common: texts that belong to no command. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include <stdio.h>

struct help_entry {
    const char *name, *text;
};
extern const struct help_entry help_exits[];     /* exit status and what it means; ends with one without a name */
extern const struct help_entry help_variables[]; /* of the environment */

/** The manual page bora(1), in the man macros. */
void manual_print(FILE *file);

#endif
