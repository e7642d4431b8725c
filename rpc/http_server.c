/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Start, stop, and what libmicrohttpd calls: each request is received here and then handed to http_exchange.c. */
#include "rpc/http_internal.h"

#include "base/clock.h"
#include "base/limits.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    POOL_BYTES =
        32 *
        1024, /* per connection: a request's line and headers, then chunks of its answer. Holds LIMIT_HEADER_BYTES and MHD's own records */
    LISTEN_BACKLOG = 4096, /* the kernel cuts it to net.core.somaxconn */
    CONNECTIONS_MAX_DEFAULT = 1024,
    /* Of a chunked body over the limit, whose end MHD must see before it can answer, this much more is read and forgotten. */
    DISCARD_BYTES_MAX = LIMIT_REQUEST_BODY_BYTES_MAX,
};

/* --- refusals --- */

static const char bodies_refusal[] = "too many large requests at once; try again later";

/** Answer by ourselves; the connection ends with it. */
static enum MHD_Result refuse(struct http_exchange *exchange, int status, const char *reason) {
    const struct http_server_options *options = &exchange->server->options;
    struct bytes body;
    bytes_init(&body, 4096);
    if (options->on_refused != NULL)
        options->on_refused(status, reason, &body, options->context);
    else
        (void)bytes_printf(&body, "%s\n", reason);
    struct MHD_Response *response = MHD_create_response_from_buffer(body.length, body.data, MHD_RESPMEM_MUST_COPY);
    bytes_deinit(&body);
    if (response == NULL) return MHD_NO;
    (void)MHD_add_response_header(response, "Content-Type",
                                  options->on_refused != NULL ? "application/json" : "text/plain; charset=utf-8");
    (void)MHD_add_response_header(response, "Connection", "close");
    if (status == 401) (void)MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (status == 503) (void)MHD_add_response_header(response, "Retry-After", "1");
    exchange->connection->linger = true;
    enum MHD_Result queued = MHD_queue_response(exchange->mhd, (unsigned)status, response);
    MHD_destroy_response(response);
    return queued;
}

/* --- receiving a request, on MHD's thread --- */

struct field_copier {
    struct arena *arena;
    struct http_field **tail;
    bool failed;
};

static enum MHD_Result copy_field(void *context, enum MHD_ValueKind kind, const char *name, const char *value) {
    (void)kind;
    struct field_copier *copier = context;
    struct http_field *field = arena_alloc(copier->arena, sizeof *field);
    if (field != NULL) {
        field->name = arena_copy(copier->arena, name, strlen(name));
        field->value = value != NULL ? arena_copy(copier->arena, value, strlen(value)) : "";
    }
    if (field == NULL || field->name == NULL || field->value == NULL) {
        copier->failed = true;
        return MHD_NO;
    }
    *copier->tail = field;
    copier->tail = &field->next;
    return MHD_YES;
}

static bool copy_request(struct http_exchange *exchange, const char *url, const char *method) {
    struct field_copier headers = {.arena = &exchange->arena, .tail = &exchange->headers},
                        queries = {.arena = &exchange->arena, .tail = &exchange->queries};
    const char *path = arena_copy(&exchange->arena, url, strlen(url)),
               *name = arena_copy(&exchange->arena, method, strlen(method));
    (void)MHD_get_connection_values(exchange->mhd, MHD_HEADER_KIND, copy_field, &headers);
    (void)MHD_get_connection_values(exchange->mhd, MHD_GET_ARGUMENT_KIND, copy_field, &queries);
    if (path == NULL || name == NULL || headers.failed || queries.failed) return false;
    exchange->path = path;
    exchange->method = name;
    return true;
}

/** Blanks around a value are no part of it (RFC 9110, 5.5); MHD leaves those behind it. The framing was checked with them: MHD reads it so. */
static void trim_values(struct http_field *headers) {
    for (struct http_field *field = headers; field != NULL; field = field->next) {
        char *value = (char *)(uintptr_t)field->value + strspn(field->value, " \t");
        size_t length = strlen(value);
        while (length > 0 && (value[length - 1] == ' ' || value[length - 1] == '\t')) length--;
        if (value[length] != 0) value[length] = 0; /* "" may be a constant */
        field->value = value;
    }
}

