/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Structured log: one line of JSON per event on stderr (or a file descriptor), written with one write(2).
 *
 *     {"time":"2026-11-23T12:09:01.123456Z","level":"info","service":"gateway","event":"request done","request_id":"…","status":200}
 *
 * Only services log (at their edge); libraries return errors. Never log keys, prompts or answers.
 *
 *     log_info("request done", LOG_S("request_id", id), LOG_I("status", 200), LOG_F("seconds", 0.12));
 *
 * A line is cut to LIMIT_LOG_LINE_BYTES by shortening string values; it always stays valid JSON. Any thread.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/limits.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_JSON, LOG_FORMAT_TEXT };
enum log_field_kind { LOG_FIELD_END, LOG_FIELD_STRING, LOG_FIELD_INTEGER, LOG_FIELD_DOUBLE, LOG_FIELD_BOOL };

struct log_field {
    enum log_field_kind kind;
    const char *name;
    union {
        const char *string; /* NULL prints null */
        int64_t integer;
        double number;
        bool boolean;
    } value;
};

#define LOG_S(field, text) ((struct log_field){LOG_FIELD_STRING, (field), {.string = (text)}})
#define LOG_I(field, number_) ((struct log_field){LOG_FIELD_INTEGER, (field), {.integer = (int64_t)(number_)}})
#define LOG_F(field, number_) ((struct log_field){LOG_FIELD_DOUBLE, (field), {.number = (number_)}})
#define LOG_B(field, flag) ((struct log_field){LOG_FIELD_BOOL, (field), {.boolean = (flag)}})

/** Call once at start, before other threads. `service` must live as long as the process. Default: info, JSON, fd 2. */
void log_configure(const char *service, enum log_level level, enum log_format format, int fd);
/** "debug", "info", "warn", "error". */
bool log_level_parse(const char *name, enum log_level *out);
bool log_enabled(enum log_level level);
/** A thread that has better to do first may gather its lines: they wait in `buffer` until it is full, a warning comes, or this is called again. Lines
 *  that wait are lost when the process is killed. From then on, on the calling thread; NULL: write each at once again. */
enum { LOG_BUFFER_BYTES = LIMIT_LOG_LINE_BYTES /* what a pipe takes in one piece */ };
struct log_buffer {
    size_t length;
    char text[LOG_BUFFER_BYTES];
};
void log_gather(struct log_buffer *buffer);
/** `fields` ends with kind LOG_FIELD_END. */
void log_write(enum log_level level, const char *event, const struct log_field *fields);

#define LOG_FIELDS_(...) ((const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){LOG_FIELD_END, 0, {0}}})
#define LOG_AT_(level, event, ...)                                                 \
    do {                                                                           \
        if (log_enabled(level)) log_write(level, event, LOG_FIELDS_(__VA_ARGS__)); \
    } while (0)
#define log_debug(event, ...) LOG_AT_(LOG_LEVEL_DEBUG, event, __VA_ARGS__)
#define log_info(event, ...) LOG_AT_(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define log_warn(event, ...) LOG_AT_(LOG_LEVEL_WARN, event, __VA_ARGS__)
#define log_error(event, ...) LOG_AT_(LOG_LEVEL_ERROR, event, __VA_ARGS__)

#endif
