/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "cli/chat.h"
#include "cli/print.h"
#include "cli/served.h"
#include "rpc/transcode.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { CHUNK_MEMORY_BYTES = 16 << 20, STOP_LOOK_MS = 50 };

/* --- the answer -------------------------------------------------------------------------------------------------- */

struct answer {
    struct connection *connection;
    const struct chat_reader *reader;
    bool json;
    struct arena arena; /* one chunk */
    bool cut;           /* finish_reason "length" */
    int64_t tokens;     /* of prompt and answer; 0: not told */
    int64_t answered;   /* of these, those of the answer */
    char broken[256];   /* why it ends before its end; "": it does not */
    int broken_exit;
    bool line_open; /* the last character was not a newline */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool done, begun; /* begun: something of the answer is printed, so that it cannot be asked again */
    struct connection_failure failure;
    int exit;
};

/** On a line of its own. Calls come whole. */
static void print_call(struct answer *answer, const Bora__V1__ToolCall *call) {
    const Bora__V1__FunctionCall *function = call->function;
    if (function == NULL) return;
    bool text =
        function->arguments != NULL && function->arguments->kind_case == BORA__V1__FUNCTION_ARGUMENTS__KIND_TEXT;
    if (answer->line_open) printf("\n");
    print_line(stdout, function->name);
    fputs(" ", stdout);
    print_clean(stdout, text ? function->arguments->text : "{}");
    printf("\n");
    answer->line_open = false;
}

