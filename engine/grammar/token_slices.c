/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/token_slices.h"

#include "engine/grammar/mask.h"
#include "engine/grammar/utf8_steps.h"

#include <assert.h>
#include <stdlib.h>

/* ---- classes ---- */

enum { CLASS_DIGITS, CLASS_A_TO_F, CLASS_G_TO_Z, CLASS_UPPER_A_TO_F, CLASS_UPPER_G_TO_Z, CLASS_CONTROLS, CLASS_SINGLE };

/* Tab, line feed, carriage return, blank and the punctuation have classes of their own: CLASS_SINGLE and up. */
static const uint8_t SINGLES[] = "\t\n\r !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
enum { SINGLE_COUNT = sizeof SINGLES - 1, ASCII_CLASSES = CLASS_SINGLE + SINGLE_COUNT };

static_assert(SLICE_LETTERS ==
                  (1 << CLASS_A_TO_F | 1 << CLASS_G_TO_Z | 1 << CLASS_UPPER_A_TO_F | 1 << CLASS_UPPER_G_TO_Z),
              "the classes of letters");

static uint32_t class_number(uint8_t c) {
    if (c >= '0' && c <= '9') return CLASS_DIGITS;
    if (c >= 'a' && c <= 'z') return c <= 'f' ? CLASS_A_TO_F : CLASS_G_TO_Z;
    if (c >= 'A' && c <= 'Z') return c <= 'F' ? CLASS_UPPER_A_TO_F : CLASS_UPPER_G_TO_Z;
    for (uint32_t i = 0; i < SINGLE_COUNT; i++)
        if (SINGLES[i] == c) return CLASS_SINGLE + i;
    return CLASS_CONTROLS;
}

slice_classes slice_classes_within(const struct token_slices *slices, const uint64_t ascii[2]) {
    slice_classes out = ((slice_classes)1 << ASCII_CLASSES) - 1;
    for (uint32_t word = 0; word < 2; word++)
        for (uint64_t missing = ~ascii[word]; missing != 0; missing &= missing - 1)
            out &= ~slices->ascii[64 * word + (uint32_t)__builtin_ctzll(missing)];
    return out;
}

static slice_classes class_beyond(uint32_t first, uint32_t last) {
    return token_class_odd(first, last) ? SLICE_ODD : SLICE_OTHERS;
}

/** The class of the character that ends with `byte`; of one that does not end yet only if a token ends here. */
static slice_classes class_step(const slice_classes ascii[128], uint32_t *unfinished, uint8_t byte, bool token_ends) {
    uint32_t code_point, first, last;
    if (*unfinished == UINT32_MAX) return SLICE_INVALID; /* below bytes that are no text */
    if (*unfinished == 0 && byte < 0x80) return ascii[byte];
    switch (utf8_step(unfinished, byte, &code_point)) {
    case UTF8_CODE_POINT:
        *unfinished = 0;
        return class_beyond(code_point, code_point);
    case UTF8_UNFINISHED:
        if (!utf8_range(*unfinished, &first, &last)) return SLICE_INVALID;
        return token_ends ? class_beyond(first, last) : 0;
    default:
        *unfinished = UINT32_MAX;
        return SLICE_INVALID;
    }
}

/* ---- creating ---- */

static void fold(struct slice_node *nodes, uint32_t node, uint32_t parent) {
    nodes[parent].classes |= nodes[node].classes;
    if (nodes[node].height >= nodes[parent].height) nodes[parent].height = (uint8_t)(nodes[node].height + 1);
}

/** The class of a token's first byte; one beyond ASCII only begins a character, whose class shows where it ends. */
static slice_classes slices_first(const struct token_slices *slices, uint8_t byte) {
    if (byte < 0x80) return slices->ascii[byte];
    return byte >= 0xC2 && byte <= 0xF4 ? 0 : SLICE_INVALID;
}

