/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Does a stream live through what happens to servers, and through servers that are none? */
#include "tests/unit/rpc/grpc_stream_fixture.h"
#include "tests/unit/rpc/http2_bytes.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char REFLECT[] = "/test.Service/Reflect";

static void nap(int64_t ns) {
    nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
}

static int64_t now_ns(void) {
    return clock_monotonic_ns(clock_system());
}

/* ---- a server that says what the test wants ------------------------------------------------------------------------ */

struct raw {
    int fd, port, connections;
    pthread_t thread;
    bool reads;                    /* else it never does */
    bool trickle;                  /* one byte at a time */
    bool closes;                   /* when all is said; else when the client does */
    struct bytes greeting, answer; /* at once, and to a call */
    int calls;
};

/** Exactly `length` bytes; false when the client has gone. */
static bool take(int connection, uint8_t *out, size_t length) {
    while (length > 0) {
        ssize_t got = recv(connection, out, length, 0);
        if (got <= 0) return false;
        out += got;
        length -= (size_t)got;
    }
    return true;
}

static void say(const struct raw *raw, int connection, struct bytes_view text) {
    size_t step = raw->trickle ? 1 : text.length;
    for (size_t at = 0; at < text.length; at += step) (void)!send(connection, text.data + at, step, MSG_NOSIGNAL);
}

/** The client's frames, each call (a HEADERS frame) answered once. */
static void serve_calls(struct raw *raw, int connection) {
    static uint8_t payload[1 << 16];
    uint8_t head[24];
    if (!take(connection, head, 24)) return;
    while (take(connection, head, 9)) {
        size_t length = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        if (length > sizeof payload || !take(connection, payload, length)) return;
        if (head[3] != FRAME_HEADERS) continue;
        say(raw, connection, bytes_view(&raw->answer));
        add(&raw->calls, 1);
        if (raw->closes) return;
    }
}

static void *run_raw(void *context) {
    struct raw *raw = context;
    for (int connection; (connection = accept(raw->fd, NULL, NULL)) >= 0;) {
        const int on = 1;
        setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        add(&raw->connections, 1);
        say(raw, connection, bytes_view(&raw->greeting));
        char ignored[256];
        if (raw->reads && (raw->answer.length > 0 || !raw->closes)) serve_calls(raw, connection);
        while (!raw->closes && recv(connection, ignored, sizeof ignored, 0) > 0) continue;
        close(connection);
    }
    return NULL;
}

static void init_raw(struct raw *raw) {
    *raw = (struct raw){.reads = true};
    bytes_init(&raw->greeting, 1 << 20);
    bytes_init(&raw->answer, 1 << 20);
}

/** As init_raw, and it greets as a server of HTTP/2 does. */
static void init_raw_http2(struct raw *raw) {
    init_raw(raw);
    put_frame(&raw->greeting, FRAME_SETTINGS, 0, 0, (struct bytes_view){0});
}

static void open_raw(struct raw *raw) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    raw->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(raw->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(raw->fd, 16), 0);
    assert_int_equal(getsockname(raw->fd, (struct sockaddr *)&address, &length), 0);
    raw->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&raw->thread, NULL, run_raw, raw), 0);
}

/** After its clients have gone. */
static void close_raw(struct raw *raw) {
    shutdown(raw->fd, SHUT_RDWR);
    pthread_join(raw->thread, NULL);
    close(raw->fd);
    bytes_deinit(&raw->greeting);
    bytes_deinit(&raw->answer);
}

/** A port at which nobody listens. */
static int free_port(void) {
    struct raw raw;
    init_raw(&raw);
    open_raw(&raw);
    close_raw(&raw);
    return raw.port;
}

static void close_server(struct rpc_server *server) {
    rpc_server_stop(server, 0);
    rpc_server_destroy(server);
}

static struct rpc_server *open_server_at(int port) {
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    return open_server(address, 1 << 20);
}

/* ---- servers that come and go -------------------------------------------------------------------------------------- */

static void test_server_that_is_not_there_is_told_once_and_found_when_it_comes(void **state) {
    (void)state;
    int port = free_port();
    struct caller *caller = call_port(NULL, port, REFLECT);
    assert_true(reaches(&caller->told.lost, 1));
    assert_non_null(strstr(caller->told.reason, "refused"));
    int64_t until_ns = now_ns() + NS_PER_S; /* some attempts */
    while (now_ns() < until_ns) {
        assert_int_equal(grpc_stream_write(caller->stream, bytes_view_string("x")), STATUS_UNAVAILABLE);
        nap(20 * NS_PER_MS);
    }
    assert_int_equal(value_of(&caller->told.lost), 1);
    assert_int_equal(value_of(&caller->told.finished), 0);
    struct rpc_server *server = open_server_at(port);
    assert_true(becomes_ready(caller));
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_string("x")), STATUS_OK);
    assert_true(reaches(&caller->told.messages, 1));
    close_caller(caller);
    close_server(server);
}

