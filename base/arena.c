/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Under AddressSanitizer, what is not handed out is poisoned; elsewhere the macros do nothing. */
#if __has_include(<sanitizer/asan_interface.h>)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

enum { ARENA_ALIGNMENT = 16, ARENA_BLOCK_BYTES_MIN = 4096 };

struct arena_block {
    struct arena_block *next;
    size_t capacity, used;
    _Alignas(ARENA_ALIGNMENT) unsigned char data[];
};

void arena_init(struct arena *arena, size_t cap_bytes) {
    *arena = (struct arena){.cap_bytes = cap_bytes};
}

static void free_blocks(struct arena_block *block) {
    while (block != NULL) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
}

void arena_deinit(struct arena *arena) {
    free_blocks(arena->head);
    *arena = (struct arena){.cap_bytes = arena->cap_bytes};
}

void arena_reset(struct arena *arena) {
    struct arena_block *keep = arena->head;
    for (struct arena_block *block = arena->head; block != NULL; block = block->next) {
        if (block->capacity > keep->capacity) keep = block;
    }
    for (struct arena_block *block = arena->head; block != NULL;) {
        struct arena_block *next = block->next;
        if (block != keep) free(block);
        block = next;
    }
    if (keep != NULL) {
        keep->next = NULL;
        keep->used = 0;
        ASAN_POISON_MEMORY_REGION(keep->data, keep->capacity);
    }
    arena->head = keep;
    arena->reserved_bytes = keep != NULL ? keep->capacity : 0;
    arena->used_bytes = 0;
}

/** A new block that holds at least `bytes`: twice the last one, as far as the cap allows. */
static struct arena_block *add_block(struct arena *arena, size_t bytes) {
    if (arena->used_bytes == 0) arena_deinit(arena); /* the block that a reset kept is too small: do not count it */
    size_t room = arena->cap_bytes - arena->reserved_bytes;
    if (bytes > room) return NULL;
    size_t capacity = arena->head != NULL ? arena->head->capacity * 2 : ARENA_BLOCK_BYTES_MIN;
    if (capacity < bytes) capacity = bytes;
    if (capacity > room) capacity = room;
    struct arena_block *block = malloc(sizeof *block + capacity);
    if (block == NULL) return NULL;
    block->next = arena->head;
    block->capacity = capacity;
    block->used = 0;
    ASAN_POISON_MEMORY_REGION(block->data, capacity);
    arena->head = block;
    arena->reserved_bytes += capacity;
    return block;
}

void *arena_alloc(struct arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX - ARENA_ALIGNMENT) return NULL;
    size_t rounded = (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    if (rounded == 0) rounded = ARENA_ALIGNMENT;
    struct arena_block *block = arena->head;
    if (block == NULL || block->capacity - block->used < rounded) {
        block = add_block(arena, rounded);
        if (block == NULL) return NULL;
    }
    void *out = block->data + block->used;
    block->used += rounded;
    arena->used_bytes += rounded;
    ASAN_UNPOISON_MEMORY_REGION(out, bytes);
    return memset(out, 0, bytes);
}

void *arena_alloc_array(struct arena *arena, size_t count, size_t bytes) {
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total)) return NULL;
    return arena_alloc(arena, total);
}

char *arena_copy(struct arena *arena, const void *data, size_t length) {
    if (length == SIZE_MAX) return NULL;
    char *out = arena_alloc(arena, length + 1);
    if (out != NULL && length > 0) memcpy(out, data, length);
    return out;
}

char *arena_printf(struct arena *arena, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) return NULL;
    char *out = arena_alloc(arena, (size_t)length + 1);
    if (out == NULL) return NULL;
    va_start(arguments, format);
    vsnprintf(out, (size_t)length + 1, format, arguments);
    va_end(arguments);
    return out;
}
