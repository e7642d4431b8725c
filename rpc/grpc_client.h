/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A gRPC client on the C core: channels that reconnect by themselves and asynchronous calls.
 *
 * Callbacks of a call run on the client's completion-queue thread, never two at a time for one call, and must not
 * block. `on_finished` comes exactly once and last. Reading is by credit: a message is asked for only when
 * rpc_client_call_read was called, so a slow consumer stops its producer.
 */
#ifndef RPC_GRPC_CLIENT_H
#define RPC_GRPC_CLIENT_H

#include "base/bytes.h"
#include "base/status.h"
#include "rpc/grpc_server.h"

struct rpc_client; /* the completion queues and their threads; one per process is enough */
struct rpc_channel;
struct rpc_client_call;

enum status rpc_client_create(int threads, struct rpc_client **out, struct error *err);
/** After every channel was closed and nobody starts calls any more. Returns when the last one has ended. Not from a callback. */
void rpc_client_destroy(struct rpc_client *client);

struct rpc_channel_options {
    const char *target; /* "127.0.0.1:7011", "unix:/path", "ipv4:a:1,b:2" */
    int64_t message_bytes_max;
    int64_t keepalive_ns, keepalive_timeout_ns; /* 0 = off */
    int64_t reconnect_min_ns, reconnect_max_ns; /* 0 = 100 ms and 2 s */
    struct rpc_tls tls;
    bool use_tls;
};
enum status rpc_channel_open(struct rpc_client *client, const struct rpc_channel_options *options,
                             struct rpc_channel **out, struct error *err);
/** Running calls end with CANCELLED; their callbacks still come. Nobody else may be using the channel. */
void rpc_channel_close(struct rpc_channel *channel);
/** Connected now. Also starts connecting when idle. */
bool rpc_channel_ready(struct rpc_channel *channel);
/** How often it was seen to change between connected, connecting and idle: who compares learns of a connection that was made anew between two looks. */
int64_t rpc_channel_changes(const struct rpc_channel *channel);

struct rpc_result {
    enum status status;
    const char *message;       /* never NULL; lent until on_finished returns */
    struct bytes_view details; /* grpc-status-details-bin */
    /* First value of a trailing metadata entry (lower-case key); NULL when absent. Lent until on_finished returns. */
    const char *(*trailer)(const struct rpc_result *result, const char *key);
    void *internal;
};

struct rpc_client_call_options {
    const char *path;
    int64_t deadline_ns;         /* monotonic (base/clock); INT64_MAX: none */
    const char *const *metadata; /* key, value, key, value, …, NULL; copied */
    const struct bytes_view *
        only_request; /* not NULL: send this (copied) and half-close, all with the call's start, for fewer system calls */
    bool wait_for_ready; /* wait for a connection instead of failing fast */
    void (*on_message)(struct rpc_client_call *call, void *context,
                       struct bytes_view message); /* lent until it returns */
    void (*on_written)(struct rpc_client_call *call,
                       void *context); /* may be NULL; nothing that was written waits any more */
    void (*on_finished)(struct rpc_client_call *call, void *context, const struct rpc_result *result);
    void *context;
};
/** The handle is valid until rpc_client_call_unref, which the starter calls once (any time; callbacks still come). */
enum status rpc_client_call_start(struct rpc_channel *channel, const struct rpc_client_call_options *options,
                                  struct rpc_client_call **out, struct error *err);
/** Queue one message (copied). Any thread. */
enum status rpc_client_call_write(struct rpc_client_call *call, struct bytes_view message);
void rpc_client_call_half_close(struct rpc_client_call *call);
/** Ask for one more message. Calls add up. Any thread. */
void rpc_client_call_read(struct rpc_client_call *call);
/** Any thread, idempotent. on_finished follows with STATUS_CANCELLED unless the call has already ended. */
void rpc_client_call_cancel(struct rpc_client_call *call);
void rpc_client_call_unref(struct rpc_client_call *call);

/** One request, one reply, blocking the caller (never a callback's thread). `out_reply` is appended to. On failure `err` holds the server's message. */
enum status rpc_client_unary(struct rpc_channel *channel, const char *path, const char *const *metadata,
                             struct bytes_view request, int64_t timeout_ns, struct bytes *out_reply, struct error *err);
/** The same without blocking: `on_done` once, on the client's thread. */
typedef void rpc_unary_fn(void *context, const struct rpc_result *result, struct bytes_view reply);
enum status rpc_client_unary_async(struct rpc_channel *channel, const char *path, const char *const *metadata,
                                   struct bytes_view request, int64_t timeout_ns, rpc_unary_fn *on_done, void *context,
                                   struct error *err);

#endif
