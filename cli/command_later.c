/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands whose services do not exist yet. They ask the gateway, which says so itself (UNIMPLEMENTED, exit status 4): nothing is pretended here, and
 * against a gateway that has the service the answer is to update this program.
 */
#include "bora/v1/models.pb-c.h"
#include "cli/commands.h"
#include "cli/connection.h"
#include "cli/print.h"

static int ask(const char *method) {
    Bora__V1__ListModelsRequest nothing = BORA__V1__LIST_MODELS_REQUEST__INIT; /* any message without fields */
    struct connection connection;
    ProtobufCMessage *reply = NULL;
    int result = connection_open(CREDENTIAL_API_KEY, &connection);
    if (result != GO_ON) return result;
    result = connection_call(&connection, method, &nothing.base, &bora__v1__list_models_request__descriptor, &reply);
    connection_close(&connection);
    if (result == EXIT_NOT_FOUND) {
        fprintf(stderr, "  this gateway has no such service yet\n");
    } else if (result == GO_ON || result == EXIT_FAILED) {
        print_failure("the gateway is newer than this program (%s), which cannot ask it that: update bora",
                      BORA_VERSION);
        result = EXIT_FAILED;
    }
    return result;
}

#define LATER(function, method)                                                                   \
    static int function(const struct command_usage *usage, const char *const *words, int count) { \
        (void)usage, (void)words, (void)count;                                                    \
        return ask(method);                                                                       \
    }
LATER(run_embed, "/bora.v1.EmbeddingService/CreateEmbeddings")
LATER(run_files_list, "/bora.v1.FileService/ListFiles")
LATER(run_files_upload, "/bora.v1.FileService/UploadFile")
LATER(run_jobs_list, "/bora.v1.FineTuningService/ListJobs")
LATER(run_jobs_create, "/bora.v1.FineTuningService/CreateJob")

#define NOT_YET "\nNo gateway has this service yet: the command asks, says what it was answered, and exits with 4."
#define ENTRY(words, positionals, sentence, half, minimum, standard, function)                                      \
    {                                                                                                               \
        .usage = {words, positionals, sentence NOT_YET, minimum, minimum}, .help = half, .arguments = no_arguments, \
        .connects = true, .is_default = standard, .run = function                                                   \
    }
#define END                                 \
    {                                       \
        .usage = { NULL, NULL, NULL, 0, 0 } \
    }

const struct command embed_commands[] = {
    ENTRY("embed", "TEXT", "Embed a text.", "embed a text (no gateway can yet)", 1, false, run_embed), END};
const struct command files_commands[] = {ENTRY("files list", "", "List uploaded files.",
                                               "list uploaded files (no gateway can yet)", 0, true, run_files_list),
                                         ENTRY("files upload", "FILE", "Upload a file of training examples.",
                                               "upload one (no gateway can yet)", 1, false, run_files_upload),
                                         END};
const struct command jobs_commands[] = {ENTRY("jobs list", "", "List fine-tuning jobs.",
                                              "list fine-tuning jobs (no gateway can yet)", 0, true, run_jobs_list),
                                        ENTRY("jobs create", "MODEL", "Fine-tune a model.",
                                              "fine-tune a model (no gateway can yet)", 1, false, run_jobs_create),
                                        END};
