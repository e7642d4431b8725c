/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** The way to a gateway: options that every command takes, whose key is shown, calls, and what goes wrong in words. */
#ifndef CLI_CONNECTION_H
#define CLI_CONNECTION_H

#include "base/arena.h"
#include "cli/arguments.h"
#include "cli/config.h"
#include "rpc/grpc_client.h"

#include <protobuf-c/protobuf-c.h>

#define CONNECTION_ADDRESS_DEFAULT "127.0.0.1:8081"
enum { CONNECTION_RETRIES_MAX = 100 };

struct connection_options {
    const char *address, *profile, *api_key_file, *admin_key_file;
    const char *tls_ca_file, *tls_certificate_file, *tls_key_file;
    bool tls, json, quiet;
    struct argument_integer timeout, retry;
};
/** What the command line said; filled through the table. */
extern struct connection_options connection_options;
extern const struct argument connection_arguments[];

enum credential {
    CREDENTIAL_NONE,
    CREDENTIAL_API_KEY, /* who asks models */
    CREDENTIAL_ADMIN, /* who administers: --admin-key-file, --api-key-file, the operator's key of environment or profile, else the API key */
    CREDENTIAL_ANY, /* the API key, else the operator's */
};

struct connection {
    struct rpc_client *client;
    struct rpc_channel *channel;
    struct arena arena; /* replies */
    struct config config;
    char *authorization;           /* "Bearer ..." */
    const char *credential_source; /* "BORA_API_KEY": where the key came from */
    char address[CONFIG_VALUE_BYTES];
    const char *address_source;
    bool tls, tls_shown;       /* encrypted; with a certificate of one's own */
    const char *tls_authority; /* file of those who are trusted; NULL: the system's */
    char tls_files[3][CONFIG_PATH_BYTES];
    int64_t timeout_ns; /* 0: the command's own choice */
    int retries_left;
    bool quiet; /* calls that fail say nothing */
};

/** Where a setting stands: flag (may be NULL), environment, profile, or NULL. `*out_source` says which. Lent. */
const char *connection_setting(const struct config *config, enum config_name name, const char *flag,
                               const char **out_source);

/** GO_ON, or how to end after a sentence on stderr. Does not wait for the connection. */
int connection_open(enum credential credential, struct connection *out);
void connection_close(struct connection *connection);
/** One request, one reply (in the connection's arena). With --retry, refusals that say when to come again soon are waited out. GO_ON, or how to end after a
 *  sentence on stderr. */
int connection_call(struct connection *connection, const char *path, const ProtobufCMessage *request,
                    const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage **out);

struct connection_failure {
    int exit;               /* of the program */
    int64_t retry_after_ms; /* 0: trying again is of no use, or nobody says when */
    bool never;             /* the service says so: however long one waits */
    bool model_missing;     /* perhaps nobody serves the model asked for */
};
struct connection_failure connection_judge(const struct rpc_result *result);
/** What went wrong, on stderr: the sentence, every field that was refused, when to try again. */
void connection_explain(const struct connection *connection, const struct rpc_result *result);
/** Whether a failed call is to be made again: --retry has tries left, and does not wait longer than it may. */
bool connection_retries(const struct connection *connection, const struct connection_failure *failure);
/** The same; if so, waits first. */
bool connection_wait_to_retry(struct connection *connection, const struct connection_failure *failure);

#endif
