/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "base/process.h"
#include "base/random.h"
#include "proto/descriptors.h"
#include "rpc/http_server.h"
#include "services/worker/reports.h"
#include "services/worker/worker.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TOKENIZING_THREADS = 2, TOKENIZING_QUEUE_MAX = 1024, TOKENIZING_TENANT_MAX = 256 };

struct status_page {
    struct worker *worker;
    struct announcer *announcer;
};

static void respond_text(struct http_exchange *exchange, int http_status, const char *text) {
    http_exchange_respond(exchange, http_status, "text/plain; charset=utf-8", bytes_view_string(text));
}

/** /metrics, /healthz (the process lives), /readyz (it is announced and takes requests). */
static void on_status_request(struct http_exchange *exchange, void *context) {
    struct status_page *page = context;
    const char *path = http_exchange_path(exchange);
    if (strcmp(path, "/healthz") == 0) {
        respond_text(exchange, 200, "ok\n");
    } else if (strcmp(path, "/readyz") == 0) {
        bool draining = atomic_load(&page->worker->draining), connected = announcer_connected(page->announcer);
        respond_text(exchange, !draining && connected ? 200 : 503,
                     draining    ? "draining\n"
                     : connected ? "ok\n"
                                 : "Redis cannot be reached\n");
    } else if (strcmp(path, "/metrics") == 0) {
        struct bytes text;
        bytes_init(&text, 4 << 20);
        bool written = metrics_write(page->worker->metrics, &text) == STATUS_OK;
        http_exchange_respond(exchange, written ? 200 : 500, "text/plain; version=0.0.4", bytes_view(&text));
        bytes_deinit(&text);
    } else {
        respond_text(exchange, 404, "not found\n");
    }
}

static void on_status_closed(struct http_exchange *exchange, void *context, bool completed) {
    (void)exchange, (void)context, (void)completed;
}

static void on_engine_fault(void *context, const char *message) {
    (void)context;
    log_error("engine books repaired", LOG_S("message", message));
}

static struct engine_options options_of(const struct worker *worker) {
    const struct worker_settings *settings = &worker->settings;
    return (struct engine_options){.model_path = worker->model.path,
                                   .layout = worker->model.layout,
                                   .device = settings->device,
                                   .variant = settings->kernel_variant,
                                   .threads = (int)settings->threads,
                                   .context_tokens = worker->model.context_tokens,
                                   .kv_type = settings->kv_type,
                                   .kv_pool_bytes = settings->kv_pool_bytes,
                                   .sequences_max = (int)settings->sequences_max,
                                   .step_tokens_max = (int)settings->step_tokens_max,
                                   .queue_max = (int)settings->queue_max,
                                   .step_ns = settings->step_ns,
                                   .speculation = settings->speculation,
                                   .jump_forward = settings->jump_forward,
                                   .metrics = worker->metrics,
                                   .on_fault = on_engine_fault};
}

static enum status open_engine(struct worker *worker, struct error *err) {
    struct engine_options options = options_of(worker);
    int64_t began = clock_monotonic_ns(clock_system());
    TRY(engine_open(&options, &worker->engine, err));
    TRY(grammars_create(engine_tokenizer(worker->engine), worker->settings.grammars_bytes, worker->metrics,
                        &worker->grammars, err));
    TRY(tools_create(worker->grammars, engine_calls(worker->engine), worker->metrics, &worker->tools, err));
    engine_describe(worker->engine, &worker->description);
    log_info("model loaded", LOG_S("model", worker->model.name), LOG_S("path", worker->model.path),
             LOG_S("architecture", worker->description.architecture), LOG_S("layout", worker->description.layout),
             LOG_S("kernel_variant", worker->description.variant),
             LOG_I("context_tokens", worker->description.context_tokens),
             LOG_I("kv_pool_tokens", worker->description.kv_pool_tokens),
             LOG_F("seconds", (double)(clock_monotonic_ns(clock_system()) - began) / 1e9));
    return STATUS_OK;
}

