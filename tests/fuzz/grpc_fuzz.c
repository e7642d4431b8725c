/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Bytes from clients that rpc/ reads by hand: a reflection request over descriptors (both from the input: the first byte says where one ends),
 * and status details. Nothing may be read outside them, and an answer is one message that can be read again. */
#include "base/protobuf_wire.h"
#include "rpc/grpc_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    if (length < 2) return 0;
    size_t split = (length - 2) * data[0] / 255;
    struct bytes_view descriptors = bytes_view_of(data + 2, split),
                      request = bytes_view_of(data + 2 + split, length - 2 - split), found;
    (void)rpc_status_details_find(request, "a", &found);

    struct grpc_reflection *reflection = NULL;
    if (grpc_reflection_create(data[1] & 1 ? descriptors : (struct bytes_view){0}, &reflection, NULL) != STATUS_OK)
        return 0;
    struct bytes answer;
    bytes_init(&answer, 4 << 20);
    if (grpc_reflection_answer(reflection, request, &answer) == STATUS_OK) {
        struct bytes_view cursor = bytes_view(&answer);
        struct wire_field field;
        int kinds = 0;
        while (wire_next(&cursor, &field)) kinds += field.number >= 4;
        if (cursor.length != 0 || kinds != 1) abort();
    }
    bytes_deinit(&answer);
    grpc_reflection_destroy(reflection);
    return 0;
}
