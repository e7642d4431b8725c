/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A call from its message to its answer, for every method but VerifyKey:
 *
 *     gRPC's thread   handling_message: bytes are copied, a job is queued
 *     a job's thread  who calls, may they, is the message as its rules say; then the method's `run`, straight through: it waits for Redis; then the answer
 *
 * A method is a row of a table of struct rpc_method whose `data` is a struct keys_method (METHOD). What `run` allocates in the
 * handling's arena lives until the answer is packed.
 */
#ifndef SERVICES_KEYS_HANDLING_H
#define SERVICES_KEYS_HANDLING_H

#include "base/arena.h"
#include "rpc/grpc_server.h"
#include "rpc/transcode.h"
#include "services/keys/audit.h"
#include "services/keys/keys.h"
#include "services/keys/places.h"
#include "services/keys/refusal.h"

#include <protobuf-c/protobuf-c.h>

/** Whether an `optional` scalar or string of a message of ours is there. */
#define PRESENT(message, field) ((message)->_##field##_case != 0)

struct handling;
/** `request` passed its rules. On failure `err` has the sentence for the caller, unless handling_refuse_field was called. */
typedef enum status method_fn(struct handling *handling, const void *request, ProtobufCMessage **out_reply,
                              struct error *err);
struct keys_method {
    const char *name; /* "CreateKey": in logs and metrics */
    const ProtobufCMessageDescriptor *request;
    enum key_role least_role; /* others: PERMISSION_DENIED */
    const char *endpoint;     /* the word of Scopes.endpoints that a key with such scopes needs; NULL: none */
    method_fn *run;
};
/** A row of the table of a service: METHOD("/bora.v1.KeyService/", "CreateKey", create_key, create_key_request, KEY_ROLE_ADMIN, "admin"). */
#define METHOD(path_, name_, run_, request_, role_, endpoint_)                                                     \
    {                                                                                                              \
        .path = path_ name_, .message = handling_message,                                                          \
        .data = &(const struct keys_method){name_, &bora__v1__##request_##__descriptor, role_, endpoint_, (run_)}, \
    }

/** Who calls. The operator has no key and no place. */
struct caller {
    enum key_role role;
    const char *name;           /* in the audit trail: a key's prefix, or "operator" */
    struct authority authority; /* all zero: the operator */
};

struct handling {
    struct keys_service *service;
    struct rpc_call *call;
    const struct keys_method *method;
    struct bytes message; /* as it came */
    struct arena arena;
    struct caller caller;
    struct audit_origin origin;
    struct field_problem problem;
    char secret[KEY_TEXT_CHARACTERS + 1]; /* a key that the answer shows; wiped with the packed answer */
};

/** For struct rpc_method.message. */
void handling_message(struct rpc_call *call, struct bytes_view bytes);

/** INVALID_ARGUMENT at body.<field>[index], answered as a failed rule is. `message`, lent: "Value error, ...". index -1: the field itself. */
enum status handling_refuse_field(struct handling *handling, const char *field, int64_t index, const char *message);

/* What a caller may see; anything else is NOT_FOUND, as what never was. Results are in the arena. */
/** NULL id: the caller's own; the operator's: the first. */
enum status handling_organization(struct handling *handling, const char *id_or_null, struct organization *out,
                                  struct error *err);
enum status handling_workspace(struct handling *handling, const char *id, struct workspace *out, struct error *err);
/** By id or prefix. */
enum status handling_key(struct handling *handling, const char *id, struct key_record *out, struct error *err);

/** As audit_words, with what the handling knows. */
void handling_audit_words(struct handling *handling, const struct audit_entry *entry,
                          struct bytes_view out[AUDIT_WORDS]);

/* Redis from a job's thread. `out` (may be NULL) is freed with redis_reply_free. Failures are told as callers may read them: UNAVAILABLE when it passes, else
 * INTERNAL, which is logged. */
enum status store_call(struct keys_service *service, const struct bytes_view *words, size_t count,
                       struct redis_reply **out, struct error *err);
/** All words are texts: store_words(service, &reply, err, WORDS("HGET", "bora:key-index", prefix)). */
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
enum status store_words(struct keys_service *service, struct redis_reply **out, struct error *err,
                        const char *const *words);
enum status store_script(struct keys_service *service, const struct redis_script *script, const struct bytes_view *keys,
                         size_t key_count, const struct bytes_view *arguments, size_t argument_count,
                         struct redis_reply **out, struct error *err);
/** What a failed call of a client means for a caller. */
enum status store_failure(enum status status, const char *message, struct error *err);

#endif
