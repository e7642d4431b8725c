/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/api_error.h"

#include "base/text.h"
#include "bora/v1/error.pb-c.h"
#include "rpc/grpc_server.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ERROR_ARENA_BYTES = 1 << 20 };

static void write_sentence(struct api_error *error, const char *format, va_list arguments) {
    vsnprintf(error->message, sizeof error->message, format, arguments);
    text_mask_keys(error->message, strlen(error->message));
}

struct api_error api_error_make(int http_status, enum status status, const char *type, const char *code,
                                const char *format, ...) {
    struct api_error error = {.http_status = http_status, .status = status, .type = type, .code = code};
    va_list arguments;
    va_start(arguments, format);
    write_sentence(&error, format, arguments);
    va_end(arguments);
    return error;
}

struct api_error api_error_bad_request(const char *type, const char *code, const char *param, const char *format, ...) {
    struct api_error error = {
        .http_status = 400, .status = STATUS_INVALID_ARGUMENT, .type = type, .code = code, .param = param};
    va_list arguments;
    va_start(arguments, format);
    write_sentence(&error, format, arguments);
    va_end(arguments);
    return error;
}

struct api_error api_error_unavailable(const char *format, ...) {
    struct api_error error = {
        .http_status = 503, .status = STATUS_UNAVAILABLE, .type = "service_unavailable", .retry_after_ms = 1000};
    va_list arguments;
    va_start(arguments, format);
    write_sentence(&error, format, arguments);
    va_end(arguments);
    return error;
}

struct api_error api_error_forbidden(const char *format, ...) {
    struct api_error error = {.http_status = 403, .status = STATUS_PERMISSION_DENIED, .type = "permission_denied"};
    va_list arguments;
    va_start(arguments, format);
    write_sentence(&error, format, arguments);
    va_end(arguments);
    return error;
}

struct api_error api_error_unauthorized(void) {
    return api_error_make(401, STATUS_UNAUTHENTICATED, "authentication_error", "invalid_api_key", "Unauthorized");
}

static const char *root_of(const struct transcode_error *error) {
    return error->root != NULL ? error->root : "body";
}

/** "body.messages.0.content", cut to what fits. */
static void write_path(const struct transcode_error *error, char *out, size_t out_bytes) {
    snprintf(out, out_bytes, "%s", root_of(error));
    for (size_t i = 0; i < error->path_length; i++) {
        size_t used = strlen(out);
        if (error->path[i].name != NULL)
            snprintf(out + used, out_bytes - used, ".%s", error->path[i].name);
        else
            snprintf(out + used, out_bytes - used, ".%lld", (long long)error->path[i].index);
    }
}

void api_error_reason(const struct api_error *error, char out[API_ERROR_REASON_BYTES]) {
    if (error->validation == NULL) {
        snprintf(out, API_ERROR_REASON_BYTES, "%s", error->message);
        return;
    }
    char path[65];
    write_path(&error->validation->items[0], path, sizeof path);
    snprintf(out, API_ERROR_REASON_BYTES, "%s: %s", path, error->validation->items[0].type);
}

struct api_error api_error_validation(const struct transcode_errors *errors) {
    struct api_error error = {
        .http_status = 422, .status = STATUS_INVALID_ARGUMENT, .type = "invalid_request_error", .validation = errors};
    const struct transcode_error *first = &errors->items[0];
    char path[128];
    write_path(first, path, sizeof path);
    snprintf(error.message, sizeof error.message, "%.100s: %.150s", path, first->message);
    return error;
}

/* ---- messages ------------------------------------------------------------------------------------------------------ */

static char *text_or_empty(const char *text) {
    return (char *)(text != NULL ? text : "");
}

void api_error_fill(const struct api_error *error, const char *request_id, Bora__V1__ApiError *out) {
    bora__v1__api_error__init(out);
    out->object = "error";
    out->message = (char *)error->message;
    out->type = text_or_empty(error->type);
    if (error->param != NULL) {
        out->_param_case = BORA__V1__API_ERROR___PARAM_PARAM;
        out->param = (char *)error->param;
    }
    if (error->code != NULL) {
        out->_code_case = BORA__V1__API_ERROR___CODE_CODE;
        out->code = (char *)error->code;
    }
    out->_raw_status_code_case = BORA__V1__API_ERROR___RAW_STATUS_CODE_RAW_STATUS_CODE;
    out->raw_status_code = error->http_status;
    out->_request_id_case = BORA__V1__API_ERROR___REQUEST_ID_REQUEST_ID;
    out->request_id = (char *)request_id;
}

static Bora__V1__PathStep *make_step(struct arena *arena, const struct transcode_step *step) {
    Bora__V1__PathStep *out = arena_alloc(arena, sizeof *out);
    if (out == NULL) return NULL;
    bora__v1__path_step__init(out);
    if (step->name != NULL) {
        out->kind_case = BORA__V1__PATH_STEP__KIND_NAME;
        out->name = (char *)step->name;
    } else {
        out->kind_case = BORA__V1__PATH_STEP__KIND_INDEX;
        out->index = step->index;
    }
    return out;
}