static void print_choice(struct answer *answer, const Bora__V1__ChunkChoice *choice) {
    if (choice->delta != NULL && choice->delta->_content_case == BORA__V1__DELTA___CONTENT_CONTENT &&
        choice->delta->content[0] != 0) {
        const char *text = choice->delta->content;
        if (answer->reader->transcript != NULL) (void)!bytes_append_string(answer->reader->transcript, text);
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

/** The answer ends before its end. */
static void take_error(struct answer *answer, const Bora__V1__ApiError *error) {
    snprintf(answer->broken, sizeof answer->broken, "%s", error->message[0] != 0 ? error->message : "no reason given");
    answer->broken_exit = error->_raw_status_code_case != BORA__V1__API_ERROR___RAW_STATUS_CODE_RAW_STATUS_CODE
                              ? EXIT_FAILED
                          : error->raw_status_code == 401 || error->raw_status_code == 403 ? EXIT_NOT_AUTHORISED
                          : error->raw_status_code == 503                                  ? EXIT_UNAVAILABLE
                                                                                           : EXIT_FAILED;
}

static void on_message(struct rpc_client_call *call, void *context, struct bytes_view message) {
    struct answer *answer = context;
    ProtobufCMessage *unpacked = NULL;
    answer->begun = true;
    arena_reset(&answer->arena);
    if (protobuf_unpack(&bora__v1__chat_completion_chunk__descriptor, message, &answer->arena, &unpacked, NULL) ==
        STATUS_OK) {
        const Bora__V1__ChatCompletionChunk *chunk = (const Bora__V1__ChatCompletionChunk *)unpacked;
        if (chunk->error != NULL) take_error(answer, chunk->error);
        if (chunk->usage != NULL) {
            answer->tokens = chunk->usage->total_tokens;
            answer->answered = chunk->usage->completion_tokens;
        }
        if (answer->json)
            print_json(unpacked);
        else
            for (size_t i = 0; i < chunk->n_choices; i++) print_choice(answer, chunk->choices[i]);
        fflush(stdout);
        if (answer->reader->usage && chunk->usage != NULL) {
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

static bool is_stopped(const struct answer *answer) {
    return answer->reader->stopped != NULL && *answer->reader->stopped;
}

static void on_finished(struct rpc_client_call *call, void *context, const struct rpc_result *result) {
    (void)call;
    struct answer *answer = context;
    pthread_mutex_lock(&answer->mutex);
    if (answer->line_open && !answer->json) printf("\n");
    answer->exit = EXIT_OK;
    if (!print_flush()) {
        answer->exit = print_failure("standard output: %s", strerror(errno));
        answer->failure.retry_after_ms = 0;
    } else if (result->status != STATUS_OK && is_stopped(answer)) {
        answer->exit = EXIT_INTERRUPTED;
    } else if (result->status != STATUS_OK) {
        answer->failure = connection_judge(result);
        if (answer->begun) answer->failure.retry_after_ms = 0;
        answer->exit = answer->failure.exit;
        if (!connection_retries(answer->connection, &answer->failure)) connection_explain(answer->connection, result);
    } else if (answer->broken[0] != 0) {
        answer->exit = answer->broken_exit;
        print_failure("the answer broke off: %s", answer->broken);
    }
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

/**
 * The service says "length" of every answer that was cut. Who gives no --max-tokens gets what the model's context has room for, or less where a limit
 * leaves less: then the answer ends before the context is full.
 */
static void explain_cut(struct answer *answer) {
    Bora__V1__GetModelRequest request = BORA__V1__GET_MODEL_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    if (answer->reader->max_tokens >= 0) { /* of which a limit takes nothing away */
        print_failure("the answer was cut: %s is used up", answer->tokens == 0 ? "--max-tokens or the model's context"
                                                           : answer->answered >= answer->reader->max_tokens
                                                               ? "--max-tokens"
                                                               : "the model's context");
        return;
    }
    request.model = (char *)answer->reader->model;
    answer->connection->quiet = true;
    int result = connection_call(answer->connection, "/bora.v1.ModelService/GetModel", &request.base,
                                 &bora__v1__model_card__descriptor, &reply);
    answer->connection->quiet = false;
    int64_t context = result == GO_ON ? ((const Bora__V1__ModelCard *)reply)->max_context_length : 0;
    if (answer->tokens > 0 && answer->tokens < context)
        print_failure("the answer was cut: a limit of the key, its workspace or organization leaves no more tokens "
                      "(bora limits shows them)");
    else if (context > 0)
        print_failure("the answer was cut: the model's context is used up");
    else
        print_failure("the answer was cut: a limit or the model's context is used up");
}

/** Until the answer has ended. A handler of signals cannot wake a condition, so somebody looks. */
static void wait_for_end(struct answer *answer, struct rpc_client_call *call) {
    pthread_mutex_lock(&answer->mutex);
    while (!answer->done) {
        struct timespec until;
        if (answer->reader->stopped == NULL) {
            pthread_cond_wait(&answer->changed, &answer->mutex);
            continue;
        }
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += STOP_LOOK_MS * NS_PER_MS;
        until.tv_sec += until.tv_nsec / NS_PER_S;
        until.tv_nsec %= NS_PER_S;
        (void)pthread_cond_timedwait(&answer->changed, &answer->mutex, &until);
        if (is_stopped(answer)) rpc_client_call_cancel(call);
    }
    pthread_mutex_unlock(&answer->mutex);
}

static int ask(struct answer *answer, struct bytes_view request) {
    struct connection *connection = answer->connection;
    const char *const metadata[] = {"authorization", connection->authorization, NULL};
    struct rpc_client_call_options options = {
        .path = "/bora.v1.ChatService/StreamChat",
        .deadline_ns =
            connection->timeout_ns > 0 ? clock_monotonic_ns(clock_system()) + connection->timeout_ns : INT64_MAX,
        .metadata = metadata,
        .only_request = &request,
        .on_message = on_message,
        .on_finished = on_finished,
        .context = answer};
    struct rpc_client_call *call = NULL;
    struct error err = {0};
    answer->done = false;
    answer->failure = (struct connection_failure){0};
    if (rpc_client_call_start(connection->channel, &options, &call, &err) != STATUS_OK) {
        print_failure("%s", err.message);
        return EXIT_FAILED;
    }
    rpc_client_call_read(call);
    wait_for_end(answer, call);
    rpc_client_call_unref(call);
    return answer->exit;
}

int chat_stream(struct connection *connection, struct bytes_view request, const struct chat_reader *reader) {
    struct answer answer = {.connection = connection,
                            .reader = reader,
                            .json = connection_options.json,
                            .mutex = PTHREAD_MUTEX_INITIALIZER,
                            .changed = PTHREAD_COND_INITIALIZER};
    arena_init(&answer.arena, CHUNK_MEMORY_BYTES);
    int result;
    do result = ask(&answer, request);
    while (result != EXIT_OK && connection_wait_to_retry(connection, &answer.failure));
    arena_deinit(&answer.arena);
    if (result == EXIT_OK && answer.cut && !answer.json && answer.broken[0] == 0) explain_cut(&answer);
    if (answer.failure.model_missing) print_served(connection);
    return result;
}
