/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* HTTP: routes, bodies, headers, server-sent events. */
#include "base/random.h"
#include "base/text.h"
#include "services/gateway/admin_http.h"
#include "services/gateway/chat.h"
#include "services/gateway/console.h"
#include "services/gateway/models.h"
#include "services/gateway/status_page.h"
#include "services/gateway/url_secret.h"
#include "services/gateway/workers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BODY_BYTES_MAX = 64 << 20 };
static const char json_type[] = "application/json";
static const char event_type[] = "text/event-stream; charset=utf-8";

/* ---- the front ----------------------------------------------------------------------------------------------------- */

static void front_header(struct request *request, const char *name, const char *value) {
    http_exchange_add_header(request->transport, name, value);
}

static void add_id(struct request *request) {
    if (!request_identifies(request)) return;
    http_exchange_add_header(request->transport, "x-request-id", request->id);
    http_exchange_add_header(request->transport, "mistral-correlation-id", request->id);
}

static void front_message(struct request *request, const ProtobufCMessage *message) {
    struct bytes body;
    add_id(request);
    bytes_init(&body, BODY_BYTES_MAX);
    if (transcode_write(request->gateway->transcoder, message, &body) == STATUS_OK)
        http_exchange_respond(request->transport, 200, json_type, bytes_view(&body));
    else
        http_exchange_respond(request->transport, 500, json_type,
                              bytes_view_string("{\"object\":\"error\",\"message\":\"The answer cannot be "
                                                "written.\",\"type\":\"server_error\",\"param\":null,\"code\":null}"));
    bytes_deinit(&body);
}

/** The first chunk starts the answer. */
static void start_stream(struct request *request) {
    pthread_mutex_lock(&request->mutex);
    bool first = !request->answered;
    request->answered = true;
    if (first) request->http_status = 200;
    pthread_mutex_unlock(&request->mutex);
    if (!first) return;
    add_id(request);
    http_exchange_add_header(request->transport, "cache-control", "no-cache");
    http_exchange_add_header(request->transport, "x-accel-buffering",
                             "no"); /* a proxy in front must pass events on as they come */
    http_exchange_begin(request->transport, 200, event_type);
}

static void front_chunk(struct request *request, const ProtobufCMessage *message) {
    struct bytes event;
    start_stream(request);
    bytes_init(&event, BODY_BYTES_MAX);
    (void)!bytes_append_string(&event, "data: ");
    bool written = transcode_write(request->gateway->transcoder, message, &event) == STATUS_OK &&
                   bytes_append_string(&event, "\n\n") == STATUS_OK;
    enum status status = written ? http_exchange_append(request->transport, bytes_view(&event)) : STATUS_INTERNAL;
    if (status == STATUS_RESOURCE_EXHAUSTED || status == STATUS_INTERNAL) http_exchange_abort(request->transport);
    bytes_deinit(&event);
}

static void front_flush(struct request *request) {
    http_exchange_flush(request->transport);
}

static void front_end(struct request *request) {
    (void)!http_exchange_append(request->transport,
                                bytes_view_string("data: [DONE]\n\n")); /* a client that left needs none */
    http_exchange_end(request->transport);
}

/** "SmolLM2-135M-Instruct (smollm2, small)": its name, and its aliases and tier as far as there is room for all of them. */
static void write_names(const Bora__Internal__V1__ModelDescription *model, char out[ERROR_MESSAGE_BYTES]) {
    size_t own = (size_t)snprintf(out, ERROR_MESSAGE_BYTES, "%s", model->name), used = own;
    const char *before = " (";
    for (size_t i = 0; i <= model->n_aliases && used < ERROR_MESSAGE_BYTES; i++) {
        const char *name = i < model->n_aliases ? model->aliases[i] : model->tier;
        if (name[0] == 0 || (i < model->n_aliases && strcmp(name, model->tier) == 0)) continue;
        used += (size_t)snprintf(out + used, ERROR_MESSAGE_BYTES - used, "%s%s", before, name);
        before = ", ";
    }
    if (used + 1 >= ERROR_MESSAGE_BYTES)
        out[own < ERROR_MESSAGE_BYTES ? own : ERROR_MESSAGE_BYTES - 1] = 0;
    else if (before[0] == ',')
        memcpy(out + used, ")", 2);
}

/** Which models there are instead of one that is not, as many as the message has room for. Mistral's own message ends before. */
static void add_served(struct request *request, struct api_error *error) {
    struct worker *workers[LIMIT_MODELS];
    size_t count = workers_list_models(request->gateway->workers, workers, LIMIT_MODELS);
    size_t used = strlen(error->message), left = count;
    for (size_t i = 0; i < count; i++) {
        const char *before = i == 0 ? ". There are: " : ", ";
        char names[ERROR_MESSAGE_BYTES];
        enum { MORE_BYTES = 24 }; /* " and 99999 more" */
        write_names(workers[i]->announcement->model, names);
        if (left == count - i && used + strlen(before) + strlen(names) + MORE_BYTES < sizeof error->message) {
            used += (size_t)snprintf(error->message + used, sizeof error->message - used, "%s%s", before, names);
            left--;
        }
        worker_unref(workers[i]);
    }
    if (left > 0 && left < count) snprintf(error->message + used, sizeof error->message - used, " and %zu more", left);
}

