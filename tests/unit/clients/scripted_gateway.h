/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** A gRPC server in this process that plays the gateway from a script, and a C client connected to it. */
#ifndef TESTS_UNIT_CLIENTS_SCRIPTED_GATEWAY_H
#define TESTS_UNIT_CLIENTS_SCRIPTED_GATEWAY_H

#include "base/clock.h"
#include "clients/c/bora_tools.h"
#include "rpc/grpc_server.h"
#include "tests/support/check.h"

static const int64_t PATIENCE_NS = 30 * NS_PER_S;
#define KEY "bora_test_key"

/** A chunk of an answer, or its end by something else. */
struct step {
    const char *text;
    const char *id, *name, *arguments; /* of a call, or of a piece of one; any NULL: not said */
    int index;                         /* of the call; -1: not said */
    const char *finish;
    enum status fail; /* not OK: ends with this, `text` as its message */
    int64_t retry_after_ms;
    const char *code, *param;
    bool invalid_field; /* with fail: a 422 of messages[0].content */
    bool hang;          /* say nothing more until the client leaves */
    bool cut;           /* end with OK here */
};
#define CALL(call_id, tool, json) \
    { .id = (call_id), .name = (tool), .arguments = (json), .index = -1 }
#define END(reason) \
    { .finish = (reason) }

struct scripted {
    struct rpc_server *server;
    struct bora_client *client;
    struct bora_conversation *talk;
    const struct step *const *answers; /* one of each request; each ends at a step that ends it */
    int answer_count;                  /* further requests get the last one */
    _Atomic int requests, hanging, finished;
    struct arena memory;
    const Bora__V1__ChatCompletionRequest *seen[64];
};

struct scripted *scripted_open(const struct step *const *answers, int count, const struct bora_client_options *options);
#define SCRIPTED(...)                                        \
    scripted_open((const struct step *const[]){__VA_ARGS__}, \
                  (int)(sizeof((const struct step *const[]){__VA_ARGS__}) / sizeof(struct step *)), NULL)
/** What came with the request `index`, which the client has been answered. */
const Bora__V1__ChatCompletionRequest *scripted_request(struct scripted *scripted, int index);
void scripted_close(struct scripted *scripted);
/** Wait until the counter reaches `least`; fails when patience ends. */
void scripted_await(_Atomic int *counter, int least);

#endif
