/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What was done as it was said, and may not be what was meant: warnings on stderr. Whoever may not see the workers, or the prices, is not warned of what
 * they would say.
 */
#ifndef CLI_DOUBTS_H
#define CLI_DOUBTS_H

#include "bora/v1/keys.pb-c.h"
#include "cli/connection.h"

/** Names of models that nobody serves now may be typing errors, or of a model that comes later. `so`: "so this limit limits nothing yet". */
void doubt_models(struct connection *connection, char *const *names, size_t count, const char *so);
/** Answers of models that have no price count nothing against a limit on spend. `only_or_null`: the limit is for this model, alias or tier. */
void doubt_prices(struct connection *connection, const char *only_or_null);
/** Of the prices, and so of every limit on spend; "" where it cannot be known. Nothing is said, nor done again. Lives as long as the connection. */
const char *prices_currency(struct connection *connection);
/** Whether limits (NULL: none) bound spend. */
bool doubt_bounds_spend(const Bora__V1__Limits *limits);

#endif
