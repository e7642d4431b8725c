/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/split.h"

#include "base/text.h"

#include <string.h>
#include <utf8proc.h>

enum kind { KIND_END, KIND_LETTER, KIND_NUMBER, KIND_SPACE, KIND_SYMBOL };

/** Unicode's White_Space property. */
static bool is_white_space(uint32_t c) {
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static enum kind kind_of_ascii(uint8_t c) {
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') return KIND_LETTER;
    if (c >= '0' && c <= '9') return KIND_NUMBER;
    return is_white_space(c) ? KIND_SPACE : KIND_SYMBOL;
}

static enum kind kind_of(uint32_t c) {
    if (is_white_space(c)) return KIND_SPACE;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return KIND_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return KIND_NUMBER;
    default:
        return KIND_SYMBOL;
    }
}

/** Kind and length of the character at `at`; KIND_END behind the last. */
static enum kind look(struct bytes_view text, size_t at, size_t *out_length) {
    uint32_t code_point;
    bool valid;
    *out_length = 0;
    if (at >= text.length) return KIND_END;
    *out_length = 1;
    if (text.data[at] < 0x80) return kind_of_ascii(text.data[at]);
    *out_length = text_decode(text.data + at, text.length - at, &code_point, &valid);
    return valid ? kind_of(code_point) : KIND_SYMBOL;
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

/** From `at` as far as characters are of `kind`. */
static size_t run_end(struct bytes_view text, size_t at, enum kind kind) {
    for (size_t length; look(text, at, &length) == kind;) at += length;
    return at;
}

/** White space: all of it when a number or the end follows, else all but the last character, which stands alone or leads the next piece. */
static size_t space_piece(struct bytes_view text) {
    size_t at = 0, last = 0, length;
    while (look(text, at, &length) == KIND_SPACE) {
        last = at;
        at += length;
    }
    enum kind after = look(text, at, &length);
    return after == KIND_END || after == KIND_NUMBER || last == 0 ? at : last;
}

size_t split_next(enum split_rule rule, struct bytes_view text) {
    (void)rule; /* there is one so far */
    size_t length, start = 0;
    enum kind kind = look(text, 0, &length);
    if (kind == KIND_END || kind == KIND_NUMBER) return length;
    size_t short_form = contraction(text);
    if (short_form != 0) return short_form;
    if (text.data[0] == ' ') { /* one blank may lead letters or symbols */
        size_t behind_length;
        kind = look(text, 1, &behind_length);
        start = 1;
    }
    if (kind == KIND_LETTER || kind == KIND_SYMBOL) return run_end(text, start, kind);
    return space_piece(text);
}
