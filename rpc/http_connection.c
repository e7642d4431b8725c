/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A connection's life on the server's thread: bytes become requests, answers end, time runs out. */
#include "rpc/http_internal.h"

#include "base/clock.h"
#include "base/limits.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TURN_HEADS =
        32, /* what one connection may do before others have their turn: requests, which it may send ahead ... */
    TURN_BLOCKS = 8, /* ... and reads of struct http_server.block */
    LINGERING_MAX = 256,
    LINGER_MS = 2000,
    LINGER_BYTES_MAX = LIMIT_REQUEST_BODY_BYTES_MAX,
    RECEIVE_BYTES_PER_S_MIN = 16 * 1024, /* beyond the idle time-out, a request must arrive at least this fast */
};

/* Once, for everything. */
static const uint32_t WATCHED = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

static const char bodies_refusal[] = "too many large requests at once; try again later";

static void submit(struct http_connection *connection);
static void on_event(struct loop_source *source, uint32_t events);

/* --- beginning and end --- */

static void format_peer(const struct sockaddr *address, char *out) {
    if (address->sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, out, INET6_ADDRSTRLEN);
    } else if (address->sa_family == AF_INET6) {
        const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(six))
            (void)inet_ntop(AF_INET, &six->s6_addr[12], out, INET6_ADDRSTRLEN);
        else
            (void)inet_ntop(AF_INET6, six, out, INET6_ADDRSTRLEN);
    }
}

struct http_connection *http_connection_open(struct http_server *server, int fd, const struct sockaddr *address) {
    /* Without the bound the kernel takes up to 4 MiB (net.ipv4.tcp_wmem) for every reader that reads nothing, and we would never learn that it is
     * slow. What goes together is sent together by us, so nothing shall wait for more. */
    const int unsent_bytes_max = 64 << 10, on = 1;
    struct http_connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) return NULL;
    connection->server = server;
    connection->fd = fd;
    connection->from = http_peer_join(server, address);
    bytes_init(&connection->input, SIZE_MAX); /* the head's limit, and what one recv brings */
    if (server->tls != NULL) connection->tls = http_tls_open(server, fd);
    connection->source.on_event = on_event;
    if (connection->from == NULL || (server->tls != NULL && connection->tls == NULL) ||
        loop_add(server->loop, fd, WATCHED, &connection->source) != 0) {
        http_peer_leave(server, connection->from);
        tls_session_close(connection->tls);
        free(connection);
        return NULL;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_bytes_max, sizeof unsent_bytes_max);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    format_peer(address, connection->peer);
    connection->since_ns = loop_now_ns(server->loop);
    connection->next = server->connections;
    if (connection->next != NULL) connection->next->previous = connection;
    server->connections = connection;
    atomic_fetch_add(&server->connection_count, 1);
    return connection;
}

static void uncount_body(struct http_connection *connection) {
    atomic_fetch_sub(&connection->server->bodies_bytes, connection->counted_bytes);
    connection->from->body_bytes -= connection->counted_bytes;
    connection->counted_bytes = 0;
}

/** The running exchange is over. */
static void finish(struct http_connection *connection, bool completed) {
    struct http_server *server = connection->server;
    struct http_exchange *exchange = connection->exchange;
    connection->exchange = NULL;
    /* Whoever still refers to the exchange may read the body; it is no longer the server's to count. */
    uncount_body(connection);
    connection->since_ns = loop_now_ns(server->loop);
    pthread_mutex_lock(&exchange->mutex);
    exchange->closed = true;
    connection->closes = connection->closes || exchange->says_close;
    bytes_deinit(&exchange->pending);
    exchange->pending_taken = 0;
    pthread_mutex_unlock(&exchange->mutex);
    pthread_mutex_lock(&server->mutex);
    server->running--;
    server->live -= exchange->requested;
    if (atomic_load(&server->stopping)) pthread_cond_broadcast(&server->drained);
    pthread_mutex_unlock(&server->mutex);
    if (exchange->requested && server->options.on_closed != NULL)
        server->options.on_closed(exchange, server->options.context, completed);
    http_exchange_unref(exchange);
}

