/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/admin.h"

#include "services/gateway/ahead.h"

#include "base/clock.h"
#include "bora/v1/error.pb-c.h"
#include "bora/v1/keys.pb-c.h"
#include "bora/v1/tenants.pb-c.h"
#include "rpc/grpc_server.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t ADMIN_TIMEOUT_NS = 10 * NS_PER_S;
static const int64_t ANSWER_ELEMENTS_MAX = 2000000; /* fields: 100,000 rows of usage, 1,000 keys with 64 limits each */

/* ---- errors -------------------------------------------------------------------------------------------------------- */

struct api_error admin_error_unreadable(void) {
    return api_error_make(500, STATUS_INTERNAL, "server_error", NULL, "The keys service's answer cannot be read.");
}

struct api_error admin_error_unreachable(void) {
    return api_error_unavailable("The keys service cannot be reached right now.");
}

static struct api_error too_large(void) {
    return api_error_bad_request("invalid_request_error", NULL, NULL,
                                 "The answer would be too large; ask for less at a time.");
}

/** The keys service knows only messages: where did the field stand in the request? NULL: in its body. */
static const char *root_of(const struct admin_route *route, const char *field) {
    if (route == NULL) return NULL;
    const char *brace = strchr(route->pattern, '{');
    if (field != NULL && brace != NULL && strncmp(brace + 1, field, strlen(field)) == 0 &&
        brace[1 + strlen(field)] == '}')
        return "path";
    return route->body == ADMIN_BODY_NONE ? "query" : NULL;
}

/** The keys service's list of refused fields as ours, in the request's arena. False when it sent none. */
static bool copy_validation(struct request *request, const struct admin_route *route,
                            const Bora__V1__ValidationErrors *list, struct transcode_errors *out) {
    for (; out->count < list->n_detail && out->count < TRANSCODE_ERRORS_MAX; out->count++) {
        const Bora__V1__ValidationError *in = list->detail[out->count];
        struct transcode_step *path = arena_alloc_array(&request->arena, in->n_loc, sizeof *path);
        struct transcode_error *error = &out->items[out->count];
        if (path == NULL || in->n_loc == 0) return false;
        for (size_t i = 1; i < in->n_loc; i++) { /* the first is "body" */
            if (in->loc[i]->kind_case == BORA__V1__PATH_STEP__KIND_NAME)
                path[i - 1].name = in->loc[i]->name;
            else
                path[i - 1].index = in->loc[i]->index;
        }
        *error = (struct transcode_error){.type = in->type,
                                          .message = in->msg,
                                          .path = path,
                                          .path_length = in->n_loc - 1,
                                          .root = root_of(route, in->n_loc > 1 ? path[0].name : NULL)};
        if (in->_input_case == BORA__V1__VALIDATION_ERROR___INPUT_INPUT) error->input = in->input;
        if (in->_ctx_case == BORA__V1__VALIDATION_ERROR___CTX_CTX) error->context = in->ctx;
    }
    return out->count > 0;
}

/** The ErrorDetail that the keys service sends with each of its own refusals; NULL: gRPC itself failed the call. */
static const Bora__V1__ErrorDetail *find_detail(struct request *request, const struct rpc_result *result) {
    struct bytes_view packed;
    ProtobufCMessage *message = NULL;
    struct error err = {0};
    if (!rpc_status_details_find(result->details, "bora.v1.ErrorDetail", &packed)) return NULL;
    if (protobuf_unpack(&bora__v1__error_detail__descriptor, packed, &request->arena, &message, &err) != STATUS_OK)
        return NULL;
    return (const void *)message;
}

enum { SENTENCE_BYTES = 256 };

/** "no such key" -> "No such key.", as the gateway's own sentences are. */
static const char *as_sentence(const char *message, char out[SENTENCE_BYTES]) {
    size_t length = strnlen(message, SENTENCE_BYTES - 2);
    memcpy(out, message, length);
    out[length] = 0;
    if (length == 0) return out;
    out[0] = (char)toupper((unsigned char)out[0]);
    if (strchr(".!?", out[length - 1]) == NULL) memcpy(out + length, ".", 2);
    return out;
}

static struct api_error invalid_error(struct request *request, const struct admin_route *route,
                                      const Bora__V1__ErrorDetail *detail, const char *sentence) {
    struct transcode_errors *errors = arena_alloc(&request->arena, sizeof *errors);
    if (errors != NULL && detail != NULL && detail->kind_case == BORA__V1__ERROR_DETAIL__KIND_VALIDATION &&
        copy_validation(request, route, detail->validation, errors))
        return api_error_validation(errors);
    return api_error_bad_request("invalid_request_error", NULL, NULL, "%s", sentence);
}

