/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Inside of engine/grammar/number: decimals, sets, their two compiled forms, and the nodes of the machine.
 *
 *     entry (decimals, exact)  ->  form:      integers of 128 bits, scaled by a power of ten; where 36 digits suffice
 *                              ->  big form:  the same with GMP; where they do not, and for completions near the limit of digits
 *                              ->  ruler:     the bounds' leading digits, to see that a prefix is clear of all of them
 *
 * Both forms look at one sign at a time: side 0 is the members >= 0, side 1 the members <= 0 without their sign.
 */
#ifndef ENGINE_GRAMMAR_NUMBER_INTERNAL_H
#define ENGINE_GRAMMAR_NUMBER_INTERNAL_H

#include "engine/grammar/number.h"

#include "base/arena.h"

#include <gmp.h>

typedef unsigned __int128 wide;

enum {
    WIDE_DIGITS = 36, /* 10^37 and a little still fit in a wide */
    LEADING_DIGITS = 18,
    EXPONENT_READ_MAX = 100000,
    EXPONENT_SATURATED = 500000000, /* as good as any: far beyond all that sets are made of */
    EXPONENT_MAX = 400,             /* that the machine writes, either sign */
    EXPONENT_DIGITS_MAX = 4,        /* 1e+0400 */
    DECIMAL_DIGITS_MAX = 1000,      /* of a bound or multiple, and how far from the point it may begin */
    CLEAR_SPECIALS = 6,
    CLEAR_GRID_MAX = 300,
    NON_MULTIPLES_MAX = 16, /* so that a gap without a member is short: at most about 100 multiples */
};

/* ---- decimals: number_decimal.c ---- */

/** (-1 if negative) * digits * 10^exponent. No digits: zero. Else the first and the last digit are not '0'. */
struct decimal {
    const uint8_t *digits; /* '0' to '9', lent */
    uint32_t count;
    int32_t exponent;
    uint64_t leading; /* the first 18 digits, filled up with zeros: most comparisons need no more */
    bool negative;
};
struct decimal decimal_of(const uint8_t *digits, uint32_t count, int32_t exponent, bool negative);

/** `buffer` holds text.length bytes and lives as long as *out. False: no JSON number, or its exponent is beyond 100,000. */
bool decimal_read(struct bytes_view text, uint8_t *buffer, struct decimal *out);
/** The same, but what is beyond counts as 10^500,000,000 or 10^-500,000,000: right for membership. */
bool decimal_read_any(struct bytes_view text, uint8_t *buffer, struct decimal *out);
int decimal_compare(struct decimal a, struct decimal b);
int decimal_compare_magnitude(struct decimal a, struct decimal b);
/** The first digit is worth 10^(position - 1). */
static inline int64_t decimal_position(struct decimal a) {
    return (int64_t)a.count + a.exponent;
}
/** |a| * 10^shift, an integer of at most 37 digits; false when it is not one. */
bool decimal_to_wide(struct decimal a, int shift, wide *out);
/** |a| * 10^shift, shift + exponent >= 0. */
void decimal_to_mpz(struct decimal a, int shift, mpz_t out);
/** `b` is no zero. */
bool decimal_divides(struct decimal b, struct decimal a);

extern const wide ten_to[WIDE_DIGITS + 2];
/** Decimal digits of `value`, 0 for 0. */
static inline unsigned wide_digits(wide value) {
    if (value == 0) return 0;
    uint64_t high = (uint64_t)(value >> 64);
    unsigned bits = high != 0 ? 128 - (unsigned)__builtin_clzll(high) : 64 - (unsigned)__builtin_clzll((uint64_t)value);
    unsigned digits = (bits * 1233) >> 12; /* bits * log10(2), rounded down */
    return digits + (value >= ten_to[digits]);
}
/** The processor divides 64 bits many times faster than 128. */
static inline wide wide_remainder(wide a, wide b) {
    return (a >> 64) == 0 && (b >> 64) == 0 ? (uint64_t)a % (uint64_t)b : a % b;
}

