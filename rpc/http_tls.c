/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* TLS of the HTTP server. A session is used by one thread at a time: the handshakes' until hands are shaken, then the server's. */
#include "rpc/http_internal.h"
#include "rpc/tls_internal.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/** What the files said when they were read. Sessions borrow it, so it lives as long as the last of them. */
struct identity {
    atomic_int references;
    gnutls_certificate_credentials_t credentials;
    gnutls_datum_t ticket_key; /* of sessions that are taken up again, which costs no signature; this process's alone */
    bool mutual;               /* clients show certificates, each time anew: no tickets */
};

struct http_tls {
    pthread_mutex_t mutex; /* guards what follows */
    struct identity *identity;
};

static void identity_unref(void *context) {
    struct identity *identity = context;
    if (identity == NULL || atomic_fetch_sub(&identity->references, 1) != 1) return;
    if (identity->credentials != NULL) gnutls_certificate_free_credentials(identity->credentials);
    if (identity->ticket_key.data != NULL) {
        explicit_bzero(identity->ticket_key.data, identity->ticket_key.size);
        gnutls_free(identity->ticket_key.data);
    }
    free(identity);
}

static enum status identity_create(const struct http_server_options *options, struct identity **out,
                                   struct error *err) {
    struct identity *identity = calloc(1, sizeof *identity);
    if (identity == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "HTTP server: no memory");
    atomic_init(&identity->references, 1);
    identity->mutual = options->ca_file != NULL;
    enum status status =
        tls_load_identity(options->certificate_file, options->key_file, options->ca_file, &identity->credentials, err);
    if (status == STATUS_OK)
        (void)gnutls_certificate_set_known_dh_params(identity->credentials, GNUTLS_SEC_PARAM_MEDIUM);
    if (status == STATUS_OK && !identity->mutual && gnutls_session_ticket_key_generate(&identity->ticket_key) < 0)
        status = error_set(err, STATUS_INTERNAL, "HTTP server: no key for session tickets");
    if (status == STATUS_OK)
        *out = identity;
    else
        identity_unref(identity);
    return status;
}

enum status http_tls_load(struct http_server *server, struct error *err) {
    const struct http_server_options *options = &server->options;
    if (options->certificate_file == NULL && options->key_file == NULL && options->ca_file == NULL) return STATUS_OK;
    if (options->certificate_file == NULL || options->key_file == NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "HTTP server: TLS needs both a certificate file and a key file");
    struct http_tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "HTTP server: no memory");
    pthread_mutex_init(&tls->mutex, NULL);
    server->tls = tls;
    return identity_create(options, &tls->identity, err);
}

enum status http_server_reread_tls(struct http_server *server, struct error *err) {
    struct http_tls *tls = server->tls;
    struct identity *read = NULL, *before;
    if (tls == NULL) return STATUS_OK;
    TRY(identity_create(&server->options, &read, err));
    pthread_mutex_lock(&tls->mutex);
    before = tls->identity;
    tls->identity = read;
    pthread_mutex_unlock(&tls->mutex);
    identity_unref(before);
    return STATUS_OK;
}

void http_tls_unload(struct http_server *server) {
    if (server->tls == NULL) return;
    identity_unref(server->tls->identity);
    pthread_mutex_destroy(&server->tls->mutex);
    free(server->tls);
    server->tls = NULL;
}

static struct identity *identity_now(struct http_tls *tls) {
    pthread_mutex_lock(&tls->mutex);
    struct identity *identity = tls->identity;
    atomic_fetch_add(&identity->references, 1);
    pthread_mutex_unlock(&tls->mutex);
    return identity;
}

struct tls_session *http_tls_open(const struct http_server *server, int fd) {
    static gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                            .data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT};
    struct identity *identity = identity_now(server->tls);
    struct tls_session *session = tls_session_create(GNUTLS_SERVER, identity->credentials, fd);
    if (session == NULL) {
        identity_unref(identity);
        return NULL;
    }
    session->on_closed = identity_unref;
    session->owner = identity;
    if (identity->mutual) {
        /* Required and verified here: a client without a good one does not pass the handshake. */
        gnutls_certificate_server_set_request(session->session, GNUTLS_CERT_REQUIRE);
        gnutls_session_set_verify_cert2(session->session, &purpose, 1, 0);
    } else if (gnutls_session_ticket_enable_server(session->session, &identity->ticket_key) < 0) {
        tls_session_close(session);
        return NULL;
    }
    return session;
}
