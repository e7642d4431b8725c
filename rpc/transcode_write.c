/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Message -> JSON, straight into the caller's buffer. */
#include "rpc/transcode_plan.h"

#include "base/limits.h"
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Messages nested in messages; received ones are bounded by LIMIT_PROTO_DEPTH already. */
enum { WRITE_DEPTH_MAX = 2 * LIMIT_PROTO_DEPTH };

static void write_message(struct bytes *out, const struct message_plan *plan, const ProtobufCMessage *message,
                          int depth);

static void write_literal(struct bytes *out, const char *text) {
    (void)bytes_append_string(out, text);
}

static void write_unsigned(struct bytes *out, bool negative, uint64_t value) {
    char text[24];
    size_t at = sizeof text;
    do text[--at] = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    if (negative) text[--at] = '-';
    (void)bytes_append(out, text + at, sizeof text - at);
}

static void write_signed(struct bytes *out, int64_t value) {
    write_unsigned(out, value < 0, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

/** Amounts of money are read by people too: without an exponent as far as that is no longer than it has to be. */
static void write_double(struct bytes *out, double value) {
    static const double plain_least = 1e-9, plain_most = 1e15;
    char text[TEXT_PLAIN_DOUBLE_BYTES];
    bool plain = fabs(value) >= plain_least && fabs(value) < plain_most;
    (void)bytes_append(out, text, plain ? text_from_double_plain(value, text) : text_from_double(value, text));
}

/** The shortest decimal of at least 6 digits, zeros at the end left out, that reads back as the same float. */
static void write_float(struct bytes *out, float value) {
    if (!isfinite(value)) {
        write_literal(out, "null");
        return;
    }
    char text[32], *end;
    for (int precision = 6; precision <= 9; precision++) {
        double rounded;
        snprintf(text, sizeof text, "%.*e", precision - 1, (double)value);
        rounded = strtod(text, &end);
        if ((float)rounded == value) {
            write_double(out, rounded);
            return;
        }
    }
    write_double(out, (double)value);
}

static void write_json_text(struct bytes *out, const char *text) {
    enum json_kind kind;
    struct bytes_view view = bytes_view_string(text);
    if (json_is_valid(view, LIMIT_JSON_DEPTH, &kind))
        (void)bytes_append(out, view.data, view.length);
    else
        write_literal(out, "null"); /* whatever filled the field, the answer around it stays JSON */
}

void transcode_write_value(struct bytes *out, const struct field_plan *field, const void *slot, int depth) {
    switch (field->descriptor->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        write_signed(out, *(const int32_t *)slot);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        write_unsigned(out, false, *(const uint32_t *)slot);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        write_unsigned(out, false, *(const uint64_t *)slot);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        write_float(out, *(const float *)slot);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        write_double(out, *(const double *)slot);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        write_literal(out, *(const protobuf_c_boolean *)slot ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_STRING:
        if (field->rules.json_text != JSON_TEXT_NONE)
            write_json_text(out, *(const char *const *)slot);
        else
            (void)json_append_string(out, bytes_view_string(*(const char *const *)slot));
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        write_message(out, field->message, *(const ProtobufCMessage *const *)slot, depth + 1);
        break;
    default:
        write_signed(out, *(const int64_t *)slot);
        break;
    }
}

static void write_map(struct bytes *out, const struct field_plan *field, const ProtobufCMessage *const *entries,
                      size_t count, int depth) {
    const struct field_plan *key = &field->message->fields[0];
    struct field_plan value = field->message->fields[1];
    value.rules = field->rules;
    (void)bytes_append_byte(out, '{');
    for (size_t i = 0; i < count; i++) {
        bool quoted = key->descriptor->type == PROTOBUF_C_TYPE_STRING;
        if (i > 0) (void)bytes_append_byte(out, ',');
        if (!quoted) (void)bytes_append_byte(out, '"');
        transcode_write_value(out, key, (const uint8_t *)entries[i] + key->descriptor->offset, depth);
        write_literal(out, quoted ? ":" : "\":");
        transcode_write_value(out, &value, (const uint8_t *)entries[i] + value.descriptor->offset, depth);
    }
    (void)bytes_append_byte(out, '}');
}

static void write_repeated(struct bytes *out, const struct field_plan *field, const ProtobufCMessage *message,
                           int depth) {
    size_t count = *(const size_t *)((const uint8_t *)message + field->descriptor->quantifier_offset);
    const uint8_t *slots = *(const uint8_t *const *)((const uint8_t *)message + field->descriptor->offset);
    if (field->map) {
        write_map(out, field, (const ProtobufCMessage *const *)(const void *)slots, count, depth);
        return;
    }
    size_t bytes = transcode_slot_bytes(field->descriptor->type);
    (void)bytes_append_byte(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i > 0) (void)bytes_append_byte(out, ',');
        transcode_write_value(out, field, slots + i * bytes, depth);
    }
    (void)bytes_append_byte(out, ']');
}

/** The fields of an object, each behind a comma but the first. */
static void write_fields(struct bytes *out, const struct message_plan *plan, const ProtobufCMessage *message,
                         bool first, int depth) {
    for (size_t i = 0; i < plan->fields_count; i++) {
        const struct field_plan *field = &plan->fields[i];
        bool present = transcode_is_present(field, message);
        if (field->rules.hidden || (!present && !field->rules.always)) continue;
        if (!first) (void)bytes_append_byte(out, ',');
        first = false;
        (void)bytes_append_byte(out, '"');
        (void)bytes_append(out, field->name, field->name_length); /* an identifier: nothing to escape */
        (void)bytes_append(out, "\":", 2);
        if (field->repeated && (present || !field->rules.empty_as_null))
            write_repeated(out, field, message, depth);
        else if (!present)
            write_literal(out, "null");
        else
            transcode_write_value(out, field, (const uint8_t *)message + field->descriptor->offset, depth);
    }
    (void)bytes_append_byte(out, '}');
}

static void write_message(struct bytes *out, const struct message_plan *plan, const ProtobufCMessage *message,
                          int depth) {
    if (message == NULL || depth > WRITE_DEPTH_MAX) {
        write_literal(out, "null");
        return;
    }
    if (plan->form == FORM_LIST) {
        write_repeated(out, &plan->fields[0], message, depth);
        return;
    }
    if (plan->form == FORM_OBJECT) {
        (void)bytes_append_byte(out, '{');
        write_fields(out, plan, message, true, depth);
        return;
    }
    const struct field_plan *member = transcode_chosen_member(plan, message);
    if (member == NULL) {
        write_literal(out, "null");
    } else if (plan->form == FORM_VALUE) {
        transcode_write_value(out, member, (const uint8_t *)message + member->descriptor->offset, depth);
    } else {
        (void)bytes_append_byte(out, '{');
        (void)json_append_string(out, bytes_view_string(plan->tag));
        (void)bytes_append_byte(out, ':');
        (void)json_append_string(out, bytes_view_string(member->name));
        write_fields(out, member->message,
                     *(const ProtobufCMessage *const *)((const uint8_t *)message + member->descriptor->offset), false,
                     depth + 1);
    }
}

enum status transcode_write(const struct transcoder *transcoder, const ProtobufCMessage *message, struct bytes *out) {
    const struct message_plan *plan = transcode_find_plan(transcoder, message->descriptor);
    if (plan == NULL) return STATUS_INTERNAL;
    write_message(out, plan, message, 0);
    return out->failed ? STATUS_RESOURCE_EXHAUSTED : STATUS_OK;
}
