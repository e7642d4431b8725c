/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/print.h"

#include "base/limits.h"
#include "base/text.h"
#include "cli/arguments.h"
#include "proto/descriptors.h"
#include "rpc/csv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/** C0, DEL and C1 controls. */
static bool is_control(uint32_t character) {
    return character < 0x20 || (character >= 0x7f && character < 0xa0);
}

/** One character, or '?'; gives its bytes. */
static size_t print_character(FILE *file, const char *text) {
    uint32_t character;
    bool valid;
    size_t length = text_decode((const uint8_t *)text, strnlen(text, 4), &character, &valid);
    if (valid && (!is_control(character) || character == '\n' || character == '\t'))
        fwrite(text, 1, length, file);
    else
        fputc('?', file);
    return length;
}

void print_clean(FILE *file, const char *text) {
    while (*text != 0) text += print_character(file, text);
}

void print_clean_to(const char *text, char *out, size_t out_bytes) {
    const uint8_t *at = (const uint8_t *)text, *end = at + strlen(text);
    size_t length = 0;
    while (at < end) {
        uint32_t character;
        bool valid;
        size_t bytes = text_decode(at, (size_t)(end - at), &character, &valid);
        bool kept = valid && !text_breaks_line(character);
        if (length + (kept ? bytes : 1) >= out_bytes) break;
        if (kept)
            memcpy(out + length, at, bytes);
        else
            out[length] = '?';
        length += kept ? bytes : 1;
        at += bytes;
    }
    out[length] = 0;
}

void print_line(FILE *file, const char *text) {
    const uint8_t *at = (const uint8_t *)text, *end = at + strlen(text);
    while (at < end) {
        uint32_t character;
        bool valid;
        size_t bytes = text_decode(at, (size_t)(end - at), &character, &valid);
        if (valid && !text_breaks_line(character))
            fwrite(at, 1, bytes, file);
        else
            fputc('?', file);
        at += bytes;
    }
}

/** Length of what `text` begins with as a key does, "bora_<letters and digits>_", or 0. */
static size_t key_prefix(const char *text) {
    static const char begin[] = "bora_", letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    if (strncmp(text, begin, sizeof begin - 1) != 0) return 0;
    size_t length = sizeof begin - 1, prefix = strspn(text + length, letters);
    return prefix > 0 && text[length + prefix] == '_' ? length + prefix + 1 : 0;
}

void print_masked(FILE *file, const char *text) {
    enum { SECRET_MIN = 8 };
    static const char secret[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    while (*text != 0) {
        size_t prefix = key_prefix(text), hidden = prefix > 0 ? strspn(text + prefix, secret) : 0;
        if (hidden >= SECRET_MIN) {
            fprintf(file, "%.*s...", (int)prefix, text);
            text += prefix + hidden;
        } else {
            text += print_character(file, text);
        }
    }
}

int print_failure_values(const char *format, va_list values) {
    enum { SENTENCE_BYTES = 1024 };
    char sentence[SENTENCE_BYTES];
    vsnprintf(sentence, sizeof sentence, format, values);
    fputs("bora: ", stderr);
    print_masked(stderr, sentence);
    fputs("\n", stderr);
    return EXIT_FAILED;
}

int print_failure(const char *format, ...) {
    va_list values;
    va_start(values, format);
    int result = print_failure_values(format, values);
    va_end(values);
    return result;
}

bool print_flush(void) {
    errno = 0;
    bool whole = fflush(stdout) == 0 && !ferror(stdout);
    if (!whole && errno == 0) errno = EIO; /* it went wrong earlier, and nobody kept why */
    return whole;
}

int print_width(const char *text) {
    const uint8_t *at = (const uint8_t *)text, *end = at + strlen(text);
    int width = 0;
    while (at < end) {
        uint32_t character;
        bool valid;
        at += text_decode(at, (size_t)(end - at), &character, &valid);
        int columns = utf8proc_charwidth((utf8proc_int32_t)character); /* 0 and 2 besides 1 */
        width += columns > 0 ? columns : 0;
    }
    return width;
}

/** One message type at a time is written over and over: what is known about it is kept. Reachable until the program ends. */
static struct transcoder *transcoder_of(const ProtobufCMessageDescriptor *descriptor, struct error *err) {
    static const ProtobufCMessageDescriptor *known;
    static struct transcoder *transcoder;
    if (known == descriptor) return transcoder;
    if (transcoder != NULL) transcoder_destroy(transcoder);
    known = NULL;
    if (transcoder_create(bytes_view_of(proto_descriptors, proto_descriptors_length), &descriptor, 1, &transcoder,
                          err) != STATUS_OK)
        return transcoder = NULL;
    known = descriptor;
    return transcoder;
}

/** JSON lets DEL, C1 controls and the like stand as they are, in strings only; a terminal would follow them. */
static enum status escape_controls(struct bytes *json, size_t start) {
    enum { ASCII_END = 0x7f };
    size_t length = json->length - start;
    bool any = false;
    for (size_t i = start; i < json->length && !any; i++) any = json->data[i] >= ASCII_END;
    uint8_t *plain = any ? malloc(length) : NULL;
    if (plain == NULL) return any ? STATUS_RESOURCE_EXHAUSTED : STATUS_OK;
    memcpy(plain, json->data + start, length);
    json->length = start;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < length && status == STATUS_OK;) {
        char escape[16];
        uint32_t character;
        bool valid;
        size_t bytes = text_decode(plain + i, length - i, &character, &valid);
        bool escaped = valid && character >= ASCII_END && text_breaks_line(character);
        if (escaped) snprintf(escape, sizeof escape, "\\u%04x", character);
        status = escaped ? bytes_append_string(json, escape) : bytes_append(json, plain + i, bytes);
        i += bytes;
    }
    free(plain);
    return status;
}

