/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* grpc.health.v1: HealthCheckRequest{service = 1}, HealthCheckResponse{status = 1}. Source: grpc/doc/health-checking.md */
#include "base/protobuf_wire.h"
#include "rpc/grpc_internal.h"

#include <stdlib.h>
#include <string.h>

enum serving { SERVING_UNKNOWN = 0, SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3 };
enum { SERVICES_MAX = 32, SERVICE_NAME_BYTES = 128 };

struct watcher {
    struct watcher *next;
    struct rpc_call *call;
    struct grpc_health *health;
    char service[SERVICE_NAME_BYTES];
    enum serving told;
};

struct grpc_health {
    pthread_mutex_t mutex;
    bool shut;
    int count;
    struct {
        char name[SERVICE_NAME_BYTES];
        enum serving state;
    } services[SERVICES_MAX];
    struct watcher *watchers;
};

struct grpc_health *grpc_health_create(void) {
    struct grpc_health *health = calloc(1, sizeof *health);
    if (health == NULL) return NULL;
    pthread_mutex_init(&health->mutex, NULL);
    health->count = 1; /* "": the whole server, not serving until told */
    health->services[0].state = NOT_SERVING;
    return health;
}

void grpc_health_destroy(struct grpc_health *health) {
    if (health == NULL) return;
    pthread_mutex_destroy(&health->mutex);
    free(health);
}

static enum serving state_of_locked(const struct grpc_health *health, const char *service) {
    for (int i = 0; i < health->count; i++) {
        if (strcmp(health->services[i].name, service) == 0) return health->services[i].state;
    }
    return SERVICE_UNKNOWN;
}

static enum status write_state(struct rpc_call *call, enum serving state) {
    uint8_t message[2] = {0x08, (uint8_t)state};
    return rpc_call_write(call, bytes_view_of(message, sizeof message));
}

static void tell_watchers_locked(struct grpc_health *health) {
    for (struct watcher *watcher = health->watchers; watcher != NULL; watcher = watcher->next) {
        enum serving state = state_of_locked(health, watcher->service);
        if (state == watcher->told) continue;
        watcher->told = state;
        (void)!write_state(watcher->call, state); /* a watcher that left is told so by its call */
    }
}

void grpc_health_set(struct grpc_health *health, const char *service, bool serving) {
    pthread_mutex_lock(&health->mutex);
    int index = 0;
    while (index < health->count && strcmp(health->services[index].name, service) != 0) index++;
    if (index == health->count && health->count < SERVICES_MAX && strlen(service) < SERVICE_NAME_BYTES)
        strcpy(health->services[health->count++].name, service);
    if (index < health->count && !health->shut) health->services[index].state = serving ? SERVING : NOT_SERVING;
    tell_watchers_locked(health);
    pthread_mutex_unlock(&health->mutex);
}

void grpc_health_shut(struct grpc_health *health) {
    pthread_mutex_lock(&health->mutex);
    health->shut = true;
    for (int i = 0; i < health->count; i++) health->services[i].state = NOT_SERVING;
    tell_watchers_locked(health);
    for (struct watcher *watcher = health->watchers; watcher != NULL; watcher = watcher->next)
        rpc_call_finish(watcher->call, STATUS_UNAVAILABLE, "the server is stopping", (struct bytes_view){0});
    pthread_mutex_unlock(&health->mutex);
}

/** The asked service's name; false when the request is malformed or the name too long. */
static bool read_request(struct bytes_view message, char out[SERVICE_NAME_BYTES]) {
    struct wire_field field;
    out[0] = 0;
    while (wire_next(&message, &field)) {
        if (field.number != 1) continue;
        if (field.type != WIRE_BYTES || field.bytes.length >= SERVICE_NAME_BYTES ||
            memchr(field.bytes.data, 0, field.bytes.length) != NULL)
            return false;
        memcpy(out, field.bytes.data, field.bytes.length);
        out[field.bytes.length] = 0;
    }
    return message.length == 0;
}

static void check(struct rpc_call *call, struct bytes_view message) {
    struct grpc_health *health = rpc_call_service(call);
    char service[SERVICE_NAME_BYTES];
    if (!read_request(message, service)) {
        rpc_call_finish(call, STATUS_INVALID_ARGUMENT, "the health request is malformed", (struct bytes_view){0});
        return;
    }
    pthread_mutex_lock(&health->mutex);
    enum serving state = state_of_locked(health, service);
    pthread_mutex_unlock(&health->mutex);
    if (state == SERVICE_UNKNOWN) {
        rpc_call_finish(call, STATUS_NOT_FOUND, "unknown service", (struct bytes_view){0});
        return;
    }
    enum status status = write_state(call, state);
    rpc_call_finish(call, status, NULL, (struct bytes_view){0});
}

static void watch(struct rpc_call *call, struct bytes_view message) {
    struct grpc_health *health = rpc_call_service(call);
    struct watcher *watcher = rpc_call_state(call) == NULL ? calloc(1, sizeof *watcher) : NULL;
    if (watcher == NULL || !read_request(message, watcher->service)) {
        free(watcher);
        rpc_call_finish(call, STATUS_INVALID_ARGUMENT, "the health request is malformed", (struct bytes_view){0});
        return;
    }
    watcher->call = call;
    watcher->health = health;
    rpc_call_set_state(call, watcher);
    pthread_mutex_lock(&health->mutex);
    watcher->told = state_of_locked(health, watcher->service);
    watcher->next = health->watchers;
    health->watchers = watcher;
    enum status status = write_state(call, watcher->told);
    if (health->shut || status != STATUS_OK)
        rpc_call_finish(call, STATUS_UNAVAILABLE, "the server is stopping", (struct bytes_view){0});
    pthread_mutex_unlock(&health->mutex);
}

static void watch_finished(struct rpc_call *call) {
    struct watcher *watcher = rpc_call_state(call);
    if (watcher == NULL) return;
    pthread_mutex_lock(&watcher->health->mutex);
    for (struct watcher **at = &watcher->health->watchers; *at != NULL; at = &(*at)->next) {
        if (*at != watcher) continue;
        *at = watcher->next;
        break;
    }
    pthread_mutex_unlock(&watcher->health->mutex);
    free(watcher);
}

const struct rpc_method grpc_health_methods[2] = {
    {.path = "/grpc.health.v1.Health/Check", .message = check},
    {.path = "/grpc.health.v1.Health/Watch", .message = watch, .finished = watch_finished},
};
