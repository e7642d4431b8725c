/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* GetRateLimit, and the spend limits: which limits count, and what is used of them now. */
#include "services/keys/usage_methods.h"

#include "base/clock.h"
#include "bora/v1/usage.pb-c.h"
#include "services/keys/batch.h"
#include "services/keys/convert.h"
#include "services/keys/key_store.h"
#include "services/keys/model_names.h"
#include "services/keys/money.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/prices.h"
#include "services/keys/time_text.h"
#include "services/keys/usage_scope.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MODELS_OF_A_NAME = 64 };

/* --- what is used ------------------------------------------------------------------------------------------------ */

static enum status read_used(void *context, const struct redis_reply *reply, struct error *err) {
    struct limits_bounds *used = context;
    return limits_read_used(reply, used) ? STATUS_OK
                                         : error_set(err, STATUS_DATA_LOSS, "the limits' script gave a strange answer");
}

/** Of all these models; each has a counter of its own, and so a limit in them all is as near as the nearest of them. */
static enum status ask_used(struct handling *handling, const char *organization, const char *scope,
                            const char *const *models, size_t count, struct limits_bounds *out, struct error *err) {
    struct redis_client *redis = handling->service->limits_redis;
    struct limits_bounds used[MODELS_OF_A_NAME];
    struct batch batch;
    struct error cause = {0};
    batch_init(&batch);
    for (size_t i = 0; i < count; i++)
        limits_used(redis, organization, scope, models[i], batch_answer, batch_expect(&batch, read_used, &used[i]));
    enum status status = batch_wait(&batch, NULL, &cause);
    batch_deinit(&batch);
    if (status != STATUS_OK) return store_failure(status, cause.message, err);
    *out = used[0];
    for (size_t i = 1; i < count; i++) {
        for (int kind = 0; kind < LIMITS_KINDS; kind++) {
            if (used[i].of[kind] > out->of[kind]) out->of[kind] = used[i].of[kind];
        }
    }
    return STATUS_OK;
}

/* --- levels ------------------------------------------------------------------------------------------------------ */

enum { LEVELS = 3, ROWS_MAX = LEVELS * (1 + LIMIT_KEY_MODEL_LIMITS) };

/** The organisation, a workspace or a key, and its limits. */
struct level {
    const char *kind, *id, *name;       /* "organization", ... */
    enum key_role least_role;           /* that may see what is used and spent there (usage_scope.h) */
    char scope[LIMITS_SCOPE_BYTES + 1]; /* its counter's name */
    const struct limit_set *limits;
};
struct levels {
    const char *organization;
    size_t count;
    struct level items[LEVELS];
};

static void add_level(struct levels *levels, const char *kind, enum key_role least_role, const char *letter,
                      const char *counter, const char *id, const char *name, const struct limit_set *limits) {
    struct level *level = &levels->items[levels->count++];
    *level = (struct level){.kind = kind, .least_role = least_role, .id = id, .name = name, .limits = limits};
    snprintf(level->scope, sizeof level->scope, "%s%s", letter, counter);
}

static enum status add_organization(struct handling *handling, const char *id_or_null, struct levels *out,
                                    struct error *err) {
    struct organization *organization = arena_alloc(&handling->arena, sizeof *organization);
    if (organization == NULL) return out_of_memory(err);
    TRY(handling_organization(handling, id_or_null, organization, err));
    out->organization = organization->id;
    add_level(out, "organization", KEY_ROLE_ADMIN, "o", "", organization->id, organization->name,
              &organization->limits);
    return STATUS_OK;
}

static enum status add_workspace(struct handling *handling, const char *id, struct levels *out,
                                 const struct workspace **out_workspace, struct error *err) {
    struct workspace *workspace = arena_alloc(&handling->arena, sizeof *workspace);
    if (workspace == NULL) return out_of_memory(err);
    TRY(handling_workspace(handling, id, workspace, err));
    add_level(out, "workspace", KEY_ROLE_MEMBER, "w:", workspace->id, workspace->id, workspace->name,
              &workspace->limits);
    *out_workspace = workspace;
    return STATUS_OK;
}

