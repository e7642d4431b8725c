/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/connection.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/settings.h"
#include "bora/v1/error.pb-c.h"
#include "cli/print.h"
#include "cli/terminal.h"
#include "cli/unreached.h"
#include "cli/values.h"
#include "rpc/tls.h"
#include "rpc/transcode.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    ARENA_BYTES = 256 << 20,
    REQUEST_BYTES = LIMIT_REQUEST_BODY_BYTES_MAX,
    KEY_FILE_BYTES = 4096,
    KEY_BYTES_MAX = 1024,
    RETRY_MS_MAX = 61 * 1000 /* so that any window of a minute is over */
};
static const int64_t TIMEOUT_DEFAULT_NS = 30 * NS_PER_S;

struct connection_options connection_options;
const struct argument connection_arguments[] = {
    {ARGUMENT_TEXT, "address", "HOST:PORT", "the gateway's gRPC address (" CONNECTION_ADDRESS_DEFAULT ")",
     &connection_options.address},
    {ARGUMENT_TEXT, "profile", "NAME", "section of the configuration file (default)", &connection_options.profile},
    {ARGUMENT_TEXT, "api-key-file", "FILE", "file that holds the API key", &connection_options.api_key_file},
    {ARGUMENT_TEXT, "key-file", "FILE", NULL, &connection_options.api_key_file},
    {ARGUMENT_TEXT, "admin-key-file", "FILE", "file that holds the operator's key", &connection_options.admin_key_file},
    {ARGUMENT_FLAG, "tls", NULL, "encrypted connection", &connection_options.tls},
    {ARGUMENT_TEXT, "tls-ca-file", "FILE", "trust these PEM authorities (implies --tls)",
     &connection_options.tls_ca_file},
    {ARGUMENT_TEXT, "tls-certificate-file", "FILE", "show this PEM certificate (mutual TLS)",
     &connection_options.tls_certificate_file},
    {ARGUMENT_TEXT, "tls-key-file", "FILE", "the certificate's PEM key", &connection_options.tls_key_file},
    {ARGUMENT_DURATION, "timeout", "DURATION", "give up after this long (30s; answers of models: never)",
     &connection_options.timeout},
    {ARGUMENT_INTEGER, "retry", "N", "when told to come again within a minute, wait and do, up to N times (0)",
     &connection_options.retry},
    {ARGUMENT_FLAG, "json", NULL, "print what the service answered as JSON", &connection_options.json},
    {ARGUMENT_FLAG, "quiet", NULL, "no notes; of lists the ids alone", &connection_options.quiet},
    {ARGUMENT_END, NULL, NULL, NULL, NULL},
};

static int fail(const char *message) {
    return print_failure("%s", message);
}

/* --- settings ---------------------------------------------------------------------------------------------------- */

const char *connection_setting(const struct config *config, enum config_name name, const char *flag,
                               const char **out_source) {
    const struct config_entry *entry = &config_entries[name];
    if (flag != NULL) {
        *out_source = "the command line";
        return flag;
    }
    const char *value = entry->variable != NULL ? getenv(entry->variable) : NULL;
    if (value != NULL && value[0] != 0) {
        *out_source = entry->variable;
        return value;
    }
    *out_source = config->path;
    return config->values[name];
}

/** A path with "~/" for the home folder, as no shell has seen what stands in a file. */
static const char *expand(const char *path, char out[CONFIG_PATH_BYTES]) {
    const char *home = getenv("HOME");
    bool in_home = strncmp(path, "~/", 2) == 0 && home != NULL;
    snprintf(out, CONFIG_PATH_BYTES, "%s%s", in_home ? home : "", path + in_home);
    return out;
}

/** The first line of a file that holds a key. malloc'd, or NULL after a sentence. */
static char *read_key_file(const char *path) {
    char expanded[CONFIG_PATH_BYTES], *text = NULL;
    struct error err = {0};
    size_t length = 0;
    expand(path, expanded);
    if (settings_read_file(expanded, KEY_FILE_BYTES, &text, &length, &err) != STATUS_OK) {
        fail(err.message);
        return NULL;
    }
    text[strcspn(text, "\r\n")] = 0;
    return text;
}

