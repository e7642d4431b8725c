/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Inside rpc/grpc_stream.h: grpc_stream.c connects and keeps time, grpc_stream_http2.c speaks.
 *
 *     WAITING ─> RESOLVING ─> CONNECTING ─> GREETING ─(the server's SETTINGS)─> READY          any of them ─lost─> WAITING
 *
 * A connection's mutex guards everything of it but what is the loop's alone. Sockets are opened and closed by the loop's thread alone: whoever else finds one broken
 * says so. Lock order: connection, then pool.
 */
#ifndef RPC_GRPC_STREAM_INTERNAL_H
#define RPC_GRPC_STREAM_INTERNAL_H

#include "base/loop.h"
#include "rpc/grpc_stream.h"
#include "rpc/tls.h"

#include <nghttp2/nghttp2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>

enum { GRPC_STREAM_REASON_BYTES = 256 };
#define GRPC_STREAM_WATCHED (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

struct grpc_streams {
    struct grpc_streams_options options;
    struct loop_member member;
    struct tls_client *tls; /* NULL: plain */
    char *server_name;      /* that its certificate must have; NULL: the target's host */
    pthread_mutex_t mutex;  /* guards what follows */
    pthread_cond_t emptied;
    struct grpc_stream *all, *work; /* `work`: those that want a turn */
    /* The loop's alone. */
    int64_t next_tick_ns;
    uint8_t block[64 * 1024]; /* what recv fills */
};

enum grpc_stream_state { STREAM_WAITING, STREAM_RESOLVING, STREAM_CONNECTING, STREAM_GREETING, STREAM_READY };

struct grpc_stream {
    struct loop_source source; /* first */
    struct grpc_streams *pool;
    struct grpc_stream *previous, *next, *next_work; /* the pool's mutex, and so is: */
    bool listed;                                     /* among those that want a turn */
    atomic_int references;                           /* the pool's and the resolver's */
    char *target, *host, *port, *path;               /* host NULL: a Unix socket, whose path is `port` */
    const struct grpc_stream_callbacks *callbacks;
    void *context;
    /* The loop's alone. */
    struct bytes in; /* received, and not yet a whole message */
    bool dropped;    /* the call was cancelled from here: what still comes of it is nobody's */

    pthread_mutex_t mutex; /* guards what follows */
    enum grpc_stream_state state;
    bool closed;
    bool failed; /* the last attempt to connect */
    bool lost;   /* on_lost is owed */
    bool broken; /* the connection is over; `reason` says why */
    char reason[GRPC_STREAM_REASON_BYTES];
    int64_t retry_ns, backoff_ns, give_up_ns, stands_ns, heard_ns,
        pinged_ns;                        /* stands_ns: since when it is READY; pinged_ns 0: no ping is under way */
    struct addrinfo *addresses, *address; /* all, and the next one to try */
    bool resolved;
    int fd;
    bool blocked; /* the socket took no more */
    struct tls_session *tls;
    nghttp2_session *session;
    bool retiring;     /* the server takes no more calls on this connection */
    struct bytes wire; /* frames, of which wire_taken bytes are sent */
    size_t wire_taken;
    /* The call. */
    bool calling; /* there is one, or will be when there is a connection */
    bool ended;   /* on_finished is owed */
    bool
        finishing; /* it runs: another thread's message is not yet of the next call, whose user may still count it to this one */
    bool deferred;    /* HTTP/2 waits for more to send */
    int32_t number;   /* of its HTTP/2 stream; 0: not begun */
    struct bytes out; /* framed messages, of which out_taken bytes are in frames */
    size_t out_taken;
    int http_status, grpc_status; /* -1: not said */
    enum status status;           /* ended: how */
    char message[GRPC_STREAM_REASON_BYTES];
};

/* grpc_stream_http2.c; the mutex is held */
/** The socket is there: say hello. False without memory. */
bool grpc_stream_greet_locked(struct grpc_stream *stream);
/** Begin the call, if there is one that waits, or go on sending. */
void grpc_stream_push_locked(struct grpc_stream *stream);
/** Whatever HTTP/2 has to send, as far as the socket takes it. */
void grpc_stream_flush_locked(struct grpc_stream *stream);
/** Read what there is; on the loop's thread. `to_end`: the same event told that the connection is over, behind the bytes. */
void grpc_stream_read_locked(struct grpc_stream *stream, bool to_end);
void grpc_stream_ping_locked(struct grpc_stream *stream);
/** The call ends so, unless it has ended already; the server is told. */
void grpc_stream_end_locked(struct grpc_stream *stream, enum status status, const char *message);
/** Nothing goes over this connection any more. */
void grpc_stream_break_locked(struct grpc_stream *stream, const char *reason);

/* grpc_stream_http2.c; no lock is held, on the loop's thread */
void grpc_stream_deliver(struct grpc_stream *stream);

#endif
