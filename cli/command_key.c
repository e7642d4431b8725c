/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/text.h"
#include "bora/v1/keys.pb-c.h"
#include "cli/commands.h"
#include "cli/connection.h"
#include "cli/print.h"
#include "cli/served.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE "/bora.v1.KeyService/"

/* --- key create -------------------------------------------------------------------------------------------------- */

static const struct command_usage create_usage = {
    "key create", "",
    "Make an API key. The key is printed on standard output, once; it cannot be shown again.\n"
    "A minute is any window of 60 s. 0 lets nothing pass; a limit that is not given is none, but when neither\n"
    "--requests-per-minute nor --tokens-per-minute is given, the keys service's defaults hold for both (bora-keys\n"
    "--default-requests-per-minute, --default-tokens-per-minute; as ./dev up starts it: none).\n"
    "A request reserves its prompt and its max_tokens before it starts, and gets back what it does not use. Without\n"
    "max_tokens it reserves as much as the model's context and the limit allow, and others are refused meanwhile: "
    "where\n"
    "tokens are limited, set max_tokens.",
    0, 0};

struct create_options {
    const char *name, *tenant;
    struct argument_integer requests, tokens, expires_in_ns;
    struct argument_list model_limits;
};

static void set_requests(Bora__V1__Limits *limits, int64_t value) {
    limits->_requests_per_minute_case = BORA__V1__LIMITS___REQUESTS_PER_MINUTE_REQUESTS_PER_MINUTE;
    limits->requests_per_minute = value;
}

static void set_tokens(Bora__V1__Limits *limits, int64_t value) {
    limits->_tokens_per_minute_case = BORA__V1__LIMITS___TOKENS_PER_MINUTE_TOKENS_PER_MINUTE;
    limits->tokens_per_minute = value;
}

/** "MODEL:REQUESTS:TOKENS", where an empty number means no limit and MODEL may contain ':'. `text` is changed. */
static bool parse_model_limit(char *text, Bora__V1__ModelLimits *model, Bora__V1__Limits *limits) {
    char *tokens = strrchr(text, ':');
    if (tokens == NULL) return false;
    *tokens++ = 0;
    char *requests = strrchr(text, ':');
    if (requests == NULL || requests == text) return false;
    *requests++ = 0;
    bora__v1__model_limits__init(model);
    bora__v1__limits__init(limits);
    int64_t value;
    if (requests[0] != 0) {
        if (!text_to_i64(requests, &value) || value < 0) return false;
        set_requests(limits, value);
    }
    if (tokens[0] != 0) {
        if (!text_to_i64(tokens, &value) || value < 0) return false;
        set_tokens(limits, value);
    }
    model->model = text;
    model->limits = limits;
    return requests[0] != 0 || tokens[0] != 0;
}

static int fill_model_limits(const struct argument_list *list, struct arena *arena,
                             Bora__V1__CreateKeyRequest *request) {
    request->model_limits = arena_alloc_array(arena, (size_t)list->count, sizeof *request->model_limits);
    for (int i = 0; i < list->count; i++) {
        Bora__V1__ModelLimits *model = arena_alloc(arena, sizeof *model);
        Bora__V1__Limits *limits = arena_alloc(arena, sizeof *limits);
        char *text = arena_copy(arena, list->items[i], strlen(list->items[i]));
        if (!parse_model_limit(text, model, limits))
            return usage_error(&create_usage,
                               "--model-limit: '%.64s' is not MODEL:REQUESTS:TOKENS (an empty number means no limit)",
                               list->items[i]);
        request->model_limits[request->n_model_limits++] = model;
    }
    return GO_ON;
}

static const char *limit_text(bool limited, int64_t value, char out[24]) {
    snprintf(out, 24, "%" PRId64, value);
    return limited ? out : "-";
}

/** "60", or "-" for none. */
static const char *requests_of(const Bora__V1__Limits *limits, char out[24]) {
    bool limited =
        limits != NULL && limits->_requests_per_minute_case != BORA__V1__LIMITS___REQUESTS_PER_MINUTE__NOT_SET;
    return limit_text(limited, limited ? limits->requests_per_minute : 0, out);
}

