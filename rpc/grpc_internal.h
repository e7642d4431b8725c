/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Shared by the gRPC server and client: tags, completion-queue threads, byte buffers, credentials. */
#ifndef RPC_GRPC_INTERNAL_H
#define RPC_GRPC_INTERNAL_H

#include "base/bytes.h"
#include "rpc/grpc_server.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <pthread.h>

/** grpc_init, with gRPC's own log lines going to base/log. Every server and client pairs it with grpc_shutdown. */
void grpc_library_init(void);

/** What a batch was started for; embedded in its call, never allocated by itself. */
struct grpc_tag {
    void (*done)(struct grpc_tag *tag, bool ok);
};

/* TSan does not see the synchronisation inside the (not instrumented) library: what was written before a batch is
 * started is seen by whoever takes its tag from the queue. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer) /* clang's word for it */
#define __SANITIZE_THREAD__ 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define TAG_RELEASE(tag) __tsan_release(tag)
#define TAG_ACQUIRE(tag) __tsan_acquire(tag)
#else
#define TAG_RELEASE(tag) ((void)(tag))
#define TAG_ACQUIRE(tag) ((void)(tag))
#endif

/** A completion queue and the thread that takes its events. */
struct grpc_queue {
    grpc_completion_queue *queue;
    pthread_t thread;
    bool started;
};
enum status grpc_queue_start(struct grpc_queue *queue, const char *name, struct error *err);
/** Shut down, let the thread drain what is left, join, destroy. */
void grpc_queue_stop(struct grpc_queue *queue);

/** The queues of a client, at most `max`; how many. */
int grpc_client_queues(const struct rpc_client *client, grpc_completion_queue **out, int max);

/** A byte buffer with a copy of `message`. */
grpc_byte_buffer *grpc_buffer_of(struct bytes_view message);
/** The bytes of a received buffer as one slice, which the caller unrefs. False when it cannot be read (bad compression). */
bool grpc_buffer_read(grpc_byte_buffer *buffer, grpc_slice *out_slice);
struct bytes_view grpc_slice_view(const grpc_slice *slice);

/** A batch with a key or value that HTTP/2 does not allow would be refused whole, so each is looked at before. */
bool grpc_metadata_is_legal(const grpc_metadata *entry);

/** gRPC's clock types to ours and back; INT64_MAX is "never". */
int64_t grpc_deadline_to_ns(gpr_timespec deadline);
gpr_timespec grpc_deadline_from_ns(int64_t monotonic_ns);

/** What the PEM files of a server say; STATUS_INVALID_ARGUMENT names the one that is missing or wrong. */
enum status grpc_certificate_config_of(const struct rpc_tls *tls, grpc_ssl_server_certificate_config **out,
                                       struct error *err);
/** Credentials from PEM files; insecure when `use_tls` is false. */
enum status grpc_channel_credentials_of(const struct rpc_tls *tls, bool use_tls, grpc_channel_credentials **out,
                                        struct error *err);

/** A listening socket of our own and the thread that accepts on it; connections are handed to `server`.
 *  Why: the listener of gRPC 1.51 stops for good after one EMFILE (CVE-2023-4785); ours waits and goes on. */
struct grpc_acceptor;
enum status grpc_acceptor_create(const char *address, grpc_server *server, struct grpc_acceptor **out, int *out_port,
                                 struct error *err);
enum status grpc_acceptor_start(struct grpc_acceptor *acceptor, struct error *err);
void grpc_acceptor_destroy(struct grpc_acceptor *acceptor);
/** "ipv4:127.0.0.1:51234", "ipv6:[::1]:51234", "unix:" or "unknown": who is at the other end of an accepted socket. */
void grpc_acceptor_peer(int fd, char *out, size_t out_bytes);

/** Methods that every server has: health and reflection (grpc_health.c, grpc_reflection.c). */
struct grpc_health;
struct grpc_health *grpc_health_create(void);
void grpc_health_destroy(struct grpc_health *health);
void grpc_health_set(struct grpc_health *health, const char *service, bool serving);
/** Everything becomes NOT_SERVING, for good. */
void grpc_health_shut(struct grpc_health *health);
extern const struct rpc_method grpc_health_methods[2];

struct grpc_reflection;
/** `descriptors`: serialised FileDescriptorSet, borrowed; may be empty. Health's and reflection's own files are added. */
enum status grpc_reflection_create(struct bytes_view descriptors, struct grpc_reflection **out, struct error *err);
void grpc_reflection_destroy(struct grpc_reflection *reflection);
/** Make the service of a method path ("/bora.v1.ChatService/CompleteChat") show in the list. */
void grpc_reflection_add_path(struct grpc_reflection *reflection, const char *path);
/** A ServerReflectionRequest's answer, appended. STATUS_INVALID_ARGUMENT when it is malformed, STATUS_RESOURCE_EXHAUSTED past the maximum of `out`. */
enum status grpc_reflection_answer(const struct grpc_reflection *reflection, struct bytes_view request,
                                   struct bytes *out);
extern const struct rpc_method grpc_reflection_methods[2];

/** Writing the wire format. */
void wire_put_varint(struct bytes *out, uint64_t value);
void wire_put_number(struct bytes *out, uint32_t number, uint64_t value);
void wire_put_bytes(struct bytes *out, uint32_t number, struct bytes_view value);

#endif