/** The nodes in the trie's order, and the classes of each token: whole, and but for its first byte. */
static void classify(const struct token_trie *trie, struct token_slices *slices, slice_classes *whole,
                     slice_classes *behind, struct slice_node *nodes) {
    uint32_t open[TRIE_DEPTH_MAX + 1], unfinished[TRIE_DEPTH_MAX + 2] = {0}, depth = 0; /* nodes that are open */
    slice_classes above[TRIE_DEPTH_MAX + 2] = {0}; /* of the bytes before, without the first */
    for (uint32_t i = 0; i < trie->count; i++) {
        for (; depth > trie->depths[i]; depth--)
            if (depth > 1) fold(nodes, open[depth - 1], open[depth - 2]);
        bool ends = trie->first[i + 1] > trie->first[i];
        uint32_t before = unfinished[depth];
        unfinished[depth + 1] = before;
        slice_classes own = class_step(slices->ascii, &unfinished[depth + 1], trie->bytes[i], false), last = own;
        if (ends) last = class_step(slices->ascii, &before, trie->bytes[i], true);
        if (ends && depth >= SLICE_BYTES) last |= SLICE_LONG;
        above[depth + 1] = depth == 0 ? 0 : above[depth] | own;
        nodes[i] = (struct slice_node){.classes = own | last,
                                       .first = trie->first[i],
                                       .end = trie->first[i + trie->sizes[i]],
                                       .byte = trie->bytes[i],
                                       .height = 1};
        for (uint32_t t = trie->first[i]; t < trie->first[i + 1]; t++) {
            behind[t] = depth == 0 ? 0 : above[depth] | last;
            whole[t] = depth == 0 ? last : behind[t] | slices_first(slices, trie->bytes[open[0]]);
        }
        open[depth++] = i;
    }
    for (; depth > 1; depth--) fold(nodes, open[depth - 1], open[depth - 2]);
}

/** The nodes with siblings side by side. False without memory. */
static bool arrange(const struct token_trie *trie, const struct slice_node *nodes, struct token_slices *slices) {
    uint32_t *places = malloc((trie->count + 1) * sizeof *places), next = 0;
    slices->nodes = malloc((trie->count + 1) * sizeof *slices->nodes);
    if (places == NULL || slices->nodes == NULL) {
        free(places);
        return false;
    }
    for (uint32_t i = 0; i < trie->count; i += trie->sizes[i]) places[i] = next++;
    slices->root_count = next;
    for (uint32_t i = 0; i < trie->count; i++) {
        struct slice_node *node = &slices->nodes[places[i]];
        *node = nodes[i];
        node->children = next;
        for (uint32_t c = i + 1; c < i + trie->sizes[i]; c += trie->sizes[c]) {
            places[c] = next++;
            node->child_count++;
        }
    }
    free(places);
    return true;
}

struct classed {
    slice_classes classes;
    int32_t token;
};

/** Large ones as bitsets. */
static bool add_bits(struct token_slice_list *list, uint32_t words) {
    for (uint32_t i = 0; i < list->count; i++) {
        struct token_slice *slice = &list->slices[i];
        if (slice->count < words / 8) continue; /* to set them one by one is as fast */
        slice->bits = calloc(words, sizeof *slice->bits);
        if (slice->bits == NULL) return false;
        for (uint32_t t = 0; t < slice->count; t++) mask_set(slice->bits, list->tokens[slice->first + t]);
    }
    return true;
}

/** Which slice has exactly these classes: a hash table of their numbers plus one, 0 where there is none. */
struct slice_index {
    uint32_t *places;
    uint32_t shift; /* 64 less the logarithm of how many places there are */
};

/** The slice of these classes, the next new one where there is none yet. */
static uint32_t slice_of(struct token_slice_list *list, const struct slice_index *index, slice_classes classes) {
    uint32_t mask = UINT32_MAX >> (index->shift - 32);
    uint32_t place = (uint32_t)(classes * UINT64_C(0x9E3779B97F4A7C15) >> index->shift);
    for (; index->places[place] != 0; place = (place + 1) & mask)
        if (list->slices[index->places[place] - 1].classes == classes) return index->places[place] - 1;
    list->slices[list->count] = (struct token_slice){.classes = classes};
    index->places[place] = ++list->count;
    return list->count - 1;
}

