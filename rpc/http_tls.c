/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* TLS of the HTTP server. A session is used by one thread at a time: the handshakes' until hands are shaken, then the server's. */
#include "rpc/http_internal.h"
#include "rpc/tls_internal.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

struct http_tls {
    gnutls_certificate_credentials_t credentials;
    gnutls_datum_t ticket_key; /* of sessions that are taken up again, which costs no signature; this process's alone */
    bool mutual;               /* clients show certificates, each time anew: no tickets */
};

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
    if (trust == NULL) {
        if (gnutls_session_ticket_key_generate(&tls->ticket_key) >= 0) return STATUS_OK;
        return error_set(err, STATUS_INTERNAL, "HTTP server: no key for session tickets");
    }
    tls->mutual = true;
    gnutls_datum_t trust_pem = {(unsigned char *)trust, (unsigned)strlen(trust)};
    TRY(tls_check_trust(options->ca_file, trust, err));
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
    TRY_CLEANUP(tls_read_pem(options->certificate_file, &certificate, err));
    TRY_CLEANUP(tls_read_pem(options->key_file, &key, err));
    if (options->ca_file != NULL) TRY_CLEANUP(tls_read_pem(options->ca_file, &trust, err));
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
    if (server->tls->ticket_key.data != NULL) {
        explicit_bzero(server->tls->ticket_key.data, server->tls->ticket_key.size);
        gnutls_free(server->tls->ticket_key.data);
    }
    free(server->tls);
    server->tls = NULL;
}

struct tls_session *http_tls_open(const struct http_server *server, int fd) {
    static gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                            .data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT};
    struct tls_session *session = tls_session_create(GNUTLS_SERVER, server->tls->credentials, fd);
    if (session != NULL && server->tls->mutual) {
        /* Required and verified here: a client without a good one does not pass the handshake. */
        gnutls_certificate_server_set_request(session->session, GNUTLS_CERT_REQUIRE);
        gnutls_session_set_verify_cert2(session->session, &purpose, 1, 0);
    }
    if (session == NULL || server->tls->mutual ||
        gnutls_session_ticket_enable_server(session->session, &server->tls->ticket_key) >= 0)
        return session;
    tls_session_close(session);
    return NULL;
}
