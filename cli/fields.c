/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 64 };

static const ProtobufCFieldDescriptor *find(const ProtobufCMessage *message, const char *name) {
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);
    if (field == NULL) {
        fprintf(stderr, "bora: %s has no field %s\n", message->descriptor->name, name);
        abort();
    }
    return field;
}

static void *place(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field) {
    return (char *)message + field->offset;
}

/** Say that the field is there: proto3's `optional` is a oneof of one. */
static void mark(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field) {
    void *quantifier = (char *)message + field->quantifier_offset;
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0)
        *(uint32_t *)quantifier = field->id;
    else if (field->label == PROTOBUF_C_LABEL_OPTIONAL && field->quantifier_offset != 0)
        *(protobuf_c_boolean *)quantifier = true;
}

ProtobufCMessage *field_message_init(const ProtobufCMessageDescriptor *descriptor, void *memory, size_t bytes) {
    if (descriptor->sizeof_message > bytes) abort();
    descriptor->message_init(memory);
    return memory;
}

void field_set_text(ProtobufCMessage *message, const char *name, const char *text) {
    const ProtobufCFieldDescriptor *field = find(message, name);
    if (text == NULL) return;
    *(const char **)place(message, field) = text;
    mark(message, field);
}

void field_set_integer(ProtobufCMessage *message, const char *name, int64_t value) {
    const ProtobufCFieldDescriptor *field = find(message, name);
    if (field->type ==
        PROTOBUF_C_TYPE_INT32) /* what does not fit is refused by the service, not turned into something else */
        *(int32_t *)place(message, field) = value > INT32_MAX   ? INT32_MAX
                                            : value < INT32_MIN ? INT32_MIN
                                                                : (int32_t)value;
    else
        *(int64_t *)place(message, field) = value;
    mark(message, field);
}

void field_set_number(ProtobufCMessage *message, const char *name, double value) {
    const ProtobufCFieldDescriptor *field = find(message, name);
    *(double *)place(message, field) = value;
    mark(message, field);
}

void field_set_flag(ProtobufCMessage *message, const char *name, bool value) {
    const ProtobufCFieldDescriptor *field = find(message, name);
    *(protobuf_c_boolean *)place(message, field) = value;
    mark(message, field);
}

void field_set_message(ProtobufCMessage *message, const char *name, const ProtobufCMessage *value) {
    const ProtobufCFieldDescriptor *field = find(message, name);
    if (value == NULL) return;
    *(const ProtobufCMessage **)place(message, field) = value;
    mark(message, field);
}

void field_clear(ProtobufCMessage *message, const char *name) {
    const ProtobufCFieldDescriptor *field = find(message, name);
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0)
        *(uint32_t *)((char *)message + field->quantifier_offset) = 0;
}

void field_set_list(ProtobufCMessage *message, const char *name, void *const *items, size_t count) {
    const ProtobufCFieldDescriptor *field = find(message, name);
    *(void *const **)place(message, field) = items;
    *(size_t *)((char *)message + field->quantifier_offset) = count;
}

static bool is_there(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field) {
    const void *quantifier = (const char *)message + field->quantifier_offset;
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) return *(const uint32_t *)quantifier == field->id;
    return true;
}

static struct field_value read_scalar(const ProtobufCFieldDescriptor *field, const void *at) {
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        return (struct field_value){.kind = FIELD_TEXT, .text = *(const char *const *)at};
    case PROTOBUF_C_TYPE_INT32:
        return (struct field_value){.kind = FIELD_INTEGER, .integer = *(const int32_t *)at};
    case PROTOBUF_C_TYPE_UINT64: /* counts, which do not come near the sign */
    case PROTOBUF_C_TYPE_INT64:
        return (struct field_value){.kind = FIELD_INTEGER, .integer = *(const int64_t *)at};
    case PROTOBUF_C_TYPE_DOUBLE:
        return (struct field_value){.kind = FIELD_NUMBER, .number = *(const double *)at};
    case PROTOBUF_C_TYPE_BOOL:
        return (struct field_value){.kind = FIELD_FLAG, .flag = *(const protobuf_c_boolean *)at != 0};
    case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessage *message = *(const ProtobufCMessage *const *)at;
        return (struct field_value){.kind = message != NULL ? FIELD_MESSAGE : FIELD_ABSENT, .message = message};
    }
    default:
        return (struct field_value){.kind = FIELD_ABSENT};
    }
}

bool field_known(const ProtobufCMessage *message, const char *name) {
    return protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name) != NULL;
}

struct field_value field_get(const ProtobufCMessage *message, const char *path) {
    for (;;) {
        char name[NAME_MAX_BYTES];
        size_t length = strcspn(path, ".");
        snprintf(name, sizeof name, "%.*s", (int)length, path);
        const ProtobufCFieldDescriptor *field = find(message, name);
        const void *at = (const char *)message + field->offset;
        struct field_value value = {.kind = FIELD_ABSENT};
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            value = (struct field_value){.kind = FIELD_LIST,
                                         .count = *(const size_t *)((const char *)message + field->quantifier_offset),
                                         .items = *(void *const *const *)at};
        } else if (is_there(message, field)) {
            value = read_scalar(field, at);
        }
        if (path[length] == 0 || value.kind != FIELD_MESSAGE) return value;
        message = value.message;
        path += length + 1;
    }
}

const char *field_text(const ProtobufCMessage *message, const char *path) {
    struct field_value value = field_get(message, path);
    return value.kind == FIELD_TEXT && value.text != NULL ? value.text : "";
}
