/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Mistral's layouts against mistral-common: for every conversation of the table and every version, the same control tokens and the same texts handed
 * to the tokenizer, or a refusal where the reference refuses. The vocabulary here is one of bytes and control tokens; real vocabularies are
 * compared id for id in tests/reference.
 */
#include "engine/chat/chat_internal.h"
#include "tests/support/conversation_json.h"
#include "tests/unit/engine/check.h"
#include "tests/unit/engine/tokenizer_fixture.h"

static struct tokenizer *tokenizer;
static json_t *goldens;

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
                                       "<pad>",
                                       "[IMG_BREAK]",
                                       "[IMG_END]",
                                       "[PREFIX]",
                                       "[MIDDLE]",
                                       "[SUFFIX]",
                                       "[SYSTEM_PROMPT]",
                                       "[/SYSTEM_PROMPT]",
                                       "[TOOL_CONTENT]",
                                       "[ARGS]",
                                       "[CALL_ID]",
                                       "[THINK]",
                                       "[/THINK]",
                                       "[MODEL_SETTINGS]",
                                       "[/MODEL_SETTINGS]"};
enum { CONTROLS = sizeof controls / sizeof controls[0] };

static int set_up(void **state) {
    (void)state;
    json_error_t json_error;
    tokenizer = fixture_byte_tokenizer(controls, CONTROLS);
    goldens = json_load_file("tests/golden/layouts/mistral.json", 0, &json_error);
    if (goldens == NULL) fail_msg("mistral.json: %s", json_error.text);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    tokenizer_destroy(tokenizer);
    json_decref(goldens);
    return 0;
}

/** The layout of a kind in the table: "v3-tekken-images". */
static struct chat_layout layout_of(const char *kind) {
    struct chat_layout layout = {.tokenizer = tokenizer};
    struct mistral_layout *mistral = &layout.mistral;
    mistral->version = atoi(kind + 1);
    if (strcmp(kind, "v3-tekken-images") == 0 || strcmp(kind, "v7-images") == 0)
        *mistral = (struct mistral_layout){
            .version = mistral->version, .image_patch = 16, .image_side = 1024, .image_merge = 1};
    if (strcmp(kind, "v7-tekken") == 0 || mistral->version >= 11)
        *mistral = (struct mistral_layout){
            .version = mistral->version, .image_patch = 14, .image_side = 1540, .image_merge = 2};
    if (mistral->version == 15) {
        mistral->takes_json_schema = true;
        mistral->effort_count = 2;
        strcpy(mistral->efforts[0], "none");
        strcpy(mistral->efforts[1], "high");
        strcpy(mistral->default_effort, "none");
    }
    check_ok(mistral_layout_bind(&layout, &check_error));
    return layout;
}

/** Pieces as the goldens write them. */
static json_t *pieces_of(const struct prompt *prompt) {
    json_t *list = json_array();
    for (size_t i = 0; i < prompt->count; i++) {
        const struct prompt_piece *piece = &prompt->pieces[i];
        struct bytes_view name = piece->control >= 0 ? tokenizer_name(tokenizer, piece->control) : piece->text;
        json_t *text = json_stringn((const char *)name.data, name.length),
               *last = json_array_get(list, json_array_size(list) - 1);
        if (piece->control < 0) {
            json_array_append_new(list, json_pack("{s:o}", "text", text));
        } else if (json_is_array(last) && json_equal(json_array_get(last, 0), text)) {
            json_array_set_new(last, 1, json_integer(json_integer_value(json_array_get(last, 1)) + 1));
            json_decref(text);
        } else if (json_equal(last, text) && bytes_view_equal_string(name, "[IMG]")) {
            json_array_set_new(list, json_array_size(list) - 1, json_pack("[o,i]", text, 2));
        } else {
            json_array_append_new(list, text);
        }
    }
    return list;
}

static enum status compose_case(const struct chat_layout *layout, const json_t *request, struct prompt *out) {
    if (json_object_get(request, "suffix") != NULL) {
        if (!layout->support.fim) return error_set(&check_error, STATUS_UNIMPLEMENTED, "no FIM");
        return mistral_compose_fim(layout, bytes_view_string(json_string_value(json_object_get(request, "prefix"))),
                                   bytes_view_string(json_string_value(json_object_get(request, "suffix"))), out,
                                   &check_error);
    }
    struct chat_conversation conversation = conversation_from_json(request, layout, out->arena);
    return mistral_compose(layout, &conversation, out, &check_error);
}

static void check_case(const json_t *golden, const char *kind, const json_t *pieces) {
    const char *name = json_string_value(json_object_get(golden, "name"));
    struct chat_layout layout = layout_of(kind);
    struct arena arena;
    arena_init(&arena, 64 << 20);
    struct prompt prompt = {.arena = &arena};
    check_error = (struct error){0};
    enum status status = compose_case(&layout, json_object_get(golden, "request"), &prompt);
    if (status != STATUS_OK) {
        if (!json_is_null(pieces)) fail_msg("%s, %s: refused: %s", kind, name, check_error.message);
        if (check_error.message[0] == 0) fail_msg("%s, %s: refused without a word", kind, name);
    } else if (json_is_null(pieces)) {
        fail_msg("%s, %s: the reference refuses it", kind, name);
    } else {
        json_t *made = pieces_of(&prompt);
        if (!json_equal(made, pieces))
            fail_msg("%s, %s:\n%s\nis due:\n%s", kind, name, json_dumps(made, 0), json_dumps(pieces, 0));
        json_decref(made);
    }
    arena_deinit(&arena);
}

