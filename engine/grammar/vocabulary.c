/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/vocabulary.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/* ---- tries ---- */

/** A piece, or a part of one, and its token. */
struct entry {
    struct bytes_view text;
    int32_t token;
    uint64_t key; /* its first eight bytes, most significant first: what sorting looks at first */
    uint8_t kind; /* enum entry_kind of the whole piece, found out in the order of memory */
    uint8_t end;  /* enum content where it begins inside a string, and where its quote stands */
    uint8_t content;
};
enum entry_kind { ENTRY_COMMON = 1, ENTRY_BLANK = 2, ENTRY_STRUCTURE = 4 };

static uint64_t key_of(struct bytes_view text) {
    uint64_t key = 0;
    for (size_t i = 0; i < 8; i++) key = key << 8 | (i < text.length ? text.data[i] : 0);
    return key;
}

static int compare_entries(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    int order = bytes_view_compare(x->text, y->text);
    return order != 0 ? order : (x->token > y->token) - (x->token < y->token);
}

static void trie_deinit(struct token_trie *trie) {
    free(trie->bytes);
    free(trie->depths);
    free(trie->sizes);
    free(trie->first);
    free(trie->tokens);
    free(trie->classes);
    free(trie->heights);
    *trie = (struct token_trie){0};
}

static size_t common(const struct entry *a, const struct entry *b) {
    size_t least = a->text.length < b->text.length ? a->text.length : b->text.length, length = 8;
    if (a->key != b->key) length = (size_t)__builtin_clzll(a->key ^ b->key) / 8;
    if (length >= least) return least;
    while (a->key == b->key && length < least && a->text.data[length] == b->text.data[length]) length++;
    return length;
}

static bool is_sorted(const struct entry *entries, size_t count) {
    for (size_t i = 1; i < count; i++)
        if (compare_entries(&entries[i - 1], &entries[i]) > 0) return false;
    return true;
}

/** By the first two bytes into places, then each place by itself. */
static bool sort_entries(struct entry *entries, size_t count) {
    enum { PLACES = 1 << 16 };
    for (size_t i = 0; i < count; i++) entries[i].key = key_of(entries[i].text);
    if (is_sorted(entries, count)) return true;
    struct entry *sorted = malloc(count * sizeof *sorted);
    uint32_t *starts = calloc(PLACES + 1, sizeof *starts);
    bool ok = sorted != NULL && starts != NULL;
    for (size_t i = 0; ok && i < count; i++) starts[(entries[i].key >> 48) + 1]++;
    for (uint32_t place = 0; ok && place < PLACES; place++) starts[place + 1] += starts[place];
    for (size_t i = 0; ok && i < count; i++) sorted[starts[entries[i].key >> 48]++] = entries[i];
    for (uint32_t place = 0, first = 0; ok && place < PLACES; first = starts[place++]) /* starts are now ends */
        if (starts[place] - first > 1) qsort(sorted + first, starts[place] - first, sizeof *sorted, compare_entries);
    if (ok) memcpy(entries, sorted, count * sizeof *entries);
    free(sorted);
    free(starts);
    return ok;
}

/** Sorts the entries. Texts are not empty. */
static bool trie_init(struct token_trie *trie, struct entry *entries, size_t count) {
    *trie = (struct token_trie){0};
    if (!sort_entries(entries, count)) return false;
    size_t nodes = 0, depth_now = 0;
    for (size_t i = 0; i < count; i++)
        nodes += entries[i].text.length - (i == 0 ? 0 : common(&entries[i - 1], &entries[i]));
    *trie = (struct token_trie){
        .bytes = malloc(nodes + 1),
        .depths = malloc(nodes + 1),
        .sizes = malloc((nodes + 1) * sizeof *trie->sizes),
        .first = malloc((nodes + 1) * sizeof *trie->first),
        .tokens = malloc((count + 1) * sizeof *trie->tokens),
    };
    if (trie->bytes == NULL || trie->depths == NULL || trie->sizes == NULL || trie->first == NULL ||
        trie->tokens == NULL)
        return false;
    uint32_t open[TRIE_DEPTH_MAX + 1], n = 0, token_count = 0;
    for (size_t i = 0; i < count; i++) {
        size_t shared = i == 0 ? 0 : common(&entries[i - 1], &entries[i]);
        while (depth_now > shared) {
            depth_now--;
            trie->sizes[open[depth_now]] = n - open[depth_now];
        }
        for (; depth_now < entries[i].text.length; depth_now++, n++) {
            trie->bytes[n] =
                depth_now < 8 ? (uint8_t)(entries[i].key >> (56 - 8 * depth_now)) : entries[i].text.data[depth_now];
            trie->depths[n] = (uint8_t)depth_now;
            trie->first[n] = token_count;
            open[depth_now] = n;
        }
        trie->tokens[token_count++] = entries[i].token; /* equal pieces stand next to each other */
    }
    while (depth_now > 0) {
        depth_now--;
        trie->sizes[open[depth_now]] = n - open[depth_now];
    }
    /* a node's tokens are those pushed while it was the newest: from first[n] to the next node's */
    trie->first[n] = token_count;
    trie->count = n;
    uint32_t byte = 0;
    for (uint32_t i = 0; i < n; i += trie->sizes[i])
        while (byte <= trie->bytes[i]) trie->roots[byte++] = i;
    while (byte <= 256) trie->roots[byte++] = n;
    return true;
}

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