/** Would so many bytes more be too many, of all or of this peer? */
static bool bodies_full(const struct http_exchange *exchange, int64_t more) {
    const struct http_server *server = exchange->server;
    return atomic_load(&server->bodies_bytes) + more > server->options.bodies_bytes_max ||
           exchange->connection->from->body_bytes + more > server->options.peer_bodies_bytes_max;
}

/** The headers pass, as far as the user is concerned: does the body? */
static enum MHD_Result accept_headers(struct http_exchange *exchange) {
    if (exchange->announced_bytes > (int64_t)exchange->body.max_bytes)
        return refuse(exchange, 413, "request body too large");
    if (exchange->announced_bytes > HTTP_SMALL_BODY_BYTES && bodies_full(exchange, exchange->announced_bytes))
        return refuse(exchange, 503, bodies_refusal);
    return MHD_YES;
}

/** The user asked for time. */
static enum MHD_Result await_headers(struct http_exchange *exchange) {
    if (!http_exchange_headers_settled(exchange)) return MHD_YES;
    exchange->headers_asked = false;
    pthread_mutex_lock(&exchange->mutex);
    bool decided = exchange->headers_decided;
    int status = exchange->headers_status;
    const char *reason = exchange->headers_reason;
    pthread_mutex_unlock(&exchange->mutex);
    if (!decided) return MHD_NO; /* the client has gone */
    return status != 0 ? refuse(exchange, status, reason) : accept_headers(exchange);
}

