/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The protobuf wire format, one field at a time, over untrusted bytes.
 *
 *     struct wire_field field;
 *     while (wire_next(&cursor, &field)) ...
 *     if (cursor.length != 0) -> malformed
 *
 * Source: protobuf.dev/programming-guides/encoding. Groups (wire types 3 and 4) count as malformed.
 */
#ifndef BASE_PROTOBUF_WIRE_H
#define BASE_PROTOBUF_WIRE_H

#include "base/bytes.h"

#include <string.h>

enum wire_type { WIRE_VARINT = 0, WIRE_64BIT = 1, WIRE_BYTES = 2, WIRE_32BIT = 5 };

struct wire_field {
    uint32_t number;
    enum wire_type type;
    uint64_t value;          /* WIRE_VARINT, WIRE_64BIT, WIRE_32BIT */
    struct bytes_view bytes; /* WIRE_BYTES; lent */
};

/** Take a varint from the front of `cursor`; false, with `cursor` untouched, when it is cut or longer than 10 bytes. */
static inline bool wire_varint(struct bytes_view *cursor, uint64_t *out) {
    uint64_t value = 0;
    for (size_t i = 0; i < cursor->length && i < 10; i++) {
        value |= (uint64_t)(cursor->data[i] & 0x7F) << (7 * i);
        if ((cursor->data[i] & 0x80) == 0) {
            *out = value;
            *cursor = bytes_view_of(cursor->data + i + 1, cursor->length - i - 1);
            return true;
        }
    }
    return false;
}

static inline bool wire_fixed(struct bytes_view *cursor, size_t bytes, uint64_t *out) {
    if (cursor->length < bytes) return false;
    *out = 0;
    memcpy(out, cursor->data, bytes); /* little-endian machines only, as everywhere here */
    *cursor = bytes_view_of(cursor->data + bytes, cursor->length - bytes);
    return true;
}

/** Take the next field; false at the end (`cursor` empty) and at malformed bytes (`cursor` not empty). */
static inline bool wire_next(struct bytes_view *cursor, struct wire_field *out) {
    struct bytes_view rest = *cursor;
    uint64_t tag, length;
    if (rest.length == 0 || !wire_varint(&rest, &tag)) return false;
    if (tag >> 3 == 0 || tag >> 3 > 0x1FFFFFFF) return false;
    *out = (struct wire_field){.number = (uint32_t)(tag >> 3), .type = (enum wire_type)(tag & 7)};
    switch (tag & 7) {
    case WIRE_VARINT:
        if (!wire_varint(&rest, &out->value)) return false;
        break;
    case WIRE_64BIT:
        if (!wire_fixed(&rest, 8, &out->value)) return false;
        break;
    case WIRE_32BIT:
        if (!wire_fixed(&rest, 4, &out->value)) return false;
        break;
    case WIRE_BYTES:
        if (!wire_varint(&rest, &length) || length > rest.length) return false;
        out->bytes = bytes_view_of(rest.data, (size_t)length);
        rest = bytes_view_of(rest.data + length, rest.length - (size_t)length);
        break;
    default:
        return false;
    }
    *cursor = rest;
    return true;
}

#endif
