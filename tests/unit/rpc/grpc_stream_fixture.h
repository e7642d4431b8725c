/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** A connection of rpc/grpc_stream.h on a loop of its own, and what it has told. Servers are grpc_fixture.h's, or raw sockets. */
#ifndef TESTS_UNIT_RPC_GRPC_STREAM_FIXTURE_H
#define TESTS_UNIT_RPC_GRPC_STREAM_FIXTURE_H

#include "base/loop.h"
#include "rpc/grpc_stream.h"
#include "tests/unit/rpc/grpc_fixture.h"

/** What came; the counters are read with value_of and reaches. The texts and the status are of the latest, and are there once it is counted. */
struct told {
    int messages, bytes, finished, lost, closed;
    int disorder; /* messages of a sequence (see sequence_message) that came out of order, or whose bytes are wrong */
    enum status status;
    char message[256], reason[256];
    uint32_t next_number;                                             /* of the sequence; the loop's */
    void (*on_message)(struct told *told, struct bytes_view message); /* may be NULL */
    void *context;                                                    /* the test's */
};

struct caller {
    struct loop *loop;
    struct grpc_streams *streams;
    struct grpc_stream *stream;
    struct told told;
};

/** NULL options: plain, 1 MiB messages. `loop` is filled in. */
struct caller *open_caller(const struct grpc_streams_options *options, const char *target, const char *path);
/** Closes the stream, too, where there is one; and it was closed once. */
void close_caller(struct caller *caller);
/** To port `port` of 127.0.0.1. */
struct caller *call_port(const struct grpc_streams_options *options, int port, const char *path);
/** Wait until it is connected; false when patience ends. */
bool becomes_ready(struct caller *caller);

/** grpc_stream_write once on_finished of the call before has returned. */
enum status write_next(struct caller *caller, struct bytes_view message);

/** The `number`th message of a sequence: its number, then as many bytes of a pattern as make `length` (at least 4). */
void sequence_message(uint32_t number, uint8_t *out, size_t length);
/** For told.on_message: is it the next one of the sequence? */
void check_sequence(struct told *told, struct bytes_view message);

#endif
