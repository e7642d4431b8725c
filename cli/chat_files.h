/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What `bora chat` asks for besides the question: the form of the answer, and tools; both may stand in files. */
#ifndef CLI_CHAT_FILES_H
#define CLI_CHAT_FILES_H

#include "base/arena.h"
#include "bora/v1/chat.pb-c.h"
#include "cli/arguments.h"

struct chat_files_options {
    const char *schema, *regex, *grammar, *tools, *tool_choice;
    struct argument_list choice;
};
#define CHAT_FILES_ARGUMENTS(options)                                                                              \
    {ARGUMENT_TEXT, "schema", "FILE", "the answer is JSON that fits this JSON Schema", &(options)->schema},        \
        {ARGUMENT_TEXT, "regex", "PATTERN", "all of the answer matches it", &(options)->regex},                    \
        {ARGUMENT_TEXT, "grammar", "FILE", "the answer is a text of this grammar, GBNF or .lark",                  \
         &(options)->grammar},                                                                                     \
        {ARGUMENT_LIST, "choice", "TEXT", "the answer is one of these (given several times)", &(options)->choice}, \
        {ARGUMENT_TEXT, "tools", "FILE", "a JSON array of tools, as in a request; calls are printed, not made",    \
         &(options)->tools},                                                                                       \
    {                                                                                                              \
        ARGUMENT_TEXT, "tool-choice", "WHICH", "auto, none, required, or a tool's name (auto)",                    \
            &(options)->tool_choice                                                                                \
    }

struct chat_files {
    struct arena arena;
    Bora__V1__ResponseFormat format;
    Bora__V1__JsonSchemaFormat schema;
    Bora__V1__ToolChoice choice;
    Bora__V1__NamedToolChoice named;
    Bora__V1__FunctionName function;
};
/** Put it into the request, which lends from `files` and `options` until chat_files_close (to be called in every case). GO_ON, or how to end after a sentence on stderr. */
int chat_files_open(const struct command_usage *usage, const struct chat_files_options *options,
                    struct chat_files *files, Bora__V1__ChatCompletionRequest *request);
void chat_files_close(struct chat_files *files);

#endif
