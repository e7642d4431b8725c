/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * UTF-8 byte by byte (Unicode 15, table 3-7), for machines whose alphabet is code points.
 *
 * An unfinished sequence is a number, 0 where none is; it knows which code points it can become.
 */
#ifndef ENGINE_GRAMMAR_UTF8_STEPS_H
#define ENGINE_GRAMMAR_UTF8_STEPS_H

#include <stdbool.h>
#include <stdint.h>

enum utf8_step { UTF8_INVALID, UTF8_UNFINISHED, UTF8_CODE_POINT };

/* bits 0..20 what is known of the code point, 24..25 bytes to come, 28..30 bytes of the sequence */
static inline uint32_t utf8_make(uint32_t value, uint32_t to_come, uint32_t length) {
    return value | to_come << 24 | length << 28;
}

/** The code points that the unfinished sequence can become; false: none. */
static inline bool utf8_range(uint32_t unfinished, uint32_t *out_first, uint32_t *out_last) {
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t bits = 6 * (unfinished >> 24 & 3), value = unfinished & 0x1FFFFF;
    uint32_t first = value << bits, last = first | ((1U << bits) - 1), low = lowest[unfinished >> 28];
    if (first < low) first = low;
    if (last > 0x10FFFF) last = 0x10FFFF;
    if (first >= 0xD800 && first <= 0xDFFF) first = 0xE000;
    if (last >= 0xD800 && last <= 0xDFFF) last = 0xD7FF;
    *out_first = first;
    *out_last = last;
    return first <= last;
}

/** A byte: `*unfinished` goes on, or *out_code_point is there and *unfinished 0. */
static inline enum utf8_step utf8_step(uint32_t *unfinished, uint8_t byte, uint32_t *out_code_point) {
    uint32_t first, last;
    if (*unfinished == 0) {
        if (byte < 0x80) {
            *out_code_point = byte;
            return UTF8_CODE_POINT;
        }
        if (byte < 0xC2 || byte > 0xF4) return UTF8_INVALID;
        uint32_t to_come = byte >= 0xF0 ? 3 : byte >= 0xE0 ? 2 : 1;
        *unfinished = utf8_make(byte & (0x3FU >> to_come), to_come, to_come + 1);
        return UTF8_UNFINISHED;
    }
    if ((byte & 0xC0) != 0x80) return UTF8_INVALID;
    uint32_t to_come = (*unfinished >> 24 & 3) - 1, value = (*unfinished & 0x1FFFFF) << 6 | (byte & 0x3FU);
    uint32_t next = utf8_make(value, to_come, *unfinished >> 28);
    if (!utf8_range(next, &first, &last)) return UTF8_INVALID;
    *out_code_point = value;
    *unfinished = to_come == 0 ? 0 : next;
    return to_come == 0 ? UTF8_CODE_POINT : UTF8_UNFINISHED;
}

#endif
