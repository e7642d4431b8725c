/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/weights/gguf.h"

#include "base/limits.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/test_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { F32 = 0, Q4_1 = 3, TYPE_BOOL = 7, TYPE_STRING = 8, TYPE_ARRAY = 9, TYPE_UNKNOWN = 200 };

/* ---- helpers ------------------------------------------------------------------------------------------------------- */

static const float eight[8] = {1, 2, 3, 4, 5, 6, 7, 8};

/** A small good file: every kind of entry and three tensors. */
static void good_file(struct gguf_builder *builder) {
    static const uint8_t blocks[2 * 20] = {0};
    gguf_builder_init(builder);
    gguf_builder_string(builder, "general.architecture", "llama");
    gguf_builder_u32(builder, "llama.block_count", 30);
    gguf_builder_i32(builder, "minus", -5);
    gguf_builder_f32(builder, "eps", 0.5f);
    gguf_builder_bool(builder, "yes", 1);
    gguf_builder_strings(builder, "names", (const char *[]){"a", "", "ccc"}, 3);
    gguf_builder_i32s(builder, "numbers", (int32_t[]){7, -8, 9}, 3);
    gguf_builder_tensor(builder, "norm", F32, 1, (int64_t[]){8}, eight, sizeof eight);
    gguf_builder_tensor(builder, "matrix", F32, 2, (int64_t[]){4, 2}, eight, sizeof eight);
    gguf_builder_tensor(builder, "blocks", Q4_1, 2, (int64_t[]){32, 2}, blocks, sizeof blocks);
}

/** Open what the builder made; the file and the GGUF are freed by close_built. */
static uint8_t *built;
static enum status open_built(struct gguf_builder *builder, struct gguf **out, struct error *err) {
    size_t length;
    built = gguf_builder_finish(builder, &length);
    return gguf_open_memory(built, length, "hand.gguf", out, err);
}
static void close_built(struct gguf *gguf) {
    gguf_close(gguf);
    free(built);
    built = NULL;
}

/** The file is refused with `want`, in one line that names the file and holds `word`. */
static void assert_refused(struct gguf_builder *builder, enum status want, const char *word) {
    struct gguf *gguf = NULL;
    struct error err = {0};
    assert_int_equal(open_built(builder, &gguf, &err), want);
    assert_null(gguf);
    if (strstr(err.message, word) == NULL || strstr(err.message, "hand.gguf") == NULL)
        fail_msg("'%s' lacks '%s'", err.message, word);
    assert_null(strchr(err.message, '\n'));
    close_built(NULL);
}

static void assert_accepted(struct gguf_builder *builder) {
    struct gguf *gguf = NULL;
    struct error err = {0};
    if (open_built(builder, &gguf, &err) != STATUS_OK) fail_msg("%s", err.message);
    close_built(gguf);
}

/* ---- good files ---------------------------------------------------------------------------------------------------- */

static void test_good_file_gives_its_scalars(void **state) {
    (void)state;
    struct gguf_builder builder;
    struct gguf *gguf = NULL;
    uint64_t number;
    double real;
    bool yes = false;
    struct bytes_view text;
    good_file(&builder);
    assert_int_equal(open_built(&builder, &gguf, NULL), STATUS_OK);
    assert_true(gguf_has(gguf, "eps"));
    assert_false(gguf_has(gguf, "ep"));
    assert_true(gguf_u64(gguf, "llama.block_count", &number));
    assert_int_equal(number, 30);
    assert_true(gguf_f64(gguf, "eps", &real) && real == 0.5);
    assert_true(gguf_f64(gguf, "minus", &real) && real == -5);
    assert_true(gguf_bool(gguf, "yes", &yes) && yes);
    assert_true(gguf_string(gguf, "general.architecture", &text) && bytes_view_equal_string(text, "llama"));
    assert_string_equal(gguf_path(gguf), "hand.gguf");
    close_built(gguf);
}

