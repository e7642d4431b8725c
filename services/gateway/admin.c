/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/admin.h"

#include "base/clock.h"
#include "bora/v1/error.pb-c.h"
#include "bora/v1/keys.pb-c.h"
#include "rpc/grpc_server.h"

#include <stdio.h>
#include <stdlib.h>

static const int64_t ADMIN_TIMEOUT_NS = 10 * NS_PER_S;

static const struct {
    const char *path;
    const ProtobufCMessageDescriptor *request, *response;
} admin_table[ADMIN_METHODS] = {
    [ADMIN_CREATE_KEY] = {"/bora.v1.KeyService/CreateKey", &bora__v1__create_key_request__descriptor,
                          &bora__v1__create_key_response__descriptor},
    [ADMIN_LIST_KEYS] = {"/bora.v1.KeyService/ListKeys", &bora__v1__list_keys_request__descriptor,
                         &bora__v1__list_keys_response__descriptor},
    [ADMIN_REVOKE_KEY] = {"/bora.v1.KeyService/RevokeKey", &bora__v1__revoke_key_request__descriptor,
                          &bora__v1__revoke_key_response__descriptor},
};

const ProtobufCMessageDescriptor *admin_request_descriptor(enum admin_method method) {
    return admin_table[method].request;
}

struct forwarding {
    struct request *request;
    enum admin_method method;
    struct api_error
        *refusal; /* admin_refuse: what to answer when the caller is an administrator; in the request's arena */
};

/** The keys service's list of refused fields as ours, in the request's arena. False when it sent none. */
static bool copy_validation(struct request *request, struct bytes_view details, struct transcode_errors *out) {
    struct bytes_view packed;
    ProtobufCMessage *message = NULL;
    struct error err = {0};
    if (!rpc_status_details_find(details, "bora.v1.ErrorDetail", &packed)) return false;
    if (protobuf_unpack(&bora__v1__error_detail__descriptor, packed, &request->arena, &message, &err) != STATUS_OK)
        return false;
    const Bora__V1__ErrorDetail *detail = (const void *)message;
    if (detail->kind_case != BORA__V1__ERROR_DETAIL__KIND_VALIDATION) return false;
    for (; out->count < detail->validation->n_detail && out->count < TRANSCODE_ERRORS_MAX; out->count++) {
        const Bora__V1__ValidationError *in = detail->validation->detail[out->count];
        struct transcode_step *path = arena_alloc_array(&request->arena, in->n_loc, sizeof *path);
        struct transcode_error *error = &out->items[out->count];
        if (path == NULL || in->n_loc == 0) return false;
        for (size_t i = 1; i < in->n_loc; i++) { /* the first is "body" */
            if (in->loc[i]->kind_case == BORA__V1__PATH_STEP__KIND_NAME)
                path[i - 1].name = in->loc[i]->name;
            else
                path[i - 1].index = in->loc[i]->index;
        }
        *error =
            (struct transcode_error){.type = in->type, .message = in->msg, .path = path, .path_length = in->n_loc - 1};
        if (in->_input_case == BORA__V1__VALIDATION_ERROR___INPUT_INPUT) error->input = in->input;
        if (in->_ctx_case == BORA__V1__VALIDATION_ERROR___CTX_CTX) error->context = in->ctx;
    }
    return out->count > 0;
}

static struct api_error error_of(struct request *request, const struct rpc_result *result) {
    struct transcode_errors *errors;
    switch (result->status) {
    case STATUS_UNAUTHENTICATED:
    case STATUS_PERMISSION_DENIED:
        return api_error_unauthorized();
    case STATUS_NOT_FOUND:
        return api_error_make(404, STATUS_NOT_FOUND, "not_found", NULL, "%.250s", result->message);
    case STATUS_INVALID_ARGUMENT:
        errors = arena_alloc(&request->arena, sizeof *errors);
        if (errors != NULL && copy_validation(request, result->details, errors)) return api_error_validation(errors);
        return api_error_bad_request("invalid_request_error", NULL, NULL, "%.250s", result->message);
    case STATUS_RESOURCE_EXHAUSTED:
    case STATUS_UNAVAILABLE:
    case STATUS_DEADLINE_EXCEEDED:
        return api_error_unavailable("The keys service cannot be reached right now.");
    default:
        return api_error_make(500, STATUS_INTERNAL, "server_error", NULL, "The keys service failed.");
    }
}

static void on_done(void *context, const struct rpc_result *result, struct bytes_view reply) {
    struct forwarding *forwarding = context;
    struct request *request = forwarding->request;
    ProtobufCMessage *message = NULL;
    struct error err = {0};
    struct api_error error;
    if (result->status != STATUS_OK) {
        error = error_of(request, result);
        request_fail(request, &error);
    } else if (forwarding->refusal != NULL) {
        request_fail(request, forwarding->refusal);
    } else if (protobuf_unpack(admin_table[forwarding->method].response, reply, &request->arena, &message, &err) !=
               STATUS_OK) {
        error = api_error_make(500, STATUS_INTERNAL, "server_error", NULL, "The keys service's answer cannot be read.");
        request_fail(request, &error);
    } else {
        request_answer(request, message);
    }
    request_unref(request);
    free(forwarding);
}

static void forward(struct request *request, enum admin_method method, const char *authorization,
                    const ProtobufCMessage *message, struct api_error *refusal) {
    const char *const metadata[] = {"authorization", authorization, NULL};
    struct forwarding *forwarding = calloc(1, sizeof *forwarding);
    struct bytes packed;
    struct error err = {0};
    bytes_init(&packed, LIMIT_REQUEST_BODY_BYTES_MAX);
    bool sent = false;
    if (forwarding != NULL && protobuf_pack(message, &packed) == STATUS_OK) {
        *forwarding = (struct forwarding){.request = request, .method = method, .refusal = refusal};
        request_ref(request);
        sent = rpc_client_unary_async(request->gateway->keys, admin_table[method].path,
                                      authorization != NULL ? metadata : NULL, bytes_view(&packed), ADMIN_TIMEOUT_NS,
                                      on_done, forwarding, &err) == STATUS_OK;
        if (!sent) request_unref(request);
    }
    bytes_deinit(&packed);
    if (sent) return;
    free(forwarding);
    struct api_error error = api_error_unavailable("The keys service cannot be reached right now.");
    request_fail(request, &error);
}

void admin_forward(struct request *request, enum admin_method method, const char *authorization,
                   const ProtobufCMessage *message) {
    forward(request, method, authorization, message, NULL);
}

void admin_refuse(struct request *request, const char *authorization, const struct api_error *error) {
    struct api_error *refusal = arena_alloc(&request->arena, sizeof *refusal);
    Bora__V1__ListKeysRequest list = BORA__V1__LIST_KEYS_REQUEST__INIT;
    list._limit_case = BORA__V1__LIST_KEYS_REQUEST___LIMIT_LIMIT;
    list.limit = 1;
    if (refusal == NULL) {
        request_fail(request, error);
        return;
    }
    *refusal = *error;
    forward(request, ADMIN_LIST_KEYS, authorization, &list.base, refusal);
}
