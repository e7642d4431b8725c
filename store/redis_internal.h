/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Inside store/redis.h. Whoever submits a command writes it to the socket himself; one thread per client runs the event loop, which connects, takes
 * replies and looks for what is late; or a loop that is shared does (redis_options.loop), which looks at the socket itself and lets libevent, which
 * connects and keeps time, have a turn now and then:
 *
 *     any thread: redis_submit ──(mutex)──> waiting list, socket            loop: reply, time-out or end of the connection ──> callback
 *
 * A client has one node, or, of a cluster, the first one, which is asked who has what, and one for each primary:
 *
 *     redis_submit ──> no cluster: the first node. Else whose slot it is (redis_cluster_send_locked) ──> that node
 *                                   ^                                                                     │ MOVED, ASK, TRYAGAIN
 *                                   └── held: sent again by the cluster's timer <─────────────────────────┘
 *
 * Files: redis.c (client, thread, time-outs), redis_pipe.c (commands out, replies in), redis_command.c (arguments to bytes, scripts, blocking calls),
 * redis_reply.c, redis_subscribe.c, redis_connection.c (connect and renew), redis_cluster.c (who has what, what has moved), redis_slot.c.
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
    int redirects;                       /* how often a server of a cluster has sent it elsewhere */
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

enum { REDIS_NODE_NAME_BYTES = 280 };

/** A server that commands are sent to. */
struct redis_node {
    TAILQ_ENTRY(redis_node) link; /* under the mutex; only the loop's thread changes the list */
    struct redis_client *client;
    struct redis_pipe pipe;
    struct redis_commands waiting; /* sent and not answered, in the order of their replies; under the mutex */
    struct redis_connection connection;
    int64_t last_reply_ns;
    enum status load_status; /* why a function is not there behind the last load of a library */

    /* of a cluster; the first node is none of these */
    struct redis_target target;
    char name[REDIS_NODE_NAME_BYTES]; /* "host:port", as servers of the cluster call it */
    bool tried;                       /* there was or will be no connection at the first attempt; under the mutex */
    bool is_primary;                  /* it has slots; likewise */
    int64_t used_ns;                  /* when it last had some, or was asked all the same */
    bool closed;                      /* to be freed */
};
TAILQ_HEAD(redis_nodes, redis_node);

struct redis_cluster;

struct redis_client {
    struct redis_target *seeds; /* the addresses that were given */
    size_t seed_count;
    int64_t timeout_ns;
    void (*on_connection)(void *context, bool connected);
    void *context;
    pthread_t thread;

    /* any thread, under the mutex */
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* `whole` changed */
    struct redis_node first;
    struct redis_nodes nodes;      /* `first` is the first one */
    struct redis_cluster *cluster; /* NULL: a server of its own, as far as is known */
    struct redis_subscription *new_subscriptions;
    bool stopping;
    bool whole; /* all nodes that are needed are connected */
    char reason[REDIS_REASON_BYTES];
    atomic_bool connected; /* any of them */
    atomic_bool in_cluster;
    atomic_llong generation;
    atomic_int command_count; /* from submission to callback */
    int wake_fd;

    /* the loop's */
    struct event_base *base;
    struct event *wake_event, *timeout_timer;
    struct loop *loop; /* NULL: `thread` is there */
    struct loop_member member;
    int64_t pumped_ns;
    size_t turn;       /* which address the first node has */
    bool begun, ended; /* `ended`: under the mutex */

    struct redis_connection subscriber; /* started with the first subscription */
    struct redis_subscription *subscriptions;
    struct event *probe_timer;
    int64_t subscriber_heard_ns, probe_sent_ns;
};

/* redis.c */
/** Nothing is connected yet. The node's memory is zero. */
enum status redis_node_init(struct redis_node *node, struct redis_client *client, const struct redis_target *target,
                            struct error *err);
/** Send it and let it wait for its reply. The mutex is held. */
enum status redis_send_locked(struct redis_node *node, struct redis_command *command);
/** The same of two that follow each other on the wire; `ahead` is a command of ours, whose answer matters to nobody. */
enum status redis_send_behind_locked(struct redis_node *node, struct redis_command *ahead,
                                     struct redis_command *command);
