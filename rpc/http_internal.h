/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Inside the HTTP server: threads, objects, and who may touch what.
 *
 *     MHD's thread      epoll loop of libmicrohttpd: accepts, reads, writes, calls us back; runs on_request, on_writable, on_closed
 *     watcher thread    hang-ups, heartbeats, slow requests, lingering closes
 *     any other thread  respond, start, write, end, abort
 *
 * An exchange (one request and its answer):
 *
 *     RECEIVING --refused--> (answered by us; the user never hears of it) ---------------------+
 *        | body whole: on_request                                                              |
 *     WAITING --respond--> ANSWERED ----------------------- MHD sends it ----------------------+--> closed: on_closed, once
 *        |   \--start----> STREAMING <-- reader copies pending bytes; suspends when none --+   |
 *        |                    |  write, end, abort, gone: resume ----------------------------+ |
 *        +------ gone (client hung up), aborted: MHD is told to drop the connection -----------+
 *
 * `suspended` is true between MHD_suspend_connection (only MHD's thread, from a callback, holding the exchange's mutex) and
 * MHD_resume_connection (any thread, holding it): so each suspension is resumed exactly once, and never before it happened.
 * `closed` is set under the mutex when MHD ends the request; after that nobody uses `mhd`.
 *
 * A connection's object lives until the watcher thread frees it: MHD's thread retires it (after taking it out of the watcher's epoll),
 * and the watcher frees retired ones between two epoll_wait calls, when no event can point to them any more.
 *
 * Lock order: server, then exchange, then MHD's own. No lock is held while the user's callbacks run.
 */
#ifndef RPC_HTTP_INTERNAL_H
#define RPC_HTTP_INTERNAL_H

#include "base/arena.h"
#include "rpc/http_framing.h"
#include "rpc/http_server.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

enum http_phase { HTTP_RECEIVING, HTTP_WAITING, HTTP_ANSWERED, HTTP_STREAMING };

/** What an event of the watcher's epoll points to: the first member of one of two things. */
struct http_watched {
    bool is_linger; /* struct http_linger, else struct http_connection */
};

/** Who the connections of one address belong to; of IPv6 the first 64 bits. MHD's thread only. */
struct http_peer {
    struct http_peer *next; /* in its bucket */
    uint8_t address[16];    /* IPv4 as ::ffff:a.b.c.d */
    int connections;
    int64_t body_bytes; /* in the bodies of its exchanges that MHD still knows */
};
enum { HTTP_PEER_BUCKETS = 1024 };

struct http_connection {
    struct http_watched watched;
    struct http_server *server;
    struct http_peer *from;
    int fd;
    char peer[INET6_ADDRSTRLEN];
    _Atomic int64_t received_bytes; /* body bytes of the running request */
    atomic_bool headers_whole;      /* of the running request */
    /* below: the server's mutex */
    struct http_connection *next, *previous; /* of the server's list; `next` also of the retired ones */
    struct http_exchange *exchange;          /* running now */
    int64_t since_ns;                        /* accepted, or last request ended, or running request begun */
    bool served;                             /* a request line has come */
    bool hung_up;                            /* the client sends no more */
    bool linger;                             /* MHD's thread: unread bytes may come, drain after the close */
};

/** A socket that MHD has closed on its side, kept until the client has read our last words. */
struct http_linger {
    struct http_watched watched;
    int fd;
    int64_t until_ns;
    bool finished; /* the watcher's own, as the next */
    int64_t drained_bytes;
    struct http_linger *next;
};

struct http_server {
    struct http_server_options options; /* strings are copied */
    struct MHD_Daemon *daemon;
    int listen_fd, port;
    char *certificate, *key, *trust; /* PEM texts, NULL without TLS */

    pthread_mutex_t mutex;
    pthread_cond_t drained; /* an exchange ended while stopping */
    struct http_connection *connections;
    struct http_connection *retired;
    int64_t running; /* exchanges attached to a connection */
    int64_t live;    /* those that reached on_request */
    bool killing;    /* the grace is over */
    struct http_linger *lingering;
    int lingering_count;
    atomic_bool stopping;
    _Atomic int64_t bodies_bytes; /* in the bodies of exchanges that MHD still knows */
    struct http_peer *peers[HTTP_PEER_BUCKETS];

    pthread_t watcher;
    int watch_fd, wake_fd; /* epoll and eventfd */
    bool watcher_started;
    atomic_bool watcher_stop;
};

struct http_exchange {
    atomic_int references;
    struct http_server *server; /* valid until closed */
    struct http_connection *connection;
    /* the request; written by MHD's thread before on_request, constant after */
    struct arena arena;
    const char *method, *path;
    struct http_field *headers, *queries;
    struct bytes body;
    int64_t announced_bytes; /* by the headers; -1: chunked */
    int64_t body_bytes,
        discarded_bytes; /* counted in the server's and the peer's sum; of a body that is over a limit */
    /* MHD's thread only */
    bool target_malformed, started, headers_asked, body_too_large, bodies_too_large, requested;
    char peer[INET6_ADDRSTRLEN];

    pthread_mutex_t mutex;
    void *state;
    struct MHD_Connection *mhd;
    enum http_phase phase;
    bool suspended, gone, aborted, ended, closed;
    bool headers_decided; /* the answer to on_headers' "later" is there: */
    int headers_status;
    const char *headers_reason;
    bool events;     /* text/event-stream: may get heartbeats */
    bool above_mark; /* pending passed the watermark: on_writable is owed */
    struct http_field *answer_headers;
    struct MHD_Response *response; /* until it is queued */
    int status;
    struct bytes pending;
    size_t pending_taken; /* bytes at its front that are sent already */
    size_t large_bytes;   /* of messages above a watermark, since nothing waited */
    int64_t last_write_ns;
};

/* http_exchange.c */
struct http_exchange *http_exchange_create(struct http_server *server, struct http_connection *connection,
                                           struct MHD_Connection *mhd);
/** MHD's thread: the user said "later" to the headers. True when the decision is there, or the client has gone (then `gone` is set); else
 *  the connection sleeps until one of them. */
bool http_exchange_headers_settled(struct http_exchange *exchange);
/** Forget the body, which is over a limit. MHD's thread. */
void http_exchange_drop_body(struct http_exchange *exchange);
/** MHD's thread: the request is over. Calls on_closed if on_request had been called, and drops MHD's reference. */
void http_exchange_finish(struct http_exchange *exchange, bool completed);
/** MHD's thread, request whole: queue the answer, or suspend until there is one. */
enum MHD_Result http_exchange_proceed(struct http_exchange *exchange);
/** The client hung up, or the server is being killed. True when MHD is blocked on writing, so that only a shutdown of the socket wakes it. */
bool http_exchange_hang_up(struct http_exchange *exchange);
bool http_exchange_receiving(struct http_exchange *exchange); /* not yet handed to the user */
/** Queue a comment line when nothing was sent for `silence_ns`. */
void http_exchange_heartbeat(struct http_exchange *exchange, int64_t now_ns, int64_t silence_ns);

/* http_peer.c: MHD's thread only */
/** NULL when nobody of this address is connected. */
struct http_peer *http_peer_find(struct http_server *server, const struct sockaddr *address);
/** Count one more connection. NULL when memory is out. */
struct http_peer *http_peer_join(struct http_server *server, const struct sockaddr *address);
void http_peer_leave(struct http_server *server, struct http_peer *peer); /* NULL is nothing */

/* http_watch.c */
enum status http_watch_start(struct http_server *server, struct error *err);
void http_watch_stop(struct http_server *server);
void http_watch_wake(struct http_server *server);
void http_watch_add(struct http_server *server, struct http_connection *connection);
/** MHD's thread, before MHD closes the socket. The watcher frees the connection. */
void http_watch_retire(struct http_server *server, struct http_connection *connection);

/* http_tls.c */
enum status http_tls_load(struct http_server *server, struct error *err);
void http_tls_unload(struct http_server *server);
/** A new connection: require a client certificate when a CA is set. */
void http_tls_prepare(const struct http_server *server, struct MHD_Connection *mhd);

#endif
