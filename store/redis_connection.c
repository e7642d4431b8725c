/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/redis_connection.h"

#include "base/clock.h"
#include "base/text.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <hiredis/adapters/libevent.h>
#pragma GCC diagnostic pop

#include <arpa/inet.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t BACKOFF_MIN_NS = 20 * (int64_t)NS_PER_MS;
static const int64_t BACKOFF_MAX_NS = NS_PER_S;
/* An attempt may take longer than a command: a busy machine is slow to accept. */
static const int64_t ATTEMPT_MIN_NS = NS_PER_S;

static void try_connecting(struct redis_connection *connection);

enum status redis_target_init(struct redis_target *target, const char *address, const char *password,
                              struct error *err) {
    *target = (struct redis_target){0};
    if (strncmp(address, "unix:", 5) == 0) {
        if (address[5] == 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "Redis address %.64s names no socket", address);
        target->unix_path = strdup(address + 5);
    } else {
        const char *colon = strrchr(address, ':');
        int64_t port = 0;
        if (colon == NULL || colon == address || !text_to_i64(colon + 1, &port) || port < 1 || port > 65535)
            return error_set(err, STATUS_INVALID_ARGUMENT, "Redis address %.64s is neither host:port nor unix:/path",
                             address);
        bool bracketed = address[0] == '[' && colon[-1] == ']';
        target->host = bracketed ? strndup(address + 1, (size_t)(colon - address) - 2)
                                 : strndup(address, (size_t)(colon - address));
        target->port = (int)port;
    }
    if (password != NULL) target->password = strdup(password);
    if ((target->host == NULL && target->unix_path == NULL) || (password != NULL && target->password == NULL)) {
        redis_target_deinit(target);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    return STATUS_OK;
}

void redis_target_deinit(struct redis_target *target) {
    free(target->host);
    free(target->unix_path);
    free(target->password);
    *target = (struct redis_target){0};
}

bool redis_target_is_found_at_once(const struct redis_target *target) {
    uint8_t address[16];
    return target->unix_path != NULL || inet_pton(AF_INET, target->host, address) == 1 ||
           inet_pton(AF_INET6, target->host, address) == 1;
}

static void arm(struct redis_connection *connection, int64_t delay_ns) {
    struct timeval delay = {.tv_sec = delay_ns / NS_PER_S, .tv_usec = delay_ns % NS_PER_S / NS_PER_US};
    evtimer_add(connection->timer, &delay);
}

/** The context is gone or about to be: forget it, tell the owner, try again later. */
static void lose(struct redis_connection *connection, const char *reason) {
    bool was_up = connection->up;
    connection->context = NULL;
    connection->up = false;
    snprintf(connection->reason, sizeof connection->reason, "%s",
             reason != NULL && reason[0] != 0 ? reason : "connection lost");
    arm(connection, connection->backoff_ns);
    connection->backoff_ns = connection->backoff_ns * 2 < BACKOFF_MAX_NS ? connection->backoff_ns * 2 : BACKOFF_MAX_NS;
    if (was_up)
        connection->on_down(connection->owner);
    else
        connection->on_refused(connection->owner);
}

void redis_connection_ended(struct redis_connection *connection, const redisAsyncContext *context) {
    if (context == connection->context) lose(connection, context->errstr);
}

void redis_connection_drop(struct redis_connection *connection, const char *reason) {
    redisAsyncContext *context = connection->context;
    if (context == NULL) return;
    lose(connection, reason);
    redisAsyncFree(context);
}

/** AUTH and SELECT: only a refusal matters. PING, the last: its answer opens the connection. */
static void on_handshake(redisAsyncContext *context, void *raw, void *is_last) {
    struct redis_connection *connection = context->data;
    const redisReply *reply = raw;
    if (context != connection->context) return; /* given up meanwhile */
    if (reply == NULL) {
        redis_connection_ended(connection, context);
    } else if (reply->type == REDIS_REPLY_ERROR) {
        char reason[REDIS_REASON_BYTES]; /* the reply dies with the context */
        snprintf(reason, sizeof reason, "%s", reply->str);
        redis_connection_drop(connection, reason);
    } else if (is_last != NULL) {
        evtimer_del(connection->timer);
        connection->up = true;
        connection->backoff_ns = BACKOFF_MIN_NS;
        connection->on_up(connection->owner);
    }
}

/** Whoever may not ask, or is too old to know, is a server of its own. */
static void on_info(redisAsyncContext *context, void *raw, void *unused) {
    (void)unused;
    struct redis_connection *connection = context->data;
    const redisReply *reply = raw;
    if (context != connection->context) return;
    if (reply == NULL)
        redis_connection_ended(connection, context);
    else if (reply->type == REDIS_REPLY_STRING)
        connection->in_cluster = strstr(reply->str, "cluster_enabled:1") != NULL;
}

static void on_connect(const redisAsyncContext *context, int status) {
    /* On failure hiredis frees the context when this returns. */
    if (status != REDIS_OK) redis_connection_ended(context->data, context);
}

static void on_disconnect(const redisAsyncContext *context, int status) {
    (void)status;
    redis_connection_ended(context->data, context);
}

static void try_connecting(struct redis_connection *connection) {
    const struct redis_target *target = connection->target;
    redisAsyncContext *context =
        target->host != NULL ? redisAsyncConnect(target->host, target->port) : redisAsyncConnectUnix(target->unix_path);
    if (context == NULL || context->err != 0) {
        lose(connection, context != NULL ? context->errstr : "out of memory");
        if (context != NULL) redisAsyncFree(context);
        return;
    }
    connection->context = context;
    context->data = connection;
    redisLibeventAttach(context, connection->base);
    redisAsyncSetConnectCallback(context, on_connect);
    redisAsyncSetDisconnectCallback(context, on_disconnect);
    if (target->password != NULL) redisAsyncCommand(context, on_handshake, NULL, "AUTH %s", target->password);
    if (target->database != 0) redisAsyncCommand(context, on_handshake, NULL, "SELECT %d", target->database);
    connection->in_cluster = false;
    redisAsyncCommand(context, on_info, NULL, "INFO cluster");
    redisAsyncCommand(context, on_handshake, connection, "PING");
    arm(connection, target->timeout_ns > ATTEMPT_MIN_NS ? target->timeout_ns : ATTEMPT_MIN_NS);
}

static void on_timer(evutil_socket_t fd, short events, void *argument) {
    (void)fd, (void)events;
    struct redis_connection *connection = argument;
    if (connection->context == NULL)
        try_connecting(connection);
    else if (!connection->up)
        redis_connection_drop(connection, "no answer to PING");
}

enum status redis_connection_init(struct redis_connection *connection, struct event_base *base,
                                  const struct redis_target *target, struct error *err) {
    connection->base = base;
    connection->target = target;
    connection->backoff_ns = BACKOFF_MIN_NS;
    snprintf(connection->reason, sizeof connection->reason, "not connected yet");
    connection->timer = evtimer_new(base, on_timer, connection);
    return connection->timer != NULL ? STATUS_OK : error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
}

void redis_connection_start(struct redis_connection *connection) {
    try_connecting(connection);
}

void redis_connection_deinit(struct redis_connection *connection) {
    if (connection->timer == NULL) return; /* never initialised */
    redis_connection_drop(connection, "the client is closing");
    event_free(connection->timer);
    connection->timer = NULL;
}
