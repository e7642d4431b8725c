/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Registry: who is alive. A member announces a value under its id and repeats that before the time to live runs out;
 * whoever stops is forgotten. Redis' clock decides, so machines' clocks do not matter.
 *
 *     bora:<group>s            sorted set: id -> expiry in ms
 *     bora:<group>:<id>        the value, with the time to live; in a cluster {bora:<group>s}:<id>
 *
 * Callbacks come on the client's thread (store/redis.h).
 */
#ifndef STORE_REGISTRY_H
#define STORE_REGISTRY_H

#include "store/redis.h"

/** `fn` gets STATUS_OK once the announcement stands. `group` is a short word ("worker"). */
void registry_announce(struct redis_client *client, const char *group, const char *id, struct bytes_view value,
                       int64_t ttl_ns, redis_fn *fn, void *context);
/** Forget `id` at once. */
void registry_remove(struct redis_client *client, const char *group, const char *id, redis_fn *fn, void *context);
/** `fn`'s reply is an array of the live members' values, ordered by id. */
void registry_list(struct redis_client *client, const char *group, redis_fn *fn, void *context);

#endif
