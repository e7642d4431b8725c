/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Every form, type and rule of options.proto, also those that no public message uses: transcode_forms.proto. */
#include "tests/unit/rpc/transcode_fixture.h"

#include "proto/descriptors.h"
#include "transcode_forms.pb-c.h"

static struct fixture fixture;
static const ProtobufCMessageDescriptor *const everything = &bora__test__everything__descriptor;

static struct bytes_view descriptor_set(void) {
    return bytes_view_of(proto_descriptors, proto_descriptors_length);
}

static int open_transcoder(void **state) {
    (void)state;
    fixture_open(&fixture, descriptor_set(), &everything, 1);
    return 0;
}
static int close_transcoder(void **state) {
    (void)state;
    fixture_close(&fixture);
    return 0;
}

/* What stands in every answer: the scalars without presence, and the fields marked always. */
#define ZEROS "\"i32\":0,\"i64\":0,\"u32\":0,\"u64\":0,\"f32\":0,\"f64\":0,\"flag\":false,\"text\":\"\""

static void test_an_empty_message_shows_what_is_always_there(void **state) {
    (void)state;
    fixture_expect_written(&fixture, everything, "{}", false,
                           "{" ZEROS ",\"maybe\":null,\"list_always\":[],\"list_null\":null,\"inner_always\":null}");
}

struct written {
    const char *json, *expected; /* the part between maybe and the rest */
};

static const struct written values[] = {
    {"\"word\":\"b\",\"maybe\":-9223372036854775808", "\"word\":\"b\",\"maybe\":-9223372036854775808"},
    {"\"word\":null,\"maybe\":0", "\"maybe\":0"},
    {"\"maybe\":1,\"floats\":[0.1,1,-3.4028235e38,1e-45,16777216]",
     "\"maybe\":1,\"floats\":[0.1,1,-3.4028235e+38,1.4013e-45,16777216]"},
    {"\"maybe\":1,\"flags\":[true,false]", "\"maybe\":1,\"flags\":[true,false]"},
    {"\"maybe\":1,\"texts\":[\"\",\"abc\"]", "\"maybe\":1,\"texts\":[\"\",\"abc\"]"},
    {"\"maybe\":1,\"labels\":{\"\\u00e9\\n\":\"x\",\"\":\"y\"}", "\"maybe\":1,\"labels\":{\"é\\n\":\"x\",\"\":\"y\"}"},
    {"\"maybe\":1,\"inners\":{\"-9223372036854775808\":{\"name\":\"n\"},\"0\":{\"name\":\"\"}}",
     "\"maybe\":1,\"inners\":{\"-9223372036854775808\":{\"name\":\"n\"},\"0\":{\"name\":\"\"}}"},
    {"\"maybe\":1,\"shape\":{\"radius\":1}", "\"maybe\":1,\"shape\":{\"kind\":\"circle\",\"radius\":1}"},
    {"\"maybe\":1,\"shape\":{\"side\":1,\"kind\":\"square\"}",
     "\"maybe\":1,\"shape\":{\"kind\":\"square\",\"side\":1}"},
    {"\"maybe\":1,\"anything\":\"t\"", "\"maybe\":1,\"anything\":\"t\""},
    {"\"maybe\":1,\"anything\":-1.25", "\"maybe\":1,\"anything\":-1.25"},
    {"\"maybe\":1,\"anything\":false", "\"maybe\":1,\"anything\":false"},
    {"\"maybe\":1,\"anything\":[1,2]", "\"maybe\":1,\"anything\":[1,2]"},
    {"\"maybe\":1,\"anything\":{\"name\":\"n\"}", "\"maybe\":1,\"anything\":{\"name\":\"n\"}"},
    {"\"maybe\":1,\"row\":[]", "\"maybe\":1,\"row\":[]"},
    {"\"maybe\":1,\"class\":\"c\"", "\"maybe\":1,\"class\":\"c\""},
    {"\"maybe\":1,\"any\":null", "\"maybe\":1,\"any\":null"},
    {"\"maybe\":1,\"any\": \"a b\"", "\"maybe\":1,\"any\":\"a b\""},
    {"\"maybe\":1,\"object\": { \"z\" : 1.0 , \"a\":\"\\u0000\" }",
     "\"maybe\":1,\"object\":{\"z\":1.0,\"a\":\"\\u0000\"}"},
    {"\"maybe\":1,\"array\":[ 1 , \" \\\" \" ]", "\"maybe\":1,\"array\":[1,\" \\\" \"]"},
    {"\"maybe\":1,\"left\":\"l\"", "\"maybe\":1,\"left\":\"l\""},
    {"\"maybe\":1,\"right\":{\"name\":\"\"}", "\"maybe\":1,\"right\":{\"name\":\"\"}"},
};

