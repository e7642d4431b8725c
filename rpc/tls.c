/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "rpc/tls_internal.h"

#include "base/bytes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/x509.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { PEM_BYTES_MAX = 1024 * 1024, OWN_MESSAGES_MAX = 64 };

struct tls_client {
    gnutls_certificate_credentials_t credentials;
};

/* ---- files --------------------------------------------------------------------------------------------------------- */

enum status tls_read_pem(const char *path, char **out, struct error *err) {
    FILE *file = fopen(path, "rbe");
    if (file == NULL) return error_set_errno(err, STATUS_INVALID_ARGUMENT, errno, "cannot read %s", path);
    struct bytes text;
    bytes_init(&text, PEM_BYTES_MAX);
    char block[4096];
    size_t got;
    while ((got = fread(block, 1, sizeof block, file)) > 0) (void)bytes_append(&text, block, got);
    bool failed = ferror(file) != 0 || text.failed || text.length == 0;
    fclose(file);
    if (failed) {
        bytes_deinit(&text);
        return error_set(err, STATUS_INVALID_ARGUMENT, "cannot read %s, or it is empty or too large", path);
    }
    *out = (char *)bytes_take(&text, NULL);
    return STATUS_OK;
}

/** GnuTLS takes a CA file without a certificate in it, and then lets nobody in: better said at start. */
enum status tls_check_trust(const char *path, const char *text, struct error *err) {
    gnutls_x509_crt_t *certificates = NULL;
    unsigned count = 0;
    gnutls_datum_t pem = {.data = (unsigned char *)(uintptr_t)text, .size = (unsigned)strlen(text)};
    int code = gnutls_x509_crt_list_import2(&certificates, &count, &pem, GNUTLS_X509_FMT_PEM, 0);
    for (unsigned i = 0; code >= 0 && i < count; i++) gnutls_x509_crt_deinit(certificates[i]);
    if (code >= 0) gnutls_free(certificates);
    if (code >= 0 && count > 0) return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT, "no certificate of an authority in %s", path);
}

static enum status set_identity(gnutls_certificate_credentials_t credentials, char *certificate, char *key,
                                const char *certificate_file, const char *key_file, struct error *err) {
    gnutls_datum_t certificate_pem = {(unsigned char *)certificate, (unsigned)strlen(certificate)},
                   key_pem = {(unsigned char *)key, (unsigned)strlen(key)};
    if (gnutls_certificate_set_x509_key_mem(credentials, &certificate_pem, &key_pem, GNUTLS_X509_FMT_PEM) >= 0)
        return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT, "certificate %s and key %s do not fit", certificate_file, key_file);
}

static enum status set_trust(gnutls_certificate_credentials_t credentials, char *text, const char *path,
                             struct error *err) {
    gnutls_datum_t pem = {(unsigned char *)text, (unsigned)strlen(text)};
    TRY(tls_check_trust(path, text, err));
    if (gnutls_certificate_set_x509_trust_mem(credentials, &pem, GNUTLS_X509_FMT_PEM) > 0) return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT, "no certificate of an authority in %s", path);
}

enum status tls_load_identity(const char *certificate_file, const char *key_file, const char *ca_file,
                              gnutls_certificate_credentials_t *out, struct error *err) {
    char *certificate = NULL, *key = NULL, *trust = NULL;
    gnutls_certificate_credentials_t credentials = NULL;
    enum status status = STATUS_OK;
    TRY_CLEANUP(tls_read_pem(certificate_file, &certificate, err));
    TRY_CLEANUP(tls_read_pem(key_file, &key, err));
    if (ca_file != NULL) TRY_CLEANUP(tls_read_pem(ca_file, &trust, err));
    if (gnutls_certificate_allocate_credentials(&credentials) < 0)
        TRY_CLEANUP(error_set(err, STATUS_RESOURCE_EXHAUSTED, "TLS: no memory"));
    TRY_CLEANUP(set_identity(credentials, certificate, key, certificate_file, key_file, err));
    if (trust != NULL) TRY_CLEANUP(set_trust(credentials, trust, ca_file, err));
    *out = credentials;
    credentials = NULL;
cleanup:
    if (credentials != NULL) gnutls_certificate_free_credentials(credentials);
    free(certificate);
    if (key != NULL) explicit_bzero(key, strlen(key));
    free(key);
    free(trust);
    return status;
}

