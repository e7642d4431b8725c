/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What a limit by day, month or spend has to know of the time before it was set: scopes without limits are not counted in the limits' Redis
 * (limits_catch_up in store/limits.h). What was used then is in the ledger's sums, on its way there, or being used by answers that began without the
 * limit; so counters catch up when the limit is set, and then again and again, until nothing is left that began before gateways had heard of it.
 *
 * What still has to be done stands in the store, written before the limit is: whoever dies, and whichever Redis is away, it is done later.
 *
 *     bora:{seeds}:due     sorted set "<o|w|k|y> <organisation> <id>" -> when its turn comes, ms    o, w, k: the organisation, a workspace, a key;
 *     bora:{seeds}:since   hash, the same -> when the limit was set, ms                             y: each key of a workspace
 */
#ifndef SERVICES_KEYS_LIMIT_SEED_H
#define SERVICES_KEYS_LIMIT_SEED_H

#include "services/keys/handling.h"
#include "services/keys/limit_set.h"

/**
 * Before `limits` are committed; a change that then fails has done no harm. The scope of the organisation (both ids NULL), of a workspace or of a key.
 * Nothing when they do not look back. While the limits' Redis is away this is for later, and STATUS_OK.
 */
enum status limit_seed_scope(struct handling *handling, const char *organization, const char *workspace_or_null,
                             const char *prefix_or_null, const struct limit_set *limits, struct error *err);
/** The scope of each key of the workspace that has been used this month: `bounds` are what its keys have by themselves. */
enum status limit_seed_keys(struct handling *handling, const char *organization, const char *workspace,
                            const struct limits_bounds *bounds, struct error *err);

/** A keeper's turn (keeper.h; the context is the struct keys_service): what is left to do. */
int64_t limit_seeds_keep(void *service);

#endif
