/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Answers that come later or in pieces: streams, slow readers, clients that leave, aborts, heartbeats. */
#include "tests/unit/rpc/http_fixture.h"

static const char hold[] = "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n";
static const char stream[] = "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n";

static int open_server(void **state) {
    *state = tester_open();
    return 0;
}
static int close_server(void **state) {
    tester_close(*state);
    return 0;
}

static enum status write_text(struct http_exchange *exchange, const char *text) {
    return http_exchange_write(exchange, bytes_view_string(text));
}

static void test_a_stream_comes_piece_by_piece(void **state) {
    struct tester *tester = *state;
    int fd = client_connect(tester);
    client_send(fd, stream);
    struct answer answer;
    answer_init(&answer);
    answer_read_head(&answer, fd); /* before the first event: the client knows that it is served */
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer_header(&answer, "Content-Type"), "text/event-stream; charset=utf-8");
    assert_string_equal(answer_header(&answer, "Transfer-Encoding"), "chunked");
    struct http_exchange *exchange = tester_held(tester, 0);
    for (int i = 0; i < 100; i++) {
        char event[50];
        snprintf(event, sizeof event, "data: %d\n\n", i);
        assert_int_equal(write_text(exchange, event), STATUS_OK);
        size_t before = answer.body.length;
        assert_true(answer_read_chunk(&answer, fd)); /* not held back for more */
        assert_string_equal((const char *)answer.body.data + before, event);
    }
    http_exchange_end(exchange);
    assert_false(answer_read_chunk(&answer, fd));
    assert_true(answer.whole);
    tester_wait(tester, &tester->completed, 1);
    answer_deinit(&answer);
    client_send(fd, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n"); /* the connection goes on */
    expect_answer(fd, 200, "GET /echo|");
    close(fd);
}

static void test_what_was_written_before_the_end_arrives(void **state) {
    struct tester *tester = *state;
    int fd = client_connect(tester);
    client_send(fd, stream);
    struct http_exchange *exchange = tester_held(tester, 0);
    while (http_exchange_pending_bytes(exchange) == 0) assert_int_equal(write_text(exchange, "a"), STATUS_OK);
    assert_int_equal(write_text(exchange, "b"), STATUS_OK);
    http_exchange_end(exchange);
    assert_int_equal(write_text(exchange, "c"), STATUS_FAILED_PRECONDITION);
    struct answer answer;
    answer_init(&answer);
    answer_read(&answer, fd);
    assert_true(answer.whole);
    assert_int_equal(answer.body.data[answer.body.length - 1], 'b');
    answer_deinit(&answer);
    close(fd);
}

static void test_a_stream_over_http_1_0_ends_with_the_connection(void **state) {
    struct tester *tester = *state;
    int fd = client_connect(tester);
    client_send(fd, "GET /stream HTTP/1.0\r\n\r\n");
    struct http_exchange *exchange = tester_held(tester, 0);
    assert_int_equal(write_text(exchange, "data: 1\n\n"), STATUS_OK);
    http_exchange_end(exchange);
    struct bytes text;
    bytes_init(&text, TEXT_BYTES_MAX);
    assert_true(client_read_to_end(fd, &text));
    assert_non_null(strstr((const char *)text.data, "\r\n\r\ndata: 1\n\n"));
    assert_null(strstr((const char *)text.data, "chunked"));
    bytes_deinit(&text);
    close(fd);
}

static void test_the_first_answer_wins(void **state) {
    struct tester *tester = *state;
    int fd = client_connect(tester);
    client_send(fd, hold);
    struct http_exchange *exchange = tester_held(tester, 0);
    assert_int_equal(write_text(exchange, "x"), STATUS_FAILED_PRECONDITION); /* nothing is started */
    http_exchange_end(exchange);                                             /* ignored */
    http_exchange_respond(exchange, 200, NULL, bytes_view_string("one"));
    http_exchange_respond(exchange, 500, NULL, bytes_view_string("two"));
    http_exchange_start(exchange, 500, NULL);
    expect_answer(fd, 200, "one");
    tester_wait(tester, &tester->completed, 1);
    assert_int_equal(write_text(exchange, "x"), STATUS_CANCELLED);
    http_exchange_respond(exchange, 500, NULL, bytes_view_string("three")); /* over: nothing happens */
    http_exchange_abort(exchange);
    close(fd);
}

