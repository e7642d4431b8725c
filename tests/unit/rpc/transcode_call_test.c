/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Messages out of a path, a query and a body. */
#include "tests/unit/rpc/transcode_fixture.h"

#include "proto/descriptors.h"
#include "transcode_forms.pb-c.h"

static struct fixture fixture;
static const ProtobufCMessageDescriptor *const everything = &bora__test__everything__descriptor;

static int open_transcoder(void **state) {
    (void)state;
    fixture_open(&fixture, bytes_view_of(proto_descriptors, proto_descriptors_length), &everything, 1);
    return 0;
}
static int close_transcoder(void **state) {
    (void)state;
    fixture_close(&fixture);
    return 0;
}

enum { PARAMETERS_MAX = 80 };

/** "a=1&b=2" as it would come decoded; `text` is changed. */
static size_t split(char *text, struct transcode_parameter out[PARAMETERS_MAX]) {
    size_t count = 0;
    for (char *save = NULL, *piece = strtok_r(text, "&", &save); piece != NULL; piece = strtok_r(NULL, "&", &save)) {
        char *equals = strchr(piece, '=');
        assert_non_null(equals);
        *equals = 0;
        out[count++] = (struct transcode_parameter){piece, equals + 1};
    }
    return count;
}

/** "<root>/<path>: type: message" a line. */
static const char *errors_text(void) {
    static char text[8000];
    text[0] = 0;
    for (size_t i = 0; i < fixture.errors.count; i++) {
        const struct transcode_error *error = &fixture.errors.items[i];
        char *at = text + strlen(text);
        at += sprintf(at, "%s", error->root != NULL ? error->root : "body");
        for (size_t j = 0; j < error->path_length; j++) {
            if (error->path[j].name != NULL)
                at += sprintf(at, "/%s", error->path[j].name);
            else
                at += sprintf(at, "/%lld", (long long)error->path[j].index);
        }
        sprintf(at, " %s %s\n", error->type, error->input != NULL ? error->input : "-");
    }
    return text;
}

static enum status read_all(const char *path, const char *query, const char *body, ProtobufCMessage **out) {
    char *path_text = strdup(path), *query_text = strdup(query);
    struct transcode_parameter path_fields[PARAMETERS_MAX], query_fields[PARAMETERS_MAX];
    struct transcode_call call = {.path = path_fields,
                                  .path_count = split(path_text, path_fields),
                                  .query = query_fields,
                                  .query_count = split(query_text, query_fields),
                                  .has_body = body != NULL,
                                  .body = body != NULL ? bytes_view_string(body) : (struct bytes_view){0}};
    struct transcode_options options = {0};
    arena_reset(&fixture.arena);
    *out = NULL;
    enum status status =
        transcode_read_call(fixture.transcoder, &options, everything, &call, &fixture.arena, out, &fixture.errors);
    free(path_text); /* the message must not lend from what is gone */
    free(query_text);
    return status;
}

static const Bora__Test__Everything *expect_read(const char *path, const char *query, const char *body) {
    ProtobufCMessage *message = NULL;
    if (read_all(path, query, body, &message) != STATUS_OK) fail_msg("%s ? %s:\n%s", path, query, errors_text());
    return (const void *)message;
}

static void expect_refused(const char *path, const char *query, const char *body, const char *expected) {
    ProtobufCMessage *message = NULL;
    assert_int_equal(read_all(path, query, body, &message), STATUS_INVALID_ARGUMENT);
    assert_string_equal(errors_text(), expected);
    assert_null(message);
}

static void test_each_type_is_read_from_its_text(void **state) {
    (void)state;
    const Bora__Test__Everything *m = expect_read(
        "", "i32=-7&u64=18446744073709551615&f32=1.5&f64=1e0&flag=true&text=a b&word=b&maybe=0&class=c d&left=x", NULL);
    assert_int_equal(m->i32, -7);
    assert_true(m->u64 == UINT64_MAX);
    assert_true(m->f32 == 1.5f && m->f64 == 1);
    assert_true(m->flag);
    assert_string_equal(m->text, "a b");
    assert_string_equal(m->word, "b");
    assert_true(m->_maybe_case != 0 && m->maybe == 0);
    assert_string_equal(m->renamed, "c d");
    assert_true(m->pair_case == BORA__TEST__EVERYTHING__PAIR_LEFT);
    m = expect_read("", "", NULL);
    assert_true(m->_maybe_case == 0 && m->_word_case == 0 && m->n_texts == 0);
    assert_false(expect_read("", "flag=0", NULL)->flag);
    assert_true(expect_read("", "flag=1", NULL)->flag);
    assert_int_equal(expect_read("", "i32=5.0", NULL)->i32, 5); /* as in JSON */
}

static void test_a_name_that_is_repeated_is_a_list(void **state) {
    (void)state;
    const Bora__Test__Everything *m = expect_read("", "texts=b&floats=1&texts=a&flags=false&flags=true", NULL);
    assert_int_equal(m->n_texts, 2);
    assert_string_equal(m->texts[0], "b");
    assert_string_equal(m->texts[1], "a");
    assert_true(m->n_floats == 1 && m->floats[0] == 1);
    assert_true(m->n_flags == 2 && !m->flags[0] && m->flags[1]);
    expect_refused("", "texts=a&texts=b&texts=c", NULL, "query/texts too_long -\n");
    expect_refused("", "texts=a&texts=abcd", NULL, "query/texts/1 string_too_long \"abcd\"\n");
}

