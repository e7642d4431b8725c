/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Connections: made, kept, lost and made again. */
#include "rpc/grpc_stream.h"

#include "base/clock.h"
#include "rpc/grpc_stream_internal.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PREFIX_BYTES = 5 };
static const int64_t TICK_NS = 50 * (int64_t)NS_PER_MS;
static const int64_t BACKOFF_MIN_NS = 100 * (int64_t)NS_PER_MS, BACKOFF_MAX_NS = 2 * NS_PER_S;
static const int64_t ATTEMPT_NS = 5 * NS_PER_S;
static const int64_t STEADY_NS = NS_PER_S; /* a connection that stood so long is made again at once */

/* ---- who wants a turn ---------------------------------------------------------------------------------------------- */

static void want_turn(struct grpc_stream *stream) {
    struct grpc_streams *pool = stream->pool;
    pthread_mutex_lock(&pool->mutex);
    bool first = !stream->listed;
    if (first) {
        stream->listed = true;
        stream->next_work = pool->work;
        pool->work = stream;
    }
    pthread_mutex_unlock(&pool->mutex);
    if (first) loop_wake(pool->options.loop);
}

static bool is_pending(void *context) {
    struct grpc_streams *pool = context;
    pthread_mutex_lock(&pool->mutex);
    bool pending = pool->work != NULL;
    pthread_mutex_unlock(&pool->mutex);
    return pending;
}

static void unref(struct grpc_stream *stream) {
    if (atomic_fetch_sub(&stream->references, 1) != 1) return;
    if (stream->addresses != NULL) freeaddrinfo(stream->addresses);
    bytes_deinit(&stream->in);
    bytes_deinit(&stream->out);
    bytes_deinit(&stream->wire);
    pthread_mutex_destroy(&stream->mutex);
    free(stream->target);
    free(stream->host);
    free(stream->port);
    free(stream->path);
    free(stream);
}

/* ---- connecting: the loop's thread --------------------------------------------------------------------------------- */

/** The socket, and all that was on it. */
static void disconnect_locked(struct grpc_stream *stream) {
    if (stream->session != NULL) nghttp2_session_del(stream->session);
    tls_session_close(stream->tls);
    if (stream->fd >= 0) close(stream->fd); /* which takes it out of the epoll, too */
    stream->session = NULL;
    stream->tls = NULL;
    stream->fd = -1;
    stream->blocked = stream->retiring = stream->broken = false;
    bytes_reset(&stream->wire);
    stream->wire_taken = 0;
    stream->number = 0;
}

/** It is lost, or could not be made. One that had stood for a while is made again at once. */
static void lose_locked(struct grpc_stream *stream) {
    int64_t backoff_ns = stream->backoff_ns, now_ns = loop_now_ns(stream->pool->options.loop);
    bool stood = stream->state == STREAM_READY, steady = stood && now_ns - stream->stands_ns >= STEADY_NS;
    char reason[GRPC_STREAM_REASON_BYTES];
    snprintf(reason, sizeof reason, "%s", stream->reason);
    disconnect_locked(stream);
    grpc_stream_end_locked(stream, STATUS_UNAVAILABLE, reason);
    if (stream->addresses != NULL) freeaddrinfo(stream->addresses);
    stream->addresses = stream->address = NULL;
    stream->state = STREAM_WAITING;
    stream->lost = stream->lost || stood || !stream->failed;
    stream->failed = !stood;
    stream->backoff_ns = steady                            ? 0
                         : backoff_ns == 0                 ? BACKOFF_MIN_NS
                         : backoff_ns * 2 < BACKOFF_MAX_NS ? backoff_ns * 2
                                                           : BACKOFF_MAX_NS;
    stream->retry_ns = now_ns + stream->backoff_ns;
    want_turn(stream); /* somebody is to be told, and perhaps it is made again at once: a tick may be far */
}

static void on_event(struct loop_source *source, uint32_t events);

static bool connect_to(struct grpc_stream *stream, const struct sockaddr *address, socklen_t length) {
    const int on = 1;
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && address->sa_family != AF_UNIX) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int failure = fd < 0 || (connect(fd, address, length) != 0 && errno != EINPROGRESS) ? errno : 0;
    if (failure == 0) failure = loop_add(stream->pool->options.loop, fd, GRPC_STREAM_WATCHED, &stream->source);
    if (failure == 0) {
        stream->fd = fd;
        stream->state = STREAM_CONNECTING;
        return true;
    }
    if (fd >= 0) close(fd);
    snprintf(stream->reason, sizeof stream->reason, "%s", strerror(failure));
    return false;
}

