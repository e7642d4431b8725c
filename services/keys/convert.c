/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/convert.h"

#include <string.h>

/* --- records ----------------------------------------------------------------------------------------------------- */

static void fill_limits(const struct key_limits *limits, Bora__V1__Limits *out) {
    bora__v1__limits__init(out);
    if (limits->requests_per_minute != KEY_UNLIMITED) {
        out->_requests_per_minute_case = BORA__V1__LIMITS___REQUESTS_PER_MINUTE_REQUESTS_PER_MINUTE;
        out->requests_per_minute = limits->requests_per_minute;
    }
    if (limits->tokens_per_minute != KEY_UNLIMITED) {
        out->_tokens_per_minute_case = BORA__V1__LIMITS___TOKENS_PER_MINUTE_TOKENS_PER_MINUTE;
        out->tokens_per_minute = limits->tokens_per_minute;
    }
}

static bool fill_model_limits(const struct key_record *record, struct arena *arena, Bora__V1__ApiKey *out) {
    out->model_limits = arena_alloc_array(arena, record->model_count, sizeof *out->model_limits);
    if (out->model_limits == NULL) return false;
    for (size_t i = 0; i < record->model_count; i++) {
        Bora__V1__ModelLimits *model = arena_alloc(arena, sizeof *model);
        Bora__V1__Limits *limits = arena_alloc(arena, sizeof *limits);
        if (model == NULL || limits == NULL) return false;
        bora__v1__model_limits__init(model);
        fill_limits(&record->models[i].limits, limits);
        model->model = (char *)record->models[i].model;
        model->limits = limits;
        out->model_limits[out->n_model_limits++] = model;
    }
    return true;
}