static void test_values_come_back(void **state) {
    (void)state;
    char json[1000], expected[1000];
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        snprintf(json, sizeof json, "{%s}", values[i].json);
        snprintf(expected, sizeof expected,
                 "{" ZEROS ",%s,\"list_always\":[],\"list_null\":null,\"inner_always\":null}", values[i].expected);
        fixture_expect_written(&fixture, everything, json, false, expected);
    }
}

static void test_extreme_scalars_come_back(void **state) {
    (void)state;
    fixture_expect_written(&fixture, everything,
                           "{\"i32\":-2147483648,\"i64\":1000000000000,\"u32\":4294967295,\"u64\":18446744073709551615,"
                           "\"f32\":3.3,\"f64\":0.6000000000000001,\"flag\":true,"
                           "\"text\":\"abcdef\",\"list_always\":[{\"name\":\"a\"}],\"list_null\":[{\"name\":\"b\"}],"
                           "\"inner_always\":{\"name\":\"c\"}}",
                           true,
                           "{\"i32\":-2147483648,\"i64\":1000000000000,\"u32\":4294967295,\"u64\":18446744073709551615,"
                           "\"f32\":3.3,\"f64\":0.6000000000000001,\"flag\":true,"
                           "\"text\":\"abcdef\",\"maybe\":null,\"list_always\":[{\"name\":\"a\"}],\"list_null\":[{"
                           "\"name\":\"b\"}],\"inner_always\":{\"name\":\"c\"}}");
}

static void test_a_line_has_any_other_character(void **state) {
    (void)state;
    fixture_expect_written(&fixture, everything, "{\"lines\":[\"\",\"a\u00a0b \u20ac\U0001f600\u200f\"]}", false,
                           "{" ZEROS ",\"maybe\":null,\"list_always\":[],\"list_null\":null,\"inner_always\":null,"
                           "\"lines\":[\"\",\"a\u00a0b \u20ac\U0001f600\u200f\"]}");
}

