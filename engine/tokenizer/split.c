/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/split.h"

#include "base/text.h"

#include <string.h>
#include <utf8proc.h>

enum class { CLASS_END, CLASS_LETTER, CLASS_NUMBER, CLASS_SPACE, CLASS_SYMBOL };

/** Unicode's White_Space property. */
static bool is_white_space(uint32_t c) {
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static enum class class_of_ascii(uint8_t c) {
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') return CLASS_LETTER; if (c >= '0' && c <= '9') return CLASS_NUMBER;
    return is_white_space(c) ? CLASS_SPACE : CLASS_SYMBOL;
}

static enum class class_of(uint32_t c) {
    if (is_white_space(c)) return CLASS_SPACE; switch (utf8proc_category((utf8proc_int32_t)c)){
        case UTF8PROC_CATEGORY_LU : case UTF8PROC_CATEGORY_LL : case UTF8PROC_CATEGORY_LT : case
        UTF8PROC_CATEGORY_LM : case UTF8PROC_CATEGORY_LO : return CLASS_LETTER;
        case UTF8PROC_CATEGORY_ND : case UTF8PROC_CATEGORY_NL : case UTF8PROC_CATEGORY_NO : return CLASS_NUMBER;
        default : return CLASS_SYMBOL;
    }
}

/** Class and length of the character at `at`; CLASS_END behind the last. */
static enum class look(struct bytes_view text, size_t at, size_t *out_length) {
    uint32_t code_point; bool valid; *out_length = 0; if (at >= text.length) return CLASS_END; *out_length = 1;
    if (text.data[at] < 0x80) return class_of_ascii(text.data[at]);
    *out_length = text_decode(text.data + at, text.length - at, &code_point, &valid);
    return valid ? class_of(code_point) : CLASS_SYMBOL;
}

/** Length of 's 't 'm 'd 're 've 'll at the start of `text`, or 0. */
static size_t contraction(struct bytes_view text) {
    static const char *const endings[] = {"s", "t", "m", "d", "re", "ve", "ll"};
    if (text.length < 2 || text.data[0] != '\'') return 0;
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t length = strlen(endings[i]);
        if (text.length > length && memcmp(text.data + 1, endings[i], length) == 0) return 1 + length;
    }
    return 0;
}

/** From `at` as far as characters are of `class`. */
static size_t run_end(struct bytes_view text, size_t at, enum class class) {
    for (size_t length; look(text, at, &length) == class;) at += length;
    return at;
}

/** White space: all of it when a number or the end follows, else all but the last character, which stands alone or leads the next piece. */
static size_t space_piece(struct bytes_view text) {
    size_t at = 0, last = 0, length;
    while (look(text, at, &length) == CLASS_SPACE) {
        last = at;
        at += length;
    }
    enum class after = look(text, at, &length);
    return after == CLASS_END || after == CLASS_NUMBER || last == 0 ? at : last;
}

size_t split_next(enum split_rule rule, struct bytes_view text) {
    (void)rule; /* there is one so far */
    size_t length, start = 0;
    enum class class = look(text, 0, &length);
    if (class == CLASS_END || class == CLASS_NUMBER) return length;
    size_t short_form = contraction(text);
    if (short_form != 0) return short_form;
    if (text.data[0] == ' ') { /* one blank may lead letters or symbols */
        size_t behind_length;
        class = look(text, 1, &behind_length);
        start = 1;
    }
    if (class == CLASS_LETTER || class == CLASS_SYMBOL) return run_end(text, start, class);
    return space_piece(text);
}
