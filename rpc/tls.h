/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * TLS on a socket that does not block, by GnuTLS. A session is used by one thread at a time.
 */
#ifndef RPC_TLS_H
#define RPC_TLS_H

#include "base/status.h"

#include <sys/types.h>

struct tls_session;
void tls_session_close(struct tls_session *session); /* NULL is nothing */
/** As recv and send on a socket that does not block: -1 with errno EAGAIN when it would, EPROTO when TLS is broken. They shake hands first. A send
 *  that was not taken is to be repeated alike. */
ssize_t tls_receive(struct tls_session *session, void *out, size_t bytes);
ssize_t tls_send(struct tls_session *session, const void *data, size_t bytes);
/** What the first of them does before all else: 0, or -1 with errno as above. */
int tls_shake_hands(struct tls_session *session);
/** No more will be sent. */
void tls_say_end(struct tls_session *session);
/** Why the last of them failed; lent, never NULL. */
const char *tls_reason(const struct tls_session *session);

/** Can a server use these PEM files? `ca_file` may be NULL. INVALID_ARGUMENT names the file that is missing or wrong. */
enum status tls_check_identity(const char *certificate_file, const char *key_file, const char *ca_file,
                               struct error *err);

/** What a client trusts, and shows of itself. */
struct tls_client;
/** PEM files. `ca_file` NULL: the system's authorities; the other two NULL: it shows nothing. INVALID_ARGUMENT names the file. */
enum status tls_client_create(const char *ca_file, const char *certificate_file, const char *key_file,
                              struct tls_client **out, struct error *err);
void tls_client_free(struct tls_client *client); /* NULL is nothing */
/** The server must have a certificate for `host` (a name or an address; borrowed until the session is closed) and speak `protocol` (ALPN). NULL
 *  without memory. */
struct tls_session *tls_client_open(const struct tls_client *client, int fd, const char *host, const char *protocol);

#endif
