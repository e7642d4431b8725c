/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Keys in Redis (docs/design/tenants.md has the names). Every change is one script, so it is whole or not at all, and Redis answers it after the
 * append-only file was flushed (appendfsync always). A prefix is found through bora:key-index, which is written before the record: an entry
 * there without a record is a key that was never acknowledged.
 *
 * Functions that wait for Redis are for job threads; those with a redis_fn for any.
 */
#ifndef SERVICES_KEYS_KEY_STORE_H
#define SERVICES_KEYS_KEY_STORE_H

#include "services/keys/audit.h"
#include "services/keys/places.h"

struct keys_service;
struct key_text;

/** By id or prefix; in `organization_or_null` only. NOT_FOUND: "no such key". */
enum status key_find(struct keys_service *service, const char *organization_or_null, const char *id,
                     struct arena *arena, struct key_record *out, struct error *err);
/** ALREADY_EXISTS: the prefix is taken. RESOURCE_EXHAUSTED: the organisation has too many. NOT_FOUND: the workspace is gone. */
enum status key_create(struct handling *handling, const struct key_record *record, const struct audit_entry *entry,
                       struct error *err);

/* --- who shows a key ---------------------------------------------------------------------------------------------- */

/** Reply: the organisation's id, or nil. */
void key_ask_organization(struct redis_client *redis, const char *prefix, redis_fn *fn, void *context);
/** Reply for authority_read. */
void key_ask_authority(struct redis_client *redis, const char *organization, const char *prefix, redis_fn *fn,
                       void *context);
/** `*out_found` false: there is no such key. */
enum status authority_read(const char *organization, const char *prefix, const struct redis_reply *reply,
                           struct arena *arena, struct authority *out, bool *out_found, struct error *err);
/** UNAUTHENTICATED with the reason unless `key` is this authority's and may be used now. Takes as long whether `found` or not. For a secret that was rotated
 *  away, the end of the overlap becomes the key's expiry, and `rotations` is of it. */
enum status authority_judge(const struct keys_service *service, const struct key_text *key, struct authority *authority,
                            bool found, int64_t now, struct error *err);
/** All of the above, waiting. */
enum status key_authenticate(struct keys_service *service, const struct key_text *key, struct arena *arena,
                             struct authority *out, struct error *err);
/** Write down that the key was used, once a minute; nobody waits for it. */
void key_touch(struct keys_service *service, const struct key_record *key, int64_t now);
/** Where prefixes are looked up in when there is no organisation to look in: none has this id. */
extern const char key_no_organization[];

/** The limits of a key over all models; where it says nothing itself its workspace's limits for keys count, then the service's own, unless the key was given
 *  limits. */
struct limits_bounds key_resolve_limits(const struct keys_service *service, const struct key_record *key,
                                        const struct workspace *workspace);
/** NULL, or why nothing of this authority may be used now. */
const char *authority_refusal(const struct authority *authority, int64_t now);

/* --- lists -------------------------------------------------------------------------------------------------------- */

struct key_filter {
    const char *name;      /* part of the name, or the last four characters; NULL: any */
    const char *workspace; /* id; NULL: any */
};
/** A page under way, over one organisation or several. */
struct key_page {
    struct key_record *records; /* room for `limit` + 1 */
    size_t count, limit;
    int64_t skip; /* so many that fit are left out first */
};
/** Add those of an organisation that fit, oldest first, from behind `after_or_null` on, until there are limit + 1. INVALID_ARGUMENT: `after` is no key of it. */
enum status key_list(struct keys_service *service, const char *organization, const char *after_or_null,
                     const struct key_filter *filter, struct arena *arena, struct key_page *page, struct error *err);

/**
 * Leave a mark of the hash secret in an empty store. Reply: the mark that stands there: another one means that this service would refuse all
 * existing keys, and others would refuse the keys it makes.
 */
void key_store_mark_secret(struct redis_client *redis, const char *mark, redis_fn *fn, void *context);

#endif
