/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Start, stop, and the loop. */
#include "rpc/http_internal.h"

#include "base/clock.h"
#include "base/limits.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    LISTEN_BACKLOG = 4096, /* the kernel cuts it to net.core.somaxconn */
    CONNECTIONS_MAX_DEFAULT = 1024,
    EVENTS_PER_WAIT = 128,
    ACCEPTS_PER_EVENT = 64,
    TICK_MS_MIN = 5,
    TICK_MS_MAX = 250,
};

/* --- the loop --- */

void http_server_wake(struct http_server *server) {
    if (atomic_exchange(&server->sleeping, false)) (void)!write(server->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
}

/** Whoever cannot be taken now waits in the backlog: until someone leaves, or the next tick. */
static void listen_or_not(struct http_server *server, bool accepting) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &server->listen_fd};
    if (accepting == server->accepting || server->listen_fd < 0) return;
    if (epoll_ctl(server->epoll_fd, accepting ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, server->listen_fd, &event) == 0)
        server->accepting = accepting;
}

static bool is_full(const struct http_server *server) {
    return atomic_load(&server->connection_count) >= server->options.connections_max + server->lingering_count;
}

static void accept_some(struct http_server *server) {
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

static void tick(struct http_server *server) {
    server->next_tick_ns = server->now_ns + server->tick_ns;
    for (struct http_connection *connection = server->connections, *next; connection != NULL; connection = next) {
        next = connection->next;
        http_connection_tick(connection, server->now_ns);
    }
    if (!is_full(server)) listen_or_not(server, true);
}

static bool has_ready(struct http_server *server) {
    pthread_mutex_lock(&server->mutex);
    bool ready = server->ready != NULL;
    pthread_mutex_unlock(&server->mutex);
    return ready;
}

static int wait_for_events(struct http_server *server, struct epoll_event *events) {
    int64_t wait_ns = server->next_tick_ns - clock_monotonic_ns(clock_system());
    int wait_ms = wait_ns > 0 ? (int)(wait_ns / NS_PER_MS) + 1 : 0;
    atomic_store(&server->sleeping, true);
    if (has_ready(server)) wait_ms = 0; /* it came before the loop said that it sleeps */
    int count = epoll_wait(server->epoll_fd, events, EVENTS_PER_WAIT, wait_ms);
    atomic_store(&server->sleeping, false);
    server->now_ns = clock_monotonic_ns(clock_system());
    return count;
}

static void handle_event(struct http_server *server, const struct epoll_event *event) {
    if (event->data.ptr == &server->listen_fd) {
        accept_some(server);
    } else if (event->data.ptr == &server->wake_fd) {
        uint64_t ignored;
        (void)!read(server->wake_fd, &ignored, sizeof ignored);
    } else {
        http_connection_event(event->data.ptr, event->events);
    }
}

static void *loop(void *context) {
    struct http_server *server = context;
    struct epoll_event events[EVENTS_PER_WAIT];
    while (!atomic_load(&server->killing) || server->connections != NULL) {
        int count = wait_for_events(server, events), connections = atomic_load(&server->connection_count);
        if (atomic_load(&server->stopping)) {
            stop_listening(server);
            server->next_tick_ns = 0;
        }
        for (int i = 0; i < count; i++) handle_event(server, &events[i]);
        handle_ready(server);
        if (server->now_ns >= server->next_tick_ns) tick(server);
        if (atomic_load(&server->connection_count) < connections && !is_full(server)) listen_or_not(server, true);
        free_dead(server);
    }
    handle_ready(server);
    free_dead(server);
    return NULL;
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

static enum status start_loop(struct http_server *server, struct error *err) {
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &server->wake_fd};
    if (server->epoll_fd < 0 || server->wake_fd < 0 ||
        epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->wake_fd, &event) != 0)
        return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, errno, "HTTP server: cannot create epoll");
    server->now_ns = clock_monotonic_ns(clock_system());
    server->tick_ns = tick_ns_of(&server->options);
    listen_or_not(server, true);
    int failure = pthread_create(&server->thread, NULL, loop, server);
    if (failure != 0)
        return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, failure, "HTTP server: cannot start a thread");
    (void)pthread_setname_np(server->thread, "http");
    server->started = true;
    return STATUS_OK;
}

enum status http_server_create(const struct http_server_options *options, struct http_server **out, struct error *err) {
    TRY(check_options(options, err));
    struct http_server *server = calloc(1, sizeof *server);
    if (server == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "HTTP server: no memory");
    server->options = *options;
    server->listen_fd = server->epoll_fd = server->wake_fd = -1;
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
    if (status == STATUS_OK) status = start_loop(server, err);
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
    http_server_wake(server); /* which closes idle connections */
    pthread_mutex_lock(&server->mutex);
    int waited = 0;
    while (server->running > 0 && waited == 0)
        waited = pthread_cond_timedwait(&server->drained, &server->mutex, &until);
    pthread_mutex_unlock(&server->mutex);
    atomic_store(&server->killing, true);
    http_server_wake(server);
    pthread_join(server->thread, NULL);
}

void http_server_destroy(struct http_server *server) {
    if (server == NULL) return;
    http_server_stop(server, 0);
    const int fds[] = {server->listen_fd, server->epoll_fd, server->wake_fd};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        if (fds[i] >= 0) close(fds[i]);
    }
    http_tls_unload(server);
    free((char *)(uintptr_t)server->options.address);
    free((char *)(uintptr_t)server->options.certificate_file);
    free((char *)(uintptr_t)server->options.key_file);
    free((char *)(uintptr_t)server->options.ca_file);
    pthread_cond_destroy(&server->drained);
    pthread_mutex_destroy(&server->mutex);
    free(server);
}
