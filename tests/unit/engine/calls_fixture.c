/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/engine/calls_fixture.h"

#include "base/json.h"

#include <string.h>

static const char *const controls[] = {"<unk>",     "<s>",     "</s>",     "[TOOL_CALLS]",  "[ARGS]",
                                       "[CALL_ID]", "[THINK]", "[/THINK]", "<|python_tag|>"};
static const char *const tags[] = {"<tool_call>", "</tool_call>", "<think>", "</think>"};
/* Tokens that end or begin inside the marks, that run past them and past the end of arguments, and others. */
static const char *const pieces[] = {"<tool",
                                     "_call>",
                                     ">\n",
                                     ">\n{",
                                     "_call>\n{\"name\": \"get_",
                                     "x<tool_call>\n{\"",
                                     "x<tool_call>\n{'",
                                     " <tool_call>\n",
                                     "call>\n{\"name",
                                     "</tool_call>\n",
                                     "\n</tool_call>",
                                     "}\n</tool_call>",
                                     "\"}}\n</",
                                     "}}\n",
                                     "}}",
                                     "}}}",
                                     "}}]",
                                     "}]",
                                     "\"}]",
                                     "\"}}",
                                     "\"}}]",
                                     "}}, {\"name\": \"",
                                     "}, {\"name\": \"",
                                     "}, {",
                                     "}; {",
                                     "}}; {\"name\": \"",
                                     "},",
                                     "]}",
                                     "]}}",
                                     "}\n",
                                     "} ",
                                     "{}",
                                     "{}}",
                                     " {}",
                                     "{}}]",
                                     "{\"",
                                     " {\"",
                                     " \"",
                                     "\": ",
                                     "\": \"",
                                     "\", \"",
                                     "\", \"arguments\": {",
                                     "\", \"arguments\": {\"city\": \"",
                                     "\", \"parameters\": ",
                                     "\"name\"",
                                     "{\"name\": \"",
                                     "{\"name\": \"get",
                                     "[{\"name\": \"",
                                     " [",
                                     "[{",
                                     " [{\"",
                                     "arguments",
                                     "parameters",
                                     "\"}, \"id\": \"",
                                     "\", \"id\": \"",
                                     ", \"id\": \"",
                                     "id",
                                     "get",
                                     "get_",
                                     "get_weather",
                                     "weather",
                                     "_time",
                                     "city",
                                     "unit",
                                     "\"city",
                                     "Paris",
                                     "hello",
                                     " world",
                                     "the",
                                     " a",
                                     "12",
                                     "0",
                                     "1.5",
                                     "true",
                                     "null",
                                     "-1",
                                     "\\u00",
                                     "\\\"",
                                     "\\",
                                     "\n\n",
                                     "\n",
                                     "  ",
                                     "<think>",
                                     "think",
                                     "</",
                                     "</think>\n\n",
                                     "</think>\n\n<tool_call>",
                                     "\xc3\xa9",
                                     "\xe2\x82",
                                     "ab",
                                     "abc",
                                     "123456789",
                                     "123456789\"}]",
                                     "12345678"};
static const char pattern[] = " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]*|\\\\p{L}+|\\\\p{N}|\\\\s+";

static const struct {
    const char *name, *schema;
} tools[FIXTURE_TOOLS] = {
    {"get_weather",
     "{\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\", \"maxLength\": 6}, \"unit\": {\"enum\": "
     "[\"C\", \"F\"]}}, \"required\": [\"city\"], \"additionalProperties\": false}"},
    {"get_time",
     "{\"properties\": {\"at\": {\"type\": [\"integer\", \"null\"], \"minimum\": -5, \"maximum\": 20}, \"zones\": "
     "{\"type\": \"array\", \"items\": {\"type\": \"object\", \"properties\": {\"z\": {\"type\": \"boolean\"}}, "
     "\"additionalProperties\": false}, \"maxItems\": 2}}, \"additionalProperties\": false, \"minProperties\": 1}"},
    {"get", NULL},
    {"say \"it\"", "{\"type\": \"object\", \"properties\": {\"text\": {\"type\": \"string\"}}, \"required\": "
                   "[\"text\"], \"additionalProperties\": false}"},
    {"nest", "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"object\", \"properties\": {\"a\": {\"type\": "
             "\"object\", \"properties\": {\"a\": {\"type\": \"object\", \"maxProperties\": 0}}, "
             "\"additionalProperties\": false}}, \"additionalProperties\": false}}, \"additionalProperties\": false}"}};

