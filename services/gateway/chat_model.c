/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What a request must satisfy that only the model it goes to can say. */
#include "services/gateway/chat.h"

#include <string.h>

/** The path of a map's key that is itself wrong, as rpc/transcode.h gives it: logit_bias, <id>, [key]. */
static bool add_bad_id(struct arena *arena, int32_t id, int32_t vocabulary, struct transcode_errors *errors) {
    struct transcode_step *path = arena_alloc_array(arena, 3, sizeof *path);
    char *text = arena_printf(arena, "%d", id);
    char *limit = arena_printf(arena, "{\"%s\":%d}", id < 0 ? "ge" : "lt", id < 0 ? 0 : vocabulary);
    char *message = arena_printf(arena, "Input should be %s %d", id < 0 ? "greater than or equal to" : "less than",
                                 id < 0 ? 0 : vocabulary);
    char *input = arena_printf(arena, "\"%d\"", id);
    if (path == NULL || text == NULL || limit == NULL || message == NULL || input == NULL) return false;
    path[0] = (struct transcode_step){.name = "logit_bias"};
    path[1] = (struct transcode_step){.name = text};
    path[2] = (struct transcode_step){.name = "[key]"};
    errors->items[errors->count++] = (struct transcode_error){.type = id < 0 ? "greater_than_equal" : "less_than",
                                                              .message = message,
                                                              .path_length = 3,
                                                              .path = path,
                                                              .input = input,
                                                              .context = limit};
    return true;
}

static bool calls_functions(const Bora__Internal__V1__ModelDescription *model) {
    bool found = false;
    for (size_t i = 0; i < model->n_capabilities; i++)
        found = found || strcmp(model->capabilities[i], "function_calling") == 0;
    return found;
}

bool chat_check_model(struct request *request, const Bora__V1__ChatCompletionRequest *message,
                      const Bora__Internal__V1__WorkerAnnouncement *worker, int streams, struct api_error *error) {
    const Bora__Internal__V1__ModelDescription *model = worker->model;
    int alive_max = worker->load != NULL ? worker->load->alive_max : 0;
    if (alive_max > 0 && streams > alive_max) { /* waiting would not help */
        *error = api_error_bad_request(
            "invalid_request_error", NULL, message->n >= streams ? "n" : "best_of",
            "%d answers at once; the worker of this model takes %d requests, those that wait counted.", streams,
            alive_max);
        return false;
    }
    if (message->n_tools > 0 && !calls_functions(model)) {
        *error = api_error_bad_request("invalid_request_error", NULL, "tools", "The model %.64s does not call tools.",
                                       model->name);
        return false;
    }
    struct transcode_errors *errors = NULL;
    for (size_t i = 0; i < message->n_logit_bias; i++) {
        int32_t id = message->logit_bias[i]->key;
        if (id >= 0 && (model->vocabulary_tokens == 0 || id < model->vocabulary_tokens)) continue;
        if (errors == NULL) {
            errors = arena_alloc(&request->arena, sizeof *errors);
            if (errors != NULL) errors->count = 0;
        }
        if (errors == NULL || (errors->count < TRANSCODE_ERRORS_MAX &&
                               !add_bad_id(&request->arena, id, model->vocabulary_tokens, errors))) {
            *error = api_error_unavailable("Out of memory.");
            return false;
        }
    }
    if (errors == NULL) return true;
    *error = api_error_validation(errors);
    return false;
}
