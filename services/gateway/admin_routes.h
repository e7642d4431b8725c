/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The administrative interface (proto/bora/v1/keys.proto, tenants.proto, usage.proto) as two tables: the gRPC methods that are passed on to the
 * keys service, and the HTTP rows that stand for them. A new method is a line in each; the rest goes by descriptors.
 */
#ifndef SERVICES_GATEWAY_ADMIN_ROUTES_H
#define SERVICES_GATEWAY_ADMIN_ROUTES_H

#include "base/arena.h"
#include "rpc/transcode.h"

struct admin_method {
    const char *name; /* for logs and metrics: "create_key" */
    const char *path; /* "/bora.v1.KeyService/CreateKey" */
    const ProtobufCMessageDescriptor *request, *response;
    bool anyone; /* any key may ask, not only administrators */
};
extern const struct admin_method admin_methods[];
extern const size_t admin_method_count;
/** NULL when there is none. */
const struct admin_method *admin_find_method(const char *path);

enum admin_body { ADMIN_BODY_NONE, ADMIN_BODY_NEEDED, ADMIN_BODY_OPTIONAL };
enum admin_export {
    ADMIN_EXPORT_NONE,
    ADMIN_EXPORT_USAGE,
    ADMIN_EXPORT_LEDGER
}; /* its `format` may be another than JSON */

struct admin_route {
    const char *verb; /* "POST" */
    const char
        *pattern; /* "/v1/admin/api-keys/{key_id}/rotate": in braces the field of the request that the segment is */
    const char *calls; /* admin_method.path */
    enum admin_body body;
    enum admin_export exports;
};
extern const struct admin_route admin_routes[];
extern const size_t admin_route_count;

/** Does the pattern take the path? A segment is never empty. */
bool admin_route_matches(const struct admin_route *route, const char *path);
/** The segments in braces, in `arena`: how many, at most `max`; -1 without memory. The pattern takes the path. */
int admin_route_segments(const struct admin_route *route, const char *path, struct arena *arena,
                         struct transcode_parameter *out, int max);

#endif
