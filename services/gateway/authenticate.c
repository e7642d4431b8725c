/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/authenticate.h"

#include "base/clock.h"
#include "base/log.h"
#include "bora/v1/keys.pb-c.h"
#include "services/gateway/gateway.h"

#include <openssl/sha.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { CACHE_SLOTS = 8192, PROBES = 8, KEY_BYTES_MIN = 8, KEY_BYTES_MAX = 256, REPLY_ARENA_BYTES = 1 << 20 };
static const int64_t VERIFY_TIMEOUT_NS = 2 * NS_PER_S;

/* ---- key_info ------------------------------------------------------------------------------------------------------ */

void key_info_ref(struct key_info *info) {
    atomic_fetch_add(&info->references, 1);
}

void key_info_unref(struct key_info *info) {
    if (info != NULL && atomic_fetch_sub(&info->references, 1) == 1) free(info);
}

static bool is_named(const Bora__Internal__V1__ModelDescription *model, const char *name) {
    if (strcmp(model->name, name) == 0 || strcmp(model->tier, name) == 0) return true;
    for (size_t i = 0; i < model->n_aliases; i++) {
        if (strcmp(model->aliases[i], name) == 0) return true;
    }
    return false;
}

struct limits_bounds key_info_model_bounds(const struct key_info *info,
                                           const Bora__Internal__V1__ModelDescription *model) {
    struct limits_bounds bounds = {LIMITS_ABSENT, LIMITS_ABSENT};
    for (int i = 0; i < info->model_count; i++) {
        if (!is_named(model, info->models[i].model)) continue;
        const struct limits_bounds *other = &info->models[i].bounds;
        bounds.requests_per_minute = limits_tighter(bounds.requests_per_minute, other->requests_per_minute);
        bounds.tokens_per_minute = limits_tighter(bounds.tokens_per_minute, other->tokens_per_minute);
    }
    return bounds;
}

static struct limits_bounds bounds_of(const Bora__V1__Limits *limits) {
    struct limits_bounds bounds = {LIMITS_ABSENT, LIMITS_ABSENT};
    if (limits == NULL) return bounds;
    if (limits->_requests_per_minute_case == BORA__V1__LIMITS___REQUESTS_PER_MINUTE_REQUESTS_PER_MINUTE)
        bounds.requests_per_minute = limits->requests_per_minute;
    if (limits->_tokens_per_minute_case == BORA__V1__LIMITS___TOKENS_PER_MINUTE_TOKENS_PER_MINUTE)
        bounds.tokens_per_minute = limits->tokens_per_minute;
    return bounds;
}

static void copy_text(char *out, size_t size, const char *text) {
    size_t length = strnlen(text, size - 1);
    memcpy(out, text, length);
    out[length] = 0;
}

static struct key_info *make_info(const Bora__V1__ApiKey *key) {
    size_t models = key->n_model_limits < LIMIT_KEY_MODEL_LIMITS ? key->n_model_limits : LIMIT_KEY_MODEL_LIMITS;
    struct key_info *info = calloc(1, sizeof *info + models * sizeof info->models[0]);
    if (info == NULL) return NULL;
    atomic_init(&info->references, 1);
    copy_text(info->key_id, sizeof info->key_id, key->key_id);
    copy_text(info->tenant, sizeof info->tenant, key->tenant);
    info->bounds = bounds_of(key->limits);
    for (size_t i = 0; i < models; i++) {
        copy_text(info->models[i].model, sizeof info->models[i].model, key->model_limits[i]->model);
        info->models[i].bounds = bounds_of(key->model_limits[i]->limits);
    }
    info->model_count = (int)models;
    return info;
}

/* ---- cache --------------------------------------------------------------------------------------------------------- */

struct slot {
    uint8_t digest[SHA256_DIGEST_LENGTH];
    struct key_info *info; /* NULL: empty */
    int64_t until_ns;
};

