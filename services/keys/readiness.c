/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A store is used only after it has shown that its keys were made with our hash secret. */
#include "base/log.h"
#include "services/keys/key_store.h"
#include "services/keys/keys.h"

#include <string.h>

static void set_readiness(struct keys_service *service, enum keys_readiness readiness) {
    atomic_store(&service->readiness, readiness);
    bool serving = readiness == KEYS_READY && !atomic_load(&service->draining);
    metric_set(service->ready, serving ? 1 : 0);
    rpc_server_set_health(service->server, "", serving);
    rpc_server_set_health(service->server, "bora.v1.KeyService", serving);
}

static void on_mark(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct keys_service *service = context;
    char mark[2 * KEY_HASH_BYTES + 1];
    keys_secrets_mark(&service->secrets, mark);
    if (status != STATUS_OK) {
        /* A lost connection comes again and asks again; anything else is Redis refusing us and stays so. */
        log_warn("the store does not answer", LOG_S("status", status_name(status)), LOG_S("error", message));
    } else if (!bytes_view_equal_string(reply->string, mark)) {
        log_error("the keys in this store were made with another hash secret: nothing can be verified; give "
                  "--hash-secret-file the right one");
        set_readiness(service, KEYS_WRONG_SECRET);
    } else {
        log_info("ready");
        set_readiness(service, KEYS_READY);
    }
}

/** The promise that an acknowledged key is never lost rests on two of Redis' settings. It may forbid asking. */
static void on_configuration(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    (void)context, (void)message;
    const char *append_only = "unknown", *sync = "unknown";
    for (size_t i = 0; status == STATUS_OK && i + 1 < reply->count; i += 2) {
        const char *name = (const char *)reply->items[i].string.data,
                   *value = (const char *)reply->items[i + 1].string.data;
        if (strcmp(name, "appendonly") == 0) append_only = value;
        if (strcmp(name, "appendfsync") == 0) sync = value;
    }
    if (strcmp(append_only, "yes") != 0 || strcmp(sync, "always") != 0)
        log_warn("Redis may lose acknowledged keys when it crashes; set appendonly yes, appendfsync always",
                 LOG_S("appendonly", append_only), LOG_S("appendfsync", sync));
}

void keys_on_connection(void *context, bool connected) {
    struct keys_service *service = context;
    if (!connected) {
        if (!atomic_load(&service->draining)) log_warn("Redis cannot be reached");
        set_readiness(service, KEYS_AWAY);
        return;
    }
    char mark[2 * KEY_HASH_BYTES + 1];
    keys_secrets_mark(&service->secrets, mark);
    redis_commandf(service->redis, on_configuration, service, "CONFIG GET append*");
    key_store_mark_secret(service->redis, mark, on_mark, service);
}

const char *keys_readiness_text(const struct keys_service *service) {
    if (atomic_load(&service->draining)) return "draining";
    switch (atomic_load(&service->readiness)) {
    case KEYS_READY:
        return "ok";
    case KEYS_WRONG_SECRET:
        return "the keys in the store were made with another hash secret";
    default:
        return "the key store cannot be reached";
    }
}
