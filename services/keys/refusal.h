/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** How a call ends that is not done: a status, a sentence, and a bora.v1.ErrorDetail that gateways make an HTTP answer of. */
#ifndef SERVICES_KEYS_REFUSAL_H
#define SERVICES_KEYS_REFUSAL_H

#include "rpc/grpc_server.h"
#include "rpc/transcode.h"

struct field_problem {
    const char *field; /* NULL: none */
    int64_t index;     /* in the field; -1: the field itself */
    const char *message;
};

void refuse(struct rpc_call *call, enum status status, const char *message);
/** INVALID_ARGUMENT; `errors` from transcode_check, memory from the arena. */
void refuse_fields(struct rpc_call *call, const struct transcode_errors *errors, struct arena *arena);
void refuse_problem(struct rpc_call *call, const struct field_problem *problem);

#endif
