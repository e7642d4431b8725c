/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Grammars in GBNF and Lark: what they accept (and what lark, llguidance and llama.cpp say of the same), what is refused and where, and that hostile ones end. */
#include "engine/grammar/earley.h"
#include "engine/grammar/regex_machine.h"

#include "tests/unit/engine/check.h"

#include <jansson.h>

enum { FUEL = 10000000, BYTES = 256 << 20 };

static struct grammar_budget budget;
static struct grammar_problem problem;

static enum status compile(enum grammar_dialect dialect, const char *text, struct machine **out) {
    budget = (struct grammar_budget){.fuel = FUEL, .bytes = BYTES};
    problem = (struct grammar_problem){0};
    return earley_machine_create(&budget, bytes_view_string(text), dialect, out, &problem);
}

static struct machine *must_compile(enum grammar_dialect dialect, const char *text) {
    struct machine *machine = NULL;
    enum status status = compile(dialect, text, &machine);
    if (status != STATUS_OK) fail_msg("%s: %s: %s\n%s", status_name(status), problem.pointer, problem.reason, text);
    return machine;
}

/* The state behind `text`. */
static enum machine_step walk(struct machine *machine, struct frames *frames, struct bytes_view text,
                              struct machine_state *out) {
    enum machine_step step = machine->operations->start(machine, frames, out);
    for (size_t i = 0; i < text.length && step == MACHINE_LIVE; i++)
        step = machine->operations->step(machine, frames, out, text.data[i], out);
    return step;
}

static bool accepts_bytes(struct machine *machine, struct bytes_view text) {
    struct frames frames;
    struct machine_state state;
    frames_init(&frames, 256 << 20);
    enum machine_step step = walk(machine, &frames, text, &state);
    bool accepted = step == MACHINE_LIVE && machine->operations->complete(machine, &state);
    assert_int_not_equal(step, MACHINE_FAILED);
    frames_deinit(&frames);
    return accepted;
}

static void check_texts(enum grammar_dialect dialect, const char *grammar, const char *const *accepted,
                        const char *const *refused) {
    struct machine *machine = must_compile(dialect, grammar);
    for (; *accepted != NULL; accepted++)
        if (!accepts_bytes(machine, bytes_view_string(*accepted)))
            fail_msg("'%s' is refused by\n%s", *accepted, grammar);
    for (; *refused != NULL; refused++)
        if (accepts_bytes(machine, bytes_view_string(*refused))) fail_msg("'%s' is accepted by\n%s", *refused, grammar);
    machine->operations->destroy(machine);
}
#define TEXTS(...) ((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static void check_refused(enum grammar_dialect dialect, const char *grammar, enum status expected, const char *pointer,
                          const char *word) {
    struct machine *machine = NULL;
    enum status status = compile(dialect, grammar, &machine);
    if (status != expected || strcmp(problem.pointer, pointer) != 0 || strstr(problem.reason, word) == NULL)
        fail_msg("%s at %s (%s) where %s at %s (%s) is due:\n%.200s", status_name(status), problem.pointer,
                 problem.reason, status_name(expected), pointer, word, grammar);
    assert_string_equal(problem.keyword, "grammar");
}

/* ---- GBNF ---- */

static void test_gbnf_syntax(void **state) {
    (void)state;
    check_texts(GRAMMAR_GBNF, "# first\nroot ::= \"a\" # b\n", TEXTS("a"), TEXTS("", "b", "aa"));
    check_texts(GRAMMAR_GBNF, "root ::=\n  a |\n  b\r\na::=\"x\"\r\nb ::= \"y\"", TEXTS("x", "y"), TEXTS("xy", ""));
    check_texts(GRAMMAR_GBNF, "root ::= a\n  | b\na ::= \"x\"\n\nb ::= \"y\"\n", TEXTS("x", "y"), TEXTS(""));
    check_texts(GRAMMAR_GBNF, "root ::= (\n \"a\"\n # c\n \"b\" |\n \"c\" )? \"d\"\n", TEXTS("abd", "cd", "d"),
                TEXTS("ad", "bd"));
    check_texts(GRAMMAR_GBNF, "root ::= \"ab\"* \"c\"", TEXTS("c", "ababc"), TEXTS("abbc", "bc"));
    check_texts(GRAMMAR_GBNF, "root ::= \"a\"{2} \"b\"{1,} \"c\"{ 0 , 2 } \"d\"?+", TEXTS("aab", "aabbbccddd"),
                TEXTS("ab", "aa", "aabccc"));
    check_texts(GRAMMAR_GBNF, "root ::= [a-c^-] [^a-c] [\\]\\\\\\x41-\\u0043\\U0001F600]",
                TEXTS("adA", "-\xC3\xA9\xF0\x9F\x98\x80", "^]]", "c-\\"), TEXTS("aaA", "dd]", "adD", "-\xC3]"));
    check_texts(GRAMMAR_GBNF, "root ::= . [\\n\\t\\r] \"\\\"\\n\"", TEXTS("\n\n\"\n", "\xE2\x82\xAC\t\"\n"),
                TEXTS("ab\"\n", "\t\"\n"));
    check_texts(GRAMMAR_GBNF, "root ::= | \"a\" | ()", TEXTS("", "a"), TEXTS("b"));
    check_texts(GRAMMAR_GBNF, "root ::= A-b2 a_b\nA-b2 ::= \"1\"\na_b ::= \"2\"", TEXTS("12"), TEXTS("1"));
}

