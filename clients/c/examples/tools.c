/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Tools that run here, against the running system (`./dev up`):
 *
 *     BORA_API_KEY=... build/release/bin/bora-example-tools "What is 12 times the temperature in Oslo?"
 *
 * The model is that of $BORA_MODEL (default "small"), the address that of $BORA_ADDRESS.
 */
#include "clients/c/bora_tools.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** The weather of a city: made up, but always the same. */
static enum status weather(void *context, const struct bora_call *call, struct bytes *out_result, struct error *err) {
    (void)context;
    const struct json_value *city = json_member(call->arguments, "city");
    if (city == NULL || city->kind != JSON_KIND_STRING || city->string.length == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "which city?");
    int degrees = 5 + (int)(city->string.length % 20);
    return bytes_printf(out_result, "{\"temperature_c\": %d, \"sky\": \"cloudy\"}", degrees);
}

static enum status calculate(void *context, const struct bora_call *call, struct bytes *out_result, struct error *err) {
    (void)context;
    double a, b;
    const struct json_value *operation = json_member(call->arguments, "operation");
    if (!json_double(json_member(call->arguments, "a"), &a) || !json_double(json_member(call->arguments, "b"), &b))
        return error_set(err, STATUS_INVALID_ARGUMENT, "a and b are numbers");
    if (json_is_string(operation, "add")) return bytes_printf(out_result, "%g", a + b);
    if (json_is_string(operation, "subtract")) return bytes_printf(out_result, "%g", a - b);
    if (json_is_string(operation, "multiply")) return bytes_printf(out_result, "%g", a * b);
    if (b == 0) return error_set(err, STATUS_INVALID_ARGUMENT, "division by zero");
    return bytes_printf(out_result, "%g", a / b);
}

static const struct bora_tool all_tools[] = {
    {"weather", "The weather in a city, now.",
     "{\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 40}}, "
     "\"required\": [\"city\"],"
     " \"additionalProperties\": false}",
     weather, NULL},
    {"calculate", "One calculation with two numbers.",
     "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"number\"}, \"operation\": {\"enum\": [\"add\", "
     "\"subtract\", \"multiply\", "
     "\"divide\"]}, \"b\": {\"type\": \"number\"}}, \"required\": [\"a\", \"operation\", \"b\"], "
     "\"additionalProperties\": false}",
     calculate, NULL},
};

static bool show_text(void *context, const char *text) {
    (void)context;
    fputs(text, stdout);
    fflush(stdout);
    return true;
}

static void show_result(void *context, const struct bora_tool_call *call, const char *result, bool failed) {
    (void)context;
    printf("[%s(%s) %s %s]\n", call->name, call->arguments, failed ? "failed:" : "->", result);
}

static int fail(const struct bora_error *err) {
    fprintf(stderr, "tools: %s (%s)\n", err->message, status_name(err->status));
    if (err->field[0] != 0) fprintf(stderr, "  at %s\n", err->field);
    return EXIT_FAILURE;
}

static int answer(struct bora_client *client, struct bora_conversation *talk, struct bora_tools *tools) {
    static const char *const ends[] = {"it failed",      "answered",  "after the last round",
                                       "after the time", "cancelled", "cut"};
    struct bora_error err = {0};
    struct bora_run run;
    struct bora_run_options options = {.chat = {.max_tokens = 200,
                                                .temperature = &(double){0},
                                                .timeout_ns = INT64_C(120000000000),
                                                .on_text = show_text},
                                       .tool_choice = "required", /* in the first round, that is */
                                       .rounds_max = 4,
                                       .parallel = 2,
                                       .on_result = show_result};
    enum status status = bora_client_run(client, talk, tools, &options, &run, &err);
    if (status == STATUS_OK)
        printf("\n(%s: %d rounds, %zu messages)\n", ends[run.end], run.rounds, bora_conversation_length(talk));
    bora_run_deinit(&run);
    return status == STATUS_OK ? EXIT_SUCCESS : fail(&err);
}

int main(int argc, char **argv) {
    const char *question = argc > 1 ? argv[1] : "What is 12 times the temperature in Oslo?",
               *model = getenv("BORA_MODEL");
    struct bora_client *client = NULL;
    struct bora_conversation *talk = NULL;
    struct bora_tools *tools = NULL;
    struct bora_error err = {0};
    enum status status = STATUS_OK;
    int exit_code = EXIT_FAILURE;
    TRY_CLEANUP(
        bora_client_open(&(struct bora_client_options){.model = model != NULL ? model : "small"}, &client, &err));
    TRY_CLEANUP(bora_conversation_create(&talk, &err));
    TRY_CLEANUP(bora_conversation_add_text(talk, BORA_ROLE_USER, question, &err));
    TRY_CLEANUP(bora_tools_create(&tools, &err));
    for (size_t i = 0; i < sizeof all_tools / sizeof all_tools[0]; i++)
        TRY_CLEANUP(bora_tools_add(tools, &all_tools[i], &err));
    exit_code = answer(client, talk, tools);
cleanup:
    if (status != STATUS_OK) fail(&err);
    bora_tools_destroy(tools);
    bora_conversation_destroy(talk);
    bora_client_close(client);
    return exit_code;
}