static void test_a_client_that_leaves_while_the_handler_thinks_is_noticed(void **state) {
    struct tester *tester = *state;
    for (int i = 0; i < 2; i++) {
        int fd = client_connect(tester);
        client_send(fd, hold);
        struct http_exchange *exchange = tester_held(tester, i);
        int64_t left_ns = clock_monotonic_ns(clock_system());
        if (i == 0)
            close(fd);
        else
            shutdown(fd, SHUT_WR); /* half a hang-up is one */
        tester_wait(tester, &tester->closed, i + 1);
        assert_true(clock_monotonic_ns(clock_system()) - left_ns <
                    5 * NS_PER_S); /* milliseconds, on a machine that is not crowded */
        assert_int_equal(tester_count(tester, &tester->completed), 0);
        http_exchange_respond(exchange, 200, NULL, bytes_view_string("late"));
        if (i == 1) close(fd);
    }
    assert_int_equal(http_server_exchanges(tester->server), 0);
}

static void test_a_client_that_resets_is_noticed(void **state) {
    struct tester *tester = *state;
    int fd = client_connect(tester);
    client_send(fd, stream);
    struct http_exchange *exchange = tester_held(tester, 0);
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
    tester_wait(tester, &tester->closed, 1);
    assert_int_equal(tester_count(tester, &tester->completed), 0);
    assert_int_equal(write_text(exchange, "x"), STATUS_CANCELLED);
}

static void test_a_client_that_leaves_in_mid_stream_stops_the_writer(void **state) {
    struct tester *tester = *state;
    int fd = client_connect(tester);
    client_send(fd, stream);
    struct http_exchange *exchange = tester_held(tester, 0);
    struct bytes text;
    bytes_init(&text, TEXT_BYTES_MAX);
    assert_int_equal(write_text(exchange, "data: 1\n\n"), STATUS_OK);
    client_read_until(fd, &text, "data: 1");
    close(fd);
    tester_wait(tester, &tester->closed, 1); /* without another write */
    assert_int_equal(tester_count(tester, &tester->completed), 0);
    assert_int_equal(write_text(exchange, "data: 2\n\n"), STATUS_CANCELLED);
    bytes_deinit(&text);
}

/** Write until the server takes no more. Returns the bytes taken. */
static size_t fill(struct http_exchange *exchange) {
    char block[1000];
    size_t taken = 0;
    for (;;) {
        for (size_t i = 0; i < sizeof block; i++) block[i] = (char)('a' + (taken + i) % 26);
        enum status status = http_exchange_write(exchange, bytes_view_of(block, sizeof block));
        if (status == STATUS_RESOURCE_EXHAUSTED) return taken;
        assert_int_equal(status, STATUS_OK);
        taken += sizeof block;
        assert_true(http_exchange_pending_bytes(exchange) <= 100 * WATERMARK);
    }
}

/** Whoever looks at what waits, and stops because it is more than the watermark, relies on being told to go on. */
static void test_what_passes_the_mark_by_its_frame_alone_is_told_writable(void **state) {
    struct tester *tester = *state;
    static char block[WATERMARK];
    int fd = client_connect(tester);
    client_send(fd, stream);
    struct http_exchange *exchange = tester_held(tester, 0);
    memset(block, 'x', sizeof block);
    assert_int_equal(http_exchange_append(exchange, bytes_view_of(block, sizeof block)), STATUS_OK);
    assert_true(http_exchange_pending_bytes(exchange) > WATERMARK);
    http_exchange_flush(exchange);
    struct answer answer;
    answer_init(&answer);
    answer_read_head(&answer, fd);
    assert_true(answer_read_chunk(&answer, fd));
    tester_wait(tester, &tester->writable, 1);
    answer_deinit(&answer);
    close(fd);
}

