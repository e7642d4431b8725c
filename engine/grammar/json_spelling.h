/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Which escapes strings in JSON may have (enum grammar_spelling), as machine and vocabulary both ask it.
 *
 * Plain: a character that needs no escape has none, one that needs one has its shortest, with hex digits in lower case. A vocabulary that has no tokens for some
 * bytes could not write some characters beyond ASCII; \u may spell those, too.
 */
#ifndef ENGINE_GRAMMAR_JSON_SPELLING_H
#define ENGINE_GRAMMAR_JSON_SPELLING_H

#include "engine/grammar/grammar.h"

struct code_points {
    uint32_t first, last; /* last < first: none */
};
enum { CODE_POINTS_COUNT = 0x110000, ESCAPED_RANGES = 4 };

struct json_spelling {
    bool any;
    struct code_points escaped[ESCAPED_RANGES]; /* that some escape may spell */
    struct code_points hex[ESCAPED_RANGES];     /* that \u may, in pairs or not */
    uint32_t unspelled; /* the first code point that bytes may fail to write */
};

/** unspelled: 0 where not even all of ASCII can be written, CODE_POINTS_COUNT where everything can. */
static inline struct json_spelling json_spelling_make(enum grammar_spelling spelling, uint32_t unspelled) {
    const struct code_points none = {1, 0}, all = {0, CODE_POINTS_COUNT - 1};
    if (spelling == GRAMMAR_SPELLING_ANY || unspelled == 0)
        return (struct json_spelling){true, {all, none, none, none}, {all, none, none, none}, unspelled};
    const struct code_points rest = {unspelled, CODE_POINTS_COUNT - 1};
    return (struct json_spelling){
        false, {{0, 0x1f}, {'"', '"'}, {'\\', '\\'}, rest}, {{0, 7}, {0xb, 0xb}, {0xe, 0x1f}, rest}, unspelled};
}

static inline struct code_points code_points_both(struct code_points a, struct code_points b) {
    return (struct code_points){a.first > b.first ? a.first : b.first, a.last < b.last ? a.last : b.last};
}
/** \u may spell some of them. */
static inline bool json_spelling_has(const struct json_spelling *spelling, struct code_points points) {
    for (int i = 0; i < ESCAPED_RANGES; i++) {
        struct code_points both = code_points_both(spelling->hex[i], points);
        if (both.first <= both.last) return true;
    }
    return false;
}

/** What an escape of two bytes spells, by its second; -1: it is none. */
static inline int json_spelling_short(const struct json_spelling *spelling, uint8_t byte) {
    switch (byte) {
    case '"':
    case '\\':
        return byte;
    case '/':
        return spelling->any ? '/' : -1;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return -1;
    }
}

/** The value of a hex digit behind \u; -1: it is none. */
static inline int json_spelling_digit(const struct json_spelling *spelling, uint8_t byte) {
    if (byte >= '0' && byte <= '9') return byte - '0';
    if (spelling->any) byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/** What a pair of surrogates may be whose first is in first..last (0xd800 to 0xdbff). */
static inline struct code_points code_points_of_pairs(uint32_t first, uint32_t last) {
    return (struct code_points){0x10000 + ((first - 0xd800) << 10), 0x10000 + ((last - 0xd800) << 10) + 0x3ff};
}

/** Append `text` (UTF-8) as a string that every spelling admits and the vocabulary can write. */
enum status json_spelling_append(const struct json_spelling *spelling, struct bytes *out, struct bytes_view text);

#endif