static enum status add_key(struct handling *handling, const char *prefix, struct levels *out, struct error *err) {
    struct arena *arena = &handling->arena;
    struct key_record *key = arena_alloc(arena, sizeof *key);
    const struct workspace *workspace = NULL;
    char *id = arena_alloc(arena, UUID_CHARACTERS + 1);
    if (key == NULL || id == NULL) return out_of_memory(err);
    TRY(handling_key(handling, prefix, key, err));
    TRY(add_workspace(handling, key->workspace, out, &workspace, err));
    key->limits.all = key_resolve_limits(handling->service, key, workspace);
    uuid_of_prefix(key->prefix, id);
    add_level(out, "key", KEY_ROLE_SERVICE, "k:", key->prefix, id, key->name, &key->limits);
    return STATUS_OK;
}

/** Those of what was asked for; default: the caller's own key. */
static enum status find_levels(struct handling *handling, const Bora__V1__GetRateLimitRequest *request,
                               struct levels *out, struct error *err) {
    struct usage_wanted wanted = {OPTIONAL(request, organization_id), OPTIONAL(request, workspace_id),
                                  OPTIONAL(request, key_id), NULL};
    const struct caller *caller = &handling->caller;
    const struct workspace *workspace = NULL;
    struct usage_scope scope;
    if (wanted.organization == NULL && wanted.workspace == NULL && wanted.key == NULL) {
        if (caller->role == KEY_ROLE_OPERATOR)
            return handling_refuse_field(handling, "key_id", -1,
                                         "Value error, the operator has to name a key, a workspace or an organization");
        wanted.key = caller->authority.key.prefix;
    }
    TRY(usage_scope_find(handling, &wanted, &scope, err));
    TRY(add_organization(handling, scope.organization, out, err));
    if (scope.filter.key != NULL) return add_key(handling, scope.filter.key, out, err);
    if (scope.filter.workspace != NULL) return add_workspace(handling, scope.filter.workspace, out, &workspace, err);
    return STATUS_OK;
}

/* --- messages ---------------------------------------------------------------------------------------------------- */

/** What is used of those kinds that `limits` has, and what is left. */
static void fill_limits(const struct limits_bounds *limits, const struct limits_bounds *amounts,
                        struct limits_bounds *out_used, struct limits_bounds *out_remaining) {
    *out_used = *out_remaining = LIMITS_UNLIMITED;
    for (int i = 0; i < LIMITS_KINDS; i++) {
        if (limits->of[i] == LIMITS_ABSENT) continue;
        int64_t used = amounts->of[i] > 0 ? amounts->of[i] : 0;
        out_used->of[i] = used;
        out_remaining->of[i] = used < limits->of[i] ? limits->of[i] - used : 0;
    }
}

/** What an answer is made of. */
struct report {
    struct handling *handling;
    const struct levels *levels;
    const struct model_names *names;
    Bora__V1__RateLimit *out;
};

/** What is used of the row's limits and what is left, and of which models it is. */
static enum status fill_used(const struct report *report, const struct level *level, const char *model_or_null,
                             const struct limits_bounds *limits, Bora__V1__RateLimitLevel *row, struct error *err) {
    struct arena *arena = &report->handling->arena;
    const char **models = arena_alloc_array(arena, MODELS_OF_A_NAME, sizeof *models);
    struct limits_bounds used, shown, left;
    if (models == NULL) return out_of_memory(err);
    size_t count = model_or_null != NULL ? model_names_find(report->names, model_or_null, models, MODELS_OF_A_NAME) : 0;
    row->models = (char **)models;
    row->n_models = count;
    if (count == 0) models[count++] = model_or_null; /* nobody serves it now: it may have been its own name */
    if (report->handling->caller.role < level->least_role) return STATUS_OK;
    TRY(ask_used(report->handling, report->levels->organization, level->scope, models, count, &used, err));
    fill_limits(limits, &used, &shown, &left);
    row->used = convert_bounds(&shown, arena);
    row->remaining = convert_bounds(&left, arena);
    return row->used != NULL && row->remaining != NULL ? STATUS_OK : out_of_memory(err);
}