/** A fixed table: a key has PROBES places; the one that runs out first makes room. So it can neither grow nor be filled up. */
struct key_cache {
    pthread_mutex_t mutex;
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
    int64_t now = clock_monotonic_ns(clock_system());
    pthread_mutex_lock(&cache->mutex);
    for (size_t i = 0; i < PROBES && found == NULL; i++) {
        struct slot *slot = &cache->slots[(home_of(digest) + i) % CACHE_SLOTS];
        if (slot->info != NULL && slot->until_ns > now && memcmp(slot->digest, digest, sizeof slot->digest) == 0)
            found = slot->info;
    }
    if (found != NULL) key_info_ref(found);
    pthread_mutex_unlock(&cache->mutex);
    return found;
}

static void cache_put(struct key_cache *cache, const uint8_t digest[SHA256_DIGEST_LENGTH], struct key_info *info,
                      int64_t ttl_ns) {
    if (ttl_ns <= 0) return;
    pthread_mutex_lock(&cache->mutex);
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
    memcpy(place->digest, digest, sizeof place->digest);
    place->info = info;
    place->until_ns = clock_monotonic_ns(clock_system()) + ttl_ns;
    pthread_mutex_unlock(&cache->mutex);
}

void authenticate_forget(struct gateway *gateway, const char *key_id) {
    struct key_cache *cache = gateway->key_cache;
    pthread_mutex_lock(&cache->mutex);
    for (int i = 0; i < CACHE_SLOTS; i++) {
        struct slot *slot = &cache->slots[i];
        if (slot->info == NULL || strcmp(slot->info->key_id, key_id) != 0) continue;
        key_info_unref(slot->info);
        slot->info = NULL;
    }
    pthread_mutex_unlock(&cache->mutex);
}

/* ---- asking -------------------------------------------------------------------------------------------------------- */

struct asking {
    struct gateway *gateway;
    authenticate_fn *fn;
    void *context;
    uint8_t digest[SHA256_DIGEST_LENGTH];
};

static enum status read_reply(struct bytes_view reply, struct key_info **out) {
    struct arena arena;
    struct error err = {0};
    ProtobufCMessage *message = NULL;
    arena_init(&arena, REPLY_ARENA_BYTES);
    enum status status = protobuf_unpack(&bora__v1__verify_key_response__descriptor, reply, &arena, &message, &err);
    const Bora__V1__VerifyKeyResponse *response = (const void *)message;
    if (status == STATUS_OK && (response->info == NULL || (*out = make_info(response->info)) == NULL))
        status = STATUS_INTERNAL;
    arena_deinit(&arena);
    return status;
}

static void on_verified(void *context, const struct rpc_result *result, struct bytes_view reply) {
    struct asking *asking = context;
    struct key_info *info = NULL;
    enum status status = result->status == STATUS_OK ? read_reply(reply, &info) : result->status;
    if (status == STATUS_OK)
        cache_put(asking->gateway->key_cache, asking->digest, info, asking->gateway->settings.key_cache_ns);
    else if (status != STATUS_UNAUTHENTICATED) {
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

void authenticate(struct gateway *gateway, const char *key, authenticate_fn *fn, void *context) {
    if (!looks_like_key(key)) {
        fn(context, STATUS_UNAUTHENTICATED, NULL);
        return;
    }
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256((const uint8_t *)key, strlen(key), digest);
    struct key_info *cached = cache_find(gateway->key_cache, digest);
    if (cached != NULL) {
        fn(context, STATUS_OK, cached);
        key_info_unref(cached);
        return;
    }
    struct asking *asking = calloc(1, sizeof *asking);
    if (asking != NULL) {
        *asking = (struct asking){.gateway = gateway, .fn = fn, .context = context};
        memcpy(asking->digest, digest, sizeof digest);
        if (ask(gateway, key, asking) == STATUS_OK) return;
    }
    free(asking);
    fn(context, STATUS_UNAVAILABLE, NULL);
}
