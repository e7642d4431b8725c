/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Arguments of tools are spelled as the request's options say, also where the same tool was compiled before with others. */
#include "tests/unit/engine/calls_fixture.h"
#include "tests/unit/engine/check.h"

static int32_t control_of(const struct tokenizer *tokenizer, const char *name) {
    for (int32_t id = 0; id < tokenizer_vocabulary(tokenizer); id++)
        if (tokenizer_is_control(tokenizer, id) && bytes_view_equal_string(tokenizer_name(tokenizer, id), name))
            return id;
    fail_msg("there is no %s", name);
    return -1;
}

/** A call of the tool `f` with these arguments is a whole answer. */
static bool admits(const struct calls_fixture *fixture, struct grammar *grammar, const char *arguments) {
    struct grammar_session *session;
    struct grammar_state state;
    bool accepted;
    check_ok(grammar_session_create(grammar, &session, &check_error));
    check_ok(grammar_start(session, &state, &check_error));
    check_ok(grammar_accept(session, &state, control_of(fixture->tokenizer, "[TOOL_CALLS]"), &accepted, &check_error));
    assert_true(accepted);
    check_ok(grammar_accept_bytes(session, &state, bytes_view_string("f"), &accepted, &check_error));
    assert_true(accepted);
    check_ok(grammar_accept(session, &state, control_of(fixture->tokenizer, "[ARGS]"), &accepted, &check_error));
    assert_true(accepted);
    check_ok(grammar_accept_bytes(session, &state, bytes_view_string(arguments), &accepted, &check_error));
    accepted = accepted && grammar_complete(session, &state);
    grammar_session_destroy(session);
    return accepted;
}

static void test_arguments_are_spelled_as_the_options_say(void **state) {
    (void)state;
    struct calls_fixture fixture;
    assert_true(calls_fixture_init(&fixture, CHAT_CALLS_ARGUMENTS, false));
    for (int round = 0; round < 4; round++) {
        bool any = round % 2 == 1;
        struct call_problem problem;
        struct grammar *grammar;
        struct grammar_options options = {.spelling = any ? GRAMMAR_SPELLING_ANY : GRAMMAR_SPELLING_PLAIN};
        struct call_tool tool = {.name = bytes_view_string("f")};
        struct call_request request = {
            .tools = &tool, .tool_count = 1, .choice = CALL_CHOICE_REQUIRED, .options = &options};
        check_ok(calls_compile(fixture.format, &request, &grammar, &problem));
        assert_true(admits(&fixture, grammar, "{\"a\\n\": \"b\\\\\"}"));
        assert_int_equal(admits(&fixture, grammar, "{\"\\u0061\": 1}"), any);
        assert_int_equal(admits(&fixture, grammar, "{\"a\": \"\\/\"}"), any);
        grammar_unref(grammar);
    }
    calls_fixture_deinit(&fixture);
}

/** A name may end where a control token comes: what would make it another name is not forced. */
static void test_a_name_may_end_before_a_control_token(void **state) {
    (void)state;
    static const struct {
        const char *begun, *forced;
    } CASES[] = {{"", "get"}, {"get", ""}, {"get_", "all"}, {"get_all", ""}};
    struct calls_fixture fixture;
    assert_true(calls_fixture_init(&fixture, CHAT_CALLS_ARGUMENTS, false));
    struct call_tool tools[] = {{.name = bytes_view_string("get")}, {.name = bytes_view_string("get_all")}};
    struct call_request request = {.tools = tools, .tool_count = 2, .choice = CALL_CHOICE_REQUIRED};
    struct call_problem problem;
    struct grammar *grammar;
    check_ok(calls_compile(fixture.format, &request, &grammar, &problem));
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct grammar_session *session;
        struct grammar_state at;
        struct bytes forced;
        bool accepted;
        bytes_init(&forced, 100);
        check_ok(grammar_session_create(grammar, &session, &check_error));
        check_ok(grammar_start(session, &at, &check_error));
        check_ok(grammar_forced(session, &at, 100, &forced, &check_error)); /* what calls is a control token */
        assert_int_equal(forced.length, 0);
        check_ok(grammar_accept(session, &at, control_of(fixture.tokenizer, "[TOOL_CALLS]"), &accepted, &check_error));
        check_ok(grammar_accept_bytes(session, &at, bytes_view_string(CASES[i].begun), &accepted, &check_error));
        assert_true(accepted);
        check_ok(grammar_forced(session, &at, 100, &forced, &check_error));
        if (!bytes_view_equal_string(bytes_view(&forced), CASES[i].forced))
            fail_msg("behind \"%s\": \"%.*s\"", CASES[i].begun, (int)forced.length, (const char *)forced.data);
        bytes_deinit(&forced);
        grammar_session_destroy(session);
    }
    grammar_unref(grammar);
    calls_fixture_deinit(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_arguments_are_spelled_as_the_options_say),
                                       cmocka_unit_test(test_a_name_may_end_before_a_control_token)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