struct api_error admin_error(struct request *request, const struct admin_route *route,
                             const struct rpc_result *result) {
    static const struct {
        enum status status;
        int http_status;
        const char *type;
    } told[] = {{STATUS_PERMISSION_DENIED, 403, "permission_denied"},
                {STATUS_NOT_FOUND, 404, "not_found"},
                {STATUS_ALREADY_EXISTS, 409, "already_exists"},
                {STATUS_FAILED_PRECONDITION, 409, "conflict"},
                {STATUS_ABORTED, 409, "conflict"},
                {STATUS_RESOURCE_EXHAUSTED, 409, "quota_exceeded"}};
    const Bora__V1__ErrorDetail *detail = find_detail(request, result);
    char sentence[SENTENCE_BYTES];
    as_sentence(result->message, sentence);
    if (result->status == STATUS_UNAUTHENTICATED) return api_error_unauthorized();
    if (result->status == STATUS_INVALID_ARGUMENT || result->status == STATUS_OUT_OF_RANGE)
        return invalid_error(request, route, detail, sentence);
    for (size_t i = 0; detail != NULL && i < sizeof told / sizeof told[0]; i++) {
        if (told[i].status == result->status)
            return api_error_make(told[i].http_status, result->status, told[i].type, NULL, "%s", sentence);
    }
    if (result->status == STATUS_UNAVAILABLE && detail != NULL) return api_error_unavailable("%s", sentence);
    if (result->status == STATUS_RESOURCE_EXHAUSTED) return too_large();
    if (result->status == STATUS_UNIMPLEMENTED)
        return api_error_make(501, STATUS_UNIMPLEMENTED, "server_error", NULL,
                              "The keys service does not have this; it may be an older one.");
    if (result->status == STATUS_UNAVAILABLE || result->status == STATUS_DEADLINE_EXCEEDED ||
        result->status == STATUS_CANCELLED)
        return admin_error_unreachable();
    return api_error_make(500, STATUS_INTERNAL, "server_error", NULL, "The keys service failed.");
}

bool admin_read(const struct admin_method *method, struct bytes_view reply, struct arena *arena, ProtobufCMessage **out,
                struct api_error *error) {
    struct error err = {0};
    enum status status = protobuf_unpack_long(method->response, reply, ANSWER_ELEMENTS_MAX, arena, out, &err);
    if (status == STATUS_OK) return true;
    *error = status == STATUS_RESOURCE_EXHAUSTED ? too_large() : admin_error_unreadable();
    return false;
}

/* ---- passing on ---------------------------------------------------------------------------------------------------- */

bool admin_ask(struct request *request, const struct admin_method *method, const struct admin_caller *caller,
               const ProtobufCMessage *message, rpc_unary_fn *fn, void *context) {
    const char *metadata[] = {"x-request-id",        request->id, "x-client-address", caller->address, "authorization",
                              caller->authorization, NULL};
    if (caller->authorization == NULL) metadata[4] = NULL;
    struct bytes packed;
    struct error err = {0};
    bytes_init(&packed, LIMIT_REQUEST_BODY_BYTES_MAX);
    enum status status = protobuf_pack(message, &packed);
    if (status == STATUS_OK)
        status = rpc_client_unary_async(request->gateway->keys, method->path, metadata, bytes_view(&packed),
                                        ADMIN_TIMEOUT_NS, fn, context, &err);
    bytes_deinit(&packed);
    return status == STATUS_OK;
}

struct forwarding {
    struct request *request;
    const struct admin_method *method;
    const struct admin_route *route;
    const struct api_error *refusal; /* admin_refuse: what to answer to who may ask; in the request's arena */
};

static bool changes(const struct admin_method *method) {
    return strncmp(method->name, "get_", 4) != 0 && strncmp(method->name, "list_", 5) != 0;
}

static void on_done(void *context, const struct rpc_result *result, struct bytes_view reply) {
    struct forwarding *forwarding = context;
    struct request *request = forwarding->request;
    ProtobufCMessage *message = NULL;
    struct api_error error;
    /* Its own word of the change may still be on its way here, and what was admitted ahead asks no gate. */
    if (changes(forwarding->method)) ahead_drop(request->gateway->ahead, KEY_CHANGE_ALL, "");
    struct arena arena; /* not the request's: a large answer goes when it is written, not when it is read */
    arena_init(&arena, ADMIN_ARENA_BYTES);
    if (result->status != STATUS_OK) {
        error = admin_error(request, forwarding->route, result);
        request_fail(request, &error);
    } else if (forwarding->refusal != NULL) {
        request_fail(request, forwarding->refusal);
    } else if (!admin_read(forwarding->method, reply, &arena, &message, &error)) {
        request_fail(request, &error);
    } else {
        request_answer(request, message);
    }
    arena_deinit(&arena);
    request_unref(request);
    free(forwarding);
}

static void forward(const struct forwarding *what, const struct admin_caller *caller, const ProtobufCMessage *message) {
    struct request *request = what->request;
    struct forwarding *forwarding = malloc(sizeof *forwarding);
    if (forwarding != NULL) {
        *forwarding = *what;
        request_ref(request);
        if (admin_ask(request, what->method, caller, message, on_done, forwarding)) return;
        request_unref(request);
        free(forwarding);
    }
    struct api_error error = admin_error_unreachable();
    request_fail(request, &error);
}

void admin_forward(struct request *request, const struct admin_method *method, const struct admin_route *route,
                   const struct admin_caller *caller, const ProtobufCMessage *message) {
    const struct forwarding what = {.request = request, .method = method, .route = route};
    forward(&what, caller, message);
}

void admin_refuse(struct request *request, const struct admin_method *method, const struct admin_caller *caller,
                  const struct api_error *error) {
    struct api_error *refusal = arena_alloc(&request->arena, sizeof *refusal);
    Bora__V1__GetMeRequest me = BORA__V1__GET_ME_REQUEST__INIT;
    Bora__V1__ListKeysRequest list = BORA__V1__LIST_KEYS_REQUEST__INIT;
    list._limit_case = BORA__V1__LIST_KEYS_REQUEST___LIMIT_LIMIT;
    list.limit = 1;
    if (refusal == NULL) {
        request_fail(request, error);
        return;
    }
    *refusal = *error;
    /* Something small that whoever may ask `method` may ask as well. */
    const ProtobufCMessage *message = method->anyone ? &me.base : &list.base;
    const struct forwarding what = {
        .request = request,
        .method = admin_find_method(method->anyone ? "/bora.v1.TenantService/GetMe" : "/bora.v1.KeyService/ListKeys"),
        .refusal = refusal};
    forward(&what, caller, message);
}
