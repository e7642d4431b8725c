/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Why a gateway cannot be reached, in words for people: gRPC's own sentences are for those who build it. */
#ifndef CLI_UNREACHED_H
#define CLI_UNREACHED_H

#include "cli/connection.h"

#include <stdbool.h>
#include <stdio.h>

/** Whether a sentence of a call that is UNAVAILABLE is gRPC's own about a connection that could not be made. */
bool unreached_is_told(const char *message);
enum { UNREACHED_CAUSE_BYTES = 256 };
/** The last of gRPC's causes, "Connection refused". */
void unreached_cause(const char *message, char out[UNREACHED_CAUSE_BYTES]);
/** What may be done about it, a line each, `indent` before it; nothing where that is not known. */
void unreached_advise(FILE *file, const struct connection *connection, const char *message, const char *indent);

#endif
