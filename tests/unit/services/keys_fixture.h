/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* For tests of bora-keys: the program itself with two Redis servers of its own, and calls to it over gRPC. Failures end the test. */
#ifndef BORA_TESTS_KEYS_FIXTURE_H
#define BORA_TESTS_KEYS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "bora/v1/error.pb-c.h"
#include "bora/v1/keys.pb-c.h"
#include "bora/v1/tenants.pb-c.h"
#include "rpc/grpc_client.h"
#include "store/redis.h"
#include "tests/support/process.h"
#include "tests/support/redis_server.h"

#include <pthread.h>

#define ADMIN_KEY "test-admin-key-0123456789"
#define SERVICE_TOKEN "test-service-token-0123456789"
enum { SECONDS = 60 }; /* after which waiting is given up */

extern const char *keys_program; /* path of bora-keys; main() sets it */
/* --redis-timeout: long, so that a crowded machine's disk is no fault of the service; main() of tests of faults makes it short. */
extern const char *keys_redis_timeout;

struct keys_fixture {
    struct redis_server redis, limits; /* --redis, --redis-limits */
    struct test_process keys;
    char folder[64];
    int metrics_port;
    struct rpc_client *client;
    struct rpc_channel *channel;
    struct arena arena; /* replies */
};

/** How a call ended. */
struct keys_outcome {
    enum status status;
    char message[256];
    ProtobufCMessage *reply;       /* when OK; in the fixture's arena */
    Bora__V1__ErrorDetail *detail; /* when there was one; in the fixture's arena */
};

/** A call under way; keys_waiting_done() is its callback. */
struct keys_waiting {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool done;
    struct keys_fixture *fixture;
    const ProtobufCMessageDescriptor *descriptor;
    struct keys_outcome outcome;
};

void keys_waiting_done(void *context, const struct rpc_result *result, struct bytes_view reply);

/** Give an optional field of a message. */
#define GIVE(message, TYPE, NAME, field, value) \
    ((message)._##field##_case = BORA__V1__##TYPE##___##NAME##_##NAME, (message).field = (value))

/* Calls: `method` is "CreateKey", or "TenantService/GetMe"; `bearer` goes into the metadata; NULL: none is sent. keys_x_ok() end the test unless the call succeeds. */
struct keys_outcome keys_call_bytes(struct keys_fixture *fixture, const char *method, const char *bearer,
                                    struct bytes_view request, const ProtobufCMessageDescriptor *reply);
struct keys_outcome keys_call(struct keys_fixture *fixture, const char *method, const char *bearer,
                              const ProtobufCMessage *request, const ProtobufCMessageDescriptor *reply);
struct keys_outcome keys_create(struct keys_fixture *fixture, const char *bearer,
                                const Bora__V1__CreateKeyRequest *request);
Bora__V1__CreateKeyResponse *keys_create_ok(struct keys_fixture *fixture, const Bora__V1__CreateKeyRequest *request);
Bora__V1__CreateKeyResponse *keys_create_plain(struct keys_fixture *fixture);
struct keys_outcome keys_verify(struct keys_fixture *fixture, const char *key);
/** Of a key that must be fine. */
Bora__V1__VerifyKeyResponse *keys_verify_ok(struct keys_fixture *fixture, const char *key);
/** A key with a role, by the operator, in a workspace (NULL: the first). */
Bora__V1__CreateKeyResponse *keys_create_role(struct keys_fixture *fixture, const char *role,
                                              const char *workspace_or_null);
struct keys_outcome keys_update(struct keys_fixture *fixture, const char *bearer,
                                const Bora__V1__UpdateKeyRequest *request);
struct keys_outcome keys_rotate(struct keys_fixture *fixture, const char *bearer, const char *key_id,
                                int64_t overlap_or_minus_1);
struct keys_outcome keys_revoke(struct keys_fixture *fixture, const char *key_id);
Bora__V1__Organization *keys_create_organization(struct keys_fixture *fixture, const char *name);
Bora__V1__Workspace *keys_create_workspace(struct keys_fixture *fixture, const char *name,
                                           const char *organization_or_null);
/** Newest first, of the first organisation or the one named. */
Bora__V1__ListAuditResponse *keys_audit(struct keys_fixture *fixture, const char *organization_or_null);
/** The gate of the key's first secret at the limits' Redis is shut; or the one of that name, which VerifyKey gave. */
bool keys_gate_is_shut(struct keys_fixture *fixture, const Bora__V1__ApiKey *key);
bool keys_gate_of_secret_is_shut(struct keys_fixture *fixture, const Bora__V1__ApiKey *key, const char *gate);
struct keys_outcome keys_list(struct keys_fixture *fixture, int limit, const char *after);
Bora__V1__ListKeysResponse *keys_list_ok(struct keys_fixture *fixture, int limit, const char *after);

/* The program. Its folder holds admin-key, service-token and hash-secret. */
void keys_write_file(const struct keys_fixture *fixture, const char *name, const char *text);
void keys_start(struct keys_fixture *fixture); /* and waits until it is ready */
int keys_stop(struct keys_fixture *fixture);   /* SIGTERM; returns its exit status */
int keys_setup(void **state);
int keys_teardown(void **state);
/** Another client of one of the servers, connected. */
struct redis_client *keys_redis_client(const struct redis_server *server);
void keys_restart_redis(struct keys_fixture *fixture); /* kill -9, start, wait until keys is ready again */

#define KEYS_TEST(name) cmocka_unit_test_setup_teardown(name, keys_setup, keys_teardown)

#endif
