/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * One connection to Redis that renews itself (internal to store/redis.h).
 *
 *     waiting ──timer──> connecting ──AUTH, SELECT, INFO, PING answered──> up
 *        ^                   │ refused, no answer in time             │ closed, or redis_connection_drop()
 *        └───────────────────┴────────────────────────────────────────┘
 *
 * "Up" means that a PING was answered: a listening socket says nothing about a server that hangs or still loads its data.
 * The wait doubles from 20 ms to 1 s and starts again at 20 ms after the connection was up. All functions and callbacks
 * belong to the event loop's thread.
 */
#ifndef STORE_REDIS_CONNECTION_H
#define STORE_REDIS_CONNECTION_H

#include "base/status.h"

#include <event2/event.h>
#include <hiredis/async.h>
#include <stdbool.h>
#include <stdint.h>

enum { REDIS_REASON_BYTES = 160 };

/** Where and as whom. */
struct redis_target {
    char *host; /* NULL: unix */
    int port;
    char *unix_path;
    char *password; /* NULL: none */
    int database;
    int64_t timeout_ns;
};
enum status redis_target_init(struct redis_target *target, const char *address, const char *password,
                              struct error *err);
void redis_target_deinit(struct redis_target *target);
/** No name that has to be looked up. */
bool redis_target_is_found_at_once(const struct redis_target *target);

struct redis_connection {
    struct event_base *base;
    const struct redis_target *target; /* may be another one for the next attempt */
    redisAsyncContext *context;        /* NULL while waiting */
    bool up;
    bool in_cluster;     /* what the server says of itself; may be read when it is up */
    struct event *timer; /* waiting: the next attempt; connecting: the attempt's deadline */
    int64_t backoff_ns;
    char reason[REDIS_REASON_BYTES]; /* why it is not up */
    void (*on_up)(void *owner);
    void (*on_down)(void *owner);    /* was up and is not; `reason` says why */
    void (*on_refused)(void *owner); /* an attempt failed; `reason` says why */
    void *owner;
};

/** Remembers its arguments (borrowed) and allocates the timer; connects after redis_connection_start. */
enum status redis_connection_init(struct redis_connection *connection, struct event_base *base,
                                  const struct redis_target *target, struct error *err);
void redis_connection_start(struct redis_connection *connection);
/** Give the connection up and try again after the usual wait. hiredis calls every pending callback with a NULL reply: now,
 *  or, inside one of its callbacks, right after that. */
void redis_connection_drop(struct redis_connection *connection, const char *reason);
/** For reply callbacks that got NULL: `context` has ended. Idempotent. */
void redis_connection_ended(struct redis_connection *connection, const redisAsyncContext *context);
/** Not inside a hiredis callback. */
void redis_connection_deinit(struct redis_connection *connection);

#endif
