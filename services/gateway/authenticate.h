/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Authentication: an API key to what is known of it. The keys service decides; its answers are remembered for a short time
 * under the key's SHA-256 (the key itself is never kept), and forgotten when the keys service says that something changed
 * (key_changes.h). Revocation does not wait for that: every admission looks at the key's gate in Redis (store/limits.h), and those that were made ahead last 100 ms (ahead.h).
 */
#ifndef SERVICES_GATEWAY_AUTHENTICATE_H
#define SERVICES_GATEWAY_AUTHENTICATE_H

#include "base/status.h"
#include "services/gateway/key_info.h"

struct key_cache;
enum status key_cache_create(struct key_cache **out, struct error *err);
void key_cache_destroy(struct key_cache *cache);

struct gateway;
/** STATUS_OK with `info` (lent; ref it to keep it), STATUS_UNAUTHENTICATED, or STATUS_UNAVAILABLE when the keys service cannot be asked. */
typedef void authenticate_fn(void *context, enum status status, struct key_info *info);
/** `fn` is called once, perhaps before this returns. `key` may be NULL (no key was sent). */
void authenticate(struct gateway *gateway, const char *key, authenticate_fn *fn, void *context);
/** Forget a key that may no longer be used. */
void authenticate_forget(struct gateway *gateway, const char *prefix);

/** Forget them; what the keys service said before this call, and has not arrived, is not remembered either. */
void key_cache_forget(struct key_cache *cache, enum key_change change, const char *id);
/** While nobody would tell of changes nothing is remembered. False forgets all. */
void key_cache_trust(struct key_cache *cache, bool trusted);

#endif
