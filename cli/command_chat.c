/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/limits.h"
#include "bora/v1/chat.pb-c.h"
#include "cli/chat_files.h"
#include "cli/commands.h"
#include "cli/connection.h"
#include "cli/print.h"
#include "cli/served.h"
#include "rpc/transcode.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command_usage usage = {
    "chat", "\"QUESTION\"",
    "Ask a model and print its answer as it comes. Without a question, or with -, it is read from standard input.\n"
    "Ctrl-C ends the answer and frees the model. Calls of tools are printed one a line: name {\"arguments\"}.",
    0, 1};

enum { CHUNK_MEMORY_BYTES = 16 << 20 };

struct chat_options {
    const char *model, *system;
    struct argument_integer max_tokens, seed;
    struct argument_number temperature, top_p;
    struct chat_files_options files;
    bool usage;
};

/* --- the question ------------------------------------------------------------------------------------------------ */

static int read_standard_input(struct bytes *out) {
    char buffer[65536];
    for (ssize_t length; (length = read(STDIN_FILENO, buffer, sizeof buffer)) > 0;) {
        if (bytes_append(out, buffer, (size_t)length) != STATUS_OK) {
            fprintf(stderr, "bora: the question is too long\n");
            return EXIT_FAILED;
        }
    }
    if (out->length > 0 && memchr(out->data, 0, out->length) != NULL) {
        fprintf(stderr, "bora: the question contains NUL characters\n");
        return EXIT_FAILED;
    }
    return out->length > 0 ? GO_ON : usage_error(&usage, "the question is empty");
}

/** Pack the request. GO_ON, or how to end after a sentence on stderr. */
static int pack_request(const struct chat_options *options, const char *question, struct bytes *out) {
    Bora__V1__Content system_content = BORA__V1__CONTENT__INIT, user_content = BORA__V1__CONTENT__INIT;
    Bora__V1__SystemMessage system_message = BORA__V1__SYSTEM_MESSAGE__INIT;
    Bora__V1__UserMessage user_message = BORA__V1__USER_MESSAGE__INIT;
    Bora__V1__ChatMessage messages[2] = {BORA__V1__CHAT_MESSAGE__INIT, BORA__V1__CHAT_MESSAGE__INIT},
                          *pointers[2] = {0};
    Bora__V1__ChatCompletionRequest request = BORA__V1__CHAT_COMPLETION_REQUEST__INIT;
    size_t count = 0;
    if (options->system != NULL) {
        system_content.kind_case = BORA__V1__CONTENT__KIND_TEXT;
        system_content.text = (char *)options->system;
        system_message.content = &system_content;
        messages[count].role_case = BORA__V1__CHAT_MESSAGE__ROLE_SYSTEM;
        messages[count].system = &system_message;
        pointers[count] = &messages[count];
        count++;
    }
    user_content.kind_case = BORA__V1__CONTENT__KIND_TEXT;
    user_content.text = (char *)question;
    user_message.content = &user_content;
    messages[count].role_case = BORA__V1__CHAT_MESSAGE__ROLE_USER;
    messages[count].user = &user_message;
    pointers[count] = &messages[count];
    request.model = (char *)options->model;
    request.messages = pointers;
    request.n_messages = count + 1;
    if (options->max_tokens.given) {
        request._max_tokens_case = BORA__V1__CHAT_COMPLETION_REQUEST___MAX_TOKENS_MAX_TOKENS;
        request.max_tokens = options->max_tokens.value;
    }
    if (options->seed.given) {
        request._random_seed_case = BORA__V1__CHAT_COMPLETION_REQUEST___RANDOM_SEED_RANDOM_SEED;
        request.random_seed = options->seed.value;
    }
    if (options->temperature.given) {
        request._temperature_case = BORA__V1__CHAT_COMPLETION_REQUEST___TEMPERATURE_TEMPERATURE;
        request.temperature = options->temperature.value;
    }
    if (options->top_p.given) {
        request._top_p_case = BORA__V1__CHAT_COMPLETION_REQUEST___TOP_P_TOP_P;
        request.top_p = options->top_p.value;
    }
    struct chat_files files;
    int result = chat_files_open(&usage, &options->files, &files, &request);
    if (result == GO_ON && protobuf_pack(&request.base, out) != STATUS_OK) {
        fprintf(stderr, "bora: the question is too long\n");
        result = EXIT_FAILED;
    }
    chat_files_close(&files);
    return result;
}

