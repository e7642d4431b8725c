/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Where an answer ends, however it is cut: a load generator that is wrong there measures something else. */
#include "bench/load_http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct answer_case {
    const char *text;
    enum load_state state;
    int status;
    int64_t body_bytes;
    bool closes;
} cases[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", LOAD_DONE, 200, 5, false},
    {"HTTP/1.1 200 OK\r\nX: y\r\ncontent-length:0\r\n\r\n", LOAD_DONE, 200, 0, false},
    {"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", LOAD_DONE, 429, 2, true},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", LOAD_DONE,
     200, 3 + 10 + 4, false}, /* with the end of each chunk's line */
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n\r\n", LOAD_DONE, 200, 0, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", LOAD_TRAILER, 200, 5, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", LOAD_CHUNK_SIZE, 200, 5, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", LOAD_BROKEN, 200, 0, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", LOAD_BROKEN, 200, 0, false},
    {"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", LOAD_BODY, 200, 5, false},
    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhello", LOAD_BROKEN, 200, 2, false},
    {"HTTP/1.1 200 OK\r\n\r\n", LOAD_BROKEN, 200, 0, false},
    {"SSH-2.0-OpenSSH\r\n\r\n", LOAD_BROKEN, 0, 0, false},
};

static void feed_in_pieces(struct load_reader *reader, const char *text, size_t piece) {
    size_t length = strlen(text);
    for (size_t at = 0; at < length; at += piece)
        load_reader_feed(reader, bytes_view_of(text + at, length - at < piece ? length - at : piece));
}

static void test_answers_are_read_however_they_are_cut(void **state) {
    (void)state;
    static struct load_reader reader;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t piece = 1; piece <= strlen(cases[i].text); piece++) {
            load_reader_reset(&reader);
            feed_in_pieces(&reader, cases[i].text, piece);
            assert_int_equal(reader.state, cases[i].state);
            assert_int_equal(reader.status, cases[i].status);
            assert_int_equal(reader.body_bytes, cases[i].body_bytes);
            assert_int_equal(reader.closes, cases[i].closes);
        }
    }
}

static void test_a_reader_is_used_again(void **state) {
    (void)state;
    static struct load_reader reader;
    load_reader_reset(&reader);
    feed_in_pieces(&reader, cases[2].text, 7);
    load_reader_reset(&reader);
    feed_in_pieces(&reader, cases[0].text, 7);
    assert_int_equal(reader.state, LOAD_DONE);
    assert_false(reader.closes);
    assert_int_equal(reader.body_bytes, 5);
}

static void test_endless_headers_are_broken(void **state) {
    (void)state;
    static struct load_reader reader;
    load_reader_reset(&reader);
    feed_in_pieces(&reader, "HTTP/1.1 200 OK\r\n", 64);
    for (int i = 0; i < LOAD_HEAD_BYTES_MAX / 6 && reader.state == LOAD_HEAD; i++)
        feed_in_pieces(&reader, "A: bc\r\n", 64);
    assert_int_equal(reader.state, LOAD_BROKEN);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_answers_are_read_however_they_are_cut),
                                       cmocka_unit_test(test_a_reader_is_used_again),
                                       cmocka_unit_test(test_endless_headers_are_broken)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
