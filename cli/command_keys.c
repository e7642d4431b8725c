/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "cli/commands.h"
#include "cli/confirm.h"
#include "cli/doubts.h"
#include "cli/fields.h"
#include "cli/keys.h"
#include "cli/limits.h"
#include "cli/places.h"
#include "cli/print.h"
#include "cli/result.h"
#include "cli/terminal.h"
#include "cli/values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE "/bora.v1.KeyService/"
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))
enum { UUID_CHARACTERS = 36 }; /* no id of a key is longer */

/* --- what keys look like ------------------------------------------------------------------------------------------ */

static const struct table_column list_columns[] = {{"KEY ID", "prefix", CELL_TEXT, 12},
                                                   {"NAME", "name", CELL_TEXT, 32},
                                                   {"STATUS", "status", CELL_STATUS, 0},
                                                   {"ROLE", "role", CELL_TEXT, 0, 4},
                                                   {"WORKSPACE", "workspace_name", CELL_TEXT, 24, 1},
                                                   {"CREATED", "created_at", CELL_TIME, 0, 5},
                                                   {"EXPIRES", "expires_at", CELL_TIME, 0, 3},
                                                   {"LAST USED", "last_used", CELL_AGO, 0, 2},
                                                   {"LIMITS", "limits", CELL_BOUNDS, 64}};
static const struct table_column columns[] = {{"key id", "prefix", CELL_TEXT, 0},
                                              {"uuid", "key_id", CELL_TEXT, 0},
                                              {"name", "name", CELL_TEXT, 0},
                                              {"status", "status", CELL_STATUS, 0},
                                              {"role", "role", CELL_TEXT, 0},
                                              {"workspace", "workspace_name", CELL_TEXT, 0},
                                              {"workspace id", "workspace_id", CELL_TEXT, 0},
                                              {"organization", "organization_id", CELL_TEXT, 0},
                                              {"user", "user_id", CELL_TEXT, 0},
                                              {"models", "scopes.models", CELL_TEXT, 0},
                                              {"endpoints", "scopes.endpoints", CELL_TEXT, 0},
                                              {"created", "created_at", CELL_TIME, 0},
                                              {"created by", "created_by", CELL_TEXT, 0},
                                              {"expires", "expires_at", CELL_TIME, 0},
                                              {"last used", "last_used", CELL_AGO, 0},
                                              {"old secret goes until", "previous_expires_at", CELL_TIME, 0},
                                              {"limits", "limits", CELL_LIMITS, 0}};

static int print_key(const ProtobufCMessage *key) {
    int result = result_print_one(key, columns, COUNT(columns), "prefix");
    if (connection_options.json || connection_options.quiet) return result;
    result_print_model_limits(key);
    return result;
}

int keys_check_id(const struct command_usage *usage, const char *key_id) {
    const char *name = strncmp(key_id, "bora_", 5) == 0 ? key_id + 5 : NULL;
    if (name == NULL) return GO_ON;
    /* a whole key; what lies behind the id is nobody's business here */
    return usage_error(usage, "a key's id is what stands between the two underscores: %.12s", name);
}

int keys_explain(int result) {
    if (result == EXIT_NOT_FOUND)
        fputs("  a key goes by its id, the 12 characters between its two underscores, or its UUID; by its name it is\n"
              "  found with `bora keys list --name TEXT`\n",
              stderr);
    return result;
}

/** What ends something of a key, and what then. */
struct ending {
    const char *act, *then;
};

static int confirm_ending(struct connection *connection, const char *key_id, const struct ending *ending) {
    enum { NAME_BYTES = 128 };
    Bora__V1__GetKeyRequest request = BORA__V1__GET_KEY_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    char name[NAME_BYTES], workspace[NAME_BYTES];
    if (!confirm_asks()) return GO_ON;
    request.key_id = (char *)key_id;
    int result = connection_call(connection, SERVICE "GetKey", &request.base, &bora__v1__api_key__descriptor, &reply);
    if (result != GO_ON) return result;
    print_clean_to(field_text(reply, "name"), name, sizeof name);
    print_clean_to(field_text(reply, "workspace_name"), workspace, sizeof workspace);
    return confirm("%s key %.12s, '%s' of workspace '%s'? %s", ending->act, field_text(reply, "prefix"), name,
                   workspace, ending->then);
}