static void test_server_that_stops_and_comes_back_is_found_again(void **state) {
    (void)state;
    struct rpc_server *server = open_server("127.0.0.1:0", 1 << 20);
    int port = rpc_server_port(server);
    struct caller *caller = call_port(NULL, port, REFLECT);
    for (int i = 1; i <= 5; i++) {
        assert_true(becomes_ready(caller));
        assert_int_equal(write_next(caller, bytes_view_string("x")), STATUS_OK);
        assert_true(reaches(&caller->told.messages, i));
        close_server(server);
        assert_true(reaches(&caller->told.finished, i)); /* the call, once */
        assert_int_not_equal(caller->told.status, STATUS_OK);
        assert_true(reaches(&caller->told.lost, 2 * i)); /* the connection, and the first attempt to make it again */
        server = open_server_at(port);
    }
    assert_true(becomes_ready(caller));
    assert_int_equal(value_of(&caller->told.finished), 5);
    assert_int_equal(value_of(&caller->told.lost), 10);
    close_caller(caller);
    close_server(server);
}

struct storm {
    struct caller *caller;
    atomic_bool stop;
    atomic_int taken, strange; /* messages; statuses that no write should have */
};

static void *write_always(void *context) {
    struct storm *storm = context;
    static const uint8_t message[300];
    while (!atomic_load(&storm->stop)) {
        enum status status = grpc_stream_write(storm->caller->stream, bytes_view_of(message, sizeof message));
        if (status == STATUS_OK) atomic_fetch_add(&storm->taken, 1);
        if (status != STATUS_OK && status != STATUS_UNAVAILABLE && status != STATUS_CANCELLED)
            atomic_fetch_add(&storm->strange, 1);
        nap(100 * NS_PER_US);
    }
    return NULL;
}

/** Each call that a message began is told to have ended, and the last one runs. */
static void test_threads_write_while_the_server_comes_and_goes(void **state) {
    (void)state;
    struct rpc_server *server = open_server("127.0.0.1:0", 1 << 20);
    int port = rpc_server_port(server);
    struct storm storm = {.caller = call_port(NULL, port, REFLECT)};
    struct told *told = &storm.caller->told;
    pthread_t writers[3];
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&writers[i], NULL, write_always, &storm), 0);
    for (int i = 0; i < 8; i++) {
        assert_true(reaches(&told->messages, value_of(&told->messages) + 10));
        int finished = value_of(&told->finished);
        if (i % 2 == 0) {
            close_server(server);
            server = open_server_at(port);
        } else {
            grpc_stream_cancel(storm.caller->stream);
        }
        assert_true(reaches(&told->finished, finished + 1));
    }
    assert_true(reaches(&told->messages, value_of(&told->messages) + 10));
    atomic_store(&storm.stop, true);
    for (int i = 0; i < 3; i++) pthread_join(writers[i], NULL);
    assert_int_equal(storm.strange, 0);
    assert_true(value_of(&told->messages) <= atomic_load(&storm.taken)); /* none twice */
    int finished = value_of(&told->finished);
    close_caller(storm.caller);
    assert_true(finished >= 8);
    close_server(server);
}

static void *stop_slowly(void *context) {
    rpc_server_stop(context, PATIENCE_NS);
    return NULL;
}

/** GOAWAY: what runs may end in peace. */
static void test_call_goes_on_while_the_server_stops(void **state) {
    (void)state;
    held_count = cancelled_count = 0;
    struct rpc_server *server = open_server("127.0.0.1:0", 1 << 20);
    struct caller *caller = call_port(NULL, rpc_server_port(server), "/test.Service/Hold");
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_string("x")), STATUS_OK);
    assert_true(reaches(&held_count, 1));
    pthread_t stopper;
    assert_int_equal(pthread_create(&stopper, NULL, stop_slowly, server), 0);
    nap(100 * NS_PER_MS);
    assert_int_equal(rpc_call_write(held, bytes_view_string("last words")), STATUS_OK);
    assert_true(reaches(&caller->told.messages, 1));
    rpc_call_finish(held, STATUS_ABORTED, "for good", (struct bytes_view){0});
    assert_true(reaches(&caller->told.finished, 1));
    assert_int_equal(caller->told.status, STATUS_ABORTED);
    assert_string_equal(caller->told.message, "for good");
    assert_int_equal(value_of(&cancelled_count), 0);
    pthread_join(stopper, NULL);
    assert_true(reaches(&caller->told.lost, 1));
    rpc_server_destroy(server);
    close_caller(caller);
}