static const struct written refusals[] = {
    {"\"i32\":2147483648",
     "/i32: less_than_equal: Input should be less than or equal to 2147483647 | 2147483648 | {\"le\":2147483647}\n"},
    {"\"lines\":[\"a\",\"b\\u001b[2J\"]", "/lines/1: value_error: Value error, should be one line of text without "
                                          "U+001B | \"b\\u001b[2J\" | -\n"},
    {"\"lines\":[\"\\n\",\"\u202ea\"]",
     "/lines/0: value_error: Value error, should be one line of text without U+000A | \"\\n\" | -\n"
     "/lines/1: value_error: Value error, should be one line of text without U+202E | \"\u202ea\" | -\n"},
    {"\"lines\":[\"ééééééé\",\"éééééééé\"]",
     "/lines/1: string_too_long: String should have at most 7 characters | \"éééééééé\" | {\"max_length\":7}\n"},
    {"\"i64\":-6", "/i64: greater_than_equal: Input should be greater than or equal to -5 | -6 | {\"ge\":-5}\n"},
    {"\"i64\":1000000000001", "/i64: less_than_equal: Input should be less than or equal to 1000000000000 | "
                              "1000000000001 | {\"le\":1000000000000}\n"},
    {"\"u32\":-1", "/u32: greater_than_equal: Input should be greater than or equal to 0 | -1 | {\"ge\":0}\n"},
    {"\"u64\":18446744073709551616", "/u64: less_than_equal: Input should be less than or equal to "
                                     "18446744073709551615 | 18446744073709551616 | {\"le\":18446744073709551615}\n"},
    {"\"f32\":1e39", "/f32: finite_number: Input should be a finite number | 1e39 | -\n"},
    {"\"f64\":0.5", "/f64: greater_than: Input should be greater than 0.5 | 0.5 | {\"gt\":0.5}\n"},
    {"\"f64\":2.5", "/f64: less_than_equal: Input should be less than or equal to 2 | 2.5 | {\"le\":2}\n"},
    {"\"text\":\"a\"",
     "/text: string_too_short: String should have at least 2 characters | \"a\" | {\"min_length\":2}\n"},
    {"\"text\":\"abcdefg\"",
     "/text: string_too_long: String should have at most 6 characters | \"abcdefg\" | {\"max_length\":6}\n"},
    {"\"texts\":[]", "/texts: too_short: List should have at least 1 item after validation, not 0 | - | "
                     "{\"field_type\":\"List\",\"min_length\":1,\"actual_length\":0}\n"},
    {"\"texts\":[\"abcd\",null]",
     "/texts/0: string_too_long: String should have at most 3 characters | \"abcd\" | {\"max_length\":3}\n/texts/1: "
     "string_type: Input should be a valid string | null | -\n"},
    {"\"labels\":{\"a\":\"\",\"b\":\"\",\"c\":\"\"}",
     "/labels: too_long: Dictionary should have at most 2 items after validation, not 3 | - | "
     "{\"field_type\":\"Dictionary\",\"max_length\":2,\"actual_length\":3}\n"},
    {"\"labels\":{\"a\":\"abcde\",\"b\":1}",
     "/labels/a: string_too_long: String should have at most 4 characters | \"abcde\" | {\"max_length\":4}\n/labels/b: "
     "string_type: Input should be a valid string | 1 | -\n"},
    {"\"labels\":{\"\\u0000\":\"\"}",
     "/labels/?/[key]: string_unicode: Input should be a string without NUL characters | \"\\u0000\" | -\n"},
    {"\"inners\":{\"7\":{}}", "/inners/7/name: missing: Field required | {} | -\n"},
    {"\"biases\":{\"1\":1.5}",
     "/biases/1: less_than_equal: Input should be less than or equal to 1 | 1.5 | {\"le\":1}\n"},
    {"\"shape\":{\"kind\":\"cube\"}",
     "/shape: union_tag_invalid: Input tag 'cube' found using 'kind' does not match any of the expected tags: "
     "'circle', 'square', 'ring' | {\"kind\":\"cube\"} | "
     "{\"discriminator\":\"'kind'\",\"tag\":\"cube\",\"expected_tags\":\"'circle', 'square', 'ring'\"}\n"},
    {"\"shape\":{}", "/shape/circle/radius: missing: Field required | {} | -\n"},
    {"\"shapes\":[{\"radius\":1},{\"kind\":\"square\",\"radius\":1}]",
     "/shapes/1/square/radius: extra_forbidden: Extra inputs are not permitted | 1 | -\n"},
    {"\"anything\":null", "/anything: string_type: Input should be a valid string | null | -\n/anything: float_type: "
                          "Input should be a valid number | null | -\n"
                          "/anything: bool_type: Input should be a valid boolean | null | -\n/anything: list_type: "
                          "Input should be a valid list | null | -\n"
                          "/anything: model_attributes_type: Input should be a valid dictionary or object to extract "
                          "fields from | null | -\n"},
    {"\"row\":[1,-1,2]", "/row/1: greater_than_equal: Input should be greater than or equal to 0 | -1 | {\"ge\":0}\n"},
    {"\"row\":[1,1,1,1]", "/row: too_long: List should have at most 3 items after validation, not 4 | - | "
                          "{\"field_type\":\"List\",\"max_length\":3,\"actual_length\":4}\n"},
    {"\"renamed\":\"c\"", "/renamed: extra_forbidden: Extra inputs are not permitted | \"c\" | -\n"},
    {"\"long_text\":1", "/long_text: extra_forbidden: Extra inputs are not permitted; send text | 1 | -\n"},
    {"\"secret\":\"c\"", "/secret: extra_forbidden: Extra inputs are not permitted | \"c\" | -\n"},
    {"\"object\":[]", "/object: dict_type: Input should be a valid dictionary | [] | -\n"},
    {"\"array\":{}", "/array: list_type: Input should be a valid list | {} | -\n"},
    {"\"object\":{\"0123456789012345\":1.234}",
     "/object: too_long: JSON text should have at most 24 bytes | - | {\"max_length\":24}\n"},
    {"\"left\":\"l\",\"right\":{\"name\":\"r\"}",
     "/right: value_error: Value error, only one member of this group may be given | {\"name\":\"r\"} | -\n"},
};

