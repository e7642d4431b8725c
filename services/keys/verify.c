/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* VerifyKey: gateways wait for it while a request waits, so no thread of ours does.
 *
 *     message ── which organisation ──> the key with its place, and prices, in one flight ──> the answer
 *
 * An unknown prefix goes the same way, to an organisation that nobody has. */
#include "base/clock.h"
#include "base/log.h"
#include "services/keys/convert.h"
#include "services/keys/key_store.h"
#include "services/keys/price.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEMORY_BYTES = 4 << 20, REPLY_BYTES_MAX = 4 << 20, LEVELS = 3, SCOPE_BYTES = LIMITS_SCOPE_BYTES + 1 };
static const double NANOS = 1e9;

struct verifying {
    struct keys_service *service;
    struct rpc_call *call;
    struct arena arena;
    struct key_text key;
    char organization[UUID_CHARACTERS + 1];
    struct authority authority;
    bool found;
    int answers; /* that are still to come: of the key and of prices */
    size_t price_count;
    Bora__V1__ModelPrice **prices;
    enum status status; /* the first failure */
    struct error err;
};

/* --- the end ------------------------------------------------------------------------------------------------------ */

static void release(struct verifying *verifying) {
    rpc_call_unref(verifying->call);
    arena_deinit(&verifying->arena);
    explicit_bzero(&verifying->key, sizeof verifying->key);
    free(verifying);
}

static void finish_refused(struct verifying *verifying, enum status status, const char *message) {
    metric_add(verifying->service->requests, 1, "VerifyKey", status_name(status));
    refuse(verifying->call, status, message);
    release(verifying);
}

