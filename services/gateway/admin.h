/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Key management, passed on to the keys service with the caller's own authorization: the gateway has no say in it. */
#ifndef SERVICES_GATEWAY_ADMIN_H
#define SERVICES_GATEWAY_ADMIN_H

#include "services/gateway/request.h"

enum admin_method { ADMIN_CREATE_KEY, ADMIN_LIST_KEYS, ADMIN_REVOKE_KEY, ADMIN_METHODS };

/** The request's message descriptor. */
const ProtobufCMessageDescriptor *admin_request_descriptor(enum admin_method method);
/** Send `message`; the keys service's answer becomes the request's. `authorization` may be NULL. */
void admin_forward(struct request *request, enum admin_method method, const char *authorization,
                   const ProtobufCMessage *message);

/** Answer `error`, unless the caller is no administrator: then 401, for nobody else is told what is wrong with a request. */
void admin_refuse(struct request *request, const char *authorization, const struct api_error *error);

#endif
