/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The JSON Schema machine by small schemas and texts: what goes on ('i'), may end ('1'), and is refused ('0'). What is begun must be able to end. */
#include "engine/grammar/grammar.h"

#include "base/json.h"
#include "engine/grammar/grammar_internal.h"
#include "tests/unit/engine/check.h"

#include <stdlib.h>
#include <string.h>

struct compiled {
    struct arena arena;
    struct grammar *grammar;
    struct grammar_problem problem;
    enum status status;
};

static void compile_spelled(struct compiled *c, const char *schema, enum grammar_order order,
                            enum grammar_spelling spelling) {
    struct json_value *value;
    struct json_problem problem;
    struct grammar_options options = {.space = GRAMMAR_SPACE_COMPACT, .order = order, .spelling = spelling};
    arena_init(&c->arena, (size_t)1 << 28);
    c->grammar = NULL;
    char *text = arena_copy(&c->arena, schema, strlen(schema));
    for (char *at = text; *at != '\0'; at++)
        if (*at == '\'') *at = '"'; /* so that schemas can be read here */
    assert_int_equal(json_read(bytes_view_string(text), 1000, INT64_MAX, &c->arena, &value, &problem), STATUS_OK);
    c->status = grammar_compile_schema(NULL, value, &options, &c->grammar, &c->problem);
}

static void compile(struct compiled *c, const char *schema, enum grammar_order order) {
    compile_spelled(c, schema, order, GRAMMAR_SPELLING_ANY);
}

static void release(struct compiled *c) {
    grammar_unref(c->grammar);
    arena_deinit(&c->arena);
}

static char answer(struct compiled *c, const char *text) {
    struct grammar_session *session;
    struct grammar_state state;
    struct error err = {0};
    bool accepted = false;
    assert_int_equal(grammar_session_create(c->grammar, &session, &err), STATUS_OK);
    assert_int_equal(grammar_start(session, &state, &err), STATUS_OK);
    assert_int_equal(grammar_accept_bytes(session, &state, bytes_view_string(text), &accepted, &err), STATUS_OK);
    char out = !accepted ? '0' : grammar_complete(session, &state) ? '1' : 'i';
    grammar_session_destroy(session);
    return out;
}

struct text {
    const char *text;
    char answer;
};
static void check_texts(const char *schema, enum grammar_spelling spelling, const struct text *texts) {
    struct compiled c;
    compile_spelled(&c, schema, GRAMMAR_ORDER_ANY, spelling);
    if (c.status != STATUS_OK) fail_msg("%s: %s", schema, c.problem.reason);
    for (; texts->text != NULL; texts++)
        if (answer(&c, texts->text) != texts->answer)
            fail_msg("%s: '%s' is not '%c' but '%c'", schema, texts->text, texts->answer, answer(&c, texts->text));
    release(&c);
}
#define CHECK(schema, ...) check_texts(schema, GRAMMAR_SPELLING_ANY, (const struct text[]){__VA_ARGS__, {NULL, 0}})
#define CHECK_PLAIN(schema, ...) \
    check_texts(schema, GRAMMAR_SPELLING_PLAIN, (const struct text[]){__VA_ARGS__, {NULL, 0}})

static void check_declined(const char *schema, enum status status, const char *keyword) {
    struct compiled c;
    compile(&c, schema, GRAMMAR_ORDER_ANY);
    if (c.status != status || strcmp(c.problem.keyword, keyword) != 0)
        fail_msg("%s: %s, %s: %s", schema, status_name(c.status), c.problem.keyword, c.problem.reason);
    release(&c);
}

static void items_that_differ(void **state) {
    (void)state;
    CHECK("{'type':'array','uniqueItems':true,'items':{'type':['boolean','null','string']}}", {"[false,f", '0'},
          {"[null,n", '0'}, {"[false,true,\"a\"]", '1'}, {"[false,t", 'i'}, {"[\"a\",\"a", 'i'}, {"[\"a\",\"a\"", '0'});
    CHECK("{'type':'array','uniqueItems':true,'items':{'type':'string','pattern':'^(a|b+)$'}}", {"[\"a\",\"a", '0'},
          {"[\"a\",\"\\u0061", '0'}, {"[\"b\",\"b", 'i'}, {"[\"b\",\"bb\"]", '1'});
    CHECK("{'type':'array','uniqueItems':true,'items':{'type':'integer','minimum':0,'maximum':5000}}",
          {"[500,5000,500", '0'}, {"[5000,5000", '0'}, {"[5,51]", '1'});
    CHECK("{'type':'array','uniqueItems':true}", {"[127E1020,127E10200]", '1'}, {"[127E1020,127E1020]", '0'},
          {"[10,1e1]", '0'}, {"[0,-0.0e7]", '0'}, {"[1e99999999999999999999,10e99999999999999999998]", '0'},
          {"[{\"a\":1,\"b\":2},{\"b\":2.0,\"a\":1}]", '0'});
    CHECK("{'type':'array','minItems':2,'uniqueItems':true,'items':[{'enum':[1,2]},{'const':1}]}", {"[1", '0'},
          {"[2,1]", '1'});
    CHECK("{'type':'array','maxItems':2,'not':{'uniqueItems':true}}", {"[1,2", '0'}, {"[1,1]", '1'},
          {"[\"a\",\"b", '0'}, {"[\"a\",\"a\"]", '1'});
    check_declined("{'type':'array','items':[{'const':1},{'const':1}],'minItems':2,'uniqueItems':true}",
                   STATUS_FAILED_PRECONDITION, "uniqueItems");
}

