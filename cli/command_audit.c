/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "bora/v1/tenants.pb-c.h"
#include "cli/audit_detail.h"
#include "cli/commands.h"
#include "cli/fields.h"
#include "cli/keys.h"
#include "cli/places.h"
#include "cli/print.h"
#include "cli/result.h"
#include "cli/usage_export.h"
#include "cli/values.h"

#include <string.h>

enum { ENTRIES_DEFAULT = 100, PAGE = 1000 };

static struct {
    const char *organization, *key, *actor, *action, *from, *to;
    struct argument_integer limit;
    bool all, csv;
} options;
static const struct argument arguments[] = {
    {ARGUMENT_TEXT, "key", "KEY_ID", "what was done to this key, and with it", &options.key},
    {ARGUMENT_TEXT, "actor", "KEY_ID", "who did it: a key, or operator", &options.actor},
    {ARGUMENT_TEXT, "action", "ACTION", "key.create, ...; key: all that is done to keys", &options.action},
    {ARGUMENT_TEXT, "from", "DATE", "from this on: 2026-11-30, 2026-11, yesterday, 7d", &options.from},
    {ARGUMENT_TEXT, "to", "DATE", "up to this, without it (now)", &options.to},
    {ARGUMENT_INTEGER, "limit", "N", "the newest N (100)", &options.limit},
    {ARGUMENT_FLAG, "all", NULL, "all there are", &options.all},
    {ARGUMENT_FLAG, "csv", NULL, "print a CSV table", &options.csv},
    {ARGUMENT_TEXT, "organization", "ORGANIZATION", "of this organization (operator); a deleted one by its id",
     &options.organization},
    {ARGUMENT_END, NULL, NULL, NULL, NULL}};
static const struct table_column columns[] = {{"TIME", "time", CELL_TEXT, 0}, /* made readable before */
                                              {"ACTOR", "actor", CELL_TEXT, 14},
                                              {"CALLED", "actor_name", CELL_TEXT, 24, 3},
                                              {"ACTION", "action", CELL_TEXT, 24},
                                              {"TARGET", "target", CELL_TEXT, 13},
                                              {"NAME", "target_name", CELL_TEXT, 24, 1},
                                              {"FROM", "address", CELL_TEXT, 24, 2},
                                              {"DETAIL", "detail", CELL_TEXT, 0}};

static const char *name_of(const void *context, const char *id) {
    const struct field_value workspaces = field_get(context, "workspaces");
    for (size_t i = 0; i < workspaces.count; i++) {
        if (strcmp(field_text(workspaces.items[i], "id"), id) == 0) return field_text(workspaces.items[i], "name");
    }
    return NULL;
}

/** The organisation's workspaces, where an entry names one by its id; empty where they cannot be had. */
static const ProtobufCMessage *fetch_workspaces(struct connection *connection,
                                                const Bora__V1__ListAuditResponse *trail) {
    static const Bora__V1__ListWorkspacesResponse none = BORA__V1__LIST_WORKSPACES_RESPONSE__INIT;
    static const struct result_list list = {.method = "/bora.v1.TenantService/ListWorkspaces",
                                            .reply = &bora__v1__list_workspaces_response__descriptor,
                                            .items = "workspaces",
                                            .cursor = "offset",
                                            .page = PAGE,
                                            .most = PAGE};
    Bora__V1__ListWorkspacesRequest request = BORA__V1__LIST_WORKSPACES_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    bool any = false;
    for (size_t i = 0; i < trail->n_entries; i++)
        any = any || strstr(trail->entries[i]->detail, "\"workspace\":") != NULL;
    if (!any) return &none.base;
    field_set_text(&request.base, "organization_id", options.organization);
    connection->quiet = true;
    int result = result_fetch(connection, &list, &request.base, &reply);
    connection->quiet = false;
    return result == GO_ON ? reply : &none.base;
}

