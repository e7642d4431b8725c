/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/service_token.h"

#include "base/clock.h"
#include "base/log.h"
#include "services/gateway/gateway.h"

static const int64_t ASK_AGAIN_NS = 2 * NS_PER_S, ASK_TIMEOUT_NS = 2 * NS_PER_S, TELL_AGAIN_NS = 60 * NS_PER_S;

/** Requests may be many: the log hears of it at once, and then once a minute. */
static void tell(struct gateway *gateway) {
    struct service_token *token = &gateway->service_token;
    int64_t now = clock_monotonic_ns(clock_system()), told = atomic_load(&token->told_ns);
    if (told != 0 && now - told < TELL_AGAIN_NS) return;
    if (!atomic_compare_exchange_strong(&token->told_ns, &told, now)) return;
    log_warn("the keys service refuses this gateway's service token", LOG_S("keys", gateway->settings.keys_address),
             LOG_S("service_token_file", gateway->settings.service_token_file),
             LOG_S("remedy", "--service-token-file of both must hold the same token"));
}

void service_token_heard(struct gateway *gateway, enum status status) {
    struct service_token *token = &gateway->service_token;
    if (status == STATUS_PERMISSION_DENIED) {
        atomic_store(&token->verdict, SERVICE_TOKEN_REFUSED);
        tell(gateway);
    } else if (status == STATUS_OK || status == STATUS_UNAUTHENTICATED) {
        atomic_store(&token->verdict, SERVICE_TOKEN_ACCEPTED);
        atomic_store(&token->told_ns, 0);
    }
}

static void on_answer(void *context, const struct rpc_result *result, struct bytes_view reply) {
    (void)reply;
    struct gateway *gateway = context;
    service_token_heard(gateway, result->status);
    atomic_store(&gateway->service_token.asking, false);
}

/** An empty request: no key, which is refused as soon as the token was looked at. */
static void ask(struct gateway *gateway) {
    const char *const metadata[] = {"authorization", gateway->service_authorization, NULL};
    struct error err = {0};
    if (rpc_client_unary_async(gateway->keys, "/bora.v1.KeyService/VerifyKey",
                               gateway->service_authorization != NULL ? metadata : NULL, (struct bytes_view){0},
                               ASK_TIMEOUT_NS, on_answer, gateway, &err) != STATUS_OK)
        atomic_store(&gateway->service_token.asking, false);
}

void service_token_look_after(struct gateway *gateway) {
    struct service_token *token = &gateway->service_token;
    int64_t now = clock_monotonic_ns(clock_system()), changes = rpc_channel_changes(gateway->keys);
    if (!rpc_channel_ready(gateway->keys)) { /* it may come back with another token */
        atomic_store(&token->verdict, SERVICE_TOKEN_UNKNOWN);
        token->next_ns = 0;
        return;
    }
    /* Where it has come back already, what was true before goes on until it has answered. */
    bool due =
        changes != token->changes || (atomic_load(&token->verdict) != SERVICE_TOKEN_ACCEPTED && now >= token->next_ns);
    if (!due || atomic_exchange(&token->asking, true)) return;
    token->changes = changes;
    token->next_ns = now + ASK_AGAIN_NS;
    ask(gateway);
}
