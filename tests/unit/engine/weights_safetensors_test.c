/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/weights/safetensors.h"

#include "base/limits.h"
#include "tests/support/check.h"
#include "tests/support/safetensors_builder.h"

static const float eight[8] = {1, 2, 3, 4, 5, 6, 7, 8};

static void good(struct safetensors_builder *builder) {
    safetensors_builder_init(builder);
    safetensors_builder_tensor(builder, "b", "F32", 2, (int64_t[]){2, 3}, eight, 24);
    safetensors_builder_tensor(builder, "a", "BF16", 1, (int64_t[]){4}, eight, 8);
    safetensors_builder_tensor(builder, "none", "F32", 2, (int64_t[]){0, 3}, eight, 0);
    safetensors_builder_tensor(builder, "one", "F16", 0, NULL, eight, 2);
    safetensors_builder_tensor(builder, "half", "F4", 1, (int64_t[]){4}, eight, 2);
}

static void test_good_file_gives_its_tensors(void **state) {
    (void)state;
    struct safetensors_builder builder;
    struct safetensors *file = NULL;
    size_t length;
    good(&builder);
    uint8_t *bytes = safetensors_builder_finish(&builder, &length);
    check_ok(safetensors_open_memory(bytes, length, "hand", &file, &check_error));
    assert_int_equal(safetensors_tensor_count(file), 5);
    const struct safetensors_tensor *b = safetensors_tensor(file, bytes_view_string("b"));
    assert_non_null(b);
    assert_int_equal(b->dimension_count, 2);
    assert_int_equal(b->dimensions[0], 2);
    assert_int_equal(b->dimensions[1], 3);
    assert_true(b->known && b->type == TENSOR_F32);
    assert_memory_equal(b->data, eight, 24);
    const struct safetensors_tensor *half = safetensors_tensor(file, bytes_view_string("half"));
    assert_false(half->known);
    assert_string_equal(half->dtype, "F4");
    assert_int_equal(safetensors_tensor(file, bytes_view_string("one"))->dimension_count, 0);
    assert_null(safetensors_tensor(file, bytes_view_string("c")));
    assert_null(safetensors_tensor(file, bytes_view_string("__metadata__")));
    safetensors_close(file);
    free(bytes);
}

/** A header of this text, and `data_bytes` zeros behind it. */
static void refused(const char *header, size_t data_bytes, enum status status, const char *word) {
    size_t length = strlen(header);
    uint64_t claimed = length;
    uint8_t *bytes = calloc(1, 8 + length + data_bytes);
    struct safetensors *file = NULL;
    memcpy(bytes, &claimed, 8);
    memcpy(bytes + 8, header, length);
    check_fails(safetensors_open_memory(bytes, 8 + length + data_bytes, "hand.safetensors", &file, &check_error),
                status, word);
    assert_null(file);
    free(bytes);
}

static void test_bad_tensors_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *word;
    } cases[] = {
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", 12, "'w' ends 4 bytes after the file"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", 20, "4 bytes behind the last tensor"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,16]}}", 16, "'w' has a size"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,0]}}", 16, "'w' has no data_offsets"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0]}}", 16, "'w' has no data_offsets"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[-16,0]}}", 16, "'w' has no data_offsets"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
         "'w' has an impossible shape"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0, "'w' has a size"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "more than 8"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,6]}}", 6, "impossible shape"},
        {"{\"w\":{\"dtype\":\"Q4\",\"shape\":[4],\"data_offsets\":[0,16]}}", 16, "'w' has no dtype"},
        {"{\"w\":{\"shape\":[4],\"data_offsets\":[0,16]}}", 16, "'w' has no dtype"},
        {"{\"w\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1, "'w' has a size"},
        {"{\"w\":7}", 0, "'w' is not described"},
        {"{\"\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "name of 0 bytes"},
        {"{\"w\\u0000\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "holds a NUL"},
        {"{\"v\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
         12, "'w' overlaps"},
        {"{\"v\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[12,20]}}",
         20, "'w' leaves a hole"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         8, "'w' stands twice"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[[[4]]],\"data_offsets\":[0,16]}}", 16, "nested too deeply"},
        {"{\"w\":", 0, "the header is not JSON"},
        {"[]", 0, "its header is no JSON object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refused(cases[i].header, cases[i].data, STATUS_INVALID_ARGUMENT, cases[i].word);
}

static void test_lengths_of_the_header_are_refused(void **state) {
    (void)state;
    struct safetensors *file = NULL;
    uint8_t bytes[64] = {0};
    static const struct {
        uint64_t claimed;
        const char *word;
    } cases[] = {{57, "ends inside its header"},
                 {LIMIT_SAFETENSORS_HEADER_BYTES, "ends inside its header"},
                 {LIMIT_SAFETENSORS_HEADER_BYTES + 1, "claims a header of 100000001 bytes"},
                 {UINT64_MAX, "claims a header"},
                 {0, "no JSON object"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memcpy(bytes, &cases[i].claimed, 8);
        check_fails(safetensors_open_memory(bytes, sizeof bytes, "hand", &file, &check_error), STATUS_INVALID_ARGUMENT,
                    cases[i].word);
    }
    check_fails(safetensors_open_memory(bytes, 7, "hand", &file, &check_error), STATUS_INVALID_ARGUMENT,
                "not a safetensors file");
}

static void test_every_cut_of_a_good_file_is_refused(void **state) {
    (void)state;
    struct safetensors_builder builder;
    struct safetensors *file = NULL;
    size_t length;
    good(&builder);
    uint8_t *bytes = safetensors_builder_finish(&builder, &length);
    for (size_t cut = 0; cut < length; cut++) {
        uint8_t *part = malloc(cut + 1);
        memcpy(part, bytes, cut);
        assert_int_equal(safetensors_open_memory(part, cut, "hand", &file, NULL), STATUS_INVALID_ARGUMENT);
        free(part);
    }
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_file_gives_its_tensors),
        cmocka_unit_test(test_bad_tensors_are_refused_by_name),
        cmocka_unit_test(test_lengths_of_the_header_are_refused),
        cmocka_unit_test(test_every_cut_of_a_good_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
