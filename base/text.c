/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** What a lead byte promises: bytes that follow, and the range that the first of them must lie in (Unicode table 3-7). */
static int lead_byte(uint8_t lead, uint8_t *out_low, uint8_t *out_high) {
    *out_low = 0x80;
    *out_high = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF) return 1;
    if (lead >= 0xE0 && lead <= 0xEF) {
        if (lead == 0xE0) *out_low = 0xA0;
        if (lead == 0xED) *out_high = 0x9F;
        return 2;
    }
    if (lead >= 0xF0 && lead <= 0xF4) {
        if (lead == 0xF0) *out_low = 0x90;
        if (lead == 0xF4) *out_high = 0x8F;
        return 3;
    }
    return -1;
}

/** The sequence at `data`: bytes looked at, and whether it is whole (true), broken, or only cut (`*out_cut`). */
static size_t scan_sequence(const uint8_t *data, size_t length, bool *out_valid, bool *out_cut) {
    *out_valid = *out_cut = false;
    if (data[0] < 0x80) {
        *out_valid = true;
        return 1;
    }
    uint8_t low, high;
    int follow = lead_byte(data[0], &low, &high);
    if (follow < 0) return 1;
    for (int i = 1; i <= follow; i++) {
        if ((size_t)i >= length) {
            *out_cut = true;
            return (size_t)i;
        }
        if (data[i] < low || data[i] > high) return (size_t)i;
        low = 0x80;
        high = 0xBF;
    }
    *out_valid = true;
    return (size_t)follow + 1;
}

size_t text_decode(const uint8_t *data, size_t length, uint32_t *out_code_point, bool *out_valid) {
    bool valid, cut;
    size_t used = scan_sequence(data, length, &valid, &cut);
    if (!valid)
        *out_code_point = TEXT_REPLACEMENT;
    else if (used == 1)
        *out_code_point = data[0];
    else if (used == 2)
        *out_code_point = (uint32_t)(data[0] & 0x1F) << 6 | (data[1] & 0x3F);
    else if (used == 3)
        *out_code_point = (uint32_t)(data[0] & 0x0F) << 12 | (uint32_t)(data[1] & 0x3F) << 6 | (data[2] & 0x3F);
    else
        *out_code_point = (uint32_t)(data[0] & 0x07) << 18 | (uint32_t)(data[1] & 0x3F) << 12 |
                          (uint32_t)(data[2] & 0x3F) << 6 | (data[3] & 0x3F);
    *out_valid = valid;
    return used;
}

