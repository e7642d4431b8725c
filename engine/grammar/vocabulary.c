/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/vocabulary.h"

#include "base/text.h"
#include "engine/grammar/json_spelling.h"

#include <stdlib.h>
#include <string.h>

/** Of whole pieces. */
enum entry_kind { ENTRY_COMMON = 1, ENTRY_BLANK = 2, ENTRY_STRUCTURE = 4 };

/* ---- what pieces are in a string ---- */

enum content { CONTENT_INVALID, CONTENT_INSIDE, CONTENT_ENDS };

/** Length of a UTF-8 sequence by its first byte; 0: none begins so. */
static size_t sequence_length(uint8_t byte) {
    if (byte < 0x80) return 1;
    if (byte < 0xc2 || byte > 0xf4) return 0;
    return byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

/** The second byte of a sequence has bounds of its own. */
static bool continues(uint8_t first, size_t index, uint8_t byte) {
    if ((byte & 0xc0) != 0x80) return false;
    if (index != 1) return true;
    switch (first) {
    case 0xe0:
        return byte >= 0xa0;
    case 0xed:
        return byte < 0xa0;
    case 0xf0:
        return byte >= 0x90;
    case 0xf4:
        return byte < 0x90;
    default:
        return true;
    }
}

/** Four hex digits, as far as the text goes: what they may be. Advances; false: there is another byte. */
static bool scan_digits(const struct json_spelling *spelling, struct bytes_view text, size_t *at,
                        struct code_points *out) {
    uint32_t value = 0, rest = 16;
    for (; rest > 0 && *at < text.length; rest -= 4, (*at)++) {
        int digit = json_spelling_digit(spelling, text.data[*at]);
        if (digit < 0) return false;
        value = value << 4 | (uint32_t)digit;
    }
    *out = (struct code_points){value << rest, (value << rest) + (1u << rest) - 1};
    return true;
}

/** The second of a pair, behind the first: what both may be, out of what the first allows. */
static bool scan_second(const struct json_spelling *spelling, struct bytes_view text, size_t *at,
                        struct code_points pair) {
    struct code_points low;
    for (const char *c = "\\u"; *c != '\0'; c++) {
        if (*at == text.length) return true;
        if (text.data[(*at)++] != (uint8_t)*c) return false;
    }
    if (!scan_digits(spelling, text, at, &low)) return false;
    low = code_points_both(low, (struct code_points){0xdc00, 0xdfff});
    if (low.first > low.last) return false;
    return json_spelling_has(spelling,
                             (struct code_points){pair.first + low.first - 0xdc00, pair.first + low.last - 0xdc00});
}

/** \uXXXX and pairs of them, as far as the text goes. Advances; false: invalid. */
static bool scan_unicode_escape(const struct json_spelling *spelling, struct bytes_view text, size_t *at) {
    const struct code_points before = {0, 0xd7ff}, firsts = {0xd800, 0xdbff}, behind = {0xe000, 0xffff};
    struct code_points unit;
    *at += 2;
    if (!scan_digits(spelling, text, at, &unit)) return false;
    if (json_spelling_has(spelling, code_points_both(unit, before)) ||
        json_spelling_has(spelling, code_points_both(unit, behind)))
        return true;
    unit = code_points_both(unit, firsts);
    if (unit.first > unit.last) return false;
    struct code_points pairs = code_points_of_pairs(unit.first, unit.last);
    if (!json_spelling_has(spelling, pairs)) return false;
    return unit.first < unit.last || scan_second(spelling, text, at, pairs);
}

/** What a piece that begins inside a string is; *end: where its quote stands. */
static enum content scan(const struct json_spelling *spelling, struct bytes_view text, size_t from, size_t *end) {
    for (size_t i = from; i < text.length;) {
        uint8_t c = text.data[i];
        if (c == '"') {
            *end = i;
            return CONTENT_ENDS;
        }
        if (c < 0x20) return CONTENT_INVALID;
        if (c != '\\') {
            size_t length = sequence_length(c);
            if (length == 0) return CONTENT_INVALID;
            for (size_t k = 1; k < length && i + k < text.length; k++)
                if (!continues(c, k, text.data[i + k])) return CONTENT_INVALID;
            i += length;
            continue;
        }
        if (i + 1 == text.length) return CONTENT_INSIDE;
        if (text.data[i + 1] == 'u') {
            if (!scan_unicode_escape(spelling, text, &i)) return CONTENT_INVALID;
        } else if (json_spelling_short(spelling, text.data[i + 1]) < 0) {
            return CONTENT_INVALID;
        } else {
            i += 2;
        }
    }
    return CONTENT_INSIDE;
}

/** Bytes of a literal at the front of the text, as far as the text goes; 0: there is none. */
static size_t literal_length(struct bytes_view text) {
    static const char *const LITERALS[] = {"true", "false", "null"};
    for (size_t i = 0; i < sizeof LITERALS / sizeof *LITERALS; i++) {
        size_t length = strlen(LITERALS[i]) < text.length ? strlen(LITERALS[i]) : text.length;
        if (memcmp(LITERALS[i], text.data, length) == 0) return length;
    }
    return 0;
}

/** Nothing in the piece shows that it cannot begin outside a string. */
static bool is_structure(struct bytes_view text) {
    bool inside = false;
    for (size_t i = 0; i < text.length; i++) {
        uint8_t c = text.data[i];
        if (inside) {
            inside = c != '"';
            i += c == '\\';
        } else if (c == '"') {
            inside = true;
        } else if (c == '\0' || strchr(" \t\r\n{}[],:0123456789-+.eE", c) == NULL) {
            size_t length = literal_length((struct bytes_view){text.data + i, text.length - i});
            if (length == 0) return false;
            i += length - 1;
        }
    }
    return true;
}

/** All characters of the piece are common; the last may be unfinished. */
static bool is_common(struct bytes_view text) {
    uint32_t unfinished = 0;
    for (size_t i = 0; i < text.length; i++) {
        uint32_t class = token_class_step(&unfinished, text.data[i], i + 1 == text.length);
        if (class & (CLASS_ODD | CLASS_NEVER)) return false;
    }
    return true;
}

static bool is_blank(struct bytes_view text) {
    for (size_t i = 0; i < text.length; i++)
        if (text.data[i] == '\0' || strchr(" \t\r\n", text.data[i]) == NULL) return false;
    return true;
}

/** Each spelling's content of a piece that begins inside a string. */
static void scan_all(const struct json_spelling spellings[SPELLINGS], struct bytes_view text, size_t from,
                     uint8_t content[SPELLINGS], size_t *end) {
    *end = 0;
    for (int s = 0; s < SPELLINGS; s++)
        content[s] = s == 0 || memchr(text.data, '\\', text.length) != NULL
                         ? (uint8_t)scan(&spellings[s], text, from, end)
                         : content[0];
}

static struct trie_entry entry_of(const struct json_spelling spellings[SPELLINGS], struct bytes_view text,
                                  int32_t token) {
    struct trie_entry entry = {
        .text = text,
        .token = token,
    };
    size_t end;
    scan_all(spellings, text, 0, entry.content, &end);
    entry.end = (uint8_t)end;
    if (text.length <= COMMON_LENGTH && is_common(text)) entry.kind |= ENTRY_COMMON;
    if (is_blank(text)) entry.kind |= ENTRY_BLANK;
    if (is_structure(text)) entry.kind |= ENTRY_STRUCTURE;
    return entry;
}

/* ---- the vocabulary ---- */

static void string_ends_deinit(struct string_ends *ends) {
    token_trie_deinit(&ends->rests);
    free(ends->whole);
}

/** Tokens that end the string: entries whose text was cut to the rest behind the quote. Takes nothing over. */
static bool add_ends(struct string_ends *ends, const struct trie_entry *entries, size_t count) {
    struct trie_entry *rests = malloc((count + 1) * sizeof *rests);
    ends->whole = malloc((count + 1) * sizeof *ends->whole);
    size_t rest_count = 0;
    bool ok = rests != NULL && ends->whole != NULL;
    for (size_t i = 0; ok && i < count; i++) {
        if (entries[i].text.length == 0)
            ends->whole[ends->whole_count++] = entries[i].token;
        else
            rests[rest_count++] = entries[i];
    }
    ok = ok && token_trie_init(&ends->rests, rests, rest_count);
    free(rests);
    return ok;
}

/** Every node of the rests by its number, and which of them a token has. */
static bool number_rests(struct grammar_vocabulary *v, struct string_tokens *strings) {
    const struct token_trie *rests = &strings->plain.rests;
    strings->rest_of = calloc(v->size, sizeof *strings->rest_of);
    strings->rest_nodes = *rests;
    strings->rest_nodes.first = malloc((rests->count + 1) * sizeof *rests->first);
    strings->rest_nodes.tokens = malloc((rests->count + 1) * sizeof *rests->tokens);
    strings->quoted = calloc((rests->count + 32) / 32, sizeof *strings->quoted);
    if (strings->rest_of == NULL || strings->rest_nodes.first == NULL || strings->rest_nodes.tokens == NULL ||
        strings->quoted == NULL)
        return false;
    for (uint32_t n = 0; n < rests->count; n++) {
        uint32_t end = rests->bytes[n] == '"' ? n + rests->sizes[n] : n;
        for (uint32_t below = n; below < end; below++) strings->quoted[(below + 1) / 32] |= 1u << (below + 1) % 32;
    }
    for (uint32_t n = 0; n <= rests->count; n++) {
        strings->rest_nodes.first[n] = n;
        strings->rest_nodes.tokens[n] = (int32_t)n + 1;
    }
    for (uint32_t n = 0; n < rests->count; n++)
        for (uint32_t t = rests->first[n]; t < rests->first[n + 1]; t++) strings->rest_of[rests->tokens[t]] = n + 1;
    return true;
}

static struct trie_entry behind_quote(const struct trie_entry *entry) {
    size_t behind = entry->end + 1u;
    return (struct trie_entry){.text = {entry->text.data + behind, entry->text.length - behind}, .token = entry->token};
}

static bool has_hex_escape(struct bytes_view text, size_t end) {
    for (size_t i = 0; i + 1 < end; i++)
        if (text.data[i] == '\\' && text.data[i + 1] == 'u') return true;
    return false;
}

/** Tokens that go on, and those that end the string behind an escape, as one spelling has them. */
static bool add_spelled(struct grammar_vocabulary *v, struct spelled_tokens *spelled, int spelling,
                        const struct trie_entry *entries, size_t count) {
    struct trie_entry *rests = malloc((count + 1) * sizeof *rests), *whole = malloc((count + 1) * sizeof *whole);
    size_t used = 0;
    spelled->inside = calloc(v->words, sizeof *spelled->inside);
    bool ok = rests != NULL && whole != NULL && spelled->inside != NULL;
    for (size_t i = 0; ok && i < count; i++) {
        struct bytes_view text = entries[i].text;
        size_t end = entries[i].end;
        if (entries[i].content[spelling] == CONTENT_INSIDE) {
            mask_set(spelled->inside, entries[i].token);
            if (text.length > v->inside_longest) v->inside_longest = (uint32_t)text.length;
        } else if (entries[i].content[spelling] == CONTENT_ENDS && memchr(text.data, '\\', end) != NULL) {
            spelled->escaped_hex |= has_hex_escape(text, end);
            whole[used] = entries[i];
            rests[used++] = behind_quote(&entries[i]);
        }
    }
    ok = ok && add_ends(&spelled->escaped, rests, used) && token_trie_init(&spelled->escapes, whole, used);
    free(rests);
    free(whole);
    return ok;
}

/** Tokens that begin inside a string: the content of the entries is that. */
static bool add_strings(struct grammar_vocabulary *v, struct string_tokens *strings, const struct trie_entry *entries,
                        size_t count) {
    struct trie_entry *rests = malloc((count + 1) * sizeof *rests), *whole = malloc((count + 1) * sizeof *whole);
    size_t used = 0;
    bool ok = rests != NULL && whole != NULL;
    for (size_t i = 0; ok && i < count; i++) {
        if (entries[i].content[0] != CONTENT_ENDS || memchr(entries[i].text.data, '\\', entries[i].end) != NULL)
            continue;
        whole[used] = entries[i];
        rests[used++] = behind_quote(&entries[i]);
    }
    ok = ok && add_ends(&strings->plain, rests, used) && token_trie_init(&strings->whole, whole, used) &&
         number_rests(v, strings);
    for (int s = 0; ok && s < SPELLINGS; s++) ok = add_spelled(v, &strings->spelled[s], s, entries, count);
    free(rests);
    free(whole);
    return ok;
}

/** Tokens that begin with the quote that begins a string. */
static bool add_begun_strings(struct grammar_vocabulary *v, const struct json_spelling spellings[SPELLINGS],
                              const struct trie_entry *entries, size_t count) {
    struct trie_entry *begun = malloc((count + 1) * sizeof *begun);
    size_t used = 0;
    for (size_t i = 0; begun != NULL && i < count; i++) {
        if (entries[i].key >> 56 != '"') continue;
        size_t end;
        begun[used] = entries[i];
        scan_all(spellings, begun[used].text, 1, begun[used].content, &end);
        begun[used++].end = (uint8_t)end;
    }
    bool ok = begun != NULL && add_strings(v, &v->strings[1], begun, used);
    free(begun);
    return ok;
}

static bool add_common(struct grammar_vocabulary *v, const struct trie_entry *entries, size_t count) {
    struct trie_entry *uncommon = malloc((count + 1) * sizeof *uncommon);
    size_t uncommon_count = 0;
    v->common = calloc(v->words, sizeof *v->common);
    v->common_whole = calloc(v->words, sizeof *v->common_whole);
    bool ok = uncommon != NULL && v->common != NULL && v->common_whole != NULL;
    for (size_t i = 0; ok && i < count; i++) {
        if (entries[i].kind & ENTRY_COMMON) {
            struct bytes_view text = entries[i].text;
            mask_set(v->common, entries[i].token);
            if (text_complete_prefix(text.data, text.length) == text.length)
                mask_set(v->common_whole, entries[i].token);
        } else {
            uncommon[uncommon_count++] = entries[i];
        }
    }
    ok = ok && token_trie_init(&v->uncommon, uncommon, uncommon_count) && token_trie_classify(&v->uncommon);
    free(uncommon);
    return ok;
}

static int compare_blanks(const void *a, const void *b) {
    const struct blank_token *x = a, *y = b;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    return (x->token > y->token) - (x->token < y->token);
}

static bool add_structure(struct grammar_vocabulary *v, const struct trie_entry *entries, size_t count) {
    struct trie_entry *chosen = malloc((count + 1) * sizeof *chosen), *blank = malloc((count + 1) * sizeof *blank);
    v->blanks = malloc((count + 1) * sizeof *v->blanks);
    size_t chosen_count = 0;
    bool ok = chosen != NULL && blank != NULL && v->blanks != NULL;
    for (size_t i = 0; ok && i < count; i++) {
        struct bytes_view text = entries[i].text;
        if (entries[i].kind & ENTRY_BLANK) {
            blank[v->blank_count] = entries[i];
            v->blanks[v->blank_count++] =
                (struct blank_token){entries[i].token, (uint32_t)text.length, text.data[0] == ' '};
        } else if (entries[i].kind & ENTRY_STRUCTURE) {
            chosen[chosen_count++] = entries[i];
        }
    }
    ok = ok && token_trie_init(&v->structure, chosen, chosen_count) &&
         token_trie_init(&v->blank_trie, blank, v->blank_count);
    if (ok) qsort(v->blanks, v->blank_count, sizeof *v->blanks, compare_blanks);
    free(chosen);
    free(blank);
    return ok;
}

/** The first code point that has a byte which no token is. */
static uint32_t first_unspelled(const bool tokens[256]) {
    static const struct {
        uint8_t first, last; /* bytes */
        uint32_t code_point; /* the first that has one of them */
    } BYTES[] = {{' ', '~', 0},         {0x7f, 0x7f, 0x7f},    {0x80, 0xbf, 0x80},
                 {0xc2, 0xef, 0x80},    {0xf0, 0xf0, 0x10000}, {0xf1, 0xf1, 0x40000},
                 {0xf2, 0xf2, 0x80000}, {0xf3, 0xf3, 0xc0000}, {0xf4, 0xf4, 0x100000}};
    for (size_t i = 0; i < sizeof BYTES / sizeof *BYTES; i++)
        for (uint32_t byte = BYTES[i].first; byte <= BYTES[i].last; byte++)
            if (!tokens[byte]) return BYTES[i].code_point;
    return CODE_POINTS_COUNT;
}

/** The tokens that a grammar may admit, of the vocabulary's size at most. */
static size_t collect(struct grammar_vocabulary *v, struct trie_entry *entries,
                      struct json_spelling spellings[SPELLINGS]) {
    bool bytes[256] = {false};
    size_t count = 0;
    for (int32_t id = 0; id < (int32_t)v->size; id++) {
        struct bytes_view piece = tokenizer_piece(v->tokenizer, id);
        if (piece.length == 1 && !tokenizer_is_end(v->tokenizer, id) && !tokenizer_is_control(v->tokenizer, id))
            bytes[piece.data[0]] = true;
    }
    v->unspelled = first_unspelled(bytes);
    for (int s = 0; s < SPELLINGS; s++) spellings[s] = json_spelling_make((enum grammar_spelling)s, v->unspelled);
    for (int32_t id = 0; id < (int32_t)v->size; id++) {
        struct bytes_view piece = tokenizer_piece(v->tokenizer, id);
        if (tokenizer_is_end(v->tokenizer, id))
            v->end_tokens[v->end_count++] = id;
        else if (!tokenizer_is_control(v->tokenizer, id) && piece.length > 0 && piece.length <= TRIE_DEPTH_MAX)
            entries[count++] = entry_of(spellings, piece, id);
    }
    return count;
}

static bool find_places(struct grammar_vocabulary *v) {
    v->places = malloc((v->size + 1) * sizeof *v->places);
    if (v->places == NULL) return false;
    memset(v->places, 0xff, v->size * sizeof *v->places);
    for (uint32_t i = 0; i < v->trie.first[v->trie.count]; i++) v->places[v->trie.tokens[i]] = i;
    return true;
}

enum status grammar_vocabulary_create(const struct tokenizer *tokenizer, struct grammar_vocabulary **out,
                                      struct error *err) {
    struct grammar_vocabulary *v = calloc(1, sizeof *v);
    uint32_t size = (uint32_t)tokenizer_vocabulary(tokenizer);
    struct trie_entry *entries = malloc((size + 1) * sizeof *entries);
    struct json_spelling spellings[SPELLINGS];
    size_t count = 0;
    bool ok = v != NULL && entries != NULL;
    if (ok) {
        v->tokenizer = tokenizer;
        v->size = size;
        v->words = (size + 31) / 32;
        v->end_tokens = malloc((size + 1) * sizeof *v->end_tokens);
        ok = v->end_tokens != NULL;
    }
    if (ok) count = collect(v, entries, spellings);
    ok = ok && token_trie_init(&v->trie, entries, count) && token_trie_classify(&v->trie) && find_places(v) &&
         token_slices_init(&v->slices, &v->trie, v->words) && add_common(v, entries, count) &&
         add_structure(v, entries, count) && add_strings(v, &v->strings[0], entries, count) &&
         add_begun_strings(v, spellings, entries, count);
    free(entries);
    if (!ok) {
        grammar_vocabulary_destroy(v);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for the vocabulary's trie");
    }
    *out = v;
    return STATUS_OK;
}

void grammar_vocabulary_destroy(struct grammar_vocabulary *v) {
    if (v == NULL) return;
    token_trie_deinit(&v->trie);
    token_slices_deinit(&v->slices);
    token_trie_deinit(&v->uncommon);
    token_trie_deinit(&v->structure);
    token_trie_deinit(&v->blank_trie);
    free(v->blanks);
    for (int i = 0; i < 2; i++) {
        string_ends_deinit(&v->strings[i].plain);
        for (int s = 0; s < SPELLINGS; s++) {
            free(v->strings[i].spelled[s].inside);
            string_ends_deinit(&v->strings[i].spelled[s].escaped);
            token_trie_deinit(&v->strings[i].spelled[s].escapes);
        }
        token_trie_deinit(&v->strings[i].whole);
        free(v->strings[i].rest_nodes.first);
        free(v->strings[i].rest_nodes.tokens);
        free(v->strings[i].rest_of);
        free(v->strings[i].quoted);
    }
    free(v->common);
    free(v->common_whole);
    free(v->places);
    free(v->end_tokens);
    free(v);
}

size_t grammar_mask_words(const struct grammar_vocabulary *v) {
    return v->words;
}
