/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of packed weights. A decode reads all of it once a step, so it is worth large pages: with pages of 4 KiB the processor looks up an
 * address for every 64 lines. Matrices of small models are far below a large page, so they are taken from slabs of many.
 */
#include "kernels/cpu/cpu.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { LARGE_PAGE = 2 << 20, SLAB_BYTES = 64 << 20 };

struct slab {
    struct slab *next;
    char *memory;
    size_t bytes, used;
    int pieces;
};

static size_t round_up(size_t bytes, size_t unit) {
    return (bytes + unit - 1) / unit * unit;
}

static struct slab *slab_create(size_t bytes) {
    struct slab *slab = calloc(1, sizeof *slab);
    if (slab == NULL) return NULL;
    slab->bytes = bytes <= SLAB_BYTES / 4 ? SLAB_BYTES : round_up(bytes, LARGE_PAGE);
    slab->memory = aligned_alloc(LARGE_PAGE, slab->bytes);
    if (slab->memory == NULL) {
        free(slab);
        return NULL;
    }
    (void)madvise(slab->memory, slab->bytes, MADV_HUGEPAGE); /* a wish */
    return slab;
}

void *slab_take(struct slab **slabs, size_t bytes, struct slab **out) {
    if (bytes > SIZE_MAX - LARGE_PAGE) return NULL;
    struct slab *slab = *slabs;
    if (slab == NULL || slab->bytes - slab->used < bytes) {
        slab = slab_create(bytes);
        if (slab == NULL) return NULL;
        slab->next = *slabs;
        *slabs = slab;
    }
    void *memory = slab->memory + slab->used;
    slab->used += bytes;
    slab->pieces++;
    *out = slab;
    return memory;
}

void slab_give_back(struct slab **slabs, struct slab *slab) {
    if (slab == NULL || --slab->pieces > 0) return;
    struct slab **link = slabs;
    while (*link != slab) link = &(*link)->next;
    *link = slab->next;
    free(slab->memory);
    free(slab);
}