static const char *tokens_of(const Bora__V1__Limits *limits, char out[24]) {
    bool limited = limits != NULL && limits->_tokens_per_minute_case != BORA__V1__LIMITS___TOKENS_PER_MINUTE__NOT_SET;
    return limit_text(limited, limited ? limits->tokens_per_minute : 0, out);
}

static int print_created(const Bora__V1__CreateKeyResponse *response, bool json) {
    if (json) return print_json(&response->base);
    char requests[24], tokens[24];
    printf("%s\n", response->key);
    fflush(stdout); /* before what follows on the other stream */
    fprintf(stderr, "Key id %s. Keep the key now: it is not shown again.\n", response->info->key_id);
    fprintf(stderr, "Limits over all models (-: none): %s requests and %s tokens a minute.\n",
            requests_of(response->info->limits, requests), tokens_of(response->info->limits, tokens));
    return EXIT_OK;
}

/** A limit for a name that nobody serves may be a typing error. The new key itself may ask; a keys service asked directly knows no models. */
static void doubt_names(struct connection *connection, const Bora__V1__CreateKeyResponse *response) {
    const Bora__V1__ModelList *list = NULL;
    char *admin = connection->authorization;
    if (response->info->n_model_limits == 0 || asprintf(&connection->authorization, "Bearer %s", response->key) < 0) {
        connection->authorization = admin;
        return;
    }
    connection->quiet = true;
    bool known = served_fetch(connection, &list) == GO_ON;
    for (size_t i = 0; known && i < response->info->n_model_limits; i++) {
        const char *name = response->info->model_limits[i]->model;
        if (served_has(list, name)) continue;
        fprintf(
            stderr,
            "bora: warning: no model is served as '%.128s' now, so this limit limits nothing yet; there are: ", name);
        served_print_names(stderr, list);
        fputs("\n", stderr);
    }
    free(connection->authorization);
    connection->authorization = admin;
}

/** Numbers that no service takes, in the words of who typed them. */
static int check_numbers(const struct create_options *own) {
    const struct {
        const char *name;
        const struct argument_integer *integer;
        int64_t least;
        const char *says;
    } numbers[] = {{"requests-per-minute", &own->requests, 0, "0 or more"},
                   {"tokens-per-minute", &own->tokens, 0, "0 or more"},
                   {"expires-in", &own->expires_in_ns, NS_PER_S, "1s or more"}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i].integer->given && numbers[i].integer->value < numbers[i].least)
            return usage_error(&create_usage, "--%s must be %s", numbers[i].name, numbers[i].says);
    }
    return GO_ON;
}

