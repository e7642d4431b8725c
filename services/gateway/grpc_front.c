/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* gRPC: the same services as over HTTP, without JSON. */
#include "services/gateway/admin.h"
#include "services/gateway/chat.h"
#include "services/gateway/models.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_BYTES_MAX = 64 << 20 };

/* ---- the front ----------------------------------------------------------------------------------------------------- */

static void front_header(struct request *request, const char *name, const char *value) {
    (void)!rpc_call_add_header(request->transport, name, value);
    /* What a retry depends on stands beside the status and retry-after-ms, where a client of a call that failed looks. */
    if (strcmp(name, "x-should-retry") == 0) (void)!rpc_call_add_trailer(request->transport, name, value);
}

static void add_id(struct request *request) {
    if (request_identifies(request)) (void)!rpc_call_add_header(request->transport, "x-request-id", request->id);
}

static bool write_message(struct request *request, const ProtobufCMessage *message) {
    struct bytes packed;
    bytes_init(&packed, MESSAGE_BYTES_MAX);
    enum status status = protobuf_pack(message, &packed);
    if (status == STATUS_OK) status = rpc_call_write(request->transport, bytes_view(&packed));
    bytes_deinit(&packed);
    if (status == STATUS_RESOURCE_EXHAUSTED)
        rpc_call_finish(request->transport, status, "the reader is too slow", (struct bytes_view){0});
    return status == STATUS_OK;
}

static void front_message(struct request *request, const ProtobufCMessage *message) {
    add_id(request);
    if (write_message(request, message))
        rpc_call_finish(request->transport, STATUS_OK, NULL, (struct bytes_view){0});
    else
        rpc_call_finish(request->transport, STATUS_INTERNAL, "the answer cannot be written", (struct bytes_view){0});
}

static void front_chunk(struct request *request, const ProtobufCMessage *message) {
    add_id(request);
    pthread_mutex_lock(&request->mutex);
    request->answered = true;
    request->http_status = 200;
    pthread_mutex_unlock(&request->mutex);
    write_message(request, message);
}

static void front_flush(struct request *request) {
    (void)request; /* gRPC gathers what waits by itself */
}

static void front_end(struct request *request) {
    rpc_call_finish(request->transport, STATUS_OK, NULL, (struct bytes_view){0});
}

static void front_error(struct request *request, const struct api_error *error) {
    struct bytes details;
    char milliseconds[32];
    add_id(request);
    bytes_init(&details, 1 << 20);
    (void)!api_error_details(error, request->id, &details);
    if (error->retry_after_ms > 0) {
        snprintf(milliseconds, sizeof milliseconds, "%" PRId64, error->retry_after_ms);
        (void)!rpc_call_add_trailer(request->transport, "retry-after-ms", milliseconds);
    }
    /* Trailers travel in HTTP/2 headers, which have a limit; the sentence matters more than the list. */
    bool fits = details.length <= 6 * 1024;
    rpc_call_finish(request->transport, error->status, error->message,
                    fits ? bytes_view(&details) : (struct bytes_view){0});
    bytes_deinit(&details);
}

static size_t front_pending(struct request *request) {
    return rpc_call_pending_bytes(request->transport);
}

static void front_release(struct request *request) {
    rpc_call_unref(request->transport);
}

static const struct front grpc_front = {.header = front_header,
                                        .message = front_message,
                                        .chunk = front_chunk,
                                        .flush = front_flush,
                                        .end = front_end,
                                        .error = front_error,
                                        .pending_bytes = front_pending,
                                        .release = front_release};

/* ---- a call -------------------------------------------------------------------------------------------------------- */

enum method { COMPLETE_CHAT, STREAM_CHAT, LIST_MODELS, GET_MODEL, LIST_WORKERS };

