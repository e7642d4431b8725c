/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The public chat messages as JSON: what is taken, what is refused and with which sentence, in both dialects. */
#include "tests/unit/rpc/transcode_fixture.h"

#include "bora/v1/chat.pb-c.h"
#include "bora/v1/error.pb-c.h"
#include "bora/v1/keys.pb-c.h"
#include "bora/v1/models.pb-c.h"
#include "proto/descriptors.h"

static struct fixture fixture;

static const ProtobufCMessageDescriptor *const request_type = &bora__v1__chat_completion_request__descriptor;

static int open_transcoder(void **state) {
    (void)state;
    const ProtobufCMessageDescriptor *const messages[] = {
        &bora__v1__chat_completion_request__descriptor,
        &bora__v1__chat_completion_response__descriptor,
        &bora__v1__chat_completion_chunk__descriptor,
        &bora__v1__validation_errors__descriptor,
        &bora__v1__api_error__descriptor,
        &bora__v1__model_list__descriptor,
        &bora__v1__create_key_request__descriptor,
        &bora__v1__list_keys_response__descriptor,
    };
    fixture_open(&fixture, bytes_view_of(proto_descriptors, proto_descriptors_length), messages,
                 sizeof messages / sizeof messages[0]);
    return 0;
}
static int close_transcoder(void **state) {
    (void)state;
    fixture_close(&fixture);
    return 0;
}

/** A request with one user message and these members besides. */
#define WITH(members) "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]," members "}"
/** A request with exactly these messages. */
#define MESSAGES(messages) "{\"model\":\"m\",\"messages\":[" messages "]}"

static void test_requests_come_back_as_they_were(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
        MESSAGES("{\"role\":\"system\",\"content\":\"be "
                 "brief\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\"}]}"),
        MESSAGES("{\"role\":\"assistant\",\"content\":\"x\",\"prefix\":true}"),
        MESSAGES("{\"role\":\"tool\",\"content\":\"42\",\"tool_call_id\":\"abcdefghi\",\"name\":\"f\"}"),
        MESSAGES("{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":\"https://x/y.png\"},"
                 "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:,\",\"detail\":\"low\"}}]}"),
        MESSAGES("{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":"
                 "\"f\",\"arguments\":\"{}\"}},"
                 "{\"function\":{\"name\":\"g\",\"arguments\":{\"z\":1,\"a\":[1.50,{}]}}}]}"),
        MESSAGES("{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\","
                 "\"text\":\"hm\"}],\"closed\":true},{\"type\":\"text\",\"text\":\"x\"}]}"),
        WITH("\"temperature\":0.7,\"top_p\":1,\"max_tokens\":0,\"stream\":false,\"stop\":\"end\",\"random_seed\":"
             "9223372036854775807"),
        WITH("\"stop\":[\"a\",\"b\"],\"presence_penalty\":-2,\"frequency_penalty\":2,\"n\":16"),
        WITH("\"stop\":[]"),
        WITH("\"metadata\":{\"b\":1e400,\"a\":{\"deep\":[null,true]}}"),
        WITH("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"schema\":{\"type\":"
             "\"object\",\"z\":1,\"a\":2},\"strict\":true}}"),
        WITH("\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\",\"strict\":false,"
             "\"parameters\":{}}}],\"tool_choice\":\"any\""),
        WITH("\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}"),
        WITH("\"prediction\":{\"type\":\"content\",\"content\":\"x\"},\"reasoning_effort\":\"high\",\"prompt_mode\":"
             "\"reasoning\",\"safe_prompt\":true"),
        WITH("\"guardrails\":[{\"block_on_error\":false}]"),
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        fixture_expect_written(&fixture, request_type, texts[i], false, texts[i]);
        fixture_expect_written(&fixture, request_type, texts[i], true, texts[i]); /* all of it is Mistral's */
    }
}