/** One kind of key, from the nearest place that has it: a level's file counts before its text. False when there is none; `*out` NULL: it cannot be read. */
static bool find_key(const struct config *config, enum config_name text, enum config_name file, const char *flag,
                     char **out, const char **out_source) {
    const char *text_source, *file_source;
    const char *key = connection_setting(config, text, NULL, &text_source);
    const char *path = connection_setting(config, file, flag, &file_source);
    bool file_nearer = path != NULL && (key == NULL || flag != NULL || text_source == config->path);
    *out_source = file_nearer ? file_source : text_source;
    if (!file_nearer && key == NULL) return false;
    *out = file_nearer ? read_key_file(path) : strdup(key);
    return true;
}

/** The key to show. GO_ON, or how to end after a sentence. */
static int find_credential(enum credential credential, struct connection *out) {
    const struct connection_options *options = &connection_options;
    bool api_told = options->api_key_file != NULL, admin_told = options->admin_key_file != NULL;
    bool admin_first = credential == CREDENTIAL_ADMIN ? !api_told || admin_told : admin_told && !api_told;
    bool found = false;
    char *key = NULL;
    for (int i = 0; i < 2 && !found; i++) {
        bool admin = (i == 0) == admin_first;
        if (admin && credential == CREDENTIAL_API_KEY) continue;
        found = find_key(&out->config, admin ? CONFIG_ADMIN_KEY : CONFIG_API_KEY,
                         admin ? CONFIG_ADMIN_KEY_FILE : CONFIG_API_KEY_FILE,
                         admin ? options->admin_key_file : options->api_key_file, &key, &out->credential_source);
    }
    if (!found) {
        fail(credential == CREDENTIAL_ADMIN
                 ? "no key of an administrator: give --admin-key-file or BORA_ADMIN_KEY (./dev up keeps the operator's "
                   "in .bora/secrets/admin-key), or the API key of an admin"
                 : "no API key: give --api-key-file or BORA_API_KEY, or `bora config set api-key`");
        return EXIT_NOT_AUTHORISED;
    }
    if (key == NULL) return EXIT_FAILED;
    bool sound = key[0] != 0 && strlen(key) <= KEY_BYTES_MAX;
    for (const char *c = key; *c != 0; c++) sound = sound && *c > ' ' && *c < 0x7f; /* goes into a header */
    if (!sound)
        print_failure("what %s gives is no key", out->credential_source);
    else if (asprintf(&out->authorization, "Bearer %s", key) < 0)
        out->authorization = NULL;
    explicit_bzero(key, strlen(key));
    free(key);
    return out->authorization != NULL ? GO_ON : EXIT_FAILED;
}

static int find_times(struct connection *out) {
    const struct connection_options *options = &connection_options;
    struct error err = {0};
    const char *timeout = out->config.values[CONFIG_TIMEOUT];
    if (options->retry.given && (options->retry.value < 0 || options->retry.value > CONNECTION_RETRIES_MAX)) {
        print_failure("--retry: from 0 to %d", CONNECTION_RETRIES_MAX);
        return EXIT_USAGE;
    }
    out->retries_left = options->retry.given ? (int)options->retry.value : 0;
    out->timeout_ns = options->timeout.given ? options->timeout.value : 0;
    if (!options->timeout.given && timeout != NULL &&
        settings_parse_duration(timeout, &out->timeout_ns, &err) != STATUS_OK) {
        print_failure("%s: timeout: %s", out->config.path, err.message);
        return EXIT_FAILED;
    }
    return GO_ON;
}

/* --- the connection ---------------------------------------------------------------------------------------------- */

/** gRPC takes files that are no certificates, and is later unable to connect without saying why. */
static enum status check_tls_files(const struct rpc_tls *tls, struct error *err) {
    struct tls_client *client = NULL;
    if (tls->ca_file == NULL && tls->certificate_file == NULL && tls->key_file == NULL) return STATUS_OK;
    TRY(tls_client_create(tls->ca_file, tls->certificate_file, tls->key_file, &client, err));
    tls_client_free(client);
    return STATUS_OK;
}

