/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Start, stop, and the loop. */
#include "rpc/http_internal.h"

#include "base/clock.h"
#include "base/limits.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    LISTEN_BACKLOG = 4096, /* the kernel cuts it to net.core.somaxconn */
    CONNECTIONS_MAX_DEFAULT = 1024,
    ACCEPTS_PER_EVENT = 64,
    TICK_MS_MIN = 5,
    TICK_MS_MAX = 250,
};

/* --- the loop --- */

/** Whoever cannot be taken now waits in the backlog: until someone leaves, or the next tick. */
static void listen_or_not(struct http_server *server, bool accepting) {
    if (accepting == server->accepting || server->listen_fd < 0) return;
    if (!accepting)
        loop_remove(server->loop, server->listen_fd);
    else if (loop_add(server->loop, server->listen_fd, EPOLLIN, &server->listen_source) != 0)
        return;
    server->accepting = accepting;
}

static bool is_full(const struct http_server *server) {
    return atomic_load(&server->connection_count) >= server->options.connections_max + server->lingering_count;
}

static void accept_some(struct loop_source *source, uint32_t events) {
    (void)events;
    struct http_server *server = (struct http_server *)((char *)source - offsetof(struct http_server, listen_source));
    if (server->listen_fd < 0) return; /* it ended in this turn */
    for (int i = 0; i < ACCEPTS_PER_EVENT; i++) {
        struct sockaddr_storage address;
        socklen_t length = sizeof address;
        if (is_full(server)) {
            listen_or_not(server, false);
            return;
        }
        int fd = accept4(server->listen_fd, (struct sockaddr *)&address, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ECONNABORTED)) return;
        if (fd < 0) { /* no descriptors, no memory */
            listen_or_not(server, false);
            return;
        }
        /* A peer with as many connections as it may have gets no more. */
        const struct http_peer *peer = http_peer_find(server, (struct sockaddr *)&address);
        bool many = peer != NULL && peer->connections >= server->options.peer_connections_max;
        if (many || http_connection_open(server, fd, (struct sockaddr *)&address) == NULL) close(fd);
    }
}

/** What other threads have left for the loop. */
static void handle_ready(struct http_server *server) {
    pthread_mutex_lock(&server->mutex);
    struct http_exchange *exchange = server->ready;
    server->ready = NULL;
    server->ready_tail = &server->ready;
    pthread_mutex_unlock(&server->mutex);
    for (struct http_exchange *next; exchange != NULL; exchange = next) {
        pthread_mutex_lock(&exchange->mutex);
        next = exchange->next_ready;
        exchange->listed = false;
        struct http_connection *connection = exchange->closed ? NULL : exchange->connection;
        pthread_mutex_unlock(&exchange->mutex);
        if (connection != NULL) http_connection_ready(connection);
        http_exchange_unref(exchange);
    }
}

static void free_dead(struct http_server *server) {
    while (server->dead != NULL) {
        struct http_connection *next = server->dead->next;
        free(server->dead);
        server->dead = next;
    }
}

static void stop_listening(struct http_server *server) {
    if (server->listen_fd < 0) return;
    listen_or_not(server, false);
    close(server->listen_fd); /* refuses at once who would else wait in the backlog */
    server->listen_fd = -1;
}

static void tick(struct http_server *server, int64_t now_ns) {
    server->next_tick_ns = now_ns + server->tick_ns;
    for (struct http_connection *connection = server->connections, *next; connection != NULL; connection = next) {
        next = connection->next;
        http_connection_tick(connection, now_ns);
    }
    if (!is_full(server)) listen_or_not(server, true);
}

static bool has_ready(void *context) {
    struct http_server *server = context;
    pthread_mutex_lock(&server->mutex);
    bool ready = server->ready != NULL;
    pthread_mutex_unlock(&server->mutex);
    return ready || http_handshakes_pending(server->handshakes);
}

static void say_over(struct http_server *server) {
    pthread_mutex_lock(&server->mutex);
    server->over = true;
    pthread_cond_broadcast(&server->drained);
    pthread_mutex_unlock(&server->mutex);
}

static int64_t turn(void *context) {
    struct http_server *server = context;
    int64_t now_ns = loop_now_ns(server->loop);
    if (atomic_load(&server->stopping)) {
        stop_listening(server);
        if (!server->over) server->next_tick_ns = now_ns;
    }
    handle_ready(server);
    http_handshakes_take(server->handshakes);
    if (now_ns >= server->next_tick_ns) tick(server, now_ns);
    int connections = atomic_load(&server->connection_count);
    if (connections < server->connections_before && !is_full(server)) listen_or_not(server, true);
    server->connections_before = connections;
    free_dead(server);
    if (atomic_load(&server->killing) && server->connections == NULL && !server->over) {
        handle_ready(server); /* what came while the last ones were closed: it is let go */
        say_over(server);
    }
    return server->next_tick_ns;
}

