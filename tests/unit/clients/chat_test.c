/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** The C client: requests as they arrive, answers whole and in pieces, and what can go wrong on the way. */
#include "base/limits.h"
#include "tests/unit/clients/scripted_gateway.h"

#include <pthread.h>
#include <stdatomic.h>

static const struct step hello[] = {{.text = "Grü"}, {.text = "ße", .finish = "stop"}};

struct heard {
    char text[256];
    int pieces, refuse_at;
};

static bool hear(void *context, const char *text) {
    struct heard *heard = context;
    snprintf(heard->text + strlen(heard->text), sizeof heard->text - strlen(heard->text), "%s", text);
    return ++heard->pieces != heard->refuse_at;
}

/* ---- answers ---- */

static void test_an_answer_comes_whole_and_in_pieces(void **state) {
    (void)state;
    static const struct step whole[] = {{.text = "Grüße"}};
    struct scripted *scripted = SCRIPTED(hello, whole);
    struct heard heard = {0};
    struct bora_answer answer;
    struct bora_chat_options options = {.on_text = hear, .context = &heard};
    check_ok(bora_client_chat_stream(scripted->client, scripted->talk, &options, &answer, NULL));
    assert_string_equal(answer.text, "Grüße");
    assert_string_equal(heard.text, "Grüße");
    assert_int_equal(heard.pieces, 2);
    assert_string_equal(answer.finish_reason, "stop");
    assert_string_equal(answer.model, "scripted");
    assert_int_equal(answer.prompt_tokens, 10);
    bora_answer_deinit(&answer);
    check_ok(bora_client_chat(scripted->client, scripted->talk, NULL, &answer, NULL));
    assert_string_equal(answer.text, "Grüße");
    bora_answer_deinit(&answer);
    scripted_close(scripted);
}

static void test_the_request_holds_the_conversation_and_the_settings(void **state) {
    (void)state;
    struct scripted *scripted = SCRIPTED(hello);
    struct bora_tool_call call = {"123456789", "f", "{\"a\": 1}"};
    struct bora_message asks = {.role = BORA_ROLE_ASSISTANT, .calls = &call, .call_count = 1},
                        result = {.role = BORA_ROLE_TOOL, .text = "3", .call_id = "123456789", .tool_name = "f"};
    check_ok(bora_conversation_add(scripted->talk, &asks, NULL));
    check_ok(bora_conversation_add(scripted->talk, &result, NULL));
    check_ok(bora_conversation_add_text(scripted->talk, BORA_ROLE_SYSTEM, "Be brief.", NULL));
    Bora__V1__ChatCompletionRequest settings = BORA__V1__CHAT_COMPLETION_REQUEST__INIT;
    settings._top_p_case = BORA__V1__CHAT_COMPLETION_REQUEST___TOP_P_TOP_P;
    settings.top_p = 0.5;
    struct bora_chat_options options = {
        .model = "other", .max_tokens = 7, .temperature = &(double){0}, .settings = &settings};
    struct bora_answer answer;
    check_ok(bora_client_chat_stream(scripted->client, scripted->talk, &options, &answer, NULL));
    bora_answer_deinit(&answer);
    const Bora__V1__ChatCompletionRequest *seen = scripted_request(scripted, 0);
    assert_string_equal(seen->model, "other");
    assert_true(seen->max_tokens == 7 && seen->top_p == 0.5 && seen->temperature == 0);
    assert_int_equal(seen->_temperature_case, BORA__V1__CHAT_COMPLETION_REQUEST___TEMPERATURE_TEMPERATURE);
    assert_int_equal(seen->n_messages, 4);
    assert_string_equal(seen->messages[0]->user->content->text, "1+2?");
    assert_string_equal(seen->messages[1]->assistant->tool_calls[0]->function->arguments->text, "{\"a\": 1}");
    assert_string_equal(seen->messages[2]->tool->tool_call_id, "123456789");
    assert_string_equal(seen->messages[2]->tool->content->text, "3");
    assert_string_equal(seen->messages[3]->system->content->text, "Be brief.");
    scripted_close(scripted);
}