/** None where nothing is left that the caller may see: its limits are everybody's whom they bind, but not what is to be spent. */
static enum status add_row(const struct report *report, const struct level *level, const char *model_or_null,
                           const struct limits_bounds *limits, struct error *err) {
    struct arena *arena = &report->handling->arena;
    struct limits_bounds seen = *limits;
    if (report->handling->caller.role < level->least_role) seen.of[LIMITS_SPEND_PER_MONTH] = LIMITS_ABSENT;
    if (!limit_bounds_any(&seen)) return STATUS_OK;
    Bora__V1__RateLimitLevel *row = arena_alloc(arena, sizeof *row);
    if (row == NULL) return out_of_memory(err);
    bora__v1__rate_limit_level__init(row);
    row->scope = (char *)level->kind;
    row->id = (char *)level->id;
    row->name = (char *)level->name;
    if (model_or_null != NULL) {
        row->_model_case = BORA__V1__RATE_LIMIT_LEVEL___MODEL_MODEL;
        row->model = (char *)model_or_null;
    }
    row->limits = convert_bounds(&seen, arena);
    if (row->limits == NULL) return out_of_memory(err);
    TRY(fill_used(report, level, model_or_null, &seen, row, err));
    report->out->levels[report->out->n_levels++] = row;
    return STATUS_OK;
}

/** What of tokens is allowed in a model, or in "*". */
struct model_bounds {
    const char *model;
    int64_t per_minute, per_month;
};

static void tighten(struct model_bounds *bounds, const struct limits_bounds *limits) {
    bounds->per_minute = limits_tighter(bounds->per_minute, limits->of[LIMITS_TOKENS_PER_MINUTE]);
    bounds->per_month = limits_tighter(bounds->per_month, limits->of[LIMITS_TOKENS_PER_MONTH]);
}

/** The first is "*"; whatever holds for all models holds for each of the others too. */
static size_t find_model_bounds(const struct levels *levels, struct model_bounds out[ROWS_MAX]) {
    size_t count = 1;
    out[0] = (struct model_bounds){"*", LIMITS_ABSENT, LIMITS_ABSENT};
    for (size_t i = 0; i < levels->count; i++) tighten(&out[0], &levels->items[i].limits->all);
    for (size_t i = 0; i < levels->count; i++) {
        const struct limit_set *limits = levels->items[i].limits;
        for (size_t j = 0; j < limits->model_count; j++) {
            size_t at = 1;
            while (at < count && strcmp(out[at].model, limits->models[j].model) != 0) at++;
            if (at == count)
                out[count++] = (struct model_bounds){limits->models[j].model, out[0].per_minute, out[0].per_month};
            tighten(&out[at], &limits->models[j].bounds);
        }
    }
    return count;
}

static enum status add_models(const struct levels *levels, struct arena *arena, Bora__V1__RateLimit *out,
                              struct error *err) {
    struct model_bounds bounds[ROWS_MAX];
    size_t count = find_model_bounds(levels, bounds);
    Bora__V1__RateLimit__TokensLimitsByModelEntry *entries = arena_alloc_array(arena, count, sizeof *entries);
    Bora__V1__TokenLimits *limits = arena_alloc_array(arena, count, sizeof *limits);
    out->tokens_limits_by_model = arena_alloc_array(arena, count, sizeof *out->tokens_limits_by_model);
    if (entries == NULL || limits == NULL || out->tokens_limits_by_model == NULL) return out_of_memory(err);
    for (size_t i = 0; i < count; i++) {
        bora__v1__rate_limit__tokens_limits_by_model_entry__init(&entries[i]);
        bora__v1__token_limits__init(&limits[i]);
        if (bounds[i].per_minute != LIMITS_ABSENT) {
            limits[i]._tokens_per_minute_case = BORA__V1__TOKEN_LIMITS___TOKENS_PER_MINUTE_TOKENS_PER_MINUTE;
            limits[i].tokens_per_minute = bounds[i].per_minute;
        }
        if (bounds[i].per_month != LIMITS_ABSENT) {
            limits[i]._tokens_per_month_case = BORA__V1__TOKEN_LIMITS___TOKENS_PER_MONTH_TOKENS_PER_MONTH;
            limits[i].tokens_per_month = bounds[i].per_month;
        }
        entries[i].key = (char *)bounds[i].model;
        entries[i].value = &limits[i];
        out->tokens_limits_by_model[out->n_tokens_limits_by_model++] = &entries[i];
    }
    return STATUS_OK;
}