/* --- start --- */

/** "host:port", "[v6]:port", ":port". */
static enum status split_address(const char *address, char *host, size_t host_bytes, const char **out_port,
                                 struct error *err) {
    const char *colon = strrchr(address, ':');
    size_t length = colon != NULL ? (size_t)(colon - address) : 0;
    bool bracketed = length >= 2 && address[0] == '[' && address[length - 1] == ']';
    if (colon == NULL || colon[1] == 0 || length >= host_bytes ||
        (!bracketed && memchr(address, ':', length) != NULL)) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "HTTP address %.64s is not host:port", address);
    }
    memcpy(host, address + bracketed, length - 2 * bracketed);
    host[length - 2 * bracketed] = 0;
    *out_port = colon + 1;
    return STATUS_OK;
}

static int port_of(int fd) {
    struct sockaddr_storage bound;
    socklen_t length = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &length) != 0) return 0;
    if (bound.ss_family == AF_INET6) return ntohs(((const struct sockaddr_in6 *)(const void *)&bound)->sin6_port);
    return ntohs(((const struct sockaddr_in *)(const void *)&bound)->sin_port);
}

static enum status listen_on(struct http_server *server, struct error *err) {
    const char *address = server->options.address, *port = NULL;
    char host[256];
    TRY(split_address(address, host, sizeof host, &port, err));
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    int failure = getaddrinfo(host[0] != 0 ? host : NULL, port, &hints, &found);
    if (failure != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "HTTP address %.64s: %s", address, gai_strerror(failure));
    const struct addrinfo *chosen =
        found; /* "localhost" is often ::1 first: a name means its IPv4 address where it has one */
    for (const struct addrinfo *each = found; each != NULL && chosen->ai_family != AF_INET; each = each->ai_next)
        chosen = each->ai_family == AF_INET ? each : chosen;
    int fd = socket(chosen->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), off = 0, on = 1;
    bool ready = fd >= 0;
    if (ready && chosen->ai_family == AF_INET6)
        ready = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0;
    ready = ready && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
            bind(fd, chosen->ai_addr, chosen->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0;
    int errnum = errno;
    freeaddrinfo(found);
    if (!ready) {
        if (fd >= 0) close(fd);
        return error_set_errno(err, STATUS_UNAVAILABLE, errnum, "cannot listen for HTTP on %.64s", address);
    }
    server->listen_fd = fd;
    server->port = port_of(fd);
    return STATUS_OK;
}

static enum status check_options(const struct http_server_options *options, struct error *err) {
    if (options->address == NULL || options->on_request == NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "HTTP server: address and on_request are needed");
    if (options->body_bytes_max < 0 || options->body_bytes_max > LIMIT_REQUEST_BODY_BYTES_MAX ||
        options->bodies_bytes_max < 0 || options->connections_max < 0 || options->idle_timeout_ns < 0 ||
        options->peer_bodies_bytes_max < 0 || options->peer_connections_max < 0 || options->header_timeout_ns < 0 ||
        options->heartbeat_ns < 0) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "HTTP server: an option is out of range");
    }
    return STATUS_OK;
}

/** The strings of the options become ours: false when memory is out. */
static bool copy_strings(struct http_server_options *options) {
    const char **strings[] = {&options->address, &options->certificate_file, &options->key_file, &options->ca_file};
    bool complete = true;
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        if (*strings[i] == NULL) continue;
        *strings[i] = strdup(*strings[i]);
        complete &= *strings[i] != NULL;
    }
    return complete;
}

static void set_defaults(struct http_server_options *options) {
    if (options->connections_max == 0) options->connections_max = CONNECTIONS_MAX_DEFAULT;
    if (options->bodies_bytes_max == 0) options->bodies_bytes_max = 64 * options->body_bytes_max;
    if (options->watermark_bytes == 0) options->watermark_bytes = LIMIT_STREAM_PENDING_BYTES;
    if (options->peer_connections_max == 0) options->peer_connections_max = options->connections_max;
    if (options->peer_bodies_bytes_max == 0) options->peer_bodies_bytes_max = options->bodies_bytes_max;
    if (options->header_timeout_ns == 0) options->header_timeout_ns = options->idle_timeout_ns;
}

