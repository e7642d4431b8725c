/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/kv_cache/kv_cache.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct kv_cache {
    struct kv_cache_options options;
    char *pool;
    size_t pool_bytes;
    int32_t *free_blocks; /* a stack: the block used last is used next, so few pages are touched */
    int64_t free_count, reserved;
    int32_t *references; /* [block_count] */
};

/** A layer's view, but for where it lies. */
static struct kv_layer layer_shape(const struct kv_cache_options *options) {
    return (struct kv_layer){.type = options->type,
                             .block_tokens = KV_BLOCK_TOKENS,
                             .kv_heads = options->kv_heads,
                             .head_dim = options->head_dim};
}

size_t kv_cache_block_bytes(const struct kv_cache_options *options) {
    struct kv_layer layer = layer_shape(options);
    return (size_t)options->layers * kv_layer_bytes(&layer);
}

int64_t kv_cache_blocks_for(int64_t tokens) {
    return (tokens + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
}

enum status kv_cache_create(const struct kv_cache_options *options, struct kv_cache **out, struct error *err) {
    size_t bytes;
    bool impossible = options->block_count < 1 || options->block_count > INT32_MAX ||
                      __builtin_mul_overflow(kv_cache_block_bytes(options), (size_t)options->block_count, &bytes);
    if (impossible)
        return error_set(err, STATUS_INVALID_ARGUMENT, "a KV cache of %lld blocks", (long long)options->block_count);
    struct kv_cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    cache->options = *options;
    cache->free_blocks = calloc((size_t)options->block_count, sizeof *cache->free_blocks);
    cache->references = calloc((size_t)options->block_count, sizeof *cache->references);
    cache->pool = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cache->pool_bytes = bytes;
    if (cache->pool == MAP_FAILED || cache->free_blocks == NULL || cache->references == NULL) {
        int failure = errno;
        if (cache->pool == MAP_FAILED) cache->pool = NULL;
        kv_cache_destroy(cache);
        return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, failure, "no memory for a KV cache of %zu MiB",
                               bytes >> 20);
    }
    madvise(cache->pool, bytes, MADV_HUGEPAGE);
    for (int64_t i = 0; i < options->block_count; i++) cache->free_blocks[i] = (int32_t)(options->block_count - 1 - i);
    cache->free_count = options->block_count;
    *out = cache;
    return STATUS_OK;
}

void kv_cache_destroy(struct kv_cache *cache) {
    if (cache == NULL) return;
    if (cache->pool != NULL) munmap(cache->pool, cache->pool_bytes);
    free(cache->free_blocks);
    free(cache->references);
    free(cache);
}

struct kv_layer kv_cache_layer(const struct kv_cache *cache, int index) {
    struct kv_layer layer = layer_shape(&cache->options);
    layer.base = cache->pool + (size_t)index * kv_layer_bytes(&layer);
    layer.block_stride = kv_cache_block_bytes(&cache->options);
    return layer;
}

void kv_cache_copy_block(struct kv_cache *cache, int32_t from, int32_t to) {
    assert(from != to);
    size_t bytes = kv_cache_block_bytes(&cache->options);
    memcpy(cache->pool + (size_t)to * bytes, cache->pool + (size_t)from * bytes, bytes);
}

int64_t kv_cache_block_count(const struct kv_cache *cache) {
    return cache->options.block_count;
}
int64_t kv_cache_used(const struct kv_cache *cache) {
    return cache->options.block_count - cache->free_count;
}
int64_t kv_cache_reserved(const struct kv_cache *cache) {
    return cache->reserved;
}
int64_t kv_cache_available(const struct kv_cache *cache) {
    return cache->free_count - cache->reserved;
}

bool kv_cache_reserve(struct kv_cache *cache, int64_t blocks) {
    if (blocks < 0 || blocks > kv_cache_available(cache)) return false;
    cache->reserved += blocks;
    return true;
}

void kv_cache_unreserve(struct kv_cache *cache, int64_t blocks) {
    assert(blocks >= 0 && blocks <= cache->reserved);
    cache->reserved -= blocks;
}

int32_t kv_cache_take_reserved(struct kv_cache *cache) {
    assert(cache->reserved > 0 && cache->free_count > 0);
    cache->reserved--;
    int32_t block = cache->free_blocks[--cache->free_count];
    cache->references[block] = 1;
    return block;
}

void kv_cache_ref(struct kv_cache *cache, int32_t block) {
    assert(cache->references[block] > 0);
    cache->references[block]++;
}

int32_t kv_cache_references(const struct kv_cache *cache, int32_t block) {
    return cache->references[block];
}

void kv_cache_unref(struct kv_cache *cache, int32_t block) {
    assert(cache->references[block] > 0);
    if (--cache->references[block] == 0) cache->free_blocks[cache->free_count++] = block;
}

enum status kv_cache_check(const struct kv_cache *cache, struct error *err) {
    int64_t referenced = 0;
    for (int64_t i = 0; i < cache->options.block_count; i++) {
        if (cache->references[i] < 0)
            return error_set(err, STATUS_INTERNAL, "KV block %lld has %d references", (long long)i,
                             cache->references[i]);
        referenced += cache->references[i] > 0;
    }
    if (referenced + cache->free_count != cache->options.block_count || cache->reserved < 0 ||
        cache->reserved > cache->free_count) {
        return error_set(err, STATUS_INTERNAL,
                         "KV blocks do not add up: %lld used, %lld free, %lld reserved, %lld in all",
                         (long long)referenced, (long long)cache->free_count, (long long)cache->reserved,
                         (long long)cache->options.block_count);
    }
    for (int64_t i = 0; i < cache->free_count; i++) {
        if (cache->references[cache->free_blocks[i]] != 0)
            return error_set(err, STATUS_INTERNAL, "KV block %d is free and used", cache->free_blocks[i]);
    }
    return STATUS_OK;
}
