/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/calls.h"

#include "engine/grammar/calls_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- formats ---- */

/** What each layout writes. Control tokens have no piece, so a mark that is one and a mark that is text do not get in each other's way. */
static const struct layout_marks {
    const char *open, *open_text, *close, *call_id, *arguments, *think, *think_end;
    bool think_text;
} layouts[] = {
    [CHAT_CALLS_LIST] = {.open = "[TOOL_CALLS]"},
    [CHAT_CALLS_ID] = {.open = "[TOOL_CALLS]",
                       .call_id = "[CALL_ID]",
                       .arguments = "[ARGS]",
                       .think = "[THINK]",
                       .think_end = "[/THINK]"},
    [CHAT_CALLS_ARGUMENTS] = {.open = "[TOOL_CALLS]",
                              .arguments = "[ARGS]",
                              .think = "[THINK]",
                              .think_end = "[/THINK]"},
    [CHAT_CALLS_TAGS] = {.open = "<tool_call>",
                         .open_text = "<tool_call>",
                         .close = "</tool_call>",
                         .think = "<think>",
                         .think_end = "</think>",
                         .think_text = true},
    [CHAT_CALLS_PARAMETERS] = {.open = "<|python_tag|>", .open_text = "{\"name\": \""},
};

/** The id of a token of that name that is no control token. */
static bool has_plain_token(const struct tokenizer *tokenizer, const char *name) {
    for (int32_t id = 0; id < tokenizer_vocabulary(tokenizer); id++)
        if (!tokenizer_is_control(tokenizer, id) && bytes_view_equal_string(tokenizer_name(tokenizer, id), name))
            return true;
    return false;
}

static struct call_mark find_mark(const struct tokenizer *tokenizer, const char *control, const char *text) {
    return (struct call_mark){.control = control == NULL ? -1 : tokenizer_special(tokenizer, control), .text = text};
}

/** Thoughts only where the vocabulary has tokens for their marks. */
static void find_thoughts(struct call_format *format, const struct layout_marks *marks) {
    const struct tokenizer *tokenizer = format->vocabulary->tokenizer;
    format->think = find_mark(tokenizer, marks->think, NULL);
    format->think_end = find_mark(tokenizer, marks->think_end, NULL);
    if (format->think.control >= 0 && format->think_end.control >= 0) return;
    bool plain =
        marks->think_text && has_plain_token(tokenizer, marks->think) && has_plain_token(tokenizer, marks->think_end);
    format->think = (struct call_mark){-1, plain ? marks->think : NULL};
    format->think_end = (struct call_mark){-1, plain ? marks->think_end : NULL};
}

static enum status find_marks(struct call_format *format, const struct layout_marks *marks, struct error *err) {
    const struct tokenizer *tokenizer = format->vocabulary->tokenizer;
    format->open = find_mark(tokenizer, marks->open, marks->open_text);
    format->close = find_mark(tokenizer, marks->close, marks->close);
    format->call_id = find_mark(tokenizer, marks->call_id, NULL);
    format->arguments = find_mark(tokenizer, marks->arguments, NULL);
    find_thoughts(format, marks);
    const char *missing = format->open.control < 0 && marks->open_text == NULL        ? marks->open
                          : format->call_id.control < 0 && marks->call_id != NULL     ? marks->call_id
                          : format->arguments.control < 0 && marks->arguments != NULL ? marks->arguments
                                                                                      : NULL;
    if (missing == NULL) return STATUS_OK;
    return error_set(err, STATUS_UNIMPLEMENTED, "tool calls need the control token %s, which the vocabulary lacks",
                     missing);
}

static bool init_texts(struct call_format *format) {
    struct text_trigger content[TEXT_TRIGGERS_MAX], thought[1];
    uint32_t content_count = 0, thought_count = 0;
    /* Trigger 0 opens calls, 1 thoughts; a layout without the first has no thoughts as text. */
    if (format->open.text != NULL)
        content[content_count++] = (struct text_trigger){format->open.text, format->layout == CHAT_CALLS_PARAMETERS};
    if (format->think.text != NULL) {
        content[content_count++] = (struct text_trigger){format->think.text, true};
        thought[thought_count++] = (struct text_trigger){format->think_end.text, false};
    }
    if (!text_automaton_init(&format->content, content, content_count)) return false;
    if (text_automaton_init(&format->thought, thought, thought_count)) return true;
    text_automaton_deinit(&format->content);
    return false;
}