/* --- the answer -------------------------------------------------------------------------------------------------- */

struct answer {
    const struct connection *connection;
    bool json, usage;
    struct arena arena; /* one chunk */
    bool cut;           /* by max_tokens or the context */
    bool line_open;     /* the last character was not a newline */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool done;
    bool model_missing; /* perhaps */
    int exit;
};

/** On a line of its own. Calls come whole. */
static void print_call(struct answer *answer, const Bora__V1__ToolCall *call) {
    const Bora__V1__FunctionCall *function = call->function;
    if (function == NULL) return;
    bool text =
        function->arguments != NULL && function->arguments->kind_case == BORA__V1__FUNCTION_ARGUMENTS__KIND_TEXT;
    if (answer->line_open) printf("\n");
    print_clean(stdout, function->name);
    fputs(" ", stdout);
    print_clean(stdout, text ? function->arguments->text : "{}");
    printf("\n");
    answer->line_open = false;
}

static void print_choice(struct answer *answer, const Bora__V1__ChunkChoice *choice) {
    if (choice->delta != NULL && choice->delta->_content_case == BORA__V1__DELTA___CONTENT_CONTENT &&
        choice->delta->content[0] != 0) {
        const char *text = choice->delta->content;
        print_clean(stdout, text);
        answer->line_open = text[strlen(text) - 1] != '\n';
    }
    for (size_t i = 0; choice->delta != NULL && i < choice->delta->n_tool_calls; i++)
        print_call(answer, choice->delta->tool_calls[i]);
    bool finished = choice->_finish_reason_case == BORA__V1__CHUNK_CHOICE___FINISH_REASON_FINISH_REASON;
    if (finished &&
        (strcmp(choice->finish_reason, "length") == 0 || strcmp(choice->finish_reason, "model_length") == 0))
        answer->cut = true;
}

static void on_message(struct rpc_client_call *call, void *context, struct bytes_view message) {
    struct answer *answer = context;
    ProtobufCMessage *unpacked = NULL;
    arena_reset(&answer->arena);
    if (protobuf_unpack(&bora__v1__chat_completion_chunk__descriptor, message, &answer->arena, &unpacked, NULL) ==
        STATUS_OK) {
        const Bora__V1__ChatCompletionChunk *chunk = (const Bora__V1__ChatCompletionChunk *)unpacked;
        if (answer->json)
            print_json(unpacked);
        else
            for (size_t i = 0; i < chunk->n_choices; i++) print_choice(answer, chunk->choices[i]);
        fflush(stdout);
        if (answer->usage && chunk->usage != NULL) {
            if (answer->line_open && !answer->json) printf("\n");
            fflush(stdout);
            answer->line_open = false;
            fprintf(stderr, "%" PRId64 " prompt tokens, %" PRId64 " answered\n", chunk->usage->prompt_tokens,
                    chunk->usage->completion_tokens);
        }
    }
    if (ferror(stdout))
        rpc_client_call_cancel(call); /* nobody reads */
    else
        rpc_client_call_read(call);
}

static void on_finished(struct rpc_client_call *call, void *context, const struct rpc_result *result) {
    (void)call;
    struct answer *answer = context;
    pthread_mutex_lock(&answer->mutex);
    if (answer->line_open && !answer->json) printf("\n");
    fflush(stdout);
    if (result->status != STATUS_OK)
        answer->model_missing = connection_explain(answer->connection, result);
    else if (answer->cut && !answer->json)
        fprintf(stderr, "bora: the answer was cut: --max-tokens or the model's context is used up\n");
    answer->exit = result->status == STATUS_OK && !ferror(stdout) ? EXIT_OK : EXIT_FAILED;
    answer->done = true;
    pthread_cond_signal(&answer->changed);
    pthread_mutex_unlock(&answer->mutex);
}

/** After a refusal, when it helps: what could be asked instead. */
static void print_served(struct connection *connection) {
    const Bora__V1__ModelList *list = NULL;
    connection->quiet = true;
    if (served_fetch(connection, &list) != GO_ON) return;
    fputs("  served now: ", stderr);
    served_print_names(stderr, list);
    fputs("\n", stderr);
}

