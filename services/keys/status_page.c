/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/status_page.h"

#include <stdio.h>
#include <string.h>

enum { METRICS_BYTES_MAX = 4 << 20, CONNECTIONS_MAX = 64, BODY_BYTES_MAX = 65536, WATERMARK_BYTES = 1 << 20 };

static void respond_text(struct http_exchange *exchange, int http_status, const char *first, const char *second) {
    struct bytes text;
    bytes_init(&text, 4096);
    (void)!bytes_printf(&text, "%s%s", first, second);
    http_exchange_respond(exchange, http_status, "text/plain; charset=utf-8", bytes_view(&text));
    bytes_deinit(&text);
}

/** Whoever runs the service is told which store, and why it is not there. */
static void respond_readiness(struct http_exchange *exchange, struct keys_service *service, const char *readiness) {
    char reason[KEYS_REASON_BYTES], rest[2 * KEYS_REASON_BYTES] = "\n";
    redis_client_reason(service->redis, reason, sizeof reason);
    if (reason[0] != 0 && atomic_load(&service->readiness) == KEYS_AWAY && !atomic_load(&service->draining))
        snprintf(rest, sizeof rest, " at %.120s: %s\n", service->settings.redis_address, reason);
    respond_text(exchange, strcmp(readiness, "ok") == 0 ? 200 : 503, readiness, rest);
}

static void respond_metrics(struct http_exchange *exchange, struct metrics *metrics) {
    struct bytes text;
    bytes_init(&text, METRICS_BYTES_MAX);
    bool written = metrics_write(metrics, &text) == STATUS_OK;
    http_exchange_respond(exchange, written ? 200 : 500, "text/plain; version=0.0.4", bytes_view(&text));
    bytes_deinit(&text);
}

static void on_request(struct http_exchange *exchange, void *context) {
    struct keys_service *service = context;
    const char *path = http_exchange_path(exchange), *readiness = keys_readiness_text(service);
    if (strcmp(path, "/healthz") == 0)
        respond_text(exchange, 200, "ok", "\n");
    else if (strcmp(path, "/readyz") == 0)
        respond_readiness(exchange, service, readiness);
    else if (strcmp(path, "/metrics") == 0)
        respond_metrics(exchange, service->metrics);
    else
        respond_text(exchange, 404, "not found", "\n");
}

static void on_closed(struct http_exchange *exchange, void *context, bool completed) {
    (void)exchange, (void)context, (void)completed;
}

enum status status_page_open(struct keys_service *service, struct http_server **out, struct error *err) {
    if (service->settings.metrics_listen == NULL) return STATUS_OK;
    struct http_server_options options = {.address = service->settings.metrics_listen,
                                          .body_bytes_max = BODY_BYTES_MAX,
                                          .connections_max = CONNECTIONS_MAX,
                                          .idle_timeout_ns = 30 * NS_PER_S,
                                          .watermark_bytes = WATERMARK_BYTES,
                                          .on_request = on_request,
                                          .on_closed = on_closed,
                                          .context = service};
    return http_server_create(&options, out, err);
}
