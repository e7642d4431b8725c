/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Administrative calls, passed on to the keys service with the caller's own authorization: the gateway has no say in them. */
#ifndef SERVICES_GATEWAY_ADMIN_H
#define SERVICES_GATEWAY_ADMIN_H

#include "services/gateway/admin_routes.h"
#include "services/gateway/client_address.h"
#include "services/gateway/request.h"

enum {
    ADMIN_ANSWER_BYTES_MAX = 16 << 20, /* packed: what the keys service may answer */
    ADMIN_ARENA_BYTES = 96 << 20       /* unpacked */
};

/** Who calls, as the keys service is told. */
struct admin_caller {
    const char *authorization; /* the header's value; NULL: none */
    char address[CLIENT_ADDRESS_BYTES];
};

/** Send `message`; the keys service's answer becomes the request's. `route`: the HTTP row it came by, so that errors say where a field stood; NULL: gRPC. */
void admin_forward(struct request *request, const struct admin_method *method, const struct admin_route *route,
                   const struct admin_caller *caller, const ProtobufCMessage *message);

/** Answer `error`, unless the caller may not ask `method` at all: then 401 or 403, for nobody else is told what is wrong with a request. */
void admin_refuse(struct request *request, const struct admin_method *method, const struct admin_caller *caller,
                  const struct api_error *error);

/** Ask, and nothing else: `fn` is called once; the caller holds a reference to the request until then. False: it could not be sent and `fn` will not be called. */
bool admin_ask(struct request *request, const struct admin_method *method, const struct admin_caller *caller,
               const ProtobufCMessage *message, rpc_unary_fn *fn, void *context);
/** What the client is told of a failure; memory from the request's arena. */
struct api_error admin_error(struct request *request, const struct admin_route *route, const struct rpc_result *result);
/** The answer of `method`, in `arena`; else false and the error to answer. */
bool admin_read(const struct admin_method *method, struct bytes_view reply, struct arena *arena, ProtobufCMessage **out,
                struct api_error *error);
/** An answer that makes no sense; nobody to ask. */
struct api_error admin_error_unreadable(void);
struct api_error admin_error_unreachable(void);

#endif