Bora__V1__ApiKey *convert_record(const struct key_record *record, struct arena *arena) {
    Bora__V1__ApiKey *out = arena_alloc(arena, sizeof *out);
    Bora__V1__Limits *limits = arena_alloc(arena, sizeof *limits);
    if (out == NULL || limits == NULL) return NULL;
    bora__v1__api_key__init(out);
    fill_limits(&record->limits, limits);
    out->key_id = arena_copy(arena, record->id, strlen(record->id));
    out->hidden_key = arena_printf(arena, "bora_%s_...%s", record->id, record->last);
    out->name = (char *)record->name;
    out->tenant = (char *)record->tenant;
    out->created_at = record->created_at;
    out->limits = limits;
    if (record->expires_at != 0) {
        out->_expires_at_case = BORA__V1__API_KEY___EXPIRES_AT_EXPIRES_AT;
        out->expires_at = record->expires_at;
    }
    if (record->revoked_at != 0) {
        out->_revoked_at_case = BORA__V1__API_KEY___REVOKED_AT_REVOKED_AT;
        out->revoked_at = record->revoked_at;
    }
    return out->key_id != NULL && out->hidden_key != NULL && fill_model_limits(record, arena, out) ? out : NULL;
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

static struct key_limits read_limits(const Bora__V1__Limits *limits) {
    bool requests = limits->_requests_per_minute_case == BORA__V1__LIMITS___REQUESTS_PER_MINUTE_REQUESTS_PER_MINUTE;
    bool tokens = limits->_tokens_per_minute_case == BORA__V1__LIMITS___TOKENS_PER_MINUTE_TOKENS_PER_MINUTE;
    return (struct key_limits){requests ? limits->requests_per_minute : KEY_UNLIMITED,
                               tokens ? limits->tokens_per_minute : KEY_UNLIMITED};
}

static void read_model_limits(const Bora__V1__CreateKeyRequest *request, struct key_record *out,
                              struct convert_problem *out_problem) {
    for (size_t i = 0; i < request->n_model_limits; i++) {
        const char *model = request->model_limits[i]->model;
        struct key_limits limits = read_limits(request->model_limits[i]->limits);
        for (size_t j = 0; j < i; j++) {
            if (strcmp(request->model_limits[j]->model, model) != 0) continue;
            *out_problem = (struct convert_problem){"value_error", "Value error, the model is listed twice",
                                                    "model_limits", (int64_t)i};
            return;
        }
        if (limits.requests_per_minute == KEY_UNLIMITED && limits.tokens_per_minute == KEY_UNLIMITED) {
            *out_problem = (struct convert_problem){"value_error",
                                                    "Value error, requests_per_minute or tokens_per_minute is needed",
                                                    "model_limits", (int64_t)i};
            return;
        }
        out->models[out->model_count++] = (struct key_model_limits){model, limits};
    }
}

void convert_create_request(const Bora__V1__CreateKeyRequest *request, const struct key_limits *default_limits,
                            int64_t now, struct key_record *out, struct convert_problem *out_problem) {
    *out = (struct key_record){.name = "", .tenant = ""};
    *out_problem = (struct convert_problem){.index = -1};
    if (request->_name_case == BORA__V1__CREATE_KEY_REQUEST___NAME_NAME) out->name = request->name;
    if (request->_tenant_case == BORA__V1__CREATE_KEY_REQUEST___TENANT_TENANT) out->tenant = request->tenant;
    if (request->_expires_at_case == BORA__V1__CREATE_KEY_REQUEST___EXPIRES_AT_EXPIRES_AT) {
        out->expires_at = request->expires_at;
        if (request->expires_at <= now)
            *out_problem =
                (struct convert_problem){"value_error", "Value error, the time has passed already", "expires_at", -1};
    }
    out->limits = request->limits != NULL ? read_limits(request->limits) : *default_limits;
    if (out_problem->type == NULL) read_model_limits(request, out, out_problem);
}

/* --- errors ------------------------------------------------------------------------------------------------------ */

enum status convert_error(const char *type, const char *message, struct bytes *out) {
    Bora__V1__ApiError error = BORA__V1__API_ERROR__INIT;
    error.object = "error";
    error.message = (char *)message;
    error.type = (char *)type;
    Bora__V1__ErrorDetail detail = BORA__V1__ERROR_DETAIL__INIT;
    detail.kind_case = BORA__V1__ERROR_DETAIL__KIND_ERROR;
    detail.error = &error;
    return protobuf_pack(&detail.base, out);
}

/** "body", then the path. NULL when the arena is exhausted. */
static Bora__V1__PathStep **convert_path(const struct transcode_step *steps, size_t count, struct arena *arena) {
    Bora__V1__PathStep **path = arena_alloc_array(arena, count + 1, sizeof *path);
    Bora__V1__PathStep *all = arena_alloc_array(arena, count + 1, sizeof *all);
    if (path == NULL || all == NULL) return NULL;
    for (size_t i = 0; i <= count; i++) {
        struct transcode_step step = i == 0 ? (struct transcode_step){.name = "body"} : steps[i - 1];
        bora__v1__path_step__init(&all[i]);
        all[i].kind_case = step.name != NULL ? BORA__V1__PATH_STEP__KIND_NAME : BORA__V1__PATH_STEP__KIND_INDEX;
        if (step.name != NULL)
            all[i].name = (char *)step.name;
        else
            all[i].index = step.index;
        path[i] = &all[i];
    }
    return path;
}

static bool convert_one(const struct transcode_error *error, struct arena *arena, Bora__V1__ValidationError *out) {
    bora__v1__validation_error__init(out);
    out->type = (char *)error->type;
    out->msg = (char *)error->message;
    out->n_loc = error->path_length + 1;
    out->loc = convert_path(error->path, error->path_length, arena);
    if (error->input != NULL) {
        out->_input_case = BORA__V1__VALIDATION_ERROR___INPUT_INPUT;
        out->input = (char *)error->input;
    }
    if (error->context != NULL) {
        out->_ctx_case = BORA__V1__VALIDATION_ERROR___CTX_CTX;
        out->ctx = (char *)error->context;
    }
    return out->loc != NULL;
}

enum status convert_validation(const struct transcode_errors *errors, struct arena *arena, struct bytes *out) {
    Bora__V1__ValidationError all[TRANSCODE_ERRORS_MAX], *pointers[TRANSCODE_ERRORS_MAX];
    for (size_t i = 0; i < errors->count; i++) {
        if (!convert_one(&errors->items[i], arena, &all[i])) return STATUS_RESOURCE_EXHAUSTED;
        pointers[i] = &all[i];
    }
    Bora__V1__ValidationErrors list = BORA__V1__VALIDATION_ERRORS__INIT;
    list.detail = pointers;
    list.n_detail = errors->count;
    Bora__V1__ErrorDetail detail = BORA__V1__ERROR_DETAIL__INIT;
    detail.kind_case = BORA__V1__ERROR_DETAIL__KIND_VALIDATION;
    detail.validation = &list;
    return protobuf_pack(&detail.base, out);
}

enum status convert_problem(const struct convert_problem *problem, struct arena *arena, struct bytes *out) {
    struct transcode_step path[] = {{.name = problem->field}, {.index = problem->index}};
    struct transcode_errors errors = {.count = 1};
    errors.items[0] = (struct transcode_error){
        .type = problem->type, .message = problem->message, .path = path, .path_length = problem->index >= 0 ? 2 : 1};
    return convert_validation(&errors, arena, out);
}