static void places_for_contains(void **state) {
    (void)state;
    CHECK("{'type':'array','maxItems':2,'allOf':[{'contains':{'const':1}},{'contains':{'const':2}}]}", {"[3", '0'},
          {"[1,1", '0'}, {"[1,2]", '1'}, {"[2,1]", '1'});
    CHECK("{'type':'array','maxItems':2,'allOf':[{'contains':{'minimum':5,'type':'number'}},"
          "{'contains':{'maximum':7,'type':'number'}},{'contains':{'type':'string'}}]}",
          {"[6,\"a\"]", '1'}, {"[9", '0'}, {"[\"a\",9", '0'}, {"[\"a\",6]", '1'});
    CHECK("{'type':'array','minItems':3,'contains':{'const':1},'maxContains':1,'items':{'enum':[1,2]}}", {"[1,1", '0'},
          {"[2,2,2]", '0'}, {"[2,2,1]", '1'}, {"[2,2,2,1]", '1'});
    check_declined("{'const':[],'contains':{'const':1}}", STATUS_FAILED_PRECONDITION, "contains");
}

/** What a grammar builds it keeps, for all its answers: the same text again builds nothing. */
static void a_text_costs_once(void **state) {
    static const char *const SCHEMAS[] = {
        "{'items':{'type':'string'},'contains':{'maxLength':3}}",
        "{'items':{},'uniqueItems':true,'contains':{'type':'number','maximum':-5}}",
        "{'items':{},'minItems':2,'uniqueItems':true,'maxContains':3,'contains':{'type':'number'}}"};
    (void)state;
    for (size_t i = 0; i < sizeof SCHEMAS / sizeof *SCHEMAS; i++) {
        struct compiled c;
        compile(&c, SCHEMAS[i], GRAMMAR_ORDER_ANY);
        assert_int_equal(c.status, STATUS_OK);
        int64_t left[2];
        for (int round = 0; round < 2; round++) {
            assert_int_equal(answer(&c, i == 0 ? "[\"abcd\",\"x" : "[\"abcd\",\"x\",-7"), 'i');
            left[round] = c.grammar->budget->bytes;
        }
        assert_int_equal(left[1], left[0]);
        release(&c);
    }
}

static void names_come_once(void **state) {
    (void)state;
    CHECK("{'type':'object','propertyNames':{'pattern':'^[ab]$'}}", {"{\"a\":1,\"a", '0'}, {"{\"\\u0061\":1,\"a", '0'},
          {"{\"a\":1,\"\\u0061", '0'}, {"{\"a\":1,\"b\":2}", '1'}, {"{\"a\":1,\"b\":2,", '0'});
    CHECK("{'type':'object','propertyNames':{'maxLength':1},'minProperties':2,'patternProperties':{'^[^a]$':false}}",
          {"{\"a\":1,\"", 'i'}, {"{\"a\":1,\"b", '0'}, {"{\"a\":1,\"\":2}", '1'});
}

