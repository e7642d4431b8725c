/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Between protobuf messages and key records: the only file of the service that knows both. Messages live in the arena. */
#ifndef SERVICES_KEYS_CONVERT_H
#define SERVICES_KEYS_CONVERT_H

#include "bora/v1/error.pb-c.h"
#include "bora/v1/keys.pb-c.h"
#include "rpc/transcode.h"
#include "services/keys/key_record.h"

/** NULL when the arena is exhausted. Strings are lent from the record. */
Bora__V1__ApiKey *convert_record(const struct key_record *record, struct arena *arena);

/** What cannot be seen field by field. */
struct convert_problem {
    const char *type, *message; /* NULL: none */
    const char *field;
    int64_t index; /* in the field; -1: the field itself */
};
/** Everything of the record that the request decides: name, tenant (empty when not given), expiry, limits. Strings are lent from the request, which passed
 *  transcode_check. */
void convert_create_request(const Bora__V1__CreateKeyRequest *request, const struct key_limits *default_limits,
                            int64_t now, struct key_record *out, struct convert_problem *out_problem);

/** The detail of a refusal, packed, appended to `out`. `type`: "authentication_error", "invalid_request_error", "server_error". */
enum status convert_error(const char *type, const char *message, struct bytes *out);
enum status convert_validation(const struct transcode_errors *errors, struct arena *arena, struct bytes *out);
enum status convert_problem(const struct convert_problem *problem, struct arena *arena, struct bytes *out);

#endif