/** The headers are there. Refuse now, before the body is read, what can be refused now. */
static enum MHD_Result begin_request(struct http_exchange *exchange, const char *url, const char *method,
                                     const char *version) {
    const union MHD_ConnectionInfo *size =
        MHD_get_connection_info(exchange->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (size == NULL || size->header_size > LIMIT_HEADER_BYTES || !copy_request(exchange, url, method))
        return refuse(exchange, 431, "request headers too large");
    if (exchange->target_malformed) return refuse(exchange, 400, "malformed request target");
    int minor_version = strcmp(version, "HTTP/1.0") == 0 ? 0 : 1;
    struct http_framing framing =
        http_framing_check(method, minor_version, exchange->headers, exchange->server->options.body_bytes_max);
    if (framing.refuse_status != 0) return refuse(exchange, framing.refuse_status, framing.reason);
    trim_values(exchange->headers);
    exchange->announced_bytes = framing.body_bytes;
    atomic_store_explicit(&exchange->connection->headers_whole, true, memory_order_relaxed);
    const struct http_server_options *options = &exchange->server->options;
    const char *reason = "refused";
    int refused = options->on_headers != NULL ? options->on_headers(exchange, options->context, &reason) : 0;
    exchange->headers_asked = refused == HTTP_HEADERS_LATER;
    if (exchange->headers_asked) return await_headers(exchange);
    return refused != 0 ? refuse(exchange, refused, reason) : accept_headers(exchange);
}

static enum MHD_Result receive_body(struct http_exchange *exchange, const char *data, size_t length) {
    atomic_fetch_add_explicit(&exchange->connection->received_bytes, (int64_t)length, memory_order_relaxed);
    struct http_server *server = exchange->server;
    bool dropped = exchange->body_too_large || exchange->bodies_too_large;
    if (!dropped) {
        exchange->body_bytes += (int64_t)length;
        exchange->connection->from->body_bytes += (int64_t)length;
        atomic_fetch_add(&server->bodies_bytes, (int64_t)length);
        exchange->bodies_too_large = exchange->body_bytes > HTTP_SMALL_BODY_BYTES && bodies_full(exchange, 0);
        exchange->body_too_large =
            !exchange->bodies_too_large && bytes_append(&exchange->body, data, length) != STATUS_OK;
        if (!exchange->bodies_too_large && !exchange->body_too_large) return MHD_YES;
        http_exchange_drop_body(exchange);
    }
    exchange->discarded_bytes += (int64_t)length;
    return exchange->discarded_bytes <= DISCARD_BYTES_MAX ? MHD_YES : MHD_NO;
}

/** The body is whole: hand the request to the user, once. */
static void submit_request(struct http_exchange *exchange) {
    struct http_server *server = exchange->server;
    exchange->requested = true;
    pthread_mutex_lock(&server->mutex);
    server->live++;
    pthread_mutex_unlock(&server->mutex);
    pthread_mutex_lock(&exchange->mutex);
    exchange->phase = HTTP_WAITING;
    pthread_mutex_unlock(&exchange->mutex);
    server->options.on_request(exchange, server->options.context);
}

/* --- what MHD calls --- */

static struct http_connection *connection_of(struct MHD_Connection *mhd) {
    return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/** The request line has been read. What it returns is `*request` below. */
static void *on_request_line(void *context, const char *uri, struct MHD_Connection *mhd) {
    struct http_connection *connection = connection_of(mhd);
    struct http_exchange *exchange = connection != NULL ? http_exchange_create(context, connection, mhd) : NULL;
    if (exchange != NULL) exchange->target_malformed = !http_framing_target_valid(uri);
    return exchange;
}

/** First with the headers, then with each piece of the body, then (until there is an answer, after each resume) with neither. */
static enum MHD_Result on_access(void *context, struct MHD_Connection *mhd, const char *url, const char *method,
                                 const char *version, const char *data, size_t *length, void **request) {
    (void)context, (void)mhd;
    struct http_exchange *exchange = *request;
    if (exchange == NULL) return MHD_NO; /* there was no memory for it */
    if (!exchange->started) {
        exchange->started = true;
        return begin_request(exchange, url, method, version);
    }
    if (exchange->headers_asked)
        return await_headers(exchange); /* awake again: MHD repeats the call with the headers */
    if (*length > 0) {
        size_t received = *length;
        *length = 0;
        return receive_body(exchange, data, received);
    }
    if (exchange->body_too_large) return refuse(exchange, 413, "request body too large");
    if (exchange->bodies_too_large) return refuse(exchange, 503, bodies_refusal);
    if (!exchange->requested) submit_request(exchange);
    return http_exchange_proceed(exchange);
}

static void on_completed(void *context, struct MHD_Connection *mhd, void **request,
                         enum MHD_RequestTerminationCode code) {
    (void)context, (void)mhd;
    if (*request != NULL) http_exchange_finish(*request, code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    *request = NULL;
}

static void format_peer(struct MHD_Connection *mhd, char *out) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info != NULL ? info->client_addr : NULL;
    if (address != NULL && address->sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, out, INET6_ADDRSTRLEN);
    } else if (address != NULL && address->sa_family == AF_INET6) {
        const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(six))
            (void)inet_ntop(AF_INET, &six->s6_addr[12], out, INET6_ADDRSTRLEN);
        else
            (void)inet_ntop(AF_INET6, six, out, INET6_ADDRSTRLEN);
    }
}

/** A peer with as many connections as it may have gets no more. */
static enum MHD_Result on_accept(void *context, const struct sockaddr *address, socklen_t length) {
    (void)length;
    struct http_server *server = context;
    const struct http_peer *peer = http_peer_find(server, address);
    return peer != NULL && peer->connections >= server->options.peer_connections_max ? MHD_NO : MHD_YES;
}

/** Without this the kernel takes up to 4 MiB (net.ipv4.tcp_wmem) for every reader that reads nothing, and we would never learn that it is slow. */
static void bound_unsent(int fd) {
    const int unsent_bytes_max = 64 << 10;
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_bytes_max, sizeof unsent_bytes_max);
}

static void on_connection(void *context, struct MHD_Connection *mhd, void **slot,
                          enum MHD_ConnectionNotificationCode code) {
    struct http_server *server = context;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*slot != NULL) {
            http_peer_leave(server, ((struct http_connection *)*slot)->from);
            http_watch_retire(server, *slot);
        }
        *slot = NULL;
        return;
    }
    struct http_connection *connection = calloc(1, sizeof *connection);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *client = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (connection != NULL && info != NULL && client != NULL)
        connection->from = http_peer_join(server, client->client_addr);
    if (connection == NULL || connection->from == NULL) {
        free(connection);
        return; /* its requests are dropped: no connection, no exchange */
    }
    connection->server = server;
    connection->fd = info->connect_fd;
    bound_unsent(connection->fd);
    format_peer(mhd, connection->peer);
    http_tls_prepare(server, mhd);
    http_watch_add(server, connection);
    *slot = connection;
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