static void test_openai_members_come_back_in_the_default_dialect(void **state) {
    (void)state;
    static const char *const texts[] = {
        WITH("\"max_completion_tokens\":5,\"stream_options\":{\"include_usage\":true},\"seed\":-3"),
        WITH("\"logit_bias\":{\"5\":-100,\"7\":0.5},\"logprobs\":true,\"top_logprobs\":20"),
        WITH("\"user\":\"u\",\"store\":false,\"service_tier\":\"flex\",\"functions\":[{\"name\":\"f\"}],\"function_"
             "call\":\"auto\""),
        WITH("\"temperature\":2,\"modalities\":[\"text\"],\"verbosity\":\"low\",\"web_search_options\":{}"),
        WITH("\"top_k\":-1,\"min_p\":0.05,\"typical_p\":1,\"repetition_penalty\":10,\"best_of\":16"),
        WITH("\"top_p\":0,\"n\":128,\"service_tier\":\"fast\",\"reasoning_effort\":\"max\",\"prompt_cache_options\":{"
             "\"mode\":\"explicit\",\"ttl\":\"30m\"}"),
        WITH("\"min_tokens\":1,\"prompt_logprobs\":true,\"top_prompt_logprobs\":3,\"moderation\":{\"model\":\"m\"}"),
        WITH("\"tools\":[{\"type\":\"custom\",\"custom\":{\"name\":\"f\",\"format\":{\"type\":\"text\"}}}],\"tool_"
             "choice\":{"
             "\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"auto\",\"tools\":[{\"type\":\"function\"}]}}"),
        MESSAGES("{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\",\"type\":\"custom\",\"custom\":{\"name\":\"f\","
                 "\"input\":\"x\"}}]},{\"role\":\"function\",\"content\":\"42\",\"name\":\"f\"}"),
        MESSAGES(
            "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\",\"prompt_cache_breakpoint\":{\"mode\":"
            "\"explicit\",\"ttl\":\"12h\"}},{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:,\",\"detail\":"
            "\"original\"}},{\"type\":\"resource_link\",\"uri\":\"u\"}]}"),
        WITH("\"use_beam_search\":true,\"length_penalty\":-0.5,\"early_stopping\":false"),
        MESSAGES("{\"role\":\"developer\",\"content\":\"x\",\"name\":\"n\"}"),
        MESSAGES("{\"role\":\"assistant\",\"content\":[{\"type\":\"refusal\",\"refusal\":\"no\"}],\"refusal\":\"no\"}"),
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        fixture_expect_written(&fixture, request_type, texts[i], false, texts[i]);
}

static void test_null_means_absent_where_allowed(void **state) {
    (void)state;
    fixture_expect_written(&fixture, request_type,
                           "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":null}],\"temperature\":null,"
                           "\"stop\":null,\"tools\":null,\"logit_bias\":null,"
                           "\"response_format\":null,\"metadata\":null}",
                           false, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\"}]}");
}

static void test_whole_numbers_may_be_written_as_fractions(void **state) {
    (void)state;
    fixture_expect_written(&fixture, request_type, WITH("\"max_tokens\":3.0,\"seed\":-1e3,\"n\":1E0"), false,
                           WITH("\"max_tokens\":3,\"seed\":-1000,\"n\":1"));
}

static void test_text_keeps_every_character_but_nul(void **state) {
    (void)state;
    fixture_expect_written(
        &fixture, request_type,
        MESSAGES("{\"role\":\"user\",\"content\":\"\\u00e9\\ud83d\\ude00\\u0001\\n\\\"\\\\\\/ <|im_end|> \\u2028\"}"),
        true, MESSAGES("{\"role\":\"user\",\"content\":\"é😀\\u0001\\n\\\"\\\\/ <|im_end|> \xE2\x80\xA8\"}"));
    fixture_expect_errors(&fixture, request_type, MESSAGES("{\"role\":\"user\",\"content\":\"a\\u0000b\"}"), true,
                          "/messages/0/user/content: string_unicode: Input should be a string without NUL characters | "
                          "\"a\\u0000b\" | -\n");
}

struct refusal {
    const char *json, *errors;
};

