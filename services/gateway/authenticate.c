/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/authenticate.h"

#include "base/clock.h"
#include "base/log.h"
#include "bora/v1/keys.pb-c.h"
#include "services/gateway/gateway.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { CACHE_SLOTS = 8192, PROBES = 8, KEY_BYTES_MIN = 8, KEY_BYTES_MAX = 256, REPLY_ARENA_BYTES = 1 << 20 };
static const int64_t VERIFY_TIMEOUT_NS = 2 * NS_PER_S;

/* ---- cache --------------------------------------------------------------------------------------------------------- */

struct slot {
    uint8_t digest[SHA256_DIGEST_LENGTH];
    struct key_info *info; /* NULL: empty */
    int64_t until_ns;
};

/** A fixed table: a key has PROBES places; the one that runs out first makes room. So it can neither grow nor be filled up. */
struct key_cache {
    pthread_mutex_t mutex;
    bool trusted;        /* changes are told */
    uint64_t generation; /* counts what was told: an answer that was asked for before is older */
    struct slot slots[CACHE_SLOTS];
};

enum status key_cache_create(struct key_cache **out, struct error *err) {
    struct key_cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    pthread_mutex_init(&cache->mutex, NULL);
    *out = cache;
    return STATUS_OK;
}

void key_cache_destroy(struct key_cache *cache) {
    if (cache == NULL) return;
    for (int i = 0; i < CACHE_SLOTS; i++) key_info_unref(cache->slots[i].info);
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
}

static size_t home_of(const uint8_t digest[SHA256_DIGEST_LENGTH]) {
    uint32_t word;
    memcpy(&word, digest, sizeof word);
    return word % CACHE_SLOTS;
}

/** A reference to the cached info, or NULL. */
static struct key_info *cache_find(struct key_cache *cache, const uint8_t digest[SHA256_DIGEST_LENGTH]) {
    struct key_info *found = NULL;
    int64_t now = clock_monotonic_ns(clock_system()), now_s = clock_unix_ns(clock_system()) / NS_PER_S;
    pthread_mutex_lock(&cache->mutex);
    for (size_t i = 0; i < PROBES && found == NULL; i++) {
        struct slot *slot = &cache->slots[(home_of(digest) + i) % CACHE_SLOTS];
        if (slot->info != NULL && slot->until_ns > now && memcmp(slot->digest, digest, sizeof slot->digest) == 0)
            found = slot->info;
    }
    if (found != NULL && found->expires_at != 0 && found->expires_at <= now_s) found = NULL;
    if (found != NULL) key_info_ref(found);
    pthread_mutex_unlock(&cache->mutex);
    return found;
}

/** `generation`: of the cache when the keys service was asked. */
static void cache_put(struct key_cache *cache, const uint8_t digest[SHA256_DIGEST_LENGTH], struct key_info *info,
                      int64_t ttl_ns, uint64_t generation) {
    if (ttl_ns <= 0) return;
    pthread_mutex_lock(&cache->mutex);
    if (!cache->trusted || cache->generation != generation) {
        pthread_mutex_unlock(&cache->mutex);
        return;
    }
    struct slot *place = NULL;
    for (size_t i = 0; i < PROBES; i++) {
        struct slot *slot = &cache->slots[(home_of(digest) + i) % CACHE_SLOTS];
        bool same = slot->info != NULL && memcmp(slot->digest, digest, sizeof slot->digest) == 0;
        if (place == NULL || same || slot->info == NULL || (place->info != NULL && slot->until_ns < place->until_ns))
            place = slot;
        if (same) break;
    }
    key_info_unref(place->info);
    key_info_ref(info);
    atomic_store(&info->remembered, true);
    memcpy(place->digest, digest, sizeof place->digest);
    place->info = info;
    place->until_ns = clock_monotonic_ns(clock_system()) + ttl_ns;
    pthread_mutex_unlock(&cache->mutex);
}

static void forget_locked(struct key_cache *cache, enum key_change change, const char *id) {
    cache->generation++;
    for (int i = 0; i < CACHE_SLOTS; i++) {
        struct slot *slot = &cache->slots[i];
        if (slot->info == NULL || !key_change_is_about(change, id, slot->info)) continue;
        key_info_unref(slot->info);
        slot->info = NULL;
    }
}

void key_cache_forget(struct key_cache *cache, enum key_change change, const char *id) {
    pthread_mutex_lock(&cache->mutex);
    forget_locked(cache, change, id);
    pthread_mutex_unlock(&cache->mutex);
}

void key_cache_trust(struct key_cache *cache, bool trusted) {
    pthread_mutex_lock(&cache->mutex);
    cache->trusted = trusted;
    forget_locked(cache, KEY_CHANGE_ALL, "");
    pthread_mutex_unlock(&cache->mutex);
}

void authenticate_forget(struct gateway *gateway, const char *prefix) {
    key_cache_forget(gateway->key_cache, KEY_CHANGE_KEY, prefix);
}

