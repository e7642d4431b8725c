/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Vocabularies made by hand: what loads, and what is refused with which words. */
#include "engine/tokenizer/tokenizer.h"

#include "base/random.h"
#include "engine/weights/gguf.h"
#include "tests/support/gguf_builder.h"
#include "tests/unit/engine/check.h"

static const char *const merges[] = {"h e", "l l", "he ll", "hell o", "Ġ hello"};
enum { HE = 256, LL, HELL, HELLO, BLANK_HELLO, END_OF_TEXT, IM_START, IM_END, COUNT };

static enum status load(struct gguf_builder *builder, struct tokenizer **out, struct error *err) {
    struct gguf *gguf = NULL;
    size_t length;
    uint8_t *file = gguf_builder_finish(builder, &length);
    check_ok(gguf_open_memory(file, length, "hand.gguf", &gguf, &check_error));
    enum status status = tokenizer_load_gguf(gguf, out, err);
    gguf_close(gguf);
    free(file);
    return status;
}

static struct tokenizer *good_tokenizer(void) {
    struct gguf_builder builder;
    struct tokenizer *tokenizer = NULL;
    gguf_builder_init(&builder);
    gguf_builder_tokenizer(&builder, merges, sizeof merges / sizeof merges[0]);
    check_ok(load(&builder, &tokenizer, &check_error));
    return tokenizer;
}

static void assert_encodes(const struct tokenizer *tokenizer, const char *text, const int32_t *want, size_t count) {
    struct token_list ids = {.max_count = 100};
    check_ok(tokenizer_encode(tokenizer, bytes_view_string(text), &ids, &check_error));
    assert_int_equal(ids.count, count);
    if (count > 0) assert_memory_equal(ids.ids, want, count * sizeof *want);
    token_list_deinit(&ids);
}

static void test_vocabulary_made_by_hand_encodes(void **state) {
    (void)state;
    struct tokenizer *tokenizer = good_tokenizer();
    assert_int_equal(tokenizer_vocabulary(tokenizer), COUNT);
    assert_encodes(tokenizer, "hello hello", (int32_t[]){HELLO, BLANK_HELLO}, 2);
    assert_encodes(tokenizer, "hell", (int32_t[]){HELL}, 1);
    assert_encodes(tokenizer, "helhe", (int32_t[]){HE, 'l', HE}, 3); /* ids 0 to 255 are the bytes */
    assert_true(bytes_view_equal_string(tokenizer_piece(tokenizer, BLANK_HELLO), " hello"));
    assert_true(bytes_view_equal_string(tokenizer_name(tokenizer, BLANK_HELLO), "Ġhello"));
    assert_int_equal(tokenizer_special(tokenizer, "<|im_end|>"), IM_END);
    assert_true(tokenizer_is_end(tokenizer, IM_END));
    assert_true(tokenizer_is_end(tokenizer, END_OF_TEXT));
    assert_false(tokenizer_is_end(tokenizer, IM_START));
    assert_int_equal(tokenizer_bos(tokenizer), IM_START);
    tokenizer_destroy(tokenizer);
}

static void test_complete_vocabulary_gives_any_bytes_back(void **state) {
    (void)state;
    struct tokenizer *tokenizer = good_tokenizer();
    for (uint64_t round = 0; round < 500; round++) {
        uint8_t text[300], back[300];
        size_t length = random_philox(3, round, 0) % sizeof text, at = 0;
        struct token_list ids = {.max_count = sizeof text};
        for (uint32_t i = 0; i < length; i++) text[i] = (uint8_t)random_philox(3, round, 1 + i);
        check_ok(tokenizer_encode(tokenizer, bytes_view_of(text, length), &ids, &check_error));
        for (size_t i = 0; i < ids.count; i++) {
            struct bytes_view piece = tokenizer_piece(tokenizer, ids.ids[i]);
            assert_in_range(at + piece.length, 0, length);
            memcpy(back + at, piece.data, piece.length);
            at += piece.length;
        }
        assert_int_equal(at, length);
        assert_memory_equal(back, text, length);
        token_list_deinit(&ids);
    }
    tokenizer_destroy(tokenizer);
}

/* ---- vocabularies with one thing changed --------------------------------------------------------------------------- */

/** A vocabulary in parts, for changing one of them. */
struct parts {
    const char *model, *pre;
    const char *names[300];
    int32_t types[300];
    size_t name_count, type_count;
    const char *merges[4];
    size_t merge_count;
};

