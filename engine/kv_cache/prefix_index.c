/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/kv_cache/prefix_index.h"

#include "base/random.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { SECRET_BYTES = 16, CHAIN_LOOKS = 64, SALT_BYTES_MAX = 256 };

/** SHA-256 of a byte that says what follows, the process's secret, and the parts; cut to 128 bits. */
struct prefix_hash {
    EVP_MD *algorithm;
    EVP_MD_CTX *context;
    uint8_t secret[SECRET_BYTES];
    uint64_t failures;
};

static struct kv_prefix digest(struct prefix_hash *hash, char kind, const void *a, size_t a_bytes, const void *b,
                               size_t b_bytes) {
    uint8_t out[EVP_MAX_MD_SIZE];
    bool hashed = EVP_DigestInit_ex2(hash->context, hash->algorithm, NULL) == 1 &&
                  EVP_DigestUpdate(hash->context, &kind, 1) == 1 &&
                  EVP_DigestUpdate(hash->context, hash->secret, sizeof hash->secret) == 1 &&
                  EVP_DigestUpdate(hash->context, a, a_bytes) == 1 &&
                  EVP_DigestUpdate(hash->context, b, b_bytes) == 1 && EVP_DigestFinal_ex(hash->context, out, NULL) == 1;
    /* Without a hash the name is one that nobody else has: nothing is shared by mistake. */
    struct kv_prefix prefix = {.words = {UINT64_MAX, hash->failures}};
    if (hashed)
        memcpy(&prefix, out, sizeof prefix);
    else
        hash->failures++;
    return prefix;
}

struct kv_prefix prefix_index_root(const struct prefix_index *index, const struct kv_owner *owner) {
    size_t salt_bytes = owner->salt_bytes < SALT_BYTES_MAX ? owner->salt_bytes : SALT_BYTES_MAX;
    return digest(index->hash, 'r', &owner->adapter, sizeof owner->adapter, owner->salt, salt_bytes);
}

