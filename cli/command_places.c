/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Workspaces and organizations: the same acts on two kinds of places. */
#include "bora/v1/tenants.pb-c.h"
#include "cli/commands.h"
#include "cli/confirm.h"
#include "cli/fields.h"
#include "cli/limits.h"
#include "cli/places.h"
#include "cli/print.h"
#include "cli/result.h"

#include <string.h>

#define SERVICE "/bora.v1.TenantService/"
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))
enum { REQUEST_BYTES_MAX = 512 };

/** A kind of place: how its methods and messages are called. */
struct place {
    enum place_kind kind;
    const char *id_field; /* of requests: "workspace_id" */
    const char *create, *get, *update;
    const ProtobufCMessageDescriptor *create_request, *get_request, *update_request, *reply;
    const struct result_list list;
    const ProtobufCMessageDescriptor *list_request;
    const char *nothing;
};
static const struct place workspace = {.kind = PLACE_WORKSPACE,
                                       .id_field = "workspace_id",
                                       .create = SERVICE "CreateWorkspace",
                                       .get = SERVICE "GetWorkspace",
                                       .update = SERVICE "UpdateWorkspace",
                                       .create_request = &bora__v1__create_workspace_request__descriptor,
                                       .get_request = &bora__v1__get_workspace_request__descriptor,
                                       .update_request = &bora__v1__update_workspace_request__descriptor,
                                       .reply = &bora__v1__workspace__descriptor,
                                       .list = {.method = SERVICE "ListWorkspaces",
                                                .reply = &bora__v1__list_workspaces_response__descriptor,
                                                .items = "workspaces",
                                                .cursor = "offset",
                                                .id = "id",
                                                .word = "name",
                                                .about = "id",
                                                .page = 1000},
                                       .list_request = &bora__v1__list_workspaces_request__descriptor,
                                       .nothing = "There are no workspaces."};
static const struct place organization = {.kind = PLACE_ORGANIZATION,
                                          .id_field = "organization_id",
                                          .create = SERVICE "CreateOrganization",
                                          .get = SERVICE "GetOrganization",
                                          .update = SERVICE "UpdateOrganization",
                                          .create_request = &bora__v1__create_organization_request__descriptor,
                                          .get_request = &bora__v1__get_organization_request__descriptor,
                                          .update_request = &bora__v1__update_organization_request__descriptor,
                                          .reply = &bora__v1__organization__descriptor,
                                          .list = {.method = SERVICE "ListOrganizations",
                                                   .reply = &bora__v1__list_organizations_response__descriptor,
                                                   .items = "organizations",
                                                   .cursor = "offset",
                                                   .id = "id",
                                                   .word = "name",
                                                   .about = "id",
                                                   .page = 1000},
                                          .list_request = &bora__v1__list_organizations_request__descriptor,
                                          .nothing = "There are no organizations."};

static struct {
    const char *name, *organization, *each_key;
    bool names;
    struct limit_options limits;
    struct argument_list model_limits;
} options;

/* Those that only workspaces have stand last. */
static const struct table_column list_columns[] = {{"ID", "id", CELL_TEXT, 0},
                                                   {"NAME", "name", CELL_TEXT, 32},
                                                   {"CREATED", "created_at", CELL_TIME, 0, 3},
                                                   {"DISABLED", "disabled", CELL_TEXT, 0, 1},
                                                   {"LIMITS", "limits", CELL_BOUNDS, 64, 2},
                                                   {"ORGANIZATION", "organization_id", CELL_TEXT, 0}};
static const struct table_column columns[] = {{"id", "id", CELL_TEXT, 0},
                                              {"name", "name", CELL_TEXT, 0},
                                              {"created", "created_at", CELL_TIME, 0},
                                              {"disabled", "disabled", CELL_TEXT, 0},
                                              {"limits", "limits", CELL_LIMITS, 0},
                                              {"organization", "organization_id", CELL_TEXT, 0},
                                              {"limits of each key", "key_limits", CELL_LIMITS, 0}};
enum { LIST_COLUMNS_OF_ORGANIZATION = 5, COLUMNS_OF_ORGANIZATION = 5 };

static int print_place(const struct place *place, const ProtobufCMessage *reply) {
    int count = place == &workspace ? COUNT(columns) : COLUMNS_OF_ORGANIZATION;
    int result = result_print_one(reply, columns, count, "id");
    if (connection_options.json || connection_options.quiet) return result;
    result_print_model_limits(reply);
    return result;
}

/* --- acts ---------------------------------------------------------------------------------------------------------- */