/** One request about one key, and its reply; `ending`, where there is one, is confirmed. */
static int ask(const struct command_usage *usage, const char *method, ProtobufCMessage *request, const char *key_id,
               const struct ending *ending, const ProtobufCMessageDescriptor *descriptor, struct connection *connection,
               ProtobufCMessage **out) {
    int result = keys_check_id(usage, key_id);
    if (result == GO_ON) result = connection_open(CREDENTIAL_ADMIN, connection);
    if (result != GO_ON) return result;
    field_set_text(request, "key_id", key_id);
    if (ending != NULL) result = confirm_ending(connection, key_id, ending);
    if (result == GO_ON) result = connection_call(connection, method, request, descriptor, out);
    if (result != GO_ON) connection_close(connection);
    return keys_explain(result);
}

/* --- scopes and ends ----------------------------------------------------------------------------------------------- */

struct scope_options {
    const char *models, *endpoints, *expires;
};
#define SCOPE_ARGUMENTS(options)                                                                                       \
    {ARGUMENT_TEXT, "models", "LIST", "what it may ask: names, aliases or tiers with commas, or any",                  \
     &(options)->models},                                                                                              \
        {ARGUMENT_TEXT, "endpoints", "LIST",                                                                           \
         "what it may do: chat,completions,embeddings,fim,models,files,fine_tuning,usage,admin, or any",               \
         &(options)->endpoints},                                                                                       \
    {                                                                                                                  \
        ARGUMENT_TEXT, "expires", "DATE", "2026-12-31 (its end) or 2026-12-31T18:00Z, UTC; never", &(options)->expires \
    }

static const char list_separators[] = ", ";

/** An empty list would mean any, which is hardly what an unset variable of a shell was to say. */
static int check_list(const struct command_usage *usage, const char *option, const char *text) {
    if (text == NULL || text[strspn(text, list_separators)] != 0) return GO_ON;
    return usage_error(usage, "--%s is empty: name one or more, or any", option);
}

static int check_scopes(const struct command_usage *usage, const struct scope_options *options) {
    int result = check_list(usage, "models", options->models);
    return result == GO_ON ? check_list(usage, "endpoints", options->endpoints) : result;
}

static int check_name(const struct command_usage *usage, const char *name) {
    if (name == NULL || name[strspn(name, " ")] != 0) return GO_ON;
    return usage_error(usage, "--name is empty: say what the key is for");
}

/** "a,b" as a list, "any" as an empty one. NULL when there is no memory. */
static char **split(struct arena *arena, const char *text, size_t *out_count) {
    char *copy = arena_copy(arena, text, strlen(text)), *rest = NULL;
    char **list = arena_alloc_array(arena, strlen(text) + 1, sizeof *list);
    *out_count = 0;
    if (copy == NULL || list == NULL) return NULL;
    if (strcmp(text, "any") == 0) return list;
    for (char *word = strtok_r(copy, list_separators, &rest); word != NULL;
         word = strtok_r(NULL, list_separators, &rest))
        list[(*out_count)++] = word;
    return list;
}

/** Change what was given; the rest of `scopes` stays. */
static void set_scopes(struct arena *arena, const struct scope_options *options, Bora__V1__Scopes *scopes) {
    if (options->models != NULL) scopes->models = split(arena, options->models, &scopes->n_models);
    if (options->endpoints != NULL) scopes->endpoints = split(arena, options->endpoints, &scopes->n_endpoints);
}

static int check_expires(const struct command_usage *usage, const char *text) {
    int64_t seconds;
    if (text == NULL || strcmp(text, "never") == 0 || value_parse_time(text, &seconds)) return GO_ON;
    return usage_error(usage, "--expires: '%.64s' is neither a date, as 2026-12-31, nor never", text);
}

static const char doubt_of_scope[] = "so a key cannot ask it yet";

/* --- create and rotate --------------------------------------------------------------------------------------------- */

