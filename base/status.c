/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/status.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

const char *status_name(enum status status) {
    static const char *const names[] = {"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
                                        "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
                                        "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};
    return (unsigned)status < sizeof names / sizeof names[0] ? names[status] : "UNKNOWN";
}

/** Format, cut at a UTF-8 boundary, and keep the sentence on one line. */
static void write_message(struct error *err, const char *format, va_list arguments) {
    char long_text[4 * ERROR_MESSAGE_BYTES];
    int written = vsnprintf(long_text, sizeof long_text, format, arguments);
    size_t length = written < 0 ? 0 : strlen(long_text);
    length = text_truncate(long_text, length, ERROR_MESSAGE_BYTES - 1);
    memcpy(err->message, long_text, length);
    err->message[length] = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)err->message[i];
        if (c < 0x20 || c == 0x7f) err->message[i] = '?';
    }
}

enum status error_set(struct error *err, enum status status, const char *format, ...) {
    if (err != NULL && err->message[0] == 0) {
        va_list arguments;
        va_start(arguments, format);
        write_message(err, format, arguments);
        va_end(arguments);
    }
    return status;
}

enum status error_set_errno(struct error *err, enum status status, int errnum, const char *format, ...) {
    if (err != NULL && err->message[0] == 0) {
        va_list arguments;
        va_start(arguments, format);
        write_message(err, format, arguments);
        va_end(arguments);
        size_t length = strlen(err->message);
        char reason[128];
        snprintf(err->message + length, sizeof err->message - length, ": %s", strerror_r(errnum, reason, sizeof reason));
    }
    return status;
}
