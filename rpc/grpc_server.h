/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A gRPC server on the C core: completion queues with a thread each, handlers by method, streams both ways.
 *
 * Every call is a `struct rpc_call`, reference-counted; handlers are called on a completion-queue thread and must not
 * block; answers may be written from any thread. One outstanding message per call is with gRPC; further ones wait in
 * the call, and `rpc_call_pending_bytes` says how many bytes wait: that is the back-pressure of slow readers.
 *
 *     start(call) ─ message(call, bytes)* ─ half_closed(call) ─┐          any thread:  rpc_call_write()*  rpc_call_finish()
 *                                                              └ cancelled(call) at any time: the client left, or the deadline passed
 *     finished(call): exactly once, last; nothing of the call is touched afterwards but by its remaining references
 *
 * For one call these callbacks never run at the same time, with one exception: `cancelled` may run while another does.
 * Also: grpc.health.v1, server reflection (v1 and v1alpha), deadlines, size limits, keepalive, TLS and mutual TLS.
 * Source: gRPC core 1.51 C API; pitfalls that shaped this are in docs/design/rpc.md.
 */
#ifndef RPC_GRPC_SERVER_H
#define RPC_GRPC_SERVER_H

#include "base/bytes.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct rpc_server;
struct rpc_call;
struct rpc_client; /* rpc/grpc_client.h */

/** TLS for a server or a client. All NULL: plain text. Paths to PEM files. */
struct rpc_tls {
    const char *certificate_file, *key_file;
    const char *
        ca_file; /* server: require and verify client certificates (mutual TLS); client: trust this instead of the system's roots */
    const char *server_name; /* client: expect this name instead of the address's host; may be NULL */
};

/** A method. One without `half_closed` takes exactly one message (unary, server streaming): `message` is called at most once, later
 *  messages are not read, and a client that sends none gets UNIMPLEMENTED. One with it takes any number. */
struct rpc_method {
    const char *path;                                    /* "/bora.v1.ChatService/CompleteChat" */
    void (*start)(struct rpc_call *call, void *service); /* may be NULL; metadata is there, no message yet */
    void (*message)(struct rpc_call *call, struct bytes_view message); /* lent until it returns */
    void (*half_closed)(struct rpc_call *call);                        /* may be NULL; the client sends no more */
    void (*writable)(
        struct rpc_call *call); /* may be NULL; pending bytes fell to half the mark set by rpc_call_set_watermark */
    void (*written)(
        struct rpc_call *
            call); /* may be NULL; nothing that was written waits any more. So a stream that is busy can gather what comes meanwhile */
    void (*cancelled)(struct rpc_call *call); /* may be NULL */
    void (*finished)(struct rpc_call *call);  /* may be NULL; free the call's state here */
    const void *data;                         /* the owner's: rpc_call_method_data */
};

struct rpc_server_options {
    const char *address; /* "127.0.0.1:7001", "[::]:7001" or "unix:/path"; port 0 picks a free one */
    int threads;         /* completion queues; 0: 1 on small machines, else min(4, cores/4) */
    struct rpc_client *
        client; /* not NULL: its queues and threads serve the server too, which is destroyed first. Whichever thread polls then
                                  has all sockets, and hands no event over to another */
    int64_t message_bytes_max; /* received; larger is RESOURCE_EXHAUSTED, compressed UNIMPLEMENTED */
    int64_t keepalive_ns;      /* ping idle connections; 0 = gRPC's default */
    int64_t keepalive_timeout_ns;
    struct rpc_tls tls;
    /* serialised FileDescriptorSet for reflection; borrowed for the server's life; may be empty */
    struct bytes_view descriptors;
};

/** Bind, listen and prepare; serves nothing until rpc_server_start. STATUS_UNAVAILABLE when the port is taken: the message says which. */
enum status rpc_server_create(const struct rpc_server_options *options, struct rpc_server **out, struct error *err);
/** Before start. `methods` (count) and `service` are borrowed. */
enum status rpc_server_add(struct rpc_server *server, const struct rpc_method *methods, size_t count, void *service,
                           struct error *err);
enum status rpc_server_start(struct rpc_server *server, struct error *err);
int rpc_server_port(const struct rpc_server *server);
/** Read the TLS files again: connections that come from now on are shown the new ones; open ones go on. Without TLS nothing. On failure
 *  (INVALID_ARGUMENT: a file) all stays as it is. Any thread. */
enum status rpc_server_reread_tls(struct rpc_server *server, struct error *err);
/** grpc.health.v1 state of a service name ("" = the whole server). Watchers are told. Any thread. */
void rpc_server_set_health(struct rpc_server *server, const char *service, bool serving);
/** Refuse new calls, let running ones end for `grace_ns`, then cancel them; returns when all have ended. */
void rpc_server_stop(struct rpc_server *server, int64_t grace_ns);
/** After stop. */
void rpc_server_destroy(struct rpc_server *server);
int64_t rpc_server_calls(const struct rpc_server *server); /* live now */

void rpc_call_ref(struct rpc_call *call);
void rpc_call_unref(struct rpc_call *call);
void rpc_call_set_state(struct rpc_call *call, void *state);
void *rpc_call_state(struct rpc_call *call);
void *rpc_call_service(struct rpc_call *call);
const void *rpc_call_method_data(struct rpc_call *call);
/** First value of a request metadata entry (lower-case key), NUL-terminated, lent for the call's life; NULL when absent. */
const char *rpc_call_metadata(struct rpc_call *call, const char *key);
/** Monotonic ns (base/clock), INT64_MAX when none. */
int64_t rpc_call_deadline_ns(struct rpc_call *call);
/** "ipv4:127.0.0.1:51234", "ipv6:[::1]:51234", "unix:"; lent. Ask in `start` or `message`: it is "unknown" when first asked after the client left. */
const char *rpc_call_peer(struct rpc_call *call);
bool rpc_call_cancelled(struct rpc_call *call);

/** Initial metadata to send with the first message; before the first write. Copied. */
enum status rpc_call_add_header(struct rpc_call *call, const char *key, const char *value);
/** Trailing metadata; before finish. Copied. */
enum status rpc_call_add_trailer(struct rpc_call *call, const char *key, const char *value);
/** Queue one message (copied). STATUS_CANCELLED when the call is over; STATUS_RESOURCE_EXHAUSTED past a hard maximum of waiting bytes (one message of any size may wait).
 *  Any thread. */
enum status rpc_call_write(struct rpc_call *call, struct bytes_view message);
size_t rpc_call_pending_bytes(struct rpc_call *call);
void rpc_call_set_watermark(struct rpc_call *call, size_t bytes);
/** End the call after what is queued. `message` may be NULL. `details` (may be empty) go into grpc-status-details-bin: see rpc_status_details. Details over 5 KiB
 *  are left out, since clients refuse calls with more than 8 KiB of metadata. Idempotent. Any thread. */
void rpc_call_finish(struct rpc_call *call, enum status status, const char *message, struct bytes_view details);
/** Messages arrive only while reading is on (default); off stops the client by flow control, after the one message that may be on its way. Any thread. */
void rpc_call_pause_reading(struct rpc_call *call);
void rpc_call_resume_reading(struct rpc_call *call);

/** Serialise google.rpc.Status{status, message, [Any{type_name, value}]} into `out`. */
enum status rpc_status_details(enum status status, const char *message, const char *type_name, struct bytes_view value,
                               struct bytes *out);
/** The first detail of `type_name` inside a serialised google.rpc.Status; false when absent or malformed. Lent from `details`. */
bool rpc_status_details_find(struct bytes_view details, const char *type_name, struct bytes_view *out_value);

#endif