/** Where a TLS file lies, by a flag or the profile; NULL: neither names one. */
static const char *find_tls_file(const char *flag, const char *setting, char out[CONFIG_PATH_BYTES]) {
    const char *path = flag != NULL ? flag : setting;
    return path != NULL ? expand(path, out) : NULL;
}

static int open_channel(struct connection *out) {
    const struct connection_options *options = &connection_options;
    const char *source, *const *file = (const char *const *)out->config.values;
    const char *authority = find_tls_file(options->tls_ca_file, file[CONFIG_TLS_CA_FILE], out->tls_files[0]);
    const char *certificate =
        find_tls_file(options->tls_certificate_file, file[CONFIG_TLS_CERTIFICATE_FILE], out->tls_files[1]);
    const char *key = find_tls_file(options->tls_key_file, file[CONFIG_TLS_KEY_FILE], out->tls_files[2]);
    const char *address = connection_setting(&out->config, CONFIG_ADDRESS, options->address, &source);
    bool tls = file[CONFIG_TLS] != NULL && strcmp(file[CONFIG_TLS], "true") == 0;
    snprintf(out->address, sizeof out->address, "%s", address != NULL ? address : CONNECTION_ADDRESS_DEFAULT);
    out->address_source = address != NULL ? source : "the default";
    if (!config_address_is_sound(out->address)) {
        print_failure("'%.128s' is not HOST:PORT, a gateway's gRPC address", out->address);
        fprintf(stderr, "  it is from %s\n", out->address_source);
        return EXIT_USAGE;
    }
    out->tls = tls || options->tls || authority != NULL || certificate != NULL;
    out->tls_authority = authority;
    out->tls_shown = certificate != NULL;
    struct rpc_channel_options channel = {.target = out->address,
                                          .message_bytes_max = LIMIT_REQUEST_BODY_BYTES_MAX,
                                          .use_tls = out->tls,
                                          .tls = {certificate, key, authority, NULL}};
    struct error err = {0};
    if (check_tls_files(&channel.tls, &err) != STATUS_OK || rpc_client_create(1, &out->client, &err) != STATUS_OK ||
        rpc_channel_open(out->client, &channel, &out->channel, &err) != STATUS_OK)
        return fail(err.message);
    return GO_ON;
}

int connection_open(enum credential credential, struct connection *out) {
    *out = (struct connection){0};
    arena_init(&out->arena, ARENA_BYTES);
    struct error err = {0};
    int result = GO_ON;
    if (config_load(connection_options.profile, true, &out->config, &err) != STATUS_OK) result = fail(err.message);
    if (result == GO_ON) result = find_times(out);
    if (result == GO_ON && credential != CREDENTIAL_NONE) result = find_credential(credential, out);
    if (result == GO_ON) result = open_channel(out);
    if (result != GO_ON) connection_close(out);
    return result;
}

void connection_close(struct connection *connection) {
    if (connection->channel != NULL) rpc_channel_close(connection->channel);
    if (connection->client != NULL) rpc_client_destroy(connection->client);
    if (connection->authorization != NULL) explicit_bzero(connection->authorization, strlen(connection->authorization));
    free(connection->authorization);
    config_free(&connection->config);
    arena_deinit(&connection->arena);
}

/* --- what went wrong --------------------------------------------------------------------------------------------- */

enum { DETAIL_BYTES = 1 << 20 };

static void explain_fields(const Bora__V1__ValidationErrors *errors) {
    for (size_t i = 0; i < errors->n_detail; i++) {
        const Bora__V1__ValidationError *error = errors->detail[i];
        fputs("  ", stderr);
        for (size_t j = 1; j < error->n_loc; j++) { /* the first is always "body" */
            if (error->loc[j]->kind_case == BORA__V1__PATH_STEP__KIND_INDEX) {
                fprintf(stderr, "[%" PRId64 "]", error->loc[j]->index);
            } else {
                fputs(j > 1 ? "." : "", stderr);
                print_masked(stderr, error->loc[j]->name);
            }
        }
        fputs(": ", stderr);
        print_masked(stderr, error->msg);
        fputs("\n", stderr);
    }
}

