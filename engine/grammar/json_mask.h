/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by json_mask.c (what may come first, structure), json_mask_text.c (strings, numbers) and json_mask_name.c (names).
 *
 * All of them take siblings first..end - 1 of a trie, with the state before their bytes, and set the tokens at and below them that may come.
 */
#ifndef ENGINE_GRAMMAR_JSON_MASK_H
#define ENGINE_GRAMMAR_JSON_MASK_H

#include "engine/grammar/json_internal.h"
#include "engine/grammar/mask.h"

/** Siblings whose byte is in a set. */
struct siblings {
    const struct token_trie *trie;
    uint64_t bytes[4];
    uint32_t at, end;
    bool roots; /* of the whole trie: found by their byte */
};
static inline struct siblings siblings_of(const struct token_trie *trie, uint32_t first, uint32_t end,
                                          const uint64_t bytes[4]) {
    bool roots = first == 0 && end == trie->count;
    return (struct siblings){trie, {bytes[0], bytes[1], bytes[2], bytes[3]}, first, end, roots};
}
bool next_sibling(struct siblings *siblings, uint32_t *out);
static inline void byte_add(uint64_t bytes[4], uint8_t byte) {
    bytes[byte / 64] |= 1ull << byte % 64;
}
static inline bool byte_in(const uint64_t bytes[4], uint8_t byte) {
    return bytes[byte / 64] >> byte % 64 & 1;
}

/** Whatever the state is. False: budget or memory. */
bool mask_siblings(struct json_machine *m, struct mask_walk *walk, const struct token_trie *trie, uint32_t first,
                   uint32_t end, const struct machine_state *from, uint32_t *mask);
/** One node and what is below it; `from` is the state before its byte. */
bool mask_node(struct json_machine *m, struct mask_walk *walk, const struct token_trie *trie, uint32_t node,
               const struct machine_state *from, uint32_t *mask);
static inline bool mask_all(struct json_machine *m, struct mask_walk *walk, const struct token_trie *trie,
                            const struct machine_state *from, uint32_t *mask) {
    return mask_siblings(m, walk, trie, 0, trie->count, from, mask);
}
/** The tokens that end a string, behind whose quote the state is `ended`. */
bool mask_ends(struct json_machine *m, struct mask_walk *walk, const struct string_ends *ends,
               const struct machine_state *ended, uint32_t *mask);

/** What of the tokens depends on which escapes there may be. */
static inline const struct spelled_tokens *tokens_spelled(const struct json_machine *m,
                                                          const struct string_tokens *tokens) {
    return &tokens->spelled[m->options.spelling];
}

/** Stands for itself inside a string, alone. */
static inline bool string_byte(uint8_t byte) {
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}
/** tuple_row_of, without a call where the row is there. */
static inline const struct tuple_row *tuple_row_at(struct json_machine *m, uint32_t tuple) {
    const struct tuple_row *row = tuple < m->row_capacity ? m->rows[tuple] : NULL;
    return row != NULL && row->beyond != TUPLE_UNKNOWN ? row : tuple_row_of(m, tuple);
}

/* json_mask_text.c */
/** Every component takes any text: nothing that is written changes the state. */
bool tuple_is_free(const struct json_machine *m, uint32_t tuple);
bool mask_scalar(struct json_machine *m, struct mask_walk *walk, const struct token_trie *trie, uint32_t first,
                 uint32_t end, const struct json_state *from, uint32_t *mask);
/** The whole mask inside a string value. */
bool fill_string(struct json_machine *m, struct mask_walk *walk, const struct json_state *state, uint32_t *mask);
/** A value of any text, inside (tokens: strings[0]) or before its quote (strings[1]; `state` is behind the quote all the same). */
bool fill_free_value(struct json_machine *m, struct mask_walk *walk, const struct string_tokens *tokens,
                     const struct machine_state *state, uint32_t *mask);

/* json_mask_name.c */
/** mask_names may be called: the state is inside a name, and what has come of it plays no part but by its range of known names. */
bool names_by_range(const struct json_machine *m, const struct json_state *state);
bool mask_names(struct json_machine *m, struct mask_walk *walk, const struct token_trie *trie, uint32_t first,
                uint32_t end, const struct json_state *state, uint32_t *mask);
/** The whole mask inside a name. */
bool fill_name(struct json_machine *m, struct mask_walk *walk, const struct json_state *state, uint32_t *mask);

/* Texts that end alike: what may stand behind the quote is found out once. */

enum { CLASSES_MAX = 16 };
struct ending {
    uint64_t key[2];
    bool live;
    uint32_t *rests; /* bitset over 0 (nothing) and the nodes of the rests + 1 */
};
struct endings {
    struct ending list[CLASSES_MAX];
    uint32_t count;
};
/** The ending of the class that is the tuple's verdict, or the place for it (*out_new). The oldest gives way when there are too many. */
struct ending *ending_find(struct json_machine *m, struct endings *endings, uint32_t tuple, bool *out_new);
/** `before`: the state before the quote. False: budget or memory. */
bool ending_learn(struct json_machine *m, struct mask_walk *walk, struct ending *ending,
                  const struct machine_state *before);
/** The tokens of a node whose byte is the quote, and of those below it. */
void ending_set(const struct mask_walk *walk, const struct token_trie *trie, uint32_t node, const struct ending *ending,
                uint32_t *mask);

#endif
