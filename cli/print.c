/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/print.h"

#include "base/limits.h"
#include "base/text.h"
#include "cli/arguments.h"
#include "proto/descriptors.h"
#include "rpc/transcode.h"

#include <string.h>
#include <time.h>

/** C0, DEL and C1 controls. */
static bool is_control(uint32_t character) {
    return character < 0x20 || (character >= 0x7f && character < 0xa0);
}

/** Print at most `width` characters (-1: all); gives how many. */
static int print_characters(FILE *file, const char *text, int width, bool keep_lines) {
    const uint8_t *at = (const uint8_t *)text, *end = at + strlen(text);
    int count = 0;
    while (at < end && count != width) {
        uint32_t character;
        bool valid;
        size_t length = text_decode(at, (size_t)(end - at), &character, &valid);
        bool kept = valid && (!is_control(character) || (keep_lines && (character == '\n' || character == '\t')));
        if (kept)
            fwrite(at, 1, length, file);
        else
            fputc('?', file);
        at += length;
        count++;
    }
    return count;
}

void print_clean(FILE *file, const char *text) {
    print_characters(file, text, -1, true);
}

void print_column(FILE *file, const char *text, int width) {
    int printed = print_characters(file, text, width, false);
    fprintf(file, "%*s", width - printed + 2, "");
}

void print_time(int64_t unix_seconds, char *out, size_t out_bytes) {
    time_t seconds = (time_t)unix_seconds;
    struct tm local;
    if (unix_seconds == 0 || localtime_r(&seconds, &local) == NULL ||
        strftime(out, out_bytes, "%Y-%m-%d %H:%M", &local) == 0)
        snprintf(out, out_bytes, "-");
}

int print_json(const ProtobufCMessage *message) {
    struct transcoder *transcoder = NULL;
    struct error err = {0};
    struct bytes json;
    bytes_init(&json, 4 * (size_t)LIMIT_REQUEST_BODY_BYTES_MAX);
    enum status status = transcoder_create(bytes_view_of(proto_descriptors, proto_descriptors_length),
                                           &message->descriptor, 1, &transcoder, &err);
    if (status == STATUS_OK) status = transcode_write(transcoder, message, &json);
    if (status == STATUS_OK)
        printf("%s\n", (const char *)json.data);
    else
        fprintf(stderr, "bora: %s\n", err.message[0] != 0 ? err.message : "the answer is too large to print");
    if (transcoder != NULL) transcoder_destroy(transcoder);
    bytes_deinit(&json);
    return status == STATUS_OK ? EXIT_OK : EXIT_FAILED;
}