enum status print_json_to(const ProtobufCMessage *message, struct bytes *out, struct error *err) {
    const struct transcoder *transcoder = transcoder_of(message->descriptor, err);
    if (transcoder == NULL) return STATUS_INTERNAL;
    size_t start = out->length;
    enum status status = transcode_write(transcoder, message, out);
    if (status == STATUS_OK) status = escape_controls(out, start);
    return status == STATUS_OK ? STATUS_OK : error_set(err, status, "the answer is too large to print");
}

static enum status end_csv_line(enum status status, struct bytes *out, struct error *err) {
    if (status != STATUS_OK) return error_set(err, status, "the table is too large to print");
    out->length -= strlen("\r\n");
    return bytes_append_byte(out, '\n');
}

enum status print_csv_names_to(const ProtobufCMessageDescriptor *descriptor, struct bytes *out, struct error *err) {
    const struct transcoder *transcoder = transcoder_of(descriptor, err);
    if (transcoder == NULL) return STATUS_INTERNAL;
    return end_csv_line(csv_write_names(transcoder, descriptor, out), out, err);
}

enum status print_csv_to(const ProtobufCMessage *message, struct bytes *out, struct error *err) {
    const struct transcoder *transcoder = transcoder_of(message->descriptor, err);
    if (transcoder == NULL) return STATUS_INTERNAL;
    return end_csv_line(csv_write_row(transcoder, message, out), out, err);
}

int print_csv(const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage *const *rows, size_t count) {
    enum { CSV_BYTES_MAX = 256 << 20 };
    struct bytes out;
    struct error err = {0};
    bytes_init(&out, CSV_BYTES_MAX);
    enum status status = print_csv_names_to(descriptor, &out, &err);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) status = print_csv_to(rows[i], &out, &err);
    if (status == STATUS_OK && fwrite(out.data, 1, out.length, stdout) != out.length)
        status = error_set(&err, STATUS_UNKNOWN, "the table could not be written");
    bytes_deinit(&out);
    return status == STATUS_OK ? EXIT_OK : print_failure("%s", err.message);
}

int print_json(const ProtobufCMessage *message) {
    struct error err = {0};
    struct bytes json;
    bytes_init(&json, 4 * (size_t)LIMIT_REQUEST_BODY_BYTES_MAX);
    enum status status = print_json_to(message, &json, &err);
    if (status == STATUS_OK)
        printf("%s\n", (const char *)json.data);
    else
        print_failure("%s", err.message);
    bytes_deinit(&json);
    return status == STATUS_OK ? EXIT_OK : EXIT_FAILED;
}
