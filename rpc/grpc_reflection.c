/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Server reflection, v1 and v1alpha (the same messages). Requests and answers are small, so they are read and written on the
 * wire directly:
 *   ServerReflectionRequest   host = 1, file_by_filename = 3, file_containing_symbol = 4, file_containing_extension = 5, all_extension_numbers_of_type = 6, list_services = 7
 *   ServerReflectionResponse  valid_host = 1, original_request = 2, file_descriptor_response = 4 {file_descriptor_proto = 1}, list_services_response = 6 {service = 1 {name = 1}},
 *                             error_response = 7 {error_code = 1, error_message = 2}
 *   FileDescriptorSet.file = 1;  FileDescriptorProto name = 1, package = 2, dependency = 3, message_type = 4, enum_type = 5, service = 6, extension = 7;  DescriptorProto name = 1,
 *   nested_type = 3, enum_type = 4;  the name of a service, method, field, value is always field 1
 * Source: grpc/doc/server-reflection.md.
 */
#include "base/protobuf_wire.h"
#include "rpc/grpc_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILES_MAX = 128, SERVICES_MAX = 32, NEST_MAX = 16, SYMBOL_BYTES_MAX = 512, ANSWER_BYTES_MAX = 4 << 20 };

/* Generated from rpc/proto/: health and reflection themselves. */
extern const char grpc_standard_protos[];
extern const unsigned long grpc_standard_protos_length;

struct file {
    struct bytes_view proto, name, package;
};

struct grpc_reflection {
    struct file files[FILES_MAX];
    int file_count;
    char services[SERVICES_MAX][128];
    int service_count;
};

static struct bytes_view first_bytes(struct bytes_view message, uint32_t number) {
    struct wire_field field;
    while (wire_next(&message, &field)) {
        if (field.number == number && field.type == WIRE_BYTES) return field.bytes;
    }
    return (struct bytes_view){0};
}

static int find_file(const struct grpc_reflection *reflection, struct bytes_view name) {
    for (int i = 0; i < reflection->file_count; i++) {
        if (bytes_view_equal(reflection->files[i].name, name)) return i;
    }
    return -1;
}

/** Take the files of a FileDescriptorSet that are not there yet. */
static enum status add_files(struct grpc_reflection *reflection, struct bytes_view set, struct error *err) {
    struct wire_field field;
    while (wire_next(&set, &field)) {
        if (field.number != 1 || field.type != WIRE_BYTES) continue;
        struct file file = {
            .proto = field.bytes, .name = first_bytes(field.bytes, 1), .package = first_bytes(field.bytes, 2)};
        if (find_file(reflection, file.name) >= 0) continue;
        if (reflection->file_count == FILES_MAX)
            return error_set(err, STATUS_RESOURCE_EXHAUSTED, "reflection takes at most %d .proto files", FILES_MAX);
        reflection->files[reflection->file_count++] = file;
    }
    if (set.length != 0) return error_set(err, STATUS_INVALID_ARGUMENT, "the descriptors for reflection are malformed");
    return STATUS_OK;
}

