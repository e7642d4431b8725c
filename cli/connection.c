/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/connection.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/settings.h"
#include "bora/v1/error.pb-c.h"
#include "cli/print.h"
#include "rpc/transcode.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BYTES = 256 << 20, REQUEST_BYTES = LIMIT_REQUEST_BODY_BYTES_MAX, KEY_FILE_BYTES = 4096 };
static const int64_t TIMEOUT_DEFAULT_NS = 30 * NS_PER_S;

void connection_arguments(struct connection_options *options, struct argument out[CONNECTION_ARGUMENTS]) {
    const struct argument table[CONNECTION_ARGUMENTS] = {
        {ARGUMENT_TEXT, "address", "HOST:PORT", "the gateway's gRPC address (BORA_ADDRESS; 127.0.0.1:8081)",
         &options->address},
        {ARGUMENT_TEXT, "key", "KEY", "API key (BORA_API_KEY)", &options->key},
        {ARGUMENT_TEXT, "key-file", "FILE", "file that holds the API key", &options->key_file},
        {ARGUMENT_TEXT, "admin-key-file", "FILE", "file that holds the admin key (or BORA_ADMIN_KEY)",
         &options->admin_key_file},
        {ARGUMENT_FLAG, "tls", NULL, "encrypted connection", &options->tls},
        {ARGUMENT_TEXT, "tls-ca-file", "FILE", "trust these PEM authorities (implies --tls)", &options->tls_ca_file},
        {ARGUMENT_TEXT, "tls-certificate-file", "FILE", "show this PEM certificate (mutual TLS)",
         &options->tls_certificate_file},
        {ARGUMENT_TEXT, "tls-key-file", "FILE", "the certificate's PEM key", &options->tls_key_file},
        {ARGUMENT_DURATION, "timeout", "DURATION", "give up after this long (30s; answers of models: never)",
         &options->timeout},
        {ARGUMENT_FLAG, "json", NULL, "print what the service answered as JSON", &options->json},
        {ARGUMENT_END, NULL, NULL, NULL, NULL},
    };
    memcpy(out, table, sizeof table);
}

/* --- credentials ------------------------------------------------------------------------------------------------- */

static int fail(const char *message) {
    fprintf(stderr, "bora: %s\n", message);
    return EXIT_FAILED;
}

/** First of: the option, the file, the environment. malloc'd "Bearer ...", or NULL after a sentence. */
static char *authorization_of(const char *text, const char *path, const char *environment, const char *missing) {
    char *from_file = NULL, *authorization = NULL;
    struct error err = {0};
    size_t length = 0;
    if (text == NULL && path != NULL) {
        if (settings_read_file(path, KEY_FILE_BYTES, &from_file, &length, &err) != STATUS_OK) {
            fail(err.message);
            return NULL;
        }
        from_file[strcspn(from_file, "\r\n")] = 0;
        text = from_file;
    }
    if (text == NULL) text = getenv(environment);
    if (text == NULL || text[0] == 0)
        fail(missing);
    else if (asprintf(&authorization, "Bearer %s", text) < 0)
        authorization = NULL;
    free(from_file);
    return authorization;
}

int connection_open(const struct connection_options *options, enum credential credential, struct connection *out) {
    *out = (struct connection){0};
    arena_init(&out->arena, ARENA_BYTES);
    if (credential == CREDENTIAL_ADMIN_KEY) {
        out->authorization = authorization_of(NULL, options->admin_key_file, "BORA_ADMIN_KEY",
                                              "no admin key: give --admin-key-file or BORA_ADMIN_KEY (./dev up keeps "
                                              "it in .bora/secrets/admin-key)");
    } else {
        out->authorization = authorization_of(options->key, options->key_file, "BORA_API_KEY",
                                              "no API key: give --key-file, BORA_API_KEY or --key");
    }
    if (out->authorization == NULL) return EXIT_FAILED;
    const char *environment = getenv("BORA_ADDRESS");
    out->address = options->address != NULL                     ? options->address
                   : environment != NULL && environment[0] != 0 ? environment
                                                                : "127.0.0.1:8081";
    out->timeout_ns = options->timeout.given ? options->timeout.value : 0;
    struct rpc_channel_options channel = {
        .target = out->address,
        .message_bytes_max = LIMIT_REQUEST_BODY_BYTES_MAX,
        .use_tls = options->tls || options->tls_ca_file != NULL || options->tls_certificate_file != NULL,
        .tls = {options->tls_certificate_file, options->tls_key_file, options->tls_ca_file, NULL}};
    struct error err = {0};
    if (rpc_client_create(1, &out->client, &err) != STATUS_OK ||
        rpc_channel_open(out->client, &channel, &out->channel, &err) != STATUS_OK) {
        connection_close(out);
        return fail(err.message);
    }
    return GO_ON;
}

