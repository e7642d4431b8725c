/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/status_page.h"

#include "base/clock.h"
#include "services/gateway/gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { METRICS_BYTES_MAX = 16 << 20, CONNECTIONS_MAX = 64, BODY_BYTES_MAX = 65536, WATERMARK_BYTES = 1 << 20 };
/* Strangers may ask for the metrics where clients come in: at most a twentieth of a processor's time goes into writing them. */
enum { REST_PER_WORK = 20 };

struct status_page {
    struct gateway *gateway;
    struct http_server *server; /* at --metrics-listen; NULL: there is none */
    struct bytes metrics;       /* as they were last written; of the one thread that shows them, as is: */
    bool written;
    int64_t next_ns; /* before, they are shown as they were */
};

static void respond_text(struct http_exchange *exchange, int status, const char *text) {
    http_exchange_respond(exchange, status, "text/plain; charset=utf-8", bytes_view_string(text));
}

/** That this thread has used. */
static int64_t processor_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return used.tv_sec * NS_PER_S + used.tv_nsec;
}

static void respond_metrics(struct status_page *page, struct http_exchange *exchange) {
    int64_t now_ns = clock_monotonic_ns(clock_system());
    if (now_ns >= page->next_ns) {
        int64_t before_ns = processor_ns();
        bytes_reset(&page->metrics);
        page->written = metrics_write(page->gateway->metrics, &page->metrics) == STATUS_OK;
        page->next_ns = now_ns + REST_PER_WORK * (processor_ns() - before_ns);
    }
    http_exchange_respond(exchange, page->written ? 200 : 500, "text/plain; version=0.0.4; charset=utf-8",
                          bytes_view(&page->metrics));
}

static void respond(struct status_page *page, struct http_exchange *exchange) {
    const char *path = http_exchange_path(exchange);
    if (strcmp(path, "/metrics") == 0) {
        respond_metrics(page, exchange);
    } else if (strcmp(path, "/readyz") == 0) {
        char reason[GATEWAY_REASON_BYTES], text[GATEWAY_REASON_BYTES + 1];
        bool ready = gateway_is_ready(page->gateway, reason);
        snprintf(text, sizeof text, "%s\n", ready ? "ok" : reason);
        respond_text(exchange, ready ? 200 : 503, text);
    } else {
        respond_text(exchange, 200, "ok\n");
    }
}

static bool is_page(const char *path) {
    return strcmp(path, "/metrics") == 0 || strcmp(path, "/readyz") == 0 || strcmp(path, "/healthz") == 0;
}

bool status_page_has(const struct status_page *page, const char *path) {
    return is_page(path) && (page->server == NULL || strcmp(path, "/metrics") != 0);
}

void status_page_respond(struct status_page *page, struct http_exchange *exchange) {
    respond(page, exchange);
}

static void on_request(struct http_exchange *exchange, void *context) {
    const char *method = http_exchange_method(exchange);
    if (!is_page(http_exchange_path(exchange)))
        respond_text(exchange, 404, "not found\n");
    else if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        respond_text(exchange, 405, "method not allowed\n");
    else
        respond(context, exchange);
}

enum status status_page_open(struct gateway *gateway, struct status_page **out, struct error *err) {
    struct status_page *page = calloc(1, sizeof *page);
    if (page == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    page->gateway = gateway;
    bytes_init(&page->metrics, METRICS_BYTES_MAX);
    struct http_server_options options = {.address = gateway->settings.metrics_listen,
                                          .body_bytes_max = BODY_BYTES_MAX,
                                          .connections_max = CONNECTIONS_MAX,
                                          .idle_timeout_ns = gateway->settings.idle_timeout_ns,
                                          .header_timeout_ns = gateway->settings.header_timeout_ns,
                                          .watermark_bytes = WATERMARK_BYTES,
                                          .on_request = on_request,
                                          .context = page};
    enum status status = options.address != NULL ? http_server_create(&options, &page->server, err) : STATUS_OK;
    if (status == STATUS_OK)
        *out = page;
    else
        status_page_close(page);
    return status;
}

void status_page_close(struct status_page *page) {
    if (page == NULL) return;
    http_server_destroy(page->server);
    bytes_deinit(&page->metrics);
    free(page);
}

int status_page_port(const struct status_page *page) {
    return page->server != NULL ? http_server_port(page->server) : 0;
}
