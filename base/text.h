/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Text: UTF-8 decoding and checking (Unicode 15, table 3-7: no overlong forms, no surrogates, at most U+10FFFF).
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TEXT_REPLACEMENT = 0xFFFD };

/** Decode one code point at `data[0..length)`, length > 0. Returns the bytes consumed (1..4). An invalid or cut
 *  sequence consumes its maximal subpart (at least 1) and gives TEXT_REPLACEMENT with `*out_valid` false. */
size_t text_decode(const uint8_t *data, size_t length, uint32_t *out_code_point, bool *out_valid);
/** Encode into `out[4]`; returns the number of bytes, 0 for a surrogate or a value above U+10FFFF. */
size_t text_encode(uint32_t code_point, uint8_t out[4]);
/** True when all of it is valid UTF-8. NUL bytes are valid. */
bool text_is_utf8(const void *data, size_t length);
/** The longest prefix that does not end inside a sequence that more bytes could complete. Bytes that can never
 *  become valid count as complete (the caller replaces them). For streaming. */
size_t text_complete_prefix(const uint8_t *data, size_t length);
/** Length of `text` cut to at most `max_bytes` without splitting a code point. */
size_t text_truncate(const char *text, size_t length, size_t max_bytes);
/** What does not belong in a text that is shown in a line among others: controls (C0, DEL, C1), line and paragraph separators, and what turns
 *  the direction of the text behind it (U+202A to U+202E, U+2066 to U+2069). */
bool text_breaks_line(uint32_t code_point);
/** strtoull-like, whole string, decimal digits only. */
bool text_to_u64(const char *text, uint64_t *out);
bool text_to_i64(const char *text, int64_t *out);
/** Decimal digits and a NUL. The length without it. */
enum { TEXT_I64_BYTES = 21 };
size_t text_from_i64(int64_t number, char out[TEXT_I64_BYTES]);
/** Locale-independent, whole string, finite only. */
bool text_to_double(const char *text, double *out);
/** Shortest decimal that reads back as the same double (JSON-safe; NaN and infinities give "null"). `out` >= 32 bytes. */
size_t text_from_double(double value, char *out);
/** The same digits without an exponent, for whoever reads no other: 0.000000012. `out` >= TEXT_PLAIN_DOUBLE_BYTES. */
size_t text_from_double_plain(double value, char *out);
enum { TEXT_PLAIN_DOUBLE_BYTES = 352 }; /* a sign, "0.", and the 324 + 17 places of the least that there are, at most */

/** Whatever in `text` looks like an API key of ours (bora_<12 letters and digits, or "admin">_<at least 16 letters, digits, - or _>) loses its secret part to stars, in
 *  place: for texts that hold what others wrote. */
void text_mask_keys(char *text, size_t length);

#endif