/** When the calendar's windows end, UTC. */
static enum status add_ends(struct arena *arena, Bora__V1__RateLimit *out, struct error *err) {
    const int64_t today = clock_unix_ns(clock_system()) / NS_PER_S / SECONDS_PER_DAY;
    time_t now = (time_t)(today * SECONDS_PER_DAY);
    char day[TIME_TEXT_BYTES], month[TIME_TEXT_BYTES];
    struct tm parts;
    gmtime_r(&now, &parts);
    time_format((today + 1) * SECONDS_PER_DAY, day);
    time_format(timegm(&(struct tm){.tm_year = parts.tm_year, .tm_mon = parts.tm_mon + 1, .tm_mday = 1}), month);
    out->_day_resets_at_case = BORA__V1__RATE_LIMIT___DAY_RESETS_AT_DAY_RESETS_AT;
    out->day_resets_at = arena_copy(arena, day, strlen(day));
    out->_month_resets_at_case = BORA__V1__RATE_LIMIT___MONTH_RESETS_AT_MONTH_RESETS_AT;
    out->month_resets_at = arena_copy(arena, month, strlen(month));
    return out->day_resets_at != NULL && out->month_resets_at != NULL ? STATUS_OK : out_of_memory(err);
}

enum status rate_limit_get(struct handling *handling, const void *message, ProtobufCMessage **out, struct error *err) {
    struct levels levels = {0};
    struct arena *arena = &handling->arena;
    TRY(find_levels(handling, message, &levels, err));
    Bora__V1__RateLimit *reply = arena_alloc(arena, sizeof *reply);
    struct model_names *names = arena_alloc(arena, sizeof *names);
    if (reply == NULL || names == NULL) return out_of_memory(err);
    TRY(model_names_read(handling->service, arena, names, err));
    bora__v1__rate_limit__init(reply);
    reply->levels = arena_alloc_array(arena, ROWS_MAX, sizeof *reply->levels);
    if (reply->levels == NULL) return out_of_memory(err);
    const struct report report = {handling, &levels, names, reply};
    int64_t per_second = LIMITS_ABSENT;
    for (size_t i = 0; i < levels.count; i++) {
        const struct level *level = &levels.items[i];
        const struct limit_set *limits = level->limits;
        per_second = limits_tighter(per_second, limits->all.of[LIMITS_REQUESTS_PER_SECOND]);
        TRY(add_row(&report, level, NULL, &limits->all, err));
        for (size_t j = 0; j < limits->model_count; j++)
            TRY(add_row(&report, level, limits->models[j].model, &limits->models[j].bounds, err));
    }
    if (per_second != LIMITS_ABSENT) {
        reply->_requests_per_second_case = BORA__V1__RATE_LIMIT___REQUESTS_PER_SECOND_REQUESTS_PER_SECOND;
        reply->requests_per_second = (double)per_second;
    }
    TRY(add_models(&levels, arena, reply, err));
    TRY(add_ends(arena, reply, err));
    *out = &reply->base;
    return STATUS_OK;
}

/* --- spend limits ------------------------------------------------------------------------------------------------ */

/** A workspace, or the organisation where `workspace` is NULL. */
struct spend_place {
    struct organization organization;
    const struct workspace *workspace;
};

static enum status find_place(struct handling *handling, const char *organization, const char *workspace,
                              struct spend_place *out, struct error *err) {
    const struct usage_wanted wanted = {organization, workspace, NULL, NULL};
    struct usage_scope scope;
    TRY(usage_scope_find(handling, &wanted, &scope, err));
    TRY(handling_organization(handling, scope.organization, &out->organization, err));
    out->workspace = NULL;
    if (scope.filter.workspace == NULL) return STATUS_OK;
    struct workspace *found = arena_alloc(&handling->arena, sizeof *found);
    if (found == NULL) return out_of_memory(err);
    TRY(handling_workspace(handling, scope.filter.workspace, found, err));
    out->workspace = found;
    return STATUS_OK;
}

/** From the ledger's sums: the counter knows only what was admitted since the place has limits. */
static enum status sum_month(struct handling *handling, const struct spend_place *place, int64_t *out_nanos,
                             struct error *err) {
    const struct usage_asked asked = {.interval = "all"};
    const struct usage_filter filter = {.workspace = place->workspace != NULL ? place->workspace->id : NULL};
    const struct usage_grouping grouping = {false, false, false};
    const char *field = NULL, *message = NULL;
    struct usage_range range;
    struct usage_table table;
    struct error cause = {0};
    if (!usage_range_read(&asked, clock_unix_ns(clock_system()) / NS_PER_S, &range, &field, &message))
        return error_set(err, STATUS_INTERNAL, "the month cannot be told");
    TRY(usage_table_init(&table, &range, &filter, &grouping, &handling->arena, err));
    enum status status = usage_table_read(&table, handling->service->redis, place->organization.id, &cause);
    if (status != STATUS_OK) return store_failure(status, cause.message, err);
    *out_nanos = table.total.cost;
    return STATUS_OK;
}

