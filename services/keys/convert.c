/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/convert.h"

#include "services/keys/out_of_memory.h"
#include "services/keys/time_text.h"

#include <math.h>
#include <string.h>

static const double NANOS = 1e9;

/* --- limits ------------------------------------------------------------------------------------------------------- */

/* Each of them: kind, then its field's name in both of protobuf-c's spellings. */
#define LIMITS_OF_INTEGERS(X)                                                       \
    X(LIMITS_REQUESTS_PER_SECOND, REQUESTS_PER_SECOND, requests_per_second)         \
    X(LIMITS_REQUESTS_PER_MINUTE, REQUESTS_PER_MINUTE, requests_per_minute)         \
    X(LIMITS_INPUT_PER_MINUTE, INPUT_TOKENS_PER_MINUTE, input_tokens_per_minute)    \
    X(LIMITS_OUTPUT_PER_MINUTE, OUTPUT_TOKENS_PER_MINUTE, output_tokens_per_minute) \
    X(LIMITS_TOKENS_PER_MINUTE, TOKENS_PER_MINUTE, tokens_per_minute)               \
    X(LIMITS_TOKENS_PER_DAY, TOKENS_PER_DAY, tokens_per_day)                        \
    X(LIMITS_TOKENS_PER_MONTH, TOKENS_PER_MONTH, tokens_per_month)                  \
    X(LIMITS_STREAMS, CONCURRENT_STREAMS, concurrent_streams)

Bora__V1__Limits *convert_bounds(const struct limits_bounds *bounds, struct arena *arena) {
    Bora__V1__Limits *out = arena_alloc(arena, sizeof *out);
    if (out == NULL) return NULL;
    bora__v1__limits__init(out);
#define WRITE(kind, NAME, name)                                   \
    if (bounds->of[kind] != LIMITS_ABSENT) {                      \
        out->_##name##_case = BORA__V1__LIMITS___##NAME##_##NAME; \
        out->name = bounds->of[kind];                             \
    }
    LIMITS_OF_INTEGERS(WRITE)
#undef WRITE
    if (bounds->of[LIMITS_SPEND_PER_MONTH] != LIMITS_ABSENT) {
        out->_spend_per_month_case = BORA__V1__LIMITS___SPEND_PER_MONTH_SPEND_PER_MONTH;
        out->spend_per_month = (double)bounds->of[LIMITS_SPEND_PER_MONTH] / NANOS;
    }
    return out;
}

void convert_read_bounds(const Bora__V1__Limits *limits, struct limits_bounds *out) {
    *out = LIMITS_UNLIMITED;
    if (limits == NULL) return;
#define READ(kind, NAME, name) \
    if (PRESENT(limits, name)) out->of[kind] = limits->name;
    LIMITS_OF_INTEGERS(READ)
#undef READ
    if (PRESENT(limits, spend_per_month)) out->of[LIMITS_SPEND_PER_MONTH] = llround(limits->spend_per_month * NANOS);
}

bool convert_model_limits(const struct limit_set *limits, struct arena *arena, Bora__V1__ModelLimits ***out,
                          size_t *out_count) {
    *out_count = 0;
    *out = arena_alloc_array(arena, limits->model_count, sizeof **out);
    if (*out == NULL) return false;
    for (size_t i = 0; i < limits->model_count; i++) {
        Bora__V1__ModelLimits *model = arena_alloc(arena, sizeof *model);
        Bora__V1__Limits *bounds = convert_bounds(&limits->models[i].bounds, arena);
        if (model == NULL || bounds == NULL) return false;
        bora__v1__model_limits__init(model);
        model->model = (char *)limits->models[i].model;
        model->limits = bounds;
        (*out)[(*out_count)++] = model;
    }
    return true;
}

enum status convert_read_model_limits(struct handling *handling, Bora__V1__ModelLimits *const *models, size_t count,
                                      struct limit_set *out, struct error *err) {
    out->model_count = 0;
    out->models = arena_alloc_array(&handling->arena, LIMIT_KEY_MODEL_LIMITS, sizeof *out->models);
    if (out->models == NULL) return out_of_memory(err);
    for (size_t i = 0; i < count && i < LIMIT_KEY_MODEL_LIMITS; i++) {
        struct model_limits *model = &out->models[out->model_count];
        model->model = models[i]->model;
        convert_read_bounds(models[i]->limits, &model->bounds);
        for (size_t j = 0; j < i; j++) {
            if (strcmp(models[j]->model, model->model) == 0)
                return handling_refuse_field(handling, "model_limits", (int64_t)i,
                                             "Value error, the model is listed twice");
        }
        if (!limit_bounds_any(&model->bounds))
            return handling_refuse_field(handling, "model_limits", (int64_t)i,
                                         "Value error, at least one limit is needed");
        out->model_count++;
    }
    limit_set_sort(out);
    return STATUS_OK;
}