static void test_a_slow_reader_is_bounded_and_loses_nothing(void **state) {
    struct tester *tester = *state;
    int fd = client_connect(tester);
    client_send(fd, stream);
    struct http_exchange *exchange = tester_held(tester, 0);
    size_t taken = fill(exchange);
    assert_true(taken < (size_t)64 * 1024 * 1024); /* the sockets' buffers and four watermarks */
    assert_true(http_exchange_pending_bytes(exchange) <= 4 * WATERMARK);
    assert_int_equal(http_exchange_write(exchange, (struct bytes_view){0}), STATUS_OK);
    int told = tester_count(
        tester, &tester->writable); /* while filling, the loop's own sending may have crossed the mark too */
    /* The reader wakes up: the rest flows, and the writer is told that it may go on. */
    struct answer answer;
    answer_init(&answer);
    answer_read_head(&answer, fd);
    while (answer.body.length < taken) assert_true(answer_read_chunk(&answer, fd));
    assert_int_equal(answer.body.length, taken);
    for (size_t i = 0; i < taken; i++) assert_int_equal(answer.body.data[i], 'a' + i % 26);
    tester_wait(tester, &tester->writable, told + 1);
    assert_int_equal(tester_count(tester, &tester->writable), told + 1); /* once for one crossing of the mark */
    assert_int_equal(write_text(exchange, "more"), STATUS_OK);
    http_exchange_end(exchange);
    assert_true(answer_read_chunk(&answer, fd));
    assert_false(answer_read_chunk(&answer, fd));
    assert_true(answer.whole);
    answer_deinit(&answer);
    close(fd);
}

static void test_one_large_message_goes_whole_and_small_ones_after_it(void **state) {
    enum { LARGE = 40 * WATERMARK };
    struct tester *tester = *state;
    int fd = client_connect(tester);
    client_send(fd, stream);
    struct http_exchange *exchange = tester_held(tester, 0);
    char *large = malloc(LARGE + 1);
    memset(large, 'x', LARGE);
    large[LARGE] = 0;
    assert_int_equal(write_text(exchange, "first|"), STATUS_OK);
    assert_int_equal(write_text(exchange, large), STATUS_OK);
    assert_int_equal(write_text(exchange, "|between|"), STATUS_OK);
    assert_int_equal(write_text(exchange, large), STATUS_OK);
    assert_int_equal(write_text(exchange, "|last"), STATUS_OK);
    assert_true(fill(exchange) < (size_t)64 * 1024 * 1024); /* whoever goes on is stopped all the same */
    http_exchange_end(exchange);
    struct answer answer;
    answer_init(&answer);
    answer_read(&answer, fd);
    assert_true(answer.whole);
    const char *text = (const char *)answer.body.data;
    assert_memory_equal(text, "first|", 6);
    assert_memory_equal(text + 6, large, LARGE);
    assert_memory_equal(text + 6 + LARGE, "|between|", 9);
    assert_memory_equal(text + 15 + LARGE, large, LARGE);
    assert_memory_equal(text + 15 + 2 * LARGE, "|last", 5);
    answer_deinit(&answer);
    free(large);
    close(fd);
}

static void test_a_slow_reader_that_leaves_is_noticed(void **state) {
    struct tester *tester = *state;
    for (int i = 0; i < 2; i++) {
        int fd = client_connect(tester);
        client_send(fd, stream);
        struct http_exchange *exchange = tester_held(tester, i);
        (void)fill(exchange);
        if (i == 0)
            close(fd); /* unread bytes: a reset */
        else
            shutdown(fd, SHUT_WR);
        tester_wait(tester, &tester->closed, i + 1);
        assert_int_equal(tester_count(tester, &tester->completed), 0);
        assert_int_equal(write_text(exchange, "x"), STATUS_CANCELLED);
        if (i == 1) close(fd);
    }
}

static void test_an_abort_breaks_the_stream_visibly(void **state) {
    struct tester *tester = *state;
    int fd = client_connect(tester);
    client_send(fd, stream);
    struct http_exchange *exchange = tester_held(tester, 0);
    struct answer answer;
    answer_init(&answer);
    answer_read_head(&answer, fd);
    assert_int_equal(write_text(exchange, "data: 1\n\n"), STATUS_OK);
    assert_true(answer_read_chunk(&answer, fd));
    http_exchange_abort(exchange);
    assert_false(answer_read_chunk(&answer, fd));
    assert_false(answer.whole); /* no last chunk */
    tester_wait(tester, &tester->closed, 1);
    assert_int_equal(tester_count(tester, &tester->completed), 0);
    answer_deinit(&answer);
    close(fd);
}

