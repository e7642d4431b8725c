/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Is nobody served over TLS who should not be? Certificates are made by the test with openssl's program. */
#include "tests/unit/rpc/grpc_fixture.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/bora-test-XXXXXX";

/* Two authorities; each has signed a server's and a client's certificate. */
static const char make_certificates[] =
    "set -e; cd \"$0\"\n"
    "key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2'\n"
    "for authority in ours theirs; do\n"
    "  openssl req -x509 $key -subj /CN=$authority -keyout $authority.key -out $authority.pem\n"
    "  for who in server client; do\n"
    "    openssl req -x509 $key -subj /CN=$who -addext subjectAltName=DNS:bora.test -addext basicConstraints=CA:FALSE "
    "\\\n"
    "      -CA $authority.pem -CAkey $authority.key -keyout $authority-$who.key -out $authority-$who.pem\n"
    "  done\n"
    "done\n";

static int make_folder(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL) return -1;
    char script[sizeof folder + 20], command[128];
    snprintf(script, sizeof script, "%s/make.sh", folder);
    FILE *file = fopen(script, "w");
    if (file == NULL) return -1;
    fputs(make_certificates, file);
    fclose(file);
    snprintf(command, sizeof command, "sh -c \"$(cat %s)\" %s >%s/log 2>&1", script, folder, folder);
    return system(command) == 0 ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *place) {
    (void)facts, (void)kind, (void)place;
    return remove(path);
}
static int remove_folder(void **state) {
    (void)state;
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/** "folder/name", in one of a few places that are used in turn. */
static const char *file_of(const char *name) {
    static char places[8][sizeof folder + 32];
    static int next;
    char *place = places[next++ % 8];
    snprintf(place, sizeof places[0], "%s/%s", folder, name);
    return place;
}

struct tls_house {
    struct rpc_server *server;
    struct rpc_client *client;
};

static struct tls_house open_tls_house(bool mutual) {
    struct rpc_server_options options = {.address = "127.0.0.1:0",
                                         .message_bytes_max = 1 << 20,
                                         .tls = {.certificate_file = file_of("ours-server.pem"),
                                                 .key_file = file_of("ours-server.key"),
                                                 .ca_file = mutual ? file_of("ours.pem") : NULL}};
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
    assert_int_equal(visit(&house, true, (struct rpc_tls){.ca_file = file_of("ours.pem"), .server_name = "bora.test"}),
                     STATUS_OK);
    assert_true(strncmp(seen_peer, "ipv4:127.0.0.1:", 15) == 0);
    close_tls_house(&house);
}

static void test_client_refuses_another_authority_and_another_name(void **state) {
    (void)state;
    struct tls_house house = open_tls_house(false);
    assert_int_equal(
        visit(&house, true, (struct rpc_tls){.ca_file = file_of("theirs.pem"), .server_name = "bora.test"}),
        STATUS_UNAVAILABLE);
    assert_int_equal(visit(&house, true, (struct rpc_tls){.ca_file = file_of("ours.pem"), .server_name = "other.test"}),
                     STATUS_UNAVAILABLE);
    assert_int_equal(visit(&house, true, (struct rpc_tls){.ca_file = file_of("ours.pem")}),
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
    struct rpc_tls tls = {.ca_file = file_of("ours.pem"), .server_name = "bora.test"};
    assert_int_equal(visit(&house, true, tls), STATUS_UNAVAILABLE);
    tls.certificate_file = file_of("theirs-client.pem");
    tls.key_file = file_of("theirs-client.key");
    assert_int_equal(visit(&house, true, tls), STATUS_UNAVAILABLE);
    tls.certificate_file = file_of("ours-client.pem");
    tls.key_file = file_of("ours-client.key");
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
        {{.certificate_file = file_of("none.pem"), .key_file = file_of("ours-server.key")},
         STATUS_NOT_FOUND,
         "none.pem"},
        {{.certificate_file = file_of("ours-server.pem")}, STATUS_INVALID_ARGUMENT, "key"},
        {{.ca_file = file_of("ours.pem")}, STATUS_INVALID_ARGUMENT, "certificate"},
        {{.certificate_file = file_of("ours-server.pem"), .key_file = file_of("theirs-server.key")},
         STATUS_UNAVAILABLE,
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_that_trusts_the_authority_is_served),
        cmocka_unit_test(test_client_refuses_another_authority_and_another_name),
        cmocka_unit_test(test_plain_text_client_is_refused),
        cmocka_unit_test(test_mutual_tls_serves_only_clients_of_its_authority),
        cmocka_unit_test(test_files_that_do_not_fit_are_an_error_at_start),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
