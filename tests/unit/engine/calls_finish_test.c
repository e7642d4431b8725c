/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Calls at the end of what they may cost: of tokens (budgeted finish), and of what a tool's machine may build. */
#include "base/random.h"
#include "engine/grammar/calls_internal.h"
#include "tests/unit/engine/calls_fixture.h"
#include "tests/unit/engine/check.h"

/** Calls of each layout, in which the names of control tokens stand for them. */
static const struct setting {
    enum chat_calls layout;
    bool control; /* the tags are control tokens */
    const char *calls;
} settings[] = {
    {CHAT_CALLS_LIST, false,
     "hello[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}, {\"name\": \"get\", "
     "\"arguments\": {}, \"id\": \"abcDEF123\"}]"},
    {CHAT_CALLS_ID, false,
     "hello[TOOL_CALLS]get_weather[CALL_ID]abcDEF123[ARGS]{\"city\": \"Paris\"}[TOOL_CALLS]get[CALL_ID]123456789[ARGS]"
     "{}"},
    {CHAT_CALLS_ARGUMENTS, false, "hello[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Paris\"}[TOOL_CALLS]get[ARGS]{}"},
    {CHAT_CALLS_TAGS, false,
     "hello<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>\n<tool_call>\n"
     "{\"name\": \"get\", \"arguments\": {}}\n</tool_call>"},
    {CHAT_CALLS_TAGS, true,
     "hello<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>\n<tool_call>\n"
     "{\"name\": \"get\", \"arguments\": {}}\n</tool_call>"},
    {CHAT_CALLS_PARAMETERS, false,
     "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\"}}; {\"name\": \"get\", \"parameters\": {}}"},
};
enum { SETTINGS = sizeof settings / sizeof settings[0], MASK_WORDS = 64 };

struct bench {
    struct calls_fixture fixture;
    struct grammar *grammar;
    struct grammar_session *session;
};

static void open_session(struct bench *bench, const struct call_request *request, struct grammar_state *out) {
    struct call_problem problem;
    enum status status = calls_compile(bench->fixture.format, request, &bench->grammar, &problem);
    if (status != STATUS_OK) fail_msg("tool %zu: %s", problem.tool, problem.problem.reason);
    check_ok(grammar_session_create(bench->grammar, &bench->session, &check_error));
    check_ok(grammar_start(bench->session, out, &check_error));
}

static void close_session(struct bench *bench) {
    grammar_session_destroy(bench->session);
    grammar_unref(bench->grammar);
}

/** The control token whose name the text begins with; -1. */
static int32_t control_at(const struct tokenizer *tokenizer, const char *text) {
    for (int32_t id = 3; id < tokenizer_vocabulary(tokenizer); id++) {
        struct bytes_view name = tokenizer_name(tokenizer, id);
        if (tokenizer_is_control(tokenizer, id) && strncmp(text, (const char *)name.data, name.length) == 0) return id;
    }
    return -1;
}

/** Byte by byte, control tokens by their names; false: it is refused. */
static bool accept_text(struct bench *bench, struct grammar_state *at, const char *text) {
    bool accepted = true;
    while (accepted && *text != '\0') {
        int32_t control = control_at(bench->fixture.tokenizer, text);
        if (control >= 0)
            check_ok(grammar_accept(bench->session, at, control, &accepted, &check_error));
        else
            check_ok(grammar_accept_bytes(bench->session, at, bytes_view_of(text, 1), &accepted, &check_error));
        text += control >= 0 ? tokenizer_name(bench->fixture.tokenizer, control).length : 1;
    }
    return accepted;
}

/* ---- tokens ---- */