static void test_message_after_goaway_is_unavailable(void **state) {
    (void)state;
    struct raw raw;
    init_raw_http2(&raw);
    put_frame(&raw.greeting, FRAME_GOAWAY, 0, 0, bytes_view_of("\0\0\0\0\0\0\0\0", 8));
    open_raw(&raw);
    struct caller *caller = call_port(NULL, raw.port, REFLECT);
    (void)!grpc_stream_write(caller->stream, bytes_view_string("x"));
    assert_true(reaches(&caller->told.lost, 1));
    if (value_of(&caller->told.finished) > 0) assert_int_equal(caller->told.status, STATUS_UNAVAILABLE);
    close_caller(caller);
    assert_int_equal(value_of(&raw.calls), 0);
    close_raw(&raw);
}

/** Each attempt succeeds, and the server hangs up: there must be a pause between attempts. */
static void test_server_that_greets_and_leaves_is_not_stormed(void **state) {
    (void)state;
    struct raw raw;
    init_raw_http2(&raw);
    raw.closes = true;
    open_raw(&raw);
    struct caller *caller = call_port(NULL, raw.port, REFLECT);
    assert_true(reaches(&raw.connections, 3));
    int before = value_of(&raw.connections);
    nap(900 * NS_PER_MS);
    assert_true(value_of(&raw.connections) - before <=
                5); /* 0.4, 0.8, 1.6 and 2 seconds apart; without a pause some 18 */
    close_caller(caller);
    close_raw(&raw);
}

/* ---- servers that say nothing, or nonsense ------------------------------------------------------------------------- */

static void test_what_is_no_http2_server_is_lost(void **state) {
    (void)state;
    static const char *const greetings[] = {"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
                                            "220 mail.example ESMTP\r\n", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                                            "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"};
    for (size_t i = 0; i < sizeof greetings / sizeof greetings[0]; i++) {
        struct raw raw;
        init_raw(&raw);
        assert_int_equal(bytes_append(&raw.greeting, greetings[i], i < 2 ? strlen(greetings[i]) : 17), STATUS_OK);
        raw.closes = i != 0;
        open_raw(&raw);
        struct caller *caller = call_port(NULL, raw.port, REFLECT);
        (void)!grpc_stream_write(caller->stream, bytes_view_string("x"));
        assert_true(reaches(&caller->told.lost, 1));
        assert_false(grpc_stream_ready(caller->stream));
        close_caller(caller);
        close_raw(&raw);
    }
}

static void test_server_that_accepts_and_says_nothing_is_given_up(void **state) {
    (void)state;
    struct raw raw;
    init_raw(&raw);
    raw.reads = false;
    open_raw(&raw);
    struct caller *caller = call_port(NULL, raw.port, REFLECT);
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_string("x")), STATUS_OK);
    assert_true(reaches(&caller->told.finished, 1));
    assert_int_equal(caller->told.status, STATUS_UNAVAILABLE);
    assert_true(reaches(&caller->told.lost, 1));
    assert_non_null(strstr(caller->told.reason, "5 seconds"));
    close_caller(caller);
    close_raw(&raw);
}

static void test_server_that_falls_silent_is_given_up_by_a_ping(void **state) {
    (void)state;
    struct raw raw;
    init_raw_http2(&raw);
    open_raw(&raw);
    struct grpc_streams_options options = {.message_bytes_max = 1 << 20,
                                           .waiting_bytes_max = 1 << 20,
                                           .keepalive_ns = 200 * NS_PER_MS,
                                           .keepalive_timeout_ns = 200 * NS_PER_MS};
    struct caller *caller = call_port(&options, raw.port, REFLECT);
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_string("x")), STATUS_OK);
    assert_true(reaches(&caller->told.finished, 1));
    assert_int_equal(caller->told.status, STATUS_UNAVAILABLE);
    assert_true(reaches(&caller->told.lost, 1));
    assert_non_null(strstr(caller->told.reason, "ping"));
    close_caller(caller);
    close_raw(&raw);
}

