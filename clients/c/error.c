/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "bora/v1/error.pb-c.h"
#include "clients/c/client_internal.h"
#include "rpc/transcode.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DETAIL_BYTES = 1 << 20 };

/* ---- errors ---- */

enum status bora_error_set(struct bora_error *err, enum status status, const char *format, ...) {
    if (err == NULL) return status;
    struct error sentence = {0};
    char text[ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    (void)!error_set(&sentence, status, "%s", text); /* which cleans it */
    *err = (struct bora_error){.status = status};
    memcpy(err->message, sentence.message, sizeof err->message);
    return status;
}

static void copy_text(char *out, size_t bytes, const char *text) {
    snprintf(out, bytes, "%s", text != NULL ? text : "");
}

/** "messages[0].content"; the first step is always "body". */
static void write_path(const Bora__V1__ValidationError *error, char *out, size_t bytes) {
    size_t length = 0;
    for (size_t i = 1; i < error->n_loc && length < bytes; i++) {
        const Bora__V1__PathStep *step = error->loc[i];
        int written;
        if (step->kind_case == BORA__V1__PATH_STEP__KIND_INDEX)
            written = snprintf(out + length, bytes - length, "[%" PRId64 "]", step->index);
        else
            written = snprintf(out + length, bytes - length, "%s%s", length > 0 ? "." : "",
                               step->kind_case == BORA__V1__PATH_STEP__KIND_NAME ? step->name : "");
        if (written > 0) length += (size_t)written;
    }
}

static void copy_detail(struct bora_error *err, const Bora__V1__ErrorDetail *detail) {
    err->retry_after_ms = detail->retry_after_ms > 0 ? detail->retry_after_ms : 0;
    if (detail->kind_case == BORA__V1__ERROR_DETAIL__KIND_ERROR) {
        const Bora__V1__ApiError *error = detail->error;
        copy_text(err->type, sizeof err->type, error->type);
        if (error->_code_case == BORA__V1__API_ERROR___CODE_CODE) copy_text(err->code, sizeof err->code, error->code);
        if (error->_param_case == BORA__V1__API_ERROR___PARAM_PARAM)
            copy_text(err->field, sizeof err->field, error->param);
        if (error->_request_id_case == BORA__V1__API_ERROR___REQUEST_ID_REQUEST_ID)
            copy_text(err->request_id, sizeof err->request_id, error->request_id);
    } else if (detail->kind_case == BORA__V1__ERROR_DETAIL__KIND_VALIDATION) {
        copy_text(err->type, sizeof err->type, "validation_error");
        if (detail->validation->n_detail > 0) write_path(detail->validation->detail[0], err->field, sizeof err->field);
    }
}

void bora_error_from_result(struct bora_error *err, const struct rpc_result *result) {
    (void)!bora_error_set(err, result->status, "%s", result->message[0] != 0 ? result->message : "the call failed");
    struct bytes_view value;
    ProtobufCMessage *message = NULL;
    struct arena arena;
    arena_init(&arena, DETAIL_BYTES);
    if (rpc_status_details_find(result->details, "bora.v1.ErrorDetail", &value) &&
        protobuf_unpack(&bora__v1__error_detail__descriptor, value, &arena, &message, NULL) == STATUS_OK)
        copy_detail(err, (const Bora__V1__ErrorDetail *)message);
    arena_deinit(&arena);
}

/* ---- cancellation ---- */

enum status bora_cancellation_create(struct bora_cancellation **out, struct bora_error *err) {
    struct bora_cancellation *cancellation = calloc(1, sizeof *cancellation);
    if (cancellation == NULL) return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    atomic_init(&cancellation->references, 1);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&cancellation->mutex, NULL);
    pthread_cond_init(&cancellation->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *out = cancellation;
    return STATUS_OK;
}

void bora_cancellation_ref(struct bora_cancellation *cancellation) {
    atomic_fetch_add(&cancellation->references, 1);
}

void bora_cancellation_destroy(struct bora_cancellation *cancellation) {
    if (cancellation == NULL || atomic_fetch_sub(&cancellation->references, 1) != 1) return;
    pthread_mutex_destroy(&cancellation->mutex);
    pthread_cond_destroy(&cancellation->changed);
    free(cancellation);
}

void bora_cancellation_cancel(struct bora_cancellation *cancellation) {
    pthread_mutex_lock(&cancellation->mutex);
    cancellation->cancelled = true;
    pthread_cond_broadcast(&cancellation->changed);
    pthread_mutex_unlock(&cancellation->mutex);
}

void bora_cancellation_wait(struct bora_cancellation *cancellation, int64_t deadline_ns) {
    if (deadline_ns == INT64_MAX) {
        pthread_cond_wait(&cancellation->changed, &cancellation->mutex);
        return;
    }
    struct timespec end = {.tv_sec = deadline_ns / NS_PER_S, .tv_nsec = deadline_ns % NS_PER_S};
    pthread_cond_timedwait(&cancellation->changed, &cancellation->mutex, &end);
}
