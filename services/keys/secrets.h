/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The service's own secrets: what keys are hashed with, and whom it listens to. None of them is ever logged or sent.
 */
#ifndef SERVICES_KEYS_SECRETS_H
#define SERVICES_KEYS_SECRETS_H

#include "services/keys/key_text.h"
#include "services/keys/settings.h"

struct keys_secrets {
    uint8_t hash_secret[KEY_HASH_SECRET_BYTES];
    /* HMACs under the hash secret: of one length, so comparing tells nothing about the secrets' lengths either. */
    uint8_t admin_hash[KEY_HASH_BYTES], service_hash[KEY_HASH_BYTES];
    bool hash_secret_created; /* it is new: worth a line in the log */
    bool hash_secret_exposed; /* others than the owner may read or write its file: worth a warning */
};

/** Read all secrets; make the hash secret's file (mode 0600, on disk before this returns) when it is missing. */
enum status keys_secrets_load(const struct keys_settings *settings, struct keys_secrets *out, struct error *err);
/** 64 hexadecimal digits and a newline. Of several processes that find the file missing, one makes it and all use that. */
enum status hash_secret_load(const char *path, struct keys_secrets *out, struct error *err);
/** `authorization` is the metadata value, may be NULL: true for "Bearer " and the secret that `hash` belongs to. In constant time. */
bool keys_secrets_match(const struct keys_secrets *secrets, const uint8_t hash[KEY_HASH_BYTES],
                        const char *authorization);
/** What stands behind "Bearer "; "" when there is nothing. */
const char *keys_secrets_bearer(const char *authorization);
/** What a store is marked with: tells nothing about the secret, but whether it is the same. */
void keys_secrets_mark(const struct keys_secrets *secrets, char out_hex[2 * KEY_HASH_BYTES + 1]);

#endif
