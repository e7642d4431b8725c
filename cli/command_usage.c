/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "bora/v1/usage.pb-c.h"
#include "cli/commands.h"
#include "cli/fields.h"
#include "cli/keys.h"
#include "cli/places.h"
#include "cli/print.h"
#include "cli/result.h"
#include "cli/terminal.h"
#include "cli/usage_export.h"
#include "cli/values.h"

#include <string.h>

enum { GROUPS_MAX = 3 };

/* --- show ---------------------------------------------------------------------------------------------------------- */

static struct {
    const char *from, *to, *by, *interval, *key, *workspace, *model, *organization;
    bool csv;
} options;
static const struct argument show_arguments[] = {
    {ARGUMENT_TEXT, "from", "DATE", "from this on: 2026-11-30, 2026-11, yesterday, 7d (the month's first day)",
     &options.from},
    {ARGUMENT_TEXT, "to", "DATE", "up to this, without it (now)", &options.to},
    {ARGUMENT_CHOICE, "interval", "hour|day|month|all", "a line for each (day)", &options.interval},
    {ARGUMENT_TEXT, "by", "LIST", "and for each key, workspace, model: their names with commas", &options.by},
    {ARGUMENT_TEXT, "key", "KEY_ID", "of this key", &options.key},
    {ARGUMENT_TEXT, "workspace", "WORKSPACE", "of this workspace, by name or id", &options.workspace},
    {ARGUMENT_TEXT, "model", "MODEL", "of this model", &options.model},
    {ARGUMENT_TEXT, "organization", "ORGANIZATION", "of this organization (operator)", &options.organization},
    {ARGUMENT_FLAG, "csv", NULL, "print a CSV table", &options.csv},
    {ARGUMENT_END, NULL, NULL, NULL, NULL}};