static struct {
    const char *name, *tenant, *workspace, *organization, *user, *role;
    struct scope_options scopes;
    struct limit_options limits;
    struct argument_integer expires_in_ns;
    struct argument_list model_limits;
} creating;
static const struct argument create_arguments[] = {
    {ARGUMENT_TEXT, "name", "TEXT", "what the key is for", &creating.name},
    {ARGUMENT_TEXT, "workspace", "WORKSPACE", "workspace it belongs to, by name or id (the caller's own)",
     &creating.workspace},
    {ARGUMENT_TEXT, "organization", "ORGANIZATION", "where that is, else its oldest workspace (operator)",
     &creating.organization},
    {ARGUMENT_TEXT, "tenant", "NAME", "a workspace by name, made when it is missing", &creating.tenant},
    {ARGUMENT_CHOICE, "role", "admin|member|service", "what it may (service: ask models)", &creating.role},
    {ARGUMENT_TEXT, "user", "ID", "whose it is, for your own books", &creating.user},
    SCOPE_ARGUMENTS(&creating.scopes),
    {ARGUMENT_DURATION, "expires-in", "DURATION", "the same from now on: 30d, 12h", &creating.expires_in_ns},
    LIMIT_ARGUMENTS(&creating.limits),
    {ARGUMENT_LIST, "model-limit", "MODEL:LIMITS",
     "further limits for a model, alias or tier: small:tokens-per-day=1M; may be given again", &creating.model_limits},
    {ARGUMENT_END, NULL, NULL, NULL, NULL},
};

static int print_created(const Bora__V1__CreateKeyResponse *response) {
    char limits[LIMITS_TEXT_BYTES];
    const Bora__V1__ApiKey *info = response->info;
    int result = EXIT_OK;
    if (connection_options.json)
        result = print_json(&response->base);
    else
        printf("%s\n", response->key);
    if (!print_flush())
        return print_failure("the key could not be written: %s; `bora keys rotate %s` makes it another secret",
                             strerror(errno), info->prefix[0] != 0 ? info->prefix : info->key_id);
    if (connection_options.json) return result;
    limits_describe(info->limits, limits);
    terminal_note("Key id %s. Keep the key now: it is not shown again.\n",
                  info->prefix[0] != 0 ? info->prefix : info->key_id);
    terminal_note("Limits over all models: %s\n", limits[0] != 0 ? limits : "none of its own");
    return EXIT_OK;
}

/** Names that nobody serves, and spend that nobody counts. */
static void doubt_created(struct connection *connection, const Bora__V1__ApiKey *info) {
    char **names = arena_alloc_array(&connection->arena, info->n_model_limits + 1, sizeof *names);
    bool spends = doubt_bounds_spend(info->limits), spends_of_all = spends;
    for (size_t i = 0; names != NULL && i < info->n_model_limits; i++) {
        names[i] = info->model_limits[i]->model;
        spends = spends || doubt_bounds_spend(info->model_limits[i]->limits);
    }
    if (names != NULL) doubt_models(connection, names, info->n_model_limits, "so this limit limits nothing yet");
    if (info->scopes != NULL) doubt_models(connection, info->scopes->models, info->scopes->n_models, doubt_of_scope);
    if (spends) doubt_prices(connection, !spends_of_all && info->n_model_limits == 1 ? names[0] : NULL);
}

static int check_create(const struct command_usage *usage) {
    int result = check_scopes(usage, &creating.scopes);
    if (result == GO_ON) result = check_name(usage, creating.name);
    if (result != GO_ON) return result;
    if (creating.expires_in_ns.given && creating.expires_in_ns.value < NS_PER_S)
        return usage_error(usage, "--expires-in must be 1s or more");
    if (creating.expires_in_ns.given && creating.scopes.expires != NULL)
        return usage_error(usage, "--expires and --expires-in exclude each other");
    if (creating.tenant != NULL && (creating.workspace != NULL || creating.organization != NULL))
        return usage_error(usage, "--tenant and --%s exclude each other",
                           creating.workspace != NULL ? "workspace" : "organization");
    return check_expires(usage, creating.scopes.expires);
}

