/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Status codes and errors, used by every module.
 *
 * A function that can fail returns `enum status`. When it fails it writes one sentence for a person into the
 * caller's `struct error`: which thing, which value, no secrets, at most 64 characters of user text. The deepest
 * function that knows the cause writes it; nobody overwrites it. Outputs are set only on success.
 *
 *     struct error err = {0};
 *     TRY(gguf_open(path, &file, &err));                 // returns the status when it is not STATUS_OK
 *     TRY_CLEANUP(tokenizer_load(file, &tok, &err));     // sets `status` and jumps to `cleanup:`
 */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include <stdarg.h>

/** gRPC's numbers, so that a status crosses a process unchanged. */
enum [[nodiscard]] status{
    STATUS_OK = 0,
    STATUS_CANCELLED = 1,
    STATUS_UNKNOWN = 2,
    STATUS_INVALID_ARGUMENT = 3,
    STATUS_DEADLINE_EXCEEDED = 4,
    STATUS_NOT_FOUND = 5,
    STATUS_ALREADY_EXISTS = 6,
    STATUS_PERMISSION_DENIED = 7,
    STATUS_RESOURCE_EXHAUSTED = 8,
    STATUS_FAILED_PRECONDITION = 9,
    STATUS_ABORTED = 10,
    STATUS_OUT_OF_RANGE = 11,
    STATUS_UNIMPLEMENTED = 12,
    STATUS_INTERNAL = 13,
    STATUS_UNAVAILABLE = 14,
    STATUS_DATA_LOSS = 15,
    STATUS_UNAUTHENTICATED = 16,
};

enum { ERROR_MESSAGE_BYTES = 256 };

/** The sentence for a person. `message[0] == 0` means that nothing was written. */
struct error {
    char message[ERROR_MESSAGE_BYTES];
};

/** "INVALID_ARGUMENT" and so on; "UNKNOWN" for a number outside the table. */
const char *status_name(enum status status);

/**
 * Write the formatted sentence into `err` unless one is already there, and return `status`, so that
 * `return error_set(err, STATUS_NOT_FOUND, "no model named %s", name);` is one line. `err` may be NULL.
 * Control characters and invalid UTF-8 become '?' (so "%.64s" of user text may cut a code point), an over-long sentence
 * is cut at a UTF-8 boundary.
 */
enum status error_set(struct error *err, enum status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** As error_set with ": strerror(errnum)" behind the sentence, which is cut so that the reason fits. */
enum status error_set_errno(struct error *err, enum status status, int errnum, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#define TRY(expression)                                   \
    do {                                                  \
        enum status try_status_ = (expression);           \
        if (try_status_ != STATUS_OK) return try_status_; \
    } while (0)

#define TRY_CLEANUP(expression)                \
    do {                                       \
        status = (expression);                 \
        if (status != STATUS_OK) goto cleanup; \
    } while (0)

#endif