/** MHD counts whole seconds; a shorter wish is kept by the watcher. */
static intptr_t timeout_s(int64_t timeout_ns) {
    return (intptr_t)((timeout_ns + NS_PER_S - 1) / NS_PER_S);
}

static enum status start_daemon(struct http_server *server, struct error *err) {
    const struct http_server_options *options = &server->options;
    struct MHD_OptionItem tls[4] = {{MHD_OPTION_END, 0, NULL}};
    size_t count = 0;
    if (server->certificate != NULL) {
        tls[count++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, server->certificate};
        tls[count++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, server->key};
    }
    if (server->trust != NULL) tls[count++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_TRUST, 0, server->trust};
    tls[count] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    unsigned flags =
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | (server->certificate != NULL ? MHD_USE_TLS : 0u);
    server->daemon = MHD_start_daemon(flags, 0, on_accept, server, on_access, server,                               //
                                      MHD_OPTION_LISTEN_SOCKET, server->listen_fd,                                  //
                                      MHD_OPTION_CONNECTION_LIMIT, (unsigned)options->connections_max,              //
                                      MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)timeout_s(options->idle_timeout_ns), //
                                      MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES,                       //
                                      MHD_OPTION_URI_LOG_CALLBACK, on_request_line, server,                         //
                                      MHD_OPTION_NOTIFY_CONNECTION, on_connection, server,                          //
                                      MHD_OPTION_NOTIFY_COMPLETED, on_completed, server,                            //
                                      MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    if (server->daemon != NULL) return STATUS_OK;
    if (server->certificate != NULL) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "HTTPS cannot start with certificate %s and key %s",
                         options->certificate_file, options->key_file);
    }
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "the HTTP server on %.64s cannot start", options->address);
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

enum status http_server_create(const struct http_server_options *options, struct http_server **out, struct error *err) {
    TRY(check_options(options, err));
    struct http_server *server = calloc(1, sizeof *server);
    if (server == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "HTTP server: no memory");
    server->options = *options;
    server->listen_fd = server->watch_fd = server->wake_fd = -1;
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
    if (status == STATUS_OK) status = http_watch_start(server, err);
    if (status == STATUS_OK) status = start_daemon(server, err);
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
    pthread_mutex_t *mutex = (pthread_mutex_t *)(uintptr_t)&server->mutex;
    int count = 0;
    pthread_mutex_lock(mutex);
    for (const struct http_connection *each = server->connections; each != NULL; each = each->next) count++;
    pthread_mutex_unlock(mutex);
    return count;
}

/* --- stop --- */

/** Wait until no exchange runs, or `grace_ns` is over; then tell all that remain to end. */
static void drain_exchanges(struct http_server *server, int64_t grace_ns) {
    int64_t until_ns = clock_monotonic_ns(clock_system()) + grace_ns;
    struct timespec until = {.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
    pthread_mutex_lock(&server->mutex);
    int waited = 0;
    while (server->running > 0 && waited == 0)
        waited = pthread_cond_timedwait(&server->drained, &server->mutex, &until);
    server->killing = true; /* from here on no exchange is suspended: new ones are born gone */
    for (struct http_connection *connection = server->connections; connection != NULL; connection = connection->next) {
        if (connection->exchange != NULL) (void)http_exchange_hang_up(connection->exchange);
    }
    pthread_mutex_unlock(&server->mutex);
}

void http_server_stop(struct http_server *server, int64_t grace_ns) {
    if (server->daemon == NULL) return;
    atomic_store(&server->stopping, true);
    (void)MHD_quiesce_daemon(server->daemon);
    shutdown(server->listen_fd,
             SHUT_RD);       /* refuses at once who would else wait in the backlog; closed when MHD's thread is gone */
    http_watch_wake(server); /* which closes idle connections */
    drain_exchanges(server, grace_ns);
    MHD_stop_daemon(server->daemon);
    server->daemon = NULL;
}

void http_server_destroy(struct http_server *server) {
    if (server == NULL) return;
    http_server_stop(server, 0);
    http_watch_stop(server);
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