static int fill_create(const struct command_usage *usage, struct arena *arena, Bora__V1__CreateKeyRequest *request,
                       Bora__V1__Limits *limits, Bora__V1__Scopes *scopes) {
    field_set_text(&request->base, "name", creating.name);
    field_set_text(&request->base, "tenant", creating.tenant);
    field_set_text(&request->base, "user_id", creating.user);
    field_set_text(&request->base, "role", creating.role);
    if (creating.scopes.expires != NULL && strcmp(creating.scopes.expires, "never") != 0)
        field_set_text(&request->base, "expiration", creating.scopes.expires);
    if (creating.expires_in_ns.given)
        field_set_integer(&request->base, "expires_at",
                          (clock_unix_ns(clock_system()) + creating.expires_in_ns.value) / NS_PER_S);
    if (creating.scopes.models != NULL || creating.scopes.endpoints != NULL) {
        set_scopes(arena, &creating.scopes, scopes);
        request->scopes = scopes;
    }
    if (limits_given(&creating.limits) > 0) request->limits = limits;
    request->n_model_limits = (size_t)creating.model_limits.count;
    int result = limits_apply(usage, &creating.limits, limits);
    if (result == GO_ON) result = limits_parse_models(usage, &creating.model_limits, arena, &request->model_limits);
    return result;
}

/** The workspace of the new key. GO_ON, or how to end after a sentence. */
static int find_home(struct connection *connection, Bora__V1__CreateKeyRequest *request) {
    const char *workspace = creating.workspace, *organization = creating.organization;
    if (workspace == NULL && organization == NULL) places_tell_default(connection);
    int result = places_find_both(connection, &workspace, &organization);
    if (result == GO_ON && workspace == NULL && organization != NULL)
        result = places_first_workspace(connection, organization, &workspace);
    field_set_text(&request->base, "workspace_uuid", workspace);
    return result;
}

static int run_create(const struct command_usage *usage, const char *const *words, int count) {
    (void)words, (void)count;
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    Bora__V1__Limits limits = BORA__V1__LIMITS__INIT;
    Bora__V1__Scopes scopes = BORA__V1__SCOPES__INIT;
    struct arena arena;
    struct connection connection;
    ProtobufCMessage *reply = NULL;
    arena_init(&arena, 1 << 20);
    int result = check_create(usage);
    if (result == GO_ON) result = fill_create(usage, &arena, &request, &limits, &scopes);
    if (result == GO_ON) result = connection_open(CREDENTIAL_ADMIN, &connection);
    if (result == GO_ON) {
        result = find_home(&connection, &request);
        if (result == GO_ON)
            result = connection_call(&connection, SERVICE "CreateKey", &request.base,
                                     &bora__v1__create_key_response__descriptor, &reply);
        if (result == GO_ON) {
            result = print_created((const Bora__V1__CreateKeyResponse *)reply);
            doubt_created(&connection, ((const Bora__V1__CreateKeyResponse *)reply)->info);
        }
        connection_close(&connection);
    }
    arena_deinit(&arena);
    return result;
}

static struct argument_integer overlap_ns;
static const struct argument rotate_arguments[] = {
    {ARGUMENT_DURATION, "overlap", "DURATION", "how long the old secret goes on: 24h, 0 ends it now (1d)", &overlap_ns},
    CONFIRM_ARGUMENT,
    {ARGUMENT_END, NULL, NULL, NULL, NULL}};

/** Until when the secret before the last rotation goes on; 0: there is none. Another rotation ends it: one old secret goes on at a time. */
static int64_t older_secret_until(const Bora__V1__ApiKey *key) {
    bool told = key->_previous_expires_at_case == BORA__V1__API_KEY___PREVIOUS_EXPIRES_AT_PREVIOUS_EXPIRES_AT;
    return told && key->previous_expires_at > clock_unix_ns(clock_system()) / NS_PER_S ? key->previous_expires_at : 0;
}

