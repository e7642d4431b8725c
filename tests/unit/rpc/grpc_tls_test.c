/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Is nobody served over TLS who should not be? */
#include "tests/unit/rpc/grpc_fixture.h"
#include "tests/unit/rpc/tls_fixture.h"

#include <stdio.h>
#include <string.h>

struct tls_house {
    struct rpc_server *server;
    struct rpc_client *client;
};

static struct tls_house open_tls_house(bool mutual) {
    struct rpc_server_options options = {.address = "127.0.0.1:0",
                                         .message_bytes_max = 1 << 20,
                                         .tls = {.certificate_file = pki_file("ours-server.pem"),
                                                 .key_file = pki_file("ours-server.key"),
                                                 .ca_file = mutual ? pki_file("ours.pem") : NULL}};
    struct tls_house house = {.server = open_server_with(&options)};
    assert_int_equal(rpc_client_create(1, &house.client, NULL), STATUS_OK);
    return house;
}

static void close_tls_house(struct tls_house *house) {
    rpc_client_destroy(house->client);
    rpc_server_stop(house->server, 0);
    rpc_server_destroy(house->server);
}

static enum status visit(struct tls_house *house, bool use_tls, struct rpc_tls tls) {
    char target[32];
    snprintf(target, sizeof target, "127.0.0.1:%d", rpc_server_port(house->server));
    struct rpc_channel_options options = {.target = target, .use_tls = use_tls, .tls = tls};
    struct rpc_channel *channel = NULL;
    struct error err = {0};
    assert_int_equal(rpc_channel_open(house->client, &options, &channel, &err), STATUS_OK);
    enum status status = ask_echo(channel, PATIENCE_NS, &err);
    rpc_channel_close(channel);
    return status;
}

static void test_client_that_trusts_the_authority_is_served(void **state) {
    (void)state;
    struct tls_house house = open_tls_house(false);
    assert_int_equal(visit(&house, true, (struct rpc_tls){.ca_file = pki_file("ours.pem"), .server_name = "bora.test"}),
                     STATUS_OK);
    assert_true(strncmp(seen_peer, "ipv4:127.0.0.1:", 15) == 0);
    close_tls_house(&house);
}

static void test_client_refuses_another_authority_and_another_name(void **state) {
    (void)state;
    struct tls_house house = open_tls_house(false);
    assert_int_equal(
        visit(&house, true, (struct rpc_tls){.ca_file = pki_file("theirs.pem"), .server_name = "bora.test"}),
        STATUS_UNAVAILABLE);
    assert_int_equal(
        visit(&house, true, (struct rpc_tls){.ca_file = pki_file("ours.pem"), .server_name = "other.test"}),
        STATUS_UNAVAILABLE);
    assert_int_equal(visit(&house, true, (struct rpc_tls){.ca_file = pki_file("ours.pem")}),
                     STATUS_UNAVAILABLE); /* 127.0.0.1 is not in it */
    close_tls_house(&house);
}

static void test_plain_text_client_is_refused(void **state) {
    (void)state;
    struct tls_house house = open_tls_house(false);
    assert_int_equal(visit(&house, false, (struct rpc_tls){0}), STATUS_UNAVAILABLE);
    close_tls_house(&house);
}

static void test_mutual_tls_serves_only_clients_of_its_authority(void **state) {
    (void)state;
    struct tls_house house = open_tls_house(true);
    struct rpc_tls tls = {.ca_file = pki_file("ours.pem"), .server_name = "bora.test"};
    assert_int_equal(visit(&house, true, tls), STATUS_UNAVAILABLE);
    tls.certificate_file = pki_file("theirs-client.pem");
    tls.key_file = pki_file("theirs-client.key");
    assert_int_equal(visit(&house, true, tls), STATUS_UNAVAILABLE);
    tls.certificate_file = pki_file("ours-client.pem");
    tls.key_file = pki_file("ours-client.key");
    assert_int_equal(visit(&house, true, tls), STATUS_OK); /* last: what came before did no harm */
    close_tls_house(&house);
}

