/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"
#include "cli/print.h"
#include "cli/result.h"
#include "cli/served.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static const struct table_column list_columns[] = {{"MODEL", "id", CELL_TEXT, 48},
                                                   {"TIER", "tier", CELL_TEXT, 0},
                                                   {"CONTEXT", "max_context_length", CELL_COUNT, 0},
                                                   {"ALIASES", "aliases", CELL_TEXT, 0}};
static const struct table_column columns[] = {{"model", "id", CELL_TEXT, 0},
                                              {"name", "name", CELL_TEXT, 0},
                                              {"description", "description", CELL_TEXT, 0},
                                              {"tier", "tier", CELL_TEXT, 0},
                                              {"aliases", "aliases", CELL_TEXT, 0},
                                              {"context", "max_context_length", CELL_COUNT, 0},
                                              {"type", "type", CELL_TEXT, 0},
                                              {"owned by", "owned_by", CELL_TEXT, 0},
                                              {"served since", "created", CELL_TIME, 0},
                                              {"chat", "capabilities.completion_chat", CELL_TEXT, 0},
                                              {"tools", "capabilities.function_calling", CELL_TEXT, 0},
                                              {"vision", "capabilities.vision", CELL_TEXT, 0},
                                              {"reasoning", "capabilities.reasoning", CELL_TEXT, 0},
                                              {"fine-tuning", "capabilities.fine_tuning", CELL_TEXT, 0},
                                              {"temperature", "default_model_temperature", CELL_TEXT, 0},
                                              {"deprecation", "deprecation", CELL_TEXT, 0}};

/** An empty list is an answer, unless it is the key that makes it empty. */
static int print_none(struct connection *connection, const struct result_list *list,
                      const Bora__V1__ModelList *models) {
    const char *sentence;
    bool bound = served_explain_none(connection, &sentence) == EXIT_NOT_AUTHORISED;
    if (bound) print_failure("%s", sentence);
    bool silent = bound && !connection_options.json;
    int result = silent ? EXIT_OK
                        : result_print_list(list, &models->base, list_columns, COUNT(list_columns),
                                            "No model is served right now.");
    return bound && result == EXIT_OK ? EXIT_NOT_AUTHORISED : result;
}

static int run_list(const struct command_usage *usage, const char *const *words, int count) {
    (void)usage, (void)words, (void)count;
    const struct result_list list = {.items = "data", .id = "id"};
    struct connection connection;
    const Bora__V1__ModelList *models = NULL;
    int result = connection_open(CREDENTIAL_API_KEY, &connection);
    if (result != GO_ON) return result;
    result = served_fetch(&connection, &models);
    if (result == GO_ON && models->n_data == 0)
        result = print_none(&connection, &list, models);
    else if (result == GO_ON)
        result = result_print_list(&list, &models->base, list_columns, COUNT(list_columns), "");
    connection_close(&connection);
    return result;
}

static int run_show(const struct command_usage *usage, const char *const *words, int count) {
    (void)usage, (void)count;
    Bora__V1__GetModelRequest request = BORA__V1__GET_MODEL_REQUEST__INIT;
    struct connection connection;
    ProtobufCMessage *reply = NULL;
    int result = connection_open(CREDENTIAL_API_KEY, &connection);
    if (result != GO_ON) return result;
    request.model = (char *)words[0];
    result = connection_call(&connection, "/bora.v1.ModelService/GetModel", &request.base,
                             &bora__v1__model_card__descriptor, &reply);
    if (result == GO_ON) result = result_print_one(reply, columns, COUNT(columns), "id");
    connection_close(&connection);
    return result;
}

const struct command models_commands[] = {
    {.usage = {"models list", "", "List the models that can be asked now, with their other names.", 0, 0},
     .help = "list the models that can be asked now",
     .arguments = no_arguments,
     .connects = true,
     .is_default = true,
     .run = run_list},
    {.usage = {"models show", "MODEL", "Show a model that can be asked now, by its name, an alias or a tier.", 1, 1},
     .help = "show one",
     .arguments = no_arguments,
     .connects = true,
     .run = run_show},
    {.usage = {NULL, NULL, NULL, 0, 0}}};