void http_connection_close(struct http_connection *connection) {
    struct http_server *server = connection->server;
    if (connection->dead) return;
    if (connection->shaking) {
        atomic_store(&connection->unwanted, true);
        return;
    }
    connection->dead = true;
    if (connection->exchange != NULL) finish(connection, false);
    if (connection->reading == HTTP_READ_LINGER) server->lingering_count--;
    http_peer_leave(server, connection->from);
    tls_session_close(connection->tls);
    bytes_deinit(&connection->input);
    close(connection->fd);
    atomic_fetch_sub(&server->connection_count, 1);
    if (connection->next != NULL) connection->next->previous = connection->previous;
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        server->connections = connection->next;
    connection->next = server->dead;
    server->dead = connection;
}

/** Our last word was said. With unread bytes a close would be a reset, which may overtake it: so those are read and forgotten first. */
static void close_after_answer(struct http_connection *connection) {
    struct http_server *server = connection->server;
    bool unread = connection->input.length > 0 || connection->readable || connection->refused;
    if (connection->tls != NULL) tls_say_end(connection->tls);
    if (connection->hung_up || connection->broken || !unread || server->lingering_count == LINGERING_MAX) {
        http_connection_close(connection);
        return;
    }
    connection->reading = HTTP_READ_LINGER;
    server->lingering_count++;
    connection->since_ns = loop_now_ns(server->loop);
    connection->body_left = 0;
    bytes_deinit(&connection->input);
    shutdown(connection->fd, SHUT_WR);
}

/* --- answers --- */

static void await_answer(struct http_connection *connection) {
    connection->reading = HTTP_READ_PAUSED;
}

static void refuse(struct http_connection *connection, int status, const char *reason) {
    connection->refused = connection->closes = true;
    await_answer(connection);
    http_exchange_refuse(connection->exchange, status, reason);
}

/** Does the running exchange end here? */
static void settle(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    if (exchange == NULL || connection->dead) return;
    struct http_server *server = connection->server;
    pthread_mutex_lock(&exchange->mutex);
    bool sent = http_exchange_sent_locked(exchange);
    bool answered = exchange->phase == HTTP_ANSWERED || (exchange->phase == HTTP_STREAMING && exchange->ended);
    bool lost = exchange->gone || exchange->aborted || connection->broken;
    /* A client that sends no more counts as gone, unless its answer is ready. */
    if (!sent && ((connection->hung_up && !answered) || atomic_load(&server->killing))) lost = true;
    if (lost && !sent) exchange->gone = true;
    pthread_mutex_unlock(&exchange->mutex);
    if (sent && !exchange->aborted) {
        finish(connection, true);
        if (connection->closes || connection->hung_up || atomic_load(&server->stopping))
            close_after_answer(connection);
        else
            connection->reading = HTTP_READ_HEAD;
    } else if (lost) {
        http_connection_close(connection);
    }
}

/** The socket took what waited, or some of it: is somebody told? */
static void tell_writable(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    const struct http_server_options *options = &connection->server->options;
    pthread_mutex_lock(&exchange->mutex);
    bool writable = exchange->above_mark && !exchange->gone &&
                    exchange->pending.length - exchange->pending_taken <= options->watermark_bytes / 2;
    if (writable) exchange->above_mark = false;
    pthread_mutex_unlock(&exchange->mutex);
    if (writable && exchange->requested && options->on_writable != NULL)
        options->on_writable(exchange, options->context);
}

static void send_more(struct http_connection *connection, bool unblocked) {
    struct http_exchange *exchange = connection->exchange;
    if (exchange == NULL) return;
    pthread_mutex_lock(&exchange->mutex);
    if (unblocked) exchange->blocked = false;
    http_exchange_send_locked(exchange);
    pthread_mutex_unlock(&exchange->mutex);
    tell_writable(connection);
}