/** Whatever may come with `left` tokens left, what is then missing fits into the rest of them. */
static int check_tokens_suffice(struct bench *bench, const struct grammar_state *at, size_t left, const char *text) {
    const struct tokenizer *tokenizer = bench->fixture.tokenizer;
    uint32_t mask[MASK_WORDS];
    int admitted = 0;
    if (grammar_mask(bench->session, at, left, mask, &check_error) == STATUS_OUT_OF_RANGE) return 0;
    for (int32_t token = 0; token < tokenizer_vocabulary(tokenizer); token++) {
        struct grammar_state next = *at;
        bool accepted;
        if ((mask[token / 32] >> token % 32 & 1) == 0) continue;
        admitted++;
        if (tokenizer_is_end(tokenizer, token)) continue;
        check_ok(grammar_accept(bench->session, &next, token, &accepted, &check_error));
        size_t needed = grammar_tokens_needed(bench->session, &next);
        if (!accepted || needed > left - 1)
            fail_msg("'%s', %zu left: token %d leads to where %zu are needed", text, left, token, needed);
    }
    if (admitted == 0) fail_msg("'%s', %zu left: nothing may come", text, left);
    return 1;
}

static void test_calls_begin_only_where_they_can_end(void **state) {
    (void)state;
    for (int s = 0; s < SETTINGS; s++)
        for (int choice = 0; choice < 2; choice++) {
            struct bench bench;
            char text[256];
            int looked = 0;
            const char *calls = settings[s].calls;
            if (choice == 1 && strncmp(calls, "hello", 5) == 0) calls += 5;
            assert_true(calls_fixture_init(&bench.fixture, settings[s].layout, settings[s].control));
            struct call_request request = {.tools = bench.fixture.tools,
                                           .tool_count = FIXTURE_TOOLS,
                                           .choice = choice == 0 ? CALL_CHOICE_AUTO : CALL_CHOICE_REQUIRED,
                                           .parallel = true};
            struct grammar_state start;
            open_session(&bench, &request, &start);
            for (size_t length = 0; length <= strlen(calls); length++) {
                struct grammar_state at = start;
                snprintf(text, sizeof text, "%.*s", (int)length, calls);
                if (!accept_text(&bench, &at, text)) continue; /* it ends within the name of a control token */
                for (size_t left = 1; left < 44; left += 6) looked += check_tokens_suffice(&bench, &at, left, text);
            }
            assert_true(looked > 20);
            close_session(&bench);
            calls_fixture_deinit(&bench.fixture);
        }
}

/* ---- what a machine may build ---- */

/** A tool that has built all that it may is compiled anew, and fails nobody who comes then. */
static void test_a_tool_that_is_spent_is_compiled_anew(void **state) {
    (void)state;
    enum { GENERATIONS = 40, LETTERS = 60 };
    struct bench bench;
    struct grammar_options options = {.bytes = 1 << 20};
    assert_true(calls_fixture_init(&bench.fixture, CHAT_CALLS_ARGUMENTS, false));
    struct call_tool tool = {.name = bytes_view_string("f")};
    tool.parameters =
        calls_fixture_json(&bench.fixture, "{\"type\": \"object\", \"properties\": {\"s\": {\"type\": \"string\", "
                                           "\"pattern\": \"^(a|b)*a(a|b){24}$\"}}, \"required\": [\"s\"]}");
    struct call_request request = {
        .tools = &tool, .tool_count = 1, .choice = CALL_CHOICE_REQUIRED, .options = &options};
    int64_t before = options.bytes;
    int renewed = 0;
    for (uint64_t g = 0; g < GENERATIONS; g++) {
        struct grammar_state at;
        open_session(&bench, &request, &at);
        const struct tool_machine *machine = ((const struct calls *)bench.grammar->machine)->tools[0];
        renewed += machine->budget->bytes > before;
        assert_true(accept_text(&bench, &at, "[TOOL_CALLS]f[ARGS]{\"s\": \""));
        for (uint64_t i = 0; i < LETTERS; i++)
            assert_true(accept_text(&bench, &at, random_philox(g, i, 0) % 2 == 0 ? "a" : "b"));
        before = machine->budget->bytes;
        close_session(&bench);
    }
    assert_true(renewed > 0 && renewed < GENERATIONS / 2);
    calls_fixture_deinit(&bench.fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_begin_only_where_they_can_end),
        cmocka_unit_test(test_a_tool_that_is_spent_is_compiled_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
