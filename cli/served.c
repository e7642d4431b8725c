/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/served.h"

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

bool served_has(const Bora__V1__ModelList *list, const char *name) {
    for (size_t i = 0; i < list->n_data; i++) {
        const Bora__V1__ModelCard *card = list->data[i];
        if (strcmp(card->id, name) == 0) return true;
        if (card->_tier_case == BORA__V1__MODEL_CARD___TIER_TIER && strcmp(card->tier, name) == 0) return true;
        for (size_t j = 0; j < card->n_aliases; j++) {
            if (strcmp(card->aliases[j], name) == 0) return true;
        }
    }
    return false;
}

void served_print_names(FILE *file, const Bora__V1__ModelList *list) {
    if (list->n_data == 0) fputs("none", file);
    for (size_t i = 0; i < list->n_data; i++) {
        if (i > 0) fputs(", ", file);
        print_line(file, list->data[i]->id);
    }
}