static void start(struct rpc_call *call, struct gateway *gateway, const char *route) {
    struct request *request = request_create(gateway, &grpc_front, call, route);
    if (request == NULL) {
        rpc_call_finish(call, STATUS_RESOURCE_EXHAUSTED, "out of memory", (struct bytes_view){0});
        return;
    }
    int64_t deadline = rpc_call_deadline_ns(call);
    if (deadline < request->deadline_ns) request->deadline_ns = deadline;
    rpc_call_ref(call);
    rpc_call_set_watermark(call, LIMIT_STREAM_PENDING_BYTES);
    rpc_call_set_state(call, request);
    if (strcmp(route, "chat") != 0) add_id(request); /* which may be admitted under another one */
}

static const ProtobufCMessageDescriptor *descriptor_of(enum method method) {
    switch (method) {
    case COMPLETE_CHAT:
    case STREAM_CHAT:
        return &bora__v1__chat_completion_request__descriptor;
    case LIST_MODELS:
        return &bora__v1__list_models_request__descriptor;
    case GET_MODEL:
        return &bora__v1__get_model_request__descriptor;
    default:
        return &bora__v1__list_workers_request__descriptor;
    }
}

/** Bytes to a message that satisfies the field rules; else `error` says why not. */
static bool read_message(struct request *request, const ProtobufCMessageDescriptor *descriptor, struct bytes_view bytes,
                         ProtobufCMessage **out, struct api_error *error) {
    struct error err = {0};
    struct transcode_errors *errors = arena_alloc(&request->arena, sizeof *errors);
    enum status status =
        errors == NULL ? STATUS_RESOURCE_EXHAUSTED : protobuf_unpack(descriptor, bytes, &request->arena, out, &err);
    if (status == STATUS_INVALID_ARGUMENT) {
        *error = api_error_bad_request("invalid_request_error", NULL, NULL, "%.200s", err.message);
    } else {
        if (status == STATUS_OK)
            status = transcode_check(request->gateway->transcoder, &request->gateway->dialect, *out, &request->arena,
                                     errors);
        if (status == STATUS_OK) return true;
        if (status == STATUS_INVALID_ARGUMENT)
            *error = api_error_validation(errors);
        else
            *error = api_error_make(413, STATUS_RESOURCE_EXHAUSTED, "invalid_request_error", NULL,
                                    "The request is too large.");
    }
    return false;
}

struct called {
    struct request *request;
    enum method method;
    struct bytes bytes; /* the message, kept while the key is looked at */
};

static void called_free(struct called *called) {
    request_unref(called->request);
    bytes_deinit(&called->bytes);
    free(called);
}

static void run_chat(struct request *request, const Bora__V1__ChatCompletionRequest *message, bool stream) {
    struct chat_plan plan;
    struct api_error error;
    bool says_stream = message->_stream_case == BORA__V1__CHAT_COMPLETION_REQUEST___STREAM_STREAM && message->stream;
    snprintf(request->model, sizeof request->model, "%s", message->model);
    if (says_stream && !stream) {
        error = api_error_bad_request("invalid_request_error", NULL, "stream",
                                      "CompleteChat gives one answer; call StreamChat for a stream.");
        request_fail(request, &error);
    } else if (chat_check(request, message, stream, &plan, &error)) {
        chat_start(request, &plan);
    } else {
        request_fail(request, &error);
    }
}

static void on_key_checked(void *context, enum status status, const struct limits_result *result, const char *text) {
    (void)text;
    struct called *called = context;
    struct request *request = called->request;
    ProtobufCMessage *message = NULL;
    struct api_error error;
    if (status != STATUS_OK) {
        error = api_error_unavailable("The key cannot be checked right now.");
        request_fail(request, &error);
    } else if (result->outcome != LIMITS_ADMITTED) {
        authenticate_forget(request->gateway, request->key->prefix);
        error = api_error_unauthorized();
        request_fail(request, &error);
    } else if (!read_message(request, descriptor_of(called->method), bytes_view(&called->bytes), &message, &error)) {
        request_fail(request, &error);
    } else if (called->method == LIST_WORKERS) {
        models_answer_workers(request);
    } else if (called->method == LIST_MODELS) {
        models_answer_list(request);
    } else {
        models_answer_one(request, ((const Bora__V1__GetModelRequest *)message)->model);
    }
    called_free(called);
}

