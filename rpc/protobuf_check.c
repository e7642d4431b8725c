/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * protobuf-c trusts its input: it recurses without a limit, turns two bytes into a message of hundreds, and takes any
 * bytes for a string. So untrusted bytes are walked first, guided by the descriptor, and unpacked into a capped arena after.
 */
#include "rpc/transcode.h"

#include "base/limits.h"
#include "base/protobuf_wire.h"
#include "base/text.h"

struct scan {
    int64_t elements_max, elements_left;
    struct error *err;
};

static enum status scan_message(struct scan *scan, const ProtobufCMessageDescriptor *descriptor, struct bytes_view data,
                                int depth_left) {
    if (depth_left == 0)
        return error_set(scan->err, STATUS_INVALID_ARGUMENT, "%s: messages are nested more than %d deep",
                         descriptor->name, LIMIT_PROTO_DEPTH);
    struct wire_field wire;
    while (wire_next(&data, &wire)) {
        if (scan->elements_left-- <= 0)
            return error_set(scan->err, STATUS_INVALID_ARGUMENT, "%s: more than %lld fields", descriptor->name,
                             (long long)scan->elements_max);
        const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(descriptor, wire.number);
        if (field == NULL || wire.type != WIRE_BYTES) continue;
        if (field->type == PROTOBUF_C_TYPE_MESSAGE)
            TRY(scan_message(scan, field->descriptor, wire.bytes, depth_left - 1));
        if (field->type != PROTOBUF_C_TYPE_STRING || wire.bytes.length == 0) continue;
        if (!text_is_utf8(wire.bytes.data, wire.bytes.length)) {
            return error_set(scan->err, STATUS_INVALID_ARGUMENT, "%s.%s: invalid UTF-8", descriptor->name, field->name);
        }
        if (memchr(wire.bytes.data, 0, wire.bytes.length) != NULL) {
            return error_set(scan->err, STATUS_INVALID_ARGUMENT, "%s.%s: NUL characters are not accepted",
                             descriptor->name, field->name);
        }
    }
    return data.length == 0 ? STATUS_OK
                            : error_set(scan->err, STATUS_INVALID_ARGUMENT, "%s: malformed protobuf", descriptor->name);
}

struct arena_allocator {
    struct arena *arena;
    bool exhausted;
};

static void *allocate(void *context, size_t bytes) {
    struct arena_allocator *allocator = context;
    void *out = arena_alloc(allocator->arena, bytes);
    allocator->exhausted |= out == NULL;
    return out;
}
static void forget(void *context, void *pointer) {
    (void)context, (void)pointer;
}

enum status protobuf_unpack(const ProtobufCMessageDescriptor *descriptor, struct bytes_view data, struct arena *arena,
                            ProtobufCMessage **out, struct error *err) {
    return protobuf_unpack_long(descriptor, data, LIMIT_PROTO_ELEMENTS, arena, out, err);
}

enum status protobuf_unpack_long(const ProtobufCMessageDescriptor *descriptor, struct bytes_view data,
                                 int64_t elements_max, struct arena *arena, ProtobufCMessage **out, struct error *err) {
    struct scan scan = {.elements_max = elements_max, .elements_left = elements_max, .err = err};
    TRY(scan_message(&scan, descriptor, data, LIMIT_PROTO_DEPTH));
    struct arena_allocator context = {.arena = arena};
    ProtobufCAllocator allocator = {.alloc = allocate, .free = forget, .allocator_data = &context};
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, &allocator, data.length,
                                                          data.length != 0 ? data.data : (const uint8_t *)"");
    if (context.exhausted)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "%s: the message needs more than %zu bytes of memory",
                         descriptor->name, arena->cap_bytes);
    if (message == NULL) return error_set(err, STATUS_INVALID_ARGUMENT, "%s: malformed protobuf", descriptor->name);
    *out = message;
    return STATUS_OK;
}

enum status protobuf_pack(const ProtobufCMessage *message, struct bytes *out) {
    size_t length = protobuf_c_message_get_packed_size(message);
    TRY(bytes_reserve(out, length));
    out->length += protobuf_c_message_pack(message, out->data + out->length);
    out->data[out->length] = 0;
    return STATUS_OK;
}
