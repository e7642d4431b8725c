/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/uuid.h"

#include "base/random.h"
#include "services/keys/key_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { BASE = 36, LETTERS = 26, LOW_BITS = 62 };
static const uint64_t LOW_MASK = (UINT64_C(1) << LOW_BITS) - 1, VARIANT = UINT64_C(2) << LOW_BITS;

/* --- a prefix as a number: letters are 0..25, digits 26..35 ------------------------------------------------------- */

static uint64_t number_of_prefix(const char *prefix) {
    uint64_t number = 0;
    for (int i = 0; i < KEY_PREFIX_CHARACTERS; i++) {
        bool digit = prefix[i] >= '0' && prefix[i] <= '9';
        number = number * BASE + (uint64_t)(digit ? prefix[i] - '0' + LETTERS : prefix[i] - 'a');
    }
    return number;
}

static void prefix_of_number(uint64_t number, char *out) {
    for (int i = KEY_PREFIX_CHARACTERS - 1; i >= 0; i--, number /= BASE) {
        int value = (int)(number % BASE);
        out[i] = (char)(value < LETTERS ? 'a' + value : '0' + value - LETTERS);
    }
    out[KEY_PREFIX_CHARACTERS] = 0;
}

/** The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014): every bit of the result hangs on every bit of the number. */
static uint64_t mix(uint64_t number) {
    number = (number ^ number >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    number = (number ^ number >> 27) * UINT64_C(0x94d049bb133111eb);
    return number ^ number >> 31;
}

/* --- text --------------------------------------------------------------------------------------------------------- */

static void write_halves(uint64_t high, uint64_t low, char out[UUID_CHARACTERS + 1]) {
    snprintf(out, UUID_CHARACTERS + 1, "%08" PRIx64 "-%04" PRIx64 "-%04" PRIx64 "-%04" PRIx64 "-%012" PRIx64,
             high >> 32, high >> 16 & 0xFFFF, high & 0xFFFF, low >> 48, low & UINT64_C(0xFFFFFFFFFFFF));
}

enum status uuid_random(char out[UUID_CHARACTERS + 1], struct error *err) {
    uint64_t halves[2];
    TRY(random_secret(halves, sizeof halves, err));
    write_halves((halves[0] & ~UINT64_C(0xF000)) | UINT64_C(0x4000), (halves[1] & LOW_MASK) | VARIANT, out);
    return STATUS_OK;
}

bool uuid_is_valid(const char *text) {
    if (strlen(text) != UUID_CHARACTERS) return false;
    for (int i = 0; i < UUID_CHARACTERS; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : strchr("0123456789abcdefABCDEF", text[i]) == NULL) return false;
    }
    return true;
}

void uuid_of_prefix(const char *prefix, char out[UUID_CHARACTERS + 1]) {
    uint64_t number = number_of_prefix(prefix), mixed = mix(number);
    uint64_t high = mixed >> 16 << 16 | UINT64_C(0x8000) | (mixed & 0xFFE) | number >> LOW_BITS;
    write_halves(high, VARIANT | (number & LOW_MASK), out);
}

bool uuid_to_prefix(const char *text, char *out_prefix) {
    uint64_t parts[5];
    char again[UUID_CHARACTERS + 1];
    if (!uuid_is_valid(text) || sscanf(text, "%8" SCNx64 "-%4" SCNx64 "-%4" SCNx64 "-%4" SCNx64 "-%12" SCNx64,
                                       &parts[0], &parts[1], &parts[2], &parts[3], &parts[4]) != 5)
        return false;
    uint64_t number = ((parts[3] << 48 | parts[4]) & LOW_MASK) | (parts[2] & 1) << LOW_BITS;
    prefix_of_number(number, out_prefix);
    /* Whatever is no prefix' id has another one here: numbers from 36^12 on lose their first digit. */
    uuid_of_prefix(out_prefix, again);
    return strcasecmp(again, text) == 0;
}
