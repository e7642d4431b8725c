/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Authentication: an API key to what is known of it. The keys service decides; its answers are remembered for a short time
 * under the key's SHA-256 (the key itself is never kept). Revocation does not wait for the cache: every request's limit
 * script looks at the record in Redis (store/limits.h).
 */
#ifndef SERVICES_GATEWAY_AUTHENTICATE_H
#define SERVICES_GATEWAY_AUTHENTICATE_H

#include "base/limits.h"
#include "base/status.h"
#include "bora/internal/v1/worker.pb-c.h"
#include "store/limits.h"

#include <stdatomic.h>

/** Immutable and shared; reference-counted. */
struct key_info {
    atomic_int references;
    char key_id[LIMITS_KEY_ID_BYTES + 1];
    char tenant[LIMITS_KEY_ID_BYTES + 1];
    struct limits_bounds bounds;
    int model_count;
    struct {
        char model[LIMIT_MODEL_NAME_BYTES + 1];
        struct limits_bounds bounds;
    } models[];
};
void key_info_ref(struct key_info *info);
void key_info_unref(struct key_info *info); /* NULL is nothing */
/** The bounds of (key, model), given under any of the model's names; of several the tightest; absent when the key has none for it. */
struct limits_bounds key_info_model_bounds(const struct key_info *info,
                                           const Bora__Internal__V1__ModelDescription *model);

struct key_cache;
enum status key_cache_create(struct key_cache **out, struct error *err);
void key_cache_destroy(struct key_cache *cache);

struct gateway;
/** STATUS_OK with `info` (lent; ref it to keep it), STATUS_UNAUTHENTICATED, or STATUS_UNAVAILABLE when the keys service cannot be asked. */
typedef void authenticate_fn(void *context, enum status status, struct key_info *info);
/** `fn` is called once, perhaps before this returns. `key` may be NULL (no key was sent). */
void authenticate(struct gateway *gateway, const char *key, authenticate_fn *fn, void *context);
/** Forget a key that turned out to be revoked or expired. */
void authenticate_forget(struct gateway *gateway, const char *key_id);

#endif
