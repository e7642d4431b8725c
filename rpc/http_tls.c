/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* TLS of the HTTP server, by GnuTLS. A session is used by the server's thread alone. */
#include "rpc/http_internal.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PEM_BYTES_MAX = 1024 * 1024 };

struct http_tls {
    gnutls_certificate_credentials_t credentials;
    bool mutual;
};

struct http_tls_session {
    gnutls_session_t session;
    bool shaken; /* hands */
    bool resend; /* GnuTLS holds what it could not send */
};

/** The whole file, NUL-terminated. */
static enum status read_pem(const char *path, char **out, struct error *err) {
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
static enum status check_trust(const char *path, const char *text, struct error *err) {
    gnutls_x509_crt_t *certificates = NULL;
    unsigned count = 0;
    gnutls_datum_t pem = {.data = (unsigned char *)(uintptr_t)text, .size = (unsigned)strlen(text)};
    int code = gnutls_x509_crt_list_import2(&certificates, &count, &pem, GNUTLS_X509_FMT_PEM, 0);
    for (unsigned i = 0; code >= 0 && i < count; i++) gnutls_x509_crt_deinit(certificates[i]);
    if (code >= 0) gnutls_free(certificates);
    if (code >= 0 && count > 0) return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT, "no certificate of an authority in %s", path);
}

static enum status load_texts(struct http_tls *tls, const struct http_server_options *options, char *certificate,
                              char *key, char *trust, struct error *err) {
    gnutls_datum_t certificate_pem = {(unsigned char *)certificate, (unsigned)strlen(certificate)},
                   key_pem = {(unsigned char *)key, (unsigned)strlen(key)};
    if (gnutls_certificate_allocate_credentials(&tls->credentials) < 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "HTTP server: no memory");
    if (gnutls_certificate_set_x509_key_mem(tls->credentials, &certificate_pem, &key_pem, GNUTLS_X509_FMT_PEM) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "HTTPS cannot start with certificate %s and key %s",
                         options->certificate_file, options->key_file);
    (void)gnutls_certificate_set_known_dh_params(tls->credentials, GNUTLS_SEC_PARAM_MEDIUM);
    if (trust == NULL) return STATUS_OK;
    tls->mutual = true;
    gnutls_datum_t trust_pem = {(unsigned char *)trust, (unsigned)strlen(trust)};
    TRY(check_trust(options->ca_file, trust, err));
    if (gnutls_certificate_set_x509_trust_mem(tls->credentials, &trust_pem, GNUTLS_X509_FMT_PEM) > 0) return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT, "no certificate of an authority in %s", options->ca_file);
}

enum status http_tls_load(struct http_server *server, struct error *err) {
    const struct http_server_options *options = &server->options;
    char *certificate = NULL, *key = NULL, *trust = NULL;
    if (options->certificate_file == NULL && options->key_file == NULL && options->ca_file == NULL) return STATUS_OK;
    if (options->certificate_file == NULL || options->key_file == NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "HTTP server: TLS needs both a certificate file and a key file");
    server->tls = calloc(1, sizeof *server->tls);
    if (server->tls == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "HTTP server: no memory");
    enum status status = STATUS_OK;
    TRY_CLEANUP(read_pem(options->certificate_file, &certificate, err));
    TRY_CLEANUP(read_pem(options->key_file, &key, err));
    if (options->ca_file != NULL) TRY_CLEANUP(read_pem(options->ca_file, &trust, err));
    TRY_CLEANUP(load_texts(server->tls, options, certificate, key, trust, err));
cleanup:
    free(certificate);
    if (key != NULL) explicit_bzero(key, strlen(key));
    free(key);
    free(trust);
    return status;
}

void http_tls_unload(struct http_server *server) {
    if (server->tls == NULL) return;
    if (server->tls->credentials != NULL) gnutls_certificate_free_credentials(server->tls->credentials);
    free(server->tls);
    server->tls = NULL;
}

struct http_tls_session *http_tls_open(const struct http_server *server, int fd) {
    static gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                            .data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT};
    struct http_tls_session *session = calloc(1, sizeof *session);
    if (session == NULL) return NULL;
    if (gnutls_init(&session->session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0) {
        free(session);
        return NULL;
    }
    bool ready = gnutls_set_default_priority(session->session) >= 0 &&
                 gnutls_credentials_set(session->session, GNUTLS_CRD_CERTIFICATE, server->tls->credentials) >= 0;
    gnutls_transport_set_int(session->session, fd);
    if (server->tls->mutual) { /* required and verified here, a client without a good one does not pass the handshake */
        gnutls_certificate_server_set_request(session->session, GNUTLS_CERT_REQUIRE);
        gnutls_session_set_verify_cert2(session->session, &purpose, 1, 0);
    }
    if (ready) return session;
    http_tls_close(session);
    return NULL;
}

void http_tls_close(struct http_tls_session *session) {
    if (session == NULL) return;
    gnutls_deinit(session->session);
    free(session);
}

/** GnuTLS' outcome as recv and send have theirs. */
static ssize_t outcome_of(ssize_t code) {
    if (code >= 0) return code;
    errno = code == GNUTLS_E_AGAIN ? EAGAIN : code == GNUTLS_E_INTERRUPTED ? EINTR : EPROTO;
    return -1;
}

/** Below 0 with errno: not yet, or never. */
static ssize_t shake_hands(struct http_tls_session *session) {
    while (!session->shaken) {
        int code = gnutls_handshake(session->session);
        if (code == GNUTLS_E_SUCCESS)
            session->shaken = true;
        else if (code == GNUTLS_E_AGAIN || gnutls_error_is_fatal(code) != 0)
            return outcome_of(code);
    }
    return 0;
}

ssize_t http_tls_receive(struct http_tls_session *session, void *out, size_t bytes) {
    if (shake_hands(session) < 0) return -1;
    ssize_t got;
    do got = gnutls_record_recv(session->session, out, bytes);
    while (got < 0 && got != GNUTLS_E_AGAIN && gnutls_error_is_fatal((int)got) == 0);
    if (got == GNUTLS_E_PREMATURE_TERMINATION) return 0;
    return outcome_of(got);
}

ssize_t http_tls_send(struct http_tls_session *session, const void *data, size_t bytes) {
    if (shake_hands(session) < 0) return -1;
    ssize_t sent = session->resend ? gnutls_record_send(session->session, NULL, 0)
                                   : gnutls_record_send(session->session, data, bytes);
    session->resend = sent == GNUTLS_E_AGAIN || sent == GNUTLS_E_INTERRUPTED;
    return outcome_of(sent);
}

void http_tls_say_end(struct http_tls_session *session) {
    (void)gnutls_bye(session->session, GNUTLS_SHUT_WR);
}
