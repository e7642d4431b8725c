/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The server's own life: addresses, limits on connections and time, stopping. */
#include "tests/unit/rpc/http_fixture.h"

#include <sys/resource.h>

static const char hold[] = "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n";
static const char echo[] = "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n";
static const char stream[] = "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n";

static void expect_not_created(struct http_server_options options, enum status status, const char *sentence) {
    struct http_server *server = NULL;
    struct error err = {0};
    assert_int_equal(http_server_create(&options, &server, &err), status);
    if (strstr(err.message, sentence) == NULL) fail_msg("%s", err.message);
    assert_null(server);
}

static void test_addresses(void **state) {
    (void)state;
    struct tester *tester = tester_open();
    char taken[50];
    snprintf(taken, sizeof taken, "127.0.0.1:%d", http_server_port(tester->server));
    struct http_server_options options = tester_options(tester);
    options.address = taken;
    expect_not_created(options, STATUS_UNAVAILABLE, taken);
    static const char *const malformed[] = {
        "", "8080", "127.0.0.1:", "127.0.0.1", "::1:80", "[::1]", "127.0.0.1:http-no-such"};
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        options.address = malformed[i];
        expect_not_created(options, STATUS_INVALID_ARGUMENT, "HTTP address");
    }
    options.address = "127.0.0.1:0";
    options.body_bytes_max = -1;
    expect_not_created(options, STATUS_INVALID_ARGUMENT, "out of range");
    tester_close(tester);

    static const char *const good[] = {":0", "localhost:0", "[::]:0"};
    int six = socket(AF_INET6, SOCK_STREAM, 0); /* some machines have no IPv6 */
    for (size_t i = 0; i < (six >= 0 ? 3 : 2); i++) {
        tester = tester_new();
        options = tester_options(tester);
        options.address = good[i];
        tester_open_with(tester, &options);
        int fd = client_connect(tester); /* over IPv4, also where it listens on IPv6 */
        client_send(fd, hold);
        struct http_exchange *exchange = tester_held(tester, 0);
        assert_string_equal(http_exchange_peer(exchange), "127.0.0.1");
        http_exchange_respond(exchange, 200, NULL, bytes_view_string("ok"));
        expect_answer(fd, 200, "ok");
        close(fd);
        tester_close(tester);
    }
    if (six >= 0) close(six);
}

static void test_more_connections_than_allowed_wait_their_turn(void **state) {
    (void)state;
    enum { LIMIT = 4, CLIENTS = 40 };
    struct tester *tester = tester_new();
    struct http_server_options options = tester_options(tester);
    options.connections_max = LIMIT;
    tester_open_with(tester, &options);
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client_connect(tester);
        client_send(fds[i], hold);
    }
    for (int i = 0; i < CLIENTS; i++) {
        struct http_exchange *exchange = tester_held(tester, i);
        assert_true(http_server_exchanges(tester->server) <= LIMIT);
        http_exchange_add_header(exchange, "Connection", "close");
        http_exchange_respond(exchange, 200, NULL, bytes_view_string("ok"));
        tester_wait(tester, &tester->closed, i + 1);
    }
    for (int i = 0; i < CLIENTS; i++) {
        expect_answer(fds[i], 200, "ok");
        expect_end(fds[i]);
    }
    tester_close(tester);
}

static void test_running_out_of_descriptors_is_survived(void **state) {
    (void)state;
    struct tester *tester = tester_open();
    int first = client_connect(tester), second = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    client_send(first, echo);
    expect_answer(first, 200, "GET /echo|");
    struct rlimit before, tight = {.rlim_cur = 64};
    getrlimit(RLIMIT_NOFILE, &before);
    tight.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_NOFILE, &tight);
    int fillers[64], count = 0;
    while (count < 64 && (fillers[count] = dup(first)) >= 0) count++;
    assert_int_equal(errno, EMFILE);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)http_server_port(tester->server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(second, (struct sockaddr *)&address, sizeof address),
                     0); /* the kernel's part; accept fails */
    client_send(second, echo);
    client_send(first, echo);
    expect_answer(first, 200, "GET /echo|"); /* those inside are served */
    while (count > 0) close(fillers[--count]);
    setrlimit(RLIMIT_NOFILE, &before);
    close(first); /* someone leaves: the server tries again */
    expect_answer(second, 200, "GET /echo|");
    close(second);
    tester_close(tester);
}