static void append_base64(struct bytes *out, const uint8_t *data, size_t length) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < length; i += 3) {
        uint32_t value =
            (uint32_t)data[i] << 16 | (i + 1 < length ? data[i + 1] : 0U) << 8 | (i + 2 < length ? data[i + 2] : 0U);
        char text[5] = {digits[value >> 18], digits[value >> 12 & 63], i + 1 < length ? digits[value >> 6 & 63] : '=',
                        i + 2 < length ? digits[value & 63] : '=', 0};
        (void)bytes_append_string(out, text);
    }
}

static void append_token(struct bytes *out, size_t rank, const void *data, size_t length) {
    (void)bytes_printf(out, "%s{\"rank\": %zu, \"token_str\": null, \"token_bytes\": \"", rank > 0 ? ", " : "", rank);
    append_base64(out, data, length);
    (void)bytes_append_string(out, "\"}");
}

static void append_special(struct bytes *out, size_t rank, const char *name) {
    (void)bytes_printf(out, "%s{\"rank\": %zu, \"is_control\": true, \"token_str\": \"%s\"}", rank > 0 ? ", " : "",
                       rank, name);
}

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static bool make_tokenizer(struct tokenizer **out, bool tags_are_control) {
    struct bytes file;
    size_t special = COUNT(controls) + (tags_are_control ? COUNT(tags) : 0),
           plain = 256 + COUNT(pieces) + (tags_are_control ? 0 : COUNT(tags) - 1);
    bytes_init(&file, 1 << 20);
    (void)bytes_printf(&file,
                       "{\"config\": {\"pattern\": \"%s\", \"default_vocab_size\": %zu, "
                       "\"default_num_special_tokens\": %zu, \"version\": \"v3\"}, \"special_tokens\": [",
                       pattern, special + plain, special);
    for (size_t i = 0; i < COUNT(controls); i++) append_special(&file, i, controls[i]);
    for (size_t i = COUNT(controls); i < special; i++) append_special(&file, i, tags[i - COUNT(controls)]);
    (void)bytes_append_string(&file, "], \"vocab\": [");
    size_t rank = 0;
    for (; rank < 256; rank++) append_token(&file, rank, &(uint8_t){(uint8_t)rank}, 1);
    for (size_t i = 0; i < COUNT(pieces); i++) append_token(&file, rank++, pieces[i], strlen(pieces[i]));
    for (size_t i = 0; !tags_are_control && i < COUNT(tags); i++)
        if (i != 2) append_token(&file, rank++, tags[i], strlen(tags[i])); /* "<think>" is a piece already */
    (void)bytes_append_string(&file, "]}");
    struct error err = {0};
    bool ok = !file.failed && tokenizer_load_tekken(bytes_view(&file), "fixture", out, &err) == STATUS_OK;
    bytes_deinit(&file);
    return ok;
}

const struct json_value *calls_fixture_json(struct calls_fixture *fixture, const char *text) {
    struct json_value *value = NULL;
    struct json_problem problem;
    return json_read(bytes_view_string(text), 64, 100000, &fixture->arena, &value, &problem) == STATUS_OK ? value
                                                                                                          : NULL;
}

bool calls_fixture_init(struct calls_fixture *fixture, enum chat_calls layout, bool tags_are_control) {
    struct error err = {0};
    *fixture = (struct calls_fixture){0};
    arena_init(&fixture->arena, 64 << 20);
    if (!make_tokenizer(&fixture->tokenizer, tags_are_control) ||
        grammar_vocabulary_create(fixture->tokenizer, &fixture->vocabulary, &err) != STATUS_OK ||
        call_format_create(fixture->vocabulary, layout, &fixture->format, &err) != STATUS_OK) {
        calls_fixture_deinit(fixture);
        return false;
    }
    for (int t = 0; t < FIXTURE_TOOLS; t++) {
        fixture->schemas[t] = tools[t].schema;
        fixture->tools[t].name = bytes_view_string(tools[t].name);
        if (tools[t].schema != NULL) fixture->tools[t].parameters = calls_fixture_json(fixture, tools[t].schema);
    }
    return true;
}

void calls_fixture_deinit(struct calls_fixture *fixture) {
    call_format_destroy(fixture->format);
    grammar_vocabulary_destroy(fixture->vocabulary);
    tokenizer_destroy(fixture->tokenizer);
    arena_deinit(&fixture->arena);
}
