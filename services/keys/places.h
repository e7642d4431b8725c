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

/** The spend limit of an organisation (`workspace` NULL) or a workspace, with its entry in the audit trail; nanos or LIMITS_ABSENT. Gateways hear of it. */
enum status place_set_spend(struct handling *handling, const struct organization *organization,
                            const struct workspace *workspace, int64_t nanos, struct error *err);

/** Read from HGETALL's replies. STATUS_DATA_LOSS names what is missing. */
enum status organization_read(const char *id, const struct redis_reply *fields, struct arena *arena,
                              struct organization *out, struct error *err);
enum status workspace_read(const char *organization, const char *id, const struct redis_reply *fields,
                           struct arena *arena, struct workspace *out, struct error *err);

#endif