/** The C core closes the connections of those who ping too often: three times within what grpc_server.c sets, a second. */
static void test_pings_keep_an_idle_connection(void **state) {
    (void)state;
    struct rpc_server *server = open_server("127.0.0.1:0", 1 << 20);
    struct grpc_streams_options options = {.message_bytes_max = 1 << 20,
                                           .waiting_bytes_max = 1 << 20,
                                           .keepalive_ns = NS_PER_S,
                                           .keepalive_timeout_ns = PATIENCE_NS};
    struct caller *caller = call_port(&options, rpc_server_port(server), REFLECT);
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_string("x")), STATUS_OK);
    assert_true(reaches(&caller->told.messages, 1));
    for (int i = 0; i < 11; i++) nap(500 * NS_PER_MS);
    assert_int_equal(value_of(&caller->told.lost), 0);
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_string("x")), STATUS_OK);
    assert_true(reaches(&caller->told.messages, 2));
    close_caller(caller);
    close_server(server);
}

/* ---- answers, byte by byte ----------------------------------------------------------------------------------------- */

static const char SUCCESS[] = ":status: 200\ncontent-type: application/grpc\n";

struct answer_case {
    const char *headers, *message, *trailers; /* NULL: none. The last of them ends the stream */
    int reset;                                /* -1: not; else RST_STREAM with this code */
    enum status status;
    const char *says;
    int messages;
};

static void put_answer(struct raw *raw, const struct answer_case *answer) {
    struct bytes *out = &raw->answer;
    bool after = answer->reset >= 0;
    put_headers(out, !after && answer->message == NULL && answer->trailers == NULL ? FLAG_END_STREAM : 0, 1,
                answer->headers);
    if (answer->message != NULL)
        put_message(out, !after && answer->trailers == NULL ? FLAG_END_STREAM : 0, 1, answer->message);
    if (answer->trailers != NULL) put_headers(out, FLAG_END_STREAM, 1, answer->trailers);
    const uint8_t code[4] = {0, 0, 0, (uint8_t)answer->reset};
    if (after) put_frame(out, FRAME_RST_STREAM, 0, 1, bytes_view_of(code, 4));
}

static void test_answers_are_read_alike_whole_or_byte_by_byte(void **state) {
    (void)state;
    const struct answer_case cases[] = {
        {SUCCESS, "hello", "grpc-status: 0\n", -1, STATUS_OK, "", 1},
        {SUCCESS, "hello", "grpc-status: 5\ngrpc-message: none%20such %C3%BC 100%25\n", -1, STATUS_NOT_FOUND,
         "none such ü 100%", 1},
        {SUCCESS, NULL, "grpc-status: 16\ngrpc-message: %\n", -1, STATUS_UNAUTHENTICATED, "%", 0},
        {SUCCESS, NULL, "grpc-status: 3\ngrpc-message: a%zzb%4\n", -1, STATUS_INVALID_ARGUMENT, "a%zzb%4", 0},
        {SUCCESS, NULL, "grpc-status: 3\ngrpc-message: a%0A%00%7Fb% 41%+1\n", -1, STATUS_INVALID_ARGUMENT,
         "a   b% 41%+1", 0},
        {SUCCESS, NULL, "grpc-status: 3\ngrpc-message: cut%C3\n", -1, STATUS_INVALID_ARGUMENT, "cut", 0},
        {SUCCESS, NULL, "grpc-status: 17\n", -1, STATUS_UNKNOWN, "", 0},
        {SUCCESS, NULL, "grpc-status: ok\n", -1, STATUS_UNKNOWN, "", 0},
        {SUCCESS, NULL, "grpc-status: -1\n", -1, STATUS_UNKNOWN, "", 0},
        {SUCCESS, NULL, "grpc-status: 99999999999999999999\n", -1, STATUS_UNKNOWN, "", 0},
        {SUCCESS, "hello", NULL, -1, STATUS_UNKNOWN, "without a status", 1},
        {SUCCESS, NULL, NULL, -1, STATUS_UNKNOWN, "without a status", 0},
        {":status: 200\ngrpc-status: 14\ngrpc-message: later\n", NULL, NULL, -1, STATUS_UNAVAILABLE, "later", 0},
        {":status: 404\ncontent-type: text/html\n", "<p>", NULL, -1, STATUS_UNAVAILABLE, "HTTP status 404", 0},
        {":status: 502\n", NULL, NULL, -1, STATUS_UNAVAILABLE, "HTTP status 502", 0},
        {SUCCESS, "hello", NULL, 8, STATUS_CANCELLED, "cancelled", 1},
        {SUCCESS, NULL, NULL, 7, STATUS_UNAVAILABLE, "refuses", 0},
        {SUCCESS, NULL, NULL, 2, STATUS_INTERNAL, "HTTP/2 error 2", 0},
    };
    for (size_t i = 0; i < 2 * (sizeof cases / sizeof cases[0]); i++) {
        const struct answer_case *expected = &cases[i / 2];
        struct raw raw;
        init_raw_http2(&raw);
        put_answer(&raw, expected);
        raw.trickle = i % 2 == 1;
        open_raw(&raw);
        struct caller *caller = call_port(NULL, raw.port, REFLECT);
        assert_int_equal(grpc_stream_write(caller->stream, bytes_view_string("x")), STATUS_OK);
        if (!reaches(&caller->told.finished, 1)) fail_msg("case %zu does not end", i / 2);
        if (caller->told.status != expected->status || strstr(caller->told.message, expected->says) == NULL ||
            value_of(&caller->told.messages) != expected->messages)
            fail_msg("case %zu: %s, '%s', %d messages", i / 2, status_name(caller->told.status), caller->told.message,
                     value_of(&caller->told.messages));
        assert_int_equal(value_of(&caller->told.lost), 0);
        close_caller(caller);
        close_raw(&raw);
    }
}

