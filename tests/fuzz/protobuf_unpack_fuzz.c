/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Untrusted protobuf bytes: unpacked within the arena or refused; what is unpacked can be checked, written as JSON and packed. */
#include "base/json.h"
#include "bora/v1/chat.pb-c.h"
#include "proto/descriptors.h"
#include "rpc/transcode.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition) {
    if (!condition) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const ProtobufCMessageDescriptor *const type = &bora__v1__chat_completion_request__descriptor;
    static struct transcoder *transcoder;
    if (transcoder == NULL)
        must(transcoder_create(bytes_view_of(proto_descriptors, proto_descriptors_length), &type, 1, &transcoder,
                               NULL) == STATUS_OK);
    struct arena arena;
    arena_init(&arena, 4 << 20);
    struct bytes text, packed;
    bytes_init(&text, 32 << 20);
    bytes_init(&packed, 32 << 20);
    ProtobufCMessage *message = NULL;
    enum status status = protobuf_unpack(type, bytes_view_of(data, size), &arena, &message, NULL);
    must(status == STATUS_OK || status == STATUS_INVALID_ARGUMENT || status == STATUS_RESOURCE_EXHAUSTED);
    must(arena.reserved_bytes <= 4 << 20);
    if (status == STATUS_OK) {
        struct transcode_errors errors;
        enum json_kind kind;
        status = transcode_check(transcoder, &(struct transcode_options){.strict = true}, message, &arena, &errors);
        must(transcode_write(transcoder, message, &text) == STATUS_OK);
        must(json_is_valid(bytes_view(&text), 200, &kind) && kind == JSON_KIND_OBJECT);
        must(protobuf_pack(message, &packed) == STATUS_OK);
    }
    arena_deinit(&arena);
    bytes_deinit(&text);
    bytes_deinit(&packed);
    return 0;
}
