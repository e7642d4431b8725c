/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/process.h"
#include "bora/v1/chat.pb-c.h"
#include "bora/v1/error.pb-c.h"
#include "bora/v1/models.pb-c.h"
#include "proto/descriptors.h"
#include "services/gateway/admin.h"
#include "services/gateway/ahead.h"
#include "services/gateway/authenticate.h"
#include "services/gateway/chat.h"
#include "services/gateway/console.h"
#include "services/gateway/gateway.h"
#include "services/gateway/key_changes.h"
#include "services/gateway/outage.h"
#include "services/gateway/status_page.h"
#include "services/gateway/worker_link.h"
#include "services/gateway/workers.h"
#include "store/settlements.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TRANSCODED_MAX = 80 };

static enum status open_transcoder(struct gateway *gateway, struct error *err) {
    static const ProtobufCMessageDescriptor *const messages[] = {&bora__v1__chat_completion_request__descriptor,
                                                                 &bora__v1__chat_completion_response__descriptor,
                                                                 &bora__v1__chat_completion_chunk__descriptor,
                                                                 &bora__v1__model_list__descriptor,
                                                                 &bora__v1__model_card__descriptor,
                                                                 &bora__v1__list_models_request__descriptor,
                                                                 &bora__v1__get_model_request__descriptor,
                                                                 &bora__v1__api_error__descriptor,
                                                                 &bora__v1__list_workers_request__descriptor,
                                                                 &bora__v1__worker_list__descriptor,
                                                                 &bora__v1__validation_errors__descriptor};
    const ProtobufCMessageDescriptor *all[TRANSCODED_MAX];
    size_t count = sizeof messages / sizeof messages[0];
    if (count + 2 * admin_method_count > TRANSCODED_MAX)
        return error_set(err, STATUS_INTERNAL, "more than %d messages", TRANSCODED_MAX);
    memcpy(all, messages, sizeof messages);
    for (size_t i = 0; i < admin_method_count; i++) {
        all[count++] = admin_methods[i].request;
        all[count++] = admin_methods[i].response;
    }
    gateway->dialect = (struct transcode_options){.strict = strcmp(gateway->settings.dialect, "mistral") == 0};
    return transcoder_create(bytes_view_of(proto_descriptors, proto_descriptors_length), all, count,
                             &gateway->transcoder, err);
}