static void front_error(struct request *request, const struct api_error *error) {
    struct api_error listed;
    struct bytes body;
    char wait[TEXT_I64_BYTES];
    add_id(request);
    bytes_init(&body, BODY_BYTES_MAX);
    if (error->retry_after_ms > 0) {
        text_from_i64((error->retry_after_ms + 999) / 1000, wait);
        http_exchange_add_header(request->transport, "retry-after", wait);
        /* Both public clients prefer it: a second is long for a limit of one. */
        text_from_i64(error->retry_after_ms, wait);
        http_exchange_add_header(request->transport, "retry-after-ms", wait);
    }
    if (error->http_status == 401) http_exchange_add_header(request->transport, "www-authenticate", "Bearer");
    bool strict = request->gateway->dialect.strict;
    if (!strict && error->http_status == 400 && strcmp(error->type, "invalid_model") == 0 && error->param == NULL) {
        listed = *error;
        add_served(request, &listed);
        error = &listed;
    }
    (void)!api_error_write(error, request->gateway->transcoder, strict, request->id, &body);
    http_exchange_respond(request->transport, error->http_status, json_type, bytes_view(&body));
    bytes_deinit(&body);
}

static size_t front_pending(struct request *request) {
    return http_exchange_pending_bytes(request->transport);
}

static void front_release(struct request *request) {
    http_exchange_unref(request->transport);
}

static const struct front http_front = {.header = front_header,
                                        .message = front_message,
                                        .chunk = front_chunk,
                                        .flush = front_flush,
                                        .end = front_end,
                                        .error = front_error,
                                        .pending_bytes = front_pending,
                                        .release = front_release};

/* ---- bodies -------------------------------------------------------------------------------------------------------- */

/** The body as a message; else false and the error to answer. */
static bool read_body(struct request *request, const ProtobufCMessageDescriptor *descriptor, struct bytes_view body,
                      ProtobufCMessage **out, struct api_error *error) {
    struct transcode_errors found; /* mostly none */
    enum status status = transcode_read(request->gateway->transcoder, &request->gateway->dialect, descriptor, body,
                                        &request->arena, out, &found);
    if (status == STATUS_OK) return true;
    struct transcode_errors *errors =
        status == STATUS_INVALID_ARGUMENT ? arena_alloc(&request->arena, sizeof *errors) : NULL;
    if (errors != NULL) *errors = found;
    if (errors != NULL)
        *error = api_error_validation(errors);
    else
        *error =
            api_error_make(413, STATUS_RESOURCE_EXHAUSTED, "invalid_request_error", NULL, "The request is too large.");
    return false;
}

/* ---- routes -------------------------------------------------------------------------------------------------------- */

struct route {
    const char *name, *method, *path; /* a path that ends in '/' takes one more segment */
    void (*run)(struct request *request, const char *segment);
};

static void run_chat(struct request *request, const char *segment) {
    (void)segment;
    struct http_exchange *exchange = request->transport;
    ProtobufCMessage *message = NULL;
    struct chat_plan plan;
    struct api_error error;
    if (!read_body(request, &bora__v1__chat_completion_request__descriptor, http_exchange_body(exchange), &message,
                   &error)) {
        request_fail(request, &error);
        return;
    }
    http_exchange_forget_body(exchange); /* the message has a copy */
    const Bora__V1__ChatCompletionRequest *chat = (const void *)message;
    bool stream = chat->_stream_case == BORA__V1__CHAT_COMPLETION_REQUEST___STREAM_STREAM && chat->stream;
    snprintf(request->model, sizeof request->model, "%s", chat->model);
    if (chat_check(request, chat, stream, &plan, &error))
        chat_start(request, &plan);
    else
        request_fail(request, &error);
}

static void on_key_checked(void *context, enum status status, const struct limits_result *result, const char *message) {
    (void)message;
    struct request *request = context;
    const char *path = http_exchange_path(request->transport);
    struct api_error error;
    if (status != STATUS_OK) {
        error = api_error_unavailable("The key cannot be checked right now.");
        request_fail(request, &error);
    } else if (result->outcome != LIMITS_ADMITTED) {
        authenticate_forget(request->gateway, request->key->prefix);
        error = api_error_unauthorized();
        request_fail(request, &error);
    } else if (strcmp(path, "/v1/admin/workers") == 0) {
        models_answer_workers(request);
    } else if (strcmp(path, "/v1/models") == 0) {
        models_answer_list(request);
    } else {
        models_answer_one(request, path + sizeof "/v1/models/" - 1);
    }
    request_unref(request);
}

