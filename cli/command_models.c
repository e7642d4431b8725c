/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"
#include "cli/connection.h"
#include "cli/print.h"
#include "cli/served.h"

#include <inttypes.h>
#include <stdio.h>

static const struct command_usage usage = {"models", "",
                                           "List the models that can be asked now, with their other names.", 0, 0};

static void print_models(const Bora__V1__ModelList *list) {
    printf("MODEL                             TIER      CONTEXT    ALIASES\n");
    for (size_t i = 0; i < list->n_data; i++) {
        const Bora__V1__ModelCard *card = list->data[i];
        char context[24];
        snprintf(context, sizeof context, "%" PRId64, card->max_context_length);
        print_column(stdout, card->id, 32);
        print_column(stdout, card->_tier_case == BORA__V1__MODEL_CARD___TIER_TIER ? card->tier : "-", 8);
        print_column(stdout, context, 9);
        for (size_t j = 0; j < card->n_aliases; j++) {
            if (j > 0) printf(", ");
            print_clean(stdout, card->aliases[j]);
        }
        printf("\n");
    }
}

int command_models(int argc, char **argv) {
    struct connection_options options = {0};
    struct argument common[CONNECTION_ARGUMENTS];
    connection_arguments(&options, common);
    const struct argument none[] = {{ARGUMENT_END, NULL, NULL, NULL, NULL}};
    int count = 0, result = arguments_parse(&usage, none, common, argc, argv, NULL, &count);
    if (result != GO_ON) return result;
    struct connection connection;
    if ((result = connection_open(&options, CREDENTIAL_API_KEY, &connection)) != GO_ON) return result;
    const Bora__V1__ModelList *list = NULL;
    result = served_fetch(&connection, &list);
    if (result == GO_ON && options.json) {
        result = print_json(&list->base);
    } else if (result == GO_ON) {
        print_models(list);
        result = EXIT_OK;
    }
    connection_close(&connection);
    return result;
}