static int list(const struct place *place) {
    _Alignas(16) char memory[REQUEST_BYTES_MAX];
    ProtobufCMessage *request = field_message_init(place->list_request, memory, sizeof memory), *reply = NULL;
    int count = place == &workspace ? COUNT(list_columns) : LIST_COLUMNS_OF_ORGANIZATION;
    struct connection connection;
    int result = connection_open(CREDENTIAL_ADMIN, &connection);
    if (result != GO_ON) return result;
    result = places_find(&connection, PLACE_ORGANIZATION, options.organization, NULL, &options.organization);
    if (options.organization != NULL) field_set_text(request, "organization_id", options.organization);
    if (result == GO_ON) result = result_fetch(&connection, &place->list, request, &reply);
    bool for_people = !connection_options.json && !connection_options.quiet && !options.names;
    if (result == GO_ON && for_people && place == &workspace) places_name_organizations(&connection, reply);
    if (result == GO_ON)
        result = options.names ? result_print_words(&place->list, reply)
                               : result_print_list(&place->list, reply, list_columns, count, place->nothing);
    connection_close(&connection);
    return result;
}

/** The place that was named, a workspace in the organization of --organization, if that was given. */
static int find_named(struct connection *connection, const struct place *place, const char *named, bool to_end,
                      const char **out_id) {
    const char *in = NULL;
    int result = places_find(connection, PLACE_ORGANIZATION, options.organization, NULL, &in);
    if (result != GO_ON) return result;
    return to_end ? places_find_to_end(connection, place->kind, named, in, out_id)
                  : places_find(connection, place->kind, named, in, out_id);
}

/** The place that is to end: who sits at a terminal is asked, with its name. `act`: "Delete"; `then`: what happens. */
static int find_to_end(struct connection *connection, const struct place *place, const char *named, const char *act,
                       const char *then, const char **out_id) {
    enum { NAME_BYTES = 128 };
    _Alignas(16) char memory[REQUEST_BYTES_MAX];
    char name[NAME_BYTES];
    ProtobufCMessage *request = field_message_init(place->get_request, memory, sizeof memory), *reply = NULL;
    int result = find_named(connection, place, named, true, out_id);
    if (result != GO_ON || !confirm_asks()) return result;
    field_set_text(request, place->id_field, *out_id);
    result = connection_call(connection, place->get, request, place->reply, &reply);
    if (result != GO_ON) return result;
    print_clean_to(field_text(reply, "name"), name, sizeof name);
    return confirm("%s %s '%s' (%.36s)? %s", act, place == &workspace ? "workspace" : "organization", name, *out_id,
                   then);
}

/** `named`: the place that the request is about, as it was typed; NULL: a new one, of the organization that was named, if any. */
static int call(const struct place *place, const char *method, ProtobufCMessage *request, const char *named) {
    struct connection connection;
    ProtobufCMessage *reply = NULL;
    const char *id = NULL;
    bool disables = field_known(request, "disabled") && field_get(request, "disabled").flag;
    int result = connection_open(CREDENTIAL_ADMIN, &connection);
    if (result != GO_ON) return result;
    if (named != NULL) {
        result = disables ? find_to_end(&connection, place, named, "Disable",
                                        "Its answers end, and all its keys are refused until it is enabled.", &id)
                          : find_named(&connection, place, named, false, &id);
        field_set_text(request, place->id_field, id);
    } else if (place == &workspace) {
        if (options.organization == NULL) places_tell_default(&connection);
        result = places_find(&connection, PLACE_ORGANIZATION, options.organization, NULL, &id);
        field_set_text(request, "organization_id", id);
    }
    if (result == GO_ON) result = connection_call(&connection, method, request, place->reply, &reply);
    if (result == GO_ON) result = print_place(place, reply);
    connection_close(&connection);
    return result;
}

static int create(const struct place *place, const struct command_usage *usage, const char *name) {
    _Alignas(16) char memory[REQUEST_BYTES_MAX];
    ProtobufCMessage *request = field_message_init(place->create_request, memory, sizeof memory);
    Bora__V1__Limits limits = BORA__V1__LIMITS__INIT, key_limits = BORA__V1__LIMITS__INIT;
    Bora__V1__ModelLimits **models = NULL;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    field_set_text(request, "name", name);
    int result = limits_apply(usage, &options.limits, &limits);
    if (result == GO_ON) result = limits_parse_models(usage, &options.model_limits, &arena, &models);
    if (limits_given(&options.limits) > 0) field_set_message(request, "limits", &limits.base);
    if (result == GO_ON && options.each_key != NULL) {
        result = limits_parse_list(usage, "each-key", options.each_key, &arena, &key_limits);
        field_set_message(request, "key_limits", &key_limits.base);
    }
    field_set_list(request, "model_limits", (void *const *)models, (size_t)options.model_limits.count);
    if (result == GO_ON) result = call(place, place->create, request, NULL);
    arena_deinit(&arena);
    return result;
}

