/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Ids as clients see them (RFC 9562). Organisations and workspaces have random ones (version 4). A key's stands for its prefix (version 8):
 *
 *     xxxxxxxx-xxxx-8xxx-yyyy-yyyyyyyyyyyy      y: the low 62 bits of the prefix as a number in base 36, behind the variant's two
 *                                               x: the number's 63rd bit (last), and 59 bits that follow from it
 *
 * A prefix has 12 characters, so its number is below 36^12 < 2^63: every prefix has an id. The 59 bits make ids look unlike each other and
 * mistyped ones be recognised; they hide nothing.
 */
#ifndef SERVICES_KEYS_UUID_H
#define SERVICES_KEYS_UUID_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { UUID_CHARACTERS = 36 };

enum status uuid_random(char out[UUID_CHARACTERS + 1], struct error *err);
/** 8-4-4-4-12 hexadecimal digits. */
bool uuid_is_valid(const char *text);
/** `prefix` is a valid one (key_prefix_is_valid). */
void uuid_of_prefix(const char *prefix, char out[UUID_CHARACTERS + 1]);
/** False when `text` is not the id of any prefix. `out` holds 13 bytes. Upper-case digits will do. */
bool uuid_to_prefix(const char *text, char *out_prefix);

#endif