static void plain_strings_have_one_spelling(void **state) {
    (void)state;
    CHECK_PLAIN("{'type':'string'}",
                {"\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u000b\\u001f/\x7f\xC3\xA9\xF0\x9F\x98\x80\"", '1'}, {"\"\\/", '0'},
                {"\"\\u0041", '0'}, {"\"\\u004", '0'}, {"\"\\u002", '0'}, {"\"\\u0008", '0'}, {"\"\\u000a", '0'},
                {"\"\\u000B", '0'}, {"\"\\u000b", 'i'}, {"\"\\u001F", '0'}, {"\"\\u01", '0'}, {"\"\\u00e9", '0'},
                {"\"\\ud8", '0'}, {"\"\\uD8", '0'}, {"\"\\u4e", '0'});
    CHECK_PLAIN("{'enum':['a/b','\\u0001','\\n','\xC3\xA9','\\ud83d\\ude00']}", {"\"a/b\"", '1'}, {"\"a\\", '0'},
                {"\"\\u0001\"", '1'}, {"\"\\u0000", '0'}, {"\"\\n\"", '1'}, {"\"\\r", '0'}, {"\"\\u001", '0'},
                {"\"\xC3\xA9\"", '1'}, {"\"\xF0\x9F\x98\x80\"", '1'});
    CHECK_PLAIN("{'pattern':'^[a-z\xC3\xA9]*$','type':'string'}", {"\"ab", 'i'}, {"\"\\", '0'});
    CHECK_PLAIN("{'properties':{'a\\\"':{},'\\t':{}},'additionalProperties':false}", {"{\"a\\\"\":1}", '1'},
                {"{\"\\t\":1}", '1'}, {"{\"\\u", '0'}, {"{\"a\\u", '0'}, {"{\"\\\\", '0'});
    CHECK_PLAIN("{'type':'object'}", {"{\"\\u0061", '0'}, {"{\"\\u0000\":\"\\u0000\"}", '1'}, {"{\"\\/", '0'});
}

static void any_spelling_is_json_s(void **state) {
    (void)state;
    CHECK("{'enum':['a/b','\\u0001','\\n','\xC3\xA9','\\ud83d\\ude00']}", {"\"\\u0061\\/\\u0062\"", '1'},
          {"\"\\u0001\"", '1'}, {"\"\\u000A\"", '1'}, {"\"\\u00e9\"", '1'}, {"\"\\u00E9\"", '1'},
          {"\"\\uD83D\\ude00\"", '1'}, {"\"\\ud83d\\u0", '0'}, {"\"\\ude", '0'}, {"\"\\ud83e", '0'});
}

static void obligations_together(void **state) {
    (void)state;
    CHECK("{'type':'object','maxProperties':1,'not':{'patternProperties':{'^a':{'type':'string'}}}}", {"{\"b", '0'},
          {"{\"a\":\"", '0'}, {"{\"a\":1}", '1'});
    CHECK("{'type':'object','maxProperties':1,'allOf':[{'not':{'additionalProperties':{'type':'string'}}},"
          "{'not':{'additionalProperties':{'type':'integer'}}}]}",
          {"{\"a\":1}", '0'}, {"{\"a\":\"", '0'}, {"{\"a\":1.5}", '1'}, {"{\"a\":null}", '1'});
}

static void formats_forbidden(void **state) {
    (void)state;
    CHECK("{'type':'string','not':{'format':'time'}}", {"\"x\"", '1'}, {"\"12:00:00Z\"", '0'},
          {"\"23:29:60-00:30\"", '0'}); /* is valid, though more than what `format` itself takes */
    CHECK("{'type':'string','not':{'format':'email'}}", {"\"a@b\"", '0'}, {"\"ab\"", '1'});
    CHECK("{'type':'string','not':{'format':'ipv4'}}", {"\"1.2.3.4\"", '0'}, {"\"1.2.3.400\"", '1'});
    CHECK("{'oneOf':[{'format':'hostname'},{'maxLength':3}],'type':'string'}", {"\"xn--a\"", '0'}, {"\"a@\"", '1'});
    CHECK("{'type':'object','not':{'propertyNames':{'format':'hostname'}}}", {"{\"a\":1}", '0'}, {"{\"a@\":1}", '1'});
}

static void what_is_beyond_is_told(void **state) {
    (void)state;
    check_declined("{'const':1e200000}", STATUS_UNIMPLEMENTED, "const");
    check_declined("{'enum':[1,[1e200000]]}", STATUS_UNIMPLEMENTED, "enum");
    check_declined("{'minimum':1e200000}", STATUS_UNIMPLEMENTED, "minimum");
    check_declined("{'$ref':'#'}", STATUS_UNIMPLEMENTED, "$ref");
    check_declined("{'propertyNames':{'$ref':'#'}}", STATUS_UNIMPLEMENTED, "propertyNames");
    check_declined("{'unevaluatedItems':false,'contains':{'const':1}}", STATUS_UNIMPLEMENTED, "unevaluatedItems");
}