static enum status open_server(struct worker *worker, struct error *err) {
    const struct worker_settings *settings = &worker->settings;
    struct rpc_server_options options = {
        .address = settings->listen,
        .threads = (int)settings->rpc_threads,
        .message_bytes_max =
            LIMIT_LINK_MESSAGE_BYTES, /* link.c looks at each command: one too large must not end the link of others */
        .keepalive_ns = settings->keepalive_ns,
        .keepalive_timeout_ns = settings->keepalive_timeout_ns,
        .tls = {settings->tls_certificate_file, settings->tls_key_file, settings->tls_ca_file, NULL},
        .descriptors = bytes_view_of(proto_descriptors, proto_descriptors_length)};
    TRY(rpc_server_create(&options, &worker->server, err));
    TRY(rpc_server_add(worker->server, worker_methods, worker_method_count, worker, err));
    const char *colon = strrchr(settings->listen, ':');
    if (settings->advertise != NULL)
        snprintf(worker->address, sizeof worker->address, "%s", settings->advertise);
    else if (strncmp(settings->listen, "unix:", 5) == 0 || colon == NULL)
        snprintf(worker->address, sizeof worker->address, "%s", settings->listen);
    else
        snprintf(worker->address, sizeof worker->address, "%.*s:%d", (int)(colon - settings->listen), settings->listen,
                 rpc_server_port(worker->server));
    return STATUS_OK;
}

static enum status open_status_page(struct status_page *page, struct http_server **out, struct error *err) {
    if (page->worker->settings.metrics_listen == NULL) return STATUS_OK;
    struct http_server_options options = {.address = page->worker->settings.metrics_listen,
                                          .body_bytes_max = 65536,
                                          .connections_max = 64,
                                          .idle_timeout_ns = 30 * NS_PER_S,
                                          .watermark_bytes = 1 << 20,
                                          .on_request = on_status_request,
                                          .on_closed = on_status_closed,
                                          .context = page};
    return http_server_create(&options, out, err);
}

static enum status prepare(struct worker *worker, struct error *err) {
    TRY(models_file_load(worker->settings.models_file, worker->settings.model, &worker->model, err));
    if (worker->settings.worker_id != NULL)
        snprintf(worker->id, sizeof worker->id, "%s", worker->settings.worker_id);
    else
        random_hex_id(worker->id, 16);
    worker->started_at = clock_unix_ns(clock_system()) / NS_PER_S;
    worker->metrics = metrics_create();
    if (worker->metrics == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    worker->requests =
        metrics_counter(worker->metrics, "bora_worker_requests_total", "Generations by outcome.", "outcome");
    worker->first_token_s = metrics_histogram(worker->metrics, "bora_worker_first_token_seconds",
                                              "From Proceed to the first token.", METRICS_SECONDS);
    TRY(turns_create(TOKENIZING_THREADS, TOKENIZING_QUEUE_MAX, TOKENIZING_TENANT_MAX, "tokenize", &worker->tokenizing,
                     err));
    TRY(turns_create(TOKENIZING_THREADS, TOKENIZING_QUEUE_MAX, TOKENIZING_TENANT_MAX, "compile", &worker->compiling,
                     err));
    return STATUS_OK;
}

/** Wait for SIGTERM or SIGINT, which main has blocked in every thread. */
static void wait_for_signal(const sigset_t *signals) {
    int number = 0;
    while (sigwait(signals, &number) != 0) {
    }
    log_info("stopping", LOG_S("signal", number == SIGTERM ? "SIGTERM" : "SIGINT"));
}

static enum status serve(struct worker *worker, const sigset_t *signals, struct error *err) {
    struct status_page page = {.worker = worker};
    struct http_server *status_server = NULL;
    enum status status = STATUS_OK;
    pthread_mutex_init(&worker->links_mutex, NULL);
    TRY_CLEANUP(prepare(worker, err));
    TRY_CLEANUP(open_server(worker, err)); /* a port that is taken shows before the model is loaded */
    TRY_CLEANUP(open_engine(worker, err));
    TRY_CLEANUP(reports_create(&worker->settings, &worker->reports, err));
    TRY_CLEANUP(rpc_server_start(worker->server, err));
    rpc_server_set_health(worker->server, "", true);
    rpc_server_set_health(worker->server, "bora.internal.v1.WorkerService", true);
    TRY_CLEANUP(announcer_start(worker, &page.announcer, err));
    TRY_CLEANUP(open_status_page(&page, &status_server, err));
    log_info("serving", LOG_S("address", worker->address), LOG_S("worker_id", worker->id), LOG_I("pid", getpid()));

