/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Sets of terminals that are being read side by side, interned, and their transitions: what the bytes inside terminals cost.
 *
 *     thread      (regex that is left to be read, the state behind the terminal, slot)
 *     transition  set --code point--> the threads that go on, and the ends: (state, slot) of every terminal that may end behind the code point
 *
 * A slot is where the thread's rule began, as a number that a frame of the Earley machine gives a meaning to; so there are no more sets than the grammar has places,
 * however deep or ambiguous the text is.
 */
#ifndef ENGINE_GRAMMAR_SCAN_SETS_H
#define ENGINE_GRAMMAR_SCAN_SETS_H

#include "engine/grammar/regex.h"

struct scan_thread {
    regex left;
    uint32_t state, slot;
};
struct scan_end {
    uint32_t state, slot;
};
/** `threads` and `ends` are sets, 0 being the empty one. */
struct scan_transition {
    uint32_t threads, ends;
};
enum { SCAN_UNKNOWN = 0, SCAN_DEAD = 1 }; /* numbers of transitions */

struct scan_set {
    uint32_t first, count; /* words of it */
    uint32_t *ascii;       /* [128] transitions, SCAN_UNKNOWN: not asked yet; NULL: none was asked */
};
struct scan_other {
    uint64_t key;
    uint32_t value;
};
struct scan_sets {
    struct grammar_budget *budget;
    struct regex_pool *pool; /* both borrowed */
    uint32_t *words;
    struct scan_set *sets;
    struct scan_transition *transitions;
    uint32_t *set_table, *transition_table; /* hash tables of number + 1 */
    struct scan_other *others;              /* hash table of transitions by code points outside ASCII; key 0: free */
    uint32_t word_count, set_count, transition_count, other_count;
    uint32_t word_capacity, set_capacity, transition_capacity, set_slots, transition_slots, other_slots;
    uint32_t *scratch;
    uint32_t scratch_capacity;
};

bool scan_sets_init(struct scan_sets *sets, struct regex_pool *pool, struct grammar_budget *budget);
void scan_sets_deinit(struct scan_sets *sets);

/** The set of `count` threads, sorted by (left, state, slot) here and freed of doubles. False: the budget. */
bool scan_sets_threads(struct scan_sets *sets, struct scan_thread *threads, uint32_t count, uint32_t *out_set);
static inline const struct scan_thread *scan_set_threads(const struct scan_sets *sets, uint32_t set,
                                                         uint32_t *out_count) {
    *out_count = sets->sets[set].count / 3;
    return (const struct scan_thread *)(const void *)(sets->words + sets->sets[set].first);
}
static inline const struct scan_end *scan_set_ends(const struct scan_sets *sets, uint32_t set, uint32_t *out_count) {
    *out_count = sets->sets[set].count / 2;
    return (const struct scan_end *)(const void *)(sets->words + sets->sets[set].first);
}

/** The number of the transition; SCAN_UNKNOWN: the budget. */
uint32_t scan_sets_step(struct scan_sets *sets, uint32_t set, uint32_t code_point);
/** True when some thread goes on with some code point of first..last; *out_failed: the budget. */
bool scan_sets_live_in(struct scan_sets *sets, uint32_t set, uint32_t unfinished, uint32_t first, uint32_t last,
                       bool *out_failed);

/** 64 bits of a hash, mixed well. */
static inline uint64_t scan_mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * UINT64_C(0x9E3779B97F4A7C15);
    hash ^= hash >> 32;
    hash *= UINT64_C(0xD6E8FEB86659FD93);
    return hash ^ hash >> 32;
}

#endif