static Bora__V1__ValidationError *make_validation_error(struct arena *arena, const struct transcode_error *error) {
    Bora__V1__ValidationError *out = arena_alloc(arena, sizeof *out);
    Bora__V1__PathStep **steps = arena_alloc_array(arena, error->path_length + 1, sizeof *steps);
    if (out == NULL || steps == NULL) return NULL;
    bora__v1__validation_error__init(out);
    out->type = (char *)error->type;
    out->msg = (char *)error->message;
    out->loc = steps;
    out->n_loc = error->path_length + 1;
    const struct transcode_step root = {.name = root_of(error)};
    for (size_t i = 0; i <= error->path_length; i++) {
        steps[i] = make_step(arena, i == 0 ? &root : &error->path[i - 1]);
        if (steps[i] == NULL) return NULL;
    }
    if (error->input != NULL) {
        out->_input_case = BORA__V1__VALIDATION_ERROR___INPUT_INPUT;
        out->input = (char *)error->input;
    }
    if (error->context != NULL) {
        out->_ctx_case = BORA__V1__VALIDATION_ERROR___CTX_CTX;
        out->ctx = (char *)error->context;
    }
    return out;
}

static enum status fill_validation(const struct transcode_errors *errors, struct arena *arena,
                                   Bora__V1__ValidationErrors *out) {
    bora__v1__validation_errors__init(out);
    out->detail = arena_alloc_array(arena, errors->count, sizeof *out->detail);
    if (out->detail == NULL) return STATUS_RESOURCE_EXHAUSTED;
    for (size_t i = 0; i < errors->count; i++) {
        out->detail[i] = make_validation_error(arena, &errors->items[i]);
        if (out->detail[i] == NULL) return STATUS_RESOURCE_EXHAUSTED;
    }
    out->n_detail = errors->count;
    return STATUS_OK;
}

static enum status write_body(const struct api_error *error, const struct transcoder *transcoder, bool strict,
                              const char *request_id, struct bytes *out) {
    if (error->http_status == 401)
        return bytes_append_string(
            out, strict ? "{\"detail\":\"Unauthorized\"}"
                        : "{\"detail\":\"Unauthorized\",\"message\":\"Unauthorized\",\"type\":\"authentication_error\","
                          "\"param\":null,\"code\":\"invalid_api_key\"}");
    if (error->validation == NULL) {
        Bora__V1__ApiError message;
        api_error_fill(error, request_id, &message);
        return transcode_write(transcoder, &message.base, out);
    }
    struct arena arena;
    Bora__V1__ValidationErrors message;
    arena_init(&arena, ERROR_ARENA_BYTES);
    enum status status = fill_validation(error->validation, &arena, &message);
    if (!strict) {
        message._message_case = BORA__V1__VALIDATION_ERRORS___MESSAGE_MESSAGE;
        message.message = (char *)error->message;
    }
    if (status == STATUS_OK) status = transcode_write(transcoder, &message.base, out);
    arena_deinit(&arena);
    return status;
}

enum status api_error_write(const struct api_error *error, const struct transcoder *transcoder, bool strict,
                            const char *request_id, struct bytes *out) {
    size_t before = out->length;
    TRY(write_body(error, transcoder, strict, request_id, out));
    text_mask_keys((char *)out->data + before, out->length - before); /* of a value that is refused, for one */
    return STATUS_OK;
}

enum status api_error_details(const struct api_error *error, const char *request_id, struct bytes *out) {
    struct arena arena;
    struct bytes packed;
    Bora__V1__ErrorDetail detail = BORA__V1__ERROR_DETAIL__INIT;
    Bora__V1__ApiError plain;
    Bora__V1__ValidationErrors validation;
    arena_init(&arena, ERROR_ARENA_BYTES);
    bytes_init(&packed, ERROR_ARENA_BYTES);
    enum status status = STATUS_OK;
    if (error->validation != NULL) {
        TRY_CLEANUP(fill_validation(error->validation, &arena, &validation));
        detail.kind_case = BORA__V1__ERROR_DETAIL__KIND_VALIDATION;
        detail.validation = &validation;
    } else {
        api_error_fill(error, request_id, &plain);
        detail.kind_case = BORA__V1__ERROR_DETAIL__KIND_ERROR;
        detail.error = &plain;
    }
    detail.retry_after_ms = error->retry_after_ms;
    TRY_CLEANUP(protobuf_pack(&detail.base, &packed));
    text_mask_keys((char *)packed.data, packed.length);
    status = rpc_status_details(error->status, error->message, "bora.v1.ErrorDetail", bytes_view(&packed), out);
cleanup:
    arena_deinit(&arena);
    bytes_deinit(&packed);
    return status;
}
