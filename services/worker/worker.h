/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The worker: one engine behind the internal protocol (proto/bora/internal/v1/worker.proto).
 *
 *     main.c         settings -> engine -> server -> announce -> wait for SIGTERM -> drain
 *     link.c         a gateway's link: which generation a command is for, events on their way
 *     answering.c    one generation of it, a small state machine
 *     grammars.c     what answers must look like, compiled and kept
 *     tools.c        what may be called, compiled and kept
 *     reports.c      what generations have cost whose gateway is gone
 *     turns.c        whose conversation becomes tokens next
 *     announce.c     tells gateways in Redis what is served here, where, and how busy it is
 *     convert.c      messages <-> the engine's structs
 *     models_file.c  what to serve
 */
#ifndef SERVICES_WORKER_WORKER_H
#define SERVICES_WORKER_WORKER_H

#include "base/metrics.h"
#include "engine/engine.h"
#include "rpc/grpc_server.h"
#include "services/worker/grammars.h"
#include "services/worker/models_file.h"
#include "services/worker/settings.h"
#include "services/worker/tools.h"
#include "services/worker/turns.h"

#include <pthread.h>
#include <stdatomic.h>

struct link;

struct reports;

struct worker {
    struct worker_settings settings;
    struct model_entry model;
    struct engine *engine;
    struct engine_description description;
    struct rpc_server *server;
    struct turns
        *tokenizing; /* turns conversations into tokens, so that no completion-queue thread waits; tenant by tenant */
    struct turns *
        compiling; /* the same for requests with a grammar, which may take a second: those without do not wait behind them */
    struct grammars *grammars;
    struct tools *tools;
    struct reports *reports;
    struct metrics *metrics;
    struct metric *requests;      /* bora_worker_requests_total{outcome} */
    struct metric *first_token_s; /* bora_worker_first_token_seconds */
    char id[64];
    char address[128]; /* what gateways use */
    int64_t started_at;
    atomic_bool draining;
    pthread_mutex_t links_mutex;
    struct link *links; /* a list; guarded by the mutex */
};

/** The methods of bora.internal.v1.WorkerService; `service` is the struct worker. */
extern const struct rpc_method worker_methods[];
extern const size_t worker_method_count;

/** `draining` was set: links on which nothing runs end now, others behind their last generation. */
void links_drain(struct worker *worker);

/** This worker's announcement, packed, appended to `out`. */
enum status worker_announcement(struct worker *worker, struct bytes *out);

struct announcer;
/** Announce now and every heartbeat from a thread of its own, through Redis outages. */
enum status announcer_start(struct worker *worker, struct announcer **out, struct error *err);
/** Say "draining" at once, so that gateways send nothing more. */
void announcer_drain(struct announcer *announcer);
/** Take the announcement back and stop. */
void announcer_stop(struct announcer *announcer);
bool announcer_connected(const struct announcer *announcer);
/** Why Redis is not there; "" when it is. */
void announcer_reason(struct announcer *announcer, char *out, size_t bytes);

#endif
