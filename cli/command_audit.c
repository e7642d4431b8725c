/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "bora/v1/tenants.pb-c.h"
#include "cli/commands.h"
#include "cli/fields.h"
#include "cli/places.h"
#include "cli/result.h"

enum { ENTRIES_DEFAULT = 100, PAGE = 1000 };

static const char *organization;
static struct argument_integer limit;
static bool all;
static const struct argument arguments[] = {{ARGUMENT_INTEGER, "limit", "N", "the newest N (100)", &limit},
                                            {ARGUMENT_FLAG, "all", NULL, "all there are", &all},
                                            {ARGUMENT_TEXT, "organization", "ORGANIZATION",
                                             "of this organization (operator); a deleted one by its id", &organization},
                                            {ARGUMENT_END, NULL, NULL, NULL, NULL}};
static const struct table_column columns[] = {{"TIME", "time", CELL_TIME, 0},
                                              {"ACTOR", "actor", CELL_TEXT, 14},
                                              {"ACTION", "action", CELL_TEXT, 24},
                                              {"TARGET", "target", CELL_TEXT, 13},
                                              {"NAME", "target_name", CELL_TEXT, 24, 1},
                                              {"FROM", "address", CELL_TEXT, 24, 2},
                                              {"DETAIL", "detail", CELL_TEXT, 0}};

static int run(const struct command_usage *usage, const char *const *words, int count) {
    (void)words, (void)count;
    Bora__V1__ListAuditRequest request = BORA__V1__LIST_AUDIT_REQUEST__INIT;
    if (limit.given && (limit.value < 1 || limit.value > RESULT_ITEMS_MAX))
        return usage_error(usage, "--limit: from 1 to %d", RESULT_ITEMS_MAX);
    if (limit.given && all) return usage_error(usage, "--limit and --all exclude each other");
    const struct result_list list = {.method = "/bora.v1.TenantService/ListAudit",
                                     .reply = &bora__v1__list_audit_response__descriptor,
                                     .items = "entries",
                                     .cursor = "before",
                                     .id = "id",
                                     .page = PAGE,
                                     .most = all           ? 0
                                             : limit.given ? (int)limit.value
                                                           : ENTRIES_DEFAULT};
    struct connection connection;
    ProtobufCMessage *reply = NULL;
    int result = connection_open(CREDENTIAL_ADMIN, &connection);
    if (result != GO_ON) return result;
    if (organization == NULL) places_tell_default(&connection);
    result = places_find(&connection, PLACE_ORGANIZATION, organization, NULL, &organization);
    field_set_text(&request.base, "organization_id", organization);
    if (result == GO_ON) result = result_fetch(&connection, &list, &request.base, &reply);
    if (result == GO_ON)
        result = result_print_list(&list, reply, columns, sizeof columns / sizeof *columns, "Nothing was changed yet.");
    connection_close(&connection);
    return result;
}

const struct command audit_commands[] = {
    {.usage = {"audit", "", "Who changed what, newest first: keys, workspaces, organizations, limits, prices.", 0, 0},
     .help = "who changed what, newest first",
     .arguments = arguments,
     .connects = true,
     .run = run},
    {.usage = {NULL, NULL, NULL, 0, 0}}};