size_t text_encode(uint32_t code_point, uint8_t out[4]) {
    if (code_point < 0x80) {
        out[0] = (uint8_t)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (uint8_t)(0xC0 | code_point >> 6);
        out[1] = (uint8_t)(0x80 | (code_point & 0x3F));
        return 2;
    }
    if (code_point < 0x10000) {
        if (code_point >= 0xD800 && code_point <= 0xDFFF) return 0;
        out[0] = (uint8_t)(0xE0 | code_point >> 12);
        out[1] = (uint8_t)(0x80 | (code_point >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (code_point & 0x3F));
        return 3;
    }
    if (code_point > 0x10FFFF) return 0;
    out[0] = (uint8_t)(0xF0 | code_point >> 18);
    out[1] = (uint8_t)(0x80 | (code_point >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (code_point >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (code_point & 0x3F));
    return 4;
}

/** Eight ASCII bytes at `bytes`. */
static bool is_ascii_word(const uint8_t *bytes) {
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return (word & UINT64_C(0x8080808080808080)) == 0;
}

bool text_is_utf8(const void *data, size_t length) {
    const uint8_t *bytes = data;
    for (size_t at = 0; at < length;) {
        if (length - at >= 8 && is_ascii_word(bytes + at)) {
            at += 8;
            continue;
        }
        bool valid, cut;
        at += scan_sequence(bytes + at, length - at, &valid, &cut);
        if (!valid) return false;
    }
    return true;
}

size_t text_complete_prefix(const uint8_t *data, size_t length) {
    /* Only the last three bytes can begin a sequence that is cut. */
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        const uint8_t *at = data + length - back;
        if ((*at & 0xC0) == 0x80) continue; /* a continuation byte: look further back */
        bool valid, cut;
        size_t used = scan_sequence(at, back, &valid, &cut);
        return cut && used == back ? length - back : length;
    }
    return length;
}

size_t text_truncate(const char *text, size_t length, size_t max_bytes) {
    if (length <= max_bytes) return length;
    return text_complete_prefix((const uint8_t *)text, max_bytes);
}

bool text_breaks_line(uint32_t code_point) {
    bool control = code_point < 0x20 || (code_point >= 0x7F && code_point < 0xA0);
    bool separator = code_point == 0x2028 || code_point == 0x2029;
    bool turns = (code_point >= 0x202A && code_point <= 0x202E) || (code_point >= 0x2066 && code_point <= 0x2069);
    return control || separator || turns;
}

bool text_to_u64(const char *text, uint64_t *out) {
    if (text[0] == 0 || text[strspn(text, "0123456789")] != 0) return false;
    errno = 0;
    uintmax_t value = strtoumax(text, NULL, 10);
    if (errno != 0 || value > UINT64_MAX) return false;
    *out = value;
    return true;
}

size_t text_from_i64(int64_t number, char out[TEXT_I64_BYTES]) {
    char digits[20];
    size_t at = sizeof digits, length = 0;
    uint64_t left = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do digits[--at] = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (number < 0) out[length++] = '-';
    memcpy(out + length, digits + at, sizeof digits - at);
    length += sizeof digits - at;
    out[length] = 0;
    return length;
}

bool text_to_i64(const char *text, int64_t *out) {
    bool negative = text[0] == '-';
    uint64_t magnitude;
    if (!text_to_u64(text + negative, &magnitude)) return false;
    if (magnitude > (uint64_t)INT64_MAX + negative) return false;
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;
static void make_c_locale(void) {
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

bool text_to_double(const char *text, double *out) {
    pthread_once(&c_locale_once, make_c_locale);
    if (text[0] == 0 || strspn(text, "0123456789+-.eE") != strlen(text)) return false; /* no hex, inf, nan or blanks */
    char *end;
    double value = strtod_l(text, &end, c_locale);
    if (*end != 0 || end == text || !isfinite(value)) return false;
    *out = value;
    return true;
}

size_t text_from_double(double value, char *out) {
    if (!isfinite(value)) {
        memcpy(out, "null", 5);
        return 4;
    }
    pthread_once(&c_locale_once, make_c_locale);
    locale_t before = uselocale(c_locale);
    int length = 0;
    for (int precision = 15; precision <= 17; precision++) {
        length = snprintf(out, 32, "%.*g", precision, value);
        if (strtod(out, NULL) == value) break;
    }
    uselocale(before);
    return (size_t)length;
}

size_t text_from_double_plain(double value, char *out) {
    size_t length = text_from_double(value, out);
    const char *exponent = memchr(out, 'e', length);
    if (exponent == NULL) return length;
    int digits = 0, power = (int)strtol(exponent + 1, NULL, 10);
    for (const char *c = out; c < exponent; c++) digits += *c >= '0' && *c <= '9';
    pthread_once(&c_locale_once, make_c_locale);
    locale_t before = uselocale(c_locale);
    int places = digits - 1 - power;
    int written = snprintf(out, TEXT_PLAIN_DOUBLE_BYTES, "%.*f", places > 0 ? places : 0, value);
    uselocale(before);
    return (size_t)written;
}

static bool is_secret_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

void text_mask_keys(char *text, size_t length) {
    enum { SECRET_LEAST = 16, PREFIX_CHARACTERS = 12 };
    static const char mark[] = "bora_";
    char *end = text + length, *at = text;
    while ((at = memmem(at, (size_t)(end - at), mark, sizeof mark - 1)) != NULL) {
        at += sizeof mark - 1;
        char *prefix = at;
        while (at < end && is_secret_character(*at) && *at != '_') at++;
        bool is_key = at - prefix == PREFIX_CHARACTERS || (at - prefix == 5 && memcmp(prefix, "admin", 5) == 0);
        if (at == end || *at != '_' || !is_key) {
            at = prefix;
            continue;
        }
        char *secret = ++at;
        while (at < end && is_secret_character(*at)) at++;
        if (at - secret >= SECRET_LEAST) memset(secret, '*', (size_t)(at - secret));
    }
}
