/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The keys service: proto/bora/v1/keys.proto over a store in Redis.
 *
 *     main.c        settings -> secrets -> server -> Redis -> wait for SIGTERM -> drain
 *     handlers.c    the four methods: who may call, what is asked, the answer
 *     status_page.c /metrics, /healthz, /readyz
 *     readiness.c   whether the store can be trusted now; grpc.health.v1 says so
 *     convert.c     messages <-> records, refusals
 *     key_store.c   records in Redis: scripts key_*.lua        key_record.c   one record's fields
 *     key_text.c    the text of a key and its hash             secrets.c      the service's own secrets
 */
#ifndef SERVICES_KEYS_KEYS_H
#define SERVICES_KEYS_KEYS_H

#include "base/metrics.h"
#include "rpc/grpc_server.h"
#include "rpc/transcode.h"
#include "services/keys/secrets.h"
#include "services/keys/settings.h"
#include "store/redis.h"

#include <stdatomic.h>

enum keys_readiness {
    KEYS_AWAY,         /* Redis cannot be reached, or has not been asked yet */
    KEYS_WRONG_SECRET, /* the store's keys were made with another hash secret */
    KEYS_READY,
};

struct keys_service {
    struct keys_settings settings;
    struct keys_secrets secrets;
    struct transcoder *transcoder;
    struct rpc_server *server;
    struct redis_client *redis;
    struct metrics *metrics;
    struct metric *requests; /* bora_keys_requests_total{method, status} */
    struct metric *ready;    /* bora_keys_ready */
    atomic_int readiness;    /* enum keys_readiness */
    atomic_bool draining;
};

/** The methods of bora.v1.KeyService; `service` is the struct keys_service. */
extern const struct rpc_method keys_methods[];
extern const size_t keys_method_count;
/** For rpc/transcode's checks: the messages that the methods take. */
enum status keys_transcoder_create(struct transcoder **out, struct error *err);

/** For redis_options.on_connection; the context is the struct keys_service. On the Redis client's thread. */
void keys_on_connection(void *context, bool connected);
/** "ok", or one line that says why not. */
const char *keys_readiness_text(const struct keys_service *service);

#endif
