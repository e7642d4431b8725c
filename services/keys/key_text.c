/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/key_text.h"

#include "base/random.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

enum { RANDOM_BYTES = 32 };

static const char beginning[] = "bora_";
static const char prefix_alphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789";
static const char secret_alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** Divide the big-endian number by 62 in place and return the remainder. */
static unsigned divide_by_62(uint8_t number[RANDOM_BYTES]) {
    unsigned remainder = 0;
    for (int i = 0; i < RANDOM_BYTES; i++) {
        unsigned value = remainder << 8 | number[i];
        number[i] = (uint8_t)(value / 62);
        remainder = value % 62;
    }
    return remainder;
}

/** 62^43 > 2^256: every number has a text of its own. */
static void write_secret(uint8_t number[RANDOM_BYTES], char *out) {
    for (int i = KEY_SECRET_CHARACTERS - 1; i >= 0; i--) out[i] = secret_alphabet[divide_by_62(number)];
}

static enum status write_prefix(char *out, struct error *err) {
    for (int written = 0; written < KEY_PREFIX_CHARACTERS;) {
        uint8_t random[RANDOM_BYTES];
        TRY(random_secret(random, sizeof random, err));
        for (int i = 0; i < RANDOM_BYTES && written < KEY_PREFIX_CHARACTERS; i++) {
            if (random[i] < 252)
                out[written++] = prefix_alphabet[random[i] % 36]; /* 252 = 7 * 36: no character is likelier */
        }
    }
    out[KEY_PREFIX_CHARACTERS] = 0;
    return STATUS_OK;
}

enum status key_text_renew(const char *prefix, struct key_text *out, struct error *err) {
    uint8_t number[RANDOM_BYTES];
    TRY(random_secret(number, sizeof number, err));
    memmove(out->prefix, prefix, KEY_PREFIX_CHARACTERS + 1);
    int written = snprintf(out->whole, sizeof out->whole, "%s%s_", beginning, out->prefix);
    write_secret(number, out->whole + written);
    out->whole[KEY_TEXT_CHARACTERS] = 0;
    OPENSSL_cleanse(number, sizeof number);
    return STATUS_OK;
}

enum status key_text_create(struct key_text *out, struct error *err) {
    TRY(write_prefix(out->prefix, err));
    return key_text_renew(out->prefix, out, err);
}

bool key_prefix_is_valid(const char *text) {
    return strlen(text) == KEY_PREFIX_CHARACTERS && strspn(text, prefix_alphabet) == KEY_PREFIX_CHARACTERS;
}

bool key_text_parse(const char *text, struct key_text *out) {
    const size_t beginning_length = sizeof beginning - 1;
    if (strlen(text) != KEY_TEXT_CHARACTERS || strncmp(text, beginning, beginning_length) != 0 ||
        text[beginning_length + KEY_PREFIX_CHARACTERS] != '_')
        return false;
    const char *secret = text + beginning_length + KEY_PREFIX_CHARACTERS + 1;
    if (strspn(secret, secret_alphabet) != KEY_SECRET_CHARACTERS) return false;
    memcpy(out->whole, text, KEY_TEXT_CHARACTERS + 1);
    memcpy(out->prefix, text + beginning_length, KEY_PREFIX_CHARACTERS);
    out->prefix[KEY_PREFIX_CHARACTERS] = 0;
    return key_prefix_is_valid(out->prefix);
}

void key_text_hash(const uint8_t hash_secret[KEY_HASH_SECRET_BYTES], const char *text, uint8_t out[KEY_HASH_BYTES]) {
    unsigned length = KEY_HASH_BYTES;
    HMAC(EVP_sha256(), hash_secret, KEY_HASH_SECRET_BYTES, (const unsigned char *)text, strlen(text), out, &length);
}
