/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Short rests of texts, budgeted finish and forced text, over a byte-level vocabulary with a few longer pieces. */
#include "base/json.h"
#include "base/text.h"
#include "engine/grammar/grammar_internal.h"

#include "tests/unit/engine/check.h"

#include <stdlib.h>
#include <string.h>

enum { MASK_WORDS = 32, WALKS = 4, TOKENS_MAX = 48 };

static const char *const PIECES[] = {"{\"", "\": ", "\": \"", "\", \"", "\"}", "true", "null", "name",
                                     " \"", "}}",   "[[",     "], ",    "10",  "ab",   "\\u"};
static struct tokenizer *tokenizer;
static struct grammar_vocabulary *vocabulary;

/* ---- a vocabulary ---- */

/* Byte-level vocabularies write bytes that are no letters as code points from 256 on. */
static void append_disguised(struct bytes *out, struct bytes_view text) {
    for (size_t i = 0; i < text.length; i++) {
        uint32_t c = text.data[i], code_point = 256;
        if ((c >= 0x21 && c < 0x7f) || (c >= 0xa1 && c != 0xad)) {
            code_point = c;
        } else {
            for (uint32_t before = 0; before < c; before++)
                code_point += !((before >= 0x21 && before < 0x7f) || (before >= 0xa1 && before != 0xad));
        }
        uint8_t utf8[4];
        size_t length = text_encode(code_point, utf8);
        if (code_point == '"' || code_point == '\\') assert_int_equal(bytes_append_byte(out, '\\'), STATUS_OK);
        assert_int_equal(bytes_append(out, utf8, length), STATUS_OK);
    }
}

static int create_vocabulary(void **state) {
    (void)state;
    struct bytes json, merges;
    struct error *err = &check_error;
    bytes_init(&json, 1 << 20);
    bytes_init(&merges, 1 << 20);
    int id = 0;
    (void)bytes_append_string(
        &json,
        "{\"added_tokens\": [{\"id\": 999, \"content\": \"</s>\", \"special\": true}], \"pre_tokenizer\": {\"type\": "
        "\"ByteLevel\", \"add_prefix_space\": false, "
        "\"use_regex\": false}, \"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": \"BPE\", \"vocab\": {");
    for (int c = 0; c < 256; c++) {
        uint8_t byte = (uint8_t)c;
        (void)bytes_printf(&json, "%s\"", id == 0 ? "" : ", ");
        append_disguised(&json, bytes_view_of(&byte, 1));
        (void)bytes_printf(&json, "\": %d", id++);
    }
    for (size_t p = 0; p < sizeof PIECES / sizeof *PIECES; p++)
        for (size_t length = 2; length <= strlen(PIECES[p]); length++) {
            bool known = false;
            for (size_t q = 0; q < p; q++)
                known |= strlen(PIECES[q]) >= length && strncmp(PIECES[q], PIECES[p], length) == 0;
            if (known) continue;
            (void)bytes_append_string(&json, ", \"");
            append_disguised(&json, bytes_view_of(PIECES[p], length));
            (void)bytes_printf(&json, "\": %d", id++);
            (void)bytes_append_string(&merges, merges.length == 0 ? "[\"" : ", [\"");
            append_disguised(&merges, bytes_view_of(PIECES[p], length - 1));
            (void)bytes_append_string(&merges, "\", \"");
            append_disguised(&merges, bytes_view_of(PIECES[p] + length - 1, 1));
            (void)bytes_append_string(&merges, "\"]");
        }
    (void)bytes_append_string(&json, "}, \"merges\": [");
    (void)bytes_append(&json, merges.data, merges.length);
    (void)bytes_append_string(&json, "]}}");
    check_ok(tokenizer_load_json(bytes_view(&json), "tokenizer.json", &tokenizer, err));
    check_ok(
        tokenizer_read_configs(tokenizer, bytes_view_string("{\"eos_token\": \"</s>\"}"), (struct bytes_view){0}, err));
    check_ok(grammar_vocabulary_create(tokenizer, &vocabulary, err));
    assert_true(grammar_mask_words(vocabulary) <= MASK_WORDS);
    bytes_deinit(&json);
    bytes_deinit(&merges);
    return 0;
}

