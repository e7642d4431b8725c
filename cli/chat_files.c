/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/chat_files.h"

#include "base/limits.h"
#include "cli/print.h"
#include "engine/weights/file_map.h"
#include "proto/descriptors.h"
#include "rpc/transcode.h"

#include <stdio.h>
#include <string.h>

enum { MEMORY_BYTES = 8 * LIMIT_REQUEST_BODY_BYTES_MAX };

/** All of a file, as a string in the arena. */
static int read_file(struct arena *arena, const char *path, char **out) {
    struct bytes_view text;
    struct error err = {0};
    if (file_map_open(path, LIMIT_REQUEST_BODY_BYTES_MAX, &text, &err) != STATUS_OK) {
        print_failure("%s", err.message);
        return EXIT_FAILED;
    }
    bool is_text = text.length == 0 || memchr(text.data, 0, text.length) == NULL;
    *out = is_text ? arena_copy(arena, text.data, text.length) : NULL;
    if (text.data != NULL) file_map_close(text);
    if (*out != NULL) return GO_ON;
    print_failure("%s%s", path, is_text ? ": out of memory" : " contains NUL characters");
    return EXIT_FAILED;
}

/* ---- the form of the answer ---------------------------------------------------------------------------------------- */

static int read_format(const struct command_usage *usage, const struct chat_files_options *options,
                       struct chat_files *files, Bora__V1__ChatCompletionRequest *request) {
    Bora__V1__ResponseFormat *format = &files->format;
    bora__v1__response_format__init(format);
    bora__v1__json_schema_format__init(&files->schema);
    int given =
        (options->schema != NULL) + (options->regex != NULL) + (options->grammar != NULL) + (options->choice.count > 0);
    if (given == 0) return GO_ON;
    if (given > 1) return usage_error(usage, "--schema, --regex, --grammar and --choice exclude each other");
    request->response_format = format;
    format->_type_case = BORA__V1__RESPONSE_FORMAT___TYPE_TYPE;
    if (options->schema != NULL) {
        format->type = (char *)"json_schema";
        format->json_schema = &files->schema;
        files->schema.name = (char *)"answer";
        files->schema._schema_case = BORA__V1__JSON_SCHEMA_FORMAT___SCHEMA_SCHEMA;
        return read_file(&files->arena, options->schema, &files->schema.schema);
    }
    if (options->regex != NULL) {
        format->type = (char *)"regex";
        format->_regex_case = BORA__V1__RESPONSE_FORMAT___REGEX_REGEX;
        format->regex = (char *)options->regex;
        return GO_ON;
    }
    if (options->choice.count > 0) {
        format->type = (char *)"choice";
        format->choice = (char **)options->choice.items;
        format->n_choice = (size_t)options->choice.count;
        return GO_ON;
    }
    const char *dot = strrchr(options->grammar, '.');
    format->type = (char *)"grammar";
    format->_grammar_case = BORA__V1__RESPONSE_FORMAT___GRAMMAR_GRAMMAR;
    format->_dialect_case = BORA__V1__RESPONSE_FORMAT___DIALECT_DIALECT;
    format->dialect = (char *)(dot != NULL && strcmp(dot, ".lark") == 0 ? "lark" : "gbnf");
    return read_file(&files->arena, options->grammar, &format->grammar);
}

/* ---- tools ---------------------------------------------------------------------------------------------------------- */

/** What is wrong with the first of them, by its place in the file. */
static int refuse_tools(const char *path, const struct transcode_errors *errors) {
    const struct transcode_error *first = &errors->items[0];
    fputs("bora: ", stderr);
    print_masked(stderr, path);
    fputs(": ", stderr);
    for (size_t i = 1; i < first->path_length; i++) {
        if (first->path[i].name != NULL)
            fprintf(stderr, "%s.", first->path[i].name);
        else
            fprintf(stderr, "%lld.", (long long)first->path[i].index);
    }
    fprintf(stderr, " %s\n", errors->count > 0 ? first->message : "this is no JSON array of tools");
    return EXIT_FAILED;
}

static int read_tools(const char *path, struct chat_files *files, Bora__V1__ChatCompletionRequest *request) {
    static const ProtobufCMessageDescriptor *const message = &bora__v1__chat_completion_request__descriptor;
    const struct transcode_options relaxed = {0};
    struct transcode_errors errors = {0};
    struct transcoder *transcoder = NULL;
    ProtobufCMessage *read = NULL;
    struct bytes json;
    struct error err = {0};
    char *text = NULL;
    int result = read_file(&files->arena, path, &text);
    if (result != GO_ON) return result;
    /* A request of its own: so a file has the form that requests have, and is checked as they are. */
    bytes_init(&json, 2 * (size_t)LIMIT_REQUEST_BODY_BYTES_MAX);
    (void)bytes_printf(&json, "{\"model\":\"-\",\"messages\":[{\"role\":\"user\",\"content\":\"\"}],\"tools\":%s}",
                       text);
    enum status status =
        transcoder_create(bytes_view_of(proto_descriptors, proto_descriptors_length), &message, 1, &transcoder, &err);
    if (status != STATUS_OK) {
        print_failure("%s", err.message);
        result = EXIT_FAILED;
    } else if (transcode_read(transcoder, &relaxed, message, bytes_view(&json), &files->arena, &read, &errors) !=
               STATUS_OK) {
        result = refuse_tools(path, &errors);
    } else {
        request->tools = ((Bora__V1__ChatCompletionRequest *)read)->tools;
        request->n_tools = ((Bora__V1__ChatCompletionRequest *)read)->n_tools;
    }
    if (transcoder != NULL) transcoder_destroy(transcoder);
    bytes_deinit(&json);
    return result;
}

static void set_choice(const char *which, struct chat_files *files, Bora__V1__ChatCompletionRequest *request) {
    static const char *const modes[] = {"auto", "none", "any", "required"};
    bora__v1__tool_choice__init(&files->choice);
    request->tool_choice = &files->choice;
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(which, modes[i]) != 0) continue;
        files->choice.kind_case = BORA__V1__TOOL_CHOICE__KIND_MODE;
        files->choice.mode = (char *)which;
        return;
    }
    bora__v1__named_tool_choice__init(&files->named);
    bora__v1__function_name__init(&files->function);
    files->choice.kind_case = BORA__V1__TOOL_CHOICE__KIND_NAMED;
    files->choice.named = &files->named;
    files->named.function = &files->function;
    files->function.name = (char *)which;
}

int chat_files_open(const struct command_usage *usage, const struct chat_files_options *options,
                    struct chat_files *files, Bora__V1__ChatCompletionRequest *request) {
    arena_init(&files->arena, MEMORY_BYTES);
    int result = read_format(usage, options, files, request);
    if (result != GO_ON) return result;
    if (options->tools == NULL)
        return options->tool_choice == NULL ? GO_ON : usage_error(usage, "--tool-choice is of --tools");
    if (options->tool_choice != NULL) set_choice(options->tool_choice, files, request);
    return read_tools(options->tools, files, request);
}

void chat_files_close(struct chat_files *files) {
    arena_deinit(&files->arena);
}