static struct parts good_parts(void) {
    static char byte_names[256][5];
    struct parts parts = {.model = "gpt2", .pre = "smollm", .merges = {"a b", "ab c"}, .merge_count = 2};
    struct tokenizer *tokenizer = good_tokenizer(); /* for the names of the bytes */
    for (int i = 0; i < 256; i++) {
        struct bytes_view name = tokenizer_name(tokenizer, i);
        memcpy(byte_names[i], name.data, name.length);
        byte_names[i][name.length] = 0;
        parts.names[i] = byte_names[i];
    }
    tokenizer_destroy(tokenizer);
    parts.names[256] = "ab";
    parts.names[257] = "abc";
    parts.names[258] = "<|end|>";
    parts.name_count = parts.type_count = 259;
    for (size_t i = 0; i < 259; i++) parts.types[i] = i == 258 ? 3 : 1;
    return parts;
}

static void build(const struct parts *parts, struct gguf_builder *builder) {
    gguf_builder_init(builder);
    if (parts->model != NULL) gguf_builder_string(builder, "tokenizer.ggml.model", parts->model);
    if (parts->pre != NULL) gguf_builder_string(builder, "tokenizer.ggml.pre", parts->pre);
    if (parts->name_count > 0) gguf_builder_strings(builder, "tokenizer.ggml.tokens", parts->names, parts->name_count);
    if (parts->type_count > 0) gguf_builder_i32s(builder, "tokenizer.ggml.token_type", parts->types, parts->type_count);
    if (parts->merge_count > 0)
        gguf_builder_strings(builder, "tokenizer.ggml.merges", parts->merges, parts->merge_count);
}

static void assert_refused(struct gguf_builder *builder, enum status want, const char *word) {
    struct tokenizer *tokenizer = NULL;
    check_fails(load(builder, &tokenizer, &check_error), want, word);
    assert_null(tokenizer);
}

static void assert_parts_refused(const struct parts *parts, enum status want, const char *word) {
    struct gguf_builder builder;
    build(parts, &builder);
    assert_refused(&builder, want, word);
}

static struct tokenizer *load_parts(const struct parts *parts) {
    struct gguf_builder builder;
    struct tokenizer *tokenizer = NULL;
    build(parts, &builder);
    check_ok(load(&builder, &tokenizer, &check_error));
    return tokenizer;
}

static void test_other_tokenizers_are_unimplemented_and_named(void **state) {
    (void)state;
    struct parts parts = good_parts();
    parts.model = "bert";
    assert_parts_refused(&parts, STATUS_UNIMPLEMENTED, "'bert'");
    parts.model = "gpt2";
    parts.pre = "kimi-k2";
    assert_parts_refused(&parts, STATUS_UNIMPLEMENTED, "'kimi-k2'");
    parts.model = NULL;
    assert_parts_refused(&parts, STATUS_INVALID_ARGUMENT, "no tokenizer");
}

static void test_missing_lists_are_refused(void **state) {
    (void)state;
    struct parts parts = good_parts();
    parts.merge_count = 0;
    assert_parts_refused(&parts, STATUS_INVALID_ARGUMENT, "tokenizer.ggml.merges");
    parts = good_parts();
    parts.name_count = 0;
    assert_parts_refused(&parts, STATUS_INVALID_ARGUMENT, "tokenizer.ggml.tokens");
    parts = good_parts();
    parts.name_count = 127;
    assert_parts_refused(&parts, STATUS_INVALID_ARGUMENT, "tokenizer.ggml.tokens");
}

static void test_types_may_be_absent_but_not_wrong(void **state) {
    (void)state;
    struct parts parts = good_parts();
    parts.type_count = 0;
    tokenizer_destroy(load_parts(&parts));
    parts.type_count = parts.name_count - 1;
    assert_parts_refused(&parts, STATUS_INVALID_ARGUMENT, "token_type");
    static const int32_t bad[] = {-1, 7, 259};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        parts = good_parts();
        parts.types[200] = bad[i];
        assert_parts_refused(&parts, STATUS_INVALID_ARGUMENT, "token 200");
    }
}

static void test_lists_of_another_kind_are_refused(void **state) {
    (void)state;
    struct parts parts = good_parts();
    struct gguf_builder builder;
    parts.type_count = 0;
    build(&parts, &builder);
    gguf_builder_string(&builder, "tokenizer.ggml.token_type", "all normal");
    assert_refused(&builder, STATUS_INVALID_ARGUMENT, "token_type");
    build(&parts, &builder);
    gguf_builder_strings(&builder, "tokenizer.ggml.token_type", parts.names, parts.name_count);
    assert_refused(&builder, STATUS_INVALID_ARGUMENT, "token_type");
    parts.merge_count = 0;
    build(&parts, &builder);
    gguf_builder_i32s(&builder, "tokenizer.ggml.merges", parts.types, 10);
    assert_refused(&builder, STATUS_INVALID_ARGUMENT, "merges");
    parts.name_count = 0;
    build(&parts, &builder);
    gguf_builder_i32s(&builder, "tokenizer.ggml.tokens", parts.types, 259);
    assert_refused(&builder, STATUS_INVALID_ARGUMENT, "tokens");
}

