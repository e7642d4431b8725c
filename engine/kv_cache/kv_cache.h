/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * KV cache: a pool of equal blocks that hold keys and values of all layers, and what is known of their contents.
 *
 *     sequence   block table: position p is in table[p / KV_BLOCK_TOKENS]
 *     block      references = how many tables name it
 *                referenced     it is somebody's
 *                unreferenced   it is free - and may still be found by what it holds, until it is taken again
 *
 * SHARING. The keys and values of a position depend on the tokens up to it and on nothing else (kernels are batch invariant), so
 * two sequences that begin alike may name the same blocks. What a block holds is recorded as
 *
 *     (prefix, tokens)     prefix: names everything before the block; tokens: 1..32 of them, in order
 *
 * A prefix is a 128-bit keyed hash of a chain: root(salt, adapter), then one link per full block. The salt separates those who must not
 * learn of each other (tenants, adapters); the key is random in every process, so nobody can search for collisions.
 * kv_cache_match finds the blocks of a prompt: full blocks are shared; the first that is held only in part is copied
 * (copy-on-write at the granularity of a token), so that a common beginning is never computed twice whatever its length.
 *
 * Free blocks wait in order of their last use: those that hold nothing first, then the one used longest ago. A sequence gives
 * its blocks back from the end, so that the ends of prefixes go before their beginnings.
 *
 * One thread (the step thread) at a time; nothing here allocates after create.
 * After: block hash chains with an intrusive list of free blocks as vLLM has them; sharing at the granularity of a token as
 * a radix tree gives (Zheng et al., SGLang, arXiv:2312.07104).
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
int64_t kv_cache_used(const struct kv_cache *cache); /* blocks with a reference */
int64_t kv_cache_free(const struct kv_cache *cache); /* without one, findable or not */

/** A free block with one reference, its contents forgotten; -1 when there is none. */
int32_t kv_cache_take(struct kv_cache *cache);
void kv_cache_ref(struct kv_cache *cache, int32_t block);
int32_t kv_cache_references(const struct kv_cache *cache, int32_t block);
/** Drop a reference; the last one frees the block, which stays findable. */
void kv_cache_unref(struct kv_cache *cache, int32_t block);
/** Copy all that `from` holds, in every layer, into `to`. */
void kv_cache_copy_block(struct kv_cache *cache, int32_t from, int32_t to);

/* ---- sharing ------------------------------------------------------------------------------------------------------- */

struct kv_prefix {
    uint64_t words[2];
};

/** Whose keys and values they are: shared with equals only. */
struct kv_owner {
    const void *salt; /* of a tenant: any bytes; at most 256 are read; lent */
    size_t salt_bytes;
    uint64_t adapter; /* weights that are added to the model's; 0: none (there are none yet) */
};

/** The empty prefix of those who are `owner`. */
struct kv_prefix kv_prefix_root(const struct kv_cache *cache, const struct kv_owner *owner);

/** `block` now holds tokens[0..count) after `prefix`, their keys and values are stored, and the tokens of an earlier record of the
 *  same block are a part of them. Returns the prefix behind the block when it is full, else `prefix`. */
struct kv_prefix kv_cache_record(struct kv_cache *cache, int32_t block, struct kv_prefix prefix, const int32_t *tokens,
                                 int64_t count);

struct kv_match {
    int64_t tokens;          /* positions found: full blocks * 32 + partial_tokens */
    int64_t block_count;     /* full blocks, in `blocks`; each got a reference */
    int64_t held_blocks;     /* so many of these had one already */
    int32_t partial_block;   /* holds the next `partial_tokens` positions, to be copied; it got a reference; -1: none */
    int64_t partial_tokens;  /* 1..31, or 0 */
    struct kv_prefix prefix; /* behind the full blocks */
};

/** Find what is there of tokens[0..count) after `root`; `blocks` has room for count / 32. The caller owns the references. */
void kv_cache_match(struct kv_cache *cache, struct kv_prefix root, const int32_t *tokens, int64_t count,
                    int32_t *blocks, struct kv_match *out);
/** As kv_cache_match, but takes nothing: what would be found. */
struct kv_match kv_cache_peek(const struct kv_cache *cache, struct kv_prefix root, const int32_t *tokens,
                              int64_t count);

/** Forget the contents of all free blocks. */
void kv_cache_forget(struct kv_cache *cache);

/** Every count adds up: STATUS_INTERNAL and a sentence when not. For tests and the idle check. */
enum status kv_cache_check(const struct kv_cache *cache, struct error *err);
/** Make the books agree with `references` ([block_count], what the owners really hold). What blocks hold is forgotten: it may be recorded
 *  anew. */
void kv_cache_repair(struct kv_cache *cache, const int32_t *references);

#endif