static void test_wrong_values_are_named_in_the_order_of_fields(void **state) {
    (void)state;
    expect_refused("", "text=a&word=z&maybe=x&u32=1.5&i32=&f64=hot&flag=maybe&f32=1e39&i64=-6&u64=-1", NULL,
                   "query/i32 int_parsing \"\"\n"
                   "query/i64 greater_than_equal -6\n"
                   "query/u32 int_parsing \"1.5\"\n"
                   "query/u64 greater_than_equal -1\n"
                   "query/f32 finite_number 1e39\n"
                   "query/f64 float_parsing \"hot\"\n"
                   "query/flag bool_parsing \"maybe\"\n"
                   "query/text string_too_short \"a\"\n"
                   "query/word literal_error \"z\"\n"
                   "query/maybe int_parsing \"x\"\n");
    for (size_t i = 0; i < 8; i++) {
        static const char *const numbers[] = {" 1", "1 ", "+1", "0x10", "1_000", "01", "NaN", "1,5"};
        char query[32], expected[64];
        snprintf(query, sizeof query, "i32=%s", numbers[i]);
        snprintf(expected, sizeof expected, "query/i32 int_parsing \"%s\"\n", numbers[i]);
        expect_refused("", query, NULL, expected);
    }
    expect_refused("", "text=\xff\xfe", NULL, "query/text string_unicode -\n");
}

static void test_what_no_query_can_say_is_unknown(void **state) {
    (void)state;
    /* unknown, hidden, and what is no plain value */
    expect_refused("", "nonsense=1&secret=2&shape=3&labels=4&any=5&right=6&I32=7", NULL,
                   "query/nonsense extra_forbidden \"1\"\n"
                   "query/secret extra_forbidden \"2\"\n"
                   "query/shape extra_forbidden \"3\"\n"
                   "query/labels extra_forbidden \"4\"\n"
                   "query/any extra_forbidden \"5\"\n"
                   "query/right extra_forbidden \"6\"\n"
                   "query/I32 extra_forbidden \"7\"\n");
    expect_refused("", "i32=1&i32=2", NULL, "query/i32 value_error -\n");
}

static void test_the_path_gives_its_fields_and_nobody_else_may(void **state) {
    (void)state;
    const Bora__Test__Everything *m = expect_read("text=abc", "i32=1", NULL);
    assert_string_equal(m->text, "abc");
    assert_int_equal(m->i32, 1);
    m = expect_read("text=abc&class=x", "", "{\"i32\":1,\"list_always\":[{\"name\":\"n\"}]}");
    assert_string_equal(m->text, "abc");
    assert_string_equal(m->renamed, "x");
    assert_true(m->i32 == 1 && m->n_list_always == 1);
    expect_refused("text=abc", "text=def", NULL, "query/text extra_forbidden \"def\"\n");
    expect_refused("text=abc", "", "{\"text\":\"def\"}", "body/text extra_forbidden \"def\"\n");
    /* of the root only: a field of that name further down is the body's */
    m = expect_read("text=abc", "", "{\"anything\":{\"name\":\"n\"},\"left\":\"l\"}");
    assert_string_equal(m->text, "abc");
    expect_refused("text=a", "", "{\"i32\":\"x\"}", "body/i32 int_type \"x\"\npath/text string_too_short \"a\"\n");
}

static void test_beside_a_body_a_query_says_nothing(void **state) {
    (void)state;
    expect_refused("", "i32=1", "{}", "query/i32 extra_forbidden \"1\"\n");
    expect_refused("", "i32=1", "{", "body/1 json_invalid -\nquery/i32 extra_forbidden \"1\"\n");
    expect_refused("", "", "", "body missing -\n");
    assert_int_equal(expect_read("", "", "{\"i32\":3}")->i32, 3);
}

static void test_errors_are_bounded(void **state) {
    (void)state;
    char query[1000] = "";
    for (int i = 0; i < 70; i++) sprintf(query + strlen(query), "%sx%d=1", i > 0 ? "&" : "", i);
    ProtobufCMessage *message = NULL;
    assert_int_equal(read_all("", query, NULL, &message), STATUS_INVALID_ARGUMENT);
    assert_int_equal(fixture.errors.count, TRANSCODE_ERRORS_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_type_is_read_from_its_text),
        cmocka_unit_test(test_a_name_that_is_repeated_is_a_list),
        cmocka_unit_test(test_wrong_values_are_named_in_the_order_of_fields),
        cmocka_unit_test(test_what_no_query_can_say_is_unknown),
        cmocka_unit_test(test_the_path_gives_its_fields_and_nobody_else_may),
        cmocka_unit_test(test_beside_a_body_a_query_says_nothing),
        cmocka_unit_test(test_errors_are_bounded),
    };
    return cmocka_run_group_tests(tests, open_transcoder, close_transcoder);
}
