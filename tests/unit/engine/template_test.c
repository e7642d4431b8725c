/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Chat templates against Jinja2: programs for each thing of the language and published chat templates over conversations; whose bytes the output has;
 * what is not supported and what is hostile. */
#include "engine/chat/template.h"

#include "tests/unit/engine/check.h"

#include <jansson.h>
#include <stdlib.h>
#include <time.h>

static const struct template_limits generous = {.steps = 5000000, .output_bytes = 64 << 20};

static json_t *load(const char *path) {
    json_error_t json_error;
    json_t *json = json_load_file(path, 0, &json_error);
    if (json == NULL) fail_msg("%s: %s", path, json_error.text);
    return json;
}

static int64_t now(void) {
    struct tm local = {
        .tm_year = 126, .tm_mon = 2, .tm_mday = 5, .tm_hour = 14, .tm_min = 7, .tm_sec = 9, .tm_isdst = -1};
    return (int64_t)mktime(&local);
}

/** Variables of a JSON object's text; all of them are a user's. */
static struct template_dict *variables_of(const char *text, struct arena *arena) {
    struct json_value *json = NULL;
    struct json_problem problem;
    struct template_builder builder = {.arena = arena};
    check_ok(json_read_python(bytes_view_string(text), 64, 100000, arena, &json, &problem));
    struct template_dict *dict = template_dict_new(&builder, json->count);
    for (const struct json_value *child = json->first; child != NULL; child = child->next)
        template_dict_set(dict, arena_copy(arena, child->name.data, child->name.length),
                          template_json(&builder, child, 1));
    assert_false(builder.failed);
    return dict;
}

static enum status run(const char *source, size_t length, const struct template_dict *variables,
                       struct template_limits limits, struct arena *arena, struct template_output *out,
                       struct error *err) {
    struct template *template = NULL;
    enum status status = template_parse(bytes_view_of(source, length), &template, err);
    if (status == STATUS_OK) status = template_render(template, variables, limits, now(), arena, out, err);
    template_destroy(template);
    return status;
}

/** The same text, or an error where there is one (with the template's own words, if it has them). False: it was reported. */
static bool agrees(const char *what, const char *name, const json_t *golden, const char *source, size_t length,
                   const char *variables) {
    struct arena arena;
    struct template_output output = {0};
    struct error err = {0};
    const json_t *want = json_object_get(golden, "output"), *words = json_object_get(golden, "error");
    arena_init(&arena, 64 << 20);
    enum status status = run(source, length, variables_of(variables, &arena), generous, &arena, &output, &err);
    bool good;
    if (want == NULL) {
        good = status != STATUS_OK && err.message[0] != 0 &&
               (json_string_length(words) == 0 || strcmp(err.message, json_string_value(words)) == 0);
    } else {
        good = status == STATUS_OK && output.text.length == json_string_length(want) &&
               (output.text.length == 0 || memcmp(output.text.data, json_string_value(want), output.text.length) == 0);
    }
    if (!good)
        print_error("%s %s\ngives  %s%.*s\nis due %s%s\n", what, name, status == STATUS_OK ? "" : err.message,
                    status == STATUS_OK ? (int)output.text.length : 0, (const char *)output.text.data,
                    want != NULL ? "" : "an error: ", json_string_value(want != NULL ? want : words));
    arena_deinit(&arena);
    return good;
}

static void test_language_is_jinjas(void **state) {
    (void)state;
    json_t *goldens = load("tests/golden/templates/language.json"), *golden;
    const char *variables = json_string_value(json_object_get(goldens, "variables"));
    size_t index, wrong = 0;
    json_array_foreach(json_object_get(goldens, "cases"), index, golden) {
        const json_t *source = json_object_get(golden, "template");
        wrong += !agrees("program", json_string_value(source), golden, json_string_value(source),
                         json_string_length(source), variables);
    }
    assert_in_range(index, 100, 1000);
    assert_int_equal(wrong, 0);
    json_decref(goldens);
}

static void test_published_chat_templates_give_the_same_text(void **state) {
    (void)state;
    json_t *goldens = load("tests/golden/templates/chat.json"), *golden;
    size_t index, wrong = 0;
    json_array_foreach(json_object_get(goldens, "cases"), index, golden) {
        const char *file = json_string_value(json_object_get(golden, "file"));
        char path[256];
        static char source[1 << 16];
        snprintf(path, sizeof path, "tests/golden/templates/%s", file);
        FILE *stream = fopen(path, "rb");
        assert_non_null(stream);
        size_t length = fread(source, 1, sizeof source, stream);
        fclose(stream);
        char name[300];
        snprintf(name, sizeof name, "%s: %s", file, json_string_value(json_object_get(golden, "name")));
        wrong += !agrees("chat", name, golden, source, length, json_string_value(json_object_get(golden, "variables")));
    }
    assert_in_range(index, 100, 10000);
    assert_int_equal(wrong, 0);
    json_decref(goldens);
}

/* ---- whose bytes ---------------------------------------------------------------------------------------------------- */

/** `source` over {"u": "<user>", …}: the bytes that are the template's, those of the user as '#'. */
static void assert_trusted(const char *source, const char *want) {
    struct arena arena;
    struct template_output output;
    char shown[1024] = "";
    arena_init(&arena, 16 << 20);
    check_ok(run(source, strlen(source),
                 variables_of("{\"u\": \"ab|cd\", \"blank\": \"  x  \", \"list\": [\"p\", \"q\"], \"d\": {\"key\": "
                              "[\"v\\\"\", 1, true]}}",
                              &arena),
                 generous, &arena, &output, &check_error));
    for (size_t i = 0; i < output.text.length; i++) shown[i] = output.mask[i] != 0 ? '#' : (char)output.text.data[i];
    if (strcmp(shown, want) != 0) fail_msg("%s: '%s' where '%s' is due", source, shown, want);
    arena_deinit(&arena);
}

