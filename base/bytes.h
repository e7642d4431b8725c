/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Bytes: a lent view of memory, and a growing buffer with a maximum given at birth.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Lent memory; not NUL-terminated. `data` may be NULL when `length` is 0. */
struct bytes_view {
    const uint8_t *data;
    size_t length;
};

/** A growing buffer. After a failed append it keeps what it had and `failed` stays true until reset, so that a run
 *  of appends needs one check at the end. `data` is always NUL-terminated behind `length` once something was written. */
struct bytes {
    uint8_t *data;
    size_t length;
    size_t capacity;
    size_t max_bytes; /* length never passes this */
    bool failed;
};

struct bytes_view bytes_view_of(const void *data, size_t length);
struct bytes_view bytes_view_string(const char *string); /* NULL gives an empty view */
bool bytes_view_equal(struct bytes_view a, struct bytes_view b);
/** The order of bytes, the shorter first where one begins the other: < 0, 0 or > 0. */
int bytes_view_compare(struct bytes_view a, struct bytes_view b);
bool bytes_view_equal_string(struct bytes_view view, const char *string);
/** The text begins with all of `with`. */
bool bytes_view_begins(struct bytes_view text, struct bytes_view with);

/** FNV-1a, 64 bits, of what was hashed before (`hash`; at first BYTES_HASH_START) and the bytes. */
#define BYTES_HASH_START UINT64_C(0xcbf29ce484222325)
static inline uint64_t bytes_hash(uint64_t hash, struct bytes_view bytes) {
    for (size_t i = 0; i < bytes.length; i++) hash = (hash ^ bytes.data[i]) * UINT64_C(0x100000001b3);
    return hash;
}

void bytes_init(struct bytes *bytes, size_t max_bytes);
void bytes_deinit(struct bytes *bytes);
/** Forget the content, keep the memory, clear `failed`. */
void bytes_reset(struct bytes *bytes);
/** STATUS_RESOURCE_EXHAUSTED when `max_bytes` or memory is reached. */
enum status bytes_reserve(struct bytes *bytes, size_t extra);
enum status bytes_append(struct bytes *bytes, const void *data, size_t length);
enum status bytes_append_string(struct bytes *bytes, const char *string);
enum status bytes_append_byte(struct bytes *bytes, uint8_t byte);
enum status bytes_append_decimal(struct bytes *bytes, int64_t number);
enum status bytes_printf(struct bytes *bytes, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Remove `length` bytes from the front. */
void bytes_consume(struct bytes *bytes, size_t length);
/** `*taken` bytes at the front are done with: remove them, and set it to 0, once they are a fifth of all. So what waits behind them is moved at most four
 *  times as often as bytes leave, however much it is, and however few leave at a time. */
void bytes_drop_taken(struct bytes *bytes, size_t *taken);
struct bytes_view bytes_view(const struct bytes *bytes);
/** Give the memory (malloc'd, NUL-terminated) to the caller and become empty. */
uint8_t *bytes_take(struct bytes *bytes, size_t *out_length);

/** Compare without leaking where they differ; lengths must be equal for true. */
bool bytes_equal_constant_time(const void *a, const void *b, size_t length);
/** Lower-case hex; `out` holds 2*length+1. */
void bytes_to_hex(const void *data, size_t length, char *out);
/** 2*length hex digits into `out`; false when a character is not a hex digit. */
bool bytes_from_hex(const char *hex, size_t hex_length, uint8_t *out);

#endif
