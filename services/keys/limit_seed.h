/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What a limit by day, month or spend has to know of the time before it was set: scopes without limits are not counted in the limits' Redis, the ledger's
 * sums have it all (limits_seed in store/limits.h). Called before a change is committed; a change that then fails has done no harm.
 */
#ifndef SERVICES_KEYS_LIMIT_SEED_H
#define SERVICES_KEYS_LIMIT_SEED_H

#include "services/keys/handling.h"
#include "services/keys/limit_set.h"

/** Does any of them need the past? */
bool limit_bounds_look_back(const struct limits_bounds *bounds);

/** Seed the scope of the organisation (both NULL), of a workspace or of a key, over all models and for those that are limited by their own name. UNAVAILABLE:
 *  a Redis cannot be reached. */
enum status limit_seed_scope(struct handling *handling, const char *organization, const char *workspace_or_null,
                             const char *prefix_or_null, const struct limit_set *limits, struct error *err);
/** The scope of each key of the workspace that has been used this month: `bounds` are what its keys have by themselves. */
enum status limit_seed_keys(struct handling *handling, const char *organization, const char *workspace,
                            const struct limits_bounds *bounds, struct error *err);

#endif