/** GO_ON, or how to end after a sentence: what becomes of secrets that are in use. */
static int confirm_rotation(struct connection *connection, const char *key_id, bool ends, int64_t older) {
    enum { SENTENCE_BYTES = 160 };
    char sentence[SENTENCE_BYTES] = "Its old secret is refused at once.", until[VALUE_TIME_BYTES];
    const struct ending ending = {"Rotate", sentence};
    if (!ends && older == 0) return GO_ON;
    value_format_second(older, until);
    if (older != 0)
        snprintf(sentence, sizeof sentence,
                 ends ? "Both its secrets are refused at once; the older one was to go on until %s."
                      : "The secret before its last rotation, which was to go on until %s, is refused at once.",
                 until);
    return confirm_ending(connection, key_id, &ending);
}

static void tell_rotated(const Bora__V1__ApiKey *key, int64_t older) {
    char until[VALUE_TIME_BYTES];
    int64_t old = older_secret_until(key);
    if (older != 0) {
        value_format_second(older, until);
        fprintf(stderr,
                "bora: warning: the secret before the last rotation, which was to go on until %s, is refused now\n",
                until);
    }
    if (connection_options.json) return;
    value_format_second(old, until);
    if (old != 0)
        terminal_note("The old secret works until %s.\n", until);
    else
        terminal_note("The old secret is refused now.\n");
}

static int run_rotate(const struct command_usage *usage, const char *const *words, int count) {
    (void)count;
    Bora__V1__GetKeyRequest get = BORA__V1__GET_KEY_REQUEST__INIT;
    Bora__V1__RotateKeyRequest request = BORA__V1__ROTATE_KEY_REQUEST__INIT;
    struct connection connection;
    ProtobufCMessage *key = NULL, *reply = NULL;
    if (overlap_ns.given && overlap_ns.value < 0) return usage_error(usage, "--overlap must be 0 or more");
    if (overlap_ns.given) field_set_integer(&request.base, "overlap_seconds", overlap_ns.value / NS_PER_S);
    bool ends = overlap_ns.given && overlap_ns.value < NS_PER_S;
    int result =
        ask(usage, SERVICE "GetKey", &get.base, words[0], NULL, &bora__v1__api_key__descriptor, &connection, &key);
    if (result != GO_ON) return result;
    int64_t older = older_secret_until((const Bora__V1__ApiKey *)key);
    result = confirm_rotation(&connection, words[0], ends, older);
    request.key_id = (char *)words[0];
    if (result == GO_ON)
        result = connection_call(&connection, SERVICE "RotateKey", &request.base,
                                 &bora__v1__create_key_response__descriptor, &reply);
    if (result == GO_ON) {
        result = print_created((const Bora__V1__CreateKeyResponse *)reply);
        tell_rotated(((const Bora__V1__CreateKeyResponse *)reply)->info, older);
    }
    connection_close(&connection);
    return result;
}

/* --- list and get -------------------------------------------------------------------------------------------------- */

static const struct result_list list = {.method = SERVICE "ListKeys",
                                        .reply = &bora__v1__list_keys_response__descriptor,
                                        .items = "keys",
                                        .cursor = "after",
                                        .id = "key_id",
                                        .word = "prefix",
                                        .about = "name",
                                        .page = 1000};
static struct {
    const char *name, *status, *workspace, *organization;
    bool names;
} listing;
static const struct argument list_arguments[] = {
    {ARGUMENT_TEXT, "name", "TEXT",
     "with this in their name, as their last four characters, or as their id or its beginning", &listing.name},
    {ARGUMENT_CHOICE, "status", "active|disabled|expired|revoked", "that are so now", &listing.status},
    {ARGUMENT_TEXT, "workspace", "WORKSPACE", "of this workspace, by name or id", &listing.workspace},
    {ARGUMENT_TEXT, "organization", "ORGANIZATION", "of this organization (operator)", &listing.organization},
    {ARGUMENT_FLAG, "names", NULL, "key ids and names alone, a tab between: for scripts", &listing.names},
    {ARGUMENT_END, NULL, NULL, NULL, NULL}};

/** The service has no such filter; all pages are here already. */
static void keep_those_of_status(Bora__V1__ListKeysResponse *keys, const char *wanted) {
    size_t kept = 0;
    for (size_t i = 0; i < keys->n_keys; i++) {
        if (strcmp(field_text(&keys->keys[i]->base, "status"), wanted) == 0) keys->keys[kept++] = keys->keys[i];
    }
    keys->n_keys = kept;
}

