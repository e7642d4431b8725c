/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** `bora usage export`: the ledger, page by page, into a file. */
#ifndef CLI_USAGE_EXPORT_H
#define CLI_USAGE_EXPORT_H

#include "cli/arguments.h"
#include "cli/values.h"

#include <protobuf-c/protobuf-c.h>

extern const struct argument usage_export_arguments[];
int usage_export_run(const struct command_usage *usage, const char *const *words, int count);

/** A date as it was typed (NULL: none) into the request's field of the option's name; `out` has to live as long. GO_ON or EXIT_USAGE. */
int usage_set_date(const struct command_usage *usage, const char *option, const char *text, char out[VALUE_TIME_BYTES],
                   ProtobufCMessage *request);

#endif
