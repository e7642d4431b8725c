/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Does a stream over TLS reach whom it should, every time, and nobody else? */
#include "rpc/http_server.h"
#include "tests/unit/rpc/grpc_stream_fixture.h"
#include "tests/unit/rpc/tls_fixture.h"

#include <stdio.h>
#include <string.h>

static struct rpc_server *open_tls_server(const char *who, bool mutual) {
    char certificate[64], key[64];
    snprintf(certificate, sizeof certificate, "%s.pem", who);
    snprintf(key, sizeof key, "%s.key", who);
    struct rpc_server_options options = {.address = "127.0.0.1:0", .message_bytes_max = 4 << 20};
    options.tls = (struct rpc_tls){.certificate_file = pki_file(certificate),
                                   .key_file = pki_file(key),
                                   .ca_file = mutual ? pki_file("ours.pem") : NULL};
    held_count = 0;
    return open_server_with(&options);
}

static void close_server(struct rpc_server *server) {
    rpc_server_stop(server, 0);
    rpc_server_destroy(server);
}

static struct grpc_streams_options trusting(const char *authority, const char *name, const char *client) {
    char certificate[64], key[64];
    struct grpc_streams_options options = {
        .use_tls = true, .message_bytes_max = 4 << 20, .waiting_bytes_max = 64 << 20};
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
    if (!reaches(&caller->told.messages, 1) || value_of(&caller->told.lost) != 0)
        fail_msg("lost: %s", caller->told.reason);
    close_caller(caller);
}

/** It never gets through, and the server never hears of a call. */
static void assert_refused(const struct grpc_streams_options *options, int port, const char *says) {
    struct caller *caller = call_port(options, port, "/test.Service/Hold");
    bool waits =
        grpc_stream_write(caller->stream, bytes_view_string("hello")) == STATUS_OK; /* or it has failed already */
    assert_true(reaches(&caller->told.lost, 1));
    if (waits) {
        assert_true(reaches(&caller->told.finished, 1));
        assert_int_equal(caller->told.status, STATUS_UNAVAILABLE);
    }
    if (strstr(caller->told.reason, says) == NULL) fail_msg("lost: %s", caller->told.reason);
    assert_false(grpc_stream_ready(caller->stream));
    assert_int_equal(write_next(caller, bytes_view_string("again")), STATUS_UNAVAILABLE);
    close_caller(caller);
    assert_int_equal(value_of(&held_count), 0);
}

static void test_mutual_tls_succeeds_every_time(void **state) {
    (void)state;
    struct rpc_server *server = open_tls_server("ours-server", true);
    struct grpc_streams_options options = trusting("ours.pem", "bora.test", "ours-client");
    for (int i = 0; i < 50; i++) assert_served(&options, rpc_server_port(server));
    close_server(server);
}

static void test_address_and_name_of_the_target_are_what_the_certificate_must_have(void **state) {
    (void)state;
    struct rpc_server *server = open_tls_server("ours-local", false);
    struct grpc_streams_options options = trusting("ours.pem", NULL, NULL);
    assert_served(&options, rpc_server_port(server));
    char target[32];
    snprintf(target, sizeof target, "localhost:%d", rpc_server_port(server));
    struct caller *caller = open_caller(&options, target, "/test.Service/Reflect");
    assert_true(becomes_ready(caller));
    close_caller(caller);
    close_server(server);
}

static void test_another_authority_name_or_purpose_is_refused(void **state) {
    (void)state;
    struct rpc_server *server = open_tls_server("ours-server", false);
    int port = rpc_server_port(server);
    struct grpc_streams_options right = trusting("ours.pem", "bora.test", NULL),
                                authority = trusting("theirs.pem", "bora.test", NULL),
                                name = trusting("ours.pem", "other.test", NULL),
                                address = trusting("ours.pem", NULL, NULL); /* 127.0.0.1 is not in it */
    assert_refused(&authority, port, "not trusted");
    assert_refused(&name, port, "not trusted");
    assert_refused(&address, port, "not trusted");
    assert_served(&right, port);
    close_server(server);
    server = open_tls_server("ours-caller", false); /* a client that plays the server */
    assert_refused(&right, rpc_server_port(server), "not trusted");
    close_server(server);
    server = open_tls_server("theirs-server", false);
    assert_refused(&right, rpc_server_port(server), "not trusted");
    close_server(server);
}

