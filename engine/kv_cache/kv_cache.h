/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * KV cache: a pool of equal blocks that hold keys and values of all layers.
 *
 *     pool       [block][layer][G]{keys, values}            one mapping, touched block by block
 *     sequence   block table: position p is in table[p / block_tokens]
 *
 * Blocks are counted, not moved. A reference count per block is there from the start: prefix sharing, beams and
 * copy-on-write (the engine's next step) let several sequences hold one block.
 *
 * Reservation: a sequence sets blocks aside when it is admitted and takes them one by one as it grows, so that it can
 * never run out half-way. free = blocks - used - reserved.
 *
 * One thread (the step thread) at a time; nothing here allocates after create.
 */
#ifndef ENGINE_KV_CACHE_KV_CACHE_H
#define ENGINE_KV_CACHE_KV_CACHE_H

#include "base/status.h"
#include "kernels/kernels.h"

enum { KV_BLOCK_TOKENS = 32 };

struct kv_cache_options {
    int layers, kv_heads, head_dim;
    enum kv_type type;
    int64_t block_count; /* >= 1 */
};

struct kv_cache;

/** STATUS_RESOURCE_EXHAUSTED when the address space or memory is refused. */
enum status kv_cache_create(const struct kv_cache_options *options, struct kv_cache **out, struct error *err);
void kv_cache_destroy(struct kv_cache *cache);

/** Bytes of one block over all layers. */
size_t kv_cache_block_bytes(const struct kv_cache_options *options);
/** Blocks that hold `tokens` positions. */
int64_t kv_cache_blocks_for(int64_t tokens);

/** What kernels read and write. */
struct kv_layer kv_cache_layer(const struct kv_cache *cache, int layer);
/** Keys and values of all layers, for copy-on-write: `to` becomes equal to `from`. */
void kv_cache_copy_block(struct kv_cache *cache, int32_t from, int32_t to);

int64_t kv_cache_block_count(const struct kv_cache *cache);
int64_t kv_cache_used(const struct kv_cache *cache);      /* blocks with a reference */
int64_t kv_cache_reserved(const struct kv_cache *cache);  /* set aside */
int64_t kv_cache_available(const struct kv_cache *cache); /* neither used nor reserved */

/** Set `blocks` aside; false when fewer are available (then nothing changes). */
bool kv_cache_reserve(struct kv_cache *cache, int64_t blocks);
/** Give back what was reserved and not taken. */
void kv_cache_unreserve(struct kv_cache *cache, int64_t blocks);
/** Turn one reserved block into a used one with one reference. */
int32_t kv_cache_take_reserved(struct kv_cache *cache);
void kv_cache_ref(struct kv_cache *cache, int32_t block);
int32_t kv_cache_references(const struct kv_cache *cache, int32_t block);
/** Drop a reference; the last one frees the block. */
void kv_cache_unref(struct kv_cache *cache, int32_t block);

/** Every count adds up: STATUS_INTERNAL and a sentence when not. For tests and the idle check. */
enum status kv_cache_check(const struct kv_cache *cache, struct error *err);

#endif
