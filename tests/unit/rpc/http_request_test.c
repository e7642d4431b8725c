/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Requests: what reaches the handler, and what is refused before it does. */
#include "tests/unit/rpc/http_fixture.h"

#include "base/limits.h"
#include "rpc/http_framing.h"

#define HEAD(line) line "\r\nHost: h\r\n"

static int open_server(void **state) {
    *state = tester_open();
    return 0;
}
static int close_server(void **state) {
    tester_close(*state);
    return 0;
}

static void test_what_the_handler_sees(void **state) {
    struct tester *tester = *state;
    int fd = client_connect(tester);
    client_send(fd, "POST /hold?a=1&b=x%20y&c&a=2 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer k\r\nX-Two: 1\r\nx-two: "
                    "2\r\nContent-Length: 4\r\n\r\nbody");
    struct http_exchange *exchange = tester_held(tester, 0);
    assert_string_equal(http_exchange_method(exchange), "POST");
    assert_string_equal(http_exchange_path(exchange), "/hold");
    assert_string_equal(http_exchange_header(exchange, "AUTHORIZATION"), "Bearer k");
    assert_string_equal(http_exchange_header(exchange, "X-Two"), "1");
    assert_null(http_exchange_header(exchange, "X-Three"));
    char fields[100] = "";
    for (const struct http_field *field = http_exchange_queries(exchange); field != NULL; field = field->next)
        sprintf(fields + strlen(fields), "%s=%s;", field->name, field->value);
    assert_string_equal(fields, "a=1;b=x y;c=;a=2;");
    const struct http_field *second = http_exchange_headers(exchange)->next->next;
    assert_string_equal(second->name, "X-Two");
    assert_string_equal(second->next->value, "2");
    assert_string_equal(http_exchange_peer(exchange), "127.0.0.1");
    assert_true(bytes_view_equal_string(http_exchange_body(exchange), "body"));
    assert_int_equal(http_server_exchanges(tester->server), 1);
    http_exchange_set_state(exchange, tester);
    assert_ptr_equal(http_exchange_state(exchange), tester);
    http_exchange_add_header(exchange, "X-Answer", "42");
    http_exchange_respond(exchange, 201, "application/json", bytes_view_string("{}"));
    struct answer answer;
    answer_init(&answer);
    answer_read(&answer, fd);
    assert_int_equal(answer.status, 201);
    assert_string_equal((const char *)answer.body.data, "{}");
    assert_string_equal(answer_header(&answer, "X-Answer"), "42");
    assert_string_equal(answer_header(&answer, "Content-Type"), "application/json");
    tester_wait(tester, &tester->completed, 1);
    assert_int_equal(http_server_exchanges(tester->server), 0);
    answer_deinit(&answer);
    close(fd);
}

static void test_blanks_around_a_value_are_no_part_of_it(void **state) {
    struct tester *tester = *state;
    int fd = client_connect(tester);
    client_send(fd, HEAD("GET /hold HTTP/1.1") "Authorization:  \t Bearer k e y \t \r\nX-Empty:   \r\n\r\n");
    struct http_exchange *exchange = tester_held(tester, 0);
    assert_string_equal(http_exchange_header(exchange, "authorization"), "Bearer k e y");
    assert_string_equal(http_exchange_header(exchange, "x-empty"), "");
    close(fd);
}

static void test_a_connection_serves_many_requests(void **state) {
    int fd = client_connect(*state);
    for (int i = 0; i < 50; i++) {
        client_send(fd, HEAD("POST /echo HTTP/1.1") "Content-Length: 2\r\n\r\nhi");
        expect_answer(fd, 200, "POST /echo|hi");
        client_send(fd, HEAD("GET /echo HTTP/1.1") "\r\n");
        expect_answer(fd, 200, "GET /echo|");
    }
    close(fd);
}

