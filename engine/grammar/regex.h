/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Regular languages over Unicode code points, as hash-consed expressions whose derivatives are the states of a lazily built automaton.
 *
 *     expression == state.     step(R, c) = the expression of what may follow c:  { w : c w in R }      (Brzozowski's derivative)
 *     step(R & Q, c) = step(R, c) & step(Q, c)          step(~R, c) = ~step(R, c)
 *
 * So intersection and complement cost nothing to set up: a pattern with a length and "none of these words" is one expression. Equal expressions
 * have equal handles (after simplification: associativity, commutativity, idempotence, units and zeros of | and &, literals kept as tries,
 * counted repeats kept as counters and never unrolled), hence states are finite and transitions are remembered.
 *
 * Every handle that a function returns is either REGEX_NOTHING or has at least one text in it ("live"): emptiness is decided by searching
 * the states (remembered, within the budget). A machine that only walks live states enters no dead end.
 *
 * The texts are sequences of Unicode scalar values (0..D7FF, E000..10FFFF). JSON's escapes and UTF-8 are the caller's concern.
 * A pool belongs to one compiled grammar; one thread at a time.
 *
 * Sources: Brzozowski 1964; Owens, Reppy, Turon, "Regular-expression derivatives re-examined", JFP 2009 (classes of characters);
 * ECMA-262 section 22.2 (pattern syntax, "u" flag), with look-around as intersection as in Varatalu, Veanes, Ernits, RE#, POPL 2025.
 */
#ifndef ENGINE_GRAMMAR_REGEX_H
#define ENGINE_GRAMMAR_REGEX_H

#include "base/bytes.h"
#include "base/status.h"
#include "engine/grammar/budget.h"

struct regex_pool;

/** An expression. Handles of one pool may be compared: equal handles are equal languages (not the other way round). */
typedef uint32_t regex;
enum {
    REGEX_NOTHING,   /* no text at all */
    REGEX_EMPTY,     /* the empty text only */
    REGEX_EVERYTHING /* every text */
};
#define REGEX_FAILED \
    UINT32_MAX /* the budget is exhausted, or it is nested too deeply; every function given it returns it */
#define REGEX_NOT_KNOWN (UINT32_MAX - 1) /* in a row: not asked yet */
#define REGEX_UNBOUNDED UINT32_MAX

/** Borrows `budget` until destroy. STATUS_RESOURCE_EXHAUSTED without memory. */
enum status regex_pool_create(struct grammar_budget *budget, struct regex_pool **out, struct error *err);
void regex_pool_destroy(struct regex_pool *pool);
struct grammar_budget *regex_pool_budget(const struct regex_pool *pool);

/* ---- building ---- */

enum regex_flags {
    REGEX_SEARCH =
        1, /* the pattern may match anywhere in the text (JSON Schema's `pattern`); else it is all of the text */
    REGEX_DOT_ALL = 2,     /* . is any character; else not a line end */
    REGEX_IGNORE_CASE = 4, /* simple case folding */
    REGEX_LENIENT =
        8, /* also the spellings that other dialects have and ECMA has not: \A \Z \z (?i) (?P<name>...), possessive as greedy, [[:alpha:]], \h \a \e, \pL, \p{Greek} */
    REGEX_ANCHORS =
        16, /* of these only \A \Z \z: schemas that were written for Python's or .NET's libraries have them, and nobody means the letters */
};
/**
 * An ECMA-262 pattern in its "u" reading, falling back to the older reading where only that one is valid (identity escapes like \-, lone braces).
 * Groups, alternation, greedy and lazy repeats (the same language), classes, \d \w \s \b \B, \p{...}, \u{...}, anchors anywhere, look-ahead and
 * look-behind, positive and negative: anywhere, also inside repeats, as far as a look-behind asks for one character (or the start); longer look-behinds
 * stand in the outermost sequence, with no look-ahead before them. A bound of 2^32 - 1 or more repeats is none. Unicode is utf8proc's and PCRE2's.
 *
 * STATUS_UNIMPLEMENTED: a back-reference, or an assertion in a place that is not among those; STATUS_INVALID_ARGUMENT: no valid pattern.
 * STATUS_RESOURCE_EXHAUSTED: the budget, or groups nested more than 200 deep. err says what and at which byte. What no text can match is REGEX_NOTHING and
 * STATUS_OK. The first \p{...} of a process learns its table (1 to 15 ms), once.
 */
enum status regex_parse(struct regex_pool *pool, struct bytes_view pattern, enum regex_flags flags, regex *out,
                        struct error *err);

struct regex_range {
    uint32_t first, last; /* code points, both included */
};
/** One character out of the ranges (any order, overlaps allowed); with `inverted` one out of none of them. */
regex regex_class(struct regex_pool *pool, const struct regex_range *ranges, size_t count, bool inverted);
/** Exactly this text (valid UTF-8). */
regex regex_literal(struct regex_pool *pool, struct bytes_view text);
/** Exactly one of these texts; a trie, so that a hundred thousand cost no more than their bytes. */
regex regex_literals(struct regex_pool *pool, const struct bytes_view *texts, size_t count);
regex regex_concat(struct regex_pool *pool, regex a, regex b);
/** min..max times, max may be REGEX_UNBOUNDED. */
regex regex_repeat(struct regex_pool *pool, regex a, uint32_t min, uint32_t max);
regex regex_or(struct regex_pool *pool, regex a, regex b);
regex regex_and(struct regex_pool *pool, regex a, regex b);
regex regex_not(struct regex_pool *pool, regex a);
/** Every text of min..max code points. */
regex regex_length(struct regex_pool *pool, uint32_t min, uint32_t max);

/* ---- walking ---- */

/** The state after `code_point`; REGEX_NOTHING: no text of the language goes on so. A remembered step is two loads (regex_row below). */
regex regex_step(struct regex_pool *pool, regex state, uint32_t code_point);
/** The state after a whole text of valid UTF-8. */
regex regex_walk(struct regex_pool *pool, regex state, struct bytes_view text);
/** True when the empty text is in it: a text may end here. */
bool regex_accepts(const struct regex_pool *pool, regex state);
/** True when regex_step is not REGEX_NOTHING (or failed) for some code point of first..last: what an unfinished UTF-8 sequence or \u escape asks. */
bool regex_live_in(struct regex_pool *pool, regex state, uint32_t first, uint32_t last);

/** All characters beyond ASCII are known to lead to the same state. */
bool regex_same_beyond(struct regex_pool *pool, regex state);
/** The steps for ASCII, [128]: REGEX_NOT_KNOWN where regex_step was not asked yet. It stays where it is as long as the pool. */
const regex *regex_row(struct regex_pool *pool, regex state);

/* ---- asking ---- */

bool regex_matches(struct regex_pool *pool, regex a, struct bytes_view text);
/** Without this text, if `few` or fewer texts of the language begin with it; else as it was: what is begun as the text can always be another one. */
regex regex_without(struct regex_pool *pool, regex a, struct bytes_view text, uint64_t few);
/** The number of texts in it if that is below `limit`, else `limit` (also when the budget is exhausted). */
uint64_t regex_count(struct regex_pool *pool, regex a, uint64_t limit);
/** Code points of the shortest text in it; and append one such text to `out` unless it is NULL (of letters and digits where there is a choice).
 *  REGEX_UNBOUNDED for REGEX_NOTHING, an exhausted budget or a failed append. O(1) without `out` where neither & nor ~ is in it. */
uint32_t regex_shortest(struct regex_pool *pool, regex a, struct bytes *out);
/** The same out of those that are none of `others`; only states are made of them, so that asking for many texts builds nothing. REGEX_UNBOUNDED also where
 *  characters run out of which many lead to the same state and few are known by name (beyond ASCII). */
uint32_t regex_shortest_but(struct regex_pool *pool, regex a, const struct bytes_view *others, size_t count,
                            struct bytes *out);
enum regex_others {
    REGEX_OTHERS_NONE,
    REGEX_OTHERS_MOST, /* all beyond ASCII but white space, ends of lines and U+FEFF */
    REGEX_OTHERS_ALL
};
/**
 * Freedom: *out_length is a k such that every text of at most k characters out of the ASCII set `out_ascii` (bit c % 64 of word c / 64) and *out_others of
 * the other characters leads to a live state. An estimate from below, from the form of the expression alone: (all, REGEX_UNBOUNDED) for
 * REGEX_EVERYTHING, (all, n) for regex_length(m, n), (class, n) for a class repeated at most n times in front, also without some short texts (& ~E), and for
 * what only asks for things to come (.*A & .*B), and for these within a length (& .{m,n}); else 0.
 */
void regex_freedom(struct regex_pool *pool, regex state, uint64_t out_ascii[2], enum regex_others *out_others,
                   uint32_t *out_length);

#endif