static const struct refusal refusals[] = {
    {"", ": missing: Field required | - | -\n"},
    {"[]", ": model_attributes_type: Input should be a valid dictionary or object to extract fields from | [] | -\n"},
    {"{}", "/model: missing: Field required | {} | -\n/messages: missing: Field required | {} | -\n"},
    /* names nobody documents, everywhere a name can stand */
    {WITH("\"foo\": 1"), "/foo: extra_forbidden: Extra inputs are not permitted | 1 | -\n"},
    {MESSAGES("{\"role\":\"user\",\"content\":\"x\",\"foo\":[1, 2]}"),
     "/messages/0/user/foo: extra_forbidden: Extra inputs are not permitted | [1,2] | -\n"},
    {MESSAGES("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\",\"foo\":{}}]}"),
     "/messages/0/user/content/0/text/foo: extra_forbidden: Extra inputs are not permitted | {} | -\n"},
    {WITH("\"tools\":[{\"function\":{\"name\":\"f\",\"foo\":null}}]"),
     "/tools/0/function/foo: extra_forbidden: Extra inputs are not permitted | null | -\n"},
    /* types */
    {WITH("\"temperature\":\"0.5\""), "/temperature: float_type: Input should be a valid number | \"0.5\" | -\n"},
    {WITH("\"temperature\":true"), "/temperature: float_type: Input should be a valid number | true | -\n"},
    {WITH("\"max_tokens\":\"5\""), "/max_tokens: int_type: Input should be a valid integer | \"5\" | -\n"},
    {WITH("\"max_tokens\":false"), "/max_tokens: int_type: Input should be a valid integer | false | -\n"},
    {WITH("\"max_tokens\":3.5"),
     "/max_tokens: int_from_float: Input should be a valid integer, got a number with a fractional part | 3.5 | -\n"},
    {WITH("\"stream\":1"), "/stream: bool_type: Input should be a valid boolean | 1 | -\n"},
    {WITH("\"safe_prompt\":null"), "/safe_prompt: bool_type: Input should be a valid boolean | null | -\n"},
    {WITH("\"metadata\":[]"), "/metadata: dict_type: Input should be a valid dictionary | [] | -\n"},
    {WITH("\"tools\":{}"), "/tools: list_type: Input should be a valid list | {} | -\n"},
    {WITH("\"tools\":[3]"),
     "/tools/0: model_attributes_type: Input should be a valid dictionary or object to extract fields from | 3 | -\n"},
    {WITH("\"logit_bias\":[]"), "/logit_bias: dict_type: Input should be a valid dictionary | [] | -\n"},
    {WITH("\"response_format\":\"text\""), "/response_format: model_attributes_type: Input should be a valid "
                                           "dictionary or object to extract fields from | \"text\" | -\n"},
    {"{\"model\":null,\"messages\":3}", "/model: string_type: Input should be a valid string | null | -\n/messages: "
                                        "list_type: Input should be a valid list | 3 | -\n"},
    {WITH("\"stop\":3"), "/stop: string_type: Input should be a valid string | 3 | -\n/stop: list_type: Input should "
                         "be a valid list | 3 | -\n"},
    {WITH("\"stop\":[\"a\",1]"), "/stop/1: string_type: Input should be a valid string | 1 | -\n"},
    {WITH("\"tool_choice\":[]"), "/tool_choice: literal_error: Input should be 'auto', 'none', 'any' or 'required' | "
                                 "[] | {\"expected\":\"'auto', 'none', 'any' or 'required'\"}\n"
                                 "/tool_choice: model_attributes_type: Input should be a valid dictionary or object to "
                                 "extract fields from | [] | -\n"},
    {MESSAGES("{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":1}}]}"),
     "/messages/0/assistant/tool_calls/0/function/arguments: string_type: Input should be a valid string | 1 | -\n"
     "/messages/0/assistant/tool_calls/0/function/arguments: dict_type: Input should be a valid dictionary | 1 | -\n"},
    {MESSAGES("{\"role\":\"system\",\"content\":null}"),
     "/messages/0/system/content: string_type: Input should be a valid string | null | -\n/messages/0/system/content: "
     "list_type: Input should be a valid list | null | -\n"},
    /* ranges */
    {WITH("\"temperature\":2.5"),
     "/temperature: less_than_equal: Input should be less than or equal to 2 | 2.5 | {\"le\":2}\n"},
    {WITH("\"temperature\":-0.1"),
     "/temperature: greater_than_equal: Input should be greater than or equal to 0 | -0.1 | {\"ge\":0}\n"},
    {WITH("\"temperature\":1e400"), "/temperature: finite_number: Input should be a finite number | - | -\n"},
    {WITH("\"top_p\":-0.1"),
     "/top_p: greater_than_equal: Input should be greater than or equal to 0 | -0.1 | {\"ge\":0}\n"},
    {WITH("\"n\":0"), "/n: greater_than_equal: Input should be greater than or equal to 1 | 0 | {\"ge\":1}\n"},
    {WITH("\"n\":129"), "/n: less_than_equal: Input should be less than or equal to 128 | 129 | {\"le\":128}\n"},
    {WITH("\"random_seed\":-1"),
     "/random_seed: greater_than_equal: Input should be greater than or equal to 0 | -1 | {\"ge\":0}\n"},
    {WITH("\"random_seed\":9223372036854775808"),
     "/random_seed: less_than_equal: Input should be less than or equal to 9223372036854775807 | 9223372036854775808 | "
     "{\"le\":9223372036854775807}\n"},
    {WITH("\"seed\":-9223372036854775809"),
     "/seed: greater_than_equal: Input should be greater than or equal to -9223372036854775808 | -9223372036854775809 "
     "| {\"ge\":-9223372036854775808}\n"},
    {WITH("\"seed\":1e400"), "/seed: less_than_equal: Input should be less than or equal to 9223372036854775807 | "
                             "1e400 | {\"le\":9223372036854775807}\n"},
    {WITH("\"seed\":123456789012345678901234567890123456789012345678901234567890"),
     "/seed: less_than_equal: Input should be less than or equal to 9223372036854775807 | "
     "123456789012345678901234567890123456789012345678901234567890 | "
     "{\"le\":9223372036854775807}\n"},
    {WITH("\"logit_bias\":{\"5\":-101,\"x\":1,\"01\":0,\"-0\":0,\"2147483648\":1}"),
     "/logit_bias/5: greater_than_equal: Input should be greater than or equal to -100 | -101 | {\"ge\":-100}\n"
     "/logit_bias/x/[key]: int_parsing: Input should be a valid integer, unable to parse string as an integer | \"x\" "
     "| -\n"
     "/logit_bias/01/[key]: int_parsing: Input should be a valid integer, unable to parse string as an integer | "
     "\"01\" | -\n"
     "/logit_bias/-0/[key]: int_parsing: Input should be a valid integer, unable to parse string as an integer | "
     "\"-0\" | -\n"
     "/logit_bias/2147483648/[key]: less_than_equal: Input should be less than or equal to 2147483647 | 2147483648 | "
     "{\"le\":2147483647}\n"},
    /* words and lengths */
    {WITH("\"reasoning_effort\":\"huge\""),
     "/reasoning_effort: literal_error: Input should be 'none', 'minimal', 'low', 'medium', 'high', 'xhigh' or 'max' | "
     "\"huge\" | "
     "{\"expected\":\"'none', 'minimal', 'low', 'medium', 'high', 'xhigh' or 'max'\"}\n"},
    {WITH("\"stop\":\"\""),
     "/stop: string_too_short: String should have at least 1 character | \"\" | {\"min_length\":1}\n"},
    {WITH("\"stop\":[\"a\",\"\"]"),
     "/stop/1: string_too_short: String should have at least 1 character | \"\" | {\"min_length\":1}\n"},
    /* functions and tools */
    {WITH("\"tools\":[{}]"), "/tools/0/function: missing: Field required | {} | -\n"},
    {WITH("\"tools\":[{\"type\":\"function\",\"function\":null}]"),
     "/tools/0/function: missing: Field required | {\"type\":\"function\",\"function\":null} | -\n"},
    {WITH("\"tools\":[{\"type\":\"custom\",\"function\":{\"name\":\"f\"}}]"),
     "/tools/0/custom: missing: Field required | {\"type\":\"custom\",\"function\":{\"name\":\"f\"}} | -\n"},
    {WITH("\"tools\":[{\"function\":{\"name\":\"bad name!\"}}],\"tool_choice\":{\"function\":{\"name\":\"\"}}"),
     "/tools/0/function/name: string_pattern_mismatch: String should match pattern '^[a-zA-Z0-9_-]*$' | \"bad name!\" "
     "| "
     "{\"pattern\":\"^[a-zA-Z0-9_-]*$\"}\n"
     "/tool_choice/function/name: string_too_short: String should have at least 1 character | \"\" | "
     "{\"min_length\":1}\n"},
    {WITH("\"tool_choice\":{\"type\":\"allowed_tools\"}"),
     "/tool_choice/allowed_tools: missing: Field required | {\"type\":\"allowed_tools\"} | -\n"},
    {WITH("\"tool_choice\":{}"), "/tool_choice/function: missing: Field required | {} | -\n"},
    {MESSAGES("{\"role\":\"assistant\",\"tool_calls\":[{\"type\":\"custom\"},{\"id\":\"x\"}]}"),
     "/messages/0/assistant/tool_calls/0/custom: missing: Field required | {\"type\":\"custom\"} | -\n"
     "/messages/0/assistant/tool_calls/1/function: missing: Field required | {\"id\":\"x\"} | -\n"},
    {WITH("\"prompt_mode\":1"),
     "/prompt_mode: literal_error: Input should be 'reasoning' | 1 | {\"expected\":\"'reasoning'\"}\n"},
    {WITH("\"modalities\":[\"text\",\"smell\"]"), "/modalities/1: literal_error: Input should be 'text' or 'audio' | "
                                                  "\"smell\" | {\"expected\":\"'text' or 'audio'\"}\n"},
    {WITH("\"modalities\":[\"text\",\"text\",\"text\"]"),
     "/modalities: too_long: List should have at most 2 items after validation, not 3 | - | "
     "{\"field_type\":\"List\",\"max_length\":2,\"actual_length\":3}\n"},
    {"{\"model\":\"\",\"messages\":[]}",
     "/model: string_too_short: String should have at least 1 character | \"\" | {\"min_length\":1}\n"
     "/messages: too_short: List should have at least 1 item after validation, not 0 | - | "
     "{\"field_type\":\"List\",\"min_length\":1,\"actual_length\":0}\n"},
    {WITH(
         "\"tools\":[{\"function\":{\"name\":\"0123456789012345678901234567890123456789012345678901234567890123x\"}}]"),
     "/tools/0/function/name: string_too_long: String should have at most 64 characters | "
     "\"0123456789012345678901234567890123456789012345678901234567890123x\" | {\"max_length\":64}\n"},
    {WITH("\"tools\":[{\"function\":{\"name\":\"ééééééééééééééééééééééééééééééééé\"}}]"), /* 33 characters, 66 bytes */
     "/tools/0/function/name: string_too_long: String should have at most 64 UTF-8 bytes | "
     "\"ééééééééééééééééééééééééééééééééé\" | {\"max_length\":64}\n"},
    /* tags */
    {MESSAGES("{\"content\":\"x\"}"), "/messages/0: union_tag_not_found: Unable to extract tag using discriminator "
                                      "'role' | {\"content\":\"x\"} | {\"discriminator\":\"'role'\"}\n"},
    {MESSAGES("\"hi\""), "/messages/0: model_attributes_type: Input should be a valid dictionary or object to extract "
                         "fields from | \"hi\" | -\n"},
    {MESSAGES("{\"role\":3}"),
     "/messages/0: union_tag_invalid: Input tag '3' found using 'role' does not match any of the expected tags: "
     "'system', 'user', 'assistant', 'tool', 'developer', 'function' | "
     "{\"role\":3} | {\"discriminator\":\"'role'\",\"tag\":\"3\",\"expected_tags\":\"'system', 'user', 'assistant', "
     "'tool', 'developer', 'function'\"}\n"},
    {MESSAGES("{\"role\":\"user\"}"), "/messages/0/user/content: missing: Field required | {\"role\":\"user\"} | -\n"},
    /* every error of a body is told */
    {WITH("\"b\":1,\"a\":2,\"n\":\"x\",\"top_p\":2"),
     "/top_p: less_than_equal: Input should be less than or equal to 1 | 2 | {\"le\":1}\n/n: int_type: Input should be "
     "a valid integer | \"x\" | -\n"
     "/b: extra_forbidden: Extra inputs are not permitted | 1 | -\n/a: extra_forbidden: Extra inputs are not permitted "
     "| 2 | -\n"},
};

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        fixture_expect_errors(&fixture, request_type, refusals[i].json, false, refusals[i].errors);
}

