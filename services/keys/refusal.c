/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/refusal.h"

#include "bora/v1/error.pb-c.h"

#include <string.h>

enum { DETAIL_BYTES_MAX = 1 << 20, PROBLEM_MEMORY_BYTES = 64 << 10 };

static const char *type_of(enum status status) {
    switch (status) {
    case STATUS_UNAUTHENTICATED:
        return "authentication_error";
    case STATUS_PERMISSION_DENIED:
        return "permission_error";
    case STATUS_INVALID_ARGUMENT:
    case STATUS_NOT_FOUND:
    case STATUS_ALREADY_EXISTS:
    case STATUS_FAILED_PRECONDITION:
    case STATUS_ABORTED:
        return "invalid_request_error";
    default:
        return "server_error";
    }
}

static void refuse_with(struct rpc_call *call, enum status status, const char *message,
                        const Bora__V1__ErrorDetail *detail) {
    struct bytes packed, details;
    bytes_init(&packed, DETAIL_BYTES_MAX);
    bytes_init(&details, DETAIL_BYTES_MAX);
    if (protobuf_pack(&detail->base, &packed) != STATUS_OK ||
        rpc_status_details(status, message, "bora.v1.ErrorDetail", bytes_view(&packed), &details) != STATUS_OK)
        bytes_reset(&details);
    rpc_call_finish(call, status, message, bytes_view(&details));
    bytes_deinit(&details);
    bytes_deinit(&packed);
}

void refuse(struct rpc_call *call, enum status status, const char *message) {
    Bora__V1__ApiError error = BORA__V1__API_ERROR__INIT;
    error.object = "error";
    error.message = (char *)message;
    error.type = (char *)type_of(status);
    Bora__V1__ErrorDetail detail = BORA__V1__ERROR_DETAIL__INIT;
    detail.kind_case = BORA__V1__ERROR_DETAIL__KIND_ERROR;
    detail.error = &error;
    refuse_with(call, status, message, &detail);
}

/* --- fields ------------------------------------------------------------------------------------------------------- */

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

void refuse_fields(struct rpc_call *call, const struct transcode_errors *errors, struct arena *arena) {
    Bora__V1__ValidationError all[TRANSCODE_ERRORS_MAX], *pointers[TRANSCODE_ERRORS_MAX];
    Bora__V1__ValidationErrors list = BORA__V1__VALIDATION_ERRORS__INIT;
    list.detail = pointers;
    for (size_t i = 0; i < errors->count && convert_one(&errors->items[i], arena, &all[i]); i++)
        pointers[list.n_detail++] = &all[i];
    Bora__V1__ErrorDetail detail = BORA__V1__ERROR_DETAIL__INIT;
    detail.kind_case = BORA__V1__ERROR_DETAIL__KIND_VALIDATION;
    detail.validation = &list;
    refuse_with(call, STATUS_INVALID_ARGUMENT, "the request is not valid", &detail);
}

void refuse_problem(struct rpc_call *call, const struct field_problem *problem) {
    struct transcode_step path[] = {{.name = problem->field}, {.index = problem->index}};
    struct transcode_errors errors = {.count = 1};
    errors.items[0] = (struct transcode_error){
        .type = "value_error", .message = problem->message, .path = path, .path_length = problem->index >= 0 ? 2 : 1};
    struct arena arena;
    arena_init(&arena, PROBLEM_MEMORY_BYTES);
    refuse_fields(call, &errors, &arena);
    arena_deinit(&arena);
}
