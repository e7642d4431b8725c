/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/key_info.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BYTES_MAX = 1 << 20 };
static const double NANOS = 1e9;

/* ---- reading ------------------------------------------------------------------------------------------------------- */

/** A word of protobuf-c, which may be NULL, in the arena. */
static const char *copy(struct key_info *info, const char *text) {
    return text != NULL ? arena_copy(&info->arena, text, strlen(text)) : "";
}

static struct limits_bounds read_bounds(const Bora__V1__Limits *limits) {
    struct limits_bounds bounds = LIMITS_UNLIMITED;
    if (limits == NULL) return bounds;
#define READ(kind, NAME, name) \
    if (limits->_##name##_case == BORA__V1__LIMITS___##NAME##_##NAME) bounds.of[kind] = limits->name
    READ(LIMITS_REQUESTS_PER_SECOND, REQUESTS_PER_SECOND, requests_per_second);
    READ(LIMITS_REQUESTS_PER_MINUTE, REQUESTS_PER_MINUTE, requests_per_minute);
    READ(LIMITS_INPUT_PER_MINUTE, INPUT_TOKENS_PER_MINUTE, input_tokens_per_minute);
    READ(LIMITS_OUTPUT_PER_MINUTE, OUTPUT_TOKENS_PER_MINUTE, output_tokens_per_minute);
    READ(LIMITS_TOKENS_PER_MINUTE, TOKENS_PER_MINUTE, tokens_per_minute);
    READ(LIMITS_TOKENS_PER_DAY, TOKENS_PER_DAY, tokens_per_day);
    READ(LIMITS_TOKENS_PER_MONTH, TOKENS_PER_MONTH, tokens_per_month);
    READ(LIMITS_STREAMS, CONCURRENT_STREAMS, concurrent_streams);
#undef READ
    if (limits->_spend_per_month_case == BORA__V1__LIMITS___SPEND_PER_MONTH_SPEND_PER_MONTH)
        bounds.of[LIMITS_SPEND_PER_MONTH] = llround(limits->spend_per_month * NANOS);
    return bounds;
}

static bool read_level(struct key_info *info, const Bora__V1__LevelLimits *in, struct key_level *out) {
    if (in->scope == NULL || strlen(in->scope) > LIMITS_SCOPE_BYTES) return false;
    snprintf(out->scope, sizeof out->scope, "%s", in->scope);
    out->bounds = read_bounds(in->limits);
    out->models = arena_alloc_array(&info->arena, in->n_model_limits, sizeof *out->models);
    if (out->models == NULL) return false;
    for (size_t i = 0; i < in->n_model_limits; i++) {
        struct key_model_bounds *model = &out->models[out->model_count++];
        model->model = copy(info, in->model_limits[i]->model);
        model->bounds = read_bounds(in->model_limits[i]->limits);
        if (model->model == NULL) return false;
    }
    return true;
}

static const char **read_words(struct key_info *info, char *const *words, size_t count) {
    const char **out = arena_alloc_array(&info->arena, count, sizeof *out);
    for (size_t i = 0; out != NULL && i < count; i++) {
        out[i] = copy(info, words[i]);
        if (out[i] == NULL) return NULL;
    }
    return out;
}

static bool read_prices(struct key_info *info, const Bora__V1__VerifyKeyResponse *verified) {
    info->prices = arena_alloc_array(&info->arena, verified->n_prices, sizeof *info->prices);
    if (info->prices == NULL) return false;
    for (size_t i = 0; i < verified->n_prices; i++) {
        const Bora__V1__ModelPrice *in = verified->prices[i];
        bool cached = in->_cached_input_per_million_case ==
                      BORA__V1__MODEL_PRICE___CACHED_INPUT_PER_MILLION_CACHED_INPUT_PER_MILLION;
        info->prices[i].model = copy(info, in->model);
        if (info->prices[i].model == NULL) return false;
        info->prices[i].price = (struct limits_price){
            .input = llround(in->input_per_million * NANOS),
            .cached_input = llround((cached ? in->cached_input_per_million : in->input_per_million) * NANOS),
            .output = llround(in->output_per_million * NANOS)};
        info->price_count++;
    }
    return true;
}

static bool read_key(struct key_info *info, const Bora__V1__VerifyKeyResponse *verified) {
    const Bora__V1__ApiKey *key = verified->info;
    if (key == NULL || verified->n_levels > KEY_LEVELS_MAX) return false;
    info->key_id = copy(info, key->key_id);
    info->prefix = copy(info, key->prefix);
    info->gate = verified->gate != NULL && verified->gate[0] != 0 ? copy(info, verified->gate) : info->prefix;
    info->organization = copy(info, key->organization_id);
    info->workspace = copy(info, key->workspace_id);
    info->role = copy(info, key->role);
    if (info->key_id == NULL || info->prefix == NULL || info->gate == NULL || info->organization == NULL ||
        info->workspace == NULL || info->role == NULL)
        return false;
    if (key->_expires_at_case == BORA__V1__API_KEY___EXPIRES_AT_EXPIRES_AT) info->expires_at = key->expires_at;
    if (key->scopes != NULL) {
        info->models = read_words(info, key->scopes->models, key->scopes->n_models);
        info->endpoints = read_words(info, key->scopes->endpoints, key->scopes->n_endpoints);
        if (info->models == NULL || info->endpoints == NULL) return false;
        info->model_count = key->scopes->n_models;
        info->endpoint_count = key->scopes->n_endpoints;
    }
    for (size_t i = 0; i < verified->n_levels; i++) {
        if (!read_level(info, verified->levels[i], &info->levels[info->level_count++])) return false;
    }
    return read_prices(info, verified);
}

/** Whoever may ask models is counted under these names. */
static bool has_place(const struct key_info *info) {
    size_t prefix = strlen(info->prefix), gate = strlen(info->gate), organization = strlen(info->organization),
           workspace = strlen(info->workspace);
    return prefix > 0 && prefix <= LIMITS_KEY_ID_BYTES && gate <= LIMITS_GATE_BYTES && organization > 0 &&
           organization <= LIMITS_ID_BYTES && workspace > 0 && workspace <= LIMITS_ID_BYTES;
}

struct key_info *key_info_create(const Bora__V1__VerifyKeyResponse *verified) {
    struct key_info *info = calloc(1, sizeof *info);
    if (info == NULL) return NULL;
    atomic_init(&info->references, 1);
    arena_init(&info->arena, ARENA_BYTES_MAX);
    if (read_key(info, verified) && (key_info_is_operator(info) || has_place(info))) return info;
    key_info_unref(info);
    return NULL;
}

void key_info_ref(struct key_info *info) {
    atomic_fetch_add(&info->references, 1);
}

void key_info_unref(struct key_info *info) {
    if (info == NULL || atomic_fetch_sub(&info->references, 1) != 1) return;
    arena_deinit(&info->arena);
    free(info);
}

/* ---- asking -------------------------------------------------------------------------------------------------------- */

/** How particular a name is for a model: its own 3, an alias 2, its tier 1, another's 0. */
static int match(const model_description *model, const char *name) {
    if (strcmp(model->name, name) == 0) return 3;
    for (size_t i = 0; i < model->n_aliases; i++) {
        if (strcmp(model->aliases[i], name) == 0) return 2;
    }
    return strcmp(model->tier, name) == 0 ? 1 : 0;
}

static bool limits_anything(const struct limits_bounds *bounds) {
    for (int kind = 0; kind < LIMITS_KINDS; kind++) {
        if (bounds->of[kind] != LIMITS_ABSENT) return true;
    }
    return false;
}

static struct limits_scope scope_of(const struct key_level *level, const struct limits_bounds *bounds, bool of_model) {
    struct limits_scope scope = {.of_model = of_model, .bounds = *bounds};
    memcpy(scope.name, level->scope, sizeof scope.name);
    return scope;
}

int key_info_scopes(const struct key_info *info, const model_description *model,
                    struct limits_scope out[LIMITS_SCOPES_MAX]) {
    int count = 0;
    for (size_t i = 0; i < info->level_count; i++) {
        const struct key_level *level = &info->levels[i];
        struct limits_bounds of_model = LIMITS_UNLIMITED;
        for (size_t m = 0; m < level->model_count; m++) {
            if (match(model, level->models[m].model) == 0) continue;
            for (int kind = 0; kind < LIMITS_KINDS; kind++)
                of_model.of[kind] = limits_tighter(of_model.of[kind], level->models[m].bounds.of[kind]);
        }
        if (limits_anything(&level->bounds)) out[count++] = scope_of(level, &level->bounds, false);
        if (limits_anything(&of_model)) out[count++] = scope_of(level, &of_model, true);
    }
    return count;
}

struct limits_price key_info_price(const struct key_info *info, const model_description *model) {
    struct limits_price price = {0};
    int best = 0;
    for (size_t i = 0; i < info->price_count; i++) {
        int how = match(model, info->prices[i].model);
        if (how <= best) continue;
        best = how;
        price = info->prices[i].price;
    }
    return price;
}

bool key_info_may_use(const struct key_info *info, const model_description *model) {
    for (size_t i = 0; i < info->model_count; i++) {
        if (match(model, info->models[i]) > 0) return true;
    }
    return info->model_count == 0;
}

bool key_info_may_ask(const struct key_info *info, const char *endpoint) {
    if (key_info_is_operator(info)) return strcmp(endpoint, "models") == 0;
    for (size_t i = 0; i < info->endpoint_count; i++) {
        if (strcmp(info->endpoints[i], endpoint) == 0) return true;
    }
    return info->endpoint_count == 0;
}

bool key_info_is_operator(const struct key_info *info) {
    return strcmp(info->role, "operator") == 0;
}

bool key_info_is_admin(const struct key_info *info) {
    return key_info_is_operator(info) || strcmp(info->role, "admin") == 0;
}

bool key_change_is_about(enum key_change change, const char *id, const struct key_info *info) {
    switch (change) {
    case KEY_CHANGE_KEY:
        return strcmp(info->prefix, id) == 0;
    case KEY_CHANGE_WORKSPACE:
        return strcmp(info->workspace, id) == 0;
    case KEY_CHANGE_ORGANIZATION:
        return strcmp(info->organization, id) == 0;
    default:
        return true;
    }
}