/* --- requests --- */

/** Would so many bytes more be too many, of all or of this peer? */
static bool bodies_full(const struct http_connection *connection, int64_t more) {
    const struct http_server *server = connection->server;
    return atomic_load(&server->bodies_bytes) + more > server->options.bodies_bytes_max ||
           connection->from->body_bytes + more > server->options.peer_bodies_bytes_max;
}

static bool asks_for(const struct http_exchange *exchange, const char *name, const char *value) {
    const char *said = http_exchange_header(exchange, name);
    return said != NULL && strcasecmp(said, value) == 0;
}

/** `Connection` is a list, perhaps in several fields (RFC 9110, 7.6.1): "upgrade, close". */
static bool asks_to_close(const struct http_head *head) {
    static const char close[] = "close", blanks[] = " \t,";
    for (const struct http_field *field = head->headers; field != NULL; field = field->next) {
        if (strcasecmp(field->name, "Connection") != 0) continue;
        for (const char *at = field->value + strspn(field->value, blanks); *at != 0;) {
            size_t length = strcspn(at, blanks);
            if (length == sizeof close - 1 && strncasecmp(at, close, length) == 0) return true;
            at += length;
            at += strspn(at, blanks);
        }
    }
    return false;
}

/** The headers pass, as far as the user is concerned: does the body? */
static void accept_headers(struct http_connection *connection) {
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct http_exchange *exchange = connection->exchange;
    int64_t announced = exchange->announced_bytes;
    if (announced > (int64_t)exchange->body.max_bytes) {
        refuse(connection, 413, "request body too large");
    } else if (announced > HTTP_SMALL_BODY_BYTES && bodies_full(connection, announced)) {
        refuse(connection, 503, bodies_refusal);
    } else if (announced == 0) {
        submit(connection);
    } else {
        connection->body_left = announced;
        connection->chunks = (struct http_chunks){0};
        connection->reading = announced < 0 ? HTTP_READ_CHUNKS : HTTP_READ_BODY;
        if (connection->input.length > 0 || exchange->head.minor_version == 0 ||
            !asks_for(exchange, "Expect", "100-continue"))
            return;
        pthread_mutex_lock(&exchange->mutex);
        (void)bytes_append_string(&exchange->pending, go_on);
        http_exchange_send_locked(exchange);
        pthread_mutex_unlock(&exchange->mutex);
    }
}

/** The head is there. Refuse now, before the body is read, what can be refused now. */
static void begin_request(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    const struct http_server_options *options = &connection->server->options;
    const struct http_head *head = &exchange->head;
    struct http_framing framing =
        http_framing_check(head->method, head->minor_version, head->headers, options->body_bytes_max);
    exchange->keeps_alive = head->minor_version > 0 && !asks_to_close(head);
    if (framing.refuse_status != 0) {
        refuse(connection, framing.refuse_status, framing.reason);
        return;
    }
    exchange->announced_bytes = framing.body_bytes;
    const char *reason = "refused";
    int refused = options->on_headers != NULL ? options->on_headers(exchange, options->context, &reason) : 0;
    if (refused == HTTP_HEADERS_LATER)
        connection->reading = HTTP_READ_DECISION;
    else if (refused != 0)
        refuse(connection, refused, reason);
    else
        accept_headers(connection);
}

static void take_decision(struct http_connection *connection) {
    struct http_exchange *exchange = connection->exchange;
    pthread_mutex_lock(&exchange->mutex);
    bool decided = exchange->headers_decided;
    int status = exchange->headers_status;
    const char *reason = exchange->headers_reason;
    pthread_mutex_unlock(&exchange->mutex);
    if (!decided) return;
    if (status != 0)
        refuse(connection, status, reason);
    else
        accept_headers(connection);
}

