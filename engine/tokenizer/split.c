/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/split.h"

#include "base/text.h"

#include <string.h>
#include <utf8proc.h>

enum class { CLASS_END, CLASS_LETTER, CLASS_NUMBER, CLASS_SPACE, CLASS_SYMBOL };

/** Unicode's White_Space property. */
static bool is_white_space(uint32_t c) {
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

static enum class class_of(uint32_t c) {
    if (c < 0x80) {
        if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') return CLASS_LETTER;
        if (c >= '0' && c <= '9') return CLASS_NUMBER;
        return is_white_space(c) ? CLASS_SPACE : CLASS_SYMBOL;
    }
    if (is_white_space(c)) return CLASS_SPACE;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return CLASS_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return CLASS_NUMBER;
    default: return CLASS_SYMBOL;
    }
}

/** Class and length of the character at `at`; CLASS_END behind the last. */
static enum class look(struct bytes_view text, size_t at, size_t *out_length) {
    uint32_t code_point;
    bool valid;
    *out_length = 0;
    if (at >= text.length) return CLASS_END;
    *out_length = text_decode(text.data + at, text.length - at, &code_point, &valid);
    return valid ? class_of(code_point) : CLASS_SYMBOL;
}

/** Length of 's 't 'm 'd 're 've 'll at the start of `text`, or 0. */
static size_t contraction(struct bytes_view text) {
    if (text.length < 2 || text.data[0] != '\'') return 0;
    if (strchr("stmd", text.data[1]) != NULL && text.data[1] != 0) return 2;
    if (text.length < 3) return 0;
    bool long_one = (text.data[1] == 'r' && text.data[2] == 'e') || (text.data[1] == 'v' && text.data[2] == 'e') || (text.data[1] == 'l' && text.data[2] == 'l');
    return long_one ? 3 : 0;
}

/** From `at` as far as characters are of `class`. */
static size_t run_end(struct bytes_view text, size_t at, enum class class) {
    for (size_t length; look(text, at, &length) == class;) at += length;
    return at;
}

/** White space: all of it when nothing but a number or the end follows, else all but the last character, which the next piece takes. */
static size_t space_piece(struct bytes_view text) {
    size_t at = 0, last = 0, length, count = 0;
    for (; look(text, at, &length) == CLASS_SPACE; at += length, count++) last = at;
    enum class after = look(text, at, &length);
    bool ends_here = after == CLASS_END || after == CLASS_NUMBER;
    return ends_here || count == 1 ? at : last;
}

size_t split_next(enum split_rule rule, struct bytes_view text) {
    (void)rule;
    size_t length, behind_length;
    enum class first = look(text, 0, &length);
    if (first == CLASS_END || first == CLASS_NUMBER) return length;
    size_t short_form = contraction(text);
    if (short_form != 0) return short_form;
    enum class class = first;
    size_t start = 0;
    if (text.data[0] == ' ') { /* one blank may lead letters or symbols */
        class = look(text, 1, &behind_length);
        start = 1;
    }
    if (class == CLASS_LETTER || class == CLASS_SYMBOL) return run_end(text, start, class);
    return space_piece(text);
}