static void on_authenticated(void *context, enum status status, struct key_info *info) {
    struct called *called = context;
    struct request *request = called->request;
    ProtobufCMessage *message = NULL;
    struct api_error error;
    if (status != STATUS_OK) {
        error = status == STATUS_UNAUTHENTICATED ? api_error_unauthorized()
                                                 : api_error_unavailable("The key cannot be checked right now.");
        request_fail(request, &error);
        called_free(called);
        return;
    }
    key_info_ref(info);
    request->key = info;
    if (called->method >= LIST_MODELS) {
        if (called->method != LIST_WORKERS && !request_permits(request, "models")) {
            called_free(called);
            return;
        }
        request_look_at_key(request, on_key_checked, called);
        return;
    }
    if (read_message(request, descriptor_of(called->method), bytes_view(&called->bytes), &message, &error))
        run_chat(request, (const void *)message, called->method == STREAM_CHAT);
    else
        request_fail(request, &error);
    called_free(called);
}

static void run(struct rpc_call *call, enum method method, struct bytes_view bytes) {
    struct request *request = rpc_call_state(call);
    if (request == NULL || request->taken) return; /* a unary call has one message; more are not looked at */
    request->taken = true;
    const char *authorization = rpc_call_metadata(call, "authorization");
    struct called *called = calloc(1, sizeof *called);
    if (called == NULL) {
        struct api_error error = api_error_unavailable("Out of memory.");
        request_fail(request, &error);
        return;
    }
    called->request = request;
    called->method = method;
    request_ref(request);
    bytes_init(&called->bytes, MESSAGE_BYTES_MAX);
    if (bytes_append(&called->bytes, bytes.data, bytes.length) == STATUS_OK) {
        authenticate(request->gateway, request_bearer(authorization), on_authenticated, called);
        return;
    }
    struct api_error error = api_error_unavailable("Out of memory.");
    request_fail(request, &error);
    called_free(called);
}

static void on_writable(struct rpc_call *call) {
    struct request *request = rpc_call_state(call);
    if (request != NULL) request_writable(request);
}

static void on_cancelled(struct rpc_call *call) {
    struct request *request = rpc_call_state(call);
    if (request == NULL) return;
    pthread_mutex_lock(&request->mutex);
    struct chat *chat = request->chat;
    if (chat != NULL) chat_ref(chat);
    if (!request->answered) request->http_status = 499;
    request->answered = true;
    pthread_mutex_unlock(&request->mutex);
    if (chat != NULL) {
        chat_cancel(chat);
        chat_unref(chat);
    }
    rpc_call_finish(call, STATUS_CANCELLED, "cancelled", (struct bytes_view){0});
}

static void on_finished(struct rpc_call *call) {
    struct request *request = rpc_call_state(call);
    if (request != NULL) request_closed(request);
}

#define METHOD(function, method, route)                                                \
    static void function##_start(struct rpc_call *call, void *service) {               \
        start(call, service, route);                                                   \
    }                                                                                  \
    static void function##_message(struct rpc_call *call, struct bytes_view message) { \
        run(call, method, message);                                                    \
    }
METHOD(complete_chat, COMPLETE_CHAT, "chat")
METHOD(stream_chat, STREAM_CHAT, "chat")
METHOD(list_models, LIST_MODELS, "models")
METHOD(get_model, GET_MODEL, "models")
METHOD(list_workers, LIST_WORKERS, "workers")
#undef METHOD

