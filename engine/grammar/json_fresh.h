/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Texts of scalars and names that differ from others, for rests of texts (json_finish.c). Nothing of it stays in the grammar. */
#ifndef ENGINE_GRAMMAR_JSON_FRESH_H
#define ENGINE_GRAMMAR_JSON_FRESH_H

#include "engine/grammar/json_internal.h"

enum {
    OTHERS_REFUSED_MAX = 16, /* texts of one scalar or name that the machine refuses */
    OTHERS_SEEN_MAX = 1024   /* that were there before and are avoided beforehand: of more some are tried and refused */
};
/** Zeroed: none. */
struct others {
    struct bytes_view *texts; /* [count] */
    uint32_t count, capacity;
    struct bytes refused[OTHERS_REFUSED_MAX]; /* [refused_count] those of the texts that it owns */
    uint32_t refused_count;
};
static inline bool others_room(const struct others *others) {
    return others->refused_count < OTHERS_REFUSED_MAX;
}
/** Takes the text over. */
void others_refused(struct others *others, struct bytes text);
void others_deinit(struct others *others);
/** The strings, or numbers, among items that were seen. Strings with escapes are left out. */
void others_strings(struct others *others, const struct seen_text *seen);
void others_numbers(struct others *others, const struct seen_text *seen);
/** What is left of names that were seen behind what has begun. */
void others_rests(struct others *others, const struct seen_text *seen, struct bytes_view begun);

/** As number_shortest, but none of the others. */
uint32_t number_shortest_but(struct number_pool *pool, number_state state, const struct bytes_view *others,
                             size_t count, struct bytes *out);

/** What has come of a string, value or name, is none of those seen, and longer than what would be made up for others. False: it may be so. */
bool text_is_apart(const struct frame *frame, const struct text_node *text);
/** A hash of what the names that begin so are told apart by, besides whether they may come. False: not known. */
bool names_state(struct json_machine *m, const struct frame *frame, const struct text_node *text, uint32_t *out);

#endif