/** Without --model: the only one there is. */
static int choose_model(struct connection *connection, const char **out) {
    const Bora__V1__ModelList *list = NULL;
    int result = served_fetch(connection, &list);
    if (result != GO_ON) return result;
    if (list->n_data == 1) {
        *out = list->data[0]->id;
        return GO_ON;
    }
    if (list->n_data == 0) {
        fputs("bora: no model is served right now\n", stderr);
    } else {
        fputs("bora: choose one with --model: ", stderr);
        served_print_names(stderr, list);
        fputs("\n", stderr);
    }
    return EXIT_FAILED;
}

static int stream(struct connection *connection, struct bytes_view request, bool json, bool show_usage) {
    struct answer answer = {.connection = connection,
                            .json = json,
                            .usage = show_usage,
                            .mutex = PTHREAD_MUTEX_INITIALIZER,
                            .changed = PTHREAD_COND_INITIALIZER};
    arena_init(&answer.arena, CHUNK_MEMORY_BYTES);
    const char *const metadata[] = {"authorization", connection->authorization, NULL};
    struct rpc_client_call_options options = {
        .path = "/bora.v1.ChatService/StreamChat",
        .deadline_ns =
            connection->timeout_ns > 0 ? clock_monotonic_ns(clock_system()) + connection->timeout_ns : INT64_MAX,
        .metadata = metadata,
        .on_message = on_message,
        .on_finished = on_finished,
        .context = &answer};
    struct rpc_client_call *call = NULL;
    struct error err = {0};
    if (rpc_client_call_start(connection->channel, &options, &call, &err) != STATUS_OK) {
        fprintf(stderr, "bora: %s\n", err.message);
        arena_deinit(&answer.arena);
        return EXIT_FAILED;
    }
    if (rpc_client_call_write(call, request) == STATUS_OK)
        rpc_client_call_half_close(call);
    else
        rpc_client_call_cancel(call);
    rpc_client_call_read(call);
    pthread_mutex_lock(&answer.mutex);
    while (!answer.done) pthread_cond_wait(&answer.changed, &answer.mutex);
    pthread_mutex_unlock(&answer.mutex);
    rpc_client_call_unref(call);
    arena_deinit(&answer.arena);
    if (answer.model_missing) print_served(connection);
    return answer.exit;
}

int command_chat(int argc, char **argv) {
    struct connection_options options = {0};
    struct chat_options own = {0};
    struct argument common[CONNECTION_ARGUMENTS];
    connection_arguments(&options, common);
    const struct argument table[] = {
        {ARGUMENT_TEXT, "model", "NAME", "model, alias or tier (default: the only one that is served)", &own.model},
        {ARGUMENT_TEXT, "system", "TEXT", "instructions for the whole conversation", &own.system},
        {ARGUMENT_INTEGER, "max-tokens", "N", "longest answer", &own.max_tokens},
        {ARGUMENT_NUMBER, "temperature", "X", "0: always the likeliest token; higher: more varied", &own.temperature},
        {ARGUMENT_NUMBER, "top-p", "X", "sample from the likeliest tokens that make up this share", &own.top_p},
        {ARGUMENT_INTEGER, "seed", "N", "the same seed gives the same answer", &own.seed},
        CHAT_FILES_ARGUMENTS(&own.files),
        {ARGUMENT_FLAG, "usage", NULL, "print the token counts on standard error", &own.usage},
        {ARGUMENT_END, NULL, NULL, NULL, NULL},
    };
    const char *question = NULL;
    int count = 0, result = arguments_parse(&usage, table, common, argc, argv, &question, &count);
    if (result != GO_ON) return result;
    if (count == 0 && isatty(STDIN_FILENO)) return usage_error(&usage, "the question is missing");
    struct bytes input, request;
    bytes_init(&input, LIMIT_REQUEST_BODY_BYTES_MAX);
    bytes_init(&request, LIMIT_REQUEST_BODY_BYTES_MAX);
    if (count == 0 || strcmp(question, "-") == 0) {
        result = read_standard_input(&input);
        question = (const char *)input.data;
    }
    struct connection connection;
    if (result == GO_ON) result = connection_open(&options, CREDENTIAL_API_KEY, &connection);
    bool opened = result == GO_ON;
    if (result == GO_ON && own.model == NULL) result = choose_model(&connection, &own.model);
    if (result == GO_ON) result = pack_request(&own, question, &request);
    if (result == GO_ON) result = stream(&connection, bytes_view(&request), options.json, own.usage);
    if (opened) connection_close(&connection);
    bytes_deinit(&input);
    bytes_deinit(&request);
    return result;
}