static int run_list(const struct command_usage *usage, const char *const *words, int count) {
    (void)usage, (void)words, (void)count;
    Bora__V1__ListKeysRequest request = BORA__V1__LIST_KEYS_REQUEST__INIT;
    struct connection connection;
    ProtobufCMessage *reply = NULL;
    int result = connection_open(CREDENTIAL_ADMIN, &connection);
    if (result != GO_ON) return result;
    result = places_find_both(&connection, &listing.workspace, &listing.organization);
    field_set_text(&request.base, "name", listing.name);
    field_set_text(&request.base, "workspace_id", listing.workspace);
    field_set_text(&request.base, "organization_id", listing.organization);
    if (result == GO_ON) result = result_fetch(&connection, &list, &request.base, &reply);
    if (result == GO_ON && listing.status != NULL)
        keep_those_of_status((Bora__V1__ListKeysResponse *)reply, listing.status);
    if (result == GO_ON)
        result = listing.names
                     ? result_print_words(&list, reply)
                     : result_print_list(&list, reply, list_columns, COUNT(list_columns),
                                         listing.name != NULL || listing.status != NULL || listing.workspace != NULL
                                             ? "There are no such keys."
                                             : "There are no keys.");
    connection_close(&connection);
    return result;
}

/** The one key of this name, of those that are not revoked if there are such; NULL: none, or several, which `*out_count` says. */
static const Bora__V1__ApiKey *find_named(const Bora__V1__ListKeysResponse *keys, const char *name, size_t *out_count) {
    for (int revoked = 0; revoked <= 1; revoked++) {
        const Bora__V1__ApiKey *found = NULL;
        *out_count = 0;
        for (size_t i = 0; i < keys->n_keys; i++) {
            const Bora__V1__ApiKey *key = keys->keys[i];
            if (strcmp(key->name, name) != 0 || (strcmp(key->status, "revoked") == 0) != (revoked == 1)) continue;
            found = key;
            ++*out_count;
        }
        if (*out_count > 0) return *out_count == 1 ? found : NULL;
    }
    return NULL;
}

/** What is no key's id may be a key's name. GO_ON with the id to ask for, which is `named` itself where there is no such name; or how to end after a sentence. */
static int find_by_name(struct connection *connection, const char *named, const char **out_id) {
    Bora__V1__ListKeysRequest request = BORA__V1__LIST_KEYS_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    size_t count = 0;
    request._name_case = BORA__V1__LIST_KEYS_REQUEST___NAME_NAME;
    request.name = (char *)named;
    *out_id = named;
    int result = result_fetch(connection, &list, &request.base, &reply);
    if (result != GO_ON) return result;
    const Bora__V1__ApiKey *key = find_named((const Bora__V1__ListKeysResponse *)reply, named, &count);
    if (key != NULL) *out_id = key->key_id;
    if (count <= 1) return GO_ON;
    print_failure("%zu keys are called '%.64s': name one by its id, as bora keys list shows it", count, named);
    return EXIT_USAGE;
}

static int run_get(const struct command_usage *usage, const char *const *words, int count) {
    (void)count;
    Bora__V1__GetKeyRequest request = BORA__V1__GET_KEY_REQUEST__INIT;
    struct connection connection;
    ProtobufCMessage *reply = NULL;
    const char *id = words[0];
    int result = keys_check_id(usage, words[0]);
    if (result == GO_ON) result = connection_open(CREDENTIAL_ADMIN, &connection);
    if (result != GO_ON) return result;
    request.key_id = (char *)id;
    connection.quiet = true;
    result = strlen(id) <= UUID_CHARACTERS
                 ? connection_call(&connection, SERVICE "GetKey", &request.base, &bora__v1__api_key__descriptor, &reply)
                 : EXIT_NOT_FOUND;
    connection.quiet = false;
    if (result == EXIT_NOT_FOUND)
        result = find_by_name(&connection, words[0], &id);
    else if (result != GO_ON)
        result = GO_ON; /* once more, to say why */
    request.key_id = (char *)id;
    if (result == GO_ON && reply == NULL)
        result = connection_call(&connection, SERVICE "GetKey", &request.base, &bora__v1__api_key__descriptor, &reply);
    if (result == GO_ON) result = print_key(reply);
    connection_close(&connection);
    return keys_explain(result);
}