    wait_for_signal(signals);
    atomic_store(&worker->draining, true);
    rpc_server_set_health(worker->server, "", false);
    rpc_server_set_health(worker->server, "bora.internal.v1.WorkerService", false);
    announcer_drain(page.announcer);
    links_drain(worker);
cleanup:
    if (worker->server != NULL) rpc_server_stop(worker->server, worker->settings.drain_ns);
    if (status_server != NULL) http_server_stop(status_server, NS_PER_S);
    http_server_destroy(status_server);
    announcer_stop(page.announcer);
    turns_destroy(worker->tokenizing);
    turns_destroy(worker->compiling);
    if (worker->engine != NULL) engine_close(worker->engine);
    if (worker->server != NULL) rpc_server_destroy(worker->server);
    reports_destroy(worker->reports);
    tools_destroy(worker->tools);
    grammars_destroy(worker->grammars); /* behind the last call and the last generation */
    metrics_destroy(worker->metrics);
    model_entry_deinit(&worker->model);
    pthread_mutex_destroy(&worker->links_mutex);
    return status;
}

/** Does the shortest question fit? Layouts put system prompts of their own in front. */
static enum status try_layout(const struct engine *engine, struct error *err) {
    struct token_list prompt = {.max_count = LIMIT_CONTEXT_TOKENS};
    struct chat_message message = {.role = CHAT_ROLE_USER, .content = bytes_view_string("a")};
    struct chat_conversation conversation = {.messages = &message, .message_count = 1};
    struct engine_description description;
    engine_describe(engine, &description);
    enum status status = engine_tokenize(engine, &conversation, NULL, &prompt, err);
    if (status == STATUS_OK && prompt.count >= (uint64_t)description.context_tokens)
        status = error_set(err, STATUS_OUT_OF_RANGE,
                           "its prompt layout (%s) makes %zu tokens of the question \"a\", and its context is %lld",
                           description.layout, prompt.count, (long long)description.context_tokens);
    token_list_deinit(&prompt);
    return status;
}

/** What can be found out without touching what runs: the whole models file, and whether it has the model; with --trial also whether that can be
 *  opened and asked. */
static int check(struct worker *worker) {
    const struct worker_settings *settings = &worker->settings;
    struct error err = {0};
    enum status status = models_file_load(settings->models_file, settings->model, &worker->model, &err);
    if (status == STATUS_OK && settings->trial) {
        struct engine_options options = options_of(worker);
        status = engine_open(&options, &worker->engine, &err);
        if (status == STATUS_OK) status = try_layout(worker->engine, &err);
        engine_close(worker->engine);
    }
    model_entry_deinit(&worker->model);
    if (status != STATUS_OK) fprintf(stderr, "bora-worker: %s\n", err.message);
    return status == STATUS_OK ? 0 : 1;
}

int main(int argc, char **argv) {
    struct worker worker = {0};
    struct error err = {0};
    enum settings_outcome outcome = SETTINGS_RUN;
    /* It knows Redis' password and what people ask. */
    if (process_forbid_dumps(&err) != STATUS_OK ||
        worker_settings_load(argc, argv, &worker.settings, &outcome, &err) != STATUS_OK) {
        fprintf(stderr, "bora-worker: %s\n", err.message);
        return 2;
    }
    if (outcome == SETTINGS_PRINTED) return 0;
    if (worker.settings.check) {
        int wrong = check(&worker);
        worker_settings_free(&worker.settings);
        return wrong;
    }
    enum log_level level = LOG_LEVEL_INFO;
    log_level_parse(worker.settings.log_level, &level);
    log_configure("worker", level, strcmp(worker.settings.log_format, "text") == 0 ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON,
                  STDERR_FILENO);
    signal(SIGPIPE, SIG_IGN);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    enum status status = serve(&worker, &signals, &err);
    if (status != STATUS_OK)
        log_error("worker failed", LOG_S("status", status_name(status)), LOG_S("error", err.message));
    else
        log_info("stopped");
    worker_settings_free(&worker.settings);
    return status == STATUS_OK ? 0 : 1;
}
