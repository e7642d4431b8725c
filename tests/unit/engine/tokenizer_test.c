/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The tokenizer of the real model against llama.cpp's ids, and what holds for any text. */
#include "engine/tokenizer/tokenizer.h"

#include "base/random.h"
#include "engine/weights/gguf.h"
#include "tests/support/test_model.h"
#include "tests/unit/engine/check.h"

#include <jansson.h>

enum { SEED = 11, CONTROL_COUNT = 17, VOCABULARY = 49152 };

static struct tokenizer *tokenizer;
static json_t *goldens;

static int set_up(void **state) {
    (void)state;
    struct gguf *gguf = NULL;
    json_error_t json_error;
    check_ok(gguf_open(test_model_path(), &gguf, &check_error));
    check_ok(tokenizer_load_gguf(gguf, &tokenizer, &check_error));
    gguf_close(gguf); /* the tokenizer needs nothing of it */
    goldens = json_load_file("tests/golden/smollm2/tokenizer_cases.json", JSON_ALLOW_NUL, &json_error);
    if (goldens == NULL) fail_msg("tokenizer_cases.json: %s", json_error.text);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    tokenizer_destroy(tokenizer);
    json_decref(goldens);
    return 0;
}

/* ---- goldens ------------------------------------------------------------------------------------------------------- */

static void assert_ids(const json_t *golden, const struct token_list *list, const char *kind, size_t index) {
    const json_t *ids = json_object_get(golden, "ids");
    bool same = json_array_size(ids) == list->count;
    for (size_t i = 0; same && i < list->count; i++) same = json_integer_value(json_array_get(ids, i)) == list->ids[i];
    if (!same) fail_msg("%s[%zu]: \"%.60s\"", kind, index, json_string_value(json_object_get(golden, "text")));
}

static void check_goldens(const char *kind, size_t least) {
    const json_t *list = json_object_get(goldens, kind), *golden;
    size_t index;
    assert_in_range(json_array_size(list), least, 100000);
    json_array_foreach(list, index, golden) {
        const json_t *text = json_object_get(golden, "text");
        struct token_list ids = {.max_count = 100000};
        check_ok(tokenizer_encode(tokenizer, bytes_view_of(json_string_value(text), json_string_length(text)), &ids,
                                  &check_error));
        assert_ids(golden, &ids, kind, index);
        token_list_deinit(&ids);
    }
}

static void test_chosen_texts_give_the_reference_ids(void **state) {
    (void)state;
    check_goldens("cases", 500);
}

static void test_random_texts_give_the_reference_ids(void **state) {
    (void)state;
    check_goldens("fuzz", 300);
}

static void test_texts_with_nul_give_the_reference_ids(void **state) {
    (void)state;
    check_goldens("with_nul", 5);
}

/** The control token whose name `text` begins with (the longest), or -1. */
static int32_t control_at(const char *text) {
    int32_t found = -1;
    for (int32_t id = 0; id < CONTROL_COUNT; id++) {
        struct bytes_view name = tokenizer_name(tokenizer, id);
        if (strncmp(text, (const char *)name.data, name.length) != 0) continue;
        if (found < 0 || name.length > tokenizer_name(tokenizer, found).length) found = id;
    }
    return found;
}

static void test_control_tokens_between_pieces_give_the_reference_ids(void **state) {
    (void)state;
    const json_t *golden;
    size_t index;
    assert_in_range(json_array_size(json_object_get(goldens, "special")), 20, 1000);
    json_array_foreach(json_object_get(goldens, "special"), index, golden) {
        const char *text = json_string_value(json_object_get(golden, "text"));
        struct token_list ids = {.max_count = 100000};
        while (*text != 0) {
            size_t plain = 0;
            while (text[plain] != 0 && control_at(text + plain) < 0) plain++;
            check_ok(tokenizer_encode(tokenizer, bytes_view_of(text, plain), &ids, &check_error));
            text += plain;
            if (*text == 0) break;
            int32_t id = control_at(text);
            check_ok(token_list_append(&ids, id));
            text += tokenizer_name(tokenizer, id).length;
        }
        assert_ids(golden, &ids, "special", index);
        token_list_deinit(&ids);
    }
}

/* ---- control tokens ------------------------------------------------------------------------------------------------ */

static void test_text_never_becomes_a_control_token(void **state) {
    (void)state;
    for (int32_t id = 0; id < CONTROL_COUNT; id++) {
        struct bytes_view name = tokenizer_name(tokenizer, id);
        struct token_list ids = {.max_count = 100};
        check_ok(tokenizer_encode(tokenizer, name, &ids, &check_error));
        assert_in_range(ids.count, 2, 100);
        for (size_t i = 0; i < ids.count; i++) assert_false(tokenizer_is_control(tokenizer, ids.ids[i]));
        token_list_deinit(&ids);
    }
}

