/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Organisations and their workspaces in Redis (docs/design/tenants.md has all names), and who a key stands for.
 *
 *     bora:org:{<org>}        hash: version, name, created_at (Unix seconds), disabled ("1" or absent), limits (limit_set.h)
 *     bora:ws:{<org>}:<ws>    hash: the same, and key limits as "key.<limit>"
 *
 * All functions wait for Redis: job threads only. NOT_FOUND says "no such organization" or "no such workspace".
 */
#ifndef SERVICES_KEYS_PLACES_H
#define SERVICES_KEYS_PLACES_H

#include "services/keys/key_record.h"

/** Strings and lists are in an arena. */
struct organization {
    char id[UUID_CHARACTERS + 1];
    const char *name;
    int64_t version, created_at;
    bool disabled;
    struct limit_set limits; /* of all its keys together */
};
struct workspace {
    char id[UUID_CHARACTERS + 1], organization[UUID_CHARACTERS + 1];
    const char *name;
    int64_t version, created_at;
    bool disabled;
    struct limit_set limits;         /* of all its keys together */
    struct limits_bounds key_limits; /* what each of its keys has where the key says nothing itself */
};

/** A key and whose it is. */
struct authority {
    struct key_record key;
    struct workspace workspace;
    struct organization organization;
};

struct keys_service;
struct handling;

/** `id` NULL: the first one. */
enum status place_organization(struct keys_service *service, const char *id_or_null, struct arena *arena,
                               struct organization *out, struct error *err);
/** `organization` NULL: found by the workspace's id alone. */
enum status place_workspace(struct keys_service *service, const char *organization_or_null, const char *id,
                            struct arena *arena, struct workspace *out, struct error *err);
/** The id of the organisation's oldest. */
enum status place_first_workspace(struct keys_service *service, const char *organization, char out[UUID_CHARACTERS + 1],
                                  struct error *err);

/* --- lists: oldest first; `*count` is room, then how many there were, at most one more than `limit` ---------------- */

/** Ids. */
enum status place_organization_ids(struct keys_service *service, int64_t offset, int64_t limit, struct arena *arena,
                                   char (**out)[UUID_CHARACTERS + 1], size_t *out_count, struct error *err);
enum status place_workspace_ids(struct keys_service *service, const char *organization, int64_t offset, int64_t limit,
                                struct arena *arena, char (**out)[UUID_CHARACTERS + 1], size_t *out_count,
                                struct error *err);
/** The names of all workspaces of an organisation. */
struct workspace_names {
    char organization[UUID_CHARACTERS + 1];
    struct workspace_name {
        char id[UUID_CHARACTERS + 1];
        const char *name;
    } * items; /* by id */
    size_t count;
};
enum status place_workspace_names(struct keys_service *service, const char *organization, struct arena *arena,
                                  struct workspace_names *out, struct error *err);
/** "" for one that is gone. */
const char *workspace_names_find(const struct workspace_names *names, const char *id);

/* --- changes, each with its entry in the audit trail --------------------------------------------------------------- */

/** `organization`: what is asked for; gets an id and a first workspace. ALREADY_EXISTS: the name is taken. RESOURCE_EXHAUSTED: there are too many. */
enum status place_create_organization(struct handling *handling, struct organization *organization, struct error *err);
/** FAILED_PRECONDITION: it has keys that are not revoked, or has used something, or is the first one. Its audit trail stays. */
enum status place_delete_organization(struct handling *handling, const struct organization *organization,
                                      struct error *err);
/** What indexes still name of an organisation that was deleted. `*out_was_there` false: nothing. On failure later, by whoever sees its mark (changes.h). */
enum status place_forget_organization(struct keys_service *service, const char *id, bool *out_was_there,
                                      struct error *err);
/** `workspace`: what is asked for; gets an id. ALREADY_EXISTS: there is one of that name, whose id it gets. */
enum status place_create_workspace(struct handling *handling, struct workspace *workspace, struct error *err);
/** `before` as it was read; `after` gets its new version, unless it is the same: then nothing is written, but gateways are told once more. ABORTED: somebody
 *  else was faster. UNAVAILABLE may also say that the change stands (changes.h). */
enum status place_change_organization(struct handling *handling, const struct organization *before,
                                      struct organization *after, struct error *err);
enum status place_change_workspace(struct handling *handling, const struct workspace *before, struct workspace *after,
                                   struct error *err);
/** FAILED_PRECONDITION: it has keys, or is the last one. */
enum status place_delete_workspace(struct handling *handling, const struct workspace *workspace, struct error *err);
/** The spend limit of an organisation (`workspace` NULL) or a workspace; nanos or LIMITS_ABSENT. */
enum status place_set_spend(struct handling *handling, const struct organization *organization,
                            const struct workspace *workspace, int64_t nanos, struct error *err);

/** Read from HGETALL's replies. STATUS_DATA_LOSS names what is missing. */
enum status organization_read(const char *id, const struct redis_reply *fields, struct arena *arena,
                              struct organization *out, struct error *err);
enum status workspace_read(const char *organization, const char *id, const struct redis_reply *fields,
                           struct arena *arena, struct workspace *out, struct error *err);

#endif