static void run_models(struct request *request, const char *segment) {
    (void)segment;
    if (!request_permits(request, "models")) return;
    request_ref(request);
    request_look_at_key(request, on_key_checked, request);
}

static void run_workers(struct request *request, const char *segment) {
    (void)segment;
    request_ref(request);
    request_look_at_key(request, on_key_checked, request);
}

static const struct route routes[] = {
    {"chat", "POST", "/v1/chat/completions", run_chat},
    {"models", "GET", "/v1/models", run_models},
    {"models", "GET", "/v1/models/", run_models},
    {"workers", "GET", "/v1/admin/workers", run_workers},
};

enum { ROUTES_PER_PATH = 4, ALLOWED_BYTES = 64 };

static bool path_matches(const struct route *route, const char *path) {
    size_t length = strlen(route->path);
    if (route->path[length - 1] != '/') return strcmp(path, route->path) == 0;
    return strncmp(path, route->path, length) == 0 && path[length] != 0;
}

/** What other servers of these interfaces have, and this one not yet: said by name. */
static const char *const absent[] = {"/v1/completions",        "/v1/embeddings", "/v1/fim/completions",
                                     "/v1/responses",          "/v1/files",      "/v1/fine_tuning/jobs",
                                     "/v1/audio/speech",       "/v1/batches",    "/v1/audio/transcriptions",
                                     "/v1/agents/completions", "/v1/ocr",        "/v1/images/generations",
                                     "/v1/moderations"};

static struct api_error no_route(const char *path) {
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) {
        if (strcmp(path, absent[i]) == 0)
            return api_error_make(
                404, STATUS_NOT_FOUND, "not_found", NULL, "%s is not supported%s.", path,
                i == 0 ? " yet; POST /v1/chat/completions completes text when it is asked of a base model" : " yet");
    }
    return api_error_make(404, STATUS_NOT_FOUND, "not_found", NULL, "There is nothing at %.64s.", path);
}

/** What serves a path: one of the first two, or nothing; then `allowed` is the list of methods that the path has, "" for none. */
struct found {
    const struct route *route;
    const struct admin_route *admin; /* the keys service looks at the key, not we */
    char allowed[ALLOWED_BYTES];
};

static struct found find_route(const struct gateway *gateway, const char *method, const char *path) {
    struct found found = {0};
    const char *methods[ROUTES_PER_PATH] = {0};
    size_t count = 0;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (!path_matches(&routes[i], path)) continue;
        if (strcmp(method, routes[i].method) == 0) {
            found.route = &routes[i];
            return found;
        }
        if (count < ROUTES_PER_PATH) methods[count++] = routes[i].method;
    }
    found.admin = admin_http_find(method, path, methods, &count, ROUTES_PER_PATH);
    if (found.admin != NULL) return found;
    if (count == 0 && status_page_has(gateway->status_page, path)) methods[count++] = "GET, HEAD";
    for (size_t i = 0; i < count; i++)
        snprintf(found.allowed + strlen(found.allowed), ALLOWED_BYTES - strlen(found.allowed), "%s%s",
                 i > 0 ? ", " : "", methods[i]);
    return found;
}

struct routed {
    struct request *request;
    const struct route *route;
};

static void on_authenticated(void *context, enum status status, struct key_info *info) {
    struct routed *routed = context;
    struct request *request = routed->request;
    struct api_error error;
    if (status == STATUS_OK) {
        key_info_ref(info);
        request->key = info;
        routed->route->run(request, NULL);
    } else {
        error = status == STATUS_UNAUTHENTICATED ? api_error_unauthorized()
                                                 : api_error_unavailable("The key cannot be checked right now.");
        request_fail(request, &error);
    }
    request_unref(request);
    free(routed);
}

static void run_route(struct request *request, const struct route *route) {
    struct http_exchange *exchange = request->transport;
    struct routed *routed = calloc(1, sizeof *routed);
    struct api_error error;
    if (routed == NULL) {
        error = api_error_unavailable("Out of memory.");
        request_fail(request, &error);
        return;
    }
    *routed = (struct routed){.request = request, .route = route};
    request_ref(request);
    authenticate(request->gateway, request_bearer(http_exchange_header(exchange, "authorization")), on_authenticated,
                 routed);
}

/* ---- pages without a key ------------------------------------------------------------------------------------------- */

static bool respond_page(struct http_exchange *exchange, struct gateway *gateway) {
    const char *path = http_exchange_path(exchange), *method = http_exchange_method(exchange);
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) return false;
    if (!status_page_has(gateway->status_page, path)) return console_respond(gateway->console, exchange);
    status_page_respond(gateway->status_page, exchange);
    return true;
}