static uint64_t cache_generation(struct key_cache *cache) {
    pthread_mutex_lock(&cache->mutex);
    uint64_t generation = cache->generation;
    pthread_mutex_unlock(&cache->mutex);
    return generation;
}

/* ---- asking -------------------------------------------------------------------------------------------------------- */

struct asking {
    struct gateway *gateway;
    authenticate_fn *fn;
    void *context;
    uint8_t digest[SHA256_DIGEST_LENGTH];
    uint64_t generation; /* of the cache */
};

static enum status read_reply(struct bytes_view reply, struct key_info **out) {
    struct arena arena;
    struct error err = {0};
    ProtobufCMessage *message = NULL;
    arena_init(&arena, REPLY_ARENA_BYTES);
    enum status status = protobuf_unpack(&bora__v1__verify_key_response__descriptor, reply, &arena, &message, &err);
    const Bora__V1__VerifyKeyResponse *response = (const void *)message;
    if (status == STATUS_OK && (*out = key_info_create(response)) == NULL) status = STATUS_INTERNAL;
    arena_deinit(&arena);
    return status;
}

static void on_verified(void *context, const struct rpc_result *result, struct bytes_view reply) {
    struct asking *asking = context;
    struct key_info *info = NULL;
    enum status status = result->status == STATUS_OK ? read_reply(reply, &info) : result->status;
    service_token_heard(asking->gateway, result->status);
    if (status == STATUS_OK) {
        /* Whoever looks after leases and the outbox has to know of it; in a slot of its own, so not in the scripts. */
        if (!key_info_is_operator(info))
            redis_commandf(asking->gateway->redis, NULL, NULL, "SADD bora:orgs-active %s", info->organization);
        cache_put(asking->gateway->key_cache, asking->digest, info, asking->gateway->settings.key_cache_ns,
                  asking->generation);
    } else if (status != STATUS_UNAUTHENTICATED) {
        if (status != STATUS_PERMISSION_DENIED) /* of which service_token.c tells */
            log_warn("the keys service cannot be asked", LOG_S("status", status_name(status)),
                     LOG_S("error", result->message));
        status = STATUS_UNAVAILABLE;
    }
    asking->fn(asking->context, status, info);
    key_info_unref(info);
    free(asking);
}

static enum status ask(struct gateway *gateway, const char *key, struct asking *asking) {
    Bora__V1__VerifyKeyRequest request = BORA__V1__VERIFY_KEY_REQUEST__INIT;
    struct bytes packed;
    struct error err = {0};
    bytes_init(&packed, KEY_BYTES_MAX + 64);
    request.key = (char *)key;
    const char *const metadata[] = {"authorization", gateway->service_authorization, NULL};
    enum status status = protobuf_pack(&request.base, &packed);
    if (status == STATUS_OK) {
        status = rpc_client_unary_async(gateway->keys, "/bora.v1.KeyService/VerifyKey",
                                        gateway->service_authorization != NULL ? metadata : NULL, bytes_view(&packed),
                                        VERIFY_TIMEOUT_NS, on_verified, asking, &err);
    }
    if (packed.data != NULL) explicit_bzero(packed.data, packed.length); /* it has the key */
    bytes_deinit(&packed);
    return status;
}

/** What cannot be a key is refused without asking anybody. */
static bool looks_like_key(const char *key) {
    size_t length = key != NULL ? strnlen(key, KEY_BYTES_MAX + 1) : 0;
    if (length < KEY_BYTES_MIN || length > KEY_BYTES_MAX) return false;
    for (const char *c = key; *c != 0; c++) {
        if (*c <= 0x20 || *c >= 0x7f) return false;
    }
    return true;
}

static EVP_MD
    *sha256; /* looked up once: OpenSSL's one-shot function does that each time, which takes longer than the hash */
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;
static void fetch_sha256(void) {
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

static bool hash_key(const char *key, uint8_t digest[SHA256_DIGEST_LENGTH]) {
    pthread_once(&sha256_once, fetch_sha256);
    return sha256 != NULL && EVP_Digest(key, strlen(key), digest, NULL, sha256, NULL) == 1;
}

void authenticate(struct gateway *gateway, const char *key, authenticate_fn *fn, void *context) {
    if (!looks_like_key(key)) {
        fn(context, STATUS_UNAUTHENTICATED, NULL);
        return;
    }
    uint8_t digest[SHA256_DIGEST_LENGTH];
    if (!hash_key(key, digest)) {
        fn(context, STATUS_UNAVAILABLE, NULL);
        return;
    }
    struct key_info *cached = cache_find(gateway->key_cache, digest);
    if (cached != NULL) {
        fn(context, STATUS_OK, cached);
        key_info_unref(cached);
        return;
    }
    struct asking *asking = calloc(1, sizeof *asking);
    if (asking != NULL) {
        *asking = (struct asking){
            .gateway = gateway, .fn = fn, .context = context, .generation = cache_generation(gateway->key_cache)};
        memcpy(asking->digest, digest, sizeof digest);
        if (ask(gateway, key, asking) == STATUS_OK) return;
    }
    free(asking);
    fn(context, STATUS_UNAVAILABLE, NULL);
}