#define ENTRY(path_, function)                                                                            \
    {                                                                                                     \
        .path = path_, .start = function##_start, .message = function##_message, .writable = on_writable, \
        .cancelled = on_cancelled, .finished = on_finished                                                \
    }
static const struct rpc_method methods[] = {
    ENTRY("/bora.v1.ChatService/CompleteChat", complete_chat), ENTRY("/bora.v1.ChatService/StreamChat", stream_chat),
    ENTRY("/bora.v1.ModelService/ListModels", list_models),    ENTRY("/bora.v1.ModelService/GetModel", get_model),
    ENTRY("/bora.v1.ModelService/ListWorkers", list_workers),
};
#undef ENTRY

/* ---- administration: each method of the table is a service of its own, so that its calls know which one they are --------- */

struct admin_service {
    struct gateway *gateway;
    const struct admin_method *method;
    struct rpc_method entry;
};

static void admin_start(struct rpc_call *call, void *service) {
    const struct admin_service *admin = service;
    start(call, admin->gateway, admin->method->name);
}

/** "ipv4:1.2.3.4:567" -> "1.2.3.4", "ipv6:[::1]:567", which may be escaped as in a URI, -> "::1"; else as it is. */
static void fill_address(struct rpc_call *call, const struct gateway *gateway, char out[CLIENT_ADDRESS_BYTES]) {
    const char *peer = rpc_call_peer(call), *start = strchr(peer, ':');
    char text[CLIENT_ADDRESS_BYTES] = "";
    start = start != NULL ? start + 1 : peer;
    if (strncmp(start, "%5B", 3) == 0)
        snprintf(text, sizeof text, "%.*s", (int)strcspn(start + 3, "%"), start + 3);
    else if (*start == '[')
        snprintf(text, sizeof text, "%.*s", (int)strcspn(start + 1, "]%"), start + 1);
    else
        snprintf(text, sizeof text, "%.*s", (int)strcspn(start, ":"), start);
    client_address(&gateway->proxies, text[0] != 0 ? text : peer, NULL, out);
}

/** Only who may ask is told what is wrong with a request, as over HTTP. */
static void admin_message(struct rpc_call *call, struct bytes_view bytes) {
    const struct admin_method *method = ((const struct admin_service *)rpc_call_service(call))->method;
    struct request *request = rpc_call_state(call);
    if (request == NULL || request->taken) return;
    request->taken = true;
    ProtobufCMessage *message = NULL;
    struct admin_caller caller = {.authorization = rpc_call_metadata(call, "authorization")};
    struct api_error error;
    fill_address(call, request->gateway, caller.address);
    if (request_bearer(caller.authorization) == NULL) {
        error = api_error_unauthorized();
        request_fail(request, &error);
    } else if (read_message(request, method->request, bytes, &message, &error)) {
        admin_forward(request, method, NULL, &caller, message);
    } else {
        admin_refuse(request, method, &caller, &error);
    }
}

enum { ADMIN_SERVICES_MAX = 40 };

enum status grpc_front_add(struct rpc_server *server, struct gateway *gateway, struct error *err) {
    static struct admin_service services[ADMIN_SERVICES_MAX];
    if (admin_method_count > ADMIN_SERVICES_MAX)
        return error_set(err, STATUS_INTERNAL, "more than %d administrative methods", ADMIN_SERVICES_MAX);
    TRY(rpc_server_add(server, methods, sizeof methods / sizeof methods[0], gateway, err));
    for (size_t i = 0; i < admin_method_count; i++) {
        services[i] = (struct admin_service){.gateway = gateway,
                                             .method = &admin_methods[i],
                                             .entry = {.path = admin_methods[i].path,
                                                       .start = admin_start,
                                                       .message = admin_message,
                                                       .writable = on_writable,
                                                       .cancelled = on_cancelled,
                                                       .finished = on_finished}};
        TRY(rpc_server_add(server, &services[i].entry, 1, &services[i], err));
    }
    return STATUS_OK;
}
