/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Certificates for tests, made with openssl's program: of two authorities, ours and theirs; each has signed a server's and a client's, both for
 * the name bora.test, one (local) for localhost and 127.0.0.1, and one (caller) that is for clients only. Files: ours.pem, ours-server.pem,
 * ours-server.key, ours-client.pem, ...
 */
#ifndef TESTS_UNIT_RPC_TLS_FIXTURE_H
#define TESTS_UNIT_RPC_TLS_FIXTURE_H

/* A group's setup and teardown. */
int make_pki(void **state);
int remove_pki(void **state);
/** "folder/name", in one of a few places that are used in turn. */
const char *pki_file(const char *name);

#endif