/* ---- sets: number_set.c ---- */

struct number_bound {
    bool present, open;
    struct decimal at;
};

struct decimal_list {
    struct decimal *items; /* ascending, without doubles */
    uint32_t count;
};

/** A bound or an excluded value, for the question whether a prefix is clear of it. */
struct number_special {
    wide leading;     /* its first 36 digits, filled up with zeros */
    int32_t position; /* decimal_position */
    uint8_t kind;     /* enum special_kind */
    bool open, more;  /* more: it has digits beyond those 36 */
};
enum special_kind { SPECIAL_LOWER, SPECIAL_UPPER, SPECIAL_EXCLUDED };

/** One sign of a set whose prefixes, once clear of all specials, depend on nothing but the exponents that fit. */
struct number_ruler {
    bool usable;    /* no multiple but a power of ten, no list, few excluded values */
    bool multiples; /* of 10^-grid */
    int16_t grid;
    bool all; /* every number of this sign */
    bool zero_only;
    uint8_t count;
    struct number_special specials[CLEAR_SPECIALS];
};

struct number_form;
struct number_big;

struct number_entry {
    struct number_bound lower, upper;
    struct decimal multiple; /* zero: none */
    struct decimal_list non_multiples, excluded, members;
    bool listed; /* the members, which then are all there is to say */
    bool form_made, big_made;
    struct number_form *form; /* NULL: 36 digits do not suffice */
    struct number_big *big;
    struct number_ruler rulers[2];
    uint32_t hash;
};

/** Of the members on one side, >= 0. */
struct side_bounds {
    bool empty;
    struct number_bound lower, upper; /* lower is always present */
};
struct side_bounds entry_side(const struct number_entry *entry, bool negative);
/** False for what no text of the machine can be: more than 400 digits, or out of the reach of exponents. */
bool decimal_writable(struct decimal a);
bool entry_contains(const struct number_entry *entry, struct decimal x);

/* ---- the mantissa that was written so far ---- */

struct mantissa {
    wide value;        /* of all its digits, without the point; when large: where they begin in pool->digits */
    uint16_t count;    /* digits of value, 0 for 0 */
    uint16_t fraction; /* digits behind the point */
    bool large;        /* more than 36 digits */
};
/** Digits in its text. */
static inline int mantissa_written(struct mantissa m) {
    return m.count > m.fraction ? m.count : m.fraction + 1;
}

/* ---- compiled forms ---- */

/* All questions: side, mantissa digits D (the point does not count), a power e. The set is not NUMBER_ANY. */

struct number_side {
    bool empty, bounded, lower_open, upper_open;
    wide lower, upper;
    const wide *excluded, *members; /* ascending; excluded: only what would be a member */
    uint32_t excluded_count, members_count;
};
struct number_form {
    struct grammar_budget *budget;
    int scale;          /* everything here is an integer: times 10^scale */
    unsigned digits;    /* of the largest */
    bool dense, listed; /* dense: no multiple, no list */
    wide multiple;
    const wide *non_multiples;
    uint32_t non_multiples_count;
    struct number_side sides[2];
};

/** number_form.c. NULL when 36 digits do not suffice, or without budget. */
const struct number_form *entry_make_form(struct number_pool *pool, struct number_entry *entry);
static inline const struct number_form *entry_form(struct number_pool *pool, struct number_entry *entry) {
    return entry->form_made ? entry->form : entry_make_form(pool, entry);
}
/** A member lies in [D, D+1) * 10^e. */
bool form_exists(const struct number_form *form, const struct number_side *side, wide value, unsigned count, int e);
/** D * 10^e is a member. */
bool form_holds(const struct number_form *form, const struct number_side *side, wide value, unsigned count, int e);
/** Beyond all bounds of a side without end: value * 10^power is a member for *out_from <= power < *out_until. */
void form_powers_beyond(const struct number_form *form, wide value, int *out_from, int *out_until);
uint64_t form_count(const struct number_form *form, uint64_t limit);

