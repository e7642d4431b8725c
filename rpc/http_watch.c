/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * The watcher thread. MHD does not look at a suspended connection, so a client that hangs up while its answer is being
 * prepared would go unnoticed. Every connection is therefore also in this thread's epoll, edge-triggered, for hang-ups only:
 * one epoll_ctl per connection, no wake-up for data. The same thread sends heartbeats, cuts off requests that arrive too
 * slowly, and drains sockets whose request was refused before it was read (closing them with unread bytes would reset the
 * connection, and the client would lose our answer).
 */
#include "rpc/http_internal.h"

#include "base/clock.h"
#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS_PER_WAIT = 64,
    TICK_MS_MIN = 5,
    TICK_MS_MAX = 250,
    LINGERING_MAX = 256,
    LINGER_MS = 2000,
    RECEIVE_BYTES_PER_S_MIN = 16 * 1024, /* beyond the idle time-out, a request must arrive at least this fast */
};

/* --- hang-ups --- */

static void note_hang_up(struct http_server *server, struct http_connection *connection) {
    pthread_mutex_lock(&server->mutex);
    connection->hung_up = true;
    /* An attached exchange means that the socket is still open, and stays so while we hold the mutex. */
    if (connection->exchange != NULL && http_exchange_hang_up(connection->exchange))
        shutdown(connection->fd, SHUT_RDWR);
    pthread_mutex_unlock(&server->mutex);
}

void http_watch_add(struct http_server *server, struct http_connection *connection) {
    connection->watched.is_linger = false;
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = &connection->watched};
    /* Out of kernel memory: this client's hang-up will be noticed late, by the idle time-out; nothing else breaks. */
    (void)epoll_ctl(server->watch_fd, EPOLL_CTL_ADD, connection->fd, &event);
    pthread_mutex_lock(&server->mutex);
    connection->since_ns = clock_monotonic_ns(clock_system());
    connection->next = server->connections;
    if (connection->next != NULL) connection->next->previous = connection;
    server->connections = connection;
    pthread_mutex_unlock(&server->mutex);
}

/** A second descriptor keeps the connection open when MHD closes its own. */
static struct http_linger *begin_linger(struct http_server *server, const struct http_connection *connection) {
    if (server->lingering_count == LINGERING_MAX) return NULL;
    struct http_linger *linger = calloc(1, sizeof *linger);
    if (linger == NULL) return NULL;
    linger->watched.is_linger = true;
    linger->until_ns = clock_monotonic_ns(clock_system()) + (int64_t)LINGER_MS * NS_PER_MS;
    linger->fd = fcntl(connection->fd, F_DUPFD_CLOEXEC, 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = &linger->watched};
    if (linger->fd >= 0 && epoll_ctl(server->watch_fd, EPOLL_CTL_ADD, linger->fd, &event) == 0) return linger;
    if (linger->fd >= 0) close(linger->fd);
    free(linger);
    return NULL;
}

void http_watch_retire(struct http_server *server, struct http_connection *connection) {
    (void)epoll_ctl(server->watch_fd, EPOLL_CTL_DEL, connection->fd, NULL);
    pthread_mutex_lock(&server->mutex);
    struct http_linger *linger = connection->linger ? begin_linger(server, connection) : NULL;
    if (linger != NULL) {
        linger->next = server->lingering;
        server->lingering = linger;
        server->lingering_count++;
    }
    if (connection->next != NULL) connection->next->previous = connection->previous;
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        server->connections = connection->next;
    connection->next = server->retired;
    server->retired = connection;
    pthread_mutex_unlock(&server->mutex);
}

/** Between two waits: no event can point to what was retired by now. */
static void free_retired(struct http_server *server) {
    pthread_mutex_lock(&server->mutex);
    struct http_connection *connection = server->retired;
    server->retired = NULL;
    pthread_mutex_unlock(&server->mutex);
    while (connection != NULL) {
        struct http_connection *next = connection->next;
        free(connection);
        connection = next;
    }
}

/* --- lingering closes --- */

/** Read and forget what the client still sends. False at its end, and when it has sent enough. */
static bool drain(struct http_linger *linger) {
    static _Thread_local char nowhere[64 * 1024];
    while (linger->drained_bytes < LIMIT_REQUEST_BODY_BYTES_MAX) {
        ssize_t got = recv(linger->fd, nowhere, sizeof nowhere, MSG_DONTWAIT);
        if (got <= 0) return got < 0 && (errno == EAGAIN || errno == EINTR);
        linger->drained_bytes += got;
    }
    return false;
}

/** Close those whose client has finished, or whose time is up. */
static void end_lingering(struct http_server *server, int64_t now_ns, bool all) {
    pthread_mutex_lock(&server->mutex);
    for (struct http_linger **at = &server->lingering; *at != NULL;) {
        struct http_linger *linger = *at;
        if (!all && !linger->finished && now_ns < linger->until_ns) {
            at = &linger->next;
            continue;
        }
        *at = linger->next;
        (void)epoll_ctl(server->watch_fd, EPOLL_CTL_DEL, linger->fd,
                        NULL); /* close alone would not: MHD may not have closed its descriptor yet */
        close(linger->fd);
        free(linger);
        server->lingering_count--;
    }
    pthread_mutex_unlock(&server->mutex);
}

/* --- the clock --- */

