/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What a layout writes of an assistant's calls in a prompt is what the grammar lets the model write, and the reader gives the calls back. */
#include "engine/chat/chat.h"
#include "engine/grammar/calls.h"
#include "engine/weights/gguf.h"
#include "tests/support/gguf_builder.h"
#include "tests/unit/engine/check.h"

static const char *const controls[] = {"<unk>",
                                       "<s>",
                                       "</s>",
                                       "[INST]",
                                       "[/INST]",
                                       "[AVAILABLE_TOOLS]",
                                       "[/AVAILABLE_TOOLS]",
                                       "[TOOL_RESULTS]",
                                       "[/TOOL_RESULTS]",
                                       "[TOOL_CALLS]",
                                       "[SYSTEM_PROMPT]",
                                       "[/SYSTEM_PROMPT]",
                                       "[TOOL_CONTENT]",
                                       "[ARGS]",
                                       "[CALL_ID]",
                                       "[THINK]",
                                       "[/THINK]",
                                       "<|im_start|>",
                                       "<|im_end|>",
                                       "<|start_header_id|>",
                                       "<|end_header_id|>",
                                       "<|eot_id|>",
                                       "<|begin_of_text|>"};

struct model {
    struct tokenizer *tokenizer;
    struct chat_layout *layout;
    struct grammar_vocabulary *vocabulary;
    struct call_format *format;
};

static struct model load(const char *template) {
    struct gguf_builder builder;
    struct gguf *gguf = NULL;
    struct model model = {0};
    size_t length;
    gguf_builder_init(&builder);
    gguf_builder_byte_tokenizer(&builder, controls, sizeof controls / sizeof controls[0]);
    gguf_builder_string(&builder, "tokenizer.chat_template", template);
    uint8_t *file = gguf_builder_finish(&builder, &length);
    check_ok(gguf_open_memory(file, length, "hand.gguf", &gguf, &check_error));
    check_ok(tokenizer_load_gguf(gguf, &model.tokenizer, &check_error));
    check_ok(chat_layout_load_gguf(gguf, model.tokenizer, &model.layout, &check_error));
    gguf_close(gguf);
    free(file);
    check_ok(grammar_vocabulary_create(model.tokenizer, &model.vocabulary, &check_error));
    check_ok(call_format_create(model.vocabulary, chat_layout_calls(model.layout), &model.format, &check_error));
    return model;
}

static void unload(struct model *model) {
    call_format_destroy(model->format);
    grammar_vocabulary_destroy(model->vocabulary);
    chat_layout_destroy(model->layout);
    tokenizer_destroy(model->tokenizer);
}

static char *read_template(const char *name) {
    char path[256], *text = calloc(1, 1 << 16);
    if (strchr(name, '[') !=
        NULL) { /* a template that only mentions Mistral's control tokens: its layout is the version's */
        strcpy(text, name);
        return text;
    }
    snprintf(path, sizeof path, "tests/golden/templates/%s", name);
    FILE *stream = fopen(path, "rb");
    if (stream == NULL) fail_msg("%s is missing", path);
    assert_in_range(fread(text, 1, (1 << 16) - 1, stream), 1, (1 << 16) - 2);
    fclose(stream);
    return text;
}

static struct token_list render(const struct model *model, const struct chat_message *messages, size_t count,
                                const struct chat_tool *tools) {
    struct chat_conversation conversation = {
        .messages = messages, .message_count = count, .tools = tools, .tool_count = 2};
    struct token_list ids = {.max_count = 100000};
    check_ok(chat_layout_render(model->layout, &conversation, &ids, &check_error));
    return ids;
}

/** The tokens of the answer go through the grammar, as far as it takes them. */
static void follow(struct grammar *grammar, const struct tokenizer *tokenizer, const int32_t *ids, size_t count,
                   struct call_reader *reader) {
    struct grammar_session *session;
    struct grammar_state state;
    bool accepted = true;
    check_ok(grammar_session_create(grammar, &session, &check_error));
    check_ok(grammar_start(session, &state, &check_error));
    for (size_t i = 0; i < count; i++) {
        check_ok(grammar_accept(session, &state, ids[i], &accepted, &check_error));
        bool control = tokenizer_is_control(tokenizer, ids[i]);
        if (!accepted && !control) fail_msg("token %zu of the answer is refused", i);
        if (!accepted || tokenizer_is_end(tokenizer, ids[i])) break;
        if (control)
            check_ok(call_reader_push_control(reader, ids[i], &check_error));
        else
            check_ok(call_reader_push(reader, tokenizer_piece(tokenizer, ids[i]), &check_error));
    }
    assert_true(grammar_complete(session, &state));
    check_ok(call_reader_finish(reader, &check_error));
    grammar_session_destroy(session);
}