/** number_big.c. NULL without budget. */
const struct number_big *entry_big(struct number_pool *pool, struct number_entry *entry);
/** A member with at most `more` digits behind D's own lies in [D, D+1) * 10^e. */
bool big_exists(struct number_pool *pool, const struct number_big *big, bool negative, const mpz_t value, int e,
                int more);
bool big_holds(struct number_pool *pool, const struct number_big *big, bool negative, const mpz_t value, int e);
uint64_t big_count(struct number_pool *pool, const struct number_big *big, uint64_t limit);
/** Positions (decimal_position) between which all bounds and listed values lie; false when there are none. */
/** Nothing but zeros can follow `fraction` digits behind the point. */
bool big_is_grid(const struct number_big *big, int fraction);
bool big_positions(const struct number_big *big, bool negative, int *out_lowest, int *out_highest);
void big_destroy(struct number_big *big);

/* ---- the pool ---- */

enum { NUMBER_SYMBOLS = 16, STEP_NOT_KNOWN_BYTE = 0xFE };
#define STEP_NOT_KNOWN 0xFEFEFEFEu /* in a row */

enum node_kind { NODE_EXACT, NODE_DENSE, NODE_MULTIPLE, NODE_EXPONENT, NODE_ANY_EXPONENT };
enum node_phase {
    PHASE_START,
    PHASE_MINUS,
    PHASE_ZERO, /* the integer part is 0 */
    PHASE_INTEGER,
    PHASE_POINT,
    PHASE_FRACTION,
    PHASE_E,
    PHASE_E_SIGN,
    PHASE_E_DIGITS,
};
enum node_flags {
    NODE_NEGATIVE = 1,
    NODE_SCIENTIFIC = 2,  /* one digit, not 0, before the point: any exponent may make it fit */
    NODE_TAIL = 4,        /* only zeros may follow, and are not counted */
    NODE_NO_EXPONENT = 8, /* number_start_printed */
    NODE_LARGE = 16,
    NODE_E_NEGATIVE = 32,
    NODE_ACCEPTS = 64,   /* follows from the rest */
    NODE_NO_POINT = 128, /* number_start_printed: digits alone */
};

/** One state. What `value` means depends on the kind: D or where its digits are; struct clear; digits of the exponent. */
struct number_node {
    wide value;
    uint32_t set; /* NODE_EXACT: the set; NODE_EXPONENT: the exponents that fit */
    uint16_t fraction, count;
    uint8_t kind, phase, flags;
    uint32_t row; /* where its remembered steps are; 0: nowhere yet */
};

/** NODE_DENSE and NODE_MULTIPLE: a prefix clear of all specials. It fits times 10^k for k from `low` to `high`. */
struct clear {
    int16_t low, high; /* CLEAR_FREE away from 0: without end */
    int16_t least;     /* NODE_MULTIPLE: the least exponent that makes it a multiple of 10^-grid */
    int16_t grid;
};
enum { CLEAR_FREE = 20000 };

struct index_table {
    uint32_t *slots; /* index + 1; 0: free */
    uint32_t size, used;
};

struct exponent_set {
    uint64_t bits[(2 * EXPONENT_MAX + 1 + 63) / 64];
    uint32_t hash;
};

struct number_pool {
    struct grammar_budget *budget;
    struct arena arena;
    struct number_entry *entries;
    uint32_t entries_count, entries_capacity;
    struct number_node *nodes;
    uint32_t nodes_count, nodes_capacity;
    uint32_t *rows; /* [rows_count][NUMBER_SYMBOLS] */
    uint32_t rows_count, rows_capacity;
    struct exponent_set *exponents;
    uint32_t exponents_count, exponents_capacity;
    uint32_t *printed; /* by set: number_start_printed + 1, 0: not known */
    uint32_t printed_capacity;
    uint32_t *lengths; /* by state: number_shortest + 1, 0: not known */
    uint32_t lengths_capacity;
    uint8_t *digits; /* of large mantissas */
    uint32_t digits_count, digits_capacity;
    struct index_table entry_index, node_index, exponent_index;
    mpz_t temporaries[12]; /* the first ten are number_big.c's, the others those of who calls it */
    bool temporaries_made;
    bool force_big; /* for tests: as if 36 digits never sufficed, and no prefix were ever clear */
};

