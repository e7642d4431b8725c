/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Prefix index: which blocks hold what, by hash. The cache's own part: it knows nothing of references.
 *
 *     by_key      key behind a full block -> the block             the next full block of a prompt, in one look
 *     by_prefix   prefix -> every block recorded after it, the last recorded first     where full blocks end
 *
 * Both are tables of chains that run through the entries; an entry is in by_prefix while it holds a token, and in by_key
 * while it is full.
 */
#ifndef ENGINE_KV_CACHE_PREFIX_INDEX_H
#define ENGINE_KV_CACHE_PREFIX_INDEX_H

#include "engine/kv_cache/kv_cache.h"

struct prefix_links {
    int32_t previous, next; /* blocks; -1 ends the chain */
};

struct prefix_entry {
    struct kv_prefix prefix, key; /* before the block; behind it, when full */
    struct prefix_links by_key, by_prefix;
    int32_t count; /* tokens held; 0: in no chain */
    int32_t tokens[KV_BLOCK_TOKENS];
};

struct prefix_index {
    struct prefix_entry *entries; /* [block_count] */
    int32_t *by_key, *by_prefix;  /* [buckets] first block of each chain, -1 none */
    int64_t block_count;
    size_t buckets;           /* a power of two */
    struct prefix_hash *hash; /* the keyed hash's state */
};

enum status prefix_index_init(struct prefix_index *index, int64_t block_count, struct error *err);
void prefix_index_deinit(struct prefix_index *index);

struct kv_prefix prefix_index_root(const struct prefix_index *index, const struct kv_owner *owner);
/** The prefix behind a full block. */
struct kv_prefix prefix_index_link(const struct prefix_index *index, struct kv_prefix prefix, const int32_t *tokens);

/** `block` holds tokens[0..count) after `prefix`. Equal count and prefix: nothing changes. */
void prefix_index_set(struct prefix_index *index, int32_t block, struct kv_prefix prefix, const int32_t *tokens,
                      int32_t count);
void prefix_index_clear(struct prefix_index *index, int32_t block);
/** Forget every block, whatever state the chains are in. */
void prefix_index_forget(struct prefix_index *index);

/** The block that holds tokens[0..32) after `prefix`, whose key that makes; -1. */
int32_t prefix_index_find(const struct prefix_index *index, struct kv_prefix prefix, const int32_t *tokens,
                          struct kv_prefix key);
/** The block after `prefix` that begins with most of tokens[0..count), and how many; -1 and 0. Looks at the last 64 recorded. */
int32_t prefix_index_longest(const struct prefix_index *index, struct kv_prefix prefix, const int32_t *tokens,
                             int64_t count, int64_t *out_common);

/** Every entry that holds something is in its chains, once, and nothing else is: STATUS_INTERNAL and a sentence when not. */
enum status prefix_index_check(const struct prefix_index *index, struct error *err);

#endif