static enum status open_metrics(struct gateway *gateway, struct error *err) {
    gateway->metrics = metrics_create();
    if (gateway->metrics == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    gateway->requests = metrics_counter(gateway->metrics, "bora_gateway_requests_total",
                                        "Requests by route and HTTP status (499: the client left).", "route", "status");
    gateway->request_s = metrics_histogram(gateway->metrics, "bora_gateway_request_seconds",
                                           "From the request to the end of its answer.", METRICS_SECONDS, "route");
    gateway->first_token_s = metrics_histogram(gateway->metrics, "bora_gateway_first_token_seconds",
                                               "From the request to the first token.", METRICS_SECONDS, "model");
    gateway->tokens =
        metrics_counter(gateway->metrics, "bora_gateway_tokens_total", "Tokens counted.", "model", "kind");
    gateway->settlements_waiting = metrics_gauge(gateway->metrics, "bora_gateway_settlements_waiting",
                                                 "Charges and settlements that Redis has not taken yet.");
    gateway->settlements_lost =
        metrics_gauge(gateway->metrics, "bora_gateway_settlements_lost",
                      "Charges and settlements given up since the start: no room to keep them, or Redis refused them.");
    gateway->running = metrics_gauge(gateway->metrics, "bora_gateway_requests_running", "Requests in the house.");
    return STATUS_OK;
}

/** What a turn has to say goes behind what it has to do. */
static int64_t write_log(void *context) {
    log_gather(context);
    return INT64_MAX;
}

static void on_redis(void *context, bool connected) {
    struct gateway *gateway = context;
    if (!connected) return;
    outage_over(gateway->outage);
    chats_end_of(gateway, KEY_CHANGE_ALL, ""); /* whose gates could not be looked at meanwhile */
}

/** Connections to everything behind us. None of them is waited for: the gateway answers 503 until they are there. */
static enum status open_upstream(struct gateway *gateway, struct error *err) {
    const struct gateway_settings *settings = &gateway->settings;
    char *password = NULL, *token = NULL;
    enum status status = STATUS_OK;
    TRY_CLEANUP(settings_read_secret(settings->redis_password_file, &password, err));
    TRY_CLEANUP(settings_read_secret(settings->service_token_file, &token, err));
    if (token != NULL && asprintf(&gateway->service_authorization, "Bearer %s", token) < 0)
        TRY_CLEANUP(error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory"));
    struct ahead_options ahead = {.enabled = settings->admit_ahead, .metrics = gateway->metrics};
    struct outage_options outage = {.local = strcmp(settings->limits_outage, "local") == 0,
                                    .requests = settings->outage_requests,
                                    .tokens = settings->outage_tokens,
                                    .metrics = gateway->metrics};
    TRY_CLEANUP(loop_create("loop", &gateway->loop, err));
    loop_set_spin(gateway->loop, settings->spin_ns);
    gateway->log_member = (struct loop_member){.context = &gateway->log_buffer, .turn = write_log};
    loop_join(gateway->loop, &gateway->log_member); /* the first to join has the last turn */
    TRY_CLEANUP(outage_create(&outage, &gateway->outage, err));
    struct redis_options redis = {
        .address = settings->redis_address, .password = password, .timeout_ns = settings->redis_timeout_ns};
    struct redis_options limits = redis;
    limits.loop = gateway->loop;
    limits.on_connection = on_redis;
    limits.context = gateway;
    TRY_CLEANUP(key_cache_create(&gateway->key_cache, err));
    TRY_CLEANUP(redis_client_create(&redis, &gateway->redis, err));
    TRY_CLEANUP(redis_client_create(&limits, &gateway->limits, err));
    TRY_CLEANUP(settlements_create(gateway->limits, &gateway->settlements, err));
    ahead.loop = gateway->loop;
    ahead.limits = gateway->limits;
    ahead.settlements = gateway->settlements;
    TRY_CLEANUP(ahead_create(&ahead, &gateway->ahead, err));
    TRY_CLEANUP(key_changes_follow(gateway, err));
    TRY_CLEANUP(rpc_client_create((int)settings->client_threads, &gateway->client, err));
    struct rpc_channel_options keys = {.target = settings->keys_address,
                                       .message_bytes_max = ADMIN_ANSWER_BYTES_MAX,
                                       .keepalive_ns = settings->upstream_keepalive_ns,
                                       .keepalive_timeout_ns = settings->upstream_keepalive_timeout_ns,
                                       .use_tls = settings->upstream_tls,
                                       .tls = {settings->upstream_tls_certificate_file, settings->upstream_tls_key_file,
                                               settings->upstream_tls_ca_file, NULL}};
    TRY_CLEANUP(rpc_channel_open(gateway->client, &keys, &gateway->keys, err));
    TRY_CLEANUP(worker_links_create(gateway->loop, settings, &gateway->links, err));
    TRY_CLEANUP(workers_create(gateway, &gateway->workers, err));
cleanup:
    free(password);
    free(token);
    return status;
}

static enum status open_fronts(struct gateway *gateway, struct error *err) {
    const struct gateway_settings *settings = &gateway->settings;
    struct rpc_server_options grpc = {
        .address = settings->grpc_listen,
        .client = gateway->client,
        .message_bytes_max = settings->body_bytes_max,
        .keepalive_ns = settings->keepalive_ns,
        .keepalive_timeout_ns = settings->keepalive_timeout_ns,
        .tls = {settings->tls_certificate_file, settings->tls_key_file, settings->tls_ca_file, NULL},
        .descriptors = bytes_view_of(proto_descriptors, proto_descriptors_length)};
    TRY(rpc_server_create(&grpc, &gateway->grpc, err));
    TRY(grpc_front_add(gateway->grpc, gateway, err));
    struct http_server_options http = {.loop = gateway->loop,
                                       .address = settings->http_listen,
                                       .body_bytes_max = settings->body_bytes_max,
                                       .connections_max = (int)settings->connections_max,
                                       .idle_timeout_ns = settings->idle_timeout_ns,
                                       .certificate_file = settings->tls_certificate_file,
                                       .key_file = settings->tls_key_file,
                                       .ca_file = settings->tls_ca_file,
                                       .header_timeout_ns = settings->header_timeout_ns,
                                       .peer_connections_max = (int)settings->peer_connections_max,
                                       .peer_bodies_bytes_max = settings->peer_bodies_bytes_max,
                                       .heartbeat_ns = settings->heartbeat_ns,
                                       .watermark_bytes = LIMIT_STREAM_PENDING_BYTES,
                                       .bodies_bytes_max = settings->bodies_bytes_max,
                                       .on_headers = http_front_headers,
                                       .on_request = http_front_request,
                                       .on_writable = http_front_writable,
                                       .on_closed = http_front_closed,
                                       .on_refused = http_front_refused,
                                       .context = gateway};
    TRY(http_server_create(&http, &gateway->http, err));
    return rpc_server_start(gateway->grpc, err);
}

/* What the last events of answers that are cut need to reach their readers. */
static const int64_t LAST_WORDS_NS = 2 * NS_PER_S, LAST_SETTLEMENTS_NS = 5 * NS_PER_S;
static const char *const health_services[] = {"",
                                              "bora.v1.ChatService",
                                              "bora.v1.ModelService",
                                              "bora.v1.KeyService",
                                              "bora.v1.TenantService",
                                              "bora.v1.UsageService"};

static void look_after_leases(struct gateway *gateway) {
    chats_charge(gateway);
    chats_end_expired(gateway);
    struct settlements_counts counts = settlements_count(gateway->settlements);
    metric_set(gateway->settlements_waiting, (double)counts.waiting);
    metric_set(gateway->settlements_lost, (double)(counts.dropped + counts.refused));
}

/** SIGHUP: certificates have been renewed. What cannot be used changes nothing. */
static void reread_tls(struct gateway *gateway) {
    struct error err = {0};
    if (gateway->settings.tls_certificate_file == NULL)
        log_info("SIGHUP changes nothing: there are no TLS files to read again");
    else if (http_server_reread_tls(gateway->http, &err) == STATUS_OK &&
             rpc_server_reread_tls(gateway->grpc, &err) == STATUS_OK)
        log_info("SIGHUP: the TLS files were read again", LOG_S("certificate", gateway->settings.tls_certificate_file));
    else
        log_error("SIGHUP: the TLS files cannot be used, and those of before go on", LOG_S("error", err.message));
}

static void tell_health(struct gateway *gateway, bool ready) {
    for (size_t i = 0; i < sizeof health_services / sizeof health_services[0]; i++)
        rpc_server_set_health(gateway->grpc, health_services[i], ready);
}

/* While everything starts it is no fault that something is not there yet. */
static const int64_t STARTING_NS = 5 * NS_PER_S;

/** What clients of health and the log were last told. */
struct told {
    int64_t begun_ns;
    bool once, ready, warned; /* of what is missing now */
    char reason[GATEWAY_REASON_BYTES];
    int64_t at_ns;
};

/** While it is not ready, the reason may change with every attempt (to connect): once a second is enough for a log. */
static void tell_readiness(struct gateway *gateway, struct told *told) {
    char reason[GATEWAY_REASON_BYTES];
    bool ready = gateway_is_ready(gateway, reason), turned = !told->once || ready != told->ready;
    int64_t now = clock_monotonic_ns(clock_system());
    if (turned) tell_health(gateway, ready);
    if (told->begun_ns == 0) told->begun_ns = now;
    bool starting = now - told->begun_ns < STARTING_NS, same = strcmp(reason, told->reason) == 0;
    if (!turned && now - told->at_ns < NS_PER_S) return;
    if (!turned && same && (ready || starting || told->warned)) return;
    if (ready)
        log_info("ready");
    else if (starting)
        log_info("not ready", LOG_S("reason", reason));
    else
        log_warn("not ready", LOG_S("reason", reason));
    told->warned = !ready && !starting;
    told->once = true;
    told->ready = ready;
    told->at_ns = now;
    memcpy(told->reason, reason, sizeof reason);
}

/** Health follows readiness, so that a load balancer asking gRPC sees what /readyz says; and leases are kept alive. */
static void follow_health(struct gateway *gateway, const sigset_t *signals) {
    const struct timespec step = {.tv_nsec = 200 * NS_PER_MS};
    struct told told = {0};
    for (;;) {
        service_token_look_after(gateway);
        tell_readiness(gateway, &told);
        look_after_leases(gateway);
        int number = sigtimedwait(signals, NULL, &step);
        if (number == SIGHUP) reread_tls(gateway);
        if (number < 0 || number == SIGHUP) continue;
        log_info("stopping", LOG_S("signal", number == SIGTERM ? "SIGTERM" : "SIGINT"));
        return;
    }
}

/** Whoever sends requests here needs a moment to notice that we are not ready any more: until then all is served as before. */
static void serve_on(struct gateway *gateway, const sigset_t *signals) {
    const struct timespec step = {.tv_nsec = 20 * NS_PER_MS};
    int64_t until = clock_monotonic_ns(clock_system()) + gateway->settings.drain_delay_ns;
    tell_health(gateway, false);
    http_server_retire(gateway->http);
    while (clock_monotonic_ns(clock_system()) < until) {
        look_after_leases(gateway);
        int number = sigtimedwait(signals, NULL, &step);
        if (number == SIGTERM || number == SIGINT) return;
    }
}

struct stopping {
    struct gateway *gateway;
    int64_t grace_ns;
};

static void *stop_http(void *context) {
    const struct stopping *stopping = context;
    http_server_stop(stopping->gateway->http, stopping->grace_ns);
    return NULL;
}

static void *stop_grpc(void *context) {
    const struct stopping *stopping = context;
    rpc_server_stop(stopping->gateway->grpc, stopping->grace_ns);
    return NULL;
}

/** Both fronts take nothing new from now on; running answers get the drain time. What runs longer is told so, and then cut. */
static void drain(struct gateway *gateway) {
    const struct timespec step = {.tv_nsec = 20 * NS_PER_MS};
    struct stopping stopping = {.gateway = gateway, .grace_ns = gateway->settings.drain_ns + LAST_WORDS_NS};
    int64_t until = clock_monotonic_ns(clock_system()) + gateway->settings.drain_ns;
    pthread_t http, grpc;
    tell_health(gateway, false);
    bool http_stops = pthread_create(&http, NULL, stop_http, &stopping) == 0,
         grpc_stops = pthread_create(&grpc, NULL, stop_grpc, &stopping) == 0;
    while (chats_count(gateway) > 0 && clock_monotonic_ns(clock_system()) < until) {
        chats_charge(gateway);
        nanosleep(&step, NULL);
    }
    chats_end(gateway);
    if (http_stops)
        pthread_join(http, NULL);
    else
        http_server_stop(gateway->http, LAST_WORDS_NS);
    if (grpc_stops)
        pthread_join(grpc, NULL);
    else
        rpc_server_stop(gateway->grpc, LAST_WORDS_NS);
}

/** What Redis has not taken is lost with us; its leases run out, and workers may have reported them. */
static void settle_the_rest(struct gateway *gateway) {
    if (gateway->settlements == NULL) return;
    int64_t lost = settlements_destroy(gateway->settlements, LAST_SETTLEMENTS_NS);
    if (lost > 0) log_warn("settlements were not taken by Redis", LOG_I("count", lost));
}

static void close_gateway(struct gateway *gateway) {
    if (gateway->http != NULL && gateway->grpc != NULL) {
        drain(gateway);
    } else if (gateway->grpc != NULL) { /* it never served */
        rpc_server_stop(gateway->grpc, 0);
    }
    http_server_destroy(gateway->http);
    status_page_close(gateway->status_page);
    workers_destroy(gateway->workers);
    rpc_channel_close(gateway->keys);
    rpc_server_destroy(gateway->grpc); /* whose queues are the client's */
    /* The client's queue runs until the last call has ended, and with it the last request. */
    rpc_client_destroy(gateway->client);
    worker_links_destroy(gateway->links);
    ahead_stop(gateway->ahead);
    settle_the_rest(gateway);
    redis_client_destroy(gateway->limits);
    redis_client_destroy(gateway->redis);
    ahead_destroy(gateway->ahead);
    if (gateway->loop != NULL) loop_leave(gateway->loop, &gateway->log_member);
    loop_destroy(gateway->loop);
    log_gather(&gateway->log_buffer); /* what its last turn may have said */
    log_gather(NULL);
    key_cache_destroy(gateway->key_cache);
    outage_destroy(gateway->outage);
    if (gateway->transcoder != NULL) transcoder_destroy(gateway->transcoder);
    console_close(gateway->console);
    metrics_destroy(gateway->metrics);
    free(gateway->service_authorization);
}

static enum status serve(struct gateway *gateway, const sigset_t *signals, struct error *err) {
    enum status status = STATUS_OK;
    pthread_mutex_init(&gateway->chats_mutex, NULL);
    TRY_CLEANUP(trusted_proxies_parse(gateway->settings.trusted_proxies, &gateway->proxies, err));
    TRY_CLEANUP(open_transcoder(gateway, err));
    TRY_CLEANUP(open_metrics(gateway, err));
    TRY_CLEANUP(console_open(gateway->settings.console_dir, &gateway->console, err));
    TRY_CLEANUP(open_upstream(gateway, err));
    TRY_CLEANUP(status_page_open(gateway, &gateway->status_page, err));
    TRY_CLEANUP(open_fronts(gateway, err));
    atomic_store(&gateway->serving, true);
    log_info("serving", LOG_S("http", gateway->settings.http_listen),
             LOG_I("http_port", http_server_port(gateway->http)), LOG_S("grpc", gateway->settings.grpc_listen),
             LOG_I("grpc_port", rpc_server_port(gateway->grpc)), LOG_S("dialect", gateway->settings.dialect),
             LOG_I("pid", getpid()),
             status_page_port(gateway->status_page) > 0 ? LOG_I("metrics_port", status_page_port(gateway->status_page))
                                                        : (struct log_field){LOG_FIELD_END, NULL, {0}});
    follow_health(gateway, signals);
    atomic_store(&gateway->draining, true);
    serve_on(gateway, signals);
cleanup:
    close_gateway(gateway);
    return status;
}

int main(int argc, char **argv) {
    static struct gateway gateway;
    struct error err = {0};
    enum settings_outcome outcome = SETTINGS_RUN;
    if (process_forbid_dumps(&err) != STATUS_OK ||
        gateway_settings_load(argc, argv, &gateway.settings, &outcome, &err) != STATUS_OK) {
        fprintf(stderr, "bora-gateway: %s\n", err.message);
        return 2;
    }
    if (outcome == SETTINGS_PRINTED) return 0;
    enum log_level level = LOG_LEVEL_INFO;
    log_level_parse(gateway.settings.log_level, &level);
    log_configure("gateway", level,
                  strcmp(gateway.settings.log_format, "text") == 0 ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON, STDERR_FILENO);
    signal(SIGPIPE, SIG_IGN);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    enum status status = serve(&gateway, &signals, &err);
    if (status != STATUS_OK)
        log_error("gateway failed", LOG_S("status", status_name(status)), LOG_S("error", err.message));
    else
        log_info("stopped");
    gateway_settings_free(&gateway.settings);
    return status == STATUS_OK ? 0 : 1;
}
