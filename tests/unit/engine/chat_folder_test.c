/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Which layout a folder has, by the files beside its weights. The checkpoint here is a list of files, no more. */
#include "engine/chat/chat.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/gguf.h"
#include "tests/support/gguf_builder.h"
#include "tests/unit/engine/check.h"
#include "tests/unit/engine/tokenizer_fixture.h"

struct checkpoint {
    struct {
        const char *name, *text;
    } files[4];
};

/* ---- what chat_layout_load asks of a checkpoint ---------------------------------------------------------------------- */

const struct gguf *checkpoint_gguf(const struct checkpoint *checkpoint) {
    (void)checkpoint;
    return NULL;
}
const char *checkpoint_path(const struct checkpoint *checkpoint) {
    (void)checkpoint;
    return "folder";
}
enum status checkpoint_file(const struct checkpoint *checkpoint, const char *name, struct bytes_view *out,
                            struct error *err) {
    for (size_t i = 0; i < 4 && checkpoint->files[i].name != NULL; i++) {
        if (strcmp(checkpoint->files[i].name, name) != 0) continue;
        *out = bytes_view_string(checkpoint->files[i].text);
        return STATUS_OK;
    }
    return error_set(err, STATUS_NOT_FOUND, "folder has no %s", name);
}

/* ---- the tests ------------------------------------------------------------------------------------------------------- */

static struct tokenizer *tokenizer;

static int set_up(void **state) {
    (void)state;
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
                                           "[IMG]",
                                           "[IMG_BREAK]",
                                           "[IMG_END]",
                                           "[SYSTEM_PROMPT]",
                                           "[/SYSTEM_PROMPT]",
                                           "[TOOL_CONTENT]",
                                           "[ARGS]",
                                           "[CALL_ID]",
                                           "[THINK]",
                                           "[/THINK]"};
    tokenizer = fixture_byte_tokenizer(controls, sizeof controls / sizeof controls[0]);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    tokenizer_destroy(tokenizer);
    return 0;
}

static struct chat_layout *load(const struct checkpoint *checkpoint, const char *name) {
    struct chat_layout *layout = NULL;
    check_ok(chat_layout_load(checkpoint, tokenizer, &layout, &check_error));
    assert_string_equal(chat_layout_name(layout), name);
    return layout;
}

#define TEKKEN(version)                                                                                            \
    "{\"config\": {\"version\": \"" version "\"}, \"multimodal\": {\"image_patch_size\": 16, \"max_image_size\": " \
    "1024}}"

static void test_tokenizer_files_say_mistrals_version(void **state) {
    (void)state;
    static const struct {
        struct checkpoint checkpoint;
        const char *name;
        bool images;
        enum chat_calls calls;
    } cases[] = {{{{{"tekken.json", TEKKEN("v3")}}}, "mistral-v3", true, CHAT_CALLS_LIST},
                 {{{{"tekken.json", TEKKEN("v13")}}}, "mistral-v13", true, CHAT_CALLS_ARGUMENTS},
                 {{{{"tekken.json", TEKKEN("v11")}, {"chat_template.jinja", "[INST]{{ messages[0].content }}"}}},
                  "mistral-v11",
                  true,
                  CHAT_CALLS_ID},
                 {{{{"tokenizer.model.v1", "x"}}}, "mistral-v1", false, CHAT_CALLS_NONE},
                 {{{{"tokenizer.model.v3", "x"}, {"tokenizer_config.json", "{\"chat_template\": \"[INST]\"}"}}},
                  "mistral-v3",
                  false,
                  CHAT_CALLS_LIST},
                 {{{{"tokenizer.model.v7m1", "x"}}}, "mistral-v7", true, CHAT_CALLS_LIST}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct chat_layout *layout = load(&cases[i].checkpoint, cases[i].name);
        assert_int_equal(chat_layout_support(layout).images, cases[i].images);
        assert_int_equal(chat_layout_calls(layout), cases[i].calls);
        if (cases[i].images) {
            int32_t columns = 0, rows = 0;
            check_ok(chat_image_grid(layout, 100, 50, &columns, &rows, &check_error));
            assert_int_equal(columns, 7);
            assert_int_equal(rows, 4);
        }
        chat_layout_destroy(layout);
    }
}

