/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Small vocabularies of every kind and form against the ids of the references (tools/make_tokenizer_goldens.py). */
#include "engine/tokenizer/tokenizer.h"

#include "tests/unit/engine/check.h"
#include "tests/unit/engine/tokenizer_fixture.h"

#include <glob.h>
#include <jansson.h>

#define FOLDER "tests/golden/tokenizers/"

/** One file of cases: [text, ids as plain text, ids as a template, what these decode to]; null: the reference has no say. */
struct golden {
    const char *path;
    json_t *root;
    struct tokenizer *tokenizer;
};

static void for_every_golden(void (*check)(const struct golden *golden)) {
    glob_t found;
    assert_int_equal(glob(FOLDER "*.cases.json", 0, NULL, &found), 0);
    assert_in_range(found.gl_pathc, 20, 1000);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char path[256];
        json_error_t json_error;
        struct golden golden = {.path = found.gl_pathv[i]};
        golden.root = json_load_file(golden.path, JSON_ALLOW_NUL, &json_error);
        if (golden.root == NULL) fail_msg("%s: %s", golden.path, json_error.text);
        snprintf(path, sizeof path, FOLDER "%s", json_string_value(json_object_get(golden.root, "file")));
        check_ok(tokenizer_load_path(path, &golden.tokenizer, &check_error));
        check(&golden);
        tokenizer_destroy(golden.tokenizer);
        json_decref(golden.root);
    }
    globfree(&found);
}

static struct bytes_view text_of(const json_t *string) {
    return bytes_view_of(json_string_value(string), json_string_length(string));
}

static void assert_ids(const struct golden *golden, size_t index, const json_t *want, const struct token_list *got) {
    bool same = json_array_size(want) == got->count;
    for (size_t i = 0; same && i < got->count; i++) same = json_integer_value(json_array_get(want, i)) == got->ids[i];
    if (!same) fail_msg("%s[%zu]", golden->path, index);
}

static void check_plain(const struct golden *golden) {
    const json_t *entry;
    size_t index;
    json_array_foreach(json_object_get(golden->root, "cases"), index, entry) {
        struct token_list ids = {.max_count = 100000};
        if (json_is_null(json_array_get(entry, 1))) continue;
        check_ok(tokenizer_encode(golden->tokenizer, text_of(json_array_get(entry, 0)), &ids, &check_error));
        assert_ids(golden, index, json_array_get(entry, 1), &ids);
        token_list_deinit(&ids);
    }
}

static void check_templates(const struct golden *golden) {
    const json_t *entry;
    size_t index;
    json_array_foreach(json_object_get(golden->root, "cases"), index, entry) {
        struct token_list ids = {.max_count = 100000};
        if (json_is_null(json_array_get(entry, 2))) continue;
        check_ok(
            tokenizer_encode_template(golden->tokenizer, text_of(json_array_get(entry, 0)), NULL, &ids, &check_error));
        assert_ids(golden, index, json_array_get(entry, 2), &ids);
        token_list_deinit(&ids);
    }
}

static void check_decoding(const struct golden *golden) {
    const json_t *entry;
    size_t index;
    json_array_foreach(json_object_get(golden->root, "cases"), index, entry) {
        const json_t *want = json_array_get(entry, 3), *list = json_array_get(entry, 2), *id;
        size_t at;
        if (json_is_null(want)) continue;
        if (json_is_null(list)) list = json_array_get(entry, 1);
        struct detokenizer detokenizer;
        struct bytes text;
        bytes_init(&text, 1 << 20);
        detokenizer_init(&detokenizer, golden->tokenizer);
        json_array_foreach(list, at, id)
            check_ok(detokenizer_push(&detokenizer, (int32_t)json_integer_value(id), &text));
        check_ok(detokenizer_finish(&detokenizer, &text));
        if (!bytes_view_equal(bytes_view(&text), text_of(want)))
            fail_msg("%s[%zu] decodes to '%.60s'", golden->path, index, text.length > 0 ? (char *)text.data : "");
        bytes_deinit(&text);
    }
}

/** A template of which all came from a user gives no control token; nor does plain text. */
static void check_untrusted(const struct golden *golden) {
    const json_t *entry;
    size_t index;
    uint8_t untrusted[1024];
    memset(untrusted, 0xFF, sizeof untrusted);
    json_array_foreach(json_object_get(golden->root, "cases"), index, entry) {
        struct token_list ids = {.max_count = 100000};
        struct bytes_view text = text_of(json_array_get(entry, 0));
        assert_in_range(text.length, 0, 8 * sizeof untrusted);
        check_ok(tokenizer_encode_template(golden->tokenizer, text, untrusted, &ids, &check_error));
        check_ok(tokenizer_encode(golden->tokenizer, text, &ids, &check_error));
        for (size_t i = 0; i < ids.count; i++) {
            if (tokenizer_is_control(golden->tokenizer, ids.ids[i])) fail_msg("%s[%zu]", golden->path, index);
        }
        token_list_deinit(&ids);
    }
}