/* --- scopes ------------------------------------------------------------------------------------------------------- */

Bora__V1__Scopes *convert_scopes(const struct key_record *record, struct arena *arena) {
    Bora__V1__Scopes *out = arena_alloc(arena, sizeof *out);
    if (out == NULL) return NULL;
    bora__v1__scopes__init(out);
    out->models = (char **)record->models.names;
    out->n_models = record->models.count;
    out->endpoints = (char **)record->endpoints.names;
    out->n_endpoints = record->endpoints.count;
    return out;
}

static enum status read_names(struct handling *handling, char *const *names, size_t count, struct name_list *out,
                              struct error *err) {
    *out = (struct name_list){.names = arena_alloc_array(&handling->arena, count, sizeof *out->names)};
    if (out->names == NULL) return out_of_memory(err);
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(names[i]);
        if (length == 0 || length > LIMIT_MODEL_NAME_BYTES || strchr(names[i], '\n') != NULL)
            return handling_refuse_field(handling, "scopes", -1, "Value error, names have 1 to 128 bytes and one line");
        if (!name_list_has(out, names[i])) out->names[out->count++] = names[i];
    }
    return STATUS_OK;
}

enum status convert_read_scopes(struct handling *handling, const Bora__V1__Scopes *scopes, struct key_record *out,
                                struct error *err) {
    TRY(read_names(handling, scopes->models, scopes->n_models, &out->models, err));
    return read_names(handling, scopes->endpoints, scopes->n_endpoints, &out->endpoints, err);
}

/* --- times -------------------------------------------------------------------------------------------------------- */

enum status convert_read_expiration(struct handling *handling, const char *field, const char *text, int64_t now,
                                    int64_t *out) {
    bool is_date = false;
    if (!time_parse(text, out, &is_date))
        return handling_refuse_field(handling, field, -1, "Value error, an RFC 3339 date or date-time is needed");
    if (is_date) *out += SECONDS_PER_DAY;
    if (*out <= now) return handling_refuse_field(handling, field, -1, "Value error, the time has passed already");
    return STATUS_OK;
}

static char *text_of_time(int64_t unix_seconds, struct arena *arena) {
    char text[TIME_TEXT_BYTES];
    time_format(unix_seconds, text);
    return arena_copy(arena, text, strlen(text));
}

/* --- keys --------------------------------------------------------------------------------------------------------- */

static const char *status_of_key(const struct key_record *record, int64_t now) {
    if (record->revoked_at != 0) return "revoked";
    if (record->expires_at != 0 && record->expires_at <= now) return "expired";
    return record->disabled ? "disabled" : "active";
}

static Bora__V1__KeyAction *convert_action(const struct key_record *record, struct arena *arena) {
    Bora__V1__KeyAction *out = arena_alloc(arena, sizeof *out);
    if (out == NULL) return NULL;
    bora__v1__key_action__init(out);
    out->status = (char *)(record->revoked_at == 0 ? "available" : "unavailable");
    if (record->revoked_at != 0) {
        out->_reason_case = BORA__V1__KEY_ACTION___REASON_REASON;
        out->reason = (char *)"the key is revoked";
    }
    return out;
}

static Bora__V1__KeyActions *convert_actions(const struct key_record *record, struct arena *arena) {
    Bora__V1__KeyActions *out = arena_alloc(arena, sizeof *out);
    if (out == NULL) return NULL;
    bora__v1__key_actions__init(out);
    out->rotate = convert_action(record, arena);
    out->delete_ = convert_action(record, arena);
    return out->rotate != NULL && out->delete_ != NULL ? out : NULL;
}

