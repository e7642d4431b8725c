/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** An error as a client sees it: the same facts as an HTTP body and as gRPC details. Shapes: proto/bora/v1/error.proto. */
#ifndef SERVICES_GATEWAY_API_ERROR_H
#define SERVICES_GATEWAY_API_ERROR_H

#include "base/bytes.h"
#include "bora/v1/error.pb-c.h"
#include "rpc/transcode.h"

struct api_error {
    int http_status;
    enum status status;
    const char *type, *code; /* constants; NULL: null */
    const char *param;       /* constant, or of the request's arena; or NULL */
    char message[ERROR_MESSAGE_BYTES];
    int64_t retry_after_ms;                    /* > 0: when a retry may succeed */
    const struct transcode_errors *validation; /* 422 */
};

struct api_error api_error_unauthorized(void);
struct api_error api_error_validation(const struct transcode_errors *errors);
/** 400 with a type, code and param of ours. */
struct api_error api_error_bad_request(const char *type, const char *code, const char *param, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
struct api_error api_error_unavailable(const char *format, ...) __attribute__((format(printf, 1, 2)));
/** 403: the key is good, but not for this. */
struct api_error api_error_forbidden(const char *format, ...) __attribute__((format(printf, 1, 2)));
struct api_error api_error_make(int http_status, enum status status, const char *type, const char *code,
                                const char *format, ...) __attribute__((format(printf, 5, 6)));

/** As a message, whose strings are lent from both. */
void api_error_fill(const struct api_error *error, const char *request_id, Bora__V1__ApiError *out);

/** The HTTP body, appended. `strict`: as Mistral's, without what the relaxed dialect adds. */
enum status api_error_write(const struct api_error *error, const struct transcoder *transcoder, bool strict,
                            const char *request_id, struct bytes *out);
enum { API_ERROR_REASON_BYTES = 256 };
/** The reason for a log: of what the client wrote at most 64 characters, the path of a field. */
void api_error_reason(const struct api_error *error, char out[API_ERROR_REASON_BYTES]);
/** The packed bora.v1.ErrorDetail inside google.rpc.Status, appended: what goes into grpc-status-details-bin. */
enum status api_error_details(const struct api_error *error, const char *request_id, struct bytes *out);

#endif