static void test_compressed_message_is_unimplemented(void **state) {
    (void)state;
    struct raw raw;
    init_raw_http2(&raw);
    put_headers(&raw.answer, 0, 1, SUCCESS);
    put_frame(&raw.answer, FRAME_DATA, 0, 1, bytes_view_of("\1\0\0\0\1x", 6));
    put_message(&raw.answer, 0, 1, "behind it");
    open_raw(&raw);
    struct caller *caller = call_port(NULL, raw.port, REFLECT);
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_string("x")), STATUS_OK);
    assert_true(reaches(&caller->told.finished, 1));
    assert_int_equal(caller->told.status, STATUS_UNIMPLEMENTED);
    assert_int_equal(value_of(&caller->told.messages), 0);
    close_caller(caller);
    close_raw(&raw);
}

static void test_connection_that_breaks_in_a_message_is_no_message(void **state) {
    (void)state;
    struct raw raw;
    init_raw_http2(&raw);
    put_headers(&raw.answer, 0, 1, SUCCESS);
    put_message(&raw.answer, 0, 1, "whole");
    put_frame(&raw.answer, FRAME_DATA, 0, 1, bytes_view_of("\0\0\0\0\5hal", 8));
    raw.closes = true;
    open_raw(&raw);
    struct caller *caller = call_port(NULL, raw.port, REFLECT);
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_string("x")), STATUS_OK);
    assert_true(reaches(&caller->told.finished, 1));
    assert_int_equal(caller->told.status, STATUS_UNAVAILABLE);
    assert_int_equal(value_of(&caller->told.messages), 1);
    assert_int_equal(value_of(&caller->told.bytes), 5);
    close_caller(caller);
    close_raw(&raw);
}

/* ---- closing ------------------------------------------------------------------------------------------------------- */

static void test_close_at_any_moment_is_told_once(void **state) {
    (void)state;
    struct rpc_server *server = open_server("127.0.0.1:0", 1 << 20);
    unsigned seed = (unsigned)time(NULL);
    print_message("seed %u\n", seed);
    for (int i = 0; i < 300; i++) {
        struct caller *caller = call_port(NULL, rpc_server_port(server), i % 2 == 0 ? REFLECT : "/test.Service/Refuse");
        int writes = rand_r(&seed) % 4, written = 0;
        for (int w = 0; w < writes; w++) {
            written += grpc_stream_write(caller->stream, bytes_view_string("hello")) == STATUS_OK;
            nap(rand_r(&seed) % 1000000);
        }
        grpc_stream_close(caller->stream);
        caller->stream = NULL; /* from now on it may be gone */
        assert_true(reaches(&caller->told.closed, 1));
        assert_true(written == 0 || value_of(&caller->told.finished) > 0); /* no call is left without an end */
        close_caller(caller);
    }
    close_server(server);
}

static void close_here(struct told *told, struct bytes_view message) {
    (void)message;
    struct caller *caller = told->context;
    if (caller->stream != NULL) grpc_stream_close(caller->stream);
    caller->stream = NULL;
}