static void test_every_conversation_in_every_version_is_the_references(void **state) {
    (void)state;
    const json_t *cases = json_object_get(goldens, "cases"), *golden, *prompt, *kind;
    size_t i, j, k, checked = 0;
    json_array_foreach(cases, i, golden) {
        json_array_foreach(json_object_get(golden, "prompts"), j, prompt) {
            json_array_foreach(json_object_get(prompt, "kinds"), k, kind) {
                check_case(golden, json_string_value(kind), json_object_get(prompt, "pieces"));
                checked++;
            }
        }
    }
    assert_in_range(checked, 1000, 100000);
}

static void test_refusal_names_message_and_field(void **state) {
    (void)state;
    struct chat_layout layout = layout_of("v3");
    struct chat_tool_call call = {.id = bytes_view_string("short"), .name = bytes_view_string("f")};
    struct chat_part image = {.kind = CHAT_PART_IMAGE, .image_columns = 1, .image_rows = 1};
    struct chat_message messages[] = {{.role = CHAT_ROLE_USER, .content = bytes_view_string("a")},
                                      {.role = CHAT_ROLE_ASSISTANT, .tool_calls = &call, .tool_call_count = 1}};
    struct chat_conversation conversation = {.messages = messages, .message_count = 2};
    struct token_list ids = {.max_count = 1000};
    check_fails(chat_layout_render(&layout, &conversation, &ids, &check_error), STATUS_INVALID_ARGUMENT,
                "messages.1.tool_calls.0.id");
    messages[0].parts = &image;
    messages[0].part_count = 1;
    check_fails(chat_layout_render(&layout, &conversation, &ids, &check_error), STATUS_INVALID_ARGUMENT,
                "messages.0.content.0: the layout mistral-v3 has no place for an image in a user message");
    assert_int_equal(ids.count, 0);
}

static void test_version_needs_its_control_tokens(void **state) {
    (void)state;
    struct tokenizer *older = fixture_byte_tokenizer(controls, 20);
    struct chat_layout layout = {.tokenizer = older, .mistral = {.version = 11}};
    check_fails(mistral_layout_bind(&layout, &check_error), STATUS_INVALID_ARGUMENT, "[ARGS]");
    layout.mistral.version = 7;
    check_ok(mistral_layout_bind(&layout, &check_error));
    assert_string_equal(layout.name, "mistral-v7");
    assert_false(layout.support.thinking);
    tokenizer_destroy(older);
}

static void test_tekken_file_says_version_images_and_settings(void **state) {
    (void)state;
    static const char file[] =
        "{\"vocab\": [{\"rank\": 0, \"token_bytes\": \"AA==\", \"token_str\": \"}]\\\"\"}], \"image\": "
        "{\"image_patch_size\": 14, \"max_image_size\": "
        "1540, \"spatial_merge_size\": 2},\n\"config\" : {\"version\": \"v15\"}, \"model_settings_builder\": "
        "{\"reasoning_effort\": {\"type\": "
        "\"enum\", \"values\": [\"none\", \"high\"], \"accepts_none\": true, \"default\": \"none\"}}}";
    struct mistral_layout layout = {0};
    check_ok(mistral_layout_read_tekken(bytes_view_string(file), &layout, &check_error));
    assert_int_equal(layout.version, 15);
    assert_int_equal(layout.image_patch, 14);
    assert_int_equal(layout.image_side, 1540);
    assert_int_equal(layout.image_merge, 2);
    assert_int_equal(layout.effort_count, 2);
    assert_string_equal(layout.efforts[1], "high");
    assert_false(layout.takes_json_schema);
    check_fails(
        mistral_layout_read_tekken(bytes_view_string("{\"config\": {\"version\": \"v4\"}}"), &layout, &check_error),
        STATUS_UNIMPLEMENTED, "'v4'");
    check_fails(
        mistral_layout_read_tekken(bytes_view_string("{\"config\": {\"version\": \"v15\"}}"), &layout, &check_error),
        STATUS_INVALID_ARGUMENT, "model_settings_builder");
    for (size_t cut = 0; cut < sizeof file - 1; cut++) /* only ever refused, or the version of what is there */
        (void)!mistral_layout_read_tekken(bytes_view_of(file, cut), &layout, NULL);
    check_fails(mistral_layout_read_tekken(bytes_view_string("[]"), &layout, &check_error), STATUS_INVALID_ARGUMENT,
                "version");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_conversation_in_every_version_is_the_references),
        cmocka_unit_test(test_refusal_names_message_and_field),
        cmocka_unit_test(test_version_needs_its_control_tokens),
        cmocka_unit_test(test_tekken_file_says_version_images_and_settings),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