static void test_every_operation_keeps_whose_bytes_they_are(void **state) {
    (void)state;
    assert_trusted("<{{ u }}>", "<#####>");
    assert_trusted("{{ '<' + u + '>' }}{{ '<' ~ u ~ 1 }}", "<#####><#####1");
    assert_trusted("{{ ('<' + blank + '>').strip('<>') | trim }}|{{ blank | trim }}", "#|#");
    assert_trusted("{{ u | replace('|', '=') }}{{ 'x|y' | replace('|', u) }}", "##=##x#####y");
    assert_trusted("{{ ('<' + u + '>')[1:-1] }}{{ ('<' + u)[0] }}{{ ('<' + u)[::-1] }}", "#####<#####<");
    assert_trusted("{{ u.split('|') | join(', ') }}", "##, ##");
    assert_trusted("{{ u | upper }}{{ u.title() }}{{ ('a' + u) | capitalize }}", "##########A#####");
    assert_trusted("{{ d | tojson }}", "{\"###\": [\"#\\\"\", 1, true]}");
    assert_trusted("{{ d }}{{ list }}", "{'###': ['##', 1, True]}['#', '#']");
    assert_trusted("{% set x %}<{{ u }}>{% endset %}{{ x }}{% macro m(a) %}[{{ a }}]{% endmacro %}{{ m(u) }}",
                   "<#####>[#####]");
    assert_trusted(
        "{% for k, v in d.items() %}{{ k }}={{ v[0] }}{% endfor %}{% for c in 'a' + list[0] %}{{ c }}{% endfor %}",
        "###=##a#");
    assert_trusted("{{ u * 2 }}{{ (u ~ '\\n' ~ u) | indent(2) }}{{ u | string | list | first }}",
                   "###############\n  ######");
    assert_trusted("{{ {'a': u} | dictsort }}{{ [u] | map('upper') | first }}", "[('a', '#####')]#####");
}

/* ---- errors and bounds ---------------------------------------------------------------------------------------------- */

static void assert_refused(const char *source, enum status status, const char *word) {
    struct arena arena;
    struct template_output output;
    arena_init(&arena, 32 << 20);
    check_fails(run(source, strlen(source), variables_of("{\"m\": [{\"role\": \"user\"}]}", &arena),
                    (struct template_limits){.steps = 1000000, .output_bytes = 1 << 20}, &arena, &output, &check_error),
                status, word);
    arena_deinit(&arena);
}

static void test_what_is_not_supported_is_named_with_its_line(void **state) {
    (void)state;
    assert_refused("a\nb{{ x | xmlattr }}", STATUS_UNIMPLEMENTED, "template line 2: filter 'xmlattr' is not supported");
    assert_refused("{{ x is sameas y }}", STATUS_UNIMPLEMENTED, "test 'sameas' is not supported");
    assert_refused("{{ x.format(1) }}", STATUS_UNIMPLEMENTED, "method 'format' is not supported");
    assert_refused("{% if false %}{{ lipsum() }}{% endif %}", STATUS_UNIMPLEMENTED,
                   "function 'lipsum' is not supported");
    assert_refused("{% include 'x' %}", STATUS_UNIMPLEMENTED, "statement 'include' is not supported");
    assert_refused("{{ x | map('xmlattr') }}", STATUS_UNIMPLEMENTED, "'xmlattr'");
    assert_refused("{% for x in y recursive %}{% endfor %}", STATUS_UNIMPLEMENTED, "recursive");
}

static void test_errors_name_their_line(void **state) {
    (void)state;
    assert_refused("a\n\n{% if x", STATUS_INVALID_ARGUMENT, "template line 3");
    assert_refused("\n{{ missing.x }}", STATUS_INVALID_ARGUMENT, "template line 2: 'missing' is undefined");
    assert_refused("{{ m[0].content + 'x' }}", STATUS_INVALID_ARGUMENT, "'content' is undefined");
    assert_refused("{{ raise_exception('Roles must alternate') }}", STATUS_INVALID_ARGUMENT, "Roles must alternate");
}

static void test_hostile_templates_end(void **state) {
    (void)state;
    assert_refused("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
                   STATUS_INVALID_ARGUMENT, "too m");
    assert_refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", STATUS_INVALID_ARGUMENT, "nested too deeply");
    assert_refused("{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
                   STATUS_INVALID_ARGUMENT, "too long");
    assert_refused("{{ 'x' * 9999999999 }}", STATUS_INVALID_ARGUMENT, "too");
    assert_refused("{{ range(99999999999) }}", STATUS_INVALID_ARGUMENT, "range");
    assert_refused("{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
                   STATUS_INVALID_ARGUMENT, "too");
    assert_refused(
        "{% set ns = namespace(x=[1]) %}{% for i in range(9999) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        STATUS_INVALID_ARGUMENT, "nested");
    char deep[2000];
    memset(deep, '-', sizeof deep);
    memcpy(deep, "{{", 2);
    memcpy(deep + sizeof deep - 5, " 1}}", 5);
    assert_refused(deep, STATUS_INVALID_ARGUMENT, "nested");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_language_is_jinjas),
        cmocka_unit_test(test_published_chat_templates_give_the_same_text),
        cmocka_unit_test(test_every_operation_keeps_whose_bytes_they_are),
        cmocka_unit_test(test_what_is_not_supported_is_named_with_its_line),
        cmocka_unit_test(test_errors_name_their_line),
        cmocka_unit_test(test_hostile_templates_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