static void test_gbnf_recursion(void **state) {
    (void)state;
    check_texts(GRAMMAR_GBNF, "root ::= root \"a\" | \"b\"", TEXTS("b", "baa"), TEXTS("", "a", "ab"));
    check_texts(GRAMMAR_GBNF, "root ::= e root \"a\" | \"b\"\ne ::= | e", TEXTS("b", "baa"), TEXTS("a"));
    check_texts(GRAMMAR_GBNF, "root ::= root | a | \"x\"\na ::= root | a", TEXTS("x"), TEXTS("", "xx"));
    check_texts(GRAMMAR_GBNF, "root ::= root root | \"(\" root \")\" | \"\"", TEXTS("", "()", "(()())()"),
                TEXTS("(", ")(", "())"));
    /* A rule that never ends is left out, with all that needs it. */
    check_texts(GRAMMAR_GBNF, "root ::= \"a\" bad | \"a\" good\nbad ::= \"b\" bad\ngood ::= \"c\" root | \"d\"",
                TEXTS("ad", "acad"), TEXTS("ab", "a"));
    check_texts(GRAMMAR_GBNF, "root ::= (\"<\" root \">\" | \"x\"){2,3}", TEXTS("xx", "x<xxx>", "<xx><x<xx>>x"),
                TEXTS("x", "xxxx", "<x>x"));
}

/* Rules whose ends hand each other on at one place: what covers an origin must not itself lean on it. */
static void test_ends_that_hand_each_other_on(void **state) {
    (void)state;
    check_texts(GRAMMAR_GBNF, "root ::= \"b\" b\na ::= \"a\" a\nb ::= \"a\"* | b{2,} | (b | a) root",
                TEXTS("b", "baa", "babaa", "bb"), TEXTS("", "a", "ab"));
    check_texts(GRAMMAR_GBNF,
                "root ::= c | [ab] b\na ::= c{1,2}{0,}{1,}\nb ::= b{1,}{0,} | (root | \"a\") ([ab] c)\nc ::= \"b\"",
                TEXTS("a", "aaab", "aaabaab", "bbab"), TEXTS("aa", "aaabab", "aaaabb"));
}

