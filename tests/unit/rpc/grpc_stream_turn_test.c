/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Is what can be done now done now? The clock stands still, so that no tick ever comes: who waits for one waits for ever. */
#include "tests/unit/rpc/grpc_stream_fixture.h"
#include "tests/unit/rpc/http2_bytes.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 10000 };

static _Atomic int64_t moment_ns = 1000 * NS_PER_S;
static int64_t read_moment(void *context) {
    (void)context;
    return moment_ns;
}
const struct clock *__wrap_clock_system(void);
const struct clock *__wrap_clock_system(void) {
    static const struct clock clock = {.monotonic_ns = read_moment, .unix_ns = read_moment};
    return &clock;
}

static int listen_here(int *out_port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    *out_port = ntohs(address.sin_port);
    return fd;
}

/** The client's next connection, greeted; -1: none comes. */
static int next_connection(int listener) {
    struct pollfd wanted = {.fd = listener, .events = POLLIN};
    if (poll(&wanted, 1, PATIENCE_MS) != 1) return -1;
    int connection = accept(listener, NULL, NULL);
    struct bytes greeting;
    bytes_init(&greeting, 64);
    put_frame(&greeting, FRAME_SETTINGS, 0, 0, (struct bytes_view){0});
    assert_int_equal(send(connection, greeting.data, greeting.length, MSG_NOSIGNAL), (ssize_t)greeting.length);
    bytes_deinit(&greeting);
    return connection;
}

static int64_t count_turn(void *context) {
    add(context, 1);
    return INT64_MAX;
}

/** Seconds go by, with the tick that they bring. */
static void let_it_stand(const struct caller *caller) {
    int turns = 0;
    struct loop_member counter = {.context = &turns, .turn = count_turn};
    moment_ns += 5 * NS_PER_S;
    loop_join(caller->loop, &counter);
    for (int ms = 0; ms < PATIENCE_MS && value_of(&turns) < 3; ms++) poll(NULL, 0, 1);
    assert_true(value_of(&turns) >= 3);
    loop_leave(caller->loop, &counter);
}

static bool within_patience(const struct caller *caller, bool ready, int lost) {
    for (int ms = 0; ms < PATIENCE_MS; ms++) {
        if (grpc_stream_ready(caller->stream) == ready && value_of(&caller->told.lost) >= lost) return true;
        poll(NULL, 0, 1);
    }
    return false;
}

static void test_connection_that_stood_is_made_again_without_a_tick(void **state) {
    (void)state;
    int port, listener = listen_here(&port);
    struct caller *caller = call_port(NULL, port, "/test.Service/Reflect");
    int connection = next_connection(listener);
    assert_true(connection >= 0);
    assert_true(within_patience(caller, true, 0));
    let_it_stand(caller);
    close(connection);
    connection = next_connection(listener);
    assert_true(connection >= 0);
    assert_true(within_patience(caller, true, 1));
    close(connection);
    close(listener);
    close_caller(caller);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connection_that_stood_is_made_again_without_a_tick),
    };
    return cmocka_run_group_tests_name("rpc/grpc_stream_turn", tests, NULL, NULL);
}