int command_key_create(int argc, char **argv) {
    struct connection_options options = {0};
    struct create_options own = {0};
    struct argument common[CONNECTION_ARGUMENTS];
    connection_arguments(&options, common);
    const struct argument table[] = {
        {ARGUMENT_TEXT, "name", "TEXT", "what the key is for", &own.name},
        {ARGUMENT_TEXT, "tenant", "NAME", "whom its use is counted for (default: the key's id)", &own.tenant},
        {ARGUMENT_INTEGER, "requests-per-minute", "N", "limit over all models", &own.requests},
        {ARGUMENT_INTEGER, "tokens-per-minute", "N", "limit over all models, prompt and answer together", &own.tokens},
        {ARGUMENT_LIST, "model-limit", "MODEL:REQS:TOKENS",
         "further limits for a model, alias or tier; may be given again", &own.model_limits},
        {ARGUMENT_DURATION, "expires-in", "DURATION", "30d, 12h, ... (default: never)", &own.expires_in_ns},
        {ARGUMENT_END, NULL, NULL, NULL, NULL},
    };
    int count = 0, result = arguments_parse(&create_usage, table, common, argc, argv, NULL, &count);
    if (result == GO_ON) result = check_numbers(&own);
    if (result != GO_ON) return result;

    struct connection connection;
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    Bora__V1__Limits limits = BORA__V1__LIMITS__INIT;
    if (own.name != NULL)
        request._name_case = BORA__V1__CREATE_KEY_REQUEST___NAME_NAME, request.name = (char *)own.name;
    if (own.tenant != NULL)
        request._tenant_case = BORA__V1__CREATE_KEY_REQUEST___TENANT_TENANT, request.tenant = (char *)own.tenant;
    if (own.expires_in_ns.given) {
        request._expires_at_case = BORA__V1__CREATE_KEY_REQUEST___EXPIRES_AT_EXPIRES_AT;
        request.expires_at = (clock_unix_ns(clock_system()) + own.expires_in_ns.value) / NS_PER_S;
    }
    if (own.requests.given) set_requests(&limits, own.requests.value);
    if (own.tokens.given) set_tokens(&limits, own.tokens.value);
    if (own.requests.given || own.tokens.given) request.limits = &limits;
    if ((result = connection_open(&options, CREDENTIAL_ADMIN_KEY, &connection)) != GO_ON) return result;
    ProtobufCMessage *reply = NULL;
    result = fill_model_limits(&own.model_limits, &connection.arena, &request);
    if (result == GO_ON)
        result = connection_call(&connection, SERVICE "CreateKey", &request.base,
                                 &bora__v1__create_key_response__descriptor, &reply);
    if (result == GO_ON) {
        result = print_created((const Bora__V1__CreateKeyResponse *)reply, options.json);
        doubt_names(&connection, (const Bora__V1__CreateKeyResponse *)reply);
    }
    connection_close(&connection);
    return result;
}

/* --- key list ---------------------------------------------------------------------------------------------------- */

static const struct command_usage list_usage = {
    "key list", "", "List API keys, oldest first. The keys themselves are not kept anywhere.", 0, 0};
enum { PAGE = 1000, MODEL_LIMIT_COLUMN = 12 + 7 + 16 + 16 + 4 * 2 };

/** All pages as one. */
static int fetch_all(struct connection *connection, Bora__V1__ListKeysResponse *all) {
    size_t capacity = 0;
    for (bool more = true; more;) {
        Bora__V1__ListKeysRequest request = BORA__V1__LIST_KEYS_REQUEST__INIT;
        request._limit_case = BORA__V1__LIST_KEYS_REQUEST___LIMIT_LIMIT;
        request.limit = PAGE;
        if (all->n_keys > 0) {
            request._after_case = BORA__V1__LIST_KEYS_REQUEST___AFTER_AFTER;
            request.after = all->keys[all->n_keys - 1]->key_id;
        }
        ProtobufCMessage *reply = NULL;
        int result = connection_call(connection, SERVICE "ListKeys", &request.base,
                                     &bora__v1__list_keys_response__descriptor, &reply);
        if (result != GO_ON) return result;
        const Bora__V1__ListKeysResponse *page = (const Bora__V1__ListKeysResponse *)reply;
        if (all->n_keys + page->n_keys > capacity) {
            capacity = 2 * (all->n_keys + page->n_keys);
            Bora__V1__ApiKey **keys = realloc(all->keys, capacity * sizeof *keys);
            if (keys == NULL) return EXIT_FAILED;
            all->keys = keys;
        }
        if (page->n_keys > 0) memcpy(all->keys + all->n_keys, page->keys, page->n_keys * sizeof *page->keys);
        all->n_keys += page->n_keys;
        more = page->has_more && page->n_keys > 0;
    }
    return GO_ON;
}

static void print_limits(const Bora__V1__Limits *limits) {
    char text[24];
    print_column(stdout, requests_of(limits, text), 13);
    print_column(stdout, tokens_of(limits, text), 13);
}

static const char *state_of(const Bora__V1__ApiKey *key) {
    if (key->_revoked_at_case == BORA__V1__API_KEY___REVOKED_AT_REVOKED_AT) return "revoked";
    bool expires = key->_expires_at_case == BORA__V1__API_KEY___EXPIRES_AT_EXPIRES_AT;
    return expires && key->expires_at <= clock_unix_ns(clock_system()) / NS_PER_S ? "expired" : "active";
}

