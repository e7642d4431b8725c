/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Asking a model: the options, the request, and the answer as it comes. Shared by `bora chat`, its conversation on a terminal, and `bora complete`. */
#ifndef CLI_CHAT_H
#define CLI_CHAT_H

#include "base/bytes.h"
#include "cli/chat_files.h"
#include "cli/connection.h"

#include <signal.h>

struct chat_options {
    const char *model, *system;
    struct argument_integer max_tokens, seed;
    struct argument_number temperature, top_p;
    struct chat_files_options files;
    bool usage;
};
#define CHAT_ARGUMENTS(options)                                                                            \
    {ARGUMENT_TEXT, "model", "MODEL", "model, alias or tier (BORA_MODEL, or the only one that is served)", \
     &(options)->model},                                                                                   \
        {ARGUMENT_INTEGER, "max-tokens", "N", "longest answer", &(options)->max_tokens},                   \
        {ARGUMENT_NUMBER, "temperature", "X", "0: always the likeliest token; higher: more varied",        \
         &(options)->temperature},                                                                         \
        {ARGUMENT_NUMBER, "top-p", "X", "sample from the likeliest tokens that make up this share",        \
         &(options)->top_p},                                                                               \
        {ARGUMENT_INTEGER, "seed", "N", "the same seed gives the same answer", &(options)->seed}, {        \
        ARGUMENT_FLAG, "usage", NULL, "print the token counts on standard error", &(options)->usage        \
    }

struct chat_turn {
    bool assistant;
    char *text;
};

/** The model to ask: the option, environment or profile, else the only one that is served. GO_ON, or how to end after a sentence. */
int chat_choose_model(struct connection *connection, struct chat_options *options);
/** The request: the system's words, if any, then the turns. GO_ON, or how to end after a sentence. */
int chat_pack(const struct command_usage *usage, const struct chat_options *options, const struct chat_turn *turns,
              size_t count, struct bytes *out);

struct chat_reader {
    const char *model;
    int64_t max_tokens;                   /* of --max-tokens; -1: not given */
    bool usage;                           /* the token counts too */
    struct bytes *transcript;             /* NULL, or what was answered is appended */
    const volatile sig_atomic_t *stopped; /* NULL, or the answer is ended when it is set */
};
/** Ask, and print the answer as it comes (with --json a line for each chunk). EXIT_OK; EXIT_INTERRUPTED after `stopped`; else after a sentence. */
int chat_stream(struct connection *connection, struct bytes_view request, const struct chat_reader *reader);

/** A conversation on a terminal, until Ctrl-D or /exit. The program's exit status. */
int chat_talk(const struct command_usage *usage, struct connection *connection, struct chat_options *options,
              bool keep_history);

#endif
