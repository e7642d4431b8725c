/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/kv_cache/kv_cache.h"

#include "engine/kv_cache/prefix_index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/** Its place in the list of free blocks, while it has no reference. */
struct block {
    int32_t references;
    int32_t previous, next; /* -1 ends the list */
};

struct kv_cache {
    struct kv_cache_options options;
    char *pool;
    size_t pool_bytes;
    struct block *blocks;          /* [block_count] */
    int32_t free_first, free_last; /* taken from the front */
    int64_t free_count;
    struct prefix_index index;
};

/* ---- the pool ------------------------------------------------------------------------------------------------------ */

/** Layer `index` of a pool at `pool`: [block][layer][...]. */
static struct kv_layer layer_of(const struct kv_cache_options *options, char *pool, int index) {
    struct kv_layer layer = {.type = options->type,
                             .block_tokens = KV_BLOCK_TOKENS,
                             .kv_heads = options->kv_heads,
                             .head_dim = options->head_dim};
    layer.base = pool + (size_t)index * kv_layer_bytes(&layer);
    layer.block_stride = kv_cache_block_bytes(options);
    return layer;
}

size_t kv_cache_block_bytes(const struct kv_cache_options *options) {
    struct kv_layer layer = {.type = options->type,
                             .block_tokens = KV_BLOCK_TOKENS,
                             .kv_heads = options->kv_heads,
                             .head_dim = options->head_dim};
    return (size_t)options->layers * kv_layer_bytes(&layer);
}

int64_t kv_cache_blocks_for(int64_t tokens) {
    return (tokens + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
}

struct kv_layer kv_cache_layer(const struct kv_cache *cache, int layer) {
    return layer_of(&cache->options, cache->pool, layer);
}

void kv_cache_copy_block(struct kv_cache *cache, int32_t from, int32_t to) {
    size_t bytes = kv_cache_block_bytes(&cache->options);
    memcpy(cache->pool + (size_t)to * bytes, cache->pool + (size_t)from * bytes, bytes);
}

static enum status map_pool(struct kv_cache *cache, size_t bytes, struct error *err) {
    cache->pool = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cache->pool == MAP_FAILED) {
        cache->pool = NULL;
        return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, errno, "no memory for a KV cache of %zu MiB",
                               bytes >> 20);
    }
    cache->pool_bytes = bytes;
    madvise(cache->pool, bytes, MADV_HUGEPAGE);
    return STATUS_OK;
}

/* ---- the list of free blocks --------------------------------------------------------------------------------------- */

/** Put a block without references into the list: at the front when it holds nothing, else at the end. */
static void free_add(struct kv_cache *cache, int32_t block) {
    bool front = cache->index.entries[block].count == 0;
    struct block *self = &cache->blocks[block];
    self->previous = front ? -1 : cache->free_last;
    self->next = front ? cache->free_first : -1;
    if (self->previous >= 0)
        cache->blocks[self->previous].next = block;
    else
        cache->free_first = block;
    if (self->next >= 0)
        cache->blocks[self->next].previous = block;
    else
        cache->free_last = block;
    cache->free_count++;
}

static void free_remove(struct kv_cache *cache, int32_t block) {
    const struct block *self = &cache->blocks[block];
    if (self->previous >= 0)
        cache->blocks[self->previous].next = self->next;
    else
        cache->free_first = self->next;
    if (self->next >= 0)
        cache->blocks[self->next].previous = self->previous;
    else
        cache->free_last = self->previous;
    cache->free_count--;
}

