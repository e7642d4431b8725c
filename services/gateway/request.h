/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A request on its way through the gateway, from whichever front. Reference-counted: the front holds one until the
 * transport is closed, every pending callback holds one.
 */
#ifndef SERVICES_GATEWAY_REQUEST_H
#define SERVICES_GATEWAY_REQUEST_H

#include "base/arena.h"
#include "services/gateway/api_error.h"
#include "services/gateway/authenticate.h"
#include "services/gateway/gateway.h"

#include <pthread.h>

struct request;
struct chat;
struct export;

/** How a front sends. Each may be called from any thread; the first of message/chunk/error decides the kind of answer. */
struct front {
    void (*header)(struct request *request, const char *name, const char *value); /* before any of the others */
    void (*message)(struct request *request, const ProtobufCMessage *message);    /* the whole answer */
    void (*chunk)(struct request *request, const ProtobufCMessage *message);      /* one piece of a stream */
    void (*flush)(struct request *request);                                /* chunks may wait for it, or the end */
    void (*end)(struct request *request);                                  /* after the last chunk */
    void (*error)(struct request *request, const struct api_error *error); /* instead of an answer */
    size_t (*pending_bytes)(struct request *request);                      /* sent but not yet taken by the reader */
    void (*release)(struct request *request); /* drop the transport: the request is freed */
};

struct request {
    struct gateway *gateway;
    const struct front *front;
    void *transport; /* struct http_exchange or struct rpc_call */
    atomic_int references;
    char id[33];
    const char *route;    /* for logs and metrics: "chat" */
    struct arena arena;   /* the request's messages */
    struct key_info *key; /* after authentication */
    bool key_stands;      /* the limits' script has just said so */
    int64_t started_ns, deadline_ns;
    pthread_mutex_t mutex; /* guards what follows */
    struct chat *chat;
    struct export *export; /* a download of several pages; in the arena */
    bool closed;           /* the client is gone, or everything was sent */
    bool answered;
    bool identified;                     /* the headers have its id */
    bool taken;                          /* gRPC: the one message of a call was seen */
    int http_status;                     /* what was answered, for the log */
    char reason[API_ERROR_REASON_BYTES]; /* why it was refused, likewise */
    char model[LIMIT_MODEL_NAME_BYTES + 1];
    int64_t prompt_tokens, completion_tokens;
};

/** `id` is made here. NULL without memory. */
struct request *request_create(struct gateway *gateway, const struct front *front, void *transport, const char *route);
/** It has been admitted under another id. False: it is over, or its client has been told the one it had. */
bool request_rename(struct request *request, const char *id);
/** For fronts, before whatever they send first: are the headers to be given its id? Once. */
bool request_identifies(struct request *request);
void request_ref(struct request *request);
void request_unref(struct request *request);
/** False when it is just being freed. */
bool request_try_ref(struct request *request);

/** The transport is closed: stop the work behind it, write the log line. Drops the front's reference. */
void request_closed(struct request *request);
/** The reader caught up. */
void request_writable(struct request *request);

void request_fail(struct request *request, const struct api_error *error);
/** Whether its key may still be used: limits_check_gate, but for the operator's, which has no gate. */
void request_look_at_key(struct request *request, limits_fn *fn, void *context);
/** May its key ask for this endpoint (key_info_may_ask)? If not, it was failed. */
bool request_permits(struct request *request, const char *endpoint);
void request_answer(struct request *request, const ProtobufCMessage *message);

/** "Bearer <key>" -> the key, or NULL. */
const char *request_bearer(const char *authorization);

#endif
