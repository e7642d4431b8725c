/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Keys in Redis: a hash per key (key_record.h), and the sorted set bora:keys of their ids by age. Every change is one script, so it is whole or not
 * at all, and Redis answers it after the append-only file was flushed (appendfsync always).
 *
 * Callbacks come on the Redis client's thread, or before the call returns.
 */
#ifndef SERVICES_KEYS_KEY_STORE_H
#define SERVICES_KEYS_KEY_STORE_H

#include "services/keys/key_record.h"

/** Reply: integer 1, or 0 when the id is taken. `words` from key_record_write. */
void key_store_create(struct redis_client *redis, const char *key_id, const struct bytes_view *words, size_t word_count,
                      redis_fn *fn, void *context);
/** Reply: the record's fields, empty when there is none. */
void key_store_get(struct redis_client *redis, const char *key_id, redis_fn *fn, void *context);
/** Reply: as key_store_get, after the change. */
void key_store_revoke(struct redis_client *redis, const char *key_id, int64_t now, redis_fn *fn, void *context);
/** Reply: array {more: 1 or 0, id, fields, id, fields...}; empty when `after` (may be NULL: from the beginning) is no key. */
void key_store_list(struct redis_client *redis, const char *after, int64_t limit, redis_fn *fn, void *context);
/**
 * Leave a mark of the hash secret in an empty store. Reply: the mark that stands there: another one means that this service would refuse all
 * existing keys, and others would refuse the keys it makes.
 */
void key_store_mark_secret(struct redis_client *redis, const char *mark, redis_fn *fn, void *context);

#endif
