/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Calls of tools as a grammar: every layout with every choice, masks against acceptance, walks that end in calls that hold. */
#include "engine/grammar/calls.h"

#include "base/json.h"
#include "base/random.h"
#include "engine/grammar/grammar_internal.h"
#include "tests/unit/engine/calls_fixture.h"
#include "tests/unit/engine/check.h"

/** A layout, and whether its tags are control tokens. */
static const struct setting {
    enum chat_calls layout;
    bool control;
    const char *call;   /* one call of get_weather in Paris */
    const char *second; /* another behind it */
    const char *end;    /* behind all */
    bool ids;
} settings[] = {
    {CHAT_CALLS_LIST, false, "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}",
     ", {\"name\": \"get\", \"arguments\": {}, \"id\": \"abcDEF123\"}", "]", true},
    {CHAT_CALLS_ID, false, "[TOOL_CALLS]get_weather[CALL_ID]abcDEF123[ARGS]{\"city\": \"Paris\"}",
     "[TOOL_CALLS]get[CALL_ID]123456789[ARGS]{}", "", true},
    {CHAT_CALLS_ARGUMENTS, false, "[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Paris\"}", "[TOOL_CALLS]get[ARGS]{}", "",
     false},
    {CHAT_CALLS_TAGS, false,
     "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>",
     "\n<tool_call>\n{\"name\": \"get\", \"arguments\": {}}\n</tool_call>", "", false},
    {CHAT_CALLS_TAGS, true,
     "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>",
     "\n<tool_call>\n{\"name\": \"get\", \"arguments\": {}}\n</tool_call>", "", false},
    {CHAT_CALLS_PARAMETERS, false, "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\"}}",
     "; {\"name\": \"get\", \"parameters\": {}}", "", false},
    {CHAT_CALLS_PARAMETERS, false, "<|python_tag|>{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\"}}",
     "; {\"name\": \"get\", \"parameters\": {}}", "", false},
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

struct bench {
    struct calls_fixture fixture;
    struct call_request request;
    struct grammar *grammar;
    struct grammar_session *session;
};

static void open_bench(struct bench *bench, const struct setting *setting, enum call_choice choice, bool parallel) {
    struct call_problem problem;
    assert_true(calls_fixture_init(&bench->fixture, setting->layout, setting->control));
    bench->request = (struct call_request){
        .tools = bench->fixture.tools, .tool_count = FIXTURE_TOOLS, .choice = choice, .parallel = parallel};
    enum status status = calls_compile(bench->fixture.format, &bench->request, &bench->grammar, &problem);
    if (status != STATUS_OK) fail_msg("tool %zu: %s", problem.tool, problem.problem.reason);
    check_ok(grammar_session_create(bench->grammar, &bench->session, &check_error));
}

static void close_bench(struct bench *bench) {
    grammar_session_destroy(bench->session);
    grammar_unref(bench->grammar);
    calls_fixture_deinit(&bench->fixture);
}

/* ---- texts, in which the names of control tokens stand for them ---- */

/** The control token whose name the text begins with; -1. */
static int32_t control_at(const struct tokenizer *tokenizer, const char *text) {
    for (int32_t id = 3; id < tokenizer_vocabulary(tokenizer); id++) {
        struct bytes_view name = tokenizer_name(tokenizer, id);
        if (tokenizer_is_control(tokenizer, id) && strncmp(text, (const char *)name.data, name.length) == 0) return id;
    }
    return -1;
}

/** A token that the text begins with, drawn among those of more than one byte where there are any. */
static int32_t draw_token(const struct tokenizer *tokenizer, const char *text, uint64_t seed, uint64_t position) {
    int32_t control = control_at(tokenizer, text), found[64];
    size_t count = 0;
    if (control >= 0) return control;
    for (int32_t id = 0; id < tokenizer_vocabulary(tokenizer); id++) {
        struct bytes_view piece = tokenizer_piece(tokenizer, id);
        bool fits = piece.length > 0 && strncmp(text, (const char *)piece.data, piece.length) == 0;
        for (size_t i = 1; fits && i < piece.length; i++) fits = control_at(tokenizer, text + i) < 0;
        if (fits && count < 64) found[count++] = id;
    }
    assert_true(count > 0);
    return found[random_philox(seed, position, 0) % count];
}

static bool bit(const uint32_t *mask, int32_t token) {
    return mask[token / 32] >> token % 32 & 1;
}

/** The text token by token as the masks let it; true: to its end, and it may end there. */
static bool admits(struct bench *bench, const char *text, uint64_t seed) {
    struct grammar_state state;
    uint32_t mask[64];
    size_t at = 0, length = strlen(text);
    check_ok(grammar_start(bench->session, &state, &check_error));
    while (at < length) {
        int32_t token = draw_token(bench->fixture.tokenizer, text + at, seed, at);
        bool accepted;
        check_ok(grammar_mask(bench->session, &state, SIZE_MAX, mask, &check_error));
        check_ok(grammar_accept(bench->session, &state, token, &accepted, &check_error));
        if (accepted != bit(mask, token))
            fail_msg("'%s' at %zu, token %d: the mask says %d", text, at, token, !accepted);
        if (!accepted) return false;
        at += tokenizer_is_control(bench->fixture.tokenizer, token)
                  ? tokenizer_name(bench->fixture.tokenizer, token).length
                  : tokenizer_piece(bench->fixture.tokenizer, token).length;
    }
    check_ok(grammar_mask(bench->session, &state, SIZE_MAX, mask, &check_error));
    assert_int_equal(bit(mask, tokenizer_eos(bench->fixture.tokenizer)), grammar_complete(bench->session, &state));
    return grammar_complete(bench->session, &state);
}

static void expect(struct bench *bench, bool admitted, const char *format, const char *a, const char *b,
                   const char *c) {
    char text[1024];
    snprintf(text, sizeof text, format, a, b, c);
    for (uint64_t seed = 0; seed < 4; seed++)
        if (admits(bench, text, seed) != admitted) fail_msg("'%s' is %s", text, admitted ? "refused" : "admitted");
}

/** Read a text with the names of control tokens, `chunk` bytes at once. */
static struct call_reader *read_text(struct bench *bench, const char *text, size_t chunk) {
    struct call_reader *reader;
    size_t length = strlen(text);
    check_ok(call_reader_create(bench->grammar, 7, &reader, &check_error));
    for (size_t at = 0; at < length;) {
        int32_t control = control_at(bench->fixture.tokenizer, text + at);
        size_t end = at;
        if (control >= 0) {
            check_ok(call_reader_push_control(reader, control, &check_error));
            at += tokenizer_name(bench->fixture.tokenizer, control).length;
            continue;
        }
        while (end < length && end - at < chunk && control_at(bench->fixture.tokenizer, text + end) < 0) end++;
        check_ok(call_reader_push(reader, bytes_view_of(text + at, end - at), &check_error));
        at = end;
    }
    return reader;
}

static void assert_view(struct bytes_view view, const char *want) {
    if (!bytes_view_equal_string(view, want)) fail_msg("'%.*s' is not '%s'", (int)view.length, view.data, want);
}

static void test_every_layout_with_every_choice(void **state) {
    (void)state;
    for (int s = 0; s < SETTINGS; s++)
        for (int choice = 0; choice < 4; choice++)
            for (int parallel = 0; parallel < 2; parallel++) {
                const struct setting *at = &settings[s];
                struct bench bench;
                open_bench(&bench, at, (enum call_choice)choice, parallel);
                bool content = choice == CALL_CHOICE_AUTO || choice == CALL_CHOICE_NONE,
                     calls = choice != CALL_CHOICE_NONE;
                bool begins_text = at->layout != CHAT_CALLS_PARAMETERS || at->call[0] == '<';
                expect(&bench, content, "%s", "hello world", "", "");
                expect(&bench, content, "%s", "", "", "");
                expect(&bench, calls, "%s%s", at->call, at->end, "");
                expect(&bench, false, "%s%s%s", at->call, at->end, "!");
                expect(&bench, false, "%s%s%s", at->call, at->end, " ");
                if (begins_text) expect(&bench, choice == CALL_CHOICE_AUTO, "hello <b> %s%s", at->call, at->end, "");
                /* named: the first tool, which the second call is not of */
                expect(&bench, calls && parallel && choice != CALL_CHOICE_NAMED, "%s%s%s", at->call, at->second,
                       at->end);
                close_bench(&bench);
            }
}

static void test_what_is_no_call_is_refused(void **state) {
    (void)state;
    static const struct {
        int setting;
        const char *text;
    } cases[] = {{0, "[TOOL_CALLS][{\"name\": \"get_weathe\", \"arguments\": {\"city\": \"Paris\"}}]"},
                 {0, "[TOOL_CALLS][]"},
                 {0, "[TOOL_CALLS][{\"name\": \"get\", \"arguments\": {}}"},
                 {0, "[TOOL_CALLS][{\"name\": \"get\", \"arguments\": {}, \"id\": \"12345678\"}]"},
                 {0, "[TOOL_CALLS][{\"name\": \"get\", \"arguments\": {}, \"id\": \"1234567890\"}]"},
                 {0, "[TOOL_CALLS][{\"name\": \"get\", \"arguments\": {}} ]"},
                 {0, "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {}}]"},
                 {0, "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"too long\"}}]"},
                 {0, "[TOOL_CALLS][{\"name\": \"say \"it\"\", \"arguments\": {\"text\": \"\"}}]"},
                 {1, "[TOOL_CALLS]get[ARGS]{}"},
                 {1, "[TOOL_CALLS]get[CALL_ID][ARGS]{}"},
                 {2, "[TOOL_CALLS]get[CALL_ID]123456789[ARGS]{}"},
                 {2, "[TOOL_CALLS]get{}"},
                 {2, "[TOOL_CALLS]get[ARGS]{} "},
                 {2, "[TOOL_CALLS]get[ARGS]{}}"},
                 {2, "[ARGS]{}"},
                 {3, "<tool_call>"},
                 {3, "<tool_call>{\"name\": \"get\", \"arguments\": {}}</tool_call>"},
                 {3, "<tool_call>\n{\"name\": \"get\", \"arguments\": {}}\n"},
                 {3, "so <tool_call> is a mark"},
                 {4, "<tool_call>\n{\"name\": \"get\", \"arguments\": {}}\n"},
                 {5, "{\"name\": \"other\"}"},
                 {5, "{\"name\": \"get\"}"},
                 {5, "<|python_tag|>print(1)"},
                 {5, "{\"name\": \"get\", \"parameters\": {}}; "}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench bench;
        open_bench(&bench, &settings[cases[i].setting], CALL_CHOICE_AUTO, true);
        expect(&bench, false, "%s", cases[i].text, "", "");
        close_bench(&bench);
    }
}

static void test_a_list_may_begin_with_the_blank_of_sentencepiece(void **state) {
    (void)state;
    struct bench bench;
    open_bench(&bench, &settings[0], CALL_CHOICE_REQUIRED, true);
    expect(&bench, true, "%s", "[TOOL_CALLS] [{\"name\": \"get\", \"arguments\": {\"a\": [{}]}}]", "", "");
    expect(&bench, false, "%s", "[TOOL_CALLS]  [{\"name\": \"get\", \"arguments\": {}}]", "", "");
    close_bench(&bench);
}

static void test_what_only_looks_like_a_call_is_content(void **state) {
    (void)state;
    static const struct {
        int setting;
        const char *text;
    } cases[] = {
        {0, "[{\"name\": \"get\"}]"}, {3, "<tool_cal"}, {3, "<<tool_calls"}, {3, "<tool<tool"}, {5, "{\"name\": 1}"},
        {5, "So: {\"name\": \"x\"}"}, {5, "{\"nam"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench bench;
        open_bench(&bench, &settings[cases[i].setting], CALL_CHOICE_AUTO, true);
        expect(&bench, true, "%s", cases[i].text, "", "");
        close_bench(&bench);
    }
}

static void test_an_answer_that_continues_has_no_start(void **state) {
    (void)state;
    struct bench bench;
    struct call_problem problem;
    assert_true(calls_fixture_init(&bench.fixture, CHAT_CALLS_PARAMETERS, false));
    bench.request = (struct call_request){.tools = bench.fixture.tools, .tool_count = FIXTURE_TOOLS, .continues = true};
    check_ok(calls_compile(bench.fixture.format, &bench.request, &bench.grammar, &problem));
    check_ok(grammar_session_create(bench.grammar, &bench.session, &check_error));
    expect(&bench, true, "%s", "{\"name\": \"nobody\"}", "", "");
    expect(&bench, true, "%s", settings[6].call, "", "");
    struct call_reader *reader = read_text(&bench, "{\"name\": \"get\"", 2);
    check_ok(call_reader_finish(reader, &check_error));
    assert_view(bytes_view(&call_reader_output(reader)->content), "{\"name\": \"get\"");
    call_reader_destroy(reader);
    close_bench(&bench);
}

static void test_thoughts_are_no_content_and_hide_triggers(void **state) {
    (void)state;
    static const struct {
        int setting;
        const char *thought; /* with a trigger that is none */
        const char *call;
    } cases[] = {{2, "[THINK]what [/THINK]", "[TOOL_CALLS]get[ARGS]{}"},
                 {3, "<think>a <tool_call> or\n</think>\n\n",
                  "<tool_call>\n{\"name\": \"get\", \"arguments\": {}}\n</tool_call>"},
                 {4, "<think>a </think>\n\n", "<tool_call>\n{\"name\": \"get\", \"arguments\": {}}\n</tool_call>"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench bench;
        open_bench(&bench, &settings[cases[i].setting], CALL_CHOICE_REQUIRED, true);
        expect(&bench, true, "%s%s", cases[i].thought, cases[i].call, "");
        expect(&bench, true, "%s", cases[i].call, "", "");
        expect(&bench, false, "%s", cases[i].thought, "", "");
        close_bench(&bench);
        open_bench(&bench, &settings[cases[i].setting], CALL_CHOICE_AUTO, true);
        expect(&bench, true, "%s%s", cases[i].thought, cases[i].call, "");
        expect(&bench, true, "%shello%s", cases[i].thought, cases[i].call, "");
        expect(&bench, true, "%shello", cases[i].thought, "", "");
        close_bench(&bench);
    }
}

static void open_content_bench(struct bench *bench, const struct setting *setting, enum call_choice choice,
                               const char *schema) {
    struct call_problem problem;
    assert_true(calls_fixture_init(&bench->fixture, setting->layout, setting->control));
    bench->request = (struct call_request){
        .tools = bench->fixture.tools, .tool_count = FIXTURE_TOOLS, .choice = choice, .parallel = true};
    bench->request.content = calls_fixture_json(&bench->fixture, schema);
    check_ok(calls_compile(bench->fixture.format, &bench->request, &bench->grammar, &problem));
    check_ok(grammar_session_create(bench->grammar, &bench->session, &check_error));
}

static void test_content_of_a_schema_or_calls(void **state) {
    (void)state;
    for (int s = 0; s < SETTINGS; s++)
        for (int choice = 0; choice < 4; choice++) {
            struct bench bench;
            bool content = choice == CALL_CHOICE_AUTO || choice == CALL_CHOICE_NONE, calls = choice != CALL_CHOICE_NONE;
            bool begins_text = settings[s].layout != CHAT_CALLS_PARAMETERS || settings[s].call[0] == '<';
            open_content_bench(&bench, &settings[s], (enum call_choice)choice,
                               "{\"type\": [\"number\", \"object\"], \"maximum\": 12, \"maxProperties\": 1}");
            expect(&bench, content, "%s", "{\"hello\": \"<tool\"}", "", "");
            expect(&bench, content, "%s", "12", "", "");
            expect(&bench, false, "%s", "123", "", "");
            expect(&bench, false, "%s", "", "", "");
            expect(&bench, false, "%s", "hello", "", "");
            expect(&bench, false, "%s%s", "{}", settings[s].call, "");
            expect(&bench, calls && (begins_text || !content), "%s%s", settings[s].call, settings[s].end, "");
            close_bench(&bench);
        }
}

/* ---- masks ---- */

/** One of the tokens in the mask, one that ends the text more often than others; -1: none. */
static int32_t draw_allowed(const struct bench *bench, const uint32_t *mask, uint64_t seed, uint64_t position) {
    const struct tokenizer *tokenizer = bench->fixture.tokenizer;
    int32_t found[1024], closing[1024];
    size_t count = 0, closing_count = 0;
    if (bit(mask, tokenizer_eos(tokenizer)) && random_philox(seed, position, 1) % 8 == 0)
        return tokenizer_eos(tokenizer);
    for (int32_t id = 0; id < tokenizer_vocabulary(tokenizer); id++) {
        if (!bit(mask, id) || id == tokenizer_eos(tokenizer)) continue;
        struct bytes_view piece = tokenizer_piece(tokenizer, id);
        bool closes = tokenizer_is_control(tokenizer, id) || memchr(piece.data, '}', piece.length) != NULL ||
                      memchr(piece.data, '"', piece.length) != NULL || memchr(piece.data, '<', piece.length) != NULL;
        if (closes) closing[closing_count++] = id;
        found[count++] = id;
    }
    if (closing_count > 0 && random_philox(seed, position, 2) % 2 == 0)
        return closing[random_philox(seed, position, 3) % closing_count];
    return count == 0 ? -1 : found[random_philox(seed, position, 3) % count];
}

/** The mask has exactly the tokens that are accepted. */
static size_t compare_mask(struct bench *bench, const struct grammar_state *state, const uint32_t *mask) {
    for (int32_t id = 0; id < tokenizer_vocabulary(bench->fixture.tokenizer); id++) {
        struct grammar_state next = *state;
        bool accepted;
        check_ok(grammar_accept(bench->session, &next, id, &accepted, &check_error));
        if (accepted != bit(mask, id)) {
            struct bytes_view piece = tokenizer_piece(bench->fixture.tokenizer, id);
            fail_msg("after %llu bytes: token %d '%.*s' is %saccepted, and the mask says otherwise",
                     (unsigned long long)state->length, id, (int)piece.length, piece.data, accepted ? "" : "not ");
        }
    }
    return (size_t)tokenizer_vocabulary(bench->fixture.tokenizer);
}

/** Along random walks; returns how many tokens were compared. */
static size_t compare_masks(struct bench *bench, uint64_t seed) {
    size_t compared = 0;
    struct grammar_state at;
    uint32_t mask[64];
    check_ok(grammar_start(bench->session, &at, &check_error));
    for (uint64_t i = 0; i < 40; i++) {
        check_ok(grammar_mask(bench->session, &at, SIZE_MAX, mask, &check_error));
        compared += compare_mask(bench, &at, mask);
        int32_t token = draw_allowed(bench, mask, seed, i);
        bool accepted;
        if (token < 0 && grammar_complete(bench->session, &at)) break; /* behind all calls */
        assert_true(token >= 0);
        if (token == tokenizer_eos(bench->fixture.tokenizer)) break;
        check_ok(grammar_accept(bench->session, &at, token, &accepted, &check_error));
        assert_true(accepted);
    }
    return compared;
}

static void test_masks_are_what_is_accepted(void **state) {
    (void)state;
    size_t compared = 0;
    for (int s = 0; s < SETTINGS; s++)
        for (uint64_t k = 0; k < 10; k++) {
            struct bench bench;
            if (k < 8)
                open_bench(&bench, &settings[s], (enum call_choice)(k % 4), k / 4);
            else
                open_content_bench(&bench, &settings[s], CALL_CHOICE_AUTO,
                                   k == 8 ? "true" : "{\"enum\": [12, \"<tool\", {\"name\": \"get\"}, [[]]]}");
            for (uint64_t seed = 0; seed < 6; seed++)
                compared += compare_masks(&bench, 1000 * ((uint64_t)s * 10 + k) + seed);
            close_bench(&bench);
        }
    assert_in_range(compared, 100000, SIZE_MAX);
}

static int32_t token_of(const struct tokenizer *tokenizer, const char *piece) {
    for (int32_t id = 0; id < tokenizer_vocabulary(tokenizer); id++)
        if (bytes_view_equal_string(tokenizer_piece(tokenizer, id), piece)) return id;
    fail_msg("no token '%s'", piece);
    return -1;
}

static void test_tokens_that_run_past_a_trigger(void **state) {
    (void)state;
    struct bench bench;
    uint32_t mask[64];
    struct grammar_state at;
    bool accepted;
    open_bench(&bench, &settings[3], CALL_CHOICE_AUTO, true);
    const struct tokenizer *tokenizer = bench.fixture.tokenizer;
    check_ok(grammar_start(bench.session, &at, &check_error));
    check_ok(grammar_mask(bench.session, &at, SIZE_MAX, mask, &check_error));
    assert_true(bit(mask, token_of(tokenizer, "x<tool_call>\n{\"")));
    assert_false(bit(mask, token_of(tokenizer, "x<tool_call>\n{'")));
    check_ok(grammar_accept(bench.session, &at, token_of(tokenizer, "<tool"), &accepted, &check_error));
    check_ok(
        grammar_accept(bench.session, &at, token_of(tokenizer, "_call>\n{\"name\": \"get_"), &accepted, &check_error));
    assert_true(accepted);
    check_ok(grammar_mask(bench.session, &at, SIZE_MAX, mask, &check_error));
    assert_true(bit(mask, token_of(tokenizer, "weather")));
    assert_true(bit(mask, token_of(tokenizer, "_time")) == false);
    close_bench(&bench);
    open_bench(&bench, &settings[3], CALL_CHOICE_NONE, true);
    check_ok(grammar_start(bench.session, &at, &check_error));
    check_ok(grammar_mask(bench.session, &at, SIZE_MAX, mask, &check_error));
    assert_false(bit(mask, token_of(bench.fixture.tokenizer, "x<tool_call>\n{\"")));
    assert_false(bit(mask, token_of(bench.fixture.tokenizer, "<tool_call>")));
    close_bench(&bench);
}

/* ---- walks and the reader ---- */

static void push_token(const struct tokenizer *tokenizer, struct call_reader *reader, int32_t token) {
    if (tokenizer_is_control(tokenizer, token))
        check_ok(call_reader_push_control(reader, token, &check_error));
    else
        check_ok(call_reader_push(reader, tokenizer_piece(tokenizer, token), &check_error));
}

/** The arguments satisfy the tool's schema, by a grammar of that alone. */
static void check_arguments(struct bench *bench, const struct call_made *call) {
    const struct json_value *schema = calls_fixture_json(
        &bench->fixture, bench->fixture.schemas[call->tool] != NULL ? bench->fixture.schemas[call->tool] : "{}");
    struct grammar *grammar;
    struct grammar_session *session;
    struct grammar_state state;
    struct grammar_problem problem;
    enum json_kind kind;
    bool accepted;
    assert_true(json_is_valid(call->arguments, 64, &kind));
    assert_int_equal(kind, JSON_KIND_OBJECT);
    check_ok(grammar_compile_schema(bench->fixture.vocabulary, schema, NULL, &grammar, &problem));
    check_ok(grammar_session_create(grammar, &session, &check_error));
    check_ok(grammar_start(session, &state, &check_error));
    check_ok(grammar_accept_bytes(session, &state, call->arguments, &accepted, &check_error));
    assert_true(accepted && grammar_complete(session, &state));
    grammar_session_destroy(session);
    grammar_unref(grammar);
}

static void check_read(struct bench *bench, const struct call_reader *reader) {
    const struct call_output *output = call_reader_output(reader);
    enum call_choice choice = bench->request.choice;
    assert_false(output->cut);
    if (choice == CALL_CHOICE_NONE) assert_int_equal(output->call_count, 0);
    if (choice >= CALL_CHOICE_REQUIRED) assert_in_range(output->call_count, 1, SIZE_MAX);
    if (choice >= CALL_CHOICE_REQUIRED) assert_int_equal(output->content.length, 0);
    if (!bench->request.parallel) assert_in_range(output->call_count, 0, 1);
    for (size_t i = 0; i < output->call_count; i++) {
        const struct call_made *call = &output->calls[i];
        assert_true(bytes_view_equal(call->name, bench->fixture.tools[call->tool].name));
        if (choice == CALL_CHOICE_NAMED) assert_int_equal(call->tool, bench->request.named);
        assert_int_equal(strspn(call->id, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
                         CALL_ID_BYTES);
        check_arguments(bench, call);
    }
}

/** A walk until the text ends; false: it had not after many tokens. */
static bool walk(struct bench *bench, uint64_t seed, size_t *calls) {
    const struct tokenizer *tokenizer = bench->fixture.tokenizer;
    struct call_reader *reader;
    struct grammar_state at;
    uint32_t mask[64];
    bool ended = false, accepted;
    check_ok(grammar_start(bench->session, &at, &check_error));
    check_ok(call_reader_create(bench->grammar, seed, &reader, &check_error));
    for (uint64_t i = 0; i < 200 && !ended; i++) {
        check_ok(grammar_mask(bench->session, &at, SIZE_MAX, mask, &check_error));
        int32_t token = draw_allowed(bench, mask, seed, i);
        ended = token == tokenizer_eos(tokenizer) || (token < 0 && bit(mask, tokenizer_eos(tokenizer)));
        if (ended) break;
        assert_true(token >= 0); /* no dead ends */
        check_ok(grammar_accept(bench->session, &at, token, &accepted, &check_error));
        assert_true(accepted);
        push_token(tokenizer, reader, token);
    }
    if (ended) {
        check_ok(call_reader_finish(reader, &check_error));
        check_read(bench, reader);
        *calls += call_reader_output(reader)->call_count;
    }
    call_reader_destroy(reader);
    return ended;
}

static void test_walks_end_in_calls_that_hold(void **state) {
    (void)state;
    size_t calls = 0, ended = 0;
    for (int s = 0; s < SETTINGS; s++)
        for (int k = 0; k < 8; k++) {
            struct bench bench;
            open_bench(&bench, &settings[s], (enum call_choice)(k % 4), k / 4);
            for (uint64_t seed = 0; seed < 40; seed++)
                ended += walk(&bench, seed + 100 * (uint64_t)(s * 8 + k), &calls);
            close_bench(&bench);
        }
    assert_in_range(ended, 1000, SIZE_MAX);
    assert_in_range(calls, 500, SIZE_MAX);
}

static void test_reader_takes_calls_apart(void **state) {
    (void)state;
    for (int s = 0; s < SETTINGS; s++) {
        struct bench bench;
        char text[1024];
        open_bench(&bench, &settings[s], CALL_CHOICE_AUTO, true);
        bool begins_text = settings[s].layout != CHAT_CALLS_PARAMETERS || settings[s].call[0] == '<';
        snprintf(text, sizeof text, "%s%s%s%s", begins_text ? "I ask  <b>.\n\n" : "", settings[s].call,
                 settings[s].second, settings[s].end);
        for (size_t chunk = 1; chunk < 40; chunk += 3) {
            struct call_reader *reader = read_text(&bench, text, chunk);
            const struct call_output *output = call_reader_output(reader);
            check_ok(call_reader_finish(reader, &check_error));
            assert_false(output->cut);
            assert_view(bytes_view(&output->content), begins_text ? "I ask  <b>." : "");
            assert_int_equal(output->call_count, 2);
            assert_view(output->calls[0].name, "get_weather");
            assert_view(output->calls[0].arguments, "{\"city\": \"Paris\"}");
            assert_view(output->calls[1].name, "get");
            assert_view(output->calls[1].arguments, "{}");
            assert_string_not_equal(output->calls[0].id, output->calls[1].id);
            if (settings[s].layout == CHAT_CALLS_ID) assert_string_equal(output->calls[0].id, "abcDEF123");
            if (settings[s].layout == CHAT_CALLS_LIST) assert_string_equal(output->calls[1].id, "abcDEF123");
            call_reader_destroy(reader);
        }
        close_bench(&bench);
    }
}

static void test_reader_gives_text_as_soon_as_it_is_certain(void **state) {
    (void)state;
    struct bench bench;
    open_bench(&bench, &settings[3], CALL_CHOICE_AUTO, true);
    static const struct {
        const char *text, *content;
    } cases[] = {{"hello", "hello"}, {"hello ", "hello"}, {"hello \n<tool", "hello"}, {"hello <tool ", "hello <tool"},
                 {"a < b", "a < b"}, {"  ", ""}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct call_reader *reader = read_text(&bench, cases[i].text, 1);
        const struct call_output *output = call_reader_output(reader);
        assert_view(bytes_view(&output->content), cases[i].content);
        check_ok(call_reader_finish(reader, &check_error));
        assert_view(bytes_view(&output->content), cases[i].text);
        assert_false(output->cut);
        call_reader_destroy(reader);
    }
    struct call_reader *reader = read_text(&bench, "so\n<tool_call>\n{\"name\": \"get\", \"argum", 5);
    check_ok(call_reader_finish(reader, &check_error));
    assert_true(call_reader_output(reader)->cut);
    assert_int_equal(call_reader_output(reader)->call_count, 0);
    assert_view(bytes_view(&call_reader_output(reader)->content), "so");
    call_reader_destroy(reader);
    reader = read_text(&bench, "<think>I\nmust</think>\n\nso", 3);
    check_ok(call_reader_finish(reader, &check_error));
    assert_view(bytes_view(&call_reader_output(reader)->thought), "I\nmust");
    assert_view(bytes_view(&call_reader_output(reader)->content), "\n\nso");
    call_reader_destroy(reader);
    close_bench(&bench);
}

static void test_reader_gives_content_of_a_schema(void **state) {
    (void)state;
    static const struct {
        const char *text, *content, *thought;
        size_t calls;
    } cases[] = {{"{\"a\": \"<tool_call>\"}", "{\"a\": \"<tool_call>\"}", "", 0},
                 {"<think>x</think>\n\n12", "12", "x", 0},
                 {"<tool_call>\n{\"name\": \"get\", \"arguments\": {}}\n</tool_call>", "", "", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench bench;
        open_content_bench(&bench, &settings[3], CALL_CHOICE_AUTO, "true");
        struct call_reader *reader = read_text(&bench, cases[i].text, 3);
        check_ok(call_reader_finish(reader, &check_error));
        const struct call_output *output = call_reader_output(reader);
        assert_view(bytes_view(&output->content), cases[i].content);
        assert_view(bytes_view(&output->thought), cases[i].thought);
        assert_int_equal(output->call_count, cases[i].calls);
        assert_false(output->cut);
        call_reader_destroy(reader);
        close_bench(&bench);
    }
}

/* ---- what is declined ---- */

static enum status compile_one(struct calls_fixture *fixture, const char *schema, bool strict,
                               struct call_problem *problem) {
    struct call_tool tools[] = {fixture->tools[0], {.name = bytes_view_string("bad"), .strict = strict}};
    struct call_request request = {.tools = tools, .tool_count = 2};
    struct grammar *grammar = NULL;
    if (schema != NULL) tools[1].parameters = calls_fixture_json(fixture, schema);
    enum status status = calls_compile(fixture->format, &request, &grammar, problem);
    grammar_unref(grammar);
    return status;
}

static void test_a_bad_tool_is_named_and_harms_no_other(void **state) {
    (void)state;
    struct calls_fixture fixture;
    struct call_problem problem;
    static const struct {
        const char *schema;
        enum status status;
        const char *pointer;
    } cases[] = {{"{\"type\": \"string\"}", STATUS_INVALID_ARGUMENT, "/type"},
                 {"[]", STATUS_INVALID_ARGUMENT, ""},
                 {"false", STATUS_INVALID_ARGUMENT, ""},
                 {"{\"properties\": {\"a\": {\"type\": 1}}}", STATUS_INVALID_ARGUMENT, "/properties/a/type"},
                 {"{\"enum\": [1]}", STATUS_FAILED_PRECONDITION, "/enum"},
                 {"{\"properties\": {\"a\": {\"pattern\": \"(\"}}}", STATUS_INVALID_ARGUMENT, "/properties/a/pattern"}};
    assert_true(calls_fixture_init(&fixture, CHAT_CALLS_TAGS, false));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum status status = compile_one(&fixture, cases[i].schema, false, &problem);
        if (status != cases[i].status || problem.tool != 1 || strcmp(problem.problem.pointer, cases[i].pointer) != 0)
            fail_msg("%s: %d, tool %zu, '%s', %s", cases[i].schema, (int)status, problem.tool, problem.problem.pointer,
                     problem.problem.reason);
        assert_true(problem.problem.reason[0] != '\0');
        check_ok(compile_one(&fixture, "{\"type\": [\"object\", \"null\"]}", false, &problem));
    }
    check_ok(compile_one(&fixture, "true", false, &problem));
    check_ok(compile_one(&fixture, NULL, true, &problem));
    struct call_tool list[] = {fixture.tools[0], fixture.tools[1]};
    check_ok(calls_check(fixture.format, list, 2, &(struct grammar_options){0}, &problem));
    list[1].parameters = calls_fixture_json(&fixture, "[]");
    assert_int_equal(calls_check(fixture.format, list, 2, &(struct grammar_options){0}, &problem),
                     STATUS_INVALID_ARGUMENT);
    assert_int_equal(problem.tool, 1);
    calls_fixture_deinit(&fixture);
}

static void test_requests_that_make_no_sense(void **state) {
    (void)state;
    struct calls_fixture fixture;
    struct call_problem problem;
    struct grammar *grammar = NULL;
    assert_true(calls_fixture_init(&fixture, CHAT_CALLS_TAGS, false));
    struct call_tool twice[] = {fixture.tools[0], fixture.tools[1], fixture.tools[0]},
                     nameless[] = {{.name = bytes_view_string("")}};
    struct call_request requests[] = {{.choice = CALL_CHOICE_REQUIRED},
                                      {.tools = twice, .tool_count = 2, .choice = CALL_CHOICE_NAMED, .named = 2},
                                      {.tools = twice, .tool_count = 3},
                                      {.tools = nameless, .tool_count = 1},
                                      {.tools = twice, .tool_count = CALL_TOOLS_MAX + 1}};
    const size_t whose[] = {SIZE_MAX, SIZE_MAX, 2, 0, SIZE_MAX};
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        assert_int_equal(calls_compile(fixture.format, &requests[i], &grammar, &problem), STATUS_INVALID_ARGUMENT);
        assert_int_equal(problem.tool, whose[i]);
    }
    struct call_format *format;
    assert_int_equal(call_format_create(fixture.vocabulary, CHAT_CALLS_NONE, &format, &check_error),
                     STATUS_UNIMPLEMENTED);
    calls_fixture_deinit(&fixture);
}

static void test_strict_without_parameters_takes_none(void **state) {
    (void)state;
    for (int strict = 0; strict < 2; strict++) {
        struct bench bench;
        struct call_problem problem;
        assert_true(calls_fixture_init(&bench.fixture, CHAT_CALLS_ARGUMENTS, false));
        struct call_tool tool = {.name = bytes_view_string("f"), .strict = strict};
        bench.request = (struct call_request){.tools = &tool, .tool_count = 1, .choice = CALL_CHOICE_REQUIRED};
        check_ok(calls_compile(bench.fixture.format, &bench.request, &bench.grammar, &problem));
        check_ok(grammar_session_create(bench.grammar, &bench.session, &check_error));
        expect(&bench, true, "%s", "[TOOL_CALLS]f[ARGS]{}", "", "");
        expect(&bench, !strict, "%s", "[TOOL_CALLS]f[ARGS]{\"a\": 1}", "", "");
        close_bench(&bench);
    }
}

/* ---- the way to the end ---- */

/** A short rest of text makes the text complete, and is as long as it says; control tokens are not in it. */
static void test_shortest_rest_ends_the_text(void **state) {
    (void)state;
    static const struct {
        int setting;
        enum call_choice choice;
        const char *text;
        uint64_t length;
        const char *rest;
    } cases[] = {{3, CALL_CHOICE_AUTO, "so <tool_call", 0, ""},
                 {3, CALL_CHOICE_REQUIRED, "<tool_call>\n{\"name\": \"get\", \"arguments\": {}", 14, "}\n</tool_call>"},
                 {4, CALL_CHOICE_REQUIRED, "<tool_call>\n{\"name\": \"get\", \"arguments\": {}", 3, "}\n"},
                 {0, CALL_CHOICE_AUTO, "[TOOL_CALLS][{\"name\": \"get\", \"arguments\": {}, \"id\": \"abc", 9, NULL},
                 {0, CALL_CHOICE_AUTO, "[TOOL_CALLS][{\"name\": \"get\", \"arguments\": {}}", 1, "]"},
                 {2, CALL_CHOICE_AUTO, "[TOOL_CALLS]get[ARGS]{}", 0, ""},
                 {5, CALL_CHOICE_REQUIRED, "{\"name\": \"get\", \"parameters\": {}", 1, "}"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench bench;
        struct grammar_state at;
        struct bytes rest;
        bool accepted = true;
        open_bench(&bench, &settings[cases[i].setting], cases[i].choice, false);
        check_ok(grammar_start(bench.session, &at, &check_error));
        for (const char *text = cases[i].text; accepted && *text != '\0';) {
            int32_t control = control_at(bench.fixture.tokenizer, text);
            if (control >= 0)
                check_ok(grammar_accept(bench.session, &at, control, &accepted, &check_error));
            else
                check_ok(grammar_accept_bytes(bench.session, &at, bytes_view_of(text, 1), &accepted, &check_error));
            text += control >= 0 ? tokenizer_name(bench.fixture.tokenizer, control).length : 1;
        }
        assert_true(accepted);
        bytes_init(&rest, 1000);
        struct machine *machine = bench.grammar->machine;
        assert_int_equal(machine->operations->shortest(machine, &bench.session->frames, &at.machine, 100, &rest),
                         cases[i].length);
        if (cases[i].rest != NULL) assert_view(bytes_view(&rest), cases[i].rest);
        bytes_deinit(&rest);
        close_bench(&bench);
    }
}

/* ---- threads ---- */

enum { THREADS = 4 };
struct worker {
    struct calls_fixture *fixture;
    uint64_t seed;
    size_t calls;
};

/** Compiles the tools that the others have too, and walks. */
static void *work(void *argument) {
    struct worker *worker = argument;
    for (uint64_t round = 0; round < 6; round++) {
        struct bench bench = {.fixture = *worker->fixture};
        struct call_problem problem;
        bench.request = (struct call_request){.tools = bench.fixture.tools,
                                              .tool_count = FIXTURE_TOOLS,
                                              .choice = CALL_CHOICE_REQUIRED,
                                              .parallel = true};
        if (calls_compile(bench.fixture.format, &bench.request, &bench.grammar, &problem) != STATUS_OK) return NULL;
        struct error err = {0};
        if (grammar_session_create(bench.grammar, &bench.session, &err) != STATUS_OK) return NULL;
        struct grammar_state at;
        uint32_t mask[64];
        bool accepted = grammar_start(bench.session, &at, &err) == STATUS_OK;
        for (uint64_t i = 0; i < 60 && accepted; i++) {
            if (grammar_mask(bench.session, &at, SIZE_MAX, mask, &err) != STATUS_OK) return NULL;
            int32_t token = draw_allowed(&bench, mask, worker->seed + round, i);
            if (token < 0 || token == tokenizer_eos(bench.fixture.tokenizer)) break;
            if (grammar_accept(bench.session, &at, token, &accepted, &err) != STATUS_OK || !accepted) return NULL;
        }
        grammar_session_destroy(bench.session);
        grammar_unref(bench.grammar);
        worker->calls++;
    }
    return NULL;
}

static void test_threads_share_tools(void **state) {
    (void)state;
    struct calls_fixture fixture;
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    assert_true(calls_fixture_init(&fixture, CHAT_CALLS_TAGS, false));
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.fixture = &fixture, .seed = 100 * (uint64_t)i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(workers[i].calls, 6);
    }
    calls_fixture_deinit(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_layout_with_every_choice),
        cmocka_unit_test(test_what_is_no_call_is_refused),
        cmocka_unit_test(test_a_list_may_begin_with_the_blank_of_sentencepiece),
        cmocka_unit_test(test_what_only_looks_like_a_call_is_content),
        cmocka_unit_test(test_an_answer_that_continues_has_no_start),
        cmocka_unit_test(test_thoughts_are_no_content_and_hide_triggers),
        cmocka_unit_test(test_content_of_a_schema_or_calls),
        cmocka_unit_test(test_masks_are_what_is_accepted),
        cmocka_unit_test(test_tokens_that_run_past_a_trigger),
        cmocka_unit_test(test_walks_end_in_calls_that_hold),
        cmocka_unit_test(test_reader_takes_calls_apart),
        cmocka_unit_test(test_reader_gives_text_as_soon_as_it_is_certain),
        cmocka_unit_test(test_reader_gives_content_of_a_schema),
        cmocka_unit_test(test_shortest_rest_ends_the_text),
        cmocka_unit_test(test_threads_share_tools),
        cmocka_unit_test(test_a_bad_tool_is_named_and_harms_no_other),
        cmocka_unit_test(test_requests_that_make_no_sense),
        cmocka_unit_test(test_strict_without_parameters_takes_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