/** The request is whole. */
static void submit(struct http_connection *connection) {
    struct http_server *server = connection->server;
    struct http_exchange *exchange = connection->exchange;
    await_answer(connection);
    pthread_mutex_lock(&exchange->mutex);
    exchange->phase = HTTP_WAITING;
    exchange->requested = true;
    pthread_mutex_unlock(&exchange->mutex);
    pthread_mutex_lock(&server->mutex);
    server->live++;
    pthread_mutex_unlock(&server->mutex);
    server->options.on_request(exchange, server->options.context);
}

/** True when there was a whole head, or one that is refused. */
static bool take_head(struct http_connection *connection) {
    struct bytes *input = &connection->input;
    size_t blank = 0; /* lines before a request are no harm (RFC 9112, 2.2) */
    while (input->length - blank >= 2 && memcmp(input->data + blank, "\r\n", 2) == 0) blank += 2;
    if (blank > 0) {
        bytes_consume(input, blank);
        connection->head_seen = 0;
    }
    bool first = connection->head_seen == 0; /* bytes of this request */
    size_t length = http_head_length(bytes_view(input), connection->head_seen);
    bool large = length > LIMIT_HEADER_BYTES || (length == 0 && input->length > LIMIT_HEADER_BYTES);
    connection->head_seen = input->length;
    if (length == 0 && !large) {
        if (connection->served && first) connection->since_ns = loop_now_ns(connection->server->loop);
        return false;
    }
    connection->head_seen = 0;
    connection->heads++;
    connection->served = true;
    connection->exchange = http_exchange_create(connection);
    if (connection->exchange == NULL) {
        http_connection_close(connection);
        return false;
    }
    connection->since_ns = loop_now_ns(connection->server->loop);
    const char *reason = "request headers too large";
    int refused =
        large ? 431 : http_head_parse(bytes_view_of(input->data, length), &connection->exchange->head, &reason);
    if (!large) bytes_consume(input, length);
    if (refused != 0)
        refuse(connection, refused, reason);
    else
        begin_request(connection);
    return true;
}

/** False when it was refused. */
static bool take_body(struct http_connection *connection, struct bytes_view piece) {
    struct http_server *server = connection->server;
    struct http_exchange *exchange = connection->exchange;
    connection->counted_bytes += (int64_t)piece.length;
    connection->from->body_bytes += (int64_t)piece.length;
    atomic_fetch_add(&server->bodies_bytes, (int64_t)piece.length);
    bool full = connection->counted_bytes > HTTP_SMALL_BODY_BYTES && bodies_full(connection, 0);
    if (!full && bytes_append(&exchange->body, piece.data, piece.length) == STATUS_OK) return true;
    bytes_deinit(&exchange->body);
    uncount_body(connection);
    if (full)
        refuse(connection, 503, bodies_refusal);
    else
        refuse(connection, 413, "request body too large");
    return false;
}

static void take_chunks(struct http_connection *connection) {
    struct bytes_view rest = bytes_view(&connection->input), piece;
    enum http_chunks_state state = HTTP_CHUNKS_MORE;
    bool taken = true;
    while (taken && state == HTTP_CHUNKS_MORE && rest.length > 0) {
        state = http_chunks_next(&connection->chunks, &rest, &piece);
        if (piece.length > 0) taken = take_body(connection, piece);
    }
    bytes_consume(&connection->input, connection->input.length - rest.length);
    if (!taken) return;
    if (state == HTTP_CHUNKS_END)
        submit(connection);
    else if (state != HTTP_CHUNKS_MORE)
        refuse(connection, state == HTTP_CHUNKS_MALFORMED ? 400 : 413,
               state == HTTP_CHUNKS_MALFORMED ? "malformed chunk" : "request body too large");
}

static void take_length(struct http_connection *connection) {
    struct bytes *input = &connection->input;
    size_t taken = input->length < (size_t)connection->body_left ? input->length : (size_t)connection->body_left;
    connection->body_left -= (int64_t)taken;
    bool kept = take_body(connection, bytes_view_of(input->data, taken));
    bytes_consume(input, taken);
    if (kept && connection->body_left == 0) submit(connection);
}