static const struct refusal strict_refusals[] = {
    {WITH("\"seed\":1"), "/seed: extra_forbidden: Extra inputs are not permitted | 1 | -\n"},
    {WITH("\"max_completion_tokens\":1"),
     "/max_completion_tokens: extra_forbidden: Extra inputs are not permitted | 1 | -\n"},
    {WITH("\"top_k\":1,\"use_beam_search\":false"),
     "/top_k: extra_forbidden: Extra inputs are not permitted | 1 | -\n/use_beam_search: extra_forbidden: Extra inputs "
     "are not permitted | false | -\n"},
    {WITH("\"stream_options\":{}"), "/stream_options: extra_forbidden: Extra inputs are not permitted | {} | -\n"},
    {WITH("\"temperature\":1.6"),
     "/temperature: less_than_equal: Input should be less than or equal to 1.5 | 1.6 | {\"le\":1.5}\n"},
    {WITH("\"top_p\":0"), "/top_p: greater_than: Input should be greater than 0 | 0 | {\"gt\":0}\n"},
    {WITH("\"min_tokens\":1,\"prompt_logprobs\":false"),
     "/min_tokens: extra_forbidden: Extra inputs are not permitted | 1 | -\n/prompt_logprobs: extra_forbidden: Extra "
     "inputs are not permitted | false | -\n"},
    {WITH("\"tool_choice\":{\"type\":\"custom\",\"function\":{\"name\":\"f\"}}"),
     "/tool_choice/type: literal_error: Input should be 'function' | \"custom\" | {\"expected\":\"'function'\"}\n"},
    {WITH("\"service_tier\":\"flex\""), "/service_tier: literal_error: Input should be 'auto' or 'standard_only' | "
                                        "\"flex\" | {\"expected\":\"'auto' or 'standard_only'\"}\n"},
    {MESSAGES("{\"role\":\"user\",\"content\":\"x\",\"name\":\"n\"}"),
     "/messages/0/user/name: extra_forbidden: Extra inputs are not permitted | \"n\" | -\n"},
    {MESSAGES("{\"role\":\"developer\",\"content\":\"x\"}"),
     "/messages/0: union_tag_invalid: Input tag 'developer' found using 'role' does not match any of the expected "
     "tags: 'system', 'user', 'assistant', 'tool' | "
     "{\"role\":\"developer\",\"content\":\"x\"} | "
     "{\"discriminator\":\"'role'\",\"tag\":\"developer\",\"expected_tags\":\"'system', 'user', 'assistant', "
     "'tool'\"}\n"},
    {MESSAGES("{\"role\":\"assistant\",\"reasoning_content\":\"x\"}"),
     "/messages/0/assistant/reasoning_content: extra_forbidden: Extra inputs are not permitted | \"x\" | -\n"},
};

