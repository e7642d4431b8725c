/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Inside the HTTP server: threads, objects, and who may touch what.
 *
 *     the server's thread   a loop (base/loop.h), its own or one that it shares: accepts, reads, writes what would not go at once, keeps time; runs on_headers, on_request,
 *                           on_writable, on_closed. Connections are its alone
 *     the handshakes'       with TLS: a connection's until hands are shaken, step by step; between two steps it is the loop's
 *     any other thread      respond, start, write, end, abort: sends at once, if nothing waits and the socket takes it; tells the loop only
 *                           when there is something for it to do
 *
 * An exchange (one request and its answer):
 *
 *     RECEIVING --refused--> (answered by us; the user never hears of it) -----------------+
 *        | body whole: on_request                                                          |
 *     WAITING --respond--> ANSWERED ------------------------- sent -----------------------+--> closed: on_closed, once
 *        |   \--start----> STREAMING -- write* -- end -- sent ----------------------------+
 *        +------ gone (client hung up), aborted: the connection is closed ----------------+
 *
 * `closed` is set by the loop under the exchange's mutex; until then whoever holds that mutex may use the connection's socket.
 *
 * Every connection is in the loop's epoll once, edge-triggered, for everything: no system call of its own for a request. What other threads have for the
 * loop stands in the ready list; the loop is woken only when it sleeps.
 *
 * Lock order: exchange, then server. No lock is held while the user's callbacks run.
 */
#ifndef RPC_HTTP_INTERNAL_H
#define RPC_HTTP_INTERNAL_H

#include "base/loop.h"
#include "rpc/http_parse.h"
#include "rpc/http_server.h"
#include "rpc/tls.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

struct http_tls;        /* certificate and trust */
struct http_handshakes; /* the thread that shakes hands, and who waits for it */

/** Who the connections of one address belong to; of IPv6 the first 64 bits. The loop's alone. */
struct http_peer {
    struct http_peer *next; /* in its bucket */
    uint8_t address[16];    /* IPv4 as ::ffff:a.b.c.d */
    int connections;
    int64_t body_bytes; /* in the bodies of its exchanges that are not closed */
};
enum { HTTP_PEER_BUCKETS = 1024 };

enum http_reading {
    HTTP_READ_HEAD,
    HTTP_READ_DECISION, /* on_headers asked for time */
    HTTP_READ_BODY,
    HTTP_READ_CHUNKS,
    HTTP_READ_PAUSED, /* until the answer has gone */
    HTTP_READ_LINGER, /* our last word was said: what still comes is read and forgotten, lest a reset overtakes it */
};

enum http_shake { HTTP_SHAKE_NOT_BEGUN, HTTP_SHAKE_MORE, HTTP_SHAKE_DONE, HTTP_SHAKE_FAILED };

/** The loop's alone, but for `fd` (see above), and for what the handshakes' thread uses of it while it has it. */
struct http_connection {
    struct loop_source source; /* first */
    struct http_server *server;
    struct http_connection *next, *previous; /* of the server's list; `next` also of those to be freed */
    struct http_peer *from;
    int fd;
    enum http_reading reading;
    bool readable;      /* there may be more to read than was read */
    bool hung_up;       /* the client sends no more */
    bool broken;        /* nothing can be sent either */
    bool served;        /* a request has begun */
    bool closes;        /* after the running answer */
    bool refused;       /* the running answer is a refusal: unread bytes may come behind it */
    bool dead;          /* closed; freed behind the events that may still point to it */
    struct bytes input; /* received and not yet used */
    size_t head_seen;   /* of it, without the head's end */
    int heads;          /* that were taken in this turn */
    int64_t body_left;  /* HTTP_READ_BODY */
    struct http_chunks chunks;
    int64_t since_ns;      /* accepted, or last request ended, or running request begun; lingers */
    int64_t counted_bytes; /* of the running body, or drained */
    struct http_exchange *exchange;
    struct tls_session *tls; /* NULL: plain */
    bool shaking;            /* the handshakes' thread has it: nothing of it is to be used, and it stays */
    bool stirred;            /* since then there was an event */
    atomic_bool unwanted;    /* to be closed when it comes back */
    enum http_shake shake;   /* how far the handshake is, */
    enum http_shake outcome; /* and how far the thread has brought it: that one's, until it comes back */
    struct http_connection *next_shaking;
    char peer[INET6_ADDRSTRLEN];
};

struct http_server {
    struct http_server_options options; /* strings are copied */
    int listen_fd, port;
    struct http_tls *tls; /* NULL: plain, as is: */
    struct http_handshakes *handshakes;
    struct loop *loop, *own_loop; /* own_loop: NULL, or what no other shares */
    struct loop_member member;
    struct loop_source listen_source;
    bool started;
    atomic_bool retiring, stopping, killing;
    atomic_int connection_count;
    _Atomic int64_t bodies_bytes; /* in the bodies of exchanges that are not closed */

