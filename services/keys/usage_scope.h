/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Whose usage a caller may see: the operator everybody's, an admin its organisation's, a member its workspace's, a service key its own. What lies beyond is
 * NOT_FOUND.
 */
#ifndef SERVICES_KEYS_USAGE_SCOPE_H
#define SERVICES_KEYS_USAGE_SCOPE_H

#include "services/keys/handling.h"
#include "services/keys/usage_table.h"

/** What was asked for; NULL: not. */
struct usage_wanted {
    const char *organization, *workspace, *key, *model;
};
struct usage_scope {
    char organization[UUID_CHARACTERS + 1];
    struct usage_filter filter; /* in the handling's arena */
};
enum status usage_scope_find(struct handling *handling, const struct usage_wanted *wanted, struct usage_scope *out,
                             struct error *err);

/** An optional string of a request, or NULL. */
#define OPTIONAL(message, field) (PRESENT(message, field) ? (message)->field : NULL)

#endif