/** The next address that lets itself be tried. */
static void connect_next_locked(struct grpc_stream *stream) {
    if (stream->host == NULL) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof address.sun_path, "%s", stream->port);
        if (!connect_to(stream, (const struct sockaddr *)&address, sizeof address)) lose_locked(stream);
        return;
    }
    while (stream->address != NULL) {
        const struct addrinfo *address = stream->address;
        stream->address = address->ai_next;
        if (connect_to(stream, address->ai_addr, address->ai_addrlen)) return;
    }
    lose_locked(stream);
}

static void take_addresses_locked(struct grpc_stream *stream, int failure, struct addrinfo *found) {
    stream->resolved = true;
    stream->addresses = stream->address = failure == 0 ? found : NULL;
    if (failure != 0) snprintf(stream->reason, sizeof stream->reason, "%s: %s", stream->host, gai_strerror(failure));
}

static void *resolve(void *context) {
    struct grpc_stream *stream = context;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int failure = getaddrinfo(stream->host, stream->port, &hints, &found);
    pthread_mutex_lock(&stream->mutex);
    bool closed = stream->closed;
    if (!closed) {
        take_addresses_locked(stream, failure, found);
        want_turn(stream); /* which cannot be freed before, for it is not closed */
    }
    pthread_mutex_unlock(&stream->mutex);
    if (closed && failure == 0) freeaddrinfo(found);
    unref(stream);
    return NULL;
}

/** An address is used as it is; a name is asked for by a thread, as that may take seconds. */
static void begin_locked(struct grpc_stream *stream, int64_t now_ns) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    pthread_t thread;
    stream->give_up_ns = now_ns + ATTEMPT_NS;
    if (stream->host == NULL) {
        connect_next_locked(stream);
        return;
    }
    if (getaddrinfo(stream->host, stream->port, &hints, &found) == 0) {
        take_addresses_locked(stream, 0, found);
        connect_next_locked(stream);
        return;
    }
    stream->state = STREAM_RESOLVING;
    stream->resolved = false;
    atomic_fetch_add(&stream->references, 1);
    if (pthread_create(&thread, NULL, resolve, stream) == 0) {
        pthread_detach(thread);
        return;
    }
    atomic_fetch_sub(&stream->references, 1);
    snprintf(stream->reason, sizeof stream->reason, "no thread to look %s up", stream->host);
    lose_locked(stream);
}

/** The kernel has something to say of the attempt. */
static void connected_locked(struct grpc_stream *stream) {
    int failure = 0;
    socklen_t length = sizeof failure;
    if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &failure, &length) != 0) failure = errno;
    if (failure != 0) {
        snprintf(stream->reason, sizeof stream->reason, "%s", strerror(failure));
        disconnect_locked(stream);
        connect_next_locked(stream);
        return;
    }
    const struct tls_client *tls = stream->pool->tls;
    const char *name = stream->pool->server_name;
    if (name == NULL) name = stream->host != NULL ? stream->host : "localhost";
    stream->state = STREAM_GREETING;
    stream->heard_ns = loop_now_ns(stream->pool->options.loop);
    stream->pinged_ns = 0;
    if (tls != NULL) stream->tls = tls_client_open(tls, stream->fd, name, "h2");
    if ((tls != NULL && stream->tls == NULL) || !grpc_stream_greet_locked(stream))
        grpc_stream_break_locked(stream, "out of memory");
}

/* ---- turns --------------------------------------------------------------------------------------------------------- */

/** Send what there is, notice what is over, and tell: without the mutex. */
static void attend(struct grpc_stream *stream) {
    grpc_stream_deliver(stream);
    pthread_mutex_lock(&stream->mutex);
    grpc_stream_push_locked(stream);
    grpc_stream_flush_locked(stream);
    if (stream->broken) lose_locked(stream);
    bool ended = stream->ended, lost = stream->lost;
    enum status status = stream->status;
    char message[GRPC_STREAM_REASON_BYTES], reason[GRPC_STREAM_REASON_BYTES];
    if (lost) memcpy(reason, stream->reason, sizeof reason);
    stream->lost = false;
    if (ended) {
        memcpy(message, stream->message, sizeof message);
        stream->calling = stream->ended = false;
        stream->number = 0;
        stream->finishing = true;
        bytes_reset(&stream->out);
        stream->out_taken = 0;
        if (stream->retiring && stream->session != NULL) {
            grpc_stream_break_locked(stream, "it takes no more calls");
            lose_locked(stream);
        }
    }
    pthread_mutex_unlock(&stream->mutex);
    if (lost) stream->callbacks->on_lost(stream->context, reason);
    if (!ended) return;
    bytes_deinit(&stream->in); /* of a message that never became whole */
    stream->dropped = false;
    stream->callbacks->on_finished(stream->context, status, message);
    pthread_mutex_lock(&stream->mutex);
    stream->finishing = false;
    pthread_mutex_unlock(&stream->mutex);
}

