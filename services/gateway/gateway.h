/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The gateway: the public face. Two fronts (HTTP and gRPC) turn what arrives into a `struct request`; the rest does not know
 * which one it came by.
 *
 *     http_front.c   routes, bodies, headers, server-sent events     ┐
 *     grpc_front.c   the same services over gRPC                     ┴─> request.h ─> authenticate.c  the key, cached
 *                                                                                     chat.c          worker, streaming, the end
 *                                                                                     chat_limits.c   admission, charging, settling
 *                                                                                     ahead.c         admissions before their requests come
 *     api_error.c    errors as both fronts show them                                  generation.h    one generation on a worker, over worker_link.c
 *     workers.c      who serves what now, from Redis                                  chat_check.c    what a conversation must satisfy
 *     console.c      the web console's files                         ─ answered at once, without a key
 *     models.c       model cards                                                      chat_answer.c   chunks and answers
 *                                                                                     chat_model.c    what the chosen model must be able to do with it
 *                                                                                     admin.c         administration, passed on to the keys service:
 *                                                                                     admin_routes.c  its methods and paths, admin_http.c  read from HTTP,
 *                                                                                     export.c        downloads
 */
#ifndef SERVICES_GATEWAY_GATEWAY_H
#define SERVICES_GATEWAY_GATEWAY_H

#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "rpc/grpc_client.h"
#include "rpc/grpc_server.h"
#include "rpc/http_server.h"
#include "rpc/transcode.h"
#include "services/gateway/client_address.h"
#include "services/gateway/settings.h"
#include "store/redis.h"

#include <pthread.h>
#include <stdatomic.h>

struct ahead;
struct chat;
struct console;
struct key_cache;
struct loop;
struct outage;
struct settlements;
struct status_page;
struct workers;
struct worker_links;

struct gateway {
    struct gateway_settings settings;
    struct trusted_proxies proxies;
    struct transcode_options dialect;
    struct transcoder *transcoder;
    struct loop *loop; /* HTTP, limits, the links to workers: whatever a request passes through */
    struct loop_member log_member;
    struct log_buffer log_buffer;
    struct redis_client *limits; /* on the loop */
    struct redis_client *redis;  /* the same server, for the rest: the list of workers, changes of keys */
    struct rpc_client *client;
    struct rpc_channel *keys;
    char *service_authorization; /* "Bearer <token>" for VerifyKey; NULL: none */
    struct key_cache *key_cache;
    struct worker_links *links;
    struct workers *workers;
    struct console *console; /* NULL: none is served */
    struct http_server *http;
    struct rpc_server *grpc;
    struct status_page *status_page;
    struct metrics *metrics;
    struct metric *requests;      /* bora_gateway_requests_total{route,status} */
    struct metric *request_s;     /* bora_gateway_request_seconds{route} */
    struct metric *first_token_s; /* bora_gateway_first_token_seconds{model} */
    struct metric *tokens;        /* bora_gateway_tokens_total{model,kind} */
    struct metric *running;       /* bora_gateway_requests_running */
    atomic_bool serving;          /* the ports for clients are open */
    atomic_bool draining;
    pthread_mutex_t chats_mutex;
    struct chat *chats;     /* that are not freed; guarded by the mutex */
    struct chat *estimates; /* those whose admission was an estimate that nobody has corrected yet; likewise */
    struct chat *parked;    /* denied while others held too much there; likewise */
    uint64_t changes_seen;  /* passes over them for changes of keys; likewise */
    struct outage *outage;
    struct settlements *settlements;
    struct ahead *ahead;
    struct metric *settlements_waiting; /* bora_gateway_settlements_waiting */
    struct metric *settlements_lost;    /* bora_gateway_settlements_lost */
};

/** Answer from the HTTP server's or the gRPC server's callbacks. `context` is the gateway. */
int http_front_headers(struct http_exchange *exchange, void *context, const char **out_reason);
void http_front_request(struct http_exchange *exchange, void *context);
void http_front_writable(struct http_exchange *exchange, void *context);
void http_front_closed(struct http_exchange *exchange, void *context, bool completed);
void http_front_refused(int http_status, const char *reason, struct bytes *out, void *context);
/** All methods. Before the server starts; once in a process. */
enum status grpc_front_add(struct rpc_server *server, struct gateway *gateway, struct error *err);

/** Ready to serve: the ports for clients are open; Redis, the keys service and at least one worker are there. `reason` says what is missing. */
bool gateway_is_ready(const struct gateway *gateway, const char **out_reason);

#endif
