/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/admin_http.h"

#include "rpc/http_framing.h"
#include "services/gateway/admin.h"
#include "services/gateway/export.h"

#include <string.h>
#include <strings.h>

enum { SEGMENTS_MAX = 2 };

const struct admin_route *admin_http_find(const char *method, const char *path, const char **methods, size_t *count,
                                          size_t max) {
    for (size_t i = 0; i < admin_route_count; i++) {
        if (!admin_route_matches(&admin_routes[i], path)) continue;
        if (strcmp(admin_routes[i].verb, method) == 0) return &admin_routes[i];
        if (*count < max) methods[(*count)++] = admin_routes[i].verb;
    }
    return NULL;
}

const char *admin_http_name(const struct admin_route *route) {
    return admin_find_method(route->calls)->name;
}

/** All of X-Forwarded-For: a client may have sent a header of its own in front of the proxy's. NULL without one that could count, or without memory. */
static const char *forwarded_for(struct request *request) {
    char *all = NULL;
    if (request->gateway->proxies.count == 0) return NULL;
    for (const struct http_field *field = http_exchange_headers(request->transport); field != NULL;
         field = field->next) {
        if (strcasecmp(field->name, "x-forwarded-for") != 0) continue;
        all = all == NULL ? arena_printf(&request->arena, "%s", field->value)
                          : arena_printf(&request->arena, "%s,%s", all, field->value);
        if (all == NULL) return NULL;
    }
    return all;
}

static void fill_caller(struct request *request, struct admin_caller *caller) {
    caller->authorization = http_exchange_header(request->transport, "authorization");
    client_address(&request->gateway->proxies, http_exchange_peer(request->transport), forwarded_for(request),
                   caller->address);
}

/** False without memory. */
static bool fill_call(struct request *request, const struct admin_route *route,
                      struct transcode_parameter segments[SEGMENTS_MAX], struct transcode_call *call) {
    const struct http_field *queries = http_exchange_queries(request->transport);
    int count =
        admin_route_segments(route, http_exchange_path(request->transport), &request->arena, segments, SEGMENTS_MAX);
    size_t query_count = 0;
    for (const struct http_field *field = queries; field != NULL; field = field->next) query_count++;
    struct transcode_parameter *query = arena_alloc_array(&request->arena, query_count, sizeof *query);
    if (count < 0 || query == NULL) return false;
    query_count = 0;
    for (const struct http_field *field = queries; field != NULL; field = field->next)
        query[query_count++] = (struct transcode_parameter){field->name, field->value};
    struct bytes_view body = http_exchange_body(request->transport);
    bool empty = route->body == ADMIN_BODY_OPTIONAL && body.length == 0;
    *call = (struct transcode_call){.path = segments,
                                    .path_count = (size_t)count,
                                    .query = query,
                                    .query_count = query_count,
                                    .has_body = route->body != ADMIN_BODY_NONE,
                                    .body = empty ? bytes_view_string("{}") : body};
    return true;
}

/** The whole request as a message; else false and the error to answer. */
static bool read_call(struct request *request, const struct admin_route *route, const struct admin_method *method,
                      ProtobufCMessage **out, struct api_error *error) {
    struct transcode_parameter segments[SEGMENTS_MAX];
    struct transcode_call call;
    struct transcode_errors *errors = arena_alloc(&request->arena, sizeof *errors);
    enum status status = STATUS_RESOURCE_EXHAUSTED;
    if (errors != NULL && fill_call(request, route, segments, &call))
        status = transcode_read_call(request->gateway->transcoder, &request->gateway->dialect, method->request, &call,
                                     &request->arena, out, errors);
    if (status == STATUS_OK) return true;
    if (status == STATUS_INVALID_ARGUMENT)
        *error = api_error_validation(errors);
    else
        *error =
            api_error_make(413, STATUS_RESOURCE_EXHAUSTED, "invalid_request_error", NULL, "The request is too large.");
    return false;
}

void admin_http_run(struct request *request, const struct admin_route *route) {
    const struct admin_method *method = admin_find_method(route->calls);
    struct admin_caller caller;
    ProtobufCMessage *message = NULL;
    struct api_error error;
    fill_caller(request, &caller);
    http_exchange_add_header(request->transport, "cache-control", "no-store"); /* keys, once; who uses what */
    if (request_bearer(caller.authorization) == NULL) {
        error = api_error_unauthorized();
        request_fail(request, &error);
    } else if (!read_call(request, route, method, &message, &error)) {
        admin_refuse(request, method, &caller, &error);
    } else if (!export_start(request, method, route, &caller, message)) {
        admin_forward(request, method, route, &caller, message);
    }
}
