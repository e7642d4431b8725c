/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Redis through hiredis: one asynchronous connection per client, served by a thread of its own or by a loop (base/loop.h); to a Redis Cluster, one
 * for each primary ("A cluster", below).
 *
 * Commands may be sent from any thread; callbacks come on the client's thread and must not block. The client connects
 * and reconnects by itself (20 ms to 1 s), gives every command a deadline, and drops a connection that stopped answering. While there is no
 * connection, commands fail at once with STATUS_UNAVAILABLE: nothing is queued for later, nothing is sent twice.
 * Knows keys, not policy.
 *
 * A cluster. A server says by itself that it is one of a cluster; the client then learns who has which slots, and sends each command to the primary that has
 * its first key's. All keys of a command are in one slot (hash tags). What has moved is followed (MOVED, ASK); what is moving, or has nobody for the moment who
 * could be asked, is asked for again until its time is over, and then UNAVAILABLE. Commands without a key go to any one of the servers. Each primary answers in
 * the order in which it was asked, two of them in any.
 *     Of a slot that is just moving a script could find one half of its keys, and be stopped between two writes. So scripts and functions are called with one key
 * more, last, which never exists: Redis then runs none of them (TRYAGAIN) until the slot has moved. A script finds that key in KEYS, a function does not.
 */
#ifndef STORE_REDIS_H
#define STORE_REDIS_H

#include "base/bytes.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct redis_client;

struct redis_options {
    /* "127.0.0.1:6379" or "unix:/path/to.sock"; of a cluster any of its servers, or several with commas between them: the next is asked when one is away. */
    const char *address;
    const char *password; /* may be NULL */
    int database;
    int64_t timeout_ns; /* of one command; 0 = 500 ms */
    /* Whose thread is the client's, and which outlives it; commands sent on it go together at the end of its turn. NULL, or where `address` is a name,
     * which has to be looked up: a thread of its own. */
    struct loop *loop;
    /* May be NULL; on the client's thread, each change, also during destroy. Of a cluster: all primaries are there, or not all any more. */
    void (*on_connection)(void *context, bool connected);
    void *context;
};

/** Starts the thread, or joins the loop, and the first connection attempt; does not wait for it. `*out` is set before the first callback can come. */
enum status redis_client_create(const struct redis_options *options, struct redis_client **out, struct error *err);
/** Pending commands are called back with STATUS_CANCELLED first. Not on the client's thread. */
void redis_client_destroy(struct redis_client *client);
/** Of a cluster: any of its primaries is there. */
bool redis_client_connected(const struct redis_client *client);
/** It is known to be one of a cluster. What is in one slot on a single server need not be then. */
bool redis_client_in_cluster(const struct redis_client *client);
/** Another number whenever a server was connected anew, or another one has a slot: what it had answered may be lost since. */
int64_t redis_client_generation(const struct redis_client *client);
/** Why it is not connected, in the server's words or the system's ("Connection refused", "WRONGPASS ..."): no secret, at most `bytes` with the NUL.
 *  Of the last attempt; "" while it is connected, of a cluster with all primaries. Any thread. */
void redis_client_reason(struct redis_client *client, char *out, size_t bytes);
/** What was gathered on a loop goes into the socket now, as far as the kernel takes it, and not at the end of the turn. Any thread. */
void redis_client_flush(struct redis_client *client);
/** Wait until it is connected, of a cluster with all primaries; STATUS_UNAVAILABLE with the reason when it is not after `timeout_ns`. Not on the client's thread. */
enum status redis_client_wait(struct redis_client *client, int64_t timeout_ns, struct error *err);

enum redis_reply_type { REDIS_NIL, REDIS_INTEGER, REDIS_STRING, REDIS_STATUS_REPLY, REDIS_ARRAY, REDIS_ERROR };
/** A reply, lent until the callback returns. */
struct redis_reply {
    enum redis_reply_type type;
    int64_t integer;
    struct bytes_view string; /* also the text of STATUS and ERROR; NUL-terminated */
    size_t count;
    const struct redis_reply *items;
};

/**
 * `status` OK: `reply` is there and is not an error. Else `reply` is the ERROR reply or NULL, and `message` says what happened:
 *   UNAVAILABLE        no connection (or it broke: the command may or may not have run), or an error of Redis that will pass
 *   DEADLINE_EXCEEDED  no answer in time; it may or may not have run
 *   CANCELLED          the client is being destroyed
 *   INTERNAL           Redis refused the command (wrong type, wrong arguments, no permission, ...)
 */
typedef void redis_fn(void *context, enum status status, const struct redis_reply *reply, const char *message);

/** Arguments are copied. `fn` (may be NULL) is called exactly once, also on failure - then perhaps before this returns, on the caller's thread. */
void redis_command(struct redis_client *client, const struct bytes_view *arguments, size_t count, redis_fn *fn,
                   void *context);
/** printf-like for constants and simple values: words separated by blanks; inside a word %s is text (blanks in it do not split it), %lld an
 *  integer, %b a `const struct bytes_view *`. At most 64 words and 1 MiB. */
void redis_commandf(struct redis_client *client, redis_fn *fn, void *context, const char *format, ...);

/** Blocking forms, for threads that may wait: of jobs, at start-up, in tools and tests; never on the client's thread. `out` (may be NULL) is a deep copy, freed with redis_reply_free. */
enum status redis_call(struct redis_client *client, const struct bytes_view *arguments, size_t count,
                       struct redis_reply **out, struct error *err);
enum status redis_callf(struct redis_client *client, struct redis_reply **out, struct error *err, const char *format,
                        ...);
void redis_reply_free(struct redis_reply *reply);

/** A Lua script, sent as EVALSHA and, when the server does not know it (restart), as EVAL. Static lifetime expected. */
struct redis_script {
    const char *source;
    char sha1[41]; /* filled by redis_script_init */
};
void redis_script_init(struct redis_script *script, const char *source);
void redis_script_run(struct redis_client *client, const struct redis_script *script, const struct bytes_view *keys,
                      size_t key_count, const struct bytes_view *arguments, size_t argument_count, redis_fn *fn,
                      void *context);
enum status redis_script_call(struct redis_client *client, const struct redis_script *script,
                              const struct bytes_view *keys, size_t key_count, const struct bytes_view *arguments,
                              size_t argument_count, struct redis_reply **out, struct error *err);

/**
 * A library of Lua functions, which Redis 7 keeps with its data: what a script sets up at each call, a library has set up once. A function is called
 * by FCALL; when the server does not know it, the library is loaded first, on the same connection. Names should change with the source, so that
 * processes of two versions do not share functions. Static lifetime expected.
 */
struct redis_library {
    /* Begins with a line "#!lua name=..." and registers by redis.register_function. In a cluster the library's name and its functions' get "_cluster" behind
     * them. */
    const char *source;
};
void redis_function_run(struct redis_client *client, const struct redis_library *library, const char *function,
                        const struct bytes_view *keys, size_t key_count, const struct bytes_view *arguments,
                        size_t argument_count, redis_fn *fn, void *context);

/** Subscribe (a connection of its own, renewed by itself). `on_message` on the client's thread; `on_state` tells when messages may have been
 *  missed (false: lost, true: subscribed again). For the client's life. */
enum status redis_subscribe(struct redis_client *client, const char *channel,
                            void (*on_message)(void *context, struct bytes_view message),
                            void (*on_state)(void *context, bool subscribed), void *context, struct error *err);

#endif
