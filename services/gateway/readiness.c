/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Whether the gateway can serve, and what is missing: in words for whoever has set it up, without secrets. */
#include "services/gateway/gateway.h"
#include "services/gateway/workers.h"

#include <stdio.h>

static bool redis_is_there(const struct gateway *gateway, struct redis_client *client, char *out_reason) {
    char reason[GATEWAY_REASON_BYTES / 2];
    if (redis_client_connected(client)) return true;
    redis_client_reason(client, reason, sizeof reason);
    snprintf(out_reason, GATEWAY_REASON_BYTES, "Redis cannot be reached at %.120s: %s", gateway->settings.redis_address,
             reason);
    return false;
}

static const char *keys_missing(const struct gateway *gateway) {
    if (!rpc_channel_ready(gateway->keys)) return "the keys service cannot be reached";
    switch (atomic_load(&gateway->service_token.verdict)) {
    case SERVICE_TOKEN_ACCEPTED:
        return NULL;
    case SERVICE_TOKEN_REFUSED:
        return "the keys service refuses this gateway's service token";
    default:
        return "the keys service has not answered yet";
    }
}

bool gateway_is_ready(const struct gateway *gateway, char out_reason[GATEWAY_REASON_BYTES]) {
    const char *missing = NULL;
    out_reason[0] = 0;
    if (atomic_load(&gateway->draining))
        missing = "draining";
    else if (!atomic_load(&gateway->serving))
        missing = "the ports for clients are not open yet";
    else if (!redis_is_there(gateway, gateway->limits, out_reason) ||
             !redis_is_there(gateway, gateway->redis, out_reason))
        return false;
    else if ((missing = keys_missing(gateway)) == NULL && workers_count(gateway->workers) > 0)
        return true;
    if (missing != NULL)
        snprintf(out_reason, GATEWAY_REASON_BYTES, "%s", missing);
    else
        snprintf(out_reason, GATEWAY_REASON_BYTES,
                 "no worker is there: none has announced itself in the Redis at %.120s, which has to be the workers' "
                 "--redis and the keys service's --redis-limits",
                 gateway->settings.redis_address);
    return false;
}