enum status grpc_reflection_create(struct bytes_view descriptors, struct grpc_reflection **out, struct error *err) {
    struct grpc_reflection *reflection = calloc(1, sizeof *reflection);
    if (reflection == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    enum status status = add_files(reflection, descriptors, err);
    if (status == STATUS_OK)
        status = add_files(reflection, bytes_view_of(grpc_standard_protos, grpc_standard_protos_length), err);
    if (status == STATUS_OK)
        *out = reflection;
    else
        free(reflection);
    return status;
}

void grpc_reflection_destroy(struct grpc_reflection *reflection) {
    free(reflection);
}

void grpc_reflection_add_path(struct grpc_reflection *reflection, const char *path) {
    const char *slash = strrchr(path, '/');
    if (path[0] != '/' || slash == path || reflection->service_count == SERVICES_MAX) return;
    char *name = reflection->services[reflection->service_count];
    snprintf(name, sizeof reflection->services[0], "%.*s", (int)(slash - path - 1), path + 1);
    for (int i = 0; i < reflection->service_count; i++) {
        if (strcmp(reflection->services[i], name) == 0) return;
    }
    reflection->service_count++;
}

/** `symbol` without the leading "name" and its dot; false when it does not begin so. An empty rest means that it was the name. */
static bool strip(struct bytes_view *symbol, struct bytes_view name) {
    if (name.length == 0 || symbol->length < name.length || memcmp(symbol->data, name.data, name.length) != 0)
        return false;
    struct bytes_view rest = bytes_view_of(symbol->data + name.length, symbol->length - name.length);
    if (rest.length > 0 && rest.data[0] != '.') return false;
    *symbol = rest.length > 0 ? bytes_view_of(rest.data + 1, rest.length - 1) : rest;
    return true;
}

/** Does the message `proto` contain `symbol` (relative to it): a nested type, a field, a oneof, an enum value? */
static bool message_has(struct bytes_view proto, struct bytes_view symbol, int depth) {
    if (symbol.length == 0) return true;
    struct wire_field field;
    while (depth < NEST_MAX && wire_next(&proto, &field)) {
        if (field.type != WIRE_BYTES ||
            (field.number != 2 && field.number != 3 && field.number != 4 && field.number != 6 && field.number != 8))
            continue;
        struct bytes_view rest = symbol;
        if (strip(&rest, first_bytes(field.bytes, 1)) &&
            message_has(field.number == 3 ? field.bytes : (struct bytes_view){0}, rest, depth + 1))
            return true;
    }
    return false;
}

/** A service's methods are field 2, an enum's values too. */
static bool members_have(struct bytes_view proto, struct bytes_view symbol) {
    if (symbol.length == 0) return true;
    struct wire_field field;
    while (wire_next(&proto, &field)) {
        if (field.number == 2 && field.type == WIRE_BYTES && bytes_view_equal(first_bytes(field.bytes, 1), symbol))
            return true;
    }
    return false;
}

static bool file_has(const struct file *file, struct bytes_view symbol) {
    if (file->package.length > 0 && (!strip(&symbol, file->package) || symbol.length == 0)) return false;
    struct bytes_view proto = file->proto;
    struct wire_field field;
    while (wire_next(&proto, &field)) {
        struct bytes_view rest = symbol;
        if (field.type != WIRE_BYTES || field.number < 4 || field.number > 7 ||
            !strip(&rest, first_bytes(field.bytes, 1)))
            continue;
        if (field.number == 4 ? message_has(field.bytes, rest, 0) : members_have(field.bytes, rest)) return true;
    }
    return false;
}

/** The file and everything that it imports, each once. */
static void put_file(const struct grpc_reflection *reflection, int index, bool *sent, struct bytes *out) {
    if (index < 0 || sent[index]) return;
    sent[index] = true;
    wire_put_bytes(out, 1, reflection->files[index].proto);
    struct bytes_view proto = reflection->files[index].proto;
    struct wire_field field;
    while (wire_next(&proto, &field)) {
        if (field.number == 3 && field.type == WIRE_BYTES)
            put_file(reflection, find_file(reflection, field.bytes), sent, out);
    }
}

static void put_error(struct bytes *answer, enum status status, const char *message) {
    struct bytes error;
    bytes_init(&error, 4096);
    wire_put_number(&error, 1, (uint64_t)status);
    wire_put_bytes(&error, 2, bytes_view_string(message));
    wire_put_bytes(answer, 7, bytes_view(&error));
    bytes_deinit(&error);
}

static void put_services(const struct grpc_reflection *reflection, struct bytes *answer) {
    struct bytes list, entry;
    bytes_init(&list, ANSWER_BYTES_MAX);
    bytes_init(&entry, 4096);
    for (int i = 0; i < reflection->service_count; i++) {
        bytes_reset(&entry);
        wire_put_bytes(&entry, 1, bytes_view_string(reflection->services[i]));
        wire_put_bytes(&list, 1, bytes_view(&entry));
    }
    wire_put_bytes(answer, 6, bytes_view(&list));
    bytes_deinit(&entry);
    bytes_deinit(&list);
}

static void put_answer(const struct grpc_reflection *reflection, const struct wire_field *asked, struct bytes *answer) {
    int index = -1;
    if (asked->number == 7) {
        put_services(reflection, answer);
        return;
    }
    if (asked->number == 3) index = find_file(reflection, asked->bytes);
    for (int i = 0;
         asked->number == 4 && asked->bytes.length <= SYMBOL_BYTES_MAX && index < 0 && i < reflection->file_count;
         i++) {
        if (file_has(&reflection->files[i], asked->bytes)) index = i;
    }
    if (asked->number != 3 && asked->number != 4) {
        put_error(answer, STATUS_UNIMPLEMENTED, "extensions are not listed");
    } else if (index < 0) {
        put_error(answer, STATUS_NOT_FOUND, asked->number == 3 ? "no such file" : "no such symbol");
    } else {
        struct bytes files;
        bool sent[FILES_MAX] = {false};
        bytes_init(&files, ANSWER_BYTES_MAX);
        put_file(reflection, index, sent, &files);
        wire_put_bytes(answer, 4, bytes_view(&files));
        answer->failed |= files.failed;
        bytes_deinit(&files);
    }
}

enum status grpc_reflection_answer(const struct grpc_reflection *reflection, struct bytes_view request,
                                   struct bytes *out) {
    struct wire_field field, asked = {.number = 0};
    struct bytes_view cursor = request, host = {0};
    while (wire_next(&cursor, &field)) {
        if (field.type != WIRE_BYTES) continue;
        if (field.number == 1)
            host = field.bytes;
        else if (field.number >= 3 && field.number <= 7)
            asked = field;
    }
    if (cursor.length != 0 || asked.number == 0) return STATUS_INVALID_ARGUMENT;
    wire_put_bytes(out, 1, host);
    wire_put_bytes(out, 2, request);
    put_answer(reflection, &asked, out);
    return out->failed ? STATUS_RESOURCE_EXHAUSTED : STATUS_OK;
}

/** One answer waits at most: a client that asks without reading is stopped. */
static void on_start(struct rpc_call *call, void *service) {
    (void)service;
    rpc_call_set_watermark(call, 1);
}

static void on_request(struct rpc_call *call, struct bytes_view message) {
    struct bytes answer;
    bytes_init(&answer, ANSWER_BYTES_MAX);
    enum status status = grpc_reflection_answer(rpc_call_service(call), message, &answer);
    rpc_call_pause_reading(call); /* until `writable` */
    if (status == STATUS_OK) status = rpc_call_write(call, bytes_view(&answer));
    if (status != STATUS_OK) {
        rpc_call_finish(call, status,
                        status == STATUS_INVALID_ARGUMENT ? "the reflection request is malformed"
                                                          : "the answer is too large",
                        (struct bytes_view){0});
    }
    bytes_deinit(&answer);
}

static void on_half_closed(struct rpc_call *call) {
    rpc_call_finish(call, STATUS_OK, NULL, (struct bytes_view){0});
}

const struct rpc_method grpc_reflection_methods[2] = {
    {.path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
     .start = on_start,
     .message = on_request,
     .half_closed = on_half_closed,
     .writable = rpc_call_resume_reading},
    {.path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
     .start = on_start,
     .message = on_request,
     .half_closed = on_half_closed,
     .writable = rpc_call_resume_reading},
};
