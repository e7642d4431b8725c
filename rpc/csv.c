/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "rpc/csv.h"

#include "base/text.h"
#include "rpc/transcode_plan.h"

#include <string.h>

static bool is_column(const struct field_plan *field) {
    ProtobufCType type = field->descriptor->type;
    return !field->rules.hidden && !field->repeated && type != PROTOBUF_C_TYPE_MESSAGE && type != PROTOBUF_C_TYPE_BYTES;
}

static void write_text(const char *text, struct bytes *out) {
    bool formula = text[0] != 0 && strchr("=+-@\t\r", text[0]) != NULL;
    bool quoted = strpbrk(text, ",\"\r\n") != NULL || text[0] == ' ' || (text[0] != 0 && text[strlen(text) - 1] == ' ');
    if (quoted) (void)bytes_append_byte(out, '"');
    if (formula) (void)bytes_append_byte(out, '\'');
    for (const char *quote; (quote = strchr(text, '"')) != NULL; text = quote + 1) {
        (void)bytes_append(out, text, (size_t)(quote - text));
        (void)bytes_append_string(out, "\"\"");
    }
    (void)bytes_append_string(out, text);
    if (quoted) (void)bytes_append_byte(out, '"');
}

static void write_cell(const struct field_plan *field, const ProtobufCMessage *message, struct bytes *out) {
    const void *slot = (const uint8_t *)message + field->descriptor->offset;
    if (!transcode_is_present(field, message)) return;
    char number[TEXT_PLAIN_DOUBLE_BYTES];
    switch (field->descriptor->type) {
    case PROTOBUF_C_TYPE_STRING:
        write_text(*(const char *const *)slot, out);
        break;
    case PROTOBUF_C_TYPE_DOUBLE: /* spreadsheets and awk read 1.2e-08 as a text */
        (void)bytes_append(out, number, text_from_double_plain(*(const double *)slot, number));
        break;
    default:
        transcode_write_value(out, field, slot, 0);
        break;
    }
}

/** `message` NULL: the names. */
static enum status write_line(const struct message_plan *plan, const ProtobufCMessage *message, struct bytes *out) {
    if (plan == NULL) return STATUS_INTERNAL;
    bool first = true;
    for (size_t i = 0; i < plan->fields_count; i++) {
        const struct field_plan *field = &plan->fields[i];
        if (!is_column(field)) continue;
        if (!first) (void)bytes_append_byte(out, ',');
        first = false;
        if (message == NULL)
            write_text(field->name, out);
        else
            write_cell(field, message, out);
    }
    (void)bytes_append_string(out, "\r\n");
    return out->failed ? STATUS_RESOURCE_EXHAUSTED : STATUS_OK;
}

enum status csv_write_names(const struct transcoder *transcoder, const ProtobufCMessageDescriptor *descriptor,
                            struct bytes *out) {
    return write_line(transcode_find_plan(transcoder, descriptor), NULL, out);
}

enum status csv_write_row(const struct transcoder *transcoder, const ProtobufCMessage *message, struct bytes *out) {
    return write_line(transcode_find_plan(transcoder, message->descriptor), message, out);
}