static void test_close_may_be_one_word_among_several(void **state) {
    static const char *const closing[] = {"Connection: upgrade, close\r\n", "Connection: x\r\nConnection: Close\r\n",
                                          "Connection: ,\tclose ,\r\n"};
    for (size_t i = 0; i < sizeof closing / sizeof *closing; i++) {
        int fd = client_connect(*state);
        client_send(fd, HEAD("GET /echo HTTP/1.1"));
        client_send(fd, closing[i]);
        client_send(fd, "\r\n");
        expect_answer(fd, 200, "GET /echo|");
        expect_end(fd);
    }
    int fd = client_connect(*state);
    client_send(fd, HEAD("GET /echo HTTP/1.1") "Connection: closed, keep-alive\r\n\r\n");
    expect_answer(fd, 200, "GET /echo|");
    client_send(fd, HEAD("GET /echo HTTP/1.1") "\r\n");
    expect_answer(fd, 200, "GET /echo|");
    close(fd);
}

static void test_pipelined_requests_are_answered_in_order(void **state) {
    struct tester *tester = *state;
    int fd = client_connect(tester);
    client_send(fd, HEAD("GET /hold HTTP/1.1") "\r\n" HEAD("POST /echo HTTP/1.1") "Content-Length: 3\r\n\r\ntwo" HEAD(
                        "GET /hold HTTP/1.1") "\r\n" HEAD("GET /echo HTTP/1.1") "\r\n");
    struct http_exchange *first = tester_held(tester, 0);
    assert_int_equal(tester_count(tester, &tester->requests), 1); /* the second waits for the first's answer */
    http_exchange_respond(first, 200, NULL, bytes_view_string("one"));
    expect_answer(fd, 200, "one");
    expect_answer(fd, 200, "POST /echo|two");
    http_exchange_respond(tester_held(tester, 1), 200, NULL, bytes_view_string("three"));
    expect_answer(fd, 200, "three");
    expect_answer(fd, 200, "GET /echo|");
    close(fd);
}

static void test_a_request_may_come_byte_by_byte(void **state) {
    int fd = client_connect(*state), on = 1;
    setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
    static const char *const requests[] = {
        HEAD("POST /echo HTTP/1.1") "Content-Length: 5\r\n\r\nhello",
        HEAD("POST /echo HTTP/1.1") "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nX-Trailer: "
                                    "1\r\n\r\n"};
    for (size_t i = 0; i < 2; i++) {
        for (const char *at = requests[i]; *at != 0; at++) client_send_bytes(fd, at, 1);
        expect_answer(fd, 200, "POST /echo|hello");
    }
    close(fd);
}

static void test_a_megabyte_arrives_whole(void **state) {
    enum { LENGTH = 1024 * 1024 };
    int fd = client_connect(*state);
    char *body = malloc(LENGTH + 1);
    for (int i = 0; i < LENGTH; i++) body[i] = (char)('a' + i % 26);
    body[LENGTH] = 0;
    client_send(fd, HEAD("POST /echo HTTP/1.1") "Content-Length: 1048576\r\n\r\n");
    client_send(fd, body);
    struct answer answer;
    answer_init(&answer);
    answer_read(&answer, fd);
    assert_int_equal(answer.body.length, LENGTH + 11);
    assert_string_equal((const char *)answer.body.data + 11, body);
    answer_deinit(&answer);
    free(body);
    close(fd);
}

static void test_head_has_the_headers_only(void **state) {
    int fd = client_connect(*state);
    client_send(fd, HEAD("HEAD /echo HTTP/1.1") "\r\n");
    struct answer answer;
    answer_init(&answer);
    answer_read_head(&answer, fd);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer_header(&answer, "Content-Length"), "11");
    answer_deinit(&answer);
    client_send(fd, HEAD("GET /echo HTTP/1.1") "\r\n");
    expect_answer(fd, 200, "GET /echo|");
    close(fd);
}

