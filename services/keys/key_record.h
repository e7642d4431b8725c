/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What is known of a key, and its form in Redis: the hash bora:key:{<key id>} with the fields
 *
 *     created_at, expires_at, revoked_at     Unix seconds; the last two only when there are any (store/limits reads these three)
 *     name, tenant, hash (hex), last (the key's last four characters)
 *     requests_per_minute, tokens_per_minute                           only when limited
 *     requests_per_minute:<model>, tokens_per_minute:<model>           only when limited
 *
 * Fields of other names are left alone and ignored, so that older and newer services can share a store.
 */
#ifndef SERVICES_KEYS_KEY_RECORD_H
#define SERVICES_KEYS_KEY_RECORD_H

#include "base/arena.h"
#include "base/limits.h"
#include "services/keys/key_text.h"
#include "store/redis.h"

enum { KEY_UNLIMITED = -1 };

struct key_limits {
    int64_t requests_per_minute, tokens_per_minute; /* KEY_UNLIMITED, or >= 0 */
};

struct key_model_limits {
    const char *model;
    struct key_limits limits; /* at least one */
};

/** Strings are lent or in an arena. */
struct key_record {
    char id[KEY_ID_CHARACTERS + 1];
    const char *name, *tenant;
    uint8_t hash[KEY_HASH_BYTES];
    char last[KEY_LAST_CHARACTERS + 1];
    int64_t created_at;
    int64_t expires_at, revoked_at; /* 0: never */
    struct key_limits limits;
    struct key_model_limits models[LIMIT_KEY_MODEL_LIMITS];
    size_t model_count;
};

/** Field, value, field, value... as HSET takes them, in the arena. */
enum status key_record_write(const struct key_record *record, struct arena *arena, struct bytes_view **out_words,
                             size_t *out_count, struct error *err);
/** From HGETALL's reply: field, value... Models come sorted by name. Strings are copied into the arena. STATUS_DATA_LOSS names the key and what is missing
 *  or malformed. */
enum status key_record_read(const char *key_id, const struct redis_reply *fields, struct arena *arena,
                            struct key_record *out, struct error *err);

#endif