/** What is only there sometimes. False when the arena is exhausted. */
static bool fill_optional(const struct key_record *record, int64_t now, struct arena *arena, Bora__V1__ApiKey *out) {
    bool filled = true;
    if (record->expires_at != 0) {
        out->_expires_at_case = BORA__V1__API_KEY___EXPIRES_AT_EXPIRES_AT;
        out->expires_at = record->expires_at;
        out->_expiration_date_case = BORA__V1__API_KEY___EXPIRATION_DATE_EXPIRATION_DATE;
        filled = (out->expiration_date = text_of_time(record->expires_at, arena)) != NULL;
    }
    if (record->revoked_at != 0) {
        out->_revoked_at_case = BORA__V1__API_KEY___REVOKED_AT_REVOKED_AT;
        out->revoked_at = record->revoked_at;
    }
    if (record->user_id != NULL) {
        out->_user_id_case = BORA__V1__API_KEY___USER_ID_USER_ID;
        out->user_id = (char *)record->user_id;
    }
    if (record->last_used != 0) {
        out->_last_used_case = BORA__V1__API_KEY___LAST_USED_LAST_USED;
        filled = (out->last_used = text_of_time(record->last_used, arena)) != NULL && filled;
    }
    if (record->previous_expires_at > now) {
        out->_previous_expires_at_case = BORA__V1__API_KEY___PREVIOUS_EXPIRES_AT_PREVIOUS_EXPIRES_AT;
        out->previous_expires_at = record->previous_expires_at;
    }
    return filled;
}

Bora__V1__ApiKey *convert_key(const struct key_record *record, const char *workspace_name, int64_t now,
                              struct arena *arena) {
    char id[UUID_CHARACTERS + 1];
    Bora__V1__ApiKey *out = arena_alloc(arena, sizeof *out);
    if (out == NULL) return NULL;
    bora__v1__api_key__init(out);
    uuid_of_prefix(record->prefix, id);
    out->key_id = arena_copy(arena, id, strlen(id));
    out->name = (char *)record->name;
    out->hidden_key = arena_printf(arena, "bora_%s_...%s", record->prefix, record->last);
    out->tenant = out->workspace_name = (char *)workspace_name;
    out->created_at = text_of_time(record->created_at, arena);
    out->limits = convert_bounds(&record->limits.all, arena);
    out->prefix = arena_copy(arena, record->prefix, strlen(record->prefix));
    out->role = (char *)key_role_name(record->role);
    out->scopes = convert_scopes(record, arena);
    out->disabled = record->disabled;
    out->workspace_id = arena_copy(arena, record->workspace, strlen(record->workspace));
    out->organization_id = arena_copy(arena, record->organization, strlen(record->organization));
    out->created_by = (char *)record->created_by;
    out->can_delete = record->revoked_at == 0;
    out->actions = convert_actions(record, arena);
    out->status = (char *)status_of_key(record, now);
    bool whole = out->key_id != NULL && out->hidden_key != NULL && out->created_at != NULL && out->limits != NULL &&
                 out->prefix != NULL && out->scopes != NULL && out->workspace_id != NULL &&
                 out->organization_id != NULL && out->actions != NULL;
    return whole && convert_model_limits(&record->limits, arena, &out->model_limits, &out->n_model_limits) &&
                   fill_optional(record, now, arena, out)
               ? out
               : NULL;
}

/* --- places ------------------------------------------------------------------------------------------------------- */

Bora__V1__Organization *convert_organization(const struct organization *organization, struct arena *arena) {
    Bora__V1__Organization *out = arena_alloc(arena, sizeof *out);
    if (out == NULL) return NULL;
    bora__v1__organization__init(out);
    out->id = arena_copy(arena, organization->id, strlen(organization->id));
    out->name = (char *)organization->name;
    out->created_at = text_of_time(organization->created_at, arena);
    out->disabled = organization->disabled;
    out->limits = convert_bounds(&organization->limits.all, arena);
    return out->id != NULL && out->created_at != NULL && out->limits != NULL &&
                   convert_model_limits(&organization->limits, arena, &out->model_limits, &out->n_model_limits)
               ? out
               : NULL;
}

Bora__V1__Workspace *convert_workspace(const struct workspace *workspace, struct arena *arena) {
    Bora__V1__Workspace *out = arena_alloc(arena, sizeof *out);
    if (out == NULL) return NULL;
    bora__v1__workspace__init(out);
    out->id = arena_copy(arena, workspace->id, strlen(workspace->id));
    out->name = (char *)workspace->name;
    out->organization_id = arena_copy(arena, workspace->organization, strlen(workspace->organization));
    out->created_at = text_of_time(workspace->created_at, arena);
    out->disabled = workspace->disabled;
    out->limits = convert_bounds(&workspace->limits.all, arena);
    out->key_limits = convert_bounds(&workspace->key_limits, arena);
    return out->id != NULL && out->organization_id != NULL && out->created_at != NULL && out->limits != NULL &&
                   out->key_limits != NULL &&
                   convert_model_limits(&workspace->limits, arena, &out->model_limits, &out->n_model_limits)
               ? out
               : NULL;
}
