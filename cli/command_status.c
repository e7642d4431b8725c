/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Is it there, and who am I to it. */
#include "base/clock.h"
#include "base/json.h"
#include "bora/v1/tenants.pb-c.h"
#include "cli/commands.h"
#include "cli/connection.h"
#include "cli/fields.h"
#include "cli/print.h"
#include "cli/result.h"
#include "cli/served.h"
#include "cli/terminal.h"
#include "cli/unreached.h"

#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* --- whoami -------------------------------------------------------------------------------------------------------- */

static const struct table_column me_columns[] = {{"role", "role", CELL_TEXT, 0},
                                                 {"key", "api_key.name", CELL_TEXT, 0},
                                                 {"key id", "api_key.prefix", CELL_TEXT, 0},
                                                 {"uuid", "api_key.id", CELL_TEXT, 0},
                                                 {"workspace", "workspace.name", CELL_TEXT, 0},
                                                 {"workspace id", "workspace.id", CELL_TEXT, 0},
                                                 {"organization", "organization.name", CELL_TEXT, 0},
                                                 {"organization id", "organization.id", CELL_TEXT, 0},
                                                 {"user", "user_id", CELL_TEXT, 0},
                                                 {"models", "scopes.models", CELL_TEXT, 0},
                                                 {"endpoints", "scopes.endpoints", CELL_TEXT, 0}};

static int fetch_me(struct connection *connection, ProtobufCMessage **out) {
    Bora__V1__GetMeRequest request = BORA__V1__GET_ME_REQUEST__INIT;
    return connection_call(connection, "/bora.v1.TenantService/GetMe", &request.base, &bora__v1__me__descriptor, out);
}

static int run_whoami(const struct command_usage *usage, const char *const *words, int count) {
    (void)usage, (void)words, (void)count;
    struct connection connection;
    ProtobufCMessage *reply = NULL;
    int result = connection_open(CREDENTIAL_ANY, &connection);
    if (result != GO_ON) return result;
    result = fetch_me(&connection, &reply);
    if (result == GO_ON) {
        result = result_print_one(reply, me_columns, COUNT(me_columns), "api_key.id");
        terminal_note("The key is from %s.\n", connection.credential_source);
    }
    connection_close(&connection);
    return result;
}

const struct command whoami_commands[] = {
    {.usage = {"whoami", "", "What the key that is used here is: its role, workspace, organization and scopes.", 0, 0},
     .help = "what the key that is used here is",
     .arguments = no_arguments,
     .connects = true,
     .run = run_whoami},
    {.usage = {NULL, NULL, NULL, 0, 0}}};

/* --- status -------------------------------------------------------------------------------------------------------- */

enum { HEALTH_BYTES_MAX = 64 };
static const int64_t HEALTH_TIMEOUT_NS = 5 * NS_PER_S;

struct health {
    bool reached, serving;
    int64_t answer_us;
    struct error err;
};

/** grpc.health.v1.Health/Check of the whole server. Its messages are so small that they are written here by hand: the request is empty, the reply
 *  field 1, 1 for SERVING. */
static void check_health(struct connection *connection, struct health *out) {
    static const char *const no_metadata[] = {NULL};
    struct bytes reply;
    bytes_init(&reply, HEALTH_BYTES_MAX);
    int64_t start_ns = clock_monotonic_ns(clock_system());
    int64_t timeout_ns = connection->timeout_ns > 0 ? connection->timeout_ns : HEALTH_TIMEOUT_NS;
    enum status status = rpc_client_unary(connection->channel, "/grpc.health.v1.Health/Check", no_metadata,
                                          (struct bytes_view){0}, timeout_ns, &reply, &out->err);
    out->answer_us = (clock_monotonic_ns(clock_system()) - start_ns) / NS_PER_US;
    out->reached = status == STATUS_OK;
    out->serving = out->reached && reply.length == 2 && reply.data[0] == 0x08 && reply.data[1] == 1;
    bytes_deinit(&reply);
}

static int print_status_json(const struct connection *connection, const struct health *health,
                             const ProtobufCMessage *me, const Bora__V1__ModelList *models) {
    struct bytes out;
    struct error err = {0};
    bytes_init(&out, 1 << 20);
    (void)!bytes_append_string(&out, "{\"address\":");
    (void)!json_append_string(&out, bytes_view_string(connection->address));
    (void)!bytes_printf(&out, ",\"status\":\"%s\",\"me\":",
                        health->serving   ? "SERVING"
                        : health->reached ? "NOT_SERVING"
                                          : "UNREACHABLE");
    if (me == NULL || print_json_to(me, &out, &err) != STATUS_OK) (void)!bytes_append_string(&out, "null");
    (void)!bytes_append_string(&out, ",\"models\":[");
    for (size_t i = 0; models != NULL && i < models->n_data; i++) {
        if (i > 0) (void)!bytes_append_byte(&out, ',');
        (void)!json_append_string(&out, bytes_view_string(models->data[i]->id));
    }
    (void)!bytes_append_string(&out, "]}");
    bool whole = !out.failed && puts((const char *)out.data) >= 0;
    bytes_deinit(&out);
    return whole ? EXIT_OK : EXIT_FAILED;
}