static void on_event(struct loop_source *source, uint32_t events) {
    struct grpc_stream *stream = (struct grpc_stream *)source;
    pthread_mutex_lock(&stream->mutex);
    if (stream->fd < 0 || stream->closed) {
        pthread_mutex_unlock(&stream->mutex);
        return;
    }
    if (stream->state == STREAM_CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0)
        connected_locked(stream);
    if ((events & EPOLLOUT) != 0 || stream->tls != NULL)
        stream->blocked = false; /* a handshake may have waited for either */
    if (stream->session != NULL) grpc_stream_read_locked(stream, (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
    pthread_mutex_unlock(&stream->mutex);
    grpc_stream_deliver(stream);
    want_turn(stream);
}

static void remove_stream(struct grpc_stream *stream) {
    struct grpc_streams *pool = stream->pool;
    pthread_mutex_lock(&stream->mutex);
    grpc_stream_end_locked(stream, STATUS_CANCELLED, "the connection was closed");
    grpc_stream_flush_locked(stream);
    disconnect_locked(stream);
    bool ended = stream->ended;
    pthread_mutex_unlock(&stream->mutex);
    if (ended) stream->callbacks->on_finished(stream->context, stream->status, stream->message);
    stream->callbacks->on_closed(stream->context);
    pthread_mutex_lock(&pool->mutex);
    for (struct grpc_stream **at = &pool->work; *at != NULL; at = &(*at)->next_work) {
        if (*at != stream) continue; /* a cancel that came after the close */
        *at = stream->next_work;
        break;
    }
    if (stream->next != NULL) stream->next->previous = stream->previous;
    *(stream->previous != NULL ? &stream->previous->next : &pool->all) = stream->next;
    if (pool->all == NULL) pthread_cond_broadcast(&pool->emptied);
    pthread_mutex_unlock(&pool->mutex);
    unref(stream);
}

/** The name's address does not come. Whoever waits for the connection waits no longer; the answer is still waited for, or threads would pile up. */
static void despair_locked(struct grpc_stream *stream) {
    snprintf(stream->reason, sizeof stream->reason, "no address of %.128s within %lld seconds", stream->host,
             (long long)(ATTEMPT_NS / NS_PER_S));
    grpc_stream_end_locked(stream, STATUS_UNAVAILABLE, stream->reason);
    stream->failed = stream->lost = true;
}

/** Its time has come, or what was asked for is there. */
static void keep_time_locked(struct grpc_stream *stream, int64_t now_ns) {
    const struct grpc_streams_options *options = &stream->pool->options;
    switch (stream->state) {
    case STREAM_WAITING:
        if (now_ns >= stream->retry_ns) begin_locked(stream, now_ns);
        break;
    case STREAM_RESOLVING:
        if (stream->resolved) {
            stream->give_up_ns = now_ns + ATTEMPT_NS; /* a slow name server takes none of its time */
            connect_next_locked(stream);
        } else if (now_ns >= stream->give_up_ns && !stream->failed) {
            despair_locked(stream);
        }
        break;
    case STREAM_CONNECTING:
    case STREAM_GREETING:
        if (now_ns < stream->give_up_ns) break;
        snprintf(stream->reason, sizeof stream->reason, "no connection within %lld seconds",
                 (long long)(ATTEMPT_NS / NS_PER_S));
        if (stream->address == NULL) {
            lose_locked(stream);
        } else { /* a name's next address may answer */
            disconnect_locked(stream);
            stream->give_up_ns = now_ns + ATTEMPT_NS;
            connect_next_locked(stream);
        }
        break;
    case STREAM_READY:
        if (options->keepalive_ns == 0) break;
        if (stream->pinged_ns != 0 && now_ns - stream->pinged_ns > options->keepalive_timeout_ns) {
            grpc_stream_break_locked(stream, "it does not answer a ping");
        } else if (stream->pinged_ns == 0 && now_ns - stream->heard_ns > options->keepalive_ns) {
            stream->pinged_ns = now_ns;
            grpc_stream_ping_locked(stream);
        }
        break;
    }
}

static void serve(struct grpc_stream *stream) {
    pthread_mutex_lock(&stream->mutex);
    bool closed = stream->closed;
    if (!closed) keep_time_locked(stream, loop_now_ns(stream->pool->options.loop));
    pthread_mutex_unlock(&stream->mutex);
    if (closed)
        remove_stream(stream);
    else
        attend(stream);
}

/** Only the loop takes a connection out of the list, so the next one stays where it is. */
static struct grpc_stream *next_of(struct grpc_streams *pool, struct grpc_stream *stream) {
    pthread_mutex_lock(&pool->mutex);
    struct grpc_stream *next = stream != NULL ? stream->next : pool->all;
    pthread_mutex_unlock(&pool->mutex);
    return next;
}

static struct grpc_stream *take_work(struct grpc_streams *pool) {
    pthread_mutex_lock(&pool->mutex);
    struct grpc_stream *work = pool->work;
    if (work != NULL) {
        pool->work = work->next_work;
        work->listed = false;
    }
    pthread_mutex_unlock(&pool->mutex);
    return work;
}

static int64_t turn(void *context) {
    struct grpc_streams *pool = context;
    int64_t now_ns = loop_now_ns(pool->options.loop);
    for (struct grpc_stream *stream; (stream = take_work(pool)) != NULL;) serve(stream);
    if (now_ns < pool->next_tick_ns) return pool->next_tick_ns;
    pool->next_tick_ns = now_ns + TICK_NS;
    for (struct grpc_stream *stream = next_of(pool, NULL), *next; stream != NULL; stream = next) {
        next = next_of(pool, stream);
        pthread_mutex_lock(&stream->mutex);
        bool closed = stream->closed;
        pthread_mutex_unlock(&stream->mutex);
        if (!closed) serve(stream); /* a closed one is in the list of work, and goes from there */
    }
    return pool->next_tick_ns;
}

/* ---- what users call ----------------------------------------------------------------------------------------------- */

static enum status take_tls(struct grpc_streams *pool, const struct rpc_tls *tls, struct error *err) {
    if (tls->server_name != NULL) {
        pool->server_name = strdup(tls->server_name);
        if (pool->server_name == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    return tls_client_create(tls->ca_file, tls->certificate_file, tls->key_file, &pool->tls, err);
}

enum status grpc_streams_create(const struct grpc_streams_options *options, struct grpc_streams **out,
                                struct error *err) {
    struct grpc_streams *pool = calloc(1, sizeof *pool);
    if (pool == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    pool->options = *options;
    pool->options.tls = (struct rpc_tls){0};
    enum status status = options->use_tls ? take_tls(pool, &options->tls, err) : STATUS_OK;
    if (status != STATUS_OK) {
        free(pool->server_name);
        free(pool);
        return status;
    }
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->emptied, NULL);
    pool->member = (struct loop_member){.context = pool, .pending = is_pending, .turn = turn};
    loop_join(options->loop, &pool->member);
    *out = pool;
    return STATUS_OK;
}

void grpc_streams_destroy(struct grpc_streams *pool) {
    if (pool == NULL) return;
    pthread_mutex_lock(&pool->mutex);
    while (pool->all != NULL) pthread_cond_wait(&pool->emptied, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
    loop_leave(pool->options.loop, &pool->member);
    tls_client_free(pool->tls);
    free(pool->server_name);
    pthread_cond_destroy(&pool->emptied);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

/** "host:port", "[v6]:port" or "unix:/path" into its parts. */
static bool take_target(struct grpc_stream *stream, const char *target) {
    const char *colon = strrchr(target, ':');
    bool local = strncmp(target, "unix:", 5) == 0;
    if (!local && (colon == NULL || colon == target || colon[1] == 0)) return false;
    if (local && (target[5] == 0 || strlen(target + 5) >= sizeof((struct sockaddr_un *)0)->sun_path)) return false;
    bool bracketed = !local && target[0] == '[' && colon[-1] == ']';
    stream->target = strdup(target);
    stream->port = strdup(local ? target + 5 : colon + 1);
    if (!local) stream->host = strndup(target + bracketed, (size_t)(colon - target) - 2 * (size_t)bracketed);
    return stream->target != NULL && stream->port != NULL && (local || stream->host != NULL);
}

enum status grpc_stream_create(struct grpc_streams *pool, const char *target, const char *path,
                               const struct grpc_stream_callbacks *callbacks, void *context, struct grpc_stream **out,
                               struct error *err) {
    struct grpc_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    stream->source.on_event = on_event;
    stream->pool = pool;
    stream->callbacks = callbacks;
    stream->context = context;
    stream->fd = -1;
    atomic_init(&stream->references, 1);
    pthread_mutex_init(&stream->mutex, NULL);
    bytes_init(&stream->in, SIZE_MAX);  /* the flow-control window, and a message */
    bytes_init(&stream->out, SIZE_MAX); /* waiting_bytes_max, and what is sent of it */
    bytes_init(&stream->wire, SIZE_MAX);
    stream->path = strdup(path);
    if (stream->path == NULL || !take_target(stream, target)) {
        unref(stream);
        return error_set(err, STATUS_INVALID_ARGUMENT, "%.100s is no address", target);
    }
    *out = stream; /* before the loop finds it: callbacks may use it */
    pthread_mutex_lock(&pool->mutex);
    stream->next = pool->all;
    if (stream->next != NULL) stream->next->previous = stream;
    pool->all = stream;
    pthread_mutex_unlock(&pool->mutex);
    want_turn(stream);
    return STATUS_OK;
}

void grpc_stream_close(struct grpc_stream *stream) {
    pthread_mutex_lock(&stream->mutex);
    stream->closed = true;
    want_turn(stream);
    pthread_mutex_unlock(&stream->mutex);
}

bool grpc_stream_ready(struct grpc_stream *stream) {
    pthread_mutex_lock(&stream->mutex);
    bool ready = stream->state == STREAM_READY && !stream->broken;
    pthread_mutex_unlock(&stream->mutex);
    return ready;
}

static enum status append_message_locked(struct grpc_stream *stream, struct bytes_view message) {
    struct bytes *out = &stream->out;
    const uint8_t prefix[PREFIX_BYTES] = {0, (uint8_t)(message.length >> 24), (uint8_t)(message.length >> 16),
                                          (uint8_t)(message.length >> 8), (uint8_t)message.length};
    size_t waiting = out->length - stream->out_taken, room = stream->pool->options.waiting_bytes_max;
    if (waiting > room || message.length > room - waiting || PREFIX_BYTES > room - waiting - message.length)
        return STATUS_RESOURCE_EXHAUSTED;
    bytes_drop_taken(out, &stream->out_taken);
    if (bytes_reserve(out, PREFIX_BYTES + message.length) != STATUS_OK) {
        out->failed = false; /* what waits stands */
        return STATUS_RESOURCE_EXHAUSTED;
    }
    (void)bytes_append(out, prefix, PREFIX_BYTES);
    (void)bytes_append(out, message.data, message.length);
    return STATUS_OK;
}

static enum status write_locked(struct grpc_stream *stream, struct bytes_view message) {
    bool on_loop = loop_is_current(stream->pool->options.loop);
    if (stream->closed || stream->ended || (stream->finishing && !on_loop)) return STATUS_CANCELLED;
    if (!stream->calling && stream->state != STREAM_READY && stream->failed) return STATUS_UNAVAILABLE;
    TRY(append_message_locked(stream, message));
    stream->calling = true;
    if (!on_loop) {
        grpc_stream_push_locked(stream);
        grpc_stream_flush_locked(stream);
        if (stream->broken || stream->state != STREAM_READY) want_turn(stream);
    } else {
        want_turn(stream);
    }
    return STATUS_OK;
}

enum status grpc_stream_write(struct grpc_stream *stream, struct bytes_view message) {
    pthread_mutex_lock(&stream->mutex);
    enum status status = write_locked(stream, message);
    pthread_mutex_unlock(&stream->mutex);
    return status;
}

size_t grpc_stream_waiting_bytes(struct grpc_stream *stream) {
    pthread_mutex_lock(&stream->mutex);
    size_t waiting = stream->out.length - stream->out_taken + stream->wire.length - stream->wire_taken;
    pthread_mutex_unlock(&stream->mutex);
    return waiting;
}

void grpc_stream_cancel(struct grpc_stream *stream) {
    pthread_mutex_lock(&stream->mutex);
    if (stream->calling && loop_is_current(stream->pool->options.loop)) stream->dropped = true;
    grpc_stream_end_locked(stream, STATUS_CANCELLED, "cancelled");
    want_turn(stream);
    pthread_mutex_unlock(&stream->mutex);
}
