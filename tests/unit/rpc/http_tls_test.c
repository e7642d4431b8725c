/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* HTTPS and mutual TLS, with certificates made on the spot; the client is GnuTLS on a plain socket. */
#include "tests/unit/rpc/http_fixture.h"

#include <dlfcn.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>

static char folder[] = "/tmp/bora-http-tls-XXXXXX";

struct identity {
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t certificate;
    char certificate_file[100], key_file[100];
};
static struct identity authority, stranger, server_identity, client_identity, strangers_client;

static void must(int code) {
    if (code < 0) fail_msg("GnuTLS: %s", gnutls_strerror(code));
}

static void write_file(const char *path, const gnutls_datum_t *text) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text->data, 1, text->size, file), text->size);
    fclose(file);
}

/** A certificate for `name` signed by `issuer` (NULL: by itself), and its files. */
static void make_identity(struct identity *out, const char *name, const struct identity *issuer, const char *purpose) {
    must(gnutls_x509_privkey_init(&out->key));
    must(gnutls_x509_privkey_generate(out->key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
    must(gnutls_x509_crt_init(&out->certificate));
    must(gnutls_x509_crt_set_version(out->certificate, 3));
    must(gnutls_x509_crt_set_serial(out->certificate, &(uint8_t){(uint8_t)(1 + name[0] % 100)}, 1));
    must(gnutls_x509_crt_set_activation_time(out->certificate, time(NULL) - 3600));
    must(gnutls_x509_crt_set_expiration_time(out->certificate, time(NULL) + 3600));
    must(gnutls_x509_crt_set_dn_by_oid(out->certificate, GNUTLS_OID_X520_COMMON_NAME, 0, name, (unsigned)strlen(name)));
    must(gnutls_x509_crt_set_subject_alt_name(out->certificate, GNUTLS_SAN_DNSNAME, "localhost", 9, GNUTLS_FSAN_SET));
    must(gnutls_x509_crt_set_key(out->certificate, out->key));
    must(gnutls_x509_crt_set_basic_constraints(out->certificate, issuer == NULL, -1));
    if (purpose != NULL) must(gnutls_x509_crt_set_key_purpose_oid(out->certificate, purpose, 0));
    const struct identity *signer = issuer != NULL ? issuer : out;
    must(gnutls_x509_crt_sign2(out->certificate, signer->certificate, signer->key, GNUTLS_DIG_SHA256, 0));
    gnutls_datum_t text;
    snprintf(out->certificate_file, sizeof out->certificate_file, "%s/%s.pem", folder, name);
    snprintf(out->key_file, sizeof out->key_file, "%s/%s.key", folder, name);
    must(gnutls_x509_crt_export2(out->certificate, GNUTLS_X509_FMT_PEM, &text));
    write_file(out->certificate_file, &text);
    gnutls_free(text.data);
    must(gnutls_x509_privkey_export2(out->key, GNUTLS_X509_FMT_PEM, &text));
    write_file(out->key_file, &text);
    gnutls_free(text.data);
}

static void drop_identity(struct identity *identity) {
    remove(identity->certificate_file);
    remove(identity->key_file);
    gnutls_x509_crt_deinit(identity->certificate);
    gnutls_x509_privkey_deinit(identity->key);
}

static int make_identities(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL) return -1;
    make_identity(&authority, "authority", NULL, NULL);
    make_identity(&stranger, "stranger", NULL, NULL);
    make_identity(&server_identity, "server", &authority, GNUTLS_KP_TLS_WWW_SERVER);
    make_identity(&client_identity, "client", &authority, GNUTLS_KP_TLS_WWW_CLIENT);
    make_identity(&strangers_client, "evil", &stranger, GNUTLS_KP_TLS_WWW_CLIENT);
    return 0;
}
static int drop_identities(void **state) {
    (void)state;
    struct identity *const all[] = {&authority, &stranger, &server_identity, &client_identity, &strangers_client};
    for (size_t i = 0; i < 5; i++) drop_identity(all[i]);
    rmdir(folder);
    return 0;
}

static struct tester *open_tls(bool mutual) {
    struct tester *tester = tester_new();
    struct http_server_options options = tester_options(tester);
    options.certificate_file = server_identity.certificate_file;
    options.key_file = server_identity.key_file;
    options.ca_file = mutual ? authority.certificate_file : NULL;
    options.heartbeat_ns = 20 * NS_PER_MS;
    tester_open_with(tester, &options);
    return tester;
}

/* The real one, but that the server's may wait until the test lets it go. */
static _Thread_local bool is_client; /* this thread */
static atomic_bool slow;
static sem_t shaking, shake_on;

int gnutls_handshake(gnutls_session_t session) {
    typedef int function(gnutls_session_t);
    function *real = (function *)dlsym(RTLD_NEXT, "gnutls_handshake");
    if (!is_client && atomic_exchange(&slow, false)) {
        sem_post(&shaking);
        sem_wait(&shake_on);
    }
    return real(session);
}

static void slow_one_down(void) {
    sem_init(&shaking, 0, 0);
    sem_init(&shake_on, 0, 0);
    atomic_store(&slow, true);
}

static bool is_shaking(void) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    return sem_timedwait(&shaking, &until) == 0;
}