/** Use what was received, as far as it goes. */
static void use_input(struct http_connection *connection) {
    while (!connection->dead) {
        if (connection->reading == HTTP_READ_PAUSED) settle(connection);
        if (connection->dead || connection->input.length == 0) break;
        if (connection->reading == HTTP_READ_HEAD) {
            if (atomic_load(&connection->server->stopping) || connection->heads == TURN_HEADS || !take_head(connection))
                break;
        } else if (connection->reading == HTTP_READ_BODY) {
            take_length(connection);
        } else if (connection->reading == HTTP_READ_CHUNKS) {
            take_chunks(connection);
        } else {
            break;
        }
    }
    if (!connection->dead && connection->input.length == 0)
        bytes_deinit(&connection->input); /* a connection that is silent holds nothing */
}

/* --- events --- */

static ssize_t receive(struct http_connection *connection) {
    struct http_server *server = connection->server;
    return connection->tls != NULL && connection->reading != HTTP_READ_LINGER
               ? tls_receive(connection->tls, server->block, sizeof server->block)
               : recv(connection->fd, server->block, sizeof server->block, MSG_DONTWAIT);
}

/** What one recv brings. False: there is no more. */
static bool read_block(struct http_connection *connection) {
    struct http_server *server = connection->server;
    ssize_t got = receive(connection);
    if (got < 0 && errno == EINTR) return true;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        connection->readable = false;
        return false;
    }
    if (got <= 0) {
        connection->readable = false;
        connection->hung_up = true;
        connection->broken = connection->broken || got < 0;
        return false;
    }
    /* A plain socket that gave less than it was asked for has no more; the next bytes are an event of their own. */
    if (connection->tls == NULL && (size_t)got < sizeof server->block && !connection->hung_up)
        connection->readable = false;
    if (connection->reading == HTTP_READ_LINGER) {
        connection->body_left += got; /* drained so far */
        if (connection->body_left > LINGER_BYTES_MAX) connection->broken = true;
    } else if (bytes_append(&connection->input, server->block, (size_t)got) != STATUS_OK) {
        connection->broken = true;
    }
    return !connection->broken;
}

static bool wants_input(const struct http_connection *connection) {
    return !connection->dead && connection->readable && connection->reading != HTTP_READ_PAUSED &&
           connection->reading != HTTP_READ_DECISION;
}

/** Others first: whoever is registered anew is told again of what there is, behind those who wait already. */
static void come_again(struct http_connection *connection) {
    if (loop_change(connection->server->loop, connection->fd, WATCHED, &connection->source) != 0)
        http_connection_close(connection);
}

static void go_on(struct http_connection *connection) {
    int blocks = 0;
    connection->heads = 0;
    use_input(connection);
    for (; wants_input(connection) && blocks < TURN_BLOCKS && connection->heads < TURN_HEADS; blocks++) {
        if (!read_block(connection)) break;
        use_input(connection);
    }
    if (connection->dead) return;
    /* Of a client that has hung up nothing more comes: what is not whole now will never be. */
    bool waits = connection->exchange != NULL && connection->reading == HTTP_READ_PAUSED,
         heads_left = connection->heads == TURN_HEADS && connection->input.length > 0;
    if (waits)
        settle(connection);
    else if (connection->broken)
        http_connection_close(connection);
    else if (connection->exchange == NULL && atomic_load(&connection->server->stopping) &&
             connection->reading == HTTP_READ_HEAD)
        http_connection_close(connection);
    else if (heads_left || wants_input(connection))
        come_again(connection);
    else if (connection->hung_up && !connection->readable)
        http_connection_close(connection);
}