static void test_gbnf_refusals(void **state) {
    (void)state;
    const struct {
        const char *grammar, *pointer, *word;
        enum status status;
    } cases[] = {
        {"root ::= foo", "1:10", "foo is not defined", STATUS_INVALID_ARGUMENT},
        {"a ::= \"x\"", "1:1", "no rule named root", STATUS_INVALID_ARGUMENT},
        {"", "1:1", "no rule named root", STATUS_INVALID_ARGUMENT},
        {"root ::= \"a\"\nroot ::= \"b\"", "2:1", "twice", STATUS_INVALID_ARGUMENT},
        {"root ::= \"a", "1:10", "no end", STATUS_INVALID_ARGUMENT},
        {"root ::= \"\xC3\xA9\" [a", "1:14", "no end", STATUS_INVALID_ARGUMENT},
        {"root ::= []", "1:10", "empty", STATUS_INVALID_ARGUMENT},
        {"root ::= [b-a]", "1:11", "before it begins", STATUS_INVALID_ARGUMENT},
        {"root ::= (\"a\"", "1:10", "not closed", STATUS_INVALID_ARGUMENT},
        {"root ::= \"a\")", "1:13", "end of the rule", STATUS_INVALID_ARGUMENT},
        {"root ::= * \"a\"", "1:10", "end of the rule", STATUS_INVALID_ARGUMENT},
        {"root ::= \"a\"{,3}", "1:14", "number", STATUS_INVALID_ARGUMENT},
        {"root ::= \"a\"{3,2}", "1:14", "at most 2", STATUS_INVALID_ARGUMENT},
        {"root ::= \"a\"{99999999999}", "1:14", "too large", STATUS_INVALID_ARGUMENT},
        {"root ::= \"\\q\"", "1:11", "escape", STATUS_INVALID_ARGUMENT},
        {"root ::= \"\\uD800\"", "1:13", "U+D800", STATUS_INVALID_ARGUMENT},
        {"root ::= \"\\U00110000\"", "1:13", "U+110000", STATUS_INVALID_ARGUMENT},
        {"root ::= \"\\x4\"", "1:14", "hex digit", STATUS_INVALID_ARGUMENT},
        {"root = \"a\"", "1:6", "'::='", STATUS_INVALID_ARGUMENT},
        {"\n\nroot ::= \xFF", "3:10", "UTF-8", STATUS_INVALID_ARGUMENT},
        {"root ::= <think>", "1:10", "token literals", STATUS_UNIMPLEMENTED},
        {"root ::= !<[12]>", "1:10", "token literals", STATUS_UNIMPLEMENTED},
        {"root ::= root \"a\"", "1:1", "no text fits", STATUS_FAILED_PRECONDITION},
        {"root ::= a \"x\"\na ::= b b\nb ::= \"(\" a", "1:1", "no text fits", STATUS_FAILED_PRECONDITION},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_refused(GRAMMAR_GBNF, cases[i].grammar, cases[i].status, cases[i].pointer, cases[i].word);
}

/* ---- Lark ---- */

static void test_lark_syntax(void **state) {
    (void)state;
    check_texts(GRAMMAR_LARK, "// c\nstart: \"a\" b // d\n# e\n?b: \"x\" -> one\n | \"y\" -> two\n\n",
                TEXTS("ax", "ay"), TEXTS("a", "axy"));
    check_texts(GRAMMAR_LARK, "!start: T~2 U~1..2 [V] (\"w\" | )\nT.2: \"t\"i\nU: \"0\"..\"9\"\nV: U U\n",
                TEXTS("tT1", "tt12", "TT1234w"), TEXTS("t1", "tt12345"));
    check_texts(GRAMMAR_LARK, "start: /a.c/ /d.f/s /[\\/x]/i /\\U0001F600/ \"\\u00e9\\x41\\\\\"",
                TEXTS("abcd\nf/\xF0\x9F\x98\x80\xC3\xA9"
                      "A\\",
                      "abcdefX\xF0\x9F\x98\x80\xC3\xA9"
                      "A\\"),
                TEXTS("a\ncdef/\xF0\x9F\x98\x80\xC3\xA9"
                      "A\\"));
    check_texts(GRAMMAR_LARK,
                "start: (\n \"a\"\n \"b\"\n)+ [ \"c\" ] _d\n_d: D\nD: E \"d\"* \nE: \"e\" | \"\xC3\xA9\"..\"\xC3\xBC\"",
                TEXTS("abe", "ababcedd", "ab\xC3\xAA"), TEXTS("ab", "ace"));
    check_texts(GRAMMAR_LARK, "start: a* | \"z\"\na: \"(\" start \")\" |\n", TEXTS("", "z", "()(z)((()))"),
                TEXTS("zz", "("));
    check_texts(GRAMMAR_LARK, "start: \"a\"{2} b{1,} \"c\"{,2} \"d\"{1, 2}\nb: \"(\" b? \")\"",
                TEXTS("aa()d", "aa()(())ccdd"), TEXTS("a()d", "aad", "aa()cccd", "aa()ddd"));
    check_texts(GRAMMAR_LARK, "%llguidance {}\nstart: \"\xC3\x9F\"i \"K\"i", TEXTS("\xC3\x9Fk", "\xE1\xBA\x9EK"),
                TEXTS("ssk"));
}

static void test_lark_common(void **state) {
    (void)state;
    const struct {
        const char *name;
        const char *const *accepted, *const *refused;
    } cases[] = {
        {"DIGIT", TEXTS("7"), TEXTS("", "77")},
        {"HEXDIGIT", TEXTS("f", "A"), TEXTS("g")},
        {"INT", TEXTS("007"), TEXTS("-1", "")},
        {"SIGNED_INT", TEXTS("+1", "-12", "3"), TEXTS("+", "--1")},
        {"DECIMAL", TEXTS("1.", ".5", "1.5"), TEXTS(".", "1")},
        {"FLOAT", TEXTS("1e5", "1.5E-7", "1.", ".5e+1"), TEXTS("1", "e5", "1.5e")},
        {"SIGNED_FLOAT", TEXTS("-1e5", "+.5"), TEXTS("-1")},
        {"NUMBER", TEXTS("1", "1.5", ".5e3"), TEXTS("-1", ".")},
        {"SIGNED_NUMBER", TEXTS("-1", "+1.5e3"), TEXTS("- 1")},
        {"ESCAPED_STRING", TEXTS("\"\"", "\"a\\\"b\\\\\""), TEXTS("\"", "\"a\"b\"", "\"\\\"", "\"\n\"")},
        {"LCASE_LETTER", TEXTS("q"), TEXTS("Q")},
        {"UCASE_LETTER", TEXTS("Q"), TEXTS("q")},
        {"LETTER", TEXTS("Q", "q"), TEXTS("1")},
        {"WORD", TEXTS("Qq"), TEXTS("q1", "")},
        {"CNAME", TEXTS("_a1", "A"), TEXTS("1a", "")},
        {"WS_INLINE", TEXTS(" \t"), TEXTS("\n", "")},
        {"WS", TEXTS(" \t\f\r\n"), TEXTS("", "a")},
        {"CR", TEXTS("\r"), TEXTS("\n")},
        {"LF", TEXTS("\n"), TEXTS("\r")},
        {"NEWLINE", TEXTS("\n", "\r\n\n"), TEXTS("\r", "")},
        {"SH_COMMENT", TEXTS("#", "# a"), TEXTS("a", "#\n")},
        {"CPP_COMMENT", TEXTS("//", "// a"), TEXTS("/a", "//\n")},
        {"C_COMMENT", TEXTS("/**/", "/*a\n***/", "/* * / */"), TEXTS("/*/", "/* */ */")},
        {"SQL_COMMENT", TEXTS("--", "-- a"), TEXTS("-", "--\n")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char grammar[128];
        snprintf(grammar, sizeof grammar, "start: X\n%%import common.%s -> X\n", cases[i].name);
        check_texts(GRAMMAR_LARK, grammar, cases[i].accepted, cases[i].refused);
    }
    check_texts(GRAMMAR_LARK, "start: INT WORD\n%import common (INT,\n WORD)\n", TEXTS("1a"), TEXTS("a1"));
}

static void test_lark_refusals(void **state) {
    (void)state;
    const struct {
        const char *grammar, *pointer, *word;
        enum status status;
    } cases[] = {
        {"start: foo", "1:8", "foo is not defined", STATUS_INVALID_ARGUMENT},
        {"start: FOO", "1:8", "FOO is not defined", STATUS_INVALID_ARGUMENT},
        {"a: \"x\"", "1:1", "no rule named start", STATUS_INVALID_ARGUMENT},
        {"start: \"x\"\nstart: \"y\"", "2:1", "twice", STATUS_INVALID_ARGUMENT},
        {"start: A\nA: start", "2:4", "cannot be made of the rule", STATUS_INVALID_ARGUMENT},
        {"start: \"a\n\"", "1:8", "no end", STATUS_INVALID_ARGUMENT},
        {"start: /a\n/", "1:8", "no end", STATUS_INVALID_ARGUMENT},
        {"start: /(/", "1:8", "", STATUS_INVALID_ARGUMENT},
        {"start: (\"a\"", "1:8", "not closed", STATUS_INVALID_ARGUMENT},
        {"start: [\"a\")", "1:12", "']'", STATUS_INVALID_ARGUMENT},
        {"start: \"a\"..\"bc\"", "1:8", "one character", STATUS_INVALID_ARGUMENT},
        {"start: \"b\"..\"a\"", "1:8", "before it begins", STATUS_INVALID_ARGUMENT},
        {"start: \"\\d\"", "1:9", "escape", STATUS_INVALID_ARGUMENT},
        {"start \"a\"", "1:7", "':'", STATUS_INVALID_ARGUMENT},
        {"%foo", "1:1", "no such directive", STATUS_INVALID_ARGUMENT},
        {"start: \"a\" ~ 3..2", "1:14", "at most 2", STATUS_INVALID_ARGUMENT},
        {"start: /a/m", "1:11", "flag m", STATUS_UNIMPLEMENTED},
        {"start: /a/x", "1:11", "flag x", STATUS_UNIMPLEMENTED},
        {"start: /(a)\\1/", "1:8", "", STATUS_UNIMPLEMENTED},
        {"%declare X", "1:1", "%declare", STATUS_UNIMPLEMENTED},
        {"%override start: \"a\"", "1:1", "%override", STATUS_UNIMPLEMENTED},
        {"%extend start: \"a\"", "1:1", "%extend", STATUS_UNIMPLEMENTED},
        {"%import python.NAME", "1:9", "anything but common", STATUS_UNIMPLEMENTED},
        {"%import .x.NAME", "1:9", "anything but common", STATUS_UNIMPLEMENTED},
        {"%import common.FOO", "1:16", "FOO", STATUS_UNIMPLEMENTED},
        {"%llguidance {\"a\":1}", "1:1", "options", STATUS_UNIMPLEMENTED},
        {"start: x{\"a\"}", "1:8", "template", STATUS_UNIMPLEMENTED},
        {"x{a}: a", "1:2", "template", STATUS_UNIMPLEMENTED},
        {"x[capture]: \"a\"", "1:2", "attributes", STATUS_UNIMPLEMENTED},
        {"start: x::y", "1:8", "parameters", STATUS_UNIMPLEMENTED},
        {"start: <|think|>", "1:8", "token literal", STATUS_UNIMPLEMENTED},
        {"start: %json {}", "1:8", "inline grammar", STATUS_UNIMPLEMENTED},
        {"start: A\nA: \"a\" & \"b\"", "2:8", "operator &", STATUS_UNIMPLEMENTED},
        {"start: A\nA: ~\"a\"", "2:4", "operator ~", STATUS_UNIMPLEMENTED},
        {"start: \"a\"{3,2}", "1:12", "at most 2", STATUS_INVALID_ARGUMENT},
        {"start: \"a\"{2;", "1:13", "'}'", STATUS_INVALID_ARGUMENT},
        {"start: start \"a\"", "1:1", "no text fits", STATUS_FAILED_PRECONDITION},
        {"start: /a(?=b)c/", "1:1", "no text fits", STATUS_FAILED_PRECONDITION},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_refused(GRAMMAR_LARK, cases[i].grammar, cases[i].status, cases[i].pointer, cases[i].word);
}

static void test_lark_ignore(void **state) {
    (void)state;
    const char *grammar =
        "start: A (\",\" A)*\nA: /[a-z]+/ \"!\"?\n%ignore \" \"\n%ignore COMMENT\nCOMMENT: /#[^\\n]*\\n/\n";
    check_texts(GRAMMAR_LARK, grammar, TEXTS("a", "  a , b!,c ", "#x\na#y\n,#z\nb "), TEXTS("a b", "a !", "", " "));
    check_texts(GRAMMAR_LARK, "start: \"%ignore\"", TEXTS("%ignore"), TEXTS(""));
}

/* ---- what others say ---- */

/* The parser's judge is right where it was asked. llguidance reads the longest terminal, and what it accepts is accepted. */
static void check_golden(const char *grammar, struct machine *machine, bool longest, json_t *golden) {
    json_t *text = json_array_get(golden, 0), *first = json_array_get(golden, 1), *second = json_array_get(golden, 2);
    struct bytes_view bytes = bytes_view_of(json_string_value(text), json_string_length(text));
    bool accepted = accepts_bytes(machine, bytes);
    json_t *judge = json_is_null(first) && !longest ? second : first;
    if (!json_is_null(judge) && accepted != json_is_true(judge))
        fail_msg("'%s' is %s by\n%s", json_string_value(text), accepted ? "accepted" : "refused", grammar);
    if (json_is_true(second) && !accepted) fail_msg("'%s' is refused by\n%s", json_string_value(text), grammar);
}

static void test_goldens(void **state) {
    (void)state;
    json_error_t error;
    json_t *cases = json_load_file(BORA_SOURCE_DIR "/tests/golden/grammar/rules.json", 0, &error), *golden, *text;
    size_t i, k, texts = 0;
    if (cases == NULL) fail_msg("rules.json: %s", error.text);
    json_array_foreach(cases, i, golden) {
        const char *grammar = json_string_value(json_object_get(golden, "grammar"));
        bool gbnf = strcmp(json_string_value(json_object_get(golden, "dialect")), "gbnf") == 0;
        struct machine *machine = must_compile(gbnf ? GRAMMAR_GBNF : GRAMMAR_LARK, grammar);
        json_array_foreach(json_object_get(golden, "texts"), k, text) {
            check_golden(grammar, machine, json_is_true(json_object_get(golden, "longest")), text);
            texts++;
        }
        machine->operations->destroy(machine);
    }
    assert_true(texts > 900);
    json_decref(cases);
}

/* ---- the machine ---- */

static const char JSON[] = "root ::= ws value ws\n"
                           "value ::= object | array | string | number | \"true\" | \"null\"\n"
                           "object ::= \"{\" ws (pair (\",\" ws pair)*)? \"}\"\n"
                           "pair ::= string ws \":\" ws value ws\n"
                           "array ::= \"[\" ws (value ws (\",\" ws value ws)*)? \"]\"\n"
                           "string ::= \"\\\"\" ([^\"\\\\\\x00-\\x1F] | \"\\\\\" [\"\\\\nt])* \"\\\"\"\n"
                           "number ::= \"-\"? [0-9]+ (\".\" [0-9]+)?\n"
                           "ws ::= [ \\n]*\n";

static void check_rest(struct machine *machine, const char *text, const char *want) {
    struct frames frames;
    struct machine_state state;
    struct bytes rest;
    frames_init(&frames, 1 << 20);
    bytes_init(&rest, 1 << 10);
    assert_int_equal(walk(machine, &frames, bytes_view_string(text), &state), MACHINE_LIVE);
    assert_int_equal(machine->operations->shortest(machine, &frames, &state, 100, NULL), strlen(want));
    assert_int_equal(machine->operations->shortest(machine, &frames, &state, 100, &rest), strlen(want));
    if (!bytes_view_equal_string(bytes_view(&rest), want))
        fail_msg("'%s' is completed by '%.*s', not '%s'", text, (int)rest.length, (const char *)rest.data, want);
    if (strlen(want) > 1)
        assert_int_equal(machine->operations->shortest(machine, &frames, &state, strlen(want) - 1, &rest),
                         strlen(want));
    assert_int_equal(rest.length, strlen(want)); /* a longer one than the limit is not written */
    bytes_deinit(&rest);
    frames_deinit(&frames);
}

static void test_shortest_rest(void **state) {
    (void)state;
    struct machine *machine = must_compile(GRAMMAR_GBNF, JSON);
    check_rest(machine, "[[[{", "}]]]");
    check_rest(machine, "{\"a", "\":0}");
    check_rest(machine, "{\"a\": [tru", "e]}");
    check_rest(machine, "[1.", "0]");
    check_rest(machine, "{} ", "");
    check_rest(machine, "\"\xE2\x82", "\x80\"");
    machine->operations->destroy(machine);
}

/* A character that is cut lives only if some character with that beginning does. */
static void test_utf8_is_looked_through(void **state) {
    (void)state;
    struct machine *machines[] = {must_compile(GRAMMAR_GBNF, "root ::= [\\u00E9\\u20AC\\U0001F600-\\U0001F64F\\uE000]"),
                                  must_compile(GRAMMAR_GBNF,
                                               "root ::= [\\u00E9\\u20AC\\U0001F600-\\U0001F64F\\uE000] root?"
                                               " | \"(\" root \")\"")};
    for (int i = 0; i < 2; i++) {
        const char *live[] = {"\xC3",         "\xC3\xA9",         "\xE2\x82",    "\xE2\x82\xAC",
                              "\xF0\x9F\x98", "\xF0\x9F\x99\x8F", "\xEE\x80\x80"};
        const char *dead[] = {
            "\xC3\xA8", "\xC4", "\xC3\xC3", "\xE2\x81", "\xF0\x9F\x97", "\xF0\x90", "\xF0\x9F\x99\x90", "\xED\xA0",
            "\xE0\x82", "\x80", "\xC0",     "\xF4\x90", "\xF8",         "\xEE\x81", "\xC1\xA9"};
        struct frames frames;
        struct machine_state at;
        frames_init(&frames, 1 << 20);
        for (size_t k = 0; k < sizeof live / sizeof *live; k++)
            assert_int_equal(walk(machines[i], &frames, bytes_view_string(live[k]), &at), MACHINE_LIVE);
        for (size_t k = 0; k < sizeof dead / sizeof *dead; k++)
            assert_int_equal(walk(machines[i], &frames, bytes_view_string(dead[k]), &at), MACHINE_DEAD);
        frames_deinit(&frames);
        machines[i]->operations->destroy(machines[i]);
    }
}

/* A state that was copied goes on as before, whatever else was looked at and dropped. */
static void test_fork_and_drop(void **state) {
    (void)state;
    struct machine *machine = must_compile(GRAMMAR_GBNF, JSON);
    struct frames frames;
    struct machine_state first, other;
    frames_init(&frames, 1 << 20);
    assert_int_equal(walk(machine, &frames, bytes_view_string("{\"a\": [1, "), &first), MACHINE_LIVE);
    for (int i = 0; i < 100; i++) {
        struct frames_mark mark = frames_mark(&frames);
        other = first;
        const char *look = i % 2 == 0 ? "{\"q\": [[[]]]}, 5, [" : "1234, \"x\", {}] , \"z\"";
        for (; *look != 0; look++)
            assert_int_equal(machine->operations->step(machine, &frames, &other, (uint8_t)*look, &other), MACHINE_LIVE);
        frames_drop(&frames, mark);
    }
    for (const char *rest = "{}, [[]]]}"; *rest != 0; rest++)
        assert_int_equal(machine->operations->step(machine, &frames, &first, (uint8_t)*rest, &first), MACHINE_LIVE);
    assert_true(machine->operations->complete(machine, &first));
    assert_int_equal(machine->operations->step(machine, &frames, &first, '}', &other), MACHINE_DEAD);
    frames_deinit(&frames);
    machine->operations->destroy(machine);
}

static uint64_t signature_of(struct machine *machine, struct frames *frames, const char *text) {
    struct machine_state state;
    assert_int_equal(walk(machine, frames, bytes_view_string(text), &state), MACHINE_LIVE);
    return machine->operations->signature(machine, &state);
}

static void test_signatures(void **state) {
    (void)state;
    struct machine *machine = must_compile(GRAMMAR_GBNF, JSON);
    struct frames frames;
    frames_init(&frames, 1 << 20);
    assert_true(signature_of(machine, &frames, "[1, 2") == signature_of(machine, &frames, "[[], \"xy\", 34567"));
    assert_true(signature_of(machine, &frames, "{\"a\": \"x") ==
                signature_of(machine, &frames, "{\"b\": 1, \"c\": \"yz"));
    assert_true(signature_of(machine, &frames, "[1") != signature_of(machine, &frames, "[[1"));
    assert_true(signature_of(machine, &frames, "[1") != signature_of(machine, &frames, "[1."));
    assert_true(signature_of(machine, &frames, "[\"\xC3") != signature_of(machine, &frames, "[\""));
    frames_deinit(&frames);
    machine->operations->destroy(machine);
}

/* Long texts make no tables once their parts were seen: a grammar does not grow with what it writes. */
static void test_what_was_seen_costs_no_fuel(void **state) {
    (void)state;
    struct machine *machine = must_compile(GRAMMAR_GBNF, JSON);
    struct bytes text;
    bytes_init(&text, 1 << 20);
    int64_t fuel = 0, bytes = 0;
    for (int i = 0; i < 2000; i++) {
        check_ok(bytes_printf(&text, "%s{\"k%d\": [%d, \"s\xC3\xA9%d\", {}], \"n\": null }", i == 0 ? "[" : ",", i,
                              i * 7, i));
        if (i != 100) continue;
        assert_false(accepts_bytes(machine, bytes_view(&text)));
        fuel = budget.fuel;
        bytes = budget.bytes;
    }
    check_ok(bytes_append_string(&text, "]"));
    assert_true(accepts_bytes(machine, bytes_view(&text)));
    assert_true(fuel - budget.fuel < 100 && bytes - budget.bytes < 10000);
    bytes_deinit(&text);
    machine->operations->destroy(machine);
}

static void test_deep_nesting(void **state) {
    (void)state;
    enum { DEPTH = 20000 };
    struct machine *machine = must_compile(GRAMMAR_GBNF, JSON);
    struct bytes text;
    bytes_init(&text, 1 << 20);
    for (int i = 0; i < DEPTH; i++) check_ok(bytes_append_string(&text, "["));
    for (int i = 0; i < DEPTH; i++) check_ok(bytes_append_string(&text, "]"));
    assert_true(accepts_bytes(machine, bytes_view(&text)));
    bytes_deinit(&text);
    machine->operations->destroy(machine);
}

/* Right recursion of a rule that is not regular: each step a bounded number of items, by Leo's shortcuts. */
static void test_right_recursion_is_linear(void **state) {
    (void)state;
    struct machine *machine = must_compile(GRAMMAR_GBNF, "root ::= p root | p\np ::= \"x\" | \"(\" root \")\"");
    struct frames frames;
    struct machine_state at;
    enum { LENGTH = 20000, BYTES_A_STEP = 1024 };
    frames_init(&frames, (size_t)LENGTH * BYTES_A_STEP);
    assert_int_equal(machine->operations->start(machine, &frames, &at), MACHINE_LIVE);
    for (int i = 0; i < LENGTH; i++)
        assert_int_equal(machine->operations->step(machine, &frames, &at, 'x', &at), MACHINE_LIVE);
    assert_true(machine->operations->complete(machine, &at));
    assert_true(budget.fuel > FUEL - 1000);
    frames_deinit(&frames);
    machine->operations->destroy(machine);
}

/* ---- a regex ---- */

static void test_regex_machine(void **state) {
    (void)state;
    budget = (struct grammar_budget){.fuel = FUEL, .bytes = BYTES};
    struct regex_pool *pool;
    regex language;
    struct machine *machine;
    check_ok(regex_pool_create(&budget, &pool, &check_error));
    check_ok(regex_parse(pool, bytes_view_string("a+(b|\xE2\x82\xAC)"), 0, &language, &check_error));
    check_ok(regex_machine_create(pool, language, &machine, &check_error));
    assert_true(accepts_bytes(machine, bytes_view_string("aaab")));
    assert_true(accepts_bytes(machine, bytes_view_string("a\xE2\x82\xAC")));
    assert_false(accepts_bytes(machine, bytes_view_string("a\xE2\x82")));
    assert_false(accepts_bytes(machine, bytes_view_string("abb")));
    check_rest(machine, "a\xE2", "\x82\xAC");
    check_rest(machine, "", "ab");
    machine->operations->destroy(machine);
}

/* ---- hostile grammars ---- */

static const char *many(struct bytes *text, const char *head, const char *format, int count, const char *tail) {
    bytes_reset(text);
    check_ok(bytes_append_string(text, head));
    for (int i = 0; i < count; i++) {
        char part[128];
        int length = snprintf(part, sizeof part, format, i, i + 1, i + 2);
        check_ok(bytes_append(text, part, (size_t)length));
    }
    check_ok(bytes_append_string(text, tail));
    return (const char *)text->data;
}

static void test_hostile_grammars_end(void **state) {
    (void)state;
    struct bytes text;
    bytes_init(&text, 16 << 20);
    enum { MANY = 100000 };
    check_texts(GRAMMAR_GBNF, many(&text, "root ::= r0\n", "r%d ::= r%d\n", MANY, "r100000 ::= \"x\"\n"), TEXTS("x"),
                TEXTS("y"));
    check_refused(GRAMMAR_GBNF,
                  many(&text, "root ::= r0\n", "r%d ::= r%d | \"(\" r0 \")\"\n", MANY, "r100000 ::= \"x\"\n"),
                  STATUS_RESOURCE_EXHAUSTED, "1:1", "too many ways");
    check_refused(GRAMMAR_GBNF, many(&text, "root ::= ", "(", MANY, ""), STATUS_RESOURCE_EXHAUSTED, "1:266",
                  "256 brackets");
    check_refused(GRAMMAR_LARK, many(&text, "start: ", "[", MANY, ""), STATUS_RESOURCE_EXHAUSTED, "1:264",
                  "256 brackets");
    check_texts(GRAMMAR_GBNF, many(&text, "root ::= \"a\"", " | \"b%d\"", MANY, ""), TEXTS("a", "b99999"),
                TEXTS("b", "b100000"));
    check_texts(GRAMMAR_GBNF,
                many(&text, "root ::= r0\n", "r%d ::= r%d r%d | \"b\"\n", 60, "r60 ::= \"a\"\nr61 ::= \"c\"\n"),
                TEXTS("b", "bb"), TEXTS("ac", ""));
    check_texts(GRAMMAR_GBNF, "root ::= \"a\"{1,1000}{1,1000}", TEXTS("a", "aaaaaa"), TEXTS("", "b"));
    check_texts(GRAMMAR_GBNF, "root ::= (\"(\" root \")\" | \"x\"){1,1000}{1,1000}", TEXTS("x", "x(xx)x"),
                TEXTS("", "x("));
    check_refused(GRAMMAR_GBNF, "root ::= (\"(\" root \")\" | \"x\"){4000000000}", STATUS_RESOURCE_EXHAUSTED, "1:30",
                  "budget");
    check_refused(GRAMMAR_GBNF, many(&text, "root ::= ", "(root \"y\")? ", 5000, "\"x\""), STATUS_RESOURCE_EXHAUSTED,
                  "1:1", "budget");
    check_texts(GRAMMAR_GBNF, "root ::= ([ab]* \"a\" [ab]{1000} | \"(\" root \")\")?", TEXTS("", "()"),
                TEXTS("a", "(a"));
    bytes_deinit(&text);
}

/* How many x the grammar takes, at most `most`, with a KiB of frames for each; the last step, too. */
static int take_x(struct machine *machine, int most, enum machine_step *out_step) {
    struct frames frames;
    struct machine_state at;
    frames_init(&frames, (size_t)most * 1024);
    *out_step = machine->operations->start(machine, &frames, &at);
    int length = 0;
    for (; length < most && *out_step == MACHINE_LIVE; length++)
        *out_step = machine->operations->step(machine, &frames, &at, 'x', &at);
    frames_deinit(&frames);
    return length;
}

/* Every text has more parses than can be counted; each step costs the same, as origins that others cover are left out. */
static void test_ambiguous_grammars_are_linear(void **state) {
    (void)state;
    const char *grammars[] = {"root ::= root root | \"x\"", "root ::= root root root | root root | \"x\"",
                              "root ::= e\ne ::= e [x+] e | e \"*\" e | \"x\" | \"(\" e \")\""};
    for (size_t i = 0; i < sizeof grammars / sizeof *grammars; i++) {
        struct machine *machine = must_compile(GRAMMAR_GBNF, grammars[i]);
        enum machine_step step;
        assert_int_equal(take_x(machine, 20000, &step), 20000);
        assert_int_equal(step, MACHINE_LIVE);
        assert_true(budget.fuel > FUEL - 1000);
        machine->operations->destroy(machine);
    }
}

/* Where each byte may be the middle of a palindrome, a step costs as much as the text is long: it ends in a failure, of memory or of fuel. */
static void test_what_cannot_be_cheap_ends(void **state) {
    (void)state;
    struct machine *machine = must_compile(GRAMMAR_GBNF, "root ::= \"x\" root \"x\" | \"x\"");
    enum machine_step step;
    assert_true(take_x(machine, 2000, &step) > 100);
    assert_int_equal(step, MACHINE_FAILED);
    budget.fuel = 10;
    assert_true(take_x(machine, 20000, &step) > 100);
    assert_int_equal(step, MACHINE_FAILED);
    assert_true(budget_exhausted(&budget));
    machine->operations->destroy(machine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gbnf_syntax),
        cmocka_unit_test(test_gbnf_recursion),
        cmocka_unit_test(test_ends_that_hand_each_other_on),
        cmocka_unit_test(test_gbnf_refusals),
        cmocka_unit_test(test_lark_syntax),
        cmocka_unit_test(test_lark_common),
        cmocka_unit_test(test_lark_refusals),
        cmocka_unit_test(test_lark_ignore),
        cmocka_unit_test(test_goldens),
        cmocka_unit_test(test_shortest_rest),
        cmocka_unit_test(test_utf8_is_looked_through),
        cmocka_unit_test(test_fork_and_drop),
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_what_was_seen_costs_no_fuel),
        cmocka_unit_test(test_deep_nesting),
        cmocka_unit_test(test_right_recursion_is_linear),
        cmocka_unit_test(test_regex_machine),
        cmocka_unit_test(test_hostile_grammars_end),
        cmocka_unit_test(test_ambiguous_grammars_are_linear),
        cmocka_unit_test(test_what_cannot_be_cheap_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
