/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Administrative requests that come over HTTP: their path, query and body become a message, by the tables of admin_routes.h. */
#ifndef SERVICES_GATEWAY_ADMIN_HTTP_H
#define SERVICES_GATEWAY_ADMIN_HTTP_H

#include "services/gateway/admin_routes.h"
#include "services/gateway/request.h"

/** The row for this path and method, or NULL. Of the path's other rows the methods go into `methods`, from `*count` on, at most `max`. */
const struct admin_route *admin_http_find(const char *method, const char *path, const char **methods, size_t *count,
                                          size_t max);
const char *admin_http_name(const struct admin_route *route); /* for logs and metrics */
/** The request's transport is an exchange. */
void admin_http_run(struct request *request, const struct admin_route *route);

#endif