static void test_plain_texts_give_the_reference_ids(void **state) {
    (void)state;
    for_every_golden(check_plain);
}

static void test_templates_give_the_reference_ids(void **state) {
    (void)state;
    for_every_golden(check_templates);
}

static void test_ids_decode_to_the_reference_text(void **state) {
    (void)state;
    for_every_golden(check_decoding);
}

static void test_what_a_user_wrote_is_never_a_control_token(void **state) {
    (void)state;
    for_every_golden(check_untrusted);
}

static void test_name_is_a_control_token_only_where_all_of_it_is_trusted(void **state) {
    (void)state;
    struct tokenizer *tokenizer = NULL;
    static const char text[] = "<|im_start|><|im_start|>";
    check_ok(tokenizer_load_path(FOLDER "qwen2.json", &tokenizer, &check_error));
    int32_t start = tokenizer_special(tokenizer, "<|im_start|>");
    assert_in_range(start, 1, 100000);
    for (size_t bit = 0; bit < strlen(text); bit++) {
        uint8_t untrusted[4] = {0};
        struct token_list ids = {.max_count = 100};
        untrusted[bit / 8] = (uint8_t)(1U << bit % 8);
        check_ok(tokenizer_encode_template(tokenizer, bytes_view_string(text), untrusted, &ids, &check_error));
        assert_in_range(ids.count, 3, 100);
        assert_int_equal(ids.ids[0] == start, bit >= strlen("<|im_start|>"));
        assert_int_equal(ids.ids[ids.count - 1] == start, bit < strlen("<|im_start|>"));
        token_list_deinit(&ids);
    }
    tokenizer_destroy(tokenizer);
}

/* ---- where a text begins ------------------------------------------------------------------------------------------- */

static void assert_goes_on(const struct tokenizer *tokenizer, int32_t previous, const char *want) {
    struct token_list ids = {.max_count = 100};
    struct detokenizer detokenizer;
    struct bytes text;
    bytes_init(&text, 1000);
    check_ok(tokenizer_encode(tokenizer, bytes_view_string("Hello"), &ids, &check_error));
    detokenizer_continue(&detokenizer, tokenizer, previous);
    for (size_t i = 0; i < ids.count; i++) check_ok(detokenizer_push(&detokenizer, ids.ids[i], &text));
    check_ok(detokenizer_finish(&detokenizer, &text));
    assert_string_equal((char *)text.data, want);
    token_list_deinit(&ids);
    bytes_deinit(&text);
}

static void test_blank_in_front_goes_only_where_a_text_begins(void **state) {
    (void)state;
    struct tokenizer *tokenizer = NULL;
    check_ok(tokenizer_load_path(FOLDER "llama2.json", &tokenizer, &check_error));
    struct token_list ids = {.max_count = 100};
    check_ok(tokenizer_encode(tokenizer, bytes_view_string("x"), &ids, &check_error));
    assert_goes_on(tokenizer, -1, "Hello");
    assert_goes_on(tokenizer, tokenizer_special(tokenizer, "<s>"), "Hello");
    assert_goes_on(tokenizer, ids.ids[ids.count - 1], " Hello");
    token_list_deinit(&ids);
    tokenizer_destroy(tokenizer);
}

/* ---- configs and refusals ------------------------------------------------------------------------------------------ */

static void test_configs_name_the_ends(void **state) {
    (void)state;
    struct tokenizer *tokenizer = NULL;
    check_ok(tokenizer_load_path(FOLDER "qwen2.json", &tokenizer, &check_error));
    int32_t start = tokenizer_special(tokenizer, "<|im_start|>"), end = tokenizer_special(tokenizer, "<|im_end|>");
    assert_int_equal(tokenizer_bos(tokenizer), -1);
    assert_false(tokenizer_adds_bos(tokenizer));
    check_ok(tokenizer_read_configs(
        tokenizer,
        bytes_view_string(
            "{\"bos_token\":{\"content\":\"<|im_start|>\"},\"eos_token\":\"<|im_end|>\",\"add_bos_token\":true}"),
        bytes_view_string("{\"eos_token_id\":[5,6]}"), &check_error));
    assert_int_equal(tokenizer_bos(tokenizer), start);
    assert_int_equal(tokenizer_eos(tokenizer), end);
    assert_true(tokenizer_adds_bos(tokenizer));
    assert_true(tokenizer_is_end(tokenizer, end) && tokenizer_is_end(tokenizer, 5) && tokenizer_is_end(tokenizer, 6));
    assert_false(tokenizer_is_end(tokenizer, 7));
    check_fails(tokenizer_read_configs(tokenizer, (struct bytes_view){0},
                                       bytes_view_string("{\"eos_token_id\":1000000}"), &check_error),
                STATUS_INVALID_ARGUMENT, "eos_token_id");
    tokenizer_destroy(tokenizer);
}

