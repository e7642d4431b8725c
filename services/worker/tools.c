/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/worker/tools.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "services/worker/convert.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { SCHEMAS_BYTES = 128 << 20 /* of one request, as trees */ };

struct tools {
    struct grammars *grammars;
    enum chat_calls layout;
    struct metric *compile_seconds;
    pthread_mutex_t mutex;
    struct call_format *format; /* NULL until the first tools come */
};

enum status tools_create(struct grammars *grammars, enum chat_calls layout, struct metrics *metrics, struct tools **out,
                         struct error *err) {
    static const double seconds[] = {1e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1, NAN};
    struct tools *tools = calloc(1, sizeof *tools);
    if (tools == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    tools->grammars = grammars;
    tools->layout = layout;
    tools->compile_seconds = metrics_histogram(
        metrics, "bora_worker_tools_compile_seconds",
        "Time to compile the tools of a request, those that are kept included, by outcome.", seconds, "outcome");
    pthread_mutex_init(&tools->mutex, NULL);
    *out = tools;
    return STATUS_OK;
}

void tools_destroy(struct tools *tools) {
    if (tools == NULL) return;
    call_format_destroy(tools->format);
    pthread_mutex_destroy(&tools->mutex);
    free(tools);
}

static enum status format_of(struct tools *tools, struct call_format **out, struct error *err) {
    const struct grammar_vocabulary *vocabulary = grammars_vocabulary(tools->grammars);
    if (vocabulary == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    enum status status = STATUS_OK;
    pthread_mutex_lock(&tools->mutex);
    if (tools->format == NULL) status = call_format_create(vocabulary, tools->layout, &tools->format, err);
    *out = tools->format;
    pthread_mutex_unlock(&tools->mutex);
    return status;
}

/* ---- a request ------------------------------------------------------------------------------------------------------ */

/** The indices of what may be called, *out_count of them, and behind those of the other tools. */
static enum status find_callable(const Bora__Internal__V1__Start *start, struct arena *arena, size_t *indices,
                                 size_t *out_count, struct error *err) {
    const Bora__Internal__V1__ToolChoice *choice = start->tool_choice;
    size_t count = choice->n_callable > 0 ? choice->n_callable : start->n_tools;
    bool *callable = arena_alloc_array(arena, start->n_tools, sizeof *callable);
    if (callable == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    if (count > start->n_tools) return error_set(err, STATUS_INVALID_ARGUMENT, "more callable tools than tools");
    for (size_t i = 0; i < count; i++) {
        int64_t index = choice->n_callable > 0 ? choice->callable[i] : (int64_t)i;
        if (index < 0 || (size_t)index >= start->n_tools)
            return error_set(err, STATUS_INVALID_ARGUMENT, "a callable tool that is none");
        if (callable[index]) return error_set(err, STATUS_INVALID_ARGUMENT, "a tool is callable twice");
        indices[i] = (size_t)index;
        callable[index] = true;
    }
    *out_count = count;
    for (size_t i = 0; i < start->n_tools; i++)
        if (!callable[i]) indices[count++] = i;
    return STATUS_OK;
}

static enum status read_schema(ProtobufCBinaryData data, struct arena *arena, const struct json_value **out,
                               struct grammar_problem *problem) {
    struct json_problem wrong = {0};
    struct json_value *schema = NULL;
    enum status status =
        json_read(bytes_view_of(data.data, data.len), LIMIT_JSON_DEPTH, LIMIT_PROTO_ELEMENTS, arena, &schema, &wrong);
    *out = schema;
    if (status != STATUS_OK)
        snprintf(problem->reason, sizeof problem->reason, "%s",
                 wrong.reason != NULL ? wrong.reason : "the schema is too large");
    return status;
}

static enum status read_tools(const Bora__Internal__V1__Start *start, const size_t *indices, size_t count,
                              struct call_tool *tools, struct arena *arena, struct tools_problem *problem) {
    for (size_t i = 0; i < count; i++) {
        const Bora__Internal__V1__Tool *tool = start->tools[indices[i]];
        tools[i] = (struct call_tool){.name = bytes_view_string(tool->name), .strict = tool->strict};
        problem->tool = (int)indices[i];
        if (tool->_parameters_case == BORA__INTERNAL__V1__TOOL___PARAMETERS_PARAMETERS)
            TRY(read_schema(tool->parameters, arena, &tools[i].parameters, &problem->problem));
    }
    return STATUS_OK;
}

/** What content must be: the schema of the Start's grammar. */
static enum status read_content(const Bora__Internal__V1__Start *start, struct arena *arena,
                                struct grammar_options *options, const struct json_value **out,
                                struct tools_problem *problem, struct error *err) {
    struct grammar_source source;
    *out = NULL;
    if (start->grammar == NULL) return STATUS_OK;
    TRY(convert_grammar(start, &source, err));
    if (source.kind != GRAMMAR_KIND_SCHEMA)
        return error_set(err, STATUS_INVALID_ARGUMENT, "tools go with schemas only, of all grammars");
    options->space = source.space;
    options->order = source.order;
    problem->tool = -1;
    return read_schema((ProtobufCBinaryData){.data = (uint8_t *)source.text.data, .len = source.text.length}, arena,
                       out, &problem->problem);
}

static enum call_choice choice_of(const Bora__Internal__V1__ToolChoice *choice) {
    switch (choice->mode) {
    case BORA__INTERNAL__V1__TOOL_CHOICE__MODE__MODE_NONE:
        return CALL_CHOICE_NONE;
    case BORA__INTERNAL__V1__TOOL_CHOICE__MODE__MODE_REQUIRED:
        return CALL_CHOICE_REQUIRED;
    default:
        return CALL_CHOICE_AUTO;
    }
}

static enum status compile(struct tools *tools, const Bora__Internal__V1__Start *start, const struct token_list *prompt,
                           bool continues, struct arena *arena, struct grammar **out, struct tools_problem *problem,
                           struct error *err) {
    struct call_format *format = NULL;
    struct call_problem declined = {0};
    struct grammar_options options = {0};
    size_t *indices = arena_alloc_array(arena, start->n_tools, sizeof *indices), count = 0;
    struct call_tool *list = arena_alloc_array(arena, start->n_tools, sizeof *list);
    if (indices == NULL || list == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    if (start->tool_choice == NULL) return error_set(err, STATUS_INVALID_ARGUMENT, "tools without a tool_choice");
    TRY(format_of(tools, &format, err));
    TRY(find_callable(start, arena, indices, &count, err));
    TRY(read_tools(start, indices, start->n_tools, list, arena, problem));
    struct call_request request = {.tools = list,
                                   .tool_count = count,
                                   .choice = choice_of(start->tool_choice),
                                   .parallel = start->tool_choice->parallel,
                                   .thought_open = call_format_opens_thought(format, prompt->ids, prompt->count),
                                   .options = &options};
    TRY(read_content(start, arena, &options, &request.content, problem, err));
    request.continues = continues && request.content == NULL;
    enum status status = calls_check(format, list + count, start->n_tools - count, &options, &declined);
    if (status != STATUS_OK) {
        problem->tool = (int)indices[count + declined.tool];
    } else {
        status = calls_compile(format, &request, out, &declined);
        problem->tool = declined.tool < count ? (int)indices[declined.tool] : -1;
    }
    problem->problem = declined.problem;
    return status;
}

enum status tools_compile(struct tools *tools, const Bora__Internal__V1__Start *start, const struct token_list *prompt,
                          bool continues, struct grammar **out, struct tools_problem *problem, struct error *err) {
    struct arena arena;
    int64_t began = clock_monotonic_ns(clock_system());
    *problem = (struct tools_problem){.tool = -1};
    arena_init(&arena, SCHEMAS_BYTES);
    enum status status = compile(tools, start, prompt, continues, &arena, out, problem, err);
    arena_deinit(&arena);
    metric_observe(tools->compile_seconds, (double)(clock_monotonic_ns(clock_system()) - began) / 1e9,
                   status == STATUS_OK ? "ok" : status_name(status));
    return status;
}
