/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The values of JSON Schema's "format" and "contentEncoding" as regular languages.
 *
 * A text out of the language is valid by the format's standard ("sound"). Where the standard is not regular, or asks for tables that nobody would want
 * to pay for, the language is a part of it ("tighter"); nowhere but in the lines marked "wider" does it hold more.
 * Where a schema forbids a format ("not"), format_complement says which texts are certainly not of it: for tighter ones those outside of a wider language.
 *
 *     format                  standard               the language
 *     date                    RFC 3339 full-date     exact: lengths of months, leap years
 *     time                    RFC 3339 full-time     exact but for leap seconds: only where the offset makes it 23:59:60 in UTC, and
 *                                                    (tighter, for the cost) the offset is a whole hour between -12:00 and +14:00
 *     date-time               RFC 3339               as both; a leap second only at the end of June or December in UTC, as RFC 3339
 *                                                    section 5.6 names them. "T" and "Z" in either case, no blank in place of "T"
 *     duration                RFC 3339 appendix A    exact; upper case (tighter: ABNF has both, ISO 8601 this one)
 *     email                   RFC 5321 Mailbox       dot-string or quoted-string of at most 64, @, labels of at most 63, at most 254 in all;
 *                                                    tighter: a domain of at most 189, of address literals only IPv4 and IPv6.
 *                                                    Wider: "::" for a single group, as RFC 4291 has it
 *     idn-email               RFC 6531               the same with UTF-8; tighter: at most 16 characters before the @ when not all of
 *                                                    them are ASCII (64 octets, whatever they are); the domain is an idn-hostname (RFC 5890's U-labels) or an ASCII one
 *     hostname                RFC 1123, 952          labels of 1 to 63 letters, digits and inner hyphens, 253 in all, no final dot; tighter: no "--" in
 *                                                    positions 3 and 4 (RFC 5890's reserved labels), so no "xn--": whether Punycode is
 *                                                    valid is not a regular question. Wider: the last label may be a number
 *     idn-hostname            RFC 5890 to 5893       far tighter, see formats_idn.c: hostnames, and labels of the scripts listed there whose A-labels are short
 *                                                    enough whatever the letters; contextual and Bidi rules, NFC by construction
 *     ipv4                    RFC 2673 section 3.2   exact: four numbers to 255, no leading zeros
 *     ipv6                    RFC 4291 section 2.2   exact: RFC 3986's IPv6address; no zone, no prefix length
 *     uri, uri-reference      RFC 3986               exact
 *     iri, iri-reference      RFC 3987               exact without the characters that turn the direction of writing (section 4.1 forbids them)
 *     uri-template            RFC 6570               exact with erratum 6937 (the apostrophe), without the operators "=,!@|" that the RFC reserves (tighter)
 *     uuid                    RFC 9562               exact: any version and variant, either case
 *     json-pointer            RFC 6901               exact
 *     relative-json-pointer   draft-handrews-...-01  exact (no "+1" behind the number: a later draft)
 *     regex                   ECMA-262               patterns that are valid with and without the "u" flag; tighter: groups at most 8 deep, no back-references,
 *                                                    one named group at most, \p{} of general categories only, ranges of digits and letters that begin or
 *                                                    end where these do, {n,m} where the digits show that n <= m
 *     contentEncoding base64  RFC 4648 section 4     exact: padded, pad bits zero, no line ends
 *
 * Cost: 1 to 70 us and some KB of the pool for each; the pool shares nothing between two calls but equal parts, so a caller that
 * meets a format often keeps the handle.
 */
#ifndef ENGINE_GRAMMAR_FORMATS_H
#define ENGINE_GRAMMAR_FORMATS_H

#include "engine/grammar/regex.h"

/**
 * The texts of the format `name`. *known is false for names that are not in the table (annotations; *out is REGEX_EVERYTHING then).
 * STATUS_RESOURCE_EXHAUSTED: the pool's budget.
 */
enum status format_regex(struct regex_pool *pool, struct bytes_view name, regex *out, bool *known, struct error *err);

/**
 * Texts that are not of the format, whatever reading of its standard: the complement of `language` (what format_regex gave) where that is exact,
 * of a wider language where it is tighter. Unknown names: REGEX_NOTHING.
 */
enum status format_complement(struct regex_pool *pool, struct bytes_view name, regex language, regex *out,
                              struct error *err);

/** The same for the name of an encoding (in any case, as RFC 2045 has it); only base64 is known. */
enum status content_encoding_regex(struct regex_pool *pool, struct bytes_view name, regex *out, bool *known,
                                   struct error *err);

#endif