static void test_an_abort_before_the_answer_drops_the_connection(void **state) {
    struct tester *tester = *state;
    int fd = client_connect(tester);
    client_send(fd, hold);
    http_exchange_abort(tester_held(tester, 0));
    expect_end(fd);
    tester_wait(tester, &tester->closed, 1);
    assert_int_equal(tester_count(tester, &tester->completed), 0);
}

static void test_head_of_a_stream_ends_at_once(void **state) {
    struct tester *tester = *state;
    int fd = client_connect(tester);
    client_send(fd, "HEAD /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    struct answer answer;
    answer_init(&answer);
    answer_read_head(&answer, fd);
    assert_int_equal(answer.status, 200);
    tester_wait(tester, &tester->closed, 1);
    assert_int_equal(write_text(tester_held(tester, 0), "x"), STATUS_CANCELLED);
    answer_deinit(&answer);
    client_send(fd, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    expect_answer(fd, 200, "GET /echo|");
    close(fd);
}

/* --- many at once --- */

enum { STREAMS = 64, EVENTS = 200, WRITERS = 4 };

struct writer {
    struct tester *tester;
    int first;
};

/** Writes the events of every WRITERS-th stream in turn; waits where the reader is behind. */
static void *write_streams(void *context) {
    struct writer *writer = context;
    for (int event = 0; event < EVENTS; event++) {
        for (int i = writer->first; i < STREAMS; i += WRITERS) {
            char text[64];
            snprintf(text, sizeof text, "data: %d of %d\n\n", event, i);
            enum status status;
            while ((status = write_text(writer->tester->held[i], text)) == STATUS_RESOURCE_EXHAUSTED) {
            }
            if (status != STATUS_OK) return writer;
        }
    }
    for (int i = writer->first; i < STREAMS; i += WRITERS) http_exchange_end(writer->tester->held[i]);
    return NULL;
}

static void *leave_at_random(void *context) {
    const int *fds = context;
    uint32_t seed = 7;
    for (int i = 0; i < STREAMS; i += 2) {
        for (int spin = 0; spin < (int)((seed = seed * 1103515245 + 12345) >> 20); spin++)
            (void)*(volatile const int *)fds;
        shutdown(fds[i], SHUT_RDWR);
    }
    return NULL;
}

static void run_streams(struct tester *tester, bool leave, int *fds) {
    pthread_t threads[WRITERS], leaver;
    struct writer writers[WRITERS];
    for (int i = 0; i < STREAMS; i++) {
        fds[i] = client_connect(tester);
        client_send(fds[i], stream);
        (void)tester_held(tester, i);
    }
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.tester = tester, .first = i};
        assert_int_equal(pthread_create(&threads[i], NULL, write_streams, &writers[i]), 0);
    }
    if (leave) assert_int_equal(pthread_create(&leaver, NULL, leave_at_random, fds), 0);
    for (int i = 0; i < WRITERS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_true(leave || failed == NULL);
    }
    if (leave) pthread_join(leaver, NULL);
}

static void test_many_streams_keep_apart(void **state) {
    struct tester *tester = *state;
    int fds[STREAMS];
    run_streams(tester, false, fds);
    for (int i = 0; i < STREAMS; i++) {
        struct answer answer;
        answer_init(&answer);
        answer_read(&answer, fds[i]);
        assert_true(answer.whole);
        const char *at = (const char *)answer.body.data;
        for (int event = 0; event < EVENTS; event++) {
            char text[64];
            size_t length = (size_t)snprintf(text, sizeof text, "data: %d of %d\n\n", event, i);
            assert_memory_equal(at, text, length);
            at += length;
        }
        assert_int_equal(*at, 0);
        answer_deinit(&answer);
        close(fds[i]);
    }
    tester_wait(tester, &tester->completed, STREAMS);
}