static void test_refusals(void **state) {
    (void)state;
    char json[1000];
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        snprintf(json, sizeof json, "{%s}", refusals[i].json);
        fixture_expect_errors(&fixture, everything, json, false, refusals[i].expected);
    }
}

static void test_strict_maximum_words_tags_and_fields(void **state) {
    (void)state;
    fixture_expect_errors(&fixture, everything, "{\"f64\":2,\"word\":\"c\",\"shape\":{\"kind\":\"ring\"},\"openai\":1}",
                          true,
                          "/f64: less_than_equal: Input should be less than or equal to 1.5 | 2 | {\"le\":1.5}\n"
                          "/word: literal_error: Input should be 'a' or 'b' | \"c\" | {\"expected\":\"'a' or 'b'\"}\n"
                          "/shape: union_tag_invalid: Input tag 'ring' found using 'kind' does not match any of the "
                          "expected tags: 'circle', 'square' | {\"kind\":\"ring\"} | "
                          "{\"discriminator\":\"'kind'\",\"tag\":\"ring\",\"expected_tags\":\"'circle', 'square'\"}\n"
                          "/openai: extra_forbidden: Extra inputs are not permitted | 1 | -\n");
    ProtobufCMessage *message = NULL;
    struct bytes_view text =
        bytes_view_string("{\"f64\":2,\"word\":\"c\",\"shape\":{\"kind\":\"ring\",\"radius\":0},\"openai\":1}");
    assert_int_equal(fixture_read(&fixture, everything, text, false, &message), STATUS_OK);
}

/** {"tree":{"children":[{"children":[ ... and the same number of closing brackets. */
static enum status read_tree(int levels, ProtobufCMessage **out) {
    struct bytes json;
    bytes_init(&json, 1 << 16);
    (void)bytes_append_string(&json, "{\"tree\":");
    for (int i = 0; i < levels; i++) (void)bytes_append_string(&json, "{\"children\":[");
    (void)bytes_append_string(&json, "{\"leaf\":\"x\"}");
    for (int i = 0; i < levels; i++) (void)bytes_append_string(&json, "]}");
    (void)bytes_append_byte(&json, '}');
    enum status status = fixture_read(&fixture, everything, bytes_view(&json), false, out);
    bytes_deinit(&json);
    return status;
}

static void test_paths_longer_than_kept_are_cut(void **state) {
    (void)state;
    ProtobufCMessage *message = NULL;
    assert_int_equal(read_tree(31, &message),
                     STATUS_INVALID_ARGUMENT); /* the body, 31 times two, the leaf's object: 64 */
    assert_string_equal(fixture.errors.items[0].type, "int_type");
    assert_int_equal(fixture.errors.items[0].path_length, TRANSCODE_PATH_MAX);
    assert_int_equal(read_tree(32, &message), STATUS_INVALID_ARGUMENT);
    assert_string_equal(fixture.errors.items[0].type, "json_invalid");
}

/** Pseudo-random JSON: often a known name, sometimes a fitting value. */
static void make_noise(struct bytes *out, uint64_t *seed, int depth) {
    static const char *const names[] = {"i32",      "f64",      "word",      "texts",    "labels", "inners",
                                        "shape",    "anything", "row",       "any",      "object", "array",
                                        "left",     "right",    "kind",      "radius",   "name",   "tree",
                                        "children", "leaf",     "list_null", "nobody's", "\\u00e9"};
    static const char *const scalars[] = {"0",          "-1",
                                          "3.5",        "1e400",
                                          "true",       "null",
                                          "\"circle\"", "\"\\ud83d\\ude00\"",
                                          "\"\"",       "12345678901234567890123"};
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    uint32_t dice = (uint32_t)(*seed >> 33);
    if (depth == 0 || dice % 3 == 0) {
        (void)bytes_append_string(out, scalars[dice / 3 % 10]);
        return;
    }
    bool object = dice % 3 == 1;
    (void)bytes_append_byte(out, object ? '{' : '[');
    for (uint32_t i = 0; i < dice / 16 % 6; i++) {
        if (i > 0) (void)bytes_append_byte(out, ',');
        *seed = *seed * UINT64_C(6364136223846793005) + 99;
        if (object) (void)bytes_printf(out, "\"%s\":", names[(*seed >> 33) % (sizeof names / sizeof names[0])]);
        make_noise(out, seed, depth - 1);
    }
    (void)bytes_append_byte(out, object ? '}' : ']');
}

