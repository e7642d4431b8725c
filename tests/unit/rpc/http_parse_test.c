/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "rpc/http_parse.h"

#include "base/limits.h"
#include "tests/support/check.h"

static int parse(const char *text, struct http_head *out) {
    const char *reason = NULL;
    return http_head_parse(bytes_view_string(text), out, &reason);
}

static const char *value_of(const struct http_field *list, const char *name) {
    while (list != NULL && strcmp(list->name, name) != 0) list = list->next;
    return list != NULL ? list->value : NULL;
}

static void test_where_a_head_ends(void **state) {
    (void)state;
    static const char text[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET";
    size_t end = sizeof text - 1 - 3;
    for (size_t length = 0; length < sizeof text - 1; length++)
        for (size_t seen = 0; seen <= length; seen++) /* as far as it was looked at before, its end was not there */
            if (seen < end)
                assert_int_equal(http_head_length(bytes_view_of(text, length), seen), length >= end ? end : 0);
}

static void test_a_head_in_its_parts(void **state) {
    (void)state;
    struct http_head head;
    assert_int_equal(
        parse("PUT /a%20b/%zz?x=1+2&y=%26&z&=n&x=3 HTTP/1.1\r\nHost:h\r\nA: \t b c\t \r\nEmpty:\r\n\r\n", &head), 0);
    assert_string_equal(head.method, "PUT");
    assert_string_equal(head.path, "/a b/%zz");
    assert_int_equal(head.minor_version, 1);
    assert_string_equal(value_of(head.headers, "Host"), "h");
    assert_string_equal(value_of(head.headers, "A"), "b c");
    assert_string_equal(value_of(head.headers, "Empty"), "");
    assert_string_equal(value_of(head.queries, "x"), "1 2");
    assert_string_equal(value_of(head.queries, "y"), "&");
    assert_string_equal(value_of(head.queries, "z"), "");
    http_head_deinit(&head);
    assert_int_equal(parse("GET http://host:80/p?q=1 HTTP/1.0\r\n\r\n", &head), 0);
    assert_string_equal(head.path, "/p");
    assert_int_equal(head.minor_version, 0);
    assert_null(head.headers);
    http_head_deinit(&head);
}

static void test_what_is_no_head(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int status;
    } heads[] = {{"\r\n\r\n", 400},
                 {"GET\r\n\r\n", 400},
                 {"GET /\r\n\r\n", 400},
                 {"GET / HTTP/1\r\n\r\n", 400},
                 {"GET / HTTP/1.1 \r\n\r\n", 400},
                 {" GET / HTTP/1.1\r\n\r\n", 400},
                 {"GET / HTTP/2.0\r\n\r\n", 505},
                 {"GET /\tx HTTP/1.1\r\n\r\n", 400},
                 {"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400},
                 {"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400}};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct http_head head;
        if (parse(heads[i].text, &head) != heads[i].status) fail_msg("%s", heads[i].text);
    }
    static const char nul[] = "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n";
    struct http_head head;
    const char *reason;
    assert_int_equal(http_head_parse(bytes_view_of(nul, sizeof nul - 1), &head, &reason), 400);
}

static void test_fields_are_bounded(void **state) {
    (void)state;
    struct bytes text;
    struct http_head head;
    bytes_init(&text, 1 << 20);
    (void)!bytes_append_string(&text, "GET /?");
    for (int i = 0; i < HTTP_FIELDS_MAX; i++) (void)!bytes_append_string(&text, "a&");
    (void)!bytes_append_string(&text, " HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(parse((const char *)text.data, &head), 431);
    bytes_deinit(&text);
}

/** The body of `text`, fed in pieces of `step` bytes. */
static enum http_chunks_state read_chunks(const char *text, size_t step, char *out) {
    struct http_chunks chunks = {0};
    enum http_chunks_state state = HTTP_CHUNKS_MORE;
    for (size_t length = strlen(text), at = 0; at < length && state == HTTP_CHUNKS_MORE; at += step) {
        struct bytes_view data = bytes_view_of(text + at, length - at < step ? length - at : step), piece;
        while (state == HTTP_CHUNKS_MORE && data.length > 0) {
            state = http_chunks_next(&chunks, &data, &piece);
            if (piece.length > 0) out = mempcpy(out, piece.data, piece.length);
        }
    }
    *out = 0;
    return state;
}

static void test_chunks(void **state) {
    (void)state;
    static const struct {
        const char *text, *body;
        enum http_chunks_state state;
    } bodies[] = {
        {"0\r\n\r\n", "", HTTP_CHUNKS_END},
        {"3\r\nabc\r\n0A;x=\"y\"\r\n0123456789\r\n0\r\nT: 1\r\nU: 2\r\n\r\n", "abc0123456789", HTTP_CHUNKS_END},
        {"3 \t\r\nabc\r\n1 ;x\r\nd\r\n0\r\n\r\n", "abcd", HTTP_CHUNKS_END},
        {"3\r\nab", "ab", HTTP_CHUNKS_MORE},
        {"3 4\r\nabc\r\n", "", HTTP_CHUNKS_MALFORMED},
        {"\r\n", "", HTTP_CHUNKS_MALFORMED},
        {"g\r\n", "", HTTP_CHUNKS_MALFORMED},
        {"-1\r\n", "", HTTP_CHUNKS_MALFORMED},
        {"3\nabc\r\n", "", HTTP_CHUNKS_MALFORMED},
        {"3\r\nabcd\r\n", "abc", HTTP_CHUNKS_MALFORMED},
        {"3;a\nb\r\n", "", HTTP_CHUNKS_MALFORMED},
        {"0\r\nT: a\nb\r\n\r\n", "", HTTP_CHUNKS_MALFORMED},
        {"0\r\n\rx", "", HTTP_CHUNKS_MALFORMED},
        {"ffffffffffffffffff\r\n", "", HTTP_CHUNKS_TOO_LARGE},
    };
    char out[100];
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        for (size_t step = 1; step < 20; step++) {
            if (read_chunks(bodies[i].text, step, out) != bodies[i].state) fail_msg("%s", bodies[i].text);
            assert_string_equal(out, bodies[i].body);
        }
    }
}

static void test_lines_of_chunks_are_bounded(void **state) {
    (void)state;
    static char text[2 * LIMIT_HEADER_BYTES], out[100];
    memset(text, 'x', sizeof text - 1);
    memcpy(text, "1;", 2);
    assert_int_equal(read_chunks(text, 1000, out), HTTP_CHUNKS_TOO_LARGE);
    memset(text + 1, ' ', 2000);
    assert_int_equal(read_chunks(text, 1000, out), HTTP_CHUNKS_TOO_LARGE);
    memcpy(text, "0\r\nT:", 5);
    assert_int_equal(read_chunks(text, 1000, out), HTTP_CHUNKS_TOO_LARGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_where_a_head_ends),
        cmocka_unit_test(test_a_head_in_its_parts),
        cmocka_unit_test(test_what_is_no_head),
        cmocka_unit_test(test_fields_are_bounded),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_lines_of_chunks_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
