/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The rules over messages that came by gRPC: what JSON refuses, gRPC refuses with the same path. */
#include "tests/unit/rpc/transcode_fixture.h"

#include "bora/v1/chat.pb-c.h"
#include "bora/v1/models.pb-c.h"
#include "proto/descriptors.h"

static struct fixture fixture;

/** A request that is right until a test spoils it. */
struct sample {
    Bora__V1__ChatCompletionRequest request;
    Bora__V1__ChatMessage message, *messages[1];
    Bora__V1__UserMessage user;
    Bora__V1__Content content;
};

static int open_transcoder(void **state) {
    (void)state;
    const ProtobufCMessageDescriptor *const messages[] = {&bora__v1__chat_completion_request__descriptor,
                                                          &bora__v1__get_model_request__descriptor};
    fixture_open(&fixture, bytes_view_of(proto_descriptors, proto_descriptors_length), messages, 2);
    return 0;
}
static int close_transcoder(void **state) {
    (void)state;
    fixture_close(&fixture);
    return 0;
}

static void init_sample(struct sample *sample) {
    sample->content = (Bora__V1__Content)BORA__V1__CONTENT__INIT;
    sample->content.kind_case = BORA__V1__CONTENT__KIND_TEXT;
    sample->content.text = (char *)"hi";
    sample->user = (Bora__V1__UserMessage)BORA__V1__USER_MESSAGE__INIT;
    sample->user.content = &sample->content;
    sample->message = (Bora__V1__ChatMessage)BORA__V1__CHAT_MESSAGE__INIT;
    sample->message.role_case = BORA__V1__CHAT_MESSAGE__ROLE_USER;
    sample->message.user = &sample->user;
    sample->messages[0] = &sample->message;
    sample->request = (Bora__V1__ChatCompletionRequest)BORA__V1__CHAT_COMPLETION_REQUEST__INIT;
    sample->request.model = (char *)"m";
    sample->request.n_messages = 1;
    sample->request.messages = sample->messages;
}

static void expect(const ProtobufCMessage *message, bool strict, const char *expected) {
    arena_reset(&fixture.arena);
    struct transcode_options options = {.strict = strict};
    enum status status = transcode_check(fixture.transcoder, &options, message, &fixture.arena, &fixture.errors);
    assert_string_equal(fixture_errors(&fixture), expected);
    assert_int_equal(status, expected[0] == 0 ? STATUS_OK : STATUS_INVALID_ARGUMENT);
}

static void test_a_plain_request_passes_in_both_dialects(void **state) {
    (void)state;
    struct sample sample;
    init_sample(&sample);
    expect(&sample.request.base, false, "");
    expect(&sample.request.base, true, "");
    sample.user.content = NULL; /* null is allowed for users */
    expect(&sample.request.base, true, "");
}

static void test_what_is_required_must_be_there(void **state) {
    (void)state;
    struct sample sample;
    init_sample(&sample);
    sample.request.model = (char *)"";
    sample.request.n_messages = 0;
    expect(&sample.request.base, false,
           "/model: string_too_short: String should have at least 1 character | \"\" | {\"min_length\":1}\n"
           "/messages: too_short: List should have at least 1 item after validation, not 0 | - | "
           "{\"field_type\":\"List\",\"min_length\":1,\"actual_length\":0}\n");
    init_sample(&sample);
    Bora__V1__SystemMessage system = BORA__V1__SYSTEM_MESSAGE__INIT;
    sample.message.role_case = BORA__V1__CHAT_MESSAGE__ROLE_SYSTEM;
    sample.message.system = &system;
    expect(&sample.request.base, false, "/messages/0/system/content: missing: Field required | - | -\n");
    Bora__V1__Content unset = BORA__V1__CONTENT__INIT;
    system.content = &unset;
    expect(&sample.request.base, false, "/messages/0/system/content: missing: Field required | - | -\n");
    sample.message.role_case = BORA__V1__CHAT_MESSAGE__ROLE__NOT_SET;
    expect(&sample.request.base, false,
           "/messages/0: union_tag_not_found: Unable to extract tag using discriminator 'role' | - | "
           "{\"discriminator\":\"'role'\"}\n");
}

