/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bytes_view bytes_view_of(const void *data, size_t length) {
    return (struct bytes_view){.data = data, .length = length};
}

struct bytes_view bytes_view_string(const char *string) {
    return bytes_view_of(string, string != NULL ? strlen(string) : 0);
}

bool bytes_view_equal(struct bytes_view a, struct bytes_view b) {
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

bool bytes_view_begins(struct bytes_view text, struct bytes_view with) {
    return text.length >= with.length && (with.length == 0 || memcmp(text.data, with.data, with.length) == 0);
}

int bytes_view_compare(struct bytes_view a, struct bytes_view b) {
    size_t common = a.length < b.length ? a.length : b.length;
    int order = common > 0 ? memcmp(a.data, b.data, common) : 0;
    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

bool bytes_view_equal_string(struct bytes_view view, const char *string) {
    return bytes_view_equal(view, bytes_view_string(string));
}

void bytes_init(struct bytes *bytes, size_t max_bytes) {
    *bytes = (struct bytes){.max_bytes = max_bytes};
}

void bytes_deinit(struct bytes *bytes) {
    free(bytes->data);
    bytes_init(bytes, bytes->max_bytes);
}

void bytes_reset(struct bytes *bytes) {
    bytes->length = 0;
    bytes->failed = false;
    if (bytes->data != NULL) bytes->data[0] = 0;
}

enum status bytes_reserve(struct bytes *bytes, size_t extra) {
    enum { CAPACITY_MIN = 64 };
    if (bytes->failed || extra > bytes->max_bytes - bytes->length || extra == SIZE_MAX - bytes->length) {
        bytes->failed = true;
        return STATUS_RESOURCE_EXHAUSTED;
    }
    size_t needed = bytes->length + extra + 1; /* and the NUL */
    if (needed <= bytes->capacity) return STATUS_OK;
    size_t capacity = bytes->capacity < CAPACITY_MIN ? CAPACITY_MIN : bytes->capacity * 2;
    if (capacity > bytes->max_bytes) capacity = bytes->max_bytes + 1;
    if (capacity < needed) capacity = needed;
    uint8_t *data = realloc(bytes->data, capacity);
    if (data == NULL) {
        bytes->failed = true;
        return STATUS_RESOURCE_EXHAUSTED;
    }
    bytes->data = data;
    bytes->capacity = capacity;
    return STATUS_OK;
}

enum status bytes_append(struct bytes *bytes, const void *data, size_t length) {
    TRY(bytes_reserve(bytes, length));
    if (length > 0) memcpy(bytes->data + bytes->length, data, length);
    bytes->length += length;
    bytes->data[bytes->length] = 0;
    return STATUS_OK;
}

enum status bytes_append_string(struct bytes *bytes, const char *string) {
    return bytes_append(bytes, string, strlen(string));
}

enum status bytes_append_byte(struct bytes *bytes, uint8_t byte) {
    return bytes_append(bytes, &byte, 1);
}

enum status bytes_append_decimal(struct bytes *bytes, int64_t number) {
    char digits[TEXT_I64_BYTES];
    return bytes_append(bytes, digits, text_from_i64(number, digits));
}

enum status bytes_printf(struct bytes *bytes, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        bytes->failed = true;
        return STATUS_INTERNAL;
    }
    TRY(bytes_reserve(bytes, (size_t)length));
    va_start(arguments, format);
    vsnprintf((char *)bytes->data + bytes->length, (size_t)length + 1, format, arguments);
    va_end(arguments);
    bytes->length += (size_t)length;
    return STATUS_OK;
}

void bytes_consume(struct bytes *bytes, size_t length) {
    if (length >= bytes->length) {
        bytes->length = 0;
    } else if (length > 0) {
        memmove(bytes->data, bytes->data + length, bytes->length - length);
        bytes->length -= length;
    }
    if (bytes->data != NULL) bytes->data[bytes->length] = 0;
}

void bytes_drop_taken(struct bytes *bytes, size_t *taken) {
    enum { MOVED_PER_BYTE = 4 };
    if ((bytes->length - *taken) / MOVED_PER_BYTE > *taken) return;
    bytes_consume(bytes, *taken);
    *taken = 0;
}

struct bytes_view bytes_view(const struct bytes *bytes) {
    return bytes_view_of(bytes->data, bytes->length);
}

uint8_t *bytes_take(struct bytes *bytes, size_t *out_length) {
    uint8_t *data = bytes->data != NULL ? bytes->data : calloc(1, 1);
    if (out_length != NULL) *out_length = bytes->length;
    bytes_init(bytes, bytes->max_bytes);
    return data;
}

bool bytes_equal_constant_time(const void *a, const void *b, size_t length) {
    const volatile uint8_t *x = a, *y = b;
    uint8_t difference = 0;
    for (size_t i = 0; i < length; i++) difference |= x[i] ^ y[i];
    return difference == 0;
}

void bytes_to_hex(const void *data, size_t length, char *out) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *in = data;
    for (size_t i = 0; i < length; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * length] = 0;
}

static int hex_value(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
    return -1;
}

bool bytes_from_hex(const char *hex, size_t hex_length, uint8_t *out) {
    if (hex_length % 2 != 0) return false;
    for (size_t i = 0; i < hex_length / 2; i++) {
        int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