struct tls_client {
    int fd;
    gnutls_session_t session;
    gnutls_certificate_credentials_t credentials;
};

/** `before`: what a session of the past left, or nothing. True when hands are shaken, which does not tell in TLS 1.3 that the client is welcome. */
static bool tls_connect_again(struct tls_client *client, const struct tester *tester, const struct identity *identity,
                              const char *versions, const gnutls_datum_t *before) {
    is_client = true;
    client->fd = client_connect(tester);
    must(gnutls_certificate_allocate_credentials(&client->credentials));
    must(gnutls_certificate_set_x509_trust_file(client->credentials, authority.certificate_file, GNUTLS_X509_FMT_PEM));
    if (identity != NULL)
        must(gnutls_certificate_set_x509_key_file(client->credentials, identity->certificate_file, identity->key_file,
                                                  GNUTLS_X509_FMT_PEM));
    must(gnutls_init(&client->session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL | GNUTLS_FORCE_CLIENT_CERT));
    must(gnutls_priority_set_direct(client->session, versions, NULL));
    must(gnutls_credentials_set(client->session, GNUTLS_CRD_CERTIFICATE, client->credentials));
    gnutls_session_set_verify_cert(client->session, "localhost", 0);
    if (before != NULL) must(gnutls_session_set_data(client->session, before->data, before->size));
    gnutls_transport_set_int(client->session, client->fd);
    gnutls_handshake_set_timeout(client->session, PATIENCE_MS);
    gnutls_record_set_timeout(client->session, PATIENCE_MS);
    int code;
    do code = gnutls_handshake(client->session);
    while (code < 0 && gnutls_error_is_fatal(code) == 0);
    return code == 0;
}

static bool tls_connect(struct tls_client *client, const struct tester *tester, const struct identity *identity,
                        const char *versions) {
    return tls_connect_again(client, tester, identity, versions, NULL);
}

static void tls_close(struct tls_client *client) {
    gnutls_deinit(client->session);
    gnutls_certificate_free_credentials(client->credentials);
    close(client->fd);
}

static bool tls_send(struct tls_client *client, const char *text) {
    return gnutls_record_send(client->session, text, strlen(text)) == (ssize_t)strlen(text);
}

/** Read until `needle` has come; false at an error or the end. */
static bool tls_read_until(struct tls_client *client, struct bytes *into, const char *needle) {
    char block[4096];
    while (into->data == NULL || strstr((const char *)into->data, needle) == NULL) {
        ssize_t got = gnutls_record_recv(client->session, block, sizeof block);
        if (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED) continue;
        if (got <= 0) return false;
        (void)bytes_append(into, block, (size_t)got);
    }
    return true;
}