static void test_ranges_words_and_lengths(void **state) {
    (void)state;
    struct sample sample;
    init_sample(&sample);
    Bora__V1__ChatCompletionRequest *request = &sample.request;
    request->_temperature_case = BORA__V1__CHAT_COMPLETION_REQUEST___TEMPERATURE_TEMPERATURE;
    request->temperature = 1.75;
    request->_n_case = BORA__V1__CHAT_COMPLETION_REQUEST___N_N;
    request->n = 129;
    request->_reasoning_effort_case = BORA__V1__CHAT_COMPLETION_REQUEST___REASONING_EFFORT_REASONING_EFFORT;
    request->reasoning_effort = (char *)"huge";
    static const char words[] = "/reasoning_effort: literal_error: Input should be 'none', 'minimal', 'low', 'medium', "
                                "'high' or 'xhigh' | \"huge\" | "
                                "{\"expected\":\"'none', 'minimal', 'low', 'medium', 'high' or 'xhigh'\"}\n";
    static const char more[] = "/reasoning_effort: literal_error: Input should be 'none', 'minimal', 'low', 'medium', "
                               "'high', 'xhigh' or 'max' | \"huge\" | "
                               "{\"expected\":\"'none', 'minimal', 'low', 'medium', 'high', 'xhigh' or 'max'\"}\n";
    static const char n[] = "/n: less_than_equal: Input should be less than or equal to 128 | 129 | {\"le\":128}\n";
    char expected[1000];
    snprintf(expected, sizeof expected, "%s%s", n, more);
    expect(&request->base, false, expected);
    snprintf(expected, sizeof expected,
             "/temperature: less_than_equal: Input should be less than or equal to 1.5 | 1.75 | {\"le\":1.5}\n%s%s", n,
             words);
    expect(&request->base, true, expected);
    request->temperature = 0.0 / 0.0;
    request->n = 1;
    request->reasoning_effort = (char *)"high";
    expect(&request->base, true, "/temperature: finite_number: Input should be a finite number | - | -\n");
}

static void test_maps_and_their_values(void **state) {
    (void)state;
    struct sample sample;
    init_sample(&sample);
    Bora__V1__ChatCompletionRequest__LogitBiasEntry entry = BORA__V1__CHAT_COMPLETION_REQUEST__LOGIT_BIAS_ENTRY__INIT,
                                                    *entries[] = {&entry};
    entry.key = -7;
    entry.value = 101;
    sample.request.n_logit_bias = 1;
    sample.request.logit_bias = entries;
    expect(&sample.request.base, false,
           "/logit_bias/-7: less_than_equal: Input should be less than or equal to 100 | 101 | {\"le\":100}\n");
    expect(&sample.request.base, true, "/logit_bias: extra_forbidden: Extra inputs are not permitted | - | -\n");
}

static void test_strings_must_be_utf8_and_json_texts_json(void **state) {
    (void)state;
    struct sample sample;
    init_sample(&sample);
    sample.content.text = (char *)"\xC3";
    sample.request._metadata_case = BORA__V1__CHAT_COMPLETION_REQUEST___METADATA_METADATA;
    sample.request.metadata = (char *)"{\"a\":1,\"a\":2}";
    expect(&sample.request.base, false,
           "/messages/0/user/content: string_unicode: Input should be a valid string, unable to parse raw data as a "
           "unicode string | - | -\n"
           "/metadata: json_invalid: Invalid JSON: duplicate name | \"{\\\"a\\\":1,\\\"a\\\":2}\" | "
           "{\"error\":\"duplicate name\"}\n");
    sample.content.text = (char *)"x";
    sample.request.metadata = (char *)"[1]";
    expect(&sample.request.base, false, "/metadata: dict_type: Input should be a valid dictionary | [1] | -\n");
    sample.request.metadata = (char *)"{\"a\": 1}";
    expect(&sample.request.base, false, "");
}

