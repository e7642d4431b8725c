/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Does a server start, stop and come back as it should, and does it live through what happens to processes? Run with the
 * arguments "hold" and a port it is a client that makes one call and waits to be killed, with "serve" a server that says its port. */
#include "tests/support/process.h"
#include "tests/unit/rpc/grpc_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void test_stop_cancels_after_grace_and_new_calls_fail(void **state) {
    struct house *house = *state;
    struct listener listener = {.credit_each = true};
    struct rpc_client_call *call = start(house, "/test.Service/Hold", &listener, NULL, PATIENCE_NS);
    assert_int_equal(rpc_client_call_write(call, bytes_view_string("x")), STATUS_OK);
    rpc_client_call_read(call);
    assert_true(reaches(&held_count, 1));
    rpc_server_stop(house->server, 50 * NS_PER_MS);
    assert_int_equal(value_of(&cancelled_count), 1);
    assert_int_equal(rpc_server_calls(house->server), 0);
    assert_true(reaches(&listener.finished, 1));
    assert_int_not_equal(listener.status, STATUS_OK);
    rpc_client_call_unref(call);
    struct bytes reply;
    struct error err = {0};
    bytes_init(&reply, 1024);
    assert_int_equal(ask(house, "/test.Service/Echo", bytes_view_string("x"), &reply, &err), STATUS_UNAVAILABLE);
    bytes_deinit(&reply);
}

static void *stop_slowly(void *context) {
    rpc_server_stop(context, PATIENCE_NS);
    return NULL;
}

static void test_stop_lets_a_running_call_end(void **state) {
    struct house *house = *state;
    struct listener listener = {.credit_each = true}, watch = {.credit_each = true};
    struct rpc_client_call *watching = start(house, "/grpc.health.v1.Health/Watch", &watch, NULL, PATIENCE_NS);
    assert_int_equal(rpc_client_call_write(watching, bytes_view_string("")), STATUS_OK);
    rpc_client_call_read(watching);
    struct rpc_client_call *call = start(house, "/test.Service/Hold", &listener, NULL, PATIENCE_NS);
    assert_int_equal(rpc_client_call_write(call, bytes_view_string("x")), STATUS_OK);
    rpc_client_call_read(call);
    assert_true(reaches(&held_count, 1));
    pthread_t stopper;
    assert_int_equal(pthread_create(&stopper, NULL, stop_slowly, house->server), 0);
    assert_true(reaches(&watch.finished, 1)); /* stopping has begun */
    assert_int_equal(rpc_call_write(held, bytes_view_string("last words")), STATUS_OK);
    assert_true(reaches(&listener.messages, 1));
    rpc_call_finish(held, STATUS_OK, NULL, (struct bytes_view){0});
    pthread_join(stopper, NULL);
    assert_true(reaches(&listener.finished, 1));
    assert_int_equal(listener.status, STATUS_OK);
    assert_int_equal(value_of(&cancelled_count), 0);
    rpc_client_call_unref(watching);
    rpc_client_call_unref(call);
}

enum { FLOOD_CALLS = 400, FLOOD_CHANNELS = 4 };

