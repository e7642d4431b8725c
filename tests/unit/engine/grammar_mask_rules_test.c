/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Masks of regexes and user grammars: a token's bit is set when grammar_accept takes it. Every bit, in the states of random walks, of grammars chosen and made up. */
#include "base/random.h"
#include "engine/grammar/grammar_internal.h"

#include "tests/unit/engine/pieces.h"

enum { WALKS = 2, WALK_TOKENS = 16, WANT_STATES = 150, RANDOM_GRAMMARS = 8, RANDOM_RULES = 4 };

static const char *const TEXTS[] = {
    "if (total_1 >= max(a, b9)) { return -x * 2.50; }\n\treturn\n",
    "SELECT a.b, 'it''s' FROM t WHERE x <> \"y\\\"z\"",
    "\xE2\x80\xA8\xE2\x80\x9C\xF0\x9F\x98\x80\xE4\xB8\xAD\xE6\x96\x87 \xC2\xA0\xC3\xA9t\xC3\xA9 caf\xC3\xA9",
    "# Title\n- item **b**\n  - `c`\n\n<p id=\"x\">text</p>",
    "2024-02-29T12:30:00Z ada@mail.org, https://a.b/c?d=e#f",
    "aaa bbb ab a b ababab",
};
static const char *const WHOLE[] = {
    "------------------------", /* as long as a slice's tokens may be */
    "-------------------------",
    "--------------------------------------------",
    " aaaaaaaaaaaaaaaaaaaaaaaa",
    "                                ",
    "\xE4\xB8\xAD\xE4\xB8\xAD\xE4\xB8\xAD\xE4\xB8\xAD\xE4\xB8\xAD\xE4\xB8\xAD\xE4\xB8\xAD\xE4\xB8\xAD\xE4\xB8",
};

enum kind { KIND_REGEX, KIND_GBNF, KIND_LARK };
struct source {
    enum kind kind;
    const char *text;
};
static const struct source SOURCES[] = {
    {KIND_REGEX, "[^\\n]{1,30}\\n(low|high)"},
    {KIND_REGEX, "([a-z]+ )*[a-z]+\\."},
    {KIND_REGEX, "[a-zA-Z0-9._-]+@[a-z]+(\\.[a-z]+)+"},
    {KIND_REGEX, "-{3,26}( [ab]{2,30})?"},
    {KIND_REGEX, "[^a]*a[\\s\\S]*"},
    {KIND_REGEX, "[a-z\\u00e9]*(\\s\\u4e2d+)*"},
    {KIND_REGEX, "\\S+(\\s\\S+){0,9}"},
    {KIND_REGEX, "([^\"\\\\]|\\\\.)*\"[ace]*"},
    {KIND_REGEX, "(?=.*a)(?=.*b)[^x]{4,}"},
    {KIND_REGEX, "[ab]*|[ab]{30}c|\\p{L}+"},
    {KIND_GBNF, "root ::= \"[\" (root (\",\" root)*)? \"]\" | [a-z]+ | \"\\\"\" [^\"\\\\\\n]* \"\\\"\""},
    {KIND_GBNF, "root ::= e\ne ::= e [+*-] e | \"(\" e \")\" | [0-9]+ (\".\" [0-9]+)? | [a-z_] [a-z_0-9]*"},
    {KIND_GBNF, "root ::= line+\nline ::= [#-] \" \" [^\\n]+ \"\\n\" | \"\\n\""},
    {KIND_GBNF, "root ::= [ab] root [ab] | [ab ]"},
    {KIND_GBNF, "root ::= root root | \"ab\" | [a-b] | \" \""},
    {KIND_GBNF, "root ::= (x \", \")* x\nx ::= [^,\\n]{1,26} | \"<\" root \">\""},
    {KIND_LARK, "start: s+\ns: \"return\" W e \";\" W? | N \"=\" e \";\"\ne: N | I | e W? \"-\" W? e | \"(\" e \")\"\n"
                "N: /[a-zA-Z_][a-zA-Z0-9_]*/\nI: /[0-9]+/\nW: /[ \\n\\t]+/"},
    {KIND_LARK, "start: \"SELECT\" n (\",\" n)* (\"WHERE\" n \"<>\" (n | T))?\nn: N (\".\" N)?\nN: /[a-z][a-z0-9]*/\n"
                "T: /'([^'\\n]|'')*'/ | /\"[^\"]*\"/\n%ignore / +/"},
    {KIND_LARK,
     "start: x\nx: \"<\" N (\" \" N \"=\" V)* \">\" (x | T)* \"</\" N \">\"\nN: /[a-z]+/\nV: /\"[^\"<>]*\"/\nT: "
     "/[^<>]+/"},
};