static int64_t tick_ns_of(const struct http_server_options *options) {
    const int64_t times_ns[] = {options->heartbeat_ns, options->idle_timeout_ns, options->header_timeout_ns};
    int64_t shortest_ns = (int64_t)TICK_MS_MAX * NS_PER_MS * 4;
    for (size_t i = 0; i < sizeof times_ns / sizeof times_ns[0]; i++) {
        if (times_ns[i] > 0 && times_ns[i] < shortest_ns) shortest_ns = times_ns[i];
    }
    return shortest_ns / 4 < (int64_t)TICK_MS_MIN * NS_PER_MS ? (int64_t)TICK_MS_MIN * NS_PER_MS : shortest_ns / 4;
}

static enum status start(struct http_server *server, struct error *err) {
    server->tick_ns = tick_ns_of(&server->options);
    server->listen_source.on_event = accept_some;
    if (server->options.loop == NULL) TRY(loop_create("http", &server->own_loop, err));
    server->loop = server->own_loop != NULL ? server->own_loop : server->options.loop;
    enum status status =
        server->tls != NULL ? http_handshakes_start(server->loop, &server->handshakes, err) : STATUS_OK;
    if (status != STATUS_OK) {
        loop_destroy(server->own_loop);
        server->own_loop = NULL;
        return status;
    }
    server->member = (struct loop_member){.context = server, .pending = has_ready, .turn = turn};
    server->started = true;
    loop_join(server->loop, &server->member); /* the first tick listens */
    return STATUS_OK;
}

enum status http_server_create(const struct http_server_options *options, struct http_server **out, struct error *err) {
    TRY(check_options(options, err));
    struct http_server *server = calloc(1, sizeof *server);
    if (server == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "HTTP server: no memory");
    server->options = *options;
    server->listen_fd = -1;
    server->ready_tail = &server->ready;
    pthread_mutex_init(&server->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&server->drained, &monotonic);
    pthread_condattr_destroy(&monotonic);
    set_defaults(&server->options);
    enum status status = STATUS_OK;
    if (!copy_strings(&server->options)) status = error_set(err, STATUS_RESOURCE_EXHAUSTED, "HTTP server: no memory");
    if (status == STATUS_OK) status = http_tls_load(server, err);
    if (status == STATUS_OK) status = listen_on(server, err);
    if (status == STATUS_OK) status = start(server, err);
    if (status == STATUS_OK)
        *out = server;
    else
        http_server_destroy(server);
    return status;
}

int http_server_port(const struct http_server *server) {
    return server->port;
}

int64_t http_server_exchanges(const struct http_server *server) {
    pthread_mutex_t *mutex = (pthread_mutex_t *)(uintptr_t)&server->mutex;
    pthread_mutex_lock(mutex);
    int64_t live = server->live;
    pthread_mutex_unlock(mutex);
    return live;
}

int http_server_connections(const struct http_server *server) {
    return atomic_load(&server->connection_count);
}

/* --- stop --- */

void http_server_stop(struct http_server *server, int64_t grace_ns) {
    if (!server->started) return;
    server->started = false;
    int64_t until_ns = clock_monotonic_ns(clock_system()) + grace_ns;
    struct timespec until = {.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
    (void)!shutdown(server->listen_fd, SHUT_RDWR); /* before anybody is told that we stop: who comes now is refused */
    atomic_store(&server->stopping, true);
    loop_wake(server->loop); /* which closes idle connections */
    pthread_mutex_lock(&server->mutex);
    int waited = 0;
    while (server->running > 0 && waited == 0)
        waited = pthread_cond_timedwait(&server->drained, &server->mutex, &until);
    pthread_mutex_unlock(&server->mutex);
    atomic_store(&server->killing, true);
    loop_wake(server->loop);
    pthread_mutex_lock(&server->mutex);
    while (!server->over) pthread_cond_wait(&server->drained, &server->mutex);
    pthread_mutex_unlock(&server->mutex);
    loop_leave(server->loop, &server->member);
    http_handshakes_stop(server->handshakes); /* which may just be waking the loop */
    server->handshakes = NULL;
    loop_destroy(server->own_loop);
    server->own_loop = NULL;
}

void http_server_destroy(struct http_server *server) {
    if (server == NULL) return;
    http_server_stop(server, 0);
    if (server->listen_fd >= 0) close(server->listen_fd);
    http_tls_unload(server);
    free((char *)(uintptr_t)server->options.address);
    free((char *)(uintptr_t)server->options.certificate_file);
    free((char *)(uintptr_t)server->options.key_file);
    free((char *)(uintptr_t)server->options.ca_file);
    pthread_cond_destroy(&server->drained);
    pthread_mutex_destroy(&server->mutex);
    free(server);
}