static void print_keys(const Bora__V1__ListKeysResponse *all) {
    printf("KEY ID        STATE    CREATED           EXPIRES           REQUESTS/MIN   TOKENS/MIN     TENANT            "
           "NAME\n");
    for (size_t i = 0; i < all->n_keys; i++) {
        const Bora__V1__ApiKey *key = all->keys[i];
        char created[32], expires[32];
        print_time(key->created_at, created, sizeof created);
        print_time(key->_expires_at_case == BORA__V1__API_KEY___EXPIRES_AT_EXPIRES_AT ? key->expires_at : 0, expires,
                   sizeof expires);
        print_column(stdout, key->key_id, 12);
        print_column(stdout, state_of(key), 7);
        print_column(stdout, created, 16);
        print_column(stdout, expires, 16);
        print_limits(key->limits);
        print_column(stdout, key->tenant, 16);
        print_column(stdout, key->name, 40);
        printf("\n");
        for (size_t j = 0; j < key->n_model_limits; j++) { /* a line each, under the numbers they belong to */
            printf("%*s", MODEL_LIMIT_COLUMN, "");
            print_limits(key->model_limits[j]->limits);
            printf("to ");
            print_clean(stdout, key->model_limits[j]->model);
            printf("\n");
        }
    }
}

int command_key_list(int argc, char **argv) {
    struct connection_options options = {0};
    struct argument common[CONNECTION_ARGUMENTS];
    connection_arguments(&options, common);
    const struct argument none[] = {{ARGUMENT_END, NULL, NULL, NULL, NULL}};
    int count = 0, result = arguments_parse(&list_usage, none, common, argc, argv, NULL, &count);
    if (result != GO_ON) return result;
    struct connection connection;
    if ((result = connection_open(&options, CREDENTIAL_ADMIN_KEY, &connection)) != GO_ON) return result;
    Bora__V1__ListKeysResponse all = BORA__V1__LIST_KEYS_RESPONSE__INIT;
    result = fetch_all(&connection, &all);
    if (result == GO_ON && options.json) {
        result = print_json(&all.base);
    } else if (result == GO_ON) {
        print_keys(&all);
        result = EXIT_OK;
    }
    free(all.keys);
    connection_close(&connection);
    return result;
}

/* --- key revoke -------------------------------------------------------------------------------------------------- */

static const struct command_usage revoke_usage = {
    "key revoke", "KEY_ID",
    "Revoke an API key: the next request with it is refused, on every gateway. There is no way back.", 1, 1};

int command_key_revoke(int argc, char **argv) {
    struct connection_options options = {0};
    struct argument common[CONNECTION_ARGUMENTS];
    connection_arguments(&options, common);
    const struct argument none[] = {{ARGUMENT_END, NULL, NULL, NULL, NULL}};
    const char *key_id = NULL;
    int count = 0, result = arguments_parse(&revoke_usage, none, common, argc, argv, &key_id, &count);
    if (result != GO_ON) return result;
    if (strncmp(key_id, "bora_", 5) == 0) /* a whole key; what lies behind the id is nobody's business here */
        return usage_error(&revoke_usage, "KEY_ID is what stands between the two underscores: %.12s", key_id + 5);
    struct connection connection;
    if ((result = connection_open(&options, CREDENTIAL_ADMIN_KEY, &connection)) != GO_ON) return result;
    Bora__V1__RevokeKeyRequest request = BORA__V1__REVOKE_KEY_REQUEST__INIT;
    request.key_id = (char *)key_id;
    ProtobufCMessage *reply = NULL;
    result = connection_call(&connection, SERVICE "RevokeKey", &request.base,
                             &bora__v1__revoke_key_response__descriptor, &reply);
    if (result == GO_ON && options.json) {
        result = print_json(reply);
    } else if (result == GO_ON) {
        printf("%s is revoked.\n", key_id);
        result = EXIT_OK;
    }
    connection_close(&connection);
    return result;
}