/** Times to the second, as of two changes the order counts; details in words. */
static void make_readable(struct connection *connection, Bora__V1__ListAuditResponse *trail) {
    const ProtobufCMessage *workspaces = fetch_workspaces(connection, trail);
    for (size_t i = 0; i < trail->n_entries; i++) {
        Bora__V1__AuditEntry *entry = trail->entries[i];
        char text[VALUE_TIME_BYTES];
        int64_t seconds;
        entry->detail = (char *)audit_detail_text(&connection->arena, entry->detail, name_of, workspaces);
        if (!value_parse_time(entry->time, &seconds)) continue;
        value_format_second(seconds, text);
        char *copy = arena_copy(&connection->arena, text, strlen(text));
        if (copy != NULL) entry->time = copy;
    }
}

static bool is_filtered(void) {
    return options.key != NULL || options.actor != NULL || options.action != NULL || options.from != NULL ||
           options.to != NULL;
}

static int check(const struct command_usage *usage) {
    if (options.limit.given && (options.limit.value < 1 || options.limit.value > RESULT_ITEMS_MAX))
        return usage_error(usage, "--limit: from 1 to %d", RESULT_ITEMS_MAX);
    if (options.limit.given && options.all) return usage_error(usage, "--limit and --all exclude each other");
    if (options.csv && connection_options.json) return usage_error(usage, "--csv and --json exclude each other");
    int result = options.key != NULL ? keys_check_id(usage, options.key) : GO_ON;
    return result == GO_ON && options.actor != NULL ? keys_check_id(usage, options.actor) : result;
}

static int print_trail(struct connection *connection, const struct result_list *list, ProtobufCMessage *reply) {
    Bora__V1__ListAuditResponse *trail = (Bora__V1__ListAuditResponse *)reply;
    if (options.csv)
        return print_csv(&bora__v1__audit_entry__descriptor, (ProtobufCMessage *const *)trail->entries,
                         trail->n_entries);
    if (!connection_options.json && !connection_options.quiet) make_readable(connection, trail);
    return result_print_list(list, reply, columns, sizeof columns / sizeof *columns,
                             is_filtered() ? "Nothing that fits was changed." : "Nothing was changed yet.");
}

static int run(const struct command_usage *usage, const char *const *words, int count) {
    (void)words, (void)count;
    Bora__V1__ListAuditRequest request = BORA__V1__LIST_AUDIT_REQUEST__INIT;
    char from[VALUE_TIME_BYTES], to[VALUE_TIME_BYTES];
    const struct result_list list = {.method = "/bora.v1.TenantService/ListAudit",
                                     .reply = &bora__v1__list_audit_response__descriptor,
                                     .items = "entries",
                                     .cursor = "before",
                                     .next = "next_before",
                                     .id = "id",
                                     .page = PAGE,
                                     .most = options.all           ? 0
                                             : options.limit.given ? (int)options.limit.value
                                                                   : ENTRIES_DEFAULT};
    struct connection connection;
    ProtobufCMessage *reply = NULL;
    int result = check(usage);
    if (result == GO_ON) result = usage_set_date(usage, "from", options.from, from, &request.base);
    if (result == GO_ON) result = usage_set_date(usage, "to", options.to, to, &request.base);
    if (result == GO_ON) result = connection_open(CREDENTIAL_ADMIN, &connection);
    if (result != GO_ON) return result;
    if (options.organization == NULL) places_tell_default(&connection);
    result = places_find(&connection, PLACE_ORGANIZATION, options.organization, NULL, &options.organization);
    field_set_text(&request.base, "organization_id", options.organization);
    field_set_text(&request.base, "key_id", options.key);
    field_set_text(&request.base, "actor", options.actor);
    field_set_text(&request.base, "action", options.action);
    if (result == GO_ON) result = result_fetch(&connection, &list, &request.base, &reply);
    if (result == GO_ON) result = print_trail(&connection, &list, reply);
    connection_close(&connection);
    return result;
}

const struct command audit_commands[] = {
    {.usage = {"audit", "",
               "Who changed what, newest first: keys, workspaces, organizations, limits, prices. The options are of "
               "entries\nthat fit all of them.",
               0, 0},
     .help = "who changed what, newest first",
     .arguments = arguments,
     .connects = true,
     .run = run},
    {.usage = {NULL, NULL, NULL, 0, 0}}};