static struct tester *open_impatient(void) {
    struct tester *tester = tester_new();
    struct http_server_options options = tester_options(tester);
    options.idle_timeout_ns = 300 * NS_PER_MS;
    tester_open_with(tester, &options);
    return tester;
}

static void test_idle_connections_are_closed(void **state) {
    (void)state;
    struct tester *tester = open_impatient();
    int silent = client_connect(tester), kept = client_connect(tester);
    client_send(kept, echo);
    expect_answer(kept, 200, "GET /echo|");
    expect_end(silent);
    expect_end(kept);
    tester_close(tester);
}

/** Send `text` one byte at a time, each when the last has had its time. Returns the bytes sent before the server closed. */
static size_t drip(int fd, const char *text) {
    for (size_t i = 0; text[i] != 0; i++) {
        if (send(fd, text + i, 1, MSG_NOSIGNAL) != 1) return i;
        struct pollfd closed = {.fd = fd, .events = POLLIN};
        if (poll(&closed, 1, 50) == 1) return i + 1;
    }
    return strlen(text);
}

static void test_requests_that_drip_in_are_cut_off(void **state) {
    (void)state;
    struct tester *tester = open_impatient();
    char line[400], body[600];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = 0;
    snprintf(body, sizeof body, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 400\r\n\r\n%s", line);
    int fd = client_connect(tester);
    assert_true(drip(fd, line) < 100); /* a first line that never ends: twice the time-out is 12 bytes */
    close(fd);
    fd = client_connect(tester);
    size_t head = strlen(body) - strlen(line);
    client_send_bytes(fd, body, head);
    assert_true(drip(fd, body + head) < 100); /* a body */
    close(fd);
    assert_int_equal(tester_count(tester, &tester->requests), 0);
    tester_close(tester);
}

static void test_a_waiting_client_is_not_idle(void **state) {
    (void)state;
    struct tester *tester = open_impatient();
    int fd = client_connect(tester), other = client_connect(tester);
    client_send(fd, hold);
    struct http_exchange *exchange = tester_held(tester, 0);
    expect_end(other); /* the time-out has passed for who is idle */
    other = client_connect(tester);
    expect_end(other); /* and again */
    http_exchange_respond(exchange, 200, NULL, bytes_view_string("slow but sure"));
    expect_answer(fd, 200, "slow but sure");
    close(fd);
    tester_close(tester);
}

/* --- stopping --- */

struct stopper {
    struct tester *tester;
    int64_t grace_ns;
};

static void *stop_server(void *context) {
    struct stopper *stopper = context;
    http_server_stop(stopper->tester->server, stopper->grace_ns);
    return NULL;
}

static void test_stop_lets_running_exchanges_end(void **state) {
    (void)state;
    struct tester *tester = tester_open();
    int held = client_connect(tester), streamed = client_connect(tester), idle = client_connect(tester);
    client_send(held, hold);
    struct http_exchange *first = tester_held(tester, 0);
    client_send(streamed, stream);
    struct http_exchange *second = tester_held(tester, 1);
    client_send(idle, echo);
    expect_answer(idle, 200, "GET /echo|");

    pthread_t thread;
    struct stopper stopper = {.tester = tester, .grace_ns = 600 * NS_PER_S};
    assert_int_equal(pthread_create(&thread, NULL, stop_server, &stopper), 0);
    expect_end(idle); /* closed at once */
    /* Nobody new comes in. */
    int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)http_server_port(tester->server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(late, (struct sockaddr *)&address, sizeof address), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(late);

    http_exchange_respond(first, 200, NULL, bytes_view_string("done"));
    struct answer answer;
    answer_init(&answer);
    answer_read(&answer, held);
    assert_string_equal((const char *)answer.body.data, "done");
    assert_string_equal(answer_header(&answer, "Connection"), "close");
    answer_deinit(&answer);
    expect_end(held);
    assert_int_equal(http_exchange_write(second, bytes_view_string("data: last\n\n")), STATUS_OK);
    http_exchange_end(second);
    expect_answer(streamed, 200, "data: last\n\n");
    pthread_join(thread, NULL); /* long before the grace is over */
    assert_int_equal(tester_count(tester, &tester->completed), 3);
    close(streamed);
    tester_close(tester);
}

static void test_stop_ends_what_does_not_end(void **state) {
    (void)state;
    struct tester *tester = tester_open();
    enum { CLIENTS = 6 };
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client_connect(tester);
        client_send(fds[i], i % 2 == 0 ? hold : stream);
        (void)tester_held(tester, i);
    }
    char block[1000] = {0};
    while (http_exchange_write(tester->held[1], bytes_view_of(block, sizeof block)) == STATUS_OK) {
    } /* one is stuck in writing */
    http_server_stop(tester->server, 20 * NS_PER_MS);
    assert_int_equal(tester_count(tester, &tester->closed), CLIENTS);
    assert_int_equal(tester_count(tester, &tester->completed), 0);
    for (int i = 0; i < CLIENTS; i++) {
        assert_int_equal(http_exchange_write(tester->held[i], bytes_view_string("x")), STATUS_CANCELLED);
        http_exchange_respond(tester->held[i], 200, NULL, bytes_view_string("x"));
        http_exchange_end(tester->held[i]);
        close(fds[i]);
    }
    tester_close(tester);
}