static void check_layout(const char *template, size_t call_count) {
    char *text = read_template(template);
    struct model model = load(text);
    struct chat_tool tools[] = {{.name = bytes_view_string("get_weather"),
                                 .description = bytes_view_string("d"),
                                 .parameters = bytes_view_string("{\"type\": \"object\", \"properties\": {}}")},
                                {.name = bytes_view_string("get"),
                                 .description = bytes_view_string("d"),
                                 .parameters = bytes_view_string("{\"type\": \"object\", \"properties\": {}}")}};
    struct chat_tool_call calls[] = {
        {.id = bytes_view_string("abcDEF123"),
         .name = tools[0].name,
         .arguments = bytes_view_string("{\"city\":\"Paris\",\"days\":[1,{}]}")},
        {.id = bytes_view_string("abcDEF124"), .name = tools[1].name, .arguments = bytes_view_string("{}")}};
    struct chat_message messages[] = {
        {.role = CHAT_ROLE_USER, .content = bytes_view_string("Hi")},
        {.role = CHAT_ROLE_ASSISTANT, .tool_calls = calls, .tool_call_count = call_count},
        {.role = CHAT_ROLE_TOOL, .tool_call_id = calls[0].id, .name = tools[0].name, .content = bytes_view_string("1")},
        {.role = CHAT_ROLE_TOOL,
         .tool_call_id = calls[1].id,
         .name = tools[1].name,
         .content = bytes_view_string("2")}};
    struct token_list before = render(&model, messages, 1, tools),
                      whole = render(&model, messages, 2 + call_count, tools);
    assert_in_range(whole.count, before.count + 1, SIZE_MAX);
    assert_memory_equal(whole.ids, before.ids, before.count * sizeof *before.ids);
    struct call_tool offered[] = {{.name = tools[0].name}, {.name = tools[1].name}};
    for (int choice = 0; choice < 2; choice++) {
        struct call_request request = {.tools = offered,
                                       .tool_count = 2,
                                       .choice = choice ? CALL_CHOICE_REQUIRED : CALL_CHOICE_AUTO,
                                       .parallel = call_count > 1};
        struct grammar *grammar;
        struct call_reader *reader;
        struct call_problem problem;
        check_ok(calls_compile(model.format, &request, &grammar, &problem));
        check_ok(call_reader_create(grammar, 1, &reader, &check_error));
        follow(grammar, model.tokenizer, whole.ids + before.count, whole.count - before.count, reader);
        const struct call_output *output = call_reader_output(reader);
        assert_int_equal(output->call_count, call_count);
        for (size_t i = 0; i < call_count; i++) assert_int_equal(output->calls[i].tool, i);
        assert_true(bytes_view_equal_string(output->calls[0].arguments, "{\"city\": \"Paris\", \"days\": [1, {}]}"));
        assert_int_equal(output->content.length, 0);
        call_reader_destroy(reader);
        grammar_unref(grammar);
    }
    token_list_deinit(&before);
    token_list_deinit(&whole);
    unload(&model);
    free(text);
}

static void test_mistral(void **state) {
    (void)state;
    static const char *const mentions[] = {"[INST]", "[INST][SYSTEM_PROMPT]", "[INST][SYSTEM_PROMPT][ARGS][CALL_ID]",
                                           "[INST][SYSTEM_PROMPT][ARGS]"};
    for (size_t i = 0; i < sizeof mentions / sizeof mentions[0]; i++) {
        check_layout(mentions[i], 1);
        check_layout(mentions[i], 2);
    }
}

static void test_templates(void **state) {
    (void)state;
    static const char *const files[] = {"hermes-2-tools.jinja", "qwen2.5.jinja", "qwen3.jinja"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        check_layout(files[i], 1);
        check_layout(files[i], 2);
    }
    check_layout("llama-3.1.jinja", 1); /* its template has a place for one call */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mistral), cmocka_unit_test(test_templates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