static void test_merges_of_unknown_pieces_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"a xyz", "xyz a", "a a", "ab", "", " ", "a ", "<|end|> a"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct parts parts = good_parts();
        parts.merges[1] = bad[i];
        assert_parts_refused(&parts, STATUS_INVALID_ARGUMENT, "merge 1");
    }
}

static void test_printable_byte_without_token_is_refused(void **state) {
    (void)state;
    struct parts parts = good_parts();
    parts.names['a'] = "something else";
    assert_parts_refused(&parts, STATUS_INVALID_ARGUMENT, "0x61");
}

static void test_other_byte_without_token_vanishes(void **state) {
    (void)state;
    struct parts parts = good_parts();
    parts.names[4] = "something else";
    struct tokenizer *tokenizer = load_parts(&parts);
    assert_encodes(tokenizer,
                   "a\x04"
                   "b\x04",
                   (int32_t[]){'a', 'b'}, 2);
    tokenizer_destroy(tokenizer);
}

static void test_ids_beyond_the_vocabulary_are_refused(void **state) {
    (void)state;
    static const char *const keys[] = {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                                       "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct parts parts = good_parts();
        struct gguf_builder builder;
        build(&parts, &builder);
        gguf_builder_u32(&builder, keys[i], 259);
        assert_refused(&builder, STATUS_INVALID_ARGUMENT, keys[i]);
        build(&parts, &builder);
        gguf_builder_string(&builder, keys[i], "258");
        assert_refused(&builder, STATUS_INVALID_ARGUMENT, keys[i]);
    }
}

static void test_end_ids_of_the_file_end(void **state) {
    (void)state;
    struct parts parts = good_parts();
    struct gguf_builder builder;
    struct tokenizer *tokenizer = NULL;
    build(&parts, &builder);
    gguf_builder_u32(&builder, "tokenizer.ggml.eot_token_id", 256);
    gguf_builder_u32(&builder, "tokenizer.ggml.eom_token_id", 257);
    check_ok(load(&builder, &tokenizer, &check_error));
    assert_true(tokenizer_is_end(tokenizer, 256));
    assert_true(tokenizer_is_end(tokenizer, 257));
    assert_true(tokenizer_is_end(tokenizer, 258)); /* <|end|> by its name */
    assert_false(tokenizer_is_end(tokenizer, 255));
    assert_int_equal(tokenizer_eos(tokenizer), -1);
    tokenizer_destroy(tokenizer);
}

static void test_user_defined_tokens_are_taken_whole_longest_first(void **state) {
    (void)state;
    struct parts parts = good_parts();
    parts.names[259] = "<t>";
    parts.names[260] = "<t>ab";
    parts.names[261] = "Ġx"; /* as it stands: no disguise */
    parts.name_count = parts.type_count = 262;
    parts.types[259] = parts.types[260] = parts.types[261] = 4;
    struct tokenizer *tokenizer = load_parts(&parts);
    assert_encodes(tokenizer, "abc<t>abc<t><t", (int32_t[]){257, 260, 'c', 259, '<', 't'}, 6);
    assert_encodes(tokenizer, " xĠx", (int32_t[]){' ', 'x', 261}, 3);
    assert_true(bytes_view_equal_string(tokenizer_piece(tokenizer, 261), "Ġx"));
    assert_false(tokenizer_is_control(tokenizer, 259));
    tokenizer_destroy(tokenizer);
}

static void test_name_that_is_no_disguise_is_text_as_it_stands(void **state) {
    (void)state;
    struct parts parts = good_parts();
    parts.names[259] = "two words";
    parts.types[259] = 1;
    parts.name_count = parts.type_count = 260;
    struct tokenizer *tokenizer = load_parts(&parts);
    assert_true(bytes_view_equal_string(tokenizer_piece(tokenizer, 259), "two words"));
    tokenizer_destroy(tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vocabulary_made_by_hand_encodes),
        cmocka_unit_test(test_complete_vocabulary_gives_any_bytes_back),
        cmocka_unit_test(test_other_tokenizers_are_unimplemented_and_named),
        cmocka_unit_test(test_missing_lists_are_refused),
        cmocka_unit_test(test_types_may_be_absent_but_not_wrong),
        cmocka_unit_test(test_lists_of_another_kind_are_refused),
        cmocka_unit_test(test_merges_of_unknown_pieces_are_refused),
        cmocka_unit_test(test_printable_byte_without_token_is_refused),
        cmocka_unit_test(test_other_byte_without_token_vanishes),
        cmocka_unit_test(test_ids_beyond_the_vocabulary_are_refused),
        cmocka_unit_test(test_end_ids_of_the_file_end),
        cmocka_unit_test(test_user_defined_tokens_are_taken_whole_longest_first),
        cmocka_unit_test(test_name_that_is_no_disguise_is_text_as_it_stands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
