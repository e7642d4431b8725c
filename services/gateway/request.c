/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/request.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "services/gateway/authenticate.h"
#include "services/gateway/chat.h"
#include "services/gateway/export.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BYTES_PER_BODY_BYTE = 8, ARENA_BYTES_MIN = 4 << 20 };

struct request *request_create(struct gateway *gateway, const struct front *front, void *transport, const char *route) {
    struct request *request = calloc(1, sizeof *request);
    if (request == NULL) return NULL;
    request->gateway = gateway;
    request->front = front;
    request->transport = transport;
    request->route = route;
    atomic_init(&request->references, 1);
    pthread_mutex_init(&request->mutex, NULL);
    arena_init(&request->arena, (size_t)gateway->settings.body_bytes_max * ARENA_BYTES_PER_BODY_BYTE + ARENA_BYTES_MIN);
    random_hex_id(request->id, 32);
    request->started_ns = clock_monotonic_ns(clock_system());
    request->deadline_ns = request->started_ns + gateway->settings.request_timeout_ns;
    metric_add(gateway->running, 1);
    return request;
}

bool request_rename(struct request *request, const char *id) {
    pthread_mutex_lock(&request->mutex);
    bool renamed = !request->closed && !request->identified;
    if (renamed) snprintf(request->id, sizeof request->id, "%s", id);
    pthread_mutex_unlock(&request->mutex);
    return renamed;
}

bool request_identifies(struct request *request) {
    pthread_mutex_lock(&request->mutex);
    bool first = !request->identified;
    request->identified = true;
    pthread_mutex_unlock(&request->mutex);
    return first;
}

void request_ref(struct request *request) {
    atomic_fetch_add(&request->references, 1);
}

bool request_try_ref(struct request *request) {
    int references = atomic_load(&request->references);
    while (references > 0) {
        if (atomic_compare_exchange_weak(&request->references, &references, references + 1)) return true;
    }
    return false;
}

void request_unref(struct request *request) {
    if (atomic_fetch_sub(&request->references, 1) != 1) return;
    if (request->chat != NULL) chat_unref(request->chat);
    request->front->release(request);
    key_info_unref(request->key);
    arena_deinit(&request->arena);
    pthread_mutex_destroy(&request->mutex);
    free(request);
}

static void log_request(struct request *request) {
    char status[8], reason[API_ERROR_REASON_BYTES];
    pthread_mutex_lock(&request->mutex); /* who answers may be doing so just now, to a client that has left */
    memcpy(reason, request->reason, sizeof reason);
    int http_status = request->http_status != 0 ? request->http_status : 499;
    pthread_mutex_unlock(&request->mutex);
    double seconds = (double)(clock_monotonic_ns(clock_system()) - request->started_ns) / 1e9;
    snprintf(status, sizeof status, "%d", http_status);
    metric_add(request->gateway->requests, 1, request->route, status);
    metric_observe(request->gateway->request_s, seconds, request->route);
    metric_add(request->gateway->running, -1);
    log_info("request done", LOG_S("request_id", request->id), LOG_S("route", request->route),
             LOG_I("status", http_status), LOG_S("key", request->key != NULL ? request->key->prefix : NULL),
             LOG_S("model", request->model[0] != 0 ? request->model : NULL),
             LOG_S("reason", reason[0] != 0 ? reason : NULL), LOG_I("prompt_tokens", request->prompt_tokens),
             LOG_I("completion_tokens", request->completion_tokens), LOG_F("seconds", seconds));
}

void request_closed(struct request *request) {
    pthread_mutex_lock(&request->mutex);
    request->closed = true;
    struct chat *chat = request->chat;
    if (chat != NULL) chat_ref(chat);
    pthread_mutex_unlock(&request->mutex);
    if (chat != NULL) {
        chat_cancel(chat);
        chat_unref(chat);
    }
    log_request(request);
    request_unref(request);
}

void request_writable(struct request *request) {
    pthread_mutex_lock(&request->mutex);
    struct chat *chat = request->chat;
    struct export *export = request->export;
    if (chat != NULL) chat_ref(chat);
    pthread_mutex_unlock(&request->mutex);
    if (export != NULL) export_writable(export);
    if (chat == NULL) return;
    chat_writable(chat);
    chat_unref(chat);
}

/** True for the first who answers; `error` is NULL for an answer. */
static bool take_answer(struct request *request, int http_status, const struct api_error *error) {
    pthread_mutex_lock(&request->mutex);
    bool first = !request->answered;
    request->answered = true;
    if (first) request->http_status = http_status;
    if (first && error != NULL) api_error_reason(error, request->reason);
    pthread_mutex_unlock(&request->mutex);
    return first;
}

static void fail_now(struct request *request, const struct api_error *error) {
    if (take_answer(request, error->http_status, error)) request->front->error(request, error);
}

void request_look_at_key(struct request *request, limits_fn *fn, void *context) {
    struct limits_result stands = {.outcome = LIMITS_ADMITTED};
    if (key_info_is_operator(request->key))
        fn(context, STATUS_OK, &stands, "");
    else
        limits_check_gate(request->gateway->limits, request->key->organization, request->key->gate, fn, context);
}

/** A failure that waits to hear whether the key still stands. */
struct failing {
    struct request *request;
    struct api_error error;
};

static void on_key_looked_at(void *context, enum status status, const struct limits_result *result,
                             const char *message) {
    (void)message;
    struct failing *failing = context;
    struct request *request = failing->request;
    if (status != STATUS_OK) { /* fails closed: nobody knows whether the key was revoked */
        failing->error = api_error_unavailable("The key cannot be checked right now.");
    } else if (result->outcome != LIMITS_ADMITTED) {
        authenticate_forget(request->gateway, request->key->prefix);
        failing->error = api_error_unauthorized();
    }
    fail_now(request, &failing->error);
    request_unref(request);
    free(failing);
}

/** Whoever is told what is wrong with a request must hold a key that stands; requests that get as far as the limits are looked at there. */
void request_fail(struct request *request, const struct api_error *error) {
    bool tells = request->key != NULL && !request->key_stands &&
                 (error->http_status == 400 || error->http_status == 403 || error->http_status == 404 ||
                  error->http_status == 413 || error->http_status == 422);
    struct failing *failing = tells ? malloc(sizeof *failing) : NULL;
    if (failing == NULL) {
        fail_now(request, error);
        return;
    }
    *failing = (struct failing){.request = request, .error = *error};
    request_ref(request);
    request_look_at_key(request, on_key_looked_at, failing);
}

bool request_permits(struct request *request, const char *endpoint) {
    if (key_info_may_ask(request->key, endpoint)) return true;
    struct api_error error =
        key_info_is_operator(request->key)
            ? api_error_forbidden("The operator's key administers and asks no models; make a key for that.")
            : api_error_forbidden("This key may not use the endpoint \"%s\".", endpoint);
    request_fail(request, &error);
    return false;
}

void request_answer(struct request *request, const ProtobufCMessage *message) {
    if (take_answer(request, 200, NULL)) request->front->message(request, message);
}

const char *request_bearer(const char *authorization) {
    if (authorization == NULL || strncasecmp(authorization, "Bearer", 6) != 0 || authorization[6] != ' ') return NULL;
    const char *key = authorization + 6;
    while (*key == ' ') key++;
    return *key != 0 ? key : NULL;
}
