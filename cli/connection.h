/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** The way to a gateway (or, for keys, to the keys service itself): options that every command takes, calls, and what goes wrong in words. */
#ifndef CLI_CONNECTION_H
#define CLI_CONNECTION_H

#include "base/arena.h"
#include "cli/arguments.h"
#include "rpc/grpc_client.h"

#include <protobuf-c/protobuf-c.h>

struct connection_options {
    const char *address, *key, *key_file, *admin_key_file;
    const char *tls_ca_file, *tls_certificate_file, *tls_key_file;
    bool tls, json;
    struct argument_integer timeout;
};
enum { CONNECTION_ARGUMENTS = 11 };
/** The table of these options. */
void connection_arguments(struct connection_options *options, struct argument out[CONNECTION_ARGUMENTS]);

enum credential { CREDENTIAL_API_KEY, CREDENTIAL_ADMIN_KEY };

struct connection {
    struct rpc_client *client;
    struct rpc_channel *channel;
    struct arena arena; /* replies */
    char *authorization;
    int64_t timeout_ns; /* 0: the command's own choice */
    const char *address;
    bool quiet; /* calls that fail say nothing */
};

/** GO_ON, or EXIT_FAILED after a sentence on stderr. Does not wait for the connection. */
int connection_open(const struct connection_options *options, enum credential credential, struct connection *out);
void connection_close(struct connection *connection);
/** One request, one reply (in the connection's arena). GO_ON, or EXIT_FAILED after a sentence on stderr. */
int connection_call(struct connection *connection, const char *path, const ProtobufCMessage *request,
                    const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage **out);
/** What went wrong, on stderr: the sentence, every field that was refused, when to try again. True when it may be that nobody serves the model
 *  asked for. */
bool connection_explain(const struct connection *connection, const struct rpc_result *result);

#endif
