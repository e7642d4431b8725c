/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <threads.h>
#include <unistd.h>

static const char *log_service = "bora";
static atomic_int log_least = LOG_LEVEL_INFO;
static enum log_format log_form = LOG_FORMAT_JSON;
static int log_fd = 2;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/** A line under construction. Nothing is put past `limit`. */
struct line {
    char text[LIMIT_LOG_LINE_BYTES];
    size_t length, limit;
};

enum {
    LINE_END_BYTES = 2,     /* what closes every line: "}" and the line feed */
    FIELD_LEAST_BYTES = 48, /* besides its name: punctuation with a number, or with the beginning of a string */
};

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

bool log_enabled(enum log_level level) {
    return (int)level >= atomic_load_explicit(&log_least, memory_order_relaxed);
}

static size_t room(const struct line *line) {
    return line->limit - line->length;
}

static bool put(struct line *line, const char *text, size_t length) {
    if (length > room(line)) return false;
    memcpy(line->text + line->length, text, length);
    line->length += length;
    return true;
}

static bool put_string(struct line *line, const char *text) {
    return put(line, text, strlen(text));
}

/** As many bytes as stand for themselves in a JSON string. */
static size_t plain_length(const char *text) {
    const unsigned char *at = (const unsigned char *)text;
    while (*at >= 0x20 && *at < 0x7f && *at != '"' && *at != '\\') at++;
    return (size_t)((const char *)at - text);
}

/** The inside of a JSON string; stops where the line is full. Invalid UTF-8 becomes U+FFFD. */
static void put_escaped(struct line *line, const char *text) {
    size_t length = strlen(text);
    for (size_t at = 0, used; at < length; at += used) {
        used = plain_length(text + at);
        if (used > room(line)) used = room(line);
        if (used > 0) {
            put(line, text + at, used);
            continue;
        }
        uint32_t code_point;
        bool valid, written;
        char escaped[8];
        used = text_decode((const uint8_t *)text + at, length - at, &code_point, &valid);
        if (!valid)
            written = put(line, "\xEF\xBF\xBD", 3);
        else if (code_point == '"')
            written = put_string(line, "\\\"");
        else if (code_point == '\\')
            written = put_string(line, "\\\\");
        else if (code_point == '\n')
            written = put_string(line, "\\n");
        else if (code_point < 0x20 || code_point == 0x7f)
            written = put(line, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\u%04x", code_point));
        else
            written = put(line, text + at, used);
        if (!written) return;
    }
}

/** There is room for FIELD_LEAST_BYTES. */
static void put_quoted(struct line *line, const char *text) {
    put_string(line, "\"");
    line->limit--; /* for the closing quote */
    put_escaped(line, text);
    line->limit++;
    put_string(line, "\"");
}

/** In text form a plain word stands without quotes. */
static bool is_plain_word(const char *text) {
    if (*text == 0) return false;
    for (; *text != 0; text++) {
        if ((unsigned char)*text <= ' ' || *text == '"' || *text == '=' || *text == 0x7f) return false;
    }
    return true;
}

static void put_value(struct line *line, const struct log_field *field, bool json) {
    char number[40];
    switch (field->kind) {
    case LOG_FIELD_STRING:
        if (field->value.string == NULL)
            put_string(line, "null");
        else if (!json && is_plain_word(field->value.string))
            put_escaped(line, field->value.string);
        else
            put_quoted(line, field->value.string);
        break;
    case LOG_FIELD_INTEGER:
        put(line, number, text_from_i64(field->value.integer, number));
        break;
    case LOG_FIELD_DOUBLE:
        put(line, number, text_from_double(field->value.number, number));
        break;
    case LOG_FIELD_BOOL:
        put_string(line, field->value.boolean ? "true" : "false");
        break;
    case LOG_FIELD_END:
        break;
    }
}

static size_t field_least_bytes(const struct log_field *field) {
    return strlen(field->name) + FIELD_LEAST_BYTES;
}

/** One more member; left out whole when even its name and a short value do not fit. */
static void put_field(struct line *line, const struct log_field *field, bool json) {
    if (room(line) < field_least_bytes(field)) return;
    put_string(line, json ? ",\"" : " ");
    put_string(line, field->name);
    put_string(line, json ? "\":" : "=");
    put_value(line, field, json);
}

/** Keep `later` bytes of the line for what follows, as far as what is put next has `own` bytes. */
static void set_limit(struct line *line, size_t own, size_t later) {
    size_t end = sizeof line->text - LINE_END_BYTES, left = end - line->length;
    size_t spare = left > own ? left - own : 0;
    line->limit = end - (later < spare ? later : spare);
}

/** A log that cannot be written is not worth dying for. */
static void write_text(const char *text, size_t length) {
    while (write(log_fd, text, length) < 0 && errno == EINTR) {
    }
}

static thread_local struct log_buffer *gathered;

static void flush(struct log_buffer *buffer) {
    if (buffer->length > 0) write_text(buffer->text, buffer->length);
    buffer->length = 0;
}

void log_gather(struct log_buffer *buffer) {
    if (gathered != NULL) flush(gathered);
    gathered = buffer;
}

/** One write keeps lines of several threads and processes whole. */
static void write_line(const struct line *line, enum log_level level) {
    struct log_buffer *buffer = gathered;
    if (buffer != NULL && (level >= LOG_LEVEL_WARN || line->length > sizeof buffer->text - buffer->length))
        flush(buffer);
    if (buffer == NULL || level >= LOG_LEVEL_WARN || line->length > sizeof buffer->text) {
        write_text(line->text, line->length);
        return;
    }
    memcpy(buffer->text + buffer->length, line->text, line->length);
    buffer->length += line->length;
}

static void put_head(struct line *line, enum log_level level, const char *event, bool json, size_t later) {
    enum { EVENT_LEAST_BYTES = 512 };
    char time[32];
    clock_format_rfc3339(clock_unix_ns(clock_system()), time);
    line->length = (size_t)snprintf(line->text, sizeof line->text,
                                    json ? "{\"time\":\"%s\",\"level\":\"%s\"" : "%s %-5s ", time, level_names[level]);
    set_limit(line, EVENT_LEAST_BYTES, later);
    if (json) {
        put_field(line, &LOG_S("service", log_service), true);
        put_field(line, &LOG_S("event", event), true);
    } else {
        put_escaped(line, event);
    }
}

void log_write(enum log_level level, const char *event, const struct log_field *fields) {
    struct line line;
    bool json = log_form == LOG_FORMAT_JSON;
    size_t later = 0; /* kept for the fields that follow, so that a long value cannot push the others out */
    for (const struct log_field *field = fields; field->kind != LOG_FIELD_END; field++)
        later += field_least_bytes(field);
    put_head(&line, level, event, json, later);
    for (; fields->kind != LOG_FIELD_END; fields++) {
        size_t own = field_least_bytes(fields);
        later -= own;
        set_limit(&line, own, later);
        put_field(&line, fields, json);
    }
    if (json) line.text[line.length++] = '}';
    line.text[line.length++] = '\n';
    text_mask_keys(line.text, line.length); /* a client may have put its key where none belongs */
    write_line(&line, level);
}
