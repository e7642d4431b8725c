/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The server's own life: addresses, limits on connections and time, stopping. */
#include "tests/unit/rpc/http_fixture.h"

#include "rpc/http_framing.h"

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

static void test_one_peer_does_not_get_every_connection(void **state) {
    (void)state;
    enum { LIMIT = 4 };
    struct tester *tester = tester_new();
    struct http_server_options options = tester_options(tester);
    options.peer_connections_max = LIMIT;
    tester_open_with(tester, &options);
    int fds[LIMIT];
    for (int i = 0; i < LIMIT; i++) {
        fds[i] = client_connect(tester);
        client_send(fds[i], echo);
        expect_answer(fds[i], 200, "GET /echo|");
    }
    for (int i = 0; i < 3; i++) expect_end(client_connect(tester)); /* closed at once */
    int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in elsewhere = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1)},
                       address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)http_server_port(tester->server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(other, (struct sockaddr *)&elsewhere, sizeof elsewhere), 0);
    assert_int_equal(connect(other, (struct sockaddr *)&address, sizeof address), 0);
    client_send(other, echo);
    expect_answer(other, 200, "GET /echo|"); /* of another address */
    close(other);
    for (int i = 0; i < LIMIT; i++) close(fds[i]);
    struct answer answer;
    do { /* whoever comes after they have left is served */
        answer_init(&answer);
        int fd = client_connect(tester);
        (void)send(fd, echo, strlen(echo), MSG_NOSIGNAL);
        (void)client_receive(fd, &answer.head, 1000);
        close(fd);
        answer.status = answer.head.length > 0 ? 200 : 0;
        answer_deinit(&answer);
    } while (answer.status == 0);
    tester_close(tester);
}

/** A handler that can be made to wait, and notes who came when. */
struct door {
    struct tester *tester;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool shut, waits;
    int many, when_other; /* requests for /many; how many of them there had been when /other came */
};

static void pass_door(struct http_exchange *exchange, void *context) {
    struct door *door = context;
    pthread_mutex_lock(&door->mutex);
    if (strcmp(http_exchange_path(exchange), "/wait") == 0) {
        door->waits = true;
        pthread_cond_broadcast(&door->changed);
        while (door->shut) pthread_cond_wait(&door->changed, &door->mutex);
    }
    door->many += strcmp(http_exchange_path(exchange), "/many") == 0;
    if (strcmp(http_exchange_path(exchange), "/other") == 0) door->when_other = door->many;
    pthread_mutex_unlock(&door->mutex);
    http_exchange_respond(exchange, 200, NULL, bytes_view_string("ok"));
}

static void test_who_sends_many_requests_ahead_lets_others_pass(void **state) {
    (void)state;
    enum { MANY = 1000 };
    struct door door = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .shut = true};
    struct tester *tester = tester_new();
    struct http_server_options options = tester_options(tester);
    options.on_request = pass_door;
    options.on_closed = NULL;
    options.context = &door;
    tester_open_with(tester, &options);
    int waiting = client_connect(tester), many = client_connect(tester), other = client_connect(tester);
    client_send(waiting, "GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
    pthread_mutex_lock(&door.mutex);
    while (!door.waits) pthread_cond_wait(&door.changed, &door.mutex);
    pthread_mutex_unlock(&door.mutex);
    struct bytes ahead; /* in one piece, so that it is there as a whole */
    bytes_init(&ahead, TEXT_BYTES_MAX);
    for (int i = 0; i < MANY; i++) (void)bytes_append_string(&ahead, "GET /many HTTP/1.1\r\nHost: h\r\n\r\n");
    client_send_bytes(many, ahead.data, ahead.length);
    bytes_deinit(&ahead);
    client_send(other, "GET /other HTTP/1.1\r\nHost: h\r\n\r\n");
    pthread_mutex_lock(&door.mutex);
    door.shut = false;
    pthread_cond_broadcast(&door.changed);
    pthread_mutex_unlock(&door.mutex);
    expect_answer(other, 200, "ok");
    for (int i = 0; i < MANY; i++) expect_answer(many, 200, "ok");
    close(many);
    assert_int_equal(door.many, MANY);
    assert_in_range(door.when_other, 0, MANY / 2);
    close(waiting);
    close(other);
    tester_close(tester);
}

