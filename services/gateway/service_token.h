/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Does the keys service take this gateway's service token? One that it refuses is no tenant's fault: the gateway is not ready, and answers 503.
 *
 * The keys service is asked when its channel has come (back), by a VerifyKey of no key, and again every few seconds while it refuses; every other
 * VerifyKey tells as well. PERMISSION_DENIED is about the token, UNAUTHENTICATED about the key. A keys service of an earlier version says
 * UNAUTHENTICATED of both, and is believed.
 */
#ifndef SERVICES_GATEWAY_SERVICE_TOKEN_H
#define SERVICES_GATEWAY_SERVICE_TOKEN_H

#include "base/status.h"

#include <stdatomic.h>
#include <stdint.h>

struct gateway;

enum service_token_verdict { SERVICE_TOKEN_UNKNOWN, SERVICE_TOKEN_ACCEPTED, SERVICE_TOKEN_REFUSED };
struct service_token {
    atomic_int verdict;      /* enum service_token_verdict */
    atomic_bool asking;      /* an answer is on its way */
    _Atomic int64_t told_ns; /* when the log was last told of a refusal; 0: it was not */
    int64_t changes; /* of the channel, when the keys service was last asked; of whoever looks after it, as is: */
    int64_t next_ns; /* when to ask again */
};

/** A few times a second, on one thread. */
void service_token_look_after(struct gateway *gateway);
/** What VerifyKey was answered with, whatever it was asked for. Any thread. */
void service_token_heard(struct gateway *gateway, enum status status);

#endif
