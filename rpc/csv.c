/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "rpc/csv.h"

#include "base/text.h"

#include <inttypes.h>
#include <string.h>

static bool is_column(const ProtobufCFieldDescriptor *field) {
    return field->label != PROTOBUF_C_LABEL_REPEATED && field->type != PROTOBUF_C_TYPE_MESSAGE &&
           field->type != PROTOBUF_C_TYPE_BYTES;
}

static void write_text(const char *text, struct bytes *out) {
    bool formula = text[0] != 0 && strchr("=+-@\t\r", text[0]) != NULL;
    bool quoted = strpbrk(text, "\",\r\n") != NULL || formula;
    if (quoted) (void)bytes_append_byte(out, '"');
    if (formula) (void)bytes_append_byte(out, '\'');
    for (const char *c = text; *c != 0; c++) {
        if (*c == '"') (void)bytes_append_byte(out, '"');
        (void)bytes_append_byte(out, (uint8_t)*c);
    }
    if (quoted) (void)bytes_append_byte(out, '"');
}

static void write_value(const ProtobufCFieldDescriptor *field, const void *slot, struct bytes *out) {
    char number[32];
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        write_text(*(const char *const *)slot, out);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        (void)bytes_append_string(out, *(const protobuf_c_boolean *)slot ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        (void)bytes_append(out, number, text_from_double(*(const double *)slot, number));
        break;
    case PROTOBUF_C_TYPE_INT32:
        (void)bytes_printf(out, "%" PRId32, *(const int32_t *)slot);
        break;
    default:
        (void)bytes_printf(out, "%" PRId64, *(const int64_t *)slot);
        break;
    }
}

enum status csv_write_header(const ProtobufCMessageDescriptor *descriptor, struct bytes *out) {
    bool first = true;
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        if (!is_column(&descriptor->fields[i])) continue;
        if (!first) (void)bytes_append_byte(out, ',');
        first = false;
        (void)bytes_append_string(out, descriptor->fields[i].name);
    }
    return bytes_append_string(out, "\r\n");
}

enum status csv_write_row(const ProtobufCMessage *message, struct bytes *out) {
    bool first = true;
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        if (!is_column(field)) continue;
        if (!first) (void)bytes_append_byte(out, ',');
        first = false;
        bool absent = (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
                      *(const uint32_t *)((const uint8_t *)message + field->quantifier_offset) != field->id;
        if (!absent) write_value(field, (const uint8_t *)message + field->offset, out);
    }
    return bytes_append_string(out, "\r\n");
}
