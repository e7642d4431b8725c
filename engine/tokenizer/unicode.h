/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Character classes for splitting text, as bits, from one table (Unicode 15, utf8proc) that is made once.
 */
#ifndef ENGINE_TOKENIZER_UNICODE_H
#define ENGINE_TOKENIZER_UNICODE_H

#include "base/text.h"

#include <stdint.h>

enum {
    CLASS_LETTER = 1,   /* L */
    CLASS_NUMBER = 2,   /* N */
    CLASS_SPACE = 4,    /* White_Space */
    CLASS_MARK = 8,     /* M */
    CLASS_UPPER = 16,   /* what may begin a word of tekken's: Lu, Lt, Lm, Lo, M */
    CLASS_LOWER = 32,   /* what may end it: Ll, Lm, Lo, M */
    CLASS_SYMBOL = 64,  /* none of letter, number, space (marks are symbols too) */
    CLASS_NEWLINE = 128 /* \r, \n */
};

enum { UNICODE_TABLE_END = 0x40000 }; /* planes 4 to 13 are empty; what lies behind them is looked up slowly */

/** Filled by unicode_prepare, which any number of threads may call. */
extern uint8_t unicode_table[UNICODE_TABLE_END];
void unicode_prepare(void);
uint8_t unicode_class_slow(uint32_t code_point);
/** True for what \w matches: letters, marks, numbers, connectors. */
bool unicode_is_word(uint32_t code_point);

/** The class of the character at `text[0..length)`, length > 0, and how many bytes it has. A byte that is not UTF-8 is a symbol. */
static inline uint8_t unicode_class_at(const uint8_t *text, size_t length, size_t *out_bytes) {
    uint8_t first = text[0];
    *out_bytes = 1;
    if (first < 0x80) return unicode_table[first];
    if (first >= 0xC2 && first < 0xE0 && length >= 2 && (text[1] & 0xC0) == 0x80) {
        *out_bytes = 2;
        return unicode_table[(uint32_t)(first & 0x1F) << 6 | (text[1] & 0x3F)];
    }
    uint32_t code_point;
    bool valid;
    *out_bytes = text_decode(text, length, &code_point, &valid);
    if (!valid) return CLASS_SYMBOL;
    return code_point < UNICODE_TABLE_END ? unicode_table[code_point] : unicode_class_slow(code_point);
}

#endif
