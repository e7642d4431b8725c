/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/served.h"

#include "bora/v1/tenants.pb-c.h"
#include "cli/fields.h"
#include "cli/print.h"

#include <string.h>

int served_fetch(struct connection *connection, const Bora__V1__ModelList **out) {
    Bora__V1__ListModelsRequest request = BORA__V1__LIST_MODELS_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    int result = connection_call(connection, "/bora.v1.ModelService/ListModels", &request.base,
                                 &bora__v1__model_list__descriptor, &reply);
    *out = (const Bora__V1__ModelList *)reply;
    return result;
}

int served_explain_none(struct connection *connection, const char **out_sentence) {
    Bora__V1__GetMeRequest request = BORA__V1__GET_ME_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    bool quiet = connection->quiet;
    connection->quiet = true;
    int result =
        connection_call(connection, "/bora.v1.TenantService/GetMe", &request.base, &bora__v1__me__descriptor, &reply);
    connection->quiet = quiet;
    const Bora__V1__Scopes *scopes = result == GO_ON ? ((const Bora__V1__Me *)reply)->scopes : NULL;
    bool bound = scopes != NULL && scopes->n_models > 0;
    *out_sentence = bound ? "no model is served right now that this key may ask (bora whoami names its models)"
                          : "no model is served right now";
    return bound ? EXIT_NOT_AUTHORISED : EXIT_UNAVAILABLE;
}

/** " (smollm2, small)": by which a request may name it as well. */
static void print_other_names(FILE *file, const Bora__V1__ModelCard *card) {
    const char *tier = field_text(&card->base, "tier"), *before = " (";
    for (size_t i = 0; i < card->n_aliases; i++) {
        if (strcmp(card->aliases[i], tier) == 0) continue;
        fputs(before, file);
        print_line(file, card->aliases[i]);
        before = ", ";
    }
    if (tier[0] != 0) {
        fputs(before, file);
        print_line(file, tier);
        before = ", ";
    }
    if (before[0] == ',') fputc(')', file);
}

void served_print_names(FILE *file, const Bora__V1__ModelList *list) {
    if (list->n_data == 0) fputs("none", file);
    for (size_t i = 0; i < list->n_data; i++) {
        if (i > 0) fputs(", ", file);
        print_line(file, list->data[i]->id);
        print_other_names(file, list->data[i]);
    }
}

bool served_has(const Bora__V1__ModelList *list, const char *name) {
    for (size_t i = 0; i < list->n_data; i++) {
        const Bora__V1__ModelCard *card = list->data[i];
        if (strcmp(card->id, name) == 0 || strcmp(field_text(&card->base, "tier"), name) == 0) return true;
        for (size_t j = 0; j < card->n_aliases; j++) {
            if (strcmp(card->aliases[j], name) == 0) return true;
        }
    }
    return false;
}