/* --- changes ------------------------------------------------------------------------------------------------------- */

static struct {
    const char *name, *role;
    struct scope_options scopes;
} updating;
static const struct argument update_arguments[] = {
    {ARGUMENT_TEXT, "name", "TEXT", "what the key is for", &updating.name},
    {ARGUMENT_CHOICE, "role", "admin|member|service", "what it may", &updating.role},
    SCOPE_ARGUMENTS(&updating.scopes),
    {ARGUMENT_END, NULL, NULL, NULL, NULL},
};

/** Scopes are replaced as a whole: where one list is given, the other is fetched first. */
static int keep_scopes(struct connection *connection, const char *key_id, Bora__V1__Scopes *scopes) {
    Bora__V1__GetKeyRequest request = BORA__V1__GET_KEY_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    request.key_id = (char *)key_id;
    int result = connection_call(connection, SERVICE "GetKey", &request.base, &bora__v1__api_key__descriptor, &reply);
    if (result != GO_ON) return result;
    const Bora__V1__Scopes *now = ((const Bora__V1__ApiKey *)reply)->scopes;
    if (now != NULL) *scopes = *now;
    return GO_ON;
}

static int run_update(const struct command_usage *usage, const char *const *words, int count) {
    (void)count;
    const struct scope_options *given = &updating.scopes;
    Bora__V1__UpdateKeyRequest request = BORA__V1__UPDATE_KEY_REQUEST__INIT;
    Bora__V1__Scopes scopes = BORA__V1__SCOPES__INIT;
    struct connection connection;
    ProtobufCMessage *reply = NULL;
    int result = keys_check_id(usage, words[0]);
    if (result == GO_ON) result = check_expires(usage, given->expires);
    if (result == GO_ON) result = check_scopes(usage, given);
    if (result == GO_ON) result = check_name(usage, updating.name);
    bool scoped = given->models != NULL || given->endpoints != NULL;
    if (result == GO_ON && updating.name == NULL && updating.role == NULL && given->expires == NULL && !scoped)
        result = usage_error(usage, "nothing to change was given (limits: bora limits set)");
    if (result == GO_ON) result = connection_open(CREDENTIAL_ADMIN, &connection);
    if (result != GO_ON) return result;
    if (scoped && (given->models == NULL || given->endpoints == NULL))
        result = keep_scopes(&connection, words[0], &scopes);
    if (result == GO_ON) {
        set_scopes(&connection.arena, given, &scopes);
        field_set_text(&request.base, "key_id", words[0]);
        field_set_text(&request.base, "name", updating.name);
        field_set_text(&request.base, "role", updating.role);
        field_set_text(&request.base, "expiration",
                       given->expires != NULL && strcmp(given->expires, "never") == 0 ? "" : given->expires);
        if (scoped) request.scopes = &scopes;
        result =
            connection_call(&connection, SERVICE "UpdateKey", &request.base, &bora__v1__api_key__descriptor, &reply);
    }
    if (result == GO_ON) {
        result = print_key(reply);
        if (given->models != NULL) doubt_models(&connection, scopes.models, scopes.n_models, doubt_of_scope);
    }
    connection_close(&connection);
    return keys_explain(result);
}

static const struct argument ending_arguments[] = {CONFIRM_ARGUMENT, {ARGUMENT_END, NULL, NULL, NULL, NULL}};

static int set_disabled(const struct command_usage *usage, const char *key_id, bool disabled) {
    static const struct ending disabling = {"Disable", "Its answers end, and it is refused until it is enabled."};
    Bora__V1__UpdateKeyRequest request = BORA__V1__UPDATE_KEY_REQUEST__INIT;
    struct connection connection;
    ProtobufCMessage *reply = NULL;
    field_set_flag(&request.base, "disabled", disabled);
    int result = ask(usage, SERVICE "UpdateKey", &request.base, key_id, disabled ? &disabling : NULL,
                     &bora__v1__api_key__descriptor, &connection, &reply);
    if (result != GO_ON) return result;
    result = result_print_done(reply, "%s is %s.\n", key_id, disabled ? "disabled" : "enabled");
    connection_close(&connection);
    return result;
}

