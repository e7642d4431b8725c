/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/limits.h"
#include "cli/chat.h"
#include "cli/fields.h"
#include "cli/print.h"
#include "cli/served.h"
#include "rpc/transcode.h"

#include <stdio.h>

/** Without --model: the only one there is. */
static int only_model(struct connection *connection, const char **out) {
    const Bora__V1__ModelList *list = NULL;
    int result = served_fetch(connection, &list);
    if (result != GO_ON) return result;
    if (list->n_data == 1) {
        *out = list->data[0]->id;
        return GO_ON;
    }
    if (list->n_data == 0) {
        const char *sentence;
        result = served_explain_none(connection, &sentence);
        print_failure("%s", sentence);
        return result;
    }
    fputs("bora: choose one with --model: ", stderr);
    served_print_names(stderr, list);
    fputs("\n", stderr);
    return EXIT_USAGE;
}

int chat_choose_model(struct connection *connection, struct chat_options *options) {
    const char *source;
    options->model = connection_setting(&connection->config, CONFIG_MODEL, options->model, &source);
    return options->model != NULL ? GO_ON : only_model(connection, &options->model);
}

/** A message and what it points to. */
struct message {
    Bora__V1__ChatMessage chat;
    Bora__V1__Content content;
    Bora__V1__SystemMessage system;
    Bora__V1__UserMessage user;
    Bora__V1__AssistantMessage assistant;
};

static Bora__V1__ChatMessage *fill(struct message *message, Bora__V1__ChatMessage__RoleCase role, const char *text) {
    bora__v1__chat_message__init(&message->chat);
    bora__v1__content__init(&message->content);
    bora__v1__system_message__init(&message->system);
    bora__v1__user_message__init(&message->user);
    bora__v1__assistant_message__init(&message->assistant);
    message->content.kind_case = BORA__V1__CONTENT__KIND_TEXT;
    message->content.text = (char *)text;
    message->system.content = message->user.content = message->assistant.content = &message->content;
    message->chat.role_case = role;
    if (role == BORA__V1__CHAT_MESSAGE__ROLE_SYSTEM)
        message->chat.system = &message->system;
    else if (role == BORA__V1__CHAT_MESSAGE__ROLE_USER)
        message->chat.user = &message->user;
    else
        message->chat.assistant = &message->assistant;
    return &message->chat;
}

static void set_sampling(const struct chat_options *options, Bora__V1__ChatCompletionRequest *request) {
    if (options->max_tokens.given) field_set_integer(&request->base, "max_tokens", options->max_tokens.value);
    if (options->seed.given) field_set_integer(&request->base, "random_seed", options->seed.value);
    if (options->temperature.given) field_set_number(&request->base, "temperature", options->temperature.value);
    if (options->top_p.given) field_set_number(&request->base, "top_p", options->top_p.value);
}

int chat_pack(const struct command_usage *usage, const struct chat_options *options, const struct chat_turn *turns,
              size_t count, struct bytes *out) {
    Bora__V1__ChatCompletionRequest request = BORA__V1__CHAT_COMPLETION_REQUEST__INIT;
    struct chat_files files;
    int result = chat_files_open(usage, &options->files, &files, &request);
    struct message *messages = arena_alloc_array(&files.arena, count + 1, sizeof *messages);
    request.messages = arena_alloc_array(&files.arena, count + 1, sizeof *request.messages);
    bool room = messages != NULL && request.messages != NULL;
    if (room && options->system != NULL)
        request.messages[request.n_messages++] =
            fill(&messages[count], BORA__V1__CHAT_MESSAGE__ROLE_SYSTEM, options->system);
    for (size_t i = 0; room && i < count; i++)
        request.messages[request.n_messages++] =
            fill(&messages[i],
                 turns[i].assistant ? BORA__V1__CHAT_MESSAGE__ROLE_ASSISTANT : BORA__V1__CHAT_MESSAGE__ROLE_USER,
                 turns[i].text);
    request.model = (char *)options->model;
    set_sampling(options, &request);
    if (result == GO_ON && (!room || protobuf_pack(&request.base, out) != STATUS_OK)) {
        print_failure("the question is too long");
        result = EXIT_FAILED;
    }
    chat_files_close(&files);
    return result;
}