static bool is_hex(uint8_t c) {
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/** \uXXXX and pairs of them, as far as the text goes. Advances; false: invalid. */
static bool scan_unicode_escape(struct bytes_view text, size_t *at) {
    uint32_t value = 0;
    size_t i = *at + 2, digits = 0; /* behind \u */
    for (; digits < 4 && i < text.length; digits++, i++) {
        uint8_t c = text.data[i];
        if (!is_hex(c)) return false;
        value = value << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
        if (digits == 1 && value >= 0xdc && value <= 0xdf) return false; /* the second of a pair alone */
    }
    *at = i;
    if (digits < 4 || value < 0xd800 || value > 0xdbff) return true;
    static const char SECOND[] = "\\ud";
    for (size_t k = 0; k < 6 && i < text.length; k++, i++) {
        uint8_t c = text.data[i], low = c | 0x20;
        bool ok = k < 2 ? c == (uint8_t)SECOND[k] : k == 2 ? low == 'd' : k == 3 ? low >= 'c' && low <= 'f' : is_hex(c);
        if (!ok) return false;
    }
    *at = i;
    return true;
}

/** What a piece that begins inside a string is; *end: where its quote stands. */
static enum content scan(struct bytes_view text, size_t from, size_t *end) {
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
            if (!scan_unicode_escape(text, &i)) return CONTENT_INVALID;
        } else if (strchr("\"\\/bfnrt", text.data[i + 1]) == NULL || text.data[i + 1] == '\0') {
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

static struct entry entry_of(struct bytes_view text, int32_t token) {
    struct entry entry = {.text = text, .token = token, .key = key_of(text)};
    size_t end = 0;
    entry.content = (uint8_t)scan(text, 0, &end);
    entry.end = (uint8_t)end;
    if (text.length <= COMMON_LENGTH && is_common(text)) entry.kind |= ENTRY_COMMON;
    if (is_blank(text)) entry.kind |= ENTRY_BLANK;
    if (is_structure(text)) entry.kind |= ENTRY_STRUCTURE;
    return entry;
}

/* ---- the vocabulary ---- */

static void string_ends_deinit(struct string_ends *ends) {
    trie_deinit(&ends->rests);
    free(ends->whole);
}

/** Tokens that end the string: entries whose text was cut to the rest behind the quote. Takes nothing over. */
static bool add_ends(struct string_ends *ends, const struct entry *entries, size_t count) {
    struct entry *rests = malloc((count + 1) * sizeof *rests);
    ends->whole = malloc((count + 1) * sizeof *ends->whole);
    size_t rest_count = 0;
    bool ok = rests != NULL && ends->whole != NULL;
    for (size_t i = 0; ok && i < count; i++) {
        if (entries[i].text.length == 0)
            ends->whole[ends->whole_count++] = entries[i].token;
        else
            rests[rest_count++] = entries[i];
    }
    ok = ok && trie_init(&ends->rests, rests, rest_count);
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

static bool has_hex_escape(struct bytes_view text, size_t end) {
    for (size_t i = 0; i + 1 < end; i++)
        if (text.data[i] == '\\' && text.data[i + 1] == 'u') return true;
    return false;
}

static bool add_strings(struct grammar_vocabulary *v, struct string_tokens *strings, size_t from,
                        const struct entry *entries, size_t count) {
    struct entry *plain = malloc((count + 1) * sizeof *plain), *escaped = malloc((count + 1) * sizeof *escaped);
    struct entry *whole = malloc((count + 1) * sizeof *whole), *ending = malloc((count + 1) * sizeof *ending);
    strings->inside = calloc(v->words, sizeof *strings->inside);
    size_t plain_count = 0, escaped_count = 0;
    bool ok = plain != NULL && escaped != NULL && whole != NULL && ending != NULL && strings->inside != NULL;
    for (size_t i = 0; ok && i < count; i++) {
        struct bytes_view text = entries[i].text;
        size_t end = entries[i].end;
        if (from == 1 && entries[i].key >> 56 != '"') continue;
        enum content content = from == 0 ? (enum content)entries[i].content : scan(text, from, &end);
        if (content == CONTENT_INSIDE) {
            mask_set(strings->inside, entries[i].token);
            if (text.length > v->inside_longest) v->inside_longest = (uint32_t)text.length;
        }
        if (content != CONTENT_ENDS) continue;
        struct entry rest = {.text = {text.data + end + 1, text.length - end - 1}, .token = entries[i].token};
        if (memchr(text.data, '\\', end) == NULL) {
            ending[plain_count] = entries[i];
            plain[plain_count++] = rest;
        } else {
            strings->escaped_hex |= has_hex_escape(text, end);
            whole[escaped_count] = entries[i];
            escaped[escaped_count++] = rest;
        }
    }
    ok = ok && add_ends(&strings->plain, plain, plain_count) && add_ends(&strings->escaped, escaped, escaped_count) &&
         trie_init(&strings->escapes, whole, escaped_count) && trie_init(&strings->whole, ending, plain_count) &&
         number_rests(v, strings);
    free(ending);
    free(plain);
    free(escaped);
    free(whole);
    return ok;
}

static bool add_common(struct grammar_vocabulary *v, const struct entry *entries, size_t count) {
    struct entry *uncommon = malloc((count + 1) * sizeof *uncommon);
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
    ok = ok && trie_init(&v->uncommon, uncommon, uncommon_count) && token_trie_classify(&v->uncommon);
    free(uncommon);
    return ok;
}

static int compare_blanks(const void *a, const void *b) {
    const struct blank_token *x = a, *y = b;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    return (x->token > y->token) - (x->token < y->token);
}

static bool add_structure(struct grammar_vocabulary *v, const struct entry *entries, size_t count) {
    struct entry *chosen = malloc((count + 1) * sizeof *chosen), *blank = malloc((count + 1) * sizeof *blank);
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
    ok = ok && trie_init(&v->structure, chosen, chosen_count) && trie_init(&v->blank_trie, blank, v->blank_count);
    if (ok) qsort(v->blanks, v->blank_count, sizeof *v->blanks, compare_blanks);
    free(chosen);
    free(blank);
    return ok;
}

enum status grammar_vocabulary_create(const struct tokenizer *tokenizer, struct grammar_vocabulary **out,
                                      struct error *err) {
    struct grammar_vocabulary *v = calloc(1, sizeof *v);
    uint32_t size = (uint32_t)tokenizer_vocabulary(tokenizer);
    struct entry *entries = malloc((size + 1) * sizeof *entries);
    size_t count = 0;
    bool ok = v != NULL && entries != NULL;
    if (ok) {
        v->tokenizer = tokenizer;
        v->size = size;
        v->words = (size + 31) / 32;
        v->end_tokens = malloc((size + 1) * sizeof *v->end_tokens);
        ok = v->end_tokens != NULL;
    }
    for (int32_t id = 0; ok && id < (int32_t)size; id++) {
        struct bytes_view piece = tokenizer_piece(tokenizer, id);
        if (tokenizer_is_end(tokenizer, id))
            v->end_tokens[v->end_count++] = id;
        else if (!tokenizer_is_control(tokenizer, id) && piece.length > 0 && piece.length <= TRIE_DEPTH_MAX)
            entries[count++] = entry_of(piece, id);
    }
    ok = ok && trie_init(&v->trie, entries, count) && token_trie_classify(&v->trie) &&
         token_slices_init(&v->slices, &v->trie, v->words) && add_common(v, entries, count) &&
         add_structure(v, entries, count) && add_strings(v, &v->strings[0], 0, entries, count) &&
         add_strings(v, &v->strings[1], 1, entries, count);
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
    trie_deinit(&v->trie);
    token_slices_deinit(&v->slices);
    trie_deinit(&v->uncommon);
    trie_deinit(&v->structure);
    trie_deinit(&v->blank_trie);
    free(v->blanks);
    for (int i = 0; i < 2; i++) {
        string_ends_deinit(&v->strings[i].plain);
        string_ends_deinit(&v->strings[i].escaped);
        trie_deinit(&v->strings[i].escapes);
        trie_deinit(&v->strings[i].whole);
        free(v->strings[i].rest_nodes.first);
        free(v->strings[i].rest_nodes.tokens);
        free(v->strings[i].rest_of);
        free(v->strings[i].quoted);
        free(v->strings[i].inside);
    }
    free(v->common);
    free(v->common_whole);
    free(v->end_tokens);
    free(v);
}

size_t grammar_mask_words(const struct grammar_vocabulary *v) {
    return v->words;
}