static inline struct number_entry *entry_of(struct number_pool *pool, number_set set) {
    return &pool->entries[set];
}
/** Of the arena, counted; NULL when the budget is exhausted. */
void *pool_alloc(struct number_pool *pool, size_t count, size_t bytes);
/** Grow an array to at least `needed` items, counted. */
bool pool_grow(struct number_pool *pool, void *array, uint32_t *capacity, uint32_t needed, size_t item_bytes);
/** Make room for one more; rehashes by `hash_of`. */
bool index_reserve(struct number_pool *pool, struct index_table *table,
                   uint32_t (*hash_of)(const struct number_pool *pool, uint32_t index));
void index_put(struct index_table *table, uint32_t hash, uint32_t index);
mpz_t *pool_temporaries(struct number_pool *pool);

/* ---- number_reach.c: what a prefix of a set that is not clear can become ---- */

/** Some text that begins with this mantissa and has no exponent is a member. `in_integer`: more digits before the point may come. */
bool reach_plain(struct number_pool *pool, struct number_entry *entry, bool negative, struct mantissa m,
                 bool in_integer);
/** Some text that begins with it and ends in an exponent is. */
bool reach_scientific(struct number_pool *pool, struct number_entry *entry, bool negative, struct mantissa m);
/** It is itself a member, times 10^exponent. */
bool reach_holds(struct number_pool *pool, struct number_entry *entry, bool negative, struct mantissa m, int exponent);
/** Only zeros can follow it, whatever the exponent. */
bool reach_is_tail(struct number_pool *pool, struct number_entry *entry, bool negative, struct mantissa m,
                   bool scientific);
/** All exponents that make it a member. */
void reach_exponents(struct number_pool *pool, struct number_entry *entry, bool negative, struct mantissa m,
                     struct exponent_set *out);
void mantissa_to_mpz(const struct number_pool *pool, struct mantissa m, mpz_t out);
/** For number_shortest: [D, D+1) * 10^e holds a member with at most `more` digits more. */
bool reach_within(struct number_pool *pool, struct number_entry *entry, bool negative, const mpz_t value, int e,
                  int more);

void exponent_set_add(struct exponent_set *set, int first, int last);
bool exponent_set_any(const struct exponent_set *set, int first, int last);

/* ---- the machine: number_machine.c, number_clear.c, number_exponent.c ---- */

enum symbol { SYMBOL_MINUS = 10, SYMBOL_PLUS, SYMBOL_POINT, SYMBOL_E };

number_state node_intern(struct number_pool *pool, const struct number_node *node);

/** A prefix that is clear of all bounds becomes one of the states that many sets share; false when it is not, else *out may be NUMBER_DEAD. */
bool clear_enter(struct number_pool *pool, const struct number_node *node, struct mantissa m, number_state *out);
/** The state after the first digit of a side that has every number. */
number_state clear_enter_all(struct number_pool *pool, unsigned digit, uint8_t flags);
number_state clear_step(struct number_pool *pool, const struct number_node *node, unsigned symbol);
/** See number_shortest. */
uint32_t clear_shortest(const struct number_node *node, struct bytes *out);

/** After e, with the exponents of the set; NUMBER_DEAD when there is none. */
number_state exponent_enter(struct number_pool *pool, struct exponent_set *set);
number_state exponent_step(struct number_pool *pool, const struct number_node *node, unsigned symbol);
uint32_t exponent_shortest(const struct number_pool *pool, const struct number_node *node, struct bytes *out);
/** The fewest bytes that say e and one of the exponents first..last; appended unless NULL. first <= last. */
uint32_t exponent_spell(int first, int last, struct bytes *out);

#endif