struct walk {
    const struct tokenizer *tokenizer;
    const char *grammar;
    struct grammar_session *session;
    struct grammar_state state;
    struct bytes text;
    uint32_t *mask, *again;
    size_t words, states, set;
    bool may_be_costly; /* a few that are made up are ambiguous beyond what a mask may cost */
};

static void check_bit(struct walk *walk, int32_t token) {
    struct grammar_state copy = walk->state;
    struct frames_mark before = frames_mark(&walk->session->frames);
    bool accepted, bit = walk->mask[token / 32] >> token % 32 & 1;
    check_ok(grammar_accept(walk->session, &copy, token, &accepted, &check_error));
    frames_drop(&walk->session->frames, before);
    walk->set += accepted;
    if (accepted == bit) return;
    struct bytes_view piece = tokenizer_piece(walk->tokenizer, token);
    fail_msg("'%.*s' is %s after '%.*s' under %s", (int)piece.length, (const char *)piece.data,
             accepted ? "accepted, but not set," : "set, but not accepted,", (int)walk->text.length,
             (const char *)walk->text.data, walk->grammar);
}

static uint64_t below(uint64_t *draws, uint64_t count) {
    return random_philox(11, (*draws)++, 0) % count;
}

/** A token of the mask that goes on, mostly not of one byte; -1: none. */
static int32_t choose(const struct walk *walk, uint64_t *draws) {
    int32_t count = tokenizer_vocabulary(walk->tokenizer), best = -1;
    int32_t from = (int32_t)below(draws, (uint64_t)count);
    for (int32_t i = 0, found = 0; i < count && found < 3; i++) {
        int32_t token = (from + i) % count;
        if ((walk->mask[token / 32] >> token % 32 & 1) == 0 || tokenizer_is_end(walk->tokenizer, token)) continue;
        if (best < 0 || tokenizer_piece(walk->tokenizer, token).length > tokenizer_piece(walk->tokenizer, best).length)
            best = token;
        found++;
    }
    return best;
}

static void walk_once(struct walk *walk, struct grammar *grammar, uint64_t *draws) {
    check_ok(grammar_session_create(grammar, &walk->session, &check_error));
    check_ok(grammar_start(walk->session, &walk->state, &check_error));
    bytes_init(&walk->text, 1 << 20);
    for (int step = 0; step < WALK_TOKENS; step++) {
        bool accepted;
        enum status status = grammar_mask(walk->session, &walk->state, SIZE_MAX, walk->mask, &check_error);
        if (status == STATUS_RESOURCE_EXHAUSTED && walk->may_be_costly) break;
        check_ok(status);
        for (int32_t token = 0; token < tokenizer_vocabulary(walk->tokenizer); token++) check_bit(walk, token);
        check_ok(grammar_mask(walk->session, &walk->state, SIZE_MAX, walk->again, &check_error));
        assert_memory_equal(walk->mask, walk->again, walk->words * sizeof *walk->mask);
        walk->states++;
        int32_t token = choose(walk, draws);
        if (token < 0) break;
        struct bytes_view piece = tokenizer_piece(walk->tokenizer, token);
        check_ok(grammar_accept(walk->session, &walk->state, token, &accepted, &check_error));
        check_ok(bytes_append(&walk->text, piece.data, piece.length));
    }
    bytes_deinit(&walk->text);
    grammar_session_destroy(walk->session);
}