/** Tokens behind each other by their slice, within one in the order of `all`; those that no slice has are left out. */
static void place_tokens(struct token_slice_list *list, const struct classed *all, const uint32_t *slices,
                         uint32_t count) {
    uint32_t next = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        list->slices[i].first = next;
        next += list->slices[i].count;
        list->slices[i].count = 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (slices[i] == UINT32_MAX) continue;
        struct token_slice *slice = &list->slices[slices[i]];
        list->tokens[slice->first + slice->count++] = all[i].token;
    }
}

/** A slice for all tokens that are alike. Most vocabularies have far fewer slices than tokens, so they are found by hash: to sort took longer
 *  than all else. */
static bool group(struct token_slice_list *list, const struct classed *all, uint32_t count, uint32_t words) {
    struct slice_index index = {.shift = 63};
    while (index.shift > 33 && UINT64_C(1) << (64 - index.shift) < 2 * (uint64_t)count) index.shift--;
    index.places = calloc(UINT64_C(1) << (64 - index.shift), sizeof *index.places);
    uint32_t *slices = malloc((count + 1) * sizeof *slices); /* of each token */
    list->slices = malloc((count + 1) * sizeof *list->slices);
    list->tokens = malloc((count + 1) * sizeof *list->tokens);
    bool ok = index.places != NULL && slices != NULL && list->slices != NULL && list->tokens != NULL;
    for (uint32_t i = 0; ok && i < count; i++) {
        bool text = (all[i].classes & SLICE_INVALID) == 0;
        slices[i] = text ? slice_of(list, &index, all[i].classes) : UINT32_MAX;
        if (text) list->slices[slices[i]].count++;
    }
    if (ok) {
        place_tokens(list, all, slices, count);
        struct token_slice *fitting = realloc(list->slices, (list->count + 1) * sizeof *fitting);
        if (fitting != NULL) list->slices = fitting;
    }
    free(index.places);
    free(slices);
    return ok && add_bits(list, words);
}

bool token_slices_init(struct token_slices *slices, const struct token_trie *trie, uint32_t words) {
    uint32_t count = trie->first[trie->count];
    for (uint8_t c = 0; c < 128; c++) slices->ascii[c] = UINT64_C(1) << class_number(c);
    slice_classes *whole = malloc((count + 1) * sizeof *whole), *behind = malloc((count + 1) * sizeof *behind);
    struct slice_node *nodes = malloc((trie->count + 1) * sizeof *nodes);
    struct classed *all = malloc((count + 1) * sizeof *all);
    bool ok = whole != NULL && behind != NULL && nodes != NULL && all != NULL;
    if (ok) {
        classify(trie, slices, whole, behind, nodes);
        for (uint32_t t = 0; t < count; t++) all[t] = (struct classed){whole[t], trie->tokens[t]};
        ok = arrange(trie, nodes, slices) && group(&slices->lists[SLICES_WHOLE], all, count, words);
    }
    if (ok) {
        uint32_t blank = trie->roots[' '], end = trie->roots[' ' + 1], found = 0;
        uint32_t first = blank < end ? trie->first[blank + 1] : 0, last = blank < end ? trie->first[end] : 0;
        for (uint32_t t = first; t < last; t++) all[found++] = (struct classed){behind[t], trie->tokens[t]};
        ok = group(&slices->lists[SLICES_BEHIND_BLANK], all, found, words);
    }
    free(whole);
    free(behind);
    free(nodes);
    free(all);
    return ok;
}

void token_slices_deinit(struct token_slices *slices) {
    for (int kind = 0; kind < SLICE_KINDS; kind++) {
        struct token_slice_list *list = &slices->lists[kind];
        for (uint32_t i = 0; i < list->count; i++) free(list->slices[i].bits);
        free(list->slices);
        free(list->tokens);
    }
    free(slices->nodes);
}

/* ---- masks ---- */

void token_slices_set(const struct token_slices *slices, enum token_slice_kind kind, slice_classes classes,
                      uint32_t words, uint32_t *mask) {
    const struct token_slice_list *list = &slices->lists[kind];
    for (uint32_t i = 0; i < list->count; i++) {
        const struct token_slice *slice = &list->slices[i];
        if ((slice->classes & ~classes) != 0) continue;
        if (slice->bits != NULL)
            mask_or(mask, slice->bits, words);
        else
            for (uint32_t t = 0; t < slice->count; t++) mask_set(mask, list->tokens[slice->first + t]);
    }
}