static const Bora__V1__ErrorDetail *find_detail(const struct rpc_result *result, struct arena *arena) {
    struct bytes_view value;
    ProtobufCMessage *message = NULL;
    if (!rpc_status_details_find(result->details, "bora.v1.ErrorDetail", &value) ||
        protobuf_unpack(&bora__v1__error_detail__descriptor, value, arena, &message, NULL) != STATUS_OK)
        return NULL;
    return (const Bora__V1__ErrorDetail *)message;
}

/** As the public clients are told by HTTP's x-should-retry: the request is more than the limit will ever give. */
static bool is_never(const struct rpc_result *result) {
    const char *told = result->trailer != NULL ? result->trailer(result, "x-should-retry") : NULL;
    return told != NULL && strcmp(told, "false") == 0;
}

static int exit_of(enum status status) {
    switch (status) {
    case STATUS_OK:
        return EXIT_OK;
    case STATUS_UNAUTHENTICATED:
    case STATUS_PERMISSION_DENIED:
        return EXIT_NOT_AUTHORISED;
    case STATUS_NOT_FOUND:
    case STATUS_UNIMPLEMENTED:
        return EXIT_NOT_FOUND;
    case STATUS_RESOURCE_EXHAUSTED:
        return EXIT_RATE_LIMITED;
    case STATUS_UNAVAILABLE:
    case STATUS_DEADLINE_EXCEEDED:
        return EXIT_UNAVAILABLE;
    default:
        return EXIT_FAILED;
    }
}

struct connection_failure connection_judge(const struct rpc_result *result) {
    struct arena arena;
    arena_init(&arena, DETAIL_BYTES);
    const Bora__V1__ErrorDetail *detail = find_detail(result, &arena);
    bool told = detail != NULL && detail->kind_case == BORA__V1__ERROR_DETAIL__KIND_ERROR;
    const char *type = told ? detail->error->type : "";
    struct connection_failure failure = {.exit = exit_of(result->status)};
    if (detail != NULL) failure.retry_after_ms = detail->retry_after_ms;
    if (failure.exit == EXIT_RATE_LIMITED && failure.retry_after_ms <= 0)
        failure.exit = EXIT_FAILED; /* it is too large, or memory ran out: every limit says when to come again */
    failure.never = is_never(result);
    if (failure.never) failure.retry_after_ms = 0;
    if (strcmp(type, "invalid_model") == 0) failure.exit = EXIT_NOT_FOUND; /* its status is that of HTTP's 400 */
    failure.model_missing = strcmp(type, "invalid_model") == 0 || strcmp(type, "service_unavailable") == 0;
    arena_deinit(&arena);
    return failure;
}

static void explain_wait(const struct connection *connection, const struct rpc_result *result, int64_t wait_ms) {
    char wait[VALUE_TIME_BYTES];
    value_format_wait(wait_ms, wait);
    if (is_never(result))
        fputs("  trying again is of no use, however long one waits\n", stderr);
    else if (wait_ms > RETRY_MS_MAX && connection->retries_left > 0)
        fprintf(stderr, "  try again in %s, which is longer than --retry waits\n", wait);
    else if (wait_ms > 0)
        fprintf(stderr, "  try again in %s\n", wait);
}

