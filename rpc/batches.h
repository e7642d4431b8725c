/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Messages that travel together. What has to be sent while a write is under way waits here as the elements of a message whose field 1 is
 * repeated, and goes in as few messages as BATCH_BYTES allow: a stream that is busy pays once for many.
 *
 *     batches_add ─> [ element element ... ] [ element ... ]        first ─> write it ─> pop, when it was handed over
 *
 * Zeroed it is empty. One thread at a time.
 */
#ifndef RPC_BATCHES_H
#define RPC_BATCHES_H

#include "base/bytes.h"

#include <protobuf-c/protobuf-c.h>

enum { BATCH_BYTES = 64 * 1024 }; /* a batch that is that long takes no more; one element may be longer */

struct batch;
struct batches {
    struct batch *first, *last;
    struct batch *spare; /* used before, empty */
    size_t bytes;        /* of all that waits */
};

void batches_deinit(struct batches *batches);
/** STATUS_RESOURCE_EXHAUSTED when more than `max_bytes` would wait, or without memory: then nothing was added. `*out_bytes` (may be NULL): what it
 *  takes. */
enum status batches_add(struct batches *batches, const ProtobufCMessage *element, size_t max_bytes, size_t *out_bytes);
/** The oldest batch, lent until it is popped; of length 0 when nothing waits. */
struct bytes_view batches_first(const struct batches *batches);
void batches_pop(struct batches *batches);
/** Forget everything. */
void batches_clear(struct batches *batches);

/** The elements of a message that came, one at a time: false at its end and at malformed bytes, of which `*cursor` then has some left. */
bool batches_next(struct bytes_view *cursor, struct bytes_view *out_element);

#endif
