/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Who makes which format: formats.c (the table, and what is one pattern), formats_time.c, formats_network.c, formats_idn.c, formats_pattern.c.
 * All return REGEX_FAILED when the budget is exhausted. */
#ifndef ENGINE_GRAMMAR_FORMATS_INTERNAL_H
#define ENGINE_GRAMMAR_FORMATS_INTERNAL_H

#include "engine/grammar/formats.h"

/* Fragments of patterns. */
#define HEX "[\\dA-Fa-f]"
#define PERCENT "%" HEX HEX
/* ucschar and iprivate of RFC 3987, in a class. */
#define UCS                                                                                                     \
    "\\u00a0-\\u200d\\u2010-\\u2029\\u202f-\\u2065\\u206a-\\ud7ff\\uf900-\\ufdcf\\ufdf0-\\uffef"                \
    "\\u{10000}-\\u{1fffd}\\u{20000}-\\u{2fffd}\\u{30000}-\\u{3fffd}\\u{40000}-\\u{4fffd}\\u{50000}-\\u{5fffd}" \
    "\\u{60000}-\\u{6fffd}\\u{70000}-\\u{7fffd}\\u{80000}-\\u{8fffd}\\u{90000}-\\u{9fffd}\\u{a0000}-\\u{afffd}" \
    "\\u{b0000}-\\u{bfffd}\\u{c0000}-\\u{cfffd}\\u{d0000}-\\u{dfffd}\\u{e1000}-\\u{efffd}"
#define UCS_PRIVATE "\\ue000-\\uf8ff\\u{f0000}-\\u{ffffd}\\u{100000}-\\u{10fffd}"

/* A label of a hostname: RFC 1123, without RFC 5890's reserved ones, of at most 5 + `inner` characters; and what follows its first character. */
#define LABEL_AFTER(inner)                                                                                      \
    "(?:[\\dA-Za-z-]{0,2}[\\dA-Za-z]|[\\dA-Za-z-](?:[\\dA-Za-z][\\dA-Za-z-]|-[\\dA-Za-z])[\\dA-Za-z-]{0," inner \
    "}[\\dA-Za-z])?"
#define LABEL(inner) "[\\dA-Za-z]" LABEL_AFTER(inner)

/** All of the text matches the ECMA-262 pattern. */
regex format_pattern(struct regex_pool *pool, const char *pattern);
/** One label to `most` with dots between. */
regex format_names(struct regex_pool *pool, regex label, regex dot, uint32_t most);
/** One part behind the other. */
regex format_sequence(struct regex_pool *pool, const regex *parts, size_t count);

regex format_time(struct regex_pool *pool);
regex format_date_time(struct regex_pool *pool);
regex format_hostname(struct regex_pool *pool);
regex format_ipv6(struct regex_pool *pool);
regex format_email(struct regex_pool *pool);
regex format_idn_email(struct regex_pool *pool);
regex format_uri(struct regex_pool *pool);
regex format_uri_reference(struct regex_pool *pool);
regex format_iri(struct regex_pool *pool);
regex format_iri_reference(struct regex_pool *pool);
regex format_idn_hostname(struct regex_pool *pool);
regex format_regular_expression(struct regex_pool *pool);

#define FORMAT_DATE                                                                                                    \
    "\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-" \
    "8]))|"                                                                                                            \
    "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29"
#define FORMAT_IPV4_NUMBER "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define FORMAT_IPV4 FORMAT_IPV4_NUMBER "(?:\\." FORMAT_IPV4_NUMBER "){3}"

#endif
