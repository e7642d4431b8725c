/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * How many tokens a text may become, out of a tokenizer's settings alone. The argument, stage by stage (encode.c has them):
 *
 *     A size is counted in bytes, but a U+2581 counts as one where it is a symbol of the vocabulary: then no stage behind cuts it.
 *     Model     a piece of size s gives at most s tokens: both begin with symbols of at least one byte, join some of them, and fall back to bytes
 *               at worst. Splits cut the text and drop some of it.
 *     Prefix    adds a blank to what stands between added tokens, and makes marks of blanks.
 *     Added     tokens found in a text take at least the shortest name away from it, and give one token and the prefix of what follows them.
 *     Normal    every step makes size s into at most factor * s + each. Factors multiply.
 *     Added     the same once more, of names in raw text.
 *
 * Texts and names are valid UTF-8, so that every cut is between characters.
 */
#include "base/text.h"
#include "engine/tokenizer/tokenizer_internal.h"

#include <string.h>

static const char mark[] = "\xE2\x96\x81";

enum {
    /* Unicode Standard Annex 15, table of maximum expansion factors, UTF-8: U+0390 and Hangul, U+1D160; U+FDFA. */
    CANONICAL_FACTOR = 3,
    COMPATIBLE_FACTOR = 11,
    LOWERCASE_FACTOR = 2, /* two bytes become three: U+0130, U+023A, U+023E; no character grows by more */
    LARGEST = 1 << 20,    /* no bound above this is of use to anybody */
};