/** No call is forgotten and no handler runs after the stop, whatever the moment: calls come on several connections to several queues. */
static void test_stop_in_the_middle_of_many_calls_ends_them_all(void **state) {
    struct house *house = *state;
    static struct listener listeners[FLOOD_CALLS];
    for (int round = 0; round < 5; round++) {
        struct rpc_server *server = open_server_with(
            &(struct rpc_server_options){.address = "127.0.0.1:0", .threads = 3, .message_bytes_max = 1 << 20});
        struct house crowd = {.client = house->client};
        struct rpc_channel *channels[FLOOD_CHANNELS];
        memset(listeners, 0, sizeof listeners);
        for (int i = 0; i < FLOOD_CHANNELS; i++) channels[i] = open_channel(house->client, rpc_server_port(server));
        assert_int_equal(ask_echo(channels[0], PATIENCE_NS, NULL), STATUS_OK);
        for (int i = 0; i < FLOOD_CALLS; i++) {
            listeners[i].credit_each = true;
            crowd.channel = channels[i % FLOOD_CHANNELS];
            struct rpc_client_call *call = start(&crowd, i % 2 == 0 ? "/test.Service/Echo" : "/test.Service/Reflect",
                                                 &listeners[i], NULL, PATIENCE_NS);
            (void)!rpc_client_call_write(call, bytes_view_string("x")); /* refused where the call is over already */
            if (i % 2 == 0) rpc_client_call_half_close(call);
            rpc_client_call_read(call);
            rpc_client_call_unref(call);
            if (i == FLOOD_CALLS / 5 * round) rpc_server_stop(server, 0);
        }
        rpc_server_destroy(server);
        for (int i = 0; i < FLOOD_CHANNELS; i++) rpc_channel_close(channels[i]);
        for (int i = 0; i < FLOOD_CALLS; i++) {
            assert_true(reaches(&listeners[i].finished, 1));
            assert_true(i % 2 == 0 || listeners[i].status != STATUS_OK); /* streams never ended by themselves */
        }
    }
}

static void test_server_that_never_started_can_be_destroyed(void **state) {
    (void)state;
    struct rpc_server_options options = {.address = "127.0.0.1:0", .message_bytes_max = 1 << 20};
    struct rpc_server *server = NULL;
    assert_int_equal(rpc_server_create(&options, &server, NULL), STATUS_OK);
    rpc_server_destroy(server);
}

static void test_channel_finds_restarted_server_by_itself(void **state) {
    struct house *house = *state;
    int port = rpc_server_port(house->server);
    assert_int_equal(ask_echo(house->channel, PATIENCE_NS, NULL), STATUS_OK);
    rpc_server_stop(house->server, 0);
    rpc_server_destroy(house->server);
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    house->server = open_server(address, 1 << 20);
    int64_t began = clock_monotonic_ns(clock_system());
    enum status status = STATUS_UNAVAILABLE;
    while (status != STATUS_OK && clock_monotonic_ns(clock_system()) - began < PATIENCE_NS)
        status = ask_echo(house->channel, PATIENCE_NS, NULL);
    int64_t took_ns = clock_monotonic_ns(clock_system()) - began;
    assert_int_equal(status, STATUS_OK);
    print_message("reconnected after %lld ms\n", (long long)(took_ns / NS_PER_MS));
    assert_true(took_ns < 3 * NS_PER_S); /* 0.1 s here; without the watch it waits for gRPC's 5 s back-up poll */
}

static void test_taken_port_is_unavailable_and_named(void **state) {
    struct house *house = *state;
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%d", rpc_server_port(house->server));
    struct rpc_server_options options = {.address = address, .message_bytes_max = 1 << 20};
    struct rpc_server *second = NULL;
    struct error err = {0};
    assert_int_equal(rpc_server_create(&options, &second, &err), STATUS_UNAVAILABLE);
    assert_non_null(strstr(err.message, address));
}

static void test_malformed_address_is_invalid_argument(void **state) {
    (void)state;
    const char *const addresses[] = {"", "nonsense", "127.0.0.1:", "127.0.0.1:http", "no such host:80"};
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        struct rpc_server_options options = {.address = addresses[i], .message_bytes_max = 1 << 20};
        struct rpc_server *server = NULL;
        struct error err = {0};
        assert_int_equal(rpc_server_create(&options, &server, &err), STATUS_INVALID_ARGUMENT);
        assert_null(server);
        assert_true(err.message[0] != 0);
    }
}

/* ---- unix sockets ------------------------------------------------------------------------------------------------- */

struct socket_place {
    char folder[32], path[64], address[72];
};

static struct socket_place make_place(void) {
    struct socket_place place = {.folder = "/tmp/bora-test-XXXXXX"};
    assert_non_null(mkdtemp(place.folder));
    snprintf(place.path, sizeof place.path, "%s/socket", place.folder);
    snprintf(place.address, sizeof place.address, "unix:%s", place.path);
    return place;
}