/** Answers and frees it: it cannot be sent, or there will soon be no client. */
void redis_fail(struct redis_command *command, bool closing, const char *reason);
/** Whoever waits or asks is told which nodes are connected. On the loop's thread. */
void redis_publish_state(struct redis_client *client, const char *reason);

/* redis_cluster.c */
/** The first node says that it is one of a cluster. On the loop's thread, like the others without "locked". False when memory is out. */
bool redis_cluster_open(struct redis_client *client);
/** Closes all nodes but the first. Nothing when there is no cluster. */
void redis_cluster_close(struct redis_client *client);
void redis_cluster_free(struct redis_client *client);
/** To the node that has its key's slot; or it is held. UNAVAILABLE: nobody who has it can be asked. The mutex is held. */
enum status redis_cluster_send_locked(struct redis_client *client, struct redis_command *command);
/** True: the error said where to ask, or to ask again; so it was not run, and is on its way again. */
bool redis_cluster_take_error(struct redis_node *node, struct redis_command *command, const redisReply *error);
/** A node's connection has come up, has ended, or an attempt has failed. */
void redis_cluster_node_changed(struct redis_node *node, bool is_up);
/** Which are there. The mutex is held. */
void redis_cluster_state_locked(const struct redis_client *client, bool *out_any, bool *out_whole);
bool redis_cluster_holds_locked(const struct redis_client *client);
/** Something was held by another thread. */
void redis_cluster_wake(struct redis_client *client);

/* redis_slot.c */
enum { REDIS_SLOTS = 16384 };
/** The part of a key that decides where it is: what is between its first { and the next }, if that is anything, else all of it. */
struct bytes_view redis_slot_tag(struct bytes_view key);
int redis_slot_of(struct bytes_view key);
/** The first key of a command on the wire (of those with channels, a channel). False: it has none. */
bool redis_slot_key(const char *wire, size_t length, struct bytes_view *out);

/* redis_pipe.c */
/** On the loop's thread, of a connection that has just come up. False when memory is out. */
bool redis_pipe_open(struct redis_node *node);
/** Idempotent; on the loop's thread, before the connection's socket is closed. */
void redis_pipe_close(struct redis_node *node);
/** Written, or kept until there is room. UNAVAILABLE: closed; RESOURCE_EXHAUSTED: too much waits. The mutex is held. */
enum status redis_pipe_send_locked(struct redis_node *node, const struct redis_command *command);
/** On a shared loop: whatever has come. */
void redis_pipe_read(struct redis_node *node);
/** On a shared loop: what was gathered. The mutex is held. */
void redis_pipe_flush_locked(struct redis_node *node);
/** On the loop's thread, when it was woken. */
void redis_pipe_wait_for_room(struct redis_node *node);
/** The next command's reply has come. False when none waits. On the loop's thread. */
bool redis_take_reply(struct redis_node *node, const redisReply *raw);

/** Takes the command. */
void redis_submit(struct redis_client *client, struct redis_command *command);
/** An empty command with its RESP bytes; NULL when memory is out. */
struct redis_command *redis_command_create(const struct bytes_view *arguments, size_t count, redis_fn *fn,
                                           void *context);
void redis_command_free(struct redis_command *command);
/** Turn a script's EVALSHA into EVAL. False when memory is out. */
bool redis_command_use_source(struct redis_command *command);
/** The command that loads a library; NULL when memory is out. */
struct redis_command *redis_command_load(const struct redis_library *library, bool in_cluster, redis_fn *fn,
                                         void *context);

/** hiredis' reply as ours. Strings are lent; `*out_block` holds an array's items and is freed by the caller. False when memory is out. */
bool redis_reply_convert(const redisReply *raw, struct redis_reply *out, struct redis_reply **out_block);
struct redis_reply *redis_reply_copy(const struct redis_reply *reply);

/** On the loop's thread. */
void redis_subscriptions_adopt(struct redis_client *client, struct redis_subscription *list);
void redis_subscriptions_deinit(struct redis_client *client);

#endif