static void test_strict_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof strict_refusals / sizeof strict_refusals[0]; i++) {
        fixture_expect_errors(&fixture, request_type, strict_refusals[i].json, true, strict_refusals[i].errors);
    }
}

static const struct refusal malformed[] = {
    {"{", "/1: json_invalid: JSON decode error: expecting a name in double quotes | - | {\"error\":\"expecting a name "
          "in double quotes\"}\n"},
    {"{} x", "/3: json_invalid: JSON decode error: something behind the value | - | {\"error\":\"something behind the "
             "value\"}\n"},
    {"  ", "/2: json_invalid: JSON decode error: expecting a value | - | {\"error\":\"expecting a value\"}\n"},
    {"{\"model\":\"\xff\"}", "/10: json_invalid: JSON decode error: invalid UTF-8 in a string | - | "
                             "{\"error\":\"invalid UTF-8 in a string\"}\n"},
    {"{\"model\":\"\\ud800\"}", "/16: json_invalid: JSON decode error: lone surrogate in a string | - | "
                                "{\"error\":\"lone surrogate in a string\"}\n"},
    {"{\"model\":NaN}",
     "/9: json_invalid: JSON decode error: expecting a value | - | {\"error\":\"expecting a value\"}\n"},
    {"{\"model\":1,\"model\":1}",
     "/model: json_invalid: JSON decode error: duplicate name | - | {\"error\":\"duplicate name\"}\n"},
    {"{\"messages\":[1,{\"content\":{\"a\":1,\"\\u0061\":2}}]}",
     "/messages/1/content/a: json_invalid: JSON decode error: duplicate name | - | {\"error\":\"duplicate name\"}\n"},
    /* thirteen members: past the comparing of all pairs */
    {"{\"m\":{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,\"j\":1,\"k\":1,\"l\":[],\"c\":2}"
     "}",
     "/m/c: json_invalid: JSON decode error: duplicate name | - | {\"error\":\"duplicate name\"}\n"},
};