static void test_model_trained_on_another_layout_is_not_mistrals(void **state) {
    (void)state;
    static const struct checkpoint chatml = {
        {{"tekken.json", TEKKEN("v3")}, {"chat_template.jinja", "<|im_start|>{{ messages[0].content }}"}}};
    chat_layout_destroy(load(&chatml, "template"));
}

static void assert_prompt(const struct chat_layout *layout, size_t tools, const char *want) {
    struct chat_tool tool = {.name = bytes_view_string("f")};
    struct chat_message message = {.role = CHAT_ROLE_USER, .content = bytes_view_string("Hi")};
    struct chat_conversation conversation = {
        .messages = &message, .message_count = 1, .tools = &tool, .tool_count = tools};
    struct token_list ids = {.max_count = 100};
    char text[100] = "";
    check_ok(chat_layout_render(layout, &conversation, &ids, &check_error));
    for (size_t i = 0; i < ids.count; i++) {
        struct bytes_view piece = tokenizer_piece(tokenizer, ids.ids[i]);
        strncat(text, (const char *)piece.data, piece.length);
    }
    token_list_deinit(&ids);
    assert_string_equal(text, want);
}

static void test_templates_are_found_where_publishers_put_them(void **state) {
    (void)state;
    static const struct {
        struct checkpoint checkpoint;
        const char *prompt, *with_tools;
    } cases[] = {
        {{{{"chat_template.jinja", "J:{{ messages[0].content }}"},
           {"tokenizer_config.json", "{\"chat_template\": \"C\"}"}}},
         "J:Hi",
         NULL},
        {{{{"tokenizer_config.json", "{\"bos_token\": \"<s>\", \"chat_template\": \"C:{{ messages[0].content }}\"}"}}},
         "C:Hi",
         NULL},
        {{{{"tokenizer_config.json", "{}"},
           {"chat_template.json", "{\"chat_template\": \"K:{{ messages[0].content }}\"}"}}},
         "K:Hi",
         NULL},
        {{{{"tokenizer_config.json", "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"T:{{ "
                                     "tools[0].function.name ~ messages[0].content }}\"}, "
                                     "{\"name\": \"default\", \"template\": \"D:{{ messages[0].content }}\"}]}"}}},
         "D:Hi",
         "T:fHi"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct chat_layout *layout = load(&cases[i].checkpoint, "template");
        assert_prompt(layout, 0, cases[i].prompt);
        if (cases[i].with_tools != NULL) assert_prompt(layout, 1, cases[i].with_tools);
        chat_layout_destroy(layout);
    }
}

static void test_what_is_wrong_is_named_with_its_file(void **state) {
    (void)state;
    static const struct {
        struct checkpoint checkpoint;
        enum status status;
        const char *word;
    } cases[] = {{{{{"tokenizer_config.json", "{\"chat_template\": "}}},
                  STATUS_INVALID_ARGUMENT,
                  "folder: tokenizer_config.json"},
                 {{{{"chat_template.jinja", "{{ x | xmlattr }}"}}},
                  STATUS_UNIMPLEMENTED,
                  "folder: its chat template line 1: filter 'xmlattr'"},
                 {{{{"tekken.json", "{\"config\": {\"version\": \"v99\"}}"}}}, STATUS_UNIMPLEMENTED, "'v99'"},
                 {{{{"tekken.json", TEKKEN("v15")}}}, STATUS_INVALID_ARGUMENT, "model_settings_builder"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct chat_layout *layout = NULL;
        check_fails(chat_layout_load(&cases[i].checkpoint, tokenizer, &layout, &check_error), cases[i].status,
                    cases[i].word);
        assert_null(layout);
    }
}

static void test_a_chosen_layout_wins_over_what_the_files_show(void **state) {
    (void)state;
    static const struct checkpoint nothing = {0}, tekken = {{{"tekken.json", TEKKEN("v13")}}},
                                   unsupported = {{{"chat_template.jinja", "{{ x | xmlattr }}"}}};
    static const struct {
        const struct checkpoint *checkpoint;
        const char *choice, *name;
    } cases[] = {
        {&nothing, "mistral-v11", "mistral-v11"}, {&tekken, "mistral-v11", "mistral-v11"},
        {&tekken, "mistral-v7", "mistral-v7"},    {&nothing, "mistral-v1", "mistral-v1"},
        {&nothing, "completion", "completion"},   {&unsupported, "completion", "completion"},
        {&tekken, "auto", "mistral-v13"},         {&tekken, "tests/golden/templates/zephyr.jinja", "template"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct chat_layout *layout = NULL;
        assert_true(chat_layout_is_choice(cases[i].choice));
        check_ok(chat_layout_load_as(cases[i].choice, cases[i].checkpoint, tokenizer, &layout, &check_error));
        assert_string_equal(chat_layout_name(layout), cases[i].name);
        chat_layout_destroy(layout);
    }
}

static enum status load_said_by_gguf(const char *name, struct chat_layout **out) {
    struct gguf_builder builder;
    struct gguf *gguf = NULL;
    size_t length;
    gguf_builder_init(&builder);
    gguf_builder_string(&builder, CHAT_LAYOUT_GGUF_KEY, name);
    uint8_t *file = gguf_builder_finish(&builder, &length);
    check_ok(gguf_open_memory(file, length, "said.gguf", &gguf, &check_error));
    enum status status = chat_layout_load_gguf(gguf, tokenizer, out, &check_error);
    gguf_close(gguf);
    free(file);
    return status;
}

/** The vocabulary has the control tokens of v13, as that of a v3 model has those of v7. */
static void test_what_a_converted_file_says_comes_before_what_it_shows(void **state) {
    (void)state;
    static const struct checkpoint said = {{{"tokenizer_config.json",
                                             "{\"" CHAT_LAYOUT_CONFIG_MEMBER "\": \"mistral-v3\"}"}}},
                                   native = {{{"tekken.json", TEKKEN("v11")},
                                              {"tokenizer_config.json",
                                               "{\"" CHAT_LAYOUT_CONFIG_MEMBER "\": \"mistral-v3\"}"}}};
    struct chat_layout *layout = NULL;
    check_ok(load_said_by_gguf("mistral-v3", &layout));
    assert_string_equal(chat_layout_name(layout), "mistral-v3");
    chat_layout_destroy(layout);
    chat_layout_destroy(load(&said, "mistral-v3"));
    chat_layout_destroy(load(&native, "mistral-v11"));
    check_ok(chat_layout_load_as("mistral-v7", &said, tokenizer, &layout, &check_error));
    assert_string_equal(chat_layout_name(layout), "mistral-v7");
    chat_layout_destroy(layout);
    layout = NULL;
    check_fails(load_said_by_gguf("tests/golden/templates/zephyr.jinja", &layout), STATUS_UNIMPLEMENTED,
                "said.gguf: its prompt layout");
}

static void test_a_layout_that_cannot_be_chosen_says_why(void **state) {
    (void)state;
    static const struct checkpoint nothing = {0};
    static const struct {
        const char *choice, *word;
        bool known;
    } cases[] = {{"chatml", "control token <|im_start|>", true},
                 {"mistral-v15", "control token [MODEL_SETTINGS]", true},
                 {"mistral-v4", "no layout 'mistral-v4'", false},
                 {"absent.jinja", "absent.jinja", true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct chat_layout *layout = NULL;
        assert_int_equal(chat_layout_is_choice(cases[i].choice), cases[i].known);
        enum status status = chat_layout_load_as(cases[i].choice, &nothing, tokenizer, &layout, &check_error);
        assert_int_not_equal(status, STATUS_OK);
        assert_non_null(strstr(check_error.message, cases[i].word));
        assert_null(layout);
        check_error = (struct error){0};
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer_files_say_mistrals_version),
        cmocka_unit_test(test_model_trained_on_another_layout_is_not_mistrals),
        cmocka_unit_test(test_templates_are_found_where_publishers_put_them),
        cmocka_unit_test(test_what_is_wrong_is_named_with_its_file),
        cmocka_unit_test(test_a_chosen_layout_wins_over_what_the_files_show),
        cmocka_unit_test(test_what_a_converted_file_says_comes_before_what_it_shows),
        cmocka_unit_test(test_a_layout_that_cannot_be_chosen_says_why),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