static int get(const struct place *place, const char *named) {
    _Alignas(16) char memory[REQUEST_BYTES_MAX];
    return call(place, place->get, field_message_init(place->get_request, memory, sizeof memory), named);
}

static int update(const struct place *place, const char *named, const char *name, const bool *disabled) {
    _Alignas(16) char memory[REQUEST_BYTES_MAX];
    ProtobufCMessage *request = field_message_init(place->update_request, memory, sizeof memory);
    field_set_text(request, "name", name);
    if (disabled != NULL) field_set_flag(request, "disabled", *disabled);
    return call(place, place->update, request, named);
}

/* --- commands ------------------------------------------------------------------------------------------------------ */

#define COMMANDS_OF(place)                                                                                  \
    static int list_##place(const struct command_usage *usage, const char *const *words, int count) {       \
        (void)usage, (void)words, (void)count;                                                              \
        return list(&place);                                                                                \
    }                                                                                                       \
    static int create_##place(const struct command_usage *usage, const char *const *words, int count) {     \
        (void)count;                                                                                        \
        return create(&place, usage, words[0]);                                                             \
    }                                                                                                       \
    static int get_##place(const struct command_usage *usage, const char *const *words, int count) {        \
        (void)usage, (void)count;                                                                           \
        return get(&place, words[0]);                                                                       \
    }                                                                                                       \
    static int update_##place(const struct command_usage *usage, const char *const *words, int count) {     \
        (void)count;                                                                                        \
        if (options.name == NULL) return usage_error(usage, "--name is missing (limits: bora limits set)"); \
        return update(&place, words[0], options.name, NULL);                                                \
    }                                                                                                       \
    static int disable_##place(const struct command_usage *usage, const char *const *words, int count) {    \
        (void)usage, (void)count;                                                                           \
        return update(&place, words[0], NULL, &(bool){true});                                               \
    }                                                                                                       \
    static int enable_##place(const struct command_usage *usage, const char *const *words, int count) {     \
        (void)usage, (void)count;                                                                           \
        return update(&place, words[0], NULL, &(bool){false});                                              \
    }
COMMANDS_OF(workspace)
COMMANDS_OF(organization)

/** `request` has the field that `place` calls its id. */
static int delete (const struct place *place, const char *method, ProtobufCMessage *request,
                   const ProtobufCMessageDescriptor *descriptor, const char *named) {
    struct connection connection;
    ProtobufCMessage *reply = NULL;
    const char *id = NULL;
    int result = connection_open(CREDENTIAL_ADMIN, &connection);
    if (result != GO_ON) return result;
    result = find_to_end(&connection, place, named, "Delete", "There is no way back.", &id);
    field_set_text(request, place->id_field, id);
    if (result == GO_ON) result = connection_call(&connection, method, request, descriptor, &reply);
    if (result == GO_ON) result = result_print_done(reply, "%s is deleted.\n", named);
    connection_close(&connection);
    return result;
}

static int delete_workspace(const struct command_usage *usage, const char *const *words, int count) {
    (void)usage, (void)count;
    Bora__V1__DeleteWorkspaceRequest request = BORA__V1__DELETE_WORKSPACE_REQUEST__INIT;
    return delete (&workspace, SERVICE "DeleteWorkspace", &request.base,
                   &bora__v1__delete_workspace_response__descriptor, words[0]);
}

static int delete_organization(const struct command_usage *usage, const char *const *words, int count) {
    (void)usage, (void)count;
    Bora__V1__DeleteOrganizationRequest request = BORA__V1__DELETE_ORGANIZATION_REQUEST__INIT;
    return delete (&organization, SERVICE "DeleteOrganization", &request.base,
                   &bora__v1__delete_organization_response__descriptor, words[0]);
}

#define OF_ORGANIZATION \
    { ARGUMENT_TEXT, "organization", "ORGANIZATION", "of this organization (operator)", &options.organization }
#define WHERE                                                                                                \
    {                                                                                                        \
        ARGUMENT_TEXT, "organization", "ORGANIZATION", "where it is, of names that several have (operator)", \
            &options.organization                                                                            \
    }
#define NAMES \
    { ARGUMENT_FLAG, "names", NULL, "names and ids alone, a tab between: for scripts", &options.names }