static void test_malformed_json(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++)
        fixture_expect_errors(&fixture, request_type, malformed[i].json, false, malformed[i].errors);
}

static void test_long_input_is_cut_in_the_error(void **state) {
    (void)state;
    char json[2000], expected[2000], zeros[301];
    memset(zeros, 'z', 300);
    zeros[300] = 0;
    snprintf(json, sizeof json, WITH("\"n\":\"%s\""), zeros);
    /* the JSON text of the string, its opening quote included, as a string of 200 bytes and an ellipsis */
    snprintf(expected, sizeof expected, "/n: int_type: Input should be a valid integer | \"\\\"%.199s…\" | -\n", zeros);
    fixture_expect_errors(&fixture, request_type, json, false, expected);
}

static void test_errors_stop_at_the_maximum(void **state) {
    (void)state;
    struct bytes json;
    bytes_init(&json, 1 << 20);
    (void)bytes_append_string(&json, "{\"model\":\"m\",\"messages\":[1");
    for (int i = 1; i < 4096; i++) (void)bytes_append_string(&json, ",1");
    (void)bytes_append_string(&json, "]}");
    ProtobufCMessage *message = NULL;
    assert_int_equal(fixture_read(&fixture, request_type, bytes_view(&json), false, &message), STATUS_INVALID_ARGUMENT);
    assert_int_equal(fixture.errors.count, TRANSCODE_ERRORS_MAX);
    assert_int_equal(fixture.errors.items[TRANSCODE_ERRORS_MAX - 1].path[1].index, TRANSCODE_ERRORS_MAX - 1);
    bytes_deinit(&json);
}

/** `depth` brackets inside the metadata of a request; the body and metadata itself are two more. */
static enum status read_nested(int depth) {
    struct bytes json;
    bytes_init(&json, 1 << 20);
    (void)bytes_append_string(
        &json, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"metadata\":{\"a\":");
    for (int i = 0; i < depth; i++) (void)bytes_append_byte(&json, '[');
    for (int i = 0; i < depth; i++) (void)bytes_append_byte(&json, ']');
    (void)bytes_append_string(&json, "}}");
    ProtobufCMessage *message = NULL;
    enum status status = fixture_read(&fixture, request_type, bytes_view(&json), false, &message);
    bytes_deinit(&json);
    return status;
}

