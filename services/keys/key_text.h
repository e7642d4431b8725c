/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The text of a key:
 *
 *     bora_k3v9x0q2m7ab_4fT...43 letters and digits...Zq
 *          prefix       256 random bits in base 62
 *
 * The prefix is public (lists, logs); the rest is the secret. Only a keyed hash of the whole text is stored, so that whoever reads
 * the store learns no key and, without the hash secret, cannot even check a guess. 256 random bits need no slow password hash.
 */
#ifndef SERVICES_KEYS_KEY_TEXT_H
#define SERVICES_KEYS_KEY_TEXT_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    KEY_PREFIX_CHARACTERS = 12,
    KEY_SECRET_CHARACTERS = 43,
    KEY_TEXT_CHARACTERS = 5 + KEY_PREFIX_CHARACTERS + 1 + KEY_SECRET_CHARACTERS,
    KEY_HASH_SECRET_BYTES = 32,
    KEY_HASH_BYTES = 32,
    KEY_LAST_CHARACTERS = 4, /* shown in lists */
};

struct key_text {
    char whole[KEY_TEXT_CHARACTERS + 1];
    char prefix[KEY_PREFIX_CHARACTERS + 1];
};

/** A new random key. */
enum status key_text_create(struct key_text *out, struct error *err);
/** A new secret under a prefix that is there already. */
enum status key_text_renew(const char *prefix, struct key_text *out, struct error *err);
/** False when `text` does not have the form of a key; `out` may hold some of it all the same. Whoever has a struct key_text wipes it. */
bool key_text_parse(const char *text, struct key_text *out);
/** 12 characters a-z 0-9. */
bool key_prefix_is_valid(const char *text);
/** HMAC-SHA256(hash secret, text). */
void key_text_hash(const uint8_t hash_secret[KEY_HASH_SECRET_BYTES], const char *text, uint8_t out[KEY_HASH_BYTES]);

#endif
