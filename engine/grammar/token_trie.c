/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/token_trie.h"

#include <stdlib.h>
#include <string.h>

static uint64_t key_of(struct bytes_view text) {
    uint64_t key = 0;
    for (size_t i = 0; i < 8; i++) key = key << 8 | (i < text.length ? text.data[i] : 0);
    return key;
}

static int compare_entries(const void *a, const void *b) {
    const struct trie_entry *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    int order = bytes_view_compare(x->text, y->text);
    return order != 0 ? order : (x->token > y->token) - (x->token < y->token);
}

void token_trie_deinit(struct token_trie *trie) {
    free(trie->bytes);
    free(trie->depths);
    free(trie->sizes);
    free(trie->first);
    free(trie->tokens);
    free(trie->classes);
    free(trie->heights);
    *trie = (struct token_trie){0};
}

static size_t common(const struct trie_entry *a, const struct trie_entry *b) {
    size_t least = a->text.length < b->text.length ? a->text.length : b->text.length, length = 8;
    if (a->key != b->key) length = (size_t)__builtin_clzll(a->key ^ b->key) / 8;
    if (length >= least) return least;
    while (a->key == b->key && length < least && a->text.data[length] == b->text.data[length]) length++;
    return length;
}

static bool is_sorted(const struct trie_entry *entries, size_t count) {
    for (size_t i = 1; i < count; i++)
        if (compare_entries(&entries[i - 1], &entries[i]) > 0) return false;
    return true;
}

/** Many: by the first two bytes into places, then each place by itself. */
static bool sort_entries(struct trie_entry *entries, size_t count) {
    enum { PLACES = 1 << 16, FEW = 1 << 12 };
    for (size_t i = 0; i < count; i++) entries[i].key = key_of(entries[i].text);
    if (is_sorted(entries, count)) return true;
    if (count < FEW) {
        qsort(entries, count, sizeof *entries, compare_entries);
        return true;
    }
    struct trie_entry *sorted = malloc(count * sizeof *sorted);
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

bool token_trie_init(struct token_trie *trie, struct trie_entry *entries, size_t count) {
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