static bool request_succeeds(const struct tester *tester, const struct identity *identity, const char *versions) {
    struct tls_client client;
    struct bytes text;
    bytes_init(&text, TEXT_BYTES_MAX);
    bool succeeds = tls_connect(&client, tester, identity, versions) &&
                    tls_send(&client, "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n") &&
                    tls_read_until(&client, &text, "GET /echo|");
    bytes_deinit(&text);
    tls_close(&client);
    return succeeds;
}

static const char any_version[] = "NORMAL", old_version[] = "NORMAL:-VERS-ALL:+VERS-TLS1.2",
                  new_version[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3";

static void test_https_answers(void **state) {
    (void)state;
    struct tester *tester = open_tls(false);
    assert_true(request_succeeds(tester, NULL, any_version));
    assert_true(request_succeeds(tester, NULL, old_version));
    assert_true(request_succeeds(tester, NULL, new_version));
    tester_close(tester);
}

/** A client that connects while the test does something else. */
struct newcomer {
    const struct tester *tester;
    pthread_t thread;
    bool succeeds;
};

static void *come(void *context) {
    struct newcomer *newcomer = context;
    newcomer->succeeds = request_succeeds(newcomer->tester, NULL, any_version);
    return NULL;
}

static void test_a_long_handshake_keeps_nobody_waiting(void **state) {
    (void)state;
    struct tester *tester = open_tls(false);
    struct newcomer newcomer = {.tester = tester};
    struct tls_client client;
    struct bytes text;
    bytes_init(&text, TEXT_BYTES_MAX);
    assert_true(tls_connect(&client, tester, NULL, any_version));
    for (int i = 0; i < 2; i++) {
        if (i == 1) {
            slow_one_down();
            assert_int_equal(pthread_create(&newcomer.thread, NULL, come, &newcomer), 0);
            assert_true(is_shaking());
        }
        bytes_reset(&text);
        assert_true(tls_send(&client, "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_true(tls_read_until(&client, &text, "GET /echo|"));
    }
    sem_post(&shake_on);
    pthread_join(newcomer.thread, NULL);
    assert_true(newcomer.succeeds);
    bytes_deinit(&text);
    tls_close(&client);
    tester_close(tester);
}

static void test_a_handshake_that_takes_too_long_is_given_up(void **state) {
    (void)state;
    struct tester *tester = tester_new();
    struct http_server_options options = tester_options(tester);
    options.certificate_file = server_identity.certificate_file;
    options.key_file = server_identity.key_file;
    options.header_timeout_ns = 100 * NS_PER_MS;
    tester_open_with(tester, &options);
    struct newcomer newcomer = {.tester = tester};
    slow_one_down();
    assert_int_equal(pthread_create(&newcomer.thread, NULL, come, &newcomer), 0);
    assert_true(is_shaking());
    int later = client_connect(tester); /* whose time runs out after the other's, which cannot be closed yet */
    struct bytes text;
    bytes_init(&text, TEXT_BYTES_MAX);
    assert_true(client_read_to_end(later, &text));
    bytes_deinit(&text);
    close(later);
    sem_post(&shake_on);
    pthread_join(newcomer.thread, NULL);
    assert_false(newcomer.succeeds);
    tester_close(tester);
}

/** Connections of which some have said nothing, some half of their hello, and one is in the middle of its handshake. */
static void test_a_server_stops_in_the_middle_of_handshakes(void **state) {
    (void)state;
    struct tester *tester = open_tls(false);
    struct newcomer newcomer = {.tester = tester};
    int silent[20];
    slow_one_down();
    assert_int_equal(pthread_create(&newcomer.thread, NULL, come, &newcomer), 0);
    assert_true(is_shaking());
    for (int i = 0; i < 20; i++) {
        silent[i] = client_connect(tester);
        if (i % 2 == 0) client_send(silent[i], "\x16\x03\x01\x02");
    }
    sem_post(&shake_on);
    tester_close(tester);
    pthread_join(newcomer.thread, NULL);
    for (int i = 0; i < 20; i++) close(silent[i]);
}

/** Is the second of two sessions taken up from the first? */
static bool is_resumed(const struct tester *tester, const struct identity *identity, const char *versions) {
    struct tls_client client;
    struct bytes text;
    gnutls_datum_t session;
    bytes_init(&text, TEXT_BYTES_MAX);
    for (int i = 0; i < 2; i++) {
        if (i > 0) bytes_reset(&text);
        assert_true(tls_connect_again(&client, tester, identity, versions, i > 0 ? &session : NULL));
        assert_true(tls_send(&client, "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_true(tls_read_until(&client, &text, "GET /echo|"));
        if (i == 0) {
            must(gnutls_session_get_data2(client.session, &session));
            tls_close(&client);
        }
    }
    bool resumed = gnutls_session_is_resumed(client.session) != 0;
    gnutls_free(session.data);
    bytes_deinit(&text);
    tls_close(&client);
    return resumed;
}

static void test_sessions_are_taken_up_again_without_a_signature(void **state) {
    (void)state;
    struct tester *tester = open_tls(false);
    assert_true(is_resumed(tester, NULL, old_version));
    assert_true(is_resumed(tester, NULL, new_version));
    tester_close(tester);
}

static void test_who_must_show_a_certificate_shows_it_each_time(void **state) {
    (void)state;
    struct tester *tester = open_tls(true);
    assert_false(is_resumed(tester, &client_identity, old_version));
    assert_false(is_resumed(tester, &client_identity, new_version));
    tester_close(tester);
}

static void test_plain_http_to_a_tls_server_is_not_served(void **state) {
    (void)state;
    struct tester *tester = open_tls(false);
    int fd = client_connect(tester);
    client_send(fd, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    struct bytes text;
    bytes_init(&text, TEXT_BYTES_MAX);
    (void)client_read_to_end(fd, &text);
    assert_true(text.length == 0 || memmem(text.data, text.length, "HTTP", 4) == NULL);
    bytes_deinit(&text);
    close(fd);
    assert_int_equal(tester_count(tester, &tester->requests), 0);
    tester_close(tester);
}

static void test_mutual_tls_wants_a_certificate_of_the_authority(void **state) {
    (void)state;
    struct tester *tester = open_tls(true);
    static const char *const versions[] = {old_version, new_version};
    for (size_t i = 0; i < 2; i++) {
        assert_true(request_succeeds(tester, &client_identity, versions[i]));
        assert_int_equal(tester_count(tester, &tester->requests), i + 1);
        assert_false(request_succeeds(tester, NULL, versions[i]));
        assert_false(request_succeeds(tester, &strangers_client, versions[i]));
        assert_false(request_succeeds(tester, &server_identity,
                                      versions[i])); /* a server's certificate does not make a client */
        assert_int_equal(tester_count(tester, &tester->requests), i + 1);
    }
    tester_close(tester);
}

static void test_a_stream_over_tls(void **state) {
    (void)state;
    struct tester *tester = open_tls(false);
    struct tls_client client;
    struct bytes text;
    bytes_init(&text, TEXT_BYTES_MAX);
    assert_true(tls_connect(&client, tester, NULL, any_version));
    assert_true(tls_send(&client, "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    struct http_exchange *exchange = tester_held(tester, 0);
    assert_true(tls_read_until(&client, &text, ": keep-alive\n\n"));
    assert_int_equal(http_exchange_write(exchange, bytes_view_string("data: 1\n\n")), STATUS_OK);
    assert_true(tls_read_until(&client, &text, "data: 1\n\n"));
    http_exchange_end(exchange);
    assert_true(tls_read_until(&client, &text, "0\r\n\r\n"));
    tester_wait(tester, &tester->completed, 1);
    bytes_deinit(&text);
    tls_close(&client);
    tester_close(tester);
}

/** So many warnings, and then a request: is it answered? */
static bool is_answered_after_warnings(const struct tester *tester, int count) {
    struct tls_client client;
    struct bytes text;
    bytes_init(&text, TEXT_BYTES_MAX);
    assert_true(tls_connect(&client, tester, NULL, old_version));
    for (int i = 0; i < count; i++)
        if (gnutls_alert_send(client.session, GNUTLS_AL_WARNING, GNUTLS_A_USER_CANCELED) < 0) break;
    bool answered = tls_send(&client, "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n") &&
                    tls_read_until(&client, &text, "GET /echo|");
    bytes_deinit(&text);
    tls_close(&client);
    return answered;
}

static void test_who_sends_warnings_without_end_is_dropped(void **state) {
    (void)state;
    struct tester *tester = open_tls(false);
    assert_true(is_answered_after_warnings(tester, 20));
    assert_false(is_answered_after_warnings(tester, 1000));
    tester_close(tester);
}

static void test_a_client_that_leaves_over_tls_is_noticed(void **state) {
    (void)state;
    struct tester *tester = open_tls(true);
    struct tls_client client;
    assert_true(tls_connect(&client, tester, &client_identity, any_version));
    assert_true(tls_send(&client, "GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    (void)tester_held(tester, 0);
    tls_close(&client);
    tester_wait(tester, &tester->closed, 1);
    assert_int_equal(tester_count(tester, &tester->completed), 0);
    tester_close(tester);
}

static void test_too_large_a_body_is_answered_over_tls(void **state) {
    (void)state;
    struct tester *tester = open_tls(false);
    struct tls_client client;
    struct bytes text;
    bytes_init(&text, TEXT_BYTES_MAX);
    assert_true(tls_connect(&client, tester, NULL, any_version));
    assert_true(tls_send(&client, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4194304\r\n\r\n"));
    char block[16384];
    memset(block, 'x', sizeof block);
    for (int i = 0; i < 256; i++)
        assert_int_equal(gnutls_record_send(client.session, block, sizeof block), sizeof block);
    assert_true(tls_read_until(&client, &text, "request body too large"));
    assert_int_equal(strncmp((const char *)text.data, "HTTP/1.1 413", 12), 0);
    bytes_deinit(&text);
    tls_close(&client);
    tester_close(tester);
}

static void copy_file(const char *from, const char *to) {
    gnutls_datum_t text;
    must(gnutls_load_file(from, &text));
    write_file(to, &text);
    gnutls_free(text.data);
}

/** Is this the certificate that the server has shown? */
static bool was_shown(const struct tls_client *client, const struct identity *identity) {
    unsigned count = 0;
    const gnutls_datum_t *shown = gnutls_certificate_get_peers(client->session, &count);
    gnutls_datum_t expected;
    must(gnutls_x509_crt_export2(identity->certificate, GNUTLS_X509_FMT_DER, &expected));
    bool same = count > 0 && shown[0].size == expected.size && memcmp(shown[0].data, expected.data, expected.size) == 0;
    gnutls_free(expected.data);
    return same;
}

static void expect_shown(const struct tester *tester, const struct identity *identity) {
    struct tls_client client;
    assert_true(tls_connect(&client, tester, NULL, any_version));
    assert_true(was_shown(&client, identity));
    tls_close(&client);
}

static void test_files_that_are_read_again_count_for_who_comes_then(void **state) {
    (void)state;
    struct identity renewed;
    char certificate[sizeof renewed.certificate_file], key[sizeof renewed.key_file];
    make_identity(&renewed, "renewed", &authority, GNUTLS_KP_TLS_WWW_SERVER);
    snprintf(certificate, sizeof certificate, "%s/now.pem", folder);
    snprintf(key, sizeof key, "%s/now.key", folder);
    copy_file(server_identity.certificate_file, certificate);
    copy_file(server_identity.key_file, key);
    struct tester *tester = tester_new();
    struct http_server_options options = tester_options(tester);
    options.certificate_file = certificate;
    options.key_file = key;
    tester_open_with(tester, &options);
    struct tls_client before;
    struct bytes text;
    struct error err = {0};
    bytes_init(&text, TEXT_BYTES_MAX);
    assert_true(tls_connect(&before, tester, NULL, any_version));
    copy_file(renewed.certificate_file, certificate);
    assert_int_equal(http_server_reread_tls(tester->server, &err),
                     STATUS_INVALID_ARGUMENT); /* the key is the old one */
    assert_non_null(strstr(err.message, "do not fit"));
    expect_shown(tester, &server_identity);
    copy_file(renewed.key_file, key);
    assert_int_equal(http_server_reread_tls(tester->server, &err), STATUS_OK);
    expect_shown(tester, &renewed);
    assert_true(was_shown(&before, &server_identity)); /* which goes on: */
    assert_true(tls_send(&before, "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert_true(tls_read_until(&before, &text, "GET /echo|"));
    bytes_deinit(&text);
    tls_close(&before);
    tester_close(tester);
    drop_identity(&renewed);
    remove(certificate);
    remove(key);
}

static void expect_not_created(const char *certificate, const char *key, const char *ca, const char *sentence) {
    struct tester *tester = tester_new();
    struct http_server_options options = tester_options(tester);
    struct error err = {0};
    options.certificate_file = certificate;
    options.key_file = key;
    options.ca_file = ca;
    assert_int_equal(http_server_create(&options, &tester->server, &err), STATUS_INVALID_ARGUMENT);
    if (strstr(err.message, sentence) == NULL) fail_msg("%s", err.message);
    free(tester);
}

static void test_wrong_files_are_told(void **state) {
    (void)state;
    const char *certificate = server_identity.certificate_file, *key = server_identity.key_file;
    expect_not_created("/no/such/file", key, NULL, "cannot read /no/such/file: No such file");
    expect_not_created(certificate, "/dev/null", NULL, "cannot read /dev/null, or it is empty");
    expect_not_created(certificate, NULL, NULL, "needs both a certificate file and a key file");
    expect_not_created(NULL, NULL, authority.certificate_file, "needs both a certificate file and a key file");
    expect_not_created(certificate, certificate, NULL, "do not fit");
    expect_not_created(certificate, client_identity.key_file, NULL, "do not fit"); /* another's key */
    expect_not_created(certificate, key, key, "no certificate of an authority in ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_https_answers),
        cmocka_unit_test(test_a_long_handshake_keeps_nobody_waiting),
        cmocka_unit_test(test_a_handshake_that_takes_too_long_is_given_up),
        cmocka_unit_test(test_a_server_stops_in_the_middle_of_handshakes),
        cmocka_unit_test(test_sessions_are_taken_up_again_without_a_signature),
        cmocka_unit_test(test_who_must_show_a_certificate_shows_it_each_time),
        cmocka_unit_test(test_plain_http_to_a_tls_server_is_not_served),
        cmocka_unit_test(test_mutual_tls_wants_a_certificate_of_the_authority),
        cmocka_unit_test(test_a_stream_over_tls),
        cmocka_unit_test(test_who_sends_warnings_without_end_is_dropped),
        cmocka_unit_test(test_a_client_that_leaves_over_tls_is_noticed),
        cmocka_unit_test(test_too_large_a_body_is_answered_over_tls),
        cmocka_unit_test(test_files_that_are_read_again_count_for_who_comes_then),
        cmocka_unit_test(test_wrong_files_are_told),
    };
    return cmocka_run_group_tests(tests, make_identities, drop_identities);
}