static void print_status(const struct connection *connection, const struct health *health, const ProtobufCMessage *me,
                         const Bora__V1__ModelList *models) {
    printf("gateway  %s (from %s)\n", connection->address, connection->address_source);
    printf("state    %s%s%s", terminal_style(stdout, health->serving ? STYLE_GOOD : STYLE_BAD),
           health->serving   ? "serving"
           : health->reached ? "not serving: it starts, stops, or lacks a service it needs"
                             : "cannot be reached",
           terminal_plain(stdout));
    if (health->reached) printf(", answered in %.1f ms", (double)health->answer_us / 1000);
    printf("\n");
    if (!health->reached) {
        char cause[UNREACHED_CAUSE_BYTES];
        unreached_cause(health->err.message, cause);
        printf("         %s\n", cause);
        unreached_advise(stdout, connection, health->err.message, "         ");
        return;
    }
    if (models != NULL) {
        printf("models   ");
        served_print_names(stdout, models);
        printf("\n");
    }
    if (me != NULL) {
        printf("key      ");
        print_line(stdout, field_text(me, "role"));
        if (field_text(me, "api_key.name")[0] != 0) {
            fputs(", ", stdout);
            print_line(stdout, field_text(me, "api_key.name"));
        }
        printf(" (from %s)\n", connection->credential_source);
    } else {
        printf("key      %s\n",
               connection->authorization == NULL ? "none: see bora config --help" : "refused: see bora whoami");
    }
}

/** Whether a key is there to be found is not the question here: without one the gateway's state is told all the same. */
static bool has_key(void) {
    struct config config;
    struct error err = {0};
    const char *source;
    if (config_load(connection_options.profile, true, &config, &err) != STATUS_OK)
        return true; /* connection_open says what is wrong */
    bool found = false;
    static const enum config_name names[] = {CONFIG_API_KEY, CONFIG_API_KEY_FILE, CONFIG_ADMIN_KEY,
                                             CONFIG_ADMIN_KEY_FILE};
    for (int i = 0; i < COUNT(names); i++)
        found = found || connection_setting(&config, names[i], NULL, &source) != NULL;
    config_free(&config);
    return found || connection_options.api_key_file != NULL || connection_options.admin_key_file != NULL;
}

static int run_status(const struct command_usage *usage, const char *const *words, int count) {
    (void)usage, (void)words, (void)count;
    struct connection connection;
    struct health health = {0};
    ProtobufCMessage *me = NULL;
    const Bora__V1__ModelList *models = NULL;
    int result = connection_open(has_key() ? CREDENTIAL_ANY : CREDENTIAL_NONE, &connection);
    if (result != GO_ON) return result;
    check_health(&connection, &health);
    connection.quiet = true;
    if (health.reached && connection.authorization != NULL) {
        (void)fetch_me(&connection, &me);
        (void)served_fetch(&connection, &models);
    }
    if (connection_options.json)
        result = print_status_json(&connection, &health, me, models);
    else if (!connection_options.quiet)
        print_status(&connection, &health, me, models);
    connection_close(&connection);
    if (result != GO_ON && result != EXIT_OK) return result;
    return health.serving ? EXIT_OK : EXIT_UNAVAILABLE;
}

const struct command status_commands[] = {
    {.usage = {"status", "",
               "Whether the gateway serves (grpc.health.v1), what models there are, and whether the key is good.\n"
               "The exit status is 0 only when it serves: `bora status --quiet` is a question for scripts.",
               0, 0},
     .help = "whether the gateway serves, and whether the key is good",
     .arguments = no_arguments,
     .connects = true,
     .run = run_status},
    {.usage = {NULL, NULL, NULL, 0, 0}}};

/* --- workers ------------------------------------------------------------------------------------------------------- */

static const struct table_column worker_columns[] = {{"WORKER", "worker_id", CELL_TEXT, 36, 1},
                                                     {"MODEL", "model", CELL_TEXT, 40},
                                                     {"TIER", "tier", CELL_TEXT, 0},
                                                     {"RUNNING", "running", CELL_COUNT, 0},
                                                     {"WAITING", "waiting", CELL_COUNT, 0},
                                                     {"AT ONCE", "sequences_max", CELL_COUNT, 0, 4},
                                                     {"KV USED", "kv_tokens_used", CELL_COUNT, 0},
                                                     {"OF TOKENS", "kv_tokens_total", CELL_COUNT, 0, 2},
                                                     {"DRAINING", "draining", CELL_TEXT, 0, 3},
                                                     {"DEVICE", "kernel_variant", CELL_TEXT, 0, 5},
                                                     {"VERSION", "version", CELL_TEXT, 0, 7},
                                                     {"SINCE", "started_at", CELL_AGO, 0, 6}};

static int run_workers(const struct command_usage *usage, const char *const *words, int count) {
    (void)usage, (void)words, (void)count;
    const struct result_list list = {.items = "workers", .id = "worker_id"};
    Bora__V1__ListWorkersRequest request = BORA__V1__LIST_WORKERS_REQUEST__INIT;
    struct connection connection;
    ProtobufCMessage *reply = NULL;
    int result = connection_open(CREDENTIAL_ADMIN, &connection);
    if (result != GO_ON) return result;
    result = connection_call(&connection, "/bora.v1.ModelService/ListWorkers", &request.base,
                             &bora__v1__worker_list__descriptor, &reply);
    if (result == GO_ON)
        result = result_print_list(&list, reply, worker_columns, COUNT(worker_columns), "No worker is alive.");
    connection_close(&connection);
    return result;
}

const struct command workers_commands[] = {
    {.usage = {"workers", "",
               "The workers that are alive, and how busy they are: answers under way and waiting, and the "
               "key/value cache.",
               0, 0},
     .help = "the workers that are alive, and how busy they are",
     .arguments = no_arguments,
     .connects = true,
     .run = run_workers},
    {.usage = {NULL, NULL, NULL, 0, 0}}};
