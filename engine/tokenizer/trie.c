/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/trie.h"

#include <stdlib.h>
#include <string.h>

enum { NODES_MAX = 1 << 24 };

enum status trie_init(struct trie *trie, size_t bytes) {
    size_t slots = 16;
    *trie = (struct trie){0};
    memset(trie->root, -1, sizeof trie->root);
    if (bytes + 1 >= NODES_MAX) return STATUS_RESOURCE_EXHAUSTED;
    while (slots < 2 * (bytes + 1)) slots *= 2;
    trie->edge_mask = (uint32_t)(slots - 1);
    trie->node_capacity = (int32_t)bytes + 1;
    trie->edges = calloc(slots, sizeof *trie->edges);
    trie->values = malloc((size_t)trie->node_capacity * sizeof *trie->values);
    if (trie->edges == NULL || trie->values == NULL) {
        trie_deinit(trie);
        return STATUS_RESOURCE_EXHAUSTED;
    }
    trie->values[0] = -1;
    trie->node_count = 1;
    return STATUS_OK;
}

void trie_deinit(struct trie *trie) {
    free(trie->edges);
    free(trie->values);
    *trie = (struct trie){0};
}

static int32_t add_child(struct trie *trie, int32_t node, uint8_t byte) {
    int32_t child = trie->node_count++;
    trie->values[child] = -1;
    if (node == 0) {
        trie->root[byte] = child;
        return child;
    }
    uint32_t key = ((uint32_t)node << 8 | byte) + 1, slot = (key * UINT32_C(0x9E3779B1)) >> 7 & trie->edge_mask;
    while (trie->edges[slot].key != 0) slot = (slot + 1) & trie->edge_mask;
    trie->edges[slot] = (struct trie_edge){key, child};
    return child;
}

void trie_add(struct trie *trie, struct bytes_view string, int32_t value) {
    int32_t node = 0;
    if (string.length == 0 || (size_t)(trie->node_capacity - trie->node_count) < string.length) return;
    for (size_t i = 0; i < string.length; i++) {
        int32_t child = trie_child(trie, node, string.data[i]);
        node = child >= 0 ? child : add_child(trie, node, string.data[i]);
    }
    if (trie->values[node] < 0) {
        trie->values[node] = value;
        trie->count++;
    }
}

int32_t trie_longest(const struct trie *trie, struct bytes_view text, size_t *out_length) {
    int32_t best = -1, node = 0;
    *out_length = 0;
    if (trie->node_count == 0) return -1;
    for (size_t i = 0; i < text.length; i++) {
        node = trie_child(trie, node, text.data[i]);
        if (node < 0) break;
        if (trie->values[node] < 0) continue;
        best = trie->values[node];
        *out_length = i + 1;
    }
    return best;
}