/** SentencePiece: a text's first token begins with a blank that the text has not. */
static bool marks_blank(const struct tokenizer *tokenizer) {
    struct token_list list = {.max_count = 16};
    struct error ignored = {0};
    bool blank = tokenizer_encode(tokenizer, bytes_view_string("a"), &list, &ignored) == STATUS_OK && list.count > 0;
    if (blank) {
        struct bytes_view piece = tokenizer_piece(tokenizer, list.ids[0]);
        blank = piece.length > 0 && piece.data[0] == ' ';
    }
    token_list_deinit(&list);
    return blank;
}

enum status call_format_create(const struct grammar_vocabulary *vocabulary, enum chat_calls layout,
                               struct call_format **out, struct error *err) {
    if (layout == CHAT_CALLS_NONE)
        return error_set(err, STATUS_UNIMPLEMENTED, "this model's layout has no place for tool calls");
    struct call_format *format = calloc(1, sizeof *format);
    if (format == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for the layout of calls");
    format->vocabulary = vocabulary;
    format->layout = layout;
    enum status status = find_marks(format, &layouts[layout], err);
    if (status != STATUS_OK) {
        free(format);
        return status;
    }
    format->marks_blank = marks_blank(vocabulary->tokenizer);
    if (!init_texts(format)) {
        free(format);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for the layout of calls");
    }
    bool cached = tool_cache_init(&format->tools, vocabulary);
    if (cached && closing_tokens_init(&format->closing, vocabulary)) {
        *out = format;
        return STATUS_OK;
    }
    if (cached) tool_cache_deinit(&format->tools);
    closing_tokens_deinit(&format->closing);
    text_automaton_deinit(&format->content);
    text_automaton_deinit(&format->thought);
    free(format);
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for the layout of calls");
}

bool call_format_opens_thought(const struct call_format *format, const int32_t *prompt, size_t count) {
    enum { TOKENS = 8, BYTES_MAX = 4096 };
    const struct tokenizer *tokenizer = format->vocabulary->tokenizer;
    const char *mark = layouts[format->layout].think;
    if (mark == NULL || (format->think.control < 0 && format->think.text == NULL)) return false;
    struct bytes tail;
    bytes_init(&tail, BYTES_MAX);
    for (size_t i = count > TOKENS ? count - TOKENS : 0; i < count; i++) {
        struct bytes_view text = tokenizer_piece(tokenizer, prompt[i]);
        if (text.length == 0) text = tokenizer_name(tokenizer, prompt[i]);
        (void)bytes_append(&tail, text.data, text.length); /* names that are longer are no marks */
    }
    size_t length = tail.length, wanted = strlen(mark);
    while (length > 0 && (tail.data[length - 1] == ' ' || tail.data[length - 1] == '\n')) length--;
    bool opens = length >= wanted && memcmp(tail.data + length - wanted, mark, wanted) == 0;
    bytes_deinit(&tail);
    return opens;
}

void call_format_destroy(struct call_format *format) {
    if (format == NULL) return;
    tool_cache_deinit(&format->tools);
    closing_tokens_deinit(&format->closing);
    text_automaton_deinit(&format->content);
    text_automaton_deinit(&format->thought);
    free(format);
}

/* ---- requests ---- */

enum { FUEL_DEFAULT = 8000000 };

static enum status decline(struct call_problem *problem, size_t tool, enum status status, const char *reason) {
    *problem = (struct call_problem){.tool = tool};
    snprintf(problem->problem.reason, sizeof problem->problem.reason, "%s", reason);
    return status;
}

static int compare_names(const void *a, const void *b) {
    const struct bytes_view *const *x = a, *const *y = b;
    int order = bytes_view_compare(**x, **y);
    return order != 0 ? order : (*x > *y) - (*x < *y);
}

/** Copies the names; each is there once. */
static enum status take_names(struct calls *calls, const struct call_request *request, struct call_problem *problem) {
    size_t count = request->tool_count;
    const struct bytes_view **sorted = arena_alloc_array(&calls->arena, count + 1, sizeof *sorted);
    calls->names = arena_alloc_array(&calls->arena, count + 1, sizeof *calls->names);
    calls->tools = arena_alloc_array(&calls->arena, count + 1, sizeof *calls->tools);
    bool memory = sorted != NULL && calls->names != NULL && calls->tools != NULL;
    for (size_t t = 0; memory && t < count; t++) {
        struct bytes_view name = request->tools[t].name;
        if (name.length == 0 || name.length > CALL_NAME_BYTES_MAX)
            return decline(problem, t, STATUS_INVALID_ARGUMENT, "a tool's name has 1 to 256 bytes");
        char *copy = arena_copy(&calls->arena, name.data, name.length);
        memory = copy != NULL;
        calls->names[t] = bytes_view_of(copy, name.length);
        sorted[t] = &calls->names[t];
    }
    if (!memory) return decline(problem, SIZE_MAX, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    calls->tool_count = count;
    qsort(sorted, count, sizeof(const struct bytes_view *), compare_names);
    for (size_t t = 1; t < count; t++)
        if (bytes_view_equal(*sorted[t - 1], *sorted[t]))
            return decline(problem, (size_t)(sorted[t] - calls->names), STATUS_INVALID_ARGUMENT,
                           "two tools have this name");
    return STATUS_OK;
}

static enum status take_tools(struct calls *calls, const struct call_request *request, struct call_problem *problem) {
    struct grammar_options options = request->options != NULL ? *request->options : (struct grammar_options){0};
    int64_t fuel = options.fuel > 0 ? options.fuel : FUEL_DEFAULT;
    for (size_t t = 0; t < calls->tool_count; t++) {
        *problem = (struct call_problem){.tool = t};
        TRY(tool_cache_take(&calls->format->tools, &request->tools[t], TOOL_ARGUMENTS, &options, &fuel,
                            &calls->tools[t], &problem->problem));
    }
    if (request->content != NULL) {
        struct call_tool content = {.parameters = request->content};
        *problem = (struct call_problem){.tool = calls->tool_count};
        TRY(tool_cache_take(&calls->format->tools, &content, TOOL_CONTENT, &options, &fuel,
                            &calls->tools[calls->tool_count], &problem->problem));
    }
    return STATUS_OK;
}

static enum status build(struct calls *calls, const struct call_request *request, struct call_problem *problem) {
    bool required = request->choice == CALL_CHOICE_REQUIRED || request->choice == CALL_CHOICE_NAMED;
    if (request->tool_count > CALL_TOOLS_MAX)
        return decline(problem, SIZE_MAX, STATUS_INVALID_ARGUMENT, "a request has at most 4096 tools");
    if (required && request->tool_count == 0)
        return decline(problem, SIZE_MAX, STATUS_INVALID_ARGUMENT, "a call is required and there are no tools");
    if (request->choice == CALL_CHOICE_NAMED && request->named >= request->tool_count)
        return decline(problem, SIZE_MAX, STATUS_INVALID_ARGUMENT,
                       "the tool that is to be called is not among the tools");
    TRY(take_names(calls, request, problem));
    TRY(take_tools(calls, request, problem)); /* all of them: a bad one is told even where it could not be called */
    call_layout_build(calls, request);
    if (calls->failed) return decline(problem, SIZE_MAX, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    return call_measure(calls) ? STATUS_OK : decline(problem, SIZE_MAX, STATUS_INTERNAL, "a call has no end");
}

enum status calls_compile(struct call_format *format, const struct call_request *request, struct grammar **out,
                          struct call_problem *problem) {
    enum { ARENA_BYTES_MAX = 16 << 20, BYTES_MAX = 64 << 20 };
    struct calls *calls = calloc(1, sizeof *calls);
    if (calls == NULL) return decline(problem, SIZE_MAX, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    calls->machine.operations = &calls_operations;
    calls->format = format;
    calls->budget.bytes = BYTES_MAX;
    arena_init(&calls->arena, ARENA_BYTES_MAX);
    enum status status = build(calls, request, problem);
    if (status != STATUS_OK) {
        calls_operations.destroy(&calls->machine);
        return status;
    }
    return grammar_wrap(format->vocabulary, &calls->machine, &calls->budget, out, &problem->problem);
}

enum status calls_check(struct call_format *format, const struct call_tool *tools, size_t count,
                        const struct grammar_options *options, struct call_problem *problem) {
    int64_t fuel = options->fuel > 0 ? options->fuel : FUEL_DEFAULT;
    for (size_t t = 0; t < count; t++) {
        struct tool_machine *tool = NULL;
        *problem = (struct call_problem){.tool = t};
        TRY(tool_cache_take(&format->tools, &tools[t], TOOL_ARGUMENTS, options, &fuel, &tool, &problem->problem));
        tool_cache_give_back(&format->tools, tool);
    }
    return STATUS_OK;
}