static void test_members_of_the_other_dialect_are_refused(void **state) {
    (void)state;
    struct sample sample;
    init_sample(&sample);
    Bora__V1__SystemMessage developer = BORA__V1__SYSTEM_MESSAGE__INIT;
    developer.content = &sample.content;
    sample.message.role_case = BORA__V1__CHAT_MESSAGE__ROLE_DEVELOPER;
    sample.message.developer = &developer;
    sample.request._seed_case = BORA__V1__CHAT_COMPLETION_REQUEST___SEED_SEED;
    expect(&sample.request.base, false, "");
    expect(&sample.request.base, true,
           "/messages/0: union_tag_invalid: Input tag 'developer' found using 'role' does not match any of the "
           "expected tags: 'system', 'user', 'assistant', 'tool' | - | "
           "{\"discriminator\":\"'role'\",\"tag\":\"developer\",\"expected_tags\":\"'system', 'user', 'assistant', "
           "'tool'\"}\n"
           "/seed: extra_forbidden: Extra inputs are not permitted | - | -\n");
}

static void test_unions_and_lists_inside(void **state) {
    (void)state;
    struct sample sample;
    init_sample(&sample);
    char *texts[17];
    for (int i = 0; i < 17; i++) texts[i] = (char *)"s";
    Bora__V1__StringList list = BORA__V1__STRING_LIST__INIT;
    list.n_values = 17;
    list.values = texts;
    Bora__V1__StopSequences stop = BORA__V1__STOP_SEQUENCES__INIT;
    stop.kind_case = BORA__V1__STOP_SEQUENCES__KIND_MANY;
    stop.many = &list;
    sample.request.stop = &stop;
    expect(&sample.request.base, true,
           "/stop: too_long: List should have at most 16 items after validation, not 17 | - | "
           "{\"field_type\":\"List\",\"max_length\":16,\"actual_length\":17}\n");
    Bora__V1__ToolChoice choice = BORA__V1__TOOL_CHOICE__INIT;
    choice.kind_case = BORA__V1__TOOL_CHOICE__KIND_MODE;
    choice.mode = (char *)"maybe";
    sample.request.stop = NULL;
    sample.request.tool_choice = &choice;
    expect(&sample.request.base, true,
           "/tool_choice: literal_error: Input should be 'auto', 'none', 'any' or 'required' | \"maybe\" | "
           "{\"expected\":\"'auto', 'none', 'any' or 'required'\"}\n");
}

static void test_a_tools_type_says_what_it_must_have(void **state) {
    (void)state;
    struct sample sample;
    init_sample(&sample);
    Bora__V1__Tool tool = BORA__V1__TOOL__INIT, *tools[] = {&tool};
    Bora__V1__FunctionDefinition function = BORA__V1__FUNCTION_DEFINITION__INIT;
    function.name = (char *)"bad name!";
    sample.request.n_tools = 1;
    sample.request.tools = tools;
    expect(&sample.request.base, true, "/tools/0/function: missing: Field required | - | -\n");
    tool.function = &function;
    expect(&sample.request.base, true,
           "/tools/0/function/name: string_pattern_mismatch: String should match pattern '^[a-zA-Z0-9_-]*$' | \"bad "
           "name!\" | {\"pattern\":\"^[a-zA-Z0-9_-]*$\"}\n");
    function.name = (char *)"good_Name-1";
    expect(&sample.request.base, true, "");
    tool._type_case = BORA__V1__TOOL___TYPE_TYPE;
    tool.type = (char *)"custom";
    expect(&sample.request.base, false, "/tools/0/custom: missing: Field required | - | -\n");
    tool.type = (char *)"web_search";
    tool.function = NULL;
    expect(&sample.request.base, true, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_plain_request_passes_in_both_dialects),
        cmocka_unit_test(test_what_is_required_must_be_there),
        cmocka_unit_test(test_ranges_words_and_lengths),
        cmocka_unit_test(test_maps_and_their_values),
        cmocka_unit_test(test_strings_must_be_utf8_and_json_texts_json),
        cmocka_unit_test(test_members_of_the_other_dialect_are_refused),
        cmocka_unit_test(test_unions_and_lists_inside),
        cmocka_unit_test(test_a_tools_type_says_what_it_must_have),
    };
    return cmocka_run_group_tests(tests, open_transcoder, close_transcoder);
}
