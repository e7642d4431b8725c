/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What the files of regex*.c share: the nodes of expressions, sets of characters, and who makes them.
 *
 *     regex_pool.c     memory, hash-consing          regex_set.c       sets of characters
 *     regex_make.c     simplifying constructors      regex_union.c     the same for | and &
 *     regex_trie.c     lists of texts                regex_step.c      derivatives, rows
 *     regex_live.c     emptiness                     regex_ask.c       counts, shortest texts, freedom
 *     regex_fresh.c    shortest texts but some
 *     regex_parse.c, regex_escape.c   pattern to tree    regex_compile.c, regex_context.c   tree to expression
 *     regex_property.c, regex_fold.c  tables of Unicode, shared by the process
 */
#ifndef ENGINE_GRAMMAR_REGEX_INTERNAL_H
#define ENGINE_GRAMMAR_REGEX_INTERNAL_H

#include "engine/grammar/regex.h"

enum regex_kind {
    REGEX_KIND_NOTHING,
    REGEX_KIND_EMPTY,
    REGEX_KIND_CLASS,
    REGEX_KIND_CONCAT,
    REGEX_KIND_REPEAT,
    REGEX_KIND_OR,
    REGEX_KIND_AND,
    REGEX_KIND_NOT,
    REGEX_KIND_BRANCH, /* a node of a trie */
    REGEX_KIND_LOOP,   /* a name for an expression in which it occurs itself: repeats with look-around inside */
};

enum regex_node_flags {
    REGEX_NULLABLE = 1,
    REGEX_LIVE = 2,        /* known to have a text */
    REGEX_DEAD = 4,        /* known to have none */
    REGEX_EXACT = 8,       /* no &, ~ or loop inside: the lengths are true ones, and it is live */
    REGEX_CONTIGUOUS = 16, /* with REGEX_EXACT: there is a text of every length from length_min to length_max */
    REGEX_RECURSIVE = 32,  /* a loop inside */
    REGEX_BUSY = 64,       /* a loop that is being entered */
};

/** An edge of a trie. Sorted by code point. */
struct regex_edge {
    uint32_t code_point;
    regex target;
};

/** One way out of a state, for all characters that lead to `target`. Not settled: `target` may be dead. */
struct regex_way {
    regex target;
    uint32_t code_point; /* one of them: a letter or digit if there is one */
    uint64_t characters; /* how many */
    uint64_t ascii[2];   /* those of ASCII */
};
struct regex_fan {
    uint32_t count;
    bool complete; /* else those of ASCII only */
    struct regex_way ways[];
};

/** What tells characters beyond ASCII apart in a state: the sets that its first character is looked up in. */
struct regex_firsts {
    regex beyond_ascii; /* the settled step when `plain` */
    uint16_t count;
    bool plain;    /* all characters beyond ASCII lead to the same */
    bool overflow; /* more than `sets` holds, or edges of a trie: every code point is remembered by itself */
    uint32_t sets[];
};
enum { REGEX_FIRSTS_MAX = 48 };

struct regex_node {
    uint8_t kind, flags;
    uint16_t depth;
    uint32_t hash;
    union {
        uint32_t set;
        struct {
            regex head, tail; /* head is no concatenation */
        };
        struct {
            regex body;
            uint32_t min, max;
        };
        struct {
            const regex *children; /* ascending */
            uint32_t count;
        };
        struct {
            const struct regex_edge *edges;
            uint32_t edge_count;
        };
        regex of; /* of ~ and of a loop */
    };
    uint32_t length_min, length_max; /* bounds of its texts' lengths; REGEX_UNBOUNDED: none */
    regex *row;                      /* [128] or NULL */
    struct regex_firsts *firsts;
    struct regex_fan *fan;
    uint32_t search, parent; /* of the search that visited it last */
};

struct regex_set {
    uint64_t ascii[2];
    const struct regex_range *ranges; /* sorted, apart, never touching, no surrogates */
    uint32_t count;
    uint32_t hash;
    uint8_t beyond; /* of the characters beyond ASCII it has: */
};
enum { REGEX_BEYOND_NONE, REGEX_BEYOND_ALL, REGEX_BEYOND_SOME };

enum {
    REGEX_SET_ANY = 0, /* the first set of every pool */
    REGEX_ANY = 3,     /* the node of one character, whatever it is */
    REGEX_DEPTH_MAX = 1000,
    REGEX_LOOPS_MAX = 16, /* loops inside loops, and nodes inside one: both bound the stack */
    REGEX_LOOP_DEPTH_MAX = 200,
    REGEX_SURROGATE_FIRST = 0xD800,
    REGEX_SURROGATE_LAST = 0xDFFF,
    REGEX_CODE_POINT_LAST = 0x10FFFF,
};

struct regex_transition {
    regex state, target; /* state REGEX_NOTHING: free */
    uint64_t signature;
};
struct regex_candidate {
    uint64_t key;
    regex state;
};