static void test_unix_socket_serves_and_is_removed(void **state) {
    struct house *house = *state;
    struct socket_place place = make_place();
    struct rpc_server *server = open_server(place.address, 1 << 20);
    struct rpc_channel *channel = NULL;
    assert_int_equal(
        rpc_channel_open(house->client, &(struct rpc_channel_options){.target = place.address}, &channel, NULL),
        STATUS_OK);
    assert_int_equal(ask_echo(channel, PATIENCE_NS, NULL), STATUS_OK);
    assert_string_equal(seen_peer, "unix:");

    struct rpc_server *second = NULL; /* it must not take the living one's socket away */
    struct rpc_server_options options = {.address = place.address, .message_bytes_max = 1 << 20};
    assert_int_equal(rpc_server_create(&options, &second, NULL), STATUS_UNAVAILABLE);
    assert_int_equal(ask_echo(channel, PATIENCE_NS, NULL), STATUS_OK);

    rpc_channel_close(channel);
    rpc_server_stop(server, 0);
    rpc_server_destroy(server);
    assert_int_equal(access(place.path, F_OK), -1);
    assert_int_equal(rmdir(place.folder), 0);
}

static void test_socket_of_a_dead_process_is_replaced_but_a_file_is_not(void **state) {
    (void)state;
    struct socket_place place = make_place();
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s", place.path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    close(fd); /* the name stays, nobody listens */
    struct rpc_server *server = open_server(place.address, 1 << 20);
    rpc_server_stop(server, 0);
    rpc_server_destroy(server);

    fd = open(place.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    struct rpc_server_options options = {.address = place.address, .message_bytes_max = 1 << 20};
    assert_int_equal(rpc_server_create(&options, &server, NULL), STATUS_UNAVAILABLE);
    assert_int_equal(access(place.path, F_OK), 0);
    unlink(place.path);
    rmdir(place.folder);
}

/* ---- what happens to processes ------------------------------------------------------------------------------------- */

static void test_killed_client_cancels_its_call(void **state) {
    struct house *house = *state;
    char port[16];
    snprintf(port, sizeof port, "%d", rpc_server_port(house->server));
    struct test_process client = {0};
    test_process_start(&client, (const char *const[]){"/proc/self/exe", "hold", port, NULL});
    assert_true(reaches(&held_count, 1));
    int64_t began = clock_monotonic_ns(clock_system());
    test_process_stop(&client, SIGKILL, 10);
    assert_true(reaches(&cancelled_count, 1));
    assert_true(reaches(&finished_count, 1));
    print_message("seen after %lld ms\n", (long long)((clock_monotonic_ns(clock_system()) - began) / NS_PER_MS));
}

/** The other process of the test above. */
static int hold_until_killed(int port) {
    struct house house = {0};
    struct listener listener = {0};
    if (rpc_client_create(1, &house.client, NULL) != STATUS_OK) return 1;
    house.channel = open_channel(house.client, port);
    struct rpc_client_call *call = start(&house, "/test.Service/Hold", &listener, NULL, PATIENCE_NS);
    if (rpc_client_call_write(call, bytes_view_string("x")) != STATUS_OK) return 1;
    for (;;) pause();
}

_Noreturn static void serve_until_killed(void) {
    struct rpc_server *server = open_server("127.0.0.1:0", 1 << 20);
    printf("port %d\n", rpc_server_port(server));
    fflush(stdout);
    for (;;) pause();
}

static void test_keepalive_finds_a_server_that_hangs(void **state) {
    struct house *house = *state;
    struct test_process process = {0};
    char line[64], target[64];
    int port;
    test_process_start(&process, (const char *const[]){"/proc/self/exe", "serve", NULL});
    assert_true(test_process_wait_for(&process, "port ", 20, line, sizeof line));
    assert_int_equal(sscanf(line, "port %d", &port), 1);
    snprintf(target, sizeof target, "127.0.0.1:%d", port);
    struct house away = {.client = house->client};
    struct rpc_channel_options options = {
        .target = target, .keepalive_ns = 200 * NS_PER_MS, .keepalive_timeout_ns = 300 * NS_PER_MS};
    assert_int_equal(rpc_channel_open(house->client, &options, &away.channel, NULL), STATUS_OK);
    struct listener listener = {.credit_each = true};
    struct rpc_client_call *call = start(&away, "/test.Service/Reflect", &listener, NULL, INT64_MAX / 2);
    rpc_client_call_read(call);
    assert_int_equal(rpc_client_call_write(call, bytes_view_string("x")), STATUS_OK);
    assert_true(reaches(&listener.messages, 1));
    kill(process.pid, SIGSTOP);
    assert_true(reaches(&listener.finished, 1));
    assert_int_equal(listener.status, STATUS_UNAVAILABLE);
    rpc_client_call_unref(call);
    rpc_channel_close(away.channel);
    test_process_stop(&process, SIGKILL, 10);
}

enum { FDS_MAX = 256 };

/** Take file descriptors until there are none. */
static int take_all_fds(int fds[FDS_MAX]) {
    int count = 0;
    while (count < FDS_MAX && (fds[count] = dup(STDERR_FILENO)) >= 0) count++;
    return count;
}

/** gRPC's own listener would never accept again (CVE-2023-4785). */
static void test_accepting_goes_on_after_file_descriptors_ran_out(void **state) {
    struct house *house = *state;
    struct rlimit before, small = {.rlim_cur = 128};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    small.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
    assert_int_equal(ask_echo(house->channel, PATIENCE_NS, NULL), STATUS_OK);
    int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fds[FDS_MAX], count = take_all_fds(fds);
    assert_true(peer >= 0 && count > 0 && count < FDS_MAX);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)rpc_server_port(house->server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(peer, (struct sockaddr *)&address, sizeof address),
                     0); /* by the kernel; the server cannot accept it */
    struct pollfd greeting = {.fd = peer, .events = POLLIN};
    assert_int_equal(poll(&greeting, 1, 200), 0); /* long enough for it to try several times */
    while (count > 0) close(fds[--count]);
    assert_int_equal(poll(&greeting, 1, (int)(PATIENCE_NS / NS_PER_MS)), 1); /* HTTP/2 settings: accepted at last */
    close(peer);
    struct rpc_channel *channel = open_channel(house->client, rpc_server_port(house->server));
    assert_int_equal(ask_echo(channel, PATIENCE_NS, NULL), STATUS_OK);
    rpc_channel_close(channel);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

int main(int count, char **arguments) {
    if (count == 2 && strcmp(arguments[1], "serve") == 0) serve_until_killed();
    if (count == 3 && strcmp(arguments[1], "hold") == 0) return hold_until_killed(atoi(arguments[2]));
    const struct CMUnitTest tests[] = {
        HOUSE_TEST(test_stop_cancels_after_grace_and_new_calls_fail),
        HOUSE_TEST(test_stop_lets_a_running_call_end),
        HOUSE_TEST(test_stop_in_the_middle_of_many_calls_ends_them_all),
        cmocka_unit_test(test_server_that_never_started_can_be_destroyed),
        HOUSE_TEST(test_channel_finds_restarted_server_by_itself),
        HOUSE_TEST(test_taken_port_is_unavailable_and_named),
        cmocka_unit_test(test_malformed_address_is_invalid_argument),
        HOUSE_TEST(test_unix_socket_serves_and_is_removed),
        cmocka_unit_test(test_socket_of_a_dead_process_is_replaced_but_a_file_is_not),
        HOUSE_TEST(test_killed_client_cancels_its_call),
        HOUSE_TEST(test_keepalive_finds_a_server_that_hangs),
        HOUSE_TEST(test_accepting_goes_on_after_file_descriptors_ran_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