/** The next step: there may be something to read, or room to write. The first one reads. */
static void shake_hands(struct http_connection *connection, uint32_t events) {
    if (connection->shake == HTTP_SHAKE_NOT_BEGUN && (events & ~(uint32_t)EPOLLOUT) == 0) return;
    connection->stirred = connection->shaking;
    if (connection->shaking) return;
    connection->shaking = true;
    http_handshakes_push(connection->server->handshakes, connection);
}

void http_connection_shaken(struct http_connection *connection) {
    connection->shaking = false;
    connection->shake = connection->outcome;
    if (atomic_load(&connection->unwanted) || connection->shake == HTTP_SHAKE_FAILED) {
        http_connection_close(connection);
    } else if (connection->shake == HTTP_SHAKE_DONE) {
        connection->readable = true; /* it may have brought more than its end */
        go_on(connection);
    } else if (connection->stirred) {
        shake_hands(connection, EPOLLIN);
    }
}

static void on_event(struct loop_source *source, uint32_t events) {
    struct http_connection *connection = (struct http_connection *)source;
    if (connection->dead) return;
    if (events & EPOLLRDHUP) connection->hung_up = true;
    if (events & (EPOLLHUP | EPOLLERR)) connection->hung_up = connection->broken = true;
    if (connection->tls != NULL && connection->shake != HTTP_SHAKE_DONE) {
        shake_hands(connection, events);
        return;
    }
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) connection->readable = true;
    if (connection->tls != NULL) connection->readable = true; /* TLS may have waited for either */
    if (events & EPOLLOUT) send_more(connection, true);
    if (connection->hung_up && connection->reading == HTTP_READ_DECISION) {
        http_connection_close(connection);
        return;
    }
    go_on(connection);
}

void http_connection_ready(struct http_connection *connection) {
    if (connection->dead) return;
    if (connection->reading == HTTP_READ_DECISION) take_decision(connection);
    if (!connection->dead) send_more(connection, false);
    if (!connection->dead) go_on(connection);
}

/* --- time --- */

/** Has this connection had more time than its request deserves? */
static bool too_slow(const struct http_connection *connection, int64_t now_ns) {
    const struct http_server_options *options = &connection->server->options;
    int64_t elapsed_ns = now_ns - connection->since_ns, idle_ns = options->idle_timeout_ns;
    switch (connection->reading) {
    case HTTP_READ_LINGER:
        return elapsed_ns > (int64_t)LINGER_MS * NS_PER_MS;
    case HTTP_READ_HEAD:
        if ((!connection->served || connection->input.length > 0) && options->header_timeout_ns > 0 &&
            elapsed_ns > options->header_timeout_ns)
            return true;
        return idle_ns > 0 && elapsed_ns > idle_ns;
    case HTTP_READ_BODY:
    case HTTP_READ_CHUNKS:
        return idle_ns > 0 && elapsed_ns - idle_ns > connection->counted_bytes / RECEIVE_BYTES_PER_S_MIN * NS_PER_S;
    default:
        return false;
    }
}

/** Does something wait that the client does not take? */
static bool stuck(const struct http_connection *connection, int64_t now_ns) {
    struct http_exchange *exchange = connection->exchange;
    int64_t idle_ns = connection->server->options.idle_timeout_ns;
    if (exchange == NULL || idle_ns == 0) return false;
    pthread_mutex_lock(&exchange->mutex);
    bool waits = exchange->pending.length > exchange->pending_taken && exchange->last_sent_ns > 0 &&
                 now_ns - exchange->last_sent_ns > idle_ns;
    pthread_mutex_unlock(&exchange->mutex);
    return waits;
}

void http_connection_tick(struct http_connection *connection, int64_t now_ns) {
    struct http_server *server = connection->server;
    if (server->options.heartbeat_ns > 0 && connection->exchange != NULL)
        http_exchange_heartbeat(connection->exchange, now_ns, server->options.heartbeat_ns);
    if (too_slow(connection, now_ns) || stuck(connection, now_ns) || atomic_load(&server->killing))
        http_connection_close(connection);
    else if (atomic_load(&server->stopping))
        go_on(connection);
}
