/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Inside store/redis.h. Whoever submits a command writes it to the socket himself; one thread per client runs the event loop, which connects, takes
 * replies and looks for what is late; or a loop that is shared does (redis_options.loop), which looks at the socket itself and lets libevent, which
 * connects and keeps time, have a turn now and then:
 *
 *     any thread: redis_submit ──(mutex)──> waiting list, socket            loop: reply, time-out or end of the connection ──> callback
 *
 * Files: redis.c (client, thread, time-outs), redis_pipe.c (commands out, replies in), redis_command.c (arguments to bytes, scripts, blocking calls),
 * redis_reply.c, redis_subscribe.c, redis_connection.c (connect and renew).
 */
#ifndef STORE_REDIS_INTERNAL_H
#define STORE_REDIS_INTERNAL_H

#include "base/loop.h"
#include "store/redis.h"
#include "store/redis_connection.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

/** A command from submission to its callback; if it timed out, until its place in the order of replies has come. */
struct redis_command {
    TAILQ_ENTRY(redis_command) link;
    struct redis_client *client;
    redis_fn *fn;
    void *context;
    int64_t deadline_ns, sent_ns;
    bool timed_out;                      /* fn was called; the reply will be thrown away */
    const struct redis_script *script;   /* not NULL: an EVALSHA that may still become an EVAL */
    size_t script_tail;                  /* where the bytes behind the sha begin */
    const struct redis_library *library; /* not NULL: an FCALL that may be sent again behind its library */
    int argument_count;
    size_t wire_length;
    char *wire; /* as sent: the RESP array of bulk strings */
};
TAILQ_HEAD(redis_commands, redis_command);

struct redis_subscription {
    struct redis_subscription *next;
    char *channel;
    void (*on_message)(void *context, struct bytes_view message);
    void (*on_state)(void *context, bool subscribed);
    void *context;
    bool subscribed;
};

/** The socket of a connection that is up. */
struct redis_pipe {
    int fd;                    /* -1: closed. Under the client's mutex, like `unsent` */
    struct bytes unsent;       /* what the kernel did not take yet, or what is gathered in a turn of a shared loop */
    bool blocked;              /* on a shared loop: the kernel took no more; likewise */
    struct loop_source source; /* on a shared loop */
    struct event *read_event, *room_event; /* in a thread of its own */
    redisReader *reader;
};

struct redis_client {
    struct redis_target target;
    void (*on_connection)(void *context, bool connected);
    void *context;
    pthread_t thread;

    /* any thread, under the mutex */
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* connected changed */
    struct redis_pipe pipe;
    struct redis_commands waiting; /* sent and not answered, in the order of their replies */
    struct redis_subscription *new_subscriptions;
    bool stopping;
    char reason[REDIS_REASON_BYTES];
    atomic_bool connected;
    atomic_int command_count; /* from submission to callback */
    int wake_fd;

    /* the loop's */
    struct event_base *base;
    struct event *wake_event, *timeout_timer;
    struct loop *loop; /* NULL: `thread` is there */
    struct loop_member member;
    int64_t pumped_ns;
    bool begun, ended; /* `ended`: under the mutex */
    struct redis_connection connection;
    int64_t last_reply_ns;
    enum status load_status; /* why a function is not there behind the last load of a library */

    struct redis_connection subscriber; /* started with the first subscription */
    struct redis_subscription *subscriptions;
    struct event *probe_timer;
    int64_t subscriber_heard_ns, probe_sent_ns;
};

/* redis_pipe.c */
/** On the loop's thread, of a connection that has just come up. False when memory is out. */
bool redis_pipe_open(struct redis_client *client);
/** Idempotent; on the loop's thread, before the connection's socket is closed. */
void redis_pipe_close(struct redis_client *client);
/** Written, or kept until there is room. UNAVAILABLE: closed; RESOURCE_EXHAUSTED: too much waits. The mutex is held. */
enum status redis_pipe_send_locked(struct redis_client *client, const struct redis_command *command);
/** On a shared loop: whatever has come. */
void redis_pipe_read(struct redis_client *client);
/** On a shared loop: what was gathered. */
void redis_pipe_flush(struct redis_client *client);
/** On the loop's thread, when it was woken. */
void redis_pipe_wait_for_room(struct redis_client *client);
/** The next command's reply has come. False when none waits. On the loop's thread. */
bool redis_take_reply(struct redis_client *client, const redisReply *raw);

/** Takes the command. */
void redis_submit(struct redis_client *client, struct redis_command *command);
/** An empty command with its RESP bytes; NULL when memory is out. */
struct redis_command *redis_command_create(const struct bytes_view *arguments, size_t count, redis_fn *fn,
                                           void *context);
void redis_command_free(struct redis_command *command);
/** Turn a script's EVALSHA into EVAL. False when memory is out. */
bool redis_command_use_source(struct redis_command *command);
/** The command that loads a library; NULL when memory is out. */
struct redis_command *redis_command_load(const struct redis_library *library, redis_fn *fn, void *context);

/** hiredis' reply as ours. Strings are lent; `*out_block` holds an array's items and is freed by the caller. False when memory is out. */
bool redis_reply_convert(const redisReply *raw, struct redis_reply *out, struct redis_reply **out_block);
struct redis_reply *redis_reply_copy(const struct redis_reply *reply);

/** On the loop's thread. */
void redis_subscriptions_adopt(struct redis_client *client, struct redis_subscription *list);
void redis_subscriptions_deinit(struct redis_client *client);

#endif