static void test_control_tokens_are_found_by_name(void **state) {
    (void)state;
    assert_int_equal(tokenizer_vocabulary(tokenizer), VOCABULARY);
    assert_int_equal(tokenizer_special(tokenizer, "<|endoftext|>"), 0);
    assert_int_equal(tokenizer_special(tokenizer, "<|im_start|>"), 1);
    assert_int_equal(tokenizer_special(tokenizer, "<|im_end|>"), 2);
    assert_int_equal(tokenizer_special(tokenizer, "the"), -1); /* a token, but an ordinary one */
    assert_int_equal(tokenizer_special(tokenizer, "<|im_end|"), -1);
    assert_int_equal(tokenizer_bos(tokenizer), 1);
    assert_int_equal(tokenizer_eos(tokenizer), 2);
}

static void test_only_the_ends_end(void **state) {
    (void)state;
    for (int32_t id = -1; id <= VOCABULARY; id++) assert_int_equal(tokenizer_is_end(tokenizer, id), id == 0 || id == 2);
}

static void test_control_and_foreign_ids_have_no_piece(void **state) {
    (void)state;
    for (int32_t id = 0; id < CONTROL_COUNT; id++) assert_int_equal(tokenizer_piece(tokenizer, id).length, 0);
    assert_int_equal(tokenizer_piece(tokenizer, -1).length, 0);
    assert_int_equal(tokenizer_piece(tokenizer, VOCABULARY).length, 0);
    assert_int_equal(tokenizer_name(tokenizer, VOCABULARY).length, 0);
    assert_false(tokenizer_is_control(tokenizer, VOCABULARY));
}

/* ---- any text ------------------------------------------------------------------------------------------------------ */

/** The 21 bytes that this vocabulary lacks; only invalid UTF-8, six controls and planes 4 to 11 contain them. */
static bool has_token(uint8_t byte) {
    static const uint8_t lacking[] = {0x04, 0x06, 0x13, 0x14, 0x16, 0x1D, 0xC0, 0xC1, 0xF1, 0xF2};
    return byte < 0xF5 && memchr(lacking, byte, sizeof lacking) == NULL;
}

static void assert_round_trip(const uint8_t *text, size_t length, int round) {
    struct token_list ids = {.max_count = 4096};
    size_t at = 0;
    check_ok(tokenizer_encode(tokenizer, bytes_view_of(text, length), &ids, &check_error));
    for (size_t i = 0; i < ids.count; i++) {
        struct bytes_view piece = tokenizer_piece(tokenizer, ids.ids[i]);
        for (size_t j = 0; j < piece.length; j++, at++) {
            while (at < length && !has_token(text[at])) at++;
            if (at >= length || text[at] != piece.data[j]) fail_msg("seed %d, round %d: byte %zu", SEED, round, at);
        }
    }
    while (at < length && !has_token(text[at])) at++;
    if (at != length) fail_msg("seed %d, round %d: %zu of %zu bytes", SEED, round, at, length);
    token_list_deinit(&ids);
}

static void test_random_bytes_come_back(void **state) {
    (void)state;
    for (int round = 0; round < 2000; round++) {
        uint8_t text[400];
        size_t length = random_philox(SEED, (uint64_t)round, 0) % sizeof text;
        for (uint32_t i = 0; i < length; i++) text[i] = (uint8_t)random_philox(SEED, (uint64_t)round, 1 + i);
        assert_round_trip(text, length, round);
    }
}

static void test_texts_of_the_goldens_come_back(void **state) {
    (void)state;
    const json_t *golden;
    size_t index;
    json_array_foreach(json_object_get(goldens, "fuzz"), index, golden) {
        const json_t *text = json_object_get(golden, "text");
        assert_round_trip((const uint8_t *)json_string_value(text), json_string_length(text), (int)index);
    }
}

static void test_full_list_is_resource_exhausted_and_unchanged(void **state) {
    (void)state;
    struct token_list ids = {.max_count = 5};
    struct error err = {0};
    check_ok(tokenizer_encode(tokenizer, bytes_view_string("one two"), &ids, &check_error));
    assert_int_equal(ids.count, 2);
    assert_int_equal(tokenizer_encode(tokenizer, bytes_view_string(" three four five six"), &ids, &err),
                     STATUS_OUT_OF_RANGE);
    assert_int_equal(ids.count, 2);
    assert_non_null(strstr(err.message, "into 5 tokens"));
    check_ok(tokenizer_encode(tokenizer, bytes_view_string(" three four five"), &ids, &check_error));
    assert_int_equal(ids.count, 5);
    token_list_deinit(&ids);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chosen_texts_give_the_reference_ids),
        cmocka_unit_test(test_random_texts_give_the_reference_ids),
        cmocka_unit_test(test_texts_with_nul_give_the_reference_ids),
        cmocka_unit_test(test_control_tokens_between_pieces_give_the_reference_ids),
        cmocka_unit_test(test_text_never_becomes_a_control_token),
        cmocka_unit_test(test_control_tokens_are_found_by_name),
        cmocka_unit_test(test_only_the_ends_end),
        cmocka_unit_test(test_control_and_foreign_ids_have_no_piece),
        cmocka_unit_test(test_random_bytes_come_back),
        cmocka_unit_test(test_texts_of_the_goldens_come_back),
        cmocka_unit_test(test_full_list_is_resource_exhausted_and_unchanged),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