static enum status make_spend(struct handling *handling, const struct spend_place *place, int64_t limit,
                              ProtobufCMessage **out, struct error *err) {
    Bora__V1__SpendLimit *reply = arena_alloc(&handling->arena, sizeof *reply);
    char scope[LIMITS_SCOPE_BYTES + 1] = "o";
    struct limits_bounds used;
    int64_t month = 0;
    if (reply == NULL) return out_of_memory(err);
    TRY(sum_month(handling, place, &month, err));
    if (place->workspace != NULL) snprintf(scope, sizeof scope, "w:%s", place->workspace->id);
    TRY(ask_used(handling, place->organization.id, scope, (const char *const[]){NULL}, 1, &used, err));
    bora__v1__spend_limit__init(reply);
    TRY(prices_currency(handling, (const char **)&reply->currency, err));
    int64_t counted = used.of[LIMITS_SPEND_PER_MONTH];
    reply->spent = money_units(counted > month ? counted : month);
    if (limit != LIMITS_ABSENT) {
        reply->_spend_per_month_case = BORA__V1__SPEND_LIMIT___SPEND_PER_MONTH_SPEND_PER_MONTH;
        reply->spend_per_month = money_units(limit);
    }
    *out = &reply->base;
    return STATUS_OK;
}

enum status spend_get(struct handling *handling, const void *message, ProtobufCMessage **out, struct error *err) {
    const Bora__V1__GetSpendLimitRequest *request = message;
    struct spend_place place;
    TRY(find_place(handling, OPTIONAL(request, organization_id), OPTIONAL(request, workspace_id), &place, err));
    const struct limit_set *limits = place.workspace != NULL ? &place.workspace->limits : &place.organization.limits;
    return make_spend(handling, &place, limits->all.of[LIMITS_SPEND_PER_MONTH], out, err);
}

enum status spend_set(struct handling *handling, const void *message, ProtobufCMessage **out, struct error *err) {
    const Bora__V1__SetSpendLimitRequest *request = message;
    struct spend_place place;
    int64_t limit = PRESENT(request, spend_per_month) ? money_nanos(request->spend_per_month) : LIMITS_ABSENT;
    TRY(find_place(handling, OPTIONAL(request, organization_id), OPTIONAL(request, workspace_id), &place, err));
    if (place.workspace == NULL && handling->caller.role != KEY_ROLE_OPERATOR)
        return error_set(err, STATUS_PERMISSION_DENIED, "an organization's limits are set by the operator");
    TRY(place_set_spend(handling, &place.organization, place.workspace, limit, err));
    return make_spend(handling, &place, limit, out, err);
}

/* --- the table --------------------------------------------------------------------------------------------------- */

#define PATH "/bora.v1.UsageService/"
const struct rpc_method usage_methods[] = {
    METHOD(PATH, "GetUsage", usage_get, get_usage_request, KEY_ROLE_SERVICE, "usage"),
    METHOD(PATH, "ListLedger", ledger_list, list_ledger_request, KEY_ROLE_SERVICE, "usage"),
    METHOD(PATH, "GetRateLimit", rate_limit_get, get_rate_limit_request, KEY_ROLE_SERVICE, "usage"),
    METHOD(PATH, "GetSpendLimit", spend_get, get_spend_limit_request, KEY_ROLE_MEMBER, "usage"),
    METHOD(PATH, "SetSpendLimit", spend_set, set_spend_limit_request, KEY_ROLE_ADMIN, "admin"),
    METHOD(PATH, "GetPrices", prices_get, get_prices_request, KEY_ROLE_SERVICE, "usage"),
    METHOD(PATH, "SetPrices", prices_set, set_prices_request, KEY_ROLE_OPERATOR, NULL),
};
const size_t usage_method_count = sizeof usage_methods / sizeof *usage_methods;
