/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/status.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

const char *status_name(enum status status) {
    static const char *const names[] = {
        "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
        "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
        "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
        "DATA_LOSS", "UNAUTHENTICATED"};
    return (unsigned)status < sizeof names / sizeof names[0] ? names[status] : "UNKNOWN";
}

/** Format into at most `max_bytes` bytes: whole code points, on one line, valid UTF-8 whatever the arguments hold. */
static void write_message(struct error *err, size_t max_bytes, const char *format, va_list arguments) {
    char raw[4 * ERROR_MESSAGE_BYTES] = "";
    vsnprintf(raw, sizeof raw, format, arguments);
    size_t raw_length = strlen(raw), length = 0;
    for (size_t at = 0, used; at < raw_length; at += used) {
        uint32_t code_point;
        bool valid;
        used = text_decode((const uint8_t *)raw + at, raw_length - at, &code_point, &valid);
        bool bad = !valid || code_point < 0x20 || (code_point >= 0x7f && code_point < 0xa0);
        size_t width = bad ? 1 : used;
        if (length + width > max_bytes) break;
        memcpy(err->message + length, bad ? "?" : raw + at, width);
        length += width;
    }
    err->message[length] = 0;
}

enum status error_set(struct error *err, enum status status, const char *format, ...) {
    if (err != NULL && err->message[0] == 0) {
        va_list arguments;
        va_start(arguments, format);
        write_message(err, ERROR_MESSAGE_BYTES - 1, format, arguments);
        va_end(arguments);
    }
    return status;
}

enum status error_set_errno(struct error *err, enum status status, int errnum, const char *format, ...) {
    if (err != NULL && err->message[0] == 0) {
        char buffer[96];
        const char *reason = strerror_r(errnum, buffer, sizeof buffer);
        size_t reason_length = strnlen(reason, sizeof buffer);
        va_list arguments;
        va_start(arguments, format);
        write_message(err, ERROR_MESSAGE_BYTES - 1 - 2 - reason_length, format, arguments);
        va_end(arguments);
        size_t length = strlen(err->message);
        snprintf(err->message + length, sizeof err->message - length, ": %.*s", (int)reason_length, reason);
    }
    return status;
}