static void test_close_in_a_callback(void **state) {
    (void)state;
    struct rpc_server *server = open_server("127.0.0.1:0", 1 << 20);
    struct caller *caller = call_port(NULL, rpc_server_port(server), "/test.Service/CountUp");
    caller->told.context = caller;
    caller->told.on_message = close_here;
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_of(&(uint8_t){100}, 1)), STATUS_OK);
    assert_true(reaches(&caller->told.closed, 1));
    assert_int_equal(value_of(&caller->told.finished), 1);
    close_caller(caller);
    close_server(server);
}

/* The real one, but that a name of ours waits until the test lets it go. */
static sem_t resolving, resolve_on;

int getaddrinfo(const char *restrict host, const char *restrict port, const struct addrinfo *restrict hints,
                struct addrinfo **restrict found) {
    typedef int function(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    function *real = (function *)dlsym(RTLD_NEXT, "getaddrinfo");
    bool ours = strcmp(host, "slow.test") == 0 && (hints->ai_flags & AI_NUMERICHOST) == 0;
    if (ours) {
        sem_post(&resolving);
        sem_wait(&resolve_on);
    }
    return real(ours ? "127.0.0.1" : host, port, hints, found);
}

static struct caller *call_slow_name(int port) {
    char target[32];
    sem_init(&resolving, 0, 0);
    sem_init(&resolve_on, 0, 0);
    snprintf(target, sizeof target, "slow.test:%d", port);
    struct caller *caller = open_caller(NULL, target, REFLECT);
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_string("x")), STATUS_OK);
    sem_wait(&resolving);
    return caller;
}

static void test_close_while_the_name_is_looked_up(void **state) {
    (void)state;
    struct caller *caller = call_slow_name(1);
    close_caller(caller); /* waits for nothing */
    sem_post(&resolve_on);
    nap(50 * NS_PER_MS); /* the thread that looks it up finds that nobody waits */
}

static void test_name_that_does_not_come_keeps_nobody_waiting(void **state) {
    (void)state;
    struct rpc_server *server = open_server("127.0.0.1:0", 1 << 20);
    struct caller *caller = call_slow_name(rpc_server_port(server));
    assert_true(reaches(&caller->told.finished, 1));
    assert_int_equal(caller->told.status, STATUS_UNAVAILABLE);
    assert_true(reaches(&caller->told.lost, 1));
    assert_non_null(strstr(caller->told.reason, "no address"));
    assert_int_equal(write_next(caller, bytes_view_string("x")), STATUS_UNAVAILABLE);
    sem_post(&resolve_on);
    assert_true(becomes_ready(caller)); /* when it does come */
    assert_int_equal(value_of(&caller->told.lost), 1);
    close_caller(caller);
    close_server(server);
}

static void test_name_that_nobody_has_is_lost(void **state) {
    (void)state;
    struct caller *caller = open_caller(NULL, "no-such-host.invalid:80", REFLECT);
    assert_true(reaches(&caller->told.lost, 1));
    assert_non_null(strstr(caller->told.reason, "no-such-host.invalid"));
    close_caller(caller);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server_that_is_not_there_is_told_once_and_found_when_it_comes),
        cmocka_unit_test(test_server_that_stops_and_comes_back_is_found_again),
        cmocka_unit_test(test_threads_write_while_the_server_comes_and_goes),
        cmocka_unit_test(test_call_goes_on_while_the_server_stops),
        cmocka_unit_test(test_message_after_goaway_is_unavailable),
        cmocka_unit_test(test_server_that_greets_and_leaves_is_not_stormed),
        cmocka_unit_test(test_what_is_no_http2_server_is_lost),
        cmocka_unit_test(test_server_that_accepts_and_says_nothing_is_given_up),
        cmocka_unit_test(test_server_that_falls_silent_is_given_up_by_a_ping),
        cmocka_unit_test(test_pings_keep_an_idle_connection),
        cmocka_unit_test(test_answers_are_read_alike_whole_or_byte_by_byte),
        cmocka_unit_test(test_compressed_message_is_unimplemented),
        cmocka_unit_test(test_connection_that_breaks_in_a_message_is_no_message),
        cmocka_unit_test(test_close_at_any_moment_is_told_once),
        cmocka_unit_test(test_close_in_a_callback),
        cmocka_unit_test(test_close_while_the_name_is_looked_up),
        cmocka_unit_test(test_name_that_does_not_come_keeps_nobody_waiting),
        cmocka_unit_test(test_name_that_nobody_has_is_lost),
    };
    return cmocka_run_group_tests_name("rpc/grpc_stream_life", tests, NULL, NULL);
}