/** "key,model" into the request. */
static int split_groups(const struct command_usage *usage, struct arena *arena, Bora__V1__GetUsageRequest *request) {
    if (options.by == NULL) return GO_ON;
    char *copy = arena_copy(arena, options.by, strlen(options.by)), *rest = NULL;
    request->group_by = arena_alloc_array(arena, GROUPS_MAX, sizeof *request->group_by);
    if (copy == NULL || request->group_by == NULL) return EXIT_FAILED;
    for (char *word = strtok_r(copy, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
        if (!value_is_choice("key|workspace|model", word))
            return usage_error(usage, "--by: '%.64s' is not one of key, workspace, model", word);
        for (size_t i = 0; i < request->n_group_by; i++) {
            if (strcmp(request->group_by[i], word) == 0) return usage_error(usage, "--by has %s twice", word);
        }
        request->group_by[request->n_group_by++] = word; /* three different words at most */
    }
    return GO_ON;
}

int usage_set_date(const struct command_usage *usage, const char *option, const char *text, char out[VALUE_TIME_BYTES],
                   ProtobufCMessage *request) {
    struct error err = {0};
    if (text == NULL) return GO_ON;
    if (value_parse_date(text, clock_unix_ns(clock_system()), out, &err) != STATUS_OK)
        return usage_error(usage, "--%s: %s", option, err.message);
    field_set_text(request, option, out);
    return GO_ON;
}

/** Moments of intervals as long as they have to be: "2026-11-30" for a day. They are UTC. */
static void shorten_starts(Bora__V1__UsageReport *report) {
    size_t length = strcmp(report->interval, "hour") == 0 ? 16 : strcmp(report->interval, "month") == 0 ? 7 : 10;
    for (size_t i = 0; i < report->n_rows; i++) {
        char *start = report->rows[i]->start;
        if (strlen(start) <= length) continue;
        start[length] = 0;
        if (length > 10) start[10] = ' ';
    }
}

static void print_report(struct arena *arena, Bora__V1__UsageReport *report, const Bora__V1__GetUsageRequest *request) {
    struct table_column columns[TABLE_COLUMNS_MAX];
    char cost[24] = "COST", currency[8], start[24];
    int count = 0;
    shorten_starts(report);
    snprintf(start, sizeof start, "%.8s (UTC)", report->interval);
    for (char *c = start; *c != 0; c++) *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
    columns[count++] = (struct table_column){strcmp(report->interval, "all") == 0 ? "" : start, "start", CELL_TEXT, 0};
    for (size_t i = 0; i < request->n_group_by; i++) {
        const char *by = request->group_by[i];
        if (strcmp(by, "key") == 0) {
            columns[count++] = (struct table_column){"KEY ID", "key_prefix", CELL_TEXT, 0};
            columns[count++] = (struct table_column){"KEY", "key_name", CELL_TEXT, 24};
        } else if (strcmp(by, "workspace") == 0) {
            columns[count++] = (struct table_column){"WORKSPACE", "workspace_name", CELL_TEXT, 24};
        } else {
            columns[count++] = (struct table_column){"MODEL", "model", CELL_TEXT, 32};
        }
    }
    print_clean_to(report->currency, currency, sizeof currency);
    if (currency[0] != 0) snprintf(cost, sizeof cost, "COST %s", currency);
    columns[count++] = (struct table_column){"REQUESTS", "requests", CELL_COUNT, 0};
    columns[count++] = (struct table_column){"INPUT", "input_tokens", CELL_COUNT, 0};
    columns[count++] = (struct table_column){"CACHED", "cached_tokens", CELL_COUNT, 0, 1};
    columns[count++] = (struct table_column){"OUTPUT", "output_tokens", CELL_COUNT, 0};
    columns[count++] = (struct table_column){cost, "cost", CELL_MONEY, 0};
    ProtobufCMessage **rows = arena_alloc_array(arena, report->n_rows + 1, sizeof *rows);
    if (rows == NULL) return;
    size_t row_count = report->n_rows;
    for (size_t i = 0; i < row_count; i++) rows[i] = &report->rows[i]->base;
    if (report->total != NULL) {
        report->total->start = (char *)"total";
        rows[row_count++] = &report->total->base;
    }
    table_print(stdout, columns, count, rows, row_count);
}

static int print_usage(struct arena *arena, ProtobufCMessage *reply, const Bora__V1__GetUsageRequest *request) {
    Bora__V1__UsageReport *report = (Bora__V1__UsageReport *)reply;
    if (connection_options.json) return print_json(reply);
    if (options.csv)
        return print_csv(&bora__v1__usage_row__descriptor, (ProtobufCMessage *const *)report->rows, report->n_rows);
    if (report->n_rows == 0)
        terminal_note("Nothing was used from %s to %s.\n", report->from, report->to);
    else
        print_report(arena, report, request);
    return EXIT_OK;
}

/** GO_ON, or how to end after a sentence. */
static int find_places(struct connection *connection, Bora__V1__GetUsageRequest *request) {
    const char *workspace = options.workspace, *organization = options.organization;
    if (options.key == NULL && workspace == NULL && organization == NULL) places_tell_default(connection);
    int result = places_find_both(connection, &workspace, &organization);
    field_set_text(&request->base, "workspace_id", workspace);
    field_set_text(&request->base, "organization_id", organization);
    return result;
}

static int run_show(const struct command_usage *usage, const char *const *words, int count) {
    (void)words, (void)count;
    Bora__V1__GetUsageRequest request = BORA__V1__GET_USAGE_REQUEST__INIT;
    char from[VALUE_TIME_BYTES], to[VALUE_TIME_BYTES];
    struct connection connection;
    struct arena arena;
    ProtobufCMessage *reply = NULL;
    arena_init(&arena, 64 << 20);
    int result = options.key != NULL ? keys_check_id(usage, options.key) : GO_ON;
    if (result == GO_ON && options.csv && connection_options.json)
        result = usage_error(usage, "--csv and --json exclude each other");
    if (result == GO_ON) result = usage_set_date(usage, "from", options.from, from, &request.base);
    if (result == GO_ON) result = usage_set_date(usage, "to", options.to, to, &request.base);
    if (result == GO_ON) result = split_groups(usage, &arena, &request);
    field_set_text(&request.base, "interval", options.interval);
    field_set_text(&request.base, "key_id", options.key);
    field_set_text(&request.base, "model", options.model);
    if (result == GO_ON) result = connection_open(CREDENTIAL_ADMIN, &connection);
    if (result == GO_ON) {
        result = find_places(&connection, &request);
        if (result == GO_ON)
            result = connection_call(&connection, "/bora.v1.UsageService/GetUsage", &request.base,
                                     &bora__v1__usage_report__descriptor, &reply);
        if (result == GO_ON) result = print_usage(&arena, reply, &request);
        connection_close(&connection);
    }
    arena_deinit(&arena);
    return result;
}

const struct command usage_commands[] = {
    {.usage = {"usage show", "",
               "What was used, and what it costs: by hour, day or month, key, workspace and model. Dates are UTC.\n"
               "An admin sees the organization, a member the workspace, a service key itself.",
               0, 0},
     .help = "requests, tokens and costs by day, key, model",
     .arguments = show_arguments,
     .connects = true,
     .is_default = true,
     .run = run_show},
    {.usage =
         {"usage export", "FILE",
          "Write the ledger, one line for each answer, as CSV or JSON lines (by the file's name, or --format). FILE\n"
          "appears only when it is whole; until then there is FILE.partial, from which --resume goes on. With - it "
          "is\nwritten to standard output.",
          1, 1},
     .help = "the ledger itself, into a file",
     .arguments = usage_export_arguments,
     .connects = true,
     .run = usage_export_run},
    {.usage = {NULL, NULL, NULL, 0, 0}}};
