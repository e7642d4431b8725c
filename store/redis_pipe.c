/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands out and replies in, once a connection is up. hiredis makes the connection and shakes hands (redis_connection.c) and parses
 * replies; the socket is ours in between. So whoever submits writes himself, without waking the loop's thread, and the loop waits for replies alone:
 * one event that stays armed, where hiredis' adapter changes its mind, and calls the kernel, twice per command.
 */
#include "base/clock.h"
#include "store/redis_internal.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

/* What the kernel does not take: a server that is slower than its clients for long shows as refusals, not as memory. */
enum { UNSENT_BYTES_MAX = 64 << 20, UNSENT_BYTES_KEPT = 1 << 16, READ_BYTES = 16 << 10 };

/* ---- out: any thread, under the client's mutex --------------------------------------------------------------------- */

/** As much as the kernel takes; the number of bytes. */
static size_t write_some(int fd, const void *data, size_t length) {
    size_t written = 0;
    while (written < length) {
        ssize_t n = send(fd, (const char *)data + written, length - written, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break; /* full, or broken: then reading says so */
        written += (size_t)n;
    }
    return written;
}

enum { WATCHED = EPOLLIN | EPOLLRDHUP | EPOLLET };

/** On a shared loop: wait for room, or not any more. Only who waits looks: a local socket tells of room whenever the other side has read. The mutex is held. */
static void set_blocked_locked(struct redis_node *node, bool blocked) {
    struct redis_pipe *pipe = &node->pipe;
    if (pipe->blocked == blocked) return;
    pipe->blocked = blocked;
    if (pipe->fd >= 0)
        (void)loop_change(node->client->loop, pipe->fd, WATCHED | (blocked ? EPOLLOUT : 0), &pipe->source);
}

enum status redis_pipe_send_locked(struct redis_node *node, const struct redis_command *command) {
    struct redis_pipe *pipe = &node->pipe;
    if (pipe->fd < 0) return STATUS_UNAVAILABLE;
    bool gathers = node->client->loop != NULL && loop_is_current(node->client->loop);
    size_t written =
        pipe->unsent.length == 0 && !gathers ? write_some(pipe->fd, command->wire, command->wire_length) : 0;
    if (written == command->wire_length) return STATUS_OK;
    bool first = pipe->unsent.length == 0;
    if (bytes_append(&pipe->unsent, command->wire + written, command->wire_length - written) != STATUS_OK) {
        pipe->unsent.failed = false;
        if (written == 0) return STATUS_RESOURCE_EXHAUSTED;
        shutdown(pipe->fd, SHUT_RDWR); /* half a command is on its way: nothing can follow it */
    }
    /* The loop waits for room. A shared one finds what was gathered in its turn, and is told by the socket when that has room. */
    if (node->client->loop == NULL && first) eventfd_write(node->client->wake_fd, 1);
    if (node->client->loop != NULL && written > 0) set_blocked_locked(node, true);
    return STATUS_OK;
}

/** True when nothing is left. The mutex is held. */
static bool send_unsent_locked(struct redis_pipe *pipe) {
    bytes_consume(&pipe->unsent, write_some(pipe->fd, pipe->unsent.data, pipe->unsent.length));
    bool done = pipe->unsent.length == 0;
    if (done && pipe->unsent.capacity > UNSENT_BYTES_KEPT) {
        bytes_deinit(&pipe->unsent);
        bytes_init(&pipe->unsent, UNSENT_BYTES_MAX);
    }
    return done;
}

void redis_pipe_flush_locked(struct redis_node *node) {
    struct redis_pipe *pipe = &node->pipe;
    if (pipe->fd >= 0 && !pipe->blocked && pipe->unsent.length > 0) set_blocked_locked(node, !send_unsent_locked(pipe));
}

static void on_room(evutil_socket_t fd, short events, void *argument) {
    (void)fd, (void)events;
    struct redis_node *node = argument;
    struct redis_pipe *pipe = &node->pipe;
    pthread_mutex_lock(&node->client->mutex);
    bool done = send_unsent_locked(pipe);
    pthread_mutex_unlock(&node->client->mutex);
    if (done) event_del(pipe->room_event);
}

void redis_pipe_wait_for_room(struct redis_node *node) {
    struct redis_pipe *pipe = &node->pipe;
    pthread_mutex_lock(&node->client->mutex);
    bool waits =
        node->client->loop == NULL && pipe->fd >= 0 && pipe->unsent.length > 0; /* a shared one sees by itself */
    pthread_mutex_unlock(&node->client->mutex);
    if (waits) event_add(pipe->room_event, NULL);
}

/* ---- in: the loop's thread ----------------------------------------------------------------------------------------- */

/** Everything that is whole in the reader. False when it is no reply, or the connection has ended meanwhile. */
static bool take_replies(struct redis_node *node) {
    struct redis_pipe *pipe = &node->pipe;
    while (pipe->reader != NULL) {
        void *raw = NULL;
        if (redisReaderGetReply(pipe->reader, &raw) != REDIS_OK) {
            char reason[REDIS_REASON_BYTES];
            snprintf(reason, sizeof reason, "%s", pipe->reader->errstr);
            redis_connection_drop(&node->connection, reason);
            return false;
        }
        if (raw == NULL) return true;
        bool expected = redis_take_reply(node, raw);
        freeReplyObject(raw);
        if (!expected) {
            redis_connection_drop(&node->connection, "it answered what nobody asked");
            return false;
        }
    }
    return false;
}

/** True: there may be more. A short read is all there is, unless the same event tells of the end behind it (`to_end`). */
static bool read_block(struct redis_node *node, int fd, bool to_end) {
    char buffer[READ_BYTES];
    ssize_t n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n > 0) {
        if (redisReaderFeed(node->pipe.reader, buffer, (size_t)n) == REDIS_OK)
            return take_replies(node) && (to_end || (size_t)n == sizeof buffer);
        redis_connection_drop(&node->connection, "out of memory");
    } else if (n == 0) {
        redis_connection_drop(&node->connection, "Server closed the connection");
    } else if (errno != EAGAIN && errno != EINTR) {
        redis_connection_drop(&node->connection, strerror(errno));
    }
    return n < 0 && errno == EINTR && node->pipe.reader != NULL;
}