static void test_files_that_do_not_fit_are_an_error_at_start(void **state) {
    (void)state;
    struct {
        struct rpc_tls tls;
        enum status status;
        const char *says;
    } cases[] = {
        {{.certificate_file = pki_file("none.pem"), .key_file = pki_file("ours-server.key")},
         STATUS_NOT_FOUND,
         "none.pem"},
        {{.certificate_file = pki_file("ours-server.pem")}, STATUS_INVALID_ARGUMENT, "key"},
        {{.ca_file = pki_file("ours.pem")}, STATUS_INVALID_ARGUMENT, "certificate"},
        {{.certificate_file = pki_file("ours-server.pem"), .key_file = pki_file("theirs-server.key")},
         STATUS_INVALID_ARGUMENT,
         "do not fit"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rpc_server_options options = {
            .address = "127.0.0.1:0", .message_bytes_max = 1 << 20, .tls = cases[i].tls};
        struct rpc_server *server = NULL;
        struct error err = {0};
        assert_int_equal(rpc_server_create(&options, &server, &err), cases[i].status);
        assert_non_null(strstr(err.message, cases[i].says));
    }
}

/** Put a copy of the identity `name` where the server's files are. */
static void install(const char *name) {
    const char *const ends[] = {"pem", "key"};
    for (int i = 0; i < 2; i++) {
        char from[64], to[32], text[8192];
        snprintf(from, sizeof from, "%s.%s", name, ends[i]);
        snprintf(to, sizeof to, "now.%s", ends[i]);
        FILE *in = fopen(pki_file(from), "r"), *out = fopen(pki_file(to), "w");
        assert_true(in != NULL && out != NULL);
        size_t length = fread(text, 1, sizeof text, in);
        assert_int_equal(fwrite(text, 1, length, out), length);
        fclose(in);
        fclose(out);
    }
}

static void test_files_that_are_read_again_count_for_who_comes_then(void **state) {
    (void)state;
    const struct rpc_tls ours = {.ca_file = pki_file("ours.pem"), .server_name = "bora.test"},
                         theirs = {.ca_file = pki_file("theirs.pem"), .server_name = "bora.test"};
    install("ours-server");
    struct rpc_server_options options = {
        .address = "127.0.0.1:0",
        .message_bytes_max = 1 << 20,
        .tls = {.certificate_file = pki_file("now.pem"), .key_file = pki_file("now.key")}};
    struct tls_house house = {.server = open_server_with(&options)};
    assert_int_equal(rpc_client_create(1, &house.client, NULL), STATUS_OK);
    install("theirs-server");
    assert_int_equal(visit(&house, true, ours), STATUS_OK);
    assert_int_equal(rpc_server_reread_tls(house.server, NULL), STATUS_OK);
    assert_int_equal(rpc_server_reread_tls(house.server, NULL),
                     STATUS_OK); /* before the first one was shown to anybody */
    assert_int_equal(visit(&house, true, ours), STATUS_UNAVAILABLE);
    assert_int_equal(visit(&house, true, theirs), STATUS_OK);
    FILE *file = fopen(pki_file("now.key"), "w");
    assert_non_null(file);
    fputs("no key\n", file);
    fclose(file);
    struct error err = {0};
    assert_int_equal(rpc_server_reread_tls(house.server, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "now.key"));
    assert_int_equal(visit(&house, true, theirs), STATUS_OK);
    close_tls_house(&house);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_that_trusts_the_authority_is_served),
        cmocka_unit_test(test_client_refuses_another_authority_and_another_name),
        cmocka_unit_test(test_plain_text_client_is_refused),
        cmocka_unit_test(test_mutual_tls_serves_only_clients_of_its_authority),
        cmocka_unit_test(test_files_that_do_not_fit_are_an_error_at_start),
        cmocka_unit_test(test_files_that_are_read_again_count_for_who_comes_then),
    };
    return cmocka_run_group_tests(tests, make_pki, remove_pki);
}
