/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/served.h"

#include "bora/v1/tenants.pb-c.h"
#include "cli/print.h"

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

void served_print_names(FILE *file, const Bora__V1__ModelList *list) {
    if (list->n_data == 0) fputs("none", file);
    for (size_t i = 0; i < list->n_data; i++) {
        if (i > 0) fputs(", ", file);
        print_line(file, list->data[i]->id);
    }
}
