/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Between protobuf messages and records. Messages live in the arena, their strings are lent from the records; functions give NULL when the arena is exhausted.
 * What requests say is checked as far as the rules of the messages cannot; the problem goes to the handling (INVALID_ARGUMENT).
 */
#ifndef SERVICES_KEYS_CONVERT_H
#define SERVICES_KEYS_CONVERT_H

#include "bora/v1/keys.pb-c.h"
#include "bora/v1/tenants.pb-c.h"
#include "services/keys/handling.h"

/* --- out ---------------------------------------------------------------------------------------------------------- */

Bora__V1__Limits *convert_bounds(const struct limits_bounds *bounds, struct arena *arena);
bool convert_model_limits(const struct limit_set *limits, struct arena *arena, Bora__V1__ModelLimits ***out,
                          size_t *out_count);
Bora__V1__Scopes *convert_scopes(const struct key_record *record, struct arena *arena);
Bora__V1__ApiKey *convert_key(const struct key_record *record, const char *workspace_name, int64_t now,
                              struct arena *arena);
Bora__V1__Organization *convert_organization(const struct organization *organization, struct arena *arena);
Bora__V1__Workspace *convert_workspace(const struct workspace *workspace, struct arena *arena);

/* --- in ----------------------------------------------------------------------------------------------------------- */

/** NULL: unlimited. */
void convert_read_bounds(const Bora__V1__Limits *limits, struct limits_bounds *out);
enum status convert_read_model_limits(struct handling *handling, Bora__V1__ModelLimits *const *models, size_t count,
                                      struct limit_set *out, struct error *err);
enum status convert_read_scopes(struct handling *handling, const Bora__V1__Scopes *scopes, struct key_record *out,
                                struct error *err);
/** RFC 3339; a date means its end. In the future. `field`: where it stands. */
enum status convert_read_expiration(struct handling *handling, const char *field, const char *text, int64_t now,
                                    int64_t *out);

#endif