/** Has this connection had more time than its request deserves? */
static bool too_slow(const struct http_connection *connection, int64_t now_ns,
                     const struct http_server_options *options) {
    int64_t elapsed_ns = now_ns - connection->since_ns, idle_ns = options->idle_timeout_ns;
    bool heading = connection->exchange != NULL
                       ? !atomic_load_explicit(&connection->headers_whole, memory_order_relaxed)
                       : !connection->served;
    if (heading && options->header_timeout_ns > 0 && elapsed_ns > options->header_timeout_ns) return true;
    if (idle_ns == 0 || elapsed_ns <= idle_ns) return false;
    /* No request yet: MHD closes silent connections after idle_ns; one that is here after twice that sends drops of a first line. */
    if (connection->exchange == NULL) return elapsed_ns > 2 * idle_ns;
    int64_t received = atomic_load_explicit(&connection->received_bytes, memory_order_relaxed);
    return http_exchange_receiving(connection->exchange) &&
           elapsed_ns - idle_ns > received / RECEIVE_BYTES_PER_S_MIN * NS_PER_S;
}

static void tick(struct http_server *server, int64_t now_ns) {
    const struct http_server_options *options = &server->options;
    bool stopping = atomic_load(&server->stopping);
    pthread_mutex_lock(&server->mutex);
    for (struct http_connection *connection = server->connections; connection != NULL; connection = connection->next) {
        if (options->heartbeat_ns > 0 && connection->exchange != NULL)
            http_exchange_heartbeat(connection->exchange, now_ns, options->heartbeat_ns);
        bool idle = connection->exchange == NULL;
        /* Data and the end that come at once are one event of an edge-triggered epoll, and MHD, having read the data, does not look for the end:
         * it would keep a half-received body until its time is over. This wakes it again; what is unread stays readable. */
        if (connection->hung_up && (idle || http_exchange_receiving(connection->exchange)))
            shutdown(connection->fd, SHUT_RD);
        if ((stopping && idle) || too_slow(connection, now_ns, options)) shutdown(connection->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&server->mutex);
    end_lingering(server, now_ns, false);
}

static int tick_ms(const struct http_server *server) {
    int64_t shortest_ns = (int64_t)TICK_MS_MAX * NS_PER_MS * 4;
    if (server->options.heartbeat_ns > 0 && server->options.heartbeat_ns < shortest_ns)
        shortest_ns = server->options.heartbeat_ns;
    if (server->options.idle_timeout_ns > 0 && server->options.idle_timeout_ns < shortest_ns)
        shortest_ns = server->options.idle_timeout_ns;
    if (server->options.header_timeout_ns > 0 && server->options.header_timeout_ns < shortest_ns)
        shortest_ns = server->options.header_timeout_ns;
    int64_t ms = shortest_ns / 4 / NS_PER_MS;
    return ms < TICK_MS_MIN ? TICK_MS_MIN : (int)ms;
}

static void *watch(void *context) {
    struct http_server *server = context;
    int64_t tick_ns = (int64_t)tick_ms(server) * NS_PER_MS, next_ns = clock_monotonic_ns(clock_system()) + tick_ns;
    while (!atomic_load(&server->watcher_stop)) {
        free_retired(server);
        struct epoll_event events[EVENTS_PER_WAIT];
        int64_t wait_ns = next_ns - clock_monotonic_ns(clock_system());
        int count =
            epoll_wait(server->watch_fd, events, EVENTS_PER_WAIT, wait_ns > 0 ? (int)(wait_ns / NS_PER_MS) + 1 : 0);
        for (int i = 0; i < count; i++) {
            struct http_watched *watched = events[i].data.ptr;
            if (watched == NULL) { /* woken: do what is due now */
                uint64_t ignored;
                (void)!read(server->wake_fd, &ignored, sizeof ignored);
                next_ns = 0;
            } else if (watched->is_linger) {
                struct http_linger *linger = (struct http_linger *)watched;
                linger->finished = !drain(linger);
                if (linger->finished) next_ns = 0;
            } else {
                note_hang_up(server, (struct http_connection *)watched);
            }
        }
        int64_t now_ns = clock_monotonic_ns(clock_system());
        if (now_ns < next_ns) continue;
        tick(server, now_ns);
        next_ns = now_ns + tick_ns;
    }
    return NULL;
}

void http_watch_wake(struct http_server *server) {
    (void)!write(server->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
}

enum status http_watch_start(struct http_server *server, struct error *err) {
    server->watch_fd = epoll_create1(EPOLL_CLOEXEC);
    server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (server->watch_fd < 0 || server->wake_fd < 0 ||
        epoll_ctl(server->watch_fd, EPOLL_CTL_ADD, server->wake_fd, &event) != 0) {
        return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, errno, "HTTP server: cannot create epoll");
    }
    int failure = pthread_create(&server->watcher, NULL, watch, server);
    if (failure != 0)
        return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, failure, "HTTP server: cannot start a thread");
    (void)pthread_setname_np(server->watcher, "http-watch");
    server->watcher_started = true;
    return STATUS_OK;
}

void http_watch_stop(struct http_server *server) {
    if (server->watcher_started) {
        atomic_store(&server->watcher_stop, true);
        http_watch_wake(server);
        pthread_join(server->watcher, NULL);
        server->watcher_started = false;
    }
    free_retired(server);
    end_lingering(server, 0, true);
    if (server->watch_fd >= 0) close(server->watch_fd);
    if (server->wake_fd >= 0) close(server->wake_fd);
    server->watch_fd = server->wake_fd = -1;
}
