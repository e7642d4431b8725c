/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Inside rpc/tls.h: what its two ends share. */
#ifndef RPC_TLS_INTERNAL_H
#define RPC_TLS_INTERNAL_H

#include "rpc/tls.h"

#include <gnutls/gnutls.h>
#include <stdbool.h>

struct tls_session {
    gnutls_session_t session;
    int fd;
    bool shaken;                    /* hands */
    bool resend;                    /* GnuTLS holds what it could not send */
    bool dry;                       /* the socket had no more to read */
    int failure;                    /* the last one */
    int own;                        /* messages of TLS' own since the last data */
    bool speaks;                    /* a client whose server must choose the protocol that it was offered */
    void (*on_closed)(void *owner); /* of a server's: lets go of what the session has borrowed; NULL: nothing */
    void *owner;
    gnutls_typed_vdata_st
        expected[2]; /* of a client: the server's name and its certificate's purpose, which GnuTLS borrows */
};

/** `flags`: GNUTLS_SERVER or GNUTLS_CLIENT. NULL without memory. */
struct tls_session *tls_session_create(unsigned flags, gnutls_certificate_credentials_t credentials, int fd);
/** A certificate, its key and (or NULL) the authorities that clients must have theirs from, out of PEM files. INVALID_ARGUMENT names the file. */
enum status tls_load_identity(const char *certificate_file, const char *key_file, const char *ca_file,
                              gnutls_certificate_credentials_t *out, struct error *err);
/** The whole file, NUL-terminated; the caller frees it. */
enum status tls_read_pem(const char *path, char **out, struct error *err);
/** Are there certificates in it? */
enum status tls_check_trust(const char *path, const char *text, struct error *err);

#endif