static enum status compile(const struct grammar_vocabulary *vocabulary, enum kind kind, const char *text,
                           struct grammar **out, struct grammar_problem *why) {
    struct bytes_view view = bytes_view_string(text);
    if (kind == KIND_REGEX) return grammar_compile_regex(vocabulary, view, NULL, out, why);
    return grammar_compile_rules(vocabulary, view, kind == KIND_GBNF ? GRAMMAR_GBNF : GRAMMAR_LARK, NULL, out, why);
}

struct fixture {
    struct tokenizer *tokenizer;
    struct grammar_vocabulary *vocabulary;
    struct walk walk;
};

static void set_up(struct fixture *it) {
    *it = (struct fixture){
        .tokenizer = make_tokenizer(TEXTS, sizeof TEXTS / sizeof *TEXTS, WHOLE, sizeof WHOLE / sizeof *WHOLE)};
    check_ok(grammar_vocabulary_create(it->tokenizer, &it->vocabulary, &check_error));
    it->walk.tokenizer = it->tokenizer;
    it->walk.words = grammar_mask_words(it->vocabulary);
    it->walk.mask = calloc(it->walk.words, sizeof(uint32_t));
    it->walk.again = calloc(it->walk.words, sizeof(uint32_t));
    assert_true(it->walk.mask != NULL && it->walk.again != NULL);
}

static void tear_down(struct fixture *it) {
    free(it->walk.mask);
    free(it->walk.again);
    grammar_vocabulary_destroy(it->vocabulary);
    tokenizer_destroy(it->tokenizer);
}

static void test_masks_are_what_is_accepted(void **state) {
    (void)state;
    struct fixture it;
    uint64_t draws = 0;
    set_up(&it);
    for (size_t i = 0; i < sizeof SOURCES / sizeof *SOURCES; i++) {
        struct grammar *grammar;
        struct grammar_problem why;
        it.walk.grammar = SOURCES[i].text;
        if (compile(it.vocabulary, SOURCES[i].kind, SOURCES[i].text, &grammar, &why) != STATUS_OK)
            fail_msg("%s: %s %s", SOURCES[i].text, why.pointer, why.reason);
        for (int n = 0; n < WALKS; n++) walk_once(&it.walk, grammar, &draws);
        grammar_unref(grammar);
    }
    assert_true(it.walk.states > WANT_STATES);
    tear_down(&it);
}

/* ---- grammars that are made up ---- */

static void print_random(struct bytes *out, uint64_t *draws, int depth) {
    static const char *const ATOMS[] = {"[a-z]",
                                        "[a-zA-Z_]",
                                        "[^\\n]",
                                        "[^\"<]",
                                        "[ab ]",
                                        "[0-9]",
                                        "\" \"",
                                        "\"ab\"",
                                        "\"\\n\"",
                                        "\"(\"",
                                        "\"item\"",
                                        "[^a-z]",
                                        "[\\u00a0-\\u4e2d]",
                                        "[-a-z ]",
                                        "\"return\"",
                                        "\", \""};
    static const char *const REPEATS[] = {"*", "+", "?", "{1,30}", "{2}", "{0,3}"};
    uint64_t draw = below(draws, depth > 0 ? 10 : 4);
    if (draw < 3) {
        append(out, ATOMS[below(draws, sizeof ATOMS / sizeof *ATOMS)]);
    } else if (draw == 3) {
        check_ok(bytes_printf(out, "r%d", (int)below(draws, RANDOM_RULES)));
    } else {
        append(out, "(");
        print_random(out, draws, depth - 1);
        if (draw < 8) append(out, draw < 7 ? " " : " | ");
        if (draw < 8) print_random(out, draws, depth - 1);
        append(out, ")");
        if (draw >= 8) append(out, REPEATS[below(draws, sizeof REPEATS / sizeof *REPEATS)]);
    }
}

