/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What is known of a key, and its form in Redis: the hash bora:key:{<organisation>}:<prefix> with the fields
 *
 *     version                                     counts changes, so that nobody overwrites what he has not seen
 *     created_at, expires_at, revoked_at          Unix seconds; the last two only when there are any
 *     name, workspace, role, created_by, user_id  the last one only when there is any
 *     hash (hex), last (the key's last four characters)
 *     previous_hash, previous_expires_at          after a rotation with overlap
 *     rotations                                   how many secrets it had before this one: each has a gate of its own; absent: none
 *     disabled                                    "1", or absent
 *     limits_given                                "1": the service's own defaults do not count
 *     models, endpoints                           scopes, a name a line; only where there are any
 *     last_used                                   Unix seconds, to the minute
 *     and its limits (limit_set.h)
 *
 * Fields of other names are left alone and ignored, so that older and newer services can share a store.
 */
#ifndef SERVICES_KEYS_KEY_RECORD_H
#define SERVICES_KEYS_KEY_RECORD_H

#include "services/keys/key_text.h"
#include "services/keys/limit_set.h"
#include "services/keys/uuid.h"

/** In order of what they may. */
enum key_role { KEY_ROLE_SERVICE, KEY_ROLE_MEMBER, KEY_ROLE_ADMIN, KEY_ROLE_OPERATOR };
/** "service", "member", "admin", "operator". */
const char *key_role_name(enum key_role role);
/** Of a key: never the operator. */
bool key_role_parse(struct bytes_view name, enum key_role *out);

/** None: everything. */
struct name_list {
    const char **names;
    size_t count;
};
bool name_list_has(const struct name_list *list, const char *name);
/** Whoever is bound to `inner` may do no more than who is bound to `outer`. */
bool name_list_within(const struct name_list *inner, const struct name_list *outer);
bool name_lists_equal(const struct name_list *a, const struct name_list *b);

/** Strings and lists are lent, or in an arena. */
struct key_record {
    char prefix[KEY_PREFIX_CHARACTERS + 1];
    char organization[UUID_CHARACTERS + 1], workspace[UUID_CHARACTERS + 1];
    const char *name, *created_by;
    const char *user_id; /* NULL: none */
    enum key_role role;
    uint8_t hash[KEY_HASH_BYTES], previous_hash[KEY_HASH_BYTES];
    char last[KEY_LAST_CHARACTERS + 1];
    int64_t version, created_at;
    int64_t expires_at, revoked_at, previous_expires_at, last_used; /* 0: never, none */
    int64_t rotations;
    bool disabled, limits_given;
    struct limit_set limits;
    struct name_list models, endpoints; /* scopes */
};

/** All of the record, as HSET takes it. */
enum status key_record_write(const struct key_record *record, struct arena *arena, struct bytes_view **out_words,
                             size_t *out_count, struct error *err);
/** From HGETALL's reply: field, value... Everything is copied into the arena. STATUS_DATA_LOSS names the key and what is missing or malformed. */
enum status key_record_read(const char *organization, const char *prefix, const struct redis_reply *fields,
                            struct arena *arena, struct key_record *out, struct error *err);

enum { KEY_GATE_BYTES = KEY_PREFIX_CHARACTERS + 24 };
/** The name of the gate of a secret (store/limits.h), whose number is how many there were before it: the prefix of the first, "<prefix>.<number>" of others. */
void key_gate_name(const char *prefix, int64_t secret, char out[KEY_GATE_BYTES]);

/** NULL, or why it may not be used now: "the key is revoked". */
const char *key_record_refusal(const struct key_record *record, int64_t now);

#endif