static void test_value_of_another_kind_is_absent(void **state) {
    (void)state;
    struct gguf_builder builder;
    struct gguf *gguf = NULL;
    uint64_t number;
    double real;
    bool yes;
    struct bytes_view text;
    struct gguf_array array;
    good_file(&builder);
    assert_int_equal(open_built(&builder, &gguf, NULL), STATUS_OK);
    assert_false(gguf_u64(gguf, "minus", &number));
    assert_false(gguf_u64(gguf, "eps", &number));
    assert_false(gguf_u64(gguf, "yes", &number));
    assert_false(gguf_u64(gguf, "general.architecture", &number));
    assert_false(gguf_f64(gguf, "names", &real));
    assert_false(gguf_f64(gguf, "general.architecture", &real));
    assert_false(gguf_bool(gguf, "llama.block_count", &yes));
    assert_false(gguf_string(gguf, "names", &text));
    assert_false(gguf_array(gguf, "eps", &array));
    assert_false(gguf_u64(gguf, "absent", &number));
    close_built(gguf);
}

static void test_integers_of_every_width_convert(void **state) {
    (void)state;
    static const struct {
        uint32_t type;
        uint8_t bytes[8];
        size_t length;
        uint64_t want;
    } cases[] = {
        {0, {200}, 1, 200},
        {1, {100}, 1, 100},
        {2, {0, 200}, 2, 51200},
        {3, {0, 100}, 2, 25600},
        {4, {0, 0, 0, 200}, 4, 3355443200},
        {5, {0, 0, 0, 100}, 4, 1677721600},
        {10, {1, 0, 0, 0, 0, 0, 0, 200}, 8, (UINT64_C(200) << 56) + 1},
        {11, {1, 0, 0, 0, 0, 0, 0, 100}, 8, (UINT64_C(100) << 56) + 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gguf_builder builder;
        struct gguf *gguf = NULL;
        uint64_t value = 0;
        gguf_builder_init(&builder);
        gguf_builder_raw(&builder, "k", cases[i].type, cases[i].bytes, cases[i].length);
        assert_int_equal(open_built(&builder, &gguf, NULL), STATUS_OK);
        assert_true(gguf_u64(gguf, "k", &value));
        assert_int_equal(value, cases[i].want);
        close_built(gguf);
    }
}

static void test_good_file_gives_its_arrays(void **state) {
    (void)state;
    struct gguf_builder builder;
    struct gguf *gguf = NULL;
    struct gguf_array names, numbers;
    good_file(&builder);
    assert_int_equal(open_built(&builder, &gguf, NULL), STATUS_OK);
    assert_true(gguf_array(gguf, "names", &names));
    assert_int_equal(names.count, 3);
    assert_true(bytes_view_equal_string(gguf_array_string(&names, 0), "a"));
    assert_true(bytes_view_equal_string(gguf_array_string(&names, 1), ""));
    assert_true(bytes_view_equal_string(gguf_array_string(&names, 2), "ccc"));
    assert_true(gguf_array(gguf, "numbers", &numbers));
    assert_int_equal(gguf_array_i64(&numbers, 1), -8);
    assert_true(gguf_array_f64(&numbers, 2) == 9);
    close_built(gguf);
}

static void test_good_file_gives_its_tensors(void **state) {
    (void)state;
    struct gguf_builder builder;
    struct gguf *gguf = NULL;
    struct tensor_view view;
    struct error err = {0};
    good_file(&builder);
    assert_int_equal(open_built(&builder, &gguf, NULL), STATUS_OK);
    assert_int_equal(gguf_tensor_count(gguf), 3);
    assert_true(bytes_view_equal_string(gguf_tensor_at(gguf, 1)->name, "matrix"));
    assert_null(gguf_tensor(gguf, "matri"));
    assert_memory_equal(gguf_tensor(gguf, "norm")->data, eight, sizeof eight);
    assert_int_equal(gguf_tensor(gguf, "blocks")->bytes, 40);
    assert_int_equal(gguf_matrix(gguf, "matrix", 2, 4, &view, &err), STATUS_OK);
    assert_int_equal(view.rows, 2);
    assert_memory_equal(view.data, eight, sizeof eight);
    assert_int_equal(gguf_matrix(gguf, "norm", 0, 8, &view, &err), STATUS_OK);
    assert_int_equal(gguf_matrix(gguf, "absent", 2, 4, &view, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, "absent"));
    close_built(gguf);
}

static void test_matrix_of_another_shape_says_both(void **state) {
    (void)state;
    struct gguf_builder builder;
    struct gguf *gguf = NULL;
    struct tensor_view view;
    struct error err = {0};
    good_file(&builder);
    assert_int_equal(open_built(&builder, &gguf, NULL), STATUS_OK);
    assert_int_equal(gguf_matrix(gguf, "matrix", 4, 2, &view, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "2 x 4"));
    assert_non_null(strstr(err.message, "4 x 2"));
    assert_int_equal(gguf_matrix(gguf, "matrix", 0, 4, &view, &err), STATUS_INVALID_ARGUMENT);
    close_built(gguf);
}

static void test_tensor_of_unknown_type_is_listed_but_no_matrix(void **state) {
    (void)state;
    struct gguf_builder builder;
    struct gguf *gguf = NULL;
    struct tensor_view view;
    struct error err = {0};
    gguf_builder_init(&builder);
    gguf_builder_tensor(&builder, "odd", TYPE_UNKNOWN, 1, (int64_t[]){8}, eight, sizeof eight);
    assert_int_equal(open_built(&builder, &gguf, NULL), STATUS_OK);
    assert_int_equal(gguf_tensor(gguf, "odd")->type, TYPE_UNKNOWN);
    assert_int_equal(gguf_matrix(gguf, "odd", 0, 8, &view, &err), STATUS_UNIMPLEMENTED);
    assert_non_null(strstr(err.message, "200"));
    close_built(gguf);
}

static void test_version_2_is_read(void **state) {
    (void)state;
    struct gguf_builder builder;
    good_file(&builder);
    builder.version = 2;
    assert_accepted(&builder);
}

static void test_empty_file_of_no_entries_is_read(void **state) {
    (void)state;
    struct gguf_builder builder;
    gguf_builder_init(&builder);
    assert_accepted(&builder);
}

static void test_real_model_is_read(void **state) {
    (void)state;
    struct gguf *gguf = NULL;
    struct error err = {0};
    struct tensor_view view;
    struct gguf_array tokens;
    if (gguf_open(test_model_path(), &gguf, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(gguf_tensor_count(gguf), 272);
    assert_int_equal(gguf_matrix(gguf, "token_embd.weight", 49152, 576, &view, &err), STATUS_OK);
    assert_int_equal(view.type, TENSOR_Q8_0);
    assert_int_equal(gguf_matrix(gguf, "blk.29.ffn_down.weight", 576, 1536, &view, &err), STATUS_OK);
    assert_int_equal(view.type, TENSOR_Q4_1);
    assert_int_equal(gguf_file_bytes(gguf), 98362432);
    assert_true(gguf_array(gguf, "tokenizer.ggml.tokens", &tokens));
    assert_int_equal(tokens.count, 49152);
    assert_true(bytes_view_equal_string(gguf_array_string(&tokens, 2), "<|im_end|>"));
    gguf_close(gguf);
}

/* ---- damaged files ------------------------------------------------------------------------------------------------- */

static void test_file_cut_at_any_byte_is_refused(void **state) {
    (void)state;
    struct gguf_builder builder;
    size_t length;
    good_file(&builder);
    uint8_t *file = gguf_builder_finish(&builder, &length);
    for (size_t cut = 0; cut < length; cut++) {
        struct gguf *gguf = NULL;
        struct error err = {0};
        uint8_t *exact = malloc(cut + 1); /* so that a sanitizer sees a read behind the cut */
        memcpy(exact, file, cut);
        exact = realloc(exact, cut > 0 ? cut : 1);
        enum status status = gguf_open_memory(exact, cut, "hand.gguf", &gguf, &err);
        if (status != STATUS_INVALID_ARGUMENT || gguf != NULL || err.message[0] == 0)
            fail_msg("cut at %zu: %s, '%s'", cut, status_name(status), err.message);
        free(exact);
    }
    free(file);
}

static void test_any_changed_byte_never_crashes(void **state) {
    (void)state;
    struct gguf_builder builder;
    size_t length;
    good_file(&builder);
    uint8_t *file = gguf_builder_finish(&builder, &length);
    for (size_t at = 0; at < length; at++) {
        for (int bit = 0; bit < 8; bit++) {
            struct gguf *gguf = NULL;
            struct error err = {0};
            file[at] ^= (uint8_t)(1 << bit);
            if (gguf_open_memory(file, length, "hand.gguf", &gguf, &err) != STATUS_OK) assert_true(err.message[0] != 0);
            gguf_close(gguf);
            file[at] ^= (uint8_t)(1 << bit);
        }
    }
    free(file);
}

static void test_other_magic_is_not_a_gguf(void **state) {
    (void)state;
    struct gguf_builder builder;
    good_file(&builder);
    builder.magic = 0x04034b50; /* a zip archive */
    assert_refused(&builder, STATUS_INVALID_ARGUMENT, "not a GGUF file");
}

static void test_other_versions_are_unimplemented(void **state) {
    (void)state;
    static const struct {
        uint32_t version;
        const char *word;
    } cases[] = {
        {0, "version 0"}, {1, "version 1"}, {4, "version 4"}, {0x03000000, "big-endian"}, {0x02000000, "big-endian"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gguf_builder builder;
        good_file(&builder);
        builder.version = cases[i].version;
        assert_refused(&builder, STATUS_UNIMPLEMENTED, cases[i].word);
    }
}

static void test_counts_beyond_the_file_are_refused(void **state) {
    (void)state;
    static const struct {
        uint64_t tensors, metadata;
    } cases[] = {{UINT64_MAX, 7},
                 {3, UINT64_MAX},
                 {LIMIT_GGUF_TENSORS, 7},
                 {3, LIMIT_GGUF_METADATA},
                 {LIMIT_GGUF_TENSORS + 1, 7},
                 {4, 7},
                 {3, 8}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gguf_builder builder;
        good_file(&builder);
        builder.tensor_count = cases[i].tensors;
        builder.metadata_count = cases[i].metadata;
        assert_refused(&builder, STATUS_INVALID_ARGUMENT, "");
    }
}

static void test_string_longer_than_the_file_is_refused(void **state) {
    (void)state;
    static const uint64_t lengths[] = {6,         1000,       LIMIT_GGUF_STRING_BYTES, LIMIT_GGUF_STRING_BYTES + 1,
                                       INT64_MAX, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct gguf_builder builder;
        uint8_t value[8 + 5] = {0};
        memcpy(value, &lengths[i], 8);
        gguf_builder_init(&builder);
        gguf_builder_raw(&builder, "text", TYPE_STRING, value, sizeof value);
        assert_refused(&builder, STATUS_INVALID_ARGUMENT, "");
    }
}

/** An array entry with any element type and count, over `bytes` zeroed bytes. */
static void raw_array(struct gguf_builder *builder, uint32_t element, uint64_t count, size_t bytes) {
    uint8_t value[12 + 4096] = {0};
    memcpy(value, &element, 4);
    memcpy(value + 4, &count, 8);
    gguf_builder_init(builder);
    gguf_builder_raw(builder, "list", TYPE_ARRAY, value, 12 + bytes);
}

static void test_array_longer_than_the_file_is_refused(void **state) {
    (void)state;
    static const struct {
        uint32_t element;
        uint64_t count;
    } cases[] = {{0, 4097},       {4, 1025},
                 {10, 513},       {8, 513},
                 {4, UINT64_MAX}, {4, (UINT64_MAX >> 2) + 2},
                 {8, UINT64_MAX}, {0, LIMIT_GGUF_ARRAY_ELEMENTS + 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gguf_builder builder;
        raw_array(&builder, cases[i].element, cases[i].count, 4096);
        assert_refused(&builder, STATUS_INVALID_ARGUMENT, "'list'");
    }
}

static void test_array_that_fills_the_file_is_read(void **state) {
    (void)state;
    struct gguf_builder builder;
    raw_array(&builder, TYPE_STRING, 512, 4096); /* 512 empty strings */
    assert_accepted(&builder);
}

static void test_nested_and_unknown_arrays_are_refused(void **state) {
    (void)state;
    static const uint32_t elements[] = {TYPE_ARRAY, 13, 255, UINT32_MAX};
    for (size_t i = 0; i < sizeof elements / sizeof elements[0]; i++) {
        struct gguf_builder builder;
        raw_array(&builder, elements[i], 1, 64);
        assert_refused(&builder, STATUS_INVALID_ARGUMENT, "nested or unknown");
    }
}

static void test_booleans_are_0_or_1(void **state) {
    (void)state;
    struct gguf_builder builder;
    gguf_builder_init(&builder);
    gguf_builder_bool(&builder, "flag", 2);
    assert_refused(&builder, STATUS_INVALID_ARGUMENT, "boolean of 2");
    static const uint8_t list[] = {TYPE_BOOL, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 255};
    gguf_builder_init(&builder);
    gguf_builder_raw(&builder, "flags", TYPE_ARRAY, list, sizeof list);
    assert_refused(&builder, STATUS_INVALID_ARGUMENT, "boolean of 255");
}

static void test_unknown_metadata_type_is_refused(void **state) {
    (void)state;
    struct gguf_builder builder;
    gguf_builder_init(&builder);
    gguf_builder_raw(&builder, "odd", 13, "12345678", 8);
    assert_refused(&builder, STATUS_INVALID_ARGUMENT, "unknown type 13");
}

static void test_duplicate_metadata_key_is_refused(void **state) {
    (void)state;
    struct gguf_builder builder;
    good_file(&builder);
    gguf_builder_u32(&builder, "eps", 1);
    assert_refused(&builder, STATUS_INVALID_ARGUMENT, "'eps'");
}

static void test_empty_metadata_key_is_refused(void **state) {
    (void)state;
    struct gguf_builder builder;
    gguf_builder_init(&builder);
    gguf_builder_u32(&builder, "", 1);
    assert_refused(&builder, STATUS_INVALID_ARGUMENT, "key");
}

static void test_duplicate_tensor_name_is_refused(void **state) {
    (void)state;
    struct gguf_builder builder;
    good_file(&builder);
    gguf_builder_tensor(&builder, "norm", F32, 1, (int64_t[]){8}, eight, sizeof eight);
    assert_refused(&builder, STATUS_INVALID_ARGUMENT, "'norm' stands there twice");
}

static void test_impossible_dimensions_are_refused(void **state) {
    (void)state;
    static const struct {
        uint32_t count;
        int64_t sizes[5];
    } cases[] = {
        {0, {0}},
        {5, {1, 1, 1, 1, 1}},
        {1, {0}},
        {1, {-1}},
        {2, {8, 0}},
        {2, {INT64_MAX, 2}},
        {4, {1 << 16, 1 << 16, 1 << 16, 1 << 16}},
        {2, {INT64_MIN, 2}},
        {1, {INT64_MAX}}, /* elements fit in 63 bits, bytes do not */
        {2, {INT64_MAX / 2, 2}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gguf_builder builder;
        gguf_builder_init(&builder);
        gguf_builder_tensor(&builder, "huge", F32, cases[i].count, cases[i].sizes, eight, sizeof eight);
        assert_refused(&builder, STATUS_INVALID_ARGUMENT, "'huge'");
    }
}

static void test_rows_that_split_a_block_are_refused(void **state) {
    (void)state;
    struct gguf_builder builder;
    gguf_builder_init(&builder);
    gguf_builder_tensor(&builder, "odd", Q4_1, 2, (int64_t[]){48, 2}, eight, sizeof eight);
    assert_refused(&builder, STATUS_INVALID_ARGUMENT, "multiple of 32");
}

static void test_tensor_behind_the_file_says_by_how_much(void **state) {
    (void)state;
    struct gguf_builder builder;
    gguf_builder_init(&builder);
    gguf_builder_tensor_at(&builder, "far", F32, 1, (int64_t[]){8}, 64);
    gguf_builder_data(&builder, 64 + 28);
    assert_refused(&builder, STATUS_INVALID_ARGUMENT, "'far' ends 4 bytes after the file");
    static const uint64_t offsets[] = {128, UINT64_MAX - 31, INT64_MAX - 31};
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        gguf_builder_init(&builder);
        gguf_builder_tensor_at(&builder, "far", F32, 1, (int64_t[]){8}, offsets[i]);
        gguf_builder_data(&builder, 64);
        assert_refused(&builder, STATUS_INVALID_ARGUMENT, "'far' starts");
    }
}

static void test_misaligned_tensor_is_refused(void **state) {
    (void)state;
    struct gguf_builder builder;
    gguf_builder_init(&builder);
    gguf_builder_tensor_at(&builder, "odd", F32, 1, (int64_t[]){4}, 8);
    gguf_builder_data(&builder, 64);
    assert_refused(&builder, STATUS_INVALID_ARGUMENT, "not aligned to 32");
}

static void test_overlapping_tensors_are_refused(void **state) {
    (void)state;
    struct gguf_builder builder;
    gguf_builder_init(&builder);
    gguf_builder_tensor_at(&builder, "first", F32, 1, (int64_t[]){9}, 0); /* 36 bytes */
    gguf_builder_tensor_at(&builder, "second", F32, 1, (int64_t[]){8}, 32);
    gguf_builder_data(&builder, 64);
    assert_refused(&builder, STATUS_INVALID_ARGUMENT, "'first' and 'second' overlap");
    gguf_builder_init(&builder);
    gguf_builder_tensor_at(&builder, "first", F32, 1, (int64_t[]){8}, 0);
    gguf_builder_tensor_at(&builder, "second", F32, 1, (int64_t[]){8}, 0);
    gguf_builder_data(&builder, 64);
    assert_refused(&builder, STATUS_INVALID_ARGUMENT, "overlap");
}

static void test_neighbouring_tensors_do_not_overlap(void **state) {
    (void)state;
    struct gguf_builder builder;
    gguf_builder_init(&builder);
    gguf_builder_tensor_at(&builder, "second", F32, 1, (int64_t[]){8}, 32);
    gguf_builder_tensor_at(&builder, "first", F32, 1, (int64_t[]){8}, 0);
    gguf_builder_data(&builder, 64);
    assert_accepted(&builder);
}

static void test_tensor_of_unknown_size_may_stand_before_another(void **state) {
    (void)state;
    for (int order = 0; order < 2; order++) {
        struct gguf_builder builder;
        gguf_builder_init(&builder);
        gguf_builder_tensor_at(&builder, "first", order == 0 ? F32 : TYPE_UNKNOWN, 1, (int64_t[]){8}, 0);
        gguf_builder_tensor_at(&builder, "second", order == 0 ? TYPE_UNKNOWN : F32, 1, (int64_t[]){8}, 0);
        gguf_builder_data(&builder, 64);
        assert_accepted(&builder);
    }
}

static void test_alignment_must_be_a_power_of_two(void **state) {
    (void)state;
    static const uint32_t bad[] = {0, 1, 4, 24, 33, UINT32_MAX, 1u << 31};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct gguf_builder builder;
        good_file(&builder);
        gguf_builder_u32(&builder, "general.alignment", bad[i]);
        assert_refused(&builder, STATUS_INVALID_ARGUMENT, "general.alignment");
    }
    struct gguf_builder builder;
    good_file(&builder);
    gguf_builder_string(&builder, "general.alignment", "32");
    assert_refused(&builder, STATUS_INVALID_ARGUMENT, "general.alignment");
}

static void test_other_alignment_moves_the_data(void **state) {
    (void)state;
    struct gguf_builder builder;
    struct gguf *gguf = NULL;
    gguf_builder_init(&builder);
    builder.alignment = 256;
    gguf_builder_u32(&builder, "general.alignment", 256);
    gguf_builder_tensor(&builder, "one", F32, 1, (int64_t[]){1}, eight, 4);
    gguf_builder_tensor(&builder, "norm", F32, 1, (int64_t[]){8}, eight, sizeof eight);
    assert_int_equal(open_built(&builder, &gguf, NULL), STATUS_OK);
    assert_memory_equal(gguf_tensor(gguf, "norm")->data, eight, sizeof eight);
    close_built(gguf);
}

static void test_hostile_names_are_made_printable_and_short(void **state) {
    (void)state;
    struct gguf_builder builder;
    char name[1000];
    memset(name, 'x', sizeof name);
    memcpy(name, "a\n\x1b[31m\xff\xfe", 9);
    name[sizeof name - 1] = 0;
    gguf_builder_init(&builder);
    gguf_builder_tensor(&builder, name, F32, 1, (int64_t[]){0}, eight, sizeof eight);
    assert_refused(&builder, STATUS_INVALID_ARGUMENT, "'a??[31m??xxx");
}

/* ---- the file system ----------------------------------------------------------------------------------------------- */

static void test_missing_file_is_not_found(void **state) {
    (void)state;
    struct gguf *gguf = NULL;
    struct error err = {0};
    assert_int_equal(gguf_open("tests/no-such-model.gguf", &gguf, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, "no-such-model.gguf"));
}

static void test_folder_fifo_and_empty_file_are_not_gguf(void **state) {
    (void)state;
    char folder[] = "/tmp/bora_gguf_test_XXXXXX", path[64];
    struct gguf *gguf = NULL;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(gguf_open(folder, &gguf, NULL), STATUS_INVALID_ARGUMENT);
    snprintf(path, sizeof path, "%s/fifo", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(gguf_open(path, &gguf, NULL), STATUS_INVALID_ARGUMENT); /* and does not wait for a writer */
    unlink(path);
    FILE *empty = fopen(path, "wb");
    assert_non_null(empty);
    fclose(empty);
    assert_int_equal(gguf_open(path, &gguf, NULL), STATUS_INVALID_ARGUMENT);
    unlink(path);
    rmdir(folder);
    assert_null(gguf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_file_gives_its_scalars),
        cmocka_unit_test(test_value_of_another_kind_is_absent),
        cmocka_unit_test(test_integers_of_every_width_convert),
        cmocka_unit_test(test_good_file_gives_its_arrays),
        cmocka_unit_test(test_good_file_gives_its_tensors),
        cmocka_unit_test(test_matrix_of_another_shape_says_both),
        cmocka_unit_test(test_tensor_of_unknown_type_is_listed_but_no_matrix),
        cmocka_unit_test(test_version_2_is_read),
        cmocka_unit_test(test_empty_file_of_no_entries_is_read),
        cmocka_unit_test(test_real_model_is_read),
        cmocka_unit_test(test_file_cut_at_any_byte_is_refused),
        cmocka_unit_test(test_any_changed_byte_never_crashes),
        cmocka_unit_test(test_other_magic_is_not_a_gguf),
        cmocka_unit_test(test_other_versions_are_unimplemented),
        cmocka_unit_test(test_counts_beyond_the_file_are_refused),
        cmocka_unit_test(test_string_longer_than_the_file_is_refused),
        cmocka_unit_test(test_array_longer_than_the_file_is_refused),
        cmocka_unit_test(test_array_that_fills_the_file_is_read),
        cmocka_unit_test(test_nested_and_unknown_arrays_are_refused),
        cmocka_unit_test(test_booleans_are_0_or_1),
        cmocka_unit_test(test_unknown_metadata_type_is_refused),
        cmocka_unit_test(test_duplicate_metadata_key_is_refused),
        cmocka_unit_test(test_empty_metadata_key_is_refused),
        cmocka_unit_test(test_duplicate_tensor_name_is_refused),
        cmocka_unit_test(test_impossible_dimensions_are_refused),
        cmocka_unit_test(test_rows_that_split_a_block_are_refused),
        cmocka_unit_test(test_tensor_behind_the_file_says_by_how_much),
        cmocka_unit_test(test_misaligned_tensor_is_refused),
        cmocka_unit_test(test_overlapping_tensors_are_refused),
        cmocka_unit_test(test_neighbouring_tensors_do_not_overlap),
        cmocka_unit_test(test_tensor_of_unknown_size_may_stand_before_another),
        cmocka_unit_test(test_alignment_must_be_a_power_of_two),
        cmocka_unit_test(test_other_alignment_moves_the_data),
        cmocka_unit_test(test_hostile_names_are_made_printable_and_short),
        cmocka_unit_test(test_missing_file_is_not_found),
        cmocka_unit_test(test_folder_fifo_and_empty_file_are_not_gguf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