static int run_disable(const struct command_usage *usage, const char *const *words, int count) {
    (void)count;
    return set_disabled(usage, words[0], true);
}

static int run_enable(const struct command_usage *usage, const char *const *words, int count) {
    (void)count;
    return set_disabled(usage, words[0], false);
}

static int run_revoke(const struct command_usage *usage, const char *const *words, int count) {
    (void)count;
    static const struct ending revoking = {"Revoke", "It is refused everywhere at once; there is no way back."};
    Bora__V1__RevokeKeyRequest request = BORA__V1__REVOKE_KEY_REQUEST__INIT;
    struct connection connection;
    ProtobufCMessage *reply = NULL;
    int result = ask(usage, SERVICE "RevokeKey", &request.base, words[0], &revoking,
                     &bora__v1__revoke_key_response__descriptor, &connection, &reply);
    if (result != GO_ON) return result;
    result = result_print_done(reply, "%s is revoked.\n", words[0]);
    connection_close(&connection);
    return result;
}

/* --- the table ----------------------------------------------------------------------------------------------------- */

#define KEY_ID "\n\nKEY_ID is the 12 characters between the key's two underscores, or its UUID."

const struct command keys_commands[] = {
    {.usage =
         {"keys create", "",
          "Make an API key. The key is printed on standard output, once; it cannot be shown again.\n"
          "Limits that are not given are those of its workspace's key limits; those of the workspace and the\n"
          "organization count besides. " LIMIT_HELP "\n"
          "A request reserves its prompt and its max_tokens before it starts, and gets back what it does not use.\n"
          "Without max_tokens it reserves as much as the model's context and the limit allow, and others are\n"
          "refused meanwhile: where tokens are limited, set max_tokens.",
          0, 0},
     .help = "make an API key",
     .arguments = create_arguments,
     .connects = true,
     .run = run_create},
    {.usage = {"keys list", "", "List API keys, oldest first. The keys themselves are not kept anywhere.", 0, 0},
     .help = "list API keys",
     .arguments = list_arguments,
     .connects = true,
     .is_default = true,
     .run = run_list},
    {.usage = {"keys get", "KEY_ID",
               "Show all that is known of a key." KEY_ID "\nIts name will do where no other key is called so.", 1, 1},
     .help = "show one",
     .arguments = no_arguments,
     .connects = true,
     .run = run_get},
    {.usage = {"keys update", "KEY_ID", "Change a key; what is not given stays." KEY_ID, 1, 1},
     .help = "change its name, role, scopes or end",
     .arguments = update_arguments,
     .connects = true,
     .run = run_update},
    {.usage = {"keys rotate", "KEY_ID",
               "Give a key a new secret, which is printed once. Id and limits stay; the old secret goes on for the "
               "overlap.\nOne old secret goes on at a time: to rotate again within the overlap ends the one before "
               "it." KEY_ID,
               1, 1},
     .help = "a new secret, the old one goes on for a while",
     .arguments = rotate_arguments,
     .connects = true,
     .run = run_rotate},
    {.usage = {"keys disable", "KEY_ID",
               "Refuse a key's requests and end its answers, on every gateway, until it is enabled." KEY_ID, 1, 1},
     .help = "refuse its requests until it is enabled",
     .arguments = ending_arguments,
     .connects = true,
     .run = run_disable},
    {.usage = {"keys enable", "KEY_ID", "Take a disabling back." KEY_ID, 1, 1},
     .help = "take a disabling back",
     .arguments = no_arguments,
     .connects = true,
     .run = run_enable},
    {.usage = {"keys revoke", "KEY_ID",
               "Revoke an API key: the next request with it is refused, on every gateway. There is no way back." KEY_ID,
               1, 1},
     .help = "end it, everywhere and for good",
     .arguments = ending_arguments,
     .connects = true,
     .run = run_revoke},
    {.usage = {NULL, NULL, NULL, 0, 0}}};