enum status tls_check_identity(const char *certificate_file, const char *key_file, const char *ca_file,
                               struct error *err) {
    gnutls_certificate_credentials_t credentials;
    TRY(tls_load_identity(certificate_file, key_file, ca_file, &credentials, err));
    gnutls_certificate_free_credentials(credentials);
    return STATUS_OK;
}

/* ---- sessions ------------------------------------------------------------------------------------------------------ */

/** The socket, and whether it has more: GnuTLS says "again" also for a message of its own (a ticket, new keys), behind which there may be data
 *  that no event will tell of. */
static ssize_t pull(gnutls_transport_ptr_t context, void *out, size_t bytes) {
    struct tls_session *session = context;
    ssize_t got = recv(session->fd, out, bytes, MSG_DONTWAIT);
    session->dry = got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    return got;
}

struct tls_session *tls_session_create(unsigned flags, gnutls_certificate_credentials_t credentials, int fd) {
    struct tls_session *session = calloc(1, sizeof *session);
    if (session == NULL) return NULL;
    if (gnutls_init(&session->session, flags | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0) {
        free(session);
        return NULL;
    }
    bool ready = gnutls_set_default_priority(session->session) >= 0 &&
                 gnutls_credentials_set(session->session, GNUTLS_CRD_CERTIFICATE, credentials) >= 0;
    session->fd = fd;
    gnutls_transport_set_ptr2(session->session, session, (gnutls_transport_ptr_t)(intptr_t)fd);
    gnutls_transport_set_pull_function(session->session, pull);
    if (ready) return session;
    tls_session_close(session);
    return NULL;
}

void tls_session_close(struct tls_session *session) {
    if (session == NULL) return;
    gnutls_deinit(session->session);
    if (session->on_closed != NULL) session->on_closed(session->owner);
    free(session);
}

const char *tls_reason(const struct tls_session *session) {
    if (session->failure == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR) return "its certificate is not trusted";
    return gnutls_strerror(session->failure);
}

/** GnuTLS' outcome as recv and send have theirs. */
static ssize_t outcome_of(struct tls_session *session, ssize_t code) {
    if (code >= 0) return code;
    session->failure = (int)code;
    errno = code == GNUTLS_E_AGAIN ? EAGAIN : code == GNUTLS_E_INTERRUPTED ? EINTR : EPROTO;
    return -1;
}

/** Is `code` no reason to stop reading? */
static bool goes_on(const struct tls_session *session, ssize_t code) {
    if (code == GNUTLS_E_AGAIN) return !session->dry && gnutls_record_get_direction(session->session) == 0;
    return code < 0 && gnutls_error_is_fatal((int)code) == 0;
}

int tls_shake_hands(struct tls_session *session) {
    if (session->shaken) return 0;
    int code;
    do {
        session->dry = false;
        code = gnutls_handshake(session->session);
    } while (goes_on(session, code));
    /* A server that says nothing of protocols is none that GnuTLS minds, GNUTLS_ALPN_MANDATORY or not. */
    gnutls_datum_t chosen;
    if (code == GNUTLS_E_SUCCESS && session->speaks && gnutls_alpn_get_selected_protocol(session->session, &chosen) < 0)
        code = GNUTLS_E_NO_APPLICATION_PROTOCOL;
    session->shaken = code == GNUTLS_E_SUCCESS;
    return (int)outcome_of(session, code);
}

/** Who sends nothing but messages of TLS' own (warnings, wishes to begin anew) would keep the thread here as long as it goes on. */
ssize_t tls_receive(struct tls_session *session, void *out, size_t bytes) {
    if (tls_shake_hands(session) < 0) return -1;
    ssize_t got;
    do {
        session->dry = false;
        got = gnutls_record_recv(session->session, out, bytes);
    } while (goes_on(session, got) && session->own++ < OWN_MESSAGES_MAX);
    if (goes_on(session, got)) return outcome_of(session, GNUTLS_E_TOO_MANY_HANDSHAKE_PACKETS);
    if (got > 0) session->own = 0;
    if (got == GNUTLS_E_PREMATURE_TERMINATION) return 0;
    return outcome_of(session, got);
}

ssize_t tls_send(struct tls_session *session, const void *data, size_t bytes) {
    if (tls_shake_hands(session) < 0) return -1;
    ssize_t sent = session->resend ? gnutls_record_send(session->session, NULL, 0)
                                   : gnutls_record_send(session->session, data, bytes);
    session->resend = sent == GNUTLS_E_AGAIN || sent == GNUTLS_E_INTERRUPTED;
    return outcome_of(session, sent);
}

void tls_say_end(struct tls_session *session) {
    (void)gnutls_bye(session->session, GNUTLS_SHUT_WR);
}

/* ---- clients ------------------------------------------------------------------------------------------------------- */

static enum status load_trust(struct tls_client *client, const char *path, struct error *err) {
    char *text = NULL;
    if (path == NULL) {
        if (gnutls_certificate_set_x509_system_trust(client->credentials) > 0) return STATUS_OK;
        return error_set(err, STATUS_INVALID_ARGUMENT, "this system trusts no authorities");
    }
    TRY(tls_read_pem(path, &text, err));
    enum status status = set_trust(client->credentials, text, path, err);
    free(text);
    return status;
}

static enum status load_own(struct tls_client *client, const char *certificate_file, const char *key_file,
                            struct error *err) {
    char *certificate = NULL, *key = NULL;
    if (certificate_file == NULL && key_file == NULL) return STATUS_OK;
    if (certificate_file == NULL || key_file == NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "TLS needs both a certificate file and a key file");
    enum status status = STATUS_OK;
    TRY_CLEANUP(tls_read_pem(certificate_file, &certificate, err));
    TRY_CLEANUP(tls_read_pem(key_file, &key, err));
    TRY_CLEANUP(set_identity(client->credentials, certificate, key, certificate_file, key_file, err));
cleanup:
    free(certificate);
    if (key != NULL) explicit_bzero(key, strlen(key));
    free(key);
    return status;
}

enum status tls_client_create(const char *ca_file, const char *certificate_file, const char *key_file,
                              struct tls_client **out, struct error *err) {
    struct tls_client *client = calloc(1, sizeof *client);
    if (client == NULL || gnutls_certificate_allocate_credentials(&client->credentials) < 0) {
        free(client);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    enum status status = load_trust(client, ca_file, err);
    if (status == STATUS_OK) status = load_own(client, certificate_file, key_file, err);
    if (status == STATUS_OK)
        *out = client;
    else
        tls_client_free(client);
    return status;
}

void tls_client_free(struct tls_client *client) {
    if (client == NULL) return;
    gnutls_certificate_free_credentials(client->credentials);
    free(client);
}

/** One is not to be sent as a server's name (RFC 6066, section 3). */
static bool is_address(const char *host) {
    uint8_t address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

struct tls_session *tls_client_open(const struct tls_client *client, int fd, const char *host, const char *protocol) {
    struct tls_session *session = tls_session_create(GNUTLS_CLIENT | GNUTLS_FORCE_CLIENT_CERT, client->credentials, fd);
    if (session == NULL) return NULL;
    gnutls_datum_t wanted = {(unsigned char *)(uintptr_t)protocol, (unsigned)strlen(protocol)};
    session->expected[0] = (gnutls_typed_vdata_st){GNUTLS_DT_DNS_HOSTNAME, (unsigned char *)(uintptr_t)host, 0};
    session->expected[1] =
        (gnutls_typed_vdata_st){GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_SERVER, 0};
    gnutls_session_set_verify_cert2(session->session, session->expected, 2, 0);
    session->speaks = true;
    if (gnutls_alpn_set_protocols(session->session, &wanted, 1, 0) >= 0 &&
        (is_address(host) || gnutls_server_name_set(session->session, GNUTLS_NAME_DNS, host, strlen(host)) >= 0))
        return session;
    tls_session_close(session);
    return NULL;
}