static void on_large_body_key(void *context, enum status status, struct key_info *info) {
    (void)info;
    struct http_exchange *exchange = context;
    if (status == STATUS_OK)
        http_exchange_headers_done(exchange, 0, NULL);
    else if (status == STATUS_UNAUTHENTICATED)
        http_exchange_headers_done(exchange, 401, "Unauthorized");
    else
        http_exchange_headers_done(exchange, 503, "The key cannot be checked right now.");
    http_exchange_unref(exchange);
}

/** Who shows no key at all is refused before its body is read, and so is whose key is not good when the body may be a large one: a stranger
 *  cannot make us hold more than a small body. Administrators, whose keys the keys service looks at, send small ones. */
int http_front_headers(struct http_exchange *exchange, void *context, const char **out_reason) {
    struct gateway *gateway = context;
    const char *secret = url_secret_find(http_exchange_path(exchange), http_exchange_queries(exchange));
    if (secret != NULL) {
        *out_reason = secret;
        return 400;
    }
    struct found found = find_route(gateway, http_exchange_method(exchange), http_exchange_path(exchange));
    const char *key = request_bearer(http_exchange_header(exchange, "authorization"));
    if ((found.route != NULL || found.admin != NULL) && key == NULL) {
        *out_reason = "Unauthorized";
        return 401;
    }
    int64_t announced = http_exchange_announced_bytes(exchange);
    if (announced >= 0 && announced <= HTTP_SMALL_BODY_BYTES) return 0;
    if (found.route == NULL) {
        http_exchange_limit_body(exchange, HTTP_SMALL_BODY_BYTES);
        return 0;
    }
    http_exchange_ref(exchange);
    authenticate(gateway, key, on_large_body_key, exchange);
    return HTTP_HEADERS_LATER;
}

/* ---- the server's callbacks ---------------------------------------------------------------------------------------- */

void http_front_request(struct http_exchange *exchange, void *context) {
    struct gateway *gateway = context;
    if (respond_page(exchange, gateway)) return;
    struct found found = find_route(gateway, http_exchange_method(exchange), http_exchange_path(exchange));
    const char *name = found.route != NULL   ? found.route->name
                       : found.admin != NULL ? admin_http_name(found.admin)
                                             : "none";
    struct request *request = request_create(gateway, &http_front, exchange, name);
    if (request == NULL) {
        http_exchange_respond(
            exchange, 503, json_type,
            bytes_view_string("{\"object\":\"error\",\"message\":\"Out of "
                              "memory.\",\"type\":\"service_unavailable\",\"param\":null,\"code\":null}"));
        return;
    }
    http_exchange_ref(exchange); /* until the request is freed */
    http_exchange_set_state(exchange, request);
    if (found.route == NULL || found.route->run != run_chat)
        add_id(request); /* which may be admitted under another one */
    struct api_error error;
    if (found.route != NULL) {
        run_route(request, found.route);
    } else if (found.admin != NULL) {
        admin_http_run(request, found.admin);
    } else {
        if (found.allowed[0] != 0) http_exchange_add_header(exchange, "allow", found.allowed);
        error = found.allowed[0] != 0
                    ? api_error_make(405, STATUS_UNIMPLEMENTED, "invalid_request_error", NULL,
                                     "Method %.16s is not allowed here.", http_exchange_method(exchange))
                    : no_route(http_exchange_path(exchange));
        request_fail(request, &error);
    }
}

void http_front_writable(struct http_exchange *exchange, void *context) {
    (void)context;
    struct request *request = http_exchange_state(exchange);
    if (request != NULL) request_writable(request);
}

void http_front_closed(struct http_exchange *exchange, void *context, bool completed) {
    (void)context;
    struct request *request = http_exchange_state(exchange);
    if (request == NULL) return;                /* a page */
    pthread_mutex_lock(&request->mutex);        /* a stream may be about to begin */
    if (!completed) request->http_status = 499; /* the client left first */
    pthread_mutex_unlock(&request->mutex);
    request_closed(request);
}

void http_front_refused(int http_status, const char *reason, struct bytes *out, void *context) {
    struct gateway *gateway = context;
    struct api_error error = http_status == 401
                                 ? api_error_unauthorized()
                                 : api_error_make(http_status, STATUS_INVALID_ARGUMENT,
                                                  http_status == 503 ? "service_unavailable" : "invalid_request_error",
                                                  NULL, "%.200s", reason);
    char id[33], status[8];
    random_hex_id(id, 32);
    snprintf(status, sizeof status, "%d", http_status);
    metric_add(gateway->requests, 1, "refused", status);
    (void)!api_error_write(&error, gateway->transcoder, gateway->dialect.strict, id, out);
}
