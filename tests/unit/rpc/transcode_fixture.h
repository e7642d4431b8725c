/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What the transcoder's tests share: read a text, print its errors on lines, write a message back. */
#ifndef TESTS_TRANSCODE_FIXTURE_H
#define TESTS_TRANSCODE_FIXTURE_H

#include "rpc/transcode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FIXTURE_ARENA_BYTES = 8 * 1024 * 1024 };

struct fixture {
    struct transcoder *transcoder;
    struct arena arena;
    struct transcode_errors errors;
    struct bytes text; /* of the last rendering or writing */
};

static inline void fixture_open(struct fixture *fixture, struct bytes_view descriptors,
                                const ProtobufCMessageDescriptor *const *messages, size_t count) {
    struct error err = {0};
    *fixture = (struct fixture){0};
    if (transcoder_create(descriptors, messages, count, &fixture->transcoder, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    arena_init(&fixture->arena, FIXTURE_ARENA_BYTES);
    bytes_init(&fixture->text, FIXTURE_ARENA_BYTES);
}

static inline void fixture_close(struct fixture *fixture) {
    transcoder_destroy(fixture->transcoder);
    arena_deinit(&fixture->arena);
    bytes_deinit(&fixture->text);
}

/** One line per error: /path: type: message | input | context; absent parts are '-'. */
static inline const char *fixture_errors(struct fixture *fixture) {
    bytes_reset(&fixture->text);
    for (size_t i = 0; i < fixture->errors.count; i++) {
        const struct transcode_error *error = &fixture->errors.items[i];
        for (size_t j = 0; j < error->path_length; j++) {
            if (error->path[j].name != NULL)
                (void)bytes_printf(&fixture->text, "/%s", error->path[j].name);
            else
                (void)bytes_printf(&fixture->text, "/%lld", (long long)error->path[j].index);
        }
        (void)bytes_printf(&fixture->text, ": %s: %s | %s | %s\n", error->type, error->message,
                           error->input != NULL ? error->input : "-", error->context != NULL ? error->context : "-");
    }
    return fixture->text.data != NULL ? (const char *)fixture->text.data : "";
}

static inline enum status fixture_read(struct fixture *fixture, const ProtobufCMessageDescriptor *descriptor,
                                       struct bytes_view json, bool strict, ProtobufCMessage **out) {
    arena_reset(&fixture->arena);
    struct transcode_options options = {.strict = strict};
    return transcode_read(fixture->transcoder, &options, descriptor, json, &fixture->arena, out, &fixture->errors);
}

static inline const char *fixture_write(struct fixture *fixture, const ProtobufCMessage *message) {
    bytes_reset(&fixture->text);
    assert_int_equal(transcode_write(fixture->transcoder, message, &fixture->text), STATUS_OK);
    return (const char *)fixture->text.data;
}

/** The text must be refused with exactly these lines. */
static inline void fixture_expect_errors(struct fixture *fixture, const ProtobufCMessageDescriptor *descriptor,
                                         const char *json, bool strict, const char *expected) {
    ProtobufCMessage *message = NULL;
    enum status status = fixture_read(fixture, descriptor, bytes_view_string(json), strict, &message);
    const char *got = fixture_errors(fixture);
    if (strcmp(got, expected) != 0) fail_msg("%s\n gives\n%s instead of\n%s", json, got, expected);
    assert_int_equal(status, STATUS_INVALID_ARGUMENT);
    assert_null(message);
}

/** The text must be read, and written back as `expected`. */
static inline void fixture_expect_written(struct fixture *fixture, const ProtobufCMessageDescriptor *descriptor,
                                          const char *json, bool strict, const char *expected) {
    ProtobufCMessage *message = NULL;
    enum status status = fixture_read(fixture, descriptor, bytes_view_string(json), strict, &message);
    if (status != STATUS_OK) fail_msg("%s\n gives %s\n%s", json, status_name(status), fixture_errors(fixture));
    const char *got = fixture_write(fixture, message);
    if (strcmp(got, expected) != 0) fail_msg("%s\n comes back as\n%s instead of\n%s", json, got, expected);
}

#endif