void connection_close(struct connection *connection) {
    if (connection->channel != NULL) rpc_channel_close(connection->channel);
    if (connection->client != NULL) rpc_client_destroy(connection->client);
    free(connection->authorization);
    arena_deinit(&connection->arena);
}

/* --- what went wrong --------------------------------------------------------------------------------------------- */

static void explain_fields(const Bora__V1__ValidationErrors *errors) {
    for (size_t i = 0; i < errors->n_detail; i++) {
        const Bora__V1__ValidationError *error = errors->detail[i];
        fputs("  ", stderr);
        for (size_t j = 1; j < error->n_loc; j++) { /* the first is always "body" */
            if (error->loc[j]->kind_case == BORA__V1__PATH_STEP__KIND_INDEX)
                fprintf(stderr, "[%" PRId64 "]", error->loc[j]->index);
            else
                fprintf(stderr, "%s%s", j > 1 ? "." : "", error->loc[j]->name);
        }
        fprintf(stderr, ": %s\n", error->msg);
    }
}

bool connection_explain(const struct connection *connection, const struct rpc_result *result) {
    struct bytes_view value;
    ProtobufCMessage *message = NULL;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    const Bora__V1__ErrorDetail *detail = NULL;
    if (rpc_status_details_find(result->details, "bora.v1.ErrorDetail", &value) &&
        protobuf_unpack(&bora__v1__error_detail__descriptor, value, &arena, &message, NULL) == STATUS_OK) {
        detail = (const Bora__V1__ErrorDetail *)message;
    }
    bool fields = detail != NULL && detail->kind_case == BORA__V1__ERROR_DETAIL__KIND_VALIDATION &&
                  detail->validation->n_detail > 0;
    fputs("bora: ", stderr);
    if (detail == NULL && result->status == STATUS_UNAVAILABLE)
        fprintf(stderr, "%s cannot be reached: ", connection->address);
    print_clean(stderr, fields ? "the request is not valid" /* the sentence would say the first field twice */
                        : result->message[0] != 0 ? result->message
                                                  : "the call failed");
    fprintf(stderr, " (%s)\n", status_name(result->status));
    if (fields) explain_fields(detail->validation);
    if (detail != NULL && detail->retry_after_ms > 0)
        fprintf(stderr, "  try again in %.1f s\n", (double)detail->retry_after_ms / 1000);
    const char *type =
        detail != NULL && detail->kind_case == BORA__V1__ERROR_DETAIL__KIND_ERROR ? detail->error->type : "";
    bool model_missing = strcmp(type, "invalid_model") == 0 || strcmp(type, "service_unavailable") == 0;
    arena_deinit(&arena);
    return model_missing;
}

/* --- unary calls ------------------------------------------------------------------------------------------------- */

struct unary_wait {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool done;
    int exit;
    struct connection *connection;
    const ProtobufCMessageDescriptor *descriptor;
    ProtobufCMessage *reply;
};

static void on_done(void *context, const struct rpc_result *result, struct bytes_view reply) {
    struct unary_wait *wait = context;
    struct error err = {0};
    pthread_mutex_lock(&wait->mutex);
    wait->exit = GO_ON;
    if (result->status != STATUS_OK) {
        if (!wait->connection->quiet) connection_explain(wait->connection, result);
        wait->exit = EXIT_FAILED;
    } else if (protobuf_unpack(wait->descriptor, reply, &wait->connection->arena, &wait->reply, &err) != STATUS_OK) {
        wait->exit = fail(err.message);
    }
    wait->done = true;
    pthread_cond_signal(&wait->changed);
    pthread_mutex_unlock(&wait->mutex);
}

int connection_call(struct connection *connection, const char *path, const ProtobufCMessage *request,
                    const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage **out) {
    struct unary_wait wait = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                              .changed = PTHREAD_COND_INITIALIZER,
                              .connection = connection,
                              .descriptor = descriptor};
    const char *const metadata[] = {"authorization", connection->authorization, NULL};
    struct bytes packed;
    bytes_init(&packed, REQUEST_BYTES);
    struct error err = {0};
    enum status status = protobuf_pack(request, &packed);
    if (status != STATUS_OK) status = error_set(&err, status, "the request is too large");
    if (status == STATUS_OK) {
        int64_t timeout_ns = connection->timeout_ns > 0 ? connection->timeout_ns : TIMEOUT_DEFAULT_NS;
        status = rpc_client_unary_async(connection->channel, path, metadata, bytes_view(&packed), timeout_ns, on_done,
                                        &wait, &err);
    }
    bytes_deinit(&packed);
    if (status != STATUS_OK) return fail(err.message);
    pthread_mutex_lock(&wait.mutex);
    while (!wait.done) pthread_cond_wait(&wait.changed, &wait.mutex);
    pthread_mutex_unlock(&wait.mutex);
    *out = wait.reply;
    return wait.exit;
}