static void test_noise_is_read_or_refused_and_what_is_read_comes_back(void **state) {
    (void)state;
    uint64_t seed = 20251123;
    int read = 0;
    struct bytes json, again;
    bytes_init(&json, 1 << 20);
    bytes_init(&again, 1 << 20);
    for (int round = 0; round < 20000; round++) {
        bytes_reset(&json);
        (void)bytes_append_string(&json, "{\"anything\":");
        make_noise(&json, &seed, 4);
        (void)bytes_append_string(&json, ",\"any\":");
        make_noise(&json, &seed, 4);
        (void)bytes_append_byte(&json, '}');
        ProtobufCMessage *message = NULL;
        enum status status = fixture_read(&fixture, everything, bytes_view(&json), false, &message);
        assert_true(status == STATUS_OK ? fixture.errors.count == 0
                                        : status == STATUS_INVALID_ARGUMENT && fixture.errors.count > 0);
        if (status != STATUS_OK) continue;
        read++;
        bytes_reset(&again);
        (void)bytes_append_string(&again, fixture_write(&fixture, message));
        /* `maybe` and `inner_always` are written as null, which they do not take: what is absent stays absent */
        const char *from = strstr((const char *)again.data, "\"anything\""), *to = strstr(from, ",\"list_always\"");
        char *second = NULL;
        assert_true(asprintf(&second, "{%.*s}", (int)(to - from), from) > 0);
        if (fixture_read(&fixture, everything, bytes_view_string(second), false, &message) != STATUS_OK)
            fail_msg("%s\n%s", second, fixture_errors(&fixture));
        assert_string_equal(fixture_write(&fixture, message), (const char *)again.data);
        free(second);
    }
    assert_true(read > 1000); /* else the noise tests nothing */
    bytes_deinit(&json);
    bytes_deinit(&again);
}

static void expect_not_created(struct bytes_view descriptors, const ProtobufCMessageDescriptor *message,
                               const char *sentence) {
    struct transcoder *transcoder = NULL;
    struct error err = {0};
    assert_int_equal(transcoder_create(descriptors, &message, 1, &transcoder, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, sentence);
    assert_null(transcoder);
}

static void test_messages_that_have_no_json_are_refused_at_start(void **state) {
    (void)state;
    struct bytes_view set = descriptor_set();
    expect_not_created(set, &bora__test__bad_bytes__descriptor,
                       "transcoder: bora.test.BadBytes.data has no JSON form here (bytes, enum or proto2)");
    expect_not_created(set, &bora__test__bad_union__descriptor,
                       "transcoder: two members of bora.test.BadUnion take the same JSON type");
    expect_not_created(set, &bora__test__bad_list__descriptor,
                       "transcoder: the fields of bora.test.BadList do not fit its JSON form 3");
    expect_not_created(set, &bora__test__bad_tagged__descriptor,
                       "transcoder: the fields of bora.test.BadTagged do not fit its JSON form 1");
    expect_not_created(set, &bora__test__bad_recursion__descriptor,
                       "transcoder: the JSON value of bora.test.BadRecursion contains itself");
    expect_not_created((struct bytes_view){0}, everything,
                       "transcoder: the descriptor set has no message bora.test.Everything");
    expect_not_created(bytes_view_of(set.data, set.length - 1), everything,
                       "transcoder: the descriptor set is malformed");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_message_shows_what_is_always_there),
        cmocka_unit_test(test_values_come_back),
        cmocka_unit_test(test_a_line_has_any_other_character),
        cmocka_unit_test(test_extreme_scalars_come_back),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_strict_maximum_words_tags_and_fields),
        cmocka_unit_test(test_paths_longer_than_kept_are_cut),
        cmocka_unit_test(test_noise_is_read_or_refused_and_what_is_read_comes_back),
        cmocka_unit_test(test_messages_that_have_no_json_are_refused_at_start),
    };
    return cmocka_run_group_tests(tests, open_transcoder, close_transcoder);
}