struct growth {
    int64_t factor;
    int64_t each; /* in front of every text, or behind it */
    int64_t once; /* only in front of the very first */
};

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static int64_t ratio(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/** The size of U+2581. */
static int64_t mark_size(const struct tokenizer *tokenizer) {
    struct bytes_view text = bytes_view_string(mark);
    size_t length;
    bool symbol = tokenizer->model == MODEL_UNIGRAM
                      ? trie_longest(&tokenizer->unigram.pieces, text, &length) >= 0 && length == text.length
                      : tokenizer->bpe.by_characters && bpe_find_whole(&tokenizer->bpe, text) >= 0;
    return symbol ? 1 : 3;
}

static int64_t size_of(struct bytes_view text, int64_t of_mark) {
    int64_t size = (int64_t)text.length;
    for (size_t at = 0; at < text.length;) {
        const uint8_t *found = memmem(text.data + at, text.length - at, mark, 3);
        if (found == NULL) break;
        size -= 3 - of_mark;
        at = (size_t)(found - text.data) + 3;
    }
    return size;
}

static bool grow(struct growth *growth, int64_t factor, int64_t each, int64_t once) {
    if (factor > LARGEST || each > LARGEST) return false;
    growth->factor *= factor;
    growth->each = growth->each * factor + each;
    growth->once = growth->once * factor + once;
    return growth->factor <= LARGEST && growth->each <= LARGEST && growth->once <= LARGEST;
}

/* ---- the normaliser ------------------------------------------------------------------------------------------------ */

static bool grow_by_strings(const struct normalizer_step *step, int64_t of_mark, struct growth *growth) {
    struct bytes_view from = {step->from, step->from_length}, to = {step->to, step->to_length};
    if (!text_is_utf8(from.data, from.length) || !text_is_utf8(to.data, to.length)) return false;
    int64_t size = size_of(to, of_mark);
    if (step->kind == NORMALIZE_PREPEND) return grow(growth, 1, size, 0);
    return from.length == 0 || grow(growth, larger(1, ratio(size, size_of(from, of_mark))), 0, 0);
}

/** Without a table of replacements only blanks change. llama.cpp's reading has one in front of every word, and no other: of the first word it is new. */
static bool grow_by_sentencepiece(const struct tokenizer *tokenizer, int64_t of_mark, struct growth *growth) {
    const struct normalizer *normalizer = &tokenizer->normalizer;
    int64_t blank = normalizer->escape_whitespaces ? of_mark : 1, added = normalizer->add_dummy_prefix ? blank : 0;
    if (normalizer->charsmap != NULL) return false;
    if (normalizer->merge_spaces_like_llama && normalizer->remove_extra_whitespaces) added += blank;
    return grow(growth, blank, tokenizer->prefix_first_only ? 0 : added, tokenizer->prefix_first_only ? added : 0);
}

static bool grow_by_step(const struct tokenizer *tokenizer, const struct normalizer_step *step, int64_t of_mark,
                         struct growth *growth) {
    switch (step->kind) {
    case NORMALIZE_NFC: /* composing makes what NFD gives no longer */
    case NORMALIZE_NFD:
        return grow(growth, CANONICAL_FACTOR, 0, 0);
    case NORMALIZE_NFKC:
    case NORMALIZE_NFKD:
        return grow(growth, COMPATIBLE_FACTOR, 0, 0);
    case NORMALIZE_LOWERCASE:
        return grow(growth, LOWERCASE_FACTOR, 0, 0);
    case NORMALIZE_STRIP_LEFT:
    case NORMALIZE_STRIP_RIGHT:
        return true;
    case NORMALIZE_PREPEND:
    case NORMALIZE_REPLACE:
        return grow_by_strings(step, of_mark, growth);
    case NORMALIZE_SENTENCEPIECE:
        return grow_by_sentencepiece(tokenizer, of_mark, growth);
    }
    return false;
}

/* ---- added tokens -------------------------------------------------------------------------------------------------- */

static bool cuts_are_between_characters(const struct tokenizer *tokenizer) {
    for (int32_t id = 0; id < tokenizer->count; id++) {
        enum token_type type = tokenizer->tokens[id].type;
        if (type != TOKEN_USER_DEFINED && type != TOKEN_CONTROL && type != TOKEN_UNKNOWN) continue;
        struct bytes_view name = token_name(tokenizer, id);
        if (!text_is_utf8(name.data, name.length)) return false;
    }
    for (int i = 0; i < tokenizer->split_count; i++) {
        if (!text_is_utf8(tokenizer->splits[i].literal, tokenizer->splits[i].literal_length)) return false;
    }
    return true;
}

/** The size of the shortest name, or 2 when it is larger. */
static int64_t shortest_name(const struct trie *trie) {
    size_t length;
    for (int byte = 0; byte < 256; byte++) {
        if (trie->root[byte] >= 0 && trie->values[trie->root[byte]] >= 0) return 1;
    }
    return trie_longest(trie, bytes_view_string(mark), &length) >= 0 ? 1 : 2;
}

/** What stands between names gives at most `each + factor * size` tokens: with a name and what follows it for each of `trie`. */
static int64_t factor_with_names(const struct trie *trie, int64_t each, int64_t factor) {
    return trie->count == 0 ? factor : larger(factor, ratio(1 + each, shortest_name(trie)));
}

bool tokenizer_bound(const struct tokenizer *tokenizer, struct tokenizer_bound *out) {
    struct growth growth = {.factor = 1};
    int64_t of_mark = mark_size(tokenizer), blank = tokenizer->spaces_to_marks ? of_mark : 1;
    if (!cuts_are_between_characters(tokenizer)) return false;
    for (int i = 0; i < tokenizer->normalizer.step_count; i++) {
        if (!grow_by_step(tokenizer, &tokenizer->normalizer.steps[i], of_mark, &growth)) return false;
    }
    int64_t each = tokenizer->prefix == PREFIX_SPACE_EACH ? blank : 0,
            once = tokenizer->prefix == PREFIX_SPACE_FIRST ? blank : 0;
    if (!grow(&growth, factor_with_names(&tokenizer->normalized_all, each, blank), each, once)) return false;
    out->text = growth.each + growth.once;
    out->byte = factor_with_names(&tokenizer->all, growth.each, growth.factor);
    return out->byte <= LARGEST;
}