static void test_headers_have_a_time_of_their_own(void **state) {
    (void)state;
    struct tester *tester = tester_new();
    struct http_server_options options = tester_options(tester);
    options.header_timeout_ns = 300 * NS_PER_MS; /* idle: 60 s */
    tester_open_with(tester, &options);
    int silent = client_connect(tester), half = client_connect(tester), kept = client_connect(tester),
        body = client_connect(tester), later = client_connect(tester);
    client_send(half, "GET /echo HTTP/1.1\r\nHost:");
    client_send(kept, echo);
    expect_answer(kept, 200, "GET /echo|");
    client_send(body, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n");
    client_send(later, echo);
    expect_answer(later, 200, "GET /echo|");
    client_send(later, "GET /echo HTTP/1.1\r\nHo");
    expect_end(silent);
    expect_end(half);
    expect_end(later);       /* also of a later request */
    client_send(body, "hi"); /* bodies and pauses between requests are not headers */
    expect_answer(body, 200, "POST /echo|hi");
    client_send(kept, echo);
    expect_answer(kept, 200, "GET /echo|");
    close(kept);
    close(body);
    tester_close(tester);
}

/* --- bodies together --- */

enum { BODY = 100 * 1000 };

/** Announces a body of BODY bytes and sends all but the last. */
static int half_body(const struct tester *tester) {
    static char body[BODY];
    int fd = client_connect(tester);
    client_send(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
    client_send_bytes(fd, body, BODY - 1);
    return fd;
}

static void test_small_bodies_pass_when_large_ones_fill_the_room(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct tester *tester = tester_new();
        struct http_server_options options = tester_options(tester);
        *(i == 0 ? &options.bodies_bytes_max : &options.peer_bodies_bytes_max) = BODY * 3 / 2;
        tester_open_with(tester, &options);
        int first = half_body(tester), second = client_connect(tester), small = client_connect(tester);
        struct answer answer;
        do { /* the first body's bytes are counted as they come */
            close(second);
            second = client_connect(tester);
            client_send(second,
                        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n");
            answer_init(&answer);
            answer_read_head(&answer, second);
            answer_deinit(&answer);
        } while (answer.status == 100);
        assert_int_equal(answer.status, 503);
        client_send(small, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
        expect_answer(small, 200, "POST /echo|hi");
        close(second);
        close(small);
        close(first);
        tester_close(tester);
    }
}

static void test_bodies_of_clients_that_left_are_not_kept(void **state) {
    (void)state;
    enum { CLIENTS = 64, LARGE = 1000 * 1000 };
    static char body[LARGE];
    struct tester *tester = tester_new();
    struct http_server_options options = tester_options(tester);
    options.bodies_bytes_max = (int64_t)CLIENTS * LARGE;
    tester_open_with(tester, &options);
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client_connect(tester);
        client_send(fds[i], "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    }
    for (int i = 0; i < CLIENTS; i++) {
        client_send_bytes(fds[i], body, LARGE - 1);
        close(fds[i]);
    }
    int64_t until_ns = clock_monotonic_ns(clock_system()) + (int64_t)PATIENCE_MS * NS_PER_MS;
    while (http_server_connections(tester->server) > 0) {
        if (clock_monotonic_ns(clock_system()) > until_ns)
            fail_msg("%d connections are kept", http_server_connections(tester->server));
    }
    tester_close(tester);
}

/* --- headers that take time --- */

static int ask_later(struct http_exchange *exchange, void *context, const char **out_reason) {
    (void)out_reason;
    struct tester *tester = context;
    http_exchange_ref(exchange);
    if (strcmp(http_exchange_path(exchange), "/now") == 0) { /* decided before "later" is said */
        http_exchange_headers_done(exchange, 0, NULL);
        http_exchange_unref(exchange);
        return HTTP_HEADERS_LATER;
    }
    if (strcmp(http_exchange_path(exchange), "/short") == 0) http_exchange_limit_body(exchange, 3);
    pthread_mutex_lock(&tester->mutex);
    tester->held[tester->held_count++] = exchange;
    pthread_cond_broadcast(&tester->changed);
    pthread_mutex_unlock(&tester->mutex);
    return HTTP_HEADERS_LATER;
}

static struct tester *open_asking(void) {
    struct tester *tester = tester_new();
    struct http_server_options options = tester_options(tester);
    options.on_headers = ask_later;
    tester_open_with(tester, &options);
    return tester;
}

static void test_headers_may_be_decided_later(void **state) {
    (void)state;
    static const char *const heads[] = {
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"};
    struct tester *tester = open_asking();
    int fd = client_connect(tester), asked = 0;
    for (size_t i = 0; i < 2; i++) {
        client_send(fd, heads[i]);
        struct http_exchange *exchange = tester_held(tester, asked++);
        assert_int_equal(http_exchange_announced_bytes(exchange), i == 0 ? 5 : -1);
        assert_int_equal(tester_count(tester, &tester->requests), (int)i);
        http_exchange_headers_done(exchange, 0, NULL);
        http_exchange_headers_done(exchange, 500, "the first word counts");
        expect_answer(fd, 200, "POST /echo|hello");
    }
    client_send(fd, "POST /now HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
    expect_answer(fd, 200, "POST /now|hi");
    client_send(fd, "POST /short HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n");
    http_exchange_headers_done(tester_held(tester, asked++), 0, NULL);
    expect_answer(fd, 413, "{\"status\":413,\"reason\":\"request body too large\"}");
    close(fd);
    fd = client_connect(tester);
    client_send(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    http_exchange_headers_done(tester_held(tester, asked++), 401, "not you");
    expect_answer(fd, 401, "{\"status\":401,\"reason\":\"not you\"}");
    expect_end(fd);
    assert_int_equal(tester_count(tester, &tester->requests), 3);
    tester_close(tester);
}

static void test_a_client_that_leaves_before_the_headers_are_decided_is_forgotten(void **state) {
    (void)state;
    struct tester *tester = open_asking();
    int fd = client_connect(tester), stays = client_connect(tester);
    client_send(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
    struct http_exchange *gone = tester_held(tester, 0);
    close(fd);
    client_send(stays, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
    http_exchange_headers_done(tester_held(tester, 1), 0, NULL);
    expect_answer(stays, 200, "POST /echo|hello");
    http_exchange_headers_done(gone, 0, NULL);
    fd = client_connect(tester); /* one is undecided when the server stops */
    client_send(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
    (void)tester_held(tester, 2);
    http_server_stop(tester->server, 0);
    http_exchange_headers_done(tester->held[2], 0, NULL);
    assert_int_equal(tester_count(tester, &tester->requests), 1);
    close(fd);
    close(stays);
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
    assert_string_equal(http_exchange_queries(exchange)->value, "1");
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
        cmocka_unit_test(test_one_peer_does_not_get_every_connection),
        cmocka_unit_test(test_who_sends_many_requests_ahead_lets_others_pass),
        cmocka_unit_test(test_headers_have_a_time_of_their_own),
        cmocka_unit_test(test_small_bodies_pass_when_large_ones_fill_the_room),
        cmocka_unit_test(test_bodies_of_clients_that_left_are_not_kept),
        cmocka_unit_test(test_headers_may_be_decided_later),
        cmocka_unit_test(test_a_client_that_leaves_before_the_headers_are_decided_is_forgotten),
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
