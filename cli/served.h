/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Which models are served now: to choose one, to name them after a refusal. */
#ifndef CLI_SERVED_H
#define CLI_SERVED_H

#include "bora/v1/models.pb-c.h"
#include "cli/connection.h"

#include <stdio.h>

/** The list, in the connection's arena. GO_ON, or EXIT_FAILED after a sentence on stderr. */
int served_fetch(struct connection *connection, const Bora__V1__ModelList **out);
/** What to say where the list is empty, and with which status: EXIT_UNAVAILABLE, or EXIT_NOT_AUTHORISED where the key may ask only some models. */
int served_explain_none(struct connection *connection, const char **out_sentence);
/** Whether a request may name one of them so: by its own name, an alias or its tier. */
bool served_has(const Bora__V1__ModelList *list, const char *name);
/** "a (alias, tier), b" or "none". */
void served_print_names(FILE *file, const Bora__V1__ModelList *list);

#endif