static void test_clients_that_leave_at_random_disturb_nobody(void **state) {
    struct tester *tester = *state;
    int fds[STREAMS];
    run_streams(tester, true, fds);
    for (int i = 0; i < STREAMS; i++) close(fds[i]);
    /* Those whose writer met a leaver are not ended: they go with their client. */
    tester_wait(tester, &tester->closed, STREAMS);
    assert_int_equal(http_server_exchanges(tester->server), 0);
}

static void test_respond_races_with_hang_up(void **state) {
    struct tester *tester = *state;
    for (int i = 0; i < 100; i++) {
        int fd = client_connect(tester);
        client_send(fd, hold);
        struct http_exchange *exchange = tester_held(tester, i);
        close(fd);
        http_exchange_respond(exchange, 200, NULL, bytes_view_string("now"));
        tester_wait(tester, &tester->closed, i + 1);
    }
}

/* --- heartbeats --- */

static int open_server_with_heartbeat(void **state) {
    struct tester *tester = tester_new();
    struct http_server_options options = tester_options(tester);
    options.heartbeat_ns = 20 * NS_PER_MS;
    tester_open_with(tester, &options);
    *state = tester;
    return 0;
}

static void test_a_silent_stream_gets_heartbeats_between_events(void **state) {
    struct tester *tester = *state;
    int fd = client_connect(tester);
    client_send(fd, stream);
    struct answer answer;
    answer_init(&answer);
    answer_read_head(&answer, fd);
    struct http_exchange *exchange = tester_held(tester, 0);
    for (int i = 0; i < 3; i++) assert_true(answer_read_chunk(&answer, fd));
    assert_string_equal((const char *)answer.body.data, ": keep-alive\n\n: keep-alive\n\n: keep-alive\n\n");
    assert_int_equal(write_text(exchange, "data: 1\n\n"), STATUS_OK);
    http_exchange_end(exchange);
    while (answer_read_chunk(&answer, fd)) {
    }
    assert_true(answer.whole);
    assert_string_equal((const char *)answer.body.data + answer.body.length - 9, "data: 1\n\n");
    answer_deinit(&answer);
    close(fd);
}

static void test_only_event_streams_get_heartbeats(void **state) {
    struct tester *tester = *state;
    int fd = client_connect(tester), other = client_connect(tester);
    client_send(fd, hold);
    struct http_exchange *exchange = tester_held(tester, 0);
    http_exchange_start(exchange, 200, "application/octet-stream");
    client_send(other, stream);
    struct bytes text;
    bytes_init(&text, TEXT_BYTES_MAX);
    client_read_until(other, &text, ": keep-alive\n\n\r\n");
    bytes_reset(&text);
    client_read_until(other, &text, ": keep-alive\n\n\r\n"); /* by now the first would have had one */
    http_exchange_end(exchange);
    expect_answer(fd, 200, "");
    http_exchange_end(tester_held(tester, 1));
    bytes_deinit(&text);
    close(fd);
    close(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_server, close_server)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_stream_comes_piece_by_piece),
        TEST(test_what_was_written_before_the_end_arrives),
        TEST(test_a_stream_over_http_1_0_ends_with_the_connection),
        TEST(test_the_first_answer_wins),
        TEST(test_a_client_that_leaves_while_the_handler_thinks_is_noticed),
        TEST(test_a_client_that_resets_is_noticed),
        TEST(test_a_client_that_leaves_in_mid_stream_stops_the_writer),
        TEST(test_what_passes_the_mark_by_its_frame_alone_is_told_writable),
        TEST(test_a_slow_reader_is_bounded_and_loses_nothing),
        TEST(test_one_large_message_goes_whole_and_small_ones_after_it),
        TEST(test_a_slow_reader_that_leaves_is_noticed),
        TEST(test_an_abort_breaks_the_stream_visibly),
        TEST(test_an_abort_before_the_answer_drops_the_connection),
        TEST(test_head_of_a_stream_ends_at_once),
        TEST(test_many_streams_keep_apart),
        TEST(test_clients_that_leave_at_random_disturb_nobody),
        TEST(test_respond_races_with_hang_up),
        cmocka_unit_test_setup_teardown(test_a_silent_stream_gets_heartbeats_between_events, open_server_with_heartbeat,
                                        close_server),
        cmocka_unit_test_setup_teardown(test_only_event_streams_get_heartbeats, open_server_with_heartbeat,
                                        close_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