struct kv_prefix prefix_index_link(const struct prefix_index *index, struct kv_prefix prefix, const int32_t *tokens) {
    return digest(index->hash, 'l', &prefix, sizeof prefix, tokens, KV_BLOCK_TOKENS * sizeof *tokens);
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static enum status hash_create(struct prefix_hash **out, struct error *err) {
    struct prefix_hash *hash = calloc(1, sizeof *hash);
    if (hash == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    *out = hash;
    hash->algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
    hash->context = EVP_MD_CTX_new();
    if (hash->algorithm == NULL || hash->context == NULL)
        return error_set(err, STATUS_INTERNAL, "libcrypto has no SHA-256");
    return random_secret(hash->secret, sizeof hash->secret, err);
}

enum status prefix_index_init(struct prefix_index *index, int64_t block_count, struct error *err) {
    *index = (struct prefix_index){.block_count = block_count, .buckets = 16};
    while (index->buckets < 2 * (size_t)block_count) index->buckets *= 2;
    index->entries = calloc((size_t)block_count, sizeof *index->entries);
    index->by_key = malloc(index->buckets * sizeof *index->by_key);
    index->by_prefix = malloc(index->buckets * sizeof *index->by_prefix);
    if (index->entries == NULL || index->by_key == NULL || index->by_prefix == NULL) {
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for the index of %lld KV blocks",
                         (long long)block_count);
    }
    prefix_index_forget(index);
    return hash_create(&index->hash, err);
}

void prefix_index_deinit(struct prefix_index *index) {
    if (index->hash != NULL) {
        EVP_MD_CTX_free(index->hash->context);
        EVP_MD_free(index->hash->algorithm);
        free(index->hash);
    }
    free(index->entries);
    free(index->by_key);
    free(index->by_prefix);
    *index = (struct prefix_index){0};
}

/* ---- chains -------------------------------------------------------------------------------------------------------- */

static struct prefix_links *links_of(const struct prefix_index *index, int32_t block, bool by_key) {
    return by_key ? &index->entries[block].by_key : &index->entries[block].by_prefix;
}

static int32_t *bucket_of(const struct prefix_index *index, struct kv_prefix name, bool by_key) {
    return (by_key ? index->by_key : index->by_prefix) + (name.words[0] & (index->buckets - 1));
}

static void chain_add(struct prefix_index *index, int32_t block, struct kv_prefix name, bool by_key) {
    int32_t *first = bucket_of(index, name, by_key);
    *links_of(index, block, by_key) = (struct prefix_links){.previous = -1, .next = *first};
    if (*first >= 0) links_of(index, *first, by_key)->previous = block;
    *first = block;
}

static void chain_remove(struct prefix_index *index, int32_t block, struct kv_prefix name, bool by_key) {
    const struct prefix_links *links = links_of(index, block, by_key);
    if (links->previous >= 0)
        links_of(index, links->previous, by_key)->next = links->next;
    else
        *bucket_of(index, name, by_key) = links->next;
    if (links->next >= 0) links_of(index, links->next, by_key)->previous = links->previous;
}

static bool same_prefix(struct kv_prefix a, struct kv_prefix b) {
    return a.words[0] == b.words[0] && a.words[1] == b.words[1];
}

void prefix_index_clear(struct prefix_index *index, int32_t block) {
    struct prefix_entry *entry = &index->entries[block];
    if (entry->count == 0) return;
    chain_remove(index, block, entry->prefix, false);
    if (entry->count == KV_BLOCK_TOKENS) chain_remove(index, block, entry->key, true);
    entry->count = 0;
}

void prefix_index_forget(struct prefix_index *index) {
    for (int64_t i = 0; i < index->block_count; i++) index->entries[i].count = 0;
    memset(index->by_key, -1, index->buckets * sizeof *index->by_key);
    memset(index->by_prefix, -1, index->buckets * sizeof *index->by_prefix);
}

void prefix_index_set(struct prefix_index *index, int32_t block, struct kv_prefix prefix, const int32_t *tokens,
                      int32_t count) {
    struct prefix_entry *entry = &index->entries[block];
    if (entry->count > 0 && (count < entry->count || !same_prefix(entry->prefix, prefix)))
        prefix_index_clear(index, block);
    if (count == entry->count) return;
    if (entry->count == 0) {
        entry->prefix = prefix;
        chain_add(index, block, prefix, false);
    }
    memcpy(entry->tokens, tokens, (size_t)count * sizeof *tokens);
    entry->count = count;
    if (count < KV_BLOCK_TOKENS) return;
    entry->key = prefix_index_link(index, prefix, tokens);
    chain_add(index, block, entry->key, true);
}

/* ---- finding ------------------------------------------------------------------------------------------------------- */

int32_t prefix_index_find(const struct prefix_index *index, struct kv_prefix prefix, const int32_t *tokens,
                          struct kv_prefix key) {
    for (int32_t block = *bucket_of(index, key, true); block >= 0; block = index->entries[block].by_key.next) {
        const struct prefix_entry *entry = &index->entries[block];
        if (same_prefix(entry->key, key) && same_prefix(entry->prefix, prefix) &&
            memcmp(entry->tokens, tokens, sizeof entry->tokens) == 0)
            return block;
    }
    return -1;
}

int32_t prefix_index_longest(const struct prefix_index *index, struct kv_prefix prefix, const int32_t *tokens,
                             int64_t count, int64_t *out_common) {
    int32_t best = -1, block = *bucket_of(index, prefix, false);
    *out_common = 0;
    for (int looks = 0; block >= 0 && looks < CHAIN_LOOKS; looks++, block = index->entries[block].by_prefix.next) {
        const struct prefix_entry *entry = &index->entries[block];
        if (!same_prefix(entry->prefix, prefix)) continue;
        int64_t common = 0, most = entry->count < count ? entry->count : count;
        while (common < most && entry->tokens[common] == tokens[common]) common++;
        if (common <= *out_common) continue;
        best = block;
        *out_common = common;
    }
    return best;
}

/* ---- checking ------------------------------------------------------------------------------------------------------ */

/** Entries in the chains of one kind; -1 when a chain is broken. */
static int64_t count_chained(const struct prefix_index *index, bool by_key) {
    int64_t chained = 0;
    for (size_t bucket = 0; bucket < index->buckets; bucket++) {
        int32_t previous = -1, block = (by_key ? index->by_key : index->by_prefix)[bucket];
        for (; block >= 0; previous = block, block = links_of(index, block, by_key)->next) {
            if (block >= index->block_count || ++chained > index->block_count) return -1;
            const struct prefix_entry *entry = &index->entries[block];
            struct kv_prefix name = by_key ? entry->key : entry->prefix;
            bool belongs = by_key ? entry->count == KV_BLOCK_TOKENS : entry->count > 0;
            if (!belongs || (name.words[0] & (index->buckets - 1)) != bucket ||
                links_of(index, block, by_key)->previous != previous)
                return -1;
        }
    }
    return chained;
}

enum status prefix_index_check(const struct prefix_index *index, struct error *err) {
    int64_t held = 0, full = 0;
    for (int64_t i = 0; i < index->block_count; i++) {
        held += index->entries[i].count > 0;
        full += index->entries[i].count == KV_BLOCK_TOKENS;
    }
    int64_t by_prefix = count_chained(index, false), by_key = count_chained(index, true);
    return by_prefix == held && by_key == full
               ? STATUS_OK
               : error_set(err, STATUS_INTERNAL,
                           "the index of KV blocks has chains of %lld and %lld; %lld hold something, %lld are full",
                           (long long)by_prefix, (long long)by_key, (long long)held, (long long)full);
}