#define NAME \
    { ARGUMENT_TEXT, "name", "TEXT", "a new name", &options.name }
#define LIMITS                                                                                        \
    LIMIT_ARGUMENTS(&options.limits), {                                                               \
        ARGUMENT_LIST, "model-limit", "MODEL:LIMITS",                                                 \
            "further limits for a model, alias or tier: small:tokens-per-day=1M; may be given again", \
            &options.model_limits                                                                     \
    }
#define EACH_KEY                                                                                                   \
    {                                                                                                              \
        ARGUMENT_TEXT, "each-key", "LIMITS",                                                                       \
            "of each of its keys that says nothing itself: tokens-per-day=1M,requests-per-minute=60; later: bora " \
            "limits set --each-key",                                                                               \
            &options.each_key                                                                                      \
    }
#define END \
    { ARGUMENT_END, NULL, NULL, NULL, NULL }
static const struct argument list_arguments[] = {OF_ORGANIZATION, NAMES, END},
                             create_arguments[] = {OF_ORGANIZATION, LIMITS, EACH_KEY, END},
                             one_arguments[] = {WHERE, END}, update_arguments[] = {NAME, WHERE, END},
                             end_arguments[] = {WHERE, CONFIRM_ARGUMENT, END};
static const struct argument list_organizations_arguments[] = {NAMES, END},
                             create_organization_arguments[] = {LIMITS, END},
                             update_organization_arguments[] = {NAME, END},
                             end_organization_arguments[] = {CONFIRM_ARGUMENT, END};

#define ACT(noun, verb, positionals, minimum, sentence, half, table, function)                               \
    {                                                                                                        \
        .usage = {noun " " verb, positionals, sentence, minimum, minimum}, .help = half, .arguments = table, \
        .connects = true, .is_default = minimum == 0, .run = function                                        \
    }
const struct command workspaces_commands[] = {
    ACT("workspaces", "list", "", 0, "List workspaces: where keys, their prompts' cache and their accounts are one.",
        "list workspaces", list_arguments, list_workspace),
    ACT("workspaces", "create", "NAME", 1,
        "Make a workspace. Its limits are those of all its keys together; those of --each-key are each key's "
        "own.\n" LIMIT_HELP,
        "make one", create_arguments, create_workspace),
    ACT("workspaces", "get", "WORKSPACE", 1, "Show a workspace.", "show one", one_arguments, get_workspace),
    ACT("workspaces", "update", "WORKSPACE", 1,
        "Give a workspace a new name. Limits: bora limits set --workspace WORKSPACE.", "rename it", update_arguments,
        update_workspace),
    ACT("workspaces", "disable", "WORKSPACE", 1, "Refuse all keys of a workspace until it is enabled.",
        "refuse all its keys", end_arguments, disable_workspace),
    ACT("workspaces", "enable", "WORKSPACE", 1, "Take a disabling back.", "take that back", one_arguments,
        enable_workspace),
    ACT("workspaces", "delete", "WORKSPACE", 1, "Delete a workspace that has no key left that is not revoked.",
        "delete it", end_arguments, delete_workspace),
    {.usage = {NULL, NULL, NULL, 0, 0}}};

const struct command orgs_commands[] = {
    ACT("orgs", "list", "", 0, "List organizations (operator).", "list organizations", list_organizations_arguments,
        list_organization),
    ACT("orgs", "create", "NAME", 1,
        "Make an organization with a workspace named default (operator). Its limits are those of all its keys "
        "together.\n" LIMIT_HELP,
        "make one", create_organization_arguments, create_organization),
    ACT("orgs", "get", "ORGANIZATION", 1, "Show an organization (operator).", "show one", no_arguments,
        get_organization),
    ACT("orgs", "update", "ORGANIZATION", 1,
        "Give an organization a new name (operator). Limits: bora limits set --organization ORGANIZATION.", "rename it",
        update_organization_arguments, update_organization),
    ACT("orgs", "disable", "ORGANIZATION", 1, "Refuse all keys of an organization until it is enabled (operator).",
        "refuse all its keys", end_organization_arguments, disable_organization),
    ACT("orgs", "enable", "ORGANIZATION", 1, "Take a disabling back (operator).", "take that back", no_arguments,
        enable_organization),
    ACT("orgs", "delete", "ORGANIZATION", 1,
        "Delete an organization that has used nothing and has no key left that is not revoked (operator). Its audit "
        "trail "
        "stays: bora audit --organization ID.",
        "delete it", end_organization_arguments, delete_organization),
    {.usage = {NULL, NULL, NULL, 0, 0}}};