static void test_the_client_may_ask_before_it_sends(void **state) {
    int fd = client_connect(*state);
    client_send(fd, HEAD("POST /echo HTTP/1.1") "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    struct answer go;
    answer_init(&go);
    answer_read_head(&go, fd);
    assert_int_equal(go.status, 100);
    answer_deinit(&go);
    client_send(fd, "hi");
    expect_answer(fd, 200, "POST /echo|hi");
    close(fd);
}

struct refusal {
    const char *request;
    int status;
    const char *reason;
};

static const struct refusal refusals[] = {
    {HEAD("POST /echo HTTP/1.1") "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
     "both Content-Length and Transfer-Encoding"},
    {HEAD("POST /echo HTTP/1.1") "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400,
     "both Content-Length and Transfer-Encoding"},
    {HEAD("POST /echo HTTP/1.1") "Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody", 400,
     "more than one Content-Length"},
    {HEAD("POST /echo HTTP/1.1") "Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody!", 400,
     "more than one Content-Length"},
    {HEAD("POST /echo HTTP/1.1") "Content-Length: 4, 4\r\n\r\nbody", 400, "malformed Content-Length"},
    {HEAD("POST /echo HTTP/1.1") "Content-Length: x\r\n\r\nbody", 400, "malformed Content-Length"},
    {HEAD("POST /echo HTTP/1.1") "Content-Length: 99999999999999999999999\r\n\r\nbody", 413, "request body too large"},
    {HEAD("POST /echo HTTP/1.1") "Content-Length: 2097153\r\n\r\n", 413, "request body too large"},
    {HEAD("POST /echo HTTP/1.1") "Content-Length: 2097153\r\nExpect: 100-continue\r\n\r\n", 413,
     "request body too large"},
    {HEAD("POST /echo HTTP/1.1") "Transfer-Encoding: gzip\r\n\r\n", 400, "unknown Transfer-Encoding"},
    {HEAD("POST /echo HTTP/1.1") "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 400,
     "unknown Transfer-Encoding"},
    {HEAD("POST /echo HTTP/1.1") "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
     "unknown Transfer-Encoding"},
    {HEAD("POST /echo HTTP/1.1") "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, "malformed chunk"},
    {HEAD("POST /echo HTTP/1.1") "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400, "malformed chunk"},
    {HEAD("POST /echo HTTP/1.1") "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 413,
     "request body too large"},
    {"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "Transfer-Encoding in HTTP/1.0"},
    {HEAD("POST /echo HTTP/1.1") "Host: other\r\n\r\n", 400, "exactly one Host header is needed"},
    {HEAD("POST /echo HTTP/1.1") "Content-Length : 4\r\n\r\nbody", 400, "malformed header field"},
    {HEAD("POST /echo HTTP/1.1") "X\x01Y: 4\r\n\r\n", 400, "malformed header field"},
    {"GET /echo HTTP/1.1\r\n\r\n", 400, "exactly one Host header is needed"},
    {HEAD("GET /echo /x HTTP/1.1") "\r\n", 400, "malformed request target"},
    {HEAD("GET /echo HTTP/1.1") "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400,
     "more than one Authorization header"},
    {HEAD("POST /echo HTTP/1.1") "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi", 415,
     "a request with Content-Encoding is not supported"},
    {HEAD("BREW /echo HTTP/1.1") "\r\n", 501, "unknown method"},
    {HEAD("TRACE /echo HTTP/1.1") "\r\n", 501, "unknown method"},
    {HEAD("GET /echo%00/x HTTP/1.1") "\r\n", 400, "malformed request target"},
    {HEAD("GET /echo?a=%00 HTTP/1.1") "\r\n", 400, "malformed request target"},
    {HEAD("GET /echo HTTP/3.7") "\r\n", 505, "HTTP version not supported"},
    {HEAD("GET /echo HTTP/1") "\r\n", 400, "malformed request line"},
    {HEAD("GET /echo") "\r\n", 400, "malformed request line"},
    {HEAD("GET  HTTP/1.1") "\r\n", 400, "malformed request target"},
    {HEAD("GET /echo HTTP/1.1") "Folded: a\r\n b\r\n\r\n", 400, "malformed header field"},
    {HEAD("GET /echo HTTP/1.1") "no colon\r\n\r\n", 400, "malformed header field"},
    {HEAD("GET /echo HTTP/1.1") "Bare: a\nb: c\r\n\r\n", 400, "malformed header field"},
    {HEAD("GET /echo HTTP/1.1") "Bare: a\rb: c\r\n\r\n", 400, "malformed header field"},
    {HEAD("POST /echo HTTP/1.1") "Transfer-Encoding: chunked\r\n\r\n3 \nabc\r\n0\r\n\r\n", 400, "malformed chunk"},
};

static void test_refusals(void **state) {
    struct tester *tester = *state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        int fd = client_connect(tester);
        client_send(fd, refusals[i].request);
        struct answer answer;
        answer_init(&answer);
        answer_read(&answer, fd);
        if (answer.status != refusals[i].status) fail_msg("%s\n gives %d", refusals[i].request, answer.status);
        char expected[200];
        snprintf(expected, sizeof expected, "{\"status\":%d,\"reason\":\"%s\"}", refusals[i].status,
                 refusals[i].reason);
        assert_string_equal((const char *)answer.body.data, expected);
        assert_string_equal(answer_header(&answer, "Content-Type"), "application/json");
        answer_deinit(&answer);
        struct bytes rest;
        bytes_init(&rest, TEXT_BYTES_MAX);
        if (!client_read_to_end(fd, &rest) || rest.length != 0)
            fail_msg("%s\n then gives %s", refusals[i].request, (const char *)rest.data);
        bytes_deinit(&rest);
        close(fd);
    }
    assert_int_equal(tester_count(tester, &tester->requests), 0);
    assert_int_equal(tester_count(tester, &tester->refused), sizeof refusals / sizeof refusals[0]);
    assert_int_equal(http_server_exchanges(tester->server), 0);
}

static void test_no_answer_for_what_is_not_http(void **state) {
    struct tester *tester = *state;
    static const char *const noise[] = {"\x16\x03\x01\x02\x01\xfc\r\n\r\n", "nonsense\r\n\r\n", "GET\r\n\r\n"};
    for (size_t i = 0; i < sizeof noise / sizeof noise[0]; i++) {
        int fd = client_connect(tester);
        client_send(fd, noise[i]);
        struct bytes text;
        bytes_init(&text, TEXT_BYTES_MAX);
        (void)client_read_to_end(fd, &text); /* a page or nothing, and the end */
        bytes_deinit(&text);
        close(fd);
    }
    assert_int_equal(tester_count(tester, &tester->requests), 0);
}

/** A header of `length` bytes in all. */
static int status_with_headers_of(struct tester *tester, size_t length) {
    struct bytes request;
    bytes_init(&request, 1 << 20);
    (void)bytes_append_string(&request, HEAD("GET /echo HTTP/1.1") "X: ");
    while (request.length < length - 4) (void)bytes_append_byte(&request, 'x');
    (void)bytes_append_string(&request, "\r\n\r\n");
    int fd = client_connect(tester);
    client_send_bytes(fd, request.data, request.length);
    struct answer answer;
    answer_init(&answer);
    answer_read(&answer, fd);
    int status = answer.status;
    answer_deinit(&answer);
    bytes_deinit(&request);
    close(fd);
    return status;
}

static void test_headers_are_bounded(void **state) {
    assert_int_equal(status_with_headers_of(*state, LIMIT_HEADER_BYTES), 200);
    assert_int_equal(status_with_headers_of(*state, LIMIT_HEADER_BYTES + 1), 431);
    assert_int_equal(status_with_headers_of(*state, 30000), 431);
    assert_int_equal(status_with_headers_of(*state, 400000), 431); /* not all of it is read */
}

static void test_many_small_headers_are_bounded(void **state) {
    struct bytes request;
    bytes_init(&request, 1 << 20);
    (void)bytes_append_string(&request, HEAD("GET /echo HTTP/1.1"));
    for (int i = 0; i < 3000; i++) (void)bytes_append_string(&request, "a:b\r\n");
    (void)bytes_append_string(&request, "\r\n");
    int fd = client_connect(*state);
    client_send_bytes(fd, request.data, request.length);
    struct answer answer;
    answer_init(&answer);
    answer_read(&answer, fd);
    assert_int_equal(answer.status, 431);
    answer_deinit(&answer);
    bytes_deinit(&request);
    close(fd);
}

static void test_too_large_a_body_is_answered_although_it_is_not_read(void **state) {
    int fd = client_connect(*state);
    client_send(fd, HEAD("POST /echo HTTP/1.1") "Content-Length: 6291456\r\n\r\n");
    char block[65536];
    memset(block, 'x', sizeof block);
    for (int i = 0; i < 96; i++)
        client_send_bytes(fd, block, sizeof block); /* all of it, although the answer is there: no reset may come */
    expect_answer(fd, 413, "{\"status\":413,\"reason\":\"request body too large\"}");
    expect_end(fd);
}

static void test_too_large_a_chunked_body_is_answered(void **state) {
    struct tester *tester = *state;
    int fd = client_connect(tester);
    client_send(fd, HEAD("POST /echo HTTP/1.1") "Transfer-Encoding: chunked\r\n\r\n");
    char block[65536 + 9];
    snprintf(block, sizeof block, "10000\r\n");
    memset(block + 7, 'x', 65536);
    memcpy(block + 7 + 65536, "\r\n", 2);
    for (int i = 0; i < 40; i++) client_send_bytes(fd, block, sizeof block); /* 2.5 MiB of 2 */
    client_send(fd, "0\r\n\r\n");
    expect_answer(fd, 413, "{\"status\":413,\"reason\":\"request body too large\"}");
    expect_end(fd);
    assert_int_equal(tester_count(tester, &tester->requests), 0);
}

static void test_an_endless_chunked_body_is_cut_off(void **state) {
    int fd = client_connect(*state);
    client_send(fd, HEAD("POST /echo HTTP/1.1") "Transfer-Encoding: chunked\r\n\r\n");
    char block[65536 + 9];
    snprintf(block, sizeof block, "10000\r\n");
    memset(block + 7, 'x', 65536);
    memcpy(block + 7 + 65536, "\r\n", 2);
    /* the limit, what is read beyond it, and what sockets hold, are far below this */
    size_t sent = 0;
    while (sent < (size_t)200 * 1024 * 1024) {
        ssize_t got = send(fd, block, sizeof block, MSG_NOSIGNAL);
        if (got <= 0) break;
        sent += (size_t)got;
    }
    assert_true(sent < (size_t)150 * 1024 * 1024);
    close(fd);
}

static void test_clients_that_leave_inside_a_request_are_forgotten(void **state) {
    struct tester *tester = *state;
    for (int i = 0; i < 20; i++) {
        int fd = client_connect(tester);
        client_send(fd, i % 2 == 0 ? HEAD("POST /echo HTTP/1.1") "Content-Length: 5\r\n\r\nhel" : "GET /ec");
        close(fd);
    }
    int fd = client_connect(tester);
    client_send(fd, HEAD("GET /echo HTTP/1.1") "\r\n");
    expect_answer(fd, 200, "GET /echo|");
    assert_int_equal(tester_count(tester, &tester->requests), 1);
    close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_server, close_server)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_what_the_handler_sees),
        TEST(test_blanks_around_a_value_are_no_part_of_it),
        TEST(test_a_connection_serves_many_requests),
        TEST(test_close_may_be_one_word_among_several),
        TEST(test_pipelined_requests_are_answered_in_order),
        TEST(test_a_request_may_come_byte_by_byte),
        TEST(test_a_megabyte_arrives_whole),
        TEST(test_head_has_the_headers_only),
        TEST(test_the_client_may_ask_before_it_sends),
        TEST(test_refusals),
        TEST(test_no_answer_for_what_is_not_http),
        TEST(test_headers_are_bounded),
        TEST(test_many_small_headers_are_bounded),
        TEST(test_too_large_a_body_is_answered_although_it_is_not_read),
        TEST(test_too_large_a_chunked_body_is_answered),
        TEST(test_an_endless_chunked_body_is_cut_off),
        TEST(test_clients_that_leave_inside_a_request_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
