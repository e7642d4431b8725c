/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* TLS of the HTTP server. MHD speaks it through GnuTLS; only the demand for client certificates must be put to GnuTLS itself. */
#include "rpc/http_internal.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PEM_BYTES_MAX = 1024 * 1024 };

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

/** MHD takes a CA file without a certificate in it, and then lets nobody in: better said at start. */
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

enum status http_tls_load(struct http_server *server, struct error *err) {
    const struct http_server_options *options = &server->options;
    if (options->certificate_file == NULL && options->key_file == NULL && options->ca_file == NULL) return STATUS_OK;
    if (options->certificate_file == NULL || options->key_file == NULL) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "HTTP server: TLS needs both a certificate file and a key file");
    }
    TRY(read_pem(options->certificate_file, &server->certificate, err));
    TRY(read_pem(options->key_file, &server->key, err));
    if (options->ca_file == NULL) return STATUS_OK;
    TRY(read_pem(options->ca_file, &server->trust, err));
    return check_trust(options->ca_file, server->trust, err);
}

void http_tls_unload(struct http_server *server) {
    free(server->certificate);
    if (server->key != NULL) explicit_bzero(server->key, strlen(server->key));
    free(server->key);
    free(server->trust);
    server->certificate = server->key = server->trust = NULL;
}

void http_tls_prepare(const struct http_server *server, struct MHD_Connection *mhd) {
    if (server->trust == NULL) return;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    gnutls_session_t session = info->tls_session;
    /* MHD only asks for a certificate. Required and verified here, a client without a good one does not pass the handshake. */
    static gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                            .data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT};
    gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
    gnutls_session_set_verify_cert2(session, &purpose, 1, 0);
}
