/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Fields of messages by their names, so that options fill requests and tables show replies without a line for each field. A name that the message does
 * not have is a mistake of ours and aborts.
 */
#ifndef CLI_FIELDS_H
#define CLI_FIELDS_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** An empty message of a kind that is known at run time only, in `memory`. */
ProtobufCMessage *field_message_init(const ProtobufCMessageDescriptor *descriptor, void *memory, size_t bytes);
/** Set a string; NULL leaves the field absent. `text` is lent. */
void field_set_text(ProtobufCMessage *message, const char *name, const char *text);
/** int32 and int64. */
void field_set_integer(ProtobufCMessage *message, const char *name, int64_t value);
void field_set_number(ProtobufCMessage *message, const char *name, double value);
void field_set_flag(ProtobufCMessage *message, const char *name, bool value);
void field_set_message(ProtobufCMessage *message, const char *name, const ProtobufCMessage *value);
/** Take a field with presence away. */
void field_clear(ProtobufCMessage *message, const char *name);
/** Repeated strings or messages; lent. */
void field_set_list(ProtobufCMessage *message, const char *name, void *const *items, size_t count);

enum field_kind { FIELD_ABSENT, FIELD_TEXT, FIELD_INTEGER, FIELD_NUMBER, FIELD_FLAG, FIELD_MESSAGE, FIELD_LIST };
struct field_value {
    enum field_kind kind;
    const char *text;
    int64_t integer;
    double number;
    bool flag;
    const ProtobufCMessage *message;
    size_t count;       /* FIELD_LIST */
    void *const *items; /* FIELD_LIST of strings or messages */
};
/** Whether messages of this type have such a field. */
bool field_known(const ProtobufCMessage *message, const char *name);
/** `path` may lead through messages: "api_key.id"; absent where one of them is. Scalars without presence are never absent. */
struct field_value field_get(const ProtobufCMessage *message, const char *path);
/** The text of a field that has one, else "". */
const char *field_text(const ProtobufCMessage *message, const char *path);

#endif