static void test_a_format_needs_no_generated_types(void **state) {
    (void)state;
    static const struct {
        struct bora_format format;
        const char *type, *dialect;
    } cases[] = {{{BORA_FORMAT_JSON_OBJECT, NULL}, "json_object", ""},
                 {{BORA_FORMAT_JSON_SCHEMA, "{\"type\": \"null\"}"}, "json_schema", ""},
                 {{BORA_FORMAT_REGEX, "a+"}, "regex", ""},
                 {{BORA_FORMAT_GBNF, "root ::= [a]"}, "grammar", "gbnf"},
                 {{BORA_FORMAT_LARK, "start: A"}, "grammar", "lark"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct scripted *scripted = SCRIPTED(hello);
        const struct bora_chat_options options = {.format = cases[i].format};
        struct bora_answer answer;
        check_ok(bora_client_chat(scripted->client, scripted->talk, &options, &answer, NULL));
        bora_answer_deinit(&answer);
        const Bora__V1__ResponseFormat *seen = scripted_request(scripted, 0)->response_format;
        const char *text = seen->json_schema != NULL ? seen->json_schema->schema
                           : seen->regex != NULL     ? seen->regex
                                                     : seen->grammar;
        assert_string_equal(seen->type, cases[i].type);
        assert_string_equal(seen->dialect != NULL ? seen->dialect : "", cases[i].dialect);
        if (cases[i].format.text != NULL) assert_string_equal(text, cases[i].format.text);
        scripted_close(scripted);
    }
    struct scripted *scripted = SCRIPTED(hello);
    const struct bora_chat_options unknown = {.format = {(enum bora_format_kind)99, "x"}};
    struct bora_answer answer;
    assert_int_equal(bora_client_chat(scripted->client, scripted->talk, &unknown, &answer, NULL),
                     STATUS_INVALID_ARGUMENT);
    bora_answer_deinit(&answer);
    scripted_close(scripted);
}

static void check_two_calls(const struct step *steps) {
    struct scripted *scripted = scripted_open(&steps, 1, NULL);
    struct bora_answer answer;
    check_ok(bora_client_chat_stream(scripted->client, scripted->talk, NULL, &answer, NULL));
    assert_int_equal(answer.call_count, 2);
    assert_string_equal(answer.calls[0].id, "aaaaaaaaa");
    assert_string_equal(answer.calls[0].name, "f");
    assert_string_equal(answer.calls[0].arguments, "{\"x\": 1}");
    assert_string_equal(answer.calls[1].id, "bbbbbbbbb");
    assert_string_equal(answer.calls[1].name, "g");
    assert_string_equal(answer.calls[1].arguments, "{}");
    bora_answer_deinit(&answer);
    scripted_close(scripted);
}

static void test_calls_are_put_together_from_whatever_pieces(void **state) {
    (void)state;
    static const struct step whole[] = {CALL("aaaaaaaaa", "f", "{\"x\": 1}"), CALL("bbbbbbbbb", "g", "{}"),
                                        END("tool_calls")};
    static const struct step pieces[] = {{.id = "aaaaaaaaa", .name = "f", .index = 0},
                                         {.id = "null", .arguments = "{\"x\"", .index = 0},
                                         {.arguments = ": 1}", .index = 0},
                                         {.id = "bbbbbbbbb", .name = "g", .index = 1},
                                         {.arguments = "{}", .index = 1},
                                         END("tool_calls")};
    static const struct step by_id[] = {{.id = "aaaaaaaaa", .name = "f", .arguments = "{\"x\": 1}", .index = 0},
                                        {.id = "bbbbbbbbb", .name = "g", .arguments = "{}", .index = 0},
                                        END("tool_calls")};
    check_two_calls(whole);
    check_two_calls(pieces);
    check_two_calls(by_id);
}

/* ---- what goes wrong ---- */

/** The same question, whole and streamed, fails so. */
static void both_fail(struct scripted *scripted, enum status status, struct bora_error *out) {
    for (int streamed = 0; streamed < 2; streamed++) {
        struct bora_answer answer;
        *out = (struct bora_error){0};
        enum status found = streamed ? bora_client_chat_stream(scripted->client, scripted->talk, NULL, &answer, out)
                                     : bora_client_chat(scripted->client, scripted->talk, NULL, &answer, out);
        assert_int_equal(found, status);
        assert_int_equal(out->status, status);
        assert_true(out->message[0] != 0);
        assert_string_equal(answer.text, "");
        bora_answer_deinit(&answer);
    }
}

static void test_refusals_have_their_code_and_place(void **state) {
    (void)state;
    static const struct step model[] = {
        {.fail = STATUS_INVALID_ARGUMENT, .text = "Invalid model: m", .code = "1500", .param = "model"}};
    static const struct step field[] = {{.fail = STATUS_INVALID_ARGUMENT, .text = "no", .invalid_field = true}};
    struct scripted *scripted = SCRIPTED(model, model, field);
    struct bora_error err;
    both_fail(scripted, STATUS_INVALID_ARGUMENT, &err);
    assert_string_equal(err.code, "1500");
    assert_string_equal(err.field, "model");
    assert_string_equal(err.message, "Invalid model: m");
    both_fail(scripted, STATUS_INVALID_ARGUMENT, &err);
    assert_string_equal(err.field, "messages[0].content");
    assert_int_equal(atomic_load(&scripted->requests), 4);
    scripted_close(scripted);
}

static void test_keys_that_are_wrong_or_none(void **state) {
    (void)state;
    const struct step *answers[] = {hello};
    struct scripted *scripted = scripted_open(answers, 1, &(struct bora_client_options){.model = "m", .api_key = "x"});
    struct bora_error err;
    both_fail(scripted, STATUS_UNAUTHENTICATED, &err);
    scripted_close(scripted);
    struct bora_client *client = NULL;
    assert_int_equal(bora_client_open(&(struct bora_client_options){.api_key = "two\nlines"}, &client, &err),
                     STATUS_INVALID_ARGUMENT);
    unsetenv("BORA_API_KEY");
    assert_int_equal(bora_client_open(&(struct bora_client_options){0}, &client, &err), STATUS_INVALID_ARGUMENT);
    assert_null(client);
}

static void test_what_did_not_begin_is_tried_again(void **state) {
    (void)state;
    static const struct step limit[] = {{.fail = STATUS_RESOURCE_EXHAUSTED, .text = "slow down", .retry_after_ms = 20}},
                             away[] = {{.fail = STATUS_UNAVAILABLE, .text = "nobody", .retry_after_ms = 20}},
                             large[] = {{.fail = STATUS_RESOURCE_EXHAUSTED, .text = "too large"}},
                             late[] = {{.fail = STATUS_RESOURCE_EXHAUSTED, .text = "later", .retry_after_ms = 60000}};
    struct bora_answer answer;
    struct bora_error err;
    struct scripted *scripted = SCRIPTED(limit, away, hello, large, large, late, late, limit);
    check_ok(bora_client_chat_stream(scripted->client, scripted->talk, NULL, &answer, NULL));
    bora_answer_deinit(&answer);
    both_fail(scripted, STATUS_RESOURCE_EXHAUSTED, &err); /* too large: once each */
    both_fail(scripted, STATUS_RESOURCE_EXHAUSTED, &err); /* too long to wait: once each */
    assert_int_equal(err.retry_after_ms, 60000);
    assert_int_equal(atomic_load(&scripted->requests), 7);
    both_fail(scripted, STATUS_RESOURCE_EXHAUSTED, &err); /* three times each */
    assert_int_equal(atomic_load(&scripted->requests), 13);
    scripted_close(scripted);
}

static void test_nobody_there_is_unavailable(void **state) {
    (void)state;
    struct scripted *scripted = SCRIPTED(hello);
    rpc_server_stop(scripted->server, 0);
    struct bora_error err;
    both_fail(scripted, STATUS_UNAVAILABLE, &err);
    scripted_close(scripted);
}

static void fails_with_partial(const struct step *steps, enum status status, struct bora_chat_options options,
                               const char *partial) {
    struct scripted *scripted = scripted_open(&steps, 1, NULL);
    struct bora_answer answer;
    struct bora_error err = {0};
    assert_int_equal(bora_client_chat_stream(scripted->client, scripted->talk, &options, &answer, &err), status);
    assert_string_equal(answer.text, partial);
    assert_null(answer.finish_reason);
    assert_int_equal(atomic_load(&scripted->requests), 1);
    scripted_await(&scripted->finished, 1); /* the model is free */
    bora_answer_deinit(&answer);
    scripted_close(scripted);
}

static void test_streams_that_break_keep_what_came(void **state) {
    (void)state;
    static const struct step dies[] = {{.text = "Once "},
                                       {.text = "upon"},
                                       {.fail = STATUS_UNAVAILABLE, .text = "died"}},
                             cut[] = {{.text = "Once "}, {.text = "upon"}, {.cut = true}},
                             hangs[] = {{.text = "Once "}, {.text = "upon"}, {.hang = true}};
    fails_with_partial(dies, STATUS_UNAVAILABLE, (struct bora_chat_options){0}, "Once upon");
    fails_with_partial(cut, STATUS_DATA_LOSS, (struct bora_chat_options){0}, "Once upon");
    fails_with_partial(hangs, STATUS_DEADLINE_EXCEEDED, (struct bora_chat_options){.timeout_ns = 2 * NS_PER_S},
                       "Once upon");
    struct heard heard = {.refuse_at = 1};
    fails_with_partial(hangs, STATUS_CANCELLED, (struct bora_chat_options){.on_text = hear, .context = &heard},
                       "Once ");
}

static void *stop_the_server_when_it_hangs(void *context) {
    struct scripted *scripted = context;
    scripted_await(&scripted->hanging, 1);
    rpc_server_stop(scripted->server, 0);
    return NULL;
}

static void test_a_server_that_goes_in_the_middle(void **state) {
    (void)state;
    static const struct step hangs[] = {{.text = "Once "}, {.hang = true}};
    struct scripted *scripted = SCRIPTED(hangs);
    pthread_t thread;
    pthread_create(&thread, NULL, stop_the_server_when_it_hangs, scripted);
    struct bora_answer answer;
    struct bora_error err = {0};
    enum status status = bora_client_chat_stream(scripted->client, scripted->talk, NULL, &answer, &err);
    assert_true(status == STATUS_UNAVAILABLE ||
                status == STATUS_CANCELLED); /* the socket's end, or the call's, first */
    assert_string_equal(answer.text, "Once ");
    bora_answer_deinit(&answer);
    pthread_join(thread, NULL);
    scripted_close(scripted);
}

struct canceller {
    struct scripted *scripted;
    struct bora_cancellation *cancellation;
};

static void *cancel_when_it_hangs(void *context) {
    struct canceller *canceller = context;
    scripted_await(&canceller->scripted->hanging, 1);
    bora_cancellation_cancel(canceller->cancellation);
    return NULL;
}

static void test_another_thread_cancels(void **state) {
    (void)state;
    static const struct step hangs[] = {{.hang = true}};
    struct scripted *scripted = SCRIPTED(hangs);
    struct canceller canceller = {.scripted = scripted};
    check_ok(bora_cancellation_create(&canceller.cancellation, NULL));
    pthread_t thread;
    pthread_create(&thread, NULL, cancel_when_it_hangs, &canceller);
    struct bora_chat_options options = {.cancellation = canceller.cancellation};
    struct bora_answer answer;
    assert_int_equal(bora_client_chat(scripted->client, scripted->talk, &options, &answer, NULL), STATUS_CANCELLED);
    bora_answer_deinit(&answer);
    pthread_join(thread, NULL);
    scripted_await(&scripted->finished, 1);
    assert_int_equal(bora_client_chat(scripted->client, scripted->talk, &options, &answer, NULL), STATUS_CANCELLED);
    bora_answer_deinit(&answer);
    assert_int_equal(atomic_load(&scripted->requests), 1); /* stays cancelled */
    bora_cancellation_destroy(canceller.cancellation);
    scripted_close(scripted);
}

static void test_conversations_have_limits(void **state) {
    (void)state;
    struct scripted *scripted = SCRIPTED(hello);
    struct bora_error err;
    assert_int_equal(bora_conversation_add_text(scripted->talk, BORA_ROLE_USER, "\xff", &err), STATUS_INVALID_ARGUMENT);
    assert_int_equal(bora_conversation_length(scripted->talk), 1);
    for (int i = 1; i < LIMIT_MESSAGES; i++)
        check_ok(bora_conversation_add_text(scripted->talk, BORA_ROLE_USER, "x", NULL));
    assert_int_equal(bora_conversation_add_text(scripted->talk, BORA_ROLE_USER, "x", &err), STATUS_RESOURCE_EXHAUSTED);
    scripted_close(scripted);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer_comes_whole_and_in_pieces),
        cmocka_unit_test(test_the_request_holds_the_conversation_and_the_settings),
        cmocka_unit_test(test_a_format_needs_no_generated_types),
        cmocka_unit_test(test_calls_are_put_together_from_whatever_pieces),
        cmocka_unit_test(test_refusals_have_their_code_and_place),
        cmocka_unit_test(test_keys_that_are_wrong_or_none),
        cmocka_unit_test(test_what_did_not_begin_is_tried_again),
        cmocka_unit_test(test_nobody_there_is_unavailable),
        cmocka_unit_test(test_streams_that_break_keep_what_came),
        cmocka_unit_test(test_a_server_that_goes_in_the_middle),
        cmocka_unit_test(test_another_thread_cancels),
        cmocka_unit_test(test_conversations_have_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