static void test_nesting_is_bounded(void **state) {
    (void)state;
    assert_int_equal(read_nested(62), STATUS_OK);
    assert_int_equal(read_nested(63), STATUS_INVALID_ARGUMENT);
    assert_string_equal(fixture.errors.items[0].message, "JSON decode error: nested too deeply");
    assert_int_equal(read_nested(100000), STATUS_INVALID_ARGUMENT);
}

static void test_values_are_bounded(void **state) {
    (void)state;
    ProtobufCMessage *message = NULL;
    struct transcode_options options = {.elements_max = 5};
    struct bytes_view six = bytes_view_string(MESSAGES("{\"role\":\"user\",\"content\":\"x\"}"));
    arena_reset(&fixture.arena);
    assert_int_equal(
        transcode_read(fixture.transcoder, &options, request_type, six, &fixture.arena, &message, &fixture.errors),
        STATUS_INVALID_ARGUMENT);
    assert_string_equal(fixture.errors.items[0].message, "JSON decode error: too many values");
    options.elements_max = 6;
    assert_int_equal(
        transcode_read(fixture.transcoder, &options, request_type, six, &fixture.arena, &message, &fixture.errors),
        STATUS_OK);
}

static void test_memory_is_bounded_by_the_arena(void **state) {
    (void)state;
    struct bytes json;
    bytes_init(&json, 1 << 20);
    (void)bytes_append_string(&json, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"");
    for (int i = 0; i < 100000; i++) (void)bytes_append_string(&json, "\\n");
    (void)bytes_append_string(&json, "\"}]}");
    /* Every cap either suffices or is told as such; with ASan this also looks for reads of what was not there. */
    int succeeded = 0;
    for (size_t cap = 100; cap < 400000; cap += cap / 3) {
        struct arena arena;
        arena_init(&arena, cap);
        ProtobufCMessage *message = NULL;
        struct transcode_options options = {0};
        enum status status = transcode_read(fixture.transcoder, &options, request_type, bytes_view(&json), &arena,
                                            &message, &fixture.errors);
        assert_true(status == STATUS_OK || status == STATUS_RESOURCE_EXHAUSTED);
        succeeded += status == STATUS_OK;
        assert_true(arena.reserved_bytes <= cap);
        arena_deinit(&arena);
    }
    assert_in_range(succeeded, 1, 10);
    bytes_deinit(&json);
}

static void test_a_megabyte_of_text_arrives_whole(void **state) {
    (void)state;
    enum { LENGTH = 1024 * 1024 };
    struct bytes json;
    bytes_init(&json, 2 * LENGTH);
    (void)bytes_append_string(&json, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"");
    for (int i = 0; i < LENGTH; i++) (void)bytes_append_byte(&json, (uint8_t)('a' + i % 26));
    (void)bytes_append_string(&json, "\"}]}");
    ProtobufCMessage *message = NULL;
    assert_int_equal(fixture_read(&fixture, request_type, bytes_view(&json), true, &message), STATUS_OK);
    const Bora__V1__ChatCompletionRequest *request = (const Bora__V1__ChatCompletionRequest *)message;
    const char *text = request->messages[0]->user->content->text;
    assert_int_equal(strlen(text), LENGTH);
    assert_int_equal(text[LENGTH - 1], 'a' + (LENGTH - 1) % 26);
    bytes_deinit(&json);
}

static void test_answers_are_written_as_the_contract_has_them(void **state) {
    (void)state;
    Bora__V1__Content content = BORA__V1__CONTENT__INIT;
    content.kind_case = BORA__V1__CONTENT__KIND_TEXT;
    content.text = (char *)"caf\xC3\xA9\n\xFF";
    Bora__V1__ResponseMessage message = BORA__V1__RESPONSE_MESSAGE__INIT;
    message.role = (char *)"assistant";
    message.content = &content;
    Bora__V1__Choice choice = BORA__V1__CHOICE__INIT, *choices[] = {&choice};
    choice.message = &message;
    choice._finish_reason_case = BORA__V1__CHOICE___FINISH_REASON_FINISH_REASON;
    choice.finish_reason = (char *)"stop";
    Bora__V1__Usage usage = BORA__V1__USAGE__INIT;
    usage.prompt_tokens = 3;
    usage.total_tokens = 3;
    Bora__V1__ChatCompletionResponse response = BORA__V1__CHAT_COMPLETION_RESPONSE__INIT;
    response.id = (char *)"0123";
    response.object = (char *)"chat.completion";
    response.created = 1700000000;
    response.model = (char *)"m";
    response.n_choices = 1;
    response.choices = choices;
    response.usage = &usage;
    assert_string_equal(fixture_write(&fixture, &response.base),
                        "{\"id\":\"0123\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"m\","
                        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
                        "\"content\":\"caf\xC3\xA9\\n\xEF\xBF\xBD\",\"tool_calls\":null},\"finish_reason\":\"stop\"}],"
                        "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":0,\"total_tokens\":3}}");
}

