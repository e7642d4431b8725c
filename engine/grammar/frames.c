/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/machine.h"

#include <stdlib.h>

enum { CHUNK_BYTES = 16 << 10, ALIGNMENT = 16 };

struct frames_chunk {
    struct frames_chunk *before, *after; /* `after` is kept for reuse when a mark before it is dropped to */
    size_t capacity;
    _Alignas(ALIGNMENT) uint8_t bytes[];
};

void frames_init(struct frames *frames, size_t bytes_max) {
    *frames = (struct frames){.bytes_max = bytes_max};
}

void frames_deinit(struct frames *frames) {
    struct frames_chunk *chunk = frames->chunk;
    while (chunk != NULL && chunk->after != NULL) chunk = chunk->after;
    while (chunk != NULL) {
        struct frames_chunk *before = chunk->before;
        free(chunk);
        chunk = before;
    }
    *frames = (struct frames){.bytes_max = frames->bytes_max};
}

static bool next_chunk(struct frames *frames, size_t bytes) {
    struct frames_chunk *after = frames->chunk == NULL ? NULL : frames->chunk->after;
    if (after == NULL || after->capacity < bytes) {
        size_t capacity = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        if (capacity > frames->bytes_max - frames->bytes) return false;
        struct frames_chunk *chunk = malloc(sizeof *chunk + capacity);
        if (chunk == NULL) return false;
        frames->bytes += capacity;
        *chunk = (struct frames_chunk){.before = frames->chunk, .after = after, .capacity = capacity};
        if (frames->chunk != NULL) frames->chunk->after = chunk;
        if (after != NULL) after->before = chunk;
        after = chunk;
    }
    frames->chunk = after;
    frames->used = 0;
    return true;
}

void *frames_alloc(struct frames *frames, size_t bytes) {
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if ((frames->chunk == NULL || bytes > frames->chunk->capacity - frames->used) && !next_chunk(frames, bytes))
        return NULL;
    void *memory = frames->chunk->bytes + frames->used;
    frames->used += bytes;
    frames->taken += bytes;
    return memory;
}

struct frames_mark frames_mark(const struct frames *frames) {
    return (struct frames_mark){frames->chunk, frames->used};
}

void frames_drop(struct frames *frames, struct frames_mark mark) {
    if (mark.chunk == NULL) { /* nothing had been allocated: keep the first chunk */
        while (frames->chunk != NULL && frames->chunk->before != NULL) frames->chunk = frames->chunk->before;
        frames->used = 0;
        return;
    }
    frames->chunk = mark.chunk;
    frames->used = mark.used;
}
