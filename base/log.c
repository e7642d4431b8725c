/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *log_service = "bora";
static atomic_int log_least = LOG_LEVEL_INFO;
static enum log_format log_form = LOG_FORMAT_JSON;
static int log_fd = 2;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/** A line under construction. Room for what must still follow (quotes and the end) is kept back. */
struct line {
    char text[LIMIT_LOG_LINE_BYTES];
    size_t length;
};
enum { LINE_RESERVE = 8 };

void log_configure(const char *service, enum log_level level, enum log_format format, int fd) {
    log_service = service;
    atomic_store(&log_least, (int)level);
    log_form = format;
    log_fd = fd;
}

bool log_level_parse(const char *name, enum log_level *out) {
    for (int i = 0; i < 4; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_enabled(enum log_level level) { return (int)level >= atomic_load_explicit(&log_least, memory_order_relaxed); }

static size_t room(const struct line *line) { return sizeof line->text - LINE_RESERVE - line->length; }

static bool put(struct line *line, const char *text, size_t length) {
    if (length > room(line)) return false;
    memcpy(line->text + line->length, text, length);
    line->length += length;
    return true;
}

static bool put_string(struct line *line, const char *text) { return put(line, text, strlen(text)); }

/** The inside of a JSON string; stops where the line is full. Invalid UTF-8 becomes U+FFFD. */
static void put_escaped(struct line *line, const char *text) {
    size_t length = strlen(text);
    for (size_t at = 0; at < length;) {
        uint32_t code_point;
        bool valid;
        size_t used = text_decode((const uint8_t *)text + at, length - at, &code_point, &valid);
        char escaped[8];
        bool written;
        if (!valid) written = put(line, "\xEF\xBF\xBD", 3);
        else if (code_point == '"' || code_point == '\\') written = (escaped[0] = '\\', escaped[1] = (char)code_point, put(line, escaped, 2));
        else if (code_point < 0x20 || code_point == 0x7f) written = put(line, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\u%04x", code_point));
        else written = put(line, text + at, used);
        if (!written) return;
        at += used;
    }
}

static void put_value(struct line *line, const struct log_field *field, bool quote) {
    char number[40];
    switch (field->kind) {
    case LOG_FIELD_STRING:
        if (field->value.string == NULL) {
            put_string(line, "null");
            break;
        }
        if (quote && !put_string(line, "\"")) return;
        put_escaped(line, field->value.string);
        /* The closing quote takes from the reserve: the string may have filled the line. */
        if (quote) line->text[line->length++] = '"';
        break;
    case LOG_FIELD_INTEGER: put(line, number, (size_t)snprintf(number, sizeof number, "%" PRId64, field->value.integer)); break;
    case LOG_FIELD_DOUBLE: put(line, number, text_from_double(field->value.number, number)); break;
    case LOG_FIELD_BOOL: put_string(line, field->value.boolean ? "true" : "false"); break;
    case LOG_FIELD_END: break;
    }
}

/** One more member; left out whole when even its name and a short value do not fit. */
static void put_field(struct line *line, const struct log_field *field, bool json) {
    enum { VALUE_LEAST = 48 };
    if (room(line) < strlen(field->name) + VALUE_LEAST) return;
    put_string(line, json ? ",\"" : " ");
    put_string(line, field->name);
    put_string(line, json ? "\":" : "=");
    bool blank = field->kind == LOG_FIELD_STRING && field->value.string != NULL && strpbrk(field->value.string, " \t\"=") != NULL;
    put_value(line, field, json || blank);
}

void log_write(enum log_level level, const char *event, const struct log_field *fields) {
    struct line line = {.length = 0};
    char time[32];
    clock_format_rfc3339(clock_unix_ns(clock_system()), time);
    bool json = log_form == LOG_FORMAT_JSON;
    if (json) {
        line.length = (size_t)snprintf(line.text, sizeof line.text / 2, "{\"time\":\"%s\",\"level\":\"%s\"", time, level_names[level]);
        put_field(&line, &LOG_S("service", log_service), true);
        put_field(&line, &LOG_S("event", event), true);
    } else {
        line.length = (size_t)snprintf(line.text, sizeof line.text / 2, "%s %-5s ", time, level_names[level]);
        put_escaped(&line, event);
    }
    for (; fields->kind != LOG_FIELD_END; fields++) put_field(&line, fields, json);
    if (json) line.text[line.length++] = '}';
    line.text[line.length++] = '\n';
    /* One write keeps lines of several threads and processes whole; a log that cannot be written is not worth dying for. */
    ssize_t ignored = write(log_fd, line.text, line.length);
    (void)ignored;
}