static void free_all_without_reference(struct kv_cache *cache) {
    cache->free_first = cache->free_last = -1;
    cache->free_count = 0;
    for (int32_t i = (int32_t)cache->options.block_count - 1; i >= 0; i--) {
        if (cache->blocks[i].references == 0) free_add(cache, i);
    }
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static enum status allocate(struct kv_cache *cache, size_t bytes, struct error *err) {
    cache->blocks = calloc((size_t)cache->options.block_count, sizeof *cache->blocks);
    if (cache->blocks == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    TRY(map_pool(cache, bytes, err));
    TRY(prefix_index_init(&cache->index, cache->options.block_count, err));
    free_all_without_reference(cache);
    return STATUS_OK;
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
    enum status status = allocate(cache, bytes, err);
    if (status != STATUS_OK)
        kv_cache_destroy(cache);
    else
        *out = cache;
    return status;
}

void kv_cache_destroy(struct kv_cache *cache) {
    if (cache == NULL) return;
    prefix_index_deinit(&cache->index);
    if (cache->pool != NULL) munmap(cache->pool, cache->pool_bytes);
    free(cache->blocks);
    free(cache);
}

/* ---- references ---------------------------------------------------------------------------------------------------- */

int64_t kv_cache_block_count(const struct kv_cache *cache) {
    return cache->options.block_count;
}
int64_t kv_cache_used(const struct kv_cache *cache) {
    return cache->options.block_count - cache->free_count;
}
int64_t kv_cache_free(const struct kv_cache *cache) {
    return cache->free_count;
}
int32_t kv_cache_references(const struct kv_cache *cache, int32_t block) {
    return cache->blocks[block].references;
}

int32_t kv_cache_take(struct kv_cache *cache) {
    int32_t block = cache->free_first;
    if (block < 0) return -1;
    free_remove(cache, block);
    prefix_index_clear(&cache->index, block);
    cache->blocks[block].references = 1;
    return block;
}

void kv_cache_ref(struct kv_cache *cache, int32_t block) {
    if (cache->blocks[block].references++ == 0) free_remove(cache, block);
}

void kv_cache_unref(struct kv_cache *cache, int32_t block) {
    assert(cache->blocks[block].references > 0);
    if (--cache->blocks[block].references == 0) free_add(cache, block);
}

/* ---- sharing ------------------------------------------------------------------------------------------------------- */

struct kv_prefix kv_prefix_root(const struct kv_cache *cache, const struct kv_owner *owner) {
    return prefix_index_root(&cache->index, owner);
}

struct kv_prefix kv_cache_record(struct kv_cache *cache, int32_t block, struct kv_prefix prefix, const int32_t *tokens,
                                 int64_t count) {
    assert(count >= 0 && count <= KV_BLOCK_TOKENS && cache->blocks[block].references > 0);
    prefix_index_set(&cache->index, block, prefix, tokens, (int32_t)count);
    return count == KV_BLOCK_TOKENS ? cache->index.entries[block].key : prefix;
}

/** The walk that match and peek share: full blocks into `blocks` (may be NULL), then the longest partial one. */
static void find(const struct kv_cache *cache, struct kv_prefix root, const int32_t *tokens, int64_t count,
                 int32_t *blocks, struct kv_match *out) {
    *out = (struct kv_match){.partial_block = -1, .prefix = root};
    for (; count - out->tokens >= KV_BLOCK_TOKENS; out->tokens += KV_BLOCK_TOKENS) {
        struct kv_prefix key = prefix_index_link(&cache->index, out->prefix, tokens + out->tokens);
        int32_t block = prefix_index_find(&cache->index, out->prefix, tokens + out->tokens, key);
        if (block < 0) break;
        if (blocks != NULL) blocks[out->block_count] = block;
        out->block_count++;
        out->held_blocks += cache->blocks[block].references > 0;
        out->prefix = key;
    }
    out->partial_block = prefix_index_longest(&cache->index, out->prefix, tokens + out->tokens, count - out->tokens,
                                              &out->partial_tokens);
    out->tokens += out->partial_tokens;
}

void kv_cache_match(struct kv_cache *cache, struct kv_prefix root, const int32_t *tokens, int64_t count,
                    int32_t *blocks, struct kv_match *out) {
    find(cache, root, tokens, count, blocks, out);
    for (int64_t i = 0; i < out->block_count; i++) kv_cache_ref(cache, blocks[i]);
    if (out->partial_block >= 0) kv_cache_ref(cache, out->partial_block);
}

struct kv_match kv_cache_peek(const struct kv_cache *cache, struct kv_prefix root, const int32_t *tokens,
                              int64_t count) {
    struct kv_match match;
    find(cache, root, tokens, count, NULL, &match);
    return match;
}

void kv_cache_forget(struct kv_cache *cache) {
    for (int32_t i = 0; i < cache->options.block_count; i++) {
        if (cache->blocks[i].references == 0) prefix_index_clear(&cache->index, i);
    }
    free_all_without_reference(cache);
}

/* ---- checking ------------------------------------------------------------------------------------------------------ */

static enum status check_free_list(const struct kv_cache *cache, struct error *err) {
    int64_t listed = 0;
    for (int32_t block = cache->free_first, previous = -1; block >= 0; block = cache->blocks[block].next) {
        if (block >= cache->options.block_count || cache->blocks[block].previous != previous ||
            ++listed > cache->free_count)
            return error_set(err, STATUS_INTERNAL, "the list of free KV blocks is broken at block %d", block);
        if (cache->blocks[block].references != 0)
            return error_set(err, STATUS_INTERNAL, "KV block %d is free and used", block);
        previous = block;
    }
    return listed == cache->free_count ? STATUS_OK
                                       : error_set(err, STATUS_INTERNAL, "%lld KV blocks are listed as free, not %lld",
                                                   (long long)listed, (long long)cache->free_count);
}

enum status kv_cache_check(const struct kv_cache *cache, struct error *err) {
    int64_t referenced = 0;
    for (int64_t i = 0; i < cache->options.block_count; i++) {
        if (cache->blocks[i].references < 0)
            return error_set(err, STATUS_INTERNAL, "KV block %lld has %d references", (long long)i,
                             cache->blocks[i].references);
        referenced += cache->blocks[i].references > 0;
    }
    if (referenced + cache->free_count != cache->options.block_count) {
        return error_set(err, STATUS_INTERNAL, "KV blocks do not add up: %lld used, %lld free, %lld in all",
                         (long long)referenced, (long long)cache->free_count, (long long)cache->options.block_count);
    }
    TRY(check_free_list(cache, err));
    return prefix_index_check(&cache->index, err);
}

void kv_cache_repair(struct kv_cache *cache, const int32_t *references) {
    prefix_index_forget(&cache->index);
    for (int64_t i = 0; i < cache->options.block_count; i++) cache->blocks[i].references = references[i];
    free_all_without_reference(cache);
}