static void finish_with(struct verifying *verifying, const Bora__V1__VerifyKeyResponse *response) {
    struct bytes packed;
    bytes_init(&packed, REPLY_BYTES_MAX);
    if (protobuf_pack(&response->base, &packed) != STATUS_OK) {
        finish_refused(verifying, STATUS_RESOURCE_EXHAUSTED, "the answer is too large");
    } else {
        metric_add(verifying->service->requests, 1, "VerifyKey", status_name(STATUS_OK));
        (void)!rpc_call_write(verifying->call, bytes_view(&packed)); /* refused only when the client has left */
        rpc_call_finish(verifying->call, STATUS_OK, NULL, (struct bytes_view){0});
        release(verifying);
    }
    bytes_deinit(&packed);
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

/** A level, unless it limits nothing. False when the arena is exhausted. */
static bool add_level(struct verifying *verifying, const char *scope, const struct limits_bounds *bounds,
                      const struct limit_set *set, Bora__V1__VerifyKeyResponse *out) {
    struct arena *arena = &verifying->arena;
    if (!limit_bounds_any(bounds) && set->model_count == 0) return true;
    Bora__V1__LevelLimits *level = arena_alloc(arena, sizeof *level);
    if (level == NULL) return false;
    bora__v1__level_limits__init(level);
    level->scope = arena_copy(arena, scope, strlen(scope));
    level->limits = convert_bounds(bounds, arena);
    out->levels[out->n_levels++] = level;
    return level->scope != NULL && level->limits != NULL &&
           convert_model_limits(set, arena, &level->model_limits, &level->n_model_limits);
}

struct limits_bounds key_resolve_limits(const struct keys_service *service, const struct key_record *key,
                                        const struct workspace *workspace) {
    struct limits_bounds bounds = key->limits.all, defaults = LIMITS_UNLIMITED;
    limit_bounds_fill(&bounds, &workspace->key_limits);
    defaults.of[LIMITS_REQUESTS_PER_MINUTE] = service->settings.default_requests_per_minute;
    defaults.of[LIMITS_TOKENS_PER_MINUTE] = service->settings.default_tokens_per_minute;
    if (!key->limits_given) limit_bounds_fill(&bounds, &defaults);
    return bounds;
}

static bool fill_levels(struct verifying *verifying, Bora__V1__VerifyKeyResponse *out) {
    const struct authority *authority = &verifying->authority;
    char workspace[SCOPE_BYTES], key[SCOPE_BYTES];
    struct limits_bounds bounds = key_resolve_limits(verifying->service, &authority->key, &authority->workspace);
    snprintf(workspace, sizeof workspace, "w:%s", authority->workspace.id);
    snprintf(key, sizeof key, "k:%s", authority->key.prefix);
    out->levels = arena_alloc_array(&verifying->arena, LEVELS, sizeof *out->levels);
    return out->levels != NULL &&
           add_level(verifying, "o", &authority->organization.limits.all, &authority->organization.limits, out) &&
           add_level(verifying, workspace, &authority->workspace.limits.all, &authority->workspace.limits, out) &&
           add_level(verifying, key, &bounds, &authority->key.limits, out);
}

static void answer(struct verifying *verifying) {
    struct keys_service *service = verifying->service;
    const struct authority *authority = &verifying->authority;
    int64_t now = clock_unix_ns(clock_system()) / NS_PER_S;
    enum status status = verifying->status;
    if (status == STATUS_OK)
        status =
            authority_judge(service, &verifying->key, &verifying->authority, verifying->found, now, &verifying->err);
    if (status != STATUS_OK) {
        if (status == STATUS_DATA_LOSS) log_error("a key cannot be verified", LOG_S("error", verifying->err.message));
        finish_refused(verifying, status,
                       status == STATUS_DATA_LOSS ? "a record in the key store is damaged" : verifying->err.message);
        return;
    }
    Bora__V1__VerifyKeyResponse response = BORA__V1__VERIFY_KEY_RESPONSE__INIT;
    char gate[KEY_GATE_BYTES];
    key_gate_name(authority->key.prefix, authority->key.rotations, gate);
    response.info = convert_key(&authority->key, authority->workspace.name, now, &verifying->arena);
    response.organization_name = (char *)authority->organization.name;
    response.gate = gate;
    response.prices = verifying->prices;
    response.n_prices = verifying->price_count;
    if (response.info == NULL || !fill_levels(verifying, &response)) {
        finish_refused(verifying, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    key_touch(service, &authority->key, now);
    finish_with(verifying, &response);
}

/** The operator's own key, for who signs in with it. */
static void answer_operator(struct verifying *verifying) {
    Bora__V1__VerifyKeyResponse response = BORA__V1__VERIFY_KEY_RESPONSE__INIT;
    Bora__V1__ApiKey info = BORA__V1__API_KEY__INIT;
    info.role = (char *)key_role_name(KEY_ROLE_OPERATOR);
    info.name = info.role;
    info.status = (char *)"active";
    response.info = &info;
    finish_with(verifying, &response);
}

/* --- Redis' answers: on its client's thread, one after the other --------------------------------------------------- */

static void note(struct verifying *verifying, enum status status, const char *message) {
    if (verifying->status == STATUS_OK) verifying->status = store_failure(status, message, &verifying->err);
}

static void count_answer(struct verifying *verifying) {
    if (--verifying->answers == 0) answer(verifying);
}

static enum status read_prices(struct verifying *verifying, const struct redis_reply *reply) {
    struct arena *arena = &verifying->arena;
    verifying->prices = arena_alloc_array(arena, reply->count / 2, sizeof *verifying->prices);
    for (size_t i = 0; verifying->prices != NULL && i + 1 < reply->count; i += 2) {
        struct price price;
        Bora__V1__ModelPrice *out = arena_alloc(arena, sizeof *out);
        const char *model = arena_copy(arena, reply->items[i].string.data, reply->items[i].string.length);
        if (out == NULL || model == NULL) return STATUS_RESOURCE_EXHAUSTED;
        if (!price_read(reply->items[i + 1].string, &price)) return STATUS_DATA_LOSS;
        bora__v1__model_price__init(out);
        out->model = (char *)model;
        out->input_per_million = (double)price.input / NANOS;
        out->output_per_million = (double)price.output / NANOS;
        if (price.cached_input != PRICE_ABSENT) {
            out->_cached_input_per_million_case =
                BORA__V1__MODEL_PRICE___CACHED_INPUT_PER_MILLION_CACHED_INPUT_PER_MILLION;
            out->cached_input_per_million = (double)price.cached_input / NANOS;
        }
        verifying->prices[verifying->price_count++] = out;
    }
    return verifying->prices != NULL ? STATUS_OK : STATUS_RESOURCE_EXHAUSTED;
}

static void on_prices(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct verifying *verifying = context;
    if (status != STATUS_OK)
        note(verifying, status, message);
    else if (verifying->status == STATUS_OK && (status = read_prices(verifying, reply)) != STATUS_OK)
        verifying->status = error_set(&verifying->err, status, "the prices cannot be read");
    count_answer(verifying);
}

static void on_authority(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct verifying *verifying = context;
    if (status != STATUS_OK)
        note(verifying, status, message);
    else if (verifying->status == STATUS_OK)
        verifying->status = authority_read(verifying->organization, verifying->key.prefix, reply, &verifying->arena,
                                           &verifying->authority, &verifying->found, &verifying->err);
    count_answer(verifying);
}

static void on_organization(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct verifying *verifying = context;
    struct redis_client *redis = verifying->service->redis;
    if (status != STATUS_OK) {
        status = store_failure(status, message, &verifying->err);
        finish_refused(verifying, status, verifying->err.message);
        return;
    }
    bool known = reply->type == REDIS_STRING && uuid_is_valid((const char *)reply->string.data);
    snprintf(verifying->organization, sizeof verifying->organization, "%s",
             known ? (const char *)reply->string.data : key_no_organization);
    verifying->answers = 2; /* each command calls back, perhaps before it returns */
    key_ask_authority(redis, verifying->organization, verifying->key.prefix, on_authority, verifying);
    redis_commandf(redis, on_prices, verifying, "HGETALL " PRICES_NAME);
}

/* --- the beginning ------------------------------------------------------------------------------------------------ */

/** The key of the message in `verifying`, and nowhere else any more. */
static enum status read_key(struct verifying *verifying, struct bytes_view bytes, bool *out_operator,
                            struct error *err) {
    const struct keys_secrets *secrets = &verifying->service->secrets;
    ProtobufCMessage *message = NULL;
    TRY(protobuf_unpack(&bora__v1__verify_key_request__descriptor, bytes, &verifying->arena, &message, err));
    char *text = ((Bora__V1__VerifyKeyRequest *)message)->key;
    uint8_t hash[KEY_HASH_BYTES];
    key_text_hash(secrets->hash_secret, text, hash);
    *out_operator = bytes_equal_constant_time(hash, secrets->admin_hash, KEY_HASH_BYTES);
    bool proper = key_text_parse(text, &verifying->key);
    explicit_bzero(text, strlen(text));
    return proper || *out_operator ? STATUS_OK : error_set(err, STATUS_UNAUTHENTICATED, "the key is not valid");
}

/** PERMISSION_DENIED, as UNAUTHENTICATED says that a key is not valid: a gateway must not blame its clients for its own token. Gateways go on asking,
 *  and the log is told once a minute. */
static enum status check_token(struct verifying *verifying, struct error *err) {
    static const int64_t TELL_AGAIN_NS = 60 * NS_PER_S;
    struct keys_service *service = verifying->service;
    const char *authorization = rpc_call_metadata(verifying->call, "authorization");
    if (keys_secrets_match(&service->secrets, service->secrets.service_hash, authorization)) return STATUS_OK;
    int64_t now = clock_monotonic_ns(clock_system()), told = atomic_load(&service->token_told_ns);
    if ((told == 0 || now - told >= TELL_AGAIN_NS) &&
        atomic_compare_exchange_strong(&service->token_told_ns, &told, now))
        log_warn("a gateway's service token is refused", LOG_S("peer", rpc_call_peer(verifying->call)),
                 LOG_S("error", authorization == NULL ? "it shows none" : "it shows another one"),
                 LOG_S("remedy", "--service-token-file of both must hold the same token"));
    return error_set(err, STATUS_PERMISSION_DENIED, "the service token is missing or wrong");
}

void keys_verify(struct rpc_call *call, struct bytes_view bytes) {
    struct keys_service *service = rpc_call_service(call);
    struct verifying *verifying = calloc(1, sizeof *verifying);
    if (verifying == NULL) {
        rpc_call_finish(call, STATUS_RESOURCE_EXHAUSTED, "out of memory", (struct bytes_view){0});
        return;
    }
    verifying->service = service;
    verifying->call = call;
    arena_init(&verifying->arena, MEMORY_BYTES);
    rpc_call_ref(call);
    struct error *err = &verifying->err;
    enum status status = check_token(verifying, err);
    bool of_operator = false;
    if (status == STATUS_OK) status = read_key(verifying, bytes, &of_operator, err);
    if (status == STATUS_OK) status = keys_require_ready(service, err);
    if (status != STATUS_OK)
        finish_refused(verifying, status, err->message);
    else if (of_operator)
        answer_operator(verifying);
    else
        key_ask_organization(service->redis, verifying->key.prefix, on_organization, verifying);
}
