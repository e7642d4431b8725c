/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Rows of CSV from messages, with the message of transcode_forms.proto that has a field of every kind. */
#include "rpc/csv.h"

#include "proto/descriptors.h"
#include "tests/unit/rpc/transcode_fixture.h"
#include "transcode_forms.pb-c.h"

static struct fixture fixture;
static const ProtobufCMessageDescriptor *const everything = &bora__test__everything__descriptor;

static int open_transcoder(void **state) {
    (void)state;
    fixture_open(&fixture, bytes_view_of(proto_descriptors, proto_descriptors_length), &everything, 1);
    return 0;
}
static int close_transcoder(void **state) {
    (void)state;
    fixture_close(&fixture);
    return 0;
}

static const char *row_of(const char *json) {
    ProtobufCMessage *message = NULL;
    enum status status = fixture_read(&fixture, everything, bytes_view_string(json), false, &message);
    if (status != STATUS_OK) fail_msg("%s\n%s", json, fixture_errors(&fixture));
    bytes_reset(&fixture.text);
    assert_int_equal(csv_write_row(fixture.transcoder, message, &fixture.text), STATUS_OK);
    return (const char *)fixture.text.data;
}

static void test_names_are_those_of_json_without_what_is_hidden_or_has_parts(void **state) {
    (void)state;
    bytes_reset(&fixture.text);
    assert_int_equal(csv_write_names(fixture.transcoder, everything, &fixture.text), STATUS_OK);
    assert_string_equal((const char *)fixture.text.data,
                        "i32,i64,u32,u64,f32,f64,flag,text,word,maybe,class,any,object,array,left,openai\r\n");
}

static void test_absent_cells_are_empty_and_zeros_are_zeros(void **state) {
    (void)state;
    assert_string_equal(row_of("{}"), "0,0,0,0,0,0,false,,,,,,,,,\r\n");
}

static void test_doubles_have_no_exponents(void **state) {
    (void)state;
    Bora__Test__Everything message = BORA__TEST__EVERYTHING__INIT;
    message.f64 = 1.2e-8;
    bytes_reset(&fixture.text);
    assert_int_equal(csv_write_row(fixture.transcoder, &message.base, &fixture.text), STATUS_OK);
    assert_string_equal((const char *)fixture.text.data, "0,0,0,0,0,0.000000012,false,,,,,,,,,\r\n");
}

static void test_numbers_are_written_as_in_json(void **state) {
    (void)state;
    assert_string_equal(
        row_of("{\"i32\":-5,\"i64\":-1,\"u64\":18446744073709551615,\"f32\":0.1,\"f64\":1.25,\"flag\":true,"
               "\"maybe\":-9007199254740993}"),
        "-5,-1,0,18446744073709551615,0.1,1.25,true,,,-9007199254740993,,,,,,\r\n");
}

struct cell {
    const char *json, *expected;
};

static void test_texts_are_quoted_and_formulas_are_disarmed(void **state) {
    (void)state;
    static const struct cell cells[] = {
        {"plain", "plain"},
        {"two words", "two words"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"a,b", "\"a,b\""},
        {"say \\\"a\\\" or \\\"b\\\"", "\"say \"\"a\"\" or \"\"b\"\"\""},
        {"line\\nend", "\"line\nend\""},
        {"line\\rend", "\"line\rend\""},
        {" blank", "\" blank\""},
        {"blank ", "\"blank \""},
        {"=1+1", "'=1+1"},
        {"+1", "'+1"},
        {"-1", "'-1"},
        {"@sum", "'@sum"},
        {"\\tx", "'\tx"},
        {"\\r=1", "\"'\r=1\""},
        {"=HYPERLINK(\\\"http://x\\\",\\\"y\\\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""},
        {"a=b", "a=b"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        char json[128], expected[128];
        snprintf(json, sizeof json, "{\"class\":\"%s\"}", cells[i].json);
        snprintf(expected, sizeof expected, "0,0,0,0,0,0,false,,,,%s,,,,,\r\n", cells[i].expected);
        assert_string_equal(row_of(json), expected);
    }
}

static void test_the_maximum_of_the_buffer_holds(void **state) {
    (void)state;
    ProtobufCMessage *message = NULL;
    assert_int_equal(fixture_read(&fixture, everything, bytes_view_string("{}"), false, &message), STATUS_OK);
    struct bytes small;
    bytes_init(&small, 10);
    assert_int_equal(csv_write_row(fixture.transcoder, message, &small), STATUS_RESOURCE_EXHAUSTED);
    assert_true(small.length <= 10);
    bytes_deinit(&small);
}

static void test_a_message_that_the_transcoder_does_not_know_is_internal(void **state) {
    (void)state;
    static const ProtobufCMessageDescriptor unknown = {.name = "bora.test.Unknown"};
    bytes_reset(&fixture.text);
    assert_int_equal(csv_write_names(fixture.transcoder, &unknown, &fixture.text), STATUS_INTERNAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_those_of_json_without_what_is_hidden_or_has_parts),
        cmocka_unit_test(test_absent_cells_are_empty_and_zeros_are_zeros),
        cmocka_unit_test(test_numbers_are_written_as_in_json),
        cmocka_unit_test(test_doubles_have_no_exponents),
        cmocka_unit_test(test_texts_are_quoted_and_formulas_are_disarmed),
        cmocka_unit_test(test_the_maximum_of_the_buffer_holds),
        cmocka_unit_test(test_a_message_that_the_transcoder_does_not_know_is_internal),
    };
    return cmocka_run_group_tests(tests, open_transcoder, close_transcoder);
}
