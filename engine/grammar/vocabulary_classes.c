/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What characters the tokens below each node of a trie have, so that a walk knows without looking which of them a state takes whole. */
#include "engine/grammar/vocabulary.h"

#include "engine/grammar/utf8_steps.h"

#include <stdlib.h>

uint32_t token_class_of(uint32_t c) {
    if (c < 0x20 || c == '"' || c == '\\') return CLASS_NEVER;
    if (c == 0x7f) return CLASS_ODD;
    if (c >= 0x80) return token_class_odd(c, c) ? CLASS_ODD : CLASS_OTHERS;
    if (c >= '0' && c <= '9') return CLASS_DIGIT;
    uint32_t lower = c | 0x20;
    if (lower >= 'a' && lower <= 'z')
        return c >= 'a' ? (lower <= 'f' ? CLASS_HEX_LOWER : CLASS_LOWER)
                        : (lower <= 'f' ? CLASS_HEX_UPPER : CLASS_UPPER);
    switch (c) {
    case ' ':
        return CLASS_BLANK;
    case '-':
        return CLASS_HYPHEN;
    case '_':
        return CLASS_UNDERSCORE;
    case '.':
        return CLASS_DOT;
    case '/':
        return CLASS_SLASH;
    case ':':
        return CLASS_COLON;
    default:
        return CLASS_PUNCTUATION;
    }
}

/** White space, ends of lines and U+FEFF beyond ASCII: what classes often leave out. */
static const uint32_t ODD[][2] = {{0x85, 0x85},     {0xa0, 0xa0},     {0x1680, 0x1680},
                                  {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f},
                                  {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};

bool token_class_odd(uint32_t first, uint32_t last) {
    for (size_t i = 0; i < sizeof ODD / sizeof *ODD; i++)
        if (first >= ODD[i][0] && last <= ODD[i][1]) return true;
    return false;
}

uint32_t token_class_step(uint32_t *unfinished, uint8_t byte, bool token_ends) {
    uint32_t code_point, first, last;
    if (*unfinished == UINT32_MAX) return CLASS_NEVER; /* below bytes that are no text */
    if (*unfinished == 0 && byte < 0x80) return token_class_of(byte);
    switch (utf8_step(unfinished, byte, &code_point)) {
    case UTF8_CODE_POINT:
        *unfinished = 0;
        return token_class_of(code_point);
    case UTF8_UNFINISHED:
        if (!utf8_range(*unfinished, &first, &last)) return CLASS_NEVER;
        return !token_ends ? CLASS_NONE : token_class_odd(first, last) ? CLASS_ODD : CLASS_OTHERS;
    default:
        *unfinished = UINT32_MAX;
        return CLASS_NEVER;
    }
}

static void fold(struct token_trie *trie, uint32_t node, uint32_t parent) {
    trie->classes[parent] |= trie->classes[node];
    if (trie->heights[node] >= trie->heights[parent]) trie->heights[parent] = (uint8_t)(trie->heights[node] + 1);
}

bool token_trie_classify(struct token_trie *trie) {
    trie->classes = malloc((trie->count + 1) * sizeof *trie->classes);
    trie->heights = malloc(trie->count + 1);
    if (trie->classes == NULL || trie->heights == NULL) return false;
    uint32_t open[TRIE_DEPTH_MAX + 1], unfinished[TRIE_DEPTH_MAX + 2] = {0}, depth = 0; /* nodes that are open */
    for (uint32_t i = 0; i < trie->count; i++) {
        for (; depth > trie->depths[i]; depth--)
            if (depth > 1) fold(trie, open[depth - 1], open[depth - 2]);
        unfinished[depth + 1] = unfinished[depth];
        bool ends = trie->first[i + 1] > trie->first[i];
        trie->classes[i] = (uint16_t)token_class_step(&unfinished[depth + 1], trie->bytes[i], ends);
        trie->heights[i] = 1;
        open[depth++] = i;
    }
    for (; depth > 1; depth--) fold(trie, open[depth - 1], open[depth - 2]);
    return true;
}
