/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "rpc/batches.h"

#include "base/protobuf_wire.h"

#include <stdlib.h>

enum { ELEMENT_FIELD = 1, VARINT_BYTES_MAX = 10, SPARE_BYTES_MAX = 2 * BATCH_BYTES };

struct batch {
    struct batch *next;
    struct bytes bytes;
};

static void batch_free(struct batch *batch) {
    if (batch == NULL) return;
    bytes_deinit(&batch->bytes);
    free(batch);
}

void batches_deinit(struct batches *batches) {
    batches_clear(batches);
    batch_free(batches->spare);
    batches->spare = NULL;
}

static struct batch *new_batch(struct batches *batches) {
    struct batch *batch = batches->spare;
    if (batch == NULL) {
        batch = calloc(1, sizeof *batch);
        if (batch == NULL) return NULL;
        bytes_init(&batch->bytes, SIZE_MAX); /* the sum of them has the limit */
    }
    batches->spare = NULL;
    return batch;
}

static void append_varint(struct bytes *out, uint64_t value) {
    for (; value >= 0x80; value >>= 7) out->data[out->length++] = (uint8_t)(value | 0x80);
    out->data[out->length++] = (uint8_t)value;
}

enum status batches_add(struct batches *batches, const ProtobufCMessage *element, size_t max_bytes, size_t *out_bytes) {
    size_t length = protobuf_c_message_get_packed_size(element), most = length + 1 + VARINT_BYTES_MAX;
    if (batches->bytes > max_bytes || most > max_bytes - batches->bytes) return STATUS_RESOURCE_EXHAUSTED;
    bool fits = batches->last != NULL && batches->last->bytes.length < BATCH_BYTES;
    struct batch *batch = fits ? batches->last : new_batch(batches);
    if (batch == NULL) return STATUS_RESOURCE_EXHAUSTED;
    struct bytes *out = &batch->bytes;
    if (bytes_reserve(out, most) != STATUS_OK) {
        if (fits)
            out->failed = false; /* what it has stands */
        else
            batch_free(batch);
        return STATUS_RESOURCE_EXHAUSTED;
    }
    size_t before = out->length;
    append_varint(out, ELEMENT_FIELD << 3 | WIRE_BYTES);
    append_varint(out, length);
    out->length += protobuf_c_message_pack(element, out->data + out->length);
    out->data[out->length] = 0;
    batches->bytes += out->length - before;
    if (out_bytes != NULL) *out_bytes = out->length - before;
    if (fits) return STATUS_OK;
    if (batches->last != NULL)
        batches->last->next = batch;
    else
        batches->first = batch;
    batches->last = batch;
    return STATUS_OK;
}

struct bytes_view batches_first(const struct batches *batches) {
    return batches->first != NULL ? bytes_view(&batches->first->bytes) : (struct bytes_view){0};
}

void batches_pop(struct batches *batches) {
    struct batch *batch = batches->first;
    if (batch == NULL) return;
    batches->first = batch->next;
    if (batches->first == NULL) batches->last = NULL;
    batches->bytes -= batch->bytes.length;
    if (batches->spare != NULL || batch->bytes.capacity > SPARE_BYTES_MAX) {
        batch_free(batch);
        return;
    }
    bytes_reset(&batch->bytes);
    batch->next = NULL;
    batches->spare = batch;
}

void batches_clear(struct batches *batches) {
    while (batches->first != NULL) batches_pop(batches);
}

bool batches_next(struct bytes_view *cursor, struct bytes_view *out_element) {
    struct wire_field field;
    while (wire_next(cursor, &field)) {
        if (field.number != ELEMENT_FIELD || field.type != WIRE_BYTES) continue; /* of a later version */
        *out_element = field.bytes;
        return true;
    }
    return false;
}