static void what_is_not_evaluated(void **state) {
    (void)state;
    CHECK("{'type':'object','unevaluatedProperties':false,'properties':{'a':true},'allOf':[{'patternProperties':{'^x':"
          "true}},"
          "{'$ref':'#/$defs/b'}],'$defs':{'b':{'properties':{'b':true}}}}",
          {"{\"a\":1,\"b\":2,\"xyz\":3}", '1'}, {"{\"c", '0'});
    CHECK("{'type':'object','unevaluatedProperties':{'type':'null'},'properties':{'k':true},"
          "'anyOf':[{'properties':{'k':{'const':1},'a':true},'required':['k']},{'properties':{'b':true},'required':['b'"
          "]}]}",
          {"{\"k\":1,\"a\":5}", '1'}, {"{\"k\":2,\"a\":5,\"b\":1}", '0'}, {"{\"k\":1,\"a\":5,\"b\":1}", '1'},
          {"{\"k\":2,\"b\":5,\"a\":null}", '1'}, {"{\"k\":1,\"c\":5", '0'});
    CHECK("{'type':'object','unevaluatedProperties':false,'if':{'properties':{'t':{'const':1}},'required':['t']},"
          "'then':{'properties':{'x':true}},'else':{'properties':{'y':true}}}",
          {"{\"t\":1,\"x\":1}", '1'}, {"{\"t\":1,\"y", '0'}, {"{\"y\":1}", '1'}, {"{\"t\":2", '0'});
    CHECK("{'type':'array','unevaluatedItems':false,'prefixItems':[{'const':1}],'allOf':[{'prefixItems':[true,true]}]}",
          {"[1,2]", '1'}, {"[1,2,", '0'});
}

/* ---- hostile schemas end soon, one way or another ---- */

static void append_repeated(struct bytes *out, const char *format, int first, int step, int count) {
    for (int i = 0, at = first; i < count; i++, at += step) {
        if (i > 0) assert_int_equal(bytes_append_byte(out, ','), STATUS_OK);
        assert_int_equal(bytes_printf(out, format, at, at + 1), STATUS_OK);
    }
}

static void check_hostile(const char *before, const char *format, int first, int step, int count, const char *behind) {
    struct bytes text;
    struct compiled c;
    bytes_init(&text, 1 << 26);
    assert_int_equal(bytes_printf(&text, "%s", before), STATUS_OK);
    append_repeated(&text, format, first, step, count);
    assert_int_equal(bytes_printf(&text, "%s", behind), STATUS_OK);
    assert_int_equal(bytes_append_byte(&text, 0), STATUS_OK);
    compile(&c, (const char *)text.data, GRAMMAR_ORDER_SCHEMA);
    if (c.status == STATUS_OK)
        (void)answer(&c, "{\"p0\":");
    else
        assert_string_not_equal(c.problem.reason, "");
    release(&c);
    bytes_deinit(&text);
}

static void hostile_schemas_end(void **state) {
    (void)state;
    check_hostile("{\"required\":[", "\"p%d\"", 0, 1, 50000, "]}");
    check_hostile("{\"properties\":{", "\"p%d\":{\"type\":\"string\"}", 0, 1, 50000, "}}");
    check_hostile("{\"required\":[\"p0\"],\"dependencies\":{", "\"p%d\":[\"p%d\"]", 1999, -1, 2000, "}}");
    check_hostile("{\"allOf\":[", "{\"anyOf\":[{\"required\":[\"a%d\"]},{\"required\":[\"b%d\"]}]}", 0, 1, 1000, "]}");
    check_hostile("{\"oneOf\":[", "{\"required\":[\"t\"],\"properties\":{\"t\":{\"const\":%d},\"x%d\":{}}}", 0, 1, 300,
                  "]}");
    check_hostile("{\"enum\":[", "\"value number %d of very many\"", 0, 1, 40000, "]}");
    /* each refers to the one that was read before it, so that reading is shallow and the values are deep */
    check_hostile("{\"definitions\":{\"d10000\":{},", "\"d%d\":{\"not\":{\"$ref\":\"#/definitions/d%d\"}}", 0, 1, 10000,
                  "},\"properties\":{\"p0\":{\"$ref\":\"#/definitions/d9700\"}}}");
    check_hostile("{\"definitions\":{\"d9000\":{},",
                  "\"d%d\":{\"required\":[\"x\"],\"properties\":{\"x\":{\"$ref\":\"#/definitions/d%d\"}}}", 0, 1, 9000,
                  "},\"properties\":{\"p0\":{\"$ref\":\"#/definitions/d8900\"}}}");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_that_differ),
        cmocka_unit_test(places_for_contains),
        cmocka_unit_test(a_text_costs_once),
        cmocka_unit_test(names_come_once),
        cmocka_unit_test(plain_strings_have_one_spelling),
        cmocka_unit_test(any_spelling_is_json_s),
        cmocka_unit_test(obligations_together),
        cmocka_unit_test(formats_forbidden),
        cmocka_unit_test(what_is_beyond_is_told),
        cmocka_unit_test(what_is_not_evaluated),
        cmocka_unit_test(hostile_schemas_end),
    };
    return cmocka_run_group_tests_name("json_machine", tests, NULL, NULL);
}