static void test_mutual_tls_serves_only_clients_of_its_authority(void **state) {
    (void)state;
    struct rpc_server *server = open_tls_server("ours-server", true);
    int port = rpc_server_port(server);
    struct grpc_streams_options none = trusting("ours.pem", "bora.test", NULL),
                                stranger = trusting("ours.pem", "bora.test", "theirs-client"),
                                known = trusting("ours.pem", "bora.test", "ours-client");
    assert_refused(&none, port, "");
    assert_refused(&stranger, port, "");
    assert_served(&known, port); /* last: what came before did no harm */
    close_server(server);
}

static void test_plain_text_and_tls_do_not_meet(void **state) {
    (void)state;
    struct grpc_streams_options tls = trusting("ours.pem", "bora.test", NULL);
    struct rpc_server *server = open_tls_server("ours-server", false), *plain = open_server("127.0.0.1:0", 1 << 20);
    assert_refused(NULL, rpc_server_port(server), "");
    assert_refused(&tls, rpc_server_port(plain), "");
    close_server(server);
    close_server(plain);
}

static void never_called(struct http_exchange *exchange, void *context) {
    (void)exchange, (void)context;
    add(&held_count, 1);
}
static void never_completed(struct http_exchange *exchange, void *context, bool completed) {
    (void)exchange, (void)context, (void)completed;
}

/** By ALPN: a server of HTTP/1.1 never sees the call. */
static void test_server_that_does_not_choose_http2_is_refused(void **state) {
    (void)state;
    struct http_server_options options = {.address = "127.0.0.1:0",
                                          .body_bytes_max = 1024,
                                          .on_request = never_called,
                                          .on_closed = never_completed,
                                          .certificate_file = pki_file("ours-server.pem"),
                                          .key_file = pki_file("ours-server.key")};
    struct http_server *server = NULL;
    struct error err = {0};
    if (http_server_create(&options, &server, &err) != STATUS_OK) fail_msg("%s", err.message);
    struct grpc_streams_options tls = trusting("ours.pem", "bora.test", NULL);
    assert_refused(&tls, http_server_port(server), "application protocol");
    http_server_destroy(server);
}

enum { BIG_MESSAGES = 40, BIG_BYTES = 1 << 20 };

/** More than the socket and the windows take, so that TLS stops in the middle of records, both ways. */
static void test_big_messages_come_back_whole(void **state) {
    (void)state;
    static uint8_t message[BIG_BYTES];
    struct rpc_server *server = open_tls_server("ours-server", true);
    struct grpc_streams_options options = trusting("ours.pem", "bora.test", "ours-client");
    struct caller *caller = call_port(&options, rpc_server_port(server), "/test.Service/Reflect");
    caller->told.on_message = check_sequence;
    for (uint32_t i = 0; i < BIG_MESSAGES; i++) {
        sequence_message(i, message, sizeof message - i);
        assert_int_equal(grpc_stream_write(caller->stream, bytes_view_of(message, sizeof message - i)), STATUS_OK);
    }
    if (!reaches(&caller->told.messages, BIG_MESSAGES))
        fail_msg("%d messages; lost: %s", value_of(&caller->told.messages), caller->told.reason);
    assert_int_equal(value_of(&caller->told.disorder), 0);
    close_caller(caller);
    close_server(server);
}

static void test_files_that_do_not_fit_are_an_error_at_start(void **state) {
    (void)state;
    struct grpc_streams_options cases[] = {
        trusting("none.pem", NULL, NULL), trusting("ours.key", NULL, NULL), trusting("ours.pem", NULL, "none"),
        trusting("ours.pem", NULL, "ours-client"), trusting("ours.pem", NULL, "ours-client")};
    cases[3].tls.key_file = NULL;
    cases[4].tls.key_file = pki_file("theirs-client.key");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct grpc_streams *streams = NULL;
        struct error err = {0};
        assert_int_equal(grpc_streams_create(&cases[i], &streams, &err), STATUS_INVALID_ARGUMENT);
        assert_true(err.message[0] != 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mutual_tls_succeeds_every_time),
        cmocka_unit_test(test_address_and_name_of_the_target_are_what_the_certificate_must_have),
        cmocka_unit_test(test_another_authority_name_or_purpose_is_refused),
        cmocka_unit_test(test_mutual_tls_serves_only_clients_of_its_authority),
        cmocka_unit_test(test_plain_text_and_tls_do_not_meet),
        cmocka_unit_test(test_server_that_does_not_choose_http2_is_refused),
        cmocka_unit_test(test_big_messages_come_back_whole),
        cmocka_unit_test(test_files_that_do_not_fit_are_an_error_at_start),
    };
    return cmocka_run_group_tests_name("rpc/grpc_stream_tls", tests, make_pki, remove_pki);
}