static int destroy_vocabulary(void **state) {
    (void)state;
    grammar_vocabulary_destroy(vocabulary);
    tokenizer_destroy(tokenizer);
    return 0;
}

/* ---- grammars ---- */

struct run {
    struct grammar *grammar;
    struct grammar_session *session;
    struct grammar_state state;
};

static void open_run(struct run *run, struct grammar *grammar, const char *begun) {
    struct error *err = &check_error;
    bool accepted;
    run->grammar = grammar;
    check_ok(grammar_session_create(grammar, &run->session, err));
    check_ok(grammar_start(run->session, &run->state, err));
    check_ok(grammar_accept_bytes(run->session, &run->state, bytes_view_string(begun), &accepted, err));
    if (!accepted) fail_msg("refused: %s", begun);
}

static void close_run(struct run *run) {
    grammar_session_destroy(run->session);
    grammar_unref(run->grammar);
}

static struct grammar *of_schema_spelled(const char *text, enum grammar_spelling spelling) {
    struct grammar_options options = {.spelling = spelling};
    struct arena arena;
    struct json_value *schema;
    struct json_problem problem;
    struct grammar_problem why;
    struct grammar *grammar = NULL;
    arena_init(&arena, 1 << 20);
    assert_int_equal(json_read(bytes_view_string(text), 100, 10000, &arena, &schema, &problem), STATUS_OK);
    if (grammar_compile_schema(vocabulary, schema, &options, &grammar, &why) != STATUS_OK)
        fail_msg("%s: %s", text, why.reason);
    arena_deinit(&arena);
    return grammar;
}

static struct grammar *of_schema(const char *text) {
    return of_schema_spelled(text, GRAMMAR_SPELLING_PLAIN);
}

static struct grammar *of_regex(const char *pattern) {
    struct grammar *grammar = NULL;
    struct grammar_problem why;
    assert_int_equal(grammar_compile_regex(vocabulary, bytes_view_string(pattern), NULL, &grammar, &why), STATUS_OK);
    return grammar;
}

static struct grammar *of_rules(const char *text) {
    struct grammar *grammar = NULL;
    struct grammar_problem why;
    assert_int_equal(grammar_compile_rules(vocabulary, bytes_view_string(text), GRAMMAR_GBNF, NULL, &grammar, &why),
                     STATUS_OK);
    return grammar;
}

#define OBJECT                                                                                                    \
    "{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\"}, \"n\": {\"type\": \"integer\"}}, " \
    "\"required\": [\"name\", \"n\"], \"additionalProperties\": false}"
#define UNIQUE(VALUES) \
    "{\"type\": \"array\", \"minItems\": 3, \"uniqueItems\": true, \"items\": {\"enum\": " VALUES "}}"
#define UNIQUE_STRINGS \
    "{\"type\": \"array\", \"minItems\": 3, \"uniqueItems\": true, \"items\": {\"type\": \"string\"}}"
#define LARGE                                                                                                \
    "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"string\"}, \"big\": {\"type\": \"array\", " \
    "\"items\": {\"type\": \"boolean\"}, \"minItems\": 300}}, \"additionalProperties\": false}"

/* ---- rests ---- */