struct regex_chunk;
struct regex_pool {
    struct grammar_budget *budget;
    struct regex_node *nodes;
    uint32_t node_count, node_capacity;
    uint32_t *table; /* of node ids, 0: free; open addressing */
    uint32_t table_size;
    struct regex_set *sets;
    uint32_t set_count, set_capacity;
    uint32_t *set_table; /* of set + 1 */
    uint32_t set_table_size;
    regex *scratch; /* operands that wait for their operator */
    uint32_t scratch_count, scratch_capacity;
    struct regex_transition *transitions;
    uint32_t transition_count, transition_size;
    struct regex_candidate *heap; /* of a search */
    uint32_t heap_count, heap_capacity;
    regex *visited;
    uint32_t visited_count, visited_capacity;
    uint32_t search;
    uint32_t loop_depth;
    struct regex_chunk *chunk;
    size_t chunk_used;
};

static inline struct regex_node *regex_node(const struct regex_pool *pool, regex r) {
    return &pool->nodes[r];
}
static inline bool regex_has(const struct regex_pool *pool, regex r, unsigned flag) {
    return (pool->nodes[r].flags & flag) != 0;
}
static inline uint32_t regex_hash(uint32_t hash, uint32_t word) {
    hash = (hash ^ word) * 0x9E3779B1u;
    return hash ^ (hash >> 15);
}
static inline uint32_t regex_add(uint32_t a, uint32_t b) {
    return a > REGEX_UNBOUNDED - b ? REGEX_UNBOUNDED : a + b;
}
/** Counts beyond 2^32 - 2: a minimum stays there, a maximum becomes none. No text is that long. */
static inline uint32_t regex_times(uint32_t a, uint32_t b) {
    uint64_t product = (uint64_t)a * b;
    if (a == 0 || b == 0) return 0;
    return a == REGEX_UNBOUNDED || b == REGEX_UNBOUNDED || product > REGEX_UNBOUNDED ? REGEX_UNBOUNDED
                                                                                     : (uint32_t)product;
}
static inline uint32_t regex_minimum(uint32_t count) {
    return count == REGEX_UNBOUNDED ? REGEX_UNBOUNDED - 1 : count;
}

/* ---- regex_pool.c ---- */

/** Memory that stays with the pool, 8-aligned. NULL: the budget. */
void *regex_alloc(struct regex_pool *pool, size_t bytes);
/** `*array` of `*capacity` elements gets room for `needed`. */
bool regex_grow(struct regex_pool *pool, void *array, uint32_t *capacity, uint32_t needed, size_t element);
/** The node equal to `like` (its kind, union, flags NULLABLE, lengths set), made if there is none. REGEX_NOTHING if it is known dead. */
regex regex_intern(struct regex_pool *pool, const struct regex_node *like);
/** A node that is equal to no other: a loop. */
regex regex_append(struct regex_pool *pool, const struct regex_node *node);
bool regex_push(struct regex_pool *pool, regex r);

/* ---- regex_set.c ---- */

#define REGEX_SET_FAILED UINT32_MAX
uint32_t regex_set_make(struct regex_pool *pool, const struct regex_range *ranges, size_t count, bool inverted);
uint32_t regex_set_or(struct regex_pool *pool, uint32_t a, uint32_t b);
uint32_t regex_set_and(struct regex_pool *pool, uint32_t a, uint32_t b);
uint32_t regex_set_not(struct regex_pool *pool, uint32_t a);
bool regex_set_has(const struct regex_set *set, uint32_t code_point);
/** The first code point behind `code_point` that is in the set when it is not, or not when it is; above REGEX_CODE_POINT_LAST: none. */
uint32_t regex_set_border(const struct regex_set *set, uint32_t code_point);

/* ---- regex_make.c, regex_union.c: simplified, not settled (may be dead) ---- */

regex regex_make_class(struct regex_pool *pool, uint32_t set);
regex regex_make_concat(struct regex_pool *pool, regex a, regex b);
regex regex_make_repeat(struct regex_pool *pool, regex body, uint32_t min, uint32_t max);
regex regex_make_not(struct regex_pool *pool, regex a);
/** The two of them. */
regex regex_make_or(struct regex_pool *pool, regex a, regex b);
regex regex_make_and(struct regex_pool *pool, regex a, regex b);
/** Add an operand to those on the scratch stack; false: the budget. */
bool regex_push_or(struct regex_pool *pool, regex a);
bool regex_push_and(struct regex_pool *pool, regex a);
/** Take the operands above `base` off the scratch stack and join them. */
regex regex_or_from(struct regex_pool *pool, uint32_t base);
regex regex_and_from(struct regex_pool *pool, uint32_t base);
/** A node of a trie; edges are copied. */
regex regex_make_branch(struct regex_pool *pool, const struct regex_edge *edges, uint32_t count, bool accepts);

/* ---- regex_step.c ---- */

/** The derivative, not settled. */
regex regex_derive(struct regex_pool *pool, regex r, uint32_t code_point);
/** All ways out of a state, or at least those of ASCII; NULL: the budget. */
const struct regex_fan *regex_fan(struct regex_pool *pool, regex r, bool complete);

/* ---- regex_live.c ---- */

enum regex_life { REGEX_LIFE_DEAD, REGEX_LIFE_LIVE, REGEX_LIFE_FAILED };
enum regex_life regex_life(struct regex_pool *pool, regex r);
/** `r` if it is live, else REGEX_NOTHING; REGEX_FAILED. */
regex regex_settle(struct regex_pool *pool, regex r);
bool regex_heap_push(struct regex_pool *pool, uint64_t key, regex state);
struct regex_candidate regex_heap_pop(struct regex_pool *pool);

#endif
