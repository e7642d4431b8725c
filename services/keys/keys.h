/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The keys service: proto/bora/v1/keys.proto, tenants.proto and usage.proto over a store in Redis (docs/design/tenants.md).
 *
 *     main.c              settings -> secrets -> server -> Redis -> wait for SIGTERM -> drain
 *     readiness.c         whether the store can be trusted now; grpc.health.v1 says so          status_page.c   /metrics, /healthz, /readyz
 *     bootstrap.c         what a store has when it is used first; keys of earlier versions come over
 *     handling.c          a call from its message to its answer: who may, the rules, refusals
 *     verify.c            VerifyKey, which gateways wait for: on Redis' own thread
 *     key_methods.c       the other methods of KeyService        place_methods.c, audit_methods.c   those of TenantService
 *     changes.c           what gateways hear of a change: gates, messages, and that none is forgotten
 *     limit_seed.c        what limits that are set late know of the time before
 *     model_names.c       whose aliases and tiers limits name       keeper.c    threads for what is left to do
 *     places.c            organisations and workspaces in Redis  key_store.c     keys in Redis
 *     key_record.c, limit_set.c   the fields of records          convert*.c      records <-> messages
 *     usage_*.c, ledger_methods.c, limit_methods.c, prices.c   the methods of UsageService: sums, entries, limits and what is used of them, prices
 *     ledger.c, ledger_batch.c, ledger_keeper.c   what gateways settled comes into the ledger
 *     key_text.c          the text of a key and its hash         uuid.c          ids                secrets.c   the service's own secrets
 */
#ifndef SERVICES_KEYS_KEYS_H
#define SERVICES_KEYS_KEYS_H

#include "base/metrics.h"
#include "base/threads.h"
#include "rpc/grpc_server.h"
#include "rpc/transcode.h"
#include "services/keys/keeper.h"
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
    struct redis_client *redis; /* keys and all that must not be lost */
    struct redis_client
        *limits_redis;     /* gates, messages to gateways; windows, leases and the outbox (store/limits.h) */
    struct job_pool *jobs; /* all methods but VerifyKey: they wait for Redis */
    struct metrics *metrics;
    struct metric *requests;        /* bora_keys_requests_total{method, status} */
    struct metric *ready;           /* bora_keys_ready */
    struct keeper *changes, *seeds; /* changes_keep, limit_seeds_keep */
    struct ledger_keeper *ledger;
    char audit_kept[24];   /* settings.audit_entries as text */
    atomic_int readiness;  /* enum keys_readiness */
    atomic_int connection; /* counts those to the store that came and went */
    atomic_bool draining;
    _Atomic int64_t token_told_ns; /* when the log was last told of a gateway with a wrong service token; 0: never */
};

/** The methods of bora.v1.KeyService, TenantService and UsageService; `service` is the struct keys_service. */
extern const struct rpc_method keys_methods[], place_methods[], usage_methods[];
extern const size_t keys_method_count, place_method_count, usage_method_count;
/** For rpc/transcode's checks: the messages that the methods take. */
enum status keys_transcoder_create(struct transcoder **out, struct error *err);
/** VerifyKey, for struct rpc_method.message. */
void keys_verify(struct rpc_call *call, struct bytes_view bytes);

/** For redis_options.on_connection; the context is the struct keys_service. On the Redis client's thread. */
void keys_on_connection(void *context, bool connected);
void keys_on_limits_connection(void *context, bool connected);
/** --redis-limits, or what it stands for when it is not given. */
const char *keys_limits_address(const struct keys_service *service);
/** A warning that says which Redis, and why it is not there. */
enum { KEYS_REASON_BYTES = 192 };
void keys_log_redis(const char *event, const char *address, struct redis_client *client);
/** What grpc.health.v1 says of all our services. */
void keys_set_health(struct keys_service *service, bool serving);
/** UNAVAILABLE or FAILED_PRECONDITION unless the store can be used. */
enum status keys_require_ready(const struct keys_service *service, struct error *err);
/** "ok", or one line that says why not. */
const char *keys_readiness_text(const struct keys_service *service);

#endif
