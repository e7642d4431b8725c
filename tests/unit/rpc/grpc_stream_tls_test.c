/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Does a stream over TLS reach whom it should, every time, and nobody else? */
#include "tests/unit/rpc/grpc_stream_fixture.h"
#include "tests/unit/rpc/tls_fixture.h"

#include <stdio.h>
#include <string.h>

enum kind { PLAIN, ONE_SIDED, MUTUAL };

static struct rpc_server *open_tls_server(enum kind kind) {
    struct rpc_server_options options = {.address = "127.0.0.1:0", .message_bytes_max = 4 << 20};
    if (kind != PLAIN)
        options.tls = (struct rpc_tls){.certificate_file = pki_file("ours-server.pem"),
                                       .key_file = pki_file("ours-server.key"),
                                       .ca_file = kind == MUTUAL ? pki_file("ours.pem") : NULL};
    return open_server_with(&options);
}

static void close_server(struct rpc_server *server) {
    rpc_server_stop(server, 0);
    rpc_server_destroy(server);
}

static struct grpc_streams_options trusting(const char *authority, const char *name, const char *client) {
    char certificate[64], key[64];
    struct grpc_streams_options options = {.use_tls = true, .message_bytes_max = 4 << 20, .waiting_bytes_max = 64 << 20};
    options.tls.ca_file = pki_file(authority);
    options.tls.server_name = name;
    if (client == NULL) return options;
    snprintf(certificate, sizeof certificate, "%s.pem", client);
    snprintf(key, sizeof key, "%s.key", client);
    options.tls.certificate_file = pki_file(certificate);
    options.tls.key_file = pki_file(key);
    return options;
}

/** An echo of `hello`, on the first attempt. */
static void assert_served(const struct grpc_streams_options *options, int port) {
    struct caller *caller = call_port(options, port, "/test.Service/Reflect");
    assert_int_equal(grpc_stream_write(caller->stream, bytes_view_string("hello")), STATUS_OK);
    if (!reaches(&caller->told.messages, 1) || value_of(&caller->told.lost) != 0) fail_msg("lost: %s", caller->told.reason);
    close_caller(caller);
}

static void test_mutual_tls_succeeds_every_time(void **state) {
    (void)state;
    struct rpc_server *server = open_tls_server(MUTUAL);
    struct grpc_streams_options options = trusting("ours.pem", "bora.test", "ours-client");
    for (int i = 0; i < 50; i++) assert_served(&options, rpc_server_port(server));
    close_server(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mutual_tls_succeeds_every_time),
    };
    return cmocka_run_group_tests_name("rpc/grpc_stream_tls", tests, make_pki, remove_pki);
}
