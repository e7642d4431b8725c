/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A store is used only after it has shown that its keys were made with our hash secret, and has what a first start makes. */
#include "base/clock.h"
#include "base/log.h"
#include "services/keys/bootstrap.h"
#include "services/keys/changes.h"
#include "services/keys/key_store.h"
#include "services/keys/keys.h"

#include <string.h>
#include <time.h>

static const int64_t RETRY_NS = 200 * (int64_t)NS_PER_MS;

static const char *const health_names[] = {"", "bora.v1.KeyService", "bora.v1.TenantService", "bora.v1.UsageService"};

void keys_set_health(struct keys_service *service, bool serving) {
    for (size_t i = 0; i < sizeof health_names / sizeof *health_names; i++)
        rpc_server_set_health(service->server, health_names[i], serving);
}

static void set_readiness(struct keys_service *service, enum keys_readiness readiness) {
    atomic_store(&service->readiness, readiness);
    bool serving = readiness == KEYS_READY && !atomic_load(&service->draining);
    metric_set(service->ready, serving ? 1 : 0);
    keys_set_health(service, serving);
}

/** On a job's thread. Again and again while the connection lasts; the next one starts anew. */
static void prepare_store(void *context) {
    struct keys_service *service = context;
    int connection = atomic_load(&service->connection);
    enum status status = STATUS_UNKNOWN;
    while (status != STATUS_OK && connection == atomic_load(&service->connection) && !atomic_load(&service->draining)) {
        struct error err = {0};
        status = bootstrap(service, &err);
        if (status == STATUS_OK) break;
        log_warn("the store cannot be prepared", LOG_S("status", status_name(status)), LOG_S("error", err.message));
        nanosleep(&(struct timespec){.tv_nsec = RETRY_NS}, NULL);
    }
    if (status != STATUS_OK) return;
    set_readiness(service, KEYS_READY);
    if (connection != atomic_load(&service->connection)) {
        set_readiness(service, KEYS_AWAY); /* lost just now: whoever noticed may have said so before us */
        return;
    }
    log_info("ready");
    keeper_wake(service->changes);
    keeper_wake(service->seeds);
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
    } else if (job_pool_submit(service->jobs, prepare_store, service) != STATUS_OK) {
        log_error("the store cannot be prepared: too many calls are under way");
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
    atomic_fetch_add(&service->connection, 1);
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

void keys_on_limits_connection(void *context, bool connected) {
    struct keys_service *service = context;
    if (connected) {
        log_info("the limits' Redis can be reached");
        keeper_wake(service->changes);
        keeper_wake(service->seeds);
    } else if (!atomic_load(&service->draining)) {
        log_warn("the limits' Redis cannot be reached: gateways cannot be told of changes");
    }
}

enum status keys_require_ready(const struct keys_service *service, struct error *err) {
    int readiness = atomic_load(&service->readiness);
    if (readiness == KEYS_READY) return STATUS_OK;
    return error_set(err, readiness == KEYS_AWAY ? STATUS_UNAVAILABLE : STATUS_FAILED_PRECONDITION, "%s",
                     keys_readiness_text(service));
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