static void rests_are_short(void **state) {
    (void)state;
    static const struct {
        const char *schema, *begun, *rest;
    } CASES[] = {
        {OBJECT, "", "{\"name\": \"\", \"n\": 0}"},
        {OBJECT, "{\"na", "me\": \"\", \"n\": 0}"},
        {OBJECT, "{\"name\": \"x\\u00", "00\", \"n\": 0}"},
        {OBJECT, "{\"name\": \"x\", \"n\": -", "0}"},
        {OBJECT, "{\"name\": \"\xe6\x9d", "\x80\", \"n\": 0}"},
        {"{\"type\": \"array\", \"contains\": {\"type\": \"object\", \"required\": [\"k\"]}, \"maxItems\": 9}", "[1",
         ", {\"k\": 0}]"},
        {"{\"type\": \"array\", \"minItems\": 3, \"uniqueItems\": true, \"items\": {\"enum\": [1, 2, 3]}}", "[2",
         ", 1, 3]"},
        {"{\"type\": \"string\", \"minLength\": 4}", "\"a", "000\""},
        {"{\"anyOf\": [{\"const\": \"abcdefgh\"}, {\"const\": \"abx\"}]}", "\"a", "bx\""},
        {"{\"type\": \"object\", \"minProperties\": 2}", "", "{\"\": 0, \"0\": 0}"},
        {"{\"type\": \"object\", \"properties\": {\"kind\": {\"enum\": [\"a\", \"b\"]}}, \"required\": [\"kind\"], "
         "\"if\": {\"properties\": {\"kind\": {\"const\": \"a\"}}}, \"then\": {\"required\": [\"longer\"]}}",
         "{\"kind\": ", "\"b\"}"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct run run;
        struct bytes rest;
        open_run(&run, of_schema(CASES[i].schema), CASES[i].begun);
        bytes_init(&rest, 1 << 16);
        struct machine *machine = run.grammar->machine;
        uint64_t length = machine->operations->shortest(machine, &run.session->frames, &run.state.machine, 1000, &rest);
        if (length != strlen(CASES[i].rest))
            fail_msg("%s %s: %.*s (%zu), not %s", CASES[i].schema, CASES[i].begun, (int)rest.length,
                     (const char *)rest.data, (size_t)length, CASES[i].rest);
        assert_int_equal(length, rest.length);
        assert_int_equal(
            machine->operations->shortest(machine, &run.session->frames, &run.state.machine, length - 1, NULL), length);
        bool accepted;
        struct error *err = &check_error;
        check_ok(grammar_accept_bytes(run.session, &run.state, bytes_view(&rest), &accepted, err));
        assert_true(accepted && grammar_complete(run.session, &run.state));
        bytes_deinit(&rest);
        close_run(&run);
    }
}

/* ---- budgeted finish ---- */

static uint64_t draws = 88172645463325252u;
static uint32_t draw(uint32_t below) {
    draws ^= draws << 13;
    draws ^= draws >> 7;
    draws ^= draws << 17;
    return (uint32_t)(draws >> 33) % below;
}

/* Any token of the mask, or of some tokens drawn the one behind which most is left to come; the vocabulary's size: there is none. */
static uint32_t draw_token(struct run *run, const uint32_t *mask, bool worst) {
    enum { TRIED = 12 };
    uint32_t size = (uint32_t)tokenizer_vocabulary(tokenizer), from = draw(size), out = size, tried = 0;
    uint64_t longest = 0;
    struct machine *machine = run->grammar->machine;
    for (uint32_t i = 0; i < size && tried < (worst ? TRIED : 1); i++) {
        uint32_t at = (from + i) % size;
        struct grammar_state behind = run->state;
        struct error *err = &check_error;
        bool accepted;
        if (!(mask[at / 32] >> at % 32 & 1)) continue;
        tried++;
        if (out == size) out = at;
        if (!worst || tokenizer_is_end(tokenizer, (int32_t)at)) continue;
        check_ok(grammar_accept(run->session, &behind, (int32_t)at, &accepted, err));
        uint64_t rest = machine->operations->shortest(machine, &run->session->frames, &behind.machine, 1 << 16, NULL);
        if (rest <= longest) continue;
        longest = rest;
        out = at;
    }
    return out;
}

/* Every way through the masks ends in time. `least`: the number of tokens that suffices; `most`: up to which others are tried. */
static void walks_end_up_to(struct grammar *grammar, size_t least, size_t most) {
    uint32_t mask[MASK_WORDS], all[MASK_WORDS], size = (uint32_t)tokenizer_vocabulary(tokenizer);
    for (size_t n = 0; n < most; n++)
        for (int walk = 0; walk < WALKS; walk++) {
            struct run run;
            struct error *err = &check_error;
            open_run(&run, grammar_ref(grammar), "");
            enum status status = grammar_mask(run.session, &run.state, n, mask, err);
            /* With fewer than its own rest takes a way may be found all the same: then it has to lead to the end. */
            if (n < least && status != STATUS_OK) {
                assert_int_equal(status, STATUS_OUT_OF_RANGE);
                check_ok(grammar_mask(run.session, &run.state, SIZE_MAX, all, err));
                assert_memory_equal(mask, all, grammar_mask_words(vocabulary) * sizeof *mask);
                close_run(&run);
                break;
            }
            for (size_t left = n;; left--) {
                if (grammar_mask(run.session, &run.state, left, mask, err) != STATUS_OK)
                    fail_msg("%s (least %zu, begun with %zu)", err->message, least, n);
                uint32_t token = draw_token(&run, mask, walk % 2 == 1);
                if (token == size && left == 0) break;
                if (token == size) fail_msg("no token with %zu left", left);
                if (tokenizer_is_end(tokenizer, (int32_t)token)) break;
                if (left == 0) fail_msg("token %u with none left", token);
                bool accepted;
                check_ok(grammar_accept(run.session, &run.state, (int32_t)token, &accepted, err));
                assert_true(accepted);
            }
            assert_true(grammar_complete(run.session, &run.state));
            close_run(&run);
        }
    grammar_unref(grammar);
}

static void walks_end(struct grammar *grammar, size_t least) {
    walks_end_up_to(grammar, least, TOKENS_MAX);
}

static void every_way_through_a_schema_ends_in_time(void **state) {
    (void)state;
    /* {" name ": " ", " n ": 0 }  */
    walks_end(of_schema(OBJECT), 8);
    walks_end(of_schema("true"), 1);
    walks_end(of_schema(LARGE), 2);
    walks_end(of_schema("{\"type\": \"string\", \"minLength\": 5, \"maxLength\": 9}"), 7);
    walks_end(of_schema(UNIQUE("[1, 2, 3]")), 9);
    walks_end(of_schema(UNIQUE("[\"a\", \"name\", 10, \"xxxxxxxxxxxx\"]")), 9);
    walks_end(of_schema(UNIQUE_STRINGS), 8);
    walks_end(of_schema("{\"type\": \"object\", \"minProperties\": 2, \"additionalProperties\": {\"type\": \"null\"}}"),
              9);
    /* Most names lead to another object of the kind, and only those of one sort to an end. */
    walks_end(of_schema("{\"type\": \"object\", \"additionalProperties\": {\"$ref\": \"#\"}, "
                        "\"minProperties\": 1, \"patternProperties\": {\"^[x-z]\": true}}"),
              5);
    walks_end(
        of_schema("{\"type\": \"object\", \"minProperties\": 2, \"propertyNames\": {\"pattern\": \"^[a-c]{1,6}$\"}}"),
        10);
}

static void every_way_through_a_regex_ends_in_time(void **state) {
    (void)state;
    walks_end(of_regex("(ab)+c?"), 1);
    walks_end(of_regex("[a-c]{5}|x[a-c]{7,}y"), 5);
    walks_end(of_regex("(?=[a-z]{3})(a|b|name)+"), 3);
    /* One token leads to a rest that is far longer than the least: however much is left, but for what suffices. */
    walks_end_up_to(of_regex("a|x[a-c]{90}y"), 1, 110);
}

static void every_way_through_rules_ends_in_time(void **state) {
    (void)state;
    walks_end(of_rules("root ::= \"x\" | \"(\" root \")\" root | \"[\" [a-z]{20} \"]\""), 1);
    walks_end_up_to(of_rules("root ::= \"a\"* | b\nb ::= \"a\" b \"xxxxxxxxxxxxxxxxxxxx\" | \"c\""), 0, 90);
}

static void what_is_needed_is_told(void **state) {
    (void)state;
    struct run run;
    open_run(&run, of_schema(OBJECT), "");
    assert_int_equal(grammar_tokens_needed(run.session, &run.state), 8);
    close_run(&run);
    open_run(&run, of_regex("a*"), "");
    assert_int_equal(grammar_tokens_needed(run.session, &run.state), 0);
    close_run(&run);
}

/* Near the end of many texts the grammar goes on: what looking ahead takes of its memory does not add up. */
static void looking_ahead_does_not_use_a_grammar_up(void **state) {
    (void)state;
    static const struct {
        const char *schema;
        size_t least;
    } CASES[] = {
        {UNIQUE("[1, 2, 3]"), 9},
        {UNIQUE_STRINGS, 8},
        {"{\"type\": \"object\", \"minProperties\": 2, \"additionalProperties\": {\"type\": \"null\"}}", 9},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct grammar *grammar = of_schema(CASES[i].schema);
        walks_end(grammar_ref(grammar), CASES[i].least);
        int64_t bytes = grammar->budget->bytes;
        walks_end(grammar_ref(grammar), CASES[i].least);
        if (bytes - grammar->budget->bytes >= 1 << 16)
            fail_msg("%s: %lld bytes", CASES[i].schema, (long long)(bytes - grammar->budget->bytes));
        grammar_unref(grammar);
    }
}

/* Others have used up what may be built to look ahead: what was promised has some left. */
static void promises_are_kept_when_no_more_is_looked_at(void **state) {
    (void)state;
    static const struct {
        const char *schema;
        size_t least;
    } CASES[] = {{OBJECT, 8}, {UNIQUE("[1, 2, 3]"), 9}, {UNIQUE_STRINGS, 8}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct run run;
        uint32_t mask[MASK_WORDS];
        open_run(&run, of_schema(CASES[i].schema), "");
        check_ok(grammar_mask(run.session, &run.state, CASES[i].least, mask, &check_error));
        run.grammar->budget->bytes = run.grammar->finish_bytes - 1;
        walks_end(grammar_ref(run.grammar), CASES[i].least);
        close_run(&run);
    }
}

/* ---- forced ---- */

static void check_forced(struct grammar *grammar, const char *begun, const char *expected, const char *tokens) {
    struct run run;
    struct bytes forced, spelt;
    struct error *err = &check_error;
    int32_t ids[64];
    size_t count;
    open_run(&run, grammar, begun);
    bytes_init(&forced, 1 << 10);
    bytes_init(&spelt, 1 << 10);
    check_ok(grammar_forced(run.session, &run.state, 100, &forced, err));
    if (!bytes_view_equal_string(bytes_view(&forced), expected))
        fail_msg("behind %s: %.*s, not %s", begun, (int)forced.length, (const char *)forced.data, expected);
    check_ok(grammar_forced_tokens(run.session, &run.state, NULL, 0, ids, 64, &count, err));
    for (size_t i = 0; i < count; i++) {
        struct bytes_view piece = tokenizer_piece(tokenizer, ids[i]);
        (void)bytes_append(&spelt, piece.data, piece.length);
        (void)bytes_append_byte(&spelt, '|');
    }
    if (!bytes_view_equal_string(bytes_view(&spelt), tokens))
        fail_msg("behind %s: %.*s, not %s", begun, (int)spelt.length, (const char *)spelt.data, tokens);
    bytes_deinit(&forced);
    bytes_deinit(&spelt);
    close_run(&run);
}

static void what_must_come_is_forced(void **state) {
    (void)state;
    check_forced(of_schema(OBJECT), "", "{\"name\": \"", "{\"|name|\": \"|");
    check_forced(of_schema(OBJECT), "{\"name\": \"x", "", "");
    check_forced(of_schema(OBJECT), "{\"name\": \"x\"", ", \"n\": ", ",| \"|n|\": |");
    check_forced(of_schema("{\"const\": \"a\\\"b\"}"), "", "\"a\\\"b\"", "\"|a|\\|\"|b|\"|");
    check_forced(of_schema_spelled("{\"const\": \"a\\\"b\"}", GRAMMAR_SPELLING_ANY), "", "\"a\\",
                 "\"|a|"); /* \" or \u0022 */
    check_forced(of_schema_spelled(OBJECT, GRAMMAR_SPELLING_ANY), "", "{\"name\": \"", "{\"|name|\": \"|");
    check_forced(of_schema("{\"type\": \"string\", \"pattern\": \"^[a\\\"]$\"}"), "", "\"", "\"|");
    check_forced(of_schema("{\"const\": true}"), "t", "rue", "r|u|e|");
    check_forced(of_schema("{\"enum\": [[\"ab\", \"name\"], [\"ab\", \"null\"]]}"), "[", "\"ab\", \"n",
                 "\"|ab|\", \"|");
    check_forced(of_regex("xab(c|d)"), "", "xab", "x|ab|");
    check_forced(of_regex("x1(0|2)"), "", "x1", "x|");
    check_forced(of_rules("root ::= \"name\" [0-9]"), "na", "me", "m|e|");
}

static void recent_tokens_decide_the_cut(void **state) {
    (void)state;
    struct run run;
    struct error *err = &check_error;
    int32_t ids[8], recent[1] = {'x'};
    size_t count;
    open_run(&run, of_regex("xab(c|d)"), "x");
    for (int32_t id = 0; id < 256; id++)
        if (bytes_view_equal_string(tokenizer_piece(tokenizer, id), "x")) recent[0] = id;
    check_ok(grammar_forced_tokens(run.session, &run.state, recent, 1, ids, 8, &count, err));
    assert_int_equal(count, 1);
    assert_true(bytes_view_equal_string(tokenizer_piece(tokenizer, ids[0]), "ab"));
    check_ok(grammar_forced_tokens(run.session, &run.state, recent, 1, ids, 0, &count, err));
    assert_int_equal(count, 0);
    close_run(&run);
}

/* Each byte of it can be read in more ways than the one before: some of them are found now, others behind the next token. */
static void what_must_come_is_looked_for_a_while(void **state) {
    enum { LENGTH = 60, FUEL = 25000 };
    (void)state;
    struct run run;
    struct error *err = &check_error;
    struct bytes rules, forced;
    bytes_init(&rules, 1 << 20);
    bytes_init(&forced, 1 << 10);
    (void)bytes_printf(&rules, "root ::= \"(\" root \")\" | a%d\na1 ::= \"a\"\n", LENGTH);
    for (int n = 2; n <= LENGTH; n++) {
        (void)bytes_printf(&rules, "a%d ::= a1 a%d", n, n - 1);
        for (int i = 2; i < n; i++) (void)bytes_printf(&rules, " | a%d a%d", i, n - i);
        check_ok(bytes_append_byte(&rules, '\n'));
    }
    check_ok(bytes_append_byte(&rules, 0));
    open_run(&run, of_rules((const char *)rules.data), "a");
    grammar_refuel(run.grammar);
    int64_t fuel = run.grammar->budget->fuel;
    check_ok(grammar_forced(run.session, &run.state, 1000, &forced, err));
    assert_true(forced.length > 0 && forced.length < LENGTH - 1);
    assert_true(fuel - run.grammar->budget->fuel < FUEL);
    close_run(&run);
    bytes_deinit(&rules);
    bytes_deinit(&forced);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rests_are_short),
        cmocka_unit_test(every_way_through_a_schema_ends_in_time),
        cmocka_unit_test(every_way_through_a_regex_ends_in_time),
        cmocka_unit_test(every_way_through_rules_ends_in_time),
        cmocka_unit_test(what_is_needed_is_told),
        cmocka_unit_test(looking_ahead_does_not_use_a_grammar_up),
        cmocka_unit_test(promises_are_kept_when_no_more_is_looked_at),
        cmocka_unit_test(what_must_come_is_forced),
        cmocka_unit_test(recent_tokens_decide_the_cut),
        cmocka_unit_test(what_must_come_is_looked_for_a_while),
    };
    return cmocka_run_group_tests(tests, create_vocabulary, destroy_vocabulary);
}