static void test_empty_lists_and_absent_fields_in_answers(void **state) {
    (void)state;
    Bora__V1__ModelList models = BORA__V1__MODEL_LIST__INIT;
    models.object = (char *)"list";
    assert_string_equal(fixture_write(&fixture, &models.base), "{\"object\":\"list\",\"data\":[]}");
    Bora__V1__ApiError api_error = BORA__V1__API_ERROR__INIT;
    api_error.object = (char *)"error";
    api_error.message = (char *)"Invalid model: \"x\"";
    api_error.type = (char *)"invalid_model";
    assert_string_equal(fixture_write(&fixture, &api_error.base),
                        "{\"object\":\"error\",\"message\":\"Invalid model: "
                        "\\\"x\\\"\",\"type\":\"invalid_model\",\"param\":null,\"code\":null}");
    Bora__V1__Delta delta = BORA__V1__DELTA__INIT;
    Bora__V1__ChunkChoice choice = BORA__V1__CHUNK_CHOICE__INIT, *choices[] = {&choice};
    choice.delta = &delta;
    Bora__V1__ChatCompletionChunk chunk = BORA__V1__CHAT_COMPLETION_CHUNK__INIT;
    chunk.object = (char *)"chat.completion.chunk";
    chunk.n_choices = 1;
    chunk.choices = choices;
    assert_string_equal(fixture_write(&fixture, &chunk.base),
                        "{\"id\":\"\",\"object\":\"chat.completion.chunk\",\"created\":0,\"model\":\"\",\"choices\":[{"
                        "\"index\":0,\"delta\":{},\"finish_reason\":null}]}");
}

static void test_error_lists_are_messages_too(void **state) {
    (void)state;
    static const char text[] = "{\"detail\":[{\"type\":\"missing\",\"loc\":[\"body\",\"messages\",0,\"user\",\"name\"],"
                               "\"msg\":\"Field required\",\"input\":{\"a\":[1]},\"ctx\":{\"ge\":0}}]}";
    fixture_expect_written(&fixture, &bora__v1__validation_errors__descriptor, text, false, text);
}

static void test_json_text_that_is_not_json_is_written_as_null(void **state) {
    (void)state;
    Bora__V1__ValidationError item = BORA__V1__VALIDATION_ERROR__INIT;
    item.type = item.msg = (char *)"";
    item._input_case = BORA__V1__VALIDATION_ERROR___INPUT_INPUT;
    item.input = (char *)"{\"a\":";
    Bora__V1__ValidationErrors errors = BORA__V1__VALIDATION_ERRORS__INIT;
    Bora__V1__ValidationError *items[] = {&item};
    errors.n_detail = 1;
    errors.detail = items;
    assert_string_equal(fixture_write(&fixture, &errors.base),
                        "{\"detail\":[{\"type\":\"\",\"msg\":\"\",\"input\":null}]}");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_come_back_as_they_were),
        cmocka_unit_test(test_openai_members_come_back_in_the_default_dialect),
        cmocka_unit_test(test_null_means_absent_where_allowed),
        cmocka_unit_test(test_whole_numbers_may_be_written_as_fractions),
        cmocka_unit_test(test_text_keeps_every_character_but_nul),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_strict_refusals),
        cmocka_unit_test(test_malformed_json),
        cmocka_unit_test(test_long_input_is_cut_in_the_error),
        cmocka_unit_test(test_errors_stop_at_the_maximum),
        cmocka_unit_test(test_nesting_is_bounded),
        cmocka_unit_test(test_values_are_bounded),
        cmocka_unit_test(test_memory_is_bounded_by_the_arena),
        cmocka_unit_test(test_a_megabyte_of_text_arrives_whole),
        cmocka_unit_test(test_answers_are_written_as_the_contract_has_them),
        cmocka_unit_test(test_empty_lists_and_absent_fields_in_answers),
        cmocka_unit_test(test_error_lists_are_messages_too),
        cmocka_unit_test(test_json_text_that_is_not_json_is_written_as_null),
    };
    return cmocka_run_group_tests(tests, open_transcoder, close_transcoder);
}