static void test_masks_of_random_grammars(void **state) {
    (void)state;
    struct fixture it;
    struct bytes text;
    uint64_t draws = 0;
    int compiled = 0;
    set_up(&it);
    it.walk.may_be_costly = true;
    bytes_init(&text, 1 << 20);
    for (int n = 0; compiled < RANDOM_GRAMMARS; n++) {
        struct grammar *grammar;
        struct grammar_problem why;
        assert_true(n < 4 * RANDOM_GRAMMARS);
        bytes_reset(&text);
        append(&text, "root ::= r0 r1?\n");
        for (int rule = 0; rule < RANDOM_RULES; rule++) {
            check_ok(bytes_printf(&text, "r%d ::= ", rule));
            for (int i = 0; i < 3; i++) {
                print_random(&text, &draws, 3);
                append(&text, i == 2 ? "\n" : below(&draws, 2) == 0 ? " " : " | ");
            }
        }
        check_ok(bytes_append_byte(&text, '\0'));
        it.walk.grammar = (const char *)text.data;
        enum status status = compile(it.vocabulary, KIND_GBNF, it.walk.grammar, &grammar, &why);
        if (status == STATUS_FAILED_PRECONDITION) continue; /* nothing fits */
        if (status != STATUS_OK) fail_msg("%s: %s %s", it.walk.grammar, why.pointer, why.reason);
        for (int k = 0; k < WALKS; k++) walk_once(&it.walk, grammar, &draws);
        grammar_unref(grammar);
        compiled++;
    }
    assert_true(it.walk.states > WANT_STATES);
    bytes_deinit(&text);
    tear_down(&it);
}

/* ---- costs ---- */

/** A mask that costs more than one may cost is an error, and ends. */
static void test_mask_beyond_the_budget_fails(void **state) {
    (void)state;
    struct fixture it;
    struct bytes text;
    struct grammar *grammar;
    struct grammar_problem why;
    struct grammar_session *session;
    struct grammar_state at;
    set_up(&it);
    bytes_init(&text, 1 << 20);
    append(&text, "root ::= r0 root?\n");
    for (int i = 0; i < 1000; i++)
        check_ok(bytes_printf(&text, "r%d ::= r%d | r%d r%d | [a-z]\n", i, i + 1, i + 1, i + 1));
    append(&text, "r1000 ::= [a-z ]\n");
    check_ok(bytes_append_byte(&text, '\0'));
    check_ok(compile(it.vocabulary, KIND_GBNF, (const char *)text.data, &grammar, &why));
    check_ok(grammar_session_create(grammar, &session, &check_error));
    check_ok(grammar_start(session, &at, &check_error));
    assert_int_equal(grammar_mask(session, &at, SIZE_MAX, it.walk.mask, &check_error), STATUS_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(check_error.message, "too ambiguous"));
    grammar_session_destroy(session);
    grammar_unref(grammar);
    bytes_deinit(&text);
    tear_down(&it);
}

/** Two hundred times what may be empty, and may be split anyhow, costs no more for it. */
static void test_many_of_what_may_be_empty(void **state) {
    (void)state;
    struct fixture it;
    struct grammar *grammar;
    struct grammar_problem why;
    struct grammar_session *session;
    struct grammar_state at;
    bool accepted;
    set_up(&it);
    check_ok(compile(it.vocabulary, KIND_GBNF,
                     "root ::= a{200}\na ::= b | c | d\nb ::= x+ a?\nc ::= x* \"q\"? a?\n"
                     "d ::= x a x | x\nx ::= [a-z ]\n",
                     &grammar, &why));
    check_ok(grammar_session_create(grammar, &session, &check_error));
    check_ok(grammar_start(session, &at, &check_error));
    for (int i = 0; i < 40; i++) { /* 33 times as much for each character, and it was given up behind three */
        check_ok(grammar_mask(session, &at, SIZE_MAX, it.walk.mask, &check_error));
        check_ok(grammar_accept_bytes(session, &at, bytes_view_string("x"), &accepted, &check_error));
        assert_true(accepted && grammar_complete(session, &at));
    }
    grammar_session_destroy(session);
    grammar_unref(grammar);
    tear_down(&it);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_masks_are_what_is_accepted), cmocka_unit_test(test_masks_of_random_grammars),
        cmocka_unit_test(test_mask_beyond_the_budget_fails), cmocka_unit_test(test_many_of_what_may_be_empty)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
