/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Patterns of ECMA-262, as far as a regular language tells that they are valid. Alternatives may be empty, so that a pattern is any row of terms and bars;
 * only groups nest, and each depth is made of the one below. */
#include "engine/grammar/formats_internal.h"

enum { DEPTH = 8 };

#define CATEGORY "[pP]\\{(?:C[cfnos]?|L[lmotu]?|M[cen]?|N[dlo]?|P[cdefios]?|S[ckmo]?|Z[lps]?)\\}"
/* \xHH, \uHHHH and the like mean the same inside of classes. No \u{...}: without the u flag that is a repeat. */
#define ESCAPED "[dDfnrsStvwW^$\\\\.*+?()\\[\\]{}|/]|c[A-Za-z]|x" HEX "{2}|u" HEX "{4}|" CATEGORY

/* Ranges whose ends are in order: from the first, or to the last, of digits and of letters. */
#define RANGE "0-\\d|\\d-9|A-[A-Z]|[A-Z]-Z|a-[a-z]|[a-z]-z"
#define CLASS "\\[\\^?-?(?:[^\\\\\\]-]|" RANGE "|\\\\(?:" ESCAPED "|[b-]))*-?\\]"

/* {n} {n,} and the {n,m} where m is 9, has more digits, or begins with a larger one. */
#define COUNTS                                                                                                         \
    "\\d{1,4},?|0,\\d{1,4}|1,[1-9]\\d{0,3}|2,[2-9]|3,[3-9]|4,[4-9]|5,[5-9]|6,[6-9]|7,[7-9]|8,[89]|9,9|\\d,[1-9]\\d{1," \
    "3}|"                                                                                                              \
    "1\\d,[2-9]\\d|2\\d,[3-9]\\d|3\\d,[4-9]\\d|4\\d,[5-9]\\d|5\\d,[6-9]\\d|6\\d,[7-9]\\d|7\\d,[89]\\d|8\\d,9\\d|"      \
    "\\d{2},[1-9]\\d{2,3}|\\d{3},[1-9]\\d{3}"
#define REPEAT                             \
    "(?:(?:[*+?]|\\{(?:" COUNTS ")\\})\\?" \
    "?)?"

regex format_regular_expression(struct regex_pool *pool) {
    regex repeat = format_pattern(pool, REPEAT), close = format_pattern(pool, "\\)");
    regex open = format_pattern(pool, "\\((?:\\?:)?"), look = format_pattern(pool, "\\(\\?<?[=!]");
    regex atom = format_pattern(pool, "[^^$\\\\.*+?()\\[\\]{}|]|\\.|\\\\(?:" ESCAPED ")|" CLASS);
    /* without groups */
    regex flat = regex_or(pool, regex_concat(pool, atom, repeat), format_pattern(pool, "[|^$]|\\\\[bB]"));
    regex made = regex_repeat(pool, flat, 0, REGEX_UNBOUNDED);
    regex inner = made;
    for (int depth = 0; depth < DEPTH; depth++) {
        const regex group[] = {open, made, close, repeat}, around[] = {look, made, close};
        regex term = regex_or(pool, flat, format_sequence(pool, group, 4));
        inner = made;
        made = regex_repeat(pool, regex_or(pool, term, format_sequence(pool, around, 3)), 0, REGEX_UNBOUNDED);
    }
    /* Names must differ, so there is one at most, outside of all other groups. */
    const regex named[] = {format_pattern(pool, "\\(\\?<[A-Za-z_$][\\w$]*>"), inner, close, repeat, made};
    return regex_concat(pool, made, regex_repeat(pool, format_sequence(pool, named, 5), 0, 1));
}
