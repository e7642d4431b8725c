/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/limits.h"
#include "cli/chat.h"
#include "cli/commands.h"
#include "cli/print.h"

#include <string.h>
#include <unistd.h>

static struct chat_options options;
static bool no_history, echo;

static int read_standard_input(const struct command_usage *usage, struct bytes *out) {
    char buffer[65536];
    for (ssize_t length; (length = read(STDIN_FILENO, buffer, sizeof buffer)) > 0;) {
        if (bytes_append(out, buffer, (size_t)length) != STATUS_OK) {
            print_failure("the question is too long");
            return EXIT_FAILED;
        }
    }
    if (out->length > 0 && memchr(out->data, 0, out->length) != NULL) {
        print_failure("the question contains NUL characters");
        return EXIT_FAILED;
    }
    return out->length > 0 ? GO_ON : usage_error(usage, "the question is empty");
}

/** One question, one answer. */
static int ask(const struct command_usage *usage, struct connection *connection, const char *question) {
    const struct chat_turn turn = {.text = (char *)question};
    struct bytes request;
    bytes_init(&request, LIMIT_REQUEST_BODY_BYTES_MAX);
    int result = chat_choose_model(connection, &options);
    if (result == GO_ON) result = chat_pack(usage, &options, &turn, 1, &request);
    if (result == GO_ON && echo && !connection_options.json) {
        fputs(question, stdout);
        fflush(stdout);
    }
    const struct chat_reader reader = {.model = options.model,
                                       .max_tokens = options.max_tokens.given ? options.max_tokens.value : -1,
                                       .usage = options.usage};
    if (result == GO_ON) result = chat_stream(connection, bytes_view(&request), &reader);
    bytes_deinit(&request);
    return result;
}

/** The question is a word, or comes from standard input; on a terminal without one there is a conversation. */
static int run(const struct command_usage *usage, const char *const *words, int count, bool may_talk) {
    struct bytes input;
    struct connection connection;
    int result = GO_ON;
    bool talk = count == 0 && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && may_talk && !connection_options.json;
    if (count == 0 && isatty(STDIN_FILENO) && !talk) return usage_error(usage, "%s is missing", usage->positionals);
    bytes_init(&input, LIMIT_REQUEST_BODY_BYTES_MAX);
    const char *question = count > 0 ? words[0] : "-";
    if (!talk && strcmp(question, "-") == 0) {
        result = read_standard_input(usage, &input);
        question = (const char *)input.data;
    } else if (!talk && question[0] == 0) {
        result = usage_error(usage, "the question is empty");
    }
    if (result == GO_ON) result = connection_open(CREDENTIAL_API_KEY, &connection);
    if (result == GO_ON) {
        result = talk ? chat_talk(usage, &connection, &options, !no_history) : ask(usage, &connection, question);
        connection_close(&connection);
    }
    bytes_deinit(&input);
    return result;
}

static int run_chat(const struct command_usage *usage, const char *const *words, int count) {
    return run(usage, words, count, true);
}

static int run_complete(const struct command_usage *usage, const char *const *words, int count) {
    return run(usage, words, count, false);
}

static const struct argument chat_arguments[] = {
    CHAT_ARGUMENTS(&options),
    {ARGUMENT_TEXT, "system", "TEXT", "instructions for the whole conversation", &options.system},
    CHAT_FILES_ARGUMENTS(&options.files),
    {ARGUMENT_FLAG, "no-history", NULL, "of a conversation: neither read nor write the file of earlier lines",
     &no_history},
    {ARGUMENT_END, NULL, NULL, NULL, NULL},
};
static const struct argument complete_arguments[] = {
    CHAT_ARGUMENTS(&options),
    {ARGUMENT_FLAG, "echo", NULL, "print the text before what continues it", &echo},
    {ARGUMENT_END, NULL, NULL, NULL, NULL},
};

const struct command chat_commands[] = {
    {.usage =
         {"chat", "[\"QUESTION\"]",
          "Ask a model and print its answer as it comes. With - the question is read from standard input, as it is "
          "without\none that is no terminal. On a terminal, without a question, it is a conversation: /help there "
          "tells more.\n"
          "Ctrl-C ends the answer and frees the model. Calls of tools are printed one a line: name {\"arguments\"}.",
          0, 1},
     .help = "ask a model; without a question, a conversation",
     .arguments = chat_arguments,
     .connects = true,
     .run = run_chat},
    {.usage = {NULL, NULL, NULL, 0, 0}}};

const struct command complete_commands[] = {
    {.usage =
         {"complete", "\"TEXT\"",
          "Continue a text with a base model (one whose layout is completion), and print what comes behind it. The "
          "text is\n"
          "the one message of a chat, so a model that was taught to chat answers it instead. With -, or without a "
          "text,\nit is read from standard input.",
          0, 1},
     .help = "continue a text with a base model",
     .arguments = complete_arguments,
     .connects = true,
     .run = run_complete},
    {.usage = {NULL, NULL, NULL, 0, 0}}};
