/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * An answer that is JSON of a schema, read with base/json.h:
 *
 *     BORA_API_KEY=... bora-example-format "Invent a person, as JSON with name and age."
 *
 * The model is that of $BORA_MODEL (default "small"), the address that of $BORA_ADDRESS.
 */
#include "base/json.h"
#include "clients/c/bora_client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char schema[] =
    "{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\", \"maxLength\": 40}, "
    "\"age\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 130}}, \"required\": [\"name\", \"age\"]}";

/** What the schema promises is there; that it is JSON at all is not certain of an answer that was cut. */
static bool show(const char *text) {
    enum { DEPTH_MAX = 8, VALUES_MAX = 16 };
    struct arena memory;
    struct json_value *person = NULL;
    struct json_problem problem;
    int64_t age = 0;
    arena_init(&memory, 1 << 20);
    bool whole = json_read(bytes_view_string(text), DEPTH_MAX, VALUES_MAX, &memory, &person, &problem) == STATUS_OK &&
                 json_i64(json_member(person, "age"), &age);
    if (whole) {
        struct bytes_view name = json_member(person, "name")->string;
        printf("%.*s is %" PRId64 " years old\n", (int)name.length, (const char *)name.data, age);
    } else {
        fprintf(stderr, "format: the answer was cut: %s\n", text);
    }
    arena_deinit(&memory);
    return whole;
}

int main(int argc, char **argv) {
    const char *question = argc > 1 ? argv[1] : "Invent a person, as JSON with name and age.",
               *model = getenv("BORA_MODEL");
    const struct bora_chat_options options = {.max_tokens = 100, .format = {BORA_FORMAT_JSON_SCHEMA, schema}};
    struct bora_client *client = NULL;
    struct bora_conversation *talk = NULL;
    struct bora_answer answer = {0};
    struct bora_error err = {0};
    enum status status = STATUS_OK;
    bool shown = false;
    TRY_CLEANUP(
        bora_client_open(&(struct bora_client_options){.model = model != NULL ? model : "small"}, &client, &err));
    TRY_CLEANUP(bora_conversation_create(&talk, &err));
    TRY_CLEANUP(bora_conversation_add_text(talk, BORA_ROLE_USER, question, &err));
    TRY_CLEANUP(bora_client_chat(client, talk, &options, &answer, &err));
    shown = show(answer.text);
cleanup:
    if (status != STATUS_OK) fprintf(stderr, "format: %s (%s)\n", err.message, status_name(status));
    bora_answer_deinit(&answer);
    bora_conversation_destroy(talk);
    bora_client_close(client);
    return shown ? EXIT_SUCCESS : EXIT_FAILURE;
}
