/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/unicode.h"

#include <pthread.h>
#include <utf8proc.h>

uint8_t unicode_table[UNICODE_TABLE_END];

static bool is_white_space(uint32_t c) {
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

uint8_t unicode_class_slow(uint32_t c) {
    if (c == '\r' || c == '\n') return CLASS_SPACE | CLASS_NEWLINE;
    if (is_white_space(c)) return CLASS_SPACE;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
        return CLASS_LETTER | CLASS_UPPER;
    case UTF8PROC_CATEGORY_LL:
        return CLASS_LETTER | CLASS_LOWER;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return CLASS_LETTER | CLASS_UPPER | CLASS_LOWER;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return CLASS_SYMBOL | CLASS_MARK | CLASS_UPPER | CLASS_LOWER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return CLASS_NUMBER;
    default:
        return CLASS_SYMBOL;
    }
}

static void fill(void) {
    for (uint32_t c = 0; c < UNICODE_TABLE_END; c++) unicode_table[c] = unicode_class_slow(c);
}

void unicode_prepare(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fill);
}

bool unicode_is_word(uint32_t c) {
    uint8_t class = unicode_class_slow(c);
    return (class & (CLASS_LETTER | CLASS_NUMBER | CLASS_MARK)) != 0 ||
           utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_PC;
}