static void on_readable(evutil_socket_t fd, short events, void *argument) {
    (void)events;
    (void)read_block(argument, fd, false);
}

void redis_pipe_read(struct redis_node *node) {
    while (node->pipe.reader != NULL && node->pipe.fd >= 0 && read_block(node, node->pipe.fd, false)) {
    }
}

/** Of a shared loop, edge-triggered: what is not read now is not told again. */
static void on_socket(struct loop_source *source, uint32_t events) {
    struct redis_node *node = (struct redis_node *)((char *)source - offsetof(struct redis_node, pipe.source));
    struct redis_pipe *pipe = &node->pipe;
    if (pipe->reader == NULL) return; /* it was closed in this turn */
    if ((events & EPOLLOUT) != 0) {
        pthread_mutex_lock(&node->client->mutex);
        set_blocked_locked(node, false);
        pthread_mutex_unlock(&node->client->mutex);
    }
    bool to_end = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    while (read_block(node, pipe->fd, to_end)) {
    }
}

/* ---- life: the loop's thread --------------------------------------------------------------------------------------- */

static void free_events(struct redis_node *node) {
    struct redis_pipe *pipe = &node->pipe;
    if (pipe->read_event != NULL) event_free(pipe->read_event);
    if (pipe->room_event != NULL) event_free(pipe->room_event);
    pipe->read_event = pipe->room_event = NULL;
}

static bool watch_alone(struct redis_node *node, int fd) {
    struct redis_pipe *pipe = &node->pipe;
    pipe->read_event = event_new(node->client->base, fd, EV_READ | EV_PERSIST, on_readable, node);
    pipe->room_event = event_new(node->client->base, fd, EV_WRITE | EV_PERSIST, on_room, node);
    if (pipe->read_event == NULL || pipe->room_event == NULL) return false;
    event_add(pipe->read_event, NULL);
    return true;
}

bool redis_pipe_open(struct redis_node *node) {
    struct redis_pipe *pipe = &node->pipe;
    redisAsyncContext *context = node->connection.context;
    int fd = context->c.fd;
    pipe->reader = redisReaderCreate();
    pipe->source.on_event = on_socket;
    /* hiredis keeps the socket and closes it, but looks at it no more. */
    context->ev.delRead(context->ev.data);
    context->ev.delWrite(context->ev.data);
    bool watched = pipe->reader != NULL &&
                   (node->client->loop == NULL ? watch_alone(node, fd)
                                               : loop_add(node->client->loop, fd, WATCHED, &pipe->source) == 0);
    if (!watched) {
        redis_pipe_close(node);
        return false;
    }
    bytes_init(&pipe->unsent, UNSENT_BYTES_MAX);
    pthread_mutex_lock(&node->client->mutex);
    pipe->blocked = false;
    pipe->fd = fd;
    pthread_mutex_unlock(&node->client->mutex);
    return true;
}

void redis_pipe_close(struct redis_node *node) {
    struct redis_pipe *pipe = &node->pipe;
    pthread_mutex_lock(&node->client->mutex);
    int fd = pipe->fd;
    pipe->fd = -1;
    pthread_mutex_unlock(&node->client->mutex);
    if (node->client->loop != NULL && fd >= 0) loop_remove(node->client->loop, fd);
    free_events(node);
    if (pipe->reader != NULL) redisReaderFree(pipe->reader);
    pipe->reader = NULL;
    bytes_deinit(&pipe->unsent);
}
