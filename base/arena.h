/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Arena: many small allocations with one lifetime, freed together, with a cap.
 *
 *     blocks:  [ used | free ] -> [ used ............ ] -> [ used ....... ]
 *                      ^ bump
 *
 * Every allocation is zeroed and aligned to 16 bytes. When the cap would be passed, arena_alloc returns NULL and the
 * arena stays usable (smaller allocations may still succeed). Used for requests (untrusted input grows them, hence
 * the cap) and for engine steps (arena_reset keeps the blocks, so a warm step allocates nothing).
 * One thread at a time.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *head; /* the block that is being filled */
    size_t cap_bytes;         /* maximum of all blocks together */
    size_t reserved_bytes;    /* sum of the blocks */
    size_t used_bytes;        /* handed out since init or reset */
};

/** `cap_bytes` > 0. Allocates nothing yet. */
void arena_init(struct arena *arena, size_t cap_bytes);

/** Free every block. The arena may be initialised again. */
void arena_deinit(struct arena *arena);

/** Forget every allocation; keep the largest block for reuse and free the others. */
void arena_reset(struct arena *arena);

/** `bytes` zeroed bytes, 16-aligned, until reset or deinit. NULL when the cap or the machine's memory is reached. 0 bytes gives a valid pointer. */
[[nodiscard]] void *arena_alloc(struct arena *arena, size_t bytes);

/** `count` * `bytes` with overflow checked. */
[[nodiscard]] void *arena_alloc_array(struct arena *arena, size_t count, size_t bytes);

/** A NUL-terminated copy of `length` bytes. */
[[nodiscard]] char *arena_copy(struct arena *arena, const void *data, size_t length);

/** printf into the arena. NULL when the cap is reached. */
[[nodiscard]] char *arena_printf(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
