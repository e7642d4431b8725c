/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A server with one service, a client and a channel between them, in one process on real sockets.
 *
 * test.Service: Echo answers what it gets (and x-question as the trailer x-answer), Refuse is NOT_FOUND with details, CountUp sends as many
 * messages as its first byte says, Reflect echoes a stream, Sum (client streaming) answers with the number of messages, Pause pauses in
 * each, Hold answers nothing by itself: the test does, through `held`.
 */
#ifndef TESTS_UNIT_RPC_GRPC_FIXTURE_H
#define TESTS_UNIT_RPC_GRPC_FIXTURE_H

#include "base/clock.h"
#include "rpc/grpc_client.h"
#include "rpc/grpc_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const int64_t PATIENCE_NS = 20 * NS_PER_S;

/* Counters that threads add to and the test waits for; one lock for all. */
void add(int *counter, int by);
int value_of(const int *counter);
/** Wait until the counter reaches `least`; false when patience ends. */
bool reaches(const int *counter, int least);

extern int held_count, cancelled_count, finished_count, writable_count,
    half_closed_count;                   /* of Hold's and Sum's callbacks; zero in each new house */
extern struct rpc_call *held;            /* the latest */
extern _Atomic int64_t seen_deadline_ns; /* by Echo */
extern char seen_peer[128];              /* by Echo */

struct house {
    struct rpc_server *server;
    struct rpc_client *client;
    struct rpc_channel *channel;
};

struct rpc_server *open_server(const char *address, int64_t message_bytes_max);
struct rpc_server *open_server_with(const struct rpc_server_options *options);
struct rpc_channel *open_channel(struct rpc_client *client, int port);
int open_house(void **state);
int close_house(void **state);
#define HOUSE_TEST(name) cmocka_unit_test_setup_teardown(name, open_house, close_house)

/** A unary call with patience; what failed is printed. */
enum status ask(struct house *house, const char *path, struct bytes_view request, struct bytes *reply,
                struct error *err);
/** Is Echo answered? */
enum status ask_echo(struct rpc_channel *channel, int64_t timeout_ns, struct error *err);

/** The client's side of a stream. */
struct listener {
    int messages, finished, bytes;
    int last_byte; /* of the latest message */
    enum status status;
    char message[128], trailer[64];
    bool credit_each; /* ask for the next message when one arrives */
    bool detail_found;
};
void on_message(struct rpc_client_call *call, void *context, struct bytes_view message);
void on_finished(struct rpc_client_call *call, void *context, const struct rpc_result *result);
struct rpc_client_call *start(struct house *house, const char *path, struct listener *listener,
                              const char *const *metadata, int64_t timeout_ns);

#endif