    pthread_mutex_t mutex;  /* guards what follows */
    pthread_cond_t drained; /* an exchange ended while stopping, or the last connection */
    bool over;              /* no connection is left, and none comes */
    int64_t running;        /* exchanges that are not closed */
    int64_t live;           /* those that reached on_request */
    struct http_exchange *ready, **ready_tail;

    /* The loop's alone. */
    struct http_connection *connections, *dead;
    int lingering_count;
    bool accepting;         /* the listening socket is in the loop */
    int connections_before; /* in the turn before */
    int64_t next_tick_ns, tick_ns;
    struct http_peer *peers[HTTP_PEER_BUCKETS];
    uint8_t block[64 * 1024]; /* what recv fills */
};

enum http_phase { HTTP_RECEIVING, HTTP_WAITING, HTTP_ANSWERED, HTTP_STREAMING };

struct http_exchange {
    atomic_int references;
    struct http_server *server; /* valid until closed, as the connection */
    struct http_connection *connection;
    /* the request; written by the loop before on_request, constant after */
    struct http_head head;
    struct bytes body;
    int64_t announced_bytes; /* by the headers; -1: chunked */
    bool keeps_alive;        /* as far as the request is concerned */
    bool requested;          /* on_request was called; the loop's */
    char peer[INET6_ADDRSTRLEN];

    pthread_mutex_t mutex; /* guards what follows */
    void *state;
    enum http_phase phase;
    bool gone, aborted, ended, closed;
    bool headers_decided; /* the answer to on_headers' "later" is there: */
    int headers_status;
    const char *headers_reason;
    bool listed;     /* in the server's ready list, which has a reference */
    bool events;     /* text/event-stream: may get heartbeats */
    bool chunked;    /* the answer's body */
    bool bodiless;   /* it has none: HEAD, 204, 304 */
    bool blocked;    /* the socket took no more; the loop goes on when it does */
    bool above_mark; /* pending passed the watermark: on_writable is owed */
    bool says_close; /* the handler wants the connection to end */
    struct bytes answer_headers;
    struct bytes pending;
    size_t pending_taken; /* bytes at its front that are sent already */
    size_t large_bytes;   /* of messages above a watermark, since nothing waited */
    int64_t last_write_ns, last_sent_ns;
    struct http_exchange *next_ready;
};

/* http_exchange.c */
struct http_exchange *http_exchange_create(struct http_connection *connection);
/** Send what waits, as far as the socket takes it. The mutex is held. For TLS the loop alone. */
void http_exchange_send_locked(struct http_exchange *exchange);
/** Everything that will ever be sent was. The mutex is held. */
bool http_exchange_sent_locked(const struct http_exchange *exchange);
/** The answer that a refusal is. */
void http_exchange_refuse(struct http_exchange *exchange, int status, const char *reason);
/** Queue a comment line when nothing was sent for `silence_ns`. */
void http_exchange_heartbeat(struct http_exchange *exchange, int64_t now_ns, int64_t silence_ns);
/** The loop has the exchange before it: it is told of it no more than once. */
void http_exchange_list_locked(struct http_exchange *exchange);

/* http_connection.c: the loop's */
/** NULL without memory; the socket is then still the caller's. */
struct http_connection *http_connection_open(struct http_server *server, int fd, const struct sockaddr *address);
/** What another thread did to its exchange. */
void http_connection_ready(struct http_connection *connection);
void http_connection_tick(struct http_connection *connection, int64_t now_ns);
void http_connection_close(struct http_connection *connection);

/** It comes back from its handshake. */
void http_connection_shaken(struct http_connection *connection);

/* http_handshakes.c; NULL is nothing, but for push. `loop` outlives it */
enum status http_handshakes_start(struct loop *loop, struct http_handshakes **out, struct error *err);
/** When no connection is left. */
void http_handshakes_stop(struct http_handshakes *handshakes);
/** The loop's: it comes back by http_handshakes_take, in some turn. */
void http_handshakes_push(struct http_handshakes *handshakes, struct http_connection *connection);
void http_handshakes_take(struct http_handshakes *handshakes);
bool http_handshakes_pending(struct http_handshakes *handshakes); /* has one come back? */

/* http_peer.c: the loop's */
/** NULL when nobody of this address is connected. */
struct http_peer *http_peer_find(struct http_server *server, const struct sockaddr *address);
/** Count one more connection. NULL when memory is out. */
struct http_peer *http_peer_join(struct http_server *server, const struct sockaddr *address);
void http_peer_leave(struct http_server *server, struct http_peer *peer); /* NULL is nothing */

/* http_tls.c */
enum status http_tls_load(struct http_server *server, struct error *err);
void http_tls_unload(struct http_server *server);
struct tls_session *http_tls_open(const struct http_server *server, int fd);

#endif