void connection_explain(const struct connection *connection, const struct rpc_result *result) {
    struct arena arena;
    arena_init(&arena, DETAIL_BYTES);
    const Bora__V1__ErrorDetail *detail = find_detail(result, &arena);
    bool fields = detail != NULL && detail->kind_case == BORA__V1__ERROR_DETAIL__KIND_VALIDATION &&
                  detail->validation->n_detail > 0;
    fputs("bora: ", stderr);
    bool unreached = detail == NULL && result->status == STATUS_UNAVAILABLE && unreached_is_told(result->message);
    if (unreached) {
        char cause[UNREACHED_CAUSE_BYTES];
        unreached_cause(result->message, cause);
        fprintf(stderr, "%s cannot be reached: %s\n", connection->address, cause);
        unreached_advise(stderr, connection, result->message, "  ");
        fprintf(stderr, "  the address is from %s\n", connection->address_source);
    } else if (detail == NULL && result->status == STATUS_DEADLINE_EXCEEDED) {
        fprintf(stderr, "%s gave no answer in time (%s); --timeout waits longer\n", connection->address,
                status_name(result->status));
        fprintf(stderr, "  the address is from %s\n", connection->address_source);
    } else {
        print_masked(stderr, fields ? "the request is not valid" /* the sentence would say the first field twice */
                             : result->message[0] != 0 ? result->message
                                                       : "the call failed");
        fprintf(stderr, " (%s)\n", status_name(result->status));
    }
    if (fields) explain_fields(detail->validation);
    if (exit_of(result->status) == EXIT_NOT_AUTHORISED && connection->credential_source != NULL)
        fprintf(stderr, "  the key is from %s\n", connection->credential_source);
    explain_wait(connection, result, detail != NULL ? detail->retry_after_ms : 0);
    arena_deinit(&arena);
}

bool connection_retries(const struct connection *connection, const struct connection_failure *failure) {
    return connection->retries_left > 0 && failure->retry_after_ms > 0 && failure->retry_after_ms <= RETRY_MS_MAX;
}

bool connection_wait_to_retry(struct connection *connection, const struct connection_failure *failure) {
    if (!connection_retries(connection, failure)) return false;
    int64_t wait_ms = failure->retry_after_ms;
    connection->retries_left--;
    terminal_note("bora: refused for now; trying again in %.1f s\n", (double)wait_ms / 1000);
    struct timespec rest = {wait_ms / 1000, wait_ms % 1000 * NS_PER_MS};
    nanosleep(&rest, NULL);
    return true;
}

/* --- unary calls ------------------------------------------------------------------------------------------------- */

struct unary_wait {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool done;
    int exit;
    struct connection_failure failure;
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
        wait->failure = connection_judge(result);
        wait->exit = wait->failure.exit;
        bool again = connection_retries(wait->connection, &wait->failure);
        if (!wait->connection->quiet && !again) connection_explain(wait->connection, result);
    } else if (protobuf_unpack(wait->descriptor, reply, &wait->connection->arena, &wait->reply, &err) != STATUS_OK) {
        wait->exit = fail(err.message);
    }
    wait->done = true;
    pthread_cond_signal(&wait->changed);
    pthread_mutex_unlock(&wait->mutex);
}

static int call_once(struct unary_wait *wait, const char *path, struct bytes_view packed) {
    struct connection *connection = wait->connection;
    const char *const metadata[] = {"authorization", connection->authorization, NULL}, *const none[] = {NULL};
    int64_t timeout_ns = connection->timeout_ns > 0 ? connection->timeout_ns : TIMEOUT_DEFAULT_NS;
    struct error err = {0};
    wait->done = false;
    wait->failure = (struct connection_failure){0};
    if (rpc_client_unary_async(connection->channel, path, connection->authorization != NULL ? metadata : none, packed,
                               timeout_ns, on_done, wait, &err) != STATUS_OK)
        return fail(err.message);
    pthread_mutex_lock(&wait->mutex);
    while (!wait->done) pthread_cond_wait(&wait->changed, &wait->mutex);
    pthread_mutex_unlock(&wait->mutex);
    return wait->exit;
}

int connection_call(struct connection *connection, const char *path, const ProtobufCMessage *request,
                    const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage **out) {
    struct unary_wait wait = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                              .changed = PTHREAD_COND_INITIALIZER,
                              .connection = connection,
                              .descriptor = descriptor};
    struct bytes packed;
    bytes_init(&packed, REQUEST_BYTES);
    int result = protobuf_pack(request, &packed) == STATUS_OK ? GO_ON : fail("the request is too large");
    while (result == GO_ON) {
        result = call_once(&wait, path, bytes_view(&packed));
        if (result == GO_ON || !connection_wait_to_retry(connection, &wait.failure)) break;
        result = GO_ON;
    }
    bytes_deinit(&packed);
    *out = wait.reply;
    return result;
}