static void test_exchanges_may_outlive_the_server(void **state) {
    (void)state;
    struct tester *tester = tester_open();
    int fd = client_connect(tester);
    client_send(fd, "POST /hold?q=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
    struct http_exchange *exchange = tester_held(tester, 0);
    http_server_destroy(tester->server);
    tester->server = NULL;
    assert_int_equal(http_exchange_write(exchange, bytes_view_string("x")), STATUS_CANCELLED);
    http_exchange_add_header(exchange, "X", "y");
    http_exchange_start(exchange, 200, NULL);
    http_exchange_abort(exchange);
    assert_string_equal(http_exchange_query(exchange, "q"), "1");
    assert_true(bytes_view_equal_string(http_exchange_body(exchange), "hi"));
    assert_int_equal(http_exchange_pending_bytes(exchange), 0);
    close(fd);
    tester_close(tester);
}

static void *answer_all(void *context) {
    struct tester *tester = context;
    for (int i = 0; i < HELD_MAX; i++) {
        struct http_exchange *exchange = tester_held(tester, i);
        if (i % 2 == 0)
            http_exchange_respond(exchange, 200, NULL, bytes_view_string("x"));
        else
            http_exchange_abort(exchange);
    }
    return NULL;
}

static void test_stop_races_with_answers(void **state) {
    (void)state;
    for (int round = 0; round < 5; round++) {
        struct tester *tester = tester_open();
        int fds[HELD_MAX];
        for (int i = 0; i < HELD_MAX; i++) {
            fds[i] = client_connect(tester);
            client_send(fds[i], hold);
            (void)tester_held(tester, i);
        }
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, answer_all, tester), 0);
        http_server_stop(tester->server, 0);
        pthread_join(thread, NULL);
        for (int i = 0; i < HELD_MAX; i++) close(fds[i]);
        tester_close(tester);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_more_connections_than_allowed_wait_their_turn),
        cmocka_unit_test(test_running_out_of_descriptors_is_survived),
        cmocka_unit_test(test_idle_connections_are_closed),
        cmocka_unit_test(test_requests_that_drip_in_are_cut_off),
        cmocka_unit_test(test_a_waiting_client_is_not_idle),
        cmocka_unit_test(test_stop_lets_running_exchanges_end),
        cmocka_unit_test(test_stop_ends_what_does_not_end),
        cmocka_unit_test(test_exchanges_may_outlive_the_server),
        cmocka_unit_test(test_stop_races_with_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