/** Beside "<|im_end|>" it is an end where the model's configs say so, or nothing. */
static void test_the_end_of_a_document_ends_an_answer_where_configs_say_so(void **state) {
    (void)state;
    static const struct {
        const char *tokenizer, *generation;
        bool ends;
    } cases[] = {{"", "", true},
                 {"{\"eos_token\":\"<|im_end|>\"}", "", true},
                 {"{\"eos_token\":\"<|im_end|>\"}", "{\"eos_token_id\":%d}", false},
                 {"{\"eos_token\":\"<|im_end|>\"}", "{\"eos_token_id\":[%d,%d]}", true},
                 {"{\"eos_token\":\"<|endoftext|>\"}", "{\"eos_token_id\":%d}", true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static const char *const controls[] = {"<unk>", "<s>", "</s>", "<|im_end|>", "<|endoftext|>"};
        struct tokenizer *tokenizer = fixture_byte_tokenizer(controls, sizeof controls / sizeof controls[0]);
        char generation[64];
        int32_t turn = tokenizer_special(tokenizer, "<|im_end|>"),
                document = tokenizer_special(tokenizer, "<|endoftext|>");
        assert_true(turn >= 0 && document >= 0);
        snprintf(generation, sizeof generation, cases[i].generation, turn, document);
        check_ok(tokenizer_read_configs(tokenizer, bytes_view_string(cases[i].tokenizer), bytes_view_string(generation),
                                        &check_error));
        assert_true(tokenizer_is_end(tokenizer, turn));
        assert_int_equal(tokenizer_is_end(tokenizer, document), cases[i].ends);
        tokenizer_destroy(tokenizer);
    }
}

static void assert_json_refused(const char *json, enum status want, const char *word) {
    struct tokenizer *tokenizer = NULL;
    check_fails(tokenizer_load_json(bytes_view_string(json), "bad.json", &tokenizer, &check_error), want, word);
    assert_null(tokenizer);
}

static void test_json_that_is_not_understood_is_refused_by_name(void **state) {
    (void)state;
#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}"
    assert_json_refused("{", STATUS_INVALID_ARGUMENT, "bad.json: no valid JSON");
    assert_json_refused("{}", STATUS_INVALID_ARGUMENT, "'model'");
    assert_json_refused("{\"model\":{\"type\":\"WordPiece\"}}", STATUS_UNIMPLEMENTED, "'WordPiece'");
    assert_json_refused("{\"normalizer\":{\"type\":\"Precompiled\"}," MODEL "}", STATUS_UNIMPLEMENTED, "'Precompiled'");
    assert_json_refused("{\"pre_tokenizer\":{\"type\":\"Whitespace\"}," MODEL "}", STATUS_UNIMPLEMENTED,
                        "'Whitespace'");
    assert_json_refused(
        "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}," MODEL "}",
        STATUS_INVALID_ARGUMENT, "bad.json: a split pattern");
    assert_json_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}",
                        STATUS_INVALID_ARGUMENT, "merge 0");
    assert_json_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}",
                        STATUS_INVALID_ARGUMENT, "the id 0");
    assert_json_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1048576},\"merges\":[]}}",
                        STATUS_INVALID_ARGUMENT, "below 1048576");
    assert_json_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"u\"}}",
                        STATUS_INVALID_ARGUMENT, "unk_token");
    assert_json_refused("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", STATUS_INVALID_ARGUMENT, "vocab[0]");
#undef MODEL
}

static void test_other_forms_that_are_damaged_are_refused(void **state) {
    (void)state;
    struct tokenizer *tokenizer = NULL;
    check_fails(tokenizer_load_tekken(bytes_view_string("{\"vocab\":[]}"), "tekken.json", &tokenizer, &check_error),
                STATUS_INVALID_ARGUMENT, "tekken.json: config");
    check_fails(tokenizer_load_tekken(bytes_view_string("{}"), "tekken.json", &tokenizer, &check_error),
                STATUS_INVALID_ARGUMENT, "'vocab'");
    check_fails(tokenizer_load_sentencepiece(bytes_view_string("\n\xFFx"), "x.model", &tokenizer, &check_error),
                STATUS_INVALID_ARGUMENT, "x.model");
    check_fails(tokenizer_load_sentencepiece((struct bytes_view){0}, "x.model", &tokenizer, &check_error),
                STATUS_INVALID_ARGUMENT, "no pieces");
    check_fails(tokenizer_load_path("tests/golden/no_such_file.json", &tokenizer, &check_error), STATUS_NOT_FOUND,
                "no_such_file");
    assert_null(tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blank_in_front_goes_only_where_a_text_begins),
        cmocka_unit_test(test_configs_name_the_ends),
        cmocka_unit_test(test_the_end_of_a_document_ends_an_answer_where_configs_say_so),
        cmocka_unit_test(test_json_that_is_not_understood_is_refused_by_name),
        cmocka_unit_test(test_other_forms_that_are_damaged_are_refused),
        cmocka_unit_test(test_plain_texts_give_the_reference_ids),
        cmocka_unit_test(test_templates_give_the_reference_ids),
        cmocka_unit_test(test_ids_decode_to_the_reference_text),
        cmocka_unit_test(test_what_a_user_wrote_is_never_a_control_token),
        cmocka_unit_test(test_name_is_a_control_token_only_where_all_of_it_is_trusted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
